#!/usr/bin/env bash
# Order on disk (P3, P4, lessons 1, 2, 5).  A filter below ours copies the
# bitmap file at the begin and the end of each request to the destination: no
# bit may be in any copy unless a flush has succeeded that began after the
# region had been written.  One FLUSH makes one flush; with nothing newly
# hydrated it changes nothing in the bitmap file.

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

def flushes():
    return len([e for e in events() if e[1:3] == ("flush", "begin")])

def step(what, function, *args):
    """Do it, and return the flushes it made and whether the file changed."""
    n, before = flushes(), content("bitmap")
    function(*args)
    return flushes() - n, content("bitmap") != before

h.pwrite(b"a" * R, 0)
h.pwrite(b"b" * 10, 5 * R + 7)
h.pread(3 * R, 10 * R)
wait_for(lambda: hydrated(10 * R, 3 * R) == "yes", "the read is kept")
expect("new bits: one flush", step("flush", h.flush), (1, True))
expect("nothing new", step("flush", h.flush), (1, False))
h.pwrite(b"c" * R, 0)                   # data, but no new bit
expect("data only", step("flush", h.flush), (1, False))

# A FUA write, also one to a region that is hydrated but not committed
# (lesson 5: the first write has set the bit in memory, no more).
h.pwrite(b"d" * R, 20 * R)
expect("not committed yet", bit_on_disk(20), False)
h.pwrite(b"e" * 100, 20 * R, nbd.CMD_FLAG_FUA)
expect("committed", bit_on_disk(20), True)
for region, request in ((30, lambda o: h.pwrite(b"f" * R, o, 1)),
                        (31, lambda o: h.zero(R, o, nbd.CMD_FLAG_FUA)),
                        (32, lambda o: h.trim(R, o, nbd.CMD_FLAG_FUA))):
    request(region * R)
    expect("committed", bit_on_disk(region), True)

# Many requests at once, with flushes in between.
def mixture():
    cookies = []
    for i in range(40, 250):
        buf = nbd.Buffer.from_bytearray(bytearray(b"g" * R))
        cookies.append(h.aio_pwrite(buf, i * R))
        if i % 10 == 0:
            cookies.append(h.aio_flush())
    return cookies
run_async(h, mixture)
n = flushes()
run_async(h, lambda: [h.aio_flush() for _ in range(16)])
expect("concurrent flushes share", flushes() - n < 16, True)
check_order(R, 256 * R)
expect("it was looked at", len([e for e in events()]) > 450, True)
'
stop clone
# The last commit as well.
python -c 'from helpers import *; check_order(4096, 256 * 4096)'
