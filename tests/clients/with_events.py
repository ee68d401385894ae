"""curl -N and event streams: each event is with the caller before the next one exists, whatever the way."""

import contextlib
import http.client
import json
import queue
import types

from certificates import Authority
from origin import Origin
from programs import connects, equal, free_port, until

SECONDS = 20
KEY = "sk-clients-caller-0001"


def prepare(programs):
    ports = ("plain", "tls", "nginx", "front")
    stand = types.SimpleNamespace(programs=programs, **{name: free_port() for name in ports})
    stand.authority = Authority(programs.folder, "authority")
    certificate, key = stand.authority.sign("a.test")
    stand.origin = programs.add(Origin(free_port()))
    origin = stand.origin.server_address[1]
    programs.nginx(f"""
server {{
    listen 127.0.0.1:{stand.nginx};
    location / {{ proxy_pass http://127.0.0.1:{origin}; proxy_http_version 1.1; proxy_buffering off; }}
}}
server {{
    listen 127.0.0.1:{stand.front};
    location / {{ proxy_pass http://127.0.0.1:{stand.plain}; proxy_http_version 1.1; proxy_buffering off; }}
}}
""", stand.nginx)
    stand.gateway = programs.gateway(f"""\
listeners:
  - bind: 127.0.0.1:{stand.plain}
  - {{ bind: "127.0.0.1:{stand.tls}", tls: [{{ cert: {certificate}, key: {key} }}] }}
timeouts: {{ heartbeat: 300ms }}
callers: [{{ name: curl, key: {KEY} }}]
providers:
  events: {{ dialect: openai, base_url: "http://127.0.0.1:{origin}/v1", api_key: none }}
models: [{{ name: "*", to: [events] }}]
upstreams:
  origin: {{ endpoints: ["http://127.0.0.1:{origin}"] }}
  nginx: {{ endpoints: ["http://127.0.0.1:{stand.nginx}"] }}
routes:
  - {{ path: /v1/, llm: true }}
  - {{ path: /, upstream: origin }}
  - {{ path: /packed/, upstream: origin, rewrite: {{ prefix: / }}, compress: [gzip, br, zstd] }}
  - {{ path: /nginx/, upstream: nginx, rewrite: {{ prefix: / }} }}
""")
    until(lambda: connects(stand.front), "nginx in front")
    return stand


def stream(stand, *words):
    """A running curl that passes on what it gets at once."""
    return stand.programs.lines(
        "curl", "-sSN", "-q", "--noproxy", "*", "--cacert", stand.authority.file, "--connect-to", "a.test::127.0.0.1:", *words)


def _ways(stand):
    """Every way to `/events`: curl's words for it."""
    plain, secure = f"http://127.0.0.1:{stand.plain}", f"https://a.test:{stand.tls}"
    versions = {plain: ("--http1.0", "--http1.1", "--http2-prior-knowledge"), secure: ("--http1.1", "--http2")}
    for version, address in ((version, address) for address, several in versions.items() for version in several):
        for path in ("/events", "/nginx/events"):
            yield [version, address + path]
        for coding in ("gzip", "br", "zstd"):
            yield [version, "--compressed", "-H", f"Accept-Encoding: {coding}", address + "/packed/events"]
    yield [f"http://127.0.0.1:{stand.front}/events"]


def each_event_is_there_before_the_next_exists(stand):
    for words in _ways(stand):
        with stream(stand, *words) as events:
            try:
                for number in range(1, 6):
                    stand.origin.release(f"event {number}")
                    equal([events.next(), events.next()], [f"id: {number}", f"data: event {number}"], f"event {number}")
            except queue.Empty:
                raise AssertionError(f"an event was held back: {' '.join(map(str, words))}") from None
            finally:
                stand.origin.release(None)
            equal(events.next(), None, "end of the stream")


def ask_for_chat(stand, *words):
    body = json.dumps({"model": "any", "stream": True, "messages": [{"role": "user", "content": "hi"}]})
    return stream(stand, "-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json", "-d", body, *words)


def each_token_of_a_model_is_there_before_the_next_exists(stand):
    for version, address in (("--http1.1", f"http://127.0.0.1:{stand.plain}"), ("--http2", f"https://a.test:{stand.tls}")):
        with ask_for_chat(stand, version, address + "/v1/chat/completions") as events:
            for number in range(1, 6):
                choice = {"index": 0, "delta": {"content": f"{number} "}}
                token = json.dumps({"object": "chat.completion.chunk", "choices": [choice]})
                stand.origin.release(token)
                # Between two tokens the gateway may say that it lives.
                while (line := events.next()).startswith(":"):
                    pass
                equal([line, events.next()], [f"id: {number}", f"data: {token}"], f"token {number}")
            stand.origin.release("[DONE]")
            while (line := events.next()).startswith(":"):
                pass
            equal([line, events.next()], ["id: 6", "data: [DONE]"], "end marker")
            stand.origin.release(None)
            equal(events.next(), None, "end of the stream")


def silence_is_filled_with_heartbeats(stand):
    with ask_for_chat(stand, f"http://127.0.0.1:{stand.plain}/v1/chat/completions") as events:
        for _ in range(3):
            line = events.next()
            assert line.startswith(":"), f"not a comment: {line!r}"
        for text in ("[DONE]", None):
            stand.origin.release(text)


def a_caller_that_leaves_frees_its_stream(stand):
    for words in (["--http1.1"], ["--http2-prior-knowledge"]):
        with stream(stand, *words, f"http://127.0.0.1:{stand.plain}/events") as events:
            stand.origin.release("here")
            equal([events.next(), events.next()], ["id: 1", "data: here"], "event")
            events.leave()
            until(lambda: stand.gateway.metric("tidegate_requests_in_flight") == 0, "the gateway has noticed")
            stand.origin.release(None)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", stand.plain, timeout=SECONDS)) as connection:
        connection.request("GET", "/text")
        equal(connection.getresponse().status, 200, "status afterwards")


def nothing_is_held_afterwards(stand):
    stand.gateway.at_rest()
