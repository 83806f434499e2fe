/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qemu-replay cut: copy the beginning of a recording, as a complete recording.
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qapi/error.h"
#include "qapi/qapi-types-run-state.h"
#include "qemu/error-report.h"
#include "tool.h"

typedef struct Cut {
    Recording *r;
    ReplayLogWriter *w;
    uint64_t until;             /* the last instruction count */
    uint64_t until_packet;      /* the last packet */
    bool ends_by_itself;        /* the recording has a request to shut down */
} Cut;

/*
 * Copies the next event, or a part of it.
 * Returns: whether the copy has reached its end.
 */
static bool cut_event(Cut *c, const ReplayLogEvent *ev)
{
    uint64_t num[REPLAY_LOG_NUMS_MAX];
    bool is_last = false;

    if (ev->icount > c->until || ev->packet >= c->until_packet) {
        return true;
    }
    memcpy(num, ev->num, sizeof(num));
    if (ev->kind == REPLAY_EV_INSTRUCTION &&
        num[0] > c->until - ev->icount) {
        num[0] = c->until - ev->icount;
        is_last = true;
        if (!num[0]) {
            return true;
        }
    }
    c->ends_by_itself |= ev->kind == REPLAY_EV_SHUTDOWN;
    replay_log_write_event(c->w, ev->kind, num, ev->data, ev->len_bytes);
    return is_last || replay_log_writer_error(c->w) ||
           (ev->kind == REPLAY_EV_ASYNC_NET &&
            event_packet_number(ev) == c->until_packet);
}

/*
 * Ends the copy as a recorder ends that a signal tells to, unless the recording
 * already has a request to shut down.
 */
static bool cut_finish(Cut *c, Error **errp)
{
    const uint64_t cause = SHUTDOWN_CAUSE_HOST_SIGNAL;
    uint64_t icount = replay_log_writer_pos(c->w).icount;

    if (c->r->clock.is_exact) {
        replay_log_writer_set_time(c->w, vclock_end(&c->r->clock, icount));
    }
    if (!c->ends_by_itself) {
        replay_log_write_event(c->w, REPLAY_EV_SHUTDOWN, &cause, NULL, 0);
    }
    return replay_log_writer_close(c->w, errp);
}

/* Returns: the exit status. */
static int cut_copy(Cut *c)
{
    ReplayLogStatus status;
    ReplayLogEvent ev;
    Error *err = NULL, *ended = NULL;
    unsigned i;

    for (i = 0; i < c->r->n_adapters; i++) {
        replay_log_writer_name_adapter(c->w, i, c->r->adapter[i].name);
    }
    do {
        status = recording_next(c->r, &ev, &ended);
    } while (status == REPLAY_LOG_OK && !cut_event(c, &ev));
    if (!cut_finish(c, &err)) {
        error_free(ended);
        return tool_fail(err);
    }
    if (status == REPLAY_LOG_OK) {
        return TOOL_OK;
    }
    return recording_ended(c->r, status, ended);
}

/* Returns: a writer for a file that does not exist yet; NULL with @errp set. */
static ReplayLogWriter *cut_open(const Recording *r, const char *path,
                                 Error **errp)
{
    ReplayLogWriter *w;

    if (g_file_test(path, G_FILE_TEST_EXISTS)) {
        error_setg(errp, "'%s' already exists: remove it, or write to another "
                   "file", path);
        return NULL;
    }
    w = replay_log_writer_open(path, REPLAY_LOG_COMPRESS, errp);
    if (w && !replay_log_writer_describe(w, r->desc, errp)) {
        replay_log_writer_close(w, NULL);
        g_unlink(path);
        return NULL;
    }
    return w;
}

static int cut_run(int argc, char **argv)
{
    g_autofree char *until = NULL, *until_packet = NULL;
    const GOptionEntry entries[] = {
        { "until", 0, 0, G_OPTION_ARG_STRING, &until,
          "end at this instruction count", "ICOUNT" },
        { "until-packet", 0, 0, G_OPTION_ARG_STRING, &until_packet,
          "end behind the packet from outside with this number, from 1",
          "N" },
        { }
    };
    ToolArgs args = {
        .usage = "FILE OUT",
        .description =
            "A replay of OUT goes to the place, and then QEMU shuts down. "
            "Without --until and\n--until-packet, OUT has all events that are "
            "good: a recording that was cut\nbecomes a complete one. OUT has a "
            "UUID of its own, so snapshots of FILE do not\nbelong to it.\n\n"
            "Example: a short recording with the first 100 packets\n"
            "  qemu-replay cut --until-packet 100 my.rr short.rr\n",
        .entries = entries,
        .n_min = 2,
        .n_max = 2,
    };
    Cut c = { .until = UINT64_MAX, .until_packet = UINT64_MAX };
    Error *err = NULL;
    int status;

    if (!tool_parse(&tool_cut, &args, argc, argv) ||
        (until && !tool_parse_u64("--until", until, &c.until)) ||
        (until_packet &&
         !tool_parse_u64("--until-packet", until_packet, &c.until_packet))) {
        return TOOL_TROUBLE;
    }
    c.r = recording_open(args.arg[0], &err);
    if (!c.r) {
        return tool_fail(err);
    }
    c.w = cut_open(c.r, args.arg[1], &err);
    status = c.w ? cut_copy(&c) : tool_fail(err);
    recording_close(c.r);
    return status;
}

const Tool tool_cut = {
    .name = "cut",
    .summary = "Copy the beginning to a recording that is complete",
    .run = cut_run,
};
