#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Lay out the prepared QEMU tree: the base, our patches, and our own files.

This script writes only files that differ, so that a rebuild compiles no more
than necessary.  A file that is written into an existing tree gets the current
time; with its own time, ninja would take it for older than its object.  After
an interruption, the next run completes the tree.

The script reads the names of our files from standard input.  scripts/prepare
calls it.
"""

import argparse
import filecmp
import hashlib
import os
import re
import shutil
import subprocess
import sys

import bases

TOUCHED = re.compile(r'^(?:(?:---|\+\+\+) [^/\s]+/|(?:rename|copy) (?:from|to) )'
                     r'([^\t\n]+)', re.MULTILINE)
PATCH_NAME = re.compile(r'[a-z0-9-]+/[a-z0-9.-]+\.patch')

program = 'prepare'                    # what an error message starts with


def die(message, *hints):
    print(f'{program}: error: {message}', *hints, sep='\n    ',
          file=sys.stderr)
    sys.exit(1)


def warn(message):
    print(f'warning: {message}', file=sys.stderr)


def list_tree(top):
    """Names of the files and links below top, except builds in there."""
    names = set()
    for folder, dirs, files in os.walk(top):
        here = os.path.relpath(folder, top)
        for name in list(dirs):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                files.append(name)
                dirs.remove(name)
            elif (name in ('.git', '.pc', '__pycache__') or
                  os.path.exists(os.path.join(path, 'build.ninja'))):
                dirs.remove(name)
        names.update(os.path.normpath(os.path.join(here, f)) for f in files
                     if f != '.git' and not f.endswith('.pyc'))
    return names


def sha256(path):
    with open(path, 'rb') as file:
        return hashlib.sha256(file.read()).hexdigest()


def check_replaced(base, owned, config, update):
    """Compare the QEMU files that ours replace with the hashes we noted."""
    list_path = os.path.join(config.folder, 'replaced.sha256')
    list_name = os.path.relpath(list_path, bases.ROOT)
    found = {name: sha256(os.path.join(base, name)) for name in owned
             if os.path.isfile(os.path.join(base, name))}
    if update:
        with open(list_path + '.tmp', 'w', encoding='utf-8') as file:
            file.writelines(f'{found[n]}  {n}\n' for n in sorted(found))
        os.replace(list_path + '.tmp', list_path)
        print(f'{list_name}: noted {len(found)} files of QEMU')
        return
    known = {}
    if os.path.exists(list_path):
        with open(list_path, encoding='utf-8') as file:
            known = {name: digest for digest, name in
                     (line.split(maxsplit=1) for line in
                      file.read().splitlines() if line.strip())}
    changed = sorted(n for n in found if known.get(n, found[n]) != found[n])
    new = sorted(n for n in found if n not in known)
    if changed:
        warn('***** QEMU has changed files that ours replace:')
        for name in changed:
            warn(f'*****   {name}')
        warn(f'***** compare them with ours (build/{config.name}/base has the '
             'new files), then run scripts/prepare --update-hashes')
    if new:
        warn(f'our files replace files of QEMU that {list_name} does not '
             f'list: {" ".join(new)}')
        warn('scripts/prepare --update-hashes adds them')


def patch_files(folder):
    """Names of the files in folder that are patches, like fix/this.patch."""
    found = set()
    for here, _, files in os.walk(folder):
        found.update(os.path.relpath(os.path.join(here, name), folder)
                     for name in files if name.endswith('.patch'))
    return found


def check_series(names):
    """Each name in patches/series has a file, and each file is named there."""
    folders = {name: os.path.join(bases.FOLDER, name, 'patches')
               for name in bases.names()}
    files = {'patches': patch_files(bases.PATCHES),
             **{os.path.relpath(folder, bases.ROOT): patch_files(folder)
                for folder in folders.values()}}
    for name in names:
        if not any(name in found for found in files.values()):
            die(f'patches/series: there is no file patches/{name}',
                'restore the file or delete the line')
    for folder, found in sorted(files.items()):
        for name in sorted(found - set(names)):
            die(f'{folder}/{name} is not in patches/series',
                'add a line for it where it is to apply, or delete the file')
    for name in bases.names():
        for patch in sorted(bases.get(name).dropped - files['patches']):
            die(f'bases/{name}/series.drop: there is no patches/{patch}',
                'delete the line')


def list_patches(config):
    """Names of the patches of a base, in the order that series gives."""
    path = os.path.join(bases.PATCHES, 'series')
    if not os.path.isfile(path):
        die('there is no patches/series',
            'it lists the patches in the order in which they apply')
    names = []
    for number, (_, name) in enumerate(bases.series(), 1):
        where = f'patches/series, line {number}: '
        if not name:
            continue
        if not PATCH_NAME.fullmatch(name):
            die(f"{where}'{name}' is not the name of a patch",
                'a line is like fix/what-it-does.patch')
        if name in names:
            die(f'{where}{name} is listed twice')
        names.append(name)
    check_series(names)
    return [name for name in names if config.patch_path(name)]


def apply_patches(base, config, patches, owned, stage):
    """Patch copies of the touched files in stage; return the touched names.

    patches are names of patches of the base, in the order in which they apply.
    """
    touched = set()
    for patch in patches:
        path = os.path.relpath(config.patch_path(patch), bases.ROOT)
        text = config.patch_text(patch)
        names = {os.path.normpath(n) for n in TOUCHED.findall(text)}
        names.discard('null')
        ours = sorted(names & owned)
        if ours:
            die(f'{path} changes {ours[0]}, which is ours',
                f'edit {ours[0]} in this repository instead')
        for name in names - touched:
            source = os.path.join(base, name)
            if name.startswith('..') or not os.path.isfile(source):
                continue
            os.makedirs(os.path.dirname(os.path.join(stage, name)),
                        exist_ok=True)
            shutil.copy2(source, os.path.join(stage, name))
        touched |= names
        done = subprocess.run(
            ['patch', '-p1', '-F0', '-N', '-f', '-E', '--no-backup-if-mismatch',
             '-r', '-', '-d', stage],
            input=text, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, encoding='utf-8', errors='replace',
            check=False, env={**os.environ, 'LC_ALL': 'C'})
        if done.returncode:
            print(done.stdout, end='', file=sys.stderr)
            die(f'{path} does not apply to QEMU {config.name} without fuzz',
                'QEMU has changed the lines around it, or an earlier patch '
                'has:',
                f'make it again from build/{config.name}/base with the earlier '
                'patches applied;', 'if only this base needs another patch, '
                f'it is bases/{config.name}/patches/{patch}')
    return touched


def same(have, want, link):
    """Whether the file have already has the content or the link it needs."""
    if link is not None:
        return os.path.islink(have) and os.readlink(have) == link
    if os.path.islink(have) or not os.path.isfile(have):
        return False
    old, new = os.stat(have), os.stat(want)
    if old.st_size != new.st_size or (old.st_mode ^ new.st_mode) & 0o111:
        return False
    return (old.st_mtime_ns == new.st_mtime_ns or
            filecmp.cmp(have, want, shallow=False))


def put(have, want, link, keep_time):
    """Replace the file have by a copy of want or a link, in one step."""
    os.makedirs(os.path.dirname(have), exist_ok=True)
    if os.path.isdir(have) and not os.path.islink(have):
        shutil.rmtree(have)
    temporary = have + '.lay-tmp'
    if os.path.lexists(temporary):
        os.unlink(temporary)
    if link is not None:
        os.symlink(link, temporary)
    else:
        shutil.copy2(want, temporary)
        if not keep_time:
            os.utime(temporary)
    os.replace(temporary, have)


def overlay_path(config, name):
    """Our file that is laid over name in QEMU's tree."""
    own = os.path.join(config.folder, name)
    return own if os.path.lexists(own) else os.path.join(bases.ROOT, name)


