"""Three managers and four workers: what is done to machines of a cluster in its life, one thing after the other, while a service goes on;
and what is wrong with machines that still run: their clocks, their disks, their cables."""
import base64
import contextlib
import json
import unittest

import harness
import machines


class Cluster(unittest.TestCase):
    def config(self, through, name):
        """Until it is acknowledged."""
        body = {"Name": name, "Data": base64.b64encode(b"x").decode()}

        def tried():
            with contextlib.suppress(OSError):
                return any(m.api("POST", "/configs/create", body)[0] in (201, 409) for m in through)
            return False
        harness.wait_for(tried, f"{name} to be made")

    def wait_for_state(self, machine, name, state):
        """As `machine` tells it, which may have to wait for a leader."""
        def look():
            nodes = machine.get("/nodes") or []
            return any(n["Description"]["Hostname"] == name and n["Status"]["State"] == state for n in nodes)
        harness.wait_for(look, f"{name} to be {state}")

    def tasks(self, through):
        query = json.dumps({"service": ["web"], "desired-state": ["running"]}).replace(" ", "%20")
        for m in through:
            with contextlib.suppress(OSError):
                found = m.get(f"/v1.41/tasks?filters={query}")
                if found is not None:
                    return found
        return None

    def settled(self, swarm, count, through=None, alive=None, off=(), word=None):
        """`count` tasks run, these containers and no others on the machines, none of them on `off`, and all with `word` in their environment."""
        through, alive = through or swarm.machines, alive or swarm.machines

        def look():
            tasks = self.tasks(through)
            if not tasks or len(tasks) != count or any(t["Status"]["State"] != "running" for t in tasks):
                return False
            if word and any(word not in t["Spec"]["ContainerSpec"].get("Env", []) for t in tasks):
                return False
            has = {m.name: m.containers() for m in alive}
            return (not any(has[m.name] for m in off)
                    and sorted(c for containers in has.values() for c in containers) == sorted(t["Status"]["ContainerStatus"]["ContainerID"] for t in tasks))
        harness.wait_for(look, f"{count} tasks with their containers and no others", deadline=300)

    def test_seven_machines_live_through_all_of_it(self):
        swarm = machines.Swarm(self, "abcdefg", managers=3, heartbeat="2s")
        a, b, c, d, e, f, g = swarm.machines
        a.service("--name", "web", "--replicas", "14", "--restart-delay", "100ms", "--update-parallelism", "4", "--update-monitor", "100ms")
        self.settled(swarm, 14)
        self.assertGreater(len(a.running("web")), 1)

        b.docker("service", "update", "--detach", "--env-add", "VERSION=2", "web")
        self.settled(swarm, 14, word="VERSION=2")

        c.docker("node", "update", "--availability", "drain", "d")
        self.settled(swarm, 14, off=[d])
        c.docker("node", "update", "--availability", "active", "d")

        leader = swarm.leader()  # killed, its store too
        rest = swarm.others(leader)
        leader.die()
        self.config(rest, "while-one-was-dead")
        leader.start()
        self.settled(swarm, 14)

        e.host.cut()  # a worker
        self.wait_for_state(a, "e", "down")
        self.settled(swarm, 14, through=[a], alive=swarm.others(e))
        e.host.heal()
        self.settled(swarm, 14)

        leader = swarm.leader()  # cut off with a worker: a minority
        for m in (leader, f):
            m.host.cut()
        rest = [m for m in swarm.machines if m not in (leader, f)]
        managers = [m for m in (a, b, c) if m is not leader]
        self.config(managers, "while-two-were-cut-off")
        self.settled(swarm, 14, through=managers, alive=rest)
        for m in (leader, f):
            m.host.heal()
        self.settled(swarm, 14)

        follower = next(m for m in (a, b, c) if m is not swarm.leader())  # a worker's and a manager's disk are new ones
        for m, role in ((g, "worker"), (follower, "manager")):
            others = [o for o in (a, b, c) if o is not m]
            through = swarm.leader(others)
            old = m.info()["NodeID"]
            m.wipe()
            if role == "manager":
                through.docker("node", "demote", old)
                harness.wait_for(lambda: "ManagerStatus" not in through.ask("GET", f"/nodes/{old}"), "it to be no manager")
            through.docker("node", "rm", "--force", old)
            m.join(through, "--advertise-addr", m.host.address, token=through.token(role))
            self.wait_for_state(through, m.name, "ready")
            through.docker("service", "update", "--detach", "--force", "web")
            self.settled(swarm, 14)
            self.assertTrue(m.containers(), f"{m.name} has work again")
        swarm.wait_for_managers(3)
        for m in swarm.machines:
            names = {s["Spec"]["Name"] for s in m.ask("GET", "/configs")}
            self.assertEqual(names, {"while-one-was-dead", "while-two-were-cut-off"}, m.name)


