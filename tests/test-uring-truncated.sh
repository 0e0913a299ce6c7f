#!/usr/bin/env bash
# A file that has become shorter below nbdkit-uring-plugin: reads beyond its end
# fail with EIO, as with nbdkit's own file plugin, and all others go on.  The
# same with a device, where writes beyond the end fail with EIO as well.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

size=$((4 * 1048576))
for direct in false true; do
    make_random "$disk" $size
    cp "$disk" "$tmp/file.disk"
    cp "$disk" "$tmp/initial"
    start_uring direct=$direct
    start_file "$tmp/file.disk"
    nbd "$uring_uri" '
from uring import *
pair = Pair(content("initial"))
for name in "disk", "file.disk":
    os.truncate(os.path.join(TMP, name), MIB + 700)
for offset, length in ((2 * MIB, 4096), (MIB, 4096), (MIB + 100, 700),
                       (MIB + 700, 1), (0, 4 * MIB), (3 * MIB + 1, MIB - 1)):
    expect("beyond", pair.read(length, offset), "EIO")
pair.read(MIB, 0)
pair.read(512, MIB)
pair.change(b"x" * 5000, "pwrite", b"x" * 5000, 10000)
pair.read(MIB, 0)
pair.close()
'
    stop uring
    stop file
done

for direct in false true; do
    make_random "$disk" $size
    cp "$disk" "$tmp/initial"
    make_loop "$disk" || break
    start_uring "$loop" direct=$direct
    truncate -s 1M "$disk"
    losetup -c "$loop"
    nbd "$uring_uri" '
initial = content("initial")
for offset, length in ((2 * MIB, 4096), (MIB, 4096), (0, 4 * MIB),
                       (3 * MIB + 1, MIB - 1)):
    expect("read beyond", error_of(h.pread, length, offset), "EIO")
    expect("write beyond", error_of(h.pwrite, b"x" * length, offset,
                                    nbd.CMD_FLAG_FUA), "EIO")
    expect("zero beyond", error_of(h.zero, length, offset), "EIO")
expect("write", error_of(h.pwrite, b"x" * 5000, 10000), None)
expect("read", bytes(h.pread(5000, 10000)), b"x" * 5000)
'
    stop uring
    losetup -d "${loops[@]}"
    loops=()
done
