#!/usr/bin/env bash
# A zero, and a trim, of 2 GiB in one request, over destinations without zero:
# every byte of it is zero then.  (nbdkit's own fallback for plugins leaves most
# of it as it was: lesson 15.)

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

plain=$abs_top_builddir/tests/.libs/plain-plugin.so
size=$((2 * 1024 * 1048576 + 3 * 1048576))
truncate -s $size "$tmp/src"
start_source "$plain" plain-file="$tmp/src"
for operation in zero trim; do
    for zeromode in none emulate plugin; do
        rm -f "$bitmap"
        # Garbage at places all over the disk.
        truncate -s 0 "$tmp/dst"
        truncate -s $size "$tmp/dst"
        for ((at = 0; at < size; at += 33 * 1048576)); do
            printf 'garbage' | dd of="$tmp/dst" bs=1 seek=$((at + 5)) \
                conv=notrunc status=none
        done
        if test $zeromode = plugin; then
            start_clone "$plain" plain-file="$tmp/dst" \
                        clone-region-size=64K clone-hydration=false
        else
            start_clone --filter=nozero "$plain" plain-file="$tmp/dst" \
                        zeromode=$zeromode clone-region-size=64K \
                        clone-hydration=false
        fi
        nbd "$clone_uri" '
operation = getattr(h, sys.argv[1])
h.pwrite(b"before", MIB - 6)
for life in range(2):                   # not hydrated, then hydrated
    operation(2 * GIB, MIB)
    h.flush()
    expect("before", bytes(h.pread(6, MIB - 6)), b"before")
    with open(TMP + "/dst", "r+b") as f:
        for at in range(0, 2 * GIB, 33 * MIB):
            if MIB <= at + 5 < 2 * GIB + MIB:
                expect("at %d" % at, os.pread(f.fileno(), 7, at + 5), bytes(7))
    for at in range(MIB, 2 * GIB + MIB, 512 * MIB):
        expect("disk", h.pread(32 * MIB, at), bytearray(32 * MIB))
    for at in range(33 * MIB, 2 * GIB, 33 * MIB):
        h.pwrite(b"again", at + 5)
' $operation
        stop clone
    done
done
