/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qemu-replay diff: the first event in which two recordings differ.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "packet.h"
#include "tool.h"

/* How many common events are shown before the difference. */
#define CONTEXT     3
/* The most keys of the descriptions that are shown. */
#define KEYS_MAX    32

/* One of the two recordings, and its next event that is compared. */
typedef struct Side {
    Recording *r;
    ReplayLogStatus status;
    ReplayLogEvent ev;
    Error *err;                 /* why there is no event, owned */
} Side;

typedef struct Diff {
    Side a, b;
    bool compared[REPLAY_LOG_KINDS];
    bool compares_icount;       /* false with --kind */
    GPtrArray *keys;            /* lines about the descriptions, owned */
    char *context[CONTEXT];     /* the last common events, owned */
    unsigned n_context;
    uint64_t common;            /* events that are equal */
} Diff;

static void side_next(Side *s, const bool *compared)
{
    do {
        s->status = recording_next(s->r, &s->ev, &s->err);
    } while (s->status == REPLAY_LOG_OK && !compared[s->ev.kind]);
}

static char *side_describe(const Side *s)
{
    g_autoptr(GString) out = g_string_new(NULL);

    if (s->status != REPLAY_LOG_OK) {
        return g_strdup(s->status == REPLAY_LOG_END ? "the end"
                        : error_get_pretty(s->err));
    }
    g_string_append_printf(out, "event %" PRIu64 " icount %" PRIu64 " ",
                           s->ev.number, s->ev.icount);
    tool_put_time(out, s->r->time_ns);
    g_string_append_printf(out, " %s ", replay_log_event_name(s->ev.kind));
    if (s->ev.data) {
        g_string_append_printf(out, "%zu bytes ", s->ev.len_bytes);
    }
    event_summary(out, s->r, &s->ev);
    return g_strdup(g_strchomp(out->str));
}

static void diff_add_key(Diff *d, const char *key, const char *a,
                         const char *b)
{
    if (d->keys->len < KEYS_MAX) {
        g_ptr_array_add(d->keys, g_strdup_printf("%s: '%s' and '%s'", key,
                                                 a ?: "(missing)",
                                                 b ?: "(missing)"));
    }
}

/* Compares what a replay compares. */
static void diff_descriptions(Diff *d)
{
    const ReplayLogDescription *a = d->a.r->desc, *b = d->b.r->desc;
    const char *key, *value, *other;
    size_t i;

    for (i = 0; i < replay_log_description_count(a); i++) {
        key = replay_log_description_nth(a, i, &value);
        other = replay_log_description_get(b, key);
        if (!g_str_has_prefix(key, REPLAY_LOG_KEY_INFO) &&
            g_strcmp0(value, other) != 0) {
            diff_add_key(d, key, value, other);
        }
    }
    for (i = 0; i < replay_log_description_count(b); i++) {
        key = replay_log_description_nth(b, i, &value);
        if (!g_str_has_prefix(key, REPLAY_LOG_KEY_INFO) &&
            !replay_log_description_get(a, key)) {
            diff_add_key(d, key, NULL, value);
        }
    }
}

static bool diff_is_equal(const Diff *d)
{
    const ReplayLogEvent *a = &d->a.ev, *b = &d->b.ev;

    return a->kind == b->kind &&
           (!d->compares_icount || a->icount == b->icount) &&
           !memcmp(a->num, b->num, a->n_nums * sizeof(a->num[0])) &&
           a->len_bytes == b->len_bytes &&
           (!a->len_bytes || !memcmp(a->data, b->data, a->len_bytes));
}

/* Returns: whether the recordings are equal, up to their ends. */
static bool diff_events(Diff *d)
{
    while (true) {
        side_next(&d->a, d->compared);
        side_next(&d->b, d->compared);
        if (d->a.status != REPLAY_LOG_OK || d->b.status != REPLAY_LOG_OK) {
            return d->a.status == d->b.status;
        }
        if (!diff_is_equal(d)) {
            return false;
        }
        d->common++;
    }
}

