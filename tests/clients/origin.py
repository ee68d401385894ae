"""An HTTP/1.1 origin of Python's own server, for what checks must see or steer from behind the gateway.

Whatever is sent comes back byte for byte from `/echo`; `seen` has every request. `/events` and `/v1/chat/completions` send an
event each time `release()` is called, so that a check knows what cannot have been sent yet.
"""

import gzip
import http.server
import queue
import socketserver
import threading

# Text that is worth compressing.
TEXT = b"".join(b"line %d of a text that compresses well\n" % number for number in range(2_000))

# How long the origin waits for a release. It only bounds a failure.
RELEASE_SECONDS = 30


class Seen:
    """A request as it arrived."""

    def __init__(self, handler, body):
        self.method, self.target, self.version = handler.command, handler.path, handler.request_version
        self.fields = [(name.lower(), value) for name, value in handler.headers.items()]
        self.body = body

    def field(self, name):
        """The value of a field, several joined by commas; None without one."""
        values = [value for found, value in self.fields if found == name]
        return ", ".join(values) if values else None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "origin"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def _body(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline(100).split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline(10)
            while self.rfile.readline(1000).strip():
                pass
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _reply(self, status, body, **fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _events(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        number = 0
        while (text := self.server.events.get(timeout=RELEASE_SECONDS)) is not None:
            number += 1
            event = b"id: %d\ndata: %s\n\n" % (number, text.encode())
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self):
        seen = Seen(self, self._body())
        self.server.seen.append(seen)
        path = self.path.partition("?")[0]
        if path in ("/events", "/v1/chat/completions"):
            self._events()
        elif path == "/echo":
            self._reply(200, seen.body, content_type="application/octet-stream")
        elif path == "/text":
            self._reply(200, TEXT, content_type="text/plain", etag='"text-1"')
        elif path == "/gzip":
            self._reply(200, gzip.compress(TEXT), content_type="text/plain", content_encoding="gzip", vary="Accept-Encoding")
        else:
            self._reply(200, b"origin\n", content_type="text/plain")

    def __getattr__(self, name):
        # Any method is answered alike, also those that nobody has heard of.
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)


class Origin(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Serves in a thread until it is stopped; `pid` and `name` make it look like a program."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port):
        super().__init__(("127.0.0.1", port), Handler)
        self.name, self.seen, self.events = "origin", [], queue.Queue()
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    def release(self, text):
        """Lets the next event go, or ends the stream with None."""
        self.events.put(text)

    def last(self):
        return self.seen[-1]

    def handle_error(self, *_):
        """A caller that goes away is no news here."""

    def stop(self):
        self.shutdown()
        self.server_close()
        return 0
