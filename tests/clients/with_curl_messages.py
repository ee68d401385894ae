"""curl and messages: uploads, ranges, codings, redirects, odd targets and fields, words of refusals, callers that leave."""

import gzip
import hashlib
import os

from curling import MIB, curl, ok, plain, prepare, secure  # noqa: F401
from origin import TEXT
from programs import equal, free_port


def reaches_a_unix_socket(stand):
    ok(curl(stand, plain(stand, "/file")), (stand.static / "file").read_bytes())


def uploads_5_mib_after_100_continue(stand):
    body = os.urandom(5 * MIB)
    for words in (["--http1.1", plain(stand, "/echo")], ["--http1.1", secure(stand, "/echo")]):
        reply = ok(curl(stand, "-H", "Expect: 100-continue", "--data-binary", "@-", *words, given=body), body)
        assert "100 Continue" in reply.head, reply.head
    for words in (["--http2-prior-knowledge", plain(stand, "/echo")], ["--http2", secure(stand, "/echo")]):
        ok(curl(stand, "--data-binary", "@-", *words, given=body), body, "2")


def uploads_in_chunks(stand):
    body = os.urandom(3 * MIB + 17)
    for words in (["--http1.1", plain(stand, "/echo")], ["--http2", secure(stand, "/echo")]):
        ok(curl(stand, "-T", "-", *words, given=body), body)
        equal(stand.origin.last().method, "PUT", "method")


def uploads_nothing(stand):
    for words in (["-d", ""], ["-T", "/dev/null"], ["-X", "POST"]):
        ok(curl(stand, *words, plain(stand, "/echo")), b"")
        ok(curl(stand, *words, "--http2", secure(stand, "/echo")), b"")


def uploads_a_form_with_a_file(stand):
    file = stand.programs.file("form-file", os.urandom(200_000))
    ok(curl(stand, "-F", f"file=@{file}", "-F", "name=ä ö", plain(stand, "/echo")))
    seen = stand.origin.last()
    assert seen.field("content-type").startswith("multipart/form-data; boundary="), seen.fields
    assert file.read_bytes() in seen.body and "ä ö".encode() in seen.body


def answers_head_like_get_without_a_body(stand):
    for file in (plain(stand, "/file"), secure(stand, "/file")):
        reply = ok(curl(stand, "-I", file, "-o", "/dev/null", "-I", file))
        equal(reply.field("content-length"), str(MIB), "Content-Length")
        equal(reply.all_connects, 1, "connections for two requests")


def serves_ranges(stand):
    content = (stand.static / "file").read_bytes()
    for words in ([], ["--http2-prior-knowledge"]):
        reply = ok(curl(stand, *words, "-r", "1000-2023", plain(stand, "/file")), content[1000:2024], code=206)
        equal(reply.field("content-range"), f"bytes 1000-2023/{MIB}", "Content-Range")
        ok(curl(stand, *words, "-r", "-5", plain(stand, "/file")), content[-5:], code=206)
        ok(curl(stand, *words, "-r", f"{MIB}-", plain(stand, "/file")), code=416)
        several = ok(curl(stand, *words, "-r", "0-9,100-109", plain(stand, "/file")), code=206)
        assert "multipart/byteranges" in several.field("content-type"), several.head


def resumes_a_download(stand):
    content = (stand.static / "file").read_bytes()
    part = stand.programs.file("part", content[:300_000])
    stand.programs.run(["curl", "-sS", "--noproxy", "*", "-C", "-", "-o", part, plain(stand, "/file")])
    assert part.read_bytes() == content, "the resumed file differs"


def compresses_replies(stand):
    for coding in ("gzip", "br", "zstd"):
        for words in ([plain(stand, "/packed/text")], ["--http2", secure(stand, "/packed/text")]):
            reply = ok(curl(stand, "--compressed", "-H", f"Accept-Encoding: {coding}", *words), TEXT)
            equal(reply.field("content-encoding"), coding, "Content-Encoding")
            equal(reply.field("etag"), 'W/"text-1"', "ETag")
    reply = ok(curl(stand, plain(stand, "/packed/text")), TEXT)
    equal(reply.field("content-encoding"), None, "Content-Encoding for who asks for none")


def passes_compressed_replies_as_they_are(stand):
    for path in ("/gzip", "/packed/gzip"):
        reply = ok(curl(stand, "-H", "Accept-Encoding: br, gzip", plain(stand, path)))
        assert gzip.decompress(reply.body) == TEXT, "the packed body differs"
        ok(curl(stand, "--compressed", plain(stand, path)), TEXT)


def follows_redirects_with_the_body(stand):
    ok(curl(stand, "-L", "-d", "kept", plain(stand, "/moved")), b"kept")
    reply = ok(curl(stand, "-L", secure(stand, "/elsewhere")))
    assert f"location: https://b.test:{stand.tls}/echo" in reply.head.lower(), reply.head


def says_what_a_reply_route_says(stand):
    for words in ([plain(stand, "/said")], ["--http2", secure(stand, "/said")]):
        reply = ok(curl(stand, *words), b"no coffee\n", code=418)
        equal(reply.field("x-pot"), "tea", "X-Pot")


