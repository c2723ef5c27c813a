"""runc's integration tests: bats files that take the runtime from RUNC, images from what get-images.sh prints, and helpers that are
Go programs of its source."""
import glob
import io
import os
import shutil
import tarfile

import cases

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGES = """#!/bin/sh
echo BUSYBOX_IMAGE={work}/busybox.tar
echo HELLO_IMAGE={work}/hello.tar
echo DEBIAN_IMAGE={work}/debian.tar
"""
HELLO = '#include <stdio.h>\nint main(void) { puts("Hello from Docker!"); return 0; }\n'
# Without CRIU there is nothing to test.
WITHOUT = ("checkpoint.bats",)
# Newer ones need newer libraries than this release may have.
SHIMS = {"recvtty": "recvtty.py", "pidfd-kill": "pidfd_kill.py"}


def write_busybox(path):
    """As the official image has it: nobody has the number 1000, and there is no /proc or /sys, whose place tests put symlinks at."""
    with tarfile.open(fileobj=io.BytesIO(cases.busybox_root_tar())) as ours, tarfile.open(path + ".new", "w") as tar:
        for member in ours:
            if member.name in ("proc", "sys"):
                continue
            data = ours.extractfile(member)
            if member.name in ("etc/passwd", "etc/group"):
                text = b"".join(line for line in data if not line.startswith((b"user:", b"extra:")))
                member.size, data = len(text), io.BytesIO(text)
            tar.addfile(member, data)
    os.rename(path + ".new", path)


class Suite:
    package = "runc"
    others = ("crun", "runc")

    def __init__(self, source, work):
        self.source, self.work = source, work
        self.tests = os.path.join(source, "tests/integration")

    def images(self):
        busybox, hello, debian = (os.path.join(self.work, name + ".tar") for name in ("busybox", "hello", "debian"))
        if not os.path.exists(busybox):
            write_busybox(busybox)
        if not os.path.exists(hello):
            root = os.path.join(self.work, "hello")
            os.makedirs(root, exist_ok=True)
            cases.must(["gcc", "-static", "-x", "c", "-o", os.path.join(root, "hello"), "-"], input=HELLO)
            cases.must(["tar", "-C", root, "-cf", hello, "."])
        if not os.path.exists(debian):
            cases.must(["mmdebstrap", "--variant=minbase", "--mode=root", "--quiet", cases.release(), debian + ".new.tar", cases.mirror()])
            os.rename(debian + ".new.tar", debian)

    def helpers(self):
        """Each version's own, where they can be built from this release's libraries; else one that does the same."""
        target = os.path.join(self.source, "tests/cmd/_bin")
        os.makedirs(target, exist_ok=True)
        go = cases.go_path(self.work, "runc", {"github.com/opencontainers/runc": self.source})
        for name in ("recvtty", "seccompagent", "fs-idmap", "remap-rootfs", "pidfd-kill"):
            source = next((os.path.join(self.source, top, name) for top in ("tests/cmd", "contrib/cmd")
                           if os.path.isdir(os.path.join(self.source, top, name))), None)
            built = os.path.join(target, name)
            if not source or (os.path.exists(built) and name not in SHIMS):
                continue
            if name in SHIMS:
                shutil.copy(os.path.join(HERE, "shims", SHIMS[name]), built)
            elif not cases.go_build(go, source, built, "seccomp"):
                print(f"   {name} of {os.path.basename(self.source)} cannot be built here; what needs it fails", flush=True)
        for name in ("recvtty", "seccompagent"):  # where older versions look
            old = os.path.join(self.source, "contrib/cmd", name)
            if os.path.isdir(old) and os.path.exists(os.path.join(target, name)):
                shutil.copy(os.path.join(target, name), os.path.join(old, name))

    def prepare(self):
        self.images()
        self.helpers()
        images = os.path.join(self.tests, "get-images.sh")
        with open(images, "w") as f:
            f.write(IMAGES.format(work=self.work))
        os.chmod(images, 0o755)

    def files(self):
        return [path for path in sorted(glob.glob(os.path.join(self.tests, "*.bats"))) if os.path.basename(path) not in WITHOUT]

    def run(self, runtime):
        environment = dict(os.environ, RUNC=runtime, LANG="C.UTF-8")
        for path in self.files():
            argv = cases.without_unified(runtime, ["bats", "--tap", path])
            _, output = cases.printed(argv, environment, self.tests)
            yield from cases.tap(os.path.basename(path)[:-5], output)
