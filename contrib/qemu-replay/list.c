/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qemu-replay list: the events, one per line.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "tool.h"

/* The width of the column of kinds; a few names are longer. */
#define KIND_WIDTH  23

/* What to list. */
typedef struct Filter {
    bool kind[REPLAY_LOG_KINDS];
    int64_t adapter;                /* its number; -1: all events */
    uint64_t from, until;           /* instruction counts */
    bool has_packets;
    uint64_t first, last;           /* numbers of packets */
} Filter;

/* Returns: false after a message if no kind has the name @word. */
static bool filter_add_kind(Filter *f, const char *word)
{
    bool found = false;
    unsigned kind;

    for (kind = 0; kind < REPLAY_LOG_KINDS; kind++) {
        if (g_str_equal(word, "all") || event_kind_is(kind, word)) {
            f->kind[kind] = true;
            found = true;
        }
    }
    if (!found) {
        error_report("--kind: no event is of the kind '%s'", word);
        error_printf("The kinds, or words of them: all");
        for (kind = 0; kind < REPLAY_LOG_KINDS; kind++) {
            if (replay_log_event_name(kind)) {
                error_printf(", %s", replay_log_event_name(kind));
            }
        }
        error_printf(".\n");
    }
    return found;
}

static bool filter_set_kinds(Filter *f, char **kinds)
{
    unsigned i, k;

    if (!kinds) {
        /* The instruction count of the next event says the same. */
        memset(f->kind, true, sizeof(f->kind));
        f->kind[REPLAY_EV_INSTRUCTION] = false;
        return true;
    }
    for (i = 0; kinds[i]; i++) {
        g_auto(GStrv) words = g_strsplit(kinds[i], ",", -1);

        for (k = 0; words[k]; k++) {
            if (!filter_add_kind(f, words[k])) {
                return false;
            }
        }
    }
    return true;
}

static bool filter_set_adapter(Filter *f, const Recording *r, const char *name)
{
    unsigned i;

    f->adapter = -1;
    if (!name) {
        return true;
    }
    for (i = 0; i < r->n_adapters; i++) {
        if (g_str_equal(r->adapter[i].name, name)) {
            f->adapter = i;
            return true;
        }
    }
    error_report("--adapter: the recording has no adapter '%s'", name);
    error_printf("Its adapters:");
    for (i = 0; i < r->n_adapters; i++) {
        error_printf(" %s", r->adapter[i].name);
    }
    error_printf("\n");
    return false;
}

/* "A-B", "A-" or "A" */
static bool filter_set_packets(Filter *f, const char *range)
{
    g_auto(GStrv) part = NULL;

    if (!range) {
        return true;
    }
    f->has_packets = true;
    part = g_strsplit(range, "-", 2);
    if (!tool_parse_u64("--packets", part[0], &f->first)) {
        return false;
    }
    f->last = part[1] ? UINT64_MAX : f->first;
    if (part[1] && *part[1] &&
        !tool_parse_u64("--packets", part[1], &f->last)) {
        return false;
    }
    return true;
}

static bool filter_takes(const Filter *f, const ReplayLogEvent *ev)
{
    uint64_t adapter;

    if (!f->kind[ev->kind] || ev->icount < f->from) {
        return false;
    }
    if (f->adapter >= 0 &&
        (!event_adapter(ev, &adapter) || adapter != f->adapter)) {
        return false;
    }
    return !f->has_packets || (ev->kind == REPLAY_EV_ASYNC_NET &&
                               event_packet_number(ev) >= f->first &&
                               event_packet_number(ev) <= f->last);
}

/* Returns: whether no event from @ev on can be in the list. */
static bool filter_is_done(const Filter *f, const ReplayLogEvent *ev)
{
    return ev->icount > f->until || (f->has_packets && ev->packet >= f->last);
}

static void put_left(GString *out, const char *text, int width)
{
    int n = strlen(text);

    g_string_append(out, text);
    for (; n < width; n++) {
        g_string_append_c(out, ' ');
    }
    g_string_append_c(out, ' ');
}

