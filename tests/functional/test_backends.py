# SPDX-License-Identifier: GPL-2.0-or-later
"""All back ends, and all kinds of traffic.

    guest                         QEMU                          this test
    +------------------+          +------------------------+    +------------+
    | reflect: sends   |- eth0 ---| filter - socket        |----| Station:   |
    | back the frames  |- eth1 ---| filter - stream, dgram |----| Ethernet   |
    | and datagrams    |          +------------------------+    | in Python  |
    | that it gets     |- eth2 ---| filter - slirp         |----| UDP client |
    |                  |          +------------------------+    +------------+
    | wget, httpd      |- eth3 ---| filter - tap           |----| a network  |
    +------------------+          +------------------------+    | namespace  |
                                                                +------------+

Each recording is replayed by the same command line where there is no network,
and without the descriptors of sockets and taps that the command line names.
"""

import concurrent.futures
import dataclasses
import hashlib
import http.client
import random
import socket

import faults
import measure
import messages
import peer
import rr
import test_snapshots
from namespace import Namespace

FILE = rr.Payload(2_000_000)


def lasting(test, thing):
    """@thing, which the end of @test closes."""
    test.closing.append(thing)
    return thing


def data_of(seed, sizes, first=1):
    """Messages of these @sizes, by number."""
    source = random.Random(seed)
    return {number: source.randbytes(size)
            for number, size in enumerate(sizes, first)}


# --- frames of all kinds ----------------------------------------------------

# What precedes the data of a message in a frame, and in an IP packet.
FRAME_HEAD = peer.ETHERNET.size + peer.HEAD.size
DATAGRAM_HEAD = peer.IPV4.size + peer.UDP.size + peer.HEAD.size
FRAME_SIZES = (20, 21, 42, 59, 60, 61, 64, 65, 128, 1024, 1513, 1514)
JUMBO_SIZES = (1515, 1518, 1522, 2047, 2048, 2049, 4095, 4096, 4097, 4110,
               8191, 8192, 8193, 9013, 9014)
ODD_SIZES = (1, 13, 1515, 1600, 4000, 9018, 20000, 65000)
# By MTU: about as many frames as the buffer of a UDP socket can hold.
BURST = {1500: 60, 9000: 20}
# With or without a recording, QEMU's models of these NICs stop receiving for
# good after a frame that is too short or too long for Ethernet.
DELICATE = {'ne2k_pci', 'pcnet', 'tulip'}
# These NICs lose no frame only if so few are sent at once.
AT_ONCE = {'ne2k_pci': 3, 'pcnet': 10}


class Conversation:
    """The messages that a station sends to the guest, and that reflect keeps.

    @frames, @datagrams: data by number.  One reflect receives the datagrams of
        all stations, so that each station needs other numbers for them.
    """

    def __init__(self, station, model, mtu):
        self.station = station
        self.model = model
        self.mtu = mtu
        self.frames = {}
        self.datagrams = {}

    def say_frames(self, sizes, to=None):
        step = AT_ONCE.get(self.model, len(sizes))
        for start in range(0, len(sizes), step):
            new = data_of(1, (size - FRAME_HEAD for size
                              in sizes[start:start + step]),
                          len(self.frames) + 1)
            self.station.frames(new, to)
            self.frames.update(new)

    def say_datagrams(self, sizes, to=None, to_mac=None):
        number = 1000 * self.station.address[2] + len(self.datagrams) + 1
        new = data_of(2, (size - DATAGRAM_HEAD for size in sizes), number)
        self.station.datagrams(new, to and socket.inet_aton(to), to_mac)
        self.datagrams.update(new)

    def hold(self):
        station, source = self.station, random.Random(3)
        network = f'10.1.{station.address[2]}'
        station.resolve()
        station.ping(0, 1, 17, 18, 19, 56, 1472, self.mtu - 28)
        for size in (14, 15, 19):
            station.tiny_frame(size)
        self.say_frames(FRAME_SIZES)
        if self.mtu > 1500:
            self.say_frames(JUMBO_SIZES)
        self.say_frames((60, 1514), peer.BROADCAST)
        self.say_frames((60, 1514), peer.FRAME_GROUP)
        self.say_datagrams((34, 60, 1500, self.mtu))
        self.say_datagrams((60, self.mtu), '255.255.255.255', peer.BROADCAST)
        self.say_datagrams((60, self.mtu), network + '.255', peer.BROADCAST)
        self.say_datagrams((60, self.mtu), peer.DATAGRAM_GROUP,
                           peer.FRAME_GROUP)
        # No answer can be expected to frames with another destination, and to
        # those of odd sizes.
        for to in (b'\x02other', b'\x01other'):
            station.send(station.frame(peer.TYPE_FRAME, bytes(100), to))
        for size in () if self.model in DELICATE else ODD_SIZES:
            frame = station.frame(peer.TYPE_FRAME, bytes(size))
            station.send(frame[:size])
            self.say_frames((600,))
        self.say_frames([source.randint(FRAME_HEAD, self.mtu + 14)
                         for _ in range(BURST[self.mtu])])
        station.frames({peer.END: b''})


