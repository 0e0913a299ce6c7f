# Helpers for the test-*.sh scripts.  -*- shell-script -*-
#
# A test is run by "make check" in the build's tests/ directory, where
# configure has put env.sh.  It sources this file, and gets
#
#   $tmp            a directory of its own, removed at exit
#   start_source    an nbdkit that plays the remote source
#   start_clone     an nbdkit with the clone filter
#   start_nbdkit    any other nbdkit
#   start_server    a server that is not nbdkit
#   start_proxy     a bad network in front of the source; see proxy.py
#   nbdclone        the command; refuse says what it must not do
#   start_run       "nbdclone run", until the disk can be used
#   stop, kill9     their two ends: in order, and by SIGKILL
#   wait_until      the only way in which a test waits
#   nbd             Python with "h" connected to a server; see helpers.py
#   fail            the end of a test that has failed
#
# A test says mounts=yes before if it wants to mount:
#
#   mount_tmpfs     a file system of a given size, at $tmp/fs
#
# Whatever a test forgets to look at is looked at when it exits: no nbdkit may
# have been ended by a signal that the test did not send, and no sanitizer may
# have said anything.  What the servers printed is shown when a test fails.

# shellcheck shell=bash

set -eu -o pipefail

# shellcheck disable=SC1091
. ./env.sh
: "${srcdir:=.}"
: "${SANITIZER:=none}" "${SANITIZER_PRELOAD:=}" "${SANITIZER_WRAPPER:=}"
: "${CLONE_FILTER:?is not set by env.sh}"

# A test that mounts is run again where nobody else sees its mounts, and where
# they end with it.  Who is not root is root there, but nobody can write what its
# mode forbids.
if test -n "${mounts:-}" && test -z "${in_namespace:-}"; then
    as_root=()
    if test "$(id -u)" -ne 0; then as_root=(--map-root-user); fi
    in_namespace=yes exec unshare --mount "${as_root[@]}" \
        setpriv --bounding-set=-dac_override "$BASH" "$0"
fi

# Sockets live here, and the path of one has at most 107 bytes: /tmp, always.
# Sanitizers leave their reports here too.
tmp=$(mktemp -d /tmp/nbdclone.XXXXXX)
for options in ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS; do
    if test -n "${!options:-}"; then
        export "$options=${!options//${SANITIZER_LOG:-,}/$tmp/sanitizer}"
    fi
done

# Messages are compared, so they must come in one language; and LD_PRELOAD and
# the like must not come from whoever runs the tests.
export LC_ALL=C
unset LD_PRELOAD PYTHONPATH
export PYTHONDONTWRITEBYTECODE=1

# "nbdclone run" starts this, with the sanitizer's runtime as set_nbdkit_command
# has it.
if test -n "$SANITIZER_PRELOAD"; then
    printf '#!/bin/sh\nexec %s env LD_PRELOAD="%s" nbdkit "$@"\n' \
           "$SANITIZER_WRAPPER" "$SANITIZER_PRELOAD" >"$tmp/nbdkit"
    chmod +x "$tmp/nbdkit"
    export NBDKIT=$tmp/nbdkit
fi

bitmap=$tmp/bitmap
source_uri="nbd+unix:///?socket=$tmp/source.sock"
clone_uri="nbd+unix:///?socket=$tmp/clone.sock"
map_uri="nbd+unix:///hydration?socket=$tmp/clone.sock"
export tmp source_uri clone_uri map_uri         # for helpers.py

# Sanitizers make the servers slower, and a loaded machine does too: bounds
# are there to end a hang, and are generous.
bound=60
if test "$SANITIZER" != none; then bound=180; fi

# What a test may leave to at_exit: servers that have gone to the background by
# themselves, loop devices, a FUSE mount.
daemons=()
loops=()
mounted=
# A command that runs the next server that has our modules.
under=()
declare -A pid_of=()            # name -> pid of each server that runs

note () { echo "${0##*/}: $*"; }

fail ()
{
    echo "${0##*/}: FAIL: $*"
    exit 1
}

