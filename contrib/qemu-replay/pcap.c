/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qemu-replay pcap: the packets of a recording as a capture for Wireshark.
 * With --replay a QEMU writes the capture, which knows what the guest sends.
 * The user gives its command line: the one in the recording may be that of a
 * stranger.
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

/* Appends ",NAME=VALUE"; a comma in a value of QEMU's options is doubled. */
static void put_option(GString *out, const char *name, const char *value)
{
    g_string_append_printf(out, ",%s=", name);
    for (; *value; value++) {
        g_string_append_c(out, *value);
        if (*value == ',') {
            g_string_append_c(out, ',');
        }
    }
}

/* Returns: what -icount needs to replay @r, owned. */
static char *replay_options(const Recording *r, const char *out)
{
    static const char *const recorded[] = { "shift", "sleep", "align" };
    g_autoptr(GString) options = g_string_new("rr=replay");
    size_t i;

    for (i = 0; i < ARRAY_SIZE(recorded); i++) {
        g_autofree char *key = g_strconcat("icount.", recorded[i], NULL);
        const char *value = replay_log_description_get(r->desc, key);

        /* "auto", "on", "off" or a number; QEMU says what else is wrong. */
        if (value && g_ascii_isalnum(*value)) {
            put_option(options, recorded[i], value);
        }
    }
    put_option(options, "rrfile", r->path);
    put_option(options, "rrpcap", out);
    return g_string_free(g_steal_pointer(&options), false);
}

/*
 * @command: the program and the arguments of a QEMU, @n of them.  What is
 *           appended replaces its own options of rr=.
 * Returns: the exit status.
 */
static int pcap_replay(const Recording *r, const char *out, char **command,
                       int n)
{
    g_autofree char *options = replay_options(r, out);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    int status;

    for (; n; n--) {
        g_ptr_array_add(argv, *command++);
    }
    g_ptr_array_add(argv, (char *)"-icount");
    g_ptr_array_add(argv, options);
    g_ptr_array_add(argv, NULL);
    if (!g_spawn_sync(NULL, (char **)argv->pdata, NULL,
                      G_SPAWN_SEARCH_PATH | G_SPAWN_CHILD_INHERITS_STDIN,
                      NULL, NULL, NULL, NULL, &status, &error)) {
        error_report("cannot run QEMU: %s", error->message);
        return TOOL_TROUBLE;
    }
    /* The guest may choose an exit status, but 1 is that of a failed replay. */
    if (!WIFEXITED(status) || WEXITSTATUS(status) == EXIT_FAILURE) {
        error_report("the replay has failed; '%s' has at most the packets up "
                     "to there", out);
        return TOOL_TROUBLE;
    }
    return TOOL_OK;
}

static int pcap_run(int argc, char **argv)
{
    gboolean replay = false;
    const GOptionEntry entries[] = {
        { "replay", 0, 0, G_OPTION_ARG_NONE, &replay,
          "have a QEMU replay FILE and capture what it sends, too", NULL },
        { }
    };
    ToolArgs args = {
        .usage = "FILE OUT.pcapng [-- QEMU ARGUMENT...]",
        .description =
            "Times are the guest's virtual time. The comment of a packet has "
            "its instruction\ncount, event and packet number. OUT.pcapng can "
            "be \"-\" for stdout. A recording\nhas the bytes of the packets "
            "that the guest sent only if its filter-replay had\nverify=full; "
            "any replay of it can write them: -icount rr=replay,rrpcap=FILE, "
            "or --replay\nwith the command line of the recorder, whose "
            "-icount need not be changed.\n"
            "\nExample: the first packets, as text; all packets, also those "
            "that are sent\n"
            "  qemu-replay pcap my.rr - | tshark -c 10 -r -\n"
            "  qemu-replay pcap --replay my.rr my.pcapng -- "
            "qemu-system-x86_64 -hda my.img\n",
        .entries = entries,
        .n_min = 2,
        .n_max = INT_MAX,
    };
    g_autoptr(Recording) r = NULL;
    ReplayPcapng *c;
    ReplayLogStatus status;
    Error *err = NULL, *ended = NULL;
    uint64_t without_bytes;
    int n_before;

    if (!tool_parse(&tool_pcap, &args, argc, argv)) {
        return TOOL_TROUBLE;
    }
    /* The command may stand behind a "--". */
    n_before = args.n > 2 && g_str_equal(args.arg[2], "--") ? 3 : 2;
    if (replay != (args.n > n_before)) {
        error_report(replay ? "--replay needs the command line of a QEMU"
                            : "there are too many arguments");
        error_printf("usage: " PROGRAM " pcap --replay FILE OUT.pcapng -- QEMU "
                     "ARGUMENT...\n");
        return TOOL_TROUBLE;
    }
    if (replay && g_str_equal(args.arg[1], "-")) {
        error_report("QEMU itself may print on stdout: give the capture a "
                     "name");
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
    if (replay) {
        return pcap_replay(r, args.arg[1], args.arg + n_before,
                           args.n - n_before);
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
