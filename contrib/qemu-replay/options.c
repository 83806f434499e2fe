/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The arguments of the sub-commands.
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "tool.h"

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
