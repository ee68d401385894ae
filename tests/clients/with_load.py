"""h2load and wrk through the gateway: everything is answered, over both versions of HTTP, with TLS and without."""

import re
import types

from certificates import Authority
from programs import equal, free_port

REQUESTS = 2_000


def prepare(programs):
    stand = types.SimpleNamespace(programs=programs, plain=free_port(), tls=free_port())
    certificate, key = Authority(programs.folder, "authority").sign("localhost")
    lab = programs.lab()
    stand.body = programs.file("body", b"x" * 20_000)
    stand.gateway = programs.gateway(f"""\
listeners:
  - bind: 127.0.0.1:{stand.plain}
  - {{ bind: "127.0.0.1:{stand.tls}", tls: [{{ cert: {certificate}, key: {key} }}] }}
upstreams: {{ lab: {{ endpoints: ["http://127.0.0.1:{lab}"] }} }}
routes: [{{ path: /, upstream: lab }}]
""")
    return stand


def h2load(stand, *words, streams=16, connections=8):
    """Runs h2load and checks that every request ended well."""
    said = stand.programs.run(["h2load", "-n", REQUESTS, "-c", connections, "-m", streams, *words], seconds=90)
    counts = re.search(r"(\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
    assert counts, said
    equal([int(count) for count in counts.groups()], [REQUESTS, REQUESTS, REQUESTS, 0, 0, 0], f"counts of\n{said}")
    equal(re.search(r"status codes: (\d+) 2xx", said)[1], str(REQUESTS), "replies with status 2xx")


def all_streams_over_tls_succeed(stand):
    h2load(stand, f"https://localhost:{stand.tls}/small")


def all_streams_in_clear_text_succeed(stand):
    h2load(stand, f"http://127.0.0.1:{stand.plain}/small")


def all_uploads_over_http_2_succeed(stand):
    h2load(stand, "-d", stand.body, f"https://localhost:{stand.tls}/small")


def small_windows_hold_nobody_up(stand):
    # Windows of 1 KiB a stream and 16 KiB a connection for replies of 10 KiB.
    h2load(stand, "-w", 10, "-W", 14, f"http://127.0.0.1:{stand.plain}/bytes/10240")


def a_connection_for_a_hundred_streams_at_once_is_enough(stand):
    h2load(stand, f"https://localhost:{stand.tls}/bytes/3000", streams=100, connections=1)


def all_requests_over_http_1_1_succeed(stand):
    for address in (f"http://127.0.0.1:{stand.plain}", f"https://localhost:{stand.tls}"):
        h2load(stand, "--h1", f"{address}/small", streams=1)


def wrk_sees_no_error(stand):
    for address, seconds in ((f"http://127.0.0.1:{stand.plain}", 3), (f"https://127.0.0.1:{stand.tls}", 3)):
        said = stand.programs.run(["wrk", "-t", 1, "-c", 64, "-d", f"{seconds}s", f"{address}/small"])
        assert "Socket errors" not in said and "Non-2xx" not in said, said
        assert int(re.search(r"(\d+) requests in", said)[1]) > 64, said


def nothing_is_held_afterwards(stand):
    stand.gateway.at_rest()
