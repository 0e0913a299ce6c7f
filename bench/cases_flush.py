"""What a client pays for writing and flushing while a disk is not hydrated."""

import contextlib
import os
import statistics
import subprocess
import threading

from case import Comparison, fresh
from loads import (flush_latency, hydrate_range, lasts, random_places,
                   requests_per_second)
from servers import (MIB, Clone, Failed, Server, plugin_words, source)


def write_missing(plugin, load, delay):
    """Aligned writes of whole regions: the source is not needed (P7)."""

    def function(bench, src, subject):
        if subject == "clone":
            server = Clone(bench, src.uri, plugin, hydration="false")
        else:
            server = PlainDisk(bench, plugin)
        with server as s:
            return requests_per_second(bench, s.uri, load, again=False)
    return fresh(function, delay)


class PlainDisk:
    """A plugin alone on a new file, as Clone has it below the filter."""

    def __init__(self, bench, plugin):
        self.bench = bench
        self.destination = bench.file()
        self.server = Server(bench, *plugin_words(plugin, self.destination))
        self.uri = self.server.uri

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.server.__exit__()
        finally:
            self.bench.forget(self.destination)


def flush_idle(plugin, dirty):
    """A disk that is half hydrated, at rest and committed; the writes before
    each flush go to what is hydrated.  Without the filter it is the same
    file."""

    @contextlib.contextmanager
    def prepare(bench):
        half = bench.size // 2
        with source(bench) as src, \
                Clone(bench, src.uri, plugin, hydration="false") as c:
            hydrate_range(c.uri, 0, half)
            c.server.__exit__()

            def measure(subject):
                os.sync()
                if subject == "clone":
                    server = Clone(bench, src.uri, plugin,
                                   destination=c.destination, bitmap=c.bitmap,
                                   hydration="false")
                else:
                    server = Server(bench, *plugin_words(plugin,
                                                         c.destination))
                with server as s:
                    return flush_latency(s.uri, random_places(half),
                                         lasts(bench.seconds), dirty)
            try:
                yield measure
            finally:
                # What ends it at the end wants something to end.
                c.start(hydration="false")
    return prepare


@contextlib.contextmanager
def flush_hydrating(bench):
    """Flushes of a client beside what writes a whole disk as fast as it can:
    the background, or an nbdcopy to the plugin alone, held to the speed that
    the background has just had."""
    speed = []                          # bytes a second, of the clone before
    place = bench.size - 4096           # hydrated by the first write to it

    def places():
        while True:
            yield place

    def beside_hydration():
        with source(bench) as src, \
                Clone(bench, src.uri, hydration="false") as c:
            over, timer = threading.Event(), Stopwatch()

            def wait():
                c.wait_complete()
                timer.stop()
                over.set()
            hydrate_range(c.uri, place, 4096)
            c.restart(hydration="true")
            thread = threading.Thread(target=wait, daemon=True)
            thread.start()
            latency = flush_latency(c.uri, places(),
                                    lambda count: not over.is_set())
            thread.join()
            speed.append(bench.size / timer.seconds)
            return latency

    def beside_nbdcopy():
        rate = int(speed[-1] * 8)
        with Server(bench, "--filter=rate", "file", bench.image,
                    "rate=%d" % rate, "burstiness=0.05") as src, \
                PlainDisk(bench, "file") as d:
            copy = subprocess.Popen(["nbdcopy", src.uri, d.uri])
            timer = Stopwatch()
            try:
                latency = flush_latency(d.uri, places(),
                                        lambda count: copy.poll() is None)
            finally:
                copy.kill()
                copy.wait()
            reached.append(bench.size / timer.stop())
            return latency

    reached = []

    def measure(subject):
        bench.warm()
        os.sync()
        if subject == "clone":
            return beside_hydration()
        if not speed:
            raise Failed("the clone's speed is not known")
        return beside_nbdcopy()
    yield measure
    if speed and reached:
        bench.extra["MiB/s: clone, nbdcopy"] = [
            statistics.median(speed) / MIB, statistics.median(reached) / MIB]


class Stopwatch:
    def __init__(self):
        self.begin = os.times().elapsed
        self.seconds = None

    def stop(self):
        self.seconds = os.times().elapsed - self.begin
        return self.seconds


CASES = {}
for _plugin in "file", "uring":
    for _delay in 0, 1000:
        CASES["write-missing-%s%s" % (
            _plugin, "-1s" if _delay else "")] = Comparison(
                "IOPS", ["clone", _plugin],
                write_missing(_plugin, "randwrite-q32", _delay),
                goal=">= 0.90", quick=_plugin == "file")
    CASES["flush-idle-" + _plugin] = Comparison(
        "us", ["clone", _plugin], flush_idle(_plugin, True), bigger=False,
        goal="<= 1.05")
CASES["flush-clean-file"] = Comparison(
    "us", ["clone", "file"], flush_idle("file", False), bigger=False,
    goal="<= 1.05", quick=False)
CASES["flush-hydrating"] = Comparison(
    "us", ["clone", "nbdcopy to the plugin"], flush_hydrating, bigger=False,
    goal="<= 1.5")