# wait_until [-t SECONDS] COMMAND...: run it again and again until it succeeds.
wait_until ()
{
    local seconds=$bound end
    if test "$1" = -t; then seconds=$2; shift 2; fi
    end=$(( ${EPOCHREALTIME/.} + seconds * 1000000 ))
    until "$@"; do
        test "${EPOCHREALTIME/.}" -lt "$end" ||
            fail "after $seconds s still not true: $*"
        sleep 0.02
    done
}

# Seconds since $1, an earlier value of $EPOCHREALTIME, in milliseconds.
ms_since () { echo $(( (${EPOCHREALTIME/.} - ${1/.}) / 1000 )); }

# Whether server $1 does not run any more.
gone () { ! kill -0 "${pid_of[$1]}" 2>/dev/null; }
is_ready () { test -s "$tmp/$1.pid" || gone "$1"; }

# The words that run nbdkit, in "nbdkit_command": with the sanitizer's runtime
# if $1 is "clone", since only our own modules have been built with it.
set_nbdkit_command ()
{
    nbdkit_command=(nbdkit)
    test "$1" = clone || return 0
    if test -n "$SANITIZER_PRELOAD"; then
        # SANITIZER_WRAPPER is a command and its arguments, or nothing.
        # shellcheck disable=SC2206
        nbdkit_command=($SANITIZER_WRAPPER env
                        "LD_PRELOAD=$SANITIZER_PRELOAD" nbdkit)
    fi
    nbdkit_command=("${under[@]}" "${nbdkit_command[@]}")
}

# launch NAME KIND ARGS...: start nbdkit in the background.  It listens on
# $tmp/NAME.sock, or wherever the ARGS say.  What it prints is added to
# $tmp/NAME.err.
launch ()
{
    local name=$1 kind=$2
    shift 2
    rm -f "$tmp/$name.pid" "$tmp/$name.sock"
    set_nbdkit_command "$kind"
    "${nbdkit_command[@]}" -f -P "$tmp/$name.pid" -U "$tmp/$name.sock" "$@" \
        </dev/null >>"$tmp/$name.err" 2>&1 &
    pid_of[$name]=$!
}

# start_nbdkit NAME ARGS...: start it, and wait until it listens.
start_nbdkit ()
{
    local name=$1
    shift
    launch "$name" "${start_as:-other}" "$@"
    wait_until is_ready "$name"
    test -s "$tmp/$name.pid" || fail "nbdkit ($name) did not start: $*"
}

# Whether somebody listens on a Unix socket, without bothering them.
is_listening () { grep -q "^[^ ]* [^ ]* 0* 00010000 .* $1\$" /proc/net/unix; }
is_listening_or_gone () { is_listening "$tmp/$1.sock" || gone "$1"; }

# start_server NAME COMMAND...: start a server that stays in the foreground, and
# wait until it listens on $tmp/NAME.sock.
start_server ()
{
    local name=$1
    shift
    rm -f "$tmp/$name.sock"
    "$@" </dev/null >>"$tmp/$name.err" 2>&1 &
    pid_of[$name]=$!
    wait_until is_listening_or_gone "$name"
    if gone "$name"; then fail "$name did not start: $*"; fi
}

# start_proxy: from now on $source_uri is the near end of a line to the source.
# proxy COMMAND...: steer it; see proxy.py.
start_proxy ()
{
    start_server proxy /usr/bin/python3 "$srcdir/proxy.py" "$tmp/proxy.sock" \
                 "$tmp/source.sock" "$tmp/line.sock"
    source_uri="nbd+unix:///?socket=$tmp/proxy.sock"
}
proxy ()
{
    python -c 'import sys, helpers; print(helpers.tell_proxy(*sys.argv[1:]))' \
           "$@" >"$tmp/proxy.said" || fail "the proxy does not answer"
}

# start_source [OPTIONS] PLUGIN ARGS...: a server for $source_uri.  One thread a
# connection: with more, nbdkit 1.32.5 dies of an assertion (raw_send_socket)
# now and then, when a client is killed that has several requests in flight.
start_source () { start_nbdkit source -t 1 "$@"; }

# start_clone [OPTIONS] PLUGIN ARGS...: nbdkit with the clone filter on top of
# the OPTIONS' other filters and of PLUGIN, the destination.
start_clone ()
{
    local start_as=clone
    start_nbdkit clone --filter="$CLONE_FILTER" "$@" \
                 clone-source="$source_uri" clone-bitmap="$bitmap"
}

