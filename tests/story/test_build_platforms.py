"""drover build --platform A,B: an image for each, and an index of them."""
import json
import os
import platform
import subprocess
import tarfile

from harness import Story
from test_registry_replication import free_port

OWN = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "amd64")
OTHER = "s390x"
DOCKERFILE = """FROM --platform=$BUILDPLATFORM busybox AS make
ARG BUILDPLATFORM
ARG TARGETPLATFORM
ARG TARGETARCH
RUN echo "$BUILDPLATFORM makes $TARGETPLATFORM ($TARGETARCH)" > /made
FROM scratch
ARG TARGETPLATFORM
ENV FOR=$TARGETPLATFORM
COPY --from=make /made /made
"""


class Platforms(Story):
    def setUp(self):
        super().setUp()
        self.folder = os.path.join(self.d.root, "context-" + self._testMethodName)
        os.makedirs(self.folder)
        self.write(DOCKERFILE)

    def write(self, text):
        with open(os.path.join(self.folder, "Dockerfile"), "w") as f:
            f.write(text)

    def build(self, *args, check=True, platforms=f"linux/{OWN},linux/{OTHER}"):
        return self.d.drover("build", "--network", "none", "--platform", platforms, *args, self.folder, check=check)

    def test_an_index_has_a_manifest_for_each_platform(self):
        archive = os.path.join(self.d.root, "both.tar")
        done = self.build("-t", "both:1", "-o", f"type=oci,dest={archive}")
        with tarfile.open(archive) as tar:
            def read(name):
                return json.load(tar.extractfile(name))
            top = read("index.json")["manifests"][0]
            self.assertEqual((top["digest"], top["annotations"]["org.opencontainers.image.ref.name"]), (done.out.strip(), "1"))
            index = read("blobs/sha256/" + top["digest"].split(":")[1])
            for entry, architecture in zip(index["manifests"], (OWN, OTHER), strict=True):
                self.assertEqual(entry["platform"], {"architecture": architecture, "os": "linux"})
                manifest = read("blobs/sha256/" + entry["digest"].split(":")[1])
                config = read("blobs/sha256/" + manifest["config"]["digest"].split(":")[1])
                self.assertEqual((config["architecture"], config["config"]["Env"][-1]), (architecture, f"FOR=linux/{architecture}"))
        # On this machine the name is its own kind's image.
        self.assertEqual(self.d.inspect("both:1")["Architecture"], OWN)

    def test_a_service_is_built_for_each_platform_and_run_for_the_engines_own(self):
        port = free_port()
        self.d.stop()
        self.d.start("--registry", str(port))
        name = f"127.0.0.1:{port}/team/service:1"
        with open(os.path.join(self.folder, "compose.yaml"), "w") as f:
            json.dump({"services": {"both": {"build": {"context": ".", "dockerfile_inline": DOCKERFILE.replace("$", "$$") + "COPY --from=make /bin/busybox /bin/cat\n", "network": "none", "platforms": [f"linux/{OTHER}", f"linux/{OWN}"]}, "image": name,
                                             "command": "/bin/cat /made", "network_mode": "none"}}}, f)
        self.d.drover("up", "-d", cwd=self.folder)  # for the own one alone
        made = f"linux/{OWN} makes linux/{OWN} ({OWN})\n"
        self.assertIn(made, self.d.drover("logs", cwd=self.folder).out)
        self.d.drover("down", "--rmi", "all", cwd=self.folder)
        self.d.drover("build", "--push", cwd=self.folder)
        raw = subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"], check=True, stdout=subprocess.PIPE).stdout
        self.assertEqual([m["platform"]["architecture"] for m in json.loads(raw)["manifests"]], [OTHER, OWN])
        self.assertEqual(self.d.docker("run", "--rm", "--network", "none", name, "/bin/cat", "/made").out, made)

    def test_each_platform_has_a_directory(self):
        into = os.path.join(self.d.root, "trees")
        self.build("-o", into)
        for architecture in OWN, OTHER:
            with open(f"{into}/linux_{architecture}/made") as f:
                self.assertEqual(f.read(), f"linux/{OWN} makes linux/{architecture} ({architecture})\n")

    def test_skopeo_finds_both_in_a_registry(self):
        port = free_port()
        self.d.stop()
        self.d.start("--registry", str(port))
        for name in f"127.0.0.1:{port}/team/both:1", "team/own:1":
            pushed = self.build("-t", name, "--push").out.strip()
            at = f"docker://127.0.0.1:{port}/{'team/both' if 'both' in name else name.split(':')[0]}:1"
            raw = subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", at], check=True, stdout=subprocess.PIPE).stdout
            self.assertEqual([m["platform"]["architecture"] for m in json.loads(raw)["manifests"]], [OWN, OTHER])
            self.assertRegex(pushed, "^sha256:[0-9a-f]{64}$")
            for architecture in OWN, OTHER:
                shown = subprocess.run(["skopeo", "inspect", "--tls-verify=false", "--override-arch", architecture, at], check=True,
                                       stdout=subprocess.PIPE).stdout
                self.assertEqual(json.loads(shown)["Architecture"], architecture)

    def platforms_at(self, name):
        raw = subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"], check=True, stdout=subprocess.PIPE).stdout
        return [m["platform"]["architecture"] for m in json.loads(raw).get("manifests", [])]

    def test_a_push_of_the_name_or_of_a_tag_of_it_pushes_all_platforms(self):
        port = free_port()
        self.d.stop()
        self.d.start("--registry", str(port))
        at = f"127.0.0.1:{port}/team"
        self.build("-t", f"{at}/first:1")
        self.d.docker("image", "prune", "-f")  # the other platform's image has no name, and is no leftover
        self.assertIn("digest: sha256:", self.d.docker("push", f"{at}/first:1").out)
        self.assertEqual(self.platforms_at(f"{at}/first:1"), [OWN, OTHER])
        self.d.docker("tag", f"{at}/first:1", f"{at}/second:1")
        self.d.drover("push", f"{at}/second:1")
        self.assertEqual(self.platforms_at(f"{at}/second:1"), [OWN, OTHER])
        # A name that is given to another image stands for that one alone, and one without its other images for none.
        self.d.docker("tag", "busybox", f"{at}/second:1")
        self.d.drover("push", f"{at}/second:1")
        self.assertEqual(self.platforms_at(f"{at}/second:1"), [])
        other, = [i for i in self.d.docker("images", "-q", "--no-trunc", "--filter", "dangling=true").out.split() if self.d.inspect(i)["Architecture"] == OTHER]
        self.d.docker("rmi", other)
        self.assert_clean_refusal(self.d.drover("push", f"{at}/first:1", check=False), "several platforms", "build it again")

    def test_what_cannot_be_is_refused_by_name(self):
        self.assert_clean_refusal(self.build(platforms="windows/amd64,linux/" + OWN, check=False), "windows/amd64", "only for linux")
        self.assert_clean_refusal(self.build("-o", "type=docker,dest=/dev/null", check=False), "type=docker holds one platform")
        self.assert_clean_refusal(self.build("--cache-to", "type=registry,ref=a/b", check=False), "several platforms")
        if os.path.exists(f"/proc/sys/fs/binfmt_misc/qemu-{OTHER}"):
            self.skipTest(f"this machine runs programs for {OTHER}")
        self.write("FROM scratch\nRUN [\"/true\"]\n")
        self.assert_clean_refusal(self.build(check=False, platforms="linux/" + OTHER), f"linux/{OTHER}", "binfmt_misc", "FROM --platform=$BUILDPLATFORM")
