"""Seeded kills of the registry while it takes pushes, deletions, retention, garbage collection and a mirror's fetches: what was
acknowledged before a kill is there and whole after it, and nothing half-written is served."""
import http.client
import json
import os
import random
import sys
import threading
import time

from distribution import BYTES, OCI_MANIFEST, RegistryStory, digest_of
from harness import TOP, Drover, run
from test_registry_mirrors import Upstream

SEED = int(os.environ.get("REGISTRY_SEED", "20261126"))
ROUNDS = int(os.environ.get("REGISTRY_ROUNDS", "4"))
GONE = (OSError, http.client.HTTPException)


class Kills(RegistryStory):
    shared = False

    @classmethod
    def make(cls):
        return Drover()

    def setUp(self):
        self.upstream = Upstream()
        self.addCleanup(self.upstream.close)
        self.d = self.make()
        self.config = os.path.join(self.d.root, "registry.yaml")
        with open(self.config, "w") as f:
            f.write(f"""
repositories:
  - {{match: "aged/*", pull: anonymous, retention: {{count: 2}}}}
  - {{match: "**", pull: anonymous}}
mirrors:
  - {{prefix: hub, upstream: "{self.upstream.at}", ttl: 0s}}
""")
        self.robot = None

    def serve(self):
        self.d.start("--registry", "0", "--registry-config", self.config)
        self.host, self.port = self.address(self.d)
        if not self.robot:
            self.robot = self.d.drover("registry", "token", "create", "all", "-r", "**", "-a", "admin").out.split()

    def ask(self, method, path, body=None, **headers):
        import base64
        basic = base64.b64encode(":".join(self.robot).encode()).decode()
        return super().ask(method, path, body, Authorization=f"Basic {basic}", **headers)

    def try_push(self, repo, tag, layer):
        """True: acknowledged. The connection may break at any point, which is no failure."""
        config = json.dumps({"of": tag}).encode()
        for data in (config, layer):
            if self.ask("POST", f"/v2/{repo}/blobs/uploads/?digest={digest_of(data)}", data, Content_Type=BYTES).status != 201:
                return False
        text = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(config), "size": len(config)}, "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest_of(layer), "size": len(layer)}]}).encode()
        return self.ask("PUT", f"/v2/{repo}/manifests/{tag}", text, Content_Type=OCI_MANIFEST).status == 201

    def pusher(self, number, rng, there, gone):
        mine = []  # each deletes what it pushed itself
        for i in range(10000):
            tag = f"t{number}-{i}-{rng.randrange(1 << 30)}"
            layer = rng.randbytes(rng.choice((10, 3000, 200000)))
            if self.try_push("kept", tag, layer):
                there[tag] = layer
                mine.append(tag)
            self.try_push(f"aged/{number}", f"v{i}", layer)
            if mine and rng.random() < 0.3:
                victim = mine.pop(rng.randrange(len(mine)))
                # From the question on nobody knows, until the answer has come.
                there.pop(victim)
                if self.ask("DELETE", f"/v2/kept/manifests/{victim}").status == 202:
                    gone.add(victim)

    def disturber(self, rng, layers):
        for _ in range(10000):
            self.d.api("POST", "/drover/registry/" + rng.choice(("gc", "retention")))
            layer = rng.choice(layers)
            answer = self.ask("GET", f"/v2/hub/team/app/blobs/{digest_of(layer)}")
            if answer.status == 200:
                self.assertEqual(answer.body, layer)

    def check(self, there, gone, layers):
        for tag, layer in there.items():
            text = self.want(200, "GET", f"/v2/kept/manifests/{tag}").json()
            self.assertEqual(text["layers"][0]["digest"], digest_of(layer))
            for blob in (text["config"], text["layers"][0]):
                self.assertEqual(digest_of(self.want(200, "GET", f"/v2/kept/blobs/{blob['digest']}").body), blob["digest"])
        for tag in gone:
            self.want(404, "HEAD", f"/v2/kept/manifests/{tag}")
        for layer in layers:
            self.assertEqual(self.want(200, "GET", f"/v2/hub/team/app/blobs/{digest_of(layer)}").body, layer)
        for base, _, files in os.walk(os.path.join(self.d.data, "blobs")):
            for name in files:
                with open(os.path.join(base, name), "rb") as f:
                    self.assertEqual(digest_of(f.read(), os.path.basename(base)), f"{os.path.basename(base)}:{name}")

    def test_every_acknowledged_tag_outlives_a_kill_and_is_whole(self):
        rng, there, gone = random.Random(SEED), {}, set()
        print(f"seed {SEED}, {ROUNDS} kills", flush=True)
        layers = [rng.randbytes(size) for size in (100, 50000, 2 << 20)]
        self.upstream.put("v1", *layers)
        for _ in range(ROUNDS):
            self.serve()
            before = len(there)

            ended = []

            def until_killed(work, *args):
                try:
                    work(*args)
                except BaseException as error:  # told below, unless it is the kill's
                    ended.append(error)
            threads = [threading.Thread(target=until_killed, args=(self.pusher, n, random.Random(rng.random()), there, gone))
                       for n in range(3)]
            threads.append(threading.Thread(target=until_killed, args=(self.disturber, random.Random(rng.random()), layers)))
            for t in threads:
                t.start()
            wanted, end = before + rng.randrange(1, 12), time.monotonic() + rng.uniform(0.3, 2)
            while (len(there) < wanted or time.monotonic() < end) and all(t.is_alive() for t in threads):
                time.sleep(0.005)
            self.assertEqual(ended, [], "a client ended before the kill")
            self.d.kill9()
            for t in threads:
                t.join()
            self.assertEqual([e for e in ended if not isinstance(e, GONE)], [])
        self.serve()
        self.assertGreater(len(there), ROUNDS)
        self.check(there, gone, layers)

    def test_a_kill_at_any_failpoint_of_the_store_and_the_registry_loses_and_leaves_nothing(self):
        program = os.path.join(TOP, "build-asan/drover")
        if not os.path.exists(program):
            self.skipTest("needs the build with sanitizers (make check-build)")
        done = run([sys.executable, os.path.join(TOP, "tests/crash/registry_points.py"), "--seed", str(SEED)], check=False,
                   env=dict(os.environ, DROVER=program))
        self.assertEqual(done.status, 0, done)
