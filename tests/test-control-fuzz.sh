#!/usr/bin/env bash
# Mutated requests on the control socket for TIME seconds (5): every line gets an
# answer, which is JSON, and at the end the server is as it was.  SEED chooses
# them; a failure prints it.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-control="$tmp/control.sock" \
            clone-hydration=false
TIME=${TIME:-5} SEED=${SEED:-$RANDOM}
note "TIME=$TIME SEED=$SEED"
nbd "$clone_uri" '
import random
random.seed(int(sys.argv[2]))
seeds = [json.dumps({"execute": name, "arguments": arguments, "id": 1}).encode()
         for name, arguments in (
    ("status", {}), ("pause", {}), ("resume", {}), ("flush", {}), ("wait", {}),
    ("events", {}), ("hydrate", {"offset": 4096, "length": 8192}),
    ("set", {"rate": 1000, "batch": 65536, "threshold": 3}),
    ("set", {"commit-interval": 0.5}),
    ("source", {"uri": "nbd+unix:///x?socket=/nowhere"}))]
words = [b"null", b"true", b"-1", b"1e400", b"18446744073709551616", b"0.1e-7",
         b"{}", b"[]", b"\"\"", b"\\u0000", b"\\ud800", b"\xff\xfe", b"\0",
         b"[" * 3000, b"{\"a\":" * 500, b"9" * 400, b"x" * 5000] + [
         s[i:i + 12] for s in seeds for i in range(0, len(s), 12)]

def mutate(line):
    line = bytearray(line)
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        at = random.randrange(len(line) + 1)
        kind = random.randrange(4)
        if kind == 0:
            line[at:at + random.randrange(9)] = b""
        elif kind == 1:
            line[at:at + random.choice((0, 0, 6))] = random.choice(words)
        elif kind == 2 and at < len(line):
            line[at] = random.randrange(256)
        else:
            line = line[:at] + random.choice(seeds)[at:]
    return bytes(line).replace(b"\n", b" ")

def waits(answer):
    """wait is not answered before the end, and nothing that comes after it."""
    return b"\"wait\"" in answer

count, end = 0, time.monotonic() + float(sys.argv[1])
ordinary, client = Control(), Control()
while time.monotonic() < end:
    line = mutate(random.choice(seeds))
    if waits(line) or not line.strip(b" \t\r") or random.random() < 0.02:
        with Control() as gone:         # says it and leaves
            gone.socket.sendall(line + random.choice((b"", b"\n")))
        continue
    client.send(line)
    answer = client.receive()
    while answer and "event" in answer:
        answer = client.receive()
    if answer is None:
        client = Control()              # it was too long, say
    else:
        assert ("return" in answer) != ("error" in answer), answer
    count += 1
    if count % 100 == 0:
        expect("alive", ordinary.ask("status")["size"], MIB)
print("%d requests" % count)
ordinary.ask("set", rate=0, commit_interval=1, batch=MIB, threshold=16)
expect("data", bytes(h.pread(MIB, 0)), content("src"))
ordinary.ask("resume")
expect("the end", ordinary.ask("wait"), {"state": "complete"})
' "$TIME" "$SEED" || fail "try again with SEED=$SEED"
stop clone
expect_same "$tmp/dst" "$tmp/src"
