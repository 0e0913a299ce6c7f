#!/usr/bin/env bash
# What survives a power cut: nothing that was not flushed, all of it, or a
# subset, torn at 512 bytes, in which each sector has one of its versions since
# the last flush, or the old one.  The seed decides, and it decides again in the
# same way.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=powercut.sh
. "${srcdir:-.}/powercut.sh"
# scenario SEED KEEP: then the disk is in $tmp/after-SEED-KEEP.
scenario ()
{
    new_disk
    start_disk powercut-seed="$1" powercut-keep="$2" powercut-kinds=flush \
               powercut-at=2 powercut-report="$tmp/report"
    # Three versions of the second sector of the four; the first KiB is as it
    # was flushed.
    nbd "$disk_uri" '
h.pwrite(b"F" * 4096, 0)
h.flush()
h.pwrite(b"1" * 2048, 1024)
h.pwrite(b"2" * 700, 1500)
h.zero(512, 1536)
h.pwrite(b"3" * 512, 2048)
open(TMP + "/all", "wb").write(h.pread(h.get_size(), 0))
expect("the cut", error_of(h.flush), "EIO")
'
    expect_report seed "$1"
    expect_report trigger request
    stop powercut
    cp "$disk" "$tmp/after-$1-$2"
}

scenario 1 nothing
expect_report keep nothing
expect_report kept 0
expect_report sectors 4
make_garbage "$tmp/nothing" $size
printf '%4096s' '' | tr ' ' F | dd of="$tmp/nothing" conv=notrunc status=none
expect_same "$disk" "$tmp/nothing"

scenario 1 all
expect_report keep all
expect_report kept 4
expect_same "$disk" "$tmp/all"

for seed in 1 2 3 4 5 6 7 8 9; do
    scenario $seed subset
    expect_report keep subset
done
python -c '
from helpers import *
states = set()
for seed in range(1, 10):
    disk = content("after-%d-subset" % seed)
    expect("flushed", disk[:1024], b"F" * 1024)
    expect("flushed", disk[3072:4096], b"F" * 1024)
    expect("beyond", disk[4096:], content("nothing")[4096:])
    old, one = b"F" * 512, b"1" * 512
    two = b"1" * 476 + b"2" * 36
    for i, versions in enumerate(((old, one, two),
                                  (old, one, b"2" * 512, bytes(512)),
                                  (old, one, b"2" * 152 + b"1" * 360,
                                   b"3" * 512),
                                  (old, one))):
        sector = disk[1024 + 512 * i:][:512]
        assert sector in versions, \
            "seed %d, sector %d: %r" % (seed, i + 2, sector)
    states.add(disk)
assert len(states) >= 4, "only %d different disks" % len(states)
' || fail "what survived is wrong"

# Again.
mv "$tmp/after-5-subset" "$tmp/first"
scenario 5 subset
expect_same "$tmp/after-5-subset" "$tmp/first"

# Any of the three, by seed.
seen=
for seed in 1 2 3 4 5 6 7 8 9; do
    scenario $seed any
    seen="$seen $(report keep)"
    expect_same "$tmp/after-$seed-any" "$tmp/after-$(
        case $(report keep) in
            subset) echo "$seed-subset" ;;
            *)      echo "1-$(report keep)" ;;
        esac)"
done
for what in nothing all subset; do
    case $seen in *$what*) ;; *) fail "$what was never chosen: $seen" ;; esac
done
