#!/usr/bin/env bash
# Two clients want the same missing region, and the first one's read has a
# hydrated part as well, at a slow destination: the second one gets the answer
# when it is there, and does not wait for the first one to look at it.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=1048576
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source --filter=delay file "$tmp/src" rdelay=20ms
start_clone --filter=delay file "$tmp/dst" clone-hydration=false rdelay=500ms
nbd "$clone_uri" '
R = 4096
other = connect()
took = []
for offset in range(0, 5 * 2 * R, 2 * R):
    h.pwrite(b"w" * R, offset + R)
    cookie = h.aio_pread(nbd.Buffer(2 * R), offset)
    expect("read", bytes(other.pread(R, offset)), content("src", offset, R))
    start = time.monotonic()
    finish(h, cookie)
    took.append(time.monotonic() - start)
print("before the first one:", ["%.3f" % s for s in took])
assert sorted(took)[1] > 0.4, "it has waited for the first one"
'
stop clone
