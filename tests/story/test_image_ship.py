"""Images from node to node without a registry: `drover image push` and `pull` with ssh://... through Debian's ssh server on a loopback port, with keys
of the test's own."""
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import unittest

from harness import PEERS, TOP, Drover, Story, busybox_root_tar, free_port, run, wait_for

SSHD = os.path.join(PEERS, "usr/sbin/sshd")
DROVER = os.environ.get("DROVER", os.path.join(TOP, "build/drover"))


class SshServer:
    """sshd in a mount namespace of its own, where it has the user and the directory it wants."""

    def __init__(self, top):
        self.top, self.port = top, free_port()
        for name in ("host", "user"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(top, name)])
        shutil.copy(os.path.join(top, "user.pub"), os.path.join(top, "authorized"))
        with open("/etc/passwd") as there, open(os.path.join(top, "passwd"), "w") as f:
            users = there.read()
            f.write(users if "\nsshd:" in users else users + "sshd:x:109:65534::/run/sshd:/usr/sbin/nologin\n")
        with open(os.path.join(top, "sshd.conf"), "w") as f:
            f.write(f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {top}/host\nAuthorizedKeysFile {top}/authorized\nUsePAM no\n"
                    "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nStrictModes no\nPidFile none\n")
        with open(os.path.join(top, "host.pub")) as key, open(os.path.join(top, "known"), "w") as f:
            f.write(f"[127.0.0.1]:{self.port} {key.read()}")
        with open(os.path.join(top, "ssh.conf"), "w") as f:
            f.write(f"IdentityFile {top}/user\nIdentitiesOnly yes\nUserKnownHostsFile {top}/known\nStrictHostKeyChecking yes\nBatchMode yes\n")
        script = f"mount --bind {top}/passwd /etc/passwd && mkdir -p /run/sshd && exec {SSHD} -D -e -f {top}/sshd.conf"
        self.log = os.path.join(top, "sshd.log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none /run; {script}"],
                                            env={**os.environ, "LD_LIBRARY_PATH": os.path.join(PEERS, "usr/lib/sshd")},
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: "Server listening" in self.said() or self.process.poll() is not None, "sshd to listen")
        if self.process.poll() is not None:
            raise AssertionError(self.said())

    def said(self):
        with open(self.log) as f:
            return f.read()

    def sessions(self):
        """The processes that serve connections."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return [int(pid) for pid in f.read().split()]

    def stop(self):
        for pid in self.sessions():
            os.kill(pid, signal.SIGKILL)
        self.process.terminate()
        self.process.wait()


@unittest.skipUnless(os.path.exists(SSHD), "scripts/peers could not fetch openssh-server")
class Ship(Story):
    shared = False
    image = False

    def setUp(self):
        super().setUp()
        self.there = Drover().start()
        self.addCleanup(self.remove, self.there)
        top = os.path.join(self.d.root, "ssh")
        os.mkdir(top)
        self.sshd = SshServer(top)
        self.addCleanup(self.sshd.stop)
        self.url = f"ssh://root@127.0.0.1:{self.sshd.port}{self.there.socket}"

    def remove(self, d):
        self.assertEqual(d.remove(), "")

    def env(self):
        return self.d.env(DROVER_SSH_COMMAND=f"ssh -F {self.d.root}/ssh/ssh.conf", TMPDIR=self.d.root)

    def push(self, *words, check=True, verb="push"):
        return self.d.drover("image", verb, "--drover-path", DROVER, *words, check=check, env=self.env())

    def pull(self, *words, check=True):
        return self.push(*words, check=check, verb="pull")

    def layered(self, name, megabytes, base="busybox", at=None):
        """An image with one more layer that nothing compresses, here or there."""
        work = os.path.join(self.d.root, "work")
        os.makedirs(work, exist_ok=True)
        with open(os.path.join(work, "data"), "wb") as f:
            f.write(os.urandom(megabytes << 20))
        with open(os.path.join(work, "Dockerfile"), "w") as f:
            f.write(f"FROM {base}\nCOPY data /{name.replace(':', '-')}\n")
        (at or self.d).docker("build", "-q", "-t", name, work)

    def test_an_image_arrives_with_its_name_and_runs(self):
        self.d.busybox()
        self.d.docker("tag", "busybox", "team/app:1.4")
        told = self.push("team/app:1.4", self.url)
        self.assertRegex(told.out, r"3 blobs sent .*, 0 there already")
        self.assertEqual(self.there.inspect("team/app:1.4")["Id"], self.d.inspect("busybox")["Id"])
        self.assertEqual(self.there.docker("run", "--rm", "--network", "none", "team/app:1.4", "echo", "it runs").out, "it runs\n")

    def test_only_what_is_missing_travels(self):
        self.d.busybox()
        self.push("busybox", self.url)
        self.layered("app:1", 2)
        told = self.push("app:1", self.url)
        self.assertRegex(told.out, r"app:1 to \S+: 3 blobs sent \(2\.\d+MB\), 1 there already")
        self.assertRegex(self.push("app:1", self.url).out, r": 0 blobs sent \(0B\), 4 there already")
        self.d.docker("tag", "app:1", "app:stable")
        self.push(self.url, "app:1", "app:stable")
        self.assertEqual(sorted(self.there.inspect("app:1")["RepoTags"]), ["app:1", "app:stable"])

    def test_a_push_that_breaks_off_goes_on_where_it_stood(self):
        self.d.busybox()
        self.layered("big", 96)
        process = subprocess.Popen([DROVER, "image", "push", "--drover-path", DROVER, "big", self.url], env=self.env(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        broken = 0

        def incoming():
            return sum(os.path.getsize(p) for p in glob.glob(os.path.join(self.there.data, "incoming", "*")))
        for size in (8 << 20, 48 << 20):
            wait_for(lambda: incoming() > size or process.poll() is not None, "a part to be there")
            for pid in self.sshd.sessions():
                os.kill(pid, signal.SIGKILL)
                broken += 1
        out, err = process.communicate()
        self.assertEqual(process.returncode, 0, err)
        self.assertGreaterEqual(broken, 2)
        self.assertIn("going on", err)
        # What had arrived did not travel again, but for what was on its way.
        megabytes = float(re.search(r"\((\d+(?:\.\d+)?)MB\)", out)[1])
        self.assertLess(megabytes, 96 * 1.048576 + 30)
        self.assertEqual(self.there.inspect("big")["Id"], self.d.inspect("big")["Id"])
        self.assertEqual(glob.glob(os.path.join(self.there.data, "incoming", "*")), [])

    def test_a_push_that_was_ended_is_taken_up_by_the_next_even_after_a_kill_of_the_server_there(self):
        self.d.busybox()
        self.layered("big", 96)
        process = subprocess.Popen([DROVER, "image", "push", "--drover-path", DROVER, "big", self.url], env=self.env(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: any(os.path.getsize(p) > 8 << 20 for p in glob.glob(os.path.join(self.there.data, "incoming", "*"))),
                 "a part to be there")
        process.kill()
        process.wait()
        self.there.kill9()
        self.there.start()
        stood = sum(os.path.getsize(p) for p in glob.glob(os.path.join(self.there.data, "incoming", "*")))
        self.assertGreater(stood, 8 << 20)
        told = self.push("big", self.url).out
        megabytes = float(re.search(r"\((\d+(?:\.\d+)?)MB\)", told)[1])
        self.assertLess(megabytes, (96 << 20) / 1e6 + 2 - stood / 1e6)
        self.assertEqual(self.there.inspect("big")["Id"], self.d.inspect("big")["Id"])

    def test_an_image_is_fetched_with_its_name_and_only_what_is_missing(self):
        self.there.busybox()
        self.layered("team/app:1.4", 2, at=self.there)
        self.assertRegex(self.pull("busybox", self.url).out, r"busybox from \S+: 3 blobs fetched .*, 0 here already")
        told = self.pull(self.url, "team/app:1.4")
        self.assertRegex(told.out, r"team/app:1.4 from \S+: 3 blobs fetched \(2\.\d+MB\), 1 here already")
        self.assertRegex(self.pull("team/app:1.4", self.url).out, r": 0 blobs fetched \(0B\), 4 here already")
        self.assertEqual(self.d.inspect("team/app:1.4")["Id"], self.there.inspect("team/app:1.4")["Id"])
        self.assertEqual(self.d.docker("run", "--rm", "--network", "none", "team/app:1.4", "echo", "it runs").out, "it runs\n")

    def test_a_pull_that_breaks_off_goes_on_where_it_stood(self):
        self.there.busybox()
        self.layered("big", 96, at=self.there)
        process = subprocess.Popen([DROVER, "image", "pull", "--drover-path", DROVER, "big", self.url], env=self.env(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        broken = 0

        def incoming():
            return sum(os.path.getsize(p) for p in glob.glob(os.path.join(self.d.data, "incoming", "*")))
        for size in (8 << 20, 48 << 20):
            wait_for(lambda: incoming() > size or process.poll() is not None, "a part to be here")
            for pid in self.sshd.sessions():
                os.kill(pid, signal.SIGKILL)
                broken += 1
        out, err = process.communicate()
        self.assertEqual(process.returncode, 0, err)
        self.assertGreaterEqual(broken, 2)
        self.assertIn("going on", err)
        self.assertLess(float(re.search(r"\((\d+(?:\.\d+)?)MB\)", out)[1]), 96 * 1.048576 + 30)
        self.assertEqual(self.d.inspect("big")["Id"], self.there.inspect("big")["Id"])
        self.assertEqual(glob.glob(os.path.join(self.d.data, "incoming", "*")), [])

    def test_what_does_not_have_its_digest_becomes_no_blob(self):
        digest = "sha256:" + "ab" * 32
        body = b"something else"
        status, _, text = self.there.api("PUT", f"/drover/content/{digest}?size={len(body)}&offset=0", body)
        self.assertEqual((status, json.loads(text)["Have"]), (200, len(body)))
        status, _, text = self.there.api("POST", "/drover/content/install", {"Manifest": digest, "Blobs": [digest], "References": ["x"]})
        self.assertGreaterEqual(status, 400)
        self.assertIn("has the digest", json.loads(text)["message"])
        self.assertEqual(glob.glob(os.path.join(self.there.data, "incoming", "*")), [])
        self.assertFalse(os.path.exists(os.path.join(self.there.data, "blobs/sha256", "ab" * 32)))
        for path, want in ((f"/drover/content/{digest}?size=3&offset=1", "stands at byte 0"), (f"/drover/content/{digest}?size=3&offset=0", "more than the 3"),
                           ("/drover/content/..%2f..%2fx?size=3&offset=0", "no digest"), (f"/drover/content/{digest}?offset=0", "")):
            status, _, text = self.there.api("PUT", path, body)
            self.assertGreaterEqual(status, 400, path)
            self.assertIn(want, json.loads(text)["message"])

    def test_every_wrong_word_is_one_clear_error(self):
        self.d.docker("import", "-", "one", stdin=busybox_root_tar())
        for words, status, want in (
                ((self.url,), 2, "no image is named"),
                (("one", self.url, "ssh://other"), 2, "two machines are named"),
                (("one", "ssh://"), 2, "no machine's name"),
                (("one", "ssh://-oProxyCommand=id"), 2, "no machine's name"),
                (("one", "ssh://a;b@host"), 2, "no user's name"),
                (("one", "ssh://host:99999"), 2, "no port"),
                (("two", self.url), None, "No such image: two"),
                (("one", f"ssh://root@127.0.0.1:{self.sshd.port}/nowhere.sock"), None, "no drover serve answered"),
                (("one", f"ssh://root@127.0.0.1:{free_port()}"), None, "the connection was not made")):
            done = self.push(*words, check=False)
            self.assertNotEqual(done.status, 0, words)
            if status:
                self.assertEqual(done.status, status, done)
            self.assertIn(want, done.err)
            done = self.pull(*words, check=False)
            self.assertNotEqual(done.status, 0, words)
            if status:
                self.assertEqual(done.status, status, done)
            self.assertIn(want, done.err)
        done = self.pull("one", self.url, check=False)
        self.assertIn(f"pull one from {self.url}: No such image: one", done.err)


if __name__ == "__main__":
    unittest.main()
