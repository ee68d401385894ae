"""The report of a storm: Markdown from the raw document. The same raw document always gives the same report."""

from report import cell

# What is accepted.
GROWTH_PERCENT_MAX = 10.0
FAILED_PERCENT_MAX = 0.1
# The part of a storm after which memory counts as warmed up.
WARM = 0.2
MIB = 1 << 20


def report(document, notes=""):
    parts = [f"# Storm of {document['date']}", introduction(document), "## Accepted or not", acceptance(document)]
    if notes.strip():
        parts += ["## Notes", notes.strip()]
    for name, section in (("reloads", reloads), ("upgrades", upgrades), ("failures", failures)):
        if document["parts"].get(name):
            parts += section(document["parts"][name])
    return "\n\n".join(parts) + "\n"


def introduction(document):
    machine = document["machine"]
    lines = [
        f"{machine['cpu_model']}, {machine['cpus']} CPUs, {machine['memory_bytes'] / 2**30:.1f} GiB, Linux {machine['kernel']}. "
        f"{document['version']}, commit {document['commit']}. Gateway, origins and callers share the machine.",
        "[What is done and how to read it](../README.md#storms). All samples are in [raw.json](raw.json).",
    ]
    if document["quick"]:
        lines.append("**This is a quick run: it shows that the storm works, not how the gateway stands it.**")
    return "\n\n".join(lines)


def lines_of(document):
    """The acceptance lines: what is asked for, what was measured, and whether it is met."""
    parts, lines = document["parts"], []
    if part := parts.get("reloads"):
        asked, confirmed = part["reloads"]["asked"], part["reloads"]["confirmed"]
        lines += [("reloads: every one in force", f"{confirmed} of {asked}", confirmed == asked),
                  *common("reloads", part, part["calm"]["requests"] + part["storm"]["requests"] + [part["http2_rest"]])]
        lines.append(flat("reloads", storm_memory(part)))
    if part := parts.get("upgrades"):
        done = sum(upgrade is not None for upgrade in part["upgrades"])
        lines += [("upgrades: every one done", f"{done} of {len(part['upgrades'])}", done == len(part["upgrades"])),
                  *common("upgrades", part, part["requests"]),
                  ("upgrades: one process at the end", str(part["processes_at_end"]), part["processes_at_end"] == 1),
                  flat("upgrades", newest_memory(part))]
    if part := parts.get("failures"):
        for fault in part["faults"]:
            percent = failed_percent(fault["during"])
            lines.append((f"{fault['name']}: ≤ {FAILED_PERCENT_MAX} % fail", f"{percent:.3f} %", percent <= FAILED_PERCENT_MAX))
    return lines


def common(name, part, requests):
    failed = sum(load["failed"] for load in requests)
    count = sum(load["requests"] for load in requests)
    crowd, slow = part["crowd"], part["slow"]
    streams = sum(crowd["opened"].values())
    return [(f"{name}: 0 requests fail", f"{failed} of {count:,}", failed == 0),
            (f"{name}: 0 streams break", f"{crowd['broken']} of {streams:,}, {crowd['messages']:,} messages", crowd["broken"] == 0),
            (f"{name}: 0 slow bodies fail", f"{slow['failed']} of {slow['uploads'] + slow['downloads'] + slow['failed']}",
             slow["failed"] == 0)]


def flat(name, series):
    """The line of memory: how much more the process has at the end than when it was warm."""
    what = f"{name}: memory grows ≤ {GROWTH_PERCENT_MAX:g} % after warming up"
    if len(series) < 2:
        return what, "too short to tell", None
    growth = 100 * (series[-1] - series[0]) / series[0]
    return what, f"{growth:+.1f} % ({series[0] / MIB:.1f} to {series[-1] / MIB:.1f} MiB)", growth <= GROWTH_PERCENT_MAX


def storm_memory(part):
    """Memory in the storm once it is warm."""
    series = [sample["processes"][-1]["rss_bytes"] for sample in part["samples"]
              if sample["phase"] == "storm" and sample["processes"]]
    return series[int(len(series) * WARM):]


def newest_memory(part):
    """Memory of each process that an upgrade began, at the same age: just before the next upgrade. The first of them took
    the fewest streams; it is the warming up."""
    series = [sample["processes"][-1]["rss_bytes"] for sample in part["samples"]
              if sample["phase"] == "before an upgrade" and sample["processes"]]
    return series[2:]


def failed_percent(load):
    return 100 * load["failed"] / load["requests"] if load["requests"] else 100.0


def acceptance(document):
    rows = ["| asked for | measured | |", "|---|---|---|"]
    for what, measured, met in lines_of(document):
        word = {True: "met", False: "**missed**", None: "–"}[met]
        rows.append(f"| {cell(what)} | {cell(measured)} | {word} |")
    return "\n".join(rows)


def reloads(part):
    done = part["reloads"]
    times = sorted(done["times_ms"])
    seconds, kinds = part["seconds"], ", ".join(f"{what}: {count}" for what, count in sorted(done["by_kind"].items()))
    text = (f"{done['asked']} changes in {seconds:g} s, one after the other at up to {part['rate']} a minute: {kinds}. Each "
            f"was looked for on the listener before the next. From the change to the proof that it is in force: "
            f"median {middle(times)} ms, longest {times[-1] if times else 0} ms.")
    table = ["| load | requests | failed | p50 calm | p50 reloads | p99 calm | p99 reloads | longest |",
             "|---|---|---|---|---|---|---|---|"]
    for calm, storm in zip(part["calm"]["requests"], part["storm"]["requests"]):
        table.append(f"| {calm['name']} | {calm['requests'] + storm['requests']:,} | {calm['failed'] + storm['failed']} | "
                     + " | ".join(millis(load[key]) for key in ("p50_us", "p99_us") for load in (calm, storm))
                     + f" | {millis(storm['max_us'])} |")
    return ["## Reloads", text, "\n".join(table), streams(part), samples(part), wrong(part, part["calm"]["requests"] + part["storm"]["requests"])]


