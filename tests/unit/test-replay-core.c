/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The core of record and replay alone: count instructions, put and take events,
 * a guest that does something else, the end.
 *
 *   guest_icount --> replay-stream.c --> replay-log-writer.c --> a file
 *                         |
 *                         +--> replay-report.c --> stderr
 *
 * There is no machine, no network and no kind of asynchronous event: what the
 * core asks of QEMU is at the head of this file, and the test is the guest.
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <sys/resource.h>
#include "hw/core/cpu.h"
#include "qapi/error.h"
#include "qemu/timer.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/cpus.h"
#include "sysemu/replay-base.h"
#include "sysemu/runstate.h"
#include "replay/replay-mutex.h"
#include "replay/replay-report.h"
#include "replay/replay-stream.h"

/* --- What the core asks of QEMU ---------------------------------------- */

static int64_t guest_icount;            /* instructions that it has executed */
static RunState wanted_state = RUN_STATE__MAX;  /* of a request to stop */

__thread CPUState *current_cpu;
CPUTailQ cpus_queue = QTAILQ_HEAD_INITIALIZER(cpus_queue);

typeof(use_icount) use_icount = 1;

int64_t icount_get_raw(void)
{
    return guest_icount;
}

/* QEMU_CLOCK_VIRTUAL has no timers here. */
void icount_start_warp_timer(void)
{
    g_assert_not_reached();
}

void icount_notify_exit(void)
{
    g_assert_not_reached();
}

bool runstate_is_running(void)
{
    return true;
}

void qemu_system_vmstop_request_prepare(void)
{
}

void qemu_system_vmstop_request(RunState state)
{
    wanted_state = state;
}

bool qemu_in_vcpu_thread(void)
{
    return false;
}

bool all_cpu_threads_idle(void)
{
    return false;
}

void cpu_exit(CPUState *cpu)
{
    g_assert_not_reached();
}

void qemu_cpu_kick(CPUState *cpu)
{
    g_assert_not_reached();
}

void async_run_on_cpu(CPUState *cpu, run_on_cpu_func func, run_on_cpu_data data)
{
    g_assert_not_reached();
}

/* --- The rig ----------------------------------------------------------- */

static char *dir;
static unsigned ends;                   /* how often the stream has ended */

/* The kind of event that no code makes happen; as the host's shutdown is. */
static bool passes(const ReplayLogEvent *ev)
{
    return ev->kind == REPLAY_EV_SHUTDOWN;
}

static void at_end(void)
{
    ends++;
}

static const ReplayStreamOps stream_ops = {
    .pass = passes,
    .at_end = at_end,
};

static void open_stream(ReplayMode mode)
{
    replay_mode = mode;
    replay_now = (ReplayNow) {
        .next.kind = REPLAY_EV_NONE,
        .options.filename = g_build_filename(dir, "recording", NULL),
        .options.overwrite = true,
        .begun = true,
    };
    guest_icount = 0;
    ends = 0;
    wanted_state = RUN_STATE__MAX;
    replay_report_reset();
    replay_stream_open(&stream_ops, &error_abort);
    if (mode == REPLAY_MODE_RECORD) {
        g_autoptr(ReplayLogDescription) d = replay_log_description_new();

        replay_log_description_add(d, "adapter.n0", "a NIC");
        replay_log_description_add(d, "adapter.n1", "another NIC");
        replay_stream_describe(d, &error_abort);
    }
}

static void close_stream(void)
{
    replay_stream_close(false, &error_abort);
    g_free(replay_now.options.filename);
    replay_now.options.filename = NULL;
    replay_mode = REPLAY_MODE_NONE;
}

static void put_at(int64_t icount, ReplayLogEventKind kind)
{
    guest_icount = icount;
    replay_catch_up();
    replay_put0(kind);
}

/* 100 instructions, interrupt, 150 instructions, clock, exception, clock. */
static void record_some(void)
{
    open_stream(REPLAY_MODE_RECORD);
    put_at(100, REPLAY_EV_INTERRUPT);
    guest_icount = 250;
    replay_catch_up();
    replay_put1(REPLAY_EV_CLOCK_HOST, 4711);
    put_at(250, REPLAY_EV_EXCEPTION);
    replay_put1(REPLAY_EV_CLOCK_HOST, 4712);
    close_stream();
}

