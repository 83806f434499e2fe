# SPDX-License-Identifier: GPL-2.0-or-later
"""A replay that differs from its recording reports the right place.

    recording --replay-fault--> faulty recording --+
                                                    +--> replay --> report
    recorded machine --change--> another machine --+

A fault is in one event.  The replay reports it at that event, or at the first
later event at which the guest behaves differently.  If a test expects a range
of events, the last of them is the first packet or byte whose content depends
on the fault: the report must not come later.
"""

import dataclasses
import os
import re

import rr
import faults
import messages
from gdb import Gdb


def replay_with_fault(test, recorded, function):
    recording = recorded(test)
    words, expected = function(recording.recording)
    faults.replay(test, recording, *words).expect(**expected)


def fault(name, recorded=faults.firmware):
    """Register a test of a fault in a recording.

    The decorated function gets the Recording.  It returns the words for
    replay-fault, and the arguments for Report.expect().
    """
    def decorate(function):
        rr.register(f'fault/{name}/reported', replay_with_fault, recorded,
                    function, text=function.__doc__)
        return function
    return decorate


def firmware_full(test):
    return faults.firmware(test, 'full')


def place(reason, expected, event, adapter=None, message=''):
    return {'reason': reason, 'expected': expected, 'event': event,
            'adapter': adapter, 'message': message}


def by(first, event):
    """The report of a fault at number @first: at @event, or earlier."""
    return place('diverged|stuck', None, (first, event.number))


# --- packets from outside ---------------------------------------------------

def arp_answer(recording):
    """The packet that has the Ethernet address of the guest's file server."""
    return next(event for event in recording.of('async-net')
                if faults.is_arp(event.data))


def other_server(recording):
    """The words that change this address, and the event of the packet."""
    answer = arp_answer(recording)
    last_byte_of_sender = faults.ETHERNET + 13
    return ['flip', answer.number, last_byte_of_sender, 0], answer


@fault('packet-bit-flipped/checksum')
def packet_bit_flipped(recording):
    """A bit of the server's Ethernet address is flipped.

    The next packet, which the guest sends to this address, has another
    checksum.
    """
    words, answer = other_server(recording)
    sent = recording.first('net-sent', since=answer.number)
    return words, place('diverged', 'net-sent', sent.number, 'n0',
                        messages.PACKET_CHECKSUM.format(
                            number=r'\d+', netdev='n0', size=sent.numbers[1],
                            now=messages.ANY, then=messages.ANY))


@fault('packet-bit-flipped/whole', firmware_full)
def packet_bit_flipped_full(recording):
    """A bit of the server's Ethernet address is flipped, and the recording has
    the guest's packets whole.

    The report names the last byte of the next packet's destination.
    """
    words, answer = other_server(recording)
    sent = recording.first('net-sent-data', since=answer.number)
    old = sent.data[5]
    return words, place('diverged', 'net-sent-data', sent.number, 'n0',
                        messages.PACKET_BYTE.format(
                            number=r'\d+', netdev='n0', at=5,
                            size=len(sent.data), now=old ^ 1, then=old))


@fault('packet-bit-flipped/another-address')
def another_address(recording):
    """DHCP gives the guest another address.

    The first packet that the guest sends with this address shows it.
    """
    ack = next(event for event in recording.of('async-net')
               if faults.is_udp_to(event.data, 68) and
               b'\x35\x01\x05' in event.data)
    data = bytearray(ack.data)
    last_byte_of_yiaddr = faults.TCP + 8 + 19
    data[last_byte_of_yiaddr] ^= 1
    return faults.rewrite(ack, faults.with_checksum(data)), \
        by(ack.number, recording.first('net-sent', since=ack.number))


@fault('packet-missing')
def packet_missing(recording):
    """The answer to the first DHCP packet is missing."""
    offer = recording.first('async-net')
    sent = recording.of('net-sent', since=offer.number)[1]
    return ['drop', offer.number], by(offer.number, sent)


@fault('packet-added')
def packet_added(recording):
    """The recording has the answer to the first DHCP packet twice."""
    offer = recording.first('async-net')
    sent = recording.of('net-sent', since=offer.number)[1]
    return ['copy', offer.number, offer.number + 1], \
        by(offer.number, sent)


