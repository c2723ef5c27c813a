"""drover-oci, the runtime as a program of its own: what the runtime-spec and the callers of runc expect of one."""
import array
import contextlib
import copy
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
import unittest

from harness import DROVER, TOP, alive, busybox_root_tar, run, wait_for


def mounts(word):
    with open("/proc/self/mountinfo") as f:
        return sorted(line for line in f if word in line)


def groups():
    """Every cgroup of a container that carries a story's name."""
    return sorted(os.path.join(base, d) for base, dirs, _ in os.walk("/sys/fs/cgroup") for d in dirs if f"story-{os.getpid()}-" in d)


def processes(word):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if word.encode() in f.read() and int(pid) != os.getpid() and alive(int(pid)):
                    found.append(int(pid))
    return found


class Oci(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix="drover-oci-")
        cls.binary = os.path.join(cls.top, "drover-oci")
        os.symlink(os.path.realpath(DROVER), cls.binary)
        cls.bundle = os.path.join(cls.top, "bundle")
        os.makedirs(os.path.join(cls.bundle, "rootfs"))
        with tarfile.open(fileobj=io.BytesIO(busybox_root_tar())) as tar:
            tar.extractall(os.path.join(cls.bundle, "rootfs"))
        run([cls.binary, "spec", "--bundle", cls.bundle])
        with open(os.path.join(cls.bundle, "config.json")) as f:
            cls.template = json.load(f)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.top)

    def setUp(self):
        self.root = os.path.join(self.top, "state-" + self._testMethodName[5:25])
        self.log = os.path.join(self.top, "log")
        self.before = (mounts(self.top), groups())
        self.count = 0

    def tearDown(self):
        with contextlib.suppress(OSError):
            for name in os.listdir(self.root):
                self.oci("delete", "--force", name)
        self.assertEqual((mounts(self.top), groups()), self.before, "left behind")
        self.assertEqual(processes(self.root), [])
        if os.path.isdir(self.root):
            self.assertEqual(os.listdir(self.root), [])

    # --- the words of the stories ---

    def name(self):
        self.count += 1
        return f"story-{os.getpid()}-{self.count}"

    def configure(self, *args, text=None, **changes):
        """Writes config.json: the template with these arguments, and keyword changes "a__b" = config["a"]["b"]."""
        config = copy.deepcopy(self.template)
        config["process"]["terminal"] = False
        if args:
            config["process"]["args"] = list(args)
        for path, value in changes.items():
            *way, last = path.split("__")
            at = config
            for word in way:
                at = at.setdefault(word, {})
            at[last] = value
        with open(os.path.join(self.bundle, "config.json"), "w") as f:
            f.write(json.dumps(config) if text is None else text)
        return config

    def oci(self, *args, stdin=None, **more):
        return run([self.binary, "--root", self.root, *args], check=False, stdin=stdin, cwd=self.bundle, **more)

    def ok(self, *args, **more):
        done = self.oci(*args, **more)
        self.assertEqual(done.status, 0, done)
        return done

    def quiet(self, *args):
        """For what stays: a container must not hold our pipes."""
        done = subprocess.run([self.binary, "--root", self.root, *args], cwd=self.bundle, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, args)

    def refuse(self, *args, word="", **more):
        """One line on stderr, and the same in the log as runc writes it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.log)
        done = self.oci("--log", self.log, "--log-format", "json", *args, **more)
        self.assertGreater(done.status, 0, done)
        self.assertEqual(len(done.err.strip().split("\n")), 1, done)
        with open(self.log) as f:
            lines = [json.loads(line) for line in f]
        errors = [line for line in lines if line["level"] == "error"]
        self.assertEqual(len(errors), 1, lines)
        self.assertEqual(set(errors[0]), {"level", "msg", "time"})
        self.assertEqual(done.err.strip(), "drover-oci: " + errors[0]["msg"])
        self.assertIn(word.lower(), done.err.lower())
        for bad in ("Sanitizer", "impossible state"):
            self.assertNotIn(bad, done.err)
        return done

    def state(self, name):
        return json.loads(self.ok("state", name).out)

    def status(self, name):
        return self.state(name)["status"]

    # --- lifecycle ---

    def test_a_container_is_created_started_stopped_and_deleted(self):
        self.configure("sleep", "1000", annotations={"a": "b"})
        name = self.name()
        self.quiet("create", "--pid-file", f"{self.top}/pid", name)
        state = self.state(name)
        with open(f"{self.top}/pid") as f:
            self.assertEqual(state["pid"], int(f.read()))
        self.assertEqual((state["id"], state["status"], state["bundle"], state["annotations"]),
                         (name, "created", os.path.realpath(self.bundle), {"a": "b"}))
        self.refuse("create", name, word="exists")
        self.refuse("delete", name, word="not stopped: created")
        self.ok("start", name)
        self.assertEqual(self.status(name), "running")
        self.refuse("start", name, word="already running")
        self.refuse("delete", name, word="not stopped")
        self.ok("kill", name, "KILL")
        wait_for(lambda: self.status(name) == "stopped", "the container to stop")
        self.assertEqual(self.state(name)["pid"], 0)
        self.refuse("kill", name, "TERM", word="container not running")
        self.refuse("start", name, word="has stopped")
        self.refuse("exec", name, "true", word="container not running")
        self.ok("delete", name)
        for command in ("state", "start", "delete", "pause", "resume", "ps", "update", "events"):
            self.refuse(command, name, word="container does not exist")
        self.refuse("kill", name, "KILL", word="container does not exist")
        self.ok("delete", "--force", name)

    def test_run_gives_output_input_and_the_exit_status(self):
        self.configure("sh", "-c", "cat; echo err >&2; exit 7")
        done = self.oci("run", self.name(), stdin=b"hello\n")
        self.assertEqual((done.status, done.out, done.err), (7, "hello\n", "err\n"))
        self.configure("sh", "-c", "kill -9 $$")
        self.configure("sh", "-c", "sleep 1000 & kill -TERM $!; wait $!")
        self.assertEqual(self.oci("run", self.name()).status, 143)

    def test_run_passes_signals_on(self):
        self.configure("sh", "-c", "trap 'echo got; exit 9' USR1; echo ready; while :; do sleep 0.02; done")
        child = subprocess.Popen([self.binary, "--root", self.root, "run", self.name()], cwd=self.bundle, stdout=subprocess.PIPE)
        self.assertEqual(child.stdout.readline(), b"ready\n")
        child.send_signal(signal.SIGUSR1)
        self.assertEqual(child.stdout.read(), b"got\n")
        self.assertEqual(child.wait(), 9)

    def test_run_keep_leaves_a_stopped_container(self):
        self.configure("true")
        name = self.name()
        self.ok("run", "--keep", name)
        self.assertEqual(self.status(name), "stopped")
        self.ok("delete", name)

    def test_a_created_container_whose_process_died_is_stopped(self):
        self.configure("true")
        name = self.name()
        self.quiet("create", name)
        os.kill(self.state(name)["pid"], signal.SIGKILL)
        wait_for(lambda: self.status(name) == "stopped", "it to be stopped")
        self.refuse("start", name, word="stopped")
        self.ok("delete", name)

    def test_tools_written_for_crun_find_their_status(self):
        self.configure("sleep", "1000")
        name = self.name()
        self.quiet("run", "--detach", name)
        with open(os.path.join(self.root, name, "status")) as f:
            status = json.load(f)
        state = self.state(name)
        self.assertEqual((status["pid"], status["bundle"], status["rootfs"]), (state["pid"], state["bundle"], state["rootfs"]))
        self.assertEqual(json.loads(status["external_descriptors"]), ["/dev/null"] * 3)
        self.assertEqual((status["detached"], status["systemd-cgroup"], status["scope"]), (True, False, ""))
        self.assertTrue(status["cgroup-path"].endswith(name))

    def test_another_process_with_its_number_is_not_the_container(self):
        self.configure("sleep", "1000")
        name = self.name()
        self.quiet("run", "--detach", name)
        path = os.path.join(self.root, name, "state.json")
        with open(path) as f:
            original = f.read()
        with open(path, "w") as f:
            f.write(json.dumps({**json.loads(original), "pid": os.getpid()}))
        self.assertEqual(self.status(name), "stopped")
        self.refuse("kill", name, "KILL", word="container not running")
        with open(path, "w") as f:
            f.write(original)
        self.ok("delete", "--force", name)

    def test_of_many_creations_of_one_id_one_wins(self):
        self.configure("sleep", "1000")
        name = self.name()
        ends = []

        def create():
            ends.append(subprocess.run([self.binary, "--root", self.root, "create", name], cwd=self.bundle, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode)
        threads = [threading.Thread(target=create) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(sorted(ends), [0] + [1] * 7)
        self.assertEqual(self.status(name), "created")
        self.ok("delete", "--force", name)

    def test_a_creation_that_was_cut_off_is_cleaned_and_its_id_free(self):
        name = self.name()
        os.makedirs(os.path.join(self.root, name))
        self.refuse("state", name, word="does not exist")
        self.ok("delete", "--force", name)
        self.assertEqual(os.listdir(self.root), [])
        os.makedirs(os.path.join(self.root, name))
        self.configure("true")
        self.ok("run", name)

    def test_whenever_a_creation_is_killed_nothing_is_left_but_what_delete_takes(self):
        self.configure("sleep", "1000")
        for i in range(40):
            name = self.name()
            child = subprocess.Popen([self.binary, "--root", self.root, "create", name], cwd=self.bundle, stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(i * 0.0004)  # not a wait: the moment of death
            child.kill()
            child.wait()
            self.ok("delete", "--force", name)
        wait_for(lambda: not processes(self.root) and groups() == self.before[1], "all to be gone")

    def test_start_tells_the_service_manager_when_the_program_is_ready(self):
        self.configure("sleep", "1000")
        name, path = self.name(), f"{self.top}/manager.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            env = {**os.environ, "NOTIFY_SOCKET": path}
            subprocess.run([self.binary, "--root", self.root, "create", name], cwd=self.bundle, env=env, check=True, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            start = subprocess.Popen([self.binary, "--root", self.root, "start", name], env=env)
            inside = os.path.join(self.root, name, "notify", "notify")
            wait_for(lambda: os.path.exists(inside) and self.status(name) == "running", "the program to run")
            look = f"tr '\\0' '\\n' </proc/1/environ | grep ^NOTIFY; ls -d {path}/notify"
            self.assertEqual(self.ok("exec", name, "sh", "-c", look).out.split(), [f"NOTIFY_SOCKET={path}/notify", f"{path}/notify"])
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as program:
                program.sendto(b"STATUS=soon", inside)
                program.sendto(b"MAINPID=1\nREADY=1", inside)
            self.assertEqual(start.wait(), 0)
            self.assertEqual(manager.recv(4096), b"READY=1")
        os.unlink(path)
        self.ok("delete", "--force", name)

    # --- processes in it ---

    def test_exec_joins_a_group_below_the_containers_in_all_or_in_some_hierarchies(self):
        self.configure("sleep", "1000")
        name = self.name()
        self.quiet("run", "-d", name)

        def places(pid):
            with open(f"/proc/{pid}/cgroup") as f:
                return {line.split(":")[1]: line.rstrip().split(":", 2)[2] for line in f}
        with open("/proc/self/mountinfo") as f:
            mounts = [(line.split()[4], line.rstrip().split(" - ")[1].split()) for line in f if " - cgroup" in line]
        container = places(json.loads(self.oci("state", name).out)["pid"])
        v1 = [(point, fields[2].split(",")) for point, fields in mounts if fields[0] == "cgroup"]
        wanted = ["memory", "pids"] if any("memory" in options for _, options in v1) else [""]
        for controller in wanted:
            point = next(p for p, o in v1 if controller in o) if controller else next(p for p, f in mounts if f[0] == "cgroup2")
            os.mkdir(point + container[controller] + "/below")

        def joined(*options):
            self.quiet("exec", "--detach", "--pid-file", f"{self.top}/exec.pid", *options, name, "sleep", "999")
            with open(f"{self.top}/exec.pid") as f:
                return places(f.read())
        if wanted == [""]:
            self.assertEqual(joined("--cgroup", "below"), {"": container[""] + "/below"})
        else:
            self.assertEqual(joined("--cgroup", "memory:below"), {**container, "memory": container["memory"] + "/below"})
            both = {key: container[key] + "/below" for key in wanted}
            self.assertEqual(joined("--cgroup", "memory,pids:/below"), {**container, **both})
            self.assertEqual(joined("--cgroup", "memory:below", "--cgroup", "pids:below"), {**container, **both})
        for bad, why in (("..", ".. is not a sub cgroup path"), ("nowhere", "/nowhere/cgroup.procs: no such file"), ("whaaat:/", "unknown controller whaaat")):
            done = self.oci("exec", "--cgroup", bad, name, "true")
            self.assertNotEqual(done.status, 0)
            self.assertIn(why, done.err)

    def test_exec_takes_its_options(self):
        self.configure("sleep", "1000")
        name = self.name()
        self.quiet("run", "-d", name)
        done = self.oci("exec", "-e", "A=1", "--env", "PATH=/bin", "--cwd", "/tmp", "--user", "1000:2000", "-g", "3000", name,
                        "sh", "-c", "echo $A $PATH; pwd; id -u; id -g; id -G; exit 4")
        self.assertEqual((done.status, done.out), (4, "1 /bin\n/tmp\n1000\n2000\n2000 3000\n"))
        self.assertEqual(self.oci("exec", name, "nonsense").status, 255)
        process = {"args": ["sh", "-c", "echo $B; exit 3"], "cwd": "/", "env": ["PATH=/bin", "B=c"], "user": {"uid": 0, "gid": 0}}
        with open(f"{self.top}/process.json", "w") as f:
            json.dump(process, f)
        done = self.oci("exec", "--process", f"{self.top}/process.json", name)
        self.assertEqual((done.status, done.out), (3, "c\n"))
        self.quiet("exec", "--detach", "--pid-file", f"{self.top}/exec.pid", name, "sleep", "999")
        with open(f"{self.top}/exec.pid") as f:
            self.assertIn(int(f.read()), json.loads(self.ok("ps", "--format", "json", name).out))
        self.assertIn("sleep 999", self.ok("ps", name).out)
        self.ok("kill", "--all", name, "9")
        wait_for(lambda: self.status(name) == "stopped", "all to end")
        self.ok("delete", name)

    def receive_terminal(self, command, then):
        path = f"{self.top}/console.sock"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            self.quiet(*command[:1], "--console-socket", path, *command[1:])
            connection, _ = listener.accept()
            with connection:
                _, rights, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
        master = array.array("i", rights[0][2][:4])[0]
        then()
        seen = b""
        with contextlib.suppress(OSError):
            while True:
                part = os.read(master, 4096)
                if not part:
                    break
                seen += part
        os.close(master)
        return seen.decode()

    def test_a_terminal_goes_through_the_console_socket(self):
        self.configure("sh", "-c", "tty; stty size; sleep 0.01", process__terminal=True, process__consoleSize={"height": 11, "width": 22})
        name = self.name()
        self.refuse("create", name, word="console socket")
        seen = self.receive_terminal(("create", name), lambda: self.ok("start", name))
        self.assertEqual(seen.split(), ["/dev/pts/0", "11", "22"])
        self.ok("delete", "--force", name)
        self.configure("sleep", "1000")
        self.refuse("create", "--console-socket", "/nowhere", name, word="console socket")
        self.quiet("run", "-d", name)
        seen = self.receive_terminal(("exec", "--tty", "--detach", name, "tty"), lambda: None)
        self.assertIn("/dev/pts/", seen)
        self.ok("delete", "-f", name)

    def test_a_detached_terminal_wants_a_console_socket(self):
        self.configure("true", process__terminal=True)
        self.refuse("run", "--detach", self.name(), word="use --console-socket")

    def test_run_in_a_terminal_relays_it(self):
        self.configure("sh", "-c", "tty; read x; echo got $x; exit 6", process__terminal=True)
        done = run(["script", "-qec", f"{self.binary} --root {self.root} run {self.name()}", "/dev/null"], cwd=self.bundle,
                   stdin=b"hello\n", check=False)
        self.assertEqual(done.status, 6, done)
        self.assertIn("/dev/pts/0", done.out)
        self.assertIn("got hello", done.out)

    def test_descriptors_are_passed_on_only_when_asked(self):
        read, write = os.pipe()
        os.write(write, b"x\n")
        os.close(write)

        def open_more():
            os.dup2(read, 3)
            null = os.open("/dev/null", os.O_RDONLY)
            os.dup2(null, 5)
            os.dup2(null, 9)
            for fd in (3, 5, 9):
                os.set_inheritable(fd, True)

        def descriptors(*options, program="ls /proc/self/fd", **env):
            self.configure("sh", "-c", program)
            done = subprocess.run([self.binary, "--root", self.root, "run", *options, self.name()], cwd=self.bundle, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, close_fds=False, preexec_fn=open_more, env={"PATH": "/bin:/usr/bin", **env})
            self.assertEqual(done.returncode, 0)
            return done.stdout.decode().split()
        self.assertEqual(descriptors(), ["0", "1", "2", "3"])  # the last is ls's own
        self.assertEqual(descriptors("--preserve-fds", "1", program="cat <&3; ls /proc/self/fd"), ["x", "0", "1", "2", "3", "4"])
        self.assertEqual(descriptors("--preserve-fds", "4"), ["0", "1", "2", "3", "4", "5"])
        self.assertEqual(descriptors(program="ls /proc/self/fd; echo $LISTEN_FDS $LISTEN_PID", LISTEN_FDS="1"), ["0", "1", "2", "3", "4", "1", "1"])
        os.close(read)

    # --- hooks ---

    def hook(self, word, code=0):
        script = f'read -r s || true; echo "{word} $s" >> {self.top}/hooks; exit {code}'
        return [{"path": "/bin/sh", "args": ["sh", "-c", script]}]

    def hooks_seen(self):
        with open(f"{self.top}/hooks") as f:
            lines = [line.split(" ", 1) for line in f]
        os.unlink(f"{self.top}/hooks")
        return [(word, json.loads(state)["status"]) for word, state in lines]

    def test_hooks_run_in_order_with_the_state(self):
        self.configure("true", hooks={k: self.hook(k) for k in ("prestart", "createRuntime", "poststart", "poststop")})
        name = self.name()
        self.quiet("create", name)
        self.quiet("start", name)
        wait_for(lambda: self.status(name) == "stopped", "the end")
        self.ok("delete", name)
        seen = self.hooks_seen()
        self.assertEqual([w for w, _ in seen], ["prestart", "createRuntime", "poststart", "poststop"])
        self.assertEqual(seen[-1], ("poststop", "stopped"))

    def test_a_hook_that_fails_before_the_start_ends_the_container(self):
        for kind in ("prestart", "createRuntime", "createContainer"):
            self.configure("true", hooks={kind: self.hook(kind, code=3), "poststop": self.hook("poststop")})
            self.refuse("create", self.name(), word="hook")
            self.assertEqual([w for w, _ in self.hooks_seen()], [kind, "poststop"])
        self.configure("true", hooks={"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}], "poststop": self.hook("poststop")})
        name = self.name()
        self.quiet("create", name)
        self.refuse("start", name, word="hook")
        self.assertEqual(self.status(name), "stopped")
        self.ok("delete", name)
        self.assertEqual([w for w, _ in self.hooks_seen()], ["poststop"])

    def test_a_hook_that_fails_after_the_start_ends_a_container_of_1_3(self):
        self.configure("sleep", "1000", hooks={"poststart": self.hook("one", code=3) + self.hook("two"), "poststop": self.hook("poststop")},
                       ociVersion="1.3.0")
        for way in (("run", "-d"), ("run",)):
            self.refuse(*way, self.name(), word="poststart hook #0")
            self.assertEqual(self.hooks_seen(), [("one", "running"), ("poststop", "stopped")])
        name = self.name()
        self.quiet("create", name)
        self.refuse("start", name, word="poststart hook #0")
        wait_for(lambda: self.status(name) == "stopped", "its end")
        self.ok("delete", name)
        self.assertEqual(self.hooks_seen(), [("one", "running"), ("poststop", "stopped")])

    def test_a_hook_that_fails_after_the_start_of_an_older_config_is_a_warning(self):
        self.configure("sleep", "1000", ociVersion="1.2.0", hooks={"poststart": self.hook("one", code=3) + self.hook("two")})
        name = self.name()
        self.quiet("run", "-d", name)
        self.assertEqual(self.status(name), "running")
        self.assertEqual(self.hooks_seen(), [("one", "running"), ("two", "running")])
        self.ok("delete", "-f", name)

    def test_a_descriptor_of_the_process_is_sent_to_who_asked_for_it(self):
        path = os.path.join(self.top, "pidfd.sock")

        def sent(*command):
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(path)
                server.listen()
                self.quiet(*command)
                with server.accept()[0] as talk:
                    pidfd = socket.recv_fds(talk, 64, 2)[1]
            os.unlink(path)
            self.assertEqual(len(pidfd), 1)
            with open(f"/proc/self/fdinfo/{pidfd[0]}") as f:
                return pidfd[0], int(re.search(r"^Pid:\t(\d+)", f.read(), re.M).group(1))

        pid_file = os.path.join(self.top, "pid")
        name, other = self.name(), self.name()
        self.configure("sleep", "1000")
        created, pid = sent("create", "--pidfd-socket", path, "--pid-file", pid_file, name)
        self.assertEqual(str(pid), open(pid_file).read())
        self.quiet("start", name)
        executed, pid = sent("exec", "-d", "--pidfd-socket", path, "--pid-file", pid_file, name, "sleep", "1000")
        self.assertEqual(str(pid), open(pid_file).read())
        signal.pidfd_send_signal(executed, signal.SIGKILL)
        self.assertEqual(self.status(name), "running")
        signal.pidfd_send_signal(created, signal.SIGKILL)
        wait_for(lambda: self.status(name) == "stopped", "the container to stop")
        self.configure("sleep", "1000", annotations={"run.oci.pidfd_receiver": path})
        annotated, pid = sent("run", "-d", other)
        self.assertEqual(pid, json.loads(self.ok("state", other).out)["pid"])
        for fd in (created, executed, annotated):
            os.close(fd)
        self.ok("delete", name)
        self.ok("delete", "-f", other)
        self.refuse("create", "--pidfd-socket", "/nowhere", self.name(), word="descriptor")

    # --- what changes and what is told ---

    def test_pause_resume_update_events_list(self):
        self.configure("sleep", "1000")
        name = self.name()
        self.quiet("run", "-d", name)
        self.ok("pause", name)
        self.assertEqual(self.status(name), "paused")
        self.refuse("pause", name, word="already paused")
        self.refuse("exec", name, "true", word="paused container")
        self.ok("resume", name)
        self.refuse("resume", name, word="not paused")
        self.ok("update", "--memory", "64m", "--pids-limit", "40", name)
        self.ok("update", "--resources", "-", name, stdin=b'{"memory":{"limit":0},"pids":{"limit":50},"cpu":{"shares":0}}')
        data = json.loads(self.ok("events", "--stats", name).out)
        self.assertEqual((data["type"], data["id"]), ("stats", name))
        self.assertEqual((data["data"]["memory"]["usage"]["limit"], data["data"]["pids"]["limit"]), (64 << 20, 50))
        self.refuse("update", "--memory", "lots", name, word="--memory")
        self.refuse("update", "--l3-cache-schema", "x", name, word="rdt")
        self.refuse("update", "--resources", "-", name, stdin=b"[]", word="not an object")
        self.assertEqual([c["id"] for c in json.loads(self.ok("list", "--format", "json").out)], [name])
        self.assertEqual(self.ok("list", "-q").out, name + "\n")
        self.assertIn("running", self.ok("list").out)
        self.ok("pause", name)
        self.ok("delete", "--force", name)

    def test_a_limit_below_what_is_used_is_refused_where_that_is_asked_for(self):
        self.configure("sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=16; exec sleep 1000")
        name = self.name()
        self.quiet("run", "-d", name)

        def memory():
            return json.loads(self.ok("events", "--stats", name).out)["data"]["memory"]["usage"]

        wait_for(lambda: memory()["usage"] > 16 << 20, "its memory to be used")
        before = memory()["limit"]
        self.refuse("update", "--resources", "-", name, stdin=b'{"memory":{"limit":8388608,"checkBeforeUpdate":true}}', word="checkBeforeUpdate")
        self.assertEqual(memory()["limit"], before)
        self.ok("delete", "--force", name)

    def test_features_name_what_there_is(self):
        features = json.loads(self.ok("features").out)
        self.assertEqual(features["ociVersionMax"][:2], "1.")
        self.assertIn("poststop", features["hooks"])

    def test_the_page_has_the_table_of_commands(self):
        with open(os.path.join(TOP, "docs/oci.md")) as page:
            self.assertIn(self.ok("help", "--markdown").out, page.read(), "docs/oci.md: run drover-oci help --markdown")

    def test_the_page_of_the_specification_names_tests_and_functions_that_there_are(self):
        with open(os.path.join(TOP, "docs/oci-specification.md")) as page:
            rows = [line.split("|")[-3:-1] for line in page if line.startswith("| ") and "`" in line.split("|")[-3]]
        self.assertEqual([row for row in rows if "`" not in row[1] and row[1] != " by reading "], [])
        named = {(file, test) for _, row in rows for file, tests in re.findall(r"(\w+): ((?:`\w+`(?:, )?)+)", row) for test in re.findall(r"`(\w+)`", tests)}
        self.assertGreater(len(named), 60)
        places = {place for row, _ in rows for place in re.findall(r"`([^`]+)`", row)}
        self.assertGreater(len(places), 60)
        for place in sorted(places):
            file, function = place.split(":")
            with open(os.path.join(TOP, "src", file if "/" in file else f"runtime/{file}")) as f:
                self.assertIsNotNone(re.search(rf"^\w.*\b{function}\(", f.read(), re.M), place)
        for file, test in sorted(named):
            found = False
            for path, kind in ((f"tests/unit/test_{file}.c", "void "), (f"tests/story/test_{file}.py", "def test_")):
                with contextlib.suppress(FileNotFoundError), open(os.path.join(TOP, path)) as f:
                    found = found or f"{kind}{test}(" in f.read()
            self.assertTrue(found, f"{file}: {test}")

    def test_checkpoint_is_refused_by_name(self):
        for command in ("checkpoint", "restore"):
            self.refuse(command, "x", word="not supported")

    # --- bad input ---

    def test_words_that_are_wrong_are_refused(self):
        self.configure("true")
        for args, word in ((["run"], "requires"), (["run", "a", "b"], "requires"), (["run", "--nonsense", "a"], "--nonsense"),
                           (["nonsense"], "nonsense"), (["kill", "a", "SIGNONSENSE"], "does not exist"), (["run", "../x"], "invalid id"),
                           (["run", ""], "empty"), (["run", "x" * 300], "invalid id"), (["run", "-b", "/nowhere", "a"], "/nowhere"),
                           (["events", "--interval", "0", "a"], "interval"), (["list", "--format", "xml"], "format"),
                           (["create", "--preserve-fds", "-1", "a"], "preserve-fds"), (["exec", "a"], "does not exist")):
            self.refuse(*args, word=word)
        self.assertNotEqual(self.oci("--log-format", "xml", "list").status, 0)
        self.assertNotEqual(self.oci("--log", "/nowhere/log", "list").status, 0)

    def test_a_bundle_behind_a_symlink_is_the_bundle(self):
        self.configure("true")
        link = os.path.join(self.top, "link")
        os.symlink(self.bundle, link)
        self.ok("run", "--bundle", link, self.name())
        os.unlink(link)

    def test_what_cannot_be_made_leaves_nothing(self):
        cases = [
            (dict(text=""), "config.json"),
            (dict(text="[]"), "not an object"),
            (dict(text='{"ociVersion":"1.0.0","ociVersion":"1.0.0"}'), "duplicate"),
            (dict(text='{"a":' * 100 + "1" + "}" * 100), "nested"),
            (dict(ociVersion="2.0.0"), "2.0.0"),
            (dict(ociVersion="one"), "one"),
            (dict(root__path="nowhere"), "nowhere"),
            (dict(root__path="config.json"), "not a directory"),
            (dict(process__args=["nonsense"]), "nonsense"),
            (dict(process__args=["/etc/passwd"]), "denied"),
            (dict(process__args=[]), "command"),
            (dict(process__cwd="relative"), "absolute"),
            (dict(process__user={"uid": -1, "gid": 0}), "uid"),
            (dict(process__rlimits=[{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]), "RLIMIT_NONSENSE"),
            (dict(mounts=[{"destination": "/x", "type": "nonsense", "source": "x"}]), "nonsense"),
            (dict(mounts=[{"destination": "/x", "type": "bind", "source": "/nowhere", "options": ["bind"]}]), "/nowhere"),
            (dict(linux__namespaces=[{"type": "mount"}, {"type": "nonsense"}]), "nonsense"),
            (dict(linux__namespaces=[{"type": "mount"}, {"type": "network", "path": "/nowhere"}]), "/nowhere"),
            (dict(linux__namespaces=[{"type": "mount"}, {"type": "mount"}]), "twice"),
            (dict(linux__resources={"memory": {"limit": 1}}), ""),
            (dict(linux__resources={"memory": {"limit": "many"}}), "limit"),
            (dict(linux__cgroupsPath=f"/story-{os.getpid()}-" + "x" * 300), "x"),
            (dict(linux__seccomp={"defaultAction": "SCMP_ACT_NONSENSE"}), "NONSENSE"),
            (dict(linux__sysctl={"kernel.nonsense": "1"}), "nonsense"),
            (dict(linux__intelRdt={"closID": "x"}), "rdt"),
            (dict(linux__maskedPaths=["relative"]), ""),
        ]
        for changes, word in cases:
            text = changes.pop("text", None)
            if "process__args" in changes:
                self.configure(text=text, **changes)
            else:
                self.configure("true", text=text, **changes)
            before = (mounts(self.top), groups())
            done = self.oci("run", self.name())
            if word or done.status:
                self.refuse("run", self.name(), word=word)
            self.assertEqual((mounts(self.top), groups()), before)
            self.assertEqual(os.listdir(self.root) if os.path.isdir(self.root) else [], [])

    def test_a_user_namespace_whose_users_nobody_named_has_the_caller(self):
        self.configure("sh", "-c", "cat /proc/self/uid_map; id -u", linux__namespaces=[*self.template["linux"]["namespaces"], {"type": "user"}])
        said = self.ok("run", f"story-{os.getpid()}-own").out.split()
        self.assertEqual(said, ["0", str(os.geteuid()), "1", "0"])

    def test_mounts_without_a_mount_namespace_go_with_the_container(self):
        """It has the machine's, in which they are made below its root, and nothing of them is left: neither of one that ran nor of one
        that could not be made."""
        before, name = mounts(self.top), f"story-{os.getpid()}-place"
        spaces = [n for n in self.template["linux"]["namespaces"] if n["type"] != "mount"]
        self.configure("sh", "-c", "readlink /proc/self/ns/mnt; ls -d /proc/self; touch /new 2>&1", linux__namespaces=spaces)
        self.assertEqual(self.oci("run", name).out.splitlines(),
                         [os.readlink("/proc/self/ns/mnt"), "/proc/self", "touch: /new: Read-only file system"])
        self.assertEqual(mounts(self.top), before)
        self.quiet("create", name)
        self.assertIn("/rootfs/proc ", "".join(mounts(self.top)))
        self.ok("delete", "--force", name)
        self.assertEqual(mounts(self.top), before)
        self.configure("/no/such/program", linux__namespaces=spaces)
        self.assertNotEqual(self.oci("run", name).status, 0)
        self.assertEqual(mounts(self.top), before)

    @unittest.skipUnless(os.path.ismount("/sys/fs/cgroup/freezer"), "on cgroup v2 a frozen process can be killed")
    def test_what_was_frozen_elsewhere_is_deleted_too(self):
        name, frozen = f"story-{os.getpid()}-cold", f"/sys/fs/cgroup/freezer/drover/story-{os.getpid()}-frozen"
        self.configure("sleep", "1000")
        self.quiet("run", "-d", name)
        pid = json.loads(self.ok("state", name).out)["pid"]
        os.makedirs(frozen)
        try:
            for file, text in (("cgroup.procs", str(pid)), ("freezer.state", "FROZEN")):
                with open(os.path.join(frozen, file), "w") as f:
                    f.write(text)
            self.assertEqual(self.ok("delete", "--force", name).err, "")
            wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the process to end")
        finally:
            with open(os.path.join(frozen, "freezer.state"), "w") as f:
                f.write("THAWED")
            os.rmdir(frozen)

    def test_what_outlives_its_first_process_without_a_pid_namespace_can_be_killed(self):
        name = f"story-{os.getpid()}-heirs"
        self.configure("sh", "-c", "sleep 1000 & exec sleep 2000",
                       linux__namespaces=[n for n in self.template["linux"]["namespaces"] if n["type"] != "pid"])
        self.quiet("run", "-d", name)
        wait_for(lambda: len(json.loads(self.ok("ps", "-f", "json", name).out)) == 2, "both to run")
        first = json.loads(self.ok("state", name).out)["pid"]
        heirs = [pid for pid in json.loads(self.ok("ps", "-f", "json", name).out) if pid != first]
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: json.loads(self.ok("state", name).out)["status"] == "stopped", "the first to end")
        self.assertNotEqual(self.oci("kill", name, "TERM").status, 0)
        self.ok("kill", name, "KILL")
        wait_for(lambda: not any(alive(pid) for pid in heirs), "the rest to end")
        self.ok("delete", name)

    def test_what_was_created_ends_for_a_signal_that_asks_for_it(self):
        name = f"story-{os.getpid()}-thought-better"
        for signal_name in ("TERM", "INT", "HUP"):
            self.configure("sh", "-c", "trap")
            self.quiet("create", name)
            self.ok("kill", name, signal_name)
            wait_for(lambda: json.loads(self.ok("state", name).out)["status"] == "stopped", f"{signal_name} to be heard")
            self.ok("delete", name)
        self.configure("sh", "-c", "grep SigCgt /proc/self/status >/told", root__readonly=False)
        self.quiet("create", name)
        self.ok("start", name)
        told = os.path.join(self.bundle, "rootfs/told")
        wait_for(lambda: json.loads(self.ok("state", name).out)["status"] == "stopped", "the program to end")
        with open(told) as f:
            self.assertEqual(int(f.read().split()[1], 16), 0)  # the program has none of this
        os.unlink(told)
        self.ok("delete", name)

    def test_of_entries_of_the_environment_with_one_name_the_last_counts(self):
        name = f"story-{os.getpid()}-env"
        for env, expected in ((["A=1", "A=2", "B=3", "A="], ["A=", "B=3", "HOME=/root"]), (["HOME=/x", "HOME=", "C=1"], ["C=1", "HOME=/root"]),
                              (["HOME=", "HOME=/x"], ["HOME=/x"]), (["AB=1", "A=2", "AB"], ["A=2", "AB", "AB=1", "HOME=/root"])):
            self.configure("/bin/env", process__env=env)
            self.assertEqual(sorted(self.ok("run", name).out.split()), expected, env)

    def test_lines_of_a_terminal_in_the_foreground_end_as_the_program_ends_them(self):
        name = f"story-{os.getpid()}-lines"
        self.configure("sh", "-c", "test -t 1 && printf 'one\\ntwo\\n'", process__terminal=True)
        self.assertEqual(self.ok("run", name).out, "one\ntwo\n")

    def test_a_container_may_use_every_cpu_whatever_its_caller_was_bound_to(self):
        every, name = sorted(os.sched_getaffinity(0)), f"story-{os.getpid()}-cpus"
        if len(every) < 2:
            self.skipTest("there is one CPU")
        self.configure("grep", "Cpus_allowed:", "/proc/self/status")
        free = int(self.ok("run", name).out.split()[1].replace(",", ""), 16)
        os.sched_setaffinity(0, every[:1])
        try:
            bound = int(self.ok("run", name).out.split()[1].replace(",", ""), 16)
            self.configure("sleep", "1000")
            self.quiet("run", "-d", name)
            self.assertEqual(int(self.ok("exec", name, "grep", "Cpus_allowed:", "/proc/self/status").out.split()[1].replace(",", ""), 16), free)
            self.ok("delete", "--force", name)
        finally:
            os.sched_setaffinity(0, every)
        self.assertEqual(bound, free)

    def test_an_ambient_capability_that_cannot_be_is_warned_of(self):
        name = f"story-{os.getpid()}-ambient"
        self.configure("grep", "CapAmb", "/proc/self/status", process__capabilities={
            "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL", "CAP_CHOWN"], "effective": [], "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL", "CAP_CHOWN"]})
        done = self.ok("run", name)
        self.assertEqual(int(done.out.split()[1], 16), 1 << 5)
        self.assertIn("can't raise ambient capability CAP_CHOWN: ", done.err)

    def whole_config(self):
        """One with something in every part."""
        config = self.configure("true", hooks={"poststop": [{"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5}]},
                                linux__sysctl={"net.ipv4.ip_forward": "0"}, annotations={"a": "b"}, domainname="d",
                                linux__devices=[{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}],
                                linux__rootfsPropagation="private", process__oomScoreAdj=100, process__consoleSize={"height": 1, "width": 1},
                                linux__seccomp={"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                                                "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                                                              "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]})
        config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}], "memory": {"limit": 1 << 26, "swap": 1 << 26},
                                        "cpu": {"shares": 512, "quota": 50000, "period": 100000}, "pids": {"limit": 50},
                                        "blockIO": {"weight": 500}}
        config["process"]["capabilities"]["ambient"] = []
        return config

    def test_a_part_of_a_config_that_is_there_twice_is_refused(self):
        def objects(value):
            if isinstance(value, dict) and value:
                yield value
            for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
                yield from objects(child)
        config, name = self.whole_config(), f"story-{os.getpid()}-twice"
        for part in objects(config):
            first = next(iter(part))
            part["twice"] = part[first]
            text = json.dumps(config).replace('"twice":', json.dumps(first) + ":")
            del part["twice"]
            with open(os.path.join(self.bundle, "config.json"), "w") as f:
                f.write(text)
            self.refuse("run", name, word="duplicate")

    def test_every_part_of_a_config_may_be_missing_or_of_another_type(self):
        """Each node of a whole config is taken out, and replaced by a value of every other type."""
        config = self.whole_config()

        def nodes(value, path=()):
            yield path
            items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
            for key, child in items:
                yield from nodes(child, (*path, key))

        def replaced(path, value):
            if not path:
                return value
            copied = copy.deepcopy(config)
            at = copied
            for key in path[:-1]:
                at = at[key]
            if value is KeyError:
                del at[path[-1]]
            else:
                at[path[-1]] = value
            return copied
        failed = tried = 0
        for path in nodes(config):
            for value in (KeyError, None, True, -1, 1 << 70, 1.5, "", "nonsense\u0000", [], [None], {}, {"x": [1]}):
                if value is KeyError and not path:
                    continue
                with open(os.path.join(self.bundle, "config.json"), "w") as f:
                    json.dump(replaced(path, value), f)
                done = subprocess.run([self.binary, "--root", self.root, "run", f"story-{os.getpid()}-bad"], cwd=self.bundle, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                tried += 1
                text = f"{path} = {value}: {done.returncode} " + done.stderr.decode("utf-8", "replace")
                self.assertTrue(0 <= done.returncode <= 1, text)
                for bad in ("Sanitizer", "impossible"):
                    self.assertNotIn(bad, text)
                if done.returncode:
                    failed += 1
                    self.assertEqual(len([line for line in done.stderr.decode().strip().split("\n") if line.startswith("drover-oci: ")]), 1, text)
                self.assertEqual(os.listdir(self.root) if os.path.isdir(self.root) else [], [], text)
        self.assertGreater(failed, tried // 3)
