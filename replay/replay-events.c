/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The queue of asynchronous events.
 *
 * Record: whoever brings something from outside queues it; the vCPU thread
 * takes it out between two runs of guest code, puts it into the recording
 * behind the instruction count, and makes it happen.
 *
 * Replay: the recording says what happens next.  What it carries whole
 * (packets, input, characters) is made of its bytes.  What only the running
 * QEMU has (bottom halves, block completions) is looked up in the queue, where
 * the same code put it that put it there while recording; if it is not there
 * yet, it is waited for.
 *
 * The queue belongs to the replay mutex, the running of events to the BQL too.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "block/aio.h"
#include "sysemu/replay.h"
#include "replay-internal.h"

#define FIRST_KIND      REPLAY_EV_ASYNC_BH
#define LAST_KIND       REPLAY_EV_ASYNC_CHAR_MUX

/* A bottom half of any sort: they differ in who calls them. */
typedef struct ReplayBHEvent {
    ReplayEvent ev;
    uint64_t id;
    QEMUBH *bh;             /* BH, BLOCK: borrowed */
    QEMUBHFunc *cb;         /* BH_ONESHOT */
    void *opaque;
} ReplayBHEvent;

/* Replay mutex. */
static QTAILQ_HEAD(, ReplayEvent) queue = QTAILQ_HEAD_INITIALIZER(queue);
static bool enabled;
static bool running;        /* an event runs: they do not nest */

/* --- Bottom halves and block completions ------------------------------- */

static bool replay_bh_save(const ReplayEvent *ev)
{
    replay_put1(ev->kind, container_of(ev, ReplayBHEvent, ev)->id);
    return true;
}

static ReplayEvent *replay_bh_load(const ReplayLogEvent *logged, Error **errp)
{
    ReplayEvent *ev;

    QTAILQ_FOREACH(ev, &queue, node) {
        if (ev->kind == logged->kind
            && container_of(ev, ReplayBHEvent, ev)->id == logged->num[0]) {
            QTAILQ_REMOVE(&queue, ev, node);
            return ev;
        }
    }
    return NULL;
}

static void replay_bh_run(ReplayEvent *ev)
{
    g_autofree ReplayBHEvent *s = container_of(ev, ReplayBHEvent, ev);

    if (s->cb) {
        s->cb(s->opaque);
    } else {
        aio_bh_call(s->bh);
    }
}

static const ReplayEventOps bh_ops = {
    .save = replay_bh_save,
    .load = replay_bh_load,
    .run = replay_bh_run,
};

static void replay_queue_bh(ReplayLogEventKind kind, uint64_t id, QEMUBH *bh,
                            QEMUBHFunc *cb, void *opaque)
{
    ReplayBHEvent *s = g_new(ReplayBHEvent, 1);

    *s = (ReplayBHEvent) {
        .ev.kind = kind, .id = id, .bh = bh, .cb = cb, .opaque = opaque,
    };
    replay_queue_event(&s->ev);
}

/* The event that will call @bh, or NULL. */
static ReplayEvent *replay_find_bh(const QEMUBH *bh)
{
    ReplayEvent *ev;

    QTAILQ_FOREACH(ev, &queue, node) {
        if ((ev->kind == REPLAY_EV_ASYNC_BH
             || ev->kind == REPLAY_EV_ASYNC_BLOCK)
            && container_of(ev, ReplayBHEvent, ev)->bh == bh) {
            return ev;
        }
    }
    return NULL;
}

void replay_bh_schedule_event(QEMUBH *bh)
{
    if (!enabled) {
        qemu_bh_schedule(bh);
    } else if (!replay_find_bh(bh)) {
        replay_queue_bh(REPLAY_EV_ASYNC_BH, replay_get_current_icount(),
                        bh, NULL, NULL);
    }
}

void replay_bh_forget_event(QEMUBH *bh)
{
    ReplayEvent *ev;

    if (!enabled || !replay_mutex_locked()) {
        /* Whoever schedules events holds the mutex: this is another's. */
        return;
    }
    ev = replay_find_bh(bh);
    if (ev) {
        QTAILQ_REMOVE(&queue, ev, node);
        g_free(container_of(ev, ReplayBHEvent, ev));
    }
}

void replay_bh_schedule_oneshot_event(AioContext *ctx,
                                      QEMUBHFunc *cb, void *opaque)
{
    if (enabled) {
        replay_queue_bh(REPLAY_EV_ASYNC_BH_ONESHOT,
                        replay_get_current_icount(), NULL, cb, opaque);
    } else {
        aio_bh_schedule_oneshot(ctx, cb, opaque);
    }
}

