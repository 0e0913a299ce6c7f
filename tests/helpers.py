"""What the tests' Python code has at hand; see nbd () in functions.sh."""

import errno
import json
import os
import re
import resource
import signal
import socket
import struct
import sys
import time

import nbd

TMP = os.environ["tmp"]
CLONE = os.environ["clone_uri"]
MAP = os.environ["map_uri"]
SOURCE = os.environ["source_uri"]
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BOUND = int(os.environ["bound"])         # seconds
HOLE, ZERO = 1, 2


def extents(h, offset=None, length=None):
    """The extents of a range as [(length, flags)], neighbours joined.

    Asks again from where an answer ended, as every client has to, and fails
    if an answer says something about bytes that nobody asked for.
    """
    if offset is None:
        offset, length = 0, h.get_size()
    result = []
    while length > 0:
        count = min(length, 0xfffff000)
        answer = []

        def add(context, start, entries, error):
            if context == nbd.CONTEXT_BASE_ALLOCATION:
                answer.extend(zip(entries[::2], entries[1::2]))
        h.block_status(count, offset, add)
        told = sum(n for n, _ in answer)
        assert 0 < told <= count, \
            "asked for %d bytes at %d, told of %d" % (count, offset, told)
        for n, flags in answer:
            if result and result[-1][1] == flags:
                result[-1] = (result[-1][0] + n, flags)
            else:
                result.append((n, flags))
        offset += told
        length -= told
    return result


def content(name, offset=0, length=-1):
    """Bytes of a file in the test's directory."""
    with open(os.path.join(TMP, name), "rb") as f:
        f.seek(offset)
        return f.read(length)


def fill(name):
    """Make a file that takes all the space that its file system has left."""
    with open(os.path.join(TMP, name), "wb", buffering=0) as f:
        while True:
            try:
                f.write(bytes(4096))
            except OSError as e:
                assert e.errno == errno.ENOSPC, e
                return


def limit_file_size(pid, size):
    """From now on no file may grow beyond this by a process' writes."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE,
                     (size, resource.RLIM_INFINITY))


def logged(name):
    """The requests in a file of nbdkit's log filter: [(kind, offset, count)];
    only of the kind is there something to be said of a Flush."""
    result = []
    for line in content(name).decode().splitlines():
        m = re.search(r" ([A-Z][a-z]+) id=\d+ (?:offset=(\w+) count=(\w+) )?"
                      r".*\.\.\.$", line)
        if m:
            kind, offset, count = m.groups()
            result.append((kind, int(offset or "0", 0), int(count or "0", 0)))
    return result


def pread(h, length, offset):
    """A read of any length: libnbd's own limit is 64 MiB."""
    parts = []
    while length > 0:
        n = min(length, 32 * MIB)
        parts.append(h.pread(n, offset))
        offset += n
        length -= n
    return b"".join(parts)


def connect(uri=CLONE):
    """One more client."""
    h = nbd.NBD()
    h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.connect_uri(uri)
    return h


def hydrated(offset, length):
    """What the map export says of a range: "yes", "no" or "partly"."""
    h = connect(MAP)
    flags = {f for _, f in extents(h, offset, length)}
    h.shutdown()
    assert flags <= {0, HOLE | ZERO}, "odd flags in the map: %s" % flags
    return "partly" if len(flags) == 2 else "no" if flags != {0} else "yes"


def error_of(function, *args, **kwargs):
    """The name of the error that a call ends with, e.g. "EIO"; None if none."""
    try:
        function(*args, **kwargs)
    except nbd.Error as e:
        return errno.errorcode.get(e.errnum, str(e.errnum))
    return None


def expect(what, got, wanted):
    """Fail with a message that has both values (shortened)."""
    if got != wanted:
        if isinstance(got, (bytes, bytearray)) and len(got) == len(wanted):
            at = next(i for i in range(len(got)) if got[i] != wanted[i])
            raise AssertionError("%s: at byte %d there is %s, not %s" % (
                what, at, bytes(got[at:at + 16]).hex(),
                bytes(wanted[at:at + 16]).hex()))
        raise AssertionError("%s: %r, not %r" % (what, got, wanted))


def wait_for(condition, what, seconds=BOUND):
    """Wait until condition () is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "still not true: " + what
        time.sleep(0.02)


def run_async(h, issue, seconds=BOUND):
    """Issue asynchronous commands with issue (), a list of cookies, and wait
    until all of them have been answered."""
    for cookie in issue():
        finish(h, cookie, seconds)


def finish(h, cookie, seconds=BOUND):
    """Wait for the answer to one asynchronous command; raises its error."""
    end = time.monotonic() + seconds
    while not h.aio_command_completed(cookie):
        assert time.monotonic() < end, "command not answered"
        h.poll(100)


def thread_states(pid):
    """The set of the states of a process's threads, as ps(1) has them."""
    states = set()
    for task in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/stat" % (pid, task)) as f:
                states.add(f.read().rpartition(")")[2].split()[0])
        except FileNotFoundError:
            pass                        # it has just ended
    return states


