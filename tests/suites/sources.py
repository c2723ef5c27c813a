"""Source packages of Debian, fetched with an apt configuration of their own, so that the machine's is left as it is: the suites
that other runtimes are tested with are in the sources of their packages, and newer ones in those of the next releases.

Only the upstream archive of a package is fetched: apt's helper holds it against the digest in the signed list."""
import os
import re
import shutil
import subprocess
import tarfile

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
HELPER = "/usr/lib/apt/apt-helper"


def mirror():
    found = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
                           stdout=subprocess.PIPE, text=True).stdout.split()
    return next((uri for uri in found if "security" not in uri), "http://deb.debian.org/debian")


class Sources:
    """The lists of some releases, below `work`."""

    def __init__(self, work, releases):
        self.work, self.apt = work, os.path.join(work, "apt")
        os.makedirs(os.path.join(self.apt, "lists/partial"), exist_ok=True)
        os.makedirs(os.path.join(self.apt, "cache/archives/partial"), exist_ok=True)
        with open(os.path.join(self.apt, "status"), "w"):
            pass
        with open(os.path.join(self.apt, "sources.list"), "w") as f:
            for release in releases:
                f.write(f"deb-src [signed-by={KEYRING}] {mirror()} {release} main\n")
        conf = os.path.join(self.apt, "apt.conf")
        with open(conf, "w") as f:
            f.write(f'Dir::Etc::sourcelist "{self.apt}/sources.list";\nDir::Etc::sourceparts "-";\nDir::State::lists "{self.apt}/lists";\n'
                    f'Dir::State::status "{self.apt}/status";\nDir::Cache "{self.apt}/cache";\nAPT::Sandbox::User "root";\n')
        self.environment = dict(os.environ, APT_CONFIG=conf)
        if not [name for name in os.listdir(os.path.join(self.apt, "lists")) if name.endswith("_Sources")]:
            self.run("apt-get", "update")

    def run(self, *argv):
        done = subprocess.run(argv, cwd=self.work, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}:\n{done.stdout[-2000:]}")
        return done.stdout

    def versions(self, package):
        """Those that the lists have, the newest last."""
        shown = self.run("apt-cache", "showsrc", "--only-source", package)
        found = {match for match in re.findall(r"^Version: (\S+)$", shown, re.M)}
        ordered = []
        for version in found:
            at = 0
            while at < len(ordered) and subprocess.run(["dpkg", "--compare-versions", ordered[at], "lt", version]).returncode == 0:
                at += 1
            ordered.insert(at, version)
        return ordered

    def fetch(self, package, version):
        """The unpacked upstream source of that version."""
        top = os.path.join(self.work, f"{package}-{version}")
        if os.path.exists(top):
            return top
        uris = self.run("apt-get", "--print-uris", "--only-source", "source", f"{package}={version}")
        uri, name, digest = re.search(r"^'([^']+)' (\S+\.orig\.tar\.\w+) \d+ (\S+)$", uris, re.M).groups()
        archive = os.path.join(self.work, name)
        self.run(HELPER, "download-file", uri, archive, digest)
        shutil.rmtree(top + ".new", ignore_errors=True)
        with tarfile.open(archive) as tar:
            tar.extractall(top + ".new")
        inside = os.listdir(top + ".new")
        os.rename(os.path.join(top + ".new", inside[0]) if len(inside) == 1 else top + ".new", top)
        shutil.rmtree(top + ".new", ignore_errors=True)
        os.unlink(archive)
        return top

    def fetch_patched(self, package, version):
        """The source of that version as Debian builds it: all its parts, with its patches."""
        top = os.path.join(self.work, f"{package}-{version}-patched")
        if not os.path.exists(top):
            shutil.rmtree(top + ".new", ignore_errors=True)
            os.makedirs(top + ".new")
            done = subprocess.run(["apt-get", "source", "--only-source", f"{package}={version}"], cwd=top + ".new", env=self.environment,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                raise RuntimeError(f"{package} {version}:\n{done.stdout[-2000:]}")
            inside = [name for name in os.listdir(top + ".new") if os.path.isdir(os.path.join(top + ".new", name))]
            os.rename(os.path.join(top + ".new", inside[0]), top)
            shutil.rmtree(top + ".new")
        return top
