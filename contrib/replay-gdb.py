# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands of gdb for a replay of QEMU.

(gdb) target remote :1234
(gdb) source contrib/replay-gdb.py
(gdb) help replay

The commands speak to QEMU through gdb's command "monitor", so they need no
other connection.
"""

import re
import time

import gdb


def ask(line):
    """Execute a command of QEMU's monitor and return what it prints."""
    return gdb.execute('monitor ' + line, to_string=True)


def where():
    """What 'info replay' says: a dictionary."""
    text = ask('info replay')
    match = re.search(r'icount (\d+), (\d+) events, (\d+) packets; '
                      r'of (\d+), (\d+), (\d+)', text)
    if not match:
        raise gdb.GdbError(text.strip() or 'QEMU does not answer')
    at_packet = 'next event: async-net' in text
    names = ('icount', 'event', 'packets',
             'total_icount', 'total_events', 'total_packets')
    return dict(zip(names, map(int, match.groups())), at_packet=at_packet)


def show():
    now = where()
    print('icount {icount} of {total_icount}, event {event} of {total_events}, '
          '{packets} of {total_packets} packets have arrived'.format(**now))


def stopped():
    """Make gdb look at the machine, which another than gdb has moved."""
    gdb.execute('maintenance flush register-cache', to_string=True)
    gdb.execute('frame')


def seek(place):
    """Go to a place, wait until the replay is there."""
    text = ask('replay_seek ' + place).strip()
    if text:
        raise gdb.GdbError(text)
    while 'running' in ask('info status') or 'restore' in ask('info status'):
        time.sleep(0.01)
    stopped()
    show()


class Replay(gdb.Command):
    """Travel in a replay of QEMU."""

    def __init__(self):
        super().__init__('replay', gdb.COMMAND_RUNNING, prefix=True)


class Sub(gdb.Command):
    """A command below 'replay'."""

    def __init__(self, name):
        super().__init__('replay ' + name, gdb.COMMAND_RUNNING)


class When(Sub):
    """Tell where the replay is."""

    def invoke(self, argument, from_tty):
        show()


class Seek(Sub):
    """replay seek icount N | packet N [NETDEV] | event N

    Go to an instruction, to before a packet is handed to its NIC (counted on
    all netdevs or on one), or to before an event of the recording.
    """

    def invoke(self, argument, from_tty):
        words = argument.replace('=', ' ').replace(',', ' ').split()
        if 'adapter' in words:
            words.remove('adapter')
        if len(words) not in (2, 3) or \
                words[0] not in ('icount', 'packet', 'event'):
            raise gdb.GdbError('replay seek icount N | packet N [NETDEV] | '
                               'event N')
        place = f'{words[0]}={words[1]}'
        if len(words) == 3:
            place += f',adapter={words[2]}'
        seek(place)


class NextPacket(Sub):
    """Go to before the next packet from outside is handed to its NIC."""

    def invoke(self, argument, from_tty):
        now = where()
        seek(f'packet={now["packets"] + 1 + now["at_packet"]}')


class PrevPacket(Sub):
    """Go to before the last packet from outside that has been handed to a NIC.
    """

    def invoke(self, argument, from_tty):
        packets = where()['packets']
        if not packets:
            raise gdb.GdbError('no packet has arrived')
        seek(f'packet={packets}')


class Leave(Sub):
    """replay leave [FILE]

    Go on from here with the real back ends.  FILE is a new recording, which
    begins with all that was replayed; without it, nothing is recorded.
    """

    def invoke(self, argument, from_tty):
        text = ask('replay_leave ' + argument).strip()
        if text:
            raise gdb.GdbError(text)


class LastWrite(Sub):
    """replay last-write ADDRESS [TYPE]

    Go back to the last write to the memory at ADDRESS, which is an expression
    of gdb.  TYPE is what is there; without it, long.
    """

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        if not words:
            raise gdb.GdbError('replay last-write ADDRESS [TYPE]')
        address = int(gdb.parse_and_eval(words[0]))
        kind = ' '.join(words[1:]) or 'long'
        watch = gdb.Breakpoint(f'*({kind} *){address:#x}',
                               gdb.BP_WATCHPOINT, gdb.WP_WRITE)
        watch.silent = True
        try:
            gdb.execute('reverse-continue')
        finally:
            watch.delete()
        show()


class Checkpoints(Sub):
    """List the states to which the replay can go back at once."""

    def invoke(self, argument, from_tty):
        lines = re.findall(r'^checkpoint .*$', ask('info replay'),
                           re.MULTILINE)
        print('\n'.join(lines) or 'there are none')


Replay()
When('when')
Seek('seek')
NextPacket('next-packet')
PrevPacket('prev-packet')
LastWrite('last-write')
Checkpoints('checkpoints')
Leave('leave')
