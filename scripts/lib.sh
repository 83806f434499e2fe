# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Functions that the scripts share: paths, messages, long steps that show their
# progress, packages.  This file is sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
BUILD=$ROOT/build
BASES=$ROOT/bases
# The folders that mirror QEMU's; a file in one of them is laid over QEMU's tree.
OVERLAY_DIRS=(contrib docs include net replay stubs tests/data/replay tests/fuzz
    tests/qtest tests/unit)

say() {
    printf '%s\n' "$*"
}

warn() {
    printf 'warning: %s\n' "$*" >&2
}

# die MESSAGE [HINT...]: print the mistake and what to do about it, and exit
die() {
    printf '%s: error: %s\n' "${0##*/}" "$1" >&2
    shift
    [ $# -eq 0 ] || printf '    %s\n' "$@" >&2
    exit 1
}

# The names of all bases (folders of bases/), the oldest QEMU first.
base_names() {
    find "$BASES" -mindepth 2 -maxdepth 2 -name source -printf '%h\n' | sort -V |
        sed 's,.*/,,'
}

# The base of this machine's Debian release; of another system, the newest one.
default_base() {
    local name release newest=
    release=$(sed -n 's/^VERSION_ID="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' /etc/os-release 2>/dev/null)
    while read -r name; do
        newest=$name
        if [ "$release" = "$(base_value "$name" debian)" ]; then
            break
        fi
    done < <(base_names)
    printf '%s' "$newest"
}

# base_value BASE NAME: print a value from bases/BASE/source
base_value() {
    sed -n "s/^$2=\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" "$BASES/$1/source"
}

# choose_base NAME: work with this QEMU, as do all scripts called from here.  Sets
# BASE (its name), OWN (the folder of what is ours and differs there), TREE (the
# folder in build/ of all that is made for it) and LOGS.
choose_base() {
    [ -n "$1" ] && [ -f "$BASES/$1/source" ] ||
        die "no base '$1'" "one of: $(base_names | tr '\n' ' ')"
    BASE=$1
    OWN=$BASES/$1
    TREE=$BUILD/$1
    LOGS=$TREE/logs
    export REPLAY_BASE=$1
}

# usage FILE: print the comment that opens FILE
usage() {
    sed -n '4,/^[^#]/s/^# \{0,1\}//p' "$1"
}

# Our own files that are laid over QEMU's tree: those below OVERLAY_DIRS, at the
# top and in the folder of the base.  Sorted, one a line, named as in QEMU's tree.
overlay_files() {
    local top dir
    for top in "$ROOT" "$OWN"; do
        (
            cd "$top" || exit
            for dir in "${OVERLAY_DIRS[@]}"; do
                [ ! -d "$dir" ] || find "$dir" \
                    -name __pycache__ -prune -o \
                    \( -type f -o -type l \) \
                    ! -name '.*' ! -name '*~' ! -name '#*' \
                    ! -name '*.orig' ! -name '*.rej' ! -name '*.pyc' -print
            done
        )
    done | LC_ALL=C sort -u
}

# overlay_path NAME: print the path of our file of this name
overlay_path() {
    if [ -e "$OWN/$1" ]; then
        printf '%s' "$OWN/$1"
    else
        printf '%s' "$ROOT/$1"
    fi
}

# The name of this machine's Debian release, such as bookworm.
codename() {
    sed -n 's/^VERSION_CODENAME=//p' /etc/os-release
}

# The machine's own sources of its Debian release, one a line, as
# OPTION|URI|RELEASE|CODENAME.  OPTION ends with a space, or is empty.
# shellcheck disable=SC2016 # the format is apt's, not the shell's
machine_sources() {
    local codename uri release dist component keyring
    local default_keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    local format='$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(COMPONENT)|$(SIGNED_BY)'
    codename=$(codename)
    apt-get indextargets --format "$format" 'Created-By: Packages' |
        LC_ALL=C sort -u |
        while IFS='|' read -r uri release dist component keyring; do
            case $codename:$release:$dist in
            *:"$codename":* | *:"$codename"-updates:* | *:"$codename"-security:*) ;;
            *:stable*:"$codename"* | *:oldstable*:"$codename"*) ;;
            *) continue ;;
            esac
            [ "$component" = main ] || continue
            # apt leaves $(SIGNED_BY) unexpanded when there is no such option
            [ -f "$keyring" ] || keyring=$default_keyring
            if [ -f "$keyring" ]; then
                keyring="[signed-by=$keyring] "
            else
                keyring=
            fi
            printf '%s|%s|%s|%s\n' "$keyring" "$uri" "$release" "$dist"
        done
}

