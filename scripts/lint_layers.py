#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Check that replay/ is layered as replay/meson.build says.

usage: lint_layers.py includes|references        (scripts/lint calls it)

replay/meson.build lists the files from bottom to top, below headings of the
form "# LAYER: what it is".

includes    no file includes a header of a layer above its own.  The layer of a
            header is that of the file with the same name, and that of the layer
            itself if it is named after one (replay-kinds.h).  A header with a
            name like FILE-internal.h is for the layer of FILE alone.
references  no object file refers to a symbol of an object file of a layer
            above its own, and none of two object files refer to each other,
            directly or through others.  References are those that the linker
            sees; calls through the tables of operations, and callbacks, are
            none.

A file below "# QEMU's own" is not checked.
"""

import glob
import os
import re
import subprocess
import sys

import bases

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
FOLDER = os.path.join(ROOT, 'replay')
QEMU = os.path.join(bases.Base().build, 'qemu')


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def read_layers():
    """Names of the layers, bottom first, and the layer of each C file."""
    layers = []
    layer_of = {}
    for line in read(os.path.join(FOLDER, 'meson.build')).splitlines():
        if "# QEMU's own" in line:
            break
        heading = re.match(r'\s+# (\w+): ', line)
        name = re.match(r"\s+'([\w-]+)\.c',", line)
        if heading:
            layers.append(heading.group(1))
        elif name and layers:
            layer_of[name.group(1)] = len(layers) - 1
    return layers, layer_of


def is_internal(header):
    return header.endswith('-internal')


def layer_of_header(name, layers, layer_of):
    name = name.removesuffix('-internal')
    if name in layer_of:
        return layer_of[name]
    named_after = name.removeprefix('replay-')
    return layers.index(named_after) if named_after in layers else None


def check_includes(layers, layer_of):
    """Yield a line for each header that is included from below it."""
    for file in sorted(os.listdir(FOLDER)):
        name, ending = os.path.splitext(file)
        if ending not in ('.c', '.h') or file.startswith('stubs-'):
            continue
        own = (layer_of.get(name) if ending == '.c' else
               layer_of_header(name, layers, layer_of))
        if own is None:
            if file != 'trace.h':
                yield f'replay/{file} has no layer in replay/meson.build'
            continue
        for header in re.findall(r'^#include "(replay-[\w-]+)\.h"$',
                                 read(os.path.join(FOLDER, file)),
                                 re.MULTILINE):
            layer = layer_of_header(header, layers, layer_of)
            if layer is None:
                yield f'replay/{header}.h has no layer in replay/meson.build'
            elif layer > own:
                yield (f'replay/{file} ({layers[own]}) includes {header}.h '
                       f'({layers[layer]}), which is above it')
            elif is_internal(header) and layer != own:
                yield (f'replay/{file} ({layers[own]}) includes {header}.h, '
                       f'which is only for the layer {layers[layer]}')


def read_symbols(name):
    """The symbols that an object file defines, and those it refers to."""
    paths = glob.glob(os.path.join(QEMU, f'lib*.p/replay_{name}.c.o'))
    if not paths:
        sys.exit(f'{QEMU} has no object of replay/{name}.c: '
                 'run scripts/build first')
    lines = subprocess.run(['nm', paths[0]], check=True, capture_output=True,
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


def check_references(layers, layer_of):
    """Yield a line for each reference that goes up, and for each circle."""
    symbols = {name: read_symbols(name) for name in layer_of}
    graph = {}
    for name, (_, wanted) in symbols.items():
        graph[name] = {}
        for other, (defined, _) in symbols.items():
            if other != name and wanted & defined:
                graph[name][other] = sorted(wanted & defined)
    for name, others in graph.items():
        for other, names in others.items():
            if layer_of[other] > layer_of[name]:
                yield (f'replay/{name}.c ({layers[layer_of[name]]}) refers to '
                       f'{", ".join(names)} of replay/{other}.c '
                       f'({layers[layer_of[other]]}), which is above it')
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
    layers, layer_of = read_layers()
    if len(layer_of) < 2:
        sys.exit('replay/meson.build lists no files below headings')
    faults = list(checks[sys.argv[1]](layers, layer_of))
    print('\n'.join(faults))
    sys.exit(1 if faults else 0)


if __name__ == '__main__':
    main()
