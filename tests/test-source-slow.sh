#!/usr/bin/env bash
# A read that takes longer than clone-source-timeout is not an error as long as
# bytes arrive for it: the timeout is for a source that is silent.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((24 * 1048576))
make_random "$tmp/src" $size
start_source file "$tmp/src"
start_proxy
proxy bandwidth $((6 * 1048576))
make_garbage "$tmp/dst" $size
start_clone file "$tmp/dst" clone-hydration=false clone-source-timeout=2
nbd "$clone_uri" '
import time
started = time.monotonic()
expect("a read of 24 MiB", bytes(h.pread(24 * MIB, 0)), content("src"))
assert time.monotonic() - started > 2, "the line is not slow"
'
stop clone
