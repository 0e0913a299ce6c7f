#!/usr/bin/python3
# nbdclone: a bad network between two Unix sockets, as a test steers it.
#
# SPDX-License-Identifier: BSD-3-Clause

"""usage: proxy.py LISTEN SERVER CONTROL

Pass what clients of the socket LISTEN say to the server on the socket SERVER,
and its answers back, over a line that is as bad as it is told to be.  A program
tells it through the socket CONTROL (see tell_proxy in helpers.py, "proxy" in
functions.sh): one line is a command, and one line comes back when it has taken
effect.

  latency SECONDS     each way; as many bytes as fit are on their way at a time
  bandwidth BYTES     a second, of all connections together, each way; 0: any
  cut [N]             drop connection N and what is in it, or all of them
  cut-at BYTES        drop each later connection when so many bytes of the
                      server's have passed; "cut-at never"
  freeze [N]          nothing passes on connection N; or on any, later ones
                      included: these are accepted, and then hear nothing
  thaw [N]            it goes on, and nothing is lost
  refuse, accept      whether there is anybody who listens
  status              one line of JSON: "open", the numbers of the connections,
                      "accepted", "down" and "up", the bytes that have passed

Connections are numbered from 1 in the order in which they came.

The line is a queue: what was read at t leaves when all that was read before has
left, at `bandwidth`, and arrives `latency` later.  So that this bounds what is
on its way, nothing is read while it takes longer than QUEUE until the line is
free, nor while WINDOW bytes of a connection are on their way.
"""

import collections
import json
import os
import select
import signal
import socket
import sys
import time

QUEUE = 0.02                    # seconds
WINDOW = 8 << 20                # bytes
CHUNK = 256 << 10


class Line:
    """One of the two directions, shared by all connections."""

    def __init__(self):
        self.free_at = 0.0
        self.passed = 0


class Flow:
    """What one connection has on its way in one direction."""

    def __init__(self, line, reader, writer):
        self.line, self.reader, self.writer = line, reader, writer
        self.chunks = collections.deque()       # (when it arrives, bytes)
        self.on_way = 0
        self.passed = 0
        self.ended = False                      # the reader has hung up


class Connection:
    def __init__(self, number, client, server, up, down):
        self.number, self.client, self.server = number, client, server
        self.flows = [Flow(up, client, server), Flow(down, server, client)]
        self.cut_at = None
        self.frozen = False


