"""Streams that check themselves: WebSockets that echo numbers and event streams that count, one message a second each."""

import asyncio
import base64
import random

# Seconds between two messages of a stream.
PACE = 1.0
# The streams are spread over so many moments of that time.
SLICES = 20
# Bytes of a reply's head that are looked through for its end.
HEAD_MAX = 16_384
# An event stream is one that ends by itself within a day.
EVENTS_MAX = 86_400
# Seconds that one may take to be opened, its head included, and that the last echoes may take.
OPEN_SECONDS = 20
LAST_SECONDS = 10
# Broken streams that are described; all are counted.
TOLD_MAX = 20


class Broken(Exception):
    """What is wrong with a stream."""


class Chunks:
    """Takes the chunked coding off a body."""

    def __init__(self):
        self._raw = b""
        self.ended = False

    def push(self, data):
        """The payload in `data`, as far as its chunks are whole."""
        self._raw += data
        payload = []
        while not self.ended:
            line, found, rest = self._raw.partition(b"\r\n")
            if not found:
                break
            size = int(line.partition(b";")[0], 16)
            if len(rest) < size + 2:
                break
            if rest[size:size + 2] != b"\r\n":
                raise Broken(f"no line end behind a chunk: {rest[size:size + 2]!r}")
            payload.append(rest[:size])
            self._raw = rest[size + 2:]
            self.ended = size == 0
        if self.ended and self._raw:
            raise Broken(f"bytes behind the last chunk: {self._raw[:40]!r}")
        return b"".join(payload)


class Events:
    """Checks the lab origin's events: 1, 2, 3 … without gap or duplicate."""

    def __init__(self):
        self._raw = b""
        self.last = 0

    def push(self, data):
        self._raw += data
        *events, self._raw = self._raw.split(b"\n\n")
        for event in events:
            # A line that begins with a colon is a heartbeat.
            lines = [line for line in event.split(b"\n") if not line.startswith(b":")]
            number = self.last + 1
            if lines and lines != [b"id: %d" % number, b"data: event %d" % number]:
                raise Broken(f"event {number} was expected, {event[:60]!r} came")
            self.last += bool(lines)


def frame(payload, mask=None):
    """A text message of WebSocket, shorter than 126 bytes; clients mask theirs."""
    if mask is None:
        return bytes([0x81, len(payload)]) + payload
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return bytes([0x81, 0x80 | len(payload)]) + mask + masked


class Echoes:
    """Checks that numbers come back in order, each once."""

    def __init__(self):
        self._raw = b""
        self.sent = self.last = 0

    def next(self):
        self.sent += 1
        return b"%010d" % self.sent

    def push(self, data):
        self._raw += data
        wanted = frame(b"%010d" % (self.last + 1))
        while len(self._raw) >= len(wanted):
            if not self._raw.startswith(wanted):
                raise Broken(f"echo {self.last + 1} was expected, {self._raw[:len(wanted)]!r} came")
            self._raw = self._raw[len(wanted):]
            self.last += 1
            wanted = frame(b"%010d" % (self.last + 1))
        if self.last > self.sent:
            raise Broken(f"echo {self.last} was never sent")


class Stream(asyncio.Protocol):
    """One stream from its request to its end, after so many messages."""

    def __init__(self, crowd, messages):
        self.crowd, self.messages = crowd, messages
        self.transport = None
        self.head = b""
        self.begun = self.done = False
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.request())

    def data_received(self, data):
        if self.done:
            return
        try:
            if not self.begun:
                self.head += data
                head, found, data = self.head.partition(b"\r\n\r\n")
                if not found:
                    if len(self.head) > HEAD_MAX:
                        raise Broken("a reply without an end of its head")
                    return
                if not head.startswith(self.wanted):
                    raise Broken(f"{head[:80]!r} instead of {self.wanted!r}")
                self.begun = True
            if data:
                self.body(data)
        except (Broken, ValueError) as error:
            self.end(str(error))

    def connection_lost(self, error):
        self.end(f"cut after {self.received()} messages: {error or 'closed'}")

    def end(self, why=None):
        """The stream is over, well if there is no `why`."""
        if not self.done:
            self.done = True
            self.transport.close()
            self.crowd.ended(self, why)
            if not self.over.done():
                self.over.set_result(why)


