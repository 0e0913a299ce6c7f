#!/usr/bin/env bash
# nbdclone run does not clone a disk onto itself: it sees that the server of the
# source, on this machine, has the destination open; on a Unix socket, and on
# TCP, where the server may have forked for the connection.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 3000000
ln "$tmp/src" "$tmp/link"
ln -s src "$tmp/symlink"
before=$(sha256sum <"$tmp/src")

start_source file "$tmp/src"
for name in src link symlink; do
    refuse 1 "process ${pid_of[source]}, has this open: cloning a disk onto" \
           run --overwrite "$source_uri" "$tmp/$name"
done
stop source

# nbd-server has a process for each connection.
start_nbd_server ()             # NAME, and where it listens
{
    local name=$1
    shift
    printf '%s\n' '[generic]' "$@" '[disk]' "exportname = $tmp/src" \
           'readonly = true' >"$tmp/$name.conf"
    nbd-server -C "$tmp/$name.conf" -p "$tmp/$name.pid"
    wait_until test -s "$tmp/$name.pid"
    daemons+=("$(cat "$tmp/$name.pid")")
}
port=$(python -c 'import socket
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1])')
start_nbd_server unix "unixsock = $tmp/server.sock"
start_nbd_server tcp 'listenaddr = 127.0.0.1' "port = $port"
for uri in "nbd+unix:///disk?socket=$tmp/server.sock" \
           "nbd://127.0.0.1:$port/disk" "nbd://localhost:$port/disk"
do
    wait_until nbdinfo --size "$uri" >/dev/null
    refuse 1 'cloning a disk onto itself would destroy it' \
           run --overwrite "$uri" "$tmp/link"
done
test "$(sha256sum <"$tmp/src")" = "$before" || fail "the disk was changed"

# A destination of its own is all right, also when it had contents.
start_source file "$tmp/src"
make_garbage "$tmp/dst" 3000000
nbdclone run --overwrite --exit-when-complete "$source_uri" "$tmp/dst" \
         >/dev/null
expect_same "$tmp/src" "$tmp/dst"
