#!/usr/bin/env bash
# From nothing to a mounted disk: nbdclone run, and nbdfuse on what it prints.  A
# file system is read and written through it while it is being fetched, and is
# whole in the plain copy.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

mkdir "$tmp/files" "$tmp/mnt"
make_random "$tmp/files/old" 3000000
make_random "$tmp/files/unread" 8000000
truncate -s 32M "$tmp/src"
mke2fs -q -F -t ext4 -d "$tmp/files" "$tmp/src"
make_random "$tmp/new" 2000000
start_source file "$tmp/src"

start_run "$source_uri" "$tmp/disk.img" -- clone-rate=64K
disk=$(sed -n 's/.*the disk is //p' "$tmp/run.out")
mounted=$tmp/mnt
nbdfuse "$mounted/disk" "$disk" &
fuse=$!
wait_until test -e "$mounted/disk"

debugfs -R "dump old $tmp/copy" "$mounted/disk" 2>/dev/null
expect_same "$tmp/copy" "$tmp/files/old"
debugfs -w -R "write $tmp/new new" "$mounted/disk" >"$tmp/debugfs" 2>&1
sync -f "$mounted/disk"
e2fsck -fn "$mounted/disk" >"$tmp/e2fsck" 2>&1 || fail "$(cat "$tmp/e2fsck")"
nbdclone status disk.img | grep -q '^disk.img: hydrating' ||
    fail "complete already"

# Without the source, the server, and the bitmap file.
nbdclone set disk.img rate=0
nbdclone wait disk.img >/dev/null
fusermount3 -u "$mounted"
mounted=
wait "$fuse" || fail "nbdfuse has ended with status $?"
stop run
stop source
e2fsck -fn "$tmp/disk.img" >"$tmp/e2fsck" 2>&1 || fail "$(cat "$tmp/e2fsck")"
for file in files/old files/unread new; do
    debugfs -R "dump ${file#files/} $tmp/copy" "$tmp/disk.img" 2>/dev/null
    expect_same "$tmp/copy" "$tmp/$file"
done