@fault('packet-moved')
def packet_moved(recording):
    """An answer comes too early, before the packet that it answers."""
    offer = recording.first('async-net')
    asked = [event for event in recording.of('net-sent')
             if event.number < offer.number]
    rr.check(asked, 'the guest has sent nothing before the answer')
    return ['move', offer.number, asked[-1].number], \
        place('diverged', 'async-net', asked[-1].number, 'n0',
              messages.PACKET_NOT_RECORDED.format(
                  number=len(asked), size=r'\d+', netdev='n0',
                  then='async-net'))


def first_of_file(recording):
    """The first packet of the file that the guest loads."""
    return next(event for event in recording.of('async-net')
                if event.data[34:36] == (69).to_bytes(2, 'big') and
                event.data[42:44] == b'\0\3')


@fault('packet-to-another-adapter')
def packet_to_another_adapter(recording):
    """A packet has the number of another adapter."""
    packet = first_of_file(recording)
    sent = recording.first('net-sent', since=packet.number)
    return ['add', packet.number, 0, 1], by(packet.number, sent)


@fault('packet-to-unknown-adapter')
def packet_to_unknown_adapter(recording):
    """A packet has a number that no adapter of the recording has."""
    packet = recording.first('async-net')
    return ['add', packet.number, 0, 5], \
        place('damaged', 'async-net', packet.number, None,
              messages.PACKET_FOR_UNKNOWN.format(number=5))


@fault('packet-with-unknown-flags')
def packet_with_unknown_flags(recording):
    """A packet has unknown flags."""
    packet = recording.first('async-net')
    return ['add', packet.number, 1, 6], \
        place('damaged', 'async-net', packet.number, 'n0',
              messages.PACKET_FLAGS.format(netdev='n0', flags='0x6'))


@fault('packet-empty')
def packet_empty(recording):
    """A packet has no bytes."""
    packet = recording.first('async-net')
    return ['resize', packet.number, 0], \
        place('damaged', 'async-net', packet.number, 'n0',
              messages.PACKET_EMPTY.format(netdev='n0'))


# --- packets from the guest -------------------------------------------------

@fault('sent/another-checksum')
def sent_checksum(recording):
    """The recording has another checksum for a packet that the guest sends."""
    sent = recording.of('net-sent')[2]
    return ['add', sent.number, 2, 1], \
        place('diverged', 'net-sent', sent.number, 'n0',
              messages.PACKET_CHECKSUM.format(
                  number=3, netdev='n0', size=sent.numbers[1],
                  now=f'0x{sent.numbers[2]:08x}',
                  then=f'0x{sent.numbers[2] + 1:08x}'))


@fault('sent/another-byte', firmware_full)
def sent_byte(recording):
    """The recording has another byte in a packet that the guest sends."""
    sent = recording.of('net-sent-data')[2]
    size, last = len(sent.data), sent.data[-1]
    return ['flip', sent.number, size - 1, 7], \
        place('diverged', 'net-sent-data', sent.number, 'n0',
              messages.PACKET_BYTE.format(
                  number=3, netdev='n0', at=size - 1, size=size, now=last,
                  then=last ^ 0x80))


@fault('sent/another-length')
def sent_length(recording):
    """The recording has a longer packet than the guest sends."""
    sent = recording.first('net-sent')
    size = sent.numbers[1]
    return ['add', sent.number, 1, 1], \
        place('diverged', 'net-sent', sent.number, 'n0',
              messages.PACKET_LENGTH.format(
                  number=1, netdev='n0', now=size, then=size + 1))


@fault('sent/through-another-adapter')
def sent_adapter(recording):
    """The recording has another adapter for a packet that the guest sends."""
    sent = recording.first('net-sent')
    return ['add', sent.number, 0, 1], \
        place('diverged', 'net-sent', sent.number, 'n1',
              messages.PACKET_ADAPTER.format(
                  number=1, now='n0', then='n1'))


@fault('sent/through-unknown-adapter')
def sent_unknown_adapter(recording):
    """The recording has an unknown adapter for a packet that the guest sends.
    """
    sent = recording.first('net-sent')
    return ['add', sent.number, 0, 7], \
        place('diverged', 'net-sent', sent.number, None,
              messages.PACKET_ADAPTER.format(
                  number=1, now='n0', then=messages.ANY))


@fault('sent/one-too-many')
def sent_not_recorded(recording):
    """The guest sends a packet that the recording does not have."""
    sent = recording.first('net-sent')
    after = recording.events[sent.number + 1]
    return ['drop', sent.number], \
        place('diverged', after.kind, sent.number, None,
              messages.PACKET_NOT_RECORDED.format(
                  number=1, size=sent.numbers[1], netdev='n0',
                  then=after.kind))


