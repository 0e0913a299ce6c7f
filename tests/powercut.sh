# Helpers for the tests of nbdkit-powercut-filter.  -*- shell-script -*-
#
# Sourced after functions.sh.
#
#   $disk           the file below the filter; $size bytes of $old
#   $disk_uri       the disk as the clients see it
#   start_disk      nbdkit with the filter, on the file plugin and $disk
#   start_powercut  the same, with another plugin
#   refuse_disk     as refuse_clone, for the filter and $disk
#   report          the value of a field of the line that says what was kept

# shellcheck shell=bash

: "${POWERCUT_FILTER:?is not set by env.sh}"

# shellcheck disable=SC2154
disk=$tmp/disk
# shellcheck disable=SC2034
disk_uri="nbd+unix:///?socket=$tmp/powercut.sock"
size=$((1 << 20))

# A new disk, and no report of an earlier cut.
new_disk ()
{
    rm -f "$tmp/report"
    make_garbage "$disk" $size
}
new_disk

# The clone filter is not the only one that has been built with a sanitizer.
start_powercut ()
{
    # shellcheck disable=SC2034
    local start_as=clone
    start_nbdkit powercut --filter="$POWERCUT_FILTER" "$@"
}

start_disk () { start_powercut file "$disk" "$@"; }

refuse_disk ()
{
    local pattern=$1
    shift
    refuse_clone "$pattern" -- --filter="$POWERCUT_FILTER" file "$disk" "$@"
}

has_report () { test -e "$tmp/report"; }

# report FIELD: of the report, once it is there.
report ()
{
    wait_until has_report
    grep -o "\<$1=[^ ]*" "$tmp/report" | cut -d= -f2 ||
        fail "no $1 in the report: $(cat "$tmp/report")"
}

# expect_report FIELD VALUE
expect_report ()
{
    local value
    value=$(report "$1")
    test "$value" = "$2" || fail "$1=$value, not $2: $(cat "$tmp/report")"
}