# refuse_clone PATTERN ARGS...: as start_clone, or with all of nbdkit's
# arguments after "--", but the server has to refuse: exit status 1, and a line
# in what it prints matches the extended regular expression PATTERN.
refuse_clone ()
{
    local pattern=$1 status=0
    shift
    if test "$1" = --; then
        shift
    else
        set -- --filter="$CLONE_FILTER" "$@" \
            clone-source="$source_uri" clone-bitmap="$bitmap"
    fi
    set_nbdkit_command clone
    rm -f "$tmp/refused.sock"
    timeout "$bound" "${nbdkit_command[@]}" -f -U "$tmp/refused.sock" "$@" \
        </dev/null >"$tmp/refused.err" 2>&1 || status=$?
    cat "$tmp/refused.err" >>"$tmp/all-refused.err"
    test "$status" -eq 1 || fail "exit status $status, not 1: nbdkit $*"
    grep -Eq -- "$pattern" "$tmp/refused.err" || {
        cat "$tmp/refused.err"
        fail "no line matches '$pattern': nbdkit $*"
    }
    # nbdkit's own parsers of numbers print a line, too.
    test "$(wc -l <"$tmp/refused.err")" -le 2 || {
        cat "$tmp/refused.err"
        fail "more than a line: nbdkit $*"
    }
}

# nbdclone ARGS...: the command, with its servers' sockets in $tmp/nbdclone.
nbdclone () { XDG_RUNTIME_DIR=$tmp "$NBDCLONE" "$@"; }

# start_run ARGS...: "nbdclone run" in the background, until it serves, with
# what it prints in $tmp/run.out and $tmp/run.err.  Its name for stop and the
# like is "run".
start_run ()
{
    nbdclone_in_background run run "$@"
    wait_until says_or_gone run 'the disk is'
    if gone run; then fail "nbdclone run $* did not start"; fi
}
nbdclone_in_background ()
{
    local name=$1
    shift
    : >"$tmp/$name.out"         # now: what it said before counts no more
    XDG_RUNTIME_DIR=$tmp "$NBDCLONE" "$@" </dev/null >"$tmp/$name.out" \
                   2>>"$tmp/$name.err" &
    pid_of[$name]=$!
}
says_or_gone () { grep -q "$2" "$tmp/$1.out" || gone "$1"; }

# The server that nbdclone has started for a name, once it serves.
server_of ()
{
    python -c 'from helpers import *
print(Control("nbdclone/%s.control" % sys.argv[1]).peer())' "$1"
}

# refuse STATUS PATTERN ARGS...: nbdclone has to exit with this status, print
# nothing on stdout, and say something on stderr that matches the extended
# regular expression.
refuse ()
{
    local wanted=$1 pattern=$2 status=0
    shift 2
    XDG_RUNTIME_DIR=$tmp timeout "$bound" "$NBDCLONE" "$@" \
        </dev/null >"$tmp/refused.out" 2>"$tmp/refused.err" || status=$?
    cat "$tmp/refused.err" >>"$tmp/all-refused.err"
    test "$status" -eq "$wanted" || {
        cat "$tmp/refused.err"
        fail "exit status $status, not $wanted: nbdclone $*"
    }
    grep -Eq -- "$pattern" "$tmp/refused.err" || {
        cat "$tmp/refused.err"
        fail "no line matches '$pattern': nbdclone $*"
    }
    test ! -s "$tmp/refused.out" || {
        cat "$tmp/refused.out"
        fail "something on stdout: nbdclone $*"
    }
}

# finish NAME: wait until a server that was told to stop has done so, and
# return its exit status.
finish ()
{
    local status=0
    wait_until gone "$1"
    wait "${pid_of[$1]}" || status=$?
    unset "pid_of[$1]"
    return "$status"
}

# stop NAME: SIGTERM.  Its clients must have gone.
stop ()
{
    local status=0
    kill -TERM "${pid_of[$1]}"
    finish "$1" || status=$?
    test "$status" -eq 0 || fail "nbdkit ($1) stopped with status $status"
}

