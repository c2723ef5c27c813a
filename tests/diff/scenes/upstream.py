"""What the integration tests of Docker's own engine ask, where Drover once answered otherwise."""
import gzip
import io
import lzma
import re

from build import build
from engines import tar_of


def scene_errors_before_1_24_are_plain_text(s):
    for version in ("v1.23", "v1.24"):
        for method, path, body in (("GET", "/notfound", None), ("GET", "/containers/nobody/json", None), ("POST", "/containers/create", {}), ("DELETE", "/volumes/nobody", None)):
            answer = s.ask(method, path, body, version=version)
            s.record(f"{method} /{version}{path}", [answer.status, answer.headers.get("Content-Type"), answer.text.startswith("{")])


def scene_fields_of_old_versions(s):
    s.run("one", host={"CpusetCpus": "0", "Memory": 64 << 20})
    for version in ("v1.19", "v1.20", "v1.21"):
        config = s.ask("GET", "/containers/one/json", version=version).json["Config"]
        s.record(f"limits in Config, {version}", {k: config.get(k) for k in ("Memory", "MemorySwap", "CpuShares", "Cpuset", "VolumeDriver")})
        stats = s.ask("GET", "/containers/one/stats?stream=false", version=version).json
        s.record(f"networks of stats, {version}", {k: sorted(stats[k]) for k in ("network", "networks") if k in stats})


def scene_bodies_that_are_no_json_are_said_in_the_words_of_go(s):
    for body in (b"{invalid json", b'{"a":1,}', b'{"a":1 2}', b'{"a" 1}', b'{"a":[1 2]}', b'{"a":x}', b"{", b'{"a":'):
        for path in ("/volumes/create", "/networks/create", "/containers/nobody/exec"):
            answer = s.ask("POST", path, body)
            # What comes before and after differs: the field there, the line and the column here.
            said = re.search(r"invalid character '.' [a-z: -]*[a-z]|unexpected EOF", answer.get("message") or "")
            s.record(f"{path} {body.decode()}", [answer.status, said.group(0) if said else answer.text])
    for body in (b"{invalid json", b""):
        answer = s.ask("POST", "/plugins/nobody/set", body)
        s.record(f"plugins {body.decode()}", answer.status)


def scene_binds_of_the_engines_own_root(s):
    root = s.ask("GET", "/info").json["DockerRootDir"]
    below = root + "/containers"
    for source in (root, below, "/", root + "-beside"):
        for mode in ("", "private", "rprivate", "slave", "rslave", "shared", "rshared"):
            mount = {"Type": "bind", "Source": source, "Target": "/foo", "BindOptions": {"Propagation": mode}}
            for note, host in (("bind", {"Binds": [f"{source}:/foo" + (f":{mode}" if mode else "")]}), ("mount", {"Mounts": [mount]})):
                if source.endswith("-beside") and (note == "mount" or mode):
                    continue  # is not there
                answer = s.ask("POST", "/containers/create?name=bound", {"Image": "by:1", "Cmd": ["true"], "HostConfig": host})
                told = s.ask("GET", "/containers/bound/json").json["Mounts"][0]["Propagation"] if answer.status == 201 else answer.text.partition(", daemon root:")[0]
                s.record(f"{note} of {source.replace(root, 'ROOT')} {mode}", [answer.status, told])
                s.ask("DELETE", "/containers/bound?force=1")


def scene_links_by_their_path(s):
    s.run("db")
    for alias in ("mysql", "/mysql"):
        s.run("app", host={"Links": [f"db:{alias}"]})
        s.record(f"links of {alias}", s.ask("GET", "/containers/app/json").json["HostConfig"]["Links"])
        s.ask("POST", "/containers/app/rename?name=other")
        for path in ("other/mysql", "other%2Fmysql", "app/mysql", "other/nobody"):
            answer = s.ask("GET", f"/containers/{path}/json")
            s.record(f"{path} of {alias}", [answer.status, answer.get("Name")])
        s.ask("DELETE", "/containers/other?force=1")
    s.run("again", host={"Links": ["/db:/whoever/mysql"]})
    s.record("links as they were shown", s.ask("GET", "/containers/again/json").json["HostConfig"]["Links"])


def scene_archives_within_archives_are_added_as_they_are(s):
    inner = tar_of({"inside": "x"})
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as out:
        out.write(lzma.compress(inner))
    files = {"a.tar.xz.gz": packed.getvalue(), "b.tar.xz": lzma.compress(inner)}
    build(s, "nested", "FROM by:1\nADD a.tar.xz.gz /a/\nADD b.tar.xz /b/\nRUN find /a /b -type f | sort", files=files, show=False)
