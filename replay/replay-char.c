/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Character devices.  The bytes that a character device receives are
 * asynchronous events; the results of writes and of blocking reads are
 * synchronous events.
 *
 * All this is about front ends that are devices of the guest.  Other front ends
 * of a recorded character device, such as a monitor on a multiplexed one,
 * belong to the user: their input is no event, and the bytes of a recording
 * never reach them.
 *
 * A break is an event as well.  Whether the back end is open (a client is
 * connected) depends on the host: the guest always sees it open.
 *
 * When a back end takes the bytes that the guest writes depends on the host, so
 * the guest must not notice it: each write succeeds at once and as a whole, and
 * bytes that the back end does not take wait here.  (A recording that was made
 * before this was so has writes with other results, which a replay repeats.)
 *
 * A recording identifies a device by its number.  The description of the
 * machine has the label of each number.  A recorder numbers the devices in the
 * order in which they were registered, and a replay finds them by their labels.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "chardev/char.h"
#include "chardev/char-fe.h"
#include "io/channel-socket.h"
#include "sysemu/replay.h"
#include "replay-kinds.h"
#include "replay-report.h"
#include "replay-stream.h"

typedef struct ReplayCharRead {
    ReplayEvent ev;
    uint64_t id;            /* index in @devices */
    uint64_t frontend;      /* CHAR_MUX: number of the front end; else 0 */
    size_t len_bytes;
    uint8_t data[];
} ReplayCharRead;

/* Bytes that may wait for a back end; further ones are dropped. */
#define UNSENT_MAX_BYTES    (8 * MiB)

/* What QEMU appends to a label for the device below a multiplexed one. */
#define MUX_BASE            "-base"

/* A wait for a back end that takes nothing ends after this time. */
#define UNSENT_WAIT_US      (30 * G_USEC_PER_SEC)
#define UNSENT_POLL_US      1000

/* A replay waits no longer for the peer of a device that it does without. */
#define CONNECT_S           2

typedef struct ReplayChar {
    Chardev *chr;               /* borrowed */

    /* BQL */
    size_t queued_bytes;        /* record: in events that have not run yet */
    GByteArray *unsent;         /* the guest has written them; owned */
    guint watch;                /* of the back end; 0 if there is none */
    bool is_stalled;            /* a thread has waited in vain */
    uint64_t dropped_bytes;
} ReplayChar;

/*
 * The number of a device is its index.  In a replay, an element is NULL if the
 * machine lacks a recorded device.
 *
 * Main thread, start-up; read-only after that.
 */
static GPtrArray *devices;  /* of ReplayChar; NULL if there are none */

/* Returns: the number of @chr; -1 if it is not registered. */
static int replay_char_number(const Chardev *chr)
{
    guint i;

    for (i = 0; devices && i < devices->len; i++) {
        ReplayChar *s = g_ptr_array_index(devices, i);

        if (s && s->chr == chr) {
            return i;
        }
    }
    return -1;
}

void replay_register_char_driver(Chardev *chr)
{
    ReplayChar *s;

    if (replay_mode == REPLAY_MODE_NONE || replay_char_number(chr) >= 0) {
        return;
    }
    if (!devices) {
        devices = g_ptr_array_new();
    }
    s = g_new0(ReplayChar, 1);
    s->chr = chr;
    s->unsent = g_byte_array_new();
    g_ptr_array_add(devices, s);
    qemu_chr_set_feature(chr, QEMU_CHAR_FEATURE_REPLAY);
    if (CHARDEV_GET_CLASS(chr)->chr_ioctl) {
        warn_report("character device '%s': the guest cannot use the lines of "
                    "a port of the host while it is recorded or replayed",
                    chr->label);
    }
}

static ReplayChar *replay_char_get(uint64_t id)
{
    return g_ptr_array_index(devices, id);
}

static char *replay_char_key(guint number)
{
    return g_strdup_printf("chardev.%u", number);
}

/* --- Back ends that a replay does without ------------------------------- */