def conversing_machine(links, models, mtu=1500, filters=None):
    steps = []
    for number in range(len(links)):
        if mtu != 1500:
            steps.append(f'mtu,eth{number},{mtu}')
        steps.append(f'bg,static,eth{number},10.1.{number}.15/24')
    steps.append('join')
    interfaces = [f'eth{number}' for number in range(len(links))]
    steps += [f'bg,reflect,frames,{name}' for name in interfaces]
    steps += [','.join(('reflect', 'udp', str(peer.REFLECT_PORT),
                        peer.DATAGRAM_GROUP, *interfaces)), 'join']
    return rr.Machine(
        nics=tuple(link.nic(model, number) for number, (link, model)
                   in enumerate(zip(links, models))),
        steps=tuple(steps), filters=filters)


def descriptors(links):
    return [fd for link in links for fd in link.fds]


def check_kept(run, where, messages):
    """Check that the guest has received @messages."""
    rr.check(f'reflect: {where} {peer.kept(messages)}'.encode()
             in run.console(),
             f'{run}: {where} has not {peer.kept(messages)}')


def record_conversations(test, machine, links, mtu=1500):
    """Record the guest while it converses with a station on each link."""
    run = test.run(machine, 'record', fds=descriptors(links))
    for number in range(len(links)):
        run.wait_line(f'reflect: eth{number} ready')
    run.wait_line(f'reflect: {peer.REFLECT_PORT} ready')
    conversations = [
        Conversation(lasting(test, peer.Station(link.wire(), number)),
                     machine.nics[number].model, mtu)
        for number, link in enumerate(links)]
    with concurrent.futures.ThreadPoolExecutor(len(links)) as pool:
        for held in [pool.submit(c.hold) for c in conversations]:
            held.result()
    conversations[0].station.datagrams({peer.END: b''})
    run.finish()
    everything = {}
    for number, conversation in enumerate(conversations):
        conversation.station.close()
        everything.update(conversation.datagrams)
        check_kept(run, f'eth{number}', conversation.frames)
    check_kept(run, peer.REFLECT_PORT, everything)
    for link in links:
        link.heard()
    return run


def replay_in_silence(test, machine, links, **options):
    """Replay with the same command line, but without the links and without a
    network, and check that QEMU sends nothing.
    """
    replayed = test.replay(machine, wrapper=rr.without_network(), **options)
    for link in links:
        count = link.heard()
        rr.check(count == 0, f'the replay has sent {count} bytes to '
                 f'{link.backend},{link.options}')
    return replayed


def all_kinds(test, links, models, mtu=1500, filters=None):
    links = [lasting(test, link()) for link in links]
    machine = conversing_machine(links, models, mtu, filters)

    recorded = record_conversations(test, machine, links, mtu)
    replayed = replay_in_silence(test, machine, links)

    test.compare(recorded, replayed)


