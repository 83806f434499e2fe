/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fuzz target for the reader of recordings.  It treats each input as a file:
 * it opens the file, reads it to the end, asks for its info, and seeks in it.
 * tests/fuzz/run builds the target with libFuzzer and sanitizers, and runs it.
 *
 * Random bytes would not get past the first checksum.  So the mutator changes
 * headers and inflated payloads, and then corrects the checksums, the lengths
 * and mostly also the counts.
 *
 * If REPLAY_FUZZ_SEEDS in the environment names a folder, the program only
 * writes a few recordings into this folder.
 */

#include "qemu/osdep.h"
#include <zlib.h>
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/crc32c.h"
#include "qemu/memfd.h"
#include "qemu/units.h"
#include "replay/replay-log.h"
#include "libfuzzer.h"

/* The number of places to seek to in each recording. */
#define FUZZ_PLACES         16
/* The most chunks of a recording that the mutator looks at. */
#define FUZZ_CHUNKS         64

/* The file in memory from which the reader reads; -1: there is none yet. */
static int fuzz_fd = -1;

/* Aborts with the message @what unless @ok.  No input may cause this. */
static void fuzz_check(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fuzz-replay-log: %s\n", what);
        abort();
    }
}

/* Overwrites a part of the file in memory. */
static void fuzz_file_change(size_t offset, const uint8_t *data, size_t len)
{
    while (len) {
        ssize_t n = pwrite(fuzz_fd, data, len, offset);

        fuzz_check(n > 0, "no room in memory");
        offset += n;
        data += n;
        len -= n;
    }
}

/* Returns: the path of a file in memory with the bytes of @data, borrowed. */
static const char *fuzz_file(const uint8_t *data, size_t size)
{
    static char path[32];

    if (fuzz_fd < 0) {
        fuzz_fd = memfd_create("fuzz", MFD_CLOEXEC);
        fuzz_check(fuzz_fd >= 0, "cannot create a file in memory");
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fuzz_fd);
    }
    fuzz_check(ftruncate(fuzz_fd, size) == 0, "no room in memory");
    fuzz_file_change(0, data, size);
    return path;
}

/* QEMU prints the messages on terminals. */
static void fuzz_check_error(Error *err)
{
    const char *p = error_get_pretty(err);

    fuzz_check(*p, "a failure without a message");
    for (; *p; p++) {
        fuzz_check((uint8_t)*p >= 0x20 && (uint8_t)*p != 0x7f,
                   "a message with control characters");
    }
    error_free(err);
}

static void fuzz_description(const ReplayLogDescription *d)
{
    size_t i, n = replay_log_description_count(d);

    fuzz_check(n <= REPLAY_LOG_DESC_MAX, "a description has too many pairs");
    fuzz_check(!replay_log_description_adapter(d, n),
               "a description has more adapters than pairs");
    for (i = 0; i < n; i++) {
        const char *value;
        const char *key = replay_log_description_nth(d, i, &value);

        fuzz_check(g_utf8_validate(key, -1, NULL) &&
                   g_utf8_validate(value, -1, NULL), "a string is not UTF-8");
        fuzz_check(strlen(key) <= REPLAY_LOG_DESC_STR_MAX &&
                   strlen(value) <= REPLAY_LOG_DESC_STR_MAX,
                   "a string is too long");
        fuzz_check(replay_log_description_get(d, key) == value,
                   "a key has two values");
    }
}

/* Returns: a sum that depends on all numbers and bytes of the event. */
static unsigned fuzz_event(const ReplayLogEvent *ev)
{
    const char *fields = replay_log_event_fields(ev->kind);
    unsigned sum = 0;
    size_t i, n;

    fuzz_check(fields, "an event has an unknown kind");
    n = strcspn(fields, "b");
    fuzz_check(ev->n_nums == n, "an event has the wrong number of fields");
    fuzz_check(!!ev->data == !!fields[n], "an event has bytes, or lacks them");
    fuzz_check(ev->len_bytes <= REPLAY_LOG_DATA_MAX_BYTES,
               "an event has too many bytes");
    fuzz_check(ev->icount <= INT64_MAX, "an instruction count is negative");
    for (i = 0; i < n; i++) {
        sum += ev->num[i];
    }
    for (i = 0; i < ev->len_bytes; i++) {
        sum += ev->data[i];
    }
    return sum;
}

