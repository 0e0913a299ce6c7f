#!/usr/bin/env bash
# Failed source reads (section 6, lesson 16).  The client gets EIO, whatever the
# source's own error was; the failure is not kept: once the source is well again
# the same read succeeds.  Two clients that read the same missing range at once
# both get it.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 4194304
make_garbage "$tmp/dst" 4194304
for error in EIO EPERM ENOSPC EINVAL ESHUTDOWN; do
    rm -f "$bitmap"
    # nbd has no number for ENOTSUP in answers to reads; see
    # test-source-errors.sh.
    start_source --filter=error --filter=delay file "$tmp/src" \
        error-pread=$error error-pread-rate=100% \
        error-pread-file="$tmp/trouble" rdelay=20ms
    start_clone file "$tmp/dst" clone-hydration=false clone-source-timeout=0.5
    touch "$tmp/trouble"
    nbd "$clone_uri" '
R = 4096
other = connect()
for length, offset in ((1, 5), (R, R), (3 * R, 10 * R - 1)):
    expect("read", error_of(h.pread, length, offset), "EIO")
    expect("partial write", error_of(h.pwrite, b"x", offset + 1), "EIO")
    expect("partial zero", error_of(h.zero, 1, offset + 1), "EIO")
    expect("partial trim", error_of(h.trim, 1, offset + 1), "EIO")
    expect("cache", error_of(h.cache, length, offset), "EIO")
h.pwrite(b"w" * R, 50 * R)              # needs nothing of the source
expect("nothing is hydrated by errors", hydrated(0, 50 * R), "no")
os.unlink(TMP + "/trouble")
for length, offset in ((1, 5), (R, R), (3 * R, 10 * R - 1)):
    expect("read", bytes(h.pread(length, offset)),
           content("src", offset, length))

# The same range, by two clients, at the same time.
requests = []
for i in range(8):
    for client in (h, other):
        buf = nbd.Buffer(64 * KIB)
        offset = MIB + i * 30 * KIB
        requests.append((client, client.aio_pread(buf, offset), buf, offset))
for client, cookie, buf, offset in requests:
    finish(client, cookie)
    expect("read", bytes(buf.to_bytearray()), content("src", offset, 65536))
'
    stop clone
    stop source
done
