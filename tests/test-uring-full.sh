#!/usr/bin/env bash
# On a file system that is full, nbdkit-uring-plugin fails with ENOSPC where
# nbdkit's own file plugin does, and keeps what it has acknowledged.  Space that
# is to be reserved and is not there is an error before it listens.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

# A server with a file system of its own, which nobody else sees: 2 MiB, and a
# disk of 8 MiB in it.
mkdir "$tmp/full"
cat >"$tmp/in-tmpfs" <<END
mount -t tmpfs -o size=2M none "$tmp/full" &&
    truncate -s 8M "$tmp/full/disk" && exec "\$@"
END
under=(unshare --mount --map-root-user sh "$tmp/in-tmpfs")

# shellcheck disable=SC2034
start_as=clone
start_nbdkit file file "$tmp/full/disk"
start_uring file="$tmp/full/disk"
truncate -s 8M "$tmp/initial"
nbd "$uring_uri" '
from uring import *
pair = Pair(content("initial"))
rng = random.Random(1)
errors = set()
for i in range(300):
    offset, length = some_range(rng, 8 * MIB, 4096)
    length = min(length, 300000)
    data = rng.randbytes(length)
    if rng.random() < 0.2:
        pair.change(bytes(length), "trim", length, offset)
    elif pair.read(length, offset) == bytes(length):
        error = pair.change(data, "pwrite", data, offset)
        errors.add(error)
        if error:       # some of it may be there: make it known again
            expect("trim", pair.change(bytes(length), "trim", length, offset),
                   None)
expect("errors", errors, {None, "ENOSPC"})
pair.read(4 * MIB, 0)
pair.read(4 * MIB, 4 * MIB)
pair.close()
'
stop file
stop uring
refuse_uring 'prealloc=falloc: cannot reserve its space: No space left' \
             "$tmp/full/disk" prealloc=falloc
refuse_uring 'cannot make it: No space left' \
             "$tmp/full/new" create=4M prealloc=falloc
