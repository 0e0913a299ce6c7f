#!/usr/bin/env bash
# flush on the control socket: when it is answered, the bits are in the bitmap
# file and the data is on the destination (P4).

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
start_source file "$tmp/src"

start_clone file "$tmp/dst" clone-control="$tmp/control.sock" \
            clone-hydration=false clone-commit-interval=3600

nbd "$clone_uri" '
c = Control()
h.pwrite(b"x" * 4096, 0)
expect("bit before", bit_on_disk(0), False)
expect("flush", c.ask("flush"), {})
expect("bit after", bit_on_disk(0), True)
expect("committed", c.ask("status")["committed"], 1)
'
kill9 clone
start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" 'expect("data", bytes(h.pread(4096, 0)), b"x" * 4096)'
stop clone
