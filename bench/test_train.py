"""Tests of the training that need no gateway: run by `python3 -m unittest discover -s bench`."""

import pathlib
import sys
import tempfile
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import proxies
import train

DISTURBED = {"ops": 10, "op": "request", "failed": 0, "errors": {}, "wrong_status": {}, "dropped": "steal 9.0 %"}
FAILED = DISTURBED | {"failed": 1, "dropped": "1 exchanges failed"}
BROKEN = {"dropped": "nobody answered"}


def bench_with(records):
    """A bench whose samples are these, in turn."""
    left = iter(records)
    return types.SimpleNamespace(sample=lambda scenario, peer: next(left))


class Training(unittest.TestCase):
    def test_every_listener_load_and_kind_of_traffic_is_trained(self):
        for field, wanted in (("entry", {"http", "tls", "tcp"}), ("load", {"tidegate", "h2load"}),
                              ("kind", {"requests", "streams"}), ("websocket", {False, True}), ("llm", {False, True})):
            self.assertEqual({getattr(scenario, field) for scenario in train.TRAINING}, wanted, field)
        options = [option for scenario in train.TRAINING for option in scenario.options]
        for option in ("--close", "full", "resumed", "--body", "Accept-Encoding: zstd"):
            self.assertIn(option, options)

    def test_each_scenario_has_a_name_of_its_own(self):
        names = [scenario.name for scenario in train.TRAINING]
        self.assertEqual(len(set(names)), len(names))

    def test_every_route_of_the_training_configuration_is_used(self):
        routes = [line.split("path: ")[1].split(",")[0]
                  for line in (proxies.CONFIGS / train.CONFIG).read_text().splitlines() if "{ path: " in line]
        self.assertGreater(len(routes), 3)
        for route in routes:
            self.assertTrue(any(scenario.path.startswith(route) for scenario in train.TRAINING), route)

    def test_a_disturbed_sample_trains_as_well_as_any(self):
        self.assertEqual(train.exercise(bench_with([DISTURBED]), train.TRAINING[0]), DISTURBED)

    def test_a_scenario_that_fails_is_tried_again_once_and_then_ends_the_training(self):
        self.assertEqual(train.exercise(bench_with([BROKEN, DISTURBED]), train.TRAINING[0]), DISTURBED)
        with self.assertRaisesRegex(proxies.BenchError, "get-c64: 1 exchanges failed"):
            train.exercise(bench_with([BROKEN, FAILED, DISTURBED]), train.TRAINING[0])

    def test_a_process_of_an_instrumented_build_writes_its_profile_into_the_folder_of_the_run(self):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", "import os; print(os.environ['LLVM_PROFILE_FILE'])"]
            with proxies.Process("tidegate", command, folder) as process:
                process.wait(30)
                self.assertEqual(process.output.read_text().strip(), f"{folder}/tidegate-%p.profraw")

    def test_only_the_profiles_of_this_runs_gateways_are_kept(self):
        with tempfile.TemporaryDirectory() as name:
            scratch, folder = pathlib.Path(name) / "scratch", pathlib.Path(name) / "raw"
            for path in (scratch / "tidegate-7.profraw", scratch / "load-8.profraw", folder / "tidegate-1.profraw"):
                path.parent.mkdir(exist_ok=True)
                path.touch()
            train.keep(scratch, folder)
            self.assertEqual([path.name for path in folder.iterdir()], ["tidegate-7.profraw"])

    def test_a_binary_that_writes_no_profile_is_an_error_and_the_old_profiles_stay(self):
        with tempfile.TemporaryDirectory() as name:
            scratch, folder = pathlib.Path(name) / "scratch", pathlib.Path(name) / "raw"
            scratch.mkdir()
            folder.mkdir()
            (folder / "tidegate-1.profraw").touch()
            with self.assertRaisesRegex(proxies.BenchError, "profile-generate"):
                train.keep(scratch, folder)
            self.assertEqual(len(list(folder.iterdir())), 1)


if __name__ == "__main__":
    unittest.main()
