"""moby's own integration tests (its folder integration/), from the source of Debian's docker.io with Debian's patches, and built from
Debian's Go libraries. Each package is held against an engine of its own; tests that start further engines get them by the name dockerd."""
import glob
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile

import cases

sys.path.insert(0, os.path.join(os.path.dirname(cases.HERE), "diff"))
import engines  # noqa: E402

COMPONENTS = {"cli": "cli", "engine": "docker", "libnetwork": "libnetwork", "swarmkit": "swarmkit"}
IMAGES = ["busybox:latest", "busybox:glibc", "hello-world:frozen", "debian:bullseye-slim", "alpine:latest"]
# What the tests give every engine they start, and Drover has its own way of, or no need for.
PASSED_OVER = ["--exec-root", "--pidfile", "--containerd-namespace", "--containerd-plugins-namespace", "--containerd"]

# Stands in for dockerd in tests that start one: the options of all of them are handed on or passed over; any other is Drover's to judge.
OURS = """#!/bin/sh
root="" socket=""
for option; do
    shift
    case "$skip" in "") ;; root) root="$option"; skip=""; continue ;; host) socket="${{option#unix://}}"; skip=""; continue ;; *) skip=""; continue ;; esac
    case "$option" in
    --data-root) skip=root ;;
    --host) skip=host ;;
    {passed_over}) skip=value ;;
    --userland-proxy=*|--debug|--experimental|--iptables=false|--swarm-default-advertise-addr=*) ;;
    *) set -- "$@" "$option" ;;
    esac
done
exec "{drover}" serve --root "$root" --socket "$socket" "$@"
"""
# dockerd with a containerd of its own: the one that the tests name is a machine's.
THEIRS = """#!/bin/sh
for option; do
    shift
    case "$skip" in "") ;; *) skip=""; continue ;; esac
    case "$option" in --containerd) skip=yes ;; *) set -- "$@" "$option" ;; esac
done
exec "{dockerd}" "$@"
"""


def program(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)


def image_tar():
    """Debian's busybox with the user daemon, whom busybox's own image has and tests name."""
    out = io.BytesIO()
    more = {"etc/passwd": b"daemon:x:1:1:daemon:/usr/sbin:/bin/false\n", "etc/group": b"daemon:x:1:\n"}
    with tarfile.open(fileobj=io.BytesIO(cases.busybox_root_tar())) as plain, tarfile.open(fileobj=out, mode="w") as tar:
        for entry in plain:
            data = plain.extractfile(entry).read() + more.get(entry.name, b"") if entry.isfile() else b""
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def results(package, output):
    """Cases out of what `-test.v` prints: those of the top."""
    found = re.findall(r"^--- (PASS|FAIL|SKIP): (\S+)", output, re.M)
    kinds = {"PASS": "ok", "FAIL": "FAILED", "SKIP": "skipped"}
    for kind, name in found:
        said = re.search(rf"^=== RUN   {re.escape(name)}$(.*?)^--- {kind}: {re.escape(name)} ", output, re.M | re.S)
        yield cases.Case(f"{package}: {name}", kinds[kind], said.group(1)[-3000:] if said and kind == "FAIL" else "")
    begun = set(re.findall(r"^=== RUN   ([^/\s]+)$", output, re.M)) - {name for _, name in found}
    for name in sorted(begun):
        yield cases.Case(f"{package}: {name}", "FAILED", output[-3000:])
    if not found and not begun and "no tests to run" not in output:
        yield cases.Case(f"{package}: it did not begin", "FAILED", output[-3000:])


class Suite:
    package = "docker.io"

    def __init__(self, store, version, work):
        self.work = work
        self.source = store.fetch_patched(self.package, version)
        self.path = os.path.join(work, f"go-moby-{version}")
        self.top = os.path.join(self.path, "src/github.com/docker/docker")
        self.bin = os.path.join(self.path, "bin")

    def libraries(self):
        """The Go libraries that Debian's package is built with."""
        with open(os.path.join(self.source, "debian/control")) as f:
            depends = re.search(r"^Build-Depends:(.*?)^\w", f.read(), re.M | re.S).group(1)
        return re.findall(r"^ *,(golang-[\w.+-]+-dev)", depends, re.M) + ["golang-golang-x-oauth2-google-dev"]

    def prepare(self, packages=None):
        """Builds these packages of tests, or all, once, and says which they are."""
        missing = [name for name in self.libraries()
                   if subprocess.run(["dpkg", "-s", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode]
        if missing:
            print(f"   installing {len(missing)} of Debian's Go libraries", flush=True)
            cases.must(["apt-get", "install", "-y", "--no-install-recommends", *missing], env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"))
        os.makedirs(os.path.dirname(self.top), exist_ok=True)
        for component, name in COMPONENTS.items():
            target = os.path.join(os.path.dirname(self.top), name)
            if not os.path.exists(target):
                shutil.copytree(os.path.join(self.source, component), target, symlinks=True)
        environment = dict(os.environ, GO111MODULE="off", GOPATH=f"{self.path}:{cases.GOCODE}", GOFLAGS="", GOCACHE=os.path.join(self.path, "cache"))
        packages = [package for package in self.packages() if not packages or package in packages]
        for package in packages:
            target = os.path.join(self.bin, package.replace("/", "-"))
            if not os.path.exists(target):
                cases.must(["go", "test", "-c", "-o", target, "./integration/" + package], cwd=self.top, env=environment)
        return packages

    def packages(self):
        found = {os.path.relpath(os.path.dirname(path), os.path.join(self.top, "integration"))
                 for path in glob.glob(os.path.join(self.top, "integration/**/*_test.go"), recursive=True)}
        return sorted(package for package in found if not package.startswith("internal"))

    def run(self, engine_name, only=None):
        for package in self.packages():
            if not only or package in only:
                yield from self.run_package(engine_name, package)

    def run_package(self, engine_name, package):
        engine = (engines.Oracle() if engine_name == "dockerd" else engines.Ours()).start()
        try:
            tar = image_tar()
            for image in IMAGES:
                engines.cli(engine, "import", "--change", 'CMD ["sh"]', "-", image, stdin=tar)
            yield from results(package, self.output(engine, package))
        finally:
            engine.remove()

    def output(self, engine, package):
        place = os.path.join(engine.root, "further")
        os.makedirs(place)
        shim = os.path.join(engine.root, "shim")
        text = THEIRS.format(dockerd=f"{engines.PEERS}/usr/sbin/dockerd") if engine.name == "dockerd" else OURS.format(
            drover=engines.DROVER, passed_over="|".join(PASSED_OVER))
        program(os.path.join(shim, "dockerd"), text)
        environment = dict(engine.env(), DOCKER_INTEGRATION_DAEMON_DEST=place, DEST=place)
        environment["PATH"] = f"{shim}:{environment['PATH']}:{engines.PEERS}/usr/bin:{engines.PEERS}/usr/sbin"
        argv = [os.path.join(self.bin, package.replace("/", "-")), "-test.v", "-test.timeout=20m"]
        _, printed = cases.printed(argv, environment, os.path.join(self.top, "integration", package))
        self.keep(engine.name, package, printed)
        for root in glob.glob(f"{place}/*/*/root") if engine.name != "dockerd" else []:
            subprocess.run([engines.DROVER, "shutdown", "--root", root], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return printed

    def keep(self, engine_name, package, printed):
        with open(os.path.join(self.work, "results", f"moby-{package.replace('/', '-')}-{engine_name}.log"), "w") as f:
            f.write(printed)
