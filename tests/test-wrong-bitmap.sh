#!/usr/bin/env bash
# A bitmap file that does not belong to this disk, or is damaged, is refused
# (section 6, lesson 7): exit status 1, one line with both values or with file
# and offset, and neither file is touched.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=1048576
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-hydration=false clone-region-size=64K
nbd "$clone_uri" 'h.pwrite(b"x" * 100000, 70000); h.flush()'
stop clone
cp "$bitmap" "$tmp/good"

# refuse PATTERN ARGS...: nothing is touched.
refuse ()
{
    local pattern=$1 before
    shift
    before=$(summary "$bitmap"; summary "$tmp/dst")
    refuse_clone "$pattern" "$@"
    grep -qF "$bitmap" "$tmp/refused.err" ||
        fail "the message does not name the file: $(cat "$tmp/refused.err")"
    test "$(summary "$bitmap"; summary "$tmp/dst")" = "$before" ||
        fail "a file was touched: $*"
}

# Another region size, and the mode that is for new ones.
refuse '65536.*4096|4096.*65536' file "$tmp/dst" clone-region-size=4096
refuse 'create|exists' file "$tmp/dst" clone-bitmap-mode=create
# Another size of the disk.
truncate -s $((size + 65536)) "$tmp/dst"
refuse "$size.*$((size + 65536))|$((size + 65536)).*$size" file "$tmp/dst"
truncate -s $size "$tmp/dst"
# Another source: another size, another name.
truncate -s $((size - 4096)) "$tmp/src"
refuse "$size.*$((size - 4096))|$((size - 4096)).*$size" file "$tmp/dst"
truncate -s $size "$tmp/src"
source_uri_before=$source_uri
source_uri="nbd+unix:///another?socket=$tmp/source.sock"
refuse 'another' file "$tmp/dst"
source_uri=$source_uri_before

# Files that are no bitmap files.
: >"$bitmap"
refuse . file "$tmp/dst"
head -c 100 "$tmp/good" >"$bitmap"
refuse . file "$tmp/dst"
make_random "$bitmap" 65536
refuse . file "$tmp/dst"

# Damage that no crash explains: both slots of the header, or a version and a
# flag from the future; both slots of a block; a file that has lost its end.
damage ()
{
    cp "$tmp/good" "$bitmap"
    python -c '
import sys
with open(sys.argv[1], "r+b") as f:
    for at in map(int, sys.argv[2:]):
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 0x55]))
' "$bitmap" "$@"
}
damage 8 8200                           # magic, version or checksum
refuse . file "$tmp/dst"
damage 20 8212
refuse . file "$tmp/dst"
damage 60 8252
refuse . file "$tmp/dst"
damage 16484 20580                      # the bits of both slots of block 0
refuse '[0-9]' file "$tmp/dst"
cp "$tmp/good" "$bitmap"
truncate -s 8192 "$bitmap"
refuse . file "$tmp/dst"

# One damaged slot of two is what a crash may leave: the other one counts, if it
# is the newest that was committed.  And the untouched file is still good.
cp "$tmp/good" "$bitmap"
start_clone file "$tmp/dst" clone-hydration=false
nbd "$map_uri" 'expect("map", extents(h)[:3],
                       [(65536, 3), (131072, 0), (13 * 65536, 3)])'
stop clone
