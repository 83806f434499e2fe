# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of a recording: how it ends, a killed recorder, a full disk.

    guest                  QEMU                               this test
    +--------------+       +---------------------------+      +-------------+
    | wget, busybox|- NIC -| filter-replay - slirp     |------| HTTP server |
    +--------------+       |        |                  |      |             |
                           |    recording        QMP   |------| kill, quit, |
                           +--------|------------------+      | cont, flip  |
                                    v                         +-------------+
                            file, or file on a small tmpfs
"""

import dataclasses
import hashlib
import os
import random
import resource
import subprocess

import messages
import rr

FILE = rr.Payload(2_000_000)
MEGABYTE = 1 << 20


def downloading(server, payload=FILE):
    return rr.Machine(
        nics=(rr.Nic('e1000'),),
        steps=('dhcp,eth0', 'get,' + server.url(payload), 'ping,10.0.2.2,2'))


def starting(*steps):
    """A machine whose guest starts, takes @steps and powers off."""
    return rr.Machine(nics=(rr.Nic('e1000'),), steps=steps)


def digest(path):
    return hashlib.sha256(rr.read(path)).hexdigest()


def size_of(run):
    """The size of a run's recording so far."""
    try:
        return os.path.getsize(run.recording)
    except FileNotFoundError:
        return 0


def check_says(run, *words):
    """Check that QEMU has printed each of @words."""
    for word in words:
        rr.check(word in run.stderr(),
                 f'{run} does not say "{word}" but {run.stderr()!r}')


def check_ends_at_cut(recorded, replayed):
    """Check the console and the messages of a replay whose recording is
    cut.
    """
    rr.check_prefix(recorded, replayed)
    check_says(replayed, replayed.recording, messages.RECORDING_IS_CUT,
               'icount', 'packet')


# --- killed -----------------------------------------------------------------

def kill_at(running, moment):
    """Kill a recorder once moment() is true and two more chunks have been
    written after that.

    Returns how many bytes of its console a replay must show: as many as the
    guest had written when moment() was true.
    """
    rr.wait_for(moment, 'moment to kill the recorder')
    safe = len(running.console())
    for _ in range(2):
        size = size_of(running)
        rr.wait_for(lambda size=size: size_of(running) > size or
                    running.ended(), 'further chunk of the recording')
    rr.check(not running.ended(), f'{running} was over before it was killed')
    running.kill()
    return safe


def killed_recording(test, moment):
    """Kill a recorder at @moment.  Returns the machine, the recorder's Run,
    and how many bytes of its console a replay must show.
    """
    server = test.server(FILE, pace_s=0.01)
    machine = downloading(server)
    running = test.run(machine, 'record')
    safe = kill_at(running, lambda: moment(running))
    server.stop()
    return machine, running, safe


def killed(test, measured, threshold):
    """SIGKILL ends the recorder at a random moment.

    The replay shows the guest as far as its recording was written.  Then QEMU
    reports that the recording is cut, and where, and exits with status 1.
    """
    machine, recorded, safe = killed_recording(
        test, lambda run: measured(run) >= threshold)
    replayed = test.run(machine, 'replay').finish(status=1)
    check_ends_at_cut(recorded, replayed)
    shown = len(replayed.console())
    rr.check(shown >= safe, f'the replay shows {shown} bytes of console, '
             f'at least {safe} had been recorded')
    test.note(f'killed at {size_of(recorded)} bytes of recording, '
              f'{len(recorded.console())} bytes of console; '
              f'{shown} bytes of console replayed')


def register_kills():
    rng = random.Random(2)
    for number in range(1, 3):
        rr.register(f'killed/while-starting-{number}/replays-to-the-cut',
                    killed, lambda run: len(run.console()),
                    rng.randrange(15_000))
    for number in range(1, 5):
        rr.register(f'killed/while-downloading-{number}/replays-to-the-cut',
                    killed, size_of, rng.randrange(300_000, 1_700_000))


register_kills()


