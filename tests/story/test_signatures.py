"""Signatures by policy: this node takes from a registry only what the keys of its policy have signed, in cosign's format."""
import base64
import json
import os
import subprocess

from distribution import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, RegistryStory, digest_of
from harness import DROVER, Drover, run

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
KEYS = {"release": ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "second": ["RSA"], "third": ["ED25519"],
        "stranger": ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]}


class Signatures(RegistryStory):
    @classmethod
    def make(cls):
        d = Drover()
        cls.keys = os.path.join(d.root, "keys")
        os.mkdir(cls.keys)
        for name, kind in KEYS.items():
            run(["openssl", "genpkey", "-algorithm", *kind, "-out", os.path.join(cls.keys, name)])
            run(["openssl", "pkey", "-in", os.path.join(cls.keys, name), "-pubout", "-out", os.path.join(cls.keys, name + ".pub")])
        cls.policy = os.path.join(d.root, "policy.yaml")
        with open(cls.policy, "w") as f:
            f.write("rules: [{images: ['**'], action: accept}]\n")
        d.start("--registry", "0", "--signature-policy", cls.policy)
        d.busybox()
        host, port = cls.address(d)
        d.docker("tag", "busybox", f"{host}:{port}/team/web:1")
        d.docker("push", f"{host}:{port}/team/web:1")
        return d

    def rules(self, *rules):
        with open(self.policy + ".new", "w") as f:
            json.dump({"rules": rules}, f)  # which is YAML too
        os.rename(self.policy + ".new", self.policy)

    def need(self, *keys, images="*:*/team/**", **more):
        self.rules({"images": [images, "docker.io/team/**"], "keys": [f"keys/{k}.pub" for k in keys], **more})

    def new_image(self, repo):
        """A repository of its own, with nobody's signature; the manifest's digest."""
        at = f"{self.host}:{self.port}/{repo}:1"
        run(["skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{self.host}:{self.port}/team/web:1",
             f"docker://{at}"])
        self.name = at
        return digest_of(self.want(200, "GET", f"/v2/{repo}/manifests/1", Accept=OCI_MANIFEST).body)

    def claim(self, digest, kind="cosign container image signature", reference="registry.example/team/web"):
        return json.dumps({"critical": {"identity": {"docker-reference": reference}, "image": {"docker-manifest-digest": digest},
                                        "type": kind}, "optional": None}).encode()

    def signature(self, key, payload):
        key_file, data = os.path.join(self.keys, key), os.path.join(self.d.root, "payload")
        with open(data, "wb") as f:
            f.write(payload)
        how = ["-rawin"] if key == "third" else ["-rawin", "-digest", "sha256"]
        return base64.b64encode(subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", key_file, *how, "-in", data],
                                               check=True, stdout=subprocess.PIPE).stdout).decode()

    def layer(self, repo, key, payload, signature=None):
        self.push_blob(repo, payload)
        return {"mediaType": PAYLOAD, "digest": digest_of(payload), "size": len(payload),
                "annotations": {"dev.cosignproject.cosign/signature": signature or self.signature(key, payload)}}

    def attach(self, repo, digest, *layers, subject=None):
        config = b"{}"
        self.push_blob(repo, config)
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": list(layers),
                    "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)}}
        if subject:
            manifest["config"]["mediaType"] = ARTIFACT
            manifest["subject"] = {"mediaType": OCI_MANIFEST, "digest": digest, "size": subject}
        text = json.dumps(manifest).encode()
        self.push(repo, digest_of(text) if subject else digest.replace(":", "-") + ".sig", text)

    def sign(self, repo, digest, *keys, **claim):
        self.attach(repo, digest, *[self.layer(repo, k, self.claim(digest, **claim)) for k in keys])

    def pulls(self, name=None):
        self.d.docker("rmi", "-f", name or self.name, check=False)
        self.d.docker("pull", name or self.name)

    def refused(self, *words, name=None):
        self.d.docker("rmi", "-f", name or self.name, check=False)
        self.assert_clean_refusal(self.d.docker("pull", name or self.name, check=False), "refused by the signature policy", *words)
        self.assertNotEqual(self.d.docker("inspect", name or self.name, check=False).status, 0)

    def test_what_the_key_has_signed_is_pulled_and_nothing_else(self):
        digest = self.new_image("team/plain")
        self.need("release")
        self.refused(self.name, "policy.yaml:1:12", digest, "keys/release.pub", "has no signature")
        self.sign("team/plain", digest, "stranger")
        self.refused("signature 1 was not made with any of these keys")
        self.sign("team/plain", digest, "stranger", "release")
        self.pulls()
        self.pulls(self.name[:-2] + "@" + digest)
        self.assertEqual(self.d.docker("run", "--rm", self.name, "echo", "signed").out, "signed\n")
        self.d.docker("rmi", "-f", self.name)
        self.assertEqual(self.d.drover("run", "--rm", self.name, "echo", "signed").out, "signed\n")

    def test_other_kinds_of_keys_and_two_of_three(self):
        digest = self.new_image("team/kinds")
        self.need("release", "second", "third", threshold=2)
        self.sign("team/kinds", digest, "second", "second")
        self.refused("the signature of 2 of the keys", "and has 1")
        self.sign("team/kinds", digest, "second", "third")
        self.pulls()

    def test_a_signature_of_something_else_counts_for_nothing(self):
        digest = self.new_image("team/other")
        self.need("release")
        other = "sha256:" + "0" * 64
        self.attach("team/other", digest, self.layer("team/other", "release", self.claim(other)))
        self.refused("is of another image, " + other)
        self.sign("team/other", digest, "release", kind="atomic container signature")
        self.refused("is of type")
        good = self.layer("team/other", "release", self.claim(digest))
        bad = json.loads(json.dumps(good))
        text = bytearray(base64.b64decode(bad["annotations"]["dev.cosignproject.cosign/signature"]))
        text[-1] ^= 1
        bad["annotations"]["dev.cosignproject.cosign/signature"] = base64.b64encode(text).decode()
        self.attach("team/other", digest, bad)
        self.refused("or was damaged")
        self.attach("team/other", digest, self.layer("team/other", "", b"not json", self.signature("release", b"not json")))
        self.refused("payload that cannot be read")
        self.attach("team/other", digest, self.layer("team/other", "", b"x", "%%%"), {**good, "mediaType": PAYLOAD + "x"})
        self.refused("signature 1 was not made")
        large = self.claim(digest) + b" " * (64 << 10)
        self.attach("team/other", digest, self.layer("team/other", "release", large))
        self.refused("is malformed")
        self.attach("team/other", digest, *[bad] * 63, good)
        self.pulls()
        self.attach("team/other", digest, *[bad] * 64, good)
        self.refused("or was damaged")

    def test_the_name_that_was_signed_counts_when_the_rule_says_so(self):
        digest = self.new_image("team/named")
        self.sign("team/named", digest, "release", reference="registry.example/team/web:7")
        self.need("release", identity=["registry.example/other/*"])
        self.refused("is for registry.example/team/web")
        self.need("release", identity=["registry.example/team/*"])
        self.pulls()

    def test_a_referrer_is_a_signature_too(self):
        digest = self.new_image("team/referred")
        self.need("release")
        self.attach("team/referred", digest, self.layer("team/referred", "stranger", self.claim(digest)), subject=500)
        self.refused("signature 1 was not made")
        self.attach("team/referred", digest, self.layer("team/referred", "release", self.claim(digest)), subject=500)
        self.pulls()
        self.pulls("team/referred:1")  # and where the registry is this node's own, by a name without an address

    def test_the_signature_of_an_index_counts_and_that_of_its_manifest_does_not(self):
        digest = self.new_image("team/multi")
        manifest = self.want(200, "GET", "/v2/team/multi/manifests/1", Accept=OCI_MANIFEST).body
        arch = self.d.inspect("busybox")["Architecture"]
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
            {"mediaType": json.loads(manifest)["mediaType"], "digest": digest, "size": len(manifest),
             "platform": {"os": "linux", "architecture": arch}}]}).encode()
        self.push("team/multi", "1", index, OCI_INDEX)
        self.need("release")
        self.sign("team/multi", digest, "release")
        self.refused(digest_of(index), "has no signature")
        self.sign("team/multi", digest_of(index), "release")
        self.pulls()

    def test_names_without_an_address_and_builds_are_held_to_it(self):
        digest = self.new_image("team/own")
        self.need("release")
        self.refused("team/own:1", name="team/own:1")
        context = os.path.join(self.d.root, "context")
        os.makedirs(context)
        with open(os.path.join(context, "Dockerfile"), "w") as f:
            f.write("FROM team/own:1\nRUN echo built > /made\n")
        for tool in (self.d.docker, self.d.drover):
            self.assert_clean_refusal(tool("build", "-t", "derived:1", context, check=False), "refused by the signature policy")
        self.assert_clean_refusal(self.d.drover("run", "--rm", "team/own:1", "true", check=False), "refused by the signature policy")
        self.sign("team/own", digest, "release")
        self.d.docker("build", "-t", "derived:1", context)

    def test_verify_tells_without_a_pull_by_the_policy_and_by_given_keys(self):
        digest = self.new_image("team/verified")
        self.d.docker("rmi", "-f", self.name, check=False)
        keys = [os.path.join(self.keys, f"{k}.pub") for k in ("release", "second", "stranger")]

        def verify(*words, status=0):
            done = self.d.drover("image", "verify", *words, self.name, check=False)
            self.assertEqual(done.status, status, done)
            return done
        self.need("release")
        self.assert_clean_refusal(verify(status=1), "refused by the signature policy", "has no signature", "policy.yaml:1:12")
        self.sign("team/verified", digest, "release", "second")
        self.assertEqual(verify().out, f"{self.name}: {digest} is signed by keys/release.pub\n")
        told = json.loads(verify("--json", "-k", keys[0], "-k", keys[1], "-k", keys[2], "--threshold", "2").out)
        self.assertEqual((told["Digest"], told["SignedBy"], told["Needed"]), (digest, keys[:2], 2))
        self.assertIn("needs the signature of 1", verify("-k", keys[2], status=1).err)
        verify("-k", keys[0], "--identity", "registry.example/team/*")
        verify("-k", keys[0], "--identity", "registry.example/other/*", status=1)
        self.assertIn("the same key", verify("-k", keys[0], "-k", keys[0], status=2).err)
        self.assertIn("threshold", verify("-k", keys[0], "--threshold", "2", status=2).err)
        self.assertIn("go with --key", verify("--threshold", "2", status=2).err)
        verify("-k", self.policy, status=2)
        self.rules({"images": ["**"], "action": "accept"})
        self.assertIn("needs no signature by", verify().out)
        self.name += "nowhere"
        verify(status=125)
        self.assertNotEqual(self.d.docker("inspect", self.name[:-7], check=False).status, 0, "it was fetched")

    def test_rules_are_asked_in_order_and_what_none_has_is_refused(self):
        self.new_image("team/free")
        self.rules({"images": ["*:*/team/free"], "action": "accept"}, {"images": ["**"], "action": "reject"})
        self.pulls()
        self.new_image("team/barred")
        self.refused("policy.yaml:1:", "rejects")
        self.rules({"images": ["*:*/team/free"], "action": "accept"})
        self.refused("no rule of", "team/barred")

    def test_a_wrong_file_is_told_and_changes_nothing_while_it_runs(self):
        digest = self.new_image("team/kept")
        self.need("release")
        self.refused("has no signature")
        with open(self.policy, "w") as f:
            f.write("rules:\n  - images: ['**']\n    acton: accept\n")
        self.refused("has no signature")
        self.assertIn("policy.yaml:3:5", self.d.tail())
        self.assertIn("stays in force", self.d.tail())
        with open(os.path.join(self.keys, "turned.pub"), "w") as f:
            f.write(open(os.path.join(self.keys, "stranger.pub")).read())
        self.need("turned")
        self.sign("team/kept", digest, "release")
        self.refused("signature 1 was not made")
        with open(os.path.join(self.keys, "turned.pub"), "w") as f:  # a key that changes is read again
            f.write(open(os.path.join(self.keys, "release.pub")).read() + "\n")
        self.pulls()
        for text, place in (("rules: [{images: ['**']}]", ":1:9: rules[0]: needs either"),
                            ("rules: [{images: ['**'], keys: [keys/none.pub]}]", ":1:33:"),
                            ("rules: [{images: ['**'], keys: [policy.yaml]}]", "not a PEM public key"),
                            ("rules: [{images: ['**'], keys: [keys/second.pub], threshold: 2}]", "from 1 to the number of keys, 1"),
                            ("", "rules")):
            path = os.path.join(self.d.root, "wrong.yaml")
            with open(path, "w") as f:
                f.write(text)
            got = run([DROVER, "serve", "--root", os.path.join(self.d.root, "w"), "--socket", os.path.join(self.d.root, "w.sock"),
                       "--signature-policy", path], check=False)
            self.assert_clean_refusal(got, "wrong.yaml", place)
