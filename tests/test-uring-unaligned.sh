#!/usr/bin/env bash
# With direct=true, a write of a part of a block has to read the rest of it and
# put it back.  Many such writes at a time, side by side in the same blocks and
# beside whole blocks and zeroes, lose nothing.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

make_random "$disk" 3000000
start_uring direct=true
nbd "$uring_uri" '
from uring import *
clients = [connect(os.environ["uring_uri"]) for _ in range(4)]
rng = random.Random(3)
expected = bytearray(h.pread(3000000, 0))
for turn in range(60):
    # Cut the same few blocks into pieces that do not overlap.
    base = rng.choice((0, MIB - 4096, 2 * MIB + 512, 3000000 - 40960))
    cuts = sorted(rng.sample(range(1, 40960), 30) +
                  rng.sample(range(512, 40960, 512), 10))
    pieces = [(base + a, b - a) for a, b in zip([0] + cuts, cuts + [40960])
              if a < b]
    rng.shuffle(pieces)
    waiting = []
    for i, (offset, length) in enumerate(pieces):
        client = clients[i % len(clients)]
        if rng.random() < 0.2:
            data = bytes(length)
            cookie = client.aio_zero(length, offset)
        else:
            data = rng.randbytes(length)
            cookie = client.aio_pwrite(
                nbd.Buffer.from_bytearray(bytearray(data)), offset)
        expected[offset:offset + length] = data
        waiting.append((client, cookie))
    for client, cookie in waiting:
        finish(client, cookie)
    expect("turn %d" % turn, bytes(h.pread(40960, base)),
           bytes(expected[base:base + 40960]))
expect("the disk", bytes(h.pread(3000000, 0)), bytes(expected))

# The same with a zero of the whole blocks that they are in: what none of them
# has written is zero.
for turn in range(100):
    h.pwrite(b"x" * 65536, 0)
    waiting = []
    for i in range(24):
        client = clients[i % len(clients)]
        waiting.append((client, client.aio_zero(65536, 0) if i == 8 else
                        client.aio_pwrite(nbd.Buffer.from_bytearray(
                            bytearray(b"y" * 100)), 2048 * i + 100)))
    for client, cookie in waiting:
        finish(client, cookie)
    expect("turn %d" % turn, set(bytes(h.pread(65536, 0))) <= set(b"\0y"), True)
expected[:65536] = h.pread(65536, 0)
with open(TMP + "/expected", "wb") as f:
    f.write(expected)
'
stop uring
expect_same "$disk" "$tmp/expected"
