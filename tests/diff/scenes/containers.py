"""Containers: create, inspect, list, lifecycle, and what is refused."""
from scene import frames


def scene_a_life_from_create_to_remove(s):
    s.api("POST", "/containers/create", {"Image": "by:1", "Cmd": ["sh", "-c", "exit 3"]}, {"name": "one"})
    s.api("GET", "/containers/one/json")
    s.api("GET", "/containers/json", params={"all": 1})
    s.api("POST", "/containers/one/start")
    s.api("POST", "/containers/one/wait")
    s.api("GET", "/containers/one/json")
    s.api("POST", "/containers/one/start")
    s.finished("one")
    s.api("DELETE", "/containers/one")
    s.api("GET", "/containers/one/json")


def scene_a_running_container_in_three_versions_of_the_api(s):
    s.run("one", Labels={"a": "b"}, host={"PortBindings": {"80/tcp": [{"HostPort": "18080"}]}}, ExposedPorts={"80/tcp": {}, "81/udp": {}})
    for version in ("v1.24", "v1.30", "v1.41", ""):
        s.api("GET", "/containers/one/json", version=version)
        s.api("GET", "/containers/json", version=version, params={"size": 1})
        s.api("GET", "/containers/one/json", version=version, params={"size": "true"}, only=["SizeRw", "SizeRootFs"])


def scene_what_changes_nothing_is_304_and_what_cannot_be_409(s):
    s.run("one")
    s.api("POST", "/containers/one/start")
    s.api("DELETE", "/containers/one")
    s.api("POST", "/containers/create", {"Image": "by:1"}, {"name": "one"})
    s.api("POST", "/containers/one/unpause")
    s.api("POST", "/containers/one/pause")
    s.api("POST", "/containers/one/pause", note="again")
    s.api("POST", "/containers/one/start", note="of a paused one")
    s.api("POST", "/containers/one/exec", {"Cmd": ["true"]}, note="of a paused one")
    s.api("POST", "/containers/one/restart", params={"t": 0}, note="of a paused one")
    s.api("POST", "/containers/one/stop", params={"t": 1})
    s.api("POST", "/containers/one/stop")
    s.api("POST", "/containers/one/kill")
    s.api("POST", "/containers/one/pause")
    s.api("POST", "/containers/one/unpause", note="of a stopped one")
    s.api("GET", "/containers/one/top")
    s.api("POST", "/containers/one/exec", {"Cmd": ["true"]})
    s.api("POST", "/containers/one/resize", params={"h": 10, "w": 10})


EVERYTHING = {
    "Image": "by:1", "Cmd": ["sleep 1000"], "Hostname": "box", "Domainname": "example.org", "User": "1000:1000", "Tty": False, "OpenStdin": True,
    "StdinOnce": True, "Env": ["A=1", "B=two words", "EMPTY=", "HOME=/tmp"], "WorkingDir": "/tmp", "Entrypoint": ["/bin/sh", "-c"], "Labels": {"one": "1", "two": ""},
    "StopSignal": "SIGKILL", "StopTimeout": 3, "ExposedPorts": {"8080/tcp": {}, "53/udp": {}}, "Volumes": {"/anonymous": {}}, "MacAddress": "02:99:00:00:00:01",
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30000000000, "Timeout": 5000000000, "Retries": 2, "StartPeriod": 1000000000},
    "HostConfig": {
        "Binds": ["named:/named:ro", "/etc:/host-etc:ro"], "NetworkMode": "bridge", "PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18080"}]},
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}, "CapAdd": ["NET_ADMIN", "SYS_TIME"], "CapDrop": ["MKNOD"], "Dns": ["10.99.0.53"],
        "DnsOptions": ["ndots:2"], "DnsSearch": ["example.com"], "ExtraHosts": ["other:10.99.0.1"], "GroupAdd": ["2000"], "IpcMode": "private", "OomScoreAdj": 100,
        "PidMode": "", "Privileged": False, "PublishAllPorts": True, "ReadonlyRootfs": True, "SecurityOpt": ["no-new-privileges"], "Tmpfs": {"/scratch": "size=1m"},
        "UTSMode": "", "ShmSize": 1048576, "Sysctls": {"net.ipv4.ip_forward": "1"}, "CpuShares": 512, "Memory": 67108864, "MemorySwap": 67108864, "MemoryReservation": 33554432,
        "NanoCpus": 500000000, "CpusetCpus": "0", "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/nothing", "CgroupPermissions": "rwm"}],
        "DeviceCgroupRules": ["c 1:3 rwm"], "PidsLimit": 100, "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}], "Init": False,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "3"}}, "CgroupnsMode": "host",
        "Mounts": [{"Type": "volume", "Source": "mounted", "Target": "/mounted", "VolumeOptions": {"Labels": {"a": "b"}, "NoCopy": True}},
                   {"Type": "bind", "Source": "/etc", "Target": "/bound", "ReadOnly": True, "BindOptions": {"Propagation": "rprivate"}},
                   {"Type": "tmpfs", "Target": "/mem", "TmpfsOptions": {"SizeBytes": 65536, "Mode": 448}}]},
}


