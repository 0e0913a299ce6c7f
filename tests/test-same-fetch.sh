#!/usr/bin/env bash
# Clients that want the same missing range at the same time cause one fetch, and
# each gets the data; whether they read, write a part of a region, or ask for it
# to be hydrated.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((8 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source --filter=log file "$tmp/src" logfile="$tmp/source.log"
start_proxy
start_clone -t 32 file "$tmp/dst" clone-hydration=false clone-region-size=64K
nbd "$clone_uri" '
R = 64 * KIB
clients = [h] + [connect() for _ in range(7)]

def bytes_fetched(issue):
    """What the source has been asked for by requests that are issued while no
    answer can come; issue (client, number) returns [cookie]"""
    before = len(logged("source.log"))
    tell_proxy("freeze")
    asked = []
    for i, client in enumerate(clients):
        asked += [(client, cookie) for cookie in issue(client, i)]
        client.poll(0)
        # The answer to this shows that those have been received.
        client.block_status(512, 0, lambda *args: 0)
    let_settle(int(sys.argv[1]))
    tell_proxy("thaw")
    for client, cookie in asked:
        finish(client, cookie)
    return sum(count for kind, _, count in logged("source.log")[before:]
               if kind == "Read")

buffers = []
def read(client, length, offset):
    buffers.append((offset, nbd.Buffer(length)))
    return client.aio_pread(buffers[-1][1], offset)

def write(client, offset):
    return client.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b"w")), offset)

# Region 0 is there, for what is asked of it.
h.pread(512, 0)
wait_for(lambda: hydrated(0, R) == "yes", "reads are kept")

expect("bytes fetched, the same range",
       bytes_fetched(lambda client, i: [read(client, R, MIB)]), R)
fetched = bytes_fetched(lambda client, i: [
    read(client, 4096, 2 * MIB + 4096 * i)])
assert fetched <= R, "%d bytes fetched, parts of the same region" % fetched
expect("bytes fetched, ranges that overlap",
       bytes_fetched(lambda client, i: [read(client, 4 * R, 3 * MIB + R * i)]),
       11 * R)
for offset, data in buffers:
    expect("read", bytes(data.to_bytearray()),
           content("src", offset, len(data)))

expect("bytes fetched, reads, writes and cache of the same region",
       bytes_fetched(lambda client, i: [
           read(client, 4096, 5 * MIB),
           write(client, 5 * MIB + 8192 + i),
           client.aio_cache(R, 5 * MIB)]), R)
expected = bytearray(content("src", 5 * MIB, R))
expected[8192:8200] = b"w" * 8
expect("what was written", bytes(h.pread(R, 5 * MIB)), bytes(expected))
' "${pid_of[clone]}"
stop clone
