/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Adapters and their packets.
 *
 * An adapter is a filter-replay on a netdev, and its identity is the id of
 * that netdev.  Until the machine first runs adapters come and go.  Then the
 * set is fixed: while recording they are numbered in the order of their names,
 * and the description of the machine says which number is whose, on what NIC;
 * a replay looks its own adapters up by these names, after the descriptions
 * were found to be equal.  So the order of options or commands means nothing.
 *
 *   record   filter -> packet_event (bounded queue) -> save -> run
 *   replay                              recording -> load -> run
 *   run      next filter -> NIC model
 *
 * A packet that does not fit into the queue is dropped before it is recorded,
 * so that a drop is the same in a replay: the packet never was.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/util.h"
#include "net/filter.h"
#include "net/net.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/replay.h"
#include "trace.h"
#include "replay-internal.h"

QEMU_BUILD_BUG_ON(REPLAY_NET_PACKET_MAX_BYTES != NET_BUFSIZE);
QEMU_BUILD_BUG_ON(REPLAY_NET_PACKET_MAX_BYTES > REPLAY_LOG_DATA_MAX_BYTES);

/* Keys of the description: this, then the id of the netdev. */
#define ADAPTER_KEY     "adapter."
#define INFO_KEY        "info." ADAPTER_KEY

struct ReplayNetState {
    char *netdev_id;                    /* of replay_net_name() */
    FilterReplayVerify verify;         /* as its filter says */
    /* Valid once the set is fixed. */
    unsigned id_in_log;
    FilterReplayVerify recorded;       /* as the recording's filter said */

    /* BQL */
    NetFilterState *nf;             /* borrowed; NULL once it is gone */

    /* Replay mutex */
    size_t pending_bytes;
    ReplayNetCounters counters;
};

typedef struct ReplayNetPacket {
    ReplayEvent ev;
    ReplayNetState *rns;            /* borrowed: adapters outlive events */
    uint32_t flags;
    size_t len_bytes;
    uint8_t data[];
} ReplayNetPacket;

/* BQL; changed only while the machine has not run, or has ended. */
static struct {
    GPtrArray *adapters;            /* of ReplayNetState, owned */
    GPtrArray *by_id_in_log;        /* once fixed: of adapters, borrowed */
} net;

/* --- Adapters ---------------------------------------------------------- */

static void replay_net_free_adapter(gpointer opaque)
{
    ReplayNetState *rns = opaque;

    g_free(rns->netdev_id);
    g_free(rns);
}

/* Returns: an adapter without a filter, owned by @net. */
static ReplayNetState *replay_net_new_adapter(const char *name)
{
    ReplayNetState *rns = g_new0(ReplayNetState, 1);

    if (!net.adapters) {
        net.adapters = g_ptr_array_new_with_free_func(replay_net_free_adapter);
    }
    rns->netdev_id = g_strdup(name);
    rns->id_in_log = UINT_MAX;
    g_ptr_array_add(net.adapters, rns);
    return rns;
}

char *replay_net_name(const char *netdev_id)
{
    /* What id_generate() makes: '#', subsystem, count, two random digits. */
    return *netdev_id == '#'
           ? g_strndup(netdev_id, strlen(netdev_id) - strlen("00"))
           : g_strdup(netdev_id);
}

bool replay_net_fixed(void)
{
    return net.by_id_in_log;
}

ReplayNetState *replay_register_net(NetFilterState *nfs,
                                    FilterReplayVerify verify, Error **errp)
{
    g_autofree char *name = replay_net_name(nfs->netdev_id);
    ReplayNetState *rns;

    if (replay_net_fixed()) {
        error_setg(errp, "the virtual machine has already run, and what its "
                   "adapter on netdev '%s' received until now is not in the "
                   "recording", nfs->netdev_id);
        error_append_hint(errp, "Add the filter on the command line, or with "
                          "object-add after starting QEMU with -S and before "
                          "the first 'cont'.\n");
        return NULL;
    }

    if (strlen(name) > REPLAY_NET_NAME_MAX_BYTES
        || (net.adapters && net.adapters->len >= REPLAY_NET_ADAPTERS_MAX)) {
        error_setg(errp, "netdev '%.40s...': a recording has at most %d "
                   "adapters, with names of at most %d bytes", name,
                   REPLAY_NET_ADAPTERS_MAX, REPLAY_NET_NAME_MAX_BYTES);
        return NULL;
    }

    rns = replay_net_new_adapter(name);
    rns->nf = nfs;
    rns->verify = verify;
    return rns;
}

