# SPDX-License-Identifier: GPL-2.0-or-later
"""The other end of a guest's network cable, made of sockets.

A Link is the thing that a netdev of QEMU's is connected to.  A wire carries
whole packets over that connection.  Above it, a Talker converses with the
program reflect in the guest (tests/functional/guest/reflect.c), which sends
every message back: a Station sends Ethernet frames, a Caller datagrams.
"""

import hashlib
import os
import select
import shutil
import socket
import struct
import tempfile
import threading

import program
import rr

# A message is sent again after QUIET seconds without any answer, ATTEMPTS
# times at most: datagram sockets lose packets when their reader is slow.
QUIET = 3
ATTEMPTS = 10

BROADCAST = b'\xff' * 6
# The multicast group of which reflect is a member, as an Ethernet address and
# as an IPv4 address.
FRAME_GROUP = bytes.fromhex('01005e010203')
DATAGRAM_GROUP = '239.1.2.3'
REFLECT_PORT = 9000

ETHERNET = struct.Struct('!6s6sH')
ARP = struct.Struct('!HHBBH6s4s6s4s')
IPV4 = struct.Struct('!BBHHHBBH4s4s')
UDP = struct.Struct('!HHHH')
ICMP = struct.Struct('!BBHHH')
HEAD = struct.Struct('!IH')
TYPE_IPV4, TYPE_ARP, TYPE_FRAME = 0x0800, 0x0806, 0x88b5
# Bytes of the shortest frame on a cable, without its checksum.  A guest drops
# shorter ones, unless QEMU's NICs pad them.
FRAME_MIN = 60
QEMU_PADS = 'pads' in rr.bases.Base().source
END = 0xffffffff


def message(number, data):
    """A message, which reflect keeps as number @number and sends back."""
    return HEAD.pack(number, len(data)) + data


def unpack_message(packet):
    """The number and the data of a message that reflect has sent back."""
    if len(packet) < HEAD.size:
        return 0, b''
    number, size = HEAD.unpack_from(packet)
    return number, packet[HEAD.size:HEAD.size + size]


