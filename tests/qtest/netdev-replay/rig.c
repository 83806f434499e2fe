/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Setting up and removing the directory of a test of netdev-replay-test, the
 * files in it, and the report when the test fails.
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "guest.h"
#include "libqtest.h"
#include "network.h"
#include "qemu/units.h"
#include "rig.h"
#include "vm.h"

Rig rig;

void rig_fail_at(const char *file, int line, const char *func, const char *fmt,
                 ...)
{
    g_autofree char *message = NULL;
    va_list ap;

    va_start(ap, fmt);
    message = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_assertion_message(G_LOG_DOMAIN, file, line, func, message);
    g_assert_not_reached();
}

int64_t rig_deadline(void)
{
    return g_get_monotonic_time() + CEILING_S * G_USEC_PER_SEC;
}

/* --- Files ------------------------------------------------------------- */

uint64_t file_size(const char *name)
{
    GStatBuf st;

    return g_stat(name, &st) == 0 ? st.st_size : 0;
}

char *file_read(const char *name, size_t *len_bytes)
{
    g_autoptr(GError) err = NULL;
    char *contents;

    if (!g_file_get_contents(name, &contents, len_bytes, &err)) {
        fail("%s", err->message);
    }
    return contents;
}

char *file_read_data(const char *name)
{
    g_autofree char *path = g_build_filename(rig.home, "tests/data/replay",
                                             name, NULL);

    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        fail("'%s' is missing; was the test started in QEMU's build "
             "directory?", path);
    }
    return file_read(path, NULL);
}

void file_write(const char *name, const void *data, size_t len_bytes)
{
    g_autoptr(GError) err = NULL;

    if (!g_file_set_contents(name, data, len_bytes, &err)) {
        fail("%s", err->message);
    }
}

void file_rename(const char *from, const char *to)
{
    g_assert_cmpint(g_rename(from, to), ==, 0);
}

/* --- Before and after a test ------------------------------------------- */

/* Called when a test fails: print how to run it again, and QEMU's output. */
static void report_failure(void *opaque)
{
    guint i;

    fprintf(stderr, "# the files of this test are in %s; to run it again:\n"
            "# QTEST_QEMU_BINARY=%s %s -p /%s/netdev-replay/%s\n",
            rig.dir, rig.binary, rig.program, qtest_get_arch(), rig.test);
    for (i = 0; i < rig.vms->len; i++) {
        Vm *vm = g_ptr_array_index(rig.vms, i);

        vm_kill(vm);
        fprintf(stderr, "# output of QEMU: %s\n", vm->output->str);
    }
}

static void bios_write(void)
{
    g_autofree uint8_t *bios = g_malloc0(BIOS_BYTES);

    memcpy(bios, echo_guest, sizeof(echo_guest));
    memcpy(bios + BIOS_BYTES - 16, reset_vector, sizeof(reset_vector));
    file_write("bios", bios, BIOS_BYTES);
}

void rig_set_up(const char *test)
{
    unsigned n;

    rig.test = test;
    rig.dir = g_dir_make_tmp("netdev-replay-test-XXXXXX", NULL);
    g_assert_nonnull(rig.dir);
    g_assert_cmpint(g_chdir(rig.dir), ==, 0);
    rig.vms = g_ptr_array_new_with_free_func(vm_free);
    for (n = 0; n < ADAPTERS; n++) {
        rig.peer[n] = -1;
    }
    rig.is_stream = false;
    rig.is_udp = false;
    rig.frames = 0;
    rig.expected = g_string_new(NULL);
    rig.file_limit_bytes = 0;
    bios_write();
    qtest_add_abrt_handler(report_failure, &rig);
}

void rig_tear_down(void)
{
    g_autoptr(GDir) dir = g_dir_open(".", 0, NULL);
    const char *name;
    unsigned n;

    g_assert_cmpuint(rig.vms->len, ==, 0);      /* all have ended */
    g_ptr_array_free(rig.vms, true);
    for (n = 0; n < ADAPTERS; n++) {
        peer_close(n);
    }
    g_string_free(rig.expected, true);
    if (getenv("NETDEV_REPLAY_KEEP")) {
        g_test_message("the files of this test are in %s", rig.dir);
    } else {
        while ((name = g_dir_read_name(dir))) {
            g_remove(name);
        }
        g_assert_cmpint(g_rmdir(rig.dir), ==, 0);
    }
    g_assert_cmpint(g_chdir(rig.home), ==, 0);
    g_free(rig.dir);
    qtest_remove_abrt_handler(&rig);
}

void rig_init(const char *program)
{
    rig.program = program;
    rig.binary = realpath(getenv("QTEST_QEMU_BINARY"), NULL);
    g_assert_nonnull(rig.binary);
    if (getenv("QTEST_QEMU_IMG")) {
        rig.qemu_img = realpath(getenv("QTEST_QEMU_IMG"), NULL);
    }
    rig.home = g_get_current_dir();
}

void rig_cleanup(void)
{
    g_free(rig.home);
    free(rig.qemu_img);
    free(rig.binary);
}
