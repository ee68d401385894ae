"""Tests of everything in the benchmark that is not a measurement: run by `python3 -m unittest discover -s bench`."""

import copy
import json
import os
import pathlib
import socket
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import chart
import h2load
import machine
import proxies
import report
import run
import scenarios
import summary

RECORDED = json.loads((pathlib.Path(__file__).resolve().parent / "testdata/raw.json").read_text())


def recorded():
    """A quick run of three scenarios as it was written, for a test to change."""
    return copy.deepcopy(RECORDED)


def sample(document, scenario, peer, round_number):
    """The one usable record of these."""
    return summary.usable(document["records"], scenario, peer)[round_number]


class Parsing(unittest.TestCase):
    def test_process_times_survive_brackets_and_blanks_in_the_command(self):
        stat = "812 (ngi) nx (x)) S 811 812 812 0 -1 4194624 913 0 0 0 250 1100 7 9 20 0 1 0 8823 9375744 1300"
        times = machine.parse_process_times(stat)
        self.assertEqual((times.user_us, times.system_us), (250 * machine.TICK_US, 1100 * machine.TICK_US))
        self.assertEqual(machine.parse_parent(stat), 811)

    def test_cpu_times_hold_each_processor_and_not_their_sum(self):
        stat = "cpu  30 0 12 80 4 0 2 3 0 0\ncpu0 10 0 6 40 2 0 1 1 0 0\ncpu1 20 0 6 40 2 0 1 2 0 0\nintr 5 6\nctxt 9\n"
        cpus = machine.parse_cpu_times(stat)
        self.assertEqual(cpus, {0: machine.CpuTimes(60, 42, 1), 1: machine.CpuTimes(71, 42, 2)})

    def test_memory_is_bytes_and_huge_pages_may_be_unknown(self):
        text = "55d0-7ffc ---p 00000000 00:00 0    [rollup]\nRss:     3288 kB\nPss:     1290 kB\nPss_Anon:  88 kB\n"
        self.assertEqual(machine.parse_memory(text), machine.Memory(3288 * 1024, 1290 * 1024, 0))
        huge = machine.parse_memory(text + "AnonHugePages:      2048 kB\n").huge
        self.assertEqual(huge, 2048 * 1024)

    def test_this_process_has_times_memory_and_files(self):
        tree = machine.process_tree(os.getpid())
        self.assertIn(os.getpid(), tree)
        self.assertGreater(machine.process_times([os.getpid()]).total_us, 0)
        self.assertGreater(machine.memory([os.getpid()]).rss, 1 << 20)
        self.assertGreaterEqual(machine.open_files([os.getpid()]), 3)

    def test_measured_run_time_beats_ticks_and_keeps_their_proportion(self):
        used = machine.ProcessTimes(40_000, 120_000, 171_500.0).since(machine.ProcessTimes(10_000, 30_000, 41_500.0))
        self.assertEqual((used.total_us, used.user_share), (130_000.0, 0.25))
        ticks_only = machine.ProcessTimes(40_000, 120_000).since(machine.ProcessTimes(10_000, 30_000))
        self.assertEqual(ticks_only.total_us, 120_000)


