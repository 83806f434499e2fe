/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The description of the machine with which a recording begins, and its
 * comparison with the machine that is to replay the recording.  It describes
 * what the guest can notice, and uses the names that the user gave.  Paths of
 * the host, ports and back ends are not compared.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu-version.h"
#include "qemu/accel.h"
#include "qemu/config-file.h"
#include "qemu/error-report.h"
#include "qemu/option.h"
#include "qemu/units.h"
#include "hw/boards.h"
#include "hw/core/cpu.h"
#include "sysemu/block-backend.h"
#include "sysemu/replay.h"
#include "replay-kinds.h"
#include "replay-machine.h"
#include "replay-now.h"

static void G_GNUC_PRINTF(3, 4)
replay_machine_add(ReplayLogDescription *d, const char *key,
                   const char *fmt, ...)
{
    g_autofree char *value = NULL;
    va_list ap;

    va_start(ap, fmt);
    value = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    replay_log_description_add(d, key, value);
}

/* The -icount options that affect the guest's time. */
static void replay_machine_describe_icount(ReplayLogDescription *d)
{
    QemuOpts *opts = qemu_opts_find(qemu_find_opts("icount"), NULL);
    const char *shift = qemu_opt_get(opts, "shift");

    replay_machine_add(d, "icount.shift", "%s", shift ?: "");
    replay_machine_add(d, "icount.align", "%s",
                       qemu_opt_get_bool(opts, "align", false) ? "on" : "off");
    replay_machine_add(d, "icount.sleep", "%s",
                       qemu_opt_get_bool(opts, "sleep", true) ? "on" : "off");
    /* A replay may begin at any snapshot that belongs to the recording. */
    replay_machine_add(d, REPLAY_LOG_KEY_INFO "rrsnapshot", "%s",
                       replay_snapshot ?: "");
}

static void replay_machine_describe_block(ReplayLogDescription *d)
{
    BlockBackend *blk;
    unsigned i = 0;

    for (blk = blk_all_next(NULL); blk; blk = blk_all_next(blk)) {
        g_autofree char *key = NULL;
        g_autofree char *device = NULL;

        if (!blk_is_available(blk)) {
            continue;
        }
        device = blk_get_attached_dev_id(blk);
        key = g_strdup_printf("block.%u", i++);
        replay_machine_add(d, key, "'%s' of device '%s', %" PRId64 " bytes, %s",
                           blk_name(blk), device, blk_getlength(blk),
                           blk_is_writable(blk) ? "writable" : "read-only");
    }
}

ReplayLogDescription *replay_machine_describe(void)
{
    ReplayLogDescription *d = replay_log_description_new();

    replay_machine_add(d, "qemu", "%s", QEMU_VERSION);
    replay_machine_add(d, REPLAY_LOG_KEY_INFO "qemu", "%s", QEMU_FULL_VERSION);
    replay_machine_add(d, "machine", "%s",
                       MACHINE_GET_CLASS(current_machine)->name);
    replay_machine_add(d, "cpu", "%s", current_machine->cpu_type);
    replay_machine_add(d, "cpus", "%u", current_machine->smp.cpus);
    replay_machine_add(d, "accel", "%s", current_accel_name());
    replay_machine_add(d, "ram", "%" PRIu64 " bytes",
                       (uint64_t)current_machine->ram_size);
    replay_machine_describe_icount(d);
    replay_net_describe(d);
    replay_machine_describe_block(d);
    replay_char_describe(d);
    replay_disk_describe(d);
    replay_rng_describe(d);
    replay_files_describe(d);
    replay_arguments_describe(d);
    return d;
}

/*
 * Appends a line to @differences for each key of @a that @b lacks and, if
 * @a_is_recorded, for each key that has another value in @b.
 */
static void replay_machine_compare(const ReplayLogDescription *a,
                                   const ReplayLogDescription *b,
                                   bool a_is_recorded, GString *differences)
{
    size_t i;

    for (i = 0; i < replay_log_description_count(a); i++) {
        const char *value;
        const char *key = replay_log_description_nth(a, i, &value);
        const char *other = replay_log_description_get(b, key);

        if (g_str_has_prefix(key, REPLAY_LOG_KEY_INFO)) {
            continue;
        }
        if (other && (g_str_equal(value, other) || !a_is_recorded)) {
            /* Equal, or reported already by the call with @a_is_recorded. */
            continue;
        }
        if (other) {
            g_string_append_printf(differences,
                                   "  %s: recorded as '%s', now '%s'\n",
                                   key, value, other);
        } else if (a_is_recorded) {
            g_string_append_printf(differences,
                                   "  %s: recorded as '%s', now missing\n",
                                   key, value);
        } else {
            g_string_append_printf(differences,
                                   "  %s: not in the recording, now '%s'\n",
                                   key, value);
        }
    }
}

bool replay_machine_check(const ReplayLogDescription *now, Error **errp)
{
    const ReplayLogDescription *recorded = replay_now.description;
    g_autoptr(GString) differences = g_string_new(NULL);

    replay_machine_compare(recorded, now, true, differences);
    replay_machine_compare(now, recorded, false, differences);
    replay_disk_compare(recorded, now, differences);
    replay_files_compare(recorded, now, differences);
    if (!differences->len) {
        return true;
    }
    error_setg(errp, "the recording '%s' was made on another machine",
               replay_filename());
    error_append_hint(errp, "%sReplay with the command line of the recording, "
                      "with only rr=record changed to rr=replay. The key "
                      "adapter.ID describes netdev ID and its NIC.\n",
                      differences->str);
    return false;
}

void replay_machine_explain(void)
{
    Error *err = NULL;

    if (replay_now.description) {
        g_autoptr(ReplayLogDescription) now = replay_machine_describe();

        if (!replay_machine_check(now, &err)) {
            error_report_err(err);
        }
    }
}
