/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qemu-replay pcap: the packets of a recording as a capture for Wireshark.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "tool.h"

/* Returns: how many sent packets have no bytes in the recording. */
static uint64_t pcap_write(Recording *r, ReplayPcapng *c,
                           ReplayLogStatus *status, Error **errp)
{
    uint64_t without_bytes = 0;
    ReplayLogEvent ev;
    ReplayPcapngPacket p;

    while ((*status = recording_next(r, &ev, errp)) == REPLAY_LOG_OK) {
        if (event_packet(r, &ev, &p)) {
            if (!replay_pcapng_put(c, &p)) {
                break;
            }
        } else if (ev.kind == REPLAY_EV_NET_SENT) {
            replay_pcapng_put_length(c, MIN(ev.num[0], UINT_MAX), ev.num[1]);
            without_bytes++;
        }
    }
    return without_bytes;
}

static int pcap_run(int argc, char **argv)
{
    ToolArgs args = {
        .usage = "FILE OUT.pcapng",
        .description =
            "Times are the guest's virtual time. The comment of a packet has "
            "its instruction\ncount, event and packet number. OUT.pcapng can "
            "be \"-\" for stdout. A recording\nhas the bytes of the packets "
            "that the guest sent only if its filter-replay had\nverify=full; "
            "any replay of it can write them: -icount rr=replay,rrpcap=FILE.\n"
            "\nExample: the first packets, as text\n"
            "  qemu-replay pcap my.rr - | tshark -c 10 -r -\n",
        .n_min = 2,
        .n_max = 2,
    };
    g_autoptr(Recording) r = NULL;
    ReplayPcapng *c;
    ReplayLogStatus status;
    Error *err = NULL, *ended = NULL;
    uint64_t without_bytes;

    if (!tool_parse(&tool_pcap, &args, argc, argv)) {
        return TOOL_TROUBLE;
    }
    if (g_str_equal(args.arg[1], "-") && isatty(STDOUT_FILENO)) {
        error_report("a capture has bytes that a terminal would interpret");
        error_printf("Write to a file, or to a pipe: " PROGRAM " pcap %s - | "
                     "tshark -r -\n", args.arg[0]);
        return TOOL_TROUBLE;
    }
    r = recording_open(args.arg[0], &err);
    if (!r) {
        return tool_fail(err);
    }
    c = replay_pcapng_open(args.arg[1], replay_log_reader_uuid(r->reader),
                           r->desc, r->clock.is_exact, &err);
    if (!c) {
        return tool_fail(err);
    }
    without_bytes = pcap_write(r, c, &status, &ended);
    if (!replay_pcapng_close(c, &err)) {
        error_free(ended);
        return tool_fail(err);
    }
    if (without_bytes) {
        warn_report("%" PRIu64 " packets that the guest sent are not in the "
                    "capture: the recording does not have their bytes",
                    without_bytes);
    }
    return recording_ended(r, status, ended);
}

const Tool tool_pcap = {
    .name = "pcap",
    .summary = "Write the packets to a file for Wireshark",
    .run = pcap_run,
};
