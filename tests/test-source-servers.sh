#!/usr/bin/env bash
# Servers of all kinds are cloned right, under a client's reads and writes: one
# that admits a single client and lets others wait (lesson 14), raw and qcow2
# images, and one that knows neither structured replies nor extents.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

# It has holes, and ends in the middle of a region.
size=$((8 * 1048576 + 512))
make_random "$tmp/data" $size
cp "$tmp/data" "$tmp/src"
fallocate --punch-hole -o 1000000 -l 3000000 "$tmp/src"
qemu-img convert -f raw -O qcow2 "$tmp/src" "$tmp/src.qcow2"
cat >"$tmp/nbd-server.conf" <<END
[generic]
    unixsock = $tmp/source.sock
[disk]
    exportname = $tmp/src
    readonly = true
END

# clone NAME: a clone of the source that has been started.
clone ()
{
    note "$1"
    cp "$tmp/src" "$tmp/expected"
    make_garbage "$tmp/dst" $size
    rm -f "$bitmap"
    start_clone file "$tmp/dst" clone-source-timeout=20
    nbd "$clone_uri" '
with open(TMP + "/expected", "r+b") as f:
    for offset in (0, 999999, 1048575, 4000001, 7654321, 8 * MIB - 100):
        expect("read", bytes(h.pread(612, offset)),
               content("src", offset, 612))
        for client in (h.pwrite, lambda *args: os.pwrite(f.fileno(), *args)):
            client(b"w" * 300, offset + 200)
'
    wait_hydrated
    nbdcopy "$clone_uri" "$tmp/copy"
    expect_same "$tmp/copy" "$tmp/expected"
    stop clone
    expect_same "$tmp/dst" "$tmp/expected"
}

qemu_nbd ()
{
    start_server source qemu-nbd --read-only --persistent \
                 --socket="$tmp/source.sock" "$@"
}

qemu_nbd -e 1 -f raw "$tmp/src"
clone "qemu-nbd -e 1"
kill9 source
qemu_nbd -e 8 -f raw "$tmp/src"
clone "qemu-nbd -e 8, raw"
kill9 source
qemu_nbd -e 8 -f qcow2 "$tmp/src.qcow2"
clone "qemu-nbd -e 8, qcow2"
kill9 source

# With its option to stay in the foreground it would serve a single client.
rm "$tmp/source.sock"
nbd-server -C "$tmp/nbd-server.conf" -p "$tmp/nbd-server.pid"
wait_until is_listening "$tmp/source.sock"
wait_until test -s "$tmp/nbd-server.pid"
daemons+=("$(cat "$tmp/nbd-server.pid")")
source_uri="nbd+unix:///disk?socket=$tmp/source.sock"
clone "nbd-server"
