#!/usr/bin/env bash
# The examples in nbdkit-clone-filter(1) work as they are printed.
#
# In the manual, a paragraph "=for test WHAT" says what the indented paragraph
# after it is: a "server" that runs until "=for test stop" or "kill", or commands
# of a "client".  Only the host name is replaced.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

manual=$(realpath "$srcdir/../man/nbdkit-clone-filter.pod")
remote=nbd://backup.example.com/vm1
examples=0

# One thread a connection: with more, nbdkit 1.32 may abort when a client goes
# away to which it still owes answers.
start_source -t 1 pattern 20M

mkdir "$tmp/here"
cd "$tmp/here"
# shellcheck disable=SC2154
clone_uri="nbd+unix:///?socket=$tmp/here/clone.sock"

# What the examples call: nbdkit as it is run in this build.
nbdkit ()
{
    set_nbdkit_command clone
    exec "${nbdkit_command[@]}" "${@/#--filter=clone/--filter=$CLONE_FILTER}"
}

answers () { nbdinfo --size "$clone_uri" >/dev/null 2>&1 || gone clone; }

run_server ()
{
    (eval "$1") </dev/null >>"$tmp/clone.err" 2>&1 &
    pid_of[clone]=$!
    wait_until answers
    ! gone clone || fail "this example did not start: $1"
}

run_client ()
{
    (eval "$1") </dev/null >"$tmp/client.out" 2>&1 || {
        cat "$tmp/client.out"
        fail "this example failed: $1"
    }
}

# Each mark, then its paragraph, both ended by NUL.
extract ()
{
    awk -v ORS='\0' -v RS='' '
        mark != "" { print mark; print /^ / ? $0 : ""; mark = "" }
        /^=for test (server|client)$/ { mark = $3; next }
        /^=for test (stop|kill)$/ { print $3; print "" }
    ' "$1"
}

while IFS= read -r -d '' what && IFS= read -r -d '' text; do
    text=${text//"$remote"/"'$source_uri'"}
    case $what in
        server|client)
            test -n "$text" || fail "no example after =for test $what"
            note "$what: $text"
            "run_$what" "$text"
            examples=$((examples + 1))
            ;;
        stop) stop clone; rm -f clone.sock ;;
        kill) kill9 clone ;;
    esac
done < <(extract "$manual")

test "$examples" -ge 6 || fail "only $examples examples were found"
