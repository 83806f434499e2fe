/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qemu-replay stats: which kinds of events take the space, and what each
 * adapter received and sent.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "timeline.h"
#include "tool.h"

/* How many of the largest gaps are shown. */
#define GAPS    5

typedef struct KindStats {
    uint64_t count;
    uint64_t raw_bytes;
    double stored_bytes;
    /* of the current chunk */
    uint64_t chunk_bytes;       /* raw, without the packets apart */
    uint64_t chunk_apart_bytes;
} KindStats;

/* The packets of one direction. */
typedef struct DirectionStats {
    uint64_t packets;
    uint64_t bytes;
    uint64_t least_bytes, most_bytes;
} DirectionStats;

typedef struct AdapterStats {
    DirectionStats received, sent;
    /* From a packet that the guest sent to the next one from outside. */
    bool is_waiting;
    uint64_t sent_ns;
    uint64_t answers;
    uint64_t answer_least_ns, answer_most_ns, answer_sum_ns;
} AdapterStats;

/* The time between two packets. */
typedef struct Gap {
    uint64_t ns;
    uint64_t begin_ns;
    uint64_t first_event, second_event;
} Gap;

typedef struct Stats {
    Recording *r;
    KindStats kind[REPLAY_LOG_KINDS];
    AdapterStats *adapter;      /* as many as @r has, owned */
    uint32_t chunk;             /* number of the current chunk */
    ReplayLogChunkInfo chunk_info;
    uint64_t raw_bytes, stored_bytes;
    uint64_t icount, events, time_ns;
    Gap gap[GAPS];              /* the largest first */
    bool has_packet;
    uint64_t packet_ns, packet_event;   /* of the last packet */
    Timeline timeline;
} Stats;

/*
 * Shares the stored bytes of the current chunk out among the kinds: packets
 * apart as they are, the others in proportion to their raw bytes.
 */
static void stats_end_chunk(Stats *s)
{
    uint64_t raw = 0, apart = 0;
    unsigned kind;

    for (kind = 0; kind < REPLAY_LOG_KINDS; kind++) {
        raw += s->kind[kind].chunk_bytes;
        apart += s->kind[kind].chunk_apart_bytes;
    }
    for (kind = 0; kind < REPLAY_LOG_KINDS; kind++) {
        KindStats *k = &s->kind[kind];

        if (raw) {
            k->stored_bytes += ((double)s->chunk_info.stored_bytes - apart) *
                               k->chunk_bytes / raw;
        }
        k->stored_bytes += k->chunk_apart_bytes;
        k->chunk_bytes = 0;
        k->chunk_apart_bytes = 0;
    }
    s->raw_bytes += s->chunk_info.raw_bytes;
    s->stored_bytes += s->chunk_info.stored_bytes;
}

static void stats_count_bytes(Stats *s, const ReplayLogEvent *ev)
{
    KindStats *k = &s->kind[ev->kind];
    size_t apart_bytes;

    if (ev->chunk != s->chunk) {
        stats_end_chunk(s);
        s->chunk = ev->chunk;
        s->chunk_info = replay_log_reader_chunk(s->r->reader);
    }
    apart_bytes = s->chunk_info.is_apart && replay_log_event_stands_apart(ev)
                  ? ev->len_bytes : 0;
    k->count++;
    k->raw_bytes += ev->raw_bytes;
    k->chunk_bytes += ev->raw_bytes - apart_bytes;
    k->chunk_apart_bytes += apart_bytes;
}

static void stats_count_gap(Stats *s, const ReplayLogEvent *ev)
{
    Gap gap = {
        .ns = s->r->time_ns - s->packet_ns,
        .begin_ns = s->packet_ns,
        .first_event = s->packet_event,
        .second_event = ev->number,
    };
    unsigned i;

    if (s->has_packet && s->r->time_ns > s->packet_ns) {
        for (i = 0; i < GAPS; i++) {
            if (gap.ns > s->gap[i].ns) {
                Gap smaller = s->gap[i];

                s->gap[i] = gap;
                gap = smaller;
            }
        }
    }
    s->has_packet = true;
    s->packet_ns = s->r->time_ns;
    s->packet_event = ev->number;
}

static void stats_count_packet(Stats *s, const ReplayLogEvent *ev)
{
    bool is_received = ev->kind == REPLAY_EV_ASYNC_NET;
    uint64_t len_bytes = ev->data ? ev->len_bytes : ev->num[1];
    uint64_t now_ns = s->r->time_ns;
    AdapterStats *a;
    DirectionStats *d;
    uint64_t number;

    if (!event_adapter(ev, &number) || number >= s->r->n_adapters) {
        return;
    }
    stats_count_gap(s, ev);
    a = &s->adapter[number];
    d = is_received ? &a->received : &a->sent;
    d->least_bytes = d->packets ? MIN(d->least_bytes, len_bytes) : len_bytes;
    d->most_bytes = MAX(d->most_bytes, len_bytes);
    d->packets++;
    d->bytes += len_bytes;
    if (!is_received) {
        a->is_waiting = true;
        a->sent_ns = now_ns;
    } else if (a->is_waiting) {
        uint64_t ns = now_ns - a->sent_ns;

        a->is_waiting = false;
        a->answer_least_ns = a->answers ? MIN(a->answer_least_ns, ns) : ns;
        a->answer_most_ns = MAX(a->answer_most_ns, ns);
        a->answer_sum_ns += ns;
        a->answers++;
    }
}

