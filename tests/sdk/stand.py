"""The stand of the SDK suites: lab providers and a gateway in front of them, as processes on free loopback ports.

TIDEGATE_BIN names the binary (default target/debug/tidegate). With TIDEGATE_DIRECT=1 the suites talk to the lab
provider without a gateway, to tell a fault of the one from a fault of the other.
"""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("TIDEGATE_BIN") or str(ROOT / "target" / "debug" / "tidegate")
DIRECT = os.environ.get("TIDEGATE_DIRECT") == "1"

CALLER_KEY = "sk-tidegate-suite-caller-0001"
PROVIDER_KEY = "sk-provider-suite-secret-0002"
WRONG_PROVIDER_KEY = "sk-provider-suite-mislaid-0003"
ADMIN_TOKEN = "suite-admin-token-0004"

# What the suites measured, one line each; shown at the end of a run.
MEASURED = []

# A process has this long to answer, and this long to end. Both only bound a failure.
START_SECONDS = 20
STOP_SECONDS = 15


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, what, seconds=10, every=0.005):
    """Waits until `condition()` gives something true and returns it; an AssertionError that says `what` otherwise."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        pause.wait(every)


def ask(address, method, path, headers=None, body=None, seconds=10):
    """One plain HTTP request on its own connection: (status, header fields, body bytes)."""
    connection = http.client.HTTPConnection(address, timeout=seconds)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        reply = connection.getresponse()
        return reply.status, dict((name.lower(), value) for name, value in reply.getheaders()), reply.read()
    finally:
        connection.close()


class Process:
    """A program that listens: started with a free port, ended by its process id."""

    def __init__(self, name, command, ready_path, folder):
        """`command(address)` gives the arguments; the program is ready when GET `ready_path` answers 200."""
        self.name = name
        self.log = pathlib.Path(folder) / f"{name}.log"
        for _ in range(3):  # somebody else may take the port between the probe and the start
            self.address = f"127.0.0.1:{free_port()}"
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    command(self.address), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            try:
                if until(lambda: self._answers(ready_path), f"{name} answers {ready_path}", START_SECONDS) == "ready":
                    return
            except AssertionError:
                self.kill()
                raise AssertionError(f"{name} does not answer:\n{self.log.read_text(errors='replace')[-4000:]}") from None
        raise AssertionError(f"{name} does not start:\n{self.log.read_text(errors='replace')[-4000:]}")

    def _answers(self, path):
        if self.process.poll() is not None:
            return "ended"
        try:
            return "ready" if ask(self.address, "GET", path, seconds=1)[0] == 200 else None
        except (OSError, http.client.HTTPException):
            return None

    def kill(self):
        """As a crash: no goodbye."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def stop(self):
        """Asks it to end and returns its exit code; one that does not end in time is killed and gives None."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


class Lab(Process):
    """A lab provider that demands PROVIDER_KEY."""

    def __init__(self, name, folder):
        super().__init__(
            name,
            lambda address: [BINARY, "lab", "provider", "--bind", address, "--key", PROVIDER_KEY],
            "/lab/stats",
            folder,
        )

    def stats(self):
        return json.loads(ask(self.address, "GET", "/lab/stats")[2])

    def last(self):
        """The last request that reached it: method, target, headers, body."""
        return json.loads(ask(self.address, "GET", "/lab/last")[2])


class Gateway(Process):
    """`tidegate serve` with a configuration that `configure(address)` gives."""

    def __init__(self, name, configure, folder):
        path = pathlib.Path(folder) / f"{name}.yaml"

        def command(address):
            path.write_text(configure(address), encoding="utf-8")
            return [BINARY, "serve", "--config", str(path)]

        super().__init__(name, command, "/health", folder)


class Stand:
    """What the suites talk to: `openai_url`, `anthropic_url` and `key`; `lab` answers, `failing` answers with errors.

    Models that fail live on a lab of their own, so that a provider which rests after its errors is not the one that the
    other tests need.
    """

    def __init__(self, folder=None):
        self.folder = folder or tempfile.mkdtemp(prefix="tidegate-sdk-")
        self.parts = []
        # Set after a failed test: the logs stay for whoever looks into it.
        self.keep_logs = False

    def __enter__(self):
        try:
            self.lab = self._add(Lab("lab", self.folder))
            self.failing = self._add(Lab("failing", self.folder))
            if DIRECT:
                self.address, self.key = self.lab.address, PROVIDER_KEY
            else:
                self.gateway = self._add(Gateway("gateway", self._configuration, self.folder))
                self.address, self.key = self.gateway.address, CALLER_KEY
        except BaseException:
            self.close()
            raise
        self.openai_url = f"http://{self.address}/v1"
        self.anthropic_url = f"http://{self.address}"
        return self

    def _add(self, part):
        self.parts.append(part)
        return part

    def _configuration(self, address):
        self.admin = f"127.0.0.1:{free_port()}"
        return f"""\
