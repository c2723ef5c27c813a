"""docker-py's low-level and high-level clients with a swarm of one machine: what its own integration tests ask of nodes, services,
secrets, configs and the swarm, told anew in two versions of the API."""
import copy

from docker_py import SECOND, Asked, docker
from harness import Story, wait_for

try:
    from docker.errors import APIError, InvalidArgument, NotFound
    from docker.types import ConfigReference, ContainerSpec, DriverConfig, EndpointSpec, Healthcheck, Mount, NetworkAttachmentConfig, Placement, \
        PlacementPreference, Resources, RestartPolicy, RollbackConfig, SecretReference, ServiceMode, TaskTemplate, UpdateConfig
except ImportError:
    pass  # and Asked skips

GB = 1024 ** 3


class WithASwarm(Asked):
    def setUp(self):
        super().setUp()
        self.swarm()

    def tearDown(self):
        self.c.leave_swarm(force=True)
        super().tearDown()

    def swarm(self, **options):
        return self.c.init_swarm("127.0.0.1", listen_addr="127.0.0.1:0", **options)

    def spec(self, service):
        return self.c.inspect_service(service)["Spec"]

    def task(self, *command, task=None, **options):
        return TaskTemplate(ContainerSpec("busybox", list(command) or ["true"], **options), **(task or {}))

    def template(self, *command, task=None, create=None, **options):
        """The task template that a service shows which was made with it."""
        return self.spec(self.c.create_service(self.task(*command, task=task, **options), name="s", **(create or {})))["TaskTemplate"]

    def container_spec(self, *command, **options):
        return self.template(*command, **options)["ContainerSpec"]

    def in_container(self, *command):
        """What a command prints in the container of the service "s"."""
        container = wait_for(lambda: self.c.containers(filters={"name": ["s"]}, quiet=True), "the container of the service")[0]
        return self.c.exec_start(self.c.exec_create(container, list(command)))

    def updated(self, service, *template, **options):
        """Updates it as it is now: the engine counts its version up too, while it brings the tasks about."""
        def done():
            try:
                return self.c.update_service(service, self.c.inspect_service(service)["Version"]["Index"], *template, **options)
            except APIError as e:
                if "out of sequence" not in str(e):
                    raise
        wait_for(done, "the update")

    def changed(self, service, **options):
        def done():
            service.reload()
            try:
                return service.update(**options)
            except APIError as e:
                if "out of sequence" not in str(e):
                    raise
        wait_for(done, "the update")

    # --- the swarm and its node

    def test_a_swarm_shows_what_it_was_given(self):
        self.c.leave_swarm(force=True)
        self.swarm(swarm_spec=self.c.create_swarm_spec(snapshot_interval=5000, log_entries_for_slow_followers=1200))
        raft = self.c.inspect_swarm()["Spec"]["Raft"]
        self.assertEqual((raft["SnapshotInterval"], raft["LogEntriesForSlowFollowers"]), (5000, 1200))
        self.assertEqual(self.c.info()["Swarm"]["LocalNodeState"], "active")

    def test_a_swarm_is_begun_once_and_left_by_force(self):
        with self.assertRaises(APIError) as raised:
            self.swarm()
        self.assertEqual(raised.exception.response.status_code, 503)
        with self.assertRaises(APIError) as raised:
            self.c.leave_swarm()
        self.assertEqual(raised.exception.response.status_code, 503)
        self.assertTrue(self.c.leave_swarm(force=True))
        with self.assertRaises(APIError) as raised:
            self.c.inspect_swarm()
        self.assertEqual(raised.exception.response.status_code, 503)
        self.assertTrue(self.c.leave_swarm(force=True))

    def test_addresses_and_pools_of_a_swarm(self):
        self.c.leave_swarm(force=True)
        self.c.init_swarm("lo", listen_addr="127.0.0.1:0", default_addr_pool=["10.20.0.0/16"], subnet_size=25,
                          swarm_spec=self.c.create_swarm_spec(name="default", labels={"a": "1"}))
        told = self.c.inspect_swarm()
        self.assertEqual((told["DefaultAddrPool"], told["SubnetSize"]), (["10.20.0.0/16"], 25))
        self.assertEqual(told["Spec"]["Labels"], {"a": "1"})

    def test_a_swarm_is_updated_and_its_tokens_changed(self):
        before = self.c.inspect_swarm()
        spec = self.c.create_swarm_spec(snapshot_interval=5000, log_entries_for_slow_followers=1200, node_cert_expiry=7776000 * SECOND)
        self.assertTrue(self.c.update_swarm(version=before["Version"]["Index"], swarm_spec=spec, rotate_worker_token=True))
        after = self.c.inspect_swarm()
        self.assertNotEqual(before["Version"]["Index"], after["Version"]["Index"])
        raft = after["Spec"]["Raft"]
        self.assertEqual((raft["SnapshotInterval"], raft["LogEntriesForSlowFollowers"]), (5000, 1200))
        self.assertEqual(before["JoinTokens"]["Manager"], after["JoinTokens"]["Manager"])
        self.assertNotEqual(before["JoinTokens"]["Worker"], after["JoinTokens"]["Worker"])

    def test_the_high_level_swarm(self):
        self.c.leave_swarm(force=True)
        # The new node's id is what init gives, as the API does.
        made = self.high.swarm.init("lo", listen_addr="127.0.0.1:0", snapshot_interval=5000)
        self.assertIn(made, (True, self.c.nodes()[0]["ID"]))
        self.assertEqual(self.high.swarm.attrs["Spec"]["Raft"]["SnapshotInterval"], 5000)
        self.high.swarm.update(snapshot_interval=10000)
        self.assertEqual(self.high.swarm.attrs["Spec"]["Raft"]["SnapshotInterval"], 10000)
        self.assertIn("UnlockKey", self.high.swarm.get_unlock_key())
        self.assertTrue(self.high.swarm.leave(force=True))

    def test_a_lockable_swarm_has_a_key(self):
        self.c.leave_swarm(force=True)
        self.swarm(swarm_spec=self.c.create_swarm_spec(autolock_managers=True))
        key = self.c.get_unlock_key()
        self.assertRegex(key["UnlockKey"], "^SWMKEY-1-")
        self.assertRaises(APIError, self.c.unlock_swarm, key)

    def test_the_node_is_listed_and_updated(self):
        nodes = self.c.nodes()
        self.assertEqual(len(nodes), 1)
        node = nodes[0]
        self.assertEqual(node["Spec"]["Role"], "manager")
        self.assertEqual(len(self.c.nodes(filters={"id": node["ID"]})), 1)
        self.assertEqual(self.c.nodes(filters={"role": "worker"}), [])
        self.assertEqual(self.c.inspect_node(node["ID"])["ID"], node["ID"])
        labelled = copy.deepcopy(node["Spec"])
        labelled["Labels"] = {"new.label": "new value"}
        self.c.update_node(node_id=node["ID"], version=self.c.inspect_node(node["ID"])["Version"]["Index"], node_spec=labelled)
        told = self.c.inspect_node(node["ID"])
        self.assertEqual(told["Spec"], labelled)
        self.c.update_node(node_id=node["ID"], version=told["Version"]["Index"], node_spec=node["Spec"])
        self.assertEqual(self.c.inspect_node(node["ID"])["Spec"], node["Spec"])

    def test_nodes_of_the_high_level_client(self):
        node = self.high.nodes.list()[0]
        self.assertEqual(node.attrs["Spec"]["Role"], "manager")
        self.assertEqual(self.high.nodes.get(node.id), node)
        node.update({"Availability": "active", "Name": "node-name", "Role": "manager", "Labels": {"foo": "bar"}})
        node.reload()
        self.assertEqual(node.attrs["Spec"]["Labels"], {"foo": "bar"})

    def test_the_only_node_is_not_removed(self):
        self.assertRaises(NotFound, self.c.remove_node, "foobar01")
        for force in (False, True):
            with self.assertRaises(APIError) as raised:
                self.c.remove_node(self.c.nodes()[0]["ID"], force)
            self.assertGreaterEqual(raised.exception.response.status_code, 400)

    # --- secrets and configs

    def test_secrets(self):
        secret = self.c.create_secret("favorite", "東方花映塚", labels={"a": "b"})
        told = self.c.inspect_secret(secret)
        self.assertEqual((told["ID"], told["Spec"]["Name"], told["Spec"]["Labels"]), (secret["ID"], "favorite", {"a": "b"}))
        self.assertIn("Version", told)
        self.assertEqual([s["ID"] for s in self.c.secrets(filters={"names": ["favorite"]})], [secret["ID"]])
        self.assertEqual(self.c.secrets(filters={"names": ["other"]}), [])
        self.assertTrue(self.c.remove_secret(secret))
        self.assertRaises(NotFound, self.c.inspect_secret, secret)

    def test_configs(self):
        config = self.c.create_config("favorite", "いざよい", labels={"a": "b"})
        told = self.c.inspect_config(config)
        self.assertEqual((told["ID"], told["Spec"]["Name"], told["Spec"]["Labels"]), (config["ID"], "favorite", {"a": "b"}))
        self.assertIn("Version", told)
        self.assertEqual([s["ID"] for s in self.c.configs(filters={"name": ["favorite"]})], [config["ID"]])
        self.assertTrue(self.c.remove_config(config))
        self.assertRaises(NotFound, self.c.inspect_config, config)
        if not self.version or float(self.version) >= 1.37:
            templated = self.c.create_config("templated", "x", templating={"name": "golang"})
            self.assertEqual(self.c.inspect_config(templated)["Spec"]["Templating"]["Name"], "golang")

    def test_secrets_and_configs_are_in_the_container_as_they_were_referred_to(self):
        secret, config = self.c.create_secret("secret", "東方"), self.c.create_config("config", "phantasmagoria")
        secret_ref, config_ref = SecretReference(secret, "secret"), ConfigReference(config, "config")
        spec = self.container_spec("sleep", "999", secrets=[secret_ref], configs=[config_ref], stop_grace_period=0)
        self.assertEqual((spec["Secrets"][0], spec["Configs"][0]), (secret_ref, config_ref))
        self.assertEqual(self.in_container("cat", "/run/secrets/secret").decode(), "東方")
        self.assertEqual(self.in_container("cat", "/config"), b"phantasmagoria")

    # --- services: each option is shown as it was asked for

    def test_services_are_listed_inspected_and_removed(self):
        self.assertEqual(self.c.services(), [])
        service = self.c.create_service(self.task("echo", "hello"), name="s_1", labels={"key": "value"})
        self.assertEqual([s["Spec"]["Name"] for s in self.c.services(filters={"name": "s_"})], ["s_1"])
        self.assertEqual([s["Spec"]["Name"] for s in self.c.services(filters={"label": "key=value"})], ["s_1"])
        self.assertEqual(self.c.services(filters={"label": "key2"}), [])
        self.assertEqual(self.c.inspect_service(service)["ID"], self.c.inspect_service("s_1")["ID"])
        self.c.inspect_service(service, insert_defaults=True)
        self.assertTrue(self.c.remove_service("s_1"))
        self.assertEqual(self.c.services(), [])

    def test_the_status_of_a_service_is_told_when_it_is_asked_for(self):
        if self.version and float(self.version) < 1.41:
            self.skipTest("of version 1.41")
        self.c.create_service(self.task("sleep", "999", stop_grace_period=0), name="s")

        def status():
            return self.c._result(self.c._get(self.c._url("/services?status=1")), True)[0]["ServiceStatus"]
        wait_for(lambda: status()["RunningTasks"] == 1, "the task to run")
        self.assertEqual(status()["DesiredTasks"], 1)
        self.assertNotIn("ServiceStatus", self.c.services()[0])

    def test_the_logs_of_a_service(self):
        service = self.c.create_service(self.task("echo", "hello"), name="s")
        for options in ({}, {"is_tty": False}):
            wait_for(lambda: b"hello\n" in b"".join(self.c.service_logs(service, stdout=True, follow=False, **options)), "the log")

    def test_log_drivers_and_mounts(self):
        mounts = [Mount(target="/v", source="vol"), Mount(target="/b", source="/tmp", type="bind"), Mount(target="/t", source=None, type="tmpfs")]
        template = self.template("ls", mounts=mounts, task={"log_driver": DriverConfig("none")})
        self.assertEqual(template["LogDriver"]["Name"], "none")
        self.assertEqual([(m["Type"], m["Target"], m.get("Source")) for m in template["ContainerSpec"]["Mounts"]],
                         [("volume", "/v", "vol"), ("bind", "/b", "/tmp"), ("tmpfs", "/t", None)])

    def test_resources(self):
        resources = Resources(cpu_limit=4000000, mem_limit=3 * GB, cpu_reservation=3500000, mem_reservation=2 * GB)
        told = self.template(task={"resources": resources})["Resources"]
        self.assertEqual((told["Limits"], told["Reservations"]), (resources["Limits"], resources["Reservations"]))

    def test_generic_resources_in_either_form(self):
        told = self.template(task={"resources": Resources(generic_resources=[
            {"DiscreteResourceSpec": {"Kind": "gpu", "Value": 1}}, {"NamedResourceSpec": {"Kind": "gpu2", "Value": "test"}}])})
        self.assertEqual(told["Resources"]["Reservations"]["GenericResources"],
                         [{"DiscreteResourceSpec": {"Kind": "gpu", "Value": 1}}, {"NamedResourceSpec": {"Kind": "gpu2", "Value": "test"}}])
        self.c.remove_service("s")
        told = self.template(task={"resources": Resources(generic_resources={"gpu": 2, "color": "red"})})["Resources"]["Reservations"]
        self.assertEqual(sorted(map(str, told["GenericResources"])), sorted(map(str, [
            {"DiscreteResourceSpec": {"Kind": "gpu", "Value": 2}}, {"NamedResourceSpec": {"Kind": "color", "Value": "red"}}])))

    def test_update_and_rollback_configs(self):
        update = UpdateConfig(parallelism=10, delay=5, failure_action="pause", monitor=300000000, max_failure_ratio=0.4, order="start-first")
        rollback = RollbackConfig(parallelism=10, delay=5, failure_action="pause", monitor=300000000, max_failure_ratio=0.4)
        spec = self.spec(self.c.create_service(self.task(), name="s", update_config=update, rollback_config=rollback))
        self.assertEqual({k: spec["UpdateConfig"].get(k) for k in update}, dict(update))
        self.assertEqual({k: spec["RollbackConfig"].get(k) for k in rollback}, dict(rollback))

    def test_a_failure_action_that_is_rollback(self):
        spec = self.spec(self.c.create_service(self.task(), name="s", update_config=UpdateConfig(failure_action="rollback")))
        self.assertEqual(spec["UpdateConfig"]["FailureAction"], "rollback")

    def test_restart_policies(self):
        policy = RestartPolicy("any", delay=5, max_attempts=5)
        self.assertEqual(self.template(task={"restart_policy": policy})["RestartPolicy"], policy)

    def test_networks_are_told_by_their_ids(self):
        ids = [self.c.create_network(f"net_{n}", driver="overlay", ipam={"Driver": "default"})["Id"] for n in (1, 2)]
        service = self.c.create_service(self.task(task={"networks": ["net_1", {"Target": "net_2"}]}), name="s")
        self.assertEqual(self.spec(service)["TaskTemplate"]["Networks"], [{"Target": ids[0]}, {"Target": ids[1]}])
        self.updated(service, self.task(task={"networks": ["net_2"]}), name="s", fetch_current_spec=True)
        self.assertEqual(self.spec(service)["TaskTemplate"]["Networks"], [{"Target": ids[1]}])
        self.c.remove_service(service)
        wait_for(lambda: not self.c.tasks(), "the tasks to be gone")

    def test_a_service_is_on_the_swarms_network_of_a_name_that_local_ones_have_too(self):
        local = self.c.create_network("name", driver="bridge")["Id"]
        net = self.c.create_network("name", driver="overlay")["Id"]
        with self.assertRaises(APIError) as raised:
            self.c.create_network("name", driver="overlay")
        self.assertEqual(raised.exception.response.status_code, 409)
        told = self.template("sleep", "999", stop_grace_period=0, task={"networks": ["name"]})
        self.assertEqual(told["Networks"], [{"Target": net}])
        container = wait_for(lambda: self.c.containers(filters={"label": "com.docker.swarm.service.name=s"}), "its container")[0]
        self.assertEqual([n["NetworkID"] for n in container["NetworkSettings"]["Networks"].values()], [net])
        self.c.remove_service("s")
        wait_for(lambda: not self.c.tasks(), "the tasks to be gone")
        self.c.remove_network(net)
        self.c.remove_network(local)

    def test_aliases_on_a_network(self):
        net = self.c.create_network("net_1", driver="overlay", attachable=True, ipam={"Driver": "default"})["Id"]
        attachment = NetworkAttachmentConfig("net_1", aliases=["one", "two"], options={})
        told = self.template(task={"networks": [attachment]})["Networks"][0]
        self.assertEqual((told["Target"], sorted(told["Aliases"])), (net, ["one", "two"]))
        self.c.remove_service("s")
        wait_for(lambda: not self.c.tasks(), "the tasks to be gone")

    def test_placement(self):
        node = self.c.nodes()[0]["ID"]
        self.assertEqual(self.template(task={"placement": [f"node.id=={node}"]})["Placement"], {"Constraints": [f"node.id=={node}"]})
        self.c.remove_service("s")
        for placement in (Placement(constraints=[f"node.id=={node}"]), Placement(preferences=[{"Spread": {"SpreadDescriptor": "com.dockerpy.test"}}]),
                          Placement(preferences=(("spread", "com.dockerpy.test"),)), Placement(maxreplicas=1),
                          Placement(preferences=[PlacementPreference(strategy="spread", descriptor="com.dockerpy.test")])):
            told = self.template(task={"placement": placement})["Placement"]
            self.assertEqual(told, placement)
            self.c.remove_service("s")

    def test_published_ports(self):
        endpoint = EndpointSpec(ports={12357: (1990, "udp"), 12562: (678,), 53243: 8080})
        told = self.spec(self.c.create_service(self.task(), name="s", endpoint_spec=endpoint))["EndpointSpec"]["Ports"]
        self.assertEqual({(p["PublishedPort"], p["TargetPort"], p["Protocol"]) for p in told},
                         {(12357, 1990, "udp"), (12562, 678, "tcp"), (53243, 8080, "tcp")})
        self.c.remove_service("s")
        endpoint = EndpointSpec(ports={12357: (1990, "udp", "host"), 12562: (678, None, "ingress")})
        told = self.spec(self.c.create_service(self.task(), name="s", endpoint_spec=endpoint))["EndpointSpec"]["Ports"]
        self.assertEqual({(p["PublishedPort"], p["PublishMode"]) for p in told}, {(12357, "host"), (12562, "ingress")})

    def test_environment_hosts_and_dns(self):
        spec = self.container_spec(env={"A": 1}, hosts={"foobar": "127.0.0.1", "baz": "8.8.8.8"}, stop_signal="SIGINT", tty=True, hostname="foobar.baz.com",
                                   open_stdin=True, read_only=True, groups=["shrinemaidens", "youkais"], user="1:1", workdir="/tmp", isolation=None,
                                   labels={"a": "b"}, dns_config=docker.types.DNSConfig(nameservers=["10.99.0.1"], search=["local"],
                                                                                     options=["debug"]))
        self.assertEqual(spec["Env"], ["A=1"])
        self.assertEqual(sorted(spec["Hosts"]), ["127.0.0.1 foobar", "8.8.8.8 baz"])
        self.assertEqual((spec["StopSignal"], spec["TTY"], spec["Hostname"], spec["OpenStdin"], spec["ReadOnly"]),
                         ("SIGINT", True, "foobar.baz.com", True, True))
        self.assertEqual((spec["Groups"], spec["User"], spec["Dir"], spec["Labels"]), (["shrinemaidens", "youkais"], "1:1", "/tmp", {"a": "b"}))
        self.assertEqual(spec["DNSConfig"], {"Nameservers": ["10.99.0.1"], "Search": ["local"], "Options": ["debug"]})

    def test_health_checks_init_and_privileges(self):
        check = Healthcheck(test="true", interval=10 * SECOND, timeout=1 * SECOND, retries=3, start_period=3 * SECOND)
        spec = self.container_spec(healthcheck=check, init=True)
        self.assertEqual((spec["Healthcheck"], spec["Init"]), (check, True))
        self.c.remove_service("s")
        privileges = docker.types.Privileges(selinux_disable=True)
        self.assertTrue(self.container_spec(privileges=privileges)["Privileges"]["SELinuxContext"]["Disable"])

    def test_capabilities_sysctls_and_ulimits(self):
        task = self.task(cap_add=["CAP_SYSLOG"], cap_drop=["CAP_CHOWN"])
        task["ContainerSpec"]["Sysctls"] = {"net.core.somaxconn": "1024"}  # as docker-py 7 sets it
        spec = self.spec(self.c.create_service(task, name="s"))["TaskTemplate"]["ContainerSpec"]
        told = (spec["CapabilityAdd"], spec["CapabilityDrop"], spec["Sysctls"])
        self.assertEqual(told, (["CAP_SYSLOG"], ["CAP_CHOWN"], {"net.core.somaxconn": "1024"}))

    def test_modes(self):
        def mode(mode):
            spec = self.spec(self.c.create_service(self.task("sleep", "999", stop_grace_period=0), name="s", mode=mode))
            self.c.remove_service("s")
            return spec["Mode"]
        self.assertEqual(mode("global"), {"Global": {}})
        self.assertEqual(mode(ServiceMode("replicated", 5)), {"Replicated": {"Replicas": 5}})
        self.assertEqual(mode(ServiceMode("replicated", 0)), {"Replicated": {"Replicas": 0}})
        if not self.version or float(self.version) >= 1.41:
            self.assertEqual(mode({"GlobalJob": {}}), {"GlobalJob": {}})
            self.assertEqual(mode({"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 3}}), {"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 3}})

    # --- updates

    def test_an_update_is_forced_and_keeps_what_it_does_not_name(self):
        network = self.c.create_network("net_1", driver="overlay", ipam={"Driver": "default"})["Id"]
        service = self.c.create_service(
            self.task("echo", "hello", labels={"in": "it"}, task={"log_driver": DriverConfig("json-file"), "networks": ["net_1"]}),
            name="s", labels={"on": "it"}, mode=ServiceMode("replicated", 2), update_config=UpdateConfig(parallelism=10),
            endpoint_spec=EndpointSpec(ports={12357: (1990, "udp")}))
        told = self.c.inspect_service(service)
        self.assertEqual(told["Spec"]["TaskTemplate"]["ForceUpdate"], 0)
        version = told["Version"]["Index"]
        self.updated("s", self.task("echo", "hello", task={"force_update": 10}), name="s", fetch_current_spec=True)
        told = self.c.inspect_service(service)
        self.assertGreater(told["Version"]["Index"], version)
        spec = told["Spec"]
        self.assertEqual((spec["TaskTemplate"]["ForceUpdate"], spec["Labels"], spec["Mode"]), (10, {"on": "it"}, {"Replicated": {"Replicas": 2}}))
        self.assertEqual(spec["TaskTemplate"]["ContainerSpec"]["Labels"], {"in": "it"})
        self.assertEqual((spec["TaskTemplate"]["Networks"], spec["UpdateConfig"]["Parallelism"]), ([{"Target": network}], 10))
        self.assertEqual(spec["EndpointSpec"]["Ports"][0]["TargetPort"], 1990)
        with self.assertRaises(APIError):
            self.c.update_service("s", version, self.task("echo", "late"), name="s")
        with self.assertRaises(APIError):
            self.c.update_service("s", 1, self.task("echo", "late"), name="s")
        self.c.remove_service("s")
        wait_for(lambda: not self.c.tasks(), "the tasks to be gone")

    def test_an_update_that_drops_all_else(self):
        service = self.c.create_service(self.task(labels={"in": "it"}), name="s", labels={"on": "it"}, mode=ServiceMode("replicated", 2))
        self.updated("s", self.task("echo", "x"), name="s")
        spec = self.spec(service)
        self.assertFalse(spec.get("Labels"))
        self.assertFalse(spec["TaskTemplate"]["ContainerSpec"].get("Labels"))
        self.assertEqual(spec["TaskTemplate"]["ContainerSpec"]["Command"], ["echo", "x"])

    def test_services_of_the_high_level_client(self):
        network = self.high.networks.create("net_1", driver="overlay")
        service = self.high.services.create("busybox", "sleep 300", name="s", labels={"foo": "bar"}, container_labels={"container": "label"},
                                            networks=[network.id], stop_grace_period=0)
        self.assertEqual((service.name, service.attrs["Spec"]["Labels"]["foo"]), ("s", "bar"))
        container = service.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]
        self.assertIn("busybox", container["Image"])
        self.assertEqual(container["Labels"], {"container": "label"})
        self.assertEqual(service.attrs["Spec"]["TaskTemplate"]["Networks"], [{"Target": network.id}])
        self.assertEqual(self.high.services.get(service.id).name, "s")
        self.assertIn(service, self.high.services.list())
        tasks = wait_for(service.tasks, "its task")
        self.assertEqual([t["ServiceID"] for t in tasks], [service.id])
        version = service.version
        self.changed(service, name=service.name, command="sleep 600", force_update=10)
        service.reload()
        self.assertGreater(service.version, version)
        container = service.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]
        self.assertEqual((container["Command"], container["Labels"], service.attrs["Spec"]["Labels"]),
                         (["sleep", "600"], {"container": "label"}, {"foo": "bar"}))
        self.assertEqual(service.attrs["Spec"]["TaskTemplate"]["Networks"], [{"Target": network.id}])
        self.changed(service, name=service.name, labels={})
        service.reload()
        self.assertFalse(service.attrs["Spec"].get("Labels"))
        service.remove()
        self.assertNotIn(service, self.high.services.list())
        wait_for(lambda: not self.c.tasks(), "the tasks to be gone")

    def test_services_are_scaled(self):
        service = self.high.services.create("busybox", "sleep 300", name="s", stop_grace_period=0)
        self.assertEqual(len(wait_for(service.tasks, "its task")), 1)
        self.changed(service, mode=ServiceMode("replicated", replicas=2))
        wait_for(lambda: len(service.tasks()) >= 2, "two tasks")
        service.reload()
        self.assertEqual(service.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]["Command"], ["sleep", "300"])
        self.changed(service, mode=ServiceMode("replicated", replicas=3))
        wait_for(lambda: len(service.tasks()) >= 3, "three tasks")
        self.changed(service, mode=ServiceMode("replicated", replicas=0))
        everywhere = self.high.services.create("busybox", "sleep 300", name="g", mode=ServiceMode("global"), stop_grace_period=0)
        self.assertEqual(len(wait_for(everywhere.tasks, "its task")), 1)
        self.assertRaises(InvalidArgument, everywhere.scale, 2)

    def test_containers_join_attachable_networks(self):
        network = self.c.create_network("net_1", driver="overlay", attachable=True)
        self.assertTrue(self.c.inspect_network(network["Id"])["Attachable"])
        self.assertEqual(self.c.inspect_network(network["Id"], verbose=True)["Scope"], "swarm")
        self.assertEqual([n["Name"] for n in self.c.networks(filters={"driver": "overlay"}) if n["Name"] != "ingress"], ["net_1"])
        self.assertEqual({n["Scope"] for n in self.c.networks(filters={"scope": "swarm"})}, {"swarm"})
        config = self.c.create_networking_config({"net_1": self.c.create_endpoint_config()})
        container = self.c.create_container("busybox", ["sleep", "999"], networking_config=config, name="on_it", stop_signal="SIGKILL")
        self.c.connect_container_to_network(container, "net_1")
        self.c.start(container)
        with self.assertRaises(APIError) as raised:
            self.c.connect_container_to_network(container, "net_1")
        self.assertEqual((raised.exception.response.status_code, raised.exception.explanation), (409, "on_it is already attached to network net_1"))
        self.c.remove_container(container, force=True)
        self.c.remove_network("net_1")
        self.assertTrue(self.c.inspect_network("ingress")["Ingress"])


class InVersion141(WithASwarm, Story):
    version = "1.41"


class InTheNewestVersion(WithASwarm, Story):
    version = "auto"

    def setUp(self):
        super().setUp()
        self.version = None

