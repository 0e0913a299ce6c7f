#!/usr/bin/env bash
# source on the control socket: from now on another server of the same disk is
# asked.  Requests that hang at the old one are answered by the new one.  The
# bitmap file does not change: a restart takes either server.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((8 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_nbdkit old -t 1 --filter=log file "$tmp/src" logfile="$tmp/old.log"
start_nbdkit new -t 1 --filter=log file "$tmp/src" logfile="$tmp/new.log"
source_uri="nbd+unix://secret@/?socket=$tmp/old.sock"
start_clone file "$tmp/dst" clone-control="$tmp/control.sock" \
            clone-hydration=false clone-rate=1M

nbd "$clone_uri" '
old, new = "nbd+unix:///?socket=" + TMP + "/old.sock", \
    "nbd+unix://secret@/?socket=" + TMP + "/new.sock"
c, listener, waiting = Control(), Control(), Control()
listener.ask("events")
h.pread(4096, 0)
# The old one hangs, with requests of two clients.
freeze(int(sys.argv[1]))
second = connect()
cookies = [(client, client.aio_pread(buf, i * MIB), buf, i * MIB)
           for i in range(1, 5)
           for client in (h, second) for buf in (nbd.Buffer(65536),)]
cookie = second.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(5)), 6 * MIB + 1)
second.poll(0)
c.ask("resume")
expect("switch", c.ask("source", uri=new), {})
for client, a, buf, offset in cookies:
    finish(client, a)
    expect("data", bytes(buf.to_bytearray()), content("src", offset, 65536))
finish(second, cookie)
expect("lost", listener.event("source-lost")["uri"],
       new.replace("secret@", ""))
expect("back", listener.event("source-back")["connected"], True)
expect("the uri, without secrets", c.ask("status")["source"]["uri"],
       new.replace("secret@", ""))
c.ask("set", rate=0)
expect("complete", waiting.ask("wait"), {"state": "complete"})
c.begin("source", uri=old)
assert "the clone is complete" in c.receive()["error"]["desc"], "too late"
' "${pid_of[old]}"
kill -CONT "${pid_of[old]}"
stop clone
grep -q "new.sock" "$tmp/clone.err" || fail "no word of it in the log"
! grep -q secret "$tmp/clone.err" || fail "a secret is told"
test "$(log_count Read "$tmp/new.log")" -gt 0 || fail "the new one was not read"
before=$(sha256sum "$bitmap")
start_clone file "$tmp/dst"
stop clone
test "$(sha256sum "$bitmap")" = "$before" || fail "the bitmap file has changed"
printf '\0\0\0\0\0' |
    dd of="$tmp/src" bs=1 seek=$((6 * 1048576 + 1)) conv=notrunc status=none
expect_same "$tmp/dst" "$tmp/src"
