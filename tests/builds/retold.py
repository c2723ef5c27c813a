"""What BuildKit's frontend and buildah's conformance programme try of their builders, retold in Dockerfiles of ours. See cases.py.

Where the peer is older than the language's word, `peer` says in its own words what BuildKit's tests expect."""
import io
import tarfile

from cases import archive, case


def whole_archive():
    """One that has its directory itself."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:") as tar:
        for path, kind in (("packed", tarfile.DIRTYPE), ("packed/one", tarfile.REGTYPE)):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = kind, 0o755
            tar.addfile(entry)
    return out.getvalue()


def link_archive(name, target):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        tar.addfile(entry)
    return out.getvalue()


# --- COPY: where it goes

case("retold: an empty destination is the working directory", "FROM busybox\nENV empty=\"\"\nWORKDIR /w\nCOPY a.txt $empty\nCOPY --link b.txt ${empty}\n",
     peer="FROM busybox\nENV empty=\"\"\nWORKDIR /w\nCOPY a.txt ./\nCOPY b.txt ./\n")
case("retold: one wildcard of several finds nothing", "FROM scratch\nCOPY a.txt nomatch* d/*.md /x/\nCOPY no*thing b.txt /\n")
case("retold: a missing file beside a wildcard that finds some", "FROM scratch\nCOPY missing d* /x/\n", refused="missing")
case("retold: no wildcard finds anything", "FROM scratch\nCOPY no1* no2* /x/\n", refused="no1* no2*")
case("retold: one wildcard finds several for a directory", "FROM busybox\nRUN mkdir /there\nCOPY [ab].txt /there\nCOPY d/*.?? /etc\n")
case("retold: archives by a wildcard into one place", "FROM scratch\nADD *.tar /dest\n",
     files={"fake.tar": archive("w:", "other")})
case("retold: a directory on its own path twice", "FROM scratch\nCOPY d sub\nCOPY d sub\nCOPY d/one.txt dest/one.txt\nCOPY d/one.txt dest/one.txt\nCOPY d dest\n")
case("retold: relative places", "FROM busybox\nWORKDIR /test1\nWORKDIR test2\nCOPY a.txt ./\nADD a.txt ./bar/baz\nCOPY a.txt ./bar/baz2\nWORKDIR ..\nCOPY a.txt ./\n"
     "COPY a.txt /test3/\nWORKDIR /test4\nCOPY d .\nWORKDIR /test5/test6\nCOPY a.txt ../\nCOPY b.txt ..\nCOPY a.txt b.txt ../..\n",
     peer="FROM busybox\nWORKDIR /test1\nWORKDIR test2\nCOPY a.txt ./\nADD a.txt ./bar/baz\nCOPY a.txt ./bar/baz2\nWORKDIR ..\nCOPY a.txt ./\n"
     "COPY a.txt /test3/\nWORKDIR /test4\nCOPY d .\nWORKDIR /test5/test6\nCOPY a.txt ../\nCOPY b.txt ../\nCOPY a.txt b.txt ../../\n")
case("retold: names that look encoded", "FROM scratch\nCOPY t-\u00e4\u00f6\u00fc.txt t-%C3%A4.txt t+aou.txt /\nCOPY \u65e5\u672c /\u8a9e\n",
     files={"t-\u00e4\u00f6\u00fc.txt": "1", "t-%C3%A4.txt": "2", "t+aou.txt": "3", "\u65e5\u672c": "4"})
case("retold: wildcards that are escaped", "FROM scratch\nCOPY app/n\\?pe/file.txt /a/\nCOPY app/st\\*uv/file.txt /b/\n",
     files={"app/n?pe/file.txt": "1\n", "app/nope/file.txt": "2\n", "app/st*uv/file.txt": "3\n", "app/strauv/file.txt": "4\n"})
case("retold: wildcards for files and directories", "FROM scratch\nCOPY *.txt /t/\nCOPY a*.txt one.txt\nCOPY d/s* /s/\nCOPY */sub/three.txt /p/\nCOPY d/sub/d*p/four /r/bar\nCOPY d/sub/ s4\nCOPY d/sub/. s5\nCOPY d/sub s6\n")

# --- COPY: links

case("retold: through a link of the context", "FROM scratch\nCOPY dir.link/one.txt .\nCOPY dir.link/sub /s\nCOPY d/out /o\n")
case("retold: through links of a stage", "FROM busybox AS b\nRUN mkdir -p /out/sub && ln -s /out/sub /sub && ln -s out/sub /sub2 && echo data > /sub/foo && ln -s ../../out /out/up\nFROM scratch\nCOPY --from=b /sub/foo .\nCOPY --from=b /sub2/foo bar\nCOPY --from=b /sub /dir\nCOPY --from=b /out/up/sub/../sub/foo /far\n",
     peer="FROM busybox AS b\nRUN mkdir -p /out/sub && ln -s /out/sub /sub && ln -s out/sub /sub2 && echo data > /sub/foo && ln -s ../../out /out/up\nFROM scratch\nCOPY --from=b /sub/foo .\nCOPY --from=b /sub2/foo bar\nCOPY --from=b /sub /dir\nCOPY --from=b /out/sub/foo /far\n")
case("retold: links by a wildcard stand for their files", "FROM scratch\nCOPY first /\nCOPY l/l* all/\n",
     files={"bar": "b\n", "first": ("-> bar",), "l/lfile": "f\n", "l/l0": ("-> sub",), "l/sub": "s\n", "l/l1": ("-> second",), "l/second": ("-> baz",), "l/baz": "z\n"})
case("retold: a link and a directory for each other", "FROM busybox\nRUN mkdir /tree && mkdir /tree/d && echo 1 > /tree/d/f && ln -s d /tree/l\nRUN rm /tree/l && mkdir /tree/l && echo 2 > /tree/l/g\nRUN rm -r /tree/d && ln -s l /tree/d\nCOPY a.txt /tree/d/\n")
case("retold: an archive's link leads the next copy", "FROM scratch\nADD way.tar /\nCOPY a.txt /way/\n", files={"way.tar": link_archive("way", "../tmp/target")})
case("retold: hard links stay within what is copied", "FROM busybox AS b\nRUN mkdir -p /t/sub && cp -p /etc/passwd /t/ && ln /t/passwd /t/sub/passwd && ln /t/sub/passwd /t/sub/again\nFROM scratch\nCOPY --from=b /t/sub /sub\n")

# --- COPY: owners and modes

EXISTING = """
FROM busybox AS source
RUN touch /file && chown 100:200 /file && mkdir -p /dir/sub && touch /dir/sub/nested && chown 100:200 /dir && chown 101:201 /dir/sub && chown 102:202 /dir/sub/nested
FROM busybox
RUN mkdir -p /there/sub && touch /there/file && chown 500:600 /there && chown 501:601 /there/sub /there/file
COPY --from=source {0}/file .
COPY --from=source {0}/dir /dir
COPY --from=source {0}/dir/. /there
COPY --from=source {0}/dir /there/sub
"""
case("retold: owners where a directory is already", EXISTING.format(""))
case("retold: --chown where a directory is already", EXISTING.format("--chown=300:400 "))
case("retold: --chown by variables makes the way too", "FROM busybox\nARG group\nENV owner=user\nCOPY --chown=user:extra d /dest\nCOPY --chown=${owner}:${group} d /a/b/dest01\nCOPY --chown=1000:nobody a.txt /baz\n",
     args={"group": "extra"})
case("retold: USER owns nothing that is copied", "FROM busybox AS a\nRUN touch /t && chown 65:65 /t\nFROM busybox\nUSER 66:66\nCOPY --from=a /t /t\nCOPY --from=a --chown=1:1 /t /t2\nCOPY a.txt /a\nCOPY --chown=1:1 a.txt /b\nADD d /d\n")
case("retold: --chown upon what is there", "FROM scratch\nCOPY d/ sub/\nCOPY --chown=99:99 d/ sub/\nCOPY --chown=98:98 d other/\nCOPY d other/\n")
case("retold: modes", "FROM busybox\nCOPY --chmod=0644 a.txt /foo\nCOPY --chmod=777 d /baz\nCOPY --chmod=0 a.txt /none\nARG mode\nCOPY --chmod=${mode} a.txt /footer\n", args={"mode": "755"})
case("retold: a mode with a letter", "FROM scratch\nCOPY --chmod=64a a.txt /\n", refused="--chmod")
case("retold: a mode that is too large", "FROM scratch\nCOPY --chmod=10000 a.txt /\n", refused="--chmod")
SYMBOLIC = ("go-w", "u=rw,g=r,o=r", "a+X")
case("retold: symbolic modes", "FROM busybox AS base\nRUN mkdir -p /in/dir && touch /in/file && chmod 666 /in/file && chmod 124 /in/dir\nFROM scratch\n"
     + "".join(f"COPY --from=base --chmod={m} /in/file /f{i}\n" for i, m in enumerate(SYMBOLIC))
     + "COPY --from=base --chmod=go-w /in /d1/\nCOPY --from=base --chmod=u+rw,g+r,o-x,o+w /in /d2/\nCOPY --from=base --chmod=a+X /in /d3/\n",
     peer="FROM busybox AS base\nRUN mkdir -p /in/dir && touch /in/file && chmod 666 /in/file && chmod 124 /in/dir\n"
     "RUN mkdir /r && for d in 1 2 3; do cp -a /in /r/d$d; done && chmod 644 /r/d1/file && chmod 104 /r/d1/dir && chmod 666 /r/d2/file && chmod 766 /r/d2/dir && chmod 666 /r/d3/file && chmod 135 /r/d3/dir"
     " && cp -a /in/file /r/f0 && chmod 644 /r/f0 && cp -a /in/file /r/f1 && chmod 644 /r/f1 && cp -a /in/file /r/f2\nFROM scratch\nCOPY --from=base /r /\n")
case("retold: special bits of another stage", "FROM busybox\nRUN mkdir /a && echo w > /a/u && chmod u+xs /a/u && echo w > /a/g && chmod g+xs /a/g && echo w > /a/t && chmod +xt /a/t && mkdir -m 3770 /a/d\nFROM scratch\nCOPY --from=0 /a/u /a/g /a/t /\nCOPY --from=0 /a /a\n")

# --- COPY --parents (the peer does not know it)

TREE = "FROM busybox AS base\nWORKDIR /test\nRUN mkdir -p a/b/c/d/e a/b2/c/d/e a/b/c2/d/e a/b/c2/d/e2 && touch a/b/c/d/foo a/b/c/d/e/bay a/b2/c/d/e/bar a/b/c2/d/e/baz a/b/c2/d/e2/baz\n"


def parents(name, sources, makes):
    """The copy of `sources` to /out, and the files and directories that come of it."""
    case("retold: parents: " + name, TREE + f"FROM busybox\nCOPY --from=base --parents {sources} /out/\n",
         peer=TREE + f"FROM busybox\nRUN mkdir -p /out {' '.join('/out/' + m[:-1] for m in makes if m.endswith('/')) or '/out'}"
         + "".join(f" && mkdir -p $(dirname /out/{m}) && touch /out/{m}" for m in makes if not m.endswith("/")) + "\n")


parents("from a point on", "/test/a/b/./c/d", ["c/d/foo", "c/d/e/bay"])
parents("a point at the end", "/test/a/b/c/d/.", ["test/a/b/c/d/foo", "test/a/b/c/d/e/bay"])
parents("a point at the beginning", "./test/a/b/c/d", ["test/a/b/c/d/foo", "test/a/b/c/d/e/bay"])
parents("two points", "/test/a/./b/./c", ["b/c/d/foo", "b/c/d/e/bay"])
parents("a star behind the point", "/test/a/./*/c", ["b/c/d/foo", "b/c/d/e/bay", "b2/c/d/e/bar"])
parents("two stars", "/test/a/b*/./c/**/e", ["c/d/e/bay", "c/d/e/bar"])
parents("two sources with stars", "/test/a/b/c*/./d/**/baz /test/a/b*/./c/**/bar", ["d/e/baz", "d/e2/baz", "c/d/e/bar"])
case("retold: parents of the context", "FROM scratch\nCOPY --parents d/sub/three.txt /\nWORKDIR /test\nCOPY --parents d/sub/t* d/sub/deep/f* .\n",
     peer="FROM scratch\nCOPY d/sub/three.txt /d/sub/\nWORKDIR /test\nCOPY d/sub/three.txt d/sub/\nCOPY d/sub/deep/four d/sub/deep/\n")

# --- COPY --from

case("retold: a variable in --from", "FROM scratch\nARG FOO=busybox\nCOPY --from=$FOO /etc /x\n", refused="variables are not expanded in --from")
case("retold: a stage hides an image of its name", "FROM busybox AS busybox\nRUN mkdir -p /usr/bin && echo foo > /usr/bin/go\nFROM scratch\nCOPY --from=busybox /usr/bin/go go\n")
case("retold: stages by any case", "FROM scratch AS STAge0\nCOPY a.txt bar\nFROM scratch AS staGE1\nCOPY --from=staGE0 bar baz\nFROM scratch\nCOPY --from=stage1 baz bax\n", target="Stage1",
     peer="FROM scratch AS stage0\nCOPY a.txt bar\nFROM scratch AS Stage1\nCOPY --from=stage0 bar baz\n")
case("retold: a stage that comes later", "FROM busybox AS target\nCOPY --from=build / /out\nFROM busybox AS build\nCOPY a.txt /d2\nFROM target\n", refused="--from=build: a stage can only be copied from by those below it")
case("retold: a stage's working directory is not its root", "FROM busybox AS base\nWORKDIR /foo\nCOPY a.txt /\nCOPY b.txt .\nFROM busybox\nCOPY --from=base a.txt .\nCOPY --from=base foo /foo\n")
case("retold: a file goes with the stage that had it", "FROM busybox AS layer\nRUN mkdir /r && touch /r/layer\nFROM layer AS derived\nRUN touch /r/derived && rm /r/layer\nFROM busybox\nCOPY --from=layer /r /r\nCOPY --from=derived /r /s\n")

# --- ARG, ENV

case("retold: several arguments at once", "ARG a1=\"foo bar\" a2=box\nARG a3=\"$a2-foo\"\nFROM busy$a2 AS build\nARG a3 a4=\"123 456\" a1\nRUN echo -n \"$a1:$a3:$a4\" > /out\nFROM scratch\nCOPY --from=build /out .\n")
case("retold: quotes around global arguments", "ARG a1=\"box\"\nARG a2=\"$a1-foo\"\nFROM busy$a1 AS build\nARG a2\nARG a3=\"bar-$a2\"\nRUN echo -n $a3 > /out\n")
for given, override in (("nothing", None), ("an empty one", ""), ("a value", "override")):
    case("retold: an argument's default in ENV with " + given,
         "ARG image=idlebox\nFROM busy${image#idle}\nARG my_arg\nENV my_arg \"my_arg=${my_arg:-def_val}\"\nENV trimmed \"${my_arg%%e*}\"\nRUN echo -n $my_arg $trimmed > /out\n",
         peer="FROM busybox\nARG my_arg\nENV my_arg \"my_arg=${my_arg:-def_val}\"\nENV trimmed " + ("my_arg=ov" if override else "my_arg=d") + "\nRUN echo -n $my_arg $trimmed > /out\n",
         args={} if override is None else {"my_arg": override})
case("retold: what has no value is not in the environment", "FROM busybox\nARG FOO\nARG BAR=\nRUN env | grep -c ^BAR=$ > /bar; env | grep -c ^FOO > /foo; true\n")
case("retold: percent signs", "FROM busybox\nENV myenv foo%sbar\nRUN echo \"$myenv\" > /out\n")
case("retold: a proxy in small letters is one in capitals", "FROM busybox\nARG FOO\nARG BAZ=baz\nRUN echo $HTTP_PROXY::$http_proxy::$NO_PROXY::$no_proxy::$FOO::$BAZ > /out\n",
     args={"FOO": "foo", "http_proxy": "hp", "NO_PROXY": "np", "no_proxy": "other"},
     peer="FROM busybox\nRUN echo hp::hp::np::other::foo::baz > /out\n")
case("retold: a global argument that must be given", "ARG FOO=${FOO:?\"custom error\"}\nFROM busybox\n", refused="FOO: custom error")
case("retold: an argument's default that needs another", "FROM busybox\nARG FOO\nARG BAR=${FOO:?\"foo missing\"}\n", refused="FOO: foo missing")
case("retold: a default that is not needed is expanded all the same", "FROM busybox\nARG FOO\nARG BAR=${FOO:-x}\nENV V=$BAR\n", args={"BAR": "123"})
TARGETSTAGE = "FROM busybox AS base\nRUN echo \"value:$TARGETSTAGE\" > /first\nARG TARGETSTAGE\nRUN echo \"value:$TARGETSTAGE\" > /second\nFROM scratch AS foo\nCOPY --from=base /first /second /\nFROM scratch{}\nCOPY --from=base /first /second /\n"
for what, end, target, value in (("of --target", "", "foo", "foo"), ("without a name", "", None, "default"), ("of the last stage", " AS final", None, "final")):
    case("retold: TARGETSTAGE " + what, TARGETSTAGE.format(end), target=target,
         peer=f"FROM busybox AS base\nRUN echo value: > /first && echo value:{value} > /second\nFROM scratch AS foo\nCOPY --from=base /first /second /\n")
case("retold: ENV in the old form", "FROM busybox\nENV SCUBA 1 DUBA 3\nENV DUBA \"1 DUBA 3\"\nENV X a=b\nENV Y   two  spaces\t\nENV Z 'q' \"r\"\n")
QUOTES = (r'''name="value value1"''', r'''name=value\ value2 name2=value2\ value3''', r'''name="value'quote space'value2"''', r"""name='value"double quote"value2'""", r'''name="a\"b"''',
          r"""name="a\'b" """, r"""name='a\'b''""", r"""name='a\"b'""", r'''name="''"''', r'''name="a\nb" n2=a\\nb n3="a\\nb" n4='a\nb' ''')
