#!/usr/bin/env python3
"""Ends `drover serve` at each failpoint of the content store and the registry (src/base/failpoint.h) while an image is pushed in
chunks, its tag moved, pulled, received from another node, deleted, collected and replicated; each request is made again until it is
answered.

    tests/crash/registry_points.py [--seed N] [--points WORD]

After each kill and restart: every tag that was acknowledged is there and whole, what was deleted is not, every blob on the disk has
its digest; and after a collection of everything that is old, nothing is there that no row names; another registry, to which all of it is
replicated, comes to the same. A point that is not come to is a
failure. DROVER must be a build with failpoints: build-asan/drover. Prints the seed and a table; ends with 1 when anything was wrong."""
import argparse
import base64
import contextlib
import gzip
import hashlib
import http.client
import http.server
import io
import json
import os
import random
import re
import socket
import sqlite3
import sys
import tarfile
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../story"))
import glob  # noqa: E402
from harness import TOP, Drover, wait_for  # noqa: E402

MANIFEST, CONFIG = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DEADLINE = 120


def points():
    found = set()
    for path in glob.glob(os.path.join(TOP, "src/*/*.c")):
        with open(path) as f:
            found |= set(re.findall(r'\bFAILPOINT\("((?:image|registry)-[a-z-]+)"\)', f.read()))
    return sorted(found)


def digest_of(data, algorithm="sha256"):
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


class Image:
    def __init__(self, rng):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            entry = tarfile.TarInfo("file")
            content = rng.randbytes(300000)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        self.layer = gzip.compress(out.getvalue(), 1, mtime=0)
        self.config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(out.getvalue())]},
                                  "config": {"Cmd": ["/file"]}}).encode()
        self.manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {
            "mediaType": CONFIG, "digest": digest_of(self.config), "size": len(self.config)}, "layers": [
                {"mediaType": LAYER, "digest": digest_of(self.layer), "size": len(self.layer)}]}).encode()


