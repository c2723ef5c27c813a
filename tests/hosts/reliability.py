"""Clients write and read through every machine of a swarm while machines are killed, stopped and cut off; then what was acknowledged
is looked for, and what runs is counted. In the manner of Jepsen; docs/reliability.md has what it found.

    make reliability RUNS=5
    unshare --net python3 tests/hosts/reliability.py [--seed N] [--runs N] [--faults N] [--workers N]

Each run has its own seed, which it prints: what fails when, and whom clients ask, follows from it; the machine's own timing does not.
A run that breaks a rule prints it, and the exit code is 1. What counts:
    a config that was acknowledged is there, and one whose removal was acknowledged is not;
    a counter (a label of a service, changed at the version that was read) has every acknowledged step once;
    no manager that was cut off acknowledges anything that the others do not have;
    after all is healed, each slot of a service has one container, and there are no others."""
import argparse
import base64
import contextlib
import http.client
import json
import os
import random
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../story"))
sys.dont_write_bytecode = True

import harness  # noqa: E402
import machines  # noqa: E402

STAYS = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"]
REPLICAS, CLIENTS = 5, 3
# The statuses that say that nothing was done; any other failure leaves it open.
REFUSED = (400, 404, 409)


class Client(threading.Thread):
    """Asks one after the other, through machines in an order of its own."""

    def __init__(self, number, run):
        super().__init__(daemon=True)
        self.run_, self.rng = run, random.Random(f"{run.seed} {number}")
        self.prefix = f"s{run.seed}-c{number}-"
        self.there, self.gone, self.open = set(), set(), set()
        self.steps, self.open_steps, self.asked, self.refused, self.stale = 0, 0, 0, 0, 0
        self.end = False

    def ask(self, method, path, body=None):
        self.asked += 1
        try:
            status, _, content = self.rng.choice(self.run_.machines).api(method, path, body)
        except (OSError, http.client.HTTPException):
            return 0, None
        try:
            return status, json.loads(content) if content.strip() else None
        except ValueError:
            return status, None

    def run(self):
        acts = (self.create, self.create, self.create, self.remove, self.step, self.read)
        number = 0
        while not self.end:
            number += 1
            self.rng.choice(acts)(number)

    def create(self, number):
        name = f"{self.prefix}{number}"
        status, _ = self.ask("POST", "/configs/create", {"Name": name, "Data": base64.b64encode(name.encode()).decode()})
        if status == 201:
            self.there.add(name)
        elif status not in REFUSED:
            self.open.add(name)

    def remove(self, _):
        if not self.there:
            return
        name = self.rng.choice(sorted(self.there))
        status, _ = self.ask("DELETE", f"/configs/{name}")
        if status == 204:
            self.there.discard(name)
            self.gone.add(name)
        elif status not in REFUSED:
            self.there.discard(name)
            self.open.add(name)

    def step(self, _):
        status, service = self.ask("GET", "/services/counter")
        if status != 200:
            return
        spec = service["Spec"]
        labels = spec.setdefault("Labels", {}) or {}
        spec["Labels"] = {**labels, "n": str(int(labels.get("n", "0")) + 1)}
        status, _ = self.ask("POST", f"/services/counter/update?version={service['Version']['Index']}", spec)
        if status == 200:
            self.steps += 1
        elif status in REFUSED or status == 500:  # of another version
            self.refused += 1
        else:
            self.open_steps += 1

    def read(self, _):
        """What a leader that was just replaced tells may be old: counted, and no fault."""
        known = set(self.there)
        status, configs = self.ask("GET", "/configs")
        if status == 200 and known - {c["Spec"]["Name"] for c in configs}:
            self.stale += 1