/*
 * Returns: whether the file ends with the offset of an end chunk.  Then it can
 * have an index that leads to events which sequential reading never reaches,
 * because it stops at damage before them.
 */
static bool fuzz_has_end(const uint8_t *data, size_t size)
{
    uint64_t offset = size < 8 ? size : ldq_le_p(data + size - 8);

    return offset < size && size - offset >= REPLAY_LOG_CHUNK_HDR_BYTES &&
           lduw_le_p(data + offset) == REPLAY_LOG_CHUNK_END;
}

/* Places of events that were read, spread over the recording. */
typedef struct FuzzPlaces {
    ReplayLogPos pos[FUZZ_PLACES];
    unsigned sum[FUZZ_PLACES];          /* fuzz_event() of the event there */
    unsigned n;
    uint64_t step;                      /* keep one of @step events */
    uint64_t events;                    /* all that were read */
    ReplayLogPos end;
} FuzzPlaces;

/* Reads all events, and keeps some of their places. */
static ReplayLogStatus fuzz_read(ReplayLogReader *r, FuzzPlaces *places)
{
    ReplayLogStatus status, again;
    ReplayLogEvent ev;
    Error *err = NULL;

    *places = (FuzzPlaces) { .step = 1 };
    while (true) {
        ReplayLogPos pos = replay_log_reader_pos(r);
        unsigned sum;

        fuzz_check(pos.event == places->events, "an event is not counted");
        status = replay_log_read_event(r, &ev, &err);
        if (status != REPLAY_LOG_OK) {
            places->end = pos;
            break;
        }
        fuzz_check(ev.number == pos.event && ev.icount == pos.icount &&
                   ev.packet == pos.packet, "an event has the wrong place");
        sum = fuzz_event(&ev);
        if (places->events++ % places->step == 0) {
            if (places->n == FUZZ_PLACES) {
                places->n = 0;
                places->step *= 4;
            }
            places->pos[places->n] = pos;
            places->sum[places->n++] = sum;
        }
    }
    fuzz_check_error(err);
    again = replay_log_read_event(r, &ev, NULL);
    fuzz_check(again == status, "a final status has changed");
    return status;
}

/*
 * Seeks to the places of events, backwards, and to the end.
 * @same: whether the same events and @status must be there
 */
static void fuzz_seek(ReplayLogReader *r, const FuzzPlaces *places, bool same,
                      ReplayLogStatus status)
{
    ReplayLogStatus again;
    ReplayLogEvent ev;
    unsigned i;
    bool found;

    for (i = places->n; i-- > 0; ) {
        found = replay_log_reader_seek(r, &places->pos[i], NULL);
        fuzz_check(found || !same, "a place is not found again");
        again = replay_log_read_event(r, &ev, NULL);
        fuzz_check(!same || (again == REPLAY_LOG_OK &&
                             ev.number == places->pos[i].event &&
                             fuzz_event(&ev) == places->sum[i]),
                   "another event is at the same place");
    }
    found = replay_log_reader_seek(r, &places->end, NULL);
    fuzz_check(found || !same, "the end is not found again");
    again = replay_log_read_event(r, &ev, NULL);
    fuzz_check(again == status || !same, "another status is at the same place");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    ReplayLogPos anywhere = { .chunk = size ? data[size / 2] : 1 };
    FuzzPlaces places;
    ReplayLogStatus status;
    ReplayLogReader *r;
    ReplayLogInfo info;
    ReplayLogEvent ev;
    Error *err = NULL;

    r = replay_log_reader_open(path, &err);
    if (!r) {
        fuzz_check_error(err);
        return 0;
    }
    fuzz_description(replay_log_reader_description(r));
    status = fuzz_read(r, &places);

    info = replay_log_reader_info(r);
    fuzz_check(info.file_bytes == size, "the size of the file is wrong");
    fuzz_check(!info.complete || info.events == places.events ||
               status != REPLAY_LOG_END, "the number of events is wrong");

    fuzz_seek(r, &places, status == REPLAY_LOG_END || !fuzz_has_end(data, size),
              status);
    if (!replay_log_reader_seek(r, &anywhere, &err)) {
        fuzz_check_error(err);
    }
    replay_log_read_event(r, &ev, NULL);
    replay_log_reader_close(r);
    return 0;
}

