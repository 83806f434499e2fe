#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Assemble guest.S and write guest.h, which netdev-replay-test includes.  The
# header is kept in the tree, so that a build needs no assembler for x86.
#
# usage: assemble-guest.sh [--check]
#
#   --check  write nothing; fail if guest.h is not what guest.S gives
#
# It needs binutils for x86; elsewhere, CROSS_PREFIX=x86_64-linux-gnu- names
# those of a cross compiler.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
as=${CROSS_PREFIX:-}as
nm=${CROSS_PREFIX:-}nm
objcopy=${CROSS_PREFIX:-}objcopy

# Each global symbol, as a constant.
constants() {
    "$nm" --extern-only --format=posix "$1" | LC_ALL=C sort |
        while read -r name _ value _; do
            printf '#define %-20s 0x%x\n' "$name" "0x$value"
        done
}

# array OBJECT SECTION: the bytes of a section.
array() {
    printf '\nstatic const uint8_t %s[] = {\n' "$2"
    "$objcopy" -O binary -j ".$2" "$1" "$1.bin"
    od -An -v -tx1 -w12 "$1.bin" | sed -e 's/ \(..\)/ 0x\1,/g' -e 's/^/   /'
    printf '};\n'
}

header() {
    cat <<'END'
/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Made from guest.S by assemble-guest.sh; do not edit.
 */

#ifndef NETDEV_REPLAY_GUEST_H
#define NETDEV_REPLAY_GUEST_H

END
    constants "$1"
    array "$1" echo_guest
    array "$1" flags_guest
    array "$1" reset_vector
    printf '\n#endif\n'
}

main() {
    local temporary
    temporary=$(mktemp -d)
    # shellcheck disable=SC2064 # the variable is local
    trap "rm -rf '$temporary'" EXIT
    "$as" --32 --fatal-warnings -o "$temporary/guest.o" "$here/guest.S"
    header "$temporary/guest.o" >"$temporary/guest.h"
    case ${1:-} in
    '') cat "$temporary/guest.h" >"$here/guest.h" ;;
    --check)
        diff -u --label guest.h --label 'guest.S, assembled' \
            "$here/guest.h" "$temporary/guest.h" || {
            printf '%s: guest.h is not what guest.S gives; run %s\n' \
                "${0##*/}" "$0" >&2
            return 1
        }
        ;;
    *)
        printf 'usage: %s [--check]\n' "$0" >&2
        return 2
        ;;
    esac
}

main "$@"
