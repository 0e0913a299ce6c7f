#!/usr/bin/env bash
# What cannot be written is served read-only, by any number of servers; and so
# is everything with nbdkit -r.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=uring.sh
. "${srcdir:-.}/uring.sh"

read_only='
from uring import *
pair = Pair(content("initial"))
for server, h in pair.servers:
    expect("read-only " + server, h.is_read_only(), True)
pair.read(100000, 17)
for request in ((b"x", 0), ):
    pair.both("pwrite", *request)
pair.both("zero", 4096, 0)
pair.both("trim", 4096, 0)
expect("write", pair.both("pwrite", b"x", 0), "EPERM")
pair.both("flush")
pair.read(100000, 17)
pair.close()
'
make_random "$disk" 200000
cp "$disk" "$tmp/initial"
before=$(summary "$disk")
start_uring -r
start_file -r "$disk"
nbd "$uring_uri" "$read_only"
stop uring
stop file

# Even root cannot write to a program that runs.
cp "$(command -v sleep)" "$tmp/program"
cp "$tmp/program" "$tmp/initial"
truncate -s 200000 "$tmp/initial" "$tmp/program"
"$tmp/program" 1000 &
program=$!
daemons=("$program")
for direct in false true; do
    start_uring "$tmp/program" direct=$direct
    start_file "$tmp/program"
    nbd "$uring_uri" "$read_only"
    mv "$tmp/uring.sock" "$tmp/first.sock"
    pid_of[first]=${pid_of[uring]}
    start_uring "$tmp/program"
    stop first
    stop uring
    stop file
done
refuse_uring 'prealloc=falloc: .*cannot be written' \
             "$tmp/program" prealloc=falloc
test "$(summary "$disk")" = "$before" || fail "it was changed"
