/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Adapters and their packets.
 *
 * An adapter is a filter-replay on a netdev, and its identity is the id of
 * this netdev.  Until the machine first runs, adapters can be added and
 * removed.  Then the set is fixed.  A recorder numbers the adapters in the
 * order of their names, and the description of the machine says which number
 * belongs to which netdev and NIC.  A replay compares the descriptions, and
 * then finds its own adapters by these names.  So the order of options and
 * commands has no meaning.
 *
 *   record   filter -> replay_net_arrived() -> bounded queue
 *            -> replay_net_put_ready(), when the NIC is ready -> deliver
 *   replay   recording -> replay_net_load() -> replay_net_run() -> deliver
 *   deliver  replay_net_deliver() -> next filter -> NIC model
 *
 * Packets from outside wait here, unrecorded, until the NIC can accept them.
 * If too many wait, the netdev stops reading, where it can.  So the kernel
 * deals with a flood, as it does without a recorder, and the packets that are
 * recorded reach the guest.  A packet that does not fit into the queue is
 * dropped before it is recorded.  The drop needs no event: as far as the
 * recording is concerned, the packet never existed.
 *
 * While recording, the length and the checksum of each packet that the guest
 * sends, or all its bytes, become a synchronous event.  A replay compares them.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/util.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/id.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/cpus.h"
#include "sysemu/replay-base.h"
#include "sysemu/replay-net.h"
#include "standard-headers/linux/virtio_net.h"
#include "trace.h"
#include "replay-kinds.h"
#include "replay-mutex.h"
#include "replay-pcapng.h"
#include "replay-report.h"
#include "replay-stream.h"

QEMU_BUILD_BUG_ON(REPLAY_NET_PACKET_MAX_BYTES != NET_BUFSIZE);
QEMU_BUILD_BUG_ON(REPLAY_NET_PACKET_MAX_BYTES > REPLAY_LOG_DATA_MAX_BYTES);

/*
 * A replay does not compare the keys that begin with INFO_KEY.  The netdev's
 * id, a dot and a name follow.
 */
#define INFO_KEY        REPLAY_LOG_KEY_INFO REPLAY_LOG_KEY_ADAPTER
#define BACKEND         ".backend"
#define VERIFY          ".verify"
#define OFFERS          ".offers"

/* A longer type of a back end is not shown to the user. */
#define TYPE_MAX_BYTES  32

/* Parts of the text that describes an adapter, which a replay reads. */
#define TEXT_HEADER     ", virtio header "
#define TEXT_UFO        ", UFO"
#define TEXT_USO        ", USO"
#define TEXT_LINK_DOWN  ", link down"

/*
 * When BLOCK_PACKETS packets or BLOCK_BYTES bytes wait for a NIC, its netdev
 * stops reading, if it can.  It continues when both are below half.
 */
#define BLOCK_PACKETS    256
#define BLOCK_BYTES      (1024 * 1024)

/*
 * Polling interval of the main loop while packets or netdevs wait: a reset or a
 * link change makes a NIC ready without waking the main loop.
 */
#define POLL_NS         (10 * SCALE_MS)

struct ReplayAdapter {
    char *netdev_id;                /* from replay_net_name(), owned */
    FilterReplayVerify verify;      /* verify= of the filter */
    /* Valid once the set is fixed. */
    unsigned id_in_log;
    FilterReplayVerify recorded;    /* verify= of the recorder's filter */

    /* BQL */
    NetFilterState *nf;             /* borrowed; NULL once it is removed */

    /* Record: counters->pending packets that wait for the NIC, owned.  BQL */
    QTAILQ_HEAD(, ReplayEvent) waiting;
    size_t waiting_bytes;
    NetPacketSent *blocked_cb;      /* wakes the netdev; NULL if it reads */

    /* Of the filter, borrowed; NULL once the filter is removed.  BQL */
    ReplayAdapterCounters *counters;
};

typedef struct ReplayNetPacket {
    ReplayEvent ev;
    ReplayAdapter *adapter;         /* borrowed: adapters outlive events */
    uint32_t flags;
    uint64_t event;                 /* replay: number of its event */
    uint64_t packet;                /* replay: its number */
    size_t len_bytes;
    uint8_t data[];
} ReplayNetPacket;

/* BQL; the arrays change only before the machine runs and after it ends. */
static struct {
    GPtrArray *adapters;            /* of ReplayAdapter, owned */
    GPtrArray *by_id_in_log;        /* once fixed: of adapters, borrowed */
    unsigned waiting;               /* packets that wait, of all adapters */
    unsigned blocked;               /* adapters whose netdev has stopped */

    /* Replay: rrpcap=, owned; or NULL */
    ReplayPcapng *capture;
    uint64_t capture_event;         /* events before this one are in it */
} net;

/* --- Adapters ---------------------------------------------------------- */

static void replay_net_free_adapter(gpointer opaque)
{
    ReplayAdapter *s = opaque;

    g_free(s->netdev_id);
    g_free(s);
}

