"""Part B: binary upgrades one after the other under load. Old processes keep their streams until these end by themselves."""

import contextlib
import os
import random
import re
import signal
import time

from proxies import LOOK_SECONDS, BenchError, until
from storm_load import Callers, Requests
from storm_reloads import COUNT_SECONDS, IDLE_SECONDS, configuration, reasons
from storm_site import Site, sample

# Seconds that a new process may take until it accepts.
START_SECONDS = 60
UPGRADED = re.compile(r"upgraded: the new process accepts.*?process=(\d+)")
NOT_UPGRADED = re.compile(r"not upgraded: .*")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def upgraded(log):
    """The ids of the processes that have taken over, in order, and what went wrong."""
    plain = COLOUR.sub("", log)
    return [int(pid) for pid in UPGRADED.findall(plain)], NOT_UPGRADED.findall(plain)


def lives(seconds, shortest, longest, seed):
    """Messages of streams: every second pair outlives the whole part of `seconds`, the others end and are replaced."""
    chance = random.Random(seed)

    def life(place):
        return round(seconds) + 5 if place % 4 < 2 else chance.randint(shortest, longest)

    return life


def run(binary, folder, pace, progress):
    """The part's record."""
    seed = random.randrange(1 << 32)
    life = lives(pace.upgrades, *pace.lives, seed)
    with Site(binary, folder, configuration) as site, Callers(site, pace.streams, life) as callers:
        record = {"streams": pace.streams, "seconds": pace.upgrades, "every": pace.upgrade_every, "seed": seed,
                  "samples": [], "upgrades": [], "told": []}
        begun = time.monotonic()

        def look(name):
            record["samples"].append({"at": round(time.monotonic() - begun, 1), "phase": name} | sample(site))

        time.sleep(COUNT_SECONDS)
        look("start")
        requests = Requests(site, pace.upgrades)
        try:
            while (left := begun + pace.upgrades - time.monotonic()) > 0:
                time.sleep(min(pace.upgrade_every, left))
                look("before an upgrade")
                if left > pace.upgrade_every:
                    record["upgrades"].append(upgrade(site, record["told"]))
                progress(f"upgrades: {time.monotonic() - begun:.0f} of {pace.upgrades:.0f} s, "
                         f"{len(site.pids())} processes, {callers.crowd.broken} streams broken")
            record["requests"] = requests.results()
        finally:
            requests.stop()
        callers.settle_requests()
        record["requests"].append(callers.take_http2())
        callers.finish_streams(pace.lives[1] + 30)
        callers.leave_streams()
        record["crowd"], record["slow"] = callers.crowd.result(), callers.slow.result()
        # The last old process closes what is silent, and ends.
        with contextlib.suppress(BenchError):
            until("one process", lambda: len(site.pids()) == 1, 60)
        time.sleep(IDLE_SECONDS + COUNT_SECONDS)
        look("end")
        record["processes_at_end"] = len(site.pids())
        record["ended_reasons"] = reasons(site)
        return record


def upgrade(site, told):
    """Makes one; None when it does not succeed."""
    newest = site.pids()[-1]
    before, failures = upgraded(site.log())
    begun = time.monotonic()
    os.kill(newest, signal.SIGUSR2)
    while time.monotonic() < begun + START_SECONDS:
        now, wrong = upgraded(site.log())
        if len(now) > len(before):
            return {"from": newest, "to": now[-1], "seconds": round(time.monotonic() - begun, 3)}
        if len(wrong) > len(failures):
            told.append(wrong[-1])
            return None
        time.sleep(LOOK_SECONDS)
    told.append(f"process {newest} was not replaced within {START_SECONDS} s")
    return None
