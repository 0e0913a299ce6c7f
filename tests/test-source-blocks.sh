#!/usr/bin/env bash
# The server's block sizes are obeyed: no request is smaller than its minimum or
# off it, none is larger than its maximum, and the clone is right nevertheless.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((8 * 1048576))
make_random "$tmp/src" $size
for limits in "512 4K 64K" "4K 64K 32M" "4K 4K 4K" "64K 64K 64K" "1 4K 64K"; do
    note "$limits"
    # shellcheck disable=SC2086
    set -- $limits
    # The source's last block may be a short one.
    truncate -s $((size - 512)) "$tmp/src"
    test "$1" = 512 -o "$1" = 1 || truncate -s $size "$tmp/src"
    make_garbage "$tmp/dst" $size
    rm -f "$bitmap"
    start_source --filter=log --filter=blocksize-policy \
        --filter=noextents file "$tmp/src" logfile="$tmp/source.log" \
        blocksize-minimum="$1" blocksize-preferred="$2" \
        blocksize-maximum="$3" blocksize-error-policy=error
    # Without the background, or it would be first, with large aligned reads.
    start_clone file "$tmp/dst" clone-region-size=4K clone-hydration=false
    nbd "$clone_uri" '
for offset, length in ((1, 1), (70000, 5000), (512, 512), (3 * MIB + 7, MIB)):
    expect("read", bytes(h.pread(length, offset)),
           content("src", offset, length))
h.pwrite(b"w" * 5000, 5 * MIB + 3)
h.cache(300000, 4 * MIB - 1)
'
    stop clone
    start_clone file "$tmp/dst"
    wait_hydrated
    stop clone
    stop source

    python -c '
from helpers import *
def size(s):
    return int(s.rstrip("KM")) << {"K": 10, "M": 20}.get(s[-1], 0)

# Beyond the end of the source there is what was in the destination before.
expected = bytearray(content("src"))
end = len(expected)
expected[5 * MIB + 3:5 * MIB + 5003] = b"w" * 5000
expected += b"\333" * (int(sys.argv[3]) - end)
expect("the destination", content("dst"), bytes(expected))

minimum, maximum = size(sys.argv[1]), size(sys.argv[2])
requests = [r for r in logged("source.log") if r[0] == "Read"]
assert requests, "nothing was read?"
for request in requests:
    _, offset, count = request
    assert offset % minimum == 0 and count % minimum == 0, request
    assert count <= maximum and offset + count <= end, request
' "$1" "$3" $size
    rm "$tmp/source.log"
done
