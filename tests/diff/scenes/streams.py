"""Exec, attach, logs and archives: what takes a connection over or streams."""
from engines import tar_of


def scene_exec_and_its_inspect(s):
    s.run("one", Env=["FROM=container"], WorkingDir="/tmp")
    for note, body in (("output", {"Cmd": ["sh", "-c", "echo out; echo err >&2; exit 3"], "AttachStdout": True, "AttachStderr": True}),
                       ("only stdout", {"Cmd": ["sh", "-c", "echo out; echo err >&2"], "AttachStdout": True}),
                       ("environment, user and directory", {"Cmd": ["sh", "-c", "echo $A $FROM; id -u; id -g; pwd"], "Env": ["A=b"], "User": "1000:1000", "WorkingDir": "/etc", "AttachStdout": True}),
                       ("the container's directory", {"Cmd": ["pwd"], "AttachStdout": True}), ("privileged", {"Cmd": ["grep", "CapEff", "/proc/self/status"], "Privileged": True, "AttachStdout": True})):
        made = s.api("POST", "/containers/one/exec", body, note=note)
        s.api("GET", f"/exec/{made.get('Id')}/json", note="before, " + note)
        s.api("POST", f"/exec/{made.get('Id')}/start", {}, form="frames", note=note)
        s.api("GET", f"/exec/{made.get('Id')}/json", note="after, " + note)
        s.api("POST", f"/exec/{made.get('Id')}/start", {}, form="frames", note="again, " + note)
    made = s.api("POST", "/containers/one/exec", {"Cmd": ["sleep", "1000"]}, note="detached")
    s.api("POST", f"/exec/{made.get('Id')}/start", {"Detach": True})
    s.api("GET", f"/exec/{made.get('Id')}/json", only=["Running", "ExitCode", "Pid", "OpenStdin", "ProcessConfig"])
    s.api("GET", "/containers/one/json", only=["ExecIDs"], note="with an exec")


def scene_what_exec_refuses(s):
    s.run("one")
    for note, body in (("no command", {}), ("empty command", {"Cmd": []}), ("text for a command", {"Cmd": "true"}), ("a user that is not there", {"Cmd": ["true"], "User": "nobody-here"}),
                       ("a directory that is not there", {"Cmd": ["true"], "WorkingDir": "/no/such"}), ("a program that is not there", {"Cmd": ["no-such"]}), ("env", {"Cmd": ["true"], "Env": ["=x"]}),
                       ("type", {"Cmd": ["true"], "Tty": "yes"}), ("detach keys", {"Cmd": ["true"], "DetachKeys": "nonsense-key"}), ("unknown field", {"Cmd": ["true"], "Nonsense": 1})):
        made = s.api("POST", "/containers/one/exec", body, note=note, only=["message"])
        if made.status == 201:
            started = s.ask("POST", f"/exec/{made.get('Id')}/start", {})
            s.record("start: " + note, started.status)
    for path, body in (("/exec/nothing/start", {}), ("/exec/nothing/resize?h=1&w=1", None), ("/containers/nobody/exec", {"Cmd": ["true"]})):
        s.api("POST", path, body)
    s.api("GET", "/exec/nothing/json")
    s.api("POST", "/containers/one/exec", note="no body")
    s.api("POST", "/containers/one/exec", b"{", note="half a body")
    s.api("POST", "/containers/one/exec", b"[]", note="a list")
    made = s.ask("POST", "/containers/one/exec", {"Cmd": ["true"]})
    s.api("POST", f"/exec/{made.get('Id')}/start", b"{", note="half a body")


def scene_exec_over_a_taken_connection(s):
    s.run("one")
    for upgrade in (True, False):
        made = s.ask("POST", "/containers/one/exec", {"Cmd": ["sh", "-c", "cat; echo bye >&2"], "AttachStdin": True, "AttachStdout": True, "AttachStderr": True})
        s.hijack(f"/exec/{made.get('Id')}/start", {"Detach": False, "Tty": False}, stdin=b"typed\n", upgrade=upgrade)
        made = s.ask("POST", "/containers/one/exec", {"Cmd": ["sh", "-c", "read x; echo got $x"], "Tty": True, "AttachStdin": True, "AttachStdout": True, "AttachStderr": True})
        s.hijack(f"/exec/{made.get('Id')}/start", {"Detach": False, "Tty": True}, stdin=b"typed\n", upgrade=upgrade, half_close=False, tty=True, note="tty")


