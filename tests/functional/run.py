#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the functional tests: real Linux guests, recorded and replayed.

usage: run.py [--suite SUITE] [--qemu PATH] [--list] [--keep] [-j N]
              [PATTERN...]

Only tests run whose name contains one of the patterns.  The report is TAP.
"""

import argparse
import concurrent.futures
import importlib
import os
import shlex
import shutil
import time
import traceback

import program
import rr

HERE = os.path.dirname(os.path.abspath(__file__))

# The files that the tests of each suite need, and the script that makes them.
SUITES = {
    'functional': ('scripts/guest', [os.path.join(rr.GUEST, 'vmlinux'),
                                     os.path.join(rr.GUEST, 'initrd.gz')]),
    'system': ('scripts/system-image', [rr.SYSTEM]),
}


def find_tests(suite, patterns):
    for name in sorted(os.listdir(HERE)):
        if name.startswith('test_') and name.endswith('.py'):
            importlib.import_module(name[:-len('.py')])
    return {name: test for name, test in rr.TESTS.items()
            if name.startswith(suite + '/')
            and (not patterns or any(p in name for p in patterns))}


def run_test(name, test, options):
    """Run one test; return the lines of its report."""
    place = os.path.join(options.workdir, name)
    started = time.monotonic()
    workshop = rr.Scenario(place, [options.qemu, *options.qemu_arg])
    problem = skipped = None
    try:
        test.function(workshop, *test.arguments)
    except rr.Skip as skip:
        skipped = str(skip)
    except rr.Failure as failure:
        problem = str(failure)
    except Exception:  # pylint: disable=broad-exception-caught
        problem = traceback.format_exc()
    finally:
        accounts = workshop.accounts() if problem else []
        workshop.close()
    remark = (f'SKIP {skipped}' if skipped
              else f'{time.monotonic() - started:.1f} s')
    report = ['# ' + line for line in workshop.notes]
    if problem:
        again = ['python3', os.path.relpath(__file__),
                 '--suite', options.suite, '--qemu', options.qemu]
        again += [f'--qemu-arg={arg}' for arg in options.qemu_arg] + [name]
        report += ['# ' + line for line in (*problem.splitlines(), *accounts)]
        report += [f'# recording and consoles: {place}',
                   f'# run it again: {shlex.join(again)}']
    elif not options.keep:
        shutil.rmtree(place)
    # TAP's reader assigns comments to the result that follows them
    report.append(f'{"not ok" if problem else "ok"} %d - {name} # {remark}')
    return report


def main():
    parser = argparse.ArgumentParser(
        description='Record and replay real Linux guests.')
    parser.add_argument('patterns', nargs='*', metavar='PATTERN',
                        help='run only tests whose name contains PATTERN')
    parser.add_argument('--suite', default='functional', choices=SUITES,
                        help='functional (the default): a small guest; '
                        'system: a Debian on a disk')
    parser.add_argument('--qemu', default=rr.QEMU, metavar='PATH',
                        help='the qemu-system-x86_64 to test')
    parser.add_argument('--qemu-arg', action='append', default=[],
                        metavar='ARG', help='pass ARG to every QEMU')
    parser.add_argument('--workdir', metavar='DIR',
                        default=rr.BUILD,
                        help='where recordings and consoles are written')
    parser.add_argument('--list', action='store_true',
                        help='only print the names and texts of the tests')
    parser.add_argument('--keep', action='store_true',
                        help='also keep the files of tests that pass')
    parser.add_argument('-j', '--jobs', type=int, default=1, metavar='N',
                        help='run N tests at once')
    options = parser.parse_args()

    tests = find_tests(options.suite, options.patterns)
    if options.list:
        for name, test in tests.items():
            print(f'{name}\n    {test.text}')
        return 0
    if not tests:
        parser.error('no test has a name that contains a PATTERN')
    script, files = SUITES[options.suite]
    for path in options.qemu, *files:
        if not os.path.exists(path):
            parser.error(f'{path} is missing: '
                         f'run scripts/build and {script} first')

    failed = 0
    print(f'1..{len(tests)}', flush=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        running = [pool.submit(run_test, name, test, options)
                   for name, test in tests.items()]
        for number, future in enumerate(
                concurrent.futures.as_completed(running), 1):
            report = future.result()
            report[-1] %= number
            failed += report[-1].startswith('not ok')
            print('\n'.join(report), flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    program.run(main)
