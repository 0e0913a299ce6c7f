#!/usr/bin/env bash
# The power is cut at the Nth request, of all or of chosen kinds, or with a
# probability.  That request fails, and so do all later ones, on all
# connections, and nothing reaches the plugin any more.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"
# shellcheck source-path=SCRIPTDIR source=powercut.sh
. "${srcdir:-.}/powercut.sh"
start_disk --filter=log logfile="$tmp/log" powercut-at=5 powercut-keep=all \
           powercut-seed=1 powercut-report="$tmp/report"
nbd "$disk_uri" '
other = connect(h.get_uri())
h.pwrite(b"1" * 512, 0)
other.pwrite(b"2" * 512, 512)
h.pread(512, 0)
other.zero(512, 1024)
assert not os.path.exists(TMP + "/report")
# The fifth: it was on its way when the power was cut, so it may survive too.
expect("the fifth", error_of(h.pwrite, b"3" * 512, 2048), "EIO")
assert os.path.exists(TMP + "/report"), "the answer came before the report"
expected = bytearray(b"\333" * h.get_size())
expected[0:1536] = b"1" * 512 + b"2" * 512 + bytes(512)
expected[2048:2560] = b"3" * 512
expect("what survives", content("disk"), bytes(expected))
size = os.stat(TMP + "/log").st_size

new = connect(h.get_uri())
for c in h, other, new:
    for call in (lambda: c.pread(512, 0), lambda: c.pwrite(b"4" * 512, 0),
                 lambda: c.zero(512, 0), lambda: c.trim(512, 0), c.flush,
                 lambda: extents(c, 0, 4096), lambda: c.cache(512, 0),
                 lambda: c.pwrite(b"4" * 512, 0, nbd.CMD_FLAG_FUA)):
        expect("after the cut", error_of(call), "EIO")
assert not re.search(rb"(Read|Write|Zero|Trim|Flush|Extents|Cache) id",
                     content("log", size)), content("log", size)
'
expect_report trigger request
expect_report request 5
expect_report sectors 4
expect_report kept 4
before=$(summary "$disk")
stop powercut
test "$(summary "$disk")" = "$before" || fail "written when it was stopped"

# Only some kinds count, and another error is wanted.
new_disk
start_disk powercut-at=2 powercut-kinds=flush,fua powercut-keep=nothing \
           powercut-errno=ENOSPC powercut-report="$tmp/report"
nbd "$disk_uri" '
for i in range(5):
    h.pwrite(b"1" * 512, 0)
h.flush()
h.zero(512, 512)
expect("the cut", error_of(h.pwrite, b"2" * 512, 0, nbd.CMD_FLAG_FUA), "ENOSPC")
expect("after it", error_of(h.pread, 512, 0), "ENOSPC")
expect("what survives", content("disk", 0, 1024), b"1" * 512 + b"\333" * 512)
'
expect_report request 8
stop powercut

# With a probability, but the same seed does it at the same request.
last=
for seed in 1 1 2 3 4; do
    new_disk
    start_disk powercut-probability=0.05 powercut-seed=$seed \
               powercut-report="$tmp/report"
    nbd "$disk_uri" '
while error_of(h.pwrite, b"1" * 512, 0) is None:
    pass
'
    stop powercut
    number=$(report request)
    if test "$seed" = "${last%:*}"; then
        test "$number" = "${last#*:}" || fail "seed $seed: $number, then $last"
    fi
    last=$seed:$number
    numbers="${numbers:-} $number"
done
note "cut at request$numbers"
test "$(tr ' ' '\n' <<<"$numbers" | sort -u | wc -l)" -ge 4 ||
    fail "cut at the same request with all seeds:$numbers"
