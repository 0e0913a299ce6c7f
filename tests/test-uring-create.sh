#!/usr/bin/env bash
# create=SIZE makes a file that is missing, with mode 0600, and leaves one alone
# that is there and has this size.  prealloc=falloc reserves its space, and
# zeroes do not give it up; trims do.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

allocated () { du -B1 "$disk" | cut -f1; }

refuse_uring "file=$disk: cannot open it: No such file" "$disk"
for direct in false true; do
    rm -f "$disk"
    start_uring create=3000001 direct=$direct
    test "$(stat -c '%s %a' "$disk")" = "3000001 600" || fail "size, mode"
    nbd "$uring_uri" '
expect("size", h.get_size(), 3000001)
expect("it is empty", pread(h, 3000001, 0), bytes(3000001))
h.pwrite(b"written", 3000001 - 7)
'
    stop uring
    test "$(allocated)" -le 65536 || fail "it is not sparse"

    start_uring create=3000001 direct=$direct
    nbd "$uring_uri" '
expect("what is there", bytes(h.pread(7, 3000001 - 7)), b"written")'
    stop uring
done
before=$(summary "$disk")
refuse_uring "$disk: it exists and has 3000001 bytes, but create=4194304" \
             "$disk" create=4M
test "$(summary "$disk")" = "$before" || fail "it was touched"
refuse_uring 'create=8388608: cannot make it: No such file' \
             "$tmp/nowhere/disk" create=8M

for direct in false true; do
    rm -f "$disk"
    start_uring create=8M prealloc=falloc direct=$direct
    test "$(allocated)" -ge $((8 * 1048576)) || fail "space is not reserved"
    nbd "$uring_uri" '
h.pwrite(b"x" * MIB, 0)
h.zero(MIB, 0)
expect("zeroes", bytes(h.pread(MIB, 0)), bytes(MIB))
h.flush()
'
    test "$(allocated)" -ge $((8 * 1048576)) || fail "a zero gave up space"
    nbd "$uring_uri" 'h.trim(2 * MIB, 0); h.flush()'
    test "$(allocated)" -le $((6 * 1048576 + 65536)) || fail "trim"
    stop uring
    # A file that is there gets what it has not.
    start_uring prealloc=falloc direct=$direct
    test "$(allocated)" -ge $((8 * 1048576)) || fail "space is not reserved"
    stop uring
done
ls -A "$tmp" >"$tmp/left"
! grep '^disk\.' "$tmp/left" || fail "a temporary file was left"
