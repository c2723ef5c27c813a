"""Swarm mode of one machine: what the API tells and refuses. Ids, times and addresses differ by nature and are left out."""
import urllib.parse

LEFT_OUT = {"ID", "Id", "CreatedAt", "UpdatedAt", "Created", "Version", "NodeID", "ServiceID", "NetworkID", "SecretID", "ConfigID", "Target", "Addr", "TLSInfo",
            "JoinTokens", "Plugins", "EngineVersion", "Timestamp", "ContainerStatus", "NetworksAttachments", "StartedAt", "CompletedAt", "Hostname", "Slot", "IPAM",
            "Options", "Peers", "Containers", "EnableIPv4", "Labels"}


def kept(value):
    if isinstance(value, dict):
        return {k: kept(v) for k, v in value.items() if k not in LEFT_OUT}
    return [kept(v) for v in value] if isinstance(value, list) else value


def ask(s, method, path, body=None, note="", **filters):
    if filters:
        path += "?filters=" + urllib.parse.quote(str(filters).replace("'", '"'))
    answer = s.ask(method, path, body)
    try:
        value = kept(answer.json)
    except ValueError:
        value = answer.text
    if isinstance(value, str):
        value = "<an id>"
    s.record(f"{method} {path} {note}".strip(), [answer.status, value])
    return answer


def begin(s):
    s.ask("POST", "/swarm/init", {"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1:2377"})


def end(s, *services):
    for name in services:
        s.ask("DELETE", f"/services/{name}")
    s.until(lambda: not s.ask("GET", "/containers/json?all=1").json, "the tasks' containers to go")
    s.ask("POST", "/swarm/leave?force=1")


def spec(name, **more):
    template = {"ContainerSpec": {"Image": "by:1", "Args": ["sleep", "1000"], "StopSignal": "KILL", **more.pop("container", {})}, "RestartPolicy": {"Condition": "any", "Delay": 10 ** 8},
                **more.pop("template", {})}
    return {"Name": name, "TaskTemplate": template, "Mode": {"Replicated": {"Replicas": 2}}, **more}


def tasks(s, name):
    return s.ask("GET", "/tasks?filters=" + urllib.parse.quote(f'{{"service":["{name}"],"desired-state":["running"]}}')).json


def runs(s, name, count):
    s.until(lambda: [t["Status"]["State"] for t in tasks(s, name)] == ["running"] * count, f"{count} tasks of {name}")


def scene_the_swarm_and_its_node(s):
    ask(s, "POST", "/swarm/init", {}, "without an address")
    begin(s)
    for path in ("/swarm", "/nodes", "/networks/ingress", "/swarm/unlockkey", "/nodes/nowhere", "/tasks/nowhere", "/services/nowhere", "/secrets/nowhere"):
        ask(s, "GET", path)
    ask(s, "POST", "/swarm/init", {"ListenAddr": "127.0.0.1:2377"}, "again")
    ask(s, "POST", "/swarm/update?version=1", {})
    ask(s, "POST", "/swarm/unlock", {"UnlockKey": "x"})
    ask(s, "POST", "/swarm/leave")
    node = s.ask("GET", "/nodes").json[0]
    change = f"/nodes/{node['ID']}/update?version="
    for note, version, body in (("of another version", 1, node["Spec"]), ("demoted", node["Version"]["Index"], {**node["Spec"], "Role": "worker"}),
                                ("of no availability", node["Version"]["Index"], {**node["Spec"], "Availability": "x"})):
        answer = s.ask("POST", change + str(version), body)
        s.record(f"a node {note}", [answer.status, answer.text])
    end(s)
    ask(s, "POST", "/swarm/leave?force=1", note="when it has been left")
    ask(s, "GET", "/services", note="when it has been left")


