"""Machines with a Drover each, of one swarm: a network namespace (hosts.py) and a host name of its own for every one."""
import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

import harness
import hosts

STAYS = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]


def settable_clock(test):
    """clock.c as an object to preload; it goes with the test."""
    folder = tempfile.mkdtemp(prefix="drover-clock-")
    test.addCleanup(shutil.rmtree, folder)
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", f"{folder}/clock.so", os.path.join(os.path.dirname(os.path.abspath(__file__)), "clock.c")], check=True)
    return f"{folder}/clock.so"


class Machine(harness.Drover):
    def __init__(self, swarm, host):
        super().__init__(tempfile.mkdtemp(prefix=f"drover-hosts-{host.name}-"))
        self.swarm, self.host, self.name = swarm, host, host.name
        self.clock, self.disk_group = os.path.join(self.root, "clock"), None
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

    # --- what is asked of one that may not answer

    def get(self, path):
        """None: it has no answer."""
        status, _, body = self.api("GET", path)
        return json.loads(body) if status == 200 else None

    def leads(self):
        return any(n["ID"] == self.info()["NodeID"] for n in self.get("/nodes") or []
                   if n.get("ManagerStatus", {}).get("Leader"))

    def text(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    # --- its clock and its disk

    def set_clock_file(self, preload):
        with open(self.clock, "wb") as f:
            f.write(bytes(8))
        self.environment = {**os.environ, "LD_PRELOAD": preload, "DROVER_TEST_CLOCK": self.clock}

    def set_clock(self, seconds):
        """So much ahead of the true time, from now on; of one of a Swarm(clocks=True)."""
        with open(self.clock, "r+b") as f:
            f.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    def slow_disk(self, writes_per_second=20):
        """For what its store writes. False: this host has no cgroup that can."""
        if not os.path.exists("/sys/fs/cgroup/blkio/blkio.throttle.write_iops_device"):
            return False
        self.disk_group = f"/sys/fs/cgroup/blkio/{os.path.basename(self.root)}"
        os.makedirs(self.disk_group, exist_ok=True)
        device = os.stat(self.data).st_dev
        with open(f"{self.disk_group}/blkio.throttle.write_iops_device", "w") as f:
            f.write(f"{os.major(device)}:{os.minor(device)} {writes_per_second}")
        for pid in self.store():
            with contextlib.suppress(OSError), open(f"{self.disk_group}/cgroup.procs", "w") as f:
                f.write(str(pid))
        return True

    def heal_disk(self):
        if not self.disk_group:
            return

        def gone():
            with open(f"{self.disk_group}/cgroup.procs") as f:
                for pid in f.read().split():
                    with contextlib.suppress(OSError), open("/sys/fs/cgroup/blkio/cgroup.procs", "w") as root:
                        root.write(pid)
            with contextlib.suppress(OSError):
                os.rmdir(self.disk_group)
            return not os.path.exists(self.disk_group)
        harness.wait_for(gone, "the slow disk to end")
        self.disk_group = None

    # --- its end

    def store(self):
        """The pids of its `drover store run`: who watches, and who has the data."""
        found = []
        for pid in self.processes():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
                if words[1:3] == [b"store", b"run"]:
                    found.append(pid)
        return found

    def die(self):
        """serve and its store at once, as kill -9 of both; what runs in containers goes on."""
        store = self.store()
        for pid in [self.process.pid, *store]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        harness.wait_for(lambda: not any(harness.alive(pid) for pid in store), "the store to be gone")

    def wipe(self):
        """It dies, its disk is replaced, and it is installed anew."""
        self.machine_dies()
        harness.run([harness.DROVER, "shutdown", "--root", self.data])
        shutil.rmtree(self.data)
        self.start()
        self.busybox()


class Swarm:
    """The first `managers` of the machines manage, the others are workers. With start=False there are only the machines."""

    def __init__(self, test, names="ab", managers=1, join=True, heartbeat=None, arguments=(), clocks=False, start=True):
        self.test, self.net, self.manager_count = test, hosts.Network(test), managers
        self.machines = []
        test.addCleanup(self.remove)
        preload = settable_clock(test) if clocks else None
        for name in names:
            machine = Machine(self, self.net.host(name))
            self.machines.append(machine)
            if clocks:
                machine.set_clock_file(preload)
            if start:
                machine.start(*arguments)
                machine.busybox()
        if not start:
            return
        first = self.machines[0]
        first.docker("swarm", "init", "--advertise-addr", first.host.address)
        first.drover("cluster", "health", "memory=off", "io=off")  # they share one kernel's: what the test itself does is no node's illness
        if heartbeat:
            first.docker("swarm", "update", "--dispatcher-heartbeat", heartbeat)
        for number, machine in enumerate(self.machines[1:], 1):
            if join:
                machine.join(first, "--advertise-addr", machine.host.address, token=first.token("manager" if number < managers else "worker"))
        if join:
            self.wait_for_nodes(len(names))
        if managers > 1:
            self.wait_for_managers(managers)

    def wait_for_nodes(self, count):
        first = self.machines[0]
        harness.wait_for(lambda: [s for s, _ in first.nodes().values()].count("ready") == count, f"{count} nodes")

    def wait_for_managers(self, count):
        """Until the leader sees that all vote."""
        harness.wait_for(lambda: sum(status in ("Leader", "Reachable") for _, status in self.nodes(self.machines[0]).values()) == count,
                         f"{count} managers")

    def others(self, machine):
        return [m for m in self.machines if m is not machine]

    def leader(self, among=None):
        """The machine that says so itself; waits for one."""
        def look():
            for machine in among or self.machines:
                with contextlib.suppress(OSError, AssertionError, KeyError):
                    if machine.leads():
                        return machine
            return None
        return harness.wait_for(look, "a leader")

    def nodes(self, machine):
        """{name: (state, manager status)} as `docker node ls` has it, seen from one; by its id, what is no machine's any more."""
        names, out = {m.info()["NodeID"]: m.name for m in self.machines if m.process.poll() is None}, {}
        for line in machine.docker("node", "ls", "--format", "{{.ID}} {{.Status}} {{.ManagerStatus}}").out.splitlines():
            node, state, manager = re.split(" +", line + " ")[:3]
            out[names.get(node, node)] = (state, manager)
        return out

    def remove(self):
        for machine in self.machines:
            machine.host.heal()
            machine.heal_disk()
            if machine.process and machine.process.poll() is None:
                machine.process.send_signal(signal.SIGCONT)
        left = [text for text in (machine.remove() for machine in self.machines) if text]
        self.test.assertEqual(left, [], "left behind")


class Writer(threading.Thread):
    """Makes configs, one after the other, through whichever machine answers, until it is told to end."""

    def __init__(self, test, through, prefix="k"):
        super().__init__()
        self.test, self.machines, self.prefix, self.acknowledged, self.end = test, through, prefix, [], False
        test.addCleanup(self.finish)
        self.start()

    def run(self):
        number = 0
        while not self.end:
            number += 1
            name = f"{self.prefix}{number}"
            with contextlib.suppress(OSError):
                body = {"Name": name, "Data": base64.b64encode(name.encode()).decode()}
                if self.machines[number % len(self.machines)].api("POST", "/configs/create", body)[0] == 201:
                    self.acknowledged.append(name)

    def wait_for_more(self, count=3):
        want = len(self.acknowledged) + count
        harness.wait_for(lambda: len(self.acknowledged) >= want, f"{count} more writes")

    def finish(self):
        self.end = True
        self.join()
        return set(self.acknowledged)

    def check(self, machine):
        """What was acknowledged is there."""
        acknowledged = self.finish()
        have = {c["Spec"]["Name"] for c in machine.get("/configs")}
        self.test.assertEqual(sorted(acknowledged - have), [])
        self.test.assertGreater(len(acknowledged), 5)
