"""A compose.yaml deployed as services of a swarm: drover deploy, up, diff and down, beside docker stack."""
import json
import os
import re
import unittest

from harness import Drover, busybox_root_tar, wait_for
from test_swarm import SwarmStory

FILE = """
name: shop
services:
  db:
    image: busybox
    command: ["sh", "-c", "touch /data/there; trap 'exit 0' TERM; while :; do sleep 0.05; done"]
    volumes: [data:/data]
    networks: [back]
    healthcheck: {test: ["CMD", "test", "-f", "/data/there"], interval: 200ms}
  migrate:
    image: busybox
    command: ["sh", "-c", "cat /run/secrets/key /etc/conf"]
    depends_on: {db: {condition: service_healthy}}
    secrets: [key]
    configs: [{source: conf, target: /etc/conf}]
    networks: [back]
  web:
    image: busybox
    command: ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
    environment: {V: "${V:-1}"}
    depends_on: {migrate: {condition: service_completed_successfully}}
    networks: {back: {aliases: [www]}, front: {}}
    deploy:
      replicas: 2
      labels: {tier: front}
      update_config: {parallelism: 1, monitor: 100ms, failure_action: rollback}
      resources: {reservations: {memory: 16M}}
networks: {back: {}, front: {}}
volumes: {data: {}}
secrets: {key: {file: ./key.txt}}
configs: {conf: {content: "conf\\n"}}
"""


class StackStory(SwarmStory):
    def setUp(self):
        super().setUp()
        self.dir = os.path.join(self.d.root, "project")
        os.makedirs(self.dir)
        self.write("compose.yaml", FILE)
        self.write("key.txt", "secret\n")

    def write(self, name, text):
        with open(os.path.join(self.dir, name), "w", encoding="utf-8") as f:
            f.write(text)

    def drover(self, *args, check=True, **env):
        return self.d.drover(*args, check=check, cwd=self.dir, env=self.d.env(**env))

    def ids(self, name):
        return {t["ID"] for t in self.tasks(name, desired_state="running")}


