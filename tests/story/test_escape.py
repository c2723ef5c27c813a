"""Ways out of a container that worked somewhere once, and what a container sees of the machine. Each story takes the attacker's
steps one by one; docs/security.md says which defence each stands for."""
import contextlib
import ctypes
import hashlib
import http.client
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
import unittest

from harness import DROVER, Drover, Story, alive, busybox_root_tar, run, wait_for

ATTACKERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attackers")
DEFAULT_CAPABILITIES = 0xa80425fb  # Docker's fourteen
MARKER = "drover-story-marker"
programs = {}


def attacker(name):
    """One of the static programs of attackers/, as bytes."""
    if name not in programs:
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, name)
            free = ["-nostdlib", "-ffreestanding", "-fno-stack-protector"] if name == "loader" else []
            run(["cc", "-O1", "-static", *free, "-o", out, os.path.join(ATTACKERS, name + ".c")])
            with open(out, "rb") as f:
                programs[name] = f.read()
    return programs[name]


def root_tar(files=(), links=(), directories=(), devices=(), without=()):
    """busybox's root with changes: files {path: (bytes, mode)}, links {path: target}, devices {path: (type, major, minor)}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(busybox_root_tar())) as old, tarfile.open(fileobj=out, mode="w") as new:
        for entry in old:
            if entry.name not in without:
                new.addfile(entry, old.extractfile(entry) if entry.isfile() else None)

        def add(name, kind, **fields):
            entry = tarfile.TarInfo(name)
            entry.type = kind
            for key, value in fields.items():
                setattr(entry, key, value)
            return entry
        for name in directories:
            new.addfile(add(name, tarfile.DIRTYPE, mode=0o755))
        for name, (data, mode) in dict(files).items():
            new.addfile(add(name, tarfile.REGTYPE, mode=mode, size=len(data)), io.BytesIO(data))
        for name, target in dict(links).items():
            new.addfile(add(name, tarfile.SYMTYPE, linkname=target))
        for name, (kind, major, minor) in dict(devices).items():
            new.addfile(add(name, kind, mode=0o666, devmajor=major, devminor=minor))
    return out.getvalue()


def facts(text):
    """What look printed: {kind: [words after it]}."""
    found = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        found.setdefault(kind, []).append(rest)
    return found


def status_of(found):
    return dict((part.strip() for part in line.split(":", 1)) for line in found["status"] if ":" in line)


class Bundle:
    """An OCI bundle and the means to run it with drover-oci, whose binary is a copy of its own."""

    def __init__(self, tar, **process):
        self.root = tempfile.mkdtemp(prefix="drover-story-")
        self.path = os.path.join(self.root, "bundle")
        self.binary = os.path.join(self.root, "drover-oci")
        shutil.copy(DROVER, self.binary)
        os.makedirs(os.path.join(self.path, "rootfs"))
        run(["tar", "-C", os.path.join(self.path, "rootfs"), "-xf", "-"], stdin=tar)
        run([self.binary, "spec"], cwd=self.path)
        with open(os.path.join(self.path, "config.json")) as f:
            self.config = json.load(f)
        self.config["process"].update(terminal=False, **process)
        self.config["root"]["readonly"] = False
        self.save()

    def save(self):
        with open(os.path.join(self.path, "config.json"), "w") as f:
            json.dump(self.config, f)

    def oci(self, *args, check=False, **options):
        done = subprocess.run([self.binary, "--root", os.path.join(self.root, "state"), *args], cwd=self.path, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", **options)
        if check and done.returncode:
            raise AssertionError(f"drover-oci {args}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start(self, name):
        """Detached: output to nowhere, as what stays alive would hold our pipes."""
        subprocess.run([self.binary, "--root", os.path.join(self.root, "state"), "run", "-d", name], cwd=self.path, check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def remove(self):
        for name in self.oci("list", "-q").stdout.split():
            self.oci("delete", "--force", name)
        shutil.rmtree(self.root)


def inherit_a_mess():
    """What a careless parent hands to the engine, between fork and exec."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(250, 1, b"drover-story")                                    # keyctl(KEYCTL_JOIN_SESSION_KEYRING)
    libc.syscall(248, b"user", b"drover-story-secret", b"x", 1, -3)          # add_key to it
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    os.umask(0)
    os.setgroups([4242])


GIVEN = "+chown,+net_raw,+sys_admin,+sys_ptrace"
MESS = ["setpriv", "--inh-caps", GIVEN, "--ambient-caps", GIVEN]


class Messy(Drover):
    def start(self, *args):
        self.leak = os.open("/", os.O_RDONLY)
        os.set_inheritable(self.leak, True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*MESS, DROVER, "serve", "--root", self.data, "--socket", self.socket], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, pass_fds=[self.leak], env=dict(os.environ, SECRET_OF_HOST="42"),
                                            preexec_fn=inherit_a_mess)

        def answers():
            if self.process.poll() is not None:
                raise AssertionError(f"drover serve ended with {self.process.returncode}:\n{self.tail()}")
            return os.path.exists(self.socket)
        wait_for(answers, "drover serve to listen")
        return self

    def remove(self):
        os.close(self.leak)
        return super().remove()


