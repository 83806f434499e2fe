/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the sub-commands of qemu-replay share: options, output, and recordings
 * that are read from the beginning to the end.
 */

#ifndef QEMU_REPLAY_TOOL_H
#define QEMU_REPLAY_TOOL_H

#include "qapi/qmp/json-writer.h"
#include "replay/replay-log.h"
#include "replay/replay-pcapng.h"
#include "vclock.h"

#define PROGRAM     "qemu-replay"

/* The exit statuses. */
#define TOOL_OK         0
/* verify: a fault; diff: a difference; unpack: a snapshot to trust */
#define TOOL_FOUND      1
#define TOOL_TROUBLE    2   /* wrong options, or a file that is not usable */

typedef struct Tool {
    const char *name;       /* of the sub-command */
    const char *summary;    /* in one line */
    int (*run)(int argc, char **argv);
} Tool;

extern const Tool tool_info, tool_verify, tool_list, tool_stats, tool_pcap,
                  tool_diff, tool_cut, tool_report, tool_pack, tool_unpack;

/* argv[0] of the program, borrowed. */
extern const char *tool_program;

/* --- Options and output ------------------------------------------------ */

/* The arguments of a sub-command, and what they mean to all of them. */
typedef struct ToolArgs {
    const char *usage;              /* the arguments that are no options */
    const char *description;        /* for --help: details and an example */
    const GOptionEntry *entries;    /* of this sub-command, or NULL */
    int n_min, n_max;               /* how many arguments are no options */
    bool has_json;                  /* whether there is --output= */

    bool is_json;                   /* result: --output=json */
    int n;                          /* result: how many are no options */
    char **arg;                     /* result: these; a part of argv */
} ToolArgs;

/**
 * tool_parse: parse the arguments of a sub-command
 * @a: what there is; the result is put there, too
 *
 * --help prints a text and ends the program.
 *
 * Returns: true; false after a message about wrong arguments.
 */
bool tool_parse(const Tool *tool, ToolArgs *a, int argc, char **argv);

/* Parses a number of an option.  Returns: false after a message. */
bool tool_parse_u64(const char *option, const char *text, uint64_t *value);

/*
 * Prints a message for the user on stderr.
 * @err: owned
 * Returns: TOOL_TROUBLE
 */
int tool_fail(Error *err);

/*
 * Opens a file for the result of a sub-command; replaces a file that exists,
 * unless it is a recording.
 * Returns: the file; NULL after a message.
 */
FILE *tool_create(const char *path);

/*
 * Closes a file of tool_create().
 * Returns: whether all of it was written; if not, after a message.
 */
bool tool_close(FILE *file, const char *path);

/* Returns: a path that does not depend on the folder of this process, owned. */
char *tool_absolute(const char *path);

/*
 * Flushes stdout.
 * Returns: @status; TOOL_TROUBLE after a message if stdout cannot be written.
 */
int tool_finish(int status);

/* Prints @w on stdout, with a line end, and frees it. */
void tool_print_json(JSONWriter *w);

/*
 * Appends bytes of a recording, with "\xNN" for those that are not printable
 * ASCII characters, so that a terminal shows them and does nothing else.
 */
void tool_escape(GString *out, const uint8_t *data, size_t len_bytes);

/*
 * Appends a number with at least @width characters, the first ones @fill.  A
 * list has many numbers, and printf() takes several times as long.
 */
void tool_put_u64(GString *out, uint64_t value, unsigned width, char fill);

/* Appends a virtual time in seconds, "1.234567890". */
void tool_put_time(GString *out, uint64_t time_ns);

/* --- A recording, from the beginning to the end ------------------------ */

typedef struct Recording {
    char *path;
    ReplayLogReader *reader;
    const ReplayLogDescription *desc;
    unsigned n_adapters;
    ReplayPcapngAdapter *adapter;   /* @n_adapters of them */
    VClock clock;
    uint64_t time_ns;               /* virtual time here, or at the end */
    bool follows;                   /* wait for more at the end of the file */

    /* progress on a terminal */
    bool shows_progress;
    int64_t next_progress_us;
    uint64_t file_bytes;
} Recording;

/* Returns: an owned recording; NULL with @errp set. */
Recording *recording_open(const char *path, Error **errp);

/* @r: owned, may be NULL */
void recording_close(Recording *r);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Recording, recording_close)

/*
 * Reads the next event, and goes to its virtual time; without another event, to
 * the virtual time at the end.  Returns: as replay_log_read_event().
 */
ReplayLogStatus recording_next(Recording *r, ReplayLogEvent *ev, Error **errp);

/*
 * Says on stderr why the events have ended, unless at the regular end.
 * @err: owned
 * Returns: the exit status: TOOL_OK for a cut recording, which is good up to
 * the cut, and TOOL_TROUBLE for a damaged one.
 */
int recording_ended(Recording *r, ReplayLogStatus status, Error *err);

/* Returns: whether a recorder is writing the file. */
bool recording_is_locked(const char *path);

/* Returns: the name of adapter @number, or "?"; borrowed. */
const char *recording_adapter(const Recording *r, uint64_t number);

/* Returns: whether @ev belongs to an adapter, whose number is in *@number. */
bool event_adapter(const ReplayLogEvent *ev, uint64_t *number);

/*
 * Returns: the number of a packet from outside, or of the next one, counted
 * from 1 as replay-seek does.
 */
static inline uint64_t event_packet_number(const ReplayLogEvent *ev)
{
    return ev->packet + 1;
}

/* Returns: whether @ev has the bytes of a packet, which go to *@p. */
bool event_packet(const Recording *r, const ReplayLogEvent *ev,
                  ReplayPcapngPacket *p);

/* Returns: the frame of a packet, without its virtio header. */
ReplayPcapngFrame event_frame(const Recording *r, const ReplayPcapngPacket *p);

/*
 * Appends what an event is, in one line: its numbers with their names, or the
 * summary of its packet.
 */
void event_summary(GString *out, const Recording *r, const ReplayLogEvent *ev);

/* Adds the members that describe an event to the current object. */
void event_json(JSONWriter *w, const Recording *r, const ReplayLogEvent *ev);

/*
 * Returns: whether @word names this kind: its whole name, or one of the words
 * in it, as "net" in "async-net" and "net-sent".
 */
bool event_kind_is(uint8_t kind, const char *word);

/* Returns: the name of number @i of this kind, or NULL. */
const char *event_field(uint8_t kind, unsigned i);

#endif
