#!/usr/bin/env bash
# The connection to the source is lost in the middle of requests (section 6):
# those that need it wait, are sent again when it is back, and succeed, since
# that is within clone-source-timeout.  Meanwhile hydrated regions and writes of
# whole ones do not notice (P7, P8).  The background goes on by itself.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((4 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
start_clone -t 32 file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" '
R = 4096
h.pread(MIB, 0)
wait_for(lambda: hydrated(0, MIB) == "yes", "reads are kept")

# Requests that have reached a server that is about to be killed.
freeze(int(sys.argv[1]))
waiting = []
for i in range(8):
    buf = nbd.Buffer(10 * R)
    offset = MIB + 20 * i * R + 5
    waiting.append((h.aio_pread(buf, offset), buf, offset))
partial = nbd.Buffer.from_bytearray(bytearray(b"p" * 100))
write = h.aio_pwrite(partial, 3 * MIB + 50)
h.poll(0)
open(TMP + "/asked", "w").close()
wait_for(lambda: b"lost (" in content("clone.err"), "the clone has noticed")

other = connect()
for i in range(20):
    start = time.monotonic()
    expect("hydrated", bytes(other.pread(R, i * R)), content("src", i * R, R))
    other.pwrite(content("src", i * R, R), i * R)
    other.pwrite(b"w" * R, 2 * MIB + i * R)
    other.flush()
    assert time.monotonic() - start < 2, "it waited for the source"
expect("these wait", [h.aio_command_completed(c) for c, _, _ in waiting],
       [False] * 8)

open(TMP + "/checked", "w").close()
for cookie, buf, offset in waiting:
    finish(h, cookie)
    expect("read", bytes(buf.to_bytearray()), content("src", offset, 10 * R))
finish(h, write)
expect("partial write", bytes(h.pread(200, 3 * MIB)),
       content("src", 3 * MIB, 50) + b"p" * 100 +
       content("src", 3 * MIB + 150, 50))
' "${pid_of[source]}" &
client=$!
wait_until test -e "$tmp/asked"
kill9 source
wait_until test -e "$tmp/checked"
start_source file "$tmp/src"
wait "$client" || fail "the client has failed"
stop clone

# In the middle of hydration.
rm "$bitmap"
start_clone file "$tmp/dst" clone-rate=4M
some_hydrated () { test "$(hydrated_bytes)" -ge 1000000; }
wait_until some_hydrated
kill9 source
wait_until grep -q 'lost (' "$tmp/clone.err"
start_source file "$tmp/src"
wait_hydrated
stop clone
expect_same "$tmp/dst" "$tmp/src"
