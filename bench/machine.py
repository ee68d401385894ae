"""What the kernel says of processes and processors: CPU time, stolen time, memory, free ports, the machine's name."""

import dataclasses
import os
import pathlib
import platform
import resource
import socket

# Microseconds of one clock tick, the unit of /proc/PID/stat: 10,000 on nearly every Linux.
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class ProcessTimes:
    """CPU time of some processes since they started, in microseconds.

    `user_us` and `system_us` are whole ticks, and sampled: right as a proportion. `run_us` is what the scheduler measured:
    right as a sum. None where the kernel does not tell.
    """

    user_us: int
    system_us: int
    run_us: float | None = None

    def since(self, before):
        run = None if self.run_us is None or before.run_us is None else self.run_us - before.run_us
        return ProcessTimes(self.user_us - before.user_us, self.system_us - before.system_us, run)

    @property
    def total_us(self):
        return self.user_us + self.system_us if self.run_us is None else self.run_us

    @property
    def user_share(self):
        """The part of the time spent in user space, 0 to 1."""
        ticks = self.user_us + self.system_us
        return self.user_us / ticks if ticks else 0.0


@dataclasses.dataclass(frozen=True)
class CpuTimes:
    """Ticks of one processor since the machine started."""

    total: int
    idle: int
    steal: int


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory of some processes, in bytes. `pss` divides shared pages among those who share them; `huge` is the part of
    it in huge pages, of which much may be unused."""

    rss: int
    pss: int
    huge: int


def parse_process_times(text):
    """The CPU time in the text of /proc/PID/stat. The command in brackets may hold blanks and brackets itself."""
    fields = text.rpartition(")")[2].split()
    # proc_pid_stat(5): fields 14 and 15; what follows the brackets begins with field 3.
    return ProcessTimes(int(fields[11]) * TICK_US, int(fields[12]) * TICK_US)


def parse_parent(text):
    """The parent's process id in the text of /proc/PID/stat."""
    return int(text.rpartition(")")[2].split()[1])


def parse_cpu_times(text):
    """The times of each processor in the text of /proc/stat, by its number."""
    cpus = {}
    for line in text.splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            # user nice system idle iowait irq softirq steal; guest times are part of user already.
            ticks = [int(tick) for tick in ticks[:8]] + [0] * (8 - len(ticks[:8]))
            cpus[int(name[3:])] = CpuTimes(sum(ticks), ticks[3] + ticks[4], ticks[7])
    return cpus


def parse_memory(text):
    """The memory in the text of /proc/PID/smaps_rollup."""
    kib = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == "kB":
            kib[words[0].rstrip(":")] = int(words[1])
    return Memory(kib["Rss"] * 1024, kib["Pss"] * 1024, kib.get("AnonHugePages", 0) * 1024)


def steal_percent(before, after, cpus):
    """The largest share of stolen time that one of `cpus` had between two readings of /proc/stat."""
    return max(percent(after[cpu].steal - before[cpu].steal, after[cpu].total - before[cpu].total) for cpu in cpus)


def busy_percent(before, after, cpu):
    """How much of the time between two readings `cpu` worked, for anyone."""
    total = after[cpu].total - before[cpu].total
    return percent(total - (after[cpu].idle - before[cpu].idle), total)


def percent(part, whole):
    return 100.0 * part / whole if whole > 0 else 0.0


def cpu_times():
    return parse_cpu_times(pathlib.Path("/proc/stat").read_text())


def process_times(pids):
    """The CPU time of `pids` together, all threads."""
    times = [parse_process_times(pathlib.Path(f"/proc/{pid}/stat").read_text()) for pid in pids]
    run = [time for pid in pids for time in run_times(pid)]
    return ProcessTimes(
        sum(time.user_us for time in times), sum(time.system_us for time in times), sum(run) if run else None
    )


def run_times(pid):
    """What the scheduler measured of each thread of `pid`, in microseconds; empty where the kernel does not tell."""
    times = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            # Documentation/scheduler/sched-stats.rst: the first number is the time on a processor, in nanoseconds.
            times.append(int(pathlib.Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0]) / 1000)
        except FileNotFoundError:
            continue
    return times


def memory(pids):
    """The memory of `pids` together."""
    parts = [parse_memory(pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in pids]
    return Memory(
        sum(part.rss for part in parts), sum(part.pss for part in parts), sum(part.huge for part in parts)
    )


def open_files(pids):
    """How many files `pids` have open together."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


def process_tree(root):
    """`root` and all that it started, directly or not: nginx does its work in a child."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = parse_parent(pathlib.Path(f"/proc/{entry}/stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended while we looked.
    tree = [root]
    for pid in tree:
        tree.extend(child for child, parent in parents.items() if parent == pid)
    return tree


def raise_file_limit():
    """Lifts the soft limit of open files to the hard one, for us and all that we start; gives it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 1_000_000 if hard == resource.RLIM_INFINITY else hard


class Ports:
    """Free loopback ports outside the ephemeral range, each given once.

    Inside that range the kernel may have lent the port to an outgoing connection. A port that is given once has no
    connections of an earlier listener in TIME_WAIT.
    """

    FIRST = 18_000

    def __init__(self):
        low, high = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
        self._ports = (port for port in range(self.FIRST, 65_536) if not low <= port <= high)

    def next(self):
        for port in self._ports:
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
        raise RuntimeError("no free port is left outside the ephemeral range (net.ipv4.ip_local_port_range)")


def description():
    """The machine's kernel, processor and memory, for the report."""
    model, kib = "unknown", 0
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            kib = int(line.split()[1])
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu_model": model,
        "cpus": os.cpu_count(),
        "memory_bytes": kib * 1024,
    }