/* Replay: is @label that of a recorded device, but for the end of @suffix? */
static bool replay_char_is_recorded(const char *label, const char *suffix)
{
    g_autofree char *name = g_strdup(label);
    guint i;

    if (!g_str_has_suffix(name, suffix)) {
        return false;
    }
    name[strlen(name) - strlen(suffix)] = '\0';
    for (i = 0; replay_now.description; i++) {
        g_autofree char *key = replay_char_key(i);
        const char *recorded = replay_log_description_get(
            replay_now.description, key);

        if (!recorded) {
            break;
        }
        if (g_str_equal(recorded, name)) {
            return true;
        }
    }
    return false;
}

bool replay_chr_needs_no_peer(const char *label)
{
    return replay_mode == REPLAY_MODE_PLAY
           && (replay_char_is_recorded(label, "")
               || replay_char_is_recorded(label, MUX_BASE));
}

/* Whether the peer of a character device has answered. */
typedef struct ReplayCharPeer {
    bool has_answered;
    Error *err;                 /* owned; NULL: there is a connection */
} ReplayCharPeer;

static void replay_char_answered(QIOTask *task, void *opaque)
{
    ReplayCharPeer *peer = opaque;

    peer->has_answered = true;
    qio_task_propagate_error(task, &peer->err);
}

static gboolean replay_char_is_late(void *opaque)
{
    bool *is_late = opaque;

    *is_late = true;
    return G_SOURCE_REMOVE;
}

int replay_chr_connect(QIOChannelSocket *sioc, SocketAddress *addr,
                       Error **errp)
{
    GMainContext *context = g_main_context_new();
    GSource *limit = g_timeout_source_new_seconds(CONNECT_S);
    ReplayCharPeer peer = { };
    bool is_late = false;
    bool has_failed;

    g_source_set_callback(limit, replay_char_is_late, &is_late, NULL);
    g_source_attach(limit, context);
    /* Nothing calls replay_char_answered() when this loop has ended. */
    qio_channel_socket_connect_async(sioc, addr, replay_char_answered, &peer,
                                     NULL, context);
    while (!peer.has_answered && !is_late) {
        g_main_context_iteration(context, true);
    }
    g_source_destroy(limit);
    g_source_unref(limit);
    g_main_context_unref(context);
    if (!peer.has_answered) {
        error_setg(&peer.err, "the peer has not answered for %d s", CONNECT_S);
    }
    has_failed = peer.err;
    error_propagate(errp, peer.err);
    return has_failed ? -1 : 0;
}

bool replay_chr_replace(const char *label, Error *err)
{
    if (!replay_chr_needs_no_peer(label)) {
        return false;
    }
    warn_reportf_err(err, "character device '%s' shows nothing of the replay: ",
                     label);
    return true;
}

/* --- Numbers of devices -------------------------------------------------- */

/* Replay: give the devices the numbers that they had while recording. */
static void replay_char_renumber(const ReplayLogDescription *recorded)
{
    GPtrArray *numbered = g_ptr_array_new();
    guint i;

    for (i = 0; devices; i++) {
        g_autofree char *key = replay_char_key(i);
        const char *label = replay_log_description_get(recorded, key);
        guint k;

        if (!label) {
            break;
        }
        g_ptr_array_add(numbered, NULL);
        for (k = 0; k < devices->len; k++) {
            ReplayChar *s = g_ptr_array_index(devices, k);

            if (s && g_str_equal(s->chr->label, label)) {
                g_ptr_array_index(numbered, i) = s;
                g_ptr_array_index(devices, k) = NULL;
                break;
            }
        }
    }
    for (i = 0; devices && i < devices->len; i++) {
        if (g_ptr_array_index(devices, i)) {
            g_ptr_array_add(numbered, g_ptr_array_index(devices, i));
        }
    }
    if (devices) {
        g_ptr_array_unref(devices);
    }
    devices = numbered;
}

void replay_char_describe(ReplayLogDescription *d)
{
    guint i;

    if (replay_now.description) {
        replay_char_renumber(replay_now.description);
    }
    for (i = 0; devices && i < devices->len; i++) {
        ReplayChar *s = g_ptr_array_index(devices, i);

        if (s) {
            g_autofree char *key = replay_char_key(i);

            replay_log_description_add(d, key, s->chr->label);
        }
    }
}

/* --- Received bytes ---------------------------------------------------- */

