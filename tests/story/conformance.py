"""What the conformance programme of the OCI distribution specification asks of a registry, retold: each of its checks with every option on,
over kinds of data that are pushed, listed, pulled and deleted again. A Programme counts what passed, what the registry left out that
it may, and what went wrong."""
import base64
import contextlib
import http.client
import json
import os
import re
import urllib.parse

from conformance_data import KINDS, filled
from distribution import BYTES, OCI_INDEX, OCI_MANIFEST, Answer, digest_of

REPOSITORY, SOURCE = "conformance/one", "conformance/two"
CHUNK = 1024


class Wrong(Exception):
    """What the registry must not do."""


class LeftOut(Exception):
    """What the specification lets a registry leave out."""


class Client:
    """Speaks over one connection as long as the registry keeps it, as the programme does. Asked for a password or a token it sends one,
    and keeps it for all of a kind (reading, writing, or deleting in one repository) unless it is forgetful."""
    def __init__(self, host, port, trust=None, user=None, forgetful=False):
        self.connection = (http.client.HTTPSConnection(host, port, context=trust) if trust else
                           http.client.HTTPConnection(host, port))
        self.user, self.forgetful, self.kept = user, forgetful, {}

    def close(self):
        self.connection.close()

    def send(self, method, path, body, streamed, headers):
        try:
            self.connection.request(method, path, iter([body] if body else []) if streamed else body, headers)
        except (BrokenPipeError, ConnectionResetError):
            pass  # answered before all of the body had gone
        answer = self.connection.getresponse()
        return Answer(answer, answer.read())

    def basic(self):
        return "Basic " + base64.b64encode(self.user.encode()).decode()

    def authorization(self, challenge):
        if challenge.startswith("Basic"):
            return self.basic()
        said = dict(re.findall(r'([a-z]+)="(.+?)"', challenge))
        at = urllib.parse.urlsplit(said["realm"])
        query = {k: said[k] for k in ("service", "scope") if k in said}
        answer = self.send("GET", f"{at.path}?{urllib.parse.urlencode(query)}", None, False, {"Authorization": self.basic()})
        if answer.status != 200:
            raise Wrong(f"no token for {query}: {answer.status} {answer.body}")
        return "Bearer " + answer.json()["token"]

    def ask(self, method, path, body=None, streamed=False, **headers):
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        repository = re.match(r"/v2/(.*?)/(blobs|manifests|tags|referrers)/", path)
        key = (repository and repository[1], {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(method, "push"))
        if key in self.kept:
            headers["Authorization"] = self.kept[key]
        answer = self.send(method, path, body, streamed, headers)
        if answer.status == 401 and self.user:
            headers["Authorization"] = self.authorization(answer["WWW-Authenticate"])
            if not self.forgetful:
                self.kept[key] = headers["Authorization"]
            answer = self.send(method, path, body, streamed, headers)
        return answer


class Programme:
    def __init__(self, client):
        self.client, self.where = client, []
        self.passed, self.left_out, self.wrong = 0, [], []

    # --- bookkeeping ---

    @contextlib.contextmanager
    def part(self, name):
        self.where.append(name)
        yield
        self.where.pop()

    @contextlib.contextmanager
    def check(self, name):
        try:
            yield
            self.passed += 1
        except LeftOut as e:
            self.left_out.append(f"{' / '.join(self.where)}: {name}: {e}")
        except (Wrong, OSError, http.client.HTTPException) as e:
            self.wrong.append(f"{' / '.join(self.where)}: {name}: {e}")
            self.client.close()

    def want(self, status, method, path, body=None, streamed=False, expect=None, told=None, **headers):
        """`expect`: the body; `told`: headers of the answer, of which None has only to be there."""
        answer = self.client.ask(method, path, body, streamed, **headers)
        if answer.status not in (status if isinstance(status, tuple) else (status,)):
            raise Wrong(f"{method} {path}: {answer.status}, not {status}: {answer.body[:200]}")
        if expect is not None and answer.body != expect:
            raise Wrong(f"{method} {path}: other bytes: {answer.body[:100]}")
        for name, value in (told or {}).items():
            got = answer.headers.get_all(name, [])
            if not got or (value is not None and value not in got):
                raise Wrong(f"{method} {path}: {name} is {got}, not {value}")
        return answer

    @staticmethod
    def location(answer, path, query=""):
        if not answer["Location"]:
            raise Wrong(f"{path}: no Location")
        at = urllib.parse.urlsplit(urllib.parse.urljoin(path, answer["Location"]))
        return at.path + ("?" if at.query or query else "") + "&".join(q for q in (at.query, query) if q)

    def created(self, path, answer, digest, body):
        if answer["Docker-Content-Digest"] != digest:
            raise Wrong(f"{path}: digest {answer['Docker-Content-Digest']}, not {digest}")
        self.want(200, "GET", self.location(answer, path), expect=body)

    # --- ways to push a blob; `digest` is not the body's when `bad` ---

    def begin(self, repo):
        path = f"/v2/{repo}/blobs/uploads/"
        return self.location(self.want(202, "POST", path), path)

    def finish(self, upload, digest, body, sent, bad, **headers):
        path = upload + ("&" if "?" in upload else "?") + f"digest={digest}"
        answer = self.want(400 if bad else 201, "PUT", path, sent, Content_Type=BYTES, **headers)
        if not bad:
            self.created(path, answer, digest, body)

    def post_only(self, repo, digest, body, bad=False):
        path = f"/v2/{repo}/blobs/uploads/?digest={digest}"
        answer = self.want((400, 202) if bad else (201, 202), "POST", path, body, Content_Type=BYTES)
        if answer.status == 202:
            self.finish(self.location(answer, path), digest, body, body, bad)
            raise LeftOut("no blob in the POST")
        if not bad:
            self.created(path, answer, digest, body)

    def post_put(self, repo, digest, body, bad=False):
        self.finish(self.begin(repo), digest, body, body, bad)

    def stream(self, repo, digest, body, bad=False):
        path = self.begin(repo)
        answer = self.want(202, "PATCH", path, body, True, Content_Type=BYTES)
        self.finish(self.location(answer, path), digest, body, b"", bad)

    def chunked(self, repo, digest, body, bad=False, last_by_put=False, out_of_order=False):
        path, at, n = self.begin(repo), 0, min(max(CHUNK, len(body) // 3 + 1), len(body))
        while at < len(body):
            part = body[at:at + n]
            if out_of_order:
                path = self.refused_chunk(path, digest, body, at, n, last_by_put)
            if last_by_put and at + len(part) == len(body):
                return self.finish(path, digest, body, part, bad, Content_Range=f"{at}-{at + len(part) - 1}")
            answer = self.want(202, "PATCH", path, part, Content_Type=BYTES, Content_Range=f"{at}-{at + len(part) - 1}")
            path, at = self.location(answer, path), at + len(part)
        return self.finish(path, digest, body, b"", bad)

    def refused_chunk(self, path, digest, body, at, n, last_by_put):
        """A chunk that skips one, or is the first again; where the upload stands is then asked for."""
        start = at + n if at + n < len(body) else 0
        part = body[start:start + n]
        by_put = last_by_put and start + len(part) == len(body)
        asked = path + ("&" if "?" in path else "?") + f"digest={digest}" if by_put else path
        self.want(416, "PUT" if by_put else "PATCH", asked, part, Content_Type=BYTES,
                  Content_Range=f"{start}-{start + len(part) - 1}")
        stands = self.want(204, "GET", asked)
        if not re.fullmatch(r"0-\d+", stands["Range"] or "") or (at and stands["Range"] != f"0-{at - 1}"):
            raise Wrong(f"the upload stands at {stands['Range']}, not 0-{at - 1}")
        return self.location(stands, path)

    def mount(self, repo, source, digest, body):
        path = f"/v2/{repo}/blobs/uploads/?mount={urllib.parse.quote(digest)}" + (f"&from={urllib.parse.quote(source)}" if source else "")
        answer = self.want((201, 202), "POST", path)
        if answer.status == 202:
            self.finish(self.location(answer, path), digest, body, body, False)
            raise LeftOut("not mounted: it had to be sent")
        self.created(path, answer, digest, body)

    def cancel(self, repo):
        self.want(204, "DELETE", self.begin(repo))

    # --- what is asked of each blob, manifest and tag ---

    def head_blob(self, digest, body):
        with self.check("blob HEAD"):
            self.want(200, "HEAD", f"/v2/{REPOSITORY}/blobs/{digest}", expect=b"",
                      told={"Content-Length": str(len(body)), "Docker-Content-Digest": digest})

    def get_blob(self, digest, body):
        with self.check("blob GET"):
            self.want(200, "GET", f"/v2/{REPOSITORY}/blobs/{digest}", expect=body,
                      told={"Content-Length": str(len(body)), "Docker-Content-Digest": digest})

    def delete(self, path):
        with self.check(f"delete {path}"):
            if self.want((202, 404, 405), "DELETE", path).status == 405:
                raise LeftOut("nothing is deleted")
        with self.check(f"deleted at once {path}"):
            self.want(404, "HEAD", path)

    def delete_blob(self, digest, repo=REPOSITORY):
        self.delete(f"/v2/{repo}/blobs/{digest}")

    def read_manifest(self, method, reference, digest, body):
        with self.check(f"manifest {method} {reference}"):
            self.want(200, method, f"/v2/{REPOSITORY}/manifests/{reference}", Accept=f"{OCI_INDEX}, {OCI_MANIFEST}",
                      expect=body if method == "GET" else b"",
                      told={"Content-Type": json.loads(body)["mediaType"], "Content-Length": str(len(body)),
                            "Docker-Content-Digest": digest})

    def put_manifest(self, data, reference, digest, tags=()):
        body = data.manifests[digest]
        document = json.loads(body)
        path = f"/v2/{REPOSITORY}/manifests/{reference}"
        asked = path + "?" * bool(tags) + "&".join("tag=" + tag for tag in tags)
        with self.check(f"manifest PUT {reference}"):
            if data.refused:
                self.want(400, "PUT", asked, body, True, Content_Type=document["mediaType"])
                return
            told = {"Docker-Content-Digest": digest}
            if "subject" in document:
                told["OCI-Subject"] = document["subject"]["digest"]
            answer = self.want(201, "PUT", asked, body, True, Content_Type=document["mediaType"], told=told)
            for tag in tags:
                if tag not in answer.headers.get_all("OCI-Tag", []):
                    raise LeftOut(f"OCI-Tag does not name {tag}")
            self.want(200, "GET", self.location(answer, path), expect=body,
                      told={"Content-Type": document["mediaType"], "Content-Length": str(len(body))})

    # --- the groups ---

    def tag_list(self, query=""):
        answer = self.want((200, 404), "GET", f"/v2/{REPOSITORY}/tags/list{query}")
        return answer.json()["tags"] or [] if answer.status == 200 else []

    def referrers(self, digest, kind=None):
        answer = self.want(200, "GET", f"/v2/{REPOSITORY}/referrers/{digest}" +
                           (f"?artifactType={urllib.parse.quote(kind)}" if kind else ""), told={"Content-Type": OCI_INDEX})
        index = answer.json()
        if (index["mediaType"], index["schemaVersion"]) != (OCI_INDEX, 2):
            raise Wrong(f"the referrers are no index: {index}")
        if kind and "artifactType" not in (answer["OCI-Filters-Applied"] or ""):
            raise LeftOut("referrers are not filtered")
        return index["manifests"]

    def empty(self):
        with self.part("empty"):
            with self.check("ping"):
                self.want(200, "GET", "/v2/")
            with self.check("tags"):
                self.tag_list()
            with self.check("referrers"):
                if self.referrers(digest_of(os.urandom(9))):
                    raise Wrong("referrers of what there is not")

    def blobs(self, algorithm):
        def body(n=512):
            data = os.urandom(n)
            return digest_of(data, algorithm), data
        with self.part(algorithm + " blobs"):
            with self.check("GET of a missing one"):
                self.want(404, "GET", f"/v2/{REPOSITORY}/blobs/{body()[0]}")
            large = CHUNK * 3 - 5
            for name, push, n, options in (
                    ("one POST", self.post_only, 512, {}), ("POST and PUT", self.post_put, 512, {}),
                    ("one chunk", self.chunked, 512, {}), ("stream", self.stream, 512, {}),
                    ("chunks", self.chunked, large, {}), ("chunks, the last by PUT", self.chunked, large, {"last_by_put": True}),
                    ("chunks out of order", self.chunked, large, {"out_of_order": True}),
                    ("chunks out of order, the last by PUT", self.chunked, large, {"out_of_order": True, "last_by_put": True})):
                with self.part(name):
                    digest, data = body(n)
                    with self.check("push"):
                        push(REPOSITORY, digest, data, **options)
                    self.pushed_blob(digest, data)
            self.mounts(*body(), *body(), *body())
            with self.check("cancel"):
                self.cancel(REPOSITORY)
            self.ranges(*body(2048))
            for name, data in (("empty", b""), ("empty JSON", b"{}")):
                with self.part(name):
                    digest = digest_of(data, algorithm)
                    for push in (self.post_put, self.post_only, self.stream, self.chunked):
                        with self.check(f"push by {push.__name__}"):
                            push(REPOSITORY, digest, data)
                        self.pushed_blob(digest, data)
            self.wrong_blobs(lambda: body(large))

    def pushed_blob(self, digest, data):
        self.head_blob(digest, data)
        self.get_blob(digest, data)
        self.delete_blob(digest)

    def mounts(self, one, one_body, two, two_body, missing, missing_body):
        for name, source, digest, data in (("mount", SOURCE, one, one_body), ("mount without a source", None, two, two_body)):
            with self.part(name):
                with self.check("push to the source"):
                    self.post_put(SOURCE, digest, data)
                with self.check("mount"):
                    self.mount(REPOSITORY, source, digest, data)
                self.pushed_blob(digest, data)
                self.delete_blob(digest, SOURCE)
        with self.part("mount of a missing one"):
            with self.check("mount"):
                try:
                    self.mount(REPOSITORY, SOURCE, missing, missing_body)
                except LeftOut:
                    pass  # as it has to be
                else:
                    raise Wrong("mounted what is not there")
            self.pushed_blob(missing, missing_body)

    def ranges(self, digest, data):
        size = len(data)
        with self.part("ranges"):
            with self.check("push"):
                self.post_put(REPOSITORY, digest, data)
            for asked, first, last in (("500-1499", 500, 1499), ("500-", 500, size - 1), ("-500", size - 500, size - 1),
                                       ("2000-5000", 2000, size - 1), ("500-0", None, None), ("5000-10000", None, None)):
                with self.check(asked):
                    path = f"/v2/{REPOSITORY}/blobs/{digest}"
                    if first is None:
                        self.want(416, "GET", path, Range=f"bytes={asked}")
                    else:
                        self.want(206, "GET", path, Range=f"bytes={asked}", expect=data[first:last + 1],
                                  told={"Content-Length": str(last + 1 - first), "Content-Range": f"bytes {first}-{last}/{size}"})
            self.delete_blob(digest)

    def wrong_blobs(self, body):
        with self.part("wrong digest"):
            for name, push, options in (("one POST", self.post_only, {}), ("POST and PUT", self.post_put, {}),
                                        ("chunks", self.chunked, {}), ("chunks, the last by PUT", self.chunked, {"last_by_put": True}),
                                        ("stream", self.stream, {})):
                digest, data = body()
                with self.check(name):
                    push(REPOSITORY, digest, data + b"more", bad=True, **options)

    def kind(self, name):
        data = KINDS[name]()
        with self.part(name):
            for digest, body in data.blobs.items():
                with self.check("push of a blob"):
                    self.post_put(REPOSITORY, digest, body)
            given = {}
            for digest in data.manifests:
                given[digest] = [t for t, d in data.tags.items() if d == digest] if data.by_parameter else []
                self.put_manifest(data, digest, digest, given[digest])
            for tag, digest in data.tags.items():
                if tag not in given[digest]:
                    self.put_manifest(data, tag, digest)
            self.list_tags(data)
            for method in ("HEAD", "GET"):
                for reference, digest in () if data.refused else (*data.tags.items(), *((d, d) for d in data.manifests)):
                    self.read_manifest(method, reference, digest, data.manifests[digest])
                for digest, body in data.blobs.items():
                    (self.head_blob if method == "HEAD" else self.get_blob)(digest, body)
            for of, expected in data.referrers.items():
                self.list_referrers(of, expected)
            for reference in (*data.tags, *reversed(data.manifests)):
                self.delete(f"/v2/{REPOSITORY}/manifests/{reference}")
            for digest in data.blobs:
                self.delete_blob(digest)

    def list_tags(self, data):
        with self.check("tags"):
            tags = sorted(self.tag_list())
            if not set(data.tags) <= set(tags):
                raise Wrong(f"{tags} lack some of {list(data.tags)}")
            half = len(tags) // 2
            if half and sorted(self.tag_list("?last=" + tags[half - 1])) != tags[half:]:
                raise Wrong(f"of {tags} behind {tags[half - 1]} came others than the rest")

    def list_referrers(self, of, expected):
        def lacks(listed, wanted):
            return [w for w in wanted if not any(
                all(one.get(k, "") == w[k] for k in ("digest", "mediaType", "size", "artifactType")) and
                w["annotations"].items() <= one.get("annotations", {}).items() for one in listed)]
        with self.check("referrers"):
            missing = lacks(self.referrers(of), expected)
            if missing:
                raise Wrong(f"referrers lack {missing}")
            for kind in {one["artifactType"] for one in expected}:
                listed = self.referrers(of, kind)
                missing = lacks(listed, [one for one in expected if one["artifactType"] == kind])
                others = [one for one in listed if one["artifactType"] != kind]
                if missing or others:
                    raise Wrong(f"referrers of {kind} lack {missing} and have {others}")

    def missing_and_malformed(self):
        with self.part("manifests"):
            for name, reference, status in (("missing, by digest", digest_of(os.urandom(9)), 404),
                                            ("missing, by tag", "missing-" + os.urandom(4).hex(), 404),
                                            ("malformed digest", "sha256:baddigest", (400, 404))):
                with self.check(name):
                    self.want(status, "GET", f"/v2/{REPOSITORY}/manifests/{reference}", Accept=OCI_MANIFEST)
            data = filled(lambda d: d.image(layers=1))
            for digest, body in data.blobs.items():
                with self.check("push of a blob"):
                    self.post_put(REPOSITORY, digest, body)
            with self.check("PUT by a malformed digest"):
                self.want(400, "PUT", f"/v2/{REPOSITORY}/manifests/sha256:baddigest", *data.manifests.values(), True,
                          Content_Type=OCI_MANIFEST)
            for digest in data.blobs:
                self.delete_blob(digest)

    def run(self):
        self.empty()
        for algorithm in ("sha256", "sha512"):
            self.blobs(algorithm)
        for name in KINDS:
            self.kind(name)
        self.missing_and_malformed()
        return self
