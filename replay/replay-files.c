/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The files from which the machine was made and that the guest can see: its
 * kernel, its firmware, the ROMs of its devices, tables.  A recording does not
 * contain them, so a replay needs files with the same content, under any name.
 *
 * The description has a SHA-256 of each.  A file is identified by its role and,
 * if several files have this role, by their order, which the command line and
 * the version of QEMU determine.  Disks are not among these files; see
 * replay-disk.c.
 */

#include "qemu/osdep.h"
#include "hw/boards.h"
#include "hw/loader.h"
#include "qemu/config-file.h"
#include "qemu/datadir.h"
#include "qemu/error-report.h"
#include "qemu/option.h"
#include "qemu/units.h"
#include "qom/object.h"
#include "replay-machine.h"

/* A role and a number follow, then a SHA-256, a number of bytes and a name. */
#define KEY_FILE                REPLAY_LOG_KEY_INFO "file."

/* In place of the SHA-256. */
#define NOT_COMPARED            "not read"

/* The option group of -acpitable. */
#define ROLE_ACPI               "acpi"

#define READ_BYTES              (256 * KiB)

typedef struct ReplayFiles {
    ReplayLogDescription *description;      /* borrowed */
    const char *role;
    unsigned number;                        /* of the next file of this role */
} ReplayFiles;

/* --- Description --------------------------------------------------------- */

static void replay_files_begin(ReplayFiles *s, const char *role)
{
    s->role = role;
    s->number = 0;
}

/* Adds a file or text; @sum is NULL if it was not read. */
static void replay_files_add(ReplayFiles *s, GChecksum *sum,
                             uint64_t len_bytes, const char *name)
{
    g_autofree char *key = g_strdup_printf(KEY_FILE "%s.%u", s->role,
                                           s->number++);
    g_autofree char *value = g_strdup_printf("%s, %" PRIu64 " bytes, %s",
                                             sum ? g_checksum_get_string(sum)
                                                 : NOT_COMPARED,
                                             len_bytes, name);

    replay_log_description_add(s->description, key, value);
}

/*
 * Adds the file @name, which QEMU has loaded.  It may not be there any more:
 * QEMU may have changed to another folder since (-daemonize, -chroot) or to
 * another user.  What is no regular file cannot be read again.
 */
static void replay_files_add_file(ReplayFiles *s, const char *name)
{
    g_autoptr(GChecksum) sum = NULL;
    g_autofree uint8_t *buf = NULL;
    uint64_t len_bytes = 0;
    struct stat st;
    ssize_t got;
    int fd = qemu_open_old(name, O_RDONLY | O_BINARY | O_NONBLOCK);

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        sum = g_checksum_new(G_CHECKSUM_SHA256);
        buf = g_malloc(READ_BYTES);
        do {
            got = read(fd, buf, READ_BYTES);
            if (got > 0) {
                g_checksum_update(sum, buf, got);
                len_bytes += got;
            }
        } while (got > 0 || (got < 0 && errno == EINTR));
        if (got < 0) {
            g_clear_pointer(&sum, g_checksum_free);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    if (!sum) {
        warn_report("the file '%s' cannot be read again, so a replay does not "
                    "compare its content", name);
    }
    replay_files_add(s, sum, len_bytes, name);
}

/* Adds the files in @list, which has colons between them. */
static void replay_files_add_list(ReplayFiles *s, const char *list)
{
    g_auto(GStrv) names = g_strsplit(list, ":", 0);
    size_t i;

    for (i = 0; names[i]; i++) {
        replay_files_add_file(s, names[i]);
    }
}

static void replay_files_add_text(ReplayFiles *s, const char *text)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

    g_checksum_update(sum, (const guchar *)text, -1);
    replay_files_add(s, sum, strlen(text), text);
}

/* Adds the file that QEMU finds under @name in its folders of firmware. */
static void replay_files_add_firmware(ReplayFiles *s, const char *name)
{
    g_autofree char *path = qemu_find_file(QEMU_FILE_TYPE_BIOS, name);

    replay_files_add_file(s, path ?: name);
}

/* Adds the file that @property of @obj names, or the text in it. */
static void replay_files_add_property(ReplayFiles *s, Object *obj,
                                      const char *property, bool is_text)
{
    g_autofree char *value = object_property_find(obj, property)
                             ? object_property_get_str(obj, property, NULL)
                             : NULL;

    if (value && *value) {
        if (is_text) {
            replay_files_add_text(s, value);
        } else {
            replay_files_add_file(s, value);
        }
    }
}

