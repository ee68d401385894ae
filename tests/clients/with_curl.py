"""curl and connections: versions of HTTP and TLS, names, client certificates, sessions, PROXY headers."""

import os
import pathlib

from curling import curl, ok, plain, prepare, secure  # noqa: F401
from programs import equal


def speaks_http_1_1_and_keeps_the_connection(stand):
    reply = curl(stand, "--http1.1", plain(stand, "/"), "-o", "/dev/null", plain(stand, "/echo"), "-d", "x")
    equal(reply.codes, [200, 200], "statuses")
    equal(reply.all_connects, 1, "connections for two requests")


def speaks_http_1_0_without_chunks(stand):
    reply = ok(curl(stand, "-0", plain(stand, "/lab/chunked?count=300")), version="1.1")
    assert "transfer-encoding" not in reply.head.lower(), f"HTTP/1.0 knows no chunks: {reply.head}"
    equal(reply.body, b"".join(b"line %d\n" % number for number in range(1, 301)), "body")


def speaks_http_1_0_with_keep_alive_only_when_asked(stand):
    reply = curl(stand, "-0", "-H", "Connection: keep-alive", plain(stand, "/"), "-o", "/dev/null", plain(stand, "/"))
    equal(reply.codes, [200, 200], "statuses")


def speaks_ipv6(stand):
    ok(curl(stand, f"http://[::1]:{stand.six}/"), b"origin\n")
    assert "::1" in (stand.origin.last().field("x-forwarded-for") or ""), stand.origin.last().fields


def picks_http_2_by_alpn(stand):
    ok(curl(stand, "--http2", secure(stand, "/")), b"origin\n", "2")


def picks_http_1_1_by_alpn(stand):
    ok(curl(stand, "--http1.1", secure(stand, "/")), b"origin\n", "1.1")


def speaks_http_1_1_without_alpn(stand):
    ok(curl(stand, "--no-alpn", secure(stand, "/")), b"origin\n", "1.1")


def speaks_http_2_by_prior_knowledge(stand):
    ok(curl(stand, "--http2-prior-knowledge", plain(stand, "/")), b"origin\n", "2")


def answers_an_upgrade_to_h2c_with_http_1_1(stand):
    ok(curl(stand, "--http2", plain(stand, "/")), b"origin\n", "1.1")


def answers_an_upgrade_to_h2c_with_a_body(stand):
    body = os.urandom(100_000)
    ok(curl(stand, "--http2", "--data-binary", "@-", plain(stand, "/echo"), given=body), body, "1.1")


def carries_many_streams_on_one_connection(stand):
    target = stand.programs.scratch("many")
    lines = stand.programs.run([
        "curl", "--no-progress-meter", "-Z", "--parallel-max", 50, "--http2", "--noproxy", "*", "--cacert", stand.authority.file,
        "--connect-to", "a.test::127.0.0.1:", "-w", "%{http_code} %{http_version}\n", "-o", f"{target}-#1",
        secure(stand, "/file?[1-100]"),
    ]).splitlines()
    equal(lines, ["200 2"] * 100, "statuses and versions")
    wanted = (stand.static / "file").read_bytes()
    for number in range(1, 101):
        path = pathlib.Path(f"{target}-{number}")
        assert path.read_bytes() == wanted, f"reply {number} differs"
        path.unlink()


def speaks_tls_1_2(stand):
    for version in ("--http1.1", "--http2"):
        said = ok(curl(stand, version, "--tls-max", "1.2", secure(stand, "/"))).said
        assert "SSL connection using TLSv1.2" in said, said


def speaks_tls_1_3(stand):
    said = ok(curl(stand, "--tlsv1.3", secure(stand, "/"))).said
    assert "SSL connection using TLSv1.3" in said, said


def refuses_tls_1_1(stand):
    curl(stand, "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", secure(stand, "/"), code=35)


