/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Reports to the user about the end of a replay.  Callers of these functions
 * hold the replay mutex.
 */

#ifndef REPLAY_REPORT_H
#define REPLAY_REPORT_H

#include "replay-now.h"

/**
 * replay_fail: report that the replay cannot continue
 * @reason: the class of the failure, for QMP
 * @remedy: what the user can do, whole sentences; or NULL
 * @fmt: what was expected and what was found, one line without a full stop
 *
 * Reports all that is known on stderr and as a QMP event: file, offset, event,
 * packet, adapter, instruction, program counter, the last events.  With
 * rrerror=exit this function then exits with status 1.  With rrerror=stop it
 * requests that the machine be paused, and returns.  From then on there is no
 * next event, and the caller continues with a harmless value until the vCPU
 * leaves its loop, before the next translation block.
 *
 * Only the first failure is reported.
 *
 * Context: any thread.
 */
void replay_fail(ReplayEndReason reason, const char *remedy,
                 const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* Like replay_fail(), with an error object; @err is owned. */
void replay_fail_err(ReplayEndReason reason, const char *remedy, Error *err);

/*
 * Like replay_fail(), for a guest that does not behave as it did when it was
 * recorded.
 */
void replay_diverge(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/*
 * Like replay_diverge(), for a guest that needs an event of the kind @needed
 * when the next event has another kind.
 */
void replay_mismatch(ReplayLogEventKind needed);

/**
 * replay_report_guest_event: for a report, note which event the guest produces
 * @kind: kind of the event
 * @adapter: netdev id, borrowed while the adapter lives; or NULL
 * @packet: number of the packet among those that the guest sends through
 *          @adapter, from 1
 */
void replay_report_guest_event(ReplayLogEventKind kind, const char *adapter,
                               uint64_t packet);

/* For a report, note that @ev (copied) has been replayed. */
void replay_report_replayed(const ReplayLogEvent *ev);

/* Report the regular end of the recording as a QMP event, once. */
void replay_report_end(void);

/* Forget the noted events: a snapshot has moved the replay elsewhere. */
void replay_report_reset(void);

#endif
