"""POST /build: the classic builder's options, contexts of every kind, and the stream that clients parse."""
import bz2
import functools
import gzip
import hashlib
import http.client
import http.server
import io
import json
import lzma
import os
import socket
import subprocess
import tarfile
import tempfile
import threading
from email.utils import formatdate

from harness import Story, run, wait_for
from test_images import query, small_tar

TAR = {"Content-Type": "application/x-tar"}


class BuildApi(Story):
    def build(self, body=b"", expect=200, headers=None, **parameters):
        """The messages of a build."""
        if isinstance(body, dict):
            body = small_tar(**body)
        status, _, content = self.d.api("POST", "/build?" + query(version=1, **parameters), body, {**TAR, **(headers or {})})
        self.assertEqual(status, expect, content)
        return [json.loads(line) for line in content.splitlines()]

    def built(self, body=b"", **parameters):
        lines = self.build(body, **parameters)
        self.assertNotIn("error", lines[-1], lines)
        return next(m["aux"]["ID"] for m in lines if "aux" in m), lines

    def inspect(self, name):
        return json.loads(self.d.api("GET", f"/images/{name}/json")[2])

    def output(self, *argv):
        return self.d.docker("run", "--rm", *argv).out

    def refused(self, status, words, body=None, **parameters):
        lines = self.build({"Dockerfile": "FROM busybox\n"} if body is None else body, expect=status, **parameters)
        self.assertIn(words, lines[-1]["message"])

    def serve(self, folder):
        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args):
                super().__init__(*args, directory=folder)

            def log_message(self, *args):
                pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_address[1]}"

    def counting(self, answer):
        """A web server that has `answer(path, headers)` -> (status, headers, body), and the list of what it was asked."""
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append((self.command, self.path, self.headers.get("If-None-Match") or self.headers.get("If-Modified-Since")))
                status, headers, body = answer(self.path, self.headers)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 304:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            do_HEAD = do_GET

            def log_message(self, *args):
                pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_address[1]}", asked

    def folder(self):
        place = tempfile.TemporaryDirectory(dir=self.d.root)
        self.addCleanup(place.cleanup)
        return place.name

    def test_the_stream_says_what_clients_look_for(self):
        identity, lines = self.built({"Dockerfile": "FROM busybox\nRUN echo hello\nLABEL a=b\n"}, t="one")
        text = "".join(m.get("stream", "") for m in lines)
        short = identity.split(":")[1][:12]
        for expected in ("Step 1/3 : FROM busybox\n", " ---> Running in ", "hello\n", "Removing intermediate container ", f" ---> {short}\n",
                         f"Successfully built {short}\n", "Successfully tagged one:latest\n"):
            self.assertIn(expected, text)
        _, lines = self.built({"Dockerfile": "FROM busybox\nRUN echo hello\nLABEL a=b\n"}, t="one")
        self.assertEqual("".join(m.get("stream", "") for m in lines).count(" ---> Using cache\n"), 2)
        only = self.build({"Dockerfile": "FROM busybox\nRUN echo hello\nLABEL a=b\n"}, q=1)
        self.assertEqual(only, [{"stream": identity + "\n"}])

    def test_a_failing_run_gives_its_exit_code_to_programs_and_shells(self):
        last = self.build({"Dockerfile": "FROM busybox\nRUN exit 7\n"}, forcerm=1)[-1]
        self.assertEqual(last["errorDetail"]["code"], 7)
        self.assertIn("The command '/bin/sh -c exit 7' returned a non-zero code: 7", last["error"])
        folder = self.folder()
        with open(os.path.join(folder, "Dockerfile"), "w") as f:
            f.write("FROM busybox\nRUN exit 9\n")
        self.assertEqual(self.d.docker("build", "--force-rm", folder, check=False).status, 9)

    def test_intermediate_containers_stay_as_asked_and_are_those_that_were_named(self):
        good, bad = "FROM busybox\nRUN exit 0\nRUN exit 0\n", "FROM busybox\nRUN exit 0\nRUN echo kept > /why; exit 1\n"
        for dockerfile, rm, forcerm, expected in ((good, 0, 0, 2), (good, 1, 0, 0), (good, 1, 1, 0), (bad, 0, 0, 2), (bad, 1, 0, 1), (bad, 1, 1, 0)):
            lines = self.build({"Dockerfile": dockerfile}, rm=rm, forcerm=forcerm, nocache=1)
            named = [m["stream"].split()[-1] for m in lines if m.get("stream", "").startswith(" ---> Running in ")]
            kept = json.loads(self.d.api("GET", "/containers/json?" + query(all=1, filters={"id": named}))[2])
            self.assertEqual(len(kept), expected, (dockerfile, rm, forcerm))
            if expected == 1:
                self.assertEqual(kept[0]["State"], "exited")
                self.assertEqual(self.d.docker("diff", kept[0]["Id"]).out, "A /why\n")
            for container in kept:
                self.d.docker("rm", container["Id"])

    def test_errors_of_a_step_are_told_apart_from_its_output(self):
        _, lines = self.built({"Dockerfile": "FROM busybox\nRUN echo fine\nRUN echo trouble >&2\n"}, nocache=1)
        self.assertIn({"stream": "fine\n"}, lines)
        self.assertIn({"stream": "\x1b[91mtrouble\n\x1b[0m"}, lines)

    def test_each_stage_gives_its_id_and_the_last_words_come_last(self):
        _, lines = self.built({"Dockerfile": "FROM busybox AS one\nONBUILD RUN echo foo > somefile\nONBUILD ENV bar=baz\nFROM one\nRUN cat somefile\nFROM one\nCOPY --from=1 /somefile /x\n"}, t="staged")
        ids = [m["aux"]["ID"] for m in lines if "aux" in m]
        self.assertEqual(len(ids), 3)
        self.assertEqual(self.inspect("staged")["Id"], ids[2])
        self.assertIn("bar=baz", self.inspect("staged")["Config"]["Env"])
        self.assertEqual(lines[-1], {"stream": "Successfully tagged staged:latest\n"})

    def test_cachefrom_limits_the_cache_to_what_was_named(self):
        body = {"Dockerfile": "FROM busybox\nENV FOO=bar\nRUN touch baz\nRUN touch bax\n"}

        def hits(**parameters):
            return sum("Using cache" in m.get("stream", "") for m in self.built(body, **parameters)[1])
        self.built(body, t="source:1")
        self.assertEqual(hits(cachefrom=["source:1"]), 3)
        self.assertEqual(hits(cachefrom=["nosuchtag"]), 0)
        self.assertEqual(hits(cachefrom=[]), 3)

    def test_names_in_a_context_that_lead_up_or_start_at_the_root_stay_inside(self):
        def context(number):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w") as tar:
                for name, text in (("Dockerfile", "FROM scratch\nCOPY foo /\nFROM busybox\nCOPY bar dir/file /\n"), ("../foo", f"foo{number}"), ("/bar", f"bar{number}"), ("./dir/./x/../file", "f")):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(text)
                    tar.addfile(entry, io.BytesIO(text.encode()))
            return out.getvalue()
        self.built(context(0), t="unclean")
        self.assertEqual(self.output("unclean", "cat", "/bar", "/file"), "bar0f")
        _, lines = self.built(context(1), t="unclean")
        self.assertEqual(self.output("unclean", "cat", "/bar"), "bar1")
        self.assertFalse(any("Using cache" in m.get("stream", "") for m in lines))

    def test_contexts_may_be_compressed(self):
        plain = small_tar(Dockerfile="FROM busybox\nCOPY f /f\n", f="packed")
        zstd = subprocess.run(["zstd", "-q", "-c"], input=plain, stdout=subprocess.PIPE, check=True).stdout
        ids = {self.built(body)[0] for body in (plain, gzip.compress(plain), bz2.compress(plain), lzma.compress(plain), zstd)}
        self.assertEqual(len(ids), 1)

    def test_a_changed_byte_is_found_whatever_its_size_and_time(self):
        contexts = [small_tar(Dockerfile="FROM busybox\nCOPY . /all\nRUN cat /all/f > /copy\n", f=text) for text in ("one", "two")]
        ids = [self.built(contexts[i])[0] for i in (0, 1, 0)]
        self.assertNotEqual(ids[0], ids[1])
        self.assertEqual(ids[0], ids[2])
        again = "".join(m.get("stream", "") for m in self.build(contexts[1], t="changed"))
        self.assertEqual(again.count("Using cache"), 2, again)
        self.assertEqual(self.output("changed", "cat", "/copy"), "two")

    def test_several_tags_and_another_dockerfile(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, text in (("./sub/My.file", "FROM busybox\nLABEL which=sub\n"), ("Dockerfile", "FROM busybox\nLABEL which=top\n")):
                entry = tarfile.TarInfo(name)
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text.encode()))
        status, _, content = self.d.api("POST", "/build?version=1&t=tagged:1&t=tagged/too&dockerfile=sub/My.file", out.getvalue(), TAR)
        self.assertEqual(status, 200, content)
        self.assertEqual(self.inspect("tagged:1")["Config"]["Labels"], {"which": "sub"})
        self.assertLessEqual({"tagged/too:latest", "tagged:1"}, set(self.inspect("tagged:1")["RepoTags"]))

    def test_what_is_wrong_with_a_build_is_told_before_it_begins(self):
        self.refused(400, "the Dockerfile (Dockerfile) cannot be empty", {"Dockerfile": ""})
        self.refused(400, "file with no instructions", {"Dockerfile": "# nothing\n"})
        self.refused(400, "no build stage in current context", {"Dockerfile": "RUN x\n"})
        self.refused(400, "unknown instruction: FOO", {"Dockerfile": "FROM busybox\nFOO x\n"})
        self.refused(400, "Cannot locate specified Dockerfile: Dockerfile", {"x": "y"})
        self.refused(400, "Cannot locate specified Dockerfile: Dockerfile", b"")
        self.refused(400, "forbidden path outside the build context: ../x", dockerfile="../x")
        self.refused(400, "failed to reach build target nope in Dockerfile", target="nope")
        self.refused(400, "must be lowercase", t="UPPER")
        self.refused(400, "invalid reference format", t="a:b:c")
        self.refused(400, "squash is only supported with experimental mode", squash=1)
        self.refused(400, "does not support setting security options on build", securityopt=["a"])
        self.refused(400, "error reading build args", buildargs="x")
        self.refused(400, "error reading labels", labels="x")
        self.refused(400, "error reading ulimit settings", ulimits="x")
        self.refused(400, "error reading cache sources", cachefrom="x")
        self.refused(400, "unknown operating system or architecture", platform="foo")
        self.refused(400, "X-Registry-Config", headers={"X-Registry-Config": "!!"})
        self.refused(400, "build context", b"junk that is no archive")
        self.refused(400, "could not be recognized as URL", remote="nonsense")
        self.refused(501, "outputs", outputs=[{"Type": "local"}])
        status, _, content = self.d.api("POST", "/build?version=2", b"", TAR)
        self.assertEqual(status, 501, content)
        self.assertIn("error", self.build({"Dockerfile": "FROM scratch\n"})[-1])

    def test_a_dockerfile_that_is_a_link_out_of_the_context_is_not_followed(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            entry = tarfile.TarInfo("Dockerfile")
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(entry)
        self.refused(400, "Cannot locate specified Dockerfile: Dockerfile", out.getvalue())

    def test_arguments_labels_hosts_and_limits_reach_the_steps(self):
        dockerfile = ("ARG BASE=nothing\nFROM ${BASE}\nARG WHO=nobody\nARG BASE\nRUN echo $WHO $BASE > /who; grep tower /etc/hosts > /hosts; ulimit -n > /files; df -k /dev/shm | tail -1 > /shm\n")
        identity, lines = self.built({"Dockerfile": dockerfile}, t="limited", buildargs={"BASE": "busybox", "WHO": "me", "NOT": "used"}, labels={"made": "here"},
                                     extrahosts="tower:10.1.2.3", ulimits=[{"Name": "nofile", "Soft": 77, "Hard": 78}], shmsize=8 << 20, memory=256 << 20, networkmode="none")
        self.assertIn({"stream": "[Warning] One or more build-args [NOT] were not consumed\n"}, lines)
        self.assertEqual(self.inspect("limited")["Config"]["Labels"], {"made": "here"})
        out = self.output("limited", "cat", "/who", "/hosts", "/files", "/shm")
        self.assertRegex(out, r"me busybox\n10\.1\.2\.3\s+tower\n77\n\S+\s+8192 ")

    def test_onbuild_healthcheck_shell_and_the_other_instructions(self):
        self.built({"Dockerfile": 'FROM busybox\nONBUILD RUN echo trig > /tmp/trig\nHEALTHCHECK --interval=3s CMD true\nSHELL ["/bin/sh","-ec"]\nSTOPSIGNAL SIGINT\nENV A=1 B="2 3"\nEXPOSE 80 81/udp\n'
                                  'VOLUME /v\nUSER user\nWORKDIR /w\nWORKDIR sub\nENTRYPOINT ["echo"]\nCMD a $A\nMAINTAINER me\n'}, t="many")
        config = self.inspect("many")["Config"]
        self.assertEqual(config["OnBuild"], ["RUN echo trig > /tmp/trig"])
        self.assertEqual(config["Healthcheck"], {"Test": ["CMD-SHELL", "true"], "Interval": 3000000000})
        self.assertEqual((config["Shell"], config["StopSignal"], config["User"], config["WorkingDir"]), (["/bin/sh", "-ec"], "SIGINT", "user", "/w/sub"))
        self.assertEqual((config["Entrypoint"], config["Cmd"]), (["echo"], ["/bin/sh", "-ec", "a $A"]))
        self.assertEqual(sorted(config["ExposedPorts"]), ["80/tcp", "81/udp"])
        self.assertTrue({"A=1", "B=2 3"} <= set(config["Env"]))
        self.assertEqual((list(config["Volumes"]), self.inspect("many")["Author"]), (["/v"], "me"))
        _, lines = self.built({"Dockerfile": "FROM many\nUSER root\n"}, t="triggered", expect=200)
        self.assertIn({"stream": "# Executing 1 build trigger\n"}, lines)
        self.assertIsNone(self.inspect("triggered")["Config"]["OnBuild"])

    def test_a_context_comes_from_a_url_as_an_archive_or_a_dockerfile(self):
        folder = self.folder()
        with open(os.path.join(folder, "context.tar"), "wb") as f:
            f.write(small_tar(Dockerfile="FROM busybox\nLABEL which=default\n", custom="FROM busybox\nCOPY data /data\n", data="from afar"))
        with open(os.path.join(folder, "context.tgz"), "wb") as f:
            f.write(gzip.compress(small_tar(Dockerfile="FROM busybox\nLABEL which=packed\n")))
        with open(os.path.join(folder, "Plainfile"), "w") as f:
            f.write("FROM busybox\nLABEL which=alone\n")
        with open(os.path.join(folder, "binary"), "wb") as f:
            f.write(b"\0\1\2")
        url = self.serve(folder)
        self.built(remote=f"{url}/context.tar", t="afar")
        self.assertEqual(self.inspect("afar")["Config"]["Labels"], {"which": "default"})
        self.built(remote=f"{url}/context.tar", dockerfile="custom", t="afar")
        self.assertEqual(self.output("afar", "cat", "/data"), "from afar")
        for name, which in (("context.tgz", "packed"), ("Plainfile", "alone")):
            self.built(remote=f"{url}/{name}", t="afar")
            self.assertEqual(self.inspect("afar")["Config"]["Labels"], {"which": which})
        self.refused(404, "error downloading remote context", remote=f"{url}/none")
        self.refused(400, "neither an archive nor a Dockerfile", remote=f"{url}/binary")
        self.assertEqual(os.listdir(os.path.join(self.d.data, "tmp")), [])

    def test_a_dockerfile_in_a_compose_file_goes_along_with_a_context_from_afar(self):
        folder = self.folder()
        with open(os.path.join(folder, "context.tar"), "wb") as f:
            f.write(small_tar(Dockerfile="FROM busybox\nLABEL which=there\n", data="from afar"))
        with open(os.path.join(folder, "compose.yaml"), "w") as f:
            json.dump({"services": {"a": {"image": "inline", "build": {"context": self.serve(folder) + "/context.tar",
                                                                       "dockerfile_inline": "FROM busybox\nLABEL which=here\nCOPY data /data\n"}}}}, f)
        self.d.drover("build", cwd=folder)
        self.assertEqual(self.inspect("inline")["Config"]["Labels"]["which"], "here")
        self.assertEqual(self.output("inline", "cat", "/data"), "from afar")

    def repository(self):
        """A repository of two branches on a web server of plain files: its URL, and the commit of the tag v2."""
        folder = self.folder()
        work = os.path.join(folder, "work")
        git = functools.partial(run, env={**os.environ, "HOME": folder, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com"}, cwd=folder)
        os.makedirs(os.path.join(work, "sub"))
        os.symlink("/etc", os.path.join(work, "out"))
        git(["git", "init", "-q", "-b", "main", work])
        for place, text in (("Dockerfile", "main"), ("sub/Dockerfile", "sub")):
            with open(os.path.join(work, place), "w") as f:
                f.write(f"FROM busybox\nLABEL which={text}\n")
        git(["git", "-C", work, "add", "."])
        git(["git", "-C", work, "commit", "-qm", "one"])
        git(["git", "-C", work, "checkout", "-qb", "other"])
        with open(os.path.join(work, "Dockerfile"), "w") as f:
            f.write("FROM busybox\nLABEL which=other\n")
        git(["git", "-C", work, "commit", "-qam", "two"])
        git(["git", "-C", work, "tag", "v2"])
        commit = git(["git", "-C", work, "rev-parse", "HEAD"]).out.strip()
        git(["git", "-C", work, "checkout", "-q", "main"])
        git(["git", "clone", "-q", "--bare", work, os.path.join(folder, "repo.git")])
        git(["git", "-C", os.path.join(folder, "repo.git"), "update-server-info"])
        self.served = folder
        return self.serve(folder) + "/repo.git", commit

    def test_drover_builds_paths_and_services_from_urls(self):
        url, _ = self.repository()
        with open(os.path.join(self.served, "more.tar"), "wb") as f:
            f.write(small_tar(data="from an archive"))
        with open(os.path.join(self.served, "alone"), "w") as f:
            f.write("FROM busybox\nCOPY --from=tree / /tree\nCOPY --from=files data /data\nLABEL which=alone\n")
        web = url.removesuffix("/repo.git")
        self.d.drover("build", "-t", "by-path", "-f", "sub/Dockerfile", f"{url}#main")
        self.assertEqual(self.inspect("by-path")["Config"]["Labels"], {"which": "sub"})
        self.assert_clean_refusal(self.d.drover("build", "--print", url, check=False), "is read by the engine alone")
        project = self.folder()
        with open(os.path.join(project, "compose.yaml"), "w") as f:
            f.write(f"""
name: afar
services:
  short:
    build: {url}#other
    image: by-service
    network_mode: none
    command: "true"
  contexts:
    build:
      context: {web}/alone
      additional_contexts: {{tree: "{url}#:sub", files: "{web}/more.tar"}}
    image: by-contexts
    network_mode: none
    command: "true"
""")
        self.d.drover("up", "-d", cwd=project)
        self.addCleanup(self.d.drover, "down", cwd=project)
        self.assertEqual(self.inspect("by-service")["Config"]["Labels"]["which"], "other")
        self.assertEqual(self.output("by-contexts", "cat", "/data", "/tree/Dockerfile"), "from an archiveFROM busybox\nLABEL which=sub\n")
        self.assertEqual(self.output("by-contexts", "ls", "-A", "/tree"), "Dockerfile\n")
        self.assertIn(f"context: {url}#other", self.d.drover("config", cwd=project).out)
        self.assertEqual(os.listdir(os.path.join(self.d.data, "tmp")), [])

    def test_a_context_comes_from_a_git_repository_at_a_ref_and_folder(self):
        url, commit = self.repository()
        for fragment, which in (("", "main"), ("#other", "other"), ("#v2", "other"), (f"#{commit}", "other"), ("#:sub", "sub"), ("#main:sub", "sub")):
            self.built(remote=url + fragment, t="git")
            self.assertEqual(self.inspect("git")["Config"]["Labels"], {"which": which}, fragment)
        self.refused(400, "invalid refspec: --upload-pack=touch", remote=url + "#--upload-pack=touch")
        self.refused(400, "error fetching", remote=url + "#nowhere")
        self.refused(400, 'no folder "nothing"', remote=url + "#:nothing")
        self.refused(400, "no folder", remote=url + "#:out")
        self.refused(400, "error fetching", remote=url.replace("repo.git", "none.git"))
        self.assertEqual(os.listdir(os.path.join(self.d.data, "tmp")), [])

    def test_add_checks_out_a_git_repository(self):
        url, commit = self.repository()

        def add(what, *flags):
            return self.built({"Dockerfile": f"FROM busybox\nADD {' '.join(flags)} {what} /src/\n"}, t="added")
        for source, which in (("", "main"), ("#v2", "other"), (f"?ref={commit}", "other"), ("#:sub", "sub"), ("?branch=main&subdir=sub", "sub"), ("?branch=other", "other"), ("?tag=v2#refs/tags/v2", "other"),
                              (f"?commit={commit}", "other"), (f"?tag=v2&commit={commit[:9]}", "other"), (f"?ref={commit}&commit={commit}", "other")):
            add(url + source)
            self.assertIn(f"LABEL which={which}", self.output("added", "cat", "/src/Dockerfile"), source)
            self.assertEqual(self.output("added", "sh", "-c", "ls -d /src/.git /src/sub 2>/dev/null || true"), "" if "sub" in source else "/src/sub\n")
        add(url + "#v2", "--keep-git-dir", f"--checksum={commit[:12]}", "--chown=user", "--exclude=sub", "--link")
        self.assertEqual(self.output("added", "sh", "-c", "cat /src/.git/HEAD; stat -c %U /src/Dockerfile; ls /src").split(), [commit, "user", "Dockerfile", "out"])
        _, log = add(url + "#v2", "--keep-git-dir", f"--checksum={commit[:12]}", "--chown=user", "--exclude=sub", "--link")
        self.assertIn("Using cache", str(log))
        for source, flags, message in ((url, "--checksum=abc123", "expected commit abc123"), (url + "#:out", "", "no folder"), (url + "#nowhere", "", "error fetching"),
                                       (url + "?branch=v2", "", "error fetching"), (url + "?tag=other", "", "error fetching"), (url + "?tag=v2#refs/heads/main", "", "ref conflicts"),
                                       (url + f"?branch=main&commit={commit}", "", f"expected commit {commit}")):
            self.assertIn(message, self.build({"Dockerfile": f"FROM busybox\nADD {flags} {source} /src\n"})[-1]["error"])

    def test_a_download_with_a_checksum_is_not_asked_for_when_its_layer_is_there(self):
        packed = small_tar(inner="packed\n")
        url, asked = self.counting(lambda path, headers: (200, {}, packed if path.endswith(".tar") else b"content\n"))
        known = {path: "sha256:" + hashlib.sha256(content).hexdigest() for path, content in (("file", b"content\n"), ("x.tar", packed))}

        def add(flags, path, *above):
            before = len(asked)
            _, log = self.built({"Dockerfile": "FROM busybox\n" + "".join(above) + f"ADD {flags} --checksum={known[path]} {url}/{path} /d/\nRUN cat /d/*\n"}, t="added")
            return asked[before:], str(log)
        for flags, path, inside in (("", "file", "content\n"), ("--link", "file", "content\n"), ("--chmod=600", "file", "content\n"), ("--unpack", "x.tar", "packed\n"), ("--unpack --link", "x.tar", "packed\n")):
            requests, log = add(flags, path, "RUN echo above\n")  # so that helpers are ahead
            self.assertEqual(len(requests), 1, (flags, requests))
            requests, log = add(flags, path, "RUN echo above\n")
            self.assertEqual((requests, log.count("Using cache")), ([], 3), (flags, log))
            self.assertEqual(self.output("added", "sh", "-c", "cat /d/*"), inside, flags)
        # Also behind what is new: only a step of other layers below it needs the bytes, and --link none.
        self.assertEqual(len(add("", "file", "RUN echo another\n")[0]), 1)
        self.assertEqual(add("--link", "file", "RUN echo another\n")[0], [])
        wrong = {"Dockerfile": f"FROM busybox\nADD --checksum={known['x.tar']} {url}/file /d/\n"}
        self.assertIn("digest mismatch", self.build(wrong)[-1]["error"])
        wrong = {"Dockerfile": f"FROM busybox\nADD --checksum=sha256:12 {url}/file /d/\n"}
        self.assertIn("sha256:<64 hex digits>", self.build(wrong)[-1]["error"])

    def test_a_download_is_asked_whether_it_has_changed(self):
        state = {"tag": '"one"', "modified": "Sun, 06 Nov 1994 08:49:37 GMT", "body": b"one"}

        def answer(path, headers):
            has = {"etag": {"ETag": state["tag"]}, "time": {"Last-Modified": state["modified"]}, "young": {"Last-Modified": formatdate(usegmt=True)}}.get(path[1:], {})
            same = path == "/etag" and headers.get("If-None-Match") == state["tag"] or path == "/time" and headers.get("If-Modified-Since") == state["modified"]
            return (304, has, b"") if same else (200, has, state["body"])
        url, asked = self.counting(answer)

        def add(path, **parameters):
            self.built({"Dockerfile": f"FROM busybox\nADD {url}/{path} /d\n"}, t="added", **parameters)
            return asked[-1][2], self.output("added", "cat", "/d")
        for path, condition in (("etag", '"one"'), ("time", state["modified"]), ("young", None), ("nothing", None)):
            self.assertEqual(add(path), (None, "one"))
            self.assertEqual(add(path), (condition, "one"))
            self.assertEqual(add(path, nocache=1), (None, "one"))
        self.assertEqual(self.output("added", "stat", "-c", "%Y", "/d"), "0\n")
        add("time")
        self.assertEqual(self.output("added", "stat", "-c", "%Y", "/d"), "784111777\n")
        state.update(tag='"two"', modified="Sun, 06 Nov 1994 08:49:38 GMT", body=b"two")
        for path in ("etag", "time", "young", "nothing"):
            self.assertEqual(add(path)[1], "two")
        self.assertEqual([path for method, path, _ in asked if method != "GET"], [])

    def test_a_git_repository_of_few_objects_and_millions_of_files_is_refused_before_it_is_written(self):
        url, _ = self.repository()
        bare = os.path.join(self.served, "repo.git")
        blob = run(["git", "-C", bare, "hash-object", "-w", "--stdin"], stdin=b"x").out.strip()
        entry = f"100644 blob {blob}"
        for fan in (100, 100, 101):  # each directory's files and directories are all the same one
            tree = run(["git", "-C", bare, "mktree"], stdin="".join(f"{entry}\t{i}\n" for i in range(fan)).encode()).out.strip()
            entry = f"040000 tree {tree}"
        commit = run(["git", "-C", bare, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit-tree", "-m", "bomb", tree]).out.strip()
        run(["git", "-C", bare, "update-ref", "refs/heads/bomb", commit])
        run(["git", "-C", bare, "update-server-info"])
        self.refused(400, "more than 1000000 files and directories", remote=url + "#bomb")
        self.assertIn("more than 1000000 files and directories", self.build({"Dockerfile": f"FROM busybox\nADD {url}#bomb /src\n"})[-1]["error"])
        self.assertEqual(os.listdir(os.path.join(self.d.data, "tmp")), [])

    def test_a_build_tells_of_its_tags_and_of_the_containers_of_its_steps(self):
        began = json.loads(self.d.api("GET", "/info")[2])["SystemTime"]
        identity, _ = self.built({"Dockerfile": "FROM busybox\nRUN echo told\n"}, t="told:9", nocache=1)
        now = json.loads(self.d.api("GET", "/info")[2])["SystemTime"]
        _, _, content = self.d.api("GET", "/events?" + query(since=began, until=now))
        events = [(e["Type"], e["Action"]) for e in map(json.loads, content.splitlines())]
        self.assertIn(("container", "create"), events)
        self.assertIn(("container", "destroy"), events)
        self.assertEqual(events[-1], ("image", "tag"))

    def test_add_follows_links_to_what_is_not_there_yet_and_stays_inside(self):
        outside = tempfile.mkdtemp(dir=self.d.root)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, target in (("absolute", outside + "/new"), ("up", "../../../../../.." + outside + "/deep/up"), ("round", "round")):
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                tar.addfile(entry)
        files = {"links.tar": out.getvalue(), "foo": "hello\n"}
        self.built({"Dockerfile": "FROM busybox\nADD links.tar /\nADD foo /absolute/\nADD foo /up/sub/\n", **files}, t="linked")
        self.assertEqual(self.output("linked", "cat", outside + "/new/foo", "/absolute/foo", outside + "/deep/up/sub/foo"), "hello\n" * 3)
        self.assertEqual(os.listdir(outside), [])
        self.assertIn("ADD failed", self.build({"Dockerfile": "FROM busybox\nADD links.tar /\nADD foo /round/\n", **files})[-1]["error"])

    def test_an_archive_that_was_cut_is_refused_and_one_without_an_end_is_not(self):
        entry = tarfile.TarInfo("test/foo")
        entry.size = 2
        whole = entry.tobuf() + b"Hi" + b"\0" * 510 + b"\0" * 1024
        for size, good in ((len(whole), True), (len(whole) - 1, False), (len(whole) - 513, False), (len(whole) - 512, True), (len(whole) - 1024, True)):
            with self.subTest(size):
                last = self.build({"Dockerfile": "FROM busybox\nADD test.tar /\n", "test.tar": whole[:size]})[-1]
                self.assertEqual("error" not in last, good, last)

    def test_what_a_dockerfile_says_in_other_order_or_not_at_all(self):
        first, _ = self.built({"Dockerfile": "FROM busybox\nEXPOSE 80 2375\n"})
        self.assertEqual(self.built({"Dockerfile": "FROM busybox\nEXPOSE 2375 80\n"})[0], first)
        self.assertNotEqual(self.built({"Dockerfile": "FROM busybox\nEXPOSE 2375 81\n"})[0], first)
        # RUN [] runs what a container would.
        text = "".join(m.get("stream", "") for m in self.built({"Dockerfile": 'FROM busybox\nENTRYPOINT ["echo"]\nCMD ["of", "its", "own"]\nRUN []\n'})[1])
        self.assertIn("\nof its own\n", text)
        self.assertIn("No command specified", self.build({"Dockerfile": "FROM scratch\nRUN []\n"})[-1]["error"])

    def test_a_volume_is_nowhere_a_file_is(self):
        last = self.build({"Dockerfile": "FROM busybox\nRUN touch /foo\nVOLUME /new /foo\n"})[-1]
        self.assertIn("cannot mount volume over existing file, file exists /foo", last["error"])
        self.built({"Dockerfile": "FROM busybox\nRUN mkdir /foo\nVOLUME /new /foo\n"})

    def test_an_image_tells_the_config_of_its_last_step(self):
        for dockerfile, command in (("FROM busybox\nRUN echo\tone\t\ttwo\n", ["/bin/sh", "-c", "echo\tone\t\ttwo"]),
                                    ("FROM busybox\nENV A=b\n", ["/bin/sh", "-c", "#(nop) ", "ENV A=b"]),
                                    ('FROM busybox\nSHELL ["foo", "-bar"]\n', ["foo", "-bar", "#(nop) ", 'SHELL ["foo" "-bar"]'])):
            with self.subTest(dockerfile):
                seen = self.inspect(self.built({"Dockerfile": dockerfile})[0])
                self.assertEqual(seen["ContainerConfig"]["Cmd"], command)
                self.assertEqual(seen["ContainerConfig"]["Env"], seen["Config"]["Env"])

    def test_nothing_is_left_of_a_build_whose_client_went(self):
        connection = http.client.HTTPConnection("drover")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.d.socket)
        connection.request("POST", "/build?version=1", small_tar(Dockerfile="FROM busybox\nRUN echo here; sleep 1000\n"), TAR)
        answer = connection.getresponse()
        while json.loads(answer.readline()) != {"stream": "here\n"}:
            pass
        self.assertEqual(len(json.loads(self.d.api("GET", "/containers/json")[2])), 1)
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
        wait_for(lambda: json.loads(self.d.api("GET", "/containers/json?all=1")[2]) == [], "the step to be ended")
        wait_for(lambda: os.listdir(os.path.join(self.d.data, "tmp")) == [], "the context to be removed")
