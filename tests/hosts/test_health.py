"""A swarm's nodes that are not well: they get no new tasks, keep those that they have, and everybody who asks is told why."""
import contextlib
import os
import signal
import subprocess
import unittest

import harness
import machines


def signal_keeper(machine, number):
    """It, and who holds descriptors for it."""
    for pid in machine.processes():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
            if f.read().split(b"\0")[1:2] == [b"keeper"]:
                os.kill(pid, number)


class Health(unittest.TestCase):
    assert_clean_refusal = harness.Story.assert_clean_refusal

    def health(self, machine, name):
        found = machine.ask("GET", "/drover/health")
        return next(n for n in found["Nodes"] if n["Name"] == name)

    def wait_for_health(self, machine, name, health, message=""):
        def look():
            one = self.health(machine, name)
            return one["Health"] == health and message in one["Message"]
        harness.wait_for(look, f"{name} to be {health}: {message}")

    def check_that_it_gets_none(self, a, word):
        """Six tasks on a, which are asked for where b is sick, and one that asks for b alone."""
        self.assertIn(word, a.node("b")["Status"]["Message"])
        self.assertEqual(a.node("b")["Status"]["State"], "ready")
        self.assertIn(word, a.drover("cluster", "ls").out)
        self.assertIn(word, a.docker("node", "inspect", "--format", "{{.Status.Message}}", "b").out)
        before = a.running("web").get("b", 0)
        a.docker("service", "scale", "--detach", f"web={len(a.tasks('web')) + 6}")
        harness.wait_for(lambda: sum(a.running("web").values()) == len(a.tasks("web")), "more tasks")
        self.assertEqual(a.running("web").get("b", 0), before)
        self.assertRegex(a.drover("explain", "web").out, rf"1 refused by health: {word}.*, on b")
        a.service("--name", "there", "--constraint", "node.hostname==b")
        harness.wait_for(lambda: "not well" in a.docker("service", "ps", "--no-trunc", "--format", "{{.Error}}", "there").out, "to be told why it waits")

    def check_that_it_gets_some_again(self, a):
        harness.wait_for(lambda: a.running("there") == {"b": 1}, "who waited for it")
        self.assertNotIn("Message", a.node("b")["Status"])
        a.docker("service", "rm", "there")

    def test_a_node_whose_keeper_stands_still(self):
        swarm = machines.Swarm(self, heartbeat="1s")
        a, b = swarm.machines
        a.service("--name", "web", "--replicas", "2")
        harness.wait_for(lambda: a.running("web") == {"a": 1, "b": 1}, "one on each")
        self.wait_for_health(a, "b", "well")
        signal_keeper(b, signal.SIGSTOP)
        self.addCleanup(signal_keeper, b, signal.SIGCONT)
        a.drover("cluster", "health", "io=off memory=off keeper=3s")
        self.wait_for_health(a, "b", "sick", "keeper: no answer for")
        self.check_that_it_gets_none(a, "keeper")
        signal_keeper(b, signal.SIGCONT)
        self.check_that_it_gets_some_again(a)

    def test_a_node_whose_clock_is_wrong_and_a_leader_whose_is(self):
        swarm = machines.Swarm(self, "abc", heartbeat="1s", clocks=True)
        a, b, c = swarm.machines
        a.service("--name", "web", "--replicas", "3")
        harness.wait_for(lambda: a.running("web") == {"a": 1, "b": 1, "c": 1}, "one on each")
        b.set_clock(-600)
        self.wait_for_health(a, "b", "sick", "clock: ")
        self.assertRegex(a.node("b")["Status"]["Message"], r"clock: (599|600)[0-9.]*s behind most nodes' \(no new tasks from 10s, until 7.5s\)")
        self.check_that_it_gets_none(a, "clock")
        b.set_clock(0)
        self.check_that_it_gets_some_again(a)
        with open(a.log, encoding="utf-8") as log:
            log.seek(0, os.SEEK_END)
            a.set_clock(600)  # the leader's own: it says so of itself, and at no time of the others
            self.wait_for_health(a, "a", "sick", "ahead of most nodes'")
            a.set_clock(0)
            self.wait_for_health(a, "a", "well")
            said = log.read()
        self.assertIn("(a) is sick", said)
        self.assertNotRegex(said, r"\((b|c)\) is (sick|degraded)")
        for other in "bc":
            self.wait_for_health(a, other, "well")

    def end_with_its_disk(self, machine):
        machine.docker("swarm", "leave", "--force", check=False)
        machine.stop()
        machine.machine_dies()
        machine.drover("shutdown", "--root", machine.data, check=False)
        subprocess.run(["umount", machine.data], check=True)

    def test_a_node_whose_disk_fills(self):
        swarm = machines.Swarm(self, start=False)
        a, b = swarm.machines
        os.makedirs(b.data)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", b.data], check=True)
        self.addCleanup(self.end_with_its_disk, b)
        for machine in (a, b):
            machine.start()
            machine.busybox()
        a.docker("swarm", "init", "--advertise-addr", a.host.address)
        a.docker("swarm", "update", "--dispatcher-heartbeat", "1s")
        a.drover("cluster", "health", "memory=off", "io=off")
        b.join(a, "--advertise-addr", b.host.address)
        swarm.wait_for_nodes(2)
        a.service("--name", "web", "--replicas", "2")
        harness.wait_for(lambda: a.running("web") == {"a": 1, "b": 1}, "one on each")
        self.wait_for_health(a, "b", "well")
        room = os.statvfs(b.data)
        filler = os.path.join(b.data, "filler")
        with open(filler, "wb") as f:
            f.write(b"x" * (room.f_bavail * room.f_frsize - (4 << 20)))
        self.wait_for_health(a, "b", "sick", "disk: ")
        self.assertRegex(a.node("b")["Status"]["Message"], r"disk: [0-9.]+ MiB of 200 MiB free \(no new tasks below 10 MiB, until 13.3 MiB\)")
        self.check_that_it_gets_none(a, "disk")
        os.truncate(filler, 0)
        os.unlink(filler)
        self.check_that_it_gets_some_again(a)
        self.assert_clean_refusal(a.drover("cluster", "health", "disk=much", check=False), "disk=much")
        self.assertRegex(a.drover("cluster", "health").out, r"(?s)NAME +HEALTH.*a +well.*b +well.*limits: memory=off io=off")
