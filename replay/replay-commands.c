/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which commands of QMP and of the human monitor are carried out while a
 * machine is recorded or replayed.  The dispatchers of both ask here before
 * they run a command.  replay-commands.h.inc has the table of all commands, and
 * says what the marks in it mean.
 *
 * A command that has no mark is refused once the machine has run: nobody has
 * looked at what the guest sees of it.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qom/object_interfaces.h"
#include "sysemu/hostmem.h"
#include "sysemu/rng.h"
#include "sysemu/runstate.h"
#include "replay-now.h"

typedef enum ReplayCommandMark {
    HARMLESS,
    RECORDED,
    BEFORE_START,
    REFUSED,
    BY_ARGUMENTS,
    REPLAY_ONLY,
} ReplayCommandMark;

typedef struct ReplayCommand {
    ReplayCommandMark mark;
    const char *name;
} ReplayCommand;

/* Ends with a name of NULL, and so do the tables below. */
static const ReplayCommand qmp_commands[] = {
#define QMP(mark_, name_) { mark_, name_ },
#define HMP(mark_, name_)
#include "replay-commands.h.inc"
#undef QMP
#undef HMP
    { BEFORE_START, NULL },
};

static const ReplayCommand hmp_commands[] = {
#define QMP(mark_, name_)
#define HMP(mark_, name_) { mark_, name_ },
#include "replay-commands.h.inc"
#undef QMP
#undef HMP
    { BEFORE_START, NULL },
};

static ReplayCommandMark replay_command_mark(const ReplayCommand *commands,
                                             const char *name)
{
    while (commands->name && !g_str_equal(commands->name, name)) {
        commands++;
    }
    return commands->mark;
}

/* --- Arguments ----------------------------------------------------------- */

/* Returns: whether packets on their way to the guest pass through @type. */
static bool replay_command_is_packet_filter(const char *type)
{
    static const char *const types[] = {
        "filter-buffer", "filter-redirector", "filter-rewriter", NULL,
    };

    return g_strv_contains(types, type);
}

/* Returns: whether the guest notices a change of the object @obj. */
static bool replay_command_is_of_guest(Object *obj)
{
    return !object_dynamic_cast(obj, TYPE_USER_CREATABLE)
           || object_dynamic_cast(obj, TYPE_MEMORY_BACKEND)
           || object_dynamic_cast(obj, TYPE_RNG_BACKEND)
           || replay_command_is_packet_filter(object_get_typename(obj));
}

static bool replay_command_object_add(const QDict *args)
{
    const char *type = qdict_get_try_str(args, "qom-type");

    /* HMP has one string in place of arguments by name. */
    return type && !replay_command_is_packet_filter(type);
}

static bool replay_command_object_del(const QDict *args)
{
    const char *id = qdict_get_try_str(args, "id");
    Object *obj = id ? object_resolve_path_component(object_get_objects_root(),
                                                     id) : NULL;

    return !obj || !replay_command_is_packet_filter(object_get_typename(obj));
}

static bool replay_command_qom_set(const QDict *args)
{
    const char *path = qdict_get_try_str(args, "path");
    Object *obj = path ? object_resolve_path(path, NULL) : NULL;

    return !obj || !replay_command_is_of_guest(obj);
}

/* "change vnc" changes a password, all other changes are of a disk. */
static bool replay_command_change(const QDict *args)
{
    return !g_strcmp0(qdict_get_try_str(args, "device"), "vnc");
}

/* Returns: whether these arguments make the command @name harmless. */
static bool replay_command_arguments_are_harmless(const char *name,
                                                  const QDict *args)
{
    static const struct {
        const char *name;
        bool (*are_harmless)(const QDict *args);
    } checks[] = {
        { "change", replay_command_change },
        { "object-add", replay_command_object_add },
        { "object_add", replay_command_object_add },
        { "object-del", replay_command_object_del },
        { "object_del", replay_command_object_del },
        { "qom-set", replay_command_qom_set },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(checks); i++) {
        if (g_str_equal(checks[i].name, name)) {
            return args && checks[i].are_harmless(args);
        }
    }
    return false;
}

/* --- Commands ------------------------------------------------------------ */

/* A RECORDED command, of a machine that has run. */
static bool replay_command_may_be_event(const char *name, Error **errp)
{
    if (replay_mode == REPLAY_MODE_PLAY) {
        error_setg(errp, "%s: the virtual machine is being replayed, and this "
                   "happens only as recorded", name);
        return false;
    }
    if (runstate_needs_reset()) {
        error_setg(errp, "%s: the virtual machine has shut down, and with this "
                   "the recording ends", name);
        error_append_hint(errp, "Quit QEMU.\n");
        return false;
    }
    if (runstate_check(RUN_STATE_SUSPENDED)
        && g_str_equal(name, "system_reset")) {
        error_setg(errp, "%s: the guest has suspended the virtual machine, and "
                   "a reset of it cannot be recorded", name);
        error_append_hint(errp, "Wake it with system_wakeup first.\n");
        return false;
    }
    return true;
}

static bool replay_command_is_allowed(ReplayCommandMark mark, const char *name,
                                      const QDict *args, Error **errp)
{
    switch (mark) {
    case HARMLESS:
        return true;
    case RECORDED:
        return !replay_has_begun() || replay_command_may_be_event(name, errp);
    case REFUSED:
        return replay_allows_change(name, false, errp);
    case BY_ARGUMENTS:
        return replay_command_arguments_are_harmless(name, args)
               || replay_allows_change(name, true, errp);
    case BEFORE_START:
        return replay_allows_change(name, true, errp);
    case REPLAY_ONLY:
        return replay_can_load_snapshot(errp);
    }
    g_assert_not_reached();
}

bool replay_allows_qmp(const char *name, const QDict *args, Error **errp)
{
    return replay_mode == REPLAY_MODE_NONE
           || replay_command_is_allowed(replay_command_mark(qmp_commands, name),
                                        name, args, errp);
}

bool replay_allows_hmp(const char *name, bool is_info, const QDict *args,
                       Error **errp)
{
    g_autofree char *full = NULL;

    if (replay_mode == REPLAY_MODE_NONE) {
        return true;
    }
    if (is_info) {
        name = full = g_strconcat("info ", name, NULL);
    }
    return replay_command_is_allowed(replay_command_mark(hmp_commands, name),
                                     name, args, errp);
}
