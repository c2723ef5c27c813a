#!/usr/bin/env python3
"""Holds other people's tests of Docker's API against Drover and, beside it, Debian's dockerd: moby's own integration tests, from the source of
Debian's docker.io; the table of docs/compatibility.md.

    tests/suites/api.py [--engine drover|dockerd]... [--package container|service|...]...

What was printed is kept below build/suites/results; at the end a line for each package, and every case that dockerd passes and Drover
does not."""
import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import cases  # noqa: E402
import sources  # noqa: E402
import suite_moby  # noqa: E402

ENGINES = ["drover", "dockerd"]
KINDS = ["ok", "FAILED", "skipped"]


def hold(suite, engine, package):
    found = {}
    for case in suite.run(engine, [package]):
        found[case.name] = case
        if case.outcome == "FAILED":
            print(f"   FAILED {engine}: {case.name}", flush=True)
    return found


def row(package, by_engine):
    counts = ["{} {}, {}, {}".format(engine, *(sum(case.outcome == kind for case in found.values()) for kind in KINDS))
              for engine, found in by_engine.items()]
    return f"{package}: " + "; ".join(counts)


def differences(by_engine):
    ours = by_engine.get("drover", {})
    for name, case in by_engine.get("dockerd", {}).items():
        if case.outcome == "ok" and name in ours and ours[name].outcome != "ok":
            yield f"dockerd passes, drover does not ({ours[name].outcome}): {name}"


def make_network():
    """lo, and an address for swarms to advertise."""
    for step in ("link set lo up", "link add suite0 type veth peer suite1", "link set suite1 up", "link set suite0 up",
                 "address add 10.98.0.1/24 dev suite0"):
        cases.must(["ip", *step.split()])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", action="append", choices=ENGINES)
    parser.add_argument("--package", action="append")
    options = parser.parse_args()
    os.makedirs(os.path.join(cases.WORK, "results"), exist_ok=True)
    store = sources.Sources(cases.WORK, cases.releases())
    suite = suite_moby.Suite(store, store.versions(suite_moby.Suite.package)[0], cases.WORK)
    packages = suite.prepare(options.package)
    cases.apart("--net")  # in which there is nothing left to fetch
    make_network()
    table, missed = [], []
    for package in packages:
        print(package, flush=True)
        by_engine = {engine: hold(suite, engine, package) for engine in options.engine or ENGINES}
        table.append(row(package, by_engine))
        missed += differences(by_engine)
    print("\npassed, failed, skipped")
    print("\n".join(table + missed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
