"""Kills of serve in the middle of builds: nothing is left, and the next build is right and goes on from the steps that were done."""
import os
import sys

from harness import TOP, Story, run

SEED = os.environ.get("BUILD_SEED", "20261126")
MOMENTS = os.environ.get("BUILD_MOMENTS", "6")
POINTS = os.path.join(TOP, "tests/crash/build_points.py")


class BuildKills(Story):
    shared, image = False, False

    def points(self, *arguments, **environment):
        done = run([sys.executable, POINTS, "--seed", SEED, *arguments], check=False, env=dict(os.environ, **environment))
        self.assertEqual(done.status, 0, done)

    def test_a_kill_at_any_moment_of_a_build_leaves_nothing_and_the_next_one_goes_on(self):
        self.points("--points", ":", "--moments", MOMENTS)

    def test_a_kill_at_any_failpoint_of_a_build_leaves_nothing_and_the_next_one_goes_on(self):
        program = os.path.join(TOP, "build-asan/drover")
        if not os.path.exists(program):
            self.skipTest("needs the build with sanitizers (make check-build)")
        self.points(DROVER=program)
