/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The progress of a recording or a replay: the QMP command query-replay, the
 * HMP command 'info replay', and the line that rrprogress= prints.
 */

#include "qemu/osdep.h"
#include "qapi/qapi-commands-replay.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qemu/timer.h"
#include "sysemu/replay.h"
#include "trace.h"
#include "replay-kinds.h"
#include "replay-machine.h"
#include "replay-stream.h"

/* BQL */
static struct {
    QEMUTimer *timer;
    int64_t interval_ns;
    int64_t started_ns;         /* QEMU_CLOCK_REALTIME of this QEMU */
    uint64_t started_icount;
    int64_t started_clock_ns;   /* REPLAY_CLOCK_VIRTUAL_RT of the recorder */
    bool rewrite;               /* stderr is a terminal: reuse the line */
} progress;

/* --- query-replay ------------------------------------------------------ */

/* Returns: percentage of the recorded instructions that were replayed. */
static double replay_info_percent(void)
{
    uint64_t total = replay_stream_info()->icount;

    return total ? MIN(100.0, 100.0 * replay_now.icount / total)
                 : 100.0;
}

static void replay_info_fill_record(ReplayInfo *info)
{
    ReplayLogStats stats = replay_stream_stats();

    info->has_events = true;
    info->events = stats.events;
    info->has_packets = true;
    info->packets = stats.packets;
    info->has_stored_bytes = true;
    info->stored_bytes = stats.stored_bytes;
    info->has_raw_bytes = true;
    info->raw_bytes = stats.raw_bytes;
}

static void replay_info_fill_replay(ReplayInfo *info)
{
    const ReplayLogInfo *recording = replay_stream_info();

    info->has_events = true;
    info->events = replay_now.pos.event;
    info->has_packets = true;
    info->packets = replay_now.pos.packet;
    info->has_read_bytes = true;
    info->read_bytes = replay_now.read_bytes;
    info->has_stored_bytes = true;
    info->stored_bytes = recording->file_bytes;
    info->has_raw_bytes = true;
    info->raw_bytes = recording->raw_bytes;
    info->has_complete = true;
    info->complete = recording->complete;
    info->has_total_icount = true;
    info->total_icount = recording->icount;
    info->has_total_events = true;
    info->total_events = recording->events;
    info->has_total_packets = true;
    info->total_packets = recording->packets;
    info->has_percent = true;
    info->percent = replay_info_percent();
    if (replay_now.next.kind != REPLAY_EV_NONE) {
        info->next_event =
            g_strdup(replay_log_event_name(replay_now.next.kind));
    }
    if (info->packets < info->total_packets) {
        info->has_next_packet = true;
        info->next_packet = info->packets + 1;
    }
    info->checkpoints = replay_checkpoints_query();
    info->has_checkpoints = info->checkpoints != NULL;
}

ReplayInfo *qmp_query_replay(Error **errp)
{
    ReplayInfo *info = g_new0(ReplayInfo, 1);

    info->mode = replay_now.left ? REPLAY_MODE_NONE : replay_mode;
    info->icount = replay_get_current_icount();
    if (info->mode == REPLAY_MODE_NONE) {
        return info;
    }

    info->filename = g_strdup(replay_filename());
    info->uuid = qemu_uuid_unparse_strdup(&replay_now.uuid);
    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_info_fill_record(info);
    } else {
        replay_info_fill_replay(info);
    }
    if (info->raw_bytes) {
        info->has_ratio = true;
        info->ratio = (double)info->stored_bytes / info->raw_bytes;
    }
    info->has_adapters = true;
    info->adapters = replay_net_query();
    return info;
}

static void replay_info_print_checkpoints(Monitor *mon, const ReplayInfo *info)
{
    const ReplayCheckpointInfoList *item;

    for (item = info->checkpoints; item; item = item->next) {
        monitor_printf(mon, "checkpoint at icount %" PRId64 ", event %" PRId64
                       ", %" PRId64 " packets, %" PRId64 " bytes\n",
                       item->value->icount, item->value->event,
                       item->value->packets, item->value->bytes);
    }
}

