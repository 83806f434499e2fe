/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The machine that is recorded or replayed: its description, its snapshots, and
 * its progress.  Callers of these functions hold the replay mutex, unless a
 * comment says otherwise.
 */

#ifndef REPLAY_MACHINE_H
#define REPLAY_MACHINE_H

#include "replay-log.h"

/* --- replay-machine.c ---------------------------------------------------- */

/* Returns: an owned description of the machine as it is now. */
ReplayLogDescription *replay_machine_describe(void);

/**
 * replay_machine_check: compare the recorded machine with this machine
 * @now: replay_machine_describe(), borrowed
 *
 * Context: replay.
 * Returns: true if they are equal; false with @errp set, which lists all
 * differences, one on each line, and says what to do about them.
 */
bool replay_machine_check(const ReplayLogDescription *now, Error **errp);

/* Replay: report how this machine differs from the recorded one, if it does. */
void replay_machine_explain(void);

/* --- replay-devices.c ---------------------------------------------------- */

/**
 * replay_devices_check: look for devices that cannot be recorded and replayed
 *
 * With rrunsafe=on, and in a replay, such a device is only reported by a
 * warning: its recorder has refused it, or the user knows.
 *
 * Returns: true if the guest may run; false with @errp set, which names the
 * device and the reason.
 */
bool replay_devices_check(Error **errp);

/* --- replay-disk.c ------------------------------------------------------- */

/**
 * replay_disk_begin: the machine first runs: check the disks of its devices
 *
 * Disks that came after their devices get blkreplay and an overlay, too.  The
 * user is told once which disks have an overlay.
 *
 * Context: main loop, BQL.
 * Returns: true; false with @errp set if a disk can be neither recorded nor
 * replayed.
 */
bool replay_disk_begin(Error **errp);

/* Add the content that the disks had in replay_disk_begin() to @d. */
void replay_disk_describe(ReplayLogDescription *d);

/*
 * Returns: whether a snapshot may be saved; false with @errp set while
 * recording, if the snapshot of a disk would be lost.
 */
bool replay_disk_can_save(Error **errp);

/* Append a line to @differences for each disk that has other content now. */
void replay_disk_compare(const ReplayLogDescription *recorded,
                         const ReplayLogDescription *now, GString *differences);

/* --- replay-files.c ------------------------------------------------------ */

/* Add the content of the kernel, of ROMs and of other such files to @d. */
void replay_files_describe(ReplayLogDescription *d);

/* Append a line to @differences for each file that has other content now. */
void replay_files_compare(const ReplayLogDescription *recorded,
                          const ReplayLogDescription *now,
                          GString *differences);

/* --- replay-info.c ------------------------------------------------------- */

/*
 * Start or stop printing a line of progress on stderr every
 * replay_now.options.progress_seconds seconds.  If these are 0, nothing is
 * printed.  Context: with the BQL.
 */
void replay_info_start(void);
void replay_info_stop(void);

/* Measure speed from here on: a snapshot has moved the replay elsewhere. */
void replay_info_restart(void);

/* --- replay-snapshot.c, replay-nics.c, replay-pending.c ------------------ */

/*
 * Make the state of record and replay part of every snapshot.  It is loaded
 * before all devices, because these may read clocks when they are loaded.
 * Context: start-up.
 */
void replay_snapshot_register(void);

/*
 * Make the packets and link states that net/ holds for NICs part of every
 * snapshot.  Context: start-up.
 */
void replay_nics_register(void);

/*
 * Make the bottom halves that wait for their instruction part of every
 * snapshot.  Context: start-up, after replay_snapshot_register().
 */
void replay_pending_register(void);

#endif
