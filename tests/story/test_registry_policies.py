"""What the registry's configuration says of repositories: immutable tags, quotas, retention; and drover registry."""
import json
import os

from distribution import BYTES, OCI_MANIFEST, RegistryStory, digest_of
from harness import Drover

CONFIG = """
users: {root: $2y$05$AbcdefghijklmnopqrstuuVr1yRz2pWjtF8sZ9o2h7hJk3mVQe6a}
repositories:
  - match: fixed
    pull: anonymous
    immutable: ["v*"]
  - match: small/*
    pull: anonymous
    quota: 2000b
  - match: aged
    pull: anonymous
    retention: {count: 1, keep: [stable]}
quotas:
  - {match: small/**, size: 3000b}
"""


class Policies(RegistryStory):
    @classmethod
    def make(cls):
        d = Drover()
        cls.config = os.path.join(d.root, "registry.yaml")
        with open(cls.config, "w") as f:
            f.write(CONFIG)
        d.start("--registry", "0", "--registry-config", cls.config)
        cls.robot = d.drover("registry", "token", "create", "all", "-r", "**", "-a", "push", "-a", "delete").out.split()
        return d

    def ask(self, method, path, body=None, **headers):
        import base64
        basic = base64.b64encode(":".join(self.robot).encode()).decode()
        return super().ask(method, path, body, Authorization=f"Basic {basic}", **headers)

    def test_an_immutable_tag_is_409_for_another_manifest(self):
        one, two = self.manifest("fixed", "one"), self.manifest("fixed", "two")
        self.push("fixed", "v1", one)
        self.push("fixed", "v1", one)
        answer = self.want_error(409, "DENIED", "PUT", "/v2/fixed/manifests/v1", two, Content_Type=OCI_MANIFEST)
        self.assertIn("immutable", answer.json()["errors"][0]["message"])
        self.push("fixed", "latest", one)
        self.push("fixed", "latest", two)
        self.want_error(409, "DENIED", "DELETE", "/v2/fixed/manifests/v1")
        self.want(202, "DELETE", "/v2/fixed/manifests/latest")
        self.assertEqual(self.want(200, "GET", "/v2/fixed/manifests/v1").body, one)
        # The node's own pushes of bare names are held to it too.
        self.d.busybox("fixed:v1")
        self.assert_clean_refusal(self.d.docker("push", "fixed:v1", check=False), "immutable")

    def test_a_quota_refuses_what_does_not_fit(self):
        def post(repo, data):
            return self.ask("POST", f"/v2/{repo}/blobs/uploads/?digest={digest_of(data)}", data, Content_Type=BYTES)
        self.assertEqual(post("small/a", b"a" * 1900).status, 201)
        refused = post("small/a", b"b" * 200)
        self.assertEqual((refused.status, refused.json()["errors"][0]["code"]), (403, "DENIED"))
        self.assertIn("quota", refused.json()["errors"][0]["message"])
        self.assertEqual(post("small/b", b"c" * 1000).status, 201)
        refused = post("small/b", b"d" * 500)  # 1500 of its own 2000, but 3400 of 3000 together
        self.assertEqual(refused.status, 403)
        self.assertEqual(os.listdir(os.path.join(self.d.data, "uploads")), [])
        self.want(202, "DELETE", f"/v2/small/a/blobs/{digest_of(b'a' * 1900)}")
        self.assertEqual(post("small/b", b"d" * 500).status, 201)

    def test_the_client_tells_why_it_was_refused(self):
        at = f"{self.host}:{self.port}"
        name = f"{at}/small/client:1"
        self.d.busybox(name)
        self.assert_clean_refusal(self.d.docker("push", name, check=False), f"docker login {at}")
        self.d.docker("login", "-u", self.robot[0], "-p", self.robot[1], at)
        self.assert_clean_refusal(self.d.docker("push", name, check=False), "quota: there is room for")
        self.d.docker("logout", at)

    def test_retention_tells_and_then_does(self):
        for tag in ("one", "two", "stable", "three"):
            self.push("aged", tag, self.manifest("aged", tag))
        dry = json.loads(self.d.drover("registry", "retention", "--dry-run", "--json").out)
        self.assertEqual(sorted((e["repository"], e["tag"]) for e in dry), [("aged", "one"), ("aged", "two")])
        self.assertEqual(len(self.want(200, "GET", "/v2/aged/tags/list").json()["tags"]), 4)
        self.assertIn("beyond count", self.d.drover("registry", "retention").out)
        self.assertEqual(self.want(200, "GET", "/v2/aged/tags/list").json()["tags"], ["stable", "three"])

    def test_drover_registry_lists_and_measures(self):
        self.push("listed/a", "1", self.manifest("listed/a", "x"))
        self.push("listed/b", "1", self.manifest("listed/b", "x"))
        self.assertRegex(self.d.drover("registry", "ls").out, r"listed/a +1")
        self.assertRegex(self.d.drover("registry", "ls", "listed/a").out, r"1 +sha256:[0-9a-f]{64}")
        usage = json.loads(self.d.drover("registry", "du", "--json").out)
        of = {r["repository"]: r for r in usage["repositories"]}
        self.assertEqual(of["listed/a"]["bytes"], of["listed/b"]["bytes"])
        self.assertLess(usage["bytes_on_disk"], sum(r["bytes"] for r in usage["repositories"]))
        self.assertIn("freed", self.d.drover("registry", "gc").out)
        self.assert_clean_refusal(self.d.drover("registry", "ls", "none", check=False), "nobody pushed a tag of none")
        other = Drover()
        try:
            other.start()
            self.assert_clean_refusal(other.drover("registry", "ls", check=False), "serves no registry", "--registry")
        finally:
            self.assertEqual(other.remove(), "")
