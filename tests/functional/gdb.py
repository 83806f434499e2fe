# SPDX-License-Identifier: GPL-2.0-or-later
"""The part of gdb's remote protocol that the tests use."""

import re
import socket

import rr


class Gdb:
    """A connection to QEMU's gdb stub.  Connecting stops the machine."""

    def __init__(self, port):
        self.sock = socket.create_connection(('127.0.0.1', port),
                                             rr.STEP_CEILING)
        self.pending = b''
        # Some QEMUs say of themselves that the machine has stopped now, and
        # some answer ^C only if the client has let the machine run.
        self._send('?')
        self._send('qAttached')
        while self._answer() not in ('0', '1'):
            pass
        self.runs = False

    def _send(self, question):
        total = sum(question.encode()) % 256
        self.sock.sendall(f'${question}#{total:02x}'.encode())

    def _answer(self):
        while True:
            whole = re.search(rb'\$([^#]*)#[0-9a-f]{2}', self.pending)
            if whole:
                self.pending = self.pending[whole.end():]
                self.sock.sendall(b'+')
                return whole.group(1).decode()
            got = self.sock.recv(65536)
            rr.check(got, 'the gdb stub has closed the connection')
            self.pending += got

    def ask(self, question):
        self._send(question)
        return self._answer()

    def _stopped(self, answer):
        rr.check(re.match('T|S', answer), f'the gdb stub answers {answer!r}')

    def interrupt(self):
        """Stop the machine.  It may be stopped already."""
        if self.runs:
            self.runs = False
            self.sock.sendall(b'\x03')
            self._stopped(self._answer())

    def step(self):
        self._stopped(self.ask('s'))

    def step_back(self):
        self._stopped(self.ask('bs'))

    def go_on(self):
        self.runs = True
        self._send('c')

    def continue_back(self):
        self._stopped(self.ask('bc'))

    def wait_stop(self):
        self.runs = False
        self._stopped(self._answer())

    def breakpoint(self, address, is_set=True):
        answer = self.ask(f'{"Z" if is_set else "z"}0,{address:x},1')
        rr.check(answer == 'OK', f'a breakpoint: {answer!r}')

    def pass_breakpoint(self, address):
        """Step from a breakpoint, as gdb does before it continues."""
        self.breakpoint(address, False)
        self.step()
        self.breakpoint(address)

    def program_counter(self):
        """RIP, which follows sixteen other registers of 64 bits."""
        return int.from_bytes(bytes.fromhex(self.ask('g')[16 * 16:17 * 16]),
                              'little')

    def detach(self):
        """Let the machine run, and close the connection."""
        self.interrupt()
        rr.check(self.ask('D') == 'OK', 'gdb cannot detach')
        self.close()

    def close(self):
        self.sock.close()
