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
 *
 * When the user leaves a replay, the machine goes on with its real back ends.
 * So this file keeps what the user has given for each netdev, opens the back
 * ends then, and puts them in the place of the stand-ins.
 */

#include "qemu/osdep.h"
#include "migration/qemu-file.h"
#include "migration/register.h"
#include "migration/savevm.h"
#include "migration/vmstate.h"
#include "net/net.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-net.h"
#include "qapi/opts-visitor.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qobject-input-visitor.h"
#include "qapi/util.h"
#include "qapi/visitor.h"
#include "qemu/error-report.h"
#include "qemu/option.h"
#include "qemu/units.h"
#include "sysemu/replay-base.h"
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
    NetClientState *opened;     /* takes its place; NULL: none is open */
    QLIST_ENTRY(ReplayNetdev) next;
} ReplayNetdev;

/* What the user has given for a netdev. */
typedef struct ReplayNetdevGiven {
    Netdev *netdev;             /* owned; NULL: this QEMU cannot parse it */
    Error *err;                 /* owned; why not */
} ReplayNetdevGiven;

/* BQL */
static QLIST_HEAD(, ReplayNetdev) stand_ins =
    QLIST_HEAD_INITIALIZER(stand_ins);
static GHashTable *given;       /* ReplayNetdevGiven, owned, by the id */

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

    QLIST_REMOVE(s, next);
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
    QLIST_INSERT_HEAD(&stand_ins, s, next);
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

static void replay_netdev_free_given(gpointer opaque)
{
    ReplayNetdevGiven *g = opaque;

    qapi_free_Netdev(g->netdev);
    error_free(g->err);
    g_free(g);
}

/*
 * Notes what the user has given for the netdev @id.
 * @v: freed
 */
static void replay_netdev_note(const char *id, Visitor *v)
{
    ReplayNetdevGiven *g = g_new0(ReplayNetdevGiven, 1);

    visit_type_Netdev(v, NULL, &g->netdev, &g->err);
    visit_free(v);
    if (!given) {
        given = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                      replay_netdev_free_given);
    }
    g_hash_table_replace(given, g_strdup(id), g);
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
    replay_netdev_note(id, qobject_input_visitor_new(QOBJECT(arguments)));
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
    Netdev *netdev;

    if (replay_mode != REPLAY_MODE_PLAY) {
        return NULL;
    }
    netdev = replay_netdev_new(qemu_opt_get(opts, "type"), qemu_opts_id(opts));
    if (netdev) {
        replay_netdev_note(netdev->id, opts_visitor_new(opts));
    }
    return netdev;
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
    if (netdev) {
        replay_netdev_note(netdev->id, g_steal_pointer(&v));
    } else {
        visit_type_Netdev(v, NULL, &netdev, errp);
    }
    visit_free(v);
    return netdev;
}

/* --- The user leaves the replay ------------------------------------------ */

/* Has the back end @nc the virtio header that the NIC of @s reads? */
static bool replay_netdev_fits(const ReplayNetdev *s, NetClientState *nc,
                               Error **errp)
{
    int len_bytes = s->nc.vnet_hdr_len;

    if (!len_bytes || (qemu_has_vnet_hdr(nc)
                       && qemu_has_vnet_hdr_len(nc, len_bytes))) {
        return true;
    }
    error_setg(errp, "netdev '%s' has no virtio header of %d bytes, but its "
               "NIC has had one in the replay", nc->name, len_bytes);
    error_append_hint(errp, "Use a netdev like that of the recorder: a %s.\n",
                      replay_net_backend(s->name) ?: "tap");
    return false;
}

/* Sets the id of the stand-in, which only one netdev may have. */
static void replay_netdev_rename(ReplayNetdev *s, const char *id)
{
    g_free(s->nc.name);
    s->nc.name = g_strdup(id);
}

static void replay_netdev_close(ReplayNetdev *s)
{
    g_autofree char *id = g_strdup(s->nc.name);

    if (s->opened) {
        replay_netdev_rename(s, "");
        qemu_del_net_client(g_steal_pointer(&s->opened));
        replay_netdev_rename(s, id);
    }
}

/*
 * Opens the back end that the user has given for @s.  A netdev of the type
 * replay stays what it is.
 */
static bool replay_netdev_open(ReplayNetdev *s, Error **errp)
{
    ReplayNetdevGiven *g = given ? g_hash_table_lookup(given, s->nc.name)
                                 : NULL;
    g_autofree char *id = g_strdup(s->nc.name);
    NetClientState *ncs[MAX_QUEUE_NUM];
    int queues;
    bool ok;

    if (!g || (g->netdev && g->netdev->type == NET_CLIENT_DRIVER_REPLAY)) {
        warn_report("netdev '%s': no back end was given, so nothing is sent "
                    "and received", s->nc.name);
        return true;
    }
    if (!g->netdev) {
        error_propagate(errp, error_copy(g->err));
        return false;
    }
    replay_netdev_rename(s, "");
    ok = net_client_open(g->netdev, id, errp);
    queues = qemu_find_net_clients_except(id, ncs, NET_CLIENT_DRIVER_NIC,
                                          ARRAY_SIZE(ncs));
    replay_netdev_rename(s, id);
    if (!ok) {
        return false;
    }
    s->opened = ncs[0];
    s->opened->is_netdev = s->nc.is_netdev;
    return filter_replay_can_move(ncs, queues, errp)
           && replay_netdev_fits(s, s->opened, errp);
}

bool replay_netdevs_open(Error **errp)
{
    ReplayNetdev *s;

    QLIST_FOREACH(s, &stand_ins, next) {
        if (!replay_netdev_open(s, errp)) {
            break;
        }
    }
    if (!s) {
        return true;
    }
    QLIST_FOREACH(s, &stand_ins, next) {
        replay_netdev_close(s);
    }
    return false;
}

static void replay_netdev_leave(ReplayNetdev *s)
{
    NetClientState *nc = s->opened;
    NetClientState *peer = s->nc.peer;

    if (s->nc.vnet_hdr_len) {
        replay_base_use_vnet_hdr(nc, s->nc.vnet_hdr_len);
    }
    nc->link_down = s->nc.link_down;
    filter_replay_move(&s->nc, nc);
    s->nc.peer = NULL;
    nc->peer = peer;
    if (peer) {
        peer->peer = nc;
        qemu_net_queue_change_sender(peer->incoming_queue, &s->nc, nc);
    }
    replay_netdev_rename(s, "");
    qemu_del_net_client(&s->nc);
}

void replay_netdevs_leave(void)
{
    ReplayNetdev *s, *next;

    QLIST_FOREACH_SAFE(s, &stand_ins, next, next) {
        if (s->opened) {
            replay_netdev_leave(s);
        }
    }
    filter_replay_leave();
}
