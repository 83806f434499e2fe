/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The recording as a file: a header, then chunks, then nothing.  The writer
 * turns events into chunks, the reader turns chunks back into events, and
 * neither knows what an event does.  QEMU and every tool read recordings
 * through here; docs/replay.txt ("The format of a recording") is the
 * specification, byte by byte.
 */

#ifndef REPLAY_LOG_H
#define REPLAY_LOG_H

#include "qemu/uuid.h"

#define REPLAY_LOG_VERSION          1

/* Limits.  A reader refuses what is above them before it allocates. */
#define REPLAY_LOG_HEADER_BYTES     40
#define REPLAY_LOG_CHUNK_HDR_BYTES  52
/* A chunk of events is closed once it holds this much, uncompressed. */
#define REPLAY_LOG_CHUNK_BYTES      (64 * 1024)
/* No chunk is larger than this, stored or uncompressed. */
#define REPLAY_LOG_CHUNK_MAX_BYTES  (1024 * 1024)
/* The byte field of one event. */
#define REPLAY_LOG_DATA_MAX_BYTES   (REPLAY_LOG_CHUNK_MAX_BYTES / 2)
/* What a writer holds while the file takes nothing (a full disk). */
#define REPLAY_LOG_PENDING_MAX_BYTES (64 * 1024 * 1024)
/* Numbers in one event. */
#define REPLAY_LOG_NUMS_MAX         4
/* Entries and bytes of one description. */
#define REPLAY_LOG_DESC_MAX         1024
#define REPLAY_LOG_DESC_STR_MAX     4096
/* Adapters that the end chunk has totals for, and the bytes of one's name. */
#define REPLAY_LOG_ADAPTERS_MAX     256
#define REPLAY_LOG_ADAPTER_NAME_MAX_BYTES 255

/*
 * The kinds of events, one row each: number in the file, name in the code, name
 * in messages and traces, fields.  The comment above a row names its fields in
 * their order.  The numbers are part of the format: a number is never given to
 * another kind.  Gaps between the groups (async, shutdown, char, audio, random,
 * clock, checkpoint, net) leave room for new kinds.
 *
 * The fields are a string with one character for each field:
 *
 *   u  unsigned number, varint
 *   s  signed number, zigzag varint
 *   c  signed number, zigzag varint of the difference from the same field
 *      of the previous event of this kind in this chunk (0 before the first)
 *   i  unsigned number, zigzag varint of the difference from the current
 *      instruction count
 *   b  bytes, preceded by their number as a varint; a kind has at most one
 *      such field, and it is the last
 */
#define REPLAY_LOG_EVENTS(E) \
    /* number of executed instructions */ \
    E(0x00, INSTRUCTION, "instruction", "u") \
    E(0x01, INTERRUPT, "interrupt", "") \
    E(0x02, EXCEPTION, "exception", "") \
    /* id of the bottom half */ \
    E(0x10, ASYNC_BH, "async-bh", "i") \
    /* id of the bottom half */ \
    E(0x11, ASYNC_BH_ONESHOT, "async-bh-oneshot", "i") \
    /* type, selector, value, down */ \
    E(0x12, ASYNC_INPUT, "async-input", "uuss") \
    E(0x13, ASYNC_INPUT_SYNC, "async-input-sync", "") \
    /* character device, bytes */ \
    E(0x14, ASYNC_CHAR_READ, "async-char-read", "ub") \
    /* id of the request */ \
    E(0x15, ASYNC_BLOCK, "async-block", "u") \
    /* adapter, flags, packet */ \
    E(0x16, ASYNC_NET, "async-net", "uub") \
    /* 1 for up or 0 for down, name of the network client */ \
    E(0x17, ASYNC_NET_LINK, "async-net-link", "ub") \
    /* character device, front end, bytes */ \
    E(0x18, ASYNC_CHAR_MUX, "async-char-mux", "uub") \
    /* ShutdownCause */ \
    E(0x20, SHUTDOWN, "shutdown", "u") \
    /* result, offset */ \
    E(0x28, CHAR_WRITE, "char-write", "ss") \
    /* bytes */ \
    E(0x29, CHAR_READ_ALL, "char-read-all", "b") \
    /* result */ \
    E(0x2a, CHAR_READ_ALL_ERROR, "char-read-all-error", "s") \
    /* number of played samples */ \
    E(0x30, AUDIO_OUT, "audio-out", "u") \
    /* number of recorded samples, position, samples */ \
    E(0x31, AUDIO_IN, "audio-in", "uub") \
    /* result, bytes */ \
    E(0x38, RANDOM, "random", "sb") \
    /* nanoseconds */ \
    E(0x40, CLOCK_HOST, "clock-host", "c") \
    /* nanoseconds */ \
    E(0x41, CLOCK_VIRTUAL_RT, "clock-virtual-rt", "c") \
    E(0x50, CHECKPOINT_WARP_START, "checkpoint-warp-start", "") \
    E(0x51, CHECKPOINT_WARP_ACCOUNT, "checkpoint-warp-account", "") \
    E(0x52, CHECKPOINT_RESET_REQUESTED, "checkpoint-reset-requested", "") \
    E(0x53, CHECKPOINT_SUSPEND_REQUESTED, "checkpoint-suspend-requested", "") \
    E(0x54, CHECKPOINT_CLOCK_VIRTUAL, "checkpoint-clock-virtual", "") \
    E(0x55, CHECKPOINT_CLOCK_HOST, "checkpoint-clock-host", "") \
    E(0x56, CHECKPOINT_CLOCK_VIRTUAL_RT, "checkpoint-clock-virtual-rt", "") \
    E(0x57, CHECKPOINT_INIT, "checkpoint-init", "") \
    E(0x58, CHECKPOINT_RESET, "checkpoint-reset", "") \
    /* adapter, length in bytes, CRC32C */ \
    E(0x60, NET_SENT, "net-sent", "uuu") \
    /* adapter, packet */ \
    E(0x61, NET_SENT_DATA, "net-sent-data", "ub")

