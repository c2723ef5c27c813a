"""Whoever a webhook names hears of each push and deletion that was acknowledged, once it can hear."""
import hashlib
import hmac
import http.server
import json
import os
import threading

from distribution import RegistryStory, digest_of
from harness import Drover, wait_for


class Listener:
    """A CI system's end: takes notifications, or refuses them while told to."""

    def __init__(self):
        self.heard, self.refuse = [], False
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not outer.refuse:
                    outer.heard.append((dict(self.headers), body))
                self.send_response(503 if outer.refuse else 204)
                self.end_headers()

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def events(self):
        return [(e["action"], e["target"]["repository"], e["target"].get("tag")) for _, body in self.heard
                for e in json.loads(body)["events"]]


class Webhooks(RegistryStory):
    shared = False

    @classmethod
    def make(cls):
        return Drover()

    def setUp(self):
        self.listener = Listener()
        self.addCleanup(self.listener.close)
        self.d = self.make()
        self.config = os.path.join(self.d.root, "registry.yaml")
        with open(self.config, "w") as f:
            f.write(f"""
webhooks:
  - {{name: ci, url: "{self.listener.url}", secret: "a word between us", match: [team/**]}}
  - {{name: pushes, url: "{self.listener.url}", events: push, match: other}}
""")
        self.begin_serving()

    def begin_serving(self):
        self.d.start("--registry", "0", "--registry-config", self.config)
        self.host, self.port = self.address(self.d)
        robot = json.loads(self.d.api("GET", "/drover/registry/tokens")[2])
        if not robot:
            self.robot = self.d.drover("registry", "token", "create", "all", "-r", "**", "-a", "admin").out.split()

    def ask(self, method, path, body=None, **headers):
        import base64
        basic = base64.b64encode(":".join(self.robot).encode()).decode()
        return super().ask(method, path, body, Authorization=f"Basic {basic}", **headers)

    def test_a_push_and_a_deletion_are_told_and_signed(self):
        text = self.manifest("team/app", "one")
        self.push("team/app", "v1", text)
        self.push("elsewhere", "v1", self.manifest("elsewhere", "one"))
        self.push("other", "v1", self.manifest("other", "one"))
        self.want(202, "DELETE", "/v2/other/manifests/v1")
        self.want(202, "DELETE", "/v2/team/app/manifests/v1")
        wait_for(lambda: len(self.listener.heard) >= 3, "three notifications")
        self.assertEqual(sorted(self.listener.events()), [("delete", "team/app", "v1"), ("push", "other", "v1"), ("push", "team/app", "v1")])
        for headers, body in self.listener.heard:
            self.assertEqual(headers["Content-Type"], "application/vnd.docker.distribution.events.v2+json")
            target = json.loads(body)["events"][0]["target"]
            if target["repository"] == "team/app":
                mac = hmac.new(b"a word between us", body, hashlib.sha256).hexdigest()
                self.assertEqual(headers["X-Hub-Signature-256"], f"sha256={mac}")
            else:
                self.assertNotIn("X-Hub-Signature-256", headers)
        first = next(json.loads(b)["events"][0] for _, b in self.listener.heard if b"team/app" in b and b"push" in b)
        self.assertEqual((first["target"]["digest"], first["target"]["size"]), (digest_of(text), len(text)))
        wait_for(lambda: self.d.drover("registry", "deliveries").out.count(" 204") == 3, "the log of deliveries")

    def test_what_could_not_be_told_outlives_a_kill_and_is_told_in_order(self):
        self.listener.refuse = True
        for i in range(5):
            self.push("team/app", f"v{i}", self.manifest("team/app", f"{i}"))
        wait_for(lambda: " 503" in self.d.drover("registry", "deliveries").out, "an attempt to fail")
        self.d.kill9()
        self.listener.refuse = False
        self.begin_serving()
        wait_for(lambda: len(self.listener.heard) >= 5, "five notifications")
        self.assertEqual([tag for _, _, tag in self.listener.events()], [f"v{i}" for i in range(5)])
