"""ping, version, info, events, df, auth, prune; and paths that are not there."""
import time

from containers import shape


def scene_ping_and_versions_of_paths(s):
    for version in ("", "v1.24", "v1.30", "v1.41"):
        s.api("GET", "/_ping", version=version, form="text")
        s.api("HEAD", "/_ping", version=version)
    for version in ("v1.0", "v1.11", "v9.99", "v1", "v1.41.1", "vx.y"):
        s.api("GET", "/version", version=version, form="json", only=["message"])


def scene_paths_and_methods_that_are_not_there(s):
    for method, path in (("GET", "/nonsense"), ("GET", "/"), ("POST", "/_ping"), ("DELETE", "/containers/json"), ("GET", "/containers"), ("PUT", "/containers/create"), ("GET", "/containers/x/start"),
                         ("GET", "/exec"), ("PATCH", "/info"), ("GET", "//info"), ("OPTIONS", "/info"), ("HEAD", "/info"), ("GET", "/containers/json/"), ("POST", "/images/x"), ("GET", "/images"), ("DELETE", "/exec/x")):
        s.api(method, path)


def scene_version_and_info(s):
    s.record("fields of version", sorted(s.ask("GET", "/version").json))
    s.record("components", [sorted(c) for c in s.ask("GET", "/version").get("Components") or []][:1])
    info = s.ask("GET", "/info").json
    s.record("fields of info", sorted(info))
    s.record("info", {k: info.get(k) for k in ("Driver", "LoggingDriver", "OSType", "Architecture", "NCPU", "MemTotal", "KernelVersion", "OperatingSystem", "Images", "Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped", "MemoryLimit", "SwapLimit", "CpuCfsPeriod", "CpuCfsQuota", "CPUShares", "CPUSet", "PidsLimit",
                                               "IPv4Forwarding", "OomKillDisable", "CgroupDriver", "CgroupVersion", "DefaultRuntime", "LiveRestoreEnabled", "Isolation", "InitBinary", "ExperimentalBuild", "Debug", "Labels", "Name", "SecurityOptions", "IndexServerAddress", "HttpProxy")})
    s.record("plugins", {k: sorted(v or []) for k, v in info.get("Plugins", {}).items()})
    s.record("swarm", info.get("Swarm"))


def scene_disk_usage(s):
    s.run("one", host={"Binds": ["vol:/data"]}, Labels={"a": "b"})
    s.api("GET", "/system/df", only=["Images", "Containers", "Volumes", "BuildCache", "BuilderSize"])
    s.api("GET", "/system/df", version="v1.30", only=["Images", "Volumes"])
    s.cli("system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}")


def scene_auth(s):
    for note, body in (("nobody there", {"username": "a", "password": "b", "serveraddress": "http://127.0.0.1:1"}), ("a bad address", {"serveraddress": "::bad::"}), ("half a body", b"{"), ("a list", b"[]")):
        answer = s.ask("POST", "/auth", body)
        s.record("auth: " + note, {"status": answer.status, "message": type(answer.get("message")).__name__})
    answer = s.ask("POST", "/auth")
    s.record("auth: no body", answer.status)


def events(s, since, *types):
    """What happened since then to this scene's objects: [type, action, attributes]."""
    until = time.time()
    answer = s.ask("GET", f"/events?since={since:.9f}&until={until:.9f}")
    import json
    found = []
    for line in answer.text.splitlines():
        event = json.loads(line)
        if not types or event.get("Type") in types:
            found.append(event)
    return found


def settled(s, since, action, kind="container"):
    s.until(lambda: any(e["Action"].startswith(action) and e["Type"] == kind for e in events(s, since)), f"the event {action}")


def told(s, since, *types):
    return [{k: v for k, v in e.items() if k not in ("time", "timeNano")} for e in events(s, since, *types)]


def scene_events_of_a_container(s):
    since = time.time()
    s.run("one", ["sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done"], Labels={"a": "b"}, StopSignal="SIGTERM")
    s.until(lambda: "up" in s.ask("GET", "/containers/one/logs?stdout=1").text, "the shell")
    for verb in ("pause", "unpause", "rename?name=two"):
        answer = s.ask("POST", f"/containers/one/{verb}")
        s.record(verb, [answer.status, answer.text])
    made = s.ask("POST", "/containers/two/exec", {"Cmd": ["sh", "-c", "exit 5"]})
    s.ask("POST", f"/exec/{made.get('Id')}/start", {})
    settled(s, since, "exec_die")
    s.ask("POST", "/containers/two/update", {"CpuShares": 100})
    s.ask("GET", "/containers/two/top")
    s.ask("POST", "/containers/two/kill?signal=CONT")
    s.ask("POST", "/containers/two/stop?t=60")
    settled(s, since, "stop")
    s.ask("POST", "/containers/two/restart?t=0")
    settled(s, since, "restart")
    s.ask("PUT", "/containers/two/archive?path=/tmp", __import__("engines").tar_of({"x": "y"}))
    s.ask("GET", "/containers/two/archive?path=/tmp/x")
    s.ask("GET", "/containers/two/export")
    s.ask("POST", "/commit?container=two&repo=c&tag=1")
    s.ask("DELETE", "/containers/two?force=1")
    settled(s, since, "destroy")
    for i, event in enumerate(told(s, since, "container")):
        s.record(f"event {event['Action'][:40]}", event)


