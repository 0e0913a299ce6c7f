#!/usr/bin/env bash
# There is room for 256 control clients.  One more is told so and hung up on; but
# those who have asked for nothing for a while lose their place to him, the
# others, who ask, listen or wait, do not.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-control="$tmp/control.sock" \
            clone-hydration=false
nbd "$clone_uri" '
asking, listening = Control(), Control()
listening.ask("events")
waiting = [Control() for _ in range(254)]
for c in waiting:
    c.begin("wait")
expect("all are in", asking.ask("status")["state"], "paused")

def enter():
    """One more client, if there is a place for him."""
    asking.ask("status")
    c = Control()
    try:
        c.begin("status")
    except (BrokenPipeError, ConnectionResetError):
        pass
    answer = c.receive()
    if "return" in answer:
        inside.append(c)
        return True
    assert "too many" in answer["error"]["desc"], answer
    c.close()
    return False

inside = []
expect("the 257th", enter(), False)
for _ in range(200):
    waiting.pop().close()
began = time.monotonic()
for i in range(200):
    wait_for(enter, "those who have gone leave a place")
    if i % 3 == 1:
        inside[-1].socket.sendall(b"{\"execute\":")     # and no more
for _ in range(100):
    wait_for(enter, "who is silent leaves one")
assert time.monotonic() - began > 4.9, "that was too soon"
asking.ask("resume")
listening.event("complete")
for c in waiting:
    expect("waited", c.receive(), {"return": {"state": "complete"}})
'
stop clone
