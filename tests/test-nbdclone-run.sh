#!/usr/bin/env bash
# nbdclone run, from nothing: it makes the destination as large as the source,
# serves the disk from the first second, ends when the clone is complete, and
# leaves a plain copy.  Run again, it finds nothing more to do.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 20005000
start_source --filter=delay file "$tmp/src" rdelay=10ms

start_run --exit-when-complete "$source_uri" "$tmp/vm.img" -- clone-rate=5M
disk="nbd+unix:///?socket=$tmp/nbdclone/vm.img.sock"
grep -qxF "vm.img: the disk is $disk" "$tmp/run.out" || fail "no URI"
test "$(stat -c '%a %s' "$tmp/vm.img")" = "600 20005000" || fail "no such file"
test "$(stat -c %a "$tmp/nbdclone")" = 700 || fail "others can see the sockets"

# The disk can be written, and has all of the source.  This one request reads
# it, so that the clone is complete soon.
nbd "$disk" '
expected = bytearray(content("src"))
h.pwrite(b"new" * 1000, 12345)
expected[12345:15345] = b"new" * 1000
with open(TMP + "/expected", "wb") as f:
    f.write(expected)
expect("all of it", pread(h, h.get_size(), 0), bytes(expected))
'
finish run || fail "exit status $?"
expect_same "$tmp/vm.img" "$tmp/expected"
grep -q '^complete: 100.0 %, 19.0 MiB of 19.0 MiB, [0-9.]* MiB fetched$' \
     "$tmp/run.out" || fail "no last line: $(cat "$tmp/run.out")"
grep -q "complete: $tmp/vm.img is a plain copy now" "$tmp/run.err" ||
    fail "does not say that it is complete"
test -z "$(ls -A "$tmp/nbdclone")" || fail "left: $(ls "$tmp/nbdclone")"

stop source
nbdclone run --exit-when-complete "$source_uri" "$tmp/vm.img" >"$tmp/again.out"
grep -q '^complete: 100.0 %.* 0 B fetched$' "$tmp/again.out" ||
    fail "not complete any more: $(cat "$tmp/again.out")"
expect_same "$tmp/vm.img" "$tmp/expected"
