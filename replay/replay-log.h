/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A recording as a file, which consists of a header and chunks.  The writer
 * turns events into chunks, the reader turns chunks back into events, and
 * neither knows what an event does.  QEMU and all tools use these functions to
 * read and write recordings.  docs/replay.txt ("The format of a recording")
 * specifies the format byte by byte.
 */

#ifndef REPLAY_LOG_H
#define REPLAY_LOG_H

#include "qemu/uuid.h"

#define REPLAY_LOG_VERSION          1

#define REPLAY_LOG_HEADER_BYTES     40
#define REPLAY_LOG_CHUNK_HDR_BYTES  52

/*
 * Limits.  A reader refuses a number above its limit before it allocates
 * memory.
 */
/* The writer closes a chunk once its raw events have this size. */
#define REPLAY_LOG_CHUNK_BYTES      (64 * 1024)
/* The largest payload of a chunk, both as stored and raw. */
#define REPLAY_LOG_CHUNK_MAX_BYTES  (1024 * 1024)
/* The largest field of bytes of an event. */
#define REPLAY_LOG_DATA_MAX_BYTES   (REPLAY_LOG_CHUNK_MAX_BYTES / 2)
/* The most data that a writer keeps while it cannot write (a full disk). */
#define REPLAY_LOG_PENDING_MAX_BYTES (64 * 1024 * 1024)
/* The most numbers in an event. */
#define REPLAY_LOG_NUMS_MAX         4
/* The most pairs of a description. */
#define REPLAY_LOG_DESC_MAX         1024
/* The longest key or value of a description, in bytes. */
#define REPLAY_LOG_DESC_STR_MAX     4096
/* The most adapters in the totals of the end chunk. */
#define REPLAY_LOG_ADAPTERS_MAX     256
/* The longest name of an adapter. */
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
    /* number of the vCPU that executes from here on */ \
    E(0x03, VCPU, "vcpu", "u") \
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
    /* character device, front end or 0 */ \
    E(0x19, ASYNC_CHAR_BREAK, "async-char-break", "uu") \
    /* ReplayRequest */ \
    E(0x1a, ASYNC_REQUEST, "async-request", "u") \
    /* random number back end, bytes */ \
    E(0x1e, ASYNC_RNG, "async-rng", "ub") \
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

/* A kind is one byte in the file. */
#define REPLAY_LOG_KINDS            0x100

typedef enum ReplayLogChunkKind {
    REPLAY_LOG_CHUNK_DESCRIPTION = 1,
    REPLAY_LOG_CHUNK_EVENTS = 2,
    REPLAY_LOG_CHUNK_END = 3,
    REPLAY_LOG_CHUNK_TIME = 4,
} ReplayLogChunkKind;

/* The flags of a chunk.  A reader refuses all other flags. */
#define REPLAY_LOG_CHUNK_OPTIONAL   0x0001  /* skip it if its kind is unknown */
#define REPLAY_LOG_CHUNK_DEFLATED   0x0002  /* its payload is a zlib stream */
#define REPLAY_LOG_CHUNK_APART      0x0004  /* packets follow the stream */

/* A place in a recording.  Snapshots of the machine contain such places. */
typedef struct ReplayLogPos {
    uint32_t chunk;         /* number of a chunk of events */
    uint32_t offset_bytes;  /* of the next event in its raw payload */
    uint64_t event;         /* events before the place in the recording */
    uint64_t packet;        /* packets (ASYNC_NET) before the place */
    uint64_t icount;        /* instructions before the place */
} ReplayLogPos;

