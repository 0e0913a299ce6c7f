#!/usr/bin/env bash
# dm-clone rounded a discard the wrong way: one that lay wholly inside a region
# hit other regions (lesson 3).  Here: trims and zeroes at all boundaries of a
# not hydrated disk, every byte compared, the last short region included.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" $((2 * 46 * 3 * 4096 + 3 * 4096 + 1000))
start_source file "$tmp/src"
for end in 1 999 1000; do
    rm -f "$bitmap"
    make_garbage "$tmp/dst" "$(stat -c %s "$tmp/src")"
    start_clone file "$tmp/dst" clone-hydration=false clone-on-read=false
    nbd "$clone_uri" '
R = 4096
end = int(sys.argv[1])
expected = bytearray(content("src"))
edges = (0, 1, R - 1, R, R + 1, 2 * R - 1, 2 * R, 2 * R + 1, 3 * R - 1, 3 * R)
cell = 0
for operation in (h.trim, h.zero):
    # Each pair of edges in three regions of its own.
    for i, first in enumerate(edges):
        for last in edges[i + 1:]:
            operation(last - first, cell + first)
            expected[cell + first:cell + last] = bytes(last - first)
            cell += 3 * R
# The end of the disk: the last region has 1000 bytes.
size = len(expected)
h.trim(end, size - end)
expected[size - end:] = bytes(end)
expect("the disk", pread(h, size, 0), bytes(expected))

# No region has been touched that was not hit: it would be hydrated now.
hit = extents(connect(MAP), size - 1000 - 3 * R, 3 * R)
expect("the map before the last region", hit, [(3 * R, HOLE | ZERO)])
h.flush()
with open(TMP + "/expected", "wb") as f:
    f.write(expected)
' $end
    stop clone
done
start_clone file "$tmp/dst"
wait_hydrated
stop clone
expect_same "$tmp/dst" "$tmp/expected"
