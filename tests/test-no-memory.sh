#!/usr/bin/env bash
# Where memory is short, a start that needs more of it, for threads or for the
# bitmap, ends with exit status 1 and a line that says what it was for.  A clone
# that runs refuses to have more threads than there is room for, and goes on.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((16 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
before=$(summary "$tmp/dst")
start_source file "$tmp/src"
# So much address space; a thread takes 8 MiB of it.
ulimit -S -s 8192
under=(prlimit --as=600000000)

refuse_clone 'starting the clone: Resource temporarily unavailable' \
             file "$tmp/dst" clone-threshold=256
rm -f "$bitmap"
under=(prlimit --as=400000000)
refuse_clone 'starting to connect to the source: Resource temporarily' \
             file "$tmp/dst" clone-connections=64
rm -f "$bitmap"
test "$(summary "$tmp/dst")" = "$before" || fail "the destination was touched"

# A bit each of 2^34 regions.
start_nbdkit large null 64T
( source_uri="nbd+unix:///?socket=$tmp/large.sock"
  refuse_clone 'no memory for its bitmap' null 64T )
rm -f "$bitmap"

# nbdkit itself would make more threads for the client (-t).
under=()
start_clone -t 1 file "$tmp/dst" clone-control="$tmp/control.sock" \
            clone-threshold=4 clone-rate=2M
nbd "$clone_uri" '
c = Control()
clone = int(sys.argv[1])
with open("/proc/%d/statm" % clone) as f:
    now = int(f.read().split()[0]) * resource.getpagesize()
resource.prlimit(clone, resource.RLIMIT_AS,
                 (now + 100 * MIB, resource.RLIM_INFINITY))
expect("threads", c.refused("set", threshold=256), "GenericError")
expect("read", bytes(h.pread(65536, 8 * MIB)), content("src", 8 * MIB, 65536))
c.ask("set", threshold=2, rate=0)
expect("wait", c.ask("wait"), {"state": "complete"})
' "${pid_of[clone]}"
stop clone
expect_same "$tmp/dst" "$tmp/src"
