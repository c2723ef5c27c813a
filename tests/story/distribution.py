"""A registry's client over plain HTTP, and stories that are told with it."""
import hashlib
import http.client
import json
import re

from harness import Story, wait_for

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
BYTES = "application/octet-stream"


def digest_of(data, algorithm="sha256"):
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


class Answer:
    def __init__(self, answer, body):
        self.status, self.headers, self.body = answer.status, answer.headers, body

    def __getitem__(self, name):
        return self.headers.get(name)

    def json(self):
        return json.loads(self.body)


class RegistryStory(Story):
    """self.d serves a registry; self.ask() and its kin speak with it."""
    image = False

    def setUp(self):
        super().setUp()
        self.host, self.port = self.address(self.d)

    @staticmethod
    def address(d):
        def told():
            with open(d.log) as log:
                log.seek(d.log_at)
                return re.findall(r"registry ([\d.]+):(\d+)\n", log.read())
        host, port = wait_for(told, "serve to say where its registry listens")[-1]
        return host, int(port)

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(self.host, self.port)
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        result = Answer(answer, answer.read())
        connection.close()
        return result

    def want(self, status, method, path, body=None, **headers):
        answer = self.ask(method, path, body, **headers)
        self.assertEqual(answer.status, status, f"{method} {path}: {answer.body[:300]}")
        return answer

    def want_error(self, status, code, method, path, body=None, **headers):
        answer = self.want(status, method, path, body, **headers)
        self.assertEqual(answer.json()["errors"][0]["code"], code)
        self.assertTrue(answer.json()["errors"][0]["message"])
        return answer

    def begin(self, repo, query=""):
        answer = self.want(202, "POST", f"/v2/{repo}/blobs/uploads/{query}", "")
        self.assertEqual(answer["Range"], "0-0")
        return answer["Location"]

    def push_blob(self, repo, data, algorithm="sha256"):
        digest = digest_of(data, algorithm)
        answer = self.want(201, "PUT", f"{self.begin(repo)}?digest={digest}", data, Content_Type=BYTES)
        self.assertEqual(answer["Location"], f"/v2/{repo}/blobs/{digest}")
        return digest

    def manifest(self, repo, salt, **more):
        config, layer = json.dumps({"of": salt}).encode(), f"layer of {salt}".encode()
        return json.dumps({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": self.push_blob(repo, config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": self.push_blob(repo, layer),
                        "size": len(layer)}], **more}).encode()

    def push(self, repo, reference, text, media_type=OCI_MANIFEST):
        return self.want(201, "PUT", f"/v2/{repo}/manifests/{reference}", text, Content_Type=media_type)
