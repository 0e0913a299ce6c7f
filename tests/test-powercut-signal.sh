#!/usr/bin/env bash
# The power is cut on a signal: also while nobody is connected, and while
# requests are being served.  Signals do no harm after that.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=powercut.sh
. "${srcdir:-.}/powercut.sh"
for signal in USR1 USR2; do
    new_disk
    start_disk powercut-signal=$signal powercut-keep=all powercut-seed=1 \
               powercut-report="$tmp/report"
    nbd "$disk_uri" 'h.pwrite(b"1" * 1000, 0)'
    test "$(head -c 1 "$disk")" != 1 || fail "written without a flush"
    kill -$signal "${pid_of[powercut]}"
    wait_until has_report
    expect_report trigger signal
    expect_report sectors 2
    test "$(head -c 1 "$disk")" = 1 || fail "it was to survive"
    kill -$signal "${pid_of[powercut]}"
    nbd "$disk_uri" 'expect("after it", error_of(h.pread, 512, 0), "EIO")'
    stop powercut
done

# While several clients write: all of them see it.
new_disk
start_disk powercut-signal=SIGUSR1 powercut-report="$tmp/report"
for client in 1 2 3; do
    nbd "$disk_uri" '
i = 0
while error_of(h.pwrite, b"x" * 4096, i % 200 * 4096) is None:
    i += 1
    if i % 10 == 0 and error_of(h.flush):
        break
    open(TMP + "/client" + sys.argv[1], "w").close()
assert os.path.exists(TMP + "/report"), "the answer came before the report"
expect("later", error_of(h.flush), "EIO")
' $client &
    clients="${clients:-} $!"
done
all_write ()
{
    test -e "$tmp/client1" -a -e "$tmp/client2" -a -e "$tmp/client3"
}
wait_until all_write
kill -USR1 "${pid_of[powercut]}"
for client in $clients; do
    wait "$client" || fail "a client"
done
expect_report trigger signal
stop powercut
