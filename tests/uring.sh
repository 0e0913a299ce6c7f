# Helpers for the tests of nbdkit-uring-plugin.  -*- shell-script -*-
#
# Sourced after functions.sh.
#
#   start_uring     nbdkit with the plugin; its file is $disk if none is given
#   start_file      nbdkit with its own file plugin, to compare with
#   refuse_uring    as refuse_clone, for the plugin
#   $uring_uri, $file_uri
#                   the disks as the clients see them
#   make_loop       a loop device
#   $under          a command to run the next nbdkit with the plugin under

# shellcheck shell=bash

: "${URING_PLUGIN:?is not set by env.sh}"

# shellcheck disable=SC2034,SC2154
disk=$tmp/disk
uring_uri="nbd+unix:///?socket=$tmp/uring.sock"
file_uri="nbd+unix:///?socket=$tmp/file.sock"
export uring_uri file_uri

# start_uring [OPTIONS] [PARAMETERS]: OPTIONS come first and begin with "-".
start_uring ()
{
    # The plugin has been built with a sanitizer, if there is one.
    # shellcheck disable=SC2034
    local start_as=clone options=()
    while test $# -gt 0 && [[ $1 = -* ]]; do options+=("$1"); shift; done
    if test $# -eq 0 || [[ $1 = *=* && $1 != file=* ]]; then
        set -- "$disk" "$@"
    fi
    start_nbdkit uring "${options[@]}" "$URING_PLUGIN" "$@"
}

start_file () { start_nbdkit file file "$@"; }

# refuse_uring PATTERN PARAMETERS
refuse_uring ()
{
    local pattern=$1
    shift
    refuse_clone "$pattern" -- "$URING_PLUGIN" "$@"
}

# make_loop FILE: its loop device is $loop then.  Fails if the system has none:
# what is tested of devices is left out then.
make_loop ()
{
    loop=$(losetup --find --show "$1" 2>"$tmp/losetup.err") || {
        note "no loop devices here: $(cat "$tmp/losetup.err")"
        return 1
    }
    loops+=("$loop")
}
