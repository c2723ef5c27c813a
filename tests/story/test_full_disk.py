"""A disk that is full in the middle: one clear error, and nothing half-made is kept."""
import json
import os
import random
import tarfile
import io

import test_registry
from distribution import BYTES, RegistryStory, digest_of
from harness import OnItsOwnDisk, Story
from test_build_api import TAR
from test_images import query, small_tar

MEGABYTES = 24


class FullDisk(OnItsOwnDisk, Story):
    size = f"{MEGABYTES}m"

    def big(self, megabytes=30):
        return random.Random(1).randbytes(megabytes << 20)

    def kept(self):
        """All that is on the disk, but for what a database needs and the keeper's own few files."""
        found = set()
        for base, dirs, files in os.walk(self.d.data):
            found |= {os.path.relpath(os.path.join(base, n), self.d.data) for n in files if not n.endswith((".db", ".db-wal", ".db-shm", ".log"))}
        return {path for path in found if not path.startswith("keeper/")}

    def tar(self, content, name="big"):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        return out.getvalue()

    def full(self, method, path, body, headers=None):
        """Whichever way a failure is told, its text."""
        before = self.kept()
        status, _, content = self.d.api(method, path, body, headers)
        last = json.loads(content.splitlines()[-1])
        text = last.get("error") or last.get("message")
        self.assertTrue(text, content[-500:])
        self.assertIn("no space left on device", text.lower())
        self.assertEqual(self.kept(), before)
        self.assertEqual(self.d.docker("run", "--rm", "--network", "none", "busybox", "echo", "well").out, "well\n")

    def test_an_import_that_does_not_fit(self):
        self.full("POST", "/images/create?fromSrc=-&repo=big", self.tar(self.big()))

    def test_a_load_that_does_not_fit(self):
        layer = self.tar(self.big())
        self.full("POST", "/images/load", self.tar(layer, "layer.tar"))

    def test_a_root_whose_disk_is_full_can_be_shut_down_and_started_again(self):
        d = self.d
        _, _, content = d.api("POST", "/build?" + query(version=1, networkmode="none"),
                              small_tar(Dockerfile="FROM busybox\nRUN head -c 40000000 /dev/urandom > /big\n"), TAR)
        self.assertIn("error", json.loads(content.splitlines()[-1]))
        d.stop()
        d.drover("shutdown", "--root", d.data)
        for base, _, files in os.walk(os.path.join(d.data, "containers")):
            if "big" in files:
                os.unlink(os.path.join(base, "big"))
        d.start()
        d.docker("rm", *d.docker("ps", "-aq").out.split())
        self.assertEqual(d.docker("run", "--rm", "--network", "none", "busybox", "echo", "well").out, "well\n")

    def test_a_pull_that_does_not_fit(self):
        scripted = test_registry.Scripted
        blobs, manifest, _ = scripted.image(self, [scripted.file(self, "big", self.big())])
        host, _ = scripted.serve(self, blobs, {"1": manifest})
        self.full("POST", f"/images/create?fromImage={host}/big&tag=1", b"")

    def test_a_build_whose_context_or_step_does_not_fit(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, content in (("Dockerfile", b"FROM busybox\nCOPY . /\n"), ("big", self.big())):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        self.full("POST", "/build?version=1", out.getvalue(), TAR)
        before = self.kept()
        status, _, content = self.d.api("POST", "/build?" + query(version=1, networkmode="none", forcerm=1),
                                        small_tar(Dockerfile="FROM busybox\nRUN head -c 40000000 /dev/urandom > /big\n"), TAR)
        self.assertEqual(json.loads(content.splitlines()[-1])["errorDetail"]["code"], 1)
        self.assertEqual(self.kept(), before)

    def test_a_step_that_fits_and_whose_layer_does_not(self):
        self.full("POST", "/build?" + query(version=1, networkmode="none", forcerm=1),
                  small_tar(Dockerfile=f"FROM busybox\nRUN head -c {MEGABYTES * 6 // 10 << 20} /dev/urandom > /big\n"), TAR)


class FullRegistry(OnItsOwnDisk, RegistryStory):
    """The disk is full in the middle of a push: it fails clearly, nothing of it is served, and the registry goes on."""

    size, arguments, image = f"{MEGABYTES}m", ("--registry", "0"), False

    def test_a_push_that_does_not_fit(self):
        kept = self.push_blob("kept", b"kept" * 1000)
        big = random.Random(2).randbytes((MEGABYTES + 4) << 20)
        for _ in range(2):  # and nothing of the first is in the second's way
            refused = self.ask("POST", f"/v2/big/blobs/uploads/?digest={digest_of(big)}", big, Content_Type=BYTES)
            self.assertEqual(refused.status, 507)
            self.assertIn("no space left on device", refused.json()["errors"][0]["message"].lower())
        # In chunks: what came stays for the client to go on with; it gives up, and there is room again.
        location = self.begin("big")
        self.want(507, "PATCH", location, big, Content_Type=BYTES)
        self.want(204, "DELETE", location)
        self.want(404, "HEAD", f"/v2/big/blobs/{digest_of(big)}")
        self.assertEqual(os.listdir(os.path.join(self.d.data, "uploads")), [])
        self.assertEqual(self.want(200, "GET", f"/v2/kept/blobs/{kept}").body, b"kept" * 1000)
        self.push("kept", "after", self.manifest("kept", "after"))
