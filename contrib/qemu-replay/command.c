/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The command line of a recorder, made into one that replays elsewhere.
 *
 * A recording can be that of a stranger, and then so is the command line in it.
 * A user who runs the new one must not be harmed, so this file lets through
 * what it knows, and nothing else.
 *
 *   Option                          becomes
 *   that describes the machine      the same; a value with a "/" is left out
 *   that names a file               the same, with the path that CommandFiles
 *                                   has for it
 *   -drive, -blockdev, -hda ...     images that CommandFiles has; the drivers
 *                                   file, raw, qcow2, blkreplay and null
 *   -netdev, -nic, -net             the netdev of a replay
 *   -chardev, -serial ...           a file in CommandFiles.output
 *   -audiodev, -display             none
 *   of the user (-monitor, -gdb)    nothing
 *   -icount                         rr=replay, with the recorded clock
 *   any other                       nothing, and a warning
 *
 * "pack" uses the same code in order to find the files.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/id.h"
#include "command.h"

#define KEY_ARGUMENT        REPLAY_LOG_KEY_INFO "argv."

typedef struct CommandOption CommandOption;
struct CommandOption {
    const char *name;
    bool has_value;
    /* NULL: the option belongs to the user or the host, and is left out. */
    void (*rewrite)(Command *c, const CommandOption *o, const char *value);
    /* the role of a file, or the key of the first item, which can lack it */
    const char *first;
    /* keys that name files, separated by spaces; NULL if there are none */
    const char *files;
};

/* --- The recorder's command line ----------------------------------------- */

char *command_unescape(const char *text)
{
    g_autoptr(GString) out = g_string_new(NULL);

    for (; *text; text++) {
        if (*text != '\\') {
            g_string_append_c(out, *text);
        } else if (text[1] == 'x' && g_ascii_isxdigit(text[2]) &&
                   g_ascii_isxdigit(text[3]) &&
                   (text[2] != '0' || text[3] != '0')) {
            g_string_append_c(out, g_ascii_xdigit_value(text[2]) << 4 |
                                   g_ascii_xdigit_value(text[3]));
            text += 3;
        } else {
            return NULL;
        }
    }
    return g_string_free(g_steal_pointer(&out), false);
}

/* Returns: argument @number as it is in the recording, owned; or NULL. */
static char *command_argument(const ReplayLogDescription *desc, unsigned number)
{
    g_autofree char *key = g_strdup_printf(KEY_ARGUMENT "%u", number);
    const char *text = replay_log_description_get(desc, key);
    GString *whole;
    unsigned piece;

    if (!text) {
        return NULL;
    }
    whole = g_string_new(NULL);
    for (piece = 1; text; piece++) {
        g_string_append(whole, text);
        g_free(key);
        key = g_strdup_printf(KEY_ARGUMENT "%u.%u", number, piece);
        text = replay_log_description_get(desc, key);
    }
    return g_string_free(whole, false);
}

GStrv command_recorded(const ReplayLogDescription *desc, Error **errp)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    char *text;

    while ((text = command_argument(desc, argv->len)) != NULL) {
        char *argument = command_unescape(text);

        if (!argument) {
            error_setg(errp, "the command line in the recording is damaged: "
                       "argument %u has an invalid escape", argv->len);
            g_free(text);
            return NULL;
        }
        g_free(text);
        g_ptr_array_add(argv, argument);
    }
    if (argv->len < 2) {
        error_setg(errp, "the recording does not have its command line: an "
                   "earlier version of QEMU made it");
        return NULL;
    }
    g_ptr_array_add(argv, NULL);
    return (GStrv)g_ptr_array_free(g_steal_pointer(&argv), false);
}

