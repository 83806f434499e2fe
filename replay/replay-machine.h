/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The machine that is recorded or replayed: its description, its snapshots, and
 * how far it is.  Unless it says otherwise, everything here needs the replay
 * mutex.
 */

#ifndef REPLAY_MACHINE_H
#define REPLAY_MACHINE_H

#include "replay-log.h"

/* --- replay-machine.c ---------------------------------------------------- */

/* Returns: an owned description of the machine as it is now. */
ReplayLogDescription *replay_machine_describe(void);

/**
 * replay_machine_check: compare the recorded machine with @now, the one here
 *
 * Context: replay.
 * Returns: true; false with @errp set: all differences, one a line, and what
 * to do about them.
 */
bool replay_machine_check(const ReplayLogDescription *now, Error **errp);

/* Replay: report how the machine differs from the recorded one, if it does. */
void replay_machine_explain(void);

/* --- replay-info.c ------------------------------------------------------- */

/*
 * Print a line of progress on stderr every replay_now.options.progress_seconds;
 * nothing if that is 0.  Context: BQL.
 */
void replay_info_start(void);
void replay_info_stop(void);

/* The replay goes on from another place: progress is measured from there. */
void replay_info_restart(void);

/* --- replay-snapshot.c, replay-nics.c ------------------------------------ */

/*
 * Make the state of record and replay part of a snapshot, before all devices:
 * their loading may read clocks.  Context: start-up.
 */
void replay_snapshot_register(void);

/*
 * Make the packets and links that net/ knows of part of a snapshot.
 * Context: start-up.
 */
void replay_nics_register(void);

#endif
