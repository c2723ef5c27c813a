"""Log drivers: each with a collector of the test's own that takes its protocol apart byte by byte."""
import contextlib
import gzip
import json
import os
import re
import selectors
import socket
import ssl
import struct
import tempfile
import threading
import zlib

from harness import Drover, Story, run, wait_for


class Collector:
    """Takes what comes to a socket, on a thread; `stop` closes everything as the end of its process would."""

    def __init__(self, family, kind, address, tls=None, answer=None):
        self.kind, self.tls, self.answer = kind, tls, answer
        self.chunks = []  # (connection number, bytes) or (0, datagram)
        self.listening = socket.socket(family, kind)
        if family == socket.AF_INET:
            self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind == socket.SOCK_DGRAM:
            self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.listening.bind(address)
        if kind == socket.SOCK_STREAM:
            self.listening.listen()
        self.address = self.listening.getsockname()
        self.wake = socket.socketpair()
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        with selectors.DefaultSelector() as ready:
            ready.register(self.wake[1], selectors.EVENT_READ, "stop")
            ready.register(self.listening, selectors.EVENT_READ, 0)
            connections = []
            while True:
                for key, _ in ready.select():
                    if key.data == "stop":
                        for one in connections:
                            one.close()
                        self.listening.close()
                        return
                    if key.data == 0 and self.kind == socket.SOCK_STREAM:
                        one, _ = self.listening.accept()
                        if self.tls:
                            try:
                                one = self.tls.wrap_socket(one, server_side=True)
                            except OSError:  # the one that looks whether somebody listens
                                continue
                        connections.append(one)
                        ready.register(one, selectors.EVENT_READ, len(connections))
                        continue
                    self.take(ready, key)

    def take(self, ready, key):
        try:
            data = key.fileobj.recv(1 << 17)
            while self.tls and key.fileobj.pending():
                data += key.fileobj.recv(1 << 17)
        except OSError:
            data = b""
        if not data and key.data:
            ready.unregister(key.fileobj)
            key.fileobj.close()
            return
        self.chunks.append((key.data, data))
        if self.answer:
            self.answer(key.fileobj, key.data, self)

    def stop(self):
        if self.thread.is_alive():
            self.wake[0].send(b"x")
            self.thread.join()
        self.wake[0].close()
        self.wake[1].close()

    def datagrams(self):
        return [data for _, data in list(self.chunks)]

    def stream(self, number):
        return b"".join(data for n, data in list(self.chunks) if n == number)

    def streams(self):
        """What came over each connection, in the order of connections."""
        joined = {}
        for number, data in list(self.chunks):
            joined[number] = joined.get(number, b"") + data
        return [joined[n] for n in sorted(joined)]


def unpack(data, at=0):
    """One MessagePack value: (value, where it ends). Raises IndexError or struct.error where it is cut off."""
    code = data[at]
    at += 1

    def text(n, at):
        if at + n > len(data):
            raise IndexError
        return data[at:at + n], at + n

    def array(n, at):
        out = []
        for _ in range(n):
            value, at = unpack(data, at)
            out.append(value)
        return out, at

    def table(n, at):
        flat, at = array(2 * n, at)
        return dict(zip([k.decode() for k in flat[::2]], flat[1::2])), at
    if code < 0x80:
        return code, at
    if code < 0x90:
        return table(code & 15, at)
    if code < 0xa0:
        return array(code & 15, at)
    if code < 0xc0:
        return text(code & 31, at)
    if code == 0xce:
        return struct.unpack_from(">I", data, at)[0], at + 4
    if code == 0xd7:
        kind, seconds, nanos = struct.unpack_from(">bII", data, at)
        assert kind == 0, kind
        return (seconds, nanos), at + 9
    if code in (0xd9, 0xda, 0xdb):
        form = {0xd9: ">B", 0xda: ">H", 0xdb: ">I"}[code]
        return text(struct.unpack_from(form, data, at)[0], at + struct.calcsize(form))
    if code == 0xde:
        return table(struct.unpack_from(">H", data, at)[0], at + 2)
    raise AssertionError(f"MessagePack code {code:#x}")


