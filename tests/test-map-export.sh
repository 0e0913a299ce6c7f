#!/usr/bin/env bash
# The map export: the destination as it stands.  Hydrated regions are data and
# read as the destination's bytes, the others are hole,zero and read as zeroes.
# It is as large as the disk, and read-only.  What lies beyond the source's end
# is hydrated from the start.  Looking has no side effects (lesson 22).

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 655360           # 10 regions of 64 KiB
make_garbage "$tmp/dst" 917504          # and 4 beyond the source's end
start_source --filter=log file "$tmp/src" logfile="$tmp/source.log"
start_clone file "$tmp/dst" clone-region-size=64K clone-hydration=false

nbd "$map_uri" '
R = 65536
expect("size", h.get_size(), 14 * R)
expect("read-only", h.is_read_only(), True)
expect("map of a new clone", extents(h), [(10 * R, HOLE | ZERO), (4 * R, 0)])
expect("missing regions", bytes(h.pread(10 * R, 0)), bytes(10 * R))
expect("beyond the end", bytes(h.pread(4 * R, 10 * R)), b"\xdb" * 4 * R)

disk = connect(CLONE)
disk.pwrite(b"x" * R, 2 * R)            # a whole region
disk.pwrite(b"y", 4 * R + 5)            # one byte: the whole region
disk.pread(2, 7 * R - 1)                # a read keeps both its regions
wait_for(lambda: hydrated(6 * R, 2 * R) == "yes", "a read is kept")
expect("map", extents(h),
       [(2 * R, 3), (R, 0), (R, 3), (R, 0), (R, 3), (2 * R, 0), (2 * R, 3),
        (4 * R, 0)])
src = content("src")
region4 = bytearray(src[4 * R:5 * R])
region4[5:6] = b"y"
expect("the destination as it stands", bytes(h.pread(8 * R, 0)),
       bytes(2 * R) + b"x" * R + bytes(R) + region4 + bytes(R) +
       src[6 * R:8 * R])
# A range that begins and ends inside regions.
expect("part of the map", extents(h, 3 * R - 10, R + 20),
       [(10, 0), (R, 3), (10, 0)])

h.cache(R, 9 * R)                       # nothing to be done for that
expect("not hydrated", extents(h, 9 * R, R), [(R, 3)])

h.set_strict_mode(0)                    # or libnbd refuses by itself
for error in (error_of(h.pwrite, b"z", 0), error_of(h.trim, 4096, 0),
              error_of(h.zero, 4096, 0)):
    assert error in ("EPERM", "EROFS"), "write to the map export: %s" % error
'
# All this, and the map in another program's words, has fetched only what the
# disk's reader and the partial write needed.
nbdinfo --map --totals "$map_uri" | grep -q 'hole,zero'
nbdinfo --no-content "$clone_uri" >/dev/null
stop clone
test "$(log_bytes Read "$tmp/source.log")" -le $((3 * 65536 + 2)) ||
    fail "looking at the map has made the filter read from the source"

# It can have another name, and clients can see which exports there are.
start_clone file "$tmp/dst" clone-map-export=progress clone-hydration=false
nbdinfo --list --json "$clone_uri" >"$tmp/list"
for name in '' progress; do
    grep -qF "\"export-name\": \"$name\"" "$tmp/list" ||
        fail "no export \"$name\" in the list: $(cat "$tmp/list")"
done
map_uri="nbd+unix:///progress?socket=$tmp/clone.sock"
nbd "$map_uri" 'expect("read-only", h.is_read_only(), True)'
stop clone
