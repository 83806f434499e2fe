/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the files below replay/ share with each other and with nobody else.
 * Unless it says otherwise, everything here needs the replay mutex.
 */

#ifndef QEMU_REPLAY_INTERNAL_H
#define QEMU_REPLAY_INTERNAL_H

#include "qemu/queue.h"
#include "replay-events.h"
#include "replay-log.h"
#include "replay-mutex.h"
#include "replay-now.h"
#include "replay-report.h"
#include "replay-stream.h"

/* --- replay-time.c ----------------------------------------------------- */

/**
 * replay_skip_clocks: pass over readings of clocks that nobody repeats
 *
 * Whoever reads a clock for the guest does so in the same turn as what stands
 * before it in the recording.  So if one is next when the main loop has its
 * turn, it was QEMU's own (a snapshot that was made, for example).
 *
 * Context: main loop, locked; replay.
 */
void replay_skip_clocks(void);

/* --- The kinds of events ------------------------------------------------ */

extern const ReplayEventOps replay_bh_ops;
extern const ReplayEventOps replay_bh_oneshot_ops;
extern const ReplayEventOps replay_block_ops;
extern const ReplayEventOps replay_input_ops;
extern const ReplayEventOps replay_input_sync_ops;
extern const ReplayEventOps replay_char_read_ops;
extern const ReplayEventOps replay_char_mux_ops;
extern const ReplayEventOps replay_net_ops;
extern const ReplayEventOps replay_net_link_ops;

/* --- replay-bh.c ------------------------------------------------------- */

/* Returns: whether the host works on a block request. */
bool replay_block_is_busy(void);

/* --- replay-net.c ------------------------------------------------------ */

/* Add the adapters to a description, in the order of their numbers. */
void replay_net_describe(ReplayLogDescription *d);

/**
 * replay_net_begin: give the adapters their numbers; none is added from here on
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
 * replay_net_poll: wake who can take, or bring, packets again
 * @timeout_ns: how long the main loop would sleep; -1 for ever
 *
 * Context: main loop, before it polls; BQL.
 * Returns: how long it may sleep.
 */
int64_t replay_net_poll(int64_t timeout_ns);

/* Returns: what query-replay says of the adapters; owned. */
ReplayAdapterInfoList *replay_net_query(void);

/* --- replay-char.c ----------------------------------------------------- */

/* Add the character devices that take part. */
void replay_char_describe(ReplayLogDescription *d);

/* --- replay-machine.c -------------------------------------------------- */

/* Returns: an owned description of the machine as it is now. */
ReplayLogDescription *replay_machine_describe(void);

/**
 * replay_machine_check: compare the recorded machine with @now, the one here
 *
 * Context: replay.
 * Returns: true; false with @errp set: all differences, one a line, and what
 * to do about them.
 */
bool replay_machine_check(const ReplayLogDescription *now, Error **errp);

/* Replay: report how the machine differs from the recorded one, if it does. */
void replay_machine_explain(void);

/* --- replay-info.c ------------------------------------------------------- */

/* rrprogress=@seconds: a line on stderr each so many seconds of the host. */
void replay_progress_start(unsigned seconds);
void replay_progress_stop(void);

/* The replay goes on from another place. */
void replay_progress_restart(void);

/* --- replay-snapshot.c ------------------------------------------------- */

/*
 * Make the state of record and replay part of the machine's.  Before the
 * devices', so that clocks are there when these are loaded.
 */
void replay_snapshot_register(void);

/* Make what net/ knows of the NICs part of it. */
void replay_nics_snapshot_register(void);

#endif
