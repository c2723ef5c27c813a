"""docker-py's high-level client: what its own integration tests ask of its models, told anew in two versions of the API."""
import datetime
import io
import threading
import warnings

from docker_py import Cleaned, docker
from harness import Story

try:
    from docker.errors import APIError, BuildError, ContainerError, DockerException, ImageLoadError, ImageNotFound
    from docker.utils.proxy import ProxyConfig
except ImportError:
    pass  # and Cleaned skips


class Models(Cleaned):
    def sleeper(self, **options):
        return self.high.containers.run("busybox", "sleep 300", detach=True, **options)

    def test_runs_give_output_errors_and_containers(self):
        run = self.high.containers.run
        self.assertEqual(run("busybox", "echo hello world", remove=True), b"hello world\n")
        self.assertEqual(run("busybox", "echo hello", log_config={"type": "json-file"}), b"hello\n")
        with self.assertRaises(ContainerError) as raised:
            run("busybox", "cat /test", remove=True)
        self.assertEqual(raised.exception.exit_status, 1)
        self.assertIn("No such file or directory", str(raised.exception))
        with self.assertRaises(ImageNotFound):
            self.high.images.get("dockerpytest_does_not_exist")
        attrs = self.sleeper().attrs
        self.assertEqual((attrs["Config"]["Image"], attrs["Config"]["Cmd"]), ("busybox", ["sleep", "300"]))
        self.high.api._proxy_configs = ProxyConfig(ftp="sakuya.jp:4967")
        self.assertLessEqual({b"FTP_PROXY=sakuya.jp:4967", b"ftp_proxy=sakuya.jp:4967"}, set(run("busybox", 'sh -c "env"').splitlines()))

    def test_volumes_of_runs(self):
        for source in (self.d.root, "somevolume"):
            self.high.containers.run("busybox", "sh -c 'echo hello > /insidecontainer/test'", volumes=[f"{source}:/insidecontainer"], detach=True).wait()
            self.assertEqual(self.high.containers.run("busybox", "cat /insidecontainer/test", volumes=[f"{source}:/insidecontainer"]), b"hello\n")

    def test_networks_of_runs(self):
        self.high.networks.create("net")
        attrs = self.high.containers.run("busybox", "echo hello world", network="net", detach=True).attrs
        self.assertEqual(list(attrs["NetworkSettings"]["Networks"]), ["net"])
        endpoint = lambda: self.c.create_endpoint_config(aliases=["hello"])  # noqa: E731
        asked = {"net": endpoint()}
        asked["net"]["DriverOpts"] = {"key1": "a"}
        made = self.c.create_container("busybox", "echo hello world", host_config=self.c.create_host_config(network_mode="net"),
                                       networking_config=self.c.create_networking_config(asked))
        told = self.c.inspect_container(made)["NetworkSettings"]["Networks"]
        self.assertEqual((list(told), told["net"]["DriverOpts"]), (["net"], {"key1": "a"}))
        self.assertEqual(told["net"]["Aliases"], ["hello"] if self.version == "auto" else ["hello", made["Id"][:12]])
        with self.assertRaises(APIError):  # of a network that is not there: from 1.44 on at the start
            self.c.start(self.c.create_container("busybox", "true", host_config=self.c.create_host_config(network_mode="net"),
                                                 networking_config=self.c.create_networking_config({"net": endpoint(), "bar": endpoint()})))

    def test_lists_know_containers_whole_and_sparse(self):
        container = self.sleeper()
        for options, image in (({}, lambda c: c.attrs["Config"]["Image"]), ({"sparse": True}, lambda c: c.attrs["Image"])):
            listed = self.high.containers.list(**options)
            self.assertEqual([(c.id, image(c), c.status, c.image) for c in listed], [(container.id, "busybox", "running", self.high.images.get("busybox"))])
        with self.assertRaises(DockerException):
            listed[0].labels  # a sparse one has them not
        container.kill()
        container.remove()
        self.assertEqual(self.high.containers.list(all=True), [])

    def test_containers_go_through_their_states(self):
        container = self.high.containers.create("busybox", "sleep 50")
        self.assertEqual(container.status, "created")
        for change, status in ((container.start, "running"), (container.pause, "paused"), (container.unpause, "running"), (container.kill, "exited"),
                               (container.restart, "running"), (lambda: container.stop(timeout=1), "exited")):
            change()
            container.reload()
            self.assertEqual(container.status, status)
        first = container.attrs["State"]["StartedAt"]
        container.start()
        self.assertEqual(container.attrs["State"]["StartedAt"], first)
        container.reload()
        self.assertNotEqual(container.attrs["State"]["StartedAt"], first)
        for code in (0, 1):
            self.assertEqual(self.high.containers.run("busybox", f"sh -c 'exit {code}'", detach=True).wait()["StatusCode"], code)

    def test_containers_are_committed_asked_and_updated(self):
        container = self.high.containers.run("busybox", "sh -c 'echo \"hello\" > /test'", detach=True)
        container.wait()
        self.assertEqual(container.diff(), [{"Path": "/test", "Kind": 1}])
        image = container.commit()
        self.assertEqual(self.high.containers.run(image.id, "cat /test", remove=True), b"hello\n")
        self.high.images.remove(image.id)
        container = self.high.containers.run("busybox", "sh -c 'echo \"hello\" > /test; sleep 60'", detach=True, cpu_shares=2)
        self.assertEqual(tuple(container.exec_run("cat /test")), (0, b"hello\n"))
        self.assertEqual(container.attrs["HostConfig"]["CpuShares"], 2)
        container.update(cpu_shares=3)
        container.reload()
        self.assertEqual(container.attrs["HostConfig"]["CpuShares"], 3)
        container = self.sleeper()
        self.assertEqual([("sleep 300" in p) for p in container.top()["Processes"]], [True])

    def test_ports_are_published_as_they_were_asked_for(self):
        for asked, want in ((None, None), (("127.0.0.1", 18111), {("127.0.0.1", "18111")}), ([18234, 18567], {("0.0.0.0", "18234"), ("0.0.0.0", "18567")})):
            container = self.sleeper(ports={"2222/tcp": asked})
            container.reload()
            self.assertEqual(list(container.ports), ["2222/tcp"])
            got = container.ports["2222/tcp"]
            self.assertEqual([(sorted(p), int(p["HostPort"]) > 0) for p in got], [(["HostIp", "HostPort"], True)] * len(got))
            self.assertLessEqual(want or set(), {(p["HostIp"], p["HostPort"]) for p in got})
            container.remove(force=True)

    def test_images_are_built_listed_tagged_and_removed(self):
        for command in ("hello world", "Successfully built abcd1234"):
            image, _ = self.high.images.build(tag="some-tag", fileobj=io.BytesIO(f"FROM busybox\nCMD echo {command}".encode()))
            self.assertEqual(self.high.containers.run(image, remove=True), f"{command}\n".encode())
        with self.assertRaises(BuildError) as raised:
            self.high.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 1"))
        self.assertIn("The command '/bin/sh -c exit 1' returned a non-zero code: 1", str(raised.exception))
        self.assertTrue(raised.exception.build_log)
        busybox, ids = self.high.images.get("busybox"), lambda *name: [i.id for i in self.high.images.list(*name)]
        busybox.tag("dockersdk.tests.images.test_tag", "some-tag")
        for name in ("dockersdk.tests.images.test_tag", "dockersdk.tests.images.test_tag:some-tag", "busybox", "busybox:latest"):
            self.assertEqual(ids(name), [busybox.id])
        self.high.images.remove("dockersdk.tests.images.test_tag:some-tag")
        self.assertEqual((ids("dockersdk.tests.images.test_tag"), busybox.id in ids()), ([], True))

    def test_images_are_saved_and_loaded(self):
        busybox = self.high.images.get("busybox")
        for named in (False, True, "busybox:latest"):
            loaded = self.high.images.load(b"".join(busybox.save(named=named)))
            self.assertEqual([i.id for i in loaded], [busybox.id])
            self.assertEqual(loaded[0].tags, ["busybox:latest"])
        with self.assertRaises(ImageLoadError):
            self.high.images.load(b"abc")

    def test_networks_and_volumes_are_made_found_and_removed(self):
        network = self.high.networks.create("net", labels={"foo": "bar"})
        self.assertEqual((network.name, network.attrs["Labels"], self.high.networks.get(network.id).name), ("net", {"foo": "bar"}, "net"))
        for found, options in ((True, {}), (False, {"ids": ["fdhjklfdfdshjkfds"]}), (True, {"ids": [network.id]}), (False, {"names": ["fdshjklfd"]}), (True, {"names": ["net"]})):
            self.assertEqual(network.id in [n.id for n in self.high.networks.list(**options)], found)
        network.remove()
        self.assertNotIn(network.id, [n.id for n in self.high.networks.list()])
        volume = self.high.volumes.create("dockerpytest_1", driver="local", labels={"labelkey": "labelvalue"})
        self.assertEqual((volume.id, volume.name, volume.attrs["Labels"]), ("dockerpytest_1", "dockerpytest_1", {"labelkey": "labelvalue"}))
        self.assertEqual(self.high.volumes.list(filters={"name": "dockerpytest_"}), [self.high.volumes.get(volume.id)])
        self.assertEqual(self.high.volumes.list(filters={"name": "foobar"}), [])
        volume.remove()
        self.assertEqual(self.high.volumes.list(), [])

    def test_events_are_given_up_before_they_end(self):
        begun = datetime.datetime.now()
        events = self.high.events(until=begun + datetime.timedelta(seconds=60))
        threading.Timer(0.5, events.close).start()
        self.assertEqual(list(events), [])
        self.assertLess(datetime.datetime.now() - begun, datetime.timedelta(seconds=30))

    def test_a_client_leaves_nothing_open(self):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            client = docker.APIClient(version="auto", base_url=f"unix://{self.d.socket}")
            client.images()
            client.close()
            del client
        self.assertEqual([str(w.message) for w in told if issubclass(w.category, ResourceWarning)], [])
        self.assertTrue(self.high.ping())


class ModelsIn141(Models, Story):
    version = "1.41"


class ModelsInTheNewest(Models, Story):
    version = "auto"
