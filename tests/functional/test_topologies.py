# SPDX-License-Identifier: GPL-2.0-or-later
"""Several NICs, connections from the outside, and no recording.

    guest                        QEMU                          this test
    +-------------------+        +------------------------+    +------------+
    | wget, httpd on 80 |- eth0 -| filter f-n0 - slirp n0 |----| HTTP       |
    |                   |        | 10.0.2.2               |    | server and |
    | wget              |- eth1 -| filter f-n1 - slirp n1 |----| client on  |
    +-------------------+        | 10.0.3.2               |    | 127.0.0.1  |
                                 +------------------------+    +------------+
"""

import dataclasses
import hashlib
import random
import struct

import rr

FIRST = rr.Payload(1_500_000, seed=1)
SECOND = rr.Payload(1_000_000, seed=2)


def two_nics(server, models=('e1000', 'rtl8139')):
    """A machine with two NICs that download at the same time."""
    return rr.Machine(
        nics=(rr.Nic(models[0], 'n0'),
              rr.Nic(models[1], 'n1', netdev_options='net=10.0.3.0/24')),
        steps=('dhcp,eth0', 'static,eth1,10.0.3.15/24',
               'bg,get,' + server.url(FIRST),
               'bg,get,' + server.url(SECOND, host='10.0.3.2'),
               'bg,ping,10.0.3.2,5', 'join'))


@rr.scenario('two-nics/download-at-once/replays-identically')
def two_nics_at_once(test):
    """Two NICs of different models download a file each, at the same time."""
    server = test.server(FIRST, SECOND)
    machine = two_nics(server)

    recorded = test.record(machine)
    rr.check_downloads(recorded, FIRST, SECOND)
    for nic in rr.traffic(recorded):
        rr.check(nic['rx_bytes'] > SECOND.size_bytes,
                 f'{nic["interface"]} did not carry its file')
    server.stop()
    replayed = test.replay(machine)

    test.compare(recorded, replayed, server)


@rr.scenario('two-nics/filters-in-another-order/replays-identically')
def filters_in_another_order(test):
    """The replay creates its two filters in the opposite order.

    Its netdev identifies an adapter: neither gets the packets of the other.
    """
    server = test.server(FIRST, SECOND)
    machine = two_nics(server)
    swapped = dataclasses.replace(machine, filters=('n1', 'n0'))

    recorded = test.record(machine)
    rr.check_downloads(recorded, FIRST, SECOND)
    server.stop()
    replayed = test.replay(swapped)

    test.compare(recorded, replayed, server)


@rr.scenario('two-nics/virtio-beside-e1000e/replays-identically')
def virtio_beside_e1000e(test):
    """A virtio NIC and a PCI Express NIC download at the same time."""
    server = test.server(FIRST, SECOND)
    machine = two_nics(server, ('virtio-net-pci', 'e1000e'))

    recorded = test.record(machine)
    rr.check_downloads(recorded, FIRST, SECOND)
    server.stop()
    replayed = test.replay(machine)

    test.compare(recorded, replayed, server)


def serving(model, port):
    return rr.Machine(
        nics=(rr.Nic(model,
                     netdev_options=f'hostfwd=tcp:127.0.0.1:{port}-:80'),),
        steps=('static,eth0,10.0.2.15/24,10.0.2.2', 'serve'))


def inbound(test, model):
    """The guest serves HTTP; the test downloads from it and uploads to it.

    Each side has received the bytes that the other has sent.  The replay needs
    no client.
    """
    machine = serving(model, rr.free_port())
    port = int(machine.nics[0].netdev_options.split(':')[2].split('-')[0])
    upload = random.Random(3).randbytes(1_000_000)
    digest = hashlib.sha256(upload).hexdigest()

    running = test.run(machine, 'record')
    offered = running.wait_line(r'serve: ready, file ([0-9a-f]{64})')
    page = rr.fetch(port, 'GET', '/file')
    answer = rr.fetch(port, 'POST', '/cgi-bin/sum', upload).decode().strip()
    rr.fetch(port, 'GET', '/cgi-bin/done')
    recorded = running.finish()

    rr.check(hashlib.sha256(page).hexdigest() == offered.group(1),
             'the client received another file than the guest has')
    rr.check(answer == digest, 'the guest received another file than was sent')
    replayed = test.replay(machine)
    test.compare(recorded, replayed)
    rr.check(f'sha256 {digest}'.encode() in replayed.console(),
             'the replayed guest received something else')


rr.register('inbound/e1000/replays-identically', inbound, 'e1000')
rr.register('inbound/virtio-net/replays-identically', inbound,
            'virtio-net-pci')


def frames(path):
    """The frames in a capture file of filter-dump."""
    content = rr.read(path)
    rr.check(len(content) >= 24, f'{path} is no capture')
    found, offset = [], 24
    while offset < len(content):
        stored, = struct.unpack_from('=8xI4x', content, offset)
        found.append(content[offset + 16:offset + 16 + stored])
        offset += 16 + stored
    return found


@rr.scenario('muted/guest-sends/nothing-leaves')
def nothing_leaves(test):
    """A capture between the filter and slirp has frames of the recorded
    guest, but none of the replayed one: the filter lets none out.
    """
    machine = rr.Machine(
        nics=(rr.Nic('e1000', device_options='mac=52:54:00:00:00:01'),),
        steps=('dhcp,eth0', 'ping,10.0.2.2,5'))
    sent = {}

    for mode in ('record', 'replay'):
        capture = test.path(mode + '.pcap')
        run = test.run(machine, mode, extra=(
            '-object', f'filter-dump,id=dump,netdev=n0,file={capture}'))
        run.finish()
        sent[mode] = sum(frame[6:12] == bytes.fromhex('525400000001')
                         for frame in frames(capture))

    rr.check(sent['record'] > 5, 'the capture has too few frames of the guest')
    rr.check(sent['replay'] == 0,
             f'the replay let {sent["replay"]} frames of the guest out')


@rr.scenario('no-recording/download/passes')
def passes_through(test):
    """QEMU runs without rr=.  A filter-replay lets all packets pass: the guest
    gets an address and a file.
    """
    server = test.server(FIRST)
    machine = rr.Machine(
        nics=(rr.Nic('e1000'),),
        steps=('dhcp,eth0', 'get,' + server.url(FIRST), 'ping,10.0.2.2,2'))

    run = test.run(machine, None).finish()

    rr.check_downloads(run, FIRST)