static void replay_some(void)
{
    record_some();
    open_stream(REPLAY_MODE_PLAY);
}

static void go_to(int64_t icount)
{
    guest_icount = icount;
    replay_catch_up();
}

static void assert_next(uint8_t kind, uint64_t insns_left)
{
    g_assert_cmpint(replay_now.next.kind, ==, kind);
    g_assert_cmpuint(replay_now.insns_left, ==, insns_left);
}

/* --- Counting ---------------------------------------------------------- */

static void test_record_counts(void)
{
    static const struct {
        uint8_t kind;
        uint64_t num;
        uint64_t icount;
    } expected[] = {
        { REPLAY_EV_INSTRUCTION, 100, 0 },
        { REPLAY_EV_INTERRUPT, 0, 100 },
        { REPLAY_EV_INSTRUCTION, 150, 100 },
        { REPLAY_EV_CLOCK_HOST, 4711, 250 },
        { REPLAY_EV_EXCEPTION, 0, 250 },
        { REPLAY_EV_CLOCK_HOST, 4712, 250 },
    };
    g_autofree char *path = g_build_filename(dir, "recording", NULL);
    ReplayLogReader *r;
    ReplayLogEvent ev;
    size_t i;

    record_some();
    r = replay_log_reader_open(path, &error_abort);
    for (i = 0; i < ARRAY_SIZE(expected); i++) {
        g_assert_cmpint(replay_log_read_event(r, &ev, &error_abort), ==,
                        REPLAY_LOG_OK);
        g_assert_cmpint(ev.kind, ==, expected[i].kind);
        g_assert_cmpuint(ev.icount, ==, expected[i].icount);
        if (ev.n_nums) {
            g_assert_cmpuint(ev.num[0], ==, expected[i].num);
        }
    }
    g_assert_cmpint(replay_log_read_event(r, &ev, NULL), ==, REPLAY_LOG_END);
    replay_log_reader_close(r);
}

static void test_replay_counts(void)
{
    replay_some();
    assert_next(REPLAY_EV_INSTRUCTION, 100);
    go_to(60);
    assert_next(REPLAY_EV_INSTRUCTION, 40);
    g_assert_cmpuint(replay_now.icount, ==, 60);
    go_to(60);
    assert_next(REPLAY_EV_INSTRUCTION, 40);
    go_to(100);
    assert_next(REPLAY_EV_INTERRUPT, 0);
    close_stream();
}

/* The guest executes more than was recorded before an event. */
static void test_replay_too_far(void)
{
    replay_some();
    replay_now.options.stop_on_error = true;
    go_to(101);
    g_assert_true(replay_has_failed());
    assert_next(REPLAY_EV_NONE, 0);
    g_assert_cmpint(wanted_state, ==, RUN_STATE_PAUSED);
    close_stream();
}

/* --- Taking ------------------------------------------------------------ */

static void test_take(void)
{
    replay_some();
    g_assert_true(replay_next_event_is(REPLAY_EV_INSTRUCTION));
    go_to(100);
    g_assert_true(replay_expect(REPLAY_EV_INTERRUPT));
    g_assert_cmpuint(replay_now.pos.event, ==, 1);
    replay_take_next();
    go_to(250);
    g_assert_true(replay_expect(REPLAY_EV_CLOCK_HOST));
    g_assert_cmpuint(replay_now.next.num[0], ==, 4711);
    replay_take_next();
    g_assert_false(replay_next_event_is(REPLAY_EV_CLOCK_HOST));
    g_assert_true(replay_next_event_is(REPLAY_EV_EXCEPTION));
    g_assert_false(replay_has_failed());
    close_stream();
}

/* Asking for an event takes nothing. */
static void test_ask(void)
{
    replay_some();
    go_to(100);
    g_assert_true(replay_next_event_is(REPLAY_EV_INTERRUPT));
    g_assert_true(replay_next_event_is(REPLAY_EV_INTERRUPT));
    g_assert_false(replay_next_event_is(REPLAY_EV_EXCEPTION));
    g_assert_cmpuint(replay_now.pos.event, ==, 1);
    close_stream();
}