for i, quotes in enumerate(QUOTES):
    case(f"retold: ENV quotes {i}", f"FROM scratch\nCOPY a.txt .\nENV {quotes}\n")
case("retold: ENV with a quote that is not closed", "FROM scratch\nENV name='a\\'b'\n", refused="a single quote is not closed")
case("retold: ENV over lines with the last one continued", "FROM scratch\nCOPY a.txt .\nENV name=value \\\n    name1=value1 \\\n    name2=\"value2a \\\n           value2b\" \\\n    name3=\"value3a\\n\\\"value3b\\\"\" \\\n        name4=\"value4a\\\\nvalue4b\" \\")
case("retold: ENV goes before ARG in later stages", "FROM busybox AS a\nARG A=1\nENV A=2\nARG A=3\nFROM a AS b\nARG A=4\nARG B=$A\nRUN echo $A $B > /x\nFROM b\nARG B=5\nENV C=$A$B\n", args={"A": "given"})

# --- EXPOSE, LABEL, CMD and the like

case("retold: ports of a variable", "FROM scratch\nCOPY a.txt /\nARG PORTS=\"3000 4000/udp\"\nEXPOSE $PORTS\nEXPOSE 5000\n",
     peer="FROM scratch\nCOPY a.txt /\nEXPOSE 3000 4000/udp 5000\n")
