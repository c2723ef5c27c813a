#!/usr/bin/env python3
"""Runs the tests and counts them: lint, unit (sanitized, TAP), fuzz corpora, stories (black box),
several machines in network namespaces, the differences from dockerd and buildah, other people's clients, a booted
cgroup v2 host.

    tests/run.py                 everything; what `make check` does
    tests/run.py unit            one kind
    tests/run.py story NAME...   stories whose name contains NAME
    tests/run.py hosts NAME...   several machines (tests/hosts) whose test contains NAME
    tests/run.py diff NAME...    scenes (tests/diff) whose name contains NAME
    tests/run.py builds NAME...  Dockerfiles (tests/builds) whose name contains NAME
    tests/run.py clients NAME... clients (tests/clients) whose name contains NAME

Everything is done in lanes side by side, one for each core (DROVER_LANES says another number), since a test waits more than it
works: a lane takes the next job, which is a kind or a file of tests. The lines come as they are known, whichever lane says them.
At the end of everything nothing may be on the machine that was not there at the start (leftovers.py).
The last line is "N passed, N failed, N skipped". A skip names the capability that is missing, and is listed.
In a run of everything, a test of the black box that failed runs once more, alone, when all else is done: what passes then
failed by what the machine was busy with, and is listed as such with what it said the first time.
Without root the privileged tests skip themselves."""
import collections
import contextlib
import functools
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

import leftovers

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
passed, failed, skipped = [], [], []
AGAIN_AT_MOST = 5  # more failures than that are no accident
LANES_AT_MOST = 8
LANE_BYTES = 3 << 30  # of memory: what the hungriest tests want
talking = threading.Lock()
fetching = threading.Lock()
running = set()  # what the lanes have started, to be ended with them
stopping = threading.Event()


def report(kind, name, outcome, detail="", seconds=None):
    timing = f" ({seconds:.1f} s)" if seconds is not None and seconds >= 1 else ""
    with talking:
        {"ok": passed, "FAILED": failed, "skipped": skipped}[outcome].append((kind, name, detail))
        print(f"{outcome:7} {kind}: {name}{timing}" + (f"\n{detail}" if outcome == "FAILED" and detail else ""), flush=True)


@contextlib.contextmanager
def started(argv, **options):
    with subprocess.Popen(argv, cwd=TOP, stdout=subprocess.PIPE, text=True, errors="replace", stdin=subprocess.DEVNULL, **options) as process:
        running.add(process)
        try:
            yield process
        finally:
            running.discard(process)


def run(argv, **options):
    """The program, to its end."""
    with started(argv, stderr=subprocess.STDOUT, **options) as process:
        said = process.stdout.read()
        return subprocess.CompletedProcess(argv, process.wait(), said)


def command(kind, name, argv):
    began = time.monotonic()
    done = run(argv)
    report(kind, name, "FAILED" if done.returncode else "ok", done.stdout[-6000:], time.monotonic() - began)
    return done.returncode == 0


def tracked(*patterns):
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=TOP,
                            stdout=subprocess.PIPE, text=True).stdout.split()
    return [name for name in listed if os.path.exists(os.path.join(TOP, name))]


def lint():
    sources = tracked("*.c", "*.h")
    if shutil.which("clang-format"):
        command("lint", "the code is formatted (make format)", ["clang-format", "--dry-run", "-Werror", *sources])
    else:
        report("lint", "formatting", "skipped", "clang-format is not installed")
    command("lint", "includes go down the floors", ["scripts/check-layers"])
    if os.path.exists(os.path.join(TOP, "build/drover")):
        command("lint", "docs/compose.md has the program's table of keys", ["scripts/compose-table", "--check"])
        command("lint", "docs/dockerfile.md has the program's table of instructions", ["scripts/dockerfile-table", "--check"])
        command("lint", "docs/compatibility.md has the program's tables of the API", ["scripts/compatibility-table", "--check"])
    else:
        report("lint", "docs/compose.md has the program's table of keys", "skipped", "build/drover is not there")
    shells = [n for n in tracked("scripts/*", ".ci/*", "bench/*", "packaging/*")
              if open(os.path.join(TOP, n), "rb").read(9) == b"#!/bin/sh"]
    for name in shells:
        command("lint", f"{name} parses", ["sh", "-n", name])


