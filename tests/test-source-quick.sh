#!/usr/bin/env bash
# Small reads of missing regions, one at a time, from several clients in turn:
# whoever waits reads the reply himself, and none is left lying until a thread
# has a look (source-help.c).  If each were, this would take a minute.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((4 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" '
R = 4096
clients = [h] + [connect() for _ in range(3)]
start = time.monotonic()
for i in range(240):
    # One region, or two, which are two commands.
    offset, length = 4 * i * R, R + i % 2
    expect("read", bytes(clients[i % 4].pread(length, offset)),
           content("src", offset, length))
took = time.monotonic() - start
print("240 reads took %.3f s" % took)
assert took < 10, "replies were left unread"
'
stop clone
