#!/usr/bin/env bash
# More than 20,000 random requests against a model in memory, with restarts by
# SIGTERM and by SIGKILL: P1, P2, P4 and section 4's table on everything at
# once; see differential.c.  The destination is full of 0xdb at first.
#
# To repeat a failure: DIFFERENTIAL_SEED=N (and nothing else is needed, though
# timing plays a part).  DIFFERENTIAL_OPERATIONS=N makes it longer.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

seed=${DIFFERENTIAL_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
operations=${DIFFERENTIAL_OPERATIONS:-3500}
if test "$SANITIZER" != none; then operations=$((operations / 7)); fi

# differ REGION_SIZE SIZE SOURCE_SIZE
differ ()
{
    note "seed $seed, ${SECONDS} s"
    rm -f "$bitmap"
    make_garbage "$tmp/dst" "$2"
    # Data, zeroes and holes.
    python - "$tmp/src" "$3" "$seed" <<'PYTHON'
import random
import sys
name, size, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
with open(name, "wb") as f:
    while f.tell() < size:
        n = min(rng.choice((700, 5000, 70000, 300000)), size - f.tell())
        kind = rng.randrange(4)
        if kind == 0:
            f.seek(n, 1)
        else:
            f.write(bytes(n) if kind == 1 else rng.randbytes(n))
    f.truncate(size)
PYTHON
    start_source file "$tmp/src"
    set_nbdkit_command clone
    "$differential" source="$tmp/src" destination="$tmp/dst" \
        socket="$tmp/clone.sock" pidfile="$tmp/clone.pid" \
        log="$tmp/clone.err" region-size="$1" operations="$operations" \
        seed="$seed" bound="$bound" -- \
        "${nbdkit_command[@]}" -f -t 32 -P "$tmp/clone.pid" \
        -U "$tmp/clone.sock" --filter="$CLONE_FILTER" file "$tmp/dst" \
        clone-source="$source_uri" clone-bitmap="$bitmap" \
        clone-region-size="$1" ||
        fail "repeat with DIFFERENTIAL_SEED=$seed0"
    stop source
    seed=$((seed + 1))
}
differential=./differential
seed0=$seed

differ 4096 3000001 2777777
differ 4096 10000000 10000000
differ 65536 12345678 9999999
differ 65536 36000500 35000000
differ 1048576 20971521 18000000
differ 1048576 38000000 35000001
