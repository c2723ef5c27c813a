"""Streams of running processes as clients take them: by upgrade, without one, by WebSocket; how they end."""
import base64
import hashlib
import json
import os
import socket
import struct
import time

from harness import Story, wait_for

UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"
RAW, MULTIPLEXED = "application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream"


def payload(frames, stream=1):
    """What frames of one stream carry, however the output was cut up into them."""
    said = b""
    while frames:
        kind, size = frames[0], int.from_bytes(frames[4:8], "big")
        if kind != stream:
            raise AssertionError(f"a frame of stream {kind}: {frames!r}")
        said, frames = said + frames[8:8 + size], frames[8 + size:]
    return said


def frame(stream, data):
    return struct.pack(">BxxxL", stream, len(data)) + data


class Stream:
    """A connection after its request: `head` is the answer's."""

    def __init__(self, d, method, path, headers="", body=b""):
        self.socket, self.got = socket.socket(socket.AF_UNIX), b""
        self.socket.settimeout(60)
        self.socket.connect(d.socket)
        self.socket.sendall((f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                             f"Content-Length: {len(body)}\r\n{headers}\r\n").encode() + body)
        while b"\r\n\r\n" not in self.got:
            self.more()
        head, self.got = self.got.split(b"\r\n\r\n", 1)
        self.head = head.decode()

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(self.got)
        self.got += data

    def say(self, data):
        self.socket.sendall(data)

    def hear(self, data):
        while data not in self.got:
            self.more()
        self.got = self.got.split(data, 1)[1]

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def rest(self):
        try:
            while True:
                self.more()
        except EOFError:
            return self.got

    def close(self):
        self.socket.close()


