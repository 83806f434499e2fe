/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The pairs of functions that the writer and the reader of recordings share:
 * each part of a recording has a function that saves it and one that loads it,
 * field by field in the same order.  They work on bytes in memory and do not
 * know what an event does.  replay-log-writer.c and replay-log-reader.c do the
 * rest.  docs/replay.txt, "The format of a recording", specifies the format.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/crc32c.h"
#include "qemu/cutils.h"
#include "replay-log-internal.h"

static const uint8_t replay_log_magic[8] = {
    0x89, 'Q', 'R', 'R', '\r', '\n', 0x1a, '\n'
};

/*
 * QEMU's first format begins with a version and 8 zeros.  The version is 0
 * until the recorder ends.
 */
#define REPLAY_LOG_OLD_HEADER_BYTES 12
#define REPLAY_LOG_OLD_VERSIONS     0x00e02000

QEMU_BUILD_BUG_ON((REPLAY_LOG_INDEX_MAX * 4 + REPLAY_LOG_ADAPTERS_MAX * 3 +
                   REPLAY_LOG_KINDS * 2 + 6) * REPLAY_LOG_VARINT_BYTES +
                  REPLAY_LOG_ADAPTERS_MAX * REPLAY_LOG_ADAPTER_NAME_MAX_BYTES >
                  REPLAY_LOG_CHUNK_MAX_BYTES);
/* The description has room for a key with the whole name of each adapter. */
QEMU_BUILD_BUG_ON(REPLAY_LOG_ADAPTERS_MAX > REPLAY_LOG_DESC_MAX);
QEMU_BUILD_BUG_ON(sizeof(REPLAY_LOG_KEY_ADAPTER) - 1 +
                  REPLAY_LOG_ADAPTER_NAME_MAX_BYTES >
                  REPLAY_LOG_DESC_STR_MAX);

/* --- Events: names and fields ------------------------------------------ */

static const char *const replay_log_names[REPLAY_LOG_KINDS] = {
#define REPLAY_LOG_EVENT_NAME(number, name, text, fields) \
    [number] = text, /* a list item; no parentheses */
    REPLAY_LOG_EVENTS(REPLAY_LOG_EVENT_NAME)
#undef REPLAY_LOG_EVENT_NAME
};

static const char *const replay_log_fields[REPLAY_LOG_KINDS] = {
#define REPLAY_LOG_EVENT_FIELDS(number, name, text, fields) \
    [number] = fields, /* a list item; no parentheses */
    REPLAY_LOG_EVENTS(REPLAY_LOG_EVENT_FIELDS)
#undef REPLAY_LOG_EVENT_FIELDS
};

const char *replay_log_event_name(uint8_t kind)
{
    return replay_log_names[kind];
}

const char *replay_log_event_fields(uint8_t kind)
{
    return replay_log_fields[kind];
}

/* --- Bytes and strings ------------------------------------------------- */

/*
 * The writer computes the checksum of each recorded byte.  With QEMU's table
 * that takes longer than write(), so use the instruction of the processor if
 * there is one.
 */
#ifdef HOST_X86_64
static uint32_t __attribute__((target("sse4.2")))
replay_log_crc_sse42(uint32_t seed, const uint8_t *p, size_t len)
{
    uint64_t crc = seed;

    for (; len >= 8; p += 8, len -= 8) {
        crc = __builtin_ia32_crc32di(crc, ldq_le_p(p));
    }
    for (; len; p++, len--) {
        crc = __builtin_ia32_crc32qi(crc, *p);
    }
    return crc ^ 0xffffffff;
}
#endif

uint32_t replay_log_crc32c(uint32_t crc, const void *data, size_t len_bytes)
{
#ifdef HOST_X86_64
    if (__builtin_cpu_supports("sse4.2")) {
        return replay_log_crc_sse42(~crc, data, len_bytes);
    }
#endif
    return crc32c(~crc, data, len_bytes);
}

uint32_t replay_log_crc(const uint8_t *p, size_t len)
{
    return replay_log_crc32c(0, p, len);
}

static inline uint64_t replay_log_zigzag(uint64_t v)
{
    return (v << 1) ^ ((v >> 63) ? UINT64_MAX : 0);
}

