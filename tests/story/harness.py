"""What stories are told with: a Drover of their own below a temporary directory, the docker CLI of build/peers, and waiting
for conditions instead of sleeping.

Everything runs in the network namespace that tests/run.py made. A story that leaves a process, a mount, a cgroup, an interface or
a firewall table behind fails."""
import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DROVER = os.environ.get("DROVER", os.path.join(TOP, "build/drover"))
PEERS = os.path.join(TOP, "build/peers")
NEWER = os.path.join(TOP, "build/peers-newer")
SHARED = os.path.join(TOP, "../shared")
DEADLINE = 240  # seconds until a condition that does not come true is a failure


def docker_clis():
    """Every docker CLI at hand: Debian's of build/peers, the next Debian's, and another one of this machine."""
    found = [os.path.join(PEERS, "usr/bin/docker"), os.path.join(NEWER, "usr/bin/docker")]
    other = shutil.which("docker")
    if other and not os.path.realpath(other).startswith("/usr/bin/"):
        found.append(other)
    return [cli for cli in found if os.path.exists(cli)]


def wait_for(condition, what, deadline=DEADLINE):
    """Polls until condition() is true, and returns its value."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline} s in vain for: {what}")
        time.sleep(0.02)


class Result:
    def __init__(self, argv, status, out, err):
        self.argv, self.status, self.out, self.err = argv, status, out, err

    def __repr__(self):
        return f"{' '.join(self.argv)}\n -> {self.status}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def run(argv, check=True, stdin=None, env=None, cwd=None, text=True):
    done = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=cwd,
                          **({"stdin": subprocess.DEVNULL} if stdin is None else {}))
    decode = (lambda b: b.decode("utf-8", "replace")) if text else (lambda b: b)
    result = Result([str(a) for a in argv], done.returncode, decode(done.stdout), decode(done.stderr))
    if check and done.returncode != 0:
        raise AssertionError(f"command failed: {result!r}")
    return result


def busybox_root_tar():
    """A root file system of busybox-static as tar bytes: what `docker import` takes."""
    names = subprocess.run(["busybox", "--list"], stdout=subprocess.PIPE, text=True).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        def directory(name, mode=0o755):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)

        def file(name, data, mode=0o644):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
        for name in ("bin", "etc", "proc", "sys", "dev", "root", "var", "var/log", "usr", "usr/bin"):
            directory(name)
        directory("tmp", 0o1777)
        with open(shutil.which("busybox"), "rb") as binary:
            file("bin/busybox", binary.read(), 0o755)
        for name in names:
            if name != "busybox":
                entry = tarfile.TarInfo("bin/" + name)
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
        file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
        file("etc/group", b"root:x:0:\nuser:x:1000:\nextra:x:2000:user\nnobody:x:65534:\n")
    return out.getvalue()


class Drover:
    """One `drover serve` with its own root and socket."""

    def __init__(self, root=None):
        self.root = root or tempfile.mkdtemp(prefix="drover-story-")
        self.data = os.path.join(self.root, "data")
        self.socket = os.path.join(self.root, "drover.sock")
        self.log = os.path.join(self.root, "serve.log")
        self.process, self.log_at = None, 0
        self.environment = None  # of serve; None: ours
        self.inside = []         # the command that serve runs under, in its own process
        self.binary = DROVER
        self.cli = docker_clis()[0] if docker_clis() else None

    def env(self, **more):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "COMPOSE_"))}
        kept.update(DOCKER_HOST=f"unix://{self.socket}", DOCKER_CONFIG=os.path.join(self.root, "docker-config"),
                    DROVER_SOCKET=self.socket, DOCKER_BUILDKIT="0", HOME=self.root, **more)
        return kept

    def start(self, *args):
        with open(self.log, "ab") as log:
            self.log_at = log.tell()  # where what this start says begins
            self.process = subprocess.Popen([*self.inside, self.binary, "serve", "--root", self.data, "--socket", self.socket, *args],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)

        def answers():
            if self.process.poll() is not None:
                raise AssertionError(f"drover serve ended with {self.process.returncode}:\n{self.tail()}")
            return self.listens()
        wait_for(answers, "drover serve to listen")
        return self

    def tail(self):
        with open(self.log, errors="replace") as log:
            return log.read()[-4000:]

    def stop(self):
        """SIGTERM: containers live on."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def kill9(self):
        self.process.kill()
        self.process.wait()
        self.wait_until_refused()

    def wait_until_refused(self):
        """The kernel closes a dead process's descriptors a moment after it has been waited for, now and then."""
        wait_for(lambda: not self.listens(), "the socket of the dead to be closed")

    def listens(self):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.connect(self.socket)
            return True
        return False

    def docker(self, *args, check=True, stdin=None, cwd=None, cli=None, env=None):
        return run([cli or self.cli, *args], check=check, stdin=stdin, cwd=cwd, env=env or self.env())

    def drover(self, *args, check=True, stdin=None, cwd=None, env=None):
        return run([DROVER, *args], check=check, stdin=stdin, cwd=cwd, env=env or self.env())

    def inspect(self, name):
        return json.loads(self.docker("inspect", name).out)[0]

    def api(self, method, path, body=None, headers=None):
        """A raw request: (status, headers, bytes)."""
        connection = http.client.HTTPConnection("drover")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.socket)
        data = json.dumps(body).encode() if body is not None and not isinstance(body, bytes) else body
        head = {"Content-Type": "application/json"} if data is not None else {}
        connection.request(method, path, data, {**head, **(headers or {})})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), content

    def busybox(self, tag="busybox"):
        self.docker("import", "--change", 'CMD ["sh"]', "-", tag, stdin=busybox_root_tar())

    def processes(self):
        """Pids of everything started from this root: serve, keeper, DNS, and their containers."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if self.root.encode() in f.read() and int(pid) != os.getpid():
                        found.append(int(pid))
        return found

    def machine_dies(self):
        """What a power cut does to processes: everything of this root is killed at once, containers too."""
        victims = set(self.processes())
        while True:
            children = set()
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError, IndexError):
                    with open(f"/proc/{pid}/stat") as f:
                        if int(f.read().rsplit(")", 1)[1].split()[1]) in victims:
                            children.add(int(pid))
            if children <= victims:
                break
            victims |= children
        victims.discard(os.getpid())
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.wait()
        wait_for(lambda: not any(alive(p) for p in victims), "the processes to be gone")
        self.wait_until_refused()

    def remove(self):
        """Ends everything, and returns what could not be cleaned, as text."""
        left = []
        if self.process and self.process.poll() is None:
            ids = self.docker("ps", "-aq", check=False).out.split() if self.cli else []
            if ids:
                self.docker("rm", "-f", *ids, check=False)
            self.stop()
        self.machine_dies()
        if os.path.isdir(self.data):
            done = run([DROVER, "shutdown", "--root", self.data], check=False)
            left += [done.err] if done.status else []
        with open("/proc/self/mountinfo") as mounts:
            left += [line for line in mounts if self.root in line]
        for line in left:
            subprocess.run(["umount", "-l", line.split()[4]], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.root, ignore_errors=True)
        if os.path.exists(self.root):
            left.append(f"{self.root} could not be removed")
        return "\n".join(left)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def http_get(url, timeout=30):
    """(status, text) of a page; OSError while nobody answers."""
    import urllib.error
    import urllib.request
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


class Story(unittest.TestCase):
    """A story gets a fresh Drover as self.d; with `shared = True` all of its class share one."""
    shared = True
    image = True

    @classmethod
    def setUpClass(cls):
        if cls.shared:
            cls.drover_ = cls.make()

    @classmethod
    def make(cls):
        d = Drover().start()
        if cls.image:
            d.busybox()
        return d

    @classmethod
    def tearDownClass(cls):
        if cls.shared:
            left = cls.drover_.remove()
            if left:
                raise AssertionError("left behind:\n" + left)

    def setUp(self):
        self.d = self.drover_ if self.shared else self.make()

    def tearDown(self):
        if not self.shared:
            left = self.d.remove()
            self.assertEqual(left, "", "left behind")

    def assert_clean_refusal(self, result, *words):
        """Failed with one clear message that has these words, and no crash."""
        self.assertNotEqual(result.status, 0, result)
        self.assertGreater(result.status, 0, f"died of a signal: {result!r}")
        text = result.out + result.err
        for word in words:
            self.assertIn(word.lower(), text.lower(), result)
        for bad in ("AddressSanitizer", "impossible state", "Segmentation"):
            self.assertNotIn(bad, text, result)


class OnItsOwnDisk:
    """For a Story whose data is on a small file system of its own: `size` as tmpfs takes it, and `arguments` of serve."""
    size, arguments = "256m", ()

    @classmethod
    def make(cls):
        d = Drover()
        os.makedirs(d.data)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={cls.size}", "drover-story", d.data], check=True)
        d.start(*cls.arguments)
        if cls.image:
            d.busybox()
        return d

    @classmethod
    def tearDownClass(cls):
        d = cls.drover_
        d.stop()
        d.drover("shutdown", "--root", d.data)
        subprocess.run(["umount", d.data], check=True)
        super().tearDownClass()
