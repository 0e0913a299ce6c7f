#!/usr/bin/env bash
# Writes never wait for the source (P7, lesson 10).  It answers after three
# seconds; writes of whole regions take less than one, also while the background
# or a read is fetching those very regions.  The late fetches don't overwrite
# them, and a partial write that needs one puts its bytes on top.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((4 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source -t 16 --filter=delay file "$tmp/src" rdelay=3
start_clone -t 32 file "$tmp/dst"
nbd "$clone_uri" '
R = 4096
size = h.get_size()
expected = bytearray(content("src"))

# These fetches are under way when the writes come.
slow = []
buffers = {}
for i in (1, 50, 300, 700):
    buffers[i] = nbd.Buffer(R)
    slow.append(h.aio_pread(buffers[i], i * R))
partial = bytearray(b"p" * 100)
slow.append(h.aio_pwrite(nbd.Buffer.from_bytearray(partial), 500 * R + 50))
h.poll(0)

other = connect()
for i in list(range(0, 280, 7)) + [50, 300, 499, 501]:
    start = time.monotonic()
    client = (h, other)[i % 2]
    data = bytes([i % 250 + 1]) * R
    client.pwrite(data, i * R)
    assert time.monotonic() - start < 1, "a write waited for the source"
    expected[i * R:(i + 1) * R] = data
    expect("what was written", bytes(client.pread(R, i * R)), data)
    assert time.monotonic() - start < 1, "a read of it waited too"
start = time.monotonic()
h.flush()
assert time.monotonic() - start < 1, "a flush waited for the source"
# Whole regions in the very region where a partial write waits.
other.pwrite(b"w" * R, 500 * R)
assert time.monotonic() - start < 2, "a write waited for a waiting write"
expect("none of the slow ones has come back",
       [h.aio_command_completed(c) for c in slow][0], False)
run_async(h, lambda: slow)
expected[500 * R:501 * R] = b"w" * R
now = bytes(h.pread(R, 500 * R))
assert now[:50] + now[150:] == b"w" * (R - 100), "the late fetch has won"
expect("the partial write", now[50:150], b"p" * 100)
expected[500 * R:501 * R] = now
with open(TMP + "/expected", "wb") as f:
    f.write(expected)
'
wait_hydrated
stop clone
expect_same "$tmp/dst" "$tmp/expected"
