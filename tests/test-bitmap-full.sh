#!/usr/bin/env bash
# The file system of the bitmap file is full (section 6): a flush fails with
# ENOSPC, and so do FUA writes; the bits stay pending, and reads and writes go
# on.  Once there is space the next commit has all of them.  At a restart
# nothing is lost that was flushed, also while the file system is still full.

mounts=yes
# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((256 * 4096))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
mount_tmpfs 64k
bitmap=$tmp/fs/bitmap
start_source file "$tmp/src"

start () { start_clone file "$tmp/dst" clone-hydration=false \
                       clone-commit-interval=0.1; }
start
nbd "$clone_uri" '
R = 4096
h.pwrite(b"a" * R, 0)
h.flush()
fill("fs/filler")
h.pwrite(b"b" * R, 5 * R)
for i in range(3):
    expect("flush", error_of(h.flush), "ENOSPC")
    expect("FUA write", error_of(h.pwrite, b"c" * R, 7 * R,
                                 nbd.CMD_FLAG_FUA), "ENOSPC")
    h.pwrite(b"d" * R, (10 + i) * R)
expect("read", bytes(h.pread(R, 5 * R)), b"b" * R)
expect("read", bytes(h.pread(R, 6 * R)), content("src", 6 * R, R))
'
told="no space to write the bitmap file"
wait_until grep -q "$told" "$tmp/clone.err"
test "$(grep -c "$told" "$tmp/clone.err")" -eq 1 || fail "told more than once"
kill9 clone

# Still full: the last commit is there, and no more.
start
nbd "$clone_uri" '
R = 4096
expect("the map", extents(connect(MAP)), [(R, 0), (255 * R, HOLE | ZERO)])
expect("flushed", bytes(h.pread(R, 0)), b"a" * R)
h.pwrite(b"e" * R, 5 * R)
expect("flush", error_of(h.flush), "ENOSPC")
os.unlink(TMP + "/fs/filler")
h.pwrite(b"f" * R, 6 * R)
h.flush()
'
kill9 clone
start
nbd "$clone_uri" '
R = 4096
expect("the map", extents(connect(MAP)),
       [(R, 0), (4 * R, HOLE | ZERO), (2 * R, 0), (249 * R, HOLE | ZERO)])
expect("pending, then flushed", bytes(h.pread(2 * R, 5 * R)),
       b"e" * R + b"f" * R)
'
stop clone
