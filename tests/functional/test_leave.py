# SPDX-License-Identifier: GPL-2.0-or-later
"""A replay is left: the machine goes on with its real back ends.

    the first recording   0 ----- place ----------------> end
    a replay of it        0 ----> place
                                    `- - - another end       (replay-leave)
    the new recording     0 ----- place - - another end

In the first part the guest downloads a file.  In the second it downloads
another, whose content on the server has changed since the first recording.
"""

import dataclasses
import os
import socket

import faults
import messages
import places
import rr
import test_backends
import test_control
import test_disks

FIRST = rr.Payload(400_000)
SECOND = rr.Payload(500_000, seed=2)


@dataclasses.dataclass(frozen=True)
class Changed(rr.Payload):
    """A file that has the name of SECOND and another content."""
    size_bytes: int = SECOND.size_bytes
    seed: int = 3

    def path(self):
        return SECOND.path()


CHANGED = Changed()


def record(test, nic, before=(), after=(), typed=None, **options):
    """Record both downloads.

    @before, @after: more steps of the guest, before and after the place where
        the replay is left
    @typed: a function(run) that uses the guest while it is recorded

    Return the machine, the run, and the server, whose second file has changed
    then.
    """
    server = test.server(FIRST, SECOND)
    machine = rr.Machine(nics=(nic,), steps=(
        'dhcp,eth0', *before, 'get,' + server.url(FIRST), 'ping,10.0.2.2,1',
        'sleep,2', *after, 'get,' + server.url(SECOND)))
    run = test.run(machine, 'record', **options)
    if typed:
        typed(run, 'recorded')
    recorded = run.finish()
    rr.check_downloads(recorded, FIRST, SECOND)
    return machine, recorded, change(test, server)


def change(test, server):
    """Change the second file of @server."""
    listener = server.http.socket.dup()
    server.stop()
    return test.server(FIRST, CHANGED, listener=listener)


# Lengths that a virtio header may have.
HEADERS = 0, 10, 12


def is_echo(frame):
    """Is @frame, perhaps behind a virtio header, of ICMP in IPv4?"""
    return any(frame[n + 12:n + 15] == b'\x08\x00\x45' and frame[n + 23] == 1
               for n in HEADERS)


