"""docker-compose 1.29, as Debian has it, unchanged against Drover: its verbs on one project."""
import json
import os
import shutil
import subprocess
import unittest

from harness import DROVER, Story, http_get, run, wait_for

TOOL = shutil.which("docker-compose")
PROJECT = """
version: "3.8"
services:
  web:
    build:
      context: web
      args: {WHO: world}
    image: shop-web
    ports: ["18085:80"]
    depends_on: [store]
    links: ["store:database"]
    env_file: web.env
    environment:
      GREETING: hello
    networks: [front, back]
    secrets: [token]
    restart: unless-stopped
    stop_signal: KILL
  store:
    image: busybox
    command: sh -c "touch /ready; echo store is up; exec sleep 100000"
    volumes: ["data:/data"]
    networks:
      back:
        aliases: [storage]
    healthcheck:
      test: ["CMD", "test", "-e", "/ready"]
      interval: 1s
      retries: 50
    stop_signal: KILL
  worker:
    image: busybox
    stop_signal: KILL
    command: sleep 100000
    depends_on: [store]
    networks: [back]
networks:
  front:
  back:
    ipam:
      config: [{subnet: 10.77.0.0/24}]
volumes:
  data:
secrets:
  token:
    file: ./token.txt
"""
FILES = {
    "docker-compose.yml": PROJECT,
    "web.env": "FROM_FILE=yes\n",
    "token.txt": "s3cret",
    "web/Dockerfile": "FROM busybox\nARG WHO\nRUN mkdir /w && echo hello $WHO > /w/index.html\nCMD httpd -f -v -p 80 -h /w\n",
}


