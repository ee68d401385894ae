"""A small HTTP/2 caller over TLS that counts every request: one that the gateway has not taken (GOAWAY) is sent again."""

import asyncio
import ssl
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4

# RFC 7541 appendix A: `:status: 200` is entry 8 of the static table.
STATUS_200 = 0x88

# Seconds for one reply, and after a connection that could not be opened.
REPLY_SECONDS = 20
PAUSE_SECONDS = 0.1
# Requests on one connection: stream identifiers are not to run out.
REQUESTS_MAX = 100_000


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def get(path, authority):
    """The header block of a GET: indexed fields, and literals that are not indexed, without Huffman coding."""
    def literal(index, value):
        return bytes([index, len(value)]) + value

    # :method GET, :scheme https, :path, :authority
    return b"\x82\x87" + literal(0x04, path.encode()) + literal(0x01, authority.encode())


class Frames:
    """Cuts bytes into frames."""

    def __init__(self):
        self._raw = b""

    def push(self, data):
        self._raw += data
        frames = []
        while len(self._raw) >= 9:
            length = int.from_bytes(self._raw[:3], "big")
            if len(self._raw) < 9 + length:
                break
            kind, flags = self._raw[3], self._raw[4]
            stream = int.from_bytes(self._raw[5:9], "big") & 0x7FFF_FFFF
            frames.append((kind, flags, stream, self._raw[9:9 + length]))
            self._raw = self._raw[9 + length:]
        return frames


class Connection(asyncio.Protocol):
    """One connection; `free` is done when it takes no further request."""

    def __init__(self):
        self.frames = Frames()
        self.waiting = {}
        self.going = False
        self.next_stream = 1
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        # Windows so large that they need looking after only once in a while.
        settings = struct.pack("!HI", 4, 0x7FFF_FFFF)
        transport.write(PREFACE + frame(SETTINGS, 0, 0, settings)
                        + frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", 0x7FFF_0000)))

    def data_received(self, data):
        for kind, flags, stream, payload in self.frames.push(data):
            if kind == SETTINGS and not flags & ACK:
                self.transport.write(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                self.transport.write(frame(PING, ACK, 0, payload))
            elif kind == GOAWAY:
                self.going = True
                last, code = struct.unpack("!II", payload[:8])
                for number in [number for number in self.waiting if number > last]:
                    self.settle(number, None)
                if code:
                    self.fail(f"GOAWAY with code {code}")
            elif kind == RST_STREAM:
                code = struct.unpack("!I", payload)[0]
                # REFUSED_STREAM: it has not been looked at.
                self.settle(stream, None if code == 7 else f"reset with code {code}")
            elif kind == HEADERS and stream in self.waiting:
                reply, _ = self.waiting[stream]
                if payload[:1] == b"" or payload[0] != STATUS_200:
                    self.settle(stream, f"no 200: the field block begins with {payload[:8].hex()}")
                elif flags & END_STREAM:
                    self.settle(stream, "")
            elif kind == DATA and flags & END_STREAM:
                self.settle(stream, "")
        if self.going and not self.waiting:
            self.transport.close()

    def connection_lost(self, error):
        self.going = True
        self.fail(f"the connection ended: {error or 'closed'}")

    def fail(self, why):
        for number in list(self.waiting):
            self.settle(number, why)

    def settle(self, stream, outcome):
        """A request is answered (""), not taken (None), or failed, and why."""
        reply, _ = self.waiting.pop(stream, (None, None))
        if reply is not None and not reply.done():
            reply.set_result(outcome)

    def ask(self, block):
        reply = asyncio.get_running_loop().create_future()
        self.waiting[self.next_stream] = (reply, block)
        self.transport.write(frame(HEADERS, END_STREAM | END_HEADERS, self.next_stream, block))
        self.next_stream += 2
        return reply

    def usable(self):
        return not self.going and self.next_stream < REQUESTS_MAX * 2


class Callers:
    """Connections with some requests under way each, in a closed loop."""

    def __init__(self, port, path, connections, streams):
        self.port, self.block = port, get(path, "localhost")
        self.connections, self.streams = connections, streams
        self.finished = self.failed = self.again = self.made = 0
        self.times_us = []
        self.told = []
        self._tasks = []
        self._stop = False

    def start(self):
        self._tasks = [asyncio.create_task(self._connection()) for _ in range(self.connections)]

    async def _connection(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        while not self._stop:
            try:
                _, connection = await asyncio.wait_for(asyncio.get_running_loop().create_connection(
                    Connection, "127.0.0.1", self.port, ssl=context), REPLY_SECONDS)
            except (OSError, asyncio.TimeoutError) as error:
                self._fail(f"no connection: {error!r}")
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            self.made += 1
            await asyncio.gather(*(self._loop(connection) for _ in range(self.streams)))
            connection.transport.close()

    async def _loop(self, connection):
        loop = asyncio.get_running_loop()
        while connection.usable() and not self._stop:
            begun = loop.time()
            try:
                outcome = await asyncio.wait_for(connection.ask(self.block), REPLY_SECONDS)
            except asyncio.TimeoutError:
                outcome = "no reply in time"
                connection.going = True
            if outcome == "":
                self.finished += 1
                self.times_us.append(round((loop.time() - begun) * 1e6))
            elif outcome is None:
                self.again += 1
            else:
                self._fail(outcome)

    def _fail(self, why):
        self.failed += 1
        if len(self.told) < 20:
            self.told.append(why)

    async def finish(self):
        self._stop = True
        await asyncio.wait(self._tasks, timeout=REPLY_SECONDS)

    def close(self):
        for task in self._tasks:
            task.cancel()

    def take(self):
        """What has come since the last time."""
        taken = {"finished": self.finished, "failed": self.failed, "sent_again": self.again,
                 "connections_made": self.made, "told": self.told, "times_us": self.times_us}
        self.finished = self.failed = self.again = self.made = 0
        self.times_us, self.told = [], []
        return taken
