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

FILE *tool_create(const char *path)
{
    FILE *file;

    if (replay_log_is_recording(path)) {
        error_report("cannot write '%s': the file is a recording", path);
        return NULL;
    }
    file = fopen(path, "w");
    if (!file) {
        error_report("cannot write '%s': %s", path, strerror(errno));
    }
    return file;
}

bool tool_close(FILE *file, const char *path)
{
    bool failed = ferror(file);

    if (fclose(file) || failed) {
        error_report("cannot write '%s': %s", path, strerror(errno));
        return false;
    }
    return true;
}

char *tool_absolute(const char *path)
{
    g_autofree char *folder = g_get_current_dir();

    return g_path_is_absolute(path) ? g_strdup(path)
                                    : g_build_filename(folder, path, NULL);
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

void tool_put_u64(GString *out, uint64_t value, unsigned width, char fill)
{
    char digits[20];
    unsigned at = sizeof(digits);

    do {
        digits[--at] = '0' + value % 10;
        value /= 10;
    } while (value);
    for (; width > sizeof(digits) - at; width--) {
        g_string_append_c(out, fill);
    }
    g_string_append_len(out, digits + at, sizeof(digits) - at);
}

void tool_put_time(GString *out, uint64_t time_ns)
{
    tool_put_u64(out, time_ns / 1000000000, 1, '0');
    g_string_append_c(out, '.');
    tool_put_u64(out, time_ns % 1000000000, 9, '0');
}
