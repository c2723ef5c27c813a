"""Steps of a stage that do not need the ones above them are prepared while those run."""
import http.server
import os
import threading

from harness import Story


class Gate:
    """A server whose /gate answers once /late has been asked for, and whose /endless sends until nobody reads."""

    def __init__(self, case):
        self.asked, self.ended = threading.Event(), threading.Event()
        gate = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                getattr(gate, "serve_" + (self.path.strip("/").split("/")[0] or "root"))(self)

            def log_message(self, *args):
                pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        case.addCleanup(server.server_close)
        case.addCleanup(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"

    def answer(self, request, status, body):
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def serve_gate(self, request):
        opened = self.asked.wait(60)
        self.answer(request, 200 if opened else 503, b"open\n")

    def serve_late(self, request):
        self.asked.set()
        self.answer(request, 200, b"late\n")

    def serve_root(self, request):
        self.answer(request, 200, b"root\n")

    def serve_none(self, request):
        self.asked.set()
        self.answer(request, 404, b"")

    def serve_endless(self, request):
        request.send_response(200)
        request.end_headers()
        self.asked.set()
        try:
            while True:
                request.wfile.write(b"x" * 65536)
        except OSError:
            self.ended.set()


class Ahead(Story):
    def context(self, name, dockerfile, **files):
        folder = os.path.join(self.d.root, "ahead-" + name)
        os.makedirs(folder, exist_ok=True)
        for path, text in {"Dockerfile": dockerfile, **files}.items():
            with open(os.path.join(folder, path), "w") as f:
                f.write(text)
        return folder

    def test_a_download_does_not_wait_for_the_run_above_it(self):
        gate = Gate(self)
        folder = self.context("download", f"FROM busybox\nARG WHAT=late\nRUN --network=host wget -q -O /gate {gate.url}/gate\n"
                              f"ENV TO=/there\nWORKDIR /w\nRUN pwd > /first\nADD --chmod=640 {gate.url}/$WHAT $TO/\nADD --link {gate.url}/late ./name\n")
        self.d.drover("build", "-t", "download", folder)
        self.assertEqual(self.d.docker("run", "--rm", "download", "sh", "-c", "cat /gate /first /there/late /w/name; stat -c %a /there/late").out, "open\n/w\nlate\nlate\n640\n")

    def test_what_fails_ahead_is_told_in_its_turn(self):
        gate = Gate(self)
        folder = self.context("missing", f"FROM busybox\nRUN --network=host wget -q -O /gate {gate.url}/gate && echo came this far\nADD {gate.url}/none /x\n")
        told = self.d.drover("build", "--progress", "plain", folder, check=False)
        self.assertNotEqual(told.status, 0)
        self.assertIn("came this far", told.out + told.err)
        self.assertIn("Dockerfile:3: ADD failed", told.err)
        self.assertIn("404", told.err)
        folder = self.context("first", f"FROM busybox\nRUN --network=host wget -q -O /gate {gate.url}/gate; exit 7\nADD {gate.url}/none /x\n")
        told = self.d.drover("build", folder, check=False)
        self.assertIn("returned a non-zero code: 7", told.err)
        self.assertNotIn("404", told.err)

    def test_a_run_that_fails_ends_the_downloads_below_it(self):
        gate = Gate(self)
        folder = self.context("endless", f"FROM busybox\nRUN --network=host wget -q -O /gate {gate.url}/gate && exit 3\nADD {gate.url}/endless /x\n")
        told = self.d.drover("build", folder, check=False)
        self.assertIn("returned a non-zero code: 3", told.err)
        self.assertTrue(gate.ended.wait(60))

    def test_a_layer_made_ahead_is_the_one_made_in_turn(self):
        copy = "COPY --link --chown=3:4 a b /d/e/\n"
        first = self.context("turn", "FROM busybox\n" + copy, a="1\n", b="22\n")
        later = self.context("ahead", "FROM busybox\nRUN echo x > /x\n" + copy + "RUN cat /d/e/* > /y\n" + copy.replace("/d", "/f"), a="1\n", b="22\n")
        layers = {}
        for name, folder in (("turn", first), ("ahead", later), ("again", later)):
            self.d.drover("build", "--no-cache", "-t", name, "--build-arg", "SOURCE_DATE_EPOCH=1700000000", folder)
            layers[name] = self.d.inspect(name)["RootFS"]["Layers"]
        self.assertEqual(layers["turn"][-1], layers["ahead"][2])
        self.assertEqual(layers["ahead"], layers["again"])
        self.assertEqual(self.d.docker("run", "--rm", "ahead", "sh", "-c", "cat /y /f/e/a; stat -c %u:%g /f/e /f/e/b").out, "1\n22\n1\n3:4\n3:4\n")
        told = self.d.drover("build", "--progress", "plain", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", later)
        self.assertGreaterEqual((told.out + told.err).count("CACHED"), 4)

    def test_a_download_without_a_name(self):
        gate = Gate(self)
        folder = self.context("unnamed", f"FROM busybox\nADD {gate.url}/ /dest/\nADD {gate.url} /file\nADD {gate.url}/late/?x=/y /dest/\n"
                              f"ADD {gate.url}/late/a%2Fb%20%C3%A9+.txt /esc/\nADD {gate.url}/late/50%25?n=%41 {gate.url}/late/%zz {gate.url}/late/x%2F /esc/\n")
        self.d.drover("build", "-t", "unnamed", folder)
        self.assertEqual(self.d.docker("run", "--rm", "unnamed", "sh", "-c", "cat /dest/__unnamed__ /file /dest/late").out, "root\nroot\nlate\n")
        self.assertEqual(self.d.docker("run", "--rm", "unnamed", "sh", "-c", "cd /esc; echo *").out, "%zz 50% b \u00e9+.txt x\n")
