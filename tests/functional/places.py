# SPDX-License-Identifier: GPL-2.0-or-later
"""Places of a replay: go there, and see what the machine is there."""

import hashlib
import os

import rr


def human(run, line):
    return run.qmp.command('human-monitor-command', **{'command-line': line})


def arrive(run):
    """Wait until the replay has stopped; return where it is."""
    rr.wait_for(lambda: run.qmp.status() not in ('running', 'restore-vm'),
                'arrival')
    return run.qmp.command('query-replay')


def seek(run, **place):
    run.qmp.command('replay-seek', **place)
    return arrive(run)


def state(test, run, memory_mib=256):
    """All that can be seen of the machine, as it is now."""
    path = test.path('memory')
    run.qmp.command('pmemsave', val=0, size=memory_mib << 20, filename=path)
    memory = hashlib.sha256(rr.read(path)).hexdigest()
    os.unlink(path)
    now = run.qmp.command('query-replay')
    return {
        'place': (now['icount'], now['events'], now['packets']),
        'memory': memory,
        **{what: human(run, 'info ' + what)
           for what in ('registers', 'lapic', 'pic')},
    }


def differences(one, other):
    return [what for what, value in one.items() if value != other[what]]
