/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The one place that says that a replay has ended, and how: with its
 * recording, or because it cannot go on.  Then QEMU exits with status 1, or
 * the machine is paused with monitor and gdb alive, as -icount rrerror= says.
 *
 * The report has two faces with the same content: lines on stderr, and the QMP
 * events REPLAY_DIVERGED and REPLAY_ENDED.  Its size is bounded.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-events-replay.h"
#include "qapi/qapi-visit-replay.h"
#include "hw/core/cpu.h"
#include "qemu/error-report.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/runstate.h"
#include "trace.h"
#include "replay-report.h"

/* How many events a report looks back. */
#define LAST_EVENTS     16

#define DIVERGED_REMEDY \
    "Replay with the QEMU, the machine, the kernel and the disk images that " \
    "the recording was made with."

/* Replay mutex. */
static struct {
    bool ended;                         /* said once */
    ReplayLogEvent last[LAST_EVENTS];   /* ring; their data is gone */
    uint64_t remembered;                /* all events that were put into it */
    /* What the guest makes now; REPLAY_EV_NONE if nobody has said so. */
    uint8_t came;
    const char *came_adapter;           /* borrowed; or NULL */
    uint64_t came_packet;
} report = { .came = REPLAY_EV_NONE };

void replay_report_reset(void)
{
    report.ended = false;
    report.remembered = 0;
}

void replay_report_guest_event(ReplayLogEventKind kind, const char *adapter,
                               uint64_t packet)
{
    report.came = kind;
    report.came_adapter = adapter;
    report.came_packet = packet;
}

void replay_report_replayed(const ReplayLogEvent *ev)
{
    report.came = REPLAY_EV_NONE;

    report.last[report.remembered++ % LAST_EVENTS] = *ev;
}

static const char *replay_kind_name(uint8_t kind)
{
    return replay_log_event_name(kind) ?: "none";
}

/* The adapter that an event is about, or NULL; borrowed. */
static const char *replay_event_adapter(const ReplayLogEvent *ev)
{
    switch (ev->kind) {
    case REPLAY_EV_ASYNC_NET:
    case REPLAY_EV_NET_SENT:
    case REPLAY_EV_NET_SENT_DATA:
        return replay_now.description
               ? replay_log_description_adapter(replay_now.description,
                                                ev->num[0]) : NULL;
    default:
        return NULL;
    }
}

/* Returns: an owned line: "1234 icount 5678 async-net n0 0 (60 bytes)". */
static char *replay_event_line(const ReplayLogEvent *ev)
{
    g_autoptr(GString) line = g_string_new(NULL);
    const char *adapter = replay_event_adapter(ev);
    unsigned i;

    g_string_printf(line, "%" PRIu64 " icount %" PRIu64 " %s", ev->number,
                    ev->icount, replay_kind_name(ev->kind));
    if (adapter) {
        g_string_append_printf(line, " %s", adapter);
    }
    for (i = adapter ? 1 : 0; i < ev->n_nums; i++) {
        g_string_append_printf(line, " %" PRId64, (int64_t)ev->num[i]);
    }
    if (ev->data) {
        g_string_append_printf(line, " (%zu bytes)", ev->len_bytes);
    }
    return g_string_free(g_steal_pointer(&line), false);
}

static strList *replay_last_events(void)
{
    strList *list = NULL;
    strList **tail = &list;
    uint64_t i = report.remembered;

    for (i -= MIN(i, LAST_EVENTS); i < report.remembered; i++) {
        QAPI_LIST_APPEND(tail, replay_event_line(&report.last[i
                                                              % LAST_EVENTS]));
    }
    return list;
}

/* Where recording and guest are.  Returns: owned. */
static ReplayEndInfo *replay_end_info(ReplayEndReason reason,
                                      const char *message)
{
    const ReplayLogEvent *ev = &replay_now.next;
    ReplayEndInfo *info = g_new0(ReplayEndInfo, 1);
    const char *adapter = replay_event_adapter(ev);
    CPUState *cpu = current_cpu ?: first_cpu;

    info->filename = g_strdup(replay_filename());
    info->reason = reason;
    info->message = g_strdup(message);
    info->expected = g_strdup(replay_kind_name(ev->kind));
    info->event = replay_now.pos.event;
    info->packet = replay_now.pos.packet;
    info->recorded_icount = replay_now.pos.icount;
    info->chunk = replay_now.pos.chunk;
    if (ev->kind != REPLAY_EV_NONE) {
        info->has_file_offset = true;
        info->file_offset = ev->file_offset;
    } else if (reason != REPLAY_END_REASON_STUCK) {
        /* Where the recording is not what it should be, or ends. */
        info->has_file_offset = true;
        info->file_offset = replay_now.read_bytes;
    }
    if (adapter) {
        info->has_adapter = true;
        info->adapter = g_strdup(adapter);
    }
    if (report.came != REPLAY_EV_NONE) {
        info->has_came = true;
        info->came = g_strdup(replay_kind_name(report.came));
        if (report.came_adapter) {
            info->has_came_adapter = info->has_came_packet = true;
            info->came_adapter = g_strdup(report.came_adapter);
            info->came_packet = report.came_packet;
        }
    }
    info->icount = replay_now.icount;
    if (cpu) {
        info->has_cpu = info->has_pc = true;
        info->cpu = cpu->cpu_index;
        info->pc = CPU_GET_CLASS(cpu)->get_pc(cpu);
    }
    info->last_events = replay_last_events();
    return info;
}

