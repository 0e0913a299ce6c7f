#!/usr/bin/env bash
# The bitmap file's sync fails, or a write to it does for another reason than a
# lack of space (P5, lesson 23).  From then on nothing is committed, and whoever
# writes or flushes hears of it, although the next sync would succeed; reads go
# on.  A restart after a power cut returns to the last commit.
#
# The bitmap file is served by nbdfuse, from a disk that drops what it has not
# flushed.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((256 * 4096))
make_random "$tmp/src" $size
start_source file "$tmp/src"
mkdir "$tmp/mnt"

# power_on, power_off: the disk with the bitmap file.
power_on ()
{
    start_as=clone start_nbdkit disk --filter="$POWERCUT_FILTER" \
        file "$tmp/stored" powercut-fail-flush-file="$tmp/fail-flush" \
        powercut-error="EIO:kinds=write:file=$tmp/fail-write"
    mounted=$tmp/mnt
    nbdfuse "$mounted/bitmap" "nbd+unix:///?socket=$tmp/disk.sock" &
    fuse=$!
    wait_until test -s "$mounted/bitmap"
}

power_off ()
{
    kill9 disk
    wait_until fusermount3 -u "$mounted"
    mounted=
    wait "$fuse" || true
}

start () { start_clone file "$tmp/dst" clone-hydration=false \
                       clone-commit-interval=3600; }

for what in flush write; do
    make_garbage "$tmp/dst" $size
    bitmap=$tmp/stored
    rm -f "$bitmap"
    start
    stop clone
    power_on
    bitmap=$tmp/mnt/bitmap
    start
    nbd "$clone_uri" '
R = 4096
trouble = TMP + "/fail-" + sys.argv[1]
h.pwrite(b"a" * R, 0)
h.flush()
h.pwrite(b"b" * R, 5 * R)
open(trouble, "w").close()
expect("flush", error_of(h.flush), "EIO")
os.unlink(trouble)                      # the next one would succeed
before = content("mnt/bitmap")
expect("flush", error_of(h.flush), "EIO")
expect("another client", error_of(connect().flush), "EIO")
expect("write", error_of(h.pwrite, b"c" * R, 7 * R), "EIO")
expect("FUA write", error_of(h.pwrite, b"c" * R, 0, nbd.CMD_FLAG_FUA), "EIO")
expect("zero", error_of(h.zero, R, 8 * R), "EIO")
expect("trim", error_of(h.trim, R, 9 * R), "EIO")
expect("read", bytes(h.pread(R, 0)), b"a" * R)
expect("read", bytes(h.pread(R, 5 * R)), b"b" * R)
expect("read", bytes(h.pread(R, 6 * R)), content("src", 6 * R, R))
expect("nothing is committed", content("mnt/bitmap"), before)
' $what
    kill9 clone
    power_off

    power_on
    start
    nbd "$clone_uri" '
R = 4096
expect("the last commit", extents(connect(MAP)), [(R, 0), (255 * R, 3)])
expect("committed", bytes(h.pread(R, 0)), b"a" * R)
expect("not committed", bytes(h.pread(R, 5 * R)), content("src", 5 * R, R))
h.pwrite(b"c" * R, 5 * R)
h.flush()
'
    stop clone
    power_off
done