case("retold: a port in capitals and in one range", "FROM scratch\nCOPY a.txt /\nEXPOSE 80/TCP 8000-8002/udp\n", peer="FROM scratch\nCOPY a.txt /\nEXPOSE 80/tcp 8000/udp 8001/udp 8002/udp\n")
case("retold: ENTRYPOINT takes the base's CMD away", "FROM scratch AS a\nCOPY a.txt /\nCMD [\"test\"]\nFROM a\nSHELL [\"ls\"]\nENTRYPOINT my entrypoint\n",
     peer="FROM scratch AS a\nCOPY a.txt /\nFROM a\nSHELL [\"ls\"]\nENTRYPOINT [\"ls\", \"my entrypoint\"]\n")
case("retold: a shell form without an image", "FROM scratch\nENTRYPOINT foo bar\nCOPY a.txt .\n")
case("retold: RUN does not run the entry point", "FROM busybox\nENTRYPOINT [\"/nosuchcmd\"]\nRUN [\"ls\"]\nRUN echo x > /x\n")
case("retold: brackets that are no JSON", "FROM busybox\nENTRYPOINT []random string\nCMD [\"a\"] b\n",
     peer="FROM busybox\nENTRYPOINT [\"/bin/sh\", \"-c\", \"[]random string\"]\nCMD [\"/bin/sh\", \"-c\", \"[\\\"a\\\"] b\"]\n")
