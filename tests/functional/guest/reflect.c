/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's end of a conversation with a test: it sends back every message
 * that it receives, and prints all of them at the end.
 *
 *     reflect frames INTERFACE                Ethernet frames of type 0x88b5
 *     reflect udp PORT [GROUP INTERFACE...]   datagrams, also those to GROUP
 *
 * A message begins with a head: its number (32 bits) and the length of its data
 * (16 bits), both big-endian.  The program keeps the message unless it is
 * shorter than a head, its number is 0, or a message of the same number has
 * been kept; so a test may repeat a message to which it has no answer.  The
 * number 0xffffffff is the end: the program then writes the data of the kept
 * messages, in the order of their numbers, to the standard output.
 */

#include <arpa/inet.h>
#include <err.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/if_ether.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* IEEE Std 802 reserves this type for local experiments. */
#define FRAME_TYPE      0x88b5
#define HEAD_BYTES      6
#define END             UINT32_MAX
#define KEPT_MAX        4096
/* Room for a burst, so that the guest's socket loses nothing. */
#define ROOM_BYTES      (16 << 20)

/* reflect also receives frames that are sent to this Ethernet group. */
static const uint8_t frame_group[ETH_ALEN] = { 0x01, 0, 0x5e, 1, 2, 3 };

typedef struct Message {
    uint32_t number;
    size_t len_bytes;
    uint8_t *data;
} Message;

static Message kept[KEPT_MAX];
static size_t count;

/* Returns: false if the message is the end, else true. */
static bool keep(const uint8_t *message, size_t len_bytes)
{
    uint32_t number;
    uint16_t data_bytes;
    size_t i;

    if (len_bytes < HEAD_BYTES) {
        return true;
    }
    memcpy(&number, message, sizeof(number));
    memcpy(&data_bytes, message + sizeof(number), sizeof(data_bytes));
    number = ntohl(number);
    data_bytes = ntohs(data_bytes);
    if (number == END) {
        return false;
    }
    if (number == 0) {
        return true;
    }
    if (data_bytes > len_bytes - HEAD_BYTES) {
        errx(1, "message %u of %u bytes has lost its end", number, data_bytes);
    }
    for (i = 0; i < count; i++) {
        if (kept[i].number == number) {
            return true;
        }
    }
    if (count == KEPT_MAX) {
        errx(1, "more than %d messages", KEPT_MAX);
    }
    kept[count].number = number;
    kept[count].len_bytes = data_bytes;
    kept[count].data = malloc(data_bytes + 1);
    memcpy(kept[count].data, message + HEAD_BYTES, data_bytes);
    count++;
    return true;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = ((const Message *)a)->number;
    uint32_t y = ((const Message *)b)->number;

    return x < y ? -1 : x > y;
}

static void tell(void)
{
    size_t i;

    qsort(kept, count, sizeof(*kept), by_number);
    for (i = 0; i < count; i++) {
        fwrite(kept[i].data, 1, kept[i].len_bytes, stdout);
    }
    if (fflush(stdout)) {
        err(1, "standard output");
    }
}

static unsigned index_of(const char *interface)
{
    unsigned index = if_nametoindex(interface);

    if (!index) {
        err(1, "%s", interface);
    }
    return index;
}

static int open_frames(const char *interface)
{
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(FRAME_TYPE),
        .sll_ifindex = index_of(interface),
    };
    struct packet_mreq group = {
        .mr_ifindex = address.sll_ifindex,
        .mr_type = PACKET_MR_MULTICAST,
        .mr_alen = ETH_ALEN,
    };
    int fd = socket(AF_PACKET, SOCK_RAW, address.sll_protocol);

    memcpy(group.mr_address, frame_group, ETH_ALEN);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address))
        || setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &group,
                      sizeof(group))) {
        err(1, "frames of %s", interface);
    }
    return fd;
}

static int open_udp(const char *port, const char *group, char **interfaces)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(atoi(port)),
    };
    const int on = 1;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address))
        || setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on))) {
        err(1, "UDP port %s", port);
    }
    for (; group && *interfaces; interfaces++) {
        struct ip_mreqn join = { .imr_ifindex = index_of(*interfaces) };

        if (!inet_aton(group, &join.imr_multiaddr)
            || setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join,
                          sizeof(join))) {
            err(1, "group %s on %s", group, *interfaces);
        }
    }
    return fd;
}

/* Sends a frame back to its source, from the own address of the interface. */
static void reflect_frame(int fd, uint8_t *frame, size_t len_bytes,
                          const struct sockaddr_ll *from)
{
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET,
        .sll_ifindex = from->sll_ifindex,
    };
    socklen_t address_bytes = sizeof(address);
    struct ethhdr *head = (struct ethhdr *)frame;
    uint8_t own[ETH_ALEN];

    if (getsockname(fd, (struct sockaddr *)&address, &address_bytes)) {
        err(1, "own address");
    }
    memcpy(own, address.sll_addr, ETH_ALEN);
    memcpy(head->h_dest, head->h_source, ETH_ALEN);
    memcpy(head->h_source, own, ETH_ALEN);
    if (send(fd, frame, len_bytes, 0) < 0) {
        warn("a frame of %zu bytes is not sent", len_bytes);
    }
}

static void reflect_frames(int fd, uint8_t *buffer, size_t size)
{
    bool more;

    do {
        struct sockaddr_ll from;
        socklen_t from_bytes = sizeof(from);
        ssize_t got = recvfrom(fd, buffer, size, 0, (struct sockaddr *)&from,
                               &from_bytes);

        if (got < ETH_HLEN) {
            err(1, "a frame of %zd bytes", got);
        }
        if (from.sll_pkttype == PACKET_OTHERHOST
            || from.sll_pkttype == PACKET_OUTGOING) {
            more = true;
            continue;
        }
        more = keep(buffer + ETH_HLEN, got - ETH_HLEN);
        reflect_frame(fd, buffer, got, &from);
    } while (more);
}

static void reflect_udp(int fd, uint8_t *buffer, size_t size)
{
    bool more;

    do {
        struct sockaddr_in from;
        socklen_t from_bytes = sizeof(from);
        ssize_t got = recvfrom(fd, buffer, size, 0, (struct sockaddr *)&from,
                               &from_bytes);

        if (got < 0) {
            err(1, "a datagram");
        }
        more = keep(buffer, got);
        if (sendto(fd, buffer, got, 0, (struct sockaddr *)&from,
                   from_bytes) < 0) {
            warn("a datagram of %zd bytes is not sent", got);
        }
    } while (more);
}

int main(int argc, char **argv)
{
    const int room = ROOM_BYTES;
    static uint8_t buffer[1 << 17];
    bool frames = argc == 3 && !strcmp(argv[1], "frames");
    int fd;

    if (frames) {
        fd = open_frames(argv[2]);
    } else if (argc > 2 && !strcmp(argv[1], "udp")) {
        fd = open_udp(argv[2], argv[3], argv + (argc > 3 ? 4 : 3));
    } else {
        errx(1, "reflect frames INTERFACE | udp PORT [GROUP INTERFACE...]");
    }
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room))) {
        err(1, "room for messages");
    }
    fprintf(stderr, "reflect: %s ready\n", argv[2]);
    if (frames) {
        reflect_frames(fd, buffer, sizeof(buffer));
    } else {
        reflect_udp(fd, buffer, sizeof(buffer));
    }
    tell();
    fprintf(stderr, "reflect: %s has %zu messages\n", argv[2], count);
    return 0;
}
