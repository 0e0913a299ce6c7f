#!/usr/bin/env bash
# 2^32 regions (P9, lesson 4): 16 TiB with regions of 4 KiB, and 2^62 bytes with
# regions of 1 GiB.  Made with hydration off, written at both ends, flushed and
# resumed, in under 100 MiB of memory and of disk.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

resident_kib () { awk '/^VmHWM/ { print $2 }' "/proc/${pid_of[clone]}/status"; }

for disk in "$((1 << 44)) 4096" "$((1 << 62)) $((1 << 30))"; do
    read -r size region <<<"$disk"
    rm -f "$bitmap"
    start_source memory "$size"
    for life in 1 2; do
        start_clone memory "$size" clone-hydration=false \
                    clone-region-size="$region"
        nbd "$clone_uri" '
size, R, life = map(int, sys.argv[1:])
expect("size", h.get_size(), size)
m = connect(MAP)
end = size - R

def hydrated_at(offset):
    return extents(m, offset, 4096)[0][1] == 0

if life == 2:
    # The memory plugin forgets its data, but the bits are there.
    for offset in (0, end, size // 2, size // 2 - R, 5 * R):
        expect("resumed, at %d" % offset, hydrated_at(offset), True)
expect("untouched", hydrated_at(3 * R), False)
expect("untouched", hydrated_at(end - R), False)
for offset in (0, size - 4096, size // 2, size // 2 - 4096, 5 * R):
    h.pwrite(b"x" * 4096, offset)
    expect("what was written", bytes(h.pread(4096, offset)), b"x" * 4096)
h.flush()
expect("untouched", hydrated_at(3 * R), False)
expect("untouched", hydrated_at(end - R), False)
expect("written", hydrated_at(0) and hydrated_at(end), True)
h.pwrite(b"y", size - 1, nbd.CMD_FLAG_FUA)
expect("the last byte", bytes(h.pread(1, size - 1)), b"y")
' "$size" "$region" "$life"
        # A sanitizer's own memory is not ours.
        if test "$SANITIZER" = none; then
            test "$(resident_kib)" -lt 102400 ||
                fail "$(resident_kib) KiB resident at $disk"
        fi
        stop clone
        allocated=$(du -k "$bitmap" | cut -f1)
        test "$allocated" -lt 102400 ||
            fail "the bitmap file takes $allocated KiB at $disk"
        grep -q "of 4294967296 regions" "$tmp/clone.err" ||
            ! grep -q "of -\|of 0 regions" "$tmp/clone.err" ||
            fail "the number of regions is wrong"
    done
    stop source
done
