"""The checks of the distribution specification's conformance programme (conformance.py), asked of the registry inside: of everybody's, and of
one that asks for a password or a token."""
import os
import ssl

from conformance import Client, Programme
from distribution import RegistryStory
from harness import Drover, run

CHECKS = 800  # fewer would mean that some were not asked


class Conformance(RegistryStory):
    @classmethod
    def make(cls):
        return Drover().start("--registry", "0")

    def run_against(self, *at, left_out=(), **options):
        client = Client(*at, **options)
        result = Programme(client).run()
        client.close()
        self.assertEqual((result.wrong, result.left_out), ([], list(left_out)))
        self.assertGreaterEqual(result.passed + len(result.left_out), CHECKS)

    def test_everybodys_registry_conforms(self):
        self.run_against(self.host, self.port)

    def guarded(self, more, **options):
        d = Drover()
        try:
            cert, key = os.path.join(d.root, "cert.pem"), os.path.join(d.root, "key.pem")
            users, config = os.path.join(d.root, "users"), os.path.join(d.root, "registry.yaml")
            run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=drover", "-addext",
                 "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert])
            run(["htpasswd", "-Bbc", users, "user", "word"])
            with open(config, "w") as f:
                f.write("htpasswd: users\n" + more)
            d.start("--registry", "127.0.0.1:0", "--registry-cert", cert, "--registry-key", key, "--registry-config", config)
            self.run_against(*self.address(d), ssl.create_default_context(cafile=cert), "user:word", **options)
        finally:
            self.assertEqual(d.remove(), "")

    def test_a_registry_that_asks_for_a_password_conforms(self):
        self.guarded("authentication: basic\n")

    def test_a_registry_that_asks_for_a_token_conforms(self):
        self.guarded("repositories:\n  - {match: conformance/**, admin: user}\n")

    def test_a_token_for_each_request_is_enough_but_for_a_mount_whose_source_it_does_not_name(self):
        self.guarded("", forgetful=True, left_out=[
            f"{a} blobs / mount without a source: mount: not mounted: it had to be sent" for a in ("sha256", "sha512")])
