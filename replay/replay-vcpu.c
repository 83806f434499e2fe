/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the loop of the vCPU thread asks: how many instructions it may execute,
 * whether an interrupt or exception comes next, whether a list of timers may
 * run (a checkpoint).
 *
 * In a replay the vCPU thread gets exactly the recorded number of instructions
 * as its budget.  When they are used up the event behind them is next, and the
 * code that makes such an event finds, when it asks, that it is its turn.  A
 * caller that asks too early is told to come again.
 */

#include "qemu/osdep.h"
#include "replay-events.h"
#include "replay-mutex.h"
#include "replay-report.h"
#include "replay-stream.h"

/* How far the vCPU of a replay runs before the main loop has its turn. */
#define REPLAY_SLICE_INSNS          (1 << 20)

/* --- Instructions ------------------------------------------------------ */

int replay_get_instructions(void)
{
    uint64_t insns = 0;

    replay_mutex_lock();
    if (replay_next_event_is(REPLAY_EV_INSTRUCTION)) {
        insns = MIN(replay_now.insns_left, REPLAY_SLICE_INSNS);
        if (replay_break_icount != UINT64_MAX) {
            uint64_t now = replay_get_current_icount();

            /* A breakpoint is never behind: loading a snapshot drops it. */
            g_assert(replay_break_icount >= now);
            insns = MIN(insns, replay_break_icount - now);
        }
    }
    replay_mutex_unlock();
    return insns;
}

/* At the end of each run of guest code; a recorder waits for an event. */
void replay_account_executed_instructions(void)
{
    if (replay_mode == REPLAY_MODE_PLAY) {
        replay_catch_up();
    }
}

/* --- Interrupts, exceptions, checkpoints ------------------------------- */

static bool replay_next_is_now(ReplayLogEventKind kind)
{
    if (replay_mode != REPLAY_MODE_PLAY) {
        return false;
    }
    replay_catch_up();
    return replay_next_event_is(kind);
}

static bool replay_vcpu_event(ReplayLogEventKind kind)
{
    switch (replay_mode) {
    case REPLAY_MODE_RECORD:
        replay_catch_up();
        replay_put0(kind);
        return true;
    case REPLAY_MODE_PLAY:
        if (!replay_next_is_now(kind)) {
            return false;
        }
        replay_take_next();
        return true;
    default:
        return true;
    }
}

bool replay_exception(void)
{
    if (replay_vcpu_event(REPLAY_EV_EXCEPTION)) {
        return true;
    }
    if (replay_next_event_is(REPLAY_EV_INSTRUCTION)
        || replay_next_event_is(REPLAY_EV_INTERRUPT)) {
        /* Until this is taken the vCPU does nothing else: it would wait. */
        replay_mismatch(REPLAY_EV_EXCEPTION);
    }
    return false;
}

bool replay_has_exception(void)
{
    return replay_next_is_now(REPLAY_EV_EXCEPTION);
}

bool replay_interrupt(void)
{
    return replay_vcpu_event(REPLAY_EV_INTERRUPT);
}

bool replay_has_interrupt(void)
{
    return replay_next_is_now(REPLAY_EV_INTERRUPT);
}

static ReplayLogEventKind replay_checkpoint_kind(ReplayCheckpoint checkpoint)
{
    static const ReplayLogEventKind kinds[CHECKPOINT_COUNT] = {
        [CHECKPOINT_CLOCK_WARP_START] = REPLAY_EV_CHECKPOINT_WARP_START,
        [CHECKPOINT_CLOCK_WARP_ACCOUNT] = REPLAY_EV_CHECKPOINT_WARP_ACCOUNT,
        [CHECKPOINT_RESET_REQUESTED] = REPLAY_EV_CHECKPOINT_RESET_REQUESTED,
        [CHECKPOINT_SUSPEND_REQUESTED] = REPLAY_EV_CHECKPOINT_SUSPEND_REQUESTED,
        [CHECKPOINT_CLOCK_VIRTUAL] = REPLAY_EV_CHECKPOINT_CLOCK_VIRTUAL,
        [CHECKPOINT_CLOCK_HOST] = REPLAY_EV_CHECKPOINT_CLOCK_HOST,
        [CHECKPOINT_CLOCK_VIRTUAL_RT] = REPLAY_EV_CHECKPOINT_CLOCK_VIRTUAL_RT,
        [CHECKPOINT_INIT] = REPLAY_EV_CHECKPOINT_INIT,
        [CHECKPOINT_RESET] = REPLAY_EV_CHECKPOINT_RESET,
    };

    return kinds[checkpoint];
}

/*
 * While it is stopped, a recorder does nothing that its recording has to know,
 * and a replay nothing that the recording has: the other one does not stop
 * there.  So clocks stand still, and timers that can touch the guest wait for
 * it to go on.
 */
static bool replay_checkpoint_waits(ReplayCheckpoint checkpoint)
{
    return (checkpoint == CHECKPOINT_CLOCK_HOST
            || checkpoint == CHECKPOINT_CLOCK_VIRTUAL_RT)
           && replay_is_stopped();
}

bool replay_checkpoint(ReplayCheckpoint checkpoint)
{
    ReplayLogEventKind kind;

    if (replay_mode == REPLAY_MODE_NONE) {
        return true;
    }

    g_assert(replay_mutex_locked());
    if (replay_checkpoint_waits(checkpoint)) {
        return false;
    }
    kind = replay_checkpoint_kind(checkpoint);
    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_catch_up();
        replay_put0(kind);
        return true;
    }
    if (!replay_next_event_is(kind)) {
        return false;
    }
    replay_take_next();
    return true;
}

static bool replay_is_checkpoint(uint8_t kind)
{
    return kind >= REPLAY_EV_CHECKPOINT_WARP_START
           && kind <= REPLAY_EV_CHECKPOINT_RESET;
}

bool replay_has_event(void)
{
    uint8_t kind;

    if (replay_mode != REPLAY_MODE_PLAY) {
        return false;
    }
    replay_catch_up();
    kind = replay_now.next.kind;
    return replay_is_checkpoint(kind) || replay_is_async(kind);
}
