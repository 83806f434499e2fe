# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU tells about a recording and a replay that are under way or over.

    recorder or replay --+-- query-replay, info replay, qom-get
                         +-- REPLAY_ENDED
                         +-- rrprogress=, a line a second
                         +-- trace events
"""

import os
import re

import rr
import faults

# What query-replay, and the filter's properties, count for each adapter.
COUNTERS = ('received-packets', 'received-bytes', 'sent-packets',
            'sent-bytes', 'verified', 'mismatched', 'unverified', 'dropped',
            'muted', 'pending')


def ask(run):
    """All that the monitor tells: query-replay, 'info replay', and the
    properties of each filter.
    """
    query = run.qmp.command('query-replay')
    properties = {adapter['netdev']: {name: run.qmp.command(
        'qom-get', path=f'/objects/f-{adapter["netdev"]}', property=name)
        for name in COUNTERS} for adapter in query['adapters']}
    text = run.qmp.command('human-monitor-command',
                           **{'command-line': 'info replay'})
    return query, properties, text


def check_adapters(asked, recording, events, verified):
    """Check all that was said of the adapters when @events had happened."""
    query, properties, text = asked
    rr.check([a['netdev'] for a in query['adapters']] == ['n0', 'n1'],
             f'these are the adapters: {query}')
    for number, (adapter, nic) in enumerate(
            zip(query['adapters'], ('virtio-net-pci', 'e1000'))):
        received, sent = ([event for event in recording.of(kind)
                           if event.number < events and
                           event.about_adapter == number]
                          for kind in ('async-net', 'net-sent'))
        received_bytes = sum(len(event.data) for event in received)
        sent_bytes = sum(event.numbers[1] for event in sent)
        expected = dict.fromkeys(COUNTERS, 0) | {
            'received-packets': len(received),
            'received-bytes': received_bytes,
            'sent-packets': len(sent), 'sent-bytes': sent_bytes,
            'verified': len(sent) if verified else 0}
        counted = {name: adapter[name] for name in COUNTERS}
        rr.check(counted == expected,
                 f'query-replay says {counted}, not {expected}')
        counted = properties[adapter['netdev']]
        rr.check(counted == expected,
                 f'the properties are {counted}, not {expected}')
        rr.check(f'NIC {nic}, MAC 52:54:00' in adapter['description'],
                 f'the description of {nic} is {adapter["description"]}')
        for line in (f"adapter '{adapter['netdev']}': NIC {nic}",
                     f'received {len(received)} packets, {received_bytes} '
                     f'bytes; sent {len(sent)} packets, {sent_bytes} bytes'):
            rr.check(line in text, f'info replay does not say "{line}" but '
                     f'{text!r}')


def to_the_end(run):
    """Wait until a guest that runs with -no-shutdown has powered off."""
    rr.wait_for(lambda: run.qmp.status() == 'shutdown', 'end of the guest',
                rr.RUN_CEILING)


@rr.scenario('monitor/record/tells-how-far')
def tells_how_far_record(test):
    """While recording, query-replay, 'info replay' and the properties count
    what is in the recording.
    """
    run = test.run(faults.Firmware(test.place), 'record',
                   extra=('-S', '-no-shutdown'))
    before = run.qmp.command('query-replay')
    run.qmp.command('cont')
    to_the_end(run)
    asked = query, _, text = ask(run)
    run.qmp.command('quit')
    run.finish()
    recording = faults.Recording(run.recording)

    rr.check((before['mode'], before['icount'], before['packets'],
              before['filename']) == ('record', 0, 0, run.recording),
             f'before the machine runs: {before}')
    rr.check('percent' not in query, f'a recorder knows no end: {query}')
    rr.check(query['uuid'] == before['uuid'] == recording.uuid(),
             f'the recording is {recording.uuid()}: {query}')
    # its last instruction is behind the one that powers off
    rr.check(query['icount'] - recording.first('shutdown').icount in (0, 1),
             f'the guest has powered off elsewhere: {query}')
    packets = len(recording.of('async-net'))
    # the shutdown of 'quit' follows
    rr.check(0 < query['events'] <= len(recording.events) and
             query['packets'] == packets > 0,
             f'there are {len(recording.events)} events, {packets} of them '
             f'packets: {query}')
    rr.check(0 < query['stored-bytes'] <= os.path.getsize(run.recording) and
             query['raw-bytes'] > query['stored-bytes'] and
             abs(query['ratio'] * query['raw-bytes'] -
                 query['stored-bytes']) < 1, f'bytes: {query}')
    for part in (f"recording '{run.recording}' (UUID {recording.uuid()})",
                 f'icount {query["icount"]}, {query["events"]} events, '
                 f'{packets} packets'):
        rr.check(part in text, f'info replay does not say "{part}" but '
                 f'{text!r}')
    check_adapters(asked, recording, query['events'], verified=False)


@rr.scenario('monitor/replay/tells-how-far')
def tells_how_far_replay(test):
    """In a replay they count what was replayed: nothing before it begins, a
    part when it is stopped half-way, and all at the end, of which
    REPLAY_ENDED tells.
    """
    recorded = faults.firmware(test)
    recording = faults.damage(test, recorded)
    middle = recording.of('net-sent')[5]

    run = test.run(recorded.machine_for(test), 'replay',
                   extra=('-S', '-no-shutdown'))
    asked = [ask(run)]
    run.qmp.command('replay-break', icount=middle.icount - 1)
    run.qmp.command('cont')
    run.qmp.event('STOP', rr.RUN_CEILING)
    asked.append(ask(run))
    run.qmp.command('cont')
    to_the_end(run)
    ended = run.qmp.event('REPLAY_ENDED')
    asked.append(ask(run))
    run.qmp.command('quit')
    run.finish()

    before = recording.of('net-sent')[4].number
    total = (recording.events[-1].icount, len(recording.events),
             len(recording.of('async-net')))
    for (query, properties, text), (icount, first, last, packets) in zip(
            asked, ((0, 0, recording.first('instruction').number, 0),
                    (middle.icount - 1, before, middle.number, middle.packet),
                    (total[0], total[1], total[1], total[2]))):
        events = query['events']
        rr.check((query['icount'], query['packets']) == (icount, packets) and
                 first <= events <= last,
                 f'{icount}, {packets}, {first} to {last}: {query}')
        rr.check((query['total-icount'], query['total-events'],
                  query['total-packets']) == total, f'{total}: {query}')
        rr.check(abs(query['percent'] - 100 * icount / total[0]) < 0.1 and
                 query['complete'] and query['mode'] == 'play' and
                 query['uuid'] == recording.uuid() and
                 query['stored-bytes'] == os.path.getsize(recording.path),
                 f'{recording.uuid()}, of {icount}: {query}')
        part = f'{query["percent"]:.1f} %'
        rr.check(part in text, f'info replay does not say "{part}" but '
                 f'{text!r}')
        check_adapters((query, properties, text), recording, events,
                       verified=True)
    rr.check((ended['reason'], ended['expected'], ended['icount'],
              ended['event']) == ('end', 'none', total[0], total[1]),
             f'it ended so: {ended}')
    rr.check(not run.stderr(), f'{run} says {run.stderr()!r}')


@rr.scenario('monitor/replay/ended-is-told-before-exit')
def ended_is_told(test):
    """A replay that comes to the end of its recording sends REPLAY_ENDED and
    exits with status 0.
    """
    recorded = faults.firmware(test)
    recording = faults.damage(test, recorded)

    run = test.run(recorded.machine_for(test), 'replay')
    ended = run.qmp.event('REPLAY_ENDED', rr.RUN_CEILING)
    run.finish()

    report = faults.Report('REPLAY_ENDED', ended, run)
    report.expect('end', 'none', len(recording.events))
    faults.check_place(report, recording)
    faults.check_firmware(run)
    rr.check(not run.stderr(), f'{run} says {run.stderr()!r}')


@rr.scenario('monitor/no-recording/tells-nothing')
def tells_nothing(test):
    """Without rr= there is nothing to tell."""
    run = test.run(faults.Firmware(test.place), None, extra=('-S',))

    query = run.qmp.command('query-replay')
    text = run.qmp.command('human-monitor-command',
                           **{'command-line': 'info replay'})

    rr.check(query == {'mode': 'none', 'icount': 0}, f'it says {query}')
    rr.check('nothing is recorded or replayed' in text, f'it says {text!r}')


@rr.scenario('progress/every-second/printed')
def progress(test):
    """With rrprogress=1 recorder and replay print how far they are, once a
    second and at the end.
    """
    machine = faults.Firmware(test.place)

    recorded = test.record(machine, icount='rrprogress=1')
    replayed = test.replay(machine, icount='rrprogress=1')

    packets = len(faults.Recording(recorded.recording).of('async-net'))
    faults.check_firmware(recorded)
    faults.check_firmware(replayed)
    lines = recorded.stderr().splitlines()
    for line in lines:
        rr.check(re.fullmatch(r'recording: icount \d+, \d+ packets, '
                              r'\d+ bytes, \d+ s', line),
                 f'this is no progress: {line!r}')
    # how long it takes is the host's: between one line and some hundreds
    rr.check(1 <= len(lines) <= recorded.seconds + 2 and
             f' {packets} packets,' in lines[-1],
             f'in {recorded.seconds:.1f} s the recorder printed {lines}')
    rr.check(int(recorded.seconds) < 3 or len(lines) > 1,
             f'in {recorded.seconds:.1f} s the recorder printed {lines}')
    lines = replayed.stderr().splitlines()
    for line in lines:
        rr.check(re.fullmatch(
            r'replaying: \d+\.\d %, icount \d+ of \d+, \d+ s'
            r'(, \d+\.\d\d times as fast as it was recorded)?'
            r'(, \d+ s to go)?', line), f'this is no progress: {line!r}')
    rr.check(1 <= len(lines) <= replayed.seconds + 2 and
             lines[-1].startswith('replaying: 100.0 %'),
             f'in {replayed.seconds:.1f} s the replay printed {lines}')


# --- traces -----------------------------------------------------------------

def traced(test, machine, mode, *events):
    """Record or replay; return the trace's lines, by event."""
    path = test.path(mode + '.trace')
    options = [word for event in events for word in ('-trace', event)]
    run = test.run(machine, mode, extra=(*options, '-D', path)).finish()
    faults.check_firmware(run)
    lines = {event: [] for event in events}
    for line in rr.read(path).decode().splitlines():
        # a process id and a time can stand in front
        name = re.search(r'(?:^|[: ])(replay_net_\w+|filter_replay_\w+) ',
                         line)
        rr.check(name and name.group(1) in lines, f'a strange line: {line!r}')
        lines[name.group(1)].append(line[name.start(1):])
    return lines


@rr.scenario('trace/record-and-replay/the-same')
def same_trace(test):
    """The traces of recorder and replay tell the same packets at the same
    instructions, and so does the recording.
    """
    machine = faults.Firmware(test.place)
    record = traced(test, machine, 'record', 'replay_net_save',
                    'replay_net_inject')
    replay = traced(test, machine, 'replay', 'replay_net_inject',
                    'replay_net_verify')
    recording = faults.Recording(test.path('recording'))

    def lines(event, kind, length):
        return [f'{event} n{e.numbers[0]} icount {e.icount} '
                f'len_bytes {length(e)}' for e in recording.of(kind)]

    for trace, event, kind, length in (
            (record, 'replay_net_save', 'async-net', lambda e: len(e.data)),
            (record, 'replay_net_inject', 'async-net', lambda e: len(e.data)),
            (replay, 'replay_net_inject', 'async-net', lambda e: len(e.data)),
            (replay, 'replay_net_verify', 'net-sent',
             lambda e: e.numbers[1])):
        expected = lines(event, kind, length)
        rr.check(trace[event] == expected and expected,
                 f'the trace is {trace[event]}, not {expected}')
