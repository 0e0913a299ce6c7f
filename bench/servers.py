"""The servers that are measured, and the disks below them.

Everything here is ended and removed by `with`, whatever happens in between: a
case that fails must leave nothing behind that would disturb the next one.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CLONE = os.environ.get(
    "CLONE_FILTER", TOP + "/filters/clone/.libs/nbdkit-clone-filter.so")
URING = os.environ.get(
    "URING_PLUGIN", TOP + "/plugin/.libs/nbdkit-uring-plugin.so")
KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


class Failed(Exception):
    """Something that was to be measured did not work."""


class Bench:
    """Where the disks are made, how large they are and how long it lasts."""

    def __init__(self, directory, size, seconds):
        self.directory = directory
        self.size = size
        self.seconds = seconds          # how long a load lasts
        self.names = 0
        self.extra = {}                 # what a case shows beside its figures
        self.image = self.file("random")

    def new_name(self, kind):
        self.names += 1
        return "%s/%d.%s" % (self.directory, self.names, kind)

    def file(self, contents=None, size=None, directory=None):
        """A file of that many bytes, random if `contents`."""
        name = self.new_name("img")
        if directory:
            name = "%s/nbdclone-bench-%d-%d" % (directory, os.getpid(),
                                                self.names)
        with open(name, "wb") as f:
            f.truncate(size or self.size)
        if contents == "random":
            run("dd", "if=/dev/urandom", "of=" + name, "bs=1M",
                "count=%d" % ((size or self.size) // MIB), "conv=notrunc",
                "status=none")
        return name

    @contextlib.contextmanager
    def scratch(self, *arguments, **more):
        """A file that is removed at the end."""
        name = self.file(*arguments, **more)
        try:
            yield name
        finally:
            self.forget(name)

    def warm(self):
        """Make the memory for a disk ready.

        A virtual machine gives memory that is free back to its host, and has to
        ask for it again page by page: the same write of 1 GiB takes 0.3 s, or 2
        s.
        """
        with self.scratch(size=1) as name, open(name, "wb") as f:
            for _ in range(self.size * 5 // 4 // MIB):
                f.write(bytes(MIB))

    def forget(self, *names):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)


def run(*command):
    """Run a program to its end; what it said goes into the failure."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    if done.returncode:
        raise Failed("%s: status %d: %s" % (
            " ".join(command), done.returncode,
            done.stdout.decode(errors="replace").strip()))
    return done.stdout.decode(errors="replace")


def is_listening(path):
    """Whether somebody listens on a Unix socket, without bothering them: a
    socket that is there may not be listened on yet."""
    with open("/proc/net/unix") as f:
        return any(line.split()[3] == "00010000" and
                   line.endswith(" %s\n" % path) for line in f)


class Server:
    """A server on a Unix socket; `uri` is where, stderr can be waited for."""

    def __init__(self, bench, *arguments, program="nbdkit"):
        self.socket = bench.new_name("sock")
        self.uri = "nbd+unix:///?socket=" + self.socket
        where = {
            "nbdkit": ["-f", "-U", self.socket],
            "qemu-nbd": ["-k", self.socket],
            "qemu-storage-daemon": [
                "--nbd-server", "addr.type=unix,addr.path=" + self.socket],
        }[program]
        command = [program, *where, *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            bufsize=0)
        # Nobody reads it most of the time.
        fcntl.fcntl(self.process.stderr, fcntl.F_SETPIPE_SZ, MIB)
        until = time.monotonic() + 20
        while not is_listening(self.socket):
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                raise Failed("%s: %s" % (
                    " ".join(command),
                    self.process.stderr.read().decode().strip()))
            time.sleep(0.002)

    @property
    def pid(self):
        return self.process.pid

    def wait_for(self, text):
        """Until the server has said this."""
        said = []
        while True:
            line = self.process.stderr.readline().decode()
            said.append(line)
            if text in line:
                return
            if not line:
                raise Failed("the server has ended: " + "".join(said).strip())

    def memory(self, name="VmRSS"):
        """Bytes, of a line in /proc/PID/status, or Pss."""
        path = "smaps_rollup" if name == "Pss" else "status"
        with open("/proc/%d/%s" % (self.pid, path)) as f:
            for line in f:
                if line.startswith(name + ":"):
                    return int(line.split()[1]) * KIB
        raise Failed("no %s in /proc/%d/%s" % (name, self.pid, path))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.stderr.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed("a server does not stop") from None


