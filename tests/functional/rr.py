# SPDX-License-Identifier: GPL-2.0-or-later
"""Record and replay a virtual machine, and compare the two.

A Machine describes a virtual machine, and a Run is one process of QEMU that
executes it.  A Scenario is one test's workshop: it makes servers and runs,
knows where their files are, and stops everything at the end of the test.  The
tests and the demo use these three classes and nothing below them.

The code waits for conditions and never for a fixed time.  Each wait has a
ceiling, far above the time that a busy machine needs; a test that reaches it
has failed.
"""

import dataclasses
import functools
import hashlib
import http.client
import http.server
import json
import os
import random
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
import typing

import namespace
import program

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.append(os.path.join(ROOT, 'scripts'))
# pylint: disable=wrong-import-position
import bases                                                    # noqa: E402

BUILD = bases.Base().build
QEMU = os.path.join(BUILD, 'bin', 'qemu-system-x86_64')
GUEST = os.path.join(ROOT, 'build', 'guest')
SYSTEM = os.path.join(ROOT, 'build', 'system', 'disk.qcow2')

# Seconds.  A run takes about ten on an idle machine.
RUN_CEILING = 400
STEP_CEILING = 200
POLL = 0.02

# A server sends a file in pieces of this size.
PIECE_BYTES = 16384

# A table for bytes.translate().
LETTERS = bytes(b'ACGT'[byte % 4] for byte in range(256))

# These make the kernel start faster.  None of them concerns the network.
KERNEL_OPTIONS = ('console=ttyS0 panic=-1 mitigations=off '
                  'tsc=reliable rcupdate.rcu_expedited=1')


class Failure(Exception):
    """The behaviour under test is missing: the test has failed."""


class Skip(Exception):
    """This host lacks something that the test needs.  The message names it."""


def check(condition, message):
    """Raise Failure(@message) unless @condition holds."""
    if not condition:
        raise Failure(message)


@functools.cache
def _lacks_for_no_network():
    done = subprocess.run([*namespace.WITHOUT_NETWORK, 'true'], check=False,
                          stderr=subprocess.PIPE)
    return done.stderr.decode() if done.returncode else None


def without_network():
    """Words before a command that is to have no network, another name of the
    host, and no /dev/net/tun.  Raises Skip if this machine does not permit it.
    """
    lacks = _lacks_for_no_network()
    if lacks:
        raise Skip(f'a place without a network ({lacks.strip()})')
    return namespace.WITHOUT_NETWORK


def read(path):
    """Return the bytes of the file @path, or b'' if there is no file."""
    try:
        with open(path, 'rb') as f:
            return f.read()
    except FileNotFoundError:
        return b''


def wait_for(condition, what, ceiling=STEP_CEILING):
    """Call condition() until its result is true, and return the result.

    @what: what the condition stands for, as a noun, for the failure's message
    """
    end = time.monotonic() + ceiling
    while True:
        result = condition()
        if result:
            return result
        check(time.monotonic() < end, f'no {what} after {ceiling} s')
        time.sleep(POLL)


@dataclasses.dataclass(frozen=True)
class Nic:
    """One NIC of a machine, with its netdev and the filter on the netdev."""
    model: str
    netdev: str = 'n0'
    netdev_options: str = ''
    device_options: str = ''
    filter_options: str = ''
    backend: str = 'user'

    def netdev_argument(self):
        return ','.join(filter(None, (f'{self.backend},id={self.netdev}',
                                      self.netdev_options)))

    def device_argument(self):
        return ','.join(filter(None, (f'{self.model},netdev={self.netdev}',
                                      self.device_options)))

    def filter_argument(self):
        return ','.join(filter(None, (
            f'filter-replay,id=f-{self.netdev},netdev={self.netdev}',
            self.filter_options)))