case("retold: JSON and more is a command", "FROM busybox\nRUN [\"echo\", \"hello\"]this is invalid\n", refused="this is invalid")
case("retold: a command that is not there", "FROM busybox\nRUN invalidcmd\n", refused="/bin/sh -c invalidcmd")
case("retold: a misspelt instruction", "FROM scratch\nFNTRYPOINT [\"/bin/sh\"]\n", refused="did you mean ENTRYPOINT?")
case("retold: no stage at all", "ARG foo=bar\n", refused="FROM")
case("retold: edges", """
FROM busybox
MAINTAINER docker <docker@docker.io>
ONBUILD RUN ["echo", "test"]
ONBUILD RUN echo test
ONBUILD COPY . /


# RUN Commands \\
# linebreak in comment \\
RUN ["ls", "-la"]
RUN ["echo", "'1234'"]
RUN echo '1234' && \\
    echo "456" && \\
    echo 789
RUN    sh -c 'echo root:testpass \\
        > /tmp/passwd'
RUN mkdir -p /test /test2 /test3/test

# CMD \\
CMD ["echo", "test"]
CMD echo test
CMD echo 'test' | wc -

#EXPOSE\\
EXPOSE 3000
EXPOSE 9000 5000 6000

USER docker
USER docker:root

VOLUME ["/test"]
VOLUME ["/test", "/test2"]
VOLUME /test3

WORKDIR /test

ADD d /
COPY d copy
""")
case("retold: what is written to a volume stays", "FROM busybox\nRUN mkdir -p /vol/sub && echo 1 > /vol/a\nVOLUME /vol\nCOPY a.txt /vol/copied\nADD d /vol/sub\n")
case("retold: health checks", "FROM scratch\nCOPY a.txt .\nHEALTHCHECK --interval=1ms --timeout=0s --retries=0 CMD a b\n",
     peer="FROM scratch\nCOPY a.txt .\nHEALTHCHECK --interval=1ms CMD a b\n")
