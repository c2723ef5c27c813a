"""The verbs of docker compose on a project: cp, port, top, events, ls, volumes, wait, scale, create, pause, images, config, watch;
what only `up` has; secrets, hooks, include and extends on running containers."""
import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import tarfile
import threading

from harness import DROVER, Story, wait_for

PROJECT = """
name: verbs
services:
  web:
    image: busybox
    command: sh -c 'echo hello; exec httpd -f -p 80 -h /tmp'
    stop_signal: KILL
    ports: ["18090:80"]
    depends_on: [store]
    volumes: [/cache]
  store:
    image: busybox
    command: sleep 100000
    stop_signal: KILL
    volumes: ["data:/data"]
volumes:
  data:
"""


class Verbs(Story):
    def project(self, text=PROJECT, name="verbs", **files):
        folder = os.path.join(self.d.root, name)
        for path, content in {"compose.yaml": text, **files}.items():
            os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
            with open(os.path.join(folder, path), "w") as file:
                file.write(content)
        self.folder = folder
        return folder

    def run_(self, *words, **options):
        return self.d.drover(*words, cwd=self.folder, **options)

    def tearDown(self):
        self.run_("down", "--volumes", "--remove-orphans", "-t", "0", check=False)
        super().tearDown()

    def state(self, name):
        return self.d.inspect(name)["State"]

    def names(self):
        return sorted(self.d.docker("ps", "-a", "--format", "{{.Names}}").out.split())

    def test_port_top_ls_volumes_and_images_tell_of_the_project(self):
        self.project()
        self.run_("up", "-d")
        self.assertEqual(self.run_("port", "web", "80").out, "0.0.0.0:18090\n")
        self.assert_clean_refusal(self.run_("port", "web", "81", check=False), "81/tcp")
        self.assertIn("sleep 100000", self.run_("top", "store").out)
        listed = json.loads(self.run_("ls", "--format", "json").out)
        self.assertEqual([(p["Name"], p["Status"]) for p in listed], [("verbs", "running(2)")])
        self.assertEqual(self.run_("volumes", "-q").out, "verbs_data\n")
        self.assertRegex(self.run_("images").out, r"verbs-web-1\s+busybox\s+latest")
        self.assertEqual(self.run_("ps", "--services").out.split(), ["store", "web"])
        self.assertEqual(self.run_("ps", "-q", "--status", "exited").out, "")

    def test_options_before_the_verb_and_a_project_known_by_name_only(self):
        folder = self.project()
        self.d.drover("-f", os.path.join(folder, "compose.yaml"), "-p", "other", "up", "-d", "store", cwd="/")
        self.assertEqual(self.names(), ["other-store-1"])
        self.assertIn("other-store-1", self.d.drover("-p", "other", "ps", cwd="/").out)
        self.d.drover("-p", "other", "down", "--volumes", cwd="/")
        self.assertEqual(self.names(), [])

    def test_scale_create_pause_stop_and_rm(self):
        self.project()
        self.run_("create", "store")
        self.assertEqual(self.state("verbs-store-1")["Status"], "created")
        self.run_("scale", "store=3")
        self.assertEqual(self.names(), ["verbs-store-1", "verbs-store-2", "verbs-store-3"])
        self.run_("scale", "store=1")
        self.assertEqual(self.names(), ["verbs-store-1"])
        self.run_("pause", "store")
        self.assertTrue(self.state("verbs-store-1")["Paused"])
        self.run_("unpause", "store")
        self.run_("rm", "store")  # it runs, so it stays
        self.assertEqual(self.names(), ["verbs-store-1"])
        self.run_("rm", "--stop", "store")
        self.assertEqual(self.names(), [])

    def test_cp_goes_both_ways_with_docker_cps_rules(self):
        folder = self.project(**{"tree/a": "1", "tree/b/c": "2", "one": "file"})
        self.run_("up", "-d", "store")
        inside = lambda path: self.run_("exec", "store", "cat", path).out
        self.run_("cp", "one", "store:/tmp")
        self.assertEqual(inside("/tmp/one"), "file")
        self.run_("cp", "one", "store:/tmp/renamed")
        self.assertEqual(inside("/tmp/renamed"), "file")
        self.run_("cp", "tree", "store:/data")
        self.assertEqual(inside("/data/tree/b/c"), "2")
        self.run_("cp", "tree/.", "store:/data")
        self.assertEqual(inside("/data/b/c"), "2")
        self.run_("cp", "store:/data/tree", "back")
        self.run_("cp", "store:/tmp/one", "back/two")
        self.assertEqual(open(os.path.join(folder, "back/b/c")).read(), "2")
        self.assertEqual(open(os.path.join(folder, "back/two")).read(), "file")
        self.assert_clean_refusal(self.run_("cp", "store:/nothing", "x", check=False), "/nothing")
        self.assert_clean_refusal(self.run_("cp", "nothing", "store:/tmp", check=False), "nothing")

    def test_wait_ends_with_the_status_of_the_container(self):
        self.project("name: verbs\nservices:\n  job:\n    image: busybox\n"
                     "    command: sh -c 'while [ ! -e /go ]; do sleep 0.1; done; exit 5'\n")
        self.run_("up", "-d")
        client = subprocess.Popen([DROVER, "wait", "job"], cwd=self.folder, env=self.d.env(), stdout=subprocess.DEVNULL)
        self.run_("exec", "job", "touch", "/go")
        self.assertEqual(client.wait(), 5)

    def test_events_tell_what_happens_to_the_services(self):
        self.project()
        self.run_("up", "-d", "store")
        client = subprocess.Popen([DROVER, "events", "--json"], cwd=self.folder, env=self.d.env(), stdout=subprocess.PIPE, text=True)
        try:
            seen = []
            while not seen:  # an action again until the watcher listens
                self.run_("restart", "-t", "0", "store")
                os.set_blocking(client.stdout.fileno(), False)
                seen = [json.loads(line) for line in client.stdout.readlines()]
            self.assertEqual({event["service"] for event in seen}, {"store"})
            self.assertLessEqual({event["action"] for event in seen}, {"kill", "die", "stop", "start", "restart"})
        finally:
            client.terminate()
            client.wait()
            client.stdout.close()

    def test_exit_code_from_and_abort_on_container_exit_end_it_all(self):
        self.project("name: verbs\nservices:\n"
                     "  a: {image: busybox, command: sh -c 'echo from-a; exit 4'}\n"
                     "  b: {image: busybox, command: sleep 100000, stop_signal: KILL}\n")
        done = self.run_("up", "--exit-code-from", "a", check=False)
        self.assertEqual(done.status, 4, done)
        self.assertIn("from-a", done.out)
        self.assertFalse(self.state("verbs-b-1")["Running"])
        self.assertEqual(self.run_("up", "--abort-on-container-failure", check=False).status, 4)
        self.assert_clean_refusal(self.run_("up", "-d", "--abort-on-container-exit", check=False), "contradict")

    def test_a_dry_run_says_what_would_be_done_and_does_nothing(self):
        self.project()
        self.assertEqual(self.run_("--dry-run", "up", "-d").out, "")
        told = self.run_("up", "-d", "--dry-run").err
        for line in ("Network   verbs_default  Created", "Volume    verbs_data  Created", "Container verbs-store-1  Started", "Container verbs-web-1  Started"):
            self.assertRegex(told, "DRY-RUN MODE - " + line.replace("  ", " +"))
        self.assertEqual(self.names(), [])
        self.run_("up", "-d")
        before = self.state("verbs-web-1")["StartedAt"]
        for words, done in ((("restart",), "Restarted"), (("stop",), "Stopped"), (("kill",), "Killed"), (("rm", "-f"), "Removed"), (("down",), "Removed"),
                            (("pull",), "Pulled"), (("scale", "web=0"), "Removed")):
            self.assertRegex(self.run_("--dry-run", *words).err, f"DRY-RUN MODE - .*{done}", words)
        local = os.path.join(self.folder, "passwd")
        for words, told in ((("exec", "web", "touch", "/made"), "of web +Would run: touch /made"),
                            (("cp", "compose.yaml", "web:/made"), "Would copy this machine's compose.yaml to its /made"),
                            (("cp", "web:/etc/passwd", local), f"Would copy its /etc/passwd to this machine's {local}"),
                            (("export", "-o", local, "web"), f"of web +Would be written to {local}"),
                            (("commit", "web", "made:1"), "of web +Would become image made:1"),
                            (("run", "web", "touch", "/made"), "Service web +Would run in a new container: touch /made"),
                            (("run", "busybox", "true"), "Image busybox +Would run in a new container: true")):
            done = self.run_("--dry-run", *words)
            self.assertRegex(done.err, f"DRY-RUN MODE - .*{told}", words)
            self.assertEqual(done.out, "", words)
        self.assert_clean_refusal(self.run_("--dry-run", "cp", "web:/none", local, check=False), "there is no /none in the container")
        self.assertFalse(os.path.exists(local))
        self.assertNotEqual(self.run_("exec", "-T", "web", "ls", "/made", check=False).status, 0)
        self.assertEqual(self.d.docker("images", "-q", "made").out, "")
        self.assertEqual((self.state("verbs-web-1")["StartedAt"], self.names()), (before, ["verbs-store-1", "verbs-web-1"]))

    def test_the_menu_of_up_turns_watching_on(self):
        self.project("name: verbs\nservices:\n  web:\n    image: busybox\n    command: sleep 100000\n    stop_signal: KILL\n"
                     "    develop: {watch: [{path: src, target: /src, action: sync}]}\n", **{"src/a": "1"})
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            os.execve(DROVER, [DROVER, "up", "--menu"], self.d.env(TERM="xterm"))
        said = b""

        def until(text):
            nonlocal said
            while text not in said:
                said += os.read(terminal, 4096)
        until(b"Enable watch")
        os.write(terminal, b"w")
        until(b"Watch enabled")
        wait_for(lambda: self.state("verbs-web-1")["Running"], "the service")

        def copied():
            with open(os.path.join(self.folder, "src/a"), "w") as file:
                file.write("2")
            return self.d.docker("exec", "verbs-web-1", "cat", "/src/a", check=False).out == "2"
        wait_for(copied, "the change in the container")
        os.write(terminal, b"\x03")
        with contextlib.suppress(OSError):
            until(b"never said")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 130)
        os.close(terminal)
        self.assertFalse(self.state("verbs-web-1")["Running"])

    def test_compatibility_names_as_docker_compose_1_did_and_parallel_bounds_the_haste(self):
        self.project(PROJECT.replace('    ports: ["18090:80"]\n', ""))
        self.run_("--compatibility", "--parallel", "1", "up", "-d", "--scale", "web=3")
        self.assertEqual(self.names(), ["verbs_store_1", "verbs_web_1", "verbs_web_2", "verbs_web_3"])
        self.assertIn("up to date", self.run_("--compatibility", "up", "-d", "--scale", "web=3").err)
        self.run_("--compatibility", "down", "-t", "0", env=self.d.env(COMPOSE_PARALLEL_LIMIT="2"))
        self.assertEqual(self.names(), [])
        self.run_("create", env=self.d.env(COMPOSE_COMPATIBILITY="1"))
        self.assertEqual(self.names(), ["verbs_store_1", "verbs_web_1"])

    def test_build_takes_memory_and_dependencies_and_cp_gives_owners(self):
        self.project("name: verbs\nservices:\n  web: {build: web, user: '1000:1000', command: sleep 100000, stop_signal: KILL, depends_on: [base]}\n  base: {build: base, command: 'true'}\n",
                     **{"web/Dockerfile": "FROM busybox\nRUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max > /limit 2>/dev/null || true\n",
                        "base/Dockerfile": "FROM busybox\nLABEL base=1\n"})
        images = lambda: {name for name in self.d.docker("images", "--format", "{{.Repository}}").out.split() if name in ("verbs-web", "verbs-base")}  # noqa: E731
        self.run_("build", "web", "--memory", "64m", "--builder", "default")
        self.assertEqual(images(), {"verbs-web"})
        self.assertEqual(self.d.docker("run", "--rm", "verbs-web", "cat", "/limit").out, f"{64 << 20}\n")
        self.run_("build", "web", "--with-dependencies")
        self.assertEqual(images(), {"verbs-web", "verbs-base"})
        self.assert_clean_refusal(self.run_("build", "--builder", "other", check=False), "--builder=other is not supported")
        self.run_("up", "-d")
        with open(os.path.join(self.folder, "owned"), "w") as file:
            os.fchown(file.fileno(), 1234, 4321)
        for words, owner in (((), "1234 4321"), (("-a",), "1000 1000")):
            self.run_("cp", *words, "owned", "web:/tmp/owned")
            self.assertEqual(self.run_("exec", "-T", "web", "stat", "-c", "%u %g", "/tmp/owned").out, owner + "\n")
        self.d.docker("rm", "-f", *self.names())
        self.d.docker("rmi", "-f", "verbs-web", "verbs-base")

    def test_only_the_chosen_services_are_shown(self):
        self.project("name: verbs\nservices:\n  a: {image: busybox, command: echo from-a}\n"
                     "  b: {image: busybox, command: echo from-b, attach: false}\n  c: {image: busybox, command: echo from-c}\n")
        out = self.run_("up", "--no-attach", "c").out
        self.assertIn("from-a", out)
        self.assertNotIn("from-b", out)
        self.assertNotIn("from-c", out)

    def test_wait_does_not_take_a_restarting_container_for_a_running_one(self):
        self.project("name: verbs\nservices:\n  a: {image: busybox, command: 'false', restart: always}\n")
        done = self.run_("up", "-d", "--wait", "--wait-timeout", "3", check=False)
        self.assert_clean_refusal(done, "not ready in time")

    def test_renewed_anonymous_volumes_are_new_and_others_are_kept(self):
        self.project()
        volume = lambda: [m["Name"] for m in self.d.inspect("verbs-web-1")["Mounts"] if m["Destination"] == "/cache"]
        self.run_("up", "-d")
        first = volume()
        self.run_("up", "-d", "--force-recreate")
        self.assertEqual(volume(), first)
        self.run_("up", "-d", "--force-recreate", "-V")
        self.assertNotEqual(volume(), first)

    def test_secrets_of_all_kinds_are_in_the_container_with_their_owner_and_mode(self):
        self.project("name: verbs\nservices:\n  a:\n    image: busybox\n    command: sleep 100000\n    stop_signal: KILL\n"
                     "    secrets: [{source: f, uid: '1000', gid: '1000', mode: 0400}, e]\n"
                     "    configs: [{source: c, target: /etc/app/app.conf}]\n"
                     "secrets: {f: {file: s.txt}, e: {environment: TOKEN}}\nconfigs: {c: {content: 'name=${NAME}'}}\n",
                     **{"s.txt": "from file", ".env": "TOKEN=from environment\nNAME=x\n"})
        self.run_("up", "-d")
        inside = lambda *words: self.run_("exec", "a", *words).out
        self.assertEqual(inside("cat", "/run/secrets/f"), "from file")
        self.assertEqual(inside("stat", "-c", "%u %g %a", "/run/secrets/f"), "1000 1000 400\n")
        self.assertEqual(inside("cat", "/run/secrets/e"), "from environment")
        self.assertEqual(inside("cat", "/etc/app/app.conf"), "name=x")

    def test_hooks_run_in_the_container_and_a_failing_one_is_said(self):
        text = ("name: verbs\nservices:\n  a:\n    image: busybox\n    command: sleep 100000\n    stop_signal: KILL\n"
                "    volumes: ['data:/data']\n    post_start: [{command: sh -c 'echo $$W >> /data/log', environment: [W=started]}]\n"
                "    pre_stop: [{command: sh -c 'echo stopping >> /data/log'}]\nvolumes: {data: }\n")
        self.project(text)
        self.run_("up", "-d")
        self.run_("stop", "a")
        self.run_("start", "a")
        self.assertEqual(self.run_("exec", "a", "cat", "/data/log").out, "started\nstopping\nstarted\n")
        self.project(text.replace("sh -c 'echo $$W >> /data/log'", "sh -c 'echo broken; exit 3'"))
        done = self.run_("up", "-d", check=False)
        self.assert_clean_refusal(done, "service a", "post_start", "broken", "3")

    def test_an_engines_refusal_names_the_line_of_the_file(self):
        self.project("name: verbs\nservices:\n  a:\n    image: busybox\n    gpus: all\n")
        self.assert_clean_refusal(self.run_("up", "-d", check=False), "compose.yaml:5:11: services.a.gpus", "device driver")

    def test_a_dockerfile_in_the_file_or_elsewhere_is_built(self):
        self.project("name: verbs\nservices:\n  a:\n    build:\n      context: web\n      dockerfile_inline: |\n"
                     "        FROM busybox\n        COPY . /w\n        CMD ls -A /w\n"
                     "  b:\n    build: {context: web, dockerfile: ../other/Dockerfile}\n",
                     **{"web/f": "x", "other/Dockerfile": "FROM busybox\nCOPY f /\nCMD cat /f\n"})
        self.run_("build", "a")
        self.run_("up", "-d", "a")
        wait_for(lambda: "f" in self.run_("logs", "--no-log-prefix", "a").out, "the output")
        self.assertEqual(self.run_("logs", "--no-log-prefix", "a").out, "f\n")

    def test_a_build_gets_secrets_agents_contexts_and_the_images_of_other_services(self):
        self.project("name: given\nservices:\n"
                     "  web:\n    build:\n      context: web\n      ssh: [default, other=./agent.sock]\n"
                     "      secrets: [token, {source: word, target: pass}]\n"
                     "      additional_contexts: [base=service:base, more=./more, box=docker-image://busybox]\n"
                     "  base:\n    build: {dockerfile_inline: \"FROM busybox\\nRUN echo of the base > /base\\n\"}\n    profiles: [never]\n"
                     "secrets: {token: {file: token.txt}, word: {environment: WORD}}\n",
                     name="given",
                     **{"token.txt": "s3cret", ".env": "WORD=of the environment\n", "more/.dockerignore": "left-out\n", "more/f": "more\n", "more/left-out": "",
                        "web/Dockerfile": "FROM base\nCOPY --from=more . /more/\nCOPY --from=box /bin/busybox /box\n"
                                          "RUN --mount=type=secret,id=token --mount=type=secret,id=pass cat /run/secrets/token /run/secrets/pass > /seen\n"
                                          "RUN --mount=type=ssh,required,id=other test -S $SSH_AUTH_SOCK\n"
                                          "CMD cat /base /seen; ls /more; test -x /box\n"})
        agent = os.path.join(self.folder, "agent.sock")
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
            listener.bind(agent)
            listener.listen()
            self.assert_clean_refusal(self.run_("build", "web", check=False, env=self.d.env(SSH_AUTH_SOCK="")), "--ssh default", "SSH_AUTH_SOCK")
            self.run_("build", "web", env=self.d.env(SSH_AUTH_SOCK=agent))
        self.assertEqual(self.d.docker("run", "--rm", "given-web").out, "of the base\ns3cretof the environmentf\n")
        history = self.d.docker("history", "--no-trunc", "given-web").out
        self.assertNotIn("s3cret", history)
        self.assert_clean_refusal(self.run_("build", "--secret", "id=x,src=/dev/null", "web", check=False), "--secret is for a build of PATH")
        with open(agent + ".key", "w") as file:
            file.write("a key")
        self.assert_clean_refusal(self.run_("build", "--ssh", f"other={agent}.key", "web", check=False), "is no agent's socket", "ssh-add")

    def test_run_makes_a_one_off_container_of_a_service_and_starts_what_it_needs(self):
        self.project()
        done = self.run_("run", "--rm", "-T", "-e", "A=b", "web", "sh", "-c", "echo $A; exit 3", check=False)
        self.assertEqual((done.out, done.status), ("b\n", 3))
        self.assertEqual(self.names(), ["verbs-store-1"])
        self.run_("run", "-d", "--no-deps", "--name", "one", "store")
        labels = self.d.inspect("one")["Config"]["Labels"]
        self.assertEqual((labels["com.docker.compose.oneoff"], labels["com.docker.compose.service"]), ("True", "store"))
        self.run_("up", "-d", "store")  # it is none of the service's own
        self.assertTrue(self.state("one")["Running"])
        self.assertEqual(self.run_("run", "--rm", "busybox", "echo", "an image").out, "an image\n")

    def test_restart_takes_those_along_that_depend_on_it_with_restart(self):
        self.project("name: verbs\nservices:\n  a: &s {image: busybox, command: sleep 100000, stop_signal: KILL}\n"
                     "  b: {<<: *s, depends_on: {a: {condition: service_started, restart: true}}}\n"
                     "  c: {<<: *s, depends_on: {b: {condition: service_started, restart: true}}}\n"
                     "  d: {<<: *s, depends_on: [a]}\n")
        self.run_("up", "-d")
        times = lambda: {n: self.state(f"verbs-{n}-1")["StartedAt"] for n in "abcd"}
        changed = lambda before, after: [n for n in "abcd" if before[n] != after[n]]
        before = times()
        self.run_("restart", "-t", "0", "a")
        after = times()
        self.assertEqual(changed(before, after), ["a", "b", "c"])
        self.assertLess(after["a"], after["b"])
        self.assertLess(after["b"], after["c"])
        self.run_("restart", "-t", "0", "--no-deps", "a")
        self.assertEqual(changed(after, times()), ["a"])

    def test_attach_stats_commit_export_and_kill_with_orphans(self):
        self.project("name: verbs\nservices:\n  echo:\n    image: busybox\n    stdin_open: true\n    stop_signal: KILL\n"
                     "    command: sh -c 'echo here > /made; while read l; do echo got $$l; [ $$l = end ] && exit 4; done'\n"
                     "  old: {image: busybox, command: sleep 100000, stop_signal: KILL}\n")
        self.run_("up", "-d")
        figures = json.loads(self.run_("stats", "--no-stream", "--format", "json", "echo").out)
        self.assertEqual(figures["Name"], "verbs-echo-1")
        self.assertRegex(figures["MemUsage"], r"^[\d.]+[kM]?i?B / [\d.]+\w+$")
        self.assertIn("CPU %", self.run_("stats", "--no-stream").out)
        wait_for(lambda: "here" in self.run_("exec", "-T", "echo", "cat", "/made", check=False).out, "the file")
        image = self.run_("commit", "-m", "as it is", "-c", "LABEL a=b", "echo", "kept:1").out.strip()
        self.assertEqual(self.d.docker("run", "--rm", "kept:1", "cat", "/made").out, "here\n")
        self.assertEqual(self.d.inspect("kept:1")["Id"], image)
        self.assertEqual((self.d.inspect("kept:1")["Comment"], self.d.inspect("kept:1")["Config"]["Labels"]["a"]), ("as it is", "b"))
        self.run_("export", "-o", os.path.join(self.folder, "files.tar"), "echo")
        with tarfile.open(os.path.join(self.folder, "files.tar")) as files:
            self.assertEqual(files.extractfile("made").read(), b"here\n")
        with subprocess.Popen([DROVER, "attach", "echo"], cwd=self.folder, env=self.d.env(), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as attached:
            attached.stdin.write("one\nend\n")
            attached.stdin.flush()  # and stays open: its end would end the connection, as with docker
            self.assertEqual((attached.stdout.read(), attached.wait()), ("got one\ngot end\n", 4))
        self.assert_clean_refusal(self.run_("attach", "echo", check=False), "no running container")
        self.project("name: verbs\nservices:\n  echo: {image: busybox}\n")
        self.run_("kill", "--remove-orphans")
        self.assertEqual(self.names(), ["verbs-echo-1"])
        rows = json.loads(self.run_("images", "--format", "json").out)
        self.assertEqual([(r["ContainerName"], r["Repository"], r["Tag"]) for r in rows], [("verbs-echo-1", "busybox", "latest")])

    def test_up_watch_syncs_restarts_and_rebuilds_while_it_shows_output(self):
        folder = self.project(
            "name: verbs\nservices:\n  a:\n    build: web\n    stop_signal: KILL\n    develop:\n      watch:\n"
            "        - {path: web/src, action: sync, target: /src}\n"
            "        - {path: web/conf, action: sync+restart, target: /conf}\n"
            "        - {path: web/flag, action: restart}\n"
            "        - {path: web/Dockerfile, action: rebuild}\n",
            "watched", **{"web/Dockerfile": "FROM busybox\nLABEL v=1\nCMD echo it runs; exec sleep 100000\n", "web/src/s": "1", "web/conf/c": "1", "web/flag": "1"})
        client = subprocess.Popen([DROVER, "up", "--build", "--watch"], cwd=folder, env=self.d.env(), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        inside = lambda path: self.run_("exec", "-T", "a", "cat", path, check=False).out
        seen = lambda: (self.d.docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}", "verbs-a-1", check=False).out.split() + ["", ""])[:2]

        def write(path, text):
            with open(os.path.join(folder, path), "w") as file:
                file.write(text)
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(iter(client.stdout.readline, "")))
        reader.start()
        try:
            wait_for(lambda: "a-1 | it runs\n" in list(lines) and any("Watch enabled" in l for l in list(lines)), "the output and the watch")
            first = seen()
            write("web/src/s", "2")
            wait_for(lambda: inside("/src/s") == "2", "the file")
            self.assertEqual(seen(), first)
            write("web/conf/c", "2")
            wait_for(lambda: seen()[0] == first[0] and seen()[1] != first[1] and inside("/conf/c") == "2", "the restart with the file")
            second = seen()
            write("web/flag", "2")
            wait_for(lambda: seen()[0] == first[0] and seen()[1] not in ("", second[1]), "the restart")
            write("web/Dockerfile", "FROM busybox\nLABEL v=2\nCMD echo it runs anew; exec sleep 100000\n")
            wait_for(lambda: seen()[0] not in ("", first[0]), "the new container")
            wait_for(lambda: "a-1 | it runs anew\n" in list(lines), "its output")
        finally:
            client.send_signal(signal.SIGINT)
            client.wait()
            reader.join()
            client.stdout.close()

    def test_watch_brings_changes_into_the_container(self):
        folder = self.project(
            "name: verbs\nservices:\n  a:\n    build: web\n    stop_signal: KILL\n    develop:\n      watch:\n"
            "        - {path: web/src, action: sync, target: /src, ignore: ['*.tmp'], initial_sync: true}\n"
            "        - {path: web/conf, action: sync+exec, target: /conf, exec: {command: cp /conf/x /seen}}\n"
            "        - {path: web/Dockerfile, action: rebuild}\n",
            **{"web/Dockerfile": "FROM busybox\nLABEL v=1\nCMD sleep 100000\n", "web/src/first": "1", "web/conf/x": "0"})
        client = subprocess.Popen([DROVER, "watch"], cwd=folder, env=self.d.env(), stderr=subprocess.PIPE, text=True)
        inside = lambda *words: self.run_("exec", "a", *words, check=False).out

        def write(path, text):
            os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
            with open(os.path.join(folder, path), "w") as file:
                file.write(text)
        try:
            next(line for line in client.stderr if "Watch enabled" in line)
            self.assertEqual(inside("cat", "/src/first"), "1")
            write("web/src/deep/new", "2")
            write("web/src/x.tmp", "3")
            wait_for(lambda: inside("cat", "/src/deep/new") == "2", "the new file")
            self.assertEqual(inside("ls", "/src").split(), ["deep", "first"])
            os.remove(os.path.join(folder, "web/src/first"))
            wait_for(lambda: inside("ls", "/src").split() == ["deep"], "the file to be gone")
            write("web/conf/x", "seen")
            wait_for(lambda: inside("cat", "/seen") == "seen", "the command to have run")
            # between the old one's end and the new one's name there is none
            id_ = lambda: self.d.docker("inspect", "-f", "{{.Id}}", "verbs-a-1", check=False).out.strip()
            before = id_()
            write("web/Dockerfile", "FROM busybox\nLABEL v=2\nCMD sleep 100000\n")
            wait_for(lambda: id_() not in ("", before), "the new container")
        finally:
            client.terminate()
            client.stderr.close()
            client.wait()
