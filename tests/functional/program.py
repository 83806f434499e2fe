# SPDX-License-Identifier: GPL-2.0-or-later
"""How a program ends when a signal tells it to.

    terminal, timeout, CI --- SIGINT, SIGTERM --> bench, soak, demo, run.py
                                                    |
                                         SIGTERM, then SIGKILL
                                                    v
                                  QEMU, QEMU's wrapper, a build, a busy loop

Most QEMUs are started by worker threads, which Python cannot interrupt.  So
the signal's handler, which runs in the main thread, does not wait for the
worker threads: it ends all processes that the program has started, and then
the program.
"""

import atexit
import os
import shutil
import signal
import sys
import threading
import time

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

# The signals that end a process, and the seconds that it has for this before
# it gets the next one.
ENDING = ((signal.SIGTERM, 2), (signal.SIGKILL, 5))
POLL_S = 0.05

# A thread holds this lock while it starts QEMU.  The handler takes it and
# never releases it, so that no QEMU starts after the others have ended.
starting = threading.RLock()

_temporary = set()


def _parents():
    """The parent of each process of this host that has not ended, by id."""
    parents = {}
    for name in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{name}/stat', encoding='utf-8',
                      errors='replace') as f:
                state, parent = f.read().rpartition(')')[2].split()[:2]
        except OSError:
            continue                    # it has ended meanwhile
        if state not in 'ZX':
            parents[int(name)] = int(parent)
    return parents


def started_by(pid, known=()):
    """The ids of the processes that process @pid has started, directly or
    not, and that have not ended.

    @known: the ids that an earlier call has returned.  When the parent of a
        process ends, init becomes its parent, and only this leads to it.
    """
    parents = _parents()
    family = {pid} | (set(known) & parents.keys())
    while True:
        more = {child for child, parent in parents.items()
                if parent in family} - family
        if not more:
            return family - {pid}
        family |= more


def _end_processes():
    processes = ()
    for number, seconds in ENDING:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            processes = started_by(os.getpid(), processes)
            if not processes:
                return
            for process in processes:
                try:
                    os.kill(process, number)
                except (ProcessLookupError, PermissionError):
                    pass                # it has ended, or is another user's
            time.sleep(POLL_S)


def remove_at_end(path):
    """Remove the directory @path when this program ends, or a signal ends it.
    """
    _temporary.add(path)


def keep(path):
    """Take back remove_at_end(@path)."""
    _temporary.discard(path)


@atexit.register
def _remove_temporary():
    for path in list(_temporary):
        shutil.rmtree(path, ignore_errors=True)


def _end(number, _frame):
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    starting.acquire()                  # pylint: disable=consider-using-with
    _end_processes()
    _remove_temporary()
    # die of the signal, so that the caller sees it in the exit status
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def run(main):
    """Exit with the status that main() returns.

    A signal ends the program within seconds.  It leaves neither a process
    nor a temporary directory behind.
    """
    for number in SIGNALS:
        # keep ignoring a signal that the caller ignores, as nohup does
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)
    sys.exit(main())
