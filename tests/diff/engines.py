"""The two engines that are asked the same: Debian's dockerd of build/peers as the oracle, and Drover.

Each lives below a directory and in a network namespace of its own, so that their bridges and addresses never meet, and ends without
leaving a process, a mount or a cgroup behind."""
import contextlib
import http.client
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "story"))

from harness import DROVER, PEERS, Drover, alive, busybox_root_tar, run, wait_for  # noqa: E402

HANGS = 60  # seconds after which a call that got no answer counts as hanging


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("docker", timeout=HANGS)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Oracle:
    """Debian's dockerd with a containerd of its own."""
    name = "dockerd"

    def __init__(self):
        self.root = tempfile.mkdtemp(prefix="diff-dockerd-")
        self.socket = os.path.join(self.root, "docker.sock")
        self.log = os.path.join(self.root, "dockerd.log")
        self.process = None

    @staticmethod
    def missing():
        """Why it cannot run here, or None."""
        for program in ("usr/sbin/dockerd", "usr/bin/containerd", "usr/bin/docker"):
            if not os.path.exists(os.path.join(PEERS, program)):
                return f"build/peers/{program} is not there (scripts/peers)"
        return None if shutil.which("iptables") else "dockerd needs iptables"

    def env(self):
        return {"PATH": f"{PEERS}/usr/bin:{PEERS}/usr/sbin:{os.environ['PATH']}", "HOME": self.root, "TERM": "xterm",
                "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": f"{self.root}/docker-config", "DOCKER_BUILDKIT": "0",
                "LD_LIBRARY_PATH": f"{PEERS}/usr/lib/x86_64-linux-gnu:{PEERS}/lib/x86_64-linux-gnu", "DOCKER_RAMDISK": "1"}

    def start(self):
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", f"{PEERS}/usr/sbin/dockerd",
                   "--data-root", f"{self.root}/data", "--exec-root", f"{self.root}/exec", "--pidfile", f"{self.root}/pid",
                   "-H", f"unix://{self.socket}"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, env=self.env(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def ready():
            if self.process.poll() is not None:
                raise AssertionError("dockerd ended:\n" + self.tail())
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = Connection(self.socket)
                connection.request("GET", "/_ping")
                return connection.getresponse().status == 200
        wait_for(ready, "dockerd to answer")
        return self

    def tail(self):
        with open(self.log, errors="replace") as log:
            return log.read()[-3000:]

    def processes(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if self.root.encode() in f.read() and int(pid) != os.getpid() and alive(int(pid)):
                        found.append(int(pid))
        return found

    def remove(self):
        """Ends it; what was left, as text. Its containers are gone by then."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.processes(), "dockerd's processes to be gone")
        with open("/proc/self/mountinfo") as mounts:
            for line in mounts.read().splitlines():
                if self.root in line:
                    subprocess.run(["umount", "-l", line.split()[4]], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.root, ignore_errors=True)
        return f"{self.root} could not be removed" if os.path.exists(self.root) else ""


class Ours(Drover):
    name = "drover"

    def __init__(self):
        super().__init__(tempfile.mkdtemp(prefix="diff-drover-"))


def cli(engine, *args, stdin=None):
    """Debian's docker CLI of build/peers, the same for both."""
    return run([f"{PEERS}/usr/bin/docker", *args], check=False, stdin=stdin, env=engine.env())


def base_image(engine):
    """The image that every scene starts from. Its name is the beginning of no id, which has the time of the import in it."""
    done = cli(engine, "import", "--change", 'CMD ["sh"]', "--change", "LABEL base=yes", "-", "by:1", stdin=busybox_root_tar())
    if done.status != 0:
        raise AssertionError(f"{engine.name}: {done!r}")


def tar_of(files):
    """A tar of {name: text or bytes}; a name that ends with "/" is a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.mtime = 1600000000
            if name.endswith("/"):
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
                continue
            data = data.encode() if isinstance(data, str) else data
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()
