/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The life of a recording: the -icount options, the beginning when the machine
 * first runs, the end however QEMU exits; and the table of all kinds of
 * asynchronous events.
 *
 *   replay_configure   start-up: options; the file is opened
 *   replay_start       the devices of the command line exist: events are queued
 *   replay_begin       the machine first runs: its description is written or
 *                      compared
 *   replay_finish      QEMU's normal exit: the recording gets its end
 *   replay_at_exit     the same for exit() anywhere else
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/option.h"
#include "hw/core/cpu.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/replay-base.h"
#include "sysemu/replay.h"
#include "sysemu/runstate.h"
#include "sysemu/sysemu.h"
#include "replay-events.h"
#include "replay-kinds.h"
#include "replay-machine.h"
#include "replay-mutex.h"
#include "replay-stream.h"

static struct {
    /* The last one, borrowed; or NULL.  Main thread, before the guest runs. */
    const char *blocker;
    /*
     * the end could not be written or, in a replay, read.  The thread that ends
     * QEMU sets it; the main thread reads it later, without a lock.
     */
    bool incomplete;
} life;

/* All kinds of asynchronous events. */
static const ReplayEventOps *const kinds[] = {
    &replay_bh_ops,
    &replay_bh_oneshot_ops,
    &replay_block_ops,
    &replay_input_ops,
    &replay_input_sync_ops,
    &replay_char_read_ops,
    &replay_char_mux_ops,
    &replay_char_break_ops,
    &replay_net_ops,
    &replay_link_ops,
    &replay_request_ops,
    &replay_rng_ops,
    NULL,
};

static const ReplayStreamOps stream_ops = {
    .pass = replay_shutdown_pass,
    .at_end = replay_shutdown_at_end,
};

/* --- The life of a recording ------------------------------------------- */

/* The machine is complete: describe it, or compare it with the recorded one. */
static bool replay_begin(Error **errp)
{
    g_autoptr(ReplayLogDescription) now = NULL;
    Error *err = NULL;

    if (!replay_devices_check(errp)) {
        return false;
    }
    if (!replay_disk_begin(errp)) {
        return false;
    }
    if (replay_mode == REPLAY_MODE_PLAY) {
        replay_net_restore_links();
    }
    now = replay_machine_describe();
    if (replay_mode == REPLAY_MODE_RECORD) {
        if (!replay_stream_describe(now, errp)) {
            return false;
        }
    } else {
        replay_arguments_compare(replay_now.description, now);
    }
    if (replay_mode == REPLAY_MODE_PLAY && !replay_machine_check(now, &err)) {
        if (replay_now.options.check_machine) {
            error_append_hint(&err, "With rrcheck=off this is only a warning, "
                              "and QEMU replays as far as possible.\n");
            error_propagate(errp, err);
            return false;
        }
        warn_report_err(err);
    }
    replay_net_begin(replay_now.description);
    return replay_net_capture_begin(errp) && replay_leave_begin(errp);
}

/*
 * The machine starts to run.  When it does so for the first time it is
 * complete, whether it was made on the command line or through QMP.
 */
static void replay_vm_state_change(void *opaque, bool running, RunState state)
{
    Error *err = NULL;

    if (replay_mode == REPLAY_MODE_NONE) {
        return;
    }
    if (!running) {
        replay_checkpoints_vm_change(false);
        return;
    }
    replay_release();
    if (!replay_now.begun) {
        replay_now.begun = true;
        if (!replay_begin(&err)) {
            error_report_err(err);
            exit(EXIT_FAILURE);
        }
        replay_info_start();
    } else if (replay_mode == REPLAY_MODE_RECORD) {
        replay_stream_retry();
    } else if (replay_has_failed()) {
        error_report("the replay of '%s' has ended and cannot be continued",
                     replay_filename());
    }
    replay_checkpoints_vm_change(true);
    if (replay_mode == REPLAY_MODE_PLAY) {
        replay_stream_pass();
    }
    if (replay_has_failed()) {
        /* The replay may have failed before a machine could be stopped. */
        qemu_system_vmstop_request_prepare();
        qemu_system_vmstop_request(RUN_STATE_PAUSED);
    }
}

