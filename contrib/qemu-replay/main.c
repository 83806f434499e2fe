/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qemu-replay: look into a recording of record and replay without running it.
 * Each sub-command has a file of its own; docs/qemu-replay.rst describes them.
 */

#include "qemu/osdep.h"
#include "qemu-version.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "tool.h"

#define PROGRAM     "qemu-replay"

/* A large buffer for stdout: a line of a list is short. */
#define STDOUT_BYTES    (256 * 1024)

static const Tool *const tools[] = {
    &tool_info, &tool_list, &tool_stats, &tool_pcap, &tool_verify, &tool_diff,
    &tool_cut, &tool_report,
};

bool tool_parse_u64(const char *option, const char *text, uint64_t *value)
{
    if (qemu_strtou64(text, NULL, 0, value) < 0 || strchr(text, '-')) {
        error_report("%s: '%s' is not a number from 0 to 2^64 - 1", option,
                     text);
        return false;
    }
    return true;
}

bool tool_parse(const Tool *tool, ToolArgs *a, int argc, char **argv)
{
    g_autofree char *output = NULL;
    g_autofree char *name = g_strconcat(PROGRAM " ", tool->name, NULL);
    const GOptionEntry common[] = {
        { "output", 0, 0, G_OPTION_ARG_STRING, &output,
          "print text for people (the default) or JSON", "human|json" },
        { }
    };
    g_autoptr(GOptionContext) context = g_option_context_new(a->usage);
    g_autoptr(GError) error = NULL;

    g_set_prgname(name);
    g_option_context_set_summary(context, tool->summary);
    g_option_context_set_description(context, a->description);
    if (a->entries) {
        g_option_context_add_main_entries(context, a->entries, NULL);
    }
    if (a->has_json) {
        g_option_context_add_main_entries(context, common, NULL);
    }
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        error_report("%s", error->message);
        error_printf("%s --help lists the options.\n", name);
        return false;
    }
    if (argc > 1 && g_str_equal(argv[1], "--")) {
        argv++;
        argc--;
    }
    a->n = argc - 1;
    a->arg = argv + 1;
    if (a->n < a->n_min || a->n > a->n_max) {
        error_report("%s, found %d arguments", a->n < a->n_min ?
                     "an argument is missing" : "there are too many arguments",
                     a->n);
        error_printf("usage: %s [OPTION...] %s\n", name, a->usage);
        return false;
    }
    if (output && !g_str_equal(output, "human") &&
        !g_str_equal(output, "json")) {
        error_report("--output: found '%s', expected human or json", output);
        return false;
    }
    a->is_json = output && g_str_equal(output, "json");
    return true;
}

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
           "Exit status: 0; 1 if verify finds a fault or diff a difference; 2 "
           "for wrong\noptions and files that cannot be used.\n");
}

int main(int argc, char **argv)
{
    unsigned i;

    error_init(PROGRAM);
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
    error_printf(PROGRAM " --help lists the commands.\n");
    return TOOL_TROUBLE;
}
