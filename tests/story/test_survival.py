"""It stays up: the server is killed, the machine reboots, the disk fills, a blob rots."""
import glob
import json
import os
import signal
import subprocess
import sys

from harness import DROVER, TOP, Drover, Story, alive, http_get, run, wait_for


class Survival(Story):
    shared = False

    def test_kill_9_of_serve_loses_no_line_no_exit_code_and_no_answer(self):
        d = self.d
        d.docker("run", "-d", "--name", "web", "-p", "18082:80", "--restart", "unless-stopped", "busybox", "sh", "-c",
                 "mkdir /w; echo up > /w/index.html; exec httpd -f -p 80 -h /w")
        d.docker("run", "-d", "--name", "talker", "busybox", "sh", "-c",
                 "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.005; done; exit 42")
        pid = d.inspect("web")["State"]["Pid"]
        wait_for(lambda: "line 5\n" in d.docker("logs", "talker").out, "some lines")
        d.kill9()
        self.assertTrue(alive(pid))
        self.assertEqual(http_get("http://127.0.0.1:18082/")[1], "up\n")
        d.start()
        self.assertEqual(d.docker("wait", "talker").out, "42\n")
        self.assertEqual(d.docker("logs", "talker").out, "".join(f"line {i}\n" for i in range(300)))
        self.assertEqual(d.inspect("web")["State"]["Pid"], pid)
        self.assertEqual(http_get("http://127.0.0.1:18082/")[1], "up\n")
        self.assertEqual(d.docker("exec", "web", "echo", "reached").out, "reached\n")
        d.docker("rm", "-f", "web")
        with self.assertRaises(OSError):
            http_get("http://127.0.0.1:18082/", timeout=3)

    def test_an_exit_while_serve_is_away_is_known_afterwards(self):
        d = self.d
        bind = os.path.join(d.root, "bind")
        os.makedirs(bind)
        os.mkfifo(os.path.join(bind, "go"))
        d.docker("run", "-d", "--name", "brief", "-v", f"{bind}:/b", "busybox", "sh", "-c", "cat /b/go; echo last words; exit 11")
        pid = d.inspect("brief")["State"]["Pid"]
        d.kill9()
        with open(os.path.join(bind, "go"), "w") as go:
            go.write("go\n")
        wait_for(lambda: not alive(pid), "the container to end")
        d.start()
        state = wait_for(lambda: (s := d.inspect("brief")["State"])["Status"] == "exited" and s, "its exit to be known")
        self.assertEqual(state["ExitCode"], 11)
        self.assertEqual(d.docker("logs", "brief").out, "go\nlast words\n")

    def test_serve_killed_again_and_again_under_load_forgets_nothing(self):
        d = self.d
        for turn in range(5):
            for i in range(4):
                d.docker("run", "-d", "--name", f"c{turn}-{i}", "busybox", "sh", "-c", f"sleep 0.{i}; echo {turn} {i}; exit {turn * 4 + i}")
            d.kill9()
            d.start()
        for turn in range(5):
            for i in range(4):
                self.assertEqual(d.docker("wait", f"c{turn}-{i}").out, f"{turn * 4 + i}\n")
                self.assertEqual(d.docker("logs", f"c{turn}-{i}").out, f"{turn} {i}\n")

    def test_keeper_and_serve_killed_by_turns_under_load_lose_no_line_and_no_exit_code(self):
        done = run([sys.executable, os.path.join(TOP, "tests/crash/soak.py"), "--launches", "150", "--pause", "0.4"], check=False)
        self.assertEqual(done.status, 0, done)

    def test_a_kill_at_any_failpoint_of_any_operation_loses_and_leaves_nothing(self):
        program = os.path.join(TOP, "build-asan/drover")
        if not os.path.exists(program):
            self.skipTest("needs the build with sanitizers (make check-build)")
        done = run([sys.executable, os.path.join(TOP, "tests/crash/points.py"), "--sample", "40"], check=False,
                   env=dict(os.environ, DROVER=program))
        self.assertEqual(done.status, 0, done)

    def test_an_upgrade_replaces_both_binaries_under_running_containers(self):
        d = self.d
        d.docker("run", "-d", "--name", "talker", "busybox", "sh", "-c",
                 "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.005; done; exit 42")
        d.docker("run", "-d", "-i", "--name", "reader", "busybox", "sh", "-c", "read x; echo got $x; exit 7")
        # Another version, as far as anybody can tell: the same binary with another number in it.
        newer = os.path.join(d.root, "new", "drover")
        os.makedirs(os.path.dirname(newer))
        version = d.drover("--version").out.split()[-1]
        other = version[:-1] + ("9" if version[-1] != "9" else "8")
        with open(DROVER, "rb") as f, open(newer, "wb") as out:
            out.write(f.read().replace(version.encode() + b"\0", other.encode() + b"\0"))
        os.chmod(newer, 0o755)
        pid = d.inspect("talker")["State"]["Pid"]
        serve = d.process.pid
        self.assertIn(other, d.drover("upgrade", "--binary", newer).out)
        wait_for(lambda: d.docker("version", "--format", "{{.Server.Version}}").out == other + "\n", "the new version to answer")
        self.assertEqual(d.process.pid, serve)
        self.assertIsNone(d.process.poll())
        self.assertEqual(d.inspect("talker")["State"]["Pid"], pid)
        d.docker("attach", "--no-stdin=false", "reader", stdin=b"word\n", check=False)
        self.assertEqual(d.docker("wait", "talker", "reader").out, "42\n7\n")
        self.assertEqual(d.docker("logs", "talker").out, "".join(f"line {i}\n" for i in range(400)))
        self.assertEqual(d.docker("logs", "reader").out, "got word\n")
        self.assertEqual(d.docker("run", "--rm", "busybox", "echo", "new").out, "new\n")
        with open(os.path.join(d.data, "keeper/keeper.log")) as log:
            self.assertIn("replaced by another binary", log.read())

    def test_what_is_no_drover_is_not_upgraded_to(self):
        d = self.d
        self.assert_clean_refusal(d.drover("upgrade", "--binary", "/bin/true", check=False), "/", "true")
        self.assertEqual(d.docker("run", "--rm", "busybox", "echo", "still").out, "still\n")

    def test_a_reboot_brings_back_what_should_run(self):
        d = self.d
        folder = os.path.join(d.root, "proj")
        os.makedirs(folder)
        with open(os.path.join(folder, "compose.yaml"), "w") as f:
            f.write("""
services:
  web:
    image: busybox
    command: sh -c "mkdir -p /w; hostname > /w/index.html; exec httpd -f -p 80 -h /w"
    ports: ["18083:80"]
    restart: unless-stopped
    depends_on: [db]
  db:
    image: busybox
    command: sh -c "echo boot >> /data/boots; exec sleep 100000"
    volumes: ["data:/data"]
    restart: always
  once:
    image: busybox
    command: sleep 100000
volumes:
  data:
""")
        d.drover("up", "-d", cwd=folder)
        d.docker("run", "-d", "--name", "stopped", "--restart", "unless-stopped", "busybox", "sleep", "100000")
        d.docker("stop", "-t", "0", "stopped")
        d.docker("run", "-d", "--rm", "--name", "thrown", "busybox", "sleep", "100000")
        d.machine_dies()
        d.start()
        wait_for(lambda: "thrown" not in d.docker("ps", "-a", "--format", "{{.Names}}").out.split(), "the end of what is thrown away")

        def page():
            try:
                return http_get("http://127.0.0.1:18083/")[0] == 200
            except OSError:
                return False
        wait_for(page, "the page after the reboot")
        running = d.docker("ps", "--format", "{{.Names}}").out.split()
        self.assertEqual(set(running), {"proj-web-1", "proj-db-1"})
        self.assertEqual(d.docker("exec", "proj-db-1", "cat", "/data/boots").out, "boot\nboot\n")

    def test_a_restart_policy_restarts_with_back_off_and_gives_up_when_told(self):
        d = self.d
        d.docker("run", "-d", "--name", "crasher", "--restart", "on-failure:2", "busybox", "sh", "-c", "echo try; exit 1")
        wait_for(lambda: (s := d.inspect("crasher"))["State"]["Status"] == "exited" and s["RestartCount"] == 2, "two restarts")
        self.assertEqual(d.docker("logs", "crasher").out, "try\n" * 3)

    def test_health_is_probed_and_told(self):
        d = self.d
        d.docker("run", "-d", "--name", "probed", "--health-cmd", "test -e /ok", "--health-interval", "100ms", "--health-retries", "2",
                 "busybox", "sh", "-c", "sleep 100000")
        wait_for(lambda: d.inspect("probed")["State"]["Health"]["Status"] == "unhealthy", "unhealthy")
        d.docker("exec", "probed", "touch", "/ok")
        wait_for(lambda: d.inspect("probed")["State"]["Health"]["Status"] == "healthy", "healthy")
        self.assertIn("(healthy)", d.docker("ps", "--format", "{{.Status}}").out)

    def test_a_corrupt_blob_is_named_and_refused(self):
        d = self.d
        archive = os.path.join(d.root, "box.tar")
        d.docker("save", "-o", archive, "busybox")
        blobs = os.path.join(d.data, "blobs/sha256")
        largest = max((os.path.join(blobs, b) for b in os.listdir(blobs)), key=os.path.getsize)
        with open(largest, "r+b") as f:
            f.seek(os.path.getsize(largest) // 2)
            f.write(b"rot")
        done = d.docker("save", "-o", archive, "busybox", check=False)
        self.assert_clean_refusal(done, os.path.basename(largest)[:12])
        self.assertEqual(d.docker("run", "--rm", "busybox", "echo", "still").out, "still\n")

    def groups(self, *names):
        """The control groups of containers, by their ids or what else their names begin with."""
        return [path for parent in ("/sys/fs/cgroup/drover", "/sys/fs/cgroup/*/drover") for name in names for path in glob.glob(f"{parent}/{name}*/")]

    def keeper(self):
        return next(p for p in self.d.processes() if open(f"/proc/{p}/comm").read() == "drover-keeper\n" and  # and no child that is set up
                    open(f"/proc/{p}/cmdline").read().endswith(f"\0--root\0{self.d.data}\0"))

    def shutdown(self, check=True):
        return self.d.drover("shutdown", "--root", self.d.data, check=check)

    def test_shutdown_leaves_no_control_group_of_what_has_ended_since(self):
        d = self.d
        bind = os.path.join(d.root, "bind")
        os.makedirs(bind)
        os.mkfifo(os.path.join(bind, "go"))
        d.docker("run", "-d", "--name", "brief", "-v", f"{bind}:/b", "busybox", "sh", "-c", "cat /b/go; exit 11")
        seen = d.inspect("brief")
        self.assertTrue(self.groups(seen["Id"]))
        keeper = self.keeper()
        d.stop()
        with open(os.path.join(bind, "go"), "w") as go:
            go.write("go\n")
        wait_for(lambda: not alive(seen["State"]["Pid"]), "the container to end")
        wait_for(lambda: self.shutdown(check=False).status == 0, "the keeper to end")
        self.assertEqual(self.groups(seen["Id"], f".shared-{keeper}-"), [])
        d.start()
        self.assertEqual(wait_for(lambda: (s := d.inspect("brief")["State"])["Status"] == "exited" and s, "its exit")["ExitCode"], 11)

    def test_shutdown_leaves_no_control_group_of_what_was_killed_with_its_keeper(self):
        d = self.d
        d.docker("run", "-d", "--name", "victim", "busybox", "sleep", "1000")
        seen, keeper = d.inspect("victim"), self.keeper()
        d.machine_dies()
        self.assertTrue(self.groups(seen["Id"]))
        self.shutdown()
        self.assertEqual(self.groups(seen["Id"], f".shared-{keeper}-"), [])
        self.assertEqual(d.processes(), [])

    def test_shutdown_is_refused_while_a_container_runs_whose_keeper_was_killed(self):
        d = self.d
        d.docker("run", "-d", "--name", "alone", "busybox", "sleep", "1000")
        pid, keeper = d.inspect("alone")["State"]["Pid"], self.keeper()
        d.kill9()
        os.kill(keeper, signal.SIGKILL)
        self.assert_clean_refusal(self.shutdown(check=False), "processes are running")
        self.assertTrue(alive(pid))
        d.start()
        self.assertEqual(d.inspect("alone")["State"]["Pid"], pid)

    def test_a_second_serve_on_the_same_root_is_refused(self):
        d = self.d
        done = run([DROVER, "serve", "--root", d.data, "--socket", d.socket + "2"], check=False)
        self.assert_clean_refusal(done, d.data)
        self.assertEqual(d.docker("run", "--rm", "busybox", "echo", "still").out, "still\n")

    def test_two_instances_run_side_by_side(self):
        other = Drover().start()
        try:
            other.busybox()
            self.d.docker("run", "-d", "--name", "same", "busybox", "sleep", "1000")
            other.docker("run", "-d", "--name", "same", "busybox", "sleep", "1000")
            mine, theirs = (json.loads(d.docker("network", "inspect", "bridge").out)[0]["IPAM"]["Config"][0]["Subnet"]
                            for d in (self.d, other))
            self.assertNotEqual(mine, theirs)
        finally:
            self.assertEqual(other.remove(), "")


class FullDisk(Story):
    """The root directory is on a small file system that fills up."""
    shared = False

    @classmethod
    def make(cls):
        import tempfile
        root = tempfile.mkdtemp(prefix="drover-story-")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", root], check=True)
        d = Drover(root).start()
        d.busybox()
        return d

    def tearDown(self):
        self.d.docker("rm", "-f", *self.d.docker("ps", "-aq").out.split(), check=False)
        self.d.stop()
        self.d.machine_dies()
        run([DROVER, "shutdown", "--root", self.d.data])
        subprocess.run(["umount", self.d.root], check=True)
        os.rmdir(self.d.root)

    def test_a_full_disk_is_one_clear_error_and_what_ran_goes_on(self):
        d = self.d
        d.docker("run", "-d", "--name", "runner", "busybox", "sleep", "100000")

        with open("/dev/urandom", "rb") as noise:
            import io
            import tarfile
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w") as tar:
                entry = tarfile.TarInfo("noise")
                entry.size = 60 << 20
                tar.addfile(entry, noise)
        done = d.docker("import", "-", "toolarge", stdin=out.getvalue(), check=False)
        self.assert_clean_refusal(done, "no space")
        self.assertTrue(d.inspect("runner")["State"]["Running"])
        self.assertNotIn("toolarge", d.docker("images").out)
        self.assertEqual(d.docker("exec", "runner", "echo", "still").out, "still\n")
        self.assertEqual(d.docker("run", "--rm", "busybox", "echo", "room again").out, "room again\n")