void replay_unregister_net(ReplayNetState *rns)
{
    if (!rns) {
        return;
    }
    rns->nf = NULL;
    if (!net.by_id_in_log && !rns->counters.pending) {
        /* Neither an event nor the recording knows it. */
        g_ptr_array_remove(net.adapters, rns);
    }
}

ReplayNetCounters *replay_net_counters(ReplayNetState *rns)
{
    return &rns->counters;
}

/* The address of a NIC, owned. */
static char *replay_net_mac(NetClientState *nic)
{
    const uint8_t *mac = qemu_get_nic(nic)->conf->macaddr.a;

    return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
                           mac[2], mac[3], mac[4], mac[5]);
}

/* What the guest could notice of an adapter. */
static char *replay_net_describe_adapter(const ReplayNetState *rns)
{
    NetClientState *nc = rns->nf->netdev;
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
    /* A NIC that takes no header has no use for what comes in one. */
    return g_strdup_printf("%s, virtio header %d bytes%s%s%s", nic,
                           nc->vnet_hdr_len,
                           nc->vnet_hdr_len ? ", offloads" : "",
                           nc->vnet_hdr_len && qemu_has_ufo(nc) ? ", UFO" : "",
                           peer && peer->link_down ? ", link down" : "");
}

static int replay_net_compare(gconstpointer a, gconstpointer b)
{
    const ReplayNetState *const *x = a;
    const ReplayNetState *const *y = b;

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
        ReplayNetState *rns = g_ptr_array_index(net.adapters, i);
        g_autofree char *key = NULL, *value = NULL;
        g_autofree char *backend = NULL, *verify = NULL;

        if (!rns->nf) {
            continue;
        }
        key = g_strconcat(ADAPTER_KEY, rns->netdev_id, NULL);
        value = replay_net_describe_adapter(rns);
        backend = g_strconcat(INFO_KEY, rns->netdev_id, ".backend", NULL);
        verify = g_strconcat(INFO_KEY, rns->netdev_id, ".verify", NULL);
        replay_log_description_add(d, key, value);
        replay_log_description_add(d, backend,
            NetClientDriver_str(rns->nf->netdev->info->type));
        replay_log_description_add(d, verify,
                                   FilterReplayVerify_str(rns->verify));
    }
}

/* The adapter of this netdev that has its filter, or NULL. */
static ReplayNetState *replay_net_find(const char *netdev_id)
{
    guint i;

    for (i = 0; net.adapters && i < net.adapters->len; i++) {
        ReplayNetState *rns = g_ptr_array_index(net.adapters, i);

        if (rns->nf && g_str_equal(rns->netdev_id, netdev_id)) {
            return rns;
        }
    }
    return NULL;
}

static void replay_net_number(ReplayNetState *rns, FilterReplayVerify recorded)
{
    rns->id_in_log = net.by_id_in_log->len;
    rns->recorded = recorded;
    g_ptr_array_add(net.by_id_in_log, rns);
}

static FilterReplayVerify
replay_net_recorded_verify(const ReplayLogDescription *recorded,
                           const char *netdev_id)
{
    g_autofree char *key = g_strconcat(INFO_KEY, netdev_id, ".verify", NULL);
    const char *value = replay_log_description_get(recorded, key);

    return qapi_enum_parse(&FilterReplayVerify_lookup, value ?: "off",
                           FILTER_REPLAY_VERIFY_OFF, NULL);
}

void replay_net_begin(const ReplayLogDescription *recorded,
                      ReplayLogWriter *writer)
{
    size_t i;

    net.by_id_in_log = g_ptr_array_new();
    if (recorded) {
        for (i = 0; i < replay_log_description_count(recorded); i++) {
            const char *value;
            const char *key = replay_log_description_nth(recorded, i, &value);

            if (g_str_has_prefix(key, ADAPTER_KEY)) {
                const char *netdev_id = key + strlen(ADAPTER_KEY);

                /* With rrcheck=off it may be missing: a packet will tell. */
                replay_net_number(replay_net_find(netdev_id)
                                  ?: replay_net_new_adapter(netdev_id),
                    replay_net_recorded_verify(recorded, netdev_id));
            }
        }
        return;
    }
    for (i = 0; net.adapters && i < net.adapters->len; i++) {
        ReplayNetState *rns = g_ptr_array_index(net.adapters, i);

        if (rns->nf) {
            /* The order in which replay_net_describe() has named them. */
            replay_net_number(rns, rns->verify);
            replay_log_writer_name_adapter(writer, rns->id_in_log,
                                           rns->netdev_id);
        }
    }
}

