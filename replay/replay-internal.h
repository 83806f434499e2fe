/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the files below replay/ share with each other and with nobody else.
 * Unless it says otherwise, everything here needs the replay mutex.
 */

#ifndef QEMU_REPLAY_INTERNAL_H
#define QEMU_REPLAY_INTERNAL_H

#include "qemu/queue.h"
#include "replay-log.h"
#include "replay-mutex.h"
#include "replay-now.h"

/* How far the vCPU of a replay runs before the main loop has its turn. */
#define REPLAY_SLICE_INSNS          (1 << 20)

/* How long an event may wait in memory before it is written, ns of the host. */
#define REPLAY_CHUNK_MAX_AGE_NS     (NANOSECONDS_PER_SECOND / 4 * 5)

/* --- replay-file.c: the recording that is being written or read -------- */

/**
 * replay_file_open: open the recording as replay_mode and the options say
 *
 * Context: start-up.
 * Returns: true; false with @errp set.
 */
bool replay_file_open(Error **errp);

/* Returns: whether a recording is open. */
bool replay_file_is_open(void);

/**
 * replay_file_begin: the machine is complete, and runs for the first time
 *
 * Record: writes the description of the machine.  Replay: compares it.
 *
 * Returns: true; false with @errp set: the machine must not run.
 */
bool replay_file_begin(Error **errp);

/* Replay: say how the machine differs from the recorded one, if it does. */
void replay_file_explain_machine(void);

/* Record: try again to write what could not be written.  Else nothing. */
void replay_file_retry(void);

/* Record: where the next event will stand. */
ReplayLogPos replay_file_pos(void);

/**
 * replay_file_seek: replay: go to a place, and fetch the event there
 *
 * Returns: true; false with @errp set.
 */
bool replay_file_seek(const ReplayLogPos *pos, Error **errp);

/**
 * replay_file_close: end the recording and close it
 * @guest_ended: replay: the guest has ended the machine, where it did that
 *               while it was recorded
 *
 * Returns: true; false with @errp set if it lacks its end: it could not be
 * written, or, in a replay that came so far, not read.
 */
bool replay_file_close(bool guest_ended, Error **errp);

/**
 * replay_put: record an event
 * @kind: which; the rest as for replay_log_write_event()
 *
 * Never fails for the caller: when the file takes nothing, the event is kept
 * and the machine stops.
 */
void replay_put(ReplayLogEventKind kind, const uint64_t *num,
                const void *data, size_t len_bytes);

/* Record an event that has no fields, or one or two numbers. */
static inline void replay_put0(ReplayLogEventKind kind)
{
    replay_put(kind, NULL, NULL, 0);
}

static inline void replay_put1(ReplayLogEventKind kind, uint64_t a)
{
    replay_put(kind, &a, NULL, 0);
}

static inline void replay_put2(ReplayLogEventKind kind, uint64_t a, uint64_t b)
{
    const uint64_t num[] = { a, b };

    replay_put(kind, num, NULL, 0);
}

/* What is known of a recording from its headers; zeros while recording. */
const ReplayLogInfo *replay_file_info(void);

/* What was written (record) so far. */
ReplayLogStats replay_file_stats(void);

/* Replay: @next is done with; fetch the one behind it. */
void replay_take_next(void);

/* --- replay-report.c --------------------------------------------------- */

/**
 * replay_fail: the replay cannot go on
 * @reason: in one word
 * @remedy: what the user can do, or NULL
 * @fmt: what was expected and what came, one line without a full stop
 *
 * Says so on stderr and as a QMP event, with all that is known: file, offset,
 * event, packet, adapter, instruction, program counter, the last events.  Then,
 * as rrerror= says, exits with status 1, or requests that the machine be paused
 * and returns: there is no next event from then on, and the caller goes on
 * with a harmless value until the vCPU has left its loop, at the next block
 * of code.
 *
 * Context: any thread; the first report is the one that is printed.
 */
