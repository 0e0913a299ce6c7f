#!/usr/bin/env bash
# nbdkit-uring-plugin gives the same answers as nbdkit's own file plugin, data
# and errors, to the same random requests: on files, whose size may be odd, and
# on devices; with and without the page cache.  Afterwards the files are the
# same, too.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

# compare file|device SEED FILE-PARAMETER URING-PARAMETERS: the same requests to
# both.
compare ()
{
    local kind=$1 seed=$2 file=$3
    shift 3
    start_file "$file"
    start_uring "$@"
    nbd "$uring_uri" '
from uring import *
seed, device = int(sys.argv[1]), sys.argv[2] == "device"
pair = Pair(content("initial"))
expect("size", h.get_size(), len(pair.expected))
pair.same_extents()
random_requests(pair, seed, 250, device)
pair.close()
' "$seed" "$kind"
    stop uring
    stop file
    expect_same "$tmp/uring.disk" "$tmp/file.disk"
}

new_disks ()
{
    rm -f "$tmp"/*.disk
    make_random "$tmp/initial" "$1"
    truncate -s "$2" "$tmp/initial"
    cp --sparse=always "$tmp/initial" "$tmp/file.disk"
    cp --sparse=always "$tmp/initial" "$tmp/uring.disk"
    sync "$tmp/file.disk" "$tmp/uring.disk"
}

for direct in false true; do
    for size in 1 511 4097 1000001 $((5 * 1048576)) 5000000; do
        new_disks $((size / 2)) "$size"
        note "a file of $size bytes, direct=$direct"
        compare file "$size" "$tmp/file.disk" "$tmp/uring.disk" direct=$direct
    done
done

for direct in false true; do
    new_disks 3000000 $((6 * 1048576 + 512))
    make_loop "$tmp/file.disk" || break
    other=$loop
    make_loop "$tmp/uring.disk" || break
    note "devices, direct=$direct"
    compare device 7 "$other" "$loop" direct=$direct
    losetup -d "${loops[@]}"
    loops=()
done
