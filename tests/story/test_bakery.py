"""A bakery: bases from packages, what stands on them rebuilt in order, tested, pushed to the global registry and promoted to the
local one. The example of docs/bakery.md is what runs here."""
import base64
import http.client
import json
import os
import shutil
import signal
import subprocess
import urllib.request

from harness import DROVER, TOP, Drover, Story, free_port, wait_for
from packages import Archive, busybox
from test_registry_replication import DOCKER_REGISTRY

EXAMPLE = os.path.join(TOP, "examples/bakery")


class Bakery(Story):
    """The global node and the local one, each with its registry; self.d is the global one."""
    shared = False
    image = False

    @classmethod
    def make(cls, *args):
        d = Drover()
        d.port = free_port()
        return d.start("--registry", f"127.0.0.1:{d.port}", *args)

    def setUp(self):
        super().setUp()
        # The local registry tells the local bakery of what comes to it.
        self.hook, self.secret = free_port(), os.path.join(self.d.root, "secret")
        self.write(self.d.root, "secret", "between us\n")
        self.write(self.d.root, "registry.yaml", f"webhooks: [{{name: bakery, url: 'http://127.0.0.1:{self.hook}/hook', secret: between us, match: [shop/**]}}]\nrepositories: [{{match: '**', pull: anonymous, push: authenticated}}]\n")
        self.local = self.make("--registry-config", os.path.join(self.d.root, "registry.yaml"))
        account = ":".join(self.local.drover("registry", "token", "create", "bakery", "-r", "**", "-a", "push").out.split()[:2])
        for node in (self.d, self.local):
            os.makedirs(os.path.join(node.root, "docker-config"))
            self.write(os.path.join(node.root, "docker-config"), "config.json", json.dumps({"auths": {f"127.0.0.1:{self.local.port}": {"auth": base64.b64encode(account.encode()).decode()}}}))
        self.addCleanup(lambda: self.assertEqual(self.local.remove(), ""))
        os.chmod(self.d.root, 0o755)  # apt reads as a user of its own
        self.archive = Archive(os.path.join(self.d.root, "a"))
        self.addCleanup(self.archive.close)
        busybox(self.archive)

    def example(self, which, node):
        """A copy of the example, with this test's registries and packages."""
        where = os.path.join(node.root, which)
        shutil.copytree(os.path.join(EXAMPLE, which), where)
        for folder, _, files in os.walk(where):
            for name in files:
                path = os.path.join(folder, name)
                with open(path) as text:
                    content = text.read()
                content = content.replace("127.0.0.1:5000", f"127.0.0.1:{self.d.port}").replace("127.0.0.1:5001", f"127.0.0.1:{self.local.port}")
                content = content.replace("base: busybox ", f"base: busybox\n    keyring: {self.archive.keyring}\n    mirrors: ['{self.archive.line()}'] ")
                with open(path, "w") as text:
                    text.write(content)
        return where

    def bake(self, where, *args, node=None, status=0):
        done = (node or self.d).drover("bake", *args, cwd=where, check=False)
        self.assertEqual(done.status, status, done)
        self.assertNotIn("bakery-candidate", (node or self.d).drover("images", "--json").out)
        return done

    def digest(self, node, name, tag="latest"):
        request = urllib.request.Request(f"http://127.0.0.1:{node.port}/v2/{name}/manifests/{tag}", method="HEAD", headers={"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return answer.headers["Docker-Content-Digest"]

    def get(self, port, path):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/{path}", headers={"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return json.load(answer)

    def packages_of(self, port, name, referrers):
        """Named by the one bill of materials that a list of referrers has."""
        self.assertEqual([r["artifactType"] for r in referrers["manifests"]], ["application/spdx+json"])
        artifact = self.get(port, f"{name}/manifests/{referrers['manifests'][0]['digest']}")
        return {p["name"] for p in self.get(port, f"{name}/blobs/{artifact['layers'][0]['digest']}")["packages"]}

    def test_a_base_has_its_bill_of_materials_beside_it_also_where_no_referrers_are_listed(self):
        port, root = free_port(), os.path.join(self.d.root, "debian")
        if not os.path.exists(DOCKER_REGISTRY):
            self.skipTest("needs docker-registry below build/peers (scripts/peers)")
        os.makedirs(root)
        self.write(root, "config.yml", f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n")
        process = subprocess.Popen([DOCKER_REGISTRY, "serve", f"{root}/config.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        self.write(root, "bakery.yaml", f"registry: 127.0.0.1:{port}\nlocals: ['127.0.0.1:{self.local.port}', '127.0.0.1:{self.d.port}']\nimages:\n  base/os:\n    base: busybox\n"
                   f"    keyring: {self.archive.keyring}\n    mirrors: ['{self.archive.line()}']\n    tags: ['1', latest]\n")
        self.bake(root)
        for where in (self.d.port, self.local.port):
            digest = self.digest(self.d, "base/os")
            self.assertEqual(self.packages_of(where, "base/os", self.get(where, f"base/os/referrers/{digest}")), {"busybox-static", "busybox"})
        # docker-registry: in an index under a tag made of the digest, once though two tags were pushed.
        self.assertEqual(self.packages_of(port, "base/os", self.get(port, f"base/os/manifests/{digest.replace(':', '-')}")), {"busybox-static", "busybox"})

    def write(self, where, name, text):
        with open(os.path.join(where, name), "w") as out:
            out.write(text)

    def test_a_global_bakery_feeds_a_local_one(self):
        where = self.example("global", self.d)
        names = ("base/os", "base/httpd", "shop/web", "shop/report")
        self.assertEqual(self.bake(where, "plan").out.splitlines(), ["base/os: make: is new", "base/httpd: make: stands on base/os", "shop/web: make: stands on base/httpd", "shop/report: make: stands on base/httpd"])
        first = self.bake(where)
        self.assertIn("4 made, 0 up to date, 0 failed, 0 held back", first.out)
        for name in names:
            self.assertEqual(self.digest(self.d, name), self.digest(self.local, name))
        self.assertEqual(self.digest(self.local, "shop/web", "1"), self.digest(self.local, "shop/web"))
        order = [first.out.index(f"{name}: made") for name in names]
        self.assertLess(order[0], order[1])
        self.assertLess(order[1], min(order[2:]))
        again = self.bake(where)
        self.assertEqual(again.out, "0 made, 4 up to date, 0 failed, 0 held back\n")
        self.assertTrue(all(line.endswith(": up to date") for line in self.bake(where, "plan").out.splitlines()))

        # A local bakery stands on what came there, and hears of the next push.
        there = self.example("local", self.local)
        self.assertIn("1 made", self.bake(there, node=self.local).out)
        before = self.digest(self.local, "branch/report")
        watch = subprocess.Popen([DROVER, "bake", "watch", "--listen", str(self.hook), "--secret-file", self.secret, "--interval", "1h"], cwd=there, env=self.local.env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(watch.stdout.close)
        try:
            self.assertEqual(watch.stdout.readline(), f"listening for pushes at http://127.0.0.1:{self.hook}/hook\n")
            self.assertIn("0 made, 1 up to date", watch.stdout.readline())
            self.assertEqual([self.notify("shop/report", bearer) for bearer in (None, "guessed", "between us")], [401, 401, 200])

            # A new base: the packages have changed.
            self.d.drover("run", "-d", "--name", "old", "shop/web:1")
            old = self.digest(self.local, "shop/web")
            self.assertIn("0 made", self.bake(where, "refresh").out)
            busybox(self.archive, "1.0-2")
            self.assertIn("0 made", self.bake(where).out)
            refreshed = self.bake(where, "refresh", "base/os")
            self.assertIn("4 made, 0 up to date", refreshed.out)
            self.assertIn("container old (shop/web) still runs on the old base/os", refreshed.out)
            self.assertIn("container old (shop/web) still runs on the old base/os", self.bake(where, "status").out)
            self.assertNotEqual(self.digest(self.local, "shop/web"), old)
            self.assertEqual(self.digest(self.d, "shop/report"), self.digest(self.local, "shop/report"))

            while "branch/report: made" not in watch.stdout.readline():
                self.assertIsNone(watch.poll())
            wait_for(lambda: self.digest(self.local, "branch/report") != before, "the local image to follow")
            busy = self.local.drover("bake", cwd=there, check=False)
            self.assert_clean_refusal(busy, "another drover bake is at work")
        finally:
            watch.send_signal(signal.SIGTERM)
            self.assertEqual(watch.wait(), 0)

    def notify(self, repository, bearer):
        connection = http.client.HTTPConnection("127.0.0.1", self.hook)
        connection.request("POST", "/hook", json.dumps({"events": [{"action": "push", "target": {"repository": repository, "tag": "latest"}}]}), {"Authorization": f"Bearer {bearer}"} if bearer else {})
        status = connection.getresponse().status
        connection.close()
        return status

    def test_a_failure_stops_its_branch_and_nothing_is_lost_by_a_kill(self):
        where = self.example("global", self.d)
        self.bake(where)
        good = self.digest(self.local, "shop/web")
        self.d.drover("run", "-d", "--name", "shop", "shop/web:1")
        self.write(where, "httpd/start", "trap 'exit 0' TERM\nhttpd -f -p 8080 -h \"${1:-/www}\" & wait\n")
        self.write(where, "web/Dockerfile", "FROM base/httpd:latest\nCOPY index.html /www/index.html\nUSER root\n")
        done = self.bake(where, status=1)
        self.assertIn("shop/web: FAILED: 1 findings of its test, the first: the image's user \"root\" is root", done.out)
        self.assertIn("2 made, 1 up to date, 1 failed, 0 held back", done.out)
        self.assertIn("container shop (shop/web) still runs on the old base/httpd", done.out)
        self.assertEqual(self.digest(self.local, "shop/web"), good)
        status = self.bake(where, "status", status=1)
        self.assertRegex(status.out, r"shop/web +1,latest +web +[0-9a-f]{12} +failed +1 findings")

        # One that others stand on fails: they are held back.
        self.write(where, "httpd/Dockerfile", "FROM base/os:latest\nRUN echo no such luck; false\n")
        held = self.bake(where, status=1)
        self.assertIn("0 made, 1 up to date, 1 failed, 2 held back", held.out)
        self.assertIn("shop/report: held back: it stands on base/httpd", held.out)
        self.assertIn("no such luck", held.err)

        # Mended, and killed on the way: the next one goes on.
        for name in ("httpd/Dockerfile", "web/Dockerfile"):
            shutil.copy(os.path.join(EXAMPLE, "global", name), os.path.join(where, name))
        self.write(where, "web/index.html", "<h1>Welcome back</h1>\n")
        killed = subprocess.Popen([DROVER, "bake"], cwd=where, env=self.d.env(), stdout=subprocess.PIPE, text=True)
        while "shop/web: made" not in killed.stdout.readline():
            self.assertIsNone(killed.poll())
        killed.kill()
        killed.wait()
        killed.stdout.close()
        for name in self.d.docker("ps", "-q", "--filter", "label=drover.image-test").out.split():
            self.d.docker("rm", "-f", name)
        mended = self.bake(where)
        self.assertIn("0 failed, 0 held back", mended.out)
        self.assertIn("0 made, 4 up to date", self.bake(where).out)
        self.assertNotEqual(self.digest(self.local, "shop/web"), good)
        self.assertEqual(self.digest(self.local, "shop/web"), self.digest(self.d, "shop/web"))

    def test_a_wrong_bakery_is_told_with_its_lines(self):
        where = os.path.join(self.d.root, "wrong")
        os.makedirs(where)
        for text, words in (("images:\n  a: {build: x, on: [b]}\n  b: {build: x, on: [a]}\n", "bakery.yaml:2:6: images.a: stands on itself"), ("images: {a: {build: x, on: [c]}}\n", 'bakery.yaml:1:29: images.a.on[0]: "c" is no image of this file'),
                            ("images: {a: {}}\n", 'images.a: needs either "base" or "build"'), ("images: {a: {build: x, base: busybox}}\n", 'needs either "base" or "build"'), ("image: {}\n", 'image: unknown key; did you mean "images"?'),
                            ("images: {plan: {build: x}}\n", '"plan" is no name for an image'), ("images: {a: {base: 'alpine:3'}}\n", "no base that is known"), ("locals: ['x:1']\n", "come to local registries from the global one"),
                            ("images: {a: {build: x, kind: parameterised}}\n", "belong together"), ("images: {a: {build: x, tags: ['a b']}}\n", '"a b" is no tag'), ("registry: [x]\n", "must be a string, not a list"), ("images: {a: {build: x, include: [y]}}\n", 'include: is for "base"')):
            self.write(where, "bakery.yaml", text)
            done = self.bake(where, status=2)
            self.assertIn(words, done.err)
        self.write(where, "bakery.yaml", "images: {a: {build: nowhere}}\n")
        self.assertIn("a: FAILED: a: open build context ./nowhere", self.bake(where, status=1).out)
        self.assert_clean_refusal(self.d.drover("bake", "nothing", cwd=where, check=False), 'no image "nothing"')
        self.assert_clean_refusal(self.d.drover("bake", cwd=self.d.root, check=False), "bakery.yaml")
        refused = self.d.drover("bake", "watch", "--listen", "0.0.0.0:0", cwd=where, check=False)
        self.assert_clean_refusal(refused, "give a secret by --secret-file")
