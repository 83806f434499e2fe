# SPDX-License-Identifier: GPL-2.0-or-later
"""Replays on what could be another machine.

    the recorder                         the replay
    root, in the test's directory        another user, in another directory,
                                         with other names of all files
    slirp, a forwarded port, a server    no network, not even loopback, and no
                                         /dev/net/tun
    all CPUs, this time zone             one CPU, another time zone and language
    this host                            a host with another name

Other back ends than slirp and taps are replayed without a network in
test_backends.py.
"""

import dataclasses
import json
import os
import random
import shutil
import subprocess
import tempfile
import time

import messages
import rr
import test_backends

FILE = rr.Payload(1_000_000)
NOBODY = 65534


@dataclasses.dataclass(frozen=True)
class Moved(rr.Machine):
    """A machine whose files have other names.

    @moved: the new path of each file, by its old one; a file that is missing
        here has not moved
    """
    moved: dict = dataclasses.field(default_factory=dict)

    def arguments(self):
        return [self.moved.get(argument, argument)
                for argument in super().arguments()]


def move(machine, **options):
    fields = {field.name: getattr(machine, field.name)
              for field in dataclasses.fields(machine)}
    return Moved(**fields, **options)


class Elsewhere(rr.Scenario):
    """A workshop in a directory that belongs to another user."""

    def __init__(self, qemu):
        # pylint: disable-next=consider-using-with
        self.parent = tempfile.TemporaryDirectory(prefix='replay-')
        os.chmod(self.parent.name, 0o755)
        super().__init__(os.path.join(self.parent.name, 'there'), qemu)

    def bring(self, path, name):
        """Copy the file @path, under another @name."""
        return shutil.copy(path, self.path(name))

    def give_to(self, user):
        for name in '.', *os.listdir(self.place):
            os.chown(self.path(name), user, user)

    def close(self):
        super().close()
        self.parent.cleanup()


def as_somebody_else():
    """Words before a command that is to run on what could be another machine.
    """
    if os.geteuid() != 0:
        raise rr.Skip('root, to become another user')
    return (*rr.without_network(), 'setpriv', f'--reuid={NOBODY}',
            f'--regid={NOBODY}', '--clear-groups', '--no-new-privs', 'env',
            '-i', 'TZ=Asia/Kathmandu', 'LC_ALL=tr_TR.UTF-8',
            'PATH=/usr/bin:/bin', 'taskset', '-c', '0')


@rr.scenario('anywhere/another-user/replays-identically')
def another_user(test):
    """The guest downloads a file.  The replay is made in the way shown above.

    Neither the user nor the directory, the names of the files, the number of
    CPUs, the time zone and the language are part of what the guest sees.
    """
    wrapper = as_somebody_else()
    server = test.server(FILE)
    machine = rr.Machine(
        nics=(rr.Nic('virtio-net-pci', netdev_options=(
            f'hostfwd=tcp:127.0.0.1:{rr.free_port()}-:80')),),
        steps=('dhcp,eth0', 'get,' + server.url(FILE), 'ping,10.0.2.2,2'))
    there = Elsewhere(test.qemu)
    test.closing.append(there)

    recorded = test.record(machine)
    rr.check_downloads(recorded, FILE)
    server.stop()
    kernel = os.path.join(rr.GUEST, 'vmlinux')
    initrd = os.path.join(rr.GUEST, 'initrd.gz')
    moved = move(machine, moved={kernel: there.bring(kernel, 'a kernel'),
                                 initrd: there.bring(initrd, 'ramdisk')})
    there.bring(recorded.recording, 'theirs')
    there.give_to(NOBODY)
    replayed = there.replay(moved, recording='theirs', wrapper=wrapper)

    test.compare(recorded, replayed, server)


TOOL = os.path.join(os.path.dirname(rr.QEMU), 'qemu-replay')
QEMU_IMG = os.path.join(os.path.dirname(rr.QEMU), 'qemu-img')
DISK_BYTES = 2880 * 512


