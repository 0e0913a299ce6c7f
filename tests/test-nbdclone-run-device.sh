#!/usr/bin/env bash
# nbdclone run onto a block device: not while it is mounted, not over contents,
# not with the bitmap file in /dev; and not onto a file that is a loop device.

# shellcheck disable=SC2034 # for functions.sh
mounts=yes
# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

truncate -s 16M "$tmp/backing"
make_random "$tmp/src" 3000000
start_source file "$tmp/src"

if make_loop "$tmp/backing"; then
    with_bitmap=(--bitmap "$tmp/bitmap" "$source_uri")
    refuse 1 "in use as $loop: a clone would destroy what is there" \
           run --overwrite "$source_uri" "$tmp/backing"
    refuse 2 'for a device give --bitmap' run "$source_uri" "$loop"
    refuse 2 'a device has its space' run --prealloc "${with_bitmap[@]}" "$loop"

    mkfs.ext4 -q "$loop"
    refuse 1 'it has contents.*--overwrite' run "${with_bitmap[@]}" "$loop"
    mkdir "$tmp/fs"
    mount "$loop" "$tmp/fs"
    refuse 1 "it is mounted on $tmp/fs" \
           run --overwrite "${with_bitmap[@]}" "$loop"
    umount "$tmp/fs"

    nbdclone run --overwrite --exit-when-complete "${with_bitmap[@]}" "$loop" \
             >/dev/null
    cmp -n 3000000 "$tmp/src" "$loop" || fail "wrong contents"

    # While it is served nobody can mount it or clone onto it.
    start_run "${with_bitmap[@]}" "$loop"
    if mount -t ext4 "$loop" "$tmp/fs" 2>"$tmp/mount.err"; then
        fail "it could be mounted while it is served"
    fi
    grep -q 'already mounted or mount point busy' "$tmp/mount.err" ||
        fail "$(cat "$tmp/mount.err")"
    refuse 1 'it is in use.* by another clone' run --name other \
           --bitmap "$tmp/other" "$source_uri" "$loop"
    stop run
    python -c 'import os, sys
os.open(sys.argv[1], os.O_RDWR | os.O_EXCL)' "$loop"

    # The device is recorded: another one is another destination.
    truncate -s 16M "$tmp/backing2"
    make_loop "$tmp/backing2"
    refuse 1 'this bitmap file belongs to' run "${with_bitmap[@]}" "$loop"
    rm "$tmp/bitmap"
    nbdclone run --exit-when-complete "${with_bitmap[@]}" "$loop" >/dev/null
fi
