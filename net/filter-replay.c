/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The netfilter that records and replays the packets of a netdev.
 *
 * It stands between a netdev and the NIC (or the port of a hub) to which the
 * netdev is attached:
 *
 *                  record                       replay
 *   from outside   queued, recorded, delivered  dropped ("muted"); the packets
 *                                               of the recording are delivered
 *   from the guest recorded, queued, forwarded  compared with the recording,
 *                                               dropped
 *
 * Packets from outside.  While recording, the filter takes a packet whole from
 * the netdev, and replay-net.c queues it as an asynchronous event.  The vCPU
 * thread records it, and delivers it to the filters between this one and the
 * NIC, and then to the NIC.  A replay delivers the packets of the recording by
 * the same code.
 *
 * Packets from the guest.  The filter accepts each packet at once, in record as
 * in replay: the guest must not see when a slow netdev accepts it.  A recorder
 * lets the main loop forward the packet to the netdev, so that the guest does
 * not wait for slirp's TCP or for a system call.  The packet then waits in the
 * netdev's queue until the netdev accepts it.  If this queue is full, the
 * filter drops the packet.
 *
 * Without record or replay the filter lets every packet pass.
 *
 * A filter that sees one direction only, or is switched off, would leave
 * packets out of the recording.  So queue= and status= have one possible value
 * each.  Under record and replay the user cannot remove the filter, and a
 * netdev without a filter-replay gets one when a NIC is attached to it.
 *
 * Where to find what.  Functions stand before those that call them, so the
 * functions that make this a netfilter stand in the middle of the file.
 *
 *   filter_replay_forward()   from the guest: to the other filters and to the
 *                             netdev
 *   outgoing_*()              from the guest: the queue from the vCPU thread to
 *                             the main loop
 *   filter_replay_pass()      each packet that the filter sees
 *   filter_replay_setup()     begin and end of a filter, refused options
 *   filter_replay_attach()    filters that QEMU creates for NICs
 *   filter_replay_class_init() and below: properties, the QOM type
 */

#include "qemu/osdep.h"
#include "net/filter.h"
#include "net/hub.h"
#include "net/net.h"
#include "net/queue.h"
#include "net/vhost_net.h"
#include "qapi/error.h"
#include "qapi/qapi-types-net.h"
#include "qemu/error-report.h"
#include "qemu/event_notifier.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qom/object.h"
#include "qom/object_interfaces.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/replay.h"
#include "sysemu/replay-net.h"
#include "sysemu/sysemu.h"
#include "trace.h"

#define TYPE_FILTER_REPLAY "filter-replay"
OBJECT_DECLARE_SIMPLE_TYPE(FilterReplayState, FILTER_REPLAY)

/* Prefix of the id of a filter that QEMU creates for a NIC. */
#define AUTOMATIC_PREFIX "replay-"

/*
 * If OUTGOING_MAX_PACKETS packets or OUTGOING_MAX_BYTES bytes wait for the main
 * loop, the vCPU thread forwards them itself.
 */
#define OUTGOING_MAX_PACKETS    256
#define OUTGOING_MAX_BYTES      (1024 * 1024)

struct FilterReplayState {
    NetFilterState parent_obj;

    /* Valid from setup to cleanup; NULL without record or replay.  BQL. */
    ReplayAdapter *adapter;
    ReplayAdapterCounters counters;     /* shared with @adapter; BQL */

    /*
     * Record: lengths of the packets in the netdev's queue, in the order in
     * which the netdev accepts them.  BQL.
     */
    GQueue unsent;
    size_t unsent_bytes;

    /* Set before setup. */
    FilterReplayVerify verify;
    bool automatic;         /* made by filter_replay_attach() */

    /* Replay: the filters of the netdev were looked at.  BQL. */
    bool has_looked;
};

/* --- Packets from the guest: from the filter to the netdev -------------- */

typedef struct OutgoingPacket {
    QSIMPLEQ_ENTRY(OutgoingPacket) next;
    FilterReplayState *filter;      /* borrowed */
    unsigned flags;
    size_t len_bytes;
    uint8_t data[];
} OutgoingPacket;