@unittest.skipUnless(TOOL, "docker-compose is not installed")
class DockerCompose(Story):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = os.path.join(cls.drover_.root, "shop")
        for path, text in FILES.items():
            os.makedirs(os.path.dirname(os.path.join(cls.folder, path)), exist_ok=True)
            with open(os.path.join(cls.folder, path), "w") as file:
                file.write(text)

    def compose(self, *words, check=True, **options):
        return run([TOOL, *words], cwd=self.folder, env=self.d.env(COMPOSE_DOCKER_CLI_BUILD="0"), check=check, **options)

    def up(self, *words):
        self.compose("up", "-d", *words)

    def up_only(self):
        self.compose("up", "--no-start", "worker")

    def tearDown(self):
        self.compose("down", "--volumes", "--remove-orphans", "-t", "1")
        super().tearDown()

    def state(self, name):
        return self.d.inspect(name)["State"]

    def test_up_builds_and_starts_and_everything_sees_everything(self):
        self.up()
        wait_for(lambda: self.page() == "hello world\n", "the page")
        exec_ = lambda *words: self.compose("exec", "-T", *words).out
        self.assertEqual(exec_("web", "cat", "/run/secrets/token"), "s3cret")
        self.assertEqual(exec_("web", "sh", "-c", "echo $GREETING $FROM_FILE"), "hello yes\n")
        for name in ("store", "storage", "database", "worker"):
            self.assertIn("10.77.0.", exec_("web", "nslookup", name))
        wait_for(lambda: self.state("shop_store_1")["Health"]["Status"] == "healthy", "the store to be healthy")
        self.assertRegex(self.compose("ps").out, r"shop_web_1 .* Up .*0.0.0.0:18085->80/tcp")
        self.assertEqual(self.compose("ps", "--services").out.split(), ["store", "web", "worker"])
        self.assertEqual(self.compose("port", "web", "80").out, "0.0.0.0:18085\n")
        self.assertIn("sleep 100000", self.compose("top", "store").out)
        self.assertIn("shop-web", self.compose("images").out)
        self.assertRegex(self.compose("logs", "--no-color", "store").out, r"store_1\s+\| store is up")

    def page(self):
        try:
            return http_get("http://127.0.0.1:18085/")[1]
        except OSError:
            return None

    def test_up_again_leaves_what_did_not_change_and_recreates_on_demand(self):
        self.up("store", "worker")
        before = self.d.inspect("shop_worker_1")["Id"]
        self.up("store", "worker")
        self.assertEqual(self.d.inspect("shop_worker_1")["Id"], before)
        self.up("--force-recreate", "--no-deps", "worker")
        self.assertNotEqual(self.d.inspect("shop_worker_1")["Id"], before)

    def test_scale_makes_and_removes_replicas(self):
        self.up("--scale", "worker=3", "worker")
        names = lambda: sorted(self.d.docker("ps", "--format", "{{.Names}}").out.split())
        self.assertEqual(names(), ["shop_store_1", "shop_worker_1", "shop_worker_2", "shop_worker_3"])
        self.compose("scale", "worker=1")
        self.assertEqual(names(), ["shop_store_1", "shop_worker_1"])

    def test_pause_stop_start_restart_kill_and_rm(self):
        self.up("worker")
        self.compose("pause", "worker")
        self.assertEqual(self.state("shop_worker_1")["Status"], "paused")
        self.compose("unpause", "worker")
        self.assertEqual(self.state("shop_worker_1")["Status"], "running")
        began = self.state("shop_worker_1")["StartedAt"]
        self.compose("restart", "-t", "1", "worker")
        self.assertNotEqual(self.state("shop_worker_1")["StartedAt"], began)
        self.compose("stop", "-t", "1", "worker")
        self.assertEqual(self.state("shop_worker_1")["Status"], "exited")
        self.compose("start", "worker")
        self.assertEqual(self.state("shop_worker_1")["Status"], "running")
        self.compose("kill", "worker")
        wait_for(lambda: self.state("shop_worker_1")["Status"] == "exited", "the worker to be dead")
        self.assertEqual(self.state("shop_worker_1")["ExitCode"], 137)
        self.compose("rm", "-f", "worker")
        self.assertNotIn("shop_worker_1", self.d.docker("ps", "-a", "--format", "{{.Names}}").out)

    def test_exec_and_run_end_with_the_status_of_the_command(self):
        self.up("worker")
        self.assertEqual(self.compose("exec", "-T", "worker", "sh", "-c", "exit 7", check=False).status, 7)
        done = self.compose("run", "--rm", "-T", "-e", "A=b", "worker", "sh", "-c", "echo $A; exit 3", check=False)
        self.assertEqual((done.out, done.status), ("b\n", 3))
        self.assertNotIn("run", self.d.docker("ps", "-a", "--format", "{{.Names}}").out)

    def test_create_makes_without_starting(self):
        self.up_only()
        first = self.d.inspect("shop_worker_1")["Id"]
        self.assertEqual(self.state("shop_worker_1")["Status"], "created")
        self.compose("create", "--force-recreate", "worker")
        self.assertEqual(self.state("shop_worker_1")["Status"], "created")
        self.assertNotEqual(self.d.inspect("shop_worker_1")["Id"], first)

    def test_build_pull_and_config(self):
        self.assertIn("Successfully tagged shop-web:latest", self.compose("build", "--no-cache", "web").out)
        self.assertIn("18085", self.compose("config").out)
        self.assertEqual(self.compose("config", "--services").out.split(), ["store", "web", "worker"])
        refused = self.compose("pull", "worker", check=False)  # there is no registry here: a clean error
        self.assertEqual(refused.status, 1)
        self.assertIn("registry", refused.out + refused.err)

    def test_events_tell_what_happens(self):
        watcher = subprocess.Popen([TOOL, "events", "--json"], cwd=self.folder, env=self.d.env(), stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True)
        try:
            seen = []
            self.up("worker")
            # What happened before the watcher listened is not told: an action again until it is.
            while not seen:
                self.compose("restart", "-t", "0", "worker")
                seen = [json.loads(watcher.stdout.readline())]
            self.assertEqual(seen[0]["type"], "container")
            self.assertEqual(seen[0]["attributes"]["name"].split("_")[0], "shop")
        finally:
            watcher.terminate()
            watcher.wait()
            watcher.stdout.close()

    def test_down_removes_everything_but_volumes_unless_asked(self):
        self.up("store")
        self.compose("down")
        self.assertEqual(self.d.docker("ps", "-aq").out, "")
        self.assertNotIn("shop_back", self.d.docker("network", "ls", "--format", "{{.Name}}").out)
        self.assertIn("shop_data", self.d.docker("volume", "ls", "-q").out)
        self.compose("down", "--volumes")
        self.assertNotIn("shop_data", self.d.docker("volume", "ls", "-q").out)

    def test_up_in_the_foreground_shows_output_and_an_end_aborts(self):
        with open(os.path.join(self.folder, "one.yml"), "w") as file:
            file.write('version: "3"\nservices:\n  a: {image: busybox, command: "sh -c \'echo from-a; exit 4\'"}\n'
                       '  b: {image: busybox, command: sleep 100000, stop_signal: KILL}\n')
        done = self.compose("-f", "one.yml", "up", "--no-color", "--exit-code-from", "a", check=False)
        self.assertEqual(done.status, 4, done)
        self.assertRegex(done.out, r"a_1\s+\| from-a")

    def test_drover_sees_the_project_that_docker_compose_made(self):
        self.up("worker")
        out = run([DROVER, "ps"], cwd=self.folder, env=self.d.env()).out
        self.assertIn("shop_worker_1", out)
