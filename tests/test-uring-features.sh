#!/usr/bin/env bash
# What nbdkit-uring-plugin offers beyond nbdkit's own file plugin: block sizes,
# whether the disk is rotational, fast zero, and zeroes of parts of a device's
# sectors.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

# look DEVICE-NUMBER DIRECT file|device: at the server; the kernel says of the
# device what is expected.
look ()
{
    nbd "$uring_uri" '
from uring import *
queue = "/sys/dev/block/%s/" % sys.argv[1]
if os.path.exists(queue + "partition"):
    queue += "../"
with open(queue + "queue/rotational") as f:
    expect("rotational", h.is_rotational(), f.read().strip() == "1")
expect("minimum", h.get_block_size(nbd.SIZE_MINIMUM), 1)
expect("preferred", h.get_block_size(nbd.SIZE_PREFERRED) % 4096, 0)
expect("can", (h.can_multi_conn(), h.can_fua(), h.can_flush(), h.can_zero(),
               h.can_fast_zero(), h.can_trim()), (True,) * 6)
expect("cache", h.can_cache(), sys.argv[2] == "direct=false")
if h.can_cache():
    h.cache(100000, 5)

# Fast or not at all: and if not, nothing has been done.
expected = bytearray(h.pread(4 * MIB, 0))
for offset, length, flags in (
        (0, MIB, 0), (MIB + 1, 100000, 0), (2 * MIB, MIB, NO_HOLE),
        (3 * MIB + 512, 511, NO_HOLE), (3 * MIB + 9999, 77777, FUA)):
    error = error_of(h.zero, length, offset, flags | nbd.CMD_FLAG_FAST_ZERO)
    if length > 4096 and flags == NO_HOLE:
        # A device may write then, and not all file systems can do it.
        allowed = ["ENOTSUP"] + [None] * (sys.argv[3] == "file")
    else:
        allowed = [None]
    expect("fast zero: %s" % error, error in allowed, True)
    if error is None:
        expected[offset:offset + length] = bytes(length)
    expect("after a fast zero", bytes(h.pread(4 * MIB, 0)), bytes(expected))
expect("a fast zero has worked", any(bytes(expected[:MIB])), False)

# Parts of sectors.
for offset, length in ((3 * MIB + 1, 1), (3 * MIB + 100, 511),
                       (3 * MIB + 1000, 70000), (4 * MIB - 5, 5)):
    for request in h.zero, h.trim:
        h.pwrite(b"z" * length, offset)
        request(length, offset, FUA)
        expected[offset:offset + length] = bytes(length)
        expect("a part", bytes(h.pread(4 * MIB, 0)), bytes(expected))
' "$@"
}

device_number () { echo $((0x$(stat -c %t "$1"))):$((0x$(stat -c %T "$1"))); }

for direct in direct=false direct=true; do
    make_random "$disk" $((4 * 1048576))
    start_uring $direct
    look "$(mountpoint -d "$(df --output=target "$tmp" | tail -n 1)")" $direct \
         file
    stop uring
    make_loop "$disk" || continue
    start_uring "$loop" $direct
    look "$(device_number "$loop")" $direct device
    stop uring
    losetup -d "$loop"
    loops=()
done
