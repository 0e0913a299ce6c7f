#!/usr/bin/env bash
# The powercut filter's cache: writes, zeroes and trims are read back at once,
# but reach the disk only when they are flushed.  A killed server loses the
# rest, one that is stopped does not: that is no power cut.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=powercut.sh
. "${srcdir:-.}/powercut.sh"
summary_of_disk () { sha256sum <"$disk"; }

start_disk powercut-keep=nothing
before=$(summary_of_disk)
nbd "$disk_uri" '
expected = bytearray(content("disk"))
h.pwrite(b"a" * 5000, 1000)
h.zero(10000, 100000)
h.trim(8192, 200000)
expected[1000:6000] = b"a" * 5000
expected[100000:110000] = bytes(10000)
expected[200000:208192] = bytes(8192)
expect("before the flush", pread(h, h.get_size(), 0), bytes(expected))
expect("on another connection", pread(connect(h.get_uri()), h.get_size(), 0),
       bytes(expected))
open(TMP + "/expected", "wb").write(expected)
'
test "$(summary_of_disk)" = "$before" || fail "written without a flush"

# A flush covers what other connections have written.
nbd "$disk_uri" '
expect("multi-conn", h.can_multi_conn(), True)
h.flush()
expect("on the disk", content("disk"), content("expected"))
h.pwrite(b"lost", 0)
h.trim(4096, 4096)
'
kill9 powercut
expect_same "$disk" "$tmp/expected"

start_disk powercut-keep=nothing
nbd "$disk_uri" '
h.pwrite(b"kept", 0)
expect("not yet", content("disk", 0, 4) != b"kept", True)
'
stop powercut
test "$(head -c 4 "$disk")" = kept || fail "lost when nbdkit was stopped"