/* Returns: an adapter without a filter, owned by @net. */
static ReplayAdapter *replay_net_new_adapter(const char *name)
{
    ReplayAdapter *s = g_new0(ReplayAdapter, 1);

    if (!net.adapters) {
        net.adapters = g_ptr_array_new_with_free_func(replay_net_free_adapter);
    }
    s->netdev_id = g_strdup(name);
    s->id_in_log = UINT_MAX;
    QTAILQ_INIT(&s->waiting);
    g_ptr_array_add(net.adapters, s);
    return s;
}

char *replay_net_name(const char *netdev_id)
{
    size_t len = strlen(netdev_id);

    /* id_generate() makes '#', subsystem, count, two random digits. */
    return *netdev_id == '#' && len > strlen("#00")
           ? g_strndup(netdev_id, len - strlen("00")) : g_strdup(netdev_id);
}

bool replay_net_is_fixed(void)
{
    return net.by_id_in_log;
}

ReplayAdapter *replay_net_register(NetFilterState *nfs,
                                   FilterReplayVerify verify,
                                   ReplayAdapterCounters *counters,
                                   Error **errp)
{
    g_autofree char *name = replay_net_name(nfs->netdev_id);
    ReplayAdapter *s;

    if (replay_net_is_fixed()) {
        error_setg(errp, "the virtual machine has already run, and the packets "
                   "from netdev '%s' until now are not in the recording",
                   nfs->netdev_id);
        error_append_hint(errp, "Add the filter on the command line, or with "
                          "object-add after starting QEMU with -S and before "
                          "the first 'cont'.\n");
        return NULL;
    }

    if (strlen(name) > REPLAY_LOG_ADAPTER_NAME_MAX_BYTES
        || (net.adapters && net.adapters->len >= REPLAY_LOG_ADAPTERS_MAX)) {
        error_setg(errp, "netdev '%.40s...': a recording has at most %d "
                   "adapters, with names of at most %d bytes", name,
                   REPLAY_LOG_ADAPTERS_MAX, REPLAY_LOG_ADAPTER_NAME_MAX_BYTES);
        return NULL;
    }

    s = replay_net_new_adapter(name);
    s->nf = nfs;
    s->verify = verify;
    s->counters = counters;
    return s;
}

/* Takes the first packet out of the queue.  Returns: the packet, owned. */
static ReplayNetPacket *replay_net_next(ReplayAdapter *s)
{
    ReplayEvent *ev = QTAILQ_FIRST(&s->waiting);
    ReplayNetPacket *p = container_of(ev, ReplayNetPacket, ev);

    QTAILQ_REMOVE(&s->waiting, ev, node);
    s->waiting_bytes -= p->len_bytes;
    s->counters->pending--;
    net.waiting--;
    return p;
}

void replay_net_unregister(ReplayAdapter *s)
{
    if (!s) {
        return;
    }
    while (!QTAILQ_EMPTY(&s->waiting)) {
        g_free(replay_net_next(s));
    }
    if (s->blocked_cb) {
        s->blocked_cb = NULL;
        net.blocked--;
    }
    s->nf = NULL;
    s->counters = NULL;
    if (!net.by_id_in_log) {
        /* No recording refers to this adapter. */
        g_ptr_array_remove(net.adapters, s);
    }
}

/* Returns: the MAC address of a NIC, owned. */
static char *replay_net_mac(NetClientState *nic)
{
    const uint8_t *mac = qemu_get_nic(nic)->conf->macaddr.a;

    return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
                           mac[2], mac[3], mac[4], mac[5]);
}

/* What changes at an adapter while the guest runs. */
typedef struct ReplayNetState {
    int header_bytes;       /* length of the virtio header, or 0 */
    bool link_down;
} ReplayNetState;

/* Returns: what the guest can see of an adapter, owned. */
static char *replay_net_describe_adapter(const ReplayAdapter *s,
                                         ReplayNetState state)
{
    NetClientState *nc = s->nf->netdev;
    NetClientState *peer = nc->peer;
    g_autofree char *nic = NULL;

    if (!peer) {
        nic = g_strdup("no NIC");
    } else if (peer->info->type != NET_CLIENT_DRIVER_NIC) {
        nic = g_strdup(NetClientDriver_str(peer->info->type));
    } else {
        g_autofree char *mac = replay_net_mac(peer);

        nic = g_strdup_printf("NIC %s, MAC %s", peer->model, mac);
    }
    /* Only a NIC that gets a virtio header can see the offloads in it. */
    return g_strdup_printf("%s" TEXT_HEADER "%d bytes%s%s%s%s", nic,
                           state.header_bytes,
                           state.header_bytes ? ", offloads" : "",
                           state.header_bytes && qemu_has_ufo(nc)
                           ? TEXT_UFO : "",
                           state.header_bytes && qemu_has_uso(nc)
                           ? TEXT_USO : "",
                           state.link_down ? TEXT_LINK_DOWN : "");
}

