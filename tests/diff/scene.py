"""What a scene is told with: calls to one engine whose answers are recorded, masked.

A scene is a function of a module in scenes/, named scene_...; its only argument is the Scene. It runs once against each engine, and
what it recorded there is compared. Everything that it makes is removed after it, so scenes do not meet."""
import base64
import http.client
import json
import re
import socket
import time
import urllib.parse

import engines
import masks

# Headers that clients read; a value is compared, or only whether it is there.
HEADERS = {"Content-Type": True, "Location": True, "Ostype": True, "Docker-Experimental": True, "Api-Version": False,
           "X-Docker-Container-Path-Stat": True, "Upgrade": True, "Retry-After": True, "Allow": True}


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.body)

    def get(self, key, default=None):
        """A field of the answer, or default when it is an error."""
        try:
            return self.json.get(key, default)
        except (ValueError, AttributeError):
            return default


def query(parameters):
    """?name=value of a dictionary; filters and other structures as JSON."""
    if not parameters:
        return ""
    return "?" + urllib.parse.urlencode({k: json.dumps(v) if isinstance(v, (dict, list, bool)) else v for k, v in parameters.items()}, doseq=False)


def frames(data):
    """Docker's multiplexed stream: {"stdout": text, "stderr": text}; what is no frame under "rest"."""
    out = {1: b"", 2: b"", 0: b""}
    while len(data) >= 8 and data[0] in out and data[1:4] == b"\0\0\0":
        size = int.from_bytes(data[4:8], "big")
        out[data[0]] += data[8:8 + size]
        data = data[8 + size:]
    shown = {"stdout": out[1], "stderr": out[2], "stdin": out[0], "rest": data}
    return {k: v.decode("utf-8", "replace") for k, v in shown.items() if v}


