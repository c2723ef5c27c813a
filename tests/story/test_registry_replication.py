"""What is pushed to one registry comes to others, with its digests, also when they or this one were away meanwhile."""
import base64
import http.client
import json
import os
import re
import socket
import subprocess
import unittest

from distribution import OCI_INDEX, OCI_MANIFEST, RegistryStory, digest_of
from harness import PEERS, Drover, free_port, run, wait_for

DOCKER_REGISTRY = os.path.join(PEERS, "usr/bin/docker-registry")


def basic(user):
    return {"Authorization": "Basic " + base64.b64encode(user.encode()).decode()} if user else {}


class Target:
    """Another registry, as one of its users sees it."""

    def __init__(self, port, user=None):
        self.port, self.user = port, user

    def digest(self, repo, reference):
        """Of what it serves; its status when that is not 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", f"/v2/{repo}/manifests/{reference}", headers={"Accept": f"{OCI_INDEX}, {OCI_MANIFEST}", **basic(self.user)})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return digest_of(body) if answer.status == 200 else answer.status


@unittest.skipUnless(os.path.exists(DOCKER_REGISTRY), "needs docker-registry below build/peers (scripts/peers)")
class Replication(RegistryStory):
    shared = False

    @classmethod
    def make(cls):
        return Drover()

    user = None

    def setUp(self):
        self.d, self.other = self.make(), Drover()
        self.addCleanup(lambda: self.assertEqual(self.other.remove(), ""))
        self.start_debian()
        users = os.path.join(self.other.root, "users")
        with open(users, "w") as f:
            f.write(run(["htpasswd", "-nbB", "east", "a word"]).out)
        self.other_port = free_port()
        self.other_args = ["--registry", str(self.other_port), "--registry-users", users]
        self.other.start(*self.other_args)
        self.west = Target(self.other_port, "east:a word")
        self.config = os.path.join(self.d.root, "registry.yaml")
        with open(os.path.join(self.d.root, "west.password"), "w") as f:
            f.write("a word\n")
        with open(self.config, "w") as f:
            f.write(f"""
