# SPDX-License-Identifier: GPL-2.0-or-later
"""What reaches the guest besides packets: links, stops, slow back ends, ends.

    guest                 QEMU                              this test
    +-------------+       +--------------------------+      +---------------+
    | Linux       |- NIC -| filter-replay - slirp    |------| HTTP server   |
    |             |   |   |        or - socket       |------| a slow peer   |
    +-------------+  link | monitor, gdb stub        |------| set_link,     |
                          +--------------------------+      | stop, cont, ^C|
                                                            +---------------+

The replayed guest must notice what the recorded guest has noticed, at the same
instruction, and nothing else.
"""

import fcntl
import os
import re
import socket
import struct
import threading
import time

import faults
import messages
import rr
from gdb import Gdb

FILE = rr.Payload(1_000_000)


# --- links ------------------------------------------------------------------

def link_changes(test, model):
    """The link of the NIC goes down and up while the guest runs, and the
    guest's driver notices.  (Linux's driver of e1000e does not notice, with or
    without rr=.)

    In the replay the link changes again, without any command.
    """
    machine = rr.Machine(
        nics=(rr.Nic(model),),
        steps=('dhcp,eth0', 'bg,ping,10.0.2.2,3', 'join', 'carrier,eth0,0',
               'carrier,eth0,1', 'ping,10.0.2.2,2'))

    run = test.run(machine, 'record')
    run.wait_line(r'\] ping: ')
    run.qmp.command('set_link', name='n0', up=False)
    run.wait_line('carrier: eth0 0')
    run.qmp.command('set_link', name='n0', up=True)
    recorded = run.finish()
    replayed = test.replay(machine)

    test.compare(recorded, replayed)
    rr.check(b'carrier: eth0 1' in replayed.console(),
             'the carrier has not come back')
    links = faults.Recording(run.recording).of('async-net-link')
    rr.check([(event.numbers, event.data) for event in links] ==
             [((0,), b'n0'), ((1,), b'n0')], f'the recording has {links}')


rr.scenarios('link/{}/replays-identically', link_changes,
             'virtio-net-pci', 'e1000', 'vmxnet3')


# --- requests to the machine ------------------------------------------------

@rr.scenario('requests/power-button-and-nmi/replays-identically')
def requests(test):
    """The user presses the power button, then sends an NMI, while the guest
    downloads.  Linux sees the key, and complains of the NMI.
    """
    server = test.server(FILE, pace_s=0.02)
    machine = rr.Machine(
        nics=(rr.Nic('virtio-net-pci'),),
        steps=('dhcp,eth0', 'bg,button', 'get,' + server.url(FILE), 'join',
               'ping,10.0.2.2,3'))

    run = test.run(machine, 'record')
    run.wait_line('button: waiting')
    run.qmp.command('system_powerdown')
    run.wait_line('button: pressed')
    run.qmp.command('inject-nmi')
    recorded = run.finish()
    rr.check_downloads(recorded, FILE)
    server.stop()
    replayed = test.replay(machine)

    test.compare(recorded, replayed, server)
    rr.check(b'NMI' in recorded.console(), 'Linux has not seen the NMI')
    events = faults.Recording(run.recording).of('async-request')
    rr.check([event.numbers for event in events] == [(1,), (3,)],
             f'the recording has {events}')


@rr.scenario('requests/reset/replays-identically')
def reset(test):
    """The user resets the machine while the guest downloads.  The guest starts
    again, and does everything once more.
    """
    server = test.server(FILE, pace_s=0.01)
    machine = rr.Machine(
        nics=(rr.Nic('e1000'),),
        steps=('dhcp,eth0', 'get,' + server.url(FILE), 'ping,10.0.2.2,3'))

    def start(mode):
        run = test.run(machine, mode, extra=('-S',))
        run.qmp.command('set-action', reboot='reset')
        run.qmp.command('cont')
        return run

    run = start('record')
    run.wait_line(r'\] get: ')
    run.qmp.command('system_reset')
    recorded = run.finish()
    rr.check(recorded.console().count(b'guest: Linux') == 2,
             'the guest has not started twice')
    server.stop()
    test.compare(recorded, start('replay').finish(), server)


# --- stop and continue ------------------------------------------------------

# A machine must be stopped at least this often.
STOPS = 20


