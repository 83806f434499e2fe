/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Events as text and as JSON.
 */

#include "qemu/osdep.h"
#include "qapi/qapi-types-run-state.h"
#include "packet.h"
#include "tool.h"

/* How many bytes of an event a summary shows. */
#define SHOWN_BYTES     32
/* How many bytes of the name of a link; QEMU's own names are shorter. */
#define LINK_NAME_BYTES 255

/*
 * The names of the numbers of each kind, in the order of the fields of
 * REPLAY_LOG_EVENTS.  They are keys of the JSON output, so they stay.
 */
static const char *const field_names[REPLAY_LOG_KINDS][REPLAY_LOG_NUMS_MAX] = {
    [REPLAY_EV_INSTRUCTION] = { "count" },
    [REPLAY_EV_VCPU] = { "vcpu" },
    [REPLAY_EV_ASYNC_BH] = { "id" },
    [REPLAY_EV_ASYNC_BH_ONESHOT] = { "id" },
    [REPLAY_EV_ASYNC_INPUT] = { "type", "selector", "value", "down" },
    [REPLAY_EV_ASYNC_CHAR_READ] = { "chardev" },
    [REPLAY_EV_ASYNC_BLOCK] = { "id" },
    [REPLAY_EV_ASYNC_NET] = { "adapter-number", "flags" },
    [REPLAY_EV_ASYNC_NET_LINK] = { "up" },
    [REPLAY_EV_ASYNC_CHAR_MUX] = { "chardev", "front-end" },
    [REPLAY_EV_ASYNC_CHAR_BREAK] = { "chardev", "front-end" },
    [REPLAY_EV_ASYNC_REQUEST] = { "request" },
    [REPLAY_EV_ASYNC_RNG] = { "rng" },
    [REPLAY_EV_SHUTDOWN] = { "cause" },
    [REPLAY_EV_CHAR_WRITE] = { "result", "offset" },
    [REPLAY_EV_CHAR_READ_ALL_ERROR] = { "result" },
    [REPLAY_EV_AUDIO_OUT] = { "samples" },
    [REPLAY_EV_AUDIO_IN] = { "samples", "position" },
    [REPLAY_EV_RANDOM] = { "result" },
    [REPLAY_EV_CLOCK_HOST] = { "ns" },
    [REPLAY_EV_CLOCK_VIRTUAL_RT] = { "ns" },
    [REPLAY_EV_NET_SENT] = { "adapter-number", "sent-length", "crc32c" },
    [REPLAY_EV_NET_SENT_DATA] = { "adapter-number" },
};

const char *event_field(uint8_t kind, unsigned i)
{
    return i < REPLAY_LOG_NUMS_MAX ? field_names[kind][i] : NULL;
}

static bool event_field_is_signed(uint8_t kind, unsigned i)
{
    char field = replay_log_event_fields(kind)[i];

    return field == 's' || field == 'c';
}

bool event_kind_is(uint8_t kind, const char *word)
{
    const char *name = replay_log_event_name(kind);
    size_t n = strlen(word);
    const char *p;

    if (!name || !n) {
        return false;
    }
    for (p = strstr(name, word); p; p = strstr(p + 1, word)) {
        if ((p == name || p[-1] == '-') && (!p[n] || p[n] == '-')) {
            return true;
        }
    }
    return false;
}

bool event_adapter(const ReplayLogEvent *ev, uint64_t *number)
{
    if (ev->kind != REPLAY_EV_ASYNC_NET && ev->kind != REPLAY_EV_NET_SENT &&
        ev->kind != REPLAY_EV_NET_SENT_DATA) {
        return false;
    }
    *number = ev->num[0];
    return true;
}

bool event_packet(const Recording *r, const ReplayLogEvent *ev,
                  ReplayPcapngPacket *p)
{
    bool is_sent = ev->kind == REPLAY_EV_NET_SENT_DATA;

    if ((!is_sent && ev->kind != REPLAY_EV_ASYNC_NET) ||
        ev->num[0] >= r->n_adapters) {
        return false;
    }
    *p = (ReplayPcapngPacket) {
        .adapter = ev->num[0],
        .is_sent = is_sent,
        .flags = is_sent ? 0 : ev->num[1],
        .time_ns = r->time_ns,
        .icount = ev->icount,
        .event = ev->number,
        .packet = event_packet_number(ev),
        .data = ev->data,
        .len_bytes = ev->len_bytes,
    };
    return true;
}

