/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Where a replay stops, exactly.
 *
 * Only the main loop can stop the machine, because it has to wait for the vCPU
 * thread.  Between the moment at which the replay arrives at a place and the
 * moment at which the main loop stops it, the vCPU thread executes no
 * instruction, because its budget ends there.  But events could happen: a
 * packet would be delivered, a timer would run.  So when the replay has
 * arrived, it is held: no event begins until the machine runs again.  The state
 * of the machine at a place is then always the same, however the replay has
 * got there.
 *
 * An event that guest code or a device causes while it runs (a clock is read, a
 * packet is sent) cannot be held.  A replay that is to stop before such an
 * event stops behind the instruction, or the callback of the device.
 */

#include "qemu/osdep.h"
#include "sysemu/cpus.h"
#include "replay-stop.h"

/* Replay mutex. */
static struct {
    bool set;
    ReplayPlace place;
    QEMUTimer *timer;           /* calls @arrived in the main loop; owned */
    bool arrived;               /* the timer was armed */
    bool held;                  /* by replay_hold() */
    bool main_loop_held;        /* by replay_hold_main_loop() */
    bool step_ended;            /* by the same: also while the vCPU is halted */
} stop;

ReplayPlace replay_here(void)
{
    return (ReplayPlace) {
        .event = replay_now.pos.event,
        .icount = replay_now.icount,
    };
}

void replay_stop_at(const ReplayPlace *place, QEMUTimerCB *arrived)
{
    replay_stop_nowhere();
    stop.set = true;
    stop.place = *place;
    stop.timer = timer_new_ns(QEMU_CLOCK_REALTIME, arrived, NULL);
}

void replay_stop_nowhere(void)
{
    stop.set = false;
    stop.arrived = false;
    timer_free(g_steal_pointer(&stop.timer));
}

bool replay_stop_is_set(ReplayPlace *place)
{
    if (stop.set && place) {
        *place = stop.place;
    }
    return stop.set;
}

uint64_t replay_stop_limit(uint64_t insns)
{
    ReplayPlace here = replay_here();

    if (!stop.set || here.event < stop.place.event) {
        return insns;
    }
    if (here.event > stop.place.event || here.icount >= stop.place.icount) {
        return 0;
    }
    return MIN(insns, stop.place.icount - here.icount);
}

void replay_hold(void)
{
    if (replay_mode == REPLAY_MODE_PLAY) {
        stop.held = true;
    }
}

void replay_release(void)
{
    stop.held = false;
}

void replay_hold_main_loop(bool step_ended)
{
    stop.main_loop_held = true;
    stop.step_ended = step_ended;
}

void replay_step_is_known(void)
{
    stop.step_ended = false;
}

/*
 * The vCPU thread has found out when it lets its next event begin, or when it
 * sleeps.
 */
static bool replay_stop_main_loop_is_held(void)
{
    if (stop.main_loop_held
        && (qemu_in_vcpu_thread()
            || (!stop.step_ended && all_cpu_threads_idle()))) {
        stop.main_loop_held = false;
    }
    return stop.main_loop_held;
}

bool replay_is_held(void)
{
    ReplayPlace here;

    if (stop.held || replay_stop_main_loop_is_held()) {
        return true;
    }
    if (!stop.set) {
        return false;
    }
    here = replay_here();
    if (replay_place_compare(&here, &stop.place) < 0) {
        return false;
    }
    if (!stop.arrived) {
        stop.arrived = true;
        timer_mod_ns(stop.timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME));
    }
    return true;
}
