/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's virtual time at each event of a recording.
 *
 * Theory.  QEMU_CLOCK_VIRTUAL is (icount << shift) + bias.  The bias grows when
 * the guest is idle: QEMU "warps" the clock by the time that has passed on the
 * host.  With shift=auto QEMU also adjusts the shift, so that virtual time
 * follows the time of the host.  Both depend only on the number of executed
 * instructions and on readings of the host's clock, and the recording has all
 * of these.  So this file repeats what QEMU's icount.c computes.  The event
 * before a reading (clock-virtual-rt) tells what QEMU used the reading for:
 *
 *   event before                  the reading
 *   checkpoint-warp-start         begins a warp, if a timer is armed
 *   checkpoint-warp-account       ends the warp
 *   checkpoint-clock-virtual-rt   the first one is the time at which timers
 *                                 run; the timer of the warp reads once and
 *                                 ends the warp; the timer of the adjustment
 *                                 reads twice, the second time to adjust
 *   any other                     adjusts the shift, each 100 ms
 *
 * QEMU begins a warp only if a timer of the virtual clock is armed and has not
 * expired, which the recording does not tell.  But if there is a warp, the vCPU
 * thread ends it before it runs timers or executes an instruction.
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "vclock.h"

/* The constants of QEMU's icount.c. */
#define SHIFT_MAX       10
#define SHIFT_INITIAL   3
#define WOBBLE_NS       100000000

void vclock_init(VClock *c, const ReplayLogDescription *d)
{
    const char *shift = replay_log_description_get(d, "icount.shift");
    const char *sleep = replay_log_description_get(d, "icount.sleep");

    *c = (VClock) {
        .is_exact = sleep && g_str_equal(sleep, "on"),
    };
    if (shift && g_str_equal(shift, "auto")) {
        c->is_adaptive = true;
        c->shift = SHIFT_INITIAL;
        return;
    }
    /* With a fixed shift, QEMU's first warp begins at 0. */
    c->has_warp = true;
    if (!shift || qemu_strtoui(shift, NULL, 0, &c->shift) < 0 ||
        c->shift > SHIFT_MAX) {
        c->shift = 0;
        c->is_exact = false;
    }
}

static uint64_t vclock_now(const VClock *c, uint64_t icount)
{
    return (icount << c->shift) + c->bias_ns;
}

static void vclock_begin_warp(VClock *c, int64_t reading_ns)
{
    if (!c->has_warp || c->warp_start_ns > reading_ns) {
        c->has_warp = true;
        c->warp_was_started = true;
        c->warp_start_ns = reading_ns;
    }
}

static void vclock_end_warp(VClock *c, uint64_t icount, int64_t reading_ns)
{
    int64_t warp_ns = (uint64_t)reading_ns - c->warp_start_ns;

    if (!c->has_warp) {
        return;
    }
    c->has_warp = false;
    if (!c->is_exact) {
        return;
    }
    if (c->is_adaptive) {
        int64_t behind_ns = reading_ns - vclock_now(c, icount);

        warp_ns = MIN(warp_ns, MAX(behind_ns, 0));
    }
    c->bias_ns += warp_ns;
}

static void vclock_adjust(VClock *c, uint64_t icount, int64_t reading_ns)
{
    uint64_t now_ns = vclock_now(c, icount);
    int64_t delta_ns = now_ns - reading_ns;
    uint64_t twice = (uint64_t)delta_ns * 2;

    if (!c->is_adaptive) {
        return;
    }
    if (delta_ns > 0 && c->shift > 0 &&
        (int64_t)((uint64_t)c->last_delta_ns + WOBBLE_NS) < (int64_t)twice) {
        c->shift--;
    } else if (delta_ns < 0 && c->shift < SHIFT_MAX &&
               (int64_t)((uint64_t)c->last_delta_ns - WOBBLE_NS) >
               (int64_t)twice) {
        c->shift++;
    }
    c->last_delta_ns = delta_ns;
    c->bias_ns = now_ns - (icount << c->shift);
}

/*
 * The timers of the host's clock have run: looks at all their readings.  If
 * both timers have run, the recording does not tell which one was first.
 */
static void vclock_timers_done(VClock *c, uint64_t icount)
{
    unsigned n = c->n_readings;

    c->runs_timers = false;
    if (n == 2 || n == 4) {
        vclock_end_warp(c, icount, c->reading_ns[1]);
    }
    if (n == 3 || n == 4) {
        vclock_adjust(c, icount, c->reading_ns[n - 1]);
    }
}

static void vclock_reading(VClock *c, uint64_t icount, int64_t reading_ns)
{
    if (c->runs_timers) {
        if (c->n_readings < VCLOCK_READINGS_MAX) {
            c->reading_ns[c->n_readings++] = reading_ns;
        }
    } else if (c->last_kind == REPLAY_EV_CHECKPOINT_WARP_START) {
        vclock_begin_warp(c, reading_ns);
    } else if (c->last_kind == REPLAY_EV_CHECKPOINT_WARP_ACCOUNT) {
        vclock_end_warp(c, icount, reading_ns);
    } else {
        vclock_adjust(c, icount, reading_ns);
    }
}

uint64_t vclock_event(VClock *c, const ReplayLogEvent *ev)
{
    if (ev->kind == REPLAY_EV_CLOCK_VIRTUAL_RT) {
        vclock_reading(c, ev->icount, ev->num[0]);
    } else {
        if (c->runs_timers) {
            vclock_timers_done(c, ev->icount);
        }
        if (ev->kind == REPLAY_EV_CHECKPOINT_CLOCK_VIRTUAL_RT) {
            c->runs_timers = true;
            c->n_readings = 0;
        } else if (c->warp_was_started &&
                   (ev->kind == REPLAY_EV_INSTRUCTION ||
                    ev->kind == REPLAY_EV_CHECKPOINT_CLOCK_VIRTUAL)) {
            c->has_warp = false;        /* no timer was armed */
        }
    }
    c->last_kind = ev->kind;
    return vclock_now(c, ev->icount);
}

uint64_t vclock_end(VClock *c, uint64_t icount)
{
    if (c->runs_timers) {
        vclock_timers_done(c, icount);
    }
    return vclock_now(c, icount);
}
