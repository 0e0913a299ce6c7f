#!/usr/bin/env bash
# One region that the source cannot read (section 6, lesson 21): its batch is
# retried in parts until it alone is left out, and the rest becomes hydrated.  A
# client's read of it fails, and tries again; a write of it heals it.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

plain=$abs_top_builddir/tests/.libs/plain-plugin.so
size=$((16 * 1048576))
bad=$((5 * 1048576 + 12345))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source "$plain" plain-file="$tmp/src" plain-bad=$bad
start_clone file "$tmp/dst"

all_but_one () { test "$(hydrated_bytes)" -eq $((size - 4096)); }
wait_until all_but_one
nbd "$clone_uri" '
bad = int(sys.argv[1])
region = bad - bad % 4096
expect("the map", extents(connect(MAP), region - 4096, 3 * 4096),
       [(4096, 0), (4096, HOLE | ZERO), (4096, 0)])
expect("read", error_of(h.pread, 1, bad), "EIO")
expect("read beside it", bytes(h.pread(4096, region - 4096)),
       content("src", region - 4096, 4096))
expect("write of a part", error_of(h.pwrite, b"x", bad), "EIO")
h.pwrite(b"w" * 4096, region)
expect("healed", bytes(h.pread(4096, region)), b"w" * 4096)
with open(TMP + "/src", "r+b") as f:
    os.pwrite(f.fileno(), b"w" * 4096, region)
' $bad
wait_hydrated
stop clone
expect_same "$tmp/dst" "$tmp/src"
