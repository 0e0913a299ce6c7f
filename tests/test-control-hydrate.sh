#!/usr/bin/env bash
# hydrate on the control socket: this range comes before the rest, also while
# the background is paused, and the answer does not wait for it.  What is there
# already, or beyond the source's end, needs nothing.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((16 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $((size + 1048576))
start_source file "$tmp/src"
start_proxy
start_clone file "$tmp/dst" clone-control="$tmp/control.sock" \
            clone-hydration=false
nbd "$clone_uri" '
c = Control()
for offset, length in ((5 * MIB + 1, 1), (8 * MIB, 2 * MIB),
                       (15 * MIB, 2 * MIB),         # to the end and beyond
                       (16 * MIB, 4096),            # nothing to be done
                       (8 * MIB, 4096)):            # done before
    expect("hydrate", c.ask("hydrate", offset=offset, length=length), {})
    last = min(offset + length, 17 * MIB) - 1
    for at in offset, last:
        wait_for(lambda: hydrated(at, 1) == "yes", "byte %d is here" % at)
    expect("still paused", c.ask("status")["state"], "paused")
expect("no more than that", bytes_hydrated(), 4096 + 2 * MIB + 2 * MIB)
expect("of the source", c.ask("status")["bytes-fetched"],
       4096 + 2 * MIB + MIB)

# Without the source there is an answer, too; up to a number of requests.
tell_proxy("freeze")
refused = 0
for i in range(5000):
    c.begin("hydrate", offset=i % 512 * 8192, length=1)
    refused += "error" in c.receive()
assert 0 < refused < 5000, "%d of 5000 were refused" % refused
tell_proxy("thaw")
for region in range(0, 512, 97):
    wait_for(lambda: hydrated(region * 8192, 1) == "yes", "what was asked for")
c.ask("resume")
expect("wait", c.ask("wait"), {"state": "complete"})
expect("complete", c.ask("hydrate", offset=0, length=4096), {})
'
stop clone
cmp -n $size "$tmp/src" "$tmp/dst" || fail "the destination is wrong"