@fault('sent/missing')
def sent_missing(recording):
    """The recording has a packet that the guest does not send."""
    sent = recording.first('net-sent')
    return ['copy', sent.number, sent.number + 1], \
        place('stuck', 'net-sent', sent.number + 1, 'n0',
              messages.EVENT_NOT_MADE)


# --- instructions, interrupts, exceptions -----------------------------------

def between_characters(recording):
    """An instruction event between two events of characters."""
    return recording.events[recording.of('char-write')[5].number - 1]


@fault('instructions/one-more')
def one_instruction_more(recording):
    """The recording has one instruction more: the guest prints too early."""
    count = between_characters(recording)
    return ['add', count.number, 0, 1], \
        place('diverged', 'instruction', count.number, None,
              messages.EVENT_NEEDED.format(now='char-write',
                                           then='instruction'))


@fault('instructions/one-less')
def one_instruction_less(recording):
    """The recording has one instruction less: the guest prints too late."""
    count = between_characters(recording)
    return ['add', count.number, 0, -1], \
        place('stuck', 'char-write', count.number + 1, None,
              messages.EVENT_NOT_MADE)


@fault('instructions/none')
def no_instructions(recording):
    """An event has the number of instructions 0."""
    count = between_characters(recording)
    return ['add', count.number, 0, -count.numbers[0]], \
        place('damaged', 'instruction', count.number, None,
              messages.NO_INSTRUCTIONS)


def next_witness(recording, number):
    """The next event after @number that the guest itself makes."""
    return recording.first('char-write', 'net-sent', since=number + 1)


def an_interrupt(recording):
    """The event of an interrupt while the firmware loads its program."""
    return recording.first(
        'interrupt', since=recording.first('async-net').number)


def an_exception(recording):
    return recording.first(
        'exception', since=recording.first('async-net').number)


@fault('interrupt/missing')
def interrupt_missing(recording):
    """The guest takes an interrupt that the recording does not have."""
    event = an_interrupt(recording)
    return ['drop', event.number], \
        by(event.number, next_witness(recording, event.number))


@fault('interrupt/one-too-many')
def interrupt_added(recording):
    """The recording has an interrupt that no device raises."""
    event = recording.first('interrupt')
    return ['copy', event.number, event.number + 1], \
        place('stuck', 'interrupt', event.number + 1, None,
              messages.EVENT_NOT_MADE)


@fault('interrupt/an-exception')
def interrupt_as_exception(recording):
    """The recording has an exception where the guest takes an interrupt."""
    event = an_interrupt(recording)
    return ['kind', event.number, 'exception'], \
        place('stuck', 'exception', event.number, None,
              messages.EVENT_NOT_MADE)


@fault('exception/missing')
def exception_missing(recording):
    """The guest takes an exception that the recording does not have."""
    event = an_exception(recording)
    rr.check(recording.events[event.number + 1].kind == 'instruction',
             'no instruction follows the exception')
    return ['drop', event.number], \
        place('diverged', 'instruction', event.number, None,
              messages.EVENT_NEEDED.format(now='exception',
                                           then='instruction'))


@fault('exception/an-interrupt')
def exception_as_interrupt(recording):
    """The recording has an interrupt where the guest takes an exception."""
    event = an_exception(recording)
    return ['kind', event.number, 'interrupt'], \
        place('diverged', 'interrupt', event.number, None,
              messages.EVENT_NEEDED.format(now='exception',
                                           then='interrupt'))


@fault('two-events-swapped')
def swapped(recording):
    """An interrupt comes after the instructions that it interrupts."""
    event = an_interrupt(recording)
    count = recording.events[event.number + 1]
    rr.check(count.kind == 'instruction',
             'no instruction follows the interrupt')
    return ['move', event.number, event.number + 2], \
        by(event.number, next_witness(recording, event.number))


# --- clocks and checkpoints -------------------------------------------------

@fault('checkpoint/one-too-many')
def checkpoint_added(recording):
    """The recording runs the timers of the virtual clock once more than the
    guest does.
    """
    event = recording.first('checkpoint-clock-virtual', since=100)
    return ['copy', event.number, event.number + 1], \
        place('stuck', 'checkpoint-clock-virtual', event.number + 1, None,
              messages.EVENT_NOT_MADE)


