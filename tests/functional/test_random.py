# SPDX-License-Identifier: GPL-2.0-or-later
"""Random numbers that the guest gets from the host."""

import re

import faults
import messages
import rr

FILE = rr.Payload(300_000)
BYTES = 4096


def machine(server):
    return rr.Machine(nics=(rr.Nic('e1000'),),
                      steps=('dhcp,eth0', f'bg,hwrng,{BYTES}',
                             'get,' + server.url(FILE), 'join',
                             f'hwrng,{BYTES}'))


def record_and_replay(test, extra, replay_extra=None):
    """Record and replay a download beside requests for random bytes, the
    replay with other arguments if they are given.
    """
    server = test.server(FILE)
    guest = machine(server)

    recorded = test.record(guest, extra=extra)
    sums = re.findall(rf'hwrng: {BYTES} bytes, sha256 (\w+)',
                      recorded.console().decode())
    rr.check(len(set(sums)) == 2, f'the guest has random bytes {sums}')
    server.stop()
    replayed = test.replay(guest, extra=replay_extra or extra)

    test.compare(recorded, replayed, server)


@rr.scenario('random/virtio-rng-with-rng-builtin/replays-identically')
def rng_builtin(test):
    """QEMU makes the random bytes itself."""
    record_and_replay(test, ('-device', 'virtio-rng-pci'))


@rr.scenario('random/virtio-rng-with-rng-random/replays-identically')
def rng_random(test):
    """QEMU reads the random bytes from a file of the host, which does not
    exist in the replay.
    """
    device = ('-device', 'virtio-rng-pci,rng=r0')
    record_and_replay(
        test,
        ('-object', 'rng-random,id=r0,filename=/dev/urandom', *device),
        ('-object', 'rng-random,id=r0,filename=/dev/none', *device))


@rr.scenario('random/virtio-rng-with-quota/replays-identically')
def rng_with_quota(test):
    """The device gives the guest few bytes at a time."""
    record_and_replay(test, (
        '-object', 'rng-random,id=r0,filename=/dev/urandom',
        '-device', 'virtio-rng-pci,rng=r0,max-bytes=1024,period=100'))


@rr.scenario('random/more-bytes-than-asked/reported')
def more_than_asked(test):
    """A hostile recording has more random bytes than the guest has room for."""
    guest = rr.Machine(nics=(rr.Nic('e1000'),), steps=(f'hwrng,{BYTES}',))
    extra = ('-object', 'rng-random,id=r0,filename=/dev/urandom',
             '-device', 'virtio-rng-pci,rng=r0')

    recorded = test.record(guest, extra=extra, recording='whole')
    event = faults.Recording(recorded.recording).first('async-rng')
    faults.run_tool(recorded.recording, test.path('recording'), 'resize',
                    event.number, 60000)
    replayed = test.run(guest, 'replay', extra=extra).finish(status=1)

    message = messages.RNG_BYTES.format(backend='r0', now=len(event.data),
                                        then=60000)
    rr.check(message in replayed.stderr(),
             f'the replay reports: {replayed.stderr()}')


@rr.scenario('random/vmgenid-auto/replays-identically')
def vmgenid_auto(test):
    """Each QEMU would choose another id, which Linux mixes into its random
    numbers.
    """
    server = test.server(FILE)
    guest = rr.Machine(nics=(rr.Nic('e1000'),),
                       steps=('dhcp,eth0', 'get,' + server.url(FILE)))
    extra = ('-device', 'vmgenid,guid=auto')

    recorded = test.record(guest, extra=extra)
    server.stop()
    replayed = test.replay(guest, extra=extra)

    test.compare(recorded, replayed, server)
