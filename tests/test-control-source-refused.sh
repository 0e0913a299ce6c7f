#!/usr/bin/env bash
# source on the control socket with a server that is not the disk's, or does not
# answer: an error says why, within a bound, and the old one stays in force.  An
# export of another name, or a larger one, only with clone-source-force.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((4 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
truncate -s $((size - 4096)) "$tmp/smaller"
make_random "$tmp/more" 4096
cat "$tmp/src" "$tmp/more" >"$tmp/larger"
start_source file "$tmp/src"
start_nbdkit smaller file "$tmp/smaller"
start_nbdkit larger -t 1 file "$tmp/larger"
start_nbdkit hangs file "$tmp/src"
kill -STOP "${pid_of[hangs]}"
start_clone file "$tmp/dst" clone-control="$tmp/control.sock" \
            clone-hydration=false

cat >"$tmp/common.py" <<'END'
c, other = Control(), Control()
def at(name, export=""):
    return "nbd+unix:///%s?socket=%s/%s.sock" % (export, TMP, name)

def refused(wanted, **arguments):
    c.begin("source", **arguments)
    other.ask("status")                 # nobody else waits
    answer = c.receive()
    assert wanted in answer["error"]["desc"], answer
    status = other.ask("status")["source"]
    expect("the old one", (status["uri"], status["connected"]),
           (at("source"), True))
END

nbd "$clone_uri" "$(cat "$tmp/common.py")"'
wait_for(lambda: c.ask("status")["source"]["connected"], "it is up")
began = time.monotonic()
refused("needs uri")
refused("needs uri", uri=5)
refused("there is no such argument", uri=at("larger"), force=True)
refused("not an NBD URI", uri="http://x")
refused("not known to libnbd", uri="nbd://x/?tls-verify-peer=false")
refused("has to be absolute", uri="nbd+unix:///?socket=here.sock")
refused("cannot connect", uri=at("none"))
refused("cannot connect", uri="nbd://127.0.0.1:1/")
refused("%d bytes" % (4 * MIB - 4096), uri=at("smaller"))
refused("%d bytes" % (4 * MIB + 4096), uri=at("larger"))
refused("the export \"\", but the URI names the export \"x\"",
        uri=at("larger", "x"))
assert time.monotonic() - began < 10, "that was slow"
c.begin("source", uri=at("hangs"))
expect("one after the other", other.refused("source", uri=at("larger")),
       "GenericError")
assert "handshake" in c.receive()["error"]["desc"]
assert time.monotonic() - began < 40, "no bound"
expect("data", bytes(h.pread(MIB, 0)), content("src", 0, MIB))
# Who asks may vanish, and the server be told to stop.
c.begin("source", uri=at("hangs"))
c.close()
'
began=$EPOCHREALTIME
stop clone
test "$(ms_since "$began")" -lt 10000 || fail "it did not stop in time"

start_clone file "$tmp/dst" clone-control="$tmp/control.sock" \
            clone-source-force=true clone-hydration=false
nbd "$clone_uri" "$(cat "$tmp/common.py")"'
refused("%d bytes" % (4 * MIB - 4096), uri=at("smaller"))
expect("larger", c.ask("source", uri=at("larger", "x")), {})
c.ask("resume")
expect("complete", c.ask("wait"), {"state": "complete"})
'
stop clone
expect_same "$tmp/dst" "$tmp/src"
