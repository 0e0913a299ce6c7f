#!/usr/bin/env bash
# nbdclone map --watch: again and again until all is hydrated, on a terminal in
# the same place.  When the server dies meanwhile it says so.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 4194304
make_garbage "$tmp/dst" 4194304
start_source file "$tmp/src"
watch=("map" "--watch=0.1" "--rows=2" "$clone_uri")
pictures () { grep -c 'of 4.0 MiB hydrated' "$tmp/watched" || true; }
several () { test "$(pictures)" -ge "$1"; }

start_clone file "$tmp/dst" clone-hydration=false \
            clone-control="$tmp/control.sock"
nbdclone "${watch[@]}" >"$tmp/watched" &
pid_of[watch]=$!
wait_until several 3
python -c 'from helpers import *; Control().ask("resume")'
finish watch || fail "status $?"
tail -n 5 "$tmp/watched" | grep -q '100.0 % of 4.0 MiB hydrated' ||
    fail "it did not end with all of it"
! grep -q $'\033' "$tmp/watched" || fail "sequences for a terminal in a file"
stop clone

rm "$bitmap"
start_clone file "$tmp/dst" clone-hydration=false
: >"$tmp/watched"
TERM=xterm script -qefc "$NBDCLONE ${watch[*]@Q}" /dev/null </dev/null \
    >"$tmp/watched" 2>&1 &
pid_of[watch]=$!
wait_until several 3
grep -q $'\033\\[5A' "$tmp/watched" || fail "not in the same place"
kill9 clone
status=0
finish watch || status=$?
test "$status" -eq 3 || fail "status $status, not 3, when the server has died"
tail -n 1 "$tmp/watched" | grep -q '^nbdclone: ' || fail "it did not say so"
