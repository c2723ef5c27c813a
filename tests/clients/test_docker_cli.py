"""The docker CLI, every version at hand: Debian's 20.10 and what else is installed."""
import json
import os
import unittest

from harness import Story, docker_clis, run


class DockerCli(Story):
    """One piece of work with each: build, run, look, talk, copy, remove."""

    def work(self, cli):
        d = self.d
        docker = lambda *args, **options: d.docker(*args, cli=cli, **options)  # noqa: E731
        context = os.path.join(d.root, "context")
        os.makedirs(context, exist_ok=True)
        with open(os.path.join(context, "Dockerfile"), "w") as f:
            f.write('FROM busybox\nARG WHO\nRUN echo "made for $WHO" > /made\nHEALTHCHECK --interval=100ms CMD test -e /made\nCMD ["sh", "-c", "cat /made; exec sleep 1000"]\n')
        docker("build", "-t", "worked:1", "--build-arg", "WHO=cli", context)
        docker("network", "create", "--subnet", "10.99.3.0/24", "work")
        docker("volume", "create", "work")
        docker("run", "-d", "--name", "work", "--network", "work", "--network-alias", "w", "-v", "work:/data", "-p", "18321:80", "--memory", "64m",
               "--restart", "unless-stopped", "--label", "a=b", "--stop-signal", "KILL", "worked:1")
        self.assertEqual(docker("ps", "--filter", "label=a=b", "--format", "{{.Names}} {{.Image}}").out, "work worked:1\n")
        self.assertIn("18321", docker("port", "work", "80").out)
        self.assertEqual(docker("exec", "-e", "A=1", "work", "sh", "-c", "echo $A; exit 3", check=False).status, 3)
        self.assertEqual(docker("run", "--rm", "--network", "work", "busybox", "ping", "-c", "1", "-W", "5", "w").status, 0)
        file = os.path.join(d.root, "file")
        with open(file, "w") as f:
            f.write("copied")
        docker("cp", file, "work:/data/file")
        self.assertEqual(docker("cp", "work:/data/file", "-").out.count("copied"), 1)
        docker("exec", "work", "touch", "/touched")
        self.assertIn("A /touched", docker("diff", "work").out)
        self.assertEqual(docker("logs", "work").out, "made for cli\n")
        docker("pause", "work")
        docker("unpause", "work")
        docker("update", "--memory", "48m", "--memory-swap", "48m", "work")
        self.assertIn("sleep 1000", docker("top", "work").out)
        self.assertEqual(json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "work").out)["Name"], "work")
        self.assertEqual(docker("wait", docker("run", "-d", "busybox", "sh", "-c", "exit 5").out.strip()).out, "5\n")
        docker("commit", "work", "committed:1")
        saved = os.path.join(d.root, "saved.tar")
        docker("save", "-o", saved, "committed:1")
        docker("rmi", "committed:1")
        self.assertIn("Loaded image: committed:1", docker("load", "-i", saved).out)
        self.assertIn("made for $WHO", docker("history", "--no-trunc", "committed:1").out)
        docker("tag", "committed:1", "again:2")
        docker("restart", "-t", "0", "work")
        self.assertEqual(docker("inspect", "-f", "{{.State.Running}} {{.HostConfig.Memory}}", "work").out, "true 50331648\n")
        docker("rm", "-f", "work")
        self.assertRegex(docker("system", "df").out, r"Images +\d")
        docker("container", "prune", "-f")
        docker("volume", "rm", "work")
        docker("network", "rm", "work")
        docker("rmi", "-f", "again:2", "committed:1", "worked:1")
        said = docker("info", "--format", "{{json .}}")
        self.assertEqual(json.loads(said.out).get("ServerErrors") or [], [])

    def test_debians_cli_does_its_work(self):
        self.work(docker_clis()[0])

    def test_a_newer_cli_does_its_work(self):
        newer = docker_clis()[1:]
        if not newer:
            raise unittest.SkipTest("no docker CLI but Debian's is at hand")
        for cli in newer:
            with self.subTest(cli=run([cli, "--version"]).out):
                self.work(cli)
