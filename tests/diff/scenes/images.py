"""Images: list, inspect, history, tag, remove, load, save, import, commit, and what is refused."""
from engines import busybox_root_tar, tar_of


def scene_inspect_list_and_history(s):
    for version in ("v1.24", "v1.41", ""):
        s.api("GET", "/images/by:1/json", version=version)
        s.api("GET", "/images/json", version=version)
        s.api("GET", "/images/by:1/history", version=version)
    image = s.ask("GET", "/images/by:1/json").get("Id")
    for ref in ("by", "by:2", image, image[7:], image[7:19], "docker.io/library/by:1", "library/by:1", "index.docker.io/library/by:1", "BB:1", "by:", "by@sha256:" + "0" * 64, "sha256:zz", "nobody/nothing"):
        s.api("GET", f"/images/{ref}/json", only=["RepoTags", "message"])
    for path in ("history", "get"):
        s.api("GET", f"/images/nobody/{path}", form="text")


def scene_tag_and_remove(s):
    for params in ({"repo": "other/name", "tag": "v2"}, {"repo": "no-tag"}, {"repo": "host.example:5000/x/y", "tag": "1"}, {"repo": "Upper", "tag": "1"}, {"repo": "x", "tag": "bad tag"}, {"repo": ""}, {}, {"repo": "a:b", "tag": "c"}, {"repo": "x@sha256:" + "0" * 64}, {"repo": "-x"}, {"repo": "sha256"}):
        s.api("POST", "/images/by:1/tag", params=params)
    s.api("POST", "/images/nobody/tag", params={"repo": "x"})
    s.api("GET", "/images/by:1/json", only=["RepoTags"])
    s.create("user")
    image = s.ask("GET", "/images/by:1/json").get("Id")
    for ref, params in (("other/name:v2", {}), ("other/name:v2", {}), ("no-tag", {"force": "x"}), (image, {}), ("by", {}), ("host.example:5000/x/y:1", {"noprune": 1}), ("by:1", {})):
        s.api("DELETE", f"/images/{ref}", params=params)
    s.ask("POST", f"/images/{image}/tag?repo=by&tag=1")


def scene_list_filters(s):
    s.ask("POST", "/images/by:1/tag?repo=other/name&tag=v2")
    s.create("one")
    s.ask("POST", "/commit?container=one&repo=committed&tag=1", {"Labels": {"a": "b"}})
    s.ask("POST", "/commit?container=one", {"Labels": {"dangling": "yes"}})
    for filters in ({}, {"reference": ["other/*"]}, {"reference": ["by"]}, {"reference": ["b?"]}, {"reference": ["*:v2"]}, {"label": ["a"]}, {"label": ["a=b"]}, {"label": ["a=c"]}, {"dangling": ["true"]}, {"dangling": ["false"]}, {"dangling": ["x"]}, {"before": ["committed:1"]},
                    {"since": ["by:1"]}, {"before": ["nobody"]}, {"nonsense": ["x"]}, {"until": ["1"]}):
        s.api("GET", "/images/json", params={"filters": filters}, only=["RepoTags", "Labels"], sort="RepoTags")
    for params in ({"all": 1}, {"all": "x"}, {"digests": 1}, {"filter": "by"}, {"filters": "x"}, {"shared-size": 1}, {"nonsense": 1}):
        s.api("GET", "/images/json", params=params, only=["RepoTags", "RepoDigests", "Containers"], sort="RepoTags")


def scene_commit(s):
    s.run("one", ["sh", "-c", "echo x > /new; exec sleep 1000"], Env=["A=1"], Labels={"l": "1"}, ExposedPorts={"80/tcp": {}})
    s.until(lambda: s.ask("HEAD", "/containers/one/archive?path=/new").status == 200, "the file is written")
    s.api("POST", "/commit", {"Cmd": ["ls"]}, {"container": "one", "repo": "c", "tag": "1", "comment": "why", "author": "who"})
    s.api("GET", "/images/c:1/json")
    s.api("GET", "/images/c:1/history")
    s.api("POST", "/commit", params={"container": "one", "repo": "c", "tag": "2", "pause": 0, "changes": 'ENV B=2\nCMD ["cat", "/new"]\nEXPOSE 81\nLABEL m=n\nUSER 1000\nWORKDIR /tmp\nENTRYPOINT ["sh"]\nVOLUME /v\nHEALTHCHECK CMD true'})
    s.api("GET", "/images/c:2/json", only=["Config", "Author", "Comment", "Parent"])
    for params in ({"container": "nobody"}, {}, {"container": "one", "repo": "Bad Name"}, {"container": "one", "repo": "c", "tag": "bad tag"}, {"container": "one", "changes": "RUN true"}, {"container": "one", "changes": "NONSENSE x"}, {"container": "one", "pause": "x"}):
        s.api("POST", "/commit", params=params)
    s.api("POST", "/commit", b"{", {"container": "one"}, note="half a body")