/* Returns: the state of an adapter as it is now. */
static ReplayNetState replay_net_state(const ReplayAdapter *s)
{
    const NetClientState *nc = s->nf->netdev;

    return (ReplayNetState) {
        .header_bytes = nc->vnet_hdr_len,
        .link_down = nc->peer && nc->peer->link_down,
    };
}

/* Returns: the value of a key of the recording, borrowed; or NULL. */
static const char *replay_net_recorded(const char *prefix, const char *name,
                                       const char *suffix)
{
    g_autofree char *key = g_strconcat(prefix, name, suffix, NULL);

    return replay_now.description
           ? replay_log_description_get(replay_now.description, key) : NULL;
}

/* Returns: the state in @text, which replay_net_describe_adapter() has made. */
static ReplayNetState replay_net_parse_state(const char *text)
{
    const char *header = strstr(text, TEXT_HEADER);
    const char *end;
    ReplayNetState state = {
        .link_down = g_str_has_suffix(text, TEXT_LINK_DOWN),
    };

    if (header && qemu_strtoi(header + strlen(TEXT_HEADER), &end, 10,
                              &state.header_bytes) < 0) {
        state.header_bytes = 0;
    }
    return state;
}

/*
 * The description is that of the machine when the recording began.  If a replay
 * begins at a snapshot, the snapshot has the state of its own moment.
 */
static ReplayNetState replay_net_state_at_begin(const ReplayAdapter *s)
{
    const char *text = replay_net_recorded(REPLAY_LOG_KEY_ADAPTER,
                                           s->netdev_id, "");

    return text && replay_now.icount ? replay_net_parse_state(text)
                                     : replay_net_state(s);
}

/* --- What the back end of a netdev offers to its NIC --------------------- */

/* A recording that was made before there was a key for them. */
static bool replay_net_offered_in_text(const char *text, const char *feature)
{
    return replay_net_parse_state(text).header_bytes > 0
           && (g_str_has_prefix(feature, REPLAY_NET_HEADER)
               || (g_str_equal(feature, REPLAY_NET_UFO)
                   && strstr(text, TEXT_UFO))
               || (g_str_equal(feature, REPLAY_NET_USO)
                   && strstr(text, TEXT_USO)));
}

bool replay_net_offered(const char *name, const char *feature)
{
    const char *features = replay_net_recorded(INFO_KEY, name, OFFERS);
    const char *text = replay_net_recorded(REPLAY_LOG_KEY_ADAPTER, name, "");
    g_auto(GStrv) words = NULL;

    if (!features) {
        return text && replay_net_offered_in_text(text, feature);
    }
    words = g_strsplit(features, " ", 0);
    return g_strv_contains((const char *const *)words, feature);
}

const char *replay_net_backend(const char *name)
{
    const char *type = replay_net_recorded(INFO_KEY, name, BACKEND);

    return type && id_wellformed(type) && strlen(type) <= TYPE_MAX_BYTES
           ? type : NULL;
}

char *replay_net_header(int len_bytes)
{
    return g_strdup_printf(REPLAY_NET_HEADER "-%d", len_bytes);
}

/* Returns: the features that the back end of @nc has, owned. */
static char *replay_net_offers(NetClientState *nc)
{
    static const int headers[] = {
        sizeof(struct virtio_net_hdr),
        sizeof(struct virtio_net_hdr_mrg_rxbuf),
        sizeof(struct virtio_net_hdr_v1_hash),
    };
    GString *features = g_string_new(NULL);
    size_t i;

    if (qemu_has_vnet_hdr(nc)) {
        g_string_append(features, REPLAY_NET_HEADER);
        for (i = 0; i < ARRAY_SIZE(headers); i++) {
            g_autofree char *header = replay_net_header(headers[i]);

            if (qemu_has_vnet_hdr_len(nc, headers[i])) {
                g_string_append_printf(features, " %s", header);
            }
        }
        if (qemu_has_ufo(nc)) {
            g_string_append(features, " " REPLAY_NET_UFO);
        }
        if (qemu_has_uso(nc)) {
            g_string_append(features, " " REPLAY_NET_USO);
        }
    }
    return g_string_free(features, false);
}

/* --- The description of the machine -------------------------------------- */

static int replay_net_compare(gconstpointer a, gconstpointer b)
{
    const ReplayAdapter *const *x = a;
    const ReplayAdapter *const *y = b;

    return strcmp((*x)->netdev_id, (*y)->netdev_id);
}

