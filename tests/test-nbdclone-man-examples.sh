#!/usr/bin/env bash
# The examples in nbdclone(1) and README.md work as they are printed: of the
# manual those marked with "=for test client", in their order.  Only the host is
# replaced.  The others need a kernel's NBD client, a virtual machine, another
# host or systemd.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

manual=$(realpath "$srcdir/../man/nbdclone.pod")
examples=0
start_source pattern 20M
mkdir "$tmp/here"
cd "$tmp/here"

# Each paragraph that follows a mark, ended by NUL.
extract ()
{
    awk -v ORS='\0' -v RS='' '
        mark { print; mark = 0 }
        /^=for test client$/ { mark = 1 }
    ' "$1"
}

# shellcheck disable=SC2001 # two hosts' names, whatever the export
while IFS= read -r -d '' text; do
    note "$text"
    text=$(sed "s|nbd://backup.example.com/[a-z0-9]*|'$source_uri'|" <<<"$text")
    (eval "set -e; $text") </dev/null >"$tmp/example.out" 2>&1 || {
        cat "$tmp/example.out"
        fail "this example failed: $text"
    }
    examples=$((examples + 1))
done < <(extract "$manual")

test "$examples" -ge 9 || fail "only $examples examples were found"

# README.md: what starts a clone stays in the foreground, and the rest is for
# another terminal.
mkdir -p "$tmp/readme/tools"
cd "$tmp/readme"
ln -s "$NBDCLONE" tools/
export XDG_RUNTIME_DIR=$tmp
while read -r line; do
    note "README.md: $line"
    line=${line/nbd:\/\/backup.example.com\/vm1/"'$source_uri'"}
    case $line in
        *' run '*)
            (eval "exec $line") </dev/null >"$tmp/run.out" 2>"$tmp/run.err" &
            pid_of[run]=$!
            wait_until says_or_gone run 'the disk is'
            ;;
        *) eval "$line" >"$tmp/example.out" || fail "$line" ;;
    esac
    examples=$((examples + 1))
done < <(grep '^tools/nbdclone ' "$abs_top_srcdir/README.md")
test "$examples" -ge 13 || fail "only $examples examples were found"
stop run

test -z "$(nbdclone list)" || fail "something still runs: $(nbdclone list)"
