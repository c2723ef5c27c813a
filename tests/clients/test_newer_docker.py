"""docker 26 with its plug-ins buildx and compose, of the next Debian: what they do with an engine that is not BuildKit's."""
import json
import os
import unittest

from harness import NEWER, Story, http_get, run, wait_for

CLI = os.path.join(NEWER, "usr/bin/docker")
PLUGINS = os.path.join(NEWER, "usr/libexec/docker/cli-plugins")
REFUSED = "BuildKit's protocol is not spoken by Drover: build with DOCKER_BUILDKIT=0, or drover build"


@unittest.skipUnless(os.path.exists(CLI), "build/peers-newer is not there (scripts/peers)")
class NewerDocker(Story):
    def setUp(self):
        super().setUp()
        self.place = os.path.join(self.d.root, "project")
        os.makedirs(self.place, exist_ok=True)
        self.write("Dockerfile", "FROM busybox\nARG WHO=nobody\nRUN mkdir /www && echo \"made for $WHO\" > /www/index.html\n")
        self.plugins("docker-buildx", "docker-compose")

    def write(self, name, text):
        with open(os.path.join(self.place, name), "w") as f:
            f.write(text)

    def plugins(self, *names):
        folder = os.path.join(self.d.root, "docker-config/cli-plugins")
        os.makedirs(folder, exist_ok=True)
        for name in os.listdir(folder):
            os.remove(os.path.join(folder, name))
        for name in names:
            os.symlink(os.path.join(PLUGINS, name), os.path.join(folder, name))

    def docker(self, *args, buildkit="0", check=True):
        env = self.d.env()
        env.pop("DOCKER_BUILDKIT")
        return run([CLI, *args], check=check, cwd=self.place, env={**env, "DOCKER_BUILDKIT": buildkit} if buildkit else env)

    def test_a_build_with_buildx_says_what_to_do_and_fetches_nothing(self):
        for command in (["build", "."], ["buildx", "build", "."]):
            done = self.docker(*command, buildkit=None, check=False)
            self.assertEqual(done.status, 1, done)
            self.assertIn(REFUSED, done.err)
            self.assertNotIn("moby/buildkit", done.out + done.err)
        # The same of an older CLI, which speaks the protocol itself.
        old = run([self.d.cli, "build", "."], check=False, cwd=self.place, env={**self.d.env(), "DOCKER_BUILDKIT": "1"})
        self.assertNotEqual(old.status, 0)
        self.assertIn(REFUSED, old.err)
        self.assertEqual(self.d.docker("images", "-aq").out.split(), self.d.docker("images", "-q", "busybox").out.split())

    def test_without_buildkit_or_buildx_the_classic_builder_builds(self):
        self.docker("build", "-t", "asked", "--build-arg", "WHO=me", ".")
        self.assertEqual(self.docker("run", "--rm", "asked", "cat", "/www/index.html").out, "made for me\n")
        self.plugins()
        self.assertIn("Successfully tagged fallen:latest", self.docker("build", "-t", "fallen", ".", buildkit=None).out)
        self.docker("rmi", "asked", "fallen")

    def test_compose_builds_starts_and_stops_a_project(self):
        self.write("compose.yaml", """
services:
  web:
    build: {context: ., args: {WHO: compose}}
    image: composed
    command: httpd -f -p 80 -h /www
    ports: ["18377:80"]
    networks: [front, back]
    volumes: ["data:/data"]
    healthcheck: {test: ["CMD", "test", "-e", "/www/index.html"], interval: 1s, start_interval: 100ms, start_period: 30s}
  ask:
    image: composed
    command: sh -c "wget -q -O - http://web/ && sleep 1000"
    depends_on: {web: {condition: service_healthy}}
    networks: {back: {mac_address: "02:99:00:00:00:11"}}
networks:
  front: {}
  back: {}
volumes: {data: {}}
""")
        self.assertIn(REFUSED, self.docker("compose", "build", buildkit=None, check=False).err)
        self.docker("compose", "up", "-d", "--build", "--wait")
        try:
            self.assertEqual(http_get("http://127.0.0.1:18377/index.html"), (200, "made for compose\n"))
            wait_for(lambda: "made for compose" in self.docker("compose", "logs", "ask").out, "the other service to be answered")
            listed = [json.loads(line) for line in self.docker("compose", "ps", "--format", "json").out.splitlines()]
            self.assertEqual({c["Service"]: c["State"] for c in listed}, {"web": "running", "ask": "running"})
            shown = self.d.inspect("project-ask-1")
            self.assertEqual(shown["NetworkSettings"]["Networks"]["project_back"]["MacAddress"], "02:99:00:00:00:11")
            self.assertEqual(self.d.inspect("project-web-1")["Config"]["Healthcheck"]["StartInterval"], 100000000)
            self.assertEqual(set(self.d.inspect("project-web-1")["NetworkSettings"]["Networks"]), {"project_front", "project_back"})
            self.assertEqual(self.docker("compose", "exec", "-T", "web", "cat", "/www/index.html").out, "made for compose\n")
            before = self.d.inspect("project-web-1")["Id"]
            self.docker("compose", "up", "-d", "--wait")
            self.assertEqual(self.d.inspect("project-web-1")["Id"], before)
            self.docker("compose", "up", "-d", "--wait", "--scale", "ask=2")
            self.assertEqual(len(self.docker("compose", "ps", "-q", "ask").out.split()), 2)
            self.docker("compose", "restart", "-t", "0", "ask")
        finally:
            self.docker("compose", "down", "-t", "0", "-v", "--rmi", "all")
        self.assertEqual(self.d.docker("ps", "-aq").out, "")
        self.assertNotIn("project", self.d.docker("network", "ls").out + self.d.docker("volume", "ls").out)