/* --- Mutation --------------------------------------------------------- */

static uint32_t fuzz_random(uint32_t *state, uint32_t below)
{
    *state = *state * 1664525 + 1013904223;
    return (*state >> 8) % below;
}

/* Sets @at to the offsets of the chunks.  Returns: the number of chunks. */
static unsigned fuzz_chunks(const uint8_t *data, size_t size, size_t *at)
{
    unsigned n = 0;
    size_t offset = REPLAY_LOG_HEADER_BYTES;

    while (n < FUZZ_CHUNKS && offset < size &&
           size - offset >= REPLAY_LOG_CHUNK_HDR_BYTES) {
        uint32_t stored = ldl_le_p(data + offset + 8);

        at[n++] = offset;
        offset += REPLAY_LOG_CHUNK_HDR_BYTES;
        if (stored > size - offset) {
            break;
        }
        offset += stored;
    }
    return n;
}

static void fuzz_repair_crcs(uint8_t *data, size_t size, uint32_t *state)
{
    size_t at[FUZZ_CHUNKS];
    unsigned i, n;

    if (size < REPLAY_LOG_HEADER_BYTES) {
        return;
    }
    stl_le_p(data + 36, crc32c(0xffffffff, data, 36));
    n = fuzz_chunks(data, size, at);
    for (i = 0; i < n; i++) {
        uint8_t *p = data + at[i];
        uint32_t stored = ldl_le_p(p + 8);
        size_t room = size - at[i] - REPLAY_LOG_CHUNK_HDR_BYTES;

        if (fuzz_random(state, 16)) {
            stl_le_p(p + 4, i);
            memcpy(p + 40, data + 16, 4);
            stl_le_p(p + 44, crc32c(0xffffffff, p + REPLAY_LOG_CHUNK_HDR_BYTES,
                                    MIN(stored, room)));
        }
        stl_le_p(p + 48, crc32c(0xffffffff, p, 48));
    }
}

/* A recording whose headers are corrected while a reader reads it. */
typedef struct FuzzRepair {
    uint8_t *data;
    size_t at[FUZZ_CHUNKS];             /* offsets of the chunks */
    unsigned n_chunks;
    unsigned next;                      /* the next chunk to correct */
} FuzzRepair;

/*
 * Writes @pos into the header of the next chunk, in memory and in the file.
 * Chunks without events have the same counts, so this goes on up to the chunk
 * that has the next event.
 */
static void fuzz_repair_next(FuzzRepair *repair, const ReplayLogPos *pos)
{
    while (repair->next < repair->n_chunks) {
        size_t at = repair->at[repair->next++];
        uint8_t *p = repair->data + at;
        uint16_t kind = lduw_le_p(p);

        if (kind == REPLAY_LOG_CHUNK_EVENTS || kind == REPLAY_LOG_CHUNK_END) {
            stq_le_p(p + 16, pos->icount);
            stq_le_p(p + 24, pos->event);
            stq_le_p(p + 32, pos->packet);
            stl_le_p(p + 48, crc32c(0xffffffff, p, 48));
            fuzz_file_change(at, p, REPLAY_LOG_CHUNK_HDR_BYTES);
        }
        if (kind == REPLAY_LOG_CHUNK_EVENTS && ldl_le_p(p + 12)) {
            break;
        }
    }
}

