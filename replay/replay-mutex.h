/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The replay mutex, for the files below replay/.  sysemu/replay.h has what
 * everybody calls.
 */

#ifndef REPLAY_MUTEX_H
#define REPLAY_MUTEX_H

/* Make the mutex; the calling thread holds it.  Context: start-up, once. */
void replay_mutex_create(void);

/*
 * Have the vCPU thread leave the guest code, or its sleep if the guest is
 * halted, and run replay_async_events().  Context: BQL.
 */
void replay_wake_vcpu(void);

#endif
