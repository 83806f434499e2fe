/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The reader of recordings: it turns the chunks of a file back into events.
 * docs/replay.txt, "The format of a recording", specifies the format.
 *
 * Theory of operation
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
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "replay-log-internal.h"

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

/* Returns: false if there is no memory for it. */
static bool replay_log_inflate_begin(ReplayLogReader *r)
{
    z_stream *z;

    if (r->z) {
        return inflateReset(r->z) == Z_OK;
    }
    z = g_new0(z_stream, 1);
    if (inflateInit(z) != Z_OK) {
        g_free(z);
        return false;
    }
    r->z = z;
    return true;
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
        if (!replay_log_inflate_begin(r)) {
            return replay_log_unread(r, c->seq, offset, ENOMEM, errp);
        }
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
    why = replay_log_end_load(&in, c, offset, 0, &unused, NULL);
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

ReplayLogReader *replay_log_reader_new(const char *path, int fd, Error **errp)
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

    if (why == replay_log_unknown_kind) {
        return replay_log_unknown(r, r->chunk.seq, r->chunk_offset, errp,
                                  "event %" PRIu64 " of kind 0x%02x",
                                  ev->number, ev->kind);
    }
    return replay_log_bad(r, r->chunk.seq, r->chunk_offset, errp,
                          "event %" PRIu64 " (%s) %s", ev->number, name, why);
}

/* Returns: how many bytes of the raw payload remain to be decoded. */
static size_t replay_log_reader_left(const ReplayLogReader *r)
{
    return (r->in.end - r->in.p) + (r->packets.end - r->packets.p);
}

ReplayLogStatus replay_log_read_event(ReplayLogReader *r, ReplayLogEvent *ev,
                                      Error **errp)
{
    ReplayLogStatus status = r->status;
    Error *err = NULL;
    const uint8_t *start;
    const char *why;
    size_t left;

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
        left = replay_log_reader_left(r);
        why = replay_log_state_load(&r->state, &r->in, &r->packets, ev);
        if (likely(!why)) {
            ev->raw_bytes = left - replay_log_reader_left(r);
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
 * Reads the time from the chunk before the end chunk, if it is there.
 * @end_offset: where the end chunk is in the file
 *
 * This overwrites the buffers of the reader.
 */
static void replay_log_time_find(ReplayLogReader *r, uint64_t end_offset,
                                 ReplayLogTotals *totals)
{
    const size_t bytes = REPLAY_LOG_CHUNK_HDR_BYTES + REPLAY_LOG_TIME_BYTES;
    uint64_t offset = end_offset - bytes;
    ReplayLogChunk c;
    ReplayLogInput in;

    /* @totals has counted the description, this chunk and the end. */
    if (totals->chunks >= 3 && end_offset - r->events_offset >= bytes &&
        replay_log_peek(r, totals->chunks - 2, offset, &c, NULL) ==
        REPLAY_LOG_OK &&
        c.kind == REPLAY_LOG_CHUNK_TIME &&
        c.stored_bytes == REPLAY_LOG_TIME_BYTES &&
        replay_log_payload(r, &c, offset, &in, NULL) == REPLAY_LOG_OK &&
        in.end - in.p == REPLAY_LOG_TIME_BYTES) {
        totals->has_time = true;
        totals->time_ns = ldq_le_p(in.p);
    }
}

/*
 * Finds, reads and verifies the end chunk, from the last bytes of the file.
 * @seq, @found: as for replay_log_end_load()
 * @totals: NULL, or where to put the totals
 *
 * This overwrites the buffers of the reader.
 *
 * Returns: whether there is a valid end chunk.
 */
static bool replay_log_end_find(ReplayLogReader *r, uint32_t seq,
                                ReplayLogIndexEntry *found,
                                ReplayLogTotals *totals)
{
    uint8_t trailer[REPLAY_LOG_TRAILER_BYTES];
    uint8_t hdr[REPLAY_LOG_CHUNK_HDR_BYTES];
    ReplayLogChunk c;
    ReplayLogInput in;
    uint64_t bytes, offset;

    if (!replay_log_regular(r->path, r->fd, &bytes, NULL) ||
        bytes < r->events_offset + sizeof(hdr) + sizeof(trailer) ||
        replay_log_read_at(r->fd, trailer, sizeof(trailer),
                           bytes - sizeof(trailer)) != sizeof(trailer)) {
        return false;
    }
    offset = ldq_le_p(trailer);
    if (offset < r->events_offset ||
        offset > bytes - sizeof(hdr) - sizeof(trailer) ||
        replay_log_read_at(r->fd, hdr, sizeof(hdr), offset) != sizeof(hdr)) {
        return false;
    }
    /* The number of the end chunk is not known: accept any. */
    if (replay_log_peek(r, ldl_le_p(hdr + 4), offset, &c, NULL) !=
        REPLAY_LOG_OK ||
        c.kind != REPLAY_LOG_CHUNK_END ||
        offset + sizeof(hdr) + c.stored_bytes != bytes ||
        replay_log_payload(r, &c, offset, &in, NULL) != REPLAY_LOG_OK ||
        replay_log_end_load(&in, &c, offset, seq, found, totals) != NULL) {
        return false;
    }
    if (totals) {
        totals->file_bytes = bytes;
        replay_log_time_find(r, offset, totals);
    }
    return true;
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
    ReplayLogChunk c;

    found->seq = 0;
    if (!replay_log_end_find(r, seq, found, NULL) || !found->seq ||
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

ReplayLogChunkInfo replay_log_reader_chunk(const ReplayLogReader *r)
{
    return (ReplayLogChunkInfo) {
        .stored_bytes = r->chunk.stored_bytes,
        .raw_bytes = r->chunk.raw_bytes,
        .is_apart = r->chunk.flags & REPLAY_LOG_CHUNK_APART,
    };
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

bool replay_log_reader_totals(ReplayLogReader *r, ReplayLogTotals *t)
{
    ReplayLogPos pos = replay_log_reader_pos(r);
    ReplayLogIndexEntry unused;
    bool has_end = replay_log_end_find(r, 0, &unused, t);

    replay_log_reader_seek(r, &pos, NULL);
    return has_end;
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