@fault('checkpoint/missing')
def checkpoint_missing(recording):
    """The recording lacks a run of the timers of the virtual clock, and so a
    timer does not raise its interrupt.
    """
    for event in recording.of('checkpoint-clock-virtual', since=100):
        interrupt = recording.first('interrupt', since=event.number)
        if interrupt.icount == event.icount:
            return ['drop', event.number], by(event.number, interrupt)
    raise rr.Failure('no timer has raised an interrupt')


def clock_read(recording):
    """The event by which the boot sector reads the clock, and the event of the
    next byte that it writes.
    """
    since = recording.first('random').number
    return recording.first('clock-host', since=since), \
        recording.first('char-write', since=since)


@fault('clock/another-value')
def clock_value(recording):
    """The clock that the guest reads is a second ahead.

    The guest loops as often as the clock says.  So it writes its next byte at
    another instruction.
    """
    clock, written = clock_read(recording)
    return ['add', clock.number, 0, 1_000_000_000], by(clock.number, written)


# --- character devices and random numbers -----------------------------------

@fault('character/more-bytes')
def more_bytes(recording):
    """The recording has a write of more bytes to a character device than the
    guest writes.
    """
    written = recording.of('char-write')[3]
    return ['add', written.number, 1, 1], \
        place('diverged', 'char-write', written.number, None,
              messages.CHARACTERS.format(now=1, then=2))


@fault('character/negative-bytes')
def negative_bytes(recording):
    """The recording has a write of a negative number of bytes."""
    written = recording.of('char-write')[3]
    return ['add', written.number, 1, -2], \
        place('diverged', 'char-write', written.number, None,
              messages.CHARACTERS.format(now=1, then=-1))


@fault('character/missing')
def character_missing(recording):
    """The recording lacks a byte that the guest writes."""
    written = recording.of('char-write')[3]
    after = recording.events[written.number + 1]
    return ['drop', written.number], \
        place('diverged', after.kind, written.number, None,
              messages.EVENT_NEEDED.format(now='char-write',
                                           then=after.kind))


@fault('character/one-too-many')
def character_added(recording):
    """The recording has a byte that the guest does not write."""
    written = recording.of('char-write')[3]
    return ['copy', written.number, written.number + 1], \
        place('stuck', 'char-write', written.number + 1, None,
              messages.EVENT_NOT_MADE)


@fault('random/another-value')
def random_value(recording):
    """The guest gets another random number, and loops as often as it says."""
    event = recording.first('random')
    written = recording.first('char-write', since=event.number)
    return ['flip', event.number, 0, 6], by(event.number, written)


@fault('random/fewer-bytes')
def random_length(recording):
    """The guest asks for more random bytes than the recording has."""
    event = recording.first('random')
    return ['resize', event.number, 7], \
        place('diverged', 'random', event.number, None,
              messages.RANDOM_BYTES.format(now=8, then=7))


@fault('random/missing')
def random_missing(recording):
    """The recording lacks the random bytes that the guest asks for."""
    event = recording.first('random')
    after = recording.events[event.number + 1]
    return ['drop', event.number], \
        place('diverged', after.kind, event.number, None,
              messages.EVENT_NEEDED.format(now='random', then=after.kind))


# --- disks and bottom halves ------------------------------------------------

@fault('disk/another-request')
def block_id(recording):
    """The recording completes a disk request that the guest has not made."""
    event = recording.first('async-block')
    return ['add', event.number, 0, 7], \
        place('stuck', 'async-block', event.number, None,
              messages.EVENT_NOT_MADE)


@fault('disk/not-completed')
def block_missing(recording):
    """The recording lacks the completion of a disk request."""
    event = recording.of('async-block')[-1]
    return ['drop', event.number], \
        by(event.number, recording.first('random', since=event.number))


@fault('bottom-half/another')
def bottom_half_id(recording):
    """The recording runs a bottom half that was not scheduled."""
    event = recording.first('async-bh')
    return ['add', event.number, 0, 1], \
        place('stuck', 'async-bh', event.number, None, messages.EVENT_NOT_MADE)


@fault('bottom-half/missing')
def bottom_half_missing(recording):
    """The recording lacks the bottom half that sends a packet."""
    event = recording.first('async-bh')
    rr.check(recording.events[event.number + 1].kind == 'net-sent',
             'the bottom half has sent nothing')
    return ['drop', event.number], \
        place('stuck', 'net-sent', event.number, 'n0', messages.EVENT_NOT_MADE)