class Inside(Story):
    """Nothing of the machine is in a container that it was not given, however the engine was started."""

    @classmethod
    def make(cls):
        if os.uname().machine != "x86_64":
            raise unittest.SkipTest("the numbers of two system calls are x86-64's")
        return Messy().start()

    def image(self):
        tar = root_tar(files={"look": (attacker("look"), 0o755)})
        self.d.docker("import", "-", "look", stdin=tar)
        return tar

    def assert_clean(self, found, environment, first=True):
        status = status_of(found)
        self.assertEqual(sorted(line.split()[0] for line in found["fd"]), ["0", "1", "2"], found["fd"])
        self.assertEqual({line.split("=")[0] for line in found["env"]}, environment)
        self.assertEqual(status["CapInh"], "0" * 16)
        self.assertEqual(status["CapAmb"], "0" * 16)
        self.assertEqual(int(status["SigIgn"], 16), 0, "ignored signals")
        self.assertEqual(int(status["SigBlk"], 16), 0, "blocked signals")
        self.assertNotIn("4242", status["Groups"].split())
        self.assertEqual(status["TracerPid"], "0")
        self.assertEqual(found["umask"], ["0022"])
        self.assertEqual(found["securebits"], ["0"])
        self.assertEqual(found["deathsignal"], ["0"])
        self.assertEqual(found["terminal"], ["none"])
        self.assertEqual(found["secret"], ["none"])
        self.assertEqual(found["parent"], ["0"], "its parent is a process of the machine, which it cannot see")
        self.assertEqual([p for p in found["process"] if p.isdigit() and first], ["1"] if first else [])
        self.assertNotIn("drover-story-secret", " ".join(found.get("key", [])))
        here = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("cgroup", "ipc", "mnt", "net", "pid", "uts")}
        inside = dict(line.split() for line in found["namespace"])
        for name, mine in here.items():
            self.assertNotEqual(inside[name], mine, f"the machine's {name} namespace")
        # No file system of the machine but the root's own and what the engine writes for this container.
        for line in found["mount"]:
            root, point = line.split()[3:5]
            kind = line.split(" - ")[1].split()[0]
            own = point == "/" or kind in ("proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs")
            given = point in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf") and "/containers/" in root
            self.assertTrue(own or given, f"a mount of the machine: {line}")
            # Of the machine's /dev only null is bound, over what is masked.
            self.assertTrue(kind != "devtmpfs" or root == "/null", line)
        self.assertLessEqual(set(found["dev"]), {"null", "zero", "full", "random", "urandom", "tty", "console", "pts", "ptmx", "shm", "mqueue",
                                                 "fd", "stdin", "stdout", "stderr", "core"})
        for sock in found["socket"][1:]:
            self.assertNotIn("@", sock, "an abstract socket of the machine")

    def test_a_container_sees_nothing_of_the_machine(self):
        self.image()
        found = facts(self.d.docker("run", "--rm", "look", "/look").out)
        self.assert_clean(found, {"PATH", "HOSTNAME", "HOME"})
        status = status_of(found)
        for name in ("CapPrm", "CapEff", "CapBnd"):
            self.assertEqual(int(status[name], 16), DEFAULT_CAPABILITIES, name)
        self.assertEqual(status["Seccomp"], "2")
        self.assertLessEqual({line.split(":")[0].strip() for line in found["interface"][2:]}, {"lo", "eth0"})

    def test_a_user_without_root_has_no_capability_at_all(self):
        self.image()
        status = status_of(facts(self.d.docker("run", "--rm", "-u", "1000", "look", "/look").out))
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(int(status[name], 16), 0, name)

    def test_a_process_that_joins_sees_no_more(self):
        self.image()
        d = self.d
        d.docker("run", "-d", "--name", "host", "look", "sleep", "100000")
        found = facts(d.docker("exec", "host", "/look").out)
        self.assert_clean(found, {"PATH", "HOSTNAME", "HOME"}, first=False)
        self.assertEqual(int(status_of(found)["CapEff"], 16), DEFAULT_CAPABILITIES)
        self.assertEqual(status_of(found)["Seccomp"], "2")
        pids = sorted(int(p) for p in found["process"] if p.isdigit())
        self.assertEqual(pids[0], 1)
        self.assertEqual(len(pids), 2, "it sees others than the container's")
        d.docker("rm", "-f", "host")

    def watch(self, *options):
        """What a container's process could open of those that come in, and how many it saw come."""
        d = self.d
        d.docker("import", "-", "watcher", stdin=root_tar(files={"peek": (attacker("peek"), 0o755)}))
        d.docker("run", "-d", "--name", "watching", *options, "watcher", "/peek")
        wait_for(lambda: "watching" in d.docker("logs", "watching").out, "the watch to begin")
        for _ in range(40):
            d.docker("exec", "watching", "true")
        d.docker("exec", "watching", "touch", "/stop")
        self.assertEqual(d.docker("wait", "watching").out, "0\n")
        lines = d.docker("logs", "watching").out.splitlines()
        d.docker("rm", "watching")
        self.assertGreater(int(lines[-1].split()[1]), 20, "it saw hardly anyone come")
        return {line for line in lines if line.startswith("through")}

    def test_nothing_can_be_reached_through_a_process_that_joins(self):
        """CVE-2016-9962: while it is set up, it is visible in the container, and not yet of it."""
        self.assertEqual(self.watch(), set())

    def test_not_even_by_one_that_may_trace_it(self):
        seen = self.watch("--cap-add", "SYS_PTRACE")
        # The program is ours until the execve: readable, and on a read-only mount (see Binary).
        self.assertEqual({line for line in seen if not line.startswith("through exe:")}, set())

    def test_the_oci_runtime_hands_nothing_on_either(self):
        bundle = Bundle(root_tar(files={"look": (attacker("look"), 0o755)}), args=["/look"])
        leak = os.open("/", os.O_RDONLY)
        os.set_inheritable(leak, True)
        messy = {"pass_fds": [leak], "env": dict(os.environ, SECRET_OF_HOST="42"), "preexec_fn": inherit_a_mess}
        try:
            bundle.config["linux"]["namespaces"] = [{"type": t} for t in ("pid", "mount", "ipc", "uts", "network", "cgroup")]
            bundle.save()
            plain, bundle.binary = bundle.binary, bundle.binary

            def through_the_mess(*args):
                return subprocess.run([*MESS, plain, "--root", os.path.join(bundle.root, "state"), *args], cwd=bundle.path, text=True,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **messy)
            done = through_the_mess("run", "looker")
            self.assertEqual(done.returncode, 0, done.stderr)
            names = {v.split("=")[0] for v in bundle.config["process"]["env"]}
            found = facts(done.stdout)
            self.assertLessEqual({line.split("=")[0] for line in found["env"]}, names | {"HOME"})
            self.assert_clean(found, {line.split("=")[0] for line in found["env"]})
            bundle.config["process"]["args"] = ["sleep", "100000"]
            bundle.save()
            bundle.start("sleeper")
            done = through_the_mess("exec", "sleeper", "/look")
            self.assertEqual(done.returncode, 0, done.stderr)
            found = facts(done.stdout)
            self.assertLessEqual({line.split("=")[0] for line in found["env"]}, names | {"HOME"})
            self.assert_clean(found, {line.split("=")[0] for line in found["env"]}, first=False)
        finally:
            os.close(leak)
            bundle.remove()