replicate:
  - {{name: west, target: "127.0.0.1:{self.other_port}", prefix: from/east, username: east, password-file: west.password, delete: true}}
  - {{name: debian, target: "127.0.0.1:{self.debian_port}", match: [team/**], tags: ["v*"]}}
""")
        self.serve()

    def serve(self):
        self.d.start("--registry", "0", "--registry-config", self.config)
        self.host, self.port = self.address(self.d)
        if not json.loads(self.d.api("GET", "/drover/registry/tokens")[2]):
            self.user = ":".join(self.d.drover("registry", "token", "create", "all", "-r", "**", "-a", "admin").out.split())

    def ask(self, method, path, body=None, **headers):
        return super().ask(method, path, body, **headers, **basic(self.user))

    def start_debian(self):
        self.debian_port, root = free_port(), os.path.join(self.d.root, "debian")
        os.makedirs(root)
        with open(f"{root}/config.yml", "w") as f:
            f.write(f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\n"
                    f"http: {{addr: 127.0.0.1:{self.debian_port}}}\n")
        self.debian_log = f"{root}/log"
        with open(self.debian_log, "wb") as log:
            process = subprocess.Popen([DOCKER_REGISTRY, "serve", f"{root}/config.yml"], stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        self.debian = Target(self.debian_port)

        def listens():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.debian_port)) == 0
        wait_for(listens, "docker-registry to listen")

    def uploads(self):
        with open(self.debian_log) as log:
            return len(re.findall(r'"PUT /v2/[^ ]*/blobs/uploads/', log.read()))

    def report(self):
        return json.loads(self.d.drover("registry", "replication", "--json").out)

    def settled(self):
        return all(rule["waiting"] == 0 for rule in self.report()["rules"])

    def test_an_index_and_its_manifests_arrive_as_they_are_and_only_what_is_missing_travels(self):
        children = [self.manifest("team/app", salt) for salt in ("amd64", "arm64")]
        for child in children:
            self.push("team/app", digest_of(child), child)
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": digest_of(c), "size": len(c)} for c in children]}).encode()
        self.push("team/app", "v1", index, OCI_INDEX)
        self.push("team/app", "nightly", children[0])
        self.push("elsewhere", "v1", self.manifest("elsewhere", "one"))
        wait_for(self.settled, "everything to be replicated")
        for repo, tag, want in (("team/app", "v1", digest_of(index)), ("team/app", "nightly", digest_of(children[0]))):
            self.assertEqual(self.west.digest(f"from/east/{repo}", tag), want)
        self.assertEqual(self.debian.digest("team/app", "v1"), digest_of(index))
        self.assertEqual(self.debian.digest("team/app", digest_of(children[1])), digest_of(children[1]))
        # Outside of the rule's tags and repositories.
        self.assertEqual((self.debian.digest("team/app", "nightly"), self.debian.digest("elsewhere", "v1")), (404, 404))
        before = self.uploads()
        self.assertEqual(before, 4)  # two configurations, two layers
        again = json.loads(children[0])
        again["layers"].append({**again["layers"][0], "digest": self.push_blob("team/app", b"one more"), "size": len(b"one more")})
        text = json.dumps(again).encode()
        self.push("team/app", "v2", text)
        wait_for(self.settled, "the second version to be replicated")
        self.assertEqual(self.debian.digest("team/app", "v2"), digest_of(text))
        self.assertEqual(self.uploads() - before, 1)

    def test_a_target_that_was_away_catches_up_though_this_one_was_killed_meanwhile(self):
        first, text = self.manifest("team/app", "first"), self.manifest("team/app", "second")
        self.push("team/app", "v1", first)
        self.push("team/app", "old", first)
        wait_for(self.settled, "both tags to be replicated")
        self.assertEqual(self.west.digest("from/east/team/app", "old"), digest_of(first))
        self.other.stop()
        self.push("team/app", "v1", text)
        self.want(202, "DELETE", "/v2/team/app/manifests/old")
        wait_for(lambda: self.report()["rules"][0]["failing"] == 2, "the target's absence to be told")
        told = self.d.drover("registry", "replication").out
        self.assertRegex(told, rf"(?m)^west +127\.0\.0\.1:{self.other_port} +2 +2 ")
        self.assertIn("onnect", told)  # and why
        wait_for(lambda: self.debian.digest("team/app", "v1") == digest_of(text), "the other target not to wait for that one")
        self.d.kill9()
        self.other.start(*self.other_args)
        self.serve()
        wait_for(self.settled, "the target to catch up")
        self.assertEqual(self.west.digest("from/east/team/app", "v1"), digest_of(text))
        self.assertEqual(self.west.digest("from/east/team/app", "old"), 404)
        self.assertEqual(self.debian.digest("team/app", "v1"), digest_of(text))

    def test_what_was_there_before_the_rule_is_sent_when_asked_for(self):
        with open(self.config) as f:
            rules = f.read()
        with open(self.config, "w") as f:
            f.write("replicate: []\n")
        text = self.manifest("team/app", "one")
        self.push("team/app", "v1", text)
        with open(self.config, "w") as f:
            f.write(rules)
        self.want(200, "GET", "/v2/")  # a request has the file read again
        self.assertEqual((self.report()["rules"][0]["waiting"], self.west.digest("from/east/team/app", "v1")), (0, 404))
        self.d.drover("registry", "replication", "--sync")
        wait_for(self.settled, "the tags to be replicated")
        self.assertEqual(self.west.digest("from/east/team/app", "v1"), digest_of(text))

    def test_a_rule_that_makes_no_sense_is_refused_with_its_line(self):
        for line, word in (("{name: a}", "needs name and target"), ("{name: a, target: 'http://x'}", "HOST"),
                           ("{name: a, target: 'x:1', prefix: UP}", "prefix"), ("{name: a, target: 'x:1', username: b}", "go together"),
                           ("{name: a, target: 'x:1', delete: maybe}", "true or false"), ("{name: a, target: 'x:1', tag: b}", "tags")):
            path = os.path.join(self.d.root, "bad.yaml")
            with open(path, "w") as f:
                f.write(f"replicate:\n  - {line}\n")
            refused = self.d.drover("registry", "check", path, check=False)
            self.assert_clean_refusal(refused, word, "bad.yaml:2:")
