/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The recording that this QEMU is writing or reading.
 *
 * replay-log.c knows the file; this file knows the machine: when the machine
 * is complete its description is written or compared, when the disk is full
 * it is stopped, and an event that lies in memory for a second is written.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-events-replay.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "sysemu/replay.h"
#include "sysemu/runstate.h"
#include "replay-internal.h"

/* Replay mutex. */
static struct {
    ReplayLogWriter *writer;        /* record: owned */
    ReplayLogReader *reader;        /* replay: owned */
    QEMUTimer *age_timer;           /* record: the chunk gets too old */
    ReplayLogInfo info;             /* replay: of the whole recording */
    bool write_failed;              /* reported, and not yet written */
} file;

/* --- Record ------------------------------------------------------------ */

/* The file takes nothing: stop the machine, nothing is lost. */
static void replay_file_write_failed(void)
{
    int err = replay_log_writer_error(file.writer);

    if (file.write_failed) {
        return;
    }
    file.write_failed = true;
    error_report("cannot write to the recording '%s': %s",
                 replay_filename(), strerror(err));
    error_printf("The virtual machine stops. Make room and continue it "
                 "('cont'): nothing is lost. If you quit instead, the "
                 "recording can be replayed as far as it was written.\n");
    qapi_event_send_replay_write_error(replay_filename(), strerror(err),
                                       replay_now.icount);
    qemu_system_vmstop_request_prepare();
    qemu_system_vmstop_request(RUN_STATE_IO_ERROR);
}

void replay_put(ReplayLogEventKind kind, const uint64_t *num,
                const void *data, size_t len_bytes)
{
    g_assert(replay_mutex_locked());
    if (file.writer
        && unlikely(!replay_log_write_event(file.writer, kind, num, data,
                                            len_bytes))) {
        replay_file_write_failed();
    }
}

void replay_file_retry(void)
{
    if (!file.write_failed) {
        return;
    }
    file.write_failed = false;
    if (!replay_log_writer_flush(file.writer, NULL)) {
        replay_file_write_failed();
    }
}

static void replay_file_age(void *opaque)
{
    if (!file.writer) {
        return;
    }
    if (!file.write_failed) {
        replay_catch_up();
        if (!replay_log_writer_flush(file.writer, NULL)) {
            replay_file_write_failed();
        }
    }
    timer_mod_ns(file.age_timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME)
                                 + REPLAY_CHUNK_MAX_AGE_NS);
}

static bool replay_file_begin_record(Error **errp)
{
    g_autoptr(ReplayLogDescription) now = replay_machine_describe();

    if (!replay_log_writer_describe(file.writer, now, errp)) {
        return false;
    }
    replay_net_begin(NULL, file.writer);
    file.age_timer = timer_new_ns(QEMU_CLOCK_REALTIME, replay_file_age, NULL);
    replay_file_age(NULL);
    return true;
}

/* --- Replay ------------------------------------------------------------ */

/* Make the event at the reader's place the next one. */
static void replay_fetch_event(void)
{
    ReplayLogStatus status;
    Error *err = NULL;

    replay_now.pos = replay_log_reader_pos(file.reader);
    replay_now.insns_left = 0;
    status = replay_log_read_event(file.reader, &replay_now.next, &err);
    replay_now.read_bytes = replay_log_reader_bytes(file.reader);
    if (status != REPLAY_LOG_OK) {
        replay_now.next.kind = REPLAY_EV_NONE;
    }
    switch (status) {
    case REPLAY_LOG_OK:
        if (replay_now.next.kind == REPLAY_EV_INSTRUCTION) {
            replay_now.insns_left = replay_now.next.num[0];
            if (!replay_now.insns_left) {
                replay_fail(REPLAY_END_REASON_DAMAGED, NULL,
                            "an event of no instructions");
            }
        }
        return;
    case REPLAY_LOG_END:
        error_free(err);
        replay_report_end();
        replay_end_reached();
        return;
    case REPLAY_LOG_DAMAGED:
        replay_fail_err(REPLAY_END_REASON_DAMAGED,
                        "Restore the file from a copy if there is one.", err);
        return;
    case REPLAY_LOG_CUT:
        replay_fail_err(REPLAY_END_REASON_CUT, NULL, err);
        return;
    case REPLAY_LOG_IO_ERROR:
        replay_fail_err(REPLAY_END_REASON_UNREADABLE, NULL, err);
        return;
    }
    g_assert_not_reached();
}

