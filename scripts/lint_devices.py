#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Check that each device of QEMU is in replay/replay-devices.h.inc and in
section 7 of docs/replay.txt.

usage: lint_devices.py        (scripts/lint calls it, after scripts/build)

Each device that "qemu-system-x86_64 -device help" lists is in one group of
replay-devices.h.inc, and the other way round, except for the devices that only
another QEMU has: bases/BASE/devices names these.  Section 7 of docs/replay.txt
names each device, and marks a device with an x if replay-devices.h.inc refuses
it.  CPU models are not checked.
"""

import os
import re
import subprocess
import sys

import bases

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
QEMU = os.path.join(bases.Base().build, 'bin/qemu-system-x86_64')
CODE = os.path.join(ROOT, 'replay/replay-devices.h.inc')
DOCUMENT = os.path.join(ROOT, 'docs/replay.txt')
TITLE = 'Other devices\n~~~~~~~~~~~~~\n'


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def built_devices():
    output = subprocess.run([QEMU, '-device', 'help'], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    names = re.findall(r'^name "([^"]+)"', output, re.MULTILINE)
    return {name for name in names if not name.endswith('-x86_64-cpu')}


def only(base):
    """The devices that no other base has, as its file "devices" says."""
    return set(bases.lines(os.path.join(base.folder, 'devices')))


def code_devices():
    """The devices of the table, each with whether it is refused."""
    devices = {}
    for reason, types in re.findall(r'\{ (NULL|"[^"]*"), TYPES\(([^)]*)\) \}',
                                    read(CODE)):
        for name in re.findall(r'"([^"]+)"', types):
            if name in devices:
                sys.exit(f'{name} is twice in {CODE}')
            devices[name] = reason != 'NULL'
    return devices


def expand(words):
    """The names of devices in a row of the document's table."""
    names = set()
    words = re.sub(r'\(also ([^)]*)\)', r'(\1)', words)
    for name, more in re.findall(r'([\w-]+)\s*(\([^)]*\))?', words):
        names.add(name)
        if more:
            names.update(name + suffix
                         for suffix in re.findall(r'-[\w-]+', more))
    for first, last in re.findall(r'([\w-]+)\s+to\s+([\w-]+)', words):
        stem = first.rstrip('0123456789')
        if last.startswith(stem):
            names.update(stem + str(n) for n in range(
                int(first[len(stem):]), int(last[len(stem):]) + 1))
    return names


def document_devices():
    """The names in section 7, and those that it marks with an x."""
    text = read(DOCUMENT)
    section = re.search(r'\n7\. [^\n]*\n-+\n(.*?)\n8\. [^\n]*\n-+\n', text,
                        re.DOTALL).group(1)
    named = expand(section)
    refused = set()
    row = []
    for line in section.split(TITLE, 1)[-1].splitlines():
        mark = re.search(r'\s(x|[vesibh]+\s+(?:run|seen|read))$', line)
        row.append(line)
        if mark:
            if mark.group(1) == 'x':
                refused |= expand(' '.join(row))
            row = []
        elif not line.startswith('    '):
            row = []
    return named, refused


def main():
    wrong = []
    base = bases.Base()
    built = built_devices()
    code = code_devices()
    named, marked = document_devices()

    for name in sorted(built - set(code)):
        wrong.append(f'replay-devices.h.inc lacks {name}')
    others = set().union(*(only(bases.get(name)) for name in bases.names()
                           if name != base.name))
    for name in sorted((set(code) | only(base)) - built - others):
        wrong.append(f'QEMU {base.name} has no device {name}, which '
                     'replay-devices.h.inc or bases/ has')
    for name in sorted(others & built):
        wrong.append(f'QEMU {base.name} has {name}, too, and bases/ says that '
                     'only another one has it')
    for name in sorted(code):
        if name not in named:
            wrong.append(f'section 7 of docs/replay.txt lacks {name}')
        elif code[name] and name not in marked:
            wrong.append(f'section 7 does not say that {name} is refused')
        elif not code[name] and name in marked:
            wrong.append(f'section 7 says that {name} is refused')
    print('\n'.join(wrong))
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
