"""Space on demand: with --keep-free images that nobody uses go, the one not used for longest first, and never one that is used or kept."""
import json
import os
import random
import subprocess
import time

from harness import DROVER, Drover, Story, run, wait_for
from test_images import small_tar

DISK_MB = 80


class KeepFree(Story):
    """A store on a small disk of its own, which holds about nine of the images that are made here."""
    shared = False

    @classmethod
    def make(cls):
        d = Drover()
        os.makedirs(d.data)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "drover-story", d.data], check=True)
        return d

    def tearDown(self):
        ids = self.d.docker("ps", "-aq", check=False).out.split()
        if ids:
            self.d.docker("rm", "-f", *ids)
        self.d.stop()
        self.d.drover("shutdown", "--root", self.d.data)
        subprocess.run(["umount", self.d.data], check=True)
        super().tearDown()

    def image(self, name, *changes, megabytes=4):
        """Takes twice its bytes: the layer as it came, and unpacked."""
        content = random.Random(name).randbytes(megabytes << 20)
        words = [word for change in changes for word in ("--change", change)]
        self.d.docker("import", *words, "-", name, stdin=small_tar(**{"data": content, "etc": b""}))

    def names(self):
        return set(self.d.docker("images", "--format", "{{.Repository}}:{{.Tag}}").out.split())

    def free(self):
        v = os.statvfs(self.d.data)
        return v.f_bavail * v.f_frsize

    def test_unpacked_layers_of_what_nobody_uses_go_first_and_come_again(self):
        self.d.start()
        for name in ("used:1", "older:1", "old:1", "new:1"):
            self.image(name)
        self.d.docker("tag", "older:1", "also:1")
        self.d.docker("create", "--name", "holder", "used:1", "x")
        for name in ("old:1", "new:1"):
            self.d.docker("rm", self.d.docker("create", name, "x").out.strip())
        self.d.stop()
        all_free, names = self.free(), {"used:1", "older:1", "also:1", "old:1", "new:1"}
        layers = os.path.join(self.d.data, "layers")
        before = set(os.listdir(layers))
        self.d.start("--keep-free", str(all_free + (1 << 20)), "--keep-for", "0s")
        wait_for(lambda: self.free() >= all_free + (1 << 20), "room")
        self.assertEqual(self.names(), names)
        wait_for(lambda: ":1, last used" in self.d.tail(), "the log's line")
        told = [line.split("keep-free: ")[1].split(",")[0] for line in self.d.tail().splitlines() if "is kept packed" in line]
        self.assertIn(told[0], ("older:1", "also:1"))
        self.assertNotIn("used:1", told)
        self.assertNotIn("new:1", told)
        self.assertLess(set(os.listdir(layers)), before)
        # What was folded is whole at its next use, and used then.
        self.d.stop()
        self.d.start()
        self.d.docker("create", "--name", "again", "older:1", "x")
        content = run([self.d.cli, "cp", "again:/data", "-"], env=self.d.env(), text=False).out
        self.assertIn(random.Random("older:1").randbytes(4 << 20), content)
        self.assertEqual(len(self.d.docker("history", "-q", "older:1").out.split()), 1)

    def test_the_one_not_used_for_longest_goes_first_and_never_what_is_used_or_kept(self):
        self.d.start()
        for name in ("used:1", "kept:1", "team/app:1", "old:1", "older:1", "new:1"):
            self.image(name, *(["LABEL drover.keep=true"] if name == "kept:1" else []))
        self.d.docker("create", "--name", "holder", "used:1", "x")
        # The order of use is not that of arrival.
        self.d.docker("rm", self.d.docker("create", "old:1", "x").out.strip())
        self.d.docker("rm", self.d.docker("create", "new:1", "x").out.strip())
        self.d.stop()
        all_free, since = self.free(), time.time()
        self.assertLess(all_free, 35 << 20)
        # More than the unpacked layers of the three that may go, and less than one of them beside.
        more = 10 << 20
        self.d.start("--keep-free", str(all_free + more), "--keep-for", "0s", "--keep-image", "team/*")
        wait_for(lambda: "older:1" not in self.names(), "the oldest to go")
        wait_for(lambda: self.free() >= all_free + more, "room")
        self.assertEqual(self.names(), {"used:1", "kept:1", "team/app:1", "old:1", "new:1"})
        events = [json.loads(line) for line in self.d.docker("events", "--since", str(int(since)), "--until", str(int(time.time()) + 1),
                                                             "--format", "{{json .}}").out.splitlines()]
        wait_for(lambda: "keep-free: removed older:1" in self.d.tail(), "the log's line")
        self.assertIn("delete", [e["Action"] for e in events])
        # Now more is wanted than there can be: all goes that may, and the log says what is the matter.
        self.d.stop()
        self.d.start("--keep-free", "90%", "--keep-for", "0s", "--keep-image", "team/*")
        wait_for(lambda: "nothing more can go" in self.d.tail(), "the warning")
        self.assertEqual(self.names(), {"used:1", "kept:1", "team/app:1"})
        self.d.docker("rm", "holder")
        wait_for(lambda: "used:1" not in self.names(), "what is used no more to go")
        self.assertEqual(self.d.tail().count("nothing more can go"), 1)

    def test_what_was_used_lately_stays_and_pulls_find_room_again_and_again(self):
        self.d.start("--keep-free", "24m", "--keep-for", "1s")
        there = []
        for i in range(20):
            wait_for(lambda: self.free() > 24 << 20, "room for the next")
            self.image(f"many:{i}")
            there.append(f"many:{i}")
        left = self.names()
        self.assertIn("many:19", left)
        self.assertLess(len(left), 15)
        # What is left is what came last.
        self.assertEqual(sorted(left, key=there.index), there[-len(left):])

    def test_layers_of_builds_go_too_and_a_full_disk_says_what_to_do(self):
        self.d.start()
        self.d.busybox()
        work = os.path.join(self.d.root, "work")
        os.mkdir(work)
        with open(os.path.join(work, "Dockerfile"), "w") as f:
            f.write("FROM busybox\nRUN dd if=/dev/urandom of=/a bs=1M count=6\nRUN echo end > /b\n")
        self.d.docker("build", "-t", "made", work)
        self.d.docker("rmi", "--no-prune", "made")
        with open(os.path.join(work, "big"), "wb") as f:
            f.write(os.urandom(100 << 20))
        with open(os.path.join(work, "Dockerfile"), "a") as f:
            f.write("COPY big /big\n")
        full = self.d.docker("build", work, check=False)
        self.assertNotEqual(full.status, 0)
        self.assertIn("docker image prune -a", full.out + full.err)
        self.assertIn("--keep-free", full.out + full.err)
        self.d.stop()
        free = self.free()
        self.d.start("--keep-free", str(free + (5 << 20)), "--keep-for", "0s", "--keep-image", "busybox")
        wait_for(lambda: self.free() >= free + (5 << 20), "the cache to go")
        self.assertEqual(self.names(), {"busybox:latest"})

    def test_wrong_words_are_refused(self):
        for words, want in ((("--keep-free", "lots"), "--keep-free must be a size"), (("--keep-free", "95%"), "1% to 90%"),
                            (("--keep-free", "0%"), "--keep-free must be"), (("--keep-for", "soon"), "--keep-for must be a duration")):
            done = run([DROVER, "serve", "--root", self.d.data, *words], check=False)
            self.assertEqual(done.status, 2, done)
            self.assertIn(want, done.err)
        self.d.start()
