"""TCP listeners before real protocols: redis, TLS by server name, TLS that ends at the gateway, half-closed connections."""

import contextlib
import hashlib
import os
import socket
import ssl
import threading
import types

from certificates import Authority
from programs import Program, equal, free_port, until

MIB = 1 << 20
SECONDS = 20


class Counter:
    """A server that reads until the caller has ended its direction and then tells how many bytes came, and their hash."""

    def __init__(self):
        self.name = "counter"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(SECONDS)
            hashed, count = hashlib.sha256(), 0
            while piece := connection.recv(1 << 16):
                hashed.update(piece)
                count += len(piece)
            connection.sendall(f"{count} {hashed.hexdigest()}\n".encode())

    def stop(self):
        self._socket.close()
        return 0


def prepare(programs):
    ports = ("redis", "plain", "balanced", "names", "strict", "ended", "ended_tls", "half", "half_tls", "proxied",
             "first", "second", "third", "behind_proxy")
    stand = types.SimpleNamespace(programs=programs, **{name: free_port() for name in ports})
    stand.authority = Authority(programs.folder, "authority")
    signed = {name: stand.authority.sign(name) for name in ("one.test", "*.two.test", "three.test", "gate.test")}
    stand.counter = programs.add(Counter())

    def redis_answers():
        return "PONG" in programs.run(["redis-cli", "-p", stand.redis, "ping"], code=None)

    command = ["redis-server", "--port", stand.redis, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    programs.add(Program("redis", [*command, "--dir", programs.folder], programs.folder, redis_answers))
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {signed[name][0]}; ssl_certificate_key {signed[name][1]};"
        f" location / {{ return 200 \"{name} $ssl_server_name\\n\"; }} }}\n"
        for port, name in ((stand.first, "one.test"), (stand.second, "*.two.test"), (stand.third, "three.test")))
    programs.nginx(
        servers + f"server {{ listen 127.0.0.1:{stand.behind_proxy} proxy_protocol; set_real_ip_from 127.0.0.1;"
        f" real_ip_header proxy_protocol; location / {{ return 200 \"$remote_addr\\n\"; }} }}", stand.first)
    gate = f"[{{ cert: {signed['gate.test'][0]}, key: {signed['gate.test'][1]} }}]"
    stand.gateway = programs.gateway(f"""\
listeners:
  - {{ bind: "127.0.0.1:{stand.plain}", protocol: tcp, upstream: redis }}
  - {{ bind: "127.0.0.1:{stand.balanced}", protocol: tcp, upstream: redis, tls: {gate} }}
  - bind: 127.0.0.1:{stand.names}
    protocol: tcp
    sni: {{ one.test: one, "*.two.test": two }}
    upstream: three
  - {{ bind: "127.0.0.1:{stand.strict}", protocol: tcp, sni: {{ one.test: one }} }}
  - {{ bind: "127.0.0.1:{stand.ended}", protocol: tcp, upstream: encrypted }}
  - {{ bind: "127.0.0.1:{stand.ended_tls}", protocol: tcp, upstream: encrypted, tls: {gate} }}
  - {{ bind: "127.0.0.1:{stand.half}", protocol: tcp, upstream: counter }}
  - {{ bind: "127.0.0.1:{stand.half_tls}", protocol: tcp, upstream: counter, tls: {gate} }}
  - {{ bind: "127.0.0.1:{stand.proxied}", protocol: tcp, upstream: proxied }}
upstreams:
  redis: {{ endpoints: ["tcp://127.0.0.1:{stand.redis}"] }}
  one: {{ endpoints: ["tcp://127.0.0.1:{stand.first}"] }}
  two: {{ endpoints: ["tcp://127.0.0.1:{stand.second}"] }}
  three: {{ endpoints: ["tcp://127.0.0.1:{stand.third}"] }}
  encrypted: {{ endpoints: ["tls://127.0.0.1:{stand.first}"], tls: {{ ca: {stand.authority.file}, server_name: one.test }} }}
  counter: {{ endpoints: ["tcp://127.0.0.1:{stand.counter.port}"] }}
  proxied: {{ endpoints: ["tcp://127.0.0.1:{stand.behind_proxy}"], proxy_protocol: v2 }}
""")
    return stand


def redis_cli(stand, *words, port=None, given=b""):
    return stand.programs.run(["redis-cli", "-p", port or stand.plain, *words], given=given).strip()


def over_tls(stand, *words):
    return redis_cli(
        stand, "-h", "127.0.0.1", "--tls", "--sni", "gate.test", "--cacert", stand.authority.file, *words, port=stand.balanced)