char *command_quote(const char *text)
{
    const char *p;
    GString *out;

    for (p = text; *p; p++) {
        if (!g_ascii_isprint(*p)) {
            break;
        }
    }
    if (!*p) {
        return *text && strspn(text, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS
                               "-_./,:=+@") == strlen(text) ?
               g_strdup(text) : g_shell_quote(text);
    }
    out = g_string_new("$'");
    for (p = text; *p; p++) {
        if (*p == '\'' || *p == '\\' || !g_ascii_isprint(*p)) {
            g_string_append_printf(out, "\\%03o", (uint8_t)*p);
        } else {
            g_string_append_c(out, *p);
        }
    }
    g_string_append_c(out, '\'');
    return g_string_free(out, false);
}

/* --- What the new command line has --------------------------------------- */

static void command_put(Command *c, const char *option, const char *value)
{
    g_ptr_array_add(c->argv, g_strconcat("-", option, NULL));
    if (value) {
        g_ptr_array_add(c->argv, g_strdup(value));
    }
}

static void G_GNUC_PRINTF(2, 3)
command_warn(Command *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_ptr_array_add(c->warnings, g_strdup_vprintf(fmt, ap));
    va_end(ap);
}

static void command_warn_left_out(Command *c, const char *option,
                                  const char *value, const char *why)
{
    command_warn(c, "left out: -%s%s%s (%s)", option, value ? " " : "",
                 value ?: "", why);
}

/* Returns: the path of a file of the command line, owned; or NULL. */
static char *command_find(Command *c, const char *role, const char *name)
{
    return c->files->find(c->files->opaque, role, name);
}

static char *command_output(Command *c, const char *name)
{
    return g_strdup_printf("%s/%s", c->files->output, name);
}

static void command_put_items(Command *c, const char *option, GArray *items)
{
    g_autofree char *text = items_text(items);

    if (items->len) {
        command_put(c, option, text);
    }
}

/*
 * Gives the items that name files their new paths, and removes those that may
 * name something else on the host.
 */
static void command_check_items(Command *c, const CommandOption *o,
                                GArray *items)
{
    unsigned i;

    for (i = items->len; i-- > 0;) {
        Item *item = items_nth(items, i);

        if (item->value && *item->value &&
            items_has_word(o->files, item->key)) {
            char *path = command_find(c, item->key, item->value);

            if (path) {
                g_free(item->value);
                item->value = path;
                continue;
            }
            command_warn(c, "left out of -%s: %s=%s (it is not in the pack)",
                         o->name, item->key, item->value);
        } else if (items_is_path(item->key) ||
                   items_is_path(item->value)) {
            command_warn(c, "left out of -%s: %s=%s (it may be a path)",
                         o->name, item->key, item->value ?: "");
        } else {
            continue;
        }
        g_array_remove_index(items, i);
    }
}

static const char items_are_bad[] =
    "it has too many items, or lists or objects in JSON";

/* Returns: the items, owned; NULL after a warning. */
static GArray *command_parse_checked(Command *c, const CommandOption *o,
                                     const char *value)
{
    GArray *items = items_parse(o->first, value);

    if (!items) {
        command_warn_left_out(c, o->name, value, items_are_bad);
        return NULL;
    }
    command_check_items(c, o, items);
    return items;
}

/* --- Options of the machine ---------------------------------------------- */

/* The value is a text for the guest, or there is none. */
static void command_keep(Command *c, const CommandOption *o, const char *value)
{
    c->has_no_defaults |= g_str_equal(o->name, "nodefaults");
    command_put(c, o->name, value);
}

static void command_items(Command *c, const CommandOption *o,
                          const char *value)
{
    g_autoptr(GArray) items = command_parse_checked(c, o, value);

    if (items) {
        command_put_items(c, o->name, items);
    }
}

static void command_file(Command *c, const CommandOption *o, const char *value)
{
    g_autofree char *path = command_find(c, o->first, value);

    if (path) {
        command_put(c, o->name, path);
    } else {
        command_warn_left_out(c, o->name, value, "it is not in the pack");
    }
}

