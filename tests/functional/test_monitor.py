# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU tells about a recording or a replay, while it runs and at its end.

    recorder or replay --+-- query-replay, info replay, qom-get
                         +-- REPLAY_ENDED
                         +-- rrprogress=, a line per second
                         +-- trace events
"""

import os
import re

import faults
import messages
import rr

# The counters of each adapter in query-replay, and the properties of each
# filter.
COUNTERS = ('received-packets', 'received-bytes', 'sent-packets',
            'sent-bytes', 'verified', 'mismatched', 'unverified', 'dropped',
            'muted', 'pending')


def info_replay(run):
    return run.qmp.command('human-monitor-command',
                           **{'command-line': 'info replay'})


def counters_of_filter(run, netdev):
    """The counters of the filter on @netdev, read as its properties."""
    return {name: run.qmp.command('qom-get', path=f'/objects/f-{netdev}',
                                  property=name) for name in COUNTERS}


def ask(run):
    """Ask the monitor for query-replay, for the properties of each filter,
    by netdev, and for 'info replay'; return the answers.
    """
    query = run.qmp.command('query-replay')
    properties = {}
    for adapter in query['adapters']:
        netdev = adapter['netdev']
        properties[netdev] = counters_of_filter(run, netdev)
    return query, properties, info_replay(run)


def check_info(text, *parts):
    """Check that 'info replay' has printed each of @parts."""
    for part in parts:
        rr.check(part in text,
                 f'info replay does not print "{part}" but {text!r}')


def counters_of_recording(recording, number, events, verified):
    """The counters that adapter @number must have after the first @events
    events.

    @verified: the replay compares the packets that the guest sends
    """
    received, sent = [], []
    for event in recording.events[:events]:
        if event.about_adapter != number:
            continue
        if event.kind == 'async-net':
            received.append(len(event.data))
        elif event.kind == 'net-sent':
            sent.append(event.numbers[1])
    return dict.fromkeys(COUNTERS, 0) | {
        'received-packets': len(received), 'received-bytes': sum(received),
        'sent-packets': len(sent), 'sent-bytes': sum(sent),
        'verified': len(sent) if verified else 0}


def check_adapters(asked, recording, events, verified):
    """Check the answers of ask() about adapters, after @events events."""
    query, properties, text = asked
    rr.check([a['netdev'] for a in query['adapters']] == ['n0', 'n1'],
             f'these are the adapters: {query}')
    for number, nic in enumerate(('virtio-net-pci', 'e1000')):
        adapter = query['adapters'][number]
        netdev = adapter['netdev']
        expected = counters_of_recording(recording, number, events, verified)

        counted = {name: adapter[name] for name in COUNTERS}
        rr.check(counted == expected,
                 f'query-replay says {counted}, not {expected}')
        counted = properties[netdev]
        rr.check(counted == expected,
                 f'the properties are {counted}, not {expected}')
        rr.check(f'NIC {nic}, MAC 52:54:00' in adapter['description'],
                 f'the description of {nic} is {adapter["description"]}')
        check_info(text, messages.INFO_ADAPTER.format(netdev=netdev, nic=nic),
                   messages.INFO_COUNTERS.format(**expected))


def to_the_end(run):
    """Wait until a guest that runs with -no-shutdown has powered off."""
    rr.wait_for(lambda: run.qmp.status() == 'shutdown', 'end of the guest',
                rr.RUN_CEILING)


@rr.scenario('monitor/record/tells-how-far')
def tells_how_far_record(test):
    """The guest is recorded.  query-replay, 'info replay' and the properties
    of the filters count the packets and events that are in the recording.
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
    # the guest may execute one more instruction after it has powered off
    rr.check(query['icount'] - recording.first('shutdown').icount in (0, 1),
             f'the guest has powered off elsewhere: {query}')
    packets = len(recording.of('async-net'))
    # more events follow: those of the shutdown by 'quit'
    rr.check(0 < query['events'] <= len(recording.events) and
             query['packets'] == packets > 0,
             f'there are {len(recording.events)} events, {packets} of them '
             f'packets: {query}')
    rr.check(0 < query['stored-bytes'] <= os.path.getsize(run.recording) and
             query['raw-bytes'] > query['stored-bytes'] and
             abs(query['ratio'] * query['raw-bytes'] -
                 query['stored-bytes']) < 1, f'bytes: {query}')
    check_info(text, messages.INFO_RECORDING.format(filename=run.recording,
                                                    uuid=recording.uuid()),
               messages.INFO_PLACE.format(icount=query['icount'],
                                          events=query['events'],
                                          packets=packets))
    check_adapters(asked, recording, query['events'], verified=False)


def check_place(query, icount, packets, events):
    """Check the place of the replay that query-replay tells.

    @events: the lowest and the highest correct number of events
    """
    rr.check((query['icount'], query['packets']) == (icount, packets) and
             events[0] <= query['events'] <= events[1],
             f'the replay is not at icount {icount}, {packets} packets, '
             f'{events[0]} to {events[1]} events: {query}')


def check_totals(query, recording):
    """Check what query-replay tells about the whole recording."""
    total = (recording.events[-1].icount, len(recording.events),
             len(recording.of('async-net')))
    rr.check((query['total-icount'], query['total-events'],
              query['total-packets']) == total,
             f'the recording has {total}: {query}')
    percent = 100 * query['icount'] / total[0]
    rr.check(abs(query['percent'] - percent) < 0.1,
             f'the replay is at {percent} %: {query}')
    rr.check(query['complete'] and query['mode'] == 'play' and
             query['uuid'] == recording.uuid() and
             query['stored-bytes'] == os.path.getsize(recording.path),
             f'{recording.uuid()} is replayed, and complete: {query}')


