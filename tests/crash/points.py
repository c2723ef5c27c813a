#!/usr/bin/env python3
"""Ends `drover serve` or `drover keeper` at each failpoint of the source (src/base/failpoint.h) in each operation, and checks what the
soak checks: nothing is lost, doubled or left behind.

    tests/crash/points.py [--seed N] [--sample N] [--workers N] [--points WORD] [--operations WORD]

All pairs are tried (or a random sample of them). An operation is one life of a container with the requests of a client who
goes on from what there is when an answer does not come. A point that an operation does not pass is no failure; one that none
passes is. DROVER must be a build with failpoints: build-asan/drover. Runs in a network namespace of its own (unshare --net).
Prints the seed and a table; ends with 1 when anything was wrong."""
import argparse
import contextlib
import glob
import itertools
import json
import os
import random
import re
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from soak import TOP, Broken, Launch, ask, ask_until, difference  # noqa: E402
from harness import Drover, wait_for  # noqa: E402  (soak has set the path)

CANARY = "canary"


def points():
    """As the source has them."""
    found = set()
    for path in glob.glob(os.path.join(TOP, "src/*/*.c")):
        with open(path) as f:
            found |= set(re.findall(r'\bFAILPOINT\("([a-z-]+)"\)', f.read()))
    # Those of the content store, the registry and builds have tables of their own (registry_points.py, build_points.py).
    return sorted(p for p in found if not p.startswith(("image-", "registry-", "build-")))


class Life(Launch):
    """A container with some choices of its own. `started` requests that must not be made twice are asked for, not repeated."""

    def __init__(self, number, rng, **host):
        super().__init__(number, rng)
        self.tty, self.lines, self.host = False, rng.randrange(1, 6), {"NetworkMode": "none", **host}
        self.say()

    def say(self):
        self.script = (f"i=0; while [ $i -lt {self.lines} ]; do echo out {self.number} $i; echo err {self.number} $i >&2; i=$((i+1)); done; "
                       f"printf last; exit {self.code}")

    def create(self, d):
        body = {"Image": "busybox", "Cmd": ["sh", "-c", self.script], "Tty": self.tty, "HostConfig": self.host}
        status, text = ask_until(d, "POST", f"/containers/create?name={self.name}", body)
        if status not in (201, 409):
            raise AssertionError(f"create: {status} {text!r}")

    def request(self, d, method, path, fine):
        """One that may be repeated."""
        status, text = ask_until(d, method, path)
        if status not in fine:
            raise AssertionError(f"{method} {path}: {status} {text!r}")

    def wait_log(self, d, text):
        wait_for(lambda: text in self.log(d)[1], f"{text!r} in the log")

    def check_state(self, d, status, code):
        state = self.state(d)
        if (state["Status"], state["ExitCode"]) != (status, code):
            raise AssertionError(f"{state['Status']} with {state['ExitCode']} instead of {status} with {code}")


def run(d, number, rng):
    Life(number, rng).run(d)


def run_on_a_terminal(d, number, rng):
    life = Life(number, rng)
    life.tty = True
    life.run(d)


def run_with_a_network(d, number, rng):
    Life(number, rng, NetworkMode="default").run(d)


def run_with_rotated_logs(d, number, rng):
    life = Life(number, rng, LogConfig={"Type": "local", "Config": {"max-size": "2k", "max-file": "100"}})
    life.lines = 400
    life.say()
    life.run(d)


def run_and_remove(d, number, rng):
    life = Life(number, rng, AutoRemove=True)
    life.create(d)

    def gone():
        status, text = ask_until(d, "GET", f"/containers/{life.name}/json")
        if status == 200 and json.loads(text)["State"]["Status"] == "created":
            with contextlib.suppress(Broken):
                ask(d, "POST", f"/containers/{life.name}/start")
        return status == 404
    wait_for(gone, "the container to be gone")


def until_told(d, number, rng, trap):
    life = Life(number, rng)
    life.script = f"trap '{trap}' TERM; echo up; while :; do sleep 0.01; done"
    life.create(d)
    life.start(d)
    life.wait_log(d, b"up\n")
    return life


def stop(d, number, rng):
    life = until_told(d, number, rng, "echo bye; exit 7")
    life.request(d, "POST", f"/containers/{life.name}/stop", (204, 304))
    life.check_state(d, "exited", 7)
    said = life.log(d)[1]
    if said != b"up\nbye\n":
        raise AssertionError(difference(said, b"up\nbye\n"))
    life.remove(d)


def kill(d, number, rng):
    life = until_told(d, number, rng, "")
    life.request(d, "POST", f"/containers/{life.name}/kill", (204, 409))  # 409: the first one did it
    if life.wait(d) != 137:
        raise AssertionError("not ended by SIGKILL")
    life.remove(d)


def restart(d, number, rng):
    life = until_told(d, number, rng, "exit 0")
    life.request(d, "POST", f"/containers/{life.name}/restart", (204,))
    wait_for(lambda: life.log(d)[1].count(b"up\n") >= 2, "it to be up again")
    life.check_state(d, "running", 0)
    life.remove(d)


def remove_running(d, number, rng):
    life = until_told(d, number, rng, "")
    life.remove(d)