@dataclasses.dataclass(frozen=True)
class Machine:
    """A virtual machine, and the steps that its guest takes.

    @filters: the netdevs that get a filter on the command line, in this
        order; by default all of them, in the order of the NICs
    """
    nics: tuple
    steps: tuple = ()
    shift: str = 'auto'
    filters: tuple = None
    memory_mib: int = 256

    def arguments(self):
        """QEMU's arguments, without those for the recording and the
        console.
        """
        args = ['-M', 'pc', '-m', str(self.memory_mib), '-nodefaults',
                '-no-user-config', '-display', 'none', '-no-reboot',
                '-kernel', os.path.join(GUEST, 'vmlinux'),
                '-initrd', os.path.join(GUEST, 'initrd.gz'),
                '-append', ' '.join([KERNEL_OPTIONS] + [
                    'rr.do=' + step for step in self.steps])]
        for nic in self.nics:
            args += ['-netdev', nic.netdev_argument(),
                     '-device', nic.device_argument()]
        filters = {nic.netdev: nic.filter_argument() for nic in self.nics}
        for netdev in filters if self.filters is None else self.filters:
            args += ['-object', filters[netdev]]
        return args


class Qmp:
    """A QMP connection to one QEMU, over a connected socket."""

    def __init__(self, sock):
        self.sock = sock
        self.pending = b''
        self.events = []
        self.greeted = False

    def _message(self, ceiling):
        self.sock.settimeout(ceiling)
        while b'\n' not in self.pending:
            try:
                got = self.sock.recv(65536)
            except TimeoutError:
                raise Failure(f'QMP: no message for {ceiling} s') from None
            except OSError as error:
                raise Failure(f'QMP: {error}') from None
            check(got, 'QMP: QEMU has closed the connection')
            self.pending += got
        line, self.pending = self.pending.split(b'\n', 1)
        return json.loads(line)

    def _execute(self, command, arguments):
        request = {'execute': command}
        if arguments:
            request['arguments'] = arguments
        try:
            self.sock.sendall(json.dumps(request).encode() + b'\n')
        except OSError as error:
            raise Failure(f'QMP: {error}') from None
        while True:
            message = self._message(STEP_CEILING)
            if 'event' in message:
                self.events.append(message)
            else:
                return message

    def command(self, command, **arguments):
        """Execute @command and return its result; if QEMU answers with an
        error, raise Failure.
        """
        if not self.greeted:
            check('QMP' in self._message(STEP_CEILING), 'QMP: no greeting')
            self.greeted = True
            self._execute('qmp_capabilities', {})
        answer = self._execute(command, arguments)
        check('error' not in answer, f'QMP {command}: {answer}')
        return answer['return']

    def next_event(self, ceiling=STEP_CEILING):
        """Wait for the next event from QEMU and return the whole message."""
        return self._message(ceiling)

    def event(self, name, ceiling=STEP_CEILING):
        """Wait for the event @name, which may already be in @events, and
        return its data.
        """
        if not self.greeted:
            self.command('query-name')
        end = time.monotonic() + ceiling
        while True:
            for number, event in enumerate(self.events):
                if event['event'] == name:
                    del self.events[:number + 1]
                    return event.get('data', {})
            self.events.append(
                self.next_event(max(0.01, end - time.monotonic())))

    def status(self):
        return self.command('query-status')['status']