typedef enum ReplayLogEventKind {
#define REPLAY_LOG_EVENT_ENUM(number, name, text, fields) \
    REPLAY_EV_##name = number, /* a list item; no parentheses */
    REPLAY_LOG_EVENTS(REPLAY_LOG_EVENT_ENUM)
#undef REPLAY_LOG_EVENT_ENUM
} ReplayLogEventKind;

#define REPLAY_LOG_KINDS            0x100

typedef enum ReplayLogChunkKind {
    REPLAY_LOG_CHUNK_DESCRIPTION = 1,
    REPLAY_LOG_CHUNK_EVENTS = 2,
    REPLAY_LOG_CHUNK_END = 3,
} ReplayLogChunkKind;

/* Bits of a chunk's flags; a reader refuses any other. */
#define REPLAY_LOG_CHUNK_OPTIONAL   0x0001  /* unknown kind: skip it */
#define REPLAY_LOG_CHUNK_DEFLATED   0x0002  /* payload is a zlib stream */
#define REPLAY_LOG_CHUNK_APART      0x0004  /* with packets behind it */

/* A place in a recording; what a snapshot of the VM keeps. */
typedef struct ReplayLogPos {
    uint32_t chunk;         /* sequence number of an events chunk */
    uint32_t offset_bytes;  /* of the next event in its raw payload */
    uint64_t event;         /* events before it in the whole recording */
    uint64_t packet;        /* packets (ASYNC_NET) before it */
    uint64_t icount;        /* instructions before it */
} ReplayLogPos;

/* One event.  @data is borrowed: it is valid until the next read. */
typedef struct ReplayLogEvent {
    uint8_t kind;                       /* ReplayLogEventKind */
    uint8_t n_nums;
    uint64_t num[REPLAY_LOG_NUMS_MAX];  /* signed fields: cast to int64_t */
    const uint8_t *data;                /* NULL without a field of bytes */
    size_t len_bytes;
    uint64_t number;                    /* of this event, from 0 */
    uint64_t icount;                    /* instructions executed before it */
    uint64_t packet;                    /* packets before it */
    uint32_t chunk;                     /* sequence number */
    uint64_t file_offset;               /* of the chunk that holds it */
} ReplayLogEvent;

/*
 * The description of the recorded machine: pairs of a key and a value, in the
 * order in which the recorder added them.  A replay needs a machine with the
 * same pairs, except for those whose key begins with REPLAY_LOG_KEY_INFO:
 * these inform the user, and a difference in them is no reason to refuse.
 */
typedef struct ReplayLogDescription ReplayLogDescription;

/* Prefix of a key whose value only informs the user. */
#define REPLAY_LOG_KEY_INFO         "info."
/* Prefix of the key that describes an adapter; the adapter's name follows. */
#define REPLAY_LOG_KEY_ADAPTER      "adapter."

ReplayLogDescription *replay_log_description_new(void);
void replay_log_description_free(ReplayLogDescription *d);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ReplayLogDescription,
                              replay_log_description_free)

