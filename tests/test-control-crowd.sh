#!/usr/bin/env bash
# More clients of the control socket than there is room for: the 257th is told
# so, and when no file can be opened any more (also when the limit falls below
# what is open), who comes waits until one can.
# Who was there before does not notice.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-control="$tmp/control.sock"
nbd "$clone_uri" '
def processor_time(pid):
    with open("/proc/%d/stat" % pid) as f:
        return sum(int(ticks) for ticks in
                   f.read().rpartition(")")[2].split()[11:13]) / 100

clone = int(sys.argv[1])
c = Control()
c.ask("wait")                   # no files are opened any more
# The lowest number that is free is one too many.
files = {int(fd) for fd in os.listdir("/proc/%d/fd" % clone)}
free = min(set(range(300)) - files)
crowd = [Control() for _ in range(255)]
for one in crowd:
    one.ask("status")
late = Control()
expect("class", late.receive()["error"]["class"], "GenericError")
expect("hung up", late.receive(), None)
expect("who was there", c.ask("status")["state"], "complete")

# They go and the limit falls before the clone has seen either.
limits = resource.prlimit(clone, resource.RLIMIT_NOFILE)
os.kill(clone, signal.SIGSTOP)
for one in crowd:
    one.close()
resource.prlimit(clone, resource.RLIMIT_NOFILE, (free, limits[1]))
os.kill(clone, signal.SIGCONT)
expect("who was there", c.ask("status")["state"], "complete")
late = Control()
late.begin("status")
for i in range(20):
    expect("who was there", c.ask("status")["state"], "complete")
late.socket.settimeout(0.5)
began = processor_time(clone)
try:
    raise AssertionError("answered without a file: %s" % late.receive())
except TimeoutError:
    pass
used = processor_time(clone) - began
assert used < 0.2, "%.2f s of processor time for waiting" % used
resource.prlimit(clone, resource.RLIMIT_NOFILE, limits)
late.socket.settimeout(BOUND)
expect("answered", json.loads(late.socket.recv(65536))["return"]["state"],
       "complete")
' "${pid_of[clone]}"
stop clone
