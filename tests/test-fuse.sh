#!/usr/bin/env bash
# File systems and their discards (section 4, lesson 24): nbdfuse turns
# punched holes, which have to read as zeroes, into trims.  A hole punched
# through nbdfuse into what is not hydrated reads as zeroes; a file system made
# on the disk, in a loop device with discards if the system has them, is
# clean.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((64 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-hydration=false
mkdir "$tmp/mnt"
mounted=$tmp/mnt
nbdfuse "$mounted/disk" "$clone_uri" &
fuse=$!
wait_until test -e "$mounted/disk"

cp "$tmp/src" "$tmp/expected"
for range in "0 4096" "5000 100" "10000000 3000000" "8191 2"; do
    read -r offset length <<<"$range"
    for file in "$mounted/disk" "$tmp/expected"; do
        fallocate --punch-hole -o "$offset" -l "$length" "$file"
    done
done
expect_same "$mounted/disk" "$tmp/expected"

# mke2fs discards the device first, and then counts on zeroes there.
disk=$mounted/disk
if losetup --find --show --direct-io=off "$disk" >"$tmp/loop" \
           2>"$tmp/loop.err"; then
    disk=$(cat "$tmp/loop")
    loops=("$disk")
fi
mke2fs -q -F -t ext4 -E discard,lazy_itable_init=0 -d "$srcdir" "$disk"
sync -f "$mounted/disk"
e2fsck -fn "$disk" >"$tmp/e2fsck" || fail "$(cat "$tmp/e2fsck")"
if test ${#loops[@]} -gt 0; then losetup -d "${loops[@]}"; loops=(); fi
fusermount3 -u "$mounted"
mounted=
wait "$fuse" || fail "nbdfuse has ended with status $?"

# The same file system, when it has become a plain disk.
stop clone
start_clone file "$tmp/dst"
wait_hydrated
stop clone
e2fsck -fn "$tmp/dst" >"$tmp/e2fsck" || fail "$(cat "$tmp/e2fsck")"
debugfs -R 'cat functions.sh' "$tmp/dst" >"$tmp/file" 2>/dev/null
expect_same "$tmp/file" "$srcdir/functions.sh"