void replay_net_describe(ReplayLogDescription *d)
{
    guint i;

    if (!net.adapters) {
        return;
    }
    g_ptr_array_sort(net.adapters, replay_net_compare);
    for (i = 0; i < net.adapters->len; i++) {
        ReplayAdapter *s = g_ptr_array_index(net.adapters, i);
        g_autofree char *key = NULL, *value = NULL;
        g_autofree char *backend = NULL, *verify = NULL;
        g_autofree char *offers = NULL, *features = NULL;

        if (!s->nf) {
            continue;
        }
        key = g_strconcat(REPLAY_LOG_KEY_ADAPTER, s->netdev_id, NULL);
        value = replay_net_describe_adapter(s, replay_net_state_at_begin(s));
        backend = g_strconcat(INFO_KEY, s->netdev_id, BACKEND, NULL);
        verify = g_strconcat(INFO_KEY, s->netdev_id, VERIFY, NULL);
        offers = g_strconcat(INFO_KEY, s->netdev_id, OFFERS, NULL);
        features = replay_net_offers(s->nf->netdev);
        replay_log_description_add(d, key, value);
        replay_log_description_add(d, backend,
            NetClientDriver_str(s->nf->netdev->info->type));
        replay_log_description_add(d, verify,
                                   FilterReplayVerify_str(s->verify));
        replay_log_description_add(d, offers, features);
    }
}

void replay_net_restore_links(void)
{
    guint i;

    if (replay_now.icount) {
        /* The snapshot has restored them. */
        return;
    }
    for (i = 0; net.adapters && i < net.adapters->len; i++) {
        ReplayAdapter *s = g_ptr_array_index(net.adapters, i);
        const char *text = s->nf ? replay_net_recorded(REPLAY_LOG_KEY_ADAPTER,
                                                       s->netdev_id, "") : NULL;

        if (text && replay_net_parse_state(text).link_down
            && !replay_net_state(s).link_down) {
            net_set_link(s->nf->netdev->name, false, NULL);
        }
    }
}

/* Returns: the adapter of a netdev, if its filter is there; or NULL. */
static ReplayAdapter *replay_net_find(const char *netdev_id)
{
    guint i;

    for (i = 0; net.adapters && i < net.adapters->len; i++) {
        ReplayAdapter *s = g_ptr_array_index(net.adapters, i);

        if (s->nf && g_str_equal(s->netdev_id, netdev_id)) {
            return s;
        }
    }
    return NULL;
}

static void replay_net_number(ReplayAdapter *s, FilterReplayVerify recorded)
{
    s->id_in_log = net.by_id_in_log->len;
    s->recorded = recorded;
    g_ptr_array_add(net.by_id_in_log, s);
}

static FilterReplayVerify replay_net_recorded_verify(const char *netdev_id)
{
    const char *value = replay_net_recorded(INFO_KEY, netdev_id, VERIFY);

    return qapi_enum_parse(&FilterReplayVerify_lookup, value ?: "off",
                           FILTER_REPLAY_VERIFY_OFF, NULL);
}

static void replay_net_begin_record(void)
{
    guint i;

    for (i = 0; net.adapters && i < net.adapters->len; i++) {
        ReplayAdapter *s = g_ptr_array_index(net.adapters, i);

        if (s->nf) {
            /* The adapters are in the order of replay_net_describe(). */
            replay_net_number(s, s->verify);
            replay_stream_name_adapter(s->id_in_log, s->netdev_id);
        }
    }
}

static void replay_net_begin_replay(const ReplayLogDescription *recorded)
{
    size_t i;

    for (i = 0; i < replay_log_description_count(recorded); i++) {
        const char *value;
        const char *key = replay_log_description_nth(recorded, i, &value);

        if (g_str_has_prefix(key, REPLAY_LOG_KEY_ADAPTER)) {
            const char *netdev_id = key + strlen(REPLAY_LOG_KEY_ADAPTER);
            /*
             * With rrcheck=off this netdev may be missing in the replay:
             * replay_net_load() will report the first packet for it.
             */
            ReplayAdapter *s = replay_net_find(netdev_id)
                               ?: replay_net_new_adapter(netdev_id);

            replay_net_number(s, replay_net_recorded_verify(netdev_id));
        }
    }
}

void replay_net_begin(const ReplayLogDescription *recorded)
{
    net.by_id_in_log = g_ptr_array_new();
    if (recorded) {
        replay_net_begin_replay(recorded);
    } else {
        replay_net_begin_record();
    }
}

void replay_net_finish(void)
{
    /*
     * replay_net_unregister() frees each adapter whose filter goes after this.
     * Adapters that have no filter now are not freed before QEMU exits.
     */
    if (net.by_id_in_log) {
        g_ptr_array_free(g_steal_pointer(&net.by_id_in_log), true);
    }
}

static ReplayAdapter *replay_net_by_number(uint64_t number)
{
    if (!net.by_id_in_log || number >= net.by_id_in_log->len) {
        return NULL;
    }
    return g_ptr_array_index(net.by_id_in_log, number);
}

/* --- The capture of a replay (rrpcap=) ---------------------------------- */

bool replay_net_capture_begin(Error **errp)
{
    if (replay_mode != REPLAY_MODE_PLAY || !replay_now.options.capture) {
        return true;
    }
    net.capture = replay_pcapng_open(replay_now.options.capture,
                                     &replay_now.uuid, replay_now.description,
                                     true, errp);
    return net.capture;
}

