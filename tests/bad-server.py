#!/usr/bin/python3
# nbdclone: an NBD server that breaks the protocol in the way it is told to.
#
# SPDX-License-Identifier: BSD-3-Clause

"""usage: bad-server.py SOCKET FILE TROUBLE

Serve FILE on a Unix socket: fixed newstyle, with structured replies and
base:allocation.  What the file TROUBLE says, words that are looked up at each
connection and at each request, is what it does wrong; nothing, if it is empty
or not there.  To change it while the server runs, rename a new file over it.

In the handshake (numbers are bytes that the server has sent):
  cut-handshake N     hang up after N bytes
  stall-handshake N   say nothing any more after N bytes; 0: from the start
  magic               a wrong first magic
  option-magic        wrong magics in its option replies
  size N              the export has this size
  blocks MIN PREF MAX its block sizes
  endless-info        information about the export without an end
  long-option         an option reply of nearly 4 GiB
In its replies to reads and to block status:
  cut-reply N         hang up after N bytes of each
  cut-replies A B     hang up after A bytes of the first one, A + 1 of the next,
                      and so on, until B: from then on all is well
  stall-reply N       say nothing any more after N bytes of each
  cookie, reply-magic wrong ones
  flood               the right answer, and then others without an end
Only to reads:
  oversize            more data than was asked for
  outside             data before and beyond what was asked for
  short               only the first half, and that is all
  twice               the first half twice, instead of all
  huge-chunk          a chunk that says it is nearly 4 GiB long
  unknown-chunk       of a type that does not exist
  unknown-error       an error of a type that does not exist
  error N             an error of this number
  long-message        an error whose message is longer than the reply
  simple              a reply that is not structured
  hole                a hole larger than what was asked for
Only to block status:
  beyond              an extent that is larger than what was asked for
  zero-length         extents of no bytes
  none                no extent at all
  endless             as many extents as a reply can have, all of one byte
  context             extents of a context that nobody has asked for
  flags               flags that do not exist
"""

import os
import signal
import socket
import struct
import sys
import threading

OPTION_MAGIC = 0x0003e889045565a9
EXPORT_NAME, ABORT, GO, STRUCTURED, SET_META = 1, 2, 7, 8, 10
ACK, INFO, META = 1, 3, 4
UNSUPPORTED = 0x80000001
READ, DISCONNECT, BLOCK_STATUS = 0, 2, 7
NONE, OFFSET_DATA, OFFSET_HOLE, STATUS, ERROR = 0, 1, 2, 5, 0x8001
CONTEXT = 1


class HangUp(Exception):
    pass


