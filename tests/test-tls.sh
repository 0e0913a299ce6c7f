#!/usr/bin/env bash
# A source with TLS.  With X.509 the server must have a certificate of our CA for
# the very host in the URI that has not expired, and it can insist on ours; with
# PSK both must have the same key.  nbds never falls back to plain text, and no
# secret is in what is logged.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

size=$((2 * 1048576))
make_random "$tmp/src" $size
make_garbage "$tmp/dst" $size

certtool () { command certtool "$@" 2>>"$tmp/certtool.log"; }

# make_ca DIRECTORY
make_ca ()
{
    mkdir "$1"
    certtool --generate-privkey --key-type=ecdsa >"$1/ca-key.pem"
    printf 'cn = "%s"\nca\ncert_signing_key\n' "$1" >"$1/ca.info"
    certtool --generate-self-signed --load-privkey="$1/ca-key.pem" \
             --template="$1/ca.info" >"$1/ca-cert.pem"
}

# certify WHO DIRECTORY CA LINE...: WHO is server or client; the lines are for
# the template.
certify ()
{
    local who=$1 dir=$2 ca=$3
    shift 3
    mkdir -p "$dir"
    test "$ca" = "$dir" || cp -n "$ca/ca-cert.pem" "$dir"
    printf '%s\n' "tls_www_$who" "$@" >"$dir/$who.info"
    certtool --generate-privkey --key-type=ecdsa >"$dir/$who-key.pem"
    certtool --generate-certificate --load-privkey="$dir/$who-key.pem" \
             --load-ca-certificate="$ca/ca-cert.pem" \
             --load-ca-privkey="$ca/ca-key.pem" \
             --template="$dir/$who.info" >"$dir/$who-cert.pem"
}

# start_tls OPTIONS...: a source on a free TCP port of localhost, which is then
# in $port.  It gets the socket from us, or somebody might take it meanwhile.
start_tls ()
{
    rm -f "$tmp/source.pid" "$tmp/source.port"
    /usr/bin/python3 -c '
import os, socket, sys
s = socket.create_server(("127.0.0.1", 0))
with open(sys.argv[1], "w") as f:
    f.write("%d\n" % s.getsockname()[1])
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execvp("nbdkit", ["nbdkit"] + sys.argv[2:])
' "$tmp/source.port" -f -P "$tmp/source.pid" -t 1 --filter=log "$@" \
        file "$tmp/src" logfile="$tmp/source.log" \
        </dev/null >>"$tmp/source.err" 2>&1 &
    pid_of[source]=$!
    wait_until is_ready source
    port=$(cat "$tmp/source.port")
}

# The server at $port is cloned.
good ()
{
    source_uri=$1
    make_garbage "$tmp/dst" $size
    rm -f "$bitmap"
    start_clone file "$tmp/dst"
    wait_hydrated
    stop clone
    expect_same "$tmp/dst" "$tmp/src"
}

# It is refused when creating.
bad ()
{
    source_uri=$1
    rm -f "$bitmap"
    refuse_clone 'source' file "$tmp/dst" clone-source-timeout=10
    test ! -e "$bitmap" || fail "a bitmap file was made"
}

make_ca "$tmp/ca"
make_ca "$tmp/other"
long_ago='activation_date = "2019-01-01 00:00:00"
expiration_date = "2020-01-01 00:00:00"'
certify server "$tmp/server" "$tmp/ca" 'dns_name = "localhost"'
certify server "$tmp/expired" "$tmp/ca" 'dns_name = "localhost"' "$long_ago"
certify client "$tmp/client" "$tmp/ca" 'cn = "client"'
certify client "$tmp/stale" "$tmp/ca" 'cn = "client"' "$long_ago"
certify client "$tmp/stranger" "$tmp/other" 'cn = "client"'
cp "$tmp/ca/ca-cert.pem" "$tmp/stranger"
mkdir "$tmp/none" "$tmp/wrong-ca"
cp "$tmp/ca/ca-cert.pem" "$tmp/none"
cp "$tmp/other/ca-cert.pem" "$tmp/wrong-ca"

note "X.509"
start_tls --tls=require --tls-certificates="$tmp/server"
good "nbds://localhost:$port/?tls-certificates=$tmp/none"
bad "nbds://127.0.0.1:$port/?tls-certificates=$tmp/none"
bad "nbds://localhost:$port/?tls-certificates=$tmp/wrong-ca"
bad "nbds://localhost:$port/?tls-certificates=$tmp/nowhere"
bad "nbds://localhost:$port/"
bad "nbd://localhost:$port/"
stop source

note "X.509, an expired certificate"
start_tls --tls=require --tls-certificates="$tmp/expired"
bad "nbds://localhost:$port/?tls-certificates=$tmp/none"
stop source

note "X.509, with certificates of clients"
start_tls --tls=require --tls-certificates="$tmp/server" --tls-verify-peer
good "nbds://localhost:$port/?tls-certificates=$tmp/client"
for who in none stale stranger; do
    bad "nbds://localhost:$port/?tls-certificates=$tmp/$who"
done
stop source

note "PSK"
key=6b64626c636c6f6e652d6b65792d3031
wrong_key=ffffffff636c6f6e652d6b65792d3031
echo "alice:$key" >"$tmp/psk"
echo "alice:$wrong_key" >"$tmp/wrong-psk"
start_tls --tls=require --tls-psk="$tmp/psk"
good "nbds://alice@localhost:$port/?tls-psk-file=$tmp/psk"
good "nbds://alice@127.0.0.1:$port/?tls-psk-file=$tmp/psk"
for user in alice:passw0rd alice%3apassw0rd :passw0rd; do
    bad "nbds://$user@localhost:$port/?tls-psk-file=$tmp/psk"
    bad "nbd://$user@localhost:$port/"
done
bad "nbds://alice@localhost:$port/?tls-psk-file=$tmp/wrong-psk"
bad "nbds://bob@localhost:$port/?tls-psk-file=$tmp/psk"
bad "nbds://alice@localhost:$port/?tls-psk-file=$tmp/nowhere"
bad "nbd://alice@localhost:$port/?tls-psk-file=$tmp/psk"
bad "nbds://alice@localhost:$port/?tls-psk-file=$tmp/psk&tls-verify-peer=0"
rm -f "$bitmap"
source_uri="nbds://alice@localhost:$port/?tls-psk-file=$tmp/psk"
start_clone file "$tmp/dst" clone-hydration=false clone-source-timeout=2
nbd "$clone_uri" '
h.pread(4096, 0)
wait_for(lambda: hydrated(0, 4096) == "yes", "reads are kept")
'
stop clone
stop source

note "no TLS"
rm "$tmp/source.log"
start_tls --tls=off
# A clone that had it goes on without this source.
start_clone file "$tmp/dst" clone-hydration=false clone-source-timeout=1
nbd "$clone_uri" '
expect("hydrated", bytes(h.pread(4096, 0)), content("src", 0, 4096))
expect("missing", error_of(h.pread, 4096, 1048576), "EIO")
'
stop clone
bad "nbds://alice@localhost:$port/?tls-psk-file=$tmp/psk"
bad "nbds://localhost:$port/?tls-certificates=$tmp/none"
bad "nbds://localhost:$port/"
test "$(log_count Read "$tmp/source.log")" -eq 0 ||
    fail "something was read in plain text"
good "nbd://localhost:$port/"
stop source

for secret in "$key" "$wrong_key" passw0rd; do
    ! grep -F "$secret" "$tmp"/clone.err "$tmp/all-refused.err" "$bitmap" ||
        fail "a secret can be seen"
done