case("retold: a health check that is too often", "FROM scratch\nHEALTHCHECK --interval=50ns CMD a\n", refused="cannot be less than 1ms")
for word in ("MAINTAINER", "WORKDIR", "USER", "STOPSIGNAL", "ENV", "LABEL", "ONBUILD", "HEALTHCHECK", "EXPOSE", "VOLUME", "SHELL", "ARG", "FROM"):
    case(f"retold: {word} without arguments", f"FROM scratch\n{word}\n", refused=f"{word} requires at least one argument")
case("retold: an unknown flag of MAINTAINER", "FROM scratch\nMAINTAINER --boo jo@example.com\n", refused="unknown flag: --boo")
case("retold: a misspelt flag of RUN", "FROM busybox\nRUN --mont=target=/mytmp,type=tmpfs true\n", refused="did you mean --mount?")

# --- users

GROUPS = "RUN echo 'dockerio:x:1001:1001::/bin:/bin/false' >> /etc/passwd && printf 'dockerio:x:1001:\\nsupplementary:x:1002:dockerio\\n' >> /etc/group && mkdir -m 777 /out\n"
case("retold: users and their groups", "FROM busybox\n" + GROUPS + "".join(
    f"USER {user}\nRUN id -u > /out/{i}; id -g >> /out/{i}; id -G >> /out/{i}\n" for i, user in enumerate(
        ("root", "dockerio", "1001", "dockerio:dockerio", "1001:dockerio", "dockerio:1001", "1001:1001", "dockerio:supplementary", "1001:1002", "1042:1043", "1234", "0:7"))))
case("retold: a directory made for USER", "FROM busybox\nRUN mkdir /mine && chown user:extra /mine\nUSER user\nWORKDIR /created/dir\nWORKDIR /mine\n")

# --- heredocs (the peer is older than they are)

case("retold: heredocs with owners and modes", "FROM busybox\nWORKDIR /dest\nCOPY <<EOF single\nsingle file\nEOF\nCOPY <<EOF <<EOF2 double/\nfirst file\nEOF\nsecond file\nEOF2\nCOPY --chmod=777 <<EOF /p/all\nd\nEOF\nCOPY --chown=user:extra <<EOF /p/owned\nd\nEOF\nCOPY a.txt <<EOF d/one.txt /mixed/\nm\nEOF\n",
     peer="FROM busybox\nWORKDIR /dest\nCOPY h1 single\nCOPY h1 double/EOF\nCOPY h2 double/EOF2\nCOPY --chmod=777 h3 /p/all\nCOPY --chown=user:extra h3 /p/owned\nCOPY a.txt d/one.txt /mixed/\nCOPY h4 /mixed/EOF\nRUN echo 'first file' > double/EOF\n",
     files={"h1": "single file\n", "h2": "second file\n", "h3": "d\n", "h4": "m\n"})
case("retold: special letters in heredocs", "FROM scratch\nCOPY <<EOF q\n\"quotes\" 'here'\nEOF\nCOPY <<EOF s1\n\\\nEOF\nCOPY <<EOF s2\n\\\\\nEOF\nCOPY <<EOF s3\n\\$ \\n\nEOF\nCOPY <<\"EOF\" r1\n\\\nEOF\nCOPY <<\"EOF\" r2\n\\\\\nEOF\nCOPY <<\"EOF\" r3\n\\$ \\n\nEOF\n",
     peer="FROM scratch\nCOPY hq q\nCOPY h1 s1\nCOPY h2 s2\nCOPY h3 s3\nCOPY h4 r1\nCOPY h5 r2\nCOPY h6 r3\n",
     files={"hq": "\"quotes\" 'here'\n", "h1": "\n", "h2": "\\\n", "h3": "$ n\n", "h4": "\\\n", "h5": "\\\\\n", "h6": "\\$ \\n\n"})
case("retold: variables in heredocs", "FROM busybox\nARG name=world\nCOPY <<EOF /c1\nHello ${name}!\nEOF\nCOPY <<'EOF' /c2\nHello ${name}!\nEOF\nCOPY <<EOF /q1\nHello '${name}' \"${name}\"!\nEOF\nRUN <<EOF\ngreeting=\"Hello\"\necho \"${greeting} ${name}!\" > /r1\nEOF\nRUN <<EOF\nname=\"new world\"\necho \"Hello ${name}!\" > /r2\nEOF\n",
     peer="FROM busybox\nRUN echo 'Hello world!' > /c1; echo 'Hello ${name}!' > /c2; printf \"Hello 'world' \\\"world\\\"!\\\\n\" > /q1; echo 'Hello world!' > /r1; echo 'Hello new world!' > /r2\n")
case("retold: heredocs are cut by their dash", "FROM busybox\nCOPY <<EOF /fc\n\tfoo\nEOF\nCOPY <<-EOF /bc\n\tbar\nEOF\nRUN <<EOF\necho \"\n\tfoo\" > /fr\nEOF\nRUN <<-EOF\necho \"\n\tbar\" > /br\nEOF\nRUN <<EOF\n#!/bin/sh\necho \"\n\tfoo\" > /f2\nEOF\nRUN <<-EOF\n#!/bin/sh\necho \"\n\tbar\" > /b2\nEOF\nRUN <<EOF sh > /f3\necho \"\n\tfoo\"\nEOF\nRUN <<-EOF sh > /b3\necho \"\n\tbar\"\nEOF\n",
     peer="FROM busybox\nRUN printf '\\tfoo\\n' > /fc; printf 'bar\\n' > /bc; for f in fr f2 f3; do printf '\\n\\tfoo\\n' > /$f; done; for f in br b2 b3; do printf '\\nbar\\n' > /$f; done\n")
