"""An image as plain data, from the files of an archive: its configuration, and its tree after all layers."""
import hashlib
import io
import json
import os
import tarfile

TIME = 1485449953  # of all files of a context
KINDS = {tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.FIFOTYPE: "fifo",
         tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block"}


def facts(tar, member):
    found = {"kind": KINDS[member.type], "mode": f"{member.mode & 0o7777:o}", "owner": f"{member.uid}:{member.gid}"}
    if member.issym():
        del found["mode"]
        found["target"] = member.linkname
    if member.isreg():
        found["content"] = f"{member.size} {hashlib.sha256(tar.extractfile(member).read()).hexdigest()[:16]}"
    if int(member.mtime) == TIME:
        found["time"] = "the context's"
    xattrs = {k[13:]: v for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr.")}
    if xattrs:
        found["xattrs"] = xattrs
    return found


def drop(tree, path, itself=True):
    for name in [n for n in tree if n.startswith(path + "/") or (itself and n == path)]:
        del tree[name]


def apply(tree, layer):
    """One layer on the tree below it: OCI image layer filesystem changeset."""
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        members = tar.getmembers()
        for member in members:  # what is taken away is so for the layers below alone
            folder, name = os.path.split(os.path.normpath("/" + member.name))
            if name == ".wh..wh..opq":
                drop(tree, folder.rstrip("/"), itself=False)
            elif name.startswith(".wh."):
                drop(tree, os.path.join(folder, name[4:]))
        for member in members:
            path = os.path.normpath("/" + member.name)
            if os.path.basename(path).startswith(".wh."):
                continue
            if member.islnk():
                tree[path] = dict(tree[os.path.normpath("/" + member.linkname)])
                continue
            if not member.isdir() or tree.get(path, {}).get("kind") != "dir":
                drop(tree, path)
            tree[path] = facts(tar, member)


def read(config, layers):
    """The config document and the layers' bytes, bottom first."""
    tree = {}
    for layer in layers:
        apply(tree, layer)
    tree.pop("/", None)
    document = json.loads(config)
    inner = dict(document.get("config") or {})
    for key in ("Image", "Domainname", "Hostname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "ArgsEscaped"):
        inner.pop(key, None)  # of the container that old builders made an image from
    inner["Env"] = sorted(inner.get("Env") or [])
    (inner.get("Labels") or {}).pop("io.buildah.version", None)
    inner = {k: v for k, v in inner.items() if v not in (None, "", [], {})}
    return {"config": inner, "platform": {k: document.get(k) for k in ("os", "architecture")}, "author": document.get("author") or "",
            "tree": tree}


def from_dir(path):
    """What `skopeo copy ... dir:PATH` wrote."""
    def blob(digest):
        with open(os.path.join(path, digest.split(":")[1]), "rb") as f:
            return f.read()
    with open(os.path.join(path, "manifest.json")) as f:
        manifest = json.load(f)
    return read(blob(manifest["config"]["digest"]), [blob(layer["digest"]) for layer in manifest["layers"]])


def from_archive(path):
    """What `docker save` wrote."""
    with tarfile.open(path) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))[0]
        return read(tar.extractfile(manifest["Config"]).read(), [tar.extractfile(name).read() for name in manifest["Layers"]])
