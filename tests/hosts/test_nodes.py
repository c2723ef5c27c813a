"""Several machines are one swarm: services run on all, and what happens to one does not end what runs on the others."""
import json
import os
import subprocess
import sys
import unittest

import harness
import hosts
import machines
import stores


# As a node that asks what it has to run, and reads no answer: with the address of the leader, and the folder of its certificate.
SILENT = """
import socket, ssl, sys
address, folder = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.load_verify_locations(folder + "/ca.pem")
context.load_cert_chain(folder + "/node.pem", folder + "/node.key")
plain = socket.socket()
plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
plain.connect((address, 2377))
body = b'{"version": "", "protocol": 1, "facts": true}'
connection = context.wrap_socket(plain)
connection.sendall(b"POST /cluster/session HTTP/1.1\\r\\nHost: swarm-manager\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
print(connection.getsockname()[1], flush=True)
sys.stdin.read()
"""


class Nodes(unittest.TestCase):
    assert_clean_refusal = harness.Story.assert_clean_refusal

    def test_two_machines_run_a_service_together_and_a_killed_worker_changes_nothing(self):
        swarm = machines.Swarm(self)
        a, b = swarm.machines
        self.assertEqual(a.nodes(), {"a": ("ready", "active"), "b": ("ready", "active")})
        self.assertEqual((b.info()["LocalNodeState"], b.info()["ControlAvailable"]), ("active", False))
        self.assertEqual(a.info()["Nodes"], 2)
        a.service("--name", "web", "--replicas", "4")
        harness.wait_for(lambda: a.running("web") == {"a": 2, "b": 2}, "two tasks on each")
        self.assertEqual(len(b.containers()), 2)
        self.assertIn("b", a.docker("service", "ps", "--format", "{{.Node}} {{.CurrentState}}", "web").out)

        before = {t["ID"] for t in a.tasks("web")}, b.containers()
        b.kill9()
        b.start()
        harness.wait_for(lambda: b.info()["LocalNodeState"] == "active" and not b.info()["Error"], "the worker to be heard")
        harness.wait_for(lambda: a.nodes()["b"][0] == "ready", "the worker")
        self.assertEqual(({t["ID"] for t in a.tasks("web")}, b.containers()), before)

        one = next(iter(b.containers()))
        b.docker("kill", one)
        harness.wait_for(lambda: len({t["ID"] for t in a.tasks("web")} & before[0]) == 3, "one to be replaced")
        harness.wait_for(lambda: a.running("web") in ({"a": 2, "b": 2}, {"a": 3, "b": 1}), "its successor")

        a.docker("service", "rm", "web")
        harness.wait_for(lambda: not b.docker("ps", "-aq").out.strip(), "nothing left on the worker")

    def test_a_node_keeps_its_connections_to_the_leader(self):
        """A handshake costs the leader more than a report."""
        swarm = machines.Swarm(self)
        a, b = swarm.machines

        def connections():
            """The ends at b, also of those that are closed (they stay for a minute)."""
            lines = harness.run(b.host.inside(["ss", "-Htan", "dport", "=", ":2377"])).out.splitlines()
            return {line.split()[3] for line in lines}

        a.service("--name", "web", "--constraint", "node.hostname==b")
        harness.wait_for(lambda: a.running("web") == {"b": 1}, "the first task")
        before = connections()
        self.assertTrue(before)
        for count in range(2, 7):
            a.docker("service", "scale", "--detach", f"web={count}")
            harness.wait_for(lambda: a.running("web") == {"b": count}, f"{count} tasks")  # so each was reported
        self.assertEqual(connections() - before, set())

    def test_a_node_that_reads_no_answer_holds_nobody_up(self):
        swarm = machines.Swarm(self)
        a, b = swarm.machines
        secrets = []
        for i in range(6):
            a.docker("secret", "create", f"large{i}", "-", stdin=b"x" * 450000)
            secrets += ["--secret", f"large{i}"]
        a.service("--name", "web", "--constraint", "node.hostname==b", *secrets)
        harness.wait_for(lambda: a.running("web") == {"b": 1}, "its task")
        silent = subprocess.Popen(b.host.inside([sys.executable, "-c", SILENT, a.host.address, f"{b.data}/cluster"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (silent.kill(), silent.communicate()))
        port = silent.stdout.readline().strip()
        self.assertTrue(port)

        def unread():
            lines = harness.run(a.host.inside(["ss", "-Htn", "dport", "=", f":{port}"])).out.splitlines()
            return sum(int(line.split()[2]) for line in lines if line.startswith("ESTAB"))  # Send-Q, until it is given up

        harness.wait_for(lambda: unread() > 10000, "the leader to have more to say than is read")
        self.assertEqual(a.nodes()["b"], ("ready", "active"))
        a.docker("service", "scale", "--detach", "web=2")
        harness.wait_for(lambda: a.running("web") == {"b": 2}, "the second task")
        self.assertGreater(unread(), 10000)  # all that was while the answer stood there

    def test_machines_that_have_ipv6_alone_are_a_swarm(self):
        swarm = machines.Swarm(self, "abc", start=False)
        a, b, c = swarm.machines
        for number, machine in enumerate(swarm.machines, 1):
            machine.host.address = f"[fd77::{number}]"
            machine.host.run("sysctl", "-q", "net.ipv6.conf.eth0.disable_ipv6=0")
            machine.host.run("ip", "-4", "address", "flush", "dev", "eth0")
            machine.host.run("ip", "address", "add", f"fd77::{number}/64", "dev", "eth0", "nodad")
            machine.start()
            machine.busybox()
        a.docker("swarm", "init")
        b.join(a)
        c.join(a, token=a.token("manager"))
        self.assertEqual({m.info()["NodeAddr"] for m in swarm.machines}, {"fd77::1", "fd77::2", "fd77::3"})
        swarm.wait_for_managers(2)
        a.service("--name", "each", "--mode", "global")
        harness.wait_for(lambda: a.running("each") == {"a": 1, "b": 1, "c": 1}, "tasks on all")
        a.docker("service", "rm", "each")
        harness.wait_for(lambda: not b.containers() and not c.containers(), "their end")

    def test_a_lost_nodes_tasks_run_elsewhere_and_stop_on_it_when_it_comes_back(self):
        swarm = machines.Swarm(self, "abc", heartbeat="1s")
        a, b, c = swarm.machines
        a.drover("rebalance", "off")  # that it gets some back is another matter
        a.service("--name", "web", "--replicas", "6")
        a.service("--name", "each", "--mode", "global")
        harness.wait_for(lambda: a.running("web") == {"a": 2, "b": 2, "c": 2} and a.running("each") == {"a": 1, "b": 1, "c": 1}, "both")
        ran = b.containers()
        b.host.cut()
        harness.wait_for(lambda: a.nodes()["b"][0] == "down", "the node to be lost")
        harness.wait_for(lambda: a.running("web") == {"a": 3, "c": 3} and a.running("each") == {"a": 1, "c": 1}, "its tasks elsewhere")
        self.assertIn("Orphaned", a.docker("service", "ps", "--format", "{{.CurrentState}}", "web").out)
        self.assertEqual(b.containers(), ran)  # nobody told it to stop

        b.host.heal()
        harness.wait_for(lambda: a.nodes()["b"][0] == "ready", "the node to come back")
        harness.wait_for(lambda: not b.containers() & ran, "its old tasks to stop")
        harness.wait_for(lambda: a.running("each") == {"a": 1, "b": 1, "c": 1}, "its new task")
        self.assertEqual(a.running("web"), {"a": 3, "c": 3})

    def test_what_runs_on_a_worker_goes_on_without_a_manager(self):
        swarm = machines.Swarm(self)
        a, b = swarm.machines
        a.service("--name", "web", "--replicas", "2", "--restart-delay", "500ms", "--constraint", "node.hostname==b")
        harness.wait_for(lambda: a.running("web") == {"b": 2}, "both on the worker")
        ran = b.containers()
        a.kill9()
        b.kill9()
        b.start()
        harness.wait_for(lambda: b.info()["Error"], "the worker to miss its manager")
        self.assertEqual(b.containers(), ran)
        one = next(iter(ran))
        before = b.inspect(one)["State"]["StartedAt"]
        b.docker("kill", one)
        harness.wait_for(lambda: b.inspect(one)["State"]["StartedAt"] != before and b.containers() == ran, "what failed to be started again")
        tasks = {t["ID"] for t in a.start().tasks("web")}
        harness.wait_for(lambda: not b.info()["Error"] and a.running("web") == {"b": 2}, "the manager")
        self.assertEqual((b.containers(), {t["ID"] for t in a.tasks("web")}), (ran, tasks))
        b.docker("kill", one)
        harness.wait_for(lambda: len({t["ID"] for t in a.tasks("web")} & tasks) == 1 and a.running("web") == {"b": 2}, "what fails now to be replaced")

    def test_who_passes_for_the_manager_ends_no_task(self):
        swarm = machines.Swarm(self)
        a, b = swarm.machines
        a.service("--name", "web", "--replicas", "2", "--constraint", "node.hostname==b")
        harness.wait_for(lambda: a.running("web") == {"b": 2}, "both on the worker")
        ran = b.containers()
        a.kill9()
        stores.make_certificate(a.root, "stranger", "/OU=manager/CN=swarm-manager")
        a.host.start(["openssl", "s_server", "-accept", "2377", "-cert", f"{a.root}/stranger.pem", "-key", f"{a.root}/stranger.key", "-www"],
                     os.path.join(a.root, "stranger.log"))
        harness.wait_for(lambda: "certificate" in b.info()["Error"], "the worker to see through it")
        self.assertEqual(b.containers(), ran)

    def test_drain_moves_tasks_and_leave_and_rm_take_a_node_away(self):
        swarm = machines.Swarm(self)
        a, b = swarm.machines
        a.service("--name", "web", "--replicas", "4")
        harness.wait_for(lambda: a.running("web") == {"a": 2, "b": 2}, "two tasks on each")
        a.docker("node", "update", "--availability", "drain", "b")
        harness.wait_for(lambda: a.running("web") == {"a": 4} and not b.containers(), "all on the other")
        a.docker("node", "update", "--availability", "active", "b")
        a.docker("service", "scale", "--detach", "web=8")
        harness.wait_for(lambda: a.running("web") == {"a": 4, "b": 4}, "the node to be used again")

        self.assert_clean_refusal(a.docker("node", "rm", "b", check=False), "is not down and can't be removed")
        self.assert_clean_refusal(a.docker("node", "rm", "a", check=False), "must be demoted")
        b.docker("swarm", "leave")
        self.assertEqual((a.nodes()["b"][0], b.info()["LocalNodeState"], b.docker("ps", "-aq").out), ("down", "inactive", ""))
        harness.wait_for(lambda: a.running("web") == {"a": 8}, "all on what is left")
        a.docker("node", "rm", "b")
        self.assertEqual(list(a.nodes()), ["a"])

        b.join(a)
        swarm.wait_for_nodes(2)
        a.docker("service", "scale", "--detach", "web=12")
        harness.wait_for(lambda: a.running("web").get("b") == 4, "the node to be used again")
        a.docker("node", "rm", "--force", "b")
        harness.wait_for(lambda: not b.containers() and "removed" in b.info()["Error"], "the removed node to hear of it")
        self.assertEqual(b.docker("swarm", "leave").status, 0)

    def test_a_certificate_is_renewed_and_the_old_one_still_serves(self):
        swarm = machines.Swarm(self, heartbeat="1s")
        a, b = swarm.machines

        def ends(machine):
            path = os.path.join(machine.data, "cluster/node.pem")
            return harness.run(["openssl", "x509", "-noout", "-enddate", "-in", path]).out
        before = ends(b)
        a.docker("swarm", "update", "--cert-expiry", "2h")
        harness.wait_for(lambda: ends(b) != before, "a shorter certificate")
        a.service("--name", "web", "--replicas", "2")
        harness.wait_for(lambda: a.running("web") == {"a": 1, "b": 1}, "a service")
        b.kill9()
        b.start()
        harness.wait_for(lambda: not b.info()["Error"] and a.nodes()["b"][0] == "ready", "the node to be heard with it")

    def test_secrets_reach_only_the_nodes_that_need_them(self):
        swarm = machines.Swarm(self)
        a, b = swarm.machines
        a.docker("secret", "create", "word", "-", stdin=b"open sesame")
        a.docker("config", "create", "menu", "-", stdin=b"soup")
        a.service("--name", "s", "--secret", "word", "--config", "menu", "--constraint", "node.hostname==b",
                  command=["sh", "-c", "cat /run/secrets/word /menu; sleep 1000"])
        harness.wait_for(lambda: a.running("s") == {"b": 1}, "the task")
        one = next(iter(b.containers()))
        harness.wait_for(lambda: b.docker("logs", one).out == "open sesamesoup", "its files")
        self.assertEqual(a.docker("service", "logs", "--raw", "s").out, "open sesamesoup")
        kept = harness.run(["grep", "-rlE", "open sesame|b3BlbiBzZXNhbWU", os.path.join(b.data, "cluster")], check=False)
        self.assertEqual(kept.out, "")

    def test_who_may_not_join_is_told_why(self):
        swarm = machines.Swarm(self, "abc", join=False)
        a, b, c = swarm.machines
        token = a.token()
        digest = token.split("-")[2]

        def refused(*words, machine=b, **options):
            self.assert_clean_refusal(machine.join(a, check=False, **options), *words)
            self.assertEqual(machine.info()["LocalNodeState"], "inactive")
        refused("invalid join token", token="SWMTKN-1-nothing")
        refused("invalid join token", token=token + "x")
        refused("does not match fingerprint", token=f"SWMTKN-1-{'0' * 50}-{'0' * 25}")  # of another swarm
        refused("valid join token is necessary", token=f"SWMTKN-1-{digest}-{'0' * 25}")  # guessed
        a.docker("swarm", "join-token", "--rotate", "worker")
        refused("valid join token is necessary", token=token)  # it is over
        self.assert_clean_refusal(b.docker("swarm", "join", "--token", a.token(), f"{c.host.address}:2377", check=False), "10.77.0.4:2377", "connect")
        self.assert_clean_refusal(b.docker("swarm", "join", "--token", a.token(), "--listen-addr", "10.9.9.9:2377", f"{a.host.address}:2377", check=False), "10.9.9.9:2377")
        self.assertEqual(b.info()["LocalNodeState"], "inactive")
        b.join(a)
        self.assert_clean_refusal(b.join(a, check=False), "already part of a swarm")

    def test_the_port_hears_only_nodes_of_the_swarm_and_bounds_what_they_say(self):
        swarm = machines.Swarm(self, "abc", join=False)
        a, b, c = swarm.machines
        b.join(a)
        c.docker("swarm", "init", "--advertise-addr", c.host.address)  # another swarm

        def call(machine, path, body=b"{}", certificate=True, to=a):
            folder = os.path.join(machine.data, "cluster")
            shown = ["--cert", f"{folder}/node.pem", "--key", f"{folder}/node.key"] if certificate else []
            done = harness.run(["curl", "-sk", "--noproxy", "*", "-o", "-", "-w", "\n%{http_code}", *shown, "--data-binary", "@-", f"https://{to.host.address}:2377{path}"],
                               check=False, stdin=body)
            text, _, status = done.out.rpartition("\n")
            return int(status or 0), text
        for path in ("/cluster/session", "/cluster/report", "/cluster/renew", "/cluster/leave", "/cluster/attach", "/cluster/detach"):
            for status, text in (call(b, path, certificate=False), call(c, path)):
                self.assertEqual(status, 401, (path, text))
                self.assertIn("certificate", text)
        self.assertEqual(call(b, "/cluster/report", b'{"tasks": 3}')[0], 400)
        self.assertEqual(call(b, "/cluster/report", b"{" * 100000)[0], 400)
        self.assertIn(call(b, "/cluster/report", b'{"tasks":["' + b"x" * (9 << 20) + b'"]}')[0], (413, 400))
        self.assertEqual(call(b, "/cluster/report", b'{"tasks":[{"id":"x","state":"running"},7,null,{"state":"orphaned"}]}')[0], 200)
        self.assertEqual(call(b, "/cluster/renew", b'{"csr": "nonsense"}')[0], 400)
        a.docker("network", "create", "-d", "overlay", "--attachable", "mesh")
        attachment = {"Network": a.get("/networks/mesh")["Id"], "Container": "a" * 64, "Run": "", "Names": ["x"], "Address": ""}
        for change in ({"Names": None}, {"Names": ["a b"]}, {"Names": [1]}, {"Names": ["x"] * 1000}, {"Container": "../x"}, {"Container": 3}, {"Run": "a" * 65}, {"Address": "1.2.3.4"}):
            self.assertIn(call(b, "/cluster/attach", json.dumps({**attachment, **change}).encode())[0], (400, 403, 413), list(change))
        del attachment["Names"]
        self.assertEqual(call(b, "/cluster/attach", json.dumps(attachment).encode())[0], 400)
        for body in (b"{}", b"[]", b'{"Network": 1}'):
            self.assertEqual(call(b, "/cluster/attach", body)[0], 404, body)
        for body in (b"{}", b"[]", b'{"Attachments": 3}', b'{"Attachments": {"x": {}}}'):
            self.assertEqual(call(b, "/cluster/detach", body)[0], 200, body)
        a.docker("network", "rm", "mesh")
        for protocol in (0, 2):
            status, text = call(b, "/cluster/session", json.dumps({"version": "", "protocol": protocol}).encode())
            self.assertEqual(status, 400, text)
            self.assertIn(f"speaks version {protocol} of the cluster's protocol, and this swarm version 1", text)
        joins = {"protocol": 1, "token": a.token(), "csr": "", "description": {"Hostname": "x"}}
        for change, word in (({"protocol": 2}, "version 2"), ({"token": "y"}, "join token"), ({"description": {"Hostname": "a b"}}, "Hostname"),
                             ({"description": {"Hostname": "x", "Engine": {"Labels": {"x": "y" * 70000}}}}, "too large"), ({"csr": "y"}, "certificate request"),
                             ({"address": "no.such.name"}, "IP address"), ({"port": 70000}, "port"), ({"availability": "often"}, "Availability")):
            status, text = call(b, "/cluster/join", json.dumps({**joins, **change}).encode(), certificate=False)
            self.assertGreaterEqual(status, 400, (change, text))
            self.assertIn(word, text)
        self.assertEqual(sorted(a.nodes()), ["a", "b"])

        # What a worker has cannot pass for a manager: no name in its certificate says so.
        shown = harness.run(["openssl", "x509", "-noout", "-text", "-in", os.path.join(b.data, "cluster/node.pem")]).out
        self.assertNotIn("swarm-manager", shown)
        self.assertFalse(os.path.exists(os.path.join(b.data, "cluster/ca.key")))

        # A removed node's certificate is good for nothing.
        a.docker("node", "rm", "--force", "b")
        status, text = call(b, "/cluster/session")
        self.assertEqual(status, 403, text)
        self.assertIn("was removed", text)

    def test_a_cluster_is_made_and_managed_with_drovers_own_verbs(self):
        net = hosts.Network(self)
        a, b = (machines.Machine(None, net.host(name)) for name in "ab")
        for machine in (a, b):
            self.addCleanup(lambda machine=machine: self.assertEqual(machine.remove(), ""))
            machine.start()
        said = a.drover("cluster", "init", "--advertise-addr", a.host.address).out
        words = said.splitlines()[-1].split()
        self.assertEqual(words[:3], ["drover", "join", "--token"])
        self.assertIn("a worker", b.drover(*words[1:]).out)
        self.assertRegex(a.drover("cluster", "ls").out, r"(?s)a +10.77.0.2 +ready +active +leader.*b +10.77.0.3 +ready +active")
        a.drover("cluster", "drain", "b")
        self.assertEqual(a.nodes()["b"], ("ready", "drain"))
        a.drover("cluster", "activate", "b")
        token = a.drover("cluster", "join-token", "-q", "worker").out
        self.assertNotEqual(a.drover("cluster", "join-token", "-q", "--rotate", "worker").out, token)
        self.assert_clean_refusal(a.drover("cluster", "rm", "b", check=False), "is not down")
        self.assert_clean_refusal(b.drover("join", "--token", words[3], words[4], check=False), "already part of a swarm")
        self.assert_clean_refusal(b.drover("join", words[4], check=False), "--token is needed")
        self.assert_clean_refusal(a.drover("cluster", "join-token", "boss", check=False), "worker or manager")
        self.assert_clean_refusal(a.drover("leave", check=False), "--force")
        b.drover("leave")
        a.drover("cluster", "rm", "b")
        self.assert_clean_refusal(b.drover("join", "--token", words[3], words[4], check=False), "join token")
        a.drover("leave", "--force")
        self.assertEqual(a.info()["LocalNodeState"], "inactive")
