/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The network of netdev-replay-test: peers at the other end of QEMU's
 * netdevs, the frames that they exchange with the guest, and the lines that
 * the guest must write about them.
 */

#ifndef NETDEV_REPLAY_NETWORK_H
#define NETDEV_REPLAY_NETWORK_H

#include "guest.h"

#define FRAME_MAX_BYTES     1514

/*
 * The peer of the netdev 'n@n'.  It connects to QEMU if rig.is_stream;
 * otherwise it is bound to an address to which QEMU sends datagrams.
 */
void peer_open(unsigned n);

/*
 * The same, for a netdev that uses UDP.  The peer gets @peer_port of 127.0.0.1,
 * and QEMU must use @qemu_port.
 */
void peer_open_udp(unsigned n, uint16_t *peer_port, uint16_t *qemu_port);

/* Removes the peer, if there is one, and its address. */
void peer_close(unsigned n);

/* Sends the packet of @len_bytes at @data to QEMU. */
void peer_send(unsigned n, const void *data, size_t len_bytes);

/* Waits for a packet from the guest, whose packets have all the same length. */
void peer_receive(unsigned n, uint8_t frame[FRAME_MIN_BYTES]);

/* Returns: whether QEMU has sent nothing to the peer; does not wait. */
bool peer_is_silent(unsigned n);

/* Fills @frame; it has a number and differs from all other frames. */
void frame_make(uint8_t *frame, size_t len_bytes, uint8_t command);

/* The guest must write a line about @frame, which the peer @n has sent. */
void expect_line(unsigned n, const uint8_t *frame, size_t len_bytes);

/* The same, and the guest must send @frame back. */
void expect_echo(unsigned n, const uint8_t *frame, size_t len_bytes);

/* Sends a new frame to the guest, which must send it back. */
void exchange(unsigned n, size_t len_bytes, uint8_t command);

/* Does so with @count frames of different lengths. */
void exchange_many(unsigned n, unsigned count);

/*
 * Waits until the guest has started its adapters: it has then sent a frame of
 * zeros through each.
 */
void guest_await(unsigned adapters);

#endif
