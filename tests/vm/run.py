#!/usr/bin/env python3
"""Boots Debian's cloud kernel in QEMU (software emulation) and runs the runtime's unit tests and the engine as a black box in it:
a host with cgroup v2 and every controller.

    tests/vm/run.py [--build DIR] [--unit NAME...] [--selinux] [--verbose]

Prints "@ok|FAILED|skipped SECONDS NAME" lines as the stories do, details of a failure before its line, and at the end
"N passed, N failed, N skipped". The machine is an initramfs (busybox and the modules of the disk) and a disk that holds the root
as a tar. It must say that it is done: one that dies or prints nothing for SILENCE seconds is a failure."""
import argparse
import ctypes
import glob
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tarfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/story"))
sys.dont_write_bytecode = True
import harness  # noqa: E402

SILENCE = 300  # seconds without a byte on the console: some hundred times what the slowest test takes
BOOT = 90      # seconds until the first byte, which takes 2; an emulated boot that stands still is tried again
BOOTS = 3
UNIT = ["runtime*", "cgroup*", "seccomp*", "keeper*"]
BOOT_MODULES = ["virtio_pci", "virtio_blk"]
MODULES = ["overlay", "loop", "null_blk", "bfq", "bridge", "br_netfilter", "veth", "dummy", "macvlan", "nf_tables", "nf_conntrack",
           "nf_conntrack_netlink", "xt_conntrack", "fuse", "nft_.*", "nf_nat", "nf_reject_.*", "nfnetlink.*", "xt_addrtype"]
counts = {"ok": 0, "FAILED": 0, "skipped": 0}


def report(outcome, name, seconds=0.0, detail=""):
    counts[outcome] += 1
    if outcome == "FAILED" and detail:
        print(detail.rstrip())
    print(f"@{outcome} {seconds:.1f} {name}" + (f" | {detail}" if outcome == "skipped" else ""), flush=True)


class Modules:
    """The kernel's modules and what each needs, read from the modules themselves."""

    def __init__(self, kernel):
        release = os.path.basename(glob.glob(os.path.join(kernel, "lib/modules/*"))[0])
        self.top, self.release = kernel, release
        self.paths = {os.path.basename(p)[:-3].replace("-", "_"): p
                      for p in glob.glob(os.path.join(kernel, "lib/modules/*/kernel/**/*.ko"), recursive=True)}

    def depends(self, name):
        with open(self.paths[name], "rb") as f:
            found = re.search(rb"\0depends=([^\0]*)\0", f.read())
        return [n.replace("-", "_") for n in found.group(1).decode().split(",") if n] if found else []

    def closure(self, wanted):
        todo = [n for pattern in wanted for n in self.paths if re.fullmatch(pattern, n)]
        seen = []
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.append(name)
                todo += self.depends(name)
        return [self.paths[n] for n in seen]

    def install(self, root, wanted):
        for path in self.closure(wanted):
            target = os.path.join(root, os.path.relpath(path, self.top))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(path, target)
        subprocess.run(["busybox", "depmod", "-b", root, self.release], check=True, stderr=subprocess.DEVNULL)


def libraries(program):
    """The shared objects that ldd finds, as paths."""
    listed = subprocess.run(["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return re.findall(r"\s(/\S+) \(", listed)


def deferred_libraries(build):
    """Those that the binary brings in by name when it first needs them (src/base/deferred.h), as paths."""
    with open(os.path.join(build, "src/base/deferred_names.h")) as f:
        names = re.findall(r'"([^"]+\.so[^"]*)"', f.read())
    listed = subprocess.run(["ldconfig", "-p"], stdout=subprocess.PIPE, text=True).stdout
    return [re.search(r"\s" + re.escape(name) + r" .*=> (\S+)", listed).group(1) for name in names]


def put(source, root, target, mode=0o755):
    path = os.path.join(root, target.lstrip("/"))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    shutil.copy(source, path)
    os.chmod(path, mode)


def put_program(source, root, target):
    put(source, root, target)
    for library in libraries(source):
        if not os.path.exists(root + library):
            put(os.path.realpath(library), root, library)


def write_cpio(root, out):
    """The "newc" format (the kernel's driver-api/early-userspace/buffer-format)."""
    def entry(name, mode, data=b"", rdev=(0, 0)):
        fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
        out.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))
    entry("dev/console", 0o20600, rdev=(5, 1))
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root)
            if os.path.isdir(path):
                entry(relative, 0o40755)
            else:
                with open(path, "rb") as f:
                    entry(relative, 0o100000 | (os.stat(path).st_mode & 0o777), f.read())
    entry("TRAILER!!!", 0)


def make_initramfs(modules, work):
    root = os.path.join(work, "initramfs")
    shutil.rmtree(root, ignore_errors=True)
    for name in ("proc", "dev", "root"):
        os.makedirs(os.path.join(root, name))
    put(shutil.which("busybox"), root, "bin/busybox")
    put(os.path.join(HERE, "init.sh"), root, "init")
    modules.install(root, BOOT_MODULES)
    with open(os.path.join(work, "initramfs.cpio"), "wb") as out:
        write_cpio(root, out)


