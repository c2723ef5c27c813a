"""Images over the API: what Docker's clients read of them, and what they rely on when names come and go."""
import base64
import http.server
import io
import json
import os
import tarfile
import threading
import time
import urllib.parse

from harness import Story, busybox_root_tar, run, wait_for


def query(**parameters):
    return urllib.parse.urlencode({k: json.dumps(v) if isinstance(v, (dict, list)) else v for k, v in parameters.items()})


def small_tar(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            content = text if isinstance(text, bytes) else text.encode()
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


class Images(Story):
    def call(self, method, path, body=None, expect=200, headers=None):
        status, _, content = self.d.api(method, path, body, headers)
        self.assertEqual(status, expect, content)
        return json.loads(content) if content.strip() else None

    def stream(self, method, path, body=None, headers=None):
        """The messages of a progress stream."""
        status, _, content = self.d.api(method, path, body, headers)
        self.assertEqual(status, 200, content)
        return [json.loads(line) for line in content.splitlines()]

    def refused(self, method, path, status, *words, body=None):
        message = self.call(method, path, body, expect=status)["message"]
        for word in words:
            self.assertIn(word, message)

    def small(self, name, content=None, **parameters):
        """An image of one file; its id."""
        lines = self.stream("POST", f"/images/create?{query(fromSrc='-', repo=name, **parameters)}", small_tar(file=content or name))
        return lines[-1]["status"]

    def test_what_came_with_api_1_46(self):
        """A push names a platform, lists tell annotations, and a built image has an event."""
        push = lambda platform: self.d.api("POST", f"/v1.47/images/busybox/push?tag=latest&platform={urllib.parse.quote(platform)}", headers={"X-Registry-Auth": "e30="})  # noqa: E731
        self.assertEqual(push("x")[0], 400)
        self.assertIn("both OS and Architecture must be provided", push('{"os": "linux"}')[2].decode())
        self.assertIn("was found but does not provide the specified platform (linux/s390x)", push('{"os": "linux", "architecture": "s390x"}')[2].decode())
        self.d.api("POST", "/v1.47/containers/create?name=noted", {"Image": "busybox", "HostConfig": {"Annotations": {"a": "b"}}})
        listed = json.loads(self.d.api("GET", '/v1.47/containers/json?all=1&filters={"name":["noted"]}')[2])
        self.assertEqual(listed[0]["HostConfig"], {"NetworkMode": "default", "Annotations": {"a": "b"}})
        self.d.docker("rm", "noted")
        since = time.time()
        self.d.docker("build", "-q", "-", stdin=b"FROM busybox\nLABEL made=now")
        events = self.d.api("GET", f'/events?since={since:.6f}&until={time.time() + 0.01:.6f}&filters={{"type":["image"]}}')[2].decode().splitlines()
        self.assertEqual([json.loads(e)["Action"] for e in events], ["create"])

    def test_what_came_with_api_1_48_to_1_51(self):
        """A platform wherever an image is read or removed; what is left out; bounds of the build cache."""
        own, other = query(platform={"os": "linux", "architecture": self.call("GET", "/images/busybox/json")["Architecture"]}), query(platform={"os": "linux", "architecture": "s390x"})
        for since, path in ((48, "/images/busybox/history"), (48, "/images/busybox/get"), (48, "/images/get?names=busybox"), (49, "/images/busybox/json")):
            joined = path + ("&" if "?" in path else "?")
            self.assertEqual(self.d.api("GET", f"/v1.{since}{joined}{own}")[0], 200, path)
            self.refused("GET", f"/v1.{since}{joined}{other}", 404, "image with reference busybox was found but does not provide the specified platform (linux/s390x)")
            self.refused("GET", f"/v1.{since}{joined}platform=x", 400, "failed to parse platform")
            self.refused("GET", f"/v1.{since}{joined}{own}&{own}", 400, "only one platform")
            self.assertEqual(self.d.api("GET", f"/v1.{since - 1}{joined}{other}")[0], 200, path)
        self.refused("GET", f"/v1.49/images/busybox/json?manifests=1&{own}", 400, "conflicting options: manifests and platform")
        identity = self.small("placed:1")
        archive = self.d.api("GET", "/images/placed:1/get")[2]
        self.refused("DELETE", "/v1.50/images/placed:1?" + other.replace("platform", "platforms"), 404, "does not provide")
        self.call("DELETE", "/v1.50/images/placed:1?" + own.replace("platform", "platforms"))
        told = self.stream("POST", f"/v1.48/images/load?{other}", archive)
        self.assertIn("requested platform (linux/s390x) not found: the image is for linux/", told[-1]["error"])
        self.assertEqual(self.d.api("GET", "/images/placed:1/json")[0], 404)
        self.assertEqual(self.stream("POST", f"/v1.48/images/load?{own}", archive)[-1]["stream"], "Loaded image: placed:1\n")
        before, after = (self.call("GET", f"/v1.{v}/images/busybox/json")["Config"] for v in (49, 50))
        self.assertEqual(set(before) - set(after), {"Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "Image"})
        self.assertEqual({k: before[k] for k in after}, after)
        self.d.docker("create", "--name", "counted", "placed:1", "x")
        for version, count in ((50, -1), (51, 1)):
            self.assertEqual(next(i for i in self.call("GET", f"/v1.{version}/images/json") if i["Id"] == identity)["Containers"], count)
        self.d.docker("rm", "counted")
        self.d.docker("rmi", "placed:1")
        infos = {v: self.call("GET", f"/v1.{v}/info") for v in (47, 48, 49, 50)}
        artifacts = "AllowNondistributableArtifactsCIDRs"
        self.assertEqual([infos[v]["RegistryConfig"].get(artifacts, "gone") for v in infos], [[], None, "gone", "gone"])
        self.assertEqual(["Expected" in infos[v]["RuncCommit"] for v in infos], [True, True, False, False])
        self.assertEqual([infos[v].get("FirewallBackend", {}).get("Driver") for v in infos], [None, None, "nftables", "nftables"])
        self.assertEqual(["BridgeNfIptables" in infos[v] for v in infos], [True, True, True, False])
        self.assertEqual([infos[v].get("DiscoveredDevices") for v in infos], [None, None, None, []])

    def test_bounds_of_the_build_cache_say_what_stays(self):
        self.d.docker("builder", "prune", "-a", "-f")
        for n in "ab":
            self.d.docker("build", "-q", "-", stdin=f"FROM busybox AS big\nRUN dd if=/dev/zero of=/{n} bs=1024 count=1024 && echo {n} >> /{n}\n"
                                                    f"FROM busybox\nCOPY --from=big /etc/passwd /{n}".encode())
        cached = lambda: [r["ID"] for r in self.call("GET", "/v1.51/system/df?type=build-cache")["BuildCache"] if r["Size"] > 1 << 20]  # noqa: E731
        prune = lambda **bounds: len(self.call("POST", "/v1.51/build/prune?" + urllib.parse.urlencode(bounds))["CachesDeleted"] or [])  # noqa: E731
        count = len(cached())
        self.assertEqual(count, 2)
        self.assertEqual(prune(all=1, **{"min-free-space": 1}), 0)
        self.assertEqual(prune(all=1, **{"max-used-space": 1, "reserved-space": 1 << 40}), 0)
        self.assertEqual(prune(all=1, **{"max-used-space": 1 << 40}), 0)
        self.assertEqual(len(cached()), count)
        prune(all=1, **{"max-used-space": 1500 << 10})
        self.assertEqual(len(cached()), 1)
        self.assertGreater(prune(all=1, **{"min-free-space": (1 << 63) - 1}), 0)
        self.assertEqual(cached(), [])
        self.refused("POST", "/v1.51/build/prune?max-used-space=x", 400, "max-used-space")
        self.call("POST", "/v1.47/build/prune?max-used-space=x")  # nothing that version knows of
        self.d.docker("image", "prune", "-f")

    def test_a_list_has_names_and_sizes_as_each_version_expects(self):
        identity = self.small("listed:1")
        self.call("POST", "/images/listed:1/tag?repo=listed&tag=2", expect=201)
        nameless = self.stream("POST", "/images/create?fromSrc=-", small_tar(other="x"))[-1]["status"]

        def entry(path, which):
            return next(i for i in self.call("GET", path) if i["Id"] == which)
        self.assertEqual(entry("/v1.43/images/json", identity)["RepoTags"], ["listed:1", "listed:2"])
        self.assertEqual(entry("/v1.43/images/json", identity)["RepoDigests"], [])
        self.assertEqual(entry("/v1.43/images/json", nameless)["RepoTags"], [])
        self.assertEqual(entry("/v1.41/images/json", nameless)["RepoTags"], ["<none>:<none>"])
        self.assertEqual(entry("/v1.41/images/json", nameless)["RepoDigests"], ["<none>@<none>"])
        self.assertIsNone(entry("/v1.41/images/json", identity)["RepoDigests"])
        plain = entry("/images/json", identity)
        self.assertEqual((plain["Containers"], plain["SharedSize"], plain["ParentId"]), (0, -1, ""))
        self.assertEqual(entry("/images/json?shared-size=1", identity)["SharedSize"], 0)
        narrowed = self.call("GET", "/images/json?" + query(filters={"reference": ["listed:2"]}))
        self.assertEqual([i["RepoTags"] for i in narrowed], [["listed:2"]])

    def test_the_bytes_that_two_images_share_are_told(self):
        self.call("POST", "/containers/create?name=sharing", {"Image": "busybox", "Cmd": ["true"]}, expect=201)
        self.call("POST", "/commit?container=sharing&repo=sharing", {}, expect=201)
        listed = {(i["RepoTags"] or [""])[0]: i for i in self.call("GET", "/images/json?shared-size=true")}
        self.assertEqual(listed["sharing:latest"]["SharedSize"], listed["busybox:latest"]["Size"])
        self.call("DELETE", "/containers/sharing", expect=204)
        self.call("DELETE", "/images/sharing")

    def test_filters_are_checked_in_dockers_words(self):
        for filters, status, words in (({"colour": ["a"]}, 400, "invalid filter 'colour'"), ({"dangling": ["a"]}, 400, "invalid filter 'dangling=[a]'"),
                                       ({"before": ["nope"]}, 404, "No such image: nope:latest")):
            self.refused("GET", "/images/json?" + query(filters=filters), status, words)
        for filters in ({"dangling": ["a"]}, {"before": ["busybox"]}, {"until": ["a"]}):
            self.refused("POST", "/images/prune?" + query(filters=filters), 400, list(filters)[0])
        self.refused("GET", "/images/json?filters=x", 400)

    def test_an_inspection_shows_layers_and_when_a_tag_was_set(self):
        self.small("inspected", message="made here", changes='ENV A=b\nCMD ["x"]', platform="linux/arm64/v8")
        image = self.call("GET", "/images/inspected/json")
        self.assertEqual((image["Comment"], image["Architecture"], image["Variant"], image["Os"]), ("made here", "arm64", "v8", "linux"))
        self.assertEqual((image["Config"]["Env"], image["Config"]["Cmd"], image["Config"]["Entrypoint"]), (["A=b"], ["x"], None))
        self.assertEqual(len(image["RootFS"]["Layers"]), 1)
        self.assertTrue(image["GraphDriver"]["Data"]["UpperDir"].startswith("/"))
        self.assertGreater(image["Metadata"]["LastTagTime"], image["Created"])
        for name in (image["Id"], image["Id"][7:], image["Id"][7:19], image["Id"][:19], "inspected:latest", "docker.io/library/inspected"):
            self.assertEqual(self.call("GET", f"/images/{name}/json")["Id"], image["Id"], name)

    def test_bad_names_are_refused_as_docker_does(self):
        for repo, tag, words in (("UPPER", "", "must be lowercase"), ("a", "b c", "invalid tag format"), ("a", "x" * 129, "invalid tag format"), ("x/y//z", "", "invalid reference format"),
                                 ("-x", "", "invalid reference format"), ("", "", "invalid reference format"), ("a" * 64, "", "cannot specify 64-byte hexadecimal strings"),
                                 ("a@sha256:" + "a" * 64, "", "refusing to create a tag with a digest reference")):
            self.refused("POST", "/images/busybox/tag?" + query(repo=repo, tag=tag), 400, words)
        self.refused("POST", "/images/nope/tag?repo=x", 404, "No such image: nope:latest")

    def test_a_removal_lists_what_went_and_keeps_what_is_used(self):
        identity = self.small("gone:1")
        for tag in ("gone:2", "elsewhere/gone:1"):
            repo, tag = tag.split(":")
            self.call("POST", f"/images/gone:1/tag?repo={repo}&tag={tag}", expect=201)
        self.refused("DELETE", f"/images/{identity[7:19]}", 409, f"conflict: unable to delete {identity[7:19]} (must be forced) - image is referenced in multiple repositories")
        self.assertEqual(self.call("DELETE", "/images/elsewhere/gone:1"), [{"Untagged": "elsewhere/gone:1"}])
        self.assertEqual(self.call("DELETE", "/images/gone:2"), [{"Untagged": "gone:2"}])
        user = self.call("POST", "/containers/create", {"Image": "gone:1", "Cmd": ["x"]}, expect=201)["Id"]
        self.refused("DELETE", "/images/gone:1", 409, f'conflict: unable to remove repository reference "gone:1" (must force) - container {user[:12]} is using its referenced image {identity[7:19]}')
        self.refused("DELETE", f"/images/{identity}", 409, f"conflict: unable to delete {identity[7:19]} (must be forced) - image is being used by stopped container {user[:12]}")
        self.call("DELETE", f"/containers/{user}", expect=204)
        layer = self.call("GET", "/images/gone:1/json")["RootFS"]["Layers"][0]
        self.assertEqual(self.call("DELETE", "/images/gone:1"), [{"Untagged": "gone:1"}, {"Deleted": identity}, {"Deleted": layer}])

    def test_parents_stay_when_asked_and_an_image_with_children_only_loses_its_name(self):
        base = self.small("base-of-two")
        self.call("POST", "/containers/create?name=two", {"Image": "base-of-two", "Cmd": ["x"]}, expect=201)
        child = self.call("POST", "/commit?container=two&repo=child-of-two", {}, expect=201)["Id"]
        self.call("DELETE", "/containers/two", expect=204)
        self.assertEqual(self.call("DELETE", "/images/base-of-two"), [{"Untagged": "base-of-two:latest"}])
        history = self.call("GET", "/images/child-of-two/history")
        self.assertEqual([h["Id"] for h in history], [child, base])
        self.refused("DELETE", f"/images/{base}", 409, "image has dependent child images")
        self.assertNotIn({"Deleted": base}, self.call("DELETE", "/images/child-of-two?noprune=1"))
        self.assertIn({"Deleted": base}, self.call("DELETE", f"/images/{base}"))

    def test_prune_takes_nameless_images_or_all_unused_and_says_what_it_gave_back(self):
        self.small("kept-by-name")
        nameless = self.stream("POST", "/images/create?fromSrc=-", small_tar(big="x" * 100000))[-1]["status"]
        with_label = self.small("labelled", changes="LABEL keep=yes")
        done = self.call("POST", "/images/prune")
        self.assertIn({"Deleted": nameless}, done["ImagesDeleted"])
        self.assertGreaterEqual(done["SpaceReclaimed"], 100000)
        self.assertEqual(self.call("POST", "/images/prune"), {"ImagesDeleted": None, "SpaceReclaimed": 0})
        done = self.call("POST", "/images/prune?" + query(filters={"dangling": ["false"], "label!": ["keep"], "until": ["0s"]}))
        self.assertIn({"Untagged": "kept-by-name:latest"}, done["ImagesDeleted"])
        self.assertEqual(self.call("GET", "/images/labelled/json")["Id"], with_label)
        self.d.busybox()

    def test_names_that_are_not_utf8_come_as_their_bytes_are(self):
        def record(key, value):
            body = b" " + key + b"=" + value + b"\n"
            size = len(body) + 1
            while len(str(size)) + len(body) != size:
                size += 1
            return str(size).encode() + body

        def entry(kind, data=b"", **records):
            text = b"".join(record(k.encode(), v) for k, v in records.items())
            blocks = []
            for name, what, content in (("pax", b"x", text), ("short", kind, data)):
                head = tarfile.TarInfo(name)
                head.type, head.size, head.linkname = what, len(content), "short" if what in (b"1", b"2") else ""
                blocks += [head.tobuf(tarfile.USTAR_FORMAT), content, bytes(-len(content) % 512)]
            return b"".join(blocks)
        name = b"caf\xe9-" + b"x" * 120
        self.d.docker("import", "-", "bytes", stdin=entry(b"0", b"abc", path=name) + entry(b"2", path=b"l\xe9", linkpath=name) +
                      entry(b"1", path=b"h\xe9", linkpath=name) + entry(b"0", b"u", path="gr\u00fcn".encode()) + bytes(1024))
        container = self.d.docker("create", "bytes", "x").out.strip()
        with tarfile.open(fileobj=io.BytesIO(run([self.d.cli, "export", container], env=self.d.env(), text=False).out)) as tar:
            found = {os.fsencode(m.name): os.fsencode(m.linkname) for m in tar}
        self.d.docker("rm", container)
        self.assertLessEqual({name, b"l\xe9", b"h\xe9", "gr\u00fcn".encode()}, set(found))
        self.assertEqual(found[b"l\xe9"], name)

    def test_an_import_from_a_url_and_what_is_wrong_with_one(self):
        content = small_tar(hello="from afar")

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                self.send_response(200 if self.path == "/root.tar" else 404)
                self.end_headers()
                self.wfile.write(content if self.path == "/root.tar" else b"no")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        url = f"http://127.0.0.1:{server.server_address[1]}"
        lines = self.stream("POST", "/images/create?" + query(fromSrc=url + "/root.tar", repo="afar"))
        self.assertEqual(lines[0]["status"], f"Downloading from {url}/root.tar")
        image = self.call("GET", "/images/afar/json")
        self.assertEqual((lines[-1]["status"], image["Comment"]), (image["Id"], f"Imported from {url}/root.tar"))
        self.refused("POST", "/images/create?" + query(fromSrc=url + "/none"), 404, url, "404")
        self.refused("POST", "/images/create?fromSrc=ftp://x/y", 400, "http")
        self.refused("POST", "/images/create?fromSrc=-&repo=UPPER", 400, "lowercase", body=content)
        self.refused("POST", "/images/create?fromSrc=-&platform=foo", 400, "unknown operating system or architecture", body=content)
        self.refused("POST", "/images/create?fromSrc=-&platform=a/b/c/d", 400, "cannot parse platform specifier", body=content)
        self.refused("POST", "/images/create?" + query(fromSrc="-", changes="RUN x"), 400, "RUN is not a valid change command", body=content)
        self.refused("POST", "/images/create?fromSrc=-", 400, body=b"junk")
        self.refused("POST", "/images/create", 400)

    def test_what_cannot_be_loaded_is_told_in_the_stream(self):
        for body in (b"abc", b"", small_tar(x="y"), small_tar(**{"manifest.json": "[]"}), small_tar(**{"manifest.json": "{"})):
            lines = self.stream("POST", "/images/load", body)
            self.assertTrue(lines[-1]["errorDetail"]["message"], lines)
            self.assertEqual(lines[-1]["error"], lines[-1]["errorDetail"]["message"])

    def test_a_loaded_image_has_the_parent_that_came_with_it(self):
        made = []
        for name in ("below", "above"):
            self.d.docker("run", "--name", name, made[-1] if made else "busybox", "touch", f"/{name}")
            made.append(self.d.docker("commit", name).out.strip())
            self.d.docker("rm", name)
        below, above = made
        both, alone = (self.d.api("GET", f"/images/get?names={names}")[2] for names in (f"{above}&names={below}", above))
        parent = lambda identity: self.call("GET", f"/images/{identity}/json")["Parent"]  # noqa: E731

        def loaded(archive):
            for identity in (above, below):  # the second goes with the first when it is its parent
                self.d.docker("rmi", identity, check=False)
            self.assertEqual(self.d.api("GET", f"/images/{below}/json")[0], 404)
            self.stream("POST", "/images/load", archive)
        loaded(both)
        self.assertEqual((parent(above), parent(below)), (below, ""))
        loaded(alone)
        self.assertEqual(parent(above), "")
        # What cannot be is passed over: the one below made from the one above.
        with tarfile.open(fileobj=io.BytesIO(both)) as tar:
            entries = [(e, tar.extractfile(e).read() if e.isfile() else None) for e in tar.getmembers()]
        twisted = io.BytesIO()
        with tarfile.open(fileobj=twisted, mode="w") as tar:
            for entry, content in entries:
                if entry.name == "manifest.json":
                    items = json.loads(content)
                    for item in items:
                        item["Parent"] = {below: above}.get("sha256:" + item["Config"].split("/")[-1], "nothing")
                    content = json.dumps(items).encode()
                    entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content) if content is not None else None)
        loaded(twisted.getvalue())
        self.assertEqual((parent(above), parent(below)), ("", ""))
        self.d.docker("rmi", above, below)

    def test_saved_images_come_back_and_share_their_layers(self):
        self.small("saved:1")
        self.call("POST", "/images/saved:1/tag?repo=saved&tag=2", expect=201)
        identity = self.call("GET", "/images/saved:1/json")["Id"]
        other = self.small("saved-too")
        _, _, archive = self.d.api("GET", "/images/get?names=saved&names=saved-too")
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            names = tar.getnames()
            manifest = json.load(tar.extractfile("manifest.json"))
            self.assertEqual(len(names), len(set(names)))
            self.assertTrue({"index.json", "oci-layout", "repositories"} <= set(names))
            self.assertEqual(sorted(json.load(tar.extractfile("repositories"))["saved"]), ["1", "2"])
        self.assertEqual([m["RepoTags"] for m in manifest], [["saved:1", "saved:2"], ["saved-too:latest"]])
        self.call("DELETE", f"/images/{identity}?force=1")
        self.call("DELETE", "/images/saved-too")
        lines = self.stream("POST", "/images/load?quiet=1", archive)
        self.assertEqual(sorted(line["stream"] for line in lines), [f"Loaded image: {n}\n" for n in ("saved-too:latest", "saved:1", "saved:2")])
        self.assertEqual(self.call("GET", "/images/saved:2/json")["Id"], identity)
        _, _, archive = self.d.api("GET", f"/images/{other[7:19]}/get")
        self.call("DELETE", "/images/saved-too")
        self.assertEqual(self.stream("POST", "/images/load", archive)[-1], {"stream": f"Loaded image ID: {other}\n"})
        self.refused("GET", "/images/get?names=saved&names=nope", 404, "No such image: nope")

    def test_events_tell_what_becomes_of_an_image(self):
        began = self.call("GET", "/info")["SystemTime"]
        identity = self.small("told", changes="LABEL colour=blue")
        self.call("POST", "/images/told/tag?repo=told&tag=2", expect=201)
        _, _, archive = self.d.api("GET", "/images/told/get")
        self.call("DELETE", "/images/told:2")
        self.call("DELETE", "/images/told")
        self.stream("POST", "/images/load", archive)
        now = self.call("GET", "/info")["SystemTime"]

        def told():
            _, _, content = self.d.api("GET", "/events?" + query(since=began, until=now, filters={"type": ["image"]}))
            return [json.loads(line) for line in content.splitlines()]
        events = [e for e in told() if identity in e["Actor"]["ID"]]
        self.assertEqual([e["Action"] for e in events], ["import", "tag", "save", "untag", "untag", "delete", "load"])
        self.assertEqual(events[1]["Actor"]["Attributes"], {"colour": "blue", "name": "told:2"})

    def test_malformed_credentials_are_refused_before_anything_is_done(self):
        for header in ("!!!", base64.b64encode(b"[1]").decode(), base64.b64encode(b"{").decode()):
            status, _, content = self.d.api("POST", "/images/create?fromImage=127.0.0.1:1/x&tag=1", headers={"X-Registry-Auth": header})
            self.assertEqual(status, 400, content)
            self.assertIn("X-Registry-Auth", json.loads(content)["message"])

    def test_a_stopped_container_still_starts_when_its_image_was_removed_by_force(self):
        self.d.docker("import", "--change", 'CMD ["echo", "alive"]', "-", "forced", stdin=busybox_root_tar() + b"\0" * 512)
        name = self.call("POST", "/containers/create", {"Image": "forced"}, expect=201)["Id"]
        self.call("DELETE", "/images/forced?force=1")
        self.call("DELETE", "/images/busybox?force=1")
        try:
            self.assertEqual(self.d.docker("start", "-a", name).out, "alive\n")
        finally:
            self.call("DELETE", f"/containers/{name}?force=1", expect=204)
            self.d.busybox()
