"""The programs of one group of checks: started on free ports, ended by their process ids, the last one first.

TIDEGATE_BIN names the gateway's binary (default target/debug/tidegate). Nothing here uses, needs or disturbs a service of
the system: every server gets a configuration, a folder and ports of its own.
"""

import contextlib
import http.client
import itertools
import os
import pathlib
import queue
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("TIDEGATE_BIN") or str(ROOT / "target" / "debug" / "tidegate")
ADMIN_TOKEN = "clients-admin-token-0001"

# A program has this long to answer, and this long to end. Both only bound a failure.
START_SECONDS = 20
STOP_SECONDS = 15

# Listeners take ports below those that the system gives to outgoing connections, so that no connection takes one first.
PORTS = itertools.chain(range(20_000 + os.getpid() % 6_000, 32_000), range(20_000, 26_000))
PORTS_LOCK = threading.Lock()

# Debian keeps servers in /usr/sbin, which is not on everybody's path.
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


def free_port():
    """A port on which nobody listens and that no other group is given."""
    with PORTS_LOCK:
        for port in PORTS:
            with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise AssertionError("no port is free")


def until(condition, what, seconds=15, every=0.02):
    """Waits until `condition()` gives something true and returns it; an AssertionError that says `what` otherwise."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        pause.wait(every)


def equal(found, wanted, what):
    """An AssertionError that shows both when they differ."""
    assert found == wanted, f"{what}: {found!r}, not {wanted!r}"


def connects(port):
    """Whether somebody listens on a port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Program:
    """A process in a session of its own, so that what it starts ends with it."""

    def __init__(self, name, command, folder, ready, environment=None):
        """Comes back when `ready()` is true; fails with the end of its log when it ends first or takes too long."""
        self.name = name
        self.log = pathlib.Path(folder) / f"{name}.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "PATH": PATH, **(environment or {})},
            )
        self.pid = self.process.pid
        try:
            until(lambda: self.process.poll() is not None or ready(), f"{name} is ready", START_SECONDS)
            assert self.process.poll() is None, f"{name} ended with {self.process.returncode}"
        except BaseException as error:
            self.stop()
            raise AssertionError(f"{error}; its log ends with:\n{self.said()[-3000:]}") from error

    def said(self):
        return self.log.read_text(errors="replace")

    def stop(self):
        """Asks it to end and returns its exit code; one that does not end in time is killed and gives None."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        # Whatever it has started: workers of nginx and HAProxy that it did not wait for.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)
        return code


class Gateway(Program):
    """`tidegate serve`. The configuration's text gets an admin listener."""

    def __init__(self, name, text, folder, admin):
        self.admin = admin
        self.file = pathlib.Path(folder) / f"{name}.yaml"
        self.write(text)
        super().__init__(name, [BINARY, "serve", "--config", self.file], folder, self._answers)

    def _answers(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self._page("/metrics") is not None
        return False

    def _page(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
        try:
            connection.request("GET", path, headers={"authorization": f"Bearer {ADMIN_TOKEN}"})
            reply = connection.getresponse()
            body = reply.read().decode()
            return body if reply.status == 200 else None
        finally:
            connection.close()

    def write(self, text):
        """Replaces the file at once, as editors do: nobody reads half of it."""
        head = f'admin: {{ bind: "127.0.0.1:{self.admin}", token: {ADMIN_TOKEN} }}\n'
        fresh = self.file.with_suffix(".new")
        fresh.write_text(head + text, encoding="utf-8")
        fresh.replace(self.file)

    def reload(self, text):
        """Writes another configuration, says SIGHUP and waits until it is in force."""
        before = self.metric("tidegate_config_generation")
        self.write(text)
        self.process.send_signal(signal.SIGHUP)
        until(lambda: self.metric("tidegate_config_generation") > before, "the new configuration is in force")

    def metric(self, name, **labels):
        """The sum of a metric over all its label sets, or those that have `labels`."""
        page = self._page("/metrics")
        assert page is not None, "the admin listener shows no metrics"
        found = 0.0
        for line in page.splitlines():
            parts = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if parts and parts[1] == name and all(f'{key}="{value}"' in (parts[2] or "") for key, value in labels.items()):
                found += float(parts[3])
        return found

    def at_rest(self):
        """Waits until the gateway holds no connection and no request."""
        for name in ("connections", "requests_in_flight", "requests_waiting", "buffered_bytes", "tcp_open", "websockets_open"):
            until(lambda name=name: self.metric(f"tidegate_{name}") == 0, f"tidegate_{name} is 0 again")

    def files(self):
        """Its open file descriptors, as the system sees them."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Lines:
    """A running client whose lines are read as they come; it is ended with the `with` block."""

    def __init__(self, command, folder):
        self._process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=folder, env={**os.environ, "PATH": PATH})
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line.decode(errors="replace").rstrip("\r\n"))
        self._lines.put(None)

    def next(self):
        """The next line that is not empty; None at the end; queue.Empty when nothing comes for too long."""
        while (line := self._lines.get(timeout=START_SECONDS)) == "":
            pass
        return line

    def leave(self):
        """Goes away without a word."""
        self._process.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        self._process.stdout.close()


class Programs:
    """The programs and files of one group."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self._running = []
        self._made = itertools.count(1)

    def add(self, program):
        self._running.append(program)
        return program

    def gateway(self, text, name="gateway"):
        return self.add(Gateway(name, text, self.folder, free_port()))

    def lab(self, what="origin"):
        """A lab origin or provider; its port."""
        port = free_port()
        command = [BINARY, "lab", what, "--bind", f"127.0.0.1:{port}"]
        self.add(Program(f"lab-{what}", command, self.folder, lambda: connects(port)))
        return port

    def nginx(self, http_block, port, name="nginx"):
        """nginx with one worker, logs and temporary files in the folder; it is ready when it listens on `port`."""
        home = self.folder / f"{name}-home"
        home.mkdir()
        paths = "".join(
            f"{what}_temp_path {home}/{what};\n" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        file = home / "nginx.conf"
        # As root, nginx would drop to a user that may not read the folder.
        user = "user root;\n" if os.geteuid() == 0 else ""
        file.write_text(
            f"{user}daemon off;\nworker_processes 1;\npid {home}/pid;\nerror_log stderr;\n"
            f"events {{ worker_connections 2048; }}\n"
            f"http {{\naccess_log off;\ndefault_type application/octet-stream;\n{paths}{http_block}\n}}\n", encoding="utf-8")
        command = ["nginx", "-e", "stderr", "-p", home, "-c", file]
        return self.add(Program(name, command, self.folder, lambda: connects(port)))

    def haproxy(self, text, port, name="haproxy"):
        """HAProxy; it is ready when it listens on `port`."""
        file = self.folder / f"{name}.cfg"
        defaults = "timeout connect 5s\n timeout client 60s\n timeout server 60s\n timeout http-keep-alive 60s"
        file.write_text(f"global\n maxconn 2000\ndefaults\n mode http\n {defaults}\n{text}", encoding="utf-8")
        return self.add(Program(name, ["haproxy", "-db", "-f", file], self.folder, lambda: connects(port)))

    def file(self, name, content):
        """A new file with this content; its path."""
        path = self.folder / name
        path.write_bytes(content)
        return path

    def scratch(self, what):
        """A path that nobody else uses."""
        return self.folder / f"{what}-{next(self._made)}"

    def run(self, command, seconds=60, code=0, given=b""):
        """Runs a client to its end: what it wrote, standard error last. Fails unless it exits with `code` (None: any)."""
        command = [str(word) for word in command]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            cwd=self.folder, env={**os.environ, "PATH": PATH},
        )
        try:
            output, errors = process.communicate(given, seconds)
        finally:
            # Also what it has started and left behind, when it was not done in time.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said = output.decode(errors="replace") + errors.decode(errors="replace")
        if code is not None:
            assert process.returncode == code, f"{' '.join(command)}\nexit code {process.returncode}, not {code}:\n{said[-3000:]}"
        return said

    def lines(self, *command):
        """Starts a client whose lines are wanted as they come."""
        return Lines(command, self.folder)

    def close(self):
        """Ends all, the last one first. What is wrong with a gateway's end is returned."""
        wrong = []
        for program in reversed(self._running):
            faults = 0
            if isinstance(program, Gateway) and program.process.poll() is None:
                with contextlib.suppress(OSError, AssertionError, http.client.HTTPException):
                    faults = program.metric("tidegate_ended_total", reason="internal")
            code = program.stop()
            if isinstance(program, Gateway):
                if code != 0:
                    wrong.append(f"the {program.name} ended with {code} after SIGTERM")
                if faults or "panicked" in program.said():
                    wrong.append(f"the {program.name} had a fault of its own:\n{program.said()[-3000:]}")
        self._running = []
        return wrong


def program(name):
    """The path of an installed program, or None."""
    return shutil.which(name, path=PATH)