class Run:
    """One process of QEMU, from its start to its end.

    @mode: 'record', 'replay', or None for neither
    @place: the directory of its files
    @name: the first part of its files' names
    @recording: the recording's path
    @icount: further -icount options
    @extra: further arguments, which stand before those of the machine
    @fds: file descriptors that QEMU inherits
    @serials: -serial options for the guest's second and further ports
    @wrapper: words that precede QEMU's command, such as 'nice'
    """

    def __init__(self, qemu, machine, mode, place, name, recording=None,
                 icount='', extra=(), wrapper=(), serials=(), fds=()):
        self.name = name
        self.mode = mode
        self.recording = recording
        self.console_path = os.path.join(place, name + '.console')
        self.stderr_path = os.path.join(place, name + '.stderr')
        for path in (self.console_path, self.stderr_path):
            if os.path.exists(path):
                os.unlink(path)
        timing = f'shift={machine.shift}'
        if mode:
            timing += f',rr={mode},rrfile={recording}'
        if icount:
            timing += ',' + icount
        command = [*wrapper, *qemu, '-icount', timing, *extra,
                   *machine.arguments()]
        for serial in 'file:' + self.console_path, *serials:
            command += ['-serial', serial]
        with open(os.path.join(place, name + '.command'), 'w',
                  encoding='utf-8') as f:
            f.write(shlex.join(command) + '\n')
        ours, theirs = socket.socketpair()
        self.qmp = Qmp(ours)
        command += ['-chardev', f'socket,id=qmp,fd={theirs.fileno()}',
                    '-mon', 'chardev=qmp,mode=control']
        self.seconds = None
        with program.starting, theirs, \
                open(self.stderr_path, 'wb') as stderr:
            self.started = time.monotonic()
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stderr,
                stderr=stderr, pass_fds=[theirs.fileno(), *fds])

    def __str__(self):
        return f'{self.name} (console {self.console_path})'

    def console(self):
        """The bytes that the guest has written so far."""
        return read(self.console_path)

    def stderr(self):
        return read(self.stderr_path).decode(errors='replace')

    def ended(self):
        if self.process.poll() is None:
            return False
        if self.seconds is None:
            self.seconds = time.monotonic() - self.started
        return True

    def lines(self, ceiling=RUN_CEILING):
        """Yield each line of the console once the guest has written it, until
        QEMU has ended.
        """
        end = time.monotonic() + ceiling
        done = 0
        while True:
            ended = self.ended()
            whole = self.console().split(b'\n')[:-1]
            for line in whole[done:]:
                yield line.decode(errors='replace').rstrip('\r')
            done = len(whole)
            if ended:
                return
            if time.monotonic() > end:
                self.kill()
                raise Failure(f'{self} has not ended after {ceiling} s; '
                              f'{self.last_words()}')
            time.sleep(POLL)

    def wait_line(self, pattern, ceiling=STEP_CEILING):
        """Wait for a console line in which @pattern is found; return the
        match.
        """
        for line in self.lines(ceiling):
            match = re.search(pattern, line)
            if match:
                return match
        raise Failure(f'{self} ended without a line "{pattern}"; '
                      f'{self.last_words()}')

    def finish(self, status=0, ceiling=RUN_CEILING):
        """Wait until QEMU has ended, and check its exit status."""
        for _ in self.lines(ceiling):
            pass
        got = self.process.returncode
        check(got == status, f'{self} ended with status {got}, not {status}; '
              + self.last_words())
        return self

    def last_words(self):
        last = self.console().decode(errors='replace').splitlines()[-1:]
        return f'its last line: {last}, its messages: {self.stderr()!r}'

    def kill(self):
        """Kill QEMU with SIGKILL, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.ended()

    def close(self):
        self.kill()
        self.qmp.sock.close()


@dataclasses.dataclass(frozen=True)
class Payload:
    """A file that a server offers: incompressible, or text.  The same seed
    gives the same bytes.
    """
    size_bytes: int
    seed: int = 1
    text: bool = False

    def content(self):
        content = random.Random(self.seed).randbytes(self.size_bytes)
        return content.translate(LETTERS) if self.text else content

    def digest(self):
        return hashlib.sha256(self.content()).hexdigest()

    def path(self):
        kind = 'text' if self.text else 'noise'
        return f'/{kind}-{self.seed}-{self.size_bytes}'


class Server:
    """An HTTP server on loopback, on a free port.

    After stop() the server answers no request, but its socket still listens,
    and visitors() counts the connections.

    @pace_s: the seconds that the server waits after each piece, to make a
        download slow
    @piece_bytes: the size of a piece
    @listener: a listening socket to use instead of one on 127.0.0.1
    @served: the (path, seconds) of each download
    """

    def __init__(self, *payloads, pace_s=0, piece_bytes=PIECE_BYTES,
                 listener=None):
        content = {payload.path(): payload.content() for payload in payloads}
        served = self.served = []

        class Handler(http.server.BaseHTTPRequestHandler):
            """Answers a request with the file that it names."""

            def do_GET(self):           # pylint: disable=invalid-name
                body = content.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                started = time.monotonic()
                self.send_response(200)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                for start in range(0, len(body), piece_bytes):
                    self.wfile.write(body[start:start + piece_bytes])
                    time.sleep(pace_s)
                self.wfile.flush()
                self.rfile.read(1)      # the client closes when it has all
                served.append((self.path, time.monotonic() - started))

            def log_message(self, *_):  # pylint: disable=arguments-differ
                pass

        class HttpServer(http.server.ThreadingHTTPServer):
            """Prints no backtrace when a guest that downloads is killed."""

            def handle_error(self, request, client_address):
                pass

        if listener is None:
            listener = socket.create_server(('127.0.0.1', 0))
        self.http = HttpServer(listener.getsockname(), Handler,
                               bind_and_activate=False)
        self.http.socket.close()
        self.http.socket = listener
        self.port = listener.getsockname()[1]
        self.thread = threading.Thread(
            target=self.http.serve_forever, kwargs={'poll_interval': POLL},
            daemon=True)
        self.thread.start()

    def url(self, payload, host='10.0.2.2'):
        """The URL of @payload for a guest whose slirp has the host at
        @host.
        """
        return f'http://{host}:{self.port}{payload.path()}'

    def stop(self):
        if self.thread is not None:
            self.http.shutdown()
            self.thread.join()
            self.thread = None

    def visitors(self):
        """The number of connections since stop()."""
        count = 0
        self.http.socket.setblocking(False)
        while True:
            try:
                self.http.socket.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1

    def close(self):
        self.stop()
        self.http.server_close()


def first_difference(recorded, replayed):
    """Describe the first difference of two consoles; None if there is none."""
    if recorded == replayed:
        return None
    ours, theirs = recorded.split(b'\n'), replayed.split(b'\n')
    for number, (one, other) in enumerate(zip(ours, theirs), 1):
        if one != other:
            return (f'line {number} was {one.decode(errors="replace")!r}, '
                    f'now {other.decode(errors="replace")!r}')
    return f'{len(ours) - 1} lines were recorded, {len(theirs) - 1} replayed'


def check_identical(recorded, replayed):
    """Check that the guest finished, and that the replay wrote the same."""
    check(b'guest: done' in recorded.console(),
          f'{recorded} did not finish; {recorded.last_words()}')
    difference = first_difference(recorded.console(), replayed.console())
    check(difference is None, f'the replay differs: {difference}')


def check_prefix(recorded, replayed):
    """Check that the console of @recorded begins with that of @replayed."""
    whole, part = recorded.console(), replayed.console()
    check(whole.startswith(part), 'the replay is no prefix of the recording: '
          f'{first_difference(whole[:len(part)], part)}')


def downloads(run):
    """The (size, SHA-256) of each file that the guest has downloaded."""
    return [(int(size), digest) for size, digest in re.findall(
        r'\] got: (\d+) bytes, sha256 ([0-9a-f]{64})',
        run.console().decode(errors='replace'))]


def check_downloads(run, *payloads):
    """Check that the guest got all of @payloads complete, in any order."""
    expected = [(p.size_bytes, p.digest()) for p in payloads]
    check(sorted(downloads(run)) == sorted(expected),
          f'{run}: the server sent {expected}, '
          f'the guest received {downloads(run)}')


def traffic(run):
    """The counters of the guest's NICs, one dictionary for each."""
    return [{key: int(value) if value.isdigit() else value
             for key, value in match.groupdict().items()}
            for match in re.finditer(
                r'report: (?P<interface>eth\d) (?P<driver>\S+) (?P<mac>\S+) '
                r'(?P<address>\S*) ?rx (?P<rx_packets>\d+) packets '
                r'(?P<rx_bytes>\d+) bytes, tx (?P<tx_packets>\d+) packets '
                r'(?P<tx_bytes>\d+) bytes',
                run.console().decode(errors='replace'))]


