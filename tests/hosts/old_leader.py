"""Stands where a leader was, with its certificate, and answers nodes as one would that does not know that it was replaced:

    old_leader.py ADDRESS CERTIFICATE KEY EPOCH RECORD

To each session: nothing is to run. To each report: taken. What it is asked it writes to RECORD, a line of JSON each."""
import http.server
import json
import ssl
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        with open(sys.argv[5], "a") as record:
            record.write(json.dumps({"path": self.path, **body}) + "\n")
        answer = {"version": "0123456789abcdef-1", "lead": "0123456789abcdef", "epoch": int(sys.argv[4]), "heartbeat_ns": 10 ** 9,
                  "managers": [], "leader": "", "certificate_ns": 90 * 86400 * 10 ** 9, "tasks": [], "services": [], "secrets": [], "configs": []}
        text = json.dumps(answer if self.path == "/cluster/session" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


host, port = sys.argv[1].rsplit(":", 1)
server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