case("retold: heredocs for programs", "FROM busybox\nWORKDIR /dest\nRUN cat <<EOF1 | tr '[:upper:]' '[:lower:]' > ./out1; \\\n\tcat <<EOF2 | tr '[:lower:]' '[:upper:]' > ./out2\nhello WORLD\nEOF1\nHELLO world\nEOF2\n"
     "RUN <<EOF\n#!/bin/awk -f\nBEGIN {\n\tprint \"hello\" >> \"/awk\"\n}\nEOF\nRUN <<EOF 3<<IN1 4<<IN2 sh\ncat <&3 > fd3\ncat <&4 > fd4\nEOF\nthree\nIN1\nfour\nIN2\n",
     peer="FROM busybox\nWORKDIR /dest\nRUN echo 'hello world' > out1; echo 'HELLO WORLD' > out2; echo hello > /awk; echo three > fd3; echo four > fd4\n")
case("retold: a heredoc for a shell that is no shell", "FROM busybox\nSHELL [\"/bin/awk\"]\nRUN <<EOF\nBEGIN {\n\tprint \"foo\" > \"/dest\"\n}\nEOF\n",
     peer="FROM busybox\nRUN echo foo > /dest\nSHELL [\"/bin/awk\"]\n")
case("retold: names of heredocs", "FROM busybox\nRUN <<eo'f'\necho 1 > /1\neof\nRUN <<eo\\'f\necho 2 > /2\neo'f\nRUN <<$EOF\necho 3 > /3\n$EOF\nCOPY <<file.txt /d/\nx\nfile.txt\nRUN echo $((1 << 2)) > /4\n",
     peer="FROM busybox\nRUN echo 1 > /1; echo 2 > /2; echo 3 > /3; mkdir /d; echo x > /d/file.txt; echo 4 > /4\n")
case("retold: a heredoc whose name is not closed", "FROM busybox\nRUN <<'EOF\ntrue\nEOF\n", refused="is not closed")

# --- ONBUILD

case("retold: triggers run once", "FROM busybox AS base\nONBUILD RUN mkdir -p /out && echo -n yes >> /out/ran\nFROM base AS child\nRUN cat /out/ran > /step1 && rm /out/ran\nFROM child\nRUN test ! -f /out/ran && touch /step2\n")
case("retold: triggers that take from stages", "FROM busybox AS src\nRUN mkdir /in && echo 12 > /in/file\nFROM busybox AS base\nONBUILD COPY --from=src /in/file /out/foo\nFROM base AS mid\nRUN cp /out/foo /out/bar\nFROM scratch\nCOPY --from=mid /out/bar /\n",
     peer="FROM busybox AS mid\nRUN echo 12 > /bar\nFROM scratch\nCOPY --from=mid /bar /\n")
case("retold: triggers with mounts and heredocs", "FROM busybox AS input\nRUN echo foo > /foo\nFROM busybox AS base\nONBUILD RUN --mount=type=bind,target=/in,from=input cat /in/foo > /bar\nONBUILD RUN <<EOF\necho here > /doc\nEOF\nFROM base\nRUN cat /bar /doc > /both\n",
     peer="FROM busybox\nRUN echo foo > /bar; echo here > /doc; cat /bar /doc > /both\n")
case("retold: a trigger without an instruction", "FROM busybox\nONBUILD FROM scratch\n", refused="FROM isn't allowed as an ONBUILD trigger")

# --- RUN --mount (the peer knows few of them)

case("retold: the context as a mount", "FROM busybox\nRUN --mount=target=/context cat /context/a.txt > /1\nRUN --mount=source=.,target=/tmp/test --mount=source=b.txt,target=/tmp/b.txt cat /tmp/test/a.txt /tmp/b.txt > /2\n",
     peer="FROM busybox\nRUN echo a > /1; printf 'a\\nbb\\n' > /2\n")
case("retold: mounts that go", "FROM busybox\nRUN --mount=target=/tmp/m,type=tmpfs touch /tmp/m/foo\nRUN test ! -f /tmp/m/foo && echo gone > /x\nRUN --mount=type=tmpfs,target=/dev/shm,size=128m mount | grep -c 'dev/shm.*size=131072k' > /size\n",
     peer="FROM busybox\nRUN echo gone > /x; echo 1 > /size\n")
case("retold: caches by place, name and variable", "FROM busybox AS one\nARG T=cache\nENV P=/c1 I=named\nRUN --mount=type=cache,target=/c1 touch /c1/foo\nRUN --mount=type=cache,target=/c2 test ! -f /c2/foo\nRUN --mount=type=$T,target=$P test -f $P/foo\nRUN --mount=type=cache,id=named,target=/a touch /a/bar\n"
     "FROM one\nRUN --mount=type=cache,id=$I,target=/b test -f /b/bar\nRUN --mount=type=cache,target=/own,uid=1001,gid=1002,mode=0751 stat -c '%u %g %a' /own > /own.txt\n",
     peer="FROM busybox\nENV P=/c1 I=named\nRUN echo '1001 1002 751' > /own.txt\n")
case("retold: a mount that is written to and stays as it was", "FROM busybox AS build\nRUN mkdir /out && echo foo > /out/foo\nFROM busybox AS second\nRUN --mount=from=build,src=out,target=/tmp/out,rw touch /tmp/out/bar && ls /tmp/out > /list\nFROM scratch\nCOPY --from=second /list /\nCOPY --from=build /out /out\n",
     peer="FROM busybox AS build\nRUN mkdir /out && echo foo > /out/foo && printf 'bar\\nfoo\\n' > /list\nFROM scratch\nCOPY --from=build /list /\nCOPY --from=build /out /out\n")
