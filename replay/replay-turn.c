/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whose turn it is in a replay, and that somebody takes it.
 *
 * The next event of the recording is made by one of two threads: the main
 * loop (it runs timers of the host's clocks, resets and shuts down) or the
 * vCPU thread (everything else).  Each may be asleep: the main loop for a
 * deadline in the time of the host, the vCPU thread because the guest is
 * halted.  Here the main loop is kept from sleeping when it is its turn, and
 * wakes the vCPU thread when it is that one's.  A replay has no reason to
 * wait for time to pass.
 *
 * If both threads have come round many times, and the next event is still the
 * same, then nobody is going to make it: the replay has left the recording.
 * That is counted in rounds, not in time, and disk requests under way are
 * waited for, because their time is the host's.
 */

#include "qemu/osdep.h"
#include "hw/core/cpu.h"
#include "qemu/main-loop.h"
#include "sysemu/cpus.h"
#include "sysemu/replay.h"
#include "sysemu/runstate.h"
#include "replay-events.h"
#include "replay-kinds.h"
#include "replay-mutex.h"
#include "replay-report.h"
#include "replay-stream.h"

/* Rounds of both threads without an event or an instruction. */
#define STUCK_ROUNDS            1000

/* From this round on the main loop does not spin, but waits so long. */
#define SPIN_ROUNDS             100
#define ROUND_MAX_NS            SCALE_MS

/* How long the main loop sleeps at the least while the machine is stopped. */
#define STOPPED_MIN_NS          (10 * SCALE_MS)

/*
 * How long the main loop may sleep when it is the vCPU's turn: when something
 * has happened since its last round, and when not.  It is woken for its turn.
 */
#define VCPU_TURN_MAX_NS        (100 * SCALE_MS)
#define VCPU_STILL_MAX_NS       (10 * SCALE_MS)

/* Replay mutex. */
static struct {
    uint64_t event;             /* what was next when it was last looked at */
    uint64_t insns_left;
    unsigned main_rounds;       /* since then */
    uint64_t vcpu_rounds;       /* replay_events_rounds() then */
} turn;

/* Has anything happened since the last look? */
static bool replay_has_progressed(void)
{
    if (turn.event == replay_now.pos.event
        && turn.insns_left == replay_now.insns_left) {
        return false;
    }
    turn.event = replay_now.pos.event;
    turn.insns_left = replay_now.insns_left;
    turn.main_rounds = 0;
    turn.vcpu_rounds = replay_events_rounds();
    return true;
}

/* A recording that has ended, and in which nothing ends the machine. */
static int64_t replay_wait_for_end(int64_t timeout_ns)
{
    if (replay_has_failed()) {
        return timeout_ns;
    }
    if (!replay_has_progressed() && ++turn.main_rounds > STUCK_ROUNDS) {
        replay_fail(REPLAY_END_REASON_STUCK, NULL,
                    "the recording has ended, and the machine has not");
        return 0;
    }
    return qemu_soonest_timeout(timeout_ns, ROUND_MAX_NS);
}

int64_t replay_main_loop_timeout(int64_t timeout_ns)
{
    uint8_t kind;
    bool vcpu_idle;

    timeout_ns = replay_net_poll(timeout_ns);
    if (replay_is_stopped() && timeout_ns >= 0) {
        /* A timer that has expired, and waits for the machine to go on. */
        return MAX(timeout_ns, STOPPED_MIN_NS);
    }
    if (replay_mode != REPLAY_MODE_PLAY || !replay_machine_is_live()
        || !replay_events_enabled()) {
        return timeout_ns;
    }
    replay_skip_clocks();
    kind = replay_now.next.kind;
    if (kind == REPLAY_EV_NONE) {
        return replay_wait_for_end(timeout_ns);
    }

    vcpu_idle = all_cpu_threads_idle();
    if (!replay_has_progressed()) {
        turn.main_rounds++;
        if (turn.main_rounds > STUCK_ROUNDS
            && (vcpu_idle || replay_events_rounds() - turn.vcpu_rounds
                             > STUCK_ROUNDS)) {
            if (!replay_block_is_busy()) {
                replay_fail(REPLAY_END_REASON_STUCK, NULL,
                            "the recording has the event '%s' next, and "
                            "nothing makes it: %s",
                            replay_log_event_name(kind),
                            vcpu_idle ? "the guest is halted"
                                      : "the guest does something else");
                return 0;
            }
            /* What they complete has as many rounds to get to the guest. */
            turn.main_rounds = SPIN_ROUNDS;
            turn.vcpu_rounds = replay_events_rounds();
        }
    }

    if (replay_is_main_loop_event(kind)) {
        return turn.main_rounds > SPIN_ROUNDS ? ROUND_MAX_NS : 0;
    }
    if (vcpu_idle) {
        replay_wake_vcpu();
    }
    return qemu_soonest_timeout(timeout_ns,
        turn.main_rounds > SPIN_ROUNDS ? ROUND_MAX_NS :
        turn.main_rounds ? VCPU_STILL_MAX_NS : VCPU_TURN_MAX_NS);
}
