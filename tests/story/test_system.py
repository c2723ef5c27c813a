"""What the engine says of itself and of the room it takes; events; searches."""
import http.server
import json
import os
import threading
import urllib.parse

from harness import DROVER, Drover, Story, run
from test_disk import images_take
from test_images import query, small_tar


class System(Story):
    def call(self, method, path, body=None, expect=200, headers=None):
        status, _, content = self.d.api(method, path, body, headers)
        self.assertEqual(status, expect, content)
        return json.loads(content) if content.strip() else None

    def build(self, dockerfile, tag=None, **parameters):
        status, _, content = self.d.api("POST", "/build?" + query(version=1, **({"t": tag} if tag else {}), **parameters),
                                        small_tar(Dockerfile=dockerfile), {"Content-Type": "application/x-tar"})
        self.assertEqual(status, 200, content)
        lines = [json.loads(line) for line in content.splitlines()]
        self.assertNotIn("error", lines[-1], lines)
        return next(line["aux"]["ID"] for line in reversed(lines) if "aux" in line)

    def test_info_has_dockers_fields_with_true_values(self):
        info = self.call("GET", "/info")
        self.assertEqual((info["Driver"], info["OSType"], info["NCPU"]), ("overlay2", "linux", os.cpu_count()))
        self.assertTrue(all(len(pair) == 2 for pair in info["DriverStatus"]))
        self.assertEqual(info["Swarm"], {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": "", "RemoteManagers": None})
        self.assertEqual(info["RegistryConfig"]["IndexConfigs"]["docker.io"], {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True})
        self.assertEqual(info["RegistryConfig"]["InsecureRegistryCIDRs"], ["127.0.0.0/8"])
        for field in ("ContainerdCommit", "RuncCommit", "InitCommit"):
            self.assertEqual((info[field], self.call("GET", "/v1.48/info")[field]), ({"ID": ""}, {"ID": "", "Expected": ""}))
        with open("/proc/sys/net/ipv4/ip_forward") as f:
            self.assertEqual(info["IPv4Forwarding"], f.read().strip() == "1")
        self.assertIn({"Base": "172.17.0.0/16", "Size": 16}, info["DefaultAddressPools"])
        self.assertTrue(info["NFd"] > 3 and info["NGoroutines"] > 0)
        self.assertIn(info["Warnings"], (None, [w for w in info["Warnings"] or [] if w.startswith("WARNING: ")]))

    def test_a_ping_tells_which_builder_and_that_there_is_no_swarm(self):
        for method in ("GET", "HEAD"):
            status, headers, body = self.d.api(method, "/_ping")
            self.assertEqual((status, body), (200, b"OK" if method == "GET" else b""))
            self.assertEqual([headers[h] for h in ("Builder-Version", "Swarm", "Cache-Control", "Pragma")],
                             ["1", "inactive", "no-cache, no-store, must-revalidate", "no-cache"])

    def test_disk_usage_counts_users_shares_and_only_what_is_asked(self):
        self.call("POST", "/containers/create?name=user", {"Image": "busybox", "Cmd": ["true"]}, expect=201)
        self.addCleanup(self.d.api, "DELETE", "/containers/user")
        usage = self.call("GET", "/system/df")
        image = next(i for i in usage["Images"] if i["RepoTags"] == ["busybox:latest"])
        self.assertEqual((image["Containers"], image["SharedSize"]), (1, 0))
        self.assertEqual(usage["LayersSize"], sum(i["Size"] - i["SharedSize"] for i in usage["Images"]) + max([0] + [i["SharedSize"] for i in usage["Images"]]))
        self.assertEqual([c["Names"] for c in usage["Containers"]], [["/user"]])
        only = self.call("GET", "/system/df?type=volume&type=build-cache")
        self.assertEqual((only["Images"], only["Containers"], only["LayersSize"]), (None, None, 0))
        self.assertTrue(isinstance(only["Volumes"], list) and isinstance(only["BuildCache"], list))
        for version, shown in (("1.41", True), ("1.42", False), ("1.43", False), ("1.45", False)):
            self.assertEqual("BuilderSize" in self.call("GET", f"/v{version}/system/df"), shown, version)
        status, _, content = self.d.api("GET", "/system/df?type=foo")
        self.assertEqual((status, json.loads(content)["message"]), (400, "unknown object type: foo"))

    def test_the_build_cache_is_shown_and_pruned_and_images_stay(self):
        self.call("POST", "/build/prune")
        nameless = self.call("POST", "/images/create?fromSrc=-", small_tar(f="precious"))["status"]
        last = self.build("FROM busybox\nRUN echo one > /one\nRUN echo two > /two\n", tag="cached")
        records = {r["ID"]: r for r in self.call("GET", "/system/df?type=build-cache")["BuildCache"]}
        parent = records[last]["Parents"][0]
        self.assertEqual((records[last]["InUse"], records[last]["Type"], records[parent]["Size"]), (True, "regular", 4))
        self.assertIn("echo two", records[last]["Description"])
        self.build("FROM busybox\nRUN echo one > /one\nRUN echo two > /two\n", tag="cached")
        again = {r["ID"]: r for r in self.call("GET", "/system/df?type=build-cache")["BuildCache"]}
        self.assertEqual(again[last]["UsageCount"], records[last]["UsageCount"] + 1)
        self.assertEqual(self.call("POST", "/build/prune"), {"CachesDeleted": None, "SpaceReclaimed": 0})
        self.call("DELETE", "/images/cached?noprune=1")
        last = self.build("FROM busybox\nRUN echo one > /one\nRUN echo two > /two\n")
        untouched = self.call("POST", "/build/prune?" + query(filters={"until": ["24h"]}))
        self.assertIsNone(untouched["CachesDeleted"])
        before = images_take(self.d)
        pruned = self.call("POST", "/build/prune")
        self.assertEqual(set(pruned["CachesDeleted"]), {last, parent})
        self.assertEqual(pruned["SpaceReclaimed"], before - images_take(self.d))
        self.assertEqual(self.call("GET", f"/images/{nameless}/json")["Id"], nameless)
        status, _, content = self.d.api("POST", "/build/prune?" + query(filters={"x": ["y"]}))
        self.assertEqual((status, json.loads(content)["message"]), (400, "failed to prune build cache: invalid filter 'x'"))

    def test_a_bad_filter_is_called_so_in_the_words_of_the_clients_time(self):
        bad = query(filters={"x": ["y"]})
        for version, word in (("1.41", "Invalid"), ("1.42", "invalid"), ("1.52", "invalid")):
            for path in ("/images/json", "/volumes", "/containers/json"):
                status, _, content = self.d.api("GET", f"/v{version}{path}?{bad}")
                self.assertEqual((status, json.loads(content)["message"]), (400, f"{word} filter 'x'"), path)

    def test_prune_all_makes_the_next_build_do_its_steps_again(self):
        first = self.build("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\n", tag="kept")
        self.assertEqual(self.build("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\n", tag="kept"), first)
        self.assertIn(first, self.call("POST", "/build/prune?all=1")["CachesDeleted"])
        self.assertEqual(self.call("GET", "/images/kept/json")["Id"], first)
        self.assertNotEqual(self.build("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\n"), first)

    def test_events_are_chosen_by_kind_image_and_scope_and_bad_filters_are_refused(self):
        began = self.call("GET", "/info")["SystemTime"]
        self.call("POST", "/images/busybox/tag?repo=chosen&tag=7", expect=201)
        self.call("POST", "/images/prune")
        self.call("POST", "/volumes/create", {"Name": "chosen"}, expect=201)
        self.call("DELETE", "/volumes/chosen", expect=204)
        self.call("DELETE", "/images/chosen:7")
        now = self.call("GET", "/info")["SystemTime"]

        def told(**filters):
            _, _, content = self.d.api("GET", "/events?" + query(since=began, until=now, filters=filters))
            return [(e["Type"], e["Action"]) for e in map(json.loads, content.splitlines())]
        self.assertEqual(told(type=["volume"]), [("volume", "create"), ("volume", "destroy")])
        self.assertEqual(told(image=["chosen"]), [("image", "tag")])
        self.assertEqual(told(image=["chosen:7"]), [("image", "tag")])
        self.assertEqual(told(event=["prune"]), [("image", "prune")])
        self.assertEqual(told(daemon=["x"]), [])
        self.assertEqual(told(scope=["swarm"]), [])
        self.assertEqual(len(told(scope=["local"])), 5)
        for path, words in (("/events?" + query(until=1, filters={"x": ["y"]}), "invalid filter"), ("/events?since=2&until=1", "`since` time (2) cannot be after `until` time (1)"),
                            ("/events?until=1&since=abc", "since")):
            status, _, content = self.d.api("GET", path)
            self.assertEqual(status, 400)
            self.assertIn(words, json.loads(content)["message"])


class Search(Story):
    image = False

    def serve(self, results=None):
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                asked.append(self.path)
                path, _, parameters = self.path.partition("?")
                body, headers = None, {}
                if path == "/v2/":
                    body = {}
                elif path == "/v1/search" and results is not None:
                    body = {"results": results}
                elif path == "/v2/_catalog":
                    second = "last=" in parameters
                    body = {"repositories": ["team/box-two"] if second else ["other", "a/box"]}
                    headers = {} if second else {"Link": '</v2/_catalog?n=2&last=a%2Fbox>; rel="next"'}
                self.send_response(404 if body is None else 200)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"127.0.0.1:{server.server_address[1]}", asked

    def search(self, expect=200, **parameters):
        status, _, content = self.d.api("GET", "/images/search?" + query(**parameters))
        self.assertEqual(status, expect, content)
        return json.loads(content)

    def test_a_registry_with_a_search_is_asked_and_its_answer_filtered(self):
        results = [{"name": "box", "description": "A box", "star_count": 12, "is_official": True, "is_automated": False},
                   {"name": "u/box", "description": "Mine", "star_count": 1, "is_official": False, "is_automated": True}]
        host, asked = self.serve(results)
        self.assertEqual(self.search(term=f"{host}/my box", limit=7), results)
        self.assertIn("/v1/search?q=my%20box&n=7", asked)
        self.assertEqual(self.search(term=f"{host}/box", filters={"is-official": ["true"]}), results[:1])
        self.assertEqual(self.search(term=f"{host}/box", filters={"is-automated": {"true": True}}), results[1:])
        self.assertEqual(self.search(term=f"{host}/box", filters={"stars": ["2"]}), results[:1])
        out = self.d.docker("search", "--format", "{{.Name}} {{.StarCount}}", f"{host}/box").out
        self.assertEqual(out, "box 12\nu/box 1\n")

    def test_a_registry_without_one_is_searched_through_its_catalog(self):
        host, _ = self.serve()
        self.assertEqual([r["name"] for r in self.search(term=f"{host}/BOX")], [f"{host}/a/box", f"{host}/team/box-two"])
        self.assertEqual([r["name"] for r in self.search(term=f"{host}/box", limit=1)], [f"{host}/a/box"])

    def test_limits_and_filters_are_checked_before_anything_is_asked(self):
        host, asked = self.serve()
        for parameters, words in (({"limit": 0}, "Limit 0 is outside the range of [1, 100]"), ({"limit": 101}, "Limit 101 is outside"), ({"limit": "abc"}, "abc"),
                                  ({"filters": {"x": ["a"]}}, "invalid filter 'x'"), ({"filters": {"stars": ["a"]}}, "invalid filter 'stars"),
                                  ({"filters": {"is-official": ["a"]}}, "invalid filter 'is-official=[a]'")):
            self.assertIn(words, self.search(expect=400, term=f"{host}/box", **parameters)["message"])
        self.search(expect=400, term="")
        self.search(expect=400, term=f"http://{host}/box")
        self.assertEqual(asked, [])


class Talkative(Story):
    shared, image = False, False

    @classmethod
    def make(cls):
        return Drover()

    def test_info_says_whether_the_server_logs_all_it_has_to_say(self):
        for words, debug in ((("--log-level", "debug"), True), ((), False)):
            self.d.start(*words)
            self.assertIs(json.loads(self.d.api("GET", "/info")[2])["Debug"], debug)
            self.d.stop()


class InsecureRegistries(Story):
    """Registries that may be spoken to without TLS because of a range that their address is in."""
    image = False
    ranges = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]  # where bridges' addresses are

    @classmethod
    def make(cls):
        return Drover().start(*(word for text in ["http://registry.lan:5000", *cls.ranges] for word in ("--insecure-registry", text)))

    def plain_registry(self):
        """On the address that the default bridge has on this machine: one that is not the loopback's. What it was asked."""
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
        gateway = json.loads(self.d.api("GET", "/networks/bridge")[2])["IPAM"]["Config"][0]["Gateway"]
        server = http.server.ThreadingHTTPServer((gateway, 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"{gateway}:{server.server_address[1]}", asked

    @staticmethod
    def login(d, address):
        status, _, body = d.api("POST", "/auth", {"username": "u", "password": "p", "serveraddress": address})
        return status, json.loads(body)

    def test_a_registry_in_a_range_is_spoken_to_without_tls_and_info_tells_ranges_and_names_apart(self):
        told = json.loads(self.d.api("GET", "/info")[2])["RegistryConfig"]
        self.assertEqual(told["InsecureRegistryCIDRs"], ["127.0.0.0/8", *self.ranges])
        self.assertEqual(sorted(told["IndexConfigs"]), ["docker.io", "registry.lan:5000"])
        address, asked = self.plain_registry()
        status, answer = self.login(self.d, address)
        self.assertEqual((status, answer.get("Status")), (200, "Login Succeeded"), answer)
        self.assertEqual(set(asked), {"/v2/"})

    def test_a_registry_in_no_range_is_not(self):
        other = Drover().start("--insecure-registry", "203.0.113.0/24")
        self.addCleanup(lambda: self.assertEqual(other.remove(), "", "left behind"))
        address, asked = self.plain_registry()
        status, answer = self.login(other, address)
        self.assertEqual(status, 502, answer)
        self.assertIn(address, answer["message"])
        self.assertEqual(asked, [])

    def test_serve_refuses_what_is_neither_a_host_nor_a_range(self):
        for wrong in ("10.0.0.0/40", "registry.lan/team", ""):
            self.assert_clean_refusal(run([DROVER, "serve", "--root", os.path.join(self.d.root, "other"), "--socket", "/proc/nowhere/other.sock",
                                           "--insecure-registry", wrong], check=False), f'insecure registry "{wrong}"', "HOST[:PORT]")
