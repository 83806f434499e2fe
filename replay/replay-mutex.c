/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The replay mutex.  The main loop and the vCPU thread both produce events; the
 * mutex keeps each event whole, and all events in one order.  Each thread that
 * locks the mutex draws a ticket, and the tickets are served in order.  So when
 * the vCPU thread unlocks the mutex and locks it again at once, a thread that
 * has called replay_mutex_lock() in between gets the mutex first.
 *
 * The vCPU thread holds the mutex while it executes guest code.  A thread that
 * has to wait for the mutex kicks the vCPU out of the guest code, because
 * packets would be late otherwise.
 */

#include "qemu/osdep.h"
#include "hw/core/cpu.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "sysemu/cpus.h"
#include "sysemu/replay-base.h"
#include "sysemu/replay.h"
#include "replay-mutex.h"

static struct {
    QemuMutex lock;         /* protects the members below */
    QemuCond turn;          /* @serving has changed */
    uint64_t next_ticket;   /* for the next thread that locks the mutex */
    uint64_t serving;       /* ticket of the thread that holds the mutex */
} mutex;

/* Whether this thread holds the mutex. */
static __thread bool held;

void replay_mutex_create(void)
{
    qemu_mutex_init(&mutex.lock);
    qemu_cond_init(&mutex.turn);
    mutex.next_ticket = 1;
    held = true;
}

bool replay_mutex_locked(void)
{
    return held;
}

void replay_mutex_lock(void)
{
    uint64_t ticket;

    if (replay_mode == REPLAY_MODE_NONE) {
        return;
    }

    /*
     * The thread that holds the replay mutex may be waiting for the BQL, so a
     * thread that waited for the mutex with the BQL held would deadlock.
     */
    g_assert(!bql_locked());
    g_assert(!held);

    WITH_QEMU_LOCK_GUARD(&mutex.lock) {
        ticket = mutex.next_ticket++;
        if (mutex.serving != ticket && first_cpu && !qemu_in_vcpu_thread()) {
            qemu_cpu_kick(first_cpu);
        }
        while (mutex.serving != ticket) {
            qemu_cond_wait(&mutex.turn, &mutex.lock);
        }
    }
    held = true;
}

void replay_mutex_unlock(void)
{
    if (replay_mode == REPLAY_MODE_NONE) {
        return;
    }

    g_assert(held);
    held = false;
    WITH_QEMU_LOCK_GUARD(&mutex.lock) {
        mutex.serving++;
        if (mutex.serving != mutex.next_ticket) {
            qemu_cond_broadcast(&mutex.turn);
        }
    }
}

bool replay_mutex_release(void)
{
    if (!held) {
        return false;
    }
    replay_mutex_unlock();
    return true;
}

static void replay_mutex_do_nothing(CPUState *cpu, run_on_cpu_data data)
{
}

void replay_wake_vcpu(void)
{
    if (all_cpu_threads_idle() || !replay_mutex_locked()) {
        /*
         * A kick alone does not wake the thread of a halted vCPU, but queued
         * work does.  Without the replay mutex, the guest may halt between
         * this check and the kick.
         */
        async_run_on_cpu(first_cpu, replay_mutex_do_nothing, RUN_ON_CPU_NULL);
    } else {
        qemu_cpu_kick(first_cpu);
    }
}
