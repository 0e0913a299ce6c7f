#!/usr/bin/env bash
# Errors and delays: for chosen kinds of requests, ranges, at a rate, and while
# a file exists.  A request that fails has done nothing.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=powercut.sh
. "${srcdir:-.}/powercut.sh"
start_disk powercut-error=ENOSPC:kinds=write,zero:range=64K+4K \
           powercut-error=EIO:range=128K+512 \
           powercut-error=ENOMEM:kinds=trim \
           powercut-error=EPERM:kinds=fua:file="$tmp/with:colon"
nbd "$disk_uri" '
# Just outside, and inside by one byte.
h.pwrite(b"1" * 65536, 0)
h.pwrite(b"1" * 512, 68 * KIB)
expect("write", error_of(h.pwrite, b"2" * 513, 65024), "ENOSPC")
expect("write", error_of(h.pwrite, b"2" * 512, 68 * KIB - 1), "ENOSPC")
expect("zero", error_of(h.zero, 65536, 65536), "ENOSPC")
expect("read", error_of(h.pread, 65536, 65536), None)
expect("nothing was done", bytes(h.pread(1024, 65024)),
       b"1" * 512 + b"\333" * 512)
for call in (lambda: h.pread(512, 128 * KIB + 511),
             lambda: h.pwrite(b"3", 128 * KIB), lambda: h.zero(MIB, 0),
             lambda: h.cache(1, 128 * KIB),
             lambda: extents(h, 127 * KIB, 65536)):
    assert error_of(call) in ("EIO", "ENOSPC"), error_of(call)
expect("read", error_of(h.pread, 512, 128 * KIB + 512), None)
expect("trim", error_of(h.trim, 512, 0), "ENOMEM")
expect("flush has no range", error_of(h.flush), None)

expect("not yet", error_of(h.pwrite, b"4", 0, nbd.CMD_FLAG_FUA), None)
open(TMP + "/with:colon", "w").close()
expect("the file exists", error_of(h.pwrite, b"4", 0, nbd.CMD_FLAG_FUA),
       "EPERM")
expect("no FUA", error_of(h.pwrite, b"4", 0), None)
os.unlink(TMP + "/with:colon")
expect("not any more", error_of(h.pwrite, b"4", 0, nbd.CMD_FLAG_FUA), None)
'
stop powercut

# At a rate: which ones depends on the seed, and nothing else.
for run in 1 2; do
    start_disk powercut-seed=7 powercut-error=EIO:rate=0.2:kinds=read
    nbd "$disk_uri" '
failed = [i for i in range(300) if error_of(h.pread, 1, 0)]
assert 30 < len(failed) < 90, "%d of 300" % len(failed)
open(TMP + "/failed" + sys.argv[1], "w").write(str(failed))
' $run
    stop powercut
done
expect_same "$tmp/failed1" "$tmp/failed2"

# Delays add up; requests of other kinds do not wait.
start_disk powercut-delay=0.2:kinds=flush powercut-delay=0.1:kinds=flush,trim
nbd "$disk_uri" '
def took(call, *args):
    began = time.monotonic()
    call(*args)
    return time.monotonic() - began
assert took(h.flush) >= 0.3
assert took(h.trim, 512, 0) >= 0.1
cookie = h.aio_flush()
h.pwrite(b"5", 0)
expect("the flush is still at it", h.aio_command_completed(cookie), False)
run_async(h, lambda: [cookie])
'
stop powercut
