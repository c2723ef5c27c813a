"""Debian 13's docker compose (2.26), unchanged, on Drover: its verbs with real work, and taking turns with `drover` on one
project."""
import json
import os
import signal
import subprocess
import threading
import unittest

from harness import TOP, Story, http_get, run, wait_for

COMPOSE = os.path.join(TOP, "build/clients/docker-compose/usr/libexec/docker/cli-plugins/docker-compose")
REGISTRY = os.path.join(TOP, "build/peers/usr/bin/docker-registry")
REGISTRY_PORT = 18755  # in the stories' own network

SHOP = """
services:
  web:
    build: {context: web, args: {WHO: world}}
    image: shop-web
    ports: ["18181:80"]
    environment: [GREETING=hello]
    env_file: web.env
    depends_on:
      store: {condition: service_healthy, restart: true}
      migrate: {condition: service_completed_successfully}
    networks: [front, back]
    secrets: [token]
    configs: [{source: motd, target: /etc/motd}]
    stop_signal: KILL
  store:
    image: busybox
    command: sh -c "echo store is up; touch /ready; exec sleep 100000"
    volumes: ["data:/data"]
    networks: {back: {aliases: [storage]}}
    healthcheck: {test: ["CMD", "test", "-e", "/ready"], interval: 1s, retries: 100}
    stop_signal: KILL
  migrate:
    image: busybox
    command: sh -c "echo migrated > /data/state"
    volumes: ["data:/data"]
    network_mode: none
  worker:
    image: busybox
    command: sh -c 'i=0; while read line; do echo "got $$line"; done; sleep 100000'
    stdin_open: true
    networks: [back]
    stop_signal: KILL
  beside:
    image: busybox
    command: sleep 100000
    network_mode: service:worker
    volumes_from: [store]
    stop_signal: KILL
  debug:
    image: busybox
    profiles: [debug]
    command: sleep 100000
    stop_signal: KILL
networks:
  front:
  back: {ipam: {config: [{subnet: 10.78.0.0/24}]}}
volumes:
  data:
secrets:
  token: {file: ./token.txt}
configs:
  motd: {content: "welcome\\n"}
"""
FILES = {
    "compose.yaml": SHOP,
    "web.env": "FROM_FILE=yes\n",
    "token.txt": "s3cret",
    "web/Dockerfile": "FROM busybox\nARG WHO\nRUN mkdir /w && echo hello $WHO > /w/index.html\nCMD httpd -f -p 80 -h /w\n",
}


class Compose(Story):
    """Each story has the project of FILES, and takes it down."""
    files = FILES

    @classmethod
    def setUpClass(cls):
        if not os.path.exists(COMPOSE):
            raise unittest.SkipTest("needs Debian 13's docker-compose below build/clients (scripts/clients)")
        super().setUpClass()
        cls.folder = os.path.join(cls.drover_.root, "shop")
        for path, text in cls.files.items():
            cls.write(path, text)

    @classmethod
    def write(cls, path, text):
        os.makedirs(os.path.dirname(os.path.join(cls.folder, path)), exist_ok=True)
        with open(os.path.join(cls.folder, path), "w") as file:
            file.write(text)

    def tearDown(self):
        self.compose("--profile", "debug", "down", "--volumes", "--remove-orphans", "-t", "0")
        self.assertEqual(self.d.docker("ps", "-aq").out, "", "down left containers")
        self.assertNotIn("shop_", self.d.docker("volume", "ls").out + self.d.docker("network", "ls").out)
        super().tearDown()

    def compose(self, *words, **options):
        return run([COMPOSE, *words], cwd=self.folder, env=self.d.env(), **options)

    def drover(self, *words, **options):
        return self.d.drover(*words, cwd=self.folder, **options)

    def popen(self, *words):
        process = subprocess.Popen([COMPOSE, *words], cwd=self.folder, env=self.d.env(), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)  # where a story has not come to its end
        return process

    def state(self, name):
        return self.d.inspect(name)["State"]

    def ids(self):
        """Every container's id by its name, with when it started: what has to stay when nothing is to be done."""
        found = {}
        for line in json.loads(self.d.api("GET", "/containers/json?all=1")[2]):
            answer = self.d.api("GET", f"/containers/{line['Id']}/json")
            if answer[0] == 200:  # not one that has just been replaced
                container = json.loads(answer[2])
                found[container["Name"][1:]] = (container["Id"], container["State"]["StartedAt"])
        return found

    def kept(self):
        """The same without the job: docker compose runs it again each time."""
        return {n: v for n, v in self.ids().items() if n != "shop-migrate-1"}


