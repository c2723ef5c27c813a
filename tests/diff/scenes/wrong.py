"""Every query parameter and every field of a body once missing, once of each wrong type, and once far out of range: the same status."""
import json
import urllib.parse

# What no parameter takes, whatever it is: no number, no boolean that Go knows, no JSON, far too large, bytes that are no text.
VALUES = ("", "x", "-1", "1.5", "99999999999999999999", "{", "[]", "null", '{"x":"y"}', '{"x":["y"]}', "%ff%00", "a" * 5000)

# Streams that would not end by themselves are asked for in a form in which they do.
ROUTES = (
    ("GET", "/containers/json", {}, ("all", "limit", "size", "filters", "before", "since")),
    ("GET", "/containers/runs/json", {}, ("size",)),
    ("GET", "/containers/runs/top", {}, ("ps_args",)),
    ("GET", "/containers/runs/logs", {"stdout": "1"}, ("stderr", "since", "until", "timestamps", "tail")),
    ("GET", "/containers/runs/changes", {}, ("x",)),
    ("GET", "/containers/runs/archive", {}, ("path",)),
    ("HEAD", "/containers/runs/archive", {}, ("path",)),
    ("POST", "/containers/runs/resize", {"h": "10", "w": "10"}, ("h", "w")),
    ("POST", "/containers/runs/start", {}, ("detachKeys",)),
    ("POST", "/containers/stopped/stop", {}, ("t",)),
    ("POST", "/containers/runs/kill", {}, ("signal",)),
    ("POST", "/containers/runs/rename", {}, ("name",)),
    ("POST", "/containers/stopped/wait", {}, ("condition",)),
    ("POST", "/containers/prune", {}, ("filters",)),
    ("POST", "/containers/nobody/start", {}, ("x",)),
    ("DELETE", "/containers/nobody", {}, ("v", "force", "link")),
    ("GET", "/images/json", {}, ("all", "filters", "digests")),
    ("GET", "/images/by:1/history", {}, ("x",)),
    ("GET", "/images/get", {}, ("names",)),
    ("POST", "/images/by:1/tag", {"repo": "r"}, ("repo", "tag")),
    ("POST", "/images/prune", {}, ("filters",)),
    ("POST", "/images/create", {}, ("fromImage", "fromSrc", "repo", "tag", "platform")),
    ("DELETE", "/images/nobody", {}, ("force", "noprune")),
    ("GET", "/networks", {}, ("filters",)),
    ("GET", "/networks/net", {}, ("verbose", "scope")),
    ("POST", "/networks/prune", {}, ("filters",)),
    ("GET", "/volumes", {}, ("filters",)),
    ("DELETE", "/volumes/nobody", {}, ("force",)),
    ("POST", "/volumes/prune", {}, ("filters",)),
    ("GET", "/events", {"until": "1"}, ("since", "filters")),
    ("POST", "/commit", {"container": "runs", "repo": "committed"}, ("container", "repo", "tag", "pause", "changes")),
    ("POST", "/build/prune", {}, ("all", "filters", "keep-storage")),
)

WRONG = (None, True, -1, 1.5, 10 ** 30, "", "x", [], ["x"], [1], {}, {"x": 1})

