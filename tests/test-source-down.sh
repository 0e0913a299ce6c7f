#!/usr/bin/env bash
# The source at start (section 6): unreachable is fatal when creating; when
# resuming, what is hydrated is served, requests that need the source fail with
# EIO instead of hanging, and it is tried again; when the clone is complete, the
# source is not contacted at all.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
refuse_clone 'source' file "$tmp/dst"
test ! -e "$bitmap" || fail "a bitmap file was made"

start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" '
h.pread(65536, 0)
wait_for(lambda: hydrated(0, 65536) == "yes", "reads are kept")
'
stop clone
kill9 source

start_clone file "$tmp/dst" clone-source-timeout=1
nbd "$clone_uri" '
expect("hydrated", bytes(h.pread(65536, 0)), content("src", 0, 65536))
start = time.monotonic()
expect("missing", error_of(h.pread, 4096, 100000), "EIO")
expect("partial write", error_of(h.pwrite, b"x", 200000), "EIO")
expect("cache", error_of(h.cache, 4096, 100000), "EIO")
assert time.monotonic() - start < 10, "clone-source-timeout=1, but it took long"
h.pwrite(b"w" * 4096, 4096 * 100)       # whole regions don'"'"'t need it
h.trim(4096, 4096 * 101)
h.flush()
expect("extents", extents(h, 0, 65536), [(65536, 0)])
'
# It comes back, and the clone goes on by itself.
start_source file "$tmp/src"
wait_hydrated
stop clone
nbd "$source_uri" '
expected = bytearray(content("src"))
expected[409600:413696] = b"w" * 4096
expected[413696:417792] = bytes(4096)
expect("the destination", content("dst"), bytes(expected))
'
stop source

# Complete.  Somebody else listens where the source was, and hears nothing.
start_source --filter=log file "$tmp/src" logfile="$tmp/source.log"
start_clone file "$tmp/dst"
nbdcopy "$clone_uri" "$tmp/copy"
expect_same "$tmp/copy" "$tmp/dst"
stop clone
! grep -i connect "$tmp/source.log" || fail "the source was contacted"
stop source
start_clone file "$tmp/dst"
stop clone
