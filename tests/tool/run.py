#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Test qemu-replay, with the kept recording and with one that QEMU makes here.

    firmware (iPXE): DHCP, TFTP -- e1000 -- filter-dump -- filter-replay -- slirp

The program prints TAP.  golden/ has what qemu-replay must print about the kept
recording of tests/data/replay.

usage: tests/tool/run.py [--update-golden] [TEST...]     (after scripts/build)
"""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
GOLDEN = os.path.join(HERE, 'golden')
KEPT = os.path.join(ROOT, 'tests/data/replay/version-1')

sys.path[:0] = [HERE, os.path.join(ROOT, 'tests/functional')]
import browser                                  # noqa: E402
import faults                                   # noqa: E402
import forge                                    # noqa: E402
import rr                                       # noqa: E402

TOOL = os.path.join(rr.BUILD, 'bin', 'qemu-replay')
QEMU = rr.QEMU

CEILING_S = 60
POLL_S = 0.05
# The firmware asks for this file with TFTP, in packets of at most 1432 bytes.
BOOT_FILE_BYTES = 120000
# How many packets the dump has when the file has arrived.
DUMPED_PACKETS = 150

# The bytes that a terminal may get: printable ASCII characters and line ends.
HARMLESS = set(range(0x20, 0x7f)) | {0x0a}

COMMANDS = ('info', 'list', 'stats', 'pcap', 'verify', 'diff', 'cut',
            'report', 'pack', 'unpack')

tests = {}


class Failure(Exception):
    """A test has found a mistake."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def equal(found, expected, what):
    check(found == expected,
          f'{what}: found {found!r:.2000}, expected {expected!r:.2000}')


def test(function):
    tests[function.__name__.replace('_', '-')] = function
    return function


# --- programs ---------------------------------------------------------------

def run(*words, status=0, stdin=None):
    """Run a program; return what it prints on stdout and on stderr."""
    done = subprocess.run([str(word) for word in words], check=False,
                          stdin=stdin or subprocess.DEVNULL,
                          capture_output=True, timeout=CEILING_S)
    equal(done.returncode, status,
          f'status of {words} ({done.stderr.decode(errors="replace")})')
    return done.stdout, done.stderr.decode()


def tool(*words, status=0):
    return run(TOOL, *words, status=status)


def printed(*words, status=0):
    return tool(*words, status=status)[0].decode()


def parsed(*words, status=0):
    return json.loads(printed(*words, '--output=json', status=status))


def tshark(capture, *fields, display=None):
    """The fields of each packet of a capture, as tshark sees them."""
    words = ['tshark', '-n', '-r', capture, '-T', 'fields']
    for protocol in ('ip', 'udp', 'tcp'):       # not checked by default
        words += ['-o', f'{protocol}.check_checksum:TRUE']
    for field in fields:
        words += ['-e', field]
    if display:
        words += ['-Y', display]
    out, err = run(*words)
    # the first line is about the user root
    complaints = [line for line in err.splitlines()
                  if line.strip() and 'user "root"' not in line]
    equal(complaints, [], "tshark's complaints")
    return [line.split('\t') for line in out.decode().splitlines()]


# --- recordings -------------------------------------------------------------

class Place:
    """A folder for files, with the kept recording, and one that is made when
    a test first asks for it.
    """

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='qemu-replay-test-')
        self.kept = self.path('kept.rr')
        self.made = None
        with open(KEPT + '.recording.base64', 'rb') as file:
            self.write(self.kept, base64.b64decode(file.read()))

    def path(self, name):
        return os.path.join(self.folder, name)

    @staticmethod
    def write(path, content):
        with open(path, 'wb') as file:
            file.write(content)
        return path

    @staticmethod
    def read(path):
        with open(path, 'rb') as file:
            return file.read()

    def recording(self):
        if self.made is None:
            self.made = record(self)
        return self.made


def machine(place, mode, recording, options=''):
    """Without the filter-dump a replay would be another machine: the filter
    reads the host's clock when it is made.
    """
    return [QEMU, '-nodefaults', '-display', 'none', '-m', '16', '-boot', 'n',
            '-icount', f'shift=4,rr={mode},rrfile={recording}{options}',
            '-netdev', f'user,id=n0,tftp={place.folder},bootfile=boot',
            '-device', 'e1000,netdev=n0,mac=52:54:00:12:34:56',
            '-object', 'filter-replay,id=f0,netdev=n0,verify=full',
            '-object', 'filter-dump,id=d0,netdev=n0,file='
            + place.path(mode + '.pcap')]


