#!/usr/bin/env bash
# The control socket's name: the socket of a server that was killed is replaced,
# a live one's and what is no socket are refused before anything is touched; and
# a server removes its own only.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
make_garbage "$tmp/dst2" 1048576
start_source file "$tmp/src"
control=clone-control="$tmp/control.sock"
state () { python -c 'from helpers import *; print(Control().ask("status")["state"])'; }

start_clone file "$tmp/dst" "$control"
kill9 clone
test -S "$tmp/control.sock" || fail "it is gone: nothing is tested"
start_clone file "$tmp/dst" "$control"

# Another one, with all else its own.
before=$(summary "$tmp/dst2")
bitmap=$tmp/bitmap2 refuse_clone "control.sock: another server listens there" \
    file "$tmp/dst2" "$control"
test ! -e "$tmp/bitmap2" || fail "a bitmap file was made"
test "$(summary "$tmp/dst2")" = "$before" || fail "the destination was touched"
test -n "$(state)" || fail "the first one does not answer any more"

touch "$tmp/file"
bitmap=$tmp/bitmap2 refuse_clone "file: there is something that is not a socket" \
    file "$tmp/dst2" clone-control="$tmp/file"
test -e "$tmp/file" || fail "it was removed"
bitmap=$tmp/bitmap2 refuse_clone "cannot make a socket there: No such file" \
    file "$tmp/dst2" clone-control="$tmp/no/control.sock"
long=$(printf '%0120d' 0)
bitmap=$tmp/bitmap2 refuse_clone "at most 107 bytes" \
    file "$tmp/dst2" clone-control="$tmp/$long"

# A socket of another kind: nobody can say whether it is anybody's.
python -c 'import socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
time.sleep(1000)' "$tmp/datagrams" &
other=$!
daemons+=("$other")
wait_until test -S "$tmp/datagrams"
bitmap=$tmp/bitmap2 refuse_clone "cannot see whose it is" \
    file "$tmp/dst2" clone-control="$tmp/datagrams"
kill $other
test -S "$tmp/datagrams" || fail "it was removed"
test ! -e "$tmp/bitmap2" || fail "a bitmap file was made"

# Somebody else is making a socket in that directory, and does not end.
mkdir "$tmp/locked"
( flock 9 && : >"$tmp/is-locked" && exec sleep 1000 ) 9<"$tmp/locked" &
locker=$!
daemons+=("$locker")
wait_until test -e "$tmp/is-locked"
bitmap=$tmp/bitmap2 refuse_clone "stays locked" \
    file "$tmp/dst2" clone-control="$tmp/locked/control.sock"
kill $locker
test ! -e "$tmp/locked/control.sock" || fail "a socket was made"
test ! -e "$tmp/bitmap2" || fail "a bitmap file was made"

# Somebody has put something else in its place.
rm "$tmp/control.sock"
echo mine >"$tmp/control.sock"
stop clone
test -e "$tmp/control.sock" || fail "what is not its own was removed"
