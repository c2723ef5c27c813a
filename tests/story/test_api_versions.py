"""What version 1.52 of the API changes: who asks in an older one, or names none, misses nothing of what it takes away."""
import json
import urllib.parse

from harness import Story, wait_for

NEW, OLD, NONE = "/v1.52", "/v1.51", ""
REPEATED = {"Bridge", "HairpinMode", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen", "SecondaryIPAddresses", "SecondaryIPv6Addresses",
            "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen", "IPv6Gateway", "MacAddress"}


class ApiVersions(Story):
    def call(self, method, path, body=None, expect=200):
        status, _, content = self.d.api(method, path, body)
        self.assertEqual(status, expect, content)
        return json.loads(content) if content.strip() else None

    def create(self, version, host=None, **config):
        answer = self.call("POST", f"{version}/containers/create", {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": host or {}, **config}, 201)
        self.addCleanup(self.d.api, "DELETE", f"/containers/{answer['Id']}?force=1")
        return answer

    def test_a_container_is_shown_without_what_is_said_twice(self):
        made = self.create(OLD, {"KernelMemoryTCP": 8 << 20}, MacAddress="02:42:ac:11:00:0a")["Id"]
        for version, more in ((NEW, False), (OLD, True), (NONE, True)):
            told = self.call("GET", f"{version}/containers/{made}/json")
            self.assertEqual(REPEATED & set(told["NetworkSettings"]), REPEATED if more else set(), version)
            self.assertLessEqual({"Networks", "Ports", "SandboxID", "SandboxKey"}, set(told["NetworkSettings"]))
            self.assertEqual(("OnBuild" in told["Config"], told["Config"].get("MacAddress")), (more, "02:42:ac:11:00:0a" if more else None))
            self.assertEqual(told["HostConfig"].get("KernelMemoryTCP"), 8 << 20 if more else None)

    def test_fields_of_a_container_are_passed_over(self):
        for version, address, limit in ((NEW, "", None), (OLD, "02:42:ac:11:00:0b", 8 << 20), (NONE, "02:42:ac:11:00:0b", 8 << 20)):
            made = self.create(version, {"KernelMemoryTCP": 8 << 20}, MacAddress="02:42:ac:11:00:0b")
            self.assertEqual(bool(made["Warnings"]), bool(address))
            told = self.call("GET", f"{OLD}/containers/{made['Id']}/json")
            self.assertEqual((told["Config"].get("MacAddress", ""), told["HostConfig"].get("KernelMemoryTCP")), (address, limit))
        self.call("POST", f"{NEW}/containers/{made['Id']}/update", {"KernelMemoryTCP": 8 << 20})
        self.call("POST", f"{OLD}/containers/{made['Id']}/update", {"KernelMemoryTCP": 8 << 20}, 501)

    def test_a_port_without_a_binding_is_warned_of(self):
        host = {"PortBindings": {"80/tcp": [], "81/tcp": [{"HostPort": ""}]}}
        warnings = self.create(NEW, host)["Warnings"]
        self.assertEqual([w for w in warnings if "port-bindings: 80/tcp." in w], warnings)
        self.assertEqual((len(warnings), self.create(OLD, host)["Warnings"]), (1, []))

    def test_an_image_is_shown_without_what_it_has_not(self):
        empty = {"Cmd": False, "Entrypoint": True, "Env": True, "Labels": True, "OnBuild": True, "User": True, "Volumes": True, "WorkingDir": True}
        for version, more in ((NEW, False), (OLD, True), (NONE, True)):
            told = self.call("GET", f"{version}/images/busybox/json")
            self.assertEqual({field: field not in told["Config"] for field in empty}, {f: not more and gone for f, gone in empty.items()}, version)
            self.assertEqual({"Parent", "Author"} & set(told), {"Parent", "Author"} if more else set())
            self.assertTrue(told["Comment"])  # of its import

    def test_events_are_of_the_type_that_is_asked_for(self):
        made = self.create(OLD)["Id"]
        query = urllib.parse.urlencode({"since": 1, "until": "0s", "filters": json.dumps({"container": [made]})})
        for version, accept, kind in ((NEW, None, "application/json"), (NEW, "*/*", "application/x-ndjson"), (OLD, "*/*", "application/json"),
                                      (NEW, "text/html, application/json-seq;q=0.9", "application/json-seq"), (NONE, "*/*", "application/json")):
            _, headers, content = self.d.api("GET", f"{version}/events?{query}", headers={"Accept": accept} if accept else None)
            self.assertEqual(headers["Content-Type"], kind)
            lines = content.decode().strip("\n").split("\n")
            self.assertEqual([line.startswith("\x1e") for line in lines], [kind.endswith("seq")] * len(lines))
            event = json.loads(lines[0].lstrip("\x1e"))
            self.assertEqual((event["Action"], event["Actor"]["ID"]), ("create", made))

    def test_a_network_tells_how_many_addresses_are_free(self):
        ipam = {"Config": [{"Subnet": "172.28.0.0/24", "IPRange": "172.28.0.16/28", "AuxiliaryAddresses": {"a": "172.28.0.17", "b": "172.28.0.200"}},
                           {"Subnet": "fd00:28::/64"}]}
        self.call("POST", "/networks/create", {"Name": "counted", "IPAM": ipam, "EnableIPv6": True}, 201)
        self.addCleanup(self.d.api, "DELETE", "/networks/counted")
        made = self.create(NEW, {"NetworkMode": "counted"})["Id"]
        self.call("POST", f"/containers/{made}/start", expect=204)
        self.addCleanup(self.d.api, "DELETE", f"/containers/{made}?force=1")
        status = self.call("GET", f"{NEW}/networks/counted")["Status"]["IPAM"]["Subnets"]
        # The network's own, the gateway, two that are set aside, the container, broadcasts; of the range two.
        self.assertEqual(status["172.28.0.0/24"], {"IPsInUse": 6, "DynamicIPsAvailable": 14})
        self.assertEqual(status["fd00:28::/64"], {"IPsInUse": 3, "DynamicIPsAvailable": 2 ** 63 - 1})
        self.assertNotIn("Status", self.call("GET", f"{OLD}/networks/counted"))
        self.assertEqual(self.call("GET", f"{NEW}/networks/none")["Status"], {"IPAM": {"Subnets": {}}})

    def test_disk_usage_is_summed_up(self):
        made = self.create(NEW)["Id"]
        self.call("POST", "/volumes/create", {"Name": "unused"}, 201)
        self.addCleanup(self.d.api, "DELETE", "/volumes/unused")
        kinds = {"ImageUsage": "Images", "ContainerUsage": "Containers", "VolumeUsage": "Volumes", "BuildCacheUsage": "BuildCache"}
        both, brief, old = (self.call("GET", f"{path}") for path in (f"{NEW}/system/df", f"{NEW}/system/df?verbose=1", f"{OLD}/system/df?verbose=1"))
        self.assertEqual(set(both), {*kinds, *kinds.values(), "LayersSize"})
        self.assertEqual((set(brief), set(old)), (set(kinds), {*kinds.values(), "LayersSize"}))
        for usage, items in kinds.items():
            self.assertEqual((brief[usage].pop("Items"), brief[usage], brief[usage]["TotalCount"]), (old[items], both[usage], len(old[items])))
        images, containers, volumes = (both[usage] for usage in list(kinds)[:3])
        self.assertEqual((images["ActiveCount"], images["TotalSize"], images["Reclaimable"]), (1, old["LayersSize"], 0))
        self.assertEqual((containers["ActiveCount"], volumes["ActiveCount"], volumes["Reclaimable"]), (0, 0, volumes["TotalSize"]))
        self.call("POST", f"/containers/{made}/start", expect=204)
        self.assertEqual(self.call("GET", f"{NEW}/system/df?type=container&verbose=1")["ContainerUsage"]["ActiveCount"], 1)
        self.assertEqual(set(self.call("GET", f"{NEW}/system/df?type=container&verbose=1")), {"ContainerUsage"})

    def test_stats_and_info(self):
        made = self.create(NEW)["Id"]
        stats = f"/containers/{made}/stats?stream=0&one-shot=1"
        self.assertEqual((self.call("GET", NEW + stats)["os_type"], self.call("GET", OLD + stats).get("os_type")), ("linux", None))
        self.assertEqual(["KernelMemoryTCP" in self.call("GET", f"{v}/info") for v in (NEW, OLD, NONE)], [False, True, True])

    def test_swap_of_a_service(self):
        self.call("POST", "/swarm/init", {"ListenAddr": "127.0.0.1:0", "AdvertiseAddr": "127.0.0.1"})
        self.addCleanup(self.d.api, "POST", "/swarm/leave?force=1")

        def spec(**resources):
            return {"Name": "s", "TaskTemplate": {"ContainerSpec": {"Image": "busybox", "Command": ["sleep", "1000"], "StopSignal": "KILL"}, "Resources": resources}}
        for wrong in ({"SwapBytes": 1 << 20}, {"SwapBytes": -2}, {"MemorySwappiness": 101}):
            self.call("POST", f"{NEW}/services/create", spec(**wrong), 400)
        asked = {"Limits": {"MemoryBytes": 64 << 20}, "SwapBytes": 16 << 20, "MemorySwappiness": 7}
        for version, swap, swappiness in ((NEW, 80 << 20, 7), (OLD, 128 << 20, None)):
            made = self.call("POST", f"{version}/services/create", spec(**asked), 201)["ID"]
            shown = self.call("GET", f"{NEW}/services/{made}")["Spec"]["TaskTemplate"]["Resources"]
            self.assertEqual(shown, asked if version == NEW else {"Limits": asked["Limits"]})
            container = wait_for(lambda: self.call("GET", "/containers/json"), "its container")[0]["Id"]
            host = self.call("GET", f"/containers/{container}/json")["HostConfig"]
            self.assertEqual((host["MemorySwap"], host["MemorySwappiness"]), (swap, swappiness))
            self.call("DELETE", f"/services/{made}")
            wait_for(lambda: not self.call("GET", "/containers/json?all=1"), "its container to go")