@rr.scenario('killed/at-once/says-what-there-is')
def killed_at_once(test):
    """SIGKILL ends the recorder when the guest has just written its first
    byte.

    The recording may be nearly empty, and have no event.  The replay shows the
    guest as far as it was recorded, and QEMU reports that the recording is
    cut.
    """
    machine = starting()
    recorded = test.run(machine, 'record')
    rr.wait_for(recorded.console, 'byte on the console')
    recorded.kill()

    replayed = test.run(machine, 'replay').finish(status=1)

    rr.check_prefix(recorded, replayed)
    check_says(replayed, replayed.recording, 'cut')


@rr.scenario('killed/before-the-guest-starts/says-what-there-is')
def killed_before_start(test):
    """SIGKILL ends the recorder before its machine is started.

    The recording has no event.  QEMU reports this and does not start the
    guest.
    """
    machine = starting()
    recorded = test.run(machine, 'record', extra=('-S',))
    recorded.qmp.command('query-status')
    recorded.kill()

    replayed = test.run(machine, 'replay').finish(status=1)

    rr.check(not replayed.console(), 'the replay has a guest')
    check_says(replayed, replayed.recording)


@rr.scenario('killed/rrerror-stop/pauses-at-the-cut')
def pauses_at_the_cut(test):
    """The recording of a killed recorder is replayed with rrerror=stop.  The
    machine pauses at the cut, and the monitor still answers.
    """
    machine, recorded, _ = killed_recording(
        test, lambda run: size_of(run) > 800_000)
    replayed = test.run(machine, 'replay', icount='rrerror=stop')
    replayed.qmp.event('STOP', ceiling=rr.RUN_CEILING)

    rr.check(replayed.qmp.status() == 'paused',
             f'the machine is {replayed.qmp.status()}, not paused')
    rr.check(replayed.qmp.command('query-cpus-fast'), 'no vCPU is there')
    check_ends_at_cut(recorded, replayed)


# --- damaged ----------------------------------------------------------------

@rr.scenario('damaged/byte-flipped/says-where')
def byte_flipped(test):
    """A byte in the middle of a recording has changed.

    The replay runs until the chunk with this byte.  Then QEMU names the chunk
    and exits with status 1.
    """
    server = test.server(FILE)
    machine = downloading(server)
    recorded = test.record(machine)
    server.stop()
    with open(recorded.recording, 'r+b') as f:
        f.seek(size_of(recorded) // 2)
        byte = f.read(1)[0]
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte ^ 0x10]))

    replayed = test.run(machine, 'replay').finish(status=1)

    rr.check_prefix(recorded, replayed)
    rr.check(b'] get: ' in replayed.console(),
             'the replay did not get as far as the damage')
    check_says(replayed, messages.RECORDING_IS_DAMAGED, 'chunk', 'offset',
               'icount')


# --- a full disk ------------------------------------------------------------

@dataclasses.dataclass
class SmallDisk:
    """A directory in which one command, and its children, see a small tmpfs.

    The tmpfs is in a mount namespace that only the command has, and for which
    it needs not be root.  When the command has ended, keep() moves the file
    'recording' of the tmpfs into the directory.

    @size_bytes: the size of the tmpfs
    @free_bytes: the part of it that is free before make_room()
    """
    place: str
    size_bytes: int
    free_bytes: int

    def wrapper(self):
        probe = ('unshare', '-rmp', '--fork', '--kill-child', 'true')
        if subprocess.run(probe, check=False,
                          stderr=subprocess.DEVNULL).returncode:
            raise rr.Skip('user and mount namespaces are not permitted')
        os.makedirs(self.place)
        script = f'''
            mount -t tmpfs -o size={self.size_bytes} tmpfs "$0" &&
            head -c {self.size_bytes - self.free_bytes} /dev/zero \\
                >"$0/ballast" || exit 99
            "$@"
            status=$?
            cp "$0/recording" "$0.recording" || exit 99
            exit $status
        '''
        return probe[:-1] + ('sh', '-c', script, self.place)

    def make_room(self, run):
        os.unlink(f'/proc/{run.process.pid}/root{self.place}/ballast')

    def keep(self):
        os.rename(self.place + '.recording',
                  os.path.join(self.place, 'recording'))