class Stack(StackStory):

    def test_a_file_is_deployed_changed_compared_and_taken_down(self):
        self.assertEqual(self.drover("diff", check=False).status, 1)
        self.assertEqual(json.loads(self.d.api("GET", "/services")[2]), [])
        told = self.drover("plan").out
        self.assertRegex(told, r"(?s)service shop_db: is made\n  starts 1 on .*service shop_web: is made\n  starts 2 on ")
        self.assertEqual(json.loads(self.d.api("GET", "/services")[2]), [])
        done = self.drover("up")
        self.assertRegex(done.err, r"(?s)Service shop_db.*Service shop_migrate.*Service shop_web")
        self.runs("shop_web", 2)
        self.assertEqual(self.states("shop_migrate"), ["complete"])
        self.assertIn("secret", self.d.docker("service", "logs", "--raw", "shop_migrate").out)
        self.assertIn("conf", self.d.docker("service", "logs", "--raw", "shop_migrate").out)
        self.assertEqual(self.d.docker("stack", "ls", "--format", "{{.Name}} {{.Services}}").out, "shop 3\n")
        self.assertEqual(self.drover("diff").out, "")
        kept = self.ids("shop_db") | self.ids("shop_web")
        self.assertIn("Unchanged", self.drover("deploy").err)
        self.assertEqual(self.ids("shop_db") | self.ids("shop_web"), kept)
        found = self.drover("diff", check=False, V="2")
        self.assertEqual((found.status, found.out), (1, '~ service shop_web\n    TaskTemplate.ContainerSpec.Env: ["V=1"] -> ["V=2"]\n'))
        self.assertEqual(self.drover("up", "--dry-run", V="2").out, found.out)
        self.assertEqual(self.ids("shop_db") | self.ids("shop_web"), kept)
        self.assertRegex(self.drover("plan", V="2").out, r"(?s)shop_db: nothing changes.*shop_web: 2 tasks are made anew, 1 at once")
        self.drover("deploy", V="2")
        self.assertFalse(self.ids("shop_web") & kept)
        self.assertLess(self.ids("shop_db"), kept)  # only what changed is made anew
        self.d.drover("rollback", "--to", "1", "shop_web")
        wait_for(lambda: self.drover("diff", V="1", check=False).status == 0, "the way back")
        self.write("compose.yaml", FILE.replace("  db:\n", "  other:\n    image: busybox\n    command: [sleep, '1000']\n    stop_signal: KILL\n  db:\n"))
        self.drover("deploy", V="1")
        self.write("compose.yaml", FILE)
        self.assertEqual(self.drover("diff", check=False).out, "- service shop_other: only deployed\n- network shop_default: only deployed\n")
        self.drover("deploy", "--prune")
        self.assertEqual(self.drover("diff", check=False).out, "- network shop_default: only deployed\n")
        self.drover("down")
        wait_for(lambda: not self.d.docker("ps", "-aq").out, "the tasks' containers to go")
        for kind in ("service", "secret", "config"):
            self.assertEqual(self.d.docker(kind, "ls", "-q").out, "")
        self.assertNotIn("shop_", self.d.docker("network", "ls").out)
        self.assertIn("shop_data", self.d.docker("volume", "ls", "-q").out)
        self.assertIn("nothing to do", self.drover("down").err)

    def test_docker_stack_has_made_the_same(self):
        self.write("stack.yaml", 'version: "3.8"\n' + "\n".join(line for line in FILE.splitlines() if "depends_on" not in line and not line.startswith("name:"))
                   .replace('{content: "conf\\n"}', "{file: ./conf.txt}").replace("${V:-1}", "1"))
        self.write("conf.txt", "conf\n")
        self.d.docker("stack", "deploy", "--resolve-image", "never", "-c", "stack.yaml", "shop", cwd=self.dir)
        self.write("ours.yaml", "name: shop\n" + FILE.replace("name: shop\n", "").replace("    depends_on: {migrate: {condition: service_completed_successfully}}\n", "").replace(
            "    depends_on: {db: {condition: service_healthy}}\n", ""))
        found = self.drover("diff", "-f", "ours.yaml", check=False).out
        paths = sorted({line.split(": ")[0].strip() for line in found.splitlines() if line.startswith("    ")})
        self.assertEqual(paths, ["UpdateConfig.Order"], found)  # docker leaves out what the engine adds

    def test_two_environments_are_compared(self):
        self.write("prod.yaml", "services: {web: {deploy: {replicas: 5}}, extra: {image: 'busybox:1', networks: [back]}}")
        found = self.drover("diff", "--with", "compose.yaml", "--with", "prod.yaml", check=False)
        self.assertEqual((found.status, found.out), (1, "+ service shop_extra: only in the second\n~ service shop_web\n    Mode.Replicated.Replicas: 2 -> 5\n"))
        self.assertEqual(self.drover("diff", "--with", "compose.yaml").out, "")

    def test_what_a_service_of_a_swarm_cannot_have_is_named(self):
        for lines, words in (("privileged: true", ["services.x.privileged", "not for services of a swarm"]), ('ports: ["127.0.0.1:1:1"]', ["services.x.ports", "every address"]),
                             ('ports: ["8000-8001:80"]', ["services.x.ports", "one port"]), ("network_mode: 'service:y'", ["services.x.network_mode"]),
                             ("pid: host", ["services.x.pid"]), ("volumes: [{type: volume, source: v, target: /v, volume: {subpath: a}}]", ["subpath"])):
            self.write("compose.yaml", f"name: bad\nservices: {{x: {{image: busybox, {lines}}}, y: {{image: busybox}}}}\nvolumes: {{v: }}\n")
            self.assert_clean_refusal(self.drover("deploy", check=False), *words)
        self.write("compose.yaml", FILE)
        self.assert_clean_refusal(self.drover("up", "--watch", check=False), "--watch is not for services", "--local")
        self.drover("deploy")
        self.write("key.txt", "another\n")
        self.assert_clean_refusal(self.drover("deploy", check=False), "shop_key", "another content", "name of its own")
        self.write("compose.yaml", FILE.replace("/run/secrets/key /etc/conf", "/run/secrets/key").replace("{file: ./key.txt}", "{file: ./key.txt, name: key2}"))
        self.drover("deploy")
        wait_for(lambda: "another" in self.d.docker("service", "logs", "--raw", "shop_migrate").out, "it to see the new one")
        self.write("compose.yaml", "name: big\nservices: {x: {image: busybox, deploy: {resources: {reservations: {cpus: '4000'}}}}}\n")
        self.assert_clean_refusal(self.drover("deploy", "--wait-timeout", "1", check=False), "insufficient resources", "drover explain big_x")
        self.d.docker("swarm", "leave", "--force")
        self.assert_clean_refusal(self.drover("deploy", check=False), "of no swarm")

    def test_what_is_external_is_used_and_left(self):
        self.write("ext.yaml", """
name: ext
services:
  x:
    image: busybox
    command: [sh, -c, "cat /run/secrets/token /etc/app.conf; trap 'exit 0' TERM; while :; do sleep 0.05; done"]
    secrets: [token, {source: other, target: second}]
    configs: [{source: conf, target: /etc/app.conf}]
    networks: [wide]
secrets: {token: {external: true}, other: {external: true, name: theirs}}
configs: {conf: {external: {name: app.conf}}}
networks: {wide: {external: true}}
""")
        deploy = ("deploy", "-f", "ext.yaml")
        self.assert_clean_refusal(self.drover(*deploy, check=False), "secret token is external", "docker secret create token FILE")
        for kind, name, text in (("secret", "token", "one\n"), ("secret", "theirs", "two\n"), ("config", "app.conf", "three\n")):
            self.d.docker(kind, "create", name, "-", stdin=text.encode())
        self.assert_clean_refusal(self.drover(*deploy, check=False), "network wide not found")
        self.d.docker("network", "create", "-d", "overlay", "wide")
        self.drover(*deploy)
        wait_for(lambda: self.d.docker("service", "logs", "--raw", "ext_x").out == "one\nthree\n", "what it was given")
        self.assertEqual(self.drover("diff", "-f", "ext.yaml").out, "")
        self.drover("down", "-f", "ext.yaml")
        wait_for(lambda: not self.d.docker("ps", "-aq").out, "the tasks' containers to go")
        left = [self.d.docker(kind, "ls", "--format", "{{.Name}}").out for kind in ("secret", "config", "network")]
        self.assertTrue("token" in left[0] and "theirs" in left[0] and "app.conf" in left[1] and "wide" in left[2], left)
        self.assert_clean_refusal(self.drover("up", "--local", "-d", "-f", "ext.yaml", check=False), "secrets.token.external", "docker swarm init")
        self.write("ext.yaml", "services: {x: {image: busybox, secrets: [t]}}\nsecrets: {t: {external: true, file: ./key.txt}}\n")
        self.assert_clean_refusal(self.drover(*deploy, check=False), "external", "no content")


