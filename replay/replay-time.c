/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Clocks.  Each time a clock that the guest can see is read, the value becomes
 * an event.  QEMU's own code may read a clock in a replay at a place where the
 * recorder did not; it gets the last value that was replayed, so time stands
 * still between two events.  If the guest does so, the replay has diverged.
 *
 * When the user leaves a replay, its clocks go on from the values that they
 * have there.
 */

#include "qemu/osdep.h"
#include "hw/core/cpu.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/replay.h"
#include "replay-kinds.h"
#include "replay-report.h"
#include "replay-stream.h"

static const ReplayLogEventKind clock_kinds[REPLAY_CLOCK_COUNT] = {
    [REPLAY_CLOCK_HOST] = REPLAY_EV_CLOCK_HOST,
    [REPLAY_CLOCK_VIRTUAL_RT] = REPLAY_EV_CLOCK_VIRTUAL_RT,
};

/*
 * Record: what is added to each clock of the host, ns.  Written only while the
 * machine is stopped, with all locks.
 */
static int64_t offset_ns[REPLAY_CLOCK_COUNT];

void replay_clocks_leave(void)
{
    const int64_t host_ns[REPLAY_CLOCK_COUNT] = {
        [REPLAY_CLOCK_HOST] = get_clock_realtime(),
        [REPLAY_CLOCK_VIRTUAL_RT] = cpu_get_clock(),
    };
    int i;

    for (i = 0; i < REPLAY_CLOCK_COUNT; i++) {
        offset_ns[i] = replay_now.clock_ns[i] - host_ns[i];
    }
}

int64_t replay_clock_offset(ReplayClockKind kind)
{
    return offset_ns[kind];
}

int64_t replay_save_clock(ReplayClockKind kind, int64_t clock,
                          int64_t raw_icount)
{
    g_assert(replay_mutex_locked());

    clock += offset_ns[kind];

    if (replay_is_stopped()) {
        /* The main loop reads the clock for its own use, not for the guest. */
        return clock;
    }
    /* Not replay_catch_up(): the caller may hold vm_clock_lock already. */
    replay_count_to(raw_icount);
    replay_put1(clock_kinds[kind], clock);
    return clock;
}

void replay_skip_clocks(void)
{
    for (;;) {
        ReplayClockKind kind;

        if (replay_next_event_is(REPLAY_EV_CLOCK_HOST)) {
            kind = REPLAY_CLOCK_HOST;
        } else if (replay_next_event_is(REPLAY_EV_CLOCK_VIRTUAL_RT)) {
            kind = REPLAY_CLOCK_VIRTUAL_RT;
        } else {
            return;
        }
        replay_now.clock_ns[kind] = replay_now.next.num[0];
        replay_take_next();
    }
}

int64_t replay_read_clock(ReplayClockKind kind, int64_t raw_icount)
{
    g_assert(replay_mutex_locked());

    if (replay_is_stopped()) {
        return replay_now.clock_ns[kind];
    }
    replay_count_to(raw_icount);
    if (replay_next_event_is(clock_kinds[kind])) {
        replay_now.clock_ns[kind] = replay_now.next.num[0];
        replay_take_next();
    } else if (current_cpu && current_cpu->running && !replay_has_failed()) {
        /* The guest reads the clock, so the recorder put an event for this. */
        replay_mismatch(clock_kinds[kind]);
    }
    return replay_now.clock_ns[kind];
}