static ReplayEvent *replay_char_read_new(const ReplayEventOps *ops, uint64_t id,
                                         uint64_t frontend, const uint8_t *buf,
                                         size_t len_bytes)
{
    ReplayCharRead *s = g_malloc(sizeof(*s) + len_bytes);

    s->ev.ops = ops;
    s->id = id;
    s->frontend = frontend;
    s->len_bytes = len_bytes;
    memcpy(s->data, buf, len_bytes);
    return &s->ev;
}

/* Callers check qemu_chr_fe_replay(), so @chr is registered. */
static uint64_t replay_char_id(const Chardev *chr)
{
    int number = replay_char_number(chr);

    g_assert(number >= 0);
    return number;
}

int replay_chr_can_read(Chardev *chr, int len)
{
    if (replay_mode == REPLAY_MODE_PLAY) {
        return MAX(len, 1);
    }
    len -= replay_char_get(replay_char_id(chr))->queued_bytes;
    return MAX(len, 0);
}

/* Record: queue bytes that have been read from the back end. */
static void replay_char_queue(const ReplayEventOps *ops, Chardev *chr,
                              int frontend, const uint8_t *buf, int len)
{
    uint64_t id = replay_char_id(chr);

    replay_char_get(id)->queued_bytes += len;
    replay_events_queue(replay_char_read_new(ops, id, frontend, buf, len));
}

/* The event of @s runs: the main loop may read as many bytes again. */
static Chardev *replay_char_dequeue(const ReplayCharRead *s)
{
    ReplayChar *c = replay_char_get(s->id);

    if (c->queued_bytes) {
        c->queued_bytes -= MIN(c->queued_bytes, s->len_bytes);
        qemu_notify_event();
    }
    return c->chr;
}

void replay_chr_be_write(Chardev *s, const uint8_t *buf, int len)
{
    replay_char_queue(&replay_char_read_ops, s, 0, buf, len);
}

void replay_chr_mux_be_write(Chardev *s, int frontend, const uint8_t *buf,
                             int len)
{
    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_char_queue(&replay_char_mux_ops, s, frontend, buf, len);
    }
}

/*
 * Returns: the front end number @frontend of @chr; NULL if there is none.  The
 * only front end of a character device that is not multiplexed has number 0.
 */
static CharBackend *replay_char_get_front_end(Chardev *chr, uint64_t frontend)
{
    if (object_dynamic_cast(OBJECT(chr), TYPE_CHARDEV_MUX)) {
        return qemu_chr_mux_get(chr, frontend);
    }
    return frontend ? NULL : chr->be;
}

/*
 * Record: whether the front end is still there.  Before the machine first runs,
 * the user can unplug a device for which events are in the queue.
 */
static bool replay_char_is_connected(uint64_t id, uint64_t frontend)
{
    return replay_char_get_front_end(replay_char_get(id)->chr, frontend);
}

static void replay_char_read_save(const ReplayEvent *ev)
{
    const ReplayCharRead *s = container_of(ev, ReplayCharRead, ev);
    const uint64_t num[] = { s->id, s->frontend };

    if (replay_char_is_connected(s->id, s->frontend)) {
        replay_put(ev->ops->kind, num, s->data, s->len_bytes);
    }
}

/*
 * Returns: the front end of the guest for which the bytes of @logged are; NULL
 * with @errp set if there is none.
 */
static CharBackend *replay_char_front_end(const ReplayLogEvent *logged,
                                          Error **errp)
{
    bool is_read = logged->kind == REPLAY_EV_ASYNC_CHAR_READ;
    const char *what = logged->kind == REPLAY_EV_ASYNC_CHAR_BREAK
                       ? "a break is" : "bytes are";
    uint64_t id = logged->num[0];
    uint64_t frontend = is_read ? 0 : logged->num[1];
    bool is_mux;
    ReplayChar *s;
    CharBackend *be;

    if (!devices || id >= devices->len) {
        error_setg(errp, "%s for character device number %" PRIu64
                   ", but only %u devices are recorded", what, id,
                   devices ? devices->len : 0);
        return NULL;
    }
    s = replay_char_get(id);
    if (!s) {
        error_setg(errp, "%s for character device number %" PRIu64
                   ", which the machine lacks", what, id);
        return NULL;
    }
    is_mux = object_dynamic_cast(OBJECT(s->chr), TYPE_CHARDEV_MUX);
    be = replay_char_get_front_end(s->chr, frontend);
    if (!be) {
        error_setg(errp, "%s for front end number %" PRIu64 " of "
                   "character device '%s', which does not exist", what,
                   frontend, s->chr->label);
        return NULL;
    }
    if (!qemu_chr_fe_replay(be)) {
        error_setg(errp, "%s for a front end of character device '%s' "
                   "that is not a device of the guest", what, s->chr->label);
        return NULL;
    }
    if (is_mux ? is_read : logged->kind == REPLAY_EV_ASYNC_CHAR_MUX) {
        error_setg(errp, "bytes are for character device '%s', which is %s",
                   s->chr->label, is_mux ? "multiplexed" : "not multiplexed");
        return NULL;
    }
    return be;
}

