/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What TCG's loop and the main loop ask.  TCG's loop: how many instructions may
 * the vCPU execute?  Is an interrupt or an exception the next event?  Both
 * loops, and QEMU's start-up: may a list of timers run, or has something else
 * to happen first (a checkpoint)?
 *
 * In a replay the vCPU thread gets exactly the recorded number of instructions
 * as its budget.  When it has executed them, the event after them becomes the
 * next event.  The code that produces an event of this kind then asks, and gets
 * the answer true.  If it asks earlier, it gets false and asks again later.
 *
 * One thread executes all vCPUs, in turn.  A recorder lets a vCPU execute until
 * it halts or pauses, or its slice is used up; then the next one that is not
 * asleep has its turn.  A part of this depends on the host.  So whenever
 * another vCPU than before executes something, that becomes an event.  A turn
 * in which a vCPU executes nothing leaves no trace.  In a replay only the vCPU
 * of the last such event executes; the others stand still, even if they could
 * leave a halt.
 */

#include "qemu/osdep.h"
#include "hw/core/cpu.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/cpus.h"
#include "sysemu/replay-base.h"
#include "replay-events.h"
#include "replay-report.h"
#include "replay-stop.h"
#include "replay-stream.h"

/* Largest budget of the vCPU in a replay; then the main loop gets the mutex. */
#define BUDGET_MAX_INSNS          (1 << 20)

/*
 * Record: how long a vCPU executes before the next one, if there are several.
 * A turn costs some 50 us, so it has at least SLICE_MIN_INSNS; but a guest
 * whose vCPUs do not see their timers in time takes that for a fault.
 */
#define SLICE_NS                  SCALE_MS
#define SLICE_MIN_INSNS           (1 << 17)

/* The main loop is about to reset or suspend the machine.  BQL. */
static bool held;

/* Record: the turn of the vCPU replay_now.turn.  vCPU thread. */
static struct {
    uint64_t end_icount;        /* where its slice is used up */
    bool over;                  /* the vCPU has given up the rest */
    /* the same for the vCPU chosen last, whose turn may not have begun */
    uint64_t chosen_end_icount;
} turn;

/* Replay: where the run of guest code under way has begun.  vCPU thread. */
static uint64_t run_icount;

/* --- Instructions ------------------------------------------------------ */

int replay_get_instructions(void)
{
    uint64_t insns = 0;

    if (replay_next_event_is(REPLAY_EV_INSTRUCTION)) {
        insns = replay_stop_limit(MIN(replay_now.insns_left,
                                      BUDGET_MAX_INSNS));
    }
    return insns;
}

/* Returns: whether a step of gdb ends with the run of guest code that ends. */
static bool replay_vcpu_has_stepped(const CPUState *cpu)
{
    return replay_mode == REPLAY_MODE_PLAY && cpu->singlestep_enabled
           && replay_now.icount != run_icount;
}

/*
 * Called at the end of each run of guest code.  A recorder counts the
 * instructions later, when it puts the next event.
 */
void replay_account_executed_instructions(void)
{
    if (replay_mode != REPLAY_MODE_PLAY) {
        return;
    }
    replay_catch_up();
    if (current_cpu->singlestep_enabled
        || !QTAILQ_EMPTY(&current_cpu->breakpoints)
        || !QTAILQ_EMPTY(&current_cpu->watchpoints)) {
        replay_hold_main_loop(replay_vcpu_has_stepped(current_cpu));
    }
}

/* --- Interrupts, exceptions, checkpoints ------------------------------- */

/* Returns: whether a replay is at an event of this kind. */
static bool replay_vcpu_next_is(ReplayLogEventKind kind)
{
    if (replay_mode != REPLAY_MODE_PLAY) {
        return false;
    }
    replay_catch_up();
    return replay_next_event_is(kind) && !replay_is_held();
}

/*
 * Record: put an event.  Replay: take the event if it is next.
 *
 * Returns: whether the event happens now.
 */
