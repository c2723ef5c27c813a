#!/usr/bin/env python3
"""Launches containers by the thousand while `drover serve` and `drover keeper` are killed at random, and checks every exit code
and every log line.

    tests/crash/soak.py [--launches N] [--workers N] [--seed N] [--pause SECONDS] [--both P] [--minutes M]

Each container says numbered lines on both streams (some in one burst, some slowly, some a lot, one in six on a terminal) and ends
with a code; a launch
counts when it was created, started exactly once, its exit code, its log byte for byte and its removal are right. Every request
is a client's: when the connection breaks it looks what is there and goes on from that, as any client of a server must.

The next victim is killed at an instant that nobody chose, as soon as both processes are there again: who is left holds what the
other had. With --both, so many of a hundred kills are of both at once, in either order. That is the end of the pipes of all containers that
run: of a launch that met one, its log may end early, but what there is must be right, and its exit code must be.

Runs in a network namespace of its own (unshare --net). Prints the seed; ends with 1 when anything was wrong."""
import argparse
import contextlib
import glob
import http.client
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests/story"))
from harness import Drover, wait_for  # noqa: E402  (its path is set above)

LARGE = 3000  # lines
GROUPS = ("/sys/fs/cgroup/drover", "/sys/fs/cgroup/*/drover")


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=300)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Broken(Exception):
    """No whole answer came."""


def ask(d, method, path, body=None):
    connection = Connection(d.socket)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as e:
        raise Broken(str(e)) from e
    finally:
        connection.close()


def ask_until(d, method, path, body=None):
    """For requests that may be repeated as they are."""
    while True:
        try:
            return ask(d, method, path, body)
        except Broken:
            time.sleep(0.02)


def groups():
    """The control groups that Drover made, of this server or another one."""
    return {path for parent in GROUPS for path in glob.glob(parent + "/*/") + glob.glob(parent + "/.shared-*/")}


class Launch:
    # How often both were killed. The programs of a soak that does so live on without their pipes and terminals.
    both, outlives, id = 0, "", None

    def __init__(self, number, rng):
        self.number, self.name = number, f"s{number}"
        self.code = rng.randrange(256)
        kind = rng.random()
        lines, pause = rng.randrange(1, 12), ""
        if kind < 0.004:
            lines = LARGE
        elif kind < 0.2:
            pause = "sleep 0.0%d;" % rng.randrange(1, 6)
        self.lines = lines
        self.tty = rng.random() < 1 / 6
        self.script = (f"{self.outlives}i=0; while [ $i -lt {lines} ]; do echo out {number} $i; echo err {number} $i >&2; {pause} "
                       f"i=$((i+1)); done; printf last; exit {self.code}")

    def wanted(self):
        if self.tty:  # one stream, in the order of the writing
            return {1: "".join(f"out {self.number} {i}\r\nerr {self.number} {i}\r\n" for i in range(self.lines)).encode() + b"last", 2: b""}
        out = "".join(f"out {self.number} {i}\n" for i in range(self.lines)) + "last"
        return {1: out.encode(), 2: "".join(f"err {self.number} {i}\n" for i in range(self.lines)).encode()}

    def create(self, d):
        body = {"Image": "busybox", "Cmd": ["sh", "-c", self.script], "Tty": self.tty, "HostConfig": {"NetworkMode": "none"}}
        status, text = ask_until(d, "POST", f"/containers/create?name={self.name}", body)
        if status not in (201, 409):  # there already: the answer to an earlier try was lost
            raise AssertionError(f"create: {status} {text!r}")

    def state(self, d):
        status, text = ask_until(d, "GET", f"/containers/{self.name}/json")
        if status != 200:
            raise AssertionError(f"inspect: {status} {text!r}")
        known = json.loads(text)
        self.id = known["Id"]
        return known["State"]

    def start(self, d):
        while True:
            try:
                status, text = ask(d, "POST", f"/containers/{self.name}/start")
                if status not in (204, 304):
                    raise AssertionError(f"start: {status} {text!r}")
                return
            except Broken:
                if self.state(d)["Status"] != "created":
                    return

    def wait(self, d):
        while True:
            status, text = ask_until(d, "POST", f"/containers/{self.name}/wait")
            with contextlib.suppress(ValueError):
                if status == 200:
                    return json.loads(text)["StatusCode"]
                raise AssertionError(f"wait: {status} {text!r}")

    def log(self, d):
        status, text = ask_until(d, "GET", f"/containers/{self.name}/logs?stdout=1&stderr=1")
        if status != 200:
            raise AssertionError(f"logs: {status} {text!r}")
        if self.tty:
            return {1: text, 2: b""}
        streams = {1: b"", 2: b""}
        at = 0
        while at < len(text):
            stream, size = struct.unpack(">BxxxI", text[at:at + 8])
            streams[stream] += text[at + 8:at + 8 + size]
            at += 8 + size
        return streams

    def remove(self, d):
        status, text = ask_until(d, "DELETE", f"/containers/{self.name}?force=1")
        if status not in (204, 404):
            raise AssertionError(f"remove: {status} {text!r}")

    def run(self, d):
        both = Launch.both
        self.create(d)
        self.start(d)
        code = self.wait(d)
        said, wanted = self.log(d), self.wanted()
        known = self.state(d)["ExitCode"]
        if code != self.code or known != self.code:
            raise AssertionError(f"exit code {code}, in its state {known}, instead of {self.code}")
        for stream in (1, 2):
            cut = Launch.both > both and wanted[stream].startswith(said[stream])
            if said[stream] != wanted[stream] and not cut:
                raise AssertionError(f"stream {stream}: {difference(said[stream], wanted[stream])}")
        self.remove(d)


