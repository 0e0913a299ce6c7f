#!/usr/bin/env bash
# A destination that cannot be opened, or cannot say what it can do, ends nbdkit
# with exit status 1 and the plugin's own message; nothing has been made then.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

plain=$abs_top_builddir/tests/.libs/plain-plugin.so
make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
before=$(summary "$tmp/dst")
start_source file "$tmp/src"

for call in open get_size can_flush can_extents can_multi_conn; do
    refuse_clone "$call is broken" "$plain" plain-file="$tmp/dst" \
                 plain-broken=$call
done
# A filter in between that does not find what it needs.
refuse_clone 'partition' --filter=partition file "$tmp/dst" partition=1

test ! -e "$bitmap" || fail "a bitmap file was made"
test "$(summary "$tmp/dst")" = "$before" || fail "the destination was touched"
