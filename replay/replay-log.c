/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A recording as a file: this code writes and reads the header, the chunks and
 * the events in the chunks.  It does not know what an event does.
 * docs/replay.txt, "The format of a recording", specifies the format.
 *
 * Theory of operation
 *
 * The writer encodes each event at the end of one buffer.  Once the buffer
 * holds REPLAY_LOG_CHUNK_BYTES, or when the caller flushes, the writer makes a
 * chunk of it.  It deflates the whole chunk if that saves enough.  Otherwise it
 * tries to deflate only the bytes between the packets.  The buffer has headroom
 * for the header of the chunk.  A thread of the writer computes the checksums
 * and writes the chunk with one write(), so that the guest does not wait for
 * the file.  The thread has at most one chunk at a time.  The writer looks at
 * the result before it hands over the next chunk, and when the caller flushes.
 * Therefore the file always ends with a whole chunk, or with a chunk that was
 * cut when QEMU was killed, which the reader recognises by its length.  While
 * nothing can be written, because there is no description yet or because a
 * write failed, the finished chunks wait in a list, in their order.  After a
 * failed write the writer truncates the file to the end of its last whole
 * chunk.
 *
 *               event            chunk full        described and no error
 *   caller ------------> buffer ------------> out ------> job ------> file
 *                                              |           | failed    ^
 *                                              |  else     v   flush   |
 *                                              +-----> pending --------+
 *
 * The reader has one chunk in memory at a time, and trusts no byte of the file.
 * It verifies the checksum of the header first.  Then it compares each field of
 * the header with a limit and with the counts of the chunks before, and checks
 * that the file is long enough.  Only then does it allocate memory and read the
 * payload.  It verifies the checksum of the payload before it inflates the
 * payload into a buffer of exactly the size that the header gives.  Decoding
 * depends on no other chunk (see ReplayLogState), so the reader can begin with
 * any chunk.
 */

#include "qemu/osdep.h"
#include <zlib.h>
#ifndef _WIN32
#include <sys/file.h>
#endif
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/crc32c.h"
#include "qemu/cutils.h"
#include "qemu/lockable.h"
#include "qemu/thread.h"
#include "replay-log.h"

/*
 * === Format ==============================================================
 *
 * Each part of a recording has a function that saves it and one that loads it,
 * field by field in the same order.  Nothing in this section reads or writes a
 * file.
 */

static const uint8_t replay_log_magic[8] = {
    0x89, 'Q', 'R', 'R', '\r', '\n', 0x1a, '\n'
};

/*
 * QEMU's first format begins with a version and 8 zeros.  The version is 0
 * until the recorder ends.
 */
#define REPLAY_LOG_OLD_HEADER_BYTES 12
#define REPLAY_LOG_OLD_VERSIONS     0x00e02000

/* The longest varint. */
#define REPLAY_LOG_VARINT_BYTES     10
/*
 * The longest event without its bytes: its kind, and a varint for each number
 * and for the number of bytes.
 */
#define REPLAY_LOG_EVENT_HDR_BYTES \
    (1 + (REPLAY_LOG_NUMS_MAX + 1) * REPLAY_LOG_VARINT_BYTES)

/* Entries of the index.  This bound keeps the end chunk within the limit. */
#define REPLAY_LOG_INDEX_MAX        16384
QEMU_BUILD_BUG_ON((REPLAY_LOG_INDEX_MAX * 4 + REPLAY_LOG_ADAPTERS_MAX * 3 +
                   REPLAY_LOG_KINDS * 2 + 6) * REPLAY_LOG_VARINT_BYTES +
                  REPLAY_LOG_ADAPTERS_MAX * REPLAY_LOG_ADAPTER_NAME_MAX_BYTES >
                  REPLAY_LOG_CHUNK_MAX_BYTES);
/* The description has room for a key with the whole name of each adapter. */
QEMU_BUILD_BUG_ON(REPLAY_LOG_ADAPTERS_MAX > REPLAY_LOG_DESC_MAX);
QEMU_BUILD_BUG_ON(sizeof(REPLAY_LOG_KEY_ADAPTER) - 1 +
                  REPLAY_LOG_ADAPTER_NAME_MAX_BYTES >
                  REPLAY_LOG_DESC_STR_MAX);
/*
 * The last field of the end chunk is the offset of this chunk.  So it is in the
 * last bytes of a complete recording.
 */
#define REPLAY_LOG_TRAILER_BYTES    8

/* Only packets of at least this size are stored apart. */
#define REPLAY_LOG_APART_MIN_BYTES  128

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

/* The bytes that remain to be decoded: from @p up to, but without, @end. */
typedef struct ReplayLogInput {
    const uint8_t *p;
    const uint8_t *end;
} ReplayLogInput;

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

static uint32_t replay_log_crc(const uint8_t *p, size_t len)
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

/*
 * Returns: whether the @len bytes at @s are safe to show to a user: UTF-8
 * without control characters.
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

/*
 * Returns: an owned copy of @s with at most @max bytes, which
 * replay_log_str_ok() accepts.
 */
