#!/usr/bin/env bash
# events on the control socket: what happens to a clone, as it happens; progress
# at most once a second.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((8 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
start_proxy
start_clone file "$tmp/dst" clone-control="$tmp/control.sock" clone-rate=2M

nbd "$clone_uri" '
c, listener, late = Control(), Control(), Control()
expect("events", listener.ask("events"), {})
first = listener.receive()
expect("greeting", first["event"], "progress")
expect("its fields", set(first), {"event", "timestamp", "data"})
listener.event("progress")
began = time.monotonic()
listener.event("progress")
listener.event("progress")
elapsed = time.monotonic() - began
assert elapsed > 1.8, "two events in %f s" % elapsed

c.ask("pause")
listener.event("paused")
c.ask("resume")
listener.event("resumed")
tell_proxy("refuse")
tell_proxy("cut")
# Looking at it takes no event away from who listens.
wait_for(lambda: not c.ask("status")["source"]["connected"], "it is lost")
expect("lost", listener.event("source-lost")["connected"], False)
tell_proxy("accept")
back = listener.event("source-back")
expect("back", back["connected"], True)
assert back["last-error"], back
assert c.ask("status")["source"]["reconnects"] > 0
c.ask("set", rate=0)
listener.event("complete")
# Who comes late is told, too.
late.ask("events")
late.event("complete")
'
stop clone
