#!/usr/bin/env bash
# Plugins that cannot do what the file plugin can (lesson 15): ones that are not
# parallel are called by one thread at a time (plain-plugin.c ends the server
# otherwise), ones that cannot flush, zero or trim are served all the same; what
# is lost by that is said at the start.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

plain=$abs_top_builddir/tests/.libs/plain-plugin.so
size=$((5 * 1048576 + 77))
make_random "$tmp/src" $size
start_source file "$tmp/src"

for how in plain-model=3 plain-model=2 plain-model=1 plain-model=0 \
           plain-flush=false; do
    rm -f "$bitmap" "$tmp/clone.err"
    make_garbage "$tmp/dst" $size
    start_clone "$plain" plain-file="$tmp/dst" "$how"
    grep -qi 'warning' "$tmp/clone.err" && warned=true || warned=false
    case $how in
        plain-model=3) ! $warned || fail "$how: a warning for nothing" ;;
        *) $warned || fail "$how: no warning" ;;
    esac
    nbd "$clone_uri" '
how = sys.argv[1]
# With model 0 there is one connection at a time.
clients = [h] if how == "plain-model=0" else [h, connect(), connect()]
expected = bytearray(content("src"))
requests = []
for i in range(300):
    client = clients[i % len(clients)]
    buf = nbd.Buffer.from_bytearray(bytearray([i % 200 + 1] * 1000))
    requests.append((client, client.aio_pwrite(buf, i * 10000)))
    expected[i * 10000:i * 10000 + 1000] = buf.to_bytearray()
    requests.append((client, client.aio_pread(nbd.Buffer(3000),
                                              i * 10000 + 2000)))
for client, cookie in requests:
    finish(client, cookie)
h.zero(100000, 4 * MIB + 1)
expected[4 * MIB + 1:4 * MIB + 100001] = bytes(100000)
h.trim(100000, 4 * MIB + 300001)
expected[4 * MIB + 300001:4 * MIB + 400001] = bytes(100000)
if h.can_flush():
    h.flush()
expect("the disk", pread(h, len(expected), 0), bytes(expected))
with open(TMP + "/expected", "wb") as f:
    f.write(expected)
' "$how"
    wait_hydrated
    stop clone
    expect_same "$tmp/dst" "$tmp/expected"
done

# A plugin that needs an export name is refused, not crashed (lesson 15).
rm "$bitmap"
mkdir "$tmp/dir"
cp "$tmp/dst" "$tmp/dir/disk"
refuse_clone . file dir="$tmp/dir"
