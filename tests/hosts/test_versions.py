"""Machines of two versions are one swarm, through an upgrade of one after the other and the way back.

The older version is the binary that DROVER_OLDER names; without it, this one in the form of before (DROVER_CLUSTER_FORM)."""
import os
import re
import unittest

import harness
import machines

OLDER = os.environ.get("DROVER_OLDER")
LOOKS = 10  # several, while a node that hears another leader looks at its traffic again


class Versions(unittest.TestCase):
    def set_version(self, machine, older):
        if OLDER:
            machine.binary = OLDER if older else harness.DROVER
        else:
            machine.environment = {**os.environ, "DROVER_CLUSTER_FORM": "before"} if older else None

    def change(self, machine, older):
        """It stops, and starts again as the other version; what runs on it goes on."""
        machine.stop()
        harness.wait_for(lambda: not machine.store(), "the end of its store")
        self.set_version(machine, older)
        machine.start()
        harness.wait_for(lambda: self.swarm.leader().nodes()[machine.name][0] == "ready", f"{machine.name} to be back")

    def names(self, machine, inside):
        found = machine.docker("exec", inside, "nslookup", "tasks.web", check=False).out
        return set(re.findall(r"10\.[0-9.]+", found.partition("Name:")[2]))

    def check_traffic(self, count):
        """Every machine's containers find exactly the tasks that there are, and go on to."""
        leader = self.swarm.leader()
        harness.wait_for(lambda: leader.docker("service", "scale", "--detach", f"web={count}", check=False).status == 0, "the scaling to be taken")

        def right():
            leader = self.swarm.leader()
            tasks = leader.tasks("web")
            want = {x.split("/")[0] for t in tasks for n in t.get("NetworksAttachments") or [] for x in n["Addresses"]}
            if len(want) != count or sum(leader.running("web").values()) != count:
                return False
            return all(self.names(m, c) == want for m, c in self.clients.items())
        harness.wait_for(right, f"the names of {count} tasks on all machines")
        return right

    def make_older_swarm(self):
        self.swarm = machines.Swarm(self, "abcd", start=False)
        *managers, worker = self.swarm.machines
        for machine in self.swarm.machines:
            self.set_version(machine, older=True)
            machine.start()
            machine.busybox()
        first = managers[0]
        first.docker("swarm", "init", "--advertise-addr", first.host.address)
        first.docker("swarm", "update", "--dispatcher-heartbeat", "1s")
        for machine in managers[1:]:
            machine.join(first, "--advertise-addr", machine.host.address, token=first.token("manager"))
        worker.join(first, "--advertise-addr", worker.host.address)
        self.swarm.wait_for_managers(3)
        return managers, worker

    def test_two_versions_run_together_and_managers_change_one_by_one(self):
        managers, worker = self.make_older_swarm()
        first = managers[0]
        first.docker("network", "create", "-d", "overlay", "mesh")
        first.service("--name", "web", "--network", "mesh", "--replicas", "2")
        first.service("--name", "client", "--network", "mesh", "--mode", "global")
        harness.wait_for(lambda: first.running("client") == {n: 1 for n in "abcd"}, "a client on each machine")
        by_name = {t["Host"]: t["Status"]["ContainerStatus"]["ContainerID"] for t in first.tasks("client")}
        self.clients = {m: by_name[m.name] for m in self.swarm.machines}
        self.check_traffic(3)

        writer = machines.Writer(self, managers)
        for step, machine in enumerate(managers):  # older leaders of newer managers, then newer ones of an older worker
            self.change(machine, older=False)
            self.check_traffic(4 + step % 2)
        self.change(worker, older=False)
        self.check_traffic(3)
        if not OLDER:  # an older binary may not know what the newer one's databases have
            self.go_back(managers)
        writer.wait_for_more()
        for machine in managers:
            writer.check(machine)
        self.assertEqual({t["Status"]["ContainerStatus"]["ContainerID"] for t in self.swarm.leader().tasks("client")}, set(by_name.values()))

    def go_back(self, managers):
        for step, machine in enumerate(managers):
            self.change(machine, older=True)
            self.check_traffic(4 + step % 2)
        right = self.check_traffic(2)  # an older leader, a newer worker
        self.change(self.swarm.leader(managers), older=True)  # and another: the worker looks at its traffic again
        harness.wait_for(right, "the names as before")
        for _ in range(LOOKS):
            self.assertTrue(right(), "what an older leader told is put away for what a newer one had")
