#!/usr/bin/env bash
# A server that takes the place of another one may have other limits: what is
# sent again obeys them, whether or not the first one had any.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((8 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
limited=(--filter=blocksize-policy file "$tmp/src"
         blocksize-error-policy=error blocksize-preferred=4K)
for first in 1 512; do
    rm -f "$bitmap" "$tmp/frozen"
    start_source "${limited[@]}" blocksize-minimum=$first \
                 blocksize-maximum=32M
    start_proxy
    # Of large regions no more is fetched than was asked for.
    start_clone file "$tmp/dst" clone-hydration=false clone-region-size=128K
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
    start_source "${limited[@]}" blocksize-minimum=4K blocksize-maximum=64K
    proxy thaw
    wait $client || fail "the client has failed"
    stop clone
    stop proxy
    stop source
done
