#!/usr/bin/env bash
# A failed flush stays failed (P5, lessons 13, 16, 23).  After the destination
# has failed to flush once, nothing is committed any more, and whoever writes or
# flushes hears of it; reads go on, and return what was written.  A restart
# returns to the last commit.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

order=$abs_top_builddir/tests/.libs/order-filter.so
size=$((256 * 4096))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
mkdir "$tmp/order"
start_source file "$tmp/src"
start_clone --filter="$order" file "$tmp/dst" order-dir="$tmp/order" \
            order-bitmap="$bitmap" clone-hydration=false \
            clone-commit-interval=3600
nbd "$clone_uri" '
R = 4096
h.pwrite(b"a" * R, 0)
h.flush()
h.pwrite(b"b" * R, 5 * R)
open(TMP + "/order/fail-flush", "w").close()
expect("flush", error_of(h.flush), "EIO")
os.unlink(TMP + "/order/fail-flush")    # the next flush would succeed

before = content("bitmap")
expect("flush", error_of(h.flush), "EIO")
expect("write", error_of(h.pwrite, b"c" * R, 7 * R), "EIO")
expect("write, hydrated", error_of(h.pwrite, b"c" * R, 0), "EIO")
expect("FUA write", error_of(h.pwrite, b"c" * R, 0, nbd.CMD_FLAG_FUA), "EIO")
expect("zero", error_of(h.zero, R, 8 * R), "EIO")
expect("trim", error_of(h.trim, R, 9 * R), "EIO")
expect("another client", error_of(connect().flush), "EIO")
expect("read", bytes(h.pread(R, 0)), b"a" * R)
expect("read", bytes(h.pread(R, 5 * R)), b"b" * R)
expect("read", bytes(h.pread(R, 6 * R)), content("src", 6 * R, R))
expect("nothing is committed", content("bitmap"), before)
'
kill -TERM "${pid_of[clone]}"
finish clone || note "exit status $?"
start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" '
R = 4096
expect("the last commit", extents(connect(MAP)), [(R, 0), (255 * R, 3)])
expect("committed", bytes(h.pread(R, 0)), b"a" * R)
expect("not committed", bytes(h.pread(R, 5 * R)), content("src", 5 * R, R))
h.pwrite(b"c" * R, 0)
h.flush()
'
stop clone
