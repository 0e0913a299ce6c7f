#!/usr/bin/env bash
# Whatever happens to a clone that "nbdclone run" has started, the same command
# goes on where it was: after nbdkit was killed, after the command itself was
# killed (then its nbdkit stops, too), and after an orderly stop.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 20005000
cp "$tmp/src" "$tmp/expected"
start_source file "$tmp/src"
disk="nbd+unix:///?socket=$tmp/nbdclone/vm.img.sock"
slow_run () { start_run "$source_uri" "$tmp/vm.img" -- clone-rate=2M; }

# Write something, and have it committed.
write ()
{
    nbd "$disk" '
offset = int(sys.argv[1])
h.pwrite(b"new" * 1000, offset)
h.flush()
with open(TMP + "/expected", "r+b") as f:
    os.pwrite(f.fileno(), b"new" * 1000, offset)
' "$1"
}

slow_run
write 12345
server=$(server_of vm.img)
kill -KILL "$server"
if finish run; then fail "exit status 0 although nbdkit was killed"; fi
grep -q 'nbdkit was ended by signal 9.*run the same command again' \
     "$tmp/run.err" || fail "does not say what has happened"
test -z "$(ls -A "$tmp/nbdclone")" || fail "left: $(ls "$tmp/nbdclone")"

slow_run
grep -q 'resuming the clone' "$tmp/run.err" || fail "begins again"
write 1234567
server=$(server_of vm.img)
kill9 run
has_ended () { ! kill -0 "$server" 2>/dev/null; }
wait_until has_ended

# The killed command has left its sockets.
test -S "$tmp/nbdclone/vm.img.sock" || fail "no dead socket to replace"
slow_run
write 5000000
stop run
grep -q 'stopped; run the same command again' "$tmp/run.err" || fail "no hint"
grep -q 'error: aborting' "$tmp/run.err" && fail "nbdkit's noise is passed on"

nbdclone run --exit-when-complete "$source_uri" "$tmp/vm.img" >"$tmp/last.out"
expect_same "$tmp/vm.img" "$tmp/expected"
