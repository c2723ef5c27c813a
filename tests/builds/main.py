"""Builds many Dockerfiles with buildah and with Drover and compares what comes out: tests/builds/main.py [WORD...] takes the cases
whose name has a word.

Configuration and file tree (kind, mode, owner, size and digest, link target, extended attributes) must be the same but for the lines
of known-differences; a case both are to refuse must be refused by both. Prints a line for each case for tests/run.py."""
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../diff"), os.path.join(HERE, "../story")]

import cases  # noqa: E402
import compare  # noqa: E402
import generated  # noqa: E402,F401 (adds its cases)
import harness  # noqa: E402
import images  # noqa: E402
import retold  # noqa: E402,F401 (adds its cases)


def write_tree(folder, files):
    for path, what in files.items():
        at = os.path.join(folder, path)
        os.makedirs(os.path.dirname(at), exist_ok=True)
        if what is None:
            os.makedirs(at, exist_ok=True)
            continue
        text, mode, *attributes = what if isinstance(what, tuple) and len(what) > 1 else (what, 0o644)
        if isinstance(text, tuple):
            os.symlink(text[0][3:], at)
            continue
        with open(at, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(at, mode)
        for name in attributes:
            os.setxattr(at, name, b"told")
    for directory, _, names in os.walk(folder, topdown=False):
        for name in [*names, "."]:
            os.utime(os.path.join(directory, name), (images.TIME, images.TIME), follow_symlinks=False)


class Buildah:
    def __init__(self, root):
        self.store = ["--root", os.path.join(root, "store"), "--runroot", os.path.join(root, "run"), "--storage-driver", "vfs"]
        self.where = f"[vfs@{root}/store+{root}/run]"

    def call(self, *argv, check=True):
        return harness.run(["buildah", *self.store, *argv], check=check)

    def build(self, name, folder, file, case):
        argv = ["bud", "--isolation", "chroot", "--layers=false", "--format", "docker", "--pull-never", "-q", "-t", f"localhost/{name}", "-f", file]
        argv += [f"--build-arg={k}={v}" for k, v in case.args.items()] + (["--target", case.target] if case.target else [])
        return self.call(*argv, folder, check=False)

    def read(self, name, to):
        harness.run(["skopeo", "copy", "-q", f"containers-storage:{self.where}localhost/{name}", f"dir:{to}"])
        return images.from_dir(to)


def build_ours(d, name, folder, file, case, *more):
    argv = ["build", "-q", "-t", name, "-f", file, *more]
    argv += [f"--build-arg={k}={v}" for k, v in case.args.items()] + (["--target", case.target] if case.target else [])
    return d.drover(*argv, folder, check=False)


def play(d, peer, root, number, case, known):
    """(differences that are not known, or other trouble)"""
    name, folder = f"case{number}", os.path.join(root, f"case{number}")
    write_tree(folder, {**cases.CONTEXT, "Dockerfile": case.text, **case.files})
    peer_text = case.peer
    if case.printed:
        told = build_ours(d, name, folder, "Dockerfile", case, "--print")
        if told.status:
            return [f"not printed: {told!r}"]
        peer_text = told.out
    if peer_text:  # of the same context, so that it must not be in what is copied
        with open(os.path.join(root, f"{name}.peer"), "w") as f:
            f.write(peer_text)
    theirs_of = os.path.join(root, f"{name}.peer") if peer_text else os.path.join(folder, "Dockerfile")
    theirs = None if case.alone else peer.build(name, folder, theirs_of, case)
    ours = build_ours(d, name, folder, "Dockerfile", case)
    if case.refused:
        told = ours.out + ours.err
        line = f"{case.name} outcome: built != refused"
        trouble = [line] if theirs and theirs.status == 0 and not known.has(line) else []
        trouble += [f"drover built it: {ours!r}"] if ours.status == 0 else []
        return trouble + ([f"\"{case.refused}\" is not in: {told}"] if case.refused not in told else [])
    if case.either and theirs.status and ours.status:
        return []
    if theirs.status or ours.status:
        return [f"not built: {result!r}" for result in (theirs, ours) if result.status]
    saved = os.path.join(root, f"{name}.tar")
    d.docker("save", "-o", saved, name)
    left, right = peer.read(name, os.path.join(root, f"{name}.dir")), images.from_archive(saved)
    if not case.times:
        for entry in [*left["tree"].values(), *right["tree"].values()]:
            entry.pop("time", None)
    found = [f"{case.name} {path}: {compare.show(x)} != {compare.show(y)}" for path, x, y in compare.differences(left, right)]
    return [line for line in found if not known.has(line)]


def report(outcome, began, name, detail=()):
    for line in detail:
        print(line)
    print(f"@{outcome} {time.monotonic() - began:.2f} {name}", flush=True)


def prepare(root):
    d = harness.Drover(os.path.join(root, "drover")).start()
    d.busybox()
    peer = Buildah(os.path.join(root, "buildah"))
    saved = os.path.join(root, "busybox.tar")
    d.docker("save", "-o", saved, "busybox")
    harness.run(["skopeo", "copy", "-q", f"docker-archive:{saved}", f"containers-storage:{peer.where}localhost/busybox:latest"])
    return d, peer


def main():
    if not shutil.which("buildah") or not shutil.which("skopeo"):
        print("@skipped 0 buildah and Drover build alike | buildah or skopeo is not installed")
        return 0
    words = sys.argv[1:]
    chosen = [c for c in cases.CASES if not words or any(w in c.name for w in words)]
    known = compare.Known(os.path.join(HERE, "known-differences"))
    root = tempfile.mkdtemp(prefix="drover-builds-")
    os.makedirs(os.path.join(root, "drover"))
    d, peer = prepare(root)
    failed = 0
    try:
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            began = time.monotonic()
            for case, done in [(c, pool.submit(play, d, peer, root, i, c, known)) for i, c in enumerate(chosen)]:
                trouble = done.result()
                failed += bool(trouble)
                report("FAILED" if trouble else "ok", began, case.name, trouble)
                began = time.monotonic()
        stale = known.stale() if not words else []
        report("FAILED" if stale else "ok", time.monotonic(), "every known difference occurs", stale)
    finally:
        left = d.remove()
        peer.call("rmi", "-af", check=False)
        subprocess.run(["umount", "-l", os.path.join(root, "buildah/store/vfs")], stderr=subprocess.DEVNULL)
        shutil.rmtree(root, ignore_errors=True)
    report("FAILED" if left else "ok", time.monotonic(), "nothing is left behind", [left] if left else [])
    return 1 if failed or stale or left else 0


if __name__ == "__main__":
    sys.exit(main())
