"""What BuildKit's frontend and buildah's conformance programme try of their builders, retold in Dockerfiles of ours. See cases.py.

Where the peer is older than the language's word, `peer` says in its own words what BuildKit's tests expect."""
import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile

from cases import archive, case

DIR, LINK, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def tarred(*entries, form=tarfile.PAX_FORMAT, **pax):
    """An archive of (name, bytes or kind, further fields of its header)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=form, pax_headers=pax) as tar:
        for name, what, *more in entries:
            entry = tarfile.TarInfo(name)
            data = what if len(what) != 1 else b""
            entry.type, entry.mode, entry.size = what if len(what) == 1 else tarfile.REGTYPE, 0o755, len(data)
            for key, value in (more[0] if more else {}).items():
                setattr(entry, key, value)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def zstd(data):
    """A frame whose blocks are not compressed."""
    out, size = struct.pack("<IBI", 0xFD2FB528, 0xA0, len(data)), 1 << 17
    for at in range(0, len(data), size):
        block = data[at:at + size]
        out += (int(at + size >= len(data)) | len(block) << 3).to_bytes(3, "little") + block
    return out


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
case("retold: an archive's link leads the next copy", "FROM scratch\nADD way.tar /\nCOPY a.txt /way/\n", files={"way.tar": tarred(("way", LINK, {"linkname": "../tmp/target"}))})
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

# --- COPY: what is there already

for name, before, copy, words in (
        ("a file where a directory of its name is", "mkdir -p /x/a.txt", "a.txt /x/", "cannot overwrite directory"),
        ("a directory's file where a directory is", "mkdir -p /x/one.txt/in", "d /x", "cannot overwrite directory"),
        ("a directory upon a file", "touch /x", "d /x", "/x"),
        ("a directory's directory upon a file", "mkdir /x && touch /x/sub", "d /x", "cannot copy a directory"),
        ("a slash behind a file", "touch /x", "a.txt /x/", "/x"),
        ("a place below a file", "touch /x", "a.txt /x/y", "/x"),
        ("a circle of links", "ln -s /y /x && ln -s /x /y", "a.txt /x/", "/x")):
    case("retold: " + name, f"FROM busybox\nRUN {before}\nCOPY {copy}\n", refused=words)
case("retold: links where the copy goes", "FROM busybox\nRUN mkdir -p /real/deep && cd /real && echo t > t && echo u > deep/u && ln -s t l && ln -s /real/t /abs && ln -s real /dir && ln -s real/deep/ /slash && ln -s ../../real/deep deep/up\n"
     "COPY a.txt /real/l\nCOPY b.txt /abs\nCOPY d/sub /dir\nCOPY d/one.txt /slash\nCOPY d/two.md /real/deep/up/three\nCOPY run.sh /dir/../dir/new/\n", times=True)

# --- COPY: how sources are written

DOTS = {".hidden": "h\n", "..two": "2\n", ".d/.e": "e\n", "arr[0].txt": "0\n", "arr0.txt": "1\n"}
case("retold: names with a dot in front", "FROM scratch\nCOPY * /all/\nCOPY .h* /h/\nCOPY . /dot\nCOPY .d /d\nCOPY ..two /\n", files={**DOTS, ".dockerignore": "gone\n\\[x\\]\narr*\n"}, times=True)
case("retold: brackets in names and patterns", "FROM scratch\nCOPY [[]x] /b/\nCOPY d/[!t]*.md /n/\nCOPY d/[^a-n]*.txt /r/\nCOPY [a-b].tx? /s/\nCOPY arr[[]0].txt /dest/\nCOPY arr[0].txt /other/\nCOPY [UV]*R U\\PPER /u/\n",
     peer="FROM scratch\nCOPY b0 /b/[x]\nCOPY d/two.md /n/\nCOPY d/one.txt /r/\nCOPY a.txt b.txt /s/\nCOPY b1 /dest/arr[0].txt\nCOPY arr0.txt /other/\nCOPY UPPER /u/\n",
     files={**DOTS, "b0": "bracket\n", "b1": "0\n"})
case("retold: two stars are one without --parents", "FROM scratch\nCOPY **/*.txt /a/\nCOPY **/three.txt a.txt /b/\nCOPY d/**/* /c/\nCOPY d/**/deep/** /e/\n", times=True)
case("retold: a pattern that is none", "FROM scratch\nCOPY a[ /x\n", refused="a[")
case("retold: sources with slashes and points", "FROM scratch\nCOPY / /root/\nCOPY ./d/./sub/ /s\nCOPY d/sub/.. /up\nCOPY //a.txt /x//y/../z\nCOPY a.txt /../../top\nCOPY d/*/ /stars/\nCOPY a.txt d/one.txt/ ./\n", times=True)
case("retold: quotes around words", "FROM busybox\nARG S=\"with space\"\nCOPY \"a.txt\" '/q'\nCOPY --chown=\"1:2\" 'b.txt' \"/w/\"\nADD \"d/one.txt\" d/'two.md' /m\"ix\"/\nCOPY $S \"/sp/$S\"\nUSER 'us'er\nWORKDIR \"/a b\"\nWORKDIR c d\nEXPOSE \"80\" '90/udp'\nSTOPSIGNAL \"SIGTERM\"\nVOLUME \"/v1\" '/v2'\nLABEL '$S'=1 \"$S\"=2\n")

# --- COPY: what files have

CAPABLE = tarred(("cap", b"c\n", {"uid": 3, "gid": 4, "pax_headers": {"SCHILY.xattr.security.capability": "\1\0\0\2\0\4" + "\0" * 14, "SCHILY.xattr.user.told": "yes"}}))
case("retold: attributes and capabilities", "FROM scratch AS s\nADD cap.tar /\nCOPY attr.txt /c/\nADD attr.txt /d/\nFROM scratch\nCOPY --from=s /cap /c /d /\nCOPY --from=s --chown=5:6 --chmod=711 /cap /owned\nCOPY --from=s --chown=7 / /all\n",
     files={"cap.tar": CAPABLE, "attr.txt": ("a\n", 0o640, "user.told")}, times=True)
case("retold: set bits with an owner", "FROM busybox AS s\nRUN mkdir /b && touch /b/u /b/g && chown 9:9 /b/u && chmod 4755 /b/u && chmod 2711 /b/g && mkdir -m 3775 /b/d\nFROM scratch\nCOPY --from=s --chown=5:6 /b /b\nCOPY --from=s --chown=7:8 /b/u /b/g /c/\nCOPY --from=s /b/u /\n")
case("retold: hard links and holes", "FROM busybox AS s\nRUN mkdir -p /h/c && cd /h && echo 1 > a && ln a b && ln a c/d && truncate -s 3M hole && echo end >> hole && ln -s b s && ln s s2\nFROM busybox\nCOPY --from=s /h /h\nRUN stat -c '%h %n' /h/a /h/b /h/c/d > /seen && cat /h/s2 >> /seen && wc -c < /h/hole >> /seen\n", times=True)
case("retold: an owner and a mode of no value", "FROM busybox\nARG O\nARG M=\nCOPY --chown=$O --chmod=${M} secret /1\nCOPY --chown= --from= a.txt /2\nADD --chmod=${M:+600} --chown=${O:-3} run.sh /3\n",
     peer="FROM busybox\nCOPY secret /1\nCOPY a.txt /2\nADD --chown=3 run.sh /3\n")
case("retold: an owner without accounts", "FROM scratch\nCOPY --chown=5:6 a.txt /x\nCOPY --chown=0 b.txt /y\nADD --chown=4294967294:7 run.sh /z\n")
case("retold: an owner's name without accounts", "FROM scratch\nCOPY --chown=root a.txt /x\n", refused="root")
case("retold: an owner whom an earlier step added", "FROM busybox\nRUN echo 'late:x:77:78::/:/bin/sh' >> /etc/passwd && echo 'crew:x:79:' >> /etc/group\nCOPY --chown=late a.txt /1\nCOPY --chown=late:crew d /2/\nCOPY --chown=:crew b.txt /3\nUSER late\nWORKDIR /w/x\n",
     peer="FROM busybox\nRUN echo 'late:x:77:78::/:/bin/sh' >> /etc/passwd && echo 'crew:x:79:' >> /etc/group\nCOPY --chown=late a.txt /1\nCOPY --chown=late:crew d /2/\nCOPY --chown=0:crew b.txt /3\nUSER late\nWORKDIR /w/x\n")

WAY = "FROM busybox\nCOPY --chmod=640 a.txt /new/path/\nCOPY --chmod=1711 --chown=5:6 b.txt /deep/er/b\nCOPY --chmod=700 d /tree/sub\nADD --chmod=750 packed.tar /unpacked/\nCOPY --chmod=u=rwX,go= a.txt /symbolic/a\nADD --link --chmod=600 a.txt /linked/a\nCOPY --chmod=777 a.txt /new/b\n"
case("retold: --chmod is the mode of directories on the way too", WAY, peer=WAY.replace("--link ", "").replace("u=rwX,go=", "600") + "RUN chmod 640 /new /new/path && chmod 711 /deep /deep/er && chmod 700 /tree /tree/sub && chmod 600 /linked && chmod 755 /unpacked /symbolic\n")

# --- ADD: archives

PLAIN = tarred(("./", DIR, {"mode": 0o711, "mtime": 9}), ("./one", b"1\n", {"uid": 3, "mode": 0o640}), ("/abs/two", b"22\n", {"mode": 0o4711}))
case("retold: archives of more kinds", "FROM scratch\nADD zst.tar.zst /zst/\nADD lzma.tar.xz misnamed.txt /l/\nADD twice.tar.xz.gz /twice/\nADD empty.tar none.tar.gz /kept/\nADD global.tar /global\nADD gnu.tar /gnu\nADD old.tar /old\nADD . /context\n",
     files={"zst.tar.zst": zstd(PLAIN), "lzma.tar.xz": lzma.compress(PLAIN), "misnamed.txt": gzip.compress(tarred(("mis", b"m\n"))), "twice.tar.xz.gz": gzip.compress(lzma.compress(PLAIN)),
            "empty.tar": b"\0" * 1024, "none.tar.gz": b"", "global.tar": tarred(("f", b"f\n"), comment="0123456789abcdef"),
            "gnu.tar": tarred(("n" * 150 + "/" + "m" * 120, b"long\n"), ("s", LINK, {"linkname": "t" * 180}), form=tarfile.GNU_FORMAT), "old.tar": tarred(("u/v", b"u\n"), form=tarfile.USTAR_FORMAT)})
case("retold: an archive and the flags of ADD", "FROM busybox\nADD --chmod=600 packed.tar.gz /m/\nADD --chown=5:6 --chmod=711 whole.tar /o\nADD --chmod=640 --chown=user whole.tar a.txt /both/\n", files={"whole.tar": tarred(("packed", DIR, {"uid": 8}), ("packed/one", b"", {"gid": 9, "mode": 0o600}))})
case("retold: links within an archive", "FROM busybox\nADD links.tar /x\nADD links.tar /x\n",
     files={"links.tar": tarred(("real", DIR), ("way", LINK, {"linkname": "real"}), ("way/f", b"f\n"), ("h", HARD, {"linkname": "real/f"}), ("abs", LINK, {"linkname": "/etc/passwd"}), ("dang", LINK, {"linkname": "no"}))})
case("retold: an archive that takes back what it brought", "FROM busybox\nADD odd.tar /x/\n",
     files={"odd.tar": tarred(("f", b"old\n"), ("f", b"new\n", {"mode": 0o600}), ("g", b"file\n"), ("g", DIR), ("g/in", b"in\n"), ("l", LINK, {"linkname": "f"}), ("l", b"no link\n"), ("e", DIR), ("e", b"no directory\n"))})
case("retold: an archive where a link leads", "FROM busybox\nRUN mkdir -p /real/packed && ln -s real /way && ln -s /real/packed /real/again\nADD packed.tar /way\nADD packed.tar.gz /way/again/\n")
case("retold: an archive upon a file", "FROM busybox\nRUN touch /x\nADD packed.tar /x\n", refused="/x")
case("retold: an archive that was cut", "FROM scratch\nADD cut.tar.gz /x/\n", files={"cut.tar.gz": gzip.compress(tarred(("big", random.Random(1).randbytes(300000))))[:-30]}, alone=True, refused="cut.tar.gz")
SMALL = tarred(("small", random.Random(1).randbytes(3000)))
for end, packed in (("gz", gzip.compress(SMALL)), ("xz", lzma.compress(SMALL)), ("zst", zstd(SMALL)), ("bz2", bz2.compress(SMALL))):
    for where, n in (("half", len(packed) // 2), ("at its end", len(packed) - 5)):
        case(f"retold: a small .{end} that was cut {where}", f"FROM scratch\nADD cut.tar.{end} /x/\n", files={f"cut.tar.{end}": packed[:n]}, alone=True, refused=f"unpack cut.tar.{end}: it is compressed, and cut")
case("retold: a small .gz that was cut is taken as it is", "FROM scratch\nADD --unpack=false cut.gz /x/\nCOPY cut.gz /y/\n", files={"cut.gz": gzip.compress(SMALL)[:900]}, peer="FROM scratch\nCOPY cut.gz /x/\nCOPY cut.gz /y/\n")
case("retold: an archive and --chown", "FROM busybox\nADD --chown=5:6 owned.tar /o/p\nADD --chown=user:extra owned.tar a.txt /named/\nADD --link --chown=7 owned.tar /linked/\nADD --chown=8 owned.tar /there/\nRUN chown 1:1 /o/p\nADD --chown=9:9 owned.tar /o/p/\n",
     peer="FROM busybox\nADD owned.tar /o/p\nADD owned.tar a.txt /named/\nADD owned.tar /linked/\nADD owned.tar /there/\n"
     "RUN chown -hR user:extra /named && chown -hR 7:7 /linked && chown -hR 8:8 /there && chown -hR 9:9 /o && chown 5:6 /o && chown 1:1 /o/p && for d in /o/p /named /linked /there; do chown 0:0 $d/no && chmod 4711 $d/d/set; done\n",
     files={"owned.tar": tarred(("d", DIR, {"uid": 3}), ("d/set", b"s\n", {"uid": 4, "mode": 0o4711}), ("d/l", LINK, {"linkname": "set"}), ("d/h", HARD, {"linkname": "d/set"}), ("no/entry", b"e\n", {"gid": 4}))})

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

# --- where and as whom

case("retold: working directories and their owners", "FROM busybox\nUSER user\nWORKDIR /tmp/\nWORKDIR /a//b/../c/\nUSER 5:6\nWORKDIR /n/m\nUSER user:extra\nWORKDIR rel/x\nUSER 1234\nWORKDIR /q\nUSER 0:7\nWORKDIR /z\nUSER root\nWORKDIR ./\nCOPY a.txt b/\n")
case("retold: a working directory of an image that is empty", "FROM scratch\nWORKDIR /foo\nWORKDIR /\nCOPY a.txt foo/\n")
case("retold: a working directory that is a file", "FROM busybox\nRUN touch /f\nWORKDIR /f/x\n", refused="/f")
case("retold: a working directory of no name", "FROM busybox\nWORKDIR $NONE\nWORKDIR /w\nWORKDIR $NONE\nCOPY a.txt .\n")

# --- variables and their scopes

case("retold: ARG is handed down to stages on top", "FROM busybox AS one\nARG A=1 B\nRUN echo \"$A$B\" > /one\nFROM one AS two\nRUN echo \"$A$B\" > /two\nCOPY $A /given\nFROM two\nARG A=2\nRUN echo \"$A$B\" > /three\nENV E=$A$B\nFROM busybox\nCOPY --from=2 /one /two /three /\nRUN echo \"<$A$B>\" > /four\n",
     args={"B": "b"}, files={"1": "one\n"})
case("retold: variables that are declared too late or elsewhere", "ARG BASE\nFROM busybox\nARG T=of-one\nRUN echo \"$T$OWNER\" > /0.txt\nFROM ${SECOND:-busybox}\nCOPY --from=0 /*.txt /\nCOPY --chown=${OWNER:-1}:${OWNER:-1} ${SOURCE:-d/}one.txt /1a.txt\nARG OWNER=2\nARG SOURCE=\n"
     "COPY --chown=${OWNER:-1}:${OWNER:-1} ${SOURCE:-d/}one.txt /1b.txt\nFROM ${BASE:-busybox}\nARG SECOND=no/such\nCOPY --from=1 /*.txt /\n", args={"OWNER": "3"})
case("retold: defaults within defaults", "FROM busybox\nENV A=a E=\nENV V1=${N:-${M:-${A}c}} V2=${A:+${E:-x}$A} V3=${N:-\"q r\"} V4=${N:-\\$A} V6=${E:-yes} V7=${N:-a:b} V8='${A}'\"${A}\"${A}\nLABEL x=${N:-\"y z\"} $A=${A}$A a.$A.b=\\\"$A\\\"\nWORKDIR /${N:-deep}/${A:+in}\n")
case("retold: ENV of a base goes before ARG", "FROM busybox AS base\nENV P=base Q=\nFROM base\nARG P=arg Q=arg R=arg\nENV S=$P$Q$R\nRUN echo \"$P-$Q-$R\" > /x\nUSER $R\nENV P=mine\nENV T=$P\n", args={"P": "given", "Q": "given"})

# --- how lines are written

case("retold: lines that go on", "FROM busybox\nENV A=1 \\  \n  B=2 \\\t\n\n  # a comment \\\n\\\n  C=3\n  # more\nRUN echo one\\\\ > /1 && \\\n\t# not the shell's \\\n    echo \"# is\" two \\\n  three >> /1\nLABEL a=\"x \\\n  y\" \\\n# of b\n  b=z\nCMD echo \\\n   a   b  \\\n  c\nENV D=e\\\nf\n")
case("retold: directives that are comments", "# About this file\n# escape=`\nFROM busybox\nENV A=b\\ c D=`e\n")
case("retold: directives behind an empty line", " \n# escape=`\nFROM busybox\nENV A=b\\ c D=`e\n")
case("retold: directives behind an unknown one", "# unknown=x\n# escape=`\nFROM busybox\nENV A=b\\ c D=`e\n")
case("retold: a directive in other letters", "#\tEsCaPe = `  \n\nFROM busybox\nCOPY a.txt `\n  /x\nRUN echo a `\n && echo \\b > /b\n")
case("retold: JSON and what looks like it", "FROM busybox\nRUN [ \"sh\" , \"-c\", \"echo x > /x\" ]  \nENTRYPOINT [\"a\",]\nONBUILD CMD [ \"c\" ,\"d\"]\nVOLUME [ \"/v\" , \"/w w\" ]\nSHELL [ \"/bin/sh\",\"-ec\" ]\nCOPY [ \"a.txt\",\"b.txt\" , \"/to/\" ]\n")
case("retold: triggers are kept as they are written", "FROM busybox\nonbuild   copy   a.txt    /x\nONBUILD RUN a && \\\n    b  \\\n# a comment\n  c\nOnBuild\tEnv A=$B\nONBUILD CMD [\"a\",  \"b\"]\n")

# --- the configuration

case("retold: ports with an address", "FROM busybox\nEXPOSE 8080:80 127.0.0.1:5353:53/udp [::1]:90:90 ::1:91:91 7000-7001:8000-8001/tcp :92\n", peer="FROM busybox\nEXPOSE 80 53/udp 90 91 8000 8001 92\n")
case("retold: signals by all names", "FROM busybox AS a\nSTOPSIGNAL SIGRTMIN+3\nFROM a AS b\nSTOPSIGNAL quit\nFROM b\nSTOPSIGNAL RTMAX-1\n")
case("retold: flags of no health check", "FROM busybox AS a\nHEALTHCHECK --interval=3s CMD [\"x\"]\nFROM a\nHEALTHCHECK --interval=5s --timeout= none\n", peer="FROM busybox\nHEALTHCHECK NONE\n")
case("retold: a volume changes after it was declared", "FROM busybox\nRUN mkdir /v && echo 1 > /v/f\nVOLUME /v /w/x\nRUN echo 2 > /v/f && echo 3 > /v/g && chown 5:6 /v && mkdir -p /w/x && touch /w/x/y\n",
     peer="FROM busybox\nRUN mkdir /v && echo 1 > /v/f\nRUN echo 2 > /v/f && echo 3 > /v/g && chown 5:6 /v && mkdir -p /w/x && touch /w/x/y\nVOLUME /v /w/x\n")
case("retold: volumes of a base get another owner", "FROM busybox AS first\nRUN mkdir /va /vb\nVOLUME /va\nVOLUME [\" /vb \"]\nFROM first\nRUN chown 1000:1000 /va /vb\n", peer="FROM busybox\nRUN mkdir /va /vb && chown 1000:1000 /va /vb\nVOLUME /va /vb\n")
case("retold: the shell of a base", "FROM busybox AS a\nSHELL [\"/bin/sh\", \"-xc\"]\nFROM a\nRUN echo \"$-\" | grep -c x > /x\nCMD c d\nSHELL [\"/bin/sh\", \"-c\"]\nENTRYPOINT e  f\n", peer="FROM busybox\nRUN echo 1 > /x\nCMD [\"/bin/sh\", \"-xc\", \"c d\"]\nENTRYPOINT [\"/bin/sh\", \"-c\", \"e  f\"]\nSHELL [\"/bin/sh\", \"-c\"]\n")

# --- stages

case("retold: a stage of its base's name", "FROM busybox AS busybox\nENV A=1\nFROM busybox\nENV B=$A\nCOPY --from=busybox /etc/passwd /p\n")
case("retold: nothing behind the target is built", "FROM busybox AS one\nENV A=1\nFROM one AS two\nENV A=2\nFROM two\nRUN exit 1\n", target="two")
case("retold: a target of no such name", "FROM busybox AS one\nENV A=1\n", target="other", refused="other")
case("retold: a target of no such number", "FROM busybox\nENV A=1\n", target="3", refused="3")

# --- layers upon layers

case("retold: what is taken away and comes back", "FROM busybox AS base\nRUN mkdir -p /o/a/b /o/c && touch /o/a/b/f /o/c/g /o/h && ln -s a /o/l && echo 1 > /k\nRUN rm -rf /o && mkdir /o && touch /o/new\nRUN rm /o/new && mkdir /o/new && mv /k /o/new/ && ln -s new /o/a\nFROM base\nCOPY d /o/c\nRUN rm -r /o/c/sub && echo 2 > /o/c/sub && rm /o/a && mkdir -p /o/a/b\n"
     "RUN rm -rf /o/c && mkdir -m 700 /o/c && touch /o/c/last\nCOPY --from=base /o /seen\nRUN rm -rf /o/new /var && mkdir /var && mv /o/a /o/moved && touch /.wh && rm /.wh\n")
case("retold: links and directories of lower layers change places", "FROM busybox\nRUN mkdir -p /t/d && touch /t/d/f && ln -s d /t/l\nRUN mv /t/d /t/e && ln -s e /t/d && rm /t/l && cp -a /t/e /t/l\nCOPY a.txt /t/d/\nCOPY d/sub /t/l\nRUN rm /t/d && mkdir /t/d && rm -r /t/l && ln -s d /t/l\nCOPY b.txt /t/l/\n")

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

case("retold: what heredocs hold", "FROM busybox\nENV V=v\nCOPY <<EOF /f1\n# no comment\n\n  $V \\\n\ttab ' \" `\n EOF\nEOF \nEOF\nCOPY <<E1 <<-E2 <<'E3' /many/\nE1\n\tx\n\tE2\n$V\nE3\nADD --chmod=600 <<\"EOF\" /dir/\n$V\nEOF\nRUN <<EOF\n# a comment of the shell\necho a \\\n  b > /r\n\n  echo '\\' $V >> /r\nEOF\nRUN --mount=type=tmpfs,target=/t <<EOF\ntouch /t/x && ls /t > /ls\nEOF\nRUN <<A cat - /dev/null \\\n  > /cat\nin\nA\n",
     peer="FROM busybox\nENV V=v\nCOPY h1 /f1\nCOPY zero /many/E1\nCOPY h2 /many/E2\nCOPY h3 /many/E3\nADD --chmod=600 h3 /dir/EOF\nRUN echo 'a b' > /r; echo '\\' v >> /r; echo x > /ls; echo in > /cat\n",
     files={"h1": "# no comment\n\n  v \n\ttab ' \" `\n EOF\nEOF \n", "h2": "x\n", "h3": "$V\n"})
case("retold: a heredoc that does not end", "FROM busybox\nCOPY <<EOF /x\nhello\n EOF\n", peer="FROM busybox\nCOPY nothing /x\n", refused="EOF")
case("retold: a heredoc as the destination", "FROM busybox\nCOPY a.txt <<EOF\nhello\nEOF\n", peer="FROM busybox\nCOPY nothing /x\n", refused="heredoc")

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

case("retold: mounts in other letters", "FROM busybox AS one\nRUN echo 1 > /file\nFROM busybox\nRUN --mount=TYPE=Cache,TARGET=/c,Sharing=LOCKED touch /c/x && ls /c > /1\nRUN --mount=type=BIND,from=one,source=/file,target=/m cat /m > /2\nRUN --mount=type=bind,from=one,target=/all test -f /all/file -a ! -w /all/etc/passwd/x && echo ok > /3\n",
     peer="FROM busybox\nRUN echo x > /1; echo 1 > /2; echo ok > /3\n")
case("retold: mounts leave no place behind", "FROM busybox AS base\nRUN echo 1 > /1.txt\nFROM busybox AS between\nRUN --mount=type=bind,from=base,source=/,destination=/base,rw touch /base/2.txt\nFROM base\nRUN --mount=type=bind,from=between,source=/etc,destination=/etc2/deep test -f /etc2/deep/passwd && echo 3 > /3.txt\nRUN --mount=type=cache,target=/var/cache/x,mode=0700 --mount=type=tmpfs,target=/var/tmp/y stat -c %a /var/cache/x > /4.txt\nRUN mkdir -p /var && rm -rf /var/cache /var/tmp\n",
     peer="FROM busybox\nRUN echo 1 > /1.txt; echo 3 > /3.txt; echo 700 > /4.txt; mkdir -p /var && rm -rf /var/cache /var/tmp\n")
case("retold: a mount that lies in a mount", "FROM busybox\nRUN --mount=type=tmpfs,target=/t --mount=target=/t/in/context cp /t/in/context/a.txt /t/out && cat /t/out > /x\nWORKDIR /w\nRUN --mount=type=tmpfs,target=rel touch rel/y && pwd > /y\nRUN ls /w > /z\n", peer="FROM busybox\nRUN echo a > /x; echo /w > /y; touch /z\nWORKDIR /w\n")
case("retold: a variable in a mount's from", "FROM busybox AS t\nFROM busybox\nENV F=t\nRUN --mount=from=$F,target=/m ls /m\n", refused="from=$F")

# --- ADD

case("retold: permissions of archives and of files", "FROM scratch\nADD packed.tar sub1/\nADD d/ sub2/\n")
case("retold: archives of all kinds into one place", "FROM scratch\nADD packed.tar.gz packed.tar.bz2 packed.tar.xz /sub/\nADD packed.tar .\nCOPY packed.tar.gz /kept/\n")
case("retold: an archive's file where a directory is", "FROM busybox\nRUN mkdir -p /new/packed/one/deep && echo x > /new/packed/one/deep/f && mkdir /new/packed/two\nADD packed.tar /new\n")
case("retold: an archive's directory where a file is", "FROM busybox\nRUN mkdir /new && echo x > /new/packed\nADD whole.tar /new\n", files={"whole.tar": tarred(("packed", DIR), ("packed/one", b""))})
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

ALTERNATING = {f"s1/{'/'.join(f's{i}' for i in range(2, n))}/f": f"{n}\n" for n in range(2, 7)}
for n, text in enumerate(("s1\n!s1/s2\ns1/s2/s3\n!s1/s2/s3/s4\ns1/s2/s3/s4/s5\n", "*\n!s1\ns1/*\n!s1/s2\ns1/s2/s3/*\n!**/s4\n", "s1\n!*/s2*\n", "s1\n!/s1/s*\n!*/s4\n", "\ufeff**\r\n!s1/**/f\r\n\r\ns1/f\r\n", "**/s4/\n!s1/s2/s3/s4/../s4/f\n",
                          "*/*\n!d/one.txt\n#d\n\\#x\n", "**/f\n!**/s3/f\ns1/s2/**/s5\n?\n*.tar*\n", "**\n")):
    case(f"retold: dockerignore with levels {n}", "FROM scratch\nCOPY . /all/\n", files={**ALTERNATING, ".dockerignore": text, "#x": "x\n"})
for source in ("s1/s2/s3/s4/s5", "s1/s2/s3/f", "s1/f"):
    case(f"retold: dockerignore with levels hides {source}", f"FROM scratch\nCOPY s1/s2/f s1/s2/s3/s4/f /\nCOPY {source} /x\n", files={**ALTERNATING, ".dockerignore": "s1\n!s1/s2\ns1/s2/s3\n!s1/s2/s3/s4\ns1/s2/s3/s4/s5\n"}, refused=source)

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

# --- what is refused: (text behind FROM busybox, words of the message). The peer is laxer than BuildKit's frontend, and is not asked.

STRICT = (
    ("COPY --chown=1 --chown=2 a.txt /x", "given twice"), ("COPY --from a.txt /x", "needs a value"), ("COPY --link=maybe a.txt /x", "true or false"), ("COPY --link= a.txt /x", "true or false"), ("ADD --from=x a.txt /x", "unknown flag: --from"),
    ("ADD --parents a.txt /x", "unknown flag: --parents"), ("RUN --foo true", "unknown flag: --foo"), ("ENV --foo=1 A=1", "unknown flag: --foo"), ("LABEL --foo=1 A=1", "unknown flag"), ("WORKDIR --foo /x", "unknown flag"),
    ("USER --foo x", "unknown flag"), ("EXPOSE --foo 80", "unknown flag"), ("VOLUME --foo /x", "unknown flag"), ("CMD --foo x", "unknown flag"), ("ENTRYPOINT --foo x", "unknown flag"), ("SHELL --foo [\"x\"]", "unknown flag"),
    ("HEALTHCHECK --foo=1 CMD x", "unknown flag"), ("ONBUILD --foo RUN x", "unknown flag"), ("FROM --foo=1 busybox", "unknown flag"),
    ("COPY []", "at least two arguments"), ("COPY [\"a.txt\"]", "at least two arguments"), ("ADD a.txt", "at least two arguments"), ("COPY [\"a.txt\", 1]", "strings only"), ("CMD [1, 2]", "strings only"), ("COPY --chmod=u*x a.txt /x", "--chmod"),
    ("COPY --chmod=99 a.txt /x", "--chmod"), ("COPY --chmod=rwx a.txt /x", "--chmod"), ("COPY --chmod=-1 a.txt /x", "--chmod"), ("COPY --chown=a:b:c a.txt /x", "--chown"), ("COPY --chown=nobody:nogroup2 a.txt /x", "nogroup2"),
    ("ENV A=${B", "${B"), ("ENV A=${}", "without a variable's name"), ("ENV A=${B:=x}", "modifiers"), ("LABEL a=\"b", "a double quote is not closed"), ("FROM busybox AS a\nCOPY --from=a /etc /x", "--from=a"),
    ("COPY --from=nostage a.txt /x", "nostage"), ("COPY --from=1 a.txt /x", "--from=1"), ("COPY --from=-1 a.txt /x", "--from=-1"), ("RUN --mount=from=nostage,target=/m true", "nostage"),
    ("EXPOSE 65536", "invalid containerPort"), ("EXPOSE abc", "invalid containerPort"), ("EXPOSE 80-79", "invalid containerPort"), ("EXPOSE 80-", "invalid containerPort"), ("EXPOSE -1", "invalid containerPort"), ("EXPOSE 80/foo", "invalid proto"),
    ("EXPOSE 80/tcp/udp", "invalid proto"), ("EXPOSE localhost:80:80", "invalid IP address"), ("EXPOSE 80:", "invalid containerPort"),
    ("STOPSIGNAL SIGFOO", "invalid signal"), ("STOPSIGNAL 0", "invalid signal"), ("STOPSIGNAL -1", "invalid signal"),
    ("FROM busybox AS", "one argument, or three"), ("FROM busybox AS 1a", "invalid name for build stage"), ("FROM busybox AS a/b", "invalid name for build stage"), ("FROM busybox a b", "one argument, or three"), ("FROM busybox AS a b", "one argument, or three"),
    ("FROM $NONE", "Dockerfile:2"), ("FROM --platform=$NONE busybox", "empty platform"), ("FROM --platform=a/b/c/d busybox", "a/b/c/d"), ("FROM --platform=no-such-os busybox", "no-such-os"), ("FROM --platform=li nux busybox", "one argument, or three"),
    ("RUN --mount=type=cache true", "needs a target"), ("RUN --mount=type=tmpfs,target=/ true", "root directory"), ("RUN --mount=target=/x,size=3 true", "size"), ("RUN --mount=type=tmpfs,target=/x,size=abc true", "abc"),
    ("RUN --mount=type=cache,target=/x,sharing=none true", "sharing=none"), ("RUN --mount=type=cache,target=/x,mode=9 true", "mode=9"), ("RUN --mount=type=cache,target=/x,uid=x true", "uid=x"), ("RUN --mount=target=/x,required true", "required"),
    ("RUN --mount=type=tmpfs,target=/x,mode=0700 true", "mode"), ("RUN --mount=type=secret true", "id or a target"), ("RUN --mount=type=bind,target=/x,rw=perhaps true", "rw=perhaps"), ("RUN --mount=type=bind,source=none,target=/x true", "none"), ("RUN --mount= true", "needs a value"),
    ("RUN --network=foo true", "--network=foo"), ("RUN --network= true", "--network="), ("RUN --security=foo true", "--security=foo"), ("RUN --security=insecure true", "--allow security.insecure"),
    ("HEALTHCHECK CMD", "missing command"), ("HEALTHCHECK CMD []", "missing command"), ("HEALTHCHECK FOO x", "unknown type"), ("HEALTHCHECK NONE x", "takes no arguments"), ("HEALTHCHECK --retries=x CMD x", "--retries"), ("HEALTHCHECK --retries=-1 CMD x", "--retries"),
    ("HEALTHCHECK --interval=5 CMD x", "--interval"), ("HEALTHCHECK --timeout=-1s CMD x", "--timeout"), ("HEALTHCHECK --start-period=1year CMD x", "--start-period"),
    ("VOLUME []", "at least one argument"), ("VOLUME [\"\"]", "empty string"), ("VOLUME [\" \"]", "empty string"), ("VOLUME $NONE", "empty string"), ("SHELL []", "JSON form"), ("SHELL sh -c", "JSON form"), ("SHELL [1]", "strings only"),
    ("ENV =x", "can not be blank"), ("ENV $NONE=x", "can not be blank"), ("ENV A=1 B", "name=value"), ("ENV A", "needs a value"), ("LABEL =x", "can not be blank"), ("LABEL A=1 B", "name=value"), ("LABEL A", "needs a value"), ("ARG =x", "can not be blank"),
    ("ONBUILD ONBUILD RUN x", "isn't allowed"), ("ONBUILD MAINTAINER x", "isn't allowed"), ("onbuild from x", "isn't allowed"), ("INCLUDE x", "syntax=drover/1"), ("HELLO", "unknown instruction"), ("COPY --exclude=a[ d /x", "--exclude"),
)
for text, words in STRICT:
    case("strict: " + text, f"FROM busybox\n{text}\n", alone=True, refused=words)
for name, text, words in (("a directive twice", "# escape=`\n# escape=`\nFROM busybox\n", "only one escape"), ("a directive with another letter", "# escape=x\nFROM busybox\n", "invalid escape"), ("FROM with a variable of no value", "ARG B\nFROM $B\n", "Dockerfile:2")):
    case("strict: " + name, text, alone=True, refused=words)
