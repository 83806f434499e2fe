/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Where a replay stops.  Everything here needs the replay mutex.
 */

#ifndef REPLAY_STOP_H
#define REPLAY_STOP_H

#include "qemu/timer.h"
#include "replay-now.h"

/*
 * A place in a replay: the moment before the event with this number happens,
 * when the guest has executed this number of instructions.  If the event is
 * INSTRUCTION, the place may be in the middle of its instructions.
 */
typedef struct ReplayPlace {
    uint64_t event;
    uint64_t icount;
} ReplayPlace;

/* Returns: a negative number, 0 or a positive number, as for strcmp(). */
static inline int replay_place_compare(const ReplayPlace *a,
                                       const ReplayPlace *b)
{
    if (a->event != b->event) {
        return a->event < b->event ? -1 : 1;
    }
    return a->icount < b->icount ? -1 : a->icount > b->icount;
}

/* Returns: the place at which the replay is, as far as it was counted. */
ReplayPlace replay_here(void);

/**
 * replay_stop_at: let the replay stop at @place, in place of any earlier stop
 * @place: not behind the replay; copied
 * @arrived: called once in the main loop, with the BQL, as soon as the replay
 *           is at @place, or at the first place after it at which guest code
 *           and devices can stop
 *
 * No event happens between the arrival and @arrived, which stops the machine or
 * calls replay_stop_nowhere().
 */
void replay_stop_at(const ReplayPlace *place, QEMUTimerCB *arrived);

/* Undo replay_stop_at().  The events that were held may happen. */
void replay_stop_nowhere(void);

/* Returns: whether the replay is going to stop; then *@place says where. */
bool replay_stop_is_set(ReplayPlace *place);

/* Returns: @insns, or how many instructions there are before the stop. */
uint64_t replay_stop_limit(uint64_t insns);

/*
 * No event may happen until the machine is stopped and runs again: gdb has
 * stopped the vCPU here.
 */
void replay_hold(void);

/* The machine runs again. */
void replay_release(void);

/*
 * The vCPU thread has left guest code, and finds out only after it has unlocked
 * the replay mutex whether gdb stops it here: no event of the main loop may
 * happen before that.
 * @step_ended: gdb's step ends here; if not, the main loop may go on as soon as
 *              all vCPUs are asleep
 */
void replay_hold_main_loop(bool step_ended);

/* The vCPU thread has found out, with the BQL, that gdb's step has ended. */
void replay_step_is_known(void);

/*
 * Returns: whether events have to wait, because the machine is about to stop
 * here.  Every function that lets an event begin asks this first.
 */
bool replay_is_held(void);

#endif
