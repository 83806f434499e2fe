# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of the machine that QEMU makes when its recording begins.

    guest - filter-replay - slirp        recording   <- its UUID, and a place
      |                                                      |
      +---- a qcow2 image that is no disk of the guest  ---> its snapshots

A replay can begin at a snapshot that belongs to its recording.

Snapshots can also be saved while the guest works, in a recorder and in a
replay.  The guest of these tests reads and writes a disk while it downloads:

    HTTP server - slirp - filter-replay - guest - blkreplay - qcow2 image
                                                              with snapshots
"""

import os
import random
import subprocess
import typing

import faults
import messages
import rr
from test_nics import NICS, ONLY_HERE

MACHINE = rr.Machine(nics=(rr.Nic('virtio-net-pci'),),
                     steps=('dhcp,eth0', 'sleep,2', 'ping,10.0.2.2,2'))


def image(test):
    """Make the image for the snapshots; return QEMU's arguments for it."""
    path = test.path('snapshots.qcow2')
    subprocess.run([os.path.join(os.path.dirname(rr.QEMU), 'qemu-img'),
                    'create', '-q', '-f', 'qcow2', path, '1M'], check=True)
    return ['-drive', f'if=none,id=snapshots,file={path}']


@rr.scenario('snapshot/at-start/replays-identically')
def at_start(test):
    """rrsnapshot= makes a snapshot before the recorded guest runs.  The replay
    begins at this snapshot.
    """
    extra = image(test)
    recorded = test.record(MACHINE, extra=extra, icount='rrsnapshot=start')
    replayed = test.replay(MACHINE, extra=extra, icount='rrsnapshot=start')
    test.compare(recorded, replayed)


@rr.scenario('snapshot/of-another-recording/refused')
def of_another_recording(test):
    """rrsnapshot= names a snapshot of another recording.  QEMU refuses to
    replay.
    """
    extra = image(test)
    test.record(MACHINE, name='one', recording='one', extra=extra,
                icount='rrsnapshot=one')
    test.record(MACHINE, name='two', recording='two', extra=extra,
                icount='rrsnapshot=two')
    mixed = test.run(MACHINE, 'replay', name='mixed', recording='two',
                     extra=extra, icount='rrsnapshot=one').finish(status=1)
    rr.check(messages.SNAPSHOT_OF_ANOTHER in mixed.stderr(),
             f'{mixed} says {mixed.stderr()!r}')
    rr.check(not mixed.console(), f'{mixed}: the guest has run')


def human(run, line):
    return run.qmp.command('human-monitor-command', **{'command-line': line})


def wait_stop_at(run, icount):
    """Wait until a replay has stopped at @icount."""
    rr.wait_for(lambda: run.qmp.status() != 'running', 'breakpoint')
    now = run.qmp.command('query-replay')['icount']
    rr.check(now == icount, f'it has stopped at {now}, not {icount}')


