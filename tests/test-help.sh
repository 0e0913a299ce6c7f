#!/usr/bin/env bash
# nbdkit --help and --dump-plugin work with the filter as with nbdkit's own,
# with none of its parameters given.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

set_nbdkit_command clone
"${nbdkit_command[@]}" --filter="$CLONE_FILTER" null --help >"$tmp/help"
for parameter in source bitmap bitmap-mode region-size hydration on-read batch \
                 threshold rate connections commit-interval source-timeout \
                 discard-passdown map-export; do
    grep -q "clone-$parameter=" "$tmp/help" ||
        fail "--help does not have clone-$parameter"
done
"${nbdkit_command[@]}" --filter="$CLONE_FILTER" null --dump-plugin \
    >"$tmp/dump"
grep -q '^name=null$' "$tmp/dump" || fail "--dump-plugin"
test "$("${nbdkit_command[@]}" --filter="$CLONE_FILTER" null --version |
        wc -l)" -ge 1 || fail "--version"
# Only the entry point is exported.
test "$(nm -D --defined-only "$CLONE_FILTER" | grep -c ' T ')" -eq 1 ||
    test "$SANITIZER" != none || fail "more than filter_init is exported"
