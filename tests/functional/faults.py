# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings with faults in them, and the reports of their replays.

A few recordings are made once and used by many tests.  Each test has
replay-fault make a copy of one that has a fault but correct checksums, or
replays the recording on a machine that differs from the recorded one.
"""

import dataclasses
import glob
import hashlib
import os
import random
import re
import shlex
import struct
import subprocess
import threading
import typing

import messages
import program
import rr

TOOL = os.path.join(rr.BUILD, 'replay-fault')
LAST_EVENTS = 16

# A report has at most this many lines and bytes.
REPORT_LINES = 24
REPORT_BYTES = 4096

_lock = threading.RLock()


# --- replay-fault -----------------------------------------------------------

def tool():
    """Build replay-fault if it is older than its source; return its path."""
    qemu = os.path.join(rr.BUILD, 'qemu')
    source = os.path.join(rr.BUILD, 'src')
    # older QEMUs call it libqom.fa
    qom, = glob.glob(os.path.join(qemu, 'libqom.*a'))
    parts = [os.path.join(rr.ROOT, 'tests/functional/replay-fault.c'),
             *sorted(glob.glob(os.path.join(rr.ROOT, 'replay/replay-log*.c'))),
             # each of these libraries needs the other one: QEMU's threads can
             # be QOM objects
             '-Wl,--start-group', os.path.join(qemu, 'libqemuutil.a'),
             qom, '-Wl,--end-group']
    known_by = parts + glob.glob(os.path.join(rr.ROOT, 'replay/replay-log*.h'))
    with _lock:
        if os.path.exists(TOOL) and all(
                os.path.getmtime(TOOL) > os.path.getmtime(path)
                for path in known_by if os.path.exists(path)):
            return TOOL
        libraries = subprocess.run(
            ['pkg-config', '--cflags', '--libs',
             'glib-2.0', 'gthread-2.0', 'zlib'],
            stdout=subprocess.PIPE, check=True, text=True).stdout
        # of QEMU's flags only those that change the meaning of code
        command = ['gcc', '-g', '-O1', '-std=gnu11', '-fno-strict-aliasing',
                   '-fno-common', '-fwrapv', '-pthread', '-D_GNU_SOURCE',
                   '-D_FILE_OFFSET_BITS=64', '-iquote', qemu,
                   '-iquote', rr.ROOT, '-iquote', source,
                   '-iquote', os.path.join(source, 'include'), '-I', qemu,
                   '-isystem', os.path.join(source, 'linux-headers'),
                   '-o', TOOL + '.new', *parts, *shlex.split(libraries)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True,
                              check=False)
        rr.check(done.returncode == 0,
                 f'replay-fault does not build: {done.stderr}')
        os.replace(TOOL + '.new', TOOL)
        return TOOL


def run_tool(*words):
    done = subprocess.run([tool(), *map(str, words)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    rr.check(done.returncode == 0, f'replay-fault: {done.stderr}')
    return done.stdout


# --- recordings -------------------------------------------------------------

class Event(typing.NamedTuple):
    """One event of a recording.

    @kind: the name that a report has for the event
    @packet: the number of packets in the recording before the event
    """
    number: int
    icount: int
    packet: int
    chunk: int
    offset: int
    kind: str
    numbers: tuple
    data: bytes

    @classmethod
    def parse(cls, line):
        words = line.split()
        data = None
        if words[-1].startswith('x'):
            data = bytes.fromhex(words.pop()[1:])
        number, icount, packet, chunk, offset = map(int, words[:5])
        return cls(number, icount, packet, chunk, offset, words[5],
                   tuple(map(int, words[6:])), data)

    @property
    def about_adapter(self):
        """The number of the adapter that the event is about, or None."""
        return self.numbers[0] if self.kind in (
            'async-net', 'net-sent', 'net-sent-data') else None

    def line(self, adapters):
        """The line that a report has for the event."""
        words = [str(self.number), 'icount', str(self.icount), self.kind]
        numbers = list(map(str, self.numbers))
        if self.about_adapter is not None and \
                self.about_adapter < len(adapters):
            numbers[0] = adapters[self.about_adapter]
        words += numbers
        if self.data is not None:
            words.append(f'({len(self.data)} bytes)')
        return ' '.join(words)


class Recording:
    """The file of a recording, and its events.

    @complete: the recording has an end; otherwise its events are not read
    """

    def __init__(self, path, complete=True):
        self.path = path
        self.events = []
        if complete:
            self.events = [Event.parse(line)
                           for line in run_tool(path).splitlines()]

    def of(self, *kinds, adapter=None, since=0):
        """The events of these kinds, from the one with number @since on."""
        return [event for event in self.events[since:]
                if event.kind in kinds and
                adapter in (None, event.about_adapter)]

    def first(self, *kinds, **which):
        found = self.of(*kinds, **which)
        rr.check(found, f'{self.path} has no {" or ".join(kinds)}')
        return found[0]

    def uuid(self):
        digits = rr.read(self.path)[16:32].hex()
        return '-'.join(digits[a:b] for a, b in
                        ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))


def rewrite(event, data):
    """The words for replay-fault that change the bytes of @event to @data."""
    words = []
    for offset, (old, new) in enumerate(zip(event.data, data)):
        for bit in range(8):
            if (old ^ new) >> bit & 1:
                words += ['flip', event.number, offset, bit]
    rr.check(words and len(data) == len(event.data), 'nothing to rewrite')
    return words


# --- packets ----------------------------------------------------------------

ETHERNET = 14
IPV4 = 20
TCP = ETHERNET + IPV4


def is_tcp(packet):
    return packet[12:14] == b'\x08\x00' and packet[23] == 6


def is_arp(packet):
    return packet[12:14] == b'\x08\x06'


def is_udp_to(packet, port):
    return (packet[12:14] == b'\x08\x00' and packet[23] == 17 and
            packet[36:38] == port.to_bytes(2, 'big'))


def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f'>{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def with_checksum(packet):
    """@packet, which is TCP or UDP over IPv4, with a correct checksum."""
    end = ETHERNET + int.from_bytes(packet[16:18], 'big')
    place = TCP + (16 if packet[23] == 6 else 6)
    packet = bytearray(packet)
    packet[place:place + 2] = bytes(2)
    pseudo = bytes(packet[26:34]) + bytes([0, packet[23]]) + \
        (end - TCP).to_bytes(2, 'big')
    packet[place:place + 2] = checksum(
        pseudo + bytes(packet[TCP:end])).to_bytes(2, 'big')
    return bytes(packet)


def first_byte_that_differs(one, other):
    return next(i for i, (a, b) in enumerate(zip(one, other)) if a != b)


def digest(content):
    """The text that the guest sends back after it has received @content."""
    return hashlib.sha256(content).hexdigest().encode()


# --- machines ---------------------------------------------------------------

UPLOAD = random.Random(4).randbytes(3000)


def linux(port_n0, port_n1):
    """A Linux guest that serves HTTP on two NICs.  The recording has the
    packets that the guest sends through n0 whole, and checksums of those that
    it sends through n1.
    """
    return rr.Machine(
        nics=(rr.Nic('e1000', 'n0', filter_options='verify=full',
                     netdev_options=f'hostfwd=tcp:127.0.0.1:{port_n0}-:80'),
              rr.Nic('virtio-net-pci', 'n1',
                     netdev_options='net=10.0.3.0/24,hostfwd=tcp:127.0.0.1:'
                     f'{port_n1}-10.0.3.15:80')),
        steps=('dhcp,eth0', 'static,eth1,10.0.3.15/24', 'ping,10.0.3.2,2',
               'serve'))


def assembled(listing):
    """The bytes of a listing, which has them as hexadecimal digits in front
    of a semicolon.
    """
    return bytes.fromhex(''.join(line.split(';')[0]
                                 for line in listing.splitlines()))


def prints(address):
    """Code that writes the text at @address, which ends with a zero, to the
    console.
    """
    return f'''
        be{address.to_bytes(2, 'little').hex()}          ; mov si, address
        ac              ; lodsb
        84c0            ; test al, al
        7406            ; jz to the code below
        baf803          ; mov dx, 0x3f8
        ee              ; out dx, al
        ebf5            ; jmp to lodsb
    '''


# The BIOS loads each of these programs, in 16-bit code, to 0x7c00 and starts
# it there.
BOOT_SECTOR = assembled('''
        31c0            ; xor ax, ax
        8ed8            ; mov ds, ax
        8ec0            ; mov es, ax
        b80102          ; mov ax, 0x0201
        bb007e          ; mov bx, 0x7e00
        b90200          ; mov cx, 2
        30f6            ; xor dh, dh
        cd13            ; int 0x13      read sector 2
        0fc7f0          ; rdrand ax
        25ff00          ; and ax, 255
        40              ; inc ax
        91              ; xchg cx, ax
        e2fe            ; loop $        as often as the number says
        30c0            ; xor al, al
        e670            ; out 0x70, al
        e471            ; in al, 0x71   seconds of the real-time clock
        25ff00          ; and ax, 255
        40              ; inc ax
        91              ; xchg cx, ax
        e2fe            ; loop $        as often as the clock says
    ''' + prints(0x7e00) + '''
        cd18            ; int 0x18      the next boot device
    ''')
FROM_NETWORK = assembled('''
        31c0            ; xor ax, ax
        8ed8            ; mov ds, ax
    ''' + prints(0x7c1a) + '''
        ba0406          ; mov dx, 0x604
        b80020          ; mov ax, 0x2000
        ef              ; out dx, ax    power off
        f4              ; hlt
    ''')
# The same program, except that it does not halt but goes on to print dots.
TALKS_ON = assembled('''
        31c0            ; xor ax, ax
        8ed8            ; mov ds, ax
    ''' + prints(0x7c21) + '''
        ba0406          ; mov dx, 0x604
        b80020          ; mov ax, 0x2000
        ef              ; out dx, ax    power off
        baf803          ; mov dx, 0x3f8
        b02e            ; mov al, '.'
        ee              ; out dx, al
        ebfd            ; jmp to out dx, al
    ''')
# It writes MANY_BYTES bytes to the second serial port before its line.
MANY_BYTES = 20000
WRITES_MUCH = assembled('''
        31c0            ; xor ax, ax
        8ed8            ; mov ds, ax
        b9204e          ; mov cx, 20000
        bafd02          ; mov dx, 0x2fd
        ec              ; in al, dx
        a820            ; test al, 0x20
        74fb            ; jz to in al, dx
        baf802          ; mov dx, 0x2f8
        b078            ; mov al, 'x'
        ee              ; out dx, al
        e2f0            ; loop to mov dx, 0x2fd
    ''' + prints(0x7c2d) + '''
        ba0406          ; mov dx, 0x604
        b80020          ; mov ax, 0x2000
        ef              ; out dx, ax    power off
        f4              ; hlt
    ''')
# It writes TOO_MANY_BYTES bytes of its memory to port 0x300 before its line.
TOO_MANY_BYTES = 140 * 65535
WRITES_TOO_MUCH = assembled('''
        31c0            ; xor ax, ax
        8ed8            ; mov ds, ax
        fc              ; cld
        bb8c00          ; mov bx, 140
        ba0003          ; mov dx, 0x300
        31f6            ; xor si, si
        b9ffff          ; mov cx, 65535
        f36e            ; rep outsb
        4b              ; dec bx
        75f6            ; jnz to xor si, si
    ''' + prints(0x7c2b) + '''
        ba0406          ; mov dx, 0x604
        b80020          ; mov ax, 0x2000
        ef              ; out dx, ax    power off
        f4              ; hlt
    ''')
FROM_DISK_TEXT = b'guest: from disk\r\n\0'
FROM_NETWORK_TEXT = b'guest: done\r\n\0'
SECTOR_BYTES = 512
TFTP_BYTES = 3000


@dataclasses.dataclass(frozen=True)
class Firmware:
    """A machine without an operating system, which runs for a second.

    Its boot sector reads the disk, loops as often as a random number and a
    clock say, prints the text that it has read, and boots from the network.
    This loads @program, which prints another line and powers off.

    @place: a directory for the disk and for the files of the TFTP server
    @verify: the property of the filter on n0; n1 has no traffic
    """
    place: str
    verify: str = 'on'
    shift: str = 'auto'
    memory_mib: int = 32
    cpu: str = 'qemu64,+rdrand'
    text: bytes = FROM_DISK_TEXT
    program: bytes = FROM_NETWORK

    def write_files(self):
        disk = BOOT_SECTOR.ljust(SECTOR_BYTES - 2, b'\0') + b'\x55\xaa' + \
            self.text.ljust(SECTOR_BYTES, b'\0')
        with open(os.path.join(self.place, 'disk'), 'wb') as file:
            file.write(disk.ljust(1 << 16, b'\0'))
        served = os.path.join(self.place, 'tftp')
        os.makedirs(served, exist_ok=True)
        with open(os.path.join(served, 'program'), 'wb') as file:
            file.write((self.program + FROM_NETWORK_TEXT)
                       .ljust(TFTP_BYTES, b'\0'))

    def arguments(self):
        self.write_files()
        return ['-M', 'pc', '-m', str(self.memory_mib), '-cpu', self.cpu,
                '-nodefaults', '-no-user-config', '-display', 'none',
                '-no-reboot',
                '-drive', f'file={self.place}/disk,format=raw,if=none,'
                'snapshot=on,id=disk',
                '-drive', 'driver=blkreplay,if=none,image=disk,id=disk-rr',
                '-device', 'ide-hd,id=hd,drive=disk-rr,bootindex=0',
                '-netdev', f'user,id=n0,tftp={self.place}/tftp,'
                'bootfile=program',
                '-device', 'virtio-net-pci,netdev=n0,bootindex=1',
                '-netdev', 'user,id=n1,net=10.0.3.0/24',
                '-device', 'e1000,netdev=n1,rombar=0',
                '-object', 'filter-replay,id=f-n0,netdev=n0,'
                f'verify={self.verify}',
                '-object', 'filter-replay,id=f-n1,netdev=n1']


@dataclasses.dataclass(frozen=True)
class Changed:
    """A machine whose arguments are those of @machine, with the first text of
    each pair in @changes replaced by the second.
    """
    machine: object
    changes: tuple

    @property
    def shift(self):
        return self.machine.shift

    def arguments(self):
        whole = '\n'.join(self.machine.arguments())
        for old, new in self.changes:
            rr.check(old in whole, f'no {old} in the arguments')
            whole = whole.replace(old, new)
        return whole.split('\n')


# --- recordings for many tests ----------------------------------------------

@dataclasses.dataclass
class Recorded:
    """A machine, its recording, and the Run of its recorder."""
    machine: object
    recording: Recording
    run: rr.Run

    def machine_for(self, test):
        """The machine for a replay, with its files in the directory of @test
        and without forwarded ports of the host, which a replay does not need.
        """
        if isinstance(self.machine, Firmware):
            return dataclasses.replace(self.machine, place=test.place)
        return dataclasses.replace(self.machine, nics=tuple(
            dataclasses.replace(nic, netdev_options=re.sub(
                ',?hostfwd=.*', '', nic.netdev_options))
            for nic in self.machine.nics))


_recorded = {}


def _once(name, test, record):
    with _lock:
        if name not in _recorded:
            place = os.path.join(os.path.dirname(test.place), 'to-damage',
                                 name)
            program.remove_at_end(place)
            workshop = rr.Scenario(place, test.qemu)
            try:
                machine, run = record(workshop)
            finally:
                workshop.close()
            _recorded[name] = Recorded(machine, Recording(run.recording), run)
        return _recorded[name]


def check_firmware(run):
    """Check that a Firmware machine has written all of its text."""
    expected = (FROM_DISK_TEXT + FROM_NETWORK_TEXT).replace(b'\0', b'')
    rr.check(run.console() == expected, f'{run} has written {run.console()!r}')


def firmware(test, verify='on'):
    """The recording of a Firmware machine, which the first test that needs
    it makes.
    """
    def record(workshop):
        machine = Firmware(workshop.place, verify)
        run = workshop.record(machine)
        check_firmware(run)
        return machine, run
    return _once('firmware-' + verify, test, record)


def served_linux(test):
    """The recording of a Linux guest that receives a file through each NIC.
    """
    def record(workshop):
        ports = rr.free_port(), rr.free_port()
        machine = linux(*ports)
        run = workshop.run(machine, 'record')
        run.wait_line(r'serve: ready')
        for port in ports:
            rr.fetch(port, 'POST', '/cgi-bin/sum', UPLOAD)
        rr.fetch(ports[0], 'GET', '/cgi-bin/done')
        run.finish()
        return machine, run
    return _once('linux', test, record)


# --- reports ----------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Report:
    """The QMP event by which a replay reports its end, and its Run.

    The fields of the event are attributes, with _ in place of -.
    """
    name: str
    data: dict
    run: rr.Run

    def __getattr__(self, field):
        return self.data.get(field.replace('_', '-'))

    def __str__(self):
        return f'{self.name} {self.data}'

    def expect(self, reason, expected, event, adapter=None, message=''):
        """Check the report.

        @reason: the correct reasons, separated by |
        @expected: the kind of the next recorded event, or None for any kind
        @event: its correct number, or the first and the last correct number
        @adapter: the netdev of the adapter, or None for any
        @message: a regular expression for the message
        """
        first, last = event if isinstance(event, tuple) else (event, event)
        where = f'{first}' if first == last else f'{first} to {last}'
        rr.check(self.reason in reason.split('|') and
                 expected in (None, self.expected) and
                 first <= self.event <= last and
                 adapter in (None, self.adapter) and
                 re.search(message, self.message),
                 f'there should be: {reason} at {expected} {where} of '
                 f'{adapter} ({message}), but the report is {self}')
        name = 'REPLAY_DIVERGED' if self.reason in ('diverged', 'stuck') \
            else 'REPLAY_ENDED'
        rr.check(self.name == name, f'{self} is not {name}')


def wait_report(run, command='query-name'):
    """Wait for a replay to report why it ends early, and return the report.
    The event that the recording has come to its end is no such report.

    @command: the first QMP command
    """
    try:
        run.qmp.command(command)
        while True:
            for event in run.qmp.events:
                if event['event'] in ('REPLAY_DIVERGED', 'REPLAY_ENDED') and \
                        event['data']['reason'] != 'end':
                    return Report(event['event'], event['data'], run)
            run.qmp.events = [run.qmp.next_event(rr.RUN_CEILING)]
    except rr.Failure as failure:
        raise rr.Failure(f'{run} ends without a report: {failure}; '
                         f'{run.last_words()}') from None


def check_place(report, recording, adapters=('n0', 'n1')):
    """Check that a report agrees with the recording.

    This checks nothing if the recording is cut, as its events were not read.
    """
    if not recording.events:
        return
    rr.check(report.filename == recording.path,
             f'the report is about {report.filename}')
    if report.expected != 'none':
        event = recording.events[report.event]
        place = (event.kind, event.icount, event.packet, event.chunk,
                 event.offset)
        said = (report.expected, report.recorded_icount, report.packet,
                report.chunk, report.file_offset)
        rr.check(place == said, f'event {event.number} is {place}, '
                 f'the report says {said}')
    last = [event.line(adapters) for event in recording.events[
        max(0, report.event - LAST_EVENTS):report.event]]
    rr.check(report.last_events == last, 'the last events were '
             f'{last}, the report says {report.last_events}')


def check_printed(report):
    """Check that standard error has the report's content, once, and that it
    is not longer than a report may be.
    """
    whole = report.run.stderr()
    text = whole[whole.find(messages.REPORT_BEGINS):]
    about = offset = through = ''
    if report.adapter:
        about = messages.REPORT_ABOUT.format(adapter=report.adapter)
    if report.file_offset is not None:
        offset = messages.REPORT_OFFSET.format(offset=report.file_offset)
    if report.came_adapter:
        through = messages.REPORT_THROUGH.format(
            packet=report.came_packet, adapter=report.came_adapter)
    expected = [
        messages.REPORT_ENDS_HERE.format(filename=report.filename,
                                         message=report.message),
        messages.REPORT_RECORDING.format(
            event=report.event, kind=report.expected, about=about,
            packet=report.packet, icount=report.recorded_icount,
            chunk=report.chunk, offset=offset),
        messages.REPORT_GUEST.format(icount=report.icount, cpu=report.cpu,
                                     pc=report.pc)]
    expected += [messages.REPORT_EVENT.format(line=line)
                 for line in report.last_events]
    if report.came:
        expected.append(messages.REPORT_CAME.format(kind=report.came,
                                                    through=through))
    rr.check(bool(report.came) == any(
        words in report.message for words in messages.GUEST_MAKES_EVENT),
             f'the event that the guest makes: {report}')
    for line in expected:
        rr.check(line + '\n' in text, f'no {line!r} in {whole!r}')
    rr.check(text.count(messages.REPORT_BEGINS) == 1, f'reported twice: {whole!r}')
    rr.check(text.count('\n') <= REPORT_LINES and len(text) <= REPORT_BYTES,
             f'the report has {len(text)} bytes: {text!r}')


def damage(test, recorded, *faults):
    """Return a copy of a recording, in the directory of @test, with these
    faults.
    """
    path = test.path('recording')
    if faults:
        run_tool(recorded.recording.path, path, *faults)
    else:
        os.link(recorded.recording.path, path)
    return Recording(path, 'cut' not in faults)


def replay(test, recorded, *faults, machine=None, icount='', extra=()):
    """Replay a recording with these faults, or on another @machine, until the
    replay ends with a report, which is returned.

    Checks everything that holds for all reports, among it that QEMU exits with
    status 1.
    """
    recording = damage(test, recorded, *faults)
    # -S: the replay can end before QMP is ready for events
    run = test.run(machine or recorded.machine_for(test), 'replay',
                   icount=icount, extra=['-S', *extra])
    report = wait_report(run, 'cont')
    run.finish(status=1)
    check_place(report, recording)
    check_printed(report)
    if not machine and not extra:
        rr.check_prefix(recorded.run, run)
    test.note(f'{report.reason}: {report.message}')
    return report