class Run:
    def __init__(self, swarm, seed, faults):
        self.swarm, self.machines, self.seed, self.faults = swarm, swarm.machines, seed, faults
        self.rng = random.Random(seed)
        self.managers, self.told, self.stale = self.machines[:3], [], 0

    # --- what goes wrong

    def kill_serve(self, m):
        m.process.kill()
        m.process.wait()

    def kill_all(self, m):
        m.die()

    def cut(self, m):
        m.host.cut()

    def cut_one_way(self, m):
        m.host.cut_from(self.rng.choice(self.swarm.others(m)).host)

    def cut_two(self, m):
        """With it another one, so that a majority may be gone for a while."""
        m.host.cut()
        self.rng.choice(self.swarm.others(m)).host.cut()

    def stand_still(self, m):
        for pid in (m.process.pid, *m.store()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def heal(self):
        for m in self.machines:
            m.host.heal()
            for pid in m.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            if m.process.poll() is not None:
                m.start()

    def disturb(self):
        acts = (self.kill_serve, self.kill_all, self.cut, self.cut_one_way, self.cut_two, self.stand_still)
        for _ in range(self.faults):
            act, pause, length = self.rng.choice(acts), self.rng.uniform(0.2, 2), self.rng.uniform(0.5, 8)
            machine = self.rng.choice(self.managers if self.rng.random() < 0.7 else self.machines)
            time.sleep(pause)
            act(machine)
            self.told.append(f"{act.__name__} {machine.name} {length:.1f}s")
            time.sleep(length)
            self.heal()

    # --- what must hold

    def answer(self, machine, path):
        """Of a machine that may have to wait for a leader."""
        return harness.wait_for(lambda: [a for a in [machine.get(path)] if a is not None], f"{machine.name} to answer {path}", deadline=600)[0]

    def configs(self, machine, clients):
        """What it has, once that is not what a replaced leader had: that is a stale read, however late it comes."""
        there = set().union(*(c.there for c in clients))

        def look():
            self.have = {c["Spec"]["Name"] for c in self.answer(machine, "/configs")}
            self.stale += bool(there - self.have)
            return there <= self.have
        with contextlib.suppress(AssertionError):
            harness.wait_for(look, "stale reads to end", deadline=30)
        return self.have

    def count(self):
        return int((self.answer(self.machines[0], "/services/counter")["Spec"]["Labels"] or {}).get("n", "0"))

    def containers(self):
        found = []
        for m in self.machines:
            status, _, body = m.api("GET", "/containers/json?filters=" + json.dumps({"label": ["com.docker.swarm.service.name=web"]}).replace(" ", ""))
            if status != 200:
                return None
            found += [c["Labels"]["com.docker.swarm.task.id"] for c in json.loads(body)]
        return sorted(found)

    def tasks(self, machine):
        query = json.dumps({"service": ["web"], "desired-state": ["running"]}).replace(" ", "")
        return machine.get(f"/v1.41/tasks?filters={query}")

    def settled(self):
        """Desired is observed: a task for each slot, all run, and these containers and no others."""
        with contextlib.suppress(OSError):
            tasks = self.tasks(self.machines[-1]) or []
            return (sorted(t["Slot"] for t in tasks) == list(range(1, REPLICAS + 1)) and all(t["Status"]["State"] == "running" for t in tasks)
                    and sorted(t["ID"] for t in tasks) == self.containers())
        return False

    def check(self, clients):
        broken = []
        for m in self.machines:
            have = self.configs(m, clients)
            for c in clients:
                broken += [f"{name} was acknowledged, and is not on {m.name}" for name in sorted(c.there - have)]
                broken += [f"{name} was removed, and is on {m.name}" for name in sorted(c.gone & have)]
                broken += [f"{name} is on {m.name}, and nobody made it" for name in sorted(n for n in have if n.startswith(c.prefix))
                           if name not in c.there | c.open]
        steps, most = sum(c.steps for c in clients), sum(c.steps + c.open_steps for c in clients)
        counted = self.count() - self.before
        if not steps <= counted <= most:
            broken.append(f"the counter went {counted} steps; {steps} were acknowledged, and {most - steps} more may have been done")
        return broken

    def go(self):
        self.before = self.count()
        clients = [Client(number, self) for number in range(CLIENTS)]
        for c in clients:
            c.start()
        try:
            self.disturb()
        finally:
            self.heal()
        healed = time.monotonic()
        harness.wait_for(self.settled, f"seed {self.seed}: what runs to be what is wanted", deadline=600)
        settled = time.monotonic() - healed
        for c in clients:
            c.end = True
        for c in clients:
            c.join()
        broken = self.check(clients)
        for c in clients:
            for name in c.there:
                self.machines[0].api("DELETE", f"/configs/{name}")
        print(json.dumps({"seed": self.seed, "faults": self.told, "asked": sum(c.asked for c in clients),
                          "configs": sum(len(c.there) + len(c.gone) for c in clients), "open": sum(len(c.open) for c in clients),
                          "steps": sum(c.steps for c in clients), "refused_steps": sum(c.refused for c in clients),
                          "stale_reads": self.stale + sum(c.stale for c in clients), "settled_s": round(settled, 1), "broken": broken}), flush=True)
        return not broken


def prepare(swarm):
    first = swarm.machines[0]
    first.docker("service", "create", "--detach", "--no-resolve-image", "--name", "web", "--replicas", str(REPLICAS), "--restart-delay", "100ms", "busybox", *STAYS)
    first.docker("service", "create", "--detach", "--no-resolve-image", "--name", "counter", "--replicas", "0", "busybox", *STAYS)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10 ** 9), help="of the first run; the next has one more")
    p.add_argument("--runs", type=int, default=1)
    p.add_argument("--faults", type=int, default=4, help="in each run")
    p.add_argument("--workers", type=int, default=2)
    args = p.parse_args()
    test, good = unittest.TestCase(), 0
    try:
        swarm = machines.Swarm(test, "abcdefgh"[:3 + args.workers], managers=3)
        prepare(swarm)
        for n in range(args.runs):
            good += Run(swarm, args.seed + n, args.faults).go()
    finally:
        test.doCleanups()
    print(f"{good} of {args.runs} runs broke no rule")
    return 0 if good == args.runs else 1


if __name__ == "__main__":
    sys.exit(main())