# Only one script at a time works in build/; a second one waits.  A script that
# the holder of the lock has called continues.
lock_build() {
    [ "${BUILD_LOCKED_BY_PARENT:-}" != "$BUILD" ] || return 0
    mkdir -p "$BUILD"
    exec 9>"$BUILD/.lock"
    if ! flock -n 9; then
        say "waiting for another build in $BUILD"
        flock 9
    fi
    export BUILD_LOCKED_BY_PARENT=$BUILD
}

# Print the last line of LOG at intervals while the process PARENT lives.
show_progress() {
    local label=$1 log=$2 parent=$3 line='' shown='' waited=0
    while kill -0 "$parent" 2>/dev/null; do
        sleep 1 9>&-
        waited=$((waited + 1))
        line=$(tail -c 400 "$log" 2>/dev/null | tr '\r' '\n' | tail -n 1 |
            tr -cd '[:print:]' | cut -c 1-100)
        if [ -t 1 ]; then
            printf '\r\033[K  %s %ss: %.70s' "$label" "$waited" "$line"
        elif [ $((waited % 10)) -eq 0 ] && [ "$line" != "$shown" ]; then
            printf '  %s %ss: %s\n' "$label" "$waited" "$line"
            shown=$line
        fi
    done
}

# run COMMAND...: run a command that a signal to this script ends, too.  bash runs
# a trap only after a command in the foreground, so this waits for one in the
# background; it has a process group of its own, with all that it starts.
CHILD=
run() {
    local status=0
    set -m
    "$@" &
    CHILD=$!
    set +m
    wait "$CHILD" || status=$?
    CHILD=
    return "$status"
}

end_by_signal() {
    trap - EXIT "$1"
    [ -z "$CHILD" ] || kill -TERM -- "-$CHILD" 2>/dev/null || true
    stop_progress
    kill -s "$1" $$
}
trap 'end_by_signal HUP' HUP
trap 'end_by_signal INT' INT
trap 'end_by_signal TERM' TERM

PROGRESS_PID=
stop_progress() {
    [ -n "$PROGRESS_PID" ] || return 0
    kill "$PROGRESS_PID" 2>/dev/null || true
    wait "$PROGRESS_PID" 2>/dev/null || true
    PROGRESS_PID=
    [ ! -t 1 ] || printf '\r\033[K'
}
trap stop_progress EXIT

# try_step LABEL COMMAND...: run a long command with its output in a log, and show
# the last line of the log meanwhile.  Returns the command's status.
try_step() {
    local label=$1 log status=0 start=$SECONDS
    shift
    log=$(log_of "$label")
    mkdir -p "$LOGS"
    : >"$log"
    say "$label"
    show_progress "$label" "$log" $$ 9>&- &
    PROGRESS_PID=$!
    run "$@" >"$log" 2>&1 </dev/null || status=$?
    stop_progress
    [ "$status" -ne 0 ] || say "  done in $((SECONDS - start)) s"
    return "$status"
}

log_of() {
    printf '%s/%s.log' "$LOGS" "${1//[^A-Za-z0-9.+-]/-}"
}

# step LABEL COMMAND...: like try_step, but exit if the command fails
step() {
    local log
    log=$(log_of "$1")
    if ! try_step "$@"; then
        # the first error of a compiler says more than the last lines
        if grep -q '^FAILED: ' "$log"; then
            grep -m 1 -A 40 '^FAILED: ' "$log" >&2
        else
            tail -n 40 "$log" >&2
        fi
        die "$1: failed" "whole log: $log"
    fi
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" \
            = installed ] || printf '%s\n' "$package"
    done
}

# need_packages PURPOSE PACKAGE...: install the packages that are missing
need_packages() {
    local purpose=$1 missing apt
    shift
    if ! command -v dpkg-query >/dev/null; then
        warn "not a Debian system: assuming that the packages for $purpose are installed"
        return 0
    fi
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing for $purpose: ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "these packages are missing" \
            "this user is not root, and there is no sudo; as root, run:" \
            "apt-get install --no-install-recommends ${missing[*]}"
        sudo -v || die "sudo was refused"
    fi
    apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q
        -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
    # a new machine has no package lists, and the lists of an old one are stale
    if ! have_candidates "${missing[@]}" ||
        ! try_step "install packages for $purpose" as_root "${apt[@]}" \
            install -y --no-install-recommends "${missing[@]}"; then
        step "update the package lists" as_root "${apt[@]}" update
        step "install packages for $purpose" as_root "${apt[@]}" \
            install -y --no-install-recommends "${missing[@]}"
    fi
}

have_candidates() {
    local policy
    policy=$(LC_ALL=C apt-cache policy "$@" 2>/dev/null) || return 1
    [ "$(grep -c '^  Candidate: [^(]' <<<"$policy")" -eq $# ]
}

choose_base "${REPLAY_BASE:-$(default_base)}"
