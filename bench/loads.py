"""What clients do while they are measured: fio's nbd engine, and libnbd where
fio has no word for it."""

import json
import os
import random
import statistics
import subprocess
import time

from servers import MIB, Failed

# The words for fio, or a function, of each load; what is counted is requests a
# second.
LOADS = {
    "randread-q1": ["--rw=randread", "--bs=4k", "--iodepth=1"],
    "randread-q32": ["--rw=randread", "--bs=4k", "--iodepth=32"],
    "randwrite-q1": ["--rw=randwrite", "--bs=4k", "--iodepth=1"],
    "randwrite-q32": ["--rw=randwrite", "--bs=4k", "--iodepth=32"],
    "mix-4k-q32": ["--rw=randrw", "--rwmixread=70", "--bs=4k",
                   "--iodepth=32"],
    "mix-64k-q16": ["--rw=randrw", "--rwmixread=70", "--bs=64k",
                    "--iodepth=16"],
    "seqread-1m-q1": ["--rw=read", "--bs=1M", "--iodepth=1"],
    "seqread-1m-q4": ["--rw=read", "--bs=1M", "--iodepth=4"],
    "seqwrite-1m-q1": ["--rw=write", "--bs=1M", "--iodepth=1"],
    "seqwrite-1m-q4": ["--rw=write", "--bs=1M", "--iodepth=4"],
    "fsync-32": ["--rw=randwrite", "--bs=4k", "--iodepth=16", "--fsync=32"],
    "fua-q1": None,                     # see fua_writes
}


def start_fio(bench, uri, *options):
    return subprocess.Popen(
        ["fio", "--name=j", "--ioengine=nbd", "--uri=" + uri,
         "--output-format=json", "--randrepeat=1", *options],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, cwd=bench.directory)


def end_fio(process):
    """Wait for it; its job's JSON."""
    try:
        out = process.communicate()[0]
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode or b"{" not in out:
        raise Failed("fio: " + out.decode(errors="replace")[-1000:])
    # Warnings come before the JSON.
    return json.loads(out[out.index(b"{"):])["jobs"][0]


def fio(bench, uri, *options):
    return end_fio(start_fio(bench, uri, *options))


def for_seconds(seconds):
    return ["--time_based", "--runtime=%dms" % (1000 * seconds),
            "--norandommap"]


def requests_per_second(bench, uri, load, again=True):
    """A load for bench.seconds.  If not `again`, each place is used once at
    most, so that what was missing is missing when its turn comes."""
    if load == "fua-q1":
        return fua_writes(bench, uri)
    end = for_seconds(bench.seconds)
    if not again:
        end = ["--runtime=%dms" % (1000 * bench.seconds)]
    job = fio(bench, uri, *LOADS[load], *end, "--size=%d" % bench.size)
    return job["read"]["iops"] + job["write"]["iops"]


def connect(uri):
    import nbd                          # python3-libnbd
    h = nbd.NBD()
    h.connect_uri(uri)
    return h


def fua_writes(bench, uri):
    """FUA writes of 4 KiB a second, one after the other; fio's nbd engine
    cannot set that flag."""
    import nbd
    h = connect(uri)
    chance = random.Random(1)
    data = os.urandom(4096)
    count = 0
    begin = time.monotonic()
    while (spent := time.monotonic() - begin) < bench.seconds:
        h.pwrite(data, chance.randrange(bench.size // 4096) * 4096,
                 nbd.CMD_FLAG_FUA)
        count += 1
    h.shutdown()
    return count / spent


def flush_latency(uri, places, goes_on, dirty=True):
    """The median latency of a FLUSH in microseconds, each after a write of 4
    KiB (not counted) if `dirty`, while goes_on (number so far)."""
    h = connect(uri)
    data = os.urandom(4096)
    times = []
    h.flush()
    while goes_on(len(times)):
        if dirty:
            h.pwrite(data, next(places))
        begin = time.monotonic()
        h.flush()
        times.append(time.monotonic() - begin)
    h.shutdown()
    if not times:
        raise Failed("there was no time for a single flush")
    return statistics.median(times) * 1e6


def lasts(seconds):
    """goes_on () for that long, three times at least."""
    end = time.monotonic() + seconds
    return lambda count: count < 3 or time.monotonic() < end


def random_places(size, first=0):
    """Where to write: offsets of 4 KiB blocks, for ever."""
    chance = random.Random(1)
    while True:
        yield first + chance.randrange((size - first) // 4096) * 4096


def trim_range(uri, offset, length):
    """Make it hydrated without its source, since it reads as zeroes then."""
    h = connect(uri)
    for at in range(offset, offset + length, 512 * MIB):
        h.trim(min(512 * MIB, offset + length - at), at)
    h.shutdown()


def hydrate_range(uri, offset, length):
    """Make it hydrated, and nothing else (NBD's cache command answers when
    that is done)."""
    h = connect(uri)
    end = offset + length
    while offset < end:
        count = min(end - offset, 16 * MIB)
        h.cache(count, offset)
        offset += count
    h.flush()
    h.shutdown()
