/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What net/ knows of a NIC, in a snapshot of the virtual machine: the packets
 * that were sent to the NIC and that it has not accepted yet, whether it has
 * refused a packet, and the state of its link.  No device saves these, and a
 * replay that begins at the snapshot, or goes back to it, needs them as they
 * were.
 *
 * A NIC is identified by the name of its netdev, never by its place in a list.
 */

#include "qemu/osdep.h"
#include "migration/qemu-file-types.h"
#include "migration/vmstate.h"
#include "net/net.h"
#include "net/queue.h"
#include "qemu/error-report.h"
#include "sysemu/replay-net.h"
#include "replay-machine.h"
#include "replay-now.h"

/* Of one NIC; the limit of a NetQueue. */
#define PACKETS_MAX         10000

/* Whether another NIC follows. */
#define MARK_NIC            1
#define MARK_END            0

/* The length of a netdev's name is saved in one byte. */
QEMU_BUILD_BUG_ON(REPLAY_LOG_ADAPTER_NAME_MAX_BYTES > UINT8_MAX);

typedef struct ReplayNicSearch {
    const char *name;           /* of the netdev; borrowed */
    NetClientState *nc;         /* the NIC, borrowed; NULL if not found */
} ReplayNicSearch;

/* --- Save --------------------------------------------------------------- */

static void replay_nic_save_packet(unsigned flags, const uint8_t *data,
                                   size_t len_bytes, void *opaque)
{
    QEMUFile *f = opaque;

    qemu_put_be32(f, flags);
    qemu_put_be32(f, len_bytes);
    qemu_put_buffer(f, data, len_bytes);
}

static void replay_nic_save(NICState *nic, void *opaque)
{
    QEMUFile *f = opaque;
    NetClientState *nc = qemu_get_queue(nic);
    g_autofree char *name = NULL;
    uint8_t len;

    if (!nc->peer) {
        return;
    }
    name = replay_net_name(nc->peer->name);
    len = MIN(strlen(name), UINT8_MAX);
    qemu_put_byte(f, MARK_NIC);
    qemu_put_byte(f, len);
    qemu_put_buffer(f, (uint8_t *)name, len);
    qemu_put_byte(f, !!nc->link_down);
    qemu_put_byte(f, nc->receive_disabled);
    qemu_put_be32(f, qemu_net_queue_count(nc->incoming_queue));
    qemu_net_queue_foreach(nc->incoming_queue, replay_nic_save_packet, f);
}

static int replay_nics_save(QEMUFile *f, void *pv, size_t size,
                            const VMStateField *field, JSONWriter *vmdesc)
{
    qemu_foreach_nic(replay_nic_save, f);
    qemu_put_byte(f, MARK_END);
    return 0;
}

/* --- Load --------------------------------------------------------------- */

static void replay_nic_compare(NICState *nic, void *opaque)
{
    ReplayNicSearch *search = opaque;
    NetClientState *nc = qemu_get_queue(nic);

    if (nc->peer) {
        g_autofree char *name = replay_net_name(nc->peer->name);

        if (!strncmp(name, search->name, UINT8_MAX)) {
            search->nc = nc;
        }
    }
}

static bool replay_nic_load_packet(QEMUFile *f, NetClientState *nc)
{
    uint32_t flags = qemu_get_be32(f);
    uint32_t len_bytes = qemu_get_be32(f);
    g_autofree uint8_t *data = NULL;
    struct iovec iov;

    if (flags & ~QEMU_NET_PACKET_FLAG_RAW || !len_bytes
        || len_bytes > REPLAY_NET_PACKET_MAX_BYTES) {
        return false;
    }
    data = g_malloc(len_bytes);
    if (qemu_get_buffer(f, data, len_bytes) != len_bytes) {
        return false;
    }
    iov = (struct iovec) { .iov_base = data, .iov_len = len_bytes };
    qemu_net_queue_append_iov(nc->incoming_queue, nc->peer, flags, &iov, 1,
                              NULL);
    return true;
}

static bool replay_nic_load(QEMUFile *f)
{
    char name[UINT8_MAX + 1] = "";
    ReplayNicSearch search = { .name = name };
    uint8_t len = qemu_get_byte(f);
    uint32_t packets;

    qemu_get_buffer(f, (uint8_t *)name, len);
    qemu_foreach_nic(replay_nic_compare, &search);
    if (!search.nc) {
        error_report("the snapshot has a NIC on the netdev '%s', but the "
                     "machine does not", name);
        return false;
    }
    search.nc->link_down = qemu_get_byte(f);
    search.nc->receive_disabled = qemu_get_byte(f);
    packets = qemu_get_be32(f);

    /* The packets that wait now do not belong to the snapshot. */
    qemu_net_queue_purge(search.nc->incoming_queue, search.nc->peer);
    while (packets--) {
        if (qemu_net_queue_count(search.nc->incoming_queue) >= PACKETS_MAX
            || !replay_nic_load_packet(f, search.nc)) {
            error_report("the snapshot has an invalid packet for the NIC on "
                         "the netdev '%s'", name);
            return false;
        }
    }
    return true;
}

static int replay_nics_load(QEMUFile *f, void *pv, size_t size,
                            const VMStateField *field)
{
    while (qemu_get_byte(f) == MARK_NIC) {
        if (!replay_nic_load(f)) {
            return -EINVAL;
        }
    }
    return 0;
}

static const VMStateInfo replay_nics_info = {
    .name = "replay-nics",
    .get = replay_nics_load,
    .put = replay_nics_save,
};

static const VMStateDescription vmstate_replay_nics = {
    .name = "replay-nics",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (VMStateField[]) {
        {
            .name = "nics",
            .info = &replay_nics_info,
            .flags = VMS_SINGLE,
        },
        VMSTATE_END_OF_LIST()
    },
};

void replay_nics_register(void)
{
    /*
     * The state is in net/.  The functions above do not use the pointer, but
     * the code for snapshots adds offsets to it.
     */
    vmstate_register(NULL, 0, &vmstate_replay_nics, &replay_now);
}
