/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Where the guest and its recording are: the state that the files below
 * replay/ share.  Unless a member says otherwise it belongs to the replay
 * mutex.
 */

#ifndef REPLAY_NOW_H
#define REPLAY_NOW_H

#include "qemu/timer.h"
#include "qemu/uuid.h"
#include "sysemu/replay.h"
#include "replay-log.h"

/* replay_now.next.kind when the recording has no next event. */
#define REPLAY_EV_NONE              0xff

/* The options of -icount that say what to do with the recording. */
typedef struct ReplayOptions {
    char *filename;             /* rrfile=, owned */
    bool compress;              /* rrcompress=zlib */
    bool overwrite;             /* rroverwrite=on */
    bool stop_on_error;         /* rrerror=stop */
    bool check_machine;         /* rrcheck=on */
    unsigned progress_seconds;  /* rrprogress=; 0 without it */
} ReplayOptions;

typedef struct ReplayNow {
    /* Part of a snapshot of the virtual machine. */

    /* ns, the value that each clock had when it was last read */
    int64_t clock_ns[REPLAY_CLOCK_COUNT];
    /* instructions that were recorded or replayed */
    uint64_t icount;
    /* replay: left of @next if that is an INSTRUCTION event, else 0 */
    uint64_t insns_left;
    /* id for the next block request */
    uint64_t next_block_id;
    /* replay: of @next; record: set when a snapshot is made */
    ReplayLogPos pos;
    /* of the recording */
    QemuUUID uuid;

    /* Not part of a snapshot: a replay reads it again at @pos. */

    /* replay: the next event of the recording */
    ReplayLogEvent next;

    /* Not part of a snapshot: this QEMU. */

    /* set by replay_configure(), then read-only and readable without a lock */
    ReplayOptions options;
    /* replay: of the recorded machine, borrowed from the reader; or NULL */
    const ReplayLogDescription *description;
    /* replay: bytes of the file up to the end of the chunk that is replayed */
    uint64_t read_bytes;
    /* the machine has run; set once */
    bool begun;
    /* replay: it cannot go on, and the user was told */
    bool failed;
} ReplayNow;

extern ReplayNow replay_now;

/*
 * A breakpoint of the replay: the instruction count at which @..._timer is
 * armed; UINT64_MAX without a breakpoint.
 */
extern uint64_t replay_break_icount;
extern QEMUTimer *replay_break_timer;

/* Returns: whether a machine that is recorded or replayed has run. */
bool replay_has_begun(void);

/*
 * Returns: whether time goes on for the guest: the machine runs, or the guest
 * has suspended it and waits for a clock to wake it.
 */
bool replay_machine_is_live(void);

/*
 * Returns: for the main loop, whether a machine that has begun is stopped.
 * Always false in the vCPU thread, which may still execute guest code when the
 * run state has changed already: that belongs to the recording.
 */
bool replay_is_stopped(void);

/* Returns: the rrfile= option, borrowed; NULL without record and replay. */
const char *replay_filename(void);

/* Returns: whether the replay has failed. */
bool replay_has_failed(void);

/* The replay cannot go on, and the user was told: no event is next. */
void replay_set_failed(void);

#endif
