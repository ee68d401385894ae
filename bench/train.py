#!/usr/bin/env python3
"""Sends every kind of traffic through an instrumented Tidegate and keeps the profiles that it writes: train.py FOLDER.

Needs Python 3.10, h2load and openssl; TIDEGATE_BIN names the instrumented binary. scripts/build-prod runs it.
"""

import argparse
import dataclasses
import pathlib
import shutil
import sys
import tempfile
import time

import machine
import proxies
from run import find_tidegate, prepare_machine, status
from scenarios import SCENARIOS, Bench, Pace, Scenario, what_failed

# Counts matter, not their precision: all of it takes about a minute.
PACE = Pace(warm=0.2, measure=1.0, rounds=1)

# A busy machine may be too slow to open all streams in time: a scenario that fails is tried again, once.
TRIES = 2

MEASURED = {scenario.name: scenario for scenario in SCENARIOS}
CONFIG = "tidegate-train.yaml"


def like(original, **changes):
    """A scenario of the benchmark, changed."""
    return dataclasses.replace(MEASURED[original], **changes)


# What never ran in training is laid out as code that never runs: each kind of traffic must be here.
TRAINING = [
    like("get-c64"),
    like("get-c512"),
    like("close-c64"),
    like("big-1m"),
    like("h2-c64"),
    like("h2-c512"),
    like("tls-c64"),
    like("tls-full"),
    like("tls-resumed"),
    like("ws-echo"),
    like("ws-echo", name="ws-tls", connections=64, entry="tls"),
    like("tcp-c64"),
    like("tcp-1m"),
    like("llm-post-c64"),
    like("llm-post-c64", name="llm-post-tls", entry="tls"),
    # An instrumented gateway on a busy machine cannot keep the pace of 2,000.
    like("sse-2000", name="sse", connections=500),
    like("sse-2000", name="sse-tls", connections=200, entry="tls"),
    Scenario("post", "POST of 4 KiB", "requests", "/small", 64, options=("--body", "tide" * 1024)),
    Scenario("h2-post", "POST over HTTP/2", "requests", "/small", 8, entry="tls", load="h2load", streams=8,
             options=("-d", str(proxies.CONFIGS / CONFIG))),
    Scenario("chunked", "chunked replies", "requests", "/chunked?count=100", 64),
    Scenario("to-tls", "endpoints over TLS", "requests", "/tls/small", 64, config=CONFIG),
    Scenario("to-http2", "endpoints over HTTP/2", "requests", "/http2/small", 64, config=CONFIG),
    *(Scenario(f"compressed-{coding}", "compressed replies", "requests", "/compressed/chunked?count=100", 16, config=CONFIG,
               options=("-H", f"Accept-Encoding: {coding}")) for coding in ("zstd", "br", "gzip")),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, metavar="FOLDER", help="where the profiles go")
    options = parser.parse_args()
    return status("train", lambda: train(options.folder))


def train(folder):
    """Runs all scenarios; afterwards `folder` holds the profiles of this run and no others."""
    programs = {"tidegate": find_tidegate()}
    tools = {name: find_tool(name) for name in ("h2load", "openssl")}
    prepare_machine()
    begun = time.monotonic()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-train-"))
    try:
        proxies.make_certificate(tools["openssl"], scratch)
        ports = machine.Ports()
        with proxies.Lab(programs["tidegate"], ports, scratch) as lab:
            bench = Bench(programs, tools, lab, ports, scratch, PACE)
            for number, scenario in enumerate(TRAINING, 1):
                record = exercise(bench, scenario)
                print(f"[{number}/{len(TRAINING)}, {time.monotonic() - begun:.0f} s] {scenario.name}: "
                      f"{record['ops']:,} × {record['op']}", flush=True)
        keep(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def find_tool(name):
    program = proxies.find_program(name)
    if program is None:
        raise proxies.BenchError(f"{name} is missing; install it: sudo apt-get install -y {proxies.PACKAGES[name]}")
    return program


def exercise(bench, scenario):
    """The record of a scenario in which nothing failed; how much it was disturbed does not matter here."""
    for _ in range(TRIES):
        record = bench.sample(scenario, "tidegate")
        if "ops" in record and what_failed(record) is None:
            return record
    raise proxies.BenchError(f"{scenario.name}: {record['dropped']}")


def keep(scratch, folder):
    """Moves the gateways' profiles to `folder`, in the place of those of an earlier run."""
    profiles = sorted(scratch.glob("tidegate-*.profraw"))
    if not profiles:
        raise proxies.BenchError("the gateway wrote no profile: TIDEGATE_BIN must be built with -Cprofile-generate")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for profile in profiles:
        shutil.move(profile, folder / profile.name)


if __name__ == "__main__":
    sys.exit(main())
