#!/usr/bin/env bash
# Wrong parameters of the powercut filter: nbdkit exits before it listens, with
# one line that names the parameter, its value, and what is allowed.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=powercut.sh
. "${srcdir:-.}/powercut.sh"
kinds='read, write, zero, trim, flush, extents, cache, fua and all'
errors='EIO, ENOSPC, EPERM, ENOMEM, EINVAL and ESHUTDOWN'

# refuse PARAMETER PATTERN: what is allowed matches PATTERN.
refuse () { refuse_disk "${1//+/\\+}: .*allowed.*$2" "$1"; }

for value in '' -1 1.5 18446744073709551616 x 1x; do
    refuse "powercut-seed=$value" 'from 0 to 18446744073709551615'
done
refuse powercut-keep=some 'any, nothing, all and subset'
for value in '' 0 -1 1.5 two; do
    refuse "powercut-at=$value" 'numbers from 1'
done
for value in '' -0.1 1.01 nan x; do
    refuse "powercut-probability=$value" 'from 0 to 1'
done
for value in '' reed 'read,' ',read' 'read write' readwrite; do
    refuse "powercut-kinds=$value" "$kinds"
done
refuse powercut-signal=KILL 'USR1 and USR2'
refuse powercut-file= 'names of files'
refuse powercut-file="$tmp/none/trigger" 'a directory that exists'
refuse powercut-report="$tmp/none/report" 'a directory that exists'
refuse powercut-report="$disk" 'do not exist'
refuse powercut-errno=EAGAIN "$errors"
for value in '' 0 0+ + -1 1++ x; do
    refuse "powercut-fail-flush=$value" 'numbers from 1'
done
refuse powercut-failed-flush=maybe 'drop and keep'
for value in '' 1K 2000G 64X 64KB 99999999999T; do
    refuse "powercut-cache-size=$value" 'sizes from 64K to 1024G'
done
refuse powercut-error=EFOO "$errors"
refuse powercut-error=EIO:kind=read 'kinds=KINDS, range='
refuse powercut-error=EIO:kinds=reed "$kinds"
for range in '' 1 1+ +1 1+0 1-2 1+8388608T; do
    refuse "powercut-error=EIO:range=$range" 'range=OFFSET\+LENGTH'
done
refuse powercut-error=EIO:rate=2 'rate=0 to rate=1'
refuse powercut-error=EIO:file= 'file=PATH'
for value in '' -1 86401 1s inf; do
    refuse "powercut-delay=$value" '0 to 86400 seconds'
done
refuse powercut-delay=1:rate=x 'rate=0 to rate=1'

refuse_disk 'powercut-nonsense: there is no such parameter' \
            powercut-nonsense=1
refuse_disk 'powercut-report=.*another file than powercut-file' \
            powercut-file="$tmp/x" powercut-report="$tmp/x"
mkdir "$tmp/dir"
refuse_clone "dir=$tmp/dir: .*allowed is one file" -- \
             --filter="$POWERCUT_FILTER" file dir="$tmp/dir"

# What is right in all its forms, and the help names every parameter.
start_disk powercut-seed=0x10 powercut-keep=any \
           powercut-at=18446744073709551615 powercut-probability=0 powercut-kinds=read,fua \
           powercut-signal=SIGUSR2 powercut-cache-size=1g \
           powercut-fail-flush=99+ powercut-error=EIO:range=0x200+1T:rate=0 \
           powercut-delay=0:kinds=all
nbd "$disk_uri" 'h.pread(512, 512)'
stop powercut
set_nbdkit_command clone
"${nbdkit_command[@]}" --filter="$POWERCUT_FILTER" null --help >"$tmp/help"
for parameter in seed keep at probability kinds signal file report errno \
                 fail-flush fail-flush-file failed-flush error delay cache-size
do
    grep -q "^powercut-$parameter=" "$tmp/help" || fail "no help: $parameter"
done
test "$(grep -c '^powercut-' "$tmp/help")" -eq 15 || fail "more parameters"
