"""h2load as a load generator: its command, and its printed report in the form of ours."""

import re
import shlex

from proxies import BenchError, Process

# What every peer and both load generators choose.
CIPHER = "TLS_AES_128_GCM_SHA256"

# Requests that warm a proxy up: more for each connection than it takes to open all.
WARM_REQUESTS = 5000

UNITS_US = {"us": 1, "ms": 1e3, "s": 1e6}


class Load:
    """h2load at work for `seconds`; to warm up, for a number of requests."""

    def __init__(self, binary, scenario, url, folder, seconds, warm):
        self._streams = scenario.streams
        # Version 1.52 may not end when its time is over before all its connections are open.
        until = ["-n", str(WARM_REQUESTS)] if warm else ["-D", f"{round(seconds * 1000)}ms"]
        command = [binary, "-c", str(scenario.connections), "-m", str(scenario.streams), *until, f"--tls13-ciphers={CIPHER}", *(["--h1"] if scenario.streams == 1 else []), *scenario.options, url]
        self.command = shlex.join(["h2load", *command[1:]])
        self._process = Process("load", command, folder)

    def report(self, seconds):
        """Waits for its end, no longer than `seconds`; what it reports, in the words of our own load generator."""
        self._process.wait(seconds)
        report = parse(self._process.output.read_text(errors="replace"))
        wanted = "h2" if self._streams > 1 else "http/1.1"
        if report["spoken"]["protocol"] != wanted:
            raise BenchError(f"{report['spoken']['protocol']} was spoken instead of {wanted}")
        return report

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stop()


def parse(text):
    """The report in what h2load prints; a BenchError when it is not there."""
    def found(pattern):
        match = re.search(pattern, text)
        if match is None:
            raise BenchError(f"h2load did not report its run: {' / '.join(text.strip().splitlines()[-3:]) or 'no message'}")
        return match.groups()

    seconds, unit, rate = found(r"finished in ([\d.]+)(us|ms|s), ([\d.]+) req/s")
    # `total` counts what was under way at the end too: that is no failure.
    succeeded, failed, errored, timeout = map(
        int, found(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout"))
    good, *others = map(int, found(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx"))
    mean, mean_unit = found(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)")
    by_status = {"200": good} | {f"{digit}xx": count for digit, count in zip("345", others) if count}
    errors = {"failed": failed, "errored": errored, "timeout": timeout}
    return {
        "seconds": float(seconds) * UNITS_US[unit] / 1e6,
        "finished": succeeded,
        "failed": failed + errored + timeout,
        "errors": {kind: count for kind, count in errors.items() if count},
        "by_status": by_status,
        "requests_per_second": float(rate),
        "body_bytes": int(found(r"\((\d+)\) data")[0]),
        "latency": {"mean_us": float(mean) * UNITS_US[mean_unit]},
        "spoken": {
            "protocol": found(r"Application protocol: (\S+)")[0],
            "tls": " ".join(found(r"TLS Protocol: (\S+)") + found(r"Cipher: (\S+)")),
        },
    }
