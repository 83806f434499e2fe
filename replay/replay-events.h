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

/* The head of an asynchronous event; its kind has more members behind it. */
typedef struct ReplayEvent {
    const ReplayEventOps *ops;
    QTAILQ_ENTRY(ReplayEvent) node;
} ReplayEvent;

/* One kind of asynchronous event. */
struct ReplayEventOps {
    ReplayLogEventKind kind;        /* one of ASYNC_* */
    /*
     * Record: put @ev.  NULL if events of this kind are put by @put_ready and
     * never queued while recording.
     */
    void (*save)(const ReplayEvent *ev);
    /*
     * Replay: make the event of what the recording has, or find it in the
     * queue and take it out.  Returns: an owned event; NULL with @errp set if
     * the recording is wrong; NULL without @errp if the event has yet to be
     * queued.
     */
    ReplayEvent *(*load)(const ReplayLogEvent *logged, Error **errp);
    /* Make @ev happen, and free it.  With the BQL. */
    void (*run)(ReplayEvent *ev);
    /*
     * Record, optional: put and run the events that wait outside of the queue
     * and are ready.  Context: vCPU thread, between two runs of guest code;
     * with the BQL.
     */
    void (*put_ready)(void);
};

/* Returns: whether @kind is an asynchronous event. */
static inline bool replay_is_async(uint8_t kind)
{
    return kind >= REPLAY_EV_ASYNC_BH && kind <= REPLAY_EV_ASYNC_CHAR_MUX;
}

/**
 * replay_events_start: queue events from here on
 * @kinds: all kinds of events, ends with NULL; borrowed for ever
 *
 * Context: with the BQL; once.
 */
void replay_events_start(const ReplayEventOps *const kinds[]);

/**
 * replay_events_stop: run the events that are queued, and from here on each
 * event at once
 *
 * Context: with the BQL.
 */
void replay_events_stop(void);

/**
 * replay_events_queue: queue an asynchronous event
 * @ev: owned
 *
 * It runs at once if events are not queued (replay_events_enabled()).
 */
void replay_events_queue(ReplayEvent *ev);

/* Returns: whether the queue has events. */
bool replay_events_pending(void);

/**
 * replay_events_find: the first event in the queue that @match returns true for
 * @match: is called with an event and @opaque
 *
 * Returns: the event, borrowed from the queue; or NULL.
 */
ReplayEvent *replay_events_find(bool (*match)(const ReplayEvent *ev,
                                              const void *opaque),
                                const void *opaque);

/* Takes @ev out of the queue; the caller owns it then. */
void replay_events_remove(ReplayEvent *ev);

/* Returns: how often the vCPU thread of a replay has looked for events. */
uint64_t replay_events_rounds(void);

#endif
