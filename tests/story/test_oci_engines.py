"""Docker and Podman, unchanged, run their containers with drover-oci."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from harness import DROVER, PEERS, alive, busybox_root_tar, run, wait_for


def runtime_link(root):
    """The binary under the name that makes it an OCI runtime."""
    path = os.path.join(root, "drover-oci")
    os.symlink(os.path.realpath(DROVER), path)
    return path


def cgroup_dirs(word):
    found = []
    for base, dirs, _ in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(base, d) for d in dirs if word in d]
    return found


def left_of(root):
    with open("/proc/self/mountinfo") as mounts:
        return [line.strip() for line in mounts if root in line]


def end_all_of(root, but=()):
    """Kills what was started from this root, by pid."""
    def mine():
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if root.encode() in f.read() and int(pid) != os.getpid() and alive(int(pid)):
                        found.append(int(pid))
        return found
    for pid in mine():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not mine(), "the processes of the engine to be gone")


class Engine(unittest.TestCase):
    """What both engines are asked; `self.engine(...)` is their command line."""

    tells_oom = True

    def engine(self, *args, check=True, stdin=None):
        raise NotImplementedError

    def test_run_passes_output_and_exit_code_on(self):
        done = self.engine("run", "--rm", "bb", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
        self.assertEqual((done.status, done.out, done.err), (7, "out\n", "err\n"))

    def test_a_program_that_is_not_there_is_127_and_one_that_cannot_run_126(self):
        self.assertEqual(self.engine("run", "--rm", "bb", "nonsense", check=False).status, 127)
        self.assertEqual(self.engine("run", "--rm", "bb", "/etc/passwd", check=False).status, 126)

    def test_exec_logs_top_stop(self):
        name = self.engine("run", "-d", "bb", "sh", "-c", "echo started; trap 'exit 3' TERM; while :; do sleep 0.05; done").out.strip()
        wait_for(lambda: "started" in self.engine("logs", name).out, "the container's line in the log")
        done = self.engine("exec", "-e", "A=1", "-w", "/tmp", name, "sh", "-c", "echo $A; pwd; exit 5", check=False)
        self.assertEqual((done.status, done.out), (5, "1\n/tmp\n"))
        self.assertNotEqual(self.engine("exec", name, "nonsense", check=False).status, 0)
        self.assertIn("trap", self.engine("top", name).out)
        self.engine("stop", name)
        self.assertEqual(self.engine("inspect", "-f", "{{.State.ExitCode}}", name).out.strip(), "3")
        self.engine("rm", name)

    def on_a_terminal(self, *args):
        """What a command says on a terminal whose input has not ended: an engine's client may leave at its end."""
        with subprocess.Popen(["script", "-qec", self.command_line(*args), "/dev/null"], env=self.environment, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
            return client.stdout.read().decode("utf-8", "replace")

    def test_standard_input_and_a_terminal(self):
        self.assertEqual(self.engine("run", "--rm", "-i", "bb", "wc", "-c", stdin=b"x" * 100000).out.strip(), "100000")
        said = self.on_a_terminal("run", "--rm", "-it", "bb", "sh -c 'tty; stty size'")
        self.assertIn("/dev/", said)
        self.assertNotIn("not a tty", said)
        name = self.engine("run", "-d", "bb", "sleep", "1000").out.strip()
        said = self.on_a_terminal("exec", "-it", name, "tty")
        self.assertIn("/dev/pts/", said)
        self.engine("rm", "-f", name)

    def test_kill_tells_the_signal(self):
        name = self.engine("run", "-d", "bb", "sleep", "1000").out.strip()
        self.engine("kill", "-s", "KILL", name)
        self.assertEqual(self.engine("wait", name).out.strip(), "137")
        self.engine("rm", name)

    def test_a_memory_limit_kills_and_is_told(self):
        name = self.engine("run", "-d", "--memory", "16m", "bb", "sh", "-c", "x=$(yes | head -c 200000000); echo $x").out.strip()
        self.assertEqual(self.engine("wait", name).out.strip(), "137")
        if self.tells_oom:
            self.assertEqual(self.engine("inspect", "-f", "{{.State.OOMKilled}}", name).out.strip(), "true")
        self.engine("rm", name)

    def test_limits_are_set_and_updated(self):
        name = self.engine("run", "-d", "--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--pids-limit", "33", "bb", "sleep", "1000").out.strip()
        read = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
        self.assertEqual(self.engine("exec", name, "sh", "-c", read, check=False).out.strip(), str(64 << 20))
        self.update(name)
        self.assertEqual(self.engine("exec", name, "sh", "-c", read, check=False).out.strip(), str(48 << 20))
        self.engine("rm", "-f", name)

    def test_pause_and_unpause(self):
        name = self.engine("run", "-d", "bb", "sleep", "1000").out.strip()
        self.engine("pause", name)
        self.assertEqual(self.engine("inspect", "-f", "{{.State.Status}}", name).out.strip(), "paused")
        self.engine("unpause", name)
        self.assertEqual(self.engine("inspect", "-f", "{{.State.Status}}", name).out.strip(), "running")
        self.engine("rm", "-f", name)

    def test_options_reach_the_container(self):
        out = self.engine("run", "--rm", "--user", "1000:2000", "--hostname", "box", "--read-only", "--cap-drop", "all",
                          "--security-opt", "no-new-privileges", "--tmpfs", "/scratch", "-v", f"{self.root}:/host:ro",
                          "--ulimit", "nofile=64:64", "bb", "sh", "-c",
                          "id -u; id -g; hostname; ulimit -n; touch /x 2>&1; touch /scratch/x && echo wrote; touch /host/x 2>&1;"
                          " grep -E 'CapEff|NoNewPrivs' /proc/self/status; echo $HOME").out
        lines = out.split("\n")
        self.assertEqual(lines[:4], ["1000", "2000", "box", "64"])
        self.assertIn("Read-only file system", lines[4])
        self.assertEqual(lines[5], "wrote")
        self.assertIn("touch: /host/x", lines[6])
        self.assertEqual(lines[7].split(), ["CapEff:", "0000000000000000"])
        self.assertEqual(lines[8].split(), ["NoNewPrivs:", "1"])

    def test_stats(self):
        name = self.engine("run", "-d", "bb", "sleep", "1000").out.strip()
        line = self.engine("stats", "--no-stream", "--format", "{{json .}}", name).out
        self.assertNotEqual(line.strip(), "")
        self.engine("rm", "-f", name)


class Docker(Engine):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="drover-dockerd-")
        cls.runtime = runtime_link(cls.root)
        cls.socket = os.path.join(cls.root, "docker.sock")
        cls.environment = {"PATH": f"{PEERS}/usr/bin:{PEERS}/usr/sbin:{os.environ['PATH']}", "DOCKER_HOST": f"unix://{cls.socket}",
                           "HOME": cls.root, "TERM": "xterm", "LD_LIBRARY_PATH": f"{PEERS}/usr/lib/x86_64-linux-gnu:{PEERS}/lib/x86_64-linux-gnu",
                           "DOCKER_RAMDISK": "1"}
        cls.log = open(os.path.join(cls.root, "dockerd.log"), "ab")
        cls.daemon = subprocess.Popen(
            [f"{PEERS}/usr/sbin/dockerd", "--data-root", f"{cls.root}/data", "--exec-root", f"{cls.root}/exec", "--pidfile", f"{cls.root}/pid",
             "-H", f"unix://{cls.socket}", "--add-runtime", f"drover={cls.runtime}", "--default-runtime", "drover", "--bridge", "none",
             "--iptables=false", "--ip-masq=false", "--storage-driver", "vfs"],
            env=cls.environment, stdin=subprocess.DEVNULL, stdout=cls.log, stderr=cls.log)

        def ready():
            if cls.daemon.poll() is not None:
                with open(cls.log.name, errors="replace") as log:
                    raise AssertionError("dockerd ended:\n" + log.read()[-3000:])
            return cls.cli("version", check=False).status == 0
        wait_for(ready, "dockerd to answer")
        cls.cli("import", "--change", 'CMD ["sh"]', "-", "bb", stdin=busybox_root_tar())

    @classmethod
    def cli(cls, *args, check=True, stdin=None):
        return run([f"{PEERS}/usr/bin/docker", *args], check=check, stdin=stdin, env=cls.environment)

    @classmethod
    def tearDownClass(cls):
        ids = cls.cli("ps", "-aq", check=False).out.split()
        if ids:
            cls.cli("rm", "-f", *ids, check=False)
        cls.daemon.terminate()
        cls.daemon.wait()
        cls.log.close()
        end_all_of(cls.root)
        left = left_of(cls.root) + [d for i in ids for d in cgroup_dirs(i)]
        for line in left_of(cls.root):
            subprocess.run(["umount", "-l", line.split()[4]], stderr=subprocess.DEVNULL)
        shutil.rmtree(cls.root, ignore_errors=True)
        if left:
            raise AssertionError("left behind:\n" + "\n".join(left))

    def engine(self, *args, check=True, stdin=None):
        if args[0] == "run":
            args = ("run", "--network", "none", *args[1:])
        return self.cli(*args, check=check, stdin=stdin)

    def command_line(self, *args):
        if args[0] == "run":
            args = ("run", "--network", "none", *args[1:])
        return " ".join([f"{PEERS}/usr/bin/docker", *args])

    def update(self, name):
        self.engine("update", "--memory", "48m", "--memory-swap", "48m", name)

    def test_docker_names_the_runtime(self):
        self.assertEqual(self.engine("info", "-f", "{{.DefaultRuntime}}").out.strip(), "drover")
        name = self.engine("run", "-d", "--runtime", "drover", "bb", "sleep", "1000").out.strip()
        self.assertEqual(self.engine("inspect", "-f", "{{.HostConfig.Runtime}}", name).out.strip(), "drover")
        state = f"{self.root}/exec/runtime-drover/moby"
        self.assertTrue(any(os.path.isdir(os.path.join(d, name)) for d in (state, f"{self.root}/exec/runtime-runc/moby")) or cgroup_dirs(name))
        self.engine("rm", "-f", name)