class Connection:
    lock = threading.Lock()
    cuts = []       # what the cuts are, and the next one

    def __init__(self, sock, path, trouble_path):
        self.sock = sock
        self.path, self.trouble_path = path, trouble_path
        self.sent = 0
        self.cut = self.stall = None    # at so many bytes
        self.look()

    def look(self):
        """What is to go wrong now?"""
        try:
            with open(self.trouble_path) as f:
                words = f.read().split()
        except FileNotFoundError:
            words = []
        self.trouble = words[0] if words else ""
        self.numbers = [int(word) for word in words[1:]]

    def next_cut(self, first, end):
        """After how many bytes to hang up; None if that is over."""
        with self.lock:
            if Connection.cuts[:2] != [first, end]:
                Connection.cuts[:] = [first, end, first]
            cut = Connection.cuts[2]
            if cut == end:
                return None
            Connection.cuts[2] += 1
            print("cut at", cut, file=sys.stderr, flush=True)
            return cut

    def receive(self, count):
        data = b""
        while len(data) < count:
            more = self.sock.recv(min(count - len(data), 1 << 20))
            if not more:
                raise HangUp
            data += more
        return data

    def send(self, data):
        """As much of it as may be sent."""
        for limit in (self.cut, self.stall):
            if limit is not None and self.sent + len(data) >= limit:
                self.sock.sendall(data[:limit - self.sent])
                if limit == self.stall:
                    # Until the client gives up; what it says is not heard.
                    while self.sock.recv(65536):
                        pass
                raise HangUp
        self.sock.sendall(data)
        self.sent += len(data)

    # The handshake.

    def option_reply(self, option, kind, data=b"", length=None):
        magic = OPTION_MAGIC + (self.trouble == "option-magic")
        self.send(struct.pack(">QIII", magic, option, kind,
                              len(data) if length is None else length) + data)

    def go(self, option):
        size = os.path.getsize(self.path)
        blocks = [1, 4096, 32 << 20]
        if self.trouble == "size":
            size = self.numbers[0]
        if self.trouble == "blocks":
            blocks = self.numbers
        # Has flags, read-only, several connections.
        self.option_reply(option, INFO,
                          struct.pack(">HQH", 0, size, 1 | 2 | 256))
        self.option_reply(option, INFO, struct.pack(">HIII", 3, *blocks))
        while self.trouble == "endless-info":
            self.option_reply(option, INFO, struct.pack(">H", 77) + bytes(999))
        if self.trouble == "long-option":
            self.option_reply(option, INFO, length=0xfffffff0)
            while True:
                self.send(bytes(65536))
        self.option_reply(option, ACK)

    def shake_hands(self):
        if self.trouble == "cut-handshake":
            self.cut = self.numbers[0]
        if self.trouble == "stall-handshake":
            self.stall = self.numbers[0]
        first = b"NBDMAGIG" if self.trouble == "magic" else b"NBDMAGIC"
        self.send(first + b"IHAVEOPT" + struct.pack(">H", 3))
        self.receive(4)
        while True:
            _, option, length = struct.unpack(">QII", self.receive(16))
            self.receive(length)
            if option == STRUCTURED:
                self.option_reply(option, ACK)
            elif option == SET_META:
                self.option_reply(option, META, struct.pack(">I", CONTEXT) +
                                  b"base:allocation")
                self.option_reply(option, ACK)
            elif option == GO:
                self.go(option)
                break
            elif option in (EXPORT_NAME, ABORT):
                raise HangUp
            else:
                self.option_reply(option, UNSUPPORTED)
        self.cut = self.stall = None

    # The replies.

    def chunk(self, cookie, kind, data=b"", length=None, done=True):
        magic = 0x668e33ef + (self.trouble == "reply-magic")
        cookie ^= 0x1234 * (self.trouble == "cookie")
        self.send(struct.pack(">IHHQI", magic, done, kind, cookie,
                              len(data) if length is None else length) + data)

    def error(self, cookie, number, kind=ERROR, message=b"", length=None):
        self.chunk(cookie, kind, struct.pack(
            ">IH", number, len(message) if length is None else length) +
            message)

    def read(self, cookie, offset, count):
        with open(self.path, "rb") as f:
            f.seek(offset)
            data = f.read(count)
        at = struct.pack(">Q", offset)
        half = data[:count // 2]
        if self.trouble == "oversize":
            self.chunk(cookie, OFFSET_DATA, at + data + bytes(65536))
        elif self.trouble == "outside":
            self.chunk(cookie, OFFSET_DATA,
                       struct.pack(">Q", offset + 512) + data, done=False)
            self.chunk(cookie, OFFSET_DATA,
                       struct.pack(">Q", (offset - 512) % (1 << 64)) + data)
        elif self.trouble == "short":
            self.chunk(cookie, OFFSET_DATA, at + half)
        elif self.trouble == "twice":
            self.chunk(cookie, OFFSET_DATA, at + half, done=False)
            self.chunk(cookie, OFFSET_DATA, at + half)
        elif self.trouble == "huge-chunk":
            self.chunk(cookie, OFFSET_DATA, at + data, length=0xfffffff0)
            while True:
                self.send(bytes(65536))
        elif self.trouble == "unknown-chunk":
            self.chunk(cookie, 77, at + data)
        elif self.trouble == "unknown-error":
            self.error(cookie, 5, kind=0x8077)
        elif self.trouble == "error":
            self.error(cookie, self.numbers[0], message=b"no")
        elif self.trouble == "long-message":
            self.error(cookie, 5, message=b"no", length=60000)
        elif self.trouble == "simple":
            self.send(struct.pack(">IIQ", 0x67446698, 0, cookie) + data)
        elif self.trouble == "hole":
            self.chunk(cookie, OFFSET_HOLE, at + struct.pack(">I", 0xfffff000))
        else:
            self.chunk(cookie, OFFSET_DATA, at + data)

    def block_status(self, cookie, count):
        context = CONTEXT
        extents = [(count, 0)]
        if self.trouble == "beyond":
            extents = [(0xffffffff, 3), (0xffffffff, 0), (0xffffffff, 3)]
        elif self.trouble == "zero-length":
            extents = [(0, 3)] * 10
        elif self.trouble == "none":
            extents = []
        elif self.trouble == "endless":
            extents = [(1, i) for i in range(4)]
        elif self.trouble == "context":
            context = 0xfefefefe
        elif self.trouble == "flags":
            extents = [(count, 0xfffffffc)]
        times = 1 << 18 if self.trouble == "endless" else 1
        self.chunk(cookie, STATUS, struct.pack(">I", context) + times * b"".join(
            struct.pack(">II", *extent) for extent in extents))

    def serve(self):
        self.shake_hands()
        while True:
            _, _, kind, cookie, offset, count = struct.unpack(
                ">IHHQQI", self.receive(28))
            self.look()
            self.sent = 0
            if self.trouble == "cut-reply":
                self.cut = self.numbers[0]
            if self.trouble == "cut-replies":
                self.cut = self.next_cut(*self.numbers)
            if self.trouble == "stall-reply":
                self.stall = self.numbers[0]
            if kind == READ:
                self.read(cookie, offset, count)
            elif kind == BLOCK_STATUS:
                self.block_status(cookie, count)
            elif kind == DISCONNECT:
                raise HangUp
            else:
                self.error(cookie, 22)
            while self.trouble == "flood":
                cookie += 1
                self.chunk(cookie, NONE)

    def run(self):
        try:
            self.serve()
        except (HangUp, OSError):
            pass
        self.sock.close()


def main():
    path, served, trouble = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *args: os._exit(0))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    while True:
        connection = Connection(listener.accept()[0], served, trouble)
        threading.Thread(target=connection.run, daemon=True).start()


if __name__ == "__main__":
    main()