BODIES = (
    ("/containers/create", {"Image": "by:1", "Cmd": ["true"]},
     ("Hostname", "Domainname", "User", "AttachStdin", "ExposedPorts", "Tty", "OpenStdin", "Env", "Cmd", "Healthcheck", "Image", "Volumes", "WorkingDir", "Entrypoint",
      "NetworkDisabled", "MacAddress", "Labels", "StopSignal", "StopTimeout", "Shell", "HostConfig", "NetworkingConfig")),
    ("/containers/create HostConfig", {"Image": "by:1", "Cmd": ["true"]},
     ("Binds", "LogConfig", "NetworkMode", "PortBindings", "RestartPolicy", "AutoRemove", "VolumeDriver", "VolumesFrom", "CapAdd", "CapDrop", "CgroupnsMode", "Dns", "DnsOptions",
      "DnsSearch", "ExtraHosts", "GroupAdd", "IpcMode", "Cgroup", "Links", "OomScoreAdj", "PidMode", "Privileged", "PublishAllPorts", "ReadonlyRootfs", "SecurityOpt",
      "Tmpfs", "UTSMode", "UsernsMode", "ShmSize", "Sysctls", "Runtime", "CpuShares", "Memory", "NanoCpus", "CgroupParent", "BlkioWeight", "BlkioWeightDevice",
      "CpuPeriod", "CpuQuota", "CpusetCpus", "CpusetMems", "Devices", "DeviceCgroupRules", "DeviceRequests", "MemoryReservation", "MemorySwap", "MemorySwappiness",
      "OomKillDisable", "PidsLimit", "Ulimits", "Mounts", "MaskedPaths", "ReadonlyPaths", "Init")),
    ("/containers/runs/exec", {"Cmd": ["true"]}, ("AttachStdin", "AttachStdout", "Tty", "DetachKeys", "Env", "Cmd", "Privileged", "User", "WorkingDir")),
    ("/containers/runs/update", {}, ("CpuShares", "Memory", "CpuPeriod", "CpusetCpus", "MemorySwap", "PidsLimit", "RestartPolicy")),
    ("/networks/create", {"Name": "made", "CheckDuplicate": True}, ("Name", "Driver", "Internal", "Attachable", "Ingress", "IPAM", "EnableIPv6", "Options", "Labels")),
    ("/networks/net/connect", {"Container": "nobody"}, ("Container", "EndpointConfig")),
    ("/networks/net/disconnect", {"Container": "nobody"}, ("Container", "Force")),
    ("/volumes/create", {"Name": "made"}, ("Name", "Driver", "DriverOpts", "Labels")),
)




def begin(s):
    s.run("runs")
    s.create("stopped", ("true",))
    s.ask("POST", "/networks/create", {"Name": "net"})


def outcome(answer):
    """Whether it was done, or with which status refused and as clients read it."""
    if answer.status < 400:
        return "done"
    if answer.status == 0:
        return answer.text
    try:
        good = not answer.body or list(json.loads(answer.body)) == ["message"]
    except ValueError:
        good = False
    return f"refused {answer.status}" if good or answer.status == 404 else f"refused {answer.status}, not as a message: {answer.text[:100]}"


def name(value):
    return value if len(value) < 100 else f"{value[:5]}... of {len(value)} bytes"


def scene_query_parameters(s):
    begin(s)
    for method, path, rest, parameters in ROUTES:
        for parameter in parameters:
            told = {}
            for value in VALUES:
                others = urllib.parse.urlencode({k: v for k, v in rest.items() if k != parameter})
                coded = value if value.startswith("%") else urllib.parse.quote(value)
                told[name(value)] = outcome(s.ask(method, f"{path}?{others}&{parameter}={coded}"))
                if path.endswith("/rename") and told[name(value)] == "done":
                    s.ask("POST", f"/containers/{value}/rename?name=runs")
            s.record(f"{method} {path} {parameter}", told)


def remove_made(s, path, answer):
    if path.startswith("/containers/create"):
        s.ask("DELETE", f"/containers/{answer.get('Id')}?force=1&v=1")
    elif path.endswith("/create"):
        s.ask("DELETE", path.replace("create", answer.get("Id") or answer.get("Name")))


def scene_fields_of_bodies(s):
    begin(s)
    for path, body, fields in BODIES:
        path, _, inner = path.partition(" ")
        for field in fields:
            told = {}
            for value in WRONG:
                given = {**body, inner: {field: value}} if inner else {**body, field: value}
                answer = s.ask("POST", path, given)
                told[json.dumps(value)] = outcome(answer)
                if told[json.dumps(value)] == "done":
                    remove_made(s, path, answer)
            s.record(f"POST {path} {inner} {field}", told)


def scene_bodies_that_are_none(s):
    begin(s)
    for path, _, _ in BODIES:
        path = path.partition(" ")[0]
        for note, body in (("missing", None), ("empty", b""), ("null", b"null"), ("a list", b"[]"), ("a text", b'"x"'), ("half", b'{"a":'), ("two", b"{}{}"), ("deep", b"[" * 20000),
                           ("unknown fields", b'{"Nonsense": 1}')):
            answer = s.ask("POST", path, body, {"Content-Type": "application/json"})
            s.record(f"POST {path} {note}", outcome(answer))
            if answer.status < 400:
                remove_made(s, path, answer)