void replay_take_next(void)
{
    g_assert(replay_mutex_locked());
    if (!replay_has_failed()) {
        replay_remember_event(&replay_now.next);
        replay_fetch_event();
        replay_wake_main_loop();
    }
}

bool replay_file_seek(const ReplayLogPos *pos, Error **errp)
{
    if (!replay_log_reader_seek(file.reader, pos, errp)) {
        return false;
    }
    replay_clear_failure();
    replay_fetch_event();
    return true;
}

void replay_file_explain_machine(void)
{
    Error *err = NULL;

    if (file.reader) {
        g_autoptr(ReplayLogDescription) now = replay_machine_describe();

        if (!replay_machine_check(replay_now.description, now, &err)) {
            error_report_err(err);
        }
    }
}

static bool replay_file_begin_replay(Error **errp)
{
    g_autoptr(ReplayLogDescription) now = replay_machine_describe();
    const ReplayLogDescription *recorded = replay_now.description;
    Error *err = NULL;

    if (!replay_machine_check(recorded, now, &err)) {
        if (replay_now.options.check_machine) {
            error_append_hint(&err, "With rrcheck=off this is only a warning: "
                              "the replay goes on as long as it can.\n");
            error_propagate(errp, err);
            return false;
        }
        warn_report_err(err);
    }
    replay_net_begin(recorded, NULL);
    return true;
}

/* --- Both -------------------------------------------------------------- */

bool replay_file_open(Error **errp)
{
    const ReplayOptions *options = &replay_now.options;

    if (replay_mode == REPLAY_MODE_RECORD) {
        unsigned flags = (options->compress ? REPLAY_LOG_COMPRESS : 0)
                         | (options->overwrite ? REPLAY_LOG_OVERWRITE : 0);

#ifdef SIGXFSZ
        /* A file that reaches its limit is an error to report, not the end. */
        signal(SIGXFSZ, SIG_IGN);
#endif
        file.writer = replay_log_writer_open(options->filename, flags, errp);
        if (!file.writer) {
            return false;
        }
        replay_now.uuid = *replay_log_writer_uuid(file.writer);
        return true;
    }

    file.reader = replay_log_reader_open(options->filename, errp);
    if (!file.reader) {
        return false;
    }
    replay_now.uuid = *replay_log_reader_uuid(file.reader);
    replay_now.description = replay_log_reader_description(file.reader);
    file.info = replay_log_reader_info(file.reader);
    replay_fetch_event();
    return true;
}

bool replay_file_is_open(void)
{
    return file.writer || file.reader;
}

const ReplayLogInfo *replay_file_info(void)
{
    return &file.info;
}

ReplayLogStats replay_file_stats(void)
{
    return file.writer ? replay_log_writer_stats(file.writer)
                       : (ReplayLogStats) { };
}

bool replay_file_begin(Error **errp)
{
    return replay_mode == REPLAY_MODE_RECORD ? replay_file_begin_record(errp)
                                             : replay_file_begin_replay(errp);
}

ReplayLogPos replay_file_pos(void)
{
    return replay_log_writer_pos(file.writer);
}

/*
 * The guest has ended the machine by itself.  Its recorder needed a moment to
 * hear of that, so a little may follow; is all of it whole, up to the end?
 */
static bool replay_file_check_end(Error **errp)
{
    ReplayLogStatus status;
    Error *err = NULL;

    do {
        if (replay_now.next.kind != REPLAY_EV_NONE) {
            replay_remember_event(&replay_now.next);
        }
        replay_now.pos = replay_log_reader_pos(file.reader);
        status = replay_log_read_event(file.reader, &replay_now.next, &err);
    } while (status == REPLAY_LOG_OK);
    replay_now.read_bytes = replay_log_reader_bytes(file.reader);
    replay_now.next.kind = REPLAY_EV_NONE;
    if (status == REPLAY_LOG_END) {
        error_free(err);
        replay_report_end();
        return true;
    }
    error_propagate(errp, err);
    return false;
}

bool replay_file_close(bool guest_ended, Error **errp)
{
    ReplayLogWriter *writer = g_steal_pointer(&file.writer);
    bool ok = true;

    if (file.reader && guest_ended && !replay_has_failed()) {
        ok = replay_file_check_end(errp);
    }

    if (file.age_timer) {
        timer_free(g_steal_pointer(&file.age_timer));
    }
    replay_now.description = NULL;
    replay_log_reader_close(g_steal_pointer(&file.reader));
    if (writer) {
        ok = replay_log_writer_close(writer, errp);
    }
    return ok;
}
