#!/usr/bin/env bash
# A disk that is never idle still becomes complete (lesson 20): with one client
# that always has some reads in flight, on missing regions or on hydrated ones,
# the background goes on.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((48 * 1048576))
make_random "$tmp/src" $size
start_source file "$tmp/src"
start_proxy
proxy latency 0.005
proxy bandwidth $((32 * 1048576))

# What is read is not kept, so missing regions stay missing for the client.
for where in missing hydrated; do
    for queue in 1 2 4 16; do
        make_garbage "$tmp/dst" $size
        rm -f "$bitmap"
        start_clone -t 32 file "$tmp/dst" clone-on-read=false
        rm -f "$tmp/enough"
        nbd "$clone_uri" '
import random
where, queue = sys.argv[1], int(sys.argv[2])
rng = random.Random(queue)
# The background begins at the start, and comes last to what is at the end.
first = 0 if where == "hydrated" else 40 * MIB
if where == "hydrated":
    h.cache(8 * MIB, 0)
in_flight = {}
while not os.path.exists(TMP + "/enough"):
    while len(in_flight) < queue:
        offset = first + rng.randrange(2048) * 4096
        data = nbd.Buffer(4096)
        in_flight[h.aio_pread(data, offset)] = (data, offset)
    h.poll(100)
    for cookie in [c for c in in_flight if h.aio_command_completed(c)]:
        data, offset = in_flight.pop(cookie)
        expect("read", bytes(data.to_bytearray()),
               content("src", offset, 4096))
for cookie in in_flight:
    finish(h, cookie)
' $where $queue &
        client=$!
        note "$where, queue $queue"
        # Alone it takes a second and a half; a tenth of that speed, on a machine
        # that is busy with other tests.
        wait_until -t 30 is_hydrated
        touch "$tmp/enough"
        wait $client || fail "the client has failed"
        stop clone
        expect_same "$tmp/dst" "$tmp/src"
    done
done
