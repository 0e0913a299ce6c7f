#!/usr/bin/env bash
# nbdclone says what it can do: --help for itself and for each verb that it
# lists, on stdout; and what is wrong with a command line, on stderr, with
# status 2 and a hint.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

nbdclone --version | grep -Eq '^nbdclone [0-9]' || fail "--version"
nbdclone --help >"$tmp/help"
test "$(nbdclone help)" = "$(cat "$tmp/help")" || fail "help is not --help"

verbs=$(sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p' "$tmp/help")
test -n "$verbs" || fail "--help lists no verbs"
for verb in $verbs; do
    nbdclone "$verb" --help >"$tmp/verb"
    head -n 1 "$tmp/verb" | grep -q "^Usage: nbdclone $verb" ||
        fail "$verb --help: $(cat "$tmp/verb")"
    test "$(nbdclone "$verb" -h)" = "$(cat "$tmp/verb")" || fail "$verb -h"
    test "$(wc -L <"$tmp/verb")" -lt 80 || fail "$verb --help is too wide"
    status=2
    if test "$verb" = check; then status=16; fi        # as fsck
    refuse $status "^nbdclone $verb: unrecognized option '--nonsense'" \
           "$verb" --nonsense
    refuse $status "^Try \"nbdclone $verb --help\"" "$verb" --nonsense
done

refuse 2 '^Usage: nbdclone VERB'
refuse 2 'there is no such verb: nonsense' nonsense
refuse 2 'the verb comes first, not --json' --json list

# A full disk is no success.
status=0
nbdclone --help >/dev/full 2>"$tmp/full" || status=$?
test "$status" -eq 1 || fail "status $status although stdout is full"
grep -q 'No space left' "$tmp/full" || fail "no message about a full stdout"
