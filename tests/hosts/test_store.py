"""The replicated store on three hosts while they fail: nothing that was acknowledged is lost, nothing is done twice."""
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import unittest

import harness
import stores


class Store(unittest.TestCase):
    assert_clean_refusal = harness.Story.assert_clean_refusal

    def setUp(self):
        folder = tempfile.mkdtemp(prefix="drover-hosts-")
        self.addCleanup(shutil.rmtree, folder, True)
        self.cluster = stores.Cluster(self, folder)

    def check(self, load):
        """What was acknowledged is there, and each row was counted once."""
        acknowledged = load.finish()
        rows, total, keys = self.cluster.read()
        self.assertEqual(sorted(acknowledged - keys), [])
        self.assertEqual(rows, total)
        self.assertGreaterEqual(len(acknowledged), 20)  # as many as wait_for_more() waits for

    def test_writes_go_on_when_the_leader_is_killed_and_it_catches_up(self):
        load = self.cluster.load()
        load.wait_for_more()
        for _ in range(3):
            leader = self.cluster.leader()
            leader.kill()
            load.wait_for_more()
            leader.start()
            self.cluster.wait_for_voters(3)
            harness.wait_for(lambda: self.cluster.status(), "a leader")
        self.check(load)

    def test_the_inner_process_is_started_again_when_it_dies(self):
        load = self.cluster.load()
        load.wait_for_more()
        leader = self.cluster.leader()
        before = leader.inner()
        os.kill(before, 9)
        harness.wait_for(lambda: leader.inner() not in (None, before), "another inner process")
        load.wait_for_more()
        self.assertIn("it starts again", leader.text())
        self.check(load)

    def test_a_leader_that_stands_still_is_replaced_and_its_writes_do_not_count_twice(self):
        load = self.cluster.load(callers=8)
        load.wait_for_more()
        for _ in range(2):
            leader = self.cluster.leader()
            leader.pause()
            load.wait_for_more()
            leader.go_on()
            load.wait_for_more()
        self.check(load)

    def test_a_leader_that_is_cut_off_accepts_no_write(self):
        load = self.cluster.load()
        load.wait_for_more()
        leader = self.cluster.leader()
        others = [m for m in self.cluster.members if m is not leader]
        for member in others:
            leader.host.cut_from(member.host)
            member.host.cut_from(leader.host)
        # Who is on its side of the cut gets nothing done there, and is told.
        stale = harness.run(leader.host.inside([stores.LOAD, "--members", leader.address, *self.cluster.tls, "--seconds", "3",
                                                "--timeout", "2000", "--prefix", "stale", "--print"]), check=False)
        self.assertNotIn("ok stale", stale.out)
        self.assertIn("no majority", stale.out + stale.err)
        load.wait_for_more()
        for member in self.cluster.members:
            member.host.heal()
        harness.wait_for(lambda: len(self.cluster.status()) == 3, "the members to agree")
        self.check(load)

    def test_a_minority_refuses_writes_and_reads_with_the_reason(self):
        load = self.cluster.load(timeout_ms=2000)
        load.wait_for_more()
        for member in self.cluster.followers():
            member.kill()
        harness.wait_for(lambda: any(name == "no majority" for _, name, _ in load.failures()), "no majority")
        done = self.cluster.call("status", check=False)
        self.assertEqual(done.status, 1, done)
        self.assertIn("no majority of its members answers", done.err)
        for member in self.cluster.members:
            if member.process.poll() is not None:
                member.start()
        load.wait_for_more()
        self.check(load)

    def test_a_member_whose_data_are_gone_may_not_go_on_but_may_join_anew(self):
        load = self.cluster.load()
        load.wait_for_more()
        member = self.cluster.followers()[0]
        member.kill()
        old = member.id()
        shutil.rmtree(os.path.join(member.folder, "data"))
        member.start()
        self.assertEqual(member.process.wait(), 1)
        self.assertIn("may not vote again on what it has forgotten", member.text())
        shutil.rmtree(member.folder)
        member.start("--join", self.cluster.leader().address)
        harness.wait_for(lambda: old not in [int(m["id"]) for m in self.cluster.status()], "the old id to go")
        self.cluster.wait_for_voters(3)
        self.assertNotEqual(member.id(), old)
        # It has everything: with another one away it makes the majority.
        load.wait_for_more()
        other = next(m for m in self.cluster.followers() if m is not member)
        other.kill()
        load.wait_for_more()
        other.start()
        self.check(load)

    def test_a_full_disk_stops_its_member_alone_and_it_comes_back(self):
        load = self.cluster.load()
        load.wait_for_more()
        leader = self.cluster.leader()
        leader.stop()
        data = os.path.join(leader.folder, "data")
        kept = leader.folder + ".kept"
        shutil.copytree(data, kept)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", data], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", data], check=False, stderr=subprocess.DEVNULL)
        shutil.copytree(kept, data, dirs_exist_ok=True)
        leader.arguments = ["--min-free", "32m"]
        leader.start()
        self.cluster.wait_for_voters(3)
        filler = os.path.join(data, "filler")
        with open(filler, "wb") as out:
            try:
                while True:
                    out.write(b"x" * (1 << 20))
                    out.flush()
            except OSError:
                pass
        harness.wait_for(lambda: "waits for room" in leader.text(), "the member to stop")
        alone = harness.run([stores.DROVER, "store", "status", "--member", leader.address, *self.cluster.tls], check=False)
        self.assertEqual(alone.status, 1, alone)
        self.assertIn("has less than 32 MiB free", alone.err)
        load.wait_for_more()
        os.unlink(filler)
        before = leader.text().count("listens on")
        harness.wait_for(lambda: leader.text().count("listens on") > before, "the member to come back")
        load.wait_for_more()
        self.check(load)
        leader.stop()

    def test_it_does_not_start_twice_nor_on_a_full_disk(self):
        member = self.cluster.members[0]
        again = harness.run(member.host.inside([stores.DROVER, "store", "run", "--address", member.address, *self.cluster.tls,
                                                "--min-free", "1m", member.folder]), check=False)
        self.assert_clean_refusal(again, "another store runs in")
        full = harness.run(member.host.inside([stores.DROVER, "store", "run", "--bootstrap", "--address", member.address,
                                               *self.cluster.tls, "--min-free", "100000g", member.folder + "-new"]), check=False)
        self.assert_clean_refusal(full, "less than", "needs to start")

    def test_only_managers_of_the_same_authority_are_let_in(self):
        other = os.path.join(self.cluster.folder, "other")
        os.mkdir(other)
        stores.make_certificate(other, "manager", "/OU=manager/CN=stranger")
        stores.make_certificate(self.cluster.folder, "worker", "/OU=worker/CN=w")
        stranger = ["--ca", f"{self.cluster.folder}/ca.pem", "--cert", f"{other}/manager.pem", "--key", f"{other}/manager.key"]
        for tls in (stranger, self.cluster.tls_of("worker")):
            done = self.cluster.call("status", check=False, tls=tls)
            self.assert_clean_refusal(done, "no majority")
        log = "".join(member.text() for member in self.cluster.members)
        self.assertIn("is not of this cluster's authority", log)
        self.assertIn('a certificate without the unit "manager"', log)
        # Bytes without TLS end nothing.
        host, port = self.cluster.members[0].address.split(":")
        with socket.create_connection((host, int(port))) as plain:
            plain.sendall(b"\x01" + b"\0" * 7 + b"\xff" * 64)
        self.assertEqual(len(self.cluster.status()), 3)

    def test_its_sockets_are_its_own(self):
        member = self.cluster.members[0]
        inner = member.inner()
        for name in os.listdir(f"/proc/{inner}/fdinfo"):
            if int(name) > 2:
                flags = int(open(f"/proc/{inner}/fdinfo/{name}").read().split("flags:")[1].split()[0], 8)
                self.assertTrue(flags & os.O_CLOEXEC, f"descriptor {name} would be inherited")
        self.assertIn("libcowsql", open(f"/proc/{inner}/maps").read())
        # Another process may not come to the abstract socket, which has no authentication.
        names = [line.split()[-1] for line in open(f"/proc/{inner}/net/unix") if line.split()[-1].startswith("@")]
        self.assertTrue(names)
        script = ("import socket,sys\n"
                  "for name in sys.argv[1:]:\n"
                  "    s = socket.socket(socket.AF_UNIX); s.connect('\\0' + name[1:]); s.settimeout(30)\n"
                  "    try: s.sendall(b'\\1' + bytes(7) + bytes(16)); got = s.recv(1)\n"
                  "    except ConnectionError: got = b''\n"
                  "    assert got == b'', got\n")
        harness.run(member.host.inside(["python3", "-c", script, *names]))

    def test_a_backup_has_all_that_was_acknowledged_and_makes_another_store(self):
        load = self.cluster.load()
        load.wait_for_more()
        acknowledged = {key for key, _ in load.acknowledged()}
        path = os.path.join(self.cluster.folder, "backup.db")
        self.cluster.call("backup", path)
        load.finish()
        saved = sqlite3.connect(path)
        keys = {row[0] for row in saved.execute("SELECT key FROM line")}
        self.assertEqual(sorted(acknowledged - keys), [])
        self.assertEqual(saved.execute("SELECT n FROM sum").fetchone()[0], len(keys))
        saved.close()
        self.assert_clean_refusal(self.cluster.call("restore", path, check=False), "not empty")
        self.assert_clean_refusal(self.cluster.call("restore", path + "x", check=False), "is not there")
        for member in self.cluster.members:
            member.kill()
            shutil.rmtree(member.folder)
        self.cluster.members[0].start("--bootstrap")
        self.cluster.wait_for_voters(1)
        self.cluster.call("restore", path)
        rows, total, restored = self.cluster.read()
        self.assertEqual((rows, total, restored), (len(keys), len(keys), keys))

    def test_one_survivor_goes_on_after_recovery(self):
        load = self.cluster.load()
        load.wait_for_more(50)
        acknowledged = load.finish()
        for member in self.cluster.members:
            member.stop()
        survivor = self.cluster.members[1]
        for member in self.cluster.members:
            if member is not survivor:
                shutil.rmtree(member.folder)
        self.assert_clean_refusal(harness.run([stores.DROVER, "store", "recover", survivor.folder + "x"], check=False), "member.json")
        survivor.host.run(stores.DROVER, "store", "recover", survivor.folder)
        survivor.start()
        self.cluster.wait_for_voters(1)
        _, _, keys = self.cluster.read()
        self.assertEqual(sorted(acknowledged - keys), [])
        for member in self.cluster.members:
            if member is not survivor:
                member.start("--join", survivor.address)
        self.cluster.wait_for_voters(3)
        more = self.cluster.load(prefix="more")
        more.wait_for_more()
        self.check(more)
