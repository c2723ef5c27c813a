"""Services on several machines: what the scheduler does with them while they run, and how they are rolled over and moved."""
import json
import os
import threading
import unittest

import harness
import machines

# Answers on port 80, after half a second; ends at once, with whatever it is at, when it is told to stop.
SLOW = ["sh", "-c", "trap 'exit 0' TERM; mkdir -p /tmp/w/cgi-bin; printf '#!/bin/sh\\nsleep 0.5\\necho; echo $V\\n' >/tmp/w/cgi-bin/slow; "
        "chmod +x /tmp/w/cgi-bin/slow; httpd -p 80 -h /tmp/w; while :; do sleep 0.05; done"]
HEALTHY = ["--health-cmd", "wget -qO /dev/null http://127.0.0.1/cgi-bin/slow", "--health-interval", "300ms", "--health-retries", "30"]


class Services(unittest.TestCase):
    assert_clean_refusal = harness.Story.assert_clean_refusal

    def runs(self, machine, name, wanted):
        harness.wait_for(lambda: machine.running(name) == wanted, f"{name} on {wanted}")

    def errors(self, machine, name):
        return machine.docker("service", "ps", "--no-trunc", "--format", "{{.Name}} {{.Node}} {{.CurrentState}} {{.Error}}", name).out

    def explain(self, machine, ref):
        return json.loads(machine.drover("explain", "--json", ref).out)

    # --- moves

    def test_tasks_move_to_a_machine_that_joins_and_no_service_is_short_meanwhile(self):
        swarm = machines.Swarm(self, "ab", join=False, heartbeat="500ms")
        a, b = swarm.machines
        self.assertEqual(a.drover("rebalance").out, "on: at most 2 at once\n")
        a.service("--name", "first", "--replicas", "4", "--update-order", "start-first", "--update-monitor", "300ms")
        a.service("--name", "spare", "--replicas", "4", "--update-monitor", "300ms")
        a.service("--name", "only", "--update-monitor", "300ms")  # one, and the old goes first: it has none to spare
        a.service("--name", "told", "--replicas", "2", "--label", "sh.drover.rebalance=off", "--update-monitor", "300ms")
        a.service("--name", "data", "--replicas", "2", "--mount", "type=volume,source=kept,target=/kept", "--update-monitor", "300ms")
        for name, count in (("first", 4), ("spare", 4), ("only", 1), ("told", 2), ("data", 2)):
            self.runs(a, name, {"a": count})
        least, done = {"first": 4, "spare": 4}, threading.Event()

        def watch():
            while not done.is_set():
                for name in least:
                    least[name] = min(least[name], sum(a.running(name).values()))
        watcher = threading.Thread(target=watch)
        watcher.start()
        self.addCleanup(done.set)
        b.join(a, "--advertise-addr", b.host.address)
        harness.wait_for(lambda: sum(a.running(n).get("b", 0) for n in least) >= 6 or a.running("first").get("b") == a.running("spare").get("b") == 2,
                         "half of what may move on the new machine")
        harness.wait_for(lambda: all(sum(a.running(n).values()) == 4 for n in least), "all to run")
        done.set()
        watcher.join()
        self.assertEqual((least["first"], least["spare"] >= 3), (4, True), least)
        self.assertEqual([a.running(n) for n in ("only", "told", "data")], [{"a": 1}, {"a": 2}, {"a": 2}])
        self.assertIn("moved: node b has room for it", self.errors(a, "first") + self.errors(a, "spare"))
        before = {t["ID"] for n in least for t in a.tasks(n)}  # it has come to an end
        a.drover("rebalance", "5")
        harness.wait_for(lambda: a.drover("rebalance").out == "on: at most 5 at once\n", "the setting")
        a.service("--name", "after", "--replicas", "2")
        harness.wait_for(lambda: sum(a.running("after").values()) == 2, "more work")
        self.assertEqual({t["ID"] for n in least for t in a.tasks(n)}, before)

    def test_nothing_moves_when_that_is_off(self):
        swarm = machines.Swarm(self, "ab", join=False, heartbeat="300ms")
        a, b = swarm.machines
        a.drover("rebalance", "off")
        a.service("--name", "web", "--replicas", "4", "--update-monitor", "100ms")
        self.runs(a, "web", {"a": 4})
        b.join(a, "--advertise-addr", b.host.address)
        swarm.wait_for_nodes(2)
        a.service("--name", "each", "--mode", "global")
        self.runs(a, "each", {"a": 1, "b": 1})
        a.docker("service", "update", "--label-add", "x=y", "web")
        self.assertEqual(a.running("web"), {"a": 4})
        a.drover("rebalance", "1")  # and then it does
        self.runs(a, "web", {"a": 2, "b": 2})
        for word in ("0", "101", "much"):
            self.assertEqual(a.drover("rebalance", word, check=False).status, 2)
        self.assertIn(b"from 0 (off) to 100", a.api("POST", "/drover/rebalance", {"Budget": 1000})[2])

    # --- a machine that is gone

    def test_a_volume_has_no_second_writer_while_its_machine_may_still_write(self):
        swarm = machines.Swarm(self, "abc", heartbeat="500ms")
        a, b, _ = swarm.machines
        a.drover("rebalance", "off")
        there = ("--constraint", "node.role==worker", "--constraint", "node.hostname==~b", "--mount", "type=volume,source=kept,target=/kept")
        a.service("--name", "writes", *there)
        a.service("--name", "moves", *there, "--label", "sh.drover.volumes=move")
        a.service("--name", "reads", *there[:-1], there[-1] + ",readonly")
        for name in ("writes", "moves", "reads"):
            self.runs(a, name, {"b": 1})
        task = a.tasks("writes")[0]["ID"]
        ran = a.tasks("writes")[0]["Status"]["ContainerStatus"]["ContainerID"]
        b.host.cut()
        harness.wait_for(lambda: a.nodes()["b"][0] == "down", "the node to be lost")
        for name in ("moves", "reads"):
            self.runs(a, name, {"c": 1})
        harness.wait_for(lambda: "may still write its volume" in self.errors(a, "writes"), "the reason")
        self.assertEqual([t["ID"] for t in a.tasks("writes")], [task])
        a.docker("service", "update", "--detach", "--env-add", "V=2", "writes")  # nor is it rolled over before the old one has ended
        harness.wait_for(lambda: len(a.tasks("writes")) == 1 and a.tasks("writes")[0]["ID"] != task, "its successor to be made")
        self.assertNotEqual(a.running("writes"), {"c": 1})
        self.assertIn(ran, b.containers())
        b.host.heal()
        harness.wait_for(lambda: a.nodes()["b"][0] == "ready" and sum(a.running("writes").values()) == 1, "the node to come back")
        self.assertNotIn(ran, b.containers())

        where = next(iter(a.running("writes")))  # given up by hand, it runs elsewhere
        lost = next(m for m in swarm.machines if m.name == where)
        lost.host.cut()
        harness.wait_for(lambda: a.nodes()[where][0] == "down", "the node to be lost again")
        a.docker("node", "rm", "--force", where)
        other = {"b": "c", "c": "b"}[where]
        self.runs(a, "writes", {other: 1})

    def test_machines_where_a_service_fails_are_left_out(self):
        swarm = machines.Swarm(self, "abc")
        a, b, _ = swarm.machines
        a.drover("rebalance", "off")
        # Ends with 1 on b, as if something were wrong there.
        ill = ["sh", "-c", "[ $NODE = b ] && exit 1; trap 'exit 0' TERM; while :; do sleep 0.05; done"]
        a.service("--name", "web", "--replicas", "3", "--restart-delay", "100ms", "--env", "NODE={{.Node.Hostname}}", command=ill)
        harness.wait_for(lambda: sum(a.running("web").values()) == 3 and "b" not in a.running("web"), "all where it does not fail")
        found = self.explain(a, "web")
        self.assertEqual([(r["Filter"], r["Names"]) for r in found["Refused"]], [("failures", ["b"])], found)
        self.assertRegex(a.drover("explain", "web").out, r"1 refused by failures: .*\(b\)")
        a.docker("service", "update", "--detach", "--args", " ".join(["sleep", "1000"]), "web")  # another version has not failed there
        harness.wait_for(lambda: not self.explain(a, "web")["Refused"], "a clean slate")
        a.service("--name", "bad", "--restart-delay", "50ms", "--constraint", "node.hostname==b", command=["false"])
        harness.wait_for(lambda: self.errors(a, "bad").count("non-zero exit") >= 4, "who has no other node to be tried again all the same")

    # --- rollouts

    def test_a_rolling_update_under_load_loses_no_request(self):
        swarm = machines.Swarm(self, "ab")
        a, b = swarm.machines
        a.drover("rebalance", "off")
        a.service("--name", "web", "--replicas", "4", "--env", "V=1", "--publish", "8080:80", *HEALTHY, "--update-order", "start-first", "--update-monitor", "100ms",
                  "--label", "sh.drover.drain=2s", command=SLOW)
        self.runs(a, "web", {"a": 2, "b": 2})

        def ask(machine):
            try:
                status, body = harness.http_get(f"http://{machine.host.address}:8080/cgi-bin/slow", timeout=20)[:2]
                return body.strip() if status == 200 else f"status {status}"
            except OSError as e:
                return f"{type(e).__name__}: {e}"
        for machine in (a, b):
            harness.wait_for(lambda: ask(machine) == "1", "the port to answer")

        def roll(value):
            answers, done = [], threading.Event()

            def client(machine):
                while not done.is_set():
                    answers.append(ask(machine))
            clients = [threading.Thread(target=client, args=(m,)) for m in (a, b) * 3]
            for one in clients:
                one.start()
            self.addCleanup(done.set)
            a.docker("service", "update", "--detach", "--env-rm", "V", "--env-add", f"V={value}", "web")
            harness.wait_for(lambda: a.ask("GET", "/services/web").get("UpdateStatus", {}).get("State") == "completed" and
                             all(f"V={value}" in t["Spec"]["ContainerSpec"]["Env"] for t in a.tasks("web")) and sum(a.running("web").values()) == 4, "the update")
            harness.wait_for(lambda: answers[-12:] == [value] * 12, "only new answers")
            done.set()
            for one in clients:
                one.join()
            return answers
        answers = roll("2")
        self.assertEqual(set(answers), {"1", "2"}, [x for x in answers if x not in "12"])
        a.docker("service", "update", "--detach", "--label-add", "sh.drover.drain=0s", "web")
        self.assertTrue(set(roll("3")) - {"2", "3"}, "what is not drained is cut off: this test would see it")

    # --- what would be

    def test_explain_plan_and_deploy_know_all_machines(self):
        swarm = machines.Swarm(self, "abc")
        a, b, c = swarm.machines
        a.drover("rebalance", "off")
        a.docker("node", "update", "--label-add", "zone=z1", "b")
        a.docker("node", "update", "--label-add", "zone=z2", "c")
        a.service("--name", "web", "--replicas", "2", "--constraint", "node.labels.zone==z1")
        self.runs(a, "web", {"b": 2})
        found = self.explain(a, "web")
        self.assertEqual((found["Nodes"], found["Possible"], [x["Node"] for x in found["Best"]]), (3, 1, ["b"]), found)
        self.assertEqual([(r["Filter"], sorted(r["Names"])) for r in found["Refused"]], [("constraint", ["a", "c"])])
        self.assertIn("no other node is possible", a.drover("plan", "--availability", "drain", "b").out)
        told = a.drover("plan", "--constraint", "node.labels.zone!=z1", "--replicas", "4", "web").out
        self.assertRegex(told, r"starts 2 on a\n|starts 2 on c\n")
        self.assertNotIn(" on b", told)
        self.assertEqual(self.explain(a, "web.2")["Task"]["Node"], "b")
        self.assertEqual(self.explain(b, "web")["Refused"], found["Refused"])  # any machine may be asked

        stays = {"image": "busybox", "command": machines.STAYS}
        path = os.path.join(a.root, "compose.json")
        with open(path, "w", encoding="ascii") as out:
            json.dump({"services": {"db": {**stays, "deploy": {"placement": {"constraints": ["node.labels.zone == z2"]}}},
                                    "app": {**stays, "depends_on": ["db"], "deploy": {"replicas": 6}}}}, out)
        file = ("-f", path, "-p", "shop")
        planned = a.drover("plan", *file).out
        self.assertRegex(planned, r"service shop_db: is made\n  starts 1 on c\n")
        a.drover("deploy", *file)
        self.runs(a, "shop_db", {"c": 1})
        self.assertEqual(set(a.running("shop_app")), {"a", "b", "c"})
        before = {t["ID"] for n in ("shop_db", "shop_app") for t in a.tasks(n)}
        a.drover("deploy", *file)  # nothing has changed
        self.assertEqual({t["ID"] for n in ("shop_db", "shop_app") for t in a.tasks(n)}, before)


if __name__ == "__main__":
    unittest.main()
