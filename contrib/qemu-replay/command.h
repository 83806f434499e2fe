/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The command line of a recorder, made into one that replays elsewhere.
 */

#ifndef QEMU_REPLAY_COMMAND_H
#define QEMU_REPLAY_COMMAND_H

#include "disks.h"
#include "replay/replay-log.h"

/*
 * Where the files of the command line are.  The functions return NULL if there
 * is no such file; all strings that they return are owned by the caller.
 */
typedef struct CommandFiles {
    /*
     * Returns: the path of a file that the command line calls @name.
     * @role: what the file is for, as in "info.file.ROLE.N"
     */
    char *(*find)(void *opaque, const char *role, const char *name);
    DisksFind *find_disk;
    /* The folder of what the guest writes to its serial ports; borrowed. */
    const char *output;
    void *opaque;
} CommandFiles;

typedef struct Command {
    const CommandFiles *files;
    GPtrArray *argv;        /* of char *, the new command line, after argv[0] */
    GPtrArray *warnings;    /* of char *, what the new command line lacks */
    char *snapshot;         /* the snapshot at which the replay begins, or "" */

    /* what was seen so far */
    Disks disks;
    unsigned n_ports[3];    /* how many -serial, -parallel, -debugcon */
    bool has_no_defaults;
} Command;

/*
 * Undoes the escapes \xHH of the description.
 * Returns: owned bytes; NULL if @text has an invalid escape.
 */
char *command_unescape(const char *text);

/* Returns: the recorder's command line, owned; NULL with @errp set. */
GStrv command_recorded(const ReplayLogDescription *desc, Error **errp);

/**
 * command_rewrite: make a command line for a replay
 * @desc: of the recording
 * @argv: the command line of the recorder, which may be that of a stranger
 * @recording: the path of the recording in the new command line
 * @files: where the files are
 *
 * The new command line has only options that are known to touch nothing of the
 * host but the files that @files gives.
 *
 * Returns: the new command line, owned.
 */
Command *command_rewrite(const ReplayLogDescription *desc, char *const *argv,
                         const char *recording, const CommandFiles *files);

void command_free(Command *c);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Command, command_free)

/*
 * Returns: @text, owned, as one word for a shell, in printable ASCII characters
 * only; bash, ksh and zsh understand it.
 */
char *command_quote(const char *text);

#endif
