#!/usr/bin/env bash
# A part of the destination cannot be written (section 6): what a read has
# fetched of it cannot be kept, but the read is answered; a client's own write
# gets the error.  To the background it is like an error of the source: the rest
# becomes hydrated, and it comes back to this part, which is hydrated once it
# can be written.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((4 * 1048576))
bad=$((1048576 + 5 * 4096))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
touch "$tmp/trouble"
start_source file "$tmp/src"
start_clone --filter=log --filter="$POWERCUT_FILTER" file "$tmp/dst" \
    clone-batch=64K logfile="$tmp/dst.log" \
    powercut-error="EIO:kinds=write,zero:range=$bad+1:file=$tmp/trouble"

# A batch in which a region cannot be written is left out as a whole.
most () { test "$(hydrated_bytes)" -ge $((size - 65536)); }
wait_until most
nbd "$clone_uri" '
R = 4096
bad = int(sys.argv[1])

def attempts():
    return sum(kind == "Write" and offset <= bad < offset + count
               for kind, offset, count in logged("dst.log"))

# With pauses that grow: three attempts take 1 + 2 seconds.
start = time.monotonic()
wait_for(lambda: attempts() == 3, "three attempts", 30)
assert time.monotonic() - start > 2, "no pauses"

for i in range(3):
    expect("read", bytes(h.pread(3 * R, bad - R)),
           content("src", bad - R, 3 * R))
    expect("write", error_of(h.pwrite, b"x" * R, bad), "EIO")
    expect("partial write", error_of(h.pwrite, b"x", bad + 5), "EIO")
    expect("zero", error_of(h.zero, R, bad), "EIO")
expect("it is not hydrated", hydrated(bad, R), "no")
h.flush()                               # a failed write is no failed flush
' $bad
told='cannot write to the destination .* Input/output error'
grep -q "$told" "$tmp/clone.err" || fail "the log does not say it"

rm "$tmp/trouble"
wait_hydrated
stop clone
expect_same "$tmp/dst" "$tmp/src"
