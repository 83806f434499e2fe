/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Clocks.  Each reading of a clock that the guest can see is an event.  When
 * QEMU's own threads read a clock in a replay where they did not while it was
 * recorded, they get the value of the last reading: time stands still between
 * two readings.  When the guest does, it is another guest.
 */

#include "qemu/osdep.h"
#include "hw/core/cpu.h"
#include "sysemu/replay.h"
#include "replay-kinds.h"
#include "replay-report.h"
#include "replay-stream.h"

static const ReplayLogEventKind clock_kinds[REPLAY_CLOCK_COUNT] = {
    [REPLAY_CLOCK_HOST] = REPLAY_EV_CLOCK_HOST,
    [REPLAY_CLOCK_VIRTUAL_RT] = REPLAY_EV_CLOCK_VIRTUAL_RT,
};

int64_t replay_save_clock(ReplayClockKind kind, int64_t clock,
                          int64_t raw_icount)
{
    g_assert(replay_mutex_locked());

    if (replay_is_stopped()) {
        /* It is the main loop that asks, for its own sake. */
        return clock;
    }
    /* Counting here would take the lock that the caller holds. */
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
        /* The guest itself reads it, and did so while it was recorded. */
        replay_mismatch(clock_kinds[kind]);
    }
    return replay_now.clock_ns[kind];
}
