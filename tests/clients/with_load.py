"""h2load and wrk through the gateway: everything is answered, over both versions of HTTP, with TLS and without."""

import re
import types

from certificates import Authority
from loading import all_succeed
from programs import free_port

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


def all_streams_over_tls_succeed(stand):
    all_succeed(stand, f"https://localhost:{stand.tls}/small", "-m", 16, connections=8)


def all_streams_in_clear_text_succeed(stand):
    all_succeed(stand, f"http://127.0.0.1:{stand.plain}/small", "-m", 16, connections=8)


def all_uploads_over_http_2_succeed(stand):
    all_succeed(stand, f"https://localhost:{stand.tls}/small", "-m", 16, "-d", stand.body)


def small_windows_hold_nobody_up(stand):
    # Windows of 1 KiB a stream and 16 KiB a connection for replies of 10 KiB.
    all_succeed(stand, f"http://127.0.0.1:{stand.plain}/bytes/10240", "-m", 16, "-w", 10, "-W", 14)


def a_connection_for_a_hundred_streams_at_once_is_enough(stand):
    all_succeed(stand, f"https://localhost:{stand.tls}/bytes/3000", "-m", 100, connections=1)


def all_requests_over_http_1_1_succeed(stand):
    for address in (f"http://127.0.0.1:{stand.plain}", f"https://localhost:{stand.tls}"):
        all_succeed(stand, f"{address}/small", "--h1")


def wrk_sees_no_error(stand):
    for address, seconds in ((f"http://127.0.0.1:{stand.plain}", 3), (f"https://127.0.0.1:{stand.tls}", 3)):
        said = stand.programs.run(["wrk", "-t", 1, "-c", 64, "-d", f"{seconds}s", f"{address}/small"])
        assert "Socket errors" not in said and "Non-2xx" not in said, said
        assert int(re.search(r"(\d+) requests in", said)[1]) > 64, said


def nothing_is_held_afterwards(stand):
    stand.gateway.at_rest()
