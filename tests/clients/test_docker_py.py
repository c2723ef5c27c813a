"""docker-py, Debian's python3-docker: what programs in Python do with Docker."""
import io
import os
import socket
import tarfile
import threading
import unittest

from harness import Story, busybox_root_tar, wait_for

try:
    import docker
    from docker.errors import APIError, BuildError, ContainerError, ImageNotFound, NotFound
except ImportError:
    docker = None


def tar_of(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o640
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


class DockerPy(Story):
    @classmethod
    def setUpClass(cls):
        if docker is None:
            raise unittest.SkipTest("needs python3-docker")
        super().setUpClass()
        cls.client = docker.DockerClient(base_url=f"unix://{cls.drover_.socket}", version="auto", timeout=100)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        super().tearDownClass()

    def tearDown(self):
        for container in self.client.containers.list(all=True):
            container.remove(force=True, v=True)
        self.client.networks.prune()
        self.client.volumes.prune()

    def sleeper(self, **options):
        return self.client.containers.run("busybox", ["sleep", "1000"], detach=True, stop_signal="SIGKILL", **options)

    # --- system

    def test_ping_version_info_and_df(self):
        self.assertTrue(self.client.ping())
        version = self.client.version()
        self.assertEqual((version["Os"], version["Arch"]), ("linux", {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine)))
        info = self.client.info()
        self.assertEqual(info["OSType"], "linux")
        self.assertEqual(info["Images"], len(self.client.images.list(all=True)))
        self.assertLessEqual({"BuildCache", "Containers", "Images", "LayersSize", "Volumes"}, set(self.client.df()))

    # --- containers

    def test_run_gives_the_output_and_raises_what_failed(self):
        self.assertEqual(self.client.containers.run("busybox", "echo hello world", remove=True), b"hello world\n")
        self.assertEqual(self.client.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"], stderr=True, remove=True), b"out\nerr\n")
        with self.assertRaises(ContainerError) as raised:
            self.client.containers.run("busybox", ["sh", "-c", "echo why >&2; exit 7"])
        self.assertEqual((raised.exception.exit_status, raised.exception.stderr), (7, b"why\n"))
        with self.assertRaises(ImageNotFound):
            self.client.containers.create("no/such-image", "true")

    def test_what_is_asked_is_what_inspect_tells(self):
        network = self.client.networks.create("asked")
        try:
            container = self.client.containers.create(
                "busybox", ["sleep", "1000"], name="asked", hostname="box", domainname="example", user="1000:1000", environment={"A": "1", "B": "x y"},
                working_dir="/tmp", labels=["plain", "other"], mem_limit="64m", memswap_limit="64m", mem_reservation="32m", cpu_shares=512,
                cpu_period=100000, cpu_quota=50000, pids_limit=99, cap_add=["NET_ADMIN"], cap_drop=["MKNOD"], dns=["10.99.0.1"],
                dns_search=["example.org"], extra_hosts={"here": "10.99.0.2"}, read_only=True, tmpfs={"/scratch": "size=1m"}, shm_size="2m",
                ulimits=[docker.types.Ulimit(name="nofile", soft=100, hard=200)], sysctls={"net.ipv4.ip_forward": "1"},
                restart_policy={"Name": "on-failure", "MaximumRetryCount": 3}, volumes={self.d.root: {"bind": "/host", "mode": "ro"}},
                mounts=[docker.types.Mount("/vol", "asked-volume"), docker.types.Mount("/mem", None, type="tmpfs", tmpfs_size=1 << 20)],
                ports={"80/tcp": None, "53/udp": ("127.0.0.1", 18053)}, network="asked", stop_signal="SIGINT", oom_score_adj=100,
                security_opt=["no-new-privileges"], ipc_mode="private", init=False, tty=True, stdin_open=True, device_cgroup_rules=["c 1:3 r"],
                log_config=docker.types.LogConfig(type="json-file", config={"max-size": "1m", "max-file": "2"}))
            host, config = container.attrs["HostConfig"], container.attrs["Config"]
            self.assertEqual(config["Env"][:2], ["A=1", "B=x y"])
            self.assertEqual(config["Labels"], {"plain": "", "other": ""})
            self.assertEqual((config["Hostname"], config["Domainname"], config["User"], config["StopSignal"]), ("box", "example", "1000:1000", "SIGINT"))
            self.assertEqual((host["Memory"], host["MemorySwap"], host["MemoryReservation"], host["CpuShares"]), (64 << 20, 64 << 20, 32 << 20, 512))
            self.assertEqual((host["CpuPeriod"], host["CpuQuota"], host["PidsLimit"], host["ShmSize"]), (100000, 50000, 99, 2 << 20))
            self.assertEqual((host["CapAdd"], host["CapDrop"]), (["NET_ADMIN"], ["MKNOD"]))
            self.assertEqual((host["Dns"], host["DnsSearch"], host["ExtraHosts"]), (["10.99.0.1"], ["example.org"], ["here:10.99.0.2"]))
            self.assertEqual(host["Ulimits"], [{"Name": "nofile", "Soft": 100, "Hard": 200}])
            self.assertEqual(host["RestartPolicy"], {"Name": "on-failure", "MaximumRetryCount": 3})
            self.assertEqual(host["LogConfig"], {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}})
            self.assertEqual(host["PortBindings"]["53/udp"], [{"HostIp": "127.0.0.1", "HostPort": "18053"}])
            self.assertEqual(sorted(m["Destination"] for m in container.attrs["Mounts"]), ["/host", "/mem", "/vol"])
            self.assertEqual(list(container.attrs["NetworkSettings"]["Networks"]), ["asked"])
            container.start()
            container.reload()
            self.assertEqual(container.status, "running")
            self.assertEqual(len(container.ports["80/tcp"]), 1)
            container.remove(force=True, v=True)
        finally:
            network.remove()
            self.client.volumes.get("asked-volume").remove()

    def test_a_container_is_stopped_killed_paused_renamed_restarted_and_waited_for(self):
        container = self.client.containers.run("busybox", ["sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done"], detach=True)
        wait_for(lambda: container.logs() == b"up\n", "the line")
        container.pause()
        container.reload()
        self.assertEqual(container.status, "paused")
        container.unpause()
        container.rename("renamed")
        self.assertEqual(self.client.containers.get("renamed").id, container.id)
        container.stop(timeout=60)
        self.assertEqual(container.wait()["StatusCode"], 5)
        container.start()
        container.reload()
        self.assertEqual(container.status, "running")
        container.kill("SIGKILL")
        self.assertEqual(container.wait(condition="not-running")["StatusCode"], 137)
        container.restart(timeout=0)
        container.update(mem_limit="48m", memswap_limit="48m")
        container.reload()
        self.assertEqual(container.attrs["HostConfig"]["Memory"], 48 << 20)

    def test_list_filters_find_what_they_should(self):
        one = self.sleeper(name="one", labels={"role": "web", "tier": "1"})
        two = self.client.containers.create("busybox", "true", name="two", labels={"role": "db"})
        names = lambda **filters: sorted(c.name for c in self.client.containers.list(all=True, filters=filters))  # noqa: E731
        self.assertEqual([c.name for c in self.client.containers.list()], ["one"])
        self.assertEqual(names(label="role"), ["one", "two"])
        self.assertEqual(names(label=["role=web", "tier=1"]), ["one"])
        self.assertEqual(names(status="created"), ["two"])
        self.assertEqual(names(id=one.id), ["one"])
        self.assertEqual(names(name="tw"), ["two"])
        self.assertEqual(names(ancestor="busybox"), ["one", "two"])
        self.assertEqual(names(before="two"), ["one"])
        self.assertEqual(names(since="one"), ["two"])
        self.assertEqual([c.id for c in self.client.containers.list(all=True, limit=1)], [two.id])

    def test_top_stats_diff_commit_and_export(self):
        container = self.sleeper(name="watched")
        top = container.top()
        self.assertIn("sleep 1000", top["Processes"][0][top["Titles"].index("CMD")])
        one = container.stats(stream=False)
        self.assertEqual(one["id"], container.id)
        self.assertGreater(one["memory_stats"]["usage"], 0)
        stream = container.stats(stream=True, decode=True)
        self.assertEqual([next(stream)["name"] for _ in range(2)], ["/watched", "/watched"])
        container.exec_run("touch /new")
        self.assertIn({"Path": "/new", "Kind": 1}, container.diff())
        image = container.commit(repository="committed", tag="1", message="why", author="who", changes=["ENV X=1", 'CMD ["ls", "/new"]'])
        self.assertIn("X=1", image.attrs["Config"]["Env"])
        self.assertEqual(self.client.containers.run("committed:1", remove=True), b"/new\n")
        with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as tar:
            self.assertIn("new", tar.getnames())
        self.client.images.remove("committed:1")

    def test_a_health_check_turns_healthy_and_unhealthy(self):
        check = docker.types.Healthcheck(test=["CMD-SHELL", "test -e /well"], interval=50_000_000, timeout=10_000_000_000, retries=2)
        container = self.sleeper(name="patient", healthcheck=check)
        state = lambda: (container.reload(), container.attrs["State"]["Health"]["Status"])[1]  # noqa: E731
        wait_for(lambda: state() == "unhealthy", "the container to be unhealthy")
        container.exec_run("touch /well")
        wait_for(lambda: state() == "healthy", "the container to be healthy")
        self.assertEqual(container.attrs["State"]["Health"]["Log"][-1]["ExitCode"], 0)

    # --- streams

    def test_logs_are_read_whole_followed_cut_and_stamped(self):
        container = self.client.containers.run("busybox", ["sh", "-c", "for i in 1 2 3; do echo line $i; done; echo bad >&2"], detach=True)
        container.wait()
        self.assertEqual(container.logs(stderr=False), b"line 1\nline 2\nline 3\n")
        self.assertEqual(container.logs(stdout=False), b"bad\n")
        self.assertEqual(container.logs(tail=2), b"line 3\nbad\n")
        self.assertEqual(b"".join(container.logs(stream=True, follow=True, stderr=False)), b"line 1\nline 2\nline 3\n")
        self.assertRegex(container.logs(timestamps=True, tail=2, stderr=False), rb"^\d{4}-\d\d-\d\dT[\d:.]+Z line 3\n$")
        self.assertEqual(container.logs(until=1), b"")
        self.assertEqual(container.logs(since=4000000000), b"")

    def test_exec_gives_code_output_streams_and_takes_input(self):
        container = self.sleeper()
        self.assertEqual(tuple(container.exec_run(["sh", "-c", "echo $A; pwd; id -u; exit 3"], environment={"A": "b"}, workdir="/tmp", user="1000")),
                         (3, b"b\n/tmp\n1000\n"))
        out = container.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
        self.assertEqual(out.output, (b"o\n", b"e\n"))
        stream = container.exec_run(["sh", "-c", "echo 1; echo 2"], stream=True).output
        self.assertEqual(b"".join(stream), b"1\n2\n")
        api = self.client.api
        made = api.exec_create(container.id, ["cat"], stdin=True)
        sock = api.exec_start(made["Id"], socket=True)
        sock._sock.sendall(b"through cat\n")
        sock._sock.shutdown(socket.SHUT_WR)
        got = b""
        while chunk := sock._sock.recv(4096):
            got += chunk
        self.assertEqual(got, b"\x01\0\0\0\0\0\0\x0cthrough cat\n")
        sock.close()
        self.assertEqual(api.exec_inspect(made["Id"])["ExitCode"], 0)
        with self.assertRaises(NotFound):
            api.exec_start("no-such-exec")
        terminal = container.exec_run(["tty"], tty=True)
        self.assertEqual(terminal.exit_code, 0)
        self.assertRegex(terminal.output, rb"^/dev/pts/\d+\r\n$")

    def test_attach_passes_input_and_output(self):
        container = self.client.containers.create("busybox", "cat", stdin_open=True)
        sock = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        container.start()
        sock._sock.sendall(b"hello\n")
        got = b""
        while len(got) < 14:
            got += sock._sock.recv(14 - len(got))
        self.assertEqual(got, b"\x01\0\0\0\0\0\0\x06hello\n")
        sock.close()
        plain = self.client.containers.create("busybox", ["sh", "-c", "echo said"])
        stream = plain.attach(stream=True, logs=True)
        plain.start()
        self.assertEqual(b"".join(stream), b"said\n")

    def test_resize_reaches_the_terminal(self):
        container = self.client.containers.run("busybox", ["sh", "-c", "trap 'stty size' WINCH; echo up; while :; do sleep 0.05; done"], tty=True, detach=True)
        wait_for(lambda: b"up" in container.logs(), "the shell")
        container.resize(33, 99)
        wait_for(lambda: b"33 99" in container.logs(), "the new size")

    def test_an_archive_goes_in_and_comes_out(self):
        container = self.client.containers.create("busybox", ["cat", "/tmp/in"])
        self.assertTrue(container.put_archive("/tmp", tar_of({"in": b"carried in"})))
        container.start()
        container.wait()
        self.assertEqual(container.logs(), b"carried in")
        stream, stat = container.get_archive("/tmp/in")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
            self.assertEqual(tar.extractfile("in").read(), b"carried in")
        self.assertEqual((stat["name"], stat["size"], stat["mode"]), ("in", 10, 0o640))
        with self.assertRaises(NotFound):
            container.get_archive("/no/such")
        with self.assertRaises(NotFound):
            container.put_archive("/no/such", tar_of({"in": b""}))

    def test_events_come_in_order_with_their_attributes(self):
        events = self.client.events(decode=True, filters={"label": "watched=yes"})
        seen = []
        reader = threading.Thread(target=lambda: [seen.append(e) or (e["Action"] == "destroy" and events.close()) for e in events], daemon=True)
        reader.start()
        container = self.client.containers.run("busybox", ["sh", "-c", "exit 4"], name="seen", labels={"watched": "yes"}, detach=True)
        container.wait()
        container.remove()
        wait_for(lambda: seen and seen[-1]["Action"] == "destroy", "the last event")
        self.assertEqual([e["Action"] for e in seen], ["create", "start", "die", "destroy"])
        self.assertEqual({e["Type"] for e in seen}, {"container"})
        self.assertEqual(seen[2]["Actor"]["Attributes"]["exitCode"], "4")
        self.assertEqual({(e["Actor"]["Attributes"]["name"], e["Actor"]["Attributes"]["image"], e["id"]) for e in seen}, {("seen", "busybox", container.id)})
        events.close()
        reader.join(60)

    # --- images

    def test_build_streams_and_fails_as_an_exception(self):
        context = tar_of({"Dockerfile": b"FROM busybox\nARG WHO=nobody\nLABEL made=here\nCOPY file /file\nRUN echo for $WHO > /who\nCMD [\"cat\", \"/who\", \"/file\"]\n", "file": b"copied\n"})
        image, log = self.client.images.build(fileobj=io.BytesIO(context), custom_context=True, tag="built:1", buildargs={"WHO": "me"}, labels={"extra": "1"}, rm=True)
        said = "".join(line.get("stream", "") for line in log)
        self.assertIn("Step 1/7 : FROM busybox", said)
        self.assertIn("Successfully built", said)
        self.assertEqual(image.labels, {"made": "here", "extra": "1"})
        self.assertEqual(self.client.containers.run("built:1", remove=True), b"for me\ncopied\n")
        with self.assertRaises(BuildError) as raised:
            self.client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 9\n"), rm=True)
        self.assertRegex(str(raised.exception), "(non-zero code:|exited with) 9")
        with self.assertRaises(APIError):
            self.client.images.build(fileobj=io.BytesIO(b"NONSENSE\n"))
        self.client.images.remove("built:1")

    def test_images_are_listed_tagged_saved_loaded_imported_and_removed(self):
        image = self.client.images.get("busybox")
        self.assertTrue(image.tag("other/name", "v2"))
        image.reload()
        self.assertEqual(sorted(image.tags), ["busybox:latest", "other/name:v2"])
        self.assertEqual([i.id for i in self.client.images.list("other/name")], [image.id])
        self.assertEqual([i.id for i in self.client.images.list(filters={"reference": "other/*"})], [image.id])
        saved = b"".join(self.client.images.get("other/name:v2").save(named="other/name:v2"))
        self.client.images.remove("other/name:v2")
        with self.assertRaises(ImageNotFound):
            self.client.images.get("other/name:v2")
        self.assertEqual(self.client.images.load(saved)[0].id, image.id)
        self.client.images.remove("other/name:v2")
        self.client.api.import_image_from_data(busybox_root_tar(), repository="imported", tag="1", changes=["LABEL a=b"])
        imported = self.client.images.get("imported:1")
        self.assertEqual(imported.labels, {"a": "b"})
        self.assertEqual(len(imported.history()), 1)
        self.client.images.remove(imported.id)
        with self.assertRaises(ImageNotFound):
            self.client.images.remove("imported:1")
        self.assertEqual(self.client.images.prune()["SpaceReclaimed"], 0)

    # --- networks and volumes

    def test_containers_meet_on_a_network_by_name_and_alias(self):
        pool = docker.types.IPAMPool(subnet="10.99.7.0/24", gateway="10.99.7.1")
        network = self.client.networks.create("meeting", driver="bridge", labels={"for": "test"}, ipam=docker.types.IPAMConfig(pool_configs=[pool]))
        self.assertEqual(network.attrs["IPAM"]["Config"][0]["Subnet"], "10.99.7.0/24")
        self.assertEqual([n.name for n in self.client.networks.list(filters={"label": "for=test"})], ["meeting"])
        server = self.sleeper(name="server", network="meeting")
        late = self.sleeper(name="late")
        network.connect(late, aliases=["alias"], ipv4_address="10.99.7.77")
        network.reload()
        self.assertEqual(sorted(c.name for c in network.containers), ["late", "server"])
        self.assertEqual(server.exec_run("ping -c 1 -W 5 alias").exit_code, 0)
        late.reload()
        self.assertEqual(late.attrs["NetworkSettings"]["Networks"]["meeting"]["IPAddress"], "10.99.7.77")
        with self.assertRaises(APIError) as raised:
            network.remove()
        self.assertEqual(raised.exception.status_code, 403)
        network.disconnect(late)
        late.reload()
        self.assertEqual(list(late.attrs["NetworkSettings"]["Networks"]), ["bridge"])
        server.remove(force=True)
        network.remove()
        with self.assertRaises(NotFound):
            self.client.networks.get("meeting")

    def test_a_volume_keeps_what_containers_write(self):
        volume = self.client.volumes.create("kept", labels={"for": "test"})
        self.assertEqual((volume.name, volume.attrs["Driver"], volume.attrs["Labels"]), ("kept", "local", {"for": "test"}))
        self.client.containers.run("busybox", ["sh", "-c", "echo kept > /data/file"], volumes={"kept": {"bind": "/data", "mode": "rw"}}, remove=True)
        self.assertEqual(self.client.containers.run("busybox", "cat /data/file", volumes=["kept:/data:ro"], remove=True), b"kept\n")
        user = self.sleeper(volumes=["kept:/data"])
        with self.assertRaises(APIError) as raised:
            volume.remove()
        self.assertEqual(raised.exception.status_code, 409)
        user.remove(force=True)
        self.assertEqual([v.name for v in self.client.volumes.list(filters={"dangling": True})], ["kept"])
        volume.remove()
        with self.assertRaises(NotFound):
            self.client.volumes.get("kept")

    # --- errors

    def test_errors_are_the_exceptions_that_programs_catch(self):
        for ask in (lambda: self.client.containers.get("nobody"), lambda: self.client.volumes.get("nobody"), lambda: self.client.networks.get("nobody")):
            with self.assertRaises(NotFound):
                ask()
        self.sleeper(name="taken")
        with self.assertRaises(APIError) as raised:
            self.client.containers.create("busybox", "true", name="taken")
        self.assertEqual(raised.exception.status_code, 409)
        self.assertIn("is already in use by container", raised.exception.explanation)
        with self.assertRaises(APIError) as raised:
            self.client.containers.create("busybox", "true", name="bad name")
        self.assertEqual(raised.exception.status_code, 400)
        with self.assertRaises(APIError) as raised:
            self.client.containers.get("taken").remove()
        self.assertEqual(raised.exception.status_code, 409)
        with self.assertRaises(APIError) as raised:
            self.client.containers.run("busybox", "no-such-program", remove=True)
        self.assertIn("no-such-program", raised.exception.explanation)
        self.assertEqual(raised.exception.status_code, 400)

    def test_prune_removes_what_is_stopped_and_tells_it(self):
        self.sleeper(name="alive")
        dead = self.client.containers.create("busybox", "true", name="dead")
        self.assertEqual(self.client.containers.prune()["ContainersDeleted"], [dead.id])
        self.assertEqual([c.name for c in self.client.containers.list(all=True)], ["alive"])
        self.client.networks.create("unused")
        self.assertEqual(self.client.networks.prune()["NetworksDeleted"], ["unused"])
        self.client.volumes.create(name=None)
        self.assertEqual(len(self.client.volumes.prune()["VolumesDeleted"]), 1)
