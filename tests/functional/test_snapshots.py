# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of the machine that QEMU makes when its recording begins.

    guest - filter-replay - slirp        recording   <- its UUID, and a place
      |                                                      |
      +---- a qcow2 image that is no disk of the guest  ---> its snapshots

A replay can begin at a snapshot that belongs to its recording.
"""

import os
import subprocess

import faults
import messages
import rr

MACHINE = rr.Machine(nics=(rr.Nic('virtio-net-pci'),),
                     steps=('dhcp,eth0', 'sleep,2', 'ping,10.0.2.2,2'))


def image(test):
    """Make the image for the snapshots; return QEMU's arguments for it."""
    path = test.path('snapshots.qcow2')
    subprocess.run([os.path.join(os.path.dirname(rr.QEMU), 'qemu-img'),
                    'create', '-q', '-f', 'qcow2', path, '1M'], check=True)
    return ['-drive', f'if=none,id=snapshots,file={path}']


@rr.scenario('snapshot/at-start/replays-identically')
def at_start(test):
    """rrsnapshot= makes a snapshot before the recorded guest runs.  The replay
    begins at this snapshot.
    """
    extra = image(test)
    recorded = test.record(MACHINE, extra=extra, icount='rrsnapshot=start')
    replayed = test.replay(MACHINE, extra=extra, icount='rrsnapshot=start')
    test.compare(recorded, replayed)


@rr.scenario('snapshot/of-another-recording/refused')
def of_another_recording(test):
    """rrsnapshot= names a snapshot of another recording.  QEMU refuses to
    replay.
    """
    extra = image(test)
    test.record(MACHINE, name='one', recording='one', extra=extra,
                icount='rrsnapshot=one')
    test.record(MACHINE, name='two', recording='two', extra=extra,
                icount='rrsnapshot=two')
    mixed = test.run(MACHINE, 'replay', name='mixed', recording='two',
                     extra=extra, icount='rrsnapshot=one').finish(status=1)
    rr.check(messages.SNAPSHOT_OF_ANOTHER in mixed.stderr(),
             f'{mixed} says {mixed.stderr()!r}')
    rr.check(not mixed.console(), f'{mixed}: the guest has run')


def human(run, line):
    return run.qmp.command('human-monitor-command', **{'command-line': line})


def wait_stop_at(run, icount):
    """Wait until a replay has stopped at @icount."""
    rr.wait_for(lambda: run.qmp.status() != 'running', 'breakpoint')
    now = run.qmp.command('query-replay')['icount']
    rr.check(now == icount, f'it has stopped at {now}, not {icount}')


@rr.scenario('snapshot/seek-back/replays-identically')
def seek_back(test):
    """A replay seeks back and loads the snapshot several times, stops at
    breakpoints on the way, and then runs to its end.
    """
    extra = image(test)
    recorded = test.record(MACHINE, extra=extra, icount='rrsnapshot=start')
    end = faults.Recording(recorded.recording).events[-1].icount

    run = test.run(MACHINE, 'replay', extra=(*extra, '-S'),
                   icount='rrsnapshot=start')
    run.qmp.command('replay-break', icount=end * 3 // 4)
    run.qmp.command('cont')
    wait_stop_at(run, end * 3 // 4)
    before = len(run.console())
    run.qmp.command('replay-seek', icount=end // 2)
    wait_stop_at(run, end // 2)
    run.qmp.command('replay-break', icount=end // 2 + 1000)
    human(run, 'loadvm start')
    run.qmp.command('cont')
    wait_stop_at(run, end // 2 + 1000)
    run.qmp.command('replay-break', icount=end * 3 // 4)
    run.qmp.command('replay-seek', icount=end // 4)
    wait_stop_at(run, end // 4)
    run.qmp.command('cont')
    run.finish()

    rr.check(before > 1000, f'the guest had written only {before} bytes')
    rr.check(run.console().endswith(recorded.console()),
             'the last pass of the guest has written something else')
    rr.check(not run.stderr(), f'it says {run.stderr()!r}')


@rr.scenario('snapshot/load-while-recording/refused')
def load_while_recording(test):
    """The user loads a snapshot in a recorder.  QEMU refuses, and the
    recording is complete.
    """
    extra = image(test)
    run = test.run(MACHINE, 'record', extra=extra, icount='rrsnapshot=start')
    run.wait_line('dhcp: ')
    answer = human(run, 'loadvm start')
    run.qmp.command('cont')
    recorded = run.finish()

    rr.check(messages.SNAPSHOT_WHILE_RECORDING in answer,
             f'the answer is {answer!r}')
    test.compare(recorded, test.replay(MACHINE, extra=extra,
                                       icount='rrsnapshot=start'))


@rr.scenario('snapshot/load-of-another-recording/ends-the-replay')
def load_of_another(test):
    """The user loads a snapshot of another recording in a replay.  QEMU
    refuses; the machine, which is half loaded by then, cannot be continued.
    """
    extra = image(test)
    for name in 'one', 'two':
        test.record(MACHINE, name=name, recording=name, extra=extra,
                    icount=f'rrsnapshot={name}')
    run = test.run(MACHINE, 'replay', recording='two', extra=extra,
                   icount='rrsnapshot=two')
    run.wait_line('guest: Linux')
    uuid = run.qmp.command('query-replay')['uuid']
    answer = human(run, 'loadvm one')
    rr.check(messages.SNAPSHOT_OF_ANOTHER in answer,
             f'the answer is {answer!r}')
    rr.check(run.qmp.command('query-replay')['uuid'] == uuid,
             'the replay has another recording now')
    answer = human(run, 'cont')
    rr.check(messages.CANNOT_CONTINUE in answer, f'the answer is {answer!r}')
    run.qmp.command('quit')
    run.finish(status=1)