/**
 * replay_log_description_add: append a pair
 * @d: the description, borrowed
 * @key: unique in @d, not empty; copied
 * @value: may be empty; copied
 *
 * Strings are cut at REPLAY_LOG_DESC_STR_MAX bytes.  More than
 * REPLAY_LOG_DESC_MAX pairs, or one key twice, is a bug of the caller.
 */
void replay_log_description_add(ReplayLogDescription *d, const char *key,
                                const char *value);

/* Returns: the value (borrowed from @d), or NULL when there is no such key. */
const char *replay_log_description_get(const ReplayLogDescription *d,
                                       const char *key);

/* Returns: how many pairs @d has. */
size_t replay_log_description_count(const ReplayLogDescription *d);

/* Returns: the key of pair @i, borrowed; its value in *@value, borrowed. */
const char *replay_log_description_nth(const ReplayLogDescription *d,
                                       size_t i, const char **value);

/**
 * replay_log_description_adapter: look up the name of an adapter
 * @d: the description, borrowed
 * @number: the adapter's number in the events of the recording, from 0; any
 *          value is allowed
 *
 * The keys that begin with REPLAY_LOG_KEY_ADAPTER name the adapters, in the
 * order of their numbers.
 *
 * Returns: the part of the key that follows the prefix, borrowed from @d; NULL
 * if @d describes no adapter with this number.
 */
const char *replay_log_description_adapter(const ReplayLogDescription *d,
                                           uint64_t number);

/**
 * replay_log_crc32c: the checksum that recordings use
 * @crc: of what is in front of @data; 0 if there is nothing
 * @data: borrowed
 *
 * Returns: the CRC32C of both.
 */
uint32_t replay_log_crc32c(uint32_t crc, const void *data, size_t len_bytes);

/* Returns: the name of an event kind ("async-net"), or NULL if unknown. */
const char *replay_log_event_name(uint8_t kind);

/* Returns: its fields, one character each, or NULL if @kind is unknown. */
const char *replay_log_event_fields(uint8_t kind);

/* --- Writer ------------------------------------------------------------ */

typedef struct ReplayLogWriter ReplayLogWriter;

/* Flags of replay_log_writer_open() */
#define REPLAY_LOG_COMPRESS     0x1     /* deflate chunks that get smaller */
#define REPLAY_LOG_OVERWRITE    0x2     /* replace a file that has content */

/**
 * replay_log_writer_open: begin a recording
 * @path: the file; created with mode 0600 if it does not exist
 * @flags: REPLAY_LOG_COMPRESS, REPLAY_LOG_OVERWRITE
 *
 * A file that has content is refused, and @errp says what it is (a complete
 * or a cut recording and its size, an old log, or something else), unless
 * REPLAY_LOG_OVERWRITE is given; even then its content stays untouched until
 * replay_log_writer_describe().  Also refused: what is not a regular file,
 * and a file that another writer has locked.
 *
 * Context: any thread; a writer is not thread-safe, the caller has a lock.
 * Returns: an owned writer, or NULL with @errp set.
 */
ReplayLogWriter *replay_log_writer_open(const char *path, unsigned flags,
                                        Error **errp);

/* Returns: the recording's UUID, valid from the opening on; borrowed. */
const QemuUUID *replay_log_writer_uuid(const ReplayLogWriter *w);

/**
 * replay_log_writer_describe: write the header and the description
 * @d: borrowed
 *
 * Called once.  Until then events stay in memory; a recording that is closed
 * before leaves an empty file (or the one that was there).
 *
 * Returns: true; false with @errp set when the file cannot be written.
 */
bool replay_log_writer_describe(ReplayLogWriter *w,
                                const ReplayLogDescription *d, Error **errp);

/**
 * replay_log_write_event: append one event
 * @kind: one of ReplayLogEventKind
 * @num: as many numbers as the kind has number fields, in their order
 * @data: the bytes, if the kind has them (NULL allowed when @len is 0)
 * @len_bytes: at most REPLAY_LOG_DATA_MAX_BYTES
 *
 * Costs a few stores and one memcpy; when the chunk is full also its
 * deflation and one write().  An INSTRUCTION event advances the writer's
 * instruction count; an ASYNC_NET event its packet count, and the totals of
 * adapter num[0].
 *
 * Returns: true; false when the file takes no data at present (see
 * replay_log_writer_error()): the event is kept all the same, up to
 * REPLAY_LOG_PENDING_MAX_BYTES.  Past that it is dropped and the recording
 * ends before it.
 */
bool replay_log_write_event(ReplayLogWriter *w, ReplayLogEventKind kind,
                            const uint64_t *num, const void *data,
                            size_t len_bytes);