def checksum(data):
    """The checksum of the Internet protocols."""
    total = sum(struct.unpack(f'!{(len(data) + 1) // 2}H',
                              data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def kept(messages):
    """What the guest prints when reflect has kept @messages, by number."""
    data = b''.join(messages[number] for number in sorted(messages))
    return (f'received {len(data)} bytes, '
            f'sha256 {hashlib.sha256(data).hexdigest()}')


# --- wires: whole packets over a socket -------------------------------------

class StreamWire:
    """Carries packets over a stream; 32 bits with its length precede each."""

    def __init__(self, sock):
        self.sock = sock
        self.lock = threading.Lock()
        self.pending = b''

    def send(self, packet):
        with self.lock:
            self.sock.sendall(struct.pack('!I', len(packet)) + packet)

    def receive(self):
        """The packets that have arrived completely; None at the end of the
        stream.
        """
        got = self.sock.recv(1 << 18)
        if not got:
            return None
        self.pending += got
        packets = []
        while len(self.pending) >= 4:
            size, = struct.unpack_from('!I', self.pending)
            if len(self.pending) < 4 + size:
                break
            packets.append(self.pending[4:4 + size])
            self.pending = self.pending[4 + size:]
        return packets

    def close(self):
        self.sock.close()


class DatagramWire:
    """Carries packets as datagrams, to the address @to or to the peer of the
    connected socket.
    """

    def __init__(self, sock, to=None):
        self.sock = sock
        self.to = to

    def send(self, packet):
        if self.to is None:
            self.sock.send(packet)
        else:
            self.sock.sendto(packet, self.to)

    def receive(self):
        return [self.sock.recv(1 << 17)]

    def close(self):
        pass                    # the Link closes the socket


# --- links: the other ends of netdevs ---------------------------------------

class Link:
    """The other end of a netdev, which is made before QEMU starts.

    @backend: the netdev's type
    @options: its options, the same for record and replay
    @fds: file descriptors that QEMU has to inherit
    """
    backend = ''
    options = ''
    fds = ()

    def __init__(self):
        self.socks = []
        self.place = None

    def nic(self, model, number, **more):
        """A Nic whose netdev is connected to this link."""
        return rr.Nic(model, f'n{number}', backend=self.backend,
                      netdev_options=self.options, **more)

    def wire(self):
        """Connect to the running QEMU, and return the wire."""
        raise NotImplementedError

    def heard(self):
        """The number of bytes that QEMU has sent here and that no wire has
        read.

        Call this before a replay, too: it discards what the recorder has sent.
        """
        return 0

    def keep(self, sock):
        self.socks.append(sock)
        return sock

    def path(self, name):
        """The path of a file, short enough for the address of a socket."""
        if self.place is None:
            self.place = tempfile.mkdtemp(prefix='rr-')
            program.remove_at_end(self.place)
        return os.path.join(self.place, name)

    def close(self):
        for sock in self.socks:
            sock.close()
        if self.place is not None:
            shutil.rmtree(self.place)


def drain(sock):
    """Read all bytes that have arrived, and return their number."""
    count = 0
    while select.select([sock], [], [], 0)[0]:
        got = sock.recv(1 << 18)
        if not got:
            break
        count += len(got)
    return count


class Listening(Link):
    """QEMU is the client of a stream."""

    def __init__(self):
        super().__init__()
        self.listener = self.keep(self.listen())

    def listen(self):
        return socket.create_server(('127.0.0.1', 0))

    def port(self):
        return self.listener.getsockname()[1]

    def accept(self):
        self.listener.settimeout(rr.STEP_CEILING)
        return self.listener.accept()[0]

    def wire(self):
        return StreamWire(self.accept())

    def heard(self):
        count = 0
        while select.select([self.listener], [], [], 0)[0]:
            with self.accept() as sock:
                count += drain(sock)
        return count


class SocketConnect(Listening):
    backend = 'socket'

    def __init__(self):
        super().__init__()
        self.options = f'connect=127.0.0.1:{self.port()}'


class StreamInetClient(Listening):
    backend = 'stream'

    def __init__(self):
        super().__init__()
        self.options = ('server=off,addr.type=inet,addr.host=127.0.0.1,'
                        f'addr.port={self.port()}')


class StreamUnixClient(Listening):
    backend = 'stream'

    def listen(self):
        path = self.path('stream')
        self.options = f'server=off,addr.type=unix,addr.path={path}'
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sock.listen()
        return sock


class Connecting(Link):
    """QEMU is the server of a stream."""

    def address(self):
        raise NotImplementedError

    def wire(self):
        address = self.address()
        family = (socket.AF_INET if isinstance(address, tuple)
                  else socket.AF_UNIX)
        sock = socket.socket(family)
        sock.connect(address)
        return StreamWire(sock)


class SocketListen(Connecting):
    backend = 'socket'

    def __init__(self):
        super().__init__()
        self.port = rr.free_port()
        self.options = f'listen=127.0.0.1:{self.port}'

    def address(self):
        return '127.0.0.1', self.port


class StreamInetServer(SocketListen):
    backend = 'stream'

    def __init__(self):
        super().__init__()
        self.options = ('server=on,addr.type=inet,addr.host=127.0.0.1,'
                        f'addr.port={self.port}')


class StreamUnixServer(Connecting):
    backend = 'stream'

    def __init__(self):
        super().__init__()
        self.options = f'server=on,addr.type=unix,addr.path={self.address()}'

    def address(self):
        return self.path('stream')


class Datagrams(Link):
    """QEMU sends datagrams to a socket that exists from the start."""

    ours = None
    theirs = None

    def wire(self):
        return DatagramWire(self.ours, self.theirs)

    def heard(self):
        return drain(self.ours)


def datagram_port():
    """A UDP port of loopback that no process uses."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


class SocketUdp(Datagrams):
    backend = 'socket'

    def __init__(self):
        super().__init__()
        self.theirs = ('127.0.0.1', datagram_port())
        self.ours = self.keep(socket.socket(type=socket.SOCK_DGRAM))
        self.ours.bind(('127.0.0.1', 0))
        self.options = (f'udp=127.0.0.1:{self.ours.getsockname()[1]},'
                        f'localaddr=127.0.0.1:{self.theirs[1]}')


class DgramInet(SocketUdp):
    backend = 'dgram'

    def __init__(self):
        super().__init__()
        self.options = (
            'local.type=inet,local.host=127.0.0.1,'
            f'local.port={self.theirs[1]},'
            'remote.type=inet,remote.host=127.0.0.1,'
            f'remote.port={self.ours.getsockname()[1]}')


class DgramUnix(Datagrams):
    backend = 'dgram'

    def __init__(self):
        super().__init__()
        self.theirs = self.path('theirs')
        self.ours = self.keep(socket.socket(socket.AF_UNIX,
                                            socket.SOCK_DGRAM))
        self.ours.bind(self.path('ours'))
        self.options = (f'local.type=unix,local.path={self.theirs},'
                        f'remote.type=unix,remote.path={self.path("ours")}')


class DgramFd(Datagrams):
    backend = 'dgram'

    def __init__(self):
        super().__init__()
        self.ours, theirs = socket.socketpair(type=socket.SOCK_DGRAM)
        self.keep(self.ours)
        self.fds = (self.keep(theirs).fileno(),)
        self.options = f'local.type=fd,local.str={self.fds[0]}'


# --- talkers -----------------------------------------------------------------

class Talker:
    """Sends messages over @wire, and has a thread that collects the answers.

    @answers: the answers, by key
    @gone: the guest's end of the wire is closed
    @news: guards both, and is notified when one of them changes
    """

    def __init__(self, wire):
        self.wire = wire
        wire.sock.settimeout(rr.STEP_CEILING)
        self.answers = {}
        self.gone = False
        self.news = threading.Condition()
        self.closing = False
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        while not self.closing:
            try:
                if not select.select([self.wire.sock], [], [], rr.POLL)[0]:
                    continue
                packets = self.wire.receive()
            except ConnectionError:
                continue
            if packets is None:
                with self.news:
                    self.gone = True
                    self.news.notify_all()
                return
            for packet in packets:
                for key, answer in self.unpack(packet):
                    with self.news:
                        self.answers[key] = answer
                        self.news.notify_all()

    def unpack(self, packet):
        """Yield the (key, answer) in @packet, if it has one."""
        raise NotImplementedError

    def send(self, packet):
        try:
            self.wire.send(packet)
        except OSError as error:
            raise rr.Failure(f'QEMU accepts no packets: {error}') from None

    def ask(self, requests):
        """Send all @requests, each a (key, packet, answer), and check the
        answers.

        A request without an answer is sent again, up to ATTEMPTS times in all.
        """
        expected = {key: answer for key, _, answer in requests}
        packets = {key: packet for key, packet, _ in requests}
        with self.news:
            for key in expected:
                self.answers.pop(key, None)
        for _ in range(ATTEMPTS):
            for packet in packets.values():
                self.send(packet)
            with self.news:
                heard = True
                while heard and not self.gone and not all(
                        key in self.answers for key in packets):
                    heard = self.news.wait(QUIET)
                packets = {key: packet for key, packet in packets.items()
                           if key not in self.answers}
            if not packets or self.gone:
                break
        rr.check(not packets, f'the guest does not answer {list(packets)[:3]}'
                 f' and {len(packets)} in all')
        for key, answer in expected.items():
            rr.check(self.answers[key] == answer,
                     f'the answer to {key} is wrong')

    def close(self):
        self.closing = True
        self.thread.join()
        self.wire.close()


class Caller(Talker):
    """Talks to reflect with datagrams, through any network."""

    def unpack(self, packet):
        number, data = unpack_message(packet)
        if number:
            yield ('datagram', number), data

    def talk(self, messages):
        """Send @messages, data by number, and check that each comes back."""
        self.ask([(('datagram', number), message(number, data), data)
                  for number, data in messages.items()])

    def end(self):
        self.talk({END: b''})


class Station(Talker):
    """A station on an Ethernet whose only other station is the guest.

    The network is 10.1.@number.0/24; the station is .1 and the guest .15.
    """

    def __init__(self, wire, number):
        self.mac = bytes((2, 0, 0, 0, 1, number))
        self.address = bytes((10, 1, number, 1))
        self.guest = bytes((10, 1, number, 15))
        self.guest_mac = None
        super().__init__(wire)

    def frame(self, kind, payload, to=None):
        """An Ethernet frame, as long as the guest accepts it.  Messages, ARP and
        IPv4 know how long they are.
        """
        frame = ETHERNET.pack(to or self.guest_mac, self.mac, kind) + payload
        return frame if QEMU_PADS else frame.ljust(FRAME_MIN, b'\0')

    def arp(self, operation, to, address):
        return ARP.pack(1, TYPE_IPV4, 6, 4, operation, self.mac, self.address,
                        to, address)

    def packet(self, protocol, payload, to=None, to_mac=None):
        """An IPv4 packet in its frame."""
        to = to or self.guest
        size = IPV4.size + len(payload)
        head = IPV4.pack(0x45, 0, size, 0, 0, 64, protocol, 0, self.address,
                         to)
        head = IPV4.pack(0x45, 0, size, 0, 0, 64, protocol, checksum(head),
                         self.address, to)
        return self.frame(TYPE_IPV4, head + payload, to_mac)

    def datagram(self, payload, to=None, to_mac=None):
        to = to or self.guest
        size = UDP.size + len(payload)
        pseudo = self.address + to + struct.pack('!BBH', 0, 17, size)
        head = UDP.pack(REFLECT_PORT, REFLECT_PORT, size, 0)
        total = checksum(pseudo + head + payload) or 0xffff
        return self.packet(17, UDP.pack(REFLECT_PORT, REFLECT_PORT, size,
                                        total) + payload, to, to_mac)

    def echo(self, sequence, payload):
        head = ICMP.pack(8, 0, 0, 1, sequence)
        total = checksum(head + payload)
        return self.packet(1, ICMP.pack(8, 0, total, 1, sequence) + payload)

    # Packets from the guest.

    def unpack(self, packet):
        if len(packet) < ETHERNET.size:
            return
        to, source, kind = ETHERNET.unpack_from(packet)
        payload = packet[ETHERNET.size:]
        if kind == TYPE_ARP and len(payload) >= ARP.size:
            yield from self.unpack_arp(payload)
        elif kind == TYPE_IPV4 and to == self.mac:
            yield from self.unpack_packet(payload)
        elif kind == TYPE_FRAME and to == self.mac:
            number, data = unpack_message(payload)
            yield ('frame', number), (source, data)

    def unpack_arp(self, payload):
        *_, operation, mac, address, _, wanted = ARP.unpack_from(payload)
        if operation == 1 and wanted == self.address:
            try:
                self.wire.send(self.frame(TYPE_ARP, self.arp(2, mac, address),
                                          mac))
            except OSError:
                pass            # the next request to the guest will fail
        elif operation == 2 and address == self.guest:
            yield 'arp', mac

    def unpack_packet(self, payload):
        if len(payload) < IPV4.size or checksum(payload[:IPV4.size]):
            return
        fields = IPV4.unpack_from(payload)
        size, protocol = fields[2], fields[6]
        body = payload[IPV4.size:size]
        if protocol == 1 and body[0] == 0 and not checksum(body):
            yield ('echo', ICMP.unpack_from(body)[4]), body[ICMP.size:]
        elif protocol == 17:
            number, data = unpack_message(body[UDP.size:])
            yield ('datagram', number), data

    # Requests to the guest.

    def resolve(self):
        """Ask for the guest's MAC address, by a broadcast of ARP."""
        question = self.frame(TYPE_ARP, self.arp(1, bytes(6), self.guest),
                              BROADCAST)
        for _ in range(ATTEMPTS):
            self.send(question)
            with self.news:
                if self.news.wait_for(lambda: 'arp' in self.answers, QUIET):
                    self.guest_mac = self.answers['arp']
                    return
        raise rr.Failure('the guest does not answer ARP')

    def ping(self, *sizes):
        """Send ICMP echo requests with payloads of @sizes, all at once, and
        check the answers.
        """
        self.ask([(('echo', sequence), self.echo(sequence, payload), payload)
                  for sequence, payload in enumerate(
                      map(pattern, sizes), 1)])

    def frames(self, messages, to=None):
        """Send frames with @messages, data by number, and check that each
        comes back.
        """
        self.ask([(('frame', number),
                   self.frame(TYPE_FRAME, message(number, data), to),
                   (self.guest_mac, data))
                  for number, data in messages.items()])

    def tiny_frame(self, size):
        """Check that reflect sends back a frame that is too short for a
        message.
        """
        rr.check(size < ETHERNET.size + HEAD.size, 'a message would fit')
        frame = self.frame(TYPE_FRAME, bytes(size))
        self.ask([(('frame', 0), frame[:size] if QEMU_PADS else frame,
                   (self.guest_mac, b''))])

    def datagrams(self, messages, to=None, to_mac=None):
        self.ask([(('datagram', number),
                   self.datagram(message(number, data), to, to_mac), data)
                  for number, data in messages.items()])


def pattern(size):
    """@size bytes that are not all the same."""
    return bytes(number * 7 % 256 for number in range(size))
