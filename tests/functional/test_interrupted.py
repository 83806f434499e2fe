# SPDX-License-Identifier: GPL-2.0-or-later
"""A signal ends the programs that run QEMU, and leaves nothing behind.

    this test --- SIGTERM, SIGINT --> scripts/bench, soak, run.py, demo.py
                                              |
                                              +-- QEMU, and what else it has
                                                  started

The signal is sent to the program alone, as a service manager or a time limit
of CI does, and not to the processes that it has started.
"""

import contextlib
import os
import signal
import subprocess
import sys

import program
import rr

# Well below what the interrupted work would still take: the guest of each
# program is only starting.
END_CEILING = 15

FUNCTIONAL = os.path.join(rr.ROOT, 'tests', 'functional')
SCRIPTS = os.path.join(rr.ROOT, 'scripts')


def commands(qemu, workdir):
    """How each program is started so that it runs only @qemu, and writes
    only to @workdir.
    """
    return {
        'bench': [os.path.join(SCRIPTS, 'bench'), '--no-build',
                  '--only', 'stock', '--stock', qemu, '--row', 'size',
                  '--workdir', workdir],
        'soak': [os.path.join(SCRIPTS, 'soak'), '--qemu', qemu,
                 '--workdir', workdir],
        'run.py': [os.path.join(FUNCTIONAL, 'run.py'), '--qemu', qemu,
                   '--workdir', workdir, '-j2', 'two-nics/'],
        'demo': [os.path.join(FUNCTIONAL, 'demo.py'), '--qemu', qemu,
                 '--workdir', workdir],
    }


@contextlib.contextmanager
def started(command, path):
    """A program whose output goes to the file @path, while it runs."""
    # a shell without a terminal has what it puts into the background ignore
    # SIGINT
    with open(path, 'wb') as output, subprocess.Popen(
            ['env', '--default-signal', sys.executable, '-B', *command],
            stdin=subprocess.DEVNULL, stdout=output,
            stderr=output) as process:
        try:
            yield process
        finally:
            process.kill()


def consoles(workdir):
    """The consoles in @workdir on which a guest has written something."""
    found = [os.path.join(place, name)
             for place, _, names in os.walk(workdir)
             for name in names if name.endswith('.console')]
    return [path for path in found if rr.read(path)]


def interrupted(test, name):
    """A program is running a guest when a signal tells it to end.

    It ends within seconds, and of that signal.  No process that it has
    started is left.
    """
    for number in signal.SIGTERM, signal.SIGINT:
        workdir = test.path(number.name)
        os.makedirs(workdir)
        command = commands(test.qemu[0], workdir)[name]
        output = test.path(number.name + '.output')
        with started(command, output) as process:
            rr.wait_for(lambda: consoles(workdir) or
                        process.poll() is not None, 'running guest')
            processes = program.started_by(process.pid)
            rr.check(processes, f'{name} runs no QEMU: {rr.read(output)!r}')
            process.send_signal(number)
            try:
                rr.wait_for(lambda: process.poll() is not None,
                            f'end of {name}', END_CEILING)
            finally:
                left = program.started_by(process.pid, processes)
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
        rr.check(process.returncode == -number,
                 f'{name} ended with status {process.returncode}, '
                 f'not by {number.name}: {rr.read(output)!r}')
        rr.check(not left, f'{name} has left the processes {left}')
        if name == 'bench':
            rr.check(not os.listdir(workdir),
                     f'bench has left {os.listdir(workdir)}')


rr.scenarios('interrupted/{}/leaves-nothing', interrupted,
             'bench', 'soak', 'run.py', 'demo')
