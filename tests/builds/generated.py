"""Dockerfiles that nobody would write, from seeds: stages upon stages, ARG and ENV in all quotes, continued lines with comments in them,
wildcards, owners, modes, links in the way, archives, triggers, ignore files. See cases.py.

Each has some twenty instructions of which most work by themselves, so that one image tells much. BUILDS_SEEDS=100-199 takes other
seeds than those of the suite."""
import io
import os
import random
import tarfile

from cases import case

SEEDS = range(1, 9)

SOURCES = ["a.txt", "b.txt", "run.sh", "secret", "set.id", "d", "d/", "d/.", "d/sub", "d/empty", "d/one.txt", "d/sub/deep/four", "shut", "link.txt", "dir.link", "d/link", "zero",
           "./a.txt", "/b.txt", "d/../a.txt", "d//one.txt", "UPPER", "plain.gz", "fake.tar", "*.txt", "d/*.txt", "d/?ne.txt", "[ab].txt", "[^b].txt", "d/s*", "d/*/deep", "d*",
           "packed.tar", "packed.tar.gz"]
ODD = ["with space", "sp ace/in side", "sp ace", "\u00e9t\u00e9.txt", "a.txt", "d/sub"]
PLACES = ["/x", "/x/", "/y/z", "/y/z/", "rel", "rel/", "./rel/dot/", ".", "./", "..", "../up/", "/", "/l/in", "/l/", "/lf", "/dang", "/dang/", "/w/../v/", "//two//", "/${A}/", "/$B/$A", "/new/\u00e4", "/tmp/",
          "/abs/", "/deep/in", "/opt/here/"]
OWNERS = ["1", "1:2", "user", "user:extra", "nobody:0", "0:7", "$ID", "${ID}:${ID}"]
MODES = ["600", "0755", "4711", "1777", "0", "2750"]
VALUES = ["one", "'two words'", "\"three $A\"", "a\\ b", "${A:-none}", "${NONE:-else}", "${B:+set}", "x$A$B", "\"q'q\"", "'$A'", "\\$A", "\"a\\\"b\"", "${A}${NONE}", "a=b", "'a'\"b\"c", "\"\"", "''", "/p:$PATH", "\u00fc",
          "\"tab\\tn\"", "$A.$B", "${A}s"]
NAMES = ["A", "B", "C", "D_1", "ID2", "e"]
PATTERNS = ["d/sub", "*.txt", "!a.txt", "**/*.md", "d/*/deep", "/zero", "secret", "!d/sub/three.txt", "# none", "", "sp*", "?.txt", "**/four", "!**/four", "[u-z]*", "d/**/th*", "./b.txt", "d/../link.txt",
            " UPPER ", "*\n!d\n!*.txt\n!*.tar*\n!run.sh\n!link.txt"]
SETUP = ["mkdir -p /real/in && ln -s /real /l; ln -s real/in /lf; ln -s /nowhere/at/all /dang; true",
         "mkdir -p /x /y/z && touch /x/a.txt && chmod 700 /x && chown 5:6 /x /x/a.txt", "echo f > /rel; ln -s rel /v; true", "mkdir -p /abs; ln -s ../tmp /abs/sub; ln -s /opt /abs/d; true",
         "mkdir -p /deep/in/d/sub && ln -s nothing /deep/in/d/one.txt; mkfifo /deep/fifo; true", "touch /h1 && ln -f /h1 /h2 && chmod 4755 /h1; mkdir -m 3777 /sticky; true", "rm -rf /home && touch '/n w'",
         "echo \"$A|$B|${C-unset}|$0\" > /values", "pwd > /pwd; id -u > /id; umask > /umask", "env | grep -E '^(A|B|C|D_1|ID2|e)=' | sort > /env", "mkdir -p /opt && ln -s /l /opt/here; cd /tmp && touch .wh.no 'a\"b' 2>/dev/null; rm -f .wh.no",
         "test -f /x/a.txt && rm /x/a.txt && mkdir /x/a.txt; true", "ls -a /x /w > /listing 2>&1; mv /listing /tmp; chmod 640 /tmp/listing; chown nobody /tmp/listing"]


