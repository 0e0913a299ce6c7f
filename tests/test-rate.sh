#!/usr/bin/env bash
# clone-rate: in no ten seconds does the background ask the source for more than
# a tenth above it, whatever the batches and regions.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

# NAME RATE PARAMETERS: all at the same time; others can be given as arguments.
cases=(
    "small    1048576  clone-batch=64K"
    "plain    2097152  clone-region-size=4K"
    "batches  2097152  clone-region-size=64K clone-batch=4M clone-threshold=64"
    "slow      204800  clone-connections=1"
)
if test $# -gt 0; then cases=("$@"); fi

size=$((64 * 1048576))
make_random "$tmp/src" $size
for words in "${cases[@]}"; do
    # shellcheck disable=SC2086
    set -- $words
    start_nbdkit "source-$1" --filter=log file "$tmp/src" \
                 logfile="$tmp/$1.log"
    source_uri="nbd+unix:///?socket=$tmp/source-$1.sock"
    make_garbage "$tmp/dst-$1" $size
    start_as=clone start_nbdkit "clone-$1" --filter="$CLONE_FILTER" \
        file "$tmp/dst-$1" clone-source="$source_uri" \
        clone-bitmap="$tmp/bitmap-$1" clone-rate="$2" "${@:3}"
done

# The log has a time for each request.
python -c '
from helpers import *
import datetime

def requests(name):
    """[(seconds, bytes)] of the reads of a source"""
    result = []
    for line in content(name + ".log").decode().splitlines():
        m = re.match(r"(\S+ \S+) .* Read id=\d+ offset=\w+ count=(\w+).*\.\.\.$",
                     line)
        if m:
            when = datetime.datetime.strptime(m.group(1),
                                              "%Y-%m-%d %H:%M:%S.%f")
            result.append((when.timestamp(), int(m.group(2), 0)))
    return result

for words in sys.argv[1:]:
    name, rate = words.split()[0], int(words.split()[1])
    # Up to the last request: more than ten seconds, and two of them at least.
    wait_for(lambda: len(requests(name)) > 1 and
             requests(name)[-1][0] - requests(name)[0][0] > 11,
             "%s: enough to look at" % name)
    reads = requests(name)
    first = total = 0
    for when, count in reads:
        total += count
        while reads[first][0] < when - 10:
            total -= reads[first][1]
            first += 1
        assert total <= 1.1 * 10 * rate, \
            "%s: %d bytes in ten seconds, %.2f of what is allowed" % (
                name, total, total / (10 * rate))
' "${cases[@]}"

# The end does not wait for what the rate allows (P10).
for words in "${cases[@]}"; do
    since=$EPOCHREALTIME
    stop "clone-${words%% *}"
    test "$(ms_since "$since")" -lt 5000 || fail "$words: it does not end"
done
