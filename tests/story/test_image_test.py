"""Images are tested before they ship: what `drover image test` finds, how it says so, and what it leaves alone."""
import base64
import hashlib
import io
import json
import os
import random
import tarfile
import textwrap
import xml.etree.ElementTree

from harness import Story, busybox_root_tar

# Shapes only, made here so that no scanner of this tree takes them for somebody's.
NOISE = random.Random(7)
TOKEN = "ghp_" + "".join(NOISE.choice("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(36))
KEY = "-----BEGIN " + "PRIVATE KEY-----\n" + base64.encodebytes(bytes(NOISE.randrange(256) for _ in range(300))).decode() + "-----END " + "PRIVATE KEY-----\n"

SERVER = """\
    FROM busybox
    COPY serve.sh /app/serve.sh
    RUN mkdir /app/www && echo hello >/app/www/index.html && chown -R user /app
    EXPOSE 8080
    USER user
    CMD ["/bin/sh", "/app/serve.sh"]
"""
SERVE = "trap 'exit 0' TERM\nhttpd -f -p 8080 -h /app/www & wait\n"
# What an image that stands on busybox has by its nature.
ON_BUSYBOX = "utilities: {allow: ['**']}\n"


class ImageTest(Story):
    def build(self, tag, dockerfile, **files):
        where = os.path.join(self.d.root, "contexts", tag)
        os.makedirs(where, exist_ok=True)
        for name, text in {"Dockerfile": textwrap.dedent(dockerfile), **files}.items():
            with open(os.path.join(where, name.replace("__", ".")), "w") as out:
                out.write(text)
        return self.d.drover("build", "-q", "-t", tag, where).out.strip()

    def checks(self, text):
        path = os.path.join(self.d.root, "checks.yaml")
        with open(path, "w") as out:
            out.write(textwrap.dedent(text))
        return path

    def findings(self, tag, checks="", status=1):
        done = self.d.drover("image", "test", "--json", "-f", self.checks(checks), tag, check=False)
        self.assertEqual(done.status, status, done)
        return json.loads(done.out)

    def of(self, report, check):
        return [f for f in report["findings"] if f["check"] == check]

    def passes(self, tag, checks):
        report = self.findings(tag, checks, status=0)
        self.assertTrue(report["passed"])
        return report

    def load(self, tag, *layers, config=None):
        """An image of hand-made layers: what no builder would make."""
        digests, out = [], io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            def add(name, data):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
            for i, data in enumerate(layers):
                digests.append("sha256:" + hashlib.sha256(data).hexdigest())
                add(f"{i}/layer.tar", data)
            document = json.dumps({"architecture": "amd64", "os": "linux", "config": config or {}, "rootfs": {"type": "layers", "diff_ids": digests},
                                   "history": [{"created_by": f"made by hand {i}"} for i in range(len(layers))]}).encode()
            add("config.json", document)
            add("manifest.json", json.dumps([{"Config": "config.json", "RepoTags": [tag], "Layers": [f"{i}/layer.tar" for i in range(len(layers))]}]).encode())
        self.d.docker("load", stdin=out.getvalue())

    @staticmethod
    def tar(*entries):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, data, attributes in entries:
                entry = tarfile.TarInfo(name)
                for key, value in attributes.items():
                    setattr(entry, key, value)
                if entry.isreg():
                    entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data) if entry.isreg() else None)
        return out.getvalue()

    def test_a_good_server_passes_and_is_gone_afterwards(self):
        self.build("good:1", SERVER, serve__sh=SERVE)
        report = self.passes("good:1", ON_BUSYBOX + """
            ports: [8080]
            files:
              - {path: /app/www/index.html, type: file, owner: user, mode: "0644", sha256: %s}
              - {path: /bin/ls, type: symlink, target: busybox}
              - {path: /app/secret.txt, absent: true}
            run:
              answers:
                - {tcp: 8080}
                - {http: 8080/, status: 200, contains: hello}
            """.replace("\n            ", "\n") % hashlib.sha256(b"hello\n").hexdigest())
        self.assertEqual([c["check"] for c in report["checks"]], ["layers", "ports", "utilities", "privileges", "host", "user", "secrets", "files", "run"])
        self.assertEqual(self.d.docker("ps", "-aq").out, "")

    def test_a_finding_names_file_layer_and_instruction(self):
        self.build("rights:1", """\
            FROM busybox
            RUN echo a >/a
            RUN cp /bin/busybox /usr/bin/helper && chmod 4755 /usr/bin/helper
            USER user
            """)
        found = self.of(self.findings("rights:1", ON_BUSYBOX), "privileges")
        self.assertEqual([(f["rule"], f["path"], f["layer"]) for f in found], [("setuid", "/usr/bin/helper", 3)])
        self.assertIn("chmod 4755", found[0]["instruction"])
        self.passes("rights:1", ON_BUSYBOX + "privileges: {allow: [/usr/bin/helper]}\n")

    def test_without_a_file_an_image_that_has_everything_is_told_what_is_wrong(self):
        done = self.d.drover("image", "test", "busybox", check=False)
        self.assertEqual(done.status, 1, done)
        for word in ("FAILED  utilities", "/bin/sh: shell, a link to busybox", "/bin/wget: network tool", "FAILED  user", "add USER to its Dockerfile", "passed  secrets", "passed  host"):
            self.assertIn(word, done.out)
        self.assertNotIn(" run ", done.out)

    def test_a_secret_is_found_in_a_layer_that_a_higher_one_deletes_and_never_printed(self):
        self.build("leaky:1", f"""\
            FROM busybox
            COPY key.pem /tmp/key.pem
            RUN rm /tmp/key.pem
            RUN echo token={TOKEN} >/usr/bin/tool
            RUN sh -c 'true {TOKEN}'
            ENV DB_PASSWORD=tr0ub4dor
            LABEL api_key=k9Jq2Lx8Vb4Zt7Wm3Rn6
            USER user
            """, key__pem=KEY)
        report = self.findings("leaky:1", ON_BUSYBOX)
        found = self.of(report, "secrets")
        where = {(f["rule"], f["path"]) for f in found}
        self.assertIn(("private-key", "/tmp/key.pem"), where)
        self.assertIn(("github-token", "/usr/bin/tool"), where)
        self.assertIn(("github-token", None), where)
        self.assertIn(("environment", None), where)
        key = next(f for f in found if f["rule"] == "private-key")
        self.assertIn("a higher layer replaces or deletes the file", key["message"])
        self.assertIn("key.pem", key["instruction"])
        self.assertTrue(any("history" in f["message"] for f in found), found)
        messages = json.dumps([{k: v for k, v in f.items() if k != "instruction"} for f in found])
        self.assertNotIn(TOKEN, messages)
        self.assertNotIn("tr0ub4dor", messages)
        allowed = "".join(f"    - {{fingerprint: {f['fingerprint']}}}\n" for f in found)
        self.passes("leaky:1", ON_BUSYBOX + "secrets:\n  allow:\n" + allowed)
        self.assertEqual(len(self.of(self.findings("leaky:1", ON_BUSYBOX + "secrets:\n  allow:\n    - {rule: private-key, path: /tmp/*}\n"), "secrets")), len(found) - 1)

    def test_what_only_looks_like_a_secret_is_left_alone(self):
        self.build("clean:1", """\
            FROM busybox
            COPY app.conf /etc/app.conf
            COPY main.py /app/main.py
            ENV DB_PASSWORD_FILE=/run/secrets/db TOKEN=${TOKEN} API_KEY=changeme
            USER user
            """, app__conf="password = ${DB_PASSWORD}\ntoken: your-token-here\napi_key=<insert>\nurl=postgres://user:password@db/x\n",
                   main__py='token = request.headers.get("Authorization")\nKEY = "-----BEGIN PRIVATE KEY-----"\nsecret = load_secret_from_the_environment\n# AKIAIOSFODNN7EXAMPLE\n')
        self.passes("clean:1", ON_BUSYBOX)

    def test_what_assumes_a_host_is_found_in_files_and_configuration(self):
        self.build("tied:1", """\
            FROM busybox
            COPY app.conf /etc/app.conf
            ENV DB=10.1.2.3 PEER=build7.corp SOCKET=/var/run/docker.sock HOME_OF=/home/ana/work VERSION=1.2.3.4
            ENV LISTEN=0.0.0.0:80 SELF=127.0.0.1 LOGS=/var/log/app
            USER user
            """, app__conf="# was 10.9.9.9 once\nupstream = 192.168.7.1\nallow = 10.0.0.0/8\nrepo = https://git.example.lan/x\nhost = https://example.com/home/page\n")
        found = {f["message"] for f in self.of(self.findings("tied:1", ON_BUSYBOX), "host")}
        self.assertEqual(found, {"environment variable DB: 10.1.2.3", "environment variable PEER: build7.corp", "environment variable SOCKET: /var/run/docker.sock",
                                 "environment variable HOME_OF: /home/ana", "environment variable VERSION: 1.2.3.4", "line 2: 192.168.7.1", "line 4: git.example.lan"})
        self.passes("tied:1", ON_BUSYBOX + "host: {allow: [10.1.2.3, build7.corp, /var/run/docker.sock, /home/ana, 1.2.3.4, /etc/*.conf]}\n")

    def test_wasted_bytes_are_counted_and_the_worst_files_named(self):
        self.build("wasteful:1", """\
            FROM busybox
            RUN dd if=/dev/zero of=/big bs=1M count=3
            RUN rm /big
            RUN dd if=/dev/zero of=/twice bs=1M count=2
            RUN echo x >>/twice
            USER user
            """)
        report = self.findings("wasteful:1", ON_BUSYBOX + "layers: {max-wasted-bytes: 4m}\n")
        self.assertEqual(report["wasted_bytes"], 5 << 20)
        found = self.of(report, "layers")
        self.assertEqual([f["path"] for f in found], [None, "/big", "/twice"])
        self.assertIn("rm /big", found[1]["message"])
        self.passes("wasteful:1", ON_BUSYBOX + "layers: {max-wasted-bytes: 5m, max-wasted-percent: 90}\n")
        self.assertEqual(len(self.of(self.findings("wasteful:1", ON_BUSYBOX + "layers: {max: 2, max-bytes: 1m, max-wasted-bytes: 0, max-wasted-percent: 0}\n"), "layers")), 2)

    def test_ports_users_and_files_are_held_against_the_checks(self):
        self.build("other:1", """\
            FROM busybox
            RUN mkdir -m 700 /data && chown user /data
            EXPOSE 80 9000/udp
            USER nobody2
            """)
        report = self.findings("other:1", ON_BUSYBOX + """
ports: [80, 8000-9000]
files:
  - {path: /data, type: file, owner: root, mode: "0755"}
  - {path: /nowhere}
  - {path: /bin/sh, absent: true}
""")
        self.assertEqual([f["message"] for f in self.of(report, "ports")], ["the image exposes 9000/udp, which is not among the declared ports"])
        self.assertEqual([f["message"] for f in self.of(report, "user")], ["the image's user \"nobody2\" is not in its /etc/passwd"])
        self.assertEqual([(f["path"], f["rule"]) for f in self.of(report, "files")], [("/data", "type"), ("/data", "mode"), ("/data", "owner"), ("/nowhere", "missing"), ("/bin/sh", "absent")])

    def test_a_container_that_ends_is_deaf_or_late_is_found_and_removed(self):
        self.build("ends:1", 'FROM busybox\nUSER user\nCMD ["sh", "-c", "echo no database; exit 3"]\n')
        self.build("stubborn:1", 'FROM busybox\nUSER user\nCMD ["sh", "-c", "trap true TERM; while true; do sleep 1; done"]\n')
        self.build("sick:1", 'FROM busybox\nHEALTHCHECK --interval=100ms --retries=1 CMD echo bad day; exit 1\nUSER user\nCMD ["sleep", "1000"]\n')
        self.build("open:1", 'FROM busybox\nUSER user\nCMD ["httpd", "-f", "-p", "7777", "-h", "/tmp"]\n')
        run = ON_BUSYBOX + "run: {ready-within: 20s, stop-within: 1s%s}\n"
        for tag, more, check, words in (("ends:1", "", "run", "it ended with status 3 before it was ready; it wrote: no database"), ("stubborn:1", "", "run", "it had to be killed"),
                                        ("sick:1", "", "run", "it became unhealthy: bad day"), ("open:1", ", answers: [{tcp: 7777}]", "ports", "listens on 7777/tcp, which is not declared"),
                                        ("ends:1", ", command: [/nonexistent]", "run", "/nonexistent")):
            report = self.findings(tag, run % more)
            found = self.of(report, check)
            self.assertEqual(len(found), 1, report["findings"])
            self.assertIn(words, found[0]["message"])
        found = self.of(self.findings("sick:1", ON_BUSYBOX + "run: {command: [sleep, '100'], ready-within: 300ms, answers: [{tcp: 5}]}\nskip: [user]\n"), "run")
        self.assertEqual(len(found), 1, found)
        self.assertEqual(self.d.docker("ps", "-aq").out, "")

    def test_reports_are_json_text_and_junit_that_a_reader_of_xml_takes(self):
        self.load("evil:1", busybox_root_tar(), self.tar(("usr/bin/a\x1b[31m<&\">", b"x", {"mode": 0o4755}),), config={"User": "<&\x1b\"'"})
        junit = os.path.join(self.d.root, "junit.xml")
        done = self.d.drover("image", "test", "--junit", junit, "evil:1", check=False)
        self.assertEqual(done.status, 1, done)
        self.assertNotIn("\x1b", done.out)
        suite = xml.etree.ElementTree.parse(junit).getroot()[0]
        self.assertEqual(int(suite.get("tests")), len(suite))
        self.assertEqual(int(suite.get("failures")), len(suite.findall("testcase/failure")))
        self.assertIn('/usr/bin/a?[31m<&">', "".join(suite.itertext()))

    def test_layers_of_an_attacker_are_bounded(self):
        link = {"type": tarfile.SYMTYPE, "linkname": "loop"}
        self.load("odd:1", self.tar(("loop", b"", link), ("d", b"", {"type": tarfile.DIRTYPE}), ("d/x", b"1" * 100, {})),
                  self.tar(("d", b"now a file", {})), self.tar(("d/y", b"below a file", {})), self.tar(), config={"User": "1000"})
        self.passes("odd:1", "files: [{path: /d/y}, {path: /loop/x, absent: true}, {path: /d/x, absent: true}]\n")

    def test_a_wrong_file_of_checks_is_told_with_its_lines(self):
        wrong = self.checks("""\
            layer: {max: 3}
            ports: [http]
            skip: [secret]
            user: {allow-root: maybe}
            secrets: {allow: [{rule: privat-key}, {}]}
            files: [{path: relative, mode: "9"}]
            run: {stop-within: soon, answers: [{tcp: 0}, {http: x}]}
            """)
        done = self.d.drover("image", "test", "-f", wrong, "busybox", check=False)
        self.assertEqual(done.status, 2, done)
        for words in (f'{wrong}:1:1: layer: unknown key; did you mean "layers"?', f'{wrong}:2:9: ports[0]: "http" is not a port', f'{wrong}:3:8: skip[0]: "secret" is not a check; did you mean "secrets"?',
                      f"{wrong}:4:20: user.allow-root: must be true or false", f'{wrong}:5:26: secrets.allow[0].rule: "privat-key" is no rule; did you mean "private-key"?',
                      f"{wrong}:6:9: files[0]: needs an absolute"):
            self.assertIn(words, done.err)
        self.assertEqual(self.d.drover("image", "test", "-f", "/nonexistent.yaml", "busybox", check=False).status, 125)
        missing = self.d.drover("image", "test", "nothing:here", check=False)
        self.assertEqual(missing.status, 125)
        self.assert_clean_refusal(missing, "no such image")

    def test_a_push_is_held_back_by_its_gate(self):
        self.build("gated:1", "FROM busybox\nUSER root\n")
        strict = self.checks(ON_BUSYBOX)
        self.d.docker("tag", "gated:1", "127.0.0.1:1/gated:1")
        done = self.d.drover("push", "--test", strict, "127.0.0.1:1/gated:1", check=False)
        self.assert_clean_refusal(done, "127.0.0.1:1/gated:1 is not pushed", "does not pass the checks", 'user "root" is root')
        passed = self.d.drover("push", "--test", self.checks(ON_BUSYBOX + "user: {allow-root: true}\n"), "127.0.0.1:1/gated:1", check=False)
        self.assert_clean_refusal(passed, "push 127.0.0.1:1/gated:1")
        self.assertNotIn("is not pushed", passed.err)