@rr.scenario('backends/streams/replay-identically')
def streams(test):
    """The netdevs are of the types socket and stream, as clients and servers.

    Through each the guest receives frames of all kinds, from one byte to more
    than Ethernet allows: unicast, broadcast, multicast, for another station,
    alone and in bursts.  It sends their content back.
    """
    all_kinds(test,
              (peer.SocketConnect, peer.SocketListen, peer.StreamUnixClient,
               peer.StreamInetServer),
              ('e1000', 'virtio-net-pci', 'rtl8139', 'pcnet'))


@rr.scenario('backends/datagrams/replay-identically')
def datagrams(test):
    """The netdevs are of the types socket and dgram, and send datagrams.

    The same frames as in backends/streams are sent.  The command line has no
    filters: QEMU adds them.
    """
    all_kinds(test,
              (peer.SocketUdp, peer.DgramInet, peer.DgramUnix, peer.DgramFd),
              ('e1000e', 'ne2k_pci', 'vmxnet3', 'tulip'), filters=())


@rr.scenario('backends/jumbo-frames/replay-identically')
def jumbo_frames(test):
    """The NICs have an MTU of 9000, and jumbo frames are sent, too."""
    all_kinds(test,
              (peer.StreamInetClient, peer.DgramUnix, peer.SocketUdp,
               peer.StreamUnixServer),
              ('virtio-net-pci', 'e1000', 'e1000e', 'vmxnet3'), mtu=9000)


@rr.scenario('backends/replayed-with-others/replay-identically')
def replayed_with_others(test):
    """The recording is made with socket and stream, and replayed with the
    options of slirp and of dgram: a replay does not look at them.
    """
    models = ('virtio-net-pci', 'i82559er')
    links = [lasting(test, link())
             for link in (peer.SocketListen, peer.StreamUnixClient)]
    machine = conversing_machine(links, models)
    user = dataclasses.replace(machine, nics=tuple(
        dataclasses.replace(nic, backend='user', netdev_options='restrict=on')
        for nic in machine.nics))
    others = [lasting(test, link())
              for link in (peer.DgramInet, peer.DgramUnix)]

    recorded = record_conversations(test, machine, links)
    with_user = test.replay(user, name='with-user')
    with_dgram = replay_in_silence(test, conversing_machine(others, models),
                                   others, name='with-dgram')

    test.compare(recorded, with_user)
    test.compare(recorded, with_dgram)


# --- slirp ------------------------------------------------------------------

@rr.scenario('slirp/inbound-udp/replays-identically')
def inbound_udp(test):
    """The test sends datagrams through a forwarded port, and the guest
    answers: small datagrams, large ones in fragments, and many at once.
    """
    port = peer.datagram_port()
    machine = rr.Machine(
        nics=(rr.Nic('virtio-net-pci', netdev_options=(
            f'hostfwd=udp:127.0.0.1:{port}-:{peer.REFLECT_PORT}')),),
        steps=('static,eth0,10.0.2.15/24,10.0.2.2',
               f'reflect,udp,{peer.REFLECT_PORT}'))
    single = data_of(1, (0, 1, 100, 1466, 1467, 4000, 8000))
    burst = data_of(2, [500] * 60, first=len(single) + 1)

    run = test.run(machine, 'record')
    run.wait_line(f'reflect: {peer.REFLECT_PORT} ready')
    caller = lasting(test, peer.Caller(peer.DatagramWire(
        lasting(test, socket.socket(type=socket.SOCK_DGRAM)),
        ('127.0.0.1', port))))
    for number, data in single.items():
        caller.talk({number: data})
    caller.talk(burst)
    caller.end()
    recorded = run.finish()
    caller.close()
    check_kept(recorded, peer.REFLECT_PORT, single | burst)
    replayed = test.replay(machine)

    test.compare(recorded, replayed)


@rr.scenario('slirp/guestfwd/replays-identically')
def guestfwd(test):
    """The guest downloads through a character device of slirp's.  In the
    replay this device sends nothing.
    """
    server = test.server(FILE)
    machine = rr.Machine(
        nics=(rr.Nic('e1000', netdev_options=(
            f'guestfwd=tcp:10.0.2.100:80-tcp:127.0.0.1:{server.port}')),),
        steps=('dhcp,eth0', f'get,http://10.0.2.100{FILE.path()}'))

    recorded = test.record(machine)
    rr.check_downloads(recorded, FILE)
    server.stop()
    replayed = test.replay(machine)

    test.compare(recorded, replayed)