def stop_often(run, until):
    """Stop and continue @run until a line of its console matches @until.
    Returns the number of stops.
    """
    count = 0
    pattern = re.compile(until)
    while not pattern.search(run.console().decode(errors='replace')):
        run.qmp.command('stop')
        run.qmp.command('cont')
        count += 1
    return count


def stops(test, nic):
    """The machine is stopped and continued many times while the guest
    downloads, in the recording and, at other moments, in the replay.  The
    guest does not notice.
    """
    server = test.server(FILE, pace_s=0.02)
    machine = rr.Machine(
        nics=(nic,),
        steps=('dhcp,eth0', 'get,' + server.url(FILE), 'ping,10.0.2.2,3'))

    run = test.run(machine, 'record')
    run.wait_line(r'\] get: ')
    count = stop_often(run, r'\] got: ')
    recorded = run.finish()
    rr.check(count >= STOPS, f'it was stopped only {count} times')
    rr.check_downloads(recorded, FILE)
    server.stop()
    replayed = test.replay(machine)
    test.compare(recorded, replayed, server)

    run = test.run(machine, 'replay', name='stopped', extra=('-no-shutdown',))
    again = stop_often(run, r'\] ping: ')
    rr.wait_for(lambda: run.qmp.status() == 'shutdown', 'end of the guest')
    run.qmp.command('quit')
    test.compare(recorded, run.finish(), server)
    test.note(f'stopped {count} times in the recording, {again} in a replay')


for name, device in (
        ('virtio-net', rr.Nic('virtio-net-pci')),
        ('virtio-net-timer', rr.Nic('virtio-net-pci',
                                    device_options='tx=timer')),
        ('e1000', rr.Nic('e1000')), ('e1000e', rr.Nic('e1000e')),
        ('vmxnet3', rr.Nic('vmxnet3'))):
    rr.register(f'stop/{name}/replays-identically', stops, device)


def break_in(run, port, times):
    """With gdb, interrupt @run, step, read the registers and continue."""
    gdb = Gdb(port)
    for _ in range(times):
        gdb.interrupt()
        for _ in range(3):
            gdb.step()
        rr.check(re.fullmatch('[0-9a-fx]{500,}', gdb.ask('g')),
                 'gdb gets no registers')
        gdb.go_on()
    gdb.detach()
    rr.check(not run.ended(), f'{run} has ended before gdb had finished')


@rr.scenario('stop/gdb/replays-identically')
def gdb_breaks_in(test):
    """gdb interrupts the machine and steps, in the recording and in the
    replay.  The guest does not notice.
    """
    server = test.server(FILE, pace_s=0.02)
    machine = rr.Machine(
        nics=(rr.Nic('virtio-net-pci'),),
        steps=('dhcp,eth0', 'get,' + server.url(FILE), 'ping,10.0.2.2,3'))
    extra = {}
    for mode in 'record', 'replay':
        port = rr.free_port()
        extra[mode] = port, ('-gdb', f'tcp:127.0.0.1:{port}')

    port, options = extra['record']
    run = test.run(machine, 'record', extra=options)
    run.wait_line(r'\] get: ')
    break_in(run, port, 5)
    recorded = run.finish()
    rr.check_downloads(recorded, FILE)
    server.stop()
    port, options = extra['replay']
    run = test.run(machine, 'replay', extra=options)
    run.wait_line('guest: Linux')
    break_in(run, port, 5)
    test.compare(recorded, run.finish(), server)


@rr.scenario('stop/replay-break/replays-identically')
def replay_break(test):
    """A replay stops at each instruction that replay-break names, and can be
    continued.
    """
    machine = rr.Machine(
        nics=(rr.Nic('e1000'),),
        steps=('dhcp,eth0', 'ping,10.0.2.2,3'))
    recorded = test.record(machine)
    end = faults.Recording(recorded.recording).events[-1].icount

    run = test.run(machine, 'replay', extra=('-S',))
    for part in 0.2, 0.5, 0.9:
        icount = int(end * part)
        run.qmp.command('replay-break', icount=icount)
        run.qmp.command('cont')
        rr.wait_for(lambda: run.qmp.status() != 'running', 'breakpoint')
        now = run.qmp.command('query-replay')['icount']
        rr.check(now == icount, f'it stopped at {now}, not {icount}')
    run.qmp.command('cont')
    test.compare(recorded, run.finish())


