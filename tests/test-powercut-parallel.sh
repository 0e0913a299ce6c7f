#!/usr/bin/env bash
# Many requests at a time on several connections, with memory for few of them:
# nothing is mixed up, neither while flushes go on nor in the end.  Then the
# power is cut in the midst of it: whatever a client was told to be flushed is
# there.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=powercut.sh
. "${srcdir:-.}/powercut.sh"
size=$((32 << 20))
make_random "$tmp/data" $size
for memory in 64K 1M 64M; do
    new_disk
    start_disk powercut-cache-size=$memory
    nbdcopy --connections=4 --requests=16 --request-size=65536 "$tmp/data" \
            "$disk_uri"
    nbdcopy --connections=4 "$disk_uri" "$tmp/copy"
    expect_same "$tmp/copy" "$tmp/data"
    stop powercut
    expect_same "$disk" "$tmp/data"
done

# Each client has its own blocks, and counts in them: a block holds the last
# number that was flushed, or a newer one.
for seed in 1 2 3; do
    new_disk
    start_disk powercut-seed=$seed powercut-at=$((seed * 500)) \
               powercut-cache-size=256K powercut-report="$tmp/report"
    clients=
    for client in 0 1 2 3; do
        nbd "$disk_uri" '
me = int(sys.argv[1])
BLOCKS = 200
def place(i):
    return (i % BLOCKS * 4 + me) * 4096
flushed, i = 0, 1
while error_of(h.pwrite, i.to_bytes(8, "little") * 512, place(i)) is None:
    i += 1
    if i % 20 == 0:
        if error_of(h.flush):
            break
        flushed = i
h.shutdown()
for j in range(max(1, flushed - BLOCKS), flushed):
    block = content("disk", place(j), 4096)
    for k in range(0, 4096, 512):
        n = int.from_bytes(block[k:k + 8], "little")
        assert j <= n <= i and (n - j) % BLOCKS == 0, \
            "%d was flushed, there is %d (of %d)" % (j, n, i)
print("client %d: %d writes, %d flushed" % (me, i - 1, flushed))
' $client &
        clients="$clients $!"
    done
    for client in $clients; do
        wait "$client" || fail "seed $seed: a client has lost something"
    done
    expect_report seed $seed
    note "$(cat "$tmp/report")"
    stop powercut
done
