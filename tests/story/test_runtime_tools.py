"""What each of the validation programs of runtime-tools asks of an OCI runtime, one story a program, under the program's name.

The runtime is drover-oci, or the one that OCI_RUNTIME names, so that others can be held against the same:

    OCI_RUNTIME=crun python3 tests/run.py story runtime_tools

Where a program looks from inside (runtimetest), a shell in the container prints what there is, and it is compared out here."""
import contextlib
import copy
import glob
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
import unittest

from harness import DROVER, busybox_root_tar, run, wait_for

CAPS = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
        "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"]
NUMBERS = {"CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_FOWNER": 3, "CAP_FSETID": 4, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7,
           "CAP_SETPCAP": 8, "CAP_NET_BIND_SERVICE": 10, "CAP_NET_RAW": 13, "CAP_SYS_CHROOT": 18, "CAP_MKNOD": 27,
           "CAP_AUDIT_WRITE": 29, "CAP_SETFCAP": 31}
SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
DEFAULT = {
    "ociVersion": "1.0.2",
    "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/", "env": ["PATH=/usr/bin:/bin", "TERM=xterm"],
                "capabilities": {name: CAPS for name in ("bounding", "effective", "permitted")},
                "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]},
    "root": {"path": "rootfs"},
    "hostname": "mrsdalloway",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}],
    "linux": {"resources": {"devices": [{"allow": False, "access": "rwm"}]},
              "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount")]}}
# The names of namespaces in a config, their files, and unshare's options.
NAMESPACES = {"cgroup": ("cgroup", "--cgroup"), "ipc": ("ipc", "--ipc"), "mount": ("mnt", "--mount"), "network": ("net", "--net"),
              "pid": ("pid", "--pid"), "user": ("user", "--user"), "uts": ("uts", "--uts")}
V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
OTHER = os.environ.get("OCI_RUNTIME")


def read(path):
    with open(path) as f:
        return f.read().strip()


