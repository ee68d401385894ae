"""testssl.sh against a TLS listener: protocols, ciphers, forward secrecy, certificate, known weaknesses."""

import json
import types

from certificates import Authority
from programs import equal, free_port

# What it may not find: severities from LOW up. WARN is what the local openssl cannot try.
BAD = {"LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL"}

ACCEPTED = {
    # The client's order decides, on purpose: every suite offered is strong, and the client knows whether it has AES in
    # hardware. Mozilla's guide for servers says the same.
    "cipher_order",
    # A test's authority publishes no list of what it has revoked.
    "cert_revocation",
}

# These must be among the findings: else it has looked at nothing.
EXPECTED = {
    "SSLv2": "not offered",
    "SSLv3": "not offered",
    "TLS1": "not offered",
    "TLS1_1": "not offered",
    "TLS1_2": "offered",
    "TLS1_3": "offered with final",
    "ALPN_HTTP2": "h2",
    "cipherlist_NULL": "not offered",
    "cipherlist_AVERAGE": "not offered",
    "cipherlist_STRONG": "offered",
    "secure_renego": "supported",
    "heartbleed": "not vulnerable, no heartbeat extension",
}


def prepare(programs):
    stand = types.SimpleNamespace(programs=programs, tls=free_port())
    stand.authority = Authority(programs.folder, "authority")
    certificate, key = stand.authority.sign("localhost")
    stand.gateway = programs.gateway(f"""\
listeners: [{{ bind: "127.0.0.1:{stand.tls}", tls: [{{ cert: {certificate}, key: {key} }}] }}]
routes: [{{ path: /, reply: {{ body: "ok\\n" }} }}]
""")
    return stand


def finds_no_weakness(stand):
    file = stand.programs.folder / "findings.json"
    # The exit code counts findings, harmless ones too. Nothing is looked up: no names, no revocation lists.
    said = stand.programs.run(
        ["testssl", "--quiet", "--color", 0, "--fast", "--warnings", "off", "--ip", "127.0.0.1", "--nodns", "none",
         "--add-ca", stand.authority.file, "--jsonfile", file, "-p", "-s", "-f", "-P", "-S", "-U",
         f"https://localhost:{stand.tls}/"], seconds=180, code=None)
    findings = json.loads(file.read_text(encoding="utf-8"))
    seen = {one["id"]: one["finding"] for one in findings}
    for what, wanted in EXPECTED.items():
        assert wanted in seen.get(what, "nothing"), f"{what}: {seen.get(what)!r}, not {wanted!r}; it said:\n{said[-3000:]}"
    bad = [(one["severity"], one["id"], one["finding"]) for one in findings if one["severity"] in BAD]
    equal([one for one in bad if one[1] not in ACCEPTED], [], "findings")
    equal({one[1] for one in bad}, ACCEPTED, "accepted findings (drop what is not found any more)")
