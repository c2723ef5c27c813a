"""The room that things take and give back, as told, against what the file system says."""
import json
import os

from distribution import RegistryStory
from harness import OnItsOwnDisk
from test_build_api import TAR
from test_images import query, small_tar

MEGABYTE = 1 << 20


def taken(*paths):
    """What du(1) says of directories' contents: blocks, a file with several names once."""
    seen, total = set(), 0
    for top in paths:
        for base, dirs, files in os.walk(top):
            for name in dirs + files:
                st = os.lstat(os.path.join(base, name))
                if (st.st_dev, st.st_ino) not in seen:
                    seen.add((st.st_dev, st.st_ino))
                    total += st.st_blocks * 512
    return total


def images_take(d):
    return taken(*(os.path.join(d.data, part) for part in ("layers", "blobs/sha256")))


class Disk(OnItsOwnDisk, RegistryStory):
    """On a file system of its own, so that what it has free moves with ours alone."""

    arguments, image = ("--registry", "0"), True

    def ask(self, method, path):
        status, _, content = self.d.api(method, path)
        self.assertEqual(status, 200, content)
        return json.loads(content)

    def build(self, dockerfile, **parameters):
        status, _, content = self.d.api("POST", "/build?" + query(version=1, networkmode="none", **parameters), small_tar(Dockerfile=dockerfile), TAR)
        lines = [json.loads(line) for line in content.splitlines()]
        self.assertNotIn("error", lines[-1], lines)
        return next(line["aux"]["ID"] for line in reversed(lines) if "aux" in line)

    def free(self):
        st = os.statvfs(self.d.data)
        return st.f_bfree * st.f_frsize

    def given_back(self, act, took):
        """Does it; what it says it gave back is what `took` shrank by, and the file system has that more."""
        took_before, free_before = took(), self.free()
        answer = act()
        self.assertEqual(answer["SpaceReclaimed"], took_before - took())
        gained = self.free() - free_before
        self.assertLess(abs(gained - answer["SpaceReclaimed"]), MEGABYTE // 2, (gained, answer))
        return answer

    def shared_base_and_two(self):
        # Two names of one file, many small ones: where sizes of files are not what the disk holds.
        self.build("FROM busybox\nRUN head -c 3000000 /dev/urandom > /a && ln /a /b && for i in $(seq 200); do echo $i > /s$i; done\n", t="base")
        for name in "one", "two":
            self.build(f"FROM base\nRUN head -c 1000000 /dev/urandom > /{name}\n", t=name)

    def test_df_counts_what_lies_on_the_disk_and_prune_what_the_disk_gains(self):
        self.shared_base_and_two()
        usage = self.ask("GET", "/system/df")
        self.assertEqual(usage["LayersSize"], images_take(self.d))
        by_name = {i["RepoTags"][0]: i for i in usage["Images"] if i["RepoTags"]}
        for name in "one:latest", "two:latest":
            self.assertGreater(by_name[name]["SharedSize"], 6 * MEGABYTE)  # unpacked, and as a blob
            self.assertAlmostEqual(by_name[name]["Size"] - by_name[name]["SharedSize"], 2000000, delta=100000)
        # The registry keeps what was pushed: its blobs are not the images' to give back.
        self.d.docker("tag", "one", "team/one:1")
        self.d.docker("push", "team/one:1")
        held = images_take(self.d) - self.ask("GET", "/system/df")["LayersSize"]
        self.assertGreater(held, 4 * MEGABYTE)
        self.d.docker("create", "--name", "keeps", "two")
        done = self.given_back(lambda: self.ask("POST", "/images/prune?" + query(filters={"dangling": ["false"]})), lambda: images_take(self.d))
        self.assertIn({"Untagged": "one:latest"}, done["ImagesDeleted"])
        self.assertLess(done["SpaceReclaimed"], 2 * MEGABYTE)  # the base is two's, which a container has
        self.d.docker("rm", "keeps")
        done = self.given_back(lambda: self.ask("POST", "/images/prune?" + query(filters={"dangling": ["false"]})), lambda: images_take(self.d))
        self.assertEqual(self.ask("GET", "/system/df")["LayersSize"], 0)
        self.assertLess(abs(images_take(self.d) - held), MEGABYTE // 8)
        self.d.docker("pull", "team/one:1")
        self.assertEqual(self.d.docker("run", "--rm", "--network", "none", "team/one:1", "wc", "-c", "/one").out, "1000000 /one\n")
        self.d.docker("rmi", "team/one:1")
        self.d.busybox()

    def test_builder_prune_gives_back_records_and_cache_mounts(self):
        self.build("FROM busybox\nRUN --mount=type=cache,target=/c head -c 2000000 /dev/urandom > /c/x && ln /c/x /c/y\n"
                   "RUN head -c 1000000 /dev/urandom > /x\n")
        caches = [r for r in self.ask("GET", "/v1.42/system/df")["BuildCache"] if r["Type"] == "exec.cachemount"]
        self.assertEqual(len(caches), 1)
        self.assertLess(caches[0]["Size"], 2100000)

        def took():
            return images_take(self.d) + sum(r["Size"] for r in self.ask("GET", "/v1.42/system/df")["BuildCache"] if r["Type"] == "exec.cachemount")
        done = self.given_back(lambda: self.ask("POST", "/build/prune"), took)
        self.assertGreater(done["SpaceReclaimed"], 4000000)