# --- the end ----------------------------------------------------------------

@fault('end/cut')
def cut(recording):
    """The recording is cut, as if its recorder was killed."""
    packet = recording.first('async-net')
    return ['cut', packet.number], \
        place('cut', 'none', packet.number, None, messages.CUT)


@fault('end/without-shutdown')
def end_without_shutdown(recording):
    """The recording ends before the machine has shut down."""
    packet = recording.first('async-net')
    return ['end', packet.number], \
        place('stuck', 'none', packet.number, None,
              messages.RECORDING_HAS_ENDED)


@fault('end/unknown-cause')
def unknown_shutdown(recording):
    """The machine shuts down for an unknown cause."""
    event = recording.first('shutdown')
    return ['move', event.number, recording.first('random').number,
            'add', event.number, 0, 1000], \
        place('damaged', 'shutdown', recording.first('random').number, None,
              messages.SHUTDOWN_CAUSE.format(number=event.numbers[0] + 1000))


# --- another machine --------------------------------------------------------

def replay_on_another(test, function):
    recorded = faults.firmware(test)
    machine, options, expected = function(recorded.machine_for(test),
                                          recorded.recording)
    faults.replay(test, recorded, machine=machine, **options) \
        .expect(**expected)


def other_machine(name):
    """Register a test of a machine that is not the recorded one.

    The decorated function gets the machine and the Recording.  It returns
    another machine, further options of faults.replay() and the arguments for
    Report.expect().
    """
    def decorate(function):
        rr.register(f'other-machine/{name}/reported', replay_on_another,
                    function, text=function.__doc__)
        return function
    return decorate


UNCHECKED = {'icount': 'rrcheck=off'}


@other_machine('shorter-text-on-disk')
def other_disk_shorter(machine, recording):
    """A byte of the disk differs, which is not checked: the guest prints less."""
    at = 5
    text = machine.text[:at] + b'\0' + machine.text[at + 1:]
    written = recording.of('char-write')
    return dataclasses.replace(machine, text=text), UNCHECKED, \
        by(written[at - 1].number + 1, written[at])


@other_machine('longer-text-on-disk')
def other_disk_longer(machine, recording):
    """A byte of the disk differs, which is not checked: the guest prints more."""
    end = machine.text.index(b'\0')
    text = machine.text[:end] + b'!\0'
    last = recording.of('char-write')[end - 1].number
    return dataclasses.replace(machine, text=text), UNCHECKED, \
        place('diverged', None, (last + 1, last + 2), None,
              messages.EVENT_NEEDED.format(now='char-write',
                                           then=messages.ANY))


@other_machine('nic-property')
def other_property(machine, recording):
    """The NIC sends from a timer instead of a bottom half."""
    return faults.Changed(machine, (
        ('virtio-net-pci,', 'virtio-net-pci,tx=timer,'),)), {}, \
        place('stuck', 'async-bh', recording.first('async-bh').number)


@other_machine('unchecked/without-option-rom')
def without_rom(machine, recording):
    """The NIC has no option ROM, and rrcheck=off."""
    return faults.Changed(machine, (
        ('virtio-net-pci,', 'virtio-net-pci,rombar=0,'),)), UNCHECKED, \
        by(0, recording.first('async-block'))


@other_machine('another-device')
def another_device(machine, recording):
    """The machine has one more PCI device."""
    return machine, {'extra': ('-device', 'virtio-rng-pci')}, \
        by(0, recording.first('async-block'))


@other_machine('another-firmware-table')
def another_table(machine, recording):
    """A table of the firmware is longer."""
    return machine, {'extra': ('-smbios', 'type=1,serial=0123456789')}, \
        by(0, recording.first('net-sent'))


@other_machine('cpu-without-an-instruction')
def cpu_feature(machine, recording):
    """The CPU lacks an instruction that the guest executes."""
    return dataclasses.replace(machine, cpu='qemu64,-rdrand'), {}, \
        place('stuck', 'random', recording.first('random').number)


@other_machine('unchecked/memory')
def other_memory(machine, recording):
    """The machine has another amount of memory, and rrcheck=off."""
    return dataclasses.replace(machine, memory_mib=40), UNCHECKED, \
        by(0, recording.first('async-block'))


@other_machine('unchecked/cpu-model')
def other_cpu(machine, recording):
    """The machine has another CPU, and rrcheck=off."""
    return dataclasses.replace(machine, cpu='Nehalem,+rdrand'), UNCHECKED, \
        by(0, recording.first('async-block'))


