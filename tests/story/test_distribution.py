"""The registry inside, driven as the OCI Distribution Specification 1.1 says (each test names its section), and by clients that
others wrote."""
import base64
import http.client
import json
import os
import shutil
import socket
import ssl
import threading
import unittest

from distribution import BYTES, OCI_INDEX, OCI_MANIFEST, Answer, RegistryStory, digest_of
from harness import Drover, Story, run, wait_for


class Distribution(RegistryStory):
    @classmethod
    def make(cls):
        return Drover().start("--registry", "0")

    # --- Determining Support ---

    def test_support_is_told_at_v2(self):
        self.assertEqual(self.want(200, "GET", "/v2/")["Docker-Distribution-API-Version"], "registry/2.0")
        self.want(404, "GET", "/v3/")
        self.want(404, "GET", "/containers/json")  # nothing of Docker's API is at this address

    # --- Pulling manifests, Pulling blobs ---

    def test_what_is_not_there_is_404_with_its_code(self):
        missing = digest_of(b"missing")
        self.want_error(404, "MANIFEST_UNKNOWN", "GET", "/v2/pull/none/manifests/latest")
        self.want_error(404, "MANIFEST_UNKNOWN", "GET", f"/v2/pull/none/manifests/{missing}")
        self.want_error(404, "BLOB_UNKNOWN", "GET", f"/v2/pull/none/blobs/{missing}")
        self.want(404, "HEAD", "/v2/pull/none/manifests/latest")
        self.want(404, "HEAD", f"/v2/pull/none/blobs/{missing}")
        self.want_error(404, "NAME_UNKNOWN", "GET", "/v2/pull/none/tags/list")
        self.want_error(400, "DIGEST_INVALID", "GET", "/v2/pull/none/blobs/sha256:nonsense")
        self.want_error(400, "DIGEST_INVALID", "GET", "/v2/pull/none/manifests/sha256:nonsense")
        self.want_error(400, "NAME_INVALID", "GET", "/v2/UPPER/tags/list")
        self.want_error(400, "NAME_INVALID", "GET", "/v2/a/%2e%2e/etc/tags/list")
        self.want_error(400, "TAG_INVALID", "GET", "/v2/a/manifests/.hidden")

    def test_a_manifest_is_what_was_pushed_by_tag_and_digest(self):
        text = self.manifest("pull/m", "pull")
        digest = digest_of(text)
        answer = self.push("pull/m", "v1", text)
        self.assertEqual((answer["Location"], answer["Docker-Content-Digest"]), (f"/v2/pull/m/manifests/{digest}", digest))
        for reference in ("v1", digest):
            answer = self.want(200, "GET", f"/v2/pull/m/manifests/{reference}")
            self.assertEqual((answer.body, answer["Content-Type"], answer["Docker-Content-Digest"]), (text, OCI_MANIFEST, digest))
            head = self.want(200, "HEAD", f"/v2/pull/m/manifests/{reference}")
            self.assertEqual((head.body, head["Content-Length"], head["Content-Type"]), (b"", str(len(text)), OCI_MANIFEST))

    def test_a_blob_is_served_whole_and_in_ranges(self):
        data = bytes(range(256)) * 8
        digest = self.push_blob("pull/b", data)
        path = f"/v2/pull/b/blobs/{digest}"
        answer = self.want(200, "GET", path)
        self.assertEqual((answer.body, answer["Content-Length"], answer["Docker-Content-Digest"]), (data, "2048", digest))
        self.assertEqual(self.want(200, "HEAD", path)["Content-Length"], "2048")
        for asked, first, last in (("500-1499", 500, 1499), ("500-", 500, 2047), ("-500", 1548, 2047), ("2000-5000", 2000, 2047),
                                   ("0-0", 0, 0), ("-5000", 0, 2047)):
            answer = self.want(206, "GET", path, Range=f"bytes={asked}")
            self.assertEqual((answer.body, answer["Content-Range"]), (data[first:last + 1], f"bytes {first}-{last}/2048"), asked)
        for asked in ("500-0", "5000-10000", "2048-", "-0"):
            self.assertEqual(self.want(416, "GET", path, Range=f"bytes={asked}")["Content-Range"], "bytes */2048", asked)
        for asked in ("lines=1-2", "bytes=a-b", "bytes=1-2,4-5"):  # not understood: RFC 9110 has them ignored
            self.assertEqual(self.want(200, "GET", path, Range=asked).body, data)
        self.want(304, "GET", path, If_None_Match=f'"{digest}"')

    # --- Pushing a blob monolithically ---

    def test_a_blob_is_pushed_with_post_then_put_and_with_one_post(self):
        data = b"in one request"
        digest = digest_of(data)
        answer = self.want(201, "POST", f"/v2/push/one/blobs/uploads/?digest={digest}", data, Content_Type=BYTES)
        self.assertEqual(self.want(200, "GET", answer["Location"]).body, data)
        self.push_blob("push/two", data)
        self.want_error(400, "DIGEST_INVALID", "POST", f"/v2/push/one/blobs/uploads/?digest={digest}", b"other", Content_Type=BYTES)
        location = self.begin("push/one")
        self.want_error(400, "DIGEST_INVALID", "PUT", f"{location}?digest={digest}", b"other", Content_Type=BYTES)
        self.want_error(404, "BLOB_UPLOAD_UNKNOWN", "GET", location)
        location = self.begin("push/one")
        self.want_error(400, "DIGEST_INVALID", "PUT", location, data)

    def test_an_empty_blob_is_a_blob(self):
        for algorithm in ("sha256", "sha512"):
            digest = digest_of(b"", algorithm)
            self.want(201, "POST", f"/v2/push/empty/blobs/uploads/?digest={digest}", b"", Content_Type=BYTES)
            answer = self.want(200, "GET", f"/v2/push/empty/blobs/{digest}")
            self.assertEqual((answer.body, answer["Content-Length"]), (b"", "0"))

    def test_sha512_names_blobs_and_manifests_too(self):
        digest = self.push_blob("push/long", b"bytes", "sha512")
        self.assertEqual(self.want(200, "GET", f"/v2/push/long/blobs/{digest}").body, b"bytes")
        text = self.manifest("push/long", "x")
        long = digest_of(text, "sha512")
        self.assertEqual(self.push("push/long", long, text)["Docker-Content-Digest"], long)
        self.assertEqual(self.want(200, "GET", f"/v2/push/long/manifests/{long}").body, text)
        answer = self.want(201, "PUT", f"/v2/push/long/manifests/{long}?tag=a&tag=b", text, Content_Type=OCI_MANIFEST)
        self.assertEqual(answer.headers.get_all("OCI-Tag"), ["a", "b"])
        self.assertEqual(self.want(200, "HEAD", "/v2/push/long/manifests/b")["Docker-Content-Digest"], long)

    # --- Pushing a blob in chunks ---

    def chunk(self, status, location, start, data, method="PATCH", query=""):
        return self.want(status, method, location + query, data, Content_Type=BYTES,
                         Content_Range=f"{start}-{start + len(data) - 1}")

    def test_chunks_go_on_where_the_last_ended(self):
        for last_by_put in (False, True):
            location = self.begin("push/chunks")
            answer = self.chunk(202, location, 0, b"one")
            self.assertEqual(answer["Range"], "0-2")
            self.chunk(416, location, 6, b"three")
            self.chunk(416, location, 0, b"one")
            status = self.want(204, "GET", location)
            self.assertEqual((status["Range"], status["Location"]), ("0-2", location))
            self.chunk(202, location, 3, b"two")
            digest = digest_of(b"onetwothree")
            if last_by_put:
                self.chunk(201, location, 6, b"three", "PUT", f"?digest={digest}")
            else:
                self.chunk(202, location, 6, b"three")
                self.want(201, "PUT", f"{location}?digest={digest}", b"", Content_Type=BYTES)
            self.assertEqual(self.want(200, "GET", f"/v2/push/chunks/blobs/{digest}").body, b"onetwothree")

    def test_a_blob_is_streamed_without_its_length(self):
        location = self.begin("push/stream")
        answer = self.want(202, "PATCH", location, iter([b"one", b"two" * 1000]), Content_Type=BYTES)
        digest = digest_of(b"one" + b"two" * 1000)
        self.assertEqual(answer["Range"], "0-3002")
        self.want(201, "PUT", f"{location}?digest={digest}", b"")

    def test_an_upload_broken_off_is_taken_up_where_it_stands(self):
        location, data = self.begin("push/broken"), os.urandom(300000)
        with socket.create_connection((self.host, self.port)) as s:
            s.sendall(f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\nContent-Type: {BYTES}\r\n\r\n".encode()
                      + data[:123456])
        stands = wait_for(lambda: (lambda a: a.status == 204 and a["Range"] != "0-0" and a)(self.ask("GET", location)),
                          "the upload to keep what came")
        at = int(stands["Range"].split("-")[1]) + 1
        self.assertLessEqual(at, 123456)
        at = wait_for(lambda: (lambda r: r == 123456 and r)(int(self.ask("GET", location)["Range"].split("-")[1]) + 1), "all of it")
        wait_for(lambda: self.ask("PATCH", location, b"", Content_Type=BYTES).status == 202, "the broken request to let go")
        self.chunk(202, location, at, data[at:])
        digest = digest_of(data)
        self.want(201, "PUT", f"{location}?digest={digest}", b"")
        self.assertEqual(self.want(200, "GET", f"/v2/push/broken/blobs/{digest}").body, data)

    def test_an_upload_is_cancelled(self):
        location = self.begin("push/cancel")
        self.want(204, "DELETE", location)
        self.want_error(404, "BLOB_UPLOAD_UNKNOWN", "PATCH", location, b"x", Content_Type=BYTES)
        self.want_error(404, "BLOB_UPLOAD_UNKNOWN", "GET", "/v2/push/cancel/blobs/uploads/..%2f..%2fimages.db")
        self.want_error(400, "BLOB_UPLOAD_INVALID", "PATCH", self.begin("push/cancel"), b"x", Content_Range="x-y")

    # --- Mounting a blob from another repository ---

    def test_a_blob_is_mounted_with_its_source_and_without(self):
        digest = self.push_blob("mount/from", b"mounted")
        answer = self.want(201, "POST", f"/v2/mount/to/blobs/uploads/?mount={digest}&from=mount/from", "")
        self.assertEqual(answer["Location"], f"/v2/mount/to/blobs/{digest}")
        self.want(200, "GET", answer["Location"])
        self.want(201, "POST", f"/v2/mount/anonymous/blobs/uploads/?mount={digest}", "")
        missing = digest_of(b"missing mount")
        answer = self.want(202, "POST", f"/v2/mount/to/blobs/uploads/?mount={missing}&from=mount/from", "")
        self.want(201, "PUT", f"{answer['Location']}?digest={missing}", b"missing mount", Content_Type=BYTES)

    # --- Pushing Manifests ---

    def test_a_manifest_needs_what_it_names(self):
        text = self.manifest("manifest/a", "needs")
        self.want_error(404, "MANIFEST_BLOB_UNKNOWN", "PUT", "/v2/manifest/b/manifests/v1", text, Content_Type=OCI_MANIFEST)
        self.want_error(400, "DIGEST_INVALID", "PUT", f"/v2/manifest/a/manifests/{digest_of(b'x')}", text, Content_Type=OCI_MANIFEST)
        self.want_error(400, "DIGEST_INVALID", "PUT", "/v2/manifest/a/manifests/sha256:baddigeststring", text,
                        Content_Type=OCI_MANIFEST)
        self.want_error(400, "MANIFEST_INVALID", "PUT", "/v2/manifest/a/manifests/v1", text, Content_Type=OCI_INDEX)
        self.want_error(400, "MANIFEST_INVALID", "PUT", "/v2/manifest/a/manifests/v1", b"nonsense", Content_Type=OCI_MANIFEST)
        self.want_error(415, "UNSUPPORTED", "PUT", "/v2/manifest/a/manifests/v1", b'{"schemaVersion":1}')
        self.want_error(413, "SIZE_INVALID", "PUT", "/v2/manifest/a/manifests/v1", b" " * (9 << 20), Content_Type=OCI_MANIFEST)
        large = self.manifest("manifest/a", "large", annotations={f"a{i}": "A" * 10000 for i in range(390)})
        self.push("manifest/a", "large", large)
        self.assertEqual(self.want(200, "GET", "/v2/manifest/a/manifests/large").body, large)

    def test_indexes_nest_and_may_be_empty(self):
        image = self.manifest("manifest/index", "child")
        self.push("manifest/index", digest_of(image), image)
        child = {"mediaType": OCI_MANIFEST, "digest": digest_of(image), "size": len(image)}
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}).encode()
        self.push("manifest/index", "index", index, OCI_INDEX)
        outer = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
            {"mediaType": OCI_INDEX, "digest": digest_of(index), "size": len(index)}]}).encode()
        self.push("manifest/index", "outer", outer, OCI_INDEX)
        self.push("manifest/index", "empty", b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % OCI_INDEX.encode(), OCI_INDEX)
        self.assertEqual(self.want(200, "GET", "/v2/manifest/index/manifests/outer")["Content-Type"], OCI_INDEX)

    def test_a_subject_is_confirmed_and_listed(self):
        subject = self.manifest("refer/a", "subject")
        self.push("refer/a", "subject", subject)
        pointer = {"mediaType": OCI_MANIFEST, "digest": digest_of(subject), "size": len(subject)}
        made = {}
        for name in ("one", "two"):
            text = self.manifest("refer/a", name, subject=pointer, artifactType=f"text/{name}", annotations={"name": name})
            made[name] = digest_of(text)
            self.assertEqual(self.push("refer/a", made[name], text)["OCI-Subject"], digest_of(subject))
        listed = self.want(200, "GET", f"/v2/refer/a/referrers/{digest_of(subject)}")
        self.assertEqual(listed["Content-Type"], OCI_INDEX)
        self.assertEqual({d["digest"]: (d["artifactType"], d["annotations"]["name"]) for d in listed.json()["manifests"]},
                         {made["one"]: ("text/one", "one"), made["two"]: ("text/two", "two")})
        one = self.want(200, "GET", f"/v2/refer/a/referrers/{digest_of(subject)}?artifactType=text/one")
        self.assertEqual((one["OCI-Filters-Applied"], [d["digest"] for d in one.json()["manifests"]]), ("artifactType", [made["one"]]))
        self.assertEqual(self.want(200, "GET", f"/v2/refer/never/referrers/{digest_of(b'x')}").json()["manifests"], [])
        self.want(400, "GET", "/v2/refer/a/referrers/sha256:short")

    # --- Listing Tags ---

    def test_tags_come_sorted_and_in_pages(self):
        text = self.manifest("tags/a", "tags")
        for tag in ("b", "a", "C", "d", "c"):
            self.push("tags/a", tag, text)
        whole = self.want(200, "GET", "/v2/tags/a/tags/list").json()
        self.assertEqual(whole, {"name": "tags/a", "tags": ["C", "a", "b", "c", "d"]})
        page = self.want(200, "GET", "/v2/tags/a/tags/list?n=2")
        self.assertEqual((page.json()["tags"], page["Link"]), (["C", "a"], '</v2/tags/a/tags/list?n=2&last=a>; rel="next"'))
        page = self.want(200, "GET", "/v2/tags/a/tags/list?n=10&last=b")
        self.assertEqual((page.json()["tags"], page["Link"]), (["c", "d"], None))
        self.assertEqual(self.want(200, "GET", "/v2/tags/a/tags/list?n=0").json()["tags"], [])
        for nonsense in ("abc", "-1", "99999999999"):
            self.want_error(400, "UNSUPPORTED", "GET", "/v2/tags/a/tags/list?n=" + nonsense)
        self.assertIn("tags/a", self.want(200, "GET", "/v2/_catalog").json()["repositories"])

    # --- Content Management ---

    def test_tags_manifests_and_blobs_are_deleted(self):
        text = self.manifest("delete/a", "deleted")
        layer = json.loads(text)["layers"][0]["digest"]
        self.push("delete/a", "one", text)
        self.push("delete/a", "two", text)
        self.want(202, "DELETE", "/v2/delete/a/manifests/one")
        self.want(404, "HEAD", "/v2/delete/a/manifests/one")
        self.want(200, "HEAD", "/v2/delete/a/manifests/two")
        self.want_error(409, "DENIED", "DELETE", f"/v2/delete/a/blobs/{layer}")
        self.want(202, "DELETE", f"/v2/delete/a/manifests/{digest_of(text)}")
        self.want(404, "HEAD", "/v2/delete/a/manifests/two")
        self.want(404, "HEAD", f"/v2/delete/a/manifests/{digest_of(text)}")
        self.want(202, "DELETE", f"/v2/delete/a/blobs/{layer}")
        self.want(404, "HEAD", f"/v2/delete/a/blobs/{layer}")
        self.want_error(404, "BLOB_UNKNOWN", "DELETE", f"/v2/delete/a/blobs/{layer}")
        self.want_error(404, "MANIFEST_UNKNOWN", "DELETE", "/v2/delete/a/manifests/two")

    # --- not in the specification ---

    def test_many_clients_push_the_same_and_others_at_once(self):
        wrong = []

        def client(number):
            try:
                for i in range(10):
                    text = self.manifest("many/shared", f"{i}")
                    self.push("many/shared", f"t{number}-{i}", text)
                    self.want(200, "GET", f"/v2/many/shared/manifests/t{number}-{i}")
            except AssertionError as e:
                wrong.append(str(e))
        threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])
        self.assertEqual(len(self.want(200, "GET", "/v2/many/shared/tags/list").json()["tags"]), 80)

    def test_what_was_acknowledged_outlives_a_kill(self):
        d = self.make()
        try:
            self.host, self.port = self.address(d)
            text = self.manifest("kept/a", "kept")
            self.push("kept/a", "v1", text)
            location = self.begin("kept/a")
            self.chunk(202, location, 0, b"half")
            d.kill9()
            os.truncate(d.log, 0)
            d.start("--registry", "0")
            self.host, self.port = self.address(d)
            self.assertEqual(self.want(200, "GET", "/v2/kept/a/manifests/v1").body, text)
            layer = json.loads(text)["layers"][0]["digest"]
            self.assertEqual(digest_of(self.want(200, "GET", f"/v2/kept/a/blobs/{layer}").body), layer)
            self.chunk(202, location, 4, b" and whole")
            self.want(201, "PUT", f"{location}?digest={digest_of(b'half and whole')}", b"")
        finally:
            self.assertEqual(d.remove(), "")