def refuses_tls_1_2_where_1_3_is_the_least(stand):
    curl(stand, "--tls-max", "1.2", secure(stand, "/", port=stand.tls13), code=35)
    ok(curl(stand, secure(stand, "/", port=stand.tls13)), b"origin\n")


def resumes_sessions(stand):
    for version in ("-tls1_2", "-tls1_3"):
        file = stand.programs.scratch("session")
        to = ["openssl", "s_client", "-connect", f"127.0.0.1:{stand.tls}", "-servername", "a.test", version, "-ign_eof"]
        request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
        assert "New, TLSv1" in stand.programs.run([*to, "-sess_out", file], code=None, given=request)
        said = stand.programs.run([*to, "-sess_in", file], code=None, given=request)
        assert "Reused, TLSv1" in said and "200 OK" in said, said[-2000:]


def says_in_words_that_a_listener_speaks_tls(stand):
    reply = curl(stand, f"http://127.0.0.1:{stand.tls}/")
    equal(reply.code, 400, "status")
    assert b"HTTPS" in reply.body, reply.body


def picks_the_certificate_by_name(stand):
    for name in ("a.test", "b.test", "x.wild.test"):
        ok(curl(stand, secure(stand, "/", name)), b"origin\n")


def shows_the_first_certificate_to_other_names(stand):
    said = curl(stand, secure(stand, "/", "c.test"), code=60).said
    assert "does not match" in said, said
    ok(curl(stand, "-k", secure(stand, "/", "c.test")), b"origin\n")


def demands_a_client_certificate(stand):
    address = secure(stand, "/", port=stand.mtls)
    certificate, key = stand.client
    for version in ("1.2", "1.3"):
        words = ["--tls-max", version]
        ok(curl(stand, *words, "--cert", certificate, "--key", key, address), b"origin\n")
        refused = curl(stand, *words, address, code=None)
        equal(refused.code, 0, f"status without a certificate over TLS {version}")
        refused = curl(stand, *words, "--cert", stand.stranger[0], "--key", stand.stranger[1], address, code=None)
        equal(refused.code, 0, f"status with a stranger's certificate over TLS {version}")


def takes_a_client_certificate_that_is_optional(stand):
    address = secure(stand, "/", port=stand.optional)
    ok(curl(stand, address), b"origin\n")
    ok(curl(stand, "--cert", stand.client[0], "--key", stand.client[1], address), b"origin\n")
    refused = curl(stand, "--cert", stand.stranger[0], "--key", stand.stranger[1], address, code=None)
    equal(refused.code, 0, "status with a stranger's certificate")


def believes_a_proxy_header_of_version_1(stand):
    ok(curl(stand, "--haproxy-protocol", "--interface", "127.0.0.5", f"http://127.0.0.1:{stand.proxied}/"), b"origin\n")
    equal(stand.origin.last().field("x-forwarded-for"), "127.0.0.5", "the caller's address")


def believes_a_proxy_header_of_version_2(stand):
    for words in (["--http1.1"], ["--http2-prior-knowledge"]):
        ok(curl(stand, *words, "--interface", "127.0.0.6", f"http://127.0.0.1:{stand.front}/"), b"origin\n")
        equal(stand.origin.last().field("x-forwarded-for"), "127.0.0.6", "the caller's address")


def believes_a_proxy_header_before_tls(stand):
    ok(curl(stand, "--http2", "--interface", "127.0.0.7", secure(stand, "/", port=stand.front_tls)), b"origin\n", "2")
    equal(stand.origin.last().field("x-forwarded-for"), "127.0.0.7", "the caller's address")


def closes_without_a_proxy_header(stand):
    before = stand.gateway.metric("tidegate_proxy_protocol_refused_total")
    equal(curl(stand, f"http://127.0.0.1:{stand.proxied}/", code=None).code, 0, "status")
    equal(stand.gateway.metric("tidegate_proxy_protocol_refused_total"), before + 1, "refused connections")
