"""nginx behind the gateway and in front of it: files, conditions, codings, connections that it closes, reloads."""

import concurrent.futures
import gzip
import hashlib
import os
import signal
import types

from certificates import Authority
from curling import both, curl, ok, plain
from loading import all_succeed
from origin import TEXT
from programs import equal, free_port, until

MIB = 1 << 20


def prepare(programs):
    ports = ("plain", "tls", "files", "leaving", "proxied", "front", "buffering")
    stand = types.SimpleNamespace(programs=programs, **{name: free_port() for name in ports})
    stand.authority = Authority(programs.folder, "authority")
    certificate, key = stand.authority.sign("a.test")
    stand.root = programs.folder / "root"
    (stand.root / "dav").mkdir(parents=True)
    stand.root.chmod(0o755)
    stand.file = os.urandom(MIB)
    (stand.root / "file").write_bytes(stand.file)
    (stand.root / "text.txt").write_bytes(TEXT)
    stand.nginx = programs.nginx(f"""
types {{ text/plain txt; }}
keepalive_requests 10;
server {{
    listen 127.0.0.1:{stand.files};
    root {stand.root};
    location /packed/ {{ alias {stand.root}/; gzip on; gzip_types text/plain; gzip_min_length 100; gzip_http_version 1.1; }}
    location /endless/ {{ alias {stand.root}/; gzip on; gzip_types text/plain; chunked_transfer_encoding off; }}
    location /dav/ {{ dav_methods PUT DELETE; client_max_body_size 20m; }}
    location /tight {{ client_max_body_size 1k; proxy_pass http://127.0.0.1:9; }}
    location /silent {{ return 444; }}
    location /slow {{ alias {stand.root}/file; limit_rate 400k; }}
    location /large-head {{
        add_header X-Large-1 "{"h" * 3000}"; add_header X-Large-2 "{"h" * 3000}"; add_header X-Large-3 "{"h" * 3000}";
        return 200 "large\\n";
    }}
}}
server {{ listen 127.0.0.1:{stand.leaving}; root {stand.root}; keepalive_timeout 0; }}
server {{
    listen 127.0.0.1:{stand.proxied} proxy_protocol;
    set_real_ip_from 127.0.0.1;
    real_ip_header proxy_protocol;
    location / {{ return 200 "$remote_addr\\n"; }}
}}
""", stand.files)
    stand.gateway = programs.gateway(f"""\
listeners:
  - bind: 127.0.0.1:{stand.plain}
  - {{ bind: "127.0.0.1:{stand.tls}", tls: [{{ cert: {certificate}, key: {key} }}] }}
upstreams:
  files: {{ endpoints: ["http://127.0.0.1:{stand.files}"] }}
  leaving: {{ endpoints: ["http://127.0.0.1:{stand.leaving}"] }}
  first: {{ endpoints: ["http://127.0.0.1:{stand.proxied}"], proxy_protocol: v1 }}
  second: {{ endpoints: ["http://127.0.0.1:{stand.proxied}"], proxy_protocol: v2 }}
routes:
  - {{ path: /, upstream: files }}
  - {{ path: /leaving/, upstream: leaving, rewrite: {{ prefix: / }} }}
  - {{ path: /first, upstream: first }}
  - {{ path: /second, upstream: second }}
  - {{ path: /again/, upstream: files, rewrite: {{ prefix: /packed/ }}, compress: [zstd, br, gzip] }}
""")
    stand.front_nginx = programs.nginx(f"""
upstream gateway {{ server 127.0.0.1:{stand.plain}; keepalive 16; }}
server {{
    listen 127.0.0.1:{stand.front};
    location / {{ proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection ""; client_max_body_size 20m; }}
}}
server {{ listen 127.0.0.1:{stand.buffering}; location / {{ proxy_pass http://gateway; client_max_body_size 20m; }} }}
""", stand.front, name="nginx-front")
    return stand


def _failures(stand):
    """Attempts and exchanges that failed so far."""
    failed = stand.gateway.metric("tidegate_upstream_failures_total")
    ended = stand.gateway.metric("tidegate_ended_total")
    return failed, ended


def files_arrive_byte_by_byte(stand):
    for url in both(stand, "/file"):
        reply = ok(curl(stand, url))
        equal(hashlib.sha256(reply.body).hexdigest(), hashlib.sha256(stand.file).hexdigest(), "sha256")
        equal(reply.field("content-length"), str(MIB), "Content-Length")


def conditions_are_nginx_s_to_judge(stand):
    for url in both(stand, "/file"):
        first = ok(curl(stand, url), stand.file)
        again = curl(stand, "-H", f"If-None-Match: {first.field('etag')}", url, "-o", "/dev/null", url)
        equal(again.codes, [304, 304], "statuses")
        equal(again.all_connects, 1, "connections for both")
        ok(curl(stand, "-H", f"If-Modified-Since: {first.field('last-modified')}", url), b"", code=304)
        ok(curl(stand, "-H", 'If-None-Match: "another"', url), stand.file)
        ok(curl(stand, "-H", 'If-Match: "another"', url), code=412)
        ok(curl(stand, "-H", f"If-Range: {first.field('etag')}", "-r", "10-19", url), stand.file[10:20], code=206)


