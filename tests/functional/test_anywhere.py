# SPDX-License-Identifier: GPL-2.0-or-later
"""Replays on what could be another machine.

    the recorder                         the replay
    root, in the test's directory        another user, in another directory,
                                         with other names of all files
    slirp, a forwarded port, a server    no network, not even loopback, and no
                                         /dev/net/tun
    all CPUs, this time zone             one CPU, another time zone and language

Other back ends than slirp are replayed without a network in test_backends.py.
"""

import dataclasses
import os
import shutil
import tempfile

import messages
import rr
from namespace import WITHOUT_NETWORK

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


@rr.scenario('anywhere/another-user/replays-identically')
def another_user(test):
    """The guest downloads a file.  The replay is made in the way shown above.

    Neither the user nor the directory, the names of the files, the number of
    CPUs, the time zone and the language are part of what the guest sees.
    """
    if os.geteuid() != 0:
        raise rr.Skip('root, to become another user')
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
    replayed = there.replay(moved, recording='theirs', wrapper=(
        *WITHOUT_NETWORK, 'setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}',
        '--clear-groups', '--no-new-privs', 'env', '-i', 'TZ=Asia/Kathmandu',
        'LC_ALL=tr_TR.UTF-8', 'PATH=/usr/bin:/bin', 'taskset', '-c', '0'))

    test.compare(recorded, replayed, server)


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
