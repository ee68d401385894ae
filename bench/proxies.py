"""The proxies that are compared and the lab servers behind them: starting, waiting until they answer, stopping."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
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
CONNECTIONS = {"tidegate": 19_000, "nginx": 19_000, "haproxy": 9_800}

ADMIN_TOKEN = "bench-admin-token-0123456789"

# What Debian and its children call the package of a peer.
PACKAGES = {"nginx": "nginx", "haproxy": "haproxy"}


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
        with self.errors.open("wb") as errors:
            self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
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

    def __init__(self, peer, binary, lab, ports, folder, buffer_bytes):
        self.peer = peer
        self.port, self.admin_port = ports.next(), ports.next()
        words = {
            "PORT": self.port,
            "ADMIN": self.admin_port,
            "PROVIDER": lab.provider_port,
            "ORIGIN": lab.origin_port,
            "FOLDER": folder,
            "FILES": FILES,
            "CONNECTIONS": CONNECTIONS[peer],
            "BUFFER": buffer_bytes,
        }
        config = pathlib.Path(folder) / config_name(peer)
        config.write_text(filled((CONFIGS / config.name).read_text(), words))
        command = {
            "tidegate": [binary, "serve", "--config", str(config)],
            "nginx": [binary, "-p", str(folder), "-c", str(config)],
            "haproxy": [binary, "-f", str(config)],
        }[peer]
        super().__init__(peer, ["taskset", "-c", str(PROXY_CPU), *command], folder)
        try:
            self.wait_for_port(self.port)
            self.pids = machine.process_tree(self.pid)
        except BaseException:
            self.stop()
            raise

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


def config_name(peer):
    return {"tidegate": "tidegate.yaml", "nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[peer]


def filled(template, words):
    """`template` with each `@WORD@` replaced."""
    for word, value in words.items():
        template = template.replace(f"@{word}@", str(value))
    return template


def request(port, method, path, headers=None, body=None):
    """One request on a connection of its own: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{method} {path} on port {port}: {error}") from error
    finally:
        connection.close()


def find_peer(peer):
    """The peer's program; None when it is not installed."""
    # Debian keeps servers in /usr/sbin, which is not on everybody's path.
    return shutil.which(peer, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def version(peer, binary):
    """The first line of what the program says its version is."""
    flag = "--version" if peer == "tidegate" else "-v"
    done = subprocess.run([binary, flag], capture_output=True, text=True, check=True, timeout=START_SECONDS)
    return (done.stdout + done.stderr).strip().splitlines()[0]
