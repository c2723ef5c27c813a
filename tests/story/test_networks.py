"""Networks as Docker's clients know them: what is asked for, what is refused in which words, and what containers reach."""
import contextlib
import json
import os
import socket
import subprocess
import unittest

from harness import DROVER, Drover, Story, run, wait_for

WEB = "mkdir -p /w; echo {text} > /w/index.html; exec httpd -f -p {port} -h /w"


def http6(address, port):
    try:
        with socket.create_connection((address, port), timeout=5) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: s.recv(4096), b"")).decode().rsplit("\r\n", 1)[-1]
    except OSError:
        return ""


class Base(Story):
    def ask(self, method, path, body=None, version="v1.41"):
        status, _, content = self.d.api(method, f"/{version}{path}", body)
        return status, json.loads(content) if content.strip() else None

    def network(self, name, status=201, **body):
        got, answer = self.ask("POST", "/networks/create", {"Name": name, "CheckDuplicate": True, **body})
        self.assertEqual(got, status, answer)
        return answer["Id"] if got == 201 else answer["message"]

    def shown(self, name):
        status, answer = self.ask("GET", f"/networks/{name}")
        self.assertEqual(status, 200, answer)
        return answer

    def run_(self, name, *options, command="exec sleep 100000"):
        self.d.docker("run", "-d", "--name", name, *options, "busybox", "sh", "-c", command)
        return self.d.inspect(name)

    def inside(self, name, *command):
        return self.d.docker("exec", name, *command, check=False)

    def end(self, *names, networks=()):
        self.d.docker("rm", "-f", *names)
        for name in networks:
            self.d.docker("network", "rm", name)