def wait_write_error(running, text):
    """Wait until the recorder has stopped because it cannot write."""
    event = running.qmp.event('REPLAY_WRITE_ERROR')
    running.qmp.event('STOP')
    status = running.qmp.status()
    rr.check(status == 'io-error', f'the machine is {status}, not io-error')
    rr.check(event.get('filename') == running.recording,
             f'the event names no recording: {event}')
    check_says(running, running.recording, text)


@rr.scenario('disk-full/room-and-cont/replays-identically')
def room_and_cont(test):
    """The disk is full in the middle of the download.  The machine stops, and
    QEMU sends an event.

    When there is room again, the test continues the machine.  The recording is
    complete.
    """
    server = test.server(FILE)
    machine = downloading(server)
    disk = SmallDisk(test.path('disk'), 8 * MEGABYTE, MEGABYTE)
    running = test.run(machine, 'record', recording='disk/recording',
                       wrapper=disk.wrapper())

    wait_write_error(running, 'No space left on device')
    rr.check(b'] got: ' not in running.console(),
             'the guest has finished its download')
    disk.make_room(running)
    running.qmp.command('cont')
    recorded = running.finish()
    disk.keep()
    rr.check_downloads(recorded, FILE)
    server.stop()
    replayed = test.replay(machine, recording='disk/recording')

    test.compare(recorded, replayed, server)


@rr.scenario('disk-full/cont-without-room/stops-again')
def cont_without_room(test):
    """The test continues the machine while the disk is still full, and it
    stops again.  When there is room, the test continues it once more.  The
    recording is complete.
    """
    server = test.server(FILE)
    machine = downloading(server)
    disk = SmallDisk(test.path('disk'), 8 * MEGABYTE, MEGABYTE)
    running = test.run(machine, 'record', recording='disk/recording',
                       wrapper=disk.wrapper())

    wait_write_error(running, 'No space left on device')
    running.qmp.command('cont')
    wait_write_error(running, 'No space left on device')
    disk.make_room(running)
    running.qmp.command('cont')
    recorded = running.finish()
    disk.keep()
    server.stop()
    replayed = test.replay(machine, recording='disk/recording')

    test.compare(recorded, replayed, server)


@rr.scenario('disk-full/quit/replays-to-the-cut')
def quit_on_full_disk(test):
    """The disk is full, and the test ends the recorder with 'quit'.  QEMU
    exits with status 1, and the recording replays as far as it was written.
    """
    server = test.server(FILE)
    machine = downloading(server)
    disk = SmallDisk(test.path('disk'), 8 * MEGABYTE, MEGABYTE)
    running = test.run(machine, 'record', recording='disk/recording',
                       wrapper=disk.wrapper())

    wait_write_error(running, 'No space left on device')
    running.qmp.command('quit')
    recorded = running.finish(status=1)
    disk.keep()
    server.stop()
    replayed = test.run(machine, 'replay',
                        recording='disk/recording').finish(status=1)

    check_ends_at_cut(recorded, replayed)
    rr.check(b'] get: ' in replayed.console(),
             'the replay did not get as far as the download')


