"""The scenarios: which load, what is read from the proxy meanwhile, and the raw record that comes of it."""

import dataclasses
import json
import pathlib
import shlex
import time

import h2load
import machine
import proxies
from proxies import BenchError, Process, Proxy, until

CALLER_KEY = "sk-bench-second-0123456789"

# The name that Tidegate's callers use for a model of the lab. Both are equally long: all proxies move the same bytes.
ROUTED_NAMES = {"lab-echo": "gpt-mini", "lab-tokens-1000": "gpt-stream-1000"}

LLM_BODY_BYTES = 1024
STREAM_INTERVAL_MS = 100

# Longest wait for all idle connections, and for all streams, to be open.
OPEN_SECONDS = 20
STREAMS_OPEN_SECONDS = 2

# Time after the expected end of a load in which it must have ended.
LOAD_END_SECONDS = 30

# Idle connections are watched at rest for no longer than this, and held somewhat longer.
IDLE_WATCH_SECONDS = 1.0
IDLE_SPARE_SECONDS = 0.5

# Time for buffers to go back where they came from before memory is read, and for the burst of opening to pass.
CALM_SECONDS = 1.0

# Requests that make a new proxy load its code and open what it needs, before its memory is the base line.
BASE_LINE_REQUESTS = 200

# A sample with more stolen time than this says more about the neighbours than about the proxy.
STEAL_PERCENT_MAX = 1.0

# Of so many handshakes at least, in percent, the kind must be the one that is measured.
HANDSHAKES_PERCENT_MIN = 90.0

# Streams whose chunks come at this distance or more did not keep the provider's pace.
GAP_MS_MAX = STREAM_INTERVAL_MS * 1.1


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A load that every peer gets."""

    name: str
    what: str
    kind: str  # "requests", "streams" or "idle"
    path: str
    connections: int
    llm: bool = False
    model: str = "lab-echo"
    # Bytes of the proxies' buffers: haproxy has one size for all.
    buffer_bytes: int = 16_384
    # The listener: "http", "tls" (HTTP/1.1 and HTTP/2 by ALPN), or "tcp", where nobody looks into the bytes.
    entry: str = "http"
    # Messages that the origin echoes, on a WebSocket of each connection.
    websocket: bool = False
    # The load generator: "tidegate", or "h2load", which speaks HTTP/2 and costs less with TLS.
    load: str = "tidegate"
    # Requests under way at once on each connection: more than one is HTTP/2.
    streams: int = 1
    # Further options of the load generator.
    options: tuple = ()
    # Tidegate's configuration in bench/peers, if the scenario has one of its own.
    config: str = ""
    # What is counted.
    op: str = "request"
    peers: tuple = ("tidegate", "nginx", "haproxy", "caddy")

    @property
    def status(self):
        """What a good exchange ends with in the load generator's report."""
        return "101" if self.websocket else "200"


THREE = ("tidegate", "nginx", "haproxy")

