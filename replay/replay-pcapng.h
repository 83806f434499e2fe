/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A capture of the packets of a recording, in the format pcapng, which
 * Wireshark and tcpdump read.
 *
 * A capture depends only on the recording and on the packets: two captures of
 * the same packets have the same bytes.  Times are the guest's virtual time,
 * which begins at 0.
 */

#ifndef REPLAY_PCAPNG_H
#define REPLAY_PCAPNG_H

#include "replay-log.h"

typedef struct ReplayPcapng ReplayPcapng;

/* What a description says of an adapter. */
typedef struct ReplayPcapngAdapter {
    const char *name;           /* borrowed from the description */
    char nic[64];               /* model of the NIC; "" if there is none */
    uint8_t mac[6];
    bool has_mac;
    uint32_t vnet_hdr_bytes;    /* of the virtio header before a packet */
    bool sent_is_full;          /* the recording has the bytes that it sent */
} ReplayPcapngAdapter;

/* A packet.  @data is borrowed. */
typedef struct ReplayPcapngPacket {
    unsigned adapter;           /* its number in the recording */
    bool is_sent;               /* by the guest */
    uint64_t flags;             /* of an ASYNC_NET event; 0 if @is_sent */
    uint64_t time_ns;           /* virtual time */
    uint64_t icount;
    uint64_t event;             /* number of its event */
    uint64_t packet;            /* its number, from 1, unless @is_sent */
    const uint8_t *data;        /* a virtio header may come first */
    size_t len_bytes;
} ReplayPcapngPacket;

/* A virtio header and the frame behind it. */
typedef struct ReplayPcapngFrame {
    const uint8_t *data;        /* borrowed from the packet */
    size_t len_bytes;
    bool has_vnet_hdr;
    uint8_t vnet_flags;         /* VIRTIO_NET_HDR_F_* */
    uint8_t gso_type;           /* VIRTIO_NET_HDR_GSO_* */
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
} ReplayPcapngFrame;

/**
 * replay_pcapng_adapter: read what a description says of an adapter
 * @d: the description, borrowed
 * @number: of the adapter, from 0
 * @a: is filled in
 *
 * The description may have any values; what is not in it is left empty.
 *
 * Returns: false if @d has no such adapter.
 */
bool replay_pcapng_adapter(const ReplayLogDescription *d, uint64_t number,
                           ReplayPcapngAdapter *a);

/**
 * replay_pcapng_frame: take the virtio header off a packet
 * @a: its adapter, borrowed
 * @flags: of its event
 * @f: is filled in; a packet that is shorter than its header has no bytes
 */
void replay_pcapng_frame(const ReplayPcapngAdapter *a, uint64_t flags,
                         const uint8_t *data, size_t len_bytes,
                         ReplayPcapngFrame *f);

/**
 * replay_pcapng_open: begin a capture
 * @path: the file, which is created or emptied, but not if it is a recording;
 *        "-" for stdout
 * @uuid: of the recording
 * @d: its description, borrowed until the capture is closed
 * @is_exact: whether the times are exact; if not, a comment says so
 *
 * Returns: an owned capture, or NULL with @errp set.
 */
ReplayPcapng *replay_pcapng_open(const char *path, const QemuUUID *uuid,
                                 const ReplayLogDescription *d, bool is_exact,
                                 Error **errp);

/**
 * replay_pcapng_put: append a packet
 * @p: borrowed; a packet of an unknown adapter is left out
 *
 * Returns: true; false after a failed write, which replay_pcapng_close()
 * reports.
 */
bool replay_pcapng_put(ReplayPcapng *c, const ReplayPcapngPacket *p);

/**
 * replay_pcapng_put_length: count a sent packet whose bytes are not known
 * @len_bytes: its length
 */
void replay_pcapng_put_length(ReplayPcapng *c, unsigned adapter,
                              uint64_t len_bytes);

/**
 * replay_pcapng_close: append the totals of each adapter, close and free
 * @c: owned; freed in any case
 *
 * The totals have the time of the last packet.
 *
 * Returns: true; false with @errp set if the capture could not be written.
 */
bool replay_pcapng_close(ReplayPcapng *c, Error **errp);

#endif
