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

/* Longest packet that is recorded or replayed, bytes: that of QEMU's netdevs */
#define REPLAY_NET_PACKET_MAX_BYTES     (4096 + 65536)

/* Limits of one adapter's queue, in each direction. */
#define REPLAY_NET_QUEUE_MAX_PACKETS    4096
#define REPLAY_NET_QUEUE_MAX_BYTES      (8 * 1024 * 1024)

/* Opaque. */
typedef struct ReplayAdapter ReplayAdapter;

/**
 * replay_net_register: make an adapter of a filter's netdev
 * @nfs: a filter that is complete up to its place in the netdev's list;
 *       borrowed until replay_net_unregister()
 * @verify: what to record of packets from the guest; in a replay, OFF compares
 *          nothing
 * @counters: of the filter, borrowed until replay_net_unregister(); both sides
 *            write to it, with the BQL
 * @errp: set when the virtual machine has already run, when there are
 *        REPLAY_LOG_ADAPTERS_MAX adapters, or when the netdev's id is longer
 *        than REPLAY_LOG_ADAPTER_NAME_MAX_BYTES
 *
 * Context: main loop, BQL.
 * Returns: the adapter, owned by the replay subsystem; NULL with @errp set.
 */
ReplayAdapter *replay_net_register(NetFilterState *nfs,
                                   FilterReplayVerify verify,
                                   ReplayAdapterCounters *counters,
                                   Error **errp);

/**
 * replay_net_unregister: the filter of an adapter goes away
 * @adapter: an adapter, or NULL
 *
 * Packets that are queued for the adapter are dropped unrecorded; in a replay,
 * a recorded packet for it is an error that names it.
 *
 * Context: main loop, BQL.
 */
void replay_net_unregister(ReplayAdapter *adapter);

/**
 * replay_net_arrived: a packet has arrived from outside
 * @adapter: the adapter, borrowed
 * @flags: QEMU_NET_PACKET_FLAG_*
 * @iov: the packet, borrowed; copied once
 * @iovcnt: entries of @iov
 * @len_bytes: length of the packet, as iov_size() gives it
 *
 * The packet is queued; the vCPU thread saves it and hands it to the guest.  If
 * the caller is the vCPU thread, that thread is asked at once; otherwise at the
 * end of this round of the main loop, once for all packets of the round.
 *
 * The packet is dropped here, before it is recorded, and counted, if the
 * adapter's queue is full (the machine is stopped, or the guest does not keep
 * up), or if its length is 0 or above REPLAY_NET_PACKET_MAX_BYTES.
 *
 * Context: BQL; record only.
 */
void replay_net_arrived(ReplayAdapter *adapter, unsigned flags,
                        const struct iovec *iov, int iovcnt, size_t len_bytes);

/**
 * replay_net_sent: the guest has sent a packet
 * @adapter: the adapter, borrowed
 * @iov: the packet, borrowed
 * @iovcnt: entries of @iov
 * @len_bytes: length of the packet, as iov_size() gives it
 *
 * Packets from the guest are the best witness of what the guest did.  While
 * recording, their length and checksum are recorded at this instruction; in a
 * replay they are compared, and a difference ends the replay with a report.
 *
 * Context: locked, with the BQL; a packet that is sent otherwise, or before
 * events are enabled, is counted as unverified.
 */
void replay_net_sent(ReplayAdapter *adapter, const struct iovec *iov,
                     int iovcnt, size_t len_bytes);

/**
 * replay_net_name: the name that a recording has for a netdev
 * @netdev_id: id of the netdev, borrowed
 *
 * That is the id, without the random digits of an id that QEMU has made
 * ("#net017" of -nic is "#net0" each time).
 *
 * Returns: an owned string.
 */
char *replay_net_name(const char *netdev_id);

/* Returns: whether the virtual machine has run, so that adapters are fixed. */
bool replay_net_is_fixed(void);

#endif