class Verbs(Compose):
    def test_up_builds_waits_for_conditions_and_everything_sees_everything(self):
        self.compose("up", "-d", "--wait", "web", "store", "worker", "beside")
        self.assertEqual(wait_for(lambda: http_get("http://127.0.0.1:18181/"), "the page"), (200, "hello world\n"))
        inside = lambda *words: self.compose("exec", "-T", *words).out
        self.assertEqual(inside("web", "cat", "/run/secrets/token", "/etc/motd"), "s3cretwelcome\n")
        self.assertEqual(inside("web", "sh", "-c", "echo $GREETING $FROM_FILE"), "hello yes\n")
        self.assertEqual(inside("store", "cat", "/data/state"), "migrated\n")
        self.assertEqual(inside("beside", "cat", "/data/state"), "migrated\n")
        for name in ("store", "storage", "worker"):
            self.assertIn("10.78.0.", inside("web", "nslookup", name))
        self.assertEqual(inside("beside", "hostname", "-i"), inside("worker", "hostname", "-i"))
        self.assertRegex(self.compose("ps").out, r"shop-store-1 .*\(healthy\)")
        self.assertRegex(self.compose("ps", "-a").out, r"shop-migrate-1 .*Exited \(0\)")
        self.assertEqual(sorted(self.compose("ps", "--services").out.split()), ["beside", "store", "web", "worker"])
        self.assertEqual(self.compose("port", "web", "80").out, "0.0.0.0:18181\n")
        self.assertIn("sleep 100000", self.compose("top", "beside").out)
        self.assertRegex(self.compose("images", "web").out, r"shop-web-1 +shop-web +latest")
        self.assertRegex(self.compose("logs", "--no-color", "store").out, r"store-1 +\| store is up")
        self.assertRegex(self.compose("ls").out, r"shop +running\(4\)")
        self.assertRegex(self.compose("stats", "--no-stream", "web").out, r"shop-web-1")
        self.assertNotIn("shop-debug-1", self.ids())
        self.compose("--profile", "debug", "up", "-d", "debug")
        self.assertTrue(self.state("shop-debug-1")["Running"])

    def test_up_again_does_nothing_and_a_change_makes_one_container_anew(self):
        self.compose("up", "-d", "worker", "beside", "store")
        before = self.ids()
        self.compose("up", "-d", "worker", "beside", "store")
        self.assertEqual(self.ids(), before)
        self.write("over.yaml", "services: {store: {environment: [NEW=1]}}\n")
        self.compose("-f", "compose.yaml", "-f", "over.yaml", "up", "-d", "worker", "beside", "store")
        after = self.ids()
        self.assertEqual(after["shop-worker-1"], before["shop-worker-1"])
        self.assertNotEqual(after["shop-store-1"][0], before["shop-store-1"][0])

    def test_scale_grows_and_shrinks(self):
        names = lambda: sorted(n for n in self.ids() if "worker" in n)
        self.compose("up", "-d", "--no-deps", "--scale", "worker=3", "worker")
        self.assertEqual(names(), ["shop-worker-1", "shop-worker-2", "shop-worker-3"])
        self.compose("scale", "--no-deps", "worker=1")
        self.assertEqual(names(), ["shop-worker-1"])

    def test_pause_stop_start_kill_rm_and_create(self):
        self.compose("create", "worker")
        self.assertEqual(self.state("shop-worker-1")["Status"], "created")
        self.compose("start", "worker")
        for verb, status in (("pause", "paused"), ("unpause", "running"), ("stop", "exited"), ("start", "running")):
            self.compose(verb, "worker")
            self.assertEqual(self.state("shop-worker-1")["Status"], status, verb)
        self.compose("kill", "worker")
        wait_for(lambda: self.state("shop-worker-1")["Status"] == "exited", "the worker to be dead")
        self.assertEqual(self.state("shop-worker-1")["ExitCode"], 137)
        self.compose("rm", "-f", "worker")
        self.assertNotIn("shop-worker-1", self.ids())

    def test_restart_restarts_those_that_ask_for_it_too(self):
        self.compose("up", "-d", "--wait", "web")
        before = self.ids()
        self.compose("restart", "-t", "0", "store")
        after = self.ids()
        for name, again in (("shop-store-1", True), ("shop-web-1", True), ("shop-migrate-1", False)):
            self.assertEqual(after[name][1] != before[name][1], again, name)

    def test_exec_and_run_end_with_the_status_of_the_command(self):
        self.compose("up", "-d", "worker")
        self.assertEqual(self.compose("exec", "-T", "worker", "sh", "-c", "exit 7", check=False).status, 7)
        self.assertEqual(self.compose("exec", "-T", "-e", "A=b", "-w", "/tmp", "worker", "sh", "-c", "echo $A $PWD").out, "b /tmp\n")
        self.assertEqual(self.compose("run", "--rm", "-T", "--no-deps", "worker", "sh", "-c", "echo hi; exit 5", check=False).status, 5)
        self.assertEqual(self.compose("run", "--rm", "-T", "--no-deps", "-v", f"{self.folder}:/here", "worker", "cat", "/here/token.txt").out, "s3cret")
        self.assertEqual(self.compose("run", "--rm", "-T", "--no-deps", "worker", "cat", stdin=b"through stdin").out, "through stdin")
        self.assertEqual([n for n in self.ids() if "run" in n], [])

    def test_cp_copies_both_ways(self):
        self.compose("up", "-d", "worker")
        self.compose("cp", "web", "worker:/copied")
        self.assertIn("FROM busybox", self.compose("exec", "-T", "worker", "cat", "/copied/Dockerfile").out)
        self.compose("cp", "worker:/copied/Dockerfile", "back")
        with open(os.path.join(self.folder, "back")) as back:
            self.assertIn("FROM busybox", back.read())

    def test_attach_carries_input_and_output(self):
        self.compose("up", "-d", "worker")
        attached = self.popen("attach", "--sig-proxy=false", "worker")
        attached.stdin.write("one\n")
        attached.stdin.flush()
        self.assertEqual(attached.stdout.readline(), "got one\n")
        attached.kill()
        attached.communicate()

    def test_events_tell_what_happens_and_wait_tells_how_it_ended(self):
        self.compose("up", "-d", "worker")
        events, lines = self.popen("events"), []
        reader = threading.Thread(target=lambda: lines.extend(iter(events.stdout.readline, "")))
        reader.start()
        # Neither says when it has begun to look: what it is to see happens again until it does.
        wait_for(lambda: self.compose("exec", "-T", "worker", "true") and lines, "an event")
        self.assertRegex(lines[0], r"container exec_(create|start|die).*shop-worker-1")
        told = ""
        while "status code" not in told:
            self.compose("start", "worker")
            waiting = self.popen("wait", "worker")
            self.compose("kill", "worker")
            told = waiting.communicate()[0]
        self.assertIn("exited with status code 137", told)
        wait_for(lambda: any("container die" in line for line in list(lines)), "the end to be told")
        events.kill()
        reader.join()
        events.communicate()

    def test_up_in_the_foreground_shows_output_and_ends_with_the_status_asked_for(self):
        self.write("jobs.yaml", "services:\n  a: {image: busybox, command: sh -c 'echo from a; exit 3'}\n"
                                "  b: {image: busybox, command: sleep 100000, stop_signal: KILL}\n")
        done = self.compose("-f", "jobs.yaml", "up", "--exit-code-from", "a", check=False)
        self.assertEqual(done.status, 3, done)
        self.assertRegex(done.out, r"a-1 +\| from a")
        self.compose("-f", "jobs.yaml", "down", "-t", "0")

    def test_watch_syncs_rebuilds_and_restarts(self):
        self.write("watched/Dockerfile", "FROM busybox\nCOPY src /src\nCOPY list /list\nCMD [\"sleep\", \"100000\"]\nSTOPSIGNAL KILL\n")
        self.write("watched/src/page", "one")
        self.write("watched/list", "one")
        self.write("watched/conf/c", "one")
        self.write("watch.yaml", "services:\n  w:\n    build: watched\n    develop:\n      watch:\n"
                   "        - {path: watched/src, action: sync, target: /src}\n"
                   "        - {path: watched/list, action: rebuild}\n"
                   "        - {path: watched/conf, action: sync+restart, target: /conf}\n")
        self.compose("-f", "watch.yaml", "up", "-d", "--build")
        read = lambda path: self.compose("-f", "watch.yaml", "exec", "-T", "w", "cat", path, check=False).out
        before = self.ids()["shop-w-1"]
        watching = self.popen("-f", "watch.yaml", "watch", "--no-up")
        while "Watch" not in watching.stdout.readline():
            pass
        self.write("watched/src/page", "two")
        wait_for(lambda: read("/src/page") == "two", "the page to be synchronized")
        self.assertEqual(self.ids()["shop-w-1"], before)
        self.write("watched/conf/c", "two")
        wait_for(lambda: self.ids()["shop-w-1"][1] != before[1] and read("/conf/c") == "two", "the restart")
        self.write("watched/list", "two")
        wait_for(lambda: self.ids().get("shop-w-1", before)[0] != before[0] and read("/list") == "two", "the new container")
        watching.send_signal(signal.SIGINT)
        watching.communicate()
        self.compose("-f", "watch.yaml", "down", "-t", "0")


