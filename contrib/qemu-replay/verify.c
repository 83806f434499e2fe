/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qemu-replay verify: read all of a recording, and check every checksum, the
 * form of every event, and the meaning of its numbers as far as it does not
 * depend on the machine.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qapi/qapi-types-run-state.h"
#include "sysemu/replay-net.h"
#include "tool.h"

/* A flag that packets from outside can have, as replay-net.c checks it. */
#define PACKET_FLAG_RAW     1
/* The last of replay-request.c's requests. */
#define REQUEST_LAST        3

/* What was read, to be compared with what the end chunk says. */
typedef struct Counts {
    uint64_t by_kind[REPLAY_LOG_KINDS];
    struct {
        uint64_t packets;           /* from outside */
        uint64_t bytes;             /* of these */
    } adapter[REPLAY_LOG_ADAPTERS_MAX];
} Counts;

static void counts_add(Counts *c, const ReplayLogEvent *ev)
{
    c->by_kind[ev->kind]++;
    if (ev->kind == REPLAY_EV_ASYNC_NET) {
        c->adapter[ev->num[0]].packets++;
        c->adapter[ev->num[0]].bytes += ev->len_bytes;
    }
}

/* Returns: whether the totals of a complete recording are @c. */
static bool counts_are_totals(const Counts *c, Recording *r, Error **errp)
{
    g_autofree ReplayLogTotals *t = g_new0(ReplayLogTotals, 1);
    size_t i;

    if (!replay_log_reader_totals(r->reader, t)) {
        return true;
    }
    for (i = 0; i < REPLAY_LOG_KINDS; i++) {
        if (c->by_kind[i] != t->by_kind[i]) {
            error_setg(errp, "recording '%s' is damaged: its end counts %"
                       PRIu64 " events '%s', but it has %" PRIu64, r->path,
                       t->by_kind[i], replay_log_event_name(i),
                       c->by_kind[i]);
            return false;
        }
    }
    for (i = 0; i < REPLAY_LOG_ADAPTERS_MAX; i++) {
        uint64_t packets = i < t->n_adapters ? t->adapter[i].packets : 0;
        uint64_t bytes = i < t->n_adapters ? t->adapter[i].bytes : 0;

        if (c->adapter[i].packets != packets || c->adapter[i].bytes != bytes) {
            error_setg(errp, "recording '%s' is damaged: its end counts %"
                       PRIu64 " packets and %" PRIu64 " bytes for the adapter "
                       "%zu, but it has %" PRIu64 " and %" PRIu64, r->path,
                       packets, bytes, i, c->adapter[i].packets,
                       c->adapter[i].bytes);
            return false;
        }
    }
    return true;
}

/* Returns: NULL, or what is wrong with a packet from outside. */
static const char *verify_packet(const Recording *r, const ReplayLogEvent *ev)
{
    if (!ev->len_bytes || ev->len_bytes > REPLAY_NET_PACKET_MAX_BYTES) {
        return "has a length that no packet has";
    }
    if (ev->len_bytes <= r->adapter[ev->num[0]].vnet_hdr_bytes) {
        return "is not longer than its virtio header";
    }
    if (ev->num[1] & ~(uint64_t)PACKET_FLAG_RAW) {
        return "has unknown flags";
    }
    return NULL;
}

/* Returns: NULL, or what is wrong with a well-formed event. */
static const char *verify_event(const Recording *r, const ReplayLogEvent *ev)
{
    uint64_t adapter;

    if (event_adapter(ev, &adapter) && adapter >= r->n_adapters) {
        return "names an adapter that the description does not have";
    }
    switch (ev->kind) {
    case REPLAY_EV_ASYNC_NET:
        return verify_packet(r, ev);
    case REPLAY_EV_NET_SENT:
        return ev->num[2] > UINT32_MAX ?
               "has a checksum with more than 32 bits" : NULL;
    case REPLAY_EV_ASYNC_NET_LINK:
        return ev->num[0] > 1 ? "is neither up nor down" : NULL;
    case REPLAY_EV_ASYNC_REQUEST:
        return ev->num[0] > REQUEST_LAST ? "is an unknown request" : NULL;
    case REPLAY_EV_SHUTDOWN:
        return ev->num[0] == SHUTDOWN_CAUSE_NONE ||
               ev->num[0] >= SHUTDOWN_CAUSE__MAX ?
               "has an unknown cause" : NULL;
    }
    return NULL;
}

