/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the sub-commands print.  Bytes of a recording can be those of a
 * stranger, so a terminal gets nothing of them but printable characters.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "tool.h"

int tool_fail(Error *err)
{
    fflush(stdout);
    error_report_err(err);
    return TOOL_TROUBLE;
}

int tool_finish(int status)
{
    if (fflush(stdout) || ferror(stdout)) {
        error_report("cannot write to stdout: %s", strerror(errno));
        return TOOL_TROUBLE;
    }
    return status;
}

void tool_print_json(JSONWriter *w)
{
    puts(json_writer_get(w));
    json_writer_free(w);
}

void tool_escape(GString *out, const uint8_t *data, size_t len_bytes)
{
    size_t i;

    for (i = 0; i < len_bytes; i++) {
        if (data[i] == '\\' || data[i] == '"') {
            g_string_append_c(out, '\\');
            g_string_append_c(out, data[i]);
        } else if (g_ascii_isprint(data[i])) {
            g_string_append_c(out, data[i]);
        } else {
            g_string_append_printf(out, "\\x%02x", data[i]);
        }
    }
}

void tool_put_time(GString *out, uint64_t time_ns)
{
    g_string_append_printf(out, "%" PRIu64 ".%09u", time_ns / 1000000000,
                           (unsigned)(time_ns % 1000000000));
}
