#!/usr/bin/env bash
# Resume after SIGKILL in the middle of a clone (P2, P4, lesson 18): what was
# written and flushed is there, what was hydrated and committed is not fetched
# again, and the clone goes on to the end.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((64 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
cp "$tmp/src" "$tmp/expected"
start_source file "$tmp/src"

some_hydrated () { test "$(hydrated_bytes)" -ge "$1"; }

# Three lives that end in the middle.  The rate limit keeps them from being
# complete too early: 64 MiB at 16 MiB/s.
kept=0
for life in 1 2 3; do
    start_clone file "$tmp/dst" clone-rate=16M
    nbd "$clone_uri" '
life = int(sys.argv[1])
data = bytes([life]) * 10000
offset = life * 5 * MIB + 100
h.pwrite(data, offset)
h.flush()
h.pwrite(data, 63 * MIB, nbd.CMD_FLAG_FUA)
with open(TMP + "/expected", "r+b") as f:
    os.pwrite(f.fileno(), data, offset)
    os.pwrite(f.fileno(), data, 63 * MIB)
' $life
    wait_until some_hydrated $((life * 10 * 1048576))
    # What a flush covers stays.  (Hydration goes on meanwhile.)
    committed=$(hydrated_bytes)
    nbd "$clone_uri" 'h.flush()'
    kill9 clone

    start_clone file "$tmp/dst" clone-hydration=false clone-on-read=false
    kept=$(hydrated_bytes)
    test "$kept" -ge "$committed" ||
        fail "$committed bytes were committed, $kept were kept"
    test "$kept" -lt $size || fail "complete already: nothing was tested"
    nbdcopy "$clone_uri" "$tmp/copy"
    expect_same "$tmp/copy" "$tmp/expected"
    test "$(hydrated_bytes)" -eq "$kept" || fail "reading hydrated something"
    stop clone
done
stop source

# The last life fetches only what is missing.
start_source --filter=log file "$tmp/src" logfile="$tmp/source.log"
start_clone file "$tmp/dst"
wait_hydrated
stop clone
stop source
expect_same "$tmp/dst" "$tmp/expected"
fetched=$(log_bytes Read "$tmp/source.log")
test "$fetched" -le $((size - kept)) ||
    fail "$fetched bytes were fetched, but $((size - kept)) were missing"
