"""A small package archive of a test's own, signed with a key of its own: what a distribution's mirror is to `drover bake base`."""
import hashlib
import os
import shutil
import subprocess


class Archive:
    """Packages below `root`, for a line "deb copy:ROOT ./"."""

    def __init__(self, root):
        self.root, self.home = os.path.join(root, "archive"), os.path.join(root, "gnupg")
        self.keyring = os.path.join(root, "archive.gpg")
        os.makedirs(self.root)
        os.makedirs(self.home, mode=0o700)
        os.chmod(root, 0o755)
        self.gpg("--quick-generate-key", "--passphrase", "", "archive@example.org", "ed25519", "sign", "never")
        with open(self.keyring, "wb") as out:
            out.write(self.gpg("--export").stdout)

    def gpg(self, *args):
        return subprocess.run(["gpg", "--homedir", self.home, "--batch", "--yes", *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)

    def line(self):
        return f"deb copy:{self.root} ./"

    def add(self, name, version, files):
        """A package of these files (path -> bytes), executable where they lie in a bin."""
        tree = os.path.join(self.root, "tree")
        for path, data in {**files, "DEBIAN/control": f"Package: {name}\nVersion: {version}\nArchitecture: {architecture()}\nMaintainer: Test <test@example.org>\nDescription: test\n".encode()}.items():
            place = os.path.join(tree, path)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as out:
                out.write(data)
            os.chmod(place, 0o755 if "bin/" in path else 0o644)
        for old in [n for n in os.listdir(self.root) if n.startswith(name + "_")]:
            os.unlink(os.path.join(self.root, old))
        deb = os.path.join(self.root, f"{name}_{version}.deb")
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, deb], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(tree)
        return self

    def publish(self):
        """Packages, and Release signed as InRelease."""
        stanzas = []
        for deb in sorted(n for n in os.listdir(self.root) if n.endswith(".deb")):
            path = os.path.join(self.root, deb)
            control = subprocess.run(["dpkg-deb", "-f", path], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
            with open(path, "rb") as data:
                content = data.read()
            stanzas.append(f"{control}\nFilename: ./{deb}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n")
        packages = "\n".join(stanzas).encode()
        with open(os.path.join(self.root, "Packages"), "wb") as out:
            out.write(packages)
        release = os.path.join(self.root, "Release")
        with open(release, "w") as out:
            out.write(f"Origin: Test\nCodename: test\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {hashlib.sha256(packages).hexdigest()} {len(packages)} Packages\n")
        self.gpg("--clearsign", "-o", os.path.join(self.root, "InRelease"), release)
        os.unlink(release)
        return self

    def close(self):
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def architecture():
    return subprocess.run(["dpkg", "--print-architecture"], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()


def busybox(archive, version="1.0-1"):
    with open(shutil.which("busybox"), "rb") as program:
        return archive.add("busybox-static", version, {"bin/busybox": program.read(), "usr/share/doc/busybox-static/copyright": b"free\n"}).publish()