bool replay_net_capture_end(Error **errp)
{
    ReplayPcapng *capture = g_steal_pointer(&net.capture);

    return !capture || replay_pcapng_close(capture, errp);
}

/*
 * Appends a packet to the capture, if there is one.  After a replay has gone
 * back to a snapshot, packets that are in the capture already come again.
 *
 * @has_event: whether p.event is the event of the packet; else it is the next
 *             event, because the packet was recorded with verify=off
 */
static void replay_net_capture(const ReplayAdapter *s, ReplayPcapngPacket p,
                               bool has_event)
{
    if (!net.capture || p.event < net.capture_event) {
        return;
    }
    net.capture_event = p.event + has_event;
    p.adapter = s->id_in_log;
    p.time_ns = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    p.icount = icount_get_raw();
    replay_pcapng_put(net.capture, &p);
}

static void replay_net_capture_sent(const ReplayAdapter *s,
                                    const struct iovec *iov, int iovcnt,
                                    size_t len_bytes, bool has_event)
{
    g_autofree uint8_t *data = NULL;

    if (!net.capture) {
        return;
    }
    data = g_malloc(len_bytes);
    iov_to_buf(iov, iovcnt, 0, data, len_bytes);
    replay_net_capture(s, (ReplayPcapngPacket) {
        .is_sent = true,
        .event = replay_now.next.number,
        .data = data,
        .len_bytes = len_bytes,
    }, has_event);
}

/* --- Packets from outside ---------------------------------------------- */

static void replay_net_drop(ReplayAdapter *s, size_t len_bytes,
                            const char *why)
{
    s->counters->dropped++;
    trace_replay_net_drop(s->netdev_id, icount_get_raw(), len_bytes, why);
    warn_report_once("netdev '%s': %s: packets from outside are dropped, "
                     "and are not part of the recording",
                     s->netdev_id, why);
}

/* Delivers a packet to the NIC, through the filters behind filter-replay. */
static void replay_net_deliver(ReplayNetPacket *p)
{
    ReplayAdapter *s = p->adapter;
    struct iovec iov = { .iov_base = p->data, .iov_len = p->len_bytes };

    s->counters->received_packets++;
    s->counters->received_bytes += p->len_bytes;
    trace_replay_net_inject(s->netdev_id, replay_now.icount, p->len_bytes);
    qemu_netfilter_pass_to_next(s->nf->netdev, p->flags, &iov, 1, s->nf);
}

/* Returns: a packet, owned; the caller fills in its data. */
static ReplayNetPacket *replay_net_new_packet(ReplayAdapter *s, uint32_t flags,
                                              size_t len_bytes)
{
    ReplayNetPacket *p = g_malloc(sizeof(*p) + len_bytes);

    p->ev.ops = &replay_net_ops;
    p->adapter = s;
    p->flags = flags;
    p->len_bytes = len_bytes;
    return p;
}

void replay_net_arrived(ReplayAdapter *s, unsigned flags,
                        const struct iovec *iov, int iovcnt, size_t len_bytes)
{
    ReplayNetPacket *p;

    if (!len_bytes || len_bytes > REPLAY_NET_PACKET_MAX_BYTES) {
        replay_net_drop(s, len_bytes, "a packet is empty or too long");
        return;
    }
    if (s->counters->pending >= REPLAY_NET_QUEUE_MAX_PACKETS
        || s->waiting_bytes + len_bytes > REPLAY_NET_QUEUE_MAX_BYTES) {
        replay_net_drop(s, len_bytes, "the guest does not accept its packets, "
                        "and the queue is full");
        return;
    }

    p = replay_net_new_packet(s, flags, len_bytes);
    iov_to_buf(iov, iovcnt, 0, p->data, len_bytes);
    if (!replay_events_enabled()) {
        replay_net_deliver(p);
        g_free(p);
        return;
    }
    if (QTAILQ_EMPTY(&s->waiting) && qemu_in_vcpu_thread()) {
        /* The main loop wakes it at the end of its round, for all packets. */
        replay_wake_vcpu();
    }
    QTAILQ_INSERT_TAIL(&s->waiting, &p->ev, node);
    s->waiting_bytes += len_bytes;
    s->counters->pending++;
    net.waiting++;
}

/*
 * Can a NIC accept a packet?  Not while a packet waits in the NIC's own queue:
 * QEMU hands all packets in this queue to a NIC that may have room for the
 * first one only, and the NIC loses the others.
 */
static bool replay_net_is_ready(const ReplayAdapter *s)
{
    NetClientState *nc = s->nf->netdev;

    return qemu_can_send_packet(nc)
           && !(nc->peer && qemu_net_queue_count(nc->peer->incoming_queue));
}

/* Do BLOCK_PACKETS packets or BLOCK_BYTES bytes, over @divisor, wait? */
static bool replay_net_is_crowded(const ReplayAdapter *s, unsigned divisor)
{
    return s->counters->pending >= BLOCK_PACKETS / divisor
           || s->waiting_bytes >= BLOCK_BYTES / divisor;
}

