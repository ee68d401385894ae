"""The load of a storm: requests of every kind, slow bodies, and streams that check themselves. All at a pace that leaves
the machine room: the origin answers after some milliseconds, and callers wait for it."""

import asyncio
import contextlib
import json
import threading

import storm_http2
import storm_streams
from proxies import BenchError, Process

# Milliseconds that the origin takes for a request of the load.
WAIT_MS = 10
NEW_WAIT_MS = 25
HTTP2_WAIT_MS = 50

BODY = "x" * 1024

# A slow upload: this many pieces of so many bytes, this many seconds apart.
UPLOAD_PIECES, UPLOAD_BYTES, UPLOAD_SECONDS = 50, 2048, 0.1
# A slow download: this many bytes, read in pieces, this many seconds apart.
DOWNLOAD_BYTES, READ_BYTES, READ_SECONDS = 4 << 20, 64 << 10, 0.1
# The origin's bodies are pages of letters.
PAGE = (b"abcdefghijklmnopqrstuvwxyz" * 2521)[:64 << 10]

# What a load generator may take longer than it was told.
GRACE_SECONDS = 40


def loads(site):
    """What each load generator does: its name, its URL, its connections, and more words for its command."""
    plain, tls = f"http://127.0.0.1:{site.port}", f"https://127.0.0.1:{site.tls_port}"
    return [
        ("GET, keep-alive", f"{plain}/slow?ms={WAIT_MS}", 6, []),
        ("GET, a connection each", f"{plain}/slow?ms={NEW_WAIT_MS}", 2, ["--close"]),
        ("POST, keep-alive", f"{plain}/slow?ms={WAIT_MS}", 2, ["--body", BODY]),
        ("POST over TLS, keep-alive", f"{tls}/slow?ms={WAIT_MS}", 4, ["--body", BODY]),
        ("GET over TLS, a full handshake each", f"{tls}/slow?ms={NEW_WAIT_MS}", 2, ["--handshakes", "full"]),
    ]


class Requests:
    """The load generators at work for so many seconds."""

    def __init__(self, site, seconds, only=None):
        self._running, self._seconds = [], seconds
        for number, (name, url, connections, more) in enumerate(only or loads(site)):
            path = site.folder / f"load-{number}.json"
            path.unlink(missing_ok=True)
            command = [site.binary, "bench", url, "-c", str(connections), "-d", str(seconds), "--timeout", "20",
                       "--json", str(path), *more]
            self._running.append((name, path, Process(f"load-{number}", command, site.folder)))

    def results(self):
        """Waits for the end; what each has found out."""
        found = []
        for name, path, process in self._running:
            process.wait(self._seconds + GRACE_SECONDS)
            found.append(summarised(name, json.loads(path.read_text())))
        return found

    def stop(self):
        for _, _, process in self._running:
            process.stop()


def summarised(name, report):
    """What a report of our load generator says of failures and times."""
    wrong = {status: count for status, count in report["by_status"].items() if status != "200"}
    latency = report["latency"]
    return {
        "name": name,
        "requests": report["started"],
        "failed": report["failed"] + sum(wrong.values()),
        "errors": {kind: count for kind, count in report["errors"].items() if count} | wrong,
        "connections_made": report["connections_made"],
        "p50_us": latency["p50_us"],
        "p99_us": latency["p99_us"],
        "max_us": latency["max_us"],
    }


def http2_summarised(taken):
    times = sorted(taken["times_us"])
    return {
        "name": "GET over HTTP/2",
        "requests": taken["finished"] + taken["failed"],
        "failed": taken["failed"],
        "errors": {why: taken["told"].count(why) for why in taken["told"]},
        "connections_made": taken["connections_made"],
        "sent_again": taken["sent_again"],
        "p50_us": quantile(times, 0.5),
        "p99_us": quantile(times, 0.99),
        "max_us": times[-1] if times else 0,
    }


