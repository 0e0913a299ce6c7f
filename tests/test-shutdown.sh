#!/usr/bin/env bash
# SIGTERM in the middle of hydration and of a client's writes (lessons 8, 18):
# the background stops, the writes are drained, everything is committed.  What
# was hydrated is not fetched again, not one region.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((64 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
cp "$tmp/src" "$tmp/expected"
start_source --filter=log file "$tmp/src" logfile="$tmp/source.log"

fetched=0
for life in 1 2 3; do
    start_clone file "$tmp/dst" clone-rate=16M
    nbd "$clone_uri" '
server, life = int(sys.argv[1]), int(sys.argv[2])
wait_for(lambda: bytes_hydrated() >= life * 8 * MIB, "some hydration")
data = bytes([life]) * 4096
cookies = []
for i in range(40):
    buf = nbd.Buffer.from_bytearray(bytearray(data))
    offset = 32 * MIB + (life * 40 + i) * 16384
    if i > 20 and not h.aio_is_ready() and not h.aio_is_processing():
        break                           # nbdkit has hung up already
    cookies.append((i, h.aio_pwrite(buf, offset)))
    if i == 20:
        os.kill(server, signal.SIGTERM)
with open(TMP + "/expected", "r+b") as f:
    for i, cookie in cookies:
        # nbdkit does not answer what comes after SIGTERM, and hangs up.
        if error_of(finish, h, cookie) is None:
            os.pwrite(f.fileno(), data, 32 * MIB + (life * 40 + i) * 16384)
' "${pid_of[clone]}" $life
    finish clone || fail "exit status $?"
    start_clone file "$tmp/dst" clone-hydration=false clone-on-read=false
    grep -q 'unclean' "$tmp/clone.err" && fail "it was not marked clean"
    kept=$(hydrated_bytes)
    test "$kept" -lt $size || fail "complete already: nothing was tested"
    stop clone
done
before=$(log_bytes Read "$tmp/source.log")
start_clone file "$tmp/dst"
wait_hydrated
stop clone
fetched=$(($(log_bytes Read "$tmp/source.log") - before))
test "$fetched" -le $((size - kept)) ||
    fail "$fetched bytes were fetched, but $((size - kept)) were missing"
# Where a write was not answered, there are the source's bytes or its own.
nbd "$source_uri" '
dst, expected = content("dst"), content("expected")
for at in range(0, len(dst), 4096):
    a, b = dst[at:at + 4096], expected[at:at + 4096]
    if a != b:
        assert b == content("src", at, 4096) and len(set(a)) == 1 and \
            a[0] in (1, 2, 3), "wrong bytes at %d" % at
'
