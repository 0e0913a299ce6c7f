#!/usr/bin/env bash
# The destination has no space left (ENOSPC, section 6): what a read has fetched
# cannot be kept, but the read is answered; the background pauses and tries
# again, and says so; a client's own write fails with ENOSPC.  What is
# hydrated goes on, flushes succeed, and once there is space the clone becomes
# complete by itself.

mounts=yes
# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((8 * 1048576))
make_random "$tmp/src" $size
mount_tmpfs 4m
truncate -s $size "$tmp/fs/dst"
start_source file "$tmp/src"
start_clone file "$tmp/fs/dst" clone-threshold=1 clone-batch=$size

# It would have given up on what fails five times.
tried () { test "$(grep -c 'pwrite: No space' "$tmp/clone.err")" -ge 7; }
wait_until tried
grep -q 'cannot write to the destination .* No space left' "$tmp/clone.err" ||
    fail "the log does not say it"
nbd "$clone_uri" '
R = 4096
def find(wanted):
    """A region that is hydrated, or is not, and that nobody will change."""
    return next(o for o in range(h.get_size() - R, -R, -R)
                if hydrated(o, R) == wanted)

# Whatever space is left is for these first.
for offset in range(0, 8 * MIB, 64 * KIB):
    expect("read", bytes(h.pread(64 * KIB, offset)),
           content("src", offset, 64 * KIB))
fill("fs/filler")
there, missing = find("yes"), find("no")
for flags in (0, nbd.CMD_FLAG_FUA):
    expect("write", error_of(h.pwrite, b"x" * R, missing, flags), "ENOSPC")
    expect("partial write", error_of(h.pwrite, b"x", missing + 5, flags),
           "ENOSPC")
expect("read", bytes(h.pread(R, missing)), content("src", missing, R))
expect("it is not hydrated", hydrated(missing, R), "no")
h.pwrite(content("src", there, R), there)
h.flush()
expect("hydrated", bytes(h.pread(R, there)), content("src", there, R))
'
! grep 'gave up' "$tmp/clone.err" || fail "a full destination is no failure"

mount -o remount,size=16m "$tmp/fs"
wait_hydrated
stop clone
expect_same "$tmp/fs/dst" "$tmp/src"
