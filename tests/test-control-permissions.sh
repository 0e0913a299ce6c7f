#!/usr/bin/env bash
# Who may use the control socket: its mode is 0600 whatever the umask, and should
# somebody change that, other users are still hung up on.  What is secret in the
# source's URI is not told to anybody.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
start_source file "$tmp/src"
source_uri="nbd+unix://secret-user@/?socket=$tmp/source.sock"
umask 0
start_clone file "$tmp/dst" clone-control="$tmp/control.sock"
umask 022
mode=$(stat -c %a "$tmp/control.sock")
test "$mode" = 600 || fail "its mode is $mode"

cat >"$tmp/ask.py" <<'END'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
s.connect(sys.argv[1])
try:
    s.sendall(b'{"execute":"status"}\n')
    print(s.makefile().readline(), end="")
except (BrokenPipeError, ConnectionResetError):
    pass
END
chmod 755 "$tmp"
chmod 666 "$tmp/control.sock"
python "$tmp/ask.py" "$tmp/control.sock" >"$tmp/own"
grep -q '"return"' "$tmp/own" || fail "its own user is refused"
! grep -q secret "$tmp/own" "$tmp/clone.err" || fail "a secret is told"
# Only root can be somebody else.
if test "$(id -u)" -eq 0; then
    setpriv --reuid=65534 --regid=65534 --clear-groups \
        /usr/bin/python3 "$tmp/ask.py" "$tmp/control.sock" >"$tmp/other"
    test ! -s "$tmp/other" || fail "another user is answered"
fi
stop clone
