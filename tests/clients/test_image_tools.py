"""skopeo and buildah, which move images in and out of an engine by its socket; and every docker CLI's build, push and pull."""
import json
import os
import shutil
import tempfile
import unittest

from harness import Story, docker_clis, run

# buildah knows the engine's socket by one path only: it gets a view of the machine in which ours is there.
AT_DOCKERS_PLACE = 'mount -t tmpfs none /run && ln -s "$0" /run/docker.sock && exec "$@"'


class ImageTools(Story):
    def setUp(self):
        super().setUp()
        place = tempfile.TemporaryDirectory(dir=self.d.root)
        self.addCleanup(place.cleanup)
        self.folder = place.name
        self.host = f"unix://{self.d.socket}"

    def identity(self, name):
        return self.d.inspect(name)["Id"]

    def need(self, program):
        if not shutil.which(program):
            raise unittest.SkipTest(f"needs {program}")

    def test_skopeo_takes_an_image_out_and_brings_the_same_back(self):
        self.need("skopeo")
        archive = f"docker-archive:{self.folder}/a.tar:taken:1"
        run(["skopeo", "copy", "--src-daemon-host", self.host, "docker-daemon:busybox:latest", archive])
        run(["skopeo", "copy", "--dest-daemon-host", self.host, archive, "docker-daemon:brought:1"])
        self.assertEqual(self.identity("brought:1"), self.identity("busybox"))
        shown = json.loads(run(["skopeo", "inspect", "--daemon-host", self.host, "--config", "docker-daemon:brought:1"]).out)
        self.assertEqual(shown["rootfs"]["diff_ids"], self.d.inspect("busybox")["RootFS"]["Layers"])

    def test_skopeo_copies_by_way_of_an_oci_layout_and_the_image_runs(self):
        self.need("skopeo")
        layout = f"oci:{self.folder}/layout:x"
        run(["skopeo", "copy", "--src-daemon-host", self.host, "docker-daemon:busybox:latest", layout])
        run(["skopeo", "copy", "--dest-daemon-host", self.host, layout, "docker-daemon:by-oci:1"])
        self.assertEqual(self.d.docker("run", "--rm", "by-oci:1", "echo", "runs").out, "runs\n")

    def test_buildah_pulls_from_the_engine_and_pushes_what_it_made(self):
        self.need("buildah")
        store = ["--root", f"{self.folder}/store", "--runroot", f"{self.folder}/run", "--storage-driver", "vfs"]

        def buildah(*arguments):
            return run(["unshare", "--mount", "sh", "-c", AT_DOCKERS_PLACE, self.d.socket, "buildah", *store, *arguments]).out.strip()
        with open(os.path.join(self.folder, "file"), "w") as f:
            f.write("made by buildah\n")
        container = buildah("from", "docker-daemon:busybox:latest")
        buildah("copy", container, os.path.join(self.folder, "file"), "/made")
        buildah("config", "--cmd", "cat /made", container)
        buildah("commit", "--quiet", container, "made")
        buildah("push", "--quiet", "made", "docker-daemon:made:3")
        self.assertEqual(self.d.docker("run", "--rm", "made:3").out, "made by buildah\n")
        buildah("rm", container)

    def test_every_docker_cli_builds_without_buildkit(self):
        with open(os.path.join(self.folder, "Dockerfile"), "w") as f:
            f.write("FROM busybox\nARG WHO\nRUN echo built for $WHO > /made\nCMD cat /made\n")
        for cli in docker_clis():
            out = self.d.docker("build", "-t", "by-cli", "--build-arg", "WHO=you", self.folder, cli=cli).out
            self.assertIn("Successfully tagged by-cli:latest", out, cli)
            self.assertEqual(self.d.docker("run", "--rm", "by-cli", cli=cli).out, "built for you\n")
            with open(os.path.join(self.folder, "Dockerfile"), "rb") as f:
                out = self.d.docker("build", "-q", "--build-arg", "WHO=you", "-", stdin=f.read(), cli=cli).out
            self.assertEqual(out.strip(), self.identity("by-cli"))
            outside = tempfile.NamedTemporaryFile("w", dir=self.d.root)
            outside.write("FROM busybox\nCOPY Dockerfile /inside\n")
            outside.flush()
            self.d.docker("build", "-t", "outside", "-f", outside.name, self.folder, cli=cli)
            self.assertIn("ARG WHO", self.d.docker("run", "--rm", "outside", "cat", "/inside", cli=cli).out)

    def test_every_docker_cli_saves_loads_imports_and_reads_history(self):
        for cli in docker_clis():
            archive = os.path.join(self.folder, "saved.tar")
            self.d.docker("tag", "busybox", "moved:1", cli=cli)
            self.d.docker("save", "-o", archive, "moved:1", cli=cli)
            self.d.docker("rmi", "moved:1", cli=cli)
            self.assertEqual(self.d.docker("load", "-i", archive, cli=cli).out, "Loaded image: moved:1\n")
            history = self.d.docker("history", "--format", "{{.ID}} {{.Comment}}", "--no-trunc", "moved:1", cli=cli).out
            self.assertEqual(history, f"{self.identity('moved:1')} Imported from -\n")
            self.d.docker("system", "df", "-v", cli=cli)
            self.d.docker("image", "prune", "-f", cli=cli)
            self.d.docker("builder", "prune", "-f", cli=cli)
