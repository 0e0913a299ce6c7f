#!/usr/bin/env bash
# One bitmap file, one server (section 6): the second one is refused with a line
# that names the file, after having waited for the lock for ten seconds (section
# 5), and the first one does not notice.  Once the first one is gone, or killed,
# the next one starts.  The same goes for one that has gone to the background,
# and for two that make the file at the same time.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
make_garbage "$tmp/other" 1048576
start_source file "$tmp/src"

# refuse_second: another server is refused, and does nothing.
refuse_second ()
{
    local before start=$EPOCHREALTIME
    before=$(summary "$tmp/other")
    refuse_clone "$bitmap.*(in use|lock)" file "$tmp/other"
    test "$(ms_since "$start")" -ge 9500 || fail "it did not wait for the lock"
    test "$(summary "$tmp/other")" = "$before" ||
        fail "the destination was touched"
}

start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" 'h.pwrite(b"x" * 4096, 0); h.flush()'
refuse_second
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

# Without -f nbdkit forks when it has the lock; the process that goes on has it,
# although the one that took it has ended.
set_nbdkit_command clone
rm -f "$tmp/clone.pid" "$tmp/clone.sock"
"${nbdkit_command[@]}" -P "$tmp/clone.pid" -U "$tmp/clone.sock" \
    --filter="$CLONE_FILTER" file "$tmp/dst" clone-source="$source_uri" \
    clone-bitmap="$bitmap" clone-hydration=false >>"$tmp/clone.err" 2>&1 ||
    fail "exit status $?"
wait_until test -s "$tmp/clone.pid"
daemon=$(cat "$tmp/clone.pid")
daemons=("$daemon")
wait_until nbdinfo --size "$clone_uri" >/dev/null
refuse_second
nbd "$clone_uri" 'h.pwrite(b"z" * 4096, 16384); h.flush()'
kill -KILL "$daemon"
daemons=()
start_clone file "$tmp/dst" clone-hydration=false
nbd "$map_uri" '
expect("map", extents(h, 0, 20480),
       [(4096, 0), (4096, 3), (4096, 0), (4096, 3), (4096, 0)])
'
stop clone

# Two that find no file: one makes it, the other one is refused, at once or when
# it cannot have the lock, and what it has begun to make is gone.
bitmap=$tmp/new/bitmap
mkdir "$tmp/new"
for name in one two; do
    make_garbage "$tmp/$name" 1048576
    launch "$name" clone --filter="$CLONE_FILTER" file "$tmp/$name" \
        clone-source="$source_uri" clone-bitmap="$bitmap" clone-hydration=false
done
one_has_gone () { gone one || gone two; }
wait_until one_has_gone
if gone one; then loser=one winner=two; else loser=two winner=one; fi
wait_until is_ready $winner
gone $winner && fail "both have gone"
status=0
finish $loser || status=$?
test "$status" -eq 1 || fail "exit status $status"
grep -Eq "$bitmap.*(exists|in use)" "$tmp/$loser.err" || fail "no message"
test "$(ls "$tmp/new")" = bitmap || fail "something is left: $(ls "$tmp/new")"
nbd "nbd+unix:///?socket=$tmp/$winner.sock" '
h.pwrite(b"x" * 4096, 0)
h.flush()
'
stop $winner
