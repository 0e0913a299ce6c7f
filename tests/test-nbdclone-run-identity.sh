#!/usr/bin/env bash
# nbdclone run records which destination a bitmap file belongs to, and refuses
# another one: a copy in its place, a file of another name, none at all.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 3000000
start_source file "$tmp/src"
nbdclone run --exit-when-complete "$source_uri" "$tmp/disk" >/dev/null
test "$(stat -c '%i' "$tmp/disk")" = \
     "$(sed -n 's/^ *"inode": *\([0-9]*\),*$/\1/p' "$tmp/disk.nbdclone.id")" ||
    fail "the inode is not recorded"

# Another file of that name, which has never held what the bitmap says.
mv "$tmp/disk" "$tmp/moved"
make_garbage "$tmp/disk" 3000000
before=$(summary "$tmp/disk"; cat "$tmp/disk.nbdclone.id")
refuse 1 "belongs to $tmp/disk .*, and not to $tmp/disk .*--moved" \
       run "$source_uri" "$tmp/disk"
refuse 1 "belongs to $tmp/disk .*, and not to $tmp/other" \
       run --bitmap "$tmp/disk.nbdclone" "$source_uri" \
       "$(cp "$tmp/disk" "$tmp/other"; echo "$tmp/other")"
test "$(summary "$tmp/disk"; cat "$tmp/disk.nbdclone.id")" = "$before" ||
    fail "something was changed"
rm "$tmp/disk"
refuse 1 "this is not there, but its bitmap file .* is" \
       run "$source_uri" "$tmp/disk"

# The destination itself, under another name, is the right one.
nbdclone run --exit-when-complete --bitmap "$tmp/disk.nbdclone" "$source_uri" \
         "$tmp/moved" >"$tmp/out"
grep -q '^complete.* 0 B fetched' "$tmp/out" || fail "not the same any more"

# Whoever says so may use a copy of both.
cp "$tmp/moved" "$tmp/copy"
cp "$tmp/disk.nbdclone" "$tmp/copy.nbdclone"
cp "$tmp/disk.nbdclone.id" "$tmp/copy.nbdclone.id"
refuse 1 "belongs to" run "$source_uri" "$tmp/copy"
nbdclone run --exit-when-complete --moved "$source_uri" "$tmp/copy" >/dev/null
nbdclone run --exit-when-complete "$source_uri" "$tmp/copy" >/dev/null
expect_same "$tmp/src" "$tmp/copy"

# In the same boot another device is another destination.  After a reboot devices
# may have other numbers: then the file is known by its inode and the moment when
# it was made, if the file system has that.
id=$tmp/copy.nbdclone.id
sed -i 's/"device": "[^"]*"/"device": "0:0"/' "$id"
refuse 1 "belongs to $tmp/copy .device 0:0," run "$source_uri" "$tmp/copy"
sed -i 's/"boot": "[^"]*"/"boot": "another one"/' "$id"
if test "$(stat -c %W "$tmp/copy")" -gt 0; then
    nbdclone run --exit-when-complete "$source_uri" "$tmp/copy" >/dev/null
    grep -q "$(cat /proc/sys/kernel/random/boot_id)" "$id" || fail "not renewed"
    sed -i 's/"boot": "[^"]*"/"boot": "another one"/; s/"born": "/&1/' "$id"
fi
refuse 1 "belongs to $tmp/copy" run "$source_uri" "$tmp/copy"

# A record that cannot be read is not taken for none.
echo '{"device":' >"$id"
refuse 1 'no record of a destination' run "$source_uri" "$tmp/copy"

# Nor is no record at all a permission: nothing says what the bitmap belongs to.
rm "$id"
refuse 1 "is not there, so nothing says" run "$source_uri" "$tmp/copy"
nbdclone run --exit-when-complete --moved "$source_uri" "$tmp/copy" >/dev/null
nbdclone run --exit-when-complete "$source_uri" "$tmp/copy" >/dev/null

# What follows "--" cannot name another destination than the one that was looked
# at.
make_garbage "$tmp/victim" 3000000
before=$(summary "$tmp/victim")
nbdclone run --exit-when-complete "$source_uri" "$tmp/new" -- \
         "file=$tmp/victim" >/dev/null
test "$(summary "$tmp/victim")" = "$before" || fail "it was written to"
expect_same "$tmp/src" "$tmp/new"