/* No more events; the recording gets its end. */
static void replay_close(void)
{
    Error *err = NULL;

    if (replay_mode == REPLAY_MODE_RECORD && replay_mutex_locked()
        && replay_now.begun) {
        replay_catch_up();
        replay_shutdown_finish();
        replay_stream_set_time(qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL));
    }
    replay_info_stop();
    replay_checkpoints_finish();
    replay_place_close();
    life.incomplete |= !replay_leave_finish();
    if (!replay_stream_close(replay_shutdown_is_by_guest(), &err)) {
        error_report_err(err);
        life.incomplete = true;
    }
    err = NULL;
    if (!replay_net_capture_end(&err)) {
        error_report_err(err);
        life.incomplete = true;
    }
    replay_char_finish();
}

/*
 * QEMU exits other than through its main loop: a device ends it, or a replay
 * cannot go on.  The machine stays as it is, and no event runs any more.
 */
static void replay_at_exit(void)
{
    if (replay_mode == REPLAY_MODE_NONE) {
        return;
    }
    if (!bql_locked()) {
        /* No other thread may go on once replay_mutex_lock() does nothing. */
        bql_lock();
    }
    if (replay_mode == REPLAY_MODE_PLAY && current_cpu && current_cpu->running
        && !replay_has_failed()) {
        /* A device ends QEMU: the recorder has written its end here. */
        replay_catch_up();
        replay_shutdown_in_device();
    }
    replay_close();
    replay_mode = REPLAY_MODE_NONE;
}

/*
 * Returns: the index in @names, which ends with NULL, of the option's value;
 * @by_default without the option.  Exits if the value is not in @names.
 */
static int replay_opt_choice(QemuOpts *opts, const char *option,
                             const char *const names[], int by_default)
{
    const char *value = qemu_opt_get(opts, option);
    g_autofree char *list = NULL;
    int i;

    if (!value) {
        return by_default;
    }
    for (i = 0; names[i]; i++) {
        if (g_str_equal(value, names[i])) {
            return i;
        }
    }
    list = g_strjoinv("' or '", (char **)names);
    error_report("-icount %s='%s' is not valid", option, value);
    error_printf("It must be '%s'.\n", list);
    exit(EXIT_FAILURE);
}

/* A number of seconds, up to a day; 0 if it is not given.  Exits if wrong. */
static unsigned replay_opt_seconds(QemuOpts *opts, const char *option)
{
    const char *value = qemu_opt_get(opts, option);
    unsigned seconds = 0;

    if (value && (qemu_strtoui(value, NULL, 10, &seconds) < 0
                  || seconds < 1 || seconds > 24 * 60 * 60)) {
        error_report("-icount %s='%s' is not a number of seconds", option,
                     value);
        error_printf("It must be a number from 1 to 86400.\n");
        exit(EXIT_FAILURE);
    }
    return seconds;
}

static void replay_warn_without_rr(QemuOpts *opts)
{
    static const char *const needs_rr[] = {
        "rrfile", "rrsnapshot", "rrcompress", "rroverwrite", "rrerror",
        "rrcheck", "rrunsafe", "rrprogress", "rrpcap",
        "rrcheckpoints", "rrfrom", "rrat",
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(needs_rr); i++) {
        if (qemu_opt_get(opts, needs_rr[i])) {
            warn_report("-icount %s= has no effect without rr=record or "
                        "rr=replay", needs_rr[i]);
        }
    }
}