@rr.scenario('monitor/replay/tells-how-far')
def tells_how_far_replay(test):
    """The guest is replayed.  query-replay, 'info replay' and the properties
    count nothing before the guest runs, a part of the recording when the
    replay stops half-way, and all of it at the end, which REPLAY_ENDED
    announces.
    """
    recorded = faults.firmware(test)
    recording = faults.damage(test, recorded)
    middle = recording.of('net-sent')[5]

    run = test.run(recorded.machine_for(test), 'replay',
                   extra=('-S', '-no-shutdown'))
    at_start = ask(run)
    run.qmp.command('replay-break', icount=middle.icount - 1)
    run.qmp.command('cont')
    run.qmp.event('STOP', rr.RUN_CEILING)
    in_the_middle = ask(run)
    run.qmp.command('cont')
    to_the_end(run)
    ended = run.qmp.event('REPLAY_ENDED')
    at_end = ask(run)
    run.qmp.command('quit')
    run.finish()

    events, packets = len(recording.events), len(recording.of('async-net'))
    icount = recording.events[-1].icount
    before_middle = recording.of('net-sent')[4].number
    check_place(at_start[0], 0, 0,
                (0, recording.first('instruction').number))
    check_place(in_the_middle[0], middle.icount - 1, middle.packet,
                (before_middle, middle.number))
    check_place(at_end[0], icount, packets, (events, events))
    for asked in at_start, in_the_middle, at_end:
        query, _, text = asked
        check_totals(query, recording)
        check_info(text,
                   messages.INFO_PERCENT.format(percent=query['percent']))
        check_adapters(asked, recording, query['events'], verified=True)
    rr.check((ended['reason'], ended['expected'], ended['icount'],
              ended['event']) == ('end', 'none', icount, events),
             f'REPLAY_ENDED has the wrong place: {ended}')
    rr.check(not run.stderr(), f'{run} says {run.stderr()!r}')


@rr.scenario('monitor/replay/ended-is-told-before-exit')
def ended_is_told(test):
    """A replay reaches the end of its recording.  QEMU sends REPLAY_ENDED and
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
    """QEMU runs without rr=.  query-replay and 'info replay' tell that nothing
    is recorded or replayed.
    """
    run = test.run(faults.Firmware(test.place), None, extra=('-S',))

    query = run.qmp.command('query-replay')
    text = info_replay(run)

    rr.check(query == {'mode': 'none', 'icount': 0}, f'it says {query}')
    check_info(text, messages.INFO_NOTHING)


@rr.scenario('progress/every-second/printed')
def progress(test):
    """Recorder and replay run with rrprogress=1.  Both print how far they are,
    once a second and at the end.
    """
    machine = faults.Firmware(test.place)

    recorded = test.record(machine, icount='rrprogress=1')
    replayed = test.replay(machine, icount='rrprogress=1')

    packets = len(faults.Recording(recorded.recording).of('async-net'))
    for run, pattern, end in (
            (recorded, messages.PROGRESS_RECORDING,
             messages.PROGRESS_RECORDING_END.format(packets=packets)),
            (replayed, messages.PROGRESS_REPLAYING,
             messages.PROGRESS_REPLAYING_END)):
        faults.check_firmware(run)
        lines = run.stderr().splitlines()
        for line in lines:
            rr.check(re.fullmatch(pattern, line),
                     f'this is no progress: {line!r}')
        # The time that a run takes, and so the number of lines, depends on
        # the host.
        least = 2 if run is recorded and run.seconds >= 3 else 1
        rr.check(least <= len(lines) <= run.seconds + 2 and end in lines[-1],
                 f'in {run.seconds:.1f} s {run.mode} printed {lines}')


# --- traces -----------------------------------------------------------------

def traced(test, machine, mode, *events):
    """Record or replay; return the lines of the trace, by trace event."""
    path = test.path(mode + '.trace')
    options = [word for event in events for word in ('-trace', event)]
    run = test.run(machine, mode, extra=(*options, '-D', path)).finish()
    faults.check_firmware(run)
    lines = {event: [] for event in events}
    for line in rr.read(path).decode().splitlines():
        # a process id and a time may precede the name
        name = re.search(r'(?:^|[: ])(replay_net_\w+|filter_replay_\w+) ',
                         line)
        rr.check(name and name.group(1) in lines, f'an odd line: {line!r}')
        lines[name.group(1)].append(line[name.start(1):])
    return lines


def trace_line(event, len_bytes):
    """The arguments that the trace events of a packet print; @event is the
    packet's event in the recording.
    """
    return f'n{event.numbers[0]} icount {event.icount} len_bytes {len_bytes}'


@rr.scenario('trace/record-and-replay/the-same')
def same_trace(test):
    """Recorder and replay are traced.  Both traces have the packets of the
    recording, at the same instructions.
    """
    machine = faults.Firmware(test.place)
    record = traced(test, machine, 'record', 'replay_net_save',
                    'replay_net_inject')
    replay = traced(test, machine, 'replay', 'replay_net_inject',
                    'replay_net_verify')
    recording = faults.Recording(test.path('recording'))

    received = [trace_line(event, len(event.data))
                for event in recording.of('async-net')]
    sent = [trace_line(event, event.numbers[1])
            for event in recording.of('net-sent')]
    for trace, name, expected in ((record, 'replay_net_save', received),
                                  (record, 'replay_net_inject', received),
                                  (replay, 'replay_net_inject', received),
                                  (replay, 'replay_net_verify', sent)):
        expected = [f'{name} {line}' for line in expected]
        rr.check(trace[name] == expected and expected,
                 f'the trace is {trace[name]}, not {expected}')
