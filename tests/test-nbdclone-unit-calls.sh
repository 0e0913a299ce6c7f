#!/usr/bin/env bash
# What nbdclone run and its nbdkit ask of the kernel, the service's filter of
# system calls allows, and the families of its sockets, too.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 3000000
start_source file "$tmp/src"
XDG_RUNTIME_DIR=$tmp strace -f -qq -o "$tmp/calls" "$NBDCLONE" run \
    --exit-when-complete --prealloc "$source_uri" "$tmp/vm" \
    >"$tmp/run.out" 2>"$tmp/run.err" || fail "$(cat "$tmp/run.err")"

python -c '
import subprocess
from helpers import *

def members(group):
    """The calls in a group, as systemd has it."""
    lines = subprocess.run(["systemd-analyze", "syscall-filter", group],
                           stdout=subprocess.PIPE, text=True,
                           check=True).stdout.split("\n")[1:]
    names = [l.strip() for l in lines if l.strip() and "#" not in l]
    return set().union(*(members(n) if n[0] == "@" else {n} for n in names))

unit = open(sys.argv[1]).read()
allowed = members("@default")           # always
for line in re.findall("^SystemCallFilter=(.*)$", unit, re.M):
    groups = set().union(*(members(g) for g in line.strip("~").split()))
    allowed = allowed - groups if line[0] == "~" else allowed | groups
calls = content("calls").decode()
used = set(re.findall(r"^\d+ +(\w+)\(", calls, re.M))
assert {"socket", "fallocate", "execve"} <= used, used
expect("not allowed", used - allowed, set())
families = re.search("^RestrictAddressFamilies=(.*)$", unit, re.M)[1].split()
expect("families", set(re.findall(r"socket\((\w+)", calls)) - set(families),
       set())
' "$abs_top_builddir/tools/nbdclone@.service"
