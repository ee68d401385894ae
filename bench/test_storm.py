"""Tests of everything in the storm that is no storm: run by `python3 -m unittest discover -s bench`."""

import asyncio
import copy
import json
import pathlib
import sys
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import storm_failures
import storm_http2
import storm_load
import storm_reloads
import storm_report
import storm_site
import storm_streams
import storm_upgrades

RECORDED = json.loads((pathlib.Path(__file__).resolve().parent / "testdata/storm.json").read_text())


def recorded():
    """A quick storm as it was written, for a test to change."""
    return copy.deepcopy(RECORDED)


def verdict(document, beginning):
    """Whether the acceptance line with this beginning is met."""
    return next(met for what, _, met in storm_report.lines_of(document) if what.startswith(beginning))


class Streams(unittest.TestCase):
    def test_chunks_come_apart_wherever_they_are_cut(self):
        whole = b"5\r\nhello\r\n3;x=y\r\n, y\r\n0\r\n\r\n"
        for cut in range(len(whole) + 1):
            chunks = storm_streams.Chunks()
            self.assertEqual(chunks.push(whole[:cut]) + chunks.push(whole[cut:]), b"hello, y")
            self.assertTrue(chunks.ended)

    def test_what_is_no_chunked_coding_breaks_a_stream(self):
        for wrong in (b"5\r\nhelloXY", b"0\r\n\r\nmore"):
            with self.assertRaises(storm_streams.Broken):
                storm_streams.Chunks().push(wrong)
        with self.assertRaises(ValueError):
            storm_streams.Chunks().push(b"zz\r\n")

    def test_a_gap_or_a_duplicate_among_events_breaks_a_stream(self):
        def event(number):
            return b"id: %d\ndata: event %d\n\n" % (number, number)

        events = storm_streams.Events()
        events.push(event(1) + b": heartbeat\n\n" + event(2)[:7])
        self.assertEqual(events.last, 1)
        events.push(event(2)[7:])
        self.assertEqual(events.last, 2)
        for wrong in (2, 4):
            with self.assertRaises(storm_streams.Broken):
                later = storm_streams.Events()
                later.push(event(1) + event(2) + event(wrong))

    def test_echoes_come_in_order_and_once(self):
        echoes = storm_streams.Echoes()
        sent = [storm_streams.frame(echoes.next()) for _ in range(3)]
        echoes.push(sent[0] + sent[1][:4])
        echoes.push(sent[1][4:])
        self.assertEqual((echoes.sent, echoes.last), (3, 2))
        with self.assertRaises(storm_streams.Broken):
            echoes.push(sent[1])
        with self.assertRaises(storm_streams.Broken):
            unasked = storm_streams.Echoes()
            unasked.push(storm_streams.frame(b"%010d" % 1))

    def test_frames_of_clients_are_masked(self):
        self.assertEqual(storm_streams.frame(b"abc", b"\x01\x02\x03\x04"), b"\x81\x83\x01\x02\x03\x04" + b"``" + b"`")


