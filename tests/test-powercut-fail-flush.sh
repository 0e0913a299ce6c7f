#!/usr/bin/env bash
# Flushes that fail: once, from some flush on, or while a file exists.  The data
# is then dropped in the way of the kernel: it can still be read, the next flush
# succeeds, but it is not there after a cut.  Or it is kept.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=powercut.sh
. "${srcdir:-.}/powercut.sh"
start_disk powercut-fail-flush=2 powercut-kinds=flush powercut-at=5 \
           powercut-keep=all powercut-report="$tmp/report"
nbd "$disk_uri" '
h.pwrite(b"1" * 1024, 0)
h.flush()
h.pwrite(b"2" * 1024, 0)
expect("the second", error_of(h.flush), "EIO")
expect("still read", bytes(h.pread(1024, 0)), b"2" * 1024)
h.flush()
expect("dropped", content("disk", 0, 1024), b"1" * 1024)
h.pwrite(b"3" * 512, 512)
h.flush()
expect("written later", content("disk", 0, 1024), b"1" * 512 + b"3" * 512)
expect("still read", bytes(h.pread(1024, 0)), b"2" * 512 + b"3" * 512)
expect("cut", error_of(h.flush), "EIO")
expect("for ever", content("disk", 0, 1024), b"1" * 512 + b"3" * 512)
'
expect_report sectors 0
stop powercut

# It is not written when nbdkit stops, either; the others are.
new_disk
start_disk powercut-fail-flush=1
nbd "$disk_uri" '
h.pwrite(b"1" * 512, 0)
expect("the first", error_of(h.flush), "EIO")
h.pwrite(b"2" * 512, 512)
'
stop powercut
test "$(tr -d '\333' <"$disk" | head -c 513 | sort -u)" = "$(
    printf '%512s' '' | tr ' ' 2)" || fail "not what was to be written"

new_disk
start_disk powercut-fail-flush=1 powercut-failed-flush=keep
nbd "$disk_uri" '
h.pwrite(b"1" * 512, 0)
expect("the first", error_of(h.flush), "EIO")
expect("not written", content("disk", 0, 1), b"\333")
h.flush()
expect("kept", content("disk", 0, 512), b"1" * 512)
'
stop powercut

# For ever: FUA fails, too.
new_disk
start_disk powercut-fail-flush=2+
nbd "$disk_uri" '
h.pwrite(b"1" * 512, 0, nbd.CMD_FLAG_FUA)
h.flush()
for i in range(3):
    expect("flush", error_of(h.flush), "EIO")
    expect("FUA", error_of(h.pwrite, b"2" * 512, 0, nbd.CMD_FLAG_FUA), "EIO")
    h.pwrite(b"3" * 512, 1024)
expect("on the disk", content("disk", 0, 512), b"1" * 512)
'
stop powercut

# While a file exists.
new_disk
start_disk powercut-fail-flush-file="$tmp/broken"
nbd "$disk_uri" '
h.flush()
open(TMP + "/broken", "w").close()
expect("flush", error_of(h.flush), "EIO")
expect("FUA", error_of(h.zero, 512, 0, nbd.CMD_FLAG_FUA), "EIO")
os.unlink(TMP + "/broken")
h.flush()
h.pwrite(b"4" * 512, 0, nbd.CMD_FLAG_FUA)
'
stop powercut