class Promotion(StackStory):
    """Images by digest: what a tag is, is asked once, and another environment gets the same."""
    FILE = "services:\n  app:\n    image: app:1\n    command: [sh, -c, \"trap 'exit 0' TERM; while :; do sleep 0.05; done\"]\n"

    @classmethod
    def make(cls):
        d = Drover().start("--registry", "0")
        try:
            d.busybox()
            d.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        except BaseException:
            d.remove()
            raise
        return d

    def push(self, tag, mark):
        self.d.docker("import", "--change", f"LABEL is={mark}", "-", tag, stdin=busybox_root_tar())
        return re.search("sha256:[0-9a-f]{64}", self.d.docker("push", tag).out).group()

    def image(self, service):
        return json.loads(self.d.api("GET", f"/services/{service}")[2])["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]

    def test_what_was_tried_in_one_environment_goes_to_the_other_by_its_digest(self):
        self.write("compose.yaml", self.FILE)
        first = self.push("app:1", "one")
        self.drover("deploy", "-p", "staging")
        self.assertEqual(self.image("staging_app"), f"app:1@{first}")
        self.assertEqual(self.drover("diff", "-p", "staging").out, "")
        second = self.push("app:1", "two")  # the same tag
        found = self.drover("diff", "-p", "staging", check=False)
        self.assertEqual((found.status, found.out), (1, f'~ service staging_app\n    TaskTemplate.ContainerSpec.Image: "app:1@{first}" -> "app:1@{second}"\n'))
        self.assertEqual(self.drover("diff", "-p", "staging", "--resolve-image", "changed").out, "")
        self.drover("deploy", "-p", "prod", "--from", "staging")
        self.assertEqual(self.image("prod_app"), f"app:1@{first}")  # not what the tag is by now
        container = self.runs("prod_app", 1)[0]["Status"]["ContainerStatus"]["ContainerID"]
        self.assertEqual(self.d.inspect(container)["Config"]["Labels"]["is"], "one")
        kept = self.ids("prod_app")
        self.assertIn("Unchanged", self.drover("deploy", "-p", "prod", "--from", "staging").err)
        self.assertEqual(self.ids("prod_app"), kept)
        self.drover("deploy", "-p", "staging")
        self.assertEqual(self.image("staging_app"), f"app:1@{second}")
        self.assertIn(f'"app:1@{first}" -> "app:1@{second}"', self.drover("diff", "-p", "prod", "--from", "staging", check=False).out)
        self.assertIn("1 task is made anew", self.drover("plan", "-p", "prod", "--from", "staging").out)
        self.drover("deploy", "-p", "prod", "--from", "staging")
        self.assertEqual(self.image("prod_app"), f"app:1@{second}")

        self.assert_clean_refusal(self.drover("deploy", "-p", "prod", "--from", "nowhere", check=False), "stack nowhere has no service app")
        self.assert_clean_refusal(self.drover("deploy", "-p", "prod", "--resolve-image", "often", check=False), "always, changed or never")
        self.write("compose.yaml", self.FILE.replace("app:1", "busybox"))
        told = self.drover("deploy", "-p", "local")  # no registry has it
        self.assertEqual((self.image("local_app"), told.err.count("each node runs what it has")), ("busybox:latest", 1))
        self.assert_clean_refusal(self.drover("deploy", "-p", "prod", "--from", "local", check=False), "busybox:latest, which has no digest")


if __name__ == "__main__":
    unittest.main()
