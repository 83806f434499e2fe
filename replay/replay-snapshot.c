/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The state of record and replay in a snapshot of the virtual machine: to which
 * recording the snapshot belongs, and to which place in it.  Also the snapshot
 * that rrsnapshot= names, and what happens before any snapshot is saved or
 * loaded.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/core/cpu.h"
#include "migration/snapshot.h"
#include "migration/vmstate.h"
#include "qemu/error-report.h"
#include "sysemu/replay.h"
#include "replay-events.h"
#include "replay-kinds.h"
#include "replay-machine.h"
#include "replay-stream.h"

/* replay_now before a snapshot is loaded.  The snapshot must have its UUID. */
static ReplayNow before;

static int replay_snapshot_pre_save(void *opaque)
{
    ReplayNow *s = opaque;

    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_catch_up();
        s->pos = replay_stream_pos();
    }
    /* A snapshot of the user clears the log of the pages that were written. */
    replay_checkpoints_forget_pages();
    return 0;
}

static int replay_snapshot_pre_load(void *opaque)
{
    ReplayNow *s = opaque;

    before = *s;
    s->vcpu = 0;
    /* The machine was reset, and devices may have acted on that. */
    replay_bh_drop();
    return 0;
}

/* Returns: -EINVAL.  The machine is partly loaded and must not continue. */
static int replay_snapshot_failed(ReplayNow *s)
{
    *s = before;
    replay_set_failed();
    return -EINVAL;
}

static int replay_snapshot_post_load(void *opaque, int version_id)
{
    ReplayNow *s = opaque;
    uint64_t saved_left = s->insns_left;
    ReplayPlace here, stop;
    Error *err = NULL;

    if (!qemu_uuid_is_equal(&s->uuid, &before.uuid)) {
        g_autofree char *ours = qemu_uuid_unparse_strdup(&before.uuid);
        g_autofree char *there = qemu_uuid_unparse_strdup(&s->uuid);

        error_report("the snapshot belongs to another recording (UUID %s), not "
                     "to '%s' (UUID %s)", there, replay_filename(), ours);
        return replay_snapshot_failed(s);
    }
    if (s->vcpu > INT_MAX || !qemu_get_cpu(s->vcpu)) {
        error_report("the snapshot continues on vCPU %" PRIu32 ", which the "
                     "machine does not have", s->vcpu);
        return replay_snapshot_failed(s);
    }
    if (!replay_stream_seek(&s->pos, &err)) {
        error_report_err(err);
        return replay_snapshot_failed(s);
    }
    if (saved_left) {
        if (saved_left > s->insns_left) {
            error_report("the snapshot does not belong to the recording '%s'",
                         replay_filename());
            return replay_snapshot_failed(s);
        }
        s->insns_left = saved_left;
    }
    here = replay_here();
    if (replay_stop_is_set(&stop) && replay_place_compare(&stop, &here) < 0) {
        /* The stop is behind the guest now. */
        replay_stop_nowhere();
    }
    replay_shutdown_forget();
    replay_checkpoints_forget_pages();
    replay_info_restart();
    return 0;
}

/* Without the section it is the first vCPU. */
static bool replay_snapshot_needs_vcpu(void *opaque)
{
    const ReplayNow *s = opaque;

    return s->vcpu;
}

static const VMStateDescription replay_vmstate_vcpu = {
    .name = "replay/vcpu",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = replay_snapshot_needs_vcpu,
    .fields = (VMStateField[]) {
        VMSTATE_UINT32(vcpu, ReplayNow),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription replay_vmstate = {
    .name = "replay",
    .version_id = 3,
    .minimum_version_id = 3,
    .pre_save = replay_snapshot_pre_save,
    .pre_load = replay_snapshot_pre_load,
    .post_load = replay_snapshot_post_load,
    .fields = (VMStateField[]) {
        VMSTATE_UINT8_ARRAY(uuid.data, ReplayNow, 16),
        VMSTATE_INT64_ARRAY(clock_ns, ReplayNow, REPLAY_CLOCK_COUNT),
        VMSTATE_UINT64(icount, ReplayNow),
        VMSTATE_UINT64(insns_left, ReplayNow),
        VMSTATE_UINT64(next_block_id, ReplayNow),
        VMSTATE_UINT32(pos.chunk, ReplayNow),
        VMSTATE_UINT32(pos.offset_bytes, ReplayNow),
        VMSTATE_UINT64(pos.event, ReplayNow),
        VMSTATE_UINT64(pos.packet, ReplayNow),
        VMSTATE_UINT64(pos.icount, ReplayNow),
        VMSTATE_END_OF_LIST()
    },
    .subsections = (const VMStateDescription * []) {
        &replay_vmstate_vcpu,
        NULL
    },
};

void replay_snapshot_register(void)
{
    vmstate_register(NULL, 0, &replay_vmstate, &replay_now);
}

void replay_vmstate_init(void)
{
    Error *err = NULL;
    bool ok;

    if (!replay_snapshot) {
        return;
    }
    if (replay_mode == REPLAY_MODE_RECORD) {
        ok = save_snapshot(replay_snapshot, true, NULL, false, NULL, &err);
    } else {
        ok = load_snapshot(replay_snapshot, NULL, false, NULL, &err);
    }
    if (!ok) {
        error_reportf_err(err, "-icount rrsnapshot='%s': ", replay_snapshot);
        replay_machine_explain();
        exit(EXIT_FAILURE);
    }
}

bool replay_can_load_snapshot(Error **errp)
{
    if (replay_mode != REPLAY_MODE_RECORD) {
        return true;
    }
    if (replay_now.left) {
        error_setg(errp, "a snapshot cannot be loaded after the replay was "
                   "left");
        return false;
    }
    error_setg(errp, "a snapshot cannot be loaded while the recording '%s' is "
               "being made: time would go back", replay_filename());
    error_append_hint(errp, "Load the snapshot in a replay.\n");
    return false;
}

void replay_flush_events(void)
{
    if (replay_mode == REPLAY_MODE_PLAY) {
        /* What happens until the snapshot is loaded is not in the recording. */
        replay_set_failed();
        replay_bh_abandon();
    }
}

bool replay_can_snapshot(void)
{
    /* replay_prepare_snapshot() has the answer. */
    return true;
}

bool replay_can_save_snapshot(Error **errp)
{
    if (replay_now.left) {
        error_setg(errp, "no QEMU could load a snapshot that is saved after "
                   "the replay was left");
        error_append_hint(errp, "Save it before replay-leave, or leave the "
                          "replay for a new recording.\n");
        return false;
    }
    return replay_mode == REPLAY_MODE_NONE
           || (replay_disk_can_save(errp) && replay_bh_can_save(errp));
}

bool replay_prepare_snapshot(Error **errp)
{
    if (replay_mode == REPLAY_MODE_NONE) {
        return true;
    }
    replay_block_settle();
    return replay_bh_can_save(errp);
}
