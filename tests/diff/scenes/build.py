"""Builds: what a Dockerfile's stream says, line by line, and the image that comes of it."""
import re

from engines import tar_of


def build(s, name, dockerfile, params=None, files=None, show=True):
    context = tar_of({"Dockerfile": dockerfile, **(files or {})})
    answer = s.ask("POST", "/build" + query({"t": f"{name}:1", **(params or {})}), context, {"Content-Type": "application/x-tar"})
    said = []
    try:
        import json
        said = [json.loads(line) for line in answer.text.splitlines() if line.strip()]
    except ValueError:
        said = [answer.text]
    text = "".join(m.get("stream", "") for m in said if isinstance(m, dict))
    s.record(f"build {name}", {"status": answer.status, "type": answer.headers.get("Content-Type"), "stream": said_of_steps(text.splitlines()), "rest": [m for m in said if not (isinstance(m, dict) and "stream" in m)]})
    if show:
        s.api("GET", f"/images/{name}:1/json", only=["Config", "Os", "Architecture", "Author", "Comment", "ContainerConfig.Labels"])


def said_of_steps(lines):
    """dockerd makes a container for each instruction and tells it; Drover only for RUN, so only there it is compared. Drover tells
    the warnings of BuildKit's checks, which the classic builder does not know."""
    kept, run = [], False
    for line in lines:
        if re.match(r"\[Warning\] Dockerfile:\d+: ", line):
            continue
        if line.startswith("Step "):
            run = " : RUN" in line
        if run or not line.startswith((" ---> Running in ", "Removing intermediate container ")):
            kept.append(line)
    return kept


def query(params):
    import scene
    return scene.query(params)


def scene_instructions(s):
    build(s, "all", """FROM by:1
# a comment
LABEL one=1 "two words"="a b"
MAINTAINER who
ENV A=1 B="x y"
ENV OLD style value
ARG WHO=nobody
RUN echo "for $WHO" > /who
COPY file dir/ /copied/
ADD archive.tar /unpacked/
WORKDIR /work/$A
RUN ["sh", "-c", "pwd > place"]
USER 1000:1000
EXPOSE 80 53/udp
VOLUME /data /more
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --retries=2 CMD test -e /who
SHELL ["/bin/ash", "-c"]
ONBUILD RUN true
ENTRYPOINT ["cat"]
CMD ["/who"]
""", {"buildargs": {"WHO": "me"}, "labels": {"extra": "yes"}}, {"file": "f\n", "dir/": "", "dir/inner": "i\n", "archive.tar": tar_of({"packed": "p\n"})})
    s.api("GET", "/images/all:1/history", only=["CreatedBy", "Comment", "Tags"])
    for path in ("/who", "/copied/inner", "/unpacked/packed", "/work/1/place"):
        s.create("look" + path.replace("/", "-"), [path], Image="all:1", User="0")
        s.ask("POST", f"/containers/look{path.replace('/', '-')}/start")
        s.finished("look" + path.replace("/", "-"))
        s.api("GET", f"/containers/look{path.replace('/', '-')}/logs", params={"stdout": 1, "stderr": 1}, form="frames")


def scene_stages_and_cache(s):
    text = "FROM by:1 AS first\nRUN echo made > /made\nFROM first AS second\nRUN echo more > /more\nFROM by:1\nCOPY --from=first /made /made\nCOPY --from=1 /more /more\nRUN cat /made /more\n"
    build(s, "stages", text)
    build(s, "again", text)
    build(s, "target", text, {"target": "first"})
    build(s, "quiet", text, {"q": 1})
    build(s, "nocache", "FROM by:1\nRUN echo fresh\n", {"nocache": 1, "rm": 0})
    build(s, "unused", "ARG TAG=1\nFROM by:${TAG}\nARG A\nRUN echo \"$A$B\"\n", {"buildargs": {"A": "a", "B": "b"}})
    build(s, "scratch", "FROM scratch\nCOPY file /\n", None, {"file": "x"})


def scene_ignored_files_and_other_names(s):
    build(s, "ignored", "FROM by:1\nCOPY . /all\nRUN find /all | sort\n", None, {".dockerignore": "no*\n!not-this\n", "nothing": "x", "not-this": "y", "yes": "z"})
    build(s, "named", "FROM by:1\nRUN false\n", {"dockerfile": "sub/Other"}, {"sub/": "", "sub/Other": "FROM by:1\nRUN echo other\n"})
    build(s, "limits", "FROM by:1\nRUN cat /etc/hosts | grep extra\n", {"extrahosts": "extra:10.99.0.9", "networkmode": "none", "memory": 67108864, "shmsize": 1048576})
    build(s, "copies", "FROM by:1\nCOPY --chown=1000:2000 --chmod=640 file /file\nCOPY f* dir /many/\nRUN stat -c '%u %g %n' /file; ls /many\n", None, {"file": "x", "dir/": "", "dir/in": "y"}, show=False)
    build(s, "heredoc", "FROM by:1\nRUN echo one \\\n  # comment in between\n  two\nENV X=${UNSET:-default} Y=${X:+set}\nRUN echo $X $Y\n")


