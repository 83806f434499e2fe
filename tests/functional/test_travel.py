# SPDX-License-Identifier: GPL-2.0-or-later
"""A replay goes to places, forwards and backwards.

    straight:   0 ------> place ------> place ------> ...   (replay-break)
    travel:     0 ----------------------> place
                     place <---------------'                (replay-seek)
                       `-----> place ...

The machine at a place must be the same in both: registers, interrupt
controllers, memory, and what the adapters have counted.
"""

import json
import os
import random
import subprocess

import faults
import messages
import rr
import test_disks
from gdb import Gdb
from places import arrive, differences, human, seek, state

FILE = rr.Payload(1500000)

# Places of each kind, and visits to them.
PLACES = 3
VISITS = 15

# Packets of a list to which a replay goes.
LISTED = 100


def record(test, model, steps=(), arguments=()):
    server = test.server(FILE)
    machine = rr.Machine(
        nics=(rr.Nic(model),),
        steps=('dhcp,eth0', 'get,' + server.url(FILE), *steps))
    recorded = test.record(machine, extra=arguments)
    rr.check_downloads(recorded, FILE)
    server.stop()
    return machine, recorded


def choose_places(recording, seed=1):
    """Some places of each kind, in the order of the recording."""
    chance = random.Random(seed)
    events = recording.events[100:-100]
    packets = len(recording.of('async-net'))
    places = [{'icount': chance.randrange(event.icount, event.icount + 1000)}
              for event in chance.sample(events, PLACES)]
    places += [{'event': event.number}
               for event in chance.sample(events, PLACES)]
    places += [{'packet': number}
               for number in chance.sample(range(1, packets), PLACES)]
    return places


def states_straight(test, machine, recording, places, arguments):
    """The state at each place of a replay that never goes back."""
    run = test.run(machine, 'replay', name='straight', extra=(
        *arguments, '-S'), icount='rrcheckpoints=off',
                   recording=recording.path)
    states = {}
    for place in sorted(places, key=lambda p: place_order(recording, p)):
        run.qmp.command('replay-break', **place)
        run.qmp.command('cont')
        now = arrive(run)
        if 'packet' in place:
            rr.check(now['packets'] == place['packet'] - 1 and
                     now['next-event'] == 'async-net' and
                     now['next-packet'] == place['packet'],
                     f'it has stopped at {now}, not before {place}')
        elif 'icount' in place:
            rr.check(now['icount'] == place['icount'],
                     f'it has stopped at {now}, not at {place}')
        states[str(place)] = state(test, run)
    rr.check(not now.get('checkpoints'), f'it has made checkpoints: {now}')
    run.kill()
    return states


def place_order(recording, place):
    """A key that sorts places in the order of the recording."""
    if 'event' in place:
        return place['event'], 0
    if 'packet' in place:
        return recording.of('async-net')[place['packet'] - 1].number, 0
    for event in recording.events:
        if event.icount >= place['icount']:
            before = recording.events[event.number - 1]
            if event.icount == place['icount']:
                return event.number, 0
            return before.number, place['icount']
    raise rr.Failure(f'{place} is not in the recording')


def is_always_the_same(test, model, steps=(), arguments=()):
    """A replay visits places in any order, most of them several times, and
    then runs from near its beginning to its end.
    """
    machine, recorded = record(test, model, steps, arguments)
    recording = faults.Recording(recorded.recording)
    places = choose_places(recording)
    straight = states_straight(test, machine, recording, places, arguments)

    run = test.run(machine, 'replay', name='travel', extra=(*arguments, '-S'))
    chance = random.Random(2)
    for number in range(VISITS):
        place = chance.choice(places)
        seek(run, **place)
        differ = differences(straight[str(place)], state(test, run))
        rr.check(not differ, f'visit {number}, at {place}: {differ} differ')
    made = run.qmp.command('query-replay')['checkpoints']
    rr.check(made[0]['icount'] == 0 and len(made) > 1,
             f'its checkpoints are {made}')
    seek(run, event=recording.events[20].number)
    run.qmp.command('cont')
    run.finish()
    rr.check(run.console().endswith(recorded.console()),
             'the last pass of the guest has written something else')