static void record_request(void)
{
    open_stream(REPLAY_MODE_RECORD);
    replay_put1(REPLAY_EV_SHUTDOWN, SHUTDOWN_CAUSE_HOST_SIGNAL);
    put_at(10, REPLAY_EV_INTERRUPT);
    replay_put1(REPLAY_EV_SHUTDOWN, SHUTDOWN_CAUSE_HOST_SIGNAL);
    replay_put0(REPLAY_EV_EXCEPTION);
    close_stream();
}

/* Events that the hook passes over are never next once the machine runs. */
static void test_pass(void)
{
    record_request();
    open_stream(REPLAY_MODE_PLAY);
    assert_next(REPLAY_EV_SHUTDOWN, 0);
    replay_stream_pass();
    assert_next(REPLAY_EV_INSTRUCTION, 10);
    go_to(10);
    assert_next(REPLAY_EV_INTERRUPT, 0);
    replay_take_next();
    assert_next(REPLAY_EV_EXCEPTION, 0);
    close_stream();
}

static void test_pass_before_begin(void)
{
    record_request();
    open_stream(REPLAY_MODE_PLAY);
    replay_now.begun = false;
    replay_stream_pass();
    assert_next(REPLAY_EV_SHUTDOWN, 0);
    close_stream();
}

static void test_seek(void)
{
    ReplayLogPos pos;

    replay_some();
    go_to(100);
    pos = replay_now.pos;
    replay_take_next();
    go_to(250);
    assert_next(REPLAY_EV_CLOCK_HOST, 0);

    replay_stream_seek(&pos, &error_abort);
    guest_icount = replay_now.icount = 100;
    assert_next(REPLAY_EV_INTERRUPT, 0);
    replay_take_next();
    assert_next(REPLAY_EV_INSTRUCTION, 150);
    close_stream();
}

/* A failure is over when the replay goes to another place. */
static void test_seek_after_failure(void)
{
    ReplayLogPos pos;

    replay_some();
    replay_now.options.stop_on_error = true;
    go_to(100);
    pos = replay_now.pos;
    g_assert_false(replay_expect(REPLAY_EV_EXCEPTION));
    g_assert_true(replay_has_failed());

    replay_stream_seek(&pos, &error_abort);
    g_assert_false(replay_has_failed());
    g_assert_true(replay_expect(REPLAY_EV_INTERRUPT));
    close_stream();
}

/* --- A guest that does something else ----------------------------------- */

static void test_mismatch_stops(void)
{
    replay_some();
    replay_now.options.stop_on_error = true;
    go_to(100);
    g_assert_false(replay_expect(REPLAY_EV_EXCEPTION));
    g_assert_true(replay_has_failed());
    assert_next(REPLAY_EV_NONE, 0);
    g_assert_cmpint(wanted_state, ==, RUN_STATE_PAUSED);

    /* The guest may execute a little more until it is stopped. */
    wanted_state = RUN_STATE__MAX;
    go_to(120);
    replay_take_next();
    g_assert_false(replay_expect(REPLAY_EV_INTERRUPT));
    g_assert_cmpint(wanted_state, ==, RUN_STATE__MAX);
    close_stream();
}

static void test_mismatch_exits(void)
{
    if (g_test_subprocess()) {
        replay_some();
        go_to(100);
        replay_take_next();
        go_to(250);
        replay_expect(REPLAY_EV_EXCEPTION);
        g_assert_not_reached();
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*the replay of '*recording' ends here: *"
                              "'exception'*'clock-host'*");
    g_test_trap_assert_stderr("*event 3 (clock-host), packet 0, icount 250,*");
    g_test_trap_assert_stderr("*guest: icount 250*");
    g_test_trap_assert_stderr("*0 icount 0 instruction 100\n"
                              "*1 icount 100 interrupt\n"
                              "*2 icount 100 instruction 150\n*");
}

/* --- The end ----------------------------------------------------------- */

static void test_end(void)
{
    replay_some();
    go_to(100);
    replay_take_next();
    go_to(250);
    replay_take_next();
    replay_take_next();
    g_assert_cmpuint(ends, ==, 0);
    replay_take_next();
    g_assert_cmpuint(ends, ==, 1);
    assert_next(REPLAY_EV_NONE, 0);
    g_assert_false(replay_has_failed());
    close_stream();
}

