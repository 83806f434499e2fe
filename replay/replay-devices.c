/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The devices that can be recorded and replayed.  A device is refused if
 * something in it happens at an instruction that the recording does not know,
 * and also if nobody has looked at it.  docs/replay.txt ("Other devices") says
 * what each device was found to do.
 *
 * The table has the devices of all QEMUs that we support.  bases/BASE/devices
 * names those that only one of them has.
 *
 * Only devices that a user can add are looked up; the fixed parts of a machine
 * are those that the tests record.  CPUs are not devices in this sense.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qmp/qlist.h"
#include "qemu/error-report.h"
#include "hw/core/cpu.h"
#include "hw/qdev-core.h"
#include "qom/qom-qobject.h"
#include "replay-machine.h"
#include "replay-now.h"

typedef struct ReplayDevices {
    const char *refused;        /* the reason; NULL: recorded and replayed */
    const char *const *types;   /* QOM types, ends with NULL */
} ReplayDevices;

#define TYPES(...) ((const char *const[]) { __VA_ARGS__, NULL })

static const ReplayDevices groups[] = {
#include "replay-devices.h.inc"
};

/* Returns: why devices of this type are refused; NULL if they are not. */
static const char *replay_devices_reason(const char *type)
{
    size_t i, j;

    for (i = 0; i < ARRAY_SIZE(groups); i++) {
        for (j = 0; groups[i].types[j]; j++) {
            if (g_str_equal(groups[i].types[j], type)) {
                return groups[i].refused;
            }
        }
    }
    return "it is not known to do everything at recorded instructions";
}

/* Returns: whether iothread-vq-mapping= gives the device threads. */
static bool replay_devices_has_iothreads(Object *obj)
{
    QObject *mapping = object_property_get_qobject(obj, "iothread-vq-mapping",
                                                   NULL);
    const QList *threads = qobject_to(QList, mapping);
    bool found = threads && !qlist_empty(threads);

    qobject_unref(mapping);
    return found;
}

/* An error for a device that is refused, which ends the walk. */
static int replay_devices_check_one(Object *obj, void *opaque)
{
    DeviceState *dev = (DeviceState *)object_dynamic_cast(obj, TYPE_DEVICE);
    Error **errp = opaque;
    const char *type = object_get_typename(obj);
    const char *reason;
    g_autofree char *path = NULL;
    Error *err = NULL;

    if (!dev || !DEVICE_GET_CLASS(dev)->user_creatable
        || object_dynamic_cast(obj, TYPE_CPU)) {
        return 0;
    }
    reason = replay_devices_reason(type);
    if (!reason && object_property_get_link(obj, "iothread", NULL)) {
        reason = "it works in a thread of its own (iothread=)";
    }
    if (!reason && replay_devices_has_iothreads(obj)) {
        reason = "it works in threads of its own (iothread-vq-mapping=)";
    }
    if (!reason) {
        return 0;
    }
    path = object_get_canonical_path(obj);
    error_setg(&err, "the device '%s' (%s) cannot be recorded or replayed: %s",
               type, dev->id ?: path, reason);
    if (replay_now.options.allow_unsafe
        || replay_mode == REPLAY_MODE_PLAY) {
        error_append_hint(&err, "A replay may differ from its recording.\n");
        warn_report_err(err);
        return 0;
    }
    error_append_hint(&err, "Remove the device. With rrunsafe=on this is only "
                      "a warning, and a replay may differ.\n");
    error_propagate(errp, err);
    return 1;
}

bool replay_devices_check(Error **errp)
{
    return !object_child_foreach_recursive(object_get_root(),
                                           replay_devices_check_one, errp);
}