static void command_machine(Command *c, const CommandOption *o,
                            const char *value)
{
    g_autoptr(GArray) items = items_parse(o->first, value);
    const char *accel;

    if (!items) {
        command_warn_left_out(c, o->name, value, items_are_bad);
        return;
    }
    accel = items_get(items, "accel");
    if (accel) {
        items_remove(items, "accel");
        items_add(items, "accel", "tcg");
    }
    if (items_get(items, "dumpdtb")) {
        command_warn(c, "left out of -%s: dumpdtb=", o->name);
        items_remove(items, "dumpdtb");
    }
    command_check_items(c, o, items);
    command_put_items(c, o->name, items);
}

static void command_accel(Command *c, const CommandOption *o,
                          const char *value)
{
    command_put(c, o->name, "tcg");
}

/* Texts for the guest, in which a "/" has no meaning, and files. */
static void command_texts(Command *c, const CommandOption *o,
                          const char *value)
{
    g_autoptr(GArray) items = items_parse(o->first, value);
    unsigned i;

    for (i = 0; items && i < items->len; i++) {
        Item *item = items_nth(items, i);
        char *path;

        if (!item->value || !items_has_word(o->files, item->key)) {
            continue;
        }
        path = command_find(c, o->name, item->value);
        if (!path) {
            command_warn_left_out(c, o->name, value, "it is not in the pack");
            return;
        }
        g_free(item->value);
        item->value = path;
    }
    if (items) {
        command_put_items(c, o->name, items);
    } else {
        command_warn_left_out(c, o->name, value, items_are_bad);
    }
}

/* -acpitable: file= and data= are lists with colons. */
static void command_acpitable(Command *c, const CommandOption *o,
                              const char *value)
{
    g_autoptr(GArray) items = items_parse(o->first, value);
    unsigned i, j;

    for (i = 0; items && i < items->len; i++) {
        Item *item = items_nth(items, i);
        g_auto(GStrv) names = NULL;

        if (!item->value || !items_has_word(o->files, item->key)) {
            if (items_is_path(item->key) || items_is_path(item->value)) {
                command_warn_left_out(c, o->name, value, "it may be a path");
                return;
            }
            continue;
        }
        names = g_strsplit(item->value, ":", 0);
        for (j = 0; names[j]; j++) {
            char *path = command_find(c, "acpi", names[j]);

            if (!path || strchr(path, ':')) {
                command_warn_left_out(c, o->name, value, path ?
                                      "a path has a colon" :
                                      "it is not in the pack");
                g_free(path);
                return;
            }
            g_free(names[j]);
            names[j] = path;
        }
        g_free(item->value);
        item->value = g_strjoinv(":", names);
    }
    if (items) {
        command_put_items(c, o->name, items);
    } else {
        command_warn_left_out(c, o->name, value, items_are_bad);
    }
}

/* --- Devices and objects ------------------------------------------------- */

typedef struct CommandDevices {
    const char *refused;        /* the reason; NULL: recorded and replayed */
    const char *const *types;   /* QOM types, ends with NULL */
} CommandDevices;

#define TYPES(...) ((const char *const[]) { __VA_ARGS__, NULL })

static const CommandDevices devices[] = {
#include "replay/replay-devices.h.inc"
};

/* Names for -device that are no QOM types; virtio-NAME is one, too. */
static const char *const device_aliases[] = {
    "ahci", "e1000-82540em", "lsi", "virtio-blk", "virtio-balloon",
    "virtio-gpu", "virtio-input", "virtio-iommu", "virtio-keyboard",
    "virtio-mouse", "virtio-net", "virtio-rng", "virtio-scsi",
    "virtio-serial", "virtio-tablet",
};

/* Returns: whether the device can be replayed, and so is only the guest's. */
static bool command_knows_device(const char *type)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(device_aliases); i++) {
        if (g_str_equal(device_aliases[i], type)) {
            return true;
        }
    }
    for (i = 0; i < ARRAY_SIZE(devices); i++) {
        if (!devices[i].refused &&
            g_strv_contains(devices[i].types, type)) {
            return true;
        }
    }
    return g_str_has_suffix(type, "-cpu");
}

