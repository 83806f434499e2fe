/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The stream of events of the recording that this QEMU writes or reads.
 *
 * replay-log*.c know the bytes of the file; this file decides when they are
 * written and read, and counts instructions.  It handles the count itself
 * (INSTRUCTION) and the end of the recording, but no other kind of event.  Two
 * tables in this layer name other kinds: replay_is_main_loop_event() has those
 * for which the main loop is woken, and replay-report.c those that name an
 * adapter.
 *
 * Theory.  A guest is deterministic between two events if the vCPU executes
 * the same instructions and nothing touches the guest from outside.  So a
 * recording is a sequence of instruction counts and events.  While recording,
 * the caller first brings the count to where the guest is (replay_catch_up),
 * which puts the number of instructions since the last event, and then puts
 * the event.  In a replay, replay_now.next is the next event, and
 * replay_now.insns_left the number of instructions before it.  When these are
 * used up, the code that produces such an event sees that it is next, performs
 * it, and takes it; taking it reads the following event.
 *
 * If writing fails (for example, the disk is full), events are kept in memory
 * and the machine is stopped.  An event that has been in memory for
 * REPLAY_CHUNK_MAX_AGE_NS is written even if its chunk is not full.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-events-replay.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/cpus.h"
#include "sysemu/runstate.h"
#include "replay-report.h"
#include "replay-stop.h"
#include "replay-stream.h"

/* How long an event may be in memory before it is written, ns of the host. */
#define REPLAY_CHUNK_MAX_AGE_NS     (NANOSECONDS_PER_SECOND / 4 * 5)

/* Replay mutex. */
static struct {
    ReplayLogWriter *writer;        /* record: owned */
    ReplayLogReader *reader;        /* replay: owned */
    const ReplayStreamOps *ops;     /* borrowed */
    QEMUTimer *age_timer;           /* record: writes the chunk, full or not */
    ReplayLogInfo info;             /* replay: of the whole recording */
    bool write_failed;              /* reported, and not yet written */
} stream;

/* --- Record: put events ------------------------------------------------- */

/* Writing has failed: report this and stop the machine; nothing is lost. */
static void replay_stream_write_failed(void)
{
    int err = replay_log_writer_error(stream.writer);

    if (stream.write_failed) {
        return;
    }
    stream.write_failed = true;
    error_report("cannot write to the recording '%s': %s",
                 replay_filename(), strerror(err));
    error_printf("The virtual machine stops, and nothing is lost. Make room "
                 "and continue it with 'cont'. If you quit instead, the "
                 "recording can be replayed as far as it was written.\n");
    qapi_event_send_replay_write_error(replay_filename(), strerror(err),
                                       replay_now.icount);
    qemu_system_vmstop_request_prepare();
    qemu_system_vmstop_request(RUN_STATE_IO_ERROR);
}

static void replay_stream_flush(void)
{
    if (!replay_log_writer_flush(stream.writer, NULL)) {
        replay_stream_write_failed();
    }
}

void replay_put(ReplayLogEventKind kind, const uint64_t *num,
                const void *data, size_t len_bytes)
{
    g_assert(replay_mutex_locked());
    if (stream.writer
        && unlikely(!replay_log_write_event(stream.writer, kind, num, data,
                                            len_bytes))) {
        replay_stream_write_failed();
    }
}

void replay_put0(ReplayLogEventKind kind)
{
    replay_put(kind, NULL, NULL, 0);
}

void replay_put1(ReplayLogEventKind kind, uint64_t a)
{
    replay_put(kind, &a, NULL, 0);
}

void replay_put2(ReplayLogEventKind kind, uint64_t a, uint64_t b)
{
    const uint64_t num[] = { a, b };

    replay_put(kind, num, NULL, 0);
}

/* --- Replay: take events ------------------------------------------------ */

