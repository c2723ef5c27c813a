"""Who is of a swarm, and who is not any more: certificates that are taken back."""
import os
import shutil
import subprocess
import unittest

import harness
import machines


TALKS = ["sh", "-c", "trap 'exit 0' TERM; while :; do echo word; sleep 0.2; done"]


def restart(machine):
    machine.stop()
    machine.start()


class Membership(unittest.TestCase):
    assert_clean_refusal = harness.Story.assert_clean_refusal

    def keep_certificate(self, machine):
        """What a thief would have: a copy of the node's certificate and key."""
        stolen = os.path.join(machine.root, "stolen")
        os.makedirs(stolen, exist_ok=True)
        for name in ("node.pem", "node.key", "ca.pem"):
            shutil.copy(os.path.join(machine.data, "cluster", name), stolen)
        return stolen

    def call(self, of, at, path, stolen, name="swarm-manager", method="GET"):
        """The status of a call from the host `of` to the cluster's port of `at`, and what it says; 0: no answer."""
        done = harness.run(of.host.inside(["curl", "-s", "-m", "20", "-X", method, "-w", "\n%{http_code}", "--cacert", f"{stolen}/ca.pem", "--cert", f"{stolen}/node.pem",
                                           "--key", f"{stolen}/node.key", "--connect-to", f"{name}:2377:{at.host.address}:2377", f"https://{name}:2377{path}"]), check=False)
        text, _, status = done.out.rpartition("\n")
        return int(status), text

    def connect(self, of, at, stolen):
        """A connection to the managers' store, held."""
        process = subprocess.Popen(of.host.inside(["openssl", "s_client", "-quiet", "-connect", f"{at.host.address}:2378", "-CAfile", f"{stolen}/ca.pem",
                                                   "-cert", f"{stolen}/node.pem", "-key", f"{stolen}/node.key"]), stdin=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.kill)
        return process

    def test_a_removed_managers_certificate_is_refused_everywhere(self):
        swarm = machines.Swarm(self, "abcd", managers=3)
        a, b, c, d = swarm.machines
        stolen = self.keep_certificate(b)
        identity = d.info()["NodeID"]
        for at, name in ((a, "swarm-manager"), (c, "swarm-manager"), (d, identity)):
            self.assertEqual(self.call(b, at, "/cluster/engine/info", stolen, name)[0], 200)
        logs = a.service("--name", "talks", "--constraint", "node.hostname==d", command=TALKS)
        harness.wait_for(lambda: a.running("talks") == {"d": 1}, "its task")
        container, = d.containers()
        streams = [self.stream(b, a, f"/cluster/api/v1.41/services/{logs}/logs?follow=1&stdout=1", stolen), self.stream(b, d, f"/cluster/logs/{container}?follow=1&out=1", stolen, identity),
                   self.stream(b, d, f"/cluster/engine/containers/{container}/logs?follow=1&stdout=1", stolen, identity)]
        held = self.connect(b, c, stolen)
        harness.wait_for(lambda: self.established(c, b), "the connection")
        a.docker("node", "demote", "b")
        harness.wait_for(lambda: not b.info()["ControlAvailable"], "b to be a worker")
        # What it had as a manager is good for nothing more; what it has now is.
        harness.wait_for(lambda: all(self.call(b, at, "/cluster/engine/info", stolen, name)[0] == 403
                                     for at, name in ((a, "swarm-manager"), (c, "swarm-manager"), (d, identity))), "all to refuse it")
        self.assertIn("was taken back", self.call(b, a, "/cluster/engine/info", stolen)[1])
        held.wait()
        for stream in streams:
            harness.wait_for(lambda: stream.poll() is not None, "what it had under way to end")
        again = self.connect(b, c, stolen)
        again.wait()
        harness.wait_for(lambda: a.nodes()["b"][0] == "ready", "b to be heard")
        a.service("--name", "goes-on", "--mode", "global")
        harness.wait_for(lambda: a.running("goes-on") == dict.fromkeys("abcd", 1), "its tasks")
        # Removed altogether.
        worker = self.keep_certificate(b)
        self.assertEqual(self.call(b, a, "/cluster/api/v1.41/nodes", worker)[0], 200)
        last = self.stream(b, a, f"/cluster/api/v1.41/services/{logs}/logs?follow=1&stdout=1", worker)
        a.docker("node", "rm", "--force", "b")
        harness.wait_for(lambda: last.poll() is not None, "what it had under way to end")
        harness.wait_for(lambda: all(self.call(b, at, "/cluster/api/v1.41/nodes", worker)[0] == 403 for at in (a, c)), "all to refuse it")
        harness.wait_for(lambda: not b.containers() and "removed" in b.info()["Error"], "the removed node to hear of it")
        # Another leader, and a start, know it too.
        restart(c)
        harness.wait_for(lambda: swarm.leader(among=(a, c)).docker("node", "ls", check=False).status == 0, "a leader that stays")
        self.assertEqual(self.call(b, c, "/cluster/api/v1.41/nodes", worker)[0], 403)
        # It may come back, as another node.
        b.docker("swarm", "leave", "--force")
        b.join(a)
        harness.wait_for(lambda: a.nodes()["b"][0] == "ready", "b to be back")
        leader = swarm.leader(among=(a, c))
        self.assertEqual(self.call(b, leader, "/cluster/api/v1.41/nodes", self.keep_certificate(b))[0], 200)

    def stream(self, of, at, path, stolen, name="swarm-manager"):
        """An answer that goes on, and has begun."""
        process = subprocess.Popen(of.host.inside(["curl", "-sN", "--cacert", f"{stolen}/ca.pem", "--cert", f"{stolen}/node.pem", "--key", f"{stolen}/node.key", "--connect-to",
                                                   f"{name}:2377:{at.host.address}:2377", f"https://{name}:2377{path}"]), stdout=subprocess.PIPE)
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stdout.close()))
        self.assertTrue(process.stdout.read(1))
        return process

    def established(self, machine, by):
        return by.host.address in harness.run(machine.host.inside(["ss", "-Htn", "state", "established", "sport", "=", "2378"])).out

    def test_a_clients_certificate_can_be_taken_back(self):
        swarm = machines.Swarm(self, "ab")
        a, b = swarm.machines
        directory = os.path.join(a.root, "client")
        for name in ("one", "two"):
            a.drover("cluster", "client", name, os.path.join(directory, name))

        def docker(name):
            env = {**os.environ, "DOCKER_HOST": f"tcp://{a.host.address}:2377", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": os.path.join(directory, name)}
            return harness.run(b.host.inside(["docker", "ps"]), env=env, check=False)
        self.assertEqual((docker("one").status, docker("two").status), (0, 0))
        self.assertRegex(a.drover("cluster", "clients").out, r"(?s)one +[0-9a-f]{32} +20.*two ")
        self.assert_clean_refusal(a.drover("cluster", "revoke", "nobody", check=False), "no client's certificate is called nobody")
        a.drover("cluster", "revoke", "one")
        self.assert_clean_refusal(docker("one"), "was taken back")
        self.assertEqual(docker("two").status, 0)
        self.assertNotIn("one", a.drover("cluster", "clients").out)
        restart(a)
        self.assert_clean_refusal(docker("one"), "was taken back")
        harness.wait_for(lambda: docker("two").status == 0, "the other one")

    def test_what_runs_with_a_clients_certificate_ends_when_it_is_taken_back(self):
        a, b = machines.Swarm(self, "ab").machines
        for name in ("one", "two"):
            a.drover("cluster", "client", name, os.path.join(a.root, name))
        for machine in (a, b):
            machine.docker("run", "-d", "--name", f"talks-{machine.name}", "busybox", *TALKS)

        def start(name, *args):
            env = {**os.environ, "DOCKER_HOST": f"tcp://{a.host.address}:2377", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": os.path.join(a.root, name)}
            process = subprocess.Popen(b.host.inside(["docker", *args]), env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            self.addCleanup(lambda: (process.kill(), process.wait(), process.stdin.close(), process.stdout.close()))
            return process
        ways = [way for at in ("talks-a", "talks-b") for way in
                (["logs", "-f", at], ["attach", "--sig-proxy=false", at], ["exec", "-i", at, "sh", "-c", "echo began; cat"])]
        running = {name: [start(name, *way) for way in ways] for name in ("one", "two")}
        events = start("one", "events", "--since", "1h")
        for process in running["one"] + running["two"]:
            self.assertIn(process.stdout.readline(), (b"word\n", b"began\n"))
        self.assertIn(b" image import ", events.stdout.readline())
        self.assertEqual({process.poll() for process in [*running["one"], events]}, {None})
        a.drover("cluster", "revoke", "one")
        for process in [*running["one"], events]:
            harness.wait_for(lambda: process.poll() is not None, f"docker {process.args} to end")
        # Another's goes on, both ways.
        for way, process in zip(ways, running["two"]):
            if way[0] == "exec":
                process.stdin.write(b"still\n")
                process.stdin.flush()
                self.assertEqual(process.stdout.readline(), b"still\n")
            else:
                for _ in range(3):
                    self.assertEqual(process.stdout.readline(), b"word\n")
            self.assertIsNone(process.poll())
