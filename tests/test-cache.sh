#!/usr/bin/env bash
# Cache requests (section 4): the range is hydrated when the answer comes, and
# nothing else is; what is hydrated already is the destination's business.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

region=65536
make_random "$tmp/src" $((10 * region))
make_garbage "$tmp/dst" $((11 * region + 5))
start_source --filter=log file "$tmp/src" logfile="$tmp/source.log"
start_clone --filter=log file "$tmp/dst" logfile="$tmp/dst.log" \
            clone-hydration=false clone-region-size=$region \
            clone-on-read=false
nbd "$clone_uri" '
R = 65536
expect("cache is offered", h.can_cache(), True)
h.cache(1, 2 * R - 1)                   # one byte: its region
expect("map", extents(connect(MAP), 0, 10 * R),
       [(R, 3), (R, 0), (8 * R, 3)])
h.cache(3 * R, 2 * R - 100)             # hydrated and not
expect("map", extents(connect(MAP), 0, 10 * R),
       [(R, 3), (4 * R, 0), (5 * R, 3)])

before = logged("source.log")
expect("the data", bytes(h.pread(4 * R, R)), content("src", R, 4 * R))
seen = len(logged("dst.log"))
h.cache(R, R)                           # hydrated
expect("the destination hears of it",
       [x[0] for x in logged("dst.log")[seen:]], ["Cache"])
expect("the source does not", logged("source.log"), before)
h.cache(6 * R + 5, 5 * R)               # to beyond the source"s end
expect("map", hydrated(5 * R, 6 * R), "yes")
'
stop clone
