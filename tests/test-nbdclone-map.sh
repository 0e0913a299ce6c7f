#!/usr/bin/env bash
# nbdclone map: the disk as a picture, the same of a server and of its bitmap
# file.  A cell is nothing or all only if it is just that.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

# 72 cells of 64 KiB: two rows.
size=$((72 * 65536))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" '
C = 65536
h.pwrite(b"x" * 3 * C, 0)               # three whole cells
h.pwrite(b"x" * (C - 4096), 10 * C)     # all but a region
h.pwrite(b"x" * 4096, 20 * C)           # a region
h.pwrite(b"x" * C, 35 * C + C // 2)     # two halves, in two rows
h.pwrite(b"x" * 4096, 72 * C - 4096)
'
map () { COLUMNS=48 nbdclone map --rows 2 "$@" | tail -n +2; }
cat >"$tmp/wanted" <<'END'
7.0 % of 4.5 MiB hydrated
       0 B ###.......*.........-..............+
   2.2 MiB +..................................-
           . nothing # all, a cell is 64.0 KiB
END
map "$clone_uri" >"$tmp/live"
diff "$tmp/wanted" "$tmp/live" || fail "this is not the disk"
stop clone
map "$bitmap" >"$tmp/file"
diff "$tmp/live" "$tmp/file" || fail "server and file differ"

nbdclone map --svg "$tmp/map.svg" "$bitmap"
python -c '
import xml.dom.minidom
from helpers import *
svg = xml.dom.minidom.parseString(content("map.svg"))
cells = sum(int(r.getAttribute("width")) // 8
            for r in svg.getElementsByTagName("rect"))
expect("cells", cells, 72 * 16)
green = sum(int(r.getAttribute("width")) // 8
            for r in svg.getElementsByTagName("rect")
            if r.getAttribute("fill") == "#3a9a4b")
expect("hydrated", green, 3 * 16 + 15 + 1 + 16 + 1)
width = int(svg.documentElement.getAttribute("width"))
for r in svg.getElementsByTagName("rect"):
    assert int(r.getAttribute("x")) + int(r.getAttribute("width")) <= width, \
        "a cell beyond the end of its row"
'

# Cells that begin in the middle of a byte, so to say.
size=$((100 * 4096))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
rm "$bitmap"
start_source file "$tmp/src"
start_clone file "$tmp/dst"
wait_hydrated
stop clone
XDG_RUNTIME_DIR=$tmp COLUMNS=48 timeout "$bound" \
    "$NBDCLONE" map --rows 1 "$bitmap" >"$tmp/odd" || fail "status $?"
grep -qE '^ +0 B #{36}$' "$tmp/odd" || fail "$(cat "$tmp/odd")"

refuse 1 'svg: No such file' map --svg "$tmp/no/svg" "$bitmap"
refuse 3 'none' map "$tmp/none"
refuse 3 'No such file|closed|refused' map "nbd+unix:///?socket=$tmp/none"
refuse 2 'allowed are 48 to 1000' map --width 5 "$bitmap"
refuse 2 'allowed are 0.1 to 3600' map --watch=0 "$bitmap"
refuse 2 'is wanted' map
