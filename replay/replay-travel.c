/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Travel in a replay: the commands replay-break and replay-seek, and gdb's
 * steps backwards.
 *
 * To go to a place, the replay loads the last checkpoint of the machine before
 * the place (replay-checkpoints.c), unless it is between the two itself, and
 * then runs up to the place.  Without such a checkpoint it loads a snapshot
 * that the user has saved.
 *
 * To find the last breakpoint or watchpoint that was hit before a place, it
 * runs from the last checkpoint before the place up to it, and notes each hit.
 * If there is none, it does the same with the part before this checkpoint, and
 * so on.  So each part is run once, and in the end the part of the hit again.
 *
 * While the replay travels, gdb's breakpoints do not stop it.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-replay.h"
#include "qapi/qmp/qdict.h"
#include "block/snapshot.h"
#include "exec/gdbstub.h"
#include "hw/core/cpu.h"
#include "migration/snapshot.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "sysemu/replay.h"
#include "sysemu/runstate.h"
#include "replay-events.h"
#include "replay-machine.h"
#include "replay-stream.h"

/*
 * A step backwards whose way is longer than this makes a checkpoint this number
 * of instructions before its goal, so that the next steps are fast.
 */
#define NEAR_INSNS      20000

/* BQL */
static struct {
    bool active;                /* on the way; breakpoints do not stop it */
    RunState state;             /* of the machine when it has arrived */
    ReplayPlace goal;
    bool is_step;               /* the goal is where a step of gdb ended */
    bool is_silent;             /* gdb does not wait for the arrival */

    bool searching;             /* note the breakpoints that are hit */
    ReplayPlace part_start;     /* of the part that is searched */
    ReplayPlace part_end;
    bool found;
    ReplayPlace hit;            /* the last one */
} travel;

/* --- Loading an earlier state -------------------------------------------- */

/*
 * Returns: the name of the last snapshot that the user has saved before
 * @icount, owned; NULL if there is none.
 */
static char *replay_travel_find_snapshot(uint64_t icount)
{
    BlockDriverState *bs = bdrv_all_find_vmstate_bs(NULL, false, NULL, NULL);
    g_autofree QEMUSnapshotInfo *list = NULL;
    const QEMUSnapshotInfo *last = NULL;
    int i, n = bs ? bdrv_snapshot_list(bs, &list) : 0;

    for (i = 0; i < n; i++) {
        if (list[i].vm_state_size && list[i].icount < MAX(icount, 1)
            && (!last || list[i].icount > last->icount)
            && bdrv_all_has_snapshot(list[i].name, false, NULL, NULL) == 1) {
            last = &list[i];
        }
    }
    return last ? g_strdup(last->name) : NULL;
}

/*
 * Loads the last state before @place, or with @or_at, at @place.  If there is
 * none, the machine runs on if it does.
 *
 * Returns: true; false with @errp set.
 */
static bool replay_travel_load(const ReplayPlace *place, bool or_at,
                               Error **errp)
{
    g_autofree char *snapshot = NULL;
    ReplayPlace found;

    if (replay_checkpoints_find(place, !or_at, &found)) {
        vm_stop(RUN_STATE_RESTORE_VM);
        return replay_checkpoints_load(&found, errp);
    }
    snapshot = replay_travel_find_snapshot(place->icount);
    if (snapshot) {
        vm_stop(RUN_STATE_RESTORE_VM);
        return load_snapshot(snapshot, NULL, false, NULL, errp);
    }
    if (replay_disk_can_keep_state(errp)) {
        error_setg(errp, "the replay cannot go back to icount %" PRIu64 ": it "
                   "has no checkpoint before this place", place->icount);
        error_append_hint(errp, "Start the replay with -icount "
                          "rrcheckpoints=on, or with -S.\n");
    }
    return false;
}

/* --- Going to a place ---------------------------------------------------- */

static void replay_travel_end(RunState state)
{
    travel.active = travel.is_silent;
    travel.searching = false;
    replay_hold();
    if (state == RUN_STATE_DEBUG) {
        gdb_set_stop_cpu(replay_vcpu_current());
    }
    if (!runstate_is_running()) {
        /* From RUN_STATE_RESTORE_VM a machine can go nowhere else. */
        vm_start();
        replay_hold();
    }
    vm_stop(state);
    travel.active = false;
    travel.is_silent = false;
    replay_stop_nowhere();
}

static void replay_travel_run(const ReplayPlace *goal, QEMUTimerCB *arrived)
{
    travel.active = true;
    replay_stop_at(goal, arrived);
    if (runstate_needs_reset()) {
        /* The machine had shut down; the state that was loaded has not. */
        runstate_set(RUN_STATE_PAUSED);
    }
    vm_start();
}

/* Returns: whether the replay has to load a state in order to get to @goal. */
static bool replay_travel_has_to_load(const ReplayPlace *goal)
{
    ReplayPlace here = replay_here();
    ReplayPlace found;

    return replay_place_compare(&here, goal) > 0 || replay_has_failed()
           || replay_next_event_is(REPLAY_EV_NONE)
           || (replay_checkpoints_find(goal, false, &found)
               && replay_place_compare(&found, &here) > 0);
}

static void replay_travel_arrived(void *opaque);

/* Near the goal of a step backwards: make a checkpoint for the next ones. */
static void replay_travel_is_near(void *opaque)
{
    vm_stop(RUN_STATE_RESTORE_VM);
    replay_checkpoints_make();
    replay_travel_run(&travel.goal, replay_travel_arrived);
}

/* Returns: whether to stop at *@near on the way. */
static bool replay_travel_stops_near(ReplayPlace *near)
{
    ReplayPlace here = replay_here();

    return travel.is_step
           && travel.goal.icount > here.icount + 2 * NEAR_INSNS
           && replay_place_at_icount(travel.goal.icount - NEAR_INSNS, near);
}

