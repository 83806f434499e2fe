/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qemu-replay report: a page about a recording, which a browser shows without
 * a network.
 *
 * The page has the packets as text, in blocks of BLOCK_ROWS rows.  A block is
 * the content of a <script> of a type that browsers do not execute, so a
 * browser stores it and does not parse it.  The script in report.html looks
 * into a block only to show or to search it.  So a page with a million packets
 * opens in seconds.  The program writes each block when it is full, and the
 * timeline behind the last block.  So the memory that it takes does not depend
 * on the size of the recording, except for 8 bytes for each block.
 *
 * A row consists of numbers as differences from the row before, in base 10,
 * separated by spaces, and then the summary of the packet:
 *
 *   event icount time-ns adapter direction length packet summary
 *
 * The direction is 0 (received) or 1 (sent).  The first row of a block has
 * differences from 0.  "&" and "<" are written as in HTML, so that no text of a
 * recording can end the block.  The script puts texts into the page only as
 * text, and the page's Content-Security-Policy forbids it to load anything.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "packet.h"
#include "report.h"
#include "report-page.h"
#include "timeline.h"

#define BLOCK_ROWS      4096

typedef struct Report {
    Recording *r;
    FILE *file;
    GString *block;             /* the rows of the current block */
    unsigned rows;              /* in the current block */
    uint64_t packets;
    ReplayPcapngPacket last;    /* of the last row */
    GArray *begin_ns;           /* uint64_t: the time of each block's first */
    Timeline timeline;
} Report;

/* Appends text to a part of the page that is HTML, or a block. */
static void put_html(GString *out, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '&':
            g_string_append(out, "&amp;");
            break;
        case '<':
            g_string_append(out, "&lt;");
            break;
        case '>':
            g_string_append(out, "&gt;");
            break;
        case '"':
            g_string_append(out, "&quot;");
            break;
        default:
            g_string_append_c(out, *text);
        }
    }
}

static void put_pair(GString *out, const char *key, const char *value)
{
    g_string_append(out, "<tr><th>");
    put_html(out, key);
    g_string_append(out, "</th><td>");
    put_html(out, value);
    g_string_append(out, "</td></tr>\n");
}

void report_head(GString *out, const Recording *r)
{
    g_autofree char *uuid =
        qemu_uuid_unparse_strdup(replay_log_reader_uuid(r->reader));
    size_t i;

    g_string_append(out, report_page_head);
    put_pair(out, "recording", uuid);
    for (i = 0; i < replay_log_description_count(r->desc); i++) {
        const char *value;
        const char *key = replay_log_description_nth(r->desc, i, &value);

        put_pair(out, key, value);
    }
    g_string_append(out, report_page_body);
}

static void put_number(GString *out, uint64_t value)
{
    tool_put_u64(out, value, 1, '0');
    g_string_append_c(out, ' ');
}

void report_row(GString *out, const Recording *r, const ReplayLogEvent *ev,
                ReplayPcapngPacket *last)
{
    bool is_received = ev->kind == REPLAY_EV_ASYNC_NET;
    g_autoptr(GString) summary = g_string_new(NULL);

    put_number(out, ev->number - last->event);
    put_number(out, ev->icount - last->icount);
    put_number(out, r->time_ns - last->time_ns);
    put_number(out, ev->num[0]);
    put_number(out, !is_received);
    put_number(out, ev->data ? ev->len_bytes : ev->num[1]);
    put_number(out, event_packet_number(ev) - last->packet);
    event_summary(summary, r, ev);
    put_html(out, summary->str);
    g_string_append_c(out, '\n');
    last->event = ev->number;
    last->icount = ev->icount;
    last->time_ns = r->time_ns;
    last->packet = event_packet_number(ev);
}

static void report_write(Report *p, const GString *text)
{
    fwrite(text->str, 1, text->len, p->file);
}

static void report_end_block(Report *p)
{
    if (p->rows) {
        fputs("<script type=\"text/plain\" class=\"block\">\n", p->file);
        report_write(p, p->block);
        fputs("</script>\n", p->file);
        g_string_truncate(p->block, 0);
        p->rows = 0;
        p->last = (ReplayPcapngPacket) { };
    }
}

static void report_packet(Report *p, const ReplayLogEvent *ev)
{
    if (!p->rows) {
        g_array_append_val(p->begin_ns, p->r->time_ns);
    }
    report_row(p->block, p->r, ev, &p->last);
    p->packets++;
    if (++p->rows == BLOCK_ROWS) {
        report_end_block(p);
    }
}