/* The filter-replay of a netdev, or NULL. */
static FilterReplayState *filter_replay_of(NetClientState *nc)
{
    NetFilterState *nf;

    QTAILQ_FOREACH(nf, &nc->filters, next) {
        Object *s = object_dynamic_cast(OBJECT(nf), TYPE_FILTER_REPLAY);

        if (s) {
            return FILTER_REPLAY(s);
        }
    }
    return NULL;
}

/* The netdev has accepted or lost the first packet in its queue. */
static void filter_replay_unsent_done(NetClientState *sender, ssize_t ret)
{
    /*
     * The filter still exists: while recording, the user can remove neither the
     * filter nor its netdev, and QEMU deletes a netdev that has lost its filter
     * without using the netdev's queue again.
     */
    FilterReplayState *s = filter_replay_of(sender->peer);

    s->unsent_bytes -= GPOINTER_TO_SIZE(g_queue_pop_head(&s->unsent));
    s->counters.unsent--;
}

/*
 * Give a packet from the guest to the filters between this one and the netdev,
 * then to the netdev.
 */
static void filter_replay_forward(const OutgoingPacket *p)
{
    FilterReplayState *s = p->filter;
    NetFilterState *nf = NETFILTER(s);
    NetClientState *sender = nf->netdev->peer;
    struct iovec iov = {
        .iov_base = (void *)p->data, .iov_len = p->len_bytes,
    };

    if (!sender) {
        return;
    }
    if (s->counters.unsent >= REPLAY_NET_QUEUE_MAX_PACKETS
        || s->unsent_bytes + p->len_bytes > REPLAY_NET_QUEUE_MAX_BYTES) {
        s->counters.unsent_dropped++;
        trace_filter_replay_drop_unsent(nf->netdev_id, icount_get_raw(),
                                        p->len_bytes);
        warn_report_once("netdev '%s' does not accept the packets that the "
                         "guest sends, and its queue is full: packets are "
                         "dropped",
                         nf->netdev_id);
        return;
    }
    while ((nf = QTAILQ_PREV(nf, next))) {
        if (qemu_netfilter_receive(nf, NET_FILTER_DIRECTION_RX, sender,
                                   p->flags, &iov, 1, NULL)) {
            return;
        }
    }
    if (!qemu_net_queue_send_iov(sender->peer->incoming_queue, sender,
                                 p->flags, &iov, 1,
                                 filter_replay_unsent_done)) {
        g_queue_push_tail(&s->unsent, GSIZE_TO_POINTER(p->len_bytes));
        s->unsent_bytes += p->len_bytes;
        s->counters.unsent++;
    }
}

/* --- Packets from the guest: from the vCPU thread to the main loop ------ */

/*
 * Packets that the guest has sent through any filter-replay, in the order in
 * which it sent them.  BQL.
 */
static struct {
    QSIMPLEQ_HEAD(, OutgoingPacket) packets;
    unsigned n_packets;
    size_t len_bytes;
    EventNotifier wake;     /* wakes the main loop; valid if @started */
    bool started;           /* the main loop calls outgoing_poll() */
    bool asleep;            /* the main loop polls, or is about to; not woken */
    bool flushing;          /* outgoing_flush() forwards packets */
} outgoing = { .packets = QSIMPLEQ_HEAD_INITIALIZER(outgoing.packets) };

static void outgoing_flush(void)
{
    OutgoingPacket *p;

    outgoing.flushing = true;
    while ((p = QSIMPLEQ_FIRST(&outgoing.packets))) {
        QSIMPLEQ_REMOVE_HEAD(&outgoing.packets, next);
        outgoing.n_packets--;
        outgoing.len_bytes -= p->len_bytes;
        filter_replay_forward(p);
        g_free(p);
    }
    outgoing.flushing = false;
}

/* Make the main loop forward the packets: wake it if it is asleep. */
static void outgoing_wake(void)
{
    if (outgoing.asleep) {
        outgoing.asleep = false;
        event_notifier_set(&outgoing.wake);
    }
}