@other_machine('unchecked/shift')
def other_shift(machine, recording):
    """The guest's clock runs at another speed, and rrcheck=off."""
    return dataclasses.replace(machine, shift='3'), UNCHECKED, \
        by(0, recording.first('async-block'))


@other_machine('unchecked/mac')
def other_mac(machine, recording):
    """The NIC has another address, and rrcheck=off.  The first packet that the
    guest sends shows it.
    """
    return faults.Changed(machine, (
        ('virtio-net-pci,', 'virtio-net-pci,mac=52:54:00:12:34:99,'),)), \
        UNCHECKED, by(0, recording.first('net-sent'))


@rr.scenario('other-machine/without-filter/replays')
def without_filter(test):
    """The recorded machine has filters on its command line, and the machine of
    the replay has not.  QEMU adds filters for its NICs.
    """
    recorded = faults.firmware(test)
    faults.damage(test, recorded)
    machine = faults.Changed(recorded.machine_for(test), (
        ('-object\nfilter-replay,id=f-n0,netdev=n0,verify=on\n', ''),))
    run = test.replay(machine)
    difference = rr.first_difference(recorded.run.console(), run.console())
    rr.check(difference is None, f'the replay differs: {difference}')


def refused(test, change, line):
    """QEMU refuses to replay, and prints what differs."""
    recorded = faults.firmware(test)
    faults.damage(test, recorded)
    machine = dataclasses.replace(recorded.machine_for(test), **change)
    run = test.run(machine, 'replay')
    run.finish(status=1)
    for text in messages.OTHER_MACHINE, line:
        rr.check(text in run.stderr(),
                 f'{run} does not say "{text}" but {run.stderr()!r}')
    rr.check(not run.console(), 'the guest has run')


rr.register('other-machine/memory/refused', refused, {'memory_mib': 40},
            messages.OTHER_VALUE.format(key='ram', then=f'{32 << 20} bytes',
                                        now=f'{40 << 20} bytes'))
rr.register('other-machine/cpu-model/refused', refused,
            {'cpu': 'Nehalem,+rdrand'},
            messages.OTHER_VALUE.format(key='cpu', then='qemu64-x86_64-cpu',
                                        now='Nehalem-x86_64-cpu'))
rr.register('other-machine/shift/refused', refused, {'shift': '3'},
            messages.OTHER_VALUE.format(key='icount.shift', then='auto',
                                        now='3'))


# --- differences that are not reported --------------------------------------

@rr.scenario('fault/sent/not-verified/ignored')
def not_verified(test):
    """The replay has verify=off: it does not compare the packets that the
    guest sends, and ignores a wrong checksum in the recording.
    """
    recorded = faults.firmware(test)
    sent = recorded.recording.first('net-sent')
    faults.damage(test, recorded, 'add', sent.number, 2, 1)
    machine = dataclasses.replace(recorded.machine_for(test), verify='off')

    run = test.replay(machine)

    rr.check(not run.stderr(), f'{run} says {run.stderr()!r}')
    difference = rr.first_difference(recorded.run.console(), run.console())
    rr.check(difference is None, f'the replay differs: {difference}')


@rr.scenario('fault/recorded-without-verify/replays')
def recorded_without_verify(test):
    """A recording made with verify=off has none of the packets that the guest
    has sent.  It can be replayed even with verify=on.
    """
    recorded = faults.firmware(test, 'off')
    rr.check(not recorded.recording.of('net-sent', 'net-sent-data'),
             'the recording has packets of the guest')
    faults.damage(test, recorded)
    for verify in 'off', 'on', 'full':
        run = test.replay(dataclasses.replace(recorded.machine_for(test),
                                              verify=verify), name=verify)
        difference = rr.first_difference(recorded.run.console(),
                                         run.console())
        rr.check(difference is None, f'the replay differs: {difference}')


# --- rrerror=stop -----------------------------------------------------------

def register_address(text):
    """CS:EIP of 'info registers', as one number."""
    eip = re.search(r'[ER]IP=([0-9a-f]+)', text)
    base = re.search(r'^CS =[0-9a-f]+ ([0-9a-f]+)', text, re.MULTILINE)
    rr.check(eip and base, f'these are no registers: {text!r}')
    return int(eip.group(1), 16) + int(base.group(1), 16)