class Images(Compose):
    files = {"compose.yaml": "services:\n  app:\n    build: app\n    image: 127.0.0.1:%d/app:1\n    stop_signal: KILL\n" % REGISTRY_PORT,
             "app/Dockerfile": "FROM busybox\nRUN echo made > /made\nCMD [\"sleep\", \"100000\"]\n"}

    def test_build_push_and_pull_through_a_registry(self):
        if not os.path.exists(REGISTRY):
            self.skipTest("needs docker-registry below build/peers")
        config = os.path.join(self.d.root, "registry.yml")
        with open(config, "w") as file:
            file.write(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {self.d.root}/registry}}}}\nhttp: {{addr: '127.0.0.1:{REGISTRY_PORT}'}}\n")
        with open(os.path.join(self.d.root, "registry.log"), "w") as log:
            registry = subprocess.Popen([REGISTRY, "serve", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            def answers():
                try:
                    return http_get(f"http://127.0.0.1:{REGISTRY_PORT}/v2/")[0] == 200
                except OSError:
                    return False
            wait_for(answers, "the registry")
            self.compose("build", "--no-cache")
            self.compose("push")
            image = f"127.0.0.1:{REGISTRY_PORT}/app:1"
            self.d.docker("rmi", image)
            self.compose("pull")
            self.compose("up", "-d", "--no-build")
            self.assertEqual(self.compose("exec", "-T", "app", "cat", "/made").out, "made\n")
            self.assertRegex(self.compose("config", "--resolve-image-digests", "--no-interpolate").out, r"app:1@sha256:[0-9a-f]{64}")
            self.d.docker("rmi", "-f", image)
            self.drover("down", "-t", "0")
            self.drover("pull")
            self.drover("push")
        finally:
            registry.terminate()
            registry.wait()


class Turns(Compose):
    """`drover` and `docker compose` on one project: what one has made is up to date for the other."""
    services = ("web", "store", "worker", "beside")

    def test_docker_compose_finds_what_drover_has_made_up_to_date(self):
        self.drover("up", "-d", "--wait", *self.services)
        before = self.kept()
        self.compose("up", "-d", *self.services)
        self.assertEqual(self.kept(), before)
        self.compose("restart", "-t", "0", "worker")
        self.compose("up", "-d", "--scale", "worker=2", *self.services)
        self.drover("up", "-d", "--scale", "worker=2", *self.services)
        self.assertEqual(len([n for n in self.ids() if "worker" in n]), 2)
        self.drover("down")
        self.assertEqual(self.ids(), {})

    def test_drover_finds_what_docker_compose_has_made_up_to_date(self):
        self.compose("up", "-d", "--wait", *self.services)
        before = self.kept()
        self.drover("up", "-d", "--wait", *self.services)
        self.assertEqual(self.kept(), before)
        self.assertEqual(self.drover("exec", "-T", "web", "cat", "/etc/motd").out, "welcome\n")
        labels = self.d.inspect("shop-web-1")["Config"]["Labels"]
        hashes = dict(line.split() for line in self.drover("config", "--hash", "*").out.splitlines())
        self.assertEqual(labels["com.docker.compose.config-hash"], hashes["web"])

    def test_both_put_the_same_labels_on_what_they_make(self):
        def labels():
            found = {}
            for name in self.ids():
                found[name] = self.d.inspect(name)["Config"]["Labels"]
            for kind in ("volume", "network"):
                for name in self.d.docker(kind, "ls", "-q", "--filter", "label=com.docker.compose.project=shop", "--format", "{{.Name}}").out.split():
                    found[name] = self.d.inspect(name)["Labels"]
            own = ("com.docker.compose.version", "sh.drover.compose.extra-hash")
            return {n: {k: sorted(v.split(",")) for k, v in l.items() if k not in own and "container:" not in v} for n, l in found.items()}
        self.compose("up", "-d", "web", "store", "worker")
        theirs = labels()
        self.compose("down", "-v", "-t", "0")
        self.drover("up", "-d", "web", "store", "worker")
        ours = labels()
        for name in ("shop_data", "shop_back", "shop_front"):
            ours[name].pop("com.docker.compose.config-hash")  # as later versions have it
        self.assertEqual(ours, theirs)