class Networks(Base):
    def test_what_cannot_be_a_network_is_refused_in_dockers_words(self):
        pool = {"Config": [{"Subnet": "10.77.0.0/24"}]}
        self.network("first", IPAM=pool)

        def ipam(**config):
            return {"IPAM": {"Config": [config]}}
        icc = {"com.docker.network.bridge.enable_icc": "maybe"}
        mtu = {"com.docker.network.driver.mtu": "much"}
        for body, status, words in [
                ({"Driver": "foo"}, 404, 'plugin "foo" not found'),
                ({"Driver": "overlay"}, 503, "This node is not a swarm manager."),
                ({"Driver": "host"}, 403, 'only one instance of "host" network is allowed'),
                ({"Driver": "null"}, 403, 'only one instance of "null" network is allowed'),
                ({"Scope": "swarm"}, 403, "cannot create a swarm scoped network when swarm is not active"),
                ({"Ingress": True}, 403, "Ingress network can only be global scope network"),
                (ipam(Subnet="10.77.0.0/25"), 403, "Pool overlaps with other one on this address space"),
                (ipam(Subnet="10.78.0.0"), 400, "Invalid subnet 10.78.0.0 : invalid CIDR address: 10.78.0.0"),
                (ipam(Gateway="10.78.0.1"), 400, "Invalid subnet  : invalid CIDR address: "),
                (ipam(Subnet="10.78.0.0/24", Gateway="10.79.0.1"), 400, "Requested address is out of range"),
                (ipam(Subnet="10.78.0.0/24", Gateway="foo"), 400, "invalid gateway address foo in Ipam configuration"),
                (ipam(Subnet="10.78.0.0/24", IPRange="foo"), 400, "Invalid Address SubPool"),
                (ipam(Subnet="10.78.0.0/24", IPRange="10.79.0.0/25"), 400, "not within subnet"),
                (ipam(Subnet="10.78.0.0/32"), 400, "No available addresses on this pool"),
                (ipam(Subnet="10.78.0.0/24", AuxiliaryAddresses={"x": "10.79.0.1"}), 403,
                 "auxiliary address: (x:10.79.0.1) must belong to the master pool: 10.78.0.0/24"),
                (ipam(Subnet="10.78.0.0/24", AuxiliaryAddresses={"x": "foo"}), 400, "non parsable secondary ip address (x:foo)"),
                ({"IPAM": {"Config": [{"Subnet": "10.78.0.0/24"}, {"Subnet": "10.79.0.0/24"}]}}, 403,
                 "bridge driver doesn't support multiple subnets"),
                ({"IPAM": {"Driver": "nodrv"}}, 404, 'plugin "nodrv" not found'),
                ({"Options": icc}, 400, "failed to parse com.docker.network.bridge.enable_icc value: maybe"),
                ({"Options": mtu}, 400, "failed to parse com.docker.network.driver.mtu value: much"),
                ({"Options": {"unknown": "x"}}, 501, '"Options.unknown" is not supported'),
                ({"ConfigFrom": {"Network": "nope"}}, 404, 'configuration network "nope" does not exist'),
                ({"Driver": "macvlan", "Options": {"macvlan_mode": "zz"}}, 400, "requested macvlan mode 'zz' is not valid"),
                ({"Driver": "macvlan", "Options": {"parent": "nope0"}}, 400,
                 "invalid subinterface vlan name nope0, example formatting is eth0.10"),
                ({"Driver": "macvlan", "Options": {"parent": "lo"}}, 400, "loopback interface is not a valid"),
                ({"Driver": "ipvlan", "Options": {"ipvlan_mode": "zz"}}, 400, "requested ipvlan mode 'zz' is not valid"),
        ]:
            with self.subTest(body=body):
                self.assertIn(words, self.network("second", status, **body))
        for name, words in [("bridge", "operation is not permitted on predefined bridge network"), ("", "invalid name"),
                            ("none", "operation is not permitted on predefined none network")]:
            self.assertIn(words, self.network(name, 400 if not name else 403))
        self.assertIn("network with name first already exists", self.network("first", 409))
        for ref, status, words in [("host", 403, "host is a pre-defined network and cannot be removed"),
                                   ("nope", 404, "network nope not found")]:
            got, answer = self.ask("DELETE", f"/networks/{ref}")
            self.assertEqual((got, answer["message"]), (status, words))
        self.d.docker("network", "rm", "first")
        self.assertEqual(set(self.d.docker("network", "ls", "--format", "{{.Name}}").out.split()), {"bridge", "host", "none"})

    def test_ipam_is_kept_as_it_was_asked_for_and_addresses_follow_it(self):
        config = {"Subnet": "172.28.0.0/16", "IPRange": "172.28.5.0/30", "Gateway": "172.28.5.3",
                  "AuxiliaryAddresses": {"a": "172.28.5.0", "b": "172.28.1.6"}}
        self.network("planned", IPAM={"Driver": "default", "Config": [config], "Options": {"k": "v"}})
        shown = self.shown("planned")
        self.assertEqual(shown["IPAM"], {"Driver": "default", "Options": {"k": "v"}, "Config": [config]})
        addresses = [self.run_(f"p{i}", "--network", "planned")["NetworkSettings"]["Networks"]["planned"]["IPAddress"]
                     for i in range(2)]
        self.assertEqual(addresses, ["172.28.5.1", "172.28.5.2"])
        full = self.d.docker("run", "--name", "p2", "--network", "planned", "busybox", "true", check=False)
        self.assert_clean_refusal(full, "no available IPv4 addresses on this network's address pools")
        self.end("p0", "p1", "p2", networks=["planned"])
        # Docker takes a subnet with host bits for the network it lies in, and shows what it was given.
        self.network("loose", IPAM={"Config": [{"Subnet": "10.77.1.5/24"}]})
        self.assertEqual(self.shown("loose")["IPAM"]["Config"], [{"Subnet": "10.77.1.5/24"}])
        self.d.docker("network", "rm", "loose")
        picked = self.shown(self.network("picked"))["IPAM"]
        self.assertEqual((picked["Driver"], picked["Options"], len(picked["Config"])), ("default", None, 1))
        self.assertIn("Gateway", picked["Config"][0])
        self.d.docker("network", "rm", "picked")

    def test_addresses_asked_for_are_given_once_and_checked(self):
        d = self.d
        self.network("fixed", IPAM={"Config": [{"Subnet": "10.81.0.0/24"}]})
        self.network("anyhow")
        settings = self.run_("f1", "--network", "fixed", "--ip", "10.81.0.77", "--mac-address", "02:42:00:11:22:33",
                             "--link-local-ip", "169.254.8.8")["NetworkSettings"]["Networks"]["fixed"]
        self.assertEqual((settings["IPAddress"], settings["MacAddress"]), ("10.81.0.77", "02:42:00:11:22:33"))
        self.assertEqual(settings["IPAMConfig"], {"IPv4Address": "10.81.0.77", "LinkLocalIPs": ["169.254.8.8"]})
        out = self.inside("f1", "ip", "addr", "show", "eth0").out
        for word in ("10.81.0.77/24", "169.254.8.8/16", "02:42:00:11:22:33"):
            self.assertIn(word, out)
        d.docker("restart", "-t", "0", "f1")
        self.assertIn("02:42:00:11:22:33", self.inside("f1", "ip", "addr", "show", "eth0").out)
        for options, words in [
                (["--network", "fixed", "--ip", "10.81.0.77"], "Address already in use"),
                (["--network", "fixed", "--ip", "10.82.0.7"], "does not belong to any of this network's subnets"),
                (["--network", "anyhow", "--ip", "10.81.0.7"],
                 "user specified IP address is supported only when connecting to networks with user configured subnets"),
                (["--network", "bridge", "--ip", "10.81.0.7"], "user specified IP address is supported on user defined networks only"),
        ]:
            self.assert_clean_refusal(d.docker("run", "--rm", *options, "busybox", "true", check=False), words)
        for mac in ("zz", "03:42:00:11:22:33"):
            status, answer = self.ask("POST", "/containers/create", {"Image": "busybox", "MacAddress": mac})
            self.assertEqual((status, answer["message"]), (400, f"address {mac}: invalid MAC address"))
        ids = d.docker("ps", "-aq", "--filter", "status=created").out.split()
        self.end("f1", *ids, networks=["fixed", "anyhow"])

    def test_options_of_a_bridge_are_in_force(self):
        d = self.d
        d.docker("network", "create", "-o", "com.docker.network.bridge.name=brstory", "-o", "com.docker.network.driver.mtu=1400",
                 "-o", "com.docker.network.bridge.enable_icc=false", "-o", "com.docker.network.container_iface_prefix=net",
                 "-o", "com.docker.network.bridge.host_binding_ipv4=127.0.0.1", "--label", "tier=front", "tuned")
        self.assertIn("brstory", {name for _, name in socket.if_nameindex()})
        a = self.run_("aa", "--network", "tuned", "-p", "18100:80", command=WEB.format(text="a", port=80))
        self.run_("bb", "--network", "tuned")
        self.assertEqual(a["NetworkSettings"]["Ports"]["80/tcp"], [{"HostIp": "127.0.0.1", "HostPort": "18100"}])
        out = self.inside("aa", "ip", "addr", "show", "net0").out
        self.assertIn("mtu 1400", out)
        address = a["NetworkSettings"]["Networks"]["tuned"]["IPAddress"]
        self.assertNotEqual(self.inside("bb", "ping", "-c", "1", "-W", "1", address).status, 0)
        wait_for(lambda: http6("127.0.0.1", 18100) == "a\n", "the page at the loopback address")
        self.end("aa", "bb", networks=["tuned"])
        self.assertNotIn("brstory", {name for _, name in socket.if_nameindex()})

    def test_a_configuration_network_gives_what_it_has_to_others(self):
        self.network("plan", ConfigOnly=True, IPAM={"Config": [{"Subnet": "10.83.0.0/24"}]}, Labels={"a": "b"})
        plan = self.shown("plan")
        self.assertEqual((plan["ConfigOnly"], plan["Driver"]), (True, "null"))
        self.assertIn("user specified configurations are not supported",
                      self.network("x", 403, ConfigFrom={"Network": "plan"}, IPAM={"Config": [{"Subnet": "10.84.0.0/24"}]}))
        self.network("built", ConfigFrom={"Network": "plan"})
        built = self.shown("built")
        self.assertEqual((built["IPAM"]["Config"], built["ConfigFrom"]), ([{"Subnet": "10.83.0.0/24"}], {"Network": "plan"}))
        status, answer = self.ask("DELETE", "/networks/plan")
        self.assertEqual((status, answer["message"]),
                         (403, 'error while removing network: configuration network "plan" is in use'))
        self.assert_clean_refusal(self.d.docker("run", "--rm", "--network", "plan", "busybox", "true", check=False),
                                  "cannot create endpoint on configuration-only network")
        self.d.docker("network", "rm", "built", "plan")

    def test_names_on_a_network_are_told_as_each_version_expects(self):
        d = self.d
        self.network("named")
        status, answer = self.ask("POST", "/containers/create?name=known", {
            "Image": "busybox", "Cmd": ["sleep", "1000"], "Hostname": "self", "HostConfig": {"NetworkMode": "named"},
            "NetworkingConfig": {"EndpointsConfig": {"named": {"Aliases": ["nick", "nick"], "MacAddress": "02:99:00:00:00:07"}}}}, version="v1.45")
        self.assertEqual((status, answer["Warnings"]), (201, []), answer)
        identity = answer["Id"]
        d.docker("start", "known")
        for version, aliases in (("v1.41", ["nick", identity[:12], "self"]), ("v1.44", ["nick", identity[:12], "self"]),
                                 ("v1.45", ["nick", "nick"]), ("v1.41", ["nick", identity[:12], "self"])):
            shown = self.ask("GET", "/containers/known/json", version=version)[1]
            endpoint = shown["NetworkSettings"]["Networks"]["named"]
            self.assertEqual((endpoint["Aliases"], endpoint["DNSNames"]), (aliases, ["known", "nick", identity[:12], "self"]))
            self.assertEqual((endpoint["MacAddress"], shown["Config"]["MacAddress"]), ("02:99:00:00:00:07", "02:99:00:00:00:07"))
        listed = self.ask("GET", "/containers/json", version="v1.45")[1][0]["NetworkSettings"]["Networks"]["named"]
        self.assertEqual((listed["Aliases"], listed["DNSNames"], listed["MacAddress"]), (None, None, "02:99:00:00:00:07"))
        d.docker("rename", "known", "renamed")
        shown = self.ask("GET", "/containers/renamed/json", version="v1.45")[1]["NetworkSettings"]["Networks"]["named"]
        self.assertEqual(shown["DNSNames"][0], "renamed")
        for name in (*shown["DNSNames"], "nick.named", "renamed.named"):
            self.assertEqual(d.docker("run", "--rm", "--network", "named", "busybox", "ping", "-c", "1", "-W", "5", name, check=False).status, 0, name)
        d.docker("rm", "-f", "renamed")
        # A host name that no query can have hinders nobody's names.
        d.docker("run", "-d", "--name", "odd", "--hostname", "a b", "--network", "named", "busybox", "sleep", "1000")
        self.assertEqual(d.docker("run", "--rm", "--network", "named", "busybox", "ping", "-c", "1", "-W", "5", "odd", check=False).status, 0)
        d.docker("rm", "-f", "odd")
        d.docker("network", "rm", "named")

    def test_ports_are_nothing_on_networks_that_are_internal(self):
        self.network("inner", Internal=True)
        self.d.docker("run", "-d", "--name", "inside", "--network", "inner", "-p", "18322:80", "busybox", "sleep", "1000")
        self.assertEqual(self.d.docker("port", "inside").out, "")
        self.d.docker("rm", "-f", "inside")
        self.d.docker("network", "rm", "inner")

    def test_one_name_may_be_had_twice_and_then_needs_the_id(self):
        first = self.network("twin")
        status, answer = self.ask("POST", "/networks/create", {"Name": "twin"})
        self.assertEqual(status, 201, answer)
        self.assertIn(first, answer["Warning"])
        self.assertEqual(self.ask("POST", "/networks/create", {"Name": "twin"}, version="v1.44")[0], 409)
        status, message = self.ask("GET", "/networks/twin")
        self.assertEqual((status, message["message"]), (400, "network twin is ambiguous (2 matches found based on name)"))
        self.assertEqual(self.shown(first)["Id"], first)
        # An id goes before a name that is the same text.
        third = self.network(first[:12])
        self.assertEqual(self.shown(first[:12])["Id"], third)
        for ref in (first[:12], first, answer["Id"]):
            self.assertEqual(self.ask("DELETE", f"/networks/{ref}")[0], 204)

    def test_lists_are_filtered_and_prune_takes_what_nobody_uses(self):
        d = self.d
        self.network("used", Labels={"k": "v"})
        self.network("idle", Labels={"k": "w"})
        d.docker("create", "--name", "user", "--network", "used", "busybox")

        def names(**filters):
            status, found = self.ask("GET", "/networks?filters=" + json.dumps(filters).replace(" ", "").replace('"', "%22"))
            return {n["Name"] for n in found} if status == 200 else (status, found["message"])
        self.assertEqual(names(label=["k"]), {"used", "idle"})
        self.assertEqual(names(label=["k=v"]), {"used"})
        self.assertEqual(names(dangling=["true"]), {"idle"})
        self.assertEqual(names(type=["custom"]), {"used", "idle"})
        self.assertEqual(names(driver=["null"]), {"none"})
        self.assertEqual(names(name=["us"]), {"used"})
        self.assertEqual(names(scope=["swarm"]), set())
        self.assertEqual(names(foo=["x"])[0], 400)
        self.assertEqual(names(dangling=["x"])[0], 400)
        self.assertEqual(names(type=["x"]), (400, "invalid filter: 'type'='x'"))
        self.assertEqual(self.ask("POST", "/networks/prune")[1], {"NetworksDeleted": ["idle"]})
        self.end("user", networks=["used"])

    def test_an_internal_network_leads_nowhere_else(self):
        d = self.d
        d.docker("network", "create", "--internal", "inner")
        self.run_("i1", "--network", "inner")
        self.assertEqual(self.inside("i1", "ip", "route").out.count("default"), 0)
        self.run_("i2", "--network", "inner")
        self.assertEqual(self.inside("i2", "ping", "-c", "1", "i1").status, 0)
        self.assertEqual(d.inspect("i1")["NetworkSettings"]["Networks"]["inner"]["Gateway"], "")
        self.end("i1", "i2", networks=["inner"])

    def test_connect_and_disconnect_change_a_container_that_runs(self):
        d = self.d
        for name, subnet in (("one", "10.85.1.0/24"), ("two", "10.85.2.0/24")):
            d.docker("network", "create", "--subnet", subnet, name)
        self.run_("cc", "--network", "one", "-p", "18101:80", command=WEB.format(text="c", port=80))
        self.run_("peer", "--network", "two")
        d.docker("network", "connect", "--alias", "other", "--ip", "10.85.2.77", "two", "cc")
        settings = d.inspect("cc")["NetworkSettings"]["Networks"]["two"]
        self.assertEqual((settings["IPAddress"], settings["Aliases"][0]), ("10.85.2.77", "other"))
        shown = self.shown("two")["Containers"]
        self.assertEqual({c["IPv4Address"] for c in shown.values()}, {"10.85.2.2/24", "10.85.2.77/24"})
        self.assertEqual(shown[d.inspect("cc")["Id"]]["EndpointID"], settings["EndpointID"])
        wait_for(lambda: self.inside("peer", "ping", "-c", "1", "-W", "1", "other").status == 0, "the alias to answer")
        self.assertEqual(self.inside("peer", "ping", "-c", "1", d.inspect("cc")["Id"][:12]).status, 0)
        for path, body, status, words in [
                ("two/connect", {"Container": "cc"}, 403, "endpoint with name cc already exists in network two"),
                ("host/connect", {"Container": "cc"}, 400,
                 "container cannot be disconnected from host network or connected to host network"),
                ("none/connect", {"Container": "cc"}, 400, "container cannot be connected to multiple networks with one of"),
                ("nope/connect", {"Container": "cc"}, 404, "network nope not found"),
                ("two/connect", {"Container": "nope"}, 404, "No such container: nope"),
                ("bridge/disconnect", {"Container": "cc"}, 403, "is not connected to network bridge"),
                ("two/disconnect", {"Container": "nope"}, 404, "No such container: nope"),
                ("two/disconnect", {"Container": "nope", "Force": True}, 404, "endpoint nope not found"),
                ("bridge/connect", {"Container": "cc", "EndpointConfig": {"Aliases": ["x"]}}, 400, "network-scoped alias is"),
                ("bridge/connect", {"Container": "cc", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "foo"}}}, 400,
                 "invalid IPv4 address: foo"),
        ]:
            got, answer = self.ask("POST", f"/networks/{path}", body)
            self.assertEqual(got, status, answer)
            self.assertIn(words, answer["message"])
        # The way out moves on to what is left, and the published port with it.
        d.docker("network", "disconnect", "one", "cc")
        self.assertIn("default via 10.85.2.1", self.inside("cc", "ip", "route").out)
        wait_for(lambda: http6("127.0.0.1", 18101) == "c\n", "the published port on the network that is left")
        d.docker("network", "disconnect", "-f", "two", "cc")
        self.assertEqual(d.inspect("cc")["NetworkSettings"]["Networks"], {})
        self.assertEqual(self.inside("cc", "ls", "/sys/class/net").out.split(), ["lo"])
        d.docker("stop", "-t", "0", "cc")
        d.docker("network", "connect", "one", "cc")
        d.docker("start", "cc")
        self.assertEqual(list(d.inspect("cc")["NetworkSettings"]["Networks"]), ["one"])
        self.end("cc", "peer", networks=["one", "two"])

    def test_the_network_of_the_highest_priority_is_the_way_out_and_has_the_ports(self):
        d = self.d
        for n in (1, 2, 3):
            d.docker("network", "create", "--subnet", f"10.86.{n}.0/24", f"way{n}")
        d.docker("network", "create", "--internal", "--subnet", "10.86.4.0/24", "way4")
        body = {"Image": "busybox", "Cmd": ["sh", "-c", WEB.format(text="w", port=80)], "ExposedPorts": {"80/tcp": {}},
                "HostConfig": {"NetworkMode": "way1", "PortBindings": {"80/tcp": [{"HostPort": "18107"}]}},
                "NetworkingConfig": {"EndpointsConfig": {"way1": {}, "way2": {"GwPriority": 5}, "way4": {"GwPriority": 9}}}}
        self.assertEqual(self.ask("POST", "/containers/create?name=ways", body, version="v1.48")[0], 201)
        d.docker("start", "ways")

        def way():
            routes = [line for line in self.inside("ways", "ip", "route").out.splitlines() if line.startswith("default")]
            self.assertEqual(len(routes), 1, routes)
            return routes[0].split()[2]

        def answers():
            wait_for(lambda: http6("127.0.0.1", 18107) == "w\n", "the published port")
            return way()
        self.assertEqual(answers(), "10.86.2.1")
        shown = self.ask("GET", "/containers/ways/json", version="v1.48")[1]["NetworkSettings"]["Networks"]
        self.assertEqual({n: s["GwPriority"] for n, s in shown.items()}, {"way1": 0, "way2": 5, "way4": 9})
        listed = self.ask("GET", "/containers/json", version="v1.48")[1][0]["NetworkSettings"]["Networks"]
        self.assertEqual(listed["way2"]["GwPriority"], 5)
        connect = lambda priority, version: self.ask("POST", "/networks/way3/connect", {"Container": "ways", "EndpointConfig": {"GwPriority": priority}}, version=version)  # noqa: E731
        self.assertEqual(connect("high", "v1.48")[0], 400)
        self.assertEqual(connect(99, "v1.47")[0], 200)  # nothing that version knows of
        self.assertEqual(answers(), "10.86.2.1")
        d.docker("network", "disconnect", "way3", "ways")
        self.assertEqual(connect(6, "v1.48")[0], 200)
        self.assertEqual(answers(), "10.86.3.1")
        d.docker("restart", "-t", "0", "ways")
        self.assertEqual(answers(), "10.86.3.1")
        d.docker("network", "disconnect", "way3", "ways")
        self.assertEqual(answers(), "10.86.2.1")
        d.docker("network", "disconnect", "way2", "ways")
        self.assertEqual(answers(), "10.86.1.1")
        self.end("ways", networks=["way1", "way2", "way3", "way4"])

    def test_links_on_a_network_of_ones_own_are_names_of_one_container(self):
        d = self.d
        self.network("linked")
        settings = self.run_("asker", "--network", "linked", "--link", "upstream:bar")["NetworkSettings"]
        self.assertEqual(settings["Networks"]["linked"]["Links"], ["upstream:bar"])
        self.run_("upstream", "--network", "linked")
        self.run_("stranger", "--network", "linked")
        wait_for(lambda: self.inside("asker", "ping", "-c", "1", "bar").status == 0, "the linked name")
        self.assertNotEqual(self.inside("stranger", "ping", "-c", "1", "bar").status, 0)
        self.end("asker", "upstream", "stranger", networks=["linked"])

    def test_names_are_answered_at_127_0_0_11_as_images_made_for_docker_expect(self):
        d = self.d
        self.network("named")
        self.network("later")
        self.run_("asker", "--network", "named")
        self.run_("other", "--network", "later", "--network-alias", "late")
        wait_for(lambda: self.inside("asker", "nslookup", "asker", "127.0.0.11").status == 0, "its own name")
        # What listens on a container's loopback is for the container alone, whatever a neighbour does with its routes.
        d.docker("exec", "asker", "httpd", "-p", "7070")
        settings = d.inspect("asker")["NetworkSettings"]
        self.run_("intruder", "--network", "named", "--cap-add", "NET_ADMIN")
        self.inside("intruder", "ip", "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local")
        self.inside("intruder", "ip", "route", "add", "127.9.0.0/16", "via", settings["Networks"]["named"]["IPAddress"])

        def reached(address):
            request = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {address} 7070"
            return "HTTP/1.1" in self.inside("intruder", "sh", "-c", request).out
        wait_for(lambda: reached(settings["Networks"]["named"]["IPAddress"]), "the server at its own address")
        # Where bridged packets pass the machine's rules, those drop it before: here the container is on its own.
        with contextlib.suppress(FileNotFoundError), open("/proc/sys/net/bridge/bridge-nf-call-iptables", "w") as f:
            f.write("0")
        self.assertFalse(reached("127.9.0.1"))
        guard = run(["nsenter", f"--net={settings['SandboxKey']}", "nft", "list chain inet drover_resolver guard"]).out
        self.assertRegex(guard, r"counter packets [1-9]", "nothing came to be dropped: the test proves nothing")
        # It follows the container from network to network.
        d.docker("network", "connect", "later", "asker")
        d.docker("network", "disconnect", "named", "asker")
        wait_for(lambda: self.inside("asker", "nslookup", "late", "127.0.0.11").status == 0, "a name of the network that is left")
        self.end("asker", "other", "intruder", networks=["named", "later"])

    def test_an_endpoint_has_its_name_and_sysctls_when_asked(self):
        self.network("asked")
        options = {"com.docker.network.endpoint.ifname": "front0",
                   "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0"}

        def create(opts):
            return self.ask("POST", "/containers/create?name=tuned", {
                "Image": "busybox", "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": "asked"},
                "NetworkingConfig": {"EndpointsConfig": {"asked": {"DriverOpts": opts}}}})
        self.assertEqual(create(options)[0], 201)
        self.d.docker("start", "tuned")
        self.assertEqual(self.inside("tuned", "cat", "/proc/sys/net/ipv4/conf/front0/log_martians").out, "1\n")
        self.end("tuned")
        create({"com.docker.network.endpoint.sysctls": "net.ipv4.ip_forward=1"})
        self.assert_clean_refusal(self.d.docker("start", "tuned", check=False), "unrecognised network interface sysctl")
        self.end("tuned")
        self.assertEqual(create({"com.docker.network.endpoint.ifname": "a/b"})[1]["message"], "invalid interface name: a/b")
        self.d.docker("network", "rm", "asked")

    def test_an_alias_of_several_takes_turns(self):
        self.network("shared")
        addresses = set()
        for i in range(3):
            settings = self.run_(f"s{i}", "--network", "shared", "--network-alias", "svc")["NetworkSettings"]["Networks"]
            addresses.add(settings["shared"]["IPAddress"])

        def answered():
            words = self.inside("s0", "nslookup", "svc").out.split()
            return [w for w in words if w in addresses]
        wait_for(lambda: set(answered()) == addresses, "all containers of the alias")
        wait_for(lambda: len({answered()[0] for _ in range(6)}) == 3, "each to be the first once")
        self.end("s0", "s1", "s2", networks=["shared"])

    def test_a_second_network_is_asked_for_without_the_default_one(self):
        self.network("asked")
        status, answer = self.ask("POST", "/containers/create?name=only", {
            "Image": "busybox", "NetworkingConfig": {"EndpointsConfig": {"asked": {"DriverOpts": {"a": "b"}}}}})
        self.assertEqual(status, 201, answer)
        self.d.docker("start", "only")
        networks = self.d.inspect("only")["NetworkSettings"]["Networks"]
        self.assertEqual((list(networks), networks["asked"]["DriverOpts"]), (["asked"], {"a": "b"}))
        self.end("only", networks=["asked"])


