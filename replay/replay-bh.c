/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Bottom halves that the guest can notice, and completions of block requests.
 * These events call a function of the running QEMU, so the recording has only
 * an id for each: the instruction count at which a bottom half was scheduled,
 * or the number of the block request.
 *
 * A snapshot of the machine can be saved while such events wait.  What becomes
 * of them:
 *
 * - A bottom half that its device has made before the machine ran is part of
 *   the snapshot (replay-pending.c).  There it has a name that stays the same:
 *   the device, its function, and a number if the device has several bottom
 *   halves with this function.
 * - Block requests.  A recorder waits until they are done, and records their
 *   completions where the guest is.  A replay must not complete them before
 *   their time.  So the device saves each request, and makes it again, with
 *   its old id, when the machine continues after the snapshot was loaded
 *   (replay_block_begin()).
 * - A recorder also runs all other bottom halves, which belong to the block
 *   requests.  A replay cannot save a snapshot while one is in the queue.
 */

#include "qemu/osdep.h"
#include "block/aio.h"
#include "block/aio-wait.h"
#include "block/block_int-common.h"
#include "block/block-global-state.h"
#include "hw/qdev-core.h"
#include "qapi/error.h"
#include "qemu/coroutine-tls.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "sysemu/cpus.h"
#include "sysemu/replay-base.h"
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
/* A bottom half that a device has made. */
typedef struct ReplayBHOwner {
    QEMUBH *bh;                 /* borrowed until it is deleted */
    const char *function;       /* name of the function that it calls; static */
    DeviceState *dev;           /* borrowed; deletes @bh before it goes */
    bool is_permanent;          /* made before the machine ran */
} ReplayBHOwner;

/* A request of the guest to a disk, until its completion runs. */
typedef struct ReplayBlockRequest {
    uint64_t id;
    bool is_repeatable;         /* the device can make it again after a load */
} ReplayBlockRequest;

/* BQL.  The arrays are NULL until they are needed. */
static struct {
    GArray *owners;             /* of ReplayBHOwner, in the order of creation */
    GArray *requests;           /* of ReplayBlockRequest */
    /* of uint64_t: from a loaded snapshot; devices have yet to repeat these */
    GArray *repeat;
    /* between replay_block_begin() and replay_block_end(), borrowed; or NULL */
    uint64_t *device_id;
} under_way;

/* A bottom half of any of the three kinds. */
typedef struct ReplayBHEvent {
    ReplayEvent ev;
    uint64_t id;
    QEMUBH *bh;             /* BH and BLOCK: borrowed; else NULL */
    QEMUBHFunc *cb;         /* BH_ONESHOT: called with @opaque; else NULL */
    void *opaque;
} ReplayBHEvent;

/* --- Requests under way -------------------------------------------------- */

/* Returns: the new element of *@array, zeroed, borrowed. */
static void *replay_bh_add(GArray **array, size_t size_bytes)
{
    if (!*array) {
        *array = g_array_new(false, true, size_bytes);
    }
    g_array_set_size(*array, (*array)->len + 1);
    return (*array)->data + ((*array)->len - 1) * size_bytes;
}

/* Returns: the index of @id among the requests to repeat; -1 without it. */
static int replay_block_find_repeat(uint64_t id)
{
    guint i;

    for (i = 0; under_way.repeat && i < under_way.repeat->len; i++) {
        if (g_array_index(under_way.repeat, uint64_t, i) == id) {
            return i;
        }
    }
    return -1;
}

/* Returns: the id of a request that a device makes now. */
static uint64_t replay_block_new_id(void)
{
    uint64_t *device_id = g_steal_pointer(&under_way.device_id);
    ReplayBlockRequest *request;
    int repeated = device_id ? replay_block_find_repeat(*device_id) : -1;
    uint64_t id;

    if (repeated >= 0) {
        id = *device_id;
        g_array_remove_index(under_way.repeat, repeated);
    } else {
        id = replay_now.next_block_id++;
    }
    if (device_id) {
        *device_id = id;
    }
    request = replay_bh_add(&under_way.requests, sizeof(*request));
    request->id = id;
    request->is_repeatable = device_id;
    return id;
}

/* Returns: the index of request @id; -1 if it is not under way. */
static int replay_block_find_request(uint64_t id)
{
    guint i;

    for (i = 0; under_way.requests && i < under_way.requests->len; i++) {
        if (g_array_index(under_way.requests, ReplayBlockRequest, i).id == id) {
            return i;
        }
    }
    return -1;
}

static void replay_block_done(uint64_t id)
{
    int i = replay_block_find_request(id);

    if (i >= 0) {
        g_array_remove_index(under_way.requests, i);
    }
}

static bool replay_block_has_requests(void)
{
    return under_way.requests && under_way.requests->len;
}

void replay_block_begin(uint64_t *id)
{
    if (replay_mode != REPLAY_MODE_NONE) {
        /* Otherwise iothreads may come here. */
        under_way.device_id = id;
    }
}