def put_systemd(root):
    """The service manager of this machine, with nothing to manage but our last script: the second half of the run is a host
    whose cgroups are systemd's."""
    systemd = os.path.realpath("/lib/systemd/systemd")
    if not os.path.exists(systemd):
        return
    put_program(systemd, root, "usr/lib/systemd/systemd")
    for library in glob.glob("/usr/lib/*/libsystemd.so.0"):
        put_program(os.path.realpath(library), root, library)
    for helper in ("systemd-executor",):
        if os.path.exists("/usr/lib/systemd/" + helper):
            put_program("/usr/lib/systemd/" + helper, root, "usr/lib/systemd/" + helper)
    put(os.path.join(HERE, "systemd.sh"), root, "tests/systemd.sh")
    put(os.path.join(HERE, "tests.service"), root, "etc/systemd/system/tests.service", 0o644)
    os.symlink("tests.service", os.path.join(root, "etc/systemd/system/default.target"))


def make_root(modules, build, work, units):
    root = os.path.join(work, "root")
    shutil.rmtree(root, ignore_errors=True)
    for name in ("proc", "sys", "dev", "run", "tmp", "etc", "root", "var/lib", "var/tmp", "usr/bin"):
        os.makedirs(os.path.join(root, name))
    with open(os.path.join(root, "etc/passwd"), "w") as f:
        f.write("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    with open(os.path.join(root, "etc/group"), "w") as f:
        f.write("root:x:0:\nnobody:x:65534:\n")
    with open(os.path.join(root, "etc/hosts"), "w") as f:
        f.write("127.0.0.1 localhost vm\n")
    with open(os.path.join(root, "etc/hostname"), "w") as f:
        f.write("vm\n")
    put(shutil.which("busybox"), root, "bin/busybox")
    put_program("/bin/dash", root, "bin/sh")  # busybox's shell takes its own ip even where another one comes first
    os.symlink("bin", os.path.join(root, "sbin"))  # the kernel calls /sbin/modprobe
    for name in ("ip", "nft"):
        put_program(shutil.which(name), root, "usr/sbin/" + name)
    put_program(shutil.which("curl"), root, "usr/bin/curl")
    put_program(os.path.join(build, "drover"), root, "usr/bin/drover")
    os.symlink("drover", os.path.join(root, "usr/bin/drover-oci"))
    for library in deferred_libraries(build):
        put_program(os.path.realpath(library), root, library)
    put_program(harness.docker_clis()[0], root, "usr/bin/docker")
    put_program(os.path.join(TOP, "build/vm/kernel/sbin/apparmor_parser"), root, "usr/sbin/apparmor_parser")
    for pattern in units:
        for program in glob.glob(os.path.join(build, "tests/unit/test-" + pattern)):
            if os.path.isfile(program) and os.access(program, os.X_OK):
                put_program(program, root, "tests/unit/" + os.path.basename(program))
    put_systemd(root)
    for name in ("guest.sh", "oci_cgroups.sh", "promise.sh", "selinux.sh", "story.sh"):
        put(os.path.join(HERE, name), root, "tests/" + name)
    if has_checkpolicy():
        subprocess.run(["checkpolicy", "-U", "allow", "-o", os.path.join(root, "tests/selinux.policy"), os.path.join(HERE, "selinux.te")],
                       check=True)
    with open(os.path.join(root, "tests/busybox.tar"), "wb") as f:
        f.write(harness.busybox_root_tar())
    reference = os.path.join(harness.SHARED, "data/schemas/docker-seccomp-default.json")
    if os.path.exists(reference):
        put(reference, root, "tests/docker-seccomp-default.json")
    modules.install(root, MODULES)
    with tarfile.open(os.path.join(work, "root.tar"), "w") as tar:
        tar.add(root, arcname=".")
    with open(os.path.join(work, "root.tar"), "ab") as f:
        f.truncate((f.tell() + 4095) // 4096 * 4096)


def has_checkpolicy():
    return shutil.which("checkpolicy") is not None


def boot(kernel, work, words):
    argv = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048", "-display", "none",
            "-no-reboot", "-nodefaults", "-serial", "stdio",
            "-kernel", glob.glob(os.path.join(kernel, "boot/vmlinuz-*"))[0],
            "-initrd", os.path.join(work, "initramfs.cpio"),
            "-append", "console=ttyS0 quiet panic=-1 rdinit=/init mitigations=off nokaslr " + words,
            "-drive", f"if=none,id=root,format=raw,readonly=on,file={os.path.join(work, 'root.tar')}",
            "-device", "virtio-blk-pci,drive=root"]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL))  # PR_SET_PDEATHSIG