def compressed_replies_pass_as_they_came(stand):
    for path in ("/packed/text.txt", "/again/text.txt"):
        for url in both(stand, path):
            reply = ok(curl(stand, "-H", "Accept-Encoding: gzip", url))
            equal(reply.field("content-encoding"), "gzip", "Content-Encoding")
            assert gzip.decompress(reply.body) == TEXT, "the packed text differs"
            ok(curl(stand, "--compressed", url), TEXT)
            equal(ok(curl(stand, url), TEXT).field("content-encoding"), None, "Content-Encoding for who asks for none")


def what_nginx_does_not_compress_is_compressed(stand):
    # nginx packs with gzip only; the caller takes only br.
    for url in both(stand, "/again/text.txt"):
        reply = ok(curl(stand, "--compressed", "-H", "Accept-Encoding: br", url), TEXT)
        equal(reply.field("content-encoding"), "br", "Content-Encoding")


def replies_that_a_close_ends_are_whole(stand):
    for url in both(stand, "/endless/text.txt"):
        ok(curl(stand, "--compressed", url, "-o", "/dev/null", url), TEXT)


def replies_with_large_heads_pass(stand):
    for url in both(stand, "/large-head"):
        reply = ok(curl(stand, url), b"large\n")
        equal(sum(len(reply.field(f"x-large-{number}")) for number in (1, 2, 3)), 9000, "bytes of the fields")


def slow_replies_pass(stand):
    for url in both(stand, "/slow"):
        ok(curl(stand, url), stand.file)


def uploads_become_files(stand):
    for number, url in enumerate(both(stand, "/dav/")):
        content = os.urandom(5 * MIB)
        target = f"{url}file-{number}"
        ok(curl(stand, "-T", "-", target, given=content), code=201)
        assert (stand.root / "dav" / f"file-{number}").read_bytes() == content, "the file that nginx wrote differs"
        ok(curl(stand, target), content)
        ok(curl(stand, "-X", "DELETE", target), code=204)
        ok(curl(stand, target), code=404)


def an_early_refusal_of_an_upload_reaches_the_caller(stand):
    body = os.urandom(8 * MIB)
    file = stand.programs.file("early", body)
    for words in (["-H", "Expect:"], ["-H", "Expect: 100-continue"]):
        for _ in range(5):
            for how in (["--data-binary", f"@{file}"], ["-T", "-"]):
                # Exit code 55 or 56: it could not send all of it. The reply counts.
                reply = curl(stand, "--http1.1", *words, *how, plain(stand, "/tight"), given=body, code=None)
                equal(reply.code, 413, "status")
                assert b"nginx" in reply.body, reply.body


def a_server_that_hangs_up_is_a_bad_gateway(stand):
    for url in both(stand, "/silent"):
        reply = ok(curl(stand, url), code=502)
        assert b"upstream_closed" in reply.body, reply.body


def connections_that_nginx_closes_after_ten_requests_fail_nobody(stand):
    before = _failures(stand)
    for words in (["--h1"], ["-m", 8]):
        all_succeed(stand, plain(stand, "/text.txt"), *words)
    equal(_failures(stand), before, "failed attempts and exchanges")


def connections_that_nginx_closes_at_once_fail_nobody(stand):
    before = _failures(stand)
    for words in (["--h1"], ["-m", 8]):
        all_succeed(stand, plain(stand, "/leaving/text.txt"), *words)
    equal(_failures(stand), before, "failed attempts and exchanges")


def a_reload_of_nginx_fails_nobody(stand):
    """wrk runs while nginx starts new workers and lets the old ones finish, three times."""
    def requests():
        return stand.gateway.metric("tidegate_requests_total")

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        wrk = pool.submit(stand.programs.run, ["wrk", "-t", 1, "-c", 32, "-d", "5s", plain(stand, "/text.txt")])
        for _ in range(3):
            before = requests()
            until(lambda before=before: requests() > before + 100, "traffic")
            old = workers(stand.nginx.pid)
            stand.nginx.process.send_signal(signal.SIGHUP)
            until(lambda old=old: not old & workers(stand.nginx.pid), "the old workers have gone")
        assert not wrk.done(), "wrk was done before the last reload"
        said = wrk.result()
    assert "Socket errors" not in said and "Non-2xx" not in said, said


def workers(pid):
    """The child processes."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        return set(children.read().split())


def nginx_sees_the_caller_by_its_proxy_header(stand):
    for path in ("/first", "/second"):
        for address in ("127.0.0.8", "127.0.0.9"):
            ok(curl(stand, "--interface", address, plain(stand, path)), address.encode() + b"\n")


def nginx_in_front_is_served_like_anybody(stand):
    body = os.urandom(5 * MIB)
    target = stand.root / "dav" / "through"
    for port in (stand.front, stand.buffering):
        front = f"http://127.0.0.1:{port}"
        ok(curl(stand, f"{front}/file"), stand.file)
        ok(curl(stand, "-T", "-", f"{front}/dav/through", given=body), code=201)
        assert target.read_bytes() == body, "the file that nginx wrote differs"
        target.unlink()
        ok(curl(stand, "-I", f"{front}/file"))
        ok(curl(stand, "--compressed", f"{front}/packed/text.txt"), TEXT)
        all_succeed(stand, f"{front}/text.txt", "--h1")


def nothing_is_held_afterwards(stand):
    # It holds connections for its next requests.
    stand.front_nginx.stop()
    stand.gateway.at_rest()