/*
 * Corrects the counts in each header: the reader tells the counts at the end of
 * each chunk, before it looks at the header of the next one.
 */
static void fuzz_repair_counts(uint8_t *data, size_t size)
{
    FuzzRepair repair = { .data = data, .next = 1 };
    ReplayLogReader *r = replay_log_reader_open(fuzz_file(data, size), NULL);
    ReplayLogPos pos = { };
    ReplayLogEvent ev;

    if (!r) {
        return;
    }
    repair.n_chunks = fuzz_chunks(data, size, repair.at);
    fuzz_repair_next(&repair, &pos);
    while (replay_log_read_event(r, &ev, NULL) == REPLAY_LOG_OK) {
        pos = replay_log_reader_pos(r);
        if (repair.next < repair.n_chunks &&
            pos.offset_bytes == ldl_le_p(data + repair.at[pos.chunk] + 12)) {
            fuzz_repair_next(&repair, &pos);
        }
    }
    replay_log_reader_close(r);
    while (repair.next < repair.n_chunks) {
        fuzz_repair_next(&repair, &pos);
    }
}

/*
 * Replaces @old bytes at @offset by @len bytes, if there is room.
 * Returns: the new size.
 */
static size_t fuzz_replace(uint8_t *data, size_t size, size_t max_size,
                           size_t offset, size_t old, const uint8_t *with,
                           size_t len)
{
    if (size - old + len > max_size) {
        return size;
    }
    memmove(data + offset + len, data + offset + old, size - offset - old);
    memcpy(data + offset, with, len);
    return size - old + len;
}

/*
 * Deflates @len bytes to at most @room bytes.  Setting zlib up takes longer
 * than this, so it is done once.
 * Returns: the number of bytes; 0 if there are too many.
 */
static size_t fuzz_deflate(uint8_t *to, size_t room, uint8_t *from, size_t len)
{
    static z_stream z;
    static bool is_set_up;

    if (!is_set_up) {
        fuzz_check(deflateInit(&z, 1) == Z_OK, "cannot set up zlib");
        is_set_up = true;
    }
    deflateReset(&z);
    z.next_in = from;
    z.avail_in = len;
    z.next_out = to;
    z.avail_out = room;
    return deflate(&z, Z_FINISH) == Z_STREAM_END ? room - z.avail_out : 0;
}

/* Mutates the inflated payload of a chunk, and may deflate the result. */
static size_t fuzz_mutate_payload(uint8_t *data, size_t size, size_t max_size,
                                  size_t at, uint32_t *state)
{
    static uint8_t raw[64 * KiB];
    static uint8_t with[128 * KiB];
    uint8_t *p = data + at;
    uint32_t stored = ldl_le_p(p + 8);
    uint16_t old_flags = lduw_le_p(p + 2);
    uint16_t flags = old_flags & ~(REPLAY_LOG_CHUNK_DEFLATED |
                                   REPLAY_LOG_CHUNK_APART);
    uLong inflated = stored;
    uLongf len = sizeof(raw);
    size_t packets = 0;
    size_t raw_len;
    size_t new_size;

    at += REPLAY_LOG_CHUNK_HDR_BYTES;
    if (stored > size - at) {
        return size;
    }
    if (!(old_flags & REPLAY_LOG_CHUNK_DEFLATED) ||
        uncompress2(raw, &len, data + at, &inflated) != Z_OK) {
        len = MIN(stored, sizeof(raw));
        memcpy(raw, data + at, len);
    } else if (old_flags & REPLAY_LOG_CHUNK_APART) {
        packets = MIN(stored - inflated, sizeof(with) / 4);
    }
    len = LLVMFuzzerMutate(raw, len, sizeof(raw));
    raw_len = len;
    if (packets || fuzz_random(state, 3) == 0) {
        size_t deflated_len = fuzz_deflate(with, sizeof(with) - packets,
                                           raw, len);

        if (deflated_len) {
            len = deflated_len;
            flags |= REPLAY_LOG_CHUNK_DEFLATED;
            if (packets || fuzz_random(state, 8) == 0) {
                flags |= REPLAY_LOG_CHUNK_APART;
                memcpy(with + len, data + at + inflated, packets);
                len += packets;
                raw_len += packets;
            }
        }
    }
    if (!(flags & REPLAY_LOG_CHUNK_DEFLATED)) {
        memcpy(with, raw, len);
    }
    new_size = fuzz_replace(data, size, max_size, at, stored, with, len);
    if (new_size == size - stored + len) {
        stw_le_p(p + 2, flags);
        stl_le_p(p + 8, len);
        stl_le_p(p + 12, raw_len);
    }
    return new_size;
}