/* The guest has ended the machine, and its recorder went on for a moment. */
static void test_end_before_tail(void)
{
    replay_some();
    go_to(100);
    g_assert_true(replay_stream_close(true, &error_abort));
    g_assert_cmpuint(replay_now.pos.event, ==, 6);
    g_free(replay_now.options.filename);
}

static void test_cut(void)
{
    g_autofree char *path = g_build_filename(dir, "recording", NULL);
    GStatBuf st;

    record_some();
    g_assert_cmpint(g_stat(path, &st), ==, 0);
    g_assert_cmpint(truncate(path, st.st_size - 1), ==, 0);
    open_stream(REPLAY_MODE_PLAY);
    replay_now.options.stop_on_error = true;
    go_to(100);
    replay_take_next();
    go_to(250);
    replay_take_next();
    replay_take_next();
    g_assert_false(replay_has_failed());
    replay_take_next();
    g_assert_true(replay_has_failed());
    g_assert_cmpuint(ends, ==, 0);
    close_stream();
}

/* The file takes nothing for a while: the machine stops, and nothing is lost */
static void test_full_disk(void)
{
    const struct rlimit small = { 1024, RLIM_INFINITY };
    struct rlimit before;
    unsigned i, events;

    getrlimit(RLIMIT_FSIZE, &before);
    open_stream(REPLAY_MODE_RECORD);
    setrlimit(RLIMIT_FSIZE, &small);
    for (events = 0; wanted_state == RUN_STATE__MAX; events++) {
        put_at(guest_icount + 1, REPLAY_EV_INTERRUPT);
        g_assert_cmpuint(events, <, 1000000);
    }
    g_assert_cmpint(wanted_state, ==, RUN_STATE_IO_ERROR);

    /* Still full. */
    wanted_state = RUN_STATE__MAX;
    replay_stream_retry();
    g_assert_cmpint(wanted_state, ==, RUN_STATE_IO_ERROR);

    setrlimit(RLIMIT_FSIZE, &before);
    wanted_state = RUN_STATE__MAX;
    replay_stream_retry();
    g_assert_cmpint(wanted_state, ==, RUN_STATE__MAX);
    close_stream();

    open_stream(REPLAY_MODE_PLAY);
    for (i = 1; i <= events; i++) {
        go_to(i);
        g_assert_true(replay_expect(REPLAY_EV_INTERRUPT));
        replay_take_next();
    }
    g_assert_cmpuint(ends, ==, 1);
    close_stream();
}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    { "record/puts-counts-before-events", test_record_counts },
    { "replay/counts-down-to-the-event", test_replay_counts },
    { "too-many-instructions/fails", test_replay_too_far },
    { "events/are-taken-in-their-order", test_take },
    { "asking/takes-nothing", test_ask },
    { "request-of-the-host/is-passed-over", test_pass },
    { "request-before-the-machine-begins/stays", test_pass_before_begin },
    { "seek/goes-back", test_seek },
    { "seek-after-a-failure/goes-on", test_seek_after_failure },
    { "other-event/stops-the-machine", test_mismatch_stops },
    { "other-event/exits-with-a-report", test_mismatch_exits },
    { "end/is-told-once", test_end },
    { "end-of-the-guest/reads-what-follows", test_end_before_tail },
    { "cut/fails-at-the-cut", test_cut },
    { "full-disk/loses-nothing", test_full_disk },
};

int main(int argc, char **argv)
{
    int status;
    size_t i;

    g_test_init(&argc, &argv, NULL);
    init_clocks(NULL);
    replay_mutex_create();
    dir = g_dir_make_tmp("test-replay-core-XXXXXX", NULL);
    g_assert_nonnull(dir);

    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        g_autofree char *path = g_strconcat("/replay-core/", tests[i].name,
                                            NULL);

        g_test_add_func(path, tests[i].run);
    }
    status = g_test_run();

    if (status == 0) {
        g_autofree char *path = g_build_filename(dir, "recording", NULL);

        g_unlink(path);
        g_rmdir(dir);
    }
    g_free(dir);
    return status;
}
