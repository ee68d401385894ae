"""Part A: reloads without a pause under load. Each changes something, and each is looked for before the next is made."""

import contextlib
import os
import signal
import ssl
import time

from proxies import LOOK_SECONDS, BenchError, request
from storm_load import Callers, Requests
from storm_site import TOKEN, Site, sample, wait_for_generation, with_changes

# Reloads in a minute.
RATE = 200
# Seconds after which a change that is not in force counts as lost.
CONFIRM_SECONDS = 10
# How long connections to the origins wait for reuse: at the end all of them are to be gone.
IDLE_SECONDS = 10
# The gateway counts its tasks once a second.
COUNT_SECONDS = 2
# Messages of a stream that is to outlive everything.
FOR_EVER = 86_400
# What the reply of this route says is the number of the last change.
NUMBER_PATH = "/storm/number"

# What is changed, in turn: every other change comes by the admin API, the others by SIGHUP and the file.
CHANGES = ("routes", "weights", "endpoint", "timeouts", "certificate", "endpoint", "weights", "routes", "timeouts", "certificate")


def configuration(site, upgrade="1h"):
    """Everything to three origins, over two listeners."""
    return {
        "listeners": [
            {"bind": f"127.0.0.1:{site.port}"},
            {"bind": f"127.0.0.1:{site.tls_port}", "tls": [site.certificates.paths()]},
        ],
        "admin": {"bind": f"127.0.0.1:{site.admin_port}", "token": TOKEN},
        "timeouts": {"request": "120s", "stream": "1h", "tunnel": "1h", "upgrade": upgrade, "keep_alive": "10s",
                     "upstream_idle": f"{IDLE_SECONDS}s"},
        "limits": {"connections": 20_000, "requests": 10_000},
        "upstreams": {"app": {
            "endpoints": [{"url": site.endpoint(number), "weight": 2} for number in range(3)],
            "balance": "weighted_round_robin",
        }},
        "routes": routes(0, extra=False),
        "log": {"level": "info"},
    }


def routes(number, extra):
    more = [{"path": f"/storm/extra-{number}", "reply": {"status": 204}}] if extra else []
    return [
        {"path_exact": NUMBER_PATH, "reply": {"status": 200, "body": str(number)}},
        *more,
        {"path": "/", "upstream": "app", "request_headers": {"set": {"X-Storm": str(number)}}},
    ]


def kind(number):
    """What change `number`, counted from 1, changes, and whether by the admin API."""
    return CHANGES[(number - 1) % len(CHANGES)], number % 2 == 0


def changed(config, number, endpoints):
    """The sections that change `number` puts in the place of others. `endpoints` are the URLs of all origins."""
    what, _ = kind(number)
    upstream = config["upstreams"]["app"]
    sections = {"routes": routes(number, extra=what == "routes")}
    if what == "weights":
        weighted = [entry | {"weight": 1 + (number + place) % 4} for place, entry in enumerate(upstream["endpoints"])]
        sections["upstreams"] = {"app": upstream | {"endpoints": weighted}}
    elif what == "endpoint":
        # The last comes and goes: streams that it has go on.
        here = upstream["endpoints"][:-1]
        if len(upstream["endpoints"]) < len(endpoints):
            here = [*upstream["endpoints"], {"url": endpoints[-1], "weight": 2}]
        sections["upstreams"] = {"app": upstream | {"endpoints": here}}
    elif what == "timeouts":
        sections["timeouts"] = config["timeouts"] | {"request": f"{100 + number % 20}s", "first_token": f"{50 + number % 10}s"}
    return sections