def unpack_all(data):
    """Every whole value."""
    out, at = [], 0
    with contextlib.suppress(IndexError, struct.error):
        while at < len(data):
            value, at = unpack(data, at)
            out.append(value)
    return out


COUNT = "i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); done"
LONG = "i=0; while [ $i -lt %d ]; do printf 'line %%d %%0100d\\n' $i 0; i=$((i+1)); done"
SLOWLY = "i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); [ $((i %% 10)) -ne 0 ] || sleep 0.02; done"


class LogDrivers(Story):
    def setUp(self):
        super().setUp()
        self.collectors = []

    def tearDown(self):
        for one in self.collectors:
            one.stop()
        super().tearDown()

    def collector(self, *args, **kwargs):
        one = Collector(*args, **kwargs)
        self.collectors.append(one)
        return one

    def tcp(self, port=0, **kwargs):
        return self.collector(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port), **kwargs)

    def udp(self, port=0):
        return self.collector(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", port))

    def path(self, name):
        return os.path.join(self.d.root, name)

    def run_with(self, driver, options, command, *args):
        flags = [word for key, value in options.items() for word in ("--log-opt", f"{key}={value}")]
        return self.d.docker("run", "-d", "--log-driver", driver, *flags, *args, "busybox", "sh", "-c", command).out.strip()

    # --- syslog ---

    def test_syslog_over_udp_has_priority_time_tag_and_line_in_each_datagram(self):
        c = self.udp()
        self.run_with("syslog", {"syslog-address": f"udp://127.0.0.1:{c.address[1]}", "syslog-facility": "local3",
                                 "tag": "{{.ImageName}}/{{.Name}}"}, "echo out; echo err >&2", "--name", "teller")
        wait_for(lambda: len(c.chunks) == 2, "both datagrams")
        got = sorted(c.datagrams(), reverse=True)
        self.assertRegex(got[0], rb"^<158>[A-Z][a-z][a-z] [ \d]\d \d\d:\d\d:\d\d busybox/teller\[\d+\]: out\n$")
        self.assertRegex(got[1], rb"^<155>[A-Z][a-z][a-z] [ \d]\d \d\d:\d\d:\d\d busybox/teller\[\d+\]: err\n$")
        self.assertEqual((self.d.docker("logs", "teller").out, self.d.docker("logs", "teller").err), ("out\n", "err\n"))

    def test_syslog_forms_over_tcp_are_those_of_their_rfcs(self):
        host = re.escape(socket.gethostname().encode())
        forms = {
            "rfc3164": rb"^<30>\w{3} [ \d]\d \d\d:\d\d:\d\d " + host + rb" (\w{12})\[\d+\]: hi\n$",
            "rfc5424": rb"^<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d) " + host + rb" (\w{12}) \d+ \1 - hi\n$",
            "rfc5424micro": rb"^<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(?:Z|[+-]\d\d:\d\d) " + host + rb" (\w{12}) \d+ \1 - hi\n$",
        }
        for form, pattern in forms.items():
            c = self.tcp()
            made = self.run_with("syslog", {"syslog-address": f"tcp://127.0.0.1:{c.address[1]}", "syslog-format": form}, "echo hi")
            wait_for(lambda c=c: c.chunks, "the line")
            self.assertRegex(c.streams()[0], pattern)
            self.assertIn(made[:12].encode(), c.streams()[0])

    def test_syslog_reaches_unix_sockets_of_both_kinds(self):
        for scheme, kind in (("unix", socket.SOCK_STREAM), ("unixgram", socket.SOCK_DGRAM)):
            path = self.path(scheme)
            c = self.collector(socket.AF_UNIX, kind, path)
            self.run_with("syslog", {"syslog-address": f"{scheme}://{path}"}, COUNT % 1000)
            wait_for(lambda c=c: b"".join(c.datagrams()).count(b"\n") == 1000, f"all lines over {scheme}")
            lines = [line.rsplit(b": ", 1)[1] for line in b"".join(c.datagrams()).splitlines()]
            self.assertEqual(lines, [b"line %d" % i for i in range(1000)])

    def test_each_address_of_a_collectors_name_is_tried(self):
        d = Drover()
        self.addCleanup(lambda: self.assertEqual(d.remove(), "", "left behind"))
        hosts = os.path.join(d.root, "hosts")
        with open(hosts, "w") as f:
            f.write("127.0.0.1 collector\n127.0.0.2 collector\n")
        d.inside = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', hosts]
        d.start().busybox()
        for address in ("127.0.0.1", "127.0.0.2"):
            for transport, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
                with self.subTest(address=address, transport=transport):
                    c = self.collector(socket.AF_INET, kind, (address, 0))
                    d.docker("run", "-d", "--name", "talker", "--log-driver", "syslog", "--log-opt",
                             f"syslog-address={transport}://collector:{c.address[1]}", "busybox", "sh", "-c",
                             "while :; do echo hi; sleep 0.2; done")
                    wait_for(lambda c=c: c.chunks, "a line")
                    d.docker("rm", "-f", "talker")

    def test_syslog_over_tls_checks_the_certificate_and_counts_its_messages(self):
        key, cert = self.path("key.pem"), self.path("cert.pem")
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert, key)
        c = self.tcp(tls=tls)
        self.run_with("syslog", {"syslog-address": f"tcp+tls://localhost:{c.address[1]}", "syslog-format": "rfc5424",
                                 "syslog-tls-ca-cert": cert}, COUNT % 2000)
        wait_for(lambda: b"line 1999\n" in b"".join(c.streams()), "the last line")
        data, lines = c.streams()[0], []
        while data:
            length, rest = data.split(b" ", 1)
            lines.append(rest[:int(length)].rsplit(b" - ", 1)[1])
            data = rest[int(length):]
        self.assertEqual(lines, [b"line %d\n" % i for i in range(2000)])

    # --- gelf ---

    @staticmethod
    def gelf_messages(datagrams):
        chunks, out = {}, []
        for data in datagrams:
            if data[:2] == b"\x1e\x0f":
                identity, number, count = data[2:10], data[10], data[11]
                parts = chunks.setdefault(identity, {})
                parts[number] = data[12:]
                if len(parts) < count:
                    continue
                data = b"".join(parts[i] for i in range(count))
            if data[:2] == b"\x1f\x8b":
                data = gzip.decompress(data)
            elif data[:1] == b"x":
                data = zlib.decompress(data)
            out.append(json.loads(data))
        return out

    def test_gelf_over_udp_compresses_and_puts_long_lines_into_chunks(self):
        for kind in ("gzip", "zlib", "none"):
            c = self.udp()
            self.run_with("gelf", {"gelf-address": f"udp://127.0.0.1:{c.address[1]}", "gelf-compression-type": kind,
                                   "labels": "role", "env": "COLOUR", "tag": "{{.Name | upper}}"},
                          "echo short; head -c 9000 /dev/urandom | base64 | tr -d '\\n'; echo; echo wrong >&2",
                          "--name", f"gelf-{kind}", "--label", "role=db", "-e", "COLOUR=red")
            wait_for(lambda c=c: len(self.gelf_messages(c.datagrams())) == 3, "three messages")
            self.assertTrue(all(len(d) <= 1420 for d in c.datagrams()))
            self.assertTrue(any(d[:2] == b"\x1e\x0f" for d in c.datagrams()))
            messages = {m["short_message"][:5]: m for m in self.gelf_messages(c.datagrams())}
            m = messages["short"]
            self.assertEqual([m[k] for k in ("version", "host", "level", "_container_name", "_image_name", "_role", "_COLOUR", "_tag")],
                             ["1.1", socket.gethostname(), 6, f"gelf-{kind}", "busybox", "db", "red", f"GELF-{kind.upper()}"])
            self.assertEqual(messages["wrong"]["level"], 3)
            (long,) = [m for k, m in messages.items() if k not in ("short", "wrong")]
            self.assertEqual(long["short_message"] + "\n", self.d.docker("logs", f"gelf-{kind}").out.split("\n", 1)[1])

    def test_gelf_over_tcp_ends_each_message_with_a_zero(self):
        c = self.tcp()
        self.run_with("gelf", {"gelf-address": f"tcp://127.0.0.1:{c.address[1]}"}, COUNT % 3000)
        wait_for(lambda: b"".join(c.streams()).count(b"\0") == 3000, "all messages")
        lines = [json.loads(m)["short_message"] for m in c.streams()[0].split(b"\0")[:-1]]
        self.assertEqual(lines, [f"line {i}" for i in range(3000)])

    # --- fluentd ---

    def test_fluentd_gets_the_forward_protocol_with_sub_seconds_and_parts_of_long_lines(self):
        c = self.tcp()
        made = self.run_with("fluentd", {"fluentd-address": f"127.0.0.1:{c.address[1]}", "fluentd-sub-second-precision": "true",
                                         "labels-regex": "^com\\.", "tag": "docker.{{.Name}}"},
                             "echo one; head -c 40000 /dev/zero | tr '\\0' x; echo", "--name", "fl", "--label", "com.a=1", "--label", "org.b=2")
        wait_for(lambda: len(unpack_all(b"".join(c.streams()))) == 4, "four messages")
        messages = unpack_all(c.streams()[0])
        self.assertEqual({m[0] for m in messages}, {b"docker.fl"})
        self.assertTrue(all(isinstance(m[1], tuple) and m[1][1] < 10**9 for m in messages))
        self.assertEqual(messages[0][2], {"container_id": made.encode(), "container_name": b"/fl", "source": b"stdout",
                                          "log": b"one", "com.a": b"1"})
        parts = [m[2] for m in messages[1:]]
        self.assertEqual(b"".join(p["log"] for p in parts), b"x" * 40000)
        self.assertEqual([(p["partial_ordinal"], p["partial_last"]) for p in parts], [(b"1", b"false"), (b"2", b"false"), (b"3", b"true")])
        self.assertEqual(len({p["partial_id"] for p in parts}), 1)

    def test_fluentd_sends_again_what_was_not_acknowledged(self):
        def refuse(connection, number, collector):
            if len(unpack_all(collector.stream(number))) >= 3:
                connection.shutdown(socket.SHUT_RDWR)

        def acknowledge(connection, number, collector):
            done = collector.__dict__.setdefault("acknowledged", {})
            messages = unpack_all(collector.stream(number))
            for m in messages[done.get(number, 0):]:
                chunk = m[3]["chunk"]
                connection.sendall(b"\x81\xa3ack" + bytes([0xa0 | len(chunk)]) + chunk)
            done[number] = len(messages)
        path = self.path("fluent.sock")
        first = self.collector(socket.AF_UNIX, socket.SOCK_STREAM, path, answer=refuse)
        self.run_with("fluentd", {"fluentd-address": f"unix://{path}", "fluentd-request-ack": "true", "fluentd-retry-wait": "50ms"},
                      COUNT % 5, "--name", "acked")
        wait_for(lambda: len(first.streams()) >= 2, "a second try")
        first.stop()
        os.unlink(path)
        second = self.collector(socket.AF_UNIX, socket.SOCK_STREAM, path, answer=acknowledge)
        wait_for(lambda: len(unpack_all(b"".join(second.streams()))) >= 5, "all of them on a collector that acknowledges")
        self.assertEqual([m[2]["log"] for m in unpack_all(second.streams()[0])], [b"line %d" % i for i in range(5)])

    # --- json-file and local ---

    def test_json_file_is_what_other_tools_read_where_inspect_says(self):
        made = self.run_with("json-file", {"labels": "role", "env-regex": "^CO", "tag": "{{.ID}}"},
                             r'''printf 'plain\n"quoted" <b> \\ \t tab\n'; printf '\377bad \303\244\n' >&2; printf 'no end' ''',
                             "--label", "role=db", "-e", "COLOUR=red")
        self.d.docker("wait", made)
        path = self.d.inspect(made)["LogPath"]
        self.assertEqual(os.path.basename(path), f"{made}-json.log")
        wait_for(lambda: os.path.exists(path) and open(path).read().count("\n") == 4, "four lines")
        lines = [json.loads(line) for line in open(path)]
        out = [m["log"] for m in lines if m["stream"] == "stdout"]
        self.assertEqual(out, ["plain\n", '"quoted" <b> \\ \t tab\n', "no end"])
        self.assertEqual([m["log"] for m in lines if m["stream"] == "stderr"], ["\ufffdbad \u00e4\n"])
        for m in lines:
            self.assertEqual(m["attrs"], {"role": "db", "COLOUR": "red", "tag": made[:12]})
            self.assertRegex(m["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")

    def test_json_file_is_rotated_at_its_size_and_compressed(self):
        made = self.run_with("json-file", {"max-size": "64k", "max-file": "3", "compress": "true"}, COUNT % 6000)
        path = self.d.inspect(made)["LogPath"]

        def shape():
            folder = os.path.dirname(path)
            return sorted(n[len(os.path.basename(path)):] for n in os.listdir(folder) if n.startswith(os.path.basename(path)))

        def last_line():
            with open(path) as f:
                return "line 5999\\n" in f.read()
        wait_for(lambda: os.path.exists(path) and last_line(), "the last line in the file")
        wait_for(lambda: shape() == ["", ".1.gz", ".2.gz"], f"three files, the old ones compressed: {shape()}")
        text = b"".join(gzip.open(path + s).read() for s in (".2.gz", ".1.gz")) + open(path, "rb").read()
        numbers = [int(json.loads(line)["log"].split()[1]) for line in text.splitlines()]
        self.assertEqual(numbers, list(range(numbers[0], 6000)))
        self.assertLessEqual(os.path.getsize(path), 64 << 10 | 200)

    # --- local ---

    def test_the_local_log_is_compressed_as_it_rotates(self):
        """Also that of a driver with another destination, which is read meanwhile."""
        c = self.udp()
        for driver, options in (("local", {"max-size": "64k", "max-file": "5"}),
                                ("syslog", {"syslog-address": f"udp://127.0.0.1:{c.address[1]}", "cache-max-size": "64k", "cache-max-file": "5"})):
            made = self.run_with(driver, options, "mkfifo /go; for n in 1 2 3; do " + LONG % 1000 + "; read x </go; done")
            folder = os.path.join(self.d.data, "containers", made)

            def compressed():
                heads = {n: open(os.path.join(folder, n), "rb").read(8) for n in os.listdir(folder) if re.fullmatch(r"log(\.\d+|\.z)?", n)}
                return sorted(n for n, head in heads.items() if head == b"DRVLOGZ\n")

            def last():
                return self.d.docker("logs", "--tail", "1", made).out.startswith("line 999 ")
            for place in ("log.z", "log."):  # the newest waits beside the log until the next rotation
                wait_for(lambda: last() and "log.z" in compressed() and compressed()[0].startswith(place), f"compressed files: {compressed()}")
                self.d.docker("exec", made, "sh", "-c", "echo >/go")
            wait_for(lambda: last() and "log.z" in compressed(), f"compressed files: {compressed()}")
            numbers = [int(line.split()[1]) for line in self.d.docker("logs", made).out.splitlines()]
            self.assertEqual(numbers, (list(range(1000)) * 3)[-len(numbers):])
            self.assertGreater(len(numbers), 1500)
            self.d.docker("rm", "-f", made)

    # --- journald ---

    def test_journald_gets_native_entries(self):
        d = Drover()
        path = os.path.join(d.root, "journal.sock")
        c = self.collector(socket.AF_UNIX, socket.SOCK_DGRAM, path)
        os.environ["DROVER_JOURNAL_SOCKET"] = path
        try:
            d.start()
            d.busybox()
            made = d.docker("run", "-d", "--name", "jo", "--log-driver", "journald", "--log-opt", "labels=my.role", "--label", "my.role=db",
                            "busybox", "sh", "-c", "echo out; echo err >&2").out.strip()
            wait_for(lambda: len(c.chunks) == 2, "both entries")
            entries = [self.journal_entry(e) for e in c.datagrams()]
            by = {e["MESSAGE"]: e for e in entries}
            self.assertEqual(by["out"]["PRIORITY"], "6")
            self.assertEqual(by["err"]["PRIORITY"], "3")
            for key, value in (("CONTAINER_ID", made[:12]), ("CONTAINER_ID_FULL", made), ("CONTAINER_NAME", "jo"), ("IMAGE_NAME", "busybox"),
                               ("CONTAINER_TAG", made[:12]), ("SYSLOG_IDENTIFIER", made[:12]), ("MY_ROLE", "db")):
                self.assertEqual(by["out"][key], value, key)
        finally:
            del os.environ["DROVER_JOURNAL_SOCKET"]
            left = d.remove()
        self.assertEqual(left, "")

    @staticmethod
    def journal_entry(data):
        out, at = {}, 0
        while at < len(data):
            end = data.index(b"\n", at)
            name, equals, value = data[at:end].partition(b"=")
            if not equals:
                (length,) = struct.unpack_from("<Q", data, end + 1)
                value = data[end + 9:end + 9 + length]
                end += 9 + length
                assert data[end:end + 1] == b"\n"
            out[name.decode()] = value.decode()
            at = end + 1
        return out

    # --- options ---

    def test_wrong_options_are_refused_in_docker_s_words(self):
        for driver, options, message in (
                ("asdf", {}, "logger: no log driver named 'asdf' is registered"),
                ("json-file", {"x": "1"}, "unknown log opt 'x' for json-file log driver"),
                ("local", {"x": "1"}, "unknown log opt 'x' for log driver local"),
                ("syslog", {"x": "1"}, "unknown log opt 'x' for syslog log driver"),
                ("journald", {"x": "1"}, "unknown log opt 'x' for journald log driver"),
                ("fluentd", {"x": "1"}, "unknown log opt 'x' for fluentd log driver"),
                ("gelf", {"gelf-address": "udp://h:1", "x": "1"}, 'unknown log opt "x" for gelf log driver'),
                ("gelf", {}, "gelf-address is a required parameter"),
                ("gelf", {"gelf-address": "unix:///x"}, "gelf: endpoint needs to be TCP or UDP"),
                ("gelf", {"gelf-address": "udp://h"}, "gelf: please provide gelf-address as proto://host:port"),
                ("gelf", {"gelf-address": "tcp://h:1", "gelf-compression-type": "gzip"}, "compression is only supported on UDP"),
                ("gelf", {"gelf-address": "udp://h:1", "gelf-tcp-max-reconnect": "1"}, '"gelf-tcp-max-reconnect" is only valid for TCP'),
                ("syslog", {"syslog-address": "corge"}, "syslog-address should be in form proto://address, got corge"),
                ("syslog", {"syslog-address": "unix:///no/such/socket"}, "stat /no/such/socket: no such file or directory"),
                ("syslog", {"syslog-facility": "unknown"}, "invalid syslog facility"),
                ("syslog", {"syslog-format": "rfc1"}, "Invalid syslog format"),
                ("fluentd", {"fluentd-async": "true", "fluentd-async-connect": "true"}, "conflicting options"),
                ("json-file", {"mode": "sometimes"}, "logger: logging mode not supported: sometimes"),
                ("json-file", {"max-buffer-size": "1m"}, "logger: max-buffer-size option is only supported with 'mode=non-blocking'"),
                ("json-file", {"max-size": "many"}, "max-size"),
                ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
                ("json-file", {"compress": "true"}, "compress cannot be true when max-file is less than 2 or max-size is not set"),
                ("local", {"compress": "true", "max-file": "1"}, "compress cannot be true when max-file is less than 2"),
                ("json-file", {"tag": "{{.Nothing}}"}, "template: log-tag"),
                ("json-file", {"labels-regex": "("}, "labels-regex")):
            status, _, body = self.d.api("POST", "/v1.41/containers/create", {
                "Image": "busybox", "HostConfig": {"LogConfig": {"Type": driver, "Config": options}}})
            self.assertEqual(status, 400, (driver, options, body))
            self.assertIn(message, json.loads(body)["message"])

    def test_a_start_whose_collector_does_not_answer_fails_as_docker_s_does(self):
        for driver, options in (("fluentd", {"fluentd-address": "127.0.0.1:1"}), ("syslog", {"syslog-address": "tcp://127.0.0.1:1"}),
                                ("gelf", {"gelf-address": "tcp://127.0.0.1:1"})):
            flags = [word for key, value in options.items() for word in ("--log-opt", f"{key}={value}")]
            done = self.d.docker("run", "--rm", "--log-driver", driver, *flags, "busybox", "true", check=False)
            self.assert_clean_refusal(done, "failed to initialize logging driver: dial tcp 127.0.0.1:1: connect: connection refused")
        self.d.docker("run", "--rm", "--log-driver", "fluentd", "--log-opt", "fluentd-address=127.0.0.1:1", "--log-opt", "fluentd-async=true",
                      "busybox", "echo", "hi")

    def test_none_keeps_nothing_and_says_so(self):
        made = self.run_with("none", {}, "echo hi")
        self.d.docker("wait", made)
        status, _, body = self.d.api("GET", f"/containers/{made}/logs?stdout=1")
        self.assertEqual((status, json.loads(body)["message"]), (501, "configured logging driver does not support reading"))
        self.assertEqual(self.d.inspect(made)["LogPath"], "")

    def test_a_line_of_a_container_that_is_removed_at_its_end_still_arrives(self):
        c = self.tcp()
        for i in range(5):
            self.d.docker("run", "--rm", "--log-driver", "syslog", "--log-opt", f"syslog-address=tcp://127.0.0.1:{c.address[1]}",
                          "busybox", "echo", f"brief {i}")
        wait_for(lambda: b"".join(c.streams()).count(b"\n") == 5, "all five")
        self.assertEqual([s.rsplit(b": ", 1)[1] for s in sorted(c.streams(), key=lambda s: s[-3:])], [b"brief %d\n" % i for i in range(5)])

    def test_a_backlog_that_may_not_grow_loses_its_oldest_lines_and_counts_them(self):
        c = self.tcp()
        port = c.address[1]
        bind = self.path("bind")
        os.makedirs(bind)
        os.mkfifo(os.path.join(bind, "go"))
        made = self.run_with("syslog", {"syslog-address": f"tcp://127.0.0.1:{port}", "mode": "non-blocking", "max-buffer-size": "8k"},
                             "echo first; cat /b/go; " + COUNT % 2000 + "; cat /b/go", "-v", f"{bind}:/b")
        wait_for(lambda: b"first\n" in b"".join(c.streams()), "the first line")
        c.stop()
        with open(os.path.join(bind, "go"), "w"):
            pass
        wait_for(lambda: "line 1999" in self.d.docker("logs", "--tail", "1", made).out, "all lines in the log")
        wait_for(lambda: self.d.inspect(made)["OutputLost"].get("DroppedLines"), "lines to be given up")
        again = self.tcp(port)
        wait_for(lambda: b"line 1999\n" in b"".join(again.streams()), "the newest line")
        dropped = self.d.inspect(made)["OutputLost"]["DroppedLines"]
        lines = [int(line.rsplit(b" ", 1)[1]) for line in b"".join(again.streams()).splitlines()]
        self.assertEqual(lines, list(range(lines[0], 2000)))
        self.assertEqual(dropped, lines[0])
        self.d.docker("rm", "-f", made)


class Collectors(Story):
    """Collectors and serve die and come back."""
    shared = False

    def lines_of(self, collectors):
        """Whole lines of all connections; what a connection was cut off in is none."""
        out = []
        for c in collectors:
            for stream in c.streams():
                out += [line.rsplit(b": ", 1)[1] for line in stream.split(b"\n")[:-1]]
        return out

    def test_serve_killed_again_and_again_loses_and_doubles_no_line_at_any_collector(self):
        d, total = self.d, 3000
        tcp = Collector(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        udp = Collector(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        fluentd = Collector(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        try:
            def talk(name, driver, *options):
                d.docker("run", "-d", "--name", name, "--log-driver", driver, *[w for o in options for w in ("--log-opt", o)],
                         "busybox", "sh", "-c", SLOWLY % total)
            talk("tcp", "syslog", f"syslog-address=tcp://127.0.0.1:{tcp.address[1]}")
            talk("udp", "syslog", f"syslog-address=udp://127.0.0.1:{udp.address[1]}")
            talk("fluentd", "fluentd", f"fluentd-address=127.0.0.1:{fluentd.address[1]}")
            talk("file", "json-file")
            for kill in range(8):
                least = kill * 60
                wait_for(lambda least=least: tcp.chunks and len(self.lines_of([tcp])) > least, "some lines")
                for _ in range(3):  # also before what the last one left is finished
                    d.kill9()
                    d.start()
            d.docker("wait", "tcp", "udp", "fluentd", "file")
            wanted = [b"line %d" % i for i in range(total)]
            wait_for(lambda: len(self.lines_of([tcp])) >= total, "all lines over tcp")
            self.assertEqual(self.lines_of([tcp]), wanted)
            wait_for(lambda: len(udp.chunks) >= total, "all datagrams")
            self.assertEqual([m.rsplit(b": ", 1)[1][:-1] for m in udp.datagrams()], wanted)

            def records():
                return [m[2]["log"] for s in fluentd.streams() for m in unpack_all(s)]
            wait_for(lambda: len(records()) >= total, "all records")
            self.assertEqual(records(), wanted)
            path = d.inspect("file")["LogPath"]
            wait_for(lambda: open(path).read().count("\n") >= total, "all lines in the file")
            self.assertEqual([json.loads(line)["log"] for line in open(path)], [w.decode() + "\n" for w in wanted])
        finally:
            for c in (tcp, udp, fluentd):
                c.stop()

    def test_a_collector_that_dies_and_comes_back_has_every_line_once(self):
        d, total = self.d, 2000
        collectors = [Collector(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))]
        port = collectors[0].address[1]
        try:
            d.docker("run", "-d", "--name", "talker", "--log-driver", "syslog", "--log-opt", f"syslog-address=tcp://127.0.0.1:{port}",
                     "busybox", "sh", "-c", SLOWLY % total)
            for death in range(4):
                least = 1 + death * 200
                wait_for(lambda least=least: len(self.lines_of(collectors)) > least, "some lines")
                collectors[-1].stop()
                wait_for(lambda: d.inspect("talker")["OutputLost"].get("Away"), "its absence to be noticed")
                if death == 2:
                    d.kill9()
                    d.start()
                collectors.append(Collector(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port)))
            d.docker("wait", "talker")
            wait_for(lambda: len(self.lines_of(collectors)) >= total, "all lines")
            self.assertEqual(self.lines_of(collectors), [b"line %d" % i for i in range(total)])
        finally:
            for c in collectors:
                c.stop()

    def test_defaults_of_the_server_go_to_containers_that_name_no_driver(self):
        d = Drover()
        try:
            d.start("--log-driver", "local", "--log-opt", "max-size=5m")
            d.busybox()
            d.docker("create", "--name", "plain", "busybox")
            d.docker("create", "--name", "own", "--log-driver", "json-file", "busybox")
            d.docker("create", "--name", "more", "--log-opt", "max-file=2", "busybox")
            self.assertEqual(d.inspect("plain")["HostConfig"]["LogConfig"], {"Type": "local", "Config": {"max-size": "5m"}})
            self.assertEqual(d.inspect("own")["HostConfig"]["LogConfig"], {"Type": "json-file", "Config": {}})
            self.assertEqual(d.inspect("more")["HostConfig"]["LogConfig"], {"Type": "local", "Config": {"max-file": "2", "max-size": "5m"}})
            info = json.loads(d.api("GET", "/info")[2])
            self.assertEqual(info["LoggingDriver"], "local")
            self.assertEqual(info["Plugins"]["Log"], ["fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"])
        finally:
            self.assertEqual(d.remove(), "")
        refused = run([os.environ.get("DROVER", "build/drover"), "serve", "--root", tempfile.gettempdir() + "/never", "--log-driver", "asdf"], check=False)
        self.assert_clean_refusal(refused, "logger: no log driver named 'asdf' is registered")