static ReplayLogStatus stats_read(Stats *s, Error **errp)
{
    ReplayLogStatus status;
    ReplayLogEvent ev;
    ReplayLogPos pos;

    while ((status = recording_next(s->r, &ev, errp)) == REPLAY_LOG_OK) {
        stats_count_bytes(s, &ev);
        stats_count_packet(s, &ev);
        timeline_add(&s->timeline, s->r->time_ns, &ev);
    }
    stats_end_chunk(s);
    pos = replay_log_reader_pos(s->r->reader);
    s->icount = pos.icount;
    s->events = pos.event;
    s->time_ns = s->r->time_ns;
    return status;
}

/* --- Output ------------------------------------------------------------ */

static void json_direction(JSONWriter *w, const char *name,
                           const DirectionStats *d, double seconds)
{
    json_writer_start_object(w, name);
    json_writer_uint64(w, "packets", d->packets);
    json_writer_uint64(w, "bytes", d->bytes);
    if (d->packets) {
        json_writer_uint64(w, "least-bytes", d->least_bytes);
        json_writer_uint64(w, "most-bytes", d->most_bytes);
    }
    if (seconds > 0) {
        json_writer_double(w, "packets-per-second", d->packets / seconds);
        json_writer_double(w, "bytes-per-second", d->bytes / seconds);
    }
    json_writer_end_object(w);
}

static void stats_json(const Stats *s)
{
    JSONWriter *w = json_writer_new(true);
    double seconds = s->time_ns / 1e9;
    unsigned i;

    json_writer_start_object(w, NULL);
    json_writer_uint64(w, "icount", s->icount);
    json_writer_uint64(w, "time-ns", s->time_ns);
    json_writer_bool(w, "time-is-exact", s->r->clock.is_exact);
    json_writer_uint64(w, "events", s->events);
    json_writer_uint64(w, "raw-bytes", s->raw_bytes);
    json_writer_uint64(w, "stored-bytes", s->stored_bytes);
    json_writer_start_array(w, "kinds");
    for (i = 0; i < REPLAY_LOG_KINDS; i++) {
        const KindStats *k = &s->kind[i];

        if (k->count) {
            json_writer_start_object(w, NULL);
            json_writer_str(w, "kind", replay_log_event_name(i));
            json_writer_uint64(w, "count", k->count);
            json_writer_uint64(w, "raw-bytes", k->raw_bytes);
            json_writer_uint64(w, "stored-bytes", k->stored_bytes + 0.5);
            json_writer_end_object(w);
        }
    }
    json_writer_end_array(w);
    json_writer_start_array(w, "adapters");
    for (i = 0; i < s->r->n_adapters; i++) {
        const AdapterStats *a = &s->adapter[i];

        json_writer_start_object(w, NULL);
        json_writer_str(w, "name", s->r->adapter[i].name);
        json_direction(w, "received", &a->received, seconds);
        json_direction(w, "sent", &a->sent, seconds);
        json_writer_start_object(w, "answers");
        json_writer_uint64(w, "count", a->answers);
        if (a->answers) {
            json_writer_uint64(w, "least-ns", a->answer_least_ns);
            json_writer_uint64(w, "mean-ns", a->answer_sum_ns / a->answers);
            json_writer_uint64(w, "most-ns", a->answer_most_ns);
        }
        json_writer_end_object(w);
        json_writer_end_object(w);
    }
    json_writer_end_array(w);
    json_writer_start_array(w, "largest-gaps");
    for (i = 0; i < GAPS && s->gap[i].ns; i++) {
        json_writer_start_object(w, NULL);
        json_writer_uint64(w, "ns", s->gap[i].ns);
        json_writer_uint64(w, "begin-ns", s->gap[i].begin_ns);
        json_writer_uint64(w, "first-event", s->gap[i].first_event);
        json_writer_uint64(w, "second-event", s->gap[i].second_event);
        json_writer_end_object(w);
    }
    json_writer_end_array(w);
    json_writer_end_object(w);
    tool_print_json(w);
}

