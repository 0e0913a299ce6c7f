#!/usr/bin/env bash
# nbdkit aborts when a zero is answered with ENOTSUP that was not a fast one
# (section 6, tried).  Whatever number the destination or the source fails with,
# the client gets an error and the server lives: a failing source is EIO, a
# failing destination its own error if it is a client's own write.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

plain=$abs_top_builddir/tests/.libs/plain-plugin.so
make_random "$tmp/src" 1048576
# ENOTSUP, EIO, EPERM, ESHUTDOWN, EOVERFLOW, ENOSPC, and one that nobody knows.
for number in 95 5 1 108 75 28 133; do
    rm -f "$bitmap" "$tmp/trouble"
    make_garbage "$tmp/dst" 1048576
    start_source "$plain" plain-file="$tmp/src" plain-bad=500000 \
                 plain-bad-error=$number
    start_clone "$plain" plain-file="$tmp/dst" plain-fail="$tmp/trouble" \
                clone-hydration=false clone-source-timeout=1
    nbd "$clone_uri" '
number = int(sys.argv[1])
FUA, FAST = nbd.CMD_FLAG_FUA, nbd.CMD_FLAG_FAST_ZERO
bad = 500000 // 4096 * 4096
for what, function, *arguments in (
        ("read", h.pread, 10, 500000), ("write", h.pwrite, b"x", bad),
        ("zero", h.zero, 1, bad), ("zero", h.zero, 10, bad - 5, FUA),
        ("trim", h.trim, 1, bad), ("cache", h.cache, 1, bad)):
    expect("source fails, " + what, error_of(function, *arguments), "EIO")
assert error_of(h.zero, 1, bad, FAST) in ("ENOTSUP", "EINVAL"), "fast zero"

h.pwrite(b"h" * 65536, 0)
with open(TMP + "/trouble", "w") as f:
    f.write(str(number))
for offset in (0, 1, 65536, 65537):     # hydrated or not, whole or parts
    expect("read", bytes(h.pread(5, 8192 + offset)),
           (b"h" * 65536 + content("src")[65536:])[8192 + offset:][:5])
    for what, function, *arguments in (
            ("write", h.pwrite, b"x" * 8192, offset),
            ("zero", h.zero, 8192, offset), ("trim", h.trim, 8192, offset),
            ("FUA zero", h.zero, 8192, offset, FUA)):
        error = error_of(function, *arguments)
        assert error is not None, what + " has succeeded"
        assert error != "ENOTSUP" or what == "write", what + ": ENOTSUP"
os.unlink(TMP + "/trouble")
h.flush()                               # a failed write is no failed flush
expect("nothing is half done", bytes(h.pread(4096, 65536)),
       content("src", 65536, 4096))
for offset in (0, 1, 65536, 65537):
    h.zero(8192, offset)
expect("it is well again", bytes(h.pread(8193, 65536)), bytes(8193))
' $number
    stop clone
    stop source
done
