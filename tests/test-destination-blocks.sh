#!/usr/bin/env bash
# The destination's block sizes: clients are told of them, and whatever the
# filter does itself obeys them, however large a read, a batch or a region is.
# Of sizes that the destination does not tell, clients are told regions.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((4 * 1048576))
make_random "$tmp/src" $size
start_source file "$tmp/src"

# told "MINIMUM PREFERRED MAXIMUM" ARGS...: what clients are told.
told ()
{
    local wanted=$1
    shift
    make_garbage "$tmp/dst" $size
    rm -f "$bitmap"
    start_clone "$@"
    nbd "$clone_uri" '
expect("block sizes", [h.get_block_size(which) for which in (
    nbd.SIZE_MINIMUM, nbd.SIZE_PREFERRED, nbd.SIZE_MAXIMUM)],
    [int(size) for size in sys.argv[1].split()])
' "$wanted"
}
limits () { echo --filter=blocksize-policy file "$tmp/dst" \
                 blocksize-error-policy=error blocksize-minimum="$1" \
                 blocksize-preferred="$2" blocksize-maximum="$3"; }

told "1 4096 4294967295" file "$tmp/dst"
stop clone
told "1 65536 4294967295" file "$tmp/dst" clone-region-size=128K
stop clone
# shellcheck disable=SC2046
told "512 8192 32768" $(limits 512 8K 32K) clone-region-size=64K
stop clone
# shellcheck disable=SC2046
told "512 65536 131072" $(limits 512 4K 128K) clone-region-size=256K \
     clone-hydration=false
nbd "$clone_uri" '
M = 131072
h.pwrite(b"x" * 512, 512)                       # a part of a region
h.zero(4 * M - 1024, 8 * M + 512)
for offset in range(0, 4 * MIB, M):
    h.pread(M, offset)
h.cache(4 * MIB - 512, 512)
h.flush()
'
stop clone
# shellcheck disable=SC2046
start_clone $(limits 512 4K 128K) clone-batch=1M
wait_hydrated
nbd "$map_uri" 'expect("map", len(h.pread(131072, 0)), 131072)'
stop clone
nbd "$source_uri" '
expected = bytearray(content("src"))
expected[512:1024] = b"x" * 512
expected[MIB + 512:MIB + 4 * 131072 - 512] = bytes(4 * 131072 - 1024)
expect("the destination", content("dst"), bytes(expected))
'
