/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the writer and the reader of recordings share.  Only the files of the
 * layer "bytes" include this header; all others include replay-log.h.
 */

#ifndef REPLAY_LOG_INTERNAL_H
#define REPLAY_LOG_INTERNAL_H

#include "replay-log.h"

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
/*
 * The last field of the end chunk is the offset of this chunk.  So it is in the
 * last bytes of a complete recording.
 */
#define REPLAY_LOG_TRAILER_BYTES    8

/*
 * The payload of the chunk with the time.  This chunk precedes the end chunk
 * and always has the same size, so a reader finds it without an index.
 */
#define REPLAY_LOG_TIME_BYTES       8

/* Only packets of at least this size are stored apart. */
#define REPLAY_LOG_APART_MIN_BYTES  128

/* The bytes that remain to be decoded: from @p up to, but without, @end. */
typedef struct ReplayLogInput {
    const uint8_t *p;
    const uint8_t *end;
} ReplayLogInput;

/* Returns: the CRC32C of the @len bytes at @p. */
uint32_t replay_log_crc(const uint8_t *p, size_t len);

/*
 * Returns: an owned copy of @s with at most @max bytes that is safe to show to
 * a user: UTF-8 without control characters and without characters that change
 * the order in which others are shown; each is replaced by '?'.
 */
char *replay_log_str_clean(const char *s, size_t max);

/* --- Header ------------------------------------------------------------ */

void replay_log_header_save(uint8_t *p, const QemuUUID *uuid);

/* @len: how many bytes of the header the file has; may be too few. */
bool replay_log_header_load(const char *name, const uint8_t *p, size_t len,
                            QemuUUID *uuid, Error **errp);

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
uint32_t replay_log_tag(const QemuUUID *uuid);

/* Returns: whether the counts in a header of this kind have a meaning. */
bool replay_log_chunk_counts(const ReplayLogChunk *c);

/* @p: room for the header, followed by @c->stored_bytes of payload */
void replay_log_chunk_save(uint8_t *p, const ReplayLogChunk *c);

/* The caller has to verify the checksum of the header. */
void replay_log_chunk_load(const uint8_t *p, ReplayLogChunk *c);

/* --- Description ------------------------------------------------------- */

void replay_log_description_save(GByteArray *out,
                                 const ReplayLogDescription *d);

/* Returns: NULL if the description is valid, else what is wrong with it. */
const char *replay_log_description_load(ReplayLogInput *in,
                                        ReplayLogDescription *d);

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
uint8_t *replay_log_event_save(ReplayLogState *s, uint8_t *p, uint8_t kind,
                               const uint64_t *num, const void *data,
                               size_t len);

/*
 * Deflation does not make encrypted or compressed packets smaller, and next to
 * them it does not find what the events between them have in common.  So the
 * writer can store the packets of a chunk apart: it deflates the other bytes
 * alone, and appends the packets as they are.
 *
 * Returns: whether such a chunk stores the bytes of this event apart.
 */
bool replay_log_stands_apart(uint8_t kind, size_t len_bytes);

/* Returns: false if the event makes the instruction count overflow. */
bool replay_log_state_count(ReplayLogState *s, uint8_t kind,
                            const uint64_t *num);

/*
 * What replay_log_state_load() returns for an event of an unknown kind.  The
 * reader does not call this damage: a newer QEMU can have made the recording.
 */
extern const char replay_log_unknown_kind[];

/*
 * Decodes an event and counts it.  Fills in the kind, the numbers and the data
 * of @ev.
 *
 * @packets: the packets that are stored apart; NULL pointers if none are
 * Returns: NULL if the event is valid, else what is wrong with it.
 */
const char *replay_log_state_load(ReplayLogState *s, ReplayLogInput *in,
                                  ReplayLogInput *packets, ReplayLogEvent *ev);

/* Goes to the counts before the first event of @c. */
void replay_log_state_restart(ReplayLogState *s, const ReplayLogChunk *c);

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
void replay_log_end_save(GByteArray *out, const ReplayLogEnd *e,
                         uint64_t index_base, uint64_t own_offset);

/*
 * Verifies a whole end chunk, and looks up the last entry of its index whose
 * chunk has the number @seq or less.  How much memory this takes does not
 * depend on the numbers in the chunk.
 *
 * @c: the header of the end chunk
 * @offset: where the end chunk is in the file
 * @found: the entry; its seq is 0 if the index has no such entry
 * @totals: NULL, or where to put the totals
 * Returns: NULL if the chunk is valid, else what is wrong with it.
 */
const char *replay_log_end_load(ReplayLogInput *in, const ReplayLogChunk *c,
                                uint64_t offset, uint32_t seq,
                                ReplayLogIndexEntry *found,
                                ReplayLogTotals *totals);

/* --- The file ---------------------------------------------------------- */

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
bool replay_log_regular(const char *path, int fd, uint64_t *bytes,
                        Error **errp);

/*
 * Like replay_log_reader_open(), for a file that is open.
 * @fd: owned, also when this fails
 */
ReplayLogReader *replay_log_reader_new(const char *path, int fd, Error **errp);

#endif
