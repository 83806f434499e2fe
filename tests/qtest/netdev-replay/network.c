/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The network of netdev-replay-test: peers of QEMU's netdevs, and frames.
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>
#include "network.h"
#include "qemu/bswap.h"
#include "rig.h"

/* --- Peers ------------------------------------------------------------- */

static struct sockaddr_un peer_address(unsigned n, const char *side)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    snprintf(addr.sun_path, sizeof(addr.sun_path), "n%u.%s", n, side);
    return addr;
}

static void peer_set_ceiling(int fd)
{
    struct timeval ceiling = { .tv_sec = CEILING_S };

    qemu_set_cloexec(fd);
    g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &ceiling,
                               sizeof(ceiling)), ==, 0);
    g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &ceiling,
                               sizeof(ceiling)), ==, 0);
}

void peer_open(unsigned n)
{
    struct sockaddr_un addr = peer_address(n, rig.is_stream ? "qemu" : "peer");
    int fd = socket(AF_UNIX, rig.is_stream ? SOCK_STREAM : SOCK_DGRAM, 0);
    int64_t end = rig_deadline();

    g_assert_cmpint(fd, >=, 0);
    peer_set_ceiling(fd);
    if (rig.is_stream) {
        /* QEMU listens only some time after it was started. */
        while (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
            g_assert_true(errno == ENOENT || errno == ECONNREFUSED);
            g_assert_cmpint(g_get_monotonic_time(), <, end);
        }
    } else {
        g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)),
                        ==, 0);
    }
    rig.peer[n] = fd;
}

/* Returns: a UDP socket, which has the address @addr now. */
static int peer_udp_socket(struct sockaddr_in *addr)
{
    socklen_t len = sizeof(*addr);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    g_assert_cmpint(fd, >=, 0);
    *addr = (struct sockaddr_in) {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    g_assert_cmpint(bind(fd, (struct sockaddr *)addr, len), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)addr, &len), ==, 0);
    return fd;
}

void peer_open_udp(unsigned n, uint16_t *peer_port, uint16_t *qemu_port)
{
    struct sockaddr_in ours, theirs;
    int fd = peer_udp_socket(&ours);

    close(peer_udp_socket(&theirs));    /* QEMU opens the same */
    peer_set_ceiling(fd);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&theirs, sizeof(theirs)),
                    ==, 0);
    *peer_port = ntohs(ours.sin_port);
    *qemu_port = ntohs(theirs.sin_port);
    rig.is_udp = true;
    rig.peer[n] = fd;
}

void peer_close(unsigned n)
{
    struct sockaddr_un addr = peer_address(n, "peer");

    if (rig.peer[n] >= 0) {
        close(rig.peer[n]);
        rig.peer[n] = -1;
        unlink(addr.sun_path);
    }
}

void peer_send(unsigned n, const void *data, size_t len_bytes)
{
    struct sockaddr_un addr = peer_address(n, "qemu");
    uint32_t header = htonl(len_bytes);
    ssize_t sent;

    if (rig.is_stream) {
        g_assert_cmpint(send(rig.peer[n], &header, sizeof(header), 0), ==,
                        sizeof(header));
        sent = send(rig.peer[n], data, len_bytes, 0);
    } else if (rig.is_udp) {
        sent = send(rig.peer[n], data, len_bytes, 0);
    } else {
        sent = sendto(rig.peer[n], data, len_bytes, 0,
                      (struct sockaddr *)&addr, sizeof(addr));
    }
    g_assert_cmpint(sent, ==, len_bytes);
}

void peer_receive(unsigned n, uint8_t frame[FRAME_MIN_BYTES])
{
    uint32_t header;
    ssize_t got;

    if (rig.is_stream) {
        g_assert_cmpint(recv(rig.peer[n], &header, sizeof(header),
                             MSG_WAITALL), ==, sizeof(header));
        g_assert_cmpint(ntohl(header), ==, FRAME_MIN_BYTES);
    }
    got = recv(rig.peer[n], frame, FRAME_MIN_BYTES, MSG_WAITALL);
    if (got < 0) {
        fail("the guest sent nothing to the netdev 'n%u' within %d s", n,
             CEILING_S);
    }
    g_assert_cmpint(got, ==, FRAME_MIN_BYTES);
}

bool peer_is_silent(unsigned n)
{
    uint8_t byte;

    return recv(rig.peer[n], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* --- Frames ------------------------------------------------------------ */

void frame_make(uint8_t *frame, size_t len_bytes, uint8_t command)
{
    unsigned number = rig.frames++;
    size_t i;

    /* NICs of QEMU 7.2 pad a shorter frame, those of later QEMUs do not. */
    g_assert_cmpuint(len_bytes, >=, FRAME_MIN_BYTES);
    for (i = 0; i < len_bytes; i++) {
        frame[i] = number * 7 + i * 13 + (i >> 8);
    }
    memset(frame, 0xff, 6);
    stw_be_p(frame + 12, 0x88b5);       /* reserved for local experiments */
    frame[COMMAND_OFFSET] = command;
    frame[COMMAND_OFFSET + 1] = EXIT_ARGUMENT;
    stw_be_p(frame + 6, number);
}

/* The checksum that the guest computes. */
static uint16_t frame_sum(const uint8_t *frame, size_t len_bytes)
{
    uint16_t sum = 0;
    size_t i;

    for (i = 0; i < len_bytes; i++) {
        sum = (sum << 1 | sum >> 15) ^ frame[i];
    }
    return sum;
}

void expect_line(unsigned n, const uint8_t *frame, size_t len_bytes)
{
    g_string_append_printf(rig.expected, "%04X %04zX %04X\n",
                           n ? NIC1_PORT : NIC0_PORT, len_bytes,
                           frame_sum(frame, len_bytes));
}

void expect_echo(unsigned n, const uint8_t *frame, size_t len_bytes)
{
    uint8_t echo[FRAME_MIN_BYTES];

    peer_receive(n, echo);
    g_assert_cmpmem(echo, sizeof(echo), frame, sizeof(echo));
    expect_line(n, frame, len_bytes);
}

void exchange(unsigned n, size_t len_bytes, uint8_t command)
{
    uint8_t frame[FRAME_MAX_BYTES];

    frame_make(frame, len_bytes, command);
    peer_send(n, frame, len_bytes);
    expect_echo(n, frame, len_bytes);
}

void exchange_many(unsigned n, unsigned count)
{
    static const size_t lens[] = {
        66, 1514, 60, 61, 67, 576, 64, 1513, 77, 255, 256, 257, 1000,
    };
    unsigned i;

    for (i = 0; i < count; i++) {
        exchange(n, lens[i % ARRAY_SIZE(lens)], COMMAND_NONE);
    }
}

void guest_await(unsigned adapters)
{
    static const uint8_t zeros[FRAME_MIN_BYTES];
    uint8_t frame[FRAME_MIN_BYTES];
    unsigned n;

    for (n = 0; n < adapters; n++) {
        peer_receive(n, frame);
        g_assert_cmpmem(frame, sizeof(frame), zeros, sizeof(zeros));
    }
}
