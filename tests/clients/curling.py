"""curl in front of the gateway: the stand of the groups that use it, and one transfer with what curl says of it."""

import json
import os
import types

from certificates import Authority
from origin import Origin
from programs import connects, equal, free_port, until

MIB = 1 << 20

# Host names of tests; all lead to loopback.
NAMES = ("a.test", "b.test", "c.test", "x.wild.test")


def prepare(programs):
    ports = ("plain", "six", "tls", "tls13", "mtls", "optional", "proxied", "proxied_tls", "front", "front_tls")
    stand = types.SimpleNamespace(programs=programs, **{name: free_port() for name in ports})
    stand.authority, stranger = Authority(programs.folder, "authority"), Authority(programs.folder, "stranger")
    stand.certificate, stand.key = stand.authority.sign("a.test")
    other, other_key = stand.authority.sign("b.test", "*.wild.test")
    stand.client, stand.stranger = stand.authority.sign("client"), stranger.sign("client")
    stand.origin = programs.add(Origin(free_port()))
    stand.lab = programs.lab()
    stand.static = programs.folder / "static"
    stand.static.mkdir()
    stand.socket = programs.folder / "nginx.sock"
    (stand.static / "file").write_bytes(os.urandom(MIB))
    port = free_port()
    programs.nginx(f"server {{ listen 127.0.0.1:{port}; listen unix:{stand.socket}; root {stand.static}; }}", port)
    first, second = (f"{{ cert: {c}, key: {k} }}" for c, k in ((stand.certificate, stand.key), (other, other_key)))
    stand.gateway = programs.gateway(f"""\
listeners:
  - bind: 127.0.0.1:{stand.plain}
  - bind: "[::1]:{stand.six}"
  - {{ bind: "127.0.0.1:{stand.tls}", tls: [{first}, {second}] }}
  - {{ bind: "127.0.0.1:{stand.tls13}", tls: [{first}], tls_min: "1.3" }}
  - {{ bind: "127.0.0.1:{stand.mtls}", tls: [{first}], client_ca: {stand.authority.file} }}
  - {{ bind: "127.0.0.1:{stand.optional}", tls: [{first}], client_ca: {stand.authority.file}, client_auth: optional }}
  - {{ bind: "127.0.0.1:{stand.proxied}", proxy_protocol: true, trusted_proxies: [127.0.0.0/8] }}
  - {{ bind: "127.0.0.1:{stand.proxied_tls}", tls: [{first}], proxy_protocol: true, trusted_proxies: [127.0.0.0/8] }}
limits: {{ body: 6MiB }}
upstreams:
  origin: {{ endpoints: ["http://127.0.0.1:{stand.origin.server_address[1]}"] }}
  lab: {{ endpoints: ["http://127.0.0.1:{stand.lab}"] }}
  file: {{ endpoints: ["unix:{stand.socket}"] }}
routes:
  - {{ path: /, upstream: origin }}
  - {{ path: /lab/, upstream: lab, rewrite: {{ prefix: / }} }}
  - {{ path: /file, upstream: file }}
  - {{ path: /packed/, upstream: origin, rewrite: {{ prefix: / }}, compress: [zstd, br, gzip] }}
  - {{ path_exact: /moved, redirect: {{ to: "/echo", status: 308 }} }}
  - {{ path_exact: /elsewhere, redirect: {{ to: "{{scheme}}://b.test:{stand.tls}/echo", status: 302 }} }}
  - {{ path_exact: /said, reply: {{ status: 418, body: "no coffee\\n", headers: {{ X-Pot: tea }} }} }}
  - {{ host: only.test, path: /only, upstream: origin }}
""")
    for name, to, extra in (("front", stand.proxied, ""), ("front_tls", stand.proxied_tls, "")):
        port = getattr(stand, name)
        programs.haproxy(
            f"listen front\n mode tcp\n bind 127.0.0.1:{port}\n server gateway 127.0.0.1:{to} send-proxy-v2{extra}\n", port, name)
    until(lambda: connects(stand.tls), "the TLS listener")
    return stand


class Reply:
    """What curl says of its last transfer: `head`, `body`, `code` (of HTTP), `version` and `said` (its own log)."""

    def __init__(self, head, body, written, said):
        self.head, self.body, self.said = head, body, said
        self.code, self.version, self.connects = written["http_code"], written["http_version"], written["num_connects"]

    def field(self, name):
        """The value of a field in the last head."""
        for line in reversed(self.head.splitlines()):
            found, colon, value = line.partition(":")
            if colon and found.lower() == name:
                return value.strip()
        return None


def curl(stand, *words, given=b"", code=0, seconds=60):
    """Runs curl; a test certificate's names lead to the gateway and its authority is trusted."""
    head, body = stand.programs.scratch("head"), stand.programs.scratch("body")
    command = ["curl", "-sS", "-v", "-q", "--noproxy", "*", "--cacert", stand.authority.file, "-D", head, "-o", body]
    command += [word for name in NAMES for word in ("--connect-to", f"{name}::127.0.0.1:")]
    said = stand.programs.run([*command, "-w", "\nwritten %{json}\n", *words], seconds, code, given)
    written = [json.loads(line.removeprefix("written ")) for line in said.splitlines() if line.startswith("written ")]
    reply = Reply(
        head.read_text(errors="replace") if head.exists() else "", body.read_bytes() if body.exists() else b"", written[-1], said)
    reply.all_connects = sum(one["num_connects"] for one in written)
    reply.codes = [one["http_code"] for one in written]
    return reply


def ok(reply, body=None, version=None, code=200):
    equal(reply.code, code, "status")
    if body is not None:
        assert reply.body == body, f"the body differs: {len(reply.body)} bytes, {reply.body[:80]!r}…, not {len(body)} bytes"
    if version is not None:
        equal(reply.version, version, "version of HTTP")
    return reply


def plain(stand, path):
    return f"http://127.0.0.1:{stand.plain}{path}"


def secure(stand, path, name="a.test", port=None):
    return f"https://{name}:{port or stand.tls}{path}"


def both(stand, path):
    """The same path over HTTP/1.1 and over HTTP/2."""
    return plain(stand, path), secure(stand, path)
