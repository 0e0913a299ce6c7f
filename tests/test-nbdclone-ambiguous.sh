#!/usr/bin/env bash
# A user's own server and the system's may have the same name: then a verb does
# nothing to either, and says what to give instead.

# shellcheck disable=SC2034 # for functions.sh
mounts=yes
# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

# A /run of our own.
mount -t tmpfs tmpfs /run
mkdir /run/nbdclone
make_random "$tmp/src" 1048576
start_source file "$tmp/src"
start_run --name vm "$source_uri" "$tmp/dst"
start_clone memory 1048576 clone-control=/run/nbdclone/vm.control

sockets="/run/nbdclone/vm.control or $tmp/nbdclone/vm.control"
sockets2="$tmp/nbdclone/vm.control or /run/nbdclone/vm.control"
for verb in stop pause status wait map; do
    refuse 2 "vm: two servers have this name.* ($sockets|$sockets2)" "$verb" vm
done
test "$(nbdclone list | grep -c '^vm ')" -eq 2 || fail "$(nbdclone list)"

# Without a doubt.
nbdclone status "$tmp/dst" >"$tmp/status"
nbdclone status /run/nbdclone/vm.control >>"$tmp/status"
nbdclone stop "$tmp/dst"
finish run
nbdclone status vm >>"$tmp/status"
test "$(grep -c '^vm: ' "$tmp/status")" -eq 3 || fail "$(cat "$tmp/status")"
stop clone
