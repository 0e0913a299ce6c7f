#!/usr/bin/env bash
# When the last region is hydrated, the source connections and the threads that
# copied are gone (P9, lesson 12), and nothing is asked of the source any more.
# Reads hydrate: no background is needed for that.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 10000000
make_garbage "$tmp/dst" 10000000
start_source --filter=log file "$tmp/src" logfile="$tmp/source.log"
connects () { grep -c ' Connect ' "$tmp/source.log" || true; }
disconnects () { grep -c ' Disconnect ' "$tmp/source.log" || true; }
all_gone () { test "$(connects)" -eq "$(disconnects)"; }

start_clone -t 2 file "$tmp/dst" clone-hydration=false
nbdcopy "$clone_uri" "$tmp/copy"
wait_hydrated
wait_until all_gone
expect_same "$tmp/dst" "$tmp/src"
threads=$(find "/proc/${pid_of[clone]}/task" -mindepth 1 -maxdepth 1 | wc -l)
before=$(cat "$tmp/source.log")
nbdcopy "$clone_uri" "$tmp/copy"
nbd "$clone_uri" '
h.pwrite(b"x" * 10, 5)
h.cache(10000000, 0)
h.flush()
extents(h)
'
test "$(cat "$tmp/source.log")" = "$before" || fail "the source was asked"
# nbdkit itself has few: the main one, and some of each connection.  The
# filter may keep a few (commits), but no copiers.
test "$threads" -le 8 || fail "$threads threads after the end"
stop clone
test "$(connects)" -ge 1 || fail "it has never connected: nothing was tested"
