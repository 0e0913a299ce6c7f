#!/usr/bin/env bash
# nbdkit-uring-plugin with identity=DEVICE:INODE serves this file or device, also
# through a link, and refuses another one of its name before it changes anything.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

make_random "$disk" 100000
numbers=$(stat -c %d:%i "$disk")
ln -s disk "$tmp/link"
start_uring "$tmp/link" identity="$numbers"
stop uring

# Another file takes its place; prealloc would change it.
mv "$disk" "$tmp/moved"
truncate -s 100000 "$disk"
before=$(summary "$disk"; stat -c %b "$disk")
refuse_uring "file=$disk: this is not the file of identity=$numbers any more" \
             "$disk" prealloc=falloc identity="$numbers"
test "$(summary "$disk"; stat -c %b "$disk")" = "$before" || fail "changed"
start_uring "$tmp/moved" identity="$numbers"
stop uring

if make_loop "$disk"; then
    start_uring "$loop" identity="$(stat -c %r "$loop"):0"
    stop uring
    refuse_uring 'another one has taken its place' "$loop" \
                 identity="$(stat -c %d:%i "$loop")"
fi
