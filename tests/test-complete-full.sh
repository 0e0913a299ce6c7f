#!/usr/bin/env bash
# A clone whose last bits found no space is complete as soon as a client's flush
# has committed them, and not only at the next commit of its own.

mounts=yes
# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((256 * 4096))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
mount_tmpfs 64k
bitmap=$tmp/fs/bitmap
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-hydration=false clone-commit-interval=3600 \
            clone-control="$tmp/control.sock"
nbd "$clone_uri" '
h.pwrite(b"a" * 4096, 0)
h.flush()
fill("fs/filler")
c = Control()
c.ask("resume")
wait_for(lambda: b"no space to write" in content("clone.err"), "it is full")
expect("all hydrated", c.ask("status")["hydrated"], 256)
os.unlink(TMP + "/fs/filler")
h.flush()
expect("complete", c.ask("wait"), {"state": "complete"})
'
stop clone