@rr.scenario('file-limit/raised-and-cont/replays-identically')
def file_limit(test):
    """The recording reaches RLIMIT_FSIZE.  No signal kills the recorder: the
    machine stops.  The test raises the limit and continues the machine.
    """
    server = test.server(FILE)
    machine = downloading(server)
    running = test.run(machine, 'record',
                       wrapper=('prlimit', f'--fsize={MEGABYTE}:unlimited'))

    wait_write_error(running, 'File too large')
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE,
                     (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    running.qmp.command('cont')
    recorded = running.finish()
    server.stop()
    replayed = test.replay(machine)

    test.compare(recorded, replayed, server)


# --- ended while the guest runs ---------------------------------------------

def ends_cleanly(test, end):
    """The test ends the recorder, in the way of @end, while the guest runs.

    The recording is complete: the replay writes the same console, ends at the
    same place, and QEMU exits with status 0.
    """
    server = test.server(FILE)
    machine = dataclasses.replace(
        downloading(server),
        steps=downloading(server).steps + ('sleep,1000000',))
    running = test.run(machine, 'record')

    running.wait_line(r'\] ping: ')
    end(running)
    recorded = running.finish()
    server.stop()
    replayed = test.replay(machine)

    difference = rr.first_difference(recorded.console(), replayed.console())
    rr.check(difference is None, f'the replay differs: {difference}')
    rr.check('cut' not in replayed.stderr(),
             f'the recording is not complete: {replayed.stderr()}')


rr.register('ended/by-quit/replays-to-its-end', ends_cleanly,
            lambda run: run.qmp.command('quit'))
rr.register('ended/by-sigterm/replays-to-its-end', ends_cleanly,
            lambda run: run.process.terminate())


# --- an existing recording --------------------------------------------------

@rr.scenario('existing/complete/refused')
def existing_complete(test):
    """rr=record names a complete recording.  QEMU refuses to overwrite it."""
    machine = starting()
    recorded = test.record(machine)
    before = digest(recorded.recording)

    refused = test.run(machine, 'record', name='again').finish(status=1)

    check_says(refused, recorded.recording, 'complete',
               f'{size_of(recorded)} bytes', 'rroverwrite=on')
    rr.check(digest(recorded.recording) == before,
             'the recording has changed')


@rr.scenario('existing/cut/refused')
def existing_cut(test):
    """rr=record names the recording of a killed recorder.  QEMU refuses to
    overwrite it, as the recording may show why the recorder was killed.
    """
    machine = starting('sleep,1000000')
    running = test.run(machine, 'record')
    kill_at(running, lambda: b'] guest: ' in running.console())
    before = digest(running.recording)

    refused = test.run(machine, 'record', name='again').finish(status=1)

    check_says(refused, running.recording, 'cut', f'{size_of(running)} bytes',
               'rroverwrite=on')
    rr.check(digest(running.recording) == before,
             'the recording has changed')


@rr.scenario('existing/overwrite/replaced')
def existing_overwrite(test):
    """rroverwrite=on replaces an existing recording, even a longer one."""
    server = test.server(FILE)
    longer = downloading(server)
    machine = starting()
    before = size_of(test.record(longer))

    recorded = test.record(machine, name='again', icount='rroverwrite=on')
    replayed = test.replay(machine)

    test.compare(recorded, replayed)
    rr.check(size_of(recorded) < before, 'the old recording is still in it')


# --- compression ------------------------------------------------------------

@rr.scenario('compression/none/replays-identically')
def compression_none(test):
    """rrcompress=none stores packets in the recording without compression."""
    text = rr.Payload(1_000_000, text=True)
    server = test.server(text)
    machine = downloading(server, text)

    recorded = test.record(machine, icount='rrcompress=none')
    rr.check_downloads(recorded, text)
    recording = rr.read(recorded.recording)
    # one sample may be split between two packets, but not all samples
    rr.check(any(text.content()[start:start + 64] in recording
                 for start in range(0, text.size_bytes, 100_000)),
             'the recording does not have the file uncompressed')
    server.stop()
    replayed = test.replay(machine)

    test.compare(recorded, replayed, server)


@rr.scenario('compression/zlib/replays-identically')
def compression_zlib(test):
    """By default QEMU compresses: a recording of text is less than half as
    large as the text.
    """
    text = rr.Payload(2_000_000, text=True)
    server = test.server(text)
    machine = downloading(server, text)

    recorded = test.record(machine)
    rr.check_downloads(recorded, text)
    server.stop()
    replayed = test.replay(machine)

    test.compare(recorded, replayed, server)
    rr.check(size_of(recorded) < text.size_bytes // 2,
             f'the recording has {size_of(recorded)} bytes')
