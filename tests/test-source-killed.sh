#!/usr/bin/env bash
# The source is killed and started again 50 times while the clone is hydrating,
# the last time before that is complete.  Clients read and write meanwhile: no
# request fails, all that is read is right, and the clone becomes complete.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((64 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size

# Half a megabyte a second, so that it is killed with requests in flight.
start_slow_source ()
{
    rm -f "$tmp/source.log"
    start_source --filter=log --filter=rate file "$tmp/src" \
                 logfile="$tmp/source.log" rate=4M
}
has_read () { grep -qs ' Read id' "$tmp/source.log"; }

start_slow_source
start_clone -t 32 file "$tmp/dst" clone-batch=16K
kill9 source

# Two clients, each in half of the disk, until the file "enough" exists.
nbd "$clone_uri" '
import random, threading
expected = bytearray(content("src"))
done = [0, 0]
def work(half):
    rng = random.Random(half)
    client = connect()
    while not os.path.exists(TMP + "/enough"):
        length = rng.choice((1, 512, 4096, 20000))
        offset = half * 32 * MIB + rng.randrange(32 * MIB - length)
        if rng.random() < 0.3:
            data = rng.randbytes(length)
            client.pwrite(data, offset)
            expected[offset:offset + length] = data
        else:
            expect("read", bytes(client.pread(length, offset)),
                   bytes(expected[offset:offset + length]))
        done[half] += 1
failed = []
threading.excepthook = failed.append
threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert not failed, "a client has failed: %s" % failed
print("%d and %d requests" % tuple(done))
with open(TMP + "/expected", "wb") as f:
    f.write(expected)
' &
clients=$!

for _ in $(seq 50); do
    start_slow_source
    wait_until has_read
    kill9 source
done
! is_hydrated || fail "complete already: nothing was tested"
start_source file "$tmp/src"
wait_hydrated
touch "$tmp/enough"
wait $clients || fail "a request has failed"
stop clone
expect_same "$tmp/dst" "$tmp/expected"
