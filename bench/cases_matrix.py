"""Many loads on many disks: a cell is a load, what is hydrated, the delay at
the source, and whether the background copies.

Each is compared with what one would use instead: on a hydrated disk the plugin
alone; for writes to others the plugin alone on a new file; for reads of others
the nbd plugin, which keeps nothing; for a mix of both the cow filter with
cow-on-read above it.

Not every combination is there.  A hydrated disk has no use for its source or
for the background.  Whole regions are written without the source, so the delays
of 1 and 100 ms are for loads that read, and without the background, which is
left out there for the time it takes.  A half hydrated disk, and the background,
have the loads that differ most, at 0 and 20 ms (both together: at 20 ms).  The
plugin is always file, and sequential requests have one queue depth.
"""

import contextlib
import shutil

from case import Comparison
from cases_flush import PlainDisk
from loads import hydrate_range, requests_per_second
from servers import MIB, Clone, HydratedDisk, Server, run, source

ALL = ["randread-q1", "randread-q32", "randwrite-q1", "randwrite-q32",
       "mix-64k-q16", "seqread-1m-q4", "seqwrite-1m-q4", "fsync-32", "fua-q1"]
READS = ["randread-q1", "randread-q32", "seqread-1m-q4"]
MIXED = ["mix-64k-q16"]
SYNCED = ["fsync-32", "fua-q1"]
SOME = ["randread-q1", "randread-q32", "randwrite-q32", "mix-64k-q16",
        "seqread-1m-q4"]


def cells():
    """All that are measured: {name of the cell: (load, state, delay in ms,
    background)}."""
    chosen = [(load, "hydrated", 0, False) for load in ALL]
    for delay in 0, 20:
        chosen += [(load, "missing", delay, False) for load in ALL]
        chosen += [(load, "half", delay, False) for load in SOME]
        chosen += [(load, "missing", delay, True) for load in SOME + SYNCED]
    for delay in 1, 100:
        chosen += [(load, "missing", delay, False) for load in READS + MIXED]
    chosen += [(load, "half", 20, True) for load in SOME]
    return {"%s %s%s%s" % (load, state, " %dms" % delay
                           if state != "hydrated" else "",
                           " background" if background else ""):
            (load, state, delay, background)
            for load, state, delay, background in chosen}


def reference(load, state, delay, _):
    """The peer of a cell, which several may share."""
    if state == "hydrated":
        return "file hydrated: " + load
    if load in READS:
        return "nbd %dms: %s" % (delay, load)
    if load in MIXED:
        return "cow %dms: %s" % (delay, load)
    return "file: " + load


class HalfDisk:
    """Every other stripe is hydrated.  reset () makes it so again."""

    def __init__(self, bench):
        self.bench = bench
        self.destination = bench.file()
        self.master = bench.new_name("bm")
        self.bitmap = bench.new_name("bm")
        self.stripe = max(MIB, bench.size // 64)
        with source(bench) as src, \
                Clone(bench, src.uri, destination=self.destination,
                      bitmap=self.master, hydration="false") as c:
            for offset in range(0, bench.size, 2 * self.stripe):
                hydrate_range(c.uri, offset, self.stripe)
            bench.extra["hydrated in half, MiB"] = c.hydrated() / MIB
            # The name of the source is in the bitmap file, its place is not.

    def reset(self):
        shutil.copyfile(self.master, self.bitmap)
        for offset in range(self.stripe, self.bench.size, 2 * self.stripe):
            run("fallocate", "--punch-hole", "--offset", str(offset),
                "--length", str(self.stripe), self.destination)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bench.forget(self.destination, self.master, self.bitmap)


@contextlib.contextmanager
def smaller(bench):
    """Half a disk and half the time, since there are many cells."""
    before = bench.size, bench.seconds, bench.image
    bench.size = max(16 * MIB, bench.size // 2 // MIB * MIB)
    bench.seconds /= 2
    try:
        with bench.scratch("random") as bench.image:
            yield
    finally:
        bench.size, bench.seconds, bench.image = before


@contextlib.contextmanager
def prepare(bench):
    with smaller(bench), HydratedDisk(bench) as whole, \
            HalfDisk(bench) as half:

        def of_clone(load, state, delay, background):
            if state == "hydrated":
                with whole.serve("clone") as s:
                    return requests_per_second(bench, s.uri, load)
            more = {"hydration": "true" if background else "false"}
            if state == "half":
                half.reset()
                more.update(destination=half.destination, bitmap=half.bitmap)
            bench.warm()
            with source(bench, delay) as src, \
                    Clone(bench, src.uri, **more) as c:
                return requests_per_second(bench, c.uri, load, again=False)

        def of_peer(subject):
            peer, load = subject.split(": ")
            if peer == "file hydrated":
                with whole.serve("file") as s:
                    return requests_per_second(bench, s.uri, load)
            bench.warm()
            if peer == "file":
                with PlainDisk(bench, "file") as d:
                    return requests_per_second(bench, d.uri, load, again=False)
            delay = int(peer.split()[1][:-2])
            filters = ["--filter=cow"] if peer.startswith("cow") else []
            parameters = ["cow-on-read=true"] if filters else []
            with source(bench, delay) as src, \
                    Server(bench, *filters, "nbd", "uri=" + src.uri,
                           *parameters) as s:
                return requests_per_second(bench, s.uri, load, again=False)

        def measure(subject):
            if ": " in subject:
                return of_peer(subject)
            return of_clone(*CELLS[subject])

        yield measure


CELLS = cells()
PAIRS = [(name, reference(*cell), None) for name, cell in CELLS.items()]
# Neighbours are compared: each peer is measured just before its first cell.
SUBJECTS = list(dict.fromkeys(s for name, peer, _ in PAIRS
                              for s in (peer, name)))

CASES = {
    "matrix": Comparison("requests/s", SUBJECTS, prepare, pairs=PAIRS, runs=3,
                         quick=False),
}