ReplayPcapngFrame event_frame(const Recording *r, const ReplayPcapngPacket *p)
{
    ReplayPcapngFrame frame;

    replay_pcapng_frame(&r->adapter[p->adapter], p->flags, p->data,
                        p->len_bytes, &frame);
    return frame;
}

static void put_bytes(GString *out, const ReplayLogEvent *ev)
{
    if (ev->len_bytes) {
        g_string_append(out, ev->n_nums ? " \"" : "\"");
        tool_escape(out, ev->data, MIN(ev->len_bytes, SHOWN_BYTES));
        g_string_append(out, ev->len_bytes > SHOWN_BYTES ? "\"..." : "\"");
    }
}

static void put_numbers(GString *out, const ReplayLogEvent *ev)
{
    unsigned i;

    for (i = 0; i < ev->n_nums; i++) {
        uint64_t value = ev->num[i];

        if (i) {
            g_string_append_c(out, ' ');
        }
        g_string_append(out, event_field(ev->kind, i) ?: "?");
        g_string_append_c(out, '=');
        if (event_field_is_signed(ev->kind, i) && (int64_t)value < 0) {
            g_string_append_c(out, '-');
            value = -value;
        }
        tool_put_u64(out, value, 1, ' ');
    }
}

void event_summary(GString *out, const Recording *r, const ReplayLogEvent *ev)
{
    static const char *const requests[] = {
        "reset", "power button", "wake-up", "NMI"
    };
    ReplayPcapngPacket p;

    if (event_packet(r, ev, &p)) {
        ReplayPcapngFrame frame = event_frame(r, &p);

        packet_summary(out, frame.data, frame.len_bytes);
        return;
    }
    switch (ev->kind) {
    case REPLAY_EV_NET_SENT:
        g_string_append_printf(out, "not recorded, CRC32C %08x",
                               (unsigned)ev->num[2]);
        return;
    case REPLAY_EV_ASYNC_NET_LINK:
        tool_escape(out, ev->data, MIN(ev->len_bytes, LINK_NAME_BYTES));
        g_string_append(out, ev->num[0] ? " up" : " down");
        return;
    case REPLAY_EV_ASYNC_REQUEST:
        if (ev->num[0] < G_N_ELEMENTS(requests)) {
            g_string_append(out, requests[ev->num[0]]);
            return;
        }
        break;
    case REPLAY_EV_SHUTDOWN:
        if (ev->num[0] < SHUTDOWN_CAUSE__MAX) {
            g_string_append(out, ShutdownCause_str(ev->num[0]));
            return;
        }
        break;
    case REPLAY_EV_CLOCK_HOST:
    case REPLAY_EV_CLOCK_VIRTUAL_RT:
        tool_put_time(out, ev->num[0]);
        return;
    }
    put_numbers(out, ev);
    put_bytes(out, ev);
}

void event_json(JSONWriter *w, const Recording *r, const ReplayLogEvent *ev)
{
    ReplayPcapngPacket p;
    uint64_t adapter;
    unsigned i;

    json_writer_uint64(w, "event", ev->number);
    json_writer_uint64(w, "icount", ev->icount);
    json_writer_uint64(w, "time-ns", r->time_ns);
    json_writer_str(w, "kind", replay_log_event_name(ev->kind));
    if (event_adapter(ev, &adapter)) {
        json_writer_str(w, "adapter", recording_adapter(r, adapter));
        json_writer_str(w, "direction", ev->kind == REPLAY_EV_ASYNC_NET
                                        ? "received" : "sent");
    }
    if (ev->kind == REPLAY_EV_ASYNC_NET) {
        json_writer_uint64(w, "packet", event_packet_number(ev));
    }
    for (i = 0; i < ev->n_nums; i++) {
        const char *name = event_field(ev->kind, i) ?: "?";

        if (event_field_is_signed(ev->kind, i)) {
            json_writer_int64(w, name, ev->num[i]);
        } else {
            json_writer_uint64(w, name, ev->num[i]);
        }
    }
    if (ev->data) {
        json_writer_uint64(w, "length", ev->len_bytes);
    }
    if (event_packet(r, ev, &p)) {
        g_autoptr(GString) text = g_string_new(NULL);
        ReplayPcapngFrame frame = event_frame(r, &p);

        packet_summary(text, frame.data, frame.len_bytes);
        json_writer_str(w, "summary", text->str);
    }
}