class Binary(Story):
    """CVE-2019-5736: a process that enters the container is made to execute the engine's own binary there, and its /proc/PID/exe is
    the way out to that file."""
    shared = False
    image = False

    @classmethod
    def make(cls):
        return Drover().start()

    def root(self):
        with open(DROVER, "rb") as f:
            loader = re.search(rb"/lib[\w/.-]*ld-linux[\w.-]*\.so\.\d", f.read()).group().decode()
        folders = [loader[1:loader.rindex("/")]]
        return root_tar(directories=folders, links={"self": "/proc/self/exe"},
                        files={loader[1:]: (attacker("loader"), 0o755), "steal": (attacker("steal"), 0o755),
                               "script": (b"#!/proc/self/exe\n", 0o755), "by-link": (b"#!/self\n", 0o755)})

    def digest(self, path):
        with open(path, "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()

    def assert_not_stolen(self, text, binary, before, how):
        self.assertIn("stolen: no", text, f"{how}: the attack did not get as far as it should: {text}")
        # A file that runs cannot be written for the time; what counts is that it can never be.
        self.assertRegex(text, "Read-only file system|Operation not permitted", how)
        self.assertEqual(self.digest(binary), before, how)

    def test_a_container_cannot_overwrite_the_binary_that_starts_it(self):
        d, before = self.d, self.digest(DROVER)
        d.docker("import", "-", "thief", stdin=self.root())
        d.docker("run", "-d", "--name", "den", "thief", "sleep", "100000")
        for program in ("/script", "/by-link", "/proc/self/exe", "/self"):
            done = d.docker("run", "--rm", "--security-opt", "seccomp=unconfined", "thief", program, check=False)
            self.assert_not_stolen(done.out + done.err, DROVER, before, f"run {program}")
            done = d.docker("exec", "den", program, check=False)
            self.assert_not_stolen(done.out + done.err, DROVER, before, f"exec {program}")
            done = d.docker("exec", "--privileged", "den", program, check=False)
            self.assert_not_stolen(done.out + done.err, DROVER, before, f"privileged exec {program}")

    def test_nor_that_of_the_oci_runtime(self):
        bundle = Bundle(self.root(), args=["sleep", "100000"])
        try:
            before = self.digest(bundle.binary)
            bundle.start("den")
            for program in ("/script", "/proc/self/exe"):
                done = bundle.oci("exec", "den", program)
                self.assert_not_stolen(done.stdout + done.stderr, bundle.binary, before, f"exec {program}")
                bundle.config["process"]["args"] = [program]
                bundle.save()
                done = bundle.oci("run", "thief")
                self.assert_not_stolen(done.stdout + done.stderr, bundle.binary, before, f"run {program}")
        finally:
            bundle.remove()


class Paths(Story):
    """Names and links that lead elsewhere."""

    def setUp(self):
        super().setUp()
        self.victim = os.path.join(self.d.root, "victim")
        os.makedirs(self.victim, exist_ok=True)
        with open(os.path.join(self.victim, MARKER), "w") as f:
            f.write("of the machine\n")

    # Climbs from the working directory until it finds the machine's file.
    CLIMB = ("d=.; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do [ -e $d%s/" + MARKER + " ] && echo ESCAPED; d=$d/..; done; "
             "[ -e .%s ] && echo ESCAPED; echo looked")

    def climb(self):
        return self.CLIMB % (self.victim, self.victim)

    def test_a_working_directory_in_a_leaked_descriptor_leads_nowhere(self):
        """CVE-2024-21626, for every number that could be one."""
        d = self.d
        d.docker("import", "-", "linked", stdin=root_tar(links={f"w{n}": f"/proc/self/fd/{n}" for n in range(3, 20)}))
        d.docker("run", "-d", "--name", "den", "linked", "sleep", "100000")
        for n in range(3, 20):
            for directory in (f"/proc/self/fd/{n}", f"/proc/1/fd/{n}", f"/w{n}") if n < 12 else (f"/proc/self/fd/{n}",):
                done = d.docker("run", "--rm", "-w", directory, "linked", "sh", "-c", self.climb(), check=False)
                self.assertNotIn("ESCAPED", done.out, f"run -w {directory}: {done!r}")
                done = d.docker("exec", "-w", directory, "den", "sh", "-c", self.climb(), check=False)
                self.assertNotIn("ESCAPED", done.out, f"exec -w {directory}: {done!r}")
        d.docker("rm", "-f", "den")

    def test_nor_for_the_oci_runtime(self):
        bundle = Bundle(root_tar(), args=["sleep", "100000"])
        leak = os.open("/", os.O_RDONLY)
        os.set_inheritable(leak, True)
        try:
            bundle.start("den")
            for n in [*range(3, 16), leak]:
                directory = f"/proc/self/fd/{n}"
                done = bundle.oci("exec", "--cwd", directory, "den", "sh", "-c", self.climb(), pass_fds=[leak])
                self.assertNotIn("ESCAPED", done.stdout, f"exec --cwd {directory}: {done.stderr}")
                bundle.config["process"].update(args=["sh", "-c", self.climb()], cwd=directory)
                bundle.save()
                done = bundle.oci("run", f"c{n}", pass_fds=[leak])
                self.assertNotIn("ESCAPED", done.stdout, f"run in {directory}: {done.stderr}")
                self.assertNotEqual(done.returncode, 0, f"it ran in {directory}")
        finally:
            os.close(leak)
            bundle.remove()

    def test_a_directory_exchanged_with_a_link_while_containers_start_moves_no_mount(self):
        """CVE-2021-30465: one container races on a volume that another's mounts lie in."""
        d = self.d
        d.docker("import", "-", "racer", stdin=root_tar(files={"exchange": (attacker("exchange"), 0o755)}))
        d.docker("volume", "create", "shared")
        d.docker("run", "--rm", "-v", "shared:/v", "racer", "sh", "-c", "mkdir -p /v/a/in; ln -s / /v/b")
        d.docker("run", "-d", "--name", "racing", "-v", "shared:/v", "racer", "/exchange", "/v/a", "/v/b")
        wait_for(lambda: "exchanging" in d.docker("logs", "racing").out, "the race to begin")
        def mounts():
            """Where the link would lead them; others on the machine may mount what they like elsewhere."""
            with open("/proc/self/mountinfo") as f:
                return {point for point in (line.split()[4] for line in f) if point in ("/in", "/etc") or point.startswith(d.root)}
        before = mounts()
        look = f"for p in / /v /v/a /v/b /v/a/in /in; do [ -e $p{self.victim}/{MARKER} ] && echo ESCAPED $p; done; echo looked"
        outcomes = set()
        for i in range(30):
            done = d.docker("run", "--rm", "-v", "shared:/v", "-v", f"second{i % 3}:/v/a/in", "--tmpfs", "/v/a/etc", "racer", "sh", "-c", look,
                            check=False)
            self.assertNotIn("ESCAPED", done.out, done)
            outcomes.add(done.status)
            for folder in (os.path.join(self.victim, MARKER), "/etc/hostname"):
                self.assertTrue(os.path.exists(folder), folder)
        self.assertLessEqual(outcomes, {0, 125, 126, 127})
        self.assertEqual(mounts(), before, "a mount of a container reached the machine")
        d.docker("rm", "-f", "racing")

    # What lies over a masked path would be; written back as it is, should that ever succeed.
    UNCOVERED = ("cat /proc/sys/kernel/core_pattern > /tmp/p; for f in /proc/keys /proc/kcore /proc/timer_list; do "
                 "grep -qxFf /tmp/p $f && echo READ $f; cat /tmp/p > $f && [ \"$(cat $f)\" ] && echo KEPT $f; done; "
                 "cat /tmp/p > /proc/sys/kernel/core_pattern && echo WROTE; echo looked")

    def test_a_false_null_device_uncovers_no_masked_path(self):
        """CVE-2025-31133: what is laid over a masked path may come from the container's /dev. There a volume has links to what must not be
        written instead, in the end exchanged with the real device all the time."""
        bundle = Bundle(root_tar(files={"exchange": (attacker("exchange"), 0o755)}), args=["sh", "-c", f"({self.UNCOVERED}) 2>/dev/null"])
        dev, racer = os.path.join(bundle.root, "dev"), None
        try:
            os.mkdir(dev)
            bundle.config["mounts"] = [m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")]
            bundle.config["mounts"].append({"destination": "/dev", "type": "bind", "source": dev, "options": ["rbind"]})
            bundle.config["linux"]["maskedPaths"] = ["/proc/keys", "/proc/kcore", "/proc/timer_list"]
            bundle.save()
            for false in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/self/fd/0", "/proc/1/exe", "null.file"):
                if os.path.lexists(os.path.join(dev, "null")):
                    os.unlink(os.path.join(dev, "null"))
                os.symlink(false, os.path.join(dev, "null"))
                done = bundle.oci("run", "masked")
                self.assertNotEqual(done.returncode, 0, f"/dev/null is {false}: {done.stdout}")
                self.assertEqual((done.stdout, done.stderr.count("\n")), ("", 1), done.stderr)
                self.assertIn("null", done.stderr)
            os.unlink(os.path.join(dev, "null"))
            os.mknod(os.path.join(dev, "null"), 0o666 | 0o020000, os.makedev(1, 3))
            os.symlink("/proc/sys/kernel/core_pattern", os.path.join(dev, "false"))
            racer = subprocess.Popen([os.path.join(bundle.path, "rootfs/exchange"), os.path.join(dev, "null"), os.path.join(dev, "false")],
                                     stdout=subprocess.PIPE, text=True)
            racer.stdout.readline()
            for _ in range(40):
                done = bundle.oci("run", "masked")
                self.assertIn(done.stdout, ("", "looked\n"), done)
        finally:
            if racer:
                racer.kill()
                racer.communicate()
            bundle.remove()

    def test_a_false_console_or_terminal_is_bound_nowhere(self):
        """CVE-2025-52565: the terminal is bound over /dev/console before anything is masked. The image has links in the place of either."""
        for name, target in (("dev/console", "/proc/sys/kernel/core_pattern"), ("dev/console", "/proc/keys"), ("dev/pts", "/proc/sys/kernel"), ("dev", "/proc")):
            tar = root_tar(without=("dev",) if name == "dev" else (), links={name: target})
            bundle = Bundle(tar, args=["sh", "-c", f"grep {target} /proc/mounts && echo BOUND; [ -c /proc/sys/kernel/core_pattern ] && echo BOUND; echo ran"])
            try:
                bundle.config["process"]["terminal"] = True
                bundle.config["mounts"] = [m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")]
                if name == "dev/console":
                    bundle.config["mounts"].append({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]})
                bundle.save()
                done = subprocess.run(["script", "-qec", f"{bundle.binary} --root {bundle.root}/state run console", "/dev/null"], cwd=bundle.path,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
                self.assertNotIn("BOUND", done.stdout, f"{name} is {target}")
                self.assertNotEqual(done.returncode, 0, f"{name} is {target}: {done.stdout}")
                self.assertIn("drover-oci: ", done.stdout)
            finally:
                bundle.remove()

    def test_what_is_written_to_proc_for_a_container_is_not_redirected(self):
        """CVE-2025-52881: settings and labels are written below /proc, where a mount of the container may have put other files, so that they
        are lost, or reach what the mask hides. They go to the machine's own /proc, before there is another."""
        bundle = Bundle(root_tar(directories=("fake",)), args=["sh", "-c", "cat /proc/sys/net/ipv4/ip_default_ttl; cat /real/sys/net/ipv4/ip_default_ttl"])
        fake = os.path.join(bundle.root, "fake")
        try:
            os.makedirs(os.path.join(fake, "sys/net/ipv4"))
            for name in ("sys/net/ipv4/ip_default_ttl", "oom_score_adj"):
                with open(os.path.join(fake, name), "w") as f:
                    f.write("untouched\n")
            mounts = bundle.config["mounts"]
            mounts.append({"destination": "/real", "type": "proc", "source": "proc"})
            bundle.config["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "77"}
            bundle.save()
            self.assertEqual(bundle.oci("run", "plain", check=True).stdout, "77\n77\n")
            mounts[:] = [m for m in mounts if m["destination"] != "/proc"]
            mounts.append({"destination": "/proc", "type": "bind", "source": fake, "options": ["rbind"]})
            bundle.config["linux"].update(maskedPaths=[], readonlyPaths=[])
            bundle.save()
            done = bundle.oci("run", "redirected")
            if done.returncode == 0:
                self.assertEqual(done.stdout, "untouched\n77\n")
            with open(os.path.join(fake, "sys/net/ipv4/ip_default_ttl")) as f:
                self.assertEqual(f.read(), "untouched\n", "a setting was written to a file of the container")
        finally:
            bundle.remove()

    def test_a_directory_exchanged_with_a_link_makes_no_directory_on_the_machine(self):
        """CVE-2024-45310: the place of a mount is made while a volume's directory is exchanged with a link to the machine's."""
        bundle = Bundle(root_tar(files={"exchange": (attacker("exchange"), 0o755)}), args=["true"])
        volume, racer = os.path.join(bundle.root, "volume"), None
        before = os.listdir(self.victim)
        try:
            os.makedirs(os.path.join(volume, "a"))
            os.symlink(self.victim, os.path.join(volume, "b"))
            racer = subprocess.Popen([os.path.join(bundle.path, "rootfs/exchange"), os.path.join(volume, "a"), os.path.join(volume, "b")],
                                     stdout=subprocess.PIPE, text=True)
            racer.stdout.readline()
            mounts = list(bundle.config["mounts"])
            for i in range(40):
                bundle.config["mounts"] = mounts + [
                    {"destination": "/v", "type": "bind", "source": volume, "options": ["rbind"]},
                    {"destination": f"/v/a/made{i}/deep/er", "type": "tmpfs", "source": "tmpfs"},
                    {"destination": f"/v/a/file{i}", "type": "bind", "source": "/etc/hostname", "options": ["bind"]}]
                bundle.save()
                bundle.oci("run", "racing")
                self.assertEqual(os.listdir(self.victim), before, "something was made on the machine")
        finally:
            if racer:
                racer.kill()
                racer.communicate()
            bundle.remove()

    def test_what_is_made_read_only_is_what_gets_covered(self):
        """A neighbour exchanges a directory of a shared volume with a link while it is made read-only: what was looked at must not be laid over
        what the link leads to, so that the one stays writable and the other's files are gone."""
        bundle = Bundle(root_tar(files={"exchange": (attacker("exchange"), 0o755)}), args=["cat", "/proc/self/mountinfo"])
        volume, racer = os.path.join(bundle.root, "volume"), None
        try:
            for name in ("a", "other"):
                os.makedirs(os.path.join(volume, name))
            os.symlink("other", os.path.join(volume, "b"))
            bundle.config["mounts"].append({"destination": "/v", "type": "bind", "source": volume, "options": ["rbind"]})
            bundle.config["linux"]["readonlyPaths"] = ["/v/a"] * 30
            bundle.save()
            racer = subprocess.Popen([os.path.join(bundle.path, "rootfs/exchange"), os.path.join(volume, "a"), os.path.join(volume, "b")],
                                     stdout=subprocess.PIPE, text=True)
            racer.stdout.readline()
            covered = set()
            for _ in range(40):
                for line in bundle.oci("run", "racing").stdout.splitlines():
                    source, place = line.split()[3:5]
                    if place.startswith("/v/"):
                        covered.add((os.path.basename(source) == "other", os.path.basename(place) == "other"))
            self.assertTrue(covered, "nothing was made read-only")
            self.assertLessEqual(covered, {(False, False), (True, True)}, "one directory lies over another")
        finally:
            if racer:
                racer.kill()
                racer.communicate()
            bundle.remove()

    def test_an_image_whose_proc_is_a_link_or_a_volume_over_proc_hides_no_mask(self):
        """CVE-2019-16884, CVE-2023-27561, CVE-2023-28642: what is checked below /proc must be procfs."""
        d = self.d
        d.docker("import", "-", "noproc", stdin=root_tar(without=("proc",), directories=("fake", "fake/self", "fake/self/attr"),
                                                          links={"proc": "/fake"}))
        self.assert_clean_refusal(d.docker("run", "--rm", "noproc", "true", check=False), "/proc")
        d.docker("import", "-", "nosys", stdin=root_tar(without=("sys",), directories=("fake",), links={"sys": "/fake"}))
        self.assert_clean_refusal(d.docker("run", "--rm", "nosys", "true", check=False), "/sys")
        for target in ("/proc", "/proc/", "/tmp/../proc", "/proc/self", "/proc/sys/kernel"):
            done = d.docker("run", "--rm", "-v", f"{self.victim}:{target}", "busybox", "sh", "-c", "f=/proc/sys/kernel/core_pattern; c=$(cat $f) && printf %s \"$c\" > $f && echo WROTE",
                            check=False)
            self.assertNotIn("WROTE", done.out, target)
            self.assertNotEqual(done.status, 0, f"a volume over {target}")

    def test_what_is_masked_or_read_only_in_proc_stays_so_by_any_name(self):
        d = self.d
        with open("/proc/sys/kernel/core_pattern") as f:
            pattern = f.read()  # written back as it is, should that ever succeed
        script = """
for p in /proc /proc/self/root/proc /proc/thread-self/root/proc /proc/1/root/proc /proc/self/cwd/proc; do
  echo h > $p/sysrq-trigger && echo WROTE $p/sysrq-trigger
  printf %s "{pattern}" > $p/sys/kernel/core_pattern && echo WROTE $p/core_pattern
  echo 1 > $p/sys/vm/drop_caches && echo WROTE $p/drop_caches
  cat $p/irq/default_smp_affinity > /tmp/irq; cat /tmp/irq > $p/irq/default_smp_affinity && echo WROTE $p/irq
  [ -s $p/kcore ] && dd if=$p/kcore bs=1 count=1 2>/dev/null | grep -q . && echo READ $p/kcore
  cat $p/keys 2>/dev/null | grep -q . && echo READ $p/keys
  cat $p/timer_list 2>/dev/null | grep -q . && echo READ $p/timer_list
  ls $p/scsi $p/acpi 2>/dev/null | grep -v : | grep -q . && echo READ $p/scsi
done
mkdir /p; mount -t proc proc /p && echo MOUNTED
umount /proc/sys && echo UNMOUNTED
mount -o remount,rw /proc/sys && echo REMOUNTED
ls /sys/firmware 2>/dev/null | grep -q . && echo READ firmware
echo 1 > /sys/kernel/profiling 2>/dev/null && echo WROTE sys
echo done
""".replace("{pattern}", pattern.strip())
        done = d.docker("run", "--rm", "busybox", "sh", "-c", f"cd /; ({script}) 2>/dev/null")
        self.assertEqual(done.out, "done\n")
        # With every system call and CAP_SYS_ADMIN it may mount; a new procfs is then the container's own wish. Not so without.
        done = d.docker("run", "--rm", "--security-opt", "seccomp=unconfined", "busybox", "sh", "-c", f"cd /; ({script}) 2>/dev/null")
        self.assertEqual(done.out, "done\n")
        with open("/proc/sys/kernel/core_pattern") as f:
            self.assertEqual(f.read(), pattern)

    def test_an_account_file_of_the_image_is_only_data(self):
        d = self.d
        passwd = (b"root:x:0:0:root:/root:/bin/sh\n"
                  b"1000:x:0:0:a name that is a number:/:/bin/sh\n"
                  b"evil:x:4294967296:0:wraps to root:/:/bin/sh\n"
                  b"less:x:-1:0:negative:/:/bin/sh\n"
                  b"half:x:\n" + b"long" * 20000 + b":x:7:7:::\n" + b"good:x:12:13::/:/bin/sh\n")
        d.docker("import", "-", "accounts", stdin=root_tar(without=("etc/passwd",), files={"etc/passwd": (passwd, 0o644)}))
        self.assertEqual(d.docker("run", "--rm", "-u", "1000", "accounts", "id", "-u").out, "1000\n")
        self.assertEqual(d.docker("run", "--rm", "-u", "good", "accounts", "sh", "-c", "id -u; id -g").out, "12\n13\n")
        for name in ("evil", "less", "half", "4294967296", "-1"):
            done = d.docker("run", "--rm", f"--user={name}", "accounts", "id", "-u", check=False)
            self.assertNotEqual(done.out, "0\n", name)
            self.assert_clean_refusal(done)
        # A link out of the image, a pipe that nobody writes to, a device.
        d.docker("import", "-", "linked-accounts", stdin=root_tar(without=("etc/passwd",), links={"etc/passwd": "../../../../../../../../etc/passwd"}))
        self.assert_clean_refusal(d.docker("run", "--rm", "-u", "daemon", "linked-accounts", "id", check=False), "daemon")
        d.docker("run", "--name", "piper", "busybox", "sh", "-c", "rm /etc/passwd; mkfifo /etc/passwd")
        d.docker("commit", "piper", "piped-accounts")
        done = d.docker("run", "--rm", "-u", "user", "piped-accounts", "true", check=False)
        self.assertNotEqual(done.status, 0, done)
        done = d.docker("run", "--rm", "-u", "7", "piped-accounts", "grep", "Uid", "/proc/self/status")  # id would read the pipe
        self.assertEqual(done.out.split()[1], "7")

    def test_entering_a_container_that_has_made_its_proc_and_root_anew_is_not_fooled(self):
        d = self.d
        d.docker("run", "-d", "--name", "maker", "--privileged", "busybox", "sh", "-c",
                 "mkdir -p /new/bin /new/proc /new/old; cp /bin/busybox /new/bin/sh; mount --bind /new /new; mount --make-rprivate / 2>/dev/null;"
                 "mount -t tmpfs t /proc; mkdir -p /proc/self/attr /proc/self/fd /proc/1/ns /proc/sys; : > /proc/self/attr/exec;"
                 "ln -s / /proc/self/root; echo ready; exec sleep 100000")
        wait_for(lambda: "ready" in d.docker("logs", "maker").out, "the new /proc")
        done = d.docker("exec", "maker", "sh", "-c", f"[ -e {self.victim}/{MARKER} ] && echo ESCAPED; echo inside", check=False)
        self.assertNotIn("ESCAPED", done.out)
        self.assertTrue(done.out == "inside\n" or done.status != 0, done)
        d.docker("run", "-d", "--name", "pivoter", "--privileged", "busybox", "sh", "-c",
                 "mkdir /new; mount -t tmpfs t /new; mkdir /new/bin /new/old /new/proc; cp /bin/busybox /new/bin/; ln -s busybox /new/bin/sh;"
                 "ln -s busybox /new/bin/sleep; mount --make-rprivate / 2>/dev/null; cd /new; pivot_root . old; exec /bin/sh -c 'echo ready; sleep 100000'")
        wait_for(lambda: "ready" in d.docker("logs", "pivoter").out, "the new root")
        done = d.docker("exec", "pivoter", "/bin/sh", "-c", f"[ -e {self.victim}/{MARKER} ] && echo ESCAPED; [ -d /old/etc ] && echo inside", check=False)
        self.assertNotIn("ESCAPED", done.out)
        self.assertTrue(done.out == "inside\n" or done.status != 0, done)
        d.docker("rm", "-f", "maker", "pivoter")

    def test_a_device_in_a_layer_is_refused_and_one_made_inside_opens_nothing(self):
        d = self.d
        disk = os.stat("/").st_dev
        for name, device in (("disk", (tarfile.BLKTYPE, os.major(disk), os.minor(disk))), ("mem", (tarfile.CHRTYPE, 1, 1))):
            done = d.docker("import", "-", "devices", stdin=root_tar(devices={name: device}), check=False)
            self.assert_clean_refusal(done, name, "device node")
        self.assertNotIn("devices", d.docker("images").out)
        for more in ([], ["--security-opt", "seccomp=unconfined"]):
            for node in (f"b {os.major(disk)} {os.minor(disk)}", "c 1 1"):
                done = d.docker("run", "--rm", *more, "busybox", "sh", "-c",
                                f"mknod /d {node} && dd if=/d of=/dev/null bs=512 count=1 2>/dev/null && echo READ; echo done")
                self.assertEqual(done.out, "done\n", f"a node {node} made inside opened a device of the machine")

    def test_copying_in_and_out_follows_no_link_out_of_the_container(self):
        """CVE-2018-15664: links that point to the machine, also while they are exchanged with directories."""
        d = self.d
        d.docker("import", "-", "racer", stdin=root_tar(files={"exchange": (attacker("exchange"), 0o755)}))
        d.docker("run", "-d", "--name", "copied", "racer", "sh", "-c",
                 f"ln -s {self.victim} /out; ln -s ../../../../../../../../../..{self.victim} /up; mkdir -p /dir; ln -s {self.victim} /link;"
                 "echo ready; exec sleep 100000")
        wait_for(lambda: "ready" in d.docker("logs", "copied").out, "the links")
        source = os.path.join(d.root, "planted")
        with open(source, "w") as f:
            f.write("planted\n")
        for place in ("/out/planted", "/up/planted", "/out", "/up", "/link/../planted", "/proc/1/root/out/planted", f"/proc/self/root{self.victim}/planted"):
            d.docker("cp", source, f"copied:{place}", check=False)
            self.assertEqual(os.listdir(self.victim), [MARKER], f"cp to {place} wrote on the machine")
        for place in (f"/out/{MARKER}", f"/up/{MARKER}", f"/proc/1/root/{MARKER}", "/proc/self/root/etc/shadow", f"/proc/self/cwd{self.victim}/{MARKER}"):
            target = os.path.join(d.root, "stolen")
            d.docker("cp", "-L", f"copied:{place}", target, check=False)
            content = open(target).read() if os.path.isfile(target) else ""
            self.assertNotIn("of the machine", content, f"cp from {place} read the machine's file")
            self.assertNotIn("root:", content, place)
            if os.path.exists(target):
                shutil.rmtree(target) if os.path.isdir(target) else os.unlink(target)
        d.docker("exec", "-d", "copied", "/exchange", "/dir", "/link")
        for _ in range(25):
            d.docker("cp", source, "copied:/dir/planted", check=False)
            self.assertEqual(os.listdir(self.victim), [MARKER], "a race planted a file on the machine")
            done = d.docker("cp", f"copied:/link/{MARKER}", "-", check=False)
            self.assertNotIn("of the machine", done.out, "a race read the machine's file")
        d.docker("rm", "-f", "copied")

    def ask(self, method, path, body):
        """In one piece: a server that refuses the head need not wait for what follows."""
        data = json.dumps(body).encode() if body is not None else b""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.d.socket)
            s.sendall(f"{method} {path} HTTP/1.1\r\nHost: drover\r\nConnection: close\r\nContent-Type: application/json\r\n"
                      f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
            answer = http.client.HTTPResponse(s, method=method)
            answer.begin()
            return answer.status, answer.read()

    def test_names_of_the_api_lead_to_no_other_files(self):
        d = self.d

        def everything():
            return {os.path.join(folder, f) for folder, _, files in os.walk(d.root) for f in files
                    if not folder.startswith(d.data) and f != os.path.basename(d.log)}
        before = everything()
        for name in ("../x", "..", ".", "a/../../x", "/etc/x", "a\0b", "x" * 300, "-rf", "a b", "a\nb"):
            quoted = "".join(f"%{b:02x}" for b in name.encode())
            body = {"Image": "busybox", "Cmd": ["true"]}
            for method, path, data, refused in (
                    ("POST", f"/containers/create?name={quoted}", body, True),
                    ("POST", "/volumes/create", {"Name": name}, True),
                    ("POST", "/networks/create", {"Name": name}, False),
                    ("POST", f"/images/busybox/tag?repo={quoted}", None, True),
                    ("GET", f"/containers/{quoted}/json", None, True),
                    ("GET", f"/containers/{quoted}/logs?stdout=1", None, True),
                    ("DELETE", f"/containers/{quoted}", None, True),
                    ("DELETE", f"/volumes/{quoted}", None, True),
                    ("GET", f"/images/{quoted}/get", None, True),
                    ("GET", f"/exec/{quoted}/json", None, True)):
                status, content = self.ask(method, path, data)
                self.assertIn(status // 100, (4, 5) if refused else (2, 4, 5), f"{method} {path} {data}: {status} {content[:200]}")
                self.assertNotEqual(status, 500, f"{method} {path} {data}: {content[:200]}")
        self.assertEqual(everything(), before, "a file outside of the data directory")
        for path in ("/../../etc/passwd", "/containers/../../../etc/passwd", "/images/%2e%2e%2f%2e%2e%2fetc%2fpasswd/json"):
            status, content = self.ask("GET", path, None)
            # What is not clean is answered as dockerd does, with where the clean path would be.
            self.assertIn(status, (301, 400, 404), path)
            self.assertNotIn(b"root:", content)

    def test_a_build_reads_nothing_outside_of_its_context(self):
        d = self.d
        context = os.path.join(d.root, "context")
        os.makedirs(context, exist_ok=True)
        os.symlink(os.path.join(self.victim, MARKER), os.path.join(context, "link"))
        for copy in ("link /got", "../victim/" + MARKER + " /got", f"{self.victim}/{MARKER} /got"):
            with open(os.path.join(context, "Dockerfile"), "w") as f:
                f.write(f"FROM busybox\nCOPY {copy}\nRUN cat /got || true\n")
            done = d.docker("build", "--no-cache", context, check=False)
            self.assertNotIn("of the machine", done.out + done.err, copy)
        os.unlink(os.path.join(context, "link"))


class Greedy(Story):
    """What a container may use up."""

    def test_containers_that_fill_their_logs_keep_only_what_was_allowed(self):
        """Several at once: how far each one's json-file is behind when it ends differs."""
        d = self.d
        names = [f"talker{i}" for i in range(12)]
        for name in names:
            d.docker("run", "-d", "--name", name, "--log-opt", "max-size=100k", "--log-opt", "max-file=2", "busybox", "sh", "-c",
                     "yes 0123456789012345678901234567890123456789 | head -c 6000000; echo last")
        for name in names:
            self.assertEqual(d.docker("wait", name).out, "0\n")
            folder = os.path.join(d.data, "containers", d.inspect(name)["Id"])

            def files():
                return {f: os.path.getsize(os.path.join(top, f)) for top, _, files in os.walk(folder) for f in files if "log" in f}
            # Twice: the local log, and its json-file when that has caught up; and the cursor between them.
            try:
                wait_for(lambda: 1000 < sum(files().values()) < 600_000, "no more to be left than was allowed")
            except AssertionError as e:
                raise AssertionError(f"{e}: {files()}, {d.inspect(name)}") from None
            self.assertTrue(d.docker("logs", "--tail", "1", name).out.endswith("last\n"))
        d.docker("rm", *names)

    def test_a_fork_bomb_stops_at_its_limit_and_dies_at_a_word(self):
        d = self.d
        d.docker("run", "-d", "--name", "bomb", "--pids-limit", "24", "busybox", "sh", "-c", "f() { f | f & f; }; f; sleep 100000")
        d.docker("run", "-d", "--name", "bystander", "busybox", "sleep", "100000")

        def many():
            rows = json.loads(d.api("GET", "/containers/bomb/top")[2]).get("Processes", [])
            self.assertLessEqual(len(rows), 24)
            return d.inspect("bomb")["State"]["Status"] != "running" or len(rows) > 10
        wait_for(many, "the bomb to fill its limit")
        self.assertEqual(d.docker("exec", "bystander", "echo", "unharmed").out, "unharmed\n")
        d.docker("rm", "-f", "bomb", "bystander")

    def test_neighbours_do_not_see_nor_signal_each_other(self):
        d = self.d
        d.docker("run", "-d", "--name", "quiet", "busybox", "sleep", "123456")
        pid = d.inspect("quiet")["State"]["Pid"]
        done = d.docker("run", "--rm", "busybox", "sh", "-c", f"ps; kill -9 {pid} 2>/dev/null && echo KIL''LED; cat /proc/{pid}/environ 2>/dev/null && echo RE''AD; echo done")
        self.assertNotIn("123456", done.out)
        self.assertNotIn("KILLED", done.out)
        self.assertNotIn("READ", done.out)
        self.assertTrue(alive(pid))
        d.docker("rm", "-f", "quiet")