static ReplayEvent *replay_char_read_load(const ReplayLogEvent *logged,
                                          Error **errp)
{
    bool mux = logged->kind == REPLAY_EV_ASYNC_CHAR_MUX;

    if (!replay_char_front_end(logged, errp)) {
        return NULL;
    }
    return replay_char_read_new(mux ? &replay_char_mux_ops
                                    : &replay_char_read_ops,
                                logged->num[0], mux ? logged->num[1] : 0,
                                logged->data, logged->len_bytes);
}

static void replay_char_read_run(ReplayEvent *ev)
{
    g_autofree ReplayCharRead *s = container_of(ev, ReplayCharRead, ev);

    qemu_chr_be_write_impl(replay_char_dequeue(s), s->data, s->len_bytes);
}

const ReplayEventOps replay_char_read_ops = {
    .kind = REPLAY_EV_ASYNC_CHAR_READ,
    .save = replay_char_read_save,
    .load = replay_char_read_load,
    .run = replay_char_read_run,
};

static void replay_char_mux_run(ReplayEvent *ev)
{
    g_autofree ReplayCharRead *s = container_of(ev, ReplayCharRead, ev);

    qemu_chr_mux_be_write(replay_char_dequeue(s), s->frontend, s->data,
                          s->len_bytes);
}

const ReplayEventOps replay_char_mux_ops = {
    .kind = REPLAY_EV_ASYNC_CHAR_MUX,
    .save = replay_char_read_save,
    .load = replay_char_read_load,
    .run = replay_char_mux_run,
};

/* --- Breaks -------------------------------------------------------------- */

typedef struct ReplayCharBreak {
    ReplayEvent ev;
    uint64_t id;            /* index in @devices */
    uint64_t frontend;      /* CHAR_MUX: number of the front end; else 0 */
} ReplayCharBreak;

static ReplayEvent *replay_char_break_new(uint64_t id, uint64_t frontend)
{
    ReplayCharBreak *s = g_new(ReplayCharBreak, 1);

    s->ev.ops = &replay_char_break_ops;
    s->id = id;
    s->frontend = frontend;
    return &s->ev;
}

static bool replay_char_is_break_for(const ReplayEvent *ev, const void *be_)
{
    const ReplayCharBreak *s = container_of(ev, ReplayCharBreak, ev);
    const CharBackend *be = be_;

    return ev->ops == &replay_char_break_ops
           && s->id == replay_char_id(be->chr) && s->frontend == be->tag;
}

void replay_chr_break(CharBackend *be)
{
    /* A client that sends breaks to a stopped machine fills no memory. */
    if (replay_mode == REPLAY_MODE_RECORD
        && !replay_events_find(replay_char_is_break_for, be)) {
        replay_events_queue(replay_char_break_new(replay_char_id(be->chr),
                                                  be->tag));
    }
}

static void replay_char_break_save(const ReplayEvent *ev)
{
    const ReplayCharBreak *s = container_of(ev, ReplayCharBreak, ev);

    if (replay_char_is_connected(s->id, s->frontend)) {
        replay_put2(ev->ops->kind, s->id, s->frontend);
    }
}

static ReplayEvent *replay_char_break_load(const ReplayLogEvent *logged,
                                           Error **errp)
{
    CharBackend *be = replay_char_front_end(logged, errp);

    return be ? replay_char_break_new(logged->num[0], be->tag) : NULL;
}