SCENARIOS = [
    Scenario("get-c64", "GET, 1 KiB reply, 64 connections", "requests", "/small", 64),
    Scenario("get-c512", "GET, 1 KiB reply, 512 connections", "requests", "/small", 512, peers=THREE),
    Scenario("close-c64", "GET, 1 KiB reply, a connection for each, 64 at once", "requests", "/small", 64,
             options=("--close",), op="connection"),
    Scenario("big-1m", "GET, 1 MiB reply, 16 connections, 64 KiB buffers", "requests", "/big", 16, buffer_bytes=65_536),
    Scenario("h2-c64", "HTTP/2 over TLS, GET, 1 KiB reply, 8 connections with 8 streams", "requests", "/small", 8,
             entry="tls", load="h2load", streams=8),
    Scenario("h2-c512", "HTTP/2 over TLS, GET, 1 KiB reply, 64 connections with 8 streams", "requests", "/small", 64,
             entry="tls", load="h2load", streams=8, peers=THREE),
    Scenario("tls-c64", "HTTP/1.1 over TLS, GET, 1 KiB reply, 64 connections", "requests", "/small", 64, entry="tls",
             load="h2load"),
    Scenario("tls-full", "a TLS handshake and a GET for each connection, 32 at once", "requests", "/small", 32, entry="tls",
             options=("--handshakes", "full"), op="handshake"),
    Scenario("tls-resumed", "the same with resumed sessions", "requests", "/small", 32, entry="tls",
             options=("--handshakes", "resumed"), op="handshake"),
    Scenario("ws-echo", "WebSocket messages of 64 bytes and their echoes, 256 connections", "requests", "/ws", 256,
             websocket=True, op="echo"),
    Scenario("tcp-c64", "GET, 1 KiB reply through a TCP listener, 64 connections", "requests", "/small", 64, entry="tcp",
             peers=THREE),
    Scenario("tcp-1m", "GET, 1 MiB reply through a TCP listener, 16 connections, 64 KiB buffers", "requests", "/big", 16,
             entry="tcp", buffer_bytes=65_536, peers=THREE),
    Scenario("llm-post-c64", "POST /v1/chat/completions, 1 KiB each way, 64 connections", "requests",
             "/v1/chat/completions", 64, llm=True, peers=THREE),
    Scenario("sse-2000", f"2,000 streams, one chunk each {STREAM_INTERVAL_MS} ms", "streams", "/v1/chat/completions",
             2000, llm=True, model="lab-tokens-1000", op="chunk", peers=THREE),
    Scenario("idle-9000", "9,000 connections, idle after one GET each", "idle", "/small", 9000),
    Scenario("idle-tls", "4,000 connections over TLS, idle after one GET each", "idle", "/small", 4000, entry="tls"),
    Scenario("idle-ws", "4,000 WebSockets, idle after one echo each", "idle", "/ws", 4000, websocket=True),
]


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long a sample takes, in seconds."""

    warm: float
    measure: float
    rounds: int


def llm_body(model, stream, size=LLM_BODY_BYTES):
    """A chat request of exactly `size` bytes."""
    def text(padding):
        messages = [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": ("The tide comes in, the tide goes out. " * 40)[:padding]},
        ]
        return json.dumps({"model": model, "stream": stream, "temperature": 0.7, "messages": messages})

    body = text(size - len(text(0)))
    if len(body) != size:
        raise ValueError(f"a body of {size} bytes cannot be made for {model}")
    return body


def load_of(scenario, peer):
    """Header fields and body (None for GET) of the scenario's request to `peer`."""
    if not scenario.llm:
        return {}, None
    model = ROUTED_NAMES[scenario.model] if peer == "tidegate" else scenario.model
    fields = {"Content-Type": "application/json", "Authorization": f"Bearer {CALLER_KEY}"}
    streams = scenario.kind == "streams"
    if streams:
        fields["x-lab-interval-ms"] = str(STREAM_INTERVAL_MS)
    return fields, llm_body(model, streams)


def url(scenario, proxy):
    """Where the load of `scenario` goes."""
    scheme = ("ws" if scenario.websocket else "http") + ("s" if scenario.entry == "tls" else "")
    return f"{scheme}://127.0.0.1:{proxy.ports[scenario.entry]}{scenario.path}"