#ifdef CONFIG_POSIX
static void outgoing_poll(Notifier *notifier, void *data)
{
    const MainLoopPoll *poll = data;
    GPollFD fd = {
        .fd = event_notifier_get_fd(&outgoing.wake), .events = G_IO_IN,
    };

    if (poll->state == MAIN_LOOP_POLL_FILL) {
        g_array_append_val(poll->pollfds, fd);
        outgoing.asleep = true;
        if (outgoing.n_packets) {
            /*
             * Do not forward the packets now: the other netdevs have already
             * said which descriptors the main loop has to poll.
             */
            outgoing_wake();
        }
        return;
    }
    if (!outgoing.asleep) {
        event_notifier_test_and_clear(&outgoing.wake);
    }
    outgoing.asleep = false;
    outgoing_flush();
}

/* A device may end QEMU just after the guest has sent packets. */
static void outgoing_exit(Notifier *notifier, void *data)
{
    outgoing_flush();
}

static void outgoing_start(void)
{
    static Notifier poll = { .notify = outgoing_poll };
    static Notifier exit = { .notify = outgoing_exit };

    if (!outgoing.started && !event_notifier_init(&outgoing.wake, false)) {
        main_loop_poll_add_notifier(&poll);
        qemu_add_exit_notifier(&exit);
        outgoing.started = true;
    }
}
#else
static void outgoing_start(void)
{
    /* Without descriptors to poll, the vCPU thread forwards each packet. */
}
#endif

static void outgoing_push(FilterReplayState *s, unsigned flags,
                          const struct iovec *iov, int iovcnt,
                          size_t len_bytes)
{
    OutgoingPacket *p = g_malloc(sizeof(*p) + len_bytes);

    p->filter = s;
    p->flags = flags;
    p->len_bytes = len_bytes;
    iov_to_buf(iov, iovcnt, 0, p->data, len_bytes);
    QSIMPLEQ_INSERT_TAIL(&outgoing.packets, p, next);
    outgoing.n_packets++;
    outgoing.len_bytes += len_bytes;

    if (!outgoing.started || outgoing.n_packets >= OUTGOING_MAX_PACKETS
        || outgoing.len_bytes >= OUTGOING_MAX_BYTES) {
        outgoing_flush();
    } else {
        outgoing_wake();
    }
}

/* --- The packets that the filter sees ----------------------------------- */

/*
 * A packet from outside.
 *
 * Context: BQL; in a replay the replay mutex, too.
 * Returns: the length; -EINVAL for an empty packet (0 would let it pass).
 */
static ssize_t filter_replay_take(FilterReplayState *s, unsigned flags,
                                  const struct iovec *iov, int iovcnt)
{
    size_t len_bytes = iov_size(iov, iovcnt);

    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_net_arrived(s->adapter, flags, iov, iovcnt, len_bytes);
    } else {
        s->counters.muted++;
        trace_filter_replay_mute(NETFILTER(s)->netdev_id, icount_get_raw(),
                                 len_bytes);
    }
    return len_bytes ?: -EINVAL;
}

/*
 * In a replay no packet comes to the filters between this one and the netdev,
 * so the capture of a filter-dump there stays empty.
 */
static void filter_replay_look_for_dumps(FilterReplayState *s)
{
    NetFilterState *nf;

    s->has_looked = true;
    QTAILQ_FOREACH(nf, &NETFILTER(s)->netdev->filters, next) {
        if (nf == NETFILTER(s)) {
            return;
        }
        if (object_dynamic_cast(OBJECT(nf), "filter-dump")) {
            warn_report("filter-dump '%s' captures nothing in a replay, "
                        "because it is between the netdev '%s' and its "
                        "filter-replay: put it behind filter-replay, or use "
                        "-icount rrpcap=",
                        object_get_canonical_path_component(OBJECT(nf)),
                        nf->netdev_id);
        }
    }
}

/*
 * A packet from the guest.
 *
 * Context: BQL, and the replay mutex if the packet is to be recorded.
 * Returns: 0 to let the packet pass; else its length, or -EINVAL if it is
 * empty.
 */