def end(machine):
    if machine.poll() is None:
        machine.kill()
    machine.wait()


def boot_until_life(kernel, work, words):
    """A machine that has printed something, or the last one that was tried."""
    for left in reversed(range(BOOTS)):
        machine = boot(kernel, work, words)
        with selectors.DefaultSelector() as selector:
            selector.register(machine.stdout, selectors.EVENT_READ)
            if selector.select(BOOT) or not left:
                return machine
        end(machine)
        print("the machine did not start; once more", flush=True)


def console(machine, transcript):
    """Lines of the console; None at a hang."""
    held = b""
    with selectors.DefaultSelector() as selector:
        selector.register(machine.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(SILENCE):
                yield None
                return
            data = os.read(machine.stdout.fileno(), 65536)
            transcript.write(data)
            transcript.flush()
            if not data:
                break
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", "replace").rstrip("\r")
    if held:
        yield held.decode("utf-8", "replace")


class Reader:
    """What the guest prints, line by line, into reports."""

    def __init__(self):
        self.unit, self.lines, self.counted, self.bad, self.done = None, [], 0, 0, False
        self.began = time.monotonic()

    def lap(self):
        now = time.monotonic()
        seconds, self.began = now - self.began, now
        return seconds

    def detail(self):
        text = "\n".join(self.lines[-40:])
        self.lines = []
        return text

    def tap(self, line):
        skip = re.match(r"(?:not )?ok \d+ # SKIP (.*)", line)
        match = re.match(r"(ok|not ok) \d+ - (.*)", line)
        if not skip and not match:
            self.lines.append(line)
            return
        self.counted += 1
        name = f"{self.unit}: {(skip or match).group(1 if skip else 2).replace('_', ' ')}"
        text = self.detail()
        if skip:
            reason = text.rsplit("skipped: ", 1)[1] if "skipped: " in text else "needs a kernel feature"
            report("skipped", name, self.lap(), reason.split("\n")[0])
        else:
            self.bad += match.group(1) != "ok"
            report("ok" if match.group(1) == "ok" else "FAILED", name, self.lap(), text)

    def line(self, line):
        word, _, rest = line.partition(" ")
        if word == "@unit":
            self.unit, self.counted, self.bad, self.lines = rest, 0, 0, []
        elif word == "@end":
            name, status = rest.rsplit(" ", 1)
            if self.counted == 0 or (status != "0" and not self.bad):
                report("FAILED", f"{name}: runs to its end", self.lap(), f"{self.detail()}\nexit status {status}")
            self.unit = None
        elif word == "@ok":
            self.lines = []
            report("ok", rest, self.lap())
        elif word == "@FAILED":
            report("FAILED", rest, self.lap(), self.detail())
        elif word == "@skipped":
            name, _, reason = rest.partition(" | ")
            report("skipped", name, self.lap(), reason)
        elif word == "@done":
            self.done = True
        elif self.unit:
            self.tap(line)
        else:
            self.lines.append(line)


def watch(kernel, work, words, verbose):
    """One machine, from its start to its end."""
    reader, hung = Reader(), False
    machine = boot_until_life(kernel, work, words)
    try:
        with open(os.path.join(work, "console.log"), "ab") as transcript:
            for line in console(machine, transcript):
                if line is None:
                    hung = True
                    break
                if verbose:
                    print("   ", line, flush=True)
                reader.line(line)
                if reader.done:
                    break
    finally:
        end(machine)
    if not reader.done:
        report("FAILED", "the machine runs to its end", reader.lap(),
               reader.detail() + (f"\nnothing was printed for {SILENCE} s" if hung else
                                  f"\nthe machine ended with {machine.returncode}") + "; see build/vm/console.log")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(TOP, "build"))
    parser.add_argument("--unit", nargs="*", default=UNIT, help="patterns of unit tests to run; none: the stories only")
    parser.add_argument("--selinux", action="store_true", help="only the machine with SELinux")
    parser.add_argument("--verbose", action="store_true", help="show the console as it comes")
    options = parser.parse_args()
    kernel, work = os.path.join(TOP, "build/vm/kernel"), os.path.join(TOP, "build/vm")
    modules = Modules(kernel)
    make_initramfs(modules, work)
    make_root(modules, os.path.abspath(options.build), work, options.unit)
    with open(os.path.join(work, "console.log"), "wb"):
        pass
    if not options.selinux:
        watch(kernel, work, "", options.verbose)
    # A second machine, since a kernel has only one of AppArmor and SELinux.
    if has_checkpolicy():
        watch(kernel, work, "security=selinux", options.verbose)
    else:
        report("skipped", "a host with SELinux", detail="checkpolicy is not installed")
    print(f"{counts['ok']} passed, {counts['FAILED']} failed, {counts['skipped']} skipped")
    return 1 if counts["FAILED"] or not counts["ok"] else 0


if __name__ == "__main__":
    sys.exit(main())