def stops(test, choose):
    """With rrerror=stop the machine pauses where the replay finds the fault.

    Monitor and gdb answer, and show the machine at this place.  It cannot be
    continued.
    """
    recorded = faults.firmware(test)
    words, expected = choose(recorded.recording)
    recording = faults.damage(test, recorded, *words)
    port = rr.free_port()

    run = test.run(recorded.machine_for(test), 'replay',
                   icount='rrerror=stop',
                   extra=('-gdb', f'tcp:127.0.0.1:{port}'))
    report = faults.wait_report(run)
    report.expect(**expected)
    run.qmp.event('STOP')
    faults.check_place(report, recording)
    faults.check_printed(report)

    def is_there():
        rr.check(run.qmp.status() == 'paused',
                 f'the machine is {run.qmp.status()}, not paused')
        now = run.qmp.command('query-replay')
        rr.check((now['icount'], now['events']) ==
                 (report.icount, report.event),
                 f'the machine has gone on: {now}, the report is {report}')
        text = run.qmp.command('human-monitor-command', **{
            'command-line': 'info registers'})
        rr.check(register_address(text) - report.pc in range(64),
                 f'the machine is at another place: {text!r}, the '
                 f'report is {report}')

    is_there()
    gdb = Gdb(port)
    test.closing.append(gdb)
    stopped, registers = gdb.ask('?'), gdb.ask('g')
    rr.check(re.match('T|S', stopped), f'gdb is told {stopped!r}')
    rr.check(re.fullmatch('[0-9a-fx]{500,}', registers),
             f'gdb gets the registers {registers!r}')
    run.qmp.command('cont')
    rr.wait_for(lambda: messages.CANNOT_CONTINUE in run.stderr(),
                'refusal to continue')
    rr.wait_for(lambda: run.qmp.status() == 'paused', 'pause')
    is_there()
    run.qmp.command('quit')
    run.finish(status=1)


for case, chosen in (('packet-differs', sent_checksum),
                     ('packet-does-not-come', sent_missing),
                     ('character-differs', more_bytes),
                     ('exception-too-early', exception_missing),
                     ('damaged', packet_to_unknown_adapter),
                     ('cut', cut),
                     ('end-without-shutdown', end_without_shutdown)):
    rr.register(f'rrerror-stop/{case}/paused-there', stops, chosen)


# --- a Linux guest ----------------------------------------------------------

def upload_of(recording, adapter):
    """The largest packet of the file that the guest receives."""
    return max(recording.of('async-net', adapter=adapter),
               key=lambda event: len(event.data))


def changed_upload(recording, adapter):
    """The words that change a byte of the file, with correct checksums, and
    the event of the packet with this byte.
    """
    packet = upload_of(recording, adapter)
    data = bytearray(packet.data)
    data[-1] ^= 0x20
    return faults.rewrite(packet, faults.with_checksum(data)), packet


# The least size of a packet with the SHA-256 of the file.  No earlier answer
# reaches this size.
ANSWER_BYTES = faults.TCP + 20 + 65


def answer_of(recording):
    """The event of the packet with the SHA-256 of the file that came through
    n0.
    """
    return next(event for event in recording.of('net-sent-data')
                if re.search(rb'[0-9a-f]{64}\n$', event.data))


@fault('linux/file-changed/checksum', faults.served_linux)
def file_changed(recording):
    """A byte of a file that Linux receives has changed.

    The first packet that shows it is the one in which Linux sends the file's
    checksum back.
    """
    words, packet = changed_upload(recording, 1)
    answer = next(event for event in recording.of(
        'net-sent', adapter=1, since=packet.number)
        if event.numbers[1] >= ANSWER_BYTES)
    return words, place('diverged', 'net-sent', answer.number, 'n1',
                        messages.PACKET_CHECKSUM.format(
                            number=r'\d+', netdev='n1',
                            size=answer.numbers[1], now=messages.ANY,
                            then=messages.ANY))


@fault('linux/file-changed/whole', faults.served_linux)
def file_changed_full(recording):
    """A byte of a file that Linux receives has changed, and the recording has
    the guest's packets whole.

    The report names the first byte that must differ, which is in the checksum
    of TCP.
    """
    words, packet = changed_upload(recording, 0)
    answer = answer_of(recording)
    upload = bytearray(faults.UPLOAD)
    upload[upload.index(packet.data[-64:]) + 63] ^= 0x20
    sent = faults.with_checksum(
        answer.data[:-65] + faults.digest(upload) + b'\n')
    at = faults.first_byte_that_differs(sent, answer.data)
    return words, place('diverged', 'net-sent-data', answer.number, 'n0',
                        messages.PACKET_BYTE.format(
                            number=r'\d+', netdev='n0', at=at,
                            size=len(sent), now=sent[at],
                            then=answer.data[at]))