class Scene:
    def __init__(self, engine, version="v1.41"):
        self.engine, self.version = engine, version
        self.steps = []
        self.began = time.time()

    # --- recording

    def record(self, step, answer):
        """Adds a value of the scene's own making to what is compared."""
        self.steps.append((self.mask_step(step), masks.document(answer, self.engine)))

    def mask_step(self, step):
        step = masks.text(urllib.parse.unquote(step), self.engine).replace("\n", " ")
        return step if len(step) <= 160 else step[:160] + "..."

    # --- asking

    def ask(self, method, path, body=None, headers=None, version=None):
        """One request, unrecorded. A body that is not bytes goes as JSON."""
        connection = engines.Connection(self.engine.socket)
        prefix = self.version if version is None else version
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        head = {} if data is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, f"{'/' + prefix if prefix else ''}{path}", data, {**head, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {k.title(): v for k, v in answer.getheaders()}, answer.read())
        except (socket.timeout, http.client.HTTPException, OSError) as error:
            return Answer(0, {}, f"<{type(error).__name__}>".encode())
        finally:
            connection.close()

    def api(self, method, path, body=None, params=None, headers=None, version=None, sort=None, only=None, form="json", note=""):
        """One request whose status, headers and body are recorded. `sort`: the key by which a list of objects is ordered, or True for
        a list of plain values; `only`: fields to keep; form: "json", "lines" (a stream of JSON), "text", "frames", "none"."""
        whole = path + query(params)
        answer = self.ask(method, whole, body, headers, version)
        label = f"{method} {'/' + version if version else ''}{whole}{' ' + note if note else ''}"
        if not note and body is not None and not isinstance(body, bytes):
            label += " " + json.dumps(body)
        self.steps.append((self.mask_step(label), self.shown(answer, sort, only, form)))
        return answer

    def shown(self, answer, sort, only, form):
        head = {}
        for name, by_value in HEADERS.items():
            if name in answer.headers:
                value = answer.headers[name]
                if name.startswith("X-Docker"):
                    value = json.loads(base64.b64decode(value))
                head[name] = masks.document(value, self.engine) if by_value else "<there>"
        return {"status": answer.status, "headers": head, "body": self.shown_body(answer, sort, only, form)}

    def shown_body(self, answer, sort, only, form):
        if not answer.body:
            return ""
        try:
            if form == "none":
                return "<not compared>"
            if form == "frames":
                return masks.document(frames(answer.body), self.engine)
            if form == "text":
                return masks.text(answer.text, self.engine)
            if form == "lines":
                return masks.document([json.loads(line) for line in answer.text.splitlines() if line.strip()], self.engine)
            value = answer.json
        except ValueError:
            return masks.text(answer.text, self.engine)
        return masks.document(arranged(value, sort, only), self.engine)

    def cli(self, *args, stdin=None, sort=False, lines=None):
        """The docker CLI: exit code and output are recorded. sort: the order of the lines does not matter; lines: keeps the first n."""
        done = engines.cli(self.engine, *args, stdin=stdin)
        out = masks.text(done.out, self.engine).splitlines()
        # Columns are as wide as their longest value.
        out = [re.sub(r" {2,}", "  ", line).rstrip() for line in out]
        out = out[:lines] if lines is not None else out
        self.steps.append((self.mask_step("docker " + " ".join(args)),
                           {"exit": done.status, "out": sorted(out) if sort else out, "err": masks.text(done.err, self.engine)}))
        return done

    def hijack(self, path, body=None, stdin=b"", upgrade=True, half_close=True, tty=False, after=None, note=""):
        """A connection that is taken over: what came back until its end is recorded, by stream. after: called once the head is in."""
        payload = b"" if body is None else json.dumps(body).encode()
        head = f"POST /{self.version}{path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
        if upgrade:
            head += "Connection: Upgrade\r\nUpgrade: tcp\r\n"
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(engines.HANGS)
            s.connect(self.engine.socket)
            s.sendall(head.encode() + b"\r\n" + payload)
            data, ended = b"", "closed"
            try:
                while b"\r\n\r\n" not in data:
                    more = s.recv(4096)
                    if not more:
                        break
                    data += more
                if after:
                    after()
                if stdin:
                    s.sendall(stdin)
                if half_close:
                    s.shutdown(socket.SHUT_WR)
                while True:
                    more = s.recv(65536)
                    if not more:
                        break
                    data += more
            except OSError as error:
                ended = type(error).__name__
        answer_head, _, rest = data.partition(b"\r\n\r\n")
        lines = answer_head.decode("latin-1").split("\r\n")
        named = {k.strip().title(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        kept = {k: named[k] for k in ("Content-Type", "Upgrade", "Connection") if k in named}
        shown = {"raw": rest.decode("utf-8", "replace")} if tty else frames(rest)
        self.steps.append((self.mask_step(f"POST {path}{' upgrade' if upgrade else ''}{' ' + note if note else ''}"),
                           {"head": lines[0], "headers": kept, "end": ended, "streams": masks.document(shown, self.engine)}))
        return rest

    # --- common beginnings

    def create(self, name, cmd=("sleep", "1000"), host=None, **config):
        """A container, unrecorded; its id."""
        body = {"Image": "by:1", "Cmd": list(cmd), **config}
        host = dict(host or {})
        if host:
            body["HostConfig"] = host
        answer = self.ask("POST", f"/containers/create?name={name}", body)
        if answer.status != 201:
            raise AssertionError(f"create {name}: {answer.status} {answer.text}")
        return answer.json["Id"]

    def run(self, name, cmd=("sleep", "1000"), host=None, **config):
        """A started container, unrecorded; its id. Sleepers end at once when stopped."""
        container = self.create(name, cmd, host, **{"StopSignal": "SIGKILL", **config})
        answer = self.ask("POST", f"/containers/{name}/start")
        if answer.status != 204:
            raise AssertionError(f"start {name}: {answer.status} {answer.text}")
        return container

    def finished(self, name):
        return self.ask("POST", f"/containers/{name}/wait").get("StatusCode")

    def until(self, condition, what):
        return engines.wait_for(condition, f"{self.engine.name}: {what}", deadline=HANG_UNTIL)

    # --- the end

    def clean(self):
        """Removes everything but the base image."""
        for container in self.ask("GET", "/containers/json?all=1").json:
            self.ask("DELETE", f"/containers/{container['Id']}?force=1&v=1")
        for network in self.ask("GET", "/networks").json:
            if network["Name"] not in ("bridge", "host", "none"):
                self.ask("DELETE", f"/networks/{network['Id']}")
        for volume in self.ask("GET", "/volumes").json["Volumes"] or []:
            self.ask("DELETE", f"/volumes/{volume['Name']}?force=1")
        for image in self.ask("GET", "/images/json?all=1").json:
            tags = [t for t in image["RepoTags"] or [] if t != "<none>:<none>"]
            for tag in tags:
                if tag != "by:1":
                    self.ask("DELETE", f"/images/{urllib.parse.quote(tag)}?force=1")
            if not tags:
                self.ask("DELETE", f"/images/{image['Id']}?force=1")


HANG_UNTIL = 60


def key_of(value, path):
    for part in path.split("."):
        if isinstance(value, list):
            value = value[0] if value else None
        value = value.get(part) if isinstance(value, dict) else None
    return json.dumps(value)


def arranged(value, sort, only):
    """A list in a fixed order, and only the fields that are asked for ("A.B" is field B of A)."""
    if isinstance(value, list):
        value = [arranged(v, None, only) for v in value]
        if sort is True:
            return sorted(value, key=json.dumps)
        return sorted(value, key=lambda v: key_of(v, sort)) if sort else value
    if isinstance(value, dict):
        if isinstance(value.get("Ports"), list):  # in no order of dockerd's
            value = {**value, "Ports": sorted(value["Ports"], key=lambda p: json.dumps(p, sort_keys=True))}
        if sort and "." not in sort and isinstance(value.get(sort.partition(":")[0]), list):
            inside, _, by = sort.partition(":")
            value = {**value, inside: sorted(value[inside], key=lambda v: key_of(v, by) if by else json.dumps(v))}
        if only:
            kept = {}
            for path in only:
                inner = value
                for part in path.split("."):
                    inner = inner.get(part, "<absent>") if isinstance(inner, dict) else "<absent>"
                kept[path] = inner
            return kept
    return value
