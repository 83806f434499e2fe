/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The netdev of a replay: a stand-in for the back end of the recorder.
 *
 * A replay exchanges no packet with the outside, so it opens no back end.  The
 * user keeps the command line of the recording.  Whatever type and options it
 * names for a netdev, this file makes a netdev with the same id that neither
 * sends nor receives.  A NIC asks its netdev which header and which offloads
 * it has, and tells the guest; the stand-in gives the answers that the
 * recording has.
 *
 *   -netdev tap,id=n0,ifname=...     replay_netdev_from_opts()
 *   -netdev stream,id=n0,...         replay_netdev_from_string()
 *   QMP netdev_add                   replay_netdev_arguments()
 *   all, and -netdev replay,id=n0    replay_netdev_init()
 *
 * The first three look only at type and id, because this QEMU may not know the
 * others: it may be built without a back end.
 *
 * Ports of a hub stay what they are, because they lead to nothing outside.
 *
 * A snapshot that a recorder made contains the state of slirp.  The stand-in
 * passes over it.
 */

#include "qemu/osdep.h"
#include "migration/qemu-file.h"
#include "migration/register.h"
#include "migration/savevm.h"
#include "migration/vmstate.h"
#include "net/net.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-net.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qobject-input-visitor.h"
#include "qapi/util.h"
#include "qapi/visitor.h"
#include "qemu/error-report.h"
#include "qemu/option.h"
#include "qemu/units.h"
#include "sysemu/replay.h"
#include "sysemu/replay-net.h"

/* The name of the section that slirp has in a snapshot. */
#define SLIRP_SECTION           "slirp"
#define SLIRP_MAX_BYTES         (64 * MiB)

/* A section of a snapshot ends with this byte and a number of four bytes. */
#define FOOTER_BYTES            (1 + sizeof(uint32_t))

typedef struct ReplayNetdev {
    NetClientState nc;
    char *name;                 /* in the recording, owned */
} ReplayNetdev;

/* --- What slirp has saved in a snapshot ---------------------------------- */

static uint32_t replay_netdev_peek_be32(QEMUFile *f, int offset)
{
    uint32_t value = 0;
    size_t i;

    for (i = 0; i < sizeof(value); i++) {
        value = value << 8 | (uint8_t)qemu_peek_byte(f, offset + i);
    }
    return value;
}

/* Does a section of a device begin at @offset, behind the section @number? */
static bool replay_netdev_section_begins(QEMUFile *f, int offset,
                                         uint32_t number)
{
    int len_bytes = qemu_peek_byte(f, offset + 1 + sizeof(number));
    int name = offset + 1 + sizeof(number) + 1;
    int i;

    for (i = 0; i < len_bytes; i++) {
        if (!g_ascii_isprint(qemu_peek_byte(f, name + i))) {
            return false;
        }
    }
    return qemu_peek_byte(f, offset) == QEMU_VM_SECTION_FULL && len_bytes
           && replay_netdev_peek_be32(f, offset + 1) > number;
}

/* Do the sections end at @offset?  Their description follows, as JSON. */
static bool replay_netdev_sections_end(QEMUFile *f, int offset)
{
    return qemu_peek_byte(f, offset) == QEMU_VM_EOF
           && qemu_peek_byte(f, offset + 1) == QEMU_VM_VMDESCRIPTION
           && qemu_peek_byte(f, offset + 2 + sizeof(uint32_t)) == '{';
}

/*
 * Does the section of the snapshot end here?  Its own bytes may look like a
 * footer, so what follows has to be there, too.
 */
static bool replay_netdev_section_ends(QEMUFile *f)
{
    return qemu_peek_byte(f, 0) == QEMU_VM_SECTION_FOOTER
           && (replay_netdev_sections_end(f, FOOTER_BYTES)
               || replay_netdev_section_begins(f, FOOTER_BYTES,
                                               replay_netdev_peek_be32(f, 1)));
}

