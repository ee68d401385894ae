"""HAProxy behind the gateway and in front of it: PROXY headers, HTTP/2 both ways, early hints, connections that it cuts."""

import os
import types

from certificates import Authority
from curling import both, curl, ok, plain
from loading import all_succeed
from origin import Origin
from programs import equal, free_port, until

MIB = 1 << 20


def prepare(programs):
    ports = ("plain", "tls", "proxied", "keeping", "leaving", "h2c", "alpn", "front", "front_h2", "front_tls")
    stand = types.SimpleNamespace(programs=programs, **{name: free_port() for name in ports})
    stand.authority = Authority(programs.folder, "authority")
    certificate, key = stand.authority.sign("a.test", "localhost")
    stand.origin = programs.add(Origin(free_port()))
    lab = programs.lab()
    chain = programs.file("chain.pem", certificate.read_bytes() + key.read_bytes())
    to_lab = f" server lab 127.0.0.1:{lab}\n"
    to_origin = f" server origin 127.0.0.1:{stand.origin.server_address[1]}\n"
    who = ' http-request return status 200 content-type text/plain lf-string "%[src] %[fc_rcvd_proxy]\\n"\n'
    programs.haproxy(f"""
listen proxied
 bind 127.0.0.1:{stand.proxied} accept-proxy
{who}
listen keeping
 bind 127.0.0.1:{stand.keeping}
 http-request early-hint Link "</style.css>; rel=preload" if {{ path /hinted }}
 http-request return status 200 content-type text/plain string "hinted" if {{ path /hinted-return }}
 http-request reject if {{ path /rejected }}
 http-request deny deny_status 429 if {{ path /denied }}
 http-request redirect location /there code 303 if {{ path /redirected }}
{to_lab}
listen leaving
 bind 127.0.0.1:{stand.leaving}
 timeout http-keep-alive 1ms
{to_lab}
listen h2c
 bind 127.0.0.1:{stand.h2c} proto h2
{to_origin}
listen alpn
 bind 127.0.0.1:{stand.alpn} ssl crt {chain} alpn h2,http/1.1
{to_lab}
""", stand.keeping)
    stand.gateway = programs.gateway(f"""\
listeners:
  - bind: 127.0.0.1:{stand.plain}
  - {{ bind: "127.0.0.1:{stand.tls}", tls: [{{ cert: {certificate}, key: {key} }}] }}
upstreams:
  first: {{ endpoints: ["http://127.0.0.1:{stand.proxied}"], proxy_protocol: v1 }}
  second: {{ endpoints: ["http://127.0.0.1:{stand.proxied}"], proxy_protocol: v2 }}
  keeping: {{ endpoints: ["http://127.0.0.1:{stand.keeping}"] }}
  leaving: {{ endpoints: ["http://127.0.0.1:{stand.leaving}"] }}
  h2c: {{ endpoints: ["http://127.0.0.1:{stand.h2c}"], protocol: http2 }}
  alpn: {{ endpoints: ["https://localhost:{stand.alpn}"], protocol: auto, ca_file: {stand.authority.file} }}
routes:
  - {{ path: /first, upstream: first }}
  - {{ path: /second, upstream: second }}
  - {{ path: /, upstream: keeping }}
  - {{ path: /leaving/, upstream: leaving, rewrite: {{ prefix: / }} }}
  - {{ path: /h2c/, upstream: h2c, rewrite: {{ prefix: / }} }}
  - {{ path: /alpn/, upstream: alpn, rewrite: {{ prefix: / }} }}
""")
    programs.haproxy(f"""
listen front
 bind 127.0.0.1:{stand.front}
 server gateway 127.0.0.1:{stand.plain}
listen front-h2
 bind 127.0.0.1:{stand.front_h2}
 server gateway 127.0.0.1:{stand.plain} proto h2
listen front-tls
 bind 127.0.0.1:{stand.front_tls}
 server gateway 127.0.0.1:{stand.tls} ssl sni str(a.test) ca-file {stand.authority.file} alpn h2
""", stand.front, name="haproxy-front")
    return stand


def haproxy_sees_the_caller_by_its_proxy_header(stand):
    for path in ("/first", "/second"):
        for address in ("127.0.0.8", "127.0.0.9"):
            ok(curl(stand, "--interface", address, plain(stand, path)), f"{address} 1\n".encode())


def early_hints_do_no_harm(stand):
    for url in both(stand, "/hinted"):
        # 404 is the lab's: the hint came before it. On one connection, so that a reply too many would be seen.
        reply = curl(stand, url, "-o", "/dev/null", url, "-o", "/dev/null", url)
        equal(reply.codes, [404, 404, 404], "statuses")
        equal(reply.all_connects, 1, "connections")


def denials_pass_as_they_are(stand):
    for url in both(stand, "/denied"):
        ok(curl(stand, url), code=429)
    for url in both(stand, "/redirected"):
        equal(ok(curl(stand, url), code=303).field("location"), "/there", "Location")


def a_rejected_request_is_a_bad_gateway(stand):
    for url in both(stand, "/rejected"):
        ok(curl(stand, url), code=502)


def connections_that_haproxy_drops_when_idle_fail_nobody(stand):
    for words in (["--h1"], ["-m", 8]):
        all_succeed(stand, plain(stand, "/leaving/small"), *words)


def endpoints_speak_http_2(stand):
    body = os.urandom(3 * MIB)
    for url in both(stand, "/h2c/echo"):
        ok(curl(stand, "--data-binary", "@-", url, given=body), body)
        ok(curl(stand, "-T", "-", url, given=body), body)
    for url in both(stand, "/alpn/bytes/1048576"):
        reply = ok(curl(stand, url))
        equal(len(reply.body), MIB, "bytes")
        ok(curl(stand, "-I", url))
    # The gauge is brought up to date once a second.
    until(lambda: stand.gateway.metric("tidegate_upstream_http2_connections") > 0, "a connection of HTTP/2 to HAProxy is counted")
    for path in ("/h2c/", "/alpn/small"):
        all_succeed(stand, plain(stand, path), "--h1")
        all_succeed(stand, plain(stand, path), "-m", 16)


def haproxy_in_front_is_served_like_anybody(stand):
    body = os.urandom(3 * MIB)
    for port in (stand.front, stand.front_h2, stand.front_tls):
        front = f"http://127.0.0.1:{port}"
        ok(curl(stand, f"{front}/big"), ok(curl(stand, plain(stand, "/big"))).body)
        ok(curl(stand, "--data-binary", "@-", f"{front}/h2c/echo", given=body), body)
        ok(curl(stand, "-T", "-", f"{front}/h2c/echo", given=body), body)
        ok(curl(stand, "-I", f"{front}/big"))
        # HTTP/2 to HAProxy, whatever it speaks to the gateway: it writes no reason phrase behind the status of an HTTP/2 reply,
        # and h2load cannot read a status line without one.
        all_succeed(stand, f"{front}/small", "-m", 8)
