"""Nodes of a swarm fetch images from each other, with nothing set up for it: three of them on this machine, each at an address of its own."""
import os
import unittest

from harness import Drover, Story, free_port, run, wait_for


class Node(Drover):
    def __init__(self, name, number):
        super().__init__()
        self.name, self.at = name, f"127.0.0.{number}:{free_port()}"
        self.inside = ["unshare", "--uts", "sh", "-c", f'hostname {name}; exec "$@"', "sh"]

    def places(self):
        return ["--listen-addr", self.at, "--advertise-addr", self.at]


class SwarmImages(unittest.TestCase):
    assert_clean_refusal = Story.assert_clean_refusal

    def swarm(self, managers=1, registry=()):
        """a, b and c; the first `managers` of them manage. Returns them."""
        nodes = [Node(name, number) for number, name in enumerate("abc", 2)]
        for number, node in enumerate(nodes):
            self.addCleanup(lambda node=node: self.assertEqual(node.remove(), ""))
            node.start(*(registry if number == 0 else ()))
        first = nodes[0]
        first.docker("swarm", "init", *first.places())
        for number, node in enumerate(nodes[1:], 1):
            token = first.docker("swarm", "join-token", "-q", "manager" if number < managers else "worker").out.strip()
            node.docker("swarm", "join", "--token", token, *node.places(), first.at)
        wait_for(lambda: first.docker("node", "ls", "--format", "{{.Status}}").out.split() == ["Ready"] * 3, "three nodes")
        return nodes

    def make(self, node, name, text="made"):
        node.docker("import", "--change", f"LABEL text={text}", "-", name, stdin=b"\0" * 10240)
        return node.inspect(name)["Id"]

    def test_what_one_manager_has_made_is_found_by_its_name(self):
        a, b, c = self.swarm(managers=2)
        made = self.make(a, "web:1.4")
        self.assertIn("From node a", c.docker("pull", "web:1.4").out)
        self.assertEqual((c.inspect("web:1.4")["Id"], c.inspect("web:1.4")["RepoTags"]), (made, ["web:1.4"]))
        # Who has it from there gives it as well: the one that made it is not needed any more.
        self.assertIn("From node a", b.docker("pull", "web:1.4").out)
        a.docker("rmi", "web:1.4")
        c.docker("rmi", "web:1.4")
        self.assertIn("From node b", c.docker("pull", "web:1.4").out)
        self.assertEqual(c.inspect("web:1.4")["Id"], made)

    def test_a_digest_comes_from_any_node_and_a_tag_only_from_a_manager(self):
        port = free_port()
        a, b, c = self.swarm(registry=("--registry", str(port)))
        name = f"127.0.0.1:{port}/app"
        self.make(a, f"{name}:1")
        a.docker("push", f"{name}:1")
        digest = a.inspect(f"{name}:1")["RepoDigests"][0]
        # The node's own registry answers here as well: so by digest the nodes come first, by tag the registry.
        self.assertIn("From node a", c.docker("pull", digest).out)
        self.assertNotIn("From node", c.docker("pull", f"{name}:1").out)
        c.docker("rmi", f"{name}:1")
        a.stop()
        self.assert_clean_refusal(c.docker("pull", f"{name}:1", check=False), name.split("/")[0])
        a.start()  # without its registry
        wait_for(lambda: "From node a" in c.docker("pull", f"{name}:1", check=False).out, "the manager to give what it knows of a registry that is away")

        self.make(b, "only:1")
        for node in (a, c):
            self.assert_clean_refusal(node.docker("pull", "only:1", check=False), "docker.io")

    def service(self, a, name, *args):
        a.docker("service", "create", "--detach", "--no-resolve-image", "--name", name, *args, "sleep", "1000")

    def runs_on(self, a, name):
        """Where it runs."""
        lines = a.docker("service", "ps", "--format", "{{.Node}} {{.CurrentState}}", name).out.splitlines()
        return sorted(line.split()[0] for line in lines if " Running " in line)

    def test_a_service_of_what_one_has_made_runs_on_all(self):
        a, b, c = self.swarm()
        a.busybox("team/box:1.4")
        self.service(a, "box", "--mode", "global", "team/box:1.4")
        wait_for(lambda: self.runs_on(a, "box") == ["a", "b", "c"], "a task on each")
        for node in (b, c):
            self.assertEqual(node.inspect("team/box:1.4")["Id"], a.inspect("team/box:1.4")["Id"])
        a.docker("service", "rm", "box")
        wait_for(lambda: not any(node.docker("ps", "-aq").out.strip() for node in (a, b, c)), "their end")

    def test_a_worker_that_runs_it_gives_it(self):
        port = free_port()
        a, b, c = self.swarm(registry=("--registry", str(port)))
        a.busybox(f"127.0.0.1:{port}/box:1")
        a.docker("push", f"127.0.0.1:{port}/box:1")
        digest = a.inspect(f"127.0.0.1:{port}/box:1")["RepoDigests"][0]
        self.service(a, "box", "--constraint", "node.hostname==b", digest)
        wait_for(lambda: self.runs_on(a, "box") == ["b"], "the task")
        self.assertIn("From node b", c.docker("pull", digest).out)
        a.docker("service", "rm", "box")
        wait_for(lambda: not b.docker("ps", "-aq").out.strip(), "its end")

    @staticmethod
    def ask(a, path, node=None):
        """What the port of `a` answers to who shows a node's certificate, or none."""
        shown = [part for file, flag in (("node.pem", "--cert"), ("node.key", "--key"))
                 for part in (flag, os.path.join(node.data, "cluster", file))] if node else []
        return run(["curl", "-sk", "--noproxy", "*", *shown, f"https://{a.at}/cluster/images{path}"], check=False).out

    def test_who_is_no_node_of_the_swarm_gets_nothing(self):
        a, b, _ = self.swarm()
        self.make(a, "web:1.4")
        manifest = "/v2/docker.io/library/web/manifests/1.4"
        self.assertNotIn("layers", self.ask(a, manifest))
        self.assertIn('"layers"', self.ask(a, manifest, b))
        self.assertIn("no image of this node has blob", self.ask(a, manifest.replace("manifests/1.4", "blobs/sha256:" + "0" * 64), b))
        a.docker("node", "rm", "--force", b.docker("info", "--format", "{{.Swarm.NodeID}}").out.strip())
        self.assertNotIn("layers", self.ask(a, manifest, b))

    def test_what_was_pulled_from_a_registry_is_no_image_of_the_swarms_own(self):
        """A manager that has an old `nginx:latest` is no reason not to look for a newer one, but better than nothing."""
        a, _, c = self.swarm(registry=("--registry", str(free_port()), "--registry-names", "only"))
        self.make(a, "web:2")
        manifest = "/v2/docker.io/library/web/manifests/2"
        self.assertIn('"layers"', self.ask(a, "/own" + manifest, c))
        a.docker("push", "web:2")
        a.docker("rmi", "web:2")
        a.docker("pull", "web:2")  # by a digest of a registry's now
        self.assertIn('"layers"', self.ask(a, "/own" + manifest, c))  # which is the swarm's
        a.stop()
        a.start()
        self.assertNotIn("layers", self.ask(a, "/own" + manifest, c))
        self.assertIn('"layers"', self.ask(a, manifest, c))
        self.assertIn("From node a", c.docker("pull", "web:2").out)
