"""User namespaces: root in the container is an ordinary user of the machine, and nothing else is different for it."""
import io
import json
import os
import tarfile
import unittest

from harness import DROVER, Drover, Story, http_get, run, wait_for


def outside_ids(pid):
    with open(f"/proc/{pid}/status") as f:
        status = dict(line.split(":", 1) for line in f)
    return int(status["Uid"].split()[0]), int(status["Gid"].split()[0])


def tar_of(name, data, uid=0, gid=0, mode=0o644):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size, entry.uid, entry.gid, entry.mode = len(data), uid, gid, mode
        tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


class Remapped(Story):
    """drover serve --userns-remap"""
    image = False
    first = 300000

    @classmethod
    def make(cls):
        d = Drover().start("--userns-remap", f"{cls.first}:65536")
        d.busybox()
        return d

    def sleeper(self, *args):
        return self.d.docker("run", "-d", *args, "busybox", "sleep", "1000").out.strip()

    def test_root_is_root_inside_and_nobody_in_particular_outside(self):
        name = self.sleeper()
        self.assertEqual(self.d.docker("exec", name, "id", "-u").out, "0\n")
        self.assertEqual(outside_ids(self.d.inspect(name)["State"]["Pid"]), (self.first, self.first))
        out = self.d.docker("exec", name, "cat", "/proc/self/uid_map", "/proc/self/gid_map").out
        self.assertEqual([line.split() for line in out.splitlines()], [["0", str(self.first), "65536"]] * 2)
        out = self.d.docker("run", "--rm", "-u", "1000", "busybox", "sh", "-c", "id -u; cat /proc/self/uid_map").out
        self.assertEqual(out.split()[0], "1000")
        self.assertIn("name=userns", self.d.docker("info", "-f", "{{.SecurityOptions}}").out)
        self.d.docker("rm", "-f", name)

    def test_files_of_the_image_belong_to_whom_they_should_and_can_be_changed(self):
        script = ("stat -c %u:%g /bin/busybox /etc/passwd /root /tmp; echo x >> /etc/passwd && chown 5:6 /etc/group && rm /bin/vi && "
                  "mkdir /etc/new && rm -r /var/log && mkdir /var/log && touch /var/log/x && stat -c %u:%g /etc/passwd /etc/group /etc/new /var/log; "
                  "stat -c %u:%g /etc/hosts /etc/resolv.conf /dev /dev/shm /dev/null /proc/self /sys/fs")
        out = self.d.docker("run", "--rm", "busybox", "sh", "-c", script).out.split()
        self.assertEqual(out[:4], ["0:0"] * 4)
        self.assertEqual(out[4:8], ["0:0", "5:6", "0:0", "0:0"])
        self.assertEqual(out[8:12], ["0:0"] * 4, out)

    def test_commit_diff_export_and_cp_see_the_containers_ids(self):
        d = self.d
        name = d.docker("run", "-d", "busybox", "sh", "-c", "echo a > /a; chown 7:8 /a; rm /bin/vi; touch /done; sleep 1000").out.strip()
        wait_for(lambda: d.docker("exec", name, "ls", "/done", check=False).status == 0, "the files")
        changes = d.docker("diff", name).out.split("\n")
        self.assertIn("A /a", changes)
        self.assertIn("D /bin/vi", changes)
        d.docker("commit", name, "committed")
        self.assertEqual(d.docker("run", "--rm", "committed", "stat", "-c", "%u:%g", "/a").out, "7:8\n")
        for running in (True, False):
            if not running:
                d.docker("kill", name)
                wait_for(lambda: not d.inspect(name)["State"]["Running"], "its end")
            got = run([d.cli, "cp", f"{name}:/a", "-"], env=d.env(), text=False).out
            with tarfile.open(fileobj=io.BytesIO(got)) as tar:
                self.assertEqual([(m.uid, m.gid) for m in tar], [(7, 8)], running)
            where = f"put-{running}"
            self.assertEqual(d.api("PUT", f"/containers/{name}/archive?path=/tmp", tar_of(where, b"data", 9, 10),
                                   {"Content-Type": "application/x-tar"})[0], 200)
            d.docker("start", name) if not running else None
            self.assertEqual(d.docker("exec", name, "stat", "-c", "%u:%g", f"/tmp/{where}").out, "9:10\n")
        data = run([d.cli, "export", name], env=d.env(), text=False).out
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            self.assertEqual((tar.getmember("a").uid, tar.getmember("a").gid), (7, 8))
            self.assertEqual(tar.getmember("bin/busybox").uid, 0)
        d.docker("rm", "-f", name)

    def test_files_in_a_volume_have_the_owners_that_containers_see_whatever_their_range(self):
        d = self.d
        d.docker("run", "--rm", "-v", "shared:/data", "busybox", "sh", "-c", "echo v > /data/f; chown 1000:1000 /data/f")
        for mode in ([], ["--userns", "host"], ["--userns", "auto"]):
            body = {"Image": "busybox", "Cmd": ["sh", "-c", "stat -c %u:%g /data /data/f; echo more >> /data/f"],
                    "HostConfig": {"Binds": ["shared:/data"], "UsernsMode": mode[1] if mode else ""}}
            name = json.loads(d.api("POST", "/containers/create", body)[2])["Id"]
            self.assertEqual(d.docker("start", "-a", name).out, "0:0\n1000:1000\n", mode)
            d.docker("rm", name)
        st = os.stat(os.path.join(d.data, "volumes/shared/_data/f"))
        self.assertEqual((st.st_uid, st.st_gid), (1000, 1000))

    def test_a_directory_of_the_machine_is_not_the_containers(self):
        d = self.d
        where = os.path.join(d.root, "bound")
        os.mkdir(where)
        os.chmod(where, 0o755)
        os.chmod(d.root, 0o755)
        done = d.docker("run", "--rm", "-v", f"{where}:/bound", "busybox", "sh", "-c", "stat -c %u /bound; touch /bound/x", check=False)
        self.assertEqual((done.status, done.out), (1, "65534\n"), done)
        os.chown(where, self.first + 5, self.first + 5)
        done = d.docker("run", "--rm", "-u", "5", "-v", f"{where}:/bound", "busybox", "sh", "-c", "stat -c %u /bound; touch /bound/x")
        self.assertEqual(done.out, "5\n")
        self.assertEqual(os.stat(os.path.join(where, "x")).st_uid, self.first + 5)

    def test_published_ports_names_and_health_work(self):
        d = self.d
        d.docker("network", "create", "inner")
        name = d.docker("run", "-d", "--name", "web", "--network", "inner", "-p", "127.0.0.1::80", "--health-cmd", "wget -qO- http://127.0.0.1/",
                        "--health-interval", "1s", "busybox", "sh", "-c", "echo page > /tmp/index.html; exec httpd -f -p 80 -h /tmp").out.strip()
        port = d.docker("port", name, "80").out.split(":")[-1].strip()
        wait_for(lambda: run(["busybox", "wget", "-qO-", f"http://127.0.0.1:{port}/"], check=False).out == "page\n", "the page")
        self.assertEqual(d.docker("run", "--rm", "--network", "inner", "busybox", "wget", "-qO-", "http://web/").out, "page\n")
        wait_for(lambda: d.inspect(name)["State"]["Health"]["Status"] == "healthy", "its health")
        self.assertEqual(d.docker("run", "--rm", "--network", "inner", "busybox", "ping", "-c", "1", "web").status, 0)
        self.assertEqual(d.docker("run", "--rm", "--network", f"container:{name}", "busybox", "wget", "-qO-", "http://127.0.0.1/").out, "page\n")
        self.assertEqual(d.docker("run", "--rm", "--cap-add", "NET_ADMIN", "busybox", "sh", "-c", "ip link add d0 type dummy || ip addr add 10.9.9.9/32 dev lo; ls /sys/class/net | wc -l",
                                  check=False).status, 0)
        d.docker("rm", "-f", name)
        d.docker("network", "rm", "inner")

    def test_what_needs_the_machines_own_root_is_refused_as_docker_does(self):
        for args, words in ((["--privileged"], "privileged mode is incompatible with user namespaces"),
                            (["--network", "host"], "cannot share the host's network namespace when user namespaces are enabled"),
                            (["--pid", "host"], "cannot share the host PID namespace when user namespaces are enabled")):
            self.assert_clean_refusal(self.d.docker("run", "--rm", *args, "busybox", "true", check=False), words)
            self.assertEqual(self.d.docker("run", "--rm", "--userns", "host", *args, "busybox", "cat", "/proc/self/uid_map").out.split()[2],
                             "4294967295")

    def test_a_terminal_a_build_and_a_restart_of_serve(self):
        d = self.d
        done = run(["script", "-qec", f"{d.cli} run --rm -it busybox sh -c 'tty; echo done > /dev/tty'", "/dev/null"], env=d.env(TERM="xterm"))
        self.assertIn("done\r\n", done.out)
        self.assertNotIn("not a tty", done.out)
        d.docker("build", "-t", "built", "-", stdin=b"FROM busybox\nRUN echo x > /made && chown 3:4 /made && id -u && cat /proc/self/uid_map\n")
        self.assertEqual(d.docker("run", "--rm", "built", "stat", "-c", "%u:%g", "/made").out, "3:4\n")
        name = self.sleeper()
        d.stop()
        d.start()  # without the option: what was made with it keeps it
        self.assertEqual(d.docker("exec", name, "cat", "/proc/self/uid_map").out.split()[1], str(self.first))
        d.docker("restart", "-t", "0", name)
        self.assertEqual(d.docker("exec", name, "cat", "/proc/self/uid_map").out.split()[1], str(self.first))
        d.docker("rm", "-f", name)
        d.stop()
        d.start("--userns-remap", f"{self.first}:65536")