class Clients(Story):
    """docker, skopeo and others, against the registry of one Drover, from another."""
    @classmethod
    def make(cls):
        d = Drover().start("--registry", "0")
        d.busybox()
        return d

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = Drover().start()
        cls.at = ":".join(map(str, RegistryStory.address(cls.drover_)))

    @classmethod
    def tearDownClass(cls):
        left = cls.other.remove()
        super().tearDownClass()
        if left:
            raise AssertionError(left)

    def test_docker_pushes_to_it_and_another_machine_pulls(self):
        self.d.docker("tag", "busybox", f"{self.at}/tools/box:1")
        self.d.docker("push", f"{self.at}/tools/box:1")
        self.other.docker("pull", f"{self.at}/tools/box:1")
        self.assertEqual(self.other.docker("run", "--rm", f"{self.at}/tools/box:1", "echo", "from there").out, "from there\n")

    def test_what_is_built_here_is_pulled_without_a_push(self):
        self.d.docker("build", "-t", "built:1.4", "-", stdin=b"FROM busybox\nRUN echo made >/made\n")
        self.other.docker("pull", f"{self.at}/built:1.4")
        self.assertEqual(self.other.docker("run", "--rm", f"{self.at}/built:1.4", "cat", "/made").out, "made\n")

    def test_up_fetches_an_image_that_is_only_mounted(self):
        self.d.docker("build", "-t", "mounted:1", "-", stdin=b"FROM busybox\nRUN mkdir /only && echo seen >/only/file\n")
        self.other.docker("pull", f"{self.at}/busybox:latest")
        text = f"""
name: mounting
services:
  one:
    image: {self.at}/busybox:latest
    network_mode: none
    command: cat /there/file
    volumes: [{{type: image, source: "{self.at}/mounted:1", target: /there, image: {{subpath: only}}}}]
"""
        never = self.other.drover("up", "-f", "-", "-d", "--pull", "never", stdin=text.encode(), check=False)
        self.assert_clean_refusal(never, "mounted:1", "which it mounts, is not there")
        self.other.drover("up", "-f", "-", "-d", stdin=text.encode())
        self.other.docker("wait", "mounting-one-1")
        self.assertEqual(self.other.docker("logs", "mounting-one-1").out, "seen\n")
        self.other.drover("down", "-f", "-", stdin=text.encode())

    def skopeo(self, *args):
        return run(["skopeo", "--insecure-policy", *args])

    def test_skopeo_copies_inspects_lists_and_deletes(self):
        if not shutil.which("skopeo"):
            raise unittest.SkipTest("skopeo is not installed")
        source = f"docker://{self.at}/skopeo/a:1"
        archive = os.path.join(self.d.root, "busybox.tar")
        self.d.docker("save", "-o", archive, "busybox")
        self.skopeo("copy", "--dest-tls-verify=false", f"docker-archive:{archive}", source)
        self.skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--format", "oci", source,
                    f"docker://{self.at}/skopeo/b:2")
        shown = json.loads(self.skopeo("inspect", "--tls-verify=false", f"docker://{self.at}/skopeo/b:2").out)
        self.assertEqual(shown["RepoTags"], ["2"])
        tags = json.loads(self.skopeo("list-tags", "--tls-verify=false", f"docker://{self.at}/skopeo/b").out)
        self.assertEqual(tags["Tags"], ["2"])
        oci = os.path.join(self.d.root, "layout")
        self.skopeo("copy", "--src-tls-verify=false", f"docker://{self.at}/skopeo/b:2", f"oci:{oci}:x")
        self.skopeo("delete", "--tls-verify=false", f"docker://{self.at}/skopeo/b:2")
        self.assertNotEqual(run(["skopeo", "inspect", "--tls-verify=false", f"docker://{self.at}/skopeo/b:2"], check=False).status, 0)

    def test_buildah_pushes_and_pulls(self):
        if not shutil.which("buildah"):
            raise unittest.SkipTest("buildah is not installed")
        store = ["--root", os.path.join(self.d.root, "buildah"), "--runroot", os.path.join(self.d.root, "buildah-run"),
                 "--storage-driver", "vfs"]
        self.d.docker("tag", "busybox", f"{self.at}/buildah/a:1")
        self.d.docker("push", f"{self.at}/buildah/a:1")
        run(["buildah", *store, "pull", "--tls-verify=false", f"{self.at}/buildah/a:1"])
        run(["buildah", *store, "push", "--tls-verify=false", f"{self.at}/buildah/a:1", f"docker://{self.at}/buildah/b:2"])
        self.other.docker("pull", f"{self.at}/buildah/b:2")


