"""docker-py's low-level client in two versions of the API: what its own integration tests ask of an engine, told anew."""
import contextlib
import io
import json
import os
import socket
import tarfile
import tempfile
import threading
import time

from docker_py import SECOND, Cleaned, docker
from harness import Story, wait_for

try:
    from docker.errors import APIError, ContainerError, NotFound
    from docker.types import IPAMConfig, IPAMPool
    from docker.utils.proxy import ProxyConfig
    from docker.utils.socket import next_frame_header, read_exactly
except ImportError:
    pass  # and Cleaned skips


def tar_of(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


class Api(Cleaned):
    def made(self, command, **options):
        host = {k: options.pop(k) for k in list(options) if k.startswith("h_")}
        config = self.c.create_host_config(**{k[2:]: v for k, v in host.items()})
        return self.c.create_container("busybox", command, host_config=config, **options)["Id"]

    def started(self, command, **options):
        container = self.made(command, **options)
        self.c.start(container)
        return container

    def ended(self, command, **options):
        container = self.started(command, **options)
        self.assertEqual(self.c.wait(container)["StatusCode"], 0, self.c.logs(container))
        return container

    def build(self, *lines, **options):
        return list(self.c.build(fileobj=io.BytesIO("\n".join(lines).encode()), decode=True, rm=True, **options))

    # --- create

    def test_errors_name_what_is_wrong(self):
        container = self.started(["sleep", "1000"])
        with self.assertRaises(APIError) as raised:
            self.c.remove_container(container)
        self.assertIn("You cannot remove a running container", raised.exception.explanation)
        with self.assertRaises(APIError) as raised:
            self.started("true", h_log_config=docker.types.LogConfig(type="asdf-nope", config={}))
        self.assertIn(raised.exception.explanation, ("logger: no log driver named 'asdf-nope' is registered",
                                                     'error looking up logging plugin asdf-nope: plugin "asdf-nope" not found'))
        with self.assertRaises(APIError):
            self.c.inspect_image("gensokyo.jp//kirisame")
        with self.assertRaises(APIError) as raised:
            self.c.create_volume("v", "this-plugin-does-not-exist")
        self.assertIn(raised.exception.response.status_code, (400, 404))
        with self.assertRaises(NotFound):
            self.c.remove_volume("nobody")
        with self.assertRaises(APIError):
            self.c.create_network("n", driver="host")

    def test_what_is_created_is_shown_as_it_was_asked_for(self):
        for options, field, value in [
                ({"h_isolation": "default"}, "Isolation", "default"), ({"h_init": True}, "Init", True),
                ({"h_tmpfs": {"/tmp1": "size=3M"}}, "Tmpfs", {"/tmp1": "size=3M"}), ({"h_auto_remove": True}, "AutoRemove", True),
                ({"h_mem_swappiness": 40}, "MemorySwappiness", 40), ({"h_mem_limit": "700M", "h_memswap_limit": "1G"}, "MemorySwap", 1 << 30),
                ({"h_device_cgroup_rules": ["c 7:128 rwm"]}, "DeviceCgroupRules", ["c 7:128 rwm"]), ({"h_cpuset_cpus": "0"}, "CpusetCpus", "0"),
                ({"h_cpu_shares": 512}, "CpuShares", 512), ({"h_pid_mode": "host", "h_network_mode": "none"}, "PidMode", "host"),
                ({"h_uts_mode": "host"}, "UTSMode", "host"), ({"h_volume_driver": "foo"}, "VolumeDriver", "foo"),
                ({"runtime": "runc"}, "Runtime", "runc")]:
            self.assertEqual(self.c.inspect_container(self.made("true", **options))["HostConfig"][field], value)
        env = self.c.inspect_container(self.made("true", environment={"Foo": None, "Other": "one", "Blank": ""}))["Config"]["Env"]
        self.assertLessEqual({"Foo", "Other=one", "Blank="}, set(env))
        self.assertEqual(self.c.inspect_container(self.made("true", stop_timeout=25))["Config"]["StopTimeout"], 25)
        check = self.c.inspect_container(self.made("true", healthcheck={"test": "echo hello"}))["Config"]["Healthcheck"]
        self.assertEqual(check["Test"], ["CMD-SHELL", "echo hello"])
        log = self.c.inspect_container(self.made("true", h_log_config=docker.types.LogConfig(type="", config={"max-file": "100"})))
        self.assertEqual(log["HostConfig"]["LogConfig"], {"Type": "json-file", "Config": {"max-file": "100"}})

    def test_what_is_asked_for_is_there_inside(self):
        container = self.ended("cat /sys/fs/cgroup/devices/devices.list", h_device_cgroup_rules=["c 7:128 rwm"])
        self.assertIn(b"c 7:128 rwm", self.c.logs(container))
        self.assertEqual(self.c.logs(self.ended("id -G", h_group_add=["1000", 1001])), b"0 1000 1001\n")
        self.assertEqual(self.c.logs(self.ended("id -u", user=1000)), b"1000\n")
        if self.version == "1.41":  # in 1.52 an address is an endpoint's alone
            container = self.started(["sleep", "1000"], mac_address="02:42:ac:11:00:0a")
            self.assertEqual(self.c.inspect_container(container)["NetworkSettings"]["MacAddress"], "02:42:ac:11:00:0a")
        container = self.started(["sleep", "1000"], ports=[1111, (2222, "udp")], h_port_bindings={"1111": ("127.0.0.1", "4567"), "2222/udp": 4568})
        self.assertEqual(self.c.port(container, 1111), [{"HostIp": "127.0.0.1", "HostPort": "4567"}])
        self.assertEqual(self.c.port(container, "2222/udp")[0]["HostPort"], "4568")
        origin = tempfile.mkdtemp(dir=self.d.root)
        for ro in (False, True):
            container = self.ended(["ls", "/mnt"], volumes=["/mnt"], h_binds={origin: {"bind": "/mnt", "ro": ro}})
            mount = self.c.inspect_container(container)["Mounts"]
            self.assertEqual([(m["Source"], m["RW"]) for m in mount], [(origin, not ro)])

    def test_a_list_and_an_inspection_tell_of_a_container(self):
        container = self.ended("true")
        listed = [x for x in self.c.containers(all=True) if x["Id"] == container]
        self.assertEqual([(x["Command"], x["Image"]) for x in listed], [("true", "busybox")])
        self.assertIn("Exited", listed[0]["Status"])
        self.assertEqual(len(self.c.containers(all=True, trunc=True)[0]["Id"]), 12)
        self.c.rename(container, "hong_meiling")
        told = self.c.inspect_container("hong_meiling")
        self.assertEqual((told["Name"], told["State"]["Running"], told["State"]["ExitCode"]), ("/hong_meiling", False, 0))
        self.c.remove_container(container)
        self.assertEqual(self.c.containers(all=True), [])

    def test_volumes_come_from_others_and_from_mounts(self):
        names = ["foobar_vol0", "foobar_vol1"]
        for name in names:
            self.ended("true", name=name)
        container = self.started("cat", stdin_open=True, h_volumes_from=names, h_network_mode="none")
        self.assertEqual(self.c.inspect_container(container)["HostConfig"]["VolumesFrom"], names)
        origin = tempfile.mkdtemp(dir=self.d.root)
        for read_only in (False, True):
            mount = docker.types.Mount(type="bind", source=origin, target="/mnt", read_only=read_only)
            mounts = self.c.inspect_container(self.ended(["ls", "/mnt"], h_mounts=[mount]))["Mounts"]
            self.assertEqual([(m["Source"], m["RW"]) for m in mounts], [(origin, not read_only)])
        mount = docker.types.Mount(type="volume", source="labelled", target="/mnt", labels={"com.dockerpy.test": "true"})
        mounts = self.c.inspect_container(self.made("true", h_mounts=[mount]))["Mounts"]
        self.assertEqual([(m["Name"], m["RW"]) for m in mounts], [("labelled", True)])
        self.assertEqual(self.c.inspect_volume("labelled")["Labels"], {"com.dockerpy.test": "true"})

    def test_commands_are_split_as_a_shell_does(self):
        for command in ('echo "The Young & the Old"', '/bin/sh -c "echo Hello World"', "/bin/sh -c 'echo \"Hello World\"'", 'true && echo "no shell"'):
            self.ended(command)

    def test_states_are_those_of_the_moment(self):
        state = lambda: self.c.inspect_container(container)["State"]  # noqa: E731
        for end in (lambda: self.c.kill(container), lambda: self.c.kill(container, signal="SIGKILL"), lambda: self.c.kill(container, signal=9),
                    lambda: self.c.stop(container, timeout=1)):
            container = self.started(["sleep", "9999"])
            end()
            self.assertFalse(state()["Running"])
            self.assertNotEqual((state()["ExitCode"], self.c.wait(container)["StatusCode"]), (0, 0))
        container = self.started(["sleep", "9999"])
        for change, paused in ((self.c.pause, True), (self.c.unpause, False)):
            change(container)
            self.assertEqual((state()["Running"], state()["Paused"], state()["ExitCode"]), (True, paused, 0))
        before = state()["StartedAt"]
        self.c.restart(container, timeout=1)
        self.assertNotEqual(state()["StartedAt"], before)
        self.assertTrue(state()["Running"])

    def test_what_a_short_program_says_and_does_is_there_at_once(self):
        for ask, command, want in ((self.c.logs, "echo hello", b"hello\n"), (lambda c: self.c.attach(c, stream=False, logs=True), "echo hello", b"hello\n"),
                                   (self.c.diff, "touch /test", [{"Path": "/test", "Kind": 1}])):
            # Not each time: on a busy machine it may take longer than the engine waits.
            self.assertIn(want, [ask(self.started(["sh", "-c", f"sleep 0.05; {command}"])) for _ in range(5)])

    def test_a_published_port_is_listened_to_when_its_container_was_started(self):
        said = []
        for _ in range(5):
            container = self.started(["sh", "-c", "sleep 0.02; echo it works | nc -lp 8080"], ports=[8080], h_port_bindings={8080: ("127.0.0.1", 18180)})
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", 18180), 10) as sock:
                said.append(sock.recv(100))
            self.c.remove_container(container, force=True)
        self.assertIn(b"it works\n", said)  # not each time, for the same reason
        self.started(["sleep", "1000"], ports=[8080], h_port_bindings={8080: ("127.0.0.1", 18180)})  # which nobody listens to

    def test_links_are_told_and_removed(self):
        one = self.started("cat", stdin_open=True, environment={"FOO": "1"}, name="one")
        two = self.started("env", name="two", h_links={"one": "mylink"}, h_network_mode="bridge")
        self.c.wait(two)
        self.assertIn(b"MYLINK_NAME=", self.c.logs(two))
        self.assertIn(b"MYLINK_ENV_FOO=1", self.c.logs(two))
        self.c.remove_container("two/mylink", link=True)
        left = self.c.containers(all=True)
        self.assertEqual({x["Id"] for x in left}, {one, two})
        self.assertNotIn("/two/mylink", [n for x in left for n in x["Names"]])

    def test_restart_policies_and_updates(self):
        container = self.started(["sleep", "1000"], h_restart_policy={"Name": "always", "MaximumRetryCount": 0}, h_mem_limit=400 << 20)
        self.c.update_container(container, mem_limit=300 << 20)
        self.c.update_container(container, restart_policy={"Name": "on-failure", "MaximumRetryCount": 42})
        host = self.c.inspect_container(container)["HostConfig"]
        self.assertEqual((host["Memory"], host["RestartPolicy"]), (300 << 20, {"Name": "on-failure", "MaximumRetryCount": 42}))
        again = self.started(["sleep", "0.1"], h_restart_policy={"Name": "always", "MaximumRetryCount": 0})
        self.c.wait(again)
        with self.assertRaises(APIError) as raised:
            self.c.remove_container(again)
        self.assertIn("You cannot remove ", raised.exception.explanation)

    # --- streams

    def detaches(self, sock, *keys):
        sock = getattr(sock, "_sock", sock)
        for key in keys:
            sock.sendall(key)
            time.sleep(0.1)
        sock.settimeout(60)
        while sock.recv(4096):
            pass
        sock.close()

    def test_keys_detach_from_containers_and_execs(self):
        for general, own, keys in ((None, {}, b"\x10\x11"), ("ctrl-p", {}, b"\x10"), ("ctrl-p", {"detachKeys": "ctrl-x"}, b"\x18")):
            self.c._general_configs = {"detachKeys": general} if general else {}
            container = self.started("cat", stdin_open=True, tty=True)
            self.detaches(self.c.attach_socket(container, {"stdin": True, "stream": True, **own}), *(bytes([k]) for k in keys))
            made = self.c.exec_create(container, "cat", stdin=True, tty=True, stdout=True, detach_keys=own.get("detachKeys"))
            self.detaches(self.c.exec_start(made, tty=True, socket=True), *(bytes([k]) for k in keys))
            self.assertTrue(self.c.inspect_container(container)["State"]["Running"])

    def test_an_attach_before_the_start_reads_all(self):
        container = self.made("printf 'hi there and words'")
        sock = self.c.attach_socket(container, {"stdout": 1, "stream": 1, "logs": 1})
        self.c.start(container)
        self.assertEqual(next_frame_header(sock), (1, 18))
        self.assertEqual(read_exactly(sock, 18), b"hi there and words")
        sock.close()
        self.assertEqual(self.c.attach(self.ended("echo hello"), stream=False, logs=True), b"hello\n")

    def test_what_start_says_of_the_terminal_frames_an_exec(self):
        container = self.started("cat", stdin_open=True)
        command = 'sh -c "echo hello out ; sleep 0.3; echo hello err >&2"'
        for tty, want, split in ((False, [b"hello out\n", b"hello err\n"], (0, 1)), (True, [b"hello out\r\n", b"hello err\r\n"], (0, 0))):
            made = lambda: self.c.exec_create(container, command, tty=tty)  # noqa: E731
            self.assertEqual(self.c.exec_start(made()), b"".join(want))
            self.assertEqual(list(self.c.exec_start(made(), stream=True)), want)
            pairs = [tuple(text if i == at else None for i in (0, 1)) for text, at in zip(want, split)]
            self.assertEqual(list(self.c.exec_start(made(), stream=True, demux=True)), pairs)
        made = self.c.exec_create(container, ["printf", "interactive"], tty=True)
        sock = self.c.exec_start(made, socket=True)
        self.assertEqual(next_frame_header(sock), (1, 11))
        self.assertEqual(read_exactly(sock, 11), b"interactive")
        sock.close()
        self.assertEqual(self.c.exec_start(self.c.exec_create(container, "printf x"), detach=True), "")

    def test_execs_get_environments_and_codes(self):
        self.c._proxy_configs = ProxyConfig(ftp="a", https="b", http="c", no_proxy="d")  # which a container has from its creation on
        container = self.started("cat", stdin_open=True)
        self.assertIn(b"X=Y\n", self.c.exec_start(self.c.exec_create(container, "env", environment={"X": "Y"})))
        made = self.c.exec_create(container, 'sh -c "env | grep -i proxy"', environment={"https_proxy": "xxx", "HTTPS_PROXY": "XXX"})
        self.assertLessEqual({b"ftp_proxy=a", b"https_proxy=xxx", b"HTTPS_PROXY=XXX", b"NO_PROXY=d"}, set(self.c.exec_start(made).splitlines()))
        self.assertEqual(self.c.exec_start(self.c.exec_create(container, "whoami")), b"root\n")
        self.assertEqual(b"".join(self.c.exec_start(self.c.exec_create(container, ["echo", "hello\nworld"]), stream=True)), b"hello\nworld\n")
        made = self.c.exec_create(container, ["mkdir", "/does/not/exist"])
        self.c.exec_start(made)
        self.assertEqual(self.c.exec_inspect(made)["ExitCode"], 1)
        code = self.high.containers.get(container).exec_run("no-such-program")[0]
        self.assertEqual(code, 126 if self.version == "1.41" else 127)
        self.assertEqual(self.c.exec_start(self.c.exec_create(container, "pwd", workdir="/var")), b"/var\n")

    def test_waits_and_logs(self):
        container = self.made("true")
        with self.assertRaises(Exception):
            self.c.wait(container, condition="removed", timeout=0.5)
        container = self.started(["sleep", "0.5"], h_auto_remove=True)
        self.assertEqual(self.c.wait(container, condition="removed", timeout=60)["StatusCode"], 0)
        container = self.ended("echo 'Line1\nLine2'")
        self.assertEqual(self.c.logs(container, tail=1), b"Line2\n")
        self.assertEqual(self.c.logs(container, tail=0), b"")
        self.assertEqual(self.c.logs(container, until=1), b"")
        self.assertEqual(b"".join(self.c.logs(container, stream=True, follow=True)), b"Line1\nLine2\n")
        self.assertEqual(self.high.containers.run("busybox", 'sh -c "echo hello && sleep 1"', auto_remove=True), b"hello\n")
        with self.assertRaises(ContainerError) as raised:
            self.high.containers.run("busybox", 'sh -c ">&2 echo error && sleep 1 && exit 1"', auto_remove=True)
        self.assertEqual((raised.exception.exit_status, raised.exception.stderr), (1, None))
        self.assertIsNone(self.high.containers.run("busybox", "echo hello", log_config={"type": "none"}))
        out = self.high.containers.run("busybox", 'sh -c "echo hello && echo world"', stream=True)
        threading.Timer(1, out.close).start()
        self.assertEqual(list(out), [b"hello\n", b"world\n"])

    def test_top_stats_diff_and_prune(self):
        container = self.started(["sleep", "1000"])
        top = self.c.top(container)
        self.assertEqual(top["Titles"], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"])
        self.assertEqual([p[-1] for p in top["Processes"]], ["sleep 1000"])
        top = self.c.top(container, "waux")
        self.assertEqual(top["Titles"], ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"])
        self.assertEqual([p[10] for p in top["Processes"]], ["sleep 1000"])
        self.assertLessEqual({"read", "networks", "precpu_stats", "cpu_stats", "memory_stats", "blkio_stats"}, set(self.c.stats(container, stream=False)))
        gone = self.ended(["sh", "-c", "echo hello > /data.txt"])
        self.assertEqual(self.c.diff(gone), [{"Path": "/data.txt", "Kind": 1}])
        pruned = self.c.prune_containers()
        self.assertEqual(pruned["ContainersDeleted"], [gone])
        self.assertGreater(pruned["SpaceReclaimed"], 0)

    def test_health_checks_come_to_their_ends(self):
        for test, status in (("true", "healthy"), ("false", "unhealthy")):
            check = {"test": test, "interval": SECOND, "timeout": SECOND, "retries": 1}
            container = self.started("top", healthcheck=check)
            wait_for(lambda: self.c.inspect_container(container)["State"]["Health"]["Status"] == status, status)

    def test_a_long_stop_outlives_the_clients_patience(self):
        container = self.started(["sleep", "1000"])
        self.c.timeout = 1
        self.c.restart(container, timeout=3)
        self.c.stop(container, timeout=3)
        self.c.timeout = 100
        self.assertFalse(self.c.inspect_container(container)["State"]["Running"])

    # --- archives

    def test_archives(self):
        container = self.ended('sh -c "echo -n what > /vol1/data.txt"', volumes=["/vol1"])
        stream, stat = self.c.get_archive(container, "/vol1/data.txt")
        self.assertEqual((stat["name"], stat["size"]), ("data.txt", 4))
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
            self.assertEqual(tar.extractfile("data.txt").read(), b"what")
        container = self.made("ls -p /vol1", volumes=["/vol1"])
        self.assertTrue(self.c.put_archive(container, "/vol1", tar_of({"a.py": b"", "foo/b.py": b"x"})))
        self.c.start(container)
        self.c.wait(container)
        self.assertEqual(self.c.logs(container), b"a.py\nfoo/\n")

    # --- images

    def test_images_are_counted_committed_removed_imported_and_loaded(self):
        self.assertEqual(len({i["Id"] for i in self.c.images(all=True)}), self.c.info()["Images"])
        container = self.ended(["touch", "/test"])
        base = self.c.inspect_image("busybox")["Id"]
        image = self.c.commit(container, changes=["EXPOSE 8000", 'CMD ["bash"]'])["Id"]
        told = self.c.inspect_image(image)
        self.assertEqual((told["Parent"], told["Config"]["Cmd"]), (base, ["bash"]))
        self.assertIn("8000/tcp", told["Config"]["ExposedPorts"])
        self.assertIn({"Deleted": image}, self.c.remove_image(image, force=True))
        lines = self.c.import_image_from_data(tar_of({"testdata": b"A" * 500}), repository="test/bytes", changes=["USER foobar", 'CMD ["echo"]'])
        self.assertNotIn("error", lines)
        told = self.c.inspect_image("test/bytes")
        self.assertEqual((told["Config"]["Cmd"], told["Config"]["User"]), (["echo"], "foobar"))
        with tempfile.NamedTemporaryFile(dir=self.d.root) as archive:
            archive.write(tar_of({"testdata": b"A" * (512 << 10)}))
            archive.flush()
            for source in (archive.name, open(archive.name, "rb")):
                lines = self.c.import_image(src=source, repository="test/from-file", changes=["USER foobar"])
                status = json.loads(lines.splitlines()[-1])["status"]
                self.assertEqual((self.c.inspect_image(status)["Config"]["User"], self.c.inspect_image("test/from-file")["Id"]), ("foobar", status))
        self.assertIsInstance(self.c.images(quiet=True)[0], str)
        self.c.tag("busybox", "tagged.repo", "some-tag")
        saved = b"".join(self.c.get_image("tagged.repo:some-tag"))
        self.assertIn("Loaded image: tagged.repo:some-tag\n", [line.get("stream") for line in self.c.load_image(saved)])
        self.assertEqual([i["Id"] for i in self.c.images("tagged.repo:some-tag")], [base])
        self.c.remove_image("tagged.repo:some-tag")
        self.made("true")
        self.c.tag("test/bytes", "other", "1")
        self.c.remove_image("test/bytes")
        pruned = self.c.prune_images({"dangling": False})
        self.assertIn("other:1", [i.get("Untagged") for i in pruned["ImagesDeleted"]])
        self.assertGreater(pruned["SpaceReclaimed"], 0)

    # --- builds

    def test_builds_take_proxies_arguments_hosts_and_labels(self):
        self.c._proxy_configs = ProxyConfig(ftp="a", http="b", https="c", no_proxy="d")
        out = self.build("FROM busybox", 'RUN env | grep "FTP_PROXY=XXX"', 'RUN env | grep "ftp_proxy=a"', 'RUN env | grep "NO_PROXY=d"',
                         buildargs={"FTP_PROXY": "XXX"})
        self.assertIn("Successfully built", out[-1]["stream"])
        self.build("FROM scratch", "ARG test", "USER $test", tag="args", buildargs={"test": "OK"}, labels={"test": "OK"}, shmsize=1 << 27, isolation="default")
        told = self.c.inspect_image("args")["Config"]
        self.assertEqual((told["User"], told["Labels"]), ("OK", {"test": "OK"}))
        self.build("FROM busybox", "RUN ping -c1 hello.world.test", "RUN cp /etc/hosts /hosts-file", tag="hosts", extra_hosts={"hello.world.test": "127.0.0.1"})
        container = self.c.create_container("hosts", "cat /hosts-file")
        self.c.start(container)
        self.c.wait(container)
        self.assertIn(b"127.0.0.1\thello.world.test", self.c.logs(container))
        out = self.build("FROM busybox", "RUN sh -c \">&2 echo 'A temple'\"", nocache=True)
        self.assertIn("\x1b[91mA temple\n\x1b[0m", [line.get("stream") for line in out])

    def test_builds_use_what_cache_from_names(self):
        lines = ("FROM busybox", "ENV FOO=bar", "RUN touch baz", "RUN touch bax")
        used = lambda out: sum("Using cache" in line.get("stream", "") for line in out)  # noqa: E731
        self.build(*lines, tag="build1")
        self.assertEqual(used(self.build(*lines, tag="build2", cache_from=["build1"])), 3)
        self.c.remove_image("build2")
        self.assertEqual(used(self.build(*lines, tag="build2", cache_from=["nosuchtag"])), 0)

    def test_builds_stop_at_their_target_and_use_networks(self):
        self.build("FROM busybox as first", "RUN touch /x", "FROM busybox", "COPY --from=first /x .", "ONBUILD RUN echo no", target="first", tag="build1")
        self.assertFalse(self.c.inspect_image("build1")["Config"].get("OnBuild"))
        network = self.c.create_network("net")["Id"]
        container = self.started("top")
        self.c.connect_container_to_network(container, network, aliases=["pingtarget.docker"])
        out = self.build("FROM busybox", "RUN ping -c1 pingtarget.docker", network_mode=network, tag="onnet")
        self.assertIn("Successfully tagged onnet:latest", out[-1].get("stream", ""), out)
        out = self.build("FROM busybox", "RUN ping -c1 pingtarget.docker", network_mode="none", tag="nonet", nocache=True)
        self.assertEqual(out[-1]["errorDetail"]["code"], 1)
        with self.assertRaises(NotFound):
            self.c.inspect_image("nonet")

    def test_builds_obey_ignore_files(self):
        with tempfile.TemporaryDirectory() as base, tempfile.TemporaryDirectory() as other:
            os.makedirs(f"{base}/ignored/subdir")
            for name in ("not-ignored", "#file.txt", "ignored-with-spaces", "ignored/subdir/file", "ignored/subdir/excepted-file"):
                with open(f"{base}/{name}", "w") as f:
                    f.write("content")
            with open(f"{base}/.dockerignore", "w") as f:
                f.write("\n".join(["ignored", "Dockerfile", ".dockerignore", " ignored-with-spaces ", "!ignored/subdir/excepted-file", "   ", "\t\t", "#*"]))
            with open(f"{base}/Dockerfile", "w") as f:
                f.write("FROM busybox\nADD . /test")
            with open(f"{other}/Dockerfile", "w") as f:
                f.write("FROM busybox\nCOPY . /test\nWORKDIR /test")
            for dockerfile in ("Dockerfile", f"{other}/Dockerfile"):
                out = list(self.c.build(path=base, dockerfile=dockerfile, tag="ignore", gzip=True, decode=True))
                self.assertIn("Successfully tagged", out[-1].get("stream", ""), out)
                container = self.c.create_container("ignore", ["find", "/test", "-type", "f"])
                self.c.start(container)
                self.c.wait(container)
                self.assertEqual(sorted(self.c.logs(container).decode().split()),
                                 ["/test/#file.txt", "/test/ignored/subdir/excepted-file", "/test/not-ignored"])

    # --- networks and volumes

    def test_networks_are_told_as_they_were_asked_for(self):
        pool = {"subnet": "172.28.0.0/16", "iprange": "172.28.5.0/24", "gateway": "172.28.5.254", "aux_addresses": {"a": "172.28.1.5", "b": "172.28.1.6"}}
        one = self.c.create_network("one", ipam=IPAMConfig(driver="default", pool_configs=[IPAMPool(**pool)]), labels={"a": "b"}, internal=True)["Id"]
        told = self.c.inspect_network(one)
        self.assertIsNone(told["IPAM"].get("Options"))
        self.assertEqual(told["IPAM"]["Config"], [{"Subnet": pool["subnet"], "IPRange": pool["iprange"], "Gateway": pool["gateway"], "AuxiliaryAddresses": pool["aux_addresses"]}])
        self.assertEqual((told["Labels"], told["Internal"], told["Scope"], told["Attachable"]), ({"a": "b"}, True, "local", False))
        self.assertEqual([n["Id"] for n in self.c.networks(ids=[one[:8]])], [one])
        self.assertEqual(self.c.networks(names=["nobody"]), [])
        with self.assertRaises(APIError):
            self.c.create_network("one", check_duplicate=True)
        if self.version == "1.41":  # from 1.44 on it is always looked for
            self.c.remove_network(self.c.create_network("one", check_duplicate=False)["Id"])
        six = self.c.create_network("six", enable_ipv6=True, ipam=IPAMConfig(pool_configs=[IPAMPool(subnet="2001:389::1/64", iprange="2001:389::0/96", gateway="2001:389::ffff")]))["Id"]
        self.assertTrue(self.c.inspect_network(six)["EnableIPv6"])
        self.assertEqual(set(self.c.prune_networks()["NetworksDeleted"]), {"one", "six"})

    def test_containers_join_and_leave_networks(self):
        net = self.c.create_network("net", ipam=IPAMConfig(pool_configs=[IPAMPool(subnet="132.124.0.0/16")]))["Id"]
        container = self.started("top")
        inside = lambda: list((self.c.inspect_network(net).get("Containers") or {}))  # noqa: E731
        for force in (False, True):
            self.assertEqual(inside(), [])
            self.c.connect_container_to_network(container, net, aliases=["foo", "bar"], ipv4_address="132.124.0.23", link_local_ips=["169.254.8.9"])
            self.assertEqual(inside(), [container])
            told = self.c.inspect_container(container)["NetworkSettings"]["Networks"]["net"]
            self.assertLessEqual({"foo", "bar"}, set(told["Aliases"]))
            self.assertEqual(told["IPAMConfig"], {"IPv4Address": "132.124.0.23", "LinkLocalIPs": ["169.254.8.9"]})
            with self.assertRaises(APIError):
                self.c.connect_container_to_network(container, net)
            self.c.disconnect_container_from_network(container, net, force)
            with self.assertRaises(APIError):
                self.c.disconnect_container_from_network(container, net, force=force)
        narrow = self.c.create_network("narrow", ipam=IPAMConfig(pool_configs=[IPAMPool(subnet="172.28.0.0/16", iprange="172.28.5.0/24", gateway="172.28.5.254")]))["Id"]
        self.c.connect_container_to_network(container, narrow, ipv4_address="172.28.5.24")
        self.assertEqual(self.c.inspect_container(container)["NetworkSettings"]["Networks"]["narrow"]["IPAMConfig"]["IPv4Address"], "172.28.5.24")
        made = self.c.create_container("busybox", "top", networking_config=self.c.create_networking_config(
            {"bridge": self.c.create_endpoint_config(link_local_ips=["169.254.8.8"])}), host_config=self.c.create_host_config(network_mode="bridge"))
        self.c.start(made)
        self.assertEqual(self.c.inspect_container(made)["NetworkSettings"]["Networks"]["bridge"]["IPAMConfig"]["LinkLocalIPs"], ["169.254.8.8"])

    def test_ipv6_addresses_are_given(self):
        self.c.create_network("six", ipam=IPAMConfig(driver="default", pool_configs=[IPAMPool(subnet="2001:389::1/64")]))
        made = self.c.create_container("busybox", "top", host_config=self.c.create_host_config(network_mode="six"), networking_config=self.c.create_networking_config(
            {"six": self.c.create_endpoint_config(ipv6_address="2001:389::f00d")}))
        self.c.start(made)
        self.assertEqual(self.c.inspect_container(made)["NetworkSettings"]["Networks"]["six"]["IPAMConfig"], {"IPv6Address": "2001:389::f00d"})
        self.c.disconnect_container_from_network(made, "six")
        self.c.connect_container_to_network(made, "six", ipv6_address="2001:389::f00e")
        self.assertEqual(self.c.inspect_container(made)["NetworkSettings"]["Networks"]["six"]["IPAMConfig"], {"IPv6Address": "2001:389::f00e"})

    def test_links_on_a_network_come_to_life_with_their_container(self):
        self.c.create_network("net")
        config = self.c.create_networking_config({"net": self.c.create_endpoint_config(links=[("upstream", "bar")])})
        made = self.c.create_container("busybox", "top", host_config=self.c.create_host_config(network_mode="net"), networking_config=config)["Id"]
        self.c.start(made)
        self.assertEqual(self.c.inspect_container(made)["NetworkSettings"]["Networks"]["net"]["Links"], ["upstream:bar"])
        self.started("top", name="upstream", h_network_mode="net")
        lookup = self.c.exec_create(made, ["nslookup", "bar"])
        out = self.c.exec_start(lookup)
        self.assertEqual(self.c.exec_inspect(lookup)["ExitCode"], 0, out)
        self.c.disconnect_container_from_network(made, "net")
        self.c.connect_container_to_network(made, "net", links=[("upstream", "bar")])
        self.assertEqual(self.c.inspect_container(made)["NetworkSettings"]["Networks"]["net"]["Links"], ["upstream:bar"])

    def test_network_containers_of_the_high_level_client(self):
        network = self.high.networks.create("net")
        container = self.high.containers.create("busybox", "sleep 1000")
        network.connect(container)
        container.start()
        self.assertEqual(self.high.networks.get(network.id).containers, [container])
        self.assertEqual([c for n in self.high.networks.list(ids=[network.id], greedy=True) for c in n.containers], [container])
        network.disconnect(container)
        self.assertEqual(self.high.networks.get(network.id).containers, [])

    def test_volumes(self):
        told = self.c.create_volume("named")
        self.assertEqual((told, self.c.volumes()["Volumes"]), (self.c.inspect_volume("named"), [told]))
        self.c.remove_volume("named", force=True)
        with self.assertRaises(NotFound):
            self.c.inspect_volume("named")
        anonymous = self.c.create_volume()["Name"]
        self.assertIn(anonymous, self.c.prune_volumes()["VolumesDeleted"])

    # --- the rest

    def test_plugins_that_are_not_there(self):
        """As dockerd answers that reaches no registry; nothing of what is there needs one."""
        self.assertEqual(self.c.plugins(), [])
        for ask in (self.c.inspect_plugin, self.c.enable_plugin, self.c.disable_plugin, self.c.remove_plugin, lambda name: self.c.remove_plugin(name, force=True),
                    lambda name: self.c.configure_plugin(name, {"DEBUG": "1"})):
            with self.assertRaises(NotFound) as raised:
                ask("vieux/sshfs:latest")
            self.assertEqual(raised.exception.explanation, 'plugin "vieux/sshfs:latest" not found')
        for ask in (self.c.plugin_privileges, lambda name: list(self.c.pull_plugin(name, [])), lambda name: list(self.c.upgrade_plugin(name, name, []))):
            with self.assertRaises(APIError):
                ask("vieux/sshfs:latest")

    def test_the_system(self):
        self.assertLessEqual({"GoVersion", "Version"}, set(self.c.version()))
        self.assertLessEqual({"Containers", "Images", "Debug", "ExperimentalBuild", "ID", "Name"}, set(self.c.info()))
        auto = docker.APIClient(base_url=f"unix://{self.d.socket}", version="auto")
        self.assertEqual(auto.version(api_version=False)["ApiVersion"], auto._version)
        auto.close()
        self.assertTrue(self.c.leave_swarm(force=True))
        node = self.c.init_swarm("127.0.0.1")
        self.assertEqual([n["ID"] for n in self.c.nodes()], [node])
        secret = self.c.create_secret("s", b"told to nobody")
        spec = docker.types.TaskTemplate(docker.types.ContainerSpec("busybox", ["sleep", "100000"], stop_signal="KILL"))
        made = self.c.create_service(spec, name="web", mode=docker.types.ServiceMode("replicated", 2))
        wait_for(lambda: [t["Status"]["State"] for t in self.c.tasks({"service": "web"})] == ["running"] * 2, "two tasks")
        shown = self.c.inspect_service(made)
        self.assertTrue(self.c.update_service(made["ID"], shown["Version"]["Index"], spec, name="web", mode=docker.types.ServiceMode("replicated", 1)))
        wait_for(lambda: len(self.c.tasks({"service": "web", "desired-state": "running"})) == 1, "one task")
        self.assertTrue(self.c.remove_secret(secret) and self.c.remove_service(made["ID"]))
        self.assertTrue(self.c.leave_swarm(force=True))
        self.assertIsInstance(self.c.prune_builds()["SpaceReclaimed"], int)


class DockerPyIn141(Api, Story):
    """The version that Debian's docker-py speaks by itself."""
    version = "1.41"


class DockerPyInTheNewest(Api, Story):
    version = "auto"
