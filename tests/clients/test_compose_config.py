"""`drover config` beside `docker compose config`, over the corpus tests/clients/compose: the same files, the same words,
the same text. Where they differ, the value at a path differs, and each such path is a line of known-differences with its
reason; where none differs, the text has to be the same to the byte."""
import fnmatch
import glob
import json
import os
import re
import shutil
import tempfile
import unittest

from harness import DROVER, TOP, run

COMPOSE = os.path.join(TOP, "build/clients/docker-compose/usr/libexec/docker/cli-plugins/docker-compose")
CORPUS = os.path.join(TOP, "tests/clients/compose")
LISTS = "--(services|volumes|images|profiles|hash|variables)"  # their lines are in no order, or in columns
USUAL = ["config", "config --format json", "config --hash *"]

try:
    import yaml
except ImportError:
    yaml = None


def load(path):
    """{file: text}, [line of words]"""
    files, runs, name = {}, [], None
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith("=== "):
                name = line[4:].strip()
                files.setdefault(name, "")
            else:
                files[name] += line
    runs = files.pop("run", "").split("\n")
    return files, [r for r in runs if r] or USUAL


def known():
    lines = []
    with open(os.path.join(CORPUS, "known-differences"), encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                pattern, reason = line.rstrip("\n").split(" -- ")
                lines.append(pattern)
    return lines


def differences(there, here, path=""):
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(set(there) | set(here), key=str):
            below = f"{path}.{key}" if path else str(key)
            if key not in here:
                yield f"{below}: absent != {json.dumps(there[key], default=str)}"
            elif key not in there:
                yield f"{below}: {json.dumps(here[key], default=str)} != absent"
            else:
                yield from differences(there[key], here[key], below)
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for i, (a, b) in enumerate(zip(there, here)):
            yield from differences(a, b, f"{path}[{i}]")
    elif isinstance(there, str) and isinstance(here, str) and "\n" in there + here and there != here:
        pairs = zip((there + "\n").split("\n"), (here + "\n").split("\n"))
        yield f"{path}: " + next((f"{b!r} != {a!r}" for a, b in pairs if a != b), "of another length")
    elif there != here or type(there) is not type(here):
        yield f"{path}: {json.dumps(here, default=str)} != {json.dumps(there, default=str)}"


class Config(unittest.TestCase):
    """One test a case of the corpus, made below."""

    @classmethod
    def setUpClass(cls):
        if not os.path.exists(COMPOSE):
            raise unittest.SkipTest("needs Debian 13's docker-compose below build/clients (scripts/clients)")
        if yaml is None:
            raise unittest.SkipTest("needs python3-yaml")
        cls.known = known()

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="drover-compose-")
        self.project = os.path.join(self.dir, "project")
        self.addCleanup(shutil.rmtree, self.dir)

    def both(self, line):
        words = line.split()
        variables = {}
        while words and re.match(r"[A-Z_]+=", words[0]):
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        environment = {"PATH": os.environ["PATH"], "HOME": self.dir, **variables}
        return [run([tool, *words], check=False, env=environment, cwd=self.project) for tool in (COMPOSE, DROVER)]

    def parsed(self, text, line):
        """Maps and lists where the output has some, else its lines; None when it has no form."""
        if "--format json" in line:
            return json.loads(text)
        if re.search(LISTS, line):
            return {"lines": sorted(" ".join(l.split()) for l in text.split("\n"))}
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:  # Go's writer has forms that another reader does not take
            return text

    def compare(self, case, line):
        there, here = self.both(line)
        if (there.status == 0) != (here.status == 0):
            return [f"status: {here.status} != {there.status}: {(here if here.status else there).err.strip()}"]
        if there.status:
            return []
        found = list(differences(self.parsed(there.out, line), self.parsed(here.out, line)))
        if not found and there.out != here.out and not re.search(LISTS, line):
            pairs = zip(there.out.split("\n"), here.out.split("\n"))
            found = ["text: " + next((f"{b!r} != {a!r}" for a, b in pairs if a != b), "of another length")]
        return found

    def check(self, case):
        files, runs = load(os.path.join(CORPUS, case + ".case"))
        for name, text in files.items():
            path = os.path.join(self.project, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        unknown, seen = [], set()
        for line in runs:
            for difference in self.compare(case, line):
                shown = f"{case}: {line}: {difference}"
                match = next((k for k in self.known if fnmatch.fnmatchcase(shown, k.replace("[", "[[]"))), None)
                seen.add(match)
                if match is None:
                    unknown.append(shown)
        gone = [k for k in self.known if k.startswith(case + ":") and k not in seen]
        self.assertFalse(gone, "known differences that are none")
        self.assertFalse(unknown, f"drover != docker compose, {len(unknown)} times:\n" + "\n".join(unknown))


def add(case):
    setattr(Config, f"test_config_as_docker_compose_has_it_{case}", lambda self: self.check(case))


for _path in sorted(glob.glob(os.path.join(CORPUS, "*.case"))):
    add(os.path.basename(_path)[:-5])
