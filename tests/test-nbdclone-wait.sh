#!/usr/bin/env bash
# nbdclone wait and events: how a clone goes on, and how it ends: complete,
# failed, not in time, or with the server gone in the middle.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 8388608
start_source file "$tmp/src"

# wait_for_it STATUS PATTERN: what the command that was started ends with.
ends_with ()
{
    local status=0
    finish "$1" || status=$?
    test $status -eq "$2" || fail "$1: status $status, not $2"
    grep -Eq "$3" "$tmp/$1.err" "$tmp/$1.out" || {
        cat "$tmp/$1".*
        fail "$1: no line matches '$3'"
    }
}

# In plain lines, one for five percent.
start_run "$source_uri" "$tmp/vm" -- clone-rate=4M clone-hydration=false
nbdclone_in_background wait wait vm
nbdclone_in_background events events vm
nbdclone_in_background json events --json vm
for watcher in wait events json; do
    wait_until says_or_gone $watcher paused
done
nbdclone resume vm
ends_with wait 0 '^complete: 100.0 %, 8.0 MiB of 8.0 MiB, 8.0 MiB fetched$'
grep -Eq '^hydrating: [0-9.]+ %, [0-9.]+ [KM]iB of 8.0 MiB, .* left$' \
     "$tmp/wait.out" || fail "$(cat "$tmp/wait.out")"
test "$(nbdclone wait vm)" = "$(tail -n 1 "$tmp/wait.out")" || fail "again"
stop run
ends_with events 3 ' complete$'
grep -q ' progress: hydrating: ' "$tmp/events.out" || fail "no progress"
ends_with json 3 '^\{"event":"complete",'

# In time, or not; and a server that dies in the middle.
start_run "$source_uri" "$tmp/lazy" -- clone-hydration=false
status=0
nbdclone wait --timeout 2.5 lazy >"$tmp/late.out" 2>"$tmp/late.err" || status=$?
test $status -eq 4 || fail "status $status"
test "$(wc -l <"$tmp/late.out")" -eq 1 || fail "lines with nothing new in them"
grep -q 'lazy: it has not become complete in time' "$tmp/late.err" ||
    fail "$(cat "$tmp/late.err")"
nbdclone_in_background wait wait --timeout 1h lazy
wait_until test -s "$tmp/wait.out"
kill -KILL "$(server_of lazy)"
ends_with wait 3 'lazy: .*the server has gone away'
finish run || true
refuse 3 'no server has this name' wait lazy
refuse 2 '--timeout 5x: allowed are' wait --timeout 5x lazy
refuse 2 'one INSTANCE is wanted' wait
refuse 2 'vm: nothing more is wanted' events lazy vm

# A clone that fails (P5): its destination cannot flush.
make_garbage "$tmp/dst" 8388608
mkdir "$tmp/order"
start_clone --filter="$abs_top_builddir/tests/.libs/order-filter.so" \
            file "$tmp/dst" order-dir="$tmp/order" order-bitmap="$bitmap" \
            clone-control="$tmp/nbdclone/bad.control" clone-hydration=false
nbdclone_in_background wait wait bad
wait_until test -s "$tmp/wait.out"
touch "$tmp/order/fail-flush"
nbdclone hydrate bad 0 64K
has_failed () { nbdclone status bad | grep -q '^bad: failed'; }
wait_until has_failed
refuse 1 'the server says: the flush failed' flush bad
ends_with wait 5 'bad: the clone has failed: .*start it again'
