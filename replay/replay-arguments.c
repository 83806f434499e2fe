/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The command line.  The description of a recording contains it, for people and
 * for tools that repeat it.  A replay uses the command line of the recorder,
 * perhaps with a QEMU that was built without some displays and sound systems.
 * The guest does not depend on them, so the replay does without.
 */

#include "qemu/osdep.h"
#include "qapi/qapi-types-ui.h"
#include "qapi/util.h"
#include "qemu/error-report.h"
#include "sysemu/replay.h"
#include "replay-machine.h"

/* The command line takes no more room in the description than this. */
#define ARGUMENTS_MAX_BYTES (256 * 1024)

#define KEY_ARGUMENT        REPLAY_LOG_KEY_INFO "argv."
#define KEY_DIRECTORY       REPLAY_LOG_KEY_INFO "directory"
/* The name of an option follows. */
#define KEY_OPTION          REPLAY_LOG_KEY_INFO "option."

/*
 * Options that the guest can notice, and that the description does not cover
 * in another way.
 */
static const char *const guest_options[] = {
    "boot", "cpu", "global", "machine", "rtc", "smbios", "smp", "uuid",
};
/* Items that the guest does not notice, or that are compared elsewhere. */
static const char *const other_items[] = {
    "accel=", "append=", "dtb=", "dump-guest-core=", "dumpdtb=", "firmware=",
    "initrd=", "kernel=", "mem-merge=", NULL
};

/* The sound systems that this QEMU was built with. */
static const char *const audio_drivers[] = {
    CONFIG_AUDIO_DRIVERS
#ifdef CONFIG_SPICE
    "spice",
#endif
#ifdef CONFIG_DBUS_DISPLAY
    "dbus",
#endif
    "none", "wav", NULL
};

/* The command line, borrowed.  Main thread, start-up. */
static struct {
    char *const *argv;
    int argc;
    char *directory;            /* where relative names begin, owned */
} command_line;

/* --- What a replay does without ------------------------------------------ */

/* Returns: whether the words are "-icount" with rr=replay. */
static bool replay_arguments_is_replay(const char *option, const char *value)
{
    g_auto(GStrv) items = g_strsplit(value, ",", 0);

    return g_str_equal(option, "-icount")
           && g_strv_contains((const char *const *)items, "rr=replay");
}

/* Returns: the item "@key=..." of @value, or the first one, owned; or "". */
static char *replay_arguments_item(const char *value, const char *key)
{
    g_autofree char *prefix = g_strconcat(key, "=", NULL);
    g_auto(GStrv) items = g_strsplit(value, ",", 0);
    size_t i;

    for (i = 0; items[i]; i++) {
        if (g_str_has_prefix(items[i], prefix)) {
            return g_strdup(items[i] + strlen(prefix));
        }
    }
    return g_strndup(value, strcspn(value, ",="));
}

/* Returns: whether this QEMU lacks the display that the words name. */
static bool replay_arguments_lacks_display(const char *option,
                                           const char *value)
{
    g_autofree char *type = replay_arguments_item(value, "type");
    bool is_vnc = g_str_equal(option, "-vnc")
                  || (g_str_equal(option, "-display")
                      && g_str_equal(type, "vnc"));

#ifdef CONFIG_VNC
    if (is_vnc) {
        return false;
    }
#endif
#ifndef CONFIG_SPICE
    if (g_str_equal(option, "-spice")) {
        return true;
    }
#endif
    return is_vnc || (g_str_equal(option, "-display") && *value != '{'
                      && !g_str_equal(type, "help")
                      && !g_str_equal(type, "?")
                      && qapi_enum_parse(&DisplayType_lookup, type, -1,
                                         NULL) < 0);
}

/*
 * Returns: in place of the value of -audiodev or -audio one that this QEMU
 * knows, owned; NULL if it knows the value, or the option is another one.
 */
static char *replay_arguments_audio(const char *option, const char *value)
{
    g_autofree char *driver = replay_arguments_item(value, "driver");
    g_auto(GStrv) items = g_strsplit(value, ",", 0);
    GString *none;
    size_t i;

    if ((!g_str_equal(option, "-audiodev") && !g_str_equal(option, "-audio"))
        || *value == '{' || g_str_equal(driver, "help")
        || g_strv_contains(audio_drivers, driver)) {
        return NULL;
    }
    none = g_string_new("none");
    for (i = 0; items[i]; i++) {
        if (g_str_has_prefix(items[i], "id=")
            || g_str_has_prefix(items[i], "model=")) {
            g_string_append_printf(none, ",%s", items[i]);
        }
    }
    return g_string_free(none, false);
}

/* Changes the option at @argv, if this QEMU lacks what it asks for. */
static void replay_arguments_replace(char **argv)
{
    const char *option = argv[0] + (argv[0][1] == '-');
    char *none = NULL;

    if (replay_arguments_lacks_display(option, argv[1])) {
        none = g_strdup("none");
    } else {
        none = replay_arguments_audio(option, argv[1]);
    }
    if (none) {
        warn_report("%s %s: this QEMU was built without it, and the replay "
                    "does without", option, argv[1]);
        if (!g_str_has_prefix(option, "-audio")) {
            argv[0] = g_strdup("-display");
        }
        argv[1] = none;
    }
}

