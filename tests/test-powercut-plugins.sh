#!/usr/bin/env bash
# The powercut filter on plugins that can do less than others: one that is not
# parallel, one with large blocks, one without flush, zero and trim, one that is
# read-only.  And extents, which know of what is in the cache.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=powercut.sh
. "${srcdir:-.}/powercut.sh"
start_powercut --filter=noparallel file "$disk" serialize=requests \
               powercut-signal=USR1 powercut-keep=all \
               powercut-report="$tmp/report"
nbd "$disk_uri" '
h.pwrite(b"1" * 512, 0)
h.flush()
h.pwrite(b"2" * 512, 0)
'
kill -USR1 "${pid_of[powercut]}"
wait_until has_report
test "$(head -c 1 "$disk")" = 2 || fail "not parallel: it was to survive"
stop powercut

# The sector is as large as the plugin's smallest block: so are its tears.
start_as=clone start_nbdkit powercut --filter="$POWERCUT_FILTER" \
    --filter=blocksize-policy file "$disk" blocksize-minimum=4096 \
    blocksize-preferred=4096 blocksize-maximum=8192 \
    blocksize-error-policy=error
nbd "$disk_uri" '
expect("blocks", [h.get_block_size(i) for i in range(3)], [4096, 4096, 8192])
h.set_strict_mode(0)
expected = bytearray(content("disk"))
for offset, length in (100, 1000), (8191, 2), (20480, 50000), (98304, 4096):
    h.pwrite(b"3" * length, offset)
    expected[offset:offset + length] = b"3" * length
expect("read", bytes(h.pread(65536, 50)), bytes(expected[50:65586]))
h.flush()
expect("on the disk", content("disk"), bytes(expected))
'
stop powercut

cat >"$tmp/simple.sh" <<'END'
#!/bin/sh
case $1 in
    get_size) stat -c %s "$disk" ;;
    pread) dd if="$disk" iflag=skip_bytes,count_bytes skip=$4 count=$3 ;;
    pwrite) dd of="$disk" conv=notrunc oflag=seek_bytes seek=$4 ;;
    can_write) exit 0 ;;
    can_flush|can_zero|can_trim|can_extents) exit 3 ;;
    *) exit 2 ;;
esac
END
chmod +x "$tmp/simple.sh"
export disk
new_disk
start_powercut --filter=nozero sh "$tmp/simple.sh" \
               powercut-at=5 powercut-keep=all
nbd "$disk_uri" '
expect("flush", h.can_flush(), True)
expect("FUA", h.can_fua(), True)
expect("zero", h.can_zero(), True)
expect("trim", h.can_trim(), False)
h.pwrite(b"1" * 1000, 100)
h.zero(300000, 1000)
expect("not yet", content("disk", 100, 1), b"\333")
h.flush()
expect("flushed", content("disk", 100, 300900), b"1" * 900 + bytes(300000))
h.pwrite(b"2" * 10, 0)
expect("cut", error_of(h.pread, 1, 0), "EIO")
expect("survived", content("disk", 0, 10), b"2" * 10)
'
stop powercut

start_powercut -r file "$disk"
nbd "$disk_uri" '
expect("read-only", h.is_read_only(), True)
h.pread(512, 0)
'
stop powercut

rm "$disk"
truncate -s $size "$disk"
start_disk powercut-keep=nothing
nbd "$disk_uri" '
h.pwrite(b"1" * 65536, 65536)
h.trim(65536, 65536 + 4096)
h.zero(4096, 65536 + 8192, nbd.CMD_FLAG_NO_HOLE)
hole = HOLE | ZERO
expect("in the cache", extents(h),
       [(65536, hole), (4096, 0), (4096, hole), (4096, ZERO),
        (h.get_size() - 65536 - 12288, hole)])
h.flush()
expect("flushed", extents(h)[0], (65536, hole))
'
stop powercut
