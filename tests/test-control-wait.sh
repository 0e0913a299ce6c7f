#!/usr/bin/env bash
# wait on the control socket is answered when the clone is complete, or when it
# has failed; until then nobody else has to wait.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
touch "$tmp/trouble"
# The powercut filter, too, may have been built with a sanitizer.
start_source file "$tmp/src"
start_clone --filter="$POWERCUT_FILTER" file "$tmp/dst" \
            powercut-error="EIO:kinds=flush:file=$tmp/trouble" \
            clone-hydration=false clone-control="$tmp/control.sock"
nbd "$clone_uri" '
waiting, other = Control(), Control()
waiting.begin("wait")
expect("state", other.ask("status")["state"], "paused")
h.pwrite(b"x", 0)
expect("flush", error_of(h.flush), "EIO")
expect("wait", waiting.receive(), {"return": {"state": "failed"}})
expect("state", other.ask("status")["state"], "failed")
expect("flush", other.refused("flush"), "GenericError")
'
kill -TERM "${pid_of[clone]}"
! finish clone || fail "it has failed, but its exit status is 0"
rm "$tmp/trouble"

start_clone file "$tmp/dst" clone-hydration=false \
            clone-control="$tmp/control.sock"
nbd "$clone_uri" '
waiting, other = Control(), Control()
waiting.begin("wait")
waiting.begin("status")         # in its turn
expect("state", other.ask("status")["state"], "paused")
other.ask("resume")
expect("wait", waiting.receive(), {"return": {"state": "complete"}})
expect("then", waiting.receive()["return"]["state"], "complete")
expect("at once", other.ask("wait"), {"state": "complete"})
'
stop clone