void replay_block_event(QEMUBH *bh, uint64_t id)
{
    if (enabled) {
        replay_queue_bh(REPLAY_EV_ASYNC_BLOCK, id, bh, NULL, NULL);
    } else {
        qemu_bh_schedule(bh);
    }
}

uint64_t blkreplay_next_id(void)
{
    return enabled ? replay_now.next_block_id++ : 0;
}

/* --- The queue --------------------------------------------------------- */

static const ReplayEventOps *replay_event_ops(ReplayLogEventKind kind)
{
    static const ReplayEventOps *const ops[LAST_KIND - FIRST_KIND + 1] = {
        [REPLAY_EV_ASYNC_BH - FIRST_KIND] = &bh_ops,
        [REPLAY_EV_ASYNC_BH_ONESHOT - FIRST_KIND] = &bh_ops,
        [REPLAY_EV_ASYNC_BLOCK - FIRST_KIND] = &bh_ops,
        [REPLAY_EV_ASYNC_INPUT - FIRST_KIND] = &replay_input_ops,
        [REPLAY_EV_ASYNC_INPUT_SYNC - FIRST_KIND] = &replay_input_sync_ops,
        [REPLAY_EV_ASYNC_CHAR_READ - FIRST_KIND] = &replay_char_read_ops,
        [REPLAY_EV_ASYNC_NET - FIRST_KIND] = &replay_net_ops,
        [REPLAY_EV_ASYNC_NET_LINK - FIRST_KIND] = &replay_net_link_ops,
        [REPLAY_EV_ASYNC_CHAR_MUX - FIRST_KIND] = &replay_char_mux_ops,
    };

    return ops[kind - FIRST_KIND];
}

static void replay_run_event(ReplayEvent *ev)
{
    replay_event_ops(ev->kind)->run(ev);
}

void replay_queue_event(ReplayEvent *ev)
{
    bool first;

    if (!enabled) {
        replay_run_event(ev);
        return;
    }
    g_assert(replay_mutex_locked());
    first = QTAILQ_EMPTY(&queue);
    QTAILQ_INSERT_TAIL(&queue, ev, node);
    if (first) {
        /* For those behind it, it is on its way already. */
        replay_wake_vcpu();
    }
}

bool replay_events_wait(void)
{
    return !QTAILQ_EMPTY(&queue);
}

static ReplayEvent *replay_dequeue_event(void)
{
    ReplayEvent *ev = QTAILQ_FIRST(&queue);

    if (ev) {
        /* First out, then run: it may look at the queue or fill it. */
        QTAILQ_REMOVE(&queue, ev, node);
    }
    return ev;
}

/*
 * Record: put and run what has been queued, and what this queues.  If that is
 * nothing there is nothing to say: not even how far the guest is.
 */
static void replay_save_events(void)
{
    ReplayEvent *ev;

    do {
        while ((ev = replay_dequeue_event())) {
            replay_catch_up();
            if (replay_event_ops(ev->kind)->save(ev)) {
                replay_run_event(ev);
            } else {
                g_free(ev);
            }
        }
        /* A link that goes up does so before what came since then. */
        replay_net_save_waiting();
    } while (!QTAILQ_EMPTY(&queue));
}

/* Replay: run the events that stand here in the recording. */
static void replay_load_events(void)
{
    while (replay_now.next.kind >= FIRST_KIND
           && replay_now.next.kind <= LAST_KIND) {
        Error *err = NULL;
        ReplayEvent *ev;

        ev = replay_event_ops(replay_now.next.kind)->load(&replay_now.next,
                                                          &err);
        if (err) {
            replay_fail_err(REPLAY_END_REASON_DAMAGED, "The recording was "
                            "changed by another program than QEMU.", err);
            return;
        }
        if (!ev) {
            return;
        }
        replay_take_next();
        replay_run_event(ev);
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
        replay_save_events();
    } else {
        replay_vcpu_round();
        replay_load_events();
    }
    running = false;
}

void replay_flush_events(void)
{
    ReplayEvent *ev;

    while ((ev = replay_dequeue_event())) {
        replay_run_event(ev);
    }
}

void replay_events_queued(bool queued)
{
    enabled = queued;
    if (!queued) {
        replay_flush_events();
    }
}

bool replay_events_enabled(void)
{
    return enabled;
}
