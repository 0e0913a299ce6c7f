#!/usr/bin/env bash
# Who asks on the control socket but does not read the answers is hung up on: at
# once when more has gathered than is kept, else after ten seconds.  A client
# that is slow, but reads, gets all of it.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-control="$tmp/control.sock"
nbd "$clone_uri" '
import select
import threading

def request(id_bytes):
    return json.dumps({"execute": "status", "id": "x" * id_bytes}).encode()

def fill(c):
    """Ask until nobody takes it any more."""
    c.socket.settimeout(0.5)
    try:
        while True:
            c.send(request(1000))
    except TimeoutError:
        pass

def hung_up(c):
    p = select.poll()
    p.register(c.socket, 0)
    return any(event & select.POLLHUP for _, event in p.poll(0))

slow, greedy, silent, ordinary = [Control() for _ in range(4)]
began = time.monotonic()
fill(silent)

# Answers of 60 KB each: a few are more than is kept.
greedy.socket.settimeout(8)
try:
    while True:
        greedy.send(request(60000))
except (BrokenPipeError, ConnectionResetError):
    pass
assert hung_up(greedy)
expect("not yet", hung_up(silent), False)

# Much more than fits between the two.
def ask_much():
    for i in range(1000):
        slow.send(request(1000))
asking = threading.Thread(target=ask_much)
asking.start()
for i in range(1000):
    expect("slow", slow.receive()["return"]["size"], MIB)
asking.join()

wait_for(lambda: hung_up(silent), "who reads nothing is hung up on")
assert time.monotonic() - began > 9, "that was too early"
expect("ordinary", ordinary.ask("status")["size"], MIB)
'
stop clone
