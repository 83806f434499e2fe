# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks as users give them, without a word about record and replay.

    guest - controller - blkreplay - temporary overlay - image
                         `--------- QEMU's work ------'

The guest reads the whole disk, writes to it, and reads it again.  A replay
must see the same, at the same instructions, and the image must stay as it was.
"""

import hashlib
import os
import random
import re
import socket
import subprocess

import faults
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
    'nvme-ioeventfd': Disk(
        ['-drive', 'file={image},if=none,id=d0',
         '-device', 'nvme,drive=d0,serial=1,ioeventfd=on'],
        'nvme0n1,nvme', 'd0'),
    'pvscsi': Disk(['-device', 'pvscsi', *SCSI],
                   'sda,vmw_pvscsi,sd_mod', 'd0'),
    'virtio-scsi': Disk(['-device', 'virtio-scsi-pci', *SCSI],
                        'sda,virtio_scsi,sd_mod', 'd0'),
    'uas': Disk(['-device', 'qemu-xhci', '-device', 'usb-uas,id=uas',
                 '-drive', 'file={image},if=none,id=d0',
                 '-device', 'scsi-hd,bus=uas.0,drive=d0'],
                'sda,xhci-pci,uas,sd_mod', 'd0'),
    'usb-storage': Disk(['-device', 'qemu-xhci',
                         '-drive', 'file={image},if=none,id=d0',
                         '-device', 'usb-storage,drive=d0'],
                        'sda,xhci-pci,usb-storage,sd_mod', 'd0'),
}


def digest(path):
    return hashlib.sha256(rr.read(path)).hexdigest()


def qemu_img(*arguments):
    """Run qemu-img, and return what it prints."""
    done = subprocess.run(
        [os.path.join(os.path.dirname(rr.QEMU), 'qemu-img'), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode().strip()


def convert(raw, path, image_format):
    """Make an image that has the content of the file @raw."""
    said = qemu_img('convert', '-f', 'raw', '-O', image_format, raw, path)
    rr.check(not said, f'qemu-img says {said!r}')


def make_image(test, image_format):
    """Make an image; return its path, and the SHA-256 of the disk."""
    raw, path = test.path('disk.raw'), test.path('disk.image')
    content = random.Random(1).randbytes(SIZE)
    with open(raw, 'wb') as f:
        f.write(content)
    convert(raw, path, image_format)
    return path, hashlib.sha256(content).hexdigest()


def make_file_system(test):
    """Make an image with an empty file system; return its path."""
    raw, path = test.path('disk.raw'), test.path('disk.image')
    with open(raw, 'wb') as f:
        f.truncate(SIZE)
    # a part of Debian's essential package util-linux
    subprocess.run(['/sbin/mkfs.minix', raw], check=True,
                   stdout=subprocess.DEVNULL)
    convert(raw, path, 'qcow2')
    return path


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


# --- File systems -----------------------------------------------------------

PLAIN = {'virtio': ['-drive', 'file={image},if=virtio'],
         'hda': ['-hda', '{image}']}
KEPT = {kind: ['-drive', f'driver=blkreplay,{place},image.driver=qcow2,'
               'image.file.driver=file,image.file.filename={image}']
        for kind, place in (('virtio', 'if=virtio'),
                            ('hda', 'if=ide,index=0'))}


def with_files(kind):
    """A machine whose guest uses the file system on a disk."""
    return rr.Machine(nics=(rr.Nic('virtio-net-pci'),), steps=(
        'dhcp,eth0', DISKS[kind].step.replace('disk,', 'files,')))


def files(test, kind):
    """The guest mounts a file system, writes files, and reads them again.
    Nothing of it is in the image afterwards.
    """
    image = make_file_system(test)
    before = digest(image)
    extra = [argument.format(image=image) for argument in PLAIN[kind]]

    recorded = test.record(with_files(kind), extra=extra)
    replayed = test.replay(with_files(kind), extra=extra)

    test.compare(recorded, replayed)
    rr.check(re.search(rb'\] files: 6 7 8, sha256 [0-9a-f]{64}',
                       recorded.console()), f'{recorded}: no files')
    rr.check(digest(image) == before, 'the image has changed')


def kept(test, kind):
    """The user gives recorder and replay an image of their own, with blkreplay
    above it.  Each keeps what the guest has written, and it is the same.
    """
    image = make_file_system(test)
    images = {mode: test.path(mode + '.qcow2')
              for mode in ('record', 'replay')}
    for path in images.values():
        qemu_img('create', '-f', 'qcow2', '-F', 'qcow2', '-b', image, path)
    runs = [test.run(with_files(kind), mode, extra=[
                argument.format(image=path) for argument in KEPT[kind]])
            .finish() for mode, path in images.items()]

    test.compare(*runs)
    for run in runs:
        rr.check(not run.stderr(), f'{run} says {run.stderr()!r}')
    said = qemu_img('compare', *images.values())
    rr.check(said == 'Images are identical.', f'the images: {said}')
    said = qemu_img('compare', image, images['record'])
    rr.check(said.startswith('Content mismatch'),
             f'the guest has written nothing: {said}')


rr.scenarios('disk/files-on-{}/replays-identically', files, *PLAIN)
rr.scenarios('disk/kept-{}/has-same-content', kept, *KEPT)


# --- A guest that is only a boot sector -------------------------------------

# Set %si to the base port of the PIIX3's IDE bus master, and describe a buffer
# of 4 KiB at 0x8000.
PREPARE_DMA = '''
    mov $0x80000904, %eax; mov $0xcf8, %dx; out %eax, %dx
    mov $0xcfc, %dx; in %dx, %eax; or $5, %eax; out %eax, %dx
    mov $0x80000920, %eax; mov $0xcf8, %dx; out %eax, %dx
    mov $0xcfc, %dx; in %dx, %eax; and $0xfff0, %eax; mov %ax, %si
    movl $0x8000, 0x500; movl $0x80001000, 0x504
    mov %si, %dx; add $4, %dx; mov $0x500, %eax; out %eax, %dx
'''
START_DMA = 'mov %si, %dx; mov $9, %al; out %al, %dx\n'
STOP_DMA = 'mov %si, %dx; mov $0, %al; out %al, %dx\n'
RESET_BUS = '''
    mov $0x3f6, %dx; mov $4, %al; out %al, %dx; mov $0, %al; out %al, %dx
'''
READ_DMA, READ, WRITE = 0xc8, 0x20, 0x30


def command(number, sector=1, sectors=8):
    """Code that gives the first IDE disk a command."""
    ports = {6: 0xe0, 2: sectors, 3: sector, 4: 0, 5: 0, 7: number}
    return ''.join(f'mov $0x1f{port}, %dx; mov ${value}, %al; out %al, %dx\n'
                   for port, value in ports.items())


class BootSector:
    """A machine whose guest is a boot sector: it runs the code, prints the
    state of the disk and the time stamp counter, and powers off.
    """
    shift = 'auto'

    def __init__(self, test, code):
        source, linked = test.path('boot.s'), test.path('boot.o')
        self.image = test.path('boot.image')
        with open(source, 'w', encoding='utf-8') as f:
            f.write(f'''
    .code16
    .globl _start
_start:
    cli; xor %ax, %ax; mov %ax, %ds; mov %ax, %ss; mov $0x7000, %sp; sti
    {code}
    mov $0x1f7, %dx; in %dx, %al; and $0x51, %al; movzbl %al, %eax; call print
    rdtsc; call print
    mov $'\\n', %al; mov $0x3f8, %dx; out %al, %dx
    mov $0x604, %dx; mov $0x2000, %ax; out %ax, %dx
1:  hlt; jmp 1b
print:
    mov $0x3f8, %dx; mov $8, %cx
1:  rol $4, %eax; push %ax; and $15, %al; add $'A', %al; out %al, %dx
    pop %ax; loop 1b; ret
    .org 510
    .word 0xaa55
''')
        subprocess.run(['as', '--32', '-o', linked, source], check=True)
        subprocess.run(['ld', '-m', 'elf_i386', '-Ttext=0x7c00', '--oformat',
                        'binary', '-o', self.image, linked], check=True)
        os.truncate(self.image, SIZE)

    def arguments(self):
        return ['-M', 'pc', '-m', '64', '-nodefaults', '-no-user-config',
                '-display', 'none']


def check_equal(recorded, replayed):
    rr.check(recorded.console().endswith(b'\n'),
             f'{recorded}: the guest has not ended')
    rr.check(recorded.console() == replayed.console(),
             f'{recorded} and {replayed} differ')


def stops(test, code):
    """The guest starts a transfer, and at once stops it or resets the bus.
    The controller then waits for the disk.  QEMU neither hangs nor differs.
    """
    machine = BootSector(test, code)
    extra = ['-drive', f'file={machine.image},format=raw,if=ide']
    recorded = test.record(machine, extra=extra)
    replayed = test.replay(machine, extra=extra)
    check_equal(recorded, replayed)


rr.register('disk/transfer-stopped/replays-identically', stops,
            PREPARE_DMA + command(READ_DMA) + START_DMA + STOP_DMA)
rr.register('disk/bus-reset-while-dma/replays-identically', stops,
            PREPARE_DMA + command(READ_DMA) + START_DMA + RESET_BUS)
rr.register('disk/bus-reset-while-pio/replays-identically', stops,
            command(READ) + RESET_BUS)


@rr.scenario('disk/host-fails/names-the-disk')
def host_fails(test):
    """The host cannot read a sector.  QEMU names the disk."""
    machine = BootSector(test, command(READ, sector=10, sectors=1) + '''
    mov $0x1f7, %dx
1:  in %dx, %al; test $0x80, %al; jnz 1b
''')
    extra = ['-blockdev', f'driver=file,node-name=f0,filename={machine.image}',
             '-blockdev', 'driver=blkdebug,node-name=bad,image=f0,'
             'inject-error.0.event=none,inject-error.0.sector=10',
             '-device', 'ide-hd,drive=bad,bus=ide.0']
    recorded = test.record(machine, extra=extra)
    replayed = test.replay(machine, extra=extra)
    check_equal(recorded, replayed)
    for run in recorded, replayed:
        rr.check(messages.DISK_READ_FAILS.format(disk='bad') in run.stderr(),
                 f'{run} says {run.stderr()!r}')


@rr.scenario('disk/host-fails-to-write/names-the-disk')
def host_fails_to_write(test):
    """The host cannot write a sector.  QEMU names the disk."""
    ready = 'mov $0x1f7, %dx; 1: in %dx, %al; test $0x80, %al; jnz 1b\n'
    machine = BootSector(test, command(WRITE, sector=10, sectors=1) + ready
                         + 'mov $0x1f0, %dx; mov $256, %cx; xor %si, %si;'
                         + 'rep outsw\n' + ready)
    extra = ['-blockdev', f'driver=file,node-name=f0,filename={machine.image}',
             '-blockdev', 'driver=blkdebug,node-name=bad,image=f0,'
             'inject-error.0.event=none,inject-error.0.iotype=write',
             '-blockdev', 'driver=blkreplay,node-name=kept,image=bad',
             '-device', 'ide-hd,drive=kept,bus=ide.0']
    recorded = test.record(machine, extra=extra)
    replayed = test.replay(machine, extra=extra)
    check_equal(recorded, replayed)
    for run in recorded, replayed:
        rr.check(messages.DISK_WRITE_FAILS.format(disk='kept')
                 in run.stderr(), f'{run} says {run.stderr()!r}')


@rr.scenario('disk/host-fails-in-replay/refused')
def host_fails_in_replay(test):
    """The host could read a sector when the machine was recorded, and cannot
    now.  QEMU refuses to replay before the guest runs, and names the disk.
    """
    machine = BootSector(test, command(READ, sector=10, sectors=1))
    rules = test.path('rules')
    extra = ['-blockdev', f'driver=file,node-name=f0,filename={machine.image}',
             '-blockdev', 'driver=blkdebug,node-name=d0,image=f0,'
             f'config={rules}', '-device', 'ide-hd,drive=d0,bus=ide.0']
    with open(rules, 'w', encoding='utf-8') as f:
        f.write('[inject-error]\nevent = "none"\nsector = "1000000"\n')
    test.record(machine, extra=extra)
    with open(rules, 'w', encoding='utf-8') as f:
        f.write('[inject-error]\nevent = "none"\nsector = "10"\n')
    replayed = test.run(machine, 'replay', extra=extra).finish(status=1)
    rr.check(re.search(messages.DISK_UNREADABLE.format(disk='d0'),
                       replayed.stderr()),
             f'{replayed} says {replayed.stderr()!r}')
    rr.check(not replayed.console(), f'{replayed}: the guest has run')


@rr.scenario('disk/slow-between-nodes/replays-identically')
def slow_between_nodes(test):
    """A node above the image's file works on a request for seconds, and the
    file does not.  A throttle does so, and so does qcow2 while a thread
    decompresses a cluster.  The replay waits for the request.
    """
    machine = BootSector(test, '')
    # QEMU reads the disk for its checksum, and then the throttle makes the
    # guest's first request wait for 4 seconds.
    os.truncate(machine.image, 4 * 4096)
    extra = ['-object', 'throttle-group,id=slow,x-iops-total=1,'
             'x-iops-size=4096',
             '-blockdev', f'driver=file,node-name=f0,filename={machine.image}',
             '-blockdev', 'driver=throttle,node-name=d0,file=f0,'
             'throttle-group=slow',
             '-device', 'ide-hd,drive=d0,bus=ide.0']
    recorded = test.record(machine, extra=extra)
    replayed = test.replay(machine, extra=extra)
    check_equal(recorded, replayed)


@rr.scenario('disk/blkreplay-by-user/left-alone')
def by_user(test):
    """The user has put blkreplay above the image.  QEMU adds nothing."""
    machine = BootSector(test, '')
    run = test.run(machine, 'record', extra=[
        '-drive', f'file={machine.image},format=raw,if=none,id=d0',
        '-drive', 'driver=blkreplay,if=none,image=d0,id=d0-rr',
        '-device', 'ide-hd,drive=d0-rr', '-S'])
    nodes = run.qmp.command('query-named-block-nodes')
    rr.check(sorted(node['drv'] for node in nodes) == [
        'blkreplay', 'file', 'raw'], f'{run}: the nodes are {nodes}')
    run.qmp.command('cont')
    run.finish()
    rr.check(not run.stderr(), f'{run} says {run.stderr()!r}')


@rr.scenario('disk/query-block/shows-nodes')
def shows_nodes(test):
    """query-block shows that QEMU has put blkreplay above the disk."""
    machine = BootSector(test, '')
    run = test.run(machine, 'record', extra=[
        '-drive', f'file={machine.image},format=raw,if=ide', '-S'])
    disks = run.qmp.command('query-block')
    rr.check([disk['inserted']['drv'] for disk in disks] == ['blkreplay'],
             f'{run}: the disks are {disks}')
    run.qmp.command('cont')
    run.finish()


def refused(test, text, arguments, icount, options=''):
    """QEMU refuses to record before the guest runs, and names the disk."""
    machine = BootSector(test, '')
    run = test.run(machine, 'record', icount=icount, extra=[
        '-drive', f'file={machine.image},format=raw,if=none,id=d0{options}',
        *arguments]).finish(status=1)
    rr.check(text.format(disk='d0') in run.stderr(),
             f'{run} says {run.stderr()!r}')
    rr.check(not run.console(), f'{run}: the guest has run')


rr.register('disk/recorder-snapshot/refused', refused, messages.DISK_SNAPSHOT,
            ['-device', 'ide-hd,drive=d0'], 'rrsnapshot=start')
rr.register('disk/scsi-block/refused', refused, messages.DISK_PASSTHROUGH,
            ['-device', 'virtio-scsi-pci', '-device', 'scsi-block,drive=d0'],
            '')
rr.register('disk/with-limits/refused', refused, messages.DISK_LIMITS,
            ['-device', 'ide-hd,drive=d0'], '', ',iops=100')


@rr.scenario('disk/content-changed/refused')
def content_changed(test):
    """The image has changed since the recording.  QEMU refuses to replay, and
    names the disk.
    """
    machine = BootSector(test, '')
    extra = ['-drive', f'file={machine.image},format=raw,if=ide']
    test.record(machine, extra=extra)
    with open(machine.image, 'r+b') as f:
        f.seek(SIZE - 512)
        f.write(b'x')
    replayed = test.run(machine, 'replay', extra=extra).finish(status=1)
    rr.check(re.search(messages.DISK_CONTENT.format(disk='ide0-hd0'),
                       replayed.stderr()),
             f'{replayed} says {replayed.stderr()!r}')
    rr.check(not replayed.console(), f'{replayed}: the guest has run')


@rr.scenario('disk/small-disk-changed/refused')
def small_disk_changed(test):
    """A byte of a small disk has changed, which is in none of the samples of a
    large one.  QEMU refuses to replay, and names the disk.
    """
    machine = BootSector(test, '')
    os.truncate(machine.image, 8 << 20)
    extra = ['-drive', f'file={machine.image},format=raw,if=ide']
    test.record(machine, extra=extra)
    with open(machine.image, 'r+b') as f:
        f.seek((4 << 20) + 50000)
        f.write(b'x')
    replayed = test.run(machine, 'replay', extra=extra).finish(status=1)
    rr.check(re.search(messages.DISK_WHOLE.format(disk='ide0-hd0'),
                       replayed.stderr()),
             f'{replayed} says {replayed.stderr()!r}')
    rr.check(not replayed.console(), f'{replayed}: the guest has run')


def make_smaller(image, other):
    """The image has lost its second half."""
    del other
    os.truncate(image, SIZE // 2)


def make_other_format(image, other):
    """The image has become a qcow2 image, which format=raw shows as it is."""
    convert(image, other, 'qcow2')
    os.replace(other, image)


def remove(image, other):
    """The image is not there."""
    del other
    os.remove(image)


def other_image(test, change, message):
    """The image is not that of the recording.  QEMU refuses to replay before
    the guest runs, and names the disk.
    """
    machine = BootSector(test, '')
    extra = ['-drive', f'file={machine.image},format=raw,if=virtio']
    test.record(machine, extra=extra)
    change(machine.image, test.path('other'))
    replayed = test.run(machine, 'replay', extra=extra).finish(status=1)
    rr.check(re.search(message.format(disk='virtio0', image=machine.image),
                       replayed.stderr()),
             f'{replayed} says {replayed.stderr()!r}')
    rr.check(not replayed.console(), f'{replayed}: the guest has run')


rr.register('disk/image-smaller/refused', other_image, make_smaller,
            messages.DISK_SIZE)
rr.register('disk/image-of-other-format/refused', other_image,
            make_other_format, messages.DISK_SIZE)
rr.register('disk/image-missing/refused', other_image, remove,
            messages.DISK_MISSING)


@rr.scenario('disk/added-before-cont/replays-identically')
def added_before_cont(test):
    """With -S, a management tool adds a disk and puts a medium into a drive
    before the machine first runs.  QEMU treats both like those of the command
    line.
    """
    machine = BootSector(test, command(READ))
    runs = []
    for mode in 'record', 'replay':
        run = test.run(machine, mode, extra=[
            '-drive', f'file={machine.image},format=raw,if=ide',
            '-drive', 'if=ide,index=2,media=cdrom,id=cd', '-S'])
        run.qmp.command('blockdev-add', **{
            'driver': 'raw', 'node-name': 'late',
            'file': {'driver': 'file', 'filename': machine.image}})
        run.qmp.command('device_add', driver='virtio-blk-pci', drive='late')
        run.qmp.command('blockdev-change-medium', device='cd', format='raw',
                        filename=machine.image,
                        **{'read-only-mode': 'read-only'})
        run.qmp.command('cont')
        runs.append(run.finish())
        rr.check(f"'ide0-hd0', 'late' {messages.DISK_IS_TEMPORARY}"
                 in run.stderr(), f'{run} says {run.stderr()!r}')
    check_equal(*runs)


# --- Keys of a multiplexed terminal -------------------------------------------

# Write a sector to the first IDE disk, print a line, and wait for a character
# on the second serial port, which is printed too.
WRITE = 0x30
WRITE_AND_WAIT = command(WRITE, sector=5, sectors=1) + '''
    mov $0x1f7, %dx
1:  in %dx, %al; test $8, %al; jz 1b
    mov $0x1f0, %dx; mov $256, %cx; mov $0x7c00, %si; cld; rep outsw
    mov $0x1f7, %dx
1:  in %dx, %al; test $0x80, %al; jnz 1b
    mov $0x3f8, %dx; mov $'w', %al; out %al, %dx; mov $'\\n', %al; out %al, %dx
    mov $0x2fd, %dx
1:  in %dx, %al; test $1, %al; jz 1b
    mov $0x2f8, %dx; in %dx, %al; mov $0x3f8, %dx; out %al, %dx
'''


class Terminal:
    """A guest that writes to its disk and then waits for a key; its serial
    port shares a terminal with a monitor.
    """

    def __init__(self, test):
        self.test = test
        self.machine = BootSector(test, WRITE_AND_WAIT)
        self.path = test.path('terminal')
        self.before = digest(self.machine.image)

    def start(self, mode):
        """Start QEMU, which waits for 'cont'; return it and a connection to
        its terminal.
        """
        run = self.test.run(
            self.machine, mode, serials=('chardev:mux',), extra=[
                '-drive', f'file={self.machine.image},format=raw,if=ide',
                '-chardev', f'socket,id=mux,mux=on,path={self.path},server=on,'
                'wait=off', '-mon', 'chardev=mux', '-S'])
        terminal = socket.socket(socket.AF_UNIX)
        self.test.closing.append(terminal)
        rr.wait_for(lambda: terminal.connect_ex(self.path) == 0, 'terminal')
        return run, terminal

    def check_image(self):
        rr.check(digest(self.machine.image) == self.before,
                 'the image has changed')


def monitor_says(terminal, text):
    """Wait until the monitor on @terminal has printed @text."""
    terminal.settimeout(rr.STEP_CEILING)
    said = b''
    while text not in said:
        got = terminal.recv(65536)
        rr.check(got, f'the monitor does not say {text!r}, but {said!r}')
        said += got


@rr.scenario('terminal/ctrl-a-s/leaves-the-image')
def ctrl_a_s(test):
    """The user types Ctrl-A s after the guest has written to its disk, and
    Ctrl-A c for the monitor and back.  What the guest has written does not
    get into the image, while recording and in the replay, and the guest gets
    only the key that is for it.
    """
    setup = Terminal(test)

    def type_commands(terminal):
        terminal.sendall(b'\x01s\x01cinfo version\r')
        monitor_says(terminal, b'info version')
        setup.check_image()

    run, terminal = setup.start('record')
    run.qmp.command('cont')
    run.wait_line('^w')
    type_commands(terminal)
    terminal.sendall(b'\x01ck')
    recorded = run.finish()
    setup.check_image()
    rr.check(recorded.console().startswith(b'w\nk'),
             f'the console has {recorded.console()!r}')
    keys = faults.Recording(recorded.recording).of('async-char-mux')

    run, terminal = setup.start('replay')
    run.qmp.command('replay-break', icount=keys[0].icount)
    run.qmp.command('cont')
    rr.wait_for(lambda: run.qmp.status() != 'running', 'breakpoint')
    type_commands(terminal)
    run.qmp.command('cont')
    check_equal(recorded, run.finish())
    setup.check_image()


@rr.scenario('terminal/ctrl-a-x/ends-qemu')
def ctrl_a_x(test):
    """The user ends the recorder with Ctrl-A x.  The recording is complete.
    Ctrl-A x also ends a replay.
    """
    setup = Terminal(test)
    run, terminal = setup.start('record')
    run.qmp.command('cont')
    run.wait_line('^w')
    terminal.sendall(b'\x01x')
    recorded = run.finish()
    rr.check(recorded.console() == b'w\n',
             f'the console has {recorded.console()!r}')
    run, terminal = setup.start('replay')
    run.qmp.command('cont')
    check_equal(recorded, run.finish())
    run, terminal = setup.start('replay')
    terminal.sendall(b'\x01x')
    run.finish()
    rr.check(not run.console(), f'{run}: the guest has run')
    setup.check_image()


# --- Snapshots in the middle of a request ------------------------------------

def stopped_in_request(test):
    """Record a guest that reads from a disk with a snapshot of the beginning.
    Stop the replay while the host, which is slow, works on the request.
    Return both runs.

        guest - controller - blkreplay - throttle - image, with the snapshot
    """
    machine = BootSector(test, command(READ) + '''
    mov $0x1f7, %dx
1:  in %dx, %al; test $0x80, %al; jnz 1b
''')
    image = test.path('disk.qcow2')
    subprocess.run([os.path.join(os.path.dirname(rr.QEMU), 'qemu-img'),
                    'convert', '-f', 'raw', '-O', 'qcow2', machine.image,
                    image], check=True)
    extra = ['-object', 'throttle-group,id=limits',
             '-blockdev', f'driver=file,node-name=file,filename={image}',
             '-blockdev', 'driver=qcow2,node-name=d0,file=file',
             '-blockdev', 'driver=throttle,node-name=slow,file=d0,'
             'throttle-group=limits',
             '-blockdev', 'driver=blkreplay,node-name=d0-rr,image=slow',
             '-device', 'ide-hd,drive=d0-rr,bus=ide.0']
    recorded = test.record(machine, extra=extra, icount='rrsnapshot=start')
    completions = faults.Recording(recorded.recording).of('async-block')
    run = test.run(machine, 'replay', extra=[*extra, '-S'],
                   icount='rrsnapshot=start')
    run.qmp.command('qom-set', path='/objects/limits', property='limits',
                    value={'iops-total': 1})
    run.qmp.command('replay-break', icount=completions[-1].icount - 1)
    run.qmp.command('cont')
    rr.wait_for(lambda: run.qmp.status() != 'running', 'breakpoint')
    return recorded, run


def human(run, line):
    return run.qmp.command('human-monitor-command', **{'command-line': line})


@rr.scenario('disk/snapshot-loaded-in-request/replays-identically')
def loaded_in_request(test):
    """The replay has stopped in the middle of a request.  The user loads the
    snapshot of the beginning, and continues.
    """
    recorded, run = stopped_in_request(test)
    answer = human(run, 'loadvm start')
    rr.check(not answer, f'the answer is {answer!r}')
    run.qmp.command('cont')
    check_equal(recorded, run.finish())


@rr.scenario('disk/snapshot-deleted-in-request/replays-identically')
def deleted_in_request(test):
    """The replay has stopped in the middle of a request.  The user deletes a
    snapshot, and the replay goes on.
    """
    recorded, run = stopped_in_request(test)
    answer = human(run, 'delvm start')
    rr.check(not answer, f'the answer is {answer!r}')
    run.qmp.command('cont')
    check_equal(recorded, run.finish())


@rr.scenario('disk/snapshot-in-scsi-request/refused')
def refused_in_request(test):
    """The replay stops before the completions of requests.  A snapshot could
    not hold the requests, and QEMU says so.  The replay then goes on.
    """
    disk = DISKS['virtio-scsi']
    image, _ = make_image(test, disk.image_format)
    snapshots = test.path('snapshots.qcow2')
    said = qemu_img('create', '-q', '-f', 'qcow2', snapshots, '1M')
    rr.check(not said, f'qemu-img says {said!r}')
    extra = [argument.format(image=image) for argument in disk.arguments]
    extra += ['-drive', f'if=none,id=snapshots,file={snapshots}']
    machine = rr.Machine(nics=(rr.Nic('virtio-net-pci'),),
                         steps=('dhcp,eth0', disk.step))
    recorded = test.record(machine, extra=extra)
    recording = faults.Recording(recorded.recording)
    places = recording.of('async-block')[20:100:20]
    rr.check(len(places) == 4, f'the recording has only the events {places}')
    run = test.run(machine, 'replay', extra=[*extra, '-S'],
                   icount='rrcheckpoints=off')
    for number in (event.number for event in places):
        run.qmp.command('replay-break', event=number)
        run.qmp.command('cont')
        rr.wait_for(lambda: run.qmp.status() != 'running', 'breakpoint')
        answer = human(run, 'savevm busy')
        rr.check(messages.SNAPSHOT_OF_BUSY_DISK in answer,
                 f'at event {number} savevm says {answer!r}')
    run.qmp.command('cont')
    run.finish()
    rr.check(run.console() == recorded.console(), 'the replay differs')
