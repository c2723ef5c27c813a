"""Several machines on one: network namespaces with addresses of their own on one bridge.

    net = hosts.Network(self)            # ends with the test
    a = net.host("a")                    # a.address is 10.77.0.2
    a.start([...], log)                  # a process in it, ended with the test
    a.cut(), a.heal()                    # its cable
    a.cut_from(b)                        # one direction: what b sends does not come to a

A namespace lives as long as a process that sleeps in it: no mount is left behind, and what runs in it sees the machine's
other mounts. The test itself runs in a namespace of its own (tests/run.py), which holds the bridge and is 10.77.0.1."""
import os
import signal
import subprocess

import harness

NETWORK = "10.77.0"


def command(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


class Host:
    def __init__(self, net, name, number):
        self.net, self.name, self.address = net, name, f"{NETWORK}.{number}"
        self.link = f"h{number}"
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/net")
        harness.wait_for(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own, "the namespace")
        command("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", str(self.holder.pid))
        command("ip", "link", "set", self.link, "master", "br0", "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")

    def inside(self, argv):
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--", *argv]

    def run(self, *argv):
        command(*self.inside(argv))

    def start(self, argv, log, **options):
        with open(log, "ab") as out:
            process = subprocess.Popen(self.inside(argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options)
        self.net.processes.append(process)
        return process

    def cut(self):
        command("ip", "link", "set", self.link, "down")

    def cut_from(self, other):
        self.run("nft", f"add table ip cut; add chain ip cut in {{ type filter hook input priority 0; }}; "
                        f"add rule ip cut in ip saddr {other.address} drop")

    def heal(self):
        command("ip", "link", "set", self.link, "up")
        self.run("nft", "add table ip cut; delete table ip cut")


class Network:
    def __init__(self, test):
        self.hosts, self.processes = [], []
        test.addCleanup(self.close)
        command("ip", "link", "set", "lo", "up")
        command("ip", "link", "add", "br0", "type", "bridge")
        command("ip", "address", "add", f"{NETWORK}.1/24", "dev", "br0")
        command("ip", "link", "set", "br0", "up")

    def host(self, name):
        host = Host(self, name, len(self.hosts) + 2)
        self.hosts.append(host)
        return host

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        for host in self.hosts:
            subprocess.run(["ip", "link", "del", host.link], check=False)
            host.holder.kill()
            host.holder.wait()
        subprocess.run(["ip", "link", "del", "br0"], check=False)
