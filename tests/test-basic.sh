#!/usr/bin/env bash
# The main job, on a small disk: what the source holds can be read from the
# first second, writes win over it (P1), background hydration completes, and
# the destination is then a plain copy that needs none of our parts.  The
# source is only ever read (P6).

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((20 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
cp "$tmp/src" "$tmp/expected"
before=$(summary "$tmp/src")
start_source file "$tmp/src"

# With hydration off: only what the client reads and writes is touched.
start_clone file "$tmp/dst" clone-hydration=false clone-bitmap-mode=auto
test "$(nbdinfo --size "$clone_uri")" -eq $size || fail "size of the disk"
nbdcopy "$clone_uri" "$tmp/copy" --connections=2
expect_same "$tmp/copy" "$tmp/src"
stop clone

# Start again from nothing, with hydration on and a client that writes.
rm "$bitmap"
make_garbage "$tmp/dst" $size
start_clone file "$tmp/dst"
nbd "$clone_uri" '
rw = open(TMP + "/expected", "r+b")
for offset, length in ((0, 4096), (4096, 1), (5 * MIB + 1, 70000),
                       (h.get_size() - 3, 3), (10 * MIB, MIB)):
    data = b"w" * length
    h.pwrite(data, offset)
    expect("what was written", bytes(h.pread(length, offset)), data)
    rw.seek(offset)
    rw.write(data)
h.flush()
rw.close()
'
nbdcopy "$clone_uri" "$tmp/copy"
expect_same "$tmp/copy" "$tmp/expected"
wait_hydrated
stop clone

expect_same "$tmp/dst" "$tmp/expected"
test "$(summary "$tmp/src")" = "$before" || fail "the source was changed"

# Complete: neither the source nor anything else is needed any more.
stop source
start_clone file "$tmp/dst"
nbdcopy "$clone_uri" "$tmp/copy"
expect_same "$tmp/copy" "$tmp/expected"
stop clone
