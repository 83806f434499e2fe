/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The queue of asynchronous events, and what a kind of event has to implement.
 * Unless it says otherwise, everything here needs the replay mutex.
 */

#ifndef REPLAY_EVENTS_H
#define REPLAY_EVENTS_H

#include "qemu/queue.h"
#include "replay-log.h"

typedef struct ReplayEventOps ReplayEventOps;

/* The first member of an asynchronous event of any kind. */
typedef struct ReplayEvent {
    const ReplayEventOps *ops;
    QTAILQ_ENTRY(ReplayEvent) node;
} ReplayEvent;

/* One kind of asynchronous event. */
struct ReplayEventOps {
    ReplayLogEventKind kind;        /* one of REPLAY_EV_ASYNC_* */
    /*
     * Record: put @ev into the recording.  NULL if @put_ready puts the events
     * of this kind, which are then never queued while recording.
     */
    void (*save)(const ReplayEvent *ev);
    /*
     * Replay: make the event from @logged, the next event of the recording, or
     * find it in the queue and remove it from there.  Returns: an owned event;
     * NULL with @errp set if @logged is invalid; NULL without @errp set if the
     * event is not queued yet.
     */
    ReplayEvent *(*load)(const ReplayLogEvent *logged, Error **errp);
    /* Make @ev happen, and free it.  Context: with the BQL. */
    void (*run)(ReplayEvent *ev);
    /*
     * Record, optional: put and run the events that are ready in a queue of
     * the kind's own.  Context: vCPU thread, between two runs of guest code;
     * with the BQL.
     */
    void (*put_ready)(void);
};

/* Returns: whether @kind is an asynchronous event. */
static inline bool replay_is_async(uint8_t kind)
{
    return kind >= REPLAY_EV_ASYNC_BH && kind < REPLAY_EV_SHUTDOWN;
}

/**
 * replay_events_start: from now on, queue events
 * @kinds: all asynchronous kinds of events, ends with NULL; borrowed forever
 *
 * Context: with the BQL; once.
 */
void replay_events_start(const ReplayEventOps *const kinds[]);

/**
 * replay_events_stop: run the queued events, and from now on each event as soon
 * as it is passed to replay_events_queue()
 *
 * Context: with the BQL.
 */
void replay_events_stop(void);

/**
 * replay_events_queue: queue an asynchronous event
 * @ev: owned
 *
 * If replay_events_enabled() is false, the event runs at once.
 */
void replay_events_queue(ReplayEvent *ev);

/**
 * replay_events_find: find the first event in the queue that matches
 * @match: called with an event and @opaque; returns whether the event matches
 * @opaque: for @match
 *
 * Returns: the event, borrowed from the queue; or NULL.
 */
ReplayEvent *replay_events_find(bool (*match)(const ReplayEvent *ev,
                                              const void *opaque),
                                const void *opaque);

/* Remove @ev from the queue; the caller owns it then. */
void replay_events_remove(ReplayEvent *ev);

/* Replay.  Returns: how often replay_async_events() has been called. */
uint64_t replay_events_rounds(void);

/* --- replay-vcpu.c ------------------------------------------------------- */

/* Returns: the vCPU that has executed or taken an interrupt last, borrowed. */
CPUState *replay_vcpu_current(void);

#endif
