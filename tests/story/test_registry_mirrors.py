"""Mirrors: repositories below a prefix are another registry's, fetched when they are asked for, once, and served when it is gone."""
import hashlib
import http.server
import json
import os
import threading

from distribution import OCI_MANIFEST, RegistryStory, digest_of
from harness import Drover


class Upstream:
    """A registry with one repository, which counts what is asked of it."""

    def __init__(self):
        self.manifests, self.blobs, self.asked, self.down, self.corrupt = {}, {}, [], False, False
        self.hold = None  # blobs wait for this event
        self.waiting = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status, body=b"", **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_GET(self):
                if self.path == "/v2/":
                    return self.answer(503 if outer.down else 200)
                kind, reference = self.path.split("/")[-2:]
                outer.asked.append((self.command, kind, reference))
                if outer.down:
                    return self.answer(503)
                if kind == "manifests" and reference in outer.manifests:
                    body = outer.manifests[reference]
                    return self.answer(200, body, Content_Type=OCI_MANIFEST, Docker_Content_Digest=digest_of(body))
                if kind == "blobs" and reference in outer.blobs:
                    if outer.hold:
                        outer.waiting.set()
                        outer.hold.wait()
                    body = outer.blobs[reference]
                    return self.answer(200, body[:-1] + b"?" if outer.corrupt else body)
                return self.answer(404)
            do_HEAD = do_GET

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None  # a client that was killed
        self.at = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def put(self, tag, *layers):
        config = b"{}"
        self.blobs[digest_of(config)] = config
        for layer in layers:
            self.blobs[digest_of(layer)] = layer
        text = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(config), "size": len(config)}, "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest_of(layer), "size": len(layer)}
                for layer in layers]}).encode()
        self.manifests[tag] = self.manifests[digest_of(text)] = text
        return text

    def count(self, method, kind):
        return sum(1 for m, k, _ in self.asked if (m, k) == (method, kind))