/*
 * @errp: not NULL; set unless all is good
 * Returns: the status of the first fault; REPLAY_LOG_END if there is none.
 */
static ReplayLogStatus verify_all(Recording *r, ReplayLogEvent *ev,
                                  Error **errp)
{
    g_autofree Counts *counts = g_new0(Counts, 1);
    ReplayLogStatus status;

    while ((status = recording_next(r, ev, errp)) == REPLAY_LOG_OK) {
        const char *why = verify_event(r, ev);

        if (why) {
            error_setg(errp, "recording '%s' is damaged: chunk %" PRIu32
                       " at offset %" PRIu64 ": event %" PRIu64 " (%s) %s",
                       r->path, ev->chunk, ev->file_offset, ev->number,
                       replay_log_event_name(ev->kind), why);
            return REPLAY_LOG_DAMAGED;
        }
        counts_add(counts, ev);
    }
    if (status != REPLAY_LOG_END) {
        return status;
    }
    error_free(*errp);
    *errp = NULL;
    return counts_are_totals(counts, r, errp) ? REPLAY_LOG_END
                                              : REPLAY_LOG_DAMAGED;
}

/* Says what was verified, or which fault was found. */
static int verify_report(Recording *r, bool is_json, ReplayLogStatus status,
                         Error *err)
{
    static const char *const results[] = {
        [REPLAY_LOG_END] = "good",
        [REPLAY_LOG_CUT] = "cut",
        [REPLAY_LOG_DAMAGED] = "damaged",
        [REPLAY_LOG_IO_ERROR] = "unreadable",
    };
    ReplayLogPos pos = replay_log_reader_pos(r->reader);
    bool is_good = status == REPLAY_LOG_END;

    if (is_json) {
        JSONWriter *w = json_writer_new(true);

        json_writer_start_object(w, NULL);
        json_writer_str(w, "result", results[status]);
        if (!is_good) {
            json_writer_str(w, "message", error_get_pretty(err));
        }
        json_writer_uint64(w, "icount", pos.icount);
        json_writer_uint64(w, "events", pos.event);
        json_writer_uint64(w, "packets", pos.packet);
        json_writer_end_object(w);
        tool_print_json(w);
        error_free(err);
    } else if (is_good) {
        printf("'%s' is good: %" PRIu64 " instructions, %" PRIu64 " events, %"
               PRIu64 " packets\n", r->path, pos.icount, pos.event,
               pos.packet);
        error_free(err);
    } else {
        tool_fail(err);
    }
    return is_good ? TOOL_OK
                   : status == REPLAY_LOG_IO_ERROR ? TOOL_TROUBLE : TOOL_FOUND;
}

static int verify_run(int argc, char **argv)
{
    ToolArgs args = {
        .usage = "FILE",
        .description =
            "Exit status 1 says that the recording is cut or damaged; the "
            "message names the\nchunk, its offset in the file and the reason.\n"
            "\nExample: is the copy of a recording good?\n"
            "  qemu-replay verify copy.rr && rm my.rr\n",
        .n_min = 1,
        .n_max = 1,
        .has_json = true,
    };
    g_autoptr(Recording) r = NULL;
    ReplayLogStatus status;
    ReplayLogEvent ev;
    Error *err = NULL;

    if (!tool_parse(&tool_verify, &args, argc, argv)) {
        return TOOL_TROUBLE;
    }
    r = recording_open(args.arg[0], &err);
    if (!r) {
        /* If it can be read, then its content is at fault. */
        bool is_file = g_file_test(args.arg[0], G_FILE_TEST_IS_REGULAR) &&
                       access(args.arg[0], R_OK) == 0;

        tool_fail(err);
        return is_file ? TOOL_FOUND : TOOL_TROUBLE;
    }
    status = verify_all(r, &ev, &err);
    return verify_report(r, args.is_json, status, err);
}

const Tool tool_verify = {
    .name = "verify",
    .summary = "Read all of it, and check every checksum and event",
    .run = verify_run,
};