@rr.scenario('slirp/ipv6/replays-identically')
def ipv6(test):
    """The guest gets an address from a router advertisement, downloads through
    IPv6, and pings its router.
    """
    try:
        listener = socket.create_server(('::1', 0), family=socket.AF_INET6)
    except OSError as error:
        raise rr.Skip(f'IPv6 on loopback ({error})') from None
    server = test.server(FILE, listener=listener)
    machine = rr.Machine(
        nics=(rr.Nic('e1000e'),),
        steps=('inet6,eth0', 'get,' + server.url(FILE, host='[fec0::2]'),
               'ping,fec0::2,3'))

    recorded = test.record(machine)
    rr.check_downloads(recorded, FILE)
    rr.check(b'inet6: fec0::' in recorded.console(),
             'the guest has no address of slirp\'s prefix')
    server.stop()
    replayed = test.replay(machine)

    test.compare(recorded, replayed, server)


# --- hubs -------------------------------------------------------------------

def on_a_hub(test, extra, nics, filters):
    """Two NICs and slirp are on a hub, which delivers each packet to all
    other ports.

    Both NICs get an address by DHCP, one of them downloads, and the guest
    pings slirp.
    """
    server = test.server(FILE)
    machine = rr.Machine(
        nics=nics, filters=filters,
        steps=('dhcp,eth0', 'dhcp,eth1', 'get,' + server.url(FILE),
               'ping,10.0.2.2,2'))

    recorded = test.record(machine, extra=extra)
    rr.check_downloads(recorded, FILE)
    for nic in rr.traffic(recorded):
        rr.check(nic['rx_packets'] > 0, f'{nic["interface"]} heard nothing')
    server.stop()
    replayed = test.replay(machine, extra=extra, wrapper=rr.without_network())

    test.compare(recorded, replayed, server)


# slirp with a filter, on a port of the hub.
SLIRP_WITH_FILTER = ('-netdev', 'user,id=u0',
                     '-netdev', 'hubport,id=p0,hubid=0,netdev=u0',
                     '-object', 'filter-replay,id=f0,netdev=u0')


def hub_nics(*models):
    """NICs, each on its own port of the hub."""
    return tuple(rr.Nic(model, f'p{number}', 'hubid=0', backend='hubport')
                 for number, model in enumerate(models, 1))


rr.register('hub/net-nic-net-user/replays-identically', on_a_hub,
            ('-net', 'nic,model=e1000', '-net', 'nic,model=rtl8139',
             '-net', 'user'), (), None)
rr.register('hub/filter-on-slirp/replays-identically', on_a_hub,
            SLIRP_WITH_FILTER, hub_nics('virtio-net-pci', 'pcnet'), ())


@rr.scenario('hub/filter-on-slirp-and-a-nic/replays-identically')
def hub_with_two_filters(test):
    """As in hub/filter-on-slirp, and the first NIC has a filter, too.

    In a replay no packet of the first NIC gets past this filter.  Therefore
    QEMU must give the other NIC a filter, which records them.
    """
    on_a_hub(test, SLIRP_WITH_FILTER, hub_nics('e1000', 'pcnet'), ('p1',))


# --- taps -------------------------------------------------------------------

def namespace(test, taps, **options):
    made = lasting(test, Namespace(taps, **options))
    if made.problem:
        raise rr.Skip(f'a tap in a network namespace ({made.problem})')
    return made


def tap_nics(models, space):
    return tuple(rr.Nic(model, f'n{number}', f'fd={fd}', backend='tap')
                 for number, (model, fd)
                 in enumerate(zip(models, space.taps)))


