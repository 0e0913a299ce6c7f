#!/usr/bin/env bash
# A server that takes the place of another one may have other limits: what is
# sent again obeys them.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((8 * 1048576))
make_random "$tmp/src" $size
start_source file "$tmp/src"
start_proxy
make_garbage "$tmp/dst" $size
start_clone file "$tmp/dst" clone-hydration=false clone-region-size=64K
nbd "$clone_uri" '
h.pread(512, 8 * MIB - 512)             # the first limits are known
tell_proxy("freeze")
data = nbd.Buffer(4 * MIB)
cookie = h.aio_pread(data, 12345)
let_settle(int(sys.argv[1]))
open(TMP + "/frozen", "w").close()
finish(h, cookie)
expect("read", bytes(data.to_bytearray()), content("src", 12345, 4 * MIB))
' "${pid_of[clone]}" &
client=$!
wait_until test -e "$tmp/frozen"
kill9 source
start_source --filter=blocksize-policy file "$tmp/src" \
    blocksize-minimum=4K blocksize-preferred=4K blocksize-maximum=64K \
    blocksize-error-policy=error
proxy thaw
wait $client || fail "the client has failed"