/*
 * Starts on the way to @goal, where the machine stops in @state.
 *
 * Returns: true; false with @errp set.
 */
static bool replay_travel_go(const ReplayPlace *goal, RunState state,
                             bool is_step, Error **errp)
{
    ReplayPlace near;

    if (replay_travel_has_to_load(goal)
        && !replay_travel_load(goal, true, errp)) {
        return false;
    }
    travel.searching = false;
    travel.goal = *goal;
    travel.state = state;
    travel.is_step = is_step;
    if (replay_travel_stops_near(&near)) {
        replay_travel_run(&near, replay_travel_is_near);
    } else {
        replay_travel_run(goal, replay_travel_arrived);
    }
    return true;
}

static void replay_travel_arrived(void *opaque)
{
    replay_travel_end(travel.state);
}

/* --- Backwards under gdb ------------------------------------------------- */

bool replay_running_debug(void)
{
    return travel.active;
}

bool replay_reverse_step(void)
{
    ReplayPlace here = replay_here();
    ReplayPlace before;

    return replay_place_step_back(&here, &before, NULL)
           && replay_travel_go(&before, RUN_STATE_DEBUG, true, NULL);
}

void replay_breakpoint(void)
{
    bool is_watchpoint = current_cpu->running;
    ReplayPlace here;

    if (is_watchpoint) {
        replay_catch_up();
    }
    here = replay_here();
    /*
     * A watchpoint stops the machine behind the instruction, which may be where
     * the search has begun.
     */
    if (travel.searching
        && replay_place_compare(&here, &travel.part_end) < 0
        && !(is_watchpoint && here.icount >= travel.part_end.icount)) {
        travel.found = true;
        travel.hit = here;
    }
}

static void replay_travel_searched(void *opaque);

/* Returns: whether the search of the part before @end has begun. */
static bool replay_travel_search(const ReplayPlace *end, Error **errp)
{
    if (!replay_travel_load(end, false, errp)) {
        return false;
    }
    travel.part_start = replay_here();
    travel.part_end = *end;
    travel.found = false;
    travel.searching = true;
    replay_travel_run(end, replay_travel_searched);
    return true;
}

/* The replay is at the end of the part that it has searched. */
static void replay_travel_searched(void *opaque)
{
    ReplayPlace start = travel.part_start;
    ReplayPlace goal = travel.found ? travel.hit : start;
    CPUState *cpu;

    vm_stop(RUN_STATE_RESTORE_VM);
    CPU_FOREACH(cpu) {
        cpu_single_step(cpu, 0);
    }
    if (!travel.found && replay_travel_search(&start, NULL)) {
        return;
    }
    if (!replay_travel_go(&goal, RUN_STATE_DEBUG, false, NULL)) {
        replay_travel_end(RUN_STATE_DEBUG);
    }
}

bool replay_reverse_continue(void)
{
    ReplayPlace here = replay_here();

    return replay_travel_search(&here, NULL);
}

void replay_gdb_stops(void)
{
    replay_hold();
}

void replay_gdb_attached(void)
{
    if (replay_mode == REPLAY_MODE_PLAY) {
        replay_checkpoints_want();
    }
}

/* --- Commands ------------------------------------------------------------ */

static bool replay_travel_is_possible(Error **errp)
{
    if (replay_mode != REPLAY_MODE_PLAY) {
        error_setg(errp, "only a replay can stop at a place or go to it");
        return false;
    }
    replay_checkpoints_want();
    return true;
}

static void replay_break_arrived(void *opaque)
{
    replay_travel_end(RUN_STATE_PAUSED);
}

void qmp_replay_break(ReplayPlaceName *name, Error **errp)
{
    ReplayPlace here, place;

    if (!replay_travel_is_possible(errp)
        || !replay_place_find(name, &place, errp)) {
        return;
    }
    here = replay_here();
    if (replay_place_compare(&place, &here) < 0) {
        error_setg(errp, "the replay has passed this place already: it is at "
                   "icount %" PRIu64 ", event %" PRIu64, here.icount,
                   here.event);
        error_append_hint(errp, "replay-seek goes back.\n");
        return;
    }
    replay_stop_at(&place, replay_break_arrived);
}

void qmp_replay_delete_break(Error **errp)
{
    if (replay_travel_is_possible(errp)) {
        replay_stop_nowhere();
    }
}

void qmp_replay_seek(ReplayPlaceName *name, Error **errp)
{
    ReplayPlace place;

    if (replay_travel_is_possible(errp)
        && replay_place_find(name, &place, errp)) {
        travel.is_silent = !runstate_is_running();
        replay_travel_go(&place, RUN_STATE_PAUSED, false, errp);
    }
}

/* Calls @command with the place that the user has typed. */
static void replay_travel_hmp(Monitor *mon, const QDict *args,
                              void (*command)(ReplayPlaceName *, Error **))
{
    ReplayPlaceName *name = NULL;
    Error *err = NULL;

    name = replay_place_parse(qdict_get_str(args, "place"), &err);
    if (name) {
        command(name, &err);
        qapi_free_ReplayPlaceName(name);
    }
    hmp_handle_error(mon, err);
}

void hmp_replay_break(Monitor *mon, const QDict *qdict)
{
    replay_travel_hmp(mon, qdict, qmp_replay_break);
}

void hmp_replay_delete_break(Monitor *mon, const QDict *qdict)
{
    Error *err = NULL;

    qmp_replay_delete_break(&err);
    hmp_handle_error(mon, err);
}

void hmp_replay_seek(Monitor *mon, const QDict *qdict)
{
    replay_travel_hmp(mon, qdict, qmp_replay_seek);
}
