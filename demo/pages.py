#!/usr/bin/python3
# nbdclone: a stand-in for a database, for the demo.
#
# SPDX-License-Identifier: BSD-3-Clause
#
# pages.py write|check TARGET BLOCKS SEED COUNT
#
# Write COUNT pages of 4096 bytes one after the other to places that SEED
# decides, among the blocks whose numbers are in the file BLOCKS, and flush; or
# check that they are there.  TARGET is an NBD URI or a file.

import hashlib
import os
import random
import sys
import time

PAGE = 4096


class File:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR)

    def pread(self, length, offset):
        return os.pread(self.fd, length, offset)

    def pwrite(self, data, offset):
        os.pwrite(self.fd, data, offset)

    def flush(self):
        os.fsync(self.fd)


def connect(target):
    if "://" not in target:
        return File(target)
    import nbd
    h = nbd.NBD()
    h.connect_uri(target)
    return h


def pages(blocks, seed, count):
    """Where each page goes, and what it holds."""
    rng = random.Random(seed)
    for i in range(count):
        mark = hashlib.sha256(f"{seed} {i}".encode()).digest()
        yield rng.choice(blocks) * PAGE, mark * (PAGE // len(mark))


def write(target, wanted):
    slowest = 0
    began = time.monotonic()
    for offset, data in wanted:
        before = time.monotonic()
        target.pwrite(data, offset)
        slowest = max(slowest, time.monotonic() - before)
    target.flush()
    print("%d pages written and flushed in %.2f s, the slowest took %.1f ms"
          % (len(wanted), time.monotonic() - began, slowest * 1000))


def check(target, wanted):
    # What was written twice holds what came last.
    newest = dict(wanted)
    for offset, data in newest.items():
        if target.pread(PAGE, offset) != data:
            sys.exit("the page at offset %d is not what was written" % offset)
    print("%d pages read back, all as they were written" % len(newest))


def main():
    verb, target, blocks, seed, count = sys.argv[1:]
    with open(blocks) as f:
        numbers = [int(word) for word in f.read().split()]
    wanted = list(pages(numbers, int(seed), int(count)))
    {"write": write, "check": check}[verb](connect(target), wanted)


main()
