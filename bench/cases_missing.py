"""A source at the other end of a network: what is missing, and the copying of
it.
"""

import contextlib
import os
import socket
import threading
import time

from case import Comparison, fresh
from loads import fio, for_seconds, start_fio
from servers import MIB, Clone, Server, run, source


def random_reads(bench, uri, depth):
    job = fio(bench, uri, "--rw=randread", "--bs=4k", "--iodepth=%d" % depth,
              "--size=%d" % bench.size,
              "--io_size=%d" % (bench.size // (5 if depth > 1 else 25)))
    return job["read"]["iops"]


def sequential_reads(bench, uri, depth):
    job = fio(bench, uri, "--rw=read", "--bs=1M", "--iodepth=%d" % depth,
              "--size=%d" % bench.size)
    return job["read"]["bw_bytes"] / MIB


def missing(measure, depth):
    """Reads of what is missing."""

    def function(bench, src, subject):
        if subject == "clone":
            server = Clone(bench, src.uri, hydration="false")
        elif subject == "clone and hydration":
            server = Clone(bench, src.uri)
        elif subject == "nbd plugin":
            server = Server(bench, "nbd", "uri=" + src.uri)
        else:
            server = Server(bench, "--filter=cow", "nbd", "uri=" + src.uri,
                            "cow-on-read=true")
        with server as s:
            return measure(bench, s.uri, depth)
    return fresh(function)


def complete_in(bench, uri, size=None):
    """Seconds until a clone is complete and committed."""
    begin = time.monotonic()
    with Clone(bench, uri, size=size) as c:
        c.wait_complete()
        return time.monotonic() - begin


def hydrate(bench, src, subject):
    """Seconds until a local copy is there."""
    if subject == "clone":
        return complete_in(bench, src.uri)
    with bench.scratch() as target:
        commands = {
            "nbdcopy": ["nbdcopy", src.uri, target],
            "nbdcopy --flush": ["nbdcopy", "--flush", src.uri, target],
            "qemu-img convert": [
                "qemu-img", "convert", "-n", "-W", "-m", "16", "-f", "raw",
                "-O", "raw", src.uri, target],
        }
        begin = time.monotonic()
        run(*commands[subject])
        return time.monotonic() - begin


SCATTERED, PLAIN = "1 TiB, 64 MiB in 1,000 places", "64 MiB"


def sparse(bench, _, subject):
    """64 MiB in 1,000 places of 1 TiB, and all of it in one place."""
    size = 64 * MIB if subject == PLAIN else 1 << 40
    piece = 64 * MIB // 1000 // 4096 * 4096
    data = os.urandom(piece)
    with bench.scratch(size=size) as image:
        with open(image, "r+b") as f:
            for i in range(1000):
                f.seek(i * (size // 1000 // 4096 * 4096))
                f.write(data)
        with source(bench, image=image) as src:
            return complete_in(bench, src.uri, size)


HOT = 64 * MIB


def hot(bench):
    """How much is read beforehand where clients are on hydrated regions."""
    return min(HOT, bench.size // 4)


def heat(bench, uri):
    fio(bench, uri, "--rw=read", "--bs=1M", "--size=%d" % hot(bench))


def hot_reads(bench, uri, seconds):
    """p99 of 4 KiB reads in what is hydrated, in microseconds."""
    job = fio(bench, uri, "--rw=randread", "--bs=4k", "--iodepth=1",
              "--size=%d" % hot(bench), *for_seconds(seconds))
    return job["read"]["clat_ns"]["percentile"]["99.000000"] / 1000


@contextlib.contextmanager
def reader(bench, uri, depth, *options):
    """A steady client, for as long as this lasts."""
    process = start_fio(bench, uri, "--rw=randread", "--bs=4k",
                        "--iodepth=%s" % depth, *for_seconds(600), *options)
    try:
        yield
    finally:
        process.terminate()
        process.communicate()


def beside(bench, src, subject):
    """Clients on hydrated regions, and the background, beside each other."""
    with Clone(bench, src.uri, hydration="false") as c:
        heat(bench, c.uri)
        if subject == "reads alone":
            return hot_reads(bench, c.uri, bench.seconds / 2)
        c.restart(hydration="true")
        if subject == "reads beside hydration":
            # The background has no more than a second's work.
            return hot_reads(bench, c.uri, bench.seconds / 5)
        begin = time.monotonic()
        client = contextlib.nullcontext()
        if subject != "hydration alone":
            client = reader(bench, c.uri, 1, "--size=%d" % hot(bench))
        with client:
            c.wait_complete()
            return time.monotonic() - begin


def share(bench, src, subject):
    """MiB/s of the background, with a steady client at that queue depth."""
    alone = subject == "hydration alone"
    with Clone(bench, src.uri, hydration="false") as c:
        heat(bench, c.uri)
        c.restart(hydration="true")
        client = contextlib.nullcontext()
        if not alone:
            depth, where = subject.split()[1::2]
            # The missing are at the end; the sweep comes from the start.
            client = reader(bench, c.uri, depth,
                            "--offset=%d" % (bench.size // 2)
                            if where == "missing"
                            else "--size=%d" % hot(bench))
        with client:
            before = allocated(c.destination)
            time.sleep(1.5 * bench.seconds)
            return (allocated(c.destination) - before) / MIB / (
                1.5 * bench.seconds)


def allocated(name):
    return os.stat(name).st_blocks * 512


class ControlClients:
    """200 connections to a control socket: a quarter asks for the status once a
    second, a quarter sends garbage as often, and the rest says half a word."""

    def __init__(self, path):
        self.sockets = []
        for _ in range(200):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.connect(path)
            s.sendall(b'{"exec')
            self.sockets.append(s)
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.end.wait(1):
            for i, s in enumerate(self.sockets[:100]):
                s.sendall(b'ute":"status"}\n{"exec' if i % 2 else b"\0}]\n{")
                s.recv(1 << 20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()
        for s in self.sockets:
            s.close()


def control(bench, src, subject):
    """IOPS of a client, and what many at the control socket do to it."""
    with Clone(bench, src.uri, hydration="false") as c:
        heat(bench, c.uri)
        many = contextlib.nullcontext()
        if subject != "nobody":
            many = ControlClients(c.control)
        with many:
            job = fio(bench, c.uri, "--rw=randrw", "--bs=4k", "--iodepth=32",
                      "--size=%d" % hot(bench), *for_seconds(2 * bench.seconds))
    return job["read"]["iops"] + job["write"]["iops"]


RATE = 20 * MIB


def rate(bench, src, subject):
    """Bytes that the background writes a second, with clone-rate."""
    if subject == "asked for":
        return RATE / MIB
    with Clone(bench, src.uri, rate=RATE) as c:
        time.sleep(0.5)                 # the start is not what is looked at
        seconds = 3 * bench.seconds
        first, begin = c.ask("status")["bytes-fetched"], time.monotonic()
        time.sleep(seconds)
        last, end = c.ask("status")["bytes-fetched"], time.monotonic()
        return (last - first) / MIB / (end - begin)


CASES = {
    "randread-missing-q32": Comparison(
        "IOPS", ["clone", "nbd plugin", "cow-on-read"],
        missing(random_reads, 32),
        goal={"nbd plugin": ">= 1.0", "cow-on-read": ">= 1.2"}),
    "randread-missing-q1": Comparison(
        "IOPS", ["clone", "nbd plugin", "cow-on-read"],
        missing(random_reads, 1),
        goal={"nbd plugin": ">= 1.0", "cow-on-read": ">= 1.2"}),
    "seqread-missing-q1": Comparison(
        "MiB/s", ["clone and hydration", "clone", "nbd plugin"],
        missing(sequential_reads, 1), goal={"nbd plugin": ">= 1.0"}),
    "seqread-missing-q4": Comparison(
        "MiB/s", ["clone and hydration", "clone", "nbd plugin"],
        missing(sequential_reads, 4), goal={"nbd plugin": ">= 1.0"},
        quick=False),
    "hydrate-local": Comparison(
        "s", ["clone", "nbdcopy", "nbdcopy --flush", "qemu-img convert"],
        fresh(hydrate), bigger=False,
        goal={"nbdcopy": "<= 1.0", "qemu-img convert": "<= 1.0"}),
    "hydrate-20ms": Comparison(
        "s", ["clone", "nbdcopy", "nbdcopy --flush", "qemu-img convert"],
        fresh(hydrate, 20), bigger=False,
        goal={"nbdcopy": "<= 0.4", "qemu-img convert": "<= 1.0"}),
    "sparse-1T": Comparison(
        "s", [SCATTERED, PLAIN], fresh(sparse), bigger=False, goal="<= 3.0"),
    "beside-p99": Comparison(
        "us", ["reads beside hydration", "reads alone"], fresh(beside),
        bigger=False, goal="<= 2.0"),
    "beside-hydration": Comparison(
        "s", ["hydration beside reads", "hydration alone"], fresh(beside),
        bigger=False, goal="<= 2.0"),
    "share-20ms": Comparison(
        "MiB/s", ["hydration alone", "beside 1 on hydrated",
                  "beside 16 on hydrated", "beside 1 on missing",
                  "beside 2 on missing", "beside 4 on missing",
                  "beside 16 on missing"], fresh(share, 20),
        pairs=[("beside %d on %s" % (n, where), "hydration alone", ">= 0.1")
               for n, where in ((1, "hydrated"), (16, "hydrated"),
                                (1, "missing"), (2, "missing"),
                                (4, "missing"), (16, "missing"))],
        quick=False),
    "clone-rate": Comparison(
        "MiB/s", ["clone", "asked for"], fresh(rate), goal="= 1.0 +- 0.05"),
    "control": Comparison(
        "IOPS", ["200 control clients", "nobody"], fresh(control),
        goal=">= 0.95", quick=False),
}
