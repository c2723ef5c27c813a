"""An image that another node has comes from there, by its name without an address."""
import base64
import json
import os

import test_registry
from distribution import RegistryStory
from harness import DROVER, Drover, Story, free_port, run, wait_for


class Peers(Story):
    """self.west has a registry and an image; self.d asks it."""
    shared, image = False, False

    @classmethod
    def make(cls):
        return Drover()

    def setUp(self):
        self.d, self.west = self.make(), Drover()
        self.addCleanup(lambda: self.assertEqual(self.west.remove(), ""))
        self.west.start("--registry", "0")
        self.peer = "{}:{}".format(*RegistryStory.address(self.west))
        self.west.busybox("team/web:1")

    def test_a_pull_a_run_and_a_build_find_what_a_peer_has(self):
        away = f"127.0.0.1:{free_port()}"
        self.d.start("--registry-peers", f"{away},{self.peer}")
        told = self.d.docker("pull", "team/web:1").out
        self.assertIn(f"From peer {self.peer}", told)
        self.assertIn(f"peer {away}: ", told)  # and why it was not that one
        self.assertEqual(self.d.inspect("team/web:1")["Id"], self.west.inspect("team/web:1")["Id"])
        self.assertEqual(self.d.inspect("team/web:1")["RepoTags"], ["team/web:1"])
        self.d.docker("rmi", "team/web:1")
        self.assertEqual(self.d.docker("run", "--rm", "--network", "none", "team/web:1", "echo", "here").out, "here\n")
        self.d.docker("rmi", "team/web:1")
        folder = os.path.join(self.d.root, "context")
        os.makedirs(folder)
        with open(os.path.join(folder, "Dockerfile"), "w") as f:
            f.write("FROM team/web:1\nRUN echo built > /made\n")
        self.d.docker("build", "--network", "none", "-t", "derived", folder)
        self.assertEqual(self.d.docker("run", "--rm", "--network", "none", "derived", "cat", "/made").out, "built\n")

    def test_what_no_peer_has_is_asked_of_docker_io_and_other_names_are_not_asked_of_a_peer(self):
        self.d.start("--registry-peers", self.peer)
        self.assert_clean_refusal(self.d.docker("pull", "team/web:2", check=False), "docker.io")
        other = f"127.0.0.1:{free_port()}"
        self.assert_clean_refusal(self.d.docker("pull", f"{other}/team/web:1", check=False), other)

    def test_our_own_registry_comes_first_and_with_only_nobody_asks_docker_io(self):
        self.d.start("--registry", "0", "--registry-names", "only", "--registry-peers", self.peer)
        self.assert_clean_refusal(self.d.docker("pull", "team/web:2", check=False), "nobody pushed team/web:2 to this node's registry")
        self.d.docker("pull", "team/web:1")
        self.d.docker("import", "--change", "LABEL whose=ours", "-", "team/web:1", stdin=b"\0" * 10240)
        self.d.docker("push", "team/web:1")
        self.d.docker("rmi", "team/web:1")
        self.assertNotIn("From peer", self.d.docker("pull", "team/web:1").out)
        self.assertEqual(self.d.inspect("team/web:1")["Config"]["Labels"], {"whose": "ours"})

    def test_a_peer_that_is_back_is_asked_again(self):
        self.west.stop()
        self.d.start("--registry-peers", self.peer)
        self.assert_clean_refusal(self.d.docker("pull", "team/web:1", check=False), "docker.io")
        self.west.start("--registry", self.peer)
        wait_for(lambda: self.d.docker("pull", "team/web:1", check=False).status == 0, "the peer to be asked again")

    def test_addresses_that_are_none_are_refused(self):
        for word, reason in (("http://x", "no peer's address"), ("web", "no peer's address"), (",".join(f"10.0.0.{n}:5000" for n in range(17)), "more than 16")):
            refused = run([DROVER, "serve", "--root", self.d.data, "--socket", self.d.socket, "--registry-peers", word], check=False)
            self.assert_clean_refusal(refused, reason)


class LyingPeer(test_registry.Scripted):
    """What Scripted tests is tested there."""
    shared = False

    @classmethod
    def make(cls):
        return Drover()

    def test_a_peer_gets_no_password_and_its_damaged_blobs_are_not_taken(self):
        blobs, manifest, layer = self.image([self.file("hello", b"1")])
        good = blobs[layer]
        blobs[layer] = self.image([self.file("hello", b"2")])[0].popitem()[1]
        heard = []
        peer, _ = self.serve(blobs, {"t": manifest}, heard=heard)
        self.d.start("--registry-peers", peer)
        os.makedirs(os.path.join(self.d.root, "docker-config"))
        with open(os.path.join(self.d.root, "docker-config/config.json"), "w") as f:
            json.dump({"auths": {"https://index.docker.io/v1/": {"auth": base64.b64encode(b"me:secret").decode()}}}, f)
        done = self.d.docker("pull", "evil:t", check=False)
        self.assert_clean_refusal(done, f"peer {peer}", layer.split(":")[1][:12], "docker.io")
        self.assertEqual(self.d.docker("images", "-q").out, "")
        blobs[layer] = good
        self.d.docker("pull", "evil:t")
        self.assertEqual({h for h in heard if h}, set())


def load_tests(loader, tests, pattern):
    import unittest
    return unittest.TestSuite([loader.loadTestsFromTestCase(Peers), LyingPeer("test_a_peer_gets_no_password_and_its_damaged_blobs_are_not_taken")])
