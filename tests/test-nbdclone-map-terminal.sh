#!/usr/bin/env bash
# nbdclone map on a terminal: as wide as that, with UTF-8 and colours where there
# are such; and without, on a dumb one, where the locale has none, and for a
# program.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 1048576
make_garbage "$tmp/dst" 67108864
truncate -s 67108864 "$tmp/src"
start_source file "$tmp/src"
start_clone file "$tmp/dst" clone-hydration=false
nbd "$clone_uri" 'h.pwrite(b"x" * 20 * MIB, 0)'
stop clone
nbdclone map "$bitmap" >"$tmp/program"
python -c '
import fcntl, pty, struct, subprocess, termios
from helpers import *

def on_terminal(columns, *arguments, **environment):
    """What it prints on a terminal of that width."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("LC_ALL", "TERM")}
    env.update(environment)
    with subprocess.Popen([os.environ["NBDCLONE"], "map", *arguments,
                           TMP + "/bitmap"], stdout=slave, env=env) as p:
        os.close(slave)
        said = b""
        try:
            while data := os.read(master, 65536):
                said += data
        except OSError:                 # EIO is its end
            pass
    os.close(master)
    expect("exit status", p.returncode, 0)
    return said.decode()

def plain(text):
    return re.sub("\033\\[[0-9;]*[mK]", "", text).replace("\r", "").splitlines()

utf8 = dict(TERM="xterm", LC_ALL="C.UTF-8")
for columns in (60, 80, 200):
    said = on_terminal(columns, **utf8)
    lines = plain(said)
    expect("lines", len(lines), 19)
    expect("as wide as it may be", max(map(len, lines)), columns - 1)
    for mark in ("█", "·", "\033[0;32m", "\033[0;2m"):
        assert mark in said, (columns, mark, said)
    assert said.rstrip().endswith("KiB"), said
    dumb = on_terminal(columns, TERM="dumb", LC_ALL="C.UTF-8")
    assert dumb.isascii() and "\033" not in dumb and "###" in dumb, dumb
    expect("as wide", max(map(len, plain(dumb))), columns - 1)
ascii = on_terminal(80, TERM="xterm", LC_ALL="C")
assert ascii.isascii() and "\033[0;32m" in ascii, ascii
assert "\033" not in on_terminal(80, NO_COLOR="1", **utf8)
wide = plain(on_terminal(80, "--width", "100", **utf8))
expect("--width", max(map(len, wide)), 99)
expect("--ascii", plain(on_terminal(80, "--ascii", **utf8)),
       content("program").decode().splitlines())
'
