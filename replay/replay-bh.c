/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Bottom halves that the guest can notice, and completions of block requests.
 * These events call a function of the running QEMU, so the recording has only
 * an id for each: the instruction count at which a bottom half was scheduled,
 * or the number of the block request.
 */

#include "qemu/osdep.h"
#include "block/aio.h"
#include "block/block_int-common.h"
#include "block/block-global-state.h"
#include "qemu/coroutine-tls.h"
#include "qemu/main-loop.h"
#include "sysemu/cpus.h"
#include "sysemu/replay.h"
#include "replay-kinds.h"
#include "replay-report.h"
#include "replay-stream.h"

/*
 * The id of a request for which the thread that made it waits.  Its completion
 * is no event.
 */
#define ID_NO_EVENT     UINT64_MAX

/* The number of requests for which this thread waits, one inside the other. */
QEMU_DEFINE_STATIC_CO_TLS(unsigned, block_waits)

/*
 * The number of requests behind blkreplay that the host has not completed.
 * Atomic; in a machine without record and replay, iothreads count here, too.
 */
static unsigned requests_under_way;

/* A bottom half of any of the three kinds. */
typedef struct ReplayBHEvent {
    ReplayEvent ev;
    uint64_t id;
    QEMUBH *bh;             /* BH and BLOCK: borrowed; else NULL */
    QEMUBHFunc *cb;         /* BH_ONESHOT: called with @opaque; else NULL */
    void *opaque;
} ReplayBHEvent;

/* --- The kinds of events ------------------------------------------------ */

static void replay_bh_save(const ReplayEvent *ev)
{
    replay_put1(ev->ops->kind, container_of(ev, ReplayBHEvent, ev)->id);
}

static bool replay_bh_is_logged(const ReplayEvent *ev, const void *opaque)
{
    const ReplayLogEvent *logged = opaque;

    return ev->ops->kind == logged->kind
           && container_of(ev, ReplayBHEvent, ev)->id == logged->num[0];
}

