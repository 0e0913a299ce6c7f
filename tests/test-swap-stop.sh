#!/usr/bin/env bash
# How the filter is taken out at the end: stop nbdkit, serve the destination
# without it, and throw the bitmap file away.  Nothing of what was read, written
# or flushed changes by that.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 4194304
make_garbage "$tmp/dst" 4194304
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-on-complete="touch $tmp/complete"
nbd "$clone_uri" 'h.pwrite(b"a" * 10000, 5); h.trim(65536, MIB)'
wait_until test -e "$tmp/complete"
nbdcopy "$clone_uri" "$tmp/before"
stop clone
stop source
rm "$bitmap"

start_nbdkit clone file "$tmp/dst"
nbdcopy "$clone_uri" "$tmp/after"
expect_same "$tmp/before" "$tmp/after"
nbd "$clone_uri" 'h.pwrite(b"b" * 10000, 5)'
stop clone
expect_same <(tail -c +10006 "$tmp/after") <(tail -c +10006 "$tmp/dst")
