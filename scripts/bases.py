# SPDX-License-Identifier: GPL-2.0-or-later
"""The QEMUs that we support, each with a folder below bases/.

A folder has what differs in that QEMU; all else is common to the bases:

    source           lines NAME=VALUE, which the scripts read, too:
                         debian    the release of Debian that has this QEMU
                         suite     its name in Debian's archive
                         min, max  versions that our change fits: min <= V < max
                         meson     the oldest meson that can build it
                         packages  more Debian packages that a build needs
                         configure more arguments for configure
                         nics     NICs that only this QEMU has, for the tests
                         pads     "yes" if its NICs pad short frames
    paths            names of files and in the text of common patches that are
                     others here; without this file, none are
    devices          the devices that only this QEMU has
    replaced.sha256  the files of this QEMU that ours replace
    patches/         patches that differ here: each takes the place of the
                     common patch of the same name, or has no common one
    series.drop      common patches that are not needed here
    include/, ...    our files that differ here or exist here only; like ours
                     at the top, they are laid over QEMU's tree

patches/series has the names of all patches.  A base applies those for which it
finds a file: its own, or the common one.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
FOLDER = os.path.join(ROOT, 'bases')
PATCHES = os.path.join(ROOT, 'patches')


def names():
    """The names of all bases, the oldest QEMU first."""
    found = [name for name in os.listdir(FOLDER)
             if os.path.isfile(os.path.join(FOLDER, name, 'source'))]
    return sorted(found, key=lambda name: [int(n) for n in name.split('.')])


def get(name):
    """The base of this name."""
    return Base(name)


def choose(arguments):
    """Take --base NAME out of the arguments of a script.

    This QEMU is then the one that Base() gives, here and in all programs that
    the script calls.
    """
    for number, argument in enumerate(arguments):
        if argument == '--base' and number + 1 < len(arguments):
            name = arguments[number + 1]
            del arguments[number:number + 2]
        elif argument.startswith('--base='):
            name = argument.partition('=')[2]
            del arguments[number]
        else:
            continue
        os.environ['REPLAY_BASE'] = get(name).name
        return


def lines(path):
    """The lines of a file without comments, none if there is no file."""
    if not os.path.isfile(path):
        return []
    with open(path, encoding='utf-8') as file:
        return [line.strip() for line in file
                if line.strip() and not line.startswith('#')]


def series():
    """All lines of patches/series, each with its patch, None for others."""
    with open(os.path.join(PATCHES, 'series'), encoding='utf-8') as file:
        for line in file:
            name = line.strip()
            yield line, None if not name or name[0] == '#' else name


class Base:
    """One of the QEMUs that we support."""

    def __init__(self, name=None):
        self.name = name or os.environ.get('REPLAY_BASE') or self.default()
        if self.name not in names():
            raise SystemExit(f"error: no base '{self.name}'; "
                             f"one of: {' '.join(names())}")
        self.folder = os.path.join(FOLDER, self.name)
        self.build = os.path.join(ROOT, 'build', self.name)
        self.source = dict(
            re.fullmatch(r'(\w+)="?(.*?)"?', line).groups()
            for line in lines(os.path.join(self.folder, 'source')))
        self.dropped = set(lines(os.path.join(self.folder, 'series.drop')))
        self.paths = [line.split() for line in
                      lines(os.path.join(self.folder, 'paths'))]
        words = [(r'\b' if old[0].isalnum() else '') + re.escape(old) +
                 (r'\b' if old[-1].isalnum() else '') for old, _ in self.paths]
        self.words = re.compile('|'.join(words)) if words else None

    @staticmethod
    def default():
        """The base of this machine's Debian release; scripts/lib.sh knows."""
        script = os.path.join(ROOT, 'scripts', 'lib.sh')
        return subprocess.run(['bash', '-c', '. "$1" && printf %s "$BASE"',
                               'bash', script], check=True, encoding='utf-8',
                              stdout=subprocess.PIPE).stdout

    def patch_path(self, name):
        """The file of a patch in this base, None if it is not applied here."""
        own = os.path.join(self.folder, 'patches', name)
        if os.path.isfile(own):
            return own
        common = os.path.join(PATCHES, name)
        if name not in self.dropped and os.path.isfile(common):
            return common
        return None

    def renamed(self, text):
        """The text of a common patch with the names that are used here."""
        if not self.words:
            return text
        new = dict(self.paths)
        return self.words.sub(lambda match: new[match.group()], text)

    def patch_text(self, name):
        """The text of a patch as it is applied here."""
        path = self.patch_path(name)
        with open(path, encoding='utf-8') as file:
            text = file.read()
        own = path.startswith(self.folder + os.sep)
        return text if own else self.renamed(text)

    def export(self, folder):
        """Write the patches that are applied here, and their series."""
        with open(os.path.join(folder, 'series'), 'w',
                  encoding='utf-8') as file:
            for line, name in series():
                if name and not self.patch_path(name):
                    continue
                file.write(line)
                if name:
                    path = os.path.join(folder, name)
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with open(path, 'w', encoding='utf-8') as patch:
                        patch.write(self.patch_text(name))


if __name__ == '__main__':
    # scripts/export-series and scripts/lint call this
    if sys.argv[1] == 'export':
        Base().export(sys.argv[2])
