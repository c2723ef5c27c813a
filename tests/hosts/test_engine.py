"""The cluster as one Docker engine: the docker CLI with a client's certificate at a manager's port, over machines of which it has
no socket."""
import contextlib
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
import unittest

import harness
import machines

SLEEPS = ["sh", "-c", "trap 'exit 0' TERM; echo began; while :; do sleep 0.05; done"]


class OneEngine(unittest.TestCase):
    assert_clean_refusal = harness.Story.assert_clean_refusal

    def setUp(self):
        self.swarm = machines.Swarm(self, "abc")
        self.a, self.b, self.c = self.swarm.machines
        self.certificates = os.path.join(self.a.root, "client")
        said = self.a.drover("cluster", "client", "somebody", self.certificates).out
        self.assertIn(f"DOCKER_HOST=tcp://{self.a.host.address}:2377", said)

    def docker(self, *args, check=True, stdin=None, certificates=None, at=None):
        """From the host c: what is said goes over the network."""
        env = {**os.environ, "DOCKER_HOST": f"tcp://{(at or self.a).host.address}:2377", "DOCKER_TLS_VERIFY": "1",
               "DOCKER_CERT_PATH": certificates or self.certificates}
        done = subprocess.run(self.c.host.inside(["docker", *args]), env=env, input=stdin, stdin=None if stdin else subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        result = harness.Result(["docker", *args], done.returncode, done.stdout.decode(), done.stderr.decode())
        if check:
            self.assertEqual(result.status, 0, f"docker {args}: {result.out}{result.err}")
        return result

    def run_on(self, node, name, *args):
        self.docker("run", "-d", "--name", name, "-e", f"constraint:node=={node}", *args, "busybox", *SLEEPS)

    def test_containers_of_all_nodes_are_one_engines(self):
        for node in "abc":
            self.run_on(node, f"on-{node}", "--label", f"which={node}")
        self.assertEqual(sorted(self.docker("ps", "--format", "{{.Names}}").out.split()), ["a/on-a", "b/on-b", "c/on-c"])
        for machine in (self.a, self.b, self.c):
            self.assertEqual(machine.docker("ps", "--format", "{{.Names}}").out, f"on-{machine.host.name}\n")
        # No trace of the expression in the container.
        self.assertNotIn("constraint", self.docker("inspect", "on-b", "--format", "{{json .Config.Env}}").out)
        self.assertEqual(self.docker("exec", "b/on-b", "echo", "here").out, "here\n")
        self.assertEqual(self.docker("exec", "-i", "on-c", "cat", stdin=b"through\n").out, "through\n")
        self.assertEqual(self.docker("exec", "on-b", "sh", "-c", "exit 7", check=False).status, 7)
        self.assertEqual(self.docker("logs", "c/on-c").out, "began\n")
        self.assertIn("on-b", self.docker("stats", "--no-stream", "--format", "{{.Name}}", "on-b").out)
        self.docker("stop", "on-b")
        self.assertEqual(self.docker("wait", "on-b").out, "0\n")
        self.assertEqual(sorted(self.docker("ps", "--format", "{{.Names}}").out.split()), ["a/on-a", "c/on-c"])
        self.assertEqual(self.docker("ps", "-a", "--filter", "label=which=b", "--format", "{{.Names}}").out, "b/on-b\n")
        self.assertEqual(json.loads(self.docker("info", "--format", "{{json .Containers}}").out), 3)
        self.docker("rm", "-f", "on-a", "b/on-b", "on-c")
        self.assertEqual(self.docker("ps", "-aq").out, "")

    def test_attach_and_copies_go_through(self):
        self.run_on("b", "far")
        path = os.path.join(self.a.root, "file")
        with open(path, "wb") as f:
            f.write(os.urandom(3 << 20))
        self.docker("cp", path, "far:/copied")
        self.docker("cp", "far:/copied", path + ".back")
        with open(path, "rb") as one, open(path + ".back", "rb") as other:
            self.assertEqual(one.read(), other.read())
        done = self.docker("run", "-i", "--rm", "-e", "constraint:node==c", "busybox", "wc", "-c", stdin=b"x" * 300000)
        self.assertEqual(done.out, "300000\n")
        done = self.docker("run", "--rm", "-e", "constraint:node==b", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3", check=False)
        self.assertEqual((done.status, done.out, done.err), (3, "out\n", "err\n"))

    def test_new_containers_are_spread_and_constraints_hold(self):
        for number in range(6):
            self.docker("run", "-d", "--name", f"n{number}", "busybox", *SLEEPS)
        self.assertEqual([len(m.docker("ps", "-q").out.split()) for m in (self.a, self.b, self.c)], [2, 2, 2])
        self.a.docker("node", "update", "--label-add", "disk=fast", self.a.node("c")["ID"])
        self.docker("run", "-d", "--name", "fast", "-e", "constraint:disk==f*", "busybox", *SLEEPS)
        self.docker("run", "-d", "--name", "near", "-e", "affinity:container==fast", "busybox", *SLEEPS)
        self.docker("run", "-d", "--name", "apart", "-e", "affinity:container!=fast", "-e", "constraint:node!=a", "busybox", *SLEEPS)
        self.docker("run", "-d", "--name", "soft", "-e", "constraint:disk==~slow", "busybox", *SLEEPS)
        where = {name.split("/")[1]: name.split("/")[0] for name in self.docker("ps", "--format", "{{.Names}}").out.split()}
        self.assertEqual((where["fast"], where["near"], where["apart"]), ("c", "c", "b"))
        self.docker("run", "-d", "--name", "beside", "--network", "container:apart", "busybox", *SLEEPS)
        self.c.docker("network", "create", "own")
        self.docker("run", "-d", "--name", "netted", "--network", "own", "busybox", *SLEEPS)
        where = {name.split("/")[1]: name.split("/")[0] for name in self.docker("ps", "--format", "{{.Names}}").out.split()}
        self.assertEqual((where["beside"], where["netted"]), ("b", "c"))

    def where(self):
        return {name.split("/")[1]: name.split("/")[0] for name in self.docker("ps", "--format", "{{.Names}}").out.split()}

    def test_one_scheduler_places_containers_as_it_does_tasks(self):
        for name in ("a", "b", "c"):
            self.a.docker("node", "update", "--label-add", f"rank={name}", self.a.node(name)["ID"])
        memory = json.loads(self.a.docker("info", "--format", "{{json .MemTotal}}").out)
        most, little = str(memory * 6 // 10), str(memory // 10)
        # A service's task on a, a container on b: what they have reserved is not free any more.
        self.a.service("--name", "big", "--reserve-memory", most, "--constraint", "node.hostname==a")
        harness.wait_for(lambda: self.a.running("big") == {"a": 1}, "the service")
        self.docker("run", "-d", "--name", "on-b", "-m", most, "-e", "constraint:node==b", "busybox", *SLEEPS)
        for name in ("first", "second"):
            self.docker("create", "--name", name, "--memory-reservation", little, "-m", most, "-e", "constraint:node!=c", "busybox", *SLEEPS)
        self.docker("run", "-d", "--name", "left", "-m", most, "busybox", *SLEEPS)
        self.assertEqual(self.where()["left"], "c")
        said = self.docker("run", "-m", most, "busybox", "true", check=False)
        self.assert_clean_refusal(said, "of memory asked; the most free is")
        self.docker("rm", "-f", "left")
        self.docker("run", "-d", "--name", "again", "-m", most, "busybox", *SLEEPS)
        self.assertEqual(self.where()["again"], "c")
        # Ports of the machine, and what labels of containers say.
        for name in ("one", "two", "three"):
            self.docker("run", "-d", "--name", name, "--label", f"is={name}", "-p", "8099:80", "busybox", *SLEEPS)
        where = self.where()
        self.assertEqual(sorted(where[name] for name in ("one", "two", "three")), ["a", "b", "c"])
        self.assert_clean_refusal(self.docker("run", "-p", "8099:80", "busybox", "true", check=False), "port 8099/tcp is in use (on ")
        self.docker("run", "-d", "--name", "near", "--label", 'com.docker.swarm.affinities=["is==/^tw/"]', "busybox", *SLEEPS)
        self.docker("run", "-d", "--name", "far", "-e", "affinity:is!=two", "-e", f"affinity:is!=~{'three'}", "-e", "affinity:service!=big", "busybox", *SLEEPS)
        self.assertEqual(self.where()["near"], where["two"])
        self.assertNotIn(self.where()["far"], (where["two"], "a"))
        self.assert_clean_refusal(self.docker("run", "-e", "affinity:is==none", "busybox", "true", check=False), "no node fits: affinity:is==none (on ")
        # The strategies of the cluster, a script among them; a container may name its own.
        self.a.drover("strategy", "use", "binpack")
        self.docker("run", "-d", "--name", "packed", "-m", "8m", "busybox", *SLEEPS)
        fullest = self.where()["packed"]
        self.docker("run", "-d", "--name", "packed2", "-m", "8m", "busybox", *SLEEPS)
        self.assertEqual(self.where()["packed2"], fullest)
        script = os.path.join(self.a.root, "lowest.lua")
        with open(script, "w") as f:
            f.write('function score(task, node) return label(node, "rank") == "b" and 1 or 0 end\n')
        self.a.drover("strategy", "set", "lowest", script)
        self.a.drover("strategy", "use", "lowest")
        for number in range(3):
            self.docker("run", "-d", "--name", f"scripted{number}", "busybox", *SLEEPS)
        self.assertEqual({self.where()[f"scripted{number}"] for number in range(3)}, {"b"})
        self.docker("run", "-d", "--name", "own", "--label", "sh.drover.strategy=spread", "busybox", *SLEEPS)
        self.assertNotEqual(self.where()["own"], "b")

    def test_containers_placed_at_once_find_each_others_room_taken(self):
        memory = json.loads(self.a.docker("info", "--format", "{{json .MemTotal}}").out)
        env = {**os.environ, "DOCKER_HOST": f"tcp://{self.a.host.address}:2377", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": self.certificates}
        started = [subprocess.Popen(self.c.host.inside(["docker", "create", "-m", str(memory * 6 // 10), "busybox", "true"]), env=env,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(5)]
        said = [p.communicate()[1].decode() for p in started]
        self.assertEqual([p.returncode for p in started].count(0), 3, said)
        self.assertEqual([len(m.docker("ps", "-aq").out.split()) for m in (self.a, self.b, self.c)], [1, 1, 1])

    def terminal(self, *args):
        """The docker CLI with a terminal of its own: what is typed, and what the screen has after that."""
        env = {**os.environ, "DOCKER_HOST": f"tcp://{self.a.host.address}:2377", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": self.certificates}
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        process = subprocess.Popen(self.c.host.inside(["docker", *args]), env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                   preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.addCleanup(process.kill)
        seen = bytearray()

        def until(text):
            def look():
                with contextlib.suppress(OSError):
                    if select.select([master], [], [], 0)[0]:
                        seen.extend(os.read(master, 65536))
                return text in seen
            try:
                harness.wait_for(look, f"{text!r} on the screen")
            except AssertionError as failure:
                raise AssertionError(f"{failure}: {bytes(seen)!r}") from None
        return process, master, until

    def test_terminals_reach_containers_of_other_nodes(self):
        self.run_on("b", "far")
        process, master, until = self.terminal("exec", "-it", "far", "sh")
        os.write(master, b"hostname; tty; stty size\n")
        until(b"/dev/pts/")
        until(b"33 101")
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 122, 0, 0))
        os.kill(process.pid, signal.SIGWINCH)
        harness.wait_for(lambda: self.b.docker("exec", "far", "sh", "-c", "for t in /dev/pts/[0-9]*; do stty size -F $t; done").out.count("44 122"), "the size")
        os.write(master, b"exit 9\n")
        self.assertEqual(process.wait(), 9)
        # A container's own terminal: run, detach with the keys, attach again.
        process, master, until = self.terminal("run", "-it", "--name", "own", "-e", "constraint:node==c", "busybox", "sh")
        until(b"/ # ")
        os.write(master, b"echo is-$((40+2))\n")
        until(b"is-42")
        os.write(master, b"\x10\x11")
        process.wait()
        self.assertEqual(self.docker("inspect", "own", "--format", "{{.State.Running}}").out, "true\n")
        process, master, until = self.terminal("attach", "own")
        os.write(master, b"echo still-$((40+2))\n")
        until(b"still-42")
        os.write(master, b"exit 4\n")
        self.assertEqual(process.wait(), 4)

    def follow(self, *args):
        env = {**os.environ, "DOCKER_HOST": f"tcp://{self.a.host.address}:2377", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": self.certificates}
        path = os.path.join(self.a.root, "followed")
        with open(path, "wb") as out:
            process = subprocess.Popen(self.c.host.inside(["docker", *args]), env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.addCleanup(process.kill)

        def text():
            with open(path) as f:
                return f.read()
        return process, text

    def test_events_of_all_nodes_are_one_stream(self):
        since = time.time()
        process, text = self.follow("events", "--filter", "type=container", "--format", "{{.Action}} {{.Actor.Attributes.name}} {{index .Actor.Attributes \"node.name\"}}")
        harness.wait_for(lambda: (self.a.docker("run", "--rm", "busybox", "true"), "start" in text())[1], "the stream to have begun")
        for node in "abc":
            self.run_on(node, f"on-{node}")
        harness.wait_for(lambda: all(f"start on-{node} {node}" in text() for node in "abc"), "the events of all")
        # A node that was away is listened to again.
        self.b.host.cut()
        harness.wait_for(lambda: self.a.nodes()["b"][0] == "down", "it to be counted as lost")
        self.b.host.heal()
        harness.wait_for(lambda: self.a.nodes()["b"][0] == "ready", "it to be back")
        harness.wait_for(lambda: (self.b.docker("restart", "-t", "0", "on-b"), "restart on-b b" in text())[1], "its events")
        process.terminate()
        process.wait()
        past = self.docker("events", "--since", str(int(since)), "--until", str(int(time.time())), "--filter", "event=create",
                           "--format", "{{.TimeNano}} {{.Actor.Attributes.name}}").out.splitlines()
        self.assertEqual([line.split()[1] for line in past if " on-" in line], ["on-a", "on-b", "on-c"])
        self.assertEqual(past, sorted(past))

    def test_volumes_and_networks_of_all_nodes_are_listed_and_found(self):
        self.docker("volume", "create", "b/data")
        self.docker("volume", "create", "here")
        self.assertEqual(sorted(self.docker("volume", "ls", "-q").out.split()), ["a/here", "b/data"])
        self.assertEqual(self.b.docker("volume", "ls", "-q").out, "data\n")
        self.assertEqual(self.docker("volume", "inspect", "b/data", "--format", "{{.Name}}").out, "data\n")
        # Who mounts it goes to where it is.
        self.docker("run", "--name", "writer", "-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/file")
        self.assertEqual(self.docker("run", "--rm", "-v", "data:/d", "busybox", "cat", "/d/file").out, "kept\n")
        self.assertEqual(self.docker("ps", "-a", "--filter", "name=writer", "--format", "{{.Names}}").out, "b/writer\n")
        self.c.docker("volume", "create", "data")
        self.assert_clean_refusal(self.docker("volume", "rm", "data", check=False), "b/data, c/data")
        self.docker("rm", "writer")
        self.docker("volume", "rm", "b/data")
        self.docker("volume", "rm", "data", "here")
        self.assertEqual(self.docker("volume", "ls", "-q").out, "")
        self.assertIn("no such volume", self.docker("volume", "inspect", "data", check=False).err)
        self.docker("network", "create", "b/net")
        names = self.docker("network", "ls", "--format", "{{.Name}}").out.split()
        self.assertEqual([n for n in names if n.endswith("/net")], ["b/net"])
        self.assertTrue({"a/bridge", "b/bridge", "c/bridge", "ingress"} <= set(names), names)
        self.assertEqual(names.count("ingress"), 1)
        self.docker("run", "-d", "--name", "on-net", "--network", "net", "busybox", *SLEEPS)
        self.assertEqual(self.where()["on-net"], "b")
        self.run_on("b", "late")
        self.docker("network", "connect", "net", "late")
        self.assertIn("late", self.docker("network", "inspect", "net").out)
        self.docker("network", "disconnect", "net", "late")
        self.docker("rm", "-f", "on-net", "late")
        self.docker("network", "rm", "b/net")
        self.assertIn("not found", self.docker("network", "inspect", "net", check=False).err)

    def test_builds_logs_and_stats_go_through(self):
        context = os.path.join(self.a.root, "context")
        os.makedirs(context)
        with open(os.path.join(context, "Dockerfile"), "w") as f:
            f.write("FROM busybox\nRUN echo built > /made\nCMD cat /made\n")
        self.docker("build", "-t", "built", context)
        self.assertEqual(self.docker("run", "--rm", "built").out, "built\n")
        self.assertEqual(len([line for line in self.docker("images", "--format", "{{.Repository}}").out.split() if line == "built"]), 1)
        self.run_on("b", "told")
        process, text = self.follow("logs", "-f", "told")
        harness.wait_for(lambda: "began" in text(), "the log")
        self.docker("restart", "-t", "1", "told")
        self.docker("stop", "told")
        self.assertEqual(process.wait(), 0)
        # Whether it still hears the second begin is a race; no line comes twice.
        self.assertTrue(text() and self.docker("logs", "told").out.startswith(text()), text())
        self.docker("start", "told")
        self.run_on("c", "other")
        self.assertEqual(sorted(self.docker("stats", "--no-stream", "--format", "{{.Name}}").out.split()), ["other", "told"])
        self.assertIn("sleep 0.05", self.docker("top", "told").out)

    def test_a_name_that_went_to_another_node_is_found_there(self):
        self.run_on("b", "moves")
        self.assertEqual(self.docker("exec", "moves", "hostname").status, 0)
        self.docker("rm", "-f", "moves")
        self.run_on("c", "moves")
        self.assertEqual(self.docker("inspect", "moves", "--format", "{{.Name}}").out, "/moves\n")
        self.assertEqual(self.docker("exec", "moves", "echo", "there").out, "there\n")
        # Nor by the name alone, when a node's own client has given it to another.
        self.c.docker("rename", "moves", "gone")
        self.b.docker("run", "-d", "--name", "moves", "busybox", *SLEEPS)
        self.assertEqual(self.docker("inspect", "moves", "--format", "{{.Id}}").out, self.b.docker("inspect", "moves", "--format", "{{.Id}}").out)
        self.b.docker("rm", "-f", "moves")
        self.assert_clean_refusal(self.docker("logs", "moves", check=False), "No such container: moves")

    def test_what_cannot_be_is_refused_clearly(self):
        self.run_on("a", "taken")
        self.assert_clean_refusal(self.docker("run", "-d", "--name", "taken", "busybox", "true", check=False), "already in use")
        self.assert_clean_refusal(self.docker("run", "-e", "constraint:disk==slow", "busybox", "true", check=False), "no node fits: constraint:disk==slow")
        self.assert_clean_refusal(self.docker("run", "-e", "constraint:disk", "busybox", "true", check=False), "must be KEY==VALUE")
        self.assert_clean_refusal(self.docker("logs", "nobody", check=False), "No such container: nobody")
        self.b.docker("run", "-d", "--name", "taken", "busybox", *SLEEPS)
        self.assert_clean_refusal(self.docker("logs", "taken", check=False), "a/taken, b/taken")
        self.docker("rm", "-f", "b/taken")
        # Neither a worker's certificate nor another swarm's opens it, and a client's is no node's.
        worker = os.path.join(self.a.root, "worker")
        os.makedirs(worker)
        for theirs, name in (("ca.pem", "ca.pem"), ("node.pem", "cert.pem"), ("node.key", "key.pem")):
            os.link(os.path.join(self.b.data, "cluster", theirs), os.path.join(worker, name))
        self.assert_clean_refusal(self.docker("ps", certificates=worker, check=False), "not a swarm manager")
        self.b.docker("swarm", "leave")
        self.b.docker("swarm", "init", "--advertise-addr", self.b.host.address)
        self.assertNotEqual(self.docker("ps", at=self.b, check=False).status, 0)
        # Nor when the client takes the server for the right one: the server does not take the client.
        shutil.copy(os.path.join(self.b.data, "cluster/ca.pem"), self.certificates)
        self.assert_clean_refusal(self.docker("ps", at=self.b, check=False), "not of this cluster's authority")

    def test_a_node_that_is_gone_hides_its_own_alone(self):
        self.run_on("a", "stays")
        self.run_on("b", "hidden")
        self.b.host.cut()
        harness.wait_for(lambda: self.a.nodes()["b"][0] == "down", "it to be counted as lost")
        self.assertEqual(self.docker("ps", "--format", "{{.Names}}").out, "a/stays\n")
        self.b.host.heal()
        harness.wait_for(lambda: self.a.nodes()["b"][0] == "ready", "it to be back")
        self.assertEqual(sorted(self.docker("ps", "--format", "{{.Names}}").out.split()), ["a/stays", "b/hidden"])