FAILS = [
    ("syntax", "FROM by:1\nNONSENSE x\n"), ("empty", ""), ("no-from", "RUN true\n"), ("no-image", "FROM localhost:1/no/such:image\n"), ("copy-missing", "FROM by:1\nCOPY missing /\n"), ("copy-escape", "FROM by:1\nCOPY ../../etc/passwd /\n"),
    ("copy-args", "FROM by:1\nCOPY x\n"), ("many-to-file", "FROM by:1\nCOPY one two /x\n"), ("bad-env", "FROM by:1\nENV\n"), ("bad-label", "FROM by:1\nLABEL a\n"), ("bad-flag", "FROM by:1\nCOPY --nonsense x /\n"), ("bad-from", "FROM a b c\n"), ("bad-stage", "FROM by:1\nCOPY --from=9 /x /\n"), ("bad-expose", "FROM by:1\nEXPOSE x\n"),
    ("bad-user", "FROM by:1\nUSER nobody-here\nRUN true\n"), ("bad-health", "FROM by:1\nHEALTHCHECK WHAT\n"), ("bad-signal", "FROM by:1\nSTOPSIGNAL NOTHING\n"), ("bad-shell", "FROM by:1\nSHELL x\n"), ("bad-volume", "FROM by:1\nVOLUME []\n"), ("onbuild-from", "FROM by:1\nONBUILD FROM x\n"), ("bad-arg", "FROM by:1\nARG\n"),
]


def scene_a_run_that_fails(s):
    build(s, "run", "FROM by:1\nRUN exit 9\n", show=False)
    build(s, "run-list", 'FROM by:1\nRUN ["sh", "-c", "exit 3"]\n', show=False)


def scene_what_fails(s):
    for name, dockerfile in FAILS:
        build(s, name, dockerfile, None, {"one": "1", "two": "2"}, show=False)


def scene_parameters_that_are_refused(s):
    good = tar_of({"Dockerfile": "FROM by:1\n"})
    for params in ({"dockerfile": "../x"}, {"dockerfile": "missing"}, {"t": "Bad Name"}, {"buildargs": "x"}, {"labels": "x"}, {"memory": "x"}, {"target": "missing"}, {"remote": "http://127.0.0.1:1/x"}, {"remote": "git://127.0.0.1/x"}, {"platform": "nonsense"}, {"networkmode": "no-such"}, {"ulimits": "x"}, {"version": "2"}, {"version": "9"},
                   {"shmsize": -1}, {"cpuperiod": "x"}, {"rm": "x"}, {"isolation": "x"}, {"squash": 1}, {"cachefrom": "x"}, {"securityopt": "x"}):
        answer = s.ask("POST", "/build" + query(params), good, {"Content-Type": "application/x-tar"})
        s.record(f"build {params}", {"status": answer.status, "error": "message" in answer.text or '"error"' in answer.text})
    for note, body, kind in (("no body", None, "application/x-tar"), ("not a tar", b"x" * 1000, "application/x-tar"), ("another type", good, "text/plain"), ("no Dockerfile", tar_of({"x": "y"}), "application/x-tar"), ("gzip", __import__("gzip").compress(good), "application/x-tar"), ("half a gzip", __import__("gzip").compress(good)[:40], "application/x-tar")):
        answer = s.ask("POST", "/build", body, {"Content-Type": kind})
        s.record("build of " + note, {"status": answer.status, "error": "message" in answer.text or '"error"' in answer.text})
    for path in ("/session", "/grpc"):
        s.record("POST " + path, s.ask("POST", path).status >= 400)


def scene_of_the_docker_cli(s):
    s.cli("build", "-t", "cli:1", "-", stdin=b"FROM by:1\nRUN echo said\n")
    s.cli("build", "-q", "-", stdin=b"FROM by:1\nRUN exit 5\n")
    s.cli("build", "-", stdin=b"FROM by:1\nRUN exit 5\n")
    s.cli("build", "--no-cache", "-", stdin=b"FROM by:1\nRUN echo x\n")
