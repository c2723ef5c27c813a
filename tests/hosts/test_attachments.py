"""Containers that are no tasks on attachable networks of a swarm: `docker run --network NAME` on any of its machines."""
import json
import os
import subprocess
import unittest

import harness
import machines

# Answers on port 80 with its host name, which is the name that it was given.
WEB = ["sh", "-c", "mkdir -p /tmp/w; hostname >/tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w"]


def start(machine, name, *args, network="mesh", command=WEB):
    machine.docker("run", "-d", "--name", name, "--hostname", name, "--stop-signal", "KILL", "--network", network, *args, "busybox", *command)


def address(machine, name, network="mesh"):
    return machine.inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"]


def fetch(machine, name, host):
    return machine.docker("exec", name, "timeout", "2", "wget", "-qO-", f"http://{host}/", check=False).out.strip()


def reaches(machine, name, host, answer):
    harness.wait_for(lambda: fetch(machine, name, host) == answer, f"{host} from {name}")


def cannot_reach(machine, name, host):
    harness.wait_for(lambda: fetch(machine, name, host) == "", f"no {host} from {name}")


class Attachments(unittest.TestCase):
    assert_clean_refusal = harness.Story.assert_clean_refusal

    def setUp(self):
        self.swarm = machines.Swarm(self)
        self.a, self.b = self.swarm.machines
        self.a.docker("network", "create", "-d", "overlay", "--attachable", "mesh")
        self.has_network(self.b)

    def has_network(self, machine, name="mesh"):
        harness.wait_for(lambda: name in machine.docker("network", "ls", "--format", "{{.Name}}").out.split(), f"{name} on {machine.name}")

    def given(self, name="mesh"):
        """{container's name: its address} on each machine, of `docker network inspect`."""
        return {machine.name: {c["Name"]: c["IPv4Address"].split("/")[0] for c in json.loads(machine.docker("network", "inspect", name).out)[0]["Containers"].values()}
                for machine in self.swarm.machines}

    def test_containers_of_all_machines_reach_each_other_by_name(self):
        start(self.a, "one", "--network-alias", "first")
        start(self.b, "two", "--network-alias", "second")
        start(self.b, "three")
        given = self.given()
        self.assertEqual({m: sorted(c) for m, c in given.items()}, {"a": ["one"], "b": ["three", "two"]})
        every = [x for c in given.values() for x in c.values()]
        self.assertEqual(len(set(every)), 3, given)
        self.assertEqual(address(self.b, "two"), given["b"]["two"])
        for host in ("two", "second", "two.mesh", given["b"]["two"], self.b.inspect("two")["Id"][:12]):
            reaches(self.a, "one", host, "two")
        for host in ("one", "first", given["a"]["one"]):
            reaches(self.b, "two", host, "one")
        reaches(self.b, "three", "two", "two")

        # Services and containers see each other.
        self.a.service("--name", "web", "--replicas", "2", "--hostname", "task", "--network", "mesh", command=WEB)
        harness.wait_for(lambda: self.a.running("web") == {"a": 1, "b": 1}, "web on each")
        for machine, name in ((self.a, "one"), (self.b, "two")):
            for _ in range(4):  # in turn: those of both machines
                reaches(machine, name, "web", "task")
            tasks = machine.docker("exec", name, "nslookup", "tasks.web", check=False).out
            for task in self.a.tasks("web"):
                at = task["NetworksAttachments"][0]["Addresses"][0].split("/")[0]
                self.assertIn(at, tasks)
                self.assertNotIn(at, every)
                reaches(machine, name, at, "task")
        for task in self.a.tasks("web"):
            machine = {"a": self.a, "b": self.b}[task["Host"]]
            for host in ("one", "two"):
                reaches(machine, task["Status"]["ContainerStatus"]["ContainerID"], host, host)
        self.a.docker("service", "rm", "web")

        # A name follows its container, and goes with it.
        self.b.docker("rename", "two", "renamed")
        reaches(self.a, "one", "renamed", "two")
        self.b.docker("network", "disconnect", "mesh", "three")
        cannot_reach(self.a, "one", "three")
        cannot_reach(self.b, "renamed", "three")
        self.b.docker("network", "connect", "--alias", "again", "mesh", "three")
        for machine, name in ((self.a, "one"), (self.b, "renamed")):
            reaches(machine, name, "again", "three")
        self.b.docker("rm", "-f", "three")
        cannot_reach(self.a, "one", "three")
        self.b.docker("restart", "-t", "0", "renamed")
        reaches(self.a, "one", "renamed", "two")

    def test_a_network_in_use_stays_and_one_that_is_not_attachable_takes_no_container(self):
        start(self.b, "two")
        self.assert_clean_refusal(self.a.docker("network", "rm", "mesh", check=False), "is in use by")
        self.b.docker("rm", "-f", "two")
        self.a.docker("network", "rm", "mesh")
        harness.wait_for(lambda: "mesh" not in self.b.docker("network", "ls", "--format", "{{.Name}}").out, "the network's end")
        self.a.docker("network", "create", "-d", "overlay", "closed")
        refused = self.a.docker("run", "--rm", "--network", "closed", "busybox", "true", check=False)
        self.assert_clean_refusal(refused, "Could not attach to network closed: rpc error: code = PermissionDenied desc = network closed not manually attachable")

    def test_they_are_put_back_after_a_kill_and_a_reboot(self):
        start(self.a, "one", "--restart", "always")
        start(self.b, "two", "--restart", "always")
        before = self.given()
        # What runs is taken over with its address, and so is its name.
        self.b.kill9()
        self.b.start()
        reaches(self.a, "one", "two", "two")
        reaches(self.b, "two", "one", "one")
        self.assertEqual(self.given(), before)
        # The worker's machine goes down: its container comes back with its address.
        self.b.machine_dies()
        self.b.start()
        reaches(self.a, "one", "two", "two")
        reaches(self.b, "two", "one", "one")
        self.assertEqual(self.given(), before)
        # And while nobody leads: the address is the container's until it is given back.
        self.a.kill9()
        self.b.machine_dies()
        self.b.start()
        harness.wait_for(lambda: self.b.inspect("two")["State"]["Running"], "two to run")
        self.assertEqual(address(self.b, "two"), before["b"]["two"])
        self.a.start()
        for machine, name, other in ((self.a, "one", "two"), (self.b, "two", "one")):
            reaches(machine, name, other, other)
        # The leader's own machine.
        self.a.machine_dies()
        self.a.start()
        for machine, name, other in ((self.b, "two", "one"), (self.a, "one", "two")):
            reaches(machine, name, other, other)
        self.assertEqual(self.given(), before)

    def test_addresses_are_given_once_and_again(self):
        """A subnet of five addresses, of which a container gets any but not one that another has."""
        self.a.docker("network", "create", "-d", "overlay", "--attachable", "--subnet", "10.88.0.0/29", "small")
        self.has_network(self.b, "small")
        where = {f"c{number}": (self.a, self.b)[number % 2] for number in range(5)}
        for name, machine in where.items():
            machine.docker("create", "--name", name, "--stop-signal", "KILL", "--network", "small", "busybox", *WEB)
        for _ in range(2):
            for name, machine in where.items():  # those of before are given back when the leader knows of their end
                harness.wait_for(lambda: machine.docker("start", name, check=False).status == 0, f"an address for {name}")
            given = self.given("small")
            self.assertEqual(sorted(x for c in given.values() for x in c.values()), [f"10.88.0.{n}" for n in range(2, 7)])
            refused = self.a.docker("run", "--rm", "--network", "small", "busybox", "true", check=False)
            self.assert_clean_refusal(refused, "no available IPv4 addresses on network small")
            for name, machine in where.items():
                machine.docker("stop", name)
        start(self.b, "wishes", "--ip", "10.88.0.5", network="small")
        self.assertEqual(address(self.b, "wishes", "small"), "10.88.0.5")
        self.assert_clean_refusal(self.a.docker("run", "--rm", "--network", "small", "--ip", "10.88.0.5", "busybox", "true", check=False), "Address already in use")