class Ports(unittest.TestCase):
    def test_ports_are_outside_the_ephemeral_range_and_given_once(self):
        low, high = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
        ports = machine.Ports()
        given = [ports.next() for _ in range(5)]
        self.assertEqual(len(set(given)), 5)
        self.assertFalse([port for port in given if low <= port <= high])

    def test_a_port_in_use_is_passed_over(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", machine.Ports().next()))
            self.assertNotEqual(machine.Ports().next(), taken.getsockname()[1])


class Steal(unittest.TestCase):
    def test_the_worse_of_the_processors_used_decides(self):
        before = {0: machine.CpuTimes(1000, 500, 5), 1: machine.CpuTimes(1000, 500, 5), 2: machine.CpuTimes(1000, 0, 0)}
        after = {0: machine.CpuTimes(1400, 600, 6), 1: machine.CpuTimes(1400, 600, 13), 2: machine.CpuTimes(1400, 0, 400)}
        self.assertEqual(machine.steal_percent(before, after, (0, 1)), 2.0)
        self.assertEqual(machine.busy_percent(before, after, 0), 75.0)

    def test_a_sample_with_more_than_one_percent_of_steal_is_dropped(self):
        record = sample(recorded(), "get-c64", "tidegate", 0)
        self.assertIsNone(scenarios.why_dropped(record | {"steal_percent": 1.0}))
        self.assertEqual(scenarios.why_dropped(record | {"steal_percent": 1.1}), "steal 1.1 %")

    def test_failed_exchanges_other_statuses_and_lost_connections_drop_a_sample(self):
        record = sample(recorded(), "get-c64", "tidegate", 0)
        self.assertIn("3 exchanges failed", scenarios.why_dropped(record | {"failed": 3, "errors": {"reset": 3}}))
        self.assertIn("'503': 2", scenarios.why_dropped(record | {"wrong_status": {"503": 2}}))
        idle = sample(recorded(), "idle-9000", "tidegate", 0)
        self.assertIsNone(scenarios.why_dropped(idle))
        self.assertIn("1 were closed", scenarios.why_dropped(idle | {"lost": 1}))
        self.assertIn("8999 of 9000", scenarios.why_dropped(idle | {"held": 8999}))

    def test_streams_that_fall_behind_the_pace_are_dropped(self):
        record = sample(recorded(), "sse-2000", "tidegate", 0)
        self.assertIsNone(scenarios.why_dropped(record))
        self.assertIn("every 150 ms", scenarios.why_dropped(record | {"gap_mean_us": 150_000.0}))

    def test_a_dropped_sample_counts_nowhere_and_is_listed(self):
        document = recorded()
        sample(document, "get-c64", "nginx", 0)["dropped"] = "steal 7.0 %"
        self.assertEqual(list(summary.usable(document["records"], "get-c64", "nginx")), [1])
        self.assertEqual(summary.ratio_to(document["records"], "get-c64", "nginx", "cpu_us_per_op").count, 1)
        self.assertIn("| get-c64 | nginx | 1 | steal 7.0 % |", report.report(document))


class Numbers(unittest.TestCase):
    def test_ratios_are_of_one_round_and_then_their_median(self):
        # The machine is twice as slow in round 1: a ratio of medians would not see that both are equal there.
        costs = {"tidegate": [9.0, 20.0, 9.0], "nginx": [10.0, 20.0, 10.0]}
        records = [
            {"scenario": "get-c64", "peer": peer, "round": number, "dropped": None, "cpu_us_per_op": cost}
            for peer, series in costs.items()
            for number, cost in enumerate(series)
        ]
        ratio = summary.ratio_to(records, "get-c64", "nginx", "cpu_us_per_op")
        self.assertEqual(ratio, summary.Spread(0.9, 0.9, 1.0, 3))

    def test_cost_is_cpu_time_divided_by_operations(self):
        for record in recorded()["records"]:
            if "ops" in record:
                self.assertAlmostEqual(record["cpu_us_per_op"], record["cpu_us"] / record["ops"])
                self.assertAlmostEqual(
                    record["cpu_us_per_op"], record["user_us_per_op"] + record["system_us_per_op"]
                )

    def test_memory_growth_is_divided_by_the_connections(self):
        grown = scenarios.growth(machine.Memory(1_000_000, 500_000, 0), machine.Memory(4_000_000, 2_500_000, 7), 1000)
        self.assertEqual((grown["rss_bytes_each"], grown["pss_bytes_each"], grown["huge_bytes"]), (3000.0, 2000.0, 7))

    def test_every_peer_is_first_in_some_round(self):
        orders = [summary.order(["a", "b", "c"], number) for number in range(4)]
        self.assertEqual(orders, [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]])

    def test_a_target_is_met_at_its_value_and_missed_above_it(self):
        target = summary.Target("x", "x", "cpu_us_per_op", 0.95, "", "nginx")
        self.assertTrue(summary.Verdict(target, summary.Spread(0.95, 0.9, 1.0, 3)).met)
        missed = summary.Verdict(target, summary.Spread(1.045, 0.9, 1.1, 3))
        self.assertFalse(missed.met)
        self.assertAlmostEqual(missed.over_percent, 10.0)
        self.assertFalse(summary.Verdict(target, None).met)


