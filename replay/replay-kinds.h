/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The kinds of events: the operations of the asynchronous ones, and what the
 * floors above call of a kind.  Unless it says otherwise, everything here needs
 * the replay mutex.
 */

#ifndef REPLAY_KINDS_H
#define REPLAY_KINDS_H

#include "qapi/qapi-types-replay.h"
#include "replay-events.h"
#include "replay-log.h"

/* --- Asynchronous events, for the table in replay.c ---------------------- */

extern const ReplayEventOps replay_bh_ops;
extern const ReplayEventOps replay_bh_oneshot_ops;
extern const ReplayEventOps replay_block_ops;
extern const ReplayEventOps replay_input_ops;
extern const ReplayEventOps replay_input_sync_ops;
extern const ReplayEventOps replay_char_read_ops;
extern const ReplayEventOps replay_char_mux_ops;
extern const ReplayEventOps replay_net_ops;
extern const ReplayEventOps replay_link_ops;

/* --- Bottom halves and block requests ------------------------------------ */

/* Returns: whether the host works on a block request. */
bool replay_block_is_busy(void);

/* --- Requests to shut down ------------------------------------------------ */

/*
 * Replay: @ev is the next event.  Returns: whether it is a request of the host,
 * which no code makes again: it was noted, and the event behind it is next.
 */
bool replay_shutdown_pass(const ReplayLogEvent *ev);

/* Replay: the recording has ended: the request that ended its recorder. */
void replay_shutdown_at_end(void);

/* Replay: a device ends QEMU, in the middle of what the guest does. */
void replay_shutdown_in_device(void);

/* Replay: has the guest ended the machine? */
bool replay_shutdown_is_by_guest(void);

/* Record: the recording ends: put the request of the host that is not there. */
void replay_shutdown_finish(void);

/* --- Clocks -------------------------------------------------------------- */

/**
 * replay_skip_clocks: pass over readings of clocks that no code repeats
 *
 * Code that reads a clock for the guest does so in the same turn as the event
 * before it in the recording.  So a reading that is next when the main loop
 * has its turn was QEMU's own (while it made a snapshot, for example).
 *
 * Context: main loop; replay.
 */
void replay_skip_clocks(void);

/* --- Character devices --------------------------------------------------- */

/* Add the character devices that are recorded to @d. */
void replay_char_describe(ReplayLogDescription *d);

/* --- Adapters and packets ------------------------------------------------ */

/* Add the adapters to @d, in the order of their numbers. */
void replay_net_describe(ReplayLogDescription *d);

/**
 * replay_net_begin: give the adapters their numbers; the set is fixed now
 * @recorded: replay: the description of the recording; record: NULL
 *
 * A replay takes the numbers from @recorded.  A recorder numbers the adapters
 * in the order in which replay_net_describe() has named them.
 *
 * Context: once, when the machine first runs.
 */
void replay_net_begin(const ReplayLogDescription *recorded);

/* The recording has ended: adapters have no numbers any more. */
void replay_net_finish(void);

/**
 * replay_net_poll: wake the vCPU thread if a NIC can take packets, and let
 * netdevs go on that can
 * @timeout_ns: how long the main loop would sleep; -1 for ever
 *
 * Context: main loop, before it polls; BQL, the replay mutex is not needed.
 * Returns: how long it may sleep, ns; -1 for ever.
 */
int64_t replay_net_poll(int64_t timeout_ns);

/* Returns: the adapters for query-replay; owned. */
ReplayAdapterInfoList *replay_net_query(void);

#endif