/*
 * A recorder's slirp saves its connections, which the guest cannot see.  Only
 * slirp knows how long they are, and this QEMU may have none.
 */
static int replay_netdev_skip(QEMUFile *f, void *opaque, int version)
{
    size_t len_bytes;

    for (len_bytes = 0; len_bytes < SLIRP_MAX_BYTES; len_bytes++) {
        if (qemu_file_get_error(f) || replay_netdev_section_ends(f)) {
            return qemu_file_get_error(f);
        }
        qemu_file_skip(f, 1);
    }
    return -EINVAL;
}

/* It saves nothing. */
static const SaveVMHandlers replay_netdev_snapshot = {
    .load_state = replay_netdev_skip,
};

/* --- The netdev as its NIC sees it -------------------------------------- */

/* Only a hub, whose NIC has the filter, gives packets to this netdev. */
static ssize_t replay_netdev_receive(NetClientState *nc, const uint8_t *buf,
                                     size_t len_bytes)
{
    return len_bytes;
}

static bool replay_netdev_offers(NetClientState *nc, const char *feature)
{
    return replay_net_offered(DO_UPCAST(ReplayNetdev, nc, nc)->name, feature);
}

static bool replay_netdev_has_header_of(NetClientState *nc, int len_bytes)
{
    g_autofree char *feature = replay_net_header(len_bytes);

    return replay_netdev_offers(nc, feature);
}

static bool replay_netdev_has_header(NetClientState *nc)
{
    return replay_netdev_offers(nc, REPLAY_NET_HEADER);
}

static bool replay_netdev_has_ufo(NetClientState *nc)
{
    return replay_netdev_offers(nc, REPLAY_NET_UFO);
}

static bool replay_netdev_has_uso(NetClientState *nc)
{
    return replay_netdev_offers(nc, REPLAY_NET_USO);
}

static void replay_netdev_set_header(NetClientState *nc, int len_bytes)
{
    /* net/net.c keeps the length, which a snapshot's description needs. */
}

static void replay_netdev_cleanup(NetClientState *nc)
{
    ReplayNetdev *s = DO_UPCAST(ReplayNetdev, nc, nc);

    unregister_savevm(NULL, SLIRP_SECTION, s);
    qemu_purge_queued_packets(nc);
    g_free(s->name);
}

static NetClientInfo replay_netdev_info = {
    .type = NET_CLIENT_DRIVER_REPLAY,
    .size = sizeof(ReplayNetdev),
    .receive = replay_netdev_receive,
    .cleanup = replay_netdev_cleanup,
    .has_ufo = replay_netdev_has_ufo,
    .has_uso = replay_netdev_has_uso,
    .has_vnet_hdr = replay_netdev_has_header,
    .has_vnet_hdr_len = replay_netdev_has_header_of,
    .set_vnet_hdr_len = replay_netdev_set_header,
};

int replay_netdev_init(const Netdev *netdev, const char *id,
                       NetClientState *peer, Error **errp)
{
    NetClientState *nc;
    ReplayNetdev *s;
    const char *backend;

    if (replay_mode != REPLAY_MODE_PLAY) {
        error_setg(errp, "netdev '%s': the type replay exists only in a "
                   "replay", id);
        error_append_hint(errp, "Name the back end with which the virtual "
                          "machine is to run or to be recorded. A replay "
                          "replaces it by itself.\n");
        return -1;
    }
    nc = qemu_new_net_client(&replay_netdev_info, peer, "replay", id);
    s = DO_UPCAST(ReplayNetdev, nc, nc);
    s->name = replay_net_name(id);
    register_savevm_live(SLIRP_SECTION, VMSTATE_INSTANCE_ID_ANY, INT_MAX,
                         &replay_netdev_snapshot, s);
    backend = replay_net_backend(s->name);
    qemu_set_info_str(nc, "recorded as %s", backend ?: "nothing");
    return 0;
}

