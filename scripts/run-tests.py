#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run test programs that print TAP, and add up their results.

usage: run-tests.py BASE:SUITE...      (scripts/check calls it)

The script prints a line for each test, and the output of a test that failed;
it keeps the output of each program in build/BASE/logs.  A program that crashes,
hangs, ends early or tests nothing has failed.  The last line is "N passed, N
failed, N skipped".
"""

import fnmatch
import glob
import os
import re
import selectors
import signal
import subprocess
import sys
import time

import bases

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
EXPECTED_SKIPS = os.path.join(ROOT, 'tests/expected-skips')

FUZZ_S = 60
QUIET_S = 60                    # then say that a silent program still runs
LINGER_S = 5                    # for processes that a program has started

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

RESULT = re.compile(r'(?P<no>not )?ok\b\s*(?P<number>\d+)?\s*(?:-\s*)?'
                    r'(?P<name>.*?)(?:\s+#\s*(?P<directive>skip|todo)\b\S*'
                    r'\s*(?P<reason>.*))?$', re.IGNORECASE)
PLAN = re.compile(r'1\.\.(\d+)(?:\s*#\s*skip\S*\s*(.*))?', re.IGNORECASE)


def built(base, kind):
    """Our own test programs of one kind: those whose source is in tests/."""
    sources = sorted(glob.glob(os.path.join(ROOT, 'tests', kind, '*.c')))
    names = [os.path.splitext(os.path.basename(s))[0] for s in sources]
    want = (lambda n: n.endswith('-test')) if kind == 'qtest' else \
        (lambda n: n.startswith('test-'))
    return [(n, os.path.join(base.build, 'qemu', 'tests', kind, n))
            for n in names if want(n)]


def programs(base, suite):
    """(name, command, working directory, seconds allowed) of each program."""
    qemu = os.path.join(base.build, 'qemu')
    if suite == 'lint':
        return [('lint', ['scripts/lint'], ROOT, 300)]
    if suite == 'unit':
        return [(name, [path, '--tap', '-k'], qemu, 300)
                for name, path in built(base, 'unit')]
    if suite == 'qtest':
        return [(name, [path, '--tap', '-k'], qemu, 900)
                for name, path in built(base, 'qtest')]
    path, command, allowed = {
        'tool': ('tests/tool/run.py',
                 ['python3', '-B', 'tests/tool/run.py'], 300),
        'fuzz': ('tests/fuzz/run',
                 ['tests/fuzz/run', '--seconds', str(FUZZ_S)],
                 FUZZ_S + 600),
        'nics': ('tests/functional/run.py',
                 ['python3', '-B', 'tests/functional/run.py', '-j2',
                  '/download/replays-identically'], 900),
        'functional': ('tests/functional/run.py',
                       ['python3', '-B', 'tests/functional/run.py',
                        '-j2'], 3000),
        'system': ('tests/functional/run.py',
                   ['python3', '-B', 'tests/functional/run.py', '--suite',
                    'system', '-j2'], 3600),
        'sizes': ('scripts/bench',
                  ['python3', '-B', 'scripts/bench', '--sizes', '--no-build'],
                  900),
    }[suite]
    if not os.path.exists(os.path.join(ROOT, path)):
        return []
    return [(suite, command, ROOT, allowed)]


def environment(base):
    qemu = os.path.join(base.build, 'qemu')
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE='1',
               REPLAY_BASE=base.name,
               QTEST_QEMU_BINARY=os.path.join(qemu, 'qemu-system-x86_64'),
               QTEST_QEMU_IMG=os.path.join(qemu, 'qemu-img'),
               G_TEST_SRCDIR=os.path.join(base.build, 'src/tests'),
               G_TEST_BUILDDIR=os.path.join(qemu, 'tests'))
    env.pop('BUILD_LOCKED_BY_PARENT', None)
    return env


def read_expected_skips():
    """The patterns of tests/expected-skips, whose lines are
    "pattern of suite/test: reason".
    """
    expected = []
    if os.path.exists(EXPECTED_SKIPS):
        with open(EXPECTED_SKIPS, encoding='utf-8') as file:
            for line in file:
                pattern, colon, reason = line.partition(': ')
                if line.strip() and not line.startswith('#'):
                    if not colon or not reason.strip():
                        sys.exit(f'{EXPECTED_SKIPS}: no reason for {line!r}')
                    expected.append(pattern.strip())
    return expected


class Interrupted(BaseException):
    """A signal has told this program to end."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number


