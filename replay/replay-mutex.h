/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The replay mutex: functions for the files in replay/ only.  sysemu/replay.h
 * declares the functions that the rest of QEMU calls too.
 */

#ifndef REPLAY_MUTEX_H
#define REPLAY_MUTEX_H

/* Make the mutex; the calling thread holds it.  Context: start-up, once. */
void replay_mutex_create(void);

/*
 * Make the vCPU thread call replay_async_events() soon: it leaves the guest
 * code, or wakes up if the guest is halted.  Context: with the BQL.
 */
void replay_wake_vcpu(void);

#endif
