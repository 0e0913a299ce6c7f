#!/usr/bin/env bash
# On a slow line a client's read of a missing region goes ahead of background
# copies that have not been asked for yet, and waits for little more than a round
# trip and what the line holds: not for all that the background may have in
# flight.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((64 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
start_proxy
# A MiB a second: the default batch and threshold are worth 16 seconds.
proxy latency 0.05
proxy bandwidth 1048576
start_clone file "$tmp/dst"
nbd "$clone_uri" '
def passed():
    return tell_proxy("status")["down"]

# The background has filled the line, and has had the time to adapt to it.
wait_for(lambda: passed() > 8 * MIB, "hydration is under way")
in_front = []
for i in range(10):
    offset = 60 * MIB - i * MIB
    before = passed()
    expect("read", bytes(h.pread(4096, offset)), content("src", offset, 4096))
    in_front.append(passed() - before)
print("bytes in front of each read:", in_front)
# The sockets before the line hold some 200 KiB each, of four connections.
assert max(in_front) < 3 * MIB, "a read waited for %d bytes" % max(in_front)
'
stop clone
