#!/usr/bin/env bash
# nbdclone dump: what a bitmap file says, for people and for programs.  The ranges
# are of bytes and cover the disk; what lies behind the source's end is hydrated.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" $((1048576 + 1000))
make_garbage "$tmp/dst" 2097152
start_source file "$tmp/src"
source_uri="nbd+unix:///the%20disk?socket=$tmp/source.sock"
start_clone file "$tmp/dst" clone-hydration=false clone-region-size=64K
nbd "$clone_uri" '
h.pwrite(b"x" * 65536, 65536)
h.pwrite(b"x" * 131072, 8 * 65536)
'
stop clone

nbdclone dump --json "$bitmap" >"$tmp/json"
nbdclone dump "$bitmap" >"$tmp/text"
python -c '
from helpers import *
d = json.loads(content("json"))
for name, value in {
        "version": 1, "clean": True, "announced": False, "torn-blocks": 0,
        "source-export": "the disk", "source-size": MIB + 1000,
        "size": 2 * MIB, "region-size": 65536, "regions": 17, "hydrated": 3,
        "hydrated-bytes": 3 * 65536 + MIB - 1000}.items():
    expect(name, d[name], value)
expect("uuid", d["uuid"].replace("-", ""), content("bitmap", 32, 16).hex())
expect("ranges", [(r["offset"], r["length"], r["hydrated"])
                  for r in d["ranges"]],
       [(0, 65536, False), (65536, 65536, True), (131072, 6 * 65536, False),
        (8 * 65536, 131072, True), (10 * 65536, 6 * 65536 + 1000, False),
        (MIB + 1000, MIB - 1000, True)])
lines = content("text").decode().splitlines()
rows = [line.split() for line in lines[lines.index("") + 2:]]
expect("the same for people", rows,
       [[str(r["offset"]), str(r["length"]),
         "hydrated" if r["hydrated"] else "-"] for r in d["ranges"]])
'
grep -q '^source export  "the disk"$' "$tmp/text" || fail "$(cat "$tmp/text")"
grep -q '^disk size      2097152 (2.0 MiB)$' "$tmp/text" || fail "disk size"

# The last region, too, and the end announced.
start_clone file "$tmp/dst" clone-on-complete="touch $tmp/complete"
wait_until test -e "$tmp/complete"
stop clone
nbdclone dump --json "$bitmap" >"$tmp/json"
python -c '
from helpers import *
d = json.loads(content("json"))
expect("announced", (d["announced"], d["hydrated"]), (True, 17))
expect("ranges", d["ranges"],
       [{"offset": 0, "length": 2 * MIB, "hydrated": True}])
'

# A name that a terminal would obey: it is shown, and harmless.
source_uri="nbd+unix:///a%1B%5B2Jb?socket=$tmp/source.sock"
rm "$bitmap"
start_clone file "$tmp/dst" clone-hydration=false
stop clone
nbdclone dump "$bitmap" >"$tmp/text"
grep -q '^source export  "a?\[2Jb"$' "$tmp/text" || fail "$(cat -v "$tmp/text")"
refuse 1 'No such file' dump "$tmp/none"
refuse 1 'no sound bitmap file' dump "$tmp/dst"
refuse 2 'one bitmap file is wanted' dump