class Heard(http.server.BaseHTTPRequestHandler):
    """Who is told of pushes and deletions."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass


class Machine:
    """A Drover whose serve is started again whenever it ends."""

    def __init__(self):
        self.armed = tempfile.mkdtemp(prefix="drover-points-")
        self.d = Drover()
        self.d.environment = dict(os.environ, DROVER_FAILPOINTS=self.armed, ASAN_OPTIONS="detect_leaks=0")
        self.told = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Heard)
        threading.Thread(target=self.told.serve_forever, daemon=True).start()
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.copy = Drover()  # where it is replicated to, which nobody kills
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.copy_port = s.getsockname()[1]
        self.copy.start("--registry", f"127.0.0.1:{self.copy_port}")
        self.config = os.path.join(self.d.root, "registry.yaml")
        with open(self.config, "w") as f:
            f.write("repositories: [{match: 'aged/*', pull: anonymous, retention: {count: 1}}, {match: '**', pull: anonymous}]\n"
                    f"webhooks: [{{name: somebody, url: 'http://127.0.0.1:{self.told.server_port}/'}}]\n"
                    f"replicate: [{{name: copy, target: '127.0.0.1:{self.copy_port}', match: ['kept/**'], delete: true}}]\n")
        self.lock = threading.RLock()
        self.start()
        self.robot = self.d.drover("registry", "token", "create", "all", "-r", "**", "-a", "admin").out.split()
        self.over = threading.Event()
        self.nurse = threading.Thread(target=self.start_again)
        self.nurse.start()

    def start(self):
        self.d.start("--registry", f"127.0.0.1:{self.port}", "--registry-config", self.config)

    def start_again(self):
        while not self.over.wait(0.02):
            with self.lock:
                if self.d.process.poll() is not None and not self.over.is_set():
                    with contextlib.suppress(AssertionError):  # it came to the point at its start
                        self.start()

    @contextlib.contextmanager
    def down(self):
        with self.lock:
            self.d.stop()
            yield
            self.start()

    def once(self, method, path, body=None, port=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=DEADLINE)
        basic = base64.b64encode(":".join(self.robot).encode()).decode()
        connection.request(method, path, body, {"Authorization": f"Basic {basic}", **{k.replace("_", "-"): v for k, v in headers.items()}})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, answer.headers, text

    def until(self, work):
        """Makes requests until they are answered, from their beginning when a kill came between."""
        end = time.monotonic() + DEADLINE
        while True:
            try:
                return work()
            except (OSError, http.client.HTTPException):
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def ask(self, method, path, body=None, fine=(200, 201, 202), **headers):
        status, _, text = self.until(lambda: self.once(method, path, body, **headers))
        if status not in fine:
            raise AssertionError(f"{method} {path}: {status} {text[:300]!r}")
        return text

    def api(self, method, path, body=None, fine=(200, 201, 204)):
        status, _, text = self.until(lambda: self.d.api(method, path, body))
        if status not in fine or b'"error"' in text:
            raise AssertionError(f"{method} {path}: {status} {text[-300:]!r}")
        return text

    # --- the steps ---

    def push_blob(self, repo, data):
        def chunks():
            status, headers, _ = self.once("POST", f"/v2/{repo}/blobs/uploads/")
            at, half = headers["Location"], len(data) // 2
            for part in (data[:half], data[half:]):
                status, headers, text = self.once("PATCH", at, part, Content_Type="application/octet-stream")
                if status != 202:
                    raise AssertionError(f"PATCH: {status} {text!r}")
            return self.once("PUT", f"{at}?digest={digest_of(data)}")
        status, _, text = self.until(chunks)
        if status != 201:
            raise AssertionError(f"PUT: {status} {text!r}")

    def push(self, repo, tag, image):
        for data in (image.config, image.layer):
            self.push_blob(repo, data)
        self.ask("PUT", f"/v2/{repo}/manifests/{tag}", image.manifest, Content_Type=MANIFEST)

    def whole(self, repo, tag, image):
        if self.ask("GET", f"/v2/{repo}/manifests/{tag}", Accept=MANIFEST) != image.manifest:
            raise AssertionError(f"{repo}:{tag} is not what was acknowledged")
        for data in (image.config, image.layer):
            if self.ask("GET", f"/v2/{repo}/blobs/{digest_of(data)}") != data:
                raise AssertionError(f"a blob of {repo}:{tag} is damaged")

    def receive(self, image, name):
        blobs = [image.layer, image.config, image.manifest]

        def all_of_it():
            listed = {"Blobs": [{"digest": digest_of(b), "size": len(b)} for b in blobs]}
            status, _, text = self.d.api("POST", "/drover/content/missing", listed)
            for m in json.loads(text):
                data = next(b for b in blobs if digest_of(b) == m["digest"])
                status, _, text = self.d.api("PUT", f"/drover/content/{m['digest']}?size={m['size']}&offset={m['offset']}", data[m["offset"]:])
                if status not in (200, 409):
                    raise AssertionError(f"{status} {text!r}")
            return self.d.api("POST", "/drover/content/install", {"Manifest": digest_of(image.manifest), "Blobs": [digest_of(b) for b in blobs],
                                                                  "References": [name]})
        status, _, text = self.until(all_of_it)
        if status != 201:
            raise AssertionError(f"install: {status} {text!r}")

    def life(self, rng):
        first, second, third, other = (Image(rng) for _ in range(4))
        name = f"n{rng.randrange(1 << 40)}"
        self.push(f"kept/{name}", "stays", first)
        self.push(f"kept/{name}", "moves", first)
        self.push(f"kept/{name}", "moves", second)
        self.push(f"kept/{name}", "goes", third)
        self.api("POST", f"/images/create?fromImage=127.0.0.1:{self.port}/kept/{name}&tag=stays")
        self.receive(other, f"received:{name}")
        self.until(lambda: self.once("PATCH", self.once("POST", f"/v2/kept/{name}/blobs/uploads/")[1]["Location"], b"the beginning"))
        self.ask("DELETE", f"/v2/kept/{name}/manifests/goes", fine=(202, 404))
        self.ask("DELETE", f"/v2/kept/{name}/manifests/{digest_of(third.manifest)}", fine=(202, 404))
        for tag in ("a", "b"):
            self.push(f"aged/{name}", tag, Image(rng))
        for doc in json.loads(self.api("GET", "/images/json")):
            if f"received:{name}" in (doc["RepoTags"] or []):
                self.api("DELETE", f"/images/{doc['Id']}?force=1", fine=(200, 404))
        self.once_everything_is_old()
        for _ in range(2):
            self.api("POST", "/drover/registry/retention")
            self.api("POST", "/drover/registry/gc")
        return {(f"kept/{name}", "stays"): first, (f"kept/{name}", "moves"): second}, [(f"kept/{name}", "goes"), (f"aged/{name}", "a")]

    def once_everything_is_old(self):
        with self.down():
            with sqlite3.connect(os.path.join(self.d.data, "images.db")) as db:
                for column in ("repository_blob SET seen", "repository_manifest SET created", "repository_upload SET started"):
                    db.execute(f"UPDATE {column} = 0")
            db.close()
            for base, _, files in os.walk(os.path.join(self.d.data, "uploads")):
                for file in files:
                    os.utime(os.path.join(base, file), (0, 0))

    def replicated(self, there, gone):
        """Waits until the other registry has what this one has."""
        def waiting():
            return sum(rule["waiting"] for rule in json.loads(self.d.drover("registry", "replication", "--json", check=False).out or "{}").get(
                "rules", [{"waiting": 1}]))
        wait_for(lambda: waiting() == 0, "everything to be replicated")
        for (repo, tag), image in there.items():
            for path, data in ((f"manifests/{tag}", image.manifest), (f"blobs/{digest_of(image.layer)}", image.layer)):
                status, _, text = self.once("GET", f"/v2/{repo}/{path}", port=self.copy_port, Accept=MANIFEST)
                if status != 200 or text != data:
                    raise AssertionError(f"{repo}:{tag}: the other registry answers {status} for {path}")
        for repo, tag in gone:
            status, _, _ = self.once("HEAD", f"/v2/{repo}/manifests/{tag}", port=self.copy_port)
            if status != 404:
                raise AssertionError(f"{repo}:{tag} is still in the other registry: {status}")

    def nothing_wrong(self, there, gone):
        self.replicated(there, [name for name in gone if name[0].startswith("kept/")])
        for (repo, tag), image in there.items():
            self.whole(repo, tag, image)
        for repo, tag in gone:
            self.ask("HEAD", f"/v2/{repo}/manifests/{tag}", fine=(404,))
        for folder in ("uploads", "incoming"):
            left = os.listdir(os.path.join(self.d.data, folder))
            if left:
                raise AssertionError(f"{folder} has {left}")
        with self.down():
            pass  # a start sweeps what a kill left
        with self.lock:
            db = sqlite3.connect(f"file:{self.d.data}/images.db?mode=ro", uri=True)
            named = {row[0] for row in db.execute("SELECT digest FROM image_blob UNION SELECT digest FROM repository_use UNION"
                                                  " SELECT digest FROM repository_manifest")}
            db.close()
            for base, _, files in os.walk(os.path.join(self.d.data, "blobs")):
                for file in files:
                    digest = f"{os.path.basename(base)}:{file}"
                    with open(os.path.join(base, file), "rb") as f:
                        if digest_of(f.read(), os.path.basename(base)) != digest:
                            raise AssertionError(f"{digest} is half-written")
                    if digest not in named:
                        raise AssertionError(f"{digest} is nobody's")

    def attempt(self, point, rng):
        """Whether the point was come to; raises what is wrong."""
        path = os.path.join(self.armed, point)
        with open(path, "w"):
            pass
        try:
            there, gone = self.life(rng)
            end = time.monotonic() + 20  # for what a thread of the registry's does on its own
            while os.path.exists(path) and time.monotonic() < end:
                time.sleep(0.02)
            passed = not os.path.exists(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self.once_everything_is_old()
        self.api("POST", "/drover/registry/gc")
        self.nothing_wrong(there, gone)
        return passed

    def remove(self):
        self.over.set()
        self.nurse.join()
        self.told.shutdown()
        self.told.server_close()
        left = self.d.remove() + self.copy.remove()
        os.rmdir(self.armed)
        return left


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--points", default="", help="only those with this in their name")
    options = parser.parse_args()
    chosen = [p for p in points() if options.points in p]
    print(f"seed {options.seed}: {len(chosen)} points", flush=True)
    machine, wrong = Machine(), 0
    try:
        for number, point in enumerate(chosen):
            try:
                said = "killed, and all is well" if machine.attempt(point, random.Random(options.seed + number)) else "NEVER COME TO"
            except Exception as e:  # one point's failure is a result, not the end
                said = f"WRONG: {type(e).__name__}: {e}"
            wrong += said.isupper() or said.startswith("WRONG")
            print(f"{point:30} {said}", flush=True)
    finally:
        left = machine.remove()
    if left:
        print(f"left behind: {left}")
    print(f"{len(chosen)} points, {wrong} wrong")
    return 1 if wrong or left or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
