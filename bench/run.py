#!/usr/bin/env python3
"""Measures Tidegate beside nginx, haproxy and Caddy on this machine and writes a report; docs/benchmarks/README.md explains it.

Needs Python 3.10 and nothing else; TIDEGATE_BIN names the binary (default dist/tidegate, of `make build-prod`).
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import machine
import proxies
from report import charts, report
from scenarios import SCENARIOS, Bench, Pace, llm_body
from summary import PEERS, order, verdicts

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A run takes less than 15 minutes so, and a quick one about 2.
FULL = Pace(warm=0.5, measure=2.0, rounds=3)
QUICK = Pace(warm=0.2, measure=0.5, rounds=1)

# Bounds of what the command line may ask for.
ROUNDS_MAX = 100
SECONDS_MAX = 600


def main():
    options = arguments()
    return status("bench", lambda: render(options.render) if options.render else run(options))


def status(name, work):
    """Does the work and says with which status the program called `name` ends."""
    # SIGTERM ends it like Ctrl-C: every process that was started is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        work()
    except proxies.BenchError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        return 130
    return 0


def arguments():
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of half a second: does it work, not what does it cost")
    parser.add_argument("--rounds", type=int, help=f"rounds, default {FULL.rounds}")
    parser.add_argument("--seconds", type=float, help=f"seconds of each sample, default {FULL.measure:g}")
    parser.add_argument("--scenario", action="append", choices=names, help="only this one; may be repeated")
    parser.add_argument("--peer", action="append", choices=PEERS, help="only this one; may be repeated")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR",
                        help="folder of the report; default docs/benchmarks/DATE, with --quick target/bench/DATE")
    parser.add_argument("--render", type=pathlib.Path, metavar="DIR",
                        help="measure nothing: write the report of DIR/raw.json again, with DIR/notes.md in it")
    options = parser.parse_args()
    if options.rounds is not None and not 1 <= options.rounds <= ROUNDS_MAX:
        parser.error(f"--rounds must be 1 to {ROUNDS_MAX}")
    if options.seconds is not None and not 0.5 <= options.seconds <= SECONDS_MAX:
        parser.error(f"--seconds must be 0.5 to {SECONDS_MAX}")
    return options


def run(options):
    begun = time.monotonic()
    programs, missing = find_programs(options.peer or PEERS)
    tools = {name: program for name in ("h2load", "openssl") if (program := proxies.find_program(name))}
    prepare_machine()
    pace = QUICK if options.quick else FULL
    pace = dataclasses.replace(
        pace, rounds=options.rounds or pace.rounds, measure=options.seconds or pace.measure
    )
    chosen = [scenario for scenario in SCENARIOS if not options.scenario or scenario.name in options.scenario]
    peers = [peer for peer in PEERS if peer in programs and peer in (options.peer or PEERS)]
    cells, impossible = possible(chosen, peers, tools, "nginx" in programs and proxies.stream_module(programs["nginx"]))
    missing |= impossible
    for what, advice in missing.items():
        print(f"bench: {what} is not installed and not measured: {advice}", file=sys.stderr)
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    folder = options.out or unused_folder(ROOT / ("target/bench" if options.quick else "docs/benchmarks"), today)
    folder.mkdir(parents=True, exist_ok=True)
    versions = {peer: proxies.version(peer, programs[peer]) for peer in ("tidegate", *peers)}
    document = {
        "date": today,
        "command": shlex.join(["python3", "bench/run.py", *sys.argv[1:]]),
        "commit": commit(),
        "machine": machine.description(),
        "versions": versions,
        "build": proxies.build(versions["tidegate"]),
        "missing": missing,
        "quick": options.quick,
        "rounds": pace.rounds,
        "measure_seconds": pace.measure,
        "warm_seconds": pace.warm,
        "took_seconds": 0.0,
        "scenarios": [dataclasses.asdict(scenario) for scenario, _ in cells],
        "body": llm_body("gpt-mini", False),
        "records": [],
    }
    progress = Progress(pace.rounds * sum(len(able) for _, able in cells))
    scratch = tempfile.mkdtemp(prefix="tidegate-bench-")
    # nginx, started by root, works as another account and must reach its folders.
    os.chmod(scratch, 0o755)
    ports = machine.Ports()
    try:
        if "openssl" in tools:
            proxies.make_certificate(tools["openssl"], scratch)
        with proxies.Lab(programs["tidegate"], ports, scratch) as lab:
            bench = Bench(programs, tools, lab, ports, scratch, pace)
            for number in range(pace.rounds):
                for scenario, able in cells:
                    for place, peer in enumerate(order(able, number)):
                        for attempt in (1, 2):  # A dropped sample is repeated once, at once; both are kept.
                            progress.at(f"round {number + 1} {scenario.name} {peer}")
                            record = {"round": number, "place": place, "attempt": attempt} | bench.sample(scenario, peer)
                            document["records"].append(record)
                            document["took_seconds"] = time.monotonic() - begun
                            write(folder / "raw.json", json.dumps(document, indent=1) + "\n")
                            progress.told(record)
                            if record["dropped"] is None:
                                break
                        progress.step()
    finally:
        progress.end()
        shutil.rmtree(scratch, ignore_errors=True)
    render(folder)
    for verdict in verdicts(document["records"]):
        if verdict.measured is not None:
            word = "met" if verdict.met else f"missed by {verdict.over_percent:.1f} %"
            print(f"{verdict.target.name:12} {verdict.measured.median:10.2f} {verdict.target.unit}, "
                  f"target {verdict.target.most:g}: {word}")
    print(f"report: {folder / 'report.md'}")


def render(folder):
    """Writes the report and charts of the raw document in `folder`."""
    document, notes = written(folder)
    write(folder / "report.md", report(document, notes))
    for name, svg in charts(document).items():
        write(folder / name, svg)


def written(folder):
    """The raw document in `folder`, and the notes beside it if there are any."""
    try:
        document = json.loads((folder / "raw.json").read_text())
    except (OSError, ValueError) as error:
        raise proxies.BenchError(f"{folder / 'raw.json'} cannot be read: {error}") from error
    notes = ""
    with contextlib.suppress(FileNotFoundError):
        notes = (folder / "notes.md").read_text()
    return document, notes


def write(path, text):
    """Writes a file whole or not at all: a run that is interrupted leaves what it had."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.replace(path)