class Loads(unittest.TestCase):
    def test_all_peers_get_bodies_of_the_same_size(self):
        for scenario in scenarios.SCENARIOS:
            bodies = {peer: scenarios.load_of(scenario, peer)[1] for peer in summary.PEERS}
            if scenario.llm:
                self.assertEqual({len(body) for body in bodies.values()}, {scenarios.LLM_BODY_BYTES}, scenario.name)
                self.assertEqual(json.loads(bodies["nginx"])["model"], scenario.model)
                routed = json.loads(bodies["tidegate"])["model"]
                self.assertIn(f"name: {routed}, to: [{{ provider: lab, model: {scenario.model} }}", TIDEGATE_CONFIG)
            else:
                self.assertEqual(set(bodies.values()), {None})

    def test_a_caller_of_the_configuration_sends_the_load(self):
        self.assertIn(f"key: {scenarios.CALLER_KEY},", TIDEGATE_CONFIG)
        self.assertIn(f"token: {proxies.ADMIN_TOKEN}", TIDEGATE_CONFIG)

    def test_every_word_of_a_configuration_is_filled_in(self):
        words = ["PORT", "TLS", "TCP", "ADMIN", "PROVIDER", "ORIGIN", "FOLDER", "FILES", "CONNECTIONS", "BUFFER", "CERT", "KEY",
                 "BOTH", "STREAM"]
        for scenario in scenarios.SCENARIOS:
            for peer in scenario.peers:
                template = (proxies.CONFIGS / proxies.config_name(peer, scenario.entry)).read_text()
                text = proxies.filled(template, dict.fromkeys(words, "1"))
                self.assertNotRegex(text, r"@[A-Z]+@", f"{scenario.name} {peer}")


class H2load(unittest.TestCase):
    PRINTED = """TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Server Temp Key: X25519 253 bits
Application protocol: h2

finished in 501.02ms, 5188.20 req/s, 5.40MB/s
requests: 2664 total, 2600 started, 2600 done, 2600 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 2598 2xx, 0 3xx, 0 4xx, 2 5xx
traffic: 2.70MB (2835600) total, 72.50KB (74240) headers (space savings 76.00%), 2.54MB (2662400) data
                     min         max         mean         sd        +/- sd
time for request:      540us     35.66ms      1.20ms      2.61ms    91.40%
time for connect:    12.00ms     30.66ms     20.20ms      2.61ms    91.40%
"""

    def test_its_report_is_read_in_the_words_of_ours(self):
        report = h2load.parse(self.PRINTED)
        self.assertEqual((report["finished"], report["failed"], report["by_status"]), (2600, 0, {"200": 2598, "5xx": 2}))
        self.assertEqual((report["seconds"], report["body_bytes"], report["latency"]), (0.50102, 2662400, {"mean_us": 1200.0}))
        self.assertEqual(report["spoken"], {"protocol": "h2", "tls": "TLSv1.3 TLS_AES_128_GCM_SHA256"})

    def test_failures_are_told(self):
        report = h2load.parse(self.PRINTED.replace("0 failed, 0 errored", "3 failed, 2 errored"))
        self.assertEqual((report["failed"], report["errors"]), (5, {"failed": 3, "errored": 2}))

    def test_other_output_is_an_error_with_its_last_words(self):
        with self.assertRaisesRegex(proxies.BenchError, "could not connect"):
            h2load.parse("starting\ncould not connect\n")


class Handshakes(unittest.TestCase):
    def test_handshakes_of_the_other_kind_are_an_error(self):
        by_name = {scenario.name: scenario for scenario in scenarios.SCENARIOS}
        scenarios.check_handshakes(by_name["tls-full"], {"handshakes": {"full": 9, "resumed": 0}})
        scenarios.check_handshakes(by_name["tls-resumed"], {"handshakes": {"full": 32, "resumed": 40}})
        scenarios.check_handshakes(by_name["get-c64"], {})
        with self.assertRaisesRegex(proxies.BenchError, "only 50 % of the handshakes were resumed"):
            scenarios.check_handshakes(by_name["tls-resumed"], {"handshakes": {"full": 64, "resumed": 32}})


