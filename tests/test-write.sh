#!/usr/bin/env bash
# Writes (section 4; P1, P6, P7).  Whole regions are written without the source.
# For a part of a region the rest comes from the source, and both reach the
# destination as one write.  What lies beyond the source's end never needs it.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

for region in 4096 65536 1048576; do
    make_random "$tmp/src" $((20 * region + 1000))
    make_garbage "$tmp/dst" $((22 * region + 77))
    rm -f "$bitmap" "$tmp/source.log" "$tmp/dst.log"
    start_source --filter=log file "$tmp/src" logfile="$tmp/source.log"
    start_clone --filter=log file "$tmp/dst" logfile="$tmp/dst.log" \
                clone-hydration=false clone-region-size=$region
    nbd "$clone_uri" '
R = int(sys.argv[1])
expected = bytearray(content("src") + b"\xdb" * (2 * R + 77 - 1000))

def write(byte, offset, length):
    """Write, and return the source reads and destination writes of it."""
    before = logged("source.log"), logged("dst.log")
    h.pwrite(byte * length, offset)
    expected[offset:offset + length] = byte * length
    reads = [x[1:] for x in logged("source.log")[len(before[0]):]
             if x[0] == "Read"]
    writes = [x[1:] for x in logged("dst.log")[len(before[1]):]
              if x[0] == "Write"]
    return reads, writes

expect("a whole region", write(b"a", R, R), ([], [(R, R)]))
reads, writes = write(b"b", 3 * R, 4 * R)
expect("whole regions", reads, [])
expect("whole regions", sum(n for _, n in writes), 4 * R)
expect("map", hydrated(3 * R, 4 * R), "yes")
expect("map", hydrated(0, R), "no")

reads, writes = write(b"c", 8 * R + 1, 10)
assert sum(n for _, n in reads) <= R, "read too much: %s" % reads
expect("a part of a region", writes, [(8 * R, R)])
expect("map", hydrated(8 * R, R), "yes")
expect("map", hydrated(9 * R, R), "no")
expect("hydrated", write(b"d", 8 * R + 20, 30), ([], [(8 * R + 20, 30)]))

# A part of region 9, all of 10 and 11, a part of 12.
reads, writes = write(b"e", 10 * R - 1, 2 * R + 2)
assert sum(n for _, n in reads) <= 2 * R, "read too much: %s" % reads
expect("the ends come from the source", {o // R for o, _ in reads}, {9, 12})
expect("map", hydrated(9 * R, 4 * R), "yes")
# Hydrated and not hydrated, beginning and ending anywhere.
write(b"f", 2 * R + 7, 12 * R)

# The region in which the source ends: beyond the end there is nothing to
# fetch and nothing to hydrate, and all below the end is all of it.
expect("beyond the end", write(b"g", 20 * R + 1000, 50)[0], [])
expect("beyond the end", write(b"h", 21 * R + 5, R)[0], [])
expect("below the end", write(b"i", 20 * R, 1000)[0], [])
expect("map", hydrated(20 * R, 2 * R + 77), "yes")

expect("the disk", pread(h, 22 * R + 77, 0), bytes(expected))
h.pwrite(expected, 0)                   # up to 22 MiB in one request
with open(TMP + "/expected", "wb") as f:
    f.write(expected)
' $region
    stop clone
    stop source
    expect_same "$tmp/dst" "$tmp/expected"
done
