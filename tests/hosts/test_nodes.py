"""Several machines are one swarm: services run on all, and what happens to one does not end what runs on the others."""
import os
import unittest

import harness
import machines


class Nodes(unittest.TestCase):
    assert_clean_refusal = harness.Story.assert_clean_refusal

    def test_two_machines_run_a_service_together_and_a_killed_worker_changes_nothing(self):
        swarm = machines.Swarm(self)
        a, b = swarm.machines
        self.assertEqual(a.nodes(), {"a": ("ready", "active"), "b": ("ready", "active")})
        self.assertEqual((b.info()["LocalNodeState"], b.info()["ControlAvailable"]), ("active", False))
        self.assertEqual(a.info()["Nodes"], 2)
        a.service("--name", "web", "--replicas", "4")
        harness.wait_for(lambda: a.running("web") == {"a": 2, "b": 2}, "two tasks on each")
        self.assertEqual(len(b.containers()), 2)
        self.assertIn("b", a.docker("service", "ps", "--format", "{{.Node}} {{.CurrentState}}", "web").out)

        before = {t["ID"] for t in a.tasks("web")}, b.containers()
        b.kill9()
        b.start()
        harness.wait_for(lambda: b.info()["LocalNodeState"] == "active" and not b.info()["Error"], "the worker to be heard")
        harness.wait_for(lambda: a.nodes()["b"][0] == "ready", "the worker")
        self.assertEqual(({t["ID"] for t in a.tasks("web")}, b.containers()), before)

        one = next(iter(b.containers()))
        b.docker("kill", one)
        harness.wait_for(lambda: len({t["ID"] for t in a.tasks("web")} & before[0]) == 3, "one to be replaced")
        harness.wait_for(lambda: a.running("web") in ({"a": 2, "b": 2}, {"a": 3, "b": 1}), "its successor")

        a.docker("service", "rm", "web")
        harness.wait_for(lambda: not b.docker("ps", "-aq").out.strip(), "nothing left on the worker")