case("retold: a misspelt key of a mount", "FROM busybox\nRUN --mount=typ=tmpfs true\n", refused="did you mean type?")
case("retold: a misspelt type of a mount", "FROM busybox\nRUN --mount=type=tmp true\n", refused="did you mean tmpfs?")

# --- ADD

case("retold: permissions of archives and of files", "FROM scratch\nADD packed.tar sub1/\nADD d/ sub2/\n")
case("retold: archives of all kinds into one place", "FROM scratch\nADD packed.tar.gz packed.tar.bz2 packed.tar.xz /sub/\nADD packed.tar .\nCOPY packed.tar.gz /kept/\n")
case("retold: an archive's file where a directory is", "FROM busybox\nRUN mkdir -p /new/packed/one/deep && echo x > /new/packed/one/deep/f && mkdir /new/packed/two\nADD packed.tar /new\n")
case("retold: an archive's directory where a file is", "FROM busybox\nRUN mkdir /new && echo x > /new/packed\nADD whole.tar /new\n", files={"whole.tar": whole_archive()})
case("retold: an archive's file under what is a file", "FROM busybox\nRUN mkdir /new && echo x > /new/packed\nADD packed.tar /new\n", refused="lies below something that is not a directory")
case("retold: an archive over a dangling link", "FROM busybox\nRUN ln -s symlink-target/subdirectory /symlink\nADD . /symlink/\n", files={".dockerignore": "*\n!a.txt\n!d\n"})
case("retold: ADD with a bad mode", "FROM scratch\nADD --chmod=64a a.txt /\n", refused="--chmod")

# --- .dockerignore

POPULATED = {f"p/{n}": f"{n}\n" for n in ("file-a", "file-b", "file-c", "sub-b/file-c", "sub-c/file-c", "sub-c/sub-d/file-d", "sub-e/file-a", "sub-e/sub-f/file-n", "sub-e/sub-f/sub-g/file-o")}
for n, text in enumerate(("**/*-a\n!**/*-c\n", "!**/*-c\n", "sub-c\n", "**/sub-c\n", "p/sub-*\n", "**/sub-f\n", "**/sub-e\n!**/sub-f\n", "**/sub-f\n!**/sub-g\n", "**\n!p/sub-e/sub-f\n",
                          "p/*\n!p/sub-*\np/sub-c/sub-d\n", "*\n!p/sub-c/\n", "p\n!p/file-a\n!p/sub-e/sub-f/sub-g/file-o\n", "*\n!p\np/**/file-c\n!p/sub-b/file-c\n")):
    case(f"retold: dockerignore {n} of a directory", "FROM scratch\nCOPY a.txt /always\nCOPY . /dot\n", files={**POPULATED, ".dockerignore": text + "!a.txt\n"})
    case(f"retold: dockerignore {n} of a wildcard", "FROM scratch\nCOPY a.txt p* /star/\n", files={**POPULATED, ".dockerignore": text + "!a.txt\n"})
case("retold: dockerignore that allows a file in a hidden directory", "FROM scratch\nCOPY p/sub-e/sub-f/file-n /n\nCOPY p/sub-e /e\n", files={**POPULATED, ".dockerignore": "*\n!p/sub-e/sub-f/file-n\n"})
case("retold: dockerignore that hides the directory meant", "FROM scratch\nCOPY p/sub-e /e\n", files={**POPULATED, ".dockerignore": "*\n!p/sub-c\n"}, refused="p/sub-e")
case("retold: dockerignore that hides the file meant", "FROM scratch\nCOPY p/sub-c/file-c /e\n", files={**POPULATED, ".dockerignore": "**/sub-c\n!p/sub-c/sub-d\n"}, refused="p/sub-c/file-c")
case("retold: dockerignore with an exception of nothing", "FROM scratch\nCOPY . .\n", files={".dockerignore": "!\n"}, refused="illegal exclusion pattern")
case("retold: a Dockerfile's own ignore file", "FROM busybox\nCOPY . /all\nRUN test ! -e /all/d && test -e /all/a.txt && rm -r /all && echo yes > /ok\n",
     files={"Dockerfile.dockerignore": "d\n", ".dockerignore": "a.txt\n"}, peer="FROM busybox\nRUN echo yes > /ok\n")

# --- what is left out, and what is kept of a path (the peer knows neither flag)

ZOO = {f"x/{n}": n for n in ("dir1/101.png", "dir1/102.txt", "dir1/103.jpeg", "dir2/201.pdf", "dir2/202.jpeg", "dir2/203.png", "dir3/301.mp3", "dir3/302.mpeg")}
case("retold: files left out below a directory", "FROM scratch\nCOPY --exclude=*/*.png --exclude=*/*.jpeg x /1\nCOPY --exclude=*/*.pdf --exclude=*/*.txt x /2\nADD --exclude=*.mp3 x/dir3/ /3/\n",
     peer="FROM scratch\nCOPY x/dir1/102.txt /1/dir1/\nCOPY x/dir2/201.pdf /1/dir2/\nCOPY x/dir3 /1/dir3/\nCOPY x/dir1/101.png x/dir1/103.jpeg /2/dir1/\nCOPY x/dir2/202.jpeg x/dir2/203.png /2/dir2/\nCOPY x/dir3 /2/dir3/\nCOPY x/dir3/302.mpeg /3/\n",
     files=ZOO)
case("retold: files left out of what a wildcard finds", "FROM scratch\nCOPY --exclude=*.mp3 --exclude=*.jpeg --exclude=*.png --exclude=*.pdf --exclude=*.txt x/dir* /4/\nADD --exclude=*.mp* --exclude=*.jpeg --exclude=*.png --exclude=*.pdf x/dir* /5\n",
     peer="FROM scratch\nCOPY x/dir3/302.mpeg /4/\nCOPY x/dir1/102.txt /5/\n", files=ZOO)
