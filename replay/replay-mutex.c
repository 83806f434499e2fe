/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The replay mutex.  It keeps events whole and in one order while the main
 * loop and the vCPU thread both make them.  It hands out tickets, so that a
 * thread that releases it and takes it again at once, as the vCPU does, waits
 * for whoever asked in between.
 *
 * The vCPU thread has it while it executes the guest's code.  Who has to wait
 * for it asks the vCPU to come out: packets would be late otherwise.
 */

#include "qemu/osdep.h"
#include "hw/core/cpu.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "sysemu/cpus.h"
#include "sysemu/replay.h"
#include "replay-mutex.h"

static struct {
    QemuMutex lock;         /* of the members below */
    QemuCond turn;          /* @serving has changed */
    uint64_t next_ticket;
    uint64_t serving;
} mutex;

/* Whether this thread is the one that is being served. */
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

    /* Whoever has the BQL must not wait for one who waits for the BQL. */
    g_assert(!qemu_mutex_iothread_locked());
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

static void replay_do_nothing(CPUState *cpu, run_on_cpu_data data)
{
}

void replay_wake_vcpu(void)
{
    if (all_cpu_threads_idle() || !replay_mutex_locked()) {
        /*
         * A kick alone does not get a halted vCPU out of its sleep; and
         * without the mutex, it may be halted by the time of the kick.
         */
        async_run_on_cpu(first_cpu, replay_do_nothing, RUN_ON_CPU_NULL);
    } else {
        qemu_cpu_kick(first_cpu);
    }
}