def between(run):
    """The number of an event between the downloads: some time after the answer
    to the guest's ping, while the guest sleeps.
    """
    recording = faults.Recording(run.recording)
    answers = [event for event in recording.of('async-net')
               if is_echo(event.data)]
    timers = [event for event in recording.of('checkpoint-clock-virtual')
              if event.number > answers[-1].number]
    return timers[len(timers) // 4].number


def stop_at(test, machine, event, name='left', recording='recording',
            **options):
    """Replay up to @event, and stop there; return the run."""
    extra = (*options.pop('extra', ()), '-S')
    run = test.run(machine, 'replay', name=name, recording=recording,
                   extra=extra, **options)
    run.qmp.command('replay-break', event=event)
    run.qmp.command('cont')
    now = places.arrive(run)
    rr.check(now['events'] == event, f'the replay has stopped at {now}')
    return run


def leave(test, run, file='new'):
    """Leave the replay @run for a new recording."""
    run.qmp.command('replay-leave', file=test.path(file))
    now = run.qmp.command('query-replay')
    rr.check(now['mode'] == 'record' and now['filename'] == test.path(file),
             f'after the replay was left: {now}')
    run.recording = test.path(file)
    run.qmp.command('cont')


def compare(test, machine, left, server, recording='new', **options):
    """Check that a replay of the new recording is what happened after the
    other replay was left.
    """
    server.stop()
    test.compare(left, test.replay(machine, name='again', recording=recording,
                                   **options), server)


# --- A new recording --------------------------------------------------------

def goes_on(test, nic, **more):
    """The guest downloads a file, and the replay is left for a new recording.
    The guest then gets the new content of the second file.  A replay of the new
    recording, without the server, is identical.
    """
    typed = more.pop('typed', None)
    extra = more.get('extra', ())
    machine, recorded, server = record(test, nic, typed=typed, **more)

    left = stop_at(test, machine, between(recorded), extra=extra)
    leave(test, left)
    if typed:
        typed(left, 'left')
    left.finish()
    rr.check_downloads(left, FIRST, CHANGED)
    compare(test, machine, left, server, extra=extra)


for _model in 'virtio-net-pci', 'e1000', 'rtl8139':
    rr.register(f'leave/{_model}/replays-identically', goes_on, rr.Nic(_model))


@rr.scenario('leave/with-devices/replays-identically')
def with_devices(test):
    """After the replay was left the guest also reads a disk, random bytes from
    a file of the host, and a line that the test types.
    """
    path = test.path('terminal')

    def typed(run, line):
        terminal = test_control.connect(test, path)
        run.wait_line('typed: waiting')
        terminal.sendall(line.encode() + b'\n')
        run.wait_line('typed: ' + line)

    disk = test_disks.DISKS['virtio']
    image, _ = test_disks.make_image(test, disk.image_format)
    goes_on(test, rr.Nic('virtio-net-pci'), typed=typed,
            after=(disk.step, 'hwrng,4096', 'typed,ttyS1'), extra=(
                *[argument.format(image=image) for argument in disk.arguments],
                '-object', 'rng-random,id=r0,filename=/dev/urandom',
                '-device', 'virtio-rng-pci,rng=r0',
                '-chardev', f'socket,id=c0,path={path},server=on,wait=off',
                '-device', 'isa-serial,chardev=c0'))


def in_request(test, kind):
    """The replay is left while a disk works on a request of the guest."""
    disk = test_disks.DISKS[kind]
    image, _ = test_disks.make_image(test, disk.image_format)
    extra = [argument.format(image=image) for argument in disk.arguments]
    machine, recorded, server = record(test, rr.Nic('e1000'), (disk.step,),
                                       extra=extra)
    requests = faults.Recording(recorded.recording).of('async-block')

    left = stop_at(test, machine, requests[len(requests) // 2].number,
                   extra=extra)
    leave(test, left)
    left.finish()
    rr.check_downloads(left, FIRST, CHANGED)
    compare(test, machine, left, server, extra=extra)


rr.scenarios('leave/in-request-to-{}/replays-identically', in_request,
             'virtio', 'hda', 'virtio-scsi')


@rr.scenario('leave/in-download/replays-identically')
def in_download(test):
    """The replay is left in the middle of the first download.  The server does
    not know the connection, so the guest gives up.  A replay does the same.
    """
    machine, recorded, server = record(test, rr.Nic('virtio-net-pci'))
    packets = faults.Recording(recorded.recording).of('async-net')

    left = stop_at(test, machine, packets[len(packets) // 4].number)
    leave(test, left)
    left.finish()
    rr.check(rr.downloads(left) == [] and b'FAIL' in left.console(),
             f'{left}: the guest has downloaded {rr.downloads(left)}')
    server.stop()
    again = test.replay(machine, name='again', recording='new')
    difference = rr.first_difference(left.console(), again.console())
    rr.check(difference is None, f'the replay differs: {difference}')


@rr.scenario('leave/after-travel/replays-identically')
def after_travel(test):
    """The replay goes back to a request to a disk before it is left."""
    disk = test_disks.DISKS['virtio']
    image, _ = test_disks.make_image(test, disk.image_format)
    extra = [argument.format(image=image) for argument in disk.arguments]
    machine, recorded, server = record(test, rr.Nic('virtio-net-pci'),
                                       (disk.step,), extra=extra)
    requests = faults.Recording(recorded.recording).of('async-block')

    left = stop_at(test, machine, between(recorded), extra=extra)
    places.seek(left, event=requests[len(requests) // 2].number)
    leave(test, left)
    left.finish()
    server.stop()
    again = test.replay(machine, name='again', recording='new', extra=extra)
    rr.check_downloads(again, FIRST, CHANGED)
    # the console of @left has some lines twice
    for run in left, again:
        rr.check(b'guest: done' in run.console(), f'{run} did not finish')
    last = [run.console().rsplit(b'] got: 400000', 1)[1]
            for run in (left, again)]
    difference = rr.first_difference(*last)
    rr.check(difference is None, f'the replay differs: {difference}')


@rr.scenario('leave/tap/replays-identically')
def tap(test):
    """The NIC uses the virtio header of a tap, before the replay is left and
    after it.
    """
    space = test_backends.namespace(test, 1)
    server = test.server(FIRST, SECOND, listener=space.listener())
    first, second = (server.url(file, host='10.2.0.1')
                     for file in (FIRST, SECOND))
    machine = rr.Machine(
        nics=test_backends.tap_nics(('virtio-net-pci',), space),
        steps=('static,eth0,10.2.0.15/24', 'get,' + first, 'ping,10.2.0.1,1',
               'sleep,2', 'get,' + second))
    recorded = test.record(machine, fds=space.taps)
    rr.check_downloads(recorded, FIRST, SECOND)
    server = change(test, server)

    left = stop_at(test, machine, between(recorded), fds=space.taps)
    leave(test, left)
    left.finish()
    rr.check_downloads(left, FIRST, CHANGED)
    compare(test, machine, left, server, wrapper=rr.without_network())


@rr.scenario('leave/twice/replays-identically')
def twice(test):
    """The recording that begins with a replay is replayed and left again."""
    machine, recorded, server = record(test, rr.Nic('e1000'))

    left = stop_at(test, machine, between(recorded))
    leave(test, left, 'second')
    left.finish()
    rr.check_downloads(left, FIRST, CHANGED)
    again = stop_at(test, machine, between(left), name='left-again',
                    recording='second')
    leave(test, again, 'new')
    again.finish()
    rr.check_downloads(again, FIRST, CHANGED)
    compare(test, machine, again, server)


@rr.scenario('leave/options/replays-identically')
def options(test):
    """The command line says where the replay is left."""
    machine, recorded, server = record(test, rr.Nic('virtio-net-pci'))

    left = test.record(
        machine, name='left', recording='new',
        icount=f'rrfrom={recorded.recording},rrat=event={between(recorded)}')
    rr.check(messages.LEAVE_ARRIVED in left.stderr(),
             f'{left} says {left.stderr()!r}')
    rr.check_downloads(left, FIRST, CHANGED)
    compare(test, machine, left, server)


# --- Nothing is recorded ----------------------------------------------------

@rr.scenario('leave/unrecorded/goes-on')
def unrecorded(test):
    """The replay is left while it runs, and nothing is recorded from there on.
    The first recording stays as it is.
    """
    machine, recorded, server = record(test, rr.Nic('virtio-net-pci'))
    before = rr.read(recorded.recording)

    left = stop_at(test, machine, between(recorded))
    left.qmp.command('cont')
    left.qmp.command('replay-leave')
    now = left.qmp.command('query-replay')
    rr.check(now['mode'] == 'none', f'after the replay was left: {now}')
    problem = places.human(left, 'savevm here')
    rr.check(messages.LEAVE_NO_SNAPSHOT in problem, f'savevm says {problem!r}')
    left.finish()
    rr.check_downloads(left, FIRST, CHANGED)
    server.stop()
    rr.check(rr.read(recorded.recording) == before,
             'the first recording has changed')
    test.compare(recorded, test.replay(machine))


# --- What is refused --------------------------------------------------------

def refuses(run, expected, **arguments):
    problem = places.human(run, ' '.join(['replay_leave',
                                               *arguments.values()]))
    rr.check(expected in problem, f'replay_leave says {problem!r}')


@rr.scenario('leave/refused/replay-goes-on')
def refused(test):
    """A replay cannot be left, for several reasons.  Each time it can go on,
    and at last it ends as it was recorded.
    """
    port = rr.free_port()
    nic = rr.Nic('e1000', netdev_options=f'hostfwd=tcp:127.0.0.1:{port}-:80')
    machine, recorded, _ = record(test, nic)
    event = between(recorded)

    run = test.run(machine, 'replay', extra=('-S',))
    refuses(run, messages.LEAVE_NOT_BEGUN)
    run.qmp.command('replay-break', event=event)
    run.qmp.command('cont')
    places.arrive(run)
    refuses(run, messages.LEAVE_SAME_FILE, file=recorded.recording)
    with open(test.path('other'), 'wb') as other:
        other.write(b'something')
    refuses(run, messages.LEAVE_FILE_EXISTS, file=test.path('other'))
    rr.check(rr.read(test.path('other')) == b'something', 'a file is lost')
    with socket.create_server(('127.0.0.1', port)):
        refuses(run, messages.LEAVE_PORT, file=test.path('new'))
    rr.check(not os.path.exists(test.path('new')),
             'there is a recording of nothing')
    run.qmp.command('cont')
    test.compare(recorded, run.finish())


@rr.scenario('leave/options-refused/reported')
def options_refused(test):
    """Options that make no sense are reported before the guest runs, and no
    file is left behind.
    """
    machine, recorded, _ = record(test, rr.Nic('e1000'))
    old = f'rrfrom={recorded.recording}'
    for icount, name, expected in (
            (old, 'new', messages.LEAVE_OPTIONS),
            ('rrat=packet=3', 'new', messages.LEAVE_OPTIONS),
            (old + ',rrat=packet=none', 'new', messages.PLACE_NUMBER),
            (old + ',rrat=packet=99999999', 'new', messages.PLACE_PACKETS),
            (old + ',rrat=packet=3', 'recording', messages.LEAVE_SAME_FILE)):
        run = test.run(machine, 'record', name='refused', recording=name,
                       icount=icount).finish(status=1)
        rr.check(expected in run.stderr(), f'{icount}: {run.stderr()!r}')
        rr.check(not os.path.exists(test.path('new')),
                 f'{icount}: there is a recording of nothing')
    rr.check(os.path.getsize(recorded.recording) > 0, 'the recording is lost')
