#!/usr/bin/env bash
# nbdclone run --resume goes on with a clone and never begins one: where the
# destination, the bitmap file, or both are missing it says so and makes nothing.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
start_source file "$tmp/src"
mkdir "$tmp/fs"
run=(--exit-when-complete "$source_uri" "$tmp/fs/disk")

refuse 1 "--resume: $tmp/fs/disk is not there: is its file system mounted" \
       run --resume "${run[@]}"
test -z "$(ls -A "$tmp/fs")" || fail "something was made: $(ls "$tmp/fs")"
nbdclone run "${run[@]}" >/dev/null
nbdclone run --resume "${run[@]}" >/dev/null

mv "$tmp/fs/disk" "$tmp/fs/away"
refuse 1 '--resume: .*/disk is not there' run --resume "${run[@]}"
mv "$tmp/fs/away" "$tmp/fs/disk"
mv "$tmp/fs/disk.nbdclone" "$tmp/fs/away"
refuse 1 '--resume: .*/disk.nbdclone is not there' run --resume "${run[@]}"
truncate -s 0 "$tmp/fs/disk"            # all holes: a new clone would take it
truncate -s 1048576 "$tmp/fs/disk"
refuse 1 '--resume: .*/disk.nbdclone is not there' run --resume "${run[@]}"
refuse 2 '--resume and --overwrite: give one' run --resume --overwrite \
       "${run[@]}"

# If it goes away after that, nbdkit does not make a new one.
nbdclone run "${run[@]}" >/dev/null
printf '#!/bin/sh\nrm "%s"\nexec %s "$@"\n' "$tmp/fs/disk.nbdclone" \
       "${NBDKIT:-nbdkit}" >"$tmp/late"
chmod +x "$tmp/late"
NBDKIT=$tmp/late refuse 1 'disk.nbdclone.*clone-bitmap-mode=resume' \
      run --resume "${run[@]}"
test ! -e "$tmp/fs/disk.nbdclone" || fail "a new bitmap file"