def visit(space, address, body):
    """Upload @body to the guest's server at @address, download a file from it,
    and end it.  Returns the answers, by path.
    """
    answers = {}
    for method, path, content in (('POST', '/cgi-bin/sum', body),
                                  ('GET', '/file', None),
                                  ('GET', '/cgi-bin/done', None)):
        connection = http.client.HTTPConnection(address)
        connection.sock = space.take(socket.AF_INET, socket.SOCK_STREAM)
        connection.sock.settimeout(rr.STEP_CEILING)
        connection.sock.connect((address, 80))
        connection.request(method, path, body=content)
        answers[path] = connection.getresponse().read()
        connection.close()
    return answers


def offloading_machine(models, space, server):
    steps = []
    for number in range(len(models)):
        steps += [f'static,eth{number},10.2.{number}.15/24',
                  'get,' + server.url(FILE, host=f'10.2.{number}.1')]
    steps += ['static,eth0,fd00:0::15/64', 'inet6,eth0',
              'get,' + server.url(FILE, host='[fd00:0::1]'),
              f'reflect,udp,{peer.REFLECT_PORT}', 'serve']
    return rr.Machine(nics=tap_nics(models, space), steps=tuple(steps))


# In this time the flood fills every queue between the test and the guest.
FLOOD_S = 1.5


def flooded(test, model):
    """The test sends more packets than the guest can receive.

    The netdev waits for the NIC, as it does without a recorder.  The recording
    has none of the packets that the host's kernel drops meanwhile, and the
    guest receives all packets that the recording has.

    Other NICs (rtl8139, vmxnet3) accept packets for which they have no room,
    and lose them.
    """
    host = lasting(test, measure.Peer())
    machine = host.machine(model)

    run = test.run(machine, 'record')
    run.wait_line('static: eth0')
    host.wait_answer(run)
    sent = host.flood(64, FLOOD_S)
    host.wait_answer(run)
    dropped = run.qmp.command('qom-get', path='/objects/f-n0',
                              property='dropped')
    recorded = run.finish()

    packets = sum(len(event.data) >= 64 for event in
                  faults.Recording(recorded.recording).of('async-net'))
    received = rr.traffic(recorded)[0]['rx_packets']
    rr.check(dropped == 0, f'{dropped} packets were dropped by the filter')
    rr.check(0 < packets < sent, f'{packets} packets of {sent} are recorded: '
             'there was no flood')
    # The guest has also received a few ARP requests, which are shorter.
    rr.check(packets <= received <= packets + 10,
             f'{packets} packets are recorded, and the guest got {received}')
    replayed = test.replay(machine)

    test.compare(recorded, replayed)
    test.note(f'{sent} packets sent, {packets} recorded')


rr.scenarios('dgram/{}/flood-waits-for-the-guest', flooded,
             'e1000', 'e1000e', 'virtio-net-pci')


@rr.scenario('tap/offloads/replays-identically')
def tap_offloads(test):
    """Host and guest exchange segments of up to 64 KiB, without checksums.
    Both send and receive, through TCP and UDP.

    The replay has no taps and no network.
    """
    models = ('virtio-net-pci', 'e1000e', 'vmxnet3')
    space = namespace(test, len(models))
    server = test.server(FILE, listener=space.listener())
    body = random.Random(3).randbytes(1_000_000)
    messages = data_of(1, (0, 1, 1000, 1466, 1467, 20000, 60000))
    machine = offloading_machine(models, space, server)

    run = test.run(machine, 'record', fds=space.taps)
    run.wait_line(f'reflect: {peer.REFLECT_PORT} ready')
    caller = lasting(test, peer.Caller(peer.DatagramWire(
        lasting(test, space.take(socket.AF_INET, socket.SOCK_DGRAM)),
        ('10.2.0.15', peer.REFLECT_PORT))))
    caller.talk(messages)
    caller.end()
    offered = run.wait_line(r'serve: ready, file ([0-9a-f]{64})').group(1)
    answers = visit(space, '10.2.0.15', body)
    recorded = run.finish()
    caller.close()

    rr.check_downloads(recorded, *[FILE] * (len(models) + 1))
    check_kept(recorded, peer.REFLECT_PORT, messages)
    rr.check(answers['/cgi-bin/sum'].decode().strip()
             == hashlib.sha256(body).hexdigest(),
             'the guest received another file than was sent')
    rr.check(hashlib.sha256(answers['/file']).hexdigest() == offered,
             'the client received another file than the guest has')
    for nic in rr.traffic(recorded):
        rr.check(nic['driver'] == 'e1000e'      # only checksums are offloaded
                 or nic['rx_bytes'] > 3000 * nic['rx_packets'],
                 f'{nic["interface"]} received no long segments: {nic}')
    server.stop()
    replayed = test.replay(machine, wrapper=rr.without_network())

    test.compare(recorded, replayed, server)