static void human_direction(const char *name, const DirectionStats *d,
                            double seconds)
{
    printf("  %-8s %" PRIu64 " packets, %" PRIu64 " bytes", name, d->packets,
           d->bytes);
    if (d->packets) {
        printf("; sizes %" PRIu64 " to %" PRIu64 ", mean %.1f", d->least_bytes,
               d->most_bytes, (double)d->bytes / d->packets);
    }
    if (d->packets && seconds > 0) {
        printf("; %.1f packets/s, %.0f bytes/s", d->packets / seconds,
               d->bytes / seconds);
    }
    printf("\n");
}

static void stats_human(const Stats *s)
{
    double seconds = s->time_ns / 1e9;
    unsigned i;

    printf("%" PRIu64 " events, %" PRIu64 " instructions, %.9f s of virtual "
           "time%s\n", s->events, s->icount, seconds,
           s->r->clock.is_exact ? "" : " or more (sleep=off)");
    printf("\n%-28s %11s %12s %6s %12s %6s\n", "kind", "count", "raw bytes", "",
           "stored bytes", "");
    for (i = 0; i < REPLAY_LOG_KINDS; i++) {
        const KindStats *k = &s->kind[i];

        if (k->count) {
            printf("%-28s %11" PRIu64 " %12" PRIu64 " %5.1f%% %12.0f %5.1f%%\n",
                   replay_log_event_name(i), k->count, k->raw_bytes,
                   100.0 * k->raw_bytes / MAX(s->raw_bytes, 1),
                   k->stored_bytes,
                   100.0 * k->stored_bytes / MAX(s->stored_bytes, 1));
        }
    }
    printf("%-28s %11" PRIu64 " %12" PRIu64 " %6s %12" PRIu64 "\n", "all",
           s->events, s->raw_bytes, "", s->stored_bytes);
    for (i = 0; i < s->r->n_adapters; i++) {
        const AdapterStats *a = &s->adapter[i];

        printf("\nadapter %s\n", s->r->adapter[i].name);
        human_direction("received", &a->received, seconds);
        human_direction("sent", &a->sent, seconds);
        if (a->answers) {
            printf("  answers  %" PRIu64 ": from a sent packet to the next "
                   "received one %.6f to %.6f s, mean %.6f\n", a->answers,
                   a->answer_least_ns / 1e9, a->answer_most_ns / 1e9,
                   a->answer_sum_ns / 1e9 / a->answers);
        }
    }
    if (s->gap[0].ns) {
        printf("\nlargest gaps between packets\n");
    }
    for (i = 0; i < GAPS && s->gap[i].ns; i++) {
        const Gap *gap = &s->gap[i];

        printf("  %.6f s after %.6f s, events %" PRIu64 " to %" PRIu64 "\n",
               gap->ns / 1e9, gap->begin_ns / 1e9, gap->first_event,
               gap->second_event);
    }
}

/* Returns: false after a message. */
static bool stats_plot(const Stats *s, const char *path)
{
    g_autoptr(GString) svg = g_string_new(NULL);
    FILE *file = tool_create(path);

    if (!file) {
        return false;
    }
    timeline_svg(svg, &s->timeline);
    fwrite(svg->str, 1, svg->len, file);
    return tool_close(file, path);
}

static int stats_run(int argc, char **argv)
{
    g_autofree char *plot = NULL;
    const GOptionEntry entries[] = {
        { "plot", 0, 0, G_OPTION_ARG_FILENAME, &plot, "also draw traffic and "
          "instructions over virtual time", "OUT.svg" },
        { }
    };
    ToolArgs args = {
        .usage = "FILE",
        .description =
            "The stored bytes of a deflated chunk are shared out among its "
            "events in\nproportion to their raw bytes. Rates are over the "
            "guest's virtual time.\n\n"
            "Example: what is in this recording?\n"
            "  qemu-replay stats --plot traffic.svg my.rr\n",
        .entries = entries,
        .n_min = 1,
        .n_max = 1,
        .has_json = true,
    };
    g_autoptr(Recording) r = NULL;
    g_autofree Stats *s = g_new0(Stats, 1);
    g_autofree AdapterStats *adapters = NULL;
    ReplayLogStatus status;
    Error *err = NULL, *ended = NULL;

    if (!tool_parse(&tool_stats, &args, argc, argv)) {
        return TOOL_TROUBLE;
    }
    r = recording_open(args.arg[0], &err);
    if (!r) {
        return tool_fail(err);
    }
    s->r = r;
    s->adapter = adapters = g_new0(AdapterStats, r->n_adapters);
    status = stats_read(s, &ended);
    if (args.is_json) {
        stats_json(s);
    } else {
        stats_human(s);
    }
    if (plot && !stats_plot(s, plot)) {
        error_free(ended);
        return TOOL_TROUBLE;
    }
    return recording_ended(r, status, ended);
}

const Tool tool_stats = {
    .name = "stats",
    .summary = "Count events, bytes and packets; draw traffic over time",
    .run = stats_run,
};
