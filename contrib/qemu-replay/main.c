/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qemu-replay: look into a recording of record and replay without running it,
 * and take it to another machine.
 * Each sub-command has a file of its own; docs/qemu-replay.1 describes them.
 */

#include "qemu/osdep.h"
#include "qemu-version.h"
#include "qemu/error-report.h"
#include "tool.h"

/* A large buffer for stdout: a line of a list is short. */
#define STDOUT_BYTES    (256 * 1024)

static const Tool *const tools[] = {
    &tool_info, &tool_list, &tool_stats, &tool_pcap, &tool_verify, &tool_diff,
    &tool_cut, &tool_report,
#ifdef CONFIG_LIBARCHIVE
    &tool_pack, &tool_unpack,
#endif
};

const char *tool_program;

static void print_help(void)
{
    unsigned i;

    printf("usage: " PROGRAM " COMMAND [OPTION...] FILE...\n\n"
           "Look into a recording of QEMU's record and replay.\n\n"
           "Commands:\n");
    for (i = 0; i < ARRAY_SIZE(tools); i++) {
        printf("  %-8s %s\n", tools[i]->name, tools[i]->summary);
    }
    printf("\n" PROGRAM " COMMAND --help describes a command.\n"
           "Exit status: 0; 1 if verify finds a fault, diff a difference, or "
           "unpack a snapshot\nthat is not trusted; 2 for wrong options and "
           "files that cannot be used.\n");
}

int main(int argc, char **argv)
{
    unsigned i;

    error_init(PROGRAM);
    tool_program = argv[0];
    setvbuf(stdout, NULL, _IOFBF, STDOUT_BYTES);
    if (argc < 2) {
        error_report("a command is missing");
        error_printf(PROGRAM " --help lists the commands.\n");
        return TOOL_TROUBLE;
    }
    if (g_str_equal(argv[1], "--help") || g_str_equal(argv[1], "-h")) {
        print_help();
        return tool_finish(TOOL_OK);
    }
    if (g_str_equal(argv[1], "--version")) {
        printf(PROGRAM " " QEMU_FULL_VERSION ", recordings up to version %d\n",
               REPLAY_LOG_VERSION);
        return tool_finish(TOOL_OK);
    }
    for (i = 0; i < ARRAY_SIZE(tools); i++) {
        if (g_str_equal(argv[1], tools[i]->name)) {
            return tool_finish(tools[i]->run(argc - 1, argv + 1));
        }
    }
    error_report("there is no command '%s'", argv[1]);
#ifndef CONFIG_LIBARCHIVE
    error_printf("(pack and unpack need libarchive, without which this program "
                 "was built.)\n");
#endif
    error_printf(PROGRAM " --help lists the commands.\n");
    return TOOL_TROUBLE;
}
