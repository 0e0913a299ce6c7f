#!/usr/bin/env bash
# nbdclone stop, and the signals that nbdclone run gets, end a server in order:
# it commits, waits until its clients have hung up, and leaves nothing behind.  A
# second signal does not wait, and what was flushed is still there.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 8388608
start_source file "$tmp/src"
disk="nbd+unix:///?socket=$tmp/nbdclone/vm.sock"
lazy_run () { start_run "$source_uri" "$tmp/vm" -- clone-hydration=false; }
nothing_is_left ()
{
    test -z "$(ls -A "$tmp/nbdclone")" || fail "left: $(ls "$tmp/nbdclone")"
}

lazy_run
nbdclone stop vm
finish run || fail "status $?"
nothing_is_left
refuse 3 'no server has this name' stop vm
refuse 2 'one INSTANCE is wanted' stop
refuse 2 '--timeout never: allowed are' stop --timeout never vm

for signal in TERM INT HUP; do
    lazy_run
    kill -$signal "${pid_of[run]}"
    finish run || fail "SIG$signal: status $?"
    nothing_is_left
done

# With nohup(1) a terminal may hang up.
trap '' HUP
lazy_run
trap 'exit 1' HUP
kill -HUP "${pid_of[run]}"
status=0
nbdclone wait --timeout 0.3 vm >/dev/null 2>&1 || status=$?
test $status -eq 4 || fail "status $status: stopped although SIGHUP is ignored"
stop run

# While a client is connected, it stays.
lazy_run
nbd "$disk" '
import subprocess
h.pwrite(b"x" * 4096, 4096)             # not flushed
stop = subprocess.run([os.environ["NBDCLONE"], "stop", "--timeout", "0.3", "vm"],
                      env=dict(os.environ, XDG_RUNTIME_DIR=TMP),
                      stderr=subprocess.PIPE, text=True)
expect("stop", stop.returncode, 4)
assert "waits until its clients have hung up" in stop.stderr, stop.stderr
expect("no more requests", error_of(h.pread, 4096, 4096), "ESHUTDOWN")
'
finish run || fail "status $?"
nothing_is_left
lazy_run
nbd "$disk" 'expect("committed", bytes(h.pread(4096, 4096)), b"x" * 4096)'

# Twice means now.
nbd "$disk" '
h.pwrite(b"y" * 4096, 8192)
h.flush()
run = int(sys.argv[1])
os.kill(run, signal.SIGINT)
wait_for(lambda: b"a second signal" in content("run.err"), "it says why")
os.kill(run, signal.SIGINT)
wait_for(lambda: error_of(h.pread, 512, 0), "the server has ended")
' "${pid_of[run]}"
status=0
finish run || status=$?
test $status -eq 1 || fail "status $status"
nothing_is_left
lazy_run
nbd "$disk" 'expect("flushed", bytes(h.pread(4096, 8192)), b"y" * 4096)'
stop run
