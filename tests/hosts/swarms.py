"""A swarm of machines: `drover serve` on hosts of their own (hosts.py), told to through the docker CLI."""
import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile

import harness
import hosts


class Machine(harness.Drover):
    def __init__(self, host):
        super().__init__(tempfile.mkdtemp(prefix=f"drover-hosts-{host.name}-"))
        self.host, self.name = host, host.name

    def start(self, *args):
        real = subprocess.Popen
        try:
            subprocess.Popen = lambda argv, **options: real(self.host.inside(argv), **options)
            return super().start(*args)
        finally:
            subprocess.Popen = real

    def die(self):
        """serve and its store at once, as kill -9 of both; what runs in containers goes on."""
        store = self.store()
        for pid in [self.process.pid, *store]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        harness.wait_for(lambda: not any(harness.alive(pid) for pid in store), "the store to be gone")

    def store(self):
        """The pids of its `drover store run`: who watches, and who has the data."""
        found = []
        for pid in self.processes():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
                if words[1:3] == [b"store", b"run"]:
                    found.append(pid)
        return found

    def get(self, path):
        status, _, body = self.api("GET", path)
        return json.loads(body) if status == 200 else None

    def info(self):
        return self.get("/info")["Swarm"]

    def leads(self):
        return any(n["ID"] == self.info()["NodeID"] for n in self.get("/nodes") or []
                   if n.get("ManagerStatus", {}).get("Leader"))

    def text(self):
        with open(self.log, errors="replace") as log:
            return log.read()


class Swarm:
    """`managers` machines that manage, and `workers` that do not, as a, b, c, ..."""

    def __init__(self, test, managers=3, workers=0, busybox=True):
        self.test, self.net = test, hosts.Network(test)
        self.machines = [Machine(self.net.host("abcdefghij"[i])) for i in range(managers + workers)]
        test.addCleanup(self.close)
        for machine in self.machines:
            machine.start()
            if busybox:
                machine.busybox()
        first = self.machines[0]
        first.docker("swarm", "init", "--advertise-addr", first.host.address)
        for number, machine in enumerate(self.machines[1:], 1):
            self.join(machine, "manager" if number < managers else "worker")

    def join(self, machine, role):
        via = next(m for m in self.machines if m is not machine and m.process.poll() is None and m.get("/swarm"))
        token = via.docker("swarm", "join-token", "-q", role).out.strip()
        machine.docker("swarm", "join", "--advertise-addr", machine.host.address, "--token", token, f"{via.host.address}:2377")
        if role == "manager":
            harness.wait_for(lambda: self.nodes(via).get(machine.name, ("", ""))[1] == "Reachable", "the leader to see its vote")

    def leader(self, among=None):
        """The machine that says so itself; waits for one."""
        def look():
            for machine in among or self.machines:
                with contextlib.suppress(OSError, TypeError, KeyError):
                    if machine.leads():
                        return machine
            return None
        return harness.wait_for(look, "a leader")

    def others(self, machine):
        return [m for m in self.machines if m is not machine]

    def nodes(self, machine):
        """{name of the machine: (state, manager status)} as `docker node ls` has it, seen from one."""
        out = {}
        by_id = {m.info()["NodeID"]: m.name for m in self.machines if m.process.poll() is None}
        for line in machine.docker("node", "ls", "--format", "{{.ID}} {{.Status}} {{.ManagerStatus}}").out.splitlines():
            words = re.split(" +", line.strip())
            out[by_id.get(words[0], words[0])] = (words[1], words[2] if len(words) > 2 else "")
        return out

    def close(self):
        for machine in self.machines:
            machine.host.heal()
        for machine in self.machines:
            if machine.process and machine.process.poll() is None:
                machine.process.send_signal(signal.SIGCONT)
        left = [text for text in (machine.remove() for machine in self.machines) if text]
        self.test.assertEqual(left, [])
