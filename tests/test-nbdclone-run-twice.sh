#!/usr/bin/env bash
# Two that start at the same moment with one name, for different disks: one of
# them starts, the other one says why it does not, and touches nothing.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 3000000
start_source --filter=delay file "$tmp/src" delay-open=300ms
mkdir "$tmp/a" "$tmp/b"
pids=()
for d in a b; do
    { status=0
      nbdclone run --daemon "$source_uri" "$tmp/$d/disk" >"$tmp/$d/out" \
               2>"$tmp/$d/err" || status=$?
      echo $status >"$tmp/$d/status"; } &
    pids+=($!)
done
wait "${pids[@]}"
case $(cat "$tmp/a/status" "$tmp/b/status" | tr '\n' ' ') in
    '0 1 ') good=a bad=b ;;
    '1 0 ') good=b bad=a ;;
    *) cat "$tmp"/?/err; fail "both or none" ;;
esac
grep -Eq -- '--name disk: (another|a server of)' "$tmp/$bad/err" ||
    fail "the other one says: $(cat "$tmp/$bad/err")"
test ! -e "$tmp/$bad/disk" || fail "it has made its destination"
nbdclone wait "$tmp/$good/disk" >/dev/null
nbdclone stop "$tmp/$good/disk"
expect_same "$tmp/src" "$tmp/$good/disk"
