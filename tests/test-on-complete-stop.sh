#!/usr/bin/env bash
# nbdkit stops in time though clone-on-complete still runs.  That is left alone,
# as it may be what takes the filter out; and the next start, or one after a
# crash, runs it again.  A command that itself stops nbdkit has succeeded.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
start_source file "$tmp/src"
runs () { test "$(wc -l <"$tmp/runs")" -eq "$1"; }
touch "$tmp/runs"

# It ends when there is a file "go", long after nbdkit.
cat >"$tmp/command" <<END
echo run >>"$tmp/runs"
until test -e "$tmp/go" -o ! -d "$tmp"; do sleep 0.1; done
echo end >>"$tmp/ends"
END
start_clone file "$tmp/dst" clone-on-complete="sh $tmp/command"
wait_until runs 1
began=$EPOCHREALTIME
stop clone
test "$(ms_since "$began")" -lt 10000 || fail "it did not stop in time"
grep -q 'is left alone' "$tmp/clone.err" || fail "nobody was told"
test ! -e "$tmp/ends" || fail "it had ended: nothing is tested"
touch "$tmp/go"
wait_until test -e "$tmp/ends"

rm "$tmp/go"
start_clone file "$tmp/dst" clone-on-complete="sh $tmp/command"
wait_until runs 2
kill9 clone
touch "$tmp/go"
start_clone file "$tmp/dst" \
            clone-on-complete="echo run >>$tmp/runs; kill \$NBDCLONE_PID"
finish clone || fail "exit status $?"
runs 3 || fail "it was not run after a crash"
start_clone file "$tmp/dst" clone-on-complete="echo run >>$tmp/runs"
nbd "$clone_uri" 'h.pread(1, 0)'
stop clone
runs 3 || fail "its success was not recorded"
expect_same "$tmp/dst" "$tmp/src"
