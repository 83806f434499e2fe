/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The stream of events of the recording that this QEMU writes or reads, and
 * the count of instructions in it.  Everything here needs the replay mutex.
 */

#ifndef REPLAY_STREAM_H
#define REPLAY_STREAM_H

#include "replay-now.h"

/*
 * The functions of a higher layer that the stream of a replay calls, because it
 * handles no kind of event itself.
 */
typedef struct ReplayStreamOps {
    /*
     * @ev is the next event, and the machine has begun.  Returns: true if no
     * code makes this event happen, so that the event after it is next.
     */
    bool (*pass)(const ReplayLogEvent *ev);
    /*
     * The clean end of the recording was read.  Called in the thread that took
     * the last event; called again when the replay comes to the end again after
     * a snapshot has moved it back.
     */
    void (*at_end)(void);
} ReplayStreamOps;

/**
 * replay_stream_open: open the recording that replay_now.options names
 * @ops: borrowed until the stream is closed
 *
 * Record: the file is opened, and nothing is written yet.  Replay: the
 * description is read, and the first event becomes the next one.
 *
 * Context: start-up.
 * Returns: true; false with @errp set.
 */
bool replay_stream_open(const ReplayStreamOps *ops, Error **errp);

/*
 * Returns: a writer for a recording that replay_now.options say how to make,
 * owned; NULL with @errp set.
 */
ReplayLogWriter *replay_stream_new_writer(const char *filename, Error **errp);

/* Returns: whether a recording is open. */
bool replay_stream_is_open(void);

/**
 * replay_stream_describe: record: write the description of the machine
 * @d: borrowed
 *
 * From here on, a timer writes events even if their chunk is not full, so that
 * an event is in memory for little more than a second.
 *
 * Context: before the machine first runs.
 * Returns: true; false with @errp set.
 */
bool replay_stream_describe(const ReplayLogDescription *d, Error **errp);

/* Record: name adapter @number for the totals; @name is copied. */
void replay_stream_name_adapter(unsigned number, const char *name);

/* Record: if writing has failed, try again; otherwise do nothing. */
void replay_stream_retry(void);

/* Record: the position of the next event. */
ReplayLogPos replay_stream_pos(void);

/**
 * replay_stream_seek: replay: go to @pos and read the event there
 *
 * Returns: true; false with @errp set.
 */
bool replay_stream_seek(const ReplayLogPos *pos, Error **errp);

/* Record: at the end, tell the virtual time of the guest. */
void replay_stream_set_time(uint64_t time_ns);

/**
 * replay_stream_close: end the recording and close it
 * @guest_ended: replay: the guest has ended the machine, as it did while it
 *               was recorded
 *
 * Returns: true; false with @errp set if a recorder could not write the end, or
 * a replay with @guest_ended could not read on to the end.
 */
bool replay_stream_close(bool guest_ended, Error **errp);

/**
 * replay_stream_leave: a replay becomes a recorder at the place where it is
 * @writer: owned; it has all events of the replay before this place, but not
 *          the instructions since the last of them.  NULL: nothing is recorded
 *          any more.
 *
 * Context: main loop; the machine is stopped.
 */
void replay_stream_leave(ReplayLogWriter *writer);

/* Replay: what the headers tell of the recording; zeros while recording. */
const ReplayLogInfo *replay_stream_info(void);

/* Record: what was written so far. */
ReplayLogStats replay_stream_stats(void);

/* --- Record: put events ------------------------------------------------- */

/**
 * replay_put: record an event
 * @kind: which; the rest as for replay_log_write_event()
 *
 * Never fails for the caller: if writing fails (for example, the disk is full),
 * the event is kept in memory and the machine stops.
 */
void replay_put(ReplayLogEventKind kind, const uint64_t *num,
                const void *data, size_t len_bytes);

/* Record an event that has no fields, or one or two numbers. */
void replay_put0(ReplayLogEventKind kind);
void replay_put1(ReplayLogEventKind kind, uint64_t a);
void replay_put2(ReplayLogEventKind kind, uint64_t a, uint64_t b);

/* --- Replay: take events ------------------------------------------------ */

/* Returns: whether @kind is the next event of the recording. */
bool replay_next_event_is(ReplayLogEventKind kind);

/*
 * Replay: pass over events that no code makes happen.  Called when the machine
 * begins; replay_take_next() and replay_stream_seek() call it too.
 */
void replay_stream_pass(void);

/* Replay: the next event has happened; read the event after it. */
void replay_take_next(void);

/**
 * replay_expect: replay: the guest is where it needs an event
 * @kind: which
 *
 * Returns: true if that event is next; false if not, which was reported.
 */
bool replay_expect(ReplayLogEventKind kind);

/*
 * Returns: whether the main loop must not sleep while an event of this kind is
 * next.  Only the main loop produces these events, except for SHUTDOWN: the
 * vCPU thread takes this event, if guest code makes the request.
 */
bool replay_is_main_loop_event(uint8_t kind);

/*
 * Record: the vCPU whose turn it is executes something, or takes an interrupt.
 * If another one did so last, put an event.
 */
void replay_put_turn(void);

/* --- Both: count instructions ------------------------------------------- */

/* Bring the count to @icount; record or consume the instructions between. */
void replay_count_to(uint64_t icount);

/* Bring the count to where the guest is: before an event, or the next one. */
void replay_catch_up(void);

#endif
