"""`docker run --runtime NAME`: other OCI runtimes, named in the configuration, make containers that are like the native ones to
every verb. Told once for each runtime that is installed."""
import json
import os
import shutil
import signal
import tempfile
import unittest

from harness import DROVER, Drover, Story, run, wait_for

NEITHER = "no other OCI runtime is installed: apt-get install runc crun"


class Other:
    """The stories; each runtime below is a class of them."""
    name, program, arguments, options = None, None, [], []

    @classmethod
    def make(cls):
        if not shutil.which(cls.program):
            raise unittest.SkipTest(f"{cls.program} is not installed")
        d = Drover()
        config = os.path.join(d.root, "serve.json")
        with open(config, "w") as f:
            json.dump({"runtimes": {cls.name: {"path": shutil.which(cls.program), "runtimeArgs": cls.arguments}}}, f)
        d.start("--config-file", config, *cls.options)
        d.busybox()
        return d

    def docker_run(self, *args, **more):
        return self.d.docker("run", "--runtime", self.name, *args, **more)

    def test_output_errors_and_the_exit_code_come_through(self):
        done = self.docker_run("--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
        self.assertEqual((done.status, done.out, done.err), (7, "out\n", "err\n"))
        self.assertEqual(self.d.docker("ps", "-aq").out, "")

    def test_standard_input_is_read_to_its_end(self):
        self.assertEqual(self.docker_run("--rm", "-i", "busybox", "wc", "-c", stdin=b"x" * 200000).out.strip(), "200000")

    def test_it_has_a_terminal(self):
        done = run(["script", "-qec", f"{self.d.cli} run --runtime {self.name} --rm -it busybox sh -c 'tty; stty size; echo done'",
                    "/dev/null"], env=self.d.env(TERM="xterm"))
        self.assertIn("/dev/", done.out)
        self.assertNotIn("not a tty", done.out)
        self.assertIn("done\r\n", done.out)

    def test_a_program_that_is_not_there_is_127_and_one_that_may_not_run_126(self):
        done = self.docker_run("--rm", "busybox", "nonsense", check=False)
        self.assertEqual(done.status, 127, done)
        self.assertIn("nonsense", done.err)
        self.assertEqual(self.docker_run("--rm", "busybox", "/etc/passwd", check=False).status, 126)
        self.assertEqual(self.d.docker("ps", "-aq").out, "")

    def test_a_life_with_exec_logs_stats_pause_stop_and_start(self):
        d = self.d
        name = self.docker_run("-d", "--memory", "64m", "--name", "life", "busybox", "sh", "-c",
                               "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done").out.strip()
        wait_for(lambda: "ready" in d.docker("logs", name).out, "the first line")
        self.assertEqual(d.inspect(name)["HostConfig"]["Runtime"], self.name)
        self.assertEqual(d.docker("exec", name, "sh", "-c", "echo in; exit 5", check=False).status, 5)
        self.assertEqual(d.docker("exec", "-i", name, "cat", stdin=b"through").out, "through")
        self.assertEqual(d.docker("exec", name, "nonsense", check=False).status, 126)
        self.assertEqual(d.docker("exec", "-u", "1000", name, "id", "-u").out, "1000\n")
        terminal = run(["script", "-qec", f"{d.cli} exec -it {name} tty", "/dev/null"], env=d.env(TERM="xterm"))
        self.assertIn("/dev/pts/", terminal.out)
        stats = json.loads(d.api("GET", f"/containers/{name}/stats?stream=false")[2])
        self.assertEqual(stats["memory_stats"]["limit"], 64 << 20)
        self.assertGreater(stats["memory_stats"]["usage"], 0)
        d.docker("pause", name)
        self.assertTrue(d.inspect(name)["State"]["Paused"])
        d.docker("unpause", name)
        d.docker("stop", name)
        state = d.inspect(name)["State"]
        self.assertEqual((state["Status"], state["ExitCode"]), ("exited", 3))
        self.assertEqual(d.docker("logs", name).out, "ready\nbye\n")
        for _ in range(3):
            d.docker("start", name)
            d.docker("kill", name)
            wait_for(lambda: not d.inspect(name)["State"]["Running"], "the kill")
            self.assertEqual(d.inspect(name)["State"]["ExitCode"], 137)
        d.docker("rm", name)

    def test_network_volume_and_published_port_are_like_those_of_others(self):
        d = self.d
        name = self.docker_run("-d", "-v", f"vol-{self.name}:/data", "-p", "127.0.0.1::8000", "busybox", "sh", "-c",
                               "echo page > /data/page; exec httpd -f -p 8000 -h /data").out.strip()
        port = d.docker("port", name, "8000").out.split(":")[-1].strip()
        wait_for(lambda: run(["busybox", "wget", "-qO-", f"http://127.0.0.1:{port}/page"], check=False).out == "page\n", "the page")
        self.assertEqual(d.docker("exec", name, "cat", "/etc/hostname").out.strip(), name[:12])
        d.docker("rm", "-f", name)

    def test_a_user_namespace_of_its_own_and_one_that_is_shared(self):
        d = self.d
        body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"UsernsMode": "private", "Runtime": self.name}}
        first = json.loads(d.api("POST", "/containers/create", body)[2])["Id"]
        d.docker("start", first)
        own = d.docker("exec", first, "cat", "/proc/self/uid_map").out
        self.assertNotEqual(own.split()[1], "0")
        body["HostConfig"].update(UsernsMode="", NetworkMode=f"container:{first}")
        second = json.loads(d.api("POST", "/containers/create", body)[2])["Id"]
        d.docker("start", second)
        self.assertEqual(d.docker("exec", second, "cat", "/proc/self/uid_map").out, own)
        d.docker("rm", "-f", second, first)

    def test_it_survives_the_death_of_serve_and_of_the_keeper(self):
        d = self.d
        name = self.docker_run("-d", "busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done").out.strip()
        pid = d.inspect(name)["State"]["Pid"]
        wait_for(lambda: d.docker("logs", name).out.count("\n") > 5, "some lines")
        keeper = [p for p in d.processes() if open(f"/proc/{p}/comm").read() == "drover-keeper\n"]
        os.kill(keeper[0], signal.SIGKILL)
        before = d.docker("logs", name).out.count("\n")
        wait_for(lambda: d.docker("logs", name).out.count("\n") > before + 5, "lines by the new keeper")
        lines = d.docker("logs", name).out.split()
        self.assertEqual(lines, [str(i + 1) for i in range(len(lines))])
        self.assertEqual(d.inspect(name)["State"]["Pid"], pid)
        self.assertEqual(d.docker("exec", name, "echo", "still").out, "still\n")
        d.docker("kill", name)
        wait_for(lambda: not d.inspect(name)["State"]["Running"], "its end")
        d.docker("start", name)  # the runtime has forgotten the one before
        d.docker("rm", "-f", name)

    def test_many_short_ones_at_once_leave_nothing(self):
        import concurrent.futures
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            codes = list(pool.map(lambda i: self.docker_run("--rm", "busybox", "sh", "-c", f"exit {i}", check=False).status, range(16)))
        self.assertEqual(codes, list(range(16)))
        state = os.path.join(self.d.data, "keeper/foreign/state")
        wait_for(lambda: not [n for n in os.listdir(state)], "the runtime's state to be empty")
        zombies = [p for p in os.listdir("/proc") if p.isdigit() and self.is_zombie_of_keeper(p)]
        self.assertEqual(zombies, [])

    def is_zombie_of_keeper(self, pid):
        try:
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            with open(f"/proc/{fields[1]}/cmdline") as f:
                return fields[0] == "Z" and self.d.root in f.read()
        except OSError:
            return False