listeners: [{{ bind: "{address}" }}]
admin: {{ bind: "{self.admin}", token: {ADMIN_TOKEN} }}
timeouts: {{ first_token: 10s, between_tokens: 1s, heartbeat: 300ms, drain: 5s }}
retry: {{ attempts: 1, cooldown: {{ failures: 1000, period: 100ms }} }}
callers:
  - {{ name: suite, key: {CALLER_KEY} }}
providers:
  lab: {{ dialect: openai, base_url: "http://{self.lab.address}/v1", api_key: {PROVIDER_KEY} }}
  lab-claude: {{ dialect: anthropic, base_url: "http://{self.lab.address}", api_key: {PROVIDER_KEY} }}
  failing: {{ dialect: openai, base_url: "http://{self.failing.address}/v1", api_key: {PROVIDER_KEY} }}
  failing-claude: {{ dialect: anthropic, base_url: "http://{self.failing.address}", api_key: {PROVIDER_KEY} }}
  mislaid: {{ dialect: openai, base_url: "http://{self.failing.address}/v1", api_key: {WRONG_PROVIDER_KEY} }}
  mislaid-claude: {{ dialect: anthropic, base_url: "http://{self.failing.address}", api_key: {WRONG_PROVIDER_KEY} }}
models:
  - {{ name: wrong-credential, to: [{{ provider: mislaid, model: lab-echo }}, {{ provider: mislaid-claude, model: lab-echo }}] }}
  - {{ name: renamed, to: [{{ provider: lab, model: lab-echo }}, {{ provider: lab-claude, model: lab-echo }}] }}
  - {{ name: lab-echo, to: [lab, lab-claude] }}
  - {{ name: lab-cut, to: [failing, failing-claude] }}
  - {{ name: lab-stall, to: [failing, failing-claude] }}
  - {{ name: "lab-error-*", to: [failing, failing-claude] }}
  - {{ name: "*", to: [lab, lab-claude] }}
"""

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends every part, the gateway first. A gateway that does not end well by itself is a failure."""
        codes = {part.name: part.stop() for part in reversed(self.parts)}
        self.parts = []
        if "gateway" in codes and codes["gateway"] != 0:
            raise AssertionError(f"the gateway ended with {codes['gateway']} after SIGTERM; its log is in {self.folder}")
        if self.keep_logs:
            print(f"the logs are in {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder)


def assert_seen_at_once(what, took):
    """Of several times, in milliseconds, the best is below 100.

    The best, because a busy machine delays some; where it takes a poll or a timeout to notice, all are late.
    """
    MEASURED.append(f"cancel seen by the provider, {what}: {' '.join(f'{value:.0f}' for value in took)} ms")
    assert min(took) < 100


def milliseconds_until_cancelled(lab, go_away):
    """Lets a caller go away and returns how long the provider took to see it, in milliseconds."""
    before = lab.stats()["cancelled"]
    left_at = time.time()
    go_away()
    stats = until(
        lambda: (now := lab.stats())["cancelled"] > before and now,
        "the provider sees that the caller has gone",
        every=0.002,
    )
    took = stats["last_cancel_unix_ms"] - left_at * 1000
    assert took > -2, "the cancel that was counted is an older one"
    return max(took, 0.0)
