#!/usr/bin/env bash
# nbdclone run as a service: it says when the disk can be used, how far it is, and
# that it stops; and it serves the disk on a socket that systemd has opened.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 8388608
start_source file "$tmp/src"

# What a service manager receives, a line each.
start_server manager /usr/bin/python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1] + "/notify")
ready = socket.socket(socket.AF_UNIX)
ready.bind(sys.argv[1] + "/manager.sock")
ready.listen()
while True:
    print(s.recv(4096).decode(), flush=True)
' "$tmp"
is_told () { grep -Eqx "$1" "$tmp/manager.err"; }

# systemd-socket-activate starts the command when somebody connects.
XDG_RUNTIME_DIR=$tmp NOTIFY_SOCKET=$tmp/notify systemd-socket-activate \
    --listen="$tmp/given.sock" --setenv=XDG_RUNTIME_DIR \
    --setenv=NOTIFY_SOCKET --setenv=NBDKIT \
    "$NBDCLONE" run --name vm1 "$source_uri" "$tmp/vm1.img" \
    </dev/null >"$tmp/run.out" 2>"$tmp/run.err" &
pid_of[run]=$!
wait_until is_listening "$tmp/given.sock"
if is_told READY=1; then fail "nobody has connected yet"; fi
given="nbd+unix:///?socket=$tmp/given.sock"
nbd "$given" 'expect("the disk", pread(h, h.get_size(), 0), content("src"))'
wait_until is_told READY=1
grep -qxF "vm1: the disk is $given" "$tmp/run.out" || fail "$(cat "$tmp/run.out")"
wait_until is_told 'STATUS=complete: 100.0 %, 8.0 MiB of 8.0 MiB, .* fetched'
stop run
wait_until is_told STOPPING=1
test -S "$tmp/given.sock" || fail "somebody else's socket was removed"
expect_same "$tmp/src" "$tmp/vm1.img"

# Where it listens is systemd's business then.
status=0
LISTEN_FDS=1 bash -c 'LISTEN_PID=$$ exec "$@"' - "$NBDCLONE" run --listen :1 \
    "$source_uri" "$tmp/x" 2>"$tmp/both.err" || status=$?
test $status -eq 2 || fail "status $status"
grep -q 'systemd has given us its socket' "$tmp/both.err" || fail "no message"
