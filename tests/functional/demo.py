#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Record a guest that downloads a file, replay it without the server, and
print a report.

    guest: DHCP, download, ping -- NIC -- filter-replay -- slirp -- HTTP server
                                                                on 127.0.0.1

scripts/demo builds QEMU and the guest, and then runs this program.
"""

import argparse
import os
import re

import program
import rr

# The last line of the kernel before the guest's own program starts.
BOOTED = 'Run /init'


def say(text=''):
    print(text, flush=True)


def show(run):
    """Print a run's console while the guest writes it, without the lines of
    the kernel's start.
    """
    booting = 0
    for line in run.lines():
        if booting is not None:
            booting += 1
            if BOOTED in line:
                say(f'  guest | ({booting} lines of the kernel starting)')
                booting = None
        else:
            say('  guest | ' + line)
    run.finish()


def compare(recorded, replayed):
    """Compare the consoles of two runs.  Print how many lines are identical,
    and return the first difference, or None.
    """
    difference = rr.first_difference(recorded.console(), replayed.console())
    lines = recorded.console().split(b'\n')[:-1]
    again = replayed.console().split(b'\n')[:-1]
    identical = 0
    while identical < min(len(lines), len(again)) and \
            lines[identical] == again[identical]:
        identical += 1
    if difference:
        say(f'  guest | the first {identical} of {len(lines)} lines are '
            'identical to the recorded ones')
    else:
        say(f'  guest | all {identical} lines are identical to the recorded '
            'ones')
    return difference


def megabytes(size):
    return f'{size / 1e6:.2f} MB'


def report_traffic(run):
    """Print what the guest received and sent; return the bytes received."""
    received = 0
    for nic in rr.traffic(run):
        received += nic['rx_bytes']
        say(f'  in              {nic["rx_packets"]} packets, '
            f'{nic["rx_bytes"]} bytes')
        say(f'  out             {nic["tx_packets"]} packets, '
            f'{nic["tx_bytes"]} bytes')
    return received


def by_hand(qemu, nic):
    say('''
To record and replay a guest of your own, which is on disk.img: the commands
differ only in rr=, and neither writes to disk.img.
''')
    for mode in ('record', 'replay'):
        say(f'''  {qemu} \\
    -nographic -m 1G -icount shift=auto,rr={mode},rrfile=guest.rr \\
    -drive file=disk.img,if=virtio \\
    -netdev user,id=n0 -device {nic},netdev=n0 \\
    -object filter-replay,id=f0,netdev=n0
''')


def look_into(tool, recording):
    say(f'''What is in the recording, its packets for Wireshark, and packet 100, to which
the monitor command "replay_seek packet=100" takes a replay:

  {tool} info {recording}
  {tool} pcap {recording} - | tshark -r -
  {tool} list --packets 100 {recording}''')


def demonstrate(workshop, nic, payload):
    """Record, replay and compare; return the first difference, or None."""
    server = workshop.server(payload)
    machine = rr.Machine(
        nics=(rr.Nic(nic),),
        steps=('dhcp,eth0', 'get,' + server.url(payload), 'ping,10.0.2.2,5'))

    say(f'== Record: the guest, with {nic}, downloads '
        f'{megabytes(payload.size_bytes)} from 127.0.0.1:{server.port}')
    recorded = workshop.run(machine, 'record')
    show(recorded)
    rr.check_downloads(recorded, payload)

    server.stop()
    say('== Replay: the server has stopped, all packets come from the '
        'recording')
    replayed = workshop.run(machine, 'replay').finish()

    difference = compare(recorded, replayed)
    visitors = server.visitors()
    if difference is None and visitors:
        difference = f'the replay made {visitors} connections to the server'
    size = os.path.getsize(recorded.recording)

    say('== Report')
    if difference:
        say(f'  replay          NOT identical: {difference}')
    else:
        say("  replay          identical, with the download's SHA-256, the "
            "guest's clocks")
        say('                  and its random numbers')
    received = report_traffic(recorded)
    say(f'  recording       {size} bytes, {size / received:.2f} per byte '
        'received')
    say(f'  seconds         {recorded.seconds:.1f} to record, '
        f'{replayed.seconds:.1f} to replay')
    say(f'  files           {os.path.relpath(workshop.place)}/')
    return difference


def main():
    parser = argparse.ArgumentParser(
        prog='demo', description='Record and replay a real Linux guest.')
    parser.add_argument('--nic', default='virtio-net-pci', metavar='MODEL')
    parser.add_argument('--size', default=8_000_000, type=int,
                        metavar='BYTES')
    parser.add_argument('--qemu', default=rr.QEMU, metavar='PATH')
    parser.add_argument('--qemu-arg', action='append', default=[],
                        metavar='ARG')
    parser.add_argument('--workdir', metavar='DIR',
                        default=os.path.join(rr.BUILD, 'demo'))
    options = parser.parse_args()
    if not re.fullmatch(r'[\w-]+', options.nic) or options.size <= 0:
        parser.error('--nic must be the name of a model, --size above 0')

    workshop = rr.Scenario(options.workdir, [options.qemu, *options.qemu_arg])
    try:
        difference = demonstrate(workshop, options.nic,
                                 rr.Payload(options.size))
    except rr.Failure as failure:
        say(f'== Failed: {failure}')
        say(f'  files           {os.path.relpath(workshop.place)}/')
        return 1
    finally:
        workshop.close()
    by_hand(os.path.relpath(options.qemu), options.nic)
    look_into(os.path.relpath(os.path.join(rr.BUILD, 'bin', 'qemu-replay')),
              os.path.relpath(workshop.path('recording')))
    return 1 if difference else 0


if __name__ == '__main__':
    program.run(main)