class OfManyManagers(unittest.TestCase):
    def test_addresses_outlive_their_leader(self):
        self.swarm = machines.Swarm(self, "abc", managers=3)
        leader = self.swarm.leader()
        one, two = self.swarm.others(leader)
        one.docker("network", "create", "-d", "overlay", "--attachable", "mesh")
        start(one, "one")
        start(two, "two")
        reaches(one, "one", "two", "two")
        leader.die()
        self.swarm.leader([one, two])
        start(one, "later")
        start(two, "last")
        every = [address(m, name) for m, name in ((one, "one"), (two, "two"), (one, "later"), (two, "last"))]
        self.assertEqual(len(set(every)), 4, every)
        for machine, name, other in ((one, "later", "last"), (two, "last", "later"), (one, "one", "last"), (two, "two", "one")):
            reaches(machine, name, other, other)
        leader.start()
        start(leader, "third")
        for machine, name, other in ((leader, "third", "one"), (two, "last", "third")):
            reaches(machine, name, other, other)


class OfOneEngine(unittest.TestCase):
    """The same through the cluster's endpoint, with a client's certificate."""

    def docker(self, *args):
        env = {**os.environ, "DOCKER_HOST": f"tcp://{self.a.host.address}:2377", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": self.certificates}
        done = subprocess.run(self.c.host.inside(["docker", *args]), env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 0, f"docker {args}: {done.stdout}{done.stderr}")
        return done.stdout

    def test_containers_are_run_on_and_connected_to_a_network_of_all_machines(self):
        self.swarm = machines.Swarm(self, "abc")
        self.a, self.b, self.c = self.swarm.machines
        self.certificates = os.path.join(self.a.root, "client")
        self.a.drover("cluster", "client", "somebody", self.certificates)
        self.docker("network", "create", "-d", "overlay", "--attachable", "mesh")
        for name in ("b", "c"):
            self.docker("run", "-d", "--name", f"on-{name}", "--hostname", f"on-{name}", "--stop-signal", "KILL", "-e", f"constraint:node=={name}", "--network", "mesh", "busybox", *WEB)
        self.docker("run", "-d", "--name", "late", "--hostname", "late", "--stop-signal", "KILL", "-e", "constraint:node==b", "busybox", *WEB)
        reaches(self.b, "on-b", "on-c", "on-c")
        reaches(self.c, "on-c", "on-b", "on-b")
        self.docker("network", "connect", "--alias", "other", "mesh", "late")
        for host in ("late", "other"):
            reaches(self.c, "on-c", host, "late")
        self.docker("network", "disconnect", "mesh", "late")
        cannot_reach(self.c, "on-c", "late")
        self.docker("rm", "-f", "on-b", "on-c", "late")
        self.docker("network", "rm", "mesh")