def execute(*words):
    """Run a program, which must succeed; return what it prints."""
    done = subprocess.run(words, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    rr.check(done.returncode == 0,
             f'{words}: status {done.returncode}, {done.stderr.decode()}')
    return done.stdout.decode()


class Printed:
    """A replay by the command that "qemu-replay unpack" prints."""

    def __init__(self, wrapper, command, folder):
        self.console_path = os.path.join(folder, 'output', 'serial0')
        started = time.monotonic()
        self.done = subprocess.run(
            [*wrapper, *command], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
            cwd='/', timeout=rr.RUN_CEILING)
        self.seconds = time.monotonic() - started
        rr.check(self.done.returncode == 0,
                 f'{self} ended with status {self.done.returncode}, '
                 f'{self.done.stderr.decode()}')
        rr.check(b'warning' not in self.done.stderr,
                 f'{self} says {self.done.stderr.decode()}')

    def __str__(self):
        return f'the printed command (console {self.console_path})'

    def console(self):
        return rr.read(self.console_path)


def make_disk(test):
    """A qcow2 image with a raw backing file; return its path."""
    with open(test.path('base.raw'), 'wb') as f:
        f.write(random.Random(1).randbytes(DISK_BYTES))
    execute(QEMU_IMG, 'create', '-q', '-f', 'qcow2', '-b', 'base.raw', '-F',
            'raw', test.path('top.qcow2'))
    return test.path('top.qcow2')


def replay_pack(test, recorded, wrapper, *options):
    """Pack the recording, and let another user unpack and replay it."""
    there = Elsewhere(test.qemu)
    test.closing.append(there)
    pack = there.path('a pack')
    execute(TOOL, 'pack', recorded.recording, pack)
    there.give_to(NOBODY)
    # what the recorder had is gone
    hidden = test.place + '.hidden'
    os.rename(test.place, hidden)
    try:
        unpacked = json.loads(execute(
            *wrapper, TOOL, 'unpack', *options, '--output=json', pack,
            there.path('here')))
        rr.check(unpacked['warnings'] == [], f'{unpacked["warnings"]}')
        return Printed(wrapper, unpacked['command'], there.path('here'))
    finally:
        os.rename(hidden, test.place)


@rr.scenario('anywhere/packed/replays-identically')
def packed(test):
    """The guest downloads a file and reads a disk, which is an overlay.  The
    recording is packed, and replayed as in another-user, with the command that
    unpack prints, from a folder that has nothing else.
    """
    wrapper = as_somebody_else()
    server = test.server(FILE)
    machine = rr.Machine(
        nics=(rr.Nic('virtio-net-pci', netdev_options=(
            f'hostfwd=tcp:127.0.0.1:{rr.free_port()}-:80')),),
        steps=('dhcp,eth0', 'get,' + server.url(FILE), 'disk,vda,virtio_blk'))

    recorded = test.record(machine, extra=(
        '-drive', f'file={make_disk(test)},if=virtio'))
    rr.check_downloads(recorded, FILE)
    server.stop()
    replayed = replay_pack(test, recorded, wrapper)

    test.compare(recorded, replayed, server)


@rr.scenario('anywhere/packed-tap/replays-identically')
def packed_tap(test):
    """The NICs use the virtio header and the offloads of taps.  In the pack a
    netdev of the type replay stands for each tap, and offers the same.
    """
    wrapper = as_somebody_else()
    models = ('virtio-net-pci', 'e1000e')
    space = test_backends.namespace(test, len(models))
    server = test.server(test_backends.FILE, listener=space.listener())
    machine = test_backends.downloading_machine(models, space, server)

    recorded = test.record(machine, fds=space.taps)
    rr.check_downloads(recorded, *[test_backends.FILE] * len(models))
    server.stop()
    replayed = replay_pack(test, recorded, wrapper)

    test.compare(recorded, replayed, server)


@rr.scenario('anywhere/packed-snapshot/replays-identically')
def packed_snapshot(test):
    """The recording begins with a snapshot in the overlay of a disk, and the
    pack has it.  unpack must be told to trust it.
    """
    wrapper = as_somebody_else()
    machine = rr.Machine(nics=(rr.Nic('e1000e'),), steps=('dhcp,eth0',))

    recorded = test.record(machine, icount='rrsnapshot=begin', extra=(
        '-drive', f'file={make_disk(test)},if=none,id=d0',
        '-drive', 'driver=blkreplay,if=virtio,image=d0,id=d1'))
    replayed = replay_pack(test, recorded, wrapper, '--trust-snapshot')

    test.compare(recorded, replayed)


@rr.scenario('anywhere/another-initrd/refused')
def another_initrd(test):
    """The initrd has changed since the recording.  QEMU names it, and refuses
    to replay before the guest runs.
    """
    machine = rr.Machine(nics=(rr.Nic('e1000'),))
    initrd = os.path.join(rr.GUEST, 'initrd.gz')
    changed = test.path('initrd')
    shutil.copy(initrd, changed)
    with open(changed, 'ab') as f:
        f.write(bytes(512))

    run = test.run(machine, 'record')
    run.qmp.command('quit')
    run.finish()
    replayed = test.run(move(machine, moved={initrd: changed}),
                        'replay').finish(status=1)

    for text in messages.OTHER_MACHINE, messages.OTHER_INITRD, changed:
        rr.check(text in replayed.stderr(),
                 f'{replayed}: "{text}" is not in {replayed.stderr()!r}')
    rr.check(not replayed.console(), f'{replayed}: the guest has run')
