"""Three managers while they fail: another one leads, nothing that was acknowledged is lost, what runs goes on."""
import json
import os
import signal
import subprocess
import time
import unittest

import harness
import machines

STAYS = ["sh", "-c", "trap 'exit 0' TERM; echo began; while :; do sleep 0.05; done"]


class Managers(unittest.TestCase):
    assert_clean_refusal = harness.Story.assert_clean_refusal

    def setUp(self):
        self.swarm = machines.Swarm(self, "abc", managers=3)

    def service(self, machine, name, replicas=3):
        machine.docker("service", "create", "--detach", "--no-resolve-image", "--name", name, "--replicas", str(replicas),
                       "busybox", *STAYS)

    def tasks(self, machine, name):
        query = json.dumps({"service": [name]}).replace(" ", "%20")
        return machine.get(f"/tasks?filters={query}") or []

    def running(self, machine, name, count):
        def look():
            found = [t for t in self.tasks(machine, name) if t["DesiredState"] == "running"]
            return len(found) == count and all(t["Status"]["State"] == "running" for t in found) and found
        return harness.wait_for(look, f"{count} running tasks of {name}")

    def containers(self, machines, name):
        """Of the service, as the machines' engines have them."""
        return [line for m in machines for line in
                m.docker("ps", "-q", "--filter", f"label=com.docker.swarm.service.name={name}").out.split()]

    def writer(self, through, prefix="k"):
        return machines.Writer(self, through, prefix)

    def test_any_manager_answers_for_all(self):
        a, b, c = self.swarm.machines
        for machine in (a, b, c):
            nodes = self.swarm.nodes(machine)
            self.assertEqual(sorted(nodes.values()), [("Ready", "Leader"), ("Ready", "Reachable"), ("Ready", "Reachable")], nodes)
            harness.wait_for(lambda: machine.info().get("Nodes") == 3, "it to know all")
            info = machine.info()
            self.assertEqual((info["LocalNodeState"], info["ControlAvailable"], info["Managers"], info["Nodes"]),
                             ("active", True, 3, 3))
        self.service(b, "web")
        self.running(c, "web", 3)
        self.assertEqual({m.docker("service", "ls", "--format", "{{.Name}} {{.Replicas}}").out for m in (a, b, c)}, {"web 3/3\n"})
        b.docker("secret", "create", "word", "-", stdin=b"open sesame")
        self.assertIn("word", c.docker("secret", "ls").out)
        self.assert_clean_refusal(c.docker("secret", "create", "word", "-", stdin=b"again", check=False), "word")
        self.assert_clean_refusal(b.docker("service", "inspect", "nothing", check=False), "nothing")
        self.assertEqual(b.docker("swarm", "join-token", "-q", "worker").out, a.docker("swarm", "join-token", "-q", "worker").out)
        c.docker("service", "rm", "web")
        harness.wait_for(lambda: not self.containers((a, b, c), "web"), "its containers to go")

    def test_logs_come_from_all_machines_and_go_on(self):
        a, b, c = self.swarm.machines
        self.service(a, "web")
        tasks = self.running(b, "web", 3)
        self.assertEqual(len({t["NodeID"] for t in tasks}), 3)
        harness.wait_for(lambda: c.docker("service", "logs", "--raw", "web").out == "began\n" * 3, "a line of each task")
        self.assertEqual(b.docker("service", "logs", "--raw", tasks[0]["ID"]).out, "began\n")
        follower = subprocess.Popen([c.cli, "service", "logs", "--raw", "-f", "web"], env=c.env(), stdout=subprocess.PIPE)
        self.addCleanup(lambda: (follower.kill(), follower.wait(), follower.stdout.close()))
        self.assertEqual([follower.stdout.readline() for _ in range(3)], [b"began\n"] * 3)
        b.docker("service", "scale", "--detach", "web=5")
        self.assertEqual([follower.stdout.readline() for _ in range(2)], [b"began\n"] * 2)

    def test_logs_of_what_is_not_healthy_yet_come_from_all_machines(self):
        a, _, c = self.swarm.machines
        a.docker("service", "create", "--detach", "--no-resolve-image", "--name", "web", "--replicas", "3", "--health-cmd", "false", "--health-interval", "1h",
                 "busybox", "sh", "-c", "echo began; exec sleep 100000")
        harness.wait_for(lambda: c.docker("service", "logs", "--raw", "web").out == "began\n" * 3, "a line of each task")
        self.assertEqual({t["Status"]["State"] for t in self.tasks(a, "web")}, {"starting"})

    def test_the_leader_is_demoted_and_a_manager_leaves(self):
        leader = self.swarm.leader()
        b, c = self.swarm.others(leader)
        writer = self.writer([b, c])
        b.docker("node", "demote", leader.info()["NodeID"])
        harness.wait_for(lambda: not leader.info()["ControlAvailable"] and not leader.store(), "it to be a worker")
        writer.wait_for_more()
        self.assert_clean_refusal(leader.docker("service", "create", "--name", "x", "busybox", check=False), "not a swarm manager")
        self.assert_clean_refusal(leader.docker("swarm", "join-token", "worker", check=False), "not a swarm manager")
        self.assertEqual(leader.docker("node", "ls", "-q").out, b.docker("node", "ls", "-q").out)
        c.docker("swarm", "leave", "--force")
        self.assertEqual(c.store(), [])
        writer.machines = [b]
        writer.wait_for_more()
        self.assert_clean_refusal(b.docker("node", "demote", b.info()["NodeID"], check=False), "last manager")
        writer.check(b)
        c.join(b, token=b.token("manager"))
        harness.wait_for(lambda: self.swarm.nodes(b)["c"][1] == "Reachable", "the leader to see its vote")
        self.assertEqual(sorted(status for _, status in self.swarm.nodes(c).values()), ["", "", "Leader", "Reachable"])
        writer.check(c)

    def test_another_manager_leads_when_the_leader_is_killed(self):
        self.service(self.swarm.machines[1], "web")
        ids = {t["ID"] for t in self.running(self.swarm.machines[2], "web", 3)}
        for _ in range(2):
            leader = self.swarm.leader()
            others = self.swarm.others(leader)
            writer = self.writer(others, f"{leader.name}-")
            writer.wait_for_more()
            leader.die()
            writer.wait_for_more()
            writer.check(self.swarm.leader(others))
            leader.start()
            harness.wait_for(lambda: sorted(v for _, v in self.swarm.nodes(others[0]).values()) ==
                             ["Leader", "Reachable", "Reachable"], "all to be reachable")
        self.assertEqual({t["ID"] for t in self.running(self.swarm.machines[0], "web", 3)}, ids)
        self.assertEqual(len(self.containers(self.swarm.machines, "web")), 3)

    def test_who_comes_to_lead_looks_after_its_own_containers_only(self):
        """It sweeps what runs on it every 30 s, and has the others' tasks in its memory, too: none of them is replaced."""
        self.service(self.swarm.machines[0], "web", 6)
        ids = {t["ID"] for t in self.running(self.swarm.machines[0], "web", 6)}
        leader = self.swarm.leader()
        self.move_lead(leader)
        successor = self.swarm.leader(self.swarm.others(leader))
        until = time.monotonic() + 35  # one sweep, whenever the last was
        while time.monotonic() < until:
            self.assertEqual({t["ID"] for t in self.running(successor, "web", 6)}, ids)
            time.sleep(1)
        self.assertEqual(len(self.containers(self.swarm.machines, "web")), 6)

    def move_lead(self, leader):
        """Its store stands still until another leads."""
        for pid in leader.store():
            os.kill(pid, signal.SIGSTOP)
        try:
            self.swarm.leader(self.swarm.others(leader))
        finally:
            for pid in leader.store():
                os.kill(pid, signal.SIGCONT)

    def test_a_manager_that_is_busy_with_its_tasks_leads_at_once(self):
        """Its containers take long to stop; the lead does not wait for them, and nothing runs twice."""
        leader = self.swarm.leader()
        others = self.swarm.others(leader)
        leader.docker("service", "create", "--detach", "--no-resolve-image", "--name", "slow", "--replicas", "9",
                      "--stop-grace-period", "30s", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
        self.running(leader, "slow", 9)
        leader.docker("service", "scale", "--detach", "slow=3")
        harness.wait_for(lambda: any(t["DesiredState"] != "running" for t in self.tasks(others[0], "slow")), "tasks to be stopped")
        leader.die()
        self.service(self.swarm.leader(others), "quick", 1)
        self.assertTrue(len(self.containers(others, "slow")) > 2, "the stops had ended before the lead changed")
        self.running(others[0], "quick", 1)
        leader.start()
        self.running(others[1], "slow", 3)
        harness.wait_for(lambda: len(self.containers(self.swarm.machines, "slow")) == 3, "three containers")

    def test_a_leader_that_is_cut_off_accepts_no_write(self):
        leader = self.swarm.leader()
        others = self.swarm.others(leader)
        alone, rest = self.writer([leader], "alone-"), self.writer(others, "rest-")
        alone.wait_for_more()
        leader.host.cut()
        self.swarm.leader(others)
        begun = len(alone.acknowledged)
        rest.wait_for_more(20)
        self.assertEqual(len(alone.acknowledged), begun)
        harness.wait_for(lambda: leader.api("GET", "/services")[0] == 503, "it to know that it leads no more")
        refused = leader.docker("service", "ls", check=False)
        self.assert_clean_refusal(refused, "does not have a leader")
        leader.host.heal()
        alone.wait_for_more()
        rest.check(leader)
        alone.check(others[0])

    def test_without_a_majority_everything_says_so_and_what_runs_goes_on(self):
        a = self.swarm.machines[0]
        self.service(a, "web")
        self.running(a, "web", 3)
        kept = self.swarm.machines[0]
        for machine in self.swarm.machines[1:]:
            machine.die()
        harness.wait_for(lambda: kept.api("GET", "/services")[0] == 503, "the loss to be known")
        self.assert_clean_refusal(kept.docker("service", "ls", check=False), "does not have a leader")
        self.assert_clean_refusal(kept.docker("config", "create", "x", "-", stdin=b"x", check=False), "does not have a leader")
        self.assertTrue(self.containers([kept], "web"))
        for machine in self.swarm.machines[1:]:
            machine.start()
        harness.wait_for(lambda: kept.api("GET", "/services")[0] == 200, "a leader")
        self.running(kept, "web", 3)

    def test_all_stop_and_start_again_with_what_they_had(self):
        a, b, c = self.swarm.machines
        self.service(a, "web")
        ids = {t["ID"] for t in self.running(a, "web", 3)}
        for machine in (a, b, c):
            machine.stop()
            self.assertEqual(machine.store(), [])
        for machine in (c, b, a):
            machine.start()
        self.swarm.leader()
        self.assertEqual({t["ID"] for t in self.running(b, "web", 3)}, ids)

    def test_a_manager_is_demoted_and_promoted_again(self):
        a, b, c = self.swarm.machines
        node = c.info()["NodeID"]
        a.docker("node", "demote", node)
        harness.wait_for(lambda: not c.info()["ControlAvailable"] and not c.store(), "c to be a worker")
        self.assertEqual(self.swarm.nodes(a)["c"], ("Ready", ""))
        a.docker("node", "promote", node)
        harness.wait_for(lambda: self.swarm.nodes(a)["c"] == ("Ready", "Reachable"), "c to be a manager")
        harness.wait_for(lambda: c.info()["ControlAvailable"], "c to know it")
        leader = self.swarm.leader()
        leader.die()
        self.swarm.leader(self.swarm.others(leader))
