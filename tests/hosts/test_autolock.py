"""Managers whose keys are encrypted on their disks: locked when they start, until they are given the unlock key."""
import json
import os
import re
import unittest

import harness
import machines

KEY = re.compile(r"SWMKEY-1-[A-Za-z0-9+/]{43}")
LOCKED = 'Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.'
SERVES = ["sh", "-c", "mkdir /w; echo here > /w/index.html; exec httpd -f -p 80 -h /w"]


def state(machine):
    return machine.info()["LocalNodeState"]


def secrets_of(machine):
    """The files of its disk that have a private key, or the key of secrets, in the clear."""
    found = []
    for name in ("secrets.key", "ca.key", "node.key"):
        path = os.path.join(machine.data, "cluster", name)
        if os.path.exists(path):
            with open(path, "rb") as f:
                content = f.read()
            if len(content) == 32 or b"PRIVATE KEY" in content:
                found.append(name)
    return found


class Autolock(unittest.TestCase):
    assert_clean_refusal = harness.Story.assert_clean_refusal

    def unlock(self, machine, key, check=True):
        return machine.docker("swarm", "unlock", stdin=(key + "\n").encode(), check=check)

    def key(self, machine):
        return machine.docker("swarm", "unlock-key", "-q").out.strip()

    def restart(self, machine):
        machine.die()
        machine.start()
        self.assertEqual(state(machine), "locked")

    def on_disk(self, machine, *words):
        """Which of the words are anywhere below its directory of the swarm, or in its store."""
        found = set()
        for top in (os.path.join(machine.data, "cluster"), machine.data):
            for folder, folders, names in os.walk(top):
                if top == machine.data:
                    folders.clear()
                    names = [n for n in names if n.startswith("cluster.db")]
                for name in names:
                    with open(os.path.join(folder, name), "rb") as f:
                        content = f.read()
                    found |= {w for w in words if w.encode() in content}
        return found

    def test_one_manager_is_locked_when_it_starts(self):
        swarm = machines.Swarm(self, "a", start=False)
        a = swarm.machines[0]
        a.start()
        a.busybox()
        self.assert_clean_refusal(self.unlock(a, "x", check=False), "not part of a swarm")
        said = a.docker("swarm", "init", "--autolock", "--advertise-addr", a.host.address).out
        key = KEY.search(said)[0]
        self.assertEqual(self.key(a), key)
        self.assertTrue(json.loads(a.docker("info", "--format", "{{json .Swarm.Cluster.Spec}}").out)["EncryptionConfig"]["AutoLockManagers"])
        self.assertNotIn("UnlockKey", a.ask("GET", "/swarm"))
        self.assertEqual(secrets_of(a), [])
        a.docker("secret", "create", "word", "-", stdin=b"open sesame")
        a.service("--name", "web", "--publish", "8080:80", "--secret", "word", command=SERVES)
        harness.wait_for(lambda: a.running("web") == {"a": 1}, "its task")
        tokens = {a.token("worker"), a.token("manager")}
        containers = a.containers()

        def fetch():
            return harness.run(a.host.inside(["curl", "-sf", f"http://{a.host.address}:8080/"]), check=False).out
        harness.wait_for(lambda: fetch() == "here\n", "the published port")
        self.assert_clean_refusal(self.unlock(a, key, check=False), "swarm is not locked")
        self.assertEqual(a.api("POST", "/swarm/unlock", {"UnlockKey": key})[0], 409)
        a.kill9()
        # Who has the disk has nothing of it.
        self.assertEqual(self.on_disk(a, key, "open sesame", *tokens), set())
        self.assertEqual(secrets_of(a), [])
        a.start()
        self.assertEqual((state(a), a.info()["ControlAvailable"], a.info()["Error"]), ("locked", False, LOCKED))
        self.assertEqual(a.api("GET", "/_ping")[1]["Swarm"], "locked")
        for command in (("node", "ls"), ("service", "ls"), ("secret", "ls"), ("swarm", "join-token", "worker"), ("swarm", "unlock-key"), ("swarm", "ca"),
                        ("swarm", "update", "--autolock=false"), ("service", "create", "busybox")):
            self.assert_clean_refusal(a.docker(*command, check=False), LOCKED)
        self.assertEqual(a.api("GET", "/services")[0], 503)
        self.assert_clean_refusal(a.docker("swarm", "init", check=False), "already part of a swarm")
        self.assert_clean_refusal(a.docker("swarm", "leave", check=False), "Please unlock it first or use `--force`")
        # What runs goes on, and so does what is no swarm's.
        self.assertEqual((a.containers(), fetch()), (containers, "here\n"))
        self.assertEqual(a.docker("run", "--rm", "busybox", "echo", "alone").out, "alone\n")
        for wrong, words, status in (("SWMKEY-1-" + "A" * 43, "invalid key provided", 401), ("SWMKEY-1-short", "invalid key string", 400), ("", "invalid key string", 400),
                                     (key[:-1] + "\u00e9", "invalid key string", 400), ("SWMTKN-1-" + "A" * 43, "invalid key string", 400)):
            self.assertEqual(a.api("POST", "/swarm/unlock", {"UnlockKey": wrong})[0], status, wrong)
            if wrong:
                self.assert_clean_refusal(self.unlock(a, wrong, check=False), words)
        self.assertEqual(state(a), "locked")
        self.unlock(a, key)
        self.assertEqual(state(a), "active")
        harness.wait_for(lambda: a.running("web") == {"a": 1}, "its task to be known")
        self.assertEqual((a.containers(), {a.token("worker"), a.token("manager")}), (containers, tokens))
        self.assertEqual(a.docker("exec", next(iter(containers)), "cat", "/run/secrets/word").out, "open sesame")
        # A new key, and none; Drover's own verbs.
        fresh = a.drover("cluster", "unlock-key", "--rotate", "-q").out.strip()
        self.assertRegex(fresh, KEY)
        self.assertNotEqual(fresh, key)
        self.restart(a)
        self.assert_clean_refusal(a.drover("cluster", "unlock", stdin=key.encode(), check=False), "invalid key provided")
        a.drover("cluster", "unlock", stdin=fresh.encode())
        a.drover("cluster", "autolock", "off")
        self.assert_clean_refusal(a.docker("swarm", "unlock-key", check=False), "no unlock key is set")
        self.assert_clean_refusal(a.drover("cluster", "unlock-key", check=False), "drover cluster autolock on")
        self.assert_clean_refusal(a.docker("swarm", "unlock-key", "--rotate", check=False), "autolock is not turned on")
        self.assertEqual(secrets_of(a), ["secrets.key", "ca.key", "node.key"])
        a.kill9()
        a.start()
        self.assertEqual(state(a), "active")
        self.assertEqual(a.containers(), containers)
        # Locked and given up.
        again = KEY.search(a.docker("swarm", "update", "--autolock=true").out)[0]
        self.assertNotIn(again, (key, fresh))
        self.restart(a)
        a.docker("swarm", "leave", "--force")
        self.assertEqual((state(a), a.docker("ps", "-q").out), ("inactive", ""))
        a.docker("swarm", "init", "--advertise-addr", a.host.address)
        self.assertEqual(a.docker("service", "ls", "-q").out, "")
        self.assertEqual(secrets_of(a), ["secrets.key", "ca.key", "node.key"])

    def check_store_verbs(self, machine, count):
        """The key on the disk is of no use to them; that which the machine's member was started with is."""
        folder, backup = os.path.join(machine.data, "cluster"), os.path.join(machine.root, "backup.sqlite")

        def verb(key, *words):
            files = [f"--{name}={os.path.join(folder, file)}" for name, file in (("ca", "ca.pem"), ("cert", "node.pem"))]
            return harness.run(machine.host.inside([harness.DROVER, "store", words[0], "--member", f"{machine.host.address}:2378", *files, "--key", key, *words[1:]]),
                               check=False)
        for words in (["status"], ["backup", backup]):
            self.assert_clean_refusal(verb(os.path.join(folder, "node.key"), *words), "is sealed, as the swarm locks its managers")
        self.assertFalse(os.path.exists(backup))
        with open(f"/proc/{machine.store()[0]}/cmdline") as f:
            started = f.read().split("\0")
        key = started[started.index("--key") + 1]
        listed = verb(key, "status", "--json")
        self.assertEqual(listed.status, 0, listed.err)
        self.assertEqual(len(json.loads(listed.out)), count)
        saved = verb(key, "backup", backup)
        self.assertEqual(saved.status, 0, saved.err)
        with open(backup, "rb") as f:
            self.assertEqual(f.read(15), b"SQLite format 3")

    def test_three_managers_and_a_worker_of_which_one_misses_the_new_key(self):
        swarm = machines.Swarm(self, "abcd", managers=3)
        a, b, c, d = swarm.machines
        before = {m: os.stat(os.path.join(m.data, "cluster", "node.pem")).st_mtime_ns for m in (a, b, c)}
        key = KEY.search(b.docker("swarm", "update", "--autolock=true").out)[0]
        harness.wait_for(lambda: not any(secrets_of(m) for m in (a, b, c)), "all managers to seal their keys")
        self.assertEqual(secrets_of(d), ["secrets.key", "node.key"])
        harness.wait_for(lambda: all(os.stat(os.path.join(m.data, "cluster", "node.pem")).st_mtime_ns > before[m] for m in (a, b, c)),
                         "keys that were never on a disk in the clear")
        self.assertEqual({self.key(m) for m in (a, b, c)}, {key})
        self.check_store_verbs(b, 3)
        self.assert_clean_refusal(d.docker("swarm", "unlock-key", check=False), "not a swarm manager")
        # One that is locked is missed by the others, and what runs on it goes on.
        a.service("--name", "web", "--mode", "global")
        harness.wait_for(lambda: a.running("web") == dict.fromkeys("abcd", 1), "its tasks")
        leader = swarm.leader()
        first, other = [m for m in (a, b, c) if m is not leader]
        held = first.containers()
        self.restart(first)
        self.assertEqual(first.containers(), held)
        self.assert_clean_refusal(first.docker("node", "ls", check=False), LOCKED)
        harness.wait_for(lambda: swarm.nodes(leader)[first.name][1] != "Reachable" or leader.nodes()[first.name][0] == "down", "the others to miss it")
        # The key is another meanwhile: the one that was away needs that of before, and learns the new one.
        fresh = leader.docker("swarm", "unlock-key", "--rotate", "-q").out.strip()
        self.assertNotEqual(fresh, key)
        harness.wait_for(lambda: {self.key(m) for m in (leader, other)} == {fresh}, "the new key")
        self.assert_clean_refusal(self.unlock(first, fresh, check=False), "invalid key provided")
        sealed = self.lock_file(first)
        self.unlock(first, key)
        harness.wait_for(lambda: leader.nodes()[first.name][0] == "ready" and self.key(first) == fresh, "it to be one of them")
        harness.wait_for(lambda: self.lock_file(first) != sealed, "its keys to be sealed with the new one")
        self.lock_again(first, key, fresh)
        # The leader itself, by kill -9: another leads, and it follows when it is unlocked.
        writes = leader.docker("config", "create", "before", "-", stdin=b"x")
        self.restart(leader)
        next_leader = swarm.leader(among=(first, other))
        next_leader.docker("config", "create", "meanwhile", "-", stdin=b"x")
        self.unlock(leader, fresh)
        harness.wait_for(lambda: leader.info().get("Nodes") == 4, "it to follow")
        self.assertEqual(leader.docker("config", "ls", "--format", "{{.Name}}").out.split(), ["before", "meanwhile"], writes)
        # All at once, as after a power cut of the racks: two of three are enough.
        for machine in (a, b, c):
            machine.die()
        for machine in (a, b, c):
            machine.start()
        self.unlock(a, fresh)
        self.assert_clean_refusal(a.docker("node", "ls", check=False), "does not have a leader")
        self.unlock(b, fresh)
        lead = swarm.leader(among=(a, b))
        harness.wait_for(lambda: lead.nodes()["d"][0] == "ready", "the worker")
        self.assertEqual(state(c), "locked")
        self.unlock(c, fresh)
        harness.wait_for(lambda: lead.running("web") == dict.fromkeys("abcd", 1), "all its tasks")
        # Who becomes a manager is locked from its first file on, and who is none any more has nothing of the swarm's.
        lead.docker("node", "promote", "d")
        harness.wait_for(lambda: d.info()["ControlAvailable"] and swarm.nodes(lead)["d"][1] == "Reachable", "d to manage")
        self.assertEqual(secrets_of(d), [])
        self.restart(d)
        self.unlock(d, fresh)
        harness.wait_for(lambda: lead.nodes()["d"][0] == "ready", "d to be back")
        lead.docker("node", "demote", "d")
        harness.wait_for(lambda: not d.info()["ControlAvailable"] and secrets_of(d) == ["secrets.key", "node.key"], "d to be a worker")
        self.assertFalse(os.path.exists(os.path.join(d.data, "cluster", "lock.json")))
        d.die()
        d.start()
        self.assertEqual(state(d), "active")
        # And none is locked any more.
        lead.docker("swarm", "update", "--autolock=false")
        harness.wait_for(lambda: all(len(secrets_of(m)) == 3 for m in (a, b, c)), "all to have their keys as before")
        self.restart_unlocked(c)
        harness.wait_for(lambda: lead.running("web") == dict.fromkeys("abcd", 1), "all its tasks")

    @staticmethod
    def lock_file(machine):
        with open(os.path.join(machine.data, "cluster", "lock.json")) as f:
            return f.read()

    def lock_again(self, machine, old, fresh):
        """The key that it has learned is the one that it needs from now on."""
        self.restart(machine)
        self.assert_clean_refusal(self.unlock(machine, old, check=False), "invalid key provided")
        self.unlock(machine, fresh)
        harness.wait_for(lambda: machine.info().get("Nodes") == 4, "it to follow")

    def restart_unlocked(self, machine):
        machine.die()
        machine.start()
        self.assertEqual(state(machine), "active")