static void command_device(Command *c, const CommandOption *o,
                           const char *value)
{
    g_autoptr(GArray) items = command_parse_checked(c, o, value);
    const char *type = items ? items_get(items, o->first) : NULL;

    if (!items) {
        return;
    }
    if (!type || !command_knows_device(type)) {
        command_warn_left_out(c, o->name, value,
                              "the device cannot be replayed");
        return;
    }
    command_put_items(c, o->name, items);
}

/* -global DRIVER.PROPERTY=VALUE, or with keys of these names */
static void command_global(Command *c, const CommandOption *o,
                           const char *value)
{
    g_autoptr(GArray) items = NULL;
    const char *equals = strchr(value, '=');
    g_autofree char *name = equals ? g_strndup(value, equals - value) : NULL;
    const char *dot = name ? strrchr(name, '.') : NULL;
    const char *property = dot ? dot + 1 : NULL;
    g_autofree char *path = NULL;

    if (!dot) {
        items = items_parse(o->first, value);
        property = items ? items_get(items, "property") : NULL;
    }
    if (!property || items_has_word(o->files, property) ||
        (dot && items_is_path(value))) {
        command_warn_left_out(c, o->name, value, "it may be a path");
        return;
    }
    if (dot) {
        command_put(c, o->name, value);
        return;
    }
    command_check_items(c, o, items);
    command_put_items(c, o->name, items);
}

static void command_object(Command *c, const CommandOption *o,
                           const char *value)
{
    static const char *const types[] = {
        "filter-buffer", "filter-dump", "filter-replay", "filter-rewriter",
        "iothread", "memory-backend-ram", "rng-builtin", "rng-random",
        "secret", NULL
    };
    g_autoptr(GArray) items = items_parse(o->first, value);
    const char *type = items ? items_get(items, o->first) : NULL;
    const char *id = items ? items_get(items, "id") : NULL;

    if (!type || !id || !id_wellformed(id) || !g_strv_contains(types, type) ||
        (g_str_equal(type, "secret") && items_get(items, "file"))) {
        command_warn_left_out(c, o->name, value, "it may use the host");
        return;
    }
    if (g_str_equal(type, "rng-random")) {
        items_remove(items, "filename");
    } else if (g_str_equal(type, "filter-dump")) {
        g_autofree char *name = g_strconcat(id, ".pcap", NULL);
        g_autofree char *path = command_output(c, name);

        items_remove(items, "file");
        command_check_items(c, o, items);
        items_add(items, "file", path);
        command_put_items(c, o->name, items);
        return;
    }
    if (!g_str_equal(type, "secret")) {
        command_check_items(c, o, items);
    }
    command_put_items(c, o->name, items);
}

/* --- Back ends of the network, of sound, and of character devices -------- */

/*
 * -netdev, -nic, -net: hub ports and NICs stay; each back end becomes the
 * netdev of a replay.
 */
static void command_netdev(Command *c, const CommandOption *o,
                           const char *value)
{
    /* A list in JSON is about the back end, as hostfwd= is. */
    g_autoptr(GArray) items = *value == '{' ? items_parse_json(value, true)
                                            : items_parse(o->first, value);
    g_autofree char *type = items ? g_strdup(items_get(items, o->first))
                                  : NULL;

    if (!type) {
        command_warn_left_out(c, o->name, value, "it has no type");
        return;
    }
    items_remove(items, o->first);
    if (g_str_equal(type, "hubport")) {
        items_keep_only(items, "id hubid netdev");
    } else if (g_str_equal(type, "nic")) {
        items_keep_only(items, "id model mac macaddr netdev name addr "
                          "vectors");
    } else if (g_str_equal(type, "none")) {
        items_keep_only(items, "");
    } else {
        g_free(type);
        type = g_strdup("replay");
        items_keep_only(items, "id model mac name");
    }
    command_check_items(c, o, items);
    items_add_first(items, o->first, type);
    command_put_items(c, o->name, items);
}