def quantile(times, part):
    """Of times in rising order; 0 when there are none."""
    return times[min(int(len(times) * part), len(times) - 1)] if times else 0


class SlowBodies:
    """One upload and one download after the other, each slow."""

    def __init__(self, port):
        self.port = port
        self.uploads = self.downloads = self.failed = 0
        self.told = []
        self._stop = False
        self._tasks = []

    def start(self):
        self._tasks = [asyncio.create_task(self._repeat(self._upload)), asyncio.create_task(self._repeat(self._download))]

    async def _repeat(self, work):
        while not self._stop:
            try:
                await asyncio.wait_for(work(), 100)
            except (OSError, EOFError, asyncio.TimeoutError, BenchError, ValueError) as error:
                self.failed += 1
                self.told.append(f"{work.__name__.strip('_')}: {error!r}")
                await asyncio.sleep(1)

    async def _upload(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.closing(writer):
            length = UPLOAD_PIECES * UPLOAD_BYTES
            writer.write(b"POST /echo HTTP/1.1\r\nHost: storm\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % length)
            for _ in range(UPLOAD_PIECES):
                writer.write(b"u" * UPLOAD_BYTES)
                await writer.drain()
                await asyncio.sleep(UPLOAD_SECONDS)
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.read(-1)
            if not head.startswith(b"HTTP/1.1 200 ") or body.count(b"u" * length) != 1:
                raise BenchError(f"{head[:60]!r} with {len(body)} bytes")
        self.uploads += 1

    async def _download(self):
        # A small window, so that the gateway feels how slowly we read.
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=READ_BYTES)
        with contextlib.closing(writer):
            writer.write(b"GET /bytes/%d HTTP/1.1\r\nHost: storm\r\nConnection: close\r\n\r\n" % DOWNLOAD_BYTES)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise BenchError(f"{head[:60]!r}")
            for _ in range(DOWNLOAD_BYTES // len(PAGE)):
                if await reader.readexactly(len(PAGE)) != PAGE:
                    raise BenchError("a page with other bytes")
                await asyncio.sleep(READ_SECONDS)
            if await reader.read(1):
                raise BenchError("bytes behind the body")
        self.downloads += 1

    async def finish(self):
        self._stop = True
        await asyncio.wait(self._tasks, timeout=60)

    def close(self):
        for task in self._tasks:
            task.cancel()

    def result(self):
        return {"uploads": self.uploads, "downloads": self.downloads, "failed": self.failed, "told": self.told[:20]}


class Callers:
    """Streams, HTTP/2 and slow bodies: on a loop of their own, in a thread of their own."""

    def __init__(self, site, streams, lives):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="callers", daemon=True)
        self.crowd = storm_streams.Crowd(site.port, streams, lives)
        self.http2 = storm_http2.Callers(site.tls_port, f"/slow?ms={HTTP2_WAIT_MS}", connections=2, streams=4)
        self.slow = SlowBodies(site.port)

    def __enter__(self):
        self._thread.start()
        self._do(self.crowd.start(), storm_streams.OPEN_SECONDS * 3)

        async def others():
            self.http2.start()
            self.slow.start()

        self._do(others(), 5)
        return self

    def take_http2(self):
        async def taken():
            return http2_summarised(self.http2.take())

        return self._do(taken(), 5)

    def messages(self):
        return self.crowd.messages

    def settle_requests(self):
        """Ends the requests of HTTP/2 and the slow bodies."""
        self._do(self.http2.finish(), 60)
        self._do(self.slow.finish(), 120)

    def leave_streams(self):
        self._do(self.crowd.leave(), storm_streams.LAST_SECONDS * 3)

    def finish_streams(self, seconds):
        self._do(self.crowd.finish(seconds), seconds + 30)

    def _do(self, work, seconds):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def __exit__(self, *_):
        async def ended():
            for part in (self.crowd, self.http2, self.slow):
                part.close()
            await asyncio.sleep(0.1)

        with contextlib.suppress(Exception):
            self._do(ended(), 10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