def scene_create_with_every_option(s):
    s.api("POST", "/containers/create", EVERYTHING, {"name": "every"}, note="everything")
    s.api("GET", "/containers/every/json", sort="Mounts:Destination")
    s.api("POST", "/containers/every/start")
    s.api("GET", "/containers/every/json", sort="Mounts:Destination")
    s.api("GET", "/containers/json", only=["Names", "Image", "Command", "Ports", "Labels", "State", "HostConfig", "Status"])
    for look in ("id", "cat /etc/hostname /etc/hosts | grep -v : | grep -v localhost", "grep -v ^# /etc/resolv.conf", "ulimit -n", "env | sort", "pwd", "ls -d /dev/nothing", "df -k /dev/shm | tail -1 | awk '{print $2}'",
                 "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status", "cat /proc/self/oom_score_adj", "touch /x 2>&1", "touch /scratch/x && echo yes",
                 "grep -E ' /(scratch|mem|named|bound|mounted|anonymous) ' /proc/mounts | awk '{print $2, $3, substr($4, 1, 2)}' | sort", "cat /proc/sys/net/ipv4/ip_forward",
                 "hostname; hostname -f", "cat /sys/class/net/eth0/address"):
        s.record("in the container: " + look, exec_output(s, "every", look))


def exec_output(s, name, script):
    made = s.ask("POST", f"/containers/{name}/exec", {"Cmd": ["sh", "-c", script], "AttachStdout": True, "AttachStderr": True})
    return "".join(frames(s.ask("POST", f"/exec/{made.get('Id')}/start", {}).body).values())


HOSTS = [
    ("host network", {"NetworkMode": "host"}), ("none network", {"NetworkMode": "none"}), ("host pid", {"PidMode": "host"}), ("host ipc", {"IpcMode": "host"}),
    ("shareable ipc", {"IpcMode": "shareable"}), ("host uts", {"UTSMode": "host"}), ("privileged", {"Privileged": True}), ("init", {"Init": True}),
    ("all capabilities", {"CapAdd": ["ALL"]}), ("no capabilities", {"CapDrop": ["all"]}), ("cap prefix", {"CapAdd": ["CAP_SYS_ADMIN"]}),
    ("unconfined", {"SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"]}), ("always", {"RestartPolicy": {"Name": "always"}}),
    ("unless-stopped", {"RestartPolicy": {"Name": "unless-stopped"}}), ("auto remove", {"AutoRemove": True}), ("no masks", {"MaskedPaths": [], "ReadonlyPaths": []}),
    ("own masks", {"MaskedPaths": ["/proc/kcore"], "ReadonlyPaths": ["/proc/sys"]}), ("blkio", {"BlkioWeight": 300}), ("memory only", {"Memory": 33554432}),
    ("unlimited swap", {"Memory": 33554432, "MemorySwap": -1}), ("swappiness", {"MemorySwappiness": 10}), ("pids unlimited", {"PidsLimit": -1}),
    ("pids 0", {"PidsLimit": 0}), ("cpu quota", {"CpuPeriod": 50000, "CpuQuota": 25000}), ("oom kill disable", {"OomKillDisable": True, "Memory": 33554432}),
    ("ports of any", {"PublishAllPorts": True}), ("port range", {"PortBindings": {"80/tcp": [{"HostPort": "18100-18110"}]}}),
    ("port of all addresses", {"PortBindings": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "18200"}]}}),
    ("two ports", {"PortBindings": {"80/tcp": [{"HostPort": "18201"}, {"HostPort": "18202"}], "80/udp": [{"HostPort": "18201"}]}}),
    ("volume read-only", {"Binds": ["vol:/vol:ro"]}), ("volume nocopy", {"Binds": ["vol:/vol:nocopy"]}), ("bind z", {"Binds": ["/etc:/x:ro,z"]}),
    ("bind propagation", {"Binds": ["/etc:/x:rslave"]}), ("tmpfs options", {"Tmpfs": {"/t": "", "/u": "rw,noexec,size=64k,mode=1770"}}),
    ("host gateway", {"ExtraHosts": ["up:host-gateway"]}), ("log none", {"LogConfig": {"Type": "none"}}), ("log local", {"LogConfig": {"Type": "local", "Config": {"max-size": "2m"}}}),
    ("cgroup parent", {"CgroupParent": "/diff"}), ("console size", {"ConsoleSize": [10, 20]}), ("runtime", {"Runtime": "runc"}), ("isolation", {"Isolation": "default"}),
]


