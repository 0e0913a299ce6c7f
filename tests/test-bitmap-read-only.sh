#!/usr/bin/env bash
# A bitmap file that cannot be written is refused at the start (section 6), with
# a line that names it and says why: on a file system that is read-only, without
# permission, and where it would have to be made there.  The destination is not
# touched.

mounts=yes
# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
mount_tmpfs 1m
bitmap=$tmp/fs/bitmap
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" 'h.pwrite(b"a" * 4096, 0); h.flush()'
stop clone
before=$(summary "$tmp/dst")

mount -o remount,ro "$tmp/fs"
refuse_clone "clone-bitmap=$bitmap: Read-only file system" file "$tmp/dst"
bitmap=$tmp/fs/new
refuse_clone "clone-bitmap=$bitmap:.* Read-only file system" file "$tmp/dst"
mount -o remount,rw "$tmp/fs"

bitmap=$tmp/fs/bitmap
chmod 0400 "$bitmap"
refuse_clone "clone-bitmap=$bitmap: Permission denied" file "$tmp/dst"
chmod 0500 "$tmp/fs"
bitmap=$tmp/fs/new
refuse_clone "clone-bitmap=$bitmap:.* Permission denied" file "$tmp/dst"
test "$(ls "$tmp/fs")" = bitmap || fail "something was made: $(ls "$tmp/fs")"
test "$(summary "$tmp/dst")" = "$before" || fail "the destination was touched"

# Nothing is wrong with it otherwise.
chmod 0700 "$tmp/fs"
chmod 0600 "$tmp/fs/bitmap"
bitmap=$tmp/fs/bitmap
start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" 'expect("read", bytes(h.pread(4096, 0)), b"a" * 4096)'
stop clone
