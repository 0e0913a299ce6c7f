#!/usr/bin/env bash
# nbdclone pause, resume, set, hydrate and flush do what they say to a server
# that runs; what is wrong with their arguments they say, and do nothing.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 16777216
start_source file "$tmp/src"
start_run "$source_uri" "$tmp/vm" -- clone-rate=1M clone-commit-interval=3600
value () { nbdclone status --json vm | sed -n "s/^ *\"$1\": \(.*[^,]\),*\$/\1/p"; }
is () { test "$(value "$1")" = "$2"; }

nbdclone pause vm
is state '"paused"' || fail "not paused"
nbdclone set vm rate=64K batch=8k threshold=3 commit-interval=0.5
for wanted in rate-limit=65536 batch=8192 threshold=3 commit-interval=0.5; do
    is "${wanted%=*}" "${wanted#*=}" || fail "$wanted, but $(value "${wanted%=*}")"
done
nbdclone set vm commit-interval=60m rate=0
is commit-interval 3600.0 || fail "$(value commit-interval)"

# A paused clone hydrates what it is asked to; flush commits it.
nbdclone hydrate "$tmp/vm" 8M 64K
map_uri="nbd+unix:///hydration?socket=$tmp/nbdclone/vm.sock"
is_here () { test "$(nbd "$map_uri" 'print(hydrated(8 * MIB, 65536))')" = yes; }
wait_until is_here
nbdclone flush vm
is committed "$(value hydrated)" || fail "not committed"
cmp -n 65536 -i 8388608 "$tmp/src" "$tmp/vm" || fail "not hydrated"

refuse 2 'one INSTANCE is wanted' pause
refuse 2 'INSTANCE and KEY=VALUE are wanted' set vm
refuse 2 'INSTANCE, OFFSET and LENGTH are wanted' hydrate vm 5
refuse 2 'vm: nothing more is wanted' resume vm vm
refuse 2 'speed=1: wanted is KEY=VALUE, with a KEY of' set vm speed=1
refuse 2 'rate: wanted is KEY=VALUE' set vm rate
refuse 2 'rate=fast: wanted is a whole number' set vm rate=fast
refuse 2 'commit-interval=: wanted are seconds' set vm commit-interval=
refuse 1 'the server says: threshold: allowed are' set vm rate=5 threshold=1000
is rate-limit 0 || fail "half of a set was done"
refuse 2 'OFFSET -1: allowed are' hydrate vm -- -1 5
refuse 1 'the server says: offset: allowed are' hydrate vm 16M 1
for verb in pause resume flush; do
    refuse 3 'no server has this name' "$verb" nobody
done
refuse 3 'no server has this name' set nobody rate=1

nbdclone resume vm
nbdclone wait vm >/dev/null
stop run
expect_same "$tmp/src" "$tmp/vm"
