#!/usr/bin/env bash
# nbdclone status and list: a table, JSON, and metrics, of a server that is known
# by its name, its control socket or its destination; also one that was started
# by hand, and one that has died.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

refuse 3 'no server runs' status
test -z "$(nbdclone list 2>"$tmp/none")" || fail "list without servers"
grep -q 'no server runs; "nbdclone run" starts one' "$tmp/none" || fail "list"
test "$(nbdclone list --json)" = "[]" || fail "list --json without servers"

make_random "$tmp/src" 8388608
start_source file "$tmp/src"
start_run "$source_uri" "$tmp/vm 1.img" -- clone-hydration=false
mkdir "$tmp/by-hand"
start_clone memory 8388608 clone-control="$tmp/nbdclone/hand.control"
is_complete () { nbdclone list | grep -q '^hand *complete'; }
wait_until is_complete

# The name is that of the file, as far as its letters may be in a name.
nbdclone list >"$tmp/list"
grep -Eq "^vm_1.img +paused +0.0 % +$tmp/vm 1.img +nbd\+unix://" "$tmp/list" ||
    fail "$(cat "$tmp/list")"
grep -Eq "^hand +complete +100.0 % +- +-$" "$tmp/list" ||
    fail "$(cat "$tmp/list")"
# Its columns stand below each other.
test "$(sed 's/ [^ ]*$//' "$tmp/list" | awk '{ print length }' | sort -u | wc -l)" \
     -eq 1 || fail "$(cat "$tmp/list")"
test "$(wc -l <"$tmp/list")" -eq 3 || fail "$(cat "$tmp/list")"

for instance in vm_1.img "$tmp/vm 1.img" "$tmp/nbdclone/vm_1.img.control" \
                "$tmp/nbdclone/vm_1.img.sock"
do
    nbdclone status "$instance" >"$tmp/status"
    grep -qxF "vm_1.img: paused: 0.0 %, 0 B of 8.0 MiB, 0 B/s" "$tmp/status" ||
        fail "$instance: $(cat "$tmp/status")"
done
has_connections ()
{
    nbdclone status vm_1.img | grep -Eq '^  source +nbd\+unix:.*, 4 connections$'
}
wait_until has_connections
grep -Eq "^  bitmap +$tmp/vm 1.img.nbdclone$" "$tmp/status" || fail "bitmap"

nbdclone status --json vm_1.img >"$tmp/one.json"
nbdclone status --json >"$tmp/all.json"
nbdclone list --json >"$tmp/list.json"
nbdclone status --prometheus >"$tmp/metrics"
python -c '
from helpers import *
one, every, listed = (json.loads(content(name))
                      for name in ("one.json", "all.json", "list.json"))
expect("name", one["name"], "vm_1.img")
expect("size", one["size"], 8388608)
expect("state", [s["state"] for s in every], ["complete", "paused"])
expect("list", [s["name"] for s in listed], ["hand", "vm_1.img"])
expect("destination", listed[1]["destination"], TMP + "/vm 1.img")
expect("its status", listed[1]["status"]["size"], 8388608)
samples, kinds = {}, {}
for line in content("metrics").decode().splitlines():
    if line.startswith("# TYPE "):
        kinds[line.split()[2]] = line.split()[3]
        last = line.split()[2]
    elif not line.startswith("# HELP "):
        m = re.fullmatch(r"(nbdclone_\w+)\{name=\"([^\"]*)\""
                         r"(?:,state=\"(\w+)\")?\} ([0-9.]+)", line)
        assert m and m[1] == last, line
        samples[m[1], m[2], m[3]] = float(m[4])
expect("up", samples["nbdclone_up", "hand", None], 1)
expect("fetched", samples["nbdclone_fetched_bytes_total", "hand", None], 8388608)
expect("a counter", kinds["nbdclone_fetched_bytes_total"], "counter")
expect("state", samples["nbdclone_state", "vm_1.img", "paused"], 1)
expect("state", samples["nbdclone_state", "vm_1.img", "complete"], 0)
expect("no eta", ("nbdclone_remaining_seconds", "vm_1.img", None) in samples,
       False)
'

# Sockets of something else.
refuse 2 'this is the socket of the disk; give the name' status "$tmp/clone.sock"
start_server other /usr/bin/python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
while True:
    c = s.accept()[0]
    c.recv(1000)
    c.sendall(b"200 hello\n")
' "$tmp/other.sock"
refuse 1 'what listens there is not the control socket' status "$tmp/other.sock"

# Who is dead does not answer, and is not up.
kill9 clone
refuse 3 'no server runs there any more; start it again' status hand
nbdclone list | grep -Eq '^hand +dead +- ' || fail "$(nbdclone list)"
nbdclone status --prometheus 2>/dev/null |
    grep -qxF 'nbdclone_up{name="hand"} 0' || fail "up"
refuse 3 'no server has this name, socket or destination' status nobody
refuse 2 'give one' status --json --prometheus
stop run