@rr.scenario('snapshot/seek-back/replays-identically')
def seek_back(test):
    """A replay seeks back, loads the snapshot, stops at breakpoints on the
    way, seeks back again, and then runs to its end.
    """
    extra = image(test)
    recorded = test.record(MACHINE, extra=extra, icount='rrsnapshot=start')
    end = faults.Recording(recorded.recording).events[-1].icount

    run = test.run(MACHINE, 'replay', extra=(*extra, '-S'),
                   icount='rrsnapshot=start')
    run.qmp.command('replay-break', icount=end * 3 // 4)
    run.qmp.command('cont')
    wait_stop_at(run, end * 3 // 4)
    before = len(run.console())
    run.qmp.command('replay-seek', icount=end // 2)
    wait_stop_at(run, end // 2)
    run.qmp.command('replay-break', icount=end // 2 + 1000)
    passed = len(run.console())
    human(run, 'loadvm start')
    run.qmp.command('cont')
    wait_stop_at(run, end // 2 + 1000)
    from_start = run.console()[passed:]
    run.qmp.command('replay-break', icount=end * 3 // 4)
    passed = len(run.console())
    run.qmp.command('replay-seek', icount=end // 4)
    wait_stop_at(run, end // 4)
    run.qmp.command('cont')
    run.finish()
    to_end = run.console()[passed:]

    rr.check(before > 1000, f'the guest had written only {before} bytes')
    rr.check(len(from_start) > 1000
             and recorded.console().startswith(from_start),
             'behind the snapshot the guest has written something else')
    rr.check(len(to_end) > 1000 and recorded.console().endswith(to_end),
             'the last pass of the guest has written something else')
    rr.check(not run.stderr(), f'it says {run.stderr()!r}')


@rr.scenario('snapshot/load-while-recording/refused')
def load_while_recording(test):
    """The user loads a snapshot in a recorder.  QEMU refuses, and the
    recording is complete.
    """
    extra = image(test)
    run = test.run(MACHINE, 'record', extra=extra, icount='rrsnapshot=start')
    run.wait_line('dhcp: ')
    answer = human(run, 'loadvm start')
    run.qmp.command('cont')
    recorded = run.finish()

    rr.check(messages.SNAPSHOT_WHILE_RECORDING in answer,
             f'the answer is {answer!r}')
    test.compare(recorded, test.replay(MACHINE, extra=extra,
                                       icount='rrsnapshot=start'))


@rr.scenario('snapshot/load-of-another-recording/ends-the-replay')
def load_of_another(test):
    """The user loads a snapshot of another recording in a replay.  QEMU
    refuses; the machine, which is half loaded by then, cannot be continued.
    """
    extra = image(test)
    for name in 'one', 'two':
        test.record(MACHINE, name=name, recording=name, extra=extra,
                    icount=f'rrsnapshot={name}')
    run = test.run(MACHINE, 'replay', recording='two', extra=extra,
                   icount='rrsnapshot=two')
    run.wait_line('guest: Linux')
    uuid = run.qmp.command('query-replay')['uuid']
    answer = human(run, 'loadvm one')
    rr.check(messages.SNAPSHOT_OF_ANOTHER in answer,
             f'the answer is {answer!r}')
    rr.check(run.qmp.command('query-replay')['uuid'] == uuid,
             'the replay has another recording now')
    answer = human(run, 'cont')
    rr.check(messages.CANNOT_CONTINUE in answer, f'the answer is {answer!r}')
    run.qmp.command('quit')
    run.finish(status=1)


# --- Snapshots of a guest that is at work -----------------------------------

FILE = rr.Payload(2_000_000)
# The server pauses after each piece, so that the download takes 3 s or more.
PACE_S = 0.025
SNAPSHOTS = 12
DISK_BYTES = 16 << 20


class Disk(typing.NamedTuple):
    """A kind of disk: QEMU's device, and what the guest does."""
    device: str
    step: str


DISKS = {
    'virtio-blk': Disk('virtio-blk-pci', 'vda,virtio_blk'),
    'ide': Disk('ide-hd', 'sda,ata_piix,sd_mod'),
}


class Work:
    """A guest that downloads while it reads and writes a disk.

    @extra: QEMU's arguments for the disk, whose image holds the snapshots
    """
    def __init__(self, test, nic, disk):
        raw, self.image = test.path('disk.raw'), test.path('disk.qcow2')
        with open(raw, 'wb') as f:
            f.write(random.Random(1).randbytes(DISK_BYTES))
        subprocess.run([os.path.join(os.path.dirname(rr.QEMU), 'qemu-img'),
                        'convert', '-O', 'qcow2', raw, self.image], check=True)
        os.unlink(raw)
        self.test = test
        self.server = test.server(FILE, pace_s=PACE_S)
        self.machine = rr.Machine(
            nics=(nic,), steps=('dhcp,eth0', 'bg,disk,' + disk.step,
                                'get,' + self.server.url(FILE), 'join'))
        self.extra = self.arguments(self.image, disk)

    @staticmethod
    def arguments(path, disk):
        return ['-drive', f'if=none,id=image,file={path}',
                '-drive', 'if=none,id=d0,driver=blkreplay,image=image',
                '-device', f'{disk.device},drive=d0']

    def run(self, mode, name=None, snapshot='start', **options):
        options.setdefault('extra', self.extra)
        return self.test.run(self.machine, mode, name=name,
                             icount='rrsnapshot=' + snapshot, **options)

    def check_from(self, recorded, snapshot, **options):
        """Check that a replay from @snapshot is like the rest of @recorded."""
        replayed = self.run('replay', 'from-' + snapshot, snapshot,
                            **options).finish()
        rr.check(replayed.console()
                 and recorded.console().endswith(replayed.console()),
                 f'{replayed}: the replay differs')


def packets(run):
    return run.qmp.command('query-replay')['packets']


def save(run, name):
    answer = human(run, 'savevm ' + name)
    rr.check(not answer, f'savevm {name}: {answer!r}')


def save_often(run, prefix):
    """Save snapshots during the download, every other one while the machine is
    stopped.  Return their names.

    A replay does not wait for time to pass, and could end between two commands.
    So it always goes no further than to the place of the next snapshot.
    """
    names = [f'{prefix}{number}' for number in range(SNAPSHOTS)]
    places = [80 * (number + 1) for number in range(SNAPSHOTS)]
    if run.mode == 'replay':
        run.qmp.command('replay-break', packet=places[0])
    for number, (name, place) in enumerate(zip(names, places)):
        if run.mode == 'replay':
            rr.wait_for(lambda: run.qmp.status() == 'paused', name)
            if place != places[-1]:
                run.qmp.command('replay-break', packet=places[number + 1])
        else:
            rr.wait_for(lambda enough=place: packets(run) >= enough, name)
            run.qmp.command('stop')
        if number % 2 == 0:
            run.qmp.command('cont')
        save(run, name)
        if number % 2:
            run.qmp.command('cont')
    return names


def under_load(test, nic, disk, every):
    """Twelve snapshots are saved during the download, by the recorder and by a
    replay, running and stopped.  None is refused.  The replays from the
    beginning and from the snapshots are identical.
    """
    work = Work(test, nic, disk)
    run = work.run('record')
    names = save_often(run, 'recorder')
    recorded = run.finish()
    rr.check_downloads(recorded, FILE)
    work.server.stop()

    run = work.run('replay')
    names += save_often(run, 'replay')
    test.compare(recorded, run.finish(), work.server)
    for name in names[every - 1::every]:
        work.check_from(recorded, name)


# The replays of some pairs begin at every fourth of the 24 snapshots, the others
# at the last one of each run.
for nic_name, disk_name, step in (
        ('virtio-net', 'virtio-blk', 4), ('e1000', 'ide', 4),
        ('virtio-net-timer', 'ide', 12), ('e1000e', 'virtio-blk', 12),
        ('rtl8139', 'virtio-blk', 12), ('pcnet', 'ide', 12),
        ('vmxnet3', 'virtio-blk', 12), ('ne2k', 'ide', 12),
        ('tulip', 'virtio-blk', 12), ('i82559er', 'ide', 12),
        *((name, 'virtio-blk', 4) for name in ONLY_HERE)):
    rr.register(f'snapshot/{nic_name}-{disk_name}-under-load/'
                'replays-identically', under_load, NICS[nic_name],
                DISKS[disk_name], step)


BOTTOM_HALF = b'virtio_net_tx_bh'
IDE_REQUEST = b'ide_bus/replay'

def go_to(run, icount):
    run.qmp.command('replay-break', icount=icount)
    run.qmp.command('cont')
    wait_stop_at(run, icount)


def delete(run, name):
    answer = human(run, 'delvm ' + name)
    rr.check(not answer, f'delvm {name}: {answer!r}')


def save_at_work(work, run, recording):
    """Let a replay save snapshots where a bottom half waits, or a disk works on
    a request: before the events of these instructions happen.  Return the
    (icount, name) of each.
    """
    places = []
    for kind in 'async-block', 'async-bh':
        events = recording.of(kind)
        for number in 2, 3, 4:
            event = events[len(events) * number // 6]
            places.append((event.icount, f'{kind}-{number}'))
    places.sort()
    for icount, name in places:
        go_to(run, icount)
        save(run, name)
    held = rr.read(work.image).count(BOTTOM_HALF)
    rr.check(held >= 3, f'only {held} snapshots hold a bottom half')
    return places


def saved_while_waiting(test, disk):
    """A replay stops where a bottom half waits for its instruction, or a disk
    works on a request.  Snapshots that are saved, deleted and loaded there lose
    nothing, in this QEMU and in another one.
    """
    work = Work(test, NICS['virtio-net'], disk)
    recorded = work.run('record').finish()
    work.server.stop()

    run = work.run('replay', extra=(*work.extra, '-S'))
    places = save_at_work(work, run, faults.Recording(recorded.recording))
    save(run, 'last')
    delete(run, 'last')
    for icount, name in reversed(places):
        before = len(run.console())
        answer = human(run, f'loadvm {name}')
        rr.check(not answer, f'loadvm {name}: {answer!r}')
        now = run.qmp.command('query-replay')['icount']
        rr.check(now == icount, f'{name} is at {now}, not at {icount}')
        # Most of what was under way is still so when the next one is loaded.
        go_to(run, icount + 1000)
    run.qmp.command('cont')
    run.finish()
    rr.check(recorded.console().endswith(run.console()[before:]),
             f'{run}: the guest has written something else after loadvm')
    for _, name in places:
        work.check_from(recorded, name)


for disk_name in DISKS:
    rr.register(f'snapshot/{disk_name}-and-bottom-half-wait/'
                'replays-identically', saved_while_waiting, DISKS[disk_name])


def damage(test, image, number, marker, skip, data):
    """Copy @image and put @data behind each @marker, @skip bytes further on."""
    content = bytearray(rr.read(image))
    place = content.find(marker)
    rr.check(place >= 0, f'the image lacks {marker}')
    while place >= 0:
        start = place + len(marker) + skip
        content[start:start + len(data)] = data
        place = content.find(marker, place + 1)
    copy = test.path(f'damaged-{number}.qcow2')
    with open(copy, 'wb') as f:
        f.write(content)
    return copy


@rr.scenario('snapshot/with-damaged-work/refused')
def with_damaged_work(test):
    """A snapshot has a bottom half of a device or function that does not
    exist, or a request to a disk that was never made.  QEMU refuses it.
    """
    disk = DISKS['ide']
    work = Work(test, NICS['virtio-net'], disk)
    recorded = work.run('record').finish()
    work.server.stop()
    run = work.run('replay', extra=(*work.extra, '-S'))
    save_at_work(work, run, faults.Recording(recorded.recording))
    run.qmp.command('quit')
    run.finish()

    request, bottom_half = 'async-block-3', 'async-bh-3'
    for number, (snapshot, marker, skip, data, message) in enumerate((
            (bottom_half, BOTTOM_HALF, -4, b'\x1b[2J',
             messages.SNAPSHOT_BOTTOM_HALF),
            (bottom_half, BOTTOM_HALF, 0, b'\0\0\0\7',
             messages.SNAPSHOT_BOTTOM_HALF),
            (bottom_half, BOTTOM_HALF, -len(BOTTOM_HALF) - 2, b'\xff\xff',
             messages.SNAPSHOT_BOTTOM_HALF_NAME),
            (request, IDE_REQUEST, 4, b'\xff' * 8,
             messages.SNAPSHOT_REQUEST))):
        copy = damage(test, work.image, number, marker, skip, data)
        refused = work.run('replay', f'damaged-{number}', snapshot,
                           extra=work.arguments(copy, disk))
        refused.finish(status=1)
        rr.check(message in refused.stderr()
                 and '\x1b' not in refused.stderr(),
                 f'{refused} says {refused.stderr()!r}')
        rr.check(not refused.console(), f'{refused}: the guest has run')