def scene_host_configs_as_inspect_shows_them(s):
    for i, (note, host) in enumerate(HOSTS):
        s.api("POST", "/containers/create", {"Image": "by:1", "HostConfig": host, "ExposedPorts": {"80/tcp": {}, "80/udp": {}}}, {"name": f"c{i}"}, note=note)
        s.api("GET", f"/containers/c{i}/json", only=["HostConfig", "Mounts", "Config"], note=note)


CONFIGS = [
    ("nothing but an image", {}), ("a string for Cmd", {"Cmd": "echo hello"}), ("a string for Entrypoint", {"Entrypoint": "/bin/sh"}), ("empty entrypoint", {"Entrypoint": [""], "Cmd": ["true"]}),
    ("empty list", {"Entrypoint": [], "Cmd": ["true"]}), ("tty", {"Tty": True, "OpenStdin": True}), ("attached", {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "OpenStdin": True, "StdinOnce": True}),
    ("env without a value", {"Env": ["NOVALUE", "A=1", "A=2"]}), ("healthcheck none", {"Healthcheck": {"Test": ["NONE"]}}), ("healthcheck shell", {"Healthcheck": {"Test": ["CMD-SHELL", "exit 0"]}}),
    ("hostname", {"Hostname": "h.example.org"}), ("network disabled", {"NetworkDisabled": True}), ("shell", {"Shell": ["/bin/ash", "-c"]}), ("on build", {"OnBuild": ["RUN true"]}),
    ("stop signal by number", {"StopSignal": "9"}), ("labels", {"Labels": {"": "x", "a.b/c": "ü"}}), ("relative workdir", {"WorkingDir": "tmp"}), ("volumes", {"Volumes": {"/a": {}, "/b/": {}}}),
]


def scene_configs_as_inspect_shows_them(s):
    for i, (note, config) in enumerate(CONFIGS):
        s.api("POST", "/containers/create", {"Image": "by:1", **config}, {"name": f"c{i}"}, note=note)
        s.api("GET", f"/containers/c{i}/json", only=["Config", "Path", "Args", "Mounts"], note=note, sort="Mounts:Destination")


