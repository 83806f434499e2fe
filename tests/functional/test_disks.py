# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks as users give them, without a word about record and replay.

    guest - controller - blkreplay - temporary overlay - image
                         `--------- QEMU's work ------'

The guest reads the whole disk, writes to it, and reads it again.  A replay must
see the same, at the same instructions, and the image must stay as it was.
"""

import hashlib
import os
import random
import subprocess

import messages
import rr

SIZE = 2880 * 512                       # that of a floppy disk


class Disk:
    """A kind of disk.

    @arguments: QEMU's, with {image} in place of the image's path
    @step: what the guest does, after 'disk,'
    @name: what QEMU calls the disk; None if the guest cannot write to it
    """
    def __init__(self, arguments, step, name, image_format='qcow2'):
        self.arguments = arguments
        self.step = 'disk,' + step
        self.name = name
        self.image_format = image_format


SCSI = ['-drive', 'file={image},if=none,id=d0',
        '-device', 'scsi-hd,drive=d0']
DISKS = {
    'virtio': Disk(['-drive', 'file={image},if=virtio'],
                   'vda,virtio_blk', 'virtio0'),
    'hda': Disk(['-hda', '{image}'], 'sda,ata_piix,sd_mod', 'ide0-hd0'),
    'snapshot': Disk(['-snapshot', '-hda', '{image}'],
                     'sda,ata_piix,sd_mod', None),
    'cdrom': Disk(['-cdrom', '{image}'], 'sr0,ata_piix,sr_mod', None, 'raw'),
    'floppy': Disk(['-drive', 'file={image},if=floppy,format=raw'],
                   'fd0,floppy', 'floppy0', 'raw'),
    'ahci': Disk(['-drive', 'file={image},if=none,id=d0',
                  '-device', 'ahci,id=ahci', '-device',
                  'ide-hd,bus=ahci.0,drive=d0'], 'sda,ahci,sd_mod', 'd0'),
    'blockdev-nvme': Disk(
        ['-blockdev', 'driver=file,node-name=f0,filename={image}',
         '-blockdev', 'driver=qcow2,node-name=d0,file=f0',
         '-device', 'nvme,drive=d0,serial=1'], 'nvme0n1,nvme', 'd0'),
    'pvscsi': Disk(['-device', 'pvscsi', *SCSI],
                   'sda,vmw_pvscsi,sd_mod', 'd0'),
    'virtio-scsi': Disk(['-device', 'virtio-scsi-pci', *SCSI],
                        'sda,virtio_scsi,sd_mod', 'd0'),
}


def digest(path):
    return hashlib.sha256(rr.read(path)).hexdigest()


def make_image(test, image_format):
    """Make an image; return its path, and the SHA-256 of the disk."""
    raw, path = test.path('disk.raw'), test.path('disk.image')
    content = random.Random(1).randbytes(SIZE)
    with open(raw, 'wb') as f:
        f.write(content)
    subprocess.run([os.path.join(os.path.dirname(rr.QEMU), 'qemu-img'),
                    'convert', '-f', 'raw', '-O', image_format, raw, path],
                   check=True)
    return path, hashlib.sha256(content).hexdigest()


def replays_identically(test, kind):
    """The guest uses a disk that the user gives as always.  The replay is
    identical, and the image stays as it is.
    """
    disk = DISKS[kind]
    image, before = make_image(test, disk.image_format)
    file_before = digest(image)
    machine = rr.Machine(nics=(rr.Nic('virtio-net-pci'),),
                         steps=('dhcp,eth0', disk.step))
    extra = [argument.format(image=image) for argument in disk.arguments]

    recorded = test.record(machine, extra=extra)
    replayed = test.replay(machine, extra=extra)

    test.compare(recorded, replayed)
    rr.check(digest(image) == file_before, 'the image has changed')
    console = recorded.console().decode()
    rr.check(f'has {SIZE // 512} sectors, sha256 {before}' in console,
             f'{recorded}: the guest reads something else')
    for run in recorded, replayed:
        if disk.name:
            rr.check(f"'{disk.name}' {messages.DISK_IS_TEMPORARY}"
                     in run.stderr(), f'{run} says {run.stderr()!r}')
        else:
            rr.check(not run.stderr(), f'{run} says {run.stderr()!r}')


rr.scenarios('disk/{}/replays-identically', replays_identically, *DISKS)