/*
 * Reads the last common events again, for the context: to describe each event
 * on the way would take longer than to compare it.
 */
static void diff_read_context(Diff *d)
{
    g_autoptr(Recording) r = recording_open(d->a.r->path, NULL);
    Side again = { .r = r };
    uint64_t skip = d->common > CONTEXT ? d->common - CONTEXT : 0;
    uint64_t i;

    for (i = 0; r && i < d->common; i++) {
        side_next(&again, d->compared);
        if (again.status != REPLAY_LOG_OK) {
            break;
        }
        if (i >= skip) {
            d->context[d->n_context++] = side_describe(&again);
        }
    }
    error_free(again.err);
}

/* Returns: the offset of the first byte that differs, or -1. */
static int64_t diff_offset(const ReplayLogEvent *a, const ReplayLogEvent *b)
{
    size_t n = MIN(a->len_bytes, b->len_bytes);
    size_t i;

    if (!a->data || !b->data) {
        return -1;
    }
    for (i = 0; i < n; i++) {
        if (a->data[i] != b->data[i]) {
            return i;
        }
    }
    return a->len_bytes != b->len_bytes ? n : -1;
}

/* Returns: which header field of two packets differs, owned; or NULL. */
static char *diff_field(const Diff *d, int64_t offset)
{
    ReplayPcapngPacket p, q;
    ReplayPcapngFrame frame;
    size_t hdr_bytes;

    if (!event_packet(d->a.r, &d->a.ev, &p) ||
        !event_packet(d->b.r, &d->b.ev, &q)) {
        return NULL;
    }
    frame = event_frame(d->a.r, &p);
    hdr_bytes = p.len_bytes - frame.len_bytes;
    if (offset < hdr_bytes) {
        return g_strdup("virtio header");
    }
    if (offset >= p.len_bytes) {
        return g_strdup("length");
    }
    return packet_field(frame.data, frame.len_bytes, offset - hdr_bytes);
}

static void diff_human(const Diff *d, bool is_equal)
{
    int64_t offset = -1;
    unsigned i;

    for (i = 0; i < d->keys->len; i++) {
        printf("description: %s\n", (char *)g_ptr_array_index(d->keys, i));
    }
    if (is_equal) {
        return;
    }
    printf("%" PRIu64 " events are equal\n", d->common);
    for (i = 0; i < d->n_context; i++) {
        printf("  %s\n", d->context[i]);
    }
    for (i = 0; i < 2; i++) {
        g_autofree char *text = side_describe(i ? &d->b : &d->a);

        printf("%c %s\n", i ? '>' : '<', text);
    }
    if (d->a.status == REPLAY_LOG_OK && d->b.status == REPLAY_LOG_OK) {
        offset = diff_offset(&d->a.ev, &d->b.ev);
    }
    if (offset >= 0) {
        g_autofree char *field = diff_field(d, offset);

        printf("the first difference is in byte %" PRId64, offset);
        if (offset < MIN(d->a.ev.len_bytes, d->b.ev.len_bytes)) {
            printf(": 0x%02x and 0x%02x", d->a.ev.data[offset],
                   d->b.ev.data[offset]);
        }
        printf("%s%s\n", field ? ", " : "", field ?: "");
    }
}

static void diff_json_side(JSONWriter *w, const char *name, const Side *s)
{
    json_writer_start_object(w, name);
    if (s->status == REPLAY_LOG_OK) {
        event_json(w, s->r, &s->ev);
    } else {
        json_writer_str(w, "end", error_get_pretty(s->err));
    }
    json_writer_end_object(w);
}