class Podman(Engine):
    tells_oom = False  # Podman 4.3 does not, on cgroup v1, with runc either

    @classmethod
    def setUpClass(cls):
        if not shutil.which("podman"):
            raise unittest.SkipTest("needs podman")
        cls.root = tempfile.mkdtemp(prefix="drover-podman-")
        cls.runtime = runtime_link(cls.root)
        cls.environment = {"PATH": os.environ["PATH"], "HOME": cls.root, "TERM": "xterm"}
        cls.base = ["podman", "--root", f"{cls.root}/data", "--runroot", f"{cls.root}/run", "--tmpdir", f"{cls.root}/tmp", "--storage-driver", "vfs",
                    "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", cls.runtime]
        cls.cli("import", "--change", "CMD sh", "-", "bb", stdin=busybox_root_tar())

    @classmethod
    def cli(cls, *args, check=True, stdin=None):
        # Its monitor leaves a file "oom" in the directory that it is started in.
        return run([*cls.base, *args], check=check, stdin=stdin, env=cls.environment, cwd=cls.root)

    @classmethod
    def tearDownClass(cls):
        cls.cli("rm", "-f", "-a", "-t", "0", check=False)
        end_all_of(cls.root)
        left = [line for line in left_of(cls.root) if "/data/" not in line or "/merged" in line]
        for line in left_of(cls.root):
            subprocess.run(["umount", "-l", line.split()[4]], stderr=subprocess.DEVNULL)
        shutil.rmtree(cls.root, ignore_errors=True)
        if left:
            raise AssertionError("left behind:\n" + "\n".join(left))

    def options(self, args):
        if args[0] == "run":
            # Podman's own defaults are above what a machine without CAP_SYS_RESOURCE can give.
            limits = [limit for limit in ("nproc=4096:4096", "nofile=1024:1024") if limit.split("=")[0] + "=" not in " ".join(args)]
            return ("run", "--network", "none", *[word for limit in limits for word in ("--ulimit", limit)], *args[1:])
        if args[0] == "stop":
            return ("stop", "-t", "5", *args[1:])
        if args[0] == "rm":
            return ("rm", *(["-t", "0"] if "-f" in args else []), *args[1:])
        return args

    def engine(self, *args, check=True, stdin=None):
        return self.cli(*self.options(args), check=check, stdin=stdin)

    def command_line(self, *args):
        return " ".join([*self.base, *self.options(args)])

    def update(self, name):
        self.engine("update", "--memory", "48m", "--memory-swap", "48m", name)


del Engine