class Reports(unittest.TestCase):
    def test_a_report_has_every_target_peer_and_scenario(self):
        text = report.report(recorded())
        for target in summary.TARGETS:
            self.assertRegex(text, rf"(?m)^\| {target.name} \| ≤ ")
        for scenario in ("### get-c64", "### sse-2000", "| idle-9000 | haproxy |", "| sse-memory | nginx |"):
            self.assertIn(scenario, text)
        self.assertIn("| get-c512 | ≤ 0.70 × nginx, CPU per request | – | not measured |", text)

    def test_a_report_shows_the_recorded_cost(self):
        document = recorded()
        cost = summary.spread_of(document["records"], "get-c64", "haproxy", "cpu_us_per_op")
        self.assertIn(f"| haproxy | {report.ranged(cost)} |", report.report(document))

    def test_a_missed_ratio_says_by_how_much_and_in_which_part(self):
        document = recorded()
        for number in (0, 1):
            theirs = sample(document, "get-c64", "nginx", number)
            ours = sample(document, "get-c64", "tidegate", number)
            ours["cpu_us_per_op"] = theirs["cpu_us_per_op"] * 0.85 * 1.2
            ours["user_us_per_op"] = theirs["user_us_per_op"] + 1.5
            ours["system_us_per_op"] = theirs["system_us_per_op"] - 0.25
        self.assertIn("**missed by 20.0 %**: user +1.5 µs, system -0.2 µs against nginx", report.report(document))

    def test_a_met_target_says_how_far_below(self):
        document = recorded()
        for number in (0, 1):
            sample(document, "idle-9000", "tidegate", number)["rss_bytes_each"] = 900.0
        self.assertIn("| 900 (900 to 900) | met, 25 % below |", report.report(document))

    def test_notes_missing_peers_and_quick_runs_are_told(self):
        document = recorded()
        document["missing"] = {"haproxy": "install it with: sudo apt-get install -y haproxy"}
        document["records"] = [record for record in document["records"] if record["peer"] != "haproxy"]
        text = report.report(document, "Why: because.")
        self.assertIn("**haproxy was not measured: install it with: sudo apt-get install -y haproxy.**", text)
        self.assertIn("## Notes\n\nWhy: because.", text)
        self.assertIn("This is a quick run", text)
        self.assertNotIn("| haproxy |", text)

    def test_a_run_without_a_usable_sample_still_has_a_report(self):
        document = recorded()
        for record in document["records"]:
            record["dropped"] = "steal 20.0 %"
        self.assertIn("0 of", report.report(document))
        self.assertEqual(set(report.charts(document)), {"cpu.svg"})

    def test_a_busy_machine_is_told(self):
        document = recorded()
        for record in document["records"]:
            record["others_on_proxy_cpu_percent"] = 1.0
        self.assertNotIn("not quiet", report.report(document))
        document["records"][0]["others_on_proxy_cpu_percent"] = 31.0
        self.assertIn("in 1 samples", report.report(document))
        self.assertIn("31 % at worst", report.report(document))

    def test_rendering_a_folder_twice_gives_the_same_files(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "raw.json").write_text(json.dumps(recorded()))
            (folder / "notes.md").write_text("A note.\n")
            run.render(folder)
            first = {path.name: path.read_text() for path in folder.iterdir()}
            run.render(folder)
            self.assertEqual(first, {path.name: path.read_text() for path in folder.iterdir()})
            self.assertEqual(set(first), {"raw.json", "notes.md", "report.md", "cpu.svg", "memory.svg"})
            self.assertIn("A note.", first["report.md"])


class Charts(unittest.TestCase):
    def test_charts_are_xml_with_a_bar_inside_the_drawing_for_every_peer(self):
        for name, svg in report.charts(recorded()).items():
            root = ElementTree.fromstring(svg)
            space = "{http://www.w3.org/2000/svg}"
            texts = [element.text for element in root.iter(f"{space}text")]
            recorded_peers = RECORDED["versions"]
            self.assertEqual({peer: texts.count(peer) for peer in recorded_peers}, dict.fromkeys(recorded_peers, 2), name)
            for bar in root.iter(f"{space}rect"):
                right = float(bar.get("x", 0)) + float(bar.get("width"))
                self.assertLessEqual(right, chart.WIDTH)

    def test_a_longer_bar_stands_for_a_larger_value_and_labels_are_escaped(self):
        panel = chart.Panel("a < b & c", (chart.Bar("one", (1.0,), 1.0, 1.0, "1", True), chart.Bar("two", (2.0,), 2.0, 2.0, "2", False)))
        svg = chart.chart("t", [panel], "n")
        bars = [float(element.get("width")) for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}rect")]
        self.assertEqual(bars[2], 2 * bars[1])
        self.assertIn("a &lt; b &amp; c", svg)

    def test_a_chart_follows_the_readers_light_or_dark(self):
        for svg in report.charts(recorded()).values():
            self.assertIn("prefers-color-scheme: dark", svg)