def main():
    parser = argparse.ArgumentParser()
    for name in ('base', 'source', 'to'):
        parser.add_argument('--' + name, required=True)
    parser.add_argument('--built', required=True,
                        help='a path that exists once the tree was built')
    parser.add_argument('--update-hashes', action='store_true')
    args = parser.parse_args()

    config = bases.get(args.base)
    owned = set(sys.stdin.read().splitlines())
    check_replaced(args.source, owned, config, args.update_hashes)

    wanted = {}                        # name: (file to copy, text of the link)
    for name in list_tree(args.source):
        path = os.path.join(args.source, name)
        wanted[name] = (path, os.readlink(path) if os.path.islink(path)
                        else None)
    stage = args.to + '.stage'
    shutil.rmtree(stage, ignore_errors=True)
    os.makedirs(stage)
    for name in apply_patches(args.source, config, list_patches(config), owned,
                              stage):
        path = os.path.join(stage, name)
        if os.path.isfile(path):
            wanted[name] = (path, None)
        else:
            wanted.pop(name, None)
    for name in owned:
        folder = os.path.dirname(os.path.join(args.to, name))
        wanted[name] = (None, os.path.relpath(overlay_path(config, name),
                                              folder))

    # Before the first build, files keep the times of the base: then a patch
    # that is added and removed again costs no compilation.
    fresh = not os.path.exists(args.built)
    written = removed = 0
    for name in sorted(list_tree(args.to) if os.path.isdir(args.to)
                       else ()):
        if name not in wanted:
            os.unlink(os.path.join(args.to, name))
            removed += 1
    for name, (source, link) in sorted(wanted.items()):
        have = os.path.join(args.to, name)
        if not same(have, source, link):
            put(have, source, link, fresh)
            written += 1
    shutil.rmtree(stage)
    print(f'build/{config.name}/src: {len(wanted)} files, {len(owned)} of them ours; '
          f'{written} written, {removed} removed')


if __name__ == '__main__':
    main()
