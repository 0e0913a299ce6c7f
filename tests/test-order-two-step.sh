#!/usr/bin/env bash
# Bits that are set while the destination is being flushed are not in the
# commit that this flush belongs to (P3, lesson 2), and nobody who needs only
# hydrated regions waits for the flush (P8).

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
other = connect()
h.pwrite(b"a" * R, 0)
open(TMP + "/order/hold-flush", "w").close()
cookie = h.aio_flush()
h.poll(0)
wait_for(lambda: events() and events()[-1][1:3] == ("flush", "begin"),
         "the flush has begun")

# While it is held: reads and writes go on, of this client and of another.
for client in (h, other):
    client.pwrite(b"b" * R, 0)
    client.pwrite(b"c" * R, 7 * R)      # a new bit, and too late
    client.pwrite(b"d", 9 * R)          # another
    expect("hydrated", bytes(client.pread(R, 0)), b"b" * R)
    expect("not hydrated", bytes(client.pread(R, 12 * R)),
           content("src", 12 * R, R))
expect("the flush still hangs", h.aio_command_completed(cookie), False)
expect("nothing is committed yet", bit_on_disk(0), False)
os.unlink(TMP + "/order/hold-flush")
run_async(h, lambda: [cookie])
expect("committed", bit_on_disk(0), True)
for region in (7, 9, 12):
    expect("set during the flush", bit_on_disk(region), False)
check_order(R, 256 * R)
'
kill9 clone
start_clone file "$tmp/dst" clone-hydration=false
nbd "$map_uri" 'expect("map", extents(h), [(4096, 0), (255 * 4096, 3)])'
stop clone