def interrupt(number, _frame):
    """Have run() end the test program and all processes of its group."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted(number)


class Tally:
    """Adds up the results, and prints each at once."""

    def __init__(self, ci, expected_skips):
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        self.ci = ci
        self.expected_skips = expected_skips

    @staticmethod
    def line(word, suite, name, seconds, note=''):
        print(f'{word:4}  {suite}: {name}'
              + (f' ({note})' if note else '')
              + (f'  {seconds:.1f} s' if seconds is not None else ''),
              flush=True)

    def passes(self, suite, name, seconds):
        self.passed += 1
        self.line('ok', suite, name, seconds)

    def skips(self, suite, name, seconds, reason):
        full = f'{suite.rpartition("/")[2]}/{name}'
        if self.ci and not any(fnmatch.fnmatchcase(full, p)
                               for p in self.expected_skips):
            self.fails(suite, name, seconds,
                       [f'skipped: {reason or "no reason given"}',
                        'tests/expected-skips does not list it'])
            return
        self.skipped += 1
        self.line('skip', suite, name, seconds, reason)

    def fails(self, suite, name, seconds, output):
        self.failed += 1
        self.failures.append(f'{suite}: {name}')
        self.line('FAIL', suite, name, seconds)
        for text in output:
            print(f'      | {text}')
        sys.stdout.flush()


class Program:
    """One run of a test program."""

    def __init__(self, tally, suite, name, log):
        self.tally = tally
        self.suite = suite
        self.name = name
        self.log = log
        self.plan = None
        self.seen = 0
        self.failed = 0
        self.output = []
        self.since = time.monotonic()

    def take_line(self, text):
        self.log.write(text + '\n')
        if text.startswith('Bail out!'):
            self.output.append(text)
            return
        plan = PLAN.fullmatch(text.strip())
        if plan:
            self.plan = int(plan[1])
            if self.plan == 0:
                self.tally.skips(self.suite, self.name, None, plan[2] or '')
            return
        result = RESULT.fullmatch(text)
        if not result:
            self.output.append(text)
            return
        self.take_result(result)

    def take_result(self, result):
        now = time.monotonic()
        seconds, self.since = now - self.since, now
        output, self.output = self.output, []
        self.seen += 1
        name = result['name'] or f'test {result["number"] or self.seen}'
        directive = (result['directive'] or '').lower()
        if directive == 'skip':
            self.tally.skips(self.suite, name, seconds, result['reason'])
        elif result['no'] and directive != 'todo':
            self.failed += 1
            self.tally.fails(self.suite, name, seconds, output)
        else:
            self.tally.passes(self.suite, name, seconds)

    def end(self, status, hung_s):
        reason = None
        if hung_s:
            reason = f'still running after {hung_s} s'
        elif status < 0:
            reason = f'killed by {signal.Signals(-status).name}'
        elif self.plan is None:
            reason = f'ended without a plan, exit status {status}'
        elif self.seen != self.plan:
            reason = (f'ran {self.seen} of {self.plan} tests, '
                      f'exit status {status}')
        elif status and not self.failed:
            reason = f'exit status {status}, though no test failed'
        if reason:
            name = ('' if self.name == self.suite.rpartition('/')[2]
                    else f'{self.name}: ')
            self.tally.fails(self.suite, name + reason, None, self.output)


def kill_group(process):
    """End a program and all processes of its group."""
    for number in signal.SIGTERM, signal.SIGKILL:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(LINGER_S)
        except subprocess.TimeoutExpired:
            continue
        time.sleep(0.2)


def read_lines(process, allowed_s, name, take_line):
    """Call take_line() for each line of the program's output.

    Returns whether the program has hung: it ran for longer than @allowed_s.
    """
    start = heard = time.monotonic()
    ended = None
    rest = b''
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            if selector.select(0.5):
                chunk = os.read(process.stdout.fileno(), 65536)
                *lines, rest = (rest + chunk).split(b'\n')
                if not chunk and rest:
                    lines = [rest]
                for line in lines:
                    take_line(line.decode(errors='replace').rstrip('\r'))
                if not chunk:
                    break
                heard = now
            elif now - heard > QUIET_S:
                print(f'      … {name} has run for {now - start:.0f} s',
                      flush=True)
                heard = now
            if ended is None and process.poll() is not None:
                ended = now
            # a process that it has left behind may keep the pipe open
            if ended is not None and now - ended > LINGER_S:
                break
            if now - start > allowed_s:
                return True
    try:
        process.wait(LINGER_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def run(tally, base, suite, program):
    name, command, folder, allowed_s = program
    logs = os.path.join(base.build, 'logs')
    os.makedirs(logs, exist_ok=True)
    log_path = os.path.join(logs, f'test-{name}.log')
    with open(log_path, 'w', encoding='utf-8') as log:
        runner = Program(tally, suite, name, log)
        if not os.path.exists(os.path.join(folder, command[0])) and \
                os.sep in command[0]:
            tally.fails(suite, name, None, [f'{command[0]} was not built'])
            return
        with subprocess.Popen(command, cwd=folder, env=environment(base),
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT,
                              start_new_session=True) as process:
            try:
                hung = read_lines(process, allowed_s, name, runner.take_line)
            finally:
                kill_group(process)
        runner.end(process.returncode, allowed_s if hung else 0)


def main():
    tally = Tally(os.environ.get('CI', '') not in ('', '0', 'false'),
                  read_expected_skips())
    for number in SIGNALS:
        # keep ignoring a signal that the caller ignores, as nohup does
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    start = time.monotonic()
    suites = [argument.split(':') for argument in sys.argv[1:]]
    several = len({name for name, _ in suites}) > 1
    for base_name, suite in suites:
        base = bases.get(base_name)
        title = f'{base_name}/{suite}' if several else suite
        found = programs(base, suite)
        if not found:
            print(f'none  {title}: has no tests')
        for program in found:
            run(tally, base, title, program)
    print()
    for failure in tally.failures:
        print(f'FAIL  {failure}')
    if tally.failures:
        print('logs: build/*/logs/test-*.log')
    if not tally.passed + tally.failed:
        print('no test ran')
    print(f'in {time.monotonic() - start:.0f} s')
    print(f'{tally.passed} passed, {tally.failed} failed, '
          f'{tally.skipped} skipped', flush=True)
    return 1 if tally.failed or not tally.passed else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except Interrupted as interrupted:
        # die of the signal, so that the caller sees it in the exit status
        signal.signal(interrupted.number, signal.SIG_DFL)
        os.kill(os.getpid(), interrupted.number)
