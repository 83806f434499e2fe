/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which thread's turn it is in a replay, and what happens if neither thread
 * takes it.
 *
 * One of two threads produces the next event of the recording: the main loop
 * (it runs timers of the host's clocks, and resets and suspends the machine) or
 * the vCPU thread (everything else).  A request of the guest to shut down can
 * come from either thread, and counts as the main loop's turn.  Each of the
 * threads may be asleep: the main loop until a deadline of a host clock, the
 * vCPU thread because the guest is halted.  A replay has no reason to wait for
 * time to pass.  So in its own turn the main loop does not sleep, and in the
 * vCPU thread's turn the main loop wakes the vCPU thread.  When the vCPU thread
 * takes an event and the main loop's turn comes, replay_take_next() wakes the
 * main loop.
 *
 * If both threads have done STUCK_ROUNDS rounds and the next event is still the
 * same, neither of them is going to produce it: the replay has left the
 * recording.  This is counted in rounds, not in time.  Block requests under way
 * take time of the host, so the replay waits until they are done.
 */

#include "qemu/osdep.h"
#include "sysemu/cpus.h"
#include "sysemu/replay.h"
#include "replay-events.h"
#include "replay-kinds.h"
#include "replay-mutex.h"
#include "replay-report.h"
#include "replay-stream.h"

/* A replay fails after this number of rounds without progress. */
#define STUCK_ROUNDS            1000

/*
 * After this number of rounds without progress, the main loop no longer spins,
 * but may sleep in each round for up to ROUND_MAX_NS.
 */
#define SPIN_ROUNDS             100
#define ROUND_MAX_NS            SCALE_MS

/* How long the main loop sleeps at least while the machine is stopped. */
#define STOPPED_MIN_NS          (10 * SCALE_MS)

/*
 * Upper bounds on the main loop's sleep in the vCPU thread's turn: with
 * progress since its last round, and without.
 */
#define PROGRESS_MAX_NS         (100 * SCALE_MS)
#define NO_PROGRESS_MAX_NS      (10 * SCALE_MS)

/* Replay mutex. */
static struct {
    /* replay_now.pos.event and .insns_left when progress was last seen */
    uint64_t event;
    uint64_t insns_left;
    unsigned main_rounds;       /* of the main loop since then */
    uint64_t vcpu_rounds;       /* replay_events_rounds() at that time */
} turn;

/*
 * Returns: whether an event was replayed or an instruction executed since the
 * last call.
 */
static bool replay_turn_has_progressed(void)
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

/*
 * The recording has no next event.  Normally its last events have made the
 * machine shut down, and this happens soon; otherwise the replay fails.
 *
 * Returns: how long the main loop may sleep, ns; -1 is forever.
 */
static int64_t replay_turn_wait_for_end(int64_t timeout_ns)
{
    if (replay_has_failed()) {
        return timeout_ns;
    }
    if (!replay_turn_has_progressed() && ++turn.main_rounds > STUCK_ROUNDS) {
        replay_fail(REPLAY_END_REASON_STUCK, NULL, "the recording has ended, "
                    "but the machine has not shut down");
        return 0;
    }
    return qemu_soonest_timeout(timeout_ns, ROUND_MAX_NS);
}

/*
 * Counts a round of the main loop.
 *
 * Returns: whether neither thread is going to produce the next event.  The
 * rounds of an idle vCPU thread do not matter.
 */
static bool replay_turn_is_stuck(bool vcpu_idle)
{
    if (replay_turn_has_progressed()) {
        return false;
    }
    turn.main_rounds++;
    if (turn.main_rounds <= STUCK_ROUNDS) {
        return false;
    }
    if (!vcpu_idle
        && replay_events_rounds() - turn.vcpu_rounds <= STUCK_ROUNDS) {
        return false;
    }
    if (replay_block_is_busy()) {
        /*
         * When the requests are done, their completions have to reach the
         * guest.  Both threads get more rounds for that: the main loop
         * STUCK_ROUNDS - SPIN_ROUNDS, the vCPU thread STUCK_ROUNDS.
         */
        turn.main_rounds = SPIN_ROUNDS;
        turn.vcpu_rounds = replay_events_rounds();
        return false;
    }
    return true;
}

static bool replay_turn_has_spun(void)
{
    return turn.main_rounds > SPIN_ROUNDS;
}

/* Returns: how long the main loop may sleep in its own turn, ns. */
static int64_t replay_turn_main_loop_max_ns(void)
{
    return replay_turn_has_spun() ? ROUND_MAX_NS : 0;
}

/* Returns: how long the main loop may sleep in the vCPU thread's turn, ns. */
static int64_t replay_turn_vcpu_max_ns(void)
{
    if (replay_turn_has_spun()) {
        return ROUND_MAX_NS;
    }
    if (turn.main_rounds > 0) {
        return NO_PROGRESS_MAX_NS;
    }
    return PROGRESS_MAX_NS;
}

int64_t replay_main_loop_timeout(int64_t timeout_ns)
{
    uint8_t kind;
    bool vcpu_idle;

    timeout_ns = replay_net_poll(timeout_ns);
    if (replay_timers_wait() && timeout_ns >= 0) {
        /* One that has expired would make @timeout_ns 0 in every round. */
        return MAX(timeout_ns, STOPPED_MIN_NS);
    }
    if (replay_mode != REPLAY_MODE_PLAY || !replay_machine_is_live()
        || !replay_events_enabled()) {
        return timeout_ns;
    }
    replay_skip_clocks();
    kind = replay_now.next.kind;
    if (kind == REPLAY_EV_NONE) {
        return replay_turn_wait_for_end(timeout_ns);
    }

    vcpu_idle = all_cpu_threads_idle();
    if (replay_turn_is_stuck(vcpu_idle)) {
        replay_fail(REPLAY_END_REASON_STUCK, NULL,
                    "the next recorded event is '%s', but the guest %s",
                    replay_log_event_name(kind),
                    vcpu_idle ? "is halted and did not produce it"
                              : "did not produce it");
        return 0;
    }

    if (replay_is_main_loop_event(kind)) {
        return replay_turn_main_loop_max_ns();
    }
    if (vcpu_idle || kind == REPLAY_EV_VCPU) {
        replay_wake_vcpu();
    }
    return qemu_soonest_timeout(timeout_ns, replay_turn_vcpu_max_ns());
}