void replay_net_finish(void)
{
    /* An adapter itself goes when its filter does. */
    if (net.by_id_in_log) {
        g_ptr_array_free(g_steal_pointer(&net.by_id_in_log), true);
    }
}

static ReplayNetState *replay_net_by_number(uint64_t number)
{
    if (!net.by_id_in_log || number >= net.by_id_in_log->len) {
        return NULL;
    }
    return g_ptr_array_index(net.by_id_in_log, number);
}

const char *replay_net_adapter_name(uint64_t number)
{
    const ReplayNetState *rns = replay_net_by_number(number);

    return rns ? rns->netdev_id : NULL;
}

/* --- Packets from outside ---------------------------------------------- */

static void replay_net_drop(ReplayNetState *rns, size_t len_bytes,
                            const char *why)
{
    rns->counters.dropped++;
    trace_replay_net_drop(rns->netdev_id, icount_get_raw(), len_bytes, why);
    warn_report_once("netdev '%s': %s: packets from outside are dropped, "
                     "and are not part of the recording",
                     rns->netdev_id, why);
}

void replay_net_packet_event(ReplayNetState *rns, unsigned flags,
                             const struct iovec *iov, int iovcnt,
                             size_t len_bytes)
{
    ReplayNetPacket *p;

    if (!len_bytes || len_bytes > REPLAY_NET_PACKET_MAX_BYTES) {
        replay_net_drop(rns, len_bytes, "a packet is empty or too long");
        return;
    }
    if (rns->counters.pending >= REPLAY_NET_QUEUE_MAX_PACKETS
        || rns->pending_bytes + len_bytes > REPLAY_NET_QUEUE_MAX_BYTES) {
        replay_net_drop(rns, len_bytes, "the guest does not take its packets, "
                        "and the queue is full");
        return;
    }

    p = g_malloc(sizeof(*p) + len_bytes);
    p->ev.kind = REPLAY_EV_ASYNC_NET;
    p->rns = rns;
    p->flags = flags;
    p->len_bytes = len_bytes;
    iov_to_buf(iov, iovcnt, 0, p->data, len_bytes);

    rns->counters.pending++;
    rns->pending_bytes += len_bytes;
    replay_queue_event(&p->ev);
}

static void replay_net_account(ReplayNetPacket *p)
{
    p->rns->counters.pending--;
    p->rns->pending_bytes -= p->len_bytes;
}

static bool replay_net_save(const ReplayEvent *ev)
{
    ReplayNetPacket *p = container_of(ev, ReplayNetPacket, ev);
    const uint64_t num[] = { p->rns->id_in_log, p->flags };

    if (!p->rns->nf) {
        replay_net_account(p);
        return false;
    }
    trace_replay_net_save(p->rns->netdev_id, replay_state.current_icount,
                          p->len_bytes);
    replay_put(REPLAY_EV_ASYNC_NET, num, p->data, p->len_bytes);
    return true;
}

static ReplayEvent *replay_net_load(const ReplayLogEvent *logged, Error **errp)
{
    uint64_t flags = logged->num[1];
    ReplayNetState *rns = replay_net_by_number(logged->num[0]);
    ReplayNetPacket *p;

    if (!rns) {
        error_setg(errp, "a packet is for adapter number %" PRIu64 ", and the "
                   "recording names %u", logged->num[0],
                   net.by_id_in_log ? net.by_id_in_log->len : 0);
        return NULL;
    }
    if (!rns->nf) {
        error_setg(errp, "a packet is for the adapter on netdev '%s', which "
                   "is not there", rns->netdev_id);
        return NULL;
    }
    if (!logged->len_bytes || logged->len_bytes > REPLAY_NET_PACKET_MAX_BYTES) {
        error_setg(errp, "a packet for the adapter on netdev '%s' has %zu "
                   "bytes, not 1 to %d", rns->netdev_id, logged->len_bytes,
                   REPLAY_NET_PACKET_MAX_BYTES);
        return NULL;
    }
    if (flags & ~(uint64_t)QEMU_NET_PACKET_FLAG_RAW) {
        error_setg(errp, "a packet for the adapter on netdev '%s' has flags "
                   "0x%" PRIx64 ", which are not known", rns->netdev_id, flags);
        return NULL;
    }

    p = g_malloc(sizeof(*p) + logged->len_bytes);
    p->ev.kind = REPLAY_EV_ASYNC_NET;
    p->rns = rns;
    p->flags = flags;
    p->len_bytes = logged->len_bytes;
    memcpy(p->data, logged->data, logged->len_bytes);
    rns->counters.pending++;
    rns->pending_bytes += p->len_bytes;
    return &p->ev;
}

