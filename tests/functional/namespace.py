#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A network namespace with taps in it, which lasts as long as a test.

Run as a program, this file makes a network namespace, and in it taps and
sockets, whose descriptors it sends to its caller.  They stay in that
namespace, whichever process uses them.  The program needs no other tool, and
needs root only where the kernel does not permit user namespaces.  The
namespace ends when its last descriptor is closed.

"namespace.py run COMMAND..." executes a command in a namespace without any
network, in which not even loopback is up, without /dev/net/tun, and under
another name of the host.  If the machine does not permit that, the command is
not executed, and the status is 125.
"""

import array
import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys

# The flags of unshare(), the requests of ioctl() and their flags.
CLONE_NEWNS, CLONE_NEWUTS = 0x20000, 0x4000000
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
TUNSETIFF = 0x400454ca
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 2, 0x1000, 0x4000, 0x100
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891c
SIOCGIFINDEX = 0x8933
IFF_UP = 1

# The number of sockets of each kind that a test can take.
SOCKETS = 4


# The status of "run" if it cannot execute the command.
STATUS_CANNOT = 125

# Words before a command that is to have no network.  A test uses them through
# rr.without_network().
WITHOUT_NETWORK = (sys.executable, '-B', os.path.abspath(__file__), 'run')


class Namespace:
    """The caller's side.

    @taps: the descriptors of the taps.  Tap N is on the networks 10.2.N.0/24
        and fd00:N::/64, in which the namespace has the address 1.
    """

    def __init__(self, taps, vnet_hdr=True, queues=1):
        ours, theirs = socket.socketpair()
        with ours, theirs, subprocess.Popen(
                [sys.executable, '-B', os.path.abspath(__file__),
                 str(theirs.fileno()), str(taps), str(int(vnet_hdr)),
                 str(queues)],
                stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]):
            theirs.close()
            text, fds, _, _ = socket.recv_fds(ours, 65536, 256)
        answer = json.loads(text or b'{"problem": "nothing was made"}')
        # why there is no namespace; None if there is one
        self.problem = answer.get('problem')
        self.taps = tuple(fds[:taps * queues])
        self.socks = [socket.socket(fileno=fd) for fd in fds[taps * queues:]]

    def take(self, family, kind):
        """A socket in the namespace that is neither bound nor connected."""
        for sock in self.socks:
            if (sock.family, sock.type) == (family, kind):
                self.socks.remove(sock)
                return sock
        raise AssertionError(f'a test has only {SOCKETS} sockets')

    def listener(self):
        """A socket that listens on all addresses of IPv4 and IPv6."""
        sock = self.take(socket.AF_INET6, socket.SOCK_STREAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(('::', 0))
        sock.listen()
        return sock

    def close(self):
        for fd in self.taps:
            os.close(fd)
        for sock in self.socks:
            sock.close()
        self.taps = ()
        self.socks = []


LIBC = ctypes.CDLL(None, use_errno=True)


def enter(more=0):
    """Move this process into a new network namespace, and into those that
    @more flags name.
    """
    for flags in (CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET):
        if LIBC.unshare(flags | more) == 0:
            return
    number = ctypes.get_errno()
    raise OSError(number, 'no network namespace: ' + os.strerror(number))


def hide(folder):
    """Put an empty folder over @folder, in this mount namespace."""
    for arguments in ((None, b'/', None, MS_REC | MS_PRIVATE, None),
                      (b'none', folder.encode(), b'tmpfs', 0, None)):
        if LIBC.mount(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)


def run(command):
    """Execute @command where there is no network."""
    try:
        enter(CLONE_NEWNS | CLONE_NEWUTS)
        socket.sethostname('elsewhere')
        if os.path.exists('/dev/net'):
            hide('/dev/net')
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(STATUS_CANNOT)
    os.execvp(command[0], command)


def request_of(name, more=b''):
    return struct.pack('16s24s', name.encode(), more)


def address_of(text):
    return struct.pack('HH4s', socket.AF_INET, 0, socket.inet_aton(text))


def make_tap(number, flags, queues):
    """Make a tap that is up and has its addresses.  Returns the descriptors
    of its queues.
    """
    name = f'tap{number}'
    fds = []
    for _ in range(queues):
        fds.append(os.open('/dev/net/tun', os.O_RDWR))
        fcntl.ioctl(fds[-1], TUNSETIFF,
                    request_of(name, struct.pack('H', flags)))
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFADDR,
                    request_of(name, address_of(f'10.2.{number}.1')))
        fcntl.ioctl(sock, SIOCSIFNETMASK,
                    request_of(name, address_of('255.255.255.0')))
        fcntl.ioctl(sock, SIOCSIFFLAGS,
                    request_of(name, struct.pack('H', IFF_UP)))
        index = array.array('B', request_of(name))
        fcntl.ioctl(sock, SIOCGIFINDEX, index)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFADDR, struct.pack(
            '16sIi', socket.inet_pton(socket.AF_INET6, f'fd00:{number}::1'),
            64, struct.unpack_from('i', index, 16)[0]))
    return fds


def main():
    if sys.argv[1] == 'run':
        run(sys.argv[2:])
    back_fd, taps, vnet_hdr, queues = map(int, sys.argv[1:])
    flags = IFF_TAP | IFF_NO_PI
    flags |= IFF_VNET_HDR if vnet_hdr else 0
    flags |= IFF_MULTI_QUEUE if queues > 1 else 0
    answer, fds = {}, []
    try:
        enter()
        for number in range(taps):
            fds += make_tap(number, flags, queues)
        for family in (socket.AF_INET, socket.AF_INET6):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                fds += [socket.socket(family, kind).detach()
                        for _ in range(SOCKETS)]
    except OSError as error:
        answer, fds = {'problem': str(error)}, []
    with socket.socket(fileno=back_fd) as back:
        socket.send_fds(back, [json.dumps(answer).encode()], fds)


if __name__ == '__main__':
    main()