class Remapped(Other):
    """With --userns-remap."""
    options = ["--userns-remap", "300000:65536"]

    def test_its_root_is_nobody_outside_and_owns_what_it_should_inside(self):
        script = "cat /proc/self/uid_map; touch /new /v/new; stat -c %u /new /v/new /bin/busybox /etc/hosts /dev/shm"
        out = self.docker_run("--rm", "-v", "kept:/v", "busybox", "sh", "-c", script).out.split()
        self.assertEqual(out, ["0", "300000", "65536", "0", "0", "0", "0", "0"])
        other = self.d.docker("run", "--rm", "-v", "kept:/v", "busybox", "stat", "-c", "%u", "/v/new").out
        self.assertEqual(other, "0\n")
        self.d.docker("volume", "rm", "kept")
        self.assertEqual(os.stat("/dev/null").st_uid, 0, "the machine's own null device")


class Runc(Other, Story):
    name, program = "runc", "runc"


class Crun(Other, Story):
    name, program = "crun", "crun"


class Oci(Other, Story):
    """Our own, as others see it."""
    name, program = "oci", "drover-oci"

    @classmethod
    def make(cls):
        folder = tempfile.mkdtemp(prefix="drover-story-bin-")
        os.symlink(DROVER, os.path.join(folder, "drover-oci"))
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{folder}:{path}"
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.addClassCleanup(os.environ.__setitem__, "PATH", path)
        return super().make()


