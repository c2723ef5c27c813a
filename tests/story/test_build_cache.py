"""The build cache in a registry, in a directory and inside an image: another engine builds nothing again."""
import hashlib
import json
import os
import shutil
import socket
import subprocess

from harness import Drover, Story, wait_for
from test_registry_replication import DOCKER_REGISTRY, free_port

MEDIA_TYPE = "application/vnd.drover.build.cache.v1+json"
# What each step leaves is another time another: only a cache gives it twice.
DOCKERFILE = """FROM busybox AS tools
RUN head -c 20 /dev/urandom > /tool
FROM busybox AS base
ENV A=b
WORKDIR /made/here
RUN head -c 20 /dev/urandom > random
FROM base
COPY --from=tools /tool /tool
COPY words .
RUN --mount=type=bind,target=/in cat /in/words && head -c 20 /dev/urandom > /last
ARG V=1
RUN true
COPY --link words /linked/
LABEL v=$V
CMD ["cat", "words"]
"""
STEPS = DOCKERFILE.count("\n")


def cached(result):
    return result.err.count(" CACHED")


class Caches(Story):
    def setUp(self):
        super().setUp()
        self.other = Drover().start()
        self.addCleanup(self.remove_other)
        self.folder = self.context("words", DOCKERFILE)
        image = os.path.join(self.d.root, "busybox.tar")
        self.d.docker("save", "-o", image, "busybox")
        self.other.docker("load", "-i", image)

    def remove_other(self):
        self.assertEqual(self.other.remove(), "", "left behind")

    def context(self, words, dockerfile):
        folder = os.path.join(self.d.root, "context-" + self._testMethodName)
        os.makedirs(folder, exist_ok=True)
        for name, text in {"Dockerfile": dockerfile, "words": words}.items():
            with open(os.path.join(folder, name), "w") as f:
                f.write(text)
        return folder

    def build(self, d, *args, check=True):
        return d.drover("build", "--progress", "plain", *args, self.folder, check=check)

    def registry(self):
        """Debian's docker-registry."""
        if not os.path.exists(DOCKER_REGISTRY):
            self.skipTest("needs docker-registry below build/peers (scripts/peers)")
        port, root = free_port(), os.path.join(self.d.root, "registry-" + self._testMethodName)
        os.makedirs(root)
        with open(f"{root}/config.yml", "w") as f:
            f.write(f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n")
        with open(f"{root}/log", "wb") as log:
            process = subprocess.Popen([DOCKER_REGISTRY, "serve", f"{root}/config.yml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "docker-registry to listen")
        return f"127.0.0.1:{port}", root

    def rebuilt_from(self, how, first):
        again = self.build(self.other, "--cache-from", how)
        self.assertEqual((again.out, cached(again)), (first.out, STEPS - 3), again)  # FROM is no step of the cache

    def test_another_engine_builds_nothing_again_from_a_registry(self):
        host, _ = self.registry()
        first = self.build(self.d, "--cache-to", f"type=registry,ref={host}/team/cache:main,mode=max")
        self.rebuilt_from(f"type=registry,ref={host}/team/cache:main", first)
        manifest = self.manifest(host)
        self.assertEqual((manifest["config"]["mediaType"], manifest["artifactType"]), (MEDIA_TYPE, MEDIA_TYPE))
        self.assertEqual(len(manifest["layers"]), len({layer["digest"] for layer in manifest["layers"]}))

    def manifest(self, host, name="team/cache", tag="main"):
        out = subprocess.run(["curl", "-sf", "-H", "Accept: application/vnd.oci.image.manifest.v1+json", f"http://{host}/v2/{name}/manifests/{tag}"],
                             check=True, stdout=subprocess.PIPE).stdout
        return json.loads(out)

    def test_a_registry_of_our_own_keeps_a_cache(self):
        port = free_port()
        self.other.stop()
        self.other.start("--registry", str(port))
        first = self.build(self.d, "--cache-to", f"type=registry,ref=127.0.0.1:{port}/team/cache:main,mode=max")
        self.rebuilt_from("team/cache:main", first)  # a name of this node, without an address
        # Exported by the node that has the registry.
        self.build(self.other, "--cache-to", "type=registry,ref=team/own:1,mode=max")
        self.assertEqual(self.manifest(f"127.0.0.1:{port}")["config"]["mediaType"], MEDIA_TYPE)
        self.assertEqual(len(self.manifest(f"127.0.0.1:{port}", "team/own", "1")["layers"]), len(self.manifest(f"127.0.0.1:{port}")["layers"]))

    def test_a_directory_is_a_cache(self):
        place = os.path.join(self.d.root, "cache-dir")
        first = self.build(self.d, "--cache-to", f"type=local,dest={place},mode=max")
        self.rebuilt_from(f"type=local,src={place}", first)
        with open(os.path.join(place, "index.json")) as f:
            entry = json.load(f)["manifests"][0]
        self.assertEqual(entry["annotations"], {"org.opencontainers.image.ref.name": "latest"})
        # By its digest, and under a name.
        self.other.docker("builder", "prune", "-af")
        again = self.build(self.other, "--cache-from", f"type=local,src={place},digest={entry['digest']}", "--cache-to", f"type=local,dest={place},tag=two")
        self.assertEqual(again.out, first.out)
        self.assertIn("nothing with the name \"three\"", self.build(self.other, "--cache-from", f"type=local,src={place},tag=three").err)
        # The first build of all has no directory yet.
        self.assertIn("[Warning] build cache /nowhere/at/all is not used", self.build(self.other, "--cache-from", "type=local,src=/nowhere/at/all").err)

    def test_a_compose_file_takes_and_brings_caches(self):
        kept, file = os.path.join(self.d.root, "kept-by-compose"), os.path.join(self.d.root, "compose.yaml")

        def build(d, caches, check=True):
            with open(file, "w") as f:
                f.write(f"name: caches\nservices:\n  app:\n    image: app\n    build: {{context: {self.folder}, {caches}}}\n")
            return d.drover("build", "--compose-file", file, check=check)
        build(self.d, f"cache_to: ['type=local,dest={kept},mode=max']")
        self.assertTrue(os.path.exists(os.path.join(kept, "index.json")))
        build(self.other, f"cache_from: ['type=local,src={kept}']")
        made = [d.docker("run", "--rm", "--network", "none", "app", "sha256sum", "/last", "/tool", "random").out for d in (self.d, self.other)]
        self.assertEqual(made[0], made[1])
        self.assert_clean_refusal(build(self.other, "cache_to: [type=gha]", check=False), "app", "gha")

    def test_an_image_carries_its_own_cache(self):
        host, _ = self.registry()
        name = f"{host}/team/app:1"
        first = self.build(self.d, "-t", name, "--cache-to", "type=inline", "--push")
        again = self.build(self.other, "--cache-from", name)
        # Of other stages there is nothing in it: the tool is made anew, and all from there on.
        self.assertEqual(cached(again), 3, again)
        self.assertNotEqual(again.out, first.out)

    def test_min_has_what_the_result_stands_on(self):
        host, _ = self.registry()
        self.build(self.d, "--cache-to", f"type=registry,ref={host}/team/cache:min")
        self.assertEqual(cached(self.build(self.other, "--cache-from", f"{host}/team/cache:min")), 3)

    def test_an_image_without_a_cache_is_one_by_its_history(self):
        host, _ = self.registry()
        name = f"{host}/team/plain:1"
        self.folder = self.context("words", "FROM busybox\nENV A=b\nWORKDIR /w\nRUN head -c 20 /dev/urandom > random\nCOPY words .\nCMD [\"true\"]\n")
        first = self.build(self.d, "-t", name, "--push")
        again = self.build(self.other, "--cache-from", name)
        self.assertEqual((again.out, cached(again)), (first.out, 5), again)

    def test_docker_build_takes_a_pulled_image_for_a_cache(self):
        host, _ = self.registry()
        name = f"{host}/team/plain:1"
        self.folder = self.context("words", "FROM busybox\nENV A=b\nARG B=c\nRUN head -c 20 /dev/urandom > /random\nCOPY words .\nCMD [\"true\"]\n")
        self.build(self.d, "-t", name, "--push")
        self.other.docker("pull", name)
        done = self.other.docker("build", "--cache-from", name, "-t", "again", self.folder)
        self.assertEqual(done.out.count("Using cache"), 5, done)
        self.assertEqual(self.other.inspect("again")["Id"], self.d.inspect(name)["Id"])
        # Another word in the file, and the steps before it are still there.
        self.context("other words", "FROM busybox\nENV A=b\nARG B=c\nRUN head -c 20 /dev/urandom > /random\nCOPY words .\nCMD [\"true\"]\n")
        self.other.docker("builder", "prune", "-af")
        self.assertEqual(self.other.docker("build", "--cache-from", name, self.folder).out.count("Using cache"), 3)
        # An image that was not pulled is no cache, and nothing else is one then.
        self.assertNotIn("Using cache", self.other.docker("build", "--cache-from", "nobody/has:this", self.folder).out)

    def test_a_hostile_cache_costs_only_its_use(self):
        place = os.path.join(self.d.root, "hostile")
        first = self.build(self.d, "--cache-to", f"type=local,dest={place},mode=max")
        good = os.path.join(self.d.root, "good")
        shutil.copytree(place, good)
        with open(os.path.join(place, "index.json")) as f:
            manifest_digest = json.load(f)["manifests"][0]["digest"]
        blob = lambda digest: os.path.join(place, "blobs/sha256", digest.split(":")[1])  # noqa: E731
        with open(blob(manifest_digest)) as f:
            manifest = json.load(f)

        def rewrite(config_text, layers=None):
            """The cache with another document."""
            config = {"mediaType": MEDIA_TYPE, "digest": "sha256:" + hashlib.sha256(config_text).hexdigest(), "size": len(config_text)}
            text = json.dumps(dict(manifest, config=config, layers=layers or manifest["layers"])).encode()
            digest = "sha256:" + hashlib.sha256(text).hexdigest()
            for name, content in (config["digest"], config_text), (digest, text):
                with open(blob(name), "wb") as f:
                    f.write(content)
            with open(os.path.join(place, "index.json"), "w") as f:
                json.dump({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": len(text),
                                                              "annotations": {"org.opencontainers.image.ref.name": "latest"}}]}, f)
        with open(blob(manifest["config"]["digest"])) as f:
            document = json.load(f)
        layered = [s["key"] for s in document["steps"] if "layer" in s]

        def refused(*words):
            done = self.build(self.other, "--no-cache-filter", "nobody", "--cache-from", f"type=local,src={place}")
            self.assertNotEqual(done.out, first.out)
            self.assertIn("[Warning]", done.err)
            for word in words:
                self.assertIn(word, done.err)
            self.other.docker("builder", "prune", "-af")
        # A layer whose bytes are not those of its digest.
        rotten = manifest["layers"][0]["digest"]
        with open(blob(rotten), "r+b") as f:
            f.write(b"rotten")
        refused("digest")
        shutil.copy(os.path.join(good, "blobs/sha256", rotten.split(":")[1]), blob(rotten))
        # A layer that is no archive; one that claims less than it has; one that is not there.
        with open(blob("sha256:" + hashlib.sha256(b"no tar").hexdigest()), "wb") as f:
            f.write(b"no tar")
        no_tar = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:" + hashlib.sha256(b"no tar").hexdigest(), "size": 6}
        steps = [{"key": key, "created": "2026-01-01T00:00:00Z", "layer": no_tar["digest"]} for key in layered]
        rewrite(json.dumps({"steps": steps}).encode(), [no_tar])
        refused("[Warning] the step is not taken")
        rewrite(json.dumps({"steps": steps}).encode(), [dict(no_tar, size=3)])
        refused("announced")
        gone = dict(no_tar, digest="sha256:" + "0" * 64)
        rewrite(json.dumps({"steps": [dict(s, layer=gone["digest"]) for s in steps]}).encode(), [gone])
        refused("[Warning] the step is not taken")
        # A document that says nothing, too much, or something else.
        for text, words in ((b"{", "not used"), (b'{"steps": [{"key": "../../etc"}]}', "valid key"), (b'{"steps": [{"key": "%s"}]}' % layered[0].encode(), "no layer"),
                            (b'{"steps": [{"key": "%s", "created": "yesterday"}]}' % layered[0].encode(), "yesterday"),
                            (b'{"steps": [' + b",".join([b"{}"] * 20001) + b"]}", "more than 20000")):
            rewrite(text)
            refused(words)
        # A name that leads out of the directory is not followed.
        os.remove(os.path.join(place, "index.json"))
        os.symlink("/etc/hostname", os.path.join(place, "index.json"))
        refused("[Warning]")
        self.assertEqual(self.build(self.other, "--cache-from", f"type=local,src={good}").out, first.out)

    def test_an_export_that_fails_fails_the_build_unless_told_otherwise(self):
        port = free_port()
        failed = self.build(self.d, "-t", "there", "--cache-to", f"type=registry,ref=127.0.0.1:{port}/x:1", check=False)
        self.assert_clean_refusal(failed, "export the build cache", f"127.0.0.1:{port}")
        self.assertTrue(self.d.inspect("there"))  # the image itself was made
        told = self.build(self.d, "--cache-to", f"type=registry,ref=127.0.0.1:{port}/x:1,ignore-error=true")
        self.assertIn("[Warning] the build cache was not exported", told.err)
        told = self.build(self.d, "--cache-from", f"127.0.0.1:{port}/x:1")
        self.assertIn(f"[Warning] build cache 127.0.0.1:{port}/x:1 is not used", told.err)

    def test_what_is_no_cache_is_refused_by_name(self):
        for args, words in ((("--cache-to", "type=gha"), "type=gha: it must be registry, local or inline"), (("--cache-to", "type=registry"), "ref=NAME"),
                            (("--cache-to", "type=local"), "dest=DIRECTORY"), (("--cache-from", "type=local"), "src=DIRECTORY"),
                            (("--cache-from", "type=inline"), "type=registry,ref=IMAGE"), (("--cache-to", "type=registry,ref=a,mode=most"), "min or max"),
                            (("--cache-to", "type=registry,ref=a,compression=zstd"), "gzip"), (("--cache-to", "ref=a"), "needs a type"),
                            (("--cache-from", "type=registry,ref=a,colour=red"), "colour= is not known with type=registry")):
            self.assert_clean_refusal(self.build(self.d, *args, check=False), words)
