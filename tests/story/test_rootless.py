"""Without root: an ordinary user runs the server, and it does what it does for root.

The test is root and prepares the user's world as a distribution does: an account, a range of ids in /etc/subuid and /etc/subgid,
a /dev/net/tun that anybody may open, a runtime directory. All of it in a private mount namespace, so that the machine stays as
it is."""
import contextlib
import http.server
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

from harness import DROVER, Drover, Story, alive, http_get, run, wait_for

# Of this run alone, so that several may run on one machine.
UID, FIRST, COUNT = 50000 + os.getpid() % 10000, 1000000 + os.getpid() % 10000 * 65536, 65536
HOST = "192.0.2.1"

WORLD = """
set -e
for f in passwd group subuid subgid; do touch /etc/$f; mount --bind "$1/world/$f" /etc/$f; done
mount -t tmpfs -o mode=755 tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
cd /
root=$1; shift
if [ -n "${DELEGATED:-}" ]; then  # as a service manager delegates a part of cgroup v2
  sub=""; [ ! -d "$DELEGATED/engine" ] || sub=/engine  # DelegateSubgroup=engine
  echo $$ > "$DELEGATED$sub/cgroup.procs"
  if [ "$TREE" != /sys/fs/cgroup ]; then
    mount --bind "$TREE" /mnt; umount -R /sys/fs/cgroup; mount --move /mnt /sys/fs/cgroup
  fi
fi
exec setpriv --reuid UID --regid UID --clear-groups env -i PATH="$PATH" HOME="$root/home" XDG_RUNTIME_DIR="$root/run" "$@"
"""


