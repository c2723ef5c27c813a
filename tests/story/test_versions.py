"""The versions that a swarm's service had: kept, told, and gone back to by hand and when an update fails."""
import json
import unittest

from harness import wait_for
from test_swarm import SwarmStory

QUICK = ("--update-monitor", "100ms", "--rollback-monitor", "100ms", "--rollback-parallelism", "0")


class Versions(SwarmStory):
    def versions(self, name):
        return json.loads(self.d.drover("history", "--json", name).out)

    def env(self, name, count=1):
        return {self.d.inspect(t["Status"]["ContainerStatus"]["ContainerID"])["Config"]["Env"][0] for t in self.runs(name, count)}

    def settled(self, name, state):
        wait_for(lambda: self.rollout(name).get("State") == state, f"{name} to be {state}: {self.rollout(name)}")

    def web(self, *args):
        self.service("--name", "web", "--env", "V=1", *QUICK, *args)
        self.runs("web", 1)

    def to(self, value, *args):
        self.update("web", "--env-rm", "V", "--env-add", f"V={value}", *args)

    def test_a_service_goes_back_to_any_version_and_forth_again(self):
        self.web()
        for value in (2, 3):
            self.to(value)
            self.settled("web", "completed")
        self.d.docker("service", "update", "--detach", "--label-add", "tier=front", "web")
        found = self.versions("web")
        self.assertEqual([(v["Version"], v["Stable"], v["Present"], v["Previous"]) for v in found],
                         [(1, found[0]["Stable"], False, False), (2, True, False, False), (3, True, False, True), (4, found[3]["Stable"], True, False)])
        self.assertEqual([[c["Path"] for c in v["Changes"]] for v in found[1:]], [["TaskTemplate.ContainerSpec.Env"]] * 2 + [["Labels.tier"]])
        self.assertIn('["V=1"] -> ["V=2"]', self.d.drover("history", "--changes", "web").out)
        self.d.drover("rollback", "--to", "1", "web")
        self.settled("web", "rollback_completed")
        self.assertEqual(self.env("web"), {"V=1"})
        self.d.stop()
        self.d.start()
        self.assertEqual([v["Version"] for v in self.versions("web") if v["Present"]], [1])
        self.d.docker("service", "rollback", "--detach", "web")  # one step: from where it went back
        self.settled("web", "rollback_completed")
        wait_for(lambda: self.env("web") == {"V=3"}, "the way forth")
        self.d.drover("rollback", "web")
        wait_for(lambda: self.env("web") == {"V=1"}, "the way back")
        self.to(5)
        self.settled("web", "completed")
        self.assertEqual([v["Version"] for v in self.versions("web")], [1, 2, 3, 4, 5])
        for args, words in ((("--to", "9", "web"), ["no version 9", "drover history web"]), (("--to", "5", "web"), ["of version 5 already"]), (("nobody",), ["nobody not found"]),
                            (("--to", "x", "web"), ["--to"])):
            self.assert_clean_refusal(self.d.drover("rollback", *args, check=False), *words)

    def test_what_a_version_needs_may_be_gone(self):
        self.d.docker("secret", "create", "key", "-", stdin=b"s")
        self.web("--secret", "key")
        self.update("web", "--secret-rm", "key")
        self.d.docker("secret", "rm", "key")
        self.assert_clean_refusal(self.d.drover("rollback", "--to", "1", "web", check=False), "version 1 of service web", "secret not found: key")
        self.assertEqual([v["Version"] for v in self.versions("web") if v["Present"]], [2])

    def test_as_many_are_kept_as_its_label_says(self):
        self.web("--label", "sh.drover.history=3")
        for value in range(2, 7):
            self.to(value)
        kept = [v["Version"] for v in self.versions("web")]
        self.assertEqual((len(kept), kept[-2:]), (3, [5, 6]), kept)
        for value in ("0", "101", "many"):
            self.assert_clean_refusal(self.d.docker("service", "update", "--detach", "--label-add", f"sh.drover.history={value}", "web", check=False), "1 to 100 versions")

    def test_an_update_that_fails_goes_back_to_the_last_version_that_was_stable(self):
        self.web("--update-failure-action", "rollback", "--restart-delay", "50ms")
        self.to(2)
        self.settled("web", "completed")
        self.d.docker("service", "update", "--detach", "--update-monitor", "60s", "web")
        self.to(3)  # which nobody waits for: it is never known to be stable
        wait_for(lambda: self.env("web") == {"V=3"}, "the third to run")
        self.to(4, "--update-monitor", "100ms", "--image", "localhost:1/there-is-none")
        self.settled("web", "rollback_completed")
        self.assertEqual(self.env("web"), {"V=2"})
        self.assertEqual([(v["Version"], v["Stable"]) for v in self.versions("web") if v["Present"]], [(2, True)])


if __name__ == "__main__":
    unittest.main()
