#!/usr/bin/env bash
# nbdkit aborts when one extent of an answer passes 4 GiB (design section 2).
# On a disk of 1 TiB, extents never go beyond the requested range, whatever
# source and destination say, hydrated or not, on both exports.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

for side in source destination; do
    rm -f "$bitmap"
    truncate -s 1T "$tmp/large"
    plain="$abs_top_builddir/tests/.libs/plain-plugin.so"
    if test $side = source; then
        start_source "$plain" plain-file="$tmp/large" plain-hole=true
        start_clone memory 1T clone-hydration=false clone-region-size=1M
    else
        start_source memory 512G
        start_clone "$plain" plain-file="$tmp/large" plain-hole=true \
            clone-hydration=false clone-region-size=1M
    fi
    nbd "$clone_uri" '
disk = connect()
for h in (disk, connect(MAP)):
    expect("all of it", sum(n for n, _ in extents(h)), 1 << 40)
    for offset in (0, 1, 5 * GIB - 1, 512 * GIB - 3 * GIB, 1020 * GIB):
        for length in (1, 100, 4 * GIB - 1, 4 * GIB - 4096):
            length = min(length, (1 << 40) - offset)
            extents(h, offset, length)
            h.block_status(length, offset, lambda *args: 0,
                           nbd.CMD_FLAG_REQ_ONE)
disk.zero(4 * GIB - 4096, 0)            # hydrated now
disk.trim(4 * GIB - 4096, 4 * GIB)
for h in (disk, connect(MAP)):
    expect("all of it", sum(n for n, _ in extents(h)), 1 << 40)
expect("it has survived", disk.aio_is_ready(), True)
'
    nbdinfo --map --totals "$clone_uri" >/dev/null
    nbdinfo --map --totals "$map_uri" >/dev/null
    stop clone
    stop source
done
