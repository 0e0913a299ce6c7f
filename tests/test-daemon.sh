#!/usr/bin/env bash
# Without -f, nbdkit forks after .get_ready and changes to the root directory
# (lesson 15): relative paths, of the bitmap file and in the URI, are those of
# the directory it was started in, and hydration works in the process that is
# left.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 10000000
make_garbage "$tmp/dst" 10000000
start_source file "$tmp/src"
set_nbdkit_command clone
(
    cd "$tmp"
    "${nbdkit_command[@]}" -P clone.pid -U clone.sock \
        --filter="$CLONE_FILTER" file dst clone-bitmap=bitmap \
        'clone-source=nbd+unix:///?socket=source.sock' >clone.err 2>&1
) || fail "exit status $?"
wait_until test -s "$tmp/clone.pid"
pid=$(cat "$tmp/clone.pid")
ended () { ! kill -0 "$pid" 2>/dev/null; }
daemons=("$pid")
wait_until nbdinfo --size "$clone_uri" >/dev/null

test -s "$bitmap" || fail "the bitmap file is elsewhere"
test "$(stat -c %a "$bitmap")" = 600 || fail "mode of the bitmap file"
nbd "$clone_uri" 'h.pwrite(b"x" * 5000, 12345)'
wait_hydrated
kill -TERM "$pid"
wait_until ended
daemons=()

# What it has left behind is complete.
nbd "$source_uri" '
expected = bytearray(content("src"))
expected[12345:17345] = b"x" * 5000
expect("the destination", content("dst"), bytes(expected))
'
start_clone file "$tmp/dst" clone-hydration=false
is_hydrated || fail "complete no more"
stop clone
