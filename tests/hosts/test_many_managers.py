"""Five managers and then seven: as many may die as a majority leaves over, and in the end one is left."""
import contextlib
import unittest

import harness
import machines


class ManyManagers(unittest.TestCase):
    assert_clean_refusal = harness.Story.assert_clean_refusal

    def join_as_managers(self, newcomers, count):
        first = self.swarm.machines[0]
        token = first.token("manager")
        for machine in newcomers:
            machine.join(first, "--advertise-addr", machine.host.address, token=token)
        self.swarm.wait_for_managers(count)

    def listed(self, through, dead=()):
        """Every one of `through` lists the same managers: one leads, all but the dead can be reached."""
        def look():
            seen = [sorted(status for _, status in self.swarm.nodes(m).values()) for m in through]
            wanted = ["Leader"] + ["Reachable"] * (len(through) - 1) + ["Unreachable"] * len(dead)
            return all(s == wanted for s in seen)
        harness.wait_for(look, f"{len(through)} managers that can be reached and {len(dead)} that cannot")

    def kill(self, of, count):
        """Of these the leader and others until `count` are dead, while writes go on: who is left, and who is dead."""
        writer = machines.Writer(self, of, f"{len(of)}-")
        writer.wait_for_more()
        leader = self.swarm.leader(of)
        dead = [leader, *[m for m in of if m is not leader][:count - 1]]
        left = [m for m in of if m not in dead]
        writer.machines = left
        for machine in dead:
            machine.die()
        writer.wait_for_more()
        for machine in left:
            writer.check(machine)
        self.written |= writer.finish()
        return left, dead

    def nobody_leads(self, left):
        """One more than may be is dead: nothing is written, and all say so."""
        for machine in left:
            harness.wait_for(lambda: machine.api("GET", "/services")[0] == 503, "the loss to be known")
            for read in (["service", "ls"], ["node", "ls"], ["config", "ls"]):
                self.assert_clean_refusal(machine.docker(*read, check=False), "does not have a leader")
            for write in (["config", "create", f"lost-{machine.name}", "-"], ["node", "update", "--label-add", "a=b", "self"], ["service", "rm", "web"]):
                self.assert_clean_refusal(machine.docker(*write, stdin=b"x", check=False), "does not have a leader")

    def come_back(self, dead, everybody):
        for machine in dead:
            machine.start()
        self.swarm.leader(everybody)
        self.swarm.wait_for_managers(len(everybody))
        self.listed(everybody)

    def demote_to(self, last):
        for number, machine in enumerate(self.swarm.others(last), 1):
            writer = machines.Writer(self, [last], f"demote{number}-")
            last.docker("node", "demote", machine.name)
            harness.wait_for(lambda: not machine.info()["ControlAvailable"] and not machine.store(), f"{machine.name} to be a worker")
            writer.wait_for_more()
            self.written |= writer.finish()
        self.assert_clean_refusal(last.docker("node", "demote", last.name, check=False), "last manager")
        self.assertEqual(sorted(self.swarm.nodes(last).values()), [("Ready", "")] * 6 + [("Ready", "Leader")])

    def everything_is_there(self, machine):
        have = {c["Spec"]["Name"] for c in machine.get("/configs")}
        self.assertEqual((sorted(self.written - have), [n for n in have if n.startswith("lost-")]), ([], []))

    def test_five_managers_become_seven_die_come_back_and_become_one(self):
        self.swarm, self.written = machines.Swarm(self, "abcdefg", join=False), set()
        everybody = self.swarm.machines
        five = everybody[:5]
        self.join_as_managers(five[1:], 5)
        self.listed(five)
        five[0].service("--name", "web", "--replicas", "1")
        left, dead = self.kill(five, 2)
        self.listed(left, dead)
        self.come_back(dead, five)
        self.join_as_managers(everybody[5:], 7)
        self.listed(everybody)
        left, dead = self.kill(everybody, 3)
        self.listed(left, dead)
        fourth = self.swarm.leader(left)
        fourth.die()
        left.remove(fourth)
        self.nobody_leads(left)
        # With one of them there is a majority again, and with the others all are.
        fourth.start()
        left.append(fourth)
        self.swarm.leader(left)
        writer = machines.Writer(self, left, "again-")
        writer.wait_for_more()
        self.written |= writer.finish()
        self.come_back(dead, everybody)
        for machine in everybody:
            self.everything_is_there(machine)
        self.demote_to(self.swarm.others(self.swarm.leader())[0])
        last = self.swarm.leader()
        for machine in self.swarm.others(last):
            with contextlib.suppress(ProcessLookupError):
                machine.die()
        last.docker("config", "create", "alone", "-", stdin=b"x")
        self.everything_is_there(last)
        for machine in self.swarm.others(last):
            machine.start()
        self.swarm.wait_for_nodes(7)
        harness.wait_for(lambda: sum(last.running("web").values()) == 1 and sum(len(m.containers()) for m in everybody) == 1, "its one task")