static ReplayEvent *replay_bh_load(const ReplayLogEvent *logged, Error **errp)
{
    ReplayEvent *ev = replay_events_find(replay_bh_is_logged, logged);

    if (ev) {
        replay_events_remove(ev);
    }
    return ev;
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

const ReplayEventOps replay_bh_ops = {
    .kind = REPLAY_EV_ASYNC_BH,
    .save = replay_bh_save,
    .load = replay_bh_load,
    .run = replay_bh_run,
};

const ReplayEventOps replay_bh_oneshot_ops = {
    .kind = REPLAY_EV_ASYNC_BH_ONESHOT,
    .save = replay_bh_save,
    .load = replay_bh_load,
    .run = replay_bh_run,
};

const ReplayEventOps replay_block_ops = {
    .kind = REPLAY_EV_ASYNC_BLOCK,
    .save = replay_bh_save,
    .load = replay_bh_load,
    .run = replay_bh_run,
};

/* --- Scheduling -------------------------------------------------------- */

static void replay_bh_queue(const ReplayEventOps *ops, uint64_t id, QEMUBH *bh,
                            QEMUBHFunc *cb, void *opaque)
{
    ReplayBHEvent *s = g_new(ReplayBHEvent, 1);

    *s = (ReplayBHEvent) {
        .ev.ops = ops, .id = id, .bh = bh, .cb = cb, .opaque = opaque,
    };
    replay_events_queue(&s->ev);
}

static bool replay_bh_calls(const ReplayEvent *ev, const void *bh)
{
    return (ev->ops == &replay_bh_ops || ev->ops == &replay_block_ops)
           && container_of(ev, ReplayBHEvent, ev)->bh == bh;
}

/* Returns: the queued event that will call @bh, borrowed; or NULL. */
static ReplayEvent *replay_bh_find(const QEMUBH *bh)
{
    return replay_events_find(replay_bh_calls, bh);
}

void replay_bh_schedule_event(QEMUBH *bh)
{
    if (!replay_events_enabled()) {
        qemu_bh_schedule(bh);
    } else if (!replay_bh_find(bh)) {
        replay_bh_queue(&replay_bh_ops, replay_get_current_icount(), bh, NULL,
                        NULL);
    }
}

void replay_bh_forget_event(QEMUBH *bh)
{
    ReplayEvent *ev;

    if (!replay_events_enabled() || !replay_mutex_locked()) {
        /*
         * A bottom half that is scheduled as an event is also cancelled and
         * deleted with the replay mutex held.  So @bh is another one, without
         * an event; and this thread must not touch the queue.
         */
        return;
    }
    ev = replay_bh_find(bh);
    if (ev) {
        replay_events_remove(ev);
        g_free(container_of(ev, ReplayBHEvent, ev));
    }
}

void replay_bh_schedule_oneshot_event(AioContext *ctx,
                                      QEMUBHFunc *cb, void *opaque)
{
    /* A thread that waits for a request runs no events. */
    if (replay_events_enabled() && !get_block_waits()) {
        replay_bh_queue(&replay_bh_oneshot_ops, replay_get_current_icount(),
                        NULL, cb, opaque);
    } else {
        aio_bh_schedule_oneshot(ctx, cb, opaque);
    }
}

void replay_block_event(QEMUBH *bh, uint64_t id)
{
    qatomic_dec(&requests_under_way);
    if (replay_events_enabled() && id != ID_NO_EVENT) {
        replay_bh_queue(&replay_block_ops, id, bh, NULL, NULL);
    } else {
        qemu_bh_schedule(bh);
    }
}

uint64_t blkreplay_next_id(void)
{
    qatomic_inc(&requests_under_way);
    if (get_block_waits()) {
        return ID_NO_EVENT;
    }
    return replay_events_enabled() ? replay_now.next_block_id++ : 0;
}

bool replay_block_is_busy(void)
{
    return qatomic_read(&requests_under_way);
}

void replay_block_wait_begin(void)
{
    set_block_waits(get_block_waits() + 1);
}

void replay_block_wait_end(void)
{
    set_block_waits(get_block_waits() - 1);
}

/* --- Requests under way ------------------------------------------------ */

static bool replay_block_is_blkreplay(const BlockDriverState *bs)
{
    return bs->drv && g_str_equal(bs->drv->format_name, "blkreplay");
}

/* --- Waiting for requests ---------------------------------------------- */

static const ReplayEventOps *replay_bh_ops_of(uint8_t kind)
{
    switch (kind) {
    case REPLAY_EV_ASYNC_BH:
        return &replay_bh_ops;
    case REPLAY_EV_ASYNC_BH_ONESHOT:
        return &replay_bh_oneshot_ops;
    case REPLAY_EV_ASYNC_BLOCK:
        return &replay_block_ops;
    default:
        return NULL;
    }
}

static bool replay_bh_is_ours(const ReplayEvent *ev, const void *unused)
{
    return replay_bh_ops_of(ev->ops->kind);
}

bool replay_block_is_pending(void)
{
    BlockDriverState *bs;

    if (replay_events_find(replay_bh_is_ours, NULL)) {
        return true;
    }
    for (bs = bdrv_next_node(NULL); bs; bs = bdrv_next_node(bs)) {
        if (replay_block_is_blkreplay(bs) && qatomic_read(&bs->in_flight)) {
            return true;
        }
    }
    return false;
}

void replay_flush_events(void)
{
    replay_events_run_all();
    while (replay_block_is_pending()) {
        aio_poll(qemu_get_aio_context(), true);
        replay_events_run_all();
    }
}

/* Returns: the next event, owned, if it can run now; or NULL. */
static ReplayEvent *replay_bh_take(void)
{
    const ReplayEventOps *ops = replay_bh_ops_of(replay_now.next.kind);
    ReplayEvent *ev;

    if (!ops) {
        if (qemu_in_vcpu_thread() && !replay_block_is_busy()) {
            replay_diverge("the guest waits for its disks, but the next "
                           "recorded event is '%s'",
                           replay_log_event_name(replay_now.next.kind)
                           ?: "none");
        }
        return NULL;
    }
    ev = ops->load(&replay_now.next, NULL);
    if (ev) {
        replay_take_next();
    } else if (qemu_in_vcpu_thread() && !replay_block_is_busy()) {
        /* This thread waits with all locks: no other one queues the event. */
        replay_diverge("the guest waits for its disks, but the next recorded "
                       "event '%s' does not belong to them",
                       replay_log_event_name(ops->kind));
    }
    return ev;
}

bool replay_block_complete_one(void)
{
    ReplayEvent *ev;

    if (!replay_events_enabled() || !replay_mutex_locked()) {
        return false;
    }
    replay_catch_up();
    if (replay_mode == REPLAY_MODE_PLAY && !replay_has_failed()) {
        ev = replay_bh_take();
    } else {
        ev = replay_events_find(replay_bh_is_ours, NULL);
        if (ev) {
            replay_events_remove(ev);
        }
        if (ev && replay_mode == REPLAY_MODE_RECORD) {
            ev->ops->save(ev);
        }
    }
    if (!ev) {
        return false;
    }
    ev->ops->run(ev);
    return true;
}