def unit():
    """Each program prints TAP; its lines are counted one by one."""
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", DROVER_SHARED=os.path.join(TOP, "..", "shared"),
                       ASAN_OPTIONS="detect_leaks=1:abort_on_error=0", UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1")
    environment.pop("CMOCKA_XML_FILE", None)
    programs = sorted(glob.glob(os.path.join(TOP, "build-asan/tests/unit/test-*")) +
                      glob.glob(os.path.join(TOP, "build-asan/tests/sim/test-*")))
    programs = [p for p in programs if os.access(p, os.X_OK) and os.path.isfile(p)]
    if not programs:
        report("unit", "the unit tests were built", "FAILED", "build-asan/tests/unit is empty")
    for program in programs:
        if stopping.is_set():
            return
        name = os.path.basename(program)[5:]
        began = time.monotonic()
        done = run([program], env=environment)
        counted = 0
        lines = done.stdout.splitlines()
        for line in lines:
            # cmocka writes a skip as "not ok 3 # SKIP name", its reason on the line before.
            skip = re.match(r"(?:not )?ok \d+ # SKIP (.*)", line)
            match = re.match(r"(ok|not ok) \d+ - (.*)", line)
            if skip:
                before = lines[max(0, lines.index(line) - 1)]
                reason = before.split("skipped: ", 1)[1] if "skipped: " in before else "needs root or a kernel feature"
                report("unit", f"{name}: {skip.group(1).replace('_', ' ')}", "skipped", reason)
            elif match and match.group(1) == "ok":
                report("unit", f"{name}: {match.group(2).replace('_', ' ')}", "ok")
            elif match:
                at = lines.index(line)
                report("unit", f"{name}: {match.group(2).replace('_', ' ')}", "FAILED", "\n".join(lines[max(0, at - 5):at + 12]))
            counted += bool(skip or match)
        if counted == 0 or (done.returncode != 0 and not re.search(r"^not ok \d+ -", done.stdout, re.M)):
            report("unit", f"{name}: runs to its end", "FAILED",
                   f"exit status {done.returncode}\n{done.stdout[-4000:]}", time.monotonic() - began)


def fuzz():
    """Each parser's corpus is replayed under the sanitizers."""
    for program in sorted(glob.glob(os.path.join(TOP, "build-asan/tests/fuzz/replay-*"))):
        if not os.path.isfile(program) or not os.access(program, os.X_OK):
            continue
        name = os.path.basename(program)[7:]
        corpus = sorted(glob.glob(os.path.join(TOP, "tests/fuzz/corpus", name, "*")))
        command("fuzz", f"{name}: {len(corpus)} inputs", [program, *corpus])


def take_over(kind, argv, whole):
    """Counts what another program reports, as it comes: "@ok SECONDS NAME", a failure's details before its line."""
    counted, failures = 0, 0
    detail = []
    with started(argv) as process:
        for line in process.stdout:
            match = re.match(r"@(ok|FAILED|skipped) ([\d.]+) (.*?)(?: \| (.*))?$", line.rstrip("\n"))
            if match:
                counted += 1
                failures += match.group(1) == "FAILED"
                report(kind, match.group(3), match.group(1), "\n".join(detail) or match.group(4) or "", float(match.group(2)))
                detail = []
            else:
                detail.append(line.rstrip("\n"))
        status = process.wait()
    # It fails when a test failed, and then it has told which.
    if counted == 0 or status not in (0, 1) or bool(status) != (failures > 0):
        report(kind, whole, "FAILED", f"exit status {status}\n" + "\n".join(detail[-60:]))


BLACK_BOX = {  # each has a network of its own: nothing of the host's is touched, and its ports are free
    "story": ("tests/story/main.py", "tests/story"),      # what Drover does for its users
    "hosts": ("tests/story/main.py", "tests/hosts"),      # several machines, each a network namespace, while they fail
    "clients": ("tests/story/main.py", "tests/clients"),  # programs that others wrote for Docker, unchanged
    "diff": ("tests/diff/main.py", None),                 # the same calls to dockerd and to Drover: every difference is known, or fails
    "builds": ("tests/builds/main.py", None),             # many Dockerfiles, built by buildah and by Drover, give the same images
}


@functools.cache
def clients_at_hand():
    return command("clients", "the clients are at hand", ["scripts/clients"])


