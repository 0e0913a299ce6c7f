#!/usr/bin/env bash
# pause, resume and set rate on the control socket take effect within a second,
# seen in the bytes fetched; and a client still gets what it reads.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

start_source --filter=rate pattern 1G rate=400M
make_garbage "$tmp/dst" 1
truncate -s 1G "$tmp/dst"
start_clone file "$tmp/dst" clone-control="$tmp/control.sock" clone-rate=4M

nbd "$clone_uri" '
c = Control()
def fetched():
    return c.ask("status")["bytes-fetched"]

def in_one_second():
    """How much is fetched in a second, from one second on from now."""
    time.sleep(1)               # what is measured is time itself
    before, began = fetched(), time.monotonic()
    time.sleep(1)
    return (fetched() - before) / (time.monotonic() - began)

wait_for(lambda: fetched() > 0, "hydrating")
c.ask("pause")
expect("state", c.ask("status")["state"], "paused")
expect("paused", in_one_second(), 0)
for offset in range(512 * MIB, 514 * MIB, 65536):      # one after the other
    h.pread(65536, offset)
expect("a client", fetched() > 0, True)
expect("paused", in_one_second(), 0)

c.ask("resume")
expect("state", c.ask("status")["state"], "hydrating")
got = in_one_second()
assert 2 * MIB < got < 6 * MIB, "at 4 MiB/s: %d" % got
c.ask("set", rate=16 * MIB)
got = in_one_second()
assert 10 * MIB < got < 22 * MIB, "at 16 MiB/s: %d" % got
c.ask("set", rate=65536)
got = in_one_second()
assert got < 200000, "at 64 KiB/s: %d" % got
c.ask("set", rate=4 * MIB)
got = in_one_second()
assert 2 * MIB < got < 6 * MIB, "at 4 MiB/s again: %d" % got
expect("limit", c.ask("status")["rate-limit"], 4 * MIB)
'
stop clone
