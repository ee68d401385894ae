"""Part C: one of three endpoints fails under load, in several ways; how many requests fail, how soon it is left alone and
how soon it is used again."""

import contextlib
import os
import signal
import threading
import time

from proxies import BenchError, request
from storm_load import Requests
from storm_site import TOKEN, Site, total

# The load: so many connections, each asking again when it has its answer, which the origin gives after so long.
CONNECTIONS = 200
WAIT_MS = 100

# What the gateway is configured with, in seconds.
PROBE, PROBE_TIMEOUT, PROBE_FAILURES, PROBE_SUCCESSES = 1.0, 0.5, 2, 1
ERRORS, EJECTION, EJECTION_MAX = 5, 5.0, 10.0
ATTEMPT, CONNECT, ATTEMPTS = 0.5, 0.3, 3
# A probe comes a tenth later than configured at most.
JITTER = 1.1

SLOW_MS = 2000
FLAP_SECONDS = 2.0
# Seconds between two looks at the endpoint's state.
LOOK_SECONDS = 0.03

VICTIM = 0


def configuration(site):
    """Three endpoints with probes, ejection, and a deadline for each attempt."""
    return {
        "listeners": [
            {"bind": f"127.0.0.1:{site.port}"},
            {"bind": f"127.0.0.1:{site.tls_port}", "tls": [site.certificates.paths()]},
        ],
        "admin": {"bind": f"127.0.0.1:{site.admin_port}", "token": TOKEN},
        "timeouts": {"connect": ms(CONNECT), "request": ms(ATTEMPT)},
        "retry": {"attempts": ATTEMPTS, "budget_percent": 20},
        "upstreams": {"app": {
            "endpoints": [site.endpoint(number) for number in range(3)],
            "health": {"path": "/small", "interval": ms(PROBE), "timeout": ms(PROBE_TIMEOUT),
                       "failures": PROBE_FAILURES, "successes": PROBE_SUCCESSES},
            "outlier": {"consecutive_errors": ERRORS, "ejection": ms(EJECTION), "ejection_max": ms(EJECTION_MAX)},
        }},
        "routes": [{"path": "/", "upstream": "app"}],
    }


def ms(seconds):
    return f"{round(seconds * 1000)}ms"


def found_by_probes(answer):
    """Seconds until probes alone leave an endpoint out whose probes take `answer` seconds to fail."""
    return PROBE_FAILURES * (PROBE * JITTER + min(answer, PROBE_TIMEOUT))


def back_within(ejections):
    """Seconds until an endpoint that is well again has traffic, after so many ejections in a row: the rest of the last
    ejection, and then a good probe."""
    return min(EJECTION * max(ejections, 1), EJECTION_MAX) + PROBE_SUCCESSES * (PROBE * JITTER + PROBE_TIMEOUT)


class Kill:
    name, answer = "killed (kill -9), started again", 0.0

    def begin(self, site):
        os.kill(site.origins[VICTIM].pid, signal.SIGKILL)
        site.origins[VICTIM].stop()

    def end(self, site):
        site.start_origin(VICTIM)


class BlackHole:
    name, answer = "black hole (SIGSTOP: connections open, nothing answers)", PROBE_TIMEOUT

    def begin(self, site):
        os.kill(site.origins[VICTIM].pid, signal.SIGSTOP)

    def end(self, site):
        os.kill(site.origins[VICTIM].pid, signal.SIGCONT)


class Trouble:
    def __init__(self, name, query, answer):
        self.name, self.query, self.answer = name, query, answer

    def begin(self, site):
        told(site, "?" + self.query)

    def end(self, site):
        told(site, "")


class Flapping:
    """Killed and started again all the time."""

    name, answer = f"flapping (up {FLAP_SECONDS:g} s, down {FLAP_SECONDS:g} s)", 0.0

    def begin(self, site):
        self._stop = threading.Event()
        self._kill = Kill()
        self._thread = threading.Thread(target=self._flap, args=(site,), daemon=True)
        self._thread.start()

    def _flap(self, site):
        while not self._stop.is_set():
            self._kill.begin(site)
            self._stop.wait(FLAP_SECONDS)
            self._kill.end(site)
            self._stop.wait(FLAP_SECONDS)

    def end(self, _):
        self._stop.set()
        self._thread.join(30)


