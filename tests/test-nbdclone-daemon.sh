#!/usr/bin/env bash
# nbdclone run --daemon comes back when the disk can be used, or with the reason
# why not; and a second server for the same destination or name is refused.
# --listen serves the disk on TCP.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 8388608
start_source file "$tmp/src"
port=$(python -c 'import socket
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1])')

(
    cd "$tmp"                   # where relative paths are
    nbdclone run --daemon --log vm.log --listen "127.0.0.1:$port" \
             "$source_uri" vm -- clone-hydration=false >started.out
)
pid=$(sed -n 's/^ *"pid": *\([0-9]*\),*$/\1/p' "$tmp/nbdclone/vm.json")
daemons+=("$pid")
uri="nbd://127.0.0.1:$port"
test "$(cat "$tmp/started.out")" = "vm: the disk is $uri" ||
    fail "$(cat "$tmp/started.out")"
nbd "$uri" 'expect("the disk", pread(h, h.get_size(), 0), content("src"))'

# It has left the terminal's session, and keeps nothing of it open.
test "$(ps -o sid= -p "$pid" | tr -d ' ')" = "$pid" || fail "same session"
for fd in 1 2; do
    test "$(readlink "/proc/$pid/fd/$fd")" = "$tmp/vm.log" ||
        fail "descriptor $fd: $(readlink "/proc/$pid/fd/$fd")"
done

refuse 1 'a server for this runs already' run --name other "$source_uri" \
       "$tmp/vm"
refuse 1 '--name vm: a server of this name runs already, for ' \
       run --name vm "$source_uri" "$tmp/vm2"
refuse 1 'Address already in use' run --listen "127.0.0.1:$port" "$source_uri" \
       "$tmp/vm2"
refuse 1 'Address already in use' run --daemon --listen "127.0.0.1:$port" \
       "$source_uri" "$tmp/vm2"
refuse 1 "--log $tmp: " run --daemon --log "$tmp" "$source_uri" "$tmp/vm2"
test ! -e "$tmp/vm2" || fail "a start that failed has left its destination"

nbdclone resume vm
nbdclone wait vm >/dev/null
nbdclone stop vm
daemons=()
grep -q 'the clone is complete' "$tmp/vm.log" || fail "$(cat "$tmp/vm.log")"
grep -Evq '^20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} ' \
     "$tmp/vm.log" && fail "a line without its time: $(cat "$tmp/vm.log")"
grep -Eq '^[^ ]+ [^ ]+ complete: 100.0 %' "$tmp/vm.log" || fail "no progress"
expect_same "$tmp/src" "$tmp/vm"
