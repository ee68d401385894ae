#!/usr/bin/env python3
"""Storms over the gateway: reloads, binary upgrades and failing endpoints under load; docs/benchmarks/README.md explains it.

Needs Python 3.10 and openssl; TIDEGATE_BIN names the binary (default dist/tidegate, of `make build-prod`).
"""

import argparse
import dataclasses
import datetime
import json
import pathlib
import shlex
import shutil
import sys
import tempfile
import time

import machine
import proxies
import storm_failures
import storm_reloads
import storm_upgrades
from run import ROOT, commit, find_tidegate, status, unused_folder, write, written
from storm_report import lines_of, report

PARTS = {"reloads": storm_reloads.run, "upgrades": storm_upgrades.run, "failures": storm_failures.run}

# Files that this process and the gateway need: streams have one each here, two there.
FILES = 8_000


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long and how much, in seconds and streams."""

    streams: int
    calm: float
    reloads: float
    upgrades: float
    upgrade_every: float
    # Messages of the streams that end during the upgrades, at least and at most.
    lives: tuple[int, int]
    before: float
    during: float
    after: float


FULL = Pace(1000, 60, 300, 300, 30, (30, 90), 4, 12, 8)
QUICK = Pace(200, 5, 15, 20, 5, (3, 8), 1, 5, 1)


def main():
    options = arguments()
    return status("storm", lambda: render(options.render) if options.render else run(options))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="about 20 seconds for each part: does it work")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; may be repeated")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR",
                        help="folder of the report; default docs/benchmarks/DATE-storm, with --quick target/bench/DATE-storm; "
                             "the other parts of a report that is there are kept")
    parser.add_argument("--render", type=pathlib.Path, metavar="DIR",
                        help="do nothing: write the report of DIR/raw.json again, with DIR/notes.md in it")
    return parser.parse_args()


def run(options):
    binary = find_tidegate()
    if proxies.find_program("openssl") is None:
        raise proxies.BenchError("openssl is missing; install it: sudo apt-get install -y openssl")
    if machine.raise_file_limit() < FILES:
        raise proxies.BenchError(f"{FILES} open files are needed; raise the limit: sudo prlimit --pid $$ --nofile={FILES}:{FILES}")
    pace = QUICK if options.quick else FULL
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    parent = ROOT / ("target/bench" if options.quick else "docs/benchmarks")
    folder = options.out or unused_folder(parent, f"{today}-storm")
    folder.mkdir(parents=True, exist_ok=True)
    version = proxies.version("tidegate", binary)
    document = {
        "date": today,
        "command": shlex.join(["python3", "bench/storm.py", *sys.argv[1:]]),
        "commit": commit(),
        "machine": machine.description(),
        "version": version,
        "build": proxies.build(version),
        "quick": options.quick,
        "pace": dataclasses.asdict(pace),
        "parts": earlier_parts(folder),
    }
    begun = time.monotonic()
    # A place of its own: an upgrade starts the file that the gateway was started from.
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-storm-"))
    try:
        for name in options.part or PARTS:
            def progress(text, name=name):
                print(f"[{time.monotonic() - begun:4.0f} s] {name}: {text}", file=sys.stderr, flush=True)

            record = PARTS[name](binary, scratch / name, pace, progress)
            document["parts"][name] = record | {"commit": document["commit"]}
            write(folder / "raw.json", json.dumps(document, indent=1) + "\n")
    except BaseException:
        print(f"storm: the logs are in {scratch}", file=sys.stderr)
        raise
    else:
        shutil.rmtree(scratch, ignore_errors=True)
    render(folder)
    for what, measured, met in lines_of(document):
        print(f"{ {True: 'met', False: 'MISSED', None: '-'}[met]:6} {what}: {measured}")
    print(f"report: {folder / 'report.md'}")


def earlier_parts(folder):
    try:
        return json.loads((folder / "raw.json").read_text())["parts"]
    except (OSError, ValueError, KeyError):
        return {}


def render(folder):
    """Writes the report of the raw document in `folder`."""
    document, notes = written(folder)
    write(folder / "report.md", report(document, notes))


if __name__ == "__main__":
    sys.exit(main())