class Pools(Base):
    shared = False
    image = False

    @classmethod
    def make(cls):
        d = Drover()
        d.start("--default-address-pool", "base=10.201.0.0/16,size=16", "--default-address-pool", "base=10.202.0.0/23,size=24",
                "--default-address-pool", "base=fd99::/48,size=64")
        return d

    def test_subnets_come_from_the_pools_in_turn_until_there_are_none(self):
        def subnets(name):
            return [c["Subnet"] for c in self.shown(name)["IPAM"]["Config"]]
        self.assertEqual(subnets("bridge"), ["10.201.0.0/16"])
        self.network("n1")
        self.network("n2", EnableIPv6=True)
        self.assertEqual((subnets("n1"), subnets("n2")), (["10.202.0.0/24"], ["10.202.1.0/24", "fd99::/64"]))
        self.assertIn("could not find an available, non-overlapping IPv4 address pool among the defaults", self.network("n3", 404))
        self.d.docker("network", "rm", "n1")
        self.network("n3")
        self.assertEqual(subnets("n3"), ["10.202.0.0/24"])
        for words in ("base=10.0.0.0/8", "size=24", "base=x,size=24", "base=10.0.0.0/16,size=8", "nonsense"):
            self.assert_clean_refusal(run([DROVER, "serve", "--root", self.d.root + "/other", "--socket", self.d.root + "/other.sock",
                                           "--default-address-pool", words], check=False), "pool")


