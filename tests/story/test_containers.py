"""Containers as Docker's API has them: what is refused and with which words, what is shown, and what happens."""
import base64
import glob
import io
import json
import os
import socket
import stat
import tarfile
import threading
import time
import unittest

from harness import Story, wait_for


class Containers(Story):
    """Raw requests, and names that go with their test."""

    def call(self, method, path, body=None, version="v1.45"):
        status, _, content = self.d.api(method, f"/{version}{path}", body)
        try:
            return status, json.loads(content) if content else None
        except ValueError:
            return status, content.decode("utf-8", "replace")

    def create(self, name=None, host=None, version="v1.45", **config):
        body = {"Image": "busybox", "Cmd": ["sleep", "100000"], "HostConfig": host or {}, **config}
        return self.call("POST", "/containers/create" + (f"?name={name}" if name else ""), body, version)

    def made(self, name=None, host=None, **config):
        status, answer = self.create(name, host, **config)
        self.assertEqual(status, 201, answer)
        self.addCleanup(self.call, "DELETE", f"/containers/{answer['Id']}?force=1&v=1")
        return answer["Id"]

    def started(self, name=None, host=None, **config):
        made = self.made(name, host, **config)
        status, answer = self.call("POST", f"/containers/{made}/start")
        self.assertEqual(status, 204, answer)
        return made

    def inspect(self, name, version="v1.45"):
        status, answer = self.call("GET", f"/containers/{name}/json", version=version)
        self.assertEqual(status, 200, answer)
        return answer

    def output(self, host=None, command=(), **config):
        """What a container with these options prints."""
        name = self.started(None, host, Cmd=list(command), **config)
        self.call("POST", f"/containers/{name}/wait")
        return self.d.docker("logs", name).out

    def assert_refused(self, answer, status, message):
        self.assertEqual(answer, (status, {"message": message}))


