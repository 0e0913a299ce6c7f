#!/usr/bin/env bash
# Where the kernel does not let us use io_uring, or cannot do what is needed,
# nbdkit-uring-plugin with direct=true says so in one line and does the same
# with plain system calls, however large a request is.  Without direct there is
# no ring to be missed.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

message='uring: io_uring is not available (.*): plain system calls are used'
for what in io_uring_setup io_uring_register; do
    for direct in 0 1; do
        make_random "$disk" 5000000
        cp "$disk" "$tmp/initial"
        cp "$disk" "$tmp/file.disk"
        : >"$tmp/uring.err"
        under=("$abs_top_builddir/tests/refuse" "$what")
        start_uring direct=$direct
        start_file "$tmp/file.disk"
        nbd "$uring_uri" '
from uring import *
pair = Pair(content("initial"))
random_requests(pair, 5, 100)
pair.close()
'
        stop uring
        stop file
        expect_same "$disk" "$tmp/file.disk"
        test "$(grep -c "$message" "$tmp/uring.err")" -eq "$direct" ||
            fail "not one line that says so ($what)"
    done
done

# And with it, no such line.
under=()
: >"$tmp/uring.err"
start_uring direct=true
nbd "$uring_uri" 'h.pread(1, 0)'
stop uring
! grep "io_uring" "$tmp/uring.err" || fail "it has something to say"