/* A character device writes to a file, and reads nothing. */
static void command_chardev(Command *c, const CommandOption *o,
                            const char *value)
{
    g_autoptr(GArray) items = items_parse(o->first, value);
    g_autoptr(GArray) put = items_new();
    const char *id = items ? items_get(items, "id") : NULL;
    const char *type = items ? items_get(items, o->first) : NULL;
    const char *mux = items ? items_get(items, "mux") : NULL;

    if (!id || !type || !id_wellformed(id)) {
        command_warn_left_out(c, o->name, value, "it has no valid id");
        return;
    }
    if (g_str_equal(type, "null") || g_str_equal(type, "vc")) {
        items_add_first(put, "backend", type);
        items_add(put, "id", id);
    } else {
        g_autofree char *name = g_strconcat("chardev-", id, NULL);
        g_autofree char *path = command_output(c, name);

        items_add_first(put, "backend", "file");
        items_add(put, "id", id);
        items_add(put, "path", path);
    }
    if (mux && g_str_equal(mux, "on")) {
        items_add(put, "mux", "on");
    }
    command_put_items(c, o->name, put);
}

/* The ports whose numbers Command.n_ports has. */
static const char *const ports[] = { "serial", "parallel", "debugcon" };

static void command_port(Command *c, const CommandOption *o, const char *value)
{
    g_autofree char *name = NULL;
    g_autofree char *path = NULL;
    g_autofree char *file = NULL;
    unsigned i;

    for (i = 0; !g_str_equal(ports[i], o->name); i++) {
        /* o->name is one of them */
    }
    name = g_strdup_printf("%s%u", o->name, c->n_ports[i]++);
    if (g_str_equal(value, "none") || g_str_equal(value, "null") ||
        g_str_equal(value, "vc") ||
        (g_str_has_prefix(value, "chardev:") &&
         id_wellformed(value + strlen("chardev:")))) {
        command_put(c, o->name, value);
        return;
    }
    path = command_output(c, name);
    file = g_strconcat("file:", path, NULL);
    command_put(c, o->name, file);
}

static void command_audiodev(Command *c, const CommandOption *o,
                             const char *value)
{
    g_autoptr(GArray) items = items_parse(o->first, value);
    g_autoptr(GArray) put = items_new();
    const char *id = items ? items_get(items, "id") : NULL;
    const char *model = items ? items_get(items, "model") : NULL;

    items_add_first(put, "driver", "none");
    if (id && id_wellformed(id)) {
        items_add(put, "id", id);
    }
    if (model && id_wellformed(model)) {
        items_add(put, "model", model);
    }
    command_put_items(c, o->name, put);
}

static void command_usbdevice(Command *c, const CommandOption *o,
                              const char *value)
{
    if (items_has_word("tablet mouse keyboard wacom-tablet ccid", value)) {
        command_put(c, o->name, value);
    } else {
        command_warn_left_out(c, o->name, value, "it may use the host");
    }
}

/* --- Disks --------------------------------------------------------------- */

static const char disk_is_missing[] =
    "it is not in the pack, or has a driver that is not file, raw, qcow2, "
    "blkreplay or null-co";

/* Puts a drive, some of whose options do not concern its image. */
static void command_put_drive(Command *c, const CommandOption *o,
                              const char *value, GArray *items)
{
    g_autoptr(QDict) node = NULL;

    if (!items || !disks_drive(&c->disks, items, &node)) {
        command_warn_left_out(c, o->name, value, disk_is_missing);
        return;
    }
    command_check_items(c, o, items);
    if (node) {
        items_add_node(items, "", node);
    }
    command_put_items(c, "drive", items);
}

static void command_drive(Command *c, const CommandOption *o,
                          const char *value)
{
    g_autoptr(GArray) items = *value == '{' ? NULL : items_parse(NULL, value);

    command_put_drive(c, o, value, items);
}

