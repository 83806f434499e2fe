# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of the machine that are made when its recording begins.

    guest - filter-replay - slirp        recording   <- the place in it, UUID
      |                                                      |
      +---- a qcow2 image that is no disk of the guest  ---> snapshots in it

A replay can begin at a snapshot, if that belongs to its recording.
"""

import os
import subprocess

import rr

MACHINE = rr.Machine(nics=(rr.Nic('virtio-net-pci'),),
                     steps=('dhcp,eth0', 'sleep,2', 'ping,10.0.2.2,2'))


def image(test):
    """Make the image that snapshots are kept in; return QEMU's arguments."""
    path = test.path('snapshots.qcow2')
    subprocess.run([os.path.join(os.path.dirname(rr.QEMU), 'qemu-img'),
                    'create', '-q', '-f', 'qcow2', path, '1M'], check=True)
    return ['-drive', f'if=none,id=snapshots,file={path}']


@rr.scenario('snapshot/at-start/replays-identically')
def at_start(test):
    """rrsnapshot= makes a snapshot before the guest runs, and replays it."""
    extra = image(test)
    recorded = test.record(MACHINE, extra=extra, icount='rrsnapshot=start')
    replayed = test.replay(MACHINE, extra=extra, icount='rrsnapshot=start')
    test.compare(recorded, replayed)


@rr.scenario('snapshot/of-another-recording/refused')
def of_another_recording(test):
    """A snapshot of one recording does not start the replay of another."""
    extra = image(test)
    test.record(MACHINE, name='one', recording='one', extra=extra,
                icount='rrsnapshot=one')
    test.record(MACHINE, name='two', recording='two', extra=extra,
                icount='rrsnapshot=two')
    mixed = test.run(MACHINE, 'replay', name='mixed', recording='two',
                     extra=extra, icount='rrsnapshot=one').finish(status=1)
    rr.check('made under another recording' in mixed.stderr(),
             f'{mixed} says {mixed.stderr()!r}')
    rr.check(not mixed.console(), f'{mixed}: the guest has run')
