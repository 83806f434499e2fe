/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Leaving a replay: from a place on, the machine goes on with its real back
 * ends.  The command replay-leave does so where the replay is, and the options
 * rrfrom= and rrat= of -icount do so at a place that they name.
 *
 * What happens from there on is recorded, if the user names a file.  This new
 * recording begins with a copy of all events that were replayed.  So it needs
 * no snapshot: it can be replayed like any other, from its beginning, and any
 * place in it can be reached.
 *
 * After that, QEMU is a recorder.  It has executed the same instructions and
 * has the same bottom halves and requests under way as the recorder of the old
 * recording had at this place.  If the user names no file, it still works as a
 * recorder does, but nothing is written.
 *
 * For the guest, time goes on, and the network is like a cable that was
 * unplugged for a moment: connections whose other end is gone break.
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qapi/error.h"
#include "qapi/qapi-commands-replay.h"
#include "qapi/qmp/qdict.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qemu/error-report.h"
#include "qemu/option.h"
#include "sysemu/replay.h"
#include "sysemu/runstate.h"
#include "replay-kinds.h"
#include "replay-machine.h"
#include "replay-stream.h"

/* rrfrom= and rrat=; BQL */
static struct {
    ReplayLogWriter *writer;    /* owned; NULL once the replay was left */
    char *filename;             /* of the writer, owned */
    bool is_new;                /* the file was empty or did not exist */
    char *at;                   /* owned */
} leave;

/* --- The new recording --------------------------------------------------- */

