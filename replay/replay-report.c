/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Reports about the end of a replay.  A replay ends at the end of its
 * recording, or because it cannot continue.  In the second case QEMU exits with
 * status 1 or, with -icount rrerror=stop, pauses the machine and keeps monitor
 * and gdb usable.
 *
 * The report of a replay that cannot continue has the same content in two
 * forms: lines on stderr, and one of the QMP events REPLAY_DIVERGED and
 * REPLAY_ENDED.  Its size is bounded.  The regular end of the recording is
 * reported only as the QMP event REPLAY_ENDED.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-events-replay.h"
#include "hw/core/cpu.h"
#include "qemu/error-report.h"
#include "sysemu/runstate.h"
#include "trace.h"
#include "replay-report.h"

/* A report lists up to this number of events that were replayed before. */
#define LAST_EVENTS     16

#define DIVERGED_REMEDY \
    "Replay with the QEMU, the machine, the kernel and the disk images that " \
    "the recording was made with."

/* Replay mutex. */
static struct {
    bool ended;                         /* the end was reported */
    ReplayLogEvent last[LAST_EVENTS];   /* ring; their .data is not valid */
    uint64_t replayed;                  /* events put into @last so far */
    /* The event that the guest produces now; REPLAY_EV_NONE if not known. */
    uint8_t guest_kind;
    const char *guest_adapter;          /* borrowed; or NULL */
    uint64_t guest_packet;
} report = { .guest_kind = REPLAY_EV_NONE };

void replay_report_reset(void)
{
    report.ended = false;
    report.replayed = 0;
}

void replay_report_guest_event(ReplayLogEventKind kind, const char *adapter,
                               uint64_t packet)
{
    report.guest_kind = kind;
    report.guest_adapter = adapter;
    report.guest_packet = packet;
}

void replay_report_replayed(const ReplayLogEvent *ev)
{
    report.guest_kind = REPLAY_EV_NONE;
    report.last[report.replayed++ % LAST_EVENTS] = *ev;
}

static const char *replay_report_kind_name(uint8_t kind)
{
    return replay_log_event_name(kind) ?: "none";
}

/* Returns: name of the adapter that @ev is about, borrowed; or NULL. */
static const char *replay_report_event_adapter(const ReplayLogEvent *ev)
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

/* Returns: @ev as "1234 icount 5678 async-net n0 0 (60 bytes)", owned. */
static char *replay_report_event_line(const ReplayLogEvent *ev)
{
    g_autoptr(GString) line = g_string_new(NULL);
    const char *adapter = replay_report_event_adapter(ev);
    unsigned i;

    g_string_printf(line, "%" PRIu64 " icount %" PRIu64 " %s", ev->number,
                    ev->icount, replay_report_kind_name(ev->kind));
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

static strList *replay_report_last_events(void)
{
    strList *list = NULL;
    strList **tail = &list;
    uint64_t i = report.replayed;

    for (i -= MIN(i, LAST_EVENTS); i < report.replayed; i++) {
        const ReplayLogEvent *ev = &report.last[i % LAST_EVENTS];

        QAPI_LIST_APPEND(tail, replay_report_event_line(ev));
    }
    return list;
}

/* Returns: the place of recording and guest, owned. */
static ReplayEndInfo *replay_report_end_info(ReplayEndReason reason,
                                             const char *message)
{
    const ReplayLogEvent *ev = &replay_now.next;
    ReplayEndInfo *info = g_new0(ReplayEndInfo, 1);
    const char *adapter = replay_report_event_adapter(ev);
    CPUState *cpu = current_cpu ?: first_cpu;

    info->filename = g_strdup(replay_filename());
    info->reason = reason;
    info->message = g_strdup(message);
    info->expected = g_strdup(replay_report_kind_name(ev->kind));
    info->event = replay_now.pos.event;
    info->packet = replay_now.pos.packet;
    info->recorded_icount = replay_now.pos.icount;
    info->chunk = replay_now.pos.chunk;
    if (ev->kind != REPLAY_EV_NONE) {
        info->has_file_offset = true;
        info->file_offset = ev->file_offset;
    } else if (reason != REPLAY_END_REASON_STUCK) {
        /* The place where the recording is damaged or ends. */
        info->has_file_offset = true;
        info->file_offset = replay_now.read_bytes;
    }
    info->adapter = g_strdup(adapter);
    if (report.guest_kind != REPLAY_EV_NONE) {
        info->came = g_strdup(replay_report_kind_name(report.guest_kind));
        if (report.guest_adapter) {
            info->has_came_packet = true;
            info->came_adapter = g_strdup(report.guest_adapter);
            info->came_packet = report.guest_packet;
        }
    }
    info->icount = replay_now.icount;
    if (cpu) {
        info->has_cpu = info->has_pc = true;
        info->cpu = cpu->cpu_index;
        info->pc = CPU_GET_CLASS(cpu)->get_pc(cpu);
    }
    info->last_events = replay_report_last_events();
    return info;
}

static void replay_report_print(const ReplayEndInfo *info)
{
    const strList *line;

    error_printf("  recording: event %" PRId64 " (%s%s%s), packet %" PRId64
                 ", icount %" PRId64 ", chunk %" PRId64,
                 info->event, info->expected,
                 info->adapter ? " of adapter " : "",
                 info->adapter ? info->adapter : "",
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
    if (info->came) {
        error_printf("  the guest produced the event '%s'", info->came);
        if (info->came_adapter) {
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

/* Leaves the replay without a next event, and requests to pause the machine. */
static void replay_report_pause(void)
{
    replay_set_failed();
    if (current_cpu) {
        cpu_exit(current_cpu);
    }
    qemu_system_vmstop_request_prepare();
    qemu_system_vmstop_request(RUN_STATE_PAUSED);
}

/* @err: owned */
static void replay_report_fail(ReplayEndReason reason, const char *remedy,
                               Error *err)
{
    g_autoptr(ReplayEndInfo) info = NULL;

    if (replay_now.failed) {
        error_free(err);
        return;
    }
    /*
     * From now on nothing else is reported.  replay_set_failed() would also
     * clear the next event, which the report needs.
     */
    replay_now.failed = true;

    info = replay_report_end_info(reason, error_get_pretty(err));
    trace_replay_fail(ReplayEndReason_str(reason), info->icount, info->message);
    if (remedy) {
        error_append_hint(&err, "%s\n", remedy);
    }
    error_reportf_err(err, "the replay of '%s' ends here: ", info->filename);
    replay_report_print(info);
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
    replay_report_pause();
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
    replay_report_fail(reason, remedy, err);
}

void replay_fail_err(ReplayEndReason reason, const char *remedy, Error *err)
{
    replay_report_fail(reason, remedy, err);
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

void replay_mismatch(ReplayLogEventKind needed)
{
    replay_report_guest_event(needed, NULL, 0);
    replay_diverge("the guest needs the event '%s', but the next recorded "
                   "event is '%s'", replay_report_kind_name(needed),
                   replay_report_kind_name(replay_now.next.kind));
}

void replay_report_end(void)
{
    g_autoptr(ReplayEndInfo) info = NULL;

    if (report.ended) {
        return;
    }
    report.ended = true;
    info = replay_report_end_info(REPLAY_END_REASON_END,
                                  "the recording ends here");
    qapi_event_send_replay_ended(info);
}
