/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The netfilter that records what a netdev brings in, and replays it.
 *
 * It stands between a netdev and what is attached to it.  While recording, a
 * packet from the netdev is taken whole and queued as an asynchronous event:
 * replay-net.c saves it and sends it on from here, in the vCPU thread.  In a
 * replay whatever the netdev brings is dropped, and so is what the guest
 * sends: the packets come out of the recording, by the same way from the queue
 * on.  Without record or replay everything passes.
 *
 * Half a filter would record half of the traffic, so queue= and status= have
 * one possible value each, and the filter stays once it is in place.
 */

#include "qemu/osdep.h"
#include "net/filter.h"
#include "net/net.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qemu/iov.h"
#include "qemu/module.h"
#include "qom/object.h"
#include "qom/object_interfaces.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/replay.h"
#include "trace.h"

#define TYPE_FILTER_REPLAY "filter-replay"
OBJECT_DECLARE_SIMPLE_TYPE(FilterReplayState, FILTER_REPLAY)

struct FilterReplayState {
    NetFilterState parent_obj;

    /* From setup to cleanup; NULL without record or replay.  BQL. */
    ReplayNetState *rns;

    /* Set before setup. */
    FilterReplayVerify verify;
};

/* --- The path of a packet ---------------------------------------------- */

/*
 * Context: replay mutex and BQL.
 * Returns: 0 to let the packet pass; 0 would let an empty one pass as well.
 */
static ssize_t filter_replay_take(FilterReplayState *s, unsigned flags,
                                  const struct iovec *iov, int iovcnt)
{
    size_t len_bytes = iov_size(iov, iovcnt);

    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_net_packet_event(s->rns, flags, iov, iovcnt, len_bytes);
    } else {
        replay_net_counters(s->rns)->muted++;
        trace_filter_replay_mute(NETFILTER(s)->netdev_id, icount_get_raw(),
                                 len_bytes);
    }
    return len_bytes ?: -EINVAL;
}

static ssize_t filter_replay_sent(FilterReplayState *s,
                                  const struct iovec *iov, int iovcnt)
{
    size_t len_bytes = iov_size(iov, iovcnt);

    replay_net_sent(s->rns, iov, iovcnt, len_bytes);
    if (replay_mode == REPLAY_MODE_RECORD) {
        return 0;
    }
    return len_bytes ?: -EINVAL;
}

static ssize_t filter_replay_receive_iov(NetFilterState *nf,
                                         NetClientState *sender,
                                         unsigned flags,
                                         const struct iovec *iov, int iovcnt,
                                         NetPacketSent *sent_cb)
{
    FilterReplayState *s = FILTER_REPLAY(nf);

    if (!s->rns) {
        return 0;
    }
    return sender == nf->netdev ? filter_replay_take(s, flags, iov, iovcnt)
                                : filter_replay_sent(s, iov, iovcnt);
}

/* --- Setup ------------------------------------------------------------- */

static bool filter_replay_check(NetFilterState *nf, Error **errp)
{
    NetFilterState *other;

    if (nf->direction != NET_FILTER_DIRECTION_ALL) {
        error_setg(errp, "filter-replay on netdev '%s': queue=%s would leave "
                   "half of the traffic out of the recording", nf->netdev_id,
                   NetFilterDirection_str(nf->direction));
        error_append_hint(errp, "Leave queue= out, or say queue=all.\n");
        return false;
    }
    if (!nf->on) {
        error_setg(errp, "filter-replay on netdev '%s': with status=off "
                   "nothing would be recorded", nf->netdev_id);
        error_append_hint(errp, "Leave status= out. Without -icount ...,rr= "
                          "the filter passes everything anyway.\n");
        return false;
    }
    QTAILQ_FOREACH(other, &nf->netdev->filters, next) {
        if (object_dynamic_cast(OBJECT(other), TYPE_FILTER_REPLAY)) {
            g_autofree char *id =
                g_strdup(object_get_canonical_path_component(OBJECT(other)));

            error_setg(errp, "netdev '%s' has a filter-replay already: '%s'",
                       nf->netdev_id, id);
            error_append_hint(errp, "One on each netdev is enough; remove one "
                              "of the two.\n");
            return false;
        }
    }
    return true;
}

