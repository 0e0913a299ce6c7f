#!/usr/bin/env bash
# A server that goes away while nothing is asked of it is missed at once, not by
# the next one who needs it: by then the connections have been made again.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=1048576
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-hydration=false

# How long ten reads take, each the first one of a new server.  Were the loss
# found by a look now and then, that would be two seconds.
took=0
for ((i = 0; i < 10; i++)); do
    nbd "$clone_uri" 'h.pread(4096, int(sys.argv[1]))' $((i * 65536))
    kill9 source
    start_source file "$tmp/src"
    nbd "$clone_uri" '
start = time.monotonic()
h.pread(4096, int(sys.argv[1]))
print(int(1000 * (time.monotonic() - start)))
' $((i * 65536 + 8192)) >"$tmp/ms"
    took=$((took + $(cat "$tmp/ms")))
done
note "ten first reads took $took ms"
test $took -lt 1000 || fail "reads had to find out that the server was gone"
grep -q 'lost (' "$tmp/clone.err" || fail "the log does not say it"
stop clone