static void replay_files_describe_machine(ReplayFiles *s)
{
    static const struct {
        const char *property;
        bool is_text;
    } properties[] = {
        { "kernel" }, { "initrd" }, { "dtb" }, { "append", true },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(properties); i++) {
        replay_files_begin(s, properties[i].property);
        replay_files_add_property(s, OBJECT(current_machine),
                                  properties[i].property,
                                  properties[i].is_text);
    }
}

static void replay_files_describe_rom(const char *path, void *opaque)
{
    replay_files_add_file(opaque, path);
}

static int replay_files_describe_pci_rom(Object *obj, void *opaque)
{
    if (object_dynamic_cast(obj, "pci-device")) {
        g_autofree char *name = object_property_get_str(obj, "romfile", NULL);

        if (name && *name) {
            replay_files_add_firmware(opaque, name);
        }
    }
    return 0;
}

static int replay_files_describe_loader(Object *obj, void *opaque)
{
    if (object_dynamic_cast(obj, "loader")
        || object_dynamic_cast(obj, "guest-loader")) {
        replay_files_add_property(opaque, obj, "file", false);
    }
    return 0;
}

static int replay_files_describe_option(void *opaque, const char *name,
                                        const char *value, Error **errp)
{
    ReplayFiles *s = opaque;
    bool is_file = g_str_equal(name, "file") || g_str_equal(name, "data");

    if (g_str_equal(name, "string")) {
        replay_files_add_text(s, value);
    } else if (is_file && g_str_equal(s->role, ROLE_ACPI)) {
        replay_files_add_list(s, value);
    } else if (is_file) {
        replay_files_add_file(s, value);
    }
    return 0;
}

static int replay_files_describe_options(void *opaque, QemuOpts *opts,
                                         Error **errp)
{
    return qemu_opt_foreach(opts, replay_files_describe_option, opaque, errp);
}

void replay_files_describe(ReplayLogDescription *d)
{
    static const char *const groups[] = { "fw_cfg", ROLE_ACPI, "smbios" };
    ReplayFiles s = { .description = d };
    Object *root = object_get_root();
    size_t i;

    replay_files_describe_machine(&s);
    replay_files_begin(&s, "rom");
    rom_foreach_file(replay_files_describe_rom, &s);
    replay_files_begin(&s, "pci-rom");
    object_child_foreach_recursive(root, replay_files_describe_pci_rom, &s);
    replay_files_begin(&s, "loader");
    object_child_foreach_recursive(root, replay_files_describe_loader, &s);
    for (i = 0; i < ARRAY_SIZE(groups); i++) {
        QemuOptsList *list = qemu_find_opts_err(groups[i], NULL);

        replay_files_begin(&s, groups[i]);
        if (list) {
            qemu_opts_foreach(list, replay_files_describe_options, &s, NULL);
        }
    }
}

/* --- Comparison ---------------------------------------------------------- */

static bool replay_files_is_same(const char *value, const char *other)
{
    /* The name does not matter. */
    size_t len = strcspn(value, ",");

    return g_str_has_prefix(value, NOT_COMPARED ",")
           || g_str_has_prefix(other, NOT_COMPARED ",")
           || (strncmp(value, other, len) == 0 && other[len] == value[len]);
}

void replay_files_compare(const ReplayLogDescription *recorded,
                          const ReplayLogDescription *now,
                          GString *differences)
{
    bool has_files = false;
    size_t i;

    for (i = 0; i < replay_log_description_count(recorded); i++) {
        const char *value;
        const char *key = replay_log_description_nth(recorded, i, &value);
        const char *other;

        if (!g_str_has_prefix(key, KEY_FILE)) {
            continue;
        }
        has_files = true;
        other = replay_log_description_get(now, key);
        if (!other) {
            g_string_append_printf(differences,
                                   "  %s: recorded as %s, now missing\n",
                                   key + strlen(REPLAY_LOG_KEY_INFO), value);
        } else if (!replay_files_is_same(value, other)) {
            g_string_append_printf(differences,
                                   "  %s: recorded as %s, now %s\n",
                                   key + strlen(REPLAY_LOG_KEY_INFO), value,
                                   other);
        }
    }
    /* Earlier recordings have no files at all. */
    for (i = 0; has_files && i < replay_log_description_count(now); i++) {
        const char *value;
        const char *key = replay_log_description_nth(now, i, &value);

        if (g_str_has_prefix(key, KEY_FILE)
            && !replay_log_description_get(recorded, key)) {
            g_string_append_printf(differences,
                                   "  %s: not in the recording, now %s\n",
                                   key + strlen(REPLAY_LOG_KEY_INFO), value);
        }
    }
}
