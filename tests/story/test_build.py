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

    def test_a_new_directory_is_the_contexts_tree_wherever_it_lands(self):
        """Through links of the image, by another owner and mode, with names left out, twice, and changed afterwards: each is a copy of its own."""
        folder = self.context("new-dirs", **{"Dockerfile": """FROM busybox
RUN mkdir -p /real /old/tree/deep && ln -s /real /led && ln -s /nowhere /old/tree/file && echo old > /old/tree/deep/kept
COPY . /led/a
COPY --chown=5:6 --chmod=0640 tree /b/tree
COPY --exclude=**/no* tree /c/tree
COPY . /old
COPY tree Dockerfile /d/
COPY tree /e/tree
RUN echo changed > /e/tree/deep/file
COPY tree/deep tree /f/
""", "tree/file": "plain\n", "tree/deep/file": "deep\n", "tree/deep/not": "left out\n", "tree/empty/.keep": ""})
        os.chmod(f"{folder}/tree/deep/file", 0o751)
        os.link(f"{folder}/tree/file", f"{folder}/tree/second")
        os.symlink("/etc", f"{folder}/tree/away")
        self.d.drover("build", "-t", "new-dirs", folder)
        shown = self.d.docker("run", "--rm", "--network", "none", "new-dirs", "sh", "-c", """
cat /real/a/tree/file /real/a/tree/deep/file /old/tree/deep/kept /e/tree/deep/file /b/tree/deep/file /f/file /f/deep/file
stat -c '%n %u:%g %a' /b/tree/deep/file /b/tree /c/tree/deep/file
ls -A /c/tree /c/tree/deep; readlink /d/away; stat -c %h /d/file /d/second /d/deep/file; [ -L /old/tree/file ] || cat /old/tree/file""").out
        self.assertEqual(shown, """plain
deep
old
changed
deep
plain
deep
/b/tree/deep/file 5:6 640
/b/tree 5:6 640
/c/tree/deep/file 0:0 751
/c/tree:
away
deep
empty
file
second

/c/tree/deep:
file
/etc
2
2
1
plain
""")
        # What was packed is what lies unpacked.
        saved = os.path.join(self.d.root, "new-dirs.tar")
        self.d.docker("save", "-o", saved, "new-dirs")
        listing = "find /real /b /c /d /e /f /old | sort | xargs stat -c '%n %F %u:%g %a %s %Y'"
        before = self.d.docker("run", "--rm", "--network", "none", "new-dirs", "sh", "-c", listing).out
        self.d.docker("rmi", "-f", "new-dirs")
        self.d.docker("builder", "prune", "-af")
        self.d.docker("load", "-i", saved)
        self.assertEqual(self.d.docker("run", "--rm", "--network", "none", "new-dirs", "sh", "-c", listing).out, before)

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

    OWN = """# syntax=drover/1
ARG VERSION=1.4.2
TARGET all: web=shop/web:${VERSION%.*} tools
TARGET tools: tool-lint=shop/lint tool-fmt
FROM busybox AS base
INCLUDE parts/user.df
FOR t IN lint fmt
FROM base AS tool-$t
RUN echo $t > /tool
ENDFOR
FROM base AS web
CMD ["cat", "/who"]
FROM base AS unused
RUN exit 1
"""

    def test_a_target_builds_and_names_several_stages(self):
        folder = self.context("own-language", Dockerfile=self.OWN, **{"parts/user.df": "RUN echo us > /who\n"})
        done = self.d.docker("build", "--target", "all", "--build-arg", "VERSION=2.0.9", folder)
        self.assertNotIn("exit 1", done.out)
        self.assertEqual(self.d.docker("run", "--rm", "shop/web:2.0").out, "us\n")
        self.assertEqual(self.d.docker("run", "--rm", "shop/lint", "cat", "/tool").out, "lint\n")
        self.assert_clean_refusal(self.d.drover("build", "--target", "all", "-t", "one", folder, check=False), "3 images", "Dockerfile:3")
        self.assert_clean_refusal(self.d.drover("build", "--target", "none", folder, check=False), "none")
        self.d.drover("build", "--target", "tool-fmt", "-t", "fmt", folder)
        self.assertEqual(self.d.docker("run", "--rm", "fmt", "cat", "/tool").out, "fmt\n")

    def test_a_mistake_in_an_included_file_is_told_where_it_is(self):
        folder = self.context("own-wrong", Dockerfile="# syntax=drover/1\nFROM busybox\nINCLUDE part\n", part="# fine\nRUN exit 7\n")
        self.assert_clean_refusal(self.d.docker("build", folder, check=False), "part:2", "7")
        self.context("own-wrong", part="INCLUDE part\n")
        self.assert_clean_refusal(self.d.drover("build", "--print", folder, check=False), "Dockerfile:3", "part:1", "circle: dockerfile -> part -> part")

    def test_the_build_checks_warn_and_fail_where_the_file_says_so(self):
        folder = self.context("checks", Dockerfile="FROM busybox as Base\nCOPY hidden /\nCMD x\n", hidden="h", **{".dockerignore": "hidden\n"})
        told = self.d.drover("build", "--check", folder, check=False)
        for rule in ("FromAsCasing", "StageNameCasing", "JSONArgsRecommended"):
            self.assertIn(f"WARNING: {rule}\n", told.out)
        self.assertIn("Check complete, 3 warnings found.", told.out)
        self.assertEqual(told.status, 1)
        told = self.d.drover("build", "--check", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all;experimental=all", folder, check=False).out
        self.assertIn("WARNING: CopyIgnoredFile\n", told)
        self.assertIn("Check complete, 1 warning found.", told)
        self.context("checks", Dockerfile="# check=skip=FromAsCasing,JSONArgsRecommended;error=true\nFROM busybox as Base\nCMD x\n")
        done = self.d.drover("build", "--check", folder, check=False)
        self.assertEqual((done.status, done.out.count("WARNING")), (1, 1))
        self.assert_clean_refusal(self.d.docker("build", folder, check=False), "Dockerfile:2", "StageNameCasing")
        self.context("checks", Dockerfile="# check=skip=all;error=true\nFROM busybox as Base\nCMD x\n")
        self.assertIn("no warnings", self.d.drover("build", "--check", folder).out)
        self.assertNotIn("[Warning]", self.d.docker("build", folder).out)

    def test_a_build_tells_its_warnings_with_their_lines_and_goes_on(self):
        folder = self.context("warned", Dockerfile="FROM busybox as base\nRUN true\nCMD x\n")
        for done in (self.d.docker("build", "-t", "warned", folder), self.d.drover("build", "--progress", "plain", folder)):
            told = done.out + done.err
            self.assertIn("[Warning] Dockerfile:1: FromAsCasing: ", told)
            self.assertIn("[Warning] Dockerfile:3: JSONArgsRecommended: ", told)
        self.d.docker("image", "inspect", "warned")

    def test_a_dockerfile_tells_its_targets_and_what_they_take(self):
        folder = self.context("outline", Dockerfile="""ARG one=box
ARG two=box2
ARG unused=x${two}
# suffix ends the name of the base
ARG suffix="usy${one}"
FROM b${suffix} AS first
# this is about nothing
ARG FOO=123
# BAR is a number
ARG BAR=456
RUN --mount=type=secret,target=/etc/key,required=true --mount=type=ssh true
FROM none${unused} AS second
ARG BAZ
RUN --mount=type=secret,id=other true
FROM scratch AS third
ARG ABC=a
RUN --mount=type=secret,id=s-${ABC} true
# target is what is shipped
FROM third AS target
COPY --from=first /etc/passwd /
RUN --mount=type=ssh,id=agent,required true
FROM second
""")
        told = json.loads(self.d.drover("build", "--call=outline,format=json", "--target", "target", "--build-arg", "BAR=678", folder).out)
        self.assertEqual((told["name"], told["description"]), ("target", "is what is shipped"))
        self.assertEqual([(a["name"], a.get("value"), a.get("description"), a["location"]["ranges"][0]["start"]["line"]) for a in told["args"]],
                         [("one", "box", None, 1), ("suffix", "usybox", "ends the name of the base", 5), ("FOO", "123", None, 8), ("BAR", "678", "is a number", 10), ("ABC", "a", None, 16)])
        self.assertEqual([(s["name"], s.get("required", False)) for s in told["secrets"]], [("key", True), ("s-a", False)])
        self.assertEqual([(s["name"], s.get("required", False)) for s in told["ssh"]], [("default", False), ("agent", True)])
        shown = self.d.drover("build", "--call=outline", folder).out
        self.assertRegex(shown, r"TARGET: +default\n\nBUILD ARG +VALUE +DESCRIPTION *\ntwo +box2 *\nunused +xbox2 *\nBAZ *\n\nSECRET +REQUIRED *\nother *\n")
        targets = json.loads(self.d.drover("build", "--call=targets,format=json", folder).out)["targets"]
        self.assertEqual([(t.get("name"), t["base"], t.get("description"), t.get("default", False)) for t in targets],
                         [("first", "b${suffix}", None, False), ("second", "none${unused}", None, False), ("third", "scratch", None, False),
                          ("target", "third", "is what is shipped", False), (None, "second", None, True)])
        self.assertRegex(self.d.drover("build", "--call", "targets", folder).out, r"TARGET +DESCRIPTION *\nfirst *\nsecond *\nthird *\ntarget +is what is shipped *\n\(default\) *\n")
        self.assert_clean_refusal(self.d.drover("build", "--call=outline", "--target", "none", folder, check=False), "none")
