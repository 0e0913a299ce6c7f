#!/usr/bin/env bash
# A clone onto nbdkit-uring-plugin, which makes its disk itself, is killed again
# and again, and completes: what was flushed is there, and the rest is the
# source's.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

size=$((48 * 1048576 + 5000))
make_random "$tmp/src" $size
cp "$tmp/src" "$tmp/expected"
start_source file "$tmp/src"

some_hydrated () { test "$(hydrated_bytes)" -ge "$1"; }

for life in 1 2 3; do
    start_clone "$URING_PLUGIN" "$disk" create=$size direct=true \
                clone-rate=16M
    nbd "$clone_uri" '
life = int(sys.argv[1])
data = bytes([life]) * 300000
for offset in life * 5 * MIB + 100, 40 * MIB - life * MIB:
    h.pwrite(data, offset)
    with open(TMP + "/expected", "r+b") as f:
        os.pwrite(f.fileno(), data, offset)
h.trim(100000, 30 * MIB + 1)
with open(TMP + "/expected", "r+b") as f:
    os.pwrite(f.fileno(), bytes(100000), 30 * MIB + 1)
h.flush()
' $life
    wait_until some_hydrated $((life * 8 * 1048576))
    kill9 clone
done

start_clone "$URING_PLUGIN" "$disk" create=$size
nbdcopy "$clone_uri" "$tmp/copy"
expect_same "$tmp/copy" "$tmp/expected"
wait_hydrated
stop clone
expect_same "$disk" "$tmp/expected"
