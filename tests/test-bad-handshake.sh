#!/usr/bin/env bash
# A hostile server's handshake: a new clone is refused in time, with a message
# and exit status 1; one that is resumed serves what is hydrated, fails the rest
# with EIO in time, and goes on when the server is good.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=1048576
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_server source /usr/bin/python3 "$srcdir/bad-server.py" \
             "$tmp/source.sock" "$tmp/src" "$tmp/trouble"

# The server sends 18 bytes at first, 20 for structured replies, 39 + 20 for the
# context, and 32 + 34 + 20 for the export: it hangs up after any of them.
for n in $(seq 0 182); do
    echo "cut-handshake $n" >"$tmp/trouble"
    refuse_clone 'source.*cannot connect' file "$tmp/dst"
done
# A handshake may take ten seconds.
for trouble in magic option-magic long-option "stall-handshake 100" \
               endless-info "size 18446744073709551615" \
               "size 9223372036854775807"
do
    echo "$trouble" >"$tmp/trouble"
    since=$EPOCHREALTIME
    refuse_clone 'source' file "$tmp/dst"
    test "$(ms_since "$since")" -lt 13000 || fail "$trouble: it took too long"
done
rm -f "$bitmap"

: >"$tmp/trouble"
start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" '
h.pread(65536, 0)
wait_for(lambda: hydrated(0, 65536) == "yes", "reads are kept")
'
stop clone
start_proxy
start_clone file "$tmp/dst" clone-hydration=false clone-source-timeout=1
nbd "$clone_uri" '
def behave(trouble):
    with open(TMP + "/trouble.new", "w") as f:
        f.write(trouble)
    os.rename(TMP + "/trouble.new", TMP + "/trouble")

# The last one is given up after ten seconds.
for trouble in ("size 0", "size 1048575", "size 1048577", "magic",
                "size 18446744073709551615", "long-option", "cut-handshake 181",
                "endless-info", "stall-handshake 100"):
    behave(trouble)
    tell_proxy("cut")
    start = time.monotonic()
    expect(trouble, error_of(h.pread, 4096, 100000), "EIO")
    assert time.monotonic() - start < 1 + 3, trouble + ": too late"
    expect("hydrated", bytes(h.pread(65536, 0)), content("src", 0, 65536))
    behave("")
    wait_for(lambda: error_of(h.pread, 4096, 200000) is None, "it is back")
with open("/proc/%s/status" % sys.argv[1]) as f:
    most = int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))
assert most < 256 << 10, "%d KiB of memory were used" % most
' "${pid_of[clone]}"
stop clone

stop proxy
source_uri="nbd+unix:///?socket=$tmp/source.sock"

# Block sizes that make no sense, and a source that does not end with a block:
# whatever is made of them, nothing breaks, and what is read is right.
truncate -s 1040000 "$tmp/src"
for blocks in "0 0 0" "1 1 1" "3 5 7" "512 512 100" "65536 65536 65536" \
              "33554432 33554432 33554432" "2147483648 4096 1048576" \
              "1 4096 4294967295" "4096 4096 5000"; do
    rm -f "$bitmap"
    echo "blocks $blocks" >"$tmp/trouble"
    launch clone clone --filter="$CLONE_FILTER" \
        file "$tmp/dst" clone-source="$source_uri" clone-bitmap="$bitmap" \
        clone-source-timeout=1 clone-hydration=false
    wait_until is_ready clone
    if gone clone; then
        finish clone || test $? -eq 1 || fail "$blocks: status $?"
        continue
    fi
    nbd "$clone_uri" '
error = error_of(h.pread, 100000, 100001)
if error is None:
    expect("read", bytes(h.pread(100000, 100001)), content("src", 100001, 100000))
else:
    expect("error", error, "EIO")
expect("the end", bytes(h.pread(50000, 1040000 - 49999)),
       content("src", 1040000 - 49999, 49999) + b"\xdb")
extents(h, 1030000, 10000)
with open("/proc/%s/status" % sys.argv[1]) as f:
    most = int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))
print(sys.argv[2:], error, most)
assert most < 256 << 10, "%d KiB of memory were used" % most
' "${pid_of[clone]}" "$blocks"
    stop clone
done
