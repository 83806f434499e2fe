# SPDX-License-Identifier: GPL-2.0-or-later
"""The experiments of scripts/bench: it records, replays and floods guests.

    guest -- NIC -- filter-replay -- slirp -- HTTP server on 127.0.0.1
    guest -- NIC -- filter-replay -- UDP socket on 127.0.0.1 -- Peer

Each experiment is a function of a Workshop, which names the QEMU, and of a
NIC's model.  It returns a dictionary with a number for each metric.  A metric
is missing if it could not be measured, because the replay hung or differed.
"""

import os
import random
import re
import select
import socket
import statistics
import struct
import time

import faults
import rr
from gdb import Gdb
from places import arrive, differences, human, seek, state

MEBIBYTE = 1 << 20

# A guest counts as hanging when it has written nothing to its console while
# QEMU has used SILENCE_CPU_S of CPU time, which does not depend on how busy
# the host is, or for SILENCE_S of wall time.
SILENCE_CPU_S = 30
SILENCE_S = 120
# In place of SILENCE_S, for guests that are idle for a long time.
LONG_SILENCE_S = 900

DOWNLOADS = tuple(rr.Payload(2_000_000, seed) for seed in (1, 2, 3))
TEXTS = tuple(rr.Payload(2_000_000, seed, text=True) for seed in (1, 2, 3))
BIG_DOWNLOADS = tuple(rr.Payload(8_000_000, seed) for seed in (1, 2, 3, 4))
COST_ROUNDS = 2

# ne2k_pci has room for 8 packets: it would lose most of a burst, and TCP would
# wait for a minute in its timeouts.  So its server sends smaller pieces, with
# a pause after each.
SMALL_NICS = {'ne2k_pci': {'piece_bytes': 4096, 'pace_s': 0.002}}

IDLE_S = 20
SLEEP_S = 20

BURSTS = 40
BURST_DATAGRAMS = 150
DATAGRAM_BYTES = 1400
BURST_PAUSE_S = 0.6
# The guest pings every 0.2 s, which takes a little longer than the bursts.
BURST_PINGS = 170

FLOOD_S = 3
FLOOD_FRAMES = 300_000
FLOOD_KINDS = 1024
WARM_UP_S = 0.5
# The guest sleeps for this long, which is enough for WARM_UP_S and FLOOD_S
# even if its clock is ahead.
FLOODED_S = 12
ASK_AGAIN_S = 0.5

TRAVEL_SEEKS = 100
TRAVEL_REVISITS = 20
TRAVEL_STEPS = 20
TRAVEL_HITS = 5

SEEKS = 1000
SEEK_PLACES = 100
# After this many seeks QEMU has made its checkpoints and translated the guest's
# code; what it grows by from there on is measured.
SEEKS_WARM = 200

VCPUS = 4
BUSY_ROUNDS = 8_000_000


class MeasuredRun(rr.Run):
    """A Run that knows its CPU time after its end."""

    cpu_s = None

    def _reap(self, flags):
        pid, status, usage = os.wait4(self.process.pid, flags)
        if pid:
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_s = usage.ru_utime + usage.ru_stime
            self.seconds = time.monotonic() - self.started

    def ended(self):
        if self.process.returncode is None:
            self._reap(os.WNOHANG)
        return self.process.returncode is not None

    def kill(self):
        if not self.ended():
            self.process.kill()
            self._reap(0)

    def outlasts(self, silence_s):
        """Wait for the end, and return True.  If the guest hangs, kill QEMU
        and return False.
        """
        size = -1
        while not self.ended():
            now, cpu_s = time.monotonic(), self.cpu_so_far_s()
            if size != len(self.console()):
                size, since, since_cpu_s = len(self.console()), now, cpu_s
            elif (now - since > silence_s
                  or cpu_s - since_cpu_s > SILENCE_CPU_S):
                self.kill()
                return False
            time.sleep(rr.POLL)
        return True

    def cpu_so_far_s(self):
        """The user and system time that all threads of QEMU have used."""
        with open(f'/proc/{self.process.pid}/stat', encoding='ascii') as f:
            fields = f.read().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def memory_bytes(self, field):
        """A field of /proc/PID/status: VmRSS, or VmHWM, which is its peak."""
        with open(f'/proc/{self.process.pid}/status', encoding='ascii') as f:
            return int(re.search(rf'^{field}:\s*(\d+) kB', f.read(),
                                 re.MULTILINE)[1]) * 1024

    def forget_peak(self):
        """Reset VmHWM to VmRSS."""
        with open(f'/proc/{self.process.pid}/clear_refs', 'w',
                  encoding='ascii') as f:
            f.write('5')