static ReplayLogStatus report_events(Report *p, Error **errp)
{
    ReplayLogStatus status;
    ReplayLogEvent ev;
    uint64_t adapter;

    while ((status = recording_next(p->r, &ev, errp)) == REPLAY_LOG_OK) {
        timeline_add(&p->timeline, p->r->time_ns, &ev);
        if (event_adapter(&ev, &adapter) && adapter < p->r->n_adapters) {
            report_packet(p, &ev);
        }
    }
    report_end_block(p);
    return status;
}

static void json_bins(JSONWriter *w, const Timeline *t, const char *name,
                      size_t offset)
{
    unsigned i;

    json_writer_start_array(w, name);
    for (i = 0; i < timeline_used(t); i++) {
        const uint8_t *bin = (const uint8_t *)&t->bin[i];

        json_writer_uint64(w, NULL, *(const uint64_t *)(bin + offset));
    }
    json_writer_end_array(w);
}

/* The part behind the blocks: what report.js has to know about all of them. */
static void report_tail(Report *p, GString *out)
{
    const Timeline *t = &p->timeline;
    ReplayLogPos pos = replay_log_reader_pos(p->r->reader);
    JSONWriter *w = json_writer_new(false);
    g_autoptr(GString) json = NULL;
    unsigned i;

    json_writer_start_object(w, NULL);
    json_writer_uint64(w, "packets", p->packets);
    json_writer_uint64(w, "icount", pos.icount);
    json_writer_uint64(w, "events", pos.event);
    json_writer_uint64(w, "time", p->r->time_ns);
    json_writer_uint64(w, "rows", BLOCK_ROWS);
    json_writer_uint64(w, "width", t->width_ns);
    json_writer_start_array(w, "adapters");
    for (i = 0; i < p->r->n_adapters; i++) {
        json_writer_str(w, NULL, p->r->adapter[i].name);
    }
    json_writer_end_array(w);
    json_writer_start_array(w, "begin");
    for (i = 0; i < p->begin_ns->len; i++) {
        json_writer_uint64(w, NULL, g_array_index(p->begin_ns, uint64_t, i));
    }
    json_writer_end_array(w);
    json_bins(w, t, "received", offsetof(TimelineBin, received_bytes));
    json_bins(w, t, "sent", offsetof(TimelineBin, sent_bytes));
    json_bins(w, t, "instructions", offsetof(TimelineBin, instructions));
    json_bins(w, t, "others", offsetof(TimelineBin, others));
    json_writer_end_object(w);
    json = json_writer_get_and_free(w);

    g_string_append(out, "<script type=\"application/json\" id=\"data\">");
    for (i = 0; i < json->len; i++) {
        if (json->str[i] == '<') {
            g_string_append(out, "\\u003c");
        } else {
            g_string_append_c(out, json->str[i]);
        }
    }
    g_string_append(out, "</script>\n<script>\n");
    g_string_append(out, report_page_script);
    g_string_append(out, "</script>\n</body>\n</html>\n");
}

/* Returns: the exit status. */
static int report_run_to(Recording *r, FILE *file, const char *path)
{
    g_autofree Report *p = g_new0(Report, 1);
    g_autoptr(GString) text = g_string_new(NULL);
    ReplayLogStatus status;
    Error *ended = NULL;

    p->r = r;
    p->file = file;
    p->block = g_string_new(NULL);
    p->begin_ns = g_array_new(false, false, sizeof(uint64_t));
    report_head(text, r);
    report_write(p, text);
    status = report_events(p, &ended);
    g_string_truncate(text, 0);
    report_tail(p, text);
    report_write(p, text);
    g_array_unref(p->begin_ns);
    g_string_free(p->block, true);
    if (!tool_close(file, path)) {
        error_free(ended);
        return TOOL_TROUBLE;
    }
    return recording_ended(r, status, ended);
}

static int report_run(int argc, char **argv)
{
    ToolArgs args = {
        .usage = "FILE OUT.html",
        .description =
            "The page needs no network. It has the machine, a timeline that "
            "can be zoomed,\nand the packets, which can be filtered; a click "
            "on a packet shows the commands\nthat take a replay to it.\n\n"
            "Example: look at a recording in a browser\n"
            "  qemu-replay report my.rr my.html && xdg-open my.html\n",
        .n_min = 2,
        .n_max = 2,
    };
    g_autoptr(Recording) r = NULL;
    Error *err = NULL;
    FILE *file;

    if (!tool_parse(&tool_report, &args, argc, argv)) {
        return TOOL_TROUBLE;
    }
    r = recording_open(args.arg[0], &err);
    if (!r) {
        return tool_fail(err);
    }
    file = tool_create(args.arg[1]);
    if (!file) {
        return TOOL_TROUBLE;
    }
    return report_run_to(r, file, args.arg[1]);
}

const Tool tool_report = {
    .name = "report",
    .summary = "Write a page for a browser: timeline, packets, commands",
    .run = report_run,
};
