#!/usr/bin/env bash
# The events parked and failed on the control socket; what was given up on shows in
# status, and another server is asked for it at once, not only after five minutes.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
# The powercut filter, too, may have been built with a sanitizer.
start_as=clone start_source --filter="$POWERCUT_FILTER" file "$tmp/src" \
    powercut-error="EIO:kinds=read:range=409600+1"
start_nbdkit other -t 1 file "$tmp/src"
start_clone --filter="$POWERCUT_FILTER" file "$tmp/dst" \
    clone-control="$tmp/control.sock" \
    powercut-error="EIO:kinds=flush:file=$tmp/no-flush"
nbd "$clone_uri" '
c, listener = Control(), Control()
listener.ask("events")
expect("parked", listener.event("parked"), {"parked": 1})
s = c.ask("status")
expect("status", (s["parked"], s["regions"] - s["hydrated"], s["state"]),
       (1, 1, "hydrating"))
c.ask("source", uri="nbd+unix:///?socket=" + TMP + "/other.sock")
wait_for(lambda: c.ask("status")["hydrated"] == 256, "the other one was asked")
open(TMP + "/no-flush", "w").close()
h.pwrite(b"x", 0)
expect("flush", error_of(h.flush), "EIO")
listener.event("failed")
'
kill -TERM "${pid_of[clone]}"
! finish clone || fail "it has failed, but its exit status is 0"
