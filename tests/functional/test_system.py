# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian that is installed on a disk, as a user has it.

    ssh, scp, HTTP client -- hostfwd of slirp -- NIC -- sshd, httpd - systemd
    (the test)                                               |
                                                        ext4 on the disk

The disk is that of scripts/system-image.  BIOS, GRUB, kernel and initramfs
come from it.  The test makes a key for SSH, and systemd takes it from the
machine's SMBIOS, so that the image needs no change.
"""

import hashlib
import json
import os
import random
import re
import shutil
import subprocess

import rr

# Seconds.  A run needs about 50 of CPU time, and more from an IDE disk, which
# the BIOS reads without DMA.
RUN_CEILING = 1500
COPIED = '/srv/www/copied'
COPIED_BYTES = 100_000

# These differ if anything in the guest was different.
WITNESS = ('cat /proc/uptime /proc/interrupts /proc/diskstats '
           '/proc/sys/kernel/random/uuid > /dev/console')

# @image: the path of the disk
DISKS = {
    'virtio': lambda image: ['-drive', f'file={image},if=virtio'],
    'hda': lambda image: ['-hda', image],
}


class System:
    """A PC with a disk and a NIC, and its client outside."""
    shift = 'auto'

    def __init__(self, test, disk):
        # QEMU locks an image that it may write to, and tests run side by side.
        self.image = test.path('disk.qcow2')
        shutil.copyfile(rr.SYSTEM, self.image)
        self.disk = disk(self.image)
        self.key = test.path('key')
        self.ssh_port, self.http_port = rr.free_port(), rr.free_port()
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '',
                        '-C', 'test', '-f', self.key], check=True)

    def arguments(self):
        public = rr.read(self.key + '.pub').decode().strip()
        return ['-display', 'none', '-m', '512', *self.disk,
                '-netdev', 'user,id=n0,'
                f'hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22,'
                f'hostfwd=tcp:127.0.0.1:{self.http_port}-:80',
                '-device', 'virtio-net-pci,netdev=n0',
                '-smbios', 'type=11,value=io.systemd.credential:'
                f'ssh.authorized_keys.root={public}']

    def client(self, program, port, *words):
        """Run ssh or scp until it has succeeded."""
        command = [program, '-F', '/dev/null', '-i', self.key, port,
                   str(self.ssh_port)]
        for option in ('BatchMode=yes', 'StrictHostKeyChecking=no',
                       'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR'):
            command += ['-o', option]
        try:
            done = subprocess.run([*command, *words], capture_output=True,
                                  stdin=subprocess.DEVNULL, check=False,
                                  timeout=rr.STEP_CEILING)
        except subprocess.TimeoutExpired as error:
            raise rr.Failure(f'{error}') from None
        rr.check(done.returncode == 0, f'{program} {words}: {done.stderr!r}')
        return done.stdout.decode()

    def ssh(self, words):
        return self.client('ssh', '-p', 'root@127.0.0.1', words)

    def scp(self, source, target):
        self.client('scp', '-P', source, target)


def overlay(test, run):
    """Keep the temporary overlay of a disk, which has no name on the host,
    for the time after QEMU has ended.  Return a path of it.
    """
    folder = f'/proc/{run.process.pid}/fd'
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if re.search(r'/vl\.\w+ \(deleted\)$', os.readlink(path)):
            # pylint: disable-next=consider-using-with
            file = open(path, 'rb')
            test.closing.append(file)
            return f'/proc/{os.getpid()}/fd/{file.fileno()}'
    raise rr.Failure(f'{run} has no temporary overlay')


def compared(image, one, other):
    """What qemu-img says of the content of two overlays of @image; None
    stands for the image itself.
    """
    disks = []
    for path in one, other:
        disk = {'driver': 'qcow2',
                'file': {'driver': 'file', 'filename': image}}
        if path:
            disk = {'driver': 'qcow2', 'backing': disk,
                    'file': {'driver': 'file', 'filename': path}}
        disks.append('json:' + json.dumps(disk))
    done = subprocess.run(
        [os.path.join(os.path.dirname(rr.QEMU), 'qemu-img'), 'compare',
         *disks], capture_output=True, check=False)
    return (done.stdout + done.stderr).decode().strip()


def replays_identically(test, kind):
    """A Debian boots with systemd, is logged into by SSH, gets a file and
    gives it back, serves it by HTTP from its disk, and is powered down.  In
    the replay, console and disk are the same, and the image stays as it is.
    """
    system = System(test, DISKS[kind])
    content = random.Random(1).randbytes(COPIED_BYTES)
    before = hashlib.sha256(rr.read(system.image)).digest()
    with open(test.path('sent'), 'wb') as f:
        f.write(content)

    recorded = test.run(system, 'record')
    recorded.wait_line('Reached target.*multi-user.target', RUN_CEILING)
    recorded_disk = overlay(test, recorded)
    failed = system.ssh('systemctl --failed --no-legend')
    rr.check(not failed, f'{recorded}: these units failed: {failed}')
    system.scp(test.path('sent'), f'root@127.0.0.1:{COPIED}')
    system.ssh('sync; echo 3 > /proc/sys/vm/drop_caches')
    served = rr.fetch(system.http_port, 'GET', '/' + os.path.basename(COPIED))
    system.scp(f'root@127.0.0.1:{COPIED}', test.path('received'))
    system.ssh(WITNESS)
    system.ssh('systemctl poweroff')
    recorded.finish(ceiling=RUN_CEILING)

    replayed = test.run(system, 'replay')
    next(replayed.lines())
    replayed_disk = overlay(test, replayed)
    replayed.finish(ceiling=RUN_CEILING)

    rr.check(served == content, 'HTTP served another file')
    rr.check(rr.read(test.path('received')) == content,
             'scp received another file')
    rr.check(b'reboot: Power down' in recorded.console(),
             f'{recorded} was not powered down')
    difference = rr.first_difference(recorded.console(), replayed.console())
    rr.check(difference is None, f'the replay differs: {difference}')
    said = compared(system.image, recorded_disk, replayed_disk)
    rr.check(said == 'Images are identical.', f'the disks: {said}')
    said = compared(system.image, recorded_disk, None)
    rr.check(said.startswith('Content mismatch'), f'disk and image: {said}')
    rr.check(hashlib.sha256(rr.read(system.image)).digest() == before,
             'the image has changed')
    test.note(f'record {recorded.seconds:.1f} s, '
              f'replay {replayed.seconds:.1f} s, '
              f'{os.path.getsize(recorded.recording)} bytes, '
              f'{len(recorded.console().splitlines())} lines')


for each in DISKS:
    rr.register(f'{each}/replays-identically', replays_identically, each,
                suite='system')
