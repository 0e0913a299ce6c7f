#!/usr/bin/env bash
# The completion for bash knows all verbs, the options of each, and instances.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

# shellcheck source=../tools/nbdclone.bash-completion
. "$abs_top_srcdir/tools/nbdclone.bash-completion"
complete -p nbdclone | grep -q -- '-F _nbdclone' || fail "not registered"

# completes WORDS...: what the last one can become, on one line.  compopt works
# only while bash itself completes.
compopt () { :; }
completes ()
{
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    XDG_RUNTIME_DIR=$tmp _nbdclone
    echo "${COMPREPLY[*]}"
}
expect_completion ()
{
    local wanted=$1 got
    shift
    got=$(completes "$@")
    test "$got" = "$wanted" || fail "$*: '$got', not '$wanted'"
}

mkdir "$tmp/nbdclone"
touch "$tmp/nbdclone/vm1.control" "$tmp/nbdclone/vm2.control" \
      "$tmp/nbdclone/vm2.sock"
expect_completion "status stop" "$NBDCLONE" st
expect_completion "--overwrite" "$NBDCLONE" run --over
expect_completion "--timeout" "$NBDCLONE" wait --t
expect_completion "vm1 vm2" "$NBDCLONE" status vm
expect_completion "vm2" "$NBDCLONE" stop --timeout 5 vm2
expect_completion "" "$NBDCLONE" run vm
expect_completion "rate=" "$NBDCLONE" set vm1 r
for verb in $(nbdclone --help | sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p'); do
    [[ " $(completes "$NBDCLONE" "") " = *" $verb "* ]] || fail "no $verb"
done
