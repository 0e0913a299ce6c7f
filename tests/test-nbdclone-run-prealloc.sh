#!/usr/bin/env bash
# nbdclone run --size makes the destination larger than the source, and
# --prealloc reserves space for all of it, or refuses and leaves nothing.

# shellcheck disable=SC2034 # for functions.sh
mounts=yes
# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

mount_tmpfs 12M
make_random "$tmp/src" 3000000
start_source file "$tmp/src"

refuse 1 '--prealloc: cannot reserve 20971520 bytes: .*not so much space left' \
       run --prealloc --size 20M "$source_uri" "$tmp/fs/disk"
test -z "$(ls -A "$tmp/fs")" || fail "left: $(ls -A "$tmp/fs")"

start_run --prealloc --size 10M "$source_uri" "$tmp/fs/disk"
test "$(stat -c %s "$tmp/fs/disk")" = 10485760 || fail "size"
test $(($(stat -c '%b * %B' "$tmp/fs/disk"))) -ge 10485760 || fail "no space"
# The clone is sparse beyond the source, and its space stays its own.
wait_until grep -q '^complete: 100.0 %, 2.8 MiB of 2.8 MiB, ' "$tmp/run.out"
stop run
test $(($(stat -c '%b * %B' "$tmp/fs/disk"))) -ge 10485760 || fail "given up"
cmp -n 3000000 "$tmp/src" "$tmp/fs/disk" || fail "wrong contents"

# The same options again are all right, others are not.
nbdclone run --prealloc --size 10M --exit-when-complete \
         "$source_uri" "$tmp/fs/disk" >/dev/null
refuse 1 '--size 11534336: .* exists, and has 10485760 bytes' \
       run --size 11M "$source_uri" "$tmp/fs/disk"
