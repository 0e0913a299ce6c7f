#!/usr/bin/env bash
# A hostile server's replies make requests fail with EIO, within
# clone-source-timeout, and do nothing else: what is hydrated is served, nothing
# wrong is kept, memory does not grow, and when the server is good all goes on.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

# What bad-server.py does to reads, and is seen to fail; others can be given as
# arguments.
troubles=(
    cookie reply-magic flood oversize outside huge-chunk unknown-chunk
    unknown-error "error 5" "error 0" "error 95" "error 108" "error 12345"
    "error 4294967295" long-message simple hole
    "stall-reply 0" "stall-reply 10" "stall-reply 20" "stall-reply 25"
    "stall-reply 1000" "cut-reply 0" "cut-reply 19"
)
if test $# -gt 0; then troubles=("$@"); fi

# The most memory that all this may take, in MiB: libnbd makes room for a chunk
# of 32 MiB.  Sanitizers need several times of what they watch (ThreadSanitizer's
# manual says 5 to 10).
grows=64
if test "$SANITIZER" != none; then grows=640; fi

size=$((8 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_server source /usr/bin/python3 "$srcdir/bad-server.py" \
             "$tmp/source.sock" "$tmp/src" "$tmp/trouble"
start_clone -t 32 file "$tmp/dst" clone-hydration=false clone-source-timeout=1
nbd "$clone_uri" '
clone = int(sys.argv[1])
R = 4096

def behave(trouble):
    with open(TMP + "/trouble.new", "w") as f:
        f.write(trouble)
    os.rename(TMP + "/trouble.new", TMP + "/trouble")

def resident():
    """The most memory that the clone has ever used, in KiB."""
    with open("/proc/%d/status" % clone) as f:
        return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))

def good(offset):
    """The server is well again: data can be read.  What a flood has left on a
    connection that nobody reads is found within a quarter of a second; until
    then it is taken for answers, which it may be."""
    behave("")
    wait_for(lambda: error_of(h.pread, 4 * R, offset) is None,
             "it is well again")
    expect("read", bytes(h.pread(4 * R, offset)),
           content("src", offset, 4 * R))

h.pread(MIB, 0)
wait_for(lambda: hydrated(0, MIB) == "yes", "reads are kept")
before = resident()

place = MIB
for trouble in sys.argv[3:]:
    behave(trouble)
    start = time.monotonic()
    requests = [h.aio_pread(nbd.Buffer(R), place),
                h.aio_pread(nbd.Buffer(3 * R), place + 10 * R + 5),
                h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(5)),
                             place + 20 * R + 5)]
    for cookie in requests:
        error = error_of(finish, h, cookie)
        # Whether the answer was there before the flood is a matter of luck.
        if trouble != "flood":
            expect("%s: error" % trouble, error, "EIO")
    seconds = time.monotonic() - start
    assert seconds < 1 + 3, "%s: failed after %.1f s" % (trouble, seconds)
    expect(trouble + ": hydrated", bytes(h.pread(MIB, 0)),
           content("src", 0, MIB))
    assert trouble == "flood" or \
        hydrated(place, 20 * R) == "no", trouble + ": a failure was kept"
    good(place)
    place += 30 * R

# About extents the clone need not believe anything, and no request fails.
for trouble in ("beyond", "zero-length", "none", "endless", "context", "flags"):
    behave(trouble)
    told = extents(h)
    expect(trouble + ": extents", sum(n for n, _ in told), h.get_size())
    expect(trouble + ": read", bytes(h.pread(4 * R, place)),
           content("src", place, 4 * R))
    place += 30 * R
good(place)

grown = resident() - before
print("memory grew by %d KiB" % grown)
assert grown < int(sys.argv[2]) << 10, "memory grew by %d KiB" % grown
' "${pid_of[clone]}" $grows "${troubles[@]}"
stop clone

# Nor does the background stumble over such extents.  (Where they say that there
# are zeroes, it has to believe that.)
for trouble in beyond zero-length none endless context flags; do
    rm -f "$bitmap"
    echo $trouble >"$tmp/trouble"
    start_clone file "$tmp/dst" clone-source-timeout=1
    wait_hydrated
    stop clone
done
