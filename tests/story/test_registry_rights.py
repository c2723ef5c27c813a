"""The registry's users, rights and tokens: with its configuration file, over TLS, through clients that others wrote."""
import base64
import http.client
import json
import os
import shutil
import signal
import ssl
import unittest

from distribution import BYTES, OCI_MANIFEST, Answer, RegistryStory, digest_of
from harness import DROVER, Drover, run, wait_for

CONFIG = """
htpasswd: users
groups:
  developers: [dev, lead]
admins: [root]
repositories:
  - match: public/**
    pull: anonymous
    push: "@developers"
    delete: lead
  - match: [team/*, web]
    pull: authenticated
    push: ["@developers"]
  - match: private
    pull: lead
"""


class Rights(RegistryStory):
    @classmethod
    def make(cls):
        d = Drover()
        cls.cert, key = os.path.join(d.root, "cert.pem"), os.path.join(d.root, "key.pem")
        cls.config, users = os.path.join(d.root, "registry.yaml"), os.path.join(d.root, "users")
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=drover", "-addext",
             "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cls.cert])
        for i, name in enumerate(("root", "dev", "lead", "reader")):
            run(["htpasswd", "-Bbc" if i == 0 else "-Bb", users, name, f"{name}'s word"])
        cls.write(CONFIG)
        d.start("--registry", "127.0.0.1:0", "--registry-cert", cls.cert, "--registry-key", key, "--registry-config", cls.config)
        d.busybox()
        return d

    @classmethod
    def write(cls, text):
        with open(cls.config, "w") as f:
            f.write(text)

    def setUp(self):
        super().setUp()
        self.at = f"{self.host}:{self.port}"
        self.trust = ssl.create_default_context(cafile=self.cert)
        self.token_of = None

    def ask(self, method, path, body=None, user=None, token=None, **headers):
        if user:
            headers["Authorization"] = "Basic " + base64.b64encode(
                (user if ":" in user else f"{user}:{user}'s word").encode()).decode()
        if token:
            headers["Authorization"] = "Bearer " + token
        connection = http.client.HTTPSConnection(self.host, self.port, context=self.trust)
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return Answer(answer, answer.read())

    def get_token(self, scopes=(), user=None):
        query = "&".join(["service=ignored", *(f"scope={s}" for s in scopes)])
        answer = self.want(200, "GET", f"/token?{query}", user=user)
        self.assertEqual(answer.json()["token"], answer.json()["access_token"])
        return answer.json()["token"]

    @staticmethod
    def claims(token):
        part = token.split(".")[1]
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))

    def upload(self, status, repo, data=b"bytes", **who):
        return self.want(status, "POST", f"/v2/{repo}/blobs/uploads/?digest={digest_of(data)}", data, Content_Type=BYTES, **who)

    # --- the token specification ---

    def test_the_challenge_says_where_to_get_a_token_and_for_what(self):
        answer = self.want_error(401, "UNAUTHORIZED", "GET", "/v2/")
        self.assertEqual(answer["WWW-Authenticate"], f'Bearer realm="https://{self.at}/token",service="{self.at}"')
        answer = self.want_error(401, "UNAUTHORIZED", "GET", "/v2/team/a/manifests/1")
        self.assertTrue(answer["WWW-Authenticate"].endswith(',scope="repository:team/a:pull"'), answer["WWW-Authenticate"])
        answer = self.want_error(401, "UNAUTHORIZED", "POST", "/v2/team/a/blobs/uploads/", "")
        self.assertTrue(answer["WWW-Authenticate"].endswith(',scope="repository:team/a:pull,push"'), answer["WWW-Authenticate"])
        answer = self.want_error(401, "UNAUTHORIZED", "GET", "/v2/", Host='evil"\\, realm=x')
        self.assertNotIn("evil", answer["WWW-Authenticate"])

    def test_a_token_grants_what_was_asked_and_is_allowed(self):
        token = self.get_token(["repository:team/a:pull,push,delete", "repository:private:pull"], "dev")
        claims = self.claims(token)
        self.assertEqual((claims["sub"], claims["aud"]), ("dev", self.at))
        self.assertEqual(claims["exp"] - claims["iat"], 300)
        self.assertEqual(claims["access"], [{"type": "repository", "name": "team/a", "actions": ["pull", "push"]}])
        self.want(200, "GET", "/v2/", token=token)
        self.upload(201, "team/a", token=token)
        # For another repository another token is to be fetched; what the policy forbids, no token helps.
        answer = self.want_error(401, "UNAUTHORIZED", "POST", "/v2/team/b/blobs/uploads/", "", token=token)
        self.assertIn('error="insufficient_scope"', answer["WWW-Authenticate"])
        self.want_error(403, "DENIED", "GET", "/v2/private/tags/list", token=token)
        self.want_error(403, "DENIED", "DELETE", f"/v2/team/a/blobs/{digest_of(b'bytes')}", token=token)

    def test_a_token_that_is_not_ours_is_none(self):
        token = self.get_token(["repository:team/a:pull,push"], "dev")
        head, body, mac = token.split(".")
        forged = self.claims(token)
        forged["sub"] = "root"
        encode = lambda v: base64.urlsafe_b64encode(json.dumps(v).encode()).decode().rstrip("=")
        late = {**self.claims(token), "exp": 1}
        for wrong in (f"{head}.{encode(forged)}.{mac}", f"{head}.{body}.", f"{head}.{body}", f"{encode({'alg': 'none'})}.{body}.",
                      f"{head}.{encode(late)}.{mac}", f"{head}.{body}.{mac[:-1]}{'A' if mac[-1] != 'A' else 'Q'}A", "x", "..", "a" * 20000):
            answer = self.want_error(401, "UNAUTHORIZED", "GET", "/v2/team/a/tags/list", token=wrong)
            self.assertIn('error="invalid_token"', answer["WWW-Authenticate"], wrong[:80])

    def test_tokens_come_by_oauth2s_form_too(self):
        form = "grant_type=password&username=dev&password=dev%27s+word&scope=repository%3Ateam%2Fa%3Apull&client_id=x&service=y"
        token = self.want(200, "POST", "/token", form).json()["access_token"]
        self.assertEqual(self.claims(token)["access"][0]["actions"], ["pull"])
        self.want(401, "POST", "/token", form.replace("dev%27s", "wrong"))
        self.want(400, "POST", "/token", "grant_type=refresh_token&refresh_token=x")

    def test_a_token_outlives_a_restart_and_not_a_right_that_is_taken_away(self):
        token = self.get_token(["repository:team/a:pull,push"], "dev")
        self.upload(201, "team/a", token=token)
        self.write(CONFIG.replace('push: ["@developers"]', "push: [lead]"))
        self.want_error(403, "DENIED", "POST", "/v2/team/a/blobs/uploads/", "", token=token)
        self.write(CONFIG)
        self.upload(201, "team/a", token=token)

    # --- rights ---

    def test_each_may_what_the_first_rule_that_fits_says(self):
        self.upload(201, "public/x", user="dev")
        blob = f"/v2/public/x/blobs/{digest_of(b'bytes')}"
        self.want(200, "GET", blob)  # anonymous, without a token
        self.want(200, "GET", blob, token=self.get_token(["repository:public/x:pull"]))
        self.upload(401, "public/x")
        self.upload(401, "public/x", token=self.get_token(["repository:public/x:pull,push"]))
        self.upload(403, "public/x", user="reader")
        self.want(403, "DELETE", blob, user="dev")
        self.want(202, "DELETE", blob, user="lead")
        self.upload(403, "private", user="lead")
        self.upload(201, "private", user="root")
        self.want(200, "GET", f"/v2/private/blobs/{digest_of(b'bytes')}", user="lead")
        self.want(403, "GET", f"/v2/private/blobs/{digest_of(b'bytes')}", user="dev")
        self.upload(403, "of/no/rule", user="lead")
        self.upload(201, "of/no/rule", user="root")

    def test_a_catalog_shows_what_one_may_pull(self):
        for repo in ("public/c", "team/c", "private"):
            for data in (b"{}", b"layer"):
                self.upload(201, repo, data, user="root")
            text = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(b"{}"), "size": 2}})
            self.want(201, "PUT", f"/v2/{repo}/manifests/1", text, user="root", Content_Type=OCI_MANIFEST)
        self.want(401, "GET", "/v2/_catalog")
        seen = self.want(200, "GET", "/v2/_catalog", user="reader").json()["repositories"]
        self.assertTrue({"public/c", "team/c"} <= set(seen), seen)
        self.assertNotIn("private", seen)
        seen = self.want(200, "GET", "/v2/_catalog", token=self.get_token(["registry:catalog:*"], "lead")).json()["repositories"]
        self.assertIn("private", seen)

    def test_a_mount_needs_the_right_to_pull_its_source(self):
        secret = digest_of(b"secret")
        self.upload(201, "private", b"secret", user="root")
        for query in (f"mount={secret}&from=private", f"mount={secret}"):
            self.want(202, "POST", f"/v2/team/m/blobs/uploads/?{query}", "", user="dev")
            self.want(404, "HEAD", f"/v2/team/m/blobs/{secret}", user="dev")
        self.want(201, "POST", f"/v2/team/m/blobs/uploads/?mount={secret}&from=private", "", user="root")

    def test_a_mount_without_a_source_is_from_where_one_may_pull(self):
        digest = digest_of(b"in two places")
        self.upload(201, "private", b"in two places", user="root")
        mount = f"/v2/web/blobs/uploads/?mount={digest}"
        self.want(202, "POST", mount, "", user="dev")
        self.upload(201, "team/source", b"in two places", user="dev")
        here, there = "repository:web:pull,push", "repository:team/source:pull"
        self.want(202, "POST", mount, "", token=self.get_token([here], "dev"))
        self.assertEqual(self.want(201, "POST", mount, "", token=self.get_token([here, there], "dev"))["Location"],
                         f"/v2/web/blobs/{digest}")
        self.want(201, "POST", mount.replace("web", "team/other"), "", user="dev")

    def test_a_mount_by_a_token_of_the_one_repository_is_told_to_ask_for_both(self):
        blob, here, there = self.upload(201, "team/from", b"shared", user="dev"), "repository:team/to:pull,push", "repository:team/from:pull"
        mount = f"/v2/team/to/blobs/uploads/?mount={digest_of(b'shared')}&from="
        self.assertEqual(blob["Docker-Content-Digest"], digest_of(b"shared"))
        answer = self.want_error(401, "UNAUTHORIZED", "POST", mount + "team/from", "", token=self.get_token([here], "dev"))
        self.assertIn('error="insufficient_scope"', answer["WWW-Authenticate"])
        self.assertIn(f'scope="{here} {there}"', answer["WWW-Authenticate"])
        self.want(201, "POST", mount + "team/from", "", token=self.get_token([here, there], "dev"))
        # Where no token helps the blob is to be sent.
        self.want(202, "POST", mount + "private", "", token=self.get_token([here], "dev"))
        self.want(202, "POST", mount + "UPPER", "", token=self.get_token([here], "dev"))

    # --- robots ---

    def test_a_robot_works_until_it_is_revoked(self):
        user, password = self.d.drover("registry", "token", "create", "ci", "--repository", "team/**", "--allow", "push").out.split()
        robot = f"{user}:{password}"
        self.assertEqual(user, "robot+ci")
        self.upload(201, "team/robot", user=robot)
        token = self.get_token(["repository:team/robot:pull,push"], robot)
        self.upload(201, "team/robot", token=token)
        self.upload(403, "public/x", user=robot)
        self.want(403, "DELETE", f"/v2/team/robot/blobs/{digest_of(b'bytes')}", user=robot)
        self.assert_clean_refusal(self.d.drover("registry", "token", "create", "ci", "-r", "x", check=False), "token ci already")
        self.assert_clean_refusal(self.d.drover("registry", "token", "create", "CI", "-r", "x", check=False), "a-z")
        listed = json.loads(self.d.drover("registry", "token", "ls", "--json").out)
        self.assertEqual([(t["name"], t["repositories"], t["rights"]) for t in listed], [("ci", ["team/**"], ["pull", "push"])])
        self.assertNotIn(password, self.d.drover("registry", "token", "ls").out)
        self.d.drover("registry", "token", "revoke", "ci")
        self.upload(403, "team/robot", token=token)  # at once, not when the token ends
        self.upload(401, "team/robot", user=robot)
        self.assert_clean_refusal(self.d.drover("registry", "token", "revoke", "ci", check=False), "no token ci")

    # --- the file ---

    def test_a_wrong_file_changes_nothing_and_is_told_with_its_line(self):
        for wrong, words in ((CONFIG + "  - match: x\n    pul: dev\n", ('registry.yaml:17:5: "pul" is not known here', 'did you mean "pull"')),
                             (CONFIG + "replication: []\n", ('"replication" is not known here', 'did you mean "replicate"')),
                             (CONFIG.replace("delete: lead", "delete: anonymous"), ("registry.yaml:10", "anonymous may pull")),
                             (CONFIG.replace("[dev, lead]", "[dev, laed]"), ("registry.yaml:4", 'no user "laed"')),
                             (CONFIG.replace('"@developers"', '"@develpers"', 1), ("registry.yaml:9", 'no group "develpers"')),
                             (CONFIG.replace("match: private", "pull: dev"), ("registry.yaml:15:5", 'key "pull" is given twice')),
                             ("users: {a: plain}", ("registry.yaml:1:", "htpasswd -nB")), ("- x", ("registry.yaml:1:1", "mapping")),
                             ("a: [", ("registry.yaml:2:1", "flow sequence")), ("", ("must be one YAML document",))):
            self.write(wrong)
            self.upload(201, "team/a", user="dev")  # still in force
            self.upload(201, "team/a", user="dev")
            log = self.d.tail()
            for word in words:
                self.assertIn(word, log)
            refused = run([DROVER, "registry", "check", self.config], check=False)
            self.assert_clean_refusal(refused, *words)
        self.write(CONFIG)
        self.assertIn("4 users, 3 rules", run([DROVER, "registry", "check", self.config]).out)
        os.remove(self.config)
        self.upload(201, "team/a", user="dev")
        self.write(CONFIG)

    def test_a_signal_has_it_read_again(self):
        self.write("nonsense")
        os.kill(self.d.process.pid, signal.SIGHUP)
        wait_for(lambda: "what was there before stays in force" in self.d.tail(), "the log to say what is wrong")
        self.write(CONFIG.replace("pull: lead", "pull: dev"))
        os.kill(self.d.process.pid, signal.SIGHUP)
        wait_for(lambda: self.ask("GET", "/v2/private/tags/list", user="dev").status != 403, "the new file to be in force")
        self.write(CONFIG)
        self.assertIsNone(self.d.process.poll())

    # --- clients ---

    def certs(self):
        certs = os.path.join(self.d.root, "certs")
        os.makedirs(certs, exist_ok=True)
        shutil.copy(self.cert, os.path.join(certs, "ca.crt"))
        return certs

    def test_skopeo_logs_in_pushes_and_pulls(self):
        archive, auth, certs = os.path.join(self.d.root, "busybox.tar"), os.path.join(self.d.root, "skopeo-auth.json"), self.certs()
        self.d.docker("save", "-o", archive, "busybox")
        login = ["skopeo", "login", "--cert-dir", certs, "--authfile", auth, "-u"]
        refused = run([*login, "dev", "-p", "wrong", self.at], check=False)
        self.assertNotEqual(refused.status, 0)
        run([*login, "dev", "-p", "dev's word", self.at])
        copy = ["skopeo", "--insecure-policy", "copy", "--authfile", auth]
        run([*copy, "--dest-cert-dir", certs, f"docker-archive:{archive}", f"docker://{self.at}/public/skopeo:1"])
        run(["skopeo", "--insecure-policy", "copy", "--src-no-creds", "--src-cert-dir", certs, f"docker://{self.at}/public/skopeo:1",
             f"oci:{self.d.root}/layout:x"])
        denied = run([*copy, "--dest-cert-dir", certs, f"docker-archive:{archive}", f"docker://{self.at}/private:1"], check=False)
        self.assertNotEqual(denied.status, 0)
        self.assertIn("403 (Forbidden)", denied.err)

    def container_tool(self, tool):
        if not shutil.which(tool):
            raise unittest.SkipTest(f"{tool} is not installed")
        certs, auth = self.certs(), os.path.join(self.d.root, f"{tool}-auth.json")
        store = ["--root", os.path.join(self.d.root, tool), "--runroot", os.path.join(self.d.root, tool + "-run"), "--storage-driver", "vfs"]
        run(["skopeo", "--insecure-policy", "copy", "--dest-creds", "dev:dev's word", "--dest-cert-dir", certs,
             *self.archive(), f"docker://{self.at}/team/tools:1"])
        refused = run([tool, *store, "pull", "--cert-dir", certs, f"{self.at}/team/tools:1"], check=False)
        self.assertNotEqual(refused.status, 0)
        run([tool, *store, "login", "--cert-dir", certs, "--authfile", auth, "-u", "dev", "-p", "dev's word", self.at])
        run([tool, *store, "pull", "--cert-dir", certs, "--authfile", auth, f"{self.at}/team/tools:1"])
        run([tool, *store, "push", "--cert-dir", certs, "--authfile", auth, f"{self.at}/team/tools:1", f"docker://{self.at}/team/{tool}:2"])
        self.assertEqual(self.want(200, "GET", f"/v2/team/{tool}/tags/list", user="reader").json()["tags"], ["2"])

    def archive(self):
        archive = os.path.join(self.d.root, "busybox.tar")
        self.d.docker("save", "-o", archive, "busybox")
        return [f"docker-archive:{archive}"]

    def test_buildah_logs_in_pulls_and_pushes(self):
        self.container_tool("buildah")

    def test_podman_logs_in_pulls_and_pushes(self):
        self.container_tool("podman")

    def test_the_docker_cli_logs_in_pushes_and_pulls(self):
        other = Drover()
        certs = os.path.join(other.root, "certs.d", self.at)
        os.makedirs(certs)
        shutil.copy(self.cert, os.path.join(certs, "ca.crt"))
        try:
            other.start("--certs-dir", os.path.dirname(certs))
            other.busybox()
            self.assertNotEqual(other.docker("login", "-u", "dev", "-p", "wrong", self.at, check=False).status, 0)
            other.docker("tag", "busybox", f"{self.at}/team/docker:1")
            self.assert_clean_refusal(other.docker("push", f"{self.at}/team/docker:1", check=False), "unauthorized")
            self.assertIn("Login Succeeded", other.docker("login", "-u", "dev", "-p", "dev's word", self.at).out)
            other.docker("push", f"{self.at}/team/docker:1")
            other.docker("rmi", f"{self.at}/team/docker:1")
            other.docker("pull", f"{self.at}/team/docker:1")
            other.docker("tag", "busybox", f"{self.at}/private:1")
            self.assert_clean_refusal(other.docker("push", f"{self.at}/private:1", check=False), "denied")
        finally:
            self.assertEqual(other.remove(), "")


class Guessing(Rights):
    """Its own server, since whoever guesses here is told to wait for all of this address."""
    shared = False

    def test_guessing_is_bounded_and_those_who_are_in_stay_in(self):
        self.want(200, "GET", "/v2/", user="dev")
        seen = [self.ask("GET", "/v2/", user=f"lead:guess {i}").status for i in range(12)]
        self.assertEqual(seen[:8], [401] * 8)
        self.assertEqual(seen[-1], 429)
        answer = self.want_error(429, "TOOMANYREQUESTS", "GET", "/token", user="nobody:x")
        self.assertGreater(int(answer["Retry-After"]), 0)
        self.want(200, "GET", "/v2/", user="dev")


for inherited in [name for name in dir(Rights) if name.startswith("test_")]:
    setattr(Guessing, inherited, None)
