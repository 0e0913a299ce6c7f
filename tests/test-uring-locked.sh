#!/usr/bin/env bash
# One file, one server: nbdkit-uring-plugin locks its file.  A second server
# waits ten seconds for it and is refused; when the first one is killed in the
# middle of its writes, the second one starts, and sees nothing change any more
# (section 5: a killed writer's last writes may still land).

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

make_random "$disk" $((32 * 1048576))
start_uring direct=true
start=$EPOCHREALTIME
refuse_uring "file=$disk: .*in use" "$disk"
test "$(ms_since "$start")" -ge 9500 || fail "it did not wait for the lock"
refuse_uring "file=$disk: .*in use" "$disk" create=32M

for life in 1 2 3; do
    mv "$tmp/uring.sock" "$tmp/first.sock"
    pid_of[first]=${pid_of[uring]}
    unset 'pid_of[uring]'
    first=${pid_of[first]}
    launch uring clone "$URING_PLUGIN" "$disk" direct=true
    # Kill it when each of its threads has a write to do.
    nbd "nbd+unix:///?socket=$tmp/first.sock" '
data = bytes([int(sys.argv[2])]) * (2 * MIB)
for i in range(16):
    h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), i * 2 * MIB)
os.kill(int(sys.argv[1]), signal.SIGKILL)
' "$first" $life
    finish first && fail "it was killed"
    wait_until is_ready uring
    nbd "$uring_uri" '
before = pread(h, 32 * MIB, 0)
expect("the disk", pread(h, 32 * MIB, 0), before)
h.pwrite(b"new" * 1000, 5000, nbd.CMD_FLAG_FUA)
expect("the disk", pread(h, 3000, 5000), b"new" * 1000)
'
done
stop uring
