#!/usr/bin/env bash
# clone-connections: as many connections as that to a server that allows
# several (multi-conn), and a single one to any other (lesson 14).

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((32 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size

# The proxy counts, and has seen the connection that looks at the source before
# nbdkit listens, too.
start_source --filter=multi-conn file "$tmp/src" multi-conn-mode=disable
start_proxy
start_clone file "$tmp/dst" clone-connections=6 clone-rate=32M
wait_hydrated
nbd "$clone_uri" '
expect("connections", tell_proxy("status")["accepted"], 2)
'
stop clone
stop source

rm "$bitmap"
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-connections=6 clone-hydration=false
nbd "$clone_uri" '
wait_for(lambda: len(tell_proxy("status")["open"]) == 6, "six connections")

# They share the load: of twelve requests at a time at most two are on the one
# that is frozen.
tell_proxy("freeze", tell_proxy("status")["open"][0])
late = [h.aio_pread(nbd.Buffer(4096), i * MIB) for i in range(12)]
wait_for(lambda: h.poll(10) >= 0 and h.aio_in_flight() <= 2, "the others")
tell_proxy("thaw")
for cookie in late:
    finish(h, cookie)
# The looks at the source and all connections, of both clones.
expect("connections", tell_proxy("status")["accepted"], 9)
'
stop clone
