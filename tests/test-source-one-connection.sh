#!/usr/bin/env bash
# A connection that dies does not disturb the other ones: what was asked on it
# is asked again, what was asked on the others is answered on them, and one
# connection is made anew.  One that has gone dead holds up nothing but its own
# requests, and these no longer than clone-source-timeout.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((64 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
start_proxy
start_clone -t 64 file "$tmp/dst" clone-connections=4 clone-hydration=false \
            clone-source-timeout=4
nbd "$clone_uri" '
place = 0

def read(count):
    """So many reads of missing regions, under way: {cookie: (place, data)}"""
    global place
    reads = {}
    for i in range(count):
        place += 150000
        data = nbd.Buffer(5000)
        reads[h.aio_pread(data, place)] = (place, data)
    return reads

def check(reads, cookie):
    offset, data = reads.pop(cookie)
    expect("read", bytes(data.to_bytearray()), content("src", offset, 5000))

def finish_all(reads):
    for cookie in list(reads):
        finish(h, cookie)
        check(reads, cookie)

def four():
    return len(tell_proxy("status")["open"]) == 4

wait_for(four, "four connections")
for _ in range(6):
    status = tell_proxy("status")
    # All have something to answer when one is cut.
    tell_proxy("freeze")
    reads = read(16)
    h.poll(0)
    tell_proxy("cut", status["open"][1])
    tell_proxy("thaw")
    finish_all(reads)
    wait_for(four, "four connections again")
    now = tell_proxy("status")
    expect("the others", now["open"][:3],
           [n for n in status["open"] if n != status["open"][1]])
    expect("accepted", now["accepted"], status["accepted"] + 1)

# Dead, not closed.
status = tell_proxy("status")
dead = status["open"][2]
tell_proxy("freeze", dead)
reads = read(32)
start = time.monotonic()
while time.monotonic() < start + 7 and reads:
    h.poll(20)
    for cookie in list(reads):
        try:
            if h.aio_command_completed(cookie):
                check(reads, cookie)
        except nbd.Error as e:
            expect("error", e.errnum, errno.EIO)
            assert time.monotonic() >= start + 4, "failed too early"
            reads.pop(cookie)
expect("reads without an answer", len(reads), 0)
# Only now does the proxy see that it was closed.
tell_proxy("thaw")
wait_for(lambda: dead not in tell_proxy("status")["open"], "it was given up")
wait_for(four, "four connections again")
now = tell_proxy("status")["open"]
expect("the others", [n for n in now if n in status["open"]],
       [n for n in status["open"] if n != dead])
'
stop clone
