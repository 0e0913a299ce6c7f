#!/usr/bin/env bash
# The bench runs its cases, prints a table and leaves JSON and plots; a subject
# that fails is named, the others go on, and the exit status says so.  How fast
# anything is does not matter here.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

# bench RESULTS ARGS...: what it says is in $tmp/said.
bench ()
{
    local results=$1
    shift
    "$abs_top_srcdir/bench/bench" --size 16M --runs 1 --seconds 0.1 \
        --directory "$tmp" --results "$results" "$@" >"$tmp/said" 2>&1
}

# expect_said WORDS...: a line with all of them.
expect_said ()
{
    local lines
    lines=$(cat "$tmp/said")
    for word; do
        lines=$(grep -F -- "$word" <<<"$lines") ||
            fail "no line with: $*: $(cat "$tmp/said")"
    done
}

bench "$tmp/results" hydrate-local flush-idle-file clone-rate timeline ||
    fail "the bench has failed: $(cat "$tmp/said")"
expect_said "nbdcopy --flush" median ratio
expect_said "clone / nbdcopy" "<= 1.0"
expect_said "complete after s"
for name in timeline.svg timeline.png ratios.svg ratios.png; do
    test -s "$tmp/results/$name" || fail "there is no $name"
done
python -c '
from helpers import *
report = json.loads(content("results/results.json"))
cases = report["cases"]
expect("cases", list(cases),
       ["hydrate-local", "flush-idle-file", "clone-rate", "timeline"])
for name, case in cases.items():
    expect("failures of " + name, case["errors"], {})
seen = cases["hydrate-local"]
expect("subjects", list(seen["results"]),
       ["clone", "nbdcopy", "nbdcopy --flush", "qemu-img convert"])
for pair in seen["pairs"]:
    of, to = (seen["results"][pair[which]] for which in ("of", "to"))
    expect("ratio", pair["ratios"], [of[0] / to[0]])
line = cases["timeline"]["extra"]["timeline"]
expect("hydrated at the end", line["hydrated"][-1][1], 16)
assert len(line["latency"]) > 1
'

# The plots can be made again.
bench "$tmp/again" --plot "$tmp/results/results.json" ||
    fail "no plots: $(cat "$tmp/said")"
test -s "$tmp/again/timeline.svg" || fail "no plot was made again"

# A peer that does not work.
mkdir "$tmp/bin"
printf '#!/bin/sh\necho out of order >&2\nexit 3\n' >"$tmp/bin/qemu-img"
chmod +x "$tmp/bin/qemu-img"
if PATH=$tmp/bin:$PATH bench "$tmp/failed" hydrate-local; then
    fail "the bench does not notice that a peer has failed"
fi
expect_said "qemu-img convert HAS FAILED" "status 3: out of order"
expect_said "nbdcopy --flush" median ratio
python -c '
from helpers import *
case = json.loads(content("failed/results.json"))["cases"]["hydrate-local"]
expect("failed", list(case["errors"]), ["qemu-img convert"])
expect("others", list(case["results"]), ["clone", "nbdcopy", "nbdcopy --flush"])
'
