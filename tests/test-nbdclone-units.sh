#!/usr/bin/env bash
# The units for systemd are sound, and their sandbox is a good one.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

# As they are for an instance; what they start is the command of this build.
sed "s|^ExecStart=[^ ]*|ExecStart=$NBDCLONE|" \
    "$abs_top_builddir/tools/nbdclone@.service" >"$tmp/nbdclone@vm1.service"
cp "$abs_top_srcdir/tools/nbdclone@.socket" "$tmp/nbdclone@vm1.socket"

systemd-analyze verify --man=no --recursive-errors=no \
                "$tmp/nbdclone@vm1.service" "$tmp/nbdclone@vm1.socket" \
                >"$tmp/verify.out" 2>&1 || fail "$(cat "$tmp/verify.out")"
if grep -q 'nbdclone@' "$tmp/verify.out"; then fail "$(cat "$tmp/verify.out")"; fi

# From 0, no exposure, to 10; in tenths.
systemd-analyze security --no-pager --offline=true --threshold=20 \
                "$tmp/nbdclone@vm1.service" >"$tmp/security.out" ||
    fail "$(grep -v '✓' "$tmp/security.out")"
note "$(tail -n 1 "$tmp/security.out")"

# The user is made from this.
systemd-sysusers --dry-run --inline "$(grep '^u' \
    "$abs_top_srcdir/tools/nbdclone.sysusers")" >"$tmp/users.out" 2>&1 ||
    fail "$(cat "$tmp/users.out")"

# Each word of the service's command is one that "nbdclone run" understands.
grep -o -- ' --[a-z-]\+' "$tmp/nbdclone@vm1.service" | sort -u |
    while read -r option; do
        nbdclone run --help | grep -q -- "$option" || fail "$option"
    done