static void replay_net_run(ReplayEvent *ev)
{
    g_autofree ReplayNetPacket *p = container_of(ev, ReplayNetPacket, ev);
    ReplayNetState *rns = p->rns;
    struct iovec iov = { .iov_base = p->data, .iov_len = p->len_bytes };

    replay_net_account(p);
    if (!rns->nf) {
        return;
    }
    rns->counters.received_packets++;
    rns->counters.received_bytes += p->len_bytes;
    trace_replay_net_inject(rns->netdev_id, replay_state.current_icount,
                            p->len_bytes);
    qemu_netfilter_pass_to_next(rns->nf->netdev, p->flags, &iov, 1, rns->nf);
}

const ReplayEventOps replay_net_ops = {
    .save = replay_net_save,
    .load = replay_net_load,
    .run = replay_net_run,
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

static void replay_net_sent_record(ReplayNetState *rns,
                                   const struct iovec *iov, int iovcnt,
                                   size_t len_bytes)
{
    uint64_t num[3] = { rns->id_in_log, len_bytes };

    replay_save_instructions();
    if (rns->recorded == FILTER_REPLAY_VERIFY_FULL) {
        g_autofree uint8_t *packet = g_malloc(len_bytes);

        iov_to_buf(iov, iovcnt, 0, packet, len_bytes);
        replay_put(REPLAY_EV_NET_SENT_DATA, num, packet, len_bytes);
    } else {
        num[2] = replay_net_crc32c(iov, iovcnt);
        replay_put(REPLAY_EV_NET_SENT, num, NULL, 0);
    }
}

/* Says at which byte a packet differs from the one that was recorded whole. */
static void replay_net_sent_differs(const ReplayNetState *rns,
                                    const uint8_t *recorded,
                                    const uint8_t *sent, size_t len_bytes)
{
    size_t i = 0;

    while (recorded[i] == sent[i]) {
        i++;
    }
    replay_diverge("packet %" PRIu64 " that the guest sends through the "
                   "adapter on netdev '%s' differs: byte %zu of %zu is 0x%02x, "
                   "recorded as 0x%02x", rns->counters.sent_packets,
                   rns->netdev_id, i, len_bytes, sent[i], recorded[i]);
}

/* @ev: NET_SENT or NET_SENT_DATA.  Returns: false if that was reported. */
static bool replay_net_sent_compare(ReplayNetState *rns,
                                    const ReplayLogEvent *ev,
                                    const struct iovec *iov, int iovcnt,
                                    size_t len_bytes)
{
    bool full = ev->kind == REPLAY_EV_NET_SENT_DATA;
    uint64_t recorded_bytes = full ? ev->len_bytes : ev->num[1];

    if (ev->num[0] != rns->id_in_log) {
        const char *recorded = replay_net_adapter_name(ev->num[0]);

        replay_diverge("the guest sends packet %" PRIu64 " through the adapter "
                       "on netdev '%s', recorded is one through that on '%s'",
                       rns->counters.sent_packets, rns->netdev_id,
                       recorded ?: "(unknown)");
        return false;
    }
    if (recorded_bytes != len_bytes) {
        replay_diverge("packet %" PRIu64 " that the guest sends through the "
                       "adapter on netdev '%s' has %zu bytes, recorded are %"
                       PRIu64, rns->counters.sent_packets, rns->netdev_id,
                       len_bytes, recorded_bytes);
        return false;
    }
    if (full) {
        g_autofree uint8_t *sent = g_malloc(len_bytes);

        iov_to_buf(iov, iovcnt, 0, sent, len_bytes);
        if (memcmp(sent, ev->data, len_bytes)) {
            replay_net_sent_differs(rns, ev->data, sent, len_bytes);
            return false;
        }
    } else {
        uint32_t crc = replay_net_crc32c(iov, iovcnt);

        if (crc != ev->num[2]) {
            replay_diverge("packet %" PRIu64 " that the guest sends through "
                           "the adapter on netdev '%s', %zu bytes, differs: "
                           "its checksum is 0x%08" PRIx32 ", recorded is 0x%08"
                           PRIx64, rns->counters.sent_packets, rns->netdev_id,
                           len_bytes, crc, ev->num[2]);
            return false;
        }
    }
    return true;
}

static void replay_net_sent_replay(ReplayNetState *rns,
                                   const struct iovec *iov, int iovcnt,
                                   size_t len_bytes)
{
    const ReplayLogEvent *ev = &replay_state.next;

    if (replay_has_failed()) {
        return;
    }
    replay_account_executed_instructions();
    replay_came(REPLAY_EV_NET_SENT, rns->netdev_id, rns->counters.sent_packets);
    if (!replay_next_event_is(REPLAY_EV_NET_SENT)
        && !replay_next_event_is(REPLAY_EV_NET_SENT_DATA)) {
        rns->counters.mismatched++;
        trace_replay_net_reject(rns->netdev_id, replay_state.current_icount,
                                len_bytes);
        replay_diverge("the guest sends packet %" PRIu64 ", of %zu bytes, "
                       "through the adapter on netdev '%s', where the "
                       "recording has '%s'", rns->counters.sent_packets,
                       len_bytes, rns->netdev_id,
                       replay_log_event_name(ev->kind) ?: "none");
        return;
    }
    if (rns->verify != FILTER_REPLAY_VERIFY_OFF) {
        if (!replay_net_sent_compare(rns, ev, iov, iovcnt, len_bytes)) {
            rns->counters.mismatched++;
            trace_replay_net_reject(rns->netdev_id,
                                    replay_state.current_icount, len_bytes);
            return;
        }
        rns->counters.verified++;
        trace_replay_net_verify(rns->netdev_id, replay_state.current_icount,
                                len_bytes);
    }
    replay_finish_event();
}

void replay_net_sent(ReplayNetState *rns, const struct iovec *iov, int iovcnt,
                     size_t len_bytes)
{
    rns->counters.sent_packets++;
    rns->counters.sent_bytes += len_bytes;
    if (!replay_net_fixed() || !replay_events_enabled()
        || !replay_mutex_locked()) {
        /* No instruction can be told at which this happens. */
        rns->counters.unverified++;
        return;
    }
    if (rns->recorded == FILTER_REPLAY_VERIFY_OFF) {
        return;
    }
    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_net_sent_record(rns, iov, iovcnt, len_bytes);
    } else {
        replay_net_sent_replay(rns, iov, iovcnt, len_bytes);
    }
    trace_replay_net_sent(rns->netdev_id, replay_state.current_icount,
                          len_bytes);
}

