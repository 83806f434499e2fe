/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Bottom halves that wait for their instruction, in a snapshot of the virtual
 * machine.  The device that has scheduled one knows of it only as something
 * that will happen, so without the bottom half the guest of a replay that
 * begins at the snapshot would wait forever.
 *
 * The section has a list of these fields:
 *
 *     1 byte            MARK_BH
 *     2 bytes, string   QOM path of the device
 *     2 bytes, string   name of the function
 *     4 bytes           number, see ReplayBHName
 *     8 bytes           id of the event
 *
 * and a byte MARK_END.  Two bytes before a string are its length.
 */

#include "qemu/osdep.h"
#include "migration/qemu-file-types.h"
#include "migration/vmstate.h"
#include "qemu/error-report.h"
#include "replay-kinds.h"
#include "replay-machine.h"
#include "replay-now.h"

/* Whether another bottom half follows. */
#define MARK_BH             1
#define MARK_END            0

#define STRING_MAX_BYTES    4095

/* --- Save --------------------------------------------------------------- */

static void replay_pending_put_string(QEMUFile *f, const char *string)
{
    size_t len_bytes = MIN(strlen(string), STRING_MAX_BYTES);

    qemu_put_be16(f, len_bytes);
    qemu_put_buffer(f, (const uint8_t *)string, len_bytes);
}

static void replay_pending_save_bh(const ReplayBHName *name, uint64_t id,
                                   void *opaque)
{
    QEMUFile *f = opaque;

    qemu_put_byte(f, MARK_BH);
    replay_pending_put_string(f, name->device);
    replay_pending_put_string(f, name->function);
    qemu_put_be32(f, name->number);
    qemu_put_be64(f, id);
}

static int replay_pending_save(QEMUFile *f, void *pv, size_t size,
                               const VMStateField *field, JSONWriter *vmdesc)
{
    replay_bh_foreach_saved(replay_pending_save_bh, f);
    qemu_put_byte(f, MARK_END);
    return 0;
}

static void replay_pending_note(const ReplayBHName *name, uint64_t id,
                                void *opaque)
{
    *(bool *)opaque = true;
}

static bool replay_pending_needed(void *opaque)
{
    bool needed = false;

    replay_bh_foreach_saved(replay_pending_note, &needed);
    return needed;
}

/* --- Load --------------------------------------------------------------- */

/* Returns: a string, owned; NULL if it is not valid. */
static char *replay_pending_get_string(QEMUFile *f)
{
    unsigned len_bytes = qemu_get_be16(f);
    g_autofree char *string = NULL;

    if (len_bytes > STRING_MAX_BYTES) {
        return NULL;
    }
    string = g_malloc0(len_bytes + 1);
    if (qemu_get_buffer(f, (uint8_t *)string, len_bytes) != len_bytes) {
        return NULL;
    }
    return g_steal_pointer(&string);
}

static bool replay_pending_load_bh(QEMUFile *f)
{
    g_autofree char *device = replay_pending_get_string(f);
    g_autofree char *function = device ? replay_pending_get_string(f) : NULL;
    ReplayBHName name = { .device = device, .function = function };
    g_autofree char *shown = NULL;
    uint64_t id;

    if (!function) {
        error_report("the snapshot has a bottom half whose name is not valid");
        return false;
    }
    name.number = qemu_get_be32(f);
    id = qemu_get_be64(f);
    if (!replay_bh_restore(&name, id)) {
        g_autofree char *both = g_strconcat(device, ", ", function, NULL);

        shown = g_strescape(both, NULL);
        error_report("the snapshot has a bottom half that the machine lacks, "
                     "or has it twice: '%s'", shown);
        return false;
    }
    return true;
}

static int replay_pending_load(QEMUFile *f, void *pv, size_t size,
                               const VMStateField *field)
{
    int mark;

    while ((mark = qemu_get_byte(f)) == MARK_BH) {
        if (!replay_pending_load_bh(f)) {
            return -EINVAL;
        }
    }
    return mark == MARK_END ? 0 : -EINVAL;
}

static const VMStateInfo replay_pending_info = {
    .name = "replay-pending",
    .get = replay_pending_load,
    .put = replay_pending_save,
};

static const VMStateDescription vmstate_replay_pending = {
    .name = "replay-pending",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = replay_pending_needed,
    .fields = (VMStateField[]) {
        {
            .name = "bottom-halves",
            .info = &replay_pending_info,
            .flags = VMS_SINGLE,
        },
        VMSTATE_END_OF_LIST()
    },
};

void replay_pending_register(void)
{
    /*
     * The state is in the queue of events.  The functions above do not use the
     * pointer, but the code for snapshots adds offsets to it.
     */
    vmstate_register(NULL, 0, &vmstate_replay_pending, &replay_now);
}
