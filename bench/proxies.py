"""The proxies that are compared and the lab servers behind them: starting, waiting until they answer, stopping."""

import contextlib
import functools
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time

import machine

CONFIGS = pathlib.Path(__file__).resolve().parent / "peers"

# Processors: the proxy has one for itself; lab servers, load generator and this script share the other.
PROXY_CPU = 0
LOAD_CPU = 1

# Seconds that a process may take to answer its first connection, and to end when told.
START_SECONDS = 10
STOP_SECONDS = 5

# Seconds between two looks at something that will happen soon.
LOOK_SECONDS = 0.01

# A proxy rests when it used less than this share of a processor for so long.
REST_SECONDS = 0.1
REST_CPU_SHARE = 0.02

# Open files that each process may have. haproxy wants two for each connection that it may have to accept.
FILES = 20_000
CONNECTIONS = {"tidegate": 19_000, "nginx": 19_000, "haproxy": 9_800, "caddy": 19_000}

ADMIN_TOKEN = "bench-admin-token-0123456789"

# What Debian and its children call the package of a peer or a tool.
PACKAGES = {"nginx": "nginx", "haproxy": "haproxy", "caddy": "caddy", "h2load": "nghttp2-client", "openssl": "openssl",
            "stream": "libnginx-mod-stream"}

# The certificate of all peers lies in the run's folder under these names; haproxy wants both in one file.
CERTIFICATE, KEY, BOTH = "cert.pem", "key.pem", "both.pem"
CERTIFICATE_DAYS = 2


# Caddy's worker threads: it has one processor. Nobody else reads this.
SINGLE = {"GOMAXPROCS": "1"}


class BenchError(Exception):
    """Why a measurement cannot be made; the text says what to do."""


