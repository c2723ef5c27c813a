"""Volumes and mounts as Docker's clients know them: drivers and their options, plug-ins, and what is refused in which words."""
import contextlib
import http.server
import json
import os
import shutil
import socketserver
import tempfile
import threading
import time

from harness import Story, run, wait_for


class Base(Story):
    def ask(self, method, path, body=None, version="v1.45"):
        status, _, content = self.d.api(method, f"/{version}{path}", body)
        return status, json.loads(content) if content.strip() else None

    def volume(self, status=201, **body):
        got, answer = self.ask("POST", "/volumes/create", body)
        self.assertEqual(got, status, answer)
        return answer if got == 201 else answer["message"]

    def create(self, status=201, **host):
        got, answer = self.ask("POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"], "HostConfig": host})
        self.assertEqual(got, status, answer)
        if got == 201:
            self.d.docker("rm", "-f", answer["Id"])
        return answer.get("message", "")


class Volumes(Base):
    def test_a_volume_is_shown_as_it_was_made(self):
        made = self.volume(Name="seen", Labels={"a": "b"}, DriverOpts={"type": "tmpfs", "device": "tmpfs", "o": "size=1m"})
        self.assertRegex(made.pop("CreatedAt"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(made, {"Name": "seen", "Driver": "local", "Scope": "local", "Labels": {"a": "b"},
                                "Options": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"},
                                "Mountpoint": os.path.join(self.d.data, "volumes/seen/_data")})
        again = self.volume(Name="seen", Labels={"other": "x"})
        self.assertEqual(again["Labels"], {"a": "b"})
        bare = self.volume()
        self.assertEqual((bare["Labels"], bare["Options"], len(bare["Name"])), (None, None, 64))
        self.d.docker("volume", "rm", "seen", bare["Name"])

    def test_what_cannot_be_a_volume_is_refused_in_dockers_words(self):
        self.volume(Name="there")
        for body, status, words in [
                ({"Name": "x"}, 400, "create x: volume name is too short, names should be at least two alphanumeric characters"),
                ({"Name": "a/b"}, 400, 'create a/b: "a/b" includes invalid characters for a local volume name'),
                ({"Name": "n1", "DriverOpts": {"foo": "bar"}}, 400, 'create n1: invalid option: "foo"'),
                ({"Name": "n1", "DriverOpts": {"type": "tmpfs"}}, 400, 'create n1: missing required option: "device"'),
                ({"Name": "n1", "DriverOpts": {"device": "/x"}}, 400, 'create n1: missing required option: "type"'),
                ({"Name": "n1", "DriverOpts": {"size": "1m"}}, 400, "create n1: quota size requested but no quota support"),
                ({"Name": "n1", "Driver": "foo"}, 404, 'create n1: error looking up volume plugin foo: plugin "foo" not found'),
                ({"Name": "n1", "Driver": "../foo"}, 404, 'plugin "../foo" not found'),
                ({"Name": "there", "Driver": "foo"}, 404, 'create there: error looking up volume plugin foo: plugin "foo" not found'),
        ]:
            with self.subTest(body=body):
                self.assertIn(words, self.volume(status, **body))
        for method, path, status, words in [("GET", "/volumes/nope", 404, "get nope: no such volume"),
                                            ("DELETE", "/volumes/nope", 404, "get nope: no such volume"),
                                            ("GET", "/volumes?filters={%22foo%22:[%22x%22]}", 400, "nvalid filter 'foo'"),
                                            ("GET", "/volumes?filters={%22dangling%22:[%22x%22]}", 400, "dangling")]:
            got, answer = self.ask(method, path)
            self.assertEqual(got, status)
            self.assertIn(words, answer["message"])
        self.d.docker("volume", "rm", "there")

    def test_options_mount_the_volume_while_containers_use_it(self):
        d = self.d
        d.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=2m,mode=1777", "fast")
        path = os.path.join(d.data, "volumes/fast/_data")
        d.docker("run", "-d", "--name", "f1", "-v", "fast:/m", "busybox", "sleep", "100000")
        self.assertIn("size=2048k", d.docker("exec", "f1", "grep", " /m ", "/proc/mounts").out)
        d.docker("run", "-d", "--name", "f2", "-v", "fast:/m", "busybox", "sleep", "100000")
        d.docker("exec", "f1", "sh", "-c", "echo shared > /m/file")
        self.assertEqual(d.docker("exec", "f2", "cat", "/m/file").out, "shared\n")
        d.docker("rm", "-f", "f1")
        self.assertEqual(d.docker("exec", "f2", "cat", "/m/file").out, "shared\n")
        self.assertTrue(os.path.ismount(path))
        # Who has it mounted is known after a restart of the server too.
        d.kill9()
        d.start()
        d.docker("rm", "-f", "f2")
        self.assertFalse(os.path.ismount(path))
        d.docker("volume", "rm", "fast")
        host = os.path.join(d.root, "bound")
        os.makedirs(host)
        d.docker("volume", "create", "-o", "type=none", "-o", f"device={host}", "-o", "o=bind", "bound")
        d.docker("run", "--rm", "-v", "bound:/m", "busybox", "sh", "-c", "echo in > /m/file")
        with open(os.path.join(host, "file")) as f:
            self.assertEqual(f.read(), "in\n")
        d.docker("volume", "rm", "bound")
        self.assertTrue(os.path.exists(os.path.join(host, "file")), "what was bound is not the volume's to remove")

    def test_what_cannot_be_mounted_is_told_by_mounts_own_words(self):
        d = self.d
        self.volume(Name="lost", DriverOpts={"type": "none", "o": "bind", "device": "/nope/x"})
        d.docker("create", "--name", "l1", "-v", "lost:/m:nocopy", "busybox", "true")
        got, answer = self.ask("POST", "/containers/l1/start")
        path = os.path.join(d.data, "volumes/lost/_data")
        self.assertEqual((got, answer["message"]),
                         (500, f"error while mounting volume '{path}': failed to mount local volume: mount /nope/x:{path}, "
                               "flags: 0x1000: no such file or directory"))
        d.docker("rm", "l1")
        d.docker("volume", "rm", "lost")

    def test_prune_takes_the_anonymous_and_before_142_all(self):
        named, anonymous = self.volume(Name="named")["Name"], self.volume()["Name"]
        self.assertEqual(self.ask("POST", "/volumes/prune")[1]["VolumesDeleted"], [anonymous])
        self.assertEqual(self.ask("POST", "/volumes/prune", version="v1.41")[1]["VolumesDeleted"], [named])
        named = self.volume(Name="named")["Name"]
        self.assertEqual(self.ask("POST", "/volumes/prune?filters={%22all%22:[%22true%22]}")[1]["VolumesDeleted"], [named])

    def test_a_new_volume_takes_over_what_the_image_has_there_once(self):
        d = self.d
        d.docker("run", "--name", "maker", "busybox", "sh", "-c",
                 "mkdir /had; echo first > /had/file; ln -s file /had/link; chown -R 1000:2000 /had; chmod 750 /had")
        d.docker("commit", "maker", "having")
        d.docker("rm", "maker")
        look = "stat -c '%u:%g %a' /had; readlink /had/link; cat /had/file"
        self.assertEqual(d.docker("run", "--rm", "-v", "taken:/had", "having", "sh", "-c", look).out, "1000:2000 750\nfile\nfirst\n")
        d.docker("run", "--rm", "-v", "taken:/had", "having", "sh", "-c", "echo second > /had/file")
        self.assertEqual(d.docker("run", "--rm", "-v", "taken:/had", "having", "cat", "/had/file").out, "second\n")
        self.assertEqual(d.docker("run", "--rm", "-v", "bare:/had:nocopy", "having", "ls", "/had").out, "")
        d.docker("volume", "rm", "taken", "bare")
        d.docker("rmi", "having")


class Mounts(Base):
    def test_what_cannot_be_mounted_is_refused_in_dockers_words(self):
        def mount(**fields):
            return {"Mounts": [fields]}

        def bind(text):
            return {"Binds": [text]}
        for host, status, words in [
                (mount(Type="bind", Source="/nope/x", Target="/a"), 400,
                 'invalid mount config for type "bind": bind source path does not exist: /nope/x'),
                (mount(Type="bind", Target="/a"), 400, 'invalid mount config for type "bind": field Source must not be empty'),
                (mount(Type="bind", Source="rel", Target="/a"), 400, "invalid mount path: 'rel' mount path must be absolute"),
                (mount(Type="bind", Source="/tmp", Target="rel"), 400, "invalid mount path: 'rel' mount path must be absolute"),
                (mount(Type="bind", Source="/tmp", Target=""), 400, "field Target must not be empty"),
                (mount(Type="foo", Source="/tmp", Target="/a"), 400, 'invalid mount config for type "foo": mount type unknown'),
                (mount(Type="bind", Source="/tmp", Target="/a", VolumeOptions={}), 400, "field VolumeOptions must not be specified"),
                (mount(Type="volume", Source="vv", Target="/a", BindOptions={}), 400, "field BindOptions must not be specified"),
                (mount(Type="tmpfs", Source="vv", Target="/a"), 400, "field Source must not be specified"),
                (mount(Type="volume", Target="/"), 400, "invalid specification: destination can't be '/'"),
                (mount(Type="volume", Target="/a", ReadOnly=True), 400, "must not set ReadOnly mode when using anonymous volumes"),
                (mount(Type="volume", Source="a/b", Target="/a"), 400, "includes invalid characters for a local volume name"),
                (mount(Type="volume", Source="vv", Target="/a", VolumeOptions={"DriverConfig": {"Name": "foo"}}), 404,
                 'error looking up volume plugin foo: plugin "foo" not found'),
                (mount(Type="volume", Source="vv", Target="/a", VolumeOptions={"Subpath": "../x"}), 400,
                 "subpath must be a relative path within the volume"),
                (mount(Type="bind", Source="/tmp", Target="/a", BindOptions={"Propagation": "foo"}), 400,
                 "invalid propagation mode: foo"),
                (mount(Type="bind", Source="/tmp", Target="/a", Surprise=1), 501, '"HostConfig.Mounts.Surprise" is not supported'),
                (mount(Type="tmpfs", Target="/a", TmpfsOptions={"Options": [["foo"]]}), 400, "an option is not supported"),
                (bind("rel/x:/m"), 400, "If you intended to pass a host directory, use absolute path"),
                (bind("/tmp:rel"), 400, "invalid volume specification: '/tmp:rel': invalid mount config for type \"bind\": "
                                        "invalid mount path: 'rel' mount path must be absolute"),
                (bind("/tmp:/"), 400, "invalid specification: destination can't be '/'"),
                (bind("/tmp:/a:zz"), 400, "invalid mode: zz"),
                (bind("/tmp:/a:ro,rw"), 400, "invalid mode: ro,rw"),
                (bind("/tmp:/a:nocopy"), 400, "field VolumeOptions must not be specified"),
                (bind("vv:/a:shared"), 400, "field BindOptions must not be specified"),
                (bind("a:b:c:d"), 400, "invalid volume specification: 'a:b:c:d'"),
                ({"Binds": ["/tmp:/a", "/var:/a/"]}, 400, "Duplicate mount point: /a"),
                ({"Binds": ["/tmp:/t"], "Tmpfs": {"/t": ""}}, 400, "Duplicate mount point: /t"),
                ({"VolumesFrom": ["nope"]}, 400, "No such container: nope"),
                ({"VolumesFrom": [""]}, 400, "volumes-from specification cannot be an empty string"),
        ]:
            with self.subTest(host=host):
                self.assertIn(words, self.create(status, **host))
        self.ask("POST", "/volumes/prune?filters={%22all%22:[%22true%22]}")

    def test_every_field_of_a_mount_is_in_force(self):
        d = self.d
        outer = os.path.join(d.root, "outer")
        os.makedirs(os.path.join(outer, "inner"))
        run(["mount", "-t", "tmpfs", "inner", os.path.join(outer, "inner")])
        try:
            with open(os.path.join(outer, "inner/deep"), "w") as f:
                f.write("deep")
            status, answer = self.ask("POST", "/containers/create?name=many", {
                "Image": "busybox", "Cmd": ["sleep", "100000"], "HostConfig": {"Mounts": [
                    {"Type": "bind", "Source": outer, "Target": "/whole"},
                    {"Type": "bind", "Source": outer, "Target": "/alone", "ReadOnly": True, "BindOptions": {"NonRecursive": True}},
                    {"Type": "bind", "Source": outer + "/made/here", "Target": "/made", "BindOptions": {"CreateMountpoint": True}},
                    {"Type": "volume", "Source": "own", "Target": "/own", "VolumeOptions": {
                        "NoCopy": True, "Labels": {"l": "m"},
                        "DriverConfig": {"Name": "local", "Options": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}}}},
                    {"Type": "tmpfs", "Target": "/quick", "TmpfsOptions": {"SizeBytes": 1048576, "Mode": 0o700, "Options": [["exec"]]}},
                ]}})
            self.assertEqual(status, 201, answer)
            d.docker("start", "many")

            def say(text):
                return d.docker("exec", "many", "sh", "-c", text, check=False).out
            self.assertEqual(say("cat /whole/inner/deep"), "deep")
            self.assertEqual(say("ls /alone/inner; touch /alone/x || echo no"), "no\n")
            self.assertTrue(os.path.isdir(outer + "/made/here"))
            self.assertIn("size=1024k", say("grep ' /own ' /proc/mounts"))
            self.assertEqual(self.ask("GET", "/volumes/own")[1]["Labels"], {"l": "m"})
            quick = say("grep ' /quick ' /proc/mounts; stat -c %a /quick")
            self.assertIn("size=1024k", quick)
            self.assertNotIn("noexec", quick)
            self.assertTrue(quick.endswith("700\n"), quick)
            shown = {m["Destination"]: m for m in d.inspect("many")["Mounts"]}
            self.assertEqual(shown["/alone"], {"Type": "bind", "Source": outer, "Destination": "/alone", "Mode": "", "RW": False,
                                               "Propagation": "rprivate"})
            self.assertEqual((shown["/own"]["Driver"], shown["/own"]["Mode"], shown["/own"]["Name"]), ("local", "z", "own"))
            d.docker("rm", "-f", "many")
            d.docker("volume", "rm", "own")
        finally:
            run(["umount", os.path.join(outer, "inner")])

    def test_how_deep_a_bind_is_read_only_follows_version_runtime_and_wish(self):
        d = self.d
        outer = os.path.join(d.root, "deep")
        os.makedirs(os.path.join(outer, "inner"))
        run(["mount", "-t", "tmpfs", "inner", os.path.join(outer, "inner")])

        def written(version, host, runtime="native"):
            status, answer = self.ask("POST", "/containers/create?name=deep", {
                "Image": "busybox", "Cmd": ["sh", "-c", "touch /m/top 2>/dev/null && echo top; touch /m/inner/x 2>/dev/null && echo inner; true"],
                "HostConfig": {"Runtime": runtime, "NetworkMode": "none", **host}}, version=version)
            if status != 201:
                return answer["message"]
            try:
                return d.docker("start", "-a", "deep").out
            finally:
                d.docker("rm", "-f", "deep")

        def mounted(**options):
            return {"Mounts": [{"Type": "bind", "Source": outer, "Target": "/m", "ReadOnly": True, "BindOptions": options}]}
        bind = {"Binds": [f"{outer}:/m:ro"]}
        try:
            for version, host, expected in [
                    ("v1.43", bind, "inner\n"), ("v1.44", bind, ""), ("v1.43", mounted(), "inner\n"), ("v1.44", mounted(), ""),
                    ("v1.44", mounted(ReadOnlyNonRecursive=True), "inner\n"),
                    ("v1.44", mounted(ReadOnlyForceRecursive=True, Propagation="rprivate"), ""),
                    ("v1.43", mounted(ReadOnlyForceRecursive=True, Propagation="rprivate"),
                     "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")]:
                with self.subTest(version=version, host=host):
                    self.assertEqual(written(version, host), expected)
            # runc says that it can; what cannot say so is given what it surely knows.
            runtimes = d.docker("info", "-f", "{{json .Runtimes}}").out
            for runtime, able in (("runc", True), ("crun", "rro" in run(["crun", "features"], check=False).out)):
                if f'"{runtime}"' not in runtimes:
                    continue
                with self.subTest(runtime=runtime):
                    self.assertEqual(written("v1.44", bind, runtime), "" if able else "inner\n")
                    if not able:
                        self.assertEqual(written("v1.44", mounted(ReadOnlyForceRecursive=True, Propagation="rprivate"), runtime),
                                         f'rro is not supported by runtime "{runtime}"')
        finally:
            run(["umount", os.path.join(outer, "inner")])

    def test_a_part_of_a_volume_is_mounted_and_nothing_outside_it(self):
        d = self.d
        d.docker("run", "--rm", "-v", "parts:/v", "busybox", "sh", "-c",
                 "mkdir /v/sub /v/hack /v/bin; echo world > /v/sub/hello; echo foo > /v/bar; ln -s / /v/hack/root; "
                 "ln -s ../sub /v/hack/good; ln -s root /v/hack/bad")

        def start(subpath, command, target="/part"):
            status, answer = self.ask("POST", "/containers/create?name=part", {
                "Image": "busybox", "Cmd": ["sh", "-c", command], "HostConfig": {"Mounts": [
                    {"Type": "volume", "Source": "parts", "Target": target, "VolumeOptions": {"Subpath": subpath}}]}})
            self.assertEqual(status, 201, answer)
            done = d.docker("start", "-a", "part", check=False)
            d.docker("rm", "part")
            return done
        self.assertEqual(start("sub", "ls /part").out, "hello\n")
        self.assertEqual(start("hack/good", "ls /part").out, "hello\n")
        self.assertEqual(start("bar", "cat /part").out, "foo\n")
        self.assertEqual(start("bin", "ls /bin/busybox", "/bin").out, "/bin/busybox\n")
        self.assertIn("path escapes base", start("hack/root", "true").err)
        self.assertIn("path escapes base", start("hack/bad", "true").err)
        self.assertIn("cannot access path", start("nothing", "true").err)
        d.docker("volume", "rm", "parts")

    def test_an_image_is_mounted_read_only_and_kept_while_it_is(self):
        d = self.d
        d.docker("build", "-q", "-t", "files:1", "-", stdin=b"FROM busybox\nRUN mkdir -p /data/in && echo one > /data/in/f && ln -s /etc /data/out")
        identity = d.inspect("files:1")["Id"]

        def made(name, *mounts, version="v1.48", command=("sleep", "1000")):
            body = {"Image": "busybox", "Cmd": list(command), "HostConfig": {"Mounts": list(mounts)}}
            return self.ask("POST", f"/containers/create?name={name}", body, version=version)
        whole = {"Type": "image", "Source": "files:1", "Target": "/whole"}
        part = {"Type": "image", "Source": identity, "Target": "/part", "ImageOptions": {"Subpath": "data/in"}}
        self.assertEqual(made("viewer", whole, part)[0], 201)
        d.docker("start", "viewer")
        self.assertEqual(d.docker("exec", "viewer", "cat", "/whole/data/in/f", "/part/f").out, "one\none\n")
        for path in ("/whole/data/new", "/part/new"):
            self.assertIn("Read-only file system", d.docker("exec", "viewer", "touch", path, check=False).err)
        point = next(m for m in d.inspect("viewer")["Mounts"] if m["Destination"] == "/whole")
        self.assertEqual((point["Type"], point["Name"], point["RW"]), ("image", "files:1", False))
        with tempfile.TemporaryDirectory() as folder:
            d.docker("cp", "viewer:/part/f", folder)
            with open(os.path.join(folder, "f")) as file:
                self.assertEqual(file.read(), "one\n")
        # It is in use, whatever its names are.
        self.assertNotEqual(d.docker("rmi", "files:1", check=False).status, 0)
        d.docker("image", "prune", "-a", "-f")
        self.assertEqual(d.inspect("files:1")["Id"], identity)
        d.kill9()
        d.start()
        d.docker("restart", "-t", "0", "viewer")
        self.assertEqual(d.docker("exec", "viewer", "cat", "/part/f").out, "one\n")
        place = point["Source"]
        self.assertTrue(os.path.ismount(place))
        d.docker("rm", "-f", "viewer")
        self.assertFalse(os.path.exists(place))
        for mount, status, words in (
                (dict(whole, Source="nobody:1"), 404, "No such image: nobody:1"), (dict(whole, Source=""), 400, "field Source must not be empty"),
                (dict(part, ImageOptions={"Subpath": "../x"}), 400, "subpath must be a relative path within the image"),
                (dict(whole, VolumeOptions={"NoCopy": True}), 400, "field VolumeOptions must not be specified"),
                (dict(whole, ImageOptions={"Other": "x"}), 501, '"HostConfig.Mounts.ImageOptions.Other" is not supported')):
            self.assertEqual(made("refused", mount)[0], status, mount)
            self.assertIn(words, made("refused", mount)[1]["message"])
        self.assertIn("needs API v1.48", made("refused", whole, version="v1.47")[1]["message"])
        self.assertEqual(made("outside", dict(part, ImageOptions={"Subpath": "data/out"}))[0], 201)
        self.assertIn("of the volume", d.docker("start", "outside", check=False).err)
        d.docker("rm", "outside")
        d.docker("rmi", "files:1")

    def test_events_tell_when_a_volume_is_mounted_and_unmounted(self):
        d = self.d
        since = d.docker("info", "-f", "{{.SystemTime}}").out.strip()
        d.docker("run", "--name", "told", "-v", "told:/v", "busybox", "true")
        d.docker("rm", "told")
        d.docker("volume", "rm", "told")
        until = d.docker("info", "-f", "{{.SystemTime}}").out.strip()
        events = d.docker("events", "--since", since, "--until", until, "--filter", "volume=told", "--format", "{{.Action}} {{.Actor.Attributes.driver}}").out
        self.assertEqual(events.splitlines(), ["create local", "mount local", "unmount local", "destroy local"])

    def test_volumes_from_another_container_with_its_modes(self):
        d = self.d
        d.docker("run", "--name", "source", "-v", "shared:/s", "-v", "/anon", "busybox", "sh", "-c", "echo it > /s/file")
        self.assertEqual(d.docker("run", "--rm", "--volumes-from", "source", "busybox", "sh", "-c", "cat /s/file; ls -d /anon").out,
                         "it\n/anon\n")
        done = d.docker("run", "--name", "reader", "--volumes-from", "source:ro", "busybox", "touch", "/s/x", check=False)
        self.assert_clean_refusal(done, "read-only")
        self.assertEqual({m["RW"] for m in d.inspect("reader")["Mounts"]}, {False})
        d.docker("rm", "-v", "source", "reader")
        d.docker("volume", "rm", "shared")


class Plugin(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A volume plug-in: directories below one of its own. `answers` has other answers for a test, `first` what it does before."""
    daemon_threads = True

    def __init__(self, path, root):
        self.root, self.calls, self.answers, self.first, self.volumes = root, [], {}, {}, {}
        super().__init__(path, Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self):
        return ""

    def log_message(self, *args):
        pass

    def do_POST(self):
        plugin = self.server
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        method = self.path.lstrip("/")
        plugin.calls.append((method, request.get("Name")))
        plugin.first.get(method, lambda: None)()
        answer = plugin.answers.get(method) or json.dumps(self.act(method, request)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(answer)

    def act(self, method, request):
        plugin, name = self.server, request.get("Name")
        path = os.path.join(plugin.root, name or "")
        if method == "Plugin.Activate":
            return {"Implements": ["VolumeDriver"]}
        if method == "VolumeDriver.Capabilities":
            return {"Capabilities": {"Scope": "global"}}
        if method == "VolumeDriver.Create":
            if (request.get("Opts") or {}).get("fail"):
                return {"Err": "no room"}
            os.makedirs(path, exist_ok=True)
            plugin.volumes[name] = request.get("Opts")
            return {"Err": ""}
        if name not in plugin.volumes:
            return {"Err": "no such volume"}
        if method == "VolumeDriver.Remove":
            del plugin.volumes[name]
            return {"Err": ""}
        if method == "VolumeDriver.Get":
            return {"Volume": {"Name": name, "Mountpoint": path, "Status": {"size": "big"}}, "Err": ""}
        return {"Mountpoint": path, "Err": ""}


class Plugins(Base):
    def setUp(self):
        super().setUp()
        self.place = tempfile.mkdtemp(prefix="drover-plugin-")
        self.driver = os.path.basename(self.place)
        self.plugin = Plugin(os.path.join(self.place, "sock"), os.path.join(self.place, "volumes"))
        os.makedirs("/etc/docker/plugins", exist_ok=True)
        self.spec = f"/etc/docker/plugins/{self.driver}.spec"
        with open(self.spec, "w") as f:
            f.write(f"unix://{self.place}/sock")

    def tearDown(self):
        self.plugin.shutdown()
        self.plugin.server_close()
        os.unlink(self.spec)
        shutil.rmtree(self.place)
        super().tearDown()

    def test_an_end_is_told_when_who_then_looks_finds_the_exit_code(self):
        """docker compose ends with the status that it finds in a container whose event "die" it has read."""
        d, seen, began = self.d, [], time.time()

        def look():
            _, _, told = d.api("GET", f"/events?since={began:.9f}&until={time.time():.9f}&filters=%7B%22event%22:%5B%22die%22%5D%7D")
            seen.append((d.inspect("user")["State"]["Status"], len(told.splitlines())))
        self.plugin.first["VolumeDriver.Unmount"] = look
        d.docker("volume", "create", "-d", self.driver, "far")
        self.assertEqual(d.docker("run", "--name", "user", "-v", "far:/m", "busybox", "sh", "-c", "exit 3", check=False).status, 3)
        self.assertEqual(seen, [("created", 0), ("running", 0)])
        look()
        self.assertEqual(seen[2:], [("exited", 1)])
        self.assertEqual(d.inspect("user")["State"]["ExitCode"], 3)
        self.plugin.first.clear()
        d.docker("rm", "user")
        d.docker("volume", "rm", "far")

    def test_a_volume_of_a_plugin_is_made_mounted_unmounted_and_removed_by_it(self):
        d = self.d
        d.docker("volume", "create", "-d", self.driver, "-o", "colour=red", "far")
        self.assertEqual(self.plugin.volumes, {"far": {"colour": "red"}})
        shown = self.ask("GET", "/volumes/far")[1]
        self.assertEqual((shown["Driver"], shown["Scope"], shown["Status"], shown["Mountpoint"]),
                         (self.driver, "global", {"size": "big"}, os.path.join(self.place, "volumes/far")))
        self.assertEqual(d.docker("volume", "ls", "-q", "--filter", f"driver={self.driver}").out, "far\n")
        d.docker("run", "--name", "user", "-v", "far:/m", "busybox", "sh", "-c", "echo there > /m/file")
        with open(os.path.join(self.place, "volumes/far/file")) as f:
            self.assertEqual(f.read(), "there\n")
        mount = d.inspect("user")["Mounts"][0]
        self.assertEqual((mount["Driver"], mount["Source"]), (self.driver, os.path.join(self.place, "volumes/far")))
        wait_for(lambda: [m for m, _ in self.plugin.calls].count("VolumeDriver.Mount") ==
                 [m for m, _ in self.plugin.calls].count("VolumeDriver.Unmount"), "as many unmounts as mounts")
        self.assertIn("driver", self.volume(409, Name="far", Driver="local"))
        self.assert_clean_refusal(d.docker("volume", "rm", "far", check=False), "in use")
        d.docker("rm", "user")
        d.docker("volume", "rm", "far")
        self.assertEqual(self.plugin.volumes, {})
        # A container may bring its driver along.
        d.docker("run", "--rm", "--volume-driver", self.driver, "-v", "brought:/m", "busybox", "touch", "/m/x")
        self.assertIn("brought", self.plugin.volumes)
        d.docker("volume", "rm", "brought")

    def test_what_a_plugin_answers_wrongly_is_an_error_and_no_more(self):
        self.assertIn("no room", self.volume(500, Name="pp", Driver=self.driver, DriverOpts={"fail": "1"}))
        self.volume(Name="pp", Driver=self.driver)
        self.d.docker("create", "--name", "uu", "-v", "pp:/m:nocopy", "busybox")
        for answer, words in [(b"nonsense", "its answer"), (b"[]", "not an object"), (b'{"Mountpoint": 7}', "no path"),
                              (b'{"Mountpoint": "../etc"}', "no path"), (b'{"Mountpoint": "/nope/nowhere"}', "/nope/nowhere"),
                              (b"x" * (2 << 20), "longer than"), (b'{"Err": "out of tape"}', "out of tape")]:
            self.plugin.answers["VolumeDriver.Mount"] = answer
            got, message = self.ask("POST", "/containers/uu/start")
            self.assertGreaterEqual(got, 400)
            self.assertIn(words, message["message"])
        self.plugin.answers = {"Plugin.Activate": b'{"Implements": ["NetworkDriver"]}'}
        self.assertIn("does not implement the VolumeDriver interface", self.volume(404, Name="qq", Driver=self.driver))
        self.plugin.answers = {}
        self.d.docker("start", "uu")
        self.d.docker("rm", "-f", "uu")
        self.d.docker("volume", "rm", "pp")
