/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qemu-replay info: what a recording is.  For a complete recording, this reads
 * the description and the end chunk alone, so its time does not depend on the
 * size.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "tool.h"

typedef struct Info {
    const Recording *r;
    bool is_complete;
    bool is_being_recorded;
    ReplayLogTotals totals;     /* only the first members if not complete */
    ReplayLogStatus status;     /* why the last event is the last */
    Error *cut;                 /* not complete: where it is cut, owned */
    uint64_t packet_bytes;      /* complete: from outside */
} Info;

/*
 * Without an end chunk, the headers of all chunks have to be read, and then the
 * last chunk.
 */
static void info_read_cut(Info *info)
{
    ReplayLogReader *reader = info->r->reader;
    ReplayLogInfo headers = replay_log_reader_info(reader);
    ReplayLogPos last = {
        .chunk = headers.chunks ? headers.chunks - 1 : 0,
        .event = headers.events,
        .packet = headers.packets,
        .icount = headers.icount,
    };
    ReplayLogEvent ev;
    ReplayLogPos pos;

    replay_log_reader_seek(reader, &last, NULL);
    do {
        error_free(info->cut);
        info->cut = NULL;
        info->status = replay_log_read_event(reader, &ev, &info->cut);
    } while (info->status == REPLAY_LOG_OK);
    pos = replay_log_reader_pos(reader);
    info->totals.file_bytes = headers.file_bytes;
    info->totals.chunks = headers.chunks;
    info->totals.icount = pos.icount;
    info->totals.events = pos.event;
    info->totals.packets = pos.packet;
}

static void info_read(Info *info)
{
    unsigned i;

    info->is_complete = replay_log_reader_totals(info->r->reader,
                                                 &info->totals);
    if (!info->is_complete) {
        info->is_being_recorded = recording_is_locked(info->r->path);
        info_read_cut(info);
    }
    for (i = 0; i < info->totals.n_adapters; i++) {
        info->packet_bytes += info->totals.adapter[i].bytes;
    }
}

static void info_json_adapters(JSONWriter *w, const Info *info)
{
    const Recording *r = info->r;
    unsigned i;

    json_writer_start_array(w, "adapters");
    for (i = 0; i < r->n_adapters; i++) {
        const ReplayPcapngAdapter *a = &r->adapter[i];

        json_writer_start_object(w, NULL);
        json_writer_str(w, "name", a->name);
        if (a->nic[0]) {
            json_writer_str(w, "nic", a->nic);
        }
        if (a->has_mac) {
            g_autofree char *mac =
                g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", a->mac[0],
                                a->mac[1], a->mac[2], a->mac[3], a->mac[4],
                                a->mac[5]);

            json_writer_str(w, "mac", mac);
        }
        json_writer_uint64(w, "virtio-header-bytes", a->vnet_hdr_bytes);
        json_writer_bool(w, "has-sent-bytes", a->sent_is_full);
        if (i < info->totals.n_adapters) {
            json_writer_uint64(w, "packets", info->totals.adapter[i].packets);
            json_writer_uint64(w, "bytes", info->totals.adapter[i].bytes);
        }
        json_writer_end_object(w);
    }
    json_writer_end_array(w);
}

static void info_json_kinds(JSONWriter *w, const Info *info)
{
    unsigned kind;

    json_writer_start_object(w, "events-by-kind");
    for (kind = 0; kind < REPLAY_LOG_KINDS; kind++) {
        const char *name = replay_log_event_name(kind);

        if (name && info->totals.by_kind[kind]) {
            json_writer_uint64(w, name, info->totals.by_kind[kind]);
        }
    }
    json_writer_end_object(w);
}

static void info_json_description(JSONWriter *w, const Info *info)
{
    size_t i;

    json_writer_start_object(w, "description");
    for (i = 0; i < replay_log_description_count(info->r->desc); i++) {
        const char *value;
        const char *key = replay_log_description_nth(info->r->desc, i, &value);

        json_writer_str(w, key, value);
    }
    json_writer_end_object(w);
}

