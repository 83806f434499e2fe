/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Recording and replaying in netdev-replay-test, and comparing the consoles.
 */

#include "qemu/osdep.h"
#include "network.h"
#include "rig.h"
#include "session.h"

/* --- Recording --------------------------------------------------------- */

Vm *recorder_start(unsigned adapters, const char *options)
{
    unsigned n;
    Vm *vm;

    for (n = 0; n < adapters; n++) {
        peer_open(n);
    }
    vm = vm_start("%s", options);
    guest_await(adapters);
    return vm;
}

static void assert_console(void)
{
    g_autofree char *console = file_read("console", NULL);
    g_autoptr(GString) seen = g_string_new(NULL);
    g_auto(GStrv) lines = g_strsplit(console, "\n", -1);
    size_t i;

    for (i = 0; lines[i] && *lines[i]; i++) {
        g_assert_cmpuint(strlen(lines[i]), ==,
                         strlen("PORT LEN_ SUM_ IRQS TIME TIME "));
        g_string_append_printf(seen, "%.14s\n", lines[i]);
    }
    g_assert_cmpstr(seen->str, ==, rig.expected->str);
}

void recorder_end(void)
{
    unsigned n;

    file_rename("console", "console.recorded");
    for (n = 0; n < ADAPTERS; n++) {
        peer_close(n);
    }
}

void recorder_keep_console(void)
{
    assert_console();
    recorder_end();
}

void recorder_finish(Vm *vm, int status)
{
    g_autofree char *output = vm_finish(vm, status);

    assert_quiet(output);
    recorder_keep_console();
}

void recorder_kill(Vm *vm)
{
    uint64_t len_bytes = file_size("recording");
    int64_t end = rig_deadline();

    while (file_size("recording") == len_bytes) {
        vm_assert_status(vm, "running");
        if (g_get_monotonic_time() > end) {
            fail("the recorder wrote nothing within %d s", CEILING_S);
        }
    }
    /* The recorder replies once the write that has begun is complete. */
    vm_assert_status(vm, "running");
    kill(vm->pid, SIGKILL);
    g_free(vm_finish(vm, -SIGKILL));
    recorder_keep_console();
}

void record(unsigned frames, const char *options)
{
    Vm *vm = recorder_start(1, options);

    exchange_many(0, frames);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);
}

void record_to_quit(unsigned frames, const char *options)
{
    Vm *vm = recorder_start(1, options);

    exchange_many(0, frames);
    vm_command(vm, "{ 'execute': 'quit' }");
    recorder_finish(vm, EXIT_SUCCESS);
}

/* --- Replaying --------------------------------------------------------- */

void assert_identical(void)
{
    g_autofree char *recorded = file_read("console.recorded", NULL);
    g_autofree char *replayed = file_read("console", NULL);

    g_assert_cmpstr(replayed, ==, recorded);
}

void assert_prefix(void)
{
    g_autofree char *recorded = file_read("console.recorded", NULL);
    g_autofree char *replayed = NULL;

    if (!g_file_test("console", G_FILE_TEST_EXISTS)) {
        return;                 /* QEMU refused before it created the file */
    }
    replayed = file_read("console", NULL);
    if (!g_str_has_prefix(recorded, replayed)) {
        fail("the console of the replay:\n%s\n"
             "is not the beginning of the recorded one:\n%s", replayed,
             recorded);
    }
}

void replay_finish_identical(Vm *vm, int status)
{
    g_autofree char *output = vm_finish(vm, status);

    assert_quiet(output);
    assert_identical();
}

void assert_replays(const char *options)
{
    replay_finish_identical(vm_start("%s", options), EXIT_STATUS);
}

/* --- QEMU's output ----------------------------------------------------- */

void assert_quiet(const char *output)
{
    if (*output) {
        fail("QEMU should print nothing, but printed: %s", output);
    }
}

void assert_says(const char *output, const char *const *says)
{
    for (; *says; says++) {
        if (!strstr(output, *says)) {
            fail("'%s' is missing in the output of QEMU: %s", *says, output);
        }
    }
}

void assert_one_message(const char *output)
{
    g_autofree char *name = g_path_get_basename(rig.binary);
    g_auto(GStrv) lines = g_strsplit(output, "\n", -1);
    unsigned messages = 0;
    size_t i;

    for (i = 0; lines[i]; i++) {
        messages += g_str_has_prefix(lines[i], name) &&
                    !strstr(lines[i], ": warning: ");
    }
    if (messages != 1) {
        fail("QEMU printed %u messages, expected one: %s", messages, output);
    }
}

void assert_warns_once(const char *output, const char *const *says)
{
    g_auto(GStrv) lines = g_strsplit(output, "\n", -1);

    g_assert_cmpuint(g_strv_length(lines), ==, 2);      /* the last is empty */
    assert_says(output, SAYS("warning"));
    assert_says(output, says);
}

void assert_fails(Vm *vm, const char *const *says)
{
    g_autofree char *output = vm_finish(vm, EXIT_FAILURE);

    assert_one_message(output);
    assert_says(output, says);
}

void assert_refused(Vm *vm, const char *const *says)
{
    assert_fails(vm, says);
    g_assert_cmpuint(file_size("console"), ==, 0);
}