def scene_save_and_load(s):
    import io
    import tarfile
    saved = s.ask("GET", "/images/by:1/get")
    with tarfile.open(fileobj=io.BytesIO(saved.body)) as tar:
        names = sorted(m.name for m in tar.getmembers() if "/" not in m.name)
        s.record("files of a saved image", [n if n in ("manifest.json", "repositories") else "<id>.json" if n.endswith(".json") else "<id>" for n in names])
        s.record("its manifest", [{**m, "Layers": len(m["Layers"]), "Config": m["Config"][-5:]} for m in __import__("json").load(tar.extractfile("manifest.json"))])
    s.ask("POST", "/images/by:1/tag?repo=again&tag=1")
    both = s.ask("GET", "/images/get?names=again:1&names=by:1")
    s.ask("DELETE", "/images/again:1")
    s.api("POST", "/images/load", both.body, {"quiet": 1}, form="lines", note="two names")
    s.api("GET", "/images/again:1/json", only=["RepoTags", "Id"])
    answer = s.ask("POST", "/images/load", saved.body)
    s.record("load with its progress", [answer.status, answer.headers.get("Content-Type"), answer.text.splitlines()[-1]])
    for note, body in (("nothing", b""), ("not a tar", b"x" * 2000), ("a tar of something else", tar_of({"file": "x"})), ("a manifest that lies", tar_of({"manifest.json": '[{"Config":"none.json","RepoTags":["l:1"],"Layers":[]}]'})), ("a manifest that is none", tar_of({"manifest.json": "x"})),
                       ("a manifest that escapes", tar_of({"manifest.json": '[{"Config":"../../etc/passwd","RepoTags":["l:1"],"Layers":[]}]'}))):
        answer = s.ask("POST", "/images/load", body)
        s.record("load of " + note, {"status": answer.status, "error": "message" in answer.text or '"error"' in answer.text})
    for names in ("nobody", "by:1&names=nobody", ""):
        s.api("GET", f"/images/get?names={names}", form="text", only=None) if names != "" else s.api("GET", "/images/get", form="none")


def scene_import(s):
    root = tar_of({"etc/": "", "etc/file": "x"})
    s.api("POST", "/images/create", root, {"fromSrc": "-", "repo": "imported", "tag": "1", "message": "from a test"}, form="lines", note="a root")
    s.api("GET", "/images/imported:1/json", only=["Config", "Comment", "RepoTags", "Architecture", "Os", "RootFS.Type"])
    s.api("GET", "/images/imported:1/history", only=["Comment", "CreatedBy", "Tags"])
    s.api("POST", "/images/create?fromSrc=-&repo=imported&tag=2&changes=ENV+A%3D1&changes=CMD+%5B%22sh%22%5D", root, form="lines", note="two changes")
    s.api("GET", "/images/imported:2/json", only=["Config.Env", "Config.Cmd"])
    for params, body in (({"fromSrc": "-"}, root), ({"fromSrc": "-", "repo": "Bad Name"}, root), ({"fromSrc": "-", "repo": "x", "changes": "RUN true"}, root), ({"fromSrc": "-", "repo": "y"}, b"x" * 2000), ({"fromSrc": "http://127.0.0.1:1/x.tar", "repo": "z"}, None)):
        answer = s.ask("POST", "/images/create?" + "&".join(f"{k}={v.replace(' ', '+')}" for k, v in params.items()), body)
        s.record(f"import {params}", {"status": answer.status, "error": "message" in answer.text or '"error"' in answer.text})


def scene_pull_and_push_of_what_is_not_there(s):
    s.ask("POST", "/images/by:1/tag?repo=localhost:1/x&tag=1")
    for path in ("/images/create?fromImage=localhost:1/x&tag=1", "/images/create?fromImage=Bad+Name", "/images/create?fromImage=", "/images/create", "/images/localhost:1/x/push?tag=1", "/images/nobody/push", "/images/create?fromImage=localhost:1/x&platform=nonsense"):
        answer = s.ask("POST", path, headers={"X-Registry-Auth": "e30="})
        s.record("POST " + path, {"status": answer.status, "error": "message" in answer.text or '"error"' in answer.text})
    for auth in ("not base64!", "e30", "bnVsbA=="):
        answer = s.ask("POST", "/images/create?fromImage=localhost:1/x&tag=1", headers={"X-Registry-Auth": auth})
        s.record("pull with X-Registry-Auth " + auth, answer.status)
    answer = s.ask("GET", "/distribution/localhost:1/x/json")
    s.record("distribution", answer.status >= 400)


def scene_of_the_docker_cli(s):
    s.cli("import", "-", "cli:1", stdin=busybox_root_tar())
    for args in (("images", "--format", "{{.Repository}}:{{.Tag}}"), ("images", "-q"), ("tag", "cli:1", "cli:2"), ("tag", "nobody", "x"), ("tag", "cli:1", "Bad Name"), ("rmi", "cli:2"), ("rmi", "nobody"), ("history", "--format", "{{.CreatedBy}}|{{.Comment}}", "by:1"), ("image", "inspect", "-f", "{{.Os}} {{.Architecture}} {{json .Config.Cmd}}", "by:1"),
                 ("image", "inspect", "nobody"), ("images", "--filter", "reference=cli*", "--format", "{{.Repository}}"), ("image", "prune", "-f"), ("save", "nobody"), ("load", "-i", "/etc/passwd"), ("rmi", "-f", "cli:1"), ("images", "nobody")):
        s.cli(*args, sort=args[0] == "images")