def record(place):
    """Record the firmware while it loads a file; return the recording and the
    filter-dump's file.
    """
    recording, dump = place.path('made.rr'), place.path('record.pcap')
    place.write(place.path('boot'), bytes(range(256)) *
                (BOOT_FILE_BYTES // 256))
    with subprocess.Popen(
            machine(place, 'record', recording),
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as qemu:
        end = time.monotonic() + CEILING_S
        while not os.path.exists(dump) or \
                len(read_dump(dump)) < DUMPED_PACKETS:
            check(qemu.poll() is None and time.monotonic() < end,
                  'the firmware does not load its file')
            time.sleep(POLL_S)
        qemu.send_signal(signal.SIGTERM)
        _, err = qemu.communicate(timeout=CEILING_S)
        equal(qemu.returncode, 0, f'status of the recorder ({err})')
    return recording, dump


def replay(place, recording, options='', status=0):
    return run(*machine(place, 'replay', recording, options),
               status=status)[1]


def read_dump(path):
    """The packets of a filter-dump: seconds, microseconds, bytes."""
    data = Place.read(path)
    packets = []
    at = 24
    while at + 16 <= len(data):
        sec, usec, len_bytes, _ = struct.unpack_from('<IIII', data, at)
        if at + 16 + len_bytes > len(data):
            break
        packets.append((sec, usec, data[at + 16:at + 16 + len_bytes]))
        at += 16 + len_bytes
    return packets


def read_blocks(path):
    """The blocks of a capture: kind and body.  Checks their form."""
    data = Place.read(path)
    blocks = []
    at = 0
    while at < len(data):
        kind, len_bytes = struct.unpack_from('<II', data, at)
        check(len_bytes % 4 == 0 and len_bytes >= 12 and
              at + len_bytes <= len(data), f'block at {at}')
        equal(struct.unpack_from('<I', data, at + len_bytes - 4)[0],
              len_bytes, f'second length of the block at {at}')
        blocks.append((kind, data[at + 8:at + len_bytes - 4]))
        at += len_bytes
    return blocks


def read_packets(path):
    """The packets of a capture: adapter, time in ns, bytes, options."""
    packets = []
    for kind, body in read_blocks(path):
        if kind != 6:
            continue
        adapter, high, low, len_bytes, original = \
            struct.unpack_from('<IIIII', body)
        equal(len_bytes, original, 'captured length')
        options = {}
        at = 20 + (len_bytes + 3) // 4 * 4
        while True:
            option, n = struct.unpack_from('<HH', body, at)
            if option == 0:
                break
            options[option] = body[at + 4:at + 4 + n]
            at += 4 + (n + 3) // 4 * 4
        packets.append((adapter, high << 32 | low, body[20:20 + len_bytes],
                        options))
    return packets


def direction(options):
    return {1: 'received', 2: 'sent'}[struct.unpack('<I', options[2])[0] & 3]


# --- the kept recording -----------------------------------------------------

GOLDEN_OUTPUTS = {
    'info.txt': ('info',),
    'info.json': ('info', '--output=json'),
    'list.txt': ('list', '--kind', 'all'),
    'list.json': ('list', '--output=json', '--kind', 'net'),
    'stats.txt': ('stats',),
    'stats.json': ('stats', '--output=json'),
    'verify.json': ('verify', '--output=json'),
}


def golden_output(place, name):
    command, *options = GOLDEN_OUTPUTS[name]
    return tool(command, *options, place.kept)[0].replace(
        place.folder.encode(), b'FOLDER')


@test
def output_is_golden(place):
    for name in GOLDEN_OUTPUTS:
        expected = Place.read(os.path.join(GOLDEN, name)).splitlines()
        for i, line in enumerate(golden_output(place, name).splitlines()):
            equal(line, expected[i] if i < len(expected) else None,
                  f'line {i + 1} of {name}')


@test
def output_has_no_control_characters(place):
    for command, *options in GOLDEN_OUTPUTS.values():
        out, _ = tool(command, *options, place.kept)
        check(set(out) <= HARMLESS, f'{command} prints control characters')


@test
def json_is_json(place):
    for line in printed('list', '--output=json', place.kept).splitlines():
        event = json.loads(line)
        check({'event', 'icount', 'time-ns', 'kind'} <= set(event), line)
    info = parsed('info', place.kept)
    check({'uuid', 'complete', 'icount', 'adapters'} <= set(info), info)


@test
def list_agrees_with_the_kept_list(place):
    """tests/data/replay has icount, kind and the number of packets before each
    event, except for those of the kind "instruction".
    """
    with open(KEPT + '.events', encoding='utf-8') as file:
        lines = [line.split() for line in file
                 if line[0].isdigit() and ' end: ' not in line]
    listed = printed('list', '--output=json', place.kept).splitlines()
    equal(len(listed), len(lines), 'number of events')
    for words, line in zip(lines, listed):
        event = json.loads(line)
        equal([str(event['icount']), event['kind']], [words[0], words[2]],
              f'event {event["event"]}')
        before = int(words[1])
        equal(event.get('packet', before + 1), before + 1,
              f'packet of event {event["event"]}')


@test
def numbers_of_all_kinds_have_names(place):
    """docs/replay.txt lists the kinds, and which fields their events have."""
    with open(os.path.join(ROOT, 'docs/replay.txt'), encoding='utf-8') as file:
        kinds = re.findall(r'^ +0x([0-9a-f]{2})  +([a-z-]+)  +([uscib]+|-)(?:  |$)',
                           file.read(), re.MULTILINE)
    events = b''.join(
        bytes([int(number, 16)]) + b''.join(
            b'\1x' if field == 'b' else b'\0' for field in fields.strip('-'))
        for number, _, fields in kinds)
    forged = Place.write(place.path('kinds.rr'), forge.recording(
        {'adapter.n0': 'e1000'}, events))
    listed = [json.loads(line) for line in printed(
        'list', '--output=json', '--kind', 'all', forged).splitlines()]
    equal([event['kind'] for event in listed], [kind[1] for kind in kinds],
          'kinds')
    for event in listed:
        check('?' not in event, f'{event} has a number without a name')


@test
def filters_of_list(place):
    def numbers(*options):
        return [json.loads(line)['event'] for line in printed(
            'list', '--output=json', *options, place.kept).splitlines()]

    everything = [json.loads(line) for line in printed(
        'list', '--output=json', '--kind', 'all', place.kept).splitlines()]
    equal(numbers('--kind', 'async-net,net-sent'),
          [e['event'] for e in everything
           if re.match('async-net$|async-net-|net-sent', e['kind'])],
          '--kind')
    equal(numbers('--adapter', 'n1'),
          [e['event'] for e in everything if e.get('adapter') == 'n1'],
          '--adapter')
    equal(numbers('--from', '18962', '--until', '21821'),
          [e['event'] for e in everything if 18962 <= e['icount'] <= 21821 and
           e['kind'] != 'instruction'], '--from, --until')
    equal(numbers('--packets', '3-5'),
          [e['event'] for e in everything if e.get('packet') in (3, 4, 5)],
          '--packets')


@test
def tshark_reads_the_kept_capture(place):
    capture = place.path('kept.pcapng')
    _, err = tool('pcap', place.kept, capture)
    check('6 packets that the guest sent are not' in err, err)
    rows = tshark(capture, 'frame.interface_name', 'frame.len',
                  'frame.packet_flags_direction', 'frame.packet_id',
                  'frame.comment', 'frame.time_epoch')
    events = [json.loads(line) for line in printed(
        'list', '--output=json', '--kind', 'async-net,net-sent-data',
        place.kept).splitlines()]
    events = [e for e in events if 'adapter' in e and 'length' in e]
    equal(len(rows), len(events), 'number of packets')
    for row, event in zip(rows, events):
        comment = f'icount={event["icount"]} event={event["event"]}'
        if 'packet' in event:
            comment += f' packet={event["packet"]}'
        equal(row, [event['adapter'], str(event['length']),
                    {'received': '0x00000001',
                     'sent': '0x00000002'}[event['direction']],
                    str(event['event']), comment,
                    f'{event["time-ns"] // 10 ** 9}.'
                    f'{event["time-ns"] % 10 ** 9:09}'],
              f'event {event["event"]}')


@test
def capture_has_interfaces_and_totals(place):
    capture = place.path('blocks.pcapng')
    tool('pcap', place.kept, capture)
    kinds = [kind for kind, _ in read_blocks(capture)]
    equal(kinds[:3], [0x0a0d0d0a, 1, 1], 'first blocks')
    equal(kinds[-2:], [5, 5], 'last blocks')
    mac = [body[8:].find(bytes.fromhex('06000600525400123400')) >= 0
           for kind, body in read_blocks(capture) if kind == 1]
    equal(mac, [True, False], 'MAC address of n0 in its interface')


# --- a recording of QEMU ----------------------------------------------------

@test
def capture_agrees_with_filter_dump(place):
    """Number, bytes, directions and times.  The dump has microseconds, and
    adds the date of the host.
    """
    recording, dump = place.recording()
    capture = place.path('made.pcapng')
    _, err = tool('pcap', recording, capture)
    equal(err, '', 'messages')
    dumped, packets = read_dump(dump), read_packets(capture)
    equal(len(packets), len(dumped), 'number of packets')
    second = dumped[0][0] - packets[0][1] // 10 ** 9
    for (sec, usec, data), (_, ns, found, options) in zip(dumped, packets):
        equal(found, data, 'bytes of a packet')
        equal((sec - second) * 10 ** 6 + usec, ns // 1000, 'its time')
        is_sent = data[6:12] == bytes.fromhex('525400123456')
        equal(direction(options), 'sent' if is_sent else 'received',
              'its direction')
    rows = tshark(capture, 'frame.number', 'ip.checksum.status',
                  'udp.checksum.status')
    equal(len(rows), len(dumped), "tshark's number of packets")
    found = {status for row in rows for status in row[1:]}
    equal(found, {'', '1'}, 'checksums: none, or good ones')


@test
def exports_are_identical(place):
    recording, _ = place.recording()
    first, second = place.path('first.pcapng'), place.path('second.pcapng')
    tool('pcap', recording, first)
    tool('pcap', recording, second)
    equal(Place.read(first) == Place.read(second), True, 'same bytes')
    out, _ = tool('pcap', recording, '-')
    equal(out == Place.read(first), True, 'same bytes through a pipe')


@test
def replays_capture_the_same(place):
    """With verify=full, the recording has what a replay captures."""
    recording, _ = place.recording()
    exported = place.path('exported.pcapng')
    tool('pcap', recording, exported)
    for name in ('one.pcapng', 'two.pcapng'):
        captured = place.path(name)
        equal(replay(place, recording, f',rrpcap={captured}'), '',
              'messages of the replay')
        equal(Place.read(captured) == Place.read(exported), True,
              f'{name} is what qemu-replay exports')


@test
def pcap_runs_a_replay(place):
    """Behind "--" stands the command line of the recorder, unchanged."""
    recording, _ = place.recording()
    exported, captured = place.path('exp.pcapng'), place.path('a,b.pcapng')
    tool('pcap', recording, exported)
    recorder = machine(place, 'record', place.path('other.rr'))
    _, err = tool('pcap', '--replay', recording, captured, '--', *recorder)
    equal(err, '', 'messages of the replay')
    equal(Place.read(captured), Place.read(exported), 'the capture')
    check(not os.path.exists(place.path('other.rr')), 'it has recorded')
    _, err = tool('pcap', '--replay', recording, captured, '--', recorder[0],
                  '-nodefaults', '-display', 'none', status=2)
    check('the replay has failed' in err and
          'was made on another machine' in err, err)
    _, err = tool('pcap', '--replay', recording, captured, status=2)
    check('needs the command line' in err, err)
    _, err = tool('pcap', recording, captured, '--', 'qemu', status=2)
    check('too many arguments' in err, err)
    _, err = tool('pcap', '--replay', recording, '-', '--', 'qemu', status=2)
    check('give the capture a name' in err, err)
    _, err = tool('pcap', '--replay', recording, captured, '--', '/none',
                  status=2)
    check('cannot run QEMU' in err, err)


@test
def dump_at_the_netdev_gets_a_warning(place):
    """In a replay a filter-dump sees packets only behind the filter-replay."""
    recording, _ = place.recording()
    command = machine(place, 'replay', recording)
    dump = place.path('replay.pcap')
    _, err = run(*command)
    equal(err, '', 'messages with the filter-dump behind')
    check(read_dump(dump), 'it has captured nothing')
    at = command.index('-object')
    first, second = command[at:at + 2], command[at + 2:at + 4]
    _, err = run(*command[:at], *second, *first, *command[at + 4:])
    equal(err.count("filter-dump 'd0' captures nothing in a replay"), 1, err)
    equal(read_dump(dump), [], 'packets in the dump')


@test
def replay_that_cannot_capture(place):
    recording, _ = place.recording()
    for name, message in (('/nowhere/x', 'No such file'),
                          ('/dev/full', 'No space left'),
                          (recording, 'the file is a recording')):
        err = replay(place, recording, f',rrpcap={name}', status=1)
        check(message in err and 'cannot write the capture' in err, err)
    tool('verify', recording)
    new = place.path('new.rr')
    _, err = run(*machine(place, 'record', new, ',rrpcap=x'), status=1)
    check('rrpcap= has no effect with rr=record' in err, err)


@test
def other_qemu_refuses_the_recording(place):
    """A kept recording of 7.2 and one of 10.0: the QEMU that has not made it
    says so.  The tool reads both.
    """
    version = run(QEMU, '--version')[0].decode().split()[3]
    for folder, base in (('tests', '7.2'), ('bases/10.0/tests', '10.0')):
        with open(os.path.join(ROOT, folder, 'data/replay/version-1'
                               '.recording.base64'), 'rb') as file:
            kept = place.write(place.path(base + '.rr'),
                               base64.b64decode(file.read()))
        made = parsed('info', kept)['description']['qemu']
        check(made.startswith(base + '.'), made)
        _, err = run(QEMU, '-nodefaults', '-display', 'none', '-icount',
                     f'shift=3,rr=replay,rrfile={kept}', status=1)
        check('was made on another machine' in err, err)
        check((f'qemu: recorded as \'{made}\', now \'{version}\'' in err)
              == (made != version), err)


@test
def pipe_to_tshark(place):
    recording, _ = place.recording()
    out, _ = run('sh', '-c', f'{TOOL} pcap {recording} - | tshark -n -r - '
                 '-Y dhcp 2>/dev/null')
    check(b'DHCP' in out, out)


@test
def terminal_gets_no_capture(place):
    """The bytes of packets can be control sequences."""
    master, terminal = os.openpty()
    done = subprocess.run([TOOL, 'pcap', place.kept, '-'], check=False,
                          stdin=subprocess.DEVNULL, stdout=terminal,
                          stderr=subprocess.PIPE, timeout=CEILING_S)
    os.close(terminal)
    os.close(master)
    equal(done.returncode, 2, 'status')
    check(b'a terminal would interpret' in done.stderr, done.stderr)


@test
def summaries_name_the_protocols(place):
    recording, _ = place.recording()
    text = printed('list', '--kind', 'net', recording)
    for pattern in (r'0\.0\.0\.0:68 > 255\.255\.255\.255:67, UDP len \d+, '
                    r'DHCP discover of 52:54:00:12:34:56',
                    r'DHCP ack for 10\.0\.2\.15 of 52:54:00:12:34:56',
                    r'ARP who-has 10\.0\.2\.\d tell 10\.0\.2\.15',
                    r'10\.0\.2\.2:69 > 10\.0\.2\.15:\d+, UDP len 516|'
                    r'10\.0\.2\.2:\d+ > 10\.0\.2\.15:\d+, UDP len \d+'):
        check(re.search(pattern, text), f'{pattern} in {text:.3000}')


@test
def stats_agree_with_info(place):
    recording, dump = place.recording()
    stats, info = parsed('stats', recording), parsed('info', recording)
    adapter, = stats['adapters']
    equal(adapter['received']['packets'], info['packets'], 'packets')
    equal(adapter['received']['packets'] + adapter['sent']['packets'],
          len(read_dump(dump)), 'packets of the dump')
    equal({k['kind']: k['count'] for k in stats['kinds']},
          info['events-by-kind'], 'events')
    equal(stats['icount'], info['icount'], 'instructions')
    equal(stats['time-ns'], info['time-ns'], 'virtual time')
    check(abs(sum(k['stored-bytes'] for k in stats['kinds']) -
              stats['stored-bytes']) <= len(stats['kinds']), stats)


@test
def plot_is_an_image(place):
    recording, _ = place.recording()
    plot = place.path('plot.svg')
    tool('stats', '--plot', plot, recording)
    image = Place.read(plot).decode()
    for name in ('in', 'out', 'code'):
        check(re.search(rf'<g class="{name}">\n<rect ', image), f'no {name}')
    run('python3', '-c', 'import sys, xml.dom.minidom; '
        'xml.dom.minidom.parse(sys.argv[1])', plot)


@test
def report_works_in_a_browser(place):
    """It renders, filters, zooms and shows commands, without a complaint."""
    recording, _ = place.recording()
    page = place.path('report.html')
    tool('report', recording, page)
    events = [json.loads(line) for line in printed(
        'list', '--output=json', '--kind', 'async-net,net-sent-data',
        recording).splitlines()]
    sent = [e for e in events if e['direction'] == 'sent']
    dhcp = [e for e in events if 'DHCP' in e['summary']]
    rows = "[...document.querySelectorAll('#rows tbody tr')]"
    with browser.Browser(page, CEILING_S) as web:
        def filtered(**values):
            for name, value in values.items():
                web.value(f'element("{name}").value = "{value}"')
            web.value('refresh()')
            return web.value(rows + '.map(r => +r.cells[0].textContent)')

        check(web.value('element("summary").textContent').startswith(
            f'{len(events)} packets, '), 'the summary')
        equal(web.value(rows + '.map(r => r.cells[7].textContent)'),
              [e['summary'] for e in events[:200]], 'summaries')
        equal(filtered(direction='1'), [e['event'] for e in sent[:200]],
              'sent packets')
        equal(filtered(direction='', filter='DHCP'),
              [e['event'] for e in dhcp], 'packets with DHCP')
        for row, event in enumerate(dhcp[:4]):
            place = (f'packet={event["packet"]}' if 'packet' in event
                     else f'event={event["event"]}')
            web.value(f'{rows}[{row}].click()')
            commands = web.value('element("commands").textContent')
            check(f'replay_seek {place}\n' in commands and
                  f'replay seek {place.replace("=", " ")}\n' in commands and
                  f'replay_break {place}' in commands, commands)
        filtered(filter='')
        middle = events[len(events) // 2]['time-ns']
        web.value(f'zoom({middle}, data.time + 1)')
        equal(web.value('+document.querySelector("#rows tbody tr")'
                        '.cells[0].textContent'),
              [e for e in events if e['time-ns'] >= middle][0]['event'],
              'the first packet after zooming')
        check(web.value('bins().received.reduce((a, b) => a + b)') ==
              sum(e['length'] for e in events if e['time-ns'] >= middle and
                  e['direction'] == 'received'), 'the bytes of the bins')
        check(len(set(web.value(
            '[...element("timeline").getContext("2d").getImageData('
            '0, 0, 1600, 440).data]'))) > 4, 'nothing is drawn')
        equal(web.complaints, [], "the browser's complaints")


@test
def report_loads_nothing(place):
    """The page names no other file, and its policy forbids to load any."""
    recording, _ = place.recording()
    page = place.path('report.html')
    tool('report', recording, page)
    text = Place.read(page).decode()
    check("default-src 'none'" in text, 'the policy')
    equal(re.findall(r'(?:src|href)="(?!data:,")[^"]*', text), [], 'links')


@test
def diff_names_the_event_that_changed(place):
    recording, _ = place.recording()
    changed = place.path('changed.rr')
    event = [json.loads(line) for line in printed(
        'list', '--output=json', '--kind', 'async-net',
        recording).splitlines()][20]
    # byte 22 is the time to live, and bit 4 of 64 makes it 80
    run(faults.tool(), recording, changed, 'flip', event['event'], 22, 4)
    difference = parsed('diff', recording, changed, status=1)
    equal([difference['equal-events'], difference['byte'],
           difference['field']],
          [event['event'], 22, 'IPv4 time to live'], 'the difference')
    text = printed('diff', recording, changed, status=1)
    check(f'\n< event {event["event"]} ' in text and
          'in byte 22: 0x40 and 0x50, IPv4 time to live' in text, text)
    equal(printed('diff', recording, recording), '', 'no difference')
    printed('diff', '--kind', 'char', recording, changed)
    printed('diff', recording, place.kept, status=1)


@test
def verify_names_the_fault(place):
    recording, _ = place.recording()
    data = bytearray(Place.read(recording))
    data[len(data) // 2] ^= 1
    damaged = Place.write(place.path('damaged.rr'), data)
    _, err = tool('verify', damaged, status=1)
    check(re.search(r'is damaged: chunk \d+ at offset \d+: ', err), err)
    for command in ('list', 'stats'):
        _, err = tool(command, damaged, status=2)
        check('is damaged: chunk ' in err, err)
    # an event whose checksum is good, but whose meaning is not
    event = json.loads(printed('list', '--output=json', '--kind', 'async-net',
                               recording).splitlines()[3])['event']
    run(faults.tool(), recording, damaged, 'add', event, 0, 7)
    _, err = tool('verify', damaged, status=1)
    check(f'event {event} (async-net) names an adapter' in err, err)
    equal(parsed('verify', damaged, status=1)['result'], 'damaged', 'result')
    # a packet that no replay takes
    run(faults.tool(), recording, damaged, 'resize', event, 0)
    _, err = tool('verify', damaged, status=1)
    check(f'event {event} (async-net) has a length that no packet has' in err,
          err)


@test
def verify_compares_the_totals(place):
    """The totals at the end have good checksums, but are not those of the
    events.
    """
    data = Place.read(place.kept)
    name = b'\x02n0'

    def more_packets(payload):
        at = payload.index(name) + len(name)
        return payload[:at] + bytes([payload[at] - 1]) + payload[at + 1:]

    forged = Place.write(place.path('forged.rr'),
                         forge.with_other_end(bytes(data), more_packets))
    _, err = tool('verify', forged, status=1)
    check(re.search(r'its end counts \d+ packets and \d+ bytes for the adapter '
                    r'0, but it has \d+ and \d+', err), err)
    same = Place.write(place.path('same.rr'),
                       forge.with_other_end(bytes(data), lambda p: p))
    equal(Place.read(same), data, 'an end that was not changed')


@test
def repaired_recording_replays(place):
    recording, _ = place.recording()
    data = Place.read(recording)
    broken = Place.write(place.path('broken.rr'), data[:len(data) * 2 // 3])
    repaired = place.path('repaired.rr')
    tool('verify', broken, status=1)
    check(not parsed('info', broken)['complete'], 'info of a cut recording')
    _, err = tool('cut', broken, repaired)
    check('is cut: it has no end' in err, err)
    tool('verify', repaired)
    info = parsed('info', repaired)
    check(info['complete'], info)
    equal(info['packets'], parsed('info', broken)['packets'], 'packets')
    equal(info['time-ns'], parsed('stats', broken)['time-ns'], 'virtual time')
    equal(replay(place, repaired), '', 'messages of the replay')
    _, err = tool('cut', broken, repaired, status=2)
    check('already exists' in err, err)


@test
def shorter_recording_replays(place):
    recording, _ = place.recording()
    packet = json.loads(printed('list', '--output=json', '--packets', '30',
                                recording))
    short = place.path('short.rr')
    tool('cut', '--until-packet', 30, recording, short)
    equal(parsed('info', short)['packets'], 30, 'packets')
    equal(replay(place, short), '', 'messages of the replay')
    os.remove(short)
    icount = packet['icount'] + 1
    tool('cut', '--until', icount, recording, short)
    equal(parsed('info', short)['icount'], icount, 'instructions')
    equal(parsed('info', short)['time-ns'],
          parsed('stats', short)['time-ns'], 'virtual time')
    equal(replay(place, short), '', 'messages of the replay')
    difference = parsed('diff', recording, short, status=1)
    check(difference['equal-events'] >= packet['event'], difference)


@contextlib.contextmanager
def follower(growing, listed):
    """Follow a recording, which is locked as a recorder locks it, until
    something is listed.  The lock is that of the process's file "recorder".
    """
    with open(growing, 'rb') as recorder, open(listed, 'wb') as out:
        fcntl.flock(recorder, fcntl.LOCK_EX)
        with subprocess.Popen(
                [TOOL, 'list', '--follow', '--kind', 'net', growing],
                stdout=out, stderr=subprocess.PIPE, text=True) as process:
            process.recorder = recorder
            end = time.monotonic() + CEILING_S
            while not Place.read(listed):
                if time.monotonic() > end:
                    process.kill()
                    check(False, 'nothing is listed')
                time.sleep(POLL_S)
            yield process


@test
def growing_recording_can_be_followed(place):
    """A third of the kept recording has several whole chunks.  (How many a new
    recording has depends on the speed of the machine.)
    """
    recording = place.kept
    data = Place.read(recording)
    growing = Place.write(place.path('growing.rr'), data[:len(data) // 3])
    listed = place.path('growing.list')
    with follower(growing, listed) as process:
        for end in (len(data) // 2, len(data) - 10, len(data)):
            with open(growing, 'r+b') as file:
                file.seek(0, os.SEEK_END)
                file.write(data[file.tell():end])
        _, err = process.communicate(timeout=CEILING_S)
        equal((process.returncode, err), (0, ''), 'end of the list')
    equal(Place.read(listed).decode(),
          printed('list', '--kind', 'net', recording), 'the list')


@test
def list_ends_with_a_killed_recorder(place):
    data = Place.read(place.kept)
    growing = Place.write(place.path('killed.rr'), data[:len(data) // 3])
    listed = place.path('killed.list')
    with follower(growing, listed) as process:
        with open(growing, 'r+b') as file:
            file.seek(0, os.SEEK_END)
            file.write(data[file.tell():len(data) // 2])
        process.recorder.close()
        _, err = process.communicate(timeout=CEILING_S)
        equal(process.returncode, 0, 'status')
        check('is cut: it has no end' in err, err)
    equal(Place.read(listed).decode(),
          tool('list', '--kind', 'net', growing)[0].decode(), 'the list')


# --- packs ------------------------------------------------------------------

# The command line of a recorder, and files that it names.  Each of its options
# asks for something of the host.
STRANGERS = [
    'rm', '-kernel', 'kernel', '-initrd', '/etc/shadow', '-bios', 'bios.bin',
    '-append', 'console=ttyS0 a\'b\x1b]0;x\x07 root=/dev/sda',
    '-icount', 'shift=3,rr=record,rrfile=/etc/passwd,rrpcap=/etc/passwd',
    '-readconfig', '/etc/evil', '-plugin', '/tmp/evil.so', '-L', '/tmp',
    '-netdev', 'tap,id=n0,script=/tmp/evil,downscript=/tmp/evil',
    '-netdev', '{"type":"user","id":"n1","hostfwd":[{"str":"tcp::1-:1"}]}',
    '-netdev', 'hubport,id=h0,hubid=0,netdev=n0',
    '-nic', 'bridge,model=e1000,mac=52:54:00:00:00:01,helper=/tmp/evil',
    '-net', 'nic,model=e1000', '-net', 'user,smb=/',
    '-device', 'e1000,netdev=n0,romfile=/etc/shadow',
    '-device', '{"driver":"rtl8139","netdev":"n1","multifunction":true}',
    '-device', 'vfio-pci,host=00:00.0', '-device', 'usb-mtp,rootdir=/',
    '-device', 'loader,file=/etc/shadow,addr=0x1000',
    '-device', 'virtio-net-pci,netdev=n0,x=/etc/shadow',
    '-global', 'e1000.romfile=/etc/shadow', '-global', 'e1000.mac=/x',
    '-global', 'PIIX4_PM.disable_s3=1',
    '-object', 'filter-replay,id=f0,netdev=n0',
    '-object', 'filter-dump,id=d0,netdev=n0,file=/etc/passwd',
    '-object', 'memory-backend-file,id=m0,mem-path=/etc/passwd,size=1M',
    '-object', 'rng-random,id=r0,filename=/etc/passwd',
    '-object', 'secret,id=s0,file=/etc/shadow',
    '-object', 'input-linux,id=i0,evdev=/dev/input/event0',
    '-object', 'secret,id=s1,data=a/b,,c',
    '-chardev', 'file,id=c0,path=/etc/passwd,logfile=/etc/passwd',
    '-chardev', 'socket,id=c1,path=/tmp/s,server=on,mux=on',
    '-chardev', 'pipe,id=../../c2,path=/tmp/evil',
    '-mon', 'chardev=c1', '-monitor', 'unix:/tmp/evil,server=on,wait=off',
    '-qmp', 'tcp::4444,server=on', '-gdb', 'tcp::1234', '-s', '-S',
    '-serial', 'file:/etc/passwd', '-serial', 'chardev:c0',
    '-serial', 'tcp:example.org:80', '-parallel', '/dev/parport0',
    '-debugcon', 'pty', '-pidfile', '/etc/passwd', '-D', '/etc/passwd',
    '-daemonize', '-chroot', '/', '-trace', 'file=/etc/passwd',
    '-vnc', ':0', '-spice', 'port=1', '-display', 'gtk',
    '-audiodev', 'wav,id=a0,path=/etc/passwd',
    '-drive', 'file=disk.img,if=virtio,format=raw,aio=io_uring',
    '-drive', 'file=/etc/shadow,if=virtio', '-drive', 'if=ide,index=3',
    '-drive', 'file=nbd:example.org:10809,if=virtio',
    '-drive', 'file=fat:rw:/etc,if=virtio',
    '-drive', 'driver=blkreplay,if=virtio,image.driver=qcow2,'
              'image.file.driver=file,image.file.filename=top.qcow2',
    '-drive', 'file=json:{"driver":"qcow2",,"file":{"driver":"file",,'
              '"filename":"top.qcow2"},,"backing":{"driver":"raw",,"file":'
              '{"driver":"file",,"filename":"/etc/shadow"}}},if=virtio',
    '-drive', 'file=top.qcow2,if=virtio,backing.file.filename=/etc/shadow',
    '-drive', 'file=json:{"driver":"raw",,"file":"secret.txt"},if=virtio',
    '-blockdev', 'driver=file,node-name=b0,filename=top.qcow2,aio=native',
    '-blockdev', '{"driver":"qcow2","node-name":"b1","file":"b0"}',
    '-blockdev', 'driver=qcow2,node-name=b2,file=b9',
    '-blockdev', 'driver=file,node-name=b3,filename=/etc/shadow',
    '-blockdev', 'driver=raw,node-name=b4,offset=512,file=b0',
    '-blockdev', 'driver=qcow2,node-name=b5,file=b4',
    '-blockdev', 'driver=ssh,node-name=b6,host=example.org,path=/x',
    '-hda', 'disk.img', '-cdrom', 'json:{"driver":"file","filename":"/etc/x"}',
    '-fw_cfg', 'name=opt/a,file=/etc/shadow', '-fw_cfg', 'opt/b,string=/x',
    '-smbios', 'file=/etc/shadow', '-smbios', 'type=1,serial=a/b',
    '-acpitable', 'data=/etc/shadow', '-option-rom', '/etc/shadow',
    '-boot', 'order=n,splash=/etc/shadow', '-usbdevice', 'host:1:1',
    '-usbdevice', 'tablet', '-machine', 'pc,dumpdtb=/etc/passwd,accel=kvm',
    '-enable-kvm', '-semihosting', '-mem-path', '/dev/shm', '-m', '64',
    '-cpu', 'qemu64', '-smp', '1', '-rtc', 'base=utc', '-add-fd', 'fd=3,set=1',
    '-set', 'drive.x.file=/etc/shadow', '-virtfs', 'local,path=/,mount_tag=x',
    '-fsdev', 'local,id=fs,path=/', '-tpmdev', 'passthrough,id=t,path=/dev/t',
    '-runas', 'root', '-sandbox', 'off', '-name', 'x,process=y',
    '-incoming', 'exec:/tmp/evil', '-loadvm', 'x', '--no-reboot', 'disk.img',
]


def strangers_pack(place, argv=None, files=(), **more):
    """A pack with this command line, and with the files that it may have."""
    top = forge.qcow2('/etc/shadow')
    return forge.pack_of(place.path('stranger.zip'), argv or STRANGERS, [
        ('kernel', b'kernel', {'role': 'kernel'}),
        ('firmware/bios.bin', b'bios', {'role': 'rom'}),
        ('disk.img', b'\0' * 4096, {'role': 'disk', 'disk-format': 'raw'}),
        ('top.qcow2', top, {'role': 'disk', 'disk-format': 'qcow2',
                            'backing': 'disk.img'}), *files], **more)


def unpacked(place, pack, *options, status=0):
    """Unpack; return the folder and what was printed."""
    folder = place.path('unpacked')
    shutil.rmtree(folder, ignore_errors=True)
    out, err = tool('unpack', *options, pack, folder, status=status)
    return folder, out.decode().replace(place.folder, 'FOLDER'), err


def strangers_command(place):
    """What becomes of STRANGERS, one option a line, and the warnings."""
    _, out, err = unpacked(place, strangers_pack(place), '--qemu=qemu')
    words = re.sub(r' (-[a-z_LMA-Z-]+)(?= |$)', r'\n\1', out)
    err = re.sub('belongs to QEMU .*', 'belongs to QEMU VERSION', err)
    return (words + re.sub('qemu-replay unpack: ', '', err)).encode()


@test
def command_of_a_stranger_is_golden(place):
    """Each option that asks for something of the host is replaced, or left out
    with a warning.
    """
    equal(strangers_command(place).decode().splitlines(),
          Place.read(os.path.join(GOLDEN, 'stranger.txt')).decode()
          .splitlines(), 'the command')


@test
def command_of_a_stranger_names_only_its_folder(place):
    """No word of the command but texts for the guest names a file elsewhere,
    and a shell takes it as the words that JSON has.
    """
    folder, out, _ = unpacked(place, strangers_pack(place), '--qemu=qemu')
    _, more, _ = unpacked(place, strangers_pack(place), '--qemu=qemu',
                          '--output=json')
    words = json.loads(more)['command']
    shell, _ = run('bash', '-c', f'printf "%s\\n" {out}')
    equal(shell.decode().split('\n')[:-1], words, 'what a shell makes of it')
    check(set(out.encode()) <= HARMLESS, 'control characters')
    text = '\n'.join(words)
    for word in words[1:]:
        if 'root=/dev/sda' in word or word in ('opt/b,string=/x',
                                               'type=1,serial=a/b',
                                               'secret,id=s1,data=a/b,,c'):
            continue
        rest = re.sub(r'FOLDER/unpacked/[A-Za-z0-9./-]+', '', word)
        check('/' not in rest and '..' not in word, f'{word} in {text}')
    for word in ('evil', 'shadow', 'secret.txt', 'passwd', 'example.org', 'ssh', 'nbd',
                 'fat', 'vfio', 'mtp', 'kvm', 'exec', 'socket', 'rr=record', 'hostfwd'):
        check(word not in text, f'{word} in {text}')
    equal(sorted(os.listdir(folder)), [
        'disk.img', 'firmware', 'kernel', 'output', 'recording.rr',
        'top.qcow2'], 'the folder')


@test
def snapshot_of_a_stranger_needs_trust(place):
    """QEMU trusts a snapshot, so unpack prints no command that loads one."""
    argv = ['qemu', '-m', '64']
    pack = strangers_pack(place, argv, pairs={'info.rrsnapshot': 'begin'})
    folder, out, err = unpacked(place, pack, status=1)
    equal(out, '', 'the command')
    check('begins at a snapshot' in err and '--trust-snapshot' in err, err)
    check(os.path.exists(os.path.join(folder, 'kernel')), 'no files')
    _, out, _ = unpacked(place, pack, '--trust-snapshot')
    check('rrsnapshot=begin' in out, out)


def link_to(target):
    """An entry that is a symbolic link, as Unix programs store it."""
    info = zipfile.ZipInfo('kernel')
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    # libarchive's own field gives the type to readers that read in order
    info.extra = struct.pack('<HHBHHI', 0x6c78, 9, 7, 3 << 8, 0,
                             0o120777 << 16)
    return info, target.encode()


@test
def hostile_packs_are_refused(place):
    """Nothing is written outside, and nothing stays in the folder."""
    record = forge.recording(forge.command(['qemu', '-m', '64']))
    kernel = b'kernel'
    first = forge.entry('recording.rr', record, role='recording')
    good = [first, forge.entry('kernel', kernel)]
    body = [('recording.rr', record), ('kernel', kernel)]

    def files(*more):
        return ('manifest.json', forge.manifest([first, *more])), *body[:1]

    def named(name):
        return *files(forge.entry(name, kernel)), (name, kernel)

    loop = [forge.entry('a', kernel, **{'disk-format': 'qcow2',
                                        'backing': 'b'}),
            forge.entry('b', kernel, **{'disk-format': 'qcow2',
                                        'backing': 'a'})]
    data_file = forge.qcow2(features=4)
    backed = forge.qcow2('/etc/shadow')
    vmdk = b'# Disk DescriptorFile\nRW 1 FLAT "/etc/shadow" 0\n'
    disk = {'role': 'disk', 'disk-format': 'qcow2'}
    big = bytes(1 << 20)
    packs = {
        'no manifest': (body, 'its first entry is not manifest.json'),
        'manifest last': ([*body, ('manifest.json', forge.manifest(good))],
                          'its first entry is not'),
        'no JSON': ([('manifest.json', b'{')], 'manifest.json is damaged'),
        'list': ([('manifest.json', b'[]')], 'it is no object'),
        'byte 0': ([('manifest.json', b'{}\0')], 'it has a byte 0'),
        'long manifest': ([('manifest.json', b' ' * (5 << 20))],
                          'an entry is too long'),
        'deep JSON': ([('manifest.json', b'[' * 100000)],
                      'manifest.json is damaged'),
        'other format': ([('manifest.json', forge.manifest(good, format='x'))],
                         "the format is not qemu-replay-pack, found 'x'"),
        'newer': ([('manifest.json', forge.manifest(good, version=2))],
                  'the pack has version 2'),
        'no recording': ([('manifest.json', forge.manifest(good[1:])),
                          body[1]], 'it has no recording.rr'),
        'absolute': (named('/tmp/kernel'), 'invalid name'),
        'parent': (named('../kernel'), 'invalid name'),
        'inner parent': (named('firmware/../../kernel'), 'invalid name'),
        'folder': (named('a/kernel'), 'invalid name'),
        'dot': (named('firmware/.'), 'invalid name'),
        'empty': (named('firmware/'), 'invalid name'),
        'control': (named('ker\x1b[31mnel'), 'invalid name'),
        'manifest': (named('manifest.json'), 'invalid name'),
        'same name': (files(good[1], good[1]), 'two files have the same name'),
        'hash': (files({**good[1], 'sha256': 'x' * 64}), 'needs 64 digits'),
        'negative': (files({**good[1], 'bytes': -1}), 'a file needs'),
        'loop': (files(*loop), 'chain of backing files is too long'),
        'raw with backing': (files({**loop[0], 'disk-format': 'raw'}),
                             'only qcow2 has a backing file'),
        'no backing': (files({**loop[0], 'backing': '/etc/shadow'}),
                       'a backing file is missing'),
        'unknown entry': ([*files(), body[1]], 'the manifest does not have'),
        'missing entry': (files(good[1]), 'is missing'),
        'left out': ([*files({**good[1], 'left-out': True}), body[1]],
                     'the manifest does not have'),
        'twice': ([*files(good[1]), body[1], body[1]], 'there twice'),
        'link': ([*files(good[1]), link_to('/etc/shadow')], 'is no file'),
        'directory': ([*files(good[1]), ('kernel/', b'')],
                      'an entry is no file'),
        'longer': ([*files({**good[1], 'bytes': 5}), body[1]],
                   'longer than the manifest says'),
        'shorter': ([*files({**good[1], 'bytes': 7}), body[1]],
                    'has other bytes than the manifest says'),
        'changed': ([*files(good[1]), ('kernel', b'Kernel')],
                    'has other bytes than the manifest says'),
        'too much': (files({**good[1], 'bytes': 1 << 62},
                           {**good[1], 'name': 'k', 'bytes': 1 << 62}),
                     'but the limit is 8589934592'),
        'zeros': ([*files({**good[1], 'bytes': 9}), ('kernel', big)],
                  'longer than the manifest says'),
        'data file': ([*files(forge.entry('d', data_file, **disk)),
                       ('d', data_file)], 'its data is in another file'),
        'backing file': ([*files(forge.entry('d', backed, **disk)),
                          ('d', backed)], 'another header'),
        'raw as qcow2': ([*files(forge.entry('d', kernel, **disk)),
                          ('d', kernel)], 'another header'),
        'vmdk': ([*files(forge.entry('d', vmdk, **disk)), ('d', vmdk)],
                 'it has the format vmdk'),
        'no command line': (
            [('manifest.json', forge.manifest(
                [forge.entry('recording.rr', forge.recording({'a': 'b'}))])),
             ('recording.rr', forge.recording({'a': 'b'}))],
            'does not have its command line'),
        'bad escape': (
            [('manifest.json', forge.manifest(
                [forge.entry('recording.rr', forge.recording(
                    {'info.argv.0': 'a', 'info.argv.1': '\\x00'}))])),
             ('recording.rr', forge.recording(
                 {'info.argv.0': 'a', 'info.argv.1': '\\x00'}))],
            'the command line in the recording is damaged'),
        'no recording in it': (
            [('manifest.json', forge.manifest(
                [forge.entry('recording.rr', b'x')])), ('recording.rr', b'x')],
            'is not a recording'),
    }
    folder = place.path('unpacked')
    shutil.rmtree(folder, ignore_errors=True)
    Place.write(place.path('hostile.zip'), b'')
    before = sorted(os.listdir(place.folder))
    for name, (entries, message) in packs.items():
        pack = forge.write_pack(place.path('hostile.zip'), entries)
        _, err = tool('unpack', pack, folder, status=2)
        check(message in err, f'{name}: "{message}" is not in {err}')
        check(set(err.encode()) <= HARMLESS, f'{name}: {err!r}')
        equal(sorted(os.listdir(place.folder)), before, name)


@test
def damaged_packs_give_a_message(place):
    """Every prefix of a pack, and flipped bytes."""
    data = Place.read(strangers_pack(place, ['qemu', '-m', '64']))
    bad, folder = place.path('bad.zip'), place.path('unpacked')
    variants = [data[:n] for n in range(0, data.rindex(b'PK\x01\x02'), 97)]
    variants += [data[:n] + bytes([data[n] ^ 0x40]) + data[n + 1:]
                 for n in range(0, len(data), 41)]
    failed = 0
    for variant in variants:
        Place.write(bad, variant)
        shutil.rmtree(folder, ignore_errors=True)
        done = subprocess.run([TOOL, 'unpack', bad, folder], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=CEILING_S)
        check(done.returncode in (0, 2), f'{done.returncode} {done.stderr}')
        check(set(done.stderr) <= HARMLESS, done.stderr)
        if done.returncode:
            failed += 1
            check(done.stderr and not done.stdout and
                  not os.path.exists(folder), done.stderr)
    check(failed > len(variants) / 2, f'only {failed} were refused')


@test
def folder_of_unpack_must_be_empty(place):
    pack = strangers_pack(place, ['qemu', '-m', '64'])
    folder = place.path('full')
    os.mkdir(folder)
    tool('unpack', pack, folder)
    _, err = tool('unpack', pack, folder, status=2)
    check('is not empty' in err, err)
    check(os.path.exists(os.path.join(folder, 'kernel')), 'it was removed')
    os.mkdir(place.path('empty'))
    os.symlink(place.path('empty'), place.path('link'))
    _, err = tool('unpack', pack, place.path('link'), status=2)
    check('cannot open the folder' in err, err)
    equal(os.listdir(place.path('empty')), [], 'the folder behind a link')
    _, err = tool('unpack', '--limit=100', pack, place.path('small'), status=2)
    check('but the limit is 100' in err, err)


@test
def pack_has_what_the_command_line_names(place):
    """Relative names begin where the recorder ran; images bring their backing
    files; the same files give the same pack.
    """
    there = place.path('there')
    os.makedirs(os.path.join(there, 'sub'))
    kernel = Place.write(os.path.join(there, 'kernel'), b'kernel' * 1000)
    base = Place.write(os.path.join(there, 'sub', 'base.raw'),
                       b'\0' * 100000 + b'base')
    top = Place.write(os.path.join(there, 'sub', 'top.qcow2'),
                      forge.qcow2('base.raw'))
    rom = Place.write(os.path.join(there, 'rom.bin'), b'rom')
    digest = {path: hashlib.sha256(Place.read(path)).hexdigest()
              for path in (kernel, base, top, rom)}
    record = Place.write(place.path('record.rr'), forge.recording({
        'qemu': '7.2', 'info.qemu': '7.2.22', 'icount.shift': 'auto',
        'info.directory': there,
        'info.file.kernel.0': f'{digest[kernel]}, 6000 bytes, kernel',
        'info.file.rom.0': f'{digest[rom]}, 3 bytes, {rom}',
        **forge.command(['/bin/qemu', '-kernel', 'kernel', '-hda',
                         'sub/top.qcow2', '-append', 'a "b" c',
                         '-vnc', ':0'])}))
    pack, again = place.path('my.zip'), place.path('again.zip')
    equal(parsed('pack', record, pack), forge.manifest([
        {'name': name, 'role': role, 'path': path,
         'bytes': os.path.getsize(real),
         'sha256': hashlib.sha256(Place.read(real)).hexdigest(), **more,
         'left-out': False}
        for name, role, path, real, more in (
            ('recording.rr', 'recording', record, record, {}),
            ('kernel', 'kernel', 'kernel', kernel, {}),
            ('disk.img', 'disk', 'sub/top.qcow2', top,
             {'disk-format': 'qcow2', 'backing': 'disk-1.img'}),
            ('disk-1.img', 'backing', 'sub/base.raw', base,
             {'disk-format': 'raw'}),
            ('firmware/rom.bin', 'rom', rom, rom, {}))],
        qemu='7.2.22', command=['/bin/qemu', '-kernel', 'kernel', '-hda',
                                'sub/top.qcow2', '-append', 'a "b" c',
                                '-vnc', ':0']), 'the manifest')
    tool('pack', '--directory', there, record, again)
    equal(Place.read(again), Place.read(pack), 'the same pack')
    equal(os.stat(pack).st_mode & 0o777, 0o600, 'its mode')
    with zipfile.ZipFile(pack) as opened:
        equal(opened.testzip(), None, 'what another program finds')
        equal(opened.namelist(), ['manifest.json', 'recording.rr', 'kernel',
                                  'disk.img', 'disk-1.img',
                                  'firmware/rom.bin'], 'its entries')
    folder, out, _ = unpacked(place, pack, '--qemu=qemu')
    for path, name in ((kernel, 'kernel'), (top, 'disk.img'),
                       (base, 'disk-1.img'), (rom, 'firmware/rom.bin'),
                       (record, 'recording.rr')):
        equal(Place.read(os.path.join(folder, name)), Place.read(path), name)
    equal(shlex.split(out), [
        'qemu', '-L', 'FOLDER/unpacked/firmware', '-icount', 'shift=auto,'
        'rr=replay,rrfile=FOLDER/unpacked/recording.rr', '-display', 'none',
        '-kernel', 'FOLDER/unpacked/kernel', '-drive', 'media=disk,index=0,'
        'backing.driver=raw,backing.file.driver=file,backing.file.filename='
        'FOLDER/unpacked/disk-1.img,driver=qcow2,file.driver=file,'
        'file.filename=FOLDER/unpacked/disk.img', '-append', 'a "b" c',
        '-serial', 'file:FOLDER/unpacked/output/serial0', '-monitor', 'none'],
        'the command')

    # without its disks
    tool('pack', '--without-disks', record, place.path('small.zip'))
    folder, out, err = unpacked(place, place.path('small.zip'), '--qemu=qemu')
    for path, name in (top, 'disk.img'), (base, 'disk-1.img'):
        check(f'{os.path.getsize(path)} bytes and SHA-256 {digest[path]} into '
              f"'{folder}/{name}'" in err, err)
        check(not os.path.exists(os.path.join(folder, name)), name)
        check(f'filename=FOLDER/unpacked/{name}' in out, out)

    # what cannot be packed
    for change, message in (
            (lambda: Place.write(kernel, b'other'), 'has changed since'),
            (lambda: os.remove(kernel), 'No such file'),
            (lambda: Place.write(top, forge.qcow2('nbd://x')), 'has a colon'),
            (lambda: Place.write(top, forge.qcow2('top.qcow2',
                                                  backing_format='qcow2')),
             'is its own backing file'),
            (lambda: Place.write(top, b'KDMV'), 'it has the format vmdk'),
            (lambda: os.mkfifo(top + '.new') or os.replace(top + '.new', top),
             'is not a regular file')):
        change()
        _, err = tool('pack', record, place.path('no.zip'), status=2)
        check(message in err, f'{message} is not in {err}')
        check(not os.path.exists(place.path('no.zip')), 'a part of a pack')
        if 'kernel' in err:
            Place.write(kernel, b'kernel' * 1000)


@test
def packed_recording_replays(place):
    """A recording of QEMU, with its firmware and another place for its files;
    filter-dump has to be there again, and writes into the folder.
    """
    recording, _ = place.recording()
    pack = place.path('made.zip')
    equal(parsed('info', recording)['description']['info.directory'],
          os.getcwd(), 'where the recorder ran')
    tool('pack', recording, pack)
    folder, out, err = unpacked(place, pack)
    equal(err, '', 'warnings')
    run('bash', '-c', out.replace('FOLDER', place.folder))
    check(os.path.exists(os.path.join(folder, 'output/d0.pcap')), out)
    _, err = tool('pack', recording, pack, status=2)
    check('already exists' in err, err)
    _, err = tool('pack', '--limit=1000', recording, place.path('no.zip'),
                  status=2)
    check('but the limit is 1000' in err and '--without-disks' in err, err)


# --- bad input --------------------------------------------------------------

@test
def bad_input_gives_a_message(place):
    """Every prefix of the kept recording, and flipped bytes."""
    data = Place.read(place.kept)
    bad = place.path('bad.rr')
    variants = [data[:n] for n in range(0, len(data), 509)]
    variants += [data[:n] + bytes([data[n] ^ 0x40]) + data[n + 1:]
                 for n in range(0, len(data), 499)]
    for variant in variants:
        Place.write(bad, variant)
        for command in ('info', 'list', 'stats', 'verify', 'pcap', 'cut',
                        'report'):
            words = [command, bad]
            if command in ('pcap', 'cut', 'report'):
                words.append(place.path('bad.out'))
            if os.path.exists(place.path('bad.out')):
                os.remove(place.path('bad.out'))
            done = subprocess.run([TOOL, *words], check=False,
                                  stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=CEILING_S)
            check(done.returncode in (0, 1, 2), f'{words}: {done.returncode}')
            check(done.returncode == 0 or done.stderr, f'{words}: no message')
            check(set(done.stderr) <= HARMLESS, f'{words}: {done.stderr}')


@test
def unusable_files_and_options(place):
    for words, message in (
            ((), 'a command is missing'),
            (('shout', place.kept), "there is no command 'shout'"),
            (('info',), 'an argument is missing'),
            (('info', place.kept, place.kept), 'too many arguments'),
            (('info', '--loud', place.kept), 'Unknown option --loud'),
            (('info', '--output=xml', place.kept), "found 'xml', expected"),
            (('info', place.folder), 'is a directory'),
            (('info', place.path('none')), 'No such file'),
            (('list', '--kind', 'nte', place.kept), "of the kind 'nte'"),
            (('list', '--adapter', 'n7', place.kept), "no adapter 'n7'"),
            (('list', '--from', '-1', place.kept), "'-1' is not a number"),
            (('list', '--packets', '3-x', place.kept), "'x' is not a number"),
            (('diff', '--kind', 'nte', place.kept, place.kept), "kind 'nte'"),
            (('pcap', place.kept, '/nowhere/x'), 'cannot write the capture'),
            (('cut', place.kept, '/nowhere/x'), 'cannot record to'),
            (('pcap', place.kept, '/dev/full'), 'No space left'),
            (('pcap', place.kept, place.kept), 'the file is a recording'),
            (('report', place.kept, place.kept), 'the file is a recording'),
            (('report', place.kept, '/nowhere/x'), "cannot write '/nowhere/x'"),
            (('report', place.kept, '/dev/full'), 'No space left'),
            (('stats', '--plot', place.kept, place.kept),
             'the file is a recording'),
            (('cut', place.kept, place.kept), 'already exists'),
            (('verify', place.path('none')), 'No such file'),
            (('pack', place.kept, place.path('none')), 'earlier version'),
            (('pack', '--limit=x', place.kept, place.path('none')),
             "'x' is not a number"),
            (('unpack', place.path('none'), place.path('none')),
             'No such file'),
            (('unpack', place.kept, place.path('none')),
             'cannot read the pack')):
        _, err = tool(*words, status=2)
        check(message in err, f'{words}: {err}')
    with open('/dev/full', 'wb') as full:
        done = subprocess.run([TOOL, 'list', place.kept], stdout=full,
                              stderr=subprocess.PIPE, check=False)
    equal(done.returncode, 2, 'status with a full disk')
    check(b'cannot write to stdout' in done.stderr, done.stderr)


@test
def help_has_examples(place):
    del place
    listed = printed('--help')
    for command in COMMANDS:
        check(f'\n  {command} ' in listed, f'{command} in {listed}')
        text = printed(command, '--help')
        check(re.search(rf'\nExample: .*\n  qemu-replay {command} ', text),
              text)
    printed('--version')


# --- documents --------------------------------------------------------------

@test
def manual_has_all_commands_and_options(place):
    del place
    manual = os.path.join(ROOT, 'docs/qemu-replay.1')
    _, err = run('mandoc', '-T', 'lint', '-W', 'warning', manual)
    equal(err, '', "mandoc's warnings")
    text = Place.read(manual).decode()
    completion = Place.read(os.path.join(
        ROOT, 'contrib/qemu-replay/bash-completion')).decode()
    for command in COMMANDS:
        check(f'\n.Ss {command} ' in text, f'{command} is in the manual')
        check(command in completion, f'{command} is in the completion')
        for option in re.findall(r'  (?:-., )?--([a-z-]+)',
                                 printed(command, '--help')):
            if option != 'help':
                check(f'-{option}' in text, f'--{option} is in the manual')
            check(f'--{option}' in completion,
                  f'--{option} is in the completion')
    run('bash', '-n', os.path.join(ROOT,
                                   'contrib/qemu-replay/bash-completion'))


def update_golden(place):
    os.makedirs(GOLDEN, exist_ok=True)
    for name in GOLDEN_OUTPUTS:
        Place.write(os.path.join(GOLDEN, name), golden_output(place, name))
    Place.write(os.path.join(GOLDEN, 'stranger.txt'), strangers_command(place))


def main():
    place = Place()
    failed = 0
    words = sys.argv[1:]
    try:
        if words[:1] == ['--update-golden']:
            update_golden(place)
            return
        chosen = words or list(tests)
        print(f'1..{len(chosen)}', flush=True)
        for number, name in enumerate(chosen, 1):
            try:
                tests[name](place)
                print(f'ok {number} - {name}', flush=True)
            except (Failure, subprocess.TimeoutExpired, ValueError, OSError,
                    KeyError) as failure:
                failed += 1
                print(f'# {failure}\nnot ok {number} - {name}', flush=True)
    finally:
        shutil.rmtree(place.folder, ignore_errors=True)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