/* -hda and the like; @o->first has the items of -drive that it stands for. */
static void command_short_drive(Command *c, const CommandOption *o,
                                const char *value)
{
    g_autoptr(GArray) items = items_parse(NULL, o->first);

    items_add(items, "file", value);
    command_put_drive(c, o, value, items);
}

static void command_blockdev(Command *c, const CommandOption *o,
                             const char *value)
{
    g_autoptr(QDict) node = disks_blockdev(&c->disks, value);
    g_autoptr(GArray) items = items_new();

    if (!node) {
        command_warn_left_out(c, o->name, value, disk_is_missing);
        return;
    }
    items_add_node(items, "", node);
    command_put_items(c, o->name, items);
}

/* --- All of the command line --------------------------------------------- */

/* Properties of devices, and of -global, that name files. */
#define DEVICE_FILES    "romfile file kernel initrd frudatafile sdrfile"

static const CommandOption options[] = {
    { "M", true, command_machine, "type", "kernel initrd dtb firmware shim" },
    { "accel", true, command_accel },
    { "acpitable", true, command_acpitable, NULL, "file data" },
    { "action", true, command_items },
    { "append", true, command_keep },
    { "audio", true, command_audiodev, "driver" },
    { "audiodev", true, command_audiodev, "driver" },
    { "bios", true, command_file, "rom" },
    { "blockdev", true, command_blockdev, "driver" },
    { "boot", true, command_items, "order", "splash" },
    { "cdrom", true, command_short_drive, "index=2,media=cdrom" },
    { "chardev", true, command_chardev, "backend" },
    { "cpu", true, command_items },
    { "debugcon", true, command_port },
    { "device", true, command_device, "driver", DEVICE_FILES },
    { "drive", true, command_drive },
    { "dtb", true, command_file, "dtb" },
    { "fda", true, command_short_drive, "if=floppy,index=0" },
    { "fdb", true, command_short_drive, "if=floppy,index=1" },
    { "fw_cfg", true, command_texts, "name", "file" },
    { "global", true, command_global, NULL, DEVICE_FILES },
    { "hda", true, command_short_drive, "media=disk,index=0" },
    { "hdb", true, command_short_drive, "media=disk,index=1" },
    { "hdc", true, command_short_drive, "media=disk,index=2" },
    { "hdd", true, command_short_drive, "media=disk,index=3" },
    { "initrd", true, command_file, "initrd" },
    { "kernel", true, command_file, "kernel" },
    { "m", true, command_items },
    { "machine", true, command_machine, "type",
      "kernel initrd dtb firmware shim" },
    { "mtdblock", true, command_short_drive, "if=mtd" },
    { "net", true, command_netdev, "type" },
    { "netdev", true, command_netdev, "type" },
    { "nic", true, command_netdev, "type" },
    { "no-acpi", false, command_keep },
    { "no-fd-bootchk", false, command_keep },
    { "no-hpet", false, command_keep },
    { "no-reboot", false, command_keep },
    { "no-shutdown", false, command_keep },
    { "no-user-config", false, command_keep },
    { "nodefaults", false, command_keep },
    { "nographic", false, command_keep },
    { "numa", true, command_items },
    { "object", true, command_object, "qom-type" },
    { "option-rom", true, command_items, "romfile", "romfile" },
    { "parallel", true, command_port },
    { "pflash", true, command_short_drive, "if=pflash" },
    { "rtc", true, command_items },
    { "sd", true, command_short_drive, "if=sd" },
    { "seed", true, command_items },
    { "serial", true, command_port },
    { "smbios", true, command_texts, NULL, "file path" },
    { "smp", true, command_items },
    { "snapshot", false, command_keep },
    { "usb", false, command_keep },
    { "usbdevice", true, command_usbdevice },
    { "uuid", true, command_items },
    { "vga", true, command_items },
    { "watchdog-action", true, command_items },
    { "win2k-hack", false, command_keep },

    /* The new command line has its own. */
    { "L", true },
    { "display", true },
    { "icount", true },
    /* The guest cannot notice these. */
    { "D", true },
    { "S", false },
    { "alt-grab", false },
    { "chroot", true },
    { "compat", true },
    { "ctrl-grab", false },
    { "curses", false },
    { "d", true },
    { "daemonize", false },
    { "dfilter", true },
    { "full-screen", false },
    { "gdb", true },
    { "k", true },
    { "mem-prealloc", false },
    { "mem-path", true },
    { "mon", true },
    { "monitor", true },
    { "msg", true },
    { "name", true },
    { "overcommit", true },
    { "perfmap", false },
    { "pidfile", true },
    { "qmp", true },
    { "qmp-pretty", true },
    { "run-with", true },
    { "runas", true },
    { "s", false },
    { "sandbox", true },
    { "spice", true },
    { "trace", true },
    { "vnc", true },
};

