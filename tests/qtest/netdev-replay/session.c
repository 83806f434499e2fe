/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Recording and replaying in netdev-replay-test, and comparing the consoles.
 */

#include "qemu/osdep.h"
#include "network.h"
#include "replay/replay-log.h"
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

/* Returns: how many packets of the guest are in the file so far. */
static unsigned recording_count_sent(void)
{
    ReplayLogReader *reader;
    ReplayLogEvent ev;
    unsigned sent = 0;
    g_autofree char *file = NULL;
    size_t len_bytes;

    /* The recorder has locked the file; a copy can be read. */
    file = file_read("recording", &len_bytes);
    file_write("recording.copy", file, len_bytes);
    reader = replay_log_reader_open("recording.copy", NULL);
    if (!reader) {
        return 0;               /* the description is not complete yet */
    }
    while (replay_log_read_event(reader, &ev, NULL) == REPLAY_LOG_OK) {
        sent += ev.kind == REPLAY_EV_NET_SENT ||
                ev.kind == REPLAY_EV_NET_SENT_DATA;
    }
    replay_log_reader_close(reader);
    return sent;
}

/* The guest sends a packet with each adapter, and one for each line. */
static unsigned expected_count_sent(void)
{
    unsigned n, sent = 0;
    size_t i;

    for (n = 0; n < ADAPTERS; n++) {
        sent += rig.peer[n] >= 0;
    }
    for (i = 0; i < rig.expected->len; i++) {
        sent += rig.expected->str[i] == '\n';
    }
    return sent;
}

/*
 * A thread of the recorder writes chunks, so the file can grow before it has
 * all of a chunk, or with a chunk that was closed earlier.  Only its content
 * tells.
 */
void recorder_kill(Vm *vm)
{
    unsigned expected = expected_count_sent();
    int64_t end = rig_deadline();

    while (recording_count_sent() < expected) {
        vm_assert_status(vm, "running");
        if (g_get_monotonic_time() > end) {
            fail("the recording has %u packets of the guest after %d s, "
                 "expected %u", recording_count_sent(), CEILING_S, expected);
        }
    }
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
