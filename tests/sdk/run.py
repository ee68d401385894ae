#!/usr/bin/env python3
"""Runs the SDK suites: `run.py` both, `run.py python` or `run.py node` one of them; further arguments go to that one.

The Python suite makes its own stand (tests/sdk/python/conftest.py); the Node suite gets one from here.
"""

import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from stand import DIRECT, Stand  # noqa: E402

# A suite that hangs is ended. Both together take well under a minute.
SUITE_SECONDS = 300


def python(arguments):
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], cwd=HERE / "python", stdin=subprocess.DEVNULL, timeout=SUITE_SECONDS
    ).returncode


def node(arguments):
    files = sorted(str(path.name) for path in (HERE / "node").glob("*.test.mjs"))
    with Stand() as stand:
        environment = {
            **os.environ,
            "TIDEGATE_SUITE_ADDRESS": stand.address,
            "TIDEGATE_SUITE_KEY": stand.key,
            "TIDEGATE_SUITE_LAB": stand.lab.address,
            "TIDEGATE_SUITE_FAILING": stand.failing.address,
        }
        # One file at a time: each counts what the provider saw.
        command = ["node", "--test", "--test-concurrency=1", "--test-reporter=spec", *arguments, *files]
        code = subprocess.run(
            command, cwd=HERE / "node", env=environment, stdin=subprocess.DEVNULL, timeout=SUITE_SECONDS
        ).returncode
        stand.keep_logs = code != 0
        return code


SUITES = {"python": python, "node": node}


def main():
    chosen, arguments = list(SUITES), sys.argv[1:]
    if arguments and arguments[0] in SUITES:
        chosen, arguments = [arguments[0]], arguments[1:]
    status = 0
    for name in chosen:
        started = time.monotonic()
        code = SUITES[name](arguments)
        how = "directly at the lab" if DIRECT else "through the gateway"
        print(f"{name} suite {how}: {'passed' if code == 0 else f'FAILED ({code})'} in {time.monotonic() - started:.1f} s")
        status = status or code
    return status


if __name__ == "__main__":
    sys.exit(main())
