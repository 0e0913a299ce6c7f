#!/usr/bin/env bash
# Whoever interrupts "nbdclone run --daemon" before it comes back has no daemon:
# a server that nobody was told of would be found by nobody.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 3000000
start_source --filter=delay file "$tmp/src" delay-open=1
runs () { pgrep -f "run --daemon .* $tmp/disk" >"$tmp/pids"; }
is_gone () { ! runs; }
nbdkit_runs () { pgrep -f "file=$tmp/disk" >"$tmp/pids"; }

nbdclone run --daemon "$source_uri" "$tmp/disk" >"$tmp/out" 2>&1 &
wait_until nbdkit_runs
runs || fail "nobody waits"
# The first one is the one that waits.
kill "$(head -n 1 "$tmp/pids")"
wait_until is_gone
! nbdkit_runs || fail "nbdkit is still there"
test ! -e "$tmp/nbdclone/disk.json" || fail "its record is still there"

# And nothing is in the way of the next one.
nbdclone run --exit-when-complete "$source_uri" "$tmp/disk" >/dev/null
expect_same "$tmp/src" "$tmp/disk"
