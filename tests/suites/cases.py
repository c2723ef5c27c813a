"""What the suites share: cases out of TAP, programs in a terminal, Go programs from Debian's libraries."""
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
from typing import NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "story"))
from harness import busybox_root_tar, wait_for  # noqa: E402, F401
from sources import mirror  # noqa: E402, F401

WORK = os.path.join(os.path.dirname(os.path.dirname(HERE)), "build/suites")
GOCODE = "/usr/share/gocode"  # where Debian has the sources of Go libraries


class Case(NamedTuple):
    name: str
    outcome: str  # "ok", "FAILED", "skipped"
    detail: str = ""


def must(argv, **options):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}:\n{done.stdout[-3000:]}")


def release():
    with open("/etc/os-release") as f:
        return re.search(r"^VERSION_CODENAME=(\S+)", f.read(), re.M).group(1)


def releases():
    """Those whose sources are looked at, this machine's own first."""
    return [release()] + [name for name in ("trixie", "sid") if name != release()]


APART = "DROVER_SUITES_APART"


def apart(*more):
    """Begins anew in namespaces for mounts, processes and message queues, and those that `more` asks unshare for: what a case leaves ends
    with the run. The shell there is the first process and reaps what containers leave, as that of any machine: a container that has ended
    would stay a process for ever. Pids begin where they have the five digits that a test of crun's looks for."""
    if os.environ.pop(APART, None):
        return
    os.environ[APART] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", *more,
                          "sh", "-c", 'echo 10000 > /proc/sys/kernel/ns_last_pid; "$@"; exit $?', "sh", sys.executable, *sys.argv])


def tap(program, output):
    """A case for each line of a result; what stands between belongs to the one that bats prints before, or others after it."""
    counted, planned = 0, re.search(r"^1\.\.(\d+)", output, re.M)
    lines, cases = output.replace("\r", "").split("\n"), []
    for line in lines:
        # Programs write to the same place, and not always whole lines.
        match = re.match(r"(not )?ok (\d+) -? ?(.*)", line) or re.search(r"(not )?ok (\d+) - ([\w-]+(?: #SKIP)?)$", line)
        if match:
            counted += 1
            name, _, directive = match.group(3).partition("#")
            skipped = re.match(r"\s*skip", directive, re.I)
            cases.append([f"{program}: {name.strip()}", "skipped" if skipped else "FAILED" if match.group(1) else "ok", []])
        elif cases:
            cases[-1][2].append(line)
    for name, outcome, detail in cases:
        yield Case(name, outcome, "\n".join(detail)[-3000:] if outcome == "FAILED" else "")
    for missing in range(counted, int(planned.group(1)) if planned else 1 if not counted else 0):
        yield Case(f"{program}: case {missing + 1} was not run", "FAILED", output[-2000:])


def whole_program(name, status, output):
    wrong = [line for line in output.split("\n") if line.startswith("not ok") and "# TODO" not in line]
    results = re.findall(r"^(?:not )?ok \d+.*", output, re.M)
    nothing_planned = re.search(r"^1\.\.0", output, re.M)
    if not status and (nothing_planned if not results else all("# SKIP" in line.upper() for line in results)):
        return Case(name, "skipped", results[0] if results else "it tests nothing")
    return Case(name, "FAILED" if wrong or status or not results else "ok", output[-4000:])


def in_terminal(argv, environment, directory):
    """What a program prints on the terminal that all its streams are, until it ends: what a test left behind may have it open for
    ever."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(directory)
        os.execvpe(argv[0], argv, environment)
    output, ended = b"", False
    while True:
        if not select.select([master], [], [], 0 if ended else 0.2)[0]:
            if ended:
                break
            ended = os.waitpid(pid, os.WNOHANG)[0] != 0
            continue
        try:
            data = os.read(master, 65536)
        except OSError:  # EIO: nobody has it open any more
            break
        output += data
    os.close(master)
    if not ended:
        os.waitpid(pid, 0)
    return output.decode("utf-8", "replace")


def printed(argv, environment, directory):
    """The exit status and output of a program, in a file: for the same reason."""
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(argv, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        output.seek(0)
        return done.returncode, output.read().decode("utf-8", "replace")


def without_unified(runtime, argv):
    """crun takes a host with cgroup v1 whose second hierarchy is v2 for one that it cannot work on: for it that one is hidden."""
    hidden = "/sys/fs/cgroup/unified"
    if os.path.basename(runtime) != "crun" or not os.path.ismount(hidden):
        return argv
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'umount {hidden} && exec "$@"', "sh", *argv]


def go_path(work, name, packages):
    """A GOPATH in which some packages are these directories; all else comes from Debian's."""
    top = os.path.join(work, "go-" + name)
    for package, source in packages.items():
        link = os.path.join(top, "src", package)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if os.path.islink(link):
            os.unlink(link)
        os.symlink(source, link)
    return top


def go_build(path, source, target, tags="", ldflags=""):
    environment = dict(os.environ, GO111MODULE="off", GOPATH=f"{path}:{GOCODE}", GOFLAGS="", GOCACHE=os.path.join(path, "cache"))
    done = subprocess.run(["go", "build", "-tags", tags, "-ldflags", ldflags, "-o", target, "."], cwd=source, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print("   " + done.stdout[-1500:].replace("\n", "\n   "), flush=True)
    return done.returncode == 0
