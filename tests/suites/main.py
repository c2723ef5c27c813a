#!/usr/bin/env python3
"""Runs other people's suites for OCI runtimes against drover-oci and, beside it, crun and runc: those of crun, of runc and of
runtime-tools, from the sources of Debian's packages; the table of docs/oci.md.

    tests/suites/main.py [--suite crun|runc|runtime-tools]... [--runtime drover-oci|crun|runc]... [--newest|--own]

Each suite in the version of this release, and in the newest one that Debian has. Every result is kept below build/suites/results,
each failure with what was printed; at the end a line for each suite, and every case that another runtime passes and drover-oci does
not."""
import argparse
import json
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import cases  # noqa: E402
import sources  # noqa: E402
import suite_crun  # noqa: E402
import suite_runc  # noqa: E402
import suite_runtime_tools  # noqa: E402
from cases import WORK  # noqa: E402

SUITES = {"crun": suite_crun.Suite, "runc": suite_runc.Suite, "runtime-tools": suite_runtime_tools.Suite}


def runtimes(wanted):
    """By name; ours is the same binary by another name."""
    bin_dir = os.path.join(WORK, "bin")
    os.makedirs(bin_dir, exist_ok=True)
    ours = os.path.join(bin_dir, "drover-oci")
    if os.path.islink(ours):
        os.unlink(ours)
    os.symlink(os.path.realpath(os.environ.get("DROVER", os.path.join(TOP, "build/drover"))), ours)
    found = {"drover-oci": ours, "crun": shutil.which("crun"), "runc": shutil.which("runc")}
    return {name: path for name, path in found.items() if path and (not wanted or name in wanted)}


def chosen_versions(available, which):
    """The one of this release and the newest whose archive can be had."""
    own = available[0]
    return [own] if which == "own" else [available[-1]] if which == "newest" else [own, available[-1]] if available[-1] != own else [own]


def fetch(store, package, version, available):
    """That version, or the next older one that the mirror has."""
    for candidate in reversed(available[:available.index(version) + 1]):
        try:
            return store.fetch(package, candidate), candidate
        except RuntimeError as e:
            print(f"   {package} {candidate} cannot be fetched: {str(e).splitlines()[-1]}", flush=True)
    return None, None


def hold(suite, name, path, results):
    """One suite against one runtime; its cases as they come."""
    dev_null = os.stat("/dev/null")
    counts = {"ok": 0, "FAILED": 0, "skipped": 0}
    for case in suite.run(path):
        counts[case.outcome] += 1
        results.append(case)
        if case.outcome == "FAILED":
            print(f"   FAILED {name}: {case.name}", flush=True)
    os.chown("/dev/null", dev_null.st_uid, dev_null.st_gid)  # which one runtime gives to a container's user
    return counts


def differences(by_runtime):
    """What others pass and we do not."""
    ours = {c.name: c for c in by_runtime.get("drover-oci", [])}
    for other in ("crun", "runc"):
        for case in by_runtime.get(other, []):
            if case.outcome == "ok" and case.name in ours and ours[case.name].outcome != "ok":
                yield f"{other} passes, drover-oci does not ({ours[case.name].outcome}): {case.name}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--suite", action="append", choices=SUITES)
    parser.add_argument("--runtime", action="append", choices=["drover-oci", "crun", "runc"])
    parser.add_argument("--newest", action="store_const", dest="which", const="newest")
    parser.add_argument("--own", action="store_const", dest="which", const="own")
    options = parser.parse_args()
    cases.apart()
    os.makedirs(os.path.join(WORK, "results"), exist_ok=True)
    store = sources.Sources(WORK, cases.releases())
    contestants, table, missed = runtimes(options.runtime), [], []
    for suite_name in options.suite or SUITES:
        kind = SUITES[suite_name]
        available, done = store.versions(kind.package), set()
        for version in chosen_versions(available, options.which):
            source, version = fetch(store, kind.package, version, available)
            if not source or version in done:
                continue
            done.add(version)
            suite, by_runtime, row = kind(source, WORK), {}, []
            print(f"{suite_name} {version}", flush=True)
            suite.prepare()
            for name, path in contestants.items():
                if name != "drover-oci" and name not in kind.others:
                    continue
                counts = hold(suite, name, path, by_runtime.setdefault(name, []))
                row.append(f"{name} {counts['ok']}, {counts['FAILED']}, {counts['skipped']}")
                with open(os.path.join(WORK, f"results/{suite_name}-{version}-{name}.json"), "w") as f:
                    json.dump([case._asdict() for case in by_runtime[name]], f, indent=1)
            table.append(f"{suite_name} {version}: " + "; ".join(row))
            missed += [f"{suite_name} {version}: {line}" for line in differences(by_runtime)]
    print("\npassed, failed, skipped")
    print("\n".join(table + missed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
