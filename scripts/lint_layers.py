#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Check that replay/ is layered as replay/meson.build says.

usage: lint_layers.py includes|references        (scripts/lint calls it)

replay/meson.build lists the files from bottom to top, below headings of the
form "# FLOOR: what it is".

includes    no file includes a header of a floor above its own.  The floor of a
            header is that of the file with the same name, and that of the floor
            itself if it is named after one (replay-kinds.h).
references  no object file refers to a symbol of an object file of a floor
            above its own, and none of two object files refer to each other,
            directly or through others.  References are those that the linker
            sees; calls through the tables of operations, and callbacks, are
            none.

A file below "# QEMU's own" is not checked.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
FOLDER = os.path.join(ROOT, 'replay')
OBJECTS = os.path.join(ROOT, 'build/qemu/libcommon.fa.p')


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def read_floors():
    """Names of the floors, bottom first, and the floor of each C file."""
    floors = []
    floor_of = {}
    for line in read(os.path.join(FOLDER, 'meson.build')).splitlines():
        if "# QEMU's own" in line:
            break
        heading = re.match(r'\s+# (\w+): ', line)
        name = re.match(r"\s+'([\w-]+)\.c',", line)
        if heading:
            floors.append(heading.group(1))
        elif name and floors:
            floor_of[name.group(1)] = len(floors) - 1
    return floors, floor_of


def floor_of_header(name, floors, floor_of):
    if name in floor_of:
        return floor_of[name]
    named_after = name.removeprefix('replay-')
    return floors.index(named_after) if named_after in floors else None


def check_includes(floors, floor_of):
    """Yield a line for each header that is included from below it."""
    for file in sorted(os.listdir(FOLDER)):
        name, ending = os.path.splitext(file)
        if ending not in ('.c', '.h') or file.startswith('stubs-'):
            continue
        own = (floor_of.get(name) if ending == '.c' else
               floor_of_header(name, floors, floor_of))
        if own is None:
            if file != 'trace.h':
                yield f'replay/{file} has no floor in replay/meson.build'
            continue
        for header in re.findall(r'^#include "(replay-[\w-]+)\.h"$',
                                 read(os.path.join(FOLDER, file)),
                                 re.MULTILINE):
            floor = floor_of_header(header, floors, floor_of)
            if floor is None:
                yield f'replay/{header}.h has no floor in replay/meson.build'
            elif floor > own:
                yield (f'replay/{file} ({floors[own]}) includes {header}.h '
                       f'({floors[floor]}), which is above it')


def read_symbols(name):
    """The symbols that an object file defines, and those it refers to."""
    path = os.path.join(OBJECTS, f'replay_{name}.c.o')
    if not os.path.exists(path):
        sys.exit(f'{path} does not exist: run scripts/build first')
    lines = subprocess.run(['nm', path], check=True, capture_output=True,
                           text=True).stdout.splitlines()
    symbols = [line.split()[-2:] for line in lines]
    return ({name for kind, name in symbols if kind.isupper() and kind != 'U'},
            {name for kind, name in symbols if kind == 'U'})


def reachable(graph, start):
    found = set()
    todo = list(graph[start])
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += graph[name]
    return found


def check_references(floors, floor_of):
    """Yield a line for each reference that goes up, and for each circle."""
    symbols = {name: read_symbols(name) for name in floor_of}
    graph = {}
    for name, (_, wanted) in symbols.items():
        graph[name] = {}
        for other, (defined, _) in symbols.items():
            if other != name and wanted & defined:
                graph[name][other] = sorted(wanted & defined)
    for name, others in graph.items():
        for other, names in others.items():
            if floor_of[other] > floor_of[name]:
                yield (f'replay/{name}.c ({floors[floor_of[name]]}) refers to '
                       f'{", ".join(names)} of replay/{other}.c '
                       f'({floors[floor_of[other]]}), which is above it')
    reaches = {name: reachable(graph, name) for name in graph}
    for name in sorted(graph):
        circle = sorted(other for other in reaches[name]
                        if name in reaches[other])
        if circle and circle[0] == name:
            yield 'these files refer to each other: ' + ', '.join(circle)


def main():
    checks = {'includes': check_includes, 'references': check_references}
    if len(sys.argv) != 2 or sys.argv[1] not in checks:
        sys.exit(__doc__)
    floors, floor_of = read_floors()
    if len(floor_of) < 2:
        sys.exit('replay/meson.build lists no files below headings')
    faults = list(checks[sys.argv[1]](floors, floor_of))
    print('\n'.join(faults))
    sys.exit(1 if faults else 0)


if __name__ == '__main__':
    main()