def scene_events_of_images_networks_and_volumes(s):
    since = time.time()
    s.ask("POST", "/images/by:1/tag?repo=tagged&tag=1")
    s.ask("DELETE", "/images/tagged:1")
    s.ask("POST", "/networks/create", {"Name": "net"})
    s.ask("POST", "/volumes/create", {"Name": "vol"})
    s.run("one", host={"NetworkMode": "net", "Binds": ["vol:/data"]})
    s.run("other")
    s.ask("POST", "/networks/net/connect", {"Container": "other"})
    s.ask("POST", "/networks/net/disconnect", {"Container": "other"})
    s.ask("DELETE", "/containers/one?force=1")
    settled(s, since, "destroy")
    s.ask("DELETE", "/networks/net")
    s.ask("DELETE", "/volumes/vol")
    settled(s, since, "destroy", "volume")
    for kind in ("image", "network", "volume"):
        for event in told(s, since, kind):
            s.record(f"event {kind} {event['Action']}", event)


def scene_events_filtered_and_refused(s):
    since = time.time()
    s.run("one", ["true"], Labels={"a": "b"})
    s.finished("one")
    s.run("two", ["sh", "-c", "exit 2"])
    s.finished("two")
    settled(s, since, "die")
    until = time.time()
    import json
    for filters in ({"container": ["one"]}, {"event": ["die"]}, {"event": ["start", "die"], "container": ["two"]}, {"type": ["container"], "label": ["a=b"]}, {"type": ["network"]}, {"image": ["by:1"]}, {"image": ["nobody"]}, {"nonsense": ["x"]}, {"daemon": ["x"]}, {"scope": ["local"], "type": ["volume"]}):
        answer = s.ask("GET", "/events?" + __import__("urllib.parse").parse.urlencode({"since": f"{since:.9f}", "until": f"{until:.9f}", "filters": json.dumps(filters)}))
        s.record(f"events {filters}", [answer.status, sorted(f"{e['Type']} {e['Action']} {e['Actor']['Attributes'].get('name', '')}" for e in map(json.loads, answer.text.splitlines()) if "Type" in e)])
    for params in ({"since": "x"}, {"until": "x", "since": 1}, {"filters": "x", "until": 1}, {"since": 5, "until": 1}):
        answer = s.ask("GET", "/events?" + "&".join(f"{k}={v}" for k, v in params.items()))
        s.record(f"events {params}", answer.status)


def scene_prune(s):
    s.create("made", Labels={"keep": "yes"})
    s.run("up")
    s.api("POST", "/containers/prune", params={"filters": {"label!": ["keep=yes"]}})
    s.api("POST", "/containers/prune", params={"filters": {"until": ["1h"]}})
    s.api("POST", "/containers/prune", params={"filters": {"nonsense": ["x"]}})
    s.api("POST", "/containers/prune", params={"filters": {"until": ["x"]}})
    s.api("POST", "/containers/prune", params={"filters": "x"})
    s.api("POST", "/containers/prune")
    s.ask("POST", "/commit?container=up")
    for params in ({"filters": {"dangling": ["true"], "label": ["no"]}}, {"filters": {"nonsense": ["x"]}}, {"filters": {"dangling": ["x"]}}, {"filters": {"until": ["x"]}}):
        s.api("POST", "/images/prune", params=params)
    answer = s.ask("POST", "/images/prune")
    s.record("prune of images", [answer.status, shape(answer.json), len(answer.get("ImagesDeleted") or [])])
    for path in ("/build/prune", "/networks/prune", "/volumes/prune"):
        s.api("POST", path)
    s.cli("system", "prune", "-f")


def scene_what_is_of_swarm(s):
    for method, path in (("GET", "/swarm"), ("GET", "/nodes"), ("GET", "/services"), ("GET", "/tasks"), ("GET", "/secrets"), ("GET", "/configs"), ("GET", "/plugins"), ("POST", "/swarm/init"), ("POST", "/services/create"), ("GET", "/services/x"), ("GET", "/plugins/x/json")):
        s.record(f"{method} {path} is refused", s.ask(method, path, {} if method == "POST" else None).status >= 400)
