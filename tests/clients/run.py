#!/usr/bin/env python3
"""Runs the checks with real clients and real servers: `run.py` all of them, `run.py WORD…` those whose name contains a word.

Each `with_*.py` is a group: `prepare(programs)` starts what it needs, and every function of it that takes a `stand` and nothing
else is a check whose name is what it claims, unless it begins with an underscore. Groups run beside each other, the checks of
one after another. A group ends with one more check: its gateways end well and had no fault of their own.
"""

import concurrent.futures
import importlib
import inspect
import pathlib
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from programs import BINARY, Programs, program  # noqa: E402

# The longest first: they mostly wait, so that the others run beside them.
GROUPS = ("slowhttptest", "testssl", "curl", "curl_messages", "websockets", "grpc", "nginx", "haproxy", "load", "events", "tcp")
AT_ONCE = 3
NEEDED = ("curl", "openssl", "nginx", "haproxy", "h2load", "wrk", "slowhttptest", "testssl", "redis-server", "redis-cli")
SAY = threading.Lock()


def say(text):
    with SAY:
        print(text, flush=True)


def attempt(name, what):
    """Runs one check and says how it went; whether it held."""
    started = time.monotonic()
    try:
        what()
    except Exception as error:
        # An assertion says it all; anything else needs to be found, and its last lines tell where.
        why = str(error) if isinstance(error, AssertionError) and str(error) else traceback.format_exc()[-2000:]
        say(f"FAILED {name} ({time.monotonic() - started:.1f} s)\n    " + why.strip().replace("\n", "\n    "))
        return False
    say(f"ok {name} ({time.monotonic() - started:.1f} s)")
    return True


def checks_of(module):
    """The checks of a group in the order in which they are written."""
    found = [
        function for _, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not function.__name__.startswith("_")
        and list(inspect.signature(function).parameters) == ["stand"]
    ]
    return sorted(found, key=lambda function: function.__code__.co_firstlineno)


def run_group(group, words):
    """Runs a group: how many checks held and how many did not. The logs of a group that failed stay."""
    module = importlib.import_module(f"with_{group}")
    named = [(f"{group}: {function.__name__}", function) for function in checks_of(module)]
    chosen = [(name, function) for name, function in named if not words or any(word in name for word in words)]
    if not chosen:
        return 0, 0
    folder = tempfile.mkdtemp(prefix=f"tidegate-clients-{group}-")
    programs = Programs(folder)
    results = []
    try:
        stand = []
        if attempt(f"{group}: what it needs starts", lambda: stand.append(module.prepare(programs))):
            results += [attempt(name, lambda function=function: function(stand[0])) for name, function in chosen]
        else:
            results.append(False)
    finally:
        wrong = programs.close()

    def ends_well():
        assert not wrong, "\n".join(wrong)

    results.append(attempt(f"{group}: the gateway ends well", ends_well))
    if all(results):
        shutil.rmtree(folder)
    else:
        say(f"    the logs of {group} are in {folder}")
    return results.count(True), results.count(False)


def stop(number, _):
    raise KeyboardInterrupt(f"signal {number}")


def main():
    missing = [name for name in NEEDED if not program(name)]
    if missing or not pathlib.Path(BINARY).exists():
        print(f"missing: {', '.join(missing) or BINARY}; `scripts/ready test` installs, `cargo build` builds", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, stop)
    # Hundreds of connections, both ends of them in this process or its children.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        counts = list(pool.map(lambda group: run_group(group, sys.argv[1:]), GROUPS))
    held, failed = (sum(column) for column in zip(*counts))
    print(f"{held} checks with real clients and servers held, {failed} FAILED, in {time.monotonic() - started:.0f} s")
    return 1 if failed or not held else 0


if __name__ == "__main__":
    sys.exit(main())
