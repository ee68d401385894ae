"""What a storm is about: the gateway with its configuration, three lab origins, and what the kernel and the gateway tell of them."""

import contextlib
import copy
import json
import os
import pathlib
import signal
import time

import machine
import proxies
from proxies import BenchError, Process, request, until

TOKEN = "storm-admin-token-0123456789"
ORIGINS = 3

# Seconds that a gateway told to stop may take, its drain included.
STOP_SECONDS = 20


class Site:
    """The origins and a gateway before them. Everything is ended by its process id on the way out."""

    def __init__(self, binary, folder, make):
        """`make(site)` is the configuration as a document: JSON is YAML too."""
        self.binary, self.folder = binary, pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = machine.Ports()
        self.port, self.tls_port, self.admin_port = ports.next(), ports.next(), ports.next()
        self.origin_ports = [ports.next() for _ in range(ORIGINS)]
        self.config_path = self.folder / "tidegate.yaml"
        self.certificates = Certificates(self.folder)
        self.config = make(self)
        self.write(self.config)
        self.origins = {}
        self.gateway = None

    def __enter__(self):
        try:
            for number in range(ORIGINS):
                self.start_origin(number)
            self.gateway = Process("gateway", [self.binary, "serve", "--config", str(self.config_path)], self.folder)
            self.gateway.wait_for_port(self.admin_port)
            self.gateway.wait_for_port(self.tls_port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while self.pids() and time.monotonic() < deadline:
            if self.gateway:
                self.gateway.ended()  # A child that nobody waits for would stay.
            time.sleep(proxies.LOOK_SECONDS)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.gateway:
            self.gateway.stop()
        for origin in self.origins.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(origin.pid, signal.SIGCONT)
            origin.stop()

    def start_origin(self, number):
        port = self.origin_ports[number]
        origin = Process(f"origin-{number}", [self.binary, "lab", "origin", "--bind", f"127.0.0.1:{port}"], self.folder)
        self.origins[number] = origin
        origin.wait_for_port(port)

    def endpoint(self, number):
        return f"http://127.0.0.1:{self.origin_ports[number]}"

    def write(self, config):
        """The configuration into its file, whole or not at all."""
        fresh = self.config_path.with_suffix(".fresh")
        fresh.write_text(json.dumps(config, indent=1) + "\n")
        fresh.replace(self.config_path)

    def pids(self):
        """The gateway's processes, the oldest first. After an upgrade they are no children of ours."""
        wanted = str(self.config_path).encode()
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    words = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                    if wanted in words and b"serve" in words:
                        found.append((started(int(entry)), int(entry)))
        return [pid for _, pid in sorted(found)]

    def admin(self, method, path, document=None):
        body = None if document is None else json.dumps(document)
        status, answer = request(self.admin_port, method, path, {"Authorization": f"Bearer {TOKEN}"}, body)
        if status != 200:
            raise BenchError(f"{method} {path} of the admin listener: {status} {answer[:500].decode(errors='replace')}")
        return answer

    def metrics(self):
        return parse_metrics(self.admin("GET", "/metrics").decode())

    def generation(self):
        return int(total(self.metrics(), "tidegate_config_generation"))

    def log(self):
        return self.gateway.errors.read_text(errors="replace")


class Certificates:
    """Two certificates of which one is in force: a link leads to its folder, so that key and certificate change at once."""

    def __init__(self, folder):
        self.folder = folder
        self.link = folder / "tls"
        for name in ("tls-0", "tls-1"):
            (folder / name).mkdir(exist_ok=True)
            proxies.make_certificate(proxies.find_program("openssl"), folder / name)
        self.number = 0
        self.use(0)

    def use(self, number):
        fresh = self.folder / "tls.fresh"
        fresh.symlink_to(f"tls-{number}")
        fresh.replace(self.link)
        self.number = number

    def swap(self):
        self.use(1 - self.number)

    def paths(self):
        return {"cert": str(self.link / proxies.CERTIFICATE), "key": str(self.link / proxies.KEY)}

    def pem(self):
        return (self.link / proxies.CERTIFICATE).read_text()


def started(pid):
    """When a process began, in clock ticks since the machine did: field 22 of /proc/PID/stat."""
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def parse_metrics(text):
    """The samples of a metrics page: value by name and labels as written."""
    samples = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            samples[name] = float(value)
    return samples


def total(metrics, name, words=""):
    """The sum of a metric over the label sets that hold `words`."""
    return sum(
        value for key, value in metrics.items() if (key == name or key.startswith(name + "{")) and words in key)


def sample(site):
    """Memory, files and tasks at this moment. Tasks are those of the process that answers the admin listener: the newest."""
    now = {"processes": []}
    for pid in site.pids():
        with contextlib.suppress(OSError, KeyError):
            memory, files = machine.memory([pid]), machine.open_files([pid])
            now["processes"].append({"pid": pid, "rss_bytes": memory.rss, "files": files})
    with contextlib.suppress(BenchError):
        metrics = site.metrics()
        now["tasks"] = int(total(metrics, "tidegate_tasks"))
        now["connections"] = int(total(metrics, "tidegate_connections"))
        now["generation"] = int(total(metrics, "tidegate_config_generation"))
    return now


def with_changes(config, **sections):
    """A copy of the configuration with other sections."""
    return copy.deepcopy(config) | sections


def wait_for_generation(site, above, seconds):
    """Waits for a configuration with a higher number; gives that number, or None when it does not come."""
    found = []

    def holds():
        found[:] = [site.generation()]
        return found[0] > above

    try:
        until(f"generation {above + 1}", holds, seconds)
    except BenchError:
        return None
    return found[0]
