/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Where the guest and its recording are, and whether the replay has failed: the
 * state that all files above replay-now.c share.  The replay mutex protects it,
 * unless the comment of a member says otherwise.
 */

#ifndef REPLAY_NOW_H
#define REPLAY_NOW_H

#include "qemu/uuid.h"
#include "sysemu/replay.h"
#include "replay-log.h"

/* replay_now.next.kind when the recording has no next event. */
#define REPLAY_EV_NONE              0xff

/* The rr options of -icount. */
typedef struct ReplayOptions {
    char *filename;             /* rrfile=, owned */
    bool compress;              /* rrcompress=zlib */
    bool overwrite;             /* rroverwrite=on */
    bool stop_on_error;         /* rrerror=stop */
    bool check_machine;         /* rrcheck=on */
    bool allow_unsafe;          /* rrunsafe=on */
    unsigned progress_seconds;  /* rrprogress=; 0 without it */
    char *capture;              /* rrpcap=, owned; or NULL */
} ReplayOptions;

typedef struct ReplayNow {
    /* These are saved in a snapshot of the virtual machine. */

    /* value of each clock when it was last read, ns */
    int64_t clock_ns[REPLAY_CLOCK_COUNT];
    /* number of instructions that were recorded or replayed */
    uint64_t icount;
    /*
     * replay: if @next is an INSTRUCTION event, how many of its instructions
     * the vCPU has not executed yet; else 0
     */
    uint64_t insns_left;
    /* number that the next block request gets */
    uint64_t next_block_id;
    /* index of the vCPU that has executed or taken an interrupt last */
    uint32_t vcpu;
    /*
     * replay: position of @next in the recording; record: position of the next
     * event, valid only while a snapshot is saved
     */
    ReplayLogPos pos;
    /* UUID of the recording */
    QemuUUID uuid;

    /* Not saved: after a snapshot was loaded, a replay reads it at @pos. */

    /* replay: the next event of the recording */
    ReplayLogEvent next;

    /* record: the vCPU whose turn it is; it may not have executed anything */
    uint32_t turn;

    /* Not saved: these belong to this QEMU process. */

    /* set by replay_configure(), then read-only and readable without a lock */
    ReplayOptions options;
    /*
     * replay: description of the recorded machine, borrowed from the reader;
     * NULL if no reader is open
     */
    const ReplayLogDescription *description;
    /* replay: file offset of the end of the chunk that is being replayed */
    uint64_t read_bytes;
    /*
     * the machine has started to run; never reset.  The main loop sets it, and
     * reads it without the mutex in rounds that only move packets.
     */
    bool begun;
    /* replay: it cannot continue, and the failure was reported */
    bool failed;
    /*
     * replay: the vCPU thread is paused for a checkpoint of the machine,
     * though the machine is not stopped.  BQL.
     */
    bool paused;
    /*
     * record: the user has left a replay, and what happens since then is not
     * recorded.  BQL.
     */
    bool left;
} ReplayNow;

extern ReplayNow replay_now;

/* Returns: whether a machine that is recorded or replayed has begun to run. */
bool replay_has_begun(void);

/*
 * Returns: whether time passes for the guest: the machine runs, or the guest
 * has suspended it and a clock may wake it.
 */
bool replay_machine_is_live(void);

/*
 * Returns: in the main loop, whether a machine that has begun to run is now
 * stopped.  In the vCPU thread always false: this thread may still execute
 * guest code after the run state has changed, and this code is part of the
 * recording.
 */
bool replay_is_stopped(void);

/*
 * Returns: in the main loop, whether timers that can touch the guest wait until
 * the machine runs: it is stopped, or has not begun to run (-S).
 */
bool replay_timers_wait(void);

/* Returns: the rrfile= option, borrowed; NULL in REPLAY_MODE_NONE. */
const char *replay_filename(void);

/* Returns: whether the replay has failed. */
bool replay_has_failed(void);

/* The replay cannot continue: mark it as failed, with no next event. */
void replay_set_failed(void);

#endif
