#!/usr/bin/env bash
# A connection to the source may end at every byte of a reply: what is read is
# right, no request fails, and nothing wrong is kept.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=1048576
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_server source /usr/bin/python3 "$srcdir/bad-server.py" \
             "$tmp/source.sock" "$tmp/src" "$tmp/trouble"
# A connection that was lost is not made again at once: there are some more.
start_clone file "$tmp/dst" clone-hydration=false clone-connections=16
nbd "$clone_uri" '
R = 4096

def cuts():
    with open(TMP + "/source.err") as f:
        return f.read().count("cut at")

def cut_replies(first, end, ask):
    """Replies to what is asked are cut at all of these bytes."""
    wanted = cuts() + end - first
    with open(TMP + "/trouble.new", "w") as f:
        f.write("cut-replies %d %d" % (first, end))
    os.rename(TMP + "/trouble.new", TMP + "/trouble")
    ask()
    while cuts() < wanted:
        ask()

def read(offset):
    expect("read", bytes(h.pread(R, offset)), content("src", offset, R))
    wait_for(lambda: hydrated(offset, R) == "yes", "it is kept")

# A reply to a read: 20 bytes, of which we know what they are about, 8 of an
# offset, and the data.
cut_replies(0, 40, lambda: read(0))
cut_replies(20 + 8 + R - 3, 20 + 8 + R + 1, lambda: read(10 * R))
expect("data", bytes(h.pread(40 * R, 0)), content("src", 0, 40 * R))
# To a question about extents: 20 bytes, 4, and 8 for each extent.
cut_replies(0, 32, lambda: extents(h, 50 * R, 10 * R))
'
stop clone
