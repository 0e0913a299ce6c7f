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
asking, listening, waiting = Control(), Control(), Control()
listening.ask("events")
waiting.begin("wait")
silent = [Control() for _ in range(253)]
for i, c in enumerate(silent):
    if i % 3 == 1:
        c.socket.sendall(b"{\"execute\":")       # and no more
    elif i % 3 == 2:
        c.ask("status")
expect("all are in", asking.ask("status")["state"], "paused")

def let_in():
    """Has one more got in?"""
    asking.ask("status")
    with Control() as c:
        try:
            c.begin("status")
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = c.receive()
        if "return" in answer:
            return True
        assert "too many" in answer["error"]["desc"], answer
        try:
            expect("then", c.receive(), None)
        except ConnectionResetError:    # what it said was not read
            pass
        return False

began = time.monotonic()
expect("the 257th", let_in(), False)
wait_for(let_in, "there is a place again")
assert time.monotonic() - began > 3, "that was too soon"
more = [Control() for _ in range(100)]
for c in more:
    expect("one of many more", c.ask("status")["state"], "paused")
asking.ask("resume")
listening.event("complete")
expect("waited", waiting.receive(), {"return": {"state": "complete"}})
'
stop clone
