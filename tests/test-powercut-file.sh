#!/usr/bin/env bash
# The power is cut when a file appears: at once if there are requests, soon if
# there are none.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=powercut.sh
. "${srcdir:-.}/powercut.sh"
start_disk powercut-file="$tmp/trigger" powercut-keep=nothing \
           powercut-report="$tmp/report"
nbd "$disk_uri" '
h.pwrite(b"1" * 512, 0)
h.flush()
h.pwrite(b"2" * 512, 0)
open(TMP + "/trigger", "w").close()
expect("the next request", error_of(h.pread, 512, 0), "EIO")
'
expect_report trigger file
test "$(head -c 1 "$disk")" = 1 || fail "it was flushed"
stop powercut

# Files of an earlier run would be mistaken.
refuse_disk "powercut-file=$tmp/trigger: .*there already" \
            powercut-file="$tmp/trigger"
refuse_disk "powercut-report=$tmp/report: .*there already" \
            powercut-report="$tmp/report"

rm "$tmp/trigger"
new_disk
cd "$tmp"
start_disk powercut-file=trigger powercut-keep=all powercut-report=report
cd - >/dev/null
nbd "$disk_uri" 'h.pwrite(b"2" * 512, 0)'
test ! -e "$tmp/report" || fail "cut too early"
touch "$tmp/trigger"
wait_until has_report
expect_report trigger file
expect_report kept 1
test "$(head -c 1 "$disk")" = 2 || fail "it was to survive"
stop powercut
