# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with several vCPUs.

The guest downloads a file while threads race for a number without a lock
(guest/race.c), and while the work for received packets is spread over vCPUs.
What the race ends with is another in each recording, and the same in each replay.
"""

import dataclasses
import re

import faults
import messages
import places
import rr
import test_snapshots
import test_travel
from gdb import Gdb

FILE = rr.Payload(1_500_000)
ROUNDS = 60_000


@dataclasses.dataclass(frozen=True)
class Machine(rr.Machine):
    """A machine of another type."""
    kind: str = 'pc'

    def arguments(self):
        words = super().arguments()
        words[words.index('-M') + 1] = self.kind
        return words


def guest(server, cpus, model, kind='pc'):
    return Machine(
        nics=(rr.Nic(model),), kind=kind, steps=(
            'dhcp,eth0', f'rps,eth0,{(1 << cpus) - 1:x}',
            f'bg,race,{cpus},{ROUNDS}', 'get,' + server.url(FILE), 'join',
            f'cpu,{cpus - 1},0', f'race,{cpus},{ROUNDS}', f'cpu,{cpus - 1},1',
            f'race,{cpus},{ROUNDS}'))


def races(run):
    found = re.findall(r'race: (\d+) of \d+, sum (\w+), (\d+) vCPUs',
                       run.console().decode(errors='replace'))
    rr.check(len(found) == 3, f'{run}: the races are {found}')
    return found


def replays(test, cpus, model, kind='pc'):
    """A vCPU is switched off and on again between races."""
    server = test.server(FILE)
    machine = guest(server, cpus, model, kind)
    extra = ('-smp', str(cpus))

    recorded = test.record(machine, extra=extra)
    rr.check_downloads(recorded, FILE)
    rr.check([int(race[2]) for race in races(recorded)]
             == [cpus, cpus - 1, cpus], f'{recorded}: {races(recorded)}')
    server.stop()
    replayed = test.replay(machine, extra=extra)

    test.compare(recorded, replayed, server)


for _cpus, _model, _kind in ((2, 'e1000', 'pc'), (4, 'virtio-net-pci', 'pc'),
                             (4, 'e1000e', 'q35'), (8, 'vmxnet3', 'q35')):
    rr.register(f'smp/{_cpus}-{_model}-{_kind}/replays-identically', replays,
                _cpus, _model, _kind)


@rr.scenario('smp/race/differs-between-recordings')
def differs(test):
    """Two recordings of one machine have other results, and each replay has
    those of its recording.
    """
    server = test.server(FILE)
    machine = guest(server, 2, 'virtio-net-pci')
    runs = []
    for name in 'one', 'two':
        recorded = test.record(machine, name=name, recording=name,
                               extra=('-smp', '2'))
        replayed = test.replay(machine, name=name + '-again', recording=name,
                               extra=('-smp', '2'))
        rr.check_identical(recorded, replayed)
        runs.append(races(recorded))

    rr.check(runs[0] != runs[1], f'the race was the same twice: {runs[0]}')


@rr.scenario('smp/travel/a-place-is-always-the-same')
def travel(test):
    """A replay goes to places in any order, also while vCPUs race."""
    test_travel.is_always_the_same(
        test, 'virtio-net-pci', steps=(f'race,2,{ROUNDS}',),
        arguments=('-smp', '2'))


@rr.scenario('smp/snapshot/replays-identically')
def snapshot(test):
    """A replay saves a snapshot while the second vCPU executes, and another
    replay begins there.
    """
    server = test.server(FILE)
    machine = guest(server, 2, 'e1000')
    extra = (*test_snapshots.image(test), '-smp', '2')
    recorded = test.record(machine, extra=extra)
    server.stop()
    recording = faults.Recording(recorded.recording)
    changes = recording.of('vcpu')
    second = next(event for event in changes[len(changes) // 2:]
                  if event.numbers == (1,))

    first = test.run(machine, 'replay', name='first', extra=(*extra, '-S'))
    first.qmp.command('replay-break', event=second.number + 1)
    first.qmp.command('cont')
    places.arrive(first)
    problem = places.human(first, 'savevm there')
    rr.check(not problem, f'savevm says {problem!r}')
    first.qmp.command('cont')
    first.finish()
    rr.check_identical(recorded, first)
    again = test.replay(machine, name='again', extra=extra,
                        icount='rrsnapshot=there')

    rr.check(recorded.console().endswith(again.console())
             and races(recorded)[-1:] == races_at_end(again),
             f'{again} differs from the end of {recorded}')


def races_at_end(run):
    return re.findall(r'race: (\d+) of \d+, sum (\w+), (\d+) vCPUs',
                      run.console().decode(errors='replace'))[-1:]


@rr.scenario('smp/gdb/sees-the-same-threads')
def debugged(test):
    """gdb sees a thread for each vCPU.  At one place in two replays they have
    the same registers, and a step back undoes a step of any of them.
    """
    server = test.server(FILE)
    machine = guest(server, 2, 'e1000')
    recorded = test.record(machine, extra=('-smp', '2'))
    server.stop()
    changes = faults.Recording(recorded.recording).of('vcpu')
    place = changes[len(changes) // 2].icount + 100

    seen = []
    for name in 'one', 'two':
        port = rr.free_port()
        run = test.run(machine, 'replay', name=name, extra=(
            '-smp', '2', '-S', '-gdb', f'tcp:127.0.0.1:{port}'))
        run.qmp.command('replay-seek', icount=place)
        places.arrive(run)
        gdb = Gdb(port)
        test.closing.append(gdb)
        seen.append([(thread, step_and_back(gdb, thread))
                     for thread in threads(gdb)])
        run.kill()
    rr.check(len(seen[0]) == 2 and seen[0] == seen[1],
             f'gdb sees {seen[0]} and {seen[1]}')


def threads(gdb):
    """The threads that gdb sees; QEMU names them one by one."""
    found = []
    answer = gdb.ask('qfThreadInfo')
    while answer.startswith('m'):
        found += answer[1:].split(',')
        answer = gdb.ask('qsThreadInfo')
    return found


def registers(gdb, thread):
    rr.check(gdb.ask('Hg' + thread) == 'OK', f'gdb does not find {thread}')
    return gdb.ask('g')


def step_and_back(gdb, thread):
    """Step the thread and step back; return its registers at first."""
    before = registers(gdb, thread)
    rr.check(gdb.ask('Hc' + thread) == 'OK', f'gdb does not find {thread}')
    gdb.step()
    rr.check(registers(gdb, thread) != before,
             f'a step of {thread} has changed nothing')
    gdb.step_back()
    rr.check(registers(gdb, thread) == before,
             f'thread {thread} has other registers')
    return before


@rr.scenario('smp/no-such-vcpu/reported')
def no_such_vcpu(test):
    """A hostile recording goes on on a vCPU that the machine does not have."""
    server = test.server(FILE)
    machine = guest(server, 2, 'e1000')
    recorded = test.record(machine, recording='whole', extra=('-smp', '2'))
    change = faults.Recording(recorded.recording).first('vcpu')
    faults.run_tool(recorded.recording, test.path('recording'), 'add',
                    change.number, 0, 76)
    replayed = test.run(machine, 'replay', extra=('-smp', '2')).finish(status=1)
    rr.check(messages.VCPU_UNKNOWN in replayed.stderr(),
             f'the replay reports: {replayed.stderr()}')