class RuncRemapped(Remapped, Runc):
    pass


class CrunRemapped(Remapped, Crun):
    pass


class OciRemapped(Remapped, Oci):
    pass


class Names(Story):
    image = False
    shared = False

    @classmethod
    def make(cls):
        d = Drover().start("--add-runtime", "gone=/nowhere/runtime", "--add-runtime", "found=runc-or-not")
        d.busybox()
        return d

    def test_a_name_that_is_not_configured_is_dockers_error(self):
        done = self.d.docker("run", "--runtime", "nonsense", "busybox", check=False)
        self.assert_clean_refusal(done, "unknown or invalid runtime name: nonsense")
        self.assertEqual(done.status, 125)

    def test_a_runtime_that_is_not_installed_is_named_with_its_path(self):
        self.assert_clean_refusal(self.d.docker("run", "--runtime", "gone", "busybox", check=False), "gone", "/nowhere/runtime")
        self.assert_clean_refusal(self.d.docker("run", "--runtime", "found", "busybox", check=False), "found", "runc-or-not")

    def test_runc_and_crun_are_offered_by_name_where_they_are_installed(self):
        known = json.loads(self.d.docker("info", "-f", "{{json .Runtimes}}").out)
        for name in ("runc", "crun"):
            with self.subTest(name):
                if shutil.which(name):
                    self.assertEqual(known[name], {"path": name})
                    self.assertEqual(self.d.docker("run", "--rm", "--runtime", name, "busybox", "echo", "by", name).out, f"by {name}\n")
                else:
                    self.assertNotIn(name, known)

    def test_info_lists_them(self):
        info = json.loads(self.d.docker("info", "-f", "{{json .}}").out)
        self.assertEqual(info["DefaultRuntime"], "native")
        self.assertEqual(info["Runtimes"]["gone"]["path"], "/nowhere/runtime")

    def test_serve_refuses_a_wrong_configuration(self):
        root = os.path.join(self.d.root, "other")
        bad = os.path.join(self.d.root, "bad.json")
        serve = [DROVER, "serve", "--root", root, "--socket", os.path.join(self.d.root, "other.sock")]
        for text, words in (('{"runtimes": {"x": {}}}', "runtimes.x.path"), ('{"nonsense": 1}', "nonsense"), ("{", "bad.json"),
                            ('{"default-runtime": "x"}', "unknown or invalid runtime name: x"),
                            ('{"runtimes": {"native": {"path": "/bin/true"}}}', "native"),
                            ('{"runtimes": {"x": {"path": "/bin/true", "runtimeArgs": [1]}}}', "runtimeArgs"),
                            ('{"runtimes": {"x": {"path": "a/b"}}}', "absolute")):
            with open(bad, "w") as f:
                f.write(text)
            self.assert_clean_refusal(run(serve + ["--config-file", bad], check=False), words)
        self.assert_clean_refusal(run(serve + ["--config-file", "/nowhere.json"], check=False), "/nowhere.json")
        self.assert_clean_refusal(run(serve + ["--add-runtime", "nonsense"], check=False), "NAME=PATH")


class Default(Story):
    image = False

    @classmethod
    def make(cls):
        if not shutil.which("runc"):
            raise unittest.SkipTest(NEITHER)
        d = Drover().start("--add-runtime", "mine=runc", "--default-runtime", "mine")
        d.busybox()
        return d

    def test_the_default_runtime_runs_what_names_none_and_native_is_still_there(self):
        name = self.d.docker("create", "busybox", "true").out.strip()
        self.assertEqual(self.d.inspect(name)["HostConfig"]["Runtime"], "mine")
        self.assertEqual(self.d.docker("start", "-a", name, check=False).status, 0)
        self.assertEqual(self.d.docker("run", "--rm", "--runtime", "native", "busybox", "echo", "own").out, "own\n")
        self.d.docker("rm", name)