/* Record: put the packets for which NICs have room, and deliver them. */
static void replay_net_put_ready(void)
{
    guint i;

    if (!net.waiting) {
        return;
    }
    for (i = 0; i < net.adapters->len; i++) {
        ReplayAdapter *s = g_ptr_array_index(net.adapters, i);

        while (!QTAILQ_EMPTY(&s->waiting) && replay_net_is_ready(s)) {
            g_autofree ReplayNetPacket *p = replay_net_next(s);

            replay_catch_up();
            trace_replay_net_save(s->netdev_id, replay_now.icount,
                                  p->len_bytes);
            replay_put(REPLAY_EV_ASYNC_NET,
                       (const uint64_t []) { s->id_in_log, p->flags },
                       p->data, p->len_bytes);
            replay_net_deliver(p);
        }
        if (s->blocked_cb && !replay_net_is_crowded(s, 2)) {
            qemu_notify_event();
        }
    }
}

bool replay_net_nic_ready(void)
{
    if (replay_mode == REPLAY_MODE_NONE || !qemu_in_vcpu_thread()) {
        return false;
    }
    if (net.waiting) {
        replay_wake_vcpu();
    }
    return true;
}

bool replay_net_blocks_sender(NetClientState *sender, NetPacketSent *sent_cb)
{
    guint i;

    if (replay_mode != REPLAY_MODE_RECORD || !sent_cb || !net.waiting
        || !replay_machine_is_live()) {
        return false;
    }
    for (i = 0; i < net.adapters->len; i++) {
        ReplayAdapter *s = g_ptr_array_index(net.adapters, i);

        if (s->nf && s->nf->netdev == sender) {
            if (!replay_net_is_crowded(s, 1)) {
                return false;
            }
            net.blocked += !s->blocked_cb;
            s->blocked_cb = sent_cb;
            return true;
        }
    }
    return false;
}

/*
 * May packets move between the netdev of an adapter and its filter-replay
 * without the replay mutex?  Such a packet touches neither the guest nor the
 * recording.  But another filter may write to a character device, and a hub
 * leads to other NICs.
 */
static bool replay_net_stands_alone(const ReplayAdapter *s)
{
    NetClientState *nc = s->nf ? s->nf->netdev : NULL;

    return nc && nc->info->type != NET_CLIENT_DRIVER_HUBPORT
           && QTAILQ_FIRST(&nc->filters) == QTAILQ_LAST(&nc->filters);
}

/* No lock is needed: only the main loop changes what this function reads. */
bool replay_net_only_moves_packets(const GPollFD *fds, int n)
{
    guint i;

    if (replay_mode != REPLAY_MODE_RECORD || !replay_net_is_fixed()
        || !replay_events_enabled() || !replay_machine_is_live()) {
        return false;
    }
    while (n-- > 0) {
        if (fds[n].revents) {
            return false;
        }
    }
    for (i = 0; net.adapters && i < net.adapters->len; i++) {
        if (!replay_net_stands_alone(g_ptr_array_index(net.adapters, i))) {
            return false;
        }
    }
    return true;
}

int64_t replay_net_poll(int64_t timeout_ns)
{
    guint i;

    if (!net.waiting && !net.blocked) {
        return timeout_ns;
    }
    for (i = 0; i < net.adapters->len; i++) {
        ReplayAdapter *s = g_ptr_array_index(net.adapters, i);

        if (!QTAILQ_EMPTY(&s->waiting) && replay_net_is_ready(s)) {
            replay_wake_vcpu();
        }
        if (s->blocked_cb && !replay_net_is_crowded(s, 2)) {
            NetPacketSent *sent_cb = s->blocked_cb;

            s->blocked_cb = NULL;
            net.blocked--;
            /* No netdev uses the second argument, the packet's length. */
            sent_cb(s->nf->netdev, 1);
        }
    }
    return (net.waiting || net.blocked) && replay_machine_is_live()
           ? qemu_soonest_timeout(timeout_ns, POLL_NS) : timeout_ns;
}

/*
 * Returns: the length of the virtio header that the NIC reads at least; 0
 * without one.  virtio-net takes the shortest header for granted, and sets a
 * length only if the back end offers it.  A hostile description may offer none.
 */
static size_t replay_net_header_bytes(const ReplayAdapter *s)
{
    NetClientState *nc = s->nf->netdev;
    size_t shortest = qemu_has_vnet_hdr(nc) ? sizeof(struct virtio_net_hdr) : 0;

    return MAX(shortest, nc->vnet_hdr_len);
}

