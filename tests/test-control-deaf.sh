#!/usr/bin/env bash
# A listener to events that never reads: nobody waits for him, the server does
# not keep what it cannot send, and in the end he is hung up on.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-control="$tmp/control.sock" clone-rate=4096
nbd "$clone_uri" '
def resident():
    with open("/proc/%s/statm" % sys.argv[1]) as f:
        return int(f.read().split()[1]) * resource.getpagesize()

c = Control()
deaf, hears = [Control() for _ in range(20)], Control()
for listener in deaf + [hears]:
    listener.ask("events")
before, slowest = resident(), 0
for i in range(5000):
    began = time.monotonic()
    c.ask("pause" if i % 2 == 0 else "resume")
    slowest = max(slowest, time.monotonic() - began)
    hears.event("paused" if i % 2 == 0 else "resumed")
assert slowest < BOUND / 4, "somebody had to wait for %f s" % slowest
# At most 64 KiB for each of them, and some for the allocator.
grown = resident() - before
assert grown < 8 * MIB or sys.argv[2] != "none", "it has grown by %d" % grown
for listener in deaf:
    names = []
    while (line := listener.receive()) is not None:
        names.append(line["event"])
    assert 100 < names.count("paused") < 2500, "it was not hung up on"
expect("others", c.ask("status")["state"], "hydrating")
' "${pid_of[clone]}" "$SANITIZER"
stop clone
