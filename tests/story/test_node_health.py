"""The only node of a swarm, which is not well: it says so, gets no new tasks, and goes on with those it has."""
import contextlib
import os
import re
import signal

import harness

SLEEPS = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]


class NodeHealth(harness.Story):
    def setUp(self):
        super().setUp()
        self.d.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        self.d.docker("swarm", "update", "--dispatcher-heartbeat", "1s")
        self.d.drover("cluster", "health", "memory=off", "io=off", "keeper=2s")
        self.addCleanup(self.d.docker, "swarm", "leave", "--force")
        self.service("web")
        harness.wait_for(lambda: self.state("web") == "Running", "the first task")

    def service(self, name):
        self.d.docker("service", "create", "--detach", "--no-resolve-image", "--name", name, "busybox", *SLEEPS)

    def state(self, service):
        return self.d.docker("service", "ps", "--format", "{{.CurrentState}}", service).out.split(" ")[0]

    def message(self):
        return self.d.docker("node", "inspect", "--format", "{{.Status.State}} {{.Status.Message}}", "self").out.strip()

    def keeper(self, signal_number):
        """To it and to who holds descriptors for it."""
        found = 0
        for pid in self.d.processes():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
                if f.read().split(b"\0")[1:2] == [b"keeper"]:
                    os.kill(pid, signal_number)
                    found += 1
        self.assertGreater(found, 0)

    def test_its_keeper_stands_still(self):
        self.assertEqual(self.message(), "ready")
        self.assertRegex(self.d.drover("cluster", "health").out, r"(?s)NAME +HEALTH +DISK FREE.*\S+ +well .*limits: memory=off io=off keeper=2s")
        self.keeper(signal.SIGSTOP)
        try:
            harness.wait_for(lambda: "no new tasks" in self.message(), "it to be sick")
            self.assertRegex(self.message(), r"^ready keeper: no answer for [0-9.]+s \(no new tasks from 2s, until 1.5s\)$")
            self.assertIn("keeper: no answer", self.d.drover("cluster", "ls").out)
            self.service("late")
            why = harness.wait_for(lambda: self.d.docker("service", "ps", "--no-trunc", "--format", "{{.Error}}", "late").out.strip(), "it to be told why it waits")
            self.assertEqual(why, '"no suitable node (1 node not well: docker node inspect says why)"')
            self.assertRegex(self.d.drover("explain", "late").out, r"1 refused by health: keeper: no answer for [0-9.]+s .*, on ")
            self.assertEqual(self.state("web"), "Running")
        finally:
            self.keeper(signal.SIGCONT)
        harness.wait_for(lambda: self.state("late") == "Running", "the keeper to be asked again")
        self.assertEqual(self.message(), "ready")

    def test_limits_are_the_swarms(self):
        status, _, body = self.d.api("POST", "/drover/health", {"Limits": "disk=99%"})
        self.assertEqual((status, body), (204, b""))
        harness.wait_for(lambda: "no new tasks below" in self.message(), "a bar that the disk is under")
        self.assertTrue(re.search(r"disk: [0-9.]+ [KMGT]iB of [0-9.]+ [KMGT]iB free", self.message()), self.message())
        self.assertEqual(self.d.docker("service", "update", "--detach", "--force", "web").status, 0)
        harness.wait_for(lambda: "not well" in self.d.docker("service", "ps", "--no-trunc", "--format", "{{.Error}}", "web").out, "the update to wait")
        self.d.drover("cluster", "health", "off")
        harness.wait_for(lambda: self.state("web") == "Running" and self.message() == "ready", "all to be well")
        for limits in ("disk=much", "io", "fire=3"):
            self.assert_clean_refusal(self.d.drover("cluster", "health", limits, check=False), limits)
            self.assertEqual(self.d.api("POST", "/drover/health", {"Limits": limits})[0], 400)
