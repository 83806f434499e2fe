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
 * A recording identifies a device by its number.  The description of the
 * machine has the label of each number.  A recorder numbers the devices in the
 * order in which they were registered, and a replay finds them by their labels.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "chardev/char.h"
#include "chardev/char-fe.h"
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

/*
 * The number of a device is its index.  In a replay, an element is NULL if the
 * machine lacks a recorded device.
 *
 * Main thread, start-up; read-only after that.
 */
static GPtrArray *devices;  /* of Chardev, borrowed; NULL if there are none */

static bool replay_char_is_registered(const Chardev *chr)
{
    return devices && g_ptr_array_find(devices, chr, NULL);
}

void replay_register_char_driver(Chardev *chr)
{
    if (replay_mode == REPLAY_MODE_NONE || replay_char_is_registered(chr)) {
        return;
    }
    if (!devices) {
        devices = g_ptr_array_new();
    }
    g_ptr_array_add(devices, chr);
    qemu_chr_set_feature(chr, QEMU_CHAR_FEATURE_REPLAY);
    if (CHARDEV_GET_CLASS(chr)->chr_ioctl) {
        warn_report("character device '%s': the guest cannot use the lines of "
                    "a port of the host while it is recorded or replayed",
                    chr->label);
    }
}

static char *replay_char_key(guint number)
{
    return g_strdup_printf("chardev.%u", number);
}

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
            Chardev *chr = g_ptr_array_index(devices, k);

            if (chr && g_str_equal(chr->label, label)) {
                g_ptr_array_index(numbered, i) = chr;
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
        Chardev *chr = g_ptr_array_index(devices, i);

        if (chr) {
            g_autofree char *key = replay_char_key(i);

            replay_log_description_add(d, key, chr->label);
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

static uint64_t replay_char_id(const Chardev *chr)
{
    guint i;

    for (i = 0; devices && i < devices->len; i++) {
        if (g_ptr_array_index(devices, i) == chr) {
            return i;
        }
    }
    /* Callers check qemu_chr_replay(), which only registered devices set. */
    g_assert_not_reached();
}

void replay_chr_be_write(Chardev *s, const uint8_t *buf, int len)
{
    replay_events_queue(replay_char_read_new(&replay_char_read_ops,
                                             replay_char_id(s), 0, buf, len));
}

void replay_chr_mux_be_write(Chardev *s, int frontend, const uint8_t *buf,
                             int len)
{
    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_events_queue(replay_char_read_new(&replay_char_mux_ops,
                                                 replay_char_id(s), frontend,
                                                 buf, len));
    }
}

static void replay_char_read_save(const ReplayEvent *ev)
{
    const ReplayCharRead *s = container_of(ev, ReplayCharRead, ev);
    const uint64_t num[] = { s->id, s->frontend };

    replay_put(ev->ops->kind, num, s->data, s->len_bytes);
}

/*
 * Returns: the front end of the guest for which the bytes of @logged are; NULL
 * with @errp set if there is none.
 */
static CharBackend *replay_char_front_end(const ReplayLogEvent *logged,
                                          Error **errp)
{
    bool mux = logged->kind == REPLAY_EV_ASYNC_CHAR_MUX;
    uint64_t id = logged->num[0];
    Chardev *chr;
    CharBackend *be;

    if (!devices || id >= devices->len) {
        error_setg(errp, "bytes are for character device number %" PRIu64
                   ", but only %u devices are recorded", id,
                   devices ? devices->len : 0);
        return NULL;
    }
    chr = g_ptr_array_index(devices, id);
    if (!chr) {
        error_setg(errp, "bytes are for character device number %" PRIu64
                   ", which the machine lacks", id);
        return NULL;
    }
    be = mux ? qemu_chr_mux_get(chr, logged->num[1]) : chr->be;
    if (mux && !be) {
        error_setg(errp, "bytes are for front end number %" PRIu64 " of "
                   "character device '%s', which does not exist",
                   logged->num[1], chr->label);
        return NULL;
    }
    /* Without @mux, a multiplexer would give them to the one in focus. */
    if (!qemu_chr_fe_replay(be) || (!mux && qemu_chr_mux_get(chr, 0))) {
        error_setg(errp, "bytes are for a front end of character device '%s' "
                   "that is not a device of the guest", chr->label);
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

    qemu_chr_be_write_impl(g_ptr_array_index(devices, s->id), s->data,
                           s->len_bytes);
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

    qemu_chr_mux_be_write(g_ptr_array_index(devices, s->id), s->frontend,
                          s->data, s->len_bytes);
}

const ReplayEventOps replay_char_mux_ops = {
    .kind = REPLAY_EV_ASYNC_CHAR_MUX,
    .save = replay_char_read_save,
    .load = replay_char_read_load,
    .run = replay_char_mux_run,
};

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

int replay_chr_write(Chardev *s, const uint8_t *buf, int len, bool write_all)
{
    int res;

    if (replay_mode == REPLAY_MODE_PLAY) {
        qemu_chr_write(s, buf, replay_char_write_load(len, &res), true);
        return res;
    }
    res = qemu_chr_write(s, buf, len, write_all);
    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_catch_up();
        replay_put2(REPLAY_EV_CHAR_WRITE, (int64_t)res, (int64_t)MAX(res, 0));
    }
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
    if (res == REPLAY_LOG_DATA_MAX_BYTES && len > res) {
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