@fault('linux/packet-corrupt', faults.served_linux)
def packet_corrupt(recording):
    """A bit of a TCP segment is flipped, so that its checksum is wrong and
    Linux does not acknowledge it.
    """
    packet = upload_of(recording, 0)
    acknowledged = recording.first('net-sent-data', adapter=0,
                                   since=packet.number)
    return ['flip', packet.number, 200, 3], by(packet.number, acknowledged)


@fault('linux/packet-missing', faults.served_linux)
def segment_missing(recording):
    """A TCP segment is missing."""
    packet = upload_of(recording, 1)
    acknowledged = recording.first('net-sent', adapter=1, since=packet.number)
    return ['drop', packet.number], by(packet.number, acknowledged)


@fault('linux/packet-cut-short', faults.served_linux)
def segment_cut_short(recording):
    """A TCP segment has lost its last byte."""
    packet = upload_of(recording, 1)
    acknowledged = recording.first('net-sent', adapter=1, since=packet.number)
    return ['resize', packet.number, len(packet.data) - 1], \
        by(packet.number, acknowledged)


@fault('linux/packet-later', faults.served_linux)
def segment_later(recording):
    """A packet comes after the interrupt that it has raised.

    Without the packet the NIC does not raise the interrupt.  A packet is taken
    for which neither a timer nor a packet that the guest sends can have raised
    the interrupt: Linux would take the NIC's a moment later, and need not
    notice.
    """
    others = {event.icount for event in
              recording.of('net-sent', 'net-sent-data',
                           'checkpoint-clock-virtual')}
    for packet in recording.of('async-net'):
        interrupt = recording.first('interrupt', since=packet.number)
        if interrupt.icount == packet.icount and packet.icount not in others:
            return ['move', packet.number, interrupt.number + 1], \
                by(packet.number, next_witness(recording, interrupt.number))
    raise rr.Failure('no packet has raised an interrupt')


def replay_on_another_linux(test, function):
    recorded = faults.served_linux(test)
    machine = faults.Changed(recorded.machine_for(test), function(test))
    first = recorded.recording.first('net-sent', 'net-sent-data')
    # QEMU warns of some of these differences, and refuses without rrcheck=off.
    faults.replay(test, recorded, machine=machine,
                  icount='rrcheck=off').expect(**by(0, first))


def other_linux(name):
    """Register a test of a Linux machine that is not the recorded one.

    The decorated function gets the Scenario and returns the changes of the
    machine's arguments.
    """
    def decorate(function):
        rr.register(f'other-linux/{name}/reported', replay_on_another_linux,
                    function, text=function.__doc__)
        return function
    return decorate


def with_other_byte(test, name, at, byte):
    """Copy the guest's file @name, with one byte changed; return the change of
    the machine's arguments that uses the copy.

    @at: maps the content of the file to the offset of the byte
    @byte: maps the old value of the byte to the new one
    """
    path = os.path.join(rr.GUEST, name)
    content = bytearray(rr.read(path))
    place_of = at(content)
    content[place_of] = byte(content[place_of])
    with open(test.path(name), 'wb') as file:
        file.write(content)
    return ((path, test.path(name)),)


@other_linux('kernel')
def other_kernel(test):
    """A byte of the kernel differs, at the end of a string."""
    banner = b'Linux version 6.1'
    return with_other_byte(test, 'vmlinux',
                           lambda content: content.rindex(banner) + 6,
                           lambda _: 0)


@other_linux('initramfs')
def other_initramfs(test):
    """A byte of the compressed initramfs differs, in the first code table."""
    return with_other_byte(test, 'initrd.gz', lambda _: 30,
                           lambda byte: byte ^ 1)


@other_linux('command-line')
def other_command_line(_):
    """The kernel has another command line."""
    return (('rcupdate.rcu_expedited=1', 'rcupdate.rcu_expedited=0'),)


@other_linux('nic-property')
def other_nic_property(_):
    """The NIC says that its slot has more functions."""
    return (('e1000,netdev=n0', 'e1000,netdev=n0,multifunction=on'),)
