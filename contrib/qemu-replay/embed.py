#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make C strings of the parts of a file.

usage: embed.py FILE

A line "<!-- part: NAME -->" begins the part that becomes the string NAME; what
is before the first part is left out.
"""

import re
import sys


def main():
    name = None
    with open(sys.argv[1], encoding='ascii') as file:
        for line in file:
            begin = re.fullmatch(r'<!-- part: (\w+) -->\n', line)
            if begin:
                if name:
                    print('    ;')
                name = begin.group(1)
                print(f'static const char {name}[] =')
            elif name:
                text = line.rstrip('\n').replace('\\', '\\\\')
                text = text.replace('"', '\\"')
                print(f'    "{text}\\n"')
    print('    ;')


if __name__ == '__main__':
    main()