static void replay_configure_opts(QemuOpts *opts)
{
    enum { RR_RECORD, RR_REPLAY };
    enum { COMPRESS_ZLIB, COMPRESS_NONE };
    enum { ERROR_EXIT, ERROR_STOP };
    static const char *const rr_names[] = {
        [RR_RECORD] = "record", [RR_REPLAY] = "replay", NULL
    };
    static const char *const compress_names[] = {
        [COMPRESS_ZLIB] = "zlib", [COMPRESS_NONE] = "none", NULL
    };
    static const char *const error_names[] = {
        [ERROR_EXIT] = "exit", [ERROR_STOP] = "stop", NULL
    };
    ReplayOptions *options = &replay_now.options;
    const char *filename;
    Error *err = NULL;
    int rr = replay_opt_choice(opts, "rr", rr_names, -1);

    if (rr < 0) {
        replay_warn_without_rr(opts);
        return;
    }

    filename = qemu_opt_get(opts, "rrfile");
    if (!filename || !*filename) {
        error_report("-icount rr=%s needs the name of the recording",
                     rr_names[rr]);
        error_printf("Add rrfile=FILENAME to the same option.\n");
        exit(EXIT_FAILURE);
    }
    options->compress = replay_opt_choice(opts, "rrcompress", compress_names,
                                          COMPRESS_ZLIB) == COMPRESS_ZLIB;
    options->stop_on_error = replay_opt_choice(opts, "rrerror", error_names,
                                               ERROR_EXIT) == ERROR_STOP;
    options->overwrite = qemu_opt_get_bool(opts, "rroverwrite", false);
    options->check_machine = qemu_opt_get_bool(opts, "rrcheck", true);
    options->allow_unsafe = qemu_opt_get_bool(opts, "rrunsafe", false);
    options->progress_seconds = replay_opt_seconds(opts, "rrprogress");

    if (rr == RR_RECORD && replay_leave_configure(opts)) {
        rr = RR_REPLAY;
        filename = qemu_opt_get(opts, "rrfrom");
    }
    options->capture = g_strdup(qemu_opt_get(opts, "rrpcap"));
    if (options->capture && rr == RR_RECORD) {
        error_report("-icount rrpcap= has no effect with rr=record");
        error_printf("A replay writes the capture; qemu-replay pcap writes "
                     "one without a replay.\n");
        exit(EXIT_FAILURE);
    }

    options->filename = g_strdup(filename);
    replay_snapshot = g_strdup(qemu_opt_get(opts, "rrsnapshot"));
    replay_checkpoints_configure(qemu_opt_get(opts, "rrcheckpoints"));
    replay_snapshot_register();
    replay_nics_register();
    replay_pending_register();

    replay_mode = rr == RR_RECORD ? REPLAY_MODE_RECORD : REPLAY_MODE_PLAY;
    replay_mutex_create();
    if (!replay_stream_open(&stream_ops, &err)) {
        replay_mode = REPLAY_MODE_NONE;
        error_report_err(err);
        exit(EXIT_FAILURE);
    }
    atexit(replay_at_exit);

    /* Before other handlers, which may give packets and bytes to the guest. */
    qemu_add_vm_change_state_handler_prio(replay_vm_state_change, NULL,
                                          INT_MIN);
}

void replay_configure(QemuOpts *opts)
{
    Location loc;

    if (opts) {
        loc_push_none(&loc);
        qemu_opts_loc_restore(opts);
        replay_configure_opts(opts);
        loc_pop(&loc);
    }
}

void replay_start(void)
{
    if (replay_mode == REPLAY_MODE_NONE) {
        return;
    }
    if (life.blocker) {
        error_report("this machine cannot be recorded or replayed with %s",
                     life.blocker);
        exit(EXIT_FAILURE);
    }
    if (runstate_check(RUN_STATE_INMIGRATE)) {
        error_report("a machine that is migrated to this QEMU cannot be "
                     "recorded or replayed");
        error_printf("Remove -incoming. A recording can begin at a snapshot "
                     "(rrsnapshot=).\n");
        exit(EXIT_FAILURE);
    }
    if (!icount_enabled()) {
        error_report("record and replay need the instruction counter");
        error_printf("Add shift=auto or shift=N to the -icount option.\n");
        exit(EXIT_FAILURE);
    }
    replay_events_start(kinds);
    if (!autostart && replay_mode == REPLAY_MODE_PLAY) {
        replay_checkpoints_want();
    }
}

void replay_finish(void)
{
    if (replay_mode == REPLAY_MODE_NONE) {
        return;
    }
    replay_close();
    replay_events_stop();
    replay_net_finish();
    replay_mode = REPLAY_MODE_NONE;

    g_free(replay_now.options.filename);
    replay_now.options.filename = NULL;
    g_free(replay_now.options.capture);
    replay_now.options.capture = NULL;
    g_free(replay_snapshot);
    replay_snapshot = NULL;
}

int replay_exit_status(int status)
{
    return status == EXIT_SUCCESS && (life.incomplete || replay_has_failed())
           ? EXIT_FAILURE : status;
}

void replay_add_blocker(const char *feature)
{
    life.blocker = feature;
}