def upgrades(part):
    took = sorted(upgrade["seconds"] for upgrade in part["upgrades"] if upgrade)
    text = (f"One upgrade each {part['every']:g} s for {part['seconds']:g} s. From SIGUSR2 until the new process accepts: "
            f"median {middle(took)} s, longest {took[-1] if took else 0} s. Half of the streams last to the end, the others end "
            f"and are begun anew (seed {part['seed']}).")
    table = ["| load | requests | failed | p50 | p99 | longest | connections |", "|---|---|---|---|---|---|---|"]
    for load in part["requests"]:
        table.append(f"| {load['name']} | {load['requests']:,} | {load['failed']} | {millis(load['p50_us'])} | "
                     f"{millis(load['p99_us'])} | {millis(load['max_us'])} | {load['connections_made']:,} |")
    return ["## Upgrades", text, "\n".join(table), streams(part), samples(part), wrong(part, part["requests"])]


def streams(part):
    crowd, slow = part["crowd"], part["slow"]
    return (f"{part['streams']} streams at once ({crowd['opened']['websocket']:,} WebSockets and {crowd['opened']['sse']:,} event "
            f"streams in all), {crowd['messages']:,} messages, each checked for its place: {crowd['broken']} streams broken. "
            f"{slow['uploads']} slow uploads and {slow['downloads']} slow downloads: {slow['failed']} failed.")


def samples(part):
    rows = ["| after | phase | processes | newest: RSS | files | tasks | connections | all: RSS | files |",
            "|---|---|---|---|---|---|---|---|---|"]
    for sample in part["samples"]:
        all_of = sample["processes"]
        if not all_of:
            continue
        newest = all_of[-1]
        rows.append(
            f"| {sample['at']:.0f} s | {sample['phase']} | {len(all_of)} | {newest['rss_bytes'] / MIB:.1f} MiB | {newest['files']:,} | "
            f"{sample.get('tasks', '–')} | {sample.get('connections', '–')} | "
            f"{sum(one['rss_bytes'] for one in all_of) / MIB:.1f} MiB | {sum(one['files'] for one in all_of):,} |")
    return "\n".join(rows)


def wrong(part, requests):
    """What went wrong in words, if anything did."""
    told = [*part["crowd"]["told"], *part["slow"]["told"], *part.get("told", []), *part.get("reloads", {}).get("told", [])]
    told += [f"{load['name']}: {count} × {kind}" for load in requests for kind, count in load["errors"].items()]
    reasons = ", ".join(f"`{reason}` {count}" for reason, count in sorted(part.get("ended_reasons", {}).items()))
    counted = f"Exchanges that ended otherwise than well, as the last process counts: {reasons or 'none'}."
    return "\n".join([counted, *(f"- {cell(line)}" for line in told)]) if not told else "\n".join(
        [counted, "", *(f"- {cell(line)}" for line in told)])


def failures(part):
    put = part["configured"]
    text = (f"{part['connections']} connections ask for a reply that the origin gives after {part['wait_ms']} ms, one of three "
            f"endpoints fails. Configured: a probe each {put['probe']:g} s with {put['probe_timeout']:g} s to answer, left out after "
            f"{put['probe_failures']}; ejected for {put['ejection']:g} s (up to {put['ejection_max']:g} s) after {put['errors']} errors in a "
            f"row; {put['attempts']} attempts of {put['attempt']:g} s each, {put['connect']:g} s to connect. *Left alone* and *back* "
            "are what was measured beside what the configuration allows: probes alone leave it out in that time, errors of "
            "traffic are usually faster; an ejection ends, and a probe must go well.")
    rows = ["| one of three endpoints | requests | failed | | left alone | allowed | back | allowed | p99 before | during | after | retries (denied) |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for fault in part["faults"]:
        during = fault["during"]
        others = fault["before"]["failed"] + fault["after"]["failed"]
        failed = f"{during['failed']}" + (f" (+{others} before and after)" if others else "")
        rows.append(
            f"| {fault['name']} | {during['requests']:,} | {failed} | {failed_percent(during):.3f} % | "
            f"{seconds(fault['ejected_seconds'])} | {fault['ejected_within']:g} s | {seconds(fault['back_seconds'])} | {fault['back_within']:g} s | "
            + " | ".join(millis(fault[phase]["p99_us"]) for phase in ("before", "during", "after"))
            + f" | {fault['retries']['made']} ({fault['retries']['denied']}) |")
    errors = [f"- {cell(fault['name'])}, {phase}: " + ", ".join(f"{count} × {kind}" for kind, count in fault[phase]["errors"].items())
              for fault in part["faults"] for phase in ("before", "during", "after") if fault[phase]["errors"]]
    return ["## Failures", text, "\n".join(rows), *(["\n".join(errors)] if errors else [])]


def seconds(value):
    return "never" if value is None else f"{value:g} s"


def middle(values):
    """The median of values in rising order."""
    return values[len(values) // 2] if values else 0


def millis(time_us):
    return f"{time_us / 1000:.1f} ms"
