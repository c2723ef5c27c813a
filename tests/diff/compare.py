"""Differences between two answers, as lines of text, and the file of those that are known.

A difference is "AREA.SCENE STEP PATH: DOCKERD != DROVER". A line of known-differences is "PATTERN -- REASON", where "*" in
the pattern stands for anything and the pattern must cover the whole line. It has to occur, unless it begins with "~ ", for what
depends on the machine or on time."""
import difflib
import json
import re

ABSENT = object()


def show(value):
    if value is ABSENT:
        return "absent"
    shown = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return shown if len(shown) <= 400 else shown[:400] + "..."


def differences(theirs, ours, path=""):
    """Yields (path, theirs, ours)."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            yield from differences(theirs.get(key, ABSENT), ours.get(key, ABSENT), f"{path}.{key}")
    elif isinstance(theirs, list) and isinstance(ours, list):
        plain = not any(isinstance(v, (dict, list)) for v in theirs + ours)
        if plain and len(theirs) != len(ours):
            yield path, theirs, ours
            return
        for i in range(max(len(theirs), len(ours))):
            yield from differences(theirs[i] if i < len(theirs) else ABSENT, ours[i] if i < len(ours) else ABSENT, f"{path}[{i}]")
    elif type(theirs) is not type(ours) or theirs != ours:
        yield path, theirs, ours


def lines(title, theirs, ours):
    """The differences between two recordings of one scene: lists of (step, answer). Steps are paired by their names: one may have
    been taken on one engine only."""
    found = []
    matcher = difflib.SequenceMatcher(a=[step for step, _ in theirs], b=[step for step, _ in ours], autojunk=False)
    for kind, a, a_end, b, b_end in matcher.get_opcodes():
        if kind == "equal":
            pairs = zip(theirs[a:a_end], ours[b:b_end])
            found += [f"{title} {step} {path or '.'}: {show(x)} != {show(y)}" for (step, left), (_, right) in pairs for path, x, y in differences(left, right)]
        else:
            found += [f"{title} {step} .: {show(answer)} != absent" for step, answer in theirs[a:a_end]]
            found += [f"{title} {step} .: absent != {show(answer)}" for step, answer in ours[b:b_end]]
    return found


class Known:
    def __init__(self, path):
        self.patterns = []  # [line, compiled, whether it occurred]
        with open(path) as f:
            for number, line in enumerate(f, 1):
                line = line.strip()
                if not line or line.startswith("#"):
                    continue
                pattern, dash, reason = line.rpartition(" -- ")
                if not dash or not reason.strip():
                    raise ValueError(f"{path}:{number}: expected PATTERN -- REASON")
                may_be_absent = pattern.startswith("~ ")
                pattern = pattern[2:] if may_be_absent else pattern
                compiled = re.compile(".*".join(re.escape(part) for part in pattern.strip().split("*")), re.S)
                self.patterns.append([line, compiled, may_be_absent])

    def has(self, difference):
        known = False
        for entry in self.patterns:
            if entry[1].fullmatch(difference):
                entry[2] = known = True
        return known

    def stale(self):
        return [line for line, _, occurred in self.patterns if not occurred]
