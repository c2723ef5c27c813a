"""RUN --mount, --network and --security: what a step sees while it runs, and what stays of it."""
import io
import json
import os
import tarfile

from harness import Story


class BuildMounts(Story):
    def context(self, name, **files):
        folder = os.path.join(self.d.root, "ctx-" + name)
        for path, text in files.items():
            path = os.path.join(folder, path.replace("__", "/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as f:
                f.write(text)
        return folder

    def build(self, folder, *args, **more):
        return self.d.drover("build", *args, folder, **more)

    def names_of(self, image):
        """Every name in the image's layers."""
        names = []
        blob = self.d.api("GET", f"/images/{image}/get")[2]
        with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
            manifest = json.load(archive.extractfile("manifest.json"))[0]
            for layer in manifest["Layers"]:
                with tarfile.open(fileobj=io.BytesIO(archive.extractfile(layer).read())) as tree:
                    names += tree.getnames()
        return names

    def test_a_cache_outlives_builds_is_in_no_image_and_goes_with_builder_prune(self):
        folder = self.context("cache", Dockerfile="""FROM busybox
ARG N
RUN --mount=type=cache,target=/var/cache/own,id=own,mode=0750,uid=7 echo $N >> /var/cache/own/all; \\
    stat -c '%a %u' /var/cache/own > /owner; cp /var/cache/own/all /seen
""")
        for n in "1", "2":
            self.build(folder, "--build-arg", f"N={n}", "-t", f"cached:{n}")
        self.assertEqual(self.d.docker("run", "--rm", "cached:2", "cat", "/seen", "/owner").out, "1\n2\n750 7\n")
        names = self.names_of("cached:2")
        self.assertIn("seen", names)
        self.assertFalse([n for n in names if n.startswith("var/cache")], names)
        self.d.kill9()
        self.d.start()
        self.build(folder, "--build-arg", "N=3", "-t", "cached:3")
        self.assertEqual(self.d.docker("run", "--rm", "cached:3", "cat", "/seen").out, "1\n2\n3\n")
        usage = json.loads(self.d.api("GET", "/v1.42/system/df")[2])["BuildCache"]
        mounts = [r for r in usage if r["Type"] == "exec.cachemount" and r["Description"].endswith("own")]
        self.assertEqual([(m["Description"], m["InUse"], m["UsageCount"]) for m in mounts], [("cache mount own", False, 3)])
        self.assertGreater(mounts[0]["Size"], 0)
        self.d.docker("builder", "prune", "-f")
        usage = json.loads(self.d.api("GET", "/v1.42/system/df")[2])["BuildCache"]
        self.assertEqual([record for record in usage if record["Type"] == "exec.cachemount"], [])
        self.build(folder, "--build-arg", "N=4", "-t", "cached:4")
        self.assertEqual(self.d.docker("run", "--rm", "cached:4", "cat", "/seen").out, "4\n")

    def test_a_locked_cache_is_one_steps_at_a_time_and_private_ones_are_apart(self):
        step = "if ! mkdir /c/busy; then touch /c/clash; fi; i=0; while [ $i -lt 200 ]; do echo > /c/x; i=$((i+1)); done; rmdir /c/busy; ls /c > /out-"
        stages = "".join(f"FROM busybox AS s{i}\nRUN --mount=type=cache,id=lock,target=/c,sharing=locked {step}{i}\n" for i in range(4))
        folder = self.context("locked", Dockerfile=stages + "FROM busybox\n" + "".join(f"COPY --from=s{i} /out-{i} /\n" for i in range(4)))
        self.build(folder, "-t", "locked")
        self.assertNotIn("clash", self.d.docker("run", "--rm", "locked", "sh", "-c", "cat /out-*").out)
        meet = "touch /c/mine-{0}; ls /c > /out-{0}; while [ ! -e /all/{1} ]; do touch /all/{0}; done; touch /all/{0}"
        stages = "".join(f"FROM busybox AS s{i}\nRUN --mount=type=cache,id=p,target=/c,sharing=private "
                         f"--mount=type=cache,id=meet,target=/all {meet.format(i, 1 - i)}\n" for i in range(2))
        folder = self.context("private", Dockerfile=stages + "FROM busybox\nCOPY --from=s0 /out-0 /\nCOPY --from=s1 /out-1 /\n")
        self.build(folder, "-t", "private")
        self.assertEqual(self.d.docker("run", "--rm", "private", "cat", "/out-0", "/out-1").out, "mine-0\nmine-1\n")

    def test_a_cache_begins_with_what_it_is_from(self):
        folder = self.context("seed", Dockerfile="""FROM busybox AS seed
RUN mkdir /s && echo seeded > /s/file
FROM busybox
RUN --mount=type=cache,target=/c,from=seed,source=/s cp /c/file /got
""")
        self.build(folder, "-t", "seed")
        self.assertEqual(self.d.docker("run", "--rm", "seed", "cat", "/got").out, "seeded\n")

    def test_a_bind_shows_context_stage_and_image_and_forgets_what_is_written(self):
        folder = self.context("bind", Dockerfile="""FROM busybox AS other
RUN mkdir /o && echo from stage > /o/f && ln -s /etc/passwd /o/link
FROM busybox
RUN --mount=target=/ctx --mount=from=other,source=/o,target=/o,rw --mount=from=other,source=/o/f,target=/one/file \\
    cat /ctx/a /o/f /one/file > /got && echo changed > /o/f && cat /o/f >> /got && ! touch /ctx/new && \\
    head -c 4 /o/link >> /got
RUN --mount=from=other,target=/o cat /o/o/f >> /got; ls -d /ctx /one || true
""", a="from context\n")
        self.build(folder, "-t", "bound")
        self.assertEqual(self.d.docker("run", "--rm", "bound", "cat", "/got").out,
                         "from context\nfrom stage\nfrom stage\nchanged\nrootfrom stage\n")
        names = self.names_of("bound")
        self.assertFalse([n for n in names if n.split("/")[0] in ("ctx", "one")], names)
        # What it shows is part of the step's key.
        self.context("bind", a="other\n")
        self.build(folder, "-t", "bound")
        self.assertTrue(self.d.docker("run", "--rm", "bound", "cat", "/got").out.startswith("other\n"))

    def test_a_tmpfs_has_its_size_and_leaves_nothing(self):
        folder = self.context("tmpfs", Dockerfile="""FROM busybox
RUN --mount=type=tmpfs,target=/t,size=1m df -k /t | tail -1 | tr -s ' ' | cut -d ' ' -f 2 > /size; echo x > /t/x
RUN ! ls /t
""")
        self.build(folder, "-t", "tmpfs")
        self.assertEqual(self.d.docker("run", "--rm", "tmpfs", "cat", "/size").out, "1024\n")

    def test_all_rights_need_to_be_allowed(self):
        folder = self.context("insecure", Dockerfile="FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status > /caps\n"
                                                     "RUN --security=sandbox grep CapEff /proc/self/status > /less\n")
        self.assert_clean_refusal(self.build(folder, check=False), "Dockerfile:2", "--allow security.insecure")

    def test_a_mount_that_makes_no_sense_is_told_with_its_line(self):
        cases = {"type=disk,target=/x": "unsupported mount type",
                 "type=cache": "needs a target",
                 "type=bind,target=/": "root directory",
                 "type=tmpfs,target=/x,id=5": "unexpected key 'id'",
                 "type=cache,target=/x,sharing=some": "shared, private or locked",
                 "type=cache,target=/x,mode=9": "octal",
                 "type=bind,target=/x,from=nobody-has-this": "nobody-has-this",
                 "type=bind,target=/x,source=missing": "missing",
                 "type=secret,id=none,required": "--secret id=none",
                 "type=ssh,required": "--ssh default",
                 "target=/x,wrong": "unexpected key 'wrong'"}
        for text, words in cases.items():
            folder = self.context("wrong", Dockerfile=f"FROM busybox\nRUN --mount={text} true\n")
            with self.subTest(text):
                self.assert_clean_refusal(self.build(folder, check=False), "Dockerfile:2", words)
        folder = self.context("wrong", Dockerfile="FROM busybox\nRUN --mount=type=secret,id=none --mount=type=ssh echo without $SSH_AUTH_SOCK\n")
        self.assertRegex(self.build(folder).err, r"#\d+ [0-9.]+ without\n")
