"""The report: Markdown tables and charts from the raw document. The same raw document always gives the same report."""

from chart import Bar, Panel, chart
from summary import PEERS, ratio_to, spread_of, usable, verdicts

# Others on the proxy's processor at more than this many percent make a sample doubtful: the report says so.
OTHERS_PERCENT_DOUBTFUL = 5.0


def report(document, notes=""):
    """The Markdown. `notes` is a text of the one who ran it, in Markdown, such as why a target is missed."""
    records = document["records"]
    parts = [f"# Benchmark of {document['date']}", introduction(document), "## Targets", targets(records)]
    if notes.strip():
        parts += ["## Notes", notes.strip()]
    parts += ["## CPU time", "![CPU time per operation](cpu.svg)", READING_CPU]
    for scenario in document["scenarios"]:
        if scenario["kind"] != "idle":
            parts += [f"### {scenario['name']}: {scenario['what']}", cpu_table(records, scenario)]
    if any(scenario["kind"] != "requests" for scenario in document["scenarios"]):
        parts += ["## Memory", "![Memory per connection](memory.svg)", READING_MEMORY, memory_table(document)]
    parts += ["## Samples", samples(document), "## How it was run", run_details(document)]
    return "\n\n".join(parts) + "\n"


READING_CPU = (
    "CPU time of the proxy for each operation, in microseconds: median (smallest to largest) of the rounds. Lower is better. "
    "*Tidegate ÷ peer* is computed within each round; below 1 Tidegate needs less. Requests per second and latencies "
    "are those of the whole chain, whose load side is often the slower one: read them as a check, not as a result."
)
READING_MEMORY = (
    "What one more connection adds to the proxy's resident memory, in bytes; kernel buffers are not in it. PSS divides pages "
    "that processes share. *Huge pages* is how much of the loaded process is in them: they make memory grow in steps of 2 MiB."
)


def introduction(document):
    machine = document["machine"]
    versions = ", ".join(document["versions"][peer] for peer in PEERS if peer in document["versions"])
    lines = [
        f"{machine['cpu_model']}, {machine['cpus']} CPUs, {machine['memory_bytes'] / 2**30:.1f} GiB, Linux {machine['kernel']}. "
        f"{versions}. Commit {document['commit']}.",
        "[How it is measured and how to read it](../README.md). All samples are in [raw.json](raw.json).",
    ]
    if document["quick"]:
        lines.append("**This is a quick run: few short rounds, for a first look. Do not quote it.**")
    for peer, advice in document["missing"].items():
        lines.append(f"**{peer} was not measured: {advice}.**")
    return "\n\n".join(lines)


def targets(records):
    rows = ["| scenario | target | measured, median (range) | |", "|---|---|---|---|"]
    for verdict in verdicts(records):
        target, measured = verdict.target, verdict.measured
        limit = f"≤ {number(target.most)} {target.unit}"
        if measured is None:
            rows.append(f"| {target.name} | {limit} | – | not measured |")
            continue
        if verdict.met:
            judged = f"met, {-verdict.over_percent:.0f} % below"
        else:
            judged = f"**missed by {verdict.over_percent:.1f} %**{where(records, target)}"
        rows.append(f"| {target.name} | {limit} | {ranged(measured)} | {judged} |")
    return "\n".join(rows)


def where(records, target):
    """In which part of the CPU time Tidegate differs from the peer of a missed target."""
    if target.peer is None:
        return ""
    parts = []
    for name, field in (("user", "user_us_per_op"), ("system", "system_us_per_op")):
        ours, theirs = (spread_of(records, target.scenario, peer, field) for peer in (PEERS[0], target.peer))
        parts.append(f"{name} {ours.median - theirs.median:+.1f} µs")
    return f": {', '.join(parts)} against {target.peer}"


def cpu_table(records, scenario):
    name, op = scenario["name"], operation(scenario)
    gib = any("cpu_ms_per_gib" in record for record in records if record["scenario"] == name)
    times = "gap p50 / p99" if op == "chunk" else "latency p50 / p99"
    extra = " CPU-ms per GiB |" if gib else ""
    rows = [
        f"| | CPU-µs per {op} | user | system | Tidegate ÷ peer | {op}s/s | {times} | proxy's CPU |{extra} samples |",
        "|---|---|---|---|---|---|---|---|---|" + ("---|" if gib else ""),
    ]
    for peer in PEERS:
        cells = [spread_of(records, name, peer, field) for field in (
            "cpu_us_per_op", "user_us_per_op", "system_us_per_op", "ops_per_second", "p50_us", "p99_us", "proxy_cpu_percent")]
        if cells[0] is None:
            continue
        cost, user, system, rate, p50, p99, busy = cells
        mean = spread_of(records, name, peer, "mean_us")
        ratio = ratio_to(records, name, peer, "cpu_us_per_op") if peer != PEERS[0] else None
        row = [peer, ranged(cost), number(user.median), number(system.median), ranged(ratio) if ratio else "",
               f"{rate.median:,.0f}", times_of(p50, p99, mean), f"{busy.median:.0f} %"]
        if gib:
            row.append(ranged(spread_of(records, name, peer, "cpu_ms_per_gib")))
        rows.append("| " + " | ".join([*row, str(cost.count)]) + " |")
    return "\n".join(rows) if len(rows) > 2 else "No usable sample."