static void replay_char_break_run(ReplayEvent *ev)
{
    g_autofree ReplayCharBreak *s = container_of(ev, ReplayCharBreak, ev);
    CharBackend *be = replay_char_get_front_end(replay_char_get(s->id)->chr,
                                                s->frontend);

    if (be && be->chr_event) {
        be->chr_event(be->opaque, CHR_EVENT_BREAK);
    }
}

const ReplayEventOps replay_char_break_ops = {
    .kind = REPLAY_EV_ASYNC_CHAR_BREAK,
    .save = replay_char_break_save,
    .load = replay_char_break_load,
    .run = replay_char_break_run,
};

/* --- Bytes that wait for a back end -------------------------------------- */

/*
 * Gives @buf to the back end.  Returns: the number of bytes that need not be
 * given again, because it has taken them or will never do so.
 */
static int replay_char_give(ReplayChar *s, const uint8_t *buf, int len)
{
    int taken;

    errno = 0;
    taken = qemu_chr_write(s->chr, buf, len, false);
    if (taken < 0) {
        /* As without a recorder, bytes are lost where nobody reads any more. */
        taken = errno == EAGAIN ? 0 : len;
    }
    return taken;
}

/* Returns: whether the back end has taken some of the bytes that wait. */
static bool replay_char_retry(ReplayChar *s)
{
    int taken = replay_char_give(s, s->unsent->data, s->unsent->len);

    if (taken) {
        g_byte_array_remove_range(s->unsent, 0, taken);
        s->is_stalled = false;
    }
    return taken;
}

static void replay_char_watch(ReplayChar *s);

static gboolean replay_char_ready(void *do_not_use, GIOCondition cond,
                                  void *opaque)
{
    ReplayChar *s = opaque;

    s->watch = 0;
    if (s->unsent->len) {
        replay_char_retry(s);
        replay_char_watch(s);
    }
    return G_SOURCE_REMOVE;
}

/* Continues in the main loop, as soon as the back end takes something. */
static void replay_char_watch(ReplayChar *s)
{
    ChardevClass *cc = CHARDEV_GET_CLASS(s->chr);
    GSource *source;

    if (!s->unsent->len || s->watch) {
        return;
    }
    source = cc->chr_add_watch ? cc->chr_add_watch(s->chr, G_IO_OUT | G_IO_HUP)
                               : NULL;
    if (!source) {
        /* The next write of the guest tries again. */
        return;
    }
    g_source_set_callback(source, (GSourceFunc)replay_char_ready, s, NULL);
    s->watch = g_source_attach(source, s->chr->gcontext);
    g_source_unref(source);
    qemu_notify_event();
}

/*
 * Waits until not more than @max_bytes wait.  Gives up, and does not try again
 * before there is progress, if the back end takes nothing for UNSENT_WAIT_US.
 */
static void replay_char_wait(ReplayChar *s, size_t max_bytes)
{
    int64_t since = g_get_monotonic_time();

    while (s->unsent->len > max_bytes && !s->is_stalled) {
        if (replay_char_retry(s)) {
            since = g_get_monotonic_time();
        } else if (g_get_monotonic_time() - since > UNSENT_WAIT_US) {
            s->is_stalled = true;
        } else {
            g_usleep(UNSENT_POLL_US);
        }
    }
}

static void replay_char_drop(ReplayChar *s, size_t len_bytes)
{
    if (!s->dropped_bytes) {
        warn_report("character device '%s' does not take what the guest "
                    "writes, and its queue is full: bytes are dropped",
                    s->chr->label);
    }
    s->dropped_bytes += len_bytes;
}

static void replay_char_send(ReplayChar *s, const uint8_t *buf, int len)
{
    if (s->unsent->len && !s->watch) {
        replay_char_retry(s);
    }
    if (!s->unsent->len) {
        int taken = replay_char_give(s, buf, len);

        buf += taken;
        len -= taken;
    }
    if (replay_mode == REPLAY_MODE_PLAY
        && s->unsent->len + len > UNSENT_MAX_BYTES) {
        /* A replay may be faster than its recorder, and has time to wait. */
        replay_char_wait(s, UNSENT_MAX_BYTES / 2);
    }
    if (s->unsent->len + len > UNSENT_MAX_BYTES) {
        replay_char_drop(s, len);
    } else if (len) {
        g_byte_array_append(s->unsent, buf, len);
        replay_char_watch(s);
    }
}

