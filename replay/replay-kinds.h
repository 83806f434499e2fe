/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The kinds of events: the operations of the asynchronous kinds, and the
 * functions of single kinds that the layers above call.  Callers of these
 * functions hold the replay mutex, unless a comment says otherwise.
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
extern const ReplayEventOps replay_char_break_ops;
extern const ReplayEventOps replay_net_ops;
extern const ReplayEventOps replay_link_ops;
extern const ReplayEventOps replay_request_ops;
extern const ReplayEventOps replay_rng_ops;

/* --- Bottom halves and block requests ------------------------------------ */

/* The name of a bottom half in a snapshot; all borrowed. */
typedef struct ReplayBHName {
    const char *device;     /* QOM path of the device that has made it */
    const char *function;   /* that it calls */
    unsigned number;        /* among those of this device with this function */
} ReplayBHName;

/*
 * Returns: whether the host is working on a block request.  It is not once the
 * completion is in the queue of events and waits for the recording.
 */
bool replay_block_is_busy(void);

/**
 * replay_bh_can_save: can a snapshot be saved at this instruction?
 *
 * Context: main loop, BQL.
 * Returns: true; false with @errp set if something is under way that a snapshot
 * cannot hold.
 */
bool replay_bh_can_save(Error **errp);

/**
 * replay_block_settle: a snapshot is about to be saved: wait for the disks
 *
 * Record: until all requests of the guest are done; their completions are
 * recorded where the guest is.  Replay: until the host has done its part; the
 * completions wait for their instructions.
 *
 * Context: main loop, BQL; the machine is stopped.
 */
void replay_block_settle(void);

/**
 * replay_bh_abandon: a snapshot is about to be loaded: bring all to an end that
 * is under way, and take no notice of the recording
 *
 * Context: main loop, BQL; replay; the machine is stopped, and the replay is
 * marked as failed.
 */
void replay_bh_abandon(void);

/*
 * Remove all bottom halves and completions from the queue, and forget which
 * requests were to be repeated.
 */
void replay_bh_drop(void);

/* Call @visit for each bottom half in the queue that a snapshot holds. */
void replay_bh_foreach_saved(void (*visit)(const ReplayBHName *name,
                                           uint64_t id, void *opaque),
                             void *opaque);

/*
 * Put the bottom half @name, from a snapshot, into the queue, with its old @id.
 * Returns: whether it exists and was not in the queue.
 */
bool replay_bh_restore(const ReplayBHName *name, uint64_t id);

/* --- Requests to shut down ------------------------------------------------ */

/*
 * Replay: @ev is the next event.  Returns: whether it is a request of the host,
 * which no code makes again: it was noted, and the event after it is next.
 */
bool replay_shutdown_pass(const ReplayLogEvent *ev);

/*
 * Replay: at the end of the recording: release the guest's pending shutdown, or
 * issue the recorded host request.
 */
void replay_shutdown_at_end(void);

/* Replay: a snapshot has moved it to before the end of the machine. */
void replay_shutdown_forget(void);

/* Replay: a device calls exit() while guest code runs. */
void replay_shutdown_in_device(void);

/* Replay: has the guest ended the machine? */
bool replay_shutdown_is_by_guest(void);

/* Record: at the end: if no request was recorded, put one of the host. */
void replay_shutdown_finish(void);

/* --- Clocks -------------------------------------------------------------- */

/**
 * replay_skip_clocks: take readings of clocks that the replay does not repeat
 *
 * Code that reads a clock for the guest reads it right after it has taken the
 * event before the reading.  So if a reading is still next when the main loop
 * begins a round, QEMU read the clock for its own use while recording, for
 * example in order to make a snapshot.
 *
 * Context: main loop; replay.
 */
void replay_skip_clocks(void);

/* --- Character devices --------------------------------------------------- */

/* Add the recorded character devices to @d. */
void replay_char_describe(ReplayLogDescription *d);

/*
 * QEMU exits: wait until the back ends have taken what the guest has written,
 * but not for one that takes nothing.  With the BQL.
 */
void replay_char_finish(void);

/* --- Random bytes from the host ------------------------------------------ */

/* Add the back ends that read random bytes from the host to @d. */
void replay_rng_describe(ReplayLogDescription *d);

/*
 * The user leaves a replay: open the files of the back ends.  Returns: true;
 * false with @errp set.  Context: main loop.
 */
bool replay_rng_open(Error **errp);

/* The replay was left: the back ends read for the requests that wait. */
void replay_rng_leave(void);

/* --- Clocks -------------------------------------------------------------- */

/*
 * The user leaves a replay: the clocks go on from the values that were replayed
 * last.  Context: main loop, BQL; the machine is stopped.
 */
void replay_clocks_leave(void);

/* --- Adapters and packets ------------------------------------------------ */

/* Add the adapters to @d, in the order of their numbers in the recording. */
void replay_net_describe(ReplayLogDescription *d);

/*
 * Replay, before the machine first runs: unplug the cables that were unplugged
 * when the recording began.
 */
void replay_net_restore_links(void);

/**
 * replay_net_begin: fix the set of adapters, and number them
 * @recorded: replay: the description of the recorded machine, borrowed; record:
 *            NULL
 *
 * A replay takes the numbers from @recorded.  A recorder numbers the adapters
 * in the order in which replay_net_describe() has added them.
 *
 * Context: once, when the machine first runs.
 */
void replay_net_begin(const ReplayLogDescription *recorded);

/**
 * replay_net_capture_begin: open the capture of a replay (rrpcap=)
 *
 * Without rrpcap= there is nothing to do.
 *
 * Context: after replay_net_begin().
 * Returns: true; false with @errp set if the file cannot be written.
 */
bool replay_net_capture_begin(Error **errp);

/*
 * Closes the capture, if there is one.  Returns: true; false with @errp set if
 * not all of it was written.
 */
bool replay_net_capture_end(Error **errp);

/* Record and replay end: the adapters lose their numbers. */
void replay_net_finish(void);

/**
 * replay_net_poll: wake the vCPU thread if a NIC can accept packets that wait
 * for it, and let a netdev read again when its adapter's queue has room
 * @timeout_ns: how long the main loop would sleep, ns; -1 is forever
 *
 * Context: main loop, before it polls; with the BQL, without need of the replay
 * mutex.
 * Returns: how long the main loop may sleep, ns; -1 is forever.
 */
int64_t replay_net_poll(int64_t timeout_ns);

/* Returns: the adapters and their counters for query-replay; owned. */
ReplayAdapterInfoList *replay_net_query(void);

#endif
