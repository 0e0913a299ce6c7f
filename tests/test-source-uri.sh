#!/usr/bin/env bash
# The source's URI: an export name and a socket's path with %XX in them, a path
# that is relative, a server that is somebody's.  What libnbd would not
# understand is refused.  A password in it is never shown.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

mkdir "$tmp/a dir"
make_random "$tmp/src" 65536
make_garbage "$tmp/dst" 65536
start_source --filter=log --filter=exportname file "$tmp/src" \
    logfile="$tmp/source.log" exportname-strict=true \
    exportname='one & two'
mv "$tmp/source.sock" "$tmp/a dir/50%.sock"

for uri in "one%20%26%20two?socket=$tmp/a%20dir/50%25.sock" \
           "one%20&%20two?socket=$tmp/a%20dir/50%.sock"; do
    rm -f "$bitmap"
    source_uri="nbd+unix://user@/$uri"
    start_clone file "$tmp/dst"
    wait_hydrated
    stop clone
    expect_same "$tmp/dst" "$tmp/src"
done
# The name is the same, however it is written.
source_uri="nbd+unix:///one%20%26%20tw%6f?socket=$tmp/a%20dir/50%25.sock"
start_clone file "$tmp/dst"
stop clone
source_uri="nbd+unix:///another?socket=$tmp/a%20dir/50%25.sock"
refuse_clone '"one & two".*"another"' file "$tmp/dst"

bitmap=$tmp/new
long=$(printf 'x%.0s' {1..4097})
source_uri="nbd+unix:///$long?socket=$tmp/a%20dir/50%25.sock"
refuse_clone 'longer than 4096' file "$tmp/dst"
source_uri="nbd+unix://user@/none?socket=$tmp/a%20dir/50%25.sock"
refuse_clone 'cannot connect' file "$tmp/dst"
source_uri="nbd+unix://user@/x?socket=$tmp/a%20dir/none"
refuse_clone 'a%20dir/none: cannot connect' file "$tmp/dst"
for uri in nbd://localhost:1 nbds://localhost:1/x; do
    source_uri=$uri
    refuse_clone 'localhost:1.*: cannot connect' file "$tmp/dst"
done
# What is no %XX is taken as it is; empty parameters are none.
source_uri="nbd+unix:///x?&&socket=$tmp/a%zz%00%2&"
refuse_clone 'a%25zz%2500%252: cannot connect' file "$tmp/dst"
for query in "socket" "socket=" "=$tmp"; do
    source_uri="nbd+unix:///x?$query"
    refuse_clone . file "$tmp/dst"
done

# A password is not for a URI, and not for the log; nor is a user, not even when
# libnbd complains about the URI as a whole.
for user in user:secret user%3asecret; do
    source_uri="nbd+unix://$user@/x?socket=$tmp/a%20dir/none"
    refuse_clone 'clone-source' file "$tmp/dst"
done
for uri in 'nbd://secret@[::1/x' 'nbd://secret@localhost:1/x#y'; do
    source_uri=$uri
    refuse_clone 'clone-source=.*: cannot connect' file "$tmp/dst"
done
! grep -h secret "$tmp"/*.err || fail "a password was shown"
test ! -e "$bitmap" || fail "a bitmap file was made"
