#!/usr/bin/env bash
# A destination that cannot be written is served when the clone is complete, and
# only then; clients are told that they cannot write.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

start_source pattern 1M

# This one takes what is written and forgets it; that one has the same contents
# as the source.
start_clone null 1M clone-hydration=false
nbd "$clone_uri" 'h.pread(65536, 0)'
stop clone
refuse_clone 'cannot be written, but the clone is not complete' pattern 1M

start_clone null 1M
wait_hydrated
stop clone
stop source
rm "$tmp/clone.err"
start_clone pattern 1M
! grep warning "$tmp/clone.err" || fail "it warns of flushes that nobody needs"
nbd "$clone_uri" '
expect("read-only", h.is_read_only(), True)
expect("what changes it", [h.can_zero(), h.can_fast_zero(), h.can_trim(),
                           h.can_fua(), h.can_flush()], [False] * 5)
expect("read", bytes(h.pread(16, 4096)).hex(),
       "%016x%016x" % (4096, 4104))
h.set_strict_mode(0)                    # or libnbd refuses by itself
assert error_of(h.pwrite, b"x", 0) in ("EPERM", "EROFS")
'
nbd "$map_uri" 'expect("the map", extents(h), [(MIB, 0)])'
stop clone