def scene_attach(s):
    for upgrade in (True, False):
        how = "with" if upgrade else "without"
        s.create(f"out-{how}", ["sh", "-c", "echo out; echo err >&2; exit 2"])
        s.hijack(f"/containers/out-{how}/attach?stream=1&stdout=1&stderr=1", upgrade=upgrade, half_close=False, after=lambda: s.ask("POST", f"/containers/out-{how}/start"))
        s.hijack(f"/containers/out-{how}/attach?logs=1&stdout=1&stderr=1", upgrade=upgrade, note="past output")
        s.create(f"in-{how}", ["sh", "-c", "cat; echo end >&2"], OpenStdin=True, StdinOnce=True, AttachStdin=True)
        s.hijack(f"/containers/in-{how}/attach?stream=1&stdin=1&stdout=1&stderr=1", stdin=b"one\ntwo\n", upgrade=upgrade, after=lambda: s.ask("POST", f"/containers/in-{how}/start"))
        s.create(f"tty-{how}", ["sh", "-c", "stty -echo; echo ready; read x; echo got $x"], OpenStdin=True, StdinOnce=True, Tty=True)
        s.hijack(f"/containers/tty-{how}/attach?stream=1&stdin=1&stdout=1&stderr=1", upgrade=upgrade, half_close=False, tty=True,
                 after=lambda: (s.ask("POST", f"/containers/tty-{how}/start"), s.until(lambda: "ready" in s.ask("GET", f"/containers/tty-{how}/logs?stdout=1").text, "the shell")), stdin=b"line\n")
    s.run("keys", ["sleep", "1000"], OpenStdin=True, Tty=True)
    s.hijack("/containers/keys/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,b", stdin=b"\x01b", half_close=False, tty=True, note="detach keys")
    s.api("GET", "/containers/keys/json", only=["State.Running"])
    s.run("plain")
    for params in ({}, {"stream": 1}, {"stdout": 1}, {"stream": 1, "stdin": 1, "detachKeys": "nonsense-key"}):
        s.hijack("/containers/plain/attach?" + "&".join(f"{k}={v}" for k, v in params.items()), note="of a container without stdin") if params.get("stream") != 1 or "detachKeys" in params else None
    s.hijack("/containers/nobody/attach?stream=1&stdout=1")
    s.create("made")
    s.hijack("/containers/made/attach?logs=1&stdout=1", note="of one that never ran")


def scene_logs(s):
    s.run("one", ["sh", "-c", "for i in 1 2 3; do echo out $i; done; echo err >&2; printf 'no newline'"])
    s.finished("one")
    for params in ({"stdout": 1}, {"stderr": 1}, {"stdout": 1, "stderr": 1}, {"stdout": 1, "tail": 1}, {"stdout": 1, "tail": 0}, {"stdout": 1, "tail": "all"}, {"stdout": 1, "tail": "x"}, {"stdout": 1, "tail": -1},
                   {"stdout": 1, "since": 4000000000}, {"stdout": 1, "until": 1}, {"stdout": 1, "since": 1}, {"stdout": "true", "follow": 1}, {"stdout": 1, "timestamps": 1}, {"stdout": 1, "since": "x"}, {"stdout": 1, "until": "x"}, {"stdout": 1, "since": "1.5"},
                   {"stdout": 1, "since": "2015-01-01T00:00:00Z"}, {"stdout": 1, "details": 1}, {}, {"stdout": 0}, {"follow": 1}):
        s.api("GET", "/containers/one/logs", params=params, form="frames")
    s.run("tty", ["sh", "-c", "echo a; echo b >&2"], Tty=True)
    s.finished("tty")
    s.api("GET", "/containers/tty/logs", params={"stdout": 1, "stderr": 1}, form="text")
    s.create("made")
    s.api("GET", "/containers/made/logs", params={"stdout": 1, "stderr": 1}, form="frames")
    s.run("none", ["echo", "x"], host={"LogConfig": {"Type": "none"}})
    s.finished("none")
    s.api("GET", "/containers/none/logs", params={"stdout": 1})
    s.run("local", ["sh", "-c", "echo x; echo y"], host={"LogConfig": {"Type": "local"}})
    s.finished("local")
    s.api("GET", "/containers/local/logs", params={"stdout": 1, "tail": 1}, form="frames")
    s.api("GET", "/containers/one/logs", params={"stdout": 1}, version="v1.24", form="frames")
    s.api("GET", "/containers/one/logs", params={"stdout": 1}, version="", form="frames")