static void info_json(const Info *info, const char *uuid)
{
    JSONWriter *w = json_writer_new(true);
    const char *machine = replay_log_description_get(info->r->desc, "machine");

    json_writer_start_object(w, NULL);
    json_writer_str(w, "uuid", uuid);
    json_writer_int64(w, "version", REPLAY_LOG_VERSION);
    if (machine) {
        json_writer_str(w, "machine", machine);
    }
    json_writer_bool(w, "complete", info->is_complete);
    json_writer_bool(w, "being-recorded", info->is_being_recorded);
    if (info->cut) {
        json_writer_str(w, "reason", error_get_pretty(info->cut));
    }
    json_writer_uint64(w, "icount", info->totals.icount);
    if (info->totals.has_time) {
        json_writer_uint64(w, "time-ns", info->totals.time_ns);
    }
    json_writer_uint64(w, "events", info->totals.events);
    json_writer_uint64(w, "packets", info->totals.packets);
    json_writer_uint64(w, "file-bytes", info->totals.file_bytes);
    json_writer_uint64(w, "chunks", info->totals.chunks);
    if (info->is_complete) {
        json_writer_uint64(w, "packet-bytes", info->packet_bytes);
    }
    info_json_adapters(w, info);
    if (info->is_complete) {
        info_json_kinds(w, info);
    }
    info_json_description(w, info);
    json_writer_end_object(w);
    tool_print_json(w);
}

static void info_human_state(const Info *info)
{
    if (info->is_complete) {
        printf("state         complete\n");
    } else if (info->is_being_recorded) {
        printf("state         is being recorded\n");
    } else {
        printf("state         %s; what was good up to there:\n",
               error_get_pretty(info->cut));
    }
}

static void info_human_adapters(const Info *info)
{
    const Recording *r = info->r;
    unsigned i;

    for (i = 0; i < r->n_adapters; i++) {
        const ReplayPcapngAdapter *a = &r->adapter[i];
        g_autofree char *key = g_strconcat(REPLAY_LOG_KEY_ADAPTER, a->name,
                                           NULL);

        printf("adapter       %s: %s", a->name,
               replay_log_description_get(r->desc, key));
        if (i < info->totals.n_adapters) {
            printf("; received %" PRIu64 " packets, %" PRIu64 " bytes",
                   info->totals.adapter[i].packets,
                   info->totals.adapter[i].bytes);
        }
        printf("%s\n", a->sent_is_full ? "; with the bytes that it sent" : "");
    }
}

static void info_human(const Info *info, const char *uuid)
{
    const ReplayLogDescription *d = info->r->desc;
    const ReplayLogTotals *t = &info->totals;
    unsigned kind;
    size_t i;

    printf("recording     %s\n", uuid);
    printf("version       %d\n", REPLAY_LOG_VERSION);
    info_human_state(info);
    printf("instructions  %" PRIu64 "\n", t->icount);
    if (t->has_time) {
        printf("guest time    %.9f s\n", t->time_ns / 1e9);
    }
    printf("events        %" PRIu64 "\n", t->events);
    printf("packets       %" PRIu64 " from outside\n", t->packets);
    printf("file          %" PRIu64 " bytes, %" PRIu32 " chunks\n",
           t->file_bytes, t->chunks);
    if (info->packet_bytes) {
        printf("ratio         %.3f bytes per byte received\n",
               (double)t->file_bytes / info->packet_bytes);
    }
    info_human_adapters(info);
    for (kind = 0; kind < REPLAY_LOG_KINDS; kind++) {
        if (info->is_complete && t->by_kind[kind]) {
            printf("%-27s  %12" PRIu64 "\n",
                   replay_log_event_name(kind) ?: "unknown kind",
                   t->by_kind[kind]);
        }
    }
    for (i = 0; i < replay_log_description_count(d); i++) {
        const char *value;
        const char *key = replay_log_description_nth(d, i, &value);

        if (!g_str_has_prefix(key, REPLAY_LOG_KEY_ADAPTER)) {
            printf("%s=%s\n", key, value);
        }
    }
}

static int info_run(int argc, char **argv)
{
    ToolArgs args = {
        .usage = "FILE",
        .description =
            "For a complete recording, this reads the description and the end "
            "alone, however\nlarge the file is. Of a file that is cut or is "
            "still being recorded, it reads\nthe headers of all chunks.\n\n"
            "Example: is it complete?\n"
            "  qemu-replay info --output=json my.rr | jq .complete\n",
        .n_min = 1,
        .n_max = 1,
        .has_json = true,
    };
    g_autoptr(Recording) r = NULL;
    g_autofree Info *info = g_new0(Info, 1);
    g_autofree char *uuid = NULL;
    Error *err = NULL;

    if (!tool_parse(&tool_info, &args, argc, argv)) {
        return TOOL_TROUBLE;
    }
    r = recording_open(args.arg[0], &err);
    if (!r) {
        return tool_fail(err);
    }
    info->r = r;
    info_read(info);
    uuid = qemu_uuid_unparse_strdup(replay_log_reader_uuid(r->reader));
    if (args.is_json) {
        info_json(info, uuid);
    } else {
        info_human(info, uuid);
    }
    error_free(info->cut);
    return TOOL_OK;
}

const Tool tool_info = {
    .name = "info",
    .summary = "Say what a recording is: machine, adapters, size, totals",
    .run = info_run,
};
