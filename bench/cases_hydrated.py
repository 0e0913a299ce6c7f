"""Disks that are completely hydrated: what the filter costs then, what the
uring plugin gains, and where QEMU's copy-on-read stands."""

import contextlib
import os

from case import Comparison
from loads import requests_per_second
from servers import HydratedDisk, MIB, Server, plugin_words, run, source


def hydrated(plugin, load):
    """The same file, with the filter and without."""

    @contextlib.contextmanager
    def prepare(bench):
        with HydratedDisk(bench, plugin) as disk:
            def measure(subject):
                with disk.serve(subject) as server:
                    return requests_per_second(bench, server.uri, load)
            yield measure
    return prepare


def plugins(load, cold=False):
    """A file that is all there, served by plugins."""

    @contextlib.contextmanager
    def prepare(bench):
        with bench.scratch("random") as name:
            def measure(subject):
                os.sync()
                if cold:
                    forget_pages(name)
                with Server(bench, *plugin_words(subject, name)) as server:
                    return requests_per_second(bench, server.uri, load)
            yield measure
    return prepare


def forget_pages(name):
    """Nothing of it is in the page cache any more."""
    fd = os.open(name, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def qemu_words(overlay):
    return ["--blockdev", "file,node-name=overlay,filename=" + overlay,
            "--blockdev", "qcow2,node-name=disk,file=overlay",
            "--blockdev", "copy-on-read,node-name=top,file=disk",
            "--export", "nbd,id=e,node-name=top,name=,writable=on"]


def against_qemu(load):
    """copy-on-read over a qcow2 file whose backing file is an NBD source, when
    everything has been copied."""

    @contextlib.contextmanager
    def prepare(bench):
        overlay = bench.new_name("qcow2")
        with contextlib.ExitStack() as stack:
            stack.callback(bench.forget, overlay)
            disk = stack.enter_context(HydratedDisk(bench))
            src = stack.enter_context(source(bench))
            run("qemu-img", "create", "-q", "-f", "qcow2", "-b", src.uri,
                "-F", "raw", overlay)

            def serve():
                return Server(bench, *qemu_words(overlay),
                              program="qemu-storage-daemon")
            with serve() as server:
                run("nbdcopy", server.uri, "null:")

            def measure(subject):
                os.sync()
                with (disk.serve(subject) if subject == "clone"
                      else serve()) as server:
                    return requests_per_second(bench, server.uri, load)
            yield measure
            grown = os.stat(overlay).st_blocks * 512
            bench.extra["the overlay has grown to, MiB"] = grown / MIB
    return prepare


CASES = {}
for _plugin in "file", "uring":
    for _load in "randread-q1", "randread-q32", "randwrite-q1", "randwrite-q32":
        CASES["hydrated-%s-%s" % (_load, _plugin)] = Comparison(
            "IOPS", ["clone", _plugin], hydrated(_plugin, _load),
            goal=">= 0.97", quick=_plugin == "file")

CASES["hydrated-randread-q32-qemu"] = Comparison(
    "IOPS", ["clone", "qemu copy-on-read"], against_qemu("randread-q32"),
    goal=">= 3")

for _load in ("randread-q1", "randread-q32", "randwrite-q1", "randwrite-q32",
              "mix-4k-q32"):
    CASES["uring-" + _load] = Comparison(
        "IOPS", ["uring", "file"], plugins(_load), goal=">= 0.97",
        quick=_load.endswith("q32"))

# The file plugin's cache=none lets go of what it has read and written; so both
# start with nothing in the page cache and leave nothing there.
for _load in ("seqread-1m-q1", "seqread-1m-q4", "seqwrite-1m-q1",
              "seqwrite-1m-q4"):
    CASES["direct-" + _load] = Comparison(
        "MiB/s", ["uring direct=true", "file cache=none"],
        plugins(_load, cold=True), goal=">= 1.15", quick=_load.endswith("q4"))
