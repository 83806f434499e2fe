/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Why a replay ends, for the user.  Everything here needs the replay mutex.
 */

#ifndef REPLAY_REPORT_H
#define REPLAY_REPORT_H

#include "replay-now.h"

/**
 * replay_fail: the replay cannot go on
 * @reason: in one word
 * @remedy: what the user can do, or NULL
 * @fmt: what was expected and what was found, one line without a full stop
 *
 * Reports on stderr and as a QMP event all that is known: file, offset, event,
 * packet, adapter, instruction, program counter, the last events.  Then, as
 * rrerror= says, exits with status 1, or requests that the machine be paused
 * and returns.  In the second case no event is next from then on, and the
 * caller goes on with a harmless value until the vCPU has left its loop, at the
 * next block of code.
 *
 * Context: any thread; only the first failure is reported.
 */
void replay_fail(ReplayEndReason reason, const char *remedy,
                 const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* The same, with an error object; @err is owned. */
void replay_fail_err(ReplayEndReason reason, const char *remedy, Error *err);

/* The same for a guest that does something else than it did. */
void replay_diverge(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* The guest needs an event of the kind @expected, and another one is next. */
void replay_mismatch(ReplayLogEventKind expected);

/**
 * replay_report_guest_event: for a report, note the event that the guest makes
 * @kind: the event
 * @adapter: netdev id, borrowed while the adapter lives; or NULL
 * @packet: number of the packet that the guest sends there, from 1
 */
void replay_report_guest_event(ReplayLogEventKind kind, const char *adapter,
                               uint64_t packet);

/* For a report, note an event that has been replayed. */
void replay_report_replayed(const ReplayLogEvent *ev);

/* The clean end of the recording was reached: send the QMP event, once. */
void replay_report_end(void);

/* Forget all that was noted: another place of the recording was loaded. */
void replay_report_reset(void);

#endif