class Proxy:
    def __init__(self, listen, server, control):
        self.listen_path, self.server_path = listen, server
        self.latency = 0.0
        self.bandwidth = 0
        self.cut_at = None
        self.frozen = False
        self.up, self.down = Line(), Line()
        self.connections = {}
        self.accepted = 0
        self.tellers = {}                       # socket -> unfinished line
        self.listener = None
        self.control = self.listen_on(control)
        self.accept()

    @staticmethod
    def listen_on(path):
        if os.path.exists(path):
            os.unlink(path)
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        s.listen(64)
        s.setblocking(False)
        return s

    # The commands.

    def chosen(self, number):
        return [c for c in self.connections.values()
                if number is None or c.number == int(number)]

    def accept(self):
        if self.listener is None:
            self.listener = self.listen_on(self.listen_path)

    def refuse(self):
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    def drop(self, connection):
        del self.connections[connection.number]
        connection.client.close()
        connection.server.close()

    def command(self, verb, value=None):
        if verb == "latency":
            self.latency = float(value)
        elif verb == "bandwidth":
            self.bandwidth = int(value)
            self.up.free_at = self.down.free_at = 0.0
        elif verb == "cut":
            for connection in self.chosen(value):
                self.drop(connection)
        elif verb == "cut-at":
            self.cut_at = None if value == "never" else int(value)
        elif verb in ("freeze", "thaw"):
            for connection in self.chosen(value):
                connection.frozen = verb == "freeze"
            if value is None:
                self.frozen = verb == "freeze"
        elif verb == "refuse":
            self.refuse()
        elif verb == "accept":
            self.accept()
        elif verb == "status":
            return json.dumps({"open": sorted(self.connections),
                               "accepted": self.accepted,
                               "up": self.up.passed,
                               "down": self.down.passed})
        else:
            return "what is %s?" % verb
        return "ok"

    def hear(self, teller):
        data = teller.recv(4096)
        if not data:
            del self.tellers[teller]
            teller.close()
            return
        *lines, rest = (self.tellers[teller] + data).split(b"\n")
        self.tellers[teller] = rest
        for line in lines:
            # On the way of one line nothing gets stuck.
            teller.sendall(self.command(*line.decode().split()).encode() +
                           b"\n")

    # The line.

    def new_connection(self):
        try:
            client, _ = self.listener.accept()
        except BlockingIOError:
            return
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self.server_path)
        except OSError:
            client.close()
            server.close()
            return
        self.accepted += 1
        client.setblocking(False)
        server.setblocking(False)
        c = Connection(self.accepted, client, server, self.up, self.down)
        c.cut_at, c.frozen = self.cut_at, self.frozen
        self.connections[c.number] = c

    def read(self, flow, now):
        size = CHUNK
        if self.bandwidth:
            # In small pieces, so that connections get equal shares.
            size = max(1024, min(CHUNK, int(self.bandwidth * QUEUE / 4)))
        data = flow.reader.recv(size)
        if not data:
            flow.ended = True
            return
        leaves = max(now, flow.line.free_at)
        if self.bandwidth:
            leaves += len(data) / self.bandwidth
        flow.line.free_at = leaves
        flow.chunks.append((leaves + self.latency, data))
        flow.on_way += len(data)

    def write(self, connection, flow, now):
        while flow.chunks and flow.chunks[0][0] <= now:
            when, data = flow.chunks.popleft()
            if connection.cut_at is not None and flow.line is self.down:
                data = data[:connection.cut_at - flow.passed]
            try:
                sent = flow.writer.send(data) if data else 0
            except BlockingIOError:
                sent = 0
            flow.on_way -= sent
            flow.passed += sent
            flow.line.passed += sent
            if connection.cut_at is not None and flow.line is self.down and \
               flow.passed == connection.cut_at:
                raise ConnectionResetError
            if sent < len(data):
                flow.chunks.appendleft((when, memoryview(data)[sent:]))
                return

    def turn(self):
        """Wait until something can be done, and do it."""
        now = time.monotonic()
        wake = None
        readers = [self.control] + list(self.tellers)
        if self.listener:
            readers.append(self.listener)
        writers = []

        def wake_at(when):
            nonlocal wake
            wake = when if wake is None else min(wake, when)

        flowing = [(c, f) for c in self.connections.values() if not c.frozen
                   for f in c.flows]
        for _, flow in flowing:
            if not flow.ended and flow.on_way < WINDOW:
                if flow.line.free_at - now < QUEUE:
                    readers.append(flow.reader)
                else:
                    wake_at(flow.line.free_at - QUEUE)
            if flow.chunks:
                if flow.chunks[0][0] <= now:
                    writers.append(flow.writer)
                else:
                    wake_at(flow.chunks[0][0])
        timeout = None if wake is None else max(0.0, wake - now)
        can_read, can_write, _ = select.select(readers, writers, [], timeout)
        now = time.monotonic()

        can_read, can_write = set(can_read), set(can_write)
        for connection, flow in flowing:
            if connection.number not in self.connections:
                continue
            try:
                if flow.writer in can_write:
                    self.write(connection, flow, now)
                if flow.reader in can_read and \
                   flow.line.free_at - now < QUEUE:
                    self.read(flow, now)
                if flow.ended and not flow.chunks:
                    raise ConnectionResetError
            except BlockingIOError:
                pass
            except OSError:
                self.drop(connection)
        if self.listener in can_read:
            self.new_connection()
        if self.control in can_read:
            self.tellers[self.control.accept()[0]] = b""
        for teller in list(self.tellers):
            if teller in can_read:
                self.hear(teller)


def main():
    signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    proxy = Proxy(*sys.argv[1:4])
    while True:
        proxy.turn()


if __name__ == "__main__":
    main()
