"""Names without an address: `web:1.4` is this node's own registry's."""
import ctypes
import json
import mmap
import os

from distribution import OCI_INDEX, RegistryStory, digest_of
from harness import DROVER, Drover, Story, busybox_root_tar, run, wait_for


def pages_in_memory(path):
    """How many of a file's pages the page cache has, and how many there are."""
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as pages:
        count = -(-len(pages) // mmap.PAGESIZE)
        there = ctypes.create_string_buffer(count)
        start = ctypes.c_char.from_buffer(pages)
        failed = ctypes.CDLL(None, use_errno=True).mincore(ctypes.byref(start), ctypes.c_size_t(len(pages)), there)
        del start
        if failed:
            raise OSError(ctypes.get_errno(), "mincore")
        return sum(page & 1 for page in there.raw), count


class OwnNames(RegistryStory):
    @classmethod
    def make(cls):
        d = Drover().start("--registry", "0")
        d.busybox()
        return d

    def blob_files(self):
        below = os.path.join(self.d.data, "blobs/sha256")
        return {name: os.stat(os.path.join(below, name)).st_ino for name in os.listdir(below)}

    def push_web(self, tag, text):
        self.d.docker("import", "--change", 'CMD ["cat","/etc/issue"]', "--change", f"LABEL is={text}", "-", tag,
                      stdin=open(self.rootfs(), "rb").read())
        return self.d.docker("push", tag)

    def rootfs(self):
        path = os.path.join(self.d.root, "rootfs.tar")
        if not os.path.exists(path):
            with open(path, "wb") as f:
                f.write(busybox_root_tar())
        return path

    def test_a_bare_name_is_pushed_pulled_and_run_without_a_byte_moving(self):
        pushed = self.push_web("team/web:1.4", "one")
        self.assertIn("1.4: digest: sha256:", pushed.out)
        self.assertEqual(self.want(200, "GET", "/v2/team/web/tags/list").json()["tags"], ["1.4"])
        before = self.blob_files()
        self.d.docker("rmi", "team/web:1.4")
        self.assertEqual(self.blob_files(), before)  # the registry keeps them
        self.assertIn("Status: Downloaded newer image", self.d.docker("pull", "team/web:1.4").out)
        self.assertEqual(self.blob_files(), before)  # and a pull brings none
        self.d.docker("rmi", "team/web:1.4")
        self.assertEqual(self.d.docker("run", "--rm", "team/web:1.4", "echo", "runs").out, "runs\n")
        digest = self.want(200, "HEAD", "/v2/team/web/manifests/1.4")["Docker-Content-Digest"]
        self.d.docker("rmi", "team/web:1.4")
        self.d.docker("pull", f"team/web@{digest}")
        self.assertEqual(self.d.inspect(f"team/web@{digest}")["Config"]["Labels"], {"is": "one"})
        self.d.docker("rmi", f"team/web@{digest}")
        self.d.drover("pull", "team/web:1.4")
        self.assertEqual(self.d.drover("run", "--rm", "team/web:1.4", "echo", "ours too").out, "ours too\n")

    def test_what_was_pushed_is_in_memory_for_who_pulls_it_next(self):
        data = os.urandom(24 << 20)  # whole buffers go past the page cache
        digest = self.push_blob("team/large", data)
        path = os.path.join(self.d.data, "blobs/sha256", digest.split(":")[1])
        wait_for(lambda: len(set(pages_in_memory(path))) == 1, "all pages of the blob to be in memory")
        self.assertEqual(self.want(200, "GET", f"/v2/team/large/blobs/{digest}").body, data)

    def test_a_pull_brings_what_was_pushed_last_and_all_tags_when_asked(self):
        self.push_web("app:1", "one")
        self.push_web("app:2", "two")
        self.d.docker("rmi", "app:1", "app:2")
        self.d.docker("pull", "-a", "app")
        self.assertEqual(sorted(self.d.docker("images", "app", "--format", "{{.Tag}}").out.split()), ["1", "2"])
        manifest = self.want(200, "GET", "/v2/app/manifests/2").body
        self.push("app", "1", manifest)  # somebody pushes tag 1 again, over HTTP
        self.assertIn("newer image", self.d.docker("pull", "app:1").out)
        self.assertEqual(self.d.inspect("app:1")["Id"], self.d.inspect("app:2")["Id"])
        self.assertIn("up to date", self.d.docker("pull", "app:1").out)

    def test_an_index_gives_this_machines_image(self):
        self.push_web("multi:src", "native")
        manifest = self.want(200, "GET", "/v2/multi/manifests/src").body
        arch = self.d.inspect("multi:src")["Architecture"]
        descriptor = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest_of(manifest), "size": len(manifest)}
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
            {**descriptor, "platform": {"os": "linux", "architecture": arch}},
            {**descriptor, "digest": digest_of(b"none"), "platform": {"os": "linux", "architecture": "s390x"}}]}).encode()
        self.push("multi", "all", index, OCI_INDEX)
        self.d.docker("pull", "multi:all")
        self.assertEqual(self.d.inspect("multi:all")["Id"], self.d.inspect("multi:src")["Id"])
        refused = self.d.docker("pull", "--platform", "linux/s390x", "multi:all", check=False)
        self.assert_clean_refusal(refused, "multi:all", "was not pushed")
        status, _, body = self.d.api("GET", "/distribution/multi:all/json")
        self.assertEqual((status, json.loads(body)["Descriptor"]["digest"]), (200, digest_of(index)), body)

    def test_a_build_stands_on_a_bare_name(self):
        self.push_web("base:1", "one")
        self.d.docker("rmi", "base:1")
        context = os.path.join(self.d.root, "context")
        os.makedirs(context, exist_ok=True)
        with open(os.path.join(context, "Dockerfile"), "w") as f:
            f.write("FROM base:1\nRUN echo built > /made\n")
        self.d.docker("build", "-t", "derived:1", context)
        self.assertEqual(self.d.docker("run", "--rm", "derived:1", "cat", "/made").out, "built\n")

    def test_what_nobody_pushed_is_asked_of_the_next(self):
        # There is no docker.io in a test's network: that it was asked shows in who could not be reached.
        self.assert_clean_refusal(self.d.docker("pull", "nobody/has:this", check=False), "docker.io")
        # An image that is here under the name is not taken for the newest.
        self.assert_clean_refusal(self.d.docker("pull", "busybox", check=False), "docker.io")


