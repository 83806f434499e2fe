/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Record and replay of packets: what net/filter-replay.c calls.
 *
 * An adapter is one filter-replay on one netdev, known by the id of that
 * netdev.
 */

#ifndef SYSEMU_REPLAY_NET_H
#define SYSEMU_REPLAY_NET_H

#include "net/filter.h"
#include "net/net.h"
#include "qapi/qapi-types-qom.h"
#include "qapi/qapi-types-replay.h"

/**
 * REPLAY_NET_PACKET_MAX_BYTES - length of the longest packet that is recorded
 * or replayed, in bytes: the limit of QEMU's netdevs
 */
#define REPLAY_NET_PACKET_MAX_BYTES     (4096 + 65536)

/**
 * REPLAY_NET_QUEUE_MAX_PACKETS - limit of two queues, in packets: the queue of
 * an adapter holds packets from outside, and the queue of its netdev packets
 * from the guest
 */
#define REPLAY_NET_QUEUE_MAX_PACKETS    4096

/**
 * REPLAY_NET_QUEUE_MAX_BYTES - limit of the same two queues, in bytes of
 * packets
 */
#define REPLAY_NET_QUEUE_MAX_BYTES      (8 * 1024 * 1024)

/**
 * typedef ReplayAdapter - an adapter; opaque
 */
typedef struct ReplayAdapter ReplayAdapter;

/**
 * replay_net_register: make an adapter for the netdev of a filter
 * @nfs: a filter that is complete except for its place in the list of the
 *       netdev's filters; borrowed until replay_net_unregister()
 * @verify: what to record of each packet from the guest; in a replay,
 *          FILTER_REPLAY_VERIFY_OFF compares neither length nor content
 * @counters: the filter's counters, borrowed until replay_net_unregister(); the
 *            filter and the replay subsystem both write to them, with the BQL
 * @errp: set if the virtual machine has already run, if there are
 *        REPLAY_LOG_ADAPTERS_MAX adapters, or if the netdev's id is longer than
 *        REPLAY_LOG_ADAPTER_NAME_MAX_BYTES
 *
 * Context: main loop, BQL.
 * Returns: the adapter, owned by the replay subsystem; NULL with @errp set.
 */
ReplayAdapter *replay_net_register(NetFilterState *nfs,
                                   FilterReplayVerify verify,
                                   ReplayAdapterCounters *counters,
                                   Error **errp);

/**
 * replay_net_unregister: the filter of an adapter is being removed
 * @s: an adapter, or NULL; must not be used after the call
 *
 * Packets in the adapter's queue are dropped unrecorded.  If a replay then
 * comes to a recorded packet for the adapter, it ends with a report that names
 * the adapter.
 *
 * Context: main loop, BQL.
 */
void replay_net_unregister(ReplayAdapter *s);

/**
 * replay_net_arrived: a packet has arrived from outside
 * @s: the adapter, borrowed
 * @flags: QEMU_NET_PACKET_FLAG_*
 * @iov: the packet, borrowed; copied once
 * @iovcnt: number of entries in @iov
 * @len_bytes: length of the packet as iov_size() gives it, in bytes
 *
 * The packet is queued; the vCPU thread records it and delivers it.  If the
 * vCPU thread itself calls this function, the function kicks it at once.  The
 * main loop kicks the vCPU thread at the end of its round, once for all packets
 * of the round.
 *
 * Context: BQL; record only.
 *
 * The packet is dropped before it is recorded, and counted, if the adapter's
 * queue is full (because the machine is stopped or the guest is too slow), or
 * if the length is 0 or above REPLAY_NET_PACKET_MAX_BYTES.
 */
void replay_net_arrived(ReplayAdapter *s, unsigned flags,
                        const struct iovec *iov, int iovcnt, size_t len_bytes);

/**
 * replay_net_sent: the guest has sent a packet
 * @s: the adapter, borrowed
 * @iov: the packet, borrowed
 * @iovcnt: number of entries in @iov
 * @len_bytes: length of the packet as iov_size() gives it, in bytes
 *
 * Packets from the guest are the best evidence of what the guest did.  A
 * recorder records length and checksum, or all bytes, at this instruction.  A
 * replay compares.
 *
 * Context: locked, with the BQL.  A packet that is sent without the replay
 * mutex, or before events are enabled, is only counted as unverified.
 *
 * A replay in which the packet differs from the recorded one, or which has
 * another event next, ends with a report.
 */
void replay_net_sent(ReplayAdapter *s, const struct iovec *iov, int iovcnt,
                     size_t len_bytes);

/**
 * replay_net_name: the name of a netdev in recordings
 * @netdev_id: id of the netdev, borrowed
 *
 * This is the id, without the random digits at the end of an id that QEMU has
 * generated: -nic makes "#net017", and each time the name is "#net0".
 *
 * Context: any thread.
 * Returns: an owned string.
 */
char *replay_net_name(const char *netdev_id);

/**
 * REPLAY_NET_HEADER, REPLAY_NET_UFO, REPLAY_NET_USO - features of a back end,
 * in the description of a recording: it puts a virtio header before packets,
 * and this header can describe segments of UDP
 *
 * replay_net_header() names the lengths that the header can have.
 */
#define REPLAY_NET_HEADER               "header"
#define REPLAY_NET_UFO                  "ufo"
#define REPLAY_NET_USO                  "uso"

/**
 * replay_net_header: the feature of a virtio header of a length
 * @len_bytes: the length
 *
 * Context: any thread.
 * Returns: its name, owned.
 */
char *replay_net_header(int len_bytes);

/**
 * replay_net_offered: did the back end of a netdev have a feature in the
 * recording?
 * @name: replay_net_name() of the netdev, borrowed
 * @feature: one of the features above, borrowed
 *
 * Context: replay; main loop or vCPU thread, BQL.
 * Returns: true if it had; false also if the recording has no such adapter.
 */
bool replay_net_offered(const char *name, const char *feature);

/**
 * replay_net_backend: the type of back end that a netdev had in the recording
 * @name: replay_net_name() of the netdev, borrowed
 *
 * Context: replay; main loop.
 * Returns: the type, borrowed; NULL if the recording has no such adapter, or
 * does not name its type.
 */
const char *replay_net_backend(const char *name);

/**
 * replay_net_is_fixed: is the set of adapters fixed?
 *
 * Context: main loop, BQL.
 * Returns: true once the virtual machine has run, under record or replay.
 */
bool replay_net_is_fixed(void);

#endif
