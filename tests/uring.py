"""For tests that give two servers the same requests and compare the answers;
see test-uring-like-file.sh."""

import random

from helpers import *

FUA, NO_HOLE = nbd.CMD_FLAG_FUA, nbd.CMD_FLAG_NO_HOLE


class Pair:
    """nbdkit's file plugin and ours, and what both of them must hold."""

    def __init__(self, initial):
        self.servers = [("file", connect(os.environ["file_uri"])),
                        ("uring", connect(os.environ["uring_uri"]))]
        self.expected = bytearray(initial)
        self.said = {}
        for _, h in self.servers:
            h.set_strict_mode(0)        # also what a server has to refuse

    def both(self, request, *args):
        """One request to each: the answer, which is the same."""
        answers = []
        for name, h in self.servers:
            try:
                answers.append(getattr(h, request)(*args))
            except nbd.Error as e:
                answers.append(errno.errorcode.get(e.errnum, e.errnum))
        what = "%s%r" % (request, tuple(
            len(a) if isinstance(a, bytes) else a for a in args))
        expect(what, answers[1], answers[0])
        return answers[1]

    def read(self, length, offset):
        got = self.both("pread", length, offset)
        if not isinstance(got, str):
            expect("pread(%d, %d)" % (length, offset), bytes(got),
                   bytes(self.expected[offset:offset + length]))
        return got

    def change(self, data, request, *args):
        """A request after which data is at its offset, which follows the
        length (or the data) in args."""
        error = self.both(request, *args)
        if error is None:
            self.expected[args[1]:args[1] + len(data)] = data
        return error

    def check_extents(self, offset, length):
        """What ours says is zero is zero.  (Where a hole is is up to the file
        system and its moods, so this cannot be compared.)"""
        for n, flags in extents(self.servers[1][1], offset, length):
            part = self.expected[offset:offset + n]
            assert not flags & ZERO or not any(part), \
                "hole over data at %d+%d" % (offset, n)
            offset += n

    def same_extents(self):
        """Of the whole disk, which is synced: exactly the same holes."""
        told = [extents(h) for _, h in self.servers]
        expect("extents", told[1], told[0])

    def close(self):
        for _, h in self.servers:
            h.shutdown()


def some_range(rng, size, align):
    """An offset and a length: any, or near where something begins and ends."""
    unit = rng.choice((1, 512, 4096, 65536))
    length = rng.choice((1, 511, 512, 513, 4096, 70000, 256 << 10, 1 << 20,
                         (1 << 20) + 1, 3 << 20, size))
    length = max(1, min(length + rng.choice((0, 0, 0, -1, 1, 512)), size))
    offset = rng.choice((rng.randrange(size), size - length, 0))
    offset -= offset % max(unit, align)
    length = min(length, size - offset)
    if align > 1:
        length = max(align, length - length % align)
    return offset, length


def random_requests(pair, seed, count, device=False):
    """The same requests to both.  nbdkit's own plugin refuses to zero a part of
    a device's sector, and does not trim one."""
    rng = random.Random(seed)
    size = len(pair.expected)
    for _ in range(count):
        kind = rng.choice(("read", "read", "write", "write", "zero", "trim",
                           "extents", "other"))
        fua = rng.choice((0, 0, FUA))
        offset, length = some_range(
            rng, size, 512 if device and kind in ("zero", "trim") else 1)
        if kind == "read":
            pair.read(length, offset)
        elif kind == "write":
            data = rng.randbytes(length)
            pair.change(data, "pwrite", data, offset, fua)
        elif kind == "zero":
            pair.change(bytes(length), "zero", length, offset,
                        fua | rng.choice((0, NO_HOLE)))
        elif kind == "trim":
            pair.change(bytes(length), "trim", length, offset, fua)
        elif kind == "extents":
            pair.check_extents(offset, length)
        else:
            pair.both("flush")
            pair.both("pread", length, size - length + 1)       # too far
            pair.both("pwrite", bytes(length), size - length + 1)
    for offset in range(0, size, MIB):
        pair.read(min(MIB, size - offset), offset)