def until(what, holds, seconds):
    """Waits until `holds()` is true; a BenchError names `what` when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {seconds} s")
        time.sleep(LOOK_SECONDS)


class Process:
    """A process that we started: it is ended by its id, whatever happens."""

    def __init__(self, name, command, folder):
        self.name = name
        self.command = command
        self.errors = pathlib.Path(folder) / f"{name}.stderr"
        self.output = pathlib.Path(folder) / f"{name}.stdout"
        # Caddy keeps files where its user has their home.
        homes = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        # An instrumented build writes what it has executed when it ends; nobody else reads this.
        profile = {"LLVM_PROFILE_FILE": str(pathlib.Path(folder) / f"{name}-%p.profraw")}
        with self.errors.open("wb") as errors, self.output.open("wb") as output:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=os.environ | homes | SINGLE | profile)
        self.pid = self._child.pid

    def ended(self):
        return self._child.poll() is not None

    def check(self):
        """A BenchError with the last words of the process if it has ended."""
        if self.ended():
            said = self.errors.read_text(errors="replace").strip().splitlines()[-3:]
            raise BenchError(f"{self.name} ended with status {self._child.returncode}: {' / '.join(said) or 'no message'}")

    def wait_for_port(self, port):
        def answers():
            self.check()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
            return False

        until(f"{self.name} on port {port}", answers, START_SECONDS)

    def wait(self, seconds):
        """Waits for the end that the process comes to by itself; a BenchError when it fails or takes too long."""
        try:
            status = self._child.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.stop()
            raise BenchError(f"{self.name} was not done after {seconds:.0f} s") from error
        if status != 0:
            self.check()

    def stop(self):
        if self.ended():
            return
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Lab:
    """The lab's provider and origin: what all proxies forward to."""

    def __init__(self, binary, ports, folder):
        self.provider_port, self.origin_port = ports.next(), ports.next()
        self._running = contextlib.ExitStack()
        with self._running:
            for what, port in (("provider", self.provider_port), ("origin", self.origin_port)):
                command = [binary, "lab", what, "--bind", f"127.0.0.1:{port}"]
                self._running.enter_context(Process(f"lab-{what}", command, folder)).wait_for_port(port)
            self._running = self._running.pop_all()

    def open_exchanges(self):
        """Exchanges that the provider has under way."""
        status, body = request(self.provider_port, "GET", "/lab/stats")
        if status != 200:
            raise BenchError(f"the lab provider answered {status} for its counters")
        return json.loads(body)["open"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._running.close()


class Proxy(Process):
    """A proxy pinned to its processor, ready for connections."""

    def __init__(self, peer, binary, lab, ports, folder, scenario):
        self.peer = peer
        self.ports = {name: ports.next() for name in ("http", "tls", "tcp", "admin")}
        words = {
            "PORT": self.ports["http"],
            "TLS": self.ports["tls"],
            "TCP": self.ports["tcp"],
            "ADMIN": self.ports["admin"],
            "CERT": pathlib.Path(folder) / CERTIFICATE,
            "KEY": pathlib.Path(folder) / KEY,
            "BOTH": pathlib.Path(folder) / BOTH,
            "STREAM": (stream_module(binary) or "") if peer == "nginx" else "",
            "PROVIDER": lab.provider_port,
            "ORIGIN": lab.origin_port,
            "FOLDER": folder,
            "FILES": FILES,
            "CONNECTIONS": CONNECTIONS[peer],
            "BUFFER": scenario.buffer_bytes,
        }
        config = pathlib.Path(folder) / (scenario.config or config_name(peer, scenario.entry))
        config.write_text(filled((CONFIGS / config.name).read_text(), words))
        command = {
            "tidegate": [binary, "serve", "--config", str(config)],
            "nginx": [binary, "-p", str(folder), "-c", str(config)],
            "haproxy": [binary, "-f", str(config)],
            "caddy": [binary, "run", "--adapter", "caddyfile", "--config", str(config)],
        }[peer]
        super().__init__(peer, ["taskset", "-c", str(PROXY_CPU), *command], folder)
        try:
            self.wait_for_port(self.ports[scenario.entry])
        except BaseException:
            self.stop()
            raise

    @functools.cached_property
    def pids(self):
        """All processes of the proxy. Only to be asked for once it has answered: nginx listens before it has its worker."""
        return machine.process_tree(self.pid)

    def times(self):
        self.check()
        return machine.process_times(self.pids)

    def memory(self):
        self.check()
        return machine.memory(self.pids)

    def open_files(self):
        self.check()
        return machine.open_files(self.pids)

    def settle(self):
        """Waits until what earlier load left to do (closing connections) is done. Timers may go on."""
        def rests():
            before = self.times()
            time.sleep(REST_SECONDS)
            return self.times().since(before).total_us < REST_CPU_SHARE * REST_SECONDS * 1e6

        until(f"{self.name} at rest", rests, STOP_SECONDS)


def config_name(peer, entry):
    """The peer's configuration: TCP has an own one."""
    names = {"tidegate": "tidegate.yaml", "nginx": "nginx.conf", "haproxy": "haproxy.cfg", "caddy": "Caddyfile"}
    return names[peer].replace(".", "-tcp.") if entry == "tcp" else names[peer]


def make_certificate(openssl, folder):
    """Makes the certificate of all peers: ECDSA on P-256, signed by itself, for localhost."""
    folder = pathlib.Path(folder)
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-keyout", str(folder / KEY), "-out", str(folder / CERTIFICATE), "-days", str(CERTIFICATE_DAYS),
               "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
               # An authority's certificate would be refused as a server's where it is trusted itself.
               "-addext", "basicConstraints=critical,CA:FALSE"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=START_SECONDS)
    if done.returncode != 0:
        raise BenchError(f"openssl made no certificate: {done.stderr.strip()}")
    (folder / BOTH).write_text((folder / CERTIFICATE).read_text() + (folder / KEY).read_text())


def stream_module(nginx):
    """The line that loads nginx's module for TCP, empty when it is built in; None when there is none."""
    done = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=False, timeout=START_SECONDS)
    built = (done.stdout + done.stderr).split()
    if "--with-stream" in built:
        return ""
    folder = next((word.partition("=")[2] for word in built if word.startswith("--modules-path=")), "")
    module = pathlib.Path(folder) / "ngx_stream_module.so"
    return f"load_module {module};" if folder and module.is_file() else None


def filled(template, words):
    """`template` with each `@WORD@` replaced."""
    for word, value in words.items():
        template = template.replace(f"@{word}@", str(value))
    return template


def request(port, method, path, headers=None, body=None, tls=False):
    """One request on a connection of its own: status and body. Over TLS any certificate is believed."""
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=START_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{method} {path} on port {port}: {error}") from error
    finally:
        connection.close()


def find_program(name):
    """The program of a peer or tool; None when it is not installed."""
    # Debian keeps servers in /usr/sbin, which is not on everybody's path.
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def version(peer, binary):
    """The first line of what the program says its version is."""
    flag = {"tidegate": "--version", "caddy": "version"}.get(peer, "-v")
    done = subprocess.run([binary, flag], capture_output=True, text=True, check=True, timeout=START_SECONDS)
    line = (done.stdout + done.stderr).strip().splitlines()[0]
    # Caddy tells its number only.
    return line if peer in line.lower() else f"{peer} {line}"


def build(line):
    """Which build of Tidegate the line of its version tells of: "profile-guided", "release" or "debug"."""
    found = re.search(r"\(([^)]+)\)$", line)
    return found[1] if found else "release"
