#!/usr/bin/env bash
# A limit on the size of files (EFBIG, section 6) is the same to the bitmap file
# as no space: a flush fails with ENOSPC, the bits stay pending, SIGXFSZ ends
# nobody, and the next commit after the limit has gone has all of them.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((256 * 4096))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
# The limit is one on all files of a process, so the destination's is another's.
start_nbdkit destination file "$tmp/dst"

# It cannot even be made.
( ulimit -S -f 8                # KiB
  refuse_clone "clone-bitmap=$bitmap:.* File too large" \
               nbd socket="$tmp/destination.sock" )

start () { start_clone nbd socket="$tmp/destination.sock" \
                       clone-hydration=false clone-commit-interval=3600; }
start
nbd "$clone_uri" '
R = 4096
limit_file_size(int(sys.argv[1]), 16384)    # the headers, and no block
h.pwrite(b"a" * R, 0)
for i in range(3):
    expect("flush", error_of(h.flush), "ENOSPC")
    h.pwrite(b"b" * R, (5 + i) * R)
expect("read", bytes(h.pread(R, 5 * R)), b"b" * R)
' "${pid_of[clone]}"
kill9 clone
start
nbd "$clone_uri" '
R = 4096
clone = int(sys.argv[1])
limit_file_size(clone, 16384)
expect("nothing was flushed", extents(connect(MAP)), [(256 * R, HOLE | ZERO)])
h.pwrite(b"a" * R, 0)
expect("flush", error_of(h.flush), "ENOSPC")
limit_file_size(clone, resource.RLIM_INFINITY)
h.pwrite(b"b" * R, 5 * R)
h.flush()
' "${pid_of[clone]}"
kill9 clone

# What a crash has left is written again at the start: it cannot be.
( under=(prlimit --fsize=16384)
  refuse_clone "clone-bitmap=$bitmap: cannot write to it: No space" \
               nbd socket="$tmp/destination.sock" )
start
nbd "$clone_uri" '
R = 4096
expect("pending, then flushed", bytes(h.pread(R, 0)), b"a" * R)
expect("the map", extents(connect(MAP)),
       [(R, 0), (4 * R, HOLE | ZERO), (R, 0), (250 * R, HOLE | ZERO)])
'
stop clone
