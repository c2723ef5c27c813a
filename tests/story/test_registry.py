"""Push and pull against a real registry on loopback, open and with basic authentication."""
import contextlib
import gzip
import hashlib
import http.server
import json
import os
import subprocess
import tarfile
import threading
import io

from harness import PEERS, SHARED, Story, free_port, http_get, run, wait_for


class Registry(Story):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registries = []
        cls.open_port = cls.start_registry()
        secrets = os.path.join(cls.drover_.root, "htpasswd")
        run(["htpasswd", "-Bbc", secrets, "user", "correct horse"])
        cls.auth_port = cls.start_registry(f"auth:\n  htpasswd:\n    realm: test\n    path: {secrets}\n")

    @classmethod
    def start_registry(cls, extra=""):
        port = free_port()
        folder = os.path.join(cls.drover_.root, f"registry-{port}")
        os.makedirs(folder)
        config = os.path.join(folder, "config.yml")
        with open(config, "w") as f:
            f.write(f"version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {folder}/data\n"
                    f"  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n{extra}")
        with open(os.path.join(folder, "log"), "wb") as log:
            cls.registries.append(subprocess.Popen([os.path.join(PEERS, "usr/bin/docker-registry"), "serve", config],
                                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log))

        def answers():
            with contextlib.suppress(OSError):
                return http_get(f"http://127.0.0.1:{port}/v2/")[0] in (200, 401)
        wait_for(answers, "the registry to listen")
        return port

    @classmethod
    def tearDownClass(cls):
        for r in cls.registries:
            r.terminate()
            r.wait()
        super().tearDownClass()

    def test_push_remove_and_pull_give_the_same_image(self):
        d = self.d
        name = f"127.0.0.1:{self.open_port}/team/box:1"
        d.docker("tag", "busybox", name)
        out = d.docker("push", name).out
        self.assertIn("digest: sha256:", out)
        identity = d.docker("images", "-q", "--no-trunc", name).out
        d.docker("rmi", name)
        self.assertRegex(d.docker("pull", name).out, r"Status: (Downloaded newer image|Image is up to date) for ")
        self.assertEqual(d.docker("images", "-q", "--no-trunc", name).out, identity)
        self.assertIn("up to date", d.docker("pull", name).out)
        self.assertEqual(d.docker("run", "--rm", name, "echo", "pulled").out, "pulled\n")
        digest = json.loads(d.docker("inspect", name).out)[0]["RepoDigests"][0].split("@")[1]
        d.docker("pull", f"127.0.0.1:{self.open_port}/team/box@{digest}")

    def test_a_layer_really_travels(self):
        """Pushed here, pulled by another Drover that has nothing."""
        from harness import Drover
        d = self.d
        name = f"127.0.0.1:{self.open_port}/travel:1"
        d.docker("tag", "busybox", name)
        d.docker("push", name)
        other = Drover().start()
        try:
            self.assertEqual(other.docker("run", "--rm", name, "echo", "arrived").out, "arrived\n")
        finally:
            self.assertEqual(other.remove(), "")

    def test_login_is_needed_checked_and_used(self):
        d = self.d
        host = f"127.0.0.1:{self.auth_port}"
        name = f"{host}/private:1"
        d.docker("tag", "busybox", name)
        self.assert_clean_refusal(d.docker("push", name, check=False), "auth")
        self.assert_clean_refusal(d.docker("login", "-u", "user", "--password-stdin", host, stdin=b"wrong", check=False), "unauthorized")
        self.assertIn("Succeeded", d.docker("login", "-u", "user", "--password-stdin", host, stdin=b"correct horse").out)
        d.docker("push", name)
        d.docker("rmi", name)
        d.docker("pull", name)
        d.docker("logout", host)
        d.docker("rmi", name)
        self.assert_clean_refusal(d.docker("pull", name, check=False), "login")

    def test_skopeo_understands_what_was_pushed_and_we_pull_what_it_pushes(self):
        d = self.d
        name = f"127.0.0.1:{self.open_port}/shared:1"
        d.docker("tag", "busybox", name)
        d.docker("push", name)
        run(["skopeo", "inspect", "--tls-verify=false", f"docker://{name}"])
        archive = os.path.join(SHARED, "data/images/busybox-1.37.0-glibc-amd64.oci.tar")
        if not os.path.exists(archive):
            self.skipTest("no official busybox archive at hand")
        official = f"127.0.0.1:{self.open_port}/official:1.37"
        run(["skopeo", "copy", "--dest-tls-verify=false", f"oci-archive:{archive}", f"docker://{official}"])
        d.docker("pull", official)
        self.assertEqual(d.docker("run", "--rm", official, "echo", "official").out, "official\n")

    def test_an_image_that_is_not_there_is_named(self):
        done = self.d.docker("pull", f"127.0.0.1:{self.open_port}/no/such:tag", check=False)
        self.assert_clean_refusal(done, "no/such")