/* --- The netdevs that the stand-in replaces ------------------------------ */

/* Does @type, perhaps unknown to this QEMU, name a back end? */
static bool replay_netdev_is_backend(const char *type)
{
    return !g_str_equal(type, NetClientDriver_str(NET_CLIENT_DRIVER_NONE))
           && !g_str_equal(type, NetClientDriver_str(NET_CLIENT_DRIVER_NIC))
           && !g_str_equal(type,
                           NetClientDriver_str(NET_CLIENT_DRIVER_HUBPORT));
}

/* Says if @type, of a netdev that is replaced, is not known to this QEMU. */
static void replay_netdev_warn(const char *type, const char *id)
{
    if (qapi_enum_parse(&NetClientDriver_lookup, type, -1, NULL) < 0) {
        warn_report("netdev '%s': this QEMU has no type '%s'; the replay makes "
                    "a netdev of the type replay, as for every netdev", id,
                    type);
    }
}

void replay_netdev_arguments(const char *command, QDict *arguments)
{
    g_autofree char *type = NULL;
    g_autofree char *id = NULL;

    if (replay_mode != REPLAY_MODE_PLAY || !arguments
        || !g_str_equal(command, "netdev_add")) {
        return;
    }
    type = g_strdup(qdict_get_try_str(arguments, "type"));
    id = g_strdup(qdict_get_try_str(arguments, "id"));
    if (!type || !id || !replay_netdev_is_backend(type)) {
        return;
    }
    replay_netdev_warn(type, id);
    while (qdict_size(arguments)) {
        qdict_del(arguments, qdict_entry_key(qdict_first(arguments)));
    }
    qdict_put_str(arguments, "id", id);
    qdict_put_str(arguments, "type",
                  NetClientDriver_str(NET_CLIENT_DRIVER_REPLAY));
}

/* Returns: a stand-in, owned; NULL if @type is no back end, or if none is. */
static Netdev *replay_netdev_new(const char *type, const char *id)
{
    Netdev *netdev;

    if (!type || !id || !replay_netdev_is_backend(type)) {
        return NULL;
    }
    replay_netdev_warn(type, id);
    netdev = g_new0(Netdev, 1);
    netdev->id = g_strdup(id);
    netdev->type = NET_CLIENT_DRIVER_REPLAY;
    return netdev;
}

Netdev *replay_netdev_from_opts(QemuOpts *opts)
{
    return replay_mode == REPLAY_MODE_PLAY
           ? replay_netdev_new(qemu_opt_get(opts, "type"), qemu_opts_id(opts))
           : NULL;
}

/* Returns: a stand-in, owned; NULL if @v has no back end with an id. */
static Netdev *replay_netdev_visit(Visitor *v)
{
    g_autofree char *type = NULL;
    g_autofree char *id = NULL;
    Netdev *netdev = NULL;

    if (!visit_start_struct(v, NULL, NULL, 0, NULL)) {
        return NULL;
    }
    /* Without visit_check_struct(): other members do not matter. */
    if (visit_type_str(v, "type", &type, NULL)
        && visit_type_str(v, "id", &id, NULL)) {
        netdev = replay_netdev_new(type, id);
    }
    visit_end_struct(v, NULL);
    return netdev;
}

Netdev *replay_netdev_from_string(const char *optarg, Error **errp)
{
    Visitor *v = qobject_input_visitor_new_str(optarg, "type", errp);
    Netdev *netdev = NULL;

    if (!v) {
        return NULL;
    }
    if (replay_mode == REPLAY_MODE_PLAY) {
        netdev = replay_netdev_visit(v);
        visit_free(v);
        v = qobject_input_visitor_new_str(optarg, "type", &error_abort);
    }
    if (!netdev) {
        visit_type_Netdev(v, NULL, &netdev, errp);
    }
    visit_free(v);
    return netdev;
}
