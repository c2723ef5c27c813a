"""Networks and volumes: create, inspect, list, connect, remove, and what is refused."""


def scene_the_networks_there_are(s):
    s.api("GET", "/networks", sort="Name")
    for name in ("bridge", "host", "none"):
        s.api("GET", f"/networks/{name}")
        s.api("DELETE", f"/networks/{name}")
    s.api("GET", "/networks/nobody")
    s.api("DELETE", "/networks/nobody")


def scene_create_inspect_and_remove(s):
    s.api("POST", "/networks/create", {"Name": "plain"})
    s.api("GET", "/networks/plain")
    s.api("POST", "/networks/create", {"Name": "full", "Driver": "bridge", "Internal": True, "Attachable": True, "Labels": {"a": "b"}, "Options": {"com.docker.network.driver.mtu": "1400"},
                                       "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.99.1.0/24", "IPRange": "10.99.1.128/25", "Gateway": "10.99.1.1"}]}})
    s.api("GET", "/networks/full")
    s.api("GET", "/networks/full", params={"verbose": 1})
    s.api("GET", "/networks/full", params={"scope": "swarm"})
    s.api("GET", "/networks/full", version="v1.24")
    s.api("POST", "/networks/create", {"Name": "plain"}, note="again")
    s.api("POST", "/networks/create", {"Name": "plain", "CheckDuplicate": True}, note="again, checked")
    s.api("DELETE", "/networks/plain")
    s.api("DELETE", "/networks/plain", note="again")


def scene_what_create_refuses(s):
    for body in ({}, {"Name": ""}, {"Name": "bridge"}, {"Name": "host"}, {"Name": "a b"}, {"Name": "-x"}, {"Name": "x", "Driver": "host"}, {"Name": "x", "Driver": "null"}, {"Name": "x", "Driver": "overlay"},
                 {"Name": "x", "IPAM": {"Config": [{"Subnet": "nonsense"}]}}, {"Name": "x", "IPAM": {"Config": [{"Subnet": "10.99.2.0/24", "Gateway": "10.98.0.1"}]}}, {"Name": "x", "IPAM": {"Config": [{"Subnet": "10.99.2.0/24", "IPRange": "10.98.0.0/24"}]}},
                 {"Name": "x", "IPAM": {"Config": [{"Gateway": "10.99.2.1"}]}}, {"Name": "x", "Options": {"com.docker.network.driver.mtu": "x"}}, {"Name": 1}, {"Name": "x", "Labels": {"a": 1}}, {"Name": "x", "Scope": "swarm"}, {"Name": "x", "ConfigOnly": True, "ConfigFrom": {"Network": "y"}}):
        answer = s.ask("POST", "/networks/create", body)
        s.record(f"create {body}", {"status": answer.status, "message": type(answer.get("message")).__name__})
        s.ask("DELETE", "/networks/x")
    s.ask("POST", "/networks/create", {"Name": "taken", "IPAM": {"Config": [{"Subnet": "10.99.2.0/24"}]}})
    s.api("POST", "/networks/create", {"Name": "overlap", "IPAM": {"Config": [{"Subnet": "10.99.2.0/25"}]}}, only=["message"])
    s.api("POST", "/networks/create", note="no body")
    s.api("POST", "/networks/create", b"{", note="half a body")