/**
 * replay_log_writer_flush: close the chunk and write everything to the file
 *
 * After a failed write the file is cut back to its last whole chunk, and what
 * was not written is kept: calling again is the retry.  Nothing to write is a
 * success, and writes nothing.
 *
 * Returns: true; false with @errp set (file name and errno's text in it).
 */
bool replay_log_writer_flush(ReplayLogWriter *w, Error **errp);

/* Returns: the errno of the failed write that awaits its retry, else 0. */
int replay_log_writer_error(const ReplayLogWriter *w);

/* Returns: where the next event will stand. */
ReplayLogPos replay_log_writer_pos(const ReplayLogWriter *w);

/* Name adapter @id for the totals of the end chunk; @name is copied. */
void replay_log_writer_name_adapter(ReplayLogWriter *w, unsigned id,
                                    const char *name);

/* What was written so far, bytes. */
typedef struct ReplayLogStats {
    uint64_t raw_bytes;         /* events before compression */
    uint64_t stored_bytes;      /* the file's size */
    uint64_t events;
    uint64_t packets;
    uint64_t packet_bytes;
} ReplayLogStats;

ReplayLogStats replay_log_writer_stats(const ReplayLogWriter *w);

/**
 * replay_log_writer_close: flush, write the end chunk, fsync, close, free
 * @w: owned; freed in any case
 *
 * Returns: true; false with @errp set when the end could not be written; the
 * file then ends at its last whole chunk, as after a kill.
 */
bool replay_log_writer_close(ReplayLogWriter *w, Error **errp);

/* --- Reader ------------------------------------------------------------ */

typedef struct ReplayLogReader ReplayLogReader;

typedef enum ReplayLogStatus {
    REPLAY_LOG_OK,          /* there is an event */
    REPLAY_LOG_END,         /* the recording's clean end was reached */
    REPLAY_LOG_CUT,         /* it ends without one: its recorder was killed */
    REPLAY_LOG_DAMAGED,     /* checksum or structure is wrong */
    REPLAY_LOG_IO_ERROR,
} ReplayLogStatus;

/**
 * replay_log_reader_open: open a recording and read its description
 * @path: a regular file
 *
 * Takes any bytes.  @errp says what the file is instead of a recording that
 * this version reads: a directory, a FIFO, empty, foreign, of a newer format,
 * an old log of QEMU's first format (with the versions that replay it),
 * damaged in its head, or ended before its description (nothing to replay).
 *
 * Returns: an owned reader, or NULL with @errp set.
 */
ReplayLogReader *replay_log_reader_open(const char *path, Error **errp);
void replay_log_reader_close(ReplayLogReader *r);

const QemuUUID *replay_log_reader_uuid(const ReplayLogReader *r);
const ReplayLogDescription *
replay_log_reader_description(const ReplayLogReader *r);

/**
 * replay_log_read_event: the next event
 * @ev: filled in when the result is REPLAY_LOG_OK; its data is borrowed
 *      until the next call
 *
 * The event is whole and well-formed: every field was within its chunk and
 * its limits, in a chunk whose checksums are right.  What its numbers mean is
 * the caller's to check.  Memory does not depend on what the file claims.
 * Any result but REPLAY_LOG_OK is final and repeats until a seek.
 *
 * Returns: REPLAY_LOG_OK; else why not, and @errp (may be NULL) has it in
 * words with the chunk's number and file offset.
 */
ReplayLogStatus replay_log_read_event(ReplayLogReader *r, ReplayLogEvent *ev,
                                      Error **errp);

/* Returns: where the next event stands (that read_event will return). */
ReplayLogPos replay_log_reader_pos(const ReplayLogReader *r);

/* Returns: how many bytes of the file come before what was not yet read. */
uint64_t replay_log_reader_bytes(const ReplayLogReader *r);

/**
 * replay_log_reader_seek: go to a place that a writer or reader gave
 *
 * Returns: true; false with @errp set when the recording has no such place.
 */
bool replay_log_reader_seek(ReplayLogReader *r, const ReplayLogPos *pos,
                            Error **errp);

/* What a walk over all chunk headers tells, without reading the events. */
typedef struct ReplayLogInfo {
    uint64_t file_bytes;
    uint64_t raw_bytes;         /* events, uncompressed */
    uint64_t icount;            /* at the end, or where the last chunk begins */
    uint64_t events;            /* likewise */
    uint64_t packets;           /* likewise */
    uint32_t chunks;
    bool complete;              /* has its end chunk */
} ReplayLogInfo;

/* Walks the chunks by seeking from header to header; does not move @r. */
ReplayLogInfo replay_log_reader_info(ReplayLogReader *r);

#endif