def find_tidegate():
    """The binary that is measured."""
    path = pathlib.Path(os.environ.get("TIDEGATE_BIN", ROOT / "dist/tidegate")).resolve()
    if not path.is_file():
        raise proxies.BenchError(f"{path} does not exist; build it: make build-prod; or name another build with TIDEGATE_BIN")
    return str(path)


def find_programs(peers):
    """The programs by peer, Tidegate always, and advice for those of `peers` that are missing."""
    programs, missing = {"tidegate": find_tidegate()}, {}
    if shutil.which("taskset") is None:
        raise proxies.BenchError("taskset is missing; install it: sudo apt-get install -y util-linux")
    for peer in peers:
        program = programs.get(peer) or proxies.find_program(peer)
        if program:
            programs[peer] = program
        else:
            missing[peer] = f"install it with: sudo apt-get install -y {proxies.PACKAGES[peer]}"
    return programs, missing


def possible(scenarios, peers, tools, stream):
    """The scenarios with the peers that can be measured in each, and advice for what cannot. Without `openssl` there is no
    certificate; `stream` is None when nginx has no TCP."""
    cells, missing = [], {}

    def needs(what, package):
        missing[what] = f"install it with: sudo apt-get install -y {proxies.PACKAGES[package]}"

    for scenario in scenarios:
        wanted = {"h2load"} if scenario.load == "h2load" else set()
        # Every configuration but those for TCP has a TLS listener.
        wanted |= {"openssl"} if scenario.entry != "tcp" else set()
        absent = sorted(wanted - tools.keys())
        for tool in absent:
            needs(tool, tool)
        able = [peer for peer in peers if peer in scenario.peers]
        if scenario.entry == "tcp" and "nginx" in able and stream is None:
            able.remove("nginx")
            needs("TCP with nginx", "stream")
        if able and not absent:
            cells.append((scenario, able))
    return cells, missing


def prepare_machine():
    """Keeps us and the load off the proxy's processor, and lifts the file limit."""
    wanted = {proxies.PROXY_CPU, proxies.LOAD_CPU}
    if not wanted <= os.sched_getaffinity(0):
        raise proxies.BenchError(f"CPUs {sorted(wanted)} are needed, this process may use {sorted(os.sched_getaffinity(0))}")
    os.sched_setaffinity(0, {proxies.LOAD_CPU})
    files = machine.raise_file_limit()
    if files < proxies.FILES:
        raise proxies.BenchError(
            f"{proxies.FILES} open files are needed, the limit is {files}; raise it: "
            f"sudo prlimit --pid $$ --nofile={proxies.FILES}:{proxies.FILES}"
        )


def unused_folder(parent, name):
    """parent/name, or with -2, -3, … if a report is there already: reports are kept."""
    folder, number = parent / name, 1
    while (folder / "report.md").exists():
        number += 1
        folder = parent / f"{name}-{number}"
    return folder


def commit():
    """The commit that is measured, `+` when the working tree differs from it."""
    def git(*words):
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    head = git("rev-parse", "--short=12", "HEAD")
    if head is None:
        return "unknown"
    return head + ("+" if git("status", "--porcelain", "--", "crates", "Cargo.toml", "Cargo.lock") else "")


class Progress:
    """A bar on a terminal, plain lines elsewhere."""

    WIDTH = 28

    def __init__(self, total):
        self.total, self.done = total, 0
        self.begun = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def at(self, what):
        if self.terminal:
            full = self.WIDTH * self.done // self.total
            spent = time.monotonic() - self.begun
            left = round(spent / self.done * (self.total - self.done)) if self.done else 0
            left = f", {left // 60}:{left % 60:02} left" if self.done else ""
            bar = "█" * full + "░" * (self.WIDTH - full)
            print(f"\r\x1b[K{bar} {self.done}/{self.total}{left}  {what}", end="", file=sys.stderr, flush=True)

    def told(self, record):
        """One line for a sample; on a terminal only when it is dropped."""
        if self.terminal and record["dropped"] is None:
            return
        start = "\r\x1b[K" if self.terminal else f"[{self.done + 1}/{self.total}] "
        print(f"{start}round {record['round'] + 1} {record['scenario']} {record['peer']}: {result(record)}",
              file=sys.stderr, flush=True)

    def step(self):
        self.done += 1

    def end(self):
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def result(record):
    """A sample in a few words."""
    if record["dropped"] is not None:
        return f"dropped: {record['dropped']}"
    words = []
    if "cpu_us_per_op" in record:
        words.append(f"{record['cpu_us_per_op']:.1f} CPU-µs per {record['op']}, {record['ops_per_second']:,.0f}/s")
    if "rss_bytes_each" in record:
        words.append(f"{record['rss_bytes_each']:,.0f} bytes each")
    return ", ".join(words)


if __name__ == "__main__":
    sys.exit(main())