def scene_secrets_and_configs(s):
    begin(s)
    for kind in ("secrets", "configs"):
        for name, data in (("a.b-c_d", "YWJj"), ("a.b-c_d", "YWJj"), ("", "YWJj"), ("x y", "YWJj"), ("x" * 65, "YWJj"), ("empty", "")):
            ask(s, "POST", f"/{kind}/create", {"Name": name, "Data": data, "Labels": {"l": "v"}}, f"{name} {data}")
        ask(s, "GET", f"/{kind}")
        ask(s, "GET", f"/{kind}", label=["l=w"])
        ask(s, "GET", f"/{kind}", name=["a.b"])
        ask(s, "GET", f"/{kind}", bad=["x"])
    end(s)


def scene_services_as_they_are_told(s):
    begin(s)
    made = s.ask("POST", "/secrets/create", {"Name": "key", "Data": "YWJj"}).json["ID"]
    s.ask("POST", "/networks/create", {"Name": "inside", "Driver": "overlay"})
    reference = {"SecretID": made, "SecretName": "key", "File": {"Name": "key", "UID": "0", "GID": "0", "Mode": 292}}
    body = spec("web", container={"Secrets": [reference]}, template={"Networks": [{"Target": "inside"}]}, EndpointSpec={"Ports": [{"TargetPort": 80}]},
                UpdateConfig={"Parallelism": 1, "Monitor": 10 ** 9}, Labels={"tier": "front"})
    ask(s, "POST", "/services/create", body, "web")
    ask(s, "POST", "/services/create", body, "web again")
    runs(s, "web", 2)
    shown = ask(s, "GET", "/services/web").json
    ask(s, "GET", "/services?status=true")
    s.record("tasks", [kept(t) for t in tasks(s, "web")])
    ask(s, "DELETE", "/secrets/key")
    version = shown["Version"]["Index"]
    changed = {**shown["Spec"], "TaskTemplate": {**shown["Spec"]["TaskTemplate"], "ForceUpdate": 1}}
    ask(s, "POST", "/services/web/update?version=1", changed, "of another version")
    ask(s, "POST", "/services/web/update", changed, "of none")
    answer = s.ask("POST", f"/services/web/update?version={version}", changed)
    s.record("update", [answer.status, answer.json])
    s.until(lambda: s.ask("GET", "/services/web").json.get("UpdateStatus", {}).get("State") == "completed", "the update")
    ask(s, "GET", "/services/web", note="after an update")
    version = s.ask("GET", "/services/web").json["Version"]["Index"]
    answer = s.ask("POST", f"/services/web/update?version={version}&rollback=previous", shown["Spec"])
    s.record("rollback", [answer.status, answer.json])
    ask(s, "GET", "/services", bad=["x"])
    ask(s, "GET", "/tasks", bad=["x"])
    end(s, "web")


def scene_what_a_service_cannot_be(s):
    begin(s)
    for body in ({"Name": "a"}, {"Name": "a", "TaskTemplate": {}}, {"TaskTemplate": {"ContainerSpec": {"Image": ""}}}, spec("a b"), spec("a" * 64), spec("a", Mode={"Replicated": {}, "Global": {}}),
                 spec("a", template={"RestartPolicy": {"Condition": "x"}}), spec("a", template={"Resources": {"Limits": {"NanoCPUs": 1}}}), spec("a", template={"Resources": {"Limits": {"MemoryBytes": 1}}}),
                 spec("a", EndpointSpec={"Mode": "x"}), spec("a", container={"Mounts": [{"Target": "/a"}, {"Target": "/a"}]}), spec("a", template={"Networks": [{"Target": "ingress"}]}),
                 spec("a", UpdateConfig={"FailureAction": "x"}), spec("a", UpdateConfig={"MaxFailureRatio": 2}), spec("a", container={"Image": "BAD IMAGE"}),
                 spec("a", EndpointSpec={"Mode": "dnsrr", "Ports": [{"TargetPort": 80, "PublishedPort": 8080}]}),
                 spec("a", container={"Secrets": [{"SecretID": "x", "SecretName": "x", "File": {"Name": "x"}}]})):
        ask(s, "POST", "/services/create", body, str(body))
    ask(s, "GET", "/services")
    end(s)
