/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The writer of recordings: it turns events into chunks, and writes the chunks
 * to the file.  docs/replay.txt, "The format of a recording", specifies the
 * format.
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
 */

#include "qemu/osdep.h"
#include <zlib.h>
#ifndef _WIN32
#include <sys/file.h>
#endif
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/lockable.h"
#include "qemu/thread.h"
#include "replay-log-internal.h"

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
    bool has_time;
    uint64_t time_ns;           /* virtual time of the guest at the end */
    ReplayLogEnd end;
};

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

    assert(kind < REPLAY_LOG_KINDS && replay_log_event_fields(kind));
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

void replay_log_writer_set_time(ReplayLogWriter *w, uint64_t time_ns)
{
    w->has_time = true;
    w->time_ns = time_ns;
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

/* @out: room for the header, followed by the payload. */
static void replay_log_last_chunk_save(ReplayLogWriter *w, uint16_t kind,
                                       uint16_t flags, GByteArray *out)
{
    ReplayLogChunk *c = &w->chunk;

    c->kind = kind;
    c->flags = flags;
    c->stored_bytes = out->len - REPLAY_LOG_CHUNK_HDR_BYTES;
    c->raw_bytes = c->stored_bytes;
    replay_log_chunk_save(out->data, c);
    c->seq++;
}

/* Writes the end chunk and, before it, the time. */
static bool replay_log_end_write(ReplayLogWriter *w, Error **errp)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GByteArray) end = g_byte_array_new();

    if (w->has_time) {
        g_byte_array_set_size(out, REPLAY_LOG_CHUNK_HDR_BYTES +
                              REPLAY_LOG_TIME_BYTES);
        stq_le_p(out->data + REPLAY_LOG_CHUNK_HDR_BYTES, w->time_ns);
        replay_log_last_chunk_save(w, REPLAY_LOG_CHUNK_TIME,
                                   REPLAY_LOG_CHUNK_OPTIONAL, out);
    }
    w->end.icount = w->state.icount;
    w->end.events = w->state.event;
    g_byte_array_set_size(end, REPLAY_LOG_CHUNK_HDR_BYTES);
    replay_log_end_save(end, &w->end, w->described_bytes,
                        w->file_bytes + out->len);
    replay_log_last_chunk_save(w, REPLAY_LOG_CHUNK_END, 0, end);
    g_byte_array_append(out, end->data, end->len);
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
