/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a packet is, in one line: Ethernet, ARP, IPv4 and IPv6, TCP, UDP, ICMP,
 * and names and kinds of messages of DNS and DHCP.  Wireshark does the rest.
 */

#ifndef QEMU_REPLAY_PACKET_H
#define QEMU_REPLAY_PACKET_H

/**
 * packet_summary: append a line about a packet, without a line end
 * @data: an Ethernet frame, which may have any content
 *
 * The line consists of printable ASCII characters.
 */
void packet_summary(GString *out, const uint8_t *data, size_t len_bytes);

/**
 * packet_field: name the header field that a byte belongs to
 * @offset: of the byte in @data
 *
 * Returns: a text like "TCP sequence number", owned.
 */
char *packet_field(const uint8_t *data, size_t len_bytes, size_t offset);

#endif