class OwnNamesOrder(Story):
    image = False
    shared = False

    @classmethod
    def make(cls):
        return Drover()

    def started(self, order):
        self.d.start("--registry", "0", "--registry-names", order)
        self.d.busybox("web:1")

    def test_only_never_asks_docker_io(self):
        self.started("only")
        self.assert_clean_refusal(self.d.docker("pull", "web:1", check=False), "nobody pushed web:1 to this node's registry")
        self.d.docker("push", "web:1")
        self.d.docker("pull", "web:1")

    def test_last_pushes_to_docker_io_and_falls_back_to_ours(self):
        self.started("last")
        self.assert_clean_refusal(self.d.docker("push", "web:1", check=False), "docker.io")
        host, port = RegistryStory.address(self.d)
        self.d.docker("tag", "web:1", f"{host}:{port}/web:1")
        self.d.docker("push", f"{host}:{port}/web:1")
        self.d.docker("rmi", "web:1")
        self.d.docker("pull", "web:1")
        self.assertEqual(self.d.docker("run", "--rm", "web:1", "echo", "ours").out, "ours\n")

    def test_another_word_is_refused(self):
        refused = run([DROVER, "serve", "--root", self.d.data, "--socket", self.d.socket, "--registry-names", "never"],
                      check=False)
        self.assert_clean_refusal(refused, "--registry-names", "first, last or only")
