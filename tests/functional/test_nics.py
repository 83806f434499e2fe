# SPDX-License-Identifier: GPL-2.0-or-later
"""Each NIC model for which Linux has a driver, alone in its machine.

    guest                          QEMU                         this test
    +--------------------+         +-----------------------+    +-----------+
    | wget, ping, udhcpc |         |                       |    | HTTP      |
    | Linux's own driver |-- NIC --| filter-replay - slirp |----| server on |
    +--------------------+         | 10.0.2.2              |    | 127.0.0.1 |
                                   +-----------------------+    +-----------+
"""

import rr

FILE = rr.Payload(2_000_000)

# the NICs that only this QEMU has
ONLY_HERE = rr.bases.Base().source.get('nics', '').split()

NICS = {
    'virtio-net': rr.Nic('virtio-net-pci'),
    'virtio-net-timer': rr.Nic('virtio-net-pci', device_options='tx=timer'),
    'e1000': rr.Nic('e1000'),
    'e1000e': rr.Nic('e1000e'),
    'rtl8139': rr.Nic('rtl8139'),
    'pcnet': rr.Nic('pcnet'),
    'vmxnet3': rr.Nic('vmxnet3'),
    'ne2k': rr.Nic('ne2k_pci'),
    'tulip': rr.Nic('tulip'),
    'i82559er': rr.Nic('i82559er'),
    **{name: rr.Nic(name) for name in ONLY_HERE},
}


def replays_identically(test, nic, shift):
    """The guest gets an address by DHCP, downloads a file, and pings its
    gateway.

    The server stops before the replay.  The guest writes the same console all
    the same, with the same checksums, clocks and random numbers.
    """
    server = test.server(FILE)
    machine = rr.Machine(
        nics=(nic,), shift=shift,
        steps=('dhcp,eth0', 'get,' + server.url(FILE), 'ping,10.0.2.2,5'))

    recorded = test.record(machine)
    rr.check_downloads(recorded, FILE)
    server.stop()
    replayed = test.replay(machine)

    rr.check_downloads(replayed, FILE)
    test.compare(recorded, replayed, server)


for name, device in NICS.items():
    rr.register(f'{name}/download/replays-identically', replays_identically,
                device, 'auto')
for name in ('virtio-net', 'e1000'):
    rr.register(f'{name}/download-at-fixed-shift/replays-identically',
                replays_identically, NICS[name], '4')