# --- back ends that accept nothing -------------------------------------------

class SlowPeer:
    """The other end of a stream netdev, which reads nothing before the event
    @reads is set.
    """

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.reads = threading.Event()
        self.received = 0
        self.sock = None
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _read(self, count):
        data = b''
        while len(data) < count:
            got = self.sock.recv(count - len(data))
            if not got:
                raise ConnectionError
            data += got
        return data

    def _serve(self):
        try:
            self.sock = self.listener.accept()[0]
            self.reads.wait()
            while True:
                self._read(struct.unpack('>I', self._read(4))[0])
                self.received += 1
        except OSError:
            pass

    def close(self):
        self.reads.set()
        self.listener.close()
        if self.sock:
            self.sock.close()


# Each ping takes 41 packets; all together are more than the filter keeps.
PINGS = 120


def slow_peer(test, model):
    """The peer of a stream netdev reads nothing while the guest sends.

    The guest does not notice: its packets wait in the filter, and the filter
    drops and counts those for which it has no room.
    """
    path = test.path('peer')
    peer = SlowPeer(path)
    test.closing.append(peer)
    machine = rr.Machine(
        nics=(rr.Nic(model, backend='stream', netdev_options='server=off,'
                     f'addr.type=unix,addr.path={path}'),),
        steps=('static,eth0,10.0.2.15/24', f'flood,10.0.2.2,{PINGS}'))

    run = test.run(machine, 'record', extra=('-no-shutdown',))
    run.wait_line(r'\] flood: ')
    counters = {name: run.qmp.command('qom-get', path='/objects/f-n0',
                                      property=name)
                for name in ('unsent', 'unsent-dropped', 'sent-packets')}
    rr.check(0 < counters['unsent'] <= 4096 and counters['unsent-dropped'] > 0
             and counters['sent-packets'] >= sum(
                 counters[name] for name in ('unsent', 'unsent-dropped')),
             f'it counts {counters}')
    peer.reads.set()
    rr.wait_for(lambda: run.qmp.command(
        'qom-get', path='/objects/f-n0', property='unsent') == 0,
        'end of the queue')
    rr.wait_for(lambda: run.qmp.status() == 'shutdown', 'end of the guest')
    run.qmp.command('quit')
    recorded = run.finish()
    peer.close()
    replayed = test.replay(rr.Machine(
        nics=(rr.Nic(model, netdev_options='restrict=on'),),
        steps=machine.steps))

    test.compare(recorded, replayed)
    test.note(f'{counters}, {peer.received} packets arrived')


rr.scenarios('slow-peer/{}/replays-identically', slow_peer,
             'virtio-net-pci', 'vmxnet3')


# --- a terminal -------------------------------------------------------------

def connect(test, path):
    """Return a connection to the terminal of a QEMU that listens at @path."""
    terminal = socket.socket(socket.AF_UNIX)
    test.closing.append(terminal)
    # The file may still be that of an earlier QEMU.
    rr.wait_for(lambda: terminal.connect_ex(path) == 0, 'terminal')
    return terminal


def monitor_says(terminal, text):
    """Wait until the monitor on @terminal has printed @text."""
    terminal.settimeout(rr.STEP_CEILING)
    said = b''
    while text not in said:
        got = terminal.recv(65536)
        rr.check(got, f'the monitor does not say {text!r}, but {said!r}')
        said += got