def told(site, query):
    port = site.origin_ports[VICTIM]
    status, _ = request(port, "GET", "/lab/trouble" + query)
    if status != 204:
        raise BenchError(f"the origin answers {status} when told of its trouble")


def faults():
    return [
        Kill(),
        BlackHole(),
        Trouble("every connection reset", "reset", 0.0),
        Trouble(f"slow ({SLOW_MS / 1000:g} s)", f"ms={SLOW_MS}", PROBE_TIMEOUT),
        Flapping(),
        Trouble("answers 500", "status=500", 0.0),
    ]


def run(binary, folder, pace, progress):
    """The part's record: one entry for each fault, each with a gateway of its own."""
    record = {"connections": CONNECTIONS, "wait_ms": WAIT_MS, "faults": [], "configured": {
        "probe": PROBE, "probe_timeout": PROBE_TIMEOUT, "probe_failures": PROBE_FAILURES, "errors": ERRORS,
        "ejection": EJECTION, "ejection_max": EJECTION_MAX, "attempt": ATTEMPT, "connect": CONNECT, "attempts": ATTEMPTS}}
    for number, fault in enumerate(faults()):
        with Site(binary, folder / f"fault-{number}", configuration) as site:
            record["faults"].append(one(site, fault, pace))
        last = record["faults"][-1]
        progress(f"{fault.name}: {last['during']['failed']} of {last['during']['requests']} failed, "
                 f"left alone after {last['ejected_seconds']} s, back after {last['back_seconds']} s")
    return record


def one(site, fault, pace):
    """One fault: some load before it, during it and after it."""
    before = load(site, pace.before)
    watch = Watch(site)
    begun = time.monotonic()
    # Under load from its first moment on.
    with loaded(site, pace.during) as requests:
        time.sleep(0.3)
        ill = time.monotonic()
        fault.begin(site)
        ejected = watch.until(lambda admits, _: not admits, ill, pace.during)
        time.sleep(max(begun + pace.during - time.monotonic(), 0))
        during = requests.results()[0]
    metrics = site.metrics()
    ejections = int(total(metrics, "tidegate_upstream_ejections_total"))
    retries = {"made": int(total(metrics, "tidegate_retries_total")), "denied": int(total(metrics, "tidegate_retries_denied_total"))}
    within = back_within(ejections)
    with loaded(site, max(within, pace.after)) as requests:
        fault.end(site)
        well = time.monotonic()
        attempts = watch.attempts()
        # Used again: it admits, and has got more traffic than a trial.
        back = watch.until(lambda admits, metrics: admits and watch.attempts(metrics) > attempts + 1,
                           well, within + 10)
        after = requests.results()[0]
    return {"name": fault.name, "before": before, "during": during, "after": after, "ejections": ejections, "retries": retries,
            "ejected_seconds": ejected, "ejected_within": round(found_by_probes(fault.answer), 2),
            "back_seconds": back, "back_within": round(within, 2)}


def load(site, seconds):
    with loaded(site, seconds) as requests:
        return requests.results()[0]


@contextlib.contextmanager
def loaded(site, seconds):
    url = f"http://127.0.0.1:{site.port}/slow?ms={WAIT_MS}"
    requests = Requests(site, seconds, [("GET", url, CONNECTIONS, [])])
    try:
        yield requests
    finally:
        requests.stop()


class Watch:
    """Looks at the endpoint's state."""

    def __init__(self, site):
        self.site, self.endpoint = site, f'endpoint="{site.endpoint(VICTIM)}"'

    def attempts(self, metrics=None):
        return total(metrics or self.site.metrics(), "tidegate_upstream_attempts_total", self.endpoint)

    def until(self, holds, begun, seconds):
        """Seconds from `begun` until `holds(admits, metrics)`; None when it does not come true."""
        while time.monotonic() < begun + seconds:
            metrics = self.site.metrics()
            if holds(total(metrics, "tidegate_upstream_admitting", self.endpoint) > 0, metrics):
                return round(time.monotonic() - begun, 2)
            time.sleep(LOOK_SECONDS)
        return None
