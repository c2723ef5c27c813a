"""Runs the stories of a folder and prints a line each for tests/run.py: "@ok SECONDS title". See harness.py.

    main.py FOLDER [--module MODULE] [NAME...]    the stories (of one file) whose name contains NAME"""
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)


class Lines(unittest.TestResult):
    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def title(self, test):
        if isinstance(test, unittest.TestCase):
            return f"{type(test).__module__[5:]}: {test._testMethodName[5:].replace('_', ' ')}"
        return str(test)

    def line(self, outcome, test, detail=""):
        seconds = time.monotonic() - getattr(self, "began", time.monotonic())
        print(f"@{outcome} {seconds:.2f} {self.title(test)}" + (f" | {detail}" if detail else ""), flush=True)

    def addSuccess(self, test):
        self.line("ok", test)

    def trouble(self, test, error):
        print("".join(traceback.format_exception(*error))[-6000:])
        server = getattr(test, "d", None)
        if server is not None and os.path.exists(server.log):
            print("--- serve.log\n" + server.tail())
            ended = server.process and server.process.poll()
            if ended is not None:
                print(f"--- serve has ended with {ended}")  # -N: by signal N
        self.line("FAILED", test)

    def addError(self, test, error):
        super().addError(test, error)
        self.trouble(test, error)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.trouble(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            print(subtest.id())
            self.trouble(test, error)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line("skipped", test, reason)


def wanted(suite, names):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from wanted(item, names)
        elif not names or any(n in item.id() for n in names):
            yield item


def main():
    # A shell that runs this in the background has it ignore Ctrl-C, and so would do all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    folder, names, only = os.path.abspath(sys.argv[1]), sys.argv[2:], None
    if names[:1] == ["--module"]:
        only, names = names[1], names[2:]
    sys.path.insert(0, folder)
    result = Lines()
    for name in sorted(os.listdir(folder)):
        if name.startswith("test_") and name.endswith(".py") and only in (None, name[:-3]):
            module = importlib.import_module(name[:-3])
            suite = unittest.TestSuite(wanted(unittest.defaultTestLoader.loadTestsFromModule(module), names))
            if suite.countTestCases():
                suite.run(result)
                result._previousTestClass = None  # torn down by now; the next suite would do it again
    return 0 if result.wasSuccessful() else 1


sys.exit(main())