class RuntimeTools(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix="drover-validation-")
        os.chmod(cls.top, 0o755)
        cls.binary = OTHER or os.path.join(cls.top, "drover-oci")
        if not OTHER:
            os.symlink(os.path.realpath(DROVER), cls.binary)
        cls.image = os.path.join(cls.top, "image")
        with tarfile.open(fileobj=io.BytesIO(busybox_root_tar())) as tar:
            tar.extractall(cls.image)
        os.makedirs(os.path.join(cls.image, "output"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.top)

    def setUp(self):
        self.bundle = os.path.join(self.top, "bundle")
        self.rootfs = os.path.join(self.bundle, "rootfs")
        shutil.copytree(self.image, self.rootfs, symlinks=True)
        self.state_dir = os.path.join(self.top, "state")
        self.config = copy.deepcopy(DEFAULT)
        self.linux, self.process = self.config["linux"], self.config["process"]
        self.count = 0

    def tearDown(self):
        with contextlib.suppress(OSError):
            for name in os.listdir(self.state_dir):
                self.oci("delete", "--force", name)
        left = [line for line in open("/proc/self/mountinfo") if self.top in line]
        shutil.rmtree(self.bundle)
        self.assertEqual(left, [])

    # --- the words ---

    def oci(self, *args, out=None):
        """Output of containers goes to a file: one that lives must not hold our pipes."""
        with open(os.path.join(self.top, "stdout"), "wb") if out is None else open(out, "wb") as f:
            done = subprocess.run([self.binary, "--root", self.state_dir, *args], cwd=self.bundle, stdin=subprocess.DEVNULL,
                                  stdout=f, stderr=open(os.path.join(self.top, "stderr"), "wb"))
        return done.returncode

    def said(self):
        return open(os.path.join(self.top, "stderr"), errors="replace").read()

    def text(self):
        return open(os.path.join(self.top, "stdout"), errors="replace").read()

    def name(self):
        self.count += 1
        return f"tools-{os.getpid()}-{self.count}"

    def save(self):
        with open(os.path.join(self.bundle, "config.json"), "w") as f:
            json.dump(self.config, f)

    def ok(self, *args):
        self.assertEqual(self.oci(*args), 0, (args, self.said()))

    def create(self, *args):
        self.save()
        name = self.name()
        self.ok("create", *args, name)
        return name

    def state(self, name):
        status = self.oci("state", name, out=os.path.join(self.top, "state.json"))
        return json.loads(read(os.path.join(self.top, "state.json"))) if status == 0 else None

    def until(self, name, status):
        wait_for(lambda: (self.state(name) or {}).get("status") == status, f"{name} to be {status}")

    def lifecycle(self, *args):
        """create, start, wait for its end, delete; the program's output."""
        self.process["args"] = list(args) or self.process["args"]
        self.save()
        name = self.name()
        output = os.path.join(self.top, "output")
        self.assertEqual(self.oci("create", name, out=output), 0, self.said())
        self.ok("start", name)
        self.until(name, "stopped")
        self.ok("delete", name)
        return open(output, errors="replace").read()

    def inside(self, script):
        return self.lifecycle("sh", "-c", script)

    def refused(self):
        """No container comes of this config: an error, and nothing behind it."""
        self.save()
        name = self.name()
        status = self.oci("create", name)
        if status == 0:
            status = self.oci("start", name)
        said = self.said()
        self.oci("delete", "--force", name)
        self.assertNotEqual(status, 0, "it was started")
        self.assertTrue(said.strip(), "no word of why")
        self.assertIsNone(self.state(name))

    def root_file(self, name):
        return os.path.join(self.rootfs, "output", name)

    def hook(self, kind, *words, path="/bin/sh", args=None, timeout=None):
        hook = {"path": path, "args": args or ["sh", "-c", *words]}
        if timeout:
            hook["timeout"] = timeout
        self.config.setdefault("hooks", {}).setdefault(kind, []).append(hook)

    def note(self, text):
        return f"echo {text} >>{self.root_file('notes')}"

    def notes(self):
        path = self.root_file("notes")
        return read(path).split("\n") if os.path.exists(path) else []

    def group(self, name, controller):
        """The directory of a container's cgroup."""
        for line in read(f"/proc/{self.state(name)['pid']}/cgroup").split("\n"):
            _, controllers, path = line.split(":", 2)
            if V2 and not controllers:
                return "/sys/fs/cgroup" + path
            if controller in controllers.split(","):
                return os.path.realpath(f"/sys/fs/cgroup/{controller}") + path
        self.skipTest(f"no {controller} controller")

    def grouped(self, controller, **resources):
        """A created container with these resources, by an absolute and by a relative path; yields its group's directory."""
        for path in (f"/drover/tools-{os.getpid()}", f"tools-relative-{os.getpid()}"):
            self.linux["cgroupsPath"] = path
            self.linux["resources"].update(resources)
            name = self.create()
            yield self.group(name, controller)
            self.ok("delete", "--force", name)

    # --- the command line and the lifecycle ---

    def test_create(self):
        self.save()
        self.assertNotEqual(self.oci("create"), 0, "no id")
        self.assertNotEqual(self.oci("create", ""), 0, "an empty id")
        name = self.create()
        self.assertEqual(self.state(name)["id"], name)
        self.assertNotEqual(self.oci("create", name), 0, "an id twice")

    def test_start(self):
        self.process["args"] = ["sh", "-c", "echo called >>/output/notes"]
        self.save()
        self.assertNotEqual(self.oci("start"), 0, "no id")
        self.assertNotEqual(self.oci("start", "nobody"), 0, "no such container")
        name = self.create()
        self.assertEqual(self.notes(), [], "the program waits for the start")
        self.ok("start", name)
        self.until(name, "stopped")
        self.assertEqual(self.notes(), ["called"])
        self.assertNotEqual(self.oci("start", name), 0, "a second start")
        self.assertEqual(self.notes(), ["called"])
        self.ok("delete", name)
        del self.config["process"]
        name = self.create()
        self.assertNotEqual(self.oci("start", name), 0, "nothing to start")

    def test_state(self):
        self.assertNotEqual(self.oci("state"), 0, "no id")
        self.assertNotEqual(self.oci("state", "nobody"), 0, "no such container")
        self.config["annotations"] = {"a": "b"}
        state = self.state(self.create())
        self.assertEqual((state["status"], state["bundle"], state["annotations"]), ("created", self.bundle, {"a": "b"}))
        self.assertGreater(state["pid"], 0)
        self.assertRegex(state["ociVersion"], r"^1\.\d+\.\d+")

    def test_kill(self):
        self.save()
        self.assertNotEqual(self.oci("kill"), 0, "no id")
        self.assertNotEqual(self.oci("kill", "nobody", "KILL"), 0, "no such container")
        self.process["args"] = ["sleep", "1000"]
        created = self.create()
        self.ok("kill", created, "KILL")
        self.until(created, "stopped")
        running = self.create()
        self.ok("start", running)
        self.ok("kill", running, "KILL")
        self.until(running, "stopped")
        self.assertNotEqual(self.oci("kill", running, "KILL"), 0, "stopped already")

    def test_kill_no_effect(self):
        name = self.create()
        self.ok("start", name)
        self.until(name, "stopped")
        before = self.state(name)
        self.oci("kill", name, "KILL")
        self.assertEqual(self.state(name), before)

    def test_killsig(self):
        for signal in ("TERM", "USR1", "USR2"):
            ready = self.root_file("ready-" + signal)
            self.process["args"] = ["sh", "-c", f"trap 'touch /output/{signal}; exit 0' {signal}; touch /output/ready-{signal}; "
                                    "while :; do usleep 10000; done"]
            name = self.create()
            self.ok("start", name)
            wait_for(lambda: os.path.exists(ready), "the trap")
            self.ok("kill", name, signal)
            self.until(name, "stopped")
            self.assertTrue(os.path.exists(self.root_file(signal)), signal)
            self.ok("delete", name)

    def test_delete(self):
        self.save()
        self.assertNotEqual(self.oci("delete"), 0, "no id")
        self.assertNotEqual(self.oci("delete", "nobody"), 0, "no such container")
        self.process["args"] = ["sleep", "1000"]
        name = self.create()
        self.assertNotEqual(self.oci("delete", name), 0, "a container that waits for its start")
        self.assertEqual(self.state(name)["status"], "created")
        self.ok("start", name)
        self.assertNotEqual(self.oci("delete", name), 0, "a running container")
        self.assertEqual(self.state(name)["status"], "running")
        self.ok("kill", name, "KILL")
        self.until(name, "stopped")
        self.ok("delete", name)
        self.assertIsNone(self.state(name))
        again = self.name()
        self.ok("create", again)

    def test_delete_resources(self):
        for directory in self.grouped("pids", pids={"limit": 1000}):
            self.assertEqual(read(directory + "/pids.max"), "1000")
            seen = directory
            self.assertTrue(os.path.isdir(seen))
        self.assertFalse(os.path.exists(seen))

    def test_delete_only_create_resources(self):
        """A group that the caller made and put the process into stays."""
        name = self.create()
        base = self.group(name, "pids")
        other = os.path.join("/sys/fs/cgroup" if V2 else os.path.realpath("/sys/fs/cgroup/pids"), f"drover/other-{os.getpid()}")
        os.makedirs(other)
        try:
            with open(os.path.join(other, "cgroup.procs"), "w") as f:
                f.write(str(self.state(name)["pid"]))
            self.ok("start", name)
            self.until(name, "stopped")
            self.ok("delete", name)
            self.assertTrue(os.path.isdir(other))
            self.assertFalse(os.path.exists(base))
        finally:
            os.rmdir(other)

    def test_pidfile(self):
        path = os.path.join(self.top, "pid")
        name = self.create("--pid-file", path)
        self.assertEqual(int(read(path)), self.state(name)["pid"])

    def test_config_updates_without_affect(self):
        self.process["args"] = ["sh", "-c", "echo old >/output/notes; ulimit -n >>/output/notes"]
        name = self.create()
        self.process["args"] = ["sh", "-c", "echo new >/output/notes"]
        self.save()
        self.ok("start", name)
        self.until(name, "stopped")
        self.assertEqual(self.notes(), ["old", "1024"])

    def test_misc_props(self):
        self.config["annotations"] = {"org.unknown": ""}
        self.lifecycle("true")
        self.config["unknown"] = "unknown"
        self.lifecycle("true")
        self.config["ociVersion"] = "invalid"
        self.refused()

    # --- hooks ---

    def test_hooks(self):
        for kind in ("prestart", "poststart", "poststop"):
            for number in (1, 2):
                self.hook(kind, self.note(f"{kind}{number}"))
        self.inside("echo process >>/output/notes")
        notes = self.notes()
        self.assertEqual(notes[:2], ["prestart1", "prestart2"])
        self.assertEqual(notes[-2:], ["poststop1", "poststop2"])
        self.assertEqual(sorted(notes[2:5]), ["poststart1", "poststart2", "process"])
        self.assertLess(notes.index("poststart1"), notes.index("poststart2"))

    def test_hooks_stdin(self):
        self.config["annotations"] = {"org.opencontainers.runtime-tools": "hook stdin test"}
        kinds = ("prestart", "createRuntime", "poststart", "poststop")
        for kind in kinds:
            self.hook(kind, f"cat >{self.root_file(kind)}", timeout=10)
        self.process["args"] = ["true"]
        name = self.create()
        pid = self.state(name)["pid"]
        self.ok("start", name)
        self.until(name, "stopped")
        self.ok("delete", name)
        for kind in kinds:
            state = json.loads(read(self.root_file(kind)))
            self.assertEqual((state["id"], state["bundle"], state["annotations"]), (name, self.bundle, self.config["annotations"]))
            if kind != "poststop":
                self.assertEqual(state["pid"], pid)
            # runc says "creating" before 1.2, crun too: the specification's word came with createRuntime.
            wanted = {"poststart": ("running",), "poststop": ("stopped",)}.get(kind, ("created", "creating"))
            self.assertIn(state["status"], wanted, kind)

    def hook_order(self, kind, before, after):
        self.hook(kind, self.note(kind))
        self.inside("echo process >>/output/notes")
        self.assertEqual(sorted(self.notes()), sorted([kind, "process"]))
        if before:
            self.assertEqual(self.notes()[0], kind)
        if after:
            self.assertEqual(self.notes()[1], kind)

    def test_prestart(self):
        self.hook_order("prestart", True, False)

    def test_poststart(self):
        """After the program was started: which of the two writes first is chance, that it was running is not."""
        self.hook("poststart", f"cat >{self.root_file('state')}; touch {self.root_file('go')}")
        self.inside("while [ ! -e /output/go ]; do usleep 10000; done")
        self.assertEqual(json.loads(read(self.root_file("state")))["status"], "running")

    def test_poststop(self):
        self.hook_order("poststop", False, True)

    def test_prestart_fail(self):
        self.hook("prestart", path="/bin/false", args=["false"])
        self.hook("poststop", self.note("poststop"))
        self.process["args"] = ["sh", "-c", "echo process >>/output/notes"]
        self.refused()
        self.assertNotIn("process", self.notes())

    def test_poststart_fail(self):
        self.hook("poststart", path="/bin/false", args=["false"])
        self.hook("poststart", self.note("second"))
        self.inside("true")
        self.assertEqual(self.notes(), ["second"], "the remaining hooks run, and the lifecycle goes on")

    def test_poststop_fail(self):
        self.hook("poststop", path="/bin/false", args=["false"])
        self.hook("poststop", self.note("second"))
        self.inside("true")
        self.assertEqual(self.notes(), ["second"])

    # --- the process ---

    def test_process(self):
        self.process["cwd"] = "/tmp/test"
        os.makedirs(os.path.join(self.rootfs, "tmp/test"))
        self.process["env"].append("testa=valuea")
        self.process["env"].append("testb=123")
        out = self.inside("pwd; echo $testa $testb; tr '\\0' ' ' </proc/self/cmdline; echo; grep NoNewPrivs /proc/self/status")
        self.assertEqual(out.split("\n")[:2], ["/tmp/test", "valuea 123"])
        self.assertIn("NoNewPrivs:\t0", out)

    def test_linux_process(self):
        self.process["noNewPrivileges"] = True
        self.process["cwd"] = "/made/by/the/runtime"
        self.process["oomScoreAdj"] = 500
        out = self.inside("grep NoNewPrivs /proc/self/status; pwd; cat /proc/self/oom_score_adj").split("\n")
        self.assertEqual(out[:3], ["NoNewPrivs:\t1", "/made/by/the/runtime", "500"])

    def test_process_user(self):
        cases = [{"uid": 10, "gid": 10}, {"uid": 1000, "gid": 7, "additionalGids": [5, 2000]}, {"uid": 1, "gid": 1, "umask": 0o07}]
        for user in cases:
            self.process["user"] = user
            out = self.inside("id -u; id -g; grep Groups /proc/self/status; umask")
            uid, gid, groups, umask = out.strip().split("\n")
            self.assertEqual((int(uid), int(gid)), (user["uid"], user["gid"]))
            self.assertEqual(sorted(map(int, groups.split()[1:])), sorted(user.get("additionalGids", [])))
            self.assertEqual(int(umask, 8), user.get("umask", 0o22))

    def caps_are(self, wanted):
        status = self.inside("cat /proc/self/status")
        found = {line[:6]: int(line.split()[1], 16) for line in status.split("\n") if line.startswith("Cap")}
        keys = dict(zip(SETS, ("CapBnd", "CapEff", "CapInh", "CapPrm", "CapAmb")))
        for name in SETS:
            mask = sum(1 << NUMBERS[cap] for cap in wanted.get(name, []))
            self.assertEqual(found[keys[name]], mask, name)

    def test_process_capabilities(self):
        self.caps_are(self.process["capabilities"])
        self.process["capabilities"] = {name: ["CAP_KILL", "CAP_CHOWN"] for name in SETS}
        self.caps_are(self.process["capabilities"])

    def test_process_capabilities_fail(self):
        """Of a word that is no capability: the specification of 1.0 had an error, that of 1.1 has a warning (config.md,
        "capabilities": runtimes SHOULD log a warning). It never becomes a right."""
        self.process["capabilities"] = {"bounding": [*CAPS, "CAP_TEST"], "effective": CAPS, "permitted": CAPS}
        self.process["args"] = ["true"]
        self.save()
        status = self.oci("create", self.name())
        self.assertIn("CAP_TEST".lower(), self.said().lower())
        if status == 0:
            self.assertIn("warn", self.said().lower())

    def test_process_oom_score_adj(self):
        for score in (0, 500, 1000):
            self.process["oomScoreAdj"] = score
            self.assertEqual(self.inside("cat /proc/self/oom_score_adj").strip(), str(score))

    def test_process_rlimits(self):
        limits = {"RLIMIT_CORE": 1024, "RLIMIT_CPU": 100000, "RLIMIT_DATA": 2 << 30, "RLIMIT_FSIZE": 1 << 30, "RLIMIT_NOFILE": 1000,
                  "RLIMIT_NPROC": 900, "RLIMIT_STACK": 8 << 20, "RLIMIT_AS": 4 << 30, "RLIMIT_MEMLOCK": 65536}
        self.process["rlimits"] = [{"type": t, "soft": n, "hard": n} for t, n in limits.items()]
        out = self.inside("cat /proc/self/limits")
        rows = {"RLIMIT_CORE": "Max core file size", "RLIMIT_CPU": "Max cpu time", "RLIMIT_DATA": "Max data size",
                "RLIMIT_FSIZE": "Max file size", "RLIMIT_NOFILE": "Max open files", "RLIMIT_NPROC": "Max processes",
                "RLIMIT_STACK": "Max stack size", "RLIMIT_AS": "Max address space", "RLIMIT_MEMLOCK": "Max locked memory"}
        for kind, row in rows.items():
            found = [line[len(row):].split()[:2] for line in out.split("\n") if line.startswith(row)]
            self.assertEqual(found, [[str(limits[kind])] * 2], kind)

    def test_process_rlimits_fail(self):
        self.process["rlimits"].append({"type": "RLIMIT_TEST", "soft": 1024, "hard": 1024})
        self.refused()
        self.process["rlimits"][-1] = self.process["rlimits"][0]
        self.refused()

    def test_linux_process_apparmor_profile(self):
        if not os.path.exists("/sys/kernel/security/apparmor/profiles"):
            self.process["apparmorProfile"] = "acme_secure_profile"
            self.refused()
            return
        profile = "profile acme_secure_profile flags=(attach_disconnected,mediate_deleted) { file, capability, signal, }"
        subprocess.run(["apparmor_parser", "-r"], input=profile.encode(), check=True)
        self.process["apparmorProfile"] = "acme_secure_profile"
        self.assertEqual(self.inside("cat /proc/self/attr/current").strip(), "acme_secure_profile (enforce)")

    # --- the root and the mounts ---

    def test_default(self):
        """What runtimetest finds in a container of the default config."""
        out = self.inside("hostname; for l in fd stdin stdout stderr; do readlink /dev/$l; done; "
                          "for d in null zero full random urandom tty ptmx; do stat -L -c '%F' /dev/$d; done; cat /proc/self/mountinfo")
        lines = out.split("\n")
        self.assertEqual(lines[0], "mrsdalloway")
        self.assertEqual(lines[1:5], ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"])
        self.assertEqual(lines[5:12], ["character special file"] * 7)
        for mount in DEFAULT["mounts"]:
            found = [line.split(" - ") for line in lines[12:] if line and line.split()[4] == mount["destination"]]
            self.assertIn([mount["type"], mount["source"]], [right.split()[:2] for _, right in found], mount)
        self.caps_are(self.process["capabilities"])

    def test_hostname(self):
        self.config["hostname"] = "hostname-specific"
        self.config["domainname"] = "example.org"
        self.assertEqual(self.inside("hostname; cat /proc/sys/kernel/domainname").split()[0], "hostname-specific")

    def test_root_readonly_true(self):
        self.config["root"]["readonly"] = True
        self.assertNotIn("written", self.inside("touch /file && echo written"))
        self.config["root"]["readonly"] = False
        self.assertIn("written", self.inside("touch /file && echo written"))

    def test_mounts(self):
        os.makedirs(os.path.join(self.top, "source"), exist_ok=True)
        self.config["mounts"] += [
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=4k"]},
            {"destination": "/made/for/it", "type": "bind", "source": os.path.join(self.top, "source"), "options": ["rbind", "ro", "noexec"]}]
        out = self.inside("cat /proc/self/mountinfo; stat -c %a /tmp; touch /made/for/it/x || echo refused")
        tmp = [line for line in out.split("\n") if " /tmp " in line][0]
        self.assertIn("nosuid", tmp)
        self.assertNotIn("relatime", tmp)
        bound = [line for line in out.split("\n") if " /made/for/it " in line][0].split()[5].split(",")
        self.assertTrue({"ro", "noexec"} <= set(bound), bound)
        self.assertEqual(out.strip().split("\n")[-2:], ["755", "refused"])

    def test_mounts_recursive(self):
        """Each recursive option reaches the mounts below, and its opposite takes it away."""
        source = os.path.join(self.top, "tree")
        os.makedirs(os.path.join(source, "below"), exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tree", source], check=True)
        os.makedirs(os.path.join(source, "below"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev,noexec,noatime", "below", os.path.join(source, "below")], check=True)
        try:
            for option, there, gone in (("rro", "ro", "rw"), ("rnosuid", "nosuid", None), ("rnodev", "nodev", None), ("rnoexec", "noexec", None),
                                        ("rnoatime", "noatime", None), ("rsuid", None, "nosuid"), ("rdev", None, "nodev"),
                                        ("rexec", None, "noexec"), ("rnodiratime", "nodiratime", None), ("rrelatime", "relatime", "noatime"),
                                        ("rstrictatime", None, "noatime")):
                self.config["mounts"] = [*DEFAULT["mounts"], {"destination": "/mnt", "type": "bind", "source": source, "options": ["rbind", option]}]
                out = self.inside("grep ' /mnt' /proc/self/mountinfo")
                for line in out.strip().split("\n"):
                    options = line.split()[5].split(",")
                    self.assertTrue(there is None or there in options, (option, line))
                    self.assertFalse(gone in options, (option, line))
                self.assertEqual(len(out.strip().split("\n")), 2, out)
        finally:
            subprocess.run(["umount", "-R", source], check=True)

    def test_linux_devices(self):
        self.linux["resources"] = {}
        self.linux["devices"] = [{"path": "/dev/test1", "type": "c", "major": 10, "minor": 666, "fileMode": 0o432, "uid": 0, "gid": 0},
                                 {"path": "/dev/test2", "type": "b", "major": 8, "minor": 666, "fileMode": 0o432, "uid": 0, "gid": 0},
                                 {"path": "/dev/test3", "type": "p", "fileMode": 0o432, "uid": 1, "gid": 2}]
        out = self.inside("stat -c '%F %t %T %a %u %g' /dev/test1 /dev/test2 /dev/test3").strip().split("\n")
        self.assertEqual(out, ["character special file a 29a 432 0 0", "block special file 8 29a 432 0 0", "fifo 0 0 432 1 2"])

    def test_linux_masked_paths(self):
        os.makedirs(os.path.join(self.rootfs, "masked-dir/masked-subdir"))
        for path in ("masked-dir/masked-subdir/file", "masked-dir/file", "masked-file"):
            with open(os.path.join(self.rootfs, path), "w") as f:
                f.write("secrets")
        for kind, name in ((stat.S_IFCHR, "char"), (stat.S_IFBLK, "block"), (stat.S_IFIFO, "fifo")):
            os.mknod(os.path.join(self.rootfs, "masked-" + name), kind | 0o666)
        self.linux["maskedPaths"] = ["/masked-dir", "/masked-file", "/masked-dir/masked-subdir", "/masked-dir/file", "/masked-not-there",
                                     "/masked-char", "/masked-block", "/masked-fifo"]
        out = self.inside("ls -A /masked-dir | wc -l; cat /masked-file /masked-char /masked-block /masked-fifo | wc -c")
        self.assertEqual(out.split(), ["0", "0"])

    def test_linux_readonly_paths(self):
        os.makedirs(os.path.join(self.rootfs, "ro-dir/sub"))
        for path in ("ro-dir/sub/file", "ro-dir/file", "ro-file"):
            with open(os.path.join(self.rootfs, path), "w") as f:
                f.write("text")
        self.linux["readonlyPaths"] = ["/ro-dir", "/ro-dir/sub", "/ro-dir/file", "/ro-file", "/ro-not-there"]
        out = self.inside("touch /ro-dir/new /ro-dir/sub/new; for f in /ro-dir/sub/file /ro-dir/file /ro-file; do (echo x >$f) && echo written; "
                          "cat $f; done")
        self.assertEqual(out, "texttexttext")
        self.assertEqual(os.listdir(os.path.join(self.rootfs, "ro-dir/sub")), ["file"])

    def test_linux_rootfs_propagation(self):
        for mode, mark in (("shared", "shared:"), ("slave", "master:"), ("private", None), ("unbindable", "unbindable")):
            self.linux["rootfsPropagation"] = mode
            root = [line for line in self.inside("cat /proc/self/mountinfo").split("\n") if line and line.split()[4] == "/"][-1]
            marks = root.split(" - ")[0].split()[6:]
            # A slave of nobody is private: the kernel has no word for it.
            if mode == "slave":
                self.assertFalse(any(m.startswith("shared:") for m in marks), root)
            else:
                self.assertEqual(any(m.startswith(mark) for m in marks) if mark else marks == [], True, (mode, root))

    def test_linux_mount_label(self):
        self.linux["mountLabel"] = "system_u:object_r:container_file_t:s0:c715,c811"
        if os.path.exists("/sys/fs/selinux/enforce"):
            self.skipTest("a policy is loaded, whose types are not known here")
        self.save()
        created = self.oci("create", self.name())
        if not OTHER:  # some refuse it, some do not look at it
            self.assertEqual(created, 0, self.said())
        if created != 0 or not OTHER:
            self.assertIn("selinux", self.said().lower())

    # --- namespaces ---

    def test_linux_ns_nopath(self):
        """A new namespace of each type."""
        for kind, (file, _) in NAMESPACES.items():
            self.linux["namespaces"] = [n for n in DEFAULT["linux"]["namespaces"] if n["type"] != kind] + [{"type": kind}]
            self.linux["uidMappings"] = self.linux["gidMappings"] = [{"containerID": 0, "hostID": 0, "size": 4294967295}] if kind == "user" else []
            name = self.create()
            self.assertNotEqual(os.readlink(f"/proc/{self.state(name)['pid']}/ns/{file}"), os.readlink(f"/proc/self/ns/{file}"), kind)
            self.ok("delete", "--force", name)

    def test_linux_ns_itype(self):
        """One that is not listed is the runtime's own."""
        for kind, (file, _) in NAMESPACES.items():
            self.linux["namespaces"] = [n for n in DEFAULT["linux"]["namespaces"] if n["type"] != kind]
            if kind == "uts":
                del self.config["hostname"]
            name = self.create()
            self.assertEqual(os.readlink(f"/proc/{self.state(name)['pid']}/ns/{file}"), os.readlink(f"/proc/self/ns/{file}"), kind)
            self.ok("delete", "--force", name)
            self.config["hostname"] = "mrsdalloway"

    @contextlib.contextmanager
    def other(self, kind):
        """The path of a namespace that somebody else made."""
        file, option = NAMESPACES[kind]
        holder = subprocess.Popen(["unshare", option, "--fork", "sleep", "1000"], stdin=subprocess.DEVNULL)
        path = f"/proc/{holder.pid}/ns/{file}" + ("_for_children" if kind == "pid" else "")

        def there():
            with contextlib.suppress(OSError):
                return os.readlink(path) != os.readlink(f"/proc/self/ns/{file}")
        wait_for(there, "the namespace")
        child = wait_for(lambda: read(f"/proc/{holder.pid}/task/{holder.pid}/children").split(), "its holder")[0]
        try:
            yield path
        finally:
            os.kill(int(child), 9)
            holder.wait()

    def test_linux_ns_path(self):
        for kind in ("ipc", "mount", "network", "pid", "uts"):
            with self.other(kind) as path:
                self.linux["namespaces"] = [n for n in DEFAULT["linux"]["namespaces"] if n["type"] != kind] + [{"type": kind, "path": path}]
                name = self.create()
                self.assertEqual(os.readlink(f"/proc/{self.state(name)['pid']}/ns/{NAMESPACES[kind][0]}"), os.readlink(path), kind)
                self.ok("delete", "--force", name)

    def test_linux_ns_path_type(self):
        for kind, wrong in (("cgroup", "ipc"), ("ipc", "mnt"), ("mount", "net"), ("network", "pid"), ("pid", "user"), ("user", "uts"),
                            ("uts", "cgroup")):
            path = f"/proc/self/ns/{wrong}"
            self.linux["namespaces"] = [n for n in DEFAULT["linux"]["namespaces"] if n["type"] != kind] + [{"type": kind, "path": path}]
            self.refused()

    def mapping(self, file):
        maps = [{"containerID": 0, "hostID": 1000, "size": 2000}, {"containerID": 2000, "hostID": 10000, "size": 10}]
        self.linux["namespaces"].append({"type": "user"})
        self.linux["uidMappings"] = self.linux["gidMappings"] = maps
        for folder, folders, files in os.walk(self.rootfs):
            for entry in [folder] + [os.path.join(folder, f) for f in folders + files]:
                os.chown(entry, 1000, 1000, follow_symlinks=False)
        out = self.inside(f"cat /proc/self/{file}")
        self.assertEqual([line.split() for line in out.strip().split("\n")], [["0", "1000", "2000"], ["2000", "10000", "10"]])

    def test_linux_uid_mappings(self):
        self.mapping("uid_map")

    def test_linux_gid_mappings(self):
        self.mapping("gid_map")

    # --- the kernel's other settings ---

    def test_linux_sysctl(self):
        self.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmni": "4000"}
        self.assertEqual(self.inside("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni").split(), ["1", "4000"])

    def test_linux_seccomp(self):
        self.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW",
                                 "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"},
                                              {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}
        out = self.inside("cd /tmp; env -u PWD sh -c 'busybox pwd' 2>&1; mkdir /tmp/x 2>&1; grep Seccomp: /proc/self/status")
        self.assertIn("Seccomp:\t2", out)
        self.assertIn("No space left on device", out)

    # --- resources, by an absolute and by a relative path ---

    def test_linux_cgroups_memory(self):
        limit, swap = 50593792, 60593152
        for directory in self.grouped("memory", memory={"limit": limit, "reservation": limit // 2, "swap": swap}):
            if V2:
                self.assertEqual(read(directory + "/memory.max"), str(limit))
                self.assertEqual(read(directory + "/memory.low"), str(limit // 2 // 4096 * 4096))
                if os.path.exists(directory + "/memory.swap.max"):
                    self.assertEqual(read(directory + "/memory.swap.max"), str((swap - limit) // 4096 * 4096))
            else:
                self.assertEqual(read(directory + "/memory.limit_in_bytes"), str(limit))
                self.assertEqual(read(directory + "/memory.soft_limit_in_bytes"), str(limit // 2 // 4096 * 4096))
                if os.path.exists(directory + "/memory.memsw.limit_in_bytes"):
                    self.assertEqual(read(directory + "/memory.memsw.limit_in_bytes"), str(swap // 4096 * 4096))

    def test_linux_cgroups_cpus(self):
        for cpu in ({"shares": 1024, "period": 100000, "quota": 50000, "cpus": "0", "mems": "0"}, {"shares": 2, "period": 1000000, "quota": -1}):
            for directory in self.grouped("cpu", cpu=cpu):
                if V2:
                    quota = "max" if cpu["quota"] < 0 else str(cpu["quota"])
                    self.assertEqual(read(directory + "/cpu.max"), f"{quota} {cpu['period']}")
                    self.assertEqual(read(directory + "/cpu.weight"), str(1 + (cpu["shares"] - 2) * 9999 // 262142))
                else:
                    self.assertEqual(read(directory + "/cpu.shares"), str(cpu["shares"]))
                    self.assertEqual(read(directory + "/cpu.cfs_period_us"), str(cpu["period"]))
                    self.assertEqual(read(directory + "/cpu.cfs_quota_us"), str(cpu["quota"]))
        self.linux["resources"].pop("cpu")
        for directory in self.grouped("cpuset", cpu={"cpus": "0", "mems": "0"}):
            self.assertEqual(read(directory + "/cpuset.cpus"), "0")
            self.assertEqual(read(directory + "/cpuset.mems"), "0")

    def test_linux_cgroups_pids(self):
        for directory in self.grouped("pids", pids={"limit": 1000}):
            self.assertEqual(read(directory + "/pids.max"), "1000")

    def test_linux_cgroups_hugetlb(self):
        sizes = [os.path.basename(p).split("-")[1] for p in glob.glob("/sys/kernel/mm/hugepages/hugepages-*")]
        if "2048kB" not in sizes:
            self.skipTest("no huge pages of 2 MB")
        if not (os.path.ismount("/sys/fs/cgroup/hugetlb") or (V2 and "hugetlb" in read("/sys/fs/cgroup/cgroup.controllers"))):
            self.skipTest("no hugetlb controller")
        for directory in self.grouped("hugetlb", hugepageLimits=[{"pageSize": "2MB", "limit": 4 << 20}]):
            self.assertEqual(read(directory + ("/hugetlb.2MB.max" if V2 else "/hugetlb.2MB.limit_in_bytes")), str(4 << 20))
        self.linux["resources"]["hugepageLimits"] = [{"pageSize": "3MB", "limit": 4 << 20}]
        self.refused()

    def test_linux_cgroups_blkio(self):
        disk = [d for d in sorted(os.listdir("/sys/block")) if not d.startswith(("ram", "zram"))]
        if not disk:
            self.skipTest("no block device")
        major, minor = map(int, read(f"/sys/block/{disk[0]}/dev").split(":"))
        throttle = {f"throttle{way}{what}Device": [{"major": major, "minor": minor, "rate": rate}]
                    for way in ("Read", "Write") for what, rate in (("Bps", 102400), ("IOPS", 1000))}
        for directory in self.grouped("blkio" if not V2 else "io", blockIO=throttle):
            if V2:
                self.assertEqual(set(read(directory + "/io.max").split()), {f"{major}:{minor}", "rbps=102400", "wbps=102400", "riops=1000", "wiops=1000"})
            else:
                for file, rate in (("read_bps", 102400), ("write_bps", 102400), ("read_iops", 1000), ("write_iops", 1000)):
                    self.assertEqual(read(f"{directory}/blkio.throttle.{file}_device"), f"{major}:{minor} {rate}")

    def test_linux_cgroups_network(self):
        if V2 or not os.path.ismount("/sys/fs/cgroup/net_cls"):
            self.skipTest("no net_cls controller")
        for directory in self.grouped("net_cls", network={"classID": 255, "priorities": [{"name": "lo", "priority": 10}]}):
            self.assertEqual(read(directory + "/net_cls.classid"), "255")

    def test_linux_cgroups_devices(self):
        """/dev/null is everybody's, another device only whose it was allowed to be, and to read only where only that was."""
        try:
            os.close(os.open("/dev/net/tun", os.O_RDWR))
        except OSError:
            self.skipTest("no /dev/net/tun")
        node = {"path": "/dev/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o666, "uid": 0, "gid": 0}
        self.linux["devices"] = [node]
        # That a node may be made (m) is the runtimes' own rule for all devices, so that it says nothing here.
        probe = "(: </dev/tun) && echo r; (: >>/dev/tun) && echo w; (: </dev/null) && echo n"
        for access, wanted in (("", "n"), ("r", "rn"), ("w", "wn"), ("rw", "rwn"), ("rwm", "rwn")):
            rules = [{"allow": False, "access": "rwm"}]
            if access:
                rules.append({"allow": True, "type": "c", "major": 10, "minor": 200, "access": access})
            for path in (f"/drover/tools-{os.getpid()}", f"tools-relative-{os.getpid()}"):
                self.linux["cgroupsPath"] = path
                self.linux["resources"] = {"devices": rules}
                self.assertEqual("".join(self.inside(probe).split()), wanted, (access, path))