/* An event.  @data is borrowed: it is valid until the next read. */
typedef struct ReplayLogEvent {
    uint8_t kind;                       /* ReplayLogEventKind */
    uint8_t n_nums;
    uint64_t num[REPLAY_LOG_NUMS_MAX];  /* cast signed fields to int64_t */
    const uint8_t *data;                /* NULL without a field of bytes */
    size_t len_bytes;
    uint64_t number;                    /* of this event, from 0 */
    uint64_t icount;                    /* instructions executed before it */
    uint64_t packet;                    /* packets before it */
    uint32_t chunk;                     /* number of its chunk */
    uint32_t raw_bytes;                 /* that it takes, before compression */
    uint64_t file_offset;               /* of its chunk */
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
 * Strings are cut at REPLAY_LOG_DESC_STR_MAX bytes, and control characters in
 * them become '?'.  A duplicate key is a bug of the caller.  @d may have any
 * number of pairs, but replay_log_writer_describe() refuses more than
 * REPLAY_LOG_DESC_MAX: the user, not the caller, gives a machine its parts.
 */
void replay_log_description_add(ReplayLogDescription *d, const char *key,
                                const char *value);

/* Returns: the value (borrowed from @d), or NULL when there is no such key. */
const char *replay_log_description_get(const ReplayLogDescription *d,
                                       const char *key);

/* Returns: the number of pairs in @d. */
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
 * replay_log_crc32c: compute the checksum that recordings use
 * @crc: the CRC32C of the bytes before @data; 0 if there are none
 * @data: borrowed
 *
 * Returns: the CRC32C of these bytes and @data.
 */
uint32_t replay_log_crc32c(uint32_t crc, const void *data, size_t len_bytes);

/**
 * replay_log_is_recording: see whether a file begins like a recording
 * @path: any name; a program that is about to replace the file asks this
 *
 * Returns: whether @path is a regular file that begins with the bytes of a
 * recording in this format, of any version.
 */
bool replay_log_is_recording(const char *path);

/* Returns: the name of a kind of event ("async-net"), or NULL if unknown. */
const char *replay_log_event_name(uint8_t kind);

/* Returns: the fields as in REPLAY_LOG_EVENTS, or NULL if @kind is unknown. */
const char *replay_log_event_fields(uint8_t kind);

/* --- Writer ------------------------------------------------------------ */

typedef struct ReplayLogWriter ReplayLogWriter;

/* Flags of replay_log_writer_open() */
#define REPLAY_LOG_COMPRESS     0x1     /* deflate chunks that get smaller */
#define REPLAY_LOG_OVERWRITE    0x2     /* replace a file that is not empty */

/**
 * replay_log_writer_open: begin a recording
 * @path: the file; created with mode 0600 if it does not exist
 * @flags: REPLAY_LOG_COMPRESS, REPLAY_LOG_OVERWRITE
 *
 * The function refuses a file that is not empty, and sets @errp to what the
 * file contains (a complete or a cut recording and its size, or something
 * else).  REPLAY_LOG_OVERWRITE permits such a file; it remains unchanged until
 * replay_log_writer_describe().  The function also refuses anything but a
 * regular file, and a file that another writer has locked.
 *
 * Context: any thread; a writer is not thread-safe, so the caller needs a lock.
 * Returns: an owned writer, or NULL with @errp set.
 */
ReplayLogWriter *replay_log_writer_open(const char *path, unsigned flags,
                                        Error **errp);

/* Returns: the UUID of the recording, borrowed from @w. */
const QemuUUID *replay_log_writer_uuid(const ReplayLogWriter *w);

/**
 * replay_log_writer_describe: write the header and the description
 * @d: borrowed
 *
 * Call this once; after a failure it can be repeated.  Until then the writer
 * keeps the events in memory.  If the writer is closed before, the file stays
 * empty, or as it was.
 *
 * Returns: true; false with @errp set if the file cannot be written, or @d has
 * more pairs or bytes than a recording can have.
 */
bool replay_log_writer_describe(ReplayLogWriter *w,
                                const ReplayLogDescription *d, Error **errp);

/**
 * replay_log_write_event: append one event
 * @kind: one of ReplayLogEventKind
 * @num: a number for each number field of the kind, in their order
 * @data: the bytes, if the kind has a field of bytes; may be NULL if
 *        @len_bytes is 0
 * @len_bytes: at most REPLAY_LOG_DATA_MAX_BYTES
 *
 * This costs a few stores and one memcpy, and for a full chunk also its
 * deflation; a thread of the writer writes the chunk.  An INSTRUCTION event
 * advances the instruction count of the writer.  An ASYNC_NET event advances
 * its packet count and the totals of adapter num[0].
 *
 * Returns: true; false while the file cannot be written (see
 * replay_log_writer_error()).  Then the writer keeps up to
 * REPLAY_LOG_PENDING_MAX_BYTES of events in memory.  It drops an event beyond
 * this limit, and the recording ends before this event.
 */
bool replay_log_write_event(ReplayLogWriter *w, ReplayLogEventKind kind,
                            const uint64_t *num, const void *data,
                            size_t len_bytes);

/**
 * replay_log_writer_flush: close the chunk and write everything to the file
 *
 * After a failed write the writer truncates the file to its last whole chunk
 * and keeps the remaining chunks; the next flush tries to write them again.
 * Without anything to write the function does nothing and succeeds.
 *
 * Returns: true; false with @errp set to the name of the file and the text of
 * errno.
 */
bool replay_log_writer_flush(ReplayLogWriter *w, Error **errp);

/*
 * Returns: the errno of the last write if it failed; ENOBUFS after the writer
 * has dropped an event; else 0.
 */
int replay_log_writer_error(const ReplayLogWriter *w);

/* Returns: the place of the next event. */
ReplayLogPos replay_log_writer_pos(const ReplayLogWriter *w);

/* Names adapter @id in the totals of the end chunk.  @name is copied. */
void replay_log_writer_name_adapter(ReplayLogWriter *w, unsigned id,
                                    const char *name);

/**
 * replay_log_writer_set_time: tell how long the guest has run
 * @time_ns: virtual time of the guest at the end of the recording
 *
 * Without this call the recording does not tell it.
 */
void replay_log_writer_set_time(ReplayLogWriter *w, uint64_t time_ns);

/* How much a writer has written so far. */
typedef struct ReplayLogStats {
    uint64_t raw_bytes;         /* events before compression */
    uint64_t stored_bytes;      /* size of the file */
    uint64_t events;
    uint64_t packets;
    uint64_t packet_bytes;
} ReplayLogStats;

ReplayLogStats replay_log_writer_stats(const ReplayLogWriter *w);

/**
 * replay_log_writer_close: flush, write the end chunk, fsync, close, free
 * @w: owned; freed in any case
 *
 * Returns: true; false with @errp set if the end chunk could not be written.
 * Then the file ends with its last whole chunk, as if QEMU had been killed.
 */
bool replay_log_writer_close(ReplayLogWriter *w, Error **errp);

/* --- Reader ------------------------------------------------------------ */

typedef struct ReplayLogReader ReplayLogReader;

typedef enum ReplayLogStatus {
    REPLAY_LOG_OK,          /* there is an event */
    REPLAY_LOG_END,         /* the end chunk follows */
    REPLAY_LOG_CUT,         /* no end chunk: the recorder was killed */
    REPLAY_LOG_DAMAGED,     /* a checksum or the structure is wrong */
    REPLAY_LOG_IO_ERROR,
} ReplayLogStatus;

/**
 * replay_log_reader_open: open a recording and read its description
 * @path: a regular file
 *
 * The file may have any content.  If it is not a recording that this version
 * reads, @errp says why: it is a directory or a FIFO, is empty, has another or
 * a newer format, has QEMU's first format (and which versions replay it), is
 * damaged in its header or description, or ends before its description.
 *
 * Returns: an owned reader, or NULL with @errp set.
 */
ReplayLogReader *replay_log_reader_open(const char *path, Error **errp);

/* @r: owned, may be NULL */
void replay_log_reader_close(ReplayLogReader *r);

/* Both return a pointer that is borrowed from @r. */

const QemuUUID *replay_log_reader_uuid(const ReplayLogReader *r);
const ReplayLogDescription *
replay_log_reader_description(const ReplayLogReader *r);

/**
 * replay_log_read_event: read the next event
 * @ev: filled in if the result is REPLAY_LOG_OK; its data is borrowed until
 *      the next call
 *
 * The event is complete and well-formed: the checksums of its chunk are right,
 * and each of its fields is within the chunk and its limit.  The caller has to
 * check the meaning of its numbers.  The memory that the reader uses does not
 * depend on the numbers in the file.  Any result but REPLAY_LOG_OK is final:
 * it repeats until a seek.
 *
 * Returns: REPLAY_LOG_OK; else why there is no event, and @errp (may be NULL)
 * is set to a message with the number and the file offset of the chunk.
 */
ReplayLogStatus replay_log_read_event(ReplayLogReader *r, ReplayLogEvent *ev,
                                      Error **errp);

/* Returns: the place of the event that replay_log_read_event() reads next. */
ReplayLogPos replay_log_reader_pos(const ReplayLogReader *r);

/* Returns: the file offset of the first chunk that was not read yet. */
uint64_t replay_log_reader_bytes(const ReplayLogReader *r);

/**
 * replay_log_reader_seek: go to a place that a writer or a reader returned
 *
 * Returns: true; false with @errp set if the recording has no such place.  Then
 * the reader stays at its old place.
 */
bool replay_log_reader_seek(ReplayLogReader *r, const ReplayLogPos *pos,
                            Error **errp);

/*
 * What the headers of the chunks say about a recording.  The counts are those
 * at the end, or without an end chunk those before the last chunk of events.
 */
typedef struct ReplayLogInfo {
    uint64_t file_bytes;
    uint64_t raw_bytes;         /* of the events before compression */
    uint64_t icount;
    uint64_t events;
    uint64_t packets;
    uint32_t chunks;
    bool complete;              /* the recording has its end chunk */
} ReplayLogInfo;

/* Reads only the headers of the chunks, and does not move @r. */
ReplayLogInfo replay_log_reader_info(ReplayLogReader *r);

/* What the end chunk says about a recording. */
typedef struct ReplayLogTotals {
    uint64_t file_bytes;
    uint64_t icount;
    uint64_t events;
    uint64_t packets;
    uint32_t chunks;            /* all of them, with description and end */
    bool has_time;              /* the recorder has told the time */
    uint64_t time_ns;           /* virtual time of the guest */
    uint64_t by_kind[REPLAY_LOG_KINDS];
    unsigned n_adapters;
    struct {
        char name[REPLAY_LOG_ADAPTER_NAME_MAX_BYTES + 1];
        uint64_t packets;       /* from outside */
        uint64_t bytes;         /* of these */
    } adapter[REPLAY_LOG_ADAPTERS_MAX];
} ReplayLogTotals;

/**
 * replay_log_reader_totals: read the totals of a complete recording
 * @t: is filled in
 *
 * How long this takes does not depend on the size of the recording.  The end
 * chunk is verified, but not compared with the events.  This does not move @r,
 * but the data of the event that was read last is no longer valid.
 *
 * Returns: whether the recording ends with a valid end chunk.
 */
bool replay_log_reader_totals(ReplayLogReader *r, ReplayLogTotals *t);

/* The chunk of the event that was read last. */
typedef struct ReplayLogChunkInfo {
    uint32_t stored_bytes;      /* of its payload, in the file */
    uint32_t raw_bytes;
    bool is_apart;              /* its large packets are stored as they are */
} ReplayLogChunkInfo;

ReplayLogChunkInfo replay_log_reader_chunk(const ReplayLogReader *r);

/* Returns: whether a chunk that is_apart stores @ev as it is. */
bool replay_log_event_stands_apart(const ReplayLogEvent *ev);

#endif