void hmp_info_replay(Monitor *mon, const QDict *qdict)
{
    g_autoptr(ReplayInfo) info = qmp_query_replay(NULL);
    const ReplayAdapterInfoList *item;

    if (info->mode == REPLAY_MODE_NONE) {
        monitor_printf(mon, "nothing is being recorded or replayed\n");
        return;
    }
    monitor_printf(mon, "%s '%s' (UUID %s)\n",
                   info->mode == REPLAY_MODE_RECORD ? "recording" : "replaying",
                   info->filename, info->uuid);
    monitor_printf(mon, "icount %" PRId64 ", %" PRId64 " events, %" PRId64
                   " packets", info->icount, info->events, info->packets);
    if (info->has_percent) {
        monitor_printf(mon, "; of %" PRId64 ", %" PRId64 ", %" PRId64
                       ": %.1f %%%s", info->total_icount, info->total_events,
                       info->total_packets, info->percent,
                       info->complete ? "" : " (the recording is cut)");
    }
    monitor_printf(mon, "\nthe file has %" PRId64 " bytes for %" PRId64
                   " bytes of events (%.2f)", info->stored_bytes,
                   info->raw_bytes, info->ratio);
    if (info->has_read_bytes) {
        monitor_printf(mon, ", %" PRId64 " bytes of the file were read",
                       info->read_bytes);
    }
    monitor_printf(mon, "\n");
    for (item = info->adapters; item; item = item->next) {
        const ReplayAdapterInfo *a = item->value;

        monitor_printf(mon, "adapter '%s': %s\n", a->netdev, a->description);
        monitor_printf(mon, "  received %" PRIu64 " packets, %" PRIu64
                       " bytes; sent %" PRIu64 " packets, %" PRIu64 " bytes\n",
                       a->received_packets, a->received_bytes,
                       a->sent_packets, a->sent_bytes);
        monitor_printf(mon, "  verified %" PRIu64 ", mismatched %" PRIu64
                       ", unverified %" PRIu64 ", pending %" PRIu64
                       ", dropped %" PRIu64 ", muted %" PRIu64 ", unsent %"
                       PRIu64 ", unsent-dropped %" PRIu64 "\n",
                       a->verified, a->mismatched, a->unverified, a->pending,
                       a->dropped, a->muted, a->unsent, a->unsent_dropped);
    }
    if (info->next_event) {
        monitor_printf(mon, "next event: %s\n", info->next_event);
    }
    replay_info_print_checkpoints(mon, info);
}

/* --- rrprogress= -------------------------------------------------------- */

static void replay_info_print(void)
{
    int64_t now_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    double seconds = (double)(now_ns - progress.started_ns)
                     / NANOSECONDS_PER_SECOND;
    uint64_t icount = replay_now.icount;
    const char *end = progress.rewrite ? "\033[K\r" : "\n";

    if (replay_now.left) {
        return;
    }
    if (replay_mode == REPLAY_MODE_RECORD) {
        ReplayLogStats stats = replay_stream_stats();

        fprintf(stderr, "recording: icount %" PRIu64 ", %" PRIu64
                " packets, %" PRIu64 " bytes, %.0f s%s", icount,
                stats.packets, stats.stored_bytes, seconds, end);
    } else {
        uint64_t total = replay_stream_info()->icount;
        uint64_t done = icount - progress.started_icount;
        double recorded_seconds =
            (double)(replay_now.clock_ns[REPLAY_CLOCK_VIRTUAL_RT]
                     - progress.started_clock_ns) / NANOSECONDS_PER_SECOND;

        fprintf(stderr, "replaying: %.1f %%, icount %" PRIu64 " of %" PRIu64
                ", %.0f s", replay_info_percent(), icount, total, seconds);
        if (recorded_seconds > 0 && seconds > 0) {
            fprintf(stderr, ", %.2f times as fast as it was recorded",
                    recorded_seconds / seconds);
        }
        if (done && total > icount) {
            fprintf(stderr, ", %.0f s to go",
                    seconds * (total - icount) / done);
        }
        fputs(end, stderr);
    }
    fflush(stderr);
}

static void replay_info_tick(void *opaque)
{
    trace_replay_progress(ReplayMode_str(replay_mode),
                          replay_now.icount,
                          replay_mode == REPLAY_MODE_RECORD
                          ? replay_stream_stats().packets
                          : replay_now.pos.packet);
    replay_info_print();
    timer_mod_ns(progress.timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME)
                                 + progress.interval_ns);
}

void replay_info_restart(void)
{
    progress.started_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    progress.started_icount = replay_now.icount;
    progress.started_clock_ns =
        replay_now.clock_ns[REPLAY_CLOCK_VIRTUAL_RT];
}

void replay_info_start(void)
{
    unsigned seconds = replay_now.options.progress_seconds;

    if (!seconds) {
        return;
    }
    progress.interval_ns = seconds * NANOSECONDS_PER_SECOND;
    replay_info_restart();
    progress.rewrite = isatty(STDERR_FILENO);
    progress.timer = timer_new_ns(QEMU_CLOCK_REALTIME, replay_info_tick,
                                  NULL);
    timer_mod_ns(progress.timer, progress.started_ns + progress.interval_ns);
}

void replay_info_stop(void)
{
    if (progress.timer) {
        timer_free(g_steal_pointer(&progress.timer));
        replay_info_print();
        if (progress.rewrite) {
            fputc('\n', stderr);
        }
    }
}
