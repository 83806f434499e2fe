/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Random bytes that a back end reads from a file of the host.  The guest asks
 * for them, and gets them when the file has some, which is an asynchronous
 * event with the bytes.  A replay does not read the file.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "sysemu/replay.h"
#include "replay-kinds.h"
#include "replay-stream.h"

QEMU_BUILD_BUG_ON(REPLAY_RNG_MAX_BYTES > REPLAY_LOG_DATA_MAX_BYTES);

typedef struct ReplayRng {
    const char *id;             /* owned by the object */
    const ReplayRngOps *ops;
    void *opaque;
} ReplayRng;

typedef struct ReplayRngBytes {
    ReplayEvent ev;
    uint64_t number;            /* index in @backends */
    size_t len_bytes;
    uint8_t data[];
} ReplayRngBytes;

/* Of ReplayRng, owned; in the order in which the back ends were made. */
static GArray *backends;

unsigned replay_rng_register(const char *id, const ReplayRngOps *ops,
                             void *opaque)
{
    ReplayRng s = { .id = g_strdup(id), .ops = ops, .opaque = opaque };

    if (!backends) {
        backends = g_array_new(false, false, sizeof(ReplayRng));
    }
    g_array_append_val(backends, s);
    return backends->len - 1;
}

void replay_rng_unregister(unsigned number)
{
    g_array_index(backends, ReplayRng, number).ops = NULL;
}

bool replay_rng_open(Error **errp)
{
    guint i;

    for (i = 0; backends && i < backends->len; i++) {
        const ReplayRng *s = &g_array_index(backends, ReplayRng, i);

        if (s->ops && !s->ops->open(s->opaque, errp)) {
            return false;
        }
    }
    return true;
}

void replay_rng_leave(void)
{
    guint i;

    for (i = 0; backends && i < backends->len; i++) {
        const ReplayRng *s = &g_array_index(backends, ReplayRng, i);

        if (s->ops) {
            s->ops->start(s->opaque);
        }
    }
}

void replay_rng_describe(ReplayLogDescription *d)
{
    guint i;

    for (i = 0; backends && i < backends->len; i++) {
        const ReplayRng *s = &g_array_index(backends, ReplayRng, i);
        g_autofree char *key = g_strdup_printf(REPLAY_LOG_KEY_INFO "rng.%u", i);

        replay_log_description_add(d, key, s->ops ? s->id : "");
    }
}

static ReplayEvent *replay_rng_new(uint64_t number, const void *data,
                                   size_t len_bytes)
{
    ReplayRngBytes *s = g_malloc(sizeof(*s) + len_bytes);

    s->ev.ops = &replay_rng_ops;
    s->number = number;
    s->len_bytes = len_bytes;
    memcpy(s->data, data, len_bytes);
    return &s->ev;
}

void replay_rng_receive(unsigned number, const void *buf, size_t len)
{
    g_assert(len <= REPLAY_RNG_MAX_BYTES);
    replay_events_queue(replay_rng_new(number, buf, len));
}

static void replay_rng_save(const ReplayEvent *ev)
{
    const ReplayRngBytes *s = container_of(ev, ReplayRngBytes, ev);

    replay_put(REPLAY_EV_ASYNC_RNG, &s->number, s->data, s->len_bytes);
}

static ReplayEvent *replay_rng_load(const ReplayLogEvent *logged, Error **errp)
{
    const ReplayRng *s;
    size_t wanted;

    if (!backends || logged->num[0] >= backends->len
        || !g_array_index(backends, ReplayRng, logged->num[0]).ops) {
        error_setg(errp, "random bytes are for back end number %" PRIu64
                   ", but there is no such back end", logged->num[0]);
        return NULL;
    }
    s = &g_array_index(backends, ReplayRng, logged->num[0]);
    if (!s->ops->wants(s->opaque, &wanted)) {
        /* The guest has not asked for them yet, or does something else. */
        return NULL;
    }
    if (logged->len_bytes > wanted) {
        error_setg(errp, "the back end '%s' has %zu random bytes, but the "
                   "guest asks for %zu", s->id, logged->len_bytes, wanted);
        return NULL;
    }
    return replay_rng_new(logged->num[0], logged->data, logged->len_bytes);
}

static void replay_rng_run(ReplayEvent *ev)
{
    g_autofree ReplayRngBytes *s = container_of(ev, ReplayRngBytes, ev);
    const ReplayRng *rng = &g_array_index(backends, ReplayRng, s->number);

    if (rng->ops) {
        rng->ops->receive(rng->opaque, s->data, s->len_bytes);
    }
}

const ReplayEventOps replay_rng_ops = {
    .kind = REPLAY_EV_ASYNC_RNG,
    .save = replay_rng_save,
    .load = replay_rng_load,
    .run = replay_rng_run,
};
