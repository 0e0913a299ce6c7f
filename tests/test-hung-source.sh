#!/usr/bin/env bash
# Hydrated is free (P8): with the source stopped, a dozen requests of one
# client hang, and its reads and writes of hydrated regions go on, as do other
# clients', and flushes.  On SIGTERM all ends within seconds (P10), although the
# client stays connected; the bits are committed by then.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((16 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
start_clone -t 32 file "$tmp/dst" clone-hydration=false \
            clone-commit-interval=3600
nbd "$clone_uri" '
source, server = int(sys.argv[1]), int(sys.argv[2])
R = 4096

def quick(what, function, *args):
    start = time.monotonic()
    result = function(*args)
    assert time.monotonic() - start < 2, what + " waited for the source"
    return result

expect("to be hydrated", bytes(h.pread(MIB, 0)), content("src", 0, MIB))
wait_for(lambda: hydrated(0, MIB) == "yes", "reads are kept")
freeze(source)

hanging = [h.aio_pread(nbd.Buffer(R), 4 * MIB + 10 * i * R) for i in range(12)]
hanging.append(h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(5)), 9 * MIB))
third = connect()
more = [third.aio_pread(nbd.Buffer(MIB), 6 * MIB + 5) for i in range(4)]
for client in (h, third, connect()):
    client.poll(0)
    for i in range(100):
        expect("read", quick("read", client.pread, R, i * R),
               content("src", i * R, R))
    quick("write", client.pwrite, b"a" * 100, 2 * R + 5)
    quick("write", client.pwrite, content("src", 0, R), 0)
    quick("write, whole regions", client.pwrite, b"b" * 2 * R, 3 * MIB)
    quick("restore", client.pwrite, content("src", 2 * R, R), 2 * R)
    quick("zero", client.zero, R, 12 * MIB)
    quick("trim", client.trim, R, 13 * MIB)
    quick("flush", client.flush)
    quick("extents", client.block_status, 100 * R, 0, lambda *args: 0)
expect("all of these hang", [h.aio_command_completed(c) for c in hanging],
       [False] * 13)

# One more region, which is not committed, and then the end.
h.pwrite(b"z" * R, 15 * MIB)
os.kill(server, signal.SIGTERM)
start = time.monotonic()
wait_for(lambda: bit_on_disk(15 * MIB // R), "the last commit", 10)
# Those that wait for the source fail; nbdkit waits until its clients hang up.
for cookie in hanging:
    expect("hanging request", error_of(finish, h, cookie) is None, False)
assert time.monotonic() - start < 10, "it took too long"
' "${pid_of[source]}" "${pid_of[clone]}"
finish clone || fail "the exit status is $?"
kill -CONT "${pid_of[source]}"
start_clone file "$tmp/dst"
wait_hydrated
stop clone