static ssize_t filter_replay_sent(FilterReplayState *s, unsigned flags,
                                  const struct iovec *iov, int iovcnt)
{
    size_t len_bytes = iov_size(iov, iovcnt);

    if (outgoing.flushing) {
        /*
         * Another filter forwards this packet, and it comes through a hub.  A
         * replay drops it in that filter, so it must not be recorded here.
         */
        return 0;
    }
    replay_net_sent(s->adapter, iov, iovcnt, len_bytes);
    if (replay_mode == REPLAY_MODE_RECORD) {
        outgoing_push(s, flags, iov, iovcnt, len_bytes);
    } else if (!s->has_looked) {
        filter_replay_look_for_dumps(s);
    }
    return len_bytes ?: -EINVAL;
}

static ssize_t filter_replay_pass(NetFilterState *nf, NetClientState *sender,
                                  unsigned flags, const struct iovec *iov,
                                  int iovcnt, NetPacketSent *sent_cb)
{
    FilterReplayState *s = FILTER_REPLAY(nf);

    if (!s->adapter) {
        return 0;
    }
    return sender == nf->netdev ? filter_replay_take(s, flags, iov, iovcnt)
                                : filter_replay_sent(s, flags, iov, iovcnt);
}

/* --- Begin and end of a filter ------------------------------------------ */

/*
 * A filter of the user's, @nf, replaces one that QEMU has created, unless its
 * position= refers to it.
 * Returns: whether @other was removed.
 */
static bool filter_replay_replace_automatic(NetFilterState *nf,
                                            FilterReplayState *other)
{
    const char *id = object_get_canonical_path_component(OBJECT(other));

    if (!other->automatic || (g_str_has_prefix(nf->position, "id=")
                              && g_str_equal(nf->position + strlen("id="),
                                             id))) {
        return false;
    }
    object_unparent(OBJECT(other));
    return true;
}

/* Makes @nf the only filter-replay on its netdev, or refuses it. */
static bool filter_replay_make_only(NetFilterState *nf, Error **errp)
{
    FilterReplayState *other = filter_replay_of(nf->netdev);

    if (!other || (other->automatic && replay_net_is_fixed())) {
        /* Once the set is fixed, replay_net_register() reports this. */
        return true;
    }
    if (filter_replay_replace_automatic(nf, other)) {
        return true;
    }
    error_setg(errp, "netdev '%s' already has a filter-replay: '%s'",
               nf->netdev_id,
               object_get_canonical_path_component(OBJECT(other)));
    error_append_hint(errp, "One on each netdev is enough: remove one of the "
                      "two.\n");
    return false;
}

static bool filter_replay_check_options(NetFilterState *nf, Error **errp)
{
    if (nf->direction != NET_FILTER_DIRECTION_ALL) {
        error_setg(errp, "filter-replay on netdev '%s': queue=%s would leave "
                   "half of the traffic out of the recording", nf->netdev_id,
                   NetFilterDirection_str(nf->direction));
        error_append_hint(errp, "Leave queue= out, or use queue=all.\n");
        return false;
    }
    if (!nf->on) {
        error_setg(errp, "filter-replay on netdev '%s': with status=off "
                   "nothing would be recorded", nf->netdev_id);
        error_append_hint(errp, "Leave status= out. Without -icount ...,rr= "
                          "the filter lets every packet pass anyway.\n");
        return false;
    }
    return true;
}

static void filter_replay_setup(NetFilterState *nf, Error **errp)
{
    FilterReplayState *s = FILTER_REPLAY(nf);

    if (!filter_replay_check_options(nf, errp)
        || !filter_replay_make_only(nf, errp)) {
        return;
    }
    if (replay_mode != REPLAY_MODE_NONE) {
        s->adapter = replay_net_register(nf, s->verify, &s->counters, errp);
        if (replay_mode == REPLAY_MODE_RECORD) {
            outgoing_start();
        }
    }
}

static void filter_replay_cleanup(NetFilterState *nf)
{
    FilterReplayState *s = FILTER_REPLAY(nf);

    outgoing_flush();
    replay_net_unregister(g_steal_pointer(&s->adapter));
}

