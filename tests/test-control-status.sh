#!/usr/bin/env bash
# status on the control socket: all the fields, they are true, and looking has no
# side effects (lesson 22).

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((16 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $((size + 4096))
start_source file "$tmp/src"
# No commit by itself, so that one could only come from looking.
start_clone file "$tmp/dst" clone-control="$tmp/control.sock" \
            clone-hydration=false clone-commit-interval=3600 clone-connections=2

nbd "$clone_uri" '
size = int(sys.argv[1])
c = Control()
expect("fields", set(c.ask("status")), {
    "state", "region-size", "size", "regions", "hydrated", "committed",
    "in-flight", "parked", "bytes-fetched", "rate", "eta", "source", "commits",
    "last-commit-us", "uptime", "threshold", "batch", "rate-limit",
    "commit-interval"})
wait_for(lambda: c.ask("status")["source"]["connections"] == 2, "connections")
s = c.ask("status")
expect("source", s["source"], {"uri": s["source"]["uri"], "connected": True,
       "connections": 2, "reconnects": 0, "last-error": None})
h.pread(MIB, 0)
wait_for(lambda: c.ask("status")["hydrated"] == 256, "what is read is kept")
s = c.ask("status")
for name, value in {
        "state": "paused", "region-size": 4096, "size": size + 4096,
        "regions": size // 4096, "hydrated": 256, "committed": 0,
        "in-flight": 0, "parked": 0, "bytes-fetched": MIB, "eta": None,
        "commits": 0, "commit-interval": 3600, "rate-limit": 0}.items():
    expect(name, s[name], value)
for i in range(100):
    expect("commits", c.ask("status")["commits"], 0)
h.flush()
s = c.ask("status")
expect("committed", s["committed"], 256)
expect("commits", s["commits"], 1)
assert s["last-commit-us"] > 0

c.ask("resume")
wait_for(lambda: c.ask("status")["rate"] > 0, "a rate")
expect("answer", c.ask("set", commit_interval=0.1), {})
wait_for(lambda: c.ask("status")["state"] == "complete", "complete")
s = c.ask("status")
for name, value in {
        "hydrated": size // 4096, "committed": size // 4096, "eta": 0,
        "in-flight": 0, "bytes-fetched": size}.items():
    expect(name, s[name], value)
wait_for(lambda: not c.ask("status")["source"]["connected"], "hung up")
' $size
stop clone
test ! -e "$tmp/control.sock" || fail "the control socket was not removed"
