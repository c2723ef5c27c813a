"""drover build: what its options give to a build, and where the result goes."""
import json
import os
import shutil
import socket
import subprocess
import tarfile
import threading

from harness import DROVER, Drover, Story, busybox_root_tar, wait_for

EPOCH = "1700000000"
ASK = """#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char got[200];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(a.sun_path, argv[1]);
    if (connect(fd, (void *)&a, sizeof(a)) < 0)
        return 1;
    dprintf(fd, "hello %s\\n", argv[1]);
    shutdown(fd, SHUT_WR);
    for (ssize_t n; (n = read(fd, got, sizeof(got))) > 0;)
        fwrite(got, 1, n, stdout);
    return 0;
}
"""


class BuildCli(Story):
    def context(self, name, **files):
        folder = os.path.join(self.d.root, "ctx-" + name)
        for path, text in files.items():
            path = os.path.join(folder, path.replace("__", "/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as f:
                f.write(text)
        return folder

    def everything_on_disk(self, needle):
        """Files below Drover's directory that have these bytes in them."""
        found = subprocess.run(["grep", "-rlaF", "--", needle, self.d.data], stdout=subprocess.PIPE, text=True).stdout
        return found.split("\n")[:-1]

    def test_a_secret_reaches_its_step_and_nothing_else(self):
        word = "open-" + os.urandom(8).hex()
        folder = self.context("secret", Dockerfile="""FROM busybox
RUN --mount=type=secret,id=key,mode=0440,uid=5 stat -c '%a %u' /run/secrets/key > /mode && cut -c 1-4 /run/secrets/key > /seen
RUN --mount=type=secret,id=key,target=/in/here --mount=type=secret,id=env,env=TOKEN sh -c 'test "$(cat /in/here)" = "$TOKEN"'
RUN ! ls /run/secrets/key
""")
        with open(os.path.join(self.d.root, "key"), "w") as f:
            f.write(word)
        done = self.d.drover("build", "-t", "secret", "--secret", "id=key,src=" + f.name, "--secret", "id=env,env=WORD", folder,
                             env=self.d.env(WORD=word))
        self.assertEqual(self.d.docker("run", "--rm", "secret", "cat", "/mode", "/seen").out, "440 5\nopen\n")
        self.assertNotIn(word, done.err + self.d.docker("history", "--no-trunc", "secret").out)
        self.assertEqual(self.everything_on_disk(word), [])
        # Another value is the same step: a secret is in no key.
        self.assertEqual(self.d.drover("build", "--secret", "id=key,src=/etc/hostname", "--secret", "id=env,src=/etc/hostname",
                                       folder).err.count("CACHED"), 3)

    def test_an_ssh_mount_leads_to_the_clients_agent(self):
        path = os.path.join(self.d.root, "agent")
        agent = socket.socket(socket.AF_UNIX)
        agent.bind(path)
        agent.listen()

        def serve():
            for _ in range(2):
                connection = agent.accept()[0]
                connection.sendall(b"agent got " + connection.recv(100))
                connection.close()
        thread = threading.Thread(target=serve)
        thread.start()
        folder = self.context("ssh", Dockerfile="""FROM busybox
COPY ask /bin/
RUN --mount=type=ssh --mount=type=ssh,id=other,target=/o \\
    for s in $SSH_AUTH_SOCK /o; do ask $s >> /answer; done; ls -l $SSH_AUTH_SOCK > /mode
""", **{"ask.c": ASK})
        subprocess.run(["cc", "-static", "-o", f"{folder}/ask", f"{folder}/ask.c"], check=True)
        self.d.drover("build", "-t", "ssh", "--ssh", "default", "--ssh", f"other={path}", folder, env=self.d.env(SSH_AUTH_SOCK=path))
        thread.join()
        agent.close()
        out = self.d.docker("run", "--rm", "ssh", "cat", "/answer", "/mode").out
        self.assertIn("agent got hello /run/buildkit/ssh_agent.0\nagent got hello /o\n", out)
        self.assertIn("srw-------", out)

    def test_named_contexts_are_directories_images_and_layouts(self):
        more = self.context("more", file="more\n", skip="x", **{".dockerignore": "skip\n"})
        layout = os.path.join(self.d.root, "layout")
        base = self.context("base", Dockerfile="FROM busybox\nRUN echo layout > /who\n")
        self.d.drover("build", "-o", f"type=oci,dest={layout}.tar", base)
        with tarfile.open(layout + ".tar") as archive:
            archive.extractall(layout)
        folder = self.context("named", Dockerfile="""FROM base AS one
FROM layout AS two
FROM one
COPY --from=more . /more/
COPY --from=two /who /who
RUN --mount=from=more,target=/m cat /m/file > /mounted
""")
        self.d.drover("build", "-t", "named", "--build-context", f"more={more}", "--build-context", "base=docker-image://busybox",
                      "--build-context", f"layout=oci-layout://{layout}", folder)
        self.assertEqual(self.d.docker("run", "--rm", "named", "sh", "-c", "ls -A /more; cat /who /mounted").out,
                         ".dockerignore\nfile\nlayout\nmore\n")
        self.assert_clean_refusal(self.d.drover("build", "--build-context", "x=ftp://y", folder, check=False), "not supported")

    def test_the_result_goes_where_it_is_wanted(self):
        folder = self.context("out", Dockerfile="FROM scratch\nCOPY a b/\n", a="A")
        there = os.path.join(self.d.root, "there")
        self.d.drover("build", "-o", there, folder)
        with open(os.path.join(there, "b/a")) as f:
            self.assertEqual(f.read(), "A")
        tar = os.path.join(self.d.root, "out.tar")
        self.d.drover("build", "-o", f"type=tar,dest={tar}", "-o", f"type=docker,dest={tar}.docker", "-t", "out:1", folder)
        with tarfile.open(tar) as archive:
            self.assertIn("b/a", [name.strip("./") for name in archive.getnames()])
        self.d.docker("rmi", "out:1")
        self.assertIn("out:1", self.d.docker("load", "-i", tar + ".docker").out)
        self.assert_clean_refusal(self.d.drover("build", "-o", "type=odd", folder, check=False), "type=odd", "local")

    def test_files_tell_what_was_built(self):
        folder = self.context("meta", Dockerfile="FROM scratch\nCOPY Dockerfile /\n")
        files = [os.path.join(self.d.root, name) for name in ("iid", "meta.json")]
        done = self.d.drover("build", "-t", "meta:1", "--iidfile", files[0], "--metadata-file", files[1], "--annotation", "org.x=y",
                             "-o", f"type=oci,dest={self.d.root}/meta.tar", folder)
        with open(files[0]) as f:
            self.assertEqual(f.read(), done.out.strip())
        with open(files[1]) as f:
            meta = json.load(f)
        self.assertEqual((meta["containerimage.config.digest"], meta["image.name"]), (done.out.strip(), "meta:1"))
        with tarfile.open(f"{self.d.root}/meta.tar") as archive:
            manifest = json.load(archive.extractfile("blobs/sha256/" + meta["containerimage.digest"][7:]))
        self.assertEqual(manifest["annotations"], {"org.x": "y"})

    def test_an_epoch_gives_two_machines_the_same_digest(self):
        folder = self.context("epoch", Dockerfile="FROM scratch\nADD root.tar /\nRUN date > /dev/null; mkdir -p /z /a && echo x > /z/y && ln /z/y /a/y\nCOPY c /c/\n",
                              c__one="1", c__two="2")
        with open(os.path.join(folder, "root.tar"), "wb") as f:
            f.write(busybox_root_tar())
        digests = []
        other = Drover().start()
        try:
            for d in self.d, other:
                d.drover("build", "--metadata-file", folder + ".json", folder, env=d.env(SOURCE_DATE_EPOCH=EPOCH))
                with open(folder + ".json") as f:
                    digests.append(json.load(f)["containerimage.digest"])
        finally:
            self.assertEqual(other.remove(), "")
        self.assertEqual(digests[0], digests[1])

    def test_progress_is_for_people_and_programs(self):
        folder = self.context("progress", Dockerfile="FROM busybox AS first\nRUN echo said\nFROM busybox\nCOPY --from=first /etc/passwd /\n")
        plain = self.d.drover("build", "--progress", "plain", folder).err
        self.assertRegex(plain, r"#\d+ \[first 2/2\] RUN echo said\n")
        self.assertRegex(plain, r"#\d+ [0-9.]+ said\n")
        raw = [json.loads(line) for line in self.d.drover("build", "--progress", "rawjson", folder).err.splitlines()]
        self.assertEqual({(e["Name"], e["Step"]) for e in raw if e["Kind"] == "cached"}, {("first", 2), ("1", 2)})
        self.assertEqual(self.d.drover("build", "--progress", "quiet", folder).err, "")
        again = self.d.drover("build", "--progress", "plain", "--no-cache-filter", "first", folder).err
        self.assertIn("said\n", again)
        screen = subprocess.run(["script", "-qec", f"{DROVER} build --no-cache {folder}", "/dev/null"], env=self.d.env(),
                                stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True).stdout
        self.assertIn("[+] Building", screen)
        self.assertIn("[first 2/2] RUN echo said", screen)

    def test_what_scripts_tell_buildx_is_done_or_refused_by_name(self):
        folder = self.context("buildx", Dockerfile="FROM busybox as one\nENV A=1\n")
        self.assertTrue(self.d.drover("build", "--load", "--provenance=false", "--sbom=false", "--builder=default", "--call=build", folder).out.startswith("sha256:"))
        self.assertIn("WARNING: FromAsCasing", self.d.drover("build", "--call=check", folder, check=False).out)
        for option in ("--call=describe", "--builder=mine"):
            self.assert_clean_refusal(self.d.drover("build", option, folder, check=False), f"{option} is not supported")

    def test_a_run_that_hangs_is_ended_and_a_client_that_goes_leaves_nothing(self):
        folder = self.context("hang", Dockerfile="FROM busybox\nRUN --mount=type=cache,target=/c touch /c/x; echo here; sleep 1000\n")
        self.assert_clean_refusal(self.d.drover("build", "--timeout", "300ms", folder, check=False), "Dockerfile:2", "timeout of")
        process = subprocess.Popen([DROVER, "build", "--progress", "plain", folder], env=self.d.env(), stderr=subprocess.PIPE, text=True,
                                   stdout=subprocess.DEVNULL)
        while " here\n" not in process.stderr.readline():
            pass
        process.send_signal(2)
        process.communicate()
        self.nothing_is_left()

    def nothing_is_left(self):
        wait_for(lambda: json.loads(self.d.api("GET", "/containers/json?all=1")[2]) == [], "the step to be ended")
        wait_for(lambda: os.listdir(os.path.join(self.d.data, "tmp")) == [], "the context to be removed")

    def test_a_server_that_dies_in_a_build_leaves_nothing(self):
        folder = self.context("killed", Dockerfile="FROM busybox AS a\nRUN --mount=type=cache,id=k,sharing=locked,target=/c echo here; sleep 1000\n"
                                                   "FROM busybox\nRUN echo there; sleep 1000\nCOPY --from=a / /\n")
        process = subprocess.Popen([DROVER, "build", "--progress", "plain", folder], env=self.d.env(), stderr=subprocess.PIPE, text=True,
                                   stdout=subprocess.DEVNULL)
        waiting = {"here", "there"}
        while waiting:
            waiting -= set(process.stderr.readline().split())
        self.d.kill9()
        process.communicate()
        self.d.start()
        self.nothing_is_left()
        quick = self.context("quick", Dockerfile="FROM busybox\nRUN --mount=type=cache,id=k,sharing=locked,target=/c true\n")
        self.d.drover("build", quick)
        shutil.rmtree(quick)


class BuildCacheBounds(Story):
    shared = False
    image = False

    def records(self):
        return {r["Description"] for r in json.loads(self.d.api("GET", "/v1.42/system/df")[2])["BuildCache"]}

    def test_the_cache_stays_within_its_bounds_and_the_least_used_goes_first(self):
        self.d.stop()
        self.d.start("--build-cache-size", "4m", "--build-cache-age", "1h")
        self.d.busybox()
        folder = os.path.join(self.d.root, "bounds")
        os.makedirs(folder)
        with open(os.path.join(folder, "Dockerfile"), "w") as f:
            f.write("FROM busybox\nARG N\nRUN echo $N > /n && head -c 1500000 /dev/urandom > /data\n")
        for n in "123":
            self.d.drover("build", "-q", "--build-arg", "N=" + n, folder)
        wait_for(lambda: not any("N=1" in d for d in self.records()), "the oldest to go")
        left = self.records()
        self.assertTrue(any("N=2" in d for d in left) and any("N=3" in d for d in left), left)
        # What is used again is not the oldest any more.
        self.d.drover("build", "-q", "--build-arg", "N=2", folder)
        self.d.drover("build", "-q", "--build-arg", "N=4", folder)
        wait_for(lambda: not any("N=3" in d for d in self.records()), "the one that was not used")
        self.assertTrue(any("N=2" in d for d in self.records()), self.records())
