#!/usr/bin/env bash
# nbdclone run has its sockets in a directory where nobody else can put anything:
# it refuses others, and does not write its log through a link.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 4096
start_source file "$tmp/src"
refuse_here () { refuse 1 "^nbdclone: $1" run --daemon "$source_uri" "$tmp/dst"; }

mkdir "$tmp/elsewhere"
ln -s elsewhere "$tmp/nbdclone"
refuse_here "$tmp/nbdclone: .*it is a symbolic link.*XDG_RUNTIME_DIR"
rm "$tmp/nbdclone"
touch "$tmp/nbdclone"
refuse_here "$tmp/nbdclone: .*it is not a directory"
rm "$tmp/nbdclone"
mkdir "$tmp/nbdclone"
for mode in 770 707; do
    chmod $mode "$tmp/nbdclone"
    refuse_here "$tmp/nbdclone: .*others can write to it"
done
chmod 755 "$tmp/nbdclone"
if test "$(id -u)" -eq 0; then
    chown 65534 "$tmp/nbdclone"
    refuse_here "$tmp/nbdclone: .*it belongs to another user"
    chown 0 "$tmp/nbdclone"
fi

ln -s "$tmp/victim" "$tmp/nbdclone/dst.log"
refuse_here "--log $tmp/nbdclone/dst.log: it is a symbolic link"
test ! -e "$tmp/victim" || fail "written through a link"
test -z "$(ls -A "$tmp/elsewhere")" || fail "left: $(ls "$tmp/elsewhere")"
test ! -e "$tmp/dst" || fail "the destination was made"

# Whoever gives a log may give a link.
nbdclone run --daemon --log "$tmp/nbdclone/dst.log" "$source_uri" "$tmp/dst" \
         >/dev/null
nbdclone wait dst >/dev/null
nbdclone stop dst
test -s "$tmp/victim" || fail "nothing in the log"
