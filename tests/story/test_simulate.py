"""drover simulate: a trace in, a table of costs and quality out."""
import json
import os
import re
import subprocess
import tempfile
import unittest

import harness

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TRACE = """time,event,name,count,duration,cpu,memory,priority,constraints
0,node,extra,,,4,8g,,
1,task,web,8,,1,1g,0,
2,task,batch,4,10,1,1g,0,
3,task,important,2,,4,1g,5,
4,task,nowhere,1,,1,1g,0,node.labels.zone==mars
5,fail,extra,,,,,,
6,return,extra,,,,,,
"""


class Simulate(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="drover-story-")
        self.addCleanup(self.folder.cleanup)

    def file(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    def simulate(self, *words):
        return subprocess.run([harness.DROVER, "simulate", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              stdin=subprocess.DEVNULL)

    def test_a_trace_is_played_by_each_strategy(self):
        trace = self.file("trace.csv", TRACE)
        done = self.simulate("--json", "--nodes", "2", "--node-cpu", "4", "--node-memory", "8g", trace)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)
        self.assertEqual(set(found), {"spread", "binpack", "random"})
        for name, result in found.items():
            self.assertEqual(result["tasks"], 15, name)
            self.assertGreater(result["placements_per_s"], 0, name)
            # 12 processors: the important two push eight aside; one asks for a zone that is nowhere
            self.assertEqual(result["preempted"] >= 8, True, (name, result))
            self.assertGreaterEqual(result["lost"], 1, (name, result))
            self.assertGreaterEqual(result["waiting"], 5, (name, result))
        again = json.loads(self.simulate("--json", "--nodes", "2", "--node-cpu", "4", "--node-memory", "8g", trace).stdout)
        for name in found:
            self.assertEqual(found[name]["quality"], again[name]["quality"])
            self.assertEqual(found[name]["placed"], again[name]["placed"])

    def test_a_node_that_is_sick_gets_no_tasks_until_it_is_well_and_loses_none(self):
        events = "time,event,name,count,cpu\n0,node,a,,4\n0,node,b,,4\n1,task,web,4,1\n2,sick,b,,\n3,task,more,6,1\n"
        first = self.file("sick.csv", events)
        found = json.loads(self.simulate("--json", "--strategy", "spread", "--nodes", "0", first).stdout)["spread"]
        self.assertEqual((found["placed"], found["waiting"], found["lost"]), (6, 4, 0))
        both = self.file("well.csv", events + "4,well,b,,\n")
        found = json.loads(self.simulate("--json", "--strategy", "spread", "--nodes", "0", both).stdout)["spread"]
        self.assertEqual((found["placed"], found["waiting"], found["lost"]), (8, 2, 0))
        done = self.simulate("--nodes", "0", self.file("down.csv", events + "4,fail,b,,\n5,well,b,,\n"))
        self.assertIn("node b is down", done.stderr)

    def test_a_script_of_the_documentation_and_one_that_never_ends(self):
        trace = self.file("trace.csv", "name,count,cpu\nweb,40,1\n")
        with open(os.path.join(TOP, "docs/scheduling.md"), encoding="utf-8") as page:
            worked = re.search(r"```lua\n(.*?)```", page.read(), re.S).group(1)
        mine, endless = self.file("mine.lua", worked), self.file("endless.lua", "function score() while true do end end")
        done = self.simulate("--json", "--nodes", "10", "--strategy", mine, "--strategy", endless, trace)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)
        self.assertEqual(found["mine"]["placed"], 40)
        self.assertEqual(found["mine"]["problems"], 0)
        self.assertEqual(found["mine"]["quality"]["tasks_deviation"], 0)
        self.assertEqual(found["endless"]["placed"], 40)
        self.assertGreater(found["endless"]["problems"], 0)
        self.assertIn("strategy endless failed", done.stderr)

    def test_bad_input_names_the_line(self):
        for text, says in (("", "empty"), ("name,colour\n", "colour"), ("name,cpu\nweb,much\n", "trace.csv:2: \"much\""),
                           ("name,cpu\nweb\n", "trace.csv:2: 1 values"), ("name\n\"web\n", "no end"),
                           ("event,name\nfail,x\n", "node x is not known"),
                           ("name,constraints\nweb,zone=a\n", "\"zone=a\" has neither"), ("name,name\n", "twice")):
            done = self.simulate("--nodes", "1", self.file("trace.csv", text))
            self.assertNotEqual(done.returncode, 0, text)
            self.assertIn(says, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        trace = self.file("trace.csv", "name\nweb\n")
        for words, says in ((["--strategy", "best"], "best"), (["--nodes", "-1"], "--nodes=-1"),
                            (["--strategy", self.file("bad.lua", "score = 1")], "score"),
                            (["--strategy", "/nonexistent.so"], "nonexistent"), (["--node-memory", "lots"], "lots")):
            done = self.simulate(*words, trace)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertIn(says, done.stderr)


if __name__ == "__main__":
    unittest.main()
