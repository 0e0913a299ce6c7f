#!/usr/bin/env bash
# nbdclone stop says so, and its status is not 0, when the last commit could not be
# made: here the file system of the bitmap file is full.

# shellcheck disable=SC2034 # for functions.sh
mounts=yes
# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
mount_tmpfs 64k
start_source file "$tmp/src"
disk="nbd+unix:///?socket=$tmp/nbdclone/vm.sock"
start () { start_run --bitmap "$tmp/fs/bitmap" "$source_uri" "$tmp/vm" -- \
                     clone-hydration=false clone-commit-interval=3600; }
start
nbd "$disk" '
h.pwrite(b"a" * 4096, 0)
h.flush()
fill("fs/filler")
h.pwrite(b"b" * 4096, 8192)
'
refuse 1 'vm: it has ended, but not in order: its last commit has failed' stop vm
status=0
finish run || status=$?
test $status -eq 1 || fail "nbdclone run: status $status"
test -z "$(ls -A "$tmp/nbdclone")" || fail "left: $(ls "$tmp/nbdclone")"

# With space again it goes on, and stops in order.
rm "$tmp/fs/filler"
start
nbd "$disk" 'expect("flushed", bytes(h.pread(4096, 0)), b"a" * 4096)'
nbdclone stop vm || fail "status $?"
finish run

# Of "nbdclone run" that is killed meanwhile nobody knows how it would have ended.
start
server=$(server_of vm)
kill -STOP "${pid_of[run]}"
nbdclone_in_background stop stop vm
has_ended () { ps -o stat= -p "$server" | grep -q '^Z'; }
wait_until has_ended
kill9 run
status=0
finish stop || status=$?
test $status -eq 1 || fail "status $status, and nothing is known"
