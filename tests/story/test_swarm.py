"""Swarm mode on one machine, through the docker CLI: services, their rollouts, secrets, and what outlives what."""
import base64
import contextlib
import datetime
import json
import os
import time
import unittest

from harness import Story, free_port, http_get, wait_for

STAYS = ["sh", "-c", "trap 'exit 0' TERM; echo began; while :; do sleep 0.05; done"]


class SwarmStory(Story):
    shared = False

    @classmethod
    def make(cls):
        d = super().make()
        try:
            d.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        except BaseException:
            d.remove()
            raise
        return d

    def service(self, *args, command=STAYS, image="busybox"):
        return self.d.docker("service", "create", "--detach", "--no-resolve-image", *args, image, *command).out.strip()

    def tasks(self, name, **filters):
        query = json.dumps({"service": [name], **{k.replace("_", "-"): [v] for k, v in filters.items()}})
        found = json.loads(self.d.api("GET", f"/v1.41/tasks?filters={query.replace(' ', '%20')}")[2])
        self.assertIsInstance(found, list, found)
        return found

    def wait_for_states(self, name, wanted):
        try:
            wait_for(lambda: self.states(name) == wanted, f"{name} to be {wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{json.dumps([t['Status'] for t in self.tasks(name)], indent=1)}") from None

    def states(self, name, **filters):
        return sorted(t["Status"]["State"] for t in self.tasks(name, **filters))

    def runs(self, name, count):
        wait_for(lambda: self.states(name, desired_state="running") == ["running"] * count, f"{count} running tasks of {name}")
        return self.tasks(name, desired_state="running")

    def update(self, name, *args):
        return self.d.docker("service", "update", "--detach", "--no-resolve-image", *args, name)

    def rollout(self, name):
        return json.loads(self.d.api("GET", f"/services/{name}")[2]).get("UpdateStatus", {})


