#!/usr/bin/env bash
# The source comes back with another size (section 6): it counts as away, and
# the log says so once, with both sizes, however often it is tried.  What is
# hydrated is served meanwhile.  When the right one is back the clone goes on.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=1048576
make_random "$tmp/src" $size
make_random "$tmp/larger" $((size + 4096))
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-rate=64K clone-source-timeout=1
nbd "$clone_uri" '
h.pread(64 * KIB, 0)
wait_for(lambda: hydrated(0, 64 * KIB) == "yes", "reads are kept")
'
kill9 source
start_source --filter=log file "$tmp/larger" logfile="$tmp/source.log"

tried () { test "$(grep -c ' Connect ' "$tmp/source.log")" -ge 4; }
wait_until tried
nbd "$clone_uri" '
expect("hydrated", bytes(h.pread(64 * KIB, 0)), content("src", 0, 64 * KIB))
expect("missing", error_of(h.pread, 4096, MIB - 4096), "EIO")
expect("partial write", error_of(h.pwrite, b"x", MIB - 4096), "EIO")
expect("extents", extents(h, MIB - 4096, 4096), [(4096, 0)])
'
told="it has $((size + 4096)) bytes now, but $size were cloned from"
test "$(grep -c "$told" "$tmp/clone.err")" -eq 1 || fail "not told, or twice"
test "$(log_count Read "$tmp/source.log")" -eq 0 || fail "it was read"
kill9 source

start_source file "$tmp/src"
nbd "$clone_uri" '
wait_for(lambda: error_of(h.pread, 4096, MIB - 4096) is None, "it is back")
expect("read", bytes(h.pread(4096, MIB - 4096)),
       content("src", MIB - 4096, 4096))
'
grep -q 'connected again' "$tmp/clone.err" || fail "no word of its return"
stop clone
start_clone file "$tmp/dst"
wait_hydrated
stop clone
expect_same "$tmp/dst" "$tmp/src"