/* Reads the event at the reader's place: it becomes the next one. */
static void replay_stream_fetch(void)
{
    ReplayLogStatus status;
    Error *err = NULL;

    replay_now.pos = replay_log_reader_pos(stream.reader);
    replay_now.insns_left = 0;
    status = replay_log_read_event(stream.reader, &replay_now.next, &err);
    replay_now.read_bytes = replay_log_reader_bytes(stream.reader);
    if (status != REPLAY_LOG_OK) {
        replay_now.next.kind = REPLAY_EV_NONE;
    }
    switch (status) {
    case REPLAY_LOG_OK:
        if (replay_now.next.kind == REPLAY_EV_INSTRUCTION) {
            replay_now.insns_left = replay_now.next.num[0];
            if (!replay_now.insns_left) {
                replay_fail(REPLAY_END_REASON_DAMAGED, NULL,
                            "an instruction event that counts no "
                            "instructions");
            }
        }
        return;
    case REPLAY_LOG_END:
        error_free(err);
        replay_report_end();
        stream.ops->at_end();
        return;
    case REPLAY_LOG_DAMAGED:
        replay_fail_err(REPLAY_END_REASON_DAMAGED,
                        "Restore the file from a copy, if you have one.", err);
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

bool replay_next_event_is(ReplayLogEventKind kind)
{
    return replay_now.next.kind == kind;
}

void replay_stream_pass(void)
{
    /*
     * Before the machine runs, keep every event: a shutdown request has no
     * meaning yet.
     */
    while (replay_now.begun && replay_now.next.kind != REPLAY_EV_NONE
           && !replay_is_held() && stream.ops->pass(&replay_now.next)) {
        replay_report_replayed(&replay_now.next);
        replay_stream_fetch();
    }
}

bool replay_is_main_loop_event(uint8_t kind)
{
    switch (kind) {
    /*
     * If guest code makes the request, the vCPU thread takes this event.  But a
     * device may make the guest's request in the main loop.  Then the replay
     * ends without taking the event, so the main loop must not sleep.
     */
    case REPLAY_EV_SHUTDOWN:
    case REPLAY_EV_CHECKPOINT_WARP_START:
    case REPLAY_EV_CHECKPOINT_RESET_REQUESTED:
    case REPLAY_EV_CHECKPOINT_SUSPEND_REQUESTED:
    case REPLAY_EV_CHECKPOINT_CLOCK_HOST:
    case REPLAY_EV_CHECKPOINT_CLOCK_VIRTUAL_RT:
    case REPLAY_EV_CHECKPOINT_RESET:
        return true;
    default:
        return false;
    }
}

void replay_take_next(void)
{
    g_assert(replay_mutex_locked());
    if (replay_has_failed()) {
        return;
    }
    replay_report_replayed(&replay_now.next);
    replay_stream_fetch();
    replay_stream_pass();
    if (replay_is_main_loop_event(replay_now.next.kind)
        && qemu_in_vcpu_thread()) {
        qemu_notify_event();
    }
}

bool replay_expect(ReplayLogEventKind kind)
{
    replay_catch_up();
    if (replay_next_event_is(kind)) {
        return true;
    }
    replay_mismatch(kind);
    return false;
}

/* --- Both: count instructions ------------------------------------------- */

/* Replay: @diff instructions were executed. */
static void replay_consume_instructions(uint64_t diff)
{
    if (diff > replay_now.insns_left) {
        replay_diverge("the guest has executed %" PRIu64 " instructions more "
                       "than recorded before the next event",
                       diff - replay_now.insns_left);
        return;
    }
    replay_now.insns_left -= diff;
    if (replay_now.insns_left == 0) {
        replay_take_next();
    }
}

void replay_put_turn(void)
{
    if (replay_now.turn != replay_now.vcpu) {
        replay_now.vcpu = replay_now.turn;
        replay_put1(REPLAY_EV_VCPU, replay_now.vcpu);
    }
}

void replay_count_to(uint64_t icount)
{
    uint64_t diff = icount - replay_now.icount;

    /* TCG never takes instructions back. */
    g_assert(icount >= replay_now.icount);

    if (diff) {
        replay_now.icount = icount;
        if (replay_mode == REPLAY_MODE_RECORD) {
            replay_put_turn();
            replay_put1(REPLAY_EV_INSTRUCTION, diff);
        } else if (!replay_has_failed()) {
            replay_consume_instructions(diff);
        }
    }
}

/* Returns: whether the instructions that the guest executes now are counted. */
static bool replay_stream_is_counting(void)
{
    if (replay_mode == REPLAY_MODE_RECORD) {
        return replay_stream_is_open();
    }
    return replay_now.insns_left > 0;
}

void replay_catch_up(void)
{
    g_assert(replay_mutex_locked());
    if (replay_stream_is_counting()) {
        replay_count_to(icount_get_raw());
    }
}

/* --- Open, close, go to a place ------------------------------------------ */

ReplayLogWriter *replay_stream_new_writer(const char *filename, Error **errp)
{
    const ReplayOptions *options = &replay_now.options;
    unsigned flags = (options->compress ? REPLAY_LOG_COMPRESS : 0)
                     | (options->overwrite ? REPLAY_LOG_OVERWRITE : 0);

#ifdef SIGXFSZ
    /* A file that reaches its limit is an error to report, not the end. */
    signal(SIGXFSZ, SIG_IGN);
#endif
    return replay_log_writer_open(filename, flags, errp);
}

static bool replay_stream_open_writer(Error **errp)
{
    stream.writer = replay_stream_new_writer(replay_filename(), errp);
    if (!stream.writer) {
        return false;
    }
    replay_now.uuid = *replay_log_writer_uuid(stream.writer);
    return true;
}

static bool replay_stream_open_reader(Error **errp)
{
    stream.reader = replay_log_reader_open(replay_filename(), errp);
    if (!stream.reader) {
        return false;
    }
    replay_now.uuid = *replay_log_reader_uuid(stream.reader);
    replay_now.description = replay_log_reader_description(stream.reader);
    stream.info = replay_log_reader_info(stream.reader);
    replay_stream_fetch();
    return true;
}

bool replay_stream_open(const ReplayStreamOps *ops, Error **errp)
{
    stream.ops = ops;
    return replay_mode == REPLAY_MODE_RECORD ? replay_stream_open_writer(errp)
                                             : replay_stream_open_reader(errp);
}

bool replay_stream_is_open(void)
{
    return stream.writer || stream.reader;
}

static void replay_stream_age(void *opaque)
{
    if (!stream.writer) {
        return;
    }
    if (!stream.write_failed) {
        replay_catch_up();
        replay_stream_flush();
    }
    timer_mod_ns(stream.age_timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME)
                                   + REPLAY_CHUNK_MAX_AGE_NS);
}

static void replay_stream_start_aging(void)
{
    stream.age_timer = timer_new_ns(QEMU_CLOCK_REALTIME, replay_stream_age,
                                    NULL);
    replay_stream_age(NULL);
}

bool replay_stream_describe(const ReplayLogDescription *d, Error **errp)
{
    if (!replay_log_writer_describe(stream.writer, d, errp)) {
        return false;
    }
    replay_stream_start_aging();
    return true;
}

void replay_stream_name_adapter(unsigned number, const char *name)
{
    replay_log_writer_name_adapter(stream.writer, number, name);
}

void replay_stream_retry(void)
{
    if (stream.write_failed) {
        stream.write_failed = false;
        replay_stream_flush();
    }
}

ReplayLogPos replay_stream_pos(void)
{
    return replay_log_writer_pos(stream.writer);
}

bool replay_stream_seek(const ReplayLogPos *pos, Error **errp)
{
    if (!replay_log_reader_seek(stream.reader, pos, errp)) {
        return false;
    }
    replay_now.failed = false;
    replay_report_reset();
    replay_stream_fetch();
    replay_stream_pass();
    return true;
}

/*
 * The guest has ended the machine.  The recorder's main loop saw that a little
 * later, so some events may follow: are they whole, up to the end?
 */
static bool replay_stream_check_end(Error **errp)
{
    ReplayLogStatus status;
    Error *err = NULL;

    do {
        if (replay_now.next.kind != REPLAY_EV_NONE) {
            replay_report_replayed(&replay_now.next);
        }
        replay_now.pos = replay_log_reader_pos(stream.reader);
        status = replay_log_read_event(stream.reader, &replay_now.next, &err);
    } while (status == REPLAY_LOG_OK);
    replay_now.read_bytes = replay_log_reader_bytes(stream.reader);
    replay_now.next.kind = REPLAY_EV_NONE;
    if (status == REPLAY_LOG_END) {
        error_free(err);
        replay_report_end();
        return true;
    }
    error_propagate(errp, err);
    return false;
}

void replay_stream_set_time(uint64_t time_ns)
{
    if (stream.writer) {
        replay_log_writer_set_time(stream.writer, time_ns);
    }
}

bool replay_stream_close(bool guest_ended, Error **errp)
{
    ReplayLogWriter *writer = g_steal_pointer(&stream.writer);
    bool ok = true;

    if (stream.reader && guest_ended && !replay_has_failed()) {
        ok = replay_stream_check_end(errp);
    }

    if (stream.age_timer) {
        timer_free(g_steal_pointer(&stream.age_timer));
    }
    replay_now.description = NULL;
    replay_log_reader_close(g_steal_pointer(&stream.reader));
    if (writer) {
        ok = replay_log_writer_close(writer, errp);
    }
    return ok;
}

void replay_stream_leave(ReplayLogWriter *writer)
{
    replay_now.description = NULL;
    replay_log_reader_close(g_steal_pointer(&stream.reader));
    replay_now.next.kind = REPLAY_EV_NONE;
    replay_now.insns_left = 0;
    /* The next event counts the instructions since the last one. */
    replay_now.icount = replay_now.pos.icount;
    replay_now.turn = replay_now.vcpu;
    replay_mode = REPLAY_MODE_RECORD;
    stream.writer = writer;
    if (writer) {
        replay_now.uuid = *replay_log_writer_uuid(writer);
        replay_stream_start_aging();
    }
}

/* --- How large it is ------------------------------------------------------ */

const ReplayLogInfo *replay_stream_info(void)
{
    return &stream.info;
}

ReplayLogStats replay_stream_stats(void)
{
    return stream.writer ? replay_log_writer_stats(stream.writer)
                         : (ReplayLogStats) { };
}