class Bench:
    """What all samples of a run share."""

    def __init__(self, programs, tools, lab, ports, folder, pace):
        self.tidegate = programs["tidegate"]
        self.programs = programs
        self.tools = tools
        self.lab = lab
        self.ports = ports
        self.folder = pathlib.Path(folder)
        self.pace = pace

    def sample(self, scenario, peer):
        """One raw record: a fresh proxy, the load, what was read. A failure is a record too, with `dropped` saying why."""
        record = {"scenario": scenario.name, "peer": peer, "dropped": None}
        try:
            until("the lab at rest", lambda: self.lab.open_exchanges() == 0, proxies.STOP_SECONDS)
            with Proxy(peer, self.programs[peer], self.lab, self.ports, self.folder, scenario) as proxy:
                check_answers(scenario, proxy)
                measure = {"requests": self.requests, "streams": self.streams, "idle": self.idle}[scenario.kind]
                record |= measure(scenario, proxy)
                if peer == "tidegate" and scenario.kind == "requests" and scenario.llm:
                    check_usage(proxy, record["ops"])
            record["dropped"] = why_dropped(record)
        except BenchError as error:
            record["dropped"] = str(error)
        return record

    def requests(self, scenario, proxy):
        """CPU time per request of a closed loop."""
        self.load(scenario, proxy, self.pace.warm, warm=True)
        proxy.settle()
        window = Window(proxy)
        report, command = self.load(scenario, proxy, self.pace.measure)
        record = window.close() | loaded(scenario, report, command)
        check_handshakes(scenario, report)
        ops = max(report["finished"], 1)
        record |= {"ops": ops, "op": scenario.op, "ops_per_second": report["requests_per_second"]}
        record |= per_op(record, ops)
        gib = report["body_bytes"] / (1 << 30)
        if scenario.path == "/big" and gib > 0:
            record["cpu_ms_per_gib"] = record["cpu_us"] / 1000 / gib
        return record | report.get("spoken", {}) | quantiles(report["latency"])

    def streams(self, scenario, proxy):
        """CPU time per chunk while all streams run, and memory per stream."""
        base = self.base_line(scenario, proxy)
        seconds = STREAMS_OPEN_SECONDS + CALM_SECONDS + self.pace.measure
        ends = time.monotonic() + seconds
        with Load(self, scenario, proxy, ["--streams", "-d", str(seconds)]) as load:
            def all_open():
                load.check()
                return self.lab.open_exchanges() >= scenario.connections

            until(f"{scenario.connections} streams through {proxy.peer}", all_open, STREAMS_OPEN_SECONDS)
            time.sleep(CALM_SECONDS)
            during = proxy.memory()
            window = Window(proxy)
            time.sleep(self.pace.measure)
            record = window.close()
            if time.monotonic() > ends or self.lab.open_exchanges() < scenario.connections:
                raise BenchError("streams ended before the measurement did")
            report = load.report(seconds + LOAD_END_SECONDS)
        record |= loaded(scenario, report, load.command) | growth(base, during, scenario.connections)
        gap = report["streams"]["gap"]
        if gap["count"] == 0:
            raise BenchError("the streams carried no chunks")
        # The load generator counts chunks over the whole run, opening included. Over the window they are counted by
        # their measured distance, which every stream keeps all the time.
        ops = round(scenario.connections * record["seconds"] * 1e6 / gap["mean_us"])
        record |= {"ops": ops, "op": "chunk", "ops_per_second": ops / record["seconds"], "gap_mean_us": gap["mean_us"]}
        return record | per_op(record, ops) | quantiles(gap)

    def idle(self, scenario, proxy):
        """Memory per idle connection."""
        base = self.base_line(scenario, proxy)
        watch = min(self.pace.measure, IDLE_WATCH_SECONDS)
        hold = CALM_SECONDS + watch + IDLE_SPARE_SECONDS
        with Load(self, scenario, proxy, ["--idle", str(hold)]) as load:
            def all_open():
                load.check()
                # The proxy's few other files hide as many connections; they come while it calms down.
                return proxy.open_files() >= scenario.connections

            until(f"{scenario.connections} connections to {proxy.peer}", all_open, OPEN_SECONDS)
            time.sleep(CALM_SECONDS)
            window = Window(proxy)
            time.sleep(watch)
            record = window.close()
            during = proxy.memory()
            report = load.report(hold + LOAD_END_SECONDS)
        record |= loaded(scenario, report, load.command) | growth(base, during, scenario.connections)
        record |= {"connections": scenario.connections, "held": report["idle"]["held"], "lost": report["idle"]["lost"]}
        return record | quantiles(report["idle"]["awakened"])

    def base_line(self, scenario, proxy):
        """The memory of a proxy that has carried a few requests of the scenario's path and rests."""
        # Plain requests also where streams are measured: a stream of the lab goes on for minutes.
        plain = dataclasses.replace(scenario, kind="requests", model="lab-echo", connections=4)
        with Load(self, plain, proxy, ["-n", str(BASE_LINE_REQUESTS)]) as load:
            load.report(LOAD_END_SECONDS)
        proxy.settle()
        return proxy.memory()

    def load(self, scenario, proxy, seconds, warm=False):
        """Runs a load to its end: its report and its command."""
        if scenario.load == "h2load":
            load = h2load.Load(self.tools["h2load"], scenario, url(scenario, proxy), self.folder, seconds, warm)
        else:
            load = Load(self, scenario, proxy, ["-d", str(seconds)])
        with load:
            return load.report(seconds + LOAD_END_SECONDS), load.command


