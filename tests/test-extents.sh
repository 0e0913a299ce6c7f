#!/usr/bin/env bash
# Extents of the disk tell the truth about contents: the destination's where
# hydrated, the source's where not, plain data where the source cannot say or is
# away (that is no error).  Never a hole that is not zero: qemu-img takes it for
# "not there" (section 2).

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

region=65536
start_disk ()
{
    rm -f "$bitmap"
    make_garbage "$tmp/dst" $((33 * region))
    start_clone file "$tmp/dst" clone-hydration=false \
                clone-region-size=$region
}

# The source: 10 regions of data, 10 of hole, 10 of data.
make_random "$tmp/src" $((30 * region))
fallocate --punch-hole -o $((10 * region)) -l $((10 * region)) "$tmp/src"
start_source file "$tmp/src"
start_disk
nbd "$clone_uri" '
R = 65536
Z = HOLE | ZERO
expect("the source, and what lies beyond its end", extents(h),
       [(10 * R, 0), (10 * R, Z), (13 * R, 0)])
h.trim(2 * R, 2 * R)
h.pwrite(b"x" * R, 12 * R)
h.pwrite(b"x", 15 * R)                  # part of a region in the hole
h.zero(R, 31 * R)
told = extents(h)
# The destination may know more precisely what is zero in region 15.
position, zero = 0, []
for length, flags in told:
    assert flags != HOLE, "a hole that is not zero"
    if flags & ZERO:
        zero.append((position, length))
        expect("zero", bytes(h.pread(length, position)), bytes(length))
    position += length
expect("to the end", position, 33 * R)
for wanted in ((2 * R, 2 * R), (10 * R, 2 * R), (13 * R, 2 * R),
               (16 * R, 4 * R), (31 * R, R)):
    assert any(o <= wanted[0] and wanted[0] + wanted[1] <= o + n
               for o, n in zero), "not told of zeroes at %d" % wanted[0]
expect("a part, unaligned", extents(h, 10 * R - 7, 17), [(7, 0), (10, Z)])
'
# What others make of it.
nbdcopy "$source_uri" "$tmp/a"
qemu-img convert -f raw -O raw "$clone_uri" "$tmp/b"
nbdcopy "$clone_uri" "$tmp/c"
expect_same "$tmp/b" "$tmp/c"

# The source goes away: data, but not an error.
kill9 source
nbd "$clone_uri" '
R = 65536
expect("no source", extents(h, 20 * R, 10 * R), [(10 * R, 0)])
expect("hydrated", extents(h, 2 * R, 2 * R), [(2 * R, HOLE | ZERO)])
'
stop clone

# A source that knows nothing of extents.
start_source --filter=noextents file "$tmp/src"
start_disk
nbd "$clone_uri" 'expect("no extents", extents(h), [(h.get_size(), 0)])'
stop clone
stop source

# One that says "hole" of what is data, and one that fails to say anything.
for answer in 'echo 0 1310720 hole' 'echo EIO >&2; exit 1'; do
    # The variables are those of the eval plugin.
    # shellcheck disable=SC2016
    start_source eval get_size='echo 1310720' can_extents='exit 0' \
        pread='head -c $3 /dev/zero | tr "\0" s' extents="$answer"
    start_disk
    nbd "$clone_uri" '
expect("data", extents(h), [(h.get_size(), 0)])
expect("data", bytes(h.pread(1310720, 0)), b"s" * 1310720)
'
    stop clone
    stop source
done