def fetch(port, method, path, body=None):
    """Send one HTTP request to a guest's server, through a forwarded port of
    the host; return the content of the answer.
    """
    connection = http.client.HTTPConnection('127.0.0.1', port,
                                            timeout=STEP_CEILING)
    try:
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        content = answer.read()
        check(answer.status == 200, f'{method} {path}: {answer.status}')
        return content
    except OSError as error:
        raise Failure(f'{method} {path}: {error}') from None
    finally:
        connection.close()


def free_port():
    """A TCP port of loopback on which no process listens."""
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


class Scenario:
    """The workshop of one test: its directory, its servers and its runs.

    @closing: what close() closes, last first; anything with a close()
    """

    run_type = Run

    def __init__(self, place, qemu=(QEMU,)):
        self.place = place
        self.qemu = list(qemu)
        self.notes = []
        self.runs = []
        self.closing = []
        shutil.rmtree(place, ignore_errors=True)
        os.makedirs(place)

    def path(self, name):
        return os.path.join(self.place, name)

    def note(self, text):
        """Add @text to the test's report."""
        self.notes.append(text)

    def server(self, *payloads, **options):
        server = Server(*payloads, **options)
        self.closing.append(server)
        return server

    def run(self, machine, mode, name=None, recording='recording', **options):
        """Start QEMU.  Run describes the @options."""
        run = self.run_type(
            self.qemu, machine, mode, self.place, name or mode or 'plain',
            self.path(recording), **options)
        self.runs.append(run)
        self.closing.append(run)
        return run

    def record(self, machine, **options):
        """Record until the guest powers off."""
        return self.run(machine, 'record', **options).finish()

    def replay(self, machine, **options):
        """Replay until the recording ends."""
        return self.run(machine, 'replay', **options).finish()

    def compare(self, recorded, replayed, *servers):
        """Check that the replay was identical, and that it has not connected
        to any of @servers.

        The servers must have been stopped before the replay began.
        """
        check_identical(recorded, replayed)
        for server in servers:
            count = server.visitors()
            check(count == 0, f'the replay made {count} connections')
        size = os.path.getsize(recorded.recording)
        received = sum(nic['rx_bytes'] for nic in traffic(recorded))
        self.note(f'record {recorded.seconds:.1f} s, '
                  f'replay {replayed.seconds:.1f} s, {size} bytes for '
                  f'{received} received ({size / max(received, 1):.2f})')

    def accounts(self):
        """What has become of each QEMU, a line each."""
        return [f'{run.name}: ' + (
            f'status {run.process.returncode} after {run.seconds:.1f} s; '
            if run.ended() else 'still runs; ') + run.last_words()
                for run in self.runs]

    def close(self):
        """Stop the runs and servers that the test has left running."""
        while self.closing:
            self.closing.pop().close()


class Test(typing.NamedTuple):
    """A test, as run.py finds it in TESTS.

    @function: run.py calls it with a Scenario and with @arguments
    @text: what the test does and expects
    """
    function: typing.Callable
    arguments: tuple
    text: str


TESTS = {}


def register(name, function, *arguments, text=None, suite='functional'):
    """Register @function(test, *@arguments) as the test @suite/@name.

    Its text is @text, or else the docstring of @function.
    """
    name = f'{suite}/{name}'
    assert name not in TESTS, f'two tests called {name}'
    TESTS[name] = Test(function, arguments, text or function.__doc__)


def scenario(name):
    """Register the decorated function(test) as the test functional/@name."""
    def decorate(function):
        register(name, function)
        return function
    return decorate


def scenarios(pattern, function, *models):
    """Register @function(test, model) once for each of @models.

    @pattern: the test's name, with {} in place of the model
    """
    for model in models:
        register(pattern.format(model), function, model)
