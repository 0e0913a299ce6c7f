#!/usr/bin/env bash
# Reads (section 4; P1, P2, P6, lesson 12).  A region that is not hydrated is
# read from the source and kept; a hydrated one is read from the destination,
# and the source does not hear of it; a read may mix both, at any offset.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

for region in 4096 65536 1048576; do
    make_random "$tmp/src" $((8 * region + 7))
    make_garbage "$tmp/dst" $((10 * region + 123))
    rm -f "$bitmap" "$tmp/source.log"
    start_source --filter=log file "$tmp/src" logfile="$tmp/source.log"
    start_clone file "$tmp/dst" clone-hydration=false \
                clone-region-size=$region
    nbd "$clone_uri" '
R = int(sys.argv[1])
size = 10 * R + 123
expected = content("src") + b"\xdb" * (2 * R + 116)

def read(what, offset, length):
    expect(what, bytes(h.pread(length, offset)),
           expected[offset:offset + length])

read("one byte", 2 * R + 5, 1)
read("across two regions", 4 * R - 1, 2)
wait_for(lambda: hydrated(2 * R, 3 * R) == "yes", "what was read is kept")
expect("no more than that", hydrated(0, 2 * R), "no")
expect("no more than that", hydrated(5 * R, 3 * R), "no")

# The source does not hear of reads that need nothing of it: hydrated regions,
# and those beyond its end, also in the region in which it ends.
before = logged("source.log")
read("hydrated, kept", 2 * R + 5, R)
read("beyond the end", 9 * R, R + 123)
read("beyond the end, same region", 8 * R + 7, 100)
expect("what the source hears", logged("source.log"), before)

read("hydrated and not", R + 1, 4 * R)
read("around the end", 8 * R + 5, 4)
read("everything", 0, size)
wait_for(lambda: hydrated(0, size) == "yes", "all of it is kept")
before = logged("source.log")
read("everything, from the destination", 0, size)
expect("what the source hears", logged("source.log"), before)
' $region
    stop clone
    stop source
    cp "$tmp/src" "$tmp/expected"
    tail -c +$((8 * region + 8)) "$tmp/dst" >>"$tmp/expected"
    expect_same "$tmp/dst" "$tmp/expected"
    test "$(log_count Write "$tmp/source.log")" -eq 0 || fail "P6"
done

# Without clone-on-read, reads leave no trace, as in dm-clone.
rm "$bitmap"
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-hydration=false clone-on-read=false
nbdcopy "$clone_uri" "$tmp/copy"
expect_same "$tmp/copy" "$tmp/expected"
nbd "$map_uri" 'expect("map", extents(h)[0][1], HOLE | ZERO)'
stop clone
