/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The queue of asynchronous events.
 *
 * Record: a device or back end that receives something from outside queues an
 * event.  Between two runs of guest code the vCPU thread takes the event out of
 * the queue, puts it into the recording after the instruction count, and runs
 * it.  Packets never enter this queue while recording: they wait in the queue
 * of their adapter, and put_ready() in ReplayEventOps puts and runs them.
 *
 * Replay: the recording says which event happens next.  If the recording holds
 * all the data of the event (packets, input, characters), the event is made
 * from these bytes.  Otherwise (bottom halves, block completions) the event
 * calls a function of the running QEMU.  The code that queued such an event
 * while recording queues it in the replay too, so the vCPU thread looks for it
 * in the queue; if it is not there yet, the replay waits for it.
 *
 * This file knows no kind of event.  Each kind has a file of its own, which
 * implements ReplayEventOps; replay.c has the table of all kinds.
 *
 * The replay mutex protects the queue.  Events run with the replay mutex and
 * the BQL held.
 */

#include "qemu/osdep.h"
#include "sysemu/replay.h"
#include "replay-events.h"
#include "replay-mutex.h"
#include "replay-report.h"
#include "replay-stop.h"
#include "replay-stream.h"

/* Replay mutex. */
static QTAILQ_HEAD(, ReplayEvent) queue = QTAILQ_HEAD_INITIALIZER(queue);
static const ReplayEventOps *ops_of_kind[REPLAY_LOG_KINDS];
static const ReplayEventOps *with_put_ready[REPLAY_LOG_KINDS];
static unsigned n_with_put_ready;
static bool enabled;
static bool running;        /* replay_async_events() runs; it must not nest */
static uint64_t rounds;     /* replay: calls of replay_async_events() */

/* --- The queue --------------------------------------------------------- */

void replay_events_queue(ReplayEvent *ev)
{
    bool first;

    if (!enabled) {
        ev->ops->run(ev);
        return;
    }
    g_assert(replay_mutex_locked());
    first = QTAILQ_EMPTY(&queue);
    QTAILQ_INSERT_TAIL(&queue, ev, node);
    if (first) {
        /* If the queue was not empty, the vCPU thread was woken before. */
        replay_wake_vcpu();
    }
}

ReplayEvent *replay_events_find(bool (*match)(const ReplayEvent *ev,
                                              const void *opaque),
                                const void *opaque)
{
    ReplayEvent *ev;

    QTAILQ_FOREACH(ev, &queue, node) {
        if (match(ev, opaque)) {
            return ev;
        }
    }
    return NULL;
}

void replay_events_remove(ReplayEvent *ev)
{
    QTAILQ_REMOVE(&queue, ev, node);
}

/* An event leaves the queue before it runs, because it may queue others. */
static ReplayEvent *replay_events_dequeue(void)
{
    ReplayEvent *ev = QTAILQ_FIRST(&queue);

    if (ev) {
        QTAILQ_REMOVE(&queue, ev, node);
    }
    return ev;
}

/* --- The vCPU thread's round --------------------------------------------- */

/*
 * Record: put and run the queued events, and the events that these queue.
 * Without a queued event nothing is put, not even the instruction count.
 */
static void replay_events_save(void)
{
    ReplayEvent *ev;
    unsigned i;

    do {
        while ((ev = replay_events_dequeue())) {
            replay_catch_up();
            ev->ops->save(ev);
            ev->ops->run(ev);
        }
        /*
         * The queue comes first, so that the event which makes a link go up
         * precedes the packets that have arrived since then.
         */
        for (i = 0; i < n_with_put_ready; i++) {
            with_put_ready[i]->put_ready();
        }
    } while (!QTAILQ_EMPTY(&queue));
}

/* Replay: run the asynchronous events that are next in the recording. */
static void replay_events_load(void)
{
    while (!replay_is_held() && replay_is_async(replay_now.next.kind)) {
        const ReplayEventOps *ops = ops_of_kind[replay_now.next.kind];
        Error *err = NULL;
        ReplayEvent *ev;

        ev = ops->load(&replay_now.next, &err);
        if (err) {
            replay_fail_err(REPLAY_END_REASON_DAMAGED, "A program other than "
                            "QEMU has changed the recording.", err);
            return;
        }
        if (!ev) {
            return;
        }
        replay_take_next();
        ev->ops->run(ev);
    }
}

void replay_async_events(void)
{
    if (replay_mode == REPLAY_MODE_NONE) {
        return;
    }

    g_assert(replay_mutex_locked());
    g_assert(!running);
    running = true;
    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_events_save();
    } else if (enabled) {
        rounds++;
        replay_events_load();
    }
    running = false;
}

uint64_t replay_events_rounds(void)
{
    return rounds;
}

void replay_events_start(const ReplayEventOps *const kinds[])
{
    unsigned kind;

    for (; *kinds; kinds++) {
        ops_of_kind[(*kinds)->kind] = *kinds;
        if ((*kinds)->put_ready) {
            with_put_ready[n_with_put_ready++] = *kinds;
        }
    }
    for (kind = 0; kind < REPLAY_LOG_KINDS; kind++) {
        /*
         * The reader returns only events whose kind has a name, so each
         * asynchronous kind with a name needs its row in the table.
         */
        g_assert(!replay_is_async(kind) || !replay_log_event_name(kind)
                 || ops_of_kind[kind]);
    }
    enabled = true;
}

void replay_events_stop(void)
{
    ReplayEvent *ev;

    enabled = false;
    while ((ev = replay_events_dequeue())) {
        ev->ops->run(ev);
    }
}

bool replay_events_enabled(void)
{
    return enabled;
}
