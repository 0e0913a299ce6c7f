#!/usr/bin/env bash
# SIGTERM while a handshake with the source hangs: requests that wait for the
# source fail, and the end comes within seconds (P10); what was written is
# committed by then.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
start_source file "$tmp/src"
start_proxy
start_clone file "$tmp/dst" clone-hydration=false clone-commit-interval=3600
nbd "$clone_uri" '
h.pread(1, 0)
accepted = tell_proxy("status")["accepted"]
tell_proxy("freeze")
tell_proxy("cut")
wait_for(lambda: tell_proxy("status")["accepted"] > accepted, "a handshake")
waiting = h.aio_pread(nbd.Buffer(4096), 500000)
h.pwrite(b"x" * 4096, 8192)
os.kill(int(sys.argv[1]), signal.SIGTERM)
since = time.monotonic()
assert error_of(finish, h, waiting) is not None, "a read without a source"
assert time.monotonic() - since < 5, "a request still waits for the source"
' "${pid_of[clone]}"
since=$EPOCHREALTIME
finish clone || fail "the exit status is $?"
# For a thread that does not end, three seconds are waited.
test "$(ms_since "$since")" -lt 2900 || fail "the handshake goes on"

proxy thaw
start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" '
expect("bit", hydrated(8192, 4096), "yes")
expect("data", bytes(h.pread(4096, 8192)), b"x" * 4096)
'
stop clone
