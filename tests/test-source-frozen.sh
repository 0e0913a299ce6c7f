#!/usr/bin/env bash
# A source that is stopped, or behind a line that has gone dead, looks slow at
# first: what needs it fails with EIO no sooner than clone-source-timeout, and no
# later than three seconds after that.  Meanwhile what is hydrated is served as
# ever.  When it is back, all goes on by itself.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((16 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size
start_source file "$tmp/src"
start_proxy
start_clone -t 32 file "$tmp/dst" clone-hydration=false clone-source-timeout=2
nbd "$clone_uri" '
source = int(sys.argv[1])
R = 4096

def check(missing):
    """Requests that need the source hang and fail in time; others do not."""
    asked = {}
    data = nbd.Buffer.from_bytearray(bytearray(5))
    start = time.monotonic()
    for i in range(6):
        asked[h.aio_pread(nbd.Buffer(R), missing + 20 * i * R)] = "read"
        asked[h.aio_pwrite(data, missing + 20 * i * R + 8 * R)] = "write"
    asked[h.aio_pread(nbd.Buffer(MIB), missing + 500 * R)] = "long read"
    asked[h.aio_pread(nbd.Buffer(2 * MIB), MIB)] = "half of it is there"
    while asked:
        h.poll(10)
        after = time.monotonic() - start
        for cookie in list(asked):
            try:
                if h.aio_command_completed(cookie):
                    raise AssertionError("%s: no error" % asked[cookie])
            except nbd.Error as e:
                expect(asked.pop(cookie), e.errnum, errno.EIO)
                assert after >= 2, "failed after %.3f s" % after
        assert after < 5, "not answered: %s" % asked
        begin = time.monotonic()
        expect("hydrated", bytes(other.pread(R, 5 * R)),
               content("src", 5 * R, R))
        other.pwrite(content("src", 0, 100), 0)
        other.flush()
        assert time.monotonic() - begin < 1, "it waited for the source"

def check_back(missing):
    # Between two attempts to connect there may be up to 7.5 seconds.
    wait_for(lambda: error_of(h.pread, R, missing) is None, "it is back")
    expect("read", bytes(h.pread(MIB, missing)), content("src", missing, MIB))

other = connect()
h.pread(2 * MIB, 0)
wait_for(lambda: hydrated(0, 2 * MIB) == "yes", "reads are kept")

freeze(source)
check(4 * MIB)
os.kill(source, signal.SIGCONT)
check_back(4 * MIB)

# This one accepts new connections, too, and then says nothing.
tell_proxy("freeze")
check(6 * MIB)
tell_proxy("thaw")
check_back(6 * MIB)

# And this one refuses them.
tell_proxy("refuse")
tell_proxy("cut")
check(8 * MIB)
tell_proxy("accept")
check_back(8 * MIB)
' "${pid_of[source]}"
stop clone
start_clone file "$tmp/dst"
wait_hydrated
stop clone
expect_same "$tmp/dst" "$tmp/src"
