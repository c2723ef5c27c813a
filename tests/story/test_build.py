"""docker build and drover build, through real RUN steps."""
import json
import os

from harness import Story


class Build(Story):
    def context(self, name, **files):
        folder = os.path.join(self.d.root, "ctx-" + name)
        os.makedirs(folder, exist_ok=True)
        for path, text in files.items():
            path = os.path.join(folder, path.replace("__", "/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as f:
                f.write(text)
        return folder

    def test_a_multi_stage_build_runs(self):
        folder = self.context("multi", Dockerfile="""
ARG BASE=busybox
FROM $BASE AS build
ARG WHO=nobody
RUN echo "made for $WHO" > /made
RUN <<END
mkdir -p /out/deep
cat /made > /out/deep/file
END
FROM busybox
ENV PLACE=/srv
WORKDIR $PLACE/app
COPY --from=build --chown=user:extra --chmod=640 /out/deep/file ./file
COPY <<TEXT note
here: $PLACE
TEXT
USER user
LABEL stage=final
EXPOSE 80/tcp
ENTRYPOINT ["cat"]
CMD ["file", "note"]
""")
        self.d.docker("build", "-t", "multi:1", "--build-arg", "WHO=me", folder)
        self.assertEqual(self.d.docker("run", "--rm", "multi:1").out, "made for me\nhere: /srv\n")
        out = self.d.docker("run", "--rm", "--entrypoint", "ls", "multi:1", "-ln", "file").out
        self.assertIn("-rw-r-----", out)
        self.assertRegex(out, r"1000\s+2000")
        config = self.d.inspect("multi:1")["Config"]
        self.assertEqual((config["User"], config["WorkingDir"], config["Labels"]["stage"]), ("user", "/srv/app", "final"))

    def test_what_did_not_change_comes_from_the_cache(self):
        files = dict(Dockerfile="FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\nCOPY a b /\nRUN cat /a /b > /ab\n", a="1\n", b="2\n")
        folder = self.context("cache", **files)
        self.d.docker("build", "-t", "cache:1", folder)
        first = self.d.docker("run", "--rm", "cache:1", "cat", "/id").out
        second_build = self.d.docker("build", "-t", "cache:2", folder).out
        self.assertGreaterEqual(second_build.count("Using cache"), 3, second_build)
        os.utime(os.path.join(folder, "a"), (1, 1))
        self.assertGreaterEqual(self.d.docker("build", "-t", "cache:3", folder).out.count("Using cache"), 3)
        self.context("cache", a="changed\n")
        self.d.docker("build", "-t", "cache:4", folder)
        self.assertEqual(self.d.docker("run", "--rm", "cache:4", "cat", "/id", "/ab").out, first + "changed\n2\n")

    def test_dockerignore_keeps_files_out(self):
        folder = self.context("ignore", Dockerfile="FROM busybox\nCOPY . /ctx\n", keep="k", secret__key="s", **{".dockerignore": "secret\n*.log\n!keep.log\n",
                                                                                                               "drop.log": "x", "keep.log": "y"})
        self.d.docker("build", "-t", "ignore:1", folder)
        self.assertEqual(sorted(self.d.docker("run", "--rm", "ignore:1", "ls", "/ctx").out.split()), ["Dockerfile", "keep", "keep.log"])

    def test_a_failing_run_shows_its_output_and_exit_code_and_names_the_line(self):
        folder = self.context("fail", Dockerfile="FROM busybox\n\nRUN echo about to fail; exit 42\n")
        done = self.d.docker("build", folder, check=False)
        self.assert_clean_refusal(done, "about to fail", "42", "Dockerfile:3")
        done = self.d.drover("build", folder, check=False)
        self.assert_clean_refusal(done, "about to fail", "42", "Dockerfile:3")

    def test_an_unknown_instruction_names_file_line_and_instruction(self):
        folder = self.context("typo", Dockerfile="FROM busybox\nRUNN true\n")
        self.assert_clean_refusal(self.d.docker("build", folder, check=False), "Dockerfile:2", "RUNN")

    def test_a_missing_source_is_named(self):
        folder = self.context("missing", Dockerfile="FROM busybox\nCOPY nothing /x\n")
        self.assert_clean_refusal(self.d.docker("build", folder, check=False), "nothing", "Dockerfile:2")

    def test_a_link_in_the_context_cannot_lead_out(self):
        folder = self.context("link", Dockerfile="FROM busybox\nCOPY link/passwd /stolen\n")
        if not os.path.lexists(os.path.join(folder, "link")):
            os.symlink("/etc", os.path.join(folder, "link"))
        self.assertNotEqual(self.d.docker("build", folder, check=False).status, 0)

    def test_drover_build_tags_and_the_image_runs(self):
        folder = self.context("own", Dockerfile="FROM busybox\nRUN echo built > /b\nCMD cat /b\n")
        self.d.drover("build", "-t", "own:1", folder)
        self.assertEqual(self.d.drover("run", "--rm", "own:1").out, "built\n")
        listed = json.loads(self.d.drover("images", "--json").out)
        self.assertTrue(any("own:1" in json.dumps(i) for i in listed))
