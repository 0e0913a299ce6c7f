#!/usr/bin/env bash
# What control clients do wrong is their trouble alone: garbage, requests that
# are too long or wrong, half-open connections, clients that read nothing or
# vanish.  200 of them are there while an ordinary client writes, reads and
# compares.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((32 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-control="$tmp/control.sock" clone-rate=2M

nbd "$clone_uri" '
import random
random.seed(1)

def garbage(c):
    for line in (b"\0", b"{", b"[]", b"{\"execute\":\xff}", b"nul\0l", b"1e999",
                 b"[" * 5000, random.randbytes(3000).replace(b"\n", b""),
                 b"{}", b"{\"execute\":7}",
                 b"{\"execute\":\"status\",\"arguments\":[]}"):
        c.send(line)
        assert c.receive()["error"]["class"] == "GenericError"

def wrong(c):
    c.socket.sendall(b"\n \t\r\n")        # nothing is asked for
    expect("class", c.refused("no-such-command"), "CommandNotFound")
    expect("class", c.refused("x" * 1000), "CommandNotFound")
    for execute, arguments in (
            ("set", {"rat": 1}), ("set", {"rate": -1}), ("set", {"rate": 1.5}),
            ("set", {"threshold": 0}), ("set", {"threshold": 257}),
            ("set", {"batch": 1}), ("set", {"commit_interval": 0}),
            ("set", {"commit_interval": 1e6}),
            ("set", {"commit_interval": "1"}),
            ("set", {"threshold": 1, "rate": "x"}), ("hydrate", {}),
            ("hydrate", {"offset": 0, "length": 1 << 40}),
            ("hydrate", {"offset": 0}),
            ("hydrate", {"offset": 1 << 30, "length": 1}),
            ("hydrate", {"offset": -1, "length": 1}),
            ("status", {"x": 1})):
        expect("class", c.refused(execute, **arguments), "GenericError")

def too_long(c):
    try:
        c.socket.sendall(b"x" * 200000)
    except (BrokenPipeError, ConnectionResetError):
        pass

def half_line(c):
    c.socket.sendall(b"{\"exec")

def says_no_more(c):
    c.socket.sendall(b"{\"execute\":\"status\",\"id\":[7]}")
    c.socket.shutdown(socket.SHUT_WR)
    answer = c.receive()
    expect("id", answer["id"], [7])
    expect("the end", c.receive(), None)

def reads_nothing(c):
    c.socket.setblocking(False)
    try:
        while True:
            c.socket.send(b"{\"execute\":\"status\"}\n" * 100)
    except BlockingIOError:
        pass

def waits(c):
    c.begin("wait")

def vanishes(c):
    c.begin("wait")
    c.close()

def leaves_its_answer(c):
    c.begin("status")
    wait_for(lambda: c.socket.recv(1, socket.MSG_PEEK), "an answer")
    c.close()

kinds = [garbage, wrong, too_long, half_line, says_no_more, reads_nothing,
         waits, vanishes, leaves_its_answer]
ordinary = Control()
before = ordinary.ask("status")
clients = [Control() for _ in range(200)]
model = bytearray(content("src"))
for i, c in enumerate(clients):
    kinds[i % len(kinds)](c)
    offset = random.randrange(len(model) - 65536)
    expect("data", bytes(h.pread(65536, offset)),
           bytes(model[offset:offset + 65536]))
    data = random.randbytes(random.randrange(1, 65536))
    offset = random.randrange(len(model) - 65536)
    h.pwrite(data, offset)
    model[offset:offset + len(data)] = data
    began = time.monotonic()
    s = ordinary.ask("status")
    assert time.monotonic() - began < BOUND / 4, "slow"
for name in "threshold", "batch", "rate-limit", "commit-interval":
    expect("untouched " + name, s[name], before[name])
for i in range(100):
    expect("flush", ordinary.ask("flush"), {})
ordinary.ask("set", rate=0, threshold=64, batch=4 * MIB)
expect("all the rest", ordinary.ask("wait"), {"state": "complete"})
expect("waited", clients[6].receive(), {"return": {"state": "complete"}})
expect("all of it", pread(h, len(model), 0), bytes(model))
h.flush()
expect("on the destination", content("dst"), bytes(model))
'
stop clone