REFUSED = [
    ("no image", {"Image": ""}), ("no such image", {"Image": "no/such:image"}), ("a bad reference", {"Image": "Bad Name"}), ("an image id that is not there", {"Image": "sha256:" + "0" * 64}),
    ("env", {"Env": ["=x"]}), ("exposed port", {"ExposedPorts": {"abc/tcp": {}}}), ("exposed protocol", {"ExposedPorts": {"80/xyz": {}}}), ("stop signal", {"StopSignal": "SIGNOTHING"}),
    ("negative stop timeout", {"StopTimeout": -1}), ("mac", {"MacAddress": "zz"}), ("health interval", {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 1}}),
    ("health retries", {"Healthcheck": {"Test": ["CMD", "true"], "Retries": -1}}), ("health test", {"Healthcheck": {"Test": ["WHAT", "true"]}}), ("long hostname", {"Hostname": "x" * 70}),
    ("bad hostname", {"Hostname": "bad_host!"}), ("volume path", {"Volumes": {"relative": {}}}), ("volume root", {"Volumes": {"/": {}}}), ("memory too small, of old clients", {"Memory": 1024}),
]
REFUSED_HOSTS = [
    ("memory too small", {"Memory": 1024}), ("swap below memory", {"Memory": 67108864, "MemorySwap": 33554432}), ("swap without memory", {"MemorySwap": 67108864}),
    ("reservation above memory", {"Memory": 33554432, "MemoryReservation": 67108864}), ("swappiness 101", {"MemorySwappiness": 101}), ("nano cpus too many", {"NanoCpus": 999000000000}),
    ("nano cpus and quota", {"NanoCpus": 500000000, "CpuQuota": 5000}), ("cpu period", {"CpuPeriod": 10}), ("cpu quota", {"CpuQuota": 10}), ("negative shares", {"CpuShares": -1}), ("one share", {"CpuShares": 1}), ("too many shares", {"CpuShares": 99999999}),
    ("cpuset", {"CpusetCpus": "x"}), ("cpuset absent", {"CpusetCpus": "900"}), ("cpuset mems", {"CpusetMems": "900"}), ("shm size", {"ShmSize": -1}), ("oom score", {"OomScoreAdj": 2000}), ("blkio", {"BlkioWeight": 5}),
    ("restart policy", {"RestartPolicy": {"Name": "sometimes"}}), ("retries with always", {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 2}}),
    ("negative retries", {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -2}}), ("auto remove and restart", {"AutoRemove": True, "RestartPolicy": {"Name": "always"}}),
    ("a relative bind", {"Binds": ["relative/path:/x"]}), ("a bind to a relative path", {"Binds": ["/etc:x"]}), ("a bind mode", {"Binds": ["/etc:/x:what"]}), ("four parts", {"Binds": ["/a:/b:ro:x"]}),
    ("bind to the root", {"Binds": ["/etc:/"]}), ("two on one path", {"Binds": ["a:/x", "b:/x"]}), ("no such bind source", {"Mounts": [{"Type": "bind", "Source": "/no/such", "Target": "/x"}]}),
    ("mount type", {"Mounts": [{"Type": "what", "Target": "/x"}]}), ("mount without target", {"Mounts": [{"Type": "volume", "Source": "a"}]}), ("tmpfs with a source", {"Mounts": [{"Type": "tmpfs", "Source": "a", "Target": "/x"}]}),
    ("bind without a source", {"Mounts": [{"Type": "bind", "Target": "/x"}]}), ("bind with volume options", {"Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/x", "VolumeOptions": {"NoCopy": True}}]}),
    ("tmpfs option", {"Tmpfs": {"/t": "what=1"}}), ("capability", {"CapAdd": ["NOTHING"]}), ("device", {"Devices": [{"PathOnHost": "/dev/no-such", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}]}),
    ("device permissions", {"Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "q"}]}), ("device rule", {"DeviceCgroupRules": ["what"]}), ("directory without devices", {"Devices": [{"PathOnHost": "/etc", "PathInContainer": "/etc", "CgroupPermissions": "rwm"}]}),
    ("dns", {"Dns": ["not-an-address"]}), ("extra host", {"ExtraHosts": ["nohost"]}), ("extra host address", {"ExtraHosts": ["a:b"]}), ("security option", {"SecurityOpt": ["what=x"]}), ("seccomp file", {"SecurityOpt": ["seccomp={"]}),
    ("network mode", {"NetworkMode": "no-such-network"}), ("container network", {"NetworkMode": "container:nobody"}), ("pid mode", {"PidMode": "what"}), ("pid of nobody", {"PidMode": "container:nobody"}),
    ("ipc mode", {"IpcMode": "what"}), ("uts mode", {"UTSMode": "what"}), ("cgroup ns", {"CgroupnsMode": "what"}), ("userns", {"UsernsMode": "what"}), ("runtime", {"Runtime": "no-such"}), ("isolation", {"Isolation": "hyperv"}),
    ("log driver", {"LogConfig": {"Type": "no-such"}}), ("log option", {"LogConfig": {"Type": "json-file", "Config": {"what": "1"}}}), ("log size", {"LogConfig": {"Type": "json-file", "Config": {"max-size": "x"}}}),
    ("ulimit", {"Ulimits": [{"Name": "nothing", "Soft": 1, "Hard": 1}]}), ("ulimit order", {"Ulimits": [{"Name": "nofile", "Soft": 9, "Hard": 1}]}), ("sysctl", {"Sysctls": {"kernel.no.such": "1"}}),
    ("port", {"PortBindings": {"abc": [{"HostPort": "1"}]}}), ("host port", {"PortBindings": {"80/tcp": [{"HostPort": "99999"}]}}), ("host port text", {"PortBindings": {"80/tcp": [{"HostPort": "x"}]}}),
    ("volumes from nobody", {"VolumesFrom": ["nobody"]}), ("volumes from mode", {"VolumesFrom": ["nobody:what"]}), ("links to nobody", {"Links": ["nobody:x"]}),
    ("host network and ports", {"NetworkMode": "host", "PortBindings": {"80/tcp": [{"HostPort": "18080"}]}}), ("host network and links", {"NetworkMode": "host", "Links": ["a:b"]}), ("gpu", {"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]}),
    ("group", {"GroupAdd": ["no-such-group"]}), ("storage option", {"StorageOpt": {"what": "1"}}), ("masked type", {"MaskedPaths": "x"}), ("memory type", {"Memory": "1g"}), ("binds type", {"Binds": "x"}), ("privileged type", {"Privileged": "yes"}),
]


def refusal(s, name, body, note):
    """Creates and starts: records whether and how it is refused, by whichever of the two; the words are each engine's own."""
    answer = s.ask("POST", f"/containers/create?name={name}", {"Image": "by:1", "Cmd": ["true"], **body})
    if answer.status == 201:
        answer = s.ask("POST", f"/containers/{name}/start")
    s.record(note, {"status": answer.status, "message": type(answer.get("message")).__name__})


def scene_what_create_or_start_refuses_of_the_config(s):
    for i, (note, config) in enumerate(REFUSED):
        refusal(s, f"c{i}", config, note)


def scene_what_create_or_start_refuses_of_the_host_config(s):
    for i, (note, host) in enumerate(REFUSED_HOSTS):
        refusal(s, f"c{i}", {"HostConfig": {"NetworkMode": "none", **host}}, note)


def scene_names(s):
    s.create("taken")
    for name in ("taken", "/taken", "a", "-a", "a b", "a/b", "ä", "UPPER_lower.1-2", "a!"):
        s.api("POST", "/containers/create", {"Image": "by:1"}, {"name": name}, only=["message", "Warnings"])
    for name in ("taken", "UPPER_lower.1-2", "", "a b", "renamed"):
        s.api("POST", "/containers/taken/rename", params={"name": name})
    s.api("POST", "/containers/nobody/rename", params={"name": "x"})
    s.api("POST", "/containers/renamed/rename", note="without a name")
    s.api("GET", "/containers/renamed/json", only=["Name"])
    container = s.ask("GET", "/containers/renamed/json").get("Id", "")
    for ref in (container, container[:12], "/renamed", "renamed/", "%2Frenamed"):
        s.api("GET", f"/containers/{ref}/json", only=["Name", "message"])


def scene_programs_that_cannot_start(s):
    for i, config in enumerate(({"Cmd": ["no-such-program"]}, {"Cmd": ["/etc/passwd"]}, {"Cmd": ["/"]}, {"Cmd": ["true"], "User": "nobody-here"},
                                {"Cmd": ["true"], "User": "1:no-such-group"}, {"Cmd": [""]}, {"Cmd": ["true"], "WorkingDir": "/new/dir"})):
        s.create(f"c{i}", **{"cmd": config.pop("Cmd"), **config})
        s.api("POST", f"/containers/c{i}/start", note=str(config))
        s.finished(f"c{i}")
        s.api("GET", f"/containers/c{i}/json", only=["State.Status", "State.ExitCode", "State.Error", "State.Running"])


def scene_list_with_each_filter(s):
    s.run("up", Labels={"role": "web", "tier": "1"}, host={"PortBindings": {"80/tcp": [{"HostPort": "18080"}]}, "Binds": ["vol:/data"]}, ExposedPorts={"80/tcp": {}, "90/udp": {}})
    s.create("made", Labels={"role": "db"})
    s.run("ended", ["sh", "-c", "exit 3"])
    s.finished("ended")
    s.run("held")
    s.ask("POST", "/containers/held/pause")
    s.ask("POST", "/networks/create", {"Name": "net"})
    s.run("meets", host={"NetworkMode": "net"}, Healthcheck={"Test": ["CMD", "true"], "Interval": 3600000000000})
    s.run("auto", ["sleep", "1000"])
    ids = {c["Names"][0][1:]: c["Id"] for c in s.ask("GET", "/containers/json?all=1").json}
    filters = [{}, {"status": ["running"]}, {"status": ["created", "exited"]}, {"status": ["paused"]}, {"status": ["nonsense"]}, {"label": ["role"]}, {"label": ["role=web"]},
               {"label": ["role", "tier=1"]}, {"label": ["no"]}, {"name": ["up"]}, {"name": ["/up"]}, {"name": ["^/u.$"]}, {"name": ["e"]}, {"name": ["("]}, {"id": [ids["up"]]}, {"id": [ids["up"][:12]]}, {"id": ["zz"]},
               {"ancestor": ["by:1"]}, {"ancestor": ["by"]}, {"ancestor": ["nothing"]}, {"before": ["made"]}, {"before": ["nobody"]}, {"since": ["made"]}, {"since": ["nobody"]}, {"exited": ["3"]}, {"exited": ["0"]}, {"exited": ["x"]},
               {"volume": ["vol"]}, {"volume": ["/data"]}, {"network": ["net"]}, {"network": ["bridge"]}, {"network": ["no"]}, {"publish": ["18080"]}, {"publish": ["80"]}, {"publish": ["x"]}, {"publish": ["18000-18090/tcp"]}, {"expose": ["90/udp"]}, {"expose": ["80"]},
               {"health": ["starting"]}, {"health": ["none"]}, {"health": ["what"]}, {"is-task": ["true"]}, {"is-task": ["x"]}, {"isolation": ["default"]}, {"nonsense": ["x"]}, {"label": {"role": True}}, {"status": {"exited": True}}, {"status": {"exited": False}}]
    for chosen in filters:
        s.api("GET", "/containers/json", params={"all": 1, "filters": chosen}, only=["Names", "State"])
    for params in ({}, {"all": "true"}, {"all": "0"}, {"all": "false"}, {"all": "x"}, {"limit": 2}, {"limit": 0}, {"limit": -1}, {"limit": "x"}, {"last": 1}, {"since": "made"}, {"before": "made"}, {"size": "1", "limit": 1},
                   {"filters": "x"}, {"filters": "[]"}, {"filters": '{"a":1}'}, {"filters": ""}, {"filters": '{"label":null}'}, {"nonsense": 1}):
        s.api("GET", "/containers/json", params=params, only=["Names"])
    s.api("GET", "/containers/json", params={"all": 1}, only=["Names", "Image", "Command", "State", "Ports", "Labels", "HostConfig", "Mounts"])


def scene_kill_with_signals(s):
    s.run("one", ["sh", "-c", "trap 'echo hup' HUP; trap 'exit 7' USR1; echo up; while :; do sleep 0.02; done"])
    s.until(lambda: "up" in s.ask("GET", "/containers/one/logs?stdout=1").text, "the shell")
    s.api("POST", "/containers/one/kill", params={"signal": "HUP"})
    s.until(lambda: "hup" in s.ask("GET", "/containers/one/logs?stdout=1").text, "the signal")
    for signal in ("NOTHING", "99", "-1", "SIGRTMIN+40", "x y"):
        s.api("POST", "/containers/one/kill", params={"signal": signal})
    s.api("POST", "/containers/one/kill", params={"signal": "sigusr1"})
    s.finished("one")
    s.api("GET", "/containers/one/json", only=["State.Status", "State.ExitCode", "State.OOMKilled", "State.Error"])
    s.api("POST", "/containers/nobody/kill")


def scene_stop_and_restart(s):
    s.run("one", ["sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done"], StopSignal="SIGTERM")
    s.until(lambda: "up" in s.ask("GET", "/containers/one/logs?stdout=1").text, "the shell")
    s.api("POST", "/containers/one/stop", params={"t": 60})
    s.api("GET", "/containers/one/json", only=["State.Status", "State.ExitCode"])
    s.api("POST", "/containers/one/restart", params={"t": 0})
    s.api("GET", "/containers/one/json", only=["State.Status", "State.ExitCode", "RestartCount"])
    for t in ("x", "1.5", ""):
        s.api("POST", "/containers/one/stop", params={"t": t}, note="t=" + t) if t else None
    s.api("POST", "/containers/one/restart", params={"t": "x"})
    for verb in ("start", "stop", "restart", "pause", "unpause", "wait", "resize?h=1&w=1", "update", "attach?stream=1&stdout=1"):
        s.api("POST", f"/containers/nobody/{verb}", {} if verb == "update" else None)
    s.api("DELETE", "/containers/nobody")


def scene_restart_policies(s):
    s.run("failing", ["sh", "-c", "exit 3"], host={"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}})
    s.until(lambda: s.ask("GET", "/containers/failing/json").get("RestartCount") == 2 and not s.ask("GET", "/containers/failing/json").get("State")["Running"], "two restarts")
    s.api("GET", "/containers/failing/json", only=["State.Status", "State.ExitCode", "State.Restarting", "RestartCount"])
    s.run("fine", ["true"], host={"RestartPolicy": {"Name": "on-failure"}})
    s.finished("fine")
    s.api("GET", "/containers/fine/json", only=["State.Status", "State.ExitCode", "RestartCount"])
    s.run("gone", ["true"], host={"AutoRemove": True})
    s.until(lambda: s.ask("GET", "/containers/gone/json").status == 404, "the container to remove itself")
    s.api("GET", "/containers/gone/json")


def scene_update(s):
    s.run("one", host={"Memory": 67108864, "MemorySwap": 67108864})
    for body in ({"Memory": 50331648}, {"Memory": 50331648, "MemorySwap": 50331648}, {"CpuShares": 256, "CpuPeriod": 100000, "CpuQuota": 20000}, {"NanoCpus": 300000000}, {"PidsLimit": 50}, {"RestartPolicy": {"Name": "always"}},
                 {"RestartPolicy": {"Name": "sometimes"}}, {"Memory": 1}, {"CpusetCpus": "x"}, {"CpusetCpus": "0"}, {"BlkioWeight": 1}, {}, {"Memory": "x"}, {"MemoryReservation": 33554432}, {"Devices": []}, {"KernelMemory": 0}):
        s.api("POST", "/containers/one/update", body)
    s.api("POST", "/containers/one/update", b"{", note="half a body")
    s.api("POST", "/containers/one/update", note="no body")
    s.api("GET", "/containers/one/json", only=["HostConfig"])


def scene_delete(s):
    s.run("running", host={"Binds": ["kept:/kept"]}, Volumes={"/anonymous": {}})
    for params in ({}, {"force": "x"}, {"link": 1}, {"force": 0}, {"v": 1, "force": "true"}):
        s.api("DELETE", "/containers/running", params=params)
    s.api("GET", "/volumes", only=["Volumes"], sort="Volumes:Name")
    s.create("paused")
    s.api("DELETE", "/containers/paused", params={"v": "0"})


def scene_top_and_changes(s):
    s.run("one", ["sh", "-c", "touch /new; rm /etc/group; echo x >> /etc/passwd; mkdir /dir; touch /dir/file; echo up; exec sleep 1000"])
    s.until(lambda: "up" in s.ask("GET", "/containers/one/logs?stdout=1").text, "the changes")
    s.api("GET", "/containers/one/changes", sort="Path")
    answer = s.ask("GET", "/containers/one/top")
    s.record("titles of top", [answer.status, answer.get("Titles"), [p[-1] for p in answer.get("Processes") or []]])
    answer = s.ask("GET", "/containers/one/top?ps_args=-o+pid,comm")
    s.record("top with its own columns", [answer.status, answer.get("Titles"), [p[-1] for p in answer.get("Processes") or []]])
    for args in ("nonsense", "-o comm"):
        s.api("GET", "/containers/one/top", params={"ps_args": args})
    for path in ("top", "changes", "export", "stats?stream=0", "json", "logs?stdout=1"):
        s.api("GET", f"/containers/nobody/{path}")


def scene_stats(s):
    s.run("one")
    answer = s.ask("GET", "/containers/one/stats?stream=0")
    s.record("fields of stats", shape(answer.json))
    answer = s.ask("GET", "/containers/one/stats?stream=0&one-shot=1")
    s.record("one-shot", [answer.status, shape(answer.json.get("precpu_stats"))])
    s.ask("POST", "/containers/one/stop?t=0")
    s.api("GET", "/containers/one/stats", params={"stream": 0}, only=["name", "memory_stats", "networks", "pids_stats"])


def shape(value):
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return "list"
    return type(value).__name__.replace("float", "int")


def scene_wait_conditions(s):
    s.create("one", ["sh", "-c", "exit 4"])
    s.api("POST", "/containers/one/wait", params={"condition": "not-running"})
    s.api("POST", "/containers/one/wait", params={"condition": "nonsense"})
    s.ask("POST", "/containers/one/start")
    s.api("POST", "/containers/one/wait")
    s.api("POST", "/containers/one/wait", params={"condition": "not-running"})
    s.api("POST", "/containers/one/wait", params={"condition": ""})
    s.api("POST", "/containers/one/wait", version="v1.24")


def scene_health(s):
    s.run("well", Healthcheck={"Test": ["CMD-SHELL", "echo fine"], "Interval": 60000000, "Timeout": 30000000000})
    s.until(lambda: s.ask("GET", "/containers/well/json").get("State")["Health"]["Status"] == "healthy", "health")
    health = s.ask("GET", "/containers/well/json").get("State")["Health"]
    s.record("the health of one that is well", {**health, "Log": health["Log"][-1:]})
    s.run("ill", Healthcheck={"Test": ["CMD", "false"], "Interval": 60000000, "Timeout": 30000000000, "Retries": 2})
    s.until(lambda: s.ask("GET", "/containers/ill/json").get("State")["Health"]["Status"] == "unhealthy", "illness")
    health = s.ask("GET", "/containers/ill/json").get("State")["Health"]
    s.record("the health of one that is ill", {**health, "Log": health["Log"][-1:], "FailingStreak": health["FailingStreak"] >= 2})
    s.run("none", Healthcheck={"Test": ["NONE"]})
    s.api("GET", "/containers/none/json", only=["State.Health", "Config.Healthcheck"])
    s.api("GET", "/containers/json", params={"filters": {"health": ["unhealthy"]}}, only=["Names"])


def scene_of_the_docker_cli(s):
    for args in (("run", "--rm", "by:1", "echo", "hello"), ("run", "--rm", "by:1", "sh", "-c", "echo out; echo err >&2; exit 7"), ("run", "--rm", "by:1", "no-such"), ("run", "--rm", "by:1", "/etc/passwd"), ("run", "--rm", "--entrypoint", "", "by:1", "true"),
                 ("run", "-d", "--name", "one", "--label", "a=b", "-p", "18090:80", "by:1", "sleep", "1000"), ("run", "--name", "one", "by:1"), ("ps", "--format", "{{.Names}}|{{.Image}}|{{.Command}}|{{.Ports}}|{{.State}}|{{.Networks}}|{{.Mounts}}|{{.LocalVolumes}}"),
                 ("port", "one"), ("port", "one", "80"), ("port", "one", "81"), ("exec", "one", "sh", "-c", "exit 3"), ("exec", "one", "no-such"), ("exec", "-u", "1000", "-w", "/tmp", "-e", "A=b", "one", "sh", "-c", "id -u; pwd; echo $A"), ("exec", "nobody", "true"), ("pause", "one"), ("ps", "--format", "{{.Status}}"),
                 ("unpause", "one"), ("rename", "one", "two"), ("update", "--memory", "64m", "--memory-swap", "64m", "two"), ("inspect", "-f", "{{.HostConfig.Memory}} {{.State.Status}} {{.Name}}", "two"), ("inspect", "nobody"), ("container", "inspect", "nobody"), ("logs", "nobody"), ("kill", "two"), ("wait", "two"), ("start", "two"),
                 ("restart", "-t", "0", "two"), ("stop", "-t", "0", "two"), ("start", "nobody"), ("diff", "two"), ("rm", "two"), ("rm", "two"), ("create", "--name", "three", "by:1", "true"), ("start", "-a", "three"), ("commit", "three", "c:1"), ("rm", "-f", "three", "nobody"), ("run", "--memory", "1k", "by:1"),
                 ("run", "--network", "no-such", "by:1"), ("run", "-v", "relative:x", "by:1"), ("run", "--restart", "always", "--rm", "by:1"), ("run", "-p", "x", "by:1"), ("cp", "nobody:/x", "-"), ("container", "ls", "-aq"), ("container", "prune", "-f")):
        s.cli(*args, sort=args[0] == "port")
