/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Stubs of record and replay for a system emulator without TCG.
 *
 * Such an emulator cannot count instructions, so it neither records nor
 * replays.  With these functions the rest of QEMU can call what
 * include/sysemu/replay.h declares without an #ifdef: each does what it must do
 * when replay_mode is REPLAY_MODE_NONE, and the monitor commands report an
 * error.  Stubs that the tools need too are in stubs/replay-tools.c.
 */

#include "qemu/osdep.h"
#include "monitor/hmp.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-replay.h"
#include "qapi/qapi-visit-net.h"
#include "qapi/qobject-input-visitor.h"
#include "qemu/error-report.h"
#include "sysemu/replay.h"
#include "ui/input.h"

static const char replay_not_built[] = "replay support not available";

/* --- The life of a recording ------------------------------------------- */

char **replay_take_command_line(int argc, char **argv)
{
    return argv;
}

void replay_configure(struct QemuOpts *opts)
{
}

void replay_start(void)
{
}

int replay_exit_status(int status)
{
    return status;
}

void replay_add_blocker(const char *feature)
{
}

/* --- Requests to shut down --------------------------------------------- */

void replay_shutdown_request(ShutdownCause cause)
{
}

bool replay_shutdown_waits(ShutdownCause cause)
{
    return false;
}

/* --- Asynchronous events and input ------------------------------------- */

bool replay_vcpu_is_held(void)
{
    return false;
}

void replay_vcpu_release(void)
{
}

void replay_flush_events(void)
{
}

void replay_input_event(QemuConsole *src, InputEvent *evt)
{
    qemu_input_event_send_impl(src, evt);
}

void replay_input_sync_event(void)
{
    qemu_input_event_sync_impl();
}

/* --- Random bytes from the host ------------------------------------------ */

unsigned replay_rng_register(const char *id, const ReplayRngOps *ops,
                             void *opaque)
{
    return 0;
}

void replay_rng_unregister(unsigned number)
{
}

void replay_rng_receive(unsigned number, const void *buf, size_t len)
{
}

/* --- Network ----------------------------------------------------------- */

bool replay_net_blocks_sender(NetClientState *sender, NetPacketSent *sent_cb)
{
    return false;
}

bool replay_net_nic_ready(void)
{
    return false;
}

bool filter_replay_attach(NetClientState **ncs, int queues, Error **errp)
{
    return true;
}

int replay_netdev_init(const Netdev *netdev, const char *id,
                       NetClientState *peer, Error **errp)
{
    error_setg(errp, "%s", replay_not_built);
    return -1;
}

const Netdev *replay_netdev_replace(const Netdev *netdev, Netdev *stand_in)
{
    return netdev;
}

Netdev *replay_netdev_from_opts(QemuOpts *opts)
{
    return NULL;
}

Netdev *replay_netdev_from_string(const char *optarg, Error **errp)
{
    Visitor *v = qobject_input_visitor_new_str(optarg, "type", errp);
    Netdev *netdev = NULL;

    if (v) {
        visit_type_Netdev(v, NULL, &netdev, errp);
        visit_free(v);
    }
    return netdev;
}

/* --- Disks ------------------------------------------------------------- */

bool replay_disk_attach(BlockBackend *blk, Error **errp)
{
    return true;
}

/* --- What the user does to the machine --------------------------------- */

bool replay_hides_vm_change(void)
{
    return false;
}

bool replay_allows_change(const char *what, bool before_start, Error **errp)
{
    return true;
}

bool replay_link_set(const char *name, bool up, Error **errp)
{
    return false;
}

bool replay_request(ReplayRequest request)
{
    return false;
}

void replay_requests_of_suspended(void)
{
}

bool replay_allows_hmp(const char *name, bool is_info, const QDict *args,
                       Error **errp)
{
    return true;
}

/* --- Audio ------------------------------------------------------------- */

void replay_audio_out(size_t *played)
{
}

void replay_audio_in(size_t *recorded, void *samples, size_t *wpos, size_t size)
{
}

/* --- Snapshots --------------------------------------------------------- */

void replay_vmstate_init(void)
{
}

bool replay_can_snapshot(void)
{
    return true;
}

bool replay_can_save_snapshot(Error **errp)
{
    return true;
}

bool replay_prepare_snapshot(Error **errp)
{
    return true;
}

bool replay_can_load_snapshot(Error **errp)
{
    return true;
}

void replay_block_begin(uint64_t *id)
{
}

void replay_block_end(void)
{
}

void replay_block_cannot_repeat(uint64_t id)
{
}

bool replay_block_load(uint64_t id)
{
    return false;
}

/* --- Debugging backwards ----------------------------------------------- */

bool replay_vcpu_waits(const CPUState *cpu)
{
    return false;
}

bool replay_is_paused(void)
{
    return false;
}

bool replay_running_debug(void)
{
    return false;
}

void replay_breakpoint(void)
{
}

void replay_gdb_stops(void)
{
}

void replay_gdb_attached(void)
{
}

/* --- Monitor commands -------------------------------------------------- */

static void replay_refuse_command(Error **errp)
{
    error_set(errp, ERROR_CLASS_COMMAND_NOT_FOUND, "%s", replay_not_built);
}

ReplayInfo *qmp_query_replay(Error **errp)
{
    replay_refuse_command(errp);
    return NULL;
}

void qmp_replay_break(ReplayPlaceName *name, Error **errp)
{
    replay_refuse_command(errp);
}

void qmp_replay_delete_break(Error **errp)
{
    replay_refuse_command(errp);
}

void qmp_replay_seek(ReplayPlaceName *name, Error **errp)
{
    replay_refuse_command(errp);
}

void qmp_replay_leave(const char *file, Error **errp)
{
    replay_refuse_command(errp);
}

void hmp_info_replay(Monitor *mon, const QDict *qdict)
{
    error_report("%s", replay_not_built);
}

void hmp_replay_break(Monitor *mon, const QDict *qdict)
{
    error_report("%s", replay_not_built);
}

void hmp_replay_delete_break(Monitor *mon, const QDict *qdict)
{
    error_report("%s", replay_not_built);
}

void hmp_replay_seek(Monitor *mon, const QDict *qdict)
{
    error_report("%s", replay_not_built);
}

void hmp_replay_leave(Monitor *mon, const QDict *qdict)
{
    error_report("%s", replay_not_built);
}
