"""A file of node/ as a test class: one run of Node.js, each of its tests one here."""
import json
import os
import re
import shutil
import subprocess
import unittest

from harness import TOP, Story

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = os.path.join(TOP, "build/clients/node/node_modules")


def titles(script):
    with open(os.path.join(HERE, "node", script)) as f:
        return re.findall(r'^\s*test\("(.*?)",', f.read(), re.M)


class Script(Story):
    """The script is run once, and its results are handed out to the tests of the class."""
    script = None

    @classmethod
    def setUpClass(cls):
        if not shutil.which("node") or not os.path.exists(os.path.join(MODULES, "dockerode")):
            raise unittest.SkipTest("needs Node.js, and npm's packages below build/clients (scripts/clients)")
        super().setUpClass()
        cls.prepare()
        # A CommonJS module looks for packages beside itself and then in NODE_PATH.
        done = subprocess.run(["node", os.path.join(HERE, "node", cls.script)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, env=cls.drover_.env(NODE_PATH=MODULES, **cls.environment()))
        cls.output = done.stdout + done.stderr
        cls.results = {r["title"]: r for r in map(json.loads, (line for line in done.stdout.splitlines() if line.startswith('{"title"')))}

    @classmethod
    def prepare(cls):
        pass

    @classmethod
    def environment(cls):
        return {}

    def check(self, title):
        result = self.results.get(title)
        self.assertIsNotNone(result, f"the script did not get there:\n{self.output[-4000:]}")
        self.assertTrue(result["ok"], result.get("detail"))


def with_tests(cls):
    for title in titles(cls.script):
        name = "test_" + re.sub(r"\W+", "_", title)
        setattr(cls, name, lambda self, title=title: self.check(title))
    return cls