@rr.scenario('typed/multiplexed/replays-identically')
def typed_multiplexed(test):
    """The guest shares a terminal with a monitor.  The test types lines to the
    guest, and a command to the monitor between them.  Only the lines are
    events.

    In the replay the guest reads the same lines, although the test types
    another one, and another command to the monitor, which executes it.
    """
    path = test.path('terminal')
    machine = rr.Machine(nics=(rr.Nic('e1000'),),
                         steps=('typed,ttyS1', 'typed,ttyS1'))
    options = ('-chardev', f'socket,id=mux,mux=on,path={path},server=on,'
               'wait=off', '-mon', 'chardev=mux')

    def start(mode):
        run = test.run(machine, mode, extra=options, serials=('chardev:mux',))
        return run, connect(test, path)

    run, terminal = start('record')
    run.wait_line('typed: waiting')
    terminal.sendall(b'\x01cinfo status\r\x01cto be or\n')
    rr.wait_for(lambda: run.console().count(b'typed: waiting') == 2,
                'second line')
    terminal.sendall(b'not to be\n')
    monitor_says(terminal, b'VM status: running')
    recorded = run.finish()
    run, terminal = start('replay')
    terminal.sendall(b'\x01cinfo version\r\x01cthat is the question\n')
    monitor_says(terminal, f'{rr.bases.Base().name}.'.encode())
    replayed = run.finish()

    test.compare(recorded, replayed)
    for line in (b'typed: to be or', b'typed: not to be'):
        rr.check(line in replayed.console(), f'no {line!r}')
    events = faults.Recording(recorded.recording).of('async-char-mux')
    bytes_typed = b''.join(event.data for event in events)
    rr.check(bytes_typed == b'to be or\nnot to be\n',
             f'the recording has {bytes_typed!r}')


# This is much more than a serial port takes at once.
LONG_LINE = b''.join(b'%d ' % number for number in range(600)) + b'end'


def typed(test, device, tty):
    """The guest reads lines from a device that has its own -chardev.  Before
    the second line, which is long, the client sends a break, goes away and
    connects again.

    In the replay the guest reads the same lines and has the same break, and
    nothing that a client sends then.
    """
    path = test.path('terminal')
    machine = rr.Machine(nics=(rr.Nic('e1000'),),
                         steps=(f'typed,{tty}', f'typed,{tty}'))
    options = ('-chardev', f'socket,id=c0,path={path},server=on,wait=off',
               '-device', f'{device},chardev=c0')

    run = test.run(machine, 'record', extra=options)
    terminal = connect(test, path)
    for number, line in enumerate((b'to be or\n', LONG_LINE + b'\n'), 1):
        rr.wait_for(lambda n=number:
                    run.console().count(b'typed: waiting') == n, 'prompt')
        if number == 2:
            run.qmp.command('chardev-send-break', id='c0')
            terminal.close()
            terminal = connect(test, path)
        terminal.sendall(line)
    recorded = run.finish()
    run = test.run(machine, 'replay', extra=options)
    connect(test, path).sendall(b'that is the question\n')
    replayed = run.finish()

    test.compare(recorded, replayed)
    for line in (b'typed: to be or', b'typed: ' + LONG_LINE):
        rr.check(line in replayed.console(), f'no {line!r}')
    breaks = faults.Recording(recorded.recording).of('async-char-break')
    rr.check(len(breaks) == 1, f'the recording has the breaks {breaks}')


rr.register('typed/isa-serial/replays-identically', typed, 'isa-serial',
            'ttyS1')
rr.register('typed/pci-serial/replays-identically', typed, 'pci-serial',
            'ttyS1')


PIPE_BYTES = 4096


