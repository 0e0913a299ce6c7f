#!/usr/bin/env bash
# Hostile bitmap files: refused, or harmless.  "make fuzz" looks for longer; this
# is a minute, or FUZZ_SECONDS.

set -eu -o pipefail

# shellcheck disable=SC1091
. ./env.sh
: "${abs_top_builddir:?is not set by env.sh}"

tmp=$(mktemp -d /tmp/nbdclone.XXXXXX)
trap 'rm -rf "$tmp"' EXIT
fuzz=$(readlink -f "${srcdir:-.}/fuzz")

cd "$abs_top_builddir"
status=0
"$fuzz/run" "${FUZZ_SECONDS:-60}" "$tmp" || status=$?
# What was found is kept for who wants to look at it.
for input in "$tmp"/crash-* "$tmp"/leak-* "$tmp"/oom-* "$tmp"/timeout-*; do
    if test -e "$input"; then
        mkdir -p build-fuzz
        cp "$input" build-fuzz/
        echo "kept as build-fuzz/$(basename "$input")"
    fi
done
exit $status