@unittest.skipUnless(os.path.exists("/proc/sys/net/ipv6"), "the kernel has no IPv6")
class IPv6(Base):
    def setUp(self):
        super().setUp()
        self.network("six", EnableIPv6=True, IPAM={"Config": [{"Subnet": "10.86.0.0/24"}, {"Subnet": "fd86::/64"}]})

    def tearDown(self):
        self.d.docker("network", "rm", "six")
        super().tearDown()

    def test_containers_have_addresses_of_both_families(self):
        settings = self.run_("xx", "--network", "six", "--ip6", "fd86::77")["NetworkSettings"]["Networks"]["six"]
        self.assertEqual({k: settings[k] for k in ("GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPv6Gateway", "IPAddress")},
                         {"GlobalIPv6Address": "fd86::77", "GlobalIPv6PrefixLen": 64, "IPv6Gateway": "fd86::1",
                          "IPAddress": "10.86.0.2"})
        other = self.run_("yy", "--network", "six")["NetworkSettings"]["Networks"]["six"]
        self.assertEqual(other["GlobalIPv6Address"], "fd86::2")
        self.assertEqual(self.inside("yy", "ping", "-6", "-c", "1", "fd86::77").status, 0)
        wait_for(lambda: self.inside("yy", "ping", "-6", "-c", "1", "xx").status == 0, "the name to have its IPv6 address")
        self.assertIn("default via fd86::1", self.inside("yy", "ip", "-6", "route").out)
        shown = self.shown("six")
        self.assertTrue(shown["EnableIPv6"])
        self.assertEqual({c["IPv6Address"] for c in shown["Containers"].values()}, {"fd86::77/64", "fd86::2/64"})
        self.end("xx", "yy")

    def test_ports_are_published_in_both_families_under_one_number(self):
        got = self.run_("pub", "--network", "six", "-p", "80", "-p", "[::]:18106:81",
                        command="mkdir /w; echo six > /w/index.html; httpd -p 81 -h /w; exec httpd -f -p 80 -h /w")
        ports = got["NetworkSettings"]["Ports"]
        self.assertEqual([p["HostIp"] for p in ports["80/tcp"]], ["0.0.0.0", "::"])
        numbers = {p["HostPort"] for p in ports["80/tcp"]}
        self.assertEqual(len(numbers), 1)
        port = int(numbers.pop())
        for address in ("127.0.0.1", "fd86::1", "10.86.0.1"):
            wait_for(lambda: http6(address, port) == "six\n", f"the page at {address}")
        with self.assertRaises(ConnectionRefusedError):  # who tries ::1 first goes on to 127.0.0.1 at once
            socket.create_connection(("::1", port))
        self.assertEqual(ports["81/tcp"], [{"HostIp": "::", "HostPort": "18106"}])
        wait_for(lambda: http6("fd86::1", 18106) == "six\n", "the page of IPv6 alone")
        self.assertEqual(http6("127.0.0.1", 18106), "")
        # From a container, by the host's address: what it published itself too.
        out = self.inside("pub", "sh", "-c", f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc fd86::1 {port}").out
        self.assertTrue(out.endswith("six\n"), out)
        self.end("pub")

    def test_a_server_that_is_killed_leaves_both_families_as_they_were(self):
        self.run_("stays", "--network", "six", "-p", "18107:80", command=WEB.format(text="kept", port=80))
        wait_for(lambda: http6("fd86::1", 18107) == "kept\n", "the page")
        self.d.kill9()
        self.assertEqual(http6("fd86::1", 18107), "kept\n")
        self.d.start()
        self.assertEqual(self.d.inspect("stays")["NetworkSettings"]["Networks"]["six"]["GlobalIPv6Address"], "fd86::2")
        self.assertEqual(http6("fd86::1", 18107), "kept\n")
        self.end("stays")
        self.assertEqual(http6("fd86::1", 18107), "")

    def test_a_subnet_is_found_where_none_is_named_and_kept_for_show_where_ipv6_is_off(self):
        self.network("auto", EnableIPv6=True)
        subnets = [c["Subnet"] for c in self.shown("auto")["IPAM"]["Config"]]
        self.assertEqual(len(subnets), 2)
        self.assertTrue(subnets[1].startswith("fd") and subnets[1].endswith("/64"), subnets)
        self.network("off", IPAM={"Config": [{"Subnet": "2001:389::1/64"}]})
        self.assertEqual(self.shown("off")["IPAM"]["Config"][1], {"Subnet": "2001:389::1/64"})
        settings = self.run_("oo", "--network", "off", "--ip6", "2001:389::f00d")["NetworkSettings"]["Networks"]["off"]
        self.assertEqual((settings["IPAMConfig"], settings["GlobalIPv6Address"]), ({"IPv6Address": "2001:389::f00d"}, ""))
        self.end("oo", networks=["auto", "off"])


class Parents(Base):
    """macvlan and ipvlan, below one end of a cable whose other end is the story's."""

    @classmethod
    def setUpClass(cls):
        run(["ip", "link", "add", "par0", "type", "veth", "peer", "name", "far0"])
        for name in ("par0", "far0"):
            run(["ip", "link", "set", name, "up"])
        run(["ip", "addr", "add", "10.90.0.254/24", "dev", "far0"])
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        run(["ip", "link", "del", "par0"])

    def has(self, kind):
        done = run(["ip", "link", "add", "link", "par0", "name", "try0", "type", *kind], check=False)
        if done.status == 0:
            run(["ip", "link", "del", "try0"])
        return done.status == 0

    def reaches_the_wire(self, driver, **options):
        # docker's CLI gives the subnets in an order by chance
        made = self.ask("POST", "/networks/create", {"Name": "wire", "Driver": driver, "Options": {"parent": "par0", **options},
                                                     "IPAM": {"Config": [{"Subnet": "10.90.0.0/24"}, {"Subnet": "10.91.0.0/24"}]}})
        self.assertEqual(made[0], 201, made)
        settings = self.run_("w1", "--network", "wire")["NetworkSettings"]["Networks"]["wire"]
        self.assertEqual((settings["IPAddress"], settings["Gateway"]), ("10.90.0.2", "10.90.0.1"))
        self.run_("w2", "--network", "wire", "--ip", "10.91.0.9")
        self.assertIn("10.91.0.9/24", self.inside("w2", "ip", "addr").out)
        wait_for(lambda: self.inside("w1", "ping", "-c", "1", "-W", "1", "10.90.0.254").status == 0, "the other end to answer")
        status, answer = self.ask("POST", "/networks/create", {"Name": "again", "Driver": driver, "Options": {"parent": "par0"}})
        self.assertEqual(status, 403)
        self.assertIn("is already using parent interface par0", answer["message"])
        self.d.docker("restart", "-t", "0", "w1")
        wait_for(lambda: self.inside("w1", "ping", "-c", "1", "-W", "1", "10.90.0.254").status == 0, "the same after a restart")
        self.end("w1", "w2", networks=["wire"])

    def test_a_macvlan_network_is_on_the_wire_of_its_parent(self):
        if not self.has(["macvlan", "mode", "bridge"]):
            self.skipTest("the kernel has no macvlan")
        self.reaches_the_wire("macvlan")

    def test_an_ipvlan_network_is_on_the_wire_of_its_parent(self):
        if not self.has(["ipvlan", "mode", "l2"]):
            self.skipTest("the kernel has no ipvlan")
        self.reaches_the_wire("ipvlan", ipvlan_mode="l2")

    def test_a_vlan_below_the_parent_is_made_and_removed_with_the_network(self):
        if not self.has(["vlan", "id", "7"]):
            self.skipTest("the kernel has no VLANs")
        self.network("tagged", Driver="macvlan", Options={"parent": "par0.10"})
        self.assertIn("par0.10", {name for _, name in socket.if_nameindex()})
        self.d.docker("network", "rm", "tagged")
        self.assertNotIn("par0.10", {name for _, name in socket.if_nameindex()})

    def test_without_a_parent_a_network_is_for_its_own_containers(self):
        if run(["ip", "link", "add", "try0", "type", "dummy"], check=False).status:
            self.assertIn("operation not supported", self.network("alone", 501, Driver="macvlan"))
            self.skipTest("the kernel has no dummy interfaces")
        run(["ip", "link", "del", "try0"])
        self.network("alone", Driver="macvlan")
        address = self.run_("m1", "--network", "alone")["NetworkSettings"]["Networks"]["alone"]["IPAddress"]
        self.run_("m2", "--network", "alone")
        self.assertEqual(self.inside("m2", "ping", "-c", "1", address).status, 0)
        self.end("m1", "m2", networks=["alone"])


if __name__ == "__main__":
    unittest.main()