static ReplayEvent *replay_net_load(const ReplayLogEvent *logged, Error **errp)
{
    uint64_t flags = logged->num[1];
    ReplayAdapter *s = replay_net_by_number(logged->num[0]);
    size_t header_bytes;
    ReplayNetPacket *p;

    if (!s) {
        error_setg(errp, "a packet is for adapter number %" PRIu64 ", but the "
                   "number of adapters is %u", logged->num[0],
                   net.by_id_in_log ? net.by_id_in_log->len : 0);
        return NULL;
    }
    if (!s->nf) {
        error_setg(errp, "a packet is for the adapter on netdev '%s', which "
                   "does not exist", s->netdev_id);
        return NULL;
    }
    if (!logged->len_bytes || logged->len_bytes > REPLAY_NET_PACKET_MAX_BYTES) {
        error_setg(errp, "a packet for the adapter on netdev '%s' has %zu "
                   "bytes (expected 1 to %d)", s->netdev_id, logged->len_bytes,
                   REPLAY_NET_PACKET_MAX_BYTES);
        return NULL;
    }
    header_bytes = replay_net_header_bytes(s);
    if (logged->len_bytes <= header_bytes) {
        /* NICs read the header without looking at the length. */
        error_setg(errp, "a packet for the adapter on netdev '%s' has %zu "
                   "bytes, but its virtio header has %zu", s->netdev_id,
                   logged->len_bytes, header_bytes);
        return NULL;
    }
    if (flags & ~(uint64_t)QEMU_NET_PACKET_FLAG_RAW) {
        error_setg(errp, "a packet for the adapter on netdev '%s' has unknown "
                   "flags 0x%" PRIx64, s->netdev_id, flags);
        return NULL;
    }

    p = replay_net_new_packet(s, flags, logged->len_bytes);
    p->event = logged->number;
    p->packet = logged->packet;
    memcpy(p->data, logged->data, logged->len_bytes);
    return &p->ev;
}

static void replay_net_run(ReplayEvent *ev)
{
    g_autofree ReplayNetPacket *p = container_of(ev, ReplayNetPacket, ev);

    replay_net_capture(p->adapter, (ReplayPcapngPacket) {
        .flags = p->flags,
        .event = p->event,
        .packet = p->packet + 1,
        .data = p->data,
        .len_bytes = p->len_bytes,
    }, true);
    replay_net_deliver(p);
}

/* There is no .save: a recorder keeps packets in @waiting, not in the queue. */
const ReplayEventOps replay_net_ops = {
    .kind = REPLAY_EV_ASYNC_NET,
    .load = replay_net_load,
    .run = replay_net_run,
    .put_ready = replay_net_put_ready,
};

/* --- Packets from the guest -------------------------------------------- */

static uint32_t replay_net_crc32c(const struct iovec *iov, int iovcnt)
{
    uint32_t crc = 0;
    int i;

    for (i = 0; i < iovcnt; i++) {
        crc = replay_log_crc32c(crc, iov[i].iov_base, iov[i].iov_len);
    }
    return crc;
}

static void replay_net_sent_record(ReplayAdapter *s,
                                   const struct iovec *iov, int iovcnt,
                                   size_t len_bytes)
{
    uint64_t num[3] = { s->id_in_log, len_bytes };

    replay_catch_up();
    if (s->recorded == FILTER_REPLAY_VERIFY_FULL) {
        g_autofree uint8_t *packet = g_malloc(len_bytes);

        iov_to_buf(iov, iovcnt, 0, packet, len_bytes);
        replay_put(REPLAY_EV_NET_SENT_DATA, num, packet, len_bytes);
    } else {
        num[2] = replay_net_crc32c(iov, iovcnt);
        replay_put(REPLAY_EV_NET_SENT, num, NULL, 0);
    }
}

/* Reports the first byte that differs from a packet recorded with all bytes. */
static void replay_net_sent_differs(const ReplayAdapter *s,
                                    const uint8_t *recorded,
                                    const uint8_t *sent, size_t len_bytes)
{
    size_t i = 0;

    while (recorded[i] == sent[i]) {
        i++;
    }
    replay_diverge("packet %" PRIu64 " that the guest sends through the "
                   "adapter on netdev '%s' differs: byte %zu of %zu is 0x%02x, "
                   "but was recorded as 0x%02x", s->counters->sent_packets,
                   s->netdev_id, i, len_bytes, sent[i], recorded[i]);
}

/*
 * Compares a packet with @ev, a NET_SENT or NET_SENT_DATA event.
 * Returns: true; false if the packet differs, which was reported.
 */