class SlowPipe:
    """A pipe for a character device called 'slow', and its reader."""

    def __init__(self, test):
        self.path = test.path('pipe')
        for end in '.in', '.out':
            os.mkfifo(self.path + end)
        self.reader = os.open(self.path + '.out', os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self.reader, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        test.closing.append(self)

    def chardev(self):
        return f'pipe,id=slow,path={self.path}'

    def read(self, run, late):
        """Return what @run writes until it has ended.  Do not read before the
        guest is done, if @late.
        """
        pieces = []
        if late:
            run.wait_line('guest: done')
        while True:
            ended = run.ended()
            try:
                piece = os.read(self.reader, 65536)
            except BlockingIOError:
                piece = b''
            pieces.append(piece)
            if ended and not piece:
                return b''.join(pieces)
            if not piece:
                time.sleep(rr.POLL)

    def close(self):
        os.close(self.reader)


@rr.scenario('slow-console/pipe/replays-identically')
def slow_console(test):
    """The guest writes to a pipe that is smaller than its text, and nobody
    reads the pipe before the guest has printed another line.

    The guest does not wait for the pipe.  The replay is identical, with a
    reader that is as late and with one that reads at once.  The reader and the
    log of the character device get all that the guest has written, once.
    """
    machine = faults.Firmware(test.place, program=faults.WRITES_MUCH)
    pipe = SlowPipe(test)

    def start(mode, name, late):
        log = test.path(name + '.log')
        run = test.run(machine, mode, name=name, serials=('chardev:slow',),
                       extra=('-chardev', f'{pipe.chardev()},logfile={log}'))
        got = pipe.read(run, late)
        logged = rr.read(log)
        rr.check(got == logged == b'x' * faults.MANY_BYTES,
                 f'the pipe had {len(got)} bytes, the log {len(logged)}')
        return run.finish()

    recorded = start('record', 'record', True)
    for late in False, True:
        replayed = start('replay', f'replay-late-{late}', late)
        rr.check_identical(recorded, replayed)


# The limit of the bytes that wait for a character device.
UNSENT_MAX_BYTES = 8 << 20


@rr.scenario('slow-console/full/drops-and-says-so')
def full_console(test):
    """The guest writes more to a pipe than may wait for it, and nobody reads
    the pipe before the guest is done.  QEMU keeps as much as it may, drops the
    rest, and says so.  A replay whose pipe is read at once drops nothing.
    """
    machine = faults.Firmware(test.place, program=faults.WRITES_TOO_MUCH)
    pipe = SlowPipe(test)

    def start(mode, late):
        run = test.run(machine, mode, extra=(
            '-chardev', pipe.chardev(),
            '-device', 'isa-debugcon,iobase=0x300,chardev=slow'))
        return run, pipe.read(run, late)

    recorded, kept = start('record', True)
    rr.check(UNSENT_MAX_BYTES <= len(kept) <= UNSENT_MAX_BYTES + PIPE_BYTES,
             f'the pipe had {len(kept)} bytes')
    for message in (messages.CHARACTERS_DROPPED,
                    messages.CHARACTERS_DROPPED_TOTAL.format(
                        number=faults.TOO_MANY_BYTES - len(kept))):
        rr.check(message in recorded.stderr(),
                 f'{recorded} says {recorded.stderr()!r}')
    replayed, whole = start('replay', False)
    rr.check_identical(recorded.finish(), replayed.finish())
    rr.check(len(whole) == faults.TOO_MANY_BYTES and whole.startswith(kept),
             f'the pipe of the replay had {len(whole)} bytes')
    rr.check(not replayed.stderr(), f'{replayed} says {replayed.stderr()!r}')


# --- exit status ------------------------------------------------------------

def exits(test, status, step, *extra):
    """The guest ends QEMU with an exit status.  The replay ends with the same.
    """
    machine = rr.Machine(nics=(rr.Nic('e1000'),),
                         steps=('dhcp,eth0', 'ping,10.0.2.2,2', step))
    recorded = test.run(machine, 'record', extra=extra).finish(status)
    replayed = test.run(machine, 'replay', extra=extra).finish(status)
    rr.check(b'ping: ' in recorded.console(), 'the guest has not pinged')
    difference = rr.first_difference(recorded.console(), replayed.console())
    rr.check(difference is None, f'the replay differs: {difference}')
    rr.check(not replayed.stderr(), f'it says {replayed.stderr()!r}')


rr.register('exit/isa-debug-exit/same-status', exits, 2 * 21 + 1,
            'port,244,21', '-device', 'isa-debug-exit,iobase=0xf4,iosize=1')
rr.register('exit/panic-exit-failure/same-status', exits, 1, 'port,1285,1',
            '-device', 'pvpanic', '-action', 'panic=exit-failure')
rr.register('exit/panic-shutdown/same-status', exits, 0, 'port,1285,1',
            '-device', 'pvpanic')
rr.register('exit/reset/same-status', exits, 0, 'port,100,254')


GOES_ON_TRIES = 12


@rr.scenario('exit/guest-goes-on/replays-identically')
def goes_on(test):
    """A guest that has powered off still writes to its console until QEMU has
    stopped it.  Each replay stops it at the same instruction.
    """
    machine = faults.Firmware(test.place, program=faults.TALKS_ON)
    # When QEMU stops the guest depends on the host; on a busy host it is often
    # before the guest has written anything.
    for _ in range(GOES_ON_TRIES):
        recorded = test.record(machine, icount='rroverwrite=on')
        if recorded.console().endswith(b'..'):
            break
        rr.check_identical(recorded, test.replay(machine))
    else:
        raise rr.Failure('QEMU has always stopped the guest at once')
    for number in range(3):
        replayed = test.replay(machine, name=f'replay-{number}')
        rr.check_identical(recorded, replayed)