for MODEL in 'virtio-net-pci', 'e1000':
    rr.scenarios('travel/{}/a-place-is-always-the-same', is_always_the_same,
                 MODEL)


def disk(test, kind):
    """The same, with a disk to which the guest writes."""
    kind = test_disks.DISKS[kind]
    path, _ = test_disks.make_image(test, kind.image_format)
    is_always_the_same(
        test, 'virtio-net-pci', steps=(kind.step,),
        arguments=[word.format(image=path) for word in kind.arguments])


rr.scenarios('travel/disk-{}/a-place-is-always-the-same', disk,
             'virtio', 'hda', 'virtio-scsi')


def listed(recording):
    """The packets from outside, as qemu-replay lists them."""
    tool = os.path.join(os.path.dirname(rr.QEMU), 'qemu-replay')
    done = subprocess.run(
        [tool, 'list', '--output=json', '--kind', 'async-net', recording],
        capture_output=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return [event for event in events if 'packet' in event]


@rr.scenario('travel/listed-packets/are-where-the-list-says')
def listed_packets(test):
    """The replay goes to packets that were chosen at random in the list.  The
    adapter's own number leads to the same place.
    """
    machine, recorded = record(test, 'virtio-net-pci')
    packets = listed(recorded.recording)
    rr.check([event['packet'] for event in packets]
             == list(range(1, len(packets) + 1)), 'the numbers of the list')
    run = test.run(machine, 'replay', extra=('-S',))
    for event in random.Random(4).sample(packets, LISTED):
        where = event['icount'], event['event'], event['packet']
        for adapter in {}, {'adapter': 'n0'}:
            now = seek(run, packet=event['packet'], **adapter)
            there = now['icount'], now['events'], now['next-packet']
            rr.check(there == where, f'it is at {there}, not at {where}')
    run.kill()
    test.note(f'{LISTED} of {len(packets)} packets')


@rr.scenario('travel/end/goes-back')
def end_goes_back(test):
    """The guest has shut down, and -no-shutdown keeps QEMU.  The replay goes
    back from there, and comes to the same end again.
    """
    machine, recorded = record(test, 'virtio-net-pci')
    run = test.run(machine, 'replay', extra=('-S', '-no-shutdown'))
    run.qmp.command('cont')
    rr.wait_for(lambda: run.qmp.status() == 'shutdown', 'shutdown')
    rr.check(run.console() == recorded.console(), 'the replay differs')
    now = seek(run, packet=3)
    rr.check(now['packets'] == 2, f'it is at {now}')
    seek(run, event=20)
    run.qmp.command('cont')
    rr.wait_for(lambda: run.qmp.status() == 'shutdown', 'shutdown')
    rr.check(run.console().endswith(recorded.console()),
             'the second pass of the guest has written something else')
    run.qmp.command('quit')
    run.finish()


@rr.scenario('travel/no-such-place/refused')
def no_such_place(test):
    """The user names places that do not exist, and a place behind which a
    replay without checkpoints is.  The replay then goes on to its end.
    """
    machine, recorded = record(test, 'virtio-net-pci')
    recording = faults.Recording(recorded.recording)
    packets = len(recording.of('async-net'))
    run = test.run(machine, 'replay', extra=('-S',),
                   icount='rrcheckpoints=off')
    for place, message in (
            ('packet=0', messages.PLACE_COUNTED_FROM),
            (f'packet={packets + 1}', messages.PLACE_PACKETS),
            (f'packet={packets + 1},adapter=n0', messages.PLACE_PACKETS),
            ('packet=1,adapter=n7', messages.PLACE_ADAPTER),
            ('packet=1,event=1', messages.PLACE_NAMES),
            ('adapter=n0', messages.PLACE_NAMES),
            (f'event={1 << 40}', messages.PLACE_EVENTS),
            (f'icount={1 << 60}', messages.PLACE_ICOUNT),
            ('packet=first', messages.PLACE_NUMBER)):
        for command in 'replay_seek', 'replay_break':
            answer = human(run, f'{command} {place}')
            rr.check(message in answer, f'{command} {place}: {answer!r}')
    now = seek(run, packet=2, adapter='n0')
    rr.check(now['next-packet'] == 2, f'it is at {now}')
    answer = human(run, 'replay_break packet=1')
    rr.check(messages.PLACE_PASSED in answer, f'the answer is {answer!r}')
    answer = human(run, 'replay_seek packet=1')
    rr.check(messages.NO_CHECKPOINT in answer, f'the answer is {answer!r}')
    run.qmp.command('cont')
    test.compare(recorded, run.finish())


# --- gdb -----------------------------------------------------------------------

class Debugged:
    """A replay with a gdb."""

    def __init__(self, test, machine):
        port = rr.free_port()
        self.run = test.run(machine, 'replay', extra=(
            '-S', '-gdb', f'tcp:127.0.0.1:{port}'))
        self.run.qmp.command('query-status')
        self.gdb = Gdb(port)

    def go(self, **place):
        """Go to @place.  The machine must not be there already."""
        seek(self.run, **place)

    def here(self):
        now = self.run.qmp.command('query-replay')
        return now['icount'], now['events'], self.gdb.ask('g')


@rr.scenario('travel/gdb/steps-back')
def steps_back(test):
    """gdb steps over interrupts and exceptions, back again, and forward.  It
    sees the same at each step.
    """
    machine, recorded = record(test, 'e1000')
    recording = faults.Recording(recorded.recording)
    debugged = Debugged(test, machine)
    chance = random.Random(3)
    taken = [event for event in recording.of('interrupt', 'exception')
             if event.icount > 1000]
    halted = 0
    for event in chance.sample(taken, 6) + chance.sample(woken(recording), 2):
        debugged.go(icount=event.icount - 3)
        seen = [debugged.here()]
        for _ in range(7):
            debugged.gdb.step()
            seen.append(debugged.here())
            halted += 'HLT=1' in human(debugged.run, 'info registers')
        rr.check(any(one[0] == other[0] for one, other in zip(seen, seen[1:])),
                 f'no step took the {event.kind} at {event.icount}')
        rr.check(len(set(seen)) == len(seen), 'a step has changed nothing')
        for there in reversed(seen[:-1]):
            debugged.gdb.step_back()
            rr.check(debugged.here() == there, f'near {event}, a step back '
                     f'leads to {debugged.here()}, not {there}')
        for there in seen[1:]:
            debugged.gdb.step()
            rr.check(debugged.here() == there, f'near {event}, the second '
                     f'step leads to {debugged.here()}, not {there}')
    rr.check(halted, 'no step has halted the vCPU')
    debugged.run.kill()


def woken(recording):
    """The interrupts that have woken the halted vCPU."""
    idle = {event.icount for event in recording.of('checkpoint-warp-start')}
    return [event for event in recording.of('interrupt')
            if event.icount in idle]


@rr.scenario('travel/gdb/continues-back')
def continues_back(test):
    """gdb continues to some breakpoints, and then back.  It stops at the same
    places in the other order, and at last where the replay begins.
    """
    machine, recorded = record(test, 'virtio-net-pci')
    recording = faults.Recording(recorded.recording)
    debugged = Debugged(test, machine)
    arrivals = recording.of('async-net')
    # the instruction after an interrupt in the middle of the download is hit
    # again and again
    middle = recording.first('interrupt', since=arrivals[200].number)
    debugged.go(event=middle.number + 1)
    address = debugged.gdb.program_counter()
    start = debugged.here()
    debugged.gdb.breakpoint(address)
    hits = [start]
    for _ in range(4):
        debugged.gdb.pass_breakpoint(address)
        debugged.gdb.go_on()
        debugged.gdb.wait_stop()
        hits.append(debugged.here())
        rr.check(debugged.gdb.program_counter() == address,
                 f'gdb has stopped at {hits[-1]}')
    debugged.gdb.step()
    for hit in reversed(hits):
        debugged.gdb.continue_back()
        rr.check(debugged.here()[0] == hit[0]
                 and debugged.here()[2] == hit[2],
                 f'gdb is at {debugged.here()}, not {hit}')
    debugged.gdb.breakpoint(address, False)
    debugged.gdb.continue_back()
    rr.check(debugged.here()[0] == 0, f'gdb is at {debugged.here()}')
    debugged.run.kill()