static void diff_json(const Diff *d, bool is_equal)
{
    JSONWriter *w = json_writer_new(true);
    unsigned i;

    json_writer_start_object(w, NULL);
    json_writer_bool(w, "equal", is_equal && !d->keys->len);
    json_writer_start_array(w, "description");
    for (i = 0; i < d->keys->len; i++) {
        json_writer_str(w, NULL, g_ptr_array_index(d->keys, i));
    }
    json_writer_end_array(w);
    json_writer_uint64(w, "equal-events", d->common);
    if (!is_equal) {
        diff_json_side(w, "a", &d->a);
        diff_json_side(w, "b", &d->b);
    }
    if (!is_equal && d->a.status == REPLAY_LOG_OK &&
        d->b.status == REPLAY_LOG_OK) {
        int64_t offset = diff_offset(&d->a.ev, &d->b.ev);

        if (offset >= 0) {
            g_autofree char *field = diff_field(d, offset);

            json_writer_int64(w, "byte", offset);
            if (field) {
                json_writer_str(w, "field", field);
            }
        }
    }
    json_writer_end_object(w);
    tool_print_json(w);
}

/* Returns: the exit status. */
static int diff_report(Diff *d, bool is_json)
{
    bool is_equal = diff_events(d);

    if (d->a.status > REPLAY_LOG_CUT || d->b.status > REPLAY_LOG_CUT) {
        /* A message about both would be about the same kind of trouble. */
        Side *s = d->a.status > REPLAY_LOG_CUT ? &d->a : &d->b;

        return tool_fail(g_steal_pointer(&s->err));
    }
    if (!is_equal) {
        diff_read_context(d);
    }
    if (is_json) {
        diff_json(d, is_equal);
    } else {
        diff_human(d, is_equal);
    }
    return is_equal && !d->keys->len ? TOOL_OK : TOOL_FOUND;
}

/* Returns: false after a message about a kind that does not exist. */
static bool diff_set_kinds(Diff *d, const char *word)
{
    bool found = false;
    unsigned kind;

    d->compares_icount = !word;
    for (kind = 0; kind < REPLAY_LOG_KINDS; kind++) {
        d->compared[kind] = !word || event_kind_is(kind, word);
        found |= d->compared[kind];
    }
    if (!found) {
        error_report("--kind: no event is of the kind '%s'", word);
    }
    return found;
}

static int diff_run(int argc, char **argv)
{
    g_autofree char *kind = NULL;
    const GOptionEntry entries[] = {
        { "kind", 0, 0, G_OPTION_ARG_STRING, &kind, "compare only events of "
          "this kind, or with this word in it: net, clock, char", "KIND" },
        { }
    };
    ToolArgs args = {
        .usage = "A B",
        .description =
            "Compares what a replay compares of the descriptions, and then all "
            "events: kind,\ninstruction count, numbers and bytes. With --kind, "
            "instruction counts may differ.\nExit status 1 says that there is "
            "a difference. Of two packets, the last line says\nwhich byte and "
            "which field differ.\n\n"
            "Example: did the guest get the same packets in both?\n"
            "  qemu-replay diff --kind async-net good.rr bad.rr\n",
        .entries = entries,
        .n_min = 2,
        .n_max = 2,
        .has_json = true,
    };
    g_autofree Diff *d = g_new0(Diff, 1);
    Error *err = NULL;
    unsigned i;
    int status;

    if (!tool_parse(&tool_diff, &args, argc, argv) ||
        !diff_set_kinds(d, kind)) {
        return TOOL_TROUBLE;
    }
    d->a.r = recording_open(args.arg[0], &err);
    d->b.r = d->a.r ? recording_open(args.arg[1], &err) : NULL;
    if (!d->b.r) {
        recording_close(d->a.r);
        return tool_fail(err);
    }
    d->keys = g_ptr_array_new_with_free_func(g_free);
    diff_descriptions(d);
    status = diff_report(d, args.is_json);
    for (i = 0; i < d->n_context; i++) {
        g_free(d->context[i]);
    }
    g_ptr_array_unref(d->keys);
    error_free(d->a.err);
    error_free(d->b.err);
    recording_close(d->a.r);
    recording_close(d->b.r);
    return status;
}

const Tool tool_diff = {
    .name = "diff",
    .summary = "Name the first event in which two recordings differ",
    .run = diff_run,
};
