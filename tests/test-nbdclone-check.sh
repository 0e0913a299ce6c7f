#!/usr/bin/env bash
# nbdclone check: is a bitmap file sound?  The status is fsck's.  Nothing is
# written, and a file that a server uses is left alone.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
start_source file "$tmp/src"
check () { nbdclone check "$1" >"$tmp/said"; }

start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" 'h.pwrite(b"x" * 65536, 0); h.flush()'
refuse 8 'a server uses it.*nbdclone status' check "$bitmap"
kill9 clone
chmod 400 "$bitmap"
before=$(summary "$bitmap")
check "$bitmap" || fail "status $? after a crash"
grep -q 'sound, not closed in order.*16 of 256 regions hydrated (6.2 %)' \
    "$tmp/said" || fail "$(cat "$tmp/said")"
test "$(summary "$bitmap")" = "$before" || fail "it was written"
chmod 600 "$bitmap"

start_clone file "$tmp/dst" clone-hydration=false
stop clone
check "$bitmap" || fail "status $? after an orderly end"
grep -q 'sound, closed in order' "$tmp/said" || fail "$(cat "$tmp/said")"

# Damage, of blocks and of both headers.
cp "$bitmap" "$tmp/damaged"
printf 'x' | dd of="$tmp/damaged" bs=1 seek=16484 conv=notrunc status=none
refuse 4 'damaged.*offset 16384: the block.s checksum is' check "$tmp/damaged"
head -c 4096 /dev/zero |
    dd of="$tmp/damaged" bs=4096 seek=0 conv=notrunc status=none
head -c 4096 /dev/zero |
    dd of="$tmp/damaged" bs=4096 seek=2 conv=notrunc status=none
refuse 4 'no sound bitmap file: offset 0: no header' check "$tmp/damaged"
refuse 4 'too short' check "$0"

refuse 8 'none: No such file' check "$tmp/none"
refuse 8 'not a regular file' check /dev/null
refuse 16 'one bitmap file is wanted' check
refuse 16 'b: nothing more is wanted' check a b