def operation(scenario):
    """What the scenario counts."""
    return scenario.get("op", "chunk" if scenario["kind"] == "streams" else "request")


def times_of(p50, p99, mean):
    """Quantiles where the load generator has them, else the mean."""
    if p50 is None or p99 is None:
        return f"mean {milliseconds(mean.median)}" if mean else ""
    return f"{milliseconds(p50.median)} / {milliseconds(p99.median)}"


def memory_table(document):
    rows = ["| scenario | | RSS each | PSS each | RSS before | huge pages | idle CPU | samples |",
            "|---|---|---|---|---|---|---|---|"]
    for scenario in document["scenarios"]:
        if scenario["kind"] == "requests":
            continue
        name = "sse-memory" if scenario["kind"] == "streams" else scenario["name"]
        for peer in PEERS:
            rss, pss, base, huge, busy = (spread_of(document["records"], scenario["name"], peer, field) for field in (
                "rss_bytes_each", "pss_bytes_each", "rss_base_bytes", "huge_bytes", "proxy_cpu_percent"))
            if rss is not None:
                idle = f"{busy.median:.1f} %" if scenario["kind"] == "idle" else ""
                rows.append(f"| {name} | {peer} | {ranged(rss)} | {ranged(pss)} | {base.median / 2**20:.1f} MiB "
                            f"| {huge.median / 2**20:.0f} MiB | {idle} | {rss.count} |")
    return "\n".join(rows)


def samples(document):
    """Which samples were not used, and which are doubtful."""
    records = document["records"]
    dropped = [record for record in records if record["dropped"] is not None]
    lines = [f"{len(records) - len(dropped)} of {len(records)} samples are used."]
    if dropped:
        lines += ["", "| dropped: scenario | peer | round | why |", "|---|---|---|---|"]
        lines += [f"| {r['scenario']} | {r['peer']} | {r['round'] + 1} | {cell(r['dropped'])} |" for r in dropped]
    doubtful = [
        record for record in records
        if record["dropped"] is None and record["others_on_proxy_cpu_percent"] > OTHERS_PERCENT_DOUBTFUL
    ]
    if doubtful:
        worst = max(record["others_on_proxy_cpu_percent"] for record in doubtful)
        lines += ["", f"**The machine was not quiet**: in {len(doubtful)} samples other processes and the kernel took more than "
                  f"{OTHERS_PERCENT_DOUBTFUL:.0f} % of the proxy's processor, {worst:.0f} % at worst."]
    return "\n".join(lines)


def run_details(document):
    lines = [f"`{document['command']}`, {document['rounds']} rounds of {document['measure_seconds']:g} s after "
             f"{document['warm_seconds']:g} s of warm-up, interleaved, in {document['took_seconds'] / 60:.1f} minutes. "
             "The load, from the first sample of each scenario on Tidegate:", "", "```text"]
    for scenario in document["scenarios"]:
        first = usable(document["records"], scenario["name"], PEERS[0])
        if first:
            lines.append(first[min(first)]["command"])
    return "\n".join([*lines, "```"])


def charts(document):
    """The SVG files by name."""
    files = {"cpu.svg": chart("CPU time per operation", cpu_panels(document),
                              "Median; dark: user, light: system; line: smallest to largest round. Lower is better.")}
    memory = memory_panels(document)
    if memory:
        files["memory.svg"] = chart("Memory per connection", memory, "RSS, median; line: smallest to largest round. Lower is better.")
    return files


def cpu_panels(document):
    panels = []
    for scenario in document["scenarios"]:
        bars = []
        for peer in PEERS:
            cost, user, system = (spread_of(document["records"], scenario["name"], peer, field)
                                  for field in ("cpu_us_per_op", "user_us_per_op", "system_us_per_op"))
            if cost is not None:
                # Medians of the parts need not add up to the median of the whole: the parts share the whole.
                share = user.median / max(user.median + system.median, 1e-9)
                parts = (cost.median * share, cost.median * (1 - share))
                bars.append(Bar(peer, parts, cost.low, cost.high, f"{number(cost.median)} µs", peer == PEERS[0]))
        if bars:
            op = operation(scenario)
            panels.append(Panel(f"{scenario['name']}: CPU-µs per {op}", tuple(bars)))
    return panels


def memory_panels(document):
    panels = []
    for scenario in document["scenarios"]:
        bars = []
        for peer in PEERS:
            rss = spread_of(document["records"], scenario["name"], peer, "rss_bytes_each")
            if rss is not None:
                bars.append(Bar(peer, (rss.median,), rss.low, rss.high, f"{number(rss.median)} bytes", peer == PEERS[0]))
        if bars:
            what = "stream (sse-memory)" if scenario["kind"] == "streams" else f"idle connection ({scenario['name']})"
            panels.append(Panel(f"bytes per {what}", tuple(bars)))
    return panels


def number(value):
    """Three digits or so: 0.912, 17.2, 1,234."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def ranged(spread):
    if spread.count == 1:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.low)} to {number(spread.high)})"


def milliseconds(time_us):
    return f"{time_us / 1000:.3g} ms" if time_us < 100_000 else f"{time_us / 1000:.0f} ms"


def cell(text):
    """`text` for a table's cell."""
    return " ".join(text.replace("|", "\\|").split())
