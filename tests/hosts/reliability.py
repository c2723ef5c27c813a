"""Clients write and read through every machine of a swarm while machines are killed, stopped and cut off; then what was acknowledged
is looked for, and what runs is counted. In the manner of Jepsen; docs/reliability.md has what it found.

    make reliability RUNS=5
    unshare --net python3 tests/hosts/reliability.py [--seed N] [--runs N] [--faults N] [--workers N]

Each run has its own seed, which it prints: what fails when, and whom clients ask, follows from it; the machine's own timing does not.
A run that breaks a rule prints it, and the exit code is 1. What counts:
    a config that was acknowledged is there, and one whose removal was acknowledged is not;
    a counter (a label of a service, changed at the version that was read) has every acknowledged step once;
    no manager that was cut off acknowledges anything that the others do not have;
    no answer is old: what was acknowledged, or shown, before a question is in its answer, whoever asked, and whoever answers;
    a task is replaced only when its machine was lost to the leader, which takes longer than these faults do;
    after all is healed, each slot of a service has one container, and there are no others."""
import argparse
import base64
import collections
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
REFUSED = (400, 403, 404, 409)


class Known:
    """What any client was told: the least that an answer to a question asked from now on must have."""

    def __init__(self):
        self.lock, self.configs, self.count = threading.Lock(), set(), 0

    def saw(self, count):
        with self.lock:
            self.count = max(self.count, count)

    def made(self, name):
        with self.lock:
            self.configs.add(name)

    def about_to_remove(self, name):
        with self.lock:
            self.configs.discard(name)

    def least(self):
        with self.lock:
            return self.count, set(self.configs)


class Client(threading.Thread):
    """Asks one after the other, through machines in an order of its own."""

    def __init__(self, number, run):
        super().__init__(daemon=True)
        self.run_, self.rng = run, random.Random(f"{run.seed} {number}")
        self.prefix = f"s{run.seed}-c{number}-"
        self.there, self.gone, self.open = set(), set(), set()
        self.steps, self.open_steps, self.asked, self.refused, self.reads, self.stale = 0, 0, 0, 0, 0, []
        self.end, self.said = False, collections.Counter()  # what was said instead of an answer

    def ask(self, method, path, body=None):
        self.asked += 1
        try:
            self.asked_of = self.rng.choice(self.run_.machines)
            status, _, content = self.asked_of.api(method, path, body)
        except (OSError, http.client.HTTPException) as e:
            self.said[type(e).__name__] += 1
            return 0, None
        try:
            answer = json.loads(content) if content.strip() else None
        except ValueError:
            answer = None
        if status >= 300:
            said = (answer or {}).get("message", "")
            self.said[f"{status} {said[:70]}"] += 1
            if "not a swarm manager" in said:
                status = 403
        return status, answer

    def run(self):
        acts = (self.create, self.create, self.create, self.remove, self.step, self.step, self.read_configs, self.read_count)
        number = 0
        while not self.end:
            number += 1
            self.rng.choice(acts)(number)
            time.sleep(self.rng.uniform(0, 0.04))  # several swarms may have to share a machine

    def create(self, number):
        name = f"{self.prefix}{number}"
        status, _ = self.ask("POST", "/configs/create", {"Name": name, "Data": base64.b64encode(name.encode()).decode()})
        if status == 201:
            self.there.add(name)
            self.run_.known.made(name)
        elif status not in REFUSED:
            self.open.add(name)

    def remove(self, _):
        if not self.there:
            return
        name = self.rng.choice(sorted(self.there))
        self.run_.known.about_to_remove(name)
        status, _ = self.ask("DELETE", f"/configs/{name}")
        if status == 204:
            self.there.discard(name)
            self.gone.add(name)
        elif status not in REFUSED:
            self.there.discard(name)
            self.open.add(name)
        else:
            self.run_.known.made(name)

    def look(self):
        """The counter's service; its count is not below what was known when it was asked."""
        least, _ = self.run_.known.least()
        status, service = self.ask("GET", "/services/counter")
        if status != 200:
            return None
        self.reads += 1
        count = count_of(service)
        if count < least:
            self.stale.append(f"{self.asked_of.name} said that the counter is at {count}; {least} had been acknowledged or shown")
        self.run_.known.saw(count)
        return service

    def read_count(self, _):
        self.look()

    def step(self, _):
        service = self.look()
        if not service:
            return
        spec, count = service["Spec"], count_of(service) + 1
        spec["Labels"] = {**(spec.get("Labels") or {}), "n": str(count)}
        status, _ = self.ask("POST", f"/services/counter/update?version={service['Version']['Index']}", spec)
        if status == 200:
            self.steps += 1
            self.run_.known.saw(count)
        elif status in REFUSED or status == 500:  # of another version
            self.refused += 1
        else:
            self.open_steps += 1

    def read_configs(self, _):
        _, known = self.run_.known.least()
        status, configs = self.ask("GET", "/configs")
        if status != 200:
            return
        self.reads += 1
        missing = known - {c["Spec"]["Name"] for c in configs}
        missing &= self.run_.known.least()[1]  # one that was about to be removed meanwhile may be gone
        if missing:
            self.stale.append(f"{self.asked_of.name} did not show {', '.join(sorted(missing))}, which had been acknowledged")