static void list_human(GString *out, const Recording *r,
                       const ReplayLogEvent *ev)
{
    uint64_t adapter;
    bool has_adapter = event_adapter(ev, &adapter);

    g_string_truncate(out, 0);
    tool_put_u64(out, ev->number, 8, ' ');
    g_string_append_c(out, ' ');
    tool_put_u64(out, ev->icount, 13, ' ');
    g_string_append_c(out, ' ');
    tool_put_time(out, r->time_ns);
    g_string_append_c(out, ' ');
    put_left(out, replay_log_event_name(ev->kind), KIND_WIDTH);
    if (has_adapter) {
        put_left(out, recording_adapter(r, adapter), 4);
        put_left(out, ev->kind == REPLAY_EV_ASYNC_NET ? "<" : ">", 1);
        if (ev->kind == REPLAY_EV_ASYNC_NET) {
            g_string_append(out, "packet ");
            tool_put_u64(out, event_packet_number(ev), 1, ' ');
            g_string_append_c(out, ' ');
        }
    }
    if (ev->data || ev->kind == REPLAY_EV_NET_SENT) {
        tool_put_u64(out, ev->data ? ev->len_bytes : ev->num[1], 1, ' ');
        g_string_append(out, " bytes ");
    }
    event_summary(out, r, ev);
    while (out->len && out->str[out->len - 1] == ' ') {
        g_string_truncate(out, out->len - 1);
    }
    g_string_append_c(out, '\n');
    fwrite(out->str, 1, out->len, stdout);
}

static void list_json(const Recording *r, const ReplayLogEvent *ev)
{
    JSONWriter *w = json_writer_new(false);

    json_writer_start_object(w, NULL);
    event_json(w, r, ev);
    json_writer_end_object(w);
    tool_print_json(w);
}

static int list_events(Recording *r, const Filter *f, bool is_json)
{
    g_autoptr(GString) line = g_string_new(NULL);
    ReplayLogStatus status;
    ReplayLogEvent ev;
    Error *err = NULL;

    while ((status = recording_next(r, &ev, &err)) == REPLAY_LOG_OK) {
        if (filter_is_done(f, &ev)) {
            return TOOL_OK;
        }
        if (!filter_takes(f, &ev)) {
            continue;
        }
        if (is_json) {
            list_json(r, &ev);
        } else {
            list_human(line, r, &ev);
        }
        if (ferror(stdout)) {
            return TOOL_OK;             /* tool_finish() reports it */
        }
    }
    return recording_ended(r, status, err);
}

static int list_run(int argc, char **argv)
{
    g_auto(GStrv) kinds = NULL;
    g_autofree char *adapter = NULL, *from = NULL, *until = NULL;
    g_autofree char *packets = NULL;
    gboolean follow = false;
    const GOptionEntry entries[] = {
        { "kind", 0, 0, G_OPTION_ARG_STRING_ARRAY, &kinds, "list only events "
          "of this kind, or with this word in it: net, clock, char", "KIND" },
        { "adapter", 0, 0, G_OPTION_ARG_STRING, &adapter,
          "list only the packets of this adapter", "NETDEV" },
        { "from", 0, 0, G_OPTION_ARG_STRING, &from,
          "begin at this instruction count", "ICOUNT" },
        { "until", 0, 0, G_OPTION_ARG_STRING, &until,
          "end behind this instruction count", "ICOUNT" },
        { "packets", 0, 0, G_OPTION_ARG_STRING, &packets,
          "list only the packets from outside with these numbers, "
          "from 1", "A-B" },
        { "follow", 'f', 0, G_OPTION_ARG_NONE, &follow,
          "wait for more events until the recorder ends", NULL },
        { }
    };
    ToolArgs args = {
        .usage = "FILE",
        .description =
            "A line has the number of the event, the instruction count, the "
            "virtual time in\nseconds, the kind, and for a packet the adapter, "
            "its direction (< received,\n> sent), its number and length. "
            "Events of the kind \"instruction\" are left out,\nunless --kind "
            "asks for them. JSON output has an object in each line.\n\n"
            "Example: the packets of adapter n0 from outside\n"
            "  qemu-replay list --kind async-net --adapter n0 my.rr\n",
        .entries = entries,
        .n_min = 1,
        .n_max = 1,
        .has_json = true,
    };
    Filter f = { .until = UINT64_MAX };
    g_autoptr(Recording) r = NULL;
    Error *err = NULL;

    if (!tool_parse(&tool_list, &args, argc, argv) ||
        !filter_set_kinds(&f, kinds) || !filter_set_packets(&f, packets) ||
        (from && !tool_parse_u64("--from", from, &f.from)) ||
        (until && !tool_parse_u64("--until", until, &f.until))) {
        return TOOL_TROUBLE;
    }
    r = recording_open(args.arg[0], &err);
    if (!r) {
        return tool_fail(err);
    }
    if (!filter_set_adapter(&f, r, adapter)) {
        return TOOL_TROUBLE;
    }
    r->follows = follow;
    /* The lines show on a terminal how far the list is. */
    r->shows_progress &= !isatty(STDOUT_FILENO);
    return list_events(r, &f, args.is_json);
}

const Tool tool_list = {
    .name = "list",
    .summary = "List the events: what, when, and what each packet is",
    .run = list_run,
};