class Load:
    """Our load generator at work."""

    def __init__(self, bench, scenario, proxy, options):
        fields, body = load_of(scenario, proxy.peer)
        self._json = bench.folder / "load.json"
        self._json.unlink(missing_ok=True)
        command = [bench.tidegate, "bench", url(scenario, proxy), "-c", str(scenario.connections)]
        command += [*scenario.options, *options]
        for name, value in fields.items():
            command += ["-H", f"{name}: {value}"]
        # The body is in the report once; a thousand copies of it in the raw data would hide the rest.
        self.command = shlex.join(["tidegate", *command[1:], *(["--body", "BODY"] if body else [])])
        command += ["--json", str(self._json), *(["--body", body] if body else [])]
        self._process = Process("load", command, bench.folder)

    def check(self):
        self._process.check()

    def report(self, seconds):
        """Waits for the end of a load, no longer than `seconds`; what it reports, without its curves."""
        self._process.wait(seconds)
        report = json.loads(self._json.read_text())
        times = [report["latency"], *(value for part in ("streams", "idle") for value in report.get(part, {}).values())]
        for distribution in times:
            if isinstance(distribution, dict):
                distribution.pop("curve", None)
        return report

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stop()


class Window:
    """A stretch of time over which a proxy's CPU time and the processors are watched."""

    def __init__(self, proxy):
        self._proxy = proxy
        self._cpus = machine.cpu_times()
        self._begun = time.monotonic()
        self._times = proxy.times()

    def close(self):
        """What was used since the beginning: microseconds of CPU, seconds, percent."""
        used = self._proxy.times().since(self._times)
        seconds = time.monotonic() - self._begun
        cpus = machine.cpu_times()
        proxy_percent = machine.percent(used.total_us / 1e6, seconds)
        busy = machine.busy_percent(self._cpus, cpus, proxies.PROXY_CPU)
        return {
            "seconds": seconds,
            "cpu_us": used.total_us,
            "user_us": used.total_us * used.user_share,
            "system_us": used.total_us * (1 - used.user_share),
            "proxy_cpu_percent": proxy_percent,
            "others_on_proxy_cpu_percent": max(0.0, busy - proxy_percent),
            "steal_percent": machine.steal_percent(self._cpus, cpus, (proxies.PROXY_CPU, proxies.LOAD_CPU)),
        }


def per_op(record, ops):
    return {f"{part}_us_per_op": record[f"{part}_us"] / ops for part in ("cpu", "user", "system")}


def growth(base, during, connections):
    """Memory that `connections` cost, in bytes each."""
    return {
        "rss_base_bytes": base.rss,
        "pss_base_bytes": base.pss,
        "huge_base_bytes": base.huge,
        "huge_bytes": during.huge,
        "rss_bytes_each": (during.rss - base.rss) / connections,
        "pss_bytes_each": (during.pss - base.pss) / connections,
    }