class Scripted(Story):
    """A registry of the test's own, that lies, asks for tokens, and has several platforms."""

    def serve(self, blobs, manifests, token=None, meet=None, heard=None):
        """`meet`: blobs and a barrier, at which those who ask for one of them wait for each other. `heard` gets each
        request's Authorization."""
        seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def answer(self, status, body=b"", **headers):
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k.replace("_", "-"), v)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                seen.append(self.path)
                if heard is not None:
                    heard.append(self.headers.get("Authorization"))
                host = self.headers["Host"]
                if self.path.startswith("/token"):
                    return self.answer(200, json.dumps({"token": token}).encode(), Content_Type="application/json")
                if token and self.headers.get("Authorization") != f"Bearer {token}":
                    return self.answer(401, b"{}", WWW_Authenticate=f'Bearer realm="http://{host}/token",service="test",scope="x"')
                if self.path == "/v2/":
                    return self.answer(200)
                kind, _, reference = self.path.rpartition("/")
                if kind.endswith("/manifests") and reference in manifests:
                    body = manifests[reference]
                    return self.answer(200, body, Content_Type=json.loads(body)["mediaType"],
                                       Docker_Content_Digest="sha256:" + hashlib.sha256(body).hexdigest())
                if kind.endswith("/blobs") and reference in blobs:
                    if meet and reference in meet[0]:
                        meet[1].wait()
                    return self.answer(200, blobs[reference])
                return self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"127.0.0.1:{server.server_address[1]}", seen

    def image(self, files, architecture="amd64", compress="gzip"):
        """(blobs, manifest bytes) of a one-layer image; digests true."""
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as t:
            for entry, data in files:
                t.addfile(entry, io.BytesIO(data) if data is not None else None)
        plain = tar.getvalue()
        layer = gzip.compress(plain, mtime=0) if compress == "gzip" else subprocess.run(["zstd", "-q", "-c"], input=plain, stdout=subprocess.PIPE, check=True).stdout
        sha = lambda b: "sha256:" + hashlib.sha256(b).hexdigest()
        config = json.dumps({"architecture": architecture, "os": "linux", "config": {},
                             "rootfs": {"type": "layers", "diff_ids": [sha(plain)]}}).encode()
        manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                               "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha(config), "size": len(config)},
                               "layers": [{"mediaType": f"application/vnd.oci.image.layer.v1.tar+{compress}", "digest": sha(layer), "size": len(layer)}]}).encode()
        return {sha(config): config, sha(layer): layer}, manifest, sha(layer)

    def file(self, name, data=b"x", **attributes):
        entry = tarfile.TarInfo(name)
        entry.size = len(data) if data is not None else 0
        for k, v in attributes.items():
            setattr(entry, k, v)
        return entry, data

    def pull(self, blobs, manifest, tag="t", **more):
        host, seen = self.serve(blobs, {tag: manifest, "sha256:" + hashlib.sha256(manifest).hexdigest(): manifest}, **more)
        return self.d.docker("pull", f"{host}/evil:{tag}", check=False), host, seen

    def test_a_token_is_fetched_when_asked_for(self):
        blobs, manifest, _ = self.image([self.file("hello")])
        done, _, seen = self.pull(blobs, manifest, token="t0ken")
        self.assertEqual(done.status, 0, done)
        self.assertTrue(any("scope=repository%3Aevil%3Apull" in path for path in seen), seen)

    def test_a_builds_bases_come_at_the_same_time_and_one_that_two_stages_want_comes_once(self):
        images = {n: self.image([self.file(n, n.encode())]) for n in ("one", "two")}
        blobs = {digest: blob for n in images for digest, blob in images[n][0].items()}
        sha = lambda b: "sha256:" + hashlib.sha256(b).hexdigest()
        manifests = {name: m for n, (_, m, _) in images.items() for name in (n, sha(m))}
        # Who asks for one's layer waits until the other's is asked for, too: with one pull after the other nobody would come.
        host, seen = self.serve(blobs, manifests, meet=([layer for _, _, layer in images.values()], threading.Barrier(2, timeout=60)))
        folder = os.path.join(self.d.root, "bases")
        os.makedirs(folder)
        with open(os.path.join(folder, "Dockerfile"), "w") as f:
            f.write(f"FROM {host}/a:one AS one\nFROM {host}/a:two AS two\nFROM {host}/a:one AS again\nFROM scratch\n"
                    "COPY --from=one /one /\nCOPY --from=two /two /\nCOPY --from=again /one /again\n")
        self.d.drover("build", "-t", "both", folder)
        asked = [path for path in seen if "/blobs/" in path]
        self.assertEqual((len(asked), len(set(asked))), (4, 4), asked)

    def test_zstd_layers(self):
        blobs, manifest, _ = self.image([self.file("hello")], compress="zstd")
        done, _, _ = self.pull(blobs, manifest)
        self.assertEqual(done.status, 0, done)

    def test_an_index_gives_this_machines_platform(self):
        sha = lambda b: "sha256:" + hashlib.sha256(b).hexdigest()
        mine, my_manifest, _ = self.image([self.file("amd64")])
        other, other_manifest, _ = self.image([self.file("arm64")], architecture="arm64")
        index = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": sha(m), "size": len(m),
             "platform": {"os": "linux", "architecture": a}} for m, a in ((other_manifest, "arm64"), (my_manifest, "amd64"))]}).encode()
        host, _ = self.serve({**mine, **other}, {"multi": index, sha(my_manifest): my_manifest, sha(other_manifest): other_manifest})
        self.d.docker("pull", f"{host}/x:multi")
        self.assertEqual(self.d.inspect(f"{host}/x:multi")["Architecture"], "amd64")

    def test_a_blob_with_another_digest_is_refused_and_nothing_is_kept(self):
        before = self.images()
        blobs, manifest, layer = self.image([self.file("hello", b"1")])
        blobs[layer] = self.image([self.file("hello", b"2")])[0].popitem()[1]
        done, _, _ = self.pull(blobs, manifest)
        self.assert_clean_refusal(done, layer.split(":")[1][:12])
        self.assertEqual(self.images(), before)

    def lie(self, change, *words):
        """A pull of an image whose manifest was changed by change(manifest, layer): refused, and no blob of it is kept."""
        def kept():
            return set(os.listdir(os.path.join(self.d.data, "blobs/sha256")))
        before, images = kept(), self.images()
        blobs, manifest, layer = self.image([self.file("hello", b"1" * 5000)])
        changed = json.loads(manifest)
        change(changed, blobs, layer)
        done, _, _ = self.pull(blobs, json.dumps(changed).encode())
        self.assert_clean_refusal(done, *words)
        self.assertEqual((kept(), self.images()), (before, images))

    def test_sizes_that_are_not_true_are_refused_and_nothing_is_kept(self):
        self.lie(lambda m, blobs, layer: m["layers"][0].update(size=10), "longer than the 10 bytes")
        self.lie(lambda m, blobs, layer: m["layers"][0].update(size=1 << 40), "ended after")
        self.lie(lambda m, blobs, layer: m["layers"][0].update(size=-1), "valid digest and size")
        self.lie(lambda m, blobs, layer: m["config"].update(size=1), "longer than the 1 bytes")

    def test_a_blob_cut_short_or_a_manifest_that_is_none_is_refused_and_nothing_is_kept(self):
        self.lie(lambda m, blobs, layer: blobs.update({layer: blobs[layer][:-7]}), "ended after")
        self.lie(lambda m, blobs, layer: m["layers"].append(m["layers"][0]), "the manifest has 2 layers, but the config has 1")
        self.lie(lambda m, blobs, layer: m["layers"][0].update(digest="sha256:../../etc/passwd"), "digest")
        self.lie(lambda m, blobs, layer: m.pop("config"), "descriptor")
        self.lie(lambda m, blobs, layer: m.update(layers="x"), "not an image")

    def test_a_manifest_with_another_digest_than_was_asked_for_is_refused(self):
        blobs, manifest, _ = self.image([self.file("hello")])
        wanted = "sha256:" + "0" * 64
        host, _ = self.serve(blobs, {wanted: manifest})
        self.assert_clean_refusal(self.d.docker("pull", f"{host}/evil@{wanted}", check=False), wanted)

    def images(self):
        return self.d.docker("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").out

    def hostile(self, entries, *words):
        before = self.images()
        blobs, manifest, _ = self.image(entries)
        done, _, _ = self.pull(blobs, manifest)
        self.assert_clean_refusal(done, *words)
        self.assertEqual(self.images(), before)
        tmp = os.path.join(self.d.data, "tmp")
        self.assertEqual(os.listdir(tmp) if os.path.isdir(tmp) else [], [], "half-written files were left")

    def test_a_name_with_dots_is_refused(self):
        self.hostile([self.file("../../evil-dots")], "evil-dots")

    def test_an_absolute_name_is_refused(self):
        self.hostile([self.file("/evil-absolute")], "evil-absolute")

    def test_writing_through_a_symlink_out_of_the_layer_is_refused_or_stays_inside(self):
        target = os.path.join(self.d.root, "victim")
        os.makedirs(target, exist_ok=True)
        blobs, manifest, _ = self.image([self.file("link", None, type=tarfile.SYMTYPE, linkname=target), self.file("link/pwned")])
        self.pull(blobs, manifest)
        self.assertEqual(os.listdir(target), [])

    def test_a_hard_link_out_of_the_layer_is_refused(self):
        self.hostile([self.file("evil-hard", None, type=tarfile.LNKTYPE, linkname="../../../../../../etc/passwd")], "evil-hard")

    def test_a_device_node_is_refused(self):
        self.hostile([self.file("dev/evil-sda", None, type=tarfile.BLKTYPE, devmajor=8, devminor=0)], "evil-sda")

    def test_a_bomb_is_refused(self):
        """Zeros compress a thousand to one; the layer says half a gigabyte and is half a megabyte."""
        import zlib
        entry = tarfile.TarInfo("evil-bomb")
        entry.size = 512 << 20
        packer, packed, plain = zlib.compressobj(9, zlib.DEFLATED, 31), io.BytesIO(), hashlib.sha256()
        for piece in (entry.tobuf(), *[b"\0" * (1 << 20)] * 512, b"\0" * 1024):
            plain.update(piece)
            packed.write(packer.compress(piece))
        packed.write(packer.flush())
        layer = packed.getvalue()
        sha = lambda b: "sha256:" + hashlib.sha256(b).hexdigest()
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                             "rootfs": {"type": "layers", "diff_ids": ["sha256:" + plain.hexdigest()]}}).encode()
        manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                               "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha(config), "size": len(config)},
                               "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": sha(layer), "size": len(layer)}]}).encode()
        before = self.images()
        done, _, _ = self.pull({sha(config): config, sha(layer): layer}, manifest)
        self.assert_clean_refusal(done, "evil-bomb", "bomb")
        self.assertEqual(self.images(), before)
        # The same as a root file system: refused before it is looked into.
        self.assert_clean_refusal(self.d.docker("import", "-", "bomb", stdin=layer, check=False), "bomb")
