"""Bases from signed packages: what is in them, that they come out the same, and that nothing unsigned gets in."""
import glob
import json
import os
import signal
import subprocess

from harness import DROVER, Story, wait_for
from packages import Archive, busybox


class BakeBase(Story):
    image = False

    def setUp(self):
        super().setUp()
        self.archive = Archive(os.path.join(self.d.root, self.id()[-12:]))
        self.addCleanup(self.archive.close)
        self.tmp = os.path.join(self.archive.root, "..", "tmp")
        os.makedirs(self.tmp)

    def bake(self, *args, check=True):
        done = self.d.drover("bake", "base", *args, "--keyring", self.archive.keyring, "--mirror", self.archive.line(), check=check, env=self.d.env(TMPDIR=self.tmp))
        self.assertEqual(glob.glob(self.tmp + "/*"), [], "left behind")
        return done

    def test_the_same_packages_give_the_same_base_which_says_what_it_is_made_of(self):
        busybox(self.archive)
        sbom = os.path.join(self.archive.root, "sbom.json")
        first = json.loads(self.bake("busybox:test", "--json").out)
        again = json.loads(self.bake("busybox:test", "--json", "-t", "own/base:1", "--sbom", sbom).out)
        self.assertEqual((first["digest"], first["id"]), (again["digest"], again["id"]))
        self.assertEqual((first["image"], first["packages"], first["list"]), ("base/busybox:test", 1, "busybox-static=1.0-1"))
        image = json.loads(self.d.drover("inspect", "own/base:1").out)[0]
        labels = image["Config"]["Labels"]
        self.assertEqual((labels["drover.base"], labels["drover.base.packages"]), ("busybox:test", "busybox-static=1.0-1"))
        self.assertTrue(labels["drover.base.command"].startswith("mmdebstrap --variant=extract "), labels)
        self.assertNotIn(self.tmp, json.dumps(image["Config"]))
        self.assertEqual(image["Created"], "2000-01-01T00:00:00Z")
        inside = self.d.drover("run", "--rm", "own/base:1", "cat", labels["drover.base.sbom"]).out
        with open(sbom) as text:
            self.assertEqual(inside, text.read())
        document = json.loads(inside)
        self.assertEqual(document["spdxVersion"], "SPDX-2.3")
        package = document["packages"][1]
        self.assertEqual((package["name"], package["versionInfo"]), ("busybox-static", "1.0-1"))
        self.assertTrue(package["externalRefs"][0]["referenceLocator"].startswith("pkg:deb/debian/busybox-static@1.0-1?arch="), package)
        self.assertEqual({r["relatedSpdxElement"] for r in document["relationships"]}, {p["SPDXID"] for p in document["packages"]})
        listing = self.d.drover("run", "--rm", "own/base:1", "sh", "-c", "stat -c '%n %a %u' / /tmp /root /etc/passwd; stat -c %Y /bin/busybox /bin/sh /etc/group /home; ls /").out.split()
        self.assertEqual(" ".join(listing[:12]), "/ 755 0 /tmp 1777 0 /root 700 0 /etc/passwd 644 0")
        self.assertEqual(set(listing[12:16]), {"946684800"})
        self.assertEqual(listing[16:], sorted(["bin", "dev", "etc", "home", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var"]))
        self.assertLess(image["Size"], 4 << 20)

    def test_other_packages_or_another_time_give_another_base(self):
        busybox(self.archive, "1.0-2")
        done = self.d.drover("bake", "base", "busybox", "-t", "timed", "--json", "--keyring", self.archive.keyring, "--mirror", self.archive.line(), env=self.d.env(TMPDIR=self.tmp, SOURCE_DATE_EPOCH="1700000000"))
        self.assertEqual(json.loads(done.out)["list"], "busybox-static=1.0-2")
        self.assertEqual(json.loads(self.d.drover("inspect", "timed").out)[0]["Created"], "2023-11-14T22:13:20Z")

    def test_packages_that_nobody_signed_are_refused(self):
        busybox(self.archive)
        with open(self.archive.root + "/Packages", "ab") as index:
            index.write(b"\n")
        self.assert_clean_refusal(self.bake("busybox", check=False), "mmdebstrap could not make the base")
        busybox(self.archive)
        other = Archive(os.path.join(self.d.root, "other"))
        self.addCleanup(other.close)
        stranger = self.d.drover("bake", "base", "busybox", "--keyring", other.keyring, "--mirror", self.archive.line(), check=False, env=self.d.env(TMPDIR=self.tmp))
        self.assert_clean_refusal(stranger, "mmdebstrap could not make the base")

    def test_what_is_wrong_is_told_and_nothing_is_left(self):
        for args, words in ((("ubuntu:noble",), 'no base that is known'), (("debian",), "write debian:SUITE"), (("debian:../x",), "no name of a suite"), (("debian:bookworm", "--variant", "tiny"), 'variant "tiny"'),
                            (("busybox", "--include", "curl"), "takes no packages"), (("debian:bookworm", "--include", "a;b"), '"a;b" is no name of a package'),
                            (("debian:bookworm", "--snapshot", "20260101T000000Z"), "one of them only"), (("busybox", "-t", "UPPER"), "no name of an image")):
            self.assert_clean_refusal(self.bake(*args, check=False), words)
        self.assert_clean_refusal(self.d.drover("bake", "base", "debian:bookworm", "--snapshot", "yesterday", check=False), "no time such as")
        away = self.d.drover("bake", "base", "busybox", "--mirror", "deb [trusted=yes] http://127.0.0.1:9/ ./", check=False, env=self.d.env(TMPDIR=self.tmp))
        self.assert_clean_refusal(away, "mmdebstrap could not make the base", "apt-get update")
        path = os.path.join(self.tmp, "..", "path")
        os.makedirs(path)
        os.symlink("/bin/sh", path + "/sh")
        self.assert_clean_refusal(self.d.drover("bake", "base", "busybox", check=False, env={**self.d.env(TMPDIR=self.tmp), "PATH": path}), "apt-get install mmdebstrap")
        self.assertEqual(glob.glob(self.tmp + "/*"), [])

    def test_an_interrupt_leaves_nothing(self):
        busybox(self.archive)
        baking = subprocess.Popen([DROVER, "bake", "base", "busybox", "-t", "never:1", "--keyring", self.archive.keyring, "--mirror", self.archive.line()], env=self.d.env(TMPDIR=self.tmp), start_new_session=True, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: glob.glob(self.tmp + "/drover-base-*/mmdebstrap*"), "the root to be begun")
        os.killpg(baking.pid, signal.SIGINT)
        said = baking.communicate()[1]
        self.assertEqual((baking.returncode, said), (130, "drover: interrupted; nothing is left of the base\n"))
        self.assertEqual(glob.glob(self.tmp + "/*"), [])
        self.assert_clean_refusal(self.d.drover("inspect", "never:1", check=False), "never:1")
