#!/usr/bin/env bash
# Disks of 1, 63, 64 and 65 regions, and of one bitmap block less one, exactly,
# and one more, with and without a short last region (lessons 4 and 6):
# written at both ends, flushed, killed, resumed, hydrated to the end.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

for regions in 1 63 64 65 32255 32256 32257; do
    for short in 0 1000; do
        size=$((regions * 4096 - short))
        rm -f "$bitmap"
        make_random "$tmp/src" $size
        make_garbage "$tmp/dst" $size
        start_source file "$tmp/src"
        start_clone file "$tmp/dst" clone-hydration=false
        nbd "$clone_uri" '
size = h.get_size()
expected = bytearray(content("src"))
for offset, data in ((0, b"a"), (size - 1, b"z"), (size // 2, b"m")):
    h.pwrite(data, offset)
    expected[offset:offset + 1] = data
h.flush()
with open(TMP + "/expected", "wb") as f:
    f.write(expected)
'
        before=$(hydrated_bytes)
        kill9 clone
        start_clone file "$tmp/dst" clone-hydration=false
        test "$(hydrated_bytes)" -eq "$before" ||
            fail "$size bytes: $before were hydrated, then $(hydrated_bytes)"
        stop clone
        start_clone file "$tmp/dst"
        wait_hydrated
        stop clone
        expect_same "$tmp/dst" "$tmp/expected"
        # Complete, and it stays so.
        start_clone file "$tmp/dst" clone-hydration=false
        is_hydrated || fail "$size bytes: complete no more"
        stop clone
        stop source
    done
done