class User(Drover):
    """A server of an ordinary user, with nothing said about where it keeps its things."""

    def __init__(self, ranges=True):
        super().__init__(tempfile.mkdtemp(prefix="drover-story-"))
        os.chmod(self.root, 0o755)
        self.binary = os.path.join(self.root, "drover")
        shutil.copy(DROVER, self.binary)
        os.makedirs(os.path.join(self.root, "world"))
        for name in ("home", "run"):
            path = os.path.join(self.root, name)
            os.mkdir(path, 0o700)
            os.chown(path, UID, UID)
        line = f"ordinary:{FIRST}:{COUNT}\n" if ranges else ""
        account = f"ordinary:x:{UID}:{UID}::{self.root}/home:/bin/sh\n"
        for name, text in (("passwd", open("/etc/passwd").read() + account), ("group", open("/etc/group").read() + f"ordinary:x:{UID}:\n"),
                           ("subuid", line), ("subgid", line)):
            with open(os.path.join(self.root, "world", name), "w") as f:
                f.write(text)
        self.data = os.path.join(self.root, "home/.local/share/drover")
        self.socket = os.path.join(self.root, "run/drover.sock")

    delegated = tree = ""

    def delegate(self, tree):
        """Makes a group on the v2 tree that belongs to the user, as systemd's Delegate=yes does."""
        self.tree, self.delegated = tree, os.path.join(tree, os.path.basename(self.root))
        os.mkdir(self.delegated)
        for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(os.path.join(self.delegated, name), UID, UID)
        return self

    def remove(self):
        left = super().remove()
        for pid in self.pids():  # who was started by one that was being killed
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.pids(), "the user's processes to end")
        if self.delegated:
            for folder, _, _ in os.walk(self.delegated, topdown=False):
                wait_for(lambda: open(os.path.join(folder, "cgroup.procs")).read() == "", f"{folder} to be empty")
                os.rmdir(folder)
        return left

    def as_user(self, *argv):
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", WORLD.replace("UID", str(UID)), "sh", self.root, *argv]

    def start(self, *args):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.as_user(self.binary, "serve", *args), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=dict(os.environ, DELEGATED=self.delegated, TREE=self.tree))

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"drover serve ended with {self.process.returncode}:\n{self.tail()}")
            with contextlib.suppress(AssertionError, OSError):
                return self.api("GET", "/_ping")[0] == 200
        wait_for(ready, "drover serve to listen")
        return self

    def uplink_log(self):
        with open(os.path.join(self.data, "rootless/log"), errors="replace") as f:
            return f.read()

    def pids(self):
        """Everything that runs as the user, or as one of the user's range."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/status") as f:
                    fields = dict(line.split(":", 1) for line in f.read().splitlines() if ":" in line)
                uid = int(fields["Uid"].split()[0])
                if (uid == UID or FIRST <= uid < FIRST + COUNT) and fields["State"].split()[0] != "Z":
                    with open(f"/proc/{pid}/cmdline", "rb") as f:
                        found[int(pid)] = f.read().replace(b"\0", b" ").decode().strip()
        return found

    def named(self, name):
        for pid in self.pids():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as f:
                if f.read().strip() == name:
                    return pid
        return None

    def pid_of(self, *words):
        return next((pid for pid, line in self.pids().items() if all(w in line.split() for w in words)), None)


class Rootless(Story):
    shared = False

    @classmethod
    def setUpClass(cls):
        for tool in ("newuidmap", "slirp4netns", "setpriv"):
            if not shutil.which(tool):
                raise unittest.SkipTest(f"{tool} is not installed")
        with contextlib.suppress(KeyError):
            pwd.getpwuid(UID)
            raise unittest.SkipTest(f"the machine has a user {UID}")

    @classmethod
    def tearDownClass(cls):
        pass

    @classmethod
    def make(cls):
        d = User().start()
        d.busybox()
        return d

    def tearDown(self):
        super().tearDown()
        self.assertEqual(self.d.pids(), {}, "processes left")

    def test_an_ordinary_user_runs_containers_with_logs_exit_codes_exec_and_builds(self):
        d = self.d
        self.assertEqual(d.docker("run", "--rm", "busybox", "sh", "-c", "id -u; exit 7", check=False).status, 7)
        d.docker("run", "-d", "--name", "box", "busybox", "sh", "-c", "echo out; echo err >&2; exec sleep 100000")
        wait_for(lambda: (r := d.docker("logs", "box")).out == "out\n" and r.err == "err\n", "the log")
        self.assertEqual(d.docker("exec", "box", "sh", "-c", "id -u; cat /proc/1/comm").out, "0\nsleep\n")
        self.assertIn("sleep 100000", d.docker("top", "box").out)
        folder = os.path.join(d.root, "build")
        os.mkdir(folder)
        with open(os.path.join(folder, "Dockerfile"), "w") as f:
            f.write("FROM busybox\nRUN mkdir -p /a/b && echo built > /a/b/c && chown 5:6 /a/b/c\nRUN rm -r /a && mkdir /a\nCMD ls /a; echo done\n")
        d.docker("build", "-t", "made", folder)
        self.assertEqual(d.docker("run", "--rm", "made").out, "done\n")
        d.docker("stop", "-t", "1", "box")
        self.assertEqual(d.inspect("box")["State"]["Status"], "exited")

    def test_what_runs_is_the_user_and_files_belong_to_the_users_range(self):
        d = self.d
        d.docker("run", "-d", "--name", "root", "busybox", "sleep", "100001")
        d.docker("run", "-d", "--name", "other", "-u", "1000:1000", "-v", "vol:/v", "busybox", "sleep", "100002")
        for name, uid in (("root", UID), ("other", FIRST + 999)):
            with open(f"/proc/{d.inspect(name)['State']['Pid']}/status") as f:
                self.assertIn(f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n", f.read())
        d.docker("run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", "touch /v/mine; touch /v/theirs; chown 1000:2000 /v/theirs")
        volume = os.path.join(d.data, "volumes/vol/_data")
        self.assertEqual(os.stat(f"{volume}/mine").st_uid, UID)
        self.assertEqual((os.stat(f"{volume}/theirs").st_uid, os.stat(f"{volume}/theirs").st_gid), (FIRST + 999, FIRST + 1999))
        # Root of the container is not root of anything else.
        done = d.docker("run", "--rm", "--privileged", "-v", "/etc/shadow:/shadow", "busybox", "cat", "/shadow", check=False)
        self.assertNotEqual(done.status, 0, done)
        self.assertIn("denied", (done.out + done.err).lower())

    def test_ports_are_published_on_the_host_and_refusals_say_why(self):
        d = self.d
        page = "mkdir /w; echo up > /w/index.html; exec httpd -f -p 80 -h /w"
        d.docker("run", "-d", "--name", "web", "-p", "18471:80", "-p", "127.0.0.1::80", "busybox", "sh", "-c", page)
        chosen = [b["HostPort"] for b in d.inspect("web")["NetworkSettings"]["Ports"]["80/tcp"] if b["HostIp"] == "127.0.0.1"][0]
        for port in ("18471", chosen):
            wait_for(lambda: self.page(f"http://127.0.0.1:{port}/") == "up\n", f"the page at {port}")
        self.assert_clean_refusal(d.docker("run", "-d", "-p", "18471:80", "busybox", "true", check=False), "18471", "published by container")
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken = other.getsockname()[1]
            self.assert_clean_refusal(d.docker("run", "-d", "-p", f"{taken}:80", "busybox", "true", check=False), f"{taken}/tcp", "in use")
        self.assert_clean_refusal(d.docker("run", "-d", "-p", "471:80", "busybox", "true", check=False), "ip_unprivileged_port_start")
        d.docker("rm", "-f", "web")
        with self.assertRaises(OSError):
            http_get("http://127.0.0.1:18471/", timeout=3)

    def page(self, url):
        with contextlib.suppress(OSError):
            return http_get(url, timeout=5)[1]

    def test_a_container_reaches_the_hosts_network_but_not_its_loopback(self):
        d = self.d
        run(["ip", "address", "replace", f"{HOST}/32", "dev", "lo"])

        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"of the host\n")

            def log_message(self, *args):
                pass
        server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Page)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        try:
            self.assertEqual(d.docker("run", "--rm", "busybox", "wget", "-qO-", f"http://{HOST}:{port}/").out, "of the host\n")
            done = d.docker("run", "--rm", "busybox", "wget", "-T", "3", "-qO-", f"http://10.0.2.2:{port}/", check=False)
            self.assertNotEqual(done.status, 0, "slirp4netns' gateway led to the host's loopback")
            # Names of neighbours are answered as ever.
            d.docker("network", "create", "n")
            d.docker("run", "-d", "--name", "web", "--network", "n", "busybox", "sh", "-c", "mkdir /w; echo named > /w/index.html; exec httpd -f -p 80 -h /w")
            wait_for(lambda: d.docker("run", "--rm", "--network", "n", "busybox", "wget", "-qO-", "http://web/", check=False).out == "named\n", "the neighbour")
        finally:
            server.shutdown()
            server.server_close()
            run(["ip", "address", "del", f"{HOST}/32", "dev", "lo"])

    def test_containers_and_their_ports_outlive_kill_9_of_the_server_and_of_each_helper(self):
        d = self.d
        d.docker("run", "-d", "--name", "web", "-p", "18473:80", "busybox", "sh", "-c", "mkdir /w; echo up > /w/index.html; exec httpd -f -p 80 -h /w")
        pid = d.inspect("web")["State"]["Pid"]
        wait_for(lambda: self.page("http://127.0.0.1:18473/") == "up\n", "the page")
        d.kill9()
        self.assertEqual(self.page("http://127.0.0.1:18473/"), "up\n")
        d.start()
        self.assertEqual(d.inspect("web")["State"]["Pid"], pid)
        self.assertEqual(d.docker("exec", "web", "echo", "reached").out, "reached\n")
        # Its network is started anew when it dies.
        slirp = wait_for(lambda: d.pid_of("slirp4netns"), "slirp4netns")
        os.kill(slirp, signal.SIGKILL)
        wait_for(lambda: d.pid_of("slirp4netns") not in (None, slirp), "another slirp4netns")
        wait_for(lambda: self.page("http://127.0.0.1:18473/") == "up\n", "the page again")
        # So is the process that keeps the namespaces.
        holder = d.pid_of("rootless", "hold")
        os.kill(holder, signal.SIGKILL)
        wait_for(lambda: d.pid_of("rootless", "hold") not in (None, holder), "another holder")
        # And so are the uplink and its spare, each by the other, while the server is there and while it is not.
        for server in (True, False):
            for name in ("drover-spare", "drover-rootless", "drover-spare", "drover-rootless"):
                victim = wait_for(lambda n=name: d.named(n), name)
                os.kill(victim, signal.SIGKILL)
                wait_for(lambda n=name, v=victim: d.named(n) not in (None, v), f"another {name}")
            wait_for(lambda: self.page("http://127.0.0.1:18473/") == "up\n", "the page once more")
            if server:
                d.docker("run", "-d", "--name", "later", "-p", "18474:80", "busybox", "sh", "-c", "echo later > /index.html; exec httpd -f -p 80 -h /")
                wait_for(lambda: self.page("http://127.0.0.1:18474/") == "later\n", "a page of later")
                d.docker("rm", "-f", "later")
                d.kill9()
        d.start()
        self.assertEqual(d.inspect("web")["State"]["Pid"], pid)
        self.assertTrue(alive(pid))
        wait_for(lambda: self.page("http://127.0.0.1:18473/") == "up\n", "the page after all")
        self.assertEqual(d.docker("run", "--rm", "busybox", "echo", "new").out, "new\n")

    def test_shutdown_leaves_nothing(self):
        d = self.d
        d.docker("run", "-d", "--name", "box", "-p", "18474:80", "busybox", "sleep", "100000")
        self.assertIn("box", run(d.as_user(d.binary, "ps", "-a"), check=False).out, "the client did not find the user's socket")
        d.stop()
        self.assert_clean_refusal(run(d.as_user(d.binary, "shutdown"), check=False), "running")
        d.start()
        d.docker("rm", "-f", "box")
        d.stop()
        run(d.as_user(d.binary, "shutdown"))
        wait_for(lambda: d.pids() == {}, "every process to end")
        self.assertEqual([f for f in os.listdir(os.path.join(d.data, "rootless")) if f != "log"], [])

    def test_a_limit_without_a_delegated_cgroup_is_refused_by_name(self):
        d = self.d
        with open("/proc/self/mountinfo") as f:
            if not any(" - cgroup " in line for line in f):
                self.skipTest("cgroup v2: see tests/vm")
        self.assert_clean_refusal(d.docker("run", "-m", "64m", "busybox", "true", check=False), "memory.limit", "cgroup")
        d.docker("run", "-d", "--name", "box", "busybox", "sleep", "100000")
        self.assert_clean_refusal(d.docker("pause", "box", check=False), "cgroup")
        d.docker("exec", "box", "touch", "/kept")
        d.docker("commit", "box", "kept")  # pauses by default, and goes on where that cannot be
        self.assertEqual(d.docker("run", "--rm", "kept", "ls", "/kept").out, "/kept\n")
        d.docker("kill", "box")
        self.assertEqual(d.docker("wait", "box").out, "137\n")


class Delegated(Story):
    """With a part of cgroup v2 of one's own."""
    shared = False

    @classmethod
    def setUpClass(cls):
        Rootless.setUpClass()
        with open("/proc/self/mountinfo") as f:
            cls.tree = next((line.split()[4] for line in f if " - cgroup2 " in line), None)
        if not cls.tree:
            raise unittest.SkipTest("no cgroup v2 is mounted")

    @classmethod
    def tearDownClass(cls):
        pass

    @classmethod
    def make(cls):
        d = User().delegate(cls.tree).start()
        d.busybox()
        return d

    def test_a_delegated_cgroup_holds_the_containers_and_lets_them_be_paused(self):
        d = self.d
        d.docker("run", "-d", "--name", "box", "busybox", "sh", "-c", "sleep 100000 & sleep 100000")
        group = os.path.join(d.delegated, "drover", d.inspect("box")["Id"])
        with open(os.path.join(group, "cgroup.procs")) as f:
            self.assertIn(str(d.inspect("box")["State"]["Pid"]), f.read().split())
        with open(os.path.join(d.delegated, "cgroup.procs")) as f:
            self.assertEqual(f.read(), "", "a group that has limits below may not hold processes")
        d.docker("pause", "box")
        with open(os.path.join(group, "cgroup.events")) as f:
            self.assertIn("frozen 1", f.read())
        d.docker("unpause", "box")
        d.kill9()
        d.start()
        self.assertEqual(len(d.docker("top", "box").out.splitlines()), 3)
        d.docker("rm", "-f", "box")
        wait_for(lambda: not os.path.exists(group), "the group to be removed")


class OneId(Story):
    """An account without a range of ids."""
    shared = False

    @classmethod
    def setUpClass(cls):
        Rootless.setUpClass()

    @classmethod
    def tearDownClass(cls):
        pass

    @classmethod
    def make(cls):
        return User(ranges=False).start()

    def test_an_account_without_ids_is_told_so_and_runs_what_needs_only_one(self):
        d = self.d
        self.assertIn("/etc/subuid has no line for ordinary", d.uplink_log())
        d.busybox()
        self.assertEqual(d.docker("run", "--rm", "busybox", "id", "-u").out, "0\n")


class NoTun(Story):
    shared = False
    image = False

    @classmethod
    def make(cls):
        return User()

    def test_a_missing_tun_device_is_one_clear_error_and_nothing_stays(self):
        d = self.d
        world = d.as_user(d.binary, "serve")
        world[6] = world[6].replace("mknod -m 666", "mknod -m 600")
        done = run(world, check=False)
        self.assert_clean_refusal(done, "/dev/net/tun", "chmod")
        wait_for(lambda: d.pids() == {}, "the processes to end")
        self.assertNotIn("Sanitizer", d.uplink_log())