static bool replay_leave_is_same_file(const char *a, const char *b)
{
    GStatBuf first, second;

    return g_stat(a, &first) == 0 && g_stat(b, &second) == 0
           && first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

/* Returns: a writer, owned; NULL with @errp set. */
static ReplayLogWriter *replay_leave_open(const char *filename,
                                          const char *from, Error **errp)
{
    if (replay_leave_is_same_file(filename, from)) {
        error_setg(errp, "'%s' is the recording that is replayed", filename);
        error_append_hint(errp, "The new recording needs a file of its "
                          "own.\n");
        return NULL;
    }
    return replay_stream_new_writer(filename, errp);
}

/*
 * Returns: whether @ev is to be copied.  The request of the user that ended the
 * old recorder does not end the new one.
 */
static bool replay_leave_copies(const ReplayLogEvent *ev)
{
    return ev->kind != REPLAY_EV_SHUTDOWN
           || shutdown_caused_by_guest(ev->num[0]);
}

/* Copies description and events up to where the replay is. */
static bool replay_leave_copy(ReplayLogReader *reader, ReplayLogWriter *writer,
                              Error **errp)
{
    const ReplayLogDescription *d = replay_log_reader_description(reader);
    ReplayLogEvent ev;
    const char *name;
    unsigned i;

    if (!replay_log_writer_describe(writer, d, errp)) {
        return false;
    }
    for (i = 0; (name = replay_log_description_adapter(d, i)); i++) {
        replay_log_writer_name_adapter(writer, i, name);
    }
    while (replay_log_reader_pos(reader).event < replay_now.pos.event) {
        if (replay_log_read_event(reader, &ev, errp) != REPLAY_LOG_OK) {
            return false;
        }
        if (replay_leave_copies(&ev)
            && !replay_log_write_event(writer, ev.kind, ev.num, ev.data,
                                       ev.len_bytes)) {
            break;
        }
    }
    return replay_log_writer_flush(writer, errp);
}

/* Returns: true; false with @errp set. */
static bool replay_leave_begin_recording(ReplayLogWriter *writer, Error **errp)
{
    ReplayLogReader *reader = replay_log_reader_open(replay_filename(), errp);
    bool ok = reader && replay_leave_copy(reader, writer, errp);

    replay_log_reader_close(reader);
    return ok;
}

/* --- From a replay to a recorder ----------------------------------------- */

static bool replay_leave_is_possible(Error **errp)
{
    if (replay_mode != REPLAY_MODE_PLAY) {
        error_setg(errp, "only a replay can be left");
    } else if (!replay_has_begun()) {
        error_setg(errp, "the replay has not begun");
        error_append_hint(errp, "Let it go on with 'cont' first.\n");
    } else if (replay_has_failed()) {
        error_setg(errp, "the replay of '%s' has ended and cannot go on",
                   replay_filename());
    } else if (replay_running_debug()) {
        error_setg(errp, "the replay is on its way to another place");
    } else if (runstate_needs_reset()) {
        error_setg(errp, "the guest has shut down the virtual machine");
    } else if (runstate_check(RUN_STATE_SUSPENDED)) {
        error_setg(errp, "the guest has suspended the virtual machine");
    } else {
        return true;
    }
    return false;
}

/*
 * Opens what the machine needs when it is no replay any more.  Returns: true;
 * false with @errp set, and the replay can go on.
 */
static bool replay_leave_prepare(ReplayLogWriter *writer, Error **errp)
{
    return (!writer || replay_leave_begin_recording(writer, errp))
           && replay_rng_open(errp) && replay_netdevs_open(errp);
}

/*
 * The replay becomes a recorder.
 * @writer: owned; NULL: nothing is recorded
 * @filename: of the writer, owned; or NULL
 */
static void replay_leave_now(ReplayLogWriter *writer, char *filename)
{
    Error *err = NULL;

    replay_stop_nowhere();
    replay_release();
    replay_shutdown_forget();
    replay_checkpoints_finish();
    replay_place_close();
    if (!replay_net_capture_end(&err)) {
        warn_report_err(err);
    }
    replay_clocks_leave();
    replay_stream_leave(writer);
    if (writer) {
        g_free(replay_now.options.filename);
        replay_now.options.filename = filename;
    } else {
        replay_now.left = true;
    }
    replay_netdevs_leave();
    replay_rng_leave();
}

/*
 * @writer: owned, unless the function fails
 * Returns: true; false with @errp set, and the machine runs if it did.
 */
static bool replay_leave(ReplayLogWriter *writer, const char *filename,
                         Error **errp)
{
    bool was_running = runstate_is_running();
    bool ok;

    replay_hold();
    if (was_running) {
        vm_stop(RUN_STATE_PAUSED);
    }
    ok = replay_leave_prepare(writer, errp);
    if (ok) {
        replay_leave_now(writer, g_strdup(filename));
    }
    if (was_running) {
        vm_start();
    }
    return ok;
}

/* --- Commands ------------------------------------------------------------ */

void qmp_replay_leave(const char *file, Error **errp)
{
    ReplayLogWriter *writer = NULL;

    if (!replay_leave_is_possible(errp)) {
        return;
    }
    if (file) {
        writer = replay_leave_open(file, replay_filename(), errp);
        if (!writer) {
            return;
        }
    }
    if (!replay_leave(writer, file, errp) && writer) {
        replay_log_writer_close(writer, NULL);
        g_unlink(file);
    }
}

void hmp_replay_leave(Monitor *mon, const QDict *qdict)
{
    Error *err = NULL;

    qmp_replay_leave(qdict_get_try_str(qdict, "file"), &err);
    hmp_handle_error(mon, err);
}

/* --- rrfrom= and rrat= --------------------------------------------------- */

bool replay_leave_configure(QemuOpts *opts)
{
    const char *from = qemu_opt_get(opts, "rrfrom");
    const char *at = qemu_opt_get(opts, "rrat");
    const char *filename = qemu_opt_get(opts, "rrfile");
    Error *err = NULL;

    if (!from && !at) {
        return false;
    }
    if (!from || !at) {
        error_report("-icount rrfrom= and rrat= need each other");
        error_printf("rrfrom=OLD,rrat=packet=N replays the recording OLD up to "
                     "its packet N, and records from there on.\n");
        exit(EXIT_FAILURE);
    }
    leave.is_new = !g_file_test(filename, G_FILE_TEST_EXISTS);
    leave.writer = replay_leave_open(filename, from, &err);
    if (!leave.writer) {
        error_report_err(err);
        exit(EXIT_FAILURE);
    }
    leave.filename = g_strdup(filename);
    leave.at = g_strdup(at);
    return true;
}

static void replay_leave_arrived(void *opaque)
{
    Error *err = NULL;

    if (replay_leave_is_possible(&err)
        && replay_leave(leave.writer, leave.filename, &err)) {
        info_report("the replay has come to %s, and is being recorded from "
                    "here on", leave.at);
        leave.writer = NULL;
        return;
    }
    error_reportf_err(err, "the replay cannot be left at %s: ", leave.at);
    exit(EXIT_FAILURE);
}

bool replay_leave_begin(Error **errp)
{
    ERRP_GUARD();
    g_autoptr(ReplayPlaceName) name = NULL;
    ReplayPlace place;

    if (!leave.writer) {
        return true;
    }
    name = replay_place_parse(leave.at, errp);
    if (!name || !replay_place_find(name, &place, errp)) {
        error_prepend(errp, "-icount rrat=%s: ", leave.at);
        return false;
    }
    replay_stop_at(&place, replay_leave_arrived);
    return true;
}

bool replay_leave_finish(void)
{
    if (!leave.writer) {
        return true;
    }
    error_report("the replay has ended before rrat=%s, and nothing was "
                 "recorded", leave.at);
    replay_log_writer_close(g_steal_pointer(&leave.writer), NULL);
    if (leave.is_new) {
        g_unlink(leave.filename);
    }
    return false;
}
