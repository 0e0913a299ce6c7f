#!/usr/bin/env bash
# The whole stack under load, with power cuts, kills and faults at random, for a
# minute: P1 to P7 on everything at once; see torture.c.  "make torture TIME=..."
# does it for longer.
#
# A failure prints the command that tries the same again.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

time=60
if test "$SANITIZER" != none; then time=20; fi
seed=${TORTURE_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
torture=./torture
preload=${SANITIZER_PRELOAD:+$SANITIZER_PRELOAD:}
preload+=$abs_top_builddir/tests/.libs/torture-disk.so

note "seed $seed"
# SANITIZER_WRAPPER is a command and its arguments, or nothing.
# shellcheck disable=SC2086
"$torture" time="${TORTURE_TIME:-$time}" seed="$seed" directory="$tmp" \
    bound="$bound" clone="$CLONE_FILTER" powercut="$POWERCUT_FILTER" -- \
    $SANITIZER_WRAPPER env LD_PRELOAD="$preload" nbdkit ||
    fail "see above"
