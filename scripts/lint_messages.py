#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Check that section 9 of docs/replay.txt lists the messages of our code.

usage: lint_messages.py        (scripts/lint calls it)

A literal is a string that the code passes to one of FUNCTIONS, returns, or
assigns to a variable.  "..." stands for each conversion (%s) in it.  The code
is that of the project's own C files, and the lines that patches add.  Hints
(error_append_hint, error_printf) are not checked: they follow a message, and
the explanation of its entry says what they say.

An entry is an indented line of section 9 below a line that has only "::".

- Each entry fits a literal: it is the literal, in which a "..." may be replaced
  by a string of the code, or by a text that fits another literal.
- Each literal is in an entry: whole messages, and texts of several words that
  replace a "...".
- A paragraph that explains the entries follows them.
"""

import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
DOCUMENT = 'docs/replay.txt'
SOURCES = ['replay/*.c', 'net/*.c', 'stubs/*.c']
PATCHES = ['patches/*/*.patch', 'bases/*/patches/*/*.patch']

# The first string in a call is a message; others replace a %s in it.
FUNCTIONS = ['error_report', 'error_reportf_err', 'error_set', 'error_setg',
             'error_setg_errno', 'info_report', 'replay_diverge',
             'replay_fail', 'replay_log_bad', 'replay_log_report',
             'replay_log_unknown', 'replay_net_drop', 'SystemExit',
             'warn_report', 'warn_report_once', 'warn_reportf_err']
# These functions add a text behind the message.
CONTINUED = ['error_reportf_err', 'error_setg_errno', 'warn_reportf_err']

# A C call ends with ";", and the string of a Python call with " % ".
STRING = r'"(?:[^"\\\n]|\\.)*"'
STRINGS = rf'{STRING}(?:\s*(?:{STRING}|PRI\w+))*'
CALL = (rf'\b({"|".join(map(re.escape, FUNCTIONS))})'
        rf'\(((?:[^";]|{STRING})*?)(?:;| % )')
VALUE = rf'\b(?:return|\w+(?:\[\])? =)\s*({STRINGS});'
CONVERSION = r'%[-#0 ]*\d*(?:\.\d+)?(?:hh|h|ll|l|j|t|z)?[a-zA-Z]'


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def read_code():
    for pattern in SOURCES:
        for path in sorted(glob.glob(os.path.join(ROOT, pattern))):
            yield read(path)
    for pattern in PATCHES:
        for path in sorted(glob.glob(os.path.join(ROOT, pattern))):
            yield '\n'.join(re.findall(r'^\+(.*)', read(path), re.MULTILINE))


def join_strings(strings):
    """Adjacent C strings as one text, with "..." for each conversion."""
    text = re.sub(r'PRI\w+', '"d"', strings)
    text = ''.join(part[1:-1] for part in re.findall(STRING, text))
    text = re.sub(CONVERSION, '...', text.replace('\\n', ''))
    return re.sub(r'\.{4,}', '...', text)


def find_literals(code):
    """The messages in the code, and the texts that replace a "..." in them."""
    messages = set()
    replacements = [join_strings(s) for s in re.findall(VALUE, code)]
    for function, arguments in re.findall(CALL, code):
        texts = [join_strings(s) for s in re.findall(STRINGS, arguments)]
        if texts and function in CONTINUED:
            texts[0] = texts[0].removesuffix(': ') + ': ...'
        messages.update(texts[:1])
        replacements += texts[1:]
    messages.update(text for text in replacements if ' ' in text)
    return messages - {'...'}


def find_entries(document):
    """The entries, and those that no paragraph explains."""
    section = re.search(r'^9\. [^\n]*\n---.*', document,
                        re.MULTILINE | re.DOTALL).group()
    blocks = re.findall(r'^::\n\n((?: {4}.+\n)+)\n*(?=(.*(?:\n.*)?))',
                        section, re.MULTILINE)
    entries = [line[4:] for block, _ in blocks for line in block.splitlines()]
    unexplained = [block.splitlines()[-1][4:] for block, after in blocks
                   if not after or re.match('::|.*\n[-~]{3}', after)]
    return entries, unexplained


def fits(text, literals, strings, used):
    """Does the text fit a literal?  Adds those that it fits to @used."""
    found = False
    for literal in literals:
        pattern = '(.+?)'.join(map(re.escape, literal.split('...')))
        match = re.fullmatch(pattern, text)
        if match and all(
                group in strings or fits(group, literals, strings, used)
                for group in match.groups()):
            used.update([literal, *match.groups()])
            found = True
    return found


def check(code, document):
    """Yield a line for each message or entry that lacks the other."""
    literals = find_literals(code)
    strings = {text[1:-1] for text in re.findall(STRING, code)} | {'...'}
    entries, unexplained = find_entries(document)
    used = set()
    for entry in entries:
        if not fits(entry, literals, strings, used):
            yield f'{DOCUMENT} lists a message that is not in the code: {entry}'
    for literal in sorted(literals - used):
        yield f'{DOCUMENT} does not list the message: {literal}'
    for entry in unexplained:
        yield f'{DOCUMENT} does not explain the message: {entry}'


def main():
    if len(sys.argv) != 1:
        sys.exit(__doc__)
    faults = list(check('\n'.join(read_code()),
                        read(os.path.join(ROOT, DOCUMENT))))
    print('\n'.join(faults))
    sys.exit(1 if faults else 0)


if __name__ == '__main__':
    main()