def freeze(pid):
    """SIGSTOP, and wait until it has reached all threads."""
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: thread_states(pid) == {"T"},
             "process %d is stopped" % pid)


def let_settle(pid):
    """Wait until all that a server has received is waiting for something."""
    wait_for(lambda: thread_states(pid) == {"S"}, "all threads wait")


def tell_proxy(*words):
    """Steer the line to the source; see proxy.py.  It has taken effect when
    this returns: what "status" says, else nothing."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(BOUND)
    s.connect(TMP + "/line.sock")
    with s, s.makefile("rw") as f:
        f.write(" ".join(str(word) for word in words) + "\n")
        f.flush()
        answer = f.readline().strip()
    if words[0] == "status":
        return json.loads(answer)
    expect("the proxy's answer to %s" % (words,), answer, "ok")
    return None


def events():
    """What order-filter.c has recorded:
    [(number, operation, "begin" or "end", offset, count, fua, error)]."""
    result = []
    for line in content("order/log").decode().splitlines():
        w = line.split()
        result.append((int(w[0]), w[1], w[2]) + tuple(int(x) for x in w[3:]))
    return result


def bits_of(data):
    """The regions whose bit is set in any slot of a bitmap file; see
    nbdclone-bitmap(5)."""
    regions = set()
    for at in range(16384, len(data), 4096):
        bits = data[at + 64:at + 4096]
        if any(bits):
            first = (at - 16384) // 8192 * 32256
            regions |= {first + k for k in range(8 * len(bits))
                        if bits[k // 8] >> k % 8 & 1}
    return regions


def bit_on_disk(region):
    return region in bits_of(content("bitmap"))


def check_order(region_size, size):
    """P3: each bit in each copy of the bitmap file belongs to a region that was
    wholly written before a flush began that had succeeded by then."""
    written = bytearray(size)
    complete = set()            # regions, wholly written
    flushing = []               # what was complete when a flush began
    durable = set()
    for number, operation, what, offset, count, _, error in events():
        bits = bits_of(content("order/%d" % number))
        assert bits <= durable, "event %d: bits %s are in the bitmap file" \
            " before a flush has covered them" % (number,
                                                  sorted(bits - durable))
        if operation == "flush":
            if what == "begin":
                flushing.append(set(complete))
            else:
                # Of flushes that overlap, any may have ended: take the one
                # that began last, which allows the most.
                covered = flushing.pop()
                if error == 0:
                    durable |= covered
        elif what == "end" and error == 0:
            written[offset:offset + count] = b"x" * count
            for region in range(offset // region_size,
                                -(-(offset + count) // region_size)):
                if 0 not in written[region * region_size:
                                    (region + 1) * region_size]:
                    complete.add(region)


def bytes_hydrated():
    """How much the map export says is hydrated."""
    h = connect(MAP)
    total = sum(n for n, flags in extents(h) if flags == 0)
    h.shutdown()
    return total


class Control:
    """A client of the control socket; "with Control() as c"."""

    def __init__(self, name="control.sock"):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(BOUND)
        self.socket.connect(os.path.join(TMP, name))
        self.lines = self.socket.makefile("r", encoding="utf-8")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.lines.close()
        self.socket.close()

    def peer(self):
        """The process that listens."""
        return struct.unpack("3i", self.socket.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    def send(self, text):
        """Anything, as a line."""
        if isinstance(text, str):
            text = text.encode()
        self.socket.sendall(text + b"\n")

    def receive(self):
        """The next line that comes; None if it has been hung up."""
        line = self.lines.readline()
        return json.loads(line) if line else None

    def begin(self, execute, **arguments):
        """Ask, but don't wait for the answer."""
        self.send(json.dumps({
            "execute": execute,
            "arguments": {k.replace("_", "-"): v
                          for k, v in arguments.items()}}))

    def ask(self, execute, **arguments):
        """What a command returns, e.g. ask("set", commit_interval=0.5);
        events that come before are left out."""
        self.begin(execute, **arguments)
        while True:
            answer = self.receive()
            if "event" not in answer:
                break
        assert "return" in answer, answer
        return answer["return"]

    def refused(self, execute, **arguments):
        """The class of the error that a command ends with."""
        self.begin(execute, **arguments)
        answer = self.receive()
        assert set(answer) == {"error"} and answer["error"]["desc"], answer
        return answer["error"]["class"]

    def event(self, name):
        """Wait for an event; its data."""
        while True:
            line = self.receive()
            assert line is not None, "hung up before the event " + name
            if line.get("event") == name:
                return line["data"]
