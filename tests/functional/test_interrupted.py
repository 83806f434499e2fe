# SPDX-License-Identifier: GPL-2.0-or-later
"""A signal ends the programs that run QEMU, and leaves nothing behind.

    this test --- SIGTERM, SIGINT --> scripts/bench, soak, run.py, demo.py,
                                      a step of scripts/build and its kind
                                              |
                                              +-- QEMU, wrappers, servers

The test sends the signal only to the program, as timeout(1) or CI does, and
not to the processes that the program has started.
"""

import contextlib
import os
import signal
import subprocess
import sys

import program
import rr

# Without the signal each program would run for much longer, as its guest is
# only starting.
END_CEILING = 15

FUNCTIONAL = os.path.join(rr.ROOT, 'tests', 'functional')
SCRIPTS = os.path.join(rr.ROOT, 'scripts')


def commands(qemu, workdir):
    """The command of each program.  It runs only @qemu, and writes only to
    @workdir.

    The row of the bench is one for which a worker starts four guests in turn.
    """
    return {
        'bench': [os.path.join(SCRIPTS, 'bench'), '--no-build',
                  '--only', 'stock', '--stock', qemu, '--row', 'cost',
                  '--workdir', workdir],
        'soak': [os.path.join(SCRIPTS, 'soak'), '--qemu', qemu,
                 '--workdir', workdir],
        'run.py': [os.path.join(FUNCTIONAL, 'run.py'), '--qemu', qemu,
                   '--workdir', workdir, '-j2', 'two-nics/'],
        'demo': [os.path.join(FUNCTIONAL, 'demo.py'), '--qemu', qemu,
                 '--workdir', workdir],
    }


# What scripts/build and its kind do: a step, in a script that another one runs.
STEP = '''
. scripts/lib.sh
run bash -c '. scripts/lib.sh; run sleep 1000'
'''


@contextlib.contextmanager
def started(command, path):
    """Run a program, with its output in the file @path; kill it at the end."""
    # a background job of a shell script ignores SIGINT, and this test can be
    # one
    with open(path, 'wb') as output, subprocess.Popen(
            ['env', '--default-signal', *command], cwd=rr.ROOT,
            stdin=subprocess.DEVNULL, stdout=output,
            stderr=output) as process:
        try:
            yield process
        finally:
            process.kill()


def consoles(workdir):
    """The consoles in @workdir that are not empty."""
    found = [os.path.join(place, name)
             for place, _, names in os.walk(workdir)
             for name in names if name.endswith('.console')]
    return [path for path in found if rr.read(path)]


def interrupted(test, name):
    """The program gets a signal while it runs a guest.

    It ends within seconds, and its exit status is that of the signal.  None of
    the processes that it has started is left, and the bench has removed its
    files.
    """
    for number in signal.SIGTERM, signal.SIGINT:
        workdir = test.path(number.name)
        os.makedirs(workdir)
        command = [sys.executable, '-B',
                   *commands(test.qemu[0], workdir)[name]]
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


def sleepers(pid):
    """The processes called sleep that the process @pid has started."""
    return [child for child in program.started_by(pid)
            if rr.read(f'/proc/{child}/comm').strip() == b'sleep']


def interrupted_script(test):
    """A script gets a signal while a script that it has started runs a step.

    It ends by that signal, and the command of the step has ended.
    """
    for number in signal.SIGTERM, signal.SIGINT:
        output = test.path(number.name + '.output')
        with started(['bash', '-c', STEP], output) as process:
            rr.wait_for(lambda: sleepers(process.pid), 'step of the script')
            processes = program.started_by(process.pid)
            process.send_signal(number)
            rr.wait_for(lambda: process.poll() is not None,
                        'end of the script', END_CEILING)
            try:
                rr.wait_for(lambda: not program.started_by(process.pid,
                                                           processes),
                            'end of the step', END_CEILING)
            finally:
                for pid in program.started_by(process.pid, processes):
                    os.kill(pid, signal.SIGKILL)
        rr.check(process.returncode == -number,
                 f'the script ended with status {process.returncode}, '
                 f'not by {number.name}: {rr.read(output)!r}')


rr.register('interrupted/script/leaves-nothing', interrupted_script)
rr.scenarios('interrupted/{}/leaves-nothing', interrupted,
             'bench', 'soak', 'run.py', 'demo')
