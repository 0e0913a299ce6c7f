#!/usr/bin/env bash
# Ctrl-C while nbdclone run reserves space for a file leaves nothing of it.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
start_source file "$tmp/src"
mkdir "$tmp/dir"
status=0
XDG_RUNTIME_DIR=$tmp strace -f -o "$tmp/strace" -e trace=fallocate \
    -e inject=fallocate:signal=SIGINT \
    "$NBDCLONE" run --prealloc "$source_uri" "$tmp/dir/disk" || status=$?
test $status -eq 130 || fail "status $status"
grep -q 'fallocate(.*1048576' "$tmp/strace" || fail "it has not come so far"
test -z "$(ls -A "$tmp/dir")" || fail "left: $(ls -A "$tmp/dir")"

# And a start after that finds everything in order.
nbdclone run --prealloc --exit-when-complete "$source_uri" "$tmp/dir/disk" \
         >/dev/null
expect_same "$tmp/src" "$tmp/dir/disk"
