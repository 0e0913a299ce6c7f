#!/usr/bin/env bash
# nbdclone run refuses what would destroy something or cannot work, with one line
# that says what to do, and changes nothing.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 3000000
make_garbage "$tmp/full" 3000000
truncate -s 3000000 "$tmp/holes"
truncate -s 2999999 "$tmp/short"
mkdir "$tmp/dir"
start_source file "$tmp/src"
before=$(cd "$tmp" && ls; summary "$tmp/full"; summary "$tmp/holes")

refuse_run () { refuse "$1" "$2" run "${@:3}"; }

# Arguments.
refuse_run 2 'SOURCE-URI and DESTINATION are wanted'
refuse_run 2 'SOURCE-URI and DESTINATION are wanted' "$source_uri"
refuse_run 2 'clone-rate=1M: nothing more is wanted.*"--"' \
           "$source_uri" "$tmp/new" clone-rate=1M
refuse_run 2 'SOURCE-URI: not an NBD URI' "$tmp/src" "$tmp/new"
refuse_run 2 'SOURCE-URI: the query parameter "nonsense"' \
           "$source_uri&nonsense=1" "$tmp/new"
refuse_run 2 'nbds needs ca-cert.pem' "nbds+unix:///?socket=$tmp/source.sock" \
           "$tmp/new"
for size in 0 -1 1.5G 9E x 20GG; do
    refuse_run 2 "^nbdclone run: --size $size: allowed are" --size "$size" \
               "$source_uri" "$tmp/new"
done
for listen in '' 1.2.3.4:0 1.2.3.4:65536 1.2.3.4:x ::1:10809 '[::1]x:1' '[::1'
do
    refuse_run 2 "^nbdclone run: --listen .*: wanted is HOST:PORT" \
               --listen "$listen" "$source_uri" "$tmp/new"
done
refuse_run 2 '--socket and --listen: give one' --listen :1 --socket "$tmp/s" \
           "$source_uri" "$tmp/new"
refuse_run 2 '--name a/b: allowed are' --name a/b "$source_uri" "$tmp/new"
refuse_run 2 '--name \.x: allowed are' --name .x "$source_uri" "$tmp/new"
refuse_run 2 '--log is for --daemon' --log "$tmp/l" "$source_uri" "$tmp/new"
refuse_run 2 'the path of a socket has at most 107' \
           --socket "$tmp/$(printf %0100d 0)" "$source_uri" "$tmp/new"

# What could be neither recorded nor shown: not UTF-8, and a new line.
for bad in $'bad\xff' $'bad\nname'; do
    refuse_run 2 'DESTINATION .*bad.*has to be UTF-8' "$source_uri" "$tmp/$bad"
    refuse_run 2 '--bitmap .*bad.*has to be UTF-8' --bitmap "$tmp/$bad" \
               "$source_uri" "$tmp/new"
    refuse_run 2 '--socket .*bad.*has to be UTF-8' --socket "$tmp/$bad" \
               "$source_uri" "$tmp/new"
done

# The source.
refuse_run 3 'cannot connect \(connect: .*a new clone needs its source' \
           "nbd+unix:///?socket=$tmp/nobody" "$tmp/new"
refuse_run 1 '--size 2999999: the source .* has 3000000 bytes' \
           --size 2999999 "$source_uri" "$tmp/new"

# The destination.
refuse_run 1 'it has contents.*--overwrite' "$source_uri" "$tmp/full"
refuse_run 1 'it has 2999999 bytes, but the source .* has 3000000' \
           "$source_uri" "$tmp/short"
refuse_run 1 '--size 4000000: .* exists, and has 3000000 bytes' \
           --size 4000000 "$source_uri" "$tmp/holes"
refuse_run 1 'a file or a block device, and this is neither' \
           "$source_uri" "$tmp/dir"
refuse_run 1 'a file or a block device, and this is neither' \
           "$source_uri" /dev/null
refuse_run 1 'its directory: No such file' "$source_uri" "$tmp/none/new"
refuse_run 1 'there is something that is not a socket' --socket "$tmp/full" \
           "$source_uri" "$tmp/new"
python -c 'import signal, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
signal.pause()' "$tmp/datagrams" &
other=$!
daemons+=("$other")
wait_until test -S "$tmp/datagrams"
refuse_run 1 'datagrams: something else uses it' --socket "$tmp/datagrams" \
           "$source_uri" "$tmp/new"
kill $other
rm "$tmp/datagrams"
refuse_run 1 'another server listens there' --socket "$tmp/source.sock" \
           "$source_uri" "$tmp/new"

# What nbdkit refuses leaves nothing behind either.
refuse_run 1 'clone-batch=x: allowed are' "$source_uri" "$tmp/new" -- \
           clone-batch=x
NBDKIT=$tmp/none refuse_run 1 'there is no such program; install nbdkit' \
      "$source_uri" "$tmp/new"

rm "$tmp"/refused.* "$tmp"/all-refused.err
rmdir "$tmp/nbdclone"
test "$(cd "$tmp" && ls; summary "$tmp/full"; summary "$tmp/holes")" = \
     "$before" || fail "something was changed: $(ls "$tmp")"