class Workshop(rr.Scenario):
    """A Scenario whose runs are measured."""

    run_type = MeasuredRun


class DgramNic(rr.Nic):
    """A NIC whose netdev is a UDP socket; netdev_options has its addresses."""

    def netdev_argument(self):
        return f'dgram,id={self.netdev},{self.netdev_options}'


class Peer:
    """The other end of a DgramNic: one host on the guest's Ethernet.

    The peer has no IP stack.  It sends UDP datagrams to a port on which the
    guest does not listen, from an address to which the guest has no route, so
    that the guest does not answer.  It also sends ARP requests; the guest
    answers these after it has processed the packets before them.

    @mark: the first bytes of the datagrams.  The rest of each is random, so
        that it cannot be compressed.
    """

    GUEST_MAC = bytes.fromhex('525400123456')
    MAC = bytes.fromhex('525400000002')
    GUEST_IP = '10.0.9.15'
    IP = '10.0.9.2'
    UNROUTED_IP = '198.51.100.2'

    def __init__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(('127.0.0.1', 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(('127.0.0.1', 0))
            self.guest = other.getsockname()
        self.request = self._arp_request()
        self.mark = os.urandom(8)

    def machine(self, model):
        """A guest on this Ethernet that sleeps for FLOODED_S."""
        ends = (('local', self.guest[1]),
                ('remote', self.sock.getsockname()[1]))
        nic = DgramNic(
            model, device_options=f'mac={self.GUEST_MAC.hex(":")}',
            netdev_options=','.join(
                f'{end}.type=inet,{end}.host=127.0.0.1,{end}.port={port}'
                for end, port in ends))
        return rr.Machine(nics=(nic,), steps=(
            f'static,eth0,{self.GUEST_IP}/24', f'sleep,{FLOODED_S}'))

    def _arp_request(self):
        return (b'\xff' * 6 + self.MAC
                + struct.pack('!HHHBBH', 0x0806, 1, 0x0800, 6, 4, 1)
                + self.MAC + socket.inet_aton(self.IP)
                + bytes(6) + socket.inet_aton(self.GUEST_IP)).ljust(60, b'\0')

    def datagram(self, size_bytes):
        """A UDP datagram in an Ethernet frame of @size_bytes without FCS."""
        head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, size_bytes - 14, 0, 0, 64,
                           socket.IPPROTO_UDP, 0,
                           socket.inet_aton(self.UNROUTED_IP),
                           socket.inet_aton(self.GUEST_IP))
        total = sum(struct.unpack('!10H', head))
        total = (total & 0xffff) + (total >> 16)
        head = head[:10] + struct.pack('!H', 0xffff - total) + head[12:]
        udp = struct.pack('!HHHH', 9, 9, size_bytes - 34, 0)
        frame = self.GUEST_MAC + self.MAC + b'\x08\0' + head + udp
        frame += self.mark
        return frame + os.urandom(size_bytes - len(frame))

    def answered(self):
        """Send an ARP request; return whether the guest answers it in time."""
        self.sock.sendto(self.request, self.guest)
        while select.select([self.sock], [], [], ASK_AGAIN_S)[0]:
            frame = self.sock.recv(2048)
            if frame[12:14] == b'\x08\x06' and frame[20:22] == b'\0\x02':
                return True
        return False

    def wait_answer(self, run):
        """Wait until the guest has processed all packets sent so far."""
        end = time.monotonic() + rr.STEP_CEILING
        while not self.answered():
            rr.check(time.monotonic() < end, f'{run}: no answer to ARP')

    def flood(self, size_bytes, seconds):
        """Send datagrams for @seconds, as fast as this process can, but at
        most FLOOD_FRAMES.  Returns their number.
        """
        frames = [self.datagram(size_bytes) for _ in range(FLOOD_KINDS)]
        end = time.monotonic() + seconds
        sent = 0
        while sent < FLOOD_FRAMES and time.monotonic() < end:
            self.sock.sendto(frames[sent % FLOOD_KINDS], self.guest)
            sent += 1
        return sent

    def close(self):
        self.sock.close()


def received_bytes(run):
    """The bytes of the packets that the guest's NIC was given.

    Our recordings have all of them, even those for which the NIC had no room.
    Of other recordings, the guest's own counter is used.
    """
    if rr.read(run.recording)[:4] == b'\x89QRR':
        recording = faults.Recording(run.recording)
        return sum(len(event.data) for event in recording.of('async-net'))
    return sum(nic['rx_bytes'] for nic in rr.traffic(run))


def bytes_per_byte(run):
    """The size of the recording divided by the bytes received."""
    return os.path.getsize(run.recording) / received_bytes(run)


def replayed(test, machine, recorded, silence_s=SILENCE_S):
    """Replay, and return the times; an empty dictionary if the replay is not
    identical.
    """
    run = test.run(machine, 'replay')
    if not run.outlasts(silence_s):
        test.note('the replay hangs')
        return {}
    if run.process.returncode:
        test.note(f'the replay ended with status {run.process.returncode}')
        return {}
    difference = rr.first_difference(recorded.console(), run.console())
    if difference:
        test.note(f'the replay differs: {difference}')
        return {}
    return {'replay_s': run.seconds, 'replay_cpu_s': run.cpu_s,
            'replay_per_record': run.seconds / recorded.seconds,
            'wall_per_cpu': run.seconds / run.cpu_s}


def record_downloads(test, nic, payloads, mode='record'):
    """Run the downloads.  Returns the machine, its Run, and the seconds of
    each download.
    """
    server = test.server(*payloads, **SMALL_NICS.get(nic, {}))
    machine = rr.Machine(nics=(rr.Nic(nic),), steps=(
        'dhcp,eth0', *('get,' + server.url(payload) for payload in payloads)))
    run = test.run(machine, mode).finish()
    gave_up = re.search(rb'FAIL: .*', run.console())
    rr.check(not gave_up, f'the guest says {gave_up and gave_up[0]}')
    rr.check_downloads(run, *payloads)
    server.stop()
    return machine, run, [seconds for _, seconds in server.served]


def download(test, nic):
    """Record and replay three downloads of incompressible data."""
    machine, recorded, _ = record_downloads(test, nic, DOWNLOADS)
    return {'bytes_per_byte': bytes_per_byte(recorded),
            'record_s': recorded.seconds, 'record_cpu_s': recorded.cpu_s,
            **replayed(test, machine, recorded)}


def size(test, nic):
    """Record three downloads of incompressible data."""
    _, recorded, _ = record_downloads(test, nic, DOWNLOADS)
    return {'bytes_per_byte': bytes_per_byte(recorded)}


def text(test, nic):
    """Record three downloads of text."""
    _, recorded, _ = record_downloads(test, nic, TEXTS)
    return {'bytes_per_byte': bytes_per_byte(recorded)}


def idle(test, nic):
    """Measure how fast the recording of an idle guest grows."""
    run = test.run(rr.Machine(nics=(rr.Nic(nic),), steps=(
        'dhcp,eth0', 'sleep,2', f'sleep,{IDLE_S}')), 'record')
    seen = []
    for seconds in (2, IDLE_S):
        up = float(run.wait_line(rf'\[([\d.]+)\] sleep: {seconds} s')[1])
        seen.append((up, os.path.getsize(run.recording)))
    run.finish()
    (up, size_bytes), (later, larger_bytes) = seen
    return {'bytes_per_s': (larger_bytes - size_bytes) / (later - up)}


def cost(test, nic):
    """Run the same downloads without and with a recording, alternately."""
    cpu_s, download_s = {None: 0, 'record': 0}, {None: [], 'record': []}
    for mode in (None, 'record') * COST_ROUNDS:
        _, run, seconds = record_downloads(test, nic, BIG_DOWNLOADS, mode)
        cpu_s[mode] += run.cpu_s
        download_s[mode] += seconds
        if mode:
            os.unlink(run.recording)
    plain_s, record_s = map(statistics.median, download_s.values())
    return {'plain_cpu_s': cpu_s[None], 'record_cpu_s': cpu_s['record'],
            'cpu_per_plain': cpu_s['record'] / cpu_s[None],
            'plain_download_s': plain_s, 'record_download_s': record_s,
            'rate_per_plain': plain_s / record_s}


def start_flooded(test, nic):
    """Start to record a guest, and wait until it answers its Peer.  Returns
    its Run and the Peer.

    QEMU allocates all of the guest's RAM at its start, so that the growth
    which is measured later does not include it.
    """
    peer = Peer()
    test.closing.append(peer)
    run = test.run(peer.machine(nic), 'record', extra=('-mem-prealloc',))
    run.wait_line('static: eth0')
    peer.wait_answer(run)
    return run, peer


def warm_up(run, peer):
    """Flood the guest for WARM_UP_S, so that QEMU translates the guest's code
    for this now: its growth for that is not to be measured.
    """
    peer.flood(64, WARM_UP_S)
    peer.wait_answer(run)


def flood(test, nic, size_bytes):
    """Send more packets than the guest can receive.  Measures what it costs to
    record a packet and to deliver it to the guest, and how much QEMU grows.

    Packets that are recorded, but for which the NIC has no room, do not count.
    """
    run, peer = start_flooded(test, nic)
    cpu_s = run.cpu_so_far_s()
    warm_up(run, peer)
    before_bytes = run.memory_bytes('VmRSS')
    run.forget_peak()
    peer.mark = os.urandom(8)
    sent = peer.flood(size_bytes, FLOOD_S)
    peer.wait_answer(run)
    cpu_s = run.cpu_so_far_s() - cpu_s
    growth = run.memory_bytes('VmHWM') - before_bytes
    run.finish()
    received = rr.traffic(run)[0]['rx_packets']
    return {'sent': sent, 'received': received, 'cpu_s': cpu_s,
            'packets_per_cpu_s': received / cpu_s,
            'growth_mib': growth / MEBIBYTE}


def flood_small(test, nic):
    """Flood the guest with frames of 64 bytes."""
    return flood(test, nic, 64)


def flood_large(test, nic):
    """Flood the guest with IP packets of 1500 bytes."""
    return flood(test, nic, 1514)


def flood_stopped(test, nic):
    """Flood a guest whose machine is stopped, with IP packets of 1500
    bytes.
    """
    run, peer = start_flooded(test, nic)
    warm_up(run, peer)
    run.qmp.command('stop')
    before_bytes = run.memory_bytes('VmRSS')
    run.forget_peak()
    peer.flood(1514, FLOOD_S)
    run.qmp.command('query-status')     # so the main loop has run
    growth = run.memory_bytes('VmHWM') - before_bytes
    run.kill()
    return {'growth_mib': growth / MEBIBYTE}


def sleeping(test, nic):
    """Record and replay a guest that sleeps."""
    machine = rr.Machine(nics=(rr.Nic(nic),),
                         steps=('dhcp,eth0', f'sleep,{SLEEP_S}'))
    recorded = test.record(machine)
    return {'record_s': recorded.seconds,
            **replayed(test, machine, recorded, LONG_SILENCE_S)}


def bursts(test, nic):
    """Record and replay a guest that sleeps in ping and that bursts of
    packets wake.
    """
    port = rr.free_port()
    machine = rr.Machine(
        nics=(rr.Nic(nic, netdev_options=f'hostfwd=udp:127.0.0.1:{port}-:9'),),
        steps=('dhcp,eth0', f'ping,10.0.2.2,{BURST_PINGS}'))
    run = test.run(machine, 'record')
    run.wait_line('dhcp: eth0')
    content = os.urandom(DATAGRAM_BYTES)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(BURSTS):
            for number in range(BURST_DATAGRAMS):
                sock.sendto(content, ('127.0.0.1', port))
                if number % 32 == 0:    # fewer than fit into a socket's buffer
                    time.sleep(0.001)
            time.sleep(BURST_PAUSE_S)
    run.finish(ceiling=LONG_SILENCE_S)
    return {'record_s': run.seconds,
            'received_packets': sum(nic['rx_packets']
                                    for nic in rr.traffic(run)),
            **replayed(test, machine, run, LONG_SILENCE_S)}


# --- Travel in a replay -------------------------------------------------------

def timed_seek(run, **place):
    """Go to @place; return the seconds, and what registers are there."""
    started = time.monotonic()
    run.qmp.command('replay-seek', **place)
    while run.qmp.status() in ('running', 'restore-vm'):
        time.sleep(0.001)
    seconds = time.monotonic() - started
    return seconds, human(run, 'info registers')


def timed(function):
    started = time.monotonic()
    function()
    return time.monotonic() - started


def checkpoints_cost(test, machine):
    """CPU time of a replay with checkpoints, by that of one without."""
    cpu_s = [test.run(machine, 'replay', name=f'checkpoints-{value}',
                      icount=f'rrcheckpoints={value}').finish().cpu_s
             for value in ('on', 'off')]
    return cpu_s[0] / cpu_s[1]


def travel(test, nic):
    """Go to random packets, to the last hit of a breakpoint, and back by
    single steps.
    """
    machine, recorded, _ = record_downloads(test, nic, BIG_DOWNLOADS)
    cost_ratio = checkpoints_cost(test, machine)
    packets = len(faults.Recording(recorded.recording).of('async-net'))
    port = rr.free_port()
    run = test.run(machine, 'replay', name='travel', extra=(
        '-S', '-gdb', f'tcp:127.0.0.1:{port}'))
    cold_s, _ = timed_seek(run, packet=packets)
    chance = random.Random(1)
    seeks = []
    seen = {}
    different = 0
    for _ in range(TRAVEL_SEEKS):
        packet = chance.randrange(1, packets)
        seconds, there = timed_seek(run, packet=packet)
        seeks.append(seconds)
        different += seen.setdefault(packet, there) != there
    for packet, there in chance.sample(list(seen.items()), TRAVEL_REVISITS):
        different += timed_seek(run, packet=packet)[1] != there
    rr.check(not different, f'{different} places differ when seen again')
    gdb = Gdb(port)
    gdb.ask('qSupported')
    steps = [timed(gdb.step_back) for _ in range(TRAVEL_STEPS)]
    gdb.breakpoint(gdb.program_counter())
    hits = [timed(gdb.continue_back) for _ in range(TRAVEL_HITS)]
    peak = run.memory_bytes('VmHWM')
    run.kill()
    return {'cold_per_record': cold_s / recorded.seconds,
            'seek_median_s': statistics.median(seeks),
            'seek_worst_s': max(seeks),
            'step_back_s': statistics.median(steps),
            'continue_back_s': statistics.median(hits),
            'checkpoints_cpu': cost_ratio, 'peak_mib': peak / MEBIBYTE}


def states_without_travel(test, machine, packets):
    """The state before each of these packets in a replay that never goes
    back.
    """
    run = test.run(machine, 'replay', name='straight', extra=('-S',),
                   icount='rrcheckpoints=off')
    states = {}
    for packet in sorted(packets):
        run.qmp.command('replay-break', packet=packet)
        run.qmp.command('cont')
        arrive(run)
        states[packet] = state(test, run, machine.memory_mib)
    run.kill()
    return states


def seeks(test, nic):
    """Go to random packets again and again, and compare all registers and the
    memory with those of a replay that never goes back.
    """
    machine, recorded, _ = record_downloads(test, nic, BIG_DOWNLOADS)
    last = len(faults.Recording(recorded.recording).of('async-net'))
    chance = random.Random(1)
    packets = chance.sample(range(1, last), SEEK_PLACES)
    straight = states_without_travel(test, machine, packets)

    run = test.run(machine, 'replay', name='seeks', extra=('-S',))
    different = 0
    for number in range(SEEKS):
        packet = chance.choice(packets)
        seek(run, packet=packet)
        differ = differences(straight[packet],
                             state(test, run, machine.memory_mib))
        if differ:
            different += 1
            test.note(f'seek {number}, packet {packet}: {differ} differ')
        if number + 1 == SEEKS_WARM:
            warm_bytes = run.memory_bytes('VmRSS')
    growth = run.memory_bytes('VmRSS') - warm_bytes
    run.kill()
    return {'different': different, 'growth_mib': growth / MEBIBYTE}


# --- Several vCPUs ------------------------------------------------------------

def record_busy(test, vcpus):
    """Record a guest whose processes are always at work.  Returns the CPU time
    and the number of instructions since it has booted.
    """
    machine = rr.Machine(nics=(), steps=(
        *(f'bg,race,1,{BUSY_ROUNDS}' for _ in range(VCPUS)), 'join'))
    run = test.run(machine, 'record', extra=('-smp', str(vcpus)))
    run.wait_line('guest: Linux')
    booted_s = run.cpu_so_far_s()
    booted_icount = run.qmp.command('query-replay')['icount']
    run.finish()
    rr.check(run.console().count(b' sum ') == VCPUS,
             f'{run}: a process has no result')
    icount = faults.Recording(run.recording).events[-1].icount
    os.unlink(run.recording)
    return run.cpu_s - booted_s, icount - booted_icount


def several_vcpus(test, _nic):
    """Record the same processes on several vCPUs and on one, alternately.
    Measures the CPU time of an instruction.
    """
    cpu_s, icount = {1: 0, VCPUS: 0}, {1: 0, VCPUS: 0}
    for vcpus in (1, VCPUS) * COST_ROUNDS:
        seconds, count = record_busy(test, vcpus)
        cpu_s[vcpus] += seconds
        icount[vcpus] += count
    ns = {vcpus: cpu_s[vcpus] * 1e9 / icount[vcpus] for vcpus in cpu_s}
    return {'one_ns': ns[1], 'several_ns': ns[VCPUS],
            'several_per_one': ns[VCPUS] / ns[1]}
