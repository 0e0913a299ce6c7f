#!/usr/bin/env bash
# Zero requests (section 4; P1).  As writes, but nothing is sent to the
# destination that it can do by itself, and the client's flags arrive there.  A
# fast zero that would need the source fails with ENOTSUP before it has done
# anything, and nothing of all that ends nbdkit (section 6).

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

region=65536
make_random "$tmp/src" $((20 * region))
make_garbage "$tmp/dst" $((20 * region))
start_source --filter=log file "$tmp/src" logfile="$tmp/source.log"
start_clone --filter=log file "$tmp/dst" logfile="$tmp/dst.log" \
            clone-hydration=false clone-region-size=$region
nbd "$clone_uri" '
R = 65536
expected = bytearray(content("src"))

def zero(offset, length, flags=0):
    before = len(logged("source.log"))
    h.zero(length, offset, flags)
    expected[offset:offset + length] = bytes(length)
    return [x for x in logged("source.log")[before:] if x[0] == "Read"]

expect("whole regions", zero(R, 3 * R), [])
expect("map", hydrated(R, 3 * R), "yes")
expect("whole, mixed", zero(3 * R, 3 * R), [])
expect("no data is written for it",
       [x for x in logged("dst.log") if x[0] == "Write"], [])
expect("a part of a region", len(zero(8 * R + 1, R - 2)) > 0, True)
expect("map", hydrated(8 * R, R), "yes")
zero(10 * R - 5, 2 * R + 10)
zero(13 * R - 5, R + 5, nbd.CMD_FLAG_FUA)
zero(3, 19 * R, nbd.CMD_FLAG_NO_HOLE)
expect("hydrated", zero(2 * R + 1, 2 * R), [])
expect("the disk", pread(h, 20 * R, 0), bytes(expected))

# The flags of a zero to hydrated regions are kept ("trim" means: may punch).
for flags, seen in ((0, "trim=1"), (nbd.CMD_FLAG_NO_HOLE, "trim=0")):
    before = len(content("dst.log"))
    h.zero(R, 3 * R, flags)
    line = content("dst.log", before).decode()
    assert " Zero " in line and seen in line, "%s, not %s" % (line, seen)
'
stop clone

# A destination that has fast zeroes.  (It forgets, so the bitmap goes too.)
rm "$bitmap"
start_clone memory 20M clone-hydration=false clone-region-size=$region
nbd "$clone_uri" '
R = 65536
FAST = nbd.CMD_FLAG_FAST_ZERO
expect("fast zero is offered", h.can_fast_zero(), True)
before = extents(connect(MAP))
for offset, length in ((R + 1, 10), (R, 3 * R + 1), (5 * R - 1, 2 * R)):
    expect("fast zero", error_of(h.zero, length, offset, FAST), "ENOTSUP")
expect("map", extents(connect(MAP)), before)
expect("disk", bytes(h.pread(20 * R, 0)), content("src"))
wait_for(lambda: hydrated(0, 20 * R) == "yes", "reads are kept")
h.zero(10, R + 1, FAST)                 # hydrated now
expect("zeroed", bytes(h.pread(12, R)), content("src", R, 1) + bytes(10) +
       content("src", R + 11, 1))
'
stop clone