def scene_connect_and_disconnect(s):
    s.ask("POST", "/networks/create", {"Name": "net", "IPAM": {"Config": [{"Subnet": "10.99.3.0/24", "Gateway": "10.99.3.1"}]}})
    s.run("one")
    s.run("two", host={"NetworkMode": "net"})
    s.api("POST", "/networks/net/connect", {"Container": "one", "EndpointConfig": {"Aliases": ["alias"], "IPAMConfig": {"IPv4Address": "10.99.3.77"}}})
    s.api("GET", "/containers/one/json", only=["NetworkSettings.Networks"])
    s.api("GET", "/networks/net")
    s.api("POST", "/networks/net/connect", {"Container": "one"}, note="again")
    s.api("DELETE", "/networks/net", note="in use")
    from containers import exec_output
    for look in ("ping -c 1 -W 5 alias > /dev/null && echo reached", "ping -c 1 -W 5 one > /dev/null && echo reached"):
        s.record("in two: " + look, exec_output(s, "two", look))
    s.api("POST", "/networks/net/disconnect", {"Container": "one"})
    s.api("POST", "/networks/net/disconnect", {"Container": "one"}, note="again")
    s.api("POST", "/networks/net/disconnect", {"Container": "nobody"})
    s.api("POST", "/networks/net/disconnect", {"Container": "nobody", "Force": True})
    s.api("POST", "/networks/nobody/connect", {"Container": "one"})
    s.api("POST", "/networks/net/connect", {"Container": "nobody"})
    for body in ({}, {"Container": "one", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.98.0.1"}}}, {"Container": "one", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "x"}}}, {"Container": 1}):
        answer = s.ask("POST", "/networks/net/connect", body)
        s.record(f"connect {body}", {"status": answer.status, "message": type(answer.get("message")).__name__})
    s.api("POST", "/networks/host/connect", {"Container": "one"})
    s.create("made")
    s.api("POST", "/networks/net/connect", {"Container": "made", "EndpointConfig": {"Aliases": ["m"]}}, note="of one that is not started")
    s.api("GET", "/containers/made/json", only=["NetworkSettings.Networks"])
    s.run("static", host={"NetworkMode": "net"}, NetworkingConfig={"EndpointsConfig": {"net": {"IPAMConfig": {"IPv4Address": "10.99.3.88"}, "Aliases": ["a1", "a2"]}}})
    s.api("GET", "/containers/static/json", only=["NetworkSettings", "HostConfig.NetworkMode"])


def scene_list_filters_and_prune(s):
    s.ask("POST", "/networks/create", {"Name": "labelled", "Labels": {"a": "b"}})
    s.ask("POST", "/networks/create", {"Name": "used"})
    s.run("one", host={"NetworkMode": "used"})
    for filters in ({}, {"name": ["lab"]}, {"name": ["used"]}, {"label": ["a"]}, {"label": ["a=c"]}, {"driver": ["bridge"]}, {"driver": ["null"]}, {"type": ["custom"]}, {"type": ["builtin"]}, {"type": ["x"]}, {"scope": ["local"]}, {"scope": ["swarm"]}, {"dangling": ["true"]}, {"dangling": ["x"]}, {"id": ["zz"]}, {"nonsense": ["x"]}):
        s.api("GET", "/networks", params={"filters": filters}, only=["Name", "Driver", "message"], sort="Name")
    for params in ({"filters": "x"}, {"filters": {"until": ["1h"]}}, {"filters": {"nonsense": ["x"]}}, {"filters": {"label": ["no"]}}, {}):
        s.api("POST", "/networks/prune", params=params)
    s.cli("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}", sort=True)
    for args in (("network", "create", "cli"), ("network", "create", "cli"), ("network", "connect", "cli", "one"), ("network", "inspect", "-f", "{{len .Containers}}", "cli"), ("network", "rm", "cli"), ("network", "disconnect", "cli", "one"), ("network", "rm", "cli"), ("network", "rm", "cli"), ("network", "inspect", "cli"), ("network", "rm", "bridge"), ("network", "prune", "-f")):
        s.cli(*args)


def scene_volumes(s):
    s.api("POST", "/volumes/create", {"Name": "one", "Labels": {"a": "b"}})
    s.api("POST", "/volumes/create", {"Name": "one"}, note="again")
    s.api("GET", "/volumes/one")
    s.api("GET", "/volumes")
    s.api("POST", "/volumes/create", {"Name": "opts", "Driver": "local", "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}})
    s.api("GET", "/volumes/opts")
    answer = s.ask("POST", "/volumes/create", {})
    s.record("an anonymous one", [answer.status, sorted(answer.json), len(answer.get("Name", ""))])
    for body in ({"Name": "a b"}, {"Name": "-x"}, {"Name": "x"}, {"Name": "../x"}, {"Name": "x" * 300}, {"Name": "y", "DriverOpts": {"nonsense": "1"}}, {"Name": 1}, {"Name": "y", "Labels": "x"}, {"Name": "y", "DriverOpts": {"type": "tmpfs"}}):
        answer = s.ask("POST", "/volumes/create", body)
        s.record(f"create {str(body)[:60]}", {"status": answer.status, "message": type(answer.get("message")).__name__})
    s.api("POST", "/volumes/create", note="no body", only=["Driver", "message"])
    s.api("POST", "/volumes/create", b"{", note="half a body")
    s.run("user", host={"Binds": ["one:/data"]})
    s.api("DELETE", "/volumes/one", note="in use")
    s.api("DELETE", "/volumes/one", params={"force": 1}, note="in use")
    for filters in ({"dangling": ["true"]}, {"dangling": ["false"]}, {"name": ["one"]}, {"name": ["on"]}, {"label": ["a=b"]}, {"driver": ["local"]}, {"driver": ["x"]}, {"nonsense": ["x"]}, {"dangling": ["x"]}):
        answer = s.ask("GET", "/volumes?filters=" + __import__("urllib.parse").parse.quote(__import__("json").dumps(filters)))
        s.record(f"volumes {filters}", [answer.status, sorted(v["Name"] for v in answer.get("Volumes") or [] if len(v["Name"]) < 64)])
    s.ask("DELETE", "/containers/user?force=1")
    for path, params in (("/volumes/one", {}), ("/volumes/one", {}), ("/volumes/one", {"force": 1}), ("/volumes/nobody", {"force": "x"})):
        s.api("DELETE", path, params=params)
    s.api("GET", "/volumes/nobody")
    s.api("POST", "/volumes/prune", params={"filters": {"label": ["no"]}})
    s.api("POST", "/volumes/prune", params={"filters": {"nonsense": ["no"]}})
    answer = s.ask("POST", "/volumes/prune")
    s.record("prune", [answer.status, sorted(v for v in answer.get("VolumesDeleted") or [] if len(v) < 64)])
    for args in (("volume", "create", "cli"), ("volume", "inspect", "-f", "{{.Name}} {{.Driver}} {{.Scope}}", "cli"), ("volume", "rm", "cli"), ("volume", "rm", "cli"), ("volume", "inspect", "cli"), ("volume", "create", "a b"), ("volume", "ls", "-q"), ("volume", "prune", "-f")):
        s.cli(*args)


def scene_volumes_start_with_what_the_image_has(s):
    s.ask("POST", "/commit?container=" + s.create("seed", ["true"]) + "&repo=seeded&tag=1", {"Volumes": {"/etc": {}}})
    s.run("one", ["sh", "-c", "ls /etc; exec sleep 1000"], host={"Binds": ["kept:/var", "empty:/etc:nocopy"]}, Image="seeded:1")
    from containers import exec_output
    for look in ("ls /var", "ls /etc | wc -l", "grep -c /etc /proc/mounts"):
        s.record("in it: " + look, exec_output(s, "one", look))
    s.run("from", host={"VolumesFrom": ["one:ro"]})
    s.api("GET", "/containers/from/json", only=["Mounts"], sort="Mounts:Destination")
