#!/usr/bin/env bash
# Stopped while the file system of the bitmap file is full: the last commit
# fails, so the server says so and its exit status is not 0 (P10, section 6).
# What was flushed before is there at the next start.

mounts=yes
# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((256 * 4096))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
mount_tmpfs 64k
bitmap=$tmp/fs/bitmap
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-hydration=false clone-commit-interval=3600
nbd "$clone_uri" '
h.pwrite(b"a" * 4096, 0)
h.flush()
fill("fs/filler")
h.pwrite(b"b" * 4096, 8192)
'
kill -TERM "${pid_of[clone]}"
status=0
finish clone || status=$?
test "$status" -eq 1 || fail "the exit status is $status"
grep -q 'not all .* could be made durable' "$tmp/clone.err" || fail "nothing was said"

start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" '
R = 4096
expect("the map", extents(connect(MAP)), [(R, 0), (255 * R, HOLE | ZERO)])
expect("flushed", bytes(h.pread(R, 0)), b"a" * R)
expect("not flushed", bytes(h.pread(R, 2 * R)), content("src", 2 * R, R))
os.unlink(TMP + "/fs/filler")
'
stop clone