void replay_block_end(void)
{
    if (replay_mode != REPLAY_MODE_NONE) {
        under_way.device_id = NULL;
    }
}

void replay_block_cannot_repeat(uint64_t id)
{
    int i = replay_block_find_request(id);

    if (i >= 0) {
        g_array_index(under_way.requests, ReplayBlockRequest,
                      i).is_repeatable = false;
    }
}

bool replay_block_load(uint64_t id)
{
    if (replay_mode != REPLAY_MODE_PLAY || id >= replay_now.next_block_id) {
        error_report("the snapshot has a request to a disk with the number "
                     "%" PRIu64 ", but the guest had made %" PRIu64 " requests",
                     id, replay_now.next_block_id);
        return false;
    }
    if (replay_block_find_repeat(id) < 0) {
        /* Several requests of the guest may go to the disk as one. */
        *(uint64_t *)replay_bh_add(&under_way.repeat, sizeof(id)) = id;
    }
    return true;
}

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

static void replay_block_run(ReplayEvent *ev)
{
    replay_block_done(container_of(ev, ReplayBHEvent, ev)->id);
    replay_bh_run(ev);
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
    .run = replay_block_run,
};

/* --- Names of bottom halves ---------------------------------------------- */

void replay_bh_created(QEMUBH *bh, const char *function,
                       MemReentrancyGuard *guard)
{
    ReplayBHOwner *owner;

    if (replay_mode == REPLAY_MODE_NONE) {
        return;
    }
    owner = replay_bh_add(&under_way.owners, sizeof(*owner));
    *owner = (ReplayBHOwner) {
        .bh = bh,
        .function = function,
        .dev = container_of(guard, DeviceState, mem_reentrancy_guard),
        .is_permanent = !replay_has_begun(),
    };
}

/* Returns: the owner of @bh, borrowed; NULL if this is no device. */
static ReplayBHOwner *replay_bh_owner(const QEMUBH *bh)
{
    guint i;

    for (i = 0; under_way.owners && i < under_way.owners->len; i++) {
        ReplayBHOwner *owner = &g_array_index(under_way.owners, ReplayBHOwner,
                                              i);

        if (owner->bh == bh) {
            return owner;
        }
    }
    return NULL;
}

void replay_bh_deleted(QEMUBH *bh)
{
    ReplayBHOwner *owner;

    replay_bh_forget_event(bh);
    if (!under_way.owners || !bql_locked()) {
        /* Threads without the BQL have no bottom halves of devices. */
        return;
    }
    owner = replay_bh_owner(bh);
    if (owner) {
        g_array_remove_index(under_way.owners,
                             owner - (ReplayBHOwner *)under_way.owners->data);
    }
}

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
        replay_block_done(id);
        qemu_bh_schedule(bh);
    }
}