class Own(Story):
    """--userns auto: a range of its own for each container."""

    def create(self, mode, **more):
        status, _, body = self.d.api("POST", "/containers/create", {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"UsernsMode": mode, **more}})
        return status, json.loads(body)

    def test_no_two_containers_have_an_id_in_common_and_ranges_come_back(self):
        d = self.d
        names = [self.create("auto")[1]["Id"] for _ in range(3)] + [self.create("auto:size=100000")[1]["Id"], self.create("private")[1]["Id"]]

        def ranges():
            found = []
            for name in names:
                if d.inspect(name)["State"]["Status"] != "running":
                    d.docker("start", name)
                words = d.docker("exec", name, "cat", "/proc/self/uid_map").out.split()
                found.append((int(words[1]), int(words[1]) + int(words[2])))
            return found
        first = ranges()
        for i, a in enumerate(first):
            for b in first[i + 1:]:
                self.assertTrue(a[1] <= b[0] or b[1] <= a[0], first)
        self.assertEqual(first[3][1] - first[3][0], 100000)
        d.stop()
        d.start()
        names.append(self.create("auto")[1]["Id"])
        after = ranges()
        self.assertEqual(after[:5], first)
        self.assertNotIn(after[5], first)
        d.docker("rm", "-f", names.pop(1))
        names.append(self.create("auto")[1]["Id"])
        self.assertEqual(ranges()[-1], first[1])
        d.docker("rm", "-f", *names)

    def test_the_cli_of_drover_and_compose_say_it_too(self):
        out = self.d.drover("run", "--rm", "--userns", "auto", "busybox", "cat", "/proc/self/uid_map").out.split()
        self.assertNotEqual(out[1], "0")
        project = os.path.join(self.d.root, "project")
        os.mkdir(project)
        with open(os.path.join(project, "compose.yaml"), "w") as f:
            f.write("name: mapped\nservices:\n  one:\n    image: busybox\n    command: sleep 1000\n    userns_mode: auto\n")
        self.d.drover("up", "-d", cwd=project)
        name = self.d.docker("ps", "-q", "--filter", "name=mapped").out.strip()
        self.assertNotEqual(self.d.docker("exec", name, "cat", "/proc/self/uid_map").out.split()[1], "0")
        self.d.drover("down", cwd=project)

    def test_a_mode_that_is_none_is_refused(self):
        for mode in ("nonsense", "keep-id", "auto:size=1", "auto:size=x"):
            status, body = self.create(mode)
            self.assertEqual(status, 400, (mode, body))
        other = self.d.docker("run", "--rm", "--runtime", "nonsense", "busybox", check=False)
        self.assert_clean_refusal(other, "unknown or invalid runtime name")
        status, body = self.create("auto", Privileged=True)
        self.assertEqual(status, 400)
        self.assertIn("privileged", body["message"])
        root = os.path.join(self.d.root, "other")
        for text in ("nobody-of-this-name", "0:65536", "5:x", "4294967290:65536"):
            done = run([DROVER, "serve", "--root", root, "--socket", os.path.join(self.d.root, "o.sock"), "--userns-remap", text], check=False)
            self.assert_clean_refusal(done, "userns-remap")

    def test_one_joins_the_namespaces_of_another_with_its_user_namespace(self):
        d = self.d
        one = self.create("auto")[1]["Id"]
        d.docker("start", one)
        mine = d.docker("exec", one, "cat", "/proc/self/uid_map").out
        out = d.docker("run", "--rm", "--network", f"container:{one}", "--pid", f"container:{one}", "busybox", "sh", "-c",
                       "cat /proc/self/uid_map; ps | grep -c 'sleep 1000'").out
        self.assertTrue(out.startswith(mine), out)
        self.assert_clean_refusal(d.docker("run", "--rm", "--userns", "host", "--pid", f"container:{one}", "busybox", check=False), "user namespace")
        d.docker("rm", "-f", one)
