"""Machines with a Drover each, of one swarm: a network namespace and a host name of its own for every one."""
import json

import harness
import hosts

STAYS = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]


class Machine(harness.Drover):
    def __init__(self, swarm, host):
        super().__init__()
        self.swarm, self.host = swarm, host
        self.inside = host.inside(["unshare", "--uts", "sh", "-c", f'hostname {host.name}; exec "$@"', "sh"])

    def ask(self, method, path, body=None):
        """The answer's body; an error status is a failure."""
        status, _, content = self.api(method, path, body)
        if status >= 300:
            raise AssertionError(f"{method} {path}: {status} {content!r}")
        return json.loads(content) if content.strip() else None

    def info(self):
        return self.ask("GET", "/info")["Swarm"]

    def token(self, role="worker"):
        return self.docker("swarm", "join-token", "-q", role).out.strip()

    def join(self, manager, *args, token=None, check=True):
        return self.docker("swarm", "join", "--token", token or manager.token(), *args, f"{manager.host.address}:2377", check=check)

    def nodes(self):
        """{host name: (state, availability)}, as this machine knows them."""
        return {n["Description"]["Hostname"]: (n["Status"]["State"], n["Spec"]["Availability"]) for n in self.ask("GET", "/nodes")}

    def node(self, name):
        return next(n for n in self.ask("GET", "/nodes") if n["Description"]["Hostname"] == name)

    def service(self, *args, command=STAYS, image="busybox"):
        return self.docker("service", "create", "--detach", "--no-resolve-image", *args, image, *command).out.strip()

    def tasks(self, service):
        """Those that are to run, each with the name of its node as "Host"."""
        names = {n["ID"]: n["Description"]["Hostname"] for n in self.ask("GET", "/nodes")}
        filters = json.dumps({"service": [service], "desired-state": ["running"]}).replace(" ", "%20")
        return [{**t, "Host": names.get(t.get("NodeID"))} for t in self.ask("GET", f"/v1.41/tasks?filters={filters}")]

    def running(self, service):
        """{host name: how many}"""
        hosts_of = [t["Host"] for t in self.tasks(service) if t["Status"]["State"] == "running"]
        return {name: hosts_of.count(name) for name in sorted(set(hosts_of))}

    def containers(self):
        """Ids of those that run here and are tasks."""
        return set(self.docker("ps", "-q", "--no-trunc", "--filter", "label=com.docker.swarm.task.id").out.split())


class Swarm:
    """The first machine is its manager, the others have joined it as workers."""

    def __init__(self, test, names="ab", join=True, heartbeat=None, arguments=()):
        self.test, self.net = test, hosts.Network(test)
        self.machines = []
        test.addCleanup(self.remove)
        for name in names:
            machine = Machine(self, self.net.host(name))
            self.machines.append(machine)
            machine.start(*arguments)
            machine.busybox()
        first = self.machines[0]
        first.docker("swarm", "init", "--advertise-addr", first.host.address)
        if heartbeat:
            first.docker("swarm", "update", "--dispatcher-heartbeat", heartbeat)
        for machine in self.machines[1:] if join else ():
            machine.join(first)
        if join:
            self.wait_for_nodes(len(names))

    def wait_for_nodes(self, count):
        first = self.machines[0]
        harness.wait_for(lambda: [s for s, _ in first.nodes().values()].count("ready") == count, f"{count} nodes")

    def remove(self):
        left = [text for text in (machine.remove() for machine in self.machines) if text]
        self.test.assertEqual(left, [], "left behind")
