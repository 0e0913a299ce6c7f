#!/usr/bin/env bash
# Wrong parameters of nbdkit-uring-plugin are refused with a message that names
# parameter, value, and what is allowed.  --help names all of them, and the
# plugin exports nothing but its entry point.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

make_random "$disk" 100000
refuse_uring 'file=PATH is missing'
refuse_uring 'create=0: allowed are sizes' "$disk" create=0
refuse_uring 'create=x: allowed are sizes' "$disk" create=x
refuse_uring 'prealloc=full: allowed are none and falloc' "$disk" prealloc=full
refuse_uring 'direct=maybe: allowed are true and false' "$disk" direct=maybe
for wrong in '' 5 5: :5 5:5x -1:5 x; do
    refuse_uring "identity=$wrong: wanted is DEVICE:INODE" "$disk" \
                 identity="$wrong"
done
refuse_uring 'cache=none: there is no such parameter' "$disk" cache=none
refuse_uring "file=$tmp: .*directory" "$tmp"
refuse_uring 'file=/dev/zero: it is neither a regular file nor a block device' \
             /dev/zero
refuse_uring 'file=/proc/version direct=true: .*does not offer' \
             /proc/version direct=true
mkfifo "$tmp/pipe"
refuse_uring "file=$tmp/pipe: it is neither" "$tmp/pipe"
if make_loop "$disk"; then
    refuse_uring 'create=SIZE and prealloc=falloc are for regular files' \
                 "$loop" create=100000
    refuse_uring 'create=SIZE and prealloc=falloc are for regular files' \
                 "$loop" prealloc=falloc
fi

set_nbdkit_command clone
"${nbdkit_command[@]}" "$URING_PLUGIN" --help >"$tmp/help"
for parameter in file create prealloc direct identity; do
    grep -q "$parameter.*=" "$tmp/help" || fail "--help has no $parameter"
done
"${nbdkit_command[@]}" "$URING_PLUGIN" --dump-plugin >"$tmp/dump"
grep -q '^magic_config_key=file$' "$tmp/dump" || fail "--dump-plugin"
grep -q '^max_thread_model=parallel$' "$tmp/dump" || fail "not parallel"
test "$SANITIZER" != none ||
    test "$(nm -D --defined-only "$URING_PLUGIN" | awk '{ print $3 }')" = \
         plugin_init || fail "more than plugin_init is exported"
