#!/usr/bin/env bash
# Where the kernel does not let us use io_uring, as in many containers, the
# filter says so in one line, and writes the bitmap file with plain system
# calls: P4 holds as ever.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((4 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
under=("$abs_top_builddir/tests/refuse" io_uring_setup)
start () { start_clone file "$tmp/dst" clone-commit-interval=3600 "$@"; }

start clone-hydration=false
nbd "$clone_uri" '
h.pwrite(b"a" * 4096, 0)
expect("before the flush", bit_on_disk(0), False)
h.flush()
expect("after it", bit_on_disk(0), True)
h.pwrite(b"b" * 4096, 8192, nbd.CMD_FLAG_FUA)
expect("after FUA", bit_on_disk(2), True)
'
kill9 clone
test "$(grep -c 'io_uring is not available' "$tmp/clone.err")" -eq 1 ||
    fail "not one line that says so"

start
nbd "$clone_uri" '
expect("flushed", bytes(h.pread(4096, 0)), b"a" * 4096)
expect("FUA", bytes(h.pread(4096, 8192)), b"b" * 4096)
'
wait_hydrated
stop clone
nbd "$source_uri" '
expected = bytearray(content("src"))
expected[0:4096] = b"a" * 4096
expected[8192:12288] = b"b" * 4096
expect("the destination", content("dst"), bytes(expected))
'