static void replay_print(const ReplayEndInfo *info)
{
    const strList *line;

    error_printf("  recording: event %" PRId64 " (%s%s%s), packet %" PRId64
                 ", icount %" PRId64 ", chunk %" PRId64,
                 info->event, info->expected,
                 info->has_adapter ? " of adapter " : "",
                 info->has_adapter ? info->adapter : "",
                 info->packet, info->recorded_icount, info->chunk);
    if (info->has_file_offset) {
        error_printf(" at file offset %" PRId64, info->file_offset);
    }
    error_printf("\n  guest: icount %" PRId64, info->icount);
    if (info->has_cpu) {
        error_printf(", vCPU %" PRId64 " at pc 0x%" PRIx64, info->cpu,
                     info->pc);
    }
    error_printf("\n");
    if (info->has_came) {
        error_printf("  the guest makes the event '%s'", info->came);
        if (info->has_came_adapter) {
            error_printf(", packet %" PRId64 " through adapter %s",
                         info->came_packet, info->came_adapter);
        }
        error_printf("\n");
    }
    if (info->last_events) {
        error_printf("  the last events that were replayed:\n");
    }
    for (line = info->last_events; line; line = line->next) {
        error_printf("    %s\n", line->value);
    }
}

/* Nothing is next any more, and the vCPU gets out of the guest's code. */
static void replay_halt(void)
{
    replay_set_failed();
    if (current_cpu) {
        cpu_exit(current_cpu);
    }
    qemu_system_vmstop_request_prepare();
    qemu_system_vmstop_request(RUN_STATE_PAUSED);
}

/* @err: owned */
static void replay_report(ReplayEndReason reason, const char *remedy,
                          Error *err)
{
    g_autoptr(ReplayEndInfo) info = NULL;

    if (replay_now.failed) {
        error_free(err);
        return;
    }
    replay_now.failed = true;

    info = replay_end_info(reason, error_get_pretty(err));
    trace_replay_fail(ReplayEndReason_str(reason), info->icount, info->message);
    if (remedy) {
        error_append_hint(&err, "%s\n", remedy);
    }
    error_reportf_err(err, "the replay of '%s' ends here: ", info->filename);
    replay_print(info);
    if (reason == REPLAY_END_REASON_DIVERGED
        || reason == REPLAY_END_REASON_STUCK) {
        qapi_event_send_replay_diverged(info);
    } else {
        qapi_event_send_replay_ended(info);
    }

    if (!replay_now.options.stop_on_error) {
        exit(EXIT_FAILURE);
    }
    error_printf("The virtual machine is paused (rrerror=stop).\n");
    replay_halt();
}

void replay_fail(ReplayEndReason reason, const char *remedy,
                 const char *fmt, ...)
{
    g_autofree char *message = NULL;
    Error *err = NULL;
    va_list ap;

    va_start(ap, fmt);
    message = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    error_setg(&err, "%s", message);
    replay_report(reason, remedy, err);
}

void replay_fail_err(ReplayEndReason reason, const char *remedy, Error *err)
{
    replay_report(reason, remedy, err);
}

void replay_diverge(const char *fmt, ...)
{
    g_autofree char *message = NULL;
    va_list ap;

    va_start(ap, fmt);
    message = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    replay_fail(REPLAY_END_REASON_DIVERGED, DIVERGED_REMEDY, "%s", message);
}

void replay_mismatch(ReplayLogEventKind expected)
{
    replay_report_guest_event(expected, NULL, 0);
    replay_diverge("the guest does something that needs the event '%s', the "
                   "recording has '%s'", replay_kind_name(expected),
                   replay_kind_name(replay_now.next.kind));
}

void replay_report_end(void)
{
    g_autoptr(ReplayEndInfo) info = NULL;

    if (report.ended) {
        return;
    }
    report.ended = true;
    info = replay_end_info(REPLAY_END_REASON_END,
                           "the recording ends here");
    qapi_event_send_replay_ended(info);
}