class WebSocket(Stream):
    KEY = base64.b64encode(b"0123456789abcdef").decode()

    def __init__(self, d, path):
        super().__init__(d, "GET", path, f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {self.KEY}\r\n"
                         "Sec-WebSocket-Version: 13\r\n")

    def send(self, opcode, data, final=True):
        mask = os.urandom(4)
        size = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0xfe]) + struct.pack(">H", len(data))
        self.say(bytes([(0x80 if final else 0) | opcode]) + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def receive(self):
        """(opcode, data) of one frame."""
        def need(n):
            while len(self.got) < n:
                self.more()
        need(2)
        size, at = self.got[1] & 0x7f, 2
        if size == 126:
            need(4)
            size, at = struct.unpack(">H", self.got[2:4])[0], 4
        need(at + size)
        opcode, data = self.got[0], self.got[at:at + size]
        self.got = self.got[at + size:]
        return opcode, data

    def bytes_until(self, end, opcode):
        data = b""
        while not data.endswith(end):
            kind, part = self.receive()
            assert kind == opcode, (kind, part, data)
            data += part
        return data


class Attach(Story):
    def run_box(self, *args):
        self.d.docker("rm", "-f", "box", check=False)
        self.d.docker("run", "-d", "--name", "box", "--stop-signal", "KILL", "--network", "none", *args)

    def attach(self, query, headers=UPGRADE, version="1.45", container="box"):
        return Stream(self.d, "POST", f"/v{version}/containers/{container}/attach?{query}", headers)

    def actions(self, since):
        out = self.d.docker("events", "--since", since, "--until", str(time.time()), "--format", "{{.Action}}").out
        return out.split("\n")

    def running(self):
        return self.d.inspect("box")["State"]["Running"]

    def test_without_an_upgrade_200_begins_raw_bytes_both_ways(self):
        self.run_box("-i", "busybox", "cat")
        s = self.attach("stream=1&stdin=1&stdout=1", headers="")
        self.assertTrue(s.head.startswith("HTTP/1.1 200 OK\r\n"), s.head)
        self.assertIn(f"Content-Type: {RAW}", s.head)
        self.assertNotIn("Transfer-Encoding", s.head)
        for word in (b"one\n", b"two\n"):
            s.say(word)
            s.hear(frame(1, word))
        s.close()

    def test_the_content_type_tells_frames_from_bytes_since_1_42(self):
        self.run_box("-i", "busybox", "cat")
        for version, kind in (("1.41", RAW), ("1.42", MULTIPLEXED), ("1.45", MULTIPLEXED)):
            s = self.attach("stream=1&stdout=1", version=version)
            self.assertTrue(s.head.startswith("HTTP/1.1 101 UPGRADED\r\n"), s.head)
            self.assertIn(f"Content-Type: {kind}\r\n", s.head + "\r\n")
            s.close()
        self.run_box("-it", "busybox", "cat")
        s = self.attach("stream=1&stdout=1")
        self.assertIn(f"Content-Type: {RAW}\r\n", s.head + "\r\n")
        s.close()

    def test_the_end_of_input_ends_the_attach_and_not_the_container(self):
        for tty in ("-i", "-it"):
            self.run_box(tty, "busybox", "cat")
            s = self.attach("stream=1&stdin=1&stdout=1&stderr=1")
            s.say(b"word\n")
            s.hear(b"word")
            s.half_close()
            s.rest()
            self.assertTrue(self.running())
            s.close()

    def test_the_end_of_input_reaches_a_process_whose_input_is_read_once(self):
        self.d.docker("rm", "-f", "once", check=False)
        body = {"Image": "busybox", "Cmd": ["sh", "-c", "cat; echo after"], "OpenStdin": True, "StdinOnce": True, "AttachStdin": True,
                "HostConfig": {"NetworkMode": "none"}}
        status, _, content = self.d.api("POST", "/containers/create?name=once", body)
        self.assertEqual(status, 201, content)
        s = self.attach("stream=1&stdin=1&stdout=1", container="once")
        self.d.docker("start", "once")
        s.say(b"in\n")
        s.half_close()
        self.assertEqual(payload(s.rest()), b"in\nafter\n")
        s.close()
        self.d.docker("rm", "-f", "once")

    def test_past_and_present_are_one_stream(self):
        self.run_box("busybox", "sh", "-c", "echo past; while [ ! -e /go ]; do sleep 0.05; done; echo present")
        wait_for(lambda: "past" in self.d.docker("logs", "box").out, "the first line")
        s = self.attach("logs=1&stream=0&stdout=1")
        self.assertEqual(s.rest(), frame(1, b"past\n"))
        s.close()
        for query in ("stream=0&stdout=1", ""):
            s = self.attach(query)
            self.assertEqual(s.rest(), b"")
            s.close()
        s = self.attach("logs=1&stream=1&stdout=1")
        s.hear(frame(1, b"past\n"))
        self.d.docker("exec", "box", "touch", "/go")
        self.assertEqual(s.rest(), frame(1, b"present\n"))
        s.close()

    def test_detach_keys_leave_the_container_and_tell_it(self):
        self.run_box("-it", "busybox", "cat")
        began = str(time.time())
        s = self.attach("stream=1&stdin=1&stdout=1")
        s.say(b"hi\n")
        s.hear(b"hi\r\nhi\r\n")
        s.say(b"\x10\x11")
        self.assertEqual(s.rest(), b"")
        s.close()
        s = self.attach("stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,DEL")
        s.say(b"\x01\x7f")
        s.rest()
        s.close()
        wait_for(lambda: self.actions(began).count("detach") == 2, "two detach events")
        self.assertTrue(self.running())
        for keys in ("ctrl-1", "x,yy", ","):
            status, _, content = self.d.api("POST", f"/containers/box/attach?stream=1&detachKeys={keys}")
            self.assertEqual((status, json.loads(content)["message"]), (400, f"Invalid detach keys ({keys}) provided"))

    def test_exec_has_its_own_detach_keys_and_input(self):
        self.run_box("-i", "busybox", "cat")
        began = str(time.time())
        _, _, content = self.d.api("POST", "/containers/box/exec", {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True, "Tty": True,
                                                                    "DetachKeys": "ctrl-a,b"})
        exec_id = json.loads(content)["Id"]
        s = Stream(self.d, "POST", f"/v1.45/exec/{exec_id}/start", UPGRADE, b'{"Tty": true}')
        s.say(b"\x01b")
        s.rest()
        s.close()
        wait_for(lambda: "exec_detach" in self.actions(began), "the event")
        status, _, content = self.d.api("POST", "/containers/box/exec", {"Cmd": ["cat"], "DetachKeys": "ctrl-1"})
        self.assertEqual((status, json.loads(content)["message"]), (400, "Invalid escape keys (ctrl-1) provided"))
        for headers, kind in ((UPGRADE, MULTIPLEXED), ("", RAW)):
            _, _, content = self.d.api("POST", "/containers/box/exec", {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True})
            s = Stream(self.d, "POST", f"/v1.45/exec/{json.loads(content)['Id']}/start", headers, b"{}")
            self.assertIn(f"Content-Type: {kind}\r\n", s.head + "\r\n")
            s.say(b"typed\n")
            s.half_close()
            self.assertEqual(s.rest(), frame(1, b"typed\n"))
            s.close()

    def test_a_resize_may_come_before_the_start(self):
        self.run_box("-i", "busybox", "cat")
        status, _, content = self.d.api("POST", "/containers/box/resize?h=20&w=70")
        self.assertEqual(status, 200, content)  # no terminal: nothing to do
        _, _, content = self.d.api("POST", "/containers/box/exec", {"Cmd": ["sh", "-c", "read x; stty size"], "AttachStdin": True,
                                                                    "AttachStdout": True, "Tty": True})
        exec_id = json.loads(content)["Id"]
        early = socket.socket(socket.AF_UNIX)
        early.connect(self.d.socket)
        early.sendall(f"POST /exec/{exec_id}/resize?h=21&w=71 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        s = Stream(self.d, "POST", f"/v1.45/exec/{exec_id}/start", UPGRADE, b'{"Tty": true}')
        self.assertIn(b"HTTP/1.1 200 OK", early.recv(4096))
        early.close()
        s.say(b"\n")
        self.assertIn(b"21 71", s.rest())
        s.close()
        status, _, content = self.d.api("POST", f"/exec/{exec_id}/resize?h=20&w=70")
        self.assertEqual(status, 404, content)
        self.d.docker("kill", "box")
        wait_for(lambda: not self.running(), "its end")
        status, _, content = self.d.api("POST", "/containers/box/resize?h=20&w=70")
        self.assertEqual(status, 409, content)
        self.assertRegex(json.loads(content)["message"], "^Container [0-9a-f]{64} is not running$")
        for query in ("", "?h=1", "?h=x&w=1"):
            self.assertEqual(self.d.api("POST", f"/containers/box/resize{query}")[0], 400)

    def test_websocket_carries_input_and_output(self):
        self.run_box("-i", "busybox", "cat")
        for version, opcode in (("1.45", 0x82), ("1.27", 0x81)):
            s = WebSocket(self.d, f"/v{version}/containers/box/attach/ws?stream=1&stdin=1&stdout=1")
            accept = base64.b64encode(hashlib.sha1(f"{s.KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
            self.assertTrue(s.head.startswith("HTTP/1.1 101 "), s.head)
            self.assertIn(f"Sec-WebSocket-Accept: {accept}", s.head)
            self.assertIn("Upgrade: websocket", s.head)
            s.send(1, b"whole\n")
            self.assertEqual(s.bytes_until(b"whole\n", opcode), b"whole\n")
            s.send(2, b"in ", final=False)
            s.send(9, b"are you there")
            s.send(0, b"parts\n")
            frames = []
            while not (frames and frames[-1][1].endswith(b"parts\n")):
                frames.append(s.receive())
            self.assertEqual([f for f in frames if f[0] != opcode], [(0x8a, b"are you there")])
            self.assertEqual(b"".join(data for kind, data in frames if kind == opcode), b"in parts\n")
            s.send(1, b"x" * 1000 + b"\n")
            self.assertEqual(len(s.bytes_until(b"\n", opcode)), 1001)
            s.send(8, struct.pack(">H", 1000))
            self.assertEqual(s.receive(), (0x88, struct.pack(">H", 1000)))
            self.assertEqual(s.rest(), b"")
            s.close()
            self.assertTrue(self.running())

    def test_websocket_ends_with_the_process_and_refuses_nonsense(self):
        self.run_box("busybox", "sh", "-c", "echo past; while [ ! -e /go ]; do sleep 0.05; done; echo present")
        wait_for(lambda: "past" in self.d.docker("logs", "box").out, "the first line")
        s = WebSocket(self.d, "/containers/box/attach/ws?logs=1&stream=1&stdout=1")
        self.assertEqual(s.bytes_until(b"past\n", 0x82), b"past\n")
        self.d.docker("exec", "box", "touch", "/go")
        self.assertEqual(s.bytes_until(b"present\n", 0x82), b"present\n")
        self.assertEqual(s.receive(), (0x88, struct.pack(">H", 1000)))
        s.close()
        self.run_box("-i", "busybox", "cat")
        for nonsense in (b"\x81\x01x", b"\xf1\x80\0\0\0\0", b"\x80\x80\0\0\0\0", b"\x89\xfe\x01\x00\0\0\0\0", b"\x09\x80\0\0\0\0",
                         b"\x82\xff" + b"\xff" * 8 + b"\0" * 4, b"\x83\x80\0\0\0\0"):
            s = WebSocket(self.d, "/containers/box/attach/ws?stream=1&stdin=1&stdout=1")
            s.say(nonsense)
            self.assertEqual(s.receive(), (0x88, struct.pack(">H", 1002)), nonsense)
            self.assertEqual(s.rest(), b"")
            s.close()
        self.assertEqual(self.d.api("GET", "/containers/box/attach/ws")[0], 400)
        self.assertEqual(self.d.api("GET", "/containers/nope/attach/ws")[0], 404)
        self.assertTrue(self.running())
