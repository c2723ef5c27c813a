#!/usr/bin/env python3
"""Ends `drover serve` at each failpoint of builds (src/base/failpoint.h), and at random moments, while it builds an image of two stages.

    tests/crash/build_points.py [--seed N] [--points WORD] [--moments N]

After each kill and restart: no container, context, half-made layer or mount is left; the build, made again, takes every step whose end
was told from the cache, and gives the image that a build without the cache gives, to the digest. A point that is not come to is a
failure. DROVER must be a build with failpoints for the points (build-asan/drover). Runs in a network
namespace of its own (unshare --net). Prints the seed and a table; ends with 1 when anything was wrong."""
import argparse
import contextlib
import glob
import http.client
import json
import os
import random
import re
import socket
import sqlite3
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../story"))
from harness import TOP, Drover, wait_for  # noqa: E402
from test_images import query, small_tar  # noqa: E402

DOCKERFILE = """FROM busybox AS one
COPY data /data
RUN --mount=type=cache,id=kept,target=/kept cat /data >> /kept/all; tr a-z A-Z < /data > /upper
FROM busybox
RUN mkdir /out && cp /etc/passwd /out
COPY --from=one /upper /data /out/
LABEL made=here
"""


def points():
    found = set()
    for path in glob.glob(os.path.join(TOP, "src/*/*.c")):
        with open(path) as f:
            found |= set(re.findall(r'\bFAILPOINT\("(build-[a-z-]+)"\)', f.read()))
    return sorted(found)


def told_done(text):
    """Numbers of the steps whose end was told, and of those that came from the cache."""
    done, cached = set(), set()
    for part in re.split(r"(?m)^(?=Step \d+/\d+ : )", text)[1:]:
        number = int(re.match(r"Step (\d+)", part)[1])
        if "FROM " in part.split("\n")[0]:
            continue
        if re.search(r"(?m)^ ---> [0-9a-f]{12}$", part):
            done.add(number)
        if " ---> Using cache\n" in part:
            cached.add(number)
    return done, cached


class Machine:
    def __init__(self):
        self.armed = tempfile.mkdtemp(prefix="drover-points-")
        self.d = Drover()
        self.d.environment = dict(os.environ, DROVER_FAILPOINTS=self.armed, ASAN_OPTIONS="detect_leaks=0")
        self.d.start()
        self.d.busybox()
        self.mounts = self.mounted()

    def mounted(self):
        with open("/proc/self/mountinfo") as f:
            return sorted(line.split()[4] for line in f if self.d.root in line)

    def build(self, context, told, **parameters):
        """Adds what is told to the list as it comes; gives the image's id, None when the connection broke off."""
        connection = http.client.HTTPConnection("drover")
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException, json.JSONDecodeError):
            connection.sock.connect(self.d.socket)
            connection.request("POST", "/build?" + query(version=1, networkmode="none", t="made", buildargs={"SOURCE_DATE_EPOCH": "1700000000"},
                                                         **parameters), context, {"Content-Type": "application/x-tar"})
            identity = None
            for line in connection.getresponse():
                message = json.loads(line)
                if "error" in message:
                    raise AssertionError(f"the build failed: {message}")
                told.append(message.get("stream", ""))
                identity = message.get("aux", {}).get("ID", identity)
            return identity

    def killed(self, context, moment):
        """Whether serve was ended during the build; and what the build had told until then."""
        told = []
        client = threading.Thread(target=self.build, args=(context, told))
        client.start()
        if moment is not None:
            client.join(moment)
            self.d.process.kill()
        while client.is_alive() and self.d.process.poll() is None:
            time.sleep(0.005)
        client.join()
        with contextlib.suppress(Exception):
            self.d.process.wait(1)
        return self.d.process.poll() is not None, "".join(told)

    def nothing_is_left(self):
        def empty():
            return json.loads(self.d.api("GET", "/containers/json?all=1")[2]) == [] and os.listdir(os.path.join(self.d.data, "tmp")) == []
        wait_for(empty, "the build's container and directories to be gone", 30)
        left = [n for n in os.listdir(os.path.join(self.d.data, "containers")) if not n.startswith(".")]
        left += [n for n in os.listdir(os.path.join(self.d.data, "build-cache")) if n.endswith((".new", ".gone"))]
        left += [m for m in self.mounted() if m not in self.mounts]
        with contextlib.closing(sqlite3.connect(f"file:{self.d.data}/images.db?mode=ro", uri=True)) as db:
            layers = {row[0] for row in db.execute("SELECT dir FROM layer UNION SELECT 'empty'")}
            blobs = {row[0].split(":")[1] for row in db.execute("SELECT digest FROM image_blob")}
        left += [n for n in os.listdir(os.path.join(self.d.data, "layers")) if n not in layers]
        for _, _, files in os.walk(os.path.join(self.d.data, "blobs")):
            left += [n for n in files if n not in blobs]
        if left:
            raise AssertionError(f"left: {left}")

    def attempt(self, salt, moment=None):
        context = small_tar(Dockerfile=DOCKERFILE, data=f"some data {salt}\n")
        killed, before = self.killed(context, moment)
        if not killed:
            return False
        self.d.start()
        self.nothing_is_left()
        told = []
        identity = self.build(context, told)
        if not identity:
            raise AssertionError(f"the next build failed: {''.join(told)[-1000:]}")
        missed = told_done(before)[0] - told_done("".join(told))[1]
        if missed:
            raise AssertionError(f"steps {sorted(missed)} had been done, and were done again")
        fresh = self.build(context, [], nocache=1)
        if fresh != identity:
            raise AssertionError(f"the next build gave {identity}, one without the cache {fresh}")
        self.nothing_is_left()
        return True

    def remove(self):
        left = self.d.remove()
        for name in os.listdir(self.armed):
            os.unlink(os.path.join(self.armed, name))
        os.rmdir(self.armed)
        return left


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--points", default="", help="only those with this in their name (:, none)")
    parser.add_argument("--moments", type=int, default=0, help="kills at random moments")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    work = [(p, None) for p in points() if options.points in p]
    work += [(f"moment {n}", rng.uniform(0, 0.6)) for n in range(options.moments)]
    print(f"seed {options.seed}: {len(work)} kills", flush=True)
    machine, wrong = Machine(), 0
    try:
        for name, moment in work:
            if moment is None:
                with open(os.path.join(machine.armed, name), "w"):
                    pass
            try:
                said = "killed, and all is well" if machine.attempt(rng.random(), moment) else "NEVER COME TO"
            except Exception as e:  # one's failure is a result, not the end
                said = f"WRONG: {type(e).__name__}: {e}"
                if machine.d.process.poll() is not None:
                    machine.d.start()
            wrong += said.isupper() or said.startswith("WRONG")
            print(f"{name:30} {said}", flush=True)
    finally:
        left = machine.remove()
    if left:
        print(f"left behind: {left}")
    print(f"{len(work)} kills, {wrong} wrong")
    return 1 if wrong or left or not work else 0


if __name__ == "__main__":
    sys.exit(main())
