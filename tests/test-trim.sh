#!/usr/bin/env bash
# Trims (section 4; P1, lessons 3 and 24).  Whatever is trimmed below the
# source's end reads as zeroes: never as the destination's old bytes, and not
# as the source's.  Whole regions need no copying for that; parts of regions
# keep the rest.  With clone-discard-passdown=false, the destination gets no
# trim, and what is trimmed stays allocated.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

region=65536
make_random "$tmp/src" $((20 * region))
start_source --filter=log file "$tmp/src" logfile="$tmp/source.log"
for passdown in true false; do
    rm -f "$bitmap" "$tmp/dst.log"
    make_garbage "$tmp/dst" $((20 * region))
    start_clone --filter=log file "$tmp/dst" logfile="$tmp/dst.log" \
                clone-hydration=false clone-region-size=$region \
                clone-discard-passdown=$passdown
    nbd "$clone_uri" '
R = 65536
expected = bytearray(content("src"))
expect("trim is offered", h.can_trim(), True)

def trim(offset, length, flags=0):
    before = len(logged("source.log"))
    h.trim(length, offset, flags)
    expected[offset:offset + length] = bytes(length)
    return [x for x in logged("source.log")[before:] if x[0] == "Read"]

expect("whole regions", trim(R, 3 * R), [])
expect("map", hydrated(R, 3 * R), "yes")
expect("they read as zeroes", bytes(h.pread(3 * R, R)), bytes(3 * R))
trim(6 * R + 100, 1000)                         # inside one region
trim(9 * R - 1, 2 * R + 2, nbd.CMD_FLAG_FUA)    # a bit of each neighbour
trim(2 * R, 3 * R)                              # hydrated and not
expect("no data but for the parts of regions",
       sum(x[2] for x in logged("dst.log") if x[0] == "Write") <= 3 * R, True)
h.pwrite(b"x" * 2 * R, 12 * R)
expect("hydrated", trim(12 * R + 7, R), [])
expected[12 * R:12 * R + 7] = b"x" * 7
expected[13 * R + 7:14 * R] = b"x" * (R - 7)
expect("the disk", pread(h, 20 * R, 0), bytes(expected))
h.flush()
with open(TMP + "/expected", "wb") as f:
    f.write(expected)
'
    nbdcopy "$clone_uri" "$tmp/copy"
    expect_same "$tmp/copy" "$tmp/expected"
    wait_hydrated
    trims=$(log_count Trim "$tmp/dst.log")
    allocated=$(du -B1 "$tmp/dst" | cut -f1)
    if $passdown; then
        test "$trims" -ge 1 || fail "no trim was passed down"
        test "$allocated" -lt $((20 * region)) || fail "nothing was punched"
    else
        test "$trims" -eq 0 || fail "a trim was passed down"
        test "$allocated" -ge $((20 * region)) || fail "it has become sparse"
    fi
    stop clone
    expect_same "$tmp/dst" "$tmp/expected"
done