class Mirrors(RegistryStory):
    shared = False

    @classmethod
    def make(cls):
        return Drover()

    def setUp(self):
        self.upstream = Upstream()
        self.addCleanup(self.upstream.close)
        self.d = self.make()
        self.config = os.path.join(self.d.root, "registry.yaml")
        self.configure()
        self.d.start("--registry", "0", "--registry-config", self.config)
        self.host, self.port = self.address(self.d)

    def configure(self, ttl="1h", size="1g"):
        with open(self.config, "w") as f:
            f.write(f"""
repositories: [{{match: "**", pull: anonymous}}]
mirrors:
  - {{prefix: hub, upstream: "{self.upstream.at}", ttl: {ttl}, size: {size}}}
""")

    def blob(self, status, data):
        return self.want(status, "GET", f"/v2/hub/team/app/blobs/{digest_of(data)}")

    def test_what_was_fetched_is_served_again_also_when_upstream_is_gone(self):
        text = self.upstream.put("v1", b"layer one")
        for _ in range(3):
            answer = self.want(200, "GET", "/v2/hub/team/app/manifests/v1")
            self.assertEqual((answer.body, answer["Content-Type"]), (text, OCI_MANIFEST))
            self.assertEqual(self.blob(200, b"layer one").body, b"layer one")
        self.assertEqual((self.upstream.count("GET", "manifests"), self.upstream.count("GET", "blobs")), (1, 1))
        self.upstream.down = True
        self.configure(ttl="0s")  # it is to be asked each time, and does not answer
        self.assertEqual(self.want(200, "GET", "/v2/hub/team/app/manifests/v1").body, text)
        self.assertEqual(self.blob(200, b"layer one").body, b"layer one")
        self.blob(503, b"{}")  # this was never asked for
        self.want(503, "GET", "/v2/hub/team/app/manifests/v2")
        self.upstream.down = False
        self.assertEqual(self.blob(200, b"{}").body, b"{}")

    def test_a_tag_is_looked_at_again_when_its_time_is_over(self):
        self.configure(ttl="0s")
        self.upstream.put("v1", b"one")
        self.want(200, "GET", "/v2/hub/team/app/manifests/v1")
        self.want(200, "GET", "/v2/hub/team/app/manifests/v1")
        self.assertEqual((self.upstream.count("HEAD", "manifests"), self.upstream.count("GET", "manifests")), (1, 1))
        text = self.upstream.put("v1", b"two")
        self.assertEqual(self.want(200, "GET", "/v2/hub/team/app/manifests/v1").body, text)
        self.want_error(404, "MANIFEST_UNKNOWN", "GET", "/v2/hub/team/app/manifests/none")
        self.want_error(404, "BLOB_UNKNOWN", "GET", f"/v2/hub/team/app/blobs/{digest_of(b'none')}")

    def test_many_clients_at_once_are_one_download(self):
        layer = os.urandom(3 << 20)
        self.upstream.put("v1", layer)
        self.upstream.hold = threading.Event()
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.blob(200, layer).body)) for _ in range(16)]
        for t in threads:
            t.start()
        self.upstream.waiting.wait()
        self.upstream.hold.set()
        for t in threads:
            t.join()
        self.assertEqual([hashlib.sha256(a).digest() for a in answers], [hashlib.sha256(layer).digest()] * 16)
        self.assertEqual(self.upstream.count("GET", "blobs"), 1)

    def test_what_comes_wrong_is_not_kept(self):
        self.upstream.put("v1", b"a layer")
        self.upstream.corrupt = True
        self.want_error(400, "DIGEST_INVALID", "GET", f"/v2/hub/team/app/blobs/{digest_of(b'a layer')}")
        other = digest_of(b"other")
        self.upstream.manifests[other] = self.upstream.manifests["v1"]
        self.assertGreaterEqual(self.ask("GET", f"/v2/hub/team/app/manifests/{other}").status, 500)
        self.upstream.corrupt = False
        self.assertEqual(self.blob(200, b"a layer").body, b"a layer")

    def test_its_size_is_bounded_and_the_longest_unused_goes(self):
        self.configure(size="2500b")
        layers = [bytes([i]) * 1000 for i in range(4)]
        self.upstream.put("v1", *layers)
        for layer in layers:
            self.assertEqual(self.blob(200, layer).body, layer)
        files = [os.path.join(p, f) for p, _, fs in os.walk(os.path.join(self.d.data, "blobs")) for f in fs]
        self.assertEqual(sum(os.path.getsize(f) == 1000 for f in files), 2)
        before = self.upstream.count("GET", "blobs")
        self.blob(200, layers[3])
        self.assertEqual(self.upstream.count("GET", "blobs"), before)
        self.blob(200, layers[0])  # gone, and fetched again
        self.assertEqual(self.upstream.count("GET", "blobs"), before + 1)

    def test_nothing_is_pushed_into_a_mirror(self):
        robot = self.d.drover("registry", "token", "create", "all", "-r", "**", "-a", "push").out.split()
        import base64
        basic = "Basic " + base64.b64encode(":".join(robot).encode()).decode()
        refused = self.want_error(403, "DENIED", "POST", "/v2/hub/team/app/blobs/uploads/", "", Authorization=basic)
        self.assertIn("mirror", refused.json()["errors"][0]["message"])
        self.want_error(403, "DENIED", "PUT", "/v2/hub/team/app/manifests/v1", self.upstream.put("v1", b"x"), Authorization=basic,
                        Content_Type=OCI_MANIFEST)

    def test_the_docker_cli_pulls_through_from_another_drover(self):
        source, other = Drover(), Drover()
        try:
            source.start("--registry", "0")
            source.busybox()
            host, port = self.address(source)
            source.docker("tag", "busybox", f"{host}:{port}/team/busybox:1")
            source.docker("push", f"{host}:{port}/team/busybox:1")
            with open(self.config, "a") as f:
                f.write(f'  - {{prefix: peer, upstream: "{host}:{port}"}}\n')
            other.start()
            at = f"{self.host}:{self.port}/peer/team/busybox:1"
            other.docker("pull", at)
            self.assertEqual(other.docker("run", "--rm", at, "echo", "through").out, "through\n")
            other.docker("rmi", at)
            source.stop()
            other.docker("pull", at)
        finally:
            self.assertEqual(source.remove() + other.remove(), "")
