/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Where the guest and its recording are, and whether the replay has failed:
 * the state that all files above this one share.
 */

#include "qemu/osdep.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/cpus.h"
#include "sysemu/runstate.h"
#include "replay-now.h"

ReplayMode replay_mode = REPLAY_MODE_NONE;
char *replay_snapshot;

ReplayNow replay_now = { .next.kind = REPLAY_EV_NONE };

uint64_t replay_get_current_icount(void)
{
    return icount_get_raw();
}

bool replay_machine_is_live(void)
{
    return runstate_is_running() || runstate_check(RUN_STATE_SUSPENDED);
}

bool replay_has_begun(void)
{
    return replay_now.begun && replay_mode != REPLAY_MODE_NONE;
}

bool replay_is_stopped(void)
{
    return replay_has_begun()
           && (replay_now.paused || !replay_machine_is_live())
           && !qemu_in_vcpu_thread();
}

bool replay_is_paused(void)
{
    return replay_now.paused;
}

bool replay_timers_wait(void)
{
    return replay_mode != REPLAY_MODE_NONE && !replay_machine_is_live()
           && !qemu_in_vcpu_thread();
}

const char *replay_filename(void)
{
    return replay_now.options.filename;
}

bool replay_has_failed(void)
{
    return replay_now.failed;
}

void replay_set_failed(void)
{
    replay_now.failed = true;
    replay_now.next.kind = REPLAY_EV_NONE;
    replay_now.insns_left = 0;
}
