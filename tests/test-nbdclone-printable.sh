#!/usr/bin/env bash
# What a hostile control socket or record has in its texts does not reach the
# terminal as a control character, nor does what nbdkit prints; and "nbdclone
# run" takes no names that would.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

# A server whose texts set the terminal's title, by ASCII and by Unicode.
cat >"$tmp/evil.py" <<'END'
import json, socket, sys, threading
evil = "a\033]0;evil\007b\u009bc\x7f"
status = {"state": evil, "size": 8192, "region-size": 4096, "regions": 2,
          "hydrated": 1, "source": {"uri": evil, "last-error": evil}}
event = {"event": "source-lost", "timestamp": {"seconds": 1},
         "data": {"last-error": evil}}
answers = {"status": [{"return": status}],
           "pause": [{"error": {"desc": evil}}],
           "events": [{"return": {}}, event, dict(event, event=evil)]}

def serve(c):
    for line in c.makefile():
        for answer in answers[json.loads(line)["execute"]]:
            c.sendall(json.dumps(answer).encode() + b"\n")
    c.close()

directory = sys.argv[1]
with open(directory + "/nbdclone/evil.json", "w") as f:
    json.dump({"destination": evil, "uri": evil, "bitmap": evil}, f)
s = socket.socket(socket.AF_UNIX)
s.bind(directory + "/evil.sock")
s.listen()
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
END
mkdir "$tmp/nbdclone"
start_server evil /usr/bin/python3 "$tmp/evil.py" "$tmp"
ln "$tmp/evil.sock" "$tmp/nbdclone/evil.control"
ln "$tmp/evil.sock" "$tmp/nbdclone/"$'\033[2J.control'

# expect_printable: what was said in $tmp/said has the text, and is harmless.
expect_printable ()
{
    grep -q "a?]0;evil?b??c?" "$tmp/said" || fail "$*: $(cat -v "$tmp/said")"
    ! LC_ALL=C grep -Pq '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]' "$tmp/said" ||
        fail "$*: $(cat -v "$tmp/said")"
}
for command in list "status evil" "pause evil" "map evil" "status --json evil"
do
    # shellcheck disable=SC2086
    nbdclone $command >"$tmp/said" 2>&1 || true
    expect_printable "$command"
done
nbdclone_in_background events events evil
wait_until grep -q evil.b "$tmp/events.out"
kill -TERM "${pid_of[events]}"
finish events || true
cp "$tmp/events.out" "$tmp/said"
expect_printable events

# nbdkit's own messages, here about a parameter.
make_random "$tmp/src" 4096
start_source file "$tmp/src"
evil=$'a\033]0;evil\007b\xc2\x9bc\x7f'
nbdclone run "$source_uri" "$tmp/dst" -- "clone-batch=$evil" >"$tmp/said" 2>&1 &&
    fail "such a parameter is taken"
expect_printable run