static char *replay_log_str_clean(const char *s, size_t max)
{
    g_autofree char *valid = g_utf8_make_valid(s, -1);
    g_autoptr(GString) clean = g_string_new(NULL);
    const char *p;

    for (p = valid; *p; p = g_utf8_next_char(p)) {
        size_t n = g_utf8_next_char(p) - p;

        if (replay_log_is_control(g_utf8_get_char(p))) {
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
    char *s;
    uint64_t len;

    if (!replay_log_varint_load(in, &len) || len > max ||
        len > in->end - in->p || !replay_log_str_ok(in->p, len)) {
        return NULL;
    }
    s = g_strndup((const char *)in->p, len);
    in->p += len;
    return s;
}

static void replay_log_num_save(GByteArray *out, uint64_t v)
{
    uint8_t varint[REPLAY_LOG_VARINT_BYTES];

    g_byte_array_append(out, varint,
                        replay_log_varint_save(varint, v) - varint);
}

/* --- Header ------------------------------------------------------------ */

static void replay_log_header_save(uint8_t *p, const QemuUUID *uuid)
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

/* @len: how many bytes of the header the file has; may be too few. */
static bool replay_log_header_load(const char *name, const uint8_t *p,
                                   size_t len, QemuUUID *uuid, Error **errp)
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

typedef struct ReplayLogChunk {
    uint16_t kind;
    uint16_t flags;
    uint32_t seq;
    uint32_t stored_bytes;
    uint32_t raw_bytes;
    /* the counts before the first event of the chunk */
    uint64_t icount;
    uint64_t event;
    uint64_t packet;
    uint32_t tag;
    uint32_t payload_crc;
} ReplayLogChunk;

/*
 * Returns: the tag of all chunks of a recording.  It differs from the tags of
 * an older recording, whose chunks may still be on the disk.
 */
static uint32_t replay_log_tag(const QemuUUID *uuid)
{
    return ldl_le_p(uuid->data);
}

/* Returns: whether the counts in a header of this kind have a meaning. */
static bool replay_log_chunk_counts(const ReplayLogChunk *c)
{
    return c->kind == REPLAY_LOG_CHUNK_EVENTS ||
           c->kind == REPLAY_LOG_CHUNK_END;
}

/* @p: room for the header, followed by @c->stored_bytes of payload */
static void replay_log_chunk_save(uint8_t *p, const ReplayLogChunk *c)
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

/* The caller has to verify the checksum of the header. */
static void replay_log_chunk_load(const uint8_t *p, ReplayLogChunk *c)
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

static void replay_log_description_save(GByteArray *out,
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

/* Returns: NULL if the description is valid, else what is wrong with it. */
static const char *replay_log_description_load(ReplayLogInput *in,
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

/*
 * The counts that encoding and decoding keep.  The first three go on from chunk
 * to chunk, and each chunk's header has them.  @prev has the previous value of
 * each field, and is zero at the beginning of each chunk.
 */
typedef struct ReplayLogState {
    uint64_t icount;
    uint64_t event;
    uint64_t packet;
    uint64_t prev[REPLAY_LOG_KINDS][REPLAY_LOG_NUMS_MAX];
} ReplayLogState;

/*
 * @p: where to write the event; the caller provides enough room
 * Returns: the end of the written bytes.
 */
static inline uint8_t *replay_log_event_save(ReplayLogState *s, uint8_t *p,
                                             uint8_t kind,
                                             const uint64_t *num,
                                             const void *data, size_t len)
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

/*
 * Deflation does not make encrypted or compressed packets smaller, and next to
 * them it does not find what the events between them have in common.  So the
 * writer can store the packets of a chunk apart: it deflates the other bytes
 * alone, and appends the packets as they are.
 *
 * Returns: whether such a chunk stores the bytes of this event apart.
 */
static inline bool replay_log_stands_apart(uint8_t kind, size_t len_bytes)
{
    return kind == REPLAY_EV_ASYNC_NET
           && len_bytes >= REPLAY_LOG_APART_MIN_BYTES;
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
        return "has an unknown kind";
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

/* Returns: false if the event makes the instruction count overflow. */
static inline bool replay_log_state_count(ReplayLogState *s, uint8_t kind,
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

/*
 * Decodes an event and counts it.
 *
 * Returns: NULL if the event is valid, else what is wrong with it.
 */
static inline const char *replay_log_state_load(ReplayLogState *s,
                                                ReplayLogInput *in,
                                                ReplayLogInput *packets,
                                                ReplayLogEvent *ev)
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

static void replay_log_state_restart(ReplayLogState *s, const ReplayLogChunk *c)
{
    s->icount = c->icount;
    s->event = c->event;
    s->packet = c->packet;
    memset(s->prev, 0, sizeof(s->prev));
}

/* --- End --------------------------------------------------------------- */

/* Where the index finds a chunk of events. */
typedef struct ReplayLogIndexEntry {
    uint32_t seq;
    uint64_t file_offset;
    uint64_t icount;
    uint64_t packet;
} ReplayLogIndexEntry;

typedef struct ReplayLogAdapter {
    char *name;
    uint64_t packets;
    uint64_t bytes;
} ReplayLogAdapter;

/* The contents of an end chunk. */
typedef struct ReplayLogEnd {
    uint64_t icount;
    uint64_t events;
    uint64_t by_kind[REPLAY_LOG_KINDS];
    unsigned n_adapters;
    ReplayLogAdapter adapter[REPLAY_LOG_ADAPTERS_MAX];
    unsigned n_index;
    ReplayLogIndexEntry index[REPLAY_LOG_INDEX_MAX];
} ReplayLogEnd;

/*
 * @index_base: what to add to the file offsets in the index
 * @own_offset: where the end chunk is in the file
 */
static void replay_log_end_save(GByteArray *out, const ReplayLogEnd *e,
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

/*
 * Verifies a whole end chunk, and looks up the last entry of its index whose
 * chunk has the number @seq or less.  How much memory this takes does not
 * depend on the numbers in the chunk.
 *
 * @c: the header of the end chunk
 * @offset: where the end chunk is in the file
 * @found: the entry; its seq is 0 if the index has no such entry
 * Returns: NULL if the chunk is valid, else what is wrong with it.
 */
static const char *replay_log_end_load(ReplayLogInput *in,
                                       const ReplayLogChunk *c,
                                       uint64_t offset, uint32_t seq,
                                       ReplayLogIndexEntry *found)
{
    ReplayLogIndexEntry x = { };
    uint64_t icount, events, n, i, sum, least_kind = 0;

    found->seq = 0;
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
    return NULL;
}

/*
 * === Files ===============================================================
 *
 * The functions that reader and writer share to work with a file.
 */

#ifdef _WIN32
#define REPLAY_LOG_O_FLAGS O_BINARY
#else
/*
 * open() must not hang on a FIFO, nor make a terminal the controlling one.
 * replay_log_regular() refuses both afterwards.
 */
#define REPLAY_LOG_O_FLAGS (O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
#endif

/*
 * @bytes: set to the size of the file
 * Returns: whether @fd is a regular file.
 */
static bool replay_log_regular(const char *path, int fd, uint64_t *bytes,
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

/* Returns: how many bytes were read; or -1 with errno set. */
static ssize_t replay_log_pread(int fd, void *buf, size_t len, uint64_t offset)
{
#ifdef _WIN32
    return lseek(fd, offset, SEEK_SET) < 0 ? -1 : read(fd, buf, len);
#else
    return pread(fd, buf, len, offset);
#endif
}

/*
 * Returns: how many bytes were read, fewer than @len at the end of the file; or
 * -errno.
 */
static ssize_t replay_log_read_at(int fd, void *buf, size_t len,
                                  uint64_t offset)
{
    uint8_t *p = buf;
    size_t done = 0;

    while (done < len) {
        ssize_t n = replay_log_pread(fd, p + done, len - done, offset + done);

        if (n > 0) {
            done += n;
        } else if (n == 0) {
            break;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return done;
}

/* Returns: 0, or errno; the file may then have a part of the bytes. */
static int replay_log_write_all(int fd, const uint8_t *p, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(fd, p + done, len - done);

        if (n > 0) {
            done += n;
        } else if (n == 0 || errno != EINTR) {
            return n ? errno : ENOSPC;
        }
    }
    return 0;
}

/*
 * === Reader ==============================================================
 *
 * It does not need the writer.
 */

/* A buffer that grows with its content, but not beyond a chunk's limit. */
typedef struct ReplayLogBuffer {
    uint8_t *data;
    size_t size_bytes;
} ReplayLogBuffer;

struct ReplayLogReader {
    char *path;
    int fd;
    uint64_t file_bytes;        /* the size when it was last asked for */
    QemuUUID uuid;
    ReplayLogDescription *desc;
    uint64_t events_offset;     /* of the chunk after the description */

    /* the current chunk of events */
    bool has_chunk;
    ReplayLogChunk chunk;
    uint64_t chunk_offset;
    ReplayLogInput in;          /* the remaining events */
    ReplayLogInput packets;     /* the remaining packets apart, or NULLs */
    ReplayLogState state;       /* before the first remaining event */

    /* the chunk after the current one */
    uint32_t next_seq;
    uint64_t next_offset;

    ReplayLogStatus status;     /* any status but REPLAY_LOG_OK is final */
    Error *error;               /* owned: the reason for the status */

    ReplayLogBuffer stored;     /* a payload as it is in the file */
    ReplayLogBuffer raw;        /* the inflated payload */
    z_stream *z;                /* NULL until the first inflation */
};

static void replay_log_buffer_need(ReplayLogBuffer *b, size_t bytes)
{
    assert(bytes <= REPLAY_LOG_CHUNK_MAX_BYTES);  /* replay_log_peek() */
    if (!b->data || b->size_bytes < bytes) {
        g_free(b->data);
        b->data = g_malloc(MAX(bytes, 1));
        b->size_bytes = bytes;
    }
}

/* Sets @errp: what is wrong with the recording, in which chunk, and why. */
static void G_GNUC_PRINTF(6, 0)
replay_log_report(const ReplayLogReader *r, const char *what, uint32_t seq,
                  uint64_t offset, Error **errp, const char *fmt, va_list ap)
{
    g_autofree char *why = g_strdup_vprintf(fmt, ap);

    error_setg(errp, "recording '%s' %s: chunk %" PRIu32 " at offset %" PRIu64
               ": %s", r->path, what, seq, offset, why);
}

/* A checksum is wrong, or a value that has a correct checksum is invalid. */
static ReplayLogStatus G_GNUC_PRINTF(5, 6)
replay_log_bad(const ReplayLogReader *r, uint32_t seq, uint64_t offset,
               Error **errp, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    replay_log_report(r, "is damaged", seq, offset, errp, fmt, ap);
    va_end(ap);
    return REPLAY_LOG_DAMAGED;
}

/* The chunk may be good, but then it is newer than this code. */
static ReplayLogStatus G_GNUC_PRINTF(5, 6)
replay_log_unknown(const ReplayLogReader *r, uint32_t seq, uint64_t offset,
                   Error **errp, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    replay_log_report(r, "needs a feature that this QEMU does not have", seq,
                      offset, errp, fmt, ap);
    va_end(ap);
    error_append_hint(errp, "Replay it with the QEMU that recorded it.\n");
    return REPLAY_LOG_DAMAGED;
}

static ReplayLogStatus replay_log_unread(const ReplayLogReader *r,
                                         uint32_t seq, uint64_t offset,
                                         int error, Error **errp)
{
    error_setg_errno(errp, error, "cannot read recording '%s': chunk %" PRIu32
                     " at offset %" PRIu64, r->path, seq, offset);
    return REPLAY_LOG_IO_ERROR;
}

/* The file ends before the end chunk. */
static ReplayLogStatus replay_log_cut(const ReplayLogReader *r, uint32_t seq,
                                      uint64_t offset, Error **errp)
{
    error_setg(errp, "recording '%s' is cut: it has no end, and its chunk %"
               PRIu32 " at offset %" PRIu64 " is incomplete or missing",
               r->path, seq, offset);
    return REPLAY_LOG_CUT;
}

/* Returns: whether the file has @bytes from @offset on. */
static bool replay_log_reaches(ReplayLogReader *r, uint64_t offset,
                               uint64_t bytes)
{
    uint64_t end = offset + bytes;
    struct stat st;

    if (end < offset) {
        return false;
    }
    /* QEMU may still be recording, so the file can have grown. */
    if (end > r->file_bytes && fstat(r->fd, &st) == 0) {
        r->file_bytes = st.st_size;
    }
    return end <= r->file_bytes;
}

/*
 * Reads and verifies the header of the chunk at @offset, whose number must be
 * @seq, and verifies that the file has the whole payload.
 */
static ReplayLogStatus replay_log_peek(ReplayLogReader *r,
                                       uint32_t seq, uint64_t offset,
                                       ReplayLogChunk *c, Error **errp)
{
    uint8_t hdr[REPLAY_LOG_CHUNK_HDR_BYTES];
    ssize_t n = replay_log_read_at(r->fd, hdr, sizeof(hdr), offset);
    uint32_t crc, crc_found;

    if (n < 0) {
        return replay_log_unread(r, seq, offset, -n, errp);
    }
    if (n < sizeof(hdr)) {
        return replay_log_cut(r, seq, offset, errp);
    }
    crc = replay_log_crc(hdr, 48);
    crc_found = ldl_le_p(hdr + 48);
    if (crc != crc_found) {
        return replay_log_bad(r, seq, offset, errp, "its header's checksum is "
                              "0x%08" PRIx32 ", expected 0x%08" PRIx32,
                              crc_found, crc);
    }
    replay_log_chunk_load(hdr, c);
    if (c->tag != replay_log_tag(&r->uuid)) {
        return replay_log_bad(r, seq, offset, errp, "it belongs to another "
                              "recording (tag 0x%08" PRIx32 ", expected 0x%08"
                              PRIx32 ")", c->tag, replay_log_tag(&r->uuid));
    }
    if (c->seq != seq) {
        return replay_log_bad(r, seq, offset, errp, "its header has number %"
                              PRIu32, c->seq);
    }
    if (c->flags & ~(REPLAY_LOG_CHUNK_OPTIONAL | REPLAY_LOG_CHUNK_DEFLATED |
                     REPLAY_LOG_CHUNK_APART)) {
        return replay_log_unknown(r, seq, offset, errp, "its flags 0x%x",
                                  c->flags);
    }
    if (c->stored_bytes > REPLAY_LOG_CHUNK_MAX_BYTES ||
        c->raw_bytes > REPLAY_LOG_CHUNK_MAX_BYTES) {
        return replay_log_bad(r, seq, offset, errp, "its header claims %"
                              PRIu32 " bytes, and %" PRIu32 " when inflated, "
                              "but the limit is %d", c->stored_bytes,
                              c->raw_bytes, REPLAY_LOG_CHUNK_MAX_BYTES);
    }
    if (!(c->flags & REPLAY_LOG_CHUNK_DEFLATED) &&
        c->stored_bytes != c->raw_bytes) {
        return replay_log_bad(r, seq, offset, errp, "it is not deflated, but "
                              "its header claims %" PRIu32 " bytes, and %"
                              PRIu32 " when inflated",
                              c->stored_bytes, c->raw_bytes);
    }
    if ((c->flags & REPLAY_LOG_CHUNK_APART) &&
        (!(c->flags & REPLAY_LOG_CHUNK_DEFLATED) ||
         c->kind != REPLAY_LOG_CHUNK_EVENTS)) {
        return replay_log_bad(r, seq, offset, errp, "it claims to store "
                              "packets apart, but has no deflated events");
    }
    if (c->kind == REPLAY_LOG_CHUNK_END &&
        (c->flags & REPLAY_LOG_CHUNK_DEFLATED)) {
        return replay_log_bad(r, seq, offset, errp, "it is the end, which "
                              "must not be deflated");
    }
    if (c->icount > INT64_MAX) {
        return replay_log_bad(r, seq, offset, errp, "its header has "
                              "instruction %" PRIu64 ", which is out of range",
                              c->icount);
    }
    if (!replay_log_reaches(r, offset, sizeof(hdr) + c->stored_bytes)) {
        return replay_log_cut(r, seq, offset, errp);
    }
    return REPLAY_LOG_OK;
}

/*
 * Inflates @r->stored to @r->raw, and sets @r->packets to the packets at the
 * end of @r->stored, if the chunk stores them apart.  Both together must have
 * exactly @c->raw_bytes, and must use all of @r->stored.
 *
 * Returns: NULL if they do, else what is wrong with the chunk.
 */
static const char *replay_log_chunk_inflate(ReplayLogReader *r,
                                            const ReplayLogChunk *c)
{
    z_stream *z = r->z;
    size_t packets_bytes = 0;
    int ret;

    if (!z) {
        z = g_new0(z_stream, 1);
        if (inflateInit(z) != Z_OK) {
            g_free(z);
            return "zlib cannot be initialized";
        }
        r->z = z;
    }
    inflateReset(z);
    replay_log_buffer_need(&r->raw, c->raw_bytes);
    z->next_in = r->stored.data;
    z->avail_in = c->stored_bytes;
    z->next_out = r->raw.data;
    z->avail_out = c->raw_bytes;
    ret = inflate(z, Z_FINISH);
    if (c->flags & REPLAY_LOG_CHUNK_APART) {
        packets_bytes = z->avail_in;
        r->packets.p = z->next_in;
        r->packets.end = z->next_in + packets_bytes;
    }
    if (ret != Z_STREAM_END || z->avail_in != packets_bytes ||
        z->avail_out != packets_bytes) {
        return "it does not inflate to the length that its header claims";
    }
    return NULL;
}

/*
 * Reads, verifies and inflates the payload of a chunk after replay_log_peek().
 * @in: set to the payload without the packets that are stored apart, which are
 *      in @r->packets; both are borrowed until the next payload is read
 */
static ReplayLogStatus replay_log_payload(ReplayLogReader *r,
                                          const ReplayLogChunk *c,
                                          uint64_t offset, ReplayLogInput *in,
                                          Error **errp)
{
    const char *why;
    uint32_t crc;
    ssize_t n;

    replay_log_buffer_need(&r->stored, c->stored_bytes);
    n = replay_log_read_at(r->fd, r->stored.data, c->stored_bytes,
                           offset + REPLAY_LOG_CHUNK_HDR_BYTES);
    if (n < 0) {
        return replay_log_unread(r, c->seq, offset, -n, errp);
    }
    if (n < c->stored_bytes) {
        return replay_log_cut(r, c->seq, offset, errp);
    }
    crc = replay_log_crc(r->stored.data, c->stored_bytes);
    if (c->payload_crc != crc) {
        return replay_log_bad(r, c->seq, offset, errp, "its payload's checksum "
                              "is 0x%08" PRIx32 ", expected 0x%08" PRIx32,
                              crc, c->payload_crc);
    }
    in->p = r->stored.data;
    r->packets = (ReplayLogInput) { };
    if (c->flags & REPLAY_LOG_CHUNK_DEFLATED) {
        why = replay_log_chunk_inflate(r, c);
        if (why) {
            return replay_log_bad(r, c->seq, offset, errp, "%s", why);
        }
        in->p = r->raw.data;
    }
    in->end = in->p + c->raw_bytes - (r->packets.end - r->packets.p);
    return REPLAY_LOG_OK;
}

/* Moves the reader to the first event of a chunk, whose payload was read. */
static void replay_log_reader_enter(ReplayLogReader *r,
                                    const ReplayLogChunk *c, uint64_t offset,
                                    ReplayLogInput in)
{
    r->has_chunk = true;
    r->chunk = *c;
    r->chunk_offset = offset;
    r->in = in;
    r->next_seq = c->seq + 1;
    r->next_offset = offset + REPLAY_LOG_CHUNK_HDR_BYTES + c->stored_bytes;
    replay_log_state_restart(&r->state, c);
}

/* Moves the reader before a chunk of any kind, which need not exist. */
static void replay_log_reader_approach(ReplayLogReader *r,
                                       const ReplayLogChunk *c,
                                       uint64_t offset)
{
    r->has_chunk = false;
    r->in = (ReplayLogInput) { };
    r->packets = (ReplayLogInput) { };
    r->next_seq = c->seq;
    r->next_offset = offset;
    replay_log_state_restart(&r->state, c);
}

/* Moves the reader to the end of the description. */
static void replay_log_reader_rewind(ReplayLogReader *r)
{
    ReplayLogChunk first = { .seq = 1 };

    replay_log_reader_approach(r, &first, r->events_offset);
}

/* Makes a status final, and adds to its reason how far the reader came. */
static void replay_log_reader_stop(ReplayLogReader *r, ReplayLogStatus status,
                                   Error *err)
{
    if (status != REPLAY_LOG_END) {
        error_append_hint(&err, "It is good up to there: %" PRIu64
                          " instructions, %" PRIu64 " events, %" PRIu64
                          " packets.\n", r->state.icount, r->state.event,
                          r->state.packet);
    }
    if (status == REPLAY_LOG_CUT) {
        error_append_hint(&err, "Its recorder was killed, or is still "
                          "running.\n");
    }
    r->status = status;
    r->error = err;
}

/*
 * Verifies the end chunk, whose header is @c, and that nothing follows it.
 *
 * Returns: REPLAY_LOG_END if so, else why not.  Sets @errp in any case.
 */
static ReplayLogStatus replay_log_end(ReplayLogReader *r,
                                      const ReplayLogChunk *c,
                                      uint64_t offset, Error **errp)
{
    ReplayLogIndexEntry unused;
    ReplayLogInput in;
    ReplayLogStatus status;
    const char *why;

    status = replay_log_payload(r, c, offset, &in, errp);
    if (status != REPLAY_LOG_OK) {
        return status;
    }
    why = replay_log_end_load(&in, c, offset, 0, &unused);
    if (why) {
        return replay_log_bad(r, c->seq, offset, errp, "%s", why);
    }
    if (replay_log_reaches(r, offset + REPLAY_LOG_CHUNK_HDR_BYTES +
                           c->stored_bytes, 1)) {
        return replay_log_bad(r, c->seq, offset, errp, "it is the end, but "
                              "more data follows");
    }
    error_setg(errp, "recording '%s' ends at instruction %" PRIu64,
               r->path, c->icount);
    return REPLAY_LOG_END;
}

/* Moves the reader to the next chunk of events, and skips optional chunks. */
static ReplayLogStatus replay_log_next(ReplayLogReader *r, Error **errp)
{
    if (r->packets.p != r->packets.end) {
        return replay_log_bad(r, r->chunk.seq, r->chunk_offset, errp,
                              "it has a packet that belongs to no event");
    }
    for (;;) {
        uint32_t seq = r->next_seq;
        uint64_t offset = r->next_offset;
        ReplayLogInput in;
        ReplayLogChunk c;
        ReplayLogStatus status;

        status = replay_log_peek(r, seq, offset, &c, errp);
        if (status != REPLAY_LOG_OK) {
            return status;
        }
        if (replay_log_chunk_counts(&c) &&
            (c.icount != r->state.icount || c.event != r->state.event ||
             c.packet != r->state.packet)) {
            return replay_log_bad(r, seq, offset, errp, "it claims to begin at "
                "instruction %" PRIu64 ", event %" PRIu64 ", packet %" PRIu64
                ", but the chunks before it end at instruction %" PRIu64
                ", event %" PRIu64 ", packet %" PRIu64, c.icount, c.event,
                c.packet, r->state.icount, r->state.event, r->state.packet);
        }
        switch (c.kind) {
        case REPLAY_LOG_CHUNK_EVENTS:
            status = replay_log_payload(r, &c, offset, &in, errp);
            if (status == REPLAY_LOG_OK) {
                replay_log_reader_enter(r, &c, offset, in);
            }
            return status;
        case REPLAY_LOG_CHUNK_END:
            return replay_log_end(r, &c, offset, errp);
        case REPLAY_LOG_CHUNK_DESCRIPTION:
            return replay_log_bad(r, seq, offset, errp, "it is a second "
                                  "description");
        default:
            if (!(c.flags & REPLAY_LOG_CHUNK_OPTIONAL)) {
                return replay_log_unknown(r, seq, offset, errp, "its kind %u, "
                                          "which must not be skipped",
                                          c.kind);
            }
            status = replay_log_payload(r, &c, offset, &in, errp);
            if (status != REPLAY_LOG_OK) {
                return status;
            }
            r->next_seq = seq + 1;
            r->next_offset = offset + REPLAY_LOG_CHUNK_HDR_BYTES +
                             c.stored_bytes;
        }
    }
}

static bool replay_log_reader_describe(ReplayLogReader *r, Error **errp)
{
    uint64_t offset = REPLAY_LOG_HEADER_BYTES;
    ReplayLogStatus status;
    ReplayLogChunk c;
    ReplayLogInput in;
    const char *why;
    Error *err = NULL;

    status = replay_log_peek(r, 0, offset, &c, &err);
    if (status == REPLAY_LOG_OK && c.kind != REPLAY_LOG_CHUNK_DESCRIPTION) {
        status = replay_log_bad(r, 0, offset, &err, "it is not a description");
    }
    if (status == REPLAY_LOG_OK && (c.icount || c.event || c.packet)) {
        status = replay_log_bad(r, 0, offset, &err, "its header does not "
                                "begin at instruction, event and packet 0");
    }
    if (status == REPLAY_LOG_OK) {
        status = replay_log_payload(r, &c, offset, &in, &err);
    }
    if (status == REPLAY_LOG_OK) {
        why = replay_log_description_load(&in, r->desc);
        if (why) {
            status = replay_log_bad(r, 0, offset, &err, "%s", why);
        }
    }
    if (status == REPLAY_LOG_CUT) {
        error_append_hint(&err, "It ends before the description of the "
                          "machine: there is nothing to replay.\n");
    }
    if (status != REPLAY_LOG_OK) {
        error_propagate(errp, err);
        return false;
    }
    r->events_offset = offset + REPLAY_LOG_CHUNK_HDR_BYTES + c.stored_bytes;
    return true;
}

/* @fd: owned, also when this fails */
static ReplayLogReader *replay_log_reader_new(const char *path, int fd,
                                              Error **errp)
{
    ReplayLogReader *r = g_new0(ReplayLogReader, 1);
    uint8_t hdr[REPLAY_LOG_HEADER_BYTES] = { };
    ssize_t n;

    r->path = g_strdup(path);
    r->fd = fd;
    r->desc = replay_log_description_new();
    if (!replay_log_regular(path, fd, &r->file_bytes, errp)) {
        goto fail;
    }
    n = replay_log_read_at(fd, hdr, sizeof(hdr), 0);
    if (n < 0) {
        error_setg_errno(errp, -n, "cannot read '%s'", path);
        goto fail;
    }
    if (!replay_log_header_load(path, hdr, n, &r->uuid, errp) ||
        !replay_log_reader_describe(r, errp)) {
        goto fail;
    }
    replay_log_reader_rewind(r);
    return r;

fail:
    replay_log_reader_close(r);
    return NULL;
}

ReplayLogReader *replay_log_reader_open(const char *path, Error **errp)
{
    int fd = open(path, O_RDONLY | REPLAY_LOG_O_FLAGS);

    if (fd < 0) {
        error_setg_errno(errp, errno, "cannot open recording '%s'", path);
        return NULL;
    }
    return replay_log_reader_new(path, fd, errp);
}

void replay_log_reader_close(ReplayLogReader *r)
{
    if (!r) {
        return;
    }
    if (r->fd >= 0) {
        close(r->fd);
    }
    if (r->z) {
        inflateEnd(r->z);
        g_free(r->z);
    }
    error_free(r->error);
    replay_log_description_free(r->desc);
    g_free(r->raw.data);
    g_free(r->stored.data);
    g_free(r->path);
    g_free(r);
}

const QemuUUID *replay_log_reader_uuid(const ReplayLogReader *r)
{
    return &r->uuid;
}

const ReplayLogDescription *
replay_log_reader_description(const ReplayLogReader *r)
{
    return r->desc;
}

/* Reports an event that is not valid. */
static ReplayLogStatus replay_log_bad_event(const ReplayLogReader *r,
                                            const ReplayLogEvent *ev,
                                            const char *why, Error **errp)
{
    const char *name = replay_log_event_name(ev->kind);

    if (!name) {
        return replay_log_unknown(r, r->chunk.seq, r->chunk_offset, errp,
                                  "event %" PRIu64 " of kind 0x%02x",
                                  ev->number, ev->kind);
    }
    return replay_log_bad(r, r->chunk.seq, r->chunk_offset, errp,
                          "event %" PRIu64 " (%s) %s", ev->number, name, why);
}

ReplayLogStatus replay_log_read_event(ReplayLogReader *r, ReplayLogEvent *ev,
                                      Error **errp)
{
    ReplayLogStatus status = r->status;
    Error *err = NULL;
    const uint8_t *start;
    const char *why;

    while (status == REPLAY_LOG_OK && r->in.p == r->in.end) {
        status = replay_log_next(r, &err);
    }
    if (likely(status == REPLAY_LOG_OK)) {
        ev->number = r->state.event;
        ev->icount = r->state.icount;
        ev->packet = r->state.packet;
        ev->chunk = r->chunk.seq;
        ev->file_offset = r->chunk_offset;
        start = r->in.p;
        why = replay_log_state_load(&r->state, &r->in, &r->packets, ev);
        if (likely(!why)) {
            return REPLAY_LOG_OK;
        }
        r->in.p = start;
        status = replay_log_bad_event(r, ev, why, &err);
    }
    if (err) {
        replay_log_reader_stop(r, status, err);
    }
    if (errp) {
        error_propagate(errp, error_copy(r->error));
    }
    return status;
}

/* Returns: how many bytes of the raw payload remain to be decoded. */
static size_t replay_log_reader_left(const ReplayLogReader *r)
{
    return (r->in.end - r->in.p) + (r->packets.end - r->packets.p);
}

ReplayLogPos replay_log_reader_pos(const ReplayLogReader *r)
{
    return (ReplayLogPos) {
        .chunk = r->has_chunk ? r->chunk.seq : r->next_seq,
        .offset_bytes = r->has_chunk ?
                        r->chunk.raw_bytes - replay_log_reader_left(r) : 0,
        .event = r->state.event,
        .packet = r->state.packet,
        .icount = r->state.icount,
    };
}

/*
 * Looks up the last chunk with number @seq or less in the index of the end
 * chunk, if the recording has one.  The index is only a hint: the header of the
 * chunk that it points at must agree with it.  So a seek can pass over damaged
 * chunks.  A hostile index can point at events that sequential reading never
 * reaches; these are checked like any others.
 *
 * This overwrites the buffers of the reader.
 */
static void replay_log_index_find(ReplayLogReader *r, uint32_t seq,
                                  ReplayLogIndexEntry *found)
{
    uint8_t trailer[REPLAY_LOG_TRAILER_BYTES];
    uint8_t hdr[REPLAY_LOG_CHUNK_HDR_BYTES];
    ReplayLogChunk c;
    ReplayLogInput in;
    uint64_t bytes, offset;

    found->seq = 0;
    if (!replay_log_regular(r->path, r->fd, &bytes, NULL) ||
        bytes < r->events_offset + sizeof(hdr) + sizeof(trailer) ||
        replay_log_read_at(r->fd, trailer, sizeof(trailer),
                           bytes - sizeof(trailer)) != sizeof(trailer)) {
        return;
    }
    offset = ldq_le_p(trailer);
    if (offset < r->events_offset ||
        offset > bytes - sizeof(hdr) - sizeof(trailer) ||
        replay_log_read_at(r->fd, hdr, sizeof(hdr), offset) != sizeof(hdr)) {
        return;
    }
    /* The number of the end chunk is not known: accept any. */
    if (replay_log_peek(r, ldl_le_p(hdr + 4), offset, &c, NULL) !=
        REPLAY_LOG_OK ||
        c.kind != REPLAY_LOG_CHUNK_END ||
        offset + sizeof(hdr) + c.stored_bytes != bytes ||
        replay_log_payload(r, &c, offset, &in, NULL) != REPLAY_LOG_OK ||
        replay_log_end_load(&in, &c, offset, seq, found) != NULL ||
        !found->seq ||
        replay_log_peek(r, found->seq, found->file_offset, &c, NULL) !=
        REPLAY_LOG_OK || c.kind != REPLAY_LOG_CHUNK_EVENTS ||
        c.icount != found->icount || c.packet != found->packet) {
        found->seq = 0;
    }
}

/*
 * Moves the reader past the first @skip bytes of the events of a chunk.
 *
 * Returns: true; false if no event ends there, or if the chunk is not valid.
 * Only the latter sets @errp.
 */
static bool replay_log_reader_enter_at(ReplayLogReader *r,
                                       const ReplayLogChunk *c,
                                       uint64_t offset, size_t skip,
                                       Error **errp)
{
    ReplayLogInput in;
    size_t left;

    if (replay_log_payload(r, c, offset, &in, errp) != REPLAY_LOG_OK) {
        return false;
    }
    replay_log_reader_enter(r, c, offset, in);
    if (skip > c->raw_bytes) {
        return false;
    }
    left = c->raw_bytes - skip;
    while (replay_log_reader_left(r) > left && r->in.p != r->in.end) {
        ReplayLogEvent ev = { .number = r->state.event };
        const char *why = replay_log_state_load(&r->state, &r->in,
                                                &r->packets, &ev);

        if (why) {
            replay_log_bad_event(r, &ev, why, errp);
            return false;
        }
    }
    return replay_log_reader_left(r) == left;
}

/* The result of replay_log_walk(). */
typedef struct ReplayLogWalk {
    uint32_t seq;               /* number of the chunk where the walk ended */
    uint64_t offset;            /* of this chunk */
    ReplayLogChunk chunk;       /* its header, valid without an @error */
    Error *error;               /* owned: why its header is not valid */
    ReplayLogChunk before;      /* the last events chunk on the way, or 0s */
    uint64_t before_offset;
} ReplayLogWalk;

/*
 * Walks from header to header, from chunk @start to chunk @seq or to the first
 * header that is not valid.
 */
static void replay_log_walk(ReplayLogReader *r, ReplayLogWalk *walk,
                            const ReplayLogIndexEntry *start, uint32_t seq)
{
    *walk = (ReplayLogWalk) {
        .seq = start->seq,
        .offset = start->file_offset,
    };
    for (;;) {
        replay_log_peek(r, walk->seq, walk->offset, &walk->chunk,
                        &walk->error);
        if (walk->error || walk->seq >= seq) {
            return;
        }
        if (walk->chunk.kind == REPLAY_LOG_CHUNK_EVENTS) {
            walk->before = walk->chunk;
            walk->before_offset = walk->offset;
        }
        walk->offset += REPLAY_LOG_CHUNK_HDR_BYTES + walk->chunk.stored_bytes;
        walk->seq++;
    }
}

/*
 * Moves a rewound reader to @pos, the end of @walk.
 *
 * Returns: false if the walk did not lead to @pos, and then with @walk->error
 * set if the reason is in the file.  After true the counts of the reader may
 * still differ from those of @pos.
 */
static bool replay_log_reader_go_walked(ReplayLogReader *r,
                                        ReplayLogWalk *walk,
                                        const ReplayLogPos *pos)
{
    const ReplayLogChunk *c = &walk->chunk;

    if (walk->seq != pos->chunk) {
        return false;
    }
    if (pos->offset_bytes) {
        return !walk->error && c->kind == REPLAY_LOG_CHUNK_EVENTS &&
               replay_log_reader_enter_at(r, c, walk->offset,
                                          pos->offset_bytes, &walk->error);
    }
    if (!walk->error && replay_log_chunk_counts(c) &&
        c->icount == pos->icount && c->event == pos->event &&
        c->packet == pos->packet) {
        replay_log_reader_approach(r, c, walk->offset);
        return true;
    }
    /* @pos can still be the place where the events before the chunk end. */
    if (!walk->before.seq) {
        return true;
    }
    error_free(walk->error);
    walk->error = NULL;
    return replay_log_reader_enter_at(r, &walk->before, walk->before_offset,
                                      walk->before.raw_bytes, &walk->error);
}

/* Like replay_log_reader_seek(), but a failure leaves @r at any place. */
static bool replay_log_reader_go(ReplayLogReader *r, const ReplayLogPos *pos,
                                 Error **errp)
{
    ReplayLogIndexEntry start;
    ReplayLogWalk walk;

    error_free(r->error);
    r->error = NULL;
    r->status = REPLAY_LOG_OK;
    replay_log_index_find(r, pos->chunk, &start);
    if (!start.seq) {
        start.seq = 1;
        start.file_offset = r->events_offset;
    }
    replay_log_reader_rewind(r);
    replay_log_walk(r, &walk, &start, pos->chunk);
    if (replay_log_reader_go_walked(r, &walk, pos) &&
        r->state.event == pos->event && r->state.packet == pos->packet &&
        r->state.icount == pos->icount) {
        error_free(walk.error);
        return true;
    }
    if (!walk.error) {
        error_setg(&walk.error, "recording '%s' has no such place: event %"
                   PRIu64 " at instruction %" PRIu64 ", byte %" PRIu32
                   " of chunk %" PRIu32, r->path, pos->event, pos->icount,
                   pos->offset_bytes, pos->chunk);
    }
    error_propagate(errp, walk.error);
    return false;
}

uint64_t replay_log_reader_bytes(const ReplayLogReader *r)
{
    return r->next_offset;
}

bool replay_log_reader_seek(ReplayLogReader *r, const ReplayLogPos *pos,
                            Error **errp)
{
    ReplayLogPos old = replay_log_reader_pos(r);
    Error *err = NULL;

    if (replay_log_reader_go(r, pos, errp)) {
        return true;
    }
    if (!replay_log_reader_go(r, &old, &err)) {
        replay_log_reader_stop(r, REPLAY_LOG_IO_ERROR, err);
    }
    return false;
}

ReplayLogInfo replay_log_reader_info(ReplayLogReader *r)
{
    ReplayLogInfo info = { };
    uint64_t offset = REPLAY_LOG_HEADER_BYTES;
    ReplayLogChunk c;

    if (!replay_log_regular(r->path, r->fd, &info.file_bytes, NULL)) {
        return info;
    }
    while (!info.complete && replay_log_peek(r, info.chunks, offset, &c,
                                             NULL) == REPLAY_LOG_OK) {
        offset += REPLAY_LOG_CHUNK_HDR_BYTES + c.stored_bytes;
        info.chunks++;
        if (replay_log_chunk_counts(&c)) {
            info.icount = c.icount;
            info.events = c.event;
            info.packets = c.packet;
        }
        if (c.kind == REPLAY_LOG_CHUNK_EVENTS) {
            info.raw_bytes += c.raw_bytes;
        }
        info.complete = c.kind == REPLAY_LOG_CHUNK_END;
    }
    if (offset != info.file_bytes) {
        info.complete = false;          /* more data follows the end */
    }
    return info;
}

/*
 * === Writer ==============================================================
 *
 * It needs the reader only to say what an existing file contains.
 */

/*
 * The writer closes a chunk that holds REPLAY_LOG_CHUNK_BYTES.  So the buffer
 * has room for one byte less than this and one more event of any size.
 */
#define REPLAY_LOG_BUF_BYTES \
    (REPLAY_LOG_CHUNK_BYTES + REPLAY_LOG_EVENT_HDR_BYTES + \
     REPLAY_LOG_DATA_MAX_BYTES)
QEMU_BUILD_BUG_ON(REPLAY_LOG_BUF_BYTES > REPLAY_LOG_CHUNK_MAX_BYTES);

/* Deflate a chunk only if that saves 1/32 of it: inflation takes time, too. */
#define REPLAY_LOG_DEFLATE_GAIN     32
/*
 * The packets of a chunk of REPLAY_LOG_CHUNK_BYTES that are large enough to be
 * stored apart; the last one may end beyond.
 */
#define REPLAY_LOG_APART_MAX \
    (REPLAY_LOG_CHUNK_BYTES / REPLAY_LOG_APART_MIN_BYTES + 1)
/* Store packets apart only if the other bytes are 1/64 of the chunk or more. */
#define REPLAY_LOG_APART_REST       64
/* Store packets apart only if that saves at least 1/256 of the chunk. */
#define REPLAY_LOG_APART_GAIN       256
/*
 * After a large chunk that did not shrink, the writer does not try to deflate
 * the next large chunks: 1 of them, after another such chunk 2, then 4 and so
 * on, up to REPLAY_LOG_DEFLATE_SKIP_MAX.
 */
#define REPLAY_LOG_DEFLATE_SKIP_MAX 32
/* A chunk of at least this size is large. */
#define REPLAY_LOG_DEFLATE_SKIP_BYTES (REPLAY_LOG_CHUNK_BYTES / 2)
/* The writer deflates a sample from the middle of a large chunk first. */
#define REPLAY_LOG_DEFLATE_SAMPLE_BYTES 4096
QEMU_BUILD_BUG_ON(REPLAY_LOG_DEFLATE_SAMPLE_BYTES >
                  REPLAY_LOG_DEFLATE_SKIP_BYTES);

typedef struct ReplayLogPending {
    size_t len_bytes;
    uint8_t chunk[];            /* header and payload */
} ReplayLogPending;

struct ReplayLogWriter {
    char *path;
    int fd;
    QemuUUID uuid;

    /* the current chunk */
    uint8_t *buf;               /* headroom for the header, then the events */
    size_t len_bytes;           /* of the events */
    struct {
        uint32_t offset_bytes;  /* from the first event */
        uint32_t len_bytes;
    } apart[REPLAY_LOG_APART_MAX];      /* packets that can be stored apart */
    unsigned n_apart;
    size_t apart_bytes;
    ReplayLogChunk chunk;       /* its number, and the counts before it */
    ReplayLogState state;       /* after the last event */

    /* deflation */
    z_stream *z;                /* NULL: the writer does not deflate */
    uint8_t *zbuf;              /* headroom for the header, then a payload */
    uint8_t *rest;              /* the events without the packets apart */
    unsigned z_skip;            /* how many large chunks not to deflate */
    unsigned z_skip_next;       /* @z_skip after the next failure */

    /*
     * The chunk that the writer's thread writes.  While @busy is true, the
     * thread has @chunk, @len_bytes, @header and @error, and the caller changes
     * none of them.  Otherwise the caller has them, like all other members.
     */
    struct {
        bool has_thread;
        QemuThread thread;
        QemuMutex lock;         /* protects busy and quit */
        QemuCond changed;       /* busy or quit has changed */
        bool busy;
        bool quit;
        uint8_t *chunk;         /* a buffer like @buf, owned */
        size_t len_bytes;       /* 0: the writer knows the result */
        ReplayLogChunk header;
        int error;              /* errno, or 0 */
    } job;

    /* the file */
    uint64_t file_bytes;        /* the header and whole chunks in the file */
    uint64_t described_bytes;   /* header and description; 0: not written */
    uint64_t chunk_bytes;       /* chunks of events, also those in @pending */
    GQueue pending;             /* ReplayLogPending *, owned */
    size_t pending_bytes;
    int error;                  /* errno of the last write, or 0 */
    bool dropped;               /* an event is lost: the recording has ended */

    /* totals */
    uint64_t raw_bytes;         /* of the events in finished chunks */
    uint64_t packet_bytes;
    unsigned index_step;        /* the index has each index_step-th chunk */
    unsigned index_skip;        /* how many chunks the index still leaves out */
    ReplayLogEnd end;
};

static void *replay_log_job_thread(void *opaque)
{
    ReplayLogWriter *w = opaque;

    qemu_mutex_lock(&w->job.lock);
    while (true) {
        while (!w->job.busy && !w->job.quit) {
            qemu_cond_wait(&w->job.changed, &w->job.lock);
        }
        if (!w->job.busy) {
            break;
        }
        qemu_mutex_unlock(&w->job.lock);
        replay_log_chunk_save(w->job.chunk, &w->job.header);
        w->job.error = replay_log_write_all(w->fd, w->job.chunk,
                                            w->job.len_bytes);
        qemu_mutex_lock(&w->job.lock);
        w->job.busy = false;
        qemu_cond_signal(&w->job.changed);
    }
    qemu_mutex_unlock(&w->job.lock);
    return NULL;
}

/*
 * Hands the buffer @*chunk to the thread to be written, and replaces it by an
 * unused buffer.
 */
static void replay_log_job_start(ReplayLogWriter *w, uint8_t **chunk,
                                 const ReplayLogChunk *header)
{
    uint8_t *other = w->job.chunk;

    if (!w->job.has_thread) {
        w->job.has_thread = true;
        qemu_mutex_init(&w->job.lock);
        qemu_cond_init(&w->job.changed);
        qemu_thread_create(&w->job.thread, "replay-log", replay_log_job_thread,
                           w, QEMU_THREAD_JOINABLE);
        other = g_malloc(REPLAY_LOG_CHUNK_HDR_BYTES + REPLAY_LOG_BUF_BYTES);
    }
    w->job.chunk = *chunk;
    w->job.len_bytes = REPLAY_LOG_CHUNK_HDR_BYTES + header->stored_bytes;
    w->job.header = *header;
    *chunk = other;
    WITH_QEMU_LOCK_GUARD(&w->job.lock) {
        w->job.busy = true;
        qemu_cond_signal(&w->job.changed);
    }
}

/* Waits until the thread has written its chunk, if it has one. */
static void replay_log_job_idle(ReplayLogWriter *w)
{
    if (w->job.has_thread) {
        QEMU_LOCK_GUARD(&w->job.lock);
        while (w->job.busy) {
            qemu_cond_wait(&w->job.changed, &w->job.lock);
        }
    }
}

static void replay_log_job_finish(ReplayLogWriter *w)
{
    if (w->job.has_thread) {
        replay_log_job_idle(w);
        WITH_QEMU_LOCK_GUARD(&w->job.lock) {
            w->job.quit = true;
            qemu_cond_signal(&w->job.changed);
        }
        qemu_thread_join(&w->job.thread);
        qemu_cond_destroy(&w->job.changed);
        qemu_mutex_destroy(&w->job.lock);
        g_free(w->job.chunk);
    }
}

static void replay_log_writer_free(ReplayLogWriter *w)
{
    unsigned i;

    replay_log_job_finish(w);
    if (w->fd >= 0) {
        close(w->fd);
    }
    if (w->z) {
        deflateEnd(w->z);
        g_free(w->z);
    }
    while (!g_queue_is_empty(&w->pending)) {
        g_free(g_queue_pop_head(&w->pending));
    }
    for (i = 0; i < w->end.n_adapters; i++) {
        g_free(w->end.adapter[i].name);
    }
    g_free(w->rest);
    g_free(w->zbuf);
    g_free(w->buf);
    g_free(w->path);
    g_free(w);
}

/* Sets @errp for a file that is not empty: what it contains, and a remedy. */
static void replay_log_existing(const char *path, int fd, uint64_t bytes,
                                Error **errp)
{
    ReplayLogReader *r = replay_log_reader_new(path, dup(fd), NULL);
    Error *err = NULL;

    if (r) {
        ReplayLogInfo info = replay_log_reader_info(r);

        error_setg(&err, "'%s' is already a recording: %s, %" PRIu64 " bytes, "
                   "%" PRIu64 " instructions, %" PRIu64 " packets", path,
                   info.complete ? "complete" : "cut or damaged", bytes,
                   info.icount, info.packets);
        replay_log_reader_close(r);
    } else {
        error_setg(&err, "'%s' already exists (%" PRIu64 " bytes) and is not a "
                   "recording that this QEMU can replay", path, bytes);
    }
    error_append_hint(&err, "Record to another file, remove this one, or "
                      "replace it with rroverwrite=on.\n");
    error_propagate(errp, err);
}

ReplayLogWriter *replay_log_writer_open(const char *path, unsigned flags,
                                        Error **errp)
{
    ReplayLogWriter *w = g_new0(ReplayLogWriter, 1);
    uint64_t bytes;

    w->path = g_strdup(path);
    g_queue_init(&w->pending);
    w->fd = open(path, O_RDWR | O_CREAT | REPLAY_LOG_O_FLAGS, 0600);
    if (w->fd < 0) {
        if (errno == EISDIR) {
            error_setg(errp, "'%s' is a directory: a recording must be a "
                       "regular file", path);
        } else {
            error_setg_errno(errp, errno, "cannot record to '%s'", path);
        }
        goto fail;
    }
    if (!replay_log_regular(path, w->fd, &bytes, errp)) {
        goto fail;
    }
#ifndef _WIN32
    /* Record even if the file system has no locks. */
    if (flock(w->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
        error_setg(errp, "another process is recording to '%s'", path);
        goto fail;
    }
    /* Another recorder may have written to the file before it was locked. */
    if (!replay_log_regular(path, w->fd, &bytes, errp)) {
        goto fail;
    }
#endif
    if (bytes && !(flags & REPLAY_LOG_OVERWRITE)) {
        replay_log_existing(path, w->fd, bytes, errp);
        goto fail;
    }

    if (flags & REPLAY_LOG_COMPRESS) {
        w->z = g_new0(z_stream, 1);
        if (deflateInit(w->z, Z_BEST_SPEED) != Z_OK) {
            g_free(g_steal_pointer(&w->z));
            error_setg(errp, "cannot compress '%s': zlib cannot be "
                       "initialized", path);
            goto fail;
        }
        w->zbuf = g_malloc(REPLAY_LOG_CHUNK_HDR_BYTES + REPLAY_LOG_BUF_BYTES);
        w->rest = g_malloc(REPLAY_LOG_BUF_BYTES);
    }
    w->buf = g_malloc(REPLAY_LOG_CHUNK_HDR_BYTES + REPLAY_LOG_BUF_BYTES);
    qemu_uuid_generate(&w->uuid);
    w->chunk.kind = REPLAY_LOG_CHUNK_EVENTS;
    w->chunk.seq = 1;                   /* the description is chunk 0 */
    w->chunk.tag = replay_log_tag(&w->uuid);
    w->z_skip_next = 1;
    w->index_step = 1;
    return w;

fail:
    replay_log_writer_free(w);
    return NULL;
}

const QemuUUID *replay_log_writer_uuid(const ReplayLogWriter *w)
{
    return &w->uuid;
}

/*
 * Counts @len written bytes, or undoes a write that failed with @error.
 * Returns: true; false with @w->error set if the write failed.
 */
static bool replay_log_file_appended(ReplayLogWriter *w, size_t len, int error)
{
    w->error = error;
    if (!error) {
        w->file_bytes += len;
        return true;
    }
    /*
     * If ftruncate() fails, too, an incomplete chunk stays in the file until
     * the retry overwrites it.  Until then a reader reports that the recording
     * is cut.
     */
    if (ftruncate(w->fd, w->file_bytes) < 0 ||
        lseek(w->fd, w->file_bytes, SEEK_SET) < 0) {
        lseek(w->fd, w->file_bytes, SEEK_SET);
    }
    return false;
}

/* Returns: true; false with @w->error set if the write failed. */
static bool replay_log_file_append(ReplayLogWriter *w, const uint8_t *p,
                                   size_t len)
{
    return replay_log_file_appended(w, len,
                                    replay_log_write_all(w->fd, p, len));
}

bool replay_log_writer_describe(ReplayLogWriter *w,
                                const ReplayLogDescription *d, Error **errp)
{
    ERRP_GUARD();
    g_autoptr(GByteArray) out = g_byte_array_new();
    ReplayLogChunk c = {
        .kind = REPLAY_LOG_CHUNK_DESCRIPTION,
        .tag = w->chunk.tag,
    };
    size_t pairs = replay_log_description_count(d);

    assert(!w->described_bytes);        /* callers describe only once */
    if (pairs > REPLAY_LOG_DESC_MAX) {
        error_setg(errp, "the description of the machine has %zu entries, but "
                   "the limit is %d", pairs, REPLAY_LOG_DESC_MAX);
        error_append_hint(errp, "Each disk, character device and network "
                          "adapter has entries. Use fewer of them.\n");
        return false;
    }
    g_byte_array_set_size(out, REPLAY_LOG_HEADER_BYTES +
                          REPLAY_LOG_CHUNK_HDR_BYTES);
    replay_log_description_save(out, d);
    c.stored_bytes = out->len - REPLAY_LOG_HEADER_BYTES -
                     REPLAY_LOG_CHUNK_HDR_BYTES;
    c.raw_bytes = c.stored_bytes;
    if (c.raw_bytes > REPLAY_LOG_CHUNK_MAX_BYTES) {
        error_setg(errp, "the description of the machine has %" PRIu32 " bytes"
                   ", but the limit is %d", c.raw_bytes,
                   REPLAY_LOG_CHUNK_MAX_BYTES);
        return false;
    }
    replay_log_header_save(out->data, &w->uuid);
    replay_log_chunk_save(out->data + REPLAY_LOG_HEADER_BYTES, &c);

    if (ftruncate(w->fd, 0) < 0 || fchmod(w->fd, 0600) < 0) {
        error_setg_errno(errp, errno, "cannot empty '%s'", w->path);
        return false;
    }
    if (!replay_log_file_append(w, out->data, out->len)) {
        error_setg_errno(errp, w->error, "cannot write recording '%s'",
                         w->path);
        w->error = 0;
        return false;
    }
    w->described_bytes = out->len;
    return true;
}

/* Appends a copy of a chunk to the list of chunks that wait. */
static void replay_log_pending_add(ReplayLogWriter *w, const uint8_t *chunk,
                                   size_t len)
{
    ReplayLogPending *p = g_malloc(sizeof(*p) + len);

    p->len_bytes = len;
    memcpy(p->chunk, chunk, len);
    g_queue_push_tail(&w->pending, p);
    w->pending_bytes += len;
}

/*
 * Waits until the thread has written its chunk, and then writes the chunks in
 * @w->pending.  The order is right, because the thread gets no chunk while
 * others wait.
 * Returns: true; false with @w->error set if a write failed.
 */
static bool replay_log_file_drain(ReplayLogWriter *w)
{
    ReplayLogPending *p;

    if (w->job.len_bytes) {
        size_t len = w->job.len_bytes;

        replay_log_job_idle(w);
        w->job.len_bytes = 0;
        if (!replay_log_file_appended(w, len, w->job.error)) {
            replay_log_pending_add(w, w->job.chunk, len);
            return false;
        }
    }
    while ((p = g_queue_peek_head(&w->pending))) {
        if (!replay_log_file_append(w, p->chunk, p->len_bytes)) {
            return false;
        }
        w->pending_bytes -= p->len_bytes;
        g_free(g_queue_pop_head(&w->pending));
    }
    return true;
}

/*
 * Hands a finished chunk to the thread, or appends it to @w->pending while
 * nothing can be written.
 */
static void replay_log_chunk_put(ReplayLogWriter *w, uint8_t **chunk)
{
    if (w->described_bytes && !w->error && replay_log_file_drain(w)) {
        replay_log_job_start(w, chunk, &w->chunk);
        return;
    }
    replay_log_chunk_save(*chunk, &w->chunk);
    replay_log_pending_add(w, *chunk, REPLAY_LOG_CHUNK_HDR_BYTES +
                                      w->chunk.stored_bytes);
}

/*
 * Deflates the @len bytes at @data to the payload in @w->zbuf.
 * Returns: the size of the result; 0 if it is not smaller than @room.
 */
static size_t replay_log_deflate(ReplayLogWriter *w, const uint8_t *data,
                                 size_t len, size_t room)
{
    z_stream *z = w->z;

    deflateReset(z);
    z->next_in = (uint8_t *)data;
    z->avail_in = len;
    z->next_out = w->zbuf + REPLAY_LOG_CHUNK_HDR_BYTES;
    z->avail_out = room;
    return deflate(z, Z_FINISH) == Z_STREAM_END && z->avail_out
           ? room - z->avail_out : 0;
}

/*
 * Deflating a whole chunk takes milliseconds, even if it does not shrink.
 *
 * Returns: whether a sample of the chunk shrinks.
 */
static bool replay_log_sample_deflates(ReplayLogWriter *w)
{
    size_t bytes = REPLAY_LOG_DEFLATE_SAMPLE_BYTES;

    return replay_log_deflate(w, w->buf + REPLAY_LOG_CHUNK_HDR_BYTES +
                                 (w->len_bytes - bytes) / 2, bytes,
                              bytes - bytes / REPLAY_LOG_DEFLATE_GAIN) != 0;
}

/*
 * Deflates the whole chunk to the payload in @w->zbuf.
 * Returns: the size of the payload; 0 if deflation does not save enough.
 */
static size_t replay_log_chunk_deflate(ReplayLogWriter *w)
{
    const uint8_t *raw = w->buf + REPLAY_LOG_CHUNK_HDR_BYTES;
    bool is_small = w->len_bytes < REPLAY_LOG_DEFLATE_SKIP_BYTES;
    size_t deflated = 0;

    if (w->z_skip && !is_small) {
        w->z_skip--;
        return 0;
    }
    if (is_small || replay_log_sample_deflates(w)) {
        deflated = replay_log_deflate(w, raw, w->len_bytes, w->len_bytes -
                                      w->len_bytes / REPLAY_LOG_DEFLATE_GAIN);
    }
    if (deflated) {
        w->z_skip_next = 1;
    } else if (!is_small) {
        /* A small chunk is cheap to try, and tells nothing about the next. */
        w->z_skip = w->z_skip_next;
        w->z_skip_next = MIN(w->z_skip_next * 2, REPLAY_LOG_DEFLATE_SKIP_MAX);
    }
    return deflated;
}

/*
 * Like replay_log_chunk_deflate(), but stores the packets apart, if they are at
 * least half of the chunk.  This skips no chunk and takes no sample, because it
 * deflates only the other half.
 */
static size_t replay_log_chunk_deflate_apart(ReplayLogWriter *w)
{
    const uint8_t *raw = w->buf + REPLAY_LOG_CHUNK_HDR_BYTES;
    uint8_t *payload = w->zbuf + REPLAY_LOG_CHUNK_HDR_BYTES;
    size_t room = w->len_bytes - w->len_bytes / REPLAY_LOG_APART_GAIN;
    size_t rest_bytes = w->len_bytes - w->apart_bytes;
    size_t from = 0, n = 0;
    unsigned i;

    if (w->apart_bytes < rest_bytes
        || rest_bytes < w->len_bytes / REPLAY_LOG_APART_REST) {
        return 0;
    }
    for (i = 0; i < w->n_apart; i++) {
        memcpy(w->rest + n, raw + from, w->apart[i].offset_bytes - from);
        n += w->apart[i].offset_bytes - from;
        from = w->apart[i].offset_bytes + w->apart[i].len_bytes;
    }
    memcpy(w->rest + n, raw + from, w->len_bytes - from);

    n = replay_log_deflate(w, w->rest, rest_bytes, room - w->apart_bytes);
    if (!n) {
        return 0;
    }
    for (i = 0; i < w->n_apart; i++) {
        memcpy(payload + n, raw + w->apart[i].offset_bytes,
               w->apart[i].len_bytes);
        n += w->apart[i].len_bytes;
    }
    return n;
}

/*
 * Adds the finished chunk to the index.  A full index drops every second entry,
 * and from then on leaves out every second chunk of those that it took before.
 */
static void replay_log_index_add(ReplayLogWriter *w)
{
    ReplayLogEnd *e = &w->end;
    unsigned i;

    if (w->index_skip) {
        w->index_skip--;
        return;
    }
    if (e->n_index == REPLAY_LOG_INDEX_MAX) {
        for (i = 0; i < REPLAY_LOG_INDEX_MAX / 2; i++) {
            e->index[i] = e->index[2 * i];
        }
        e->n_index = i;
        w->index_step *= 2;
    }
    e->index[e->n_index++] = (ReplayLogIndexEntry) {
        .seq = w->chunk.seq,
        .file_offset = w->chunk_bytes,
        .icount = w->chunk.icount,
        .packet = w->chunk.packet,
    };
    w->index_skip = w->index_step - 1;
}

static void replay_log_chunk_close(ReplayLogWriter *w)
{
    ReplayLogChunk *c = &w->chunk;
    uint8_t **chunk = &w->buf;
    size_t deflated;

    if (!w->len_bytes) {
        return;
    }
    c->flags = 0;
    c->stored_bytes = w->len_bytes;
    c->raw_bytes = w->len_bytes;
    deflated = w->z ? replay_log_chunk_deflate(w) : 0;
    if (deflated) {
        c->flags = REPLAY_LOG_CHUNK_DEFLATED;
    } else if (w->z) {
        deflated = replay_log_chunk_deflate_apart(w);
        c->flags = deflated ? REPLAY_LOG_CHUNK_DEFLATED |
                              REPLAY_LOG_CHUNK_APART : 0;
    }
    if (deflated) {
        c->stored_bytes = deflated;
        chunk = &w->zbuf;
    }
    replay_log_index_add(w);
    replay_log_chunk_put(w, chunk);
    w->raw_bytes += c->raw_bytes;
    w->chunk_bytes += REPLAY_LOG_CHUNK_HDR_BYTES + c->stored_bytes;

    w->len_bytes = 0;
    w->n_apart = 0;
    w->apart_bytes = 0;
    c->seq++;
    c->icount = w->state.icount;
    c->event = w->state.event;
    c->packet = w->state.packet;
    replay_log_state_restart(&w->state, c);
}

/*
 * Returns: the totals of adapter @id, or NULL if @id is not below
 * REPLAY_LOG_ADAPTERS_MAX.
 */
static ReplayLogAdapter *replay_log_adapter(ReplayLogWriter *w, uint64_t id)
{
    if (unlikely(id >= w->end.n_adapters)) {
        if (id >= REPLAY_LOG_ADAPTERS_MAX) {
            return NULL;
        }
        w->end.n_adapters = id + 1;     /* new totals are 0 */
    }
    return &w->end.adapter[id];
}

bool replay_log_write_event(ReplayLogWriter *w, ReplayLogEventKind kind,
                            const uint64_t *num, const void *data,
                            size_t len_bytes)
{
    uint8_t *events = w->buf + REPLAY_LOG_CHUNK_HDR_BYTES;
    bool counted;

    assert(kind < REPLAY_LOG_KINDS && replay_log_fields[kind]);
    assert(len_bytes <= REPLAY_LOG_DATA_MAX_BYTES);

    if (unlikely(w->pending_bytes || w->dropped)) {
        if (w->pending_bytes + w->len_bytes + len_bytes >
            REPLAY_LOG_PENDING_MAX_BYTES - REPLAY_LOG_EVENT_HDR_BYTES -
            REPLAY_LOG_CHUNK_HDR_BYTES) {
            w->dropped = true;
        }
        if (w->dropped) {
            return false;
        }
    }

    w->len_bytes = replay_log_event_save(&w->state, events + w->len_bytes,
                                         kind, num, data, len_bytes) - events;
    counted = replay_log_state_count(&w->state, kind, num);
    assert(counted);            /* 2^63 instructions take centuries */
    w->end.by_kind[kind]++;
    if (replay_log_stands_apart(kind, len_bytes)) {
        w->apart[w->n_apart].offset_bytes = w->len_bytes - len_bytes;
        w->apart[w->n_apart++].len_bytes = len_bytes;
        w->apart_bytes += len_bytes;
    }
    if (kind == REPLAY_EV_ASYNC_NET) {
        ReplayLogAdapter *a = replay_log_adapter(w, num[0]);

        if (a) {
            a->packets++;
            a->bytes += len_bytes;
        }
        w->packet_bytes += len_bytes;
    }
    if (w->len_bytes >= REPLAY_LOG_CHUNK_BYTES) {
        replay_log_chunk_close(w);
    }
    return !w->error;
}

static void replay_log_write_error(ReplayLogWriter *w, Error **errp)
{
    error_setg_errno(errp, w->error, "cannot write recording '%s'", w->path);
}

bool replay_log_writer_flush(ReplayLogWriter *w, Error **errp)
{
    if (!w->described_bytes) {
        return true;
    }
    w->error = 0;               /* flushing retries a failed write */
    replay_log_chunk_close(w);
    if (w->error || !replay_log_file_drain(w)) {
        replay_log_write_error(w, errp);
        return false;
    }
    if (w->dropped) {
        error_setg(errp, "recording '%s' has ended at instruction %" PRIu64
                   ": writing the file has failed for too long", w->path,
                   w->state.icount);
        return false;
    }
    return true;
}

int replay_log_writer_error(const ReplayLogWriter *w)
{
    return w->dropped && !w->error ? ENOBUFS : w->error;
}

ReplayLogPos replay_log_writer_pos(const ReplayLogWriter *w)
{
    return (ReplayLogPos) {
        .chunk = w->chunk.seq,
        .offset_bytes = w->len_bytes,
        .event = w->state.event,
        .packet = w->state.packet,
        .icount = w->state.icount,
    };
}

void replay_log_writer_name_adapter(ReplayLogWriter *w, unsigned id,
                                    const char *name)
{
    ReplayLogAdapter *a = replay_log_adapter(w, id);

    if (a) {
        g_free(a->name);
        a->name = replay_log_str_clean(name,
                                       REPLAY_LOG_ADAPTER_NAME_MAX_BYTES);
    }
}

ReplayLogStats replay_log_writer_stats(const ReplayLogWriter *w)
{
    return (ReplayLogStats) {
        .raw_bytes = w->raw_bytes + w->len_bytes,
        .stored_bytes = w->file_bytes,
        .events = w->state.event,
        .packets = w->state.packet,
        .packet_bytes = w->packet_bytes,
    };
}

static bool replay_log_end_write(ReplayLogWriter *w, Error **errp)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    ReplayLogChunk c = w->chunk;

    w->end.icount = w->state.icount;
    w->end.events = w->state.event;
    g_byte_array_set_size(out, REPLAY_LOG_CHUNK_HDR_BYTES);
    replay_log_end_save(out, &w->end, w->described_bytes, w->file_bytes);
    c.kind = REPLAY_LOG_CHUNK_END;
    c.flags = 0;
    c.stored_bytes = out->len - REPLAY_LOG_CHUNK_HDR_BYTES;
    c.raw_bytes = c.stored_bytes;
    replay_log_chunk_save(out->data, &c);
    if (!replay_log_file_append(w, out->data, out->len)) {
        replay_log_write_error(w, errp);
        return false;
    }
    return true;
}

bool replay_log_writer_close(ReplayLogWriter *w, Error **errp)
{
    bool ok = true;

    if (w->described_bytes) {
        ok = replay_log_writer_flush(w, errp) && replay_log_end_write(w, errp);
        if (fsync(w->fd) < 0 && ok) {
            error_setg_errno(errp, errno, "cannot write recording '%s'",
                             w->path);
            ok = false;
        }
    }
    if (close(w->fd) < 0 && ok) {
        error_setg_errno(errp, errno, "cannot close recording '%s'", w->path);
        ok = false;
    }
    w->fd = -1;
    replay_log_writer_free(w);
    return ok;
}
