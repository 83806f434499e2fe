/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Record and replay in a snapshot of the virtual machine: which recording it
 * belongs to, and where in it.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "migration/snapshot.h"
#include "migration/vmstate.h"
#include "qemu/error-report.h"
#include "sysemu/replay.h"
#include "replay-internal.h"

/* What was before a snapshot was loaded, with the UUID that it must have. */
static ReplayState before;

static int replay_pre_save(void *opaque)
{
    ReplayState *s = opaque;

    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_save_instructions();
        s->pos = replay_file_pos();
    }
    return 0;
}

static int replay_pre_load(void *opaque)
{
    ReplayState *s = opaque;

    before = *s;
    return 0;
}

/* Returns: -EINVAL; what was loaded so far is no machine that could go on. */
static int replay_load_failed(ReplayState *s)
{
    *s = before;
    replay_set_failed();
    return -EINVAL;
}

static int replay_post_load(void *opaque, int version_id)
{
    ReplayState *s = opaque;
    uint64_t insns_left = s->instruction_count;
    Error *err = NULL;

    if (!qemu_uuid_is_equal(&s->uuid, &before.uuid)) {
        char here[UUID_FMT_LEN + 1], there[UUID_FMT_LEN + 1];

        qemu_uuid_unparse(&before.uuid, here);
        qemu_uuid_unparse(&s->uuid, there);
        error_report("the snapshot was made under another recording (UUID %s) "
                     "than '%s' (UUID %s)", there, replay_get_filename(),
                     here);
        return replay_load_failed(s);
    }
    if (!replay_file_seek(&s->pos, &err)) {
        error_report_err(err);
        return replay_load_failed(s);
    }
    if (insns_left) {
        if (insns_left > s->instruction_count) {
            error_report("the snapshot does not fit to the recording '%s'",
                         replay_get_filename());
            return replay_load_failed(s);
        }
        s->instruction_count = insns_left;
    }
    if (replay_break_icount < s->current_icount) {
        /* That breakpoint was jumped over. */
        replay_break_icount = UINT64_MAX;
    }
    replay_progress_restart();
    return 0;
}

static const VMStateDescription vmstate_replay = {
    .name = "replay",
    .version_id = 3,
    .minimum_version_id = 3,
    .pre_save = replay_pre_save,
    .pre_load = replay_pre_load,
    .post_load = replay_post_load,
    .fields = (VMStateField[]) {
        VMSTATE_UINT8_ARRAY(uuid.data, ReplayState, 16),
        VMSTATE_INT64_ARRAY(cached_clock, ReplayState, REPLAY_CLOCK_COUNT),
        VMSTATE_UINT64(current_icount, ReplayState),
        VMSTATE_UINT64(instruction_count, ReplayState),
        VMSTATE_UINT64(block_request_id, ReplayState),
        VMSTATE_UINT32(pos.chunk, ReplayState),
        VMSTATE_UINT32(pos.offset_bytes, ReplayState),
        VMSTATE_UINT64(pos.event, ReplayState),
        VMSTATE_UINT64(pos.packet, ReplayState),
        VMSTATE_UINT64(pos.icount, ReplayState),
        VMSTATE_END_OF_LIST()
    },
};

void replay_vmstate_register(void)
{
    vmstate_register(NULL, 0, &vmstate_replay, &replay_state);
    replay_nics_vmstate_register();
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
        replay_file_explain_machine();
        exit(EXIT_FAILURE);
    }
}

bool replay_can_load_snapshot(Error **errp)
{
    if (replay_mode != REPLAY_MODE_RECORD) {
        return true;
    }
    error_setg(errp, "a snapshot cannot be loaded while the recording '%s' is "
               "being made: time would go back", replay_get_filename());
    error_append_hint(errp, "Load it in a replay.\n");
    return false;
}

bool replay_can_snapshot(void)
{
    return replay_mode == REPLAY_MODE_NONE || !replay_has_events();
}