static void filter_replay_setup(NetFilterState *nf, Error **errp)
{
    FilterReplayState *s = FILTER_REPLAY(nf);

    if (filter_replay_check(nf, errp) && replay_mode != REPLAY_MODE_NONE) {
        s->rns = replay_register_net(nf, s->verify, errp);
    }
}

static void filter_replay_cleanup(NetFilterState *nf)
{
    FilterReplayState *s = FILTER_REPLAY(nf);

    replay_unregister_net(g_steal_pointer(&s->rns));
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
               "reach the guest unrecorded" : "have no way to the guest");
    return false;
}

/* --- Properties -------------------------------------------------------- */

/* A counter of the adapter; @opaque is its offset in ReplayNetCounters. */
static void filter_replay_get_counter(Object *obj, Visitor *v,
                                      const char *name, void *opaque,
                                      Error **errp)
{
    FilterReplayState *s = FILTER_REPLAY(obj);
    uint64_t value = 0;

    if (s->rns) {
        value = *(uint64_t *)((char *)replay_net_counters(s->rns)
                              + GPOINTER_TO_SIZE(opaque));
    }
    visit_type_uint64(v, name, &value, errp);
}

static int filter_replay_get_verify(Object *obj, Error **errp)
{
    return FILTER_REPLAY(obj)->verify;
}

static void filter_replay_set_verify(Object *obj, int value, Error **errp)
{
    if (NETFILTER(obj)->netdev) {
        error_setg(errp, "'verify' of the filter on netdev '%s' cannot be "
                   "changed any more", NETFILTER(obj)->netdev_id);
        return;
    }
    FILTER_REPLAY(obj)->verify = value;
}

static void filter_replay_class_init(ObjectClass *oc, void *data)
{
    static const struct {
        const char *name;
        size_t offset;
        const char *description;
    } counters[] = {
#define COUNTER(name, field, description) \
        { name, offsetof(ReplayNetCounters, field), description }
        COUNTER("received-packets", received_packets,
                "packets from outside that were handed to the guest"),
        COUNTER("received-bytes", received_bytes, "bytes of these packets"),
        COUNTER("sent-packets", sent_packets, "packets that the guest sent"),
        COUNTER("sent-bytes", sent_bytes, "bytes of these packets"),
        COUNTER("verified", verified,
                "replay: packets sent that are those of the recording"),
        COUNTER("mismatched", mismatched,
                "replay: packets sent that are not those of the recording"),
        COUNTER("unverified", unverified,
                "packets sent at a moment that has no instruction count"),
        COUNTER("dropped", dropped,
                "packets from outside dropped before they were recorded"),
        COUNTER("muted", muted,
                "packets from outside that a replay ignored"),
        COUNTER("pending", pending, "packets from outside in the queue"),
#undef COUNTER
    };
    NetFilterClass *nfc = NETFILTER_CLASS(oc);
    UserCreatableClass *ucc = USER_CREATABLE_CLASS(oc);
    size_t i;

    nfc->setup = filter_replay_setup;
    nfc->cleanup = filter_replay_cleanup;
    nfc->receive_iov = filter_replay_receive_iov;
    nfc->fixed_once_attached = true;
    ucc->check_delete = filter_replay_check_delete;

    object_class_property_add_enum(oc, "verify", "FilterReplayVerify",
                                   &FilterReplayVerify_lookup,
                                   filter_replay_get_verify,
                                   filter_replay_set_verify);
    object_class_property_set_description(oc, "verify",
        "what to record of the packets that the guest sends, and to compare "
        "in a replay: on (length and checksum), full (all bytes), off");

    for (i = 0; i < ARRAY_SIZE(counters); i++) {
        object_class_property_add(oc, counters[i].name, "uint64",
                                  filter_replay_get_counter, NULL, NULL,
                                  GSIZE_TO_POINTER(counters[i].offset));
        object_class_property_set_description(oc, counters[i].name,
                                              counters[i].description);
    }
}

static void filter_replay_instance_init(Object *obj)
{
    FILTER_REPLAY(obj)->verify = FILTER_REPLAY_VERIFY_ON;
}

static const TypeInfo filter_replay_info = {
    .name = TYPE_FILTER_REPLAY,
    .parent = TYPE_NETFILTER,
    .instance_size = sizeof(FilterReplayState),
    .instance_init = filter_replay_instance_init,
    .class_init = filter_replay_class_init,
};

static void filter_replay_register(void)
{
    type_register_static(&filter_replay_info);
}

type_init(filter_replay_register);