uint64_t blkreplay_next_id(void)
{
    qatomic_inc(&requests_under_way);
    if (get_block_waits()) {
        return ID_NO_EVENT;
    }
    return replay_events_enabled() ? replay_block_new_id() : 0;
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

/* --- What an event is -------------------------------------------------- */

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

static const QEMUBH *replay_bh_of(const ReplayEvent *ev)
{
    return ev->ops == &replay_bh_ops ? container_of(ev, ReplayBHEvent, ev)->bh
                                     : NULL;
}

/* Is @ev a bottom half that a snapshot holds? */
static bool replay_bh_is_saved(const ReplayEvent *ev)
{
    const QEMUBH *bh = replay_bh_of(ev);
    const ReplayBHOwner *owner = bh ? replay_bh_owner(bh) : NULL;

    return owner && owner->is_permanent;
}

/*
 * Does @ev belong to block requests?  These are all of our events but the
 * bottom halves that a snapshot holds, and those of back ends.
 */
static bool replay_bh_is_of_block(const ReplayEvent *ev, const void *unused)
{
    const QEMUBH *bh = replay_bh_of(ev);

    return replay_bh_ops_of(ev->ops->kind) && !replay_bh_is_saved(ev)
           && (!bh || replay_bh_owner(bh));
}

/* --- Waiting for requests ---------------------------------------------- */

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
        /* The other bottom halves must not run in a stopped machine. */
        ev = replay_events_find(replay_is_stopped() ? replay_bh_is_of_block
                                                    : replay_bh_is_ours, NULL);
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

/* --- Snapshots ----------------------------------------------------------- */

/* Can a snapshot neither hold nor do without @ev, nor a recorder run it? */
static bool replay_bh_is_in_the_way(const ReplayEvent *ev, const void *unused)
{
    if (ev->ops == &replay_block_ops || !replay_bh_ops_of(ev->ops->kind)
        || replay_bh_is_saved(ev)) {
        return false;
    }
    return replay_mode == REPLAY_MODE_PLAY || !replay_bh_is_of_block(ev, NULL);
}

static bool replay_block_all_repeatable(void)
{
    guint i;

    for (i = 0; under_way.requests && i < under_way.requests->len; i++) {
        if (!g_array_index(under_way.requests, ReplayBlockRequest,
                           i).is_repeatable) {
            return false;
        }
    }
    return true;
}

bool replay_bh_can_save(Error **errp)
{
    if (replay_events_find(replay_bh_is_in_the_way, NULL)) {
        error_setg(errp, "a snapshot cannot hold what a device is doing at "
                   "this instruction");
    } else if (replay_mode == REPLAY_MODE_PLAY
               && !replay_block_all_repeatable()) {
        error_setg(errp, "a snapshot cannot hold the request that a disk is "
                   "working on at this instruction");
    } else {
        return true;
    }
    error_append_hint(errp, "Let the guest run for a moment, and try again.\n");
    return false;
}

/* Returns: an event that belongs to block requests, owned; NULL without one. */
static ReplayEvent *replay_bh_take_of_block(void)
{
    ReplayEvent *ev = replay_events_find(replay_bh_is_of_block, NULL);

    if (ev) {
        replay_events_remove(ev);
    }
    return ev;
}

void replay_block_wait_for_host(void)
{
    AIO_WAIT_WHILE(NULL, replay_block_is_busy());
}

void replay_block_settle(void)
{
    if (replay_mode == REPLAY_MODE_PLAY) {
        replay_block_wait_for_host();
        return;
    }
    for (;;) {
        ReplayEvent *ev = replay_bh_take_of_block();

        if (ev) {
            replay_catch_up();
            ev->ops->save(ev);
            ev->ops->run(ev);
        } else if (replay_block_has_requests()) {
            aio_poll(qemu_get_aio_context(), true);
        } else {
            return;
        }
    }
}

void replay_bh_drop(void)
{
    ReplayEvent *ev;

    while ((ev = replay_events_find(replay_bh_is_ours, NULL))) {
        replay_events_remove(ev);
        g_free(container_of(ev, ReplayBHEvent, ev));
    }
    if (under_way.repeat) {
        g_array_set_size(under_way.repeat, 0);
    }
}

void replay_bh_abandon(void)
{
    ReplayEvent *ev;

    for (;;) {
        ev = replay_bh_take_of_block();
        if (ev) {
            ev->ops->run(ev);
        } else if (replay_block_has_requests()) {
            aio_poll(qemu_get_aio_context(), true);
        } else {
            break;
        }
    }
    replay_bh_drop();
}

/* Returns: the number of @owner among its device's with the same function. */
static unsigned replay_bh_number(const ReplayBHOwner *owner)
{
    const ReplayBHOwner *other = (ReplayBHOwner *)under_way.owners->data;
    unsigned number = 0;

    for (; other < owner; other++) {
        number += other->dev == owner->dev
                  && g_str_equal(other->function, owner->function);
    }
    return number;
}

typedef struct ReplayBHVisit {
    void (*visit)(const ReplayBHName *name, uint64_t id, void *opaque);
    void *opaque;
} ReplayBHVisit;

/* Returns: false, so that all events are visited. */
static bool replay_bh_visit(const ReplayEvent *ev, const void *opaque)
{
    const ReplayBHVisit *v = opaque;

    if (replay_bh_is_saved(ev)) {
        const ReplayBHEvent *s = container_of(ev, ReplayBHEvent, ev);
        const ReplayBHOwner *owner = replay_bh_owner(s->bh);
        g_autofree char *device = object_get_canonical_path(OBJECT(owner->dev));
        ReplayBHName name = {
            .device = device,
            .function = owner->function,
            .number = replay_bh_number(owner),
        };

        v->visit(&name, s->id, v->opaque);
    }
    return false;
}

void replay_bh_foreach_saved(void (*visit)(const ReplayBHName *name,
                                           uint64_t id, void *opaque),
                             void *opaque)
{
    ReplayBHVisit v = { .visit = visit, .opaque = opaque };

    replay_events_find(replay_bh_visit, &v);
}

bool replay_bh_restore(const ReplayBHName *name, uint64_t id)
{
    guint i;

    for (i = 0; under_way.owners && i < under_way.owners->len; i++) {
        ReplayBHOwner *owner = &g_array_index(under_way.owners, ReplayBHOwner,
                                              i);
        g_autofree char *device = NULL;

        if (!owner->is_permanent
            || !g_str_equal(owner->function, name->function)
            || replay_bh_number(owner) != name->number) {
            continue;
        }
        device = object_get_canonical_path(OBJECT(owner->dev));
        if (g_str_equal(device, name->device)) {
            if (replay_bh_find(owner->bh)) {
                return false;
            }
            replay_bh_queue(&replay_bh_ops, id, owner->bh, NULL, NULL);
            return true;
        }
    }
    return false;
}
