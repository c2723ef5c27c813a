"""Dockerfiles that two builders build alike. `peer` is the text the other builder gets, where it does not know the language's newer
words: what they are to mean, in its own. With `either` both may refuse it, if both do. With `printed` it gets what
`drover build --print` makes of the text. A case with `refused` is to be refused by both, or with `alone` by drover alone, whose message must have these words.
With `times` what is copied must have the context's time where the peer's has."""
import gzip
import io
import tarfile


class Case:
    def __init__(self, name, text, peer=None, files=None, args=None, target=None, refused=None, printed=False, either=False, alone=False, times=False):
        self.name, self.text, self.peer, self.files = name, text.lstrip("\n"), peer and peer.lstrip("\n"), files or {}
        self.args, self.target, self.refused, self.printed = args or {}, target, refused, printed
        self.either, self.alone, self.times = either, alone, times


def archive(mode="w:gz", name="packed"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for path, text, owner, bits in ((f"{name}/one", b"1\n", 3, 0o640), (f"{name}/two", b"22\n", 0, 0o755)):
            entry = tarfile.TarInfo(path)
            entry.size, entry.uid, entry.gid, entry.mode = len(text), owner, owner, bits
            tar.addfile(entry, io.BytesIO(text))
    return out.getvalue()


# The context of every case: path -> text, or (text, mode), or (text, mode, extended attribute), or ("-> target",) for a link, or None for
# an empty directory.
CONTEXT = {
    "a.txt": "a\n", "b.txt": "bb\n", "run.sh": ("#!/bin/sh\necho run\n", 0o755), "secret": ("s\n", 0o600), "set.id": ("x\n", 0o4755),
    "d/one.txt": "1\n", "d/two.md": "2\n", "d/sub/three.txt": "3\n", "d/sub/deep/four": "4\n", "d/empty": None, "d/link": ("-> one.txt",),
    "d/out": ("-> ../a.txt",), "shut": None, "link.txt": ("-> a.txt",), "dir.link": ("-> d",), "gone": ("-> nowhere",),
    "with space": "w\n", "sp ace/in side": "i\n", "[x]": "bracket\n", "*star": "star\n", "\u00e9t\u00e9.txt": "summer\n", "UPPER": "u\n",
    "packed.tar.gz": archive(), "packed.tar": archive("w:"), "packed.tar.bz2": archive("w:bz2"), "packed.tar.xz": archive("w:xz"),
    "plain.gz": gzip.compress(b"no archive\n", mtime=0), "fake.tar": "not an archive\n", "zero": "",
}

CASES = []


def case(name, text, **more):
    CASES.append(Case(name, text, **more))


# --- FROM

case("from scratch", "FROM scratch\nCOPY a.txt /\n")
case("from an earlier stage", "FROM busybox AS one\nENV A=1\nCOPY a.txt /\nFROM one\nCOPY b.txt /\n")
case("from in small letters", "from busybox as one\ncopy a.txt /\nFrom one\nUser 5\n")
case("from an argument", "ARG BASE=none\nARG TAG\nFROM ${BASE}${TAG:+:$TAG}\nCOPY a.txt /\n", args={"BASE": "busybox", "TAG": "latest"})
case("from with a platform of the build", "FROM --platform=$BUILDPLATFORM busybox\nARG BUILDARCH\nARG TARGETOS\nENV WHERE=$TARGETOS/$BUILDARCH\n",
     peer="FROM busybox\nARG TARGETOS\nARG TARGETARCH\nENV WHERE=$TARGETOS/$TARGETARCH\n")
case("target by name", "FROM busybox AS one\nENV A=1\nFROM busybox AS two\nENV A=2\n", target="one")
case("target by number", "FROM busybox\nENV A=1\nFROM busybox\nENV A=2\n", target="0")
case("a stage that nobody needs is not built", "FROM busybox\nRUN exit 1\nFROM busybox\nENV A=1\n")
case("comments and empty lines", "# one\n\n  # two\nFROM busybox\n# three\nENV A=1 \\\n# four\n  B=2\n\n   \nENV C=3\n")
case("carriage returns", "FROM busybox\r\nENV A=1 \\\r\n  B=2\r\nCOPY a.txt /\r\n")
case("a byte order mark", "\ufeffFROM busybox\nENV A=1\n")
case("no newline at the end", "FROM busybox\nCOPY a.txt /end")

# --- COPY

case("copy one file", "FROM scratch\nCOPY a.txt /\nCOPY a.txt /new/name\nCOPY a.txt /dir/\nCOPY a.txt relative\nCOPY run.sh secret set.id /modes/\n")
case("copy upon a file", "FROM busybox\nCOPY a.txt /etc/passwd\nCOPY a.txt /etc\n")
case("copy a directory", "FROM scratch\nCOPY d /x\nCOPY d/ /y/\nCOPY d/. /z\nCOPY d/sub d/empty /both/\n")
case("copy everything", "FROM scratch\nCOPY . /all\n")
case("copy links", "FROM scratch\nCOPY link.txt /\nCOPY dir.link /followed\nCOPY d/link /one\nCOPY d/sub/../one.txt /clean\n")
case("copy wildcards", "FROM scratch\nCOPY *.txt /w/\nCOPY d/*.?? /q/\nCOPY [ab].txt /r/\nCOPY d/s*/t* /deep/\nCOPY d* /dirs/\n")
case("copy strange names", "FROM scratch\nCOPY [\"with space\", \"sp ace/in side\", \"/s p/\"]\nCOPY [\"\u00e9t\u00e9.txt\", \"/\u00e9\"]\n")
case("copy into the working directory", "FROM busybox\nWORKDIR /w/x\nCOPY a.txt .\nCOPY a.txt ./\nCOPY b.txt ../up\nCOPY d sub\nWORKDIR y\nCOPY a.txt b.txt ./\n")
case("copy with an owner", "FROM busybox\nCOPY --chown=user a.txt /1\nCOPY --chown=user:extra a.txt /2\nCOPY --chown=7 a.txt /3\nCOPY --chown=7:8 d /4\nCOPY --chown=nobody:0 a.txt /new/dirs/5\n")
case("copy with an owner from a variable", "FROM busybox\nARG WHO=user\nENV G=extra\nCOPY --chown=$WHO:${G} a.txt /1\n")
case("copy with a mode", "FROM scratch\nCOPY --chmod=600 a.txt /1\nCOPY --chmod=0755 a.txt b.txt /2/\nCOPY --chmod=4711 run.sh /3\nCOPY --chmod=750 d /4\nCOPY --chmod=1777 --chown=1:2 a.txt /5\n")
case("copy with a symbolic mode", "FROM busybox\nCOPY --chmod=u=rwX,go=rX d /1/\nCOPY --chmod=+x a.txt /2\nCOPY --chmod=g=u,o= run.sh secret /3/\n",
     peer="FROM busybox\nCOPY d /1/\nCOPY --chmod=755 a.txt /2\nCOPY --chmod=770 run.sh /3/\nCOPY --chmod=660 secret /3/\n")
case("copy from a stage", "FROM busybox AS b\nRUN mkdir -p /o/p && echo 1 > /o/p/q && chown 5:6 /o/p/q && chmod 2750 /o/p && ln -s q /o/p/l && ln /o/p/q /o/p/h\nFROM scratch\nCOPY --from=b /o /o\nCOPY --from=0 /o/p/l /l\nCOPY --from=b --chown=9:9 /o/p /n\nCOPY --from=b o/p/q /bin/busybox /both/\n")
case("copy from an image", "FROM scratch\nCOPY --from=busybox /etc/passwd /etc/group /e/\nCOPY --from=busybox:latest /tmp /tmp\n")
case("copy from a stage with wildcards", "FROM busybox AS b\nRUN mkdir /o && touch /o/a1 /o/a2 /o/b\nFROM scratch\nCOPY --from=b /o/a* /x/\n")
case("copy variables", "FROM scratch\nARG D=d\nENV F=one.txt\nCOPY $D/${F} /to/$F\nCOPY ${D}/sub /$D$D\n")
case("copy with parents", "FROM scratch\nCOPY --parents d/one.txt a.txt /p/\nCOPY --parents d/sub/./deep/four /q\nCOPY --parents d/**/*.txt /r/\n",
     peer="FROM scratch\nCOPY d/one.txt /p/d/\nCOPY a.txt /p/\nCOPY d/sub/deep/four /q/deep/\nCOPY d/one.txt /r/d/\nCOPY d/sub/three.txt /r/d/sub/\n")
case("copy with excludes", "FROM busybox\nCOPY --exclude=*.md --exclude=sub/deep --exclude=empty d /x\nCOPY --exclude=b* *.txt /y/\n",
     peer="FROM busybox\nCOPY d /x\nRUN rm -r /x/two.md /x/sub/deep /x/empty\nCOPY a.txt link.txt \u00e9t\u00e9.txt /y/\n")
case("copy as a link", "FROM busybox\nRUN mkdir /real && ln -s real /way\nCOPY --link a.txt /x/y/a\nCOPY --link --chown=user:extra --chmod=640 b.txt /b\nRUN cat /x/y/a /b > /both\n",
     peer="FROM busybox\nRUN mkdir /real && ln -s real /way\nCOPY a.txt /x/y/a\nCOPY --chown=user:extra --chmod=640 b.txt /b\nRUN cat /x/y/a /b > /both\n")
case("copy many to a file", "FROM scratch\nCOPY a.txt b.txt /x\n", refused="must be a directory")
case("copy what is not there", "FROM scratch\nCOPY nothing /x\n", refused="Dockerfile:2")
case("copy what no wildcard finds", "FROM scratch\nCOPY nothing* /x/\n", refused="nothing*")
case("copy without a destination", "FROM scratch\nCOPY a.txt\n", refused="at least two arguments")
case("copy from an unknown stage", "FROM scratch\nCOPY --from=7 a /x\n", refused="--from=7")
case("copy from outside is from the context", "FROM scratch\nCOPY ../a.txt /x\nCOPY d/../../../b.txt /y\n")
case("copy with an unknown flag", "FROM scratch\nCOPY --frm=x a.txt /x\n", refused="unknown flag: --frm")
case("copy with an unknown owner", "FROM busybox\nCOPY --chown=stranger a.txt /x\n", refused="stranger")

# --- ADD

case("add unpacks archives", "FROM scratch\nADD packed.tar.gz /gz/\nADD packed.tar /tar\nADD packed.tar.bz2 /bz2/\nADD packed.tar.xz /xz/\n")
case("add leaves other files", "FROM scratch\nADD plain.gz fake.tar a.txt zero /d/\nADD d /d2\nADD *.txt /t/\n")
case("add with an owner", "FROM busybox\nADD --chown=user:extra a.txt d /o/\nADD --chown=5:6 packed.tar /t/\n")
case("add with a mode", "FROM scratch\nADD --chmod=711 a.txt run.sh /m/\n")
case("add without unpacking", "FROM scratch\nADD --unpack=false packed.tar.gz /x/\n", peer="FROM scratch\nCOPY packed.tar.gz /x/\n")

# --- heredocs (the peer is older than they are)

case("heredocs as files", "FROM scratch\nENV W=world\nCOPY <<hello.txt <<'raw' /d/\nhello $W ${U:-unset} \\$W\nhello.txt\n$W \\$W\nraw\nCOPY --chmod=755 <<-EOF /run\n\t#!/bin/sh\n\t  indented\nEOF\nADD <<\"q\" /q\n\"$W\"\nq\n",
     peer="FROM scratch\nENV W=world\nCOPY d1 /d/hello.txt\nCOPY d2 /d/raw\nCOPY --chmod=755 d3 /run\nADD d4 /q\n",
     files={"d1": "hello world unset $W\n", "d2": "$W \\$W\n", "d3": "#!/bin/sh\n  indented\n", "d4": "\"$W\"\n"})
case("heredocs as scripts", "FROM busybox\nENV W=world\nRUN <<EOF\necho $W > /1\nset -e\ncd /tmp\npwd > /2\nEOF\nRUN cat > /3 <<A && cat <<'B' > /4\na $W\nA\nb $W\nB\nRUN <<EOF cat > /5\nfive\nEOF\nRUN <<'P'\n#!/bin/cat\nnot run by a shell\nP\n",
     peer="FROM busybox\nENV W=world\nRUN echo world > /1; echo /tmp > /2; echo a world > /3; echo 'b $W' > /4; echo five > /5\n")

# --- RUN

case("run in both forms", "FROM busybox\nRUN echo \"a b\" > /1 && \\\n  echo $HOME > /2\nRUN [\"/bin/sh\", \"-c\", \"echo json > /3\"]\nRUN [ -f /1 ] && echo bracket > /4\n")
case("run sees arguments and environment", "FROM busybox\nARG A=1\nARG B\nENV C=3\nARG C=4\nRUN echo \"$A-$B-$C\" > /x\n", args={"B": "given"})
case("run as a user in a directory", "FROM busybox\nUSER user\nWORKDIR /tmp\nRUN id -u > who && pwd > where\nUSER 5:6\nRUN touch numbers\nUSER root\nRUN touch root\n")
case("run in another shell", "FROM busybox\nSHELL [\"/bin/sh\", \"-x\", \"-c\"]\nRUN echo $0 > /x\nCMD echo $PATH\nENTRYPOINT x y\n")
case("run removes and replaces", "FROM busybox\nCOPY d /d\nRUN rm -r /d/sub && rm /d/one.txt && mkdir /d/one.txt && mv /d/two.md /moved && rm -rf /var && ln -s moved /var\n")
case("run removes several at once", "FROM busybox\nRUN mkdir -p /a/b /c && touch /f /g /h /a/x /a/y && ln -s f /l\nRUN rm /f /g /a/x /a/y /l && rm -r /c\nRUN rm -rf /a && mv /h /i\n")
case("run makes special files", "FROM busybox\nRUN mkfifo /fifo && mkdir -m 1777 /sticky && touch /suid && chmod 6755 /suid && ln -s /nowhere /dangling && ln /suid /hard\n")
case("run that fails", "FROM busybox\nRUN exit 3\n", refused="returned a non-zero code: 3")
case("run nothing", "FROM busybox\nRUN\n", refused="Dockerfile:2")

# --- the configuration

case("cmd and entrypoint", "FROM busybox\nENTRYPOINT [\"a\", \"b c\"]\nCMD [\"d\"]\n")
case("cmd as a shell form", "FROM busybox\nCMD echo \"$HOME\" 'x'\n")
case("entrypoint resets the base's cmd", "FROM busybox\nENTRYPOINT echo hi\n")
case("cmd empty", "FROM busybox\nCMD []\n")
case("env forms", "FROM busybox\nENV A=1 B=\"two words\" C=three\\ words D='single $A'\nENV E old form  kept \nENV F=$A-$B G=${A}x H=${NO:-default} I=${A:+set}\nENV A=2 J=$A\nENV K=\nENV L=a=b\n")
case("env without a value", "FROM busybox\nENV A\n", refused="needs a value")
case("env sees itself", "FROM busybox\nENV PATH=/x:$PATH\nENV PATH=$PATH:/y\n")
case("labels", "FROM busybox\nLABEL a=1 \"b c\"=\"d e\" f='g $h'\nLABEL old form of it\nARG V=9\nLABEL v=$V multi=\"one \\\ntwo\"\n")
case("expose", "FROM busybox\nARG P=8080\nEXPOSE 80 443/tcp 53/udp\nEXPOSE $P 9000-9002\n")
case("volumes", "FROM busybox\nENV V=/var\nVOLUME /a $V/b\nVOLUME [\"/c d\", \"/e\"]\n")
case("user", "FROM busybox\nARG U=user\nUSER $U:extra\n")
case("workdir", "FROM busybox\nENV D=/made\nWORKDIR $D\nWORKDIR sub/dir\nWORKDIR ../other\n")
case("workdir that is there", "FROM busybox\nRUN mkdir -m 700 /w && chown 5:5 /w\nWORKDIR /w\n")
case("stop signal", "FROM busybox\nSTOPSIGNAL SIGQUIT\n")
case("stop signal as a number", "FROM busybox\nARG S=9\nSTOPSIGNAL $S\n")
case("health check", "FROM busybox\nHEALTHCHECK --interval=5s --timeout=1m30s --start-period=2s --retries=4 CMD test -f /x || exit 1\n")
case("health check as json", "FROM busybox\nHEALTHCHECK CMD [\"true\", \"x y\"]\n")
case("health check none", "FROM busybox\nHEALTHCHECK CMD true\nHEALTHCHECK NONE\n")
case("maintainer", "FROM busybox\nMAINTAINER Jo <jo@example.com>\n")
case("shell stays in the config", "FROM busybox\nSHELL [\"/bin/ash\", \"-c\"]\n")
case("an unknown instruction", "FROM busybox\nCOPPY a b\n", refused="did you mean COPY?")
case("nothing before from", "ENV A=1\nFROM busybox\n", refused="Dockerfile:1")
case("an empty file", "", refused="empty")

# --- ARG

case("arg scopes", "ARG G=global\nFROM busybox AS one\nARG L=local\nENV A=$G-$L\nFROM busybox\nARG G\nENV A=$G-$L\n")
case("arg several at once", "FROM busybox\nARG A=1 B=2 C\nENV V=$A$B$C\n", args={"C": "3", "B": "9"})
case("arg defaults from others", "ARG X=1\nARG Y=${X}2\nFROM busybox\nARG Y\nARG Z=$Y-3\nENV V=$Z\n")
case("arg with an empty value", "FROM busybox\nARG A=default\nENV V=x$A\n", args={"A": ""})
case("arg of the platform", "FROM busybox\nARG TARGETPLATFORM\nARG TARGETOS\nARG TARGETARCH\nENV V=$TARGETPLATFORM-$TARGETOS-$TARGETARCH\n")
case("arg of a proxy needs no declaration", "FROM busybox\nRUN echo \"$HTTP_PROXY\" > /x\n", args={"HTTP_PROXY": "http://proxy.example:1"})
case("env hides arg", "FROM busybox\nENV A=env\nARG A=arg\nRUN echo $A > /x\nENV B=$A\n")

# --- ONBUILD

ONBUILD = """
FROM busybox AS base
ONBUILD COPY a.txt /triggered/
ONBUILD RUN cat /triggered/a.txt > /ran
ONBUILD ENV T=yes
ONBUILD WORKDIR /w
ONBUILD LABEL l="x y"
"""
case("onbuild is kept", ONBUILD)
case("onbuild keeps spaces at its end", "FROM busybox AS base\nONBUILD ENV A=1  \nONBUILD RUN echo $A > /ran \t\nONBUILD LABEL \\\n  l=1 \\\n\n")
case("onbuild is run", ONBUILD + "FROM base\nRUN echo $T > /after\n")
case("onbuild of onbuild", "FROM busybox\nONBUILD ONBUILD ENV a=1\n", refused="ONBUILD")

# --- variables (the peer knows :- :+ and - alone)

case("variables with patterns", "FROM busybox\nENV P=/usr/lib/x.tar.gz\nENV A=${P#*/} B=${P##*/} C=${P%.*} D=${P%%.*} E=${P/lib/share} F=${P//\\//:} G=\"${P##*/}\" H=${P#none}\nCOPY a.txt /${P##*/}\n",
     peer="FROM busybox\nENV P=/usr/lib/x.tar.gz\nENV A=usr/lib/x.tar.gz B=x.tar.gz C=/usr/lib/x.tar D=/usr/lib/x E=/usr/share/x.tar.gz F=:usr:lib:x.tar.gz G=x.tar.gz H=/usr/lib/x.tar.gz\nCOPY a.txt /x.tar.gz\n")
case("variables that must be set", "FROM busybox\nENV A=\"${NONE:?is wanted}\"\n", refused="is wanted")
case("another escape character", "# escape=`\nFROM busybox\nENV A=1 `\n  B=c:\\dir C=`$A\nCOPY a.txt `\n  /x\n")
case("directives", "# syntax=docker/dockerfile:1\n# check=skip=all\nFROM busybox\nENV A=1\n")

# --- .dockerignore

case("dockerignore", "FROM scratch\nCOPY . /all\n", files={".dockerignore": "# c\n*.txt\n!a.txt\nd/sub\n**/*.md\npacked*\n/UPPER\nshut/\n"})
case("dockerignore with exceptions below", "FROM scratch\nCOPY d /d\n", files={".dockerignore": "d\n!d/sub/deep\n!d/o*\n"})
case("dockerignore hides a source", "FROM scratch\nCOPY a.txt /\n", files={".dockerignore": "a.txt\n"}, refused="a.txt")

# --- as people write them

case("life: a compiled program", """
# syntax=docker/dockerfile:1
ARG GO_VERSION=1
FROM busybox AS build
ARG GO_VERSION
ARG VERSION=dev
ARG COMMIT
WORKDIR /src
COPY a.txt b.txt ./
RUN cat a.txt b.txt > sums
COPY . .
RUN mkdir -p /out/bin && \\
    printf '#!/bin/sh\\necho %s %s %s\\n' "$VERSION" "${COMMIT:-none}" "$GO_VERSION" > /out/bin/app && \\
    chmod 755 /out/bin/app

FROM scratch
COPY --from=build /etc/passwd /etc/group /etc/
COPY --from=build --chown=1000:1000 /out/bin/app /app
USER 1000:1000
EXPOSE 8080
LABEL org.opencontainers.image.title="app" \\
      org.opencontainers.image.version="1.0" org.opencontainers.image.source=https://example.com/x?y=z
ENTRYPOINT ["/app"]
CMD ["--listen", ":8080"]
""", args={"VERSION": "1.2.3"})
case("life: a script program", """
FROM busybox
ENV LANG=C.UTF-8 \\
    APP_HOME=/srv/app \\
    PATH="/srv/app/bin:$PATH"
WORKDIR ${APP_HOME}
RUN addgroup -S app 2>/dev/null; mkdir -p log tmp/cache && chown -R user:extra log tmp
COPY d/*.txt ./
COPY --chown=user:extra . .
RUN set -eux; \\
    # in the middle of a command
    ls > listing; \\
    \\
    rm -rf d/sub
USER user
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s --retries=3 \\
    CMD wget -qO- http://127.0.0.1:3000/health || exit 1
VOLUME ["/srv/data"]
STOPSIGNAL SIGTERM
CMD ["sh", "run.sh"]
""", files={".dockerignore": "**/*.md\n.git\npacked*\n!packed.tar\n[x]\n\n  # no comment\nsp ace\n"})
case("life: tests as a stage", """
FROM busybox AS base
WORKDIR /w
COPY a.txt .
FROM base AS dev
ENV MODE=dev
CMD ["sh"]
FROM base AS test
RUN test -s a.txt && echo passed > result
FROM base AS prod
ENV MODE=prod
COPY --from=test /w/result /etc/result
CMD ["cat", "/etc/result"]
""")
case("life: an image with an entrypoint script", """
FROM busybox
COPY --chmod=0755 run.sh /usr/local/bin/docker-entrypoint.sh
RUN ln -s usr/local/bin/docker-entrypoint.sh / # kept for old users
ENV DATA=/var/lib/db
RUN mkdir -p "$DATA" && chown -R user:extra "$DATA" && chmod 1777 "$DATA"
VOLUME $DATA
ENTRYPOINT ["docker-entrypoint.sh"]
EXPOSE 5432/tcp 5432/udp
CMD ["db"]
""")
case("life: shells and continuation", """
FROM busybox
SHELL ["/bin/sh", "-euc"]
RUN A=1; \\
  if [ "$A" = 1 ]; then \\
    echo "one \\"quoted\\" \\$A" > /q; \\
  fi
RUN echo a  &&  \\
    echo b > /b ; echo 'c # no comment' > /c
RUN true && ( echo x; echo y ) | sort -r > /sorted
""")
case("life: directories with trailing slashes", "FROM busybox\nCOPY d/sub/ /etc/sub\nCOPY d/ /opt\nCOPY d/one.txt d/two.md /opt/more/\nADD a.txt /opt/\nADD d/sub /opt/deep/\n")
case("life: arguments choose the base", "ARG VARIANT=plain\nFROM busybox AS base-plain\nENV V=plain\nFROM busybox AS base-debug\nENV V=debug\nRUN echo debug > /debug\nFROM base-${VARIANT} AS final\nRUN echo $V > /v\n",
     args={"VARIANT": "debug"})
case("life: a copy between stages by number", "FROM busybox\nRUN echo 0 > /zero\nFROM busybox\nRUN echo 1 > /one\nFROM busybox\nCOPY --from=0 /zero /\nCOPY --from=1 /one /\n")
case("life: a stage from a stage from a stage", "FROM busybox AS a\nENV X=1\nUSER user\nWORKDIR /home\nFROM a AS b\nENV Y=$X-2\nRUN id -u > /tmp/who\nFROM b\nENV Z=$Y-3\nUSER root\nRUN cat /tmp/who > /who\n")

# --- quoting

case("env quoting", r'''FROM busybox
ENV A="a b" B='c d' C=e\ f D="g \"h\" i" E='j "k" l' F="m 'n' o" G="p"'q'r H=s\"t I="back\\slash" J='back\slash'
ENV K "old form" with 'quotes' and \ escapes
ENV L=$A M="$B" N='$C' O=\$D P="\$E" Q="${F}x" R=x${NOPE}y
ENV S="" T='' U="  spaces  "
ENV V=1#2 W="#3"
''')
case("label quoting", r'''FROM busybox
LABEL "com.example.vendor"="ACME Incorporated" com.example.label-with-value="foo" version='1.0'
LABEL description="This text illustrates \
that label-values can span multiple lines."
LABEL json='{"a": ["b", 1], "c": "d e"}' escaped="{\"x\": 1}"
LABEL empty="" bare= slash="a\\b" dollar="\$HOME" single='it''s'
''')
case("json forms", r'''FROM busybox
CMD ["a", "b\tc", "d\"e", "\u00e9", "f\\g", ""]
ENTRYPOINT [ "x" , "y z" ]
''')
case("json forms that are none", "FROM busybox\nCMD ['a', 'b']\nRUN [ -d / ] && echo yes > /y\nENTRYPOINT [\"a\" \"b\"]\n")
case("names with dots and dashes in variables", "FROM busybox\nARG A_1=x\nENV P=$A_1.txt Q=$A_1-y R=${A_1}_z S=$A_1/w T=$$A U=a$ V=$1\n")

# --- working directories and users

case("workdir with a user", "FROM busybox\nUSER user\nWORKDIR /made/by\nRUN echo x > /tmp/x\nWORKDIR rel\nCOPY a.txt .\n")
case("workdir with variables", "FROM busybox\nARG A=one\nENV B=two\nWORKDIR /$A/${B:-x}/${C:-three}\nWORKDIR ./four/../five\nRUN pwd > /where\n")
case("workdir through a link", "FROM busybox\nRUN mkdir /real && ln -s /real /way\nWORKDIR /way/x\nRUN pwd > /where && echo y > y\n")
case("users by name and group", "FROM busybox\nUSER user\nRUN id -u > /tmp/1\nUSER 7\nRUN id -u > /tmp/2; id -g >> /tmp/2\nUSER user:extra\nRUN id -g > /tmp/3\nUSER 0:7\nRUN id -g > /4\nUSER user\n")

# --- more of COPY and ADD

case("copy over directories and files", "FROM busybox\nRUN mkdir -p /x/one.txt /y && echo old > /y/a.txt && chmod 600 /y/a.txt\nCOPY a.txt /y/a.txt\nCOPY b.txt /y\nCOPY d /y\n")
case("copy into a link", "FROM busybox\nRUN mkdir /real && ln -s /real /way && ln -s real /rel\nCOPY a.txt /way/\nCOPY b.txt /rel/deeper/b\nCOPY d/sub /way\n")
case("copy keeps empty directories and modes", "FROM busybox AS s\nRUN mkdir -p /t/e1 /t/e2/e3 && chmod 700 /t/e1 && chmod 1777 /t/e2 && touch /t/e2/e3/f && chmod 4755 /t/e2/e3/f\nFROM scratch\nCOPY --from=s /t /t\nCOPY --from=s /t/e2/ /u/\n")
case("copy with wildcards in directories", "FROM scratch\nCOPY d/*/*.txt /a/\nCOPY */sub/deep/* /b/\nCOPY d/[a-z]*.txt /c/\nCOPY d/[^o]*.md /e/\nCOPY ?.txt /f/\n")
case("copy the same twice", "FROM scratch\nCOPY a.txt /x/a\nCOPY b.txt /x/a\nCOPY a.txt a.txt /x/y/\n")
case("copy from a stage into its own path", "FROM busybox AS s\nWORKDIR /app\nRUN echo 1 > f && mkdir g && echo 2 > g/h\nFROM busybox\nWORKDIR /app\nCOPY --from=s /app .\nCOPY --from=s /app/g ./g2/\nCOPY --from=s app/f named\n")
case("copy from a stage keeps owners and times of links", "FROM busybox AS s\nRUN mkdir /o && cd /o && echo 1 > f && ln -s f l && ln -s /o/f abs && chown -h 3:4 l && chown 5:6 f\nFROM scratch\nCOPY --from=s /o /o\nCOPY --from=s /o/l /o/abs /p/\n")
case("add archives by wildcard", "FROM scratch\nADD packed.tar.* /all/\nADD packed.tar /one/two/\n")
case("add an archive over files", "FROM busybox\nRUN mkdir -p /t/packed && echo old > /t/packed/one && chmod 700 /t/packed\nADD packed.tar.gz /t\n")

# --- more of the configuration

case("entrypoint and cmd inherited and reset", "FROM busybox AS a\nENTRYPOINT [\"e\"]\nCMD [\"c\"]\nFROM a AS b\nCMD [\"d\"]\nFROM b\nENTRYPOINT []\n")
case("entrypoint empty keeps nothing", "FROM busybox AS a\nENTRYPOINT [\"e\"]\nCMD [\"c\"]\nFROM a\nENTRYPOINT [\"f\"]\nCMD []\n")
case("health check inherited and unset", "FROM busybox AS a\nHEALTHCHECK --retries=2 CMD true\nFROM a AS b\nENV X=1\nFROM b\nHEALTHCHECK NONE\n")
case("expose merges", "FROM busybox AS a\nEXPOSE 80 53/udp\nFROM a\nEXPOSE 80/tcp 53/tcp 443\n")
case("labels override", "FROM busybox AS a\nLABEL a=1 b=2\nFROM a\nLABEL b=3 c=$PATH\nLABEL a=\n")
case("volumes keep what is there", "FROM busybox\nRUN mkdir /v && echo 1 > /v/f\nVOLUME /v /w\nVOLUME [\"/v\"]\n")
case("maintainer with a variable", "FROM busybox\nENV N=Jo\nMAINTAINER $N <x@example.com>\n")
case("onbuild with arguments and shells", """
FROM busybox AS base
SHELL ["/bin/sh", "-xc"]
ONBUILD ARG WHO=nobody
ONBUILD RUN echo "$WHO $0" > /who
ONBUILD COPY --chown=user:extra d /d
ONBUILD USER user
ONBUILD EXPOSE 99
ONBUILD ENTRYPOINT ["e"]
FROM base
RUN id -u > /tmp/uid
""", args={"WHO": "me"})
case("arg before from in two stages", "ARG A=1\nARG B=$A$A\nFROM busybox AS x\nARG B\nRUN echo \"[$A][$B]\" > /f\nFROM busybox\nARG A\nARG B=own\nCOPY --from=x /f /f\nRUN echo \"[$A][$B]\" > /g\n", args={"A": "7"})
case("arg used before it is declared", "FROM busybox\nENV X=[$LATE]\nARG LATE=1\nENV Y=[$LATE]\n")
case("arg takes the environment's value over its own", "FROM busybox\nENV V=env\nARG V\nRUN echo $V > /1\nARG W=arg\nENV W=env-$W\nRUN echo $W > /2\n", args={"V": "build", "W": "given"})

# --- .dockerignore

case("dockerignore everything but", "FROM scratch\nCOPY . /all\n", files={".dockerignore": "*\n!d\n!*.txt\nd/sub\n!d/sub/three.txt\n"})
case("dockerignore double stars", "FROM scratch\nCOPY . /all\n", files={".dockerignore": "**/three.txt\n**/*.md\n**/deep\nsp*/**\n"})
case("dockerignore of directories with slashes", "FROM scratch\nCOPY . /all\n", files={".dockerignore": "/d/sub/\n./a.txt\nshut\nd/../b.txt\n  UPPER  \n"})
case("dockerignore hides itself and the file", "FROM scratch\nCOPY . /all\n", files={".dockerignore": "Dockerfile\n.dockerignore\n*.tar*\n"})
case("dockerignore with ranges and escapes", "FROM scratch\nCOPY . /all\n", files={".dockerignore": "[a-b].txt\n\\*star\nd/t?o.md\n\\[x\\]\n"})
case("dockerignore exceptions in order", "FROM scratch\nCOPY d /d\n", files={".dockerignore": "d/*\n!d/one.txt\nd/o*\n!d/sub\nd/sub/deep\n"})


# --- Drover's own language: what it prints is what it builds

def own(name, text, **more):
    case(name, "# syntax=drover/1\n" + text, printed=True, **more)


own("own: includes", "FROM busybox\nARG WHERE=parts\nINCLUDE $WHERE/one.df\nRUN cat /included > /copy\n",
    files={"parts/one.df": "# one\nCOPY a.txt /included\nINCLUDE two.df\n", "parts/two.df": "ENV TWO=2 \\\n  THREE=3\n"})
own("own: branches", "ARG MODE=fast\nIF $MODE == fast\nFROM busybox\nELSE\nFROM scratch\nENDIF\nARG MODE\nIF $MODE =~ s* && $TARGETOS == linux\nENV slow=1\n"
    "ELIF defined MODE\nENV fast=1\nENDIF\nRUN echo $MODE > /mode\n")
own("own: branches by argument", "ARG MODE=fast\nFROM busybox\nIF !($MODE == fast) || 0\nCOPY d /d\nENDIF\n", args={"MODE": "slow"})
own("own: loops", "FROM busybox\nFOR f IN a b\nFOR d IN x \"y z\"\nCOPY [\"$f.txt\", \"/$d/\"]\nLABEL \"$f $d\"=\"${f}${d}\"\nENDFOR\nRUN echo ${f} '$f' \"\\$f\" >> /log\nENDFOR\n")
own("own: expansion everywhere", "ARG V=1.4.2\nFROM busybox AS s1\nRUN echo s1 > /s\nFROM busybox\nARG V=1.4.2\nARG Q='a \"b\" $c'\nENV M=${V%%.*} N=\"${V#*.}\" O=${V//./_} Q=${Q#x}\n"
    "COPY --from=s${V%%.*} /s /${V%.*}/s\nCMD [\"v\", \"$V\", \"${V%.*}\"]\nENTRYPOINT [\"e${V#1}\"]\nHEALTHCHECK --interval=${V%%.*}s CMD [\"t\", \"$V\"]\nWORKDIR /w/${V%.*}\n")
own("own: another escape character", "# escape=`\nFROM busybox\nARG V=a.b\nFOR i IN 1 2\nENV E$i=${V%.*} `\n  F$i=$i\nENDFOR\n")
own("own: a stage of many", "FROM busybox AS base\nCOPY a.txt /\nFOR t IN one two\nFROM base AS $t\nENV T=$t\nENDFOR\nTARGET all: one two\n", target="one")
own("own: heredocs", "FROM busybox\nFOR i IN 1 2\nRUN echo $i > /$i && \\\n# not $i\n  echo more >> /$i\nENDFOR\n")