class EventStream(Stream):
    """An SSE stream over HTTP/1.1."""

    kind = "sse"
    wanted = b"HTTP/1.1 200 "

    def __init__(self, crowd, messages):
        super().__init__(crowd, messages)
        self.chunks, self.events = Chunks(), Events()

    def request(self):
        return (b"GET /sse?count=%d&x-lab-interval-ms=%d HTTP/1.1\r\nHost: storm\r\nAccept: text/event-stream\r\n\r\n"
                % (self.messages, PACE * 1000))

    def received(self):
        return self.events.last

    def tick(self):
        pass

    def body(self, data):
        before = self.events.last
        self.events.push(self.chunks.push(data))
        self.crowd.messages += self.events.last - before
        if self.chunks.ended:
            whole = self.events.last == self.messages
            self.end(None if whole else f"ended after {self.events.last} of {self.messages} events")


class WebSocket(Stream):
    """A WebSocket that sends a number each second and wants it back."""

    kind = "websocket"
    wanted = b"HTTP/1.1 101 "

    def __init__(self, crowd, messages):
        super().__init__(crowd, messages)
        self.echoes = Echoes()
        self.mask = random.randbytes(4)

    def request(self):
        key = base64.b64encode(random.randbytes(16))
        return (b"GET /ws HTTP/1.1\r\nHost: storm\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")

    def received(self):
        return self.echoes.last

    def tick(self):
        if self.begun and not self.done and self.echoes.sent < self.messages:
            self.transport.write(frame(self.echoes.next(), self.mask))

    def body(self, data):
        before = self.echoes.last
        self.echoes.push(data)
        self.crowd.messages += self.echoes.last - before
        if self.echoes.last == self.messages:
            self.end()


class Crowd:
    """Streams of both kinds: `number` at once, each replaced when it has ended. `lives(place)` is the number of messages
    that the stream at this place gets; after `finish` none is begun, and `leave` ends those that would go on."""

    def __init__(self, port, number, lives):
        self.port, self.number, self.lives = port, number, lives
        self.opened = {"sse": 0, "websocket": 0}
        self.whole = self.messages = self.broken = 0
        self.told = []
        self.open = set()
        self._finishing = False
        self._tasks = []

    async def start(self):
        """Opens all; gives back control when every one has its reply's head."""
        for place in range(self.number):
            self._tasks.append(asyncio.create_task(self._keep(place)))
            await asyncio.sleep(0.002)  # 500 a second: opening is no part of the storm.
        self._tasks.append(asyncio.create_task(self._tick()))
        deadline = asyncio.get_running_loop().time() + OPEN_SECONDS
        while sum(stream.begun for stream in self.open) + self.broken < self.number:
            if asyncio.get_running_loop().time() > deadline:
                break  # Those that have not begun are counted as broken at their end.
            await asyncio.sleep(0.05)

    async def _keep(self, place):
        kind = WebSocket if place % 2 else EventStream
        while not self._finishing:
            stream = None
            try:
                _, stream = await asyncio.wait_for(
                    asyncio.get_running_loop().create_connection(
                        lambda: kind(self, self.lives(place)), "127.0.0.1", self.port), OPEN_SECONDS)
            except (OSError, asyncio.TimeoutError) as error:
                self._tell(f"{kind.kind} at place {place} was not opened: {error!r}")
                await asyncio.sleep(PACE)
                continue
            self.opened[kind.kind] += 1
            if not stream.done:
                self.open.add(stream)
                await stream.over

    async def _tick(self):
        while True:
            for slice_number in range(SLICES):
                for place, stream in enumerate(list(self.open)):
                    if place % SLICES == slice_number:
                        stream.tick()
                await asyncio.sleep(PACE / SLICES)

    def ended(self, stream, why):
        self.open.discard(stream)
        if why is None:
            self.whole += 1
        else:
            self._tell(f"{stream.kind}: {why}")

    def _tell(self, why):
        self.broken += 1
        if len(self.told) < TOLD_MAX:
            self.told.append(why)

    async def finish(self, seconds):
        """Begins no stream any more and waits until those that are open have ended by themselves, so long at most."""
        self._finishing = True
        deadline = asyncio.get_running_loop().time() + seconds
        while self.open and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.1)

    async def leave(self):
        """Ends the streams that go on: each must be alive to its last message."""
        self._finishing = True
        self._tasks[-1].cancel()  # No further messages.
        deadline = asyncio.get_running_loop().time() + LAST_SECONDS
        waits = [stream for stream in self.open if stream.kind == "websocket"]
        while any(stream.echoes.last < stream.echoes.sent for stream in waits if not stream.done):
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.05)
        for stream in list(self.open):
            late = stream.kind == "websocket" and stream.echoes.last < stream.echoes.sent
            silent = stream.received() == 0
            stream.end(f"only {stream.received()} messages came back" if late or silent else None)

    def close(self):
        for task in self._tasks:
            task.cancel()

    def result(self):
        return {"opened": dict(self.opened), "whole": self.whole, "broken": self.broken, "messages": self.messages,
                "open": len(self.open), "told": list(self.told)}
