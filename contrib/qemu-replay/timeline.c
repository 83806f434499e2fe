/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Traffic and instructions over the guest's virtual time.
 */

#include "qemu/osdep.h"
#include "timeline.h"

/* The width of the first bins; it doubles as often as necessary. */
#define WIDTH_NS        1000000

/* The image: margins around two panels. */
#define IMAGE_WIDTH     900
#define IMAGE_HEIGHT    420
#define LEFT            90
#define RIGHT           20
#define PANEL_WIDTH     (IMAGE_WIDTH - LEFT - RIGHT)
#define TRAFFIC_TOP     50
#define TRAFFIC_HEIGHT  180
#define CODE_TOP        280
#define CODE_HEIGHT     90

static void bin_merge(TimelineBin *to, const TimelineBin *from)
{
    to->received_bytes += from->received_bytes;
    to->received_packets += from->received_packets;
    to->sent_bytes += from->sent_bytes;
    to->sent_packets += from->sent_packets;
    to->instructions += from->instructions;
    to->others += from->others;
}

static void timeline_widen(Timeline *t)
{
    unsigned i;

    for (i = 0; i < TIMELINE_BINS / 2; i++) {
        TimelineBin sum = t->bin[2 * i];

        bin_merge(&sum, &t->bin[2 * i + 1]);
        t->bin[i] = sum;
    }
    memset(&t->bin[i], 0, (TIMELINE_BINS - i) * sizeof(t->bin[0]));
    t->width_ns *= 2;
}

TimelineBin *timeline_bin(Timeline *t, uint64_t time_ns)
{
    if (!t->width_ns) {
        t->width_ns = WIDTH_NS;
    }
    /* A hostile recording can have any time. */
    time_ns = MIN(time_ns, INT64_MAX);
    while (time_ns / t->width_ns >= TIMELINE_BINS) {
        timeline_widen(t);
    }
    t->end_ns = MAX(t->end_ns, time_ns);
    return &t->bin[time_ns / t->width_ns];
}

void timeline_add(Timeline *t, uint64_t time_ns, const ReplayLogEvent *ev)
{
    TimelineBin *bin = timeline_bin(t, time_ns);

    switch (ev->kind) {
    case REPLAY_EV_INSTRUCTION:
        bin->instructions += ev->num[0];
        break;
    case REPLAY_EV_ASYNC_NET:
        bin->received_packets++;
        bin->received_bytes += ev->len_bytes;
        break;
    case REPLAY_EV_NET_SENT:
        bin->sent_packets++;
        bin->sent_bytes += MIN(ev->num[1], REPLAY_LOG_DATA_MAX_BYTES);
        break;
    case REPLAY_EV_NET_SENT_DATA:
        bin->sent_packets++;
        bin->sent_bytes += ev->len_bytes;
        break;
    default:
        bin->others++;
    }
}

unsigned timeline_used(const Timeline *t)
{
    return t->width_ns ? t->end_ns / t->width_ns + 1 : 1;
}

/* --- The image --------------------------------------------------------- */

/* Appends a number with a unit: "12.5 M". */
static void put_si(GString *out, double value)
{
    static const char units[] = " kMGTPE";
    unsigned i = 0;

    while (value >= 1000 && units[i + 1]) {
        value /= 1000;
        i++;
    }
    g_string_append_printf(out, "%.3g %c", value, units[i]);
}

static double bar_x(const Timeline *t, unsigned i)
{
    return LEFT + (double)PANEL_WIDTH * i / timeline_used(t);
}

/*
 * Appends bars from @base upwards or downwards.
 * @offset: of the number in TimelineBin
 */
static void put_bars(GString *out, const Timeline *t, size_t offset,
                     double scale, double base, bool down, const char *class)
{
    double width = (double)PANEL_WIDTH / timeline_used(t);
    unsigned i;

    g_string_append_printf(out, "<g class=\"%s\">\n", class);
    for (i = 0; i < timeline_used(t); i++) {
        const uint8_t *bin = (const uint8_t *)&t->bin[i];
        double height = *(const uint64_t *)(bin + offset) * scale;

        if (height > 0) {
            height = MAX(height, 1);
            g_string_append_printf(out, "<rect x=\"%.2f\" y=\"%.2f\" "
                                   "width=\"%.2f\" height=\"%.2f\"/>\n",
                                   bar_x(t, i), down ? base : base - height,
                                   MAX(width, 1), height);
        }
    }
    g_string_append(out, "</g>\n");
}