def with_xattr():
    """A file with an attribute, a hard link to it, a directory that is shut, a device's like and a name that is no word."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=tarfile.PAX_FORMAT) as tar:
        def entry(name, kind, mode, text=b"", target="", **pax):
            e = tarfile.TarInfo(name)
            e.type, e.mode, e.size, e.linkname, e.uid, e.gid, e.pax_headers = kind, mode, len(text), target, 11, 12, pax
            tar.addfile(e, io.BytesIO(text))
        entry("odd/", tarfile.DIRTYPE, 0o711)
        entry("odd/file", tarfile.REGTYPE, 0o640, b"attr\n", **{"SCHILY.xattr.user.told": "yes"})
        entry("odd/hard", tarfile.LNKTYPE, 0o640, target="odd/file")
        entry("odd/soft", tarfile.SYMTYPE, 0o777, target="../odd/./file")
        entry("odd/ ' \" \\ ", tarfile.REGTYPE, 0o4755, b"#\n")
        entry("odd/" + "n" * 200, tarfile.REGTYPE, 0o600, b"long\n")
        entry("odd/pipe", tarfile.FIFOTYPE, 0o600)
    return out.getvalue()


class Writer:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.stages, self.lines = [], []

    def some(self, items, most):
        return self.r.sample(items, self.r.randint(1, most))

    def broken(self, words):
        """The words of an instruction, now and then over several lines with what does not count between them."""
        out = words[0]
        for word in words[1:]:
            gap = self.r.random()
            out += " \\\n    " if gap < 0.06 else " \\\n# a comment \\\n  " if gap < 0.09 else " \\\n\t" if gap < 0.11 else "  " if gap < 0.16 else " "
            out += word
        return out

    def add(self, *words):
        name = words[0]
        if self.r.random() < 0.1:
            name = name.lower()
        self.lines.append(self.broken([name, *words[1:]]))

    def flags(self, shell):
        flags = []
        if self.r.random() < 0.25:
            flags.append("--chown=" + self.r.choice(OWNERS if shell else OWNERS[:2]))
        if self.r.random() < 0.2:
            flags.append("--chmod=" + self.r.choice(MODES))
        self.r.shuffle(flags)
        return flags

    def place(self, many):
        place = self.r.choice(PLACES)
        return place if not many or place.endswith(("/", ".")) else place + "/"

    def copy(self, word, shell):
        flags = self.flags(shell)
        usable = [s for s in self.stages if s["name"]]
        if word == "COPY" and usable and self.r.random() < 0.3:
            stage = self.r.choice(usable)
            sources = self.some(stage["has"], 2)
            return self.add(word, "--from=" + stage["name"], *flags, *sources, self.place(len(sources) > 1))
        if self.r.random() < 0.15:
            sources = self.some(ODD, 2)
            return self.add(word, *flags, "[" + ", ".join(f'"{w}"' for w in [*sources, self.place(len(sources) > 1)]) + "]")
        if word == "ADD":
            flags = [f for f in flags if not f.startswith("--chmod")]
        sources = self.some(SOURCES + (["odd.tar"] if word == "ADD" else []), 3)
        return self.add(word, *flags, *sources, self.place(len(sources) > 1 or any(c in "*?[" for c in sources[0])))

    def instruction(self, shell):
        kind = self.r.choice(["COPY"] * 8 + ["ADD"] * 4 + ["RUN"] * 6 + ["ENV"] * 4 + ["ARG"] * 3 + ["WORKDIR"] * 3 + ["LABEL"] * 2 + ["USER", "EXPOSE", "CMD", "ENTRYPOINT", "STOPSIGNAL", "HEALTHCHECK", "ONBUILD"])
        if kind in ("COPY", "ADD"):
            self.copy(kind, shell)
        elif kind == "RUN" and shell:
            self.add(kind, self.r.choice(SETUP))
        elif kind in ("ENV", "LABEL"):
            pairs = [f"{self.r.choice(NAMES)}{'.l' if kind == 'LABEL' else ''}={self.r.choice(VALUES)}" for _ in range(self.r.randint(1, 3))]
            self.add(kind, *(pairs if self.r.random() < 0.85 else [self.r.choice(NAMES), "in the old", "form $A"]))
        elif kind == "ARG":
            self.add(kind, self.r.choice(NAMES) + self.r.choice(["", "=" + self.r.choice(VALUES)]))
        elif kind == "WORKDIR":
            self.add(kind, self.r.choice(["/w", "w2", "/w/x/y", "$A/in", "/${B}", "/l/work", "./dot", ".."]))
        elif kind == "USER":
            self.add(kind, self.r.choice(["root", "0", "0:0", "root:root"]))
        elif kind == "EXPOSE":
            self.add(kind, *self.r.choice([["80"], ["443/tcp", "53/udp"], ["${ID}0"]]))
        elif kind in ("CMD", "ENTRYPOINT"):
            self.add(kind, self.r.choice(["echo $A  two", "[\"a\", \"b c\", \"$A\"]", "[ \"x\" ]", "exec 'q' \\\"r\\\""]))
        elif kind == "STOPSIGNAL":
            self.add(kind, self.r.choice(["SIGTERM", "9", "SIGUSR1"]))
        elif kind == "HEALTHCHECK":
            self.add(kind, *self.r.choice([["NONE"], ["--interval=5s", "--retries=3", "CMD", "true $A"], ["CMD", "[\"t\", \"u\"]"]]))
        elif kind == "ONBUILD" and len(self.stages) < 3:
            self.add(kind, *self.r.choice([["ENV", "TRIGGERED=$A"], ["COPY", "a.txt", "/triggered/"], ["WORKDIR", "trig"], ["LABEL", "t=$B"]]))

    def stage(self, last):
        r = self.r
        bases = ["busybox"] * 4 + ["scratch"] + [s["name"] for s in self.stages if s["name"]] * 2
        base = r.choice(bases)
        known = {s["name"]: s for s in self.stages}
        shell = base == "busybox" or base in known and known[base]["shell"]
        name = f"s{len(self.stages)}"
        self.add("FROM", base if base != "busybox" or r.random() < 0.7 else "$BASE", *(["AS", name]))
        if r.random() < 0.8:
            self.add("ARG", "A" if r.random() < 0.5 else "A=of-stage")
        self.add("ENV", f"B={r.choice(['b', 'bee', '$A'])}x", "ID=7")
        if shell and r.random() < 0.7:
            for command in self.some(SETUP[:7], 3):
                self.add("RUN", command)
        self.add("COPY", "a.txt", "/has")
        self.add("COPY", "d", "/hasdir/")
        for _ in range(r.randint(4, 12 if last else 7)):
            self.instruction(shell)
        has = ["/has", "/hasdir", "hasdir/", "/hasdir/sub", "/has*", "/hasdir/*.txt", "/hasdir/link"]
        self.stages.append({"name": name, "shell": shell, "has": has + (["/bin/sh", "/tmp", "/etc/p*"] if shell else [])})

    def text(self):
        self.lines.append("ARG BASE=busybox")
        if self.r.random() < 0.7:
            self.lines.append("ARG A=global")
        count = self.r.randint(1, 3)
        for i in range(count):
            self.stage(i == count - 1)
            if self.r.random() < 0.3:
                self.lines.append("\n  # between stages")
        return "\n".join(self.lines) + "\n"


def seeds():
    first, _, last = os.environ.get("BUILDS_SEEDS", "").partition("-")
    return range(int(first), int(last or first) + 1) if first else SEEDS


def generate(seed):
    w = Writer(seed)
    text = w.text()
    files = {"odd.tar": with_xattr()}
    if w.r.random() < 0.4:
        files[".dockerignore"] = "\n".join(w.some(PATTERNS, 4)) + "\n!a.txt\n"
    args = {"A": "given"} if w.r.random() < 0.4 else {}
    case(f"generated {seed}", text, files=files, args=args, either=True)


for seed in seeds():
    generate(seed)