# kill9 NAME: no more than the page cache survives this.
kill9 ()
{
    local status=0
    kill -KILL "${pid_of[$1]}"
    finish "$1" 2>/dev/null || status=$?
    test "$status" -eq 137 || fail "nbdkit ($1) had ended with status $status"
}

# python ARGS...: Debian's, which has the nbd module.
python ()
{
    PYTHONPATH="$srcdir" bound="$bound" timeout $((2 * bound)) \
        /usr/bin/python3 "$@"
}

# nbd URI CODE ARGS...: run Python code with "h" connected to URI,
# base:allocation negotiated, and everything from helpers.py at hand.
nbd ()
{
    local uri=$1 code=$2
    shift 2
    python -c "from helpers import *
h = connect('$uri')
$code" "$@" || fail "Python has failed"
}

# Bytes that the map export says are hydrated.
hydrated_bytes ()
{
    nbdinfo --map --totals "$map_uri" |
        awk '$3 == 0 { n += $1 } END { printf "%.0f\n", n }'
}

is_hydrated () { test "$(hydrated_bytes)" = "$(nbdinfo --size "$map_uri")"; }

# Wait until the clone is complete.
wait_hydrated () { wait_until is_hydrated; }

# log_lines OPERATION FILE: the requests of a kind in a log file of nbdkit's log
# filter: Read, Write, Zero, Trim, Flush, Extents, Cache; one line each.
log_lines () { grep -E " $1 id=[0-9]+ .*\.\.\.\$" "$2" || test $? -eq 1; }
log_count () { log_lines "$1" "$2" | wc -l; }

# The bytes that these requests were about.
log_bytes ()
{
    local count total=0
    for count in $(log_lines "$1" "$2" | grep -o 'count=[0-9a-fx]*'); do
        total=$((total + ${count#count=}))
    done
    echo $total
}

# mount_tmpfs SIZE
mount_tmpfs ()
{
    mkdir "$tmp/fs"
    mount -t tmpfs -o size="$1" tmpfs "$tmp/fs"
}

# make_garbage FILE SIZE: what the destination holds at first in every test.
make_garbage () { head -c "$2" /dev/zero | tr '\0' '\333' > "$1"; }

# make_random FILE SIZE
make_random () { head -c "$2" /dev/urandom > "$1"; }

expect_same ()
{
    cmp -- "$1" "$2" || fail "$1 and $2 differ"
}

# The summary of a file, to see that it was not touched.
summary () { sha256sum -- "$1"; stat -c '%s %Y %Z' -- "$1"; }

at_exit ()
{
    local status=$? name pid code reports
    trap - EXIT
    set +e
    # Servers that still run: stopped ones can only be killed.
    for name in "${!pid_of[@]}"; do
        pid=${pid_of[$name]}
        if kill -0 "$pid" 2>/dev/null; then
            kill -KILL "$pid"
            kill -CONT "$pid" 2>/dev/null
            wait "$pid" 2>/dev/null
        else
            wait "$pid"
            code=$?
            if test "$code" -gt 128; then
                note "FAIL: nbdkit ($name) ended by signal $((code - 128))"
                status=1
            fi
        fi
    done
    reports='AddressSanitizer|ThreadSanitizer|LeakSanitizer|runtime error:'
    if grep -Eqs "$reports" "$tmp"/*.err "$tmp"/sanitizer.*; then
        note "FAIL: a sanitizer has reported something"
        status=1
    fi
    if test "$status" -ne 0; then
        tail -n 200 "$tmp"/*.err "$tmp"/sanitizer.* 2>/dev/null
    fi
    for pid in "${daemons[@]}"; do kill -KILL "$pid" 2>/dev/null; done
    for name in "${loops[@]}"; do losetup -d "$name"; done
    if test -n "$mounted"; then fusermount3 -u -z "$mounted"; fi
    if mountpoint -q "$tmp/fs"; then umount -l "$tmp/fs"; fi
    if test -n "${KEEP:-}"; then note "kept $tmp"; else rm -rf "$tmp"; fi
    exit "$status"
}
trap at_exit EXIT
trap 'exit 1' INT TERM HUP
