"""Where a swarm's tasks go and why: drover explain, plan and strategy, on the live state of one machine."""
import json
import os
import time
import unittest

from harness import TOP, Story, wait_for
from test_swarm import STAYS

EVEN = "function score(task, node) return -node.tasks end\n"
BROKEN = "function score(task, node) return task.nothing.there end\n"
ENDLESS = "function score(task, node) while true do end end\n"


class Placement(Story):
    @classmethod
    def make(cls):
        d = super().make()
        d.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        return d

    def setUp(self):
        super().setUp()
        self.names = []

    def tearDown(self):
        for name in self.names:
            self.d.docker("service", "rm", name, check=False)
        wait_for(lambda: not self.d.docker("ps", "-aq").out, "the tasks' containers to go")
        super().tearDown()

    def service(self, name, *args):
        self.names.append(name)
        self.d.docker("service", "create", "--detach", "--no-resolve-image", "--name", name, *args, "busybox", *STAYS)

    def tasks(self, name):
        query = json.dumps({"service": [name]}).replace(" ", "%20")
        return json.loads(self.d.api("GET", f"/v1.41/tasks?filters={query}")[2])

    def runs(self, name, count):
        wait_for(lambda: [t["Status"]["State"] for t in self.tasks(name)].count("running") == count, f"{count} tasks of {name}")

    def explain(self, ref):
        return json.loads(self.d.drover("explain", "--json", ref).out)

    def script(self, name, text):
        path = os.path.join(self.d.root, f"{name}.lua")
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return self.d.drover("strategy", "set", name, path, check=False)

    def test_a_service_that_can_never_be_placed_is_explained_and_does_not_spin(self):
        self.service("big", "--reserve-cpu", "4000", "--replicas", "2")
        self.service("off", "--constraint", "node.labels.zone==a")
        wait_for(lambda: [t["Status"].get("Err") for t in self.tasks("big")] == ["no suitable node (insufficient resources on 1 node)"] * 2, "both to be refused")
        wait_for(lambda: self.tasks("off")[0]["Status"].get("Err"), "the other to be refused")
        before = [t["Version"] for t in self.tasks("big") + self.tasks("off")]
        found = self.explain("big")
        self.assertEqual((found["Nodes"], found["Possible"], found["Service"]["Waiting"]), (1, 0, 2), found)
        self.assertEqual((found["Refused"][0]["Filter"], found["Refused"][0]["Nodes"]), ("resources", 1), found)
        told = self.d.drover("explain", "big.1").out
        self.assertRegex(told, r"refused by resources: 4000 processors asked; the most free is \d")
        self.assertIn("pending", told)
        self.assertRegex(self.d.drover("explain", "off").out, r"1 refused by constraint: node.labels.zone==a \(\S+\)")
        time.sleep(1)
        self.assertEqual([t["Version"] for t in self.tasks("big") + self.tasks("off")], before)  # nobody has touched them since
        node = self.d.docker("node", "ls", "-q").out.strip()
        self.d.docker("node", "update", "--label-add", "zone=a", node)
        self.runs("off", 1)
        self.assert_clean_refusal(self.d.drover("explain", "nobody", check=False), "no service or task", "docker service ls")

    def test_what_becomes_free_is_given_to_who_waits(self):
        cpus = json.loads(self.d.api("GET", "/info")[2])["NCPU"]
        self.service("first", "--reserve-cpu", str(cpus))
        self.runs("first", 1)
        self.service("second", "--reserve-cpu", str(cpus))
        wait_for(lambda: self.tasks("second")[0]["Status"]["State"] == "pending", "it to wait")
        found = self.explain("first.1")
        self.assertEqual((found["Possible"], found["Task"]["State"]), (1, "running"), found)  # its own room counts as free
        self.d.docker("service", "rm", "first")
        self.runs("second", 1)

    def test_a_higher_priority_gets_the_room_of_lower_ones(self):
        cpus = json.loads(self.d.api("GET", "/info")[2])["NCPU"]
        whole = ("--reserve-cpu", str(cpus))
        self.service("low", *whole)
        self.runs("low", 1)
        self.service("equal", *whole)
        self.service("high", *whole, "--label", "sh.drover.priority=10", "--replicas", "0")
        self.assertIn("low.1 (priority 0) would have to make room for it", self.d.drover("explain", "high").out)
        self.assertNotIn("make room", self.d.drover("explain", "equal").out)
        first = self.tasks("low")[0]["ID"]
        self.d.docker("service", "scale", "--detach", "high=1")
        self.runs("high", 1)
        ended = next(t for t in self.tasks("low") if t["ID"] == first)
        self.assertEqual((ended["Status"]["State"], ended["Status"]["Err"]), ("shutdown", "made room for high.1 of priority 10 (its own: 0)"))
        self.assertIn("made room for high.1", self.d.docker("service", "ps", "--no-trunc", "low").out)
        told = self.d.drover("explain", "high.1").out
        self.assertRegex(told, r"service high \(priority 10\): 1 running")
        self.d.stop()
        self.d.start()  # who has made room gets none by that
        self.runs("high", 1)
        self.assertEqual([t["Status"]["State"] for t in self.tasks("low") + self.tasks("equal")].count("running"), 0)
        self.service("most", "--mode", "global", *whole, "--label", "sh.drover.priority=1000")
        self.runs("most", 1)
        self.runs("high", 0)
        self.d.docker("service", "update", "--detach", "--label-add", "sh.drover.priority=20", "low")
        self.d.docker("service", "rm", "most")
        self.runs("low", 1)  # the highest of those that wait
        self.assertEqual([t["Status"]["State"] for t in self.tasks("high") + self.tasks("equal")].count("running"), 0)
        for label, words in (("priority=much", "from -1000 to 1000"), ("priority=1001", "from -1000 to 1000"), ("drain=1h", "from 0s to 300s"),
                             ("volumes=both", "wait or move"), ("rebalance=3", "on or off"), ("progress-deadline=0", "1s to 24h")):
            self.assert_clean_refusal(self.d.docker("service", "update", "--detach", "--label-add", f"sh.drover.{label}", "low", check=False), words)
        self.assert_clean_refusal(self.d.docker("service", "update", "--detach", "--limit-memory", "5m", "low", check=False), "Minimum memory limit allowed is 6MB")

    def test_small_tasks_are_pushed_aside_only_as_far_as_needed(self):
        cpus = json.loads(self.d.api("GET", "/info")[2])["NCPU"]
        self.service("low", "--reserve-cpu", str(cpus / 4), "--replicas", "4")
        self.runs("low", 4)
        self.service("high", "--reserve-cpu", str(cpus / 2), "--label", "sh.drover.priority=1")
        self.runs("high", 1)
        self.runs("low", 2)
        self.assertEqual([t["Status"].get("Err", "")[:9] for t in self.tasks("low")].count("made room"), 2)

    def test_a_plan_says_what_would_happen_and_does_nothing(self):
        self.service("web", "--replicas", "2", "--update-parallelism", "1")
        self.runs("web", 2)
        before = sorted(t["ID"] for t in self.tasks("web"))
        told = self.d.drover("plan", "--replicas", "5", "web").out
        self.assertRegex(told, r"no task is made anew\n  Mode.Replicated.Replicas: 2 -> 5\n  starts 3 on \S+\n")
        self.assertRegex(self.d.drover("plan", "--replicas", "1", "web").out, r"stops 1 on ")
        told = self.d.drover("plan", "--image", "other:2", "web").out
        self.assertRegex(told, r'2 tasks are made anew, 1 at once, stop-first\n  TaskTemplate.ContainerSpec.Image: "busybox:?\w*" -> "other:2"\n  starts 2 on ')
        told = self.d.drover("plan", "--constraint", "node.labels.none==x", "web").out
        self.assertRegex(told, r"2 would wait for a node:\n.*\n  0 of 1 node are possible\n  1 refused by constraint")
        self.assertIn("nothing changes", self.d.drover("plan", "web").out)
        refused = self.d.drover("plan", "--image", "NOT valid", "web", check=False)
        self.assertEqual(refused.status, 1, refused)
        self.assertIn("not a valid", refused.out)
        node = self.d.docker("node", "ls", "--format", "{{.Hostname}}").out.strip()
        self.assertEqual(self.d.drover("plan", "--availability", "drain", node).out.count("no other node is possible"), 2)
        self.assertEqual(sorted(t["ID"] for t in self.tasks("web")), before)
        self.assert_clean_refusal(self.d.drover("plan", "--availability", "gone", node, check=False), "active, pause or drain")
        status, _, body = self.d.api("POST", "/drover/plan", {"Services": [{}]})
        self.assertEqual((status, b'with a \\"Name\\"' in body), (400, True), body)

    def test_a_strategy_is_chosen_replaced_while_it_runs_and_stepped_in_for(self):
        self.assertEqual(self.script("mine", EVEN).status, 0)
        self.d.drover("strategy", "use", "binpack")
        self.service("own", "--label", "sh.drover.strategy=mine")
        self.service("other")
        self.runs("own", 1)
        self.assertEqual([self.explain(s)["Strategy"] for s in ("own", "other")], ["mine", "binpack"])
        self.assertEqual(self.d.drover("strategy", "show", "mine").out, EVEN)
        for text, words in ((BROKEN, ["mine.*:1:"]), (ENDLESS, ["instructions|ms|time"])):
            self.assertEqual(self.script("mine", text).status, 0)
            self.d.docker("service", "scale", "--detach", "own=2")
            self.runs("own", 2)  # all the same: spread has placed it
            problem = self.explain("own")["Problem"]
            for word in words:
                self.assertRegex(problem, word)
            self.assertRegex(self.d.drover("strategy", "ls").out, r"mine\s+lua\s+\S")
            self.d.docker("service", "scale", "--detach", "own=1")
            self.runs("own", 1)
        self.assertEqual(self.script("mine", EVEN).status, 0)
        self.assertEqual(self.explain("own")["Problem"], "")
        self.d.stop()
        self.d.start()  # what was chosen and written stays
        self.assertEqual([self.explain(s)["Strategy"] for s in ("own", "other")], ["mine", "binpack"])
        for refused, words in ((self.script("bad", "function nothing() end"), ["score"]), (self.script("bad", "x ="), ["bad"]), (self.script("spread", EVEN), ["built in"]),
                               (self.script("no way", EVEN), ["no name"]), (self.d.drover("strategy", "rm", "mine", check=False), ["service own"]),
                               (self.d.drover("strategy", "use", "nobody", check=False), ["no strategy"]), (self.d.drover("strategy", "rm", "nobody", check=False), ["no script"]),
                               (self.d.docker("service", "update", "--detach", "--label-add", "sh.drover.strategy=nobody", "own", check=False), ["no strategy"])):
            self.assert_clean_refusal(refused, *words)
        self.d.docker("service", "rm", "own")
        self.d.drover("strategy", "rm", "mine")
        self.d.drover("strategy", "use", "spread")
        self.assertNotIn("mine", self.d.drover("strategy", "ls").out)

    def test_the_worked_example_runs_in_a_cluster(self):
        self.d.drover("strategy", "set", "zones", os.path.join(TOP, "examples/strategies/zones.lua"))
        self.service("web", "--label", "sh.drover.strategy=zones", "--reserve-cpu", "0.1")
        self.runs("web", 1)
        self.assertEqual((self.explain("web")["Strategy"], self.explain("web")["Problem"]), ("zones", ""))


if __name__ == "__main__":
    unittest.main()