void replay_char_finish(void)
{
    guint i;

    for (i = 0; devices && i < devices->len; i++) {
        ReplayChar *s = g_ptr_array_index(devices, i);

        if (!s) {
            continue;
        }
        replay_char_wait(s, 0);
        if (s->unsent->len) {
            replay_char_drop(s, s->unsent->len);
            g_byte_array_set_size(s->unsent, 0);
        }
        if (s->watch) {
            g_source_remove(s->watch);
            s->watch = 0;
        }
        if (s->dropped_bytes) {
            warn_report("character device '%s': %" PRIu64 " bytes that the "
                        "guest wrote were dropped", s->chr->label,
                        s->dropped_bytes);
            s->dropped_bytes = 0;
        }
    }
}

/* --- Results of writes and reads --------------------------------------- */

/*
 * Replay: the guest writes @len bytes.  Returns: the number of bytes that the
 * back end accepted while recording; @res is the result that the guest saw.
 */
static int replay_char_write_load(int len, int *res)
{
    int64_t result, written;

    *res = len;
    if (!replay_expect(REPLAY_EV_CHAR_WRITE)) {
        return len;
    }
    result = replay_now.next.num[0];
    written = replay_now.next.num[1];
    if (written < 0 || written > len) {
        replay_diverge("the guest writes %d bytes to a character device, "
                       "but the recording wrote %" PRId64, len, written);
        return len;
    }
    *res = result < 0 ? -1 : written;
    replay_take_next();
    return written;
}

int replay_chr_write(Chardev *chr, const uint8_t *buf, int len)
{
    int res = len;
    int written = len;

    if (replay_mode == REPLAY_MODE_PLAY) {
        written = replay_char_write_load(len, &res);
    } else if (replay_mode == REPLAY_MODE_RECORD) {
        replay_catch_up();
        replay_put2(REPLAY_EV_CHAR_WRITE, len, len);
    }
    replay_char_send(replay_char_get(replay_char_id(chr)), buf, written);
    return res;
}

int replay_char_read_all_load(uint8_t *buf, int len)
{
    const ReplayLogEvent *ev = &replay_now.next;
    int res;

    replay_catch_up();
    if (replay_next_event_is(REPLAY_EV_CHAR_READ_ALL_ERROR)) {
        res = (int64_t)ev->num[0];
        replay_take_next();
        return MIN(res, 0);
    }
    if (!replay_expect(REPLAY_EV_CHAR_READ_ALL)) {
        return 0;
    }
    if (ev->len_bytes > len) {
        replay_diverge("the machine reads %d bytes from a character device, "
                       "but the recording has %zu", len, ev->len_bytes);
        return 0;
    }
    res = ev->len_bytes;
    memcpy(buf, ev->data, res);
    replay_take_next();
    if (res == REPLAY_LOG_DATA_MAX_BYTES) {
        /* the rest, which may be empty: see replay_char_read_all_save_buf() */
        return res + replay_char_read_all_load(buf + res, len - res);
    }
    return res;
}

void replay_char_read_all_save_error(int res)
{
    g_assert(res < 0);
    replay_catch_up();
    replay_put1(REPLAY_EV_CHAR_READ_ALL_ERROR, (int64_t)res);
}

void replay_char_read_all_save_buf(uint8_t *buf, int offset)
{
    replay_catch_up();
    /*
     * An event with REPLAY_LOG_DATA_MAX_BYTES bytes is always followed by
     * another event with the rest, which may be empty.
     */
    while (offset >= REPLAY_LOG_DATA_MAX_BYTES) {
        replay_put(REPLAY_EV_CHAR_READ_ALL, NULL, buf,
                   REPLAY_LOG_DATA_MAX_BYTES);
        buf += REPLAY_LOG_DATA_MAX_BYTES;
        offset -= REPLAY_LOG_DATA_MAX_BYTES;
    }
    replay_put(REPLAY_EV_CHAR_READ_ALL, NULL, buf, offset);
}