static bool replay_vcpu_event(ReplayLogEventKind kind)
{
    switch (replay_mode) {
    case REPLAY_MODE_RECORD:
        replay_catch_up();
        replay_put_turn();
        replay_put0(kind);
        return true;
    case REPLAY_MODE_PLAY:
        if (!replay_vcpu_next_is(kind)) {
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
    if (!replay_is_held() && (replay_next_event_is(REPLAY_EV_INSTRUCTION)
                              || replay_next_event_is(REPLAY_EV_INTERRUPT))) {
        /*
         * The vCPU does nothing else until it has taken the exception, and the
         * next event needs the vCPU: the replay would wait forever.
         */
        replay_mismatch(REPLAY_EV_EXCEPTION);
    }
    return false;
}

bool replay_has_exception(void)
{
    return replay_vcpu_next_is(REPLAY_EV_EXCEPTION);
}

/*
 * The interrupt that ends the halt is pending, but other events precede it.
 * Otherwise it would depend on the speed of two threads whether the vCPU is
 * halted at a place of the replay.
 */
bool replay_vcpu_stays_halted(void)
{
    return replay_mode == REPLAY_MODE_PLAY
           && (replay_is_held()
               || !(replay_next_event_is(REPLAY_EV_INTERRUPT)
                    || replay_next_event_is(REPLAY_EV_EXCEPTION)
                    || replay_next_event_is(REPLAY_EV_INSTRUCTION)));
}

bool replay_interrupt(void)
{
    return replay_vcpu_event(REPLAY_EV_INTERRUPT);
}

bool replay_has_interrupt(void)
{
    return replay_vcpu_next_is(REPLAY_EV_INTERRUPT);
}

/* --- Several vCPUs ------------------------------------------------------- */

static bool replay_vcpu_has_others(void)
{
    return CPU_NEXT(first_cpu);
}

CPUState *replay_vcpu_current(void)
{
    return replay_vcpu_has_others() ? qemu_get_cpu(replay_now.vcpu) : first_cpu;
}

static bool replay_vcpu_is_awake(CPUState *cpu)
{
    return cpu_can_run(cpu) && (!cpu->halted || cpu_has_work(cpu));
}

/* Record: the turn of the vCPU that was chosen last begins. */
static void replay_vcpu_start_turn(void)
{
    turn.over = false;
    turn.end_icount = turn.chosen_end_icount;
}

/*
 * Record: the vCPU whose turn it is; if the turn is over, the next one.  The
 * turn of that one starts when it begins to execute: it may have other work
 * first.
 */
static CPUState *replay_vcpu_next(void)
{
    CPUState *last = qemu_get_cpu(replay_now.turn);
    CPUState *cpu = last;
    uint64_t icount = replay_get_current_icount();

    if (!turn.over && icount < turn.end_icount && replay_vcpu_is_awake(last)) {
        turn.chosen_end_icount = turn.end_icount;
        return last;
    }
    do {
        cpu = CPU_NEXT(cpu) ?: first_cpu;
    } while (cpu != last && !replay_vcpu_is_awake(cpu));
    turn.chosen_end_icount = icount + MAX(SLICE_MIN_INSNS,
                                          SLICE_NS / icount_to_ns(1));
    if (cpu == last) {
        replay_vcpu_start_turn();
    }
    return cpu;
}

/* Replay: take the event that changes the vCPU, if it is next. */
static void replay_vcpu_change(void)
{
    uint64_t number;

    if (!replay_vcpu_next_is(REPLAY_EV_VCPU)) {
        return;
    }
    number = replay_now.next.num[0];
    if (number > INT_MAX || !qemu_get_cpu(number)) {
        replay_fail(REPLAY_END_REASON_DAMAGED, NULL,
                    "the recording continues on vCPU %" PRIu64 ", which the "
                    "machine does not have", number);
        return;
    }
    replay_now.vcpu = number;
    tlb_flush(qemu_get_cpu(number));
    replay_take_next();
}

CPUState *replay_vcpu_choose(CPUState *cpu)
{
    if (replay_mode == REPLAY_MODE_NONE || !replay_vcpu_has_others()) {
        return cpu ?: first_cpu;
    }
    if (replay_mode == REPLAY_MODE_RECORD) {
        return replay_vcpu_next();
    }
    replay_vcpu_change();
    return replay_vcpu_current();
}

/*
 * Other vCPUs may have changed the page tables since the last turn of @cpu, and
 * it may not know of that before it takes an interrupt.  Until then it may use
 * what its TLB has, or find the new state, and what a TLB has is not the same
 * in each replay.  So @cpu begins with an empty one, as it does in a replay.
 */
void replay_vcpu_begin(CPUState *cpu)
{
    run_icount = replay_now.icount;
    if (replay_mode != REPLAY_MODE_RECORD
        || cpu->cpu_index == replay_now.turn) {
        return;
    }
    replay_catch_up();
    replay_now.turn = cpu->cpu_index;
    replay_vcpu_start_turn();
    if (replay_now.turn != replay_now.vcpu) {
        tlb_flush(cpu);
    }
}

void replay_vcpu_yield(void)
{
    turn.over = true;
}

int64_t replay_vcpu_slice(int64_t insns)
{
    if (replay_mode != REPLAY_MODE_RECORD || !replay_vcpu_has_others()) {
        return insns;
    }
    return MIN(insns, turn.chosen_end_icount - replay_get_current_icount());
}

bool replay_vcpu_step_ends(const CPUState *cpu)
{
    if (!replay_vcpu_has_stepped(cpu)) {
        return false;
    }
    /* If gdb stops here, replay_gdb_stops() follows before the BQL is free. */
    replay_step_is_known();
    return true;
}

bool replay_vcpu_waits(const CPUState *cpu)
{
    return replay_mode == REPLAY_MODE_PLAY
           && cpu->cpu_index != replay_now.vcpu
           && !(replay_next_event_is(REPLAY_EV_VCPU)
                && replay_now.next.num[0] == cpu->cpu_index);
}

static ReplayLogEventKind
replay_vcpu_checkpoint_kind(ReplayCheckpoint checkpoint)
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
 * Recorder and replay stop at different places.  So a stopped recorder must not
 * do anything that needs an event, and a stopped replay must not take any
 * event.  Therefore clocks stand still, and timers that can touch the guest
 * wait until the machine continues.  This holds before the machine first runs,
 * too: only one of the two may have been started with -S.
 */
static bool replay_vcpu_checkpoint_waits(ReplayCheckpoint checkpoint)
{
    return (checkpoint == CHECKPOINT_CLOCK_HOST
            || checkpoint == CHECKPOINT_CLOCK_VIRTUAL_RT)
           && replay_timers_wait();
}

/*
 * After these checkpoints the main loop stops the vCPU, and then resets or
 * suspends the machine.  While the main loop waits for the vCPU to stop, the
 * vCPU thread must not run events: no recording could say whether they precede
 * the reset.
 */
static void replay_vcpu_hold(ReplayCheckpoint checkpoint)
{
    if (checkpoint == CHECKPOINT_RESET_REQUESTED
        || checkpoint == CHECKPOINT_SUSPEND_REQUESTED) {
        held = true;
    }
}

bool replay_vcpu_is_held(void)
{
    return held;
}

void replay_vcpu_release(void)
{
    held = false;
}

bool replay_checkpoint(ReplayCheckpoint checkpoint)
{
    ReplayLogEventKind kind;

    if (replay_mode == REPLAY_MODE_NONE) {
        return true;
    }

    g_assert(replay_mutex_locked());
    if (replay_vcpu_checkpoint_waits(checkpoint)) {
        return false;
    }
    if (checkpoint == CHECKPOINT_RESET_REQUESTED && !replay_has_begun()) {
        /* The user resets a machine that has not run: nothing changes. */
        return true;
    }
    kind = replay_vcpu_checkpoint_kind(checkpoint);
    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_catch_up();
        replay_put0(kind);
        replay_vcpu_hold(checkpoint);
        return true;
    }
    /*
     * Unlike replay_vcpu_event(), do not catch up: no guest code runs at a
     * checkpoint, and the vCPU thread has counted the instructions of its last
     * run in replay_account_executed_instructions().
     */
    if (!replay_next_event_is(kind) || replay_is_held()) {
        return false;
    }
    replay_take_next();
    replay_vcpu_hold(checkpoint);
    return true;
}

static bool replay_vcpu_is_checkpoint(uint8_t kind)
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
    return replay_vcpu_is_checkpoint(kind) || replay_is_async(kind);
}