case("retold: files of a stage left out", "FROM scratch AS s\nCOPY x /\nFROM scratch\nCOPY --from=s --exclude=*/*.png --exclude=*/*.jpeg . /1\nCOPY --from=s --exclude=*.mp3 dir3/ /3/\n",
     peer="FROM scratch\nCOPY x/dir1/102.txt /1/dir1/\nCOPY x/dir2/201.pdf /1/dir2/\nCOPY x/dir3 /1/dir3/\nCOPY x/dir3/302.mpeg /3/\n", files=ZOO)

TREE = "FROM busybox AS base\nWORKDIR /test\nRUN mkdir -p a/b/c/d/e a/b2/c/d/e a/b/c2/d/e a/b/c2/d/e2 && touch a/b/c/d/foo a/b/c/d/e/bay a/b2/c/d/e/bar a/b/c2/d/e/baz a/b/c2/d/e2/baz\nFROM scratch\n"
for n, (ours, theirs) in enumerate((
        ("/test/a/b/./c/d", "COPY --from=base /test/a/b/c/d /out/c/d/\n"),
        ("/test/a/b/c/d/.", "COPY --from=base /test/a/b/c/d /out/test/a/b/c/d/\n"),
        ("./test/a/b/c/d", "COPY --from=base /test/a/b/c/d /out/test/a/b/c/d/\n"),
        ("/test/a/./b/./c", "COPY --from=base /test/a/b/c /out/b/c/\n"),
        ("/test/a/./*/c", "COPY --from=base /test/a/b/c /out/b/c/\nCOPY --from=base /test/a/b2/c /out/b2/c/\n"),
        ("/test/a/b*/./c/**/e", "COPY --from=base /test/a/b/c/d/e /test/a/b2/c/d/e /out/c/d/e/\n"),
        ("/test/a/b/c*/./d/**/baz /test/a/b*/./c/**/bar", "COPY --from=base /test/a/b/c2/d/e/baz /out/d/e/\nCOPY --from=base /test/a/b/c2/d/e2/baz /out/d/e2/\nCOPY --from=base /test/a/b2/c/d/e/bar /out/c/d/e/\n"))):
    case(f"retold: parents {n}", TREE + f"COPY --from=base --parents {ours} /out/\n", peer=TREE + theirs)
case("retold: parents of the context", "FROM busybox\nCOPY --parents d/sub/deep/four /\nWORKDIR /test\nCOPY --parents d/sub/t* .\nCOPY --parents d/*.txt d/sub/./deep p/\n",
     peer="FROM busybox\nCOPY d/sub/deep/four /d/sub/deep/\nWORKDIR /test\nCOPY d/sub/t* d/sub/\nCOPY d/one.txt p/d/\nCOPY d/sub/deep p/deep/\n")

# --- more of ARG

case("retold: an argument that must be given", "ARG FOO=${FOO:?\"custom error\"}\nFROM busybox\n", refused="FOO: custom error")
case("retold: an argument that must be given is", "ARG FOO=${FOO:?\"custom error\"}\nFROM busybox\nARG FOO\nRUN echo $FOO > /x\n", args={"FOO": "bar"},
     peer="FROM busybox\nRUN echo bar > /x\n")
DEFAULTS = "FROM busybox\nARG FOO\nARG BAR=${FOO:?\"foo missing\"}\nRUN echo $FOO:$BAR > /x\n"
case("retold: a default of an argument that is missing", DEFAULTS, refused="FOO: foo missing")
for given, text in (({"FOO": "123"}, "123:123"), ({"BAR": "123"}, ":123")):
    case(f"retold: a default of an argument with {text}", DEFAULTS, args=given, peer=f"FROM busybox\nRUN echo {text} > /x\n")
case("retold: several arguments in a line", "ARG a1=\"foo bar\" a2=box\nARG a3=\"$a2-foo\"\nFROM busy$a2 AS build\nARG a3 a4=\"123 456\" a1\nRUN echo \"$a1:$a3:$a4\" > /out\n",
     peer="FROM busybox\nRUN echo 'foo bar:box-foo:123 456' > /out\n")
case("retold: an image's name cut from another", "ARG image=idlebox\nFROM busy${image#idle} AS build\nARG my_arg\nENV my_arg \"my_arg=${my_arg:-def_val}\"\nENV cut \"${my_arg%%e*}\"\nRUN echo $my_arg $cut > /out\n",
     peer="FROM busybox\nENV my_arg=my_arg=def_val cut=my_arg=d\nRUN echo my_arg=def_val my_arg=d > /out\n")
case("retold: arguments without a value and with an empty one", "FROM busybox\nARG FOO\nARG BAR=\nRUN env | grep -c '^BAR=$' > /bar; env | grep -c ^FOO > /foo; true\n", peer="FROM busybox\nRUN echo 1 > /bar; echo 0 > /foo\n")
case("retold: a value that looks like a format", "FROM busybox\nENV myenv foo%sbar\nRUN [ \"$myenv\" = 'foo%sbar' ]\nLABEL l=100%d\n")
case("retold: a secret that nobody gives", "FROM busybox\nRUN --mount=type=secret,required=false,mode=741,uid=100,gid=102,target=/mysecret [ ! -e /mysecret ]\nRUN [ ! -e /mysecret ]\n", peer="FROM busybox\nRUN true\n")
case("retold: a secret that must be given", "FROM busybox\nRUN --mount=type=secret,id=mysecret,required=true true\n", peer="FROM busybox\nRUN false\n", refused="mysecret")
