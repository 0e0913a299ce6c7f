#!/usr/bin/env bash
# A region that the source cannot read (section 6): the background comes back to
# it with growing pauses, and parks it after five times.  Then it leaves the
# source alone, but a client's read tries again, and when the source is well
# that is how the clone becomes complete.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=1048576
bad=$((100 * 4096))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
touch "$tmp/trouble"
# The powercut filter, too, may have been built with a sanitizer.
start_as=clone start_source --filter=log --filter="$POWERCUT_FILTER" \
             file "$tmp/src" logfile="$tmp/source.log" \
             powercut-error="EIO:kinds=read:range=$bad+1:file=$tmp/trouble"
start_clone file "$tmp/dst"

parked () { grep -q 'gave up on 1 regions' "$tmp/clone.err"; }
wait_until parked
nbd "$clone_uri" '
from datetime import datetime
R = 4096
bad = int(sys.argv[1])

def attempts():
    """When the region was asked for on its own, which ends each round."""
    return [datetime.fromisoformat(line[:26]).timestamp()
            for line in content("source.log").decode().splitlines()
            if " Read " in line and line.endswith("...") and
            " offset=0x%x count=0x1000 " % bad in line]

times = attempts()
expect("attempts", len(times), 5)
pauses = [b - a for a, b in zip(times, times[1:])]
assert all(b > 1.5 * a > 0 for a, b in zip(pauses, pauses[1:])), pauses

expect("read", error_of(h.pread, R, bad), "EIO")
expect("a client tries again", len(attempts()), 6)
expect("all but this one", extents(connect(MAP), bad - R, 3 * R),
       [(R, 0), (R, HOLE | ZERO), (R, 0)])
os.unlink(TMP + "/trouble")
expect("read", bytes(h.pread(R, bad)), content("src", bad, R))
' $bad
wait_hydrated
stop clone
expect_same "$tmp/dst" "$tmp/src"
