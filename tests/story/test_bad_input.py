"""Every route of the API gets every kind of wrong request: the answer is an HTTP status with {"message": ...}, at once, and the
server goes on."""
import json
import os
import re
import socket

from harness import TOP, Story

ROUTE = re.compile(r'\{"([A-Z]+)",\s*"(/[^"]*)"')
QUERY = re.compile(r'(?:http_query(?:_bool|_all)?|api__query_\w+|api__refuse_query)\(q, "([\w-]+)"')
BODIES = [
    (None, b""),
    ("application/json", b""),
    ("application/json", b"null"),
    ("application/json", b"{}"),
    ("application/json", b"[]"),
    ("application/json", b"3"),
    ("application/json", b'"text"'),
    ("application/json", b"{"),
    ("application/json", b"{}x"),
    ("application/json", b"\xff\xfe"),
    ("application/json", b'{"a\\u0000b": "c\\u0000d"}'),
    ("application/json", b'{"Unknown": {"Field": [1, 2.5, null, true]}}'),
    ("application/json", b"[" * 100000),
    ("application/json", b'{"x": "' + b"y" * (5 << 20) + b'"}'),
    ("text/plain", b"{}"),
    (None, b"{}"),
    ("application/x-tar", b"no tar at all" * 100),
    ("application/x-tar", b"\0" * 1024),
]
def escape(text):
    return "".join(c if c.isalnum() else "".join(f"%{b:02X}" for b in c.encode()) for c in text)


# Fields that several bodies have, each with a value of the wrong type.
FIELDS = ("Image", "Cmd", "Env", "Labels", "HostConfig", "NetworkingConfig", "Name", "Driver", "DriverOpts", "IPAM", "Container",
          "EndpointConfig", "AttachStdin", "Tty", "Detach", "ConsoleSize", "User", "Memory", "RestartPolicy", "Healthcheck", "Volumes",
          "ExposedPorts", "StopTimeout", "username", "serveraddress", "Options", "Internal", "CpuShares", "DetachKeys")
WRONG = (True, -1, 1e300, "text", [], [None], {}, {"a": {"b": []}}, None)
NAMES = ("nope", "victim", escape("../../etc/passwd"), escape("\u00e9 \n"), "a" * 4000)
VALUES = ("", "x", "-1", "1", "99999999999999999999", "[]", "{", "{\"label\":[\"a\"]}", "{\"label\":3}", "a" * 5000, "../../etc",
          "\u00e9", "a b", "%00", "\n")


def source(name):
    with open(os.path.join(TOP, "src/api", name)) as f:
        return f.read()


class Answers:
    """A connection that is used again as long as the server lets it."""

    def __init__(self, path):
        self.path, self.socket, self.pending = path, None, b""

    def receive(self):
        more = self.socket.recv(65536)
        if not more:
            raise ConnectionError("the connection ended within an answer")
        self.pending += more

    def ask(self, method, target, content_type=None, body=b""):
        """(status, headers, body; None for the body of a stream, which is left there)."""
        if not self.socket:
            self.socket, self.pending = socket.socket(socket.AF_UNIX), b""
            self.socket.settimeout(60)
            self.socket.connect(self.path)
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        if content_type:
            head += f"Content-Type: {content_type}\r\n"
        try:
            self.socket.sendall(head.encode() + b"\r\n" + body)
        except OSError:
            pass  # answered before the body was in
        while b"\r\n\r\n" not in self.pending:
            self.receive()
        top, self.pending = self.pending.split(b"\r\n\r\n", 1)
        lines = top.decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
        status = int(lines[0].split(" ")[1])
        content = None
        if method == "HEAD" or status in (204, 304):
            content = b""
        elif "content-length" in headers:
            while len(self.pending) < int(headers["content-length"]):
                self.receive()
            content, self.pending = self.pending[:int(headers["content-length"])], self.pending[int(headers["content-length"]):]
        if content is None or headers.get("connection") == "close":
            self.close()
        return status, headers, content

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None


