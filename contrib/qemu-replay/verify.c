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
#include "tool.h"

/* A flag that packets from outside can have, as replay-net.c checks it. */
#define PACKET_FLAG_RAW     1
/* The last of replay-request.c's requests. */
#define REQUEST_LAST        3

/* Returns: NULL, or what is wrong with a well-formed event. */
static const char *verify_event(const Recording *r, const ReplayLogEvent *ev)
{
    uint64_t adapter;

    if (event_adapter(ev, &adapter) && adapter >= r->n_adapters) {
        return "names an adapter that the description does not have";
    }
    switch (ev->kind) {
    case REPLAY_EV_ASYNC_NET:
        return ev->num[1] & ~(uint64_t)PACKET_FLAG_RAW ?
               "has unknown flags" : NULL;
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

/* Returns: the status of the first fault; REPLAY_LOG_END if there is none. */
static ReplayLogStatus verify_all(Recording *r, ReplayLogEvent *ev,
                                  Error **errp)
{
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
    }
    return status;
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
