"""Another authority takes the place of a swarm's, while everything goes on."""
import os
import subprocess
import threading
import unittest

import harness
import machines

SERVES = ["sh", "-c", "mkdir /w; echo here > /w/index.html; exec httpd -f -p 80 -h /w"]


class Client(threading.Thread):
    """Fetches a page of the service again and again, from whichever machine, until it is told to end."""

    def __init__(self, machines):
        super().__init__()
        self.machines, self.count, self.failed, self.end = machines, 0, [], False
        self.start()

    def run(self):
        while not self.end:
            machine = self.machines[self.count % len(self.machines)]
            done = harness.run(machine.host.inside(["curl", "-sf", "-m", "20", f"http://{machine.host.address}:8080/"]), check=False)
            self.count += 1
            if done.out != "here\n":
                self.failed.append((machine.name, done.status))

    def finish(self):
        self.end = True
        self.join()
        return self.failed


class Authority(unittest.TestCase):
    assert_clean_refusal = harness.Story.assert_clean_refusal

    def root(self, machine):
        return machine.docker("swarm", "ca").out

    def rotates(self, machine):
        return machine.ask("GET", "/swarm")["RootRotationInProgress"]

    def rotate(self, machine, *args):
        return machine.docker("swarm", "ca", "--rotate", "--detach", *args)

    def trusts(self, machine):
        with open(os.path.join(machine.data, "cluster", "ca.pem")) as f:
            return f.read()

    def issuer(self, machine):
        """Of the certificate that it shows at its port."""
        shown = harness.run(["sh", "-c", 'openssl s_client -connect "$0:2377" </dev/null 2>/dev/null | openssl x509 -noout -issuer', machine.host.address], check=False)
        return shown.out.strip()

    def client(self, machine, name):
        directory = os.path.join(machine.root, name)
        machine.drover("cluster", "client", name, directory)

        def docker(*args):
            env = {**os.environ, "DOCKER_HOST": f"tcp://{machine.host.address}:2377", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": directory}
            return harness.run(machine.host.inside(["docker", *args]), env=env, check=False)
        return docker

    def settled(self, machine, all_machines, root):
        harness.wait_for(lambda: not self.rotates(machine), "the rotation to end")
        harness.wait_for(lambda: all(self.trusts(m) == root for m in all_machines), "all to believe the new one alone")
        harness.wait_for(lambda: {n["Description"]["TLSInfo"]["TrustRoot"] for n in machine.ask("GET", "/nodes")} == {root}, "all to say so")
        info = machine.ask("GET", "/swarm")["TLSInfo"]
        self.assertEqual({n["Description"]["TLSInfo"]["CertIssuerPublicKey"] for n in machine.ask("GET", "/nodes")}, {info["CertIssuerPublicKey"]})

    def test_all_move_to_another_one_and_nothing_stops(self):
        swarm = machines.Swarm(self, "abcde", join=False)
        a, b, c, d, late = swarm.machines
        for machine, role in ((b, "manager"), (c, "manager"), (d, "worker")):
            machine.join(a, "--advertise-addr", machine.host.address, token=a.token(role))
        swarm.wait_for_nodes(4)
        swarm.wait_for_managers(3)
        a.service("--name", "web", "--mode", "global", "--publish", "8080:80", "--label", "sh.drover.drain=2s", command=SERVES)
        harness.wait_for(lambda: a.running("web") == dict.fromkeys("abcd", 1), "its tasks")
        everybody = [a, b, c, d]
        containers = {m: m.containers() for m in everybody}
        before, old_token, issuers = self.root(a), a.token(), {self.issuer(m) for m in everybody}
        self.assertEqual(len(issuers), 1)
        old, revoked = self.client(a, "old"), self.client(a, "revoked")
        a.drover("cluster", "revoke", "revoked")
        self.assertEqual(old("ps").status, 0)
        stolen = os.path.join(d.root, "stolen")
        subprocess.run(["cp", "-r", os.path.join(d.data, "cluster"), stolen], check=True)
        client = Client(everybody)
        self.addCleanup(client.finish)
        harness.wait_for(lambda: client.count > 20, "some pages")
        # Docker's own client waits until all have moved.
        b.docker("swarm", "ca", "--rotate", "--cert-expiry", "1200h")
        after = self.root(c)
        self.assertNotEqual(after, before)
        self.settled(a, everybody, after)
        self.assertEqual(len({self.issuer(m) for m in everybody} | issuers), 2)
        at = client.count
        harness.wait_for(lambda: client.count > at + 20, "more pages")
        self.assertEqual((client.finish(), {m: m.containers() for m in everybody}), ([], containers))
        self.assertFalse(any(os.path.exists(os.path.join(m.data, "cluster", "ca.key")) for m in everybody))
        self.assertEqual(a.ask("GET", "/swarm")["Spec"]["CAConfig"]["NodeCertExpiry"], 1200 * 3600 * 10 ** 9)
        # Tokens, clients and certificates of before are good for nothing; new ones are.
        self.assertNotEqual(a.token(), old_token)
        self.assert_clean_refusal(late.join(a, token=old_token, check=False), "does not match fingerprint")
        late.join(a)
        harness.wait_for(lambda: a.nodes()["e"][0] == "ready", "the new node")
        self.assertNotEqual(old("ps").status, 0)
        self.assertNotEqual(revoked("ps").status, 0)
        self.assertNotIn("old", a.drover("cluster", "clients").out)
        self.assertEqual(self.client(a, "new")("ps").status, 0)
        done = harness.run(d.host.inside(["curl", "-s", "-m", "20", "-k", "--cert", f"{stolen}/node.pem", "--key", f"{stolen}/node.key",
                                          f"https://{a.host.address}:2377/cluster/api/v1.41/nodes"]), check=False)
        self.assertIn("not of this cluster's authority", done.out)
        # Starts, and another leader, know it too; and once more, over what the first one has left.
        swarm.leader(among=(a, b, c)).die()
        lead = swarm.leader(among=[m for m in (a, b, c) if m.process.poll() is None])
        dead = next(m for m in (a, b, c) if m.process.poll() is not None)
        dead.start()
        harness.wait_for(lambda: dead.info().get("Nodes") == 5, "it to follow")
        self.assertEqual(self.root(dead), after)
        lead.drover("cluster", "ca", "--rotate")
        self.settled(lead, [*everybody, late], self.root(lead))
        self.assertNotIn(self.root(lead), (before, after))
        harness.wait_for(lambda: lead.running("web") == dict.fromkeys("abcde", 1), "all its tasks")
        self.assertEqual({m: m.containers() for m in everybody}, containers)

    def test_it_waits_for_who_is_away_and_outlives_its_leader(self):
        swarm = machines.Swarm(self, "abcdef", join=False)
        a, b, c, d, e, f = swarm.machines
        for machine, role in ((b, "manager"), (c, "manager"), (d, "worker"), (e, "worker")):
            machine.join(a, "--advertise-addr", machine.host.address, token=a.token(role))
        swarm.wait_for_nodes(5)
        swarm.wait_for_managers(3)
        a.docker("swarm", "update", "--autolock=true")
        before, token = self.root(a), a.token()
        d.die()
        self.rotate(a)
        self.assertEqual((self.rotates(b), self.root(b), a.token()), (True, before, token))
        up = [a, b, c, e]
        harness.wait_for(lambda: all(self.trusts(m).startswith(before) and self.trusts(m) != before for m in up), "those that are there to believe both")
        # Who joins meanwhile, with the token of before, is one of them.
        f.join(a, token=token)
        harness.wait_for(lambda: a.nodes()["f"][0] == "ready", "the new node")
        # The leader dies in the middle, and stays away: now two are waited for.
        key = a.docker("swarm", "unlock-key", "-q").out
        leader = swarm.leader(among=(a, b, c))
        leader.die()
        rest = [m for m in (a, b, c) if m is not leader]
        lead = swarm.leader(among=rest)
        d.start()
        harness.wait_for(lambda: lead.nodes()["d"][0] == "ready", "the worker to be back")
        self.assertTrue(self.rotates(lead))
        leader.start()
        leader.docker("swarm", "unlock", stdin=key.encode())
        everybody = [a, b, c, d, e, f]
        harness.wait_for(lambda: not self.rotates(lead), "the rotation to end")
        after = self.root(lead)
        self.assertNotEqual(after, before)
        self.settled(lead, everybody, after)
        self.assertEqual({s for s, _ in lead.nodes().values()}, {"ready"})
        # One of the operator's own; who is away is given up.
        own = self.make_root(lead.root, "/C=DE/O=ours/CN=ours", key=("rsa:2048",))
        e.die()
        self.rotate(lead, "--ca-cert", f"{own}/ca.pem", "--ca-key", f"{own}/ca.key")
        self.assertTrue(self.rotates(lead))
        self.assertNotIn("SigningCAKey", lead.ask("GET", "/swarm")["Spec"]["CAConfig"])
        lead.docker("node", "rm", "--force", "e")
        everybody.remove(e)
        with open(f"{own}/ca.pem") as text:
            self.settled(lead, everybody, text.read())
        self.assertEqual({self.issuer(m) for m in everybody}, {"issuer=C = DE, O = ours, CN = ours"})
        e.start()
        harness.wait_for(lambda: e.info()["Error"], "the one that was given up to be refused")
        e.docker("swarm", "leave")
        e.join(lead)
        harness.wait_for(lambda: lead.nodes()["e"][0] == "ready", "it to be another node")
        self.refusals(lead, own)

    def make_root(self, folder, subject, *more, key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        own = os.path.join(folder, subject[1:].replace("/", "-"))
        os.makedirs(own, exist_ok=True)
        subprocess.run(["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-days", "3650", "-subj", subject, "-keyout", f"{own}/ca.key",
                        "-out", f"{own}/ca.pem", *more], check=True, stderr=subprocess.DEVNULL)
        return own

    def refusals(self, machine, own):
        root, key = machine.ask("GET", "/swarm"), f"{own}/ca.key"
        same = self.make_root(os.path.join(machine.root, "again"), "/C=DE/O=ours/CN=ours")
        other = self.make_root(machine.root, "/CN=other")
        leaf = self.make_root(machine.root, "/CN=leaf", "-addext", "basicConstraints=critical,CA:FALSE")
        curve = self.make_root(machine.root, "/CN=curve", key=("ed25519",))
        small = self.make_root(machine.root, "/CN=small", key=("rsa:1024",))
        short = os.path.join(other, "short.pem")
        subprocess.run(["openssl", "x509", "-in", f"{other}/ca.pem", "-signkey", f"{other}/ca.key", "-days", "0", "-out", short], check=True, stderr=subprocess.DEVNULL)
        both = os.path.join(other, "both.pem")
        with open(both, "w") as out, open(f"{other}/ca.pem") as one, open(f"{own}/ca.pem") as two:
            out.write(one.read() + two.read())
        for cert, of_it, words in ((f"{same}/ca.pem", f"{same}/ca.key", "subject is that of the present one"), (f"{other}/ca.pem", key, "is not its key"),
                                   (f"{leaf}/ca.pem", f"{leaf}/ca.key", "may sign others"), (short, f"{other}/ca.key", "expired"), (f"{curve}/ca.pem", f"{curve}/ca.key", "neither one of ECDSA"),
                                   (f"{small}/ca.pem", f"{small}/ca.key", "neither one of ECDSA"), (both, f"{other}/ca.key", "one certificate"),
                                   (key, key, "one certificate"), (f"{other}/ca.pem", f"{other}/ca.pem", "is not a private key")):
            refused = machine.docker("swarm", "ca", "--rotate", "--detach", "--ca-cert", cert, "--ca-key", of_it, check=False)
            self.assert_clean_refusal(refused, words)
        version, spec = root["Version"]["Index"], root["Spec"]
        for config, words, status in (({"SigningCACert": "x"}, b"CA key must also be provided", 400), ({"SigningCAKey": "x"}, b"CA cert must also be provided", 400),
                                      ({"ExternalCAs": [{"URL": "https://ca"}]}, b"ExternalCAs: not supported", 501)):
            answer = machine.api("POST", f"/swarm/update?version={version}", {**spec, "CAConfig": {**spec["CAConfig"], **config}})
            self.assertEqual(answer[0], status, answer)
            self.assertIn(words, answer[2])
        self.assertFalse(self.rotates(machine))
        self.assert_clean_refusal(machine.drover("cluster", "ca", "--rotate", "--ca-cert", key, check=False), "go together")
