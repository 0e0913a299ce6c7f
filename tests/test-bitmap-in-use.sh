#!/usr/bin/env bash
# One bitmap file, one server (section 6): the second one is refused with a line
# that names the file, after having waited for the lock for ten seconds (section
# 5), and the first one does not notice.  Once the first one is gone, or killed,
# the next one starts.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
make_garbage "$tmp/other" 1048576
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" 'h.pwrite(b"x" * 4096, 0); h.flush()'
before=$(summary "$tmp/other")
refuse_clone "$bitmap.*(in use|lock)" file "$tmp/other"
test "$(summary "$tmp/other")" = "$before" || fail "destination was touched"
nbd "$clone_uri" '
h.pwrite(b"y" * 4096, 8192)
h.flush()
expect("map", extents(connect(MAP), 0, 16384),
       [(4096, 0), (4096, 3), (4096, 0), (4096, 3)])
'
# This one waits until the first one has gone.
mv "$tmp/clone.sock" "$tmp/first.sock"
pid_of[first]=${pid_of[clone]}
launch clone clone --filter="$CLONE_FILTER" file "$tmp/dst" \
    clone-source="$source_uri" clone-bitmap="$bitmap" clone-hydration=false
kill9 first
wait_until is_ready clone
nbd "$map_uri" '
expect("map", extents(h, 0, 16384),
       [(4096, 0), (4096, 3), (4096, 0), (4096, 3)])
'
stop clone
