"""drover up, down, ps, logs, exec: a project from its compose.yaml."""
import json
import os
import signal
import socket
import subprocess

from harness import DROVER, Story, http_get, run, wait_for

PROJECT = """
name: shop
services:
  web:
    build: web
    ports: ["${PORT:-18081}:80"]
    depends_on:
      store:
        condition: service_healthy
      setup:
        condition: service_completed_successfully
    environment:
      GREETING: ${GREETING:-hello}
    restart: unless-stopped
    secrets: [token]
  store:
    image: busybox
    command: sh -c "touch /ready; exec sleep 100000"
    volumes: ["data:/data"]
    healthcheck:
      test: test -e /ready
      interval: 200ms
      retries: 20
    restart: unless-stopped
    stop_grace_period: 100ms
  setup:
    image: busybox
    command: sh -c "echo prepared >> /data/log"
    volumes: ["data:/data"]
  extra:
    image: busybox
    command: sleep 100000
    profiles: [debug]
volumes:
  data:
secrets:
  token:
    file: ./token.txt
"""
WEB = """FROM busybox
RUN mkdir /w && echo built > /w/index.html
STOPSIGNAL SIGKILL
CMD httpd -f -p 80 -h /w
"""


class Project(Story):
    shared = False

    def project(self, text=PROJECT, name="shop", **files):
        folder = os.path.join(self.d.root, name)
        os.makedirs(os.path.join(folder, "web"), exist_ok=True)
        for path, content in {"compose.yaml": text, "web/Dockerfile": WEB, "token.txt": "s3cret", **files}.items():
            with open(os.path.join(folder, path), "w") as f:
                f.write(content)
        return folder

    def ids(self):
        return {line.split()[0]: line.split()[1] for line in
                self.d.docker("ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.ID}}").out.splitlines()}

    def page(self, port=18081):
        try:
            return http_get(f"http://127.0.0.1:{port}/")[1]
        except OSError:
            return None

    def test_up_builds_and_starts_a_project_in_order_and_it_answers(self):
        folder = self.project()
        self.d.drover("up", "-d", "--wait", cwd=folder)
        wait_for(lambda: self.page() == "built\n", "the page")
        names = set(self.ids())
        self.assertEqual(names, {"shop-web-1", "shop-store-1", "shop-setup-1"})
        self.assertEqual(self.d.drover("exec", "web", "cat", "/run/secrets/token", cwd=folder).out, "s3cret")
        self.assertEqual(self.d.drover("exec", "web", "sh", "-c", "echo $GREETING", cwd=folder).out, "hello\n")
        self.assertEqual(self.d.drover("exec", "web", "sh", "-c", "exit 5", cwd=folder, check=False).status, 5)
        listed = json.loads(self.d.drover("ps", "-a", "--json", cwd=folder).out)
        self.assertEqual(len(listed), 3)
        self.assertIn("shop-web-1", self.d.drover("ps", cwd=folder).out)
        # docker compose's own labels, so that its tools see the project
        self.assertEqual(self.d.inspect("shop-web-1")["Config"]["Labels"]["com.docker.compose.service"], "web")

    def test_up_again_changes_only_what_changed(self):
        folder = self.project()
        self.d.drover("up", "-d", cwd=folder)
        before = self.ids()
        self.d.drover("up", "-d", cwd=folder)
        self.assertEqual(self.ids()["shop-web-1"], before["shop-web-1"])
        self.assertEqual(self.ids()["shop-store-1"], before["shop-store-1"])
        self.d.drover("up", "-d", cwd=folder, env=self.d.env(GREETING="changed"))
        after = self.ids()
        self.assertNotEqual(after["shop-web-1"], before["shop-web-1"])
        self.assertEqual(after["shop-store-1"], before["shop-store-1"])

    def test_data_survives_down_and_up_and_goes_with_volumes(self):
        folder = self.project()
        self.d.drover("up", "-d", cwd=folder)
        self.d.drover("down", cwd=folder)
        self.assertEqual(self.ids(), {})
        self.assertNotIn("shop_default", self.d.docker("network", "ls", "--format", "{{.Name}}").out)
        self.d.drover("up", "-d", cwd=folder)
        self.assertEqual(self.d.docker("exec", "shop-store-1", "cat", "/data/log").out, "prepared\nprepared\n")
        self.d.drover("down", "--volumes", cwd=folder)
        self.assertNotIn("shop_data", self.d.docker("volume", "ls", "-q").out)

    def test_files_are_merged_and_scale_makes_replicas(self):
        folder = self.project(**{"compose.prod.yaml": "services:\n  store:\n    deploy:\n      replicas: 3\n    environment: [\"A=2\"]\n"})
        self.d.drover("-f", "compose.yaml", "up", "-d", cwd=folder, check=False)
        self.d.drover("up", "-f", "compose.yaml", "-f", "compose.prod.yaml", "-d", cwd=folder)
        self.assertLessEqual({"shop-store-1", "shop-store-2", "shop-store-3"}, set(self.ids()))
        self.assertEqual(self.d.docker("exec", "shop-store-3", "sh", "-c", "echo $A").out, "2\n")

    def test_up_in_the_foreground_shows_logs_and_ctrl_c_stops_it(self):
        folder = self.project("services:\n  a:\n    image: busybox\n    stop_grace_period: 100ms\n    command: sh -c 'echo from-a; exec sleep 1000'\n", name="fore")
        client = subprocess.Popen([DROVER, "up"], cwd=folder, env=self.d.env(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = next(l for l in client.stdout if "from-a" in l)
        self.assertIn("a-1", line)
        client.send_signal(signal.SIGINT)
        client.stdout.read()
        client.wait()
        client.stdout.close()
        self.assertEqual(self.d.inspect("fore-a-1")["State"]["Running"], False)

    def test_logs_of_a_project_carry_the_services_names(self):
        folder = self.project("services:\n  a:\n    image: busybox\n    command: echo one\n  b:\n    image: busybox\n    command: echo two\n", name="two")
        self.d.drover("up", "-d", cwd=folder)
        wait_for(lambda: self.d.drover("logs", cwd=folder).out.count("\n") >= 2, "both lines")
        out = self.d.drover("logs", cwd=folder).out
        self.assertRegex(out, r"a-1\s+\| one")
        self.assertRegex(out, r"b-1\s+\| two")

    # --- bad input: one clear message, a non-zero exit, and what ran before goes on ---

    def refused(self, text, *words, name="bad"):
        folder = self.project(text, name=name)
        self.assert_clean_refusal(self.d.drover("up", "-d", cwd=folder, check=False), *words)

    def test_a_tab_is_explained_with_its_place(self):
        self.refused("services:\n\tweb:\n    image: busybox\n", "compose.yaml:2", "tab")

    def test_a_cycle_is_named(self):
        self.refused("services:\n  a:\n    image: busybox\n    depends_on: [b]\n  b:\n    image: busybox\n    depends_on: [a]\n",
                     "cycle", "a", "b")

    def test_an_unknown_key_has_file_line_and_column(self):
        self.refused("services:\n  web:\n    image: busybox\n    comand: x\n", "compose.yaml:4:5", "comand")

    def test_a_required_variable_says_its_message(self):
        self.refused("services:\n  web:\n    image: busybox:${TAG:?set TAG first}\n", "set TAG first")

    def test_a_taken_port_names_its_owner_and_what_ran_goes_on(self):
        d = self.d
        folder = self.project()
        d.drover("up", "-d", cwd=folder)
        before = self.ids()
        with socket.socket() as taken:
            taken.bind(("0.0.0.0", 0))
            taken.listen()
            port = taken.getsockname()[1]
            other = self.project(f"services:\n  x:\n    image: busybox\n    command: sleep 1000\n    ports: ['{port}:80']\n", name="other")
            done = d.drover("up", "-d", cwd=other, check=False)
            self.assert_clean_refusal(done, str(port), "python")
        done = d.drover("up", "-d", cwd=self.project("services:\n  x:\n    image: busybox\n    command: sleep 1000\n    ports: ['18081:80']\n", name="third"), check=False)
        self.assert_clean_refusal(done, "18081", "shop-web-1")
        for name, container in before.items():
            self.assertEqual(self.ids()[name], container)
        self.assertEqual(self.page(), "built\n")

    def test_an_image_that_is_not_there(self):
        self.refused("services:\n  web:\n    image: localhost:1/nobody/nothing\n", "nobody/nothing")

    def test_a_failing_build_shows_why_and_leaves_the_running_project(self):
        d = self.d
        folder = self.project()
        d.drover("up", "-d", cwd=folder)
        before = self.ids()
        self.project(**{"web/Dockerfile": "FROM busybox\nRUN echo broken on purpose; exit 3\n"})
        done = d.drover("up", "-d", "--build", cwd=folder, check=False)
        self.assert_clean_refusal(done, "broken on purpose", "3", "Dockerfile:2")
        self.assertEqual(self.ids(), before)
        self.assertEqual(self.page(), "built\n")


class Help(Story):
    image = False

    def test_every_verb_has_help(self):
        out = run([DROVER, "--help"]).out
        for verb in ("serve", "up", "down", "ps", "logs", "exec", "run", "build", "images"):
            self.assertIn(verb, out)
            self.assertIn(verb, run([DROVER, verb, "--help"]).out)

    def test_an_unknown_verb_or_option_is_one_line_and_exit_2(self):
        for argv in (["nonsense"], ["up", "--nonsense"]):
            done = run([DROVER, *argv], check=False)
            self.assertEqual(done.status, 2, done)
            self.assertIn("nonsense", done.err)

    def test_no_server_is_explained(self):
        done = run([DROVER, "--socket", "/nonexistent/x.sock", "ps"], check=False)
        self.assert_clean_refusal(done, "/nonexistent/x.sock", "drover serve")
