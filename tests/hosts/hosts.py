"""Several machines on one: network namespaces with addresses of their own on one bridge.

    net = hosts.Network(self)            # ends with the test
    a = net.host("a")                    # a.address is 10.77.0.2
    a.start([...], log)                  # a process in it, ended with the test
    a.cut(), a.heal()                    # its cable
    a.cut_from(b)                        # one direction: what b sends does not come to a
    a.deafen(), a.mute()                 # one direction: nothing comes to it, or from it to others
    a.slow(), a.lose()                   # a link of 300 kbit/s; one that loses a third of what comes

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
        self.drop(f"ip saddr {other.address}")

    def drop(self, match):
        self.run("nft", f"add table ip cut; add chain ip cut in {{ type filter hook input priority 0; }}; add rule ip cut in {match} drop")

    def deafen(self):
        self.drop(f"iifname eth0 ip saddr {NETWORK}.0/24")

    def mute(self):
        self.run("nft", f"add table ip cut; add chain ip cut out {{ type filter hook output priority 0; }}; add rule ip cut out oifname eth0 ip daddr {NETWORK}.0/24 drop")

    def lose(self, percent=33):
        self.drop(f"iifname eth0 numgen random mod 100 < {percent}")

    def slow(self, rate="300kbit"):
        """Both directions, with a queue that holds what a second carries."""
        limits = ["root", "tbf", "rate", rate, "burst", "5kb", "latency", "1s"]
        command("tc", "qdisc", "replace", "dev", self.link, *limits)
        self.run("tc", "qdisc", "replace", "dev", "eth0", *limits)

    def heal(self):
        command("ip", "link", "set", self.link, "up")
        self.run("nft", "add table ip cut; delete table ip cut")
        for at in ([], self.inside([])):
            subprocess.run([*at, "tc", "qdisc", "del", "dev", "eth0" if at else self.link, "root"], check=False, stderr=subprocess.DEVNULL)


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