void replay_fail(ReplayEndReason reason, const char *remedy,
                 const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* The same, with an error object; owned. */
void replay_fail_err(ReplayEndReason reason, const char *remedy, Error *err);

/* The same for a guest that does something else than it did. */
void replay_diverge(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/**
 * replay_came: what the guest makes now, for a report of it
 * @kind: the event
 * @adapter: netdev id, borrowed while the adapter lives; or NULL
 * @packet: number of the packet that the guest sends there, from 1
 */
void replay_came(ReplayLogEventKind kind, const char *adapter, uint64_t packet);

/* A replay asks for an event of the kind @expected, and that is not next. */
void replay_mismatch(ReplayLogEventKind expected);

/* The clean end of the recording was reached: says so as a QMP event. */
void replay_report_end(void);

/* Forget about it: another place of the recording was loaded. */
void replay_clear_failure(void);

/* Remember an event for the report: it has been replayed. */
void replay_remember_event(const ReplayLogEvent *ev);

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

/* --- replay-progress.c -------------------------------------------------- */

/* Replay: another event is next: wake the main loop if it is its turn. */
void replay_wake_main_loop(void);

/* Replay: the vCPU thread has come round. */
void replay_vcpu_round(void);

/* --- replay.c ---------------------------------------------------------- */

/**
 * replay_next_event_is: is @kind what comes next?
 *
 * Requests of the host to shut down that come first are noted on the way.
 */
bool replay_next_event_is(ReplayLogEventKind kind);

/* Replay: the recording has ended: what ended its recorder ends us. */
void replay_end_reached(void);

/* Bring the count to @icount; record or consume what lies between. */
void replay_count_to(uint64_t icount);

/* Bring the count to where the guest is: before an event, or the next one. */
void replay_catch_up(void);

/**
 * replay_expect: replay: the guest is where it needs an event
 * @kind: which
 *
 * Returns: true if that is what comes next; false if not: that was reported.
 */
bool replay_expect(ReplayLogEventKind kind);

/* --- replay-events.c: the queue of asynchronous events ----------------- */

/* The head of an asynchronous event; its subject has more behind it. */
typedef struct ReplayEvent {
    ReplayLogEventKind kind;        /* one of ASYNC_* */
    QTAILQ_ENTRY(ReplayEvent) node;
} ReplayEvent;

/* What can be done with one kind of asynchronous event. */
typedef struct ReplayEventOps {
    /*
     * Record: put it.  Returns false if there is no need to run it any more;
     * nothing was put then.
     */
    bool (*save)(const ReplayEvent *ev);
    /*
     * Replay: make it of what the recording has, or find it in the queue and
     * take it out.  Returns an owned event; or NULL: with @errp set, the
     * recording is wrong; without, the event has yet to be queued.
     */
    ReplayEvent *(*load)(const ReplayLogEvent *logged, Error **errp);
    /* Make it happen, and free @ev.  With the BQL. */
    void (*run)(ReplayEvent *ev);
} ReplayEventOps;

extern const ReplayEventOps replay_input_ops;
extern const ReplayEventOps replay_input_sync_ops;
extern const ReplayEventOps replay_char_read_ops;
extern const ReplayEventOps replay_char_mux_ops;
extern const ReplayEventOps replay_net_ops;
extern const ReplayEventOps replay_net_link_ops;

/**
 * replay_queue_event: an asynchronous event has come up
 * @ev: owned
 *
 * It runs at once when events are not enabled.
 */
void replay_queue_event(ReplayEvent *ev);

/**
 * replay_events_queued: are events queued from here on?
 * @queued: if not, they happen at once, and what is in the queue does now
 *
 * Context: replay mutex and BQL.
 */
void replay_events_queued(bool queued);

/* Returns: whether events wait in the queue. */
bool replay_events_wait(void);

/* --- replay-net.c ------------------------------------------------------ */

/* Add the adapters to a description, in the order of their numbers. */
void replay_net_describe(ReplayLogDescription *d);

/**
 * replay_net_begin: no more adapters from here on
 * @recorded: replay: the recording's description, which was found to match;
 *            record: NULL
 * @writer: record: gets the names for its totals; replay: NULL
 */
void replay_net_begin(const ReplayLogDescription *recorded,
                      ReplayLogWriter *writer);

/* The recording has ended: adapters have no numbers any more. */
void replay_net_finish(void);

/**
 * replay_net_save_waiting: put the packets that NICs have room for, and hand
 * them over
 *
 * Context: vCPU thread, between two runs of guest code; replay mutex and BQL.
 */
void replay_net_save_waiting(void);

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
 * replay_machine_check: compare the recorded machine with the one here
 *
 * Returns: true; false with @errp set: all differences, one a line, and what
 * to do about them.
 */
bool replay_machine_check(const ReplayLogDescription *recorded,
                          const ReplayLogDescription *now, Error **errp);

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