class Swarm(SwarmStory):
    def test_a_machine_becomes_a_swarm_and_is_one_no_more(self):
        info = json.loads(self.d.docker("info", "--format", "{{json .Swarm}}").out)
        self.assertEqual((info["LocalNodeState"], info["ControlAvailable"], info["Nodes"]), ("active", True, 1))
        self.assert_clean_refusal(self.d.docker("swarm", "init", check=False), "already part of a swarm")
        token = self.d.docker("swarm", "join-token", "-q", "worker").out.strip()
        self.assertRegex(token, r"^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$")
        self.assertNotEqual(self.d.docker("swarm", "join-token", "-q", "--rotate", "worker").out.strip(), token)
        self.assertIn("BEGIN CERTIFICATE", self.d.docker("swarm", "ca").out)
        since = str(int(time.time()))
        self.service("--name", "one")
        self.runs("one", 1)
        told = self.d.docker("events", "--since", since, "--until", str(time.time()), "--filter", "scope=swarm", "--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}").out
        self.assertEqual(told.splitlines()[-1:], ["service create one"], told)
        self.assert_clean_refusal(self.d.docker("swarm", "leave", check=False), "--force")
        self.d.docker("swarm", "leave", "--force")
        self.assertEqual(self.d.docker("ps", "-aq").out, "")
        self.assertNotIn("ingress", self.d.docker("network", "ls").out)
        for command in (("node", "ls"), ("service", "ls"), ("secret", "ls"), ("stack", "ls")):
            self.assert_clean_refusal(self.d.docker(*command, check=False), "not a swarm manager")
        self.d.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        self.assertEqual(self.d.docker("service", "ls", "-q").out, "")

    def test_subnets_come_from_the_swarms_own_pools(self):
        self.d.docker("swarm", "leave", "--force")
        for pool, length, why in (("10.9.0.0/16", "8", "pool size"), ("fd00::/16", "24", "IPv4"), ("10.9.0.0/16", "30", "SubnetSize")):
            self.assert_clean_refusal(self.d.docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--default-addr-pool", pool,
                                                    "--default-addr-pool-mask-length", length, check=False), why)
        self.assert_clean_refusal(self.d.docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--default-addr-pool", "10.9.0.0/16",
                                                "--default-addr-pool", "10.9.128.0/17", check=False), "overlap")
        self.d.docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--default-addr-pool", "10.201.0.0/26", "--default-addr-pool",
                      "10.202.0.0/16", "--default-addr-pool-mask-length", "27")
        subnet = ("network", "inspect", "--format", "{{range .IPAM.Config}}{{.Subnet}}{{end}}")
        self.assertEqual(self.d.docker(*subnet, "ingress").out, "10.201.0.0/27\n")
        self.d.docker("network", "create", "-d", "overlay", "one")
        self.d.kill9()
        self.d.start()
        self.d.docker("network", "create", "-d", "overlay", "two")
        self.assertEqual(self.d.docker(*subnet, "one", "two").out, "10.201.0.32/27\n10.202.0.0/27\n")
        info = self.d.docker("info").out
        self.assertIn("Default Address Pool: 10.201.0.0/26  10.202.0.0/16", info)
        self.assertIn("SubnetSize: 27", info)

    def test_links_are_variables_as_fig_named_them(self):
        self.d.docker("network", "create", "-d", "overlay", "mesh")
        serves = ["sh", "-c", "mkdir /w; echo here > /w/index.html; exec httpd -f -p 80 -h /w"]
        self.service("--name", "my_db", "--network", "mesh", "--label", "com.docker.stack.namespace=my", command=serves)
        self.service("--name", "shown", "--network", "mesh", "--publish", "8099:9000", "--publish", "8098:9001/udp")
        self.service("--name", "apart")
        links = ("--network", "mesh", "--label", "com.docker.stack.namespace=my", "--label")
        for link, words in (("nobody:1", "no such service"), ("db", "publishes no port"), ("apart:1", "no network in common"), ("db:0", "from 1 to 65535"),
                            ("db:80/ipx", "from 1 to 65535"), ("x=:80", "[NAME=]SERVICE"), (" ".join(["db:80"] * 65), "more than 64")):
            refused = self.d.docker("service", "create", "--detach", "--no-resolve-image", "--name", "bad", *links, f"sh.drover.links={link}", "busybox", check=False)
            self.assert_clean_refusal(refused, words)
        self.service("--name", "web", *links, "sh.drover.links=db:80, db:81 the-queue=shown", "--env", "DB_1_PORT_81_TCP_ADDR=mine")
        container = self.runs("web", 1)[0]["Status"]["ContainerStatus"]["ContainerID"]
        found = dict(line.split("=", 1) for line in self.d.inspect(container)["Config"]["Env"])
        address = next(a["Addr"] for a in json.loads(self.d.api("GET", "/services/my_db")[2])["Endpoint"]["VirtualIPs"]).split("/")[0]
        wanted = {}
        for name in ("DB", "DB_1"):
            wanted |= {f"{name}_PORT": f"tcp://{address}:80"}
            for port in ("80", "81"):
                wanted |= {f"{name}_PORT_{port}_TCP": f"tcp://{address}:{port}", f"{name}_PORT_{port}_TCP_ADDR": address,
                           f"{name}_PORT_{port}_TCP_PORT": port, f"{name}_PORT_{port}_TCP_PROTO": "tcp"}
        wanted["DB_1_PORT_81_TCP_ADDR"] = "mine"  # what the service says itself
        self.assertEqual({k: v for k, v in found.items() if k.startswith("DB_")}, wanted)
        self.assertEqual((found["THE_QUEUE_PORT_9000_TCP_PROTO"], found["THE_QUEUE_1_PORT_9001_UDP_PORT"]), ("tcp", "9001"))
        fetch = ["exec", container, "sh", "-c", "wget -qO- http://$DB_PORT_80_TCP_ADDR:$DB_PORT_80_TCP_PORT/"]
        wait_for(lambda: self.d.docker(*fetch, check=False).out == "here\n", "the address to lead there")

    def test_an_update_that_gets_nowhere_goes_back_to_what_was_stable(self):
        health = ["--health-cmd", "test ! -e /tmp/ill", "--health-interval", "100ms", "--health-retries", "1000"]
        self.service("--name", "web", "--replicas", "2", *health, "--update-monitor", "100ms", "--rollback-monitor", "100ms", "--update-failure-action", "rollback",
                     "--label", "sh.drover.progress-deadline=2s")
        self.runs("web", 2)
        # It starts, and is not healthy in all the time it is given: neither a failure nor a success.
        self.update("web", "--args", "sh -c 'touch /tmp/ill; trap exit TERM; while :; do sleep 0.05; done'")
        wait_for(lambda: self.rollout("web").get("State") == "rollback_completed", "the way back")
        ended = [t for t in self.tasks("web") if "touch" in str(t["Spec"]["ContainerSpec"].get("Args"))]
        self.assertEqual([t["Status"]["State"] for t in ended], ["shutdown"])  # the second was not begun
        self.runs("web", 2)
        self.assertIn("STABLE", self.d.drover("history", "web").out)
        self.update("web", "--update-failure-action", "pause", "--args", "sh -c 'touch /tmp/ill; trap exit TERM; while :; do sleep 0.05; done'")
        wait_for(lambda: self.rollout("web").get("State") == "paused", "the pause")
        self.assertRegex(self.rollout("web")["Message"], r"update paused due to no progress within 2s: task \w{25} is starting")

    def test_a_service_is_scaled_updated_and_rolled_back(self):
        self.service("--name", "web", "--replicas", "2", "--env", "V=1", "--label", "tier=front")
        first = {t["ID"] for t in self.runs("web", 2)}
        self.d.docker("service", "scale", "--detach", "web=4")
        self.assertTrue(first < {t["ID"] for t in self.runs("web", 4)})
        self.d.docker("service", "scale", "--detach", "web=2")
        self.assertEqual({t["Slot"] for t in self.runs("web", 2)}, {1, 2})
        row = self.d.docker("service", "ls", "--filter", "label=tier", "--format", "{{.Name}} {{.Mode}} {{.Replicas}}").out
        self.assertEqual(row, "web replicated 2/2\n")
        self.update("web", "--env-add", "V=2", "--update-monitor", "100ms", "--update-parallelism", "2")
        wait_for(lambda: self.rollout("web").get("State") == "completed", "the update")
        for task in self.runs("web", 2):
            self.assertIn("V=2", self.d.inspect(task["Status"]["ContainerStatus"]["ContainerID"])["Config"]["Env"])
        self.d.docker("service", "rollback", "--detach", "web")
        wait_for(lambda: self.rollout("web").get("State") == "rollback_completed", "the way back")
        for task in self.runs("web", 2):
            self.assertIn("V=1", self.d.inspect(task["Status"]["ContainerStatus"]["ContainerID"])["Config"]["Env"])
        self.assertEqual(self.d.api("POST", "/services/web/update?version=1", {"Name": "web"})[0], 500)  # out of sequence
        self.d.docker("service", "rm", "web")
        wait_for(lambda: not self.d.docker("ps", "-aq").out, "its containers to go")

    def test_an_update_that_fails_goes_back_or_pauses_as_it_is_told(self):
        self.service("--name", "a", "--replicas", "2", "--update-failure-action", "rollback", "--update-monitor", "100ms", "--rollback-monitor", "100ms")
        self.service("--name", "b", "--replicas", "2", "--update-monitor", "100ms")
        kept = {t["ID"] for t in self.runs("a", 2)}
        self.runs("b", 2)
        for name in ("a", "b"):
            self.update(name, "--image", "localhost:1/there-is-none", "--restart-condition", "none")
        wait_for(lambda: self.rollout("a").get("State") == "rollback_completed", "a to be as it was")
        wait_for(lambda: self.rollout("b").get("State") == "paused", "b to pause")
        self.assertEqual(len({t["ID"] for t in self.runs("a", 2)} & kept), 1)
        self.assertIn("due to failure", self.rollout("b")["Message"])
        self.runs("b", 1)
        self.assertIn("rejected", self.states("b"))

    def test_start_first_has_the_new_one_before_the_old_one_goes(self):
        self.service("--name", "web", "--update-order", "start-first", "--update-monitor", "100ms", "--health-cmd", "test -f /tmp/fine",
                     "--health-interval", "100ms", "--health-retries", "1000")
        def heal():
            for task in self.tasks("web"):
                if task["Status"]["State"] == "starting" and task["Status"].get("ContainerStatus", {}).get("ContainerID"):
                    self.d.docker("exec", task["Status"]["ContainerStatus"]["ContainerID"], "touch", "/tmp/fine", check=False)
        wait_for(lambda: heal() or self.states("web") == ["running"], "the first to be healthy")
        old = self.tasks("web")[0]["ID"]
        self.update("web", "--env-add", "V=2")
        wait_for(lambda: self.states("web") == ["running", "starting"], "both to be there")
        time.sleep(0.5)
        self.assertIn((old, "running"), [(t["ID"], t["Status"]["State"]) for t in self.tasks("web")])
        wait_for(lambda: heal() or self.states("web") == ["running", "shutdown"], "the old one to go")

    def test_what_ends_is_replaced_as_the_policy_says(self):
        self.service("--name", "any", "--restart-delay", "100ms")
        self.service("--name", "never", "--restart-condition", "none", command=["sh", "-c", "exit 3"])
        self.service("--name", "thrice", "--restart-delay", "10ms", "--restart-max-attempts", "2", command=["false"])
        self.service("--name", "well", "--restart-condition", "on-failure", "--restart-delay", "10ms", command=["true"])
        first = self.runs("any", 1)[0]
        self.d.docker("kill", first["Status"]["ContainerStatus"]["ContainerID"])
        self.wait_for_states("any", ["failed", "running"])
        self.assertNotEqual(self.runs("any", 1)[0]["ID"], first["ID"])
        self.wait_for_states("never", ["failed"])
        self.assertEqual(self.tasks("never")[0]["Status"]["Err"], "task: non-zero exit (3)")
        self.assertEqual(self.tasks("never")[0]["Status"]["ContainerStatus"]["ExitCode"], 3)
        self.wait_for_states("thrice", ["failed"] * 3)
        self.wait_for_states("well", ["complete"])
        gone = self.runs("any", 1)[0]
        self.d.docker("rm", "-f", gone["Status"]["ContainerStatus"]["ContainerID"])
        wait_for(lambda: [t["Status"]["State"] for t in self.tasks("any", desired_state="running") if t["ID"] != gone["ID"]] == ["running"], "another")
        time.sleep(0.5)
        self.assertEqual((self.states("never"), self.states("thrice"), self.states("well")), (["failed"], ["failed"] * 3, ["complete"]))

    def test_what_fails_again_and_again_is_tried_at_growing_intervals(self):
        self.service("--name", "bad", "--restart-delay", "100ms", command=["false"])
        waits = lambda: [t["Status"]["Err"] for t in self.tasks("bad") if "failed in a row: this one starts in" in t["Status"].get("Err", "")]
        wait_for(lambda: any(int(e.split()[0]) >= 6 for e in waits()), "six to have failed and the next to wait")
        self.assertRegex(self.d.docker("service", "ps", "--no-trunc", "bad").out, r"failed in a row: this one starts in \d+s")
        time_of = lambda t: datetime.datetime.fromisoformat(t["Status"]["Timestamp"][:26].rstrip("Z").ljust(26, "0") if "." in t["Status"]["Timestamp"] else t["Status"]["Timestamp"].rstrip("Z"))
        ends = sorted(time_of(t).timestamp() for t in self.tasks("bad") if t["Status"]["State"] == "failed")
        gaps = [b - a for a, b in zip(ends, ends[1:])]
        self.assertGreaterEqual(len(gaps), 3, ends)
        for failures, gap in enumerate(reversed(gaps)):
            self.assertGreaterEqual(gap, 1.6 / 2 ** failures, gaps)
        self.update("bad", "--args", "sleep 1000")
        self.runs("bad", 1)
        self.assertEqual(waits(), [])

    def test_a_task_whose_health_check_fails_is_replaced(self):
        self.service("--name", "web", "--restart-delay", "50ms", "--health-cmd", "test ! -f /tmp/ill", "--health-interval", "100ms", "--health-retries", "1", "--stop-grace-period", "1s")
        ill = self.runs("web", 1)[0]
        self.d.docker("exec", ill["Status"]["ContainerStatus"]["ContainerID"], "touch", "/tmp/ill")
        wait_for(lambda: self.states("web") == ["failed", "running"], "another one to run")
        self.assertIn("unhealthy", [t["Status"]["Err"] for t in self.tasks("web") if t["ID"] == ill["ID"]][0])
        wait_for(lambda: not self.d.inspect(ill["Status"]["ContainerStatus"]["ContainerID"])["State"]["Running"], "the ill one to be stopped")

    def test_global_services_and_jobs(self):
        self.service("--name", "each", "--mode", "global")
        self.assertNotIn("Slot", self.runs("each", 1)[0])
        self.service("--name", "work", "--mode", "replicated-job", "--max-concurrent", "2", "--replicas", "5", command=["true"])
        wait_for(lambda: self.states("work") == ["complete"] * 5, "five runs")
        self.service("--name", "once", "--mode", "global-job", command=["true"])
        wait_for(lambda: self.states("once") == ["complete"], "one run")
        rows = self.d.docker("service", "ls", "--format", "{{.Name}} {{.Replicas}}").out.splitlines()
        self.assertIn("work 0/2 (5/5 completed)", rows)
        self.update("once", "--force")
        wait_for(lambda: len({t["ID"] for t in self.tasks("once")}) == 1 and self.tasks("once")[0]["JobIteration"]["Index"] == 1 and self.states("once") == ["complete"], "it to run anew")

    def test_secrets_and_configs_are_files_in_memory_and_shown_to_nobody_else(self):
        self.d.docker("secret", "create", "--label", "a=b", "key", "-", stdin=b"sesame-open\n")
        self.d.docker("config", "create", "--template-driver", "golang", "page", "-", stdin=b"I am {{.Service.Name}}.{{.Task.Slot}}")
        self.service("--name", "web", "--secret", "source=key,target=k,uid=7,gid=8,mode=0400", "--config", "source=page,target=/etc/page")
        inside = self.runs("web", 1)[0]["Status"]["ContainerStatus"]["ContainerID"]
        told = self.d.docker("exec", inside, "sh", "-c", "cat /run/secrets/k /etc/page; stat -c ' %u:%g %a' /run/secrets/k; grep -c '^tmpfs /run/secrets/k tmpfs ro' /proc/mounts").out
        self.assertEqual(told, "sesame-open\nI am web.1 7:8 400\n1\n")
        self.assertNotIn("Data", json.dumps(json.loads(self.d.docker("secret", "inspect", "key").out)))
        self.assertEqual(base64.b64decode(json.loads(self.d.docker("config", "inspect", "page").out)[0]["Spec"]["Data"]), b"I am {{.Service.Name}}.{{.Task.Slot}}")
        for folder, _, files in os.walk(self.d.data):
            for name in files:
                path = os.path.join(folder, name)
                if name.startswith("cluster.db"):
                    with open(path, "rb") as f:
                        self.assertNotIn(b"c2VzYW1l", f.read())  # its beginning in base64
        self.assert_clean_refusal(self.d.docker("secret", "rm", "key", check=False), "in use by the following service: web")
        self.assert_clean_refusal(self.d.docker("secret", "create", "key", "-", stdin=b"x", check=False), "already exists")
        self.assert_clean_refusal(self.d.docker("secret", "create", "big", "-", stdin=b"x" * 512000, check=False), "less than 512000 bytes")
        self.d.docker("service", "rm", "web")
        self.d.docker("secret", "rm", "key")
        self.d.docker("config", "rm", "page")
        wait_for(lambda: not self.d.docker("ps", "-aq").out, "its container to go")
        wait_for(lambda: os.listdir(os.path.join(self.d.data, "memory")) == [], "the files to go")

    def test_a_templated_file_shows_the_tasks_other_files_and_environment(self):
        self.d.docker("secret", "create", "inner-key", "-", stdin=b"a {{.Secret}}")
        self.d.docker("config", "create", "inner-page", "-", stdin=b"a page")
        text = '{{.Service.Name}} {{secret "k"}} {{config "/etc/p"}} {{env "WHO"}}[{{ env "NONE" }}]'
        for kind in ("secret", "config"):
            self.d.docker(kind, "create", "--template-driver", "golang", f"outer-{kind}", "-", stdin=text.encode())
        self.service("--name", "shown", "--env", "WHO=me", "--secret", "source=inner-key,target=k", "--config", "source=inner-page,target=/etc/p",
                     "--secret", "source=outer-secret,target=t", "--config", "source=outer-config,target=/etc/t")
        inside = self.runs("shown", 1)[0]["Status"]["ContainerStatus"]["ContainerID"]
        self.assertEqual(self.d.docker("exec", inside, "sh", "-c", "cat /run/secrets/t /etc/t").out, "shown a {{.Secret}} a page me[]" * 2)
        self.d.docker("service", "rm", "shown")
        # Only what the service was given, and in files alone.
        self.d.docker("config", "create", "--template-driver", "golang", "curious", "-", stdin=b'{{secret "k"}}')
        for name, options in (("thief", ("--config", "source=curious,target=/c")), ("talker", ("--secret", "source=inner-key,target=k", "--env", 'X={{secret "k"}}'))):
            self.service("--name", name, *options)
            told = '{{secret "k"}} is not a placeholder'
            wait_for(lambda: told in self.d.docker("service", "ps", "--no-trunc", "--format", "{{.Error}}", name).out, f"the reason of {name}")
            self.d.docker("service", "rm", name)
        for kind, names in (("secret", ("inner-key", "outer-secret")), ("config", ("inner-page", "outer-config", "curious"))):
            self.d.docker(kind, "rm", *names)
        wait_for(lambda: not self.d.docker("ps", "-aq").out, "its container to go")

    def test_counts_that_a_service_was_not_given_are_shown(self):
        def shown(mode):
            status, _, made = self.d.api("POST", "/services/create", {"Name": "counted", "Mode": mode, "TaskTemplate": {
                "ContainerSpec": {"Image": "busybox", "Args": ["true"]}, "RestartPolicy": {"Condition": "none"}}})
            self.assertEqual(status, 201, made)
            told = json.loads(self.d.api("GET", "/services/counted")[2])["Spec"]["Mode"]
            self.d.docker("service", "rm", "counted")
            return told
        self.assertEqual(shown({"ReplicatedJob": {}}), {"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}})
        self.assertEqual(shown({"ReplicatedJob": {"MaxConcurrent": 3}}), {"ReplicatedJob": {"MaxConcurrent": 3, "TotalCompletions": 3}})
        self.assertEqual(shown({"Replicated": {}}), {"Replicated": {"Replicas": 1}})

    def test_what_cannot_be_placed_says_why_and_runs_when_it_can(self):
        node = self.d.docker("node", "ls", "-q").out.strip()
        self.service("--name", "picky", "--constraint", "node.labels.disk==ssd")
        self.service("--name", "huge", "--reserve-cpu", "4000")
        wait_for(lambda: "constraints not satisfied on 1 node" in self.tasks("picky")[0]["Status"].get("Err", ""), "the reason")
        wait_for(lambda: "insufficient resources on 1 node" in self.tasks("huge")[0]["Status"].get("Err", ""), "the reason")
        self.d.docker("node", "update", "--label-add", "disk=ssd", node)
        self.runs("picky", 1)
        self.d.docker("node", "update", "--availability", "drain", node)
        wait_for(lambda: self.states("picky", desired_state="running") == ["pending"], "it to have no place")
        self.assertIn("not available for new tasks", self.tasks("picky", desired_state="running")[0]["Status"]["Err"])
        self.d.docker("node", "update", "--availability", "active", node)
        self.runs("picky", 1)
        self.assert_clean_refusal(self.d.docker("node", "rm", "--force", node, check=False), "must be demoted")
        self.assert_clean_refusal(self.d.docker("node", "demote", node, check=False), "last manager")

    def test_tasks_outlive_a_killed_server_and_what_ended_meanwhile_is_replaced(self):
        self.service("--name", "web", "--replicas", "3", "--restart-delay", "50ms")
        before = {t["ID"]: t["Status"]["ContainerStatus"] for t in self.runs("web", 3)}
        self.d.kill9()
        victim = sorted(before)[0]
        os.kill(before[victim]["PID"], 9)
        self.d.start()
        wait_for(lambda: self.states("web") == ["failed", "running", "running", "running"], "a replacement")
        after = {t["ID"]: t["Status"]["ContainerStatus"] for t in self.tasks("web")}
        self.assertEqual({i: after[i]["ContainerID"] for i in before}, {i: before[i]["ContainerID"] for i in before})
        self.assertEqual(after[victim]["ExitCode"], 137)
        self.d.machine_dies()
        self.d.start()
        self.runs("web", 3)

    def test_a_task_that_is_slow_to_end_does_not_hold_the_server_back(self):
        self.service("--name", "slow", "--stop-grace-period", "1h", command=["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"])
        inside = self.runs("slow", 1)[0]["Status"]["ContainerStatus"]
        self.d.docker("service", "scale", "--detach", "slow=0")
        wait_for(lambda: self.states("slow", desired_state="remove") == ["running"], "its end to be asked for")
        self.d.stop()
        os.kill(inside["PID"], 0)
        self.d.start()
        os.kill(inside["PID"], 9)
        wait_for(lambda: not self.d.docker("ps", "-aq").out, "it to go")

    def test_logs_of_a_service_come_from_all_its_tasks(self):
        self.service("--name", "web", "--replicas", "2", command=["sh", "-c", "echo I am $HOSTNAME; echo oops >&2; sleep 1000"])
        found = self.runs("web", 2)
        wait_for(lambda: self.d.docker("service", "logs", "web").out.count("I am") == 2, "both lines")
        names = {t["Status"]["ContainerStatus"]["ContainerID"][:12] for t in found}
        shown = self.d.docker("service", "logs", "--raw", "web")
        self.assertEqual({line.split()[-1] for line in shown.out.splitlines()}, names)
        self.assertEqual(shown.err.count("oops"), 2)
        one = self.d.docker("service", "logs", "--raw", found[0]["ID"]).out
        self.assertEqual(one.count("I am"), 1)

    def test_what_a_service_asks_of_its_containers_reaches_them(self):
        self.service("--name", "web", "--hostname", "{{.Service.Name}}-{{.Task.Slot}}", "--env", "NODE={{.Node.Hostname}}", "--limit-memory", "64m", "--limit-pids", "50",
                     "--mount", "type=tmpfs,target=/scratch", "--user", "7", "--workdir", "/tmp", "--read-only", "--cap-drop", "ALL", "--stop-grace-period", "3s",
                     "--container-label", "c=d", "--host", "elsewhere:10.9.8.7", "--dns", "10.1.1.1", "--init", "--ulimit", "nofile=99:100")
        made = self.d.inspect(self.runs("web", 1)[0]["Status"]["ContainerStatus"]["ContainerID"])
        config, host = made["Config"], made["HostConfig"]
        self.assertEqual((config["Hostname"], config["User"], config["WorkingDir"], config["StopTimeout"], config["Labels"]["c"]), ("web-1", "7", "/tmp", 3, "d"))
        self.assertTrue([e for e in config["Env"] if e.startswith("NODE=") and len(e) > 5 and "{{" not in e])
        self.assertEqual((host["Memory"], host["PidsLimit"], host["ReadonlyRootfs"], host["CapDrop"], host["Init"]), (64 << 20, 50, True, ["ALL"], True))
        self.assertEqual((host["ExtraHosts"], host["Dns"]), (["elsewhere:10.9.8.7"], ["10.1.1.1"]))
        self.assertEqual(config["Labels"]["com.docker.swarm.service.name"], "web")
        self.assertRegex(made["Name"], r"^/web\.1\.[0-9a-z]{25}$")

    def test_names_addresses_and_ports_lead_to_tasks_that_run(self):
        self.d.docker("network", "create", "-d", "overlay", "--attachable", "inside")
        listing = self.d.docker("network", "ls", "--filter", "scope=swarm", "--format", "{{.Name}} {{.Driver}} {{.Scope}}").out.splitlines()
        self.assertEqual(sorted(listing), ["ingress overlay swarm", "inside overlay swarm"])
        port = free_port()
        serves = ["sh", "-c", "mkdir /w; hostname > /w/index.html; exec httpd -f -p 80 -h /w"]
        self.service("--name", "web", "--replicas", "3", "--network", "name=inside,alias=www", "--publish", f"{port}:80", "--stop-signal", "KILL", command=serves)
        self.service("--name", "each", "--endpoint-mode", "dnsrr", "--replicas", "2", "--network", "inside")
        tasks = self.runs("web", 3)
        self.runs("each", 2)
        names = {t["Status"]["ContainerStatus"]["ContainerID"][:12] for t in tasks}
        found = set()
        def pages():
            with contextlib.suppress(OSError):
                found.add(http_get(f"http://127.0.0.1:{port}/")[1].strip())
            return found == names
        wait_for(pages, f"all of {names} to answer")
        virtual = json.loads(self.d.api("GET", "/services/web")[2])["Endpoint"]["VirtualIPs"]
        address = [v["Addr"].split("/")[0] for v in virtual if v["NetworkID"] == json.loads(self.d.docker("network", "inspect", "inside").out)[0]["Id"]][0]
        ask = ["run", "--rm", "--network", "inside", "busybox", "sh", "-c"]
        told = self.d.docker(*ask, "for n in web www; do nslookup $n | grep ^Addr | tail -n +1; done; for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://web/; done; nslookup tasks.web | grep -c ^Addr; nslookup each | grep -c ^Addr").out
        self.assertEqual(told.count(f" {address}\n"), 2, told)
        self.assertEqual(set(told.splitlines()) & names, names, told)
        self.assertIn("\n4\n3\n", told)  # and the server's own address
        self.d.docker("service", "update", "--detach", "--no-resolve-image", "--restart-delay", "1h", "--update-monitor", "100ms", "web")
        wait_for(lambda: self.rollout("web").get("State") == "completed" and self.states("web", desired_state="running") == ["running"] * 3, "the update")
        tasks = self.runs("web", 3)
        self.d.docker("kill", tasks[0]["Status"]["ContainerStatus"]["ContainerID"])
        wait_for(lambda: "failed" in self.states("web"), "its end")
        for _ in range(12):
            self.assertEqual(http_get(f"http://127.0.0.1:{port}/")[0], 200)
        self.assert_clean_refusal(self.d.docker("service", "create", "--detach", "--no-resolve-image", "--publish", f"{port}:80", "busybox", check=False), "already in use by service 'web'")
        self.d.kill9()
        self.assertEqual(http_get(f"http://127.0.0.1:{port}/")[0], 200)
        self.d.start()
        self.d.docker("service", "rm", "web", "each")
        wait_for(lambda: not self.d.docker("ps", "-aq").out, "the containers to go")
        self.assertRaises(OSError, http_get, f"http://127.0.0.1:{port}/")
        self.d.docker("network", "rm", "inside")

    def test_a_stack_is_deployed_changed_and_removed(self):
        folder = os.path.join(self.d.root, "stack")
        os.makedirs(folder)
        with open(os.path.join(folder, "token"), "w") as f:
            f.write("open sesame")
        compose = """
version: "3.8"
services:
  web:
    image: busybox
    command: ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
    secrets: [token]
    networks: {back: {aliases: [front]}}
    deploy: {replicas: REPLICAS, labels: {a: b}, update_config: {monitor: 100ms}}
networks: {back: {}}
secrets: {token: {file: ./token}}
"""
        path = os.path.join(folder, "stack.yml")
        for replicas in (2, 1):
            with open(path, "w") as f:
                f.write(compose.replace("REPLICAS", str(replicas)))
            self.d.docker("stack", "deploy", "--resolve-image", "never", "-c", path, "shop", cwd=folder)
            found = self.runs("shop_web", replicas)
        self.assertEqual(self.d.docker("exec", found[0]["Status"]["ContainerStatus"]["ContainerID"], "cat", "/run/secrets/token").out, "open sesame")
        self.assertEqual(self.d.docker("stack", "ls", "--format", "{{.Name}} {{.Services}}").out, "shop 1\n")
        self.assertIn("shop_web.1", self.d.docker("stack", "ps", "shop").out)
        self.d.docker("stack", "rm", "shop")
        wait_for(lambda: not self.d.docker("ps", "-aq").out, "the containers to go")
        self.assertEqual((self.d.docker("secret", "ls", "-q").out, self.d.docker("service", "ls", "-q").out), ("", ""))
        self.assertNotIn("shop_back", self.d.docker("network", "ls").out)

    def test_bad_specs_are_refused_in_dockers_words(self):
        good = {"Name": "x", "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}}}
        cases = (({"Name": "a b"}, 400, "valid as a DNS name"), ({"Name": "a" * 64}, 400, "63 characters"),
                 ({"TaskTemplate": None}, 400, "mismatched Runtime"), ({"TaskTemplate": {"ContainerSpec": {}}}, 400, "image reference must be provided"),
                 ({"TaskTemplate": {"ContainerSpec": {"Image": "BAD IMAGE"}}}, 400, "not a valid repository/tag"),
                 ({"Mode": {"Replicated": {}, "Global": {}}}, 400, "only one service mode"), ({"Mode": {"Replicated": {"Replicas": -1}}}, 400, "negative"), ({"Mode": {"Replicated": {"Replicas": 10 ** 9}}}, 400, "more than 10000"),
                 ({"Mode": 7}, 400, "Mode"), ({"UpdateConfig": {"MaxFailureRatio": 2}}, 400, "maxfailureratio"), ({"UpdateConfig": {"FailureAction": "explode"}}, 400, "explode"),
                 ({"EndpointSpec": {"Ports": [{"TargetPort": 80, "PublishedPort": 70000}]}}, 400, "65535"),
                 ({"EndpointSpec": {"Mode": "dnsrr", "Ports": [{"TargetPort": 80, "PublishedPort": 8080}]}}, 400, "dnsrr"),
                 ({"TaskTemplate": {"ContainerSpec": {"Image": "busybox", "Secrets": [{"SecretID": "nope", "SecretName": "nope"}]}}}, 400, "secret not found"),
                 ({"TaskTemplate": {"ContainerSpec": {"Image": "busybox"}, "Placement": {"Constraints": ["nonsense"]}}}, 400, "nonsense"),
                 ({"TaskTemplate": {"ContainerSpec": {"Image": "busybox"}, "Resources": {"Limits": {"MemoryBytes": 1}}}}, 400, "at least 4MiB"),
                 ({"TaskTemplate": {"ContainerSpec": {"Image": "busybox"}, "Networks": [{"Target": "nowhere"}]}}, 404, "nowhere not found"))
        for change, status, words in cases:
            answer = self.d.api("POST", "/services/create", {**good, **change})
            self.assertEqual((answer[0], words in json.loads(answer[2]).get("message", "")), (status, True), (change, answer))
        self.assertEqual(self.d.docker("service", "ls", "-q").out, "")
        for path in ("services", "tasks", "nodes", "secrets", "configs"):
            self.assertEqual(self.d.api("GET", f"/{path}/nowhere")[0], 404)
            self.assertEqual(self.d.api("GET", f"/{path}?filters=%7B%22x%22:%5B%22y%22%5D%7D")[0], 400)
        self.assertEqual(self.d.api("GET", '/tasks?filters={"service":["nowhere"]}'.replace('"', "%22"))[0], 404)
        self.assertEqual(self.d.api("POST", "/services/nowhere/update?version=x", good)[0], 400)


if __name__ == "__main__":
    unittest.main()
