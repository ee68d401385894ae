"""Certificates for the checks, made with openssl: authorities, and what they sign."""

import pathlib
import subprocess

# Longer than what testssl.sh calls short, shorter than what it calls long.
DAYS = "180"
SECONDS = 30


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, f"openssl {' '.join(map(str, words))}: {done.stderr}"


class Authority:
    """A certificate authority with a folder; `file` is what its friends trust."""

    def __init__(self, folder, name):
        self.folder = pathlib.Path(folder)
        self.name = name
        self.file, self._key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        openssl(
            "req", "-x509", *CURVE, "-nodes", "-keyout", self._key, "-out", self.file, "-days", DAYS,
            "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )

    def sign(self, *names):
        """A certificate for the host names, the first one its file's name: paths of certificate and key."""
        stem = self.folder / f"{self.name}-{names[0].replace('*', 'any')}"
        certificate, key, request = (stem.with_name(stem.name + end) for end in (".pem", ".key", ".csr"))
        extensions = stem.with_name(stem.name + ".ext")
        extensions.write_text(
            f"subjectAltName={','.join('DNS:' + name for name in names)}\n"
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
            "extendedKeyUsage=serverAuth,clientAuth\n", encoding="utf-8")
        openssl("req", "-new", *CURVE, "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={names[0]}")
        openssl(
            "x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self._key, "-CAcreateserial",
            "-days", DAYS, "-extfile", extensions, "-out", certificate,
        )
        return certificate, key


CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
