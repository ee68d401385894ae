"""From raw records to numbers: which samples count, medians, ratios by round, and what the targets say to them."""

import dataclasses
import statistics

# Tidegate first: everything is compared with it.
PEERS = ["tidegate", "nginx", "haproxy", "caddy"]


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some samples, and how many there were."""

    median: float
    low: float
    high: float
    count: int


@dataclasses.dataclass(frozen=True)
class Target:
    """A line of acceptance: `field` of Tidegate, or its ratio to `peer`, is at most `most`."""

    name: str
    scenario: str
    field: str
    most: float
    unit: str
    peer: str | None = None


def ratios(scenario, what, field="cpu_us_per_op", **most):
    """The targets of a scenario against peers: at most `most[peer]` times what the peer needs."""
    return [Target(scenario, scenario, field, ratio, f"× {peer}, {what}", peer) for peer, ratio in most.items()]


TARGETS = [
    *ratios("get-c64", "CPU per request", nginx=0.85, haproxy=0.85),
    Target("get-c64", "get-c64", "user_us_per_op", 2.5, "µs user time per request"),
    *ratios("get-c512", "CPU per request", nginx=0.70, haproxy=0.60),
    *ratios("tls-c64", "CPU per request", nginx=0.9, haproxy=0.9),
    *ratios("h2-c64", "CPU per request", nginx=0.9, haproxy=0.9),
    *ratios("h2-c512", "CPU per request", nginx=0.9, haproxy=0.9),
    *ratios("tls-full", "CPU per handshake", nginx=1.0, haproxy=1.0),
    *ratios("tls-resumed", "CPU per handshake", nginx=1.0, haproxy=1.0),
    *ratios("big-1m", "CPU per GiB", "cpu_ms_per_gib", nginx=0.75, haproxy=1.1),
    *ratios("llm-post-c64", "CPU per request", nginx=1.0),
    *ratios("sse-2000", "CPU per chunk", nginx=0.95),
    Target("idle-9000", "idle-9000", "rss_bytes_each", 1200, "bytes RSS per idle connection"),
    Target("sse-memory", "sse-2000", "rss_bytes_each", 4000, "bytes RSS per stream"),
]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was measured against a target; `measured` is None without a usable sample."""

    target: Target
    measured: Spread | None

    @property
    def met(self):
        return self.measured is not None and self.measured.median <= self.target.most

    @property
    def over_percent(self):
        """By how much the target is missed; negative: by how much it is undercut."""
        return 100.0 * (self.measured.median / self.target.most - 1)


def usable(records, scenario, peer):
    """The samples of `peer` that count, by round. Of a repeated sample at most one does."""
    return {
        record["round"]: record
        for record in records
        if record["scenario"] == scenario and record["peer"] == peer and record["dropped"] is None
    }


def spread(values):
    """The spread of `values`; None without any."""
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values), len(values)) if values else None


def spread_of(records, scenario, peer, field):
    return spread(record[field] for record in usable(records, scenario, peer).values() if field in record)


def ratio_to(records, scenario, peer, field):
    """Tidegate's `field` divided by the peer's in the same round, over all rounds in which both have a good sample."""
    ours, theirs = usable(records, scenario, PEERS[0]), usable(records, scenario, peer)
    rounds = [number for number in ours if number in theirs]
    return spread(
        ours[number][field] / theirs[number][field]
        for number in rounds
        if field in ours[number] and theirs[number].get(field, 0) > 0
    )


def verdicts(records):
    return [
        Verdict(
            target,
            ratio_to(records, target.scenario, target.peer, target.field)
            if target.peer
            else spread_of(records, target.scenario, PEERS[0], target.field),
        )
        for target in TARGETS
    ]


def order(peers, round_number):
    """The peers in the order of a round: ABC, BCA, CAB, ABC, …: nobody is always first."""
    place = round_number % len(peers)
    return peers[place:] + peers[:place]
