#!/usr/bin/env bash
# Another file takes the destination's place after nbdclone run has looked at it
# and before nbdkit opens it: nbdkit refuses it, and it stays as it is.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/victim" 1048576
before=$(summary "$tmp/victim")
start_source file "$tmp/src"

cat >"$tmp/swap" <<END
#!/bin/sh
mv "$tmp/disk" "$tmp/away"
ln -s victim "$tmp/disk"
exec ${NBDKIT:-nbdkit} "\$@"
END
chmod +x "$tmp/swap"
NBDKIT=$tmp/swap refuse 1 "file=$tmp/disk: .*another one has taken its place" \
      run "$source_uri" "$tmp/disk"
test "$(summary "$tmp/victim")" = "$before" || fail "the victim was changed"
test -L "$tmp/disk" || fail "what is not ours was removed"