class Changes:
    """Makes the changes and looks whether they are in force."""

    def __init__(self, site):
        self.site = site
        self.made = self.confirmed = self.number = 0
        self.by_kind = {}
        self.times_ms = []
        self.told = []
        self.generation = site.generation()
        self.endpoints = [site.endpoint(number) for number in range(3)]

    def make(self):
        """One change. True when it has come into force."""
        self.number += 1
        what, admin = kind(self.number)
        sections = changed(self.site.config, self.number, self.endpoints)
        self.site.config = with_changes(self.site.config, **sections)
        begun = time.monotonic()
        try:
            if what == "certificate":
                self.site.certificates.swap()
            if admin:
                self.site.admin("PATCH", "/api/v1/config", sections)
                if what == "certificate":
                    self.site.admin("POST", "/api/v1/config/reload-ssl", {})
            else:
                self.site.write(self.site.config)
                os.kill(self.site.pids()[-1], signal.SIGHUP)
            self.made += 1
            why = self.lacking(what)
        except BenchError as error:
            why = str(error)
        if why is None:
            self.confirmed += 1
            name = f"{what}, {'admin API' if admin else 'SIGHUP'}"
            self.by_kind[name] = self.by_kind.get(name, 0) + 1
            self.times_ms.append(round((time.monotonic() - begun) * 1000, 1))
        elif len(self.told) < 20:
            self.told.append(f"change {self.number} ({what}): {why}")
        return why is None

    def lacking(self, what):
        """What of the change is not in force in time; None when all is."""
        generation = wait_for_generation(self.site, self.generation, CONFIRM_SECONDS)
        if generation is None:
            return "no new generation"
        self.generation = generation
        deadline = time.monotonic() + CONFIRM_SECONDS
        while True:
            why = self.not_yet(what)
            if why is None or time.monotonic() > deadline:
                return why
            time.sleep(LOOK_SECONDS)

    def not_yet(self, what):
        status, body = request(self.site.port, "GET", NUMBER_PATH)
        if (status, body) != (200, str(self.number).encode()):
            return f"{NUMBER_PATH} answers {status} {body[:20]!r}"
        if what == "certificate":
            shown = ssl.get_server_certificate(("127.0.0.1", self.site.tls_port), timeout=CONFIRM_SECONDS)
            if shown.split() != self.site.certificates.pem().split():
                return "the certificate before is shown"
        # A look at the file in the same moment may have counted one more.
        self.generation = max(self.generation, self.site.generation())
        return None


def run(binary, folder, pace, progress):
    """The part's record."""
    with Site(binary, folder, configuration) as site, Callers(site, pace.streams, lambda _: FOR_EVER) as callers:
        record = {"streams": pace.streams, "seconds": pace.reloads, "calm_seconds": pace.calm, "rate": RATE, "samples": []}
        begun = time.monotonic()

        def look(phase):
            record["samples"].append({"at": round(time.monotonic() - begun, 1), "phase": phase} | sample(site))

        time.sleep(COUNT_SECONDS)
        look("start")
        record["calm"] = phase(site, callers, pace.calm, lambda _: None, look, "calm", progress)
        changes = Changes(site)
        record["storm"] = phase(site, callers, pace.reloads, lambda _: changes.make(), look, "storm", progress)
        callers.settle_requests()
        record["http2_rest"] = callers.take_http2()
        callers.leave_streams()
        time.sleep(IDLE_SECONDS + COUNT_SECONDS)
        look("end")
        with contextlib.suppress(BenchError):
            record["ended_reasons"] = reasons(site)
        record["reloads"] = {
            "made": changes.made, "confirmed": changes.confirmed, "by_kind": changes.by_kind, "told": changes.told,
            "asked": changes.number, "times_ms": changes.times_ms,
        }
        record["crowd"], record["slow"] = callers.crowd.result(), callers.slow.result()
        return record


def phase(site, callers, seconds, work, look, name, progress):
    """Some seconds of load with `work(number)` at the rate of reloads; what the load found."""
    requests = Requests(site, seconds)
    try:
        begun = looked = time.monotonic()
        messages = callers.messages()
        number = 0
        while (now := time.monotonic()) < begun + seconds:
            number += 1
            work(number)
            if now - looked >= min(30.0, max(seconds / 10, 1.0)):
                looked = now
                look(name)
                progress(f"{name}: {now - begun:.0f} of {seconds:.0f} s, {callers.crowd.broken} streams broken")
            # Late ones are made up for, as long as the time lasts.
            time.sleep(max(begun + number * 60 / RATE - time.monotonic(), 0))
        found = [*requests.results(), callers.take_http2()]
        return {"requests": found, "messages": callers.messages() - messages}
    finally:
        requests.stop()


def reasons(site):
    """Why exchanges ended otherwise than well, as the newest process counts."""
    found = {key: int(value) for key, value in site.metrics().items() if key.startswith("tidegate_ended_total{") and value}
    return {key.split('"')[1]: value for key, value in found.items()}
