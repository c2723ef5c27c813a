"""What tests leave on the machine: processes, control groups below drover/, mounts, network namespaces, links, firewall tables, and the
directories in memory of the files that a container's run has.

    supervised()            once, first: everything that the caller starts from here on stays below one process, however it forks
    before = Machine()
    left = before.left()    what is there now and was not, and does not go by itself in a while; lines of text

Other runs may be at work on the same machine. Processes are told apart by their parents; the rest is not ours when a Drover that is not
below us has it."""
import ctypes
import glob
import os
import re
import signal
import subprocess
import sys
import time

PATIENCE = 60  # seconds: a keeper that nobody comes for is there for ten
PR_SET_CHILD_SUBREAPER = 36
OWN = re.compile(r"drover|diff-|unit-|story-")  # in the name of a mount that a test or the product made


def supervised():
    """Forks. The parent waits for whatever is left to it, and ends as the child does, which goes on."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = os.fork()
    if not child:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        return
    for number in (signal.SIGINT, signal.SIGQUIT):  # from a terminal these come to the child as well
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _: os.kill(child, n))
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def output(*argv):
    try:
        return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.splitlines()
    except OSError:
        return []


def processes():
    """{pid: (parent, command line)} of all that are no zombies."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        stat = read(f"/proc/{pid}/stat").rsplit(")", 1)
        if len(stat) == 2 and stat[1].split()[0] != "Z":
            found[int(pid)] = (int(stat[1].split()[1]), read(f"/proc/{pid}/cmdline").replace("\0", " ").strip() or stat[0].split("(", 1)[1])
    return found


def below(all_of_them, top):
    found = {top}
    while more := {pid for pid, (parent, _) in all_of_them.items() if parent in found} - found:
        found |= more
    return found


def groups():
    found = set()
    for parent in ("/sys/fs/cgroup/drover", "/sys/fs/cgroup/*/drover"):
        for pattern in ("*/", ".*/", "*/*/"):
            found |= set(glob.glob(f"{parent}/{pattern}"))
    return found


def mounts():
    return {line.split()[4] for line in read("/proc/self/mountinfo").splitlines() if OWN.search(line.split()[4])}


class Machine:
    def __init__(self):
        self.seen = self.look()

    @staticmethod
    def look():
        return {"control group": groups(), "mount": mounts(),
                "network namespace": {line.split()[0] for line in output("ip", "netns", "list")},
                "link": {line.split(":")[1].strip() for line in output("ip", "-o", "link")},
                # but the empty one that all Drovers of the machine mount below, each in its own namespace (docs/operations.md), and
                # that of drover-oci, where Podman's containers are remembered
                "directory": set(glob.glob("/run/drover-*/") + glob.glob("/run/drover-oci/*") + glob.glob("/dev/shm/drover-*/")) -
                             {"/run/drover-foreign/", "/run/drover-oci/"},
                "firewall table": {line for line in output("nft", "list", "tables") if "drover" in line}}

    @staticmethod
    def others():
        """(pids of all that is not below us, the text of their command lines, the directories of Drovers among them)"""
        every = processes()
        ours = below(every, os.getppid())
        theirs = {pid: line for pid, (_, line) in every.items() if pid not in ours}
        roots = {found.group(1) for line in theirs.values() if (found := re.search(r"--root[= ](\S+)", line))}
        return set(theirs), "\n".join(theirs.values()), roots

    def foreign(self, kind, name, others):
        pids, lines, roots = others
        if kind == "control group":
            last = os.path.basename(name.rstrip("/"))
            numbers = [] if re.fullmatch("[0-9a-f]{64}", last) else re.findall(r"\d+", last)  # a maker's pid, but in an id
            return (any(int(n) in pids for n in numbers) or
                    any(int(pid) in pids for pid in read(f"{name}/cgroup.procs").split()) or
                    any(os.path.exists(f"{root}/keeper/{last}:container") for root in roots))
        if kind == "mount":
            return any(part in lines for part in re.findall(r"/tmp/[^/]+", name)) or any(name.startswith(root) for root in roots)
        return bool(roots)  # a bridge or a directory has the hash of a root in its name

    def now(self):
        every = processes()
        mine = below(every, os.getppid()) - {os.getppid(), os.getpid()}
        left = [f"process {pid}: {every[pid][1][:200]}" for pid in sorted(mine) if pid in every]
        others, seen = self.others(), self.look()
        for kind, names in seen.items():
            left += [f"{kind} {name}" for name in sorted(names - self.seen[kind]) if not self.foreign(kind, name, others)]
        # On cgroup v1 one is in each hierarchy: told once.
        return list({re.sub(r"/cgroup/[^/]+/drover/", "/cgroup/*/drover/", line): None for line in left})

    def left(self):
        deadline = time.monotonic() + PATIENCE
        while (left := self.now()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return left


if __name__ == "__main__":
    sys.exit("imported by run.py")