def exec_once(d, number, rng):
    """Its answer may get lost with serve, and its output with either; it must not run twice, and its exit code must be known to a serve
    that lived."""
    life = until_told(d, number, rng, "")
    body = {"Cmd": ["sh", "-c", f"echo once > /proc/1/fd/1; exit {life.code}"]}
    status, text = ask_until(d, "POST", f"/containers/{life.name}/exec", body)
    number = json.loads(text)["Id"] if status == 201 else None
    with contextlib.suppress(Broken):
        ask(d, "POST", f"/exec/{number}/start", {"Detach": True})

    def outcome():
        status, text = ask_until(d, "GET", f"/exec/{number}/json")
        e = json.loads(text) if status == 200 else {"Running": False, "ExitCode": "gone with serve"}
        return not e["Running"] and (e["ExitCode"],)
    code = wait_for(outcome, "the process to end")[0]
    said = life.log(d)[1].count(b"once\n")
    if said > 1 or (code == life.code and said != 1) or code not in (life.code, None, "gone with serve"):
        raise AssertionError(f"ran {said} times, exit code {code} instead of {life.code}")
    life.remove(d)


OPERATIONS = [run, run_on_a_terminal, run_with_a_network, run_with_rotated_logs, run_and_remove, stop, kill, restart, remove_running, exec_once]


class Machine:
    """A Drover whose serve is started again whenever it ends, with a container that must live through everything."""

    def __init__(self):
        self.armed = tempfile.mkdtemp(prefix="drover-points-")
        self.d = Drover()
        self.d.environment = dict(os.environ, DROVER_FAILPOINTS=self.armed, ASAN_OPTIONS="detect_leaks=0")
        self.d.start()
        self.d.busybox()
        self.over = threading.Event()
        self.nurse = threading.Thread(target=self.start_again)
        self.nurse.start()
        ask_until(self.d, "POST", f"/containers/create?name={CANARY}",
                  {"Image": "busybox", "Cmd": ["sleep", "1000000"], "HostConfig": {"NetworkMode": "none"}})
        ask_until(self.d, "POST", f"/containers/{CANARY}/start")
        self.canary = json.loads(ask_until(self.d, "GET", f"/containers/{CANARY}/json")[1])

    def start_again(self):
        while not self.over.wait(0.02):
            if self.d.process.poll() is not None:
                with contextlib.suppress(AssertionError):  # it came to the point while it took over
                    self.d.start()

    def left(self):
        """What is there of other containers than the canary."""
        found = [c["Names"][0] for c in json.loads(ask_until(self.d, "GET", "/containers/json?all=1")[1]) if c["Names"] != ["/" + CANARY]]
        for where, pattern in (("keeper", "*:*"), ("containers", "*"), ("trash", "*")):
            names = (os.path.basename(p) for p in glob.glob(os.path.join(self.d.data, where, pattern)))
            found += [f"{where}/{name}" for name in names if re.match("[0-9a-f]{64}", name) and not name.startswith(self.canary["Id"])]
        return found

    def attempt(self, point, operation, number, rng):
        """Whether it was passed; raises what is wrong."""
        path = os.path.join(self.armed, point)
        with open(path, "w"):
            pass
        try:
            operation(self.d, number, rng)
            wait_for(lambda: not self.left(), f"nothing to be left but {self.left()}")
            state = json.loads(ask_until(self.d, "GET", f"/containers/{CANARY}/json")[1])["State"]
            if (state["Status"], state["Pid"]) != ("running", self.canary["State"]["Pid"]):
                raise AssertionError(f"the container that ran all the time is {state['Status']}")
            return not os.path.exists(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def clear(self):
        """After a failure, which must not become that of the next pair."""
        for c in json.loads(ask_until(self.d, "GET", "/containers/json?all=1")[1]):
            if c["Names"] != ["/" + CANARY]:
                ask_until(self.d, "DELETE", f"/containers/{c['Id']}?force=1")

    def remove(self):
        self.over.set()
        self.nurse.join()
        left = self.d.remove()
        os.rmdir(self.armed)
        return left


class Table:
    def __init__(self, pairs, seed):
        self.pairs, self.seed = list(pairs), seed
        self.next, self.lock = 0, threading.Lock()
        self.passed, self.wrong = {}, []

    def take(self):
        with self.lock:
            if self.next == len(self.pairs):
                return None
            self.next += 1
            return self.next, *self.pairs[self.next - 1]

    def work(self):
        machine = Machine()
        try:
            while taken := self.take():
                number, point, operation = taken
                try:
                    passed = machine.attempt(point, operation, number, random.Random(self.seed + number))
                except Exception as e:  # one pair's failure is a result, not the end
                    self.wrong.append((point, operation.__name__))
                    print(f"WRONG: {point}, {operation.__name__}: {e}", flush=True)
                    machine.clear()
                    continue
                if passed:
                    self.passed.setdefault(point, []).append(operation.__name__)
        finally:
            if left := machine.remove():
                self.wrong.append(("left behind", left))
                print(f"left behind: {left}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--sample", type=int, help="only so many of the pairs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--points", default="", help="only those with this in their name")
    parser.add_argument("--operations", default="", help="the same")
    options = parser.parse_args()
    chosen = [p for p in points() if options.points in p]
    pairs = list(itertools.product(chosen, [o for o in OPERATIONS if options.operations in o.__name__]))
    random.Random(options.seed).shuffle(pairs)
    table = Table(pairs[:options.sample], options.seed)
    print(f"seed {options.seed}: {len(table.pairs)} of {len(pairs)} pairs of {len(chosen)} points and the operations", flush=True)
    threads = [threading.Thread(target=table.work) for _ in range(options.workers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for point in chosen:
        print(f"{point:26} {', '.join(sorted(table.passed.get(point, []))) or '-'}")
    never = [p for p in chosen if p not in table.passed]
    whole = len(table.pairs) == len(pairs) and not options.points and not options.operations
    if whole and never:
        print(f"passed by no operation: {', '.join(never)}")
    kills = sum(map(len, table.passed.values()))
    print(f"{len(table.pairs)} pairs, {kills} of them with a kill, {len(table.wrong)} wrong")
    return 1 if table.wrong or not kills or (whole and never) else 0


if __name__ == "__main__":
    sys.exit(main())
