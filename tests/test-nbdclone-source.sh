#!/usr/bin/env bash
# nbdclone source goes on with another server of the same disk, also one whose
# socket is given by a relative path; what the server refuses it says.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 8388608
make_random "$tmp/larger" 8392704
start_source file "$tmp/src"
start_run "$source_uri" "$tmp/vm" -- clone-rate=1M
start_nbdkit second -t 1 file "$tmp/src"
start_nbdkit larger -t 1 file "$tmp/larger"

refuse 2 'SOURCE-URI: not an NBD URI' source vm somewhere
refuse 2 'INSTANCE and SOURCE-URI are wanted' source vm
refuse 1 'the server says: ' source vm "nbd+unix:///?socket=$tmp/larger.sock"
(cd "$tmp" && nbdclone source vm 'nbd+unix:///?socket=second.sock')
nbdclone status vm | grep -q "source  *nbd+unix:.*$tmp/second.sock" ||
    fail "$(nbdclone status vm)"
stop source
nbdclone set vm rate=0
nbdclone wait vm >/dev/null
stop run
expect_same "$tmp/src" "$tmp/vm"
