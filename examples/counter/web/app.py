"""Counts visits in Redis and shows the count; /healthz says whether Redis answers."""
import html
import http.server
import os
import signal
import socket
import sys
import urllib.request

PORT = int(os.environ.get("PORT", "8000"))
REDIS = (os.environ.get("REDIS_HOST", "redis"), 6379)


def redis(*words):
    """One command and its reply, in Redis' own protocol."""
    with socket.create_connection(REDIS, timeout=3) as connection:
        request = f"*{len(words)}\r\n" + "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in words)
        connection.sendall(request.encode())
        reply = connection.makefile("rb")
        kind, value = (line := reply.readline().decode().rstrip())[:1], line[1:]
        if kind == "-":
            raise OSError(value)
        return reply.read(int(value) + 2)[:-2].decode() if kind == "$" else value


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            if self.path == "/healthz":
                self.answer(200, redis("PING") + "\n", "text/plain")
            elif self.path == "/count":
                self.answer(200, (redis("GET", "visits") or "0") + "\n", "text/plain")
            elif self.path == "/":
                greeting = html.escape(os.environ.get("GREETING", "Hello"))
                count = redis("INCR", "visits")
                self.answer(200, f"<!doctype html><title>Counter</title>\n<h1>{greeting}</h1>\n"
                                 f"<p>Visit number {count}, served by {html.escape(socket.gethostname())}.</p>\n")
            else:
                self.answer(404, "no such page\n", "text/plain")
        except OSError as error:
            self.answer(503, f"redis: {error}\n", "text/plain")

    def answer(self, status, text, kind="text/html; charset=utf-8"):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    if "--check" in sys.argv:
        urllib.request.urlopen(f"http://127.0.0.1:{PORT}/healthz", timeout=4)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"listening on port {PORT}, counting in {REDIS[0]}")
    http.server.ThreadingHTTPServer(("", PORT), Page).serve_forever()


main()