def refuses_in_words(stand):
    port = free_port()
    stand.programs.gateway(f"""\
listeners: [{{ bind: "127.0.0.1:{port}" }}]
limits: {{ body: 1KiB }}
upstreams: {{ origin: {{ endpoints: ["http://127.0.0.1:{stand.origin.server_address[1]}"] }} }}
routes: [{{ path: /read, methods: [GET], upstream: origin }}, {{ path: /write, upstream: origin }}]
""", name="narrow")
    address = f"http://127.0.0.1:{port}"
    for words in (["--http1.1"], ["--http2-prior-knowledge"]):
        for status, reason, more, path in (
            (404, "no_route", [], "/other"),
            (405, "method_not_allowed", ["-X", "DELETE"], "/read"),
            (413, "body_too_large", ["-d", "x" * 2000], "/write"),
            (413, "body_too_large", ["-H", "Expect: 100-continue", "-d", "x" * 2000], "/write"),
            (431, "head_too_large", ["-H", "X-Long: " + "x" * 20_000], "/write"),
        ):
            reply = ok(curl(stand, *words, *more, address + path), code=status)
            # Over HTTP/2 the protocol library refuses a head that is too long, without a word.
            if status != 431 or words == ["--http1.1"]:
                assert reason.encode() in reply.body, f"{status} does not say {reason}: {reply.body!r}"
            if status == 405:
                equal(set(reply.field("allow").replace(",", " ").split()), {"GET", "HEAD"}, "Allow")
        for length in (2000, 8 * MIB):
            reply = curl(stand, *words, "-T", "-", address + "/write", given=os.urandom(length), code=None)
            equal(reply.code, 413, f"status of an upload of {length} bytes and unknown length")


def keeps_dot_segments_from_the_origin(stand):
    for path in ("/../../etc/passwd", "/a/..%2f..%2fetc/passwd", "/a/%2e%2e/%2e%2e/etc/passwd", "/a/.././../etc/passwd"):
        for words in ([plain(stand, path)], ["--http2", secure(stand, path)]):
            before = len(stand.origin.seen)
            reply = curl(stand, "--path-as-is", *words)
            if reply.code == 200:
                equal(len(stand.origin.seen), before + 1, "requests")
                target = stand.origin.last().target
                segments = target.lower().replace("%2f", "/").replace("%2e", ".").split("/")
                assert ".." not in segments or "%2f" in target.lower(), f"{path} reaches the origin as {target}"
            else:
                equal(reply.code, 400, f"status of {path}")
    reply = curl(stand, "--path-as-is", plain(stand, "/file/../../../../../../etc/passwd"))
    assert b"root:" not in reply.body, "a file of the system comes back"


def passes_odd_targets_as_they_are(stand):
    for target in ("/echo?a=[b]&c=%zz|{}&d=%00", "/echo?" + "q" * 8000,
                   "/echo?x=y?z=/../", "/echo?", "/%E2%9C%93/%20x", "/double//slash/"):
        reply = curl(stand, "-g", "--path-as-is", plain(stand, target))
        equal(reply.code, 200, f"status of {target[:40]}")
        equal(stand.origin.last().target, target, "target")


def passes_odd_fields_as_they_are(stand):
    for words in ([], ["--http2-prior-knowledge"]):
        ok(curl(stand, *words, "-H", "X-Empty;", "-H", "X-Bytes: \u00e4\u2713", "-H", "X-Twice: 1", "-H", "X-Twice: 2",
                "-b", "a=1; b=2", "-A", "", "-H", "TE: trailers", plain(stand, "/")))
        seen = stand.origin.last()
        equal(seen.field("x-empty"), "", "X-Empty")
        equal(seen.field("x-bytes").encode("latin-1").decode(), "\u00e4\u2713", "X-Bytes")
        equal(seen.field("x-twice"), "1, 2", "X-Twice")
        equal(seen.field("cookie"), "a=1; b=2", "Cookie")
        equal(seen.field("user-agent"), None, "User-Agent")


def passes_methods_that_it_does_not_know(stand):
    for words in ([], ["--http2-prior-knowledge"]):
        for method in ("PROPFIND", "OPTIONS", "PATCH", "DELETE", "BREW"):
            ok(curl(stand, *words, "-X", method, plain(stand, "/")), b"origin\n")
            equal(stand.origin.last().method, method, "method")


def answers_as_a_server_when_it_is_taken_for_a_proxy(stand):
    # RFC 9112 3.2.2: a server takes targets in absolute form, and the host in them is the one that counts.
    proxy = f"http://127.0.0.1:{stand.plain}"
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "", "-x", proxy]
    equal(stand.programs.run([*command, "http://only.test/only?q"]), "200", "status")
    equal((stand.origin.last().target, stand.origin.last().field("host")), ("/only?q", "only.test"), "target and host")
    said = stand.programs.run([*command, "-p", "http://only.test/"], code=None)
    assert "200" not in said, f"a tunnel by CONNECT was not refused: {said}"


def frees_everything_when_a_caller_leaves(stand):
    for words in (["--http1.1"], ["--http2-prior-knowledge"]):
        # Exit code 63 or 28: curl leaves in the middle of the reply.
        curl(stand, *words, "--max-time", "1", "--limit-rate", "20000", plain(stand, "/lab/bytes/100000000"), code=28)
        stand.gateway.at_rest()


def survives_a_slow_reader(stand):
    reply = ok(curl(stand, "--limit-rate", "2M", plain(stand, "/lab/bytes/4000000")))
    equal(hashlib.sha256(reply.body).hexdigest(), hashlib.sha256(page(4_000_000)).hexdigest(), "sha256")


def page(size):
    """What the lab origin's `/bytes/N` consists of."""
    once = bytes(ord("a") + number % 26 for number in range(64 << 10))
    return (once * (size // len(once) + 1))[:size]