/* Replaces the last chunk by an end chunk, which is valid in most cases. */
static size_t fuzz_mutate_end(uint8_t *data, size_t size, size_t max_size,
                              size_t at, uint32_t *state)
{
    uint8_t p[REPLAY_LOG_CHUNK_HDR_BYTES + 64] = { };
    uint8_t *q = p + REPLAY_LOG_CHUNK_HDR_BYTES;
    ReplayLogReader *r = replay_log_reader_open(fuzz_file(data, at), NULL);
    ReplayLogPos pos = { };
    ReplayLogEvent ev;
    uint64_t number[6];
    size_t i;

    if (r) {
        while (replay_log_read_event(r, &ev, NULL) == REPLAY_LOG_OK) {
            /* the last place is the result */
        }
        pos = replay_log_reader_pos(r);
        replay_log_reader_close(r);
    }
    number[0] = pos.icount;
    number[1] = pos.event;
    number[2] = 1;                      /* one kind */
    number[3] = REPLAY_EV_INTERRUPT;
    number[4] = pos.event;
    number[5] = 0;                      /* no adapter */
    for (i = 0; i < ARRAY_SIZE(number); i++) {
        uint64_t v = number[i];

        for (; v >= 0x80; v >>= 7) {
            *q++ = v | 0x80;
        }
        *q++ = v;
    }
    *q++ = 0;                           /* no index */
    stq_le_p(q, at);
    q += 8;
    stw_le_p(p, REPLAY_LOG_CHUNK_END);
    stl_le_p(p + 8, q - p - REPLAY_LOG_CHUNK_HDR_BYTES);
    stl_le_p(p + 12, q - p - REPLAY_LOG_CHUNK_HDR_BYTES);
    stq_le_p(p + 16, pos.icount);
    stq_le_p(p + 24, pos.event);
    stq_le_p(p + 32, pos.packet);
    if (fuzz_random(state, 4) == 0) {
        i = fuzz_random(state, q - p - 1);
        LLVMFuzzerMutate(p + i, q - p - i, q - p - i);
    }
    return fuzz_replace(data, size, max_size, at, size - at, p, q - p);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                               unsigned int seed)
{
    size_t at[FUZZ_CHUNKS];
    uint32_t state = seed;
    unsigned n = fuzz_chunks(data, size, at);
    unsigned i = n ? fuzz_random(&state, n) : 0;

    switch (n ? fuzz_random(&state, 8) : 0) {
    case 0:
        size = LLVMFuzzerMutate(data, size, max_size);
        break;
    case 1:                     /* the header of a chunk */
        LLVMFuzzerMutate(data + at[i], 40, 40);
        break;
    case 2:
        size = fuzz_mutate_end(data, size, max_size, at[n - 1], &state);
        break;
    default:
        size = fuzz_mutate_payload(data, size, max_size, at[i], &state);
    }
    if (fuzz_random(&state, 32)) {
        fuzz_repair_crcs(data, size, &state);
        if (fuzz_random(&state, 2)) {
            fuzz_repair_counts(data, size);
        }
    }
    return size;
}

