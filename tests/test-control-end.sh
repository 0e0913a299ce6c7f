#!/usr/bin/env bash
# When nbdkit ends, clients of the control socket are hung up on, whatever they
# wait for, and nobody waits for them; a new clone can have the socket at once.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
start_source file "$tmp/src"
for life in 1 2; do
    note "life $life"
    start_clone file "$tmp/dst" clone-control="$tmp/control.sock" \
                clone-hydration=false
    python -c '
from helpers import *
silent, waiting, listening, busy = [Control() for _ in range(4)]
waiting.begin("wait")
listening.ask("events")
while listening.receive()["event"] != "paused":
    pass
for i in range(100):
    busy.begin("flush")
os.kill(int(sys.argv[1]), signal.SIGTERM)
for c in silent, waiting, listening, busy:
    try:
        while c.receive() is not None:
            pass
    except ConnectionResetError:        # it had not read all
        pass
' "${pid_of[clone]}"
    finish clone || fail "the exit status is $?"
    test ! -e "$tmp/control.sock" || fail "the socket is still there"
done