def loaded(scenario, report, command):
    """What every load tells of itself."""
    wrong = {status: count for status, count in report["by_status"].items() if status != scenario.status}
    return {"command": command, "failed": report["failed"], "errors": report["errors"], "wrong_status": wrong,
            "load_seconds": report["seconds"]}


def quantiles(times):
    """The quantiles of a distribution; h2load knows only the mean."""
    return {f"{name}_us": times[f"{name}_us"] for name in ("p50", "p99", "mean") if f"{name}_us" in times}


def why_dropped(record):
    """Why a sample is not used; None for a good one."""
    return what_failed(record) or what_disturbed(record)


def what_failed(record):
    """What the load could not do; None when all went well."""
    if record["failed"] or record["wrong_status"]:
        return f"{record['failed']} exchanges failed {record['errors']}, other statuses {record['wrong_status']}"
    if "held" in record and (record["lost"] or record["held"] < record["connections"]):
        return f"{record['held']} of {record['connections']} connections were held, {record['lost']} were closed"
    return None


def what_disturbed(record):
    """Why the numbers of a sample mean little though nothing failed; None when nothing disturbed it."""
    if record["steal_percent"] > STEAL_PERCENT_MAX:
        return f"steal {record['steal_percent']:.1f} %"
    if record.get("gap_mean_us", 0) > GAP_MS_MAX * 1000:
        return f"chunks came every {record['gap_mean_us'] / 1000:.0f} ms instead of {STREAM_INTERVAL_MS}"
    return None


def check_answers(scenario, proxy):
    """The proxy really forwards, and Tidegate really looks at the caller's key; a BenchError when not."""
    plain = dataclasses.replace(scenario, kind="requests", model="lab-echo")
    fields, body = load_of(plain, proxy.peer)
    method = "POST" if body else "GET"
    # The load itself looks at every echo.
    path = "/small" if scenario.websocket else scenario.path
    port, tls = proxy.ports[scenario.entry], scenario.entry == "tls"
    status, reply = proxies.request(port, method, path, fields, body, tls)
    least = 1 << 20 if path == "/big" else 512
    if status != 200 or len(reply) < least:
        raise BenchError(f"{proxy.peer} answered {status} with {len(reply)} bytes to {method} {path}")
    if scenario.llm and proxy.peer == "tidegate":
        status, _ = proxies.request(port, method, scenario.path, fields | {"Authorization": "Bearer wrong"}, body, tls)
        if status != 401:
            raise BenchError(f"Tidegate answered {status} to a wrong key: it is not measured with its key check")


def check_handshakes(scenario, report):
    """The handshakes were of the kind that is measured; a BenchError when not."""
    if "--handshakes" not in scenario.options:
        return
    made, wanted = report["handshakes"], scenario.options[-1]
    # The first handshake of each of the load's connections has nothing to resume.
    first = scenario.connections if wanted == "resumed" else 0
    percent = machine.percent(made[wanted], made["full"] + made["resumed"] - first)
    if percent < HANDSHAKES_PERCENT_MIN:
        raise BenchError(f"only {percent:.0f} % of the handshakes were {wanted}")


def check_usage(proxy, requests):
    """Tidegate has counted the tokens of the measured requests; a BenchError when not."""
    status, page = proxies.request(
        proxy.ports["admin"], "GET", "/metrics", {"Authorization": f"Bearer {proxies.ADMIN_TOKEN}"}
    )
    tokens = sum(
        float(line.rpartition(" ")[2])
        for line in page.decode().splitlines()
        if line.startswith("tidegate_tokens_total{")
    )
    if status != 200 or tokens < requests:
        raise BenchError(f"Tidegate counted {tokens:.0f} tokens in {requests} requests: it is not measured with usage on")