class BadInput(Story):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.routes = ROUTE.findall(source("routes.c"))
        cls.queries = sorted({name for f in os.listdir(os.path.join(TOP, "src/api")) if f.endswith(".c") for name in QUERY.findall(source(f))})
        assert len(cls.routes) > 90 and len(cls.queries) > 40, (len(cls.routes), len(cls.queries))

    def setUp(self):
        super().setUp()
        self.d.docker("rm", "-f", "victim", check=False)
        self.d.docker("run", "-d", "--name", "victim", "--stop-signal", "KILL", "busybox", "sleep", "100000")
        self.answers = Answers(self.d.socket)

    def tearDown(self):
        self.answers.close()
        super().tearDown()

    def targets(self, names=NAMES):
        for method, pattern in self.routes:
            for name in names:
                filled = re.sub(r"\{[^}]*\}", name, pattern)
                yield method, filled
                if filled == pattern:
                    break

    def clean(self, method, target, content_type=None, body=b""):
        try:
            status, headers, content = self.answers.ask(method, target, content_type, body)
        except (OSError, ValueError, IndexError) as e:
            self.fail(f"{method} {target[:200]} {content_type} {body[:100]!r}: {e!r}\n{self.d.tail()}")
        what = f"{method} {target[:200]} {content_type} {body[:100]!r} -> {status} {content and content[:300]}"
        self.assertIn("api-version", headers, what)
        if status >= 400 and method != "HEAD":
            self.assertIsNotNone(content, what)
            self.assertEqual(headers["content-type"], "application/json", what)
            self.assertEqual(list(json.loads(content)), ["message"], what)
            self.assertTrue(json.loads(content)["message"], what)
        # Nothing that a client sends is the server's own failure. A registry that cannot be reached is no fault of either.
        if b"resolve host" not in (content or b""):
            self.assertNotIn(status, (500, 502, 504, 507), what)
        return status

    def alive(self):
        self.assertEqual(self.answers.ask("GET", "/_ping")[2], b"OK")
        self.assertIsNone(self.d.process.poll())

    def test_every_route_with_every_kind_of_body(self):
        for method, target in self.targets():
            for content_type, body in BODIES:
                if len(body) > 10000 and (method == "GET" or any(name in target for name in NAMES[1:])):
                    continue  # once a route
                self.clean(method, target, content_type, body)
            self.alive()

    def test_every_route_with_fields_of_the_wrong_type(self):
        for method, target in self.targets():
            if method == "POST" and "nope" not in target:
                for wrong in WRONG:
                    self.clean(method, target, "application/json", json.dumps({f: wrong for f in FIELDS}).encode())
                    self.clean(method, target, "application/json", json.dumps({"Image": "busybox", "HostConfig": {f: wrong for f in FIELDS}}).encode())
        for field in FIELDS:
            for wrong in WRONG:
                self.clean("POST", "/containers/create", "application/json", json.dumps({"Image": "busybox", field: wrong}).encode())
        self.alive()

    def test_every_route_with_wrong_query_parameters(self):
        for method, target in self.targets(("nope", "victim")):
            for value in VALUES:
                query = "&".join(f"{name}={escape(value) if value != '%00' else value}" for name in self.queries)
                self.clean(method, f"{target}?{query}")
            self.clean(method, target + "?" + "&".join(self.queries))
            self.clean(method, target + "?" + "a=b&" * 2000)
            self.clean(method, target + "?%zz")
        self.alive()

    def test_every_method_at_every_path(self):
        for _, target in self.targets():
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"):
                status = self.clean(method, target)
                if method in ("PATCH", "TRACE", "PROPFIND"):
                    self.assertEqual(status, 404)
        self.alive()

    def test_answers_dockerd_gives_too(self):
        """A sample whose statuses and messages were compared with dockerd's."""
        for method, target, content_type, body, status, message in [
                ("GET", "/v1.99/info", None, b"", 400, "client version 1.99 is too new. Maximum supported API version is "),
                ("GET", "/v1.1/info", None, b"", 400, "client version 1.1 is too old. Minimum supported API version is 1.12, "
                 "please upgrade your client to a newer version"),
                ("GET", "/v/info", None, b"", 404, "page not found"),
                ("GET", "/containers/nope/json", None, b"", 404, "No such container: nope"),
                ("GET", "/containers/a%2Fb/json", None, b"", 404, "No such container: a/b"),
                ("GET", "/containers/json?all=%zz", None, b"", 400, 'invalid URL escape "%zz"'),
                ("POST", "/containers/create", "text/plain", b"{}", 400, "unsupported Content-Type header (text/plain): must be 'application/json'"),
                ("POST", "/networks/create", None, b"", 400, "invalid JSON: got EOF while reading request body"),
                ("GET", "/containers/nope/logs", None, b"", 400, "Bad parameters: you must choose at least one stream"),
                ("GET", "/events?since=5&until=4", None, b"", 400, "`since` time (5) cannot be after `until` time (4)"),
                ("GET", "/swarm", None, b"", 503, "This node is not a swarm manager. Use \"docker swarm init\" or "),
                ("POST", "/swarm/leave", None, b"", 503, "This node is not part of a swarm"),
                ("GET", "/nodes", None, b"", 503, "This node is not a swarm manager."),
                ("POST", "/services/create", "application/json", b"{}", 503, "This node is not a swarm manager."),
                ("GET", "/plugins/nope/json", None, b"", 404, 'plugin "nope" not found'),
                ("POST", "/session", None, b"", 400, "no upgrade proto in request"),
        ]:
            got, _, content = self.answers.ask(method, target, content_type, body)
            self.assertEqual(got, status, (target, content))
            # Before API 1.24 an error is a line of plain text.
            said = content.decode() if target.startswith("/v1.1/") else json.loads(content)["message"]
            self.assertTrue(said.startswith(message), (target, content))
        self.assertEqual(self.answers.ask("GET", "/plugins")[2], b"[]\n")
        self.assertEqual(self.answers.ask("OPTIONS", "/containers/json")[0], 200)
        self.assertEqual(self.answers.ask("HEAD", "/containers/json")[0], 404)
        status, headers, _ = self.answers.ask("GET", "/v1.41//containers/./json?all=1")
        self.assertEqual((status, headers["location"]), (301, "/v1.41/containers/json?all=1"))
