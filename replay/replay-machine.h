/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The machine that is recorded or replayed: its description, its snapshots, and
 * its progress.  Callers of these functions hold the replay mutex, unless a
 * comment says otherwise.
 */

#ifndef REPLAY_MACHINE_H
#define REPLAY_MACHINE_H

#include "qapi/qapi-types-replay.h"
#include "qapi/qapi-types-run-state.h"
#include "replay-log.h"
#include "replay-stop.h"

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

/* --- replay-arguments.c -------------------------------------------------- */

/* Adds the command line, or its beginning, where the description has room. */
void replay_arguments_describe(ReplayLogDescription *d);

/*
 * Replay: warn about options that the guest can notice and that differ.  Texts
 * that differ may mean the same, so this is no error.
 */
void replay_arguments_compare(const ReplayLogDescription *recorded,
                              const ReplayLogDescription *now);

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

/*
 * The content of all disks at a checkpoint of the machine, which the caller has
 * given this number: kept as a snapshot in the overlay of each disk.
 * Context: main loop, BQL; no request is under way.
 */

/* Returns: whether each disk has an overlay; if not, @errp says which has. */
bool replay_disk_can_keep_state(Error **errp);

/* Returns: whether the content was kept. */
bool replay_disk_save_state(unsigned number);

/* Returns: true; false with @errp set. */
bool replay_disk_load_state(unsigned number, Error **errp);

void replay_disk_delete_state(unsigned number);

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

/* --- replay-place.c ------------------------------------------------------ */

/**
 * replay_place_parse: understand a text that names a place
 * @text: N or icount=N, packet=N, packet=N,adapter=NETDEV, event=N; borrowed
 *
 * Context: any thread.
 * Returns: the name, owned; NULL with @errp set.
 */
ReplayPlaceName *replay_place_parse(const char *text, Error **errp);

/**
 * replay_place_find: find the place that a user has named
 * @name: borrowed
 * @place: where the replay has to stop for it
 *
 * Context: replay.
 * Returns: true; false with @errp set if the recording has no such place.
 */
bool replay_place_find(const ReplayPlaceName *name, ReplayPlace *place,
                       Error **errp);

/* Returns: whether there is a first place at @icount; then it is *@place. */
bool replay_place_at_icount(uint64_t icount, ReplayPlace *place);

/**
 * replay_place_step_back: find the place from which a step of gdb led to @from
 *
 * A step executes one instruction, or takes one interrupt or exception, and
 * none.  A step that halts the vCPU does not end before an interrupt, but the
 * recording does not tell where the vCPU is halted: at such a place, the caller
 * steps back again.
 *
 * Returns: true; false with @errp set at the beginning of the replay.
 */
bool replay_place_step_back(const ReplayPlace *from, ReplayPlace *place,
                            Error **errp);

void replay_place_close(void);

/* --- replay-checkpoints.c ------------------------------------------------ */

/*
 * A checkpoint of the machine: its whole state at one place of a replay.  The
 * functions are for a replay, in the main loop, with the BQL.
 */

/**
 * replay_checkpoints_configure: take the option rrcheckpoints=
 * @value: borrowed; NULL without the option
 *
 * Exits with a report if @value is wrong.
 */
void replay_checkpoints_configure(const char *value);

/* Somebody looks at the replay: make checkpoints from here on, if allowed. */
void replay_checkpoints_want(void);

/* The machine has begun, runs again (@running), or is stopped. */
void replay_checkpoints_vm_change(bool running);

/*
 * The machine is stopped or paused: make a checkpoint here, if that is wanted,
 * possible and not too near to another.  Returns: whether there is one here.
 */
bool replay_checkpoints_make(void);

/**
 * replay_checkpoints_find: find the last checkpoint before a place
 * @strictly: it must not be at @place itself
 *
 * Returns: whether there is one; then *@found is where.
 */
bool replay_checkpoints_find(const ReplayPlace *place, bool strictly,
                             ReplayPlace *found);

/**
 * replay_checkpoints_load: make the machine what it was at @place
 * @place: found by replay_checkpoints_find()
 *
 * Context: also, the machine is stopped.
 * Returns: true; false with @errp set, and the machine cannot continue.
 */
bool replay_checkpoints_load(const ReplayPlace *place, Error **errp);

/* A snapshot is saved or loaded: the log of changed pages is not complete. */
void replay_checkpoints_forget_pages(void);

/* Returns: owned; NULL if there are none.  For query-replay. */
ReplayCheckpointInfoList *replay_checkpoints_query(void);

void replay_checkpoints_finish(void);

/* --- replay-leave.c ------------------------------------------------------ */

/**
 * replay_leave_configure: take the options rrfrom= and rrat=
 * @opts: -icount, borrowed; its other options were taken
 *
 * Opens the new recording, rrfile=, so that nothing has to be replayed before
 * the user learns that it cannot be written.  Exits with a report if an option
 * is wrong.
 *
 * Context: start-up.
 * Returns: whether rrfrom= was given: this QEMU begins as a replay of it.
 */
bool replay_leave_configure(QemuOpts *opts);

/* The replay begins: find rrat=.  Returns: true; false with @errp set. */
bool replay_leave_begin(Error **errp);

/*
 * QEMU exits: report it if the replay did not come to rrat=.  Returns: whether
 * it came there, or did not have to.
 */
bool replay_leave_finish(void);

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