class Http2(unittest.TestCase):
    def test_frames_come_apart_wherever_they_are_cut(self):
        whole = storm_http2.frame(0, 1, 3, b"data") + storm_http2.frame(6, 0, 0, b"12345678")
        for cut in range(len(whole) + 1):
            frames = storm_http2.Frames()
            self.assertEqual(frames.push(whole[:cut]) + frames.push(whole[cut:]), [(0, 1, 3, b"data"), (6, 0, 0, b"12345678")])

    def told(self, *frames):
        """What becomes of two requests on a connection that gets these frames."""
        async def outcomes():
            connection = storm_http2.Connection()
            connection.connection_made(types.SimpleNamespace(write=lambda _: None, close=lambda: None))
            replies = [connection.ask(b""), connection.ask(b"")]
            connection.data_received(b"".join(frames))
            return [reply.result() if reply.done() else "open" for reply in replies], connection.usable()

        return asyncio.run(outcomes())

    def test_a_request_that_was_not_taken_is_no_failure(self):
        goaway = storm_http2.frame(storm_http2.GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0")
        self.assertEqual(self.told(goaway), (["open", None], False))
        refused = storm_http2.frame(storm_http2.RST_STREAM, 0, 3, b"\0\0\0\x07")
        self.assertEqual(self.told(refused), (["open", None], True))

    def test_whole_replies_resets_and_other_statuses_are_told_apart(self):
        head = storm_http2.frame(storm_http2.HEADERS, 4, 1, b"\x88")
        data = storm_http2.frame(storm_http2.DATA, 1, 1, b"x")
        self.assertEqual(self.told(head)[0][0], "open")
        self.assertEqual(self.told(head, data)[0][0], "")
        self.assertIn("no 200", self.told(storm_http2.frame(storm_http2.HEADERS, 5, 1, b"\x8d"))[0][0])
        self.assertIn("code 2", self.told(storm_http2.frame(storm_http2.RST_STREAM, 0, 1, b"\0\0\0\x02"))[0][0])


class Reloads(unittest.TestCase):
    def config(self):
        endpoints = [{"url": f"http://127.0.0.1:{port}", "weight": 2} for port in (1, 2, 3)]
        return {"upstreams": {"app": {"endpoints": endpoints}}, "timeouts": {"request": "120s"},
                "routes": storm_reloads.routes(0, extra=False)}

    def test_every_change_changes_something_and_every_kind_comes_both_ways(self):
        config, kinds = self.config(), set()
        urls = [endpoint["url"] for endpoint in config["upstreams"]["app"]["endpoints"]]
        counts = set()
        for number in range(1, 41):
            kinds.add(storm_reloads.kind(number))
            changed = storm_site.with_changes(config, **storm_reloads.changed(config, number, urls))
            what = storm_reloads.kind(number)[0]
            section = {"weights": "upstreams", "endpoint": "upstreams", "timeouts": "timeouts"}.get(what, "routes")
            self.assertNotEqual(changed[section], config[section], f"change {number}")
            config = changed
            counts.add(len(config["upstreams"]["app"]["endpoints"]))
        self.assertEqual(len(kinds), 2 * len(set(storm_reloads.CHANGES)))
        self.assertEqual(counts, {2, 3})


class Upgrades(unittest.TestCase):
    def test_the_log_tells_who_has_taken_over(self):
        log = ("\x1b[2m2026\x1b[0m INFO upgraded: the new process accepts \x1b[3mprocess\x1b[0m\x1b[2m=\x1b[0m4711\n"
               "ERROR not upgraded: it ended\nINFO upgraded: the new process accepts process=4712\n")
        self.assertEqual(storm_upgrades.upgraded(log), ([4711, 4712], ["not upgraded: it ended"]))

    def test_half_of_the_streams_outlive_the_upgrades(self):
        life = storm_upgrades.lives(300, 30, 90, seed=1)
        lives = [life(place) for place in range(1000)]
        self.assertEqual(sum(messages > 300 for messages in lives), 500)
        self.assertTrue(all(30 <= messages <= 90 or messages == 305 for messages in lives))


class Failures(unittest.TestCase):
    def test_what_is_configured_gives_the_bounds(self):
        self.assertAlmostEqual(storm_failures.found_by_probes(0.0), 2.2)
        self.assertAlmostEqual(storm_failures.found_by_probes(5.0), 3.2)
        self.assertAlmostEqual(storm_failures.back_within(1), 6.6)
        self.assertAlmostEqual(storm_failures.back_within(9), 11.6)

    def test_metrics_are_summed_over_their_labels(self):
        metrics = storm_site.parse_metrics('# TYPE a counter\na{x="1",y="2"} 3\na{x="2"} 4\nab 5\n')
        self.assertEqual(storm_site.total(metrics, "a"), 7)
        self.assertEqual(storm_site.total(metrics, "a", 'x="2"'), 4)


class Load(unittest.TestCase):
    def test_another_status_is_a_failure(self):
        latency = {"p50_us": 1, "p99_us": 2, "max_us": 3}
        load = storm_load.summarised("x", {"started": 10, "failed": 1, "by_status": {"200": 7, "503": 2},
                                           "errors": {"reset": 1, "cut": 0}, "connections_made": 1, "latency": latency})
        self.assertEqual((load["failed"], load["errors"]), (3, {"reset": 1, "503": 2}))

    def test_quantiles_of_few_or_no_times(self):
        self.assertEqual(storm_load.quantile([], 0.99), 0)
        self.assertEqual(storm_load.quantile([7], 0.99), 7)
        self.assertEqual(storm_load.quantile(list(range(100)), 0.99), 99)


class Report(unittest.TestCase):
    def test_a_recorded_storm_is_reported_and_nothing_is_missed(self):
        text = storm_report.report(recorded(), "A note.")
        for part in ("## Reloads", "## Upgrades", "## Failures", "A note."):
            self.assertIn(part, text)
        self.assertNotIn("**missed**", text)

    def test_each_loss_misses_its_line(self):
        document = recorded()
        document["parts"]["reloads"]["storm"]["requests"][0]["failed"] = 1
        document["parts"]["reloads"]["reloads"]["confirmed"] -= 1
        document["parts"]["upgrades"]["crowd"]["broken"] = 1
        document["parts"]["upgrades"]["processes_at_end"] = 2
        document["parts"]["failures"]["faults"][0]["during"]["failed"] = 1000
        for line in ("reloads: 0 requests", "reloads: every", "upgrades: 0 streams", "upgrades: one process", "killed"):
            self.assertFalse(verdict(document, line), line)

    def test_memory_that_grows_misses_its_line(self):
        document = recorded()
        samples = [sample for sample in document["parts"]["reloads"]["samples"] if sample["phase"] == "storm"]
        samples[-1]["processes"][-1]["rss_bytes"] *= 2
        self.assertFalse(verdict(document, "reloads: memory"))


if __name__ == "__main__":
    unittest.main()