def plugin_words(plugin, name):
    """What nbdkit is told: "file", "uring", "file cache=none", "uring
    direct=true", and the name of the disk."""
    first, *parameters = plugin.split()
    return [URING if first == "uring" else first, name, *parameters]


class Clone:
    """The clone filter over a destination, which is a new one unless it is
    given, and then stays."""

    def __init__(self, bench, source_uri, plugin="file", size=None,
                 destination=None, bitmap=None, control=None, **options):
        self.bench = bench
        self.own = []
        self.destination = destination or self.owned(bench.file(size=size))
        self.bitmap = bitmap or self.owned(bench.new_name("bm"))
        self.control = control or bench.new_name("ctl")
        self.command = ["--filter=" + CLONE,
                        *plugin_words(plugin, self.destination),
                        "clone-source=" + source_uri,
                        "clone-bitmap=" + self.bitmap,
                        "clone-control=" + self.control]
        self.server = None
        try:
            self.start(**options)
        except Failed:
            self.bench.forget(*self.own)
            raise

    def owned(self, name):
        self.own.append(name)
        return name

    def start(self, **options):
        parameters = ["clone-%s=%s" % (k.replace("_", "-"), v)
                      for k, v in options.items()]
        self.server = Server(self.bench, *self.command, *parameters)
        self.uri = self.server.uri

    def restart(self, **options):
        """Stop it, and go on with other options."""
        self.server.__exit__()
        self.start(**options)

    def wait_complete(self):
        self.server.wait_for("the clone is complete")

    def ask(self, execute, **arguments):
        """What the control socket answers."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            until = time.monotonic() + 20
            while not is_listening(self.control) and time.monotonic() < until:
                time.sleep(0.002)
            s.connect(self.control)
            s.sendall(json.dumps({"execute": execute,
                                  "arguments": arguments}).encode() + b"\n")
            with s.makefile("r") as lines:
                answer = json.loads(lines.readline())
        if "return" not in answer:
            raise Failed("%s: %s" % (execute, answer))
        return answer["return"]

    def hydrated(self):
        """Bytes."""
        status = self.ask("status")
        return status["hydrated"] * status["region-size"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.server.__exit__()
        finally:
            self.bench.forget(*self.own)


def source(bench, delay_ms=0, image=None):
    """A source; with a delay each reply takes that much longer."""
    image = image or bench.image
    if delay_ms:
        return Server(bench, "--filter=delay", "file", image,
                      "rdelay=%dms" % delay_ms)
    return Server(bench, "file", image)


class HydratedDisk:
    """A destination that is complete, to be served with the filter or without:
    the very same file, so that nothing but the filter makes the difference."""

    def __init__(self, bench, plugin="file"):
        self.bench = bench
        self.plugin = plugin
        self.destination = bench.file()
        self.bitmap = bench.new_name("bm")
        with source(bench) as src:
            self.source_uri = src.uri
            with self.clone() as c:
                c.wait_complete()

    def clone(self, **options):
        return Clone(self.bench, self.source_uri, self.plugin,
                     destination=self.destination, bitmap=self.bitmap,
                     **options)

    def serve(self, subject):
        """A server that says "clone" or is the plugin alone.  What was written
        before is on the disk: nobody pays for somebody else's writeback."""
        os.sync()
        if subject.startswith("clone"):
            return self.clone()
        return Server(self.bench, *plugin_words(subject, self.destination))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bench.forget(self.destination, self.bitmap)


def missing_programs():
    """What is not installed, as Debian's names for it."""
    needed = {"nbdkit": "nbdkit", "fio": "fio", "nbdcopy": "libnbd-bin",
              "qemu-img": "qemu-utils", "gnuplot": "gnuplot-nox",
              "qemu-storage-daemon": "qemu-system-common"}
    missing = [package for program, package in needed.items()
               if not shutil.which(program)]
    try:
        import nbd                      # noqa: F401
    except ImportError:
        missing.append("python3-libnbd")
    return missing