def difference(got, want):
    at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    return f"{len(got)} bytes instead of {len(want)}; from {at}: {got[at:at + 60]!r} instead of {want[at:at + 60]!r}"


def name_of(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as f:
        return f.read().strip()
    return None


def keeper_pid(d):
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
                if b"keeper" in words[:3] and d.data.encode() in words and len(words) <= 6 and name_of(entry) == "drover-keeper":
                    with open(f"/proc/{entry}/stat") as stat:  # not a child of it that is being set up
                        parent = int(stat.read().rsplit(")", 1)[1].split()[1])
                    if name_of(parent) != "drover-keeper":
                        return int(entry)
    return None


class Soak:
    def __init__(self, d, options):
        self.d, self.options = d, options
        self.rng, self.rng_both = random.Random(options.seed), random.Random(options.seed + 2)
        self.lock = threading.Lock()
        self.next, self.done, self.lines, self.failures = 0, 0, 0, []
        self.ids, self.keepers = set(), set()  # whose control groups must be gone at the end
        self.kills = {"serve": 0, "keeper": 0, "both": 0}
        if options.both:
            Launch.outlives = "trap '' PIPE HUP; "
        self.over = threading.Event()
        self.last = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")

    def take(self):
        with self.lock:
            if time.monotonic() > self.last or self.next >= self.options.launches or len(self.failures) >= 20:
                return None
            self.next += 1
            return Launch(self.next, self.rng)

    def work(self):
        while launch := self.take():
            try:
                launch.run(self.d)
            except Exception as e:  # one launch's failure is a result, not the end
                with self.lock:
                    self.failures.append(f"launch {launch.number}: {e}")
                print(f"WRONG: launch {launch.number}: {e}", flush=True)
                continue
            with self.lock:
                self.done += 1
                self.ids.add(launch.id)
                self.lines += 2 * launch.lines + 1

    def kill_serve(self):
        self.d.kill9()
        self.d.start()
        ask_until(self.d, "GET", "/_ping")

    def kill_keeper(self):
        pid = wait_for(lambda: keeper_pid(self.d), "the keeper")
        self.keepers.add(pid)
        os.kill(pid, signal.SIGKILL)
        # Only a keeper can give a terminal its size: serve has found the new one, and given it what it held.
        wait_for(lambda: ask_until(self.d, "POST", "/containers/canary/resize?h=10&w=10")[0] == 200, "the next keeper")

    def kill_both(self):
        pid = wait_for(lambda: keeper_pid(self.d), "the keeper")
        self.keepers.add(pid)
        Launch.both += 1
        first, second = (self.d.process.pid, pid)[::self.rng_both.choice((1, -1))]
        os.kill(first, signal.SIGKILL)
        os.kill(second, signal.SIGKILL)
        self.d.process.wait()
        self.d.start()
        ask_until(self.d, "GET", "/_ping")
        Launch.both += 1  # also for what began meanwhile
        # Its terminal has gone, by which kill_keeper() sees the next keeper.
        wait_for(lambda: ask_until(self.d, "POST", "/containers/canary/restart?t=0")[0] == 204, "the canary to be restarted")

    def kill(self):
        rng = random.Random(self.options.seed + 1)
        while not self.over.wait(rng.uniform(0, 2 * self.options.pause)):
            victim = rng.choice(("serve", "keeper"))
            if self.rng_both.random() * 100 < self.options.both:
                victim = "both"
            {"serve": self.kill_serve, "keeper": self.kill_keeper, "both": self.kill_both}[victim]()
            self.kills[victim] += 1

    def report(self, began):
        seconds = time.monotonic() - began
        print(f"{self.done} launches right, {len(self.failures)} wrong, {self.lines} log lines checked, serve killed {self.kills['serve']} times, "
              f"keeper {self.kills['keeper']} times, both {self.kills['both']} times, {seconds:.0f} s, {self.done / seconds:.1f} launches/s", flush=True)

    def run(self):
        body = {"Image": "busybox", "Cmd": ["sleep", "1000000"], "Tty": True, "HostConfig": {"NetworkMode": "none"}}
        ask_until(self.d, "POST", "/containers/create?name=canary", body)
        ask_until(self.d, "POST", "/containers/canary/start")
        began = time.monotonic()
        threads = [threading.Thread(target=self.work) for _ in range(self.options.workers)]
        killer = threading.Thread(target=self.kill)
        for t in threads + [killer]:
            t.start()
        shown = began
        for t in threads:
            while t.is_alive():
                t.join(1)
                if time.monotonic() - shown > 60:
                    shown = time.monotonic()
                    self.report(began)
        self.over.set()
        killer.join()
        self.keepers.add(keeper_pid(self.d))
        status = self.state_of_canary()
        if status != "running":
            self.failures.append(f"the container that ran all the time is {status}")
        self.report(began)
        return not self.failures and self.done == self.options.launches

    def left(self):
        """The control groups of what was launched and removed, and of keepers that were killed; not those of another server's keeper
        that has got the number of one."""
        mine = self.ids | {f".shared-{pid}" for pid in self.keepers if name_of(pid) is None}
        return sorted(path for path in groups() for name in [os.path.basename(path[:-1])] if name in mine or name.rsplit("-", 1)[0] in mine)

    def state_of_canary(self):
        return json.loads(ask_until(self.d, "GET", "/containers/canary/json")[1])["State"]["Status"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--launches", type=int, default=500)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--pause", type=float, default=0.3, help="mean seconds between two kills")
    parser.add_argument("--both", type=float, default=0, help="of a hundred kills, how many are of both at once")
    parser.add_argument("--minutes", type=float, help="begin no launch after so long; fewer than --launches is a failure all the same")
    options = parser.parse_args()
    print(f"seed {options.seed}: {options.launches} launches, {options.workers} at a time", flush=True)
    d = Drover().start()
    right = False
    try:
        d.busybox()
        soak = Soak(d, options)
        right = soak.run()
    finally:
        ask_until(d, "DELETE", "/containers/canary?force=1")
        left = d.remove()
        left += "\n".join(soak.left())
        if left:
            print(f"left behind: {left}")
            right = False
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
