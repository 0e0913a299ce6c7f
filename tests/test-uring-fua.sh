#!/usr/bin/env bash
# A write with FUA is durable when nbdkit-uring-plugin answers it: the device
# has been told to flush its cache.  It need not make durable what other
# requests have written, so it does not sync the whole file.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

make_random "$disk" $((8 * 1048576))
for direct in false true; do
    make_loop "$disk" || break
    start_uring "$loop" direct=$direct
    nbd "$uring_uri" '
def flushes():          # see block/stat.rst of the kernel
    with open("/sys/block/%s/stat" % os.path.basename(sys.argv[1])) as f:
        return int(f.read().split()[15])

FUA = nbd.CMD_FLAG_FUA
for offset, length in ((0, 4096), (MIB + 100, 5000), (2 * MIB, 2 * MIB)):
    before = flushes()
    h.pwrite(b"x" * length, offset)
    expect("flushes without FUA", flushes(), before)
    for name, what in (("pwrite", b"x" * length), ("zero", length),
                       ("trim", length)):
        before = flushes()
        h.pwrite(b"y" * length, offset)
        getattr(h, name)(what, offset, FUA)
        expect("flushed by " + name, flushes() > before, True)
    before = flushes()
    h.flush()
    expect("flushed", flushes() > before, True)
' "$loop"
    stop uring
    losetup -d "$loop"
    loops=()
done

for direct in false true; do
    start_uring direct=$direct
    strace -f -p "${pid_of[uring]}" -o "$tmp/strace" \
        -e trace=fsync,fdatasync,sync_file_range 2>"$tmp/strace.err" &
    tracer=$!
    wait_until grep -q attached "$tmp/strace.err"
    nbd "$uring_uri" '
h.pwrite(b"x" * MIB, 5 * MIB)
h.pwrite(b"x" * 5000, 100, nbd.CMD_FLAG_FUA)
h.pwrite(b"x" * 4096, 4096, nbd.CMD_FLAG_FUA)
'
    ! grep sync "$tmp/strace" || fail "FUA has synced everything"
    nbd "$uring_uri" 'h.flush()'
    wait_until grep -q fdatasync "$tmp/strace"
    kill $tracer
    wait $tracer || true
    stop uring
done