def scene_logs_with_details(s):
    s.api("POST", "/containers/create", {"Image": "by:1", "Cmd": ["echo", "x"], "Env": ["WHO=me"], "Labels": {"team": "a"}, "HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"labels": "team", "env": "WHO"}}}},
          {"name": "details"}, note="labels and env")
    s.ask("POST", "/containers/details/start")
    s.finished("details")
    s.api("GET", "/containers/details/logs", params={"stdout": 1, "details": 1}, form="frames")


def scene_archives(s):
    s.create("one", ["true"])
    tar = tar_of({"dir/": "", "dir/file": "content", "top": "x"})
    s.api("PUT", "/containers/one/archive", tar, {"path": "/tmp"}, note="into /tmp")
    for path in ("/tmp", "/tmp/", "/tmp/.", "/tmp/dir/file", "/tmp/dir", "/bin/sh", "/no/such", "relative", "", "/tmp/top/x", "/", "/tmp/../tmp/top", "/dev/null"):
        s.api("HEAD", "/containers/one/archive", params={"path": path}, form="none")
        answer = s.ask("GET", f"/containers/one/archive?path={path}") if path != "/" else None
        if answer:
            s.record(f"entries of {path}", [answer.status, entries(answer) if answer.status == 200 else answer.json])
    for note, params, body in (("to a file", {"path": "/tmp/top"}, tar), ("to nothing", {"path": "/no/such"}, tar), ("no path", {}, tar), ("not a tar", {"path": "/tmp"}, b"x" * 1000), ("empty", {"path": "/tmp"}, b""), ("nothing overwritten", {"path": "/", "noOverwriteDirNonDir": 1}, tar_of({"tmp": "x"})),
                               ("to the root", {"path": "/"}, tar_of({"etc/new": "x"})), ("out of it", {"path": "/tmp"}, tar_of({"../../escaped": "x"}))):
        s.api("PUT", "/containers/one/archive", body, params, note=note, only=["nothing"] if note == "not a tar" else None)
    for method in ("HEAD", "GET", "PUT"):
        s.api(method, "/containers/nobody/archive", tar if method == "PUT" else None, {"path": "/"}, note="of nobody")
    answer = s.ask("GET", "/containers/one/export")
    s.record("export", [answer.status, answer.headers.get("Content-Type"), "tmp/dir/file" in entries(answer)])
    s.run("ro", host={"ReadonlyRootfs": True, "Binds": ["vol:/vol", "/etc:/ro:ro"]})
    for path in ("/tmp", "/vol", "/ro"):
        s.api("PUT", "/containers/ro/archive", tar, {"path": path}, note="of a read-only container " + path)
    s.record("in the volume", [e for e in entries(s.ask("GET", "/containers/ro/archive?path=/vol"))])


def entries(answer):
    import io
    import tarfile
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        return sorted(m.name + ("/" if m.isdir() else "") for m in tar.getmembers())


def scene_resize_and_ttys(s):
    s.run("tty", ["sh", "-c", "trap 'stty size' WINCH; echo up; while :; do sleep 0.02; done"], Tty=True)
    s.until(lambda: "up" in s.ask("GET", "/containers/tty/logs?stdout=1").text, "the shell")
    s.api("POST", "/containers/tty/resize", params={"h": 33, "w": 99})
    s.until(lambda: "33 99" in s.ask("GET", "/containers/tty/logs?stdout=1").text, "the new size")
    for params in ({}, {"h": 1}, {"h": "x", "w": 1}, {"h": -1, "w": 1}, {"h": 0, "w": 0}, {"h": 99999999999, "w": 1}):
        s.api("POST", "/containers/tty/resize", params=params)
    s.create("made")
    s.api("POST", "/containers/made/resize", params={"h": 1, "w": 1})