/* --- For people ---------------------------------------------------------- */

static void replay_net_query_nic(const ReplayNetState *rns,
                                 ReplayAdapterInfo *info)
{
    NetClientState *peer = rns->nf->netdev->peer;

    if (peer && peer->info->type == NET_CLIENT_DRIVER_NIC) {
        info->has_model = true;
        info->model = g_strdup(peer->model);
        info->has_mac = true;
        info->mac = replay_net_mac(peer);
    }
}

ReplayAdapterInfoList *replay_net_query(void)
{
    ReplayAdapterInfoList *list = NULL;
    ReplayAdapterInfoList **tail = &list;
    guint i;

    for (i = 0; net.adapters && i < net.adapters->len; i++) {
        const ReplayNetState *rns = g_ptr_array_index(net.adapters, i);
        const ReplayNetCounters *c = &rns->counters;
        ReplayAdapterInfo *info;

        if (!rns->nf) {
            continue;
        }
        info = g_new0(ReplayAdapterInfo, 1);
        info->netdev = g_strdup(rns->netdev_id);
        info->description = replay_net_describe_adapter(rns);
        replay_net_query_nic(rns, info);
        info->received_packets = c->received_packets;
        info->received_bytes = c->received_bytes;
        info->sent_packets = c->sent_packets;
        info->sent_bytes = c->sent_bytes;
        info->verified = c->verified;
        info->mismatched = c->mismatched;
        info->unverified = c->unverified;
        info->dropped = c->dropped;
        info->muted = c->muted;
        info->pending = c->pending;
        info->unsent = c->unsent;
        info->unsent_dropped = c->unsent_dropped;
        QAPI_LIST_APPEND(tail, info);
    }
    return list;
}
