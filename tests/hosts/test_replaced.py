"""A leader that was replaced and does not know it: what it is told is not lost, what it says is not done, and what it knows is not old."""
import base64
import http.client
import json
import os
import signal
import ssl
import sys
import threading
import unittest

import harness
import machines

OLD_LEAD = "0123456789abcdef"  # what old_leader.py says that it is


def ask_as(machine, leader, path, body):
    """What a node's daemon asks a manager, with that node's certificate: (status, answer)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(f"{machine.data}/cluster/ca.pem")
    context.load_cert_chain(f"{machine.data}/cluster/node.pem", f"{machine.data}/cluster/node.key")
    connection = http.client.HTTPSConnection(leader.host.address, 2377, context=context)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content) if content.strip() else None


class Replaced(unittest.TestCase):
    def setUp(self):
        self.swarm = machines.Swarm(self, "abcd", managers=3, heartbeat="1s")
        self.managers, self.worker = self.swarm.machines[:3], self.swarm.machines[3]

    def session(self, leader):
        status, answer = ask_as(self.worker, leader, "/cluster/session", {"version": "", "protocol": 1})
        self.assertEqual(status, 200, answer)
        return answer

    def report(self, leader, lead):
        return ask_as(self.worker, leader, "/cluster/report", {"lead": lead, "tasks": []})[0]

    def test_a_report_is_taken_only_by_the_leading_it_is_meant_for(self):
        leader = self.swarm.leader(self.managers)
        first = self.session(leader)
        self.assertEqual(self.report(leader, first["lead"]), 200)
        self.assertEqual(self.report(leader, OLD_LEAD), 503)
        leader.die()
        rest = [m for m in self.managers if m is not leader]
        successor = self.swarm.leader(rest)
        second = self.session(successor)
        self.assertGreater(second["epoch"], first["epoch"])
        self.assertEqual(self.report(successor, first["lead"]), 503)
        self.assertEqual(self.report(successor, second["lead"]), 200)

    def test_a_node_does_nothing_for_a_leader_that_was_replaced(self):
        """The worker reaches nobody but one who was the leader, and still says so: that nothing is to run."""
        first = self.swarm.leader(self.managers)
        first.service("--name", "web", "--replicas", "2", "--constraint", "node.hostname==d")
        harness.wait_for(lambda: first.running("web") == {"d": 2}, "both on the worker")
        replaced = self.session(first)
        first.die()
        rest = [m for m in self.managers if m is not first]
        successor = self.swarm.leader(rest)
        successor.docker("service", "scale", "--detach", "web=3")
        harness.wait_for(lambda: successor.running("web") == {"d": 3}, "the worker to do what the next one says")
        ran = self.worker.containers()
        for m in rest:
            self.worker.host.cut_from(m.host)
        record = f"{first.root}/asked"
        first.host.start([sys.executable, os.path.join(os.path.dirname(__file__), "old_leader.py"), f"{first.host.address}:2377",
                          f"{first.data}/cluster/node.pem", f"{first.data}/cluster/node.key", str(replaced["epoch"]), record], f"{first.root}/old.log")

        def asked(path):
            with open(record) as lines:
                return [a for a in map(json.loads, lines) if a["path"] == path]
        harness.wait_for(lambda: os.path.exists(record) and len(asked("/cluster/session")) > 1, "the worker to hear the old leader")
        self.assertEqual(self.worker.containers(), ran)
        self.worker.docker("kill", next(iter(ran)))  # something to tell
        harness.wait_for(lambda: asked("/cluster/report"), "the worker to tell it")
        self.assertNotIn(asked("/cluster/report")[0]["lead"], ("", replaced["lead"], OLD_LEAD), "what it tells is meant for who leads")
        self.worker.host.heal()
        harness.wait_for(lambda: successor.running("web") == {"d": 3} and len(self.worker.containers()) == 3, "what was killed to be replaced")

    def make(self, name):
        """Through who answers, until it is acknowledged."""
        body = {"Name": name, "Data": base64.b64encode(b"x").decode()}

        def tried():
            try:
                return any(m.api("POST", "/configs/create", body)[0] in (201, 409) for m in self.rest)
            except OSError:
                return False
        harness.wait_for(tried, f"{name} to be made")

    def look(self, machine):
        """The names that one has; None when it does not say."""
        try:
            status, _, body = machine.api("GET", "/configs")
        except (OSError, http.client.HTTPException):
            return None
        return {c["Spec"]["Name"] for c in json.loads(body)} if status == 200 else None

    def test_a_leader_that_stood_still_never_shows_less_than_was_acknowledged(self):
        for turn in range(2):
            leader = self.swarm.leader(self.managers)
            self.rest = [m for m in self.managers if m is not leader]
            self.assertIsNotNone(self.look(leader))
            pids = [leader.process.pid, *leader.store()]
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            name, seen = f"k{turn}", []
            self.make(name)
            # These wait in its socket, and are the first that it does.
            readers = [threading.Thread(target=lambda: seen.append(self.look(leader))) for _ in range(4)]
            for r in readers:
                r.start()
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            for r in readers:
                r.join()
            harness.wait_for(lambda: seen.append(self.look(leader)) or seen[-1], "it to answer again")
            self.assertEqual([s for s in seen if s is not None and name not in s], [], f"turn {turn}: old answers")

    def test_a_leader_that_is_cut_off_never_shows_less_than_was_acknowledged(self):
        leader = self.swarm.leader(self.managers)
        self.rest = [m for m in self.managers if m is not leader]
        leader.host.cut()
        self.swarm.leader(self.rest)
        self.make("later")
        seen = [self.look(leader) for _ in range(5)]
        self.assertEqual([s for s in seen if s is not None], [])
        leader.host.heal()
        harness.wait_for(lambda: seen.append(self.look(leader)) or seen[-1], "it to answer again")
        self.assertEqual([s for s in seen if s is not None and "later" not in s], [], "old answers")
