#!/usr/bin/env bash
# On a file system without links and without files that have no name, as vfat
# is, and also without a rename that replaces nothing, new files appear complete
# all the same, and leave no others beside them.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

make_random "$tmp/src" 1048576
start_source file "$tmp/src"
mkdir "$tmp/dir"
disk=$tmp/dir/disk
bitmap=$tmp/dir/bitmap
refuse=$abs_top_builddir/tests/refuse

for refused in "$refuse links" "$refuse links $refuse renameat2"; do
    read -ra under <<<"$refused"
    start_clone "$URING_PLUGIN" "$disk" create=2M
    stop clone
    test "$(cd "$tmp/dir" && echo ./*)" = "./bitmap ./disk" || fail "left: $(ls "$tmp/dir")"
    test "$(stat -c '%a %h %s' "$disk")" = "600 1 2097152" || fail "$refused"
    rm "$disk" "$bitmap"

    XDG_RUNTIME_DIR=$tmp $refused "$NBDCLONE" run --exit-when-complete \
        "$source_uri" "$disk" >/dev/null
    expect_same "$tmp/src" "$disk"
    rm "$disk"*
    test -z "$(ls -A "$tmp/dir")" || fail "left: $(ls -A "$tmp/dir")"
done
