"""Networks of a swarm over several machines: names, virtual addresses and published ports lead to tasks on all of them."""
import json
import subprocess
import unittest

import harness
import machines

# Answers on port 80 with the name of its machine.
WEB = ["sh", "-c", "mkdir -p /tmp/w; echo $NODE >/tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w"]


class Traffic(unittest.TestCase):
    assert_clean_refusal = harness.Story.assert_clean_refusal

    def setUp(self):
        self.swarm = machines.Swarm(self)
        self.a, self.b = self.swarm.machines

    def web(self, replicas, *args):
        self.a.service("--name", "web", "--replicas", str(replicas), "--env", "NODE={{.Node.Hostname}}", *args, command=WEB)
        harness.wait_for(lambda: sum(self.a.running("web").values()) == replicas, f"{replicas} of web")

    def everywhere(self, name, *args):
        """{host name: container id} of a service with a task on each machine."""
        self.a.service("--name", name, "--mode", "global", *args)
        harness.wait_for(lambda: self.a.running(name) == {"a": 1, "b": 1}, f"{name} on each machine")
        return {t["Host"]: t["Status"]["ContainerStatus"]["ContainerID"] for t in self.a.tasks(name)}

    def fetch(self, machine, container, host):
        return machine.docker("exec", container, "timeout", "2", "wget", "-qO-", f"http://{host}/", check=False).out.strip()

    def seen(self, fetch, count=8):
        return {fetch() for _ in range(count)}

    def addresses(self, service):
        """{host name: the addresses of its tasks}"""
        found = {}
        for t in self.a.tasks(service):
            for attachment in t["NetworksAttachments"]:
                found.setdefault(t["Host"], []).extend(x.split("/")[0] for x in attachment["Addresses"])
        return found

    def test_names_and_virtual_addresses_lead_to_tasks_of_all_machines(self):
        self.a.docker("network", "create", "-d", "overlay", "mesh")
        self.web(4, "--network", "mesh")
        self.assertEqual(self.a.running("web"), {"a": 2, "b": 2})
        clients = self.everywhere("client", "--network", "mesh")
        for machine in (self.a, self.b):
            inside = clients[machine.host.name]
            harness.wait_for(lambda: self.seen(lambda: self.fetch(machine, inside, "web")) == {"a", "b"}, "both from " + machine.host.name)
            names = machine.docker("exec", inside, "nslookup", "tasks.web", check=False).out
            every = sorted(sum(self.addresses("web").values(), []))
            self.assertEqual(len(set(every)), 4)
            for address in every:
                self.assertIn(address, names)
                self.assertIn(self.fetch(machine, inside, address), ("a", "b"))

        # What ends on one machine is left out on the other.
        self.a.docker("service", "scale", "--detach", "web=1")
        harness.wait_for(lambda: sum(self.a.running("web").values()) == 1, "one of web")
        left = set(self.a.running("web"))
        for machine in (self.a, self.b):
            harness.wait_for(lambda: self.seen(lambda: self.fetch(machine, clients[machine.host.name], "web")) == left, "the one that is left")

        # And before it ends: nobody who asks meanwhile is turned away.
        self.a.docker("service", "scale", "--detach", "web=4")
        harness.wait_for(lambda: sorted(self.a.running("web")) == ["a", "b"] and sum(self.a.running("web").values()) == 4, "four again")
        ask = "n=0; while [ $n -lt 60 ]; do n=$((n+1)); timeout 2 wget -qO- http://web/ >/dev/null || echo failed; sleep 0.05; done"
        harness.wait_for(lambda: self.seen(lambda: self.fetch(self.a, clients["a"], "web")) == {"a", "b"}, "all to answer")
        asking = subprocess.Popen([self.a.cli, "exec", clients["a"], "sh", "-c", ask], env=self.a.env(), stdout=subprocess.PIPE)
        self.a.docker("service", "scale", "--detach", "web=1")
        self.assertEqual(asking.communicate()[0], b"")

        # A network that is removed is gone everywhere, with its routes.
        self.a.docker("service", "rm", "web", "client")
        self.a.docker("network", "rm", "mesh")
        for machine in (self.a, self.b):
            harness.wait_for(lambda: "mesh" not in machine.docker("network", "ls", "--format", "{{.Name}}").out, "the network's end")
            routes = harness.run([*machine.host.inside(["ip", "route"])]).out
            self.assertNotIn(" via ", routes)

    def test_a_published_port_is_open_on_every_machine(self):
        self.web(1, "--publish", "8080:80")
        where = set(self.a.running("web"))
        for machine in (self.a, self.b):
            harness.wait_for(lambda: self.outside(machine) in where, "the port of " + machine.host.name)
        self.a.docker("service", "scale", "--detach", "web=4")
        harness.wait_for(lambda: self.a.running("web") == {"a": 2, "b": 2}, "two on each")
        for machine in (self.a, self.b):
            harness.wait_for(lambda: self.seen(lambda: self.outside(machine)) == {"a", "b"}, "both by " + machine.host.name)
        self.a.docker("service", "rm", "web")
        for machine in (self.a, self.b):
            harness.wait_for(lambda: self.outside(machine) is None, "the port to be closed")

    def outside(self, machine):
        try:
            return harness.http_get(f"http://{machine.host.address}:8080/", timeout=2)[1].strip()
        except OSError:
            return None

    def test_networks_are_apart_on_all_machines(self):
        for name in ("mine", "theirs"):
            self.a.docker("network", "create", "-d", "overlay", name)
        self.web(2, "--network", "mine")
        mine, theirs = self.everywhere("one", "--network", "mine"), self.everywhere("two", "--network", "theirs")
        for host, addresses in self.addresses("web").items():
            for machine in (self.a, self.b):
                for address in addresses:
                    harness.wait_for(lambda: self.fetch(machine, mine[machine.host.name], address) == host, "its own network")
                    self.assertEqual(self.fetch(machine, theirs[machine.host.name], address), "")
        for machine in (self.a, self.b):
            self.assertEqual(self.fetch(machine, theirs[machine.host.name], "web"), "")
            kept = json.loads(machine.docker("network", "inspect", "mine").out)[0]
            self.assertEqual(kept["Scope"], "swarm")
        self.assert_clean_refusal(self.b.docker("network", "create", "-d", "overlay", "third", check=False), "not a swarm manager")