class Wrong(unittest.TestCase):
    """A service of five on three managers and two workers, and one thing that is wrong."""
    config, tasks, settled, wait_for_state = Cluster.config, Cluster.tasks, Cluster.settled, Cluster.wait_for_state

    def swarm(self, **options):
        swarm = machines.Swarm(self, "abcde", managers=3, heartbeat="2s", **options)
        swarm.machines[0].service("--name", "web", "--replicas", "5", "--restart-delay", "100ms")
        self.settled(swarm, 5)
        return swarm

    def replace_one(self, swarm, through):
        """What fails is replaced: the cluster decides and acts."""
        m = swarm.machines[4]
        harness.wait_for(lambda: m.containers(), "a container on e")
        one = next(iter(m.containers()))
        m.docker("kill", one)
        harness.wait_for(lambda: one not in m.containers(), "it to be dead")
        self.settled(swarm, 5, through=through)

    def test_clocks_jump(self):
        """The leader's an hour back and a day ahead, then a worker's, then that of who leads next: nothing waits for it, nor is lost or done twice."""
        swarm = self.swarm(clocks=True)
        leader = swarm.leader()
        before = {t["ID"] for t in self.tasks(swarm.machines)}
        for seconds in (-3600, 86400, 0):
            leader.set_clock(seconds)
            self.config([leader], f"at{seconds}")
            self.assertEqual({t["ID"] for t in self.tasks([leader])}, before)
            self.replace_one(swarm, [leader])
            before = {t["ID"] for t in self.tasks([leader])}
        leader.set_clock(86400)
        self.replace_one(swarm, [leader])  # its times are of tomorrow
        leader.die()
        rest = swarm.others(leader)
        successor = swarm.leader(rest[:2] if leader is swarm.machines[0] else [m for m in swarm.machines[:3] if m is not leader])
        self.config([successor], "by-another-clock")
        swarm.machines[4].set_clock(-3600)
        leader.set_clock(0)
        leader.start()
        self.replace_one(swarm, [successor])
        swarm.machines[3].host.cut()  # who is lost is seen to be
        self.wait_for_state(successor, "d", "down")
        successor.set_clock(-3600)
        swarm.machines[3].host.heal()
        self.settled(swarm, 5)

    def test_certificates_hold_within_their_time_by_every_clock(self):
        """Who joins an hour behind is let in; by a clock that is beyond their end certificates are refused, by name, and hold again afterwards."""
        swarm = machines.Swarm(self, "abc", clocks=True, join=False)
        a, b, c = swarm.machines
        b.set_clock(-1800)
        b.join(a)
        self.wait_for_state(a, "b", "ready")
        a.set_clock(100 * 86400)  # they are for 90 days
        b.kill9()
        b.start()
        harness.wait_for(lambda: b.info()["Error"], "b not to be heard")
        a.set_clock(0)
        harness.wait_for(lambda: not b.info()["Error"], "b to be heard again")

    def test_a_leaders_disk_is_slow(self):
        """Each write of its store takes long: what was acknowledged is there, what fails is replaced."""
        swarm = self.swarm()
        leader = swarm.leader()
        if not leader.slow_disk(10):
            self.skipTest("no cgroup that slows a disk (blkio)")
        through = swarm.machines[:3]
        for number in range(5):
            self.config(through, f"slow{number}")
        self.replace_one(swarm, through)
        leader.heal_disk()
        names = {s["Spec"]["Name"] for s in swarm.leader().ask("GET", "/configs")}
        self.assertEqual(names, {f"slow{number}" for number in range(5)})

    def test_a_leaders_cable_is_slow_or_loses_or_goes_one_way(self):
        swarm = self.swarm()
        managers = swarm.machines[:3]
        for fault in ("slow", "lose", "deafen", "mute"):
            leader = swarm.leader(managers)
            getattr(leader.host, fault)()
            self.config(managers, fault)
            rest = managers if fault in ("slow", "lose") else [m for m in managers if m is not leader]
            self.settled(swarm, 5, through=rest, alive=swarm.machines if fault in ("slow", "lose") else swarm.others(leader))
            leader.host.heal()
            self.settled(swarm, 5)
        names = {s["Spec"]["Name"] for s in swarm.leader(managers).ask("GET", "/configs")}
        self.assertEqual(names, {"slow", "lose", "deafen", "mute"})