static void put_text(GString *out, double x, double y, const char *anchor,
                     const char *text)
{
    g_string_append_printf(out, "<text x=\"%.1f\" y=\"%.1f\" "
                           "text-anchor=\"%s\">%s</text>\n", x, y, anchor,
                           text);
}

/* A line in a panel with a label: so much per second at this height. */
static void put_scale(GString *out, const Timeline *t, double y, double value,
                      const char *unit)
{
    g_autoptr(GString) label = g_string_new(NULL);

    put_si(label, value * 1e9 / t->width_ns);
    g_string_append(label, unit);
    g_string_append_printf(out, "<path class=\"grid\" d=\"M%d %.1fh%d\"/>\n",
                           LEFT, y, PANEL_WIDTH);
    put_text(out, LEFT - 6, y + 4, "end", label->str);
}

static void put_time_axis(GString *out, const Timeline *t)
{
    double span_s = timeline_used(t) * (t->width_ns ?: WIDTH_NS) / 1e9;
    double step = 0.000001;
    unsigned i;

    for (i = 0; span_s / step > 8; i++) {
        step *= i % 3 == 1 ? 2.5 : 2;
    }
    for (i = 0; i * step <= span_s; i++) {
        double x = LEFT + PANEL_WIDTH * i * step / span_s;
        g_autofree char *label = g_strdup_printf("%.6g s", i * step);

        g_string_append_printf(out,
                               "<path class=\"grid\" d=\"M%.1f %dV%d\"/>\n",
                               x, TRAFFIC_TOP, CODE_TOP + CODE_HEIGHT);
        put_text(out, x, CODE_TOP + CODE_HEIGHT + 18, "middle", label);
    }
}

void timeline_svg(GString *out, const Timeline *t)
{
    uint64_t most_bytes = 1, most_instructions = 1;
    double middle = TRAFFIC_TOP + TRAFFIC_HEIGHT / 2;
    double code_base = CODE_TOP + CODE_HEIGHT;
    double bytes_scale;
    unsigned i;

    for (i = 0; i < TIMELINE_BINS; i++) {
        most_bytes = MAX(most_bytes, MAX(t->bin[i].received_bytes,
                                         t->bin[i].sent_bytes));
        most_instructions = MAX(most_instructions, t->bin[i].instructions);
    }
    bytes_scale = TRAFFIC_HEIGHT / 2 / (double)most_bytes;
    g_string_append_printf(out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
        "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n"
        "<style>.in{fill:#1f77b4}.out{fill:#d95f02}.code{fill:#7a7a7a}"
        ".grid{stroke:#ddd;fill:none}.axis{stroke:#444;fill:none}</style>\n"
        "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
        IMAGE_WIDTH, IMAGE_HEIGHT, IMAGE_WIDTH, IMAGE_HEIGHT, IMAGE_WIDTH,
        IMAGE_HEIGHT);
    put_time_axis(out, t);
    if (t->width_ns) {
        put_scale(out, t, TRAFFIC_TOP, most_bytes, "B/s");
        put_scale(out, t, TRAFFIC_TOP + TRAFFIC_HEIGHT, most_bytes, "B/s");
        put_scale(out, t, CODE_TOP, most_instructions, "insn/s");
    }
    put_bars(out, t, offsetof(TimelineBin, received_bytes), bytes_scale,
             middle, false, "in");
    put_bars(out, t, offsetof(TimelineBin, sent_bytes), bytes_scale, middle,
             true, "out");
    put_bars(out, t, offsetof(TimelineBin, instructions),
             CODE_HEIGHT / (double)most_instructions, code_base, false, "code");
    g_string_append_printf(out, "<path class=\"axis\" d=\"M%d %.1fh%dM%d "
                           "%.1fh%d\"/>\n", LEFT, middle, PANEL_WIDTH, LEFT,
                           code_base, PANEL_WIDTH);
    g_string_append_printf(out, "<rect class=\"in\" x=\"%d\" y=\"18\" "
                           "width=\"10\" height=\"10\"/>\n", LEFT);
    put_text(out, LEFT + 16, 27, "start", "received by the guest (up)");
    g_string_append_printf(out, "<rect class=\"out\" x=\"%d\" y=\"18\" "
                           "width=\"10\" height=\"10\"/>\n", LEFT + 220);
    put_text(out, LEFT + 236, 27, "start", "sent by the guest (down)");
    put_text(out, LEFT, CODE_TOP - 8, "start", "instructions executed");
    put_text(out, LEFT + PANEL_WIDTH, IMAGE_HEIGHT - 10, "end",
             "virtual time");
    g_string_append(out, "</svg>\n");
}