def lacking(kind):
    """Why no test of the kind can be run here, or nothing."""
    if os.geteuid() != 0:
        return "needs root"
    if kind == "hosts" and subprocess.run(["dpkg-query", "-W", "libcowsql0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        return "libcowsql0 is not installed"
    return None


def modules(kind):
    """The files of tests of a kind, each of which can be run by itself, what is likely to be longest first; [None] for a kind
    that is one piece."""
    folder = BLACK_BOX.get(kind, (None, None))[1]
    if not folder or lacking(kind):
        return [None]
    paths = glob.glob(os.path.join(TOP, folder, "test_*.py"))
    return [os.path.basename(path)[:-3] for path in sorted(paths, key=os.path.getsize, reverse=True)]


def black_box(kind, names=(), module=None):
    main, folder = BLACK_BOX[kind]
    if reason := lacking(kind):
        report(kind, "all of them", "skipped", reason)
        return
    python = sys.executable
    if kind == "clients":
        with fetching:
            clients_at_hand()
        # Debian's python3 has Debian's python3-docker, whatever else is first on the path.
        python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else python
    only = ["--module", module] if module else []
    take_over(kind, ["unshare", "--net", python, os.path.join(TOP, main), *([folder] if folder else []), *only, *names],
              f"{module or 'all'} to the end")


def vm():
    """The runtime's tests and the engine on a booted kernel that has cgroup v2 with every controller."""
    if os.uname().machine != "x86_64":
        report("vm", "a booted cgroup v2 host", "skipped", "its kernel and QEMU are those of x86-64")
    elif not shutil.which("qemu-system-x86_64"):
        report("vm", "a booted cgroup v2 host", "skipped", "qemu-system-x86_64 is not installed")
    elif command("vm", "Debian's cloud kernel is at hand", ["scripts/vm-kernel"]):
        take_over("vm", [sys.executable, os.path.join(TOP, "tests/vm/run.py")], "the machine is built and read")


def word_of(kind, name):
    """What chooses this one test of its kind, by the name that it was reported with."""
    if kind == "builds":
        return None if name in ("every known difference occurs", "nothing is left behind") else name
    match = re.match(r"(\w+): ([\w ]+?)(?: \(\d+ answers\))?$", name)
    if not match or kind not in BLACK_BOX:
        return None
    test = match.group(2).replace(" ", "_")
    return f"{match.group(1)}.{test}" if kind == "diff" else f".test_{test}"


def again():
    """The failures that passed on a second run, each alone."""
    uneven = []
    first = [f for f in failed if word_of(*f[:2])]
    for failure in first if len(first) <= AGAIN_AT_MOST else []:
        kind, name, _ = failure
        print(f"once more, alone: {kind}: {name}", flush=True)
        before, done = len(failed), len(passed)
        black_box(kind, [word_of(kind, name)])
        if len(failed) == before and len(passed) > done:
            failed.remove(failure)
            uneven.append(failure)
        del failed[before:], passed[done + (failure in uneven):]
    return uneven


def lanes_at_most():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(os.environ.get("DROVER_LANES") or max(1, min(len(os.sched_getaffinity(0)), memory // LANE_BYTES, LANES_AT_MOST)))


def lane(jobs):
    while jobs:
        try:
            kind, name, job = jobs.popleft()
        except IndexError:
            return
        try:
            job()
        except BaseException:  # of a thread: nobody else would tell
            report(kind, f"{name or 'all'} is run", "FAILED", traceback.format_exc())


def everything():
    """What is long comes first, so that no lane is left with it alone at the end."""
    lint()
    jobs = collections.deque([("unit", None, unit), ("vm", None, vm)])
    for kind in ("hosts", "builds", "diff", "clients", "story"):
        jobs.extend((kind, module, functools.partial(black_box, kind, module=module)) for module in modules(kind))
    jobs.append(("fuzz", None, fuzz))
    lanes = [threading.Thread(target=lane, args=(jobs,), daemon=True) for _ in range(lanes_at_most())]
    for one in lanes:
        one.start()
    try:
        for one in lanes:
            one.join()
    except (KeyboardInterrupt, SystemExit):
        jobs.clear()
        stopping.set()
        for process in list(running):
            process.send_signal(signal.SIGINT)  # its tests take down what they have made
        for one in lanes:
            one.join()
        raise


def main():
    leftovers.supervised()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    machine = leftovers.Machine()
    if not sys.argv[1:]:
        everything()
    elif sys.argv[1] in BLACK_BOX:
        black_box(sys.argv[1], sys.argv[2:])
    else:
        {"lint": lint, "unit": unit, "fuzz": fuzz, "vm": vm}[sys.argv[1]]()
    uneven = [] if sys.argv[1:] else again()
    if not sys.argv[1:]:  # a part may run beside others, whose containers are not ours to tell of
        left = machine.left()
        report("machine", "nothing is left of the tests", "FAILED" if left else "ok", "\n".join(left))
    if skipped:
        print("\nskipped:")
        for kind, name, detail in skipped:
            print(f"  {kind}: {name}: {detail}")
    for title, failures in (("failed once, passed alone:", uneven), ("failed:", failed)):
        if failures:
            print("\n" + title)
        for kind, name, detail in failures:
            print(f"  {kind}: {name}\n    " + "\n    ".join(detail[-2000:].splitlines()[-30:]))
    print(f"\n{len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