static bool replay_net_sent_compare(ReplayAdapter *s,
                                    const ReplayLogEvent *ev,
                                    const struct iovec *iov, int iovcnt,
                                    size_t len_bytes)
{
    bool full = ev->kind == REPLAY_EV_NET_SENT_DATA;
    uint64_t recorded_bytes = full ? ev->len_bytes : ev->num[1];

    if (ev->num[0] != s->id_in_log) {
        const ReplayAdapter *recorded = replay_net_by_number(ev->num[0]);

        replay_diverge("the guest sends packet %" PRIu64 " through the adapter "
                       "on netdev '%s', but the recorded one went through the "
                       "adapter on netdev '%s'",
                       s->counters->sent_packets, s->netdev_id,
                       recorded ? recorded->netdev_id : "(unknown)");
        return false;
    }
    if (recorded_bytes != len_bytes) {
        replay_diverge("packet %" PRIu64 " that the guest sends through the "
                       "adapter on netdev '%s' has %zu bytes, but the recorded "
                       "one has %" PRIu64, s->counters->sent_packets,
                       s->netdev_id, len_bytes, recorded_bytes);
        return false;
    }
    if (full) {
        g_autofree uint8_t *sent = g_malloc(len_bytes);

        iov_to_buf(iov, iovcnt, 0, sent, len_bytes);
        if (memcmp(sent, ev->data, len_bytes)) {
            replay_net_sent_differs(s, ev->data, sent, len_bytes);
            return false;
        }
    } else {
        uint32_t crc = replay_net_crc32c(iov, iovcnt);

        if (crc != ev->num[2]) {
            replay_diverge("packet %" PRIu64 " that the guest sends through "
                           "the adapter on netdev '%s', %zu bytes, differs: "
                           "its checksum is 0x%08" PRIx32 ", but the recorded "
                           "one is 0x%08" PRIx64, s->counters->sent_packets,
                           s->netdev_id, len_bytes, crc, ev->num[2]);
            return false;
        }
    }
    return true;
}

static void replay_net_sent_reject(ReplayAdapter *s, size_t len_bytes)
{
    s->counters->mismatched++;
    trace_replay_net_reject(s->netdev_id, replay_now.icount, len_bytes);
}

static void replay_net_sent_replay(ReplayAdapter *s,
                                   const struct iovec *iov, int iovcnt,
                                   size_t len_bytes)
{
    const ReplayLogEvent *ev = &replay_now.next;

    if (replay_has_failed()) {
        return;
    }
    replay_catch_up();
    replay_report_guest_event(REPLAY_EV_NET_SENT, s->netdev_id,
                              s->counters->sent_packets);
    if (!replay_next_event_is(REPLAY_EV_NET_SENT)
        && !replay_next_event_is(REPLAY_EV_NET_SENT_DATA)) {
        replay_net_sent_reject(s, len_bytes);
        replay_diverge("the guest sends packet %" PRIu64 ", of %zu bytes, "
                       "through the adapter on netdev '%s', but the next "
                       "recorded event is '%s'", s->counters->sent_packets,
                       len_bytes, s->netdev_id,
                       replay_log_event_name(ev->kind) ?: "none");
        return;
    }
    if (s->verify != FILTER_REPLAY_VERIFY_OFF) {
        if (!replay_net_sent_compare(s, ev, iov, iovcnt, len_bytes)) {
            replay_net_sent_reject(s, len_bytes);
            return;
        }
        s->counters->verified++;
        trace_replay_net_verify(s->netdev_id, replay_now.icount,
                                len_bytes);
    }
    replay_net_capture_sent(s, iov, iovcnt, len_bytes, true);
    replay_take_next();
}

void replay_net_sent(ReplayAdapter *s, const struct iovec *iov, int iovcnt,
                     size_t len_bytes)
{
    s->counters->sent_packets++;
    s->counters->sent_bytes += len_bytes;
    if (!replay_net_is_fixed() || !replay_events_enabled()
        || !replay_mutex_locked()) {
        /* This moment has no instruction count. */
        s->counters->unverified++;
        return;
    }
    if (s->recorded == FILTER_REPLAY_VERIFY_OFF) {
        replay_net_capture_sent(s, iov, iovcnt, len_bytes, false);
        return;
    }
    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_net_sent_record(s, iov, iovcnt, len_bytes);
    } else {
        replay_net_sent_replay(s, iov, iovcnt, len_bytes);
    }
    /* A packet that a replay has rejected was sent, too. */
    trace_replay_net_sent(s->netdev_id, replay_now.icount, len_bytes);
}

/* --- query-replay ------------------------------------------------------- */

static void replay_net_query_nic(const ReplayAdapter *s,
                                 ReplayAdapterInfo *info)
{
    NetClientState *peer = s->nf->netdev->peer;

    if (peer && peer->info->type == NET_CLIENT_DRIVER_NIC) {
        info->model = g_strdup(peer->model);
        info->mac = replay_net_mac(peer);
    }
}

ReplayAdapterInfoList *replay_net_query(void)
{
    ReplayAdapterInfoList *list = NULL;
    ReplayAdapterInfoList **tail = &list;
    guint i;

    for (i = 0; net.adapters && i < net.adapters->len; i++) {
        const ReplayAdapter *s = g_ptr_array_index(net.adapters, i);
        ReplayAdapterInfo *info;

        if (!s->nf) {
            continue;
        }
        info = g_new0(ReplayAdapterInfo, 1);
        info->netdev = g_strdup(s->netdev_id);
        info->description = replay_net_describe_adapter(s,
                                                        replay_net_state(s));
        replay_net_query_nic(s, info);
        *qapi_ReplayAdapterInfo_base(info) = *s->counters;
        QAPI_LIST_APPEND(tail, info);
    }
    return list;
}
