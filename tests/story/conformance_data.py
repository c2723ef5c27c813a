"""The kinds of data that conformance.py pushes: images, indexes and artifacts as the specification allows them."""
import base64
import gzip
import io
import json
import os
import tarfile

from distribution import BYTES, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, digest_of

LAYER = "application/vnd.oci.image.layer.v1.tar"
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
EMPTY_JSON = "application/vnd.oci.empty.v1+json"
ARTIFACT, OTHER_ARTIFACT = "application/vnd.drover.conformance.v1", "application/vnd.drover.conformance.v2"


def layer(compressed):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry, text = tarfile.TarInfo("./file"), os.urandom(16).hex().encode()
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    return gzip.compress(out.getvalue()) if compressed else out.getvalue()


class Data:
    """Blobs and manifests to push, in their order, and what each must then be."""
    def __init__(self, algorithm="sha256", data_field=False, unknown_field=False):
        self.algorithm, self.data_field, self.unknown_field = algorithm, data_field, unknown_field
        self.blobs, self.manifests, self.tags, self.referrers = {}, {}, {}, {}
        self.by_parameter, self.refused = False, False

    def pointer(self, body, media_type):
        made = {"mediaType": media_type, "digest": digest_of(body, self.algorithm), "size": len(body)}
        return {**made, "data": base64.b64encode(body).decode()} if self.data_field else made

    def blob(self, body, media_type=BYTES):
        made = self.pointer(body, media_type)
        self.blobs[made["digest"]] = body
        return made

    def text(self, document):
        return json.dumps({**document, **({"org.drover." + os.urandom(4).hex(): "unknown"} if self.unknown_field else {})}).encode()

    def manifest(self, document, tag):
        body = self.text(document)
        made = self.pointer(body, document["mediaType"])
        self.manifests[made["digest"]] = body
        if tag:
            self.tags[tag] = made["digest"]
        if "subject" in document:
            kind = document.get("artifactType") or document.get("config", {}).get("mediaType", "")
            self.referrers.setdefault(document["subject"]["digest"], []).append(
                {**{k: made[k] for k in ("mediaType", "digest", "size")}, "artifactType": kind,
                 "annotations": document.get("annotations", {})})
        return made

    def image(self, tag=None, layers=2, compressed=True, architecture="amd64", layer_list=None, **more):
        if layer_list is None:
            layer_list = [self.blob(layer(compressed), LAYER + "+gzip" * compressed) for _ in range(layers)]
        config = {"architecture": architecture, "os": "linux", "author": os.urandom(4).hex(),
                  "rootfs": {"type": "layers", "diff_ids": [one["digest"] for one in layer_list]}}
        return self.manifest({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": self.blob(self.text(config), OCI_CONFIG),
                              "layers": layer_list, **more}, tag)

    def artifact(self, tag=None, kind=ARTIFACT, layer_type=ARTIFACT, body=None, **more):
        return self.manifest({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind,
                              "config": self.blob(b"{}", EMPTY_JSON),
                              "layers": [self.blob(body or os.urandom(2048), layer_type)], **more}, tag)

    def index(self, tag=None, manifests=None, artifacts=False, **more):
        if manifests is None:
            manifests = [{**(self.artifact() if artifacts else self.image(architecture=a)),
                          "platform": {"os": "linux", "architecture": a}} for a in ("amd64", "arm64")]
        return self.manifest({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests, **more}, tag)


def subject(pointer):
    return {k: pointer[k] for k in ("mediaType", "digest", "size")}


def annotated():
    return {"org.drover.hello": "conformance", "org.drover." + os.urandom(4).hex(): os.urandom(4).hex()}


def artifacts_with_subject():
    data = Data()
    of = subject(data.image("image"))
    data.image(subject=of)
    data.artifact("artifact-1", subject=of, annotations=annotated())
    data.artifact("artifact-2", OTHER_ARTIFACT, BYTES, subject=of, annotations=annotated())
    return data


def foreign_layers():
    data = Data()
    missing = [{"mediaType": kind, "digest": digest_of(os.urandom(9)), "size": 12345, "urls": ["https://store.example/blob"]}
               for kind in (FOREIGN + "+gzip", FOREIGN)]
    data.image("foreign", layer_list=[*missing, data.blob(layer(True), LAYER + "+gzip")])
    return data


def by_parameter(algorithm):
    data = Data(algorithm)
    data.index("parameter-" + algorithm)
    data.tags |= {f"parameter-{algorithm}-{i}": digest for i, digest in enumerate(data.manifests)}
    data.by_parameter = True
    return data


def wrong_digest():
    data = Data()
    data.image()
    data.manifests = {digest: body + b"  " for digest, body in data.manifests.items()}
    data.refused = True
    return data


def filled(make, **options):
    data = Data(**options)
    make(data)
    return data


KINDS = {
    "image": lambda: filled(lambda d: d.image("image")),
    "uncompressed": lambda: filled(lambda d: d.image("uncompressed", compressed=False)),
    "large manifest": lambda: filled(lambda d: d.image("large", annotations={f"a{i}": "A" * 10000 for i in range(390)})),
    "index": lambda: filled(lambda d: d.index("index")),
    "nested index": lambda: filled(lambda d: d.index("nested", [d.index(), d.index()])),
    "empty index": lambda: filled(lambda d: d.index("index", [])),
    "artifact": lambda: filled(lambda d: d.artifact("artifact")),
    "index of artifacts": lambda: filled(lambda d: d.index("artifacts", artifacts=True, artifactType=ARTIFACT)),
    "artifact of nothing": lambda: filled(lambda d: d.artifact("nothing", layer_type=EMPTY_JSON, body=b"{}")),
    "artifacts with a subject": artifacts_with_subject,
    "index with a subject": lambda: filled(lambda d: d.index("artifacts", artifacts=True, artifactType=ARTIFACT,
                                                             annotations=annotated(), subject=subject(d.index("index")))),
    "missing subject": lambda: filled(lambda d: d.artifact("artifact", annotations=annotated(), subject={
        "mediaType": OCI_MANIFEST, "size": 123, "digest": digest_of(os.urandom(9))})),
    "data in descriptors": lambda: filled(lambda d: d.image("data"), data_field=True),
    "foreign layers": foreign_layers,
    "unknown fields": lambda: filled(lambda d: d.index("unknown"), unknown_field=True),
    "no layers": lambda: filled(lambda d: d.image("none", layers=0)),
    "sha512": lambda: filled(lambda d: d.index(), algorithm="sha512"),
    "tags as parameters": lambda: by_parameter("sha256"),
    "tags as parameters, sha512": lambda: by_parameter("sha512"),
    "wrong digest": wrong_digest,
}
