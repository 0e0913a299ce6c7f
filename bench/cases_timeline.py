"""One clone from its first second to its last: how much is hydrated, and what a
client feels meanwhile.

The source is behind a line of 1 Gbit/s with a latency of 5 ms.  The client
reads at random all over the disk, so at first it meets what is missing, and in
the end only what is hydrated.
"""

import contextlib
import threading
import time

from case import Survey
from loads import end_fio, start_fio
from servers import MIB, Clone, Server

SLICE = 0.1                             # seconds
SAMPLE = 0.05


class Progress:
    """Looks every now and then how much is hydrated."""

    def __init__(self, clone, begin):
        self.clone = clone
        self.begin = begin
        self.samples = [[0, 0]]         # seconds, MiB
        self.complete = None
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.end.wait(SAMPLE):
            status = self.clone.ask("status")
            now = time.monotonic() - self.begin
            self.samples.append(
                [now, status["hydrated"] * status["region-size"] / MIB])
            if status["state"] == "complete" and self.complete is None:
                self.complete = now

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()


def percentile(values, part):
    return values[min(len(values) - 1, int(part * len(values)))]


def latencies(path, late):
    """What fio's log has of each request, as [[seconds, p50, p99, requests]],
    in slices; latencies in microseconds."""
    slices = {}
    with open(path) as f:
        for line in f:
            ms, ns = line.split(",")[:2]
            slices.setdefault(int((int(ms) / 1000 + late) / SLICE),
                              []).append(int(ns) / 1000)
    return [[(n + 0.5) * SLICE, percentile(sorted(values), 0.5),
             percentile(sorted(values), 0.99), len(values)]
            for n, values in sorted(slices.items())]


@contextlib.contextmanager
def prepare(bench):
    def measure(_):
        bench.warm()
        expected = bench.size / (119 * MIB) + 0.2
        seconds = expected * 1.3 + bench.seconds / 2
        log = bench.new_name("lat")
        with Server(bench, "--filter=delay", "--filter=rate", "file",
                    bench.image, "rdelay=5ms", "rate=1G",
                    "burstiness=0.05") as src:
            begin = time.monotonic()
            with Clone(bench, src.uri) as c, Progress(c, begin) as progress:
                client = start_fio(
                    bench, c.uri, "--rw=randread", "--bs=4k", "--iodepth=4",
                    "--size=%d" % bench.size, "--norandommap", "--time_based",
                    "--runtime=%dms" % (1000 * seconds),
                    "--write_lat_log=" + log, "--log_avg_msec=0")
                job = end_fio(client)
                # fio counts from when its job began, which it is told by none;
                # it ends with its runtime.
                late = time.monotonic() - begin - job["job_runtime"] / 1000
        name = log + "_clat.1.log"
        slices = latencies(name, late)
        bench.forget(name, log + "_lat.1.log", log + "_slat.1.log")
        bench.extra["timeline"] = {
            "hydrated": progress.samples, "latency": slices,
            "complete": progress.complete, "size": bench.size / MIB}
        before = [s for s in slices
                  if progress.complete is None or s[0] < progress.complete]
        after = [s for s in slices if s not in before]
        figures = {}
        if progress.complete is not None:
            figures["complete after s"] = progress.complete
        # A small disk is complete before the client has begun.
        for when, part in ("before", before), ("after", after):
            if part:
                figures["p50 %s, us" % when] = median_of(part, 1)
                figures["p99 %s, us" % when] = median_of(part, 2)
        return figures
    yield measure


def median_of(slices, column):
    return percentile(sorted(s[column] for s in slices), 0.5)


CASES = {
    "timeline": Survey(
        ["1 Gbit/s, 5 ms"], prepare,
        ["complete after s", "p50 before, us", "p99 before, us",
         "p50 after, us", "p99 after, us"], runs=1),
}