def count_of(service):
    return int((service["Spec"].get("Labels") or {}).get("n", "0"))


class Run:
    def __init__(self, swarm, seed, faults, verbose=False):
        self.swarm, self.machines, self.seed, self.faults = swarm, swarm.machines, seed, faults
        self.rng, self.known = random.Random(seed), Known()
        self.managers, self.told, self.verbose = self.machines[:swarm.manager_count], [], verbose

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

    def cut_leader_one_way(self, m):
        """Whoever leads hears the others, or they it, and not the other way."""
        leading = self.leading() or m
        self.rng.choice((leading.host.deafen, leading.host.mute))()
        return leading

    def leading(self):
        for m in self.managers:
            with contextlib.suppress(OSError, AssertionError, KeyError, http.client.HTTPException):
                if m.leads():
                    return m
        return None

    def slow_link(self, m):
        m.host.slow()

    def lossy_link(self, m):
        m.host.lose()

    def slow_disk(self, m):
        if not m.slow_disk():
            self.stand_still(m)

    def set_clock(self, m):
        m.set_clock(self.rng.choice((-86400, -3600, -60, 60, 3600, 86400)))

    def stand_still(self, m):
        for pid in (m.process.pid, *m.store()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def heal(self):
        for m in self.machines:
            m.host.heal()
            m.heal_disk()
            m.set_clock(0)
            for pid in m.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            if m.process.poll() is not None:
                m.start()

    def disturb(self):
        acts = (self.kill_serve, self.kill_all, self.cut, self.cut_one_way, self.cut_two, self.cut_leader_one_way, self.stand_still,
                self.slow_link, self.lossy_link, self.slow_disk, self.set_clock)
        for _ in range(self.faults):
            act, pause, length = self.rng.choice(acts), self.rng.uniform(0.2, 2), self.rng.uniform(0.5, 8)
            machine = self.rng.choice(self.managers if self.rng.random() < 0.7 else self.machines)
            time.sleep(pause)
            machine = act(machine) or machine
            self.told.append(f"{act.__name__} {machine.name} {length:.1f}s")
            time.sleep(length)
            self.heal()

    # --- what must hold

    def answer(self, machine, path):
        """Of a machine that may have to wait for a leader."""
        return harness.wait_for(lambda: [a for a in [machine.get(path)] if a is not None], f"{machine.name} to answer {path}", deadline=600)[0]

    def configs(self, machine):
        return {c["Spec"]["Name"] for c in self.answer(machine, "/configs")}

    def count(self):
        return count_of(self.answer(self.machines[0], "/services/counter"))

    def ids(self):
        return {t["ID"] for t in self.tasks(self.machines[0]) or []}

    def lost(self):
        """How often a leader has counted a machine as lost: only then are tasks replaced."""
        return sum(m.text().count(") is down") for m in self.machines)

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
        broken = [old for c in clients for old in c.stale]
        for m in self.machines:
            have = self.configs(m)
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
        harness.wait_for(self.settled, "the service to run", deadline=600)
        self.before, ids, lost = self.count(), self.ids(), self.lost()
        self.known.saw(self.before)
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
        broken, replaced, lost = self.check(clients), len(self.ids() - ids), self.lost() - lost
        if replaced and not lost:
            broken.append(f"{replaced} tasks were replaced, and no machine was lost")
        for c in clients:
            for name in c.there:
                self.machines[0].api("DELETE", f"/configs/{name}")
        print(json.dumps({"seed": self.seed, "faults": self.told, "asked": sum(c.asked for c in clients),
                          "configs": sum(len(c.there) + len(c.gone) for c in clients), "open": sum(len(c.open) for c in clients),
                          "steps": sum(c.steps for c in clients), "refused_steps": sum(c.refused for c in clients),
                          "reads": sum(c.reads for c in clients), "lost": lost, "replaced": replaced, "settled_s": round(settled, 1), "broken": broken}), flush=True)
        if self.verbose:
            print(json.dumps(sum((c.said for c in clients), collections.Counter()).most_common(12), indent=1), flush=True)
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
    p.add_argument("--managers", type=int, default=3)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--verbose", action="store_true", help="also what requests were refused with")
    args = p.parse_args()
    test, good = unittest.TestCase(), 0
    try:
        swarm = machines.Swarm(test, "abcdefghijkl"[:args.managers + args.workers], managers=args.managers, clocks=True)
        prepare(swarm)
        for n in range(args.runs):
            good += Run(swarm, args.seed + n, args.faults, args.verbose).go()
    finally:
        test.doCleanups()
    print(f"{good} of {args.runs} runs broke no rule")
    return 0 if good == args.runs else 1


if __name__ == "__main__":
    sys.exit(main())