class Guarded(Story):
    """The registry with TLS and users."""
    image = True

    @classmethod
    def make(cls):
        d = Drover()
        cls.cert, key = os.path.join(d.root, "cert.pem"), os.path.join(d.root, "key.pem")
        cls.users = os.path.join(d.root, "users")
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=drover", "-addext",
             "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cls.cert])
        run(["htpasswd", "-Bbc", cls.users, "user", "correct horse"])
        return d.start("--registry", "127.0.0.1:0", "--registry-cert", cls.cert, "--registry-key", key, "--registry-users", cls.users)

    def setUp(self):
        super().setUp()
        self.d.busybox()
        self.host, self.port = RegistryStory.address(self.d)
        self.at = f"{self.host}:{self.port}"
        self.trust = ssl.create_default_context(cafile=self.cert)

    def ask(self, path, user=None, method="GET", body=None):
        connection = http.client.HTTPSConnection(self.host, self.port, context=self.trust)
        headers = {"Authorization": "Basic " + base64.b64encode(user.encode()).decode()} if user else {}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Answer(answer, answer.read())

    def test_only_users_get_in(self):
        answer = self.ask("/v2/")
        self.assertEqual((answer.status, answer["WWW-Authenticate"]), (401, 'Basic realm="Drover registry"'))
        self.assertEqual(answer.json()["errors"][0]["code"], "UNAUTHORIZED")
        for wrong in ("user:wrong", "other:correct horse", "user", ":", "user:correct horse\0"):
            self.assertEqual(self.ask("/v2/", wrong).status, 401, wrong)
        self.assertEqual(self.ask("/v2/", "user:correct horse").status, 200)
        self.assertEqual(self.ask("/v2/a/blobs/uploads/", method="POST", body="").status, 401)
        # A user that is added counts at once, one that is taken out no longer.
        run(["htpasswd", "-Bb", self.users, "second", "pass"])
        self.assertEqual(self.ask("/v2/", "second:pass").status, 200)
        run(["htpasswd", "-D", self.users, "second"])
        self.assertEqual(self.ask("/v2/", "second:pass").status, 401)

    def test_large_bodies_cross_tls_whole(self):
        data = os.urandom(5 << 20)
        digest = digest_of(data)
        self.assertEqual(self.ask(f"/v2/tls/blobs/uploads/?digest={digest}", "user:correct horse", "POST", data).status, 201)
        self.assertEqual(self.ask(f"/v2/tls/blobs/{digest}", "user:correct horse").body, data)

    def test_skopeo_logs_in_and_copies_both_ways(self):
        archive = os.path.join(self.d.root, "busybox.tar")
        self.d.docker("save", "-o", archive, "busybox")
        certs = os.path.join(self.d.root, "certs")
        os.makedirs(certs)
        shutil.copy(self.cert, os.path.join(certs, "ca.crt"))
        copy = ["skopeo", "--insecure-policy", "copy"]
        refused = run([*copy, "--dest-cert-dir", certs, f"docker-archive:{archive}", f"docker://{self.at}/a/b:1"], check=False)
        self.assertNotEqual(refused.status, 0)
        self.assertIn("authentication required", refused.err)
        run([*copy, "--dest-cert-dir", certs, "--dest-creds", "user:correct horse", f"docker-archive:{archive}",
             f"docker://{self.at}/a/b:1"])
        run([*copy, "--src-cert-dir", certs, "--src-creds", "user:correct horse", f"docker://{self.at}/a/b:1",
             f"oci:{self.d.root}/layout:x"])

    def test_an_address_of_the_network_needs_tls(self):
        d = Drover()
        try:
            refused = d.drover("serve", "--root", d.data, "--socket", d.socket, "--registry", "0.0.0.0:0", check=False)
            self.assert_clean_refusal(refused, "TLS", "--registry-cert")
            refused = d.drover("serve", "--root", d.data, "--socket", d.socket, "--registry", "nonsense:x", check=False)
            self.assert_clean_refusal(refused, "nonsense:x", "HOST:PORT")
            refused = d.drover("serve", "--root", d.data, "--socket", d.socket, "--registry", "0", "--registry-users", "/none",
                               check=False)
            self.assert_clean_refusal(refused, "/none")
        finally:
            self.assertEqual(d.remove(), "")