/* --- Seeds ------------------------------------------------------------ */

/*
 * Records @rounds events of each kind, and flushes after each @flush events; 0:
 * never.  Without @complete the recording gets no end chunk.
 */
static void fuzz_seed(const char *dir, const char *name, unsigned flags,
                      unsigned rounds, unsigned flush, bool complete)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autoptr(ReplayLogDescription) d = replay_log_description_new();
    ReplayLogWriter *w = replay_log_writer_open(path, flags |
                                                REPLAY_LOG_OVERWRITE,
                                                &error_abort);
    unsigned i, kind, n = 0;

    replay_log_description_add(d, "machine", "pc-i440fx-7.2");
    replay_log_description_add(d, "adapter.0", "net0");
    replay_log_description_add(d, "info.qemu", "7.2");
    replay_log_writer_describe(w, d, &error_abort);
    replay_log_writer_name_adapter(w, 0, "net0");
    for (i = 0; i < rounds; i++) {
        for (kind = 0; kind < REPLAY_LOG_KINDS; kind++) {
            uint64_t num[REPLAY_LOG_NUMS_MAX] = { i, 100 * i, kind, -1 };
            char data[60];

            if (!replay_log_event_name(kind)) {
                continue;
            }
            memset(data, i, sizeof(data));
            replay_log_write_event(w, kind, num, data, i % sizeof(data));
            if (flush && ++n % flush == 0) {
                replay_log_writer_flush(w, &error_abort);
            }
        }
    }
    if (complete) {
        replay_log_writer_close(w, &error_abort);
    } else {
        replay_log_writer_flush(w, &error_abort);
        /* leaks the writer, like a recorder that is killed */
    }
}

/* Records packets that are stored apart, because they do not shrink. */
static void fuzz_seed_apart(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autoptr(ReplayLogDescription) d = replay_log_description_new();
    ReplayLogWriter *w = replay_log_writer_open(path, REPLAY_LOG_COMPRESS |
                                                REPLAY_LOG_OVERWRITE,
                                                &error_abort);
    uint32_t state = 1;
    unsigned i, k;

    replay_log_writer_describe(w, d, &error_abort);
    for (i = 0; i < 60; i++) {
        uint64_t num[REPLAY_LOG_NUMS_MAX] = { i % 2 };
        uint64_t insns[REPLAY_LOG_NUMS_MAX] = { 1000 };
        uint8_t packet[400];

        for (k = 0; k < sizeof(packet); k++) {
            packet[k] = fuzz_random(&state, 256);
        }
        replay_log_write_event(w, REPLAY_EV_ASYNC_NET, num, packet,
                               i % 20 ? sizeof(packet) : 60);
        replay_log_write_event(w, REPLAY_EV_INSTRUCTION, insns, NULL, 0);
        replay_log_write_event(w, REPLAY_EV_INTERRUPT, NULL, NULL, 0);
        if (i % 20 == 19) {
            replay_log_writer_flush(w, &error_abort);
        }
    }
    replay_log_writer_close(w, &error_abort);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *dir = getenv("REPLAY_FUZZ_SEEDS");

    if (dir) {
        fuzz_seed(dir, "seed-empty", 0, 0, 0, true);
        fuzz_seed(dir, "seed-small", 0, 2, 9, true);
        fuzz_seed(dir, "seed-cut", REPLAY_LOG_COMPRESS, 3, 20, false);
        fuzz_seed(dir, "seed-deflated", REPLAY_LOG_COMPRESS, 60, 500, true);
        fuzz_seed(dir, "seed-chunks", 0, 3, 3, true);
        fuzz_seed_apart(dir, "seed-apart");
        _exit(0);
    }
    return 0;
}
