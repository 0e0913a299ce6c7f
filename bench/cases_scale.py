"""What size costs: of a disk, and of a crowd of clones.

Disks are served from a tmpfs, which takes files of any size and syncs at once,
so that what is seen is the filter's share; the bitmap files are where the other
disks are.  The source is nbdkit's null plugin, all of it one hole: a sweep over
it sets bits and commits them, and copies nothing.
"""

import contextlib
import itertools
import os
import time

from case import Survey
from loads import (connect, flush_latency, hydrate_range, lasts, random_places,
                   trim_range)
from servers import GIB, KIB, MIB, TIB, Clone, Failed, Server, run

TMPFS = "/dev/shm"
SIZES = {"1 GiB": GIB, "64 GiB": 64 * GIB, "1 TiB": TIB, "16 TiB": 16 * TIB,
         "256 TiB": 256 * TIB, "1 PiB": 1024 * TIB}
# Half of a bitmap is really written: 64 MiB for 2^30 regions.  Larger
# disks have larger regions then; 16 TiB of 4 KiB regions is a case of its own.
MOST_REGIONS = 1 << 30
HOT = 16 * MIB                          # hydrated in every disk


class LargeDisk:
    """A clone of nothing, of any size."""

    def __init__(self, bench, size, region):
        self.bench = bench
        self.size = size
        self.region = region
        self.stack = contextlib.ExitStack()
        try:
            self.destination = self.stack.enter_context(
                bench.scratch(size=size, directory=TMPFS))
            self.source = self.stack.enter_context(
                Server(bench, "null", "size=%d" % size))
        except BaseException:
            self.stack.close()
            raise
        self.bitmaps = {}
        self.swept = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()
        self.bench.forget(*self.bitmaps.values())

    def clone(self, bitmap, **options):
        options.setdefault("hydration", "false")
        return Clone(self.bench, self.source.uri, destination=self.destination,
                     bitmap=bitmap, region_size=self.region, **options)

    def sweep(self, complete=True):
        """Makes the bitmap files of a disk that is half hydrated, in the order
        of the sweep ("half"), of one whose server was killed then ("killed"),
        and of a complete one; and sees what memory that took."""
        bitmap = self.bench.new_name("bm")
        self.bitmaps["half"] = bitmap
        with self.clone(bitmap) as c:
            if self.size <= 64 * GIB:
                # The sweep would be done before it can be stopped.
                trim_range(c.uri, 0, self.size // 2)
            else:
                c.ask("resume")
                while c.hydrated() < self.size // 2:
                    time.sleep(0.002)
                c.ask("pause")
            c.ask("flush")
            self.swept["half"] = c.server.memory()
            if complete:
                # It does not change now, but has no mark of a clean end.
                self.copy(bitmap, "killed")
        if complete:
            bitmap = self.copy(bitmap, "complete")
            with self.clone(bitmap, hydration="true") as c:
                c.wait_complete()
                self.swept["complete"] = c.server.memory()

    def copy(self, bitmap, state):
        self.bitmaps[state] = self.bench.new_name("bm")
        run("cp", "--sparse=always", bitmap, self.bitmaps[state])
        return self.bitmaps[state]

    def look(self, state):
        """The figures of a start in that state."""
        bitmap = self.bench.new_name("bm")
        if state != "new":
            run("cp", "--sparse=always", self.bitmaps[state], bitmap)
        try:
            os.sync()
            begin = time.monotonic()
            with self.clone(bitmap) as c:
                h = connect(c.uri)
                h.pread(4096, 0)
                first_byte = time.monotonic() - begin
                h.shutdown()
                memory = c.server.memory()
                if state == "new":
                    hydrate_range(c.uri, 0, HOT)
                figures = {
                    "start, s": first_byte,
                    "flush, us": self.flush(c, random_places(HOT)),
                    "resident, MiB": memory / MIB,
                    "most, MiB": c.server.memory("VmHWM") / MIB,
                }
                if state != "complete":
                    # From the end, where the sweep has not been: each write
                    # makes a region hydrated, so each flush is a commit.
                    figures["flush+commit, us"] = self.flush(
                        c, itertools.count(self.size - self.region,
                                           -self.region))
            figures["bitmap, MiB"] = os.stat(bitmap).st_size / MIB
            figures["on disk, MiB"] = os.stat(bitmap).st_blocks * 512 / MIB
            return figures
        finally:
            self.bench.forget(bitmap)

    def flush(self, clone, places):
        return flush_latency(clone.uri, places, lasts(self.bench.seconds / 4))


COLUMNS = ["start, s", "resident, MiB", "most, MiB", "flush, us",
           "flush+commit, us", "bitmap, MiB", "on disk, MiB"]


@contextlib.contextmanager
def largest_usual(bench):
    """16 TiB of 4 KiB regions, next to 1 GiB."""
    with LargeDisk(bench, 16 * TIB, 4096) as large, \
            LargeDisk(bench, GIB, 4096) as small:
        large.sweep()
        small.sweep()
        disks = {"16 TiB": large, "1 GiB": small}

        def measure(subject):
            size, state = subject.split(", ")
            if state.endswith(" swept"):
                return {"resident, MiB": disks[size].swept[state[:-6]] / MIB}
            return disks[size].look(state)
        yield measure


def value(subject, column):
    return lambda medians: medians[subject][column]


def ratio(of, to, column):
    return lambda medians: medians[of][column] / medians[to][column]


def disk_sizes(resumed):
    """New disks have regions of 4 KiB, whatever their size."""

    @contextlib.contextmanager
    def prepare(bench):
        def measure(subject):
            size = SIZES[subject]
            region = 4096
            while resumed and size // region > MOST_REGIONS:
                region *= 2
            with LargeDisk(bench, size, region) as disk:
                if resumed:
                    disk.sweep(complete=False)
                figures = disk.look("half" if resumed else "new")
            figures["region, KiB"] = region / KIB
            return figures
        yield measure
    return prepare


class Counted:
    """A source that counts what it is asked for."""

    def __init__(self, bench, *arguments):
        self.bench = bench
        self.log = bench.new_name("requests")
        self.server = Server(bench, "--filter=log", *arguments,
                             "logfile=" + self.log)
        self.uri = self.server.uri

    def figures(self):
        """Reads, and their bytes in units of MiB."""
        reads = total = 0
        with open(self.log) as f:
            for line in f:
                if " Read id=" in line and line.rstrip().endswith("..."):
                    reads += 1
                    total += int(line.split("count=")[1].split()[0], 0)
        return {"reads at the root": reads, "MiB from the root": total / MIB}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.server.__exit__()
        finally:
            self.bench.forget(self.log)


def part(bench):
    """Disks of a crowd are small, so that all of them have room."""
    return min(64 * MIB, bench.size)


@contextlib.contextmanager
def crowd(bench):
    """Many clones of one source, all at once."""

    def memory(clones):
        return sum(c.server.memory("Pss") for c in clones) / len(clones) / MIB

    def measure(subject):
        count = int(subject.split()[0])
        size = part(bench)
        with contextlib.ExitStack() as stack:
            image = stack.enter_context(bench.scratch("random", size=size))
            src = stack.enter_context(Counted(bench, "file", image))
            clones = [stack.enter_context(
                Clone(bench, src.uri, size=size, hydration="false"))
                for _ in range(count)]
            figures = {"new, MiB each": memory(clones)}
            begin = time.monotonic()
            for c in clones:
                c.ask("resume")
            while sum(c.hydrated() for c in clones) < count * size / 2:
                time.sleep(0.01)
            figures["half, MiB each"] = memory(clones)
            for c in clones:
                c.wait_complete()
            figures["all complete, s"] = time.monotonic() - begin
            figures["complete, MiB each"] = memory(clones)
            figures.update(src.figures())
            return figures
    yield measure


@contextlib.contextmanager
def tree(bench):
    """Two clones, of the root or of a clone of the root."""

    def measure(subject):
        size = part(bench)
        with contextlib.ExitStack() as stack:
            image = stack.enter_context(bench.scratch("random", size=size))
            root = stack.enter_context(Counted(bench, "file", image))
            begin = time.monotonic()
            uri = root.uri
            everyone = []
            if subject != "2 of the root":
                # Without a sweep of its own it fetches what the others want.
                first = Clone(bench, root.uri, size=size,
                              hydration="true" if subject == "2 of a clone"
                              else "false")
                everyone.append(stack.enter_context(first))
                uri = first.uri
            for _ in range(2):
                everyone.append(stack.enter_context(
                    Clone(bench, uri, size=size)))
            for c in everyone[-2:]:
                c.wait_complete()
            seconds = time.monotonic() - begin
            for c in everyone:
                if c.hydrated() != size:
                    raise Failed("a clone in the tree is not complete")
            return {"both complete, s": seconds, **root.figures()}
    yield measure


CASES = {
    "disk-16T": Survey(
        ["1 GiB, half", "16 TiB, new", "16 TiB, half swept", "16 TiB, half",
         "16 TiB, killed", "16 TiB, complete swept", "16 TiB, complete"],
        largest_usual, COLUMNS, runs=1, quick=False, checks=[
            ("16 TiB, new, resident, MiB",
             value("16 TiB, new", "resident, MiB"), "<= 48"),
            ("16 TiB, half hydrated by the sweep, resident, MiB",
             value("16 TiB, half swept", "resident, MiB"), "<= 48"),
            ("16 TiB, half, resumed, resident, MiB",
             value("16 TiB, half", "resident, MiB"), "<= 48"),
            ("16 TiB, complete, resident, MiB",
             value("16 TiB, complete swept", "resident, MiB"), "<= 48"),
            ("16 TiB, half, start to first byte, s",
             value("16 TiB, half", "start, s"), "<= 1"),
            ("flush / that of 1 GiB",
             ratio("16 TiB, half", "1 GiB, half", "flush, us"), "<= 1.2"),
            ("flush with a commit / that of 1 GiB",
             ratio("16 TiB, half", "1 GiB, half", "flush+commit, us"),
             "<= 1.2"),
        ]),
    "scale-new": Survey(list(SIZES), disk_sizes(False),
                        ["region, KiB", *COLUMNS], runs=3, quick=False),
    "scale-resumed": Survey(list(SIZES), disk_sizes(True),
                            ["region, KiB", *COLUMNS], runs=1, quick=False),
    "scale-clones": Survey(
        ["1 clone", "4 clones", "16 clones", "64 clones"], crowd,
        ["new, MiB each", "half, MiB each", "complete, MiB each",
         "all complete, s", "reads at the root", "MiB from the root"],
        runs=1, quick=False),
    "scale-tree": Survey(
        ["2 of the root", "2 of a clone", "2 of a clone that only serves"],
        tree, ["both complete, s", "reads at the root", "MiB from the root"],
        runs=3, quick=False),
}
