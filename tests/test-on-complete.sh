#!/usr/bin/env bash
# clone-on-complete is run when the clone is complete and committed, not before,
# and again, with pauses and a line in the log, until it has exited with 0; after
# that never more.  It gets an environment, and none of nbdkit's files.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

order=$abs_top_builddir/tests/.libs/order-filter.so
make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 1048576
mkdir "$tmp/order"
start_source file "$tmp/src"
cat >"$tmp/command" <<END
env | sort | grep NBDCLONE_ >"$tmp/env.\$NBDCLONE_ATTEMPT"
readlink /proc/self/fd/[0-9]* | grep -v '^/proc/' >"$tmp/files"
cp "$bitmap" "$tmp/bitmap.then"
echo "what it says"
case \$NBDCLONE_ATTEMPT in
    1) exit 3 ;;
    2) kill -9 \$\$ ;;
esac
END
command="clone-on-complete=exec sh $tmp/command"
ran () { test -e "$tmp/env.$1"; }

# All is hydrated, but the commit hangs.
touch "$tmp/order/hold-flush"
start_clone --filter="$order" file "$tmp/dst" order-dir="$tmp/order" \
            order-bitmap="$bitmap" clone-control="$tmp/control.sock" "$command"
nbd "$clone_uri" '
c, listener = Control(), Control()
listener.ask("events")
wait_for(lambda: c.ask("status")["hydrated"] == 256, "hydrated")
wait_for(lambda: events()[-1][1:3] == ("flush", "begin"), "the flush has begun")
expect("state", c.ask("status")["state"], "hydrating")
expect("run", os.path.exists(TMP + "/env.1"), False)
os.unlink(TMP + "/order/hold-flush")
listener.event("complete")
expect("committed", len(bits_of(content("bitmap"))), 256)
'
wait_until ran 3
stop clone
grep -q 'clone-on-complete: exit status 3; trying again in 1 s' \
    "$tmp/clone.err" || fail "no word of the first failure"
grep -q 'clone-on-complete: ended by signal 9; trying again in 2 s' \
    "$tmp/clone.err" || fail "no word of the second one"
grep -q 'what it says' "$tmp/clone.err" || fail "its output is lost"
python -c 'from helpers import *
expect("committed", len(bits_of(content("bitmap.then"))), 256)'
diff - "$tmp/env.3" <<END
NBDCLONE_ATTEMPT=3
NBDCLONE_BITMAP=$bitmap
NBDCLONE_CONTROL=$tmp/control.sock
NBDCLONE_PID=$(cut -d= -f2 <(grep PID "$tmp/env.1"))
NBDCLONE_SIZE=1048576
NBDCLONE_SOURCE=$source_uri
NBDCLONE_SOURCE_SIZE=1048576
END
! grep -E "dst|bitmap|sock|anon|order" "$tmp/files" || fail "it has got files"

rm "$tmp"/env.*
start_clone file "$tmp/dst" "$command"
nbd "$clone_uri" 'h.pread(1, 0)'
stop clone
! ran 1 || fail "it was run again"
refuse_clone 'clone-on-complete: a command' file "$tmp/dst" clone-on-complete=