static bool filter_replay_check_delete(UserCreatable *uc, Error **errp)
{
    if (replay_mode == REPLAY_MODE_NONE) {
        return true;
    }
    error_setg(errp, "filter-replay on netdev '%s' cannot be removed while "
               "the virtual machine is being %s: its packets would %s",
               NETFILTER(uc)->netdev_id,
               replay_mode == REPLAY_MODE_RECORD ? "recorded" : "replayed",
               replay_mode == REPLAY_MODE_RECORD ?
               "reach the guest unrecorded" : "not reach the guest");
    return false;
}

/* --- Filters that QEMU creates for NICs --------------------------------- */

/*
 * Can a NIC on this port of a hub do without a filter?  It can if each netdev
 * on the hub has a filter, and no port of a NIC has one.  Packets that NICs on
 * a hub send each other stay inside the machine and need no filter.  But a
 * packet that has passed through the filter of one NIC comes from outside as
 * far as the other NICs are concerned.
 */
static bool filter_replay_covers_hub(NetClientState *port)
{
    NetClientState *ncs[MAX_QUEUE_NUM];
    int hub_id, id, n, i;

    if (port->info->type != NET_CLIENT_DRIVER_HUBPORT
        || net_hub_id_for_client(port, &hub_id) < 0) {
        return false;
    }
    n = qemu_find_net_clients_except(NULL, ncs, NET_CLIENT_DRIVER_NIC,
                                     ARRAY_SIZE(ncs));
    for (i = 0; i < MIN(n, (int)ARRAY_SIZE(ncs)); i++) {
        bool is_port = ncs[i]->info->type == NET_CLIENT_DRIVER_HUBPORT;
        bool has_filter = filter_replay_of(ncs[i]);
        bool filtered_port = is_port && has_filter;
        bool unfiltered_netdev = !is_port && !has_filter;

        if (net_hub_id_for_client(ncs[i], &id) == 0 && id == hub_id
            && (filtered_port || unfiltered_netdev)) {
            return false;
        }
    }
    return n <= (int)ARRAY_SIZE(ncs);
}

/* Refuses a netdev whose packets would bypass its filters. */
static bool filter_replay_check_bypass(NetClientState *nc, int queues,
                                       Error **errp)
{
    const char *why = NULL;

    if (queues > 1) {
        why = "has more than one queue";
    } else if (nc->info->type == NET_CLIENT_DRIVER_VHOST_USER
               || nc->info->type == NET_CLIENT_DRIVER_VHOST_VDPA) {
        why = "delivers packets to the guest without QEMU";
    } else if (get_vhost_net(nc)) {
        why = "delivers packets to the guest without QEMU (vhost=on)";
    }
    if (!why) {
        return true;
    }
    error_setg(errp, "netdev '%s' of type %s %s: nothing could be recorded or "
               "replayed", nc->name, NetClientDriver_str(nc->info->type), why);
    error_append_hint(errp, "Use a netdev without vhost and with one queue.\n");
    return false;
}

bool filter_replay_can_move(NetClientState **ncs, int queues, Error **errp)
{
    return filter_replay_check_bypass(ncs[0], queues, errp);
}

void filter_replay_move(NetClientState *from, NetClientState *to)
{
    NetFilterState *nf;

    while ((nf = QTAILQ_FIRST(&from->filters))) {
        QTAILQ_REMOVE(&from->filters, nf, next);
        QTAILQ_INSERT_TAIL(&to->filters, nf, next);
        nf->netdev = to;
    }
}

void filter_replay_leave(void)
{
    outgoing_start();
}

bool filter_replay_attach(NetClientState **ncs, int queues, Error **errp)
{
    NetClientState *nc = ncs[0];
    g_autofree char *name = NULL;
    g_autofree char *id = NULL;
    Object *filter;

    if (replay_mode == REPLAY_MODE_NONE) {
        return true;
    }
    if (!filter_replay_check_bypass(nc, queues, errp)) {
        return false;
    }
    if (filter_replay_of(nc) || filter_replay_covers_hub(nc)) {
        return true;
    }
    name = replay_net_name(nc->name);
    id = g_strconcat(AUTOMATIC_PREFIX, name, NULL);
    filter = object_new(TYPE_FILTER_REPLAY);
    FILTER_REPLAY(filter)->automatic = true;
    object_property_set_str(filter, "netdev", nc->name, &error_abort);
    if (!object_property_try_add_child(object_get_objects_root(), id, filter,
                                       errp)) {
        object_unref(filter);
        return false;
    }
    object_unref(filter);
    if (!user_creatable_complete(USER_CREATABLE(filter), errp)) {
        object_unparent(filter);
        return false;
    }
    return true;
}

