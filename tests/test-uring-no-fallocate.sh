#!/usr/bin/env bash
# Where fallocate(2) does not work, nbdkit-uring-plugin writes zeroes, or asks
# the device to.  A fast zero fails then, and has done nothing; a trim succeeds,
# and in a file does nothing either.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

# look file|device
look ()
{
    under=("$abs_top_builddir/tests/refuse" fallocate)
    start_uring "$2" "$3"
    nbd "$uring_uri" '
from uring import *
expected = bytearray(content("initial"))
for offset, length, flags in ((0, 4096, 0), (MIB + 1, 200000, NO_HOLE),
                              (2 * MIB, MIB, FUA), (3 * MIB, 7, 0)):
    expect("it is not zero", any(expected[offset:offset + length]), True)
    if length > 7:
        expect("fast zero", error_of(h.zero, length, offset,
               flags | nbd.CMD_FLAG_FAST_ZERO), "ENOTSUP")
        expect("it did nothing", bytes(h.pread(4 * MIB, 0)), bytes(expected))
    h.zero(length, offset, flags)
    expected[offset:offset + length] = bytes(length)
    expect("zeroes", bytes(h.pread(4 * MIB, 0)), bytes(expected))
h.trim(65536, 3 * MIB + 65536)
if sys.argv[1] == "device":
    expected[3 * MIB + 65536:3 * MIB + 131072] = h.pread(65536, 3 * MIB + 65536)
expect("after a trim", bytes(h.pread(4 * MIB, 0)), bytes(expected))
' "$1"
    stop uring
}

for direct in direct=false direct=true; do
    make_random "$disk" $((4 * 1048576))
    cp "$disk" "$tmp/initial"
    look file "$disk" $direct
    cp "$tmp/initial" "$disk"
    make_loop "$disk" || continue
    look device "$loop" $direct
    losetup -d "$loop"
    loops=()
done
# nbdkit's own way to write zeroes would leave out what lies beyond 64 MiB.
truncate -s 150M "$disk"
start_uring
nbd "$uring_uri" '
h.pwrite(b"x" * 100000, 140 * MIB)
h.zero(150 * MIB, 0)
expect("all of it", bytes(h.pread(100000, 140 * MIB)), bytes(100000))
'
stop uring

refuse_uring 'prealloc=falloc: cannot reserve its space: Operation not supp' \
             "$disk" prealloc=falloc
