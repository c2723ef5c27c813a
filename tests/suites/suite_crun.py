"""crun's own tests: Python programs that print TAP and take the runtime from OCI_RUNTIME. Some want a terminal."""
import glob
import os
import shutil
import signal

import cases


FROZEN = "/sys/fs/cgroup/freezer/frozen"


def thaw():
    """A group in which a test of `delete` leaves what it had frozen; it tests less when the group is there already."""
    if os.path.isdir(FROZEN):
        with open(os.path.join(FROZEN, "freezer.state"), "w") as f:
            f.write("THAWED")
        with open(os.path.join(FROZEN, "cgroup.procs")) as f:
            for pid in f.read().split():
                os.kill(int(pid), signal.SIGKILL)
        cases.wait_for(lambda: not open(os.path.join(FROZEN, "cgroup.procs")).read(), "what a test left to end")
        os.rmdir(FROZEN)


class Suite:
    package = "crun"
    others = ("crun",)  # runc knows no `run --config`

    def __init__(self, source, work):
        self.source = source
        self.init = os.path.join(source, "tests/init")

    def prepare(self):
        """The program that runs in the containers; what it asks its configuration for is there in every Debian."""
        if not os.path.exists(self.init):
            with open(os.path.join(self.source, "tests/config.h"), "w") as f:
                f.write("#define HAVE_SECCOMP 1\n#define HAVE_OPEN_HOW 1\n")
            cases.must(["gcc", "-static", "-w", "-D_GNU_SOURCE", "-I", os.path.join(self.source, "tests"), "-o", self.init, self.init + ".c"])

    def files(self):
        """Without what a runtime needs CRIU for."""
        found = sorted(glob.glob(os.path.join(self.source, "tests/test_*.py")))
        return [path for path in found if "checkpoint" not in path or shutil.which("criu")]

    def run(self, runtime):
        shims = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shims")
        environment = dict(os.environ, OCI_RUNTIME=runtime, INIT=self.init, PYTHONPATH=shims, PYTHONDONTWRITEBYTECODE="1", LANG="C")
        for path in self.files():
            thaw()
            output = cases.in_terminal(cases.without_unified(runtime, ["python3", "-u", path]), environment, self.source)
            yield from cases.tap(os.path.basename(path)[5:-3], output)
        thaw()
