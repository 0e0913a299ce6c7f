#!/usr/bin/env bash
# How QEMU goes over from the filter to the destination without stopping: its disk
# is a "raw" node on top of the clone, and blockdev-reopen puts the destination
# below it.  Here QEMU's storage daemon stands for a virtual machine, whose guest
# reads and writes all the time and notices nothing.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 4194304
make_garbage "$tmp/dst" 4194304
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-control="$tmp/control.sock" clone-rate=2M
start_server guest qemu-storage-daemon \
    --blockdev "nbd,node-name=clone,server.type=unix,server.path=$tmp/clone.sock" \
    --blockdev raw,node-name=disk,file=clone \
    --nbd-server "addr.type=unix,addr.path=$tmp/guest.sock" \
    --export nbd,id=guest,node-name=disk,name=,writable=on \
    --chardev "socket,id=qmp,path=$tmp/qmp.sock,server=on,wait=off" \
    --monitor chardev=qmp

nbd "nbd+unix:///?socket=$tmp/guest.sock" '
import random, threading
random.seed(1)
model = bytearray(content("src"))
done = threading.Event()
failures = []

def guest():
    """What a guest does, until it is told to shut down."""
    count = 0
    while not done.is_set() or count < 1000:
        offset = random.randrange(len(model) - 8192)
        n = random.randrange(1, 8192)
        if random.random() < 0.5:
            data = random.randbytes(n)
            h.pwrite(data, offset)
            model[offset:offset + n] = data
        elif bytes(h.pread(n, offset)) != model[offset:offset + n]:
            failures.append(offset)
        count += 1
    h.flush()

qmp = socket.socket(socket.AF_UNIX)
qmp.settimeout(BOUND)
qmp.connect(TMP + "/qmp.sock")
lines = qmp.makefile("r")
def ask(execute, **arguments):
    qmp.sendall(json.dumps({"execute": execute, "arguments": {
        k.replace("_", "-"): v for k, v in arguments.items()}}).encode())
    while "return" not in (answer := json.loads(lines.readline())):
        assert "error" not in answer, answer

thread = threading.Thread(target=guest)
thread.start()
expect("wait", Control().ask("wait"), {"state": "complete"})
lines.readline()                        # the greeting
ask("qmp_capabilities")
ask("blockdev-add", driver="file", node_name="plain", filename=TMP + "/dst")
ask("blockdev-reopen",
    options=[{"driver": "raw", "node-name": "disk", "file": "plain"}])
ask("blockdev-del", node_name="clone")
os.kill(int(sys.argv[1]), signal.SIGTERM)
wait_for(lambda: not os.path.exists(TMP + "/control.sock"), "nbdkit has ended")
done.set()
thread.join()
expect("wrong reads", failures, [])
expect("the disk", pread(h, len(model), 0), bytes(model))
expect("the file", content("dst"), bytes(model))
' "${pid_of[clone]}"
finish clone || fail "exit status $?"
kill -TERM "${pid_of[guest]}"
finish guest || fail "qemu-storage-daemon: exit status $?"