static inline uint64_t replay_log_unzigzag(uint64_t v)
{
    return (v >> 1) ^ ((v & 1) ? UINT64_MAX : 0);
}

static inline uint8_t *replay_log_varint_save(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = v | 0x80;
        v >>= 7;
    }
    *p++ = v;
    return p;
}

static bool replay_log_varint_load_long(ReplayLogInput *in, uint64_t *v)
{
    unsigned shift;

    *v = 0;
    for (shift = 0; ; shift += 7) {
        uint8_t b;

        if (in->p == in->end) {
            return false;
        }
        b = *in->p++;
        if (shift == 63 && b > 1) {
            return false;               /* more than 64 bits */
        }
        *v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            return b || !shift;         /* only the shortest form is valid */
        }
    }
}

static inline bool replay_log_varint_load(ReplayLogInput *in, uint64_t *v)
{
    if (likely(in->p != in->end && !(*in->p & 0x80))) {
        *v = *in->p++;
        return true;
    }
    return replay_log_varint_load_long(in, v);
}

/* C0, DEL and C1: a terminal could interpret these as commands. */
static bool replay_log_is_control(gunichar c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

/* It changes the order in which what follows is shown (Unicode, UAX #9). */
static bool replay_log_is_direction(gunichar c)
{
    return c == 0x061c || c == 0x200e || c == 0x200f
           || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/*
 * Returns: whether the @len bytes at @s are a valid string: UTF-8 without
 * control characters.
 */
static bool replay_log_str_ok(const uint8_t *s, size_t len)
{
    const char *str = (const char *)s;
    const char *p;

    if (!g_utf8_validate(str, len, NULL)) {
        return false;
    }
    for (p = str; p < str + len; p = g_utf8_next_char(p)) {
        if (replay_log_is_control(g_utf8_get_char(p))) {
            return false;
        }
    }
    return true;
}

char *replay_log_str_clean(const char *s, size_t max)
{
    g_autofree char *valid = g_utf8_make_valid(s, -1);
    g_autoptr(GString) clean = g_string_new(NULL);
    const char *p;

    for (p = valid; *p; p = g_utf8_next_char(p)) {
        size_t n = g_utf8_next_char(p) - p;
        gunichar c = g_utf8_get_char(p);

        if (replay_log_is_control(c) || replay_log_is_direction(c)) {
            g_string_append_c(clean, '?');
        } else if (clean->len + n <= max) {
            g_string_append_len(clean, p, n);
        } else {
            break;
        }
        if (clean->len >= max) {
            break;
        }
    }
    return g_string_free(g_steal_pointer(&clean), false);
}

static void replay_log_str_save(GByteArray *out, const char *s)
{
    uint8_t len_varint[REPLAY_LOG_VARINT_BYTES];
    size_t len = strlen(s);

    g_byte_array_append(out, len_varint,
                        replay_log_varint_save(len_varint, len) - len_varint);
    g_byte_array_append(out, (const uint8_t *)s, len);
}

/*
 * Returns: an owned string, or NULL if the string is incomplete, has more than
 * @max bytes, or is not safe to show to a user.
 */
static char *replay_log_str_load(ReplayLogInput *in, size_t max)
{
    g_autofree char *s = NULL;
    uint64_t len;

    if (!replay_log_varint_load(in, &len) || len > max ||
        len > in->end - in->p || !replay_log_str_ok(in->p, len)) {
        return NULL;
    }
    s = g_strndup((const char *)in->p, len);
    in->p += len;
    return replay_log_str_clean(s, max);
}

static void replay_log_num_save(GByteArray *out, uint64_t v)
{
    uint8_t varint[REPLAY_LOG_VARINT_BYTES];

    g_byte_array_append(out, varint,
                        replay_log_varint_save(varint, v) - varint);
}

/* --- Header ------------------------------------------------------------ */

void replay_log_header_save(uint8_t *p, const QemuUUID *uuid)
{
    memcpy(p, replay_log_magic, 8);
    stl_le_p(p + 8, REPLAY_LOG_VERSION);
    stl_le_p(p + 12, 0);
    memcpy(p + 16, uuid->data, 16);
    stl_le_p(p + 32, 0);
    stl_le_p(p + 36, replay_log_crc(p, 36));
}

/* Sets @errp for a file that does not begin like a recording. */
static void replay_log_foreign(const char *name, const uint8_t *p, size_t len,
                               Error **errp)
{
    Error *err = NULL;
    uint32_t old_version = len >= 4 ? ldl_be_p(p) : 0;

    if (!len) {
        error_setg(&err, "'%s' is empty: it is not a recording", name);
    } else if (len >= REPLAY_LOG_OLD_HEADER_BYTES &&
               buffer_is_zero(p, REPLAY_LOG_OLD_HEADER_BYTES)) {
        error_setg(&err, "'%s' begins with zeros: either it is not a "
                   "recording, or QEMU was killed while it recorded in its "
                   "first format (up to version 10.2)", name);
        error_append_hint(&err, "No QEMU can replay this file. Record it "
                          "again.\n");
    } else if ((old_version & ~0xff) == REPLAY_LOG_OLD_VERSIONS) {
        const char *qemu = "older than 7.1";

        if (old_version == REPLAY_LOG_OLD_VERSIONS + 0x0c) {
            qemu = "7.1 to 10.2";
        } else if (old_version > REPLAY_LOG_OLD_VERSIONS + 0x0c) {
            qemu = "newer than 10.2";
        }
        error_setg(&err, "'%s' is a recording in QEMU's first format, version "
                   "0x%" PRIx32 ": an unmodified QEMU %s replays it", name,
                   old_version, qemu);
        error_append_hint(&err, "Preferably use the QEMU that recorded it.\n");
    } else if (!memcmp(p, replay_log_magic, MIN(len, 8))) {
        error_setg(&err, "recording '%s' is cut within its header: there is "
                   "nothing to replay", name);
    } else if (len >= 4 && !memcmp(p, replay_log_magic, 4)) {
        error_setg(&err, "recording '%s' is damaged in its first bytes",
                   name);
        error_append_hint(&err, "A transfer in text mode causes this. Copy the "
                          "file again, in binary mode.\n");
    } else {
        error_setg(&err, "'%s' is not a recording", name);
    }
    error_propagate(errp, err);
}

bool replay_log_header_load(const char *name, const uint8_t *p, size_t len,
                            QemuUUID *uuid, Error **errp)
{
    uint32_t version, flags, reserved, crc, crc_found;
    Error *err = NULL;

    if (len < 12 || memcmp(p, replay_log_magic, 8)) {
        replay_log_foreign(name, p, len, errp);
        return false;
    }
    /* Magic and version have the same place in every version. */
    version = ldl_le_p(p + 8);
    if (version > REPLAY_LOG_VERSION) {
        error_setg(&err, "recording '%s' has a newer format: version %" PRIu32
                   ", but this QEMU reads only versions up to %d", name,
                   version, REPLAY_LOG_VERSION);
        error_append_hint(&err, "Replay it with the QEMU that recorded it.\n");
        error_propagate(errp, err);
        return false;
    }
    if (len < REPLAY_LOG_HEADER_BYTES) {
        replay_log_foreign(name, p, len, errp);
        return false;
    }
    flags = ldl_le_p(p + 12);
    memcpy(uuid->data, p + 16, 16);
    reserved = ldl_le_p(p + 32);
    crc = replay_log_crc(p, 36);
    crc_found = ldl_le_p(p + 36);
    if (crc_found != crc) {
        error_setg(errp, "recording '%s' is damaged in its header: the "
                   "checksum is 0x%08" PRIx32 ", expected 0x%08" PRIx32,
                   name, crc_found, crc);
        return false;
    }
    if (!version || flags || reserved) {
        error_setg(&err, "recording '%s' needs a feature that this QEMU does "
                   "not have: version %" PRIu32 ", flags 0x%" PRIx32
                   ", reserved 0x%" PRIx32, name, version, flags, reserved);
        error_append_hint(&err, "Replay it with the QEMU that recorded it.\n");
        error_propagate(errp, err);
        return false;
    }
    return true;
}

/* --- Chunk header ------------------------------------------------------ */

uint32_t replay_log_tag(const QemuUUID *uuid)
{
    return ldl_le_p(uuid->data);
}

bool replay_log_chunk_counts(const ReplayLogChunk *c)
{
    return c->kind == REPLAY_LOG_CHUNK_EVENTS ||
           c->kind == REPLAY_LOG_CHUNK_END;
}

void replay_log_chunk_save(uint8_t *p, const ReplayLogChunk *c)
{
    stw_le_p(p, c->kind);
    stw_le_p(p + 2, c->flags);
    stl_le_p(p + 4, c->seq);
    stl_le_p(p + 8, c->stored_bytes);
    stl_le_p(p + 12, c->raw_bytes);
    stq_le_p(p + 16, c->icount);
    stq_le_p(p + 24, c->event);
    stq_le_p(p + 32, c->packet);
    stl_le_p(p + 40, c->tag);
    stl_le_p(p + 44, replay_log_crc(p + REPLAY_LOG_CHUNK_HDR_BYTES,
                                    c->stored_bytes));
    stl_le_p(p + 48, replay_log_crc(p, 48));
}

void replay_log_chunk_load(const uint8_t *p, ReplayLogChunk *c)
{
    c->kind = lduw_le_p(p);
    c->flags = lduw_le_p(p + 2);
    c->seq = ldl_le_p(p + 4);
    c->stored_bytes = ldl_le_p(p + 8);
    c->raw_bytes = ldl_le_p(p + 12);
    c->icount = ldq_le_p(p + 16);
    c->event = ldq_le_p(p + 24);
    c->packet = ldq_le_p(p + 32);
    c->tag = ldl_le_p(p + 40);
    c->payload_crc = ldl_le_p(p + 44);
}

/* --- Description ------------------------------------------------------- */

struct ReplayLogDescription {
    GPtrArray *keys;            /* owned strings, in the order of the pairs */
    GHashTable *values;         /* key (owned by @keys) to owned value */
};

ReplayLogDescription *replay_log_description_new(void)
{
    ReplayLogDescription *d = g_new(ReplayLogDescription, 1);

    d->keys = g_ptr_array_new_with_free_func(g_free);
    d->values = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
    return d;
}

void replay_log_description_free(ReplayLogDescription *d)
{
    if (d) {
        g_hash_table_unref(d->values);
        g_ptr_array_unref(d->keys);
        g_free(d);
    }
}

/*
 * @key, @value: owned
 * Returns: false if @d already has this key, or the key is empty.
 */
static bool replay_log_description_take(ReplayLogDescription *d, char *key,
                                        char *value)
{
    if (!*key || g_hash_table_contains(d->values, key)) {
        g_free(key);
        g_free(value);
        return false;
    }
    g_ptr_array_add(d->keys, key);
    g_hash_table_insert(d->values, key, value);
    return true;
}

void replay_log_description_add(ReplayLogDescription *d, const char *key,
                                const char *value)
{
    bool added = replay_log_description_take(d,
        replay_log_str_clean(key, REPLAY_LOG_DESC_STR_MAX),
        replay_log_str_clean(value, REPLAY_LOG_DESC_STR_MAX));

    assert(added);              /* the caller chooses the keys */
}

const char *replay_log_description_get(const ReplayLogDescription *d,
                                       const char *key)
{
    return g_hash_table_lookup(d->values, key);
}

size_t replay_log_description_count(const ReplayLogDescription *d)
{
    return d->keys->len;
}

const char *replay_log_description_nth(const ReplayLogDescription *d,
                                       size_t i, const char **value)
{
    const char *key;

    assert(i < d->keys->len);
    key = g_ptr_array_index(d->keys, i);
    *value = g_hash_table_lookup(d->values, key);
    return key;
}

const char *replay_log_description_adapter(const ReplayLogDescription *d,
                                           uint64_t number)
{
    size_t i;

    for (i = 0; i < d->keys->len; i++) {
        const char *key = g_ptr_array_index(d->keys, i);

        if (g_str_has_prefix(key, REPLAY_LOG_KEY_ADAPTER) && number-- == 0) {
            return key + strlen(REPLAY_LOG_KEY_ADAPTER);
        }
    }
    return NULL;
}

void replay_log_description_save(GByteArray *out,
                                 const ReplayLogDescription *d)
{
    size_t i;

    for (i = 0; i < replay_log_description_count(d); i++) {
        const char *value;
        const char *key = replay_log_description_nth(d, i, &value);

        replay_log_str_save(out, key);
        replay_log_str_save(out, value);
    }
}

const char *replay_log_description_load(ReplayLogInput *in,
                                        ReplayLogDescription *d)
{
    while (in->p != in->end) {
        g_autofree char *key = replay_log_str_load(in,
                                                   REPLAY_LOG_DESC_STR_MAX);
        g_autofree char *value = NULL;

        if (key) {
            value = replay_log_str_load(in, REPLAY_LOG_DESC_STR_MAX);
        }
        if (!value) {
            return "the description has a string that is too long, incomplete "
                   "or not text";
        }
        if (replay_log_description_count(d) == REPLAY_LOG_DESC_MAX ||
            !replay_log_description_take(d, g_steal_pointer(&key),
                                         g_steal_pointer(&value))) {
            return "the description has a duplicate key, an empty key or too "
                   "many keys";
        }
    }
    return NULL;
}

/* --- Events ------------------------------------------------------------ */

uint8_t *replay_log_event_save(ReplayLogState *s, uint8_t *p, uint8_t kind,
                               const uint64_t *num, const void *data,
                               size_t len)
{
    const char *field = replay_log_fields[kind];
    unsigned i;

    *p++ = kind;
    for (i = 0; field[i]; i++) {
        switch (field[i]) {
        case 'u':
            p = replay_log_varint_save(p, num[i]);
            break;
        case 's':
            p = replay_log_varint_save(p, replay_log_zigzag(num[i]));
            break;
        case 'c':
            p = replay_log_varint_save(p, replay_log_zigzag(num[i] -
                                                           s->prev[kind][i]));
            s->prev[kind][i] = num[i];
            break;
        case 'i':
            p = replay_log_varint_save(p, replay_log_zigzag(num[i] -
                                                            s->icount));
            break;
        case 'b':
            p = replay_log_varint_save(p, len);
            if (len) {
                memcpy(p, data, len);
                p += len;
            }
            break;
        default:
            g_assert_not_reached();     /* REPLAY_LOG_EVENTS has no other */
        }
    }
    return p;
}

const char replay_log_unknown_kind[] = "";

bool replay_log_stands_apart(uint8_t kind, size_t len_bytes)
{
    return kind == REPLAY_EV_ASYNC_NET
           && len_bytes >= REPLAY_LOG_APART_MIN_BYTES;
}

bool replay_log_event_stands_apart(const ReplayLogEvent *ev)
{
    return replay_log_stands_apart(ev->kind, ev->len_bytes);
}

/*
 * Fills in the kind, the numbers and the data of @ev.
 * @packets: the packets that are stored apart; NULL pointers if none are
 * Returns: NULL if the event is valid, else what is wrong with it.
 */
static inline const char *replay_log_event_load(ReplayLogState *s,
                                                ReplayLogInput *in,
                                                ReplayLogInput *packets,
                                                ReplayLogEvent *ev)
{
    ReplayLogInput *from = in;
    const char *field;
    uint64_t v;
    unsigned i;

    ev->kind = *in->p++;
    ev->n_nums = 0;
    ev->data = NULL;
    ev->len_bytes = 0;
    field = replay_log_fields[ev->kind];
    if (unlikely(!field)) {
        return replay_log_unknown_kind;
    }
    for (i = 0; field[i]; i++) {
        if (unlikely(!replay_log_varint_load(in, &v))) {
            return "has an incomplete or invalid number";
        }
        switch (field[i]) {
        case 'u':
            break;
        case 's':
            v = replay_log_unzigzag(v);
            break;
        case 'c':
            v = s->prev[ev->kind][i] + replay_log_unzigzag(v);
            s->prev[ev->kind][i] = v;
            break;
        case 'i':
            v = s->icount + replay_log_unzigzag(v);
            break;
        case 'b':
            if (v > REPLAY_LOG_DATA_MAX_BYTES) {
                return "has more bytes than the limit allows";
            }
            if (packets->p && replay_log_stands_apart(ev->kind, v)) {
                from = packets;
            }
            if (v > from->end - from->p) {
                return "has bytes beyond the end of its chunk";
            }
            ev->data = from->p;
            ev->len_bytes = v;
            from->p += v;
            return NULL;
        default:
            g_assert_not_reached();     /* REPLAY_LOG_EVENTS has no other */
        }
        ev->num[i] = v;
        ev->n_nums = i + 1;
    }
    return NULL;
}

bool replay_log_state_count(ReplayLogState *s, uint8_t kind,
                            const uint64_t *num)
{
    if (kind == REPLAY_EV_INSTRUCTION) {
        if (unlikely(num[0] > INT64_MAX - s->icount)) {
            return false;
        }
        s->icount += num[0];
    } else if (kind == REPLAY_EV_ASYNC_NET) {
        s->packet++;
    }
    s->event++;
    return true;
}

const char *replay_log_state_load(ReplayLogState *s, ReplayLogInput *in,
                                  ReplayLogInput *packets, ReplayLogEvent *ev)
{
    const char *why = replay_log_event_load(s, in, packets, ev);

    if (unlikely(why)) {
        return why;
    }
    if (unlikely(!replay_log_state_count(s, ev->kind, ev->num))) {
        return "makes the instruction count overflow";
    }
    return NULL;
}

void replay_log_state_restart(ReplayLogState *s, const ReplayLogChunk *c)
{
    s->icount = c->icount;
    s->event = c->event;
    s->packet = c->packet;
    memset(s->prev, 0, sizeof(s->prev));
}

/* --- End --------------------------------------------------------------- */

void replay_log_end_save(GByteArray *out, const ReplayLogEnd *e,
                         uint64_t index_base, uint64_t own_offset)
{
    ReplayLogIndexEntry prev = { };
    uint8_t trailer[REPLAY_LOG_TRAILER_BYTES];
    unsigned i, n;

    replay_log_num_save(out, e->icount);
    replay_log_num_save(out, e->events);

    for (i = 0, n = 0; i < REPLAY_LOG_KINDS; i++) {
        n += e->by_kind[i] != 0;
    }
    replay_log_num_save(out, n);
    for (i = 0; i < REPLAY_LOG_KINDS; i++) {
        if (e->by_kind[i]) {
            replay_log_num_save(out, i);
            replay_log_num_save(out, e->by_kind[i]);
        }
    }

    replay_log_num_save(out, e->n_adapters);
    for (i = 0; i < e->n_adapters; i++) {
        replay_log_str_save(out, e->adapter[i].name ?: "");
        replay_log_num_save(out, e->adapter[i].packets);
        replay_log_num_save(out, e->adapter[i].bytes);
    }

    replay_log_num_save(out, e->n_index);
    for (i = 0; i < e->n_index; i++) {
        ReplayLogIndexEntry x = e->index[i];

        x.file_offset += index_base;
        replay_log_num_save(out, x.seq - prev.seq);
        replay_log_num_save(out, x.file_offset - prev.file_offset);
        replay_log_num_save(out, x.icount - prev.icount);
        replay_log_num_save(out, x.packet - prev.packet);
        prev = x;
    }

    stq_le_p(trailer, own_offset);
    g_byte_array_append(out, trailer, sizeof(trailer));
}

const char *replay_log_end_load(ReplayLogInput *in, const ReplayLogChunk *c,
                                uint64_t offset, uint32_t seq,
                                ReplayLogIndexEntry *found,
                                ReplayLogTotals *totals)
{
    ReplayLogIndexEntry x = { };
    uint64_t icount, events, n, i, sum, least_kind = 0;

    found->seq = 0;
    if (totals) {
        memset(totals, 0, sizeof(*totals));
    }
    if (!replay_log_varint_load(in, &icount) ||
        !replay_log_varint_load(in, &events) ||
        icount != c->icount || events != c->event) {
        return "its totals of instructions and events differ from its header";
    }

    if (!replay_log_varint_load(in, &n)) {
        return "its totals for the kinds of events are invalid";
    }
    for (i = 0, sum = 0; i < n; i++) {
        uint64_t kind, count;

        if (!replay_log_varint_load(in, &kind) ||
            !replay_log_varint_load(in, &count) ||
            kind < least_kind || kind >= REPLAY_LOG_KINDS ||
            count > events - sum) {
            return "its totals for the kinds of events are invalid";
        }
        least_kind = kind + 1;
        sum += count;
        if (totals) {
            totals->by_kind[kind] = count;
        }
    }
    if (sum != events) {
        return "its totals for the kinds of events do not add up";
    }

    if (!replay_log_varint_load(in, &n) || n > REPLAY_LOG_ADAPTERS_MAX) {
        return "its totals for the adapters are invalid";
    }
    for (i = 0, sum = 0; i < n; i++) {
        uint64_t packets, bytes;
        g_autofree char *name =
            replay_log_str_load(in, REPLAY_LOG_ADAPTER_NAME_MAX_BYTES);

        if (!name || !replay_log_varint_load(in, &packets) ||
            !replay_log_varint_load(in, &bytes) || packets > c->packet - sum) {
            return "its totals for the adapters are invalid";
        }
        sum += packets;
        if (totals) {
            pstrcpy(totals->adapter[i].name, sizeof(totals->adapter[i].name),
                    name);
            totals->adapter[i].packets = packets;
            totals->adapter[i].bytes = bytes;
            totals->n_adapters = i + 1;
        }
    }

    if (!replay_log_varint_load(in, &n) || n > REPLAY_LOG_INDEX_MAX) {
        return "its index is invalid";
    }
    for (i = 0; i < n; i++) {
        uint64_t d_seq, d_offset, d_icount, d_packet;

        if (!replay_log_varint_load(in, &d_seq) ||
            !replay_log_varint_load(in, &d_offset) ||
            !replay_log_varint_load(in, &d_icount) ||
            !replay_log_varint_load(in, &d_packet) ||
            !d_seq || d_seq >= c->seq - x.seq ||
            !d_offset || d_offset >= offset - x.file_offset ||
            d_icount > c->icount - x.icount ||
            d_packet > c->packet - x.packet) {
            return "its index is invalid";
        }
        x.seq += d_seq;
        x.file_offset += d_offset;
        x.icount += d_icount;
        x.packet += d_packet;
        if (x.seq <= seq) {
            *found = x;
        }
    }

    if (in->end - in->p != REPLAY_LOG_TRAILER_BYTES ||
        ldq_le_p(in->p) != offset) {
        return "its last field is not its own offset";
    }
    if (totals) {
        totals->icount = icount;
        totals->events = events;
        totals->packets = c->packet;
        totals->chunks = c->seq + 1;
    }
    return NULL;
}

/* --- The file ---------------------------------------------------------- */

bool replay_log_regular(const char *path, int fd, uint64_t *bytes,
                        Error **errp)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        error_setg_errno(errp, errno, "cannot examine '%s'", path);
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        const char *what = "not a regular file";

        if (S_ISDIR(st.st_mode)) {
            what = "a directory";
        } else if (S_ISCHR(st.st_mode)) {
            what = "a device";
#ifndef _WIN32
        } else if (S_ISFIFO(st.st_mode)) {
            what = "a FIFO";
        } else if (S_ISBLK(st.st_mode)) {
            what = "a block device";
#endif
        }
        error_setg(errp, "'%s' is %s: a recording must be a regular file",
                   path, what);
        return false;
    }
    *bytes = st.st_size;
    return true;
}

bool replay_log_is_recording(const char *path)
{
    uint8_t magic[sizeof(replay_log_magic)];
    int fd = open(path, O_RDONLY | REPLAY_LOG_O_FLAGS);
    uint64_t bytes;
    bool is_recording;

    if (fd < 0) {
        return false;
    }
    is_recording = replay_log_regular(path, fd, &bytes, NULL) &&
                   read(fd, magic, sizeof(magic)) == sizeof(magic) &&
                   !memcmp(magic, replay_log_magic, sizeof(magic));
    close(fd);
    return is_recording;
}
