#!/usr/bin/env bash
# The powercut filter: a write, zero or trim with FUA is durable when it is
# answered, and makes nothing else durable.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=powercut.sh
. "${srcdir:-.}/powercut.sh"
for keep in nothing all subset; do
    new_disk
    start_disk powercut-keep=$keep powercut-seed=8 powercut-at=1 \
               powercut-kinds=flush powercut-report="$tmp/report"
    nbd "$disk_uri" '
keep = sys.argv[1]
old = content("disk")
expected = bytearray(old)
h.pwrite(b"v" * 65536, 0)                       # volatile
h.pwrite(b"f" * 1024, 1024, nbd.CMD_FLAG_FUA)
h.zero(512, 8192, nbd.CMD_FLAG_FUA)
h.trim(512, 16384, nbd.CMD_FLAG_FUA)
expected[1024:2048] = b"f" * 1024
expected[8192:8704] = expected[16384:16896] = bytes(512)
expect("on the disk", content("disk"), bytes(expected))

# A part of a sector: the rest of it is what reads have seen.
h.pwrite(b"F" * 10, 20000, nbd.CMD_FLAG_FUA)
h.pwrite(b"F" * 10, 100000, nbd.CMD_FLAG_FUA)
expected[19968:20480] = b"v" * 512
expected[20000:20010] = expected[100000:100010] = b"F" * 10
expect("on the disk", content("disk"), bytes(expected))
expect("sectors around it", bytes(h.pread(512, 20480)), b"v" * 512)

# Whatever survives the cut, what is durable stays, and nothing older than it
# comes back.
h.pwrite(b"f" * 1024, 1024)
expect("the cut", error_of(h.flush), "EIO")
after = content("disk")
for first, end in (1024, 2048), (8192, 8704), (16384, 16896), (19968, 20480):
    expect("durable", after[first:end], bytes(expected[first:end]))
expect("beyond", after[65536:], bytes(expected[65536:]))
if keep == "nothing":
    expect("nothing else", after, bytes(expected))
' $keep
    expect_report keep $keep
    stop powercut
done