class Create(Containers):
    def test_a_limit_that_comes_later_leaves_no_control_group(self):
        """On cgroup v1 a container shares the groups that it needs nothing of its own in, until an update asks for something."""
        one = self.d.docker("run", "-d", "busybox", "sleep", "1000").out.strip()
        self.d.docker("update", "--cpuset-cpus", "0", one)
        pattern = f"/sys/fs/cgroup/*/drover/{one}"
        self.assertTrue(glob.glob(pattern) or os.path.exists(f"/sys/fs/cgroup/drover/{one}"))
        self.d.docker("rm", "-f", one)
        wait_for(lambda: not glob.glob(pattern) and not os.path.exists(f"/sys/fs/cgroup/drover/{one}"), "its groups to go")

    def test_the_working_directory_is_there_before_the_start(self):
        name = self.made(WorkingDir="/home/foo/bar")
        self.d.docker("cp", f"{name}:/home/foo/bar", self.d.root + "/wd-copy")
        self.assertTrue(os.path.isdir(self.d.root + "/wd-copy"))
        status, answer = self.create(WorkingDir="/etc/passwd/x")
        self.assertGreaterEqual(status, 400, answer)
        self.assertIn("make the working directory", answer["message"])

    def test_old_clients_set_limits_beside_the_image(self):
        self.assert_refused(self.create(Memory=524287), 400, "Minimum memory limit allowed is 6MB")
        seen = self.inspect(self.made(Memory=33554432, CpuShares=512, Cpuset="0", host={"CpuShares": 256}))
        host = seen["HostConfig"]
        self.assertEqual((host["Memory"], host["CpuShares"], host["CpusetCpus"]), (33554432, 256, "0"))
        self.assertNotIn("Memory", seen["Config"])

    def test_cpu_shares_out_of_range_and_directories_without_devices_fail_at_the_start(self):
        prefix = "error gathering device information while adding custom device "
        for host, message in (({"CpuShares": 1}, "the minimum allowed cpu-shares is 2"),
                              ({"CpuShares": 99999999}, "the maximum allowed cpu-shares is 262144"),
                              ({"CpuShares": -1}, '"HostConfig.CpuShares": cpu.shares: invalid argument: -1'),
                              ({"Devices": [{"PathOnHost": "/etc", "PathInContainer": "/etc", "CgroupPermissions": "rwm"}]},
                               prefix + '"/etc": not a device node')):
            with self.subTest(host):
                answer = self.call("POST", f"/containers/{self.made(host=host)}/start")
                self.assertIn(message, answer[1]["message"])
                self.assertGreaterEqual(answer[0], 400)

    def test_values_out_of_range_are_refused_in_dockers_words(self):
        mega, cpus = 1 << 20, os.cpu_count()
        for host, message in [
                ({"Memory": 1000}, "Minimum memory limit allowed is 6MB"),
                ({"Memory": -1}, "Minimum memory limit allowed is 6MB"),
                ({"Memory": 64 * mega, "MemorySwap": 32 * mega},
                 "Minimum memoryswap limit should be larger than memory limit, see usage"),
                ({"MemorySwap": 64 * mega},
                 "You should always set the Memory limit when using Memoryswap limit, see usage"),
                ({"MemoryReservation": 1000}, "Minimum memory reservation allowed is 6MB"),
                ({"Memory": 64 * mega, "MemoryReservation": 128 * mega},
                 "Minimum memory limit can not be less than memory reservation limit, see usage"),
                ({"MemorySwappiness": 200}, "Invalid value: 200, valid memory swappiness range is 0-100"),
                ({"NanoCpus": 10 ** 15},
                 f"Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"),
                ({"NanoCpus": 10 ** 9, "CpuQuota": 1000},
                 "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
                ({"NanoCpus": 10 ** 9, "CpuPeriod": 1000},
                 "Conflicting options: Nano CPUs and CPU Period cannot both be set"),
                ({"CpuPeriod": 10},
                 "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
                ({"CpuQuota": 10}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
                ({"CpusetCpus": "abc"}, "Invalid value abc for cpuset cpus: invalid format: abc"),
                ({"OomScoreAdj": 2000}, "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
                ({"ShmSize": -1}, "SHM size can not be less than 0"),
                ({"RestartPolicy": {"Name": "sometimes"}}, "invalid restart policy 'sometimes'"),
                ({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 2}},
                 "maximum retry count cannot be used with restart policy 'always'"),
                ({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -2}},
                 "maximum retry count cannot be negative"),
                ({"AutoRemove": True, "RestartPolicy": {"Name": "always"}},
                 "can't create 'AutoRemove' container with restart policy"),
                ({"KernelMemory": 1}, "Minimum kernel memory limit allowed is 6MB")]:
            with self.subTest(host=host):
                self.assert_refused(self.create(host=host, version="v1.41"), 400, message)
        status, answer = self.create(host={"CpusetCpus": "0-4000"})
        self.assertEqual(status, 400)
        self.assertIn("Requested CPUs are not available - requested 0-4000, available: ", answer["message"])

    def test_modes_that_exclude_one_another_are_refused_in_dockers_words(self):
        shared = "container:nobody"
        for host, config, message in [
                ({"UTSMode": "host"}, {"Hostname": "x"}, "conflicting options: hostname and the UTS mode"),
                ({"NetworkMode": shared}, {"Hostname": "x"}, "conflicting options: hostname and the network mode"),
                ({"NetworkMode": shared, "Dns": ["192.0.2.1"]}, {}, "conflicting options: dns and the network mode"),
                ({"NetworkMode": shared, "ExtraHosts": ["a:192.0.2.1"]}, {},
                 "conflicting options: custom host-to-IP mapping and the network mode"),
                ({"NetworkMode": shared, "PortBindings": {"80/tcp": [{}]}}, {},
                 "conflicting options: port publishing and the container type network mode"),
                ({"NetworkMode": shared}, {"ExposedPorts": {"80/tcp": {}}},
                 "conflicting options: port exposing and the container type network mode"),
                ({"NetworkMode": "host", "Links": ["a:b"]}, {},
                 "conflicting options: host type networking can't be used with links. This would result in "
                 "undefined behavior"),
                ({"NetworkMode": "container:"}, {}, "invalid container format container:<name|id>"),
                ({"PidMode": "mine"}, {}, "invalid PID mode: mine"),
                ({"IpcMode": "mine"}, {}, "invalid IPC mode: mine"),
                ({"UTSMode": "mine"}, {}, "invalid UTS mode: mine"),
                ({"CgroupnsMode": "mine"}, {}, "invalid cgroup namespace mode: mine"),
                ({"Isolation": "hyperv"}, {}, "invalid isolation: \"hyperv\" - linux only supports 'default'"),
                ({"IOMaximumBandwidth": 1}, {},
                 "invalid QoS settings: linux does not support configuration of maximum bandwidth"),
                ({"Annotations": {"": "x"}}, {},
                 "invalid Annotations: the empty string is not permitted as an annotation key"),
                ({"ExtraHosts": ["nothing"]}, {}, 'bad format for add-host: "nothing"'),
                ({"ExtraHosts": ["a:b"]}, {}, 'invalid IP address in add-host: "b"'),
                ({}, {"Healthcheck": {"Interval": 1000}}, "Interval in Healthcheck cannot be less than 1ms"),
                ({}, {"Healthcheck": {"Retries": -1}}, "Retries in Healthcheck cannot be negative"),
                ({}, {"StopSignal": "NOISE"}, "Invalid signal: NOISE"),
                ({"CapAdd": ["flying"]}, {}, 'invalid CapAdd: unknown capability: "CAP_FLYING"'),
                ({"CapDrop": ["flying"]}, {}, 'invalid CapDrop: unknown capability: "CAP_FLYING"'),
                ({"SecurityOpt": ["seccomp"]}, {}, 'invalid --security-opt 1: "seccomp"'),
                ({"SecurityOpt": ["fence=high"]}, {}, 'invalid --security-opt 2: "fence=high"'),
                ({"SecurityOpt": ["no-new-privileges=maybe"]}, {}, 'invalid --security-opt 2: "no-new-privileges=maybe"'),
                ({"Tmpfs": {"x": ""}}, {}, "invalid mount path: 'x' mount path must be absolute"),
                ({"PortBindings": {"99999/tcp": [{}]}}, {}, 'invalid port specification: "99999"'),
                ({"PortBindings": {"80/tcp": [{"HostPort": "abc"}]}}, {}, 'invalid port specification: "abc"'),
                ({"VolumesFrom": ["nobody"]}, {}, "No such container: nobody"),
                ({}, {"MacAddress": "somewhere"}, "address somewhere: invalid MAC address"),
                ({}, {"Env": ["=x"]}, "invalid environment variable: =x"),
                ({}, {"WorkingDir": "rel"},
                 "the working directory 'rel' is invalid, it needs to be an absolute path")]:
            with self.subTest(host=host, config=config):
                self.assert_refused(self.create(host=host, **config), 400, message)
        # From 1.44 on the address is the endpoint's, and without one it is nothing.
        self.assert_refused(self.create(host={"NetworkMode": shared}, version="v1.43", MacAddress="02:42:ac:11:00:09"), 400,
                            "conflicting options: mac-address and the network mode")
        self.assert_refused(self.create(host={"StorageOpt": {"size": "1G"}}), 500,
                            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option")

    def test_what_is_left_out_is_told_by_a_warning(self):
        for version, host, warnings in [
                ("v1.45", {}, []),
                ("v1.45", {"Memory": 64 << 20, "OomKillDisable": True}, None),
                ("v1.41", {"KernelMemory": 64 << 20},
                 ["Specifying a kernel memory limit is deprecated and will be removed in a future release."]),
                ("v1.45", {"KernelMemory": 64 << 20}, []),
                ("v1.45", {"CpuPercent": 5}, ["linux does not support CPU percent. Percent discarded."]),
                ("v1.45", {"NetworkMode": "host", "PortBindings": {"80/tcp": [{}]}},
                 ["Published ports are discarded when using host network mode"])]:
            with self.subTest(host=host):
                status, answer = self.create(host=host, version=version)
                self.assertEqual(status, 201, answer)
                self.call("DELETE", f"/containers/{answer['Id']}")
                if warnings is not None:
                    self.assertEqual(answer["Warnings"], warnings)

    def test_both_ways_to_say_unlimited_are_shown_as_none(self):
        shown = self.inspect(self.made(host={"PidsLimit": -1, "MemorySwappiness": -1}))["HostConfig"]
        self.assertEqual((shown["PidsLimit"], shown["MemorySwappiness"]), (None, None))

    def test_the_mac_address_is_that_of_the_first_network(self):
        name = self.started(MacAddress="02:42:ac:11:00:0a")
        self.assertEqual(self.inspect(name)["NetworkSettings"]["MacAddress"], "02:42:ac:11:00:0a")
        self.assertIn("02:42:ac:11:00:0a", self.d.docker("exec", name, "cat", "/sys/class/net/eth0/address").out)

    def test_a_directory_of_devices_is_given_whole_and_with_its_permissions(self):
        place = os.path.join(self.d.root, "devices")
        os.makedirs(os.path.join(place, "deep"))
        os.mknod(os.path.join(place, "deep/nothing"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        with open(os.path.join(place, "plain"), "w"):
            pass
        device = {"PathOnHost": place, "PathInContainer": "/dev/given", "CgroupPermissions": "rw"}
        script = "find /dev/given -type c; find /dev/given -name plain; echo x > /dev/given/deep/nothing && echo written"
        self.assertEqual(self.output({"Devices": [device]}, ["sh", "-c", script]), "/dev/given/deep/nothing\nwritten\n")
        made = self.made(host={"Devices": [{"PathOnHost": os.path.join(place, "plain"), "PathInContainer": "/dev/x"}]})
        status, answer = self.call("POST", f"/containers/{made}/start")
        self.assertIn("not a device node", answer["message"])

    def test_gpus_are_refused_at_the_start_by_name(self):
        made = self.made(host={"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]})
        self.assert_refused(self.call("POST", f"/containers/{made}/start"), 500,
                            'could not select device driver "" with capabilities: [[gpu]]')
        self.assertEqual(self.inspect(made)["HostConfig"]["DeviceRequests"],
                         [{"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": None}])
        self.assert_refused(self.create(host={"DeviceRequests": [{"Capabilities": "gpu"}]}), 400,
                            '"HostConfig.DeviceRequests.Capabilities" must be a list, not a string')

    def test_shared_memory_is_joined_only_where_its_owner_allows_it(self):
        donor = self.started(host={"IpcMode": "shareable"})
        self.d.docker("exec", donor, "sh", "-c", "echo mine >/dev/shm/x")
        self.assertEqual(self.output({"IpcMode": f"container:{donor}"}, ["cat", "/dev/shm/x"]), "mine\n")
        private = self.started()
        joiner = self.made(host={"IpcMode": f"container:{private}"})
        status, answer = self.call("POST", f"/containers/{joiner}/start")
        self.assertEqual(status, 409)
        self.assertIn("non-shareable IPC (hint: use IpcMode:shareable for the donor container)", answer["message"])
        old = self.create(version="v1.39")[1]["Id"]
        self.assertEqual(self.inspect(old)["HostConfig"]["IpcMode"], "shareable")
        self.call("DELETE", f"/containers/{old}")

    def remove_groups(self, *names):
        """Whoever named a parent may have made it, and given it limits: it stays when its last container goes."""
        for parent in ("/sys/fs/cgroup/drover", "/sys/fs/cgroup/*/drover"):
            for path in [path for name in names for path in glob.glob(f"{parent}/{name}")]:
                wait_for(lambda: not glob.glob(f"{path}/*/"), f"the groups of {path} to go")
                os.rmdir(path)

    def test_limits_hold_and_are_seen_below_a_cgroup_parent(self):
        top = f"story-{os.getpid()}"
        self.addCleanup(self.remove_groups, f"{top}/parent", top)
        name = self.started(host={"CgroupParent": f"/{top}/parent", "Memory": 64 << 20, "PidsLimit": 30})
        self.addCleanup(self.call, "DELETE", f"/containers/{name}?force=1")
        status, stats = self.call("GET", f"/containers/{name}/stats?stream=0&one-shot=1")
        self.assertEqual((status, stats["memory_stats"]["limit"], stats["pids_stats"]["limit"]), (200, 64 << 20, 30))
        self.assertEqual(self.call("GET", f"/containers/{name}/top")[0], 200)
        self.assertEqual(self.call("POST", f"/containers/{name}/update", {"PidsLimit": 31})[0], 200)
        stats = self.call("GET", f"/containers/{name}/stats?stream=0&one-shot=1")[1]
        self.assertEqual(stats["pids_stats"]["limit"], 31)


class Joined(Containers):
    """Namespaces of a container that is named before it is there."""

    def test_the_other_is_needed_at_the_start_alone(self):
        for field, message in (("NetworkMode", "No such container: jn-late"), ("PidMode", "No such container: jn-late"),
                               ("IpcMode", "No such container: jn-late")):
            with self.subTest(field):
                name = self.made(host={field: "container:jn-late"})
                self.assert_refused(self.call("POST", f"/containers/{name}/start"), 404, message)
                other = self.started("jn-late", {"IpcMode": "shareable"})
                self.assertEqual(self.call("POST", f"/containers/{name}/start")[0], 204)
                kind = {"NetworkMode": "net", "PidMode": "pid", "IpcMode": "ipc"}[field]
                look = [os.readlink(f"/proc/{self.inspect(c)['State']['Pid']}/ns/{kind}") for c in (name, other)]
                self.assertEqual(look[0], look[1])
                for one in (name, other):
                    self.call("DELETE", f"/containers/{one}?force=1")

    def test_itself_it_cannot_join(self):
        self.made("jn-self", {"NetworkMode": "container:jn-self"})
        self.assert_refused(self.call("POST", "/containers/jn-self/start"), 500, "cannot join own network")


class Links(Containers):
    """--link, the way containers found each other before networks had names."""

    def address(self, name):
        return self.inspect(name)["NetworkSettings"]["IPAddress"]

    def test_a_link_tells_address_ports_and_environment(self):
        self.started("ln-db", Hostname="dbhost", Env=["PASS=a=b", "HOME=/x"],
                     ExposedPorts={f"{p}/tcp": {} for p in (80, 81, 82, 443)} | {"53/udp": {}})
        self.started("ln-web", {"Links": ["ln-db:my-db"]}, Cmd=["sh", "-c", "env; cat /etc/hosts; sleep 100000"])
        ip = self.address("ln-db")
        said = wait_for(lambda: self.d.docker("logs", "ln-web").out.partition("my-db dbhost")[1] and
                        self.d.docker("logs", "ln-web").out, "its output")
        for line in ("MY_DB_NAME=/ln-web/my-db", f"MY_DB_PORT=udp://{ip}:53", "MY_DB_ENV_PASS=a=b",
                     f"MY_DB_PORT_443_TCP=tcp://{ip}:443", f"MY_DB_PORT_443_TCP_ADDR={ip}",
                     "MY_DB_PORT_443_TCP_PORT=443", "MY_DB_PORT_443_TCP_PROTO=tcp", "MY_DB_PORT_80_TCP_PORT_START=80",
                     f"MY_DB_PORT_80_TCP_END=tcp://{ip}:82", f"{ip}\tmy-db dbhost ln-db"):
            self.assertIn(line + "\n", said)
        self.assertNotIn("MY_DB_ENV_HOME", said)
        self.assertIn("MY_DB_NAME=", self.d.docker("exec", "ln-web", "env").out)
        self.assertEqual(self.inspect("ln-web")["HostConfig"]["Links"], ["/ln-db:/ln-web/my-db"])
        listed = self.call("GET", '/containers/json?filters={"name":["ln-db"]}')[1]
        self.assertEqual([c["Names"] for c in listed], [["/ln-db", "/ln-web/my-db"]])
        # The other one comes back at another address.
        self.call("POST", "/containers/ln-db/stop?t=0")
        self.started("ln-thief")
        self.assertEqual(self.call("POST", "/containers/ln-db/start")[0], 204)
        now = self.address("ln-db")
        self.assertNotEqual(now, ip)
        self.assertEqual(self.d.docker("exec", "ln-web", "grep", "my-db", "/etc/hosts").out, f"{now}\tmy-db dbhost ln-db\n")
        self.d.docker("exec", "ln-web", "ping", "-c", "1", "my-db")
        # A link ends by its name; its containers stay.
        self.assertEqual(self.call("DELETE", "/containers/ln-web/nothing?link=1")[0], 404)
        self.assertEqual(self.call("DELETE", "/containers/ln-web?link=1")[0], 409)
        self.assertEqual(self.call("DELETE", "/containers/ln-web/my-db?link=1")[0], 204)
        self.assertIsNone(self.inspect("ln-web")["HostConfig"]["Links"])
        self.assertEqual(self.inspect("ln-db")["State"]["Status"], "running")

    def test_links_that_cannot_be_are_refused(self):
        self.assert_refused(self.create(host={"Links": ["ln-nobody:x"]}), 400,
                            "could not get container for ln-nobody: No such container: ln-nobody")
        self.assert_refused(self.create(host={"Links": ["a:b:c"]}), 400, "bad format for links: a:b:c")
        self.made("ln-stopped")
        self.made("ln-other", {"Links": ["ln-stopped:it"]})
        self.assert_refused(self.call("POST", "/containers/ln-other/start"), 500,
                            "Cannot link to a non running container: /ln-stopped AS /ln-other/it")

    def test_the_first_of_two_links_of_one_name_counts(self):
        self.started("ln-one")
        self.started("ln-two")
        hosts = self.output({"Links": ["ln-one:it", "ln-two:it"]}, ["grep", "it", "/etc/hosts"])
        self.assertEqual(hosts.split()[0], self.address("ln-one"))

    def test_a_link_leads_to_the_one_whose_network_is_shared(self):
        self.started("ln-owner")
        self.started("ln-guest", {"NetworkMode": "container:ln-owner"})
        self.started("ln-guests-guest", {"NetworkMode": "container:ln-guest"})
        hosts = self.output({"Links": ["ln-guests-guest:it"]}, ["grep", "it", "/etc/hosts"])
        self.assertEqual(hosts.split()[0], self.address("ln-owner"))
        # Names of one another, which a create takes, are no endless way.
        self.made("ln-round", {"NetworkMode": "container:ln-about"})
        self.made("ln-about", {"NetworkMode": "container:ln-round"})
        self.assert_refused(self.create(host={"Links": ["ln-round:it"]}), 400,
                            "could not get container for ln-round: more than 32 share networks")

    def test_on_a_network_of_ones_own_a_link_is_an_alias_for_one_container_alone(self):
        self.call("POST", "/networks/create", {"Name": "ln-net"})
        self.addCleanup(self.call, "DELETE", "/networks/ln-net")
        self.started("ln-target", {"NetworkMode": "ln-net"})
        joined = {"EndpointsConfig": {"ln-net": {"Links": ["ln-target:ln-alias"]}}}
        self.started("ln-user", {"NetworkMode": "ln-net"}, NetworkingConfig=joined)
        self.d.docker("exec", "ln-user", "ping", "-c", "1", "ln-alias")
        self.assertNotIn("ln-alias", self.d.docker("exec", "ln-target", "cat", "/etc/hosts").out)


class Init(Containers):
    """--init needs nothing of the machine."""

    def code(self, *command, **host):
        name = self.started(None, {"Init": True, **host}, Cmd=list(command))
        return self.call("POST", f"/containers/{name}/wait")[1]["StatusCode"]

    def test_the_programs_end_is_the_containers(self):
        self.assertEqual(self.code("sh", "-c", "exit 7"), 7)
        self.assertEqual(self.code("sh", "-c", "kill -9 $$"), 137)
        self.assertEqual(self.code("nonsense"), 127)
        self.assertEqual(self.code("/etc/passwd"), 126)

    def test_a_signal_right_after_the_start_reaches_the_program(self):
        for _ in range(20):
            name = self.started(None, {"Init": True}, Cmd=["sleep", "100000"])
            self.assertEqual(self.call("POST", f"/containers/{name}/kill?signal=TERM")[0], 204)
            self.assertEqual(self.call("POST", f"/containers/{name}/wait")[1]["StatusCode"], 143)
        self.assertEqual(self.output({"Init": True}, ["grep", "SigBlk", "/proc/self/status"]).split()[1].strip("0"), "")

    def test_it_is_the_first_process_and_takes_what_is_left_to_it(self):
        script = "(sleep 0.1 & exec true); sleep 0.3; cat /proc/1/comm; grep -l zombie /proc/[0-9]*/status; true"
        self.assertEqual(self.output({"Init": True}, ["sh", "-c", script]), "docker-init\n")
        self.assertEqual(self.output({"Init": True, "ReadonlyRootfs": True, "UsernsMode": "auto"},
                                     ["sh", "-c", "cat /proc/1/comm"]), "docker-init\n")

    def test_signals_reach_the_program(self):
        name = self.started(None, {"Init": True},
                            Cmd=["sh", "-c", "trap 'exit 5' TERM; trap 'echo usr1' USR1; echo up; while :; do sleep 0.02; done"])
        wait_for(lambda: "up" in self.d.docker("logs", name).out, "the trap")
        self.call("POST", f"/containers/{name}/kill?signal=USR1")
        wait_for(lambda: "usr1" in self.d.docker("logs", name).out, "the signal")
        self.call("POST", f"/containers/{name}/stop")
        self.assertEqual(self.inspect(name)["State"]["ExitCode"], 5)

    def test_with_anothers_processes_there_is_none(self):
        self.assertEqual(self.output({"Init": True, "PidMode": "host"}, ["sh", "-c", "ls /sbin/docker-init 2>&1"]),
                         "ls: /sbin/docker-init: No such file or directory\n")


class Life(Containers):
    """What a container's states allow, and the words for what they do not."""

    def test_renames_end_in_dockers_words_when_they_cannot_be(self):
        self.made("nm-one")
        other = self.made("nm-two")
        self.assert_refused(self.call("POST", "/containers/nm-one/rename?name=nm-two"), 409,
                            'Error when allocating new name: Conflict. The container name "/nm-two" is already in use by '
                            f'container "{other}". You have to remove (or rename) that container to be able to reuse that name.')
        self.assert_refused(self.call("POST", "/containers/nm-one/rename?name=nm-one"), 400,
                            "Renaming a container with the same name as its current name")
        self.assert_refused(self.call("POST", "/containers/nm-one/rename"), 400,
                            "Neither old nor new names may be empty")
        self.assertEqual(self.call("POST", "/containers/nm-one/rename?name=nm-1")[0], 204)
        self.assertEqual(self.inspect("nm-1")["Name"], "/nm-1")

    def test_what_runs_or_is_paused_is_not_removed(self):
        name = self.started()
        self.assert_refused(self.call("DELETE", f"/containers/{name}"), 409,
                            f"You cannot remove a running container {name}. Stop the container before attempting removal or force remove")
        self.call("POST", f"/containers/{name}/pause")
        self.assert_refused(self.call("DELETE", f"/containers/{name}"), 409,
                            f"You cannot remove a paused container {name}. Unpause and then stop the container before attempting "
                            "removal or force remove")

    def test_a_wait_ends_with_the_next_end_also_when_a_policy_starts_it_again(self):
        name = self.made(host={"RestartPolicy": {"Name": "always"}}, Cmd=["sh", "-c", "sleep 0.2; exit 3"])
        self.assertEqual(self.call("POST", f"/containers/{name}/wait")[1]["StatusCode"], 0)
        self.call("POST", f"/containers/{name}/start")
        self.assertEqual(self.call("POST", f"/containers/{name}/wait")[1]["StatusCode"], 3)
        wait_for(lambda: self.inspect(name)["RestartCount"] >= 1, "a restart")

    def test_a_signal_that_comes_before_the_program_can_take_it_is_not_lost(self):
        late = ["sh", "-c", 'sleep 0.2; trap "exit 3" TERM; while :; do sleep 0.1; done']
        for verb in (("kill", "-s", "TERM"), ("stop", "-t", "1000")):
            self.d.docker("run", "-d", "--name", "late", "busybox", *late)
            self.d.docker(*verb, "late")
            self.assertEqual(self.d.docker("wait", "late").out, "3\n")
            self.d.docker("rm", "late")

    def test_a_signal_that_needs_no_handler_is_sent_at_once_and_a_stop_takes_no_longer_than_asked(self):
        def seconds(host, call):
            name = self.started(None, {"NetworkMode": "none", **host}, Cmd=["sleep", "100000"])
            began = time.monotonic()
            self.assertEqual(self.call("POST", f"/containers/{name}/{call}")[0], 204)
            return time.monotonic() - began
        # The kernel drops a signal to the first process of a pid namespace alone. A busy machine may be slow at it now and then.
        wait_for(lambda: seconds({"PidMode": "host"}, "kill?signal=TERM") < 0.3, "a kill that waits for nothing")
        wait_for(lambda: seconds({}, "stop?t=1") < 1.3, "a stop that waits no longer than asked")

    def test_restarts_at_the_same_time_are_all_done(self):
        name = self.started(None, {"NetworkMode": "none"}, Cmd=["sleep", "100000"])
        for _ in range(5):
            answers = []
            threads = [threading.Thread(target=lambda: answers.append(self.call("POST", f"/containers/{name}/restart?t=0"))) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(answers, [(204, None)] * 4)

    def test_a_kill_ends_the_restart_policy_unless_its_signal_is_other_than_a_stop_signal_that_was_set(self):
        script = ["sh", "-c", "trap 'exit 1' TERM; while :; do sleep 0.02; done"]
        for config, again in (({}, False), ({"StopSignal": "SIGTERM"}, False), ({"StopSignal": "SIGINT"}, True)):
            with self.subTest(config):
                name = self.started(host={"RestartPolicy": {"Name": "always"}, "Init": True}, Cmd=script, **config)
                self.call("POST", f"/containers/{name}/kill?signal=TERM")
                wait_for(lambda: self.inspect(name)["RestartCount"] or self.inspect(name)["State"]["Status"] == "exited", "what follows")
                self.assertEqual(self.inspect(name)["RestartCount"] > 0, again)
                self.call("DELETE", f"/containers/{name}?force=1")

    def test_what_waits_for_its_restart_can_be_ended_but_not_used(self):
        name = self.started(host={"RestartPolicy": {"Name": "always"}}, Cmd=["false"])

        def waits():
            seen = self.inspect(name)
            return seen["State"]["Status"] == "restarting" and seen["RestartCount"] > 5
        wait_for(waits, "a long wait for its restart")
        waiting = f"Container {name} is restarting, wait until the container is running"
        self.assert_refused(self.call("POST", f"/containers/{name}/pause"), 409, waiting)
        self.assert_refused(self.call("POST", f"/containers/{name}/exec", {"Cmd": ["true"]}), 409, waiting)
        self.assert_refused(self.call("GET", f"/containers/{name}/top"), 409, waiting)
        self.assertEqual(self.call("POST", f"/containers/{name}/start")[0], 304)
        self.assertEqual(self.call("POST", f"/containers/{name}/kill")[0], 204)
        self.assertEqual(self.inspect(name)["State"]["Status"], "exited")

    def test_a_start_that_fails_tells_by_its_exit_code_whether_the_program_was_at_fault(self):
        for host, config, code in (({}, {"Cmd": ["nonsense"]}, 127), ({}, {"Cmd": ["/bin/nonsense"]}, 127), ({}, {"Cmd": ["/etc/passwd"]}, 126),
                                   ({}, {"Cmd": ["/etc"]}, 126), ({"Sysctls": {"foo.bar": "1"}}, {}, 128), ({}, {"User": "nobody9"}, 128)):
            with self.subTest(host=host, config=config):
                made = self.made(host=host, **config)
                status, answer = self.call("POST", f"/containers/{made}/start")
                state = self.inspect(made)["State"]
                self.assertEqual((status // 100, state["Status"], state["ExitCode"], state["Error"]), (4, "created", code, answer["message"]))

    def test_each_change_shows_in_the_next_inspect(self):
        """Answers are kept while nothing that they show has changed."""
        _, network = self.call("POST", "/networks/create", {"Name": "kept-net", "Internal": True})
        self.addCleanup(self.call, "DELETE", f"/networks/{network['Id']}")
        made = self.made("kept", {"NetworkMode": "kept-net"})
        before = self.inspect(made)

        def changed(what, read, value):
            nonlocal before
            self.assertNotEqual(read(before), value, f"before: {what}")
            after = self.inspect(made)
            self.assertEqual(read(after), value, what)
            self.assertEqual(self.inspect(made), after, f"once more: {what}")
            before = after

        def post(path, body=None, status=204):
            self.assertEqual(self.call("POST", f"/containers/{made}/{path}", body)[0], status, path)

        post("start")
        changed("start", lambda i: (i["State"]["Status"], i["State"]["Pid"] > 0), ("running", True))
        post("pause")
        changed("pause", lambda i: i["State"]["Paused"], True)
        post("unpause")
        changed("unpause", lambda i: i["State"]["Status"], "running")
        post("rename?name=kept-too")
        changed("rename", lambda i: i["Name"], "/kept-too")
        post("update", {"RestartPolicy": {"Name": "unless-stopped"}}, 200)
        changed("update", lambda i: i["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped")
        exec_id = self.call("POST", f"/containers/{made}/exec", {"Cmd": ["sleep", "1000"]})[1]["Id"]
        self.assertEqual(self.inspect(made), before)
        self.assertEqual(self.call("POST", f"/exec/{exec_id}/start", {"Detach": True})[0], 200)
        changed("exec", lambda i: i["ExecIDs"], [exec_id])
        post("stop?t=0")
        changed("stop", lambda i: (i["State"]["Status"], i["State"]["ExitCode"], i["ExecIDs"]), ("exited", 137, None))
        for verb, networks in (("disconnect", []), ("connect", ["kept-net"])):
            self.assertEqual(self.call("POST", f"/networks/kept-net/{verb}", {"Container": made})[0], 200, verb)
            changed(verb, lambda i: list(i["NetworkSettings"]["Networks"]), networks)
        status, answer = self.call("GET", f"/containers/{made}/json?size=1")
        self.assertEqual((status, {k: v for k, v in answer.items() if not k.startswith("Size")}), (200, before))

    def test_top_takes_the_options_of_ps(self):
        name = self.started(Cmd=["sleep", "4321"])
        top = self.call("GET", f"/containers/{name}/top?ps_args=waux")[1]
        self.assertEqual(top["Titles"], ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"])
        self.assertEqual([p[-1] for p in top["Processes"]], ["sleep 4321"])
        pid = str(self.inspect(name)["State"]["Pid"])
        self.assertEqual(self.call("GET", f"/containers/{name}/top?ps_args=-o%20pid,comm")[1],
                         {"Titles": ["PID", "COMMAND"], "Processes": [[pid, "sleep"]]})
        self.assertEqual(self.call("GET", f"/containers/{name}/top")[1]["Processes"][0][-1], "sleep 4321")
        self.assertEqual(self.call("GET", f"/containers/{name}/top?ps_args=-Z0")[0], 500)
        self.assert_refused(self.call("GET", f"/containers/{name}/top?ps_args=-eo%20comm"), 400, "Couldn't find PID field in ps output")
        self.assertEqual(self.call("GET", f"/containers/{name}/top?ps_args=-o%20comm=PID")[0], 400)

    def test_an_update_holds_at_once_and_says_what_it_does_not_do(self):
        name = self.started(host={"Memory": 64 << 20, "PidsLimit": 50})
        update = f"/containers/{name}/update"
        self.assertEqual(self.inspect(name)["HostConfig"]["MemorySwap"], 128 << 20)
        self.assertEqual(self.call("POST", update, {"Memory": 100 << 20})[0], 200)
        self.assert_refused(self.call("POST", update, {"Memory": 200 << 20}), 409,
                            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
        self.assertEqual(self.call("POST", update, {"Memory": 200 << 20, "MemorySwap": -1})[0], 200)
        self.assertEqual(self.call("POST", update, {"PidsLimit": -1, "NanoCpus": 500000000})[0], 200)
        self.assert_refused(self.call("POST", update, {"CpuPeriod": 100000}), 409,
                            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
        self.assertEqual(self.call("POST", update, {"KernelMemory": 64 << 20})[1]["Warnings"],
                         ["Specifying a kernel memory limit is deprecated and will be removed in a future release."])
        stats = self.call("GET", f"/containers/{name}/stats?stream=0&one-shot=1")[1]
        self.assertEqual(stats["memory_stats"]["limit"], 200 << 20)
        self.assertNotIn("limit", stats["pids_stats"])
        self.assertEqual(self.inspect(name)["HostConfig"]["PidsLimit"], 0)


class Exec(Containers):
    def run_exec(self, container, start=None, **body):
        """What an exec answers on its taken-over connection, and how it is shown afterwards."""
        status, answer = self.call("POST", f"/containers/{container}/exec", {"AttachStdout": True, "AttachStderr": True, **body})
        self.assertEqual(status, 201, answer)
        request = json.dumps(start or {}).encode()
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.d.socket)
            s.sendall(b"POST /v1.45/exec/%s/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nConnection: Upgrade\r\n"
                      b"Upgrade: tcp\r\nContent-Length: %d\r\n\r\n%s" % (answer["Id"].encode(), len(request), request))
            said = b""
            while part := s.recv(65536):
                said += part
        head, _, text = said.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
        return text, self.call("GET", f"/exec/{answer['Id']}/json")[1]

    def test_only_the_streams_asked_for_are_sent(self):
        name = self.started()
        both = ["sh", "-c", "echo out; echo err >&2"]
        self.assertEqual(self.run_exec(name, Cmd=both, AttachStdout=False)[0], b"\2\0\0\0\0\0\0\4err\n")
        self.assertEqual(self.run_exec(name, Cmd=both, AttachStderr=False)[0], b"\1\0\0\0\0\0\0\4out\n")
        self.assertEqual(self.run_exec(name, Cmd=both, AttachStdout=False, AttachStderr=False)[0], b"")

    def test_what_cannot_start_says_so_in_the_stream_and_by_its_exit_code(self):
        name = self.started(User="user")
        text, shown = self.run_exec(name, Cmd=["nonsense"])
        self.assertIn(b'OCI runtime exec failed: exec failed: unable to start container process: exec: "nonsense": '
                      b"executable file not found in $PATH\r\n", text)
        self.assertEqual((shown["ExitCode"], shown["Running"], shown["ProcessConfig"]["user"]), (127, False, "user"))
        self.assertEqual(self.run_exec(name, Cmd=["/etc/passwd"])[1]["ExitCode"], 126)
        text, shown = self.run_exec(name, Cmd=["id"], User="nobody9")
        self.assertIn(b"unable to find user nobody9: no matching entries in passwd file\r\n", text)
        self.assertEqual(shown["ExitCode"], 126)
        self.assert_refused(self.call("POST", f"/containers/{name}/exec", {"Cmd": ["id"], "DetachKeys": "ctrl-nothing"}), 400,
                            "Invalid escape keys (ctrl-nothing) provided")

    def test_an_exec_runs_once_and_its_exit_code_is_null_until_its_end(self):
        name = self.started()
        made = self.call("POST", f"/containers/{name}/exec", {"Cmd": ["sh", "-c", "while ! test -e /go; do sleep 0.02; done; exit 4"]})[1]["Id"]
        before = self.call("GET", f"/exec/{made}/json")[1]
        self.assertEqual((before["Running"], before["ExitCode"], before["Pid"]), (False, None, 0))
        self.assertEqual(self.call("POST", f"/exec/{made}/start", {"Detach": True})[0], 200)
        during = self.call("GET", f"/exec/{made}/json")[1]
        self.assertEqual((during["Running"], during["ExitCode"]), (True, None))
        self.assertGreater(during["Pid"], 0)
        self.assertEqual(self.inspect(name)["ExecIDs"], [made])
        self.assert_refused(self.call("POST", f"/exec/{made}/start", {"Detach": True}), 409,
                            f"Error: Exec command {made} is already running")
        self.d.docker("exec", name, "touch", "/go")
        wait_for(lambda: self.call("GET", f"/exec/{made}/json")[1]["ExitCode"] == 4, "its exit code")
        self.assert_refused(self.call("POST", f"/exec/{made}/start", {"Detach": True}), 409, f"Error: Exec command {made} has already run")

    def test_the_size_of_its_terminal_is_the_clients(self):
        name = self.started()
        said = self.run_exec(name, {"Tty": True, "ConsoleSize": [11, 22]}, Cmd=["stty", "size"], Tty=True)[0]
        self.assertEqual(said, b"11 22\r\n")

    def test_a_paused_container_takes_no_exec(self):
        name = self.started()
        made = self.call("POST", f"/containers/{name}/exec", {"Cmd": ["true"]})[1]["Id"]
        self.call("POST", f"/containers/{name}/pause")
        paused = f"Container {name} is paused, unpause the container before exec"
        self.assert_refused(self.call("POST", f"/containers/{name}/exec", {"Cmd": ["true"]}), 409, paused)
        self.assert_refused(self.call("POST", f"/exec/{made}/start", {"Detach": True}), 409, paused)


class Archive(Containers):
    """docker cp, through its API."""

    def tar(self, **files):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, text in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.uid, entry.gid, entry.mode = len(text), 5, 6, 0o640
                tar.addfile(entry, io.BytesIO(text.encode()))
        return out.getvalue()

    def get(self, name, path):
        """(status, the path's stat, {entry: text}) or (status, None, message)."""
        status, headers, content = self.d.api("GET", f"/v1.45/containers/{name}/archive?path={path}")
        if status != 200:
            return status, None, json.loads(content)["message"]
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            entries = {m.name: tar.extractfile(m).read().decode("latin-1") if m.isfile() else m.linkname for m in tar}
        return status, json.loads(base64.b64decode(headers["X-Docker-Container-Path-Stat"])), entries

    def put(self, name, path, content, more=""):
        status, _, answer = self.d.api("PUT", f"/v1.45/containers/{name}/archive?path={path}{more}", content)
        return status, json.loads(answer)["message"] if answer else ""

    SCRIPT = "mkdir -p /d/sub; echo hi >/d/f; ln -s f /d/link; ln -s sub /d/dlink; ln -s /nowhere /d/bad; ln -s /d /abs; echo up; sleep 100000"

    def filled(self, **host):
        name = self.started(None, host, Cmd=["sh", "-c", self.SCRIPT])
        wait_for(lambda: "up" in self.d.docker("logs", name).out, "its files")
        return name

    def test_the_files_of_a_run_are_copied_from_a_stopped_container_too(self):
        self.made("ran", {"ExtraHosts": ["known:10.9.8.7"]}, Hostname="itself", Cmd=["true"])
        self.d.docker("start", "-a", "ran")
        self.assertIn("10.9.8.7\tknown", self.get("ran", "/etc/hosts")[2]["hosts"])
        self.assertEqual(self.get("ran", "/etc/hostname")[2], {"hostname": "itself\n"})
        self.assertEqual(self.d.docker("diff", "ran").out, "")  # reading made nothing
        own = os.path.join(self.d.root, "own-hosts")
        with open(own, "w") as file:
            file.write("mine\n")
        for command in ("true", "sleep 1000"):
            name = self.made(None, {"Binds": [f"{own}:/etc/hosts:ro"]}, Cmd=command.split())
            self.call("POST", f"/containers/{name}/start")
            if command == "true":
                self.d.docker("wait", name)
            self.assertEqual(self.get(name, "/etc/hosts")[2], {"hosts": "mine\n"}, command)

    def test_files_are_copied_in_the_instant_of_its_end_too(self):
        for round_ in range(5):
            name = self.made(None, {"NetworkMode": "none"}, User="user", Cmd=["sh", "-c", f"usleep {20000 + round_ * 500}"])
            ended, answers = threading.Event(), []
            path = f"/containers/{name}"
            calls = [("HEAD", f"{path}/archive?path=/etc/passwd"), ("GET", f"{path}/archive?path=/etc/passwd"), ("GET", f"{path}/export"),
                     ("GET", f"{path}/changes"), ("PUT", f"{path}/archive?path=/tmp&copyUIDGID=1")]

            def again_and_again(method, where, content, ended=ended, answers=answers):
                while not ended.is_set():
                    status, _, said = self.d.api(method, where, content)
                    answers.append((method, where, status, b"" if status == 200 else said))
            self.call("POST", f"{path}/start")
            threads = [threading.Thread(target=again_and_again, args=(m, w, self.tar(x="1") if m == "PUT" else None)) for m, w in calls]
            for thread in threads:
                thread.start()
            self.call("POST", f"{path}/wait")
            ended.set()
            for thread in threads:
                thread.join()
            self.assertEqual([a for a in answers if a[2] != 200], [])
            self.assertEqual({(m, w) for m, w, _, _ in answers}, set(calls))

    def test_looking_at_its_files_leaves_a_container_able_to_change_them(self):
        change = "echo more >>/etc/passwd && rm /bin/cal && mv /bin/dc /bin/other && mkdir /bin/made"
        for host in ({}, {"AutoRemove": True}):
            name = self.made(None, {"NetworkMode": "none", **host}, Cmd=["sleep", "100000"])
            self.assertEqual(self.d.api("HEAD", f"/containers/{name}/archive?path=/etc")[0], 200)
            self.call("POST", f"/containers/{name}/start")
            self.d.docker("exec", name, "sh", "-c", "echo before >/etc/own")
            status, _, content = self.d.api("GET", f"/containers/{name}/export")
            self.assertEqual(status, 200, content)
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                self.assertEqual(tar.extractfile("etc/own").read(), b"before\n")
            self.d.docker("exec", name, "sh", "-c", change)
            if not host:
                self.d.docker("kill", name)
                self.assertIn("D /bin/cal", self.d.docker("diff", name).out)
                self.assertEqual(self.get(name, "/bin/cal")[0], 404)

    def test_clients_before_1_24_copy_by_post(self):
        name = self.filled()
        copy = lambda what, version="v1.23", container=name: self.d.api("POST", f"/{version}/containers/{container}/copy", {"Resource": what})  # noqa: E731
        for path in ("/d/f", "d/f"):
            status, _, content = copy(path)
            self.assertEqual(status, 200, content)
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                self.assertEqual((tar.getnames(), tar.extractfile("f").read()), (["f"], b"hi\n"))
        self.assertEqual((copy("")[0], copy("")[2]), (400, b"Path cannot be empty\n"))
        self.assertEqual((copy("/none")[0], copy("/none")[2]), (404, f"Could not find the file /none in container {name}\n".encode()))
        self.assertEqual((copy("/x", container="nobody")[0], copy("/d/f", "v1.24")[0]), (404, 404))

    def test_the_end_of_a_path_says_what_is_meant(self):
        name = self.filled()
        whole = {"bad": "/nowhere", "dlink": "sub", "f": "hi\n", "link": "f", "sub": ""}
        for _ in ("running", "stopped"):
            self.assertEqual(self.get(name, "/d")[2], {"d": "", **{f"d/{k}": v for k, v in whole.items()}})
            self.assertEqual(self.get(name, "/abs/")[2], {"abs": "", **{f"abs/{k}": v for k, v in whole.items()}})
            self.assertEqual(self.get(name, "/d/.")[2], {".": "", **{f"./{k}": v for k, v in whole.items()}})
            self.assertEqual(self.get(name, "/d/link")[2], {"link": "f"})
            for path, shown, target in (("/d/f", "f", ""), ("/d/link", "link", "/d/f"), ("/d/dlink", "dlink", "/d/sub"),
                                        ("/d/bad", "bad", "/nowhere"), ("/d/.", ".", ""), ("/", "/", ""), ("d/f", "f", "")):
                seen = self.get(name, path)[1]
                self.assertEqual((seen["name"], seen["linkTarget"]), (shown, target))
            self.assertEqual(self.get(name, "/d/f/")[0], 400)
            self.assertIn("not a directory", self.get(name, "/d/f/")[2])
            self.assertEqual(self.get(name, "/none"), (404, None, f"Could not find the file /none in container {name}"))
            root = self.get(name, "/")[2]
            self.assertIn("/d/f", root)
            self.assertFalse([n for n in root if n.startswith(("/proc/", "/sys/"))])
            self.call("POST", f"/containers/{name}/stop?t=0")

    def test_volumes_and_binds_are_part_of_it_running_or_not(self):
        place = os.path.join(self.d.root, "bind")
        os.makedirs(place)
        binds = {"Binds": [f"{place}:/rw", f"{place}:/ro:ro", "cp-volume:/v"]}
        name = self.made(host=binds)
        self.addCleanup(self.call, "DELETE", "/volumes/cp-volume")
        self.assertEqual(self.put(name, "/v", self.tar(before="1")), (200, ""))
        self.assertEqual(self.put(name, "/rw", self.tar(here="2")), (200, ""))
        self.assertEqual(os.listdir(place), ["here"])
        self.call("POST", f"/containers/{name}/start")
        self.assertEqual(self.d.docker("exec", name, "cat", "/v/before", "/ro/here").out, "12")
        self.assertEqual(self.put(name, "/v", self.tar(during="3")), (200, ""))
        for _ in ("running", "stopped"):
            self.assertEqual(self.get(name, "/v")[2], {"v": "", "v/before": "1", "v/during": "3"})
            self.assertEqual(self.get(name, "/ro/here")[2], {"here": "2"})
            self.assertEqual(self.put(name, "/ro", self.tar(x="1")), (500, "mounted volume is marked read-only"))
            self.call("POST", f"/containers/{name}/stop?t=0")
        closed = self.made(host={"ReadonlyRootfs": True, **binds})
        self.assertEqual(self.put(closed, "/tmp", self.tar(x="1")), (500, "container rootfs is marked read-only"))
        self.assertEqual(self.put(closed, "/rw", self.tar(y="1")), (200, ""))

    def test_what_is_put_has_the_archives_owners_and_does_not_swap_files_for_directories_unasked(self):
        name = self.filled()
        self.assertEqual(self.put(name, "/abs/sub", self.tar(own="1"), "&copyUIDGID=1"), (200, ""))
        self.assertEqual(self.d.docker("exec", name, "stat", "-c", "%u %g %a", "/d/sub/own").out, "5 6 640\n")
        other = self.create(User="user:extra")[1]["Id"]  # not even started
        self.assertEqual(self.put(other, "/tmp", self.tar(own="1"), "&copyUIDGID=1"), (200, ""))
        self.assertEqual(self.put(other, "/tmp", self.tar(kept="1")), (200, ""))
        content = self.d.api("GET", f"/containers/{other}/archive?path=/tmp")[2]
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            self.assertEqual([(tar.getmember(f"tmp/{n}").uid, tar.getmember(f"tmp/{n}").gid) for n in ("own", "kept")], [(1000, 2000), (5, 6)])
        self.assertEqual(self.put(name, "/d/f", self.tar(x="1")), (400, "extraction point is not a directory"))
        self.assertEqual(self.put(name, "/none", self.tar(x="1")), (404, f"Could not find the file /none in container {name}"))
        self.assertEqual(self.put(name, "/d", self.tar(sub="1"), "&noOverwriteDirNonDir=1")[0], 400)
        self.assertEqual(self.put(name, "/d", self.tar(sub="1"))[0], 200)
        self.assertEqual(self.d.docker("exec", name, "cat", "/d/sub").out, "1")


class Stats(Containers):
    def test_what_a_container_uses_is_told_whole_and_of_a_stopped_one_nothing(self):
        name = self.started(Cmd=["sh", "-c", "while :; do :; done"], host={"Memory": 64 << 20})
        stats = self.call("GET", f"/containers/{name}/stats?stream=0")[1]
        now, before = stats["cpu_stats"], stats["precpu_stats"]
        used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
        passed = now["system_cpu_usage"] - before["system_cpu_usage"]
        percent = used / passed * now["online_cpus"] * 100
        self.assertTrue(0 < percent < 150, percent)
        self.assertEqual(stats["memory_stats"]["limit"], 64 << 20)
        self.assertGreater(len(stats["memory_stats"]["stats"]), 20)
        self.assertTrue(any(k.endswith("inactive_file") for k in stats["memory_stats"]["stats"]))
        self.assertEqual(set(stats["blkio_stats"]), {
            "io_service_bytes_recursive", "io_serviced_recursive", "io_queue_recursive", "io_service_time_recursive",
            "io_wait_time_recursive", "io_merged_recursive", "io_time_recursive", "sectors_recursive"})
        self.assertIn("rx_bytes", stats["networks"]["eth0"])
        once = self.call("GET", f"/containers/{name}/stats?stream=0&one-shot=1")[1]
        self.assertEqual((once["preread"], once["precpu_stats"]["cpu_usage"]["total_usage"]), ("0001-01-01T00:00:00Z", 0))
        self.call("POST", f"/containers/{name}/kill")
        wait_for(lambda: not self.inspect(name)["State"]["Running"], "its end")
        after = self.call("GET", f"/containers/{name}/stats?stream=0")[1]
        self.assertEqual((after["read"], after["memory_stats"], after["pids_stats"], after["cpu_stats"]["cpu_usage"]["total_usage"]),
                         ("0001-01-01T00:00:00Z", {}, {}, 0))
        self.assertNotIn("networks", after)


class Health(Containers):
    MS = 10 ** 6

    def health(self, name):
        return self.inspect(name)["State"]["Health"]

    def with_check(self, test, **more):
        check = {"Test": test, "Interval": 20 * self.MS, "Retries": 2, **more}
        return self.started(Healthcheck=check, Cmd=["sleep", "100000"])

    def test_a_check_that_hangs_is_ended_with_all_it_started(self):
        name = self.with_check(["CMD-SHELL", "echo begun; sleep 31337 & sleep 31337"], Timeout=2000 * self.MS, Interval=3600 * 1000 * self.MS,
                               StartInterval=1 * self.MS, StartPeriod=1 * self.MS)
        other = self.with_check(["CMD-SHELL", "echo begun; sleep 31337 & sleep 31337"], Timeout=2000 * self.MS)
        wait_for(lambda: self.health(other)["Status"] == "unhealthy", "the verdict")
        entry = self.health(other)["Log"][0]
        self.assertEqual((entry["ExitCode"], entry["Output"]), (-1, "Health check exceeded timeout (2s): begun\n"))
        self.call("POST", f"/containers/{other}/stop?t=0")
        wait_for(lambda: len(self.call("GET", f"/containers/{name}/top")[1]["Processes"]) == 1, "only the program to be left")

    def test_what_checks_said_is_bounded_and_stays_after_the_end(self):
        name = self.with_check(["CMD-SHELL", "yes | head -c 10000; exit 1"])
        wait_for(lambda: self.health(name)["Status"] == "unhealthy" and len(self.health(name)["Log"]) == 5, "five results")
        self.call("POST", f"/containers/{name}/stop?t=0")
        kept = self.health(name)
        self.assertEqual((kept["Status"], len(kept["Log"])), ("unhealthy", 5))
        self.assertEqual(kept["Log"][0]["Output"], "y\n" * 2048 + "...")
        self.assertEqual(kept["Log"][0]["ExitCode"], 1)

    def test_a_check_that_cannot_run_is_a_failure_that_says_why(self):
        name = self.with_check(["CMD", "nonsense"])
        wait_for(lambda: self.health(name)["Status"] == "unhealthy", "the verdict")
        self.assertEqual(self.health(name)["Log"][0]["ExitCode"], -1)
        self.assertIn("executable file not found", self.health(name)["Log"][0]["Output"])
        listed = self.call("GET", '/containers/json?filters={"health":["unhealthy"]}')[1]
        self.assertIn("(unhealthy)", {c["Id"]: c["Status"] for c in listed}[name])

    def test_none_turns_the_check_off(self):
        name = self.started(Healthcheck={"Test": ["NONE"]})
        self.assertNotIn("Health", self.inspect(name)["State"])


class Events(Containers):
    def events_of(self, name, since):
        _, _, content = self.d.api("GET", f'/v1.45/events?since={since}&until={self.now()}&filters={{"container":["{name}"],"type":["container"]}}')
        return [json.loads(line) for line in content.splitlines()]

    def now(self):
        return f"{time.time():.9f}"

    def test_each_thing_done_is_told_once_and_in_order(self):
        since = self.now()
        name = self.started("ev-one", Labels={"l": "v"}, Cmd=["sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done"])
        wait_for(lambda: "up" in self.d.docker("logs", name).out, "the trap")
        self.call("GET", f"/containers/{name}/top")
        run = self.call("POST", f"/containers/{name}/exec", {"Cmd": ["sh", "-c", "exit 4"]})[1]["Id"]
        self.call("POST", f"/exec/{run}/start", {"Detach": True})
        wait_for(lambda: not self.call("GET", f"/exec/{run}/json")[1]["Running"], "the exec's end")
        self.call("POST", f"/containers/{name}/pause")
        self.call("POST", f"/containers/{name}/unpause")
        self.call("POST", f"/containers/{name}/update", {"CpuShares": 512})
        self.call("POST", f"/containers/{name}/rename?name=ev-two")
        self.d.api("GET", f"/v1.45/containers/{name}/export")
        self.d.api("GET", f"/v1.45/containers/{name}/archive?path=/etc/passwd")
        self.d.api("PUT", f"/v1.45/containers/{name}/archive?path=/tmp", bytes(1024))
        image = self.call("POST", f"/commit?container={name}&repo=ev-image&comment=hi")[1]["Id"]
        self.call("POST", f"/containers/{name}/kill?signal=WINCH")
        self.call("POST", f"/containers/{name}/restart?t=60")
        self.call("POST", f"/containers/{name}/kill")
        wait_for(lambda: not self.inspect(name)["State"]["Running"], "its end")
        self.call("DELETE", f"/containers/{name}")
        self.call("DELETE", "/images/ev-image")
        events = self.events_of(name, since)
        self.assertEqual([e["Action"] for e in events], [
            "create", "start", "top", "exec_create: sh -c exit 4", "exec_start: sh -c exit 4", "exec_die", "pause", "unpause",
            "update", "rename", "export", "archive-path", "extract-to-dir", "pause", "commit", "unpause", "kill", "kill", "die",
            "stop", "start", "restart", "kill", "die", "destroy"])
        told = {e["Action"]: e["Actor"]["Attributes"] for e in events}
        self.assertEqual(told["create"], {"image": "busybox", "l": "v", "name": "ev-one"})
        self.assertEqual((told["exec_die"]["execID"], told["exec_die"]["exitCode"]), (run, "4"))
        self.assertEqual((told["rename"]["oldName"], told["rename"]["name"]), ("/ev-one", "ev-two"))
        self.assertEqual((told["commit"]["imageID"], told["commit"]["imageRef"], told["commit"]["comment"]), (image, "ev-image", "hi"))
        self.assertEqual((told["die"]["exitCode"], told["kill"]["signal"]), ("137", "9"))
        self.assertTrue(told["die"]["execDuration"].isdigit())
        for e in events:
            self.assertEqual((e["Type"], e["scope"], e["status"], e["id"], e["from"]), ("container", "local", e["Action"], name, "busybox"))
            self.assertEqual(e["timeNano"] // 10 ** 9, e["time"])


if __name__ == "__main__":
    unittest.main()