static const CommandOption *command_option(const char *name)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(options); i++) {
        if (g_str_equal(options[i].name, name)) {
            return &options[i];
        }
    }
    return NULL;
}

/* Rewrites the option at *@argv.  Returns: the word behind it. */
static char *const *command_rewrite_option(Command *c, char *const *argv)
{
    const char *name = *argv++;
    const CommandOption *o;
    const char *value = NULL;

    if (*name != '-') {
        /* a disk */
        command_short_drive(c, command_option("hda"), name);
        return argv;
    }
    name += 1 + (name[1] == '-');
    o = command_option(name);
    if (!o) {
        if (*argv && **argv != '-') {
            value = *argv++;
        }
        command_warn_left_out(c, name, value, "it may use the host");
        return argv;
    }
    if (o->has_value) {
        value = *argv;
        if (!value) {
            return argv;
        }
        argv++;
    }
    if (o->rewrite) {
        o->rewrite(c, o, value);
    }
    return argv;
}

/* The clock that is recorded; it may come from a file (-readconfig). */
static void command_put_icount(Command *c, const ReplayLogDescription *desc,
                               const char *recording)
{
    static const char *const keys[] = { "shift", "align", "sleep" };
    g_autoptr(GArray) items = items_new();
    size_t i;

    for (i = 0; i < ARRAY_SIZE(keys); i++) {
        g_autofree char *key = g_strconcat("icount.", keys[i], NULL);
        const char *value = replay_log_description_get(desc, key);

        if (value && *value && !items_is_path(value)) {
            items_add(items, keys[i], value);
        }
    }
    items_add(items, "rr", "replay");
    items_add(items, "rrfile", recording);
    if (*c->snapshot) {
        items_add(items, "rrsnapshot", c->snapshot);
    }
    command_put_items(c, "icount", items);
}

Command *command_rewrite(const ReplayLogDescription *desc, char *const *argv,
                         const char *recording, const CommandFiles *files)
{
    Command *c = g_new0(Command, 1);

    c->files = files;
    c->argv = g_ptr_array_new_with_free_func(g_free);
    c->warnings = g_ptr_array_new_with_free_func(g_free);
    c->disks = (Disks) {
        .find = files->find_disk,
        .opaque = files->opaque,
        .nodes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free),
    };
    c->snapshot = g_strdup(replay_log_description_get(
        desc, REPLAY_LOG_KEY_INFO "rrsnapshot") ?: "");
    command_put_icount(c, desc, recording);
    command_put(c, "display", "none");
    while (*argv) {
        argv = command_rewrite_option(c, argv);
    }
    if (!c->has_no_defaults) {
        if (!c->n_ports[0]) {
            command_port(c, command_option("serial"), "default");
        }
        /* -nographic has it on the terminal */
        command_put(c, "monitor", "none");
    }
    return c;
}

void command_free(Command *c)
{
    g_ptr_array_unref(c->argv);
    g_ptr_array_unref(c->warnings);
    g_hash_table_unref(c->disks.nodes);
    g_free(c->snapshot);
    g_free(c);
}