class Running(unittest.TestCase):
    def test_a_peer_that_is_not_installed_is_skipped_with_its_package(self):
        with tempfile.NamedTemporaryFile() as tidegate, mock.patch.dict(os.environ, {"TIDEGATE_BIN": tidegate.name}):
            with mock.patch.object(proxies, "find_program", lambda peer: None if peer == "nginx" else f"/there/{peer}"):
                programs, missing = run.find_programs(summary.PEERS)
        self.assertEqual(set(programs), {"tidegate", "haproxy", "caddy"})
        self.assertEqual(missing, {"nginx": "install it with: sudo apt-get install -y nginx"})

    def test_what_is_not_installed_takes_only_its_scenarios_away(self):
        cells, missing = run.possible(scenarios.SCENARIOS, summary.PEERS, {"openssl": "/there"}, None)
        able = {scenario.name: peers for scenario, peers in cells}
        self.assertEqual(able["get-c64"], ["tidegate", "nginx", "haproxy", "caddy"])
        self.assertEqual(able["tcp-c64"], ["tidegate", "haproxy"])
        self.assertNotIn("h2-c64", able)
        self.assertEqual(set(missing), {"h2load", "TCP with nginx"})
        self.assertIn("nghttp2-client", missing["h2load"])
        cells, missing = run.possible(scenarios.SCENARIOS, summary.PEERS, {"h2load": "/there"}, "")
        self.assertEqual([scenario.name for scenario, _ in cells], ["tcp-c64", "tcp-1m"])
        self.assertEqual(set(missing), {"openssl"})

    def test_only_the_peers_that_are_asked_for_are_looked_for_and_tidegate(self):
        with tempfile.NamedTemporaryFile() as tidegate, mock.patch.dict(os.environ, {"TIDEGATE_BIN": tidegate.name}):
            with mock.patch.object(proxies, "find_program", lambda peer: None if peer == "nginx" else f"/there/{peer}"):
                programs, missing = run.find_programs(["haproxy"])
        self.assertEqual((set(programs), missing), ({"tidegate", "haproxy"}, {}))

    def test_a_scenario_without_a_chosen_peer_is_left_out(self):
        cells, _ = run.possible(scenarios.SCENARIOS, ["caddy"], {"h2load": "/there", "openssl": "/there"}, "")
        names = [scenario.name for scenario, _ in cells]
        self.assertIn("get-c64", names)
        self.assertNotIn("get-c512", names)

    def test_a_missing_binary_says_how_to_build_it(self):
        with mock.patch.dict(os.environ, {"TIDEGATE_BIN": "/nowhere/tidegate"}):
            with self.assertRaisesRegex(proxies.BenchError, "make build-prod"):
                run.find_tidegate()

    def test_the_version_tells_which_build_was_measured(self):
        builds = [proxies.build(f"tidegate 0.1.0{end}") for end in ("", " (profile-guided)", " (debug)")]
        self.assertEqual(builds, ["release", "profile-guided", "debug"])

    def test_a_report_that_exists_is_not_overwritten(self):
        with tempfile.TemporaryDirectory() as name:
            parent = pathlib.Path(name)
            self.assertEqual(run.unused_folder(parent, "2026-11-21").name, "2026-11-21")
            for taken in ("2026-11-21", "2026-11-21-2"):
                (parent / taken).mkdir()
                (parent / taken / "report.md").touch()
            self.assertEqual(run.unused_folder(parent, "2026-11-21").name, "2026-11-21-3")

    def test_a_process_that_ends_early_is_reported_with_its_last_words(self):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", "import sys; sys.exit('no such option')"]
            with proxies.Process("peer", command, folder) as process:
                with self.assertRaisesRegex(proxies.BenchError, "peer ended with status 1: no such option"):
                    process.wait(30)

    def test_leaving_a_process_ends_it(self):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", "import signal; signal.pause()"]
            with proxies.Process("peer", command, folder) as process:
                self.assertFalse(process.ended())
            self.assertTrue(process.ended())
            self.assertFalse(pathlib.Path(f"/proc/{process.pid}").exists())


TIDEGATE_CONFIG = (proxies.CONFIGS / "tidegate.yaml").read_text()

if __name__ == "__main__":
    unittest.main()