def redis_answers_through_a_listener(stand):
    equal(redis_cli(stand, "PING"), "PONG", "PING")
    value = os.urandom(MIB // 2).hex().encode()
    equal(redis_cli(stand, "-x", "SET", "big", given=value), "OK", "SET of 1 MiB")
    found = redis_cli(stand, "GET", "big").encode()
    equal(hashlib.sha256(found).hexdigest(), hashlib.sha256(value).hexdigest(), "sha256 of what GET gives")
    equal(redis_cli(stand, "STRLEN", "big"), str(MIB), "STRLEN")


def redis_answers_through_tls_that_ends_at_the_gateway(stand):
    equal(over_tls(stand, "PING"), "PONG", "PING")
    equal(over_tls(stand, "SET", "small", "through TLS"), "OK", "SET")
    equal(redis_cli(stand, "GET", "small"), "through TLS", "GET")


def many_connections_with_pipelines_fail_nowhere(stand):
    said = stand.programs.run(
        ["redis-benchmark", "-p", stand.plain, "-n", 10_000, "-c", 50, "-P", 16, "-q", "-t", "set,get,lrange_100"])
    assert "error" not in said.lower() and said.count("requests per second") >= 3, said


def a_command_stream_of_many_megabytes_is_whole(stand):
    count = 20_000
    commands = b"".join(b"SET key:%d %s\r\n" % (number, b"v" * 200) for number in range(count))
    said = redis_cli(stand, "--pipe", given=commands)
    assert f"errors: 0, replies: {count}" in said, said


def messages_reach_a_subscriber_at_once(stand):
    with stand.programs.lines("redis-cli", "-p", stand.plain, "SUBSCRIBE", "news") as lines:
        equal([lines.next() for _ in range(3)], ["subscribe", "news", "1"], "what a subscriber hears first")
        for number in range(3):
            equal(redis_cli(stand, "PUBLISH", "news", f"item {number}"), "1", "receivers")
            equal([lines.next() for _ in range(3)], ["message", "news", f"item {number}"], "message")


def fetch(stand, port, name, version=None):
    words = ["--tls-max", version] if version else []
    return stand.programs.run(
        ["curl", "-sS", "--noproxy", "*", *words, "--cacert", stand.authority.file, "--connect-to", f"{name}::127.0.0.1:",
         f"https://{name}:{port}/"])


def names_lead_to_the_server_with_the_certificate(stand):
    for version in ("1.2", "1.3"):
        equal(fetch(stand, stand.names, "one.test", version), "one.test one.test\n", "reply")
        equal(fetch(stand, stand.names, "x.two.test", version), "*.two.test x.two.test\n", "reply")
        # No name fits: the listener's upstream, which has the certificate.
        equal(fetch(stand, stand.names, "three.test", version), "three.test three.test\n", "reply")


def a_hello_without_a_name_goes_to_the_rest(stand):
    for port, subject in ((stand.names, "three.test"), (stand.first, "one.test")):
        said = stand.programs.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-noservername"], code=None)
        assert f"subject=CN = {subject}" in said, said[:2000]


def an_unknown_name_is_closed_where_there_is_no_rest(stand):
    before = stand.gateway.metric("tidegate_ended_total", reason="unknown_server_name")
    said = stand.programs.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{stand.strict}", "-servername", "nobody.test"], code=None)
    assert "no peer certificate available" in said, said[:2000]
    counted = before + 1
    until(lambda: stand.gateway.metric("tidegate_ended_total", reason="unknown_server_name") == counted, "the refusal is counted")
    equal(fetch(stand, stand.strict, "one.test"), "one.test one.test\n", "reply")


def sessions_resume_through_the_gateway(stand):
    file = stand.programs.scratch("session")
    to = ["openssl", "s_client", "-connect", f"127.0.0.1:{stand.names}", "-servername", "one.test", "-tls1_2"]
    assert "New, TLSv1.2" in stand.programs.run([*to, "-sess_out", file], code=None)
    assert "Reused, TLSv1.2" in stand.programs.run([*to, "-sess_in", file], code=None)


def the_gateway_speaks_tls_to_endpoints(stand):
    said = stand.programs.run(["curl", "-sS", "--noproxy", "*", f"http://127.0.0.1:{stand.ended}/"])
    equal(said, "one.test one.test\n", "reply through a plain listener")
    equal(fetch(stand, stand.ended_tls, "gate.test"), "one.test one.test\n", "reply through a TLS listener")


def endpoints_see_the_caller_by_its_proxy_header(stand):
    said = stand.programs.run(
        ["curl", "-sS", "--noproxy", "*", "--interface", "127.0.0.9", f"http://127.0.0.1:{stand.proxied}/"])
    equal(said, "127.0.0.9\n", "the address that nginx saw")


def half_closed_connections_still_get_their_answer(stand):
    trust = ssl.create_default_context(cafile=stand.authority.file)
    for size in (0, 1, 100_000, 20 * MIB):
        content = os.urandom(size)
        wanted = f"{size} {hashlib.sha256(content).hexdigest()}\n".encode()
        with socket.create_connection(("127.0.0.1", stand.half), timeout=SECONDS) as connection:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            equal(rest(connection), wanted, f"answer to {size} bytes")
        equal(answer_over_tls(trust, stand.half_tls, content), wanted, f"answer to {size} bytes over TLS")


def answer_over_tls(trust, port, content):
    """Sends all, then close_notify; what comes afterwards, up to a close_notify. Python's TLS sockets cannot do that."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    engine = trust.wrap_bio(incoming, outgoing, server_hostname="gate.test")
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:

        def done(step):
            while True:
                with contextlib.suppress(ssl.SSLWantReadError):
                    result = step()
                    connection.sendall(outgoing.read())
                    return result
                connection.sendall(outgoing.read())
                piece = connection.recv(1 << 16)
                if piece:
                    incoming.write(piece)
                else:
                    incoming.write_eof()

        done(engine.do_handshake)
        for start in range(0, len(content), 1 << 16):
            engine.write(content[start:start + (1 << 16)])
            connection.sendall(outgoing.read())
        with contextlib.suppress(ssl.SSLWantReadError):
            engine.unwrap()
        connection.sendall(outgoing.read())
        pieces = []
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while True:
                pieces.append(done(lambda: engine.read(1 << 16)))
        return b"".join(pieces)


def rest(connection):
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def nothing_is_held_afterwards(stand):
    stand.gateway.at_rest()
