/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's virtual time at each event of a recording.
 */

#ifndef QEMU_REPLAY_VCLOCK_H
#define QEMU_REPLAY_VCLOCK_H

#include "replay/replay-log.h"

/* The readings after one CHECKPOINT_CLOCK_VIRTUAL_RT that have a meaning. */
#define VCLOCK_READINGS_MAX 4

typedef struct VClock {
    bool is_exact;          /* false: a lower bound, see vclock_init() */
    bool is_adaptive;       /* shift=auto */
    unsigned shift;         /* an instruction takes 2^shift ns */
    uint64_t bias_ns;       /* what warps and changes of @shift have added */
    int64_t last_delta_ns;  /* of the last adjustment of @shift */

    bool has_warp;          /* a warp is under way, since @warp_start_ns */
    bool warp_was_started;  /* by an event; false for QEMU's initial value */
    int64_t warp_start_ns;

    uint8_t last_kind;      /* ReplayLogEventKind of the event before */
    bool runs_timers;       /* of the host's clock, after their checkpoint */
    unsigned n_readings;
    int64_t reading_ns[VCLOCK_READINGS_MAX];
} VClock;

/**
 * vclock_init: begin at the first event of a recording
 * @c: is filled in
 * @d: the description of the recording, borrowed
 *
 * With -icount sleep=off a recording does not tell how far the virtual clock
 * jumps when the guest is idle.  Then @c->is_exact is false, and the time is
 * that of the instructions alone.
 */
void vclock_init(VClock *c, const ReplayLogDescription *d);

/**
 * vclock_event: go to the next event
 * @ev: must follow the event of the call before
 *
 * Returns: the virtual time at @ev, in ns.
 */
uint64_t vclock_event(VClock *c, const ReplayLogEvent *ev);

/**
 * vclock_end: go to the end
 * @icount: instructions executed until there
 *
 * Returns: the virtual time at the end, in ns.
 */
uint64_t vclock_end(VClock *c, uint64_t icount);

#endif