class Leaders(unittest.TestCase):
    """The same while managers come and go."""

    def tasks(self, machine, name):
        """{machine: container} of the tasks that run."""
        query = json.dumps({"service": [name], "desired-state": ["running"]}).replace(" ", "%20")
        by_id = {m.info()["NodeID"]: m.name for m in self.swarm.machines if m.process.poll() is None}
        return {by_id.get(t.get("NodeID")): t["Status"]["ContainerStatus"]["ContainerID"] for t in machine.get(f"/tasks?filters={query}") or []
                if t["Status"]["State"] == "running"}

    def everywhere(self, machine, name, wanted):
        machine.docker("service", "create", "--detach", "--no-resolve-image", "--name", name, "--mode", "global", "--network", "mesh",
                       "--env", "NODE={{.Node.ID}}", "busybox", *WEB)
        harness.wait_for(lambda: wanted <= set(self.tasks(machine, name)), f"{name} on {wanted}")
        return self.tasks(machine, name)

    def answers(self, machine, container, host, wanted):
        ids = {m.info()["NodeID"]: m.name for m in self.swarm.machines if m.process.poll() is None}
        fetch = ["exec", container, "timeout", "2", "wget", "-qO-", f"http://{host}/"]
        harness.wait_for(lambda: wanted <= {ids.get(machine.docker(*fetch, check=False).out.strip()) for _ in range(9)},
                         f"{host} of {wanted} from {machine.name}")

    def test_networks_and_names_outlive_their_leader(self):
        self.swarm = machines.Swarm(self, "abc", managers=3)
        leader = self.swarm.leader()
        one, two = self.swarm.others(leader)
        one.docker("network", "create", "-d", "overlay", "mesh")  # passed on
        first = self.everywhere(two, "web", {"a", "b", "c"})
        for machine in self.swarm.machines:
            self.answers(machine, first[machine.name], "web", {"a", "b", "c"})
        leader.die()
        both = {one.name, two.name}
        self.swarm.leader([one, two])
        for machine in (one, two):
            self.answers(machine, first[machine.name], "web", both)
        later = self.everywhere(two, "late", both)
        for machine in (one, two):
            self.answers(machine, first[machine.name], "late", both)
            self.answers(machine, later[machine.name], "web", both)
        leader.start()
        harness.wait_for(lambda: len(self.tasks(two, "late")) == 3, "the third to be back")
        for machine in (one, two):
            self.answers(machine, later[machine.name], "late", {"a", "b", "c"})
        follower = self.swarm.others(self.swarm.leader())[0]
        follower.docker("service", "rm", "web", "late")
        follower.docker("network", "rm", "mesh")
        for machine in self.swarm.machines:
            harness.wait_for(lambda: "mesh" not in machine.docker("network", "ls", "--format", "{{.Name}}").out, "the network's end")