char **replay_take_command_line(int argc, char **argv)
{
    bool is_replay = false;
    char **changed;
    int i;

    command_line.argc = argc;
    command_line.argv = argv;
    /* -daemonize and -chroot change it later. */
    command_line.directory = g_get_current_dir();

    for (i = 1; i + 1 < argc; i++) {
        const char *option = argv[i] + g_str_has_prefix(argv[i], "--");

        is_replay |= replay_arguments_is_replay(option, argv[i + 1]);
    }
    if (!is_replay) {
        return argv;
    }
    /* QEMU uses it until it exits. */
    changed = g_new(char *, argc + 1);
    memcpy(changed, argv, (argc + 1) * sizeof(*argv));
    for (i = 1; i + 1 < argc; i++) {
        if (changed[i][0] == '-') {
            replay_arguments_replace(changed + i);
        }
    }
    return changed;
}

/* --- Options that the guest can notice ----------------------------------- */

/* Returns: whether @item of an option is about the host. */
static bool replay_arguments_is_other(const char *item)
{
    size_t i;

    for (i = 0; other_items[i]; i++) {
        if (g_str_has_prefix(item, other_items[i])) {
            return true;
        }
    }
    /* The names of files can differ. */
    return strchr(item, '/');
}

/* Returns: all values of the option @name, in their order, owned. */
static char *replay_arguments_values(const char *name)
{
    GString *values = g_string_new(NULL);
    int i;
    size_t k;

    for (i = 1; i + 1 < command_line.argc; i++) {
        const char *option = command_line.argv[i];
        g_auto(GStrv) items = NULL;

        option += strspn(option, "-");
        if (option == command_line.argv[i]
            || !g_str_equal(g_str_equal(option, "M") ? "machine" : option,
                            name)) {
            continue;
        }
        items = g_strsplit(command_line.argv[i + 1], ",", 0);
        for (k = 0; items[k]; k++) {
            if (!replay_arguments_is_other(items[k])) {
                g_string_append_printf(values, "%s%s", values->len ? "," : "",
                                       items[k]);
            }
        }
    }
    return g_string_free(values, false);
}

void replay_arguments_compare(const ReplayLogDescription *recorded,
                              const ReplayLogDescription *now)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(guest_options); i++) {
        g_autofree char *key = g_strconcat(KEY_OPTION, guest_options[i], NULL);
        const char *then = replay_log_description_get(recorded, key);
        const char *value = replay_log_description_get(now, key);

        /* Earlier recordings do not have these keys. */
        if (then && value && !g_str_equal(then, value)) {
            warn_report("-%s was '%s' while recording, and is '%s' now: the "
                        "replay ends where the guest notices", guest_options[i],
                        then, value);
        }
    }
}

/* --- Description --------------------------------------------------------- */

/*
 * Returns: @text, owned, as the description can hold it: a backslash and each
 * byte that is not part of a printable character of UTF-8 become \\xHH.
 */
static char *replay_arguments_escape(const char *text)
{
    GString *escaped = g_string_new(NULL);

    while (*text) {
        gunichar c = g_utf8_get_char_validated(text, -1);

        if (c < 0x20 || c == '\\' || (c >= 0x7f && c <= 0x9f)
            || c > 0x10ffff) {
            g_string_append_printf(escaped, "\\x%02x", (uint8_t)*text);
            text++;
        } else {
            g_string_append_unichar(escaped, c);
            text = g_utf8_next_char(text);
        }
    }
    return g_string_free(escaped, false);
}

/* Adds an argument; what does not fit into one value has a key of its own. */
static void replay_arguments_describe_one(ReplayLogDescription *d,
                                          int number, const char *text)
{
    g_autofree char *key = g_strdup_printf(KEY_ARGUMENT "%d", number);
    unsigned piece = 0;

    while (strlen(text) > REPLAY_LOG_DESC_STR_MAX) {
        const char *end = text + REPLAY_LOG_DESC_STR_MAX;
        g_autofree char *value = NULL;

        while ((*end & 0xc0) == 0x80) {
            /* in the middle of a character of UTF-8 */
            end--;
        }
        value = g_strndup(text, end - text);
        replay_log_description_add(d, key, value);
        text = end;
        g_free(key);
        key = g_strdup_printf(KEY_ARGUMENT "%d.%u", number, ++piece);
    }
    replay_log_description_add(d, key, text);
}

void replay_arguments_describe(ReplayLogDescription *d)
{
    g_autofree char *directory =
        replay_arguments_escape(command_line.directory);
    size_t total_bytes = 0;
    int i;

    for (i = 0; i < ARRAY_SIZE(guest_options); i++) {
        g_autofree char *key = g_strconcat(KEY_OPTION, guest_options[i], NULL);
        g_autofree char *values = replay_arguments_values(guest_options[i]);
        g_autofree char *text = replay_arguments_escape(values);

        if (strlen(text) <= REPLAY_LOG_DESC_STR_MAX
            && replay_log_description_count(d) < REPLAY_LOG_DESC_MAX) {
            replay_log_description_add(d, key, text);
        }
    }
    if (strlen(directory) <= REPLAY_LOG_DESC_STR_MAX
        && replay_log_description_count(d) < REPLAY_LOG_DESC_MAX) {
        replay_log_description_add(d, KEY_DIRECTORY, directory);
    }

    for (i = 0; i < command_line.argc; i++) {
        g_autofree char *text = replay_arguments_escape(command_line.argv[i]);
        size_t len_bytes = strlen(text);
        size_t keys = len_bytes / (REPLAY_LOG_DESC_STR_MAX - 8) + 1;

        total_bytes += len_bytes;
        if (total_bytes > ARGUMENTS_MAX_BYTES
            || replay_log_description_count(d) + keys > REPLAY_LOG_DESC_MAX) {
            break;
        }
        replay_arguments_describe_one(d, i, text);
    }
}
