"""h2load: a fixed number of requests through the gateway, all of which must succeed."""

import re

from programs import equal

REQUESTS = 2_000


def all_succeed(stand, url, *words, connections=16):
    """Runs h2load; fails unless every request was answered with a status 2xx."""
    said = stand.programs.run(["h2load", "-n", REQUESTS, "-c", connections, *words, url], seconds=90)
    counts = re.search(r"(\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
    assert counts, said
    equal([int(count) for count in counts.groups()], [REQUESTS, REQUESTS, REQUESTS, 0, 0, 0], f"counts of\n{said}")
    equal(re.search(r"status codes: (\d+) 2xx", said)[1], str(REQUESTS), "replies with status 2xx")
