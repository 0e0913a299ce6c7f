#!/usr/bin/env bash
# Which export was cloned is in the bitmap file.  Another one is refused when the
# clone is resumed, with a message that says what differs, unless
# clone-source-force=true.  Then the recorded size stays in force: a smaller
# source is refused all the same, of a larger one only that much is used.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((4 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
sourced_as () { source_uri="nbd+unix:///$1?socket=$tmp/source.sock"; }

# Half of it is there when the source moves.
start_source file "$tmp/src"
sourced_as one
start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" 'h.cache(2 * MIB, 0); h.flush()'
stop clone
stop source

# refuse PATTERN ARGS...: neither file is touched.
refuse ()
{
    local pattern=$1 before
    shift
    before=$(summary "$bitmap"; summary "$tmp/dst")
    refuse_clone "$pattern" file "$tmp/dst" "$@"
    test "$(summary "$bitmap"; summary "$tmp/dst")" = "$before" ||
        fail "a file was touched: $*"
}

# Smaller: never.
truncate -s $((size - 4096)) "$tmp/src"
start_source file "$tmp/src"
both_sizes="$((size - 4096)).*$size|$size.*$((size - 4096))"
refuse "$both_sizes"
refuse "$both_sizes" clone-source-force=true
stop source

# Larger, and of another name.
make_random "$tmp/more" 100000
dd if=/dev/zero bs=4096 count=1 status=none >>"$tmp/src"
nbd_size=$((size + 100000 - 100000 % 512))
cp "$tmp/src" "$tmp/larger"
truncate -s $size "$tmp/larger"
# What follows the recorded end must never get into the destination.
cat "$tmp/more" >>"$tmp/larger"
truncate -s $nbd_size "$tmp/larger"
start_source file "$tmp/larger"
refuse "$nbd_size.*$size|$size.*$nbd_size"
refuse "$nbd_size.*$size|$size.*$nbd_size" clone-source-force=false
sourced_as two
refuse 'one.*two|two.*one|[0-9]' clone-source-force=false
stop source

start_source file "$tmp/src"
refuse 'one.*two|two.*one'
start_clone file "$tmp/dst" clone-source-force=true clone-hydration=false
stop clone
stop source
start_source file "$tmp/larger"
start_clone file "$tmp/dst" clone-source-force=true
nbd "$clone_uri" 'expect("size", h.get_size(), 4 * MIB)'
wait_hydrated
stop clone
truncate -s $size "$tmp/larger"
expect_same "$tmp/dst" "$tmp/larger"
