"""The launch benchmark runs and says what it is asked for; how fast anything is, is no test's business."""
import json
import os
import subprocess
import unittest

import harness

KEYS = ("floor", "engine", "oci", "crun", "runc", "dockerd", "podman")


class LaunchBench(unittest.TestCase):
    def run_bench(self, *options):
        done = subprocess.run([os.path.join(harness.TOP, "bench/launch"), "--launches", "2", "--rounds", "1", *options],
                              env=dict(os.environ, DROVER=harness.DROVER, DROVER_BENCH_NETNS="1"),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stderr, "", "something was left behind, or failed")
        return done.stdout

    def test_prints_one_object_with_all_keys(self):
        result = json.loads(self.run_bench("--json", "--without-peers", "--idle", "3", "--existing", "0"))
        for key in KEYS:
            self.assertIn(key, result)
        for key in ("floor", "engine", "oci"):
            for value in ("one_ms", "per_s", "p50_ms", "p99_ms"):
                self.assertGreater(result[key][value], 0, (key, value))
        self.assertIn("kb_each", result["idle"])
        self.assertIn("cpu_percent", result["idle"])

    def test_prints_a_table_and_judges_the_ratios(self):
        text = self.run_bench("--only", "floor,engine", "--without-peers")
        self.assertIn("| floor |", text)
        self.assertIn("| engine |", text)
        self.assertIn("engine per_s / floor per_s", text)


if __name__ == "__main__":
    unittest.main()
