#!/usr/bin/env bash
# Wrong parameters end nbdkit before it listens (section 6): exit status 1, and
# one line that names the parameter, the value, and what is allowed.  Neither
# the destination nor the bitmap file is touched.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
before=$(summary "$tmp/dst")
start_source file "$tmp/src"

# refuse PARAMETER=VALUE PATTERN: what is allowed is in the PATTERN.
refuse ()
{
    refuse_clone "${1%%=*}.*$2" file "$tmp/dst" "$1"
    grep -qF -- "${1#*=}" "$tmp/refused.err" ||
        fail "$1: the value is not in the message"
}

refuse clone-region-size=1000 '4096|4K|power'
refuse clone-region-size=2048 '4096|4K'
refuse clone-region-size=2G '1G|1073741824'
refuse clone-region-size=0 '4096|4K|power'
refuse clone-region-size=12288 'power'
refuse clone-region-size=-4096 '.'
refuse clone-region-size=large '.'
refuse clone-bitmap-mode=never 'auto.*create.*resume'
refuse clone-hydration=perhaps '.'
refuse clone-on-read=perhaps '.'
refuse clone-discard-passdown=2x '.'
refuse clone-batch=-1 '.'
refuse clone-batch=zzz '.'
refuse clone-threshold=0 '1'
refuse clone-threshold=-1 '.'
refuse clone-threshold=many '.'
refuse clone-rate=-1 '.'
refuse clone-rate=fast '.'
refuse clone-connections=0 '1'
refuse clone-connections=-3 '.'
refuse clone-connections=99999999999 '.'
refuse clone-commit-interval=-1 '.'
refuse clone-commit-interval=soon '.'
refuse clone-source-timeout=-1 '.'
refuse clone-source-timeout=soon '.'
refuse clone-source-timeout=inf '86400'
refuse clone-source-timeout=1s '86400'
refuse clone-source-timeout=86401 '86400'
refuse clone-connections=65 '64'
refuse clone-threshold=257 '256'
refuse clone-batch=64M '33554432'
refuse clone-map-export= 'names'
refuse clone-map-export="$(printf 'x%.0s' {1..4097})" 'names'
refuse clone-control= 'name of a file'
refuse clone-control="$tmp/$(printf 'x%.0s' {1..108})" '107 bytes'
refuse clone-control="$tmp/nowhere/control" 'No such file'
refuse clone-control="$tmp/dst/control" 'cannot make a socket there'
refuse clone-control="$tmp" 'not a socket'
refuse directory="$tmp" 'one file or device'
refuse_clone 'clone-colour' file "$tmp/dst" clone-colour=red

# What is required, and a URI that is none.
clone=(-- --filter="$CLONE_FILTER" file "$tmp/dst")
refuse_clone 'clone-source' "${clone[@]}" clone-bitmap="$bitmap"
refuse_clone 'clone-bitmap' "${clone[@]}" clone-source="$source_uri"
for uri in '' /dev/sda http://localhost/ nbd+carrier-pigeon://localhost/ \
           "$source_uri&tls-ceritficates=/x" "$source_uri&x=1"; do
    refuse_clone 'clone-source' "${clone[@]}" clone-bitmap="$bitmap" \
                 clone-source="$uri"
done

# A bitmap file in a directory that does not exist, or that is one.
# One that is a pipe must not hang us.
mkfifo "$tmp/pipe"
for path in "$tmp/nowhere/bitmap" "$tmp/dst/bitmap" "$tmp" "$tmp/pipe" ''; do
    refuse_clone 'bitmap' "${clone[@]}" clone-source="$source_uri" \
                 clone-bitmap="$path"
done
refuse_clone "$bitmap" file "$tmp/dst" clone-bitmap-mode=resume

test "$(summary "$tmp/dst")" = "$before" || fail "destination was touched"
test ! -e "$bitmap" || fail "a bitmap file was made"

# A source larger than the destination; both sizes are named.  (What needs the
# destination is checked after the bitmap file has been made or read.)
truncate -s 1000000 "$tmp/dst"
before=$(summary "$tmp/dst")
refuse_clone '1048576.*1000000|1000000.*1048576' file "$tmp/dst"
test "$(summary "$tmp/dst")" = "$before" || fail "destination was touched"
rm -f "$bitmap"

# A destination that cannot be written, or whose blocks are larger than regions.
truncate -s 1048576 "$tmp/dst"
refuse_clone 'writ' pattern 1M
refuse_clone 'clone-region-size=4096.*65536' \
    --filter=blocksize-policy file "$tmp/dst" blocksize-minimum=64K \
    blocksize-preferred=64K
test ! -e "$bitmap" || fail "a bitmap file was made"

# A source without a byte, and one that has too many regions.
kill9 source
start_source memory 0
refuse_clone 'the source is empty' file "$tmp/dst"
kill9 source
start_source null 8191P
refuse_clone 'clone-region-size=4096.*more than [0-9]+ regions' null 8191P