def downloading_machine(models, space, server):
    """A guest that downloads a file through each of its taps."""
    steps = []
    for number in range(len(models)):
        steps += [f'static,eth{number},10.2.{number}.15/24',
                  'get,' + server.url(FILE, host=f'10.2.{number}.1')]
    return rr.Machine(nics=tap_nics(models, space), steps=tuple(steps))


@rr.scenario('tap/no-virtio-header/replays-identically')
def tap_without_header(test):
    """The taps have no virtio header, so the host sends complete frames.  The
    NICs of the replay find no header either.
    """
    models = ('virtio-net-pci', 'e1000e')
    space = namespace(test, len(models), vnet_hdr=False)
    server = test.server(FILE, listener=space.listener())
    machine = downloading_machine(models, space, server)

    recorded = test.record(machine, fds=space.taps)
    rr.check_downloads(recorded, FILE, FILE)
    server.stop()
    replayed = test.replay(machine, wrapper=rr.without_network())

    test.compare(recorded, replayed, server)


@rr.scenario('tap/snapshot-with-header-in-use/replays-identically')
def tap_snapshot(test):
    """A replay saves a snapshot while the drivers of the NICs use the virtio
    header of taps.  Another replay begins there.  Neither has a tap.
    """
    models = ('virtio-net-pci', 'e1000e')
    space = namespace(test, len(models))
    server = test.server(FILE, listener=space.listener())
    machine = downloading_machine(models, space, server)
    extra = test_snapshots.image(test)

    recorded = test.record(machine, fds=space.taps, extra=extra)
    rr.check_downloads(recorded, FILE, FILE)
    server.stop()
    middle = next(event.icount for event
                  in faults.Recording(recorded.recording).of('async-net')
                  if len(event.data) > 3000)
    run = test.run(machine, 'replay', name='first', extra=(*extra, '-S'),
                   wrapper=rr.without_network())
    run.qmp.command('replay-break', icount=middle)
    run.qmp.command('cont')
    test_snapshots.wait_stop_at(run, middle)
    answer = test_snapshots.human(run, 'savevm middle')
    rr.check(not answer, f'{run}: savevm says {answer!r}')
    run.qmp.command('cont')
    first = run.finish()
    second = test.replay(machine, name='second', extra=extra,
                         icount='rrsnapshot=middle',
                         wrapper=rr.without_network())

    test.compare(recorded, first, server)
    rr.check(second.console()
             and recorded.console().endswith(second.console()),
             'the replay from the snapshot has written something else')


def refused(run, *texts):
    """Check that QEMU refuses to run, and prints all of @texts."""
    run.finish(status=1)
    for text in texts:
        rr.check(text in run.stderr(),
                 f'{run}: "{text}" is not in {run.stderr()!r}')


@rr.scenario('tap/two-queues/refused')
def two_queues(test):
    """The tap has two queues.  QEMU refuses to record, as no filter sees the
    packets of the second queue.
    """
    space = namespace(test, 1, queues=2)
    nic = rr.Nic('virtio-net-pci', netdev_options='fds=' + ':'.join(
        map(str, space.taps)), device_options='mq=on', backend='tap')

    run = test.run(rr.Machine(nics=(nic,), filters=()), 'record',
                   fds=space.taps)

    refused(run, messages.TWO_QUEUES, messages.NOT_RECORDABLE)
