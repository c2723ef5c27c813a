"""A replicated store on several hosts, and what bench-store writes into it."""
import json
import os
import re
import signal
import subprocess
import time

import harness
import hosts

LOAD = os.path.join(harness.TOP, "build/bench/bench-store")
DROVER = os.path.join(harness.TOP, "build/drover")
PORT = 9323


def make_certificate(folder, name, subject):
    """`folder`/ca.pem, and NAME.pem with NAME.key of it."""
    def openssl(*argv):
        subprocess.run(["openssl", *argv], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    if not os.path.exists(os.path.join(folder, "ca.pem")):
        openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *key, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-out", f"{name}.pem")


class Member:
    def __init__(self, cluster, host, arguments=()):
        self.cluster, self.host = cluster, host
        self.address = f"{host.address}:{PORT}"
        self.folder = os.path.join(cluster.folder, host.name)
        self.log = self.folder + ".log"
        self.arguments = list(arguments)
        self.process = None

    def start(self, *extra):
        self.process = self.host.start([DROVER, "store", "run", "--address", self.address, *self.cluster.tls, "--min-free",
                                        "1m", *self.arguments, *extra, self.folder], self.log)
        return self

    def inner(self):
        """The process in which cowsql is."""
        children = open(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read().split()
        return int(children[0]) if children else None

    def kill(self):
        """Both at once, as when the machine loses its power: the kernel ends the inner process with the other, and a
        moment later."""
        inner = self.inner()
        self.process.kill()
        self.process.wait()
        harness.wait_for(lambda: not inner or not harness.alive(inner), "the inner process to be gone")

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def pause(self):
        os.kill(self.inner(), signal.SIGSTOP)

    def go_on(self):
        os.kill(self.inner(), signal.SIGCONT)

    def id(self):
        return json.load(open(os.path.join(self.folder, "member.json")))["id"]

    def text(self):
        return open(self.log, errors="replace").read()


class Cluster:
    """Members on hosts of their own. The test's own namespace is who uses them."""

    def __init__(self, test, folder, count=3):
        self.test, self.folder = test, folder
        self.net = hosts.Network(test)
        make_certificate(folder, "manager", "/OU=manager/CN=test")
        self.tls = self.tls_of("manager")
        self.members = [Member(self, self.net.host("abcdefg"[i])) for i in range(count)]
        first = self.members[0].start("--bootstrap")
        self.wait_for_voters(1)
        for number, member in enumerate(self.members[1:], 2):
            member.start("--join", first.address)
            self.wait_for_voters(number)

    def tls_of(self, name):
        return ["--ca", f"{self.folder}/ca.pem", "--cert", f"{self.folder}/{name}.pem", "--key", f"{self.folder}/{name}.key"]

    def addresses(self):
        return ",".join(member.address for member in self.members)

    def call(self, verb, *argv, check=True, tls=None):
        members = [word for member in self.members for word in ("--member", member.address)]
        return harness.run([DROVER, "store", verb, *members, *(tls or self.tls), *argv], check=check)

    def status(self):
        done = self.call("status", "--json", check=False)
        return json.loads(done.out) if done.status == 0 else []

    def wait_for_voters(self, count):
        harness.wait_for(lambda: sum(one["role"] == "voter" for one in self.status()) == count, f"{count} voters")

    def leader(self):
        found = []

        def look():
            found[:] = [m for one in self.status() if one["leader"] for m in self.members if m.address == one["address"]]
            return found
        harness.wait_for(look, "a leader")
        return found[0]

    def followers(self):
        leader = self.leader()
        return [member for member in self.members if member is not leader]

    def load(self, **options):
        return Load(self, **options)

    def read(self):
        """(rows, counted, keys)"""
        done = harness.run([LOAD, "--members", self.addresses(), *self.tls, "--read", "--timeout", "30000"])
        rows, total = (int(re.search(rf"^{word} (\d+)$", done.out, re.M).group(1)) for word in ("rows", "sum"))
        return rows, total, set(re.findall(r"^key (\S+)$", done.out, re.M))


class Load:
    """Writers that go on until finish(), and what was acknowledged to them."""

    def __init__(self, cluster, callers=4, prefix="k", seconds=600, timeout_ms=10000):
        self.cluster = cluster
        self.path = os.path.join(cluster.folder, f"load-{prefix}")
        self.out = open(self.path, "wb")
        self.process = subprocess.Popen([LOAD, "--members", cluster.addresses(), *cluster.tls, "--callers", str(callers),
                                         "--seconds", str(seconds), "--prefix", prefix, "--timeout", str(timeout_ms),
                                         "--print"], stdout=self.out, stderr=self.out)
        cluster.net.processes.append(self.process)

    def acknowledged(self):
        return re.findall(r"^ok (\S+) (\d+)$", open(self.path).read(), re.M)

    def failures(self):
        return re.findall(r"^failed (\d+) ([^:]*): (.*)$", open(self.path).read(), re.M)

    def wait_for_more(self, count=20):
        """Writes that were acknowledged after now."""
        now = time.time() * 1000
        harness.wait_for(lambda: sum(int(ms) > now for _, ms in self.acknowledged()) >= count, f"{count} more writes")

    def finish(self):
        """The keys that were acknowledged."""
        self.process.kill()
        self.process.wait()
        self.out.close()
        return {key for key, _ in self.acknowledged()}