/* --- Properties -------------------------------------------------------- */

static bool filter_replay_get_automatic(Object *obj, Error **errp)
{
    return FILTER_REPLAY(obj)->automatic;
}

static int filter_replay_get_verify(Object *obj, Error **errp)
{
    return FILTER_REPLAY(obj)->verify;
}

static void filter_replay_set_verify(Object *obj, int value, Error **errp)
{
    if (NETFILTER(obj)->netdev) {
        error_setg(errp, "'verify' of the filter on netdev '%s' can no longer "
                   "be changed", NETFILTER(obj)->netdev_id);
        return;
    }
    FILTER_REPLAY(obj)->verify = value;
}

static void filter_replay_class_init(ObjectClass *oc, void *data)
{
    NetFilterClass *filter = NETFILTER_CLASS(oc);

    filter->setup = filter_replay_setup;
    filter->cleanup = filter_replay_cleanup;
    filter->receive_iov = filter_replay_pass;
    filter->fixed_once_attached = true;
    USER_CREATABLE_CLASS(oc)->check_delete = filter_replay_check_delete;

    object_class_property_add_enum(oc, "verify", "FilterReplayVerify",
                                   &FilterReplayVerify_lookup,
                                   filter_replay_get_verify,
                                   filter_replay_set_verify);
    object_class_property_set_description(oc, "verify",
        "what to record of each packet that the guest sends, and to compare "
        "in a replay: on (length and checksum), full (all bytes), off "
        "(nothing)");
    object_class_property_add_bool(oc, "automatic",
                                   filter_replay_get_automatic, NULL);
    object_class_property_set_description(oc, "automatic",
        "whether QEMU created the filter, for a NIC on a netdev without one");
}

/* A property for each counter; QAPI's ReplayAdapterCounters explains them. */
static void filter_replay_add_counters(Object *obj)
{
    ReplayAdapterCounters *c = &FILTER_REPLAY(obj)->counters;
    const struct {
        const char *name;
        const uint64_t *counter;
    } counters[] = {
        { "received-packets", &c->received_packets },
        { "received-bytes", &c->received_bytes },
        { "sent-packets", &c->sent_packets },
        { "sent-bytes", &c->sent_bytes },
        { "verified", &c->verified },
        { "mismatched", &c->mismatched },
        { "unverified", &c->unverified },
        { "dropped", &c->dropped },
        { "muted", &c->muted },
        { "pending", &c->pending },
        { "unsent", &c->unsent },
        { "unsent-dropped", &c->unsent_dropped },
    };
    size_t i;

    QEMU_BUILD_BUG_ON(sizeof(*c) != ARRAY_SIZE(counters) * sizeof(uint64_t));
    for (i = 0; i < ARRAY_SIZE(counters); i++) {
        object_property_add_uint64_ptr(obj, counters[i].name,
                                       counters[i].counter,
                                       OBJ_PROP_FLAG_READ);
    }
}

static void filter_replay_init(Object *obj)
{
    FilterReplayState *s = FILTER_REPLAY(obj);

    s->verify = FILTER_REPLAY_VERIFY_ON;
    filter_replay_add_counters(obj);
    g_queue_init(&s->unsent);
}

static void filter_replay_finalize(Object *obj)
{
    g_queue_clear(&FILTER_REPLAY(obj)->unsent);
}

static const TypeInfo filter_replay_types[] = {
    {
        .name = TYPE_FILTER_REPLAY,
        .parent = TYPE_NETFILTER,
        .class_init = filter_replay_class_init,
        .instance_size = sizeof(FilterReplayState),
        .instance_init = filter_replay_init,
        .instance_finalize = filter_replay_finalize,
    },
};

DEFINE_TYPES(filter_replay_types)
