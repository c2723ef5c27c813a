"""The stock docker CLI drives Drover: the session of the README, verb by verb."""
import fcntl
import glob
import json
import os
import socket
import struct
import subprocess
import threading
import unittest

from harness import DROVER, SHARED, Story, busybox_root_tar, docker_clis, http_get, run, wait_for


class DockerCli(Story):
    def test_every_cli_version_negotiates_and_runs(self):
        for cli in docker_clis():
            version = json.loads(self.d.docker("version", "-f", "{{json .}}", cli=cli).out)
            self.assertEqual(version["Server"]["Os"], "linux")
            self.assertEqual(self.d.docker("run", "--rm", "busybox", "echo", "hi", cli=cli).out, "hi\n")

    def test_info_counts_what_is_there(self):
        info = json.loads(self.d.docker("info", "-f", "{{json .}}").out)
        self.assertGreaterEqual(info["Images"], 1)
        self.assertEqual(info["OSType"], "linux")

    def test_run_passes_output_apart_and_the_exit_code_on(self):
        done = self.d.docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
        self.assertEqual((done.status, done.out, done.err), (7, "out\n", "err\n"))

    def test_run_says_127_for_no_such_program_and_126_for_one_that_cannot_run(self):
        self.assertEqual(self.d.docker("run", "--rm", "busybox", "nonsense", check=False).status, 127)
        self.assertEqual(self.d.docker("run", "--rm", "busybox", "/etc/passwd", check=False).status, 126)
        self.assertEqual(self.d.docker("ps", "-aq", "--filter", "status=created").out, "")

    def test_run_of_an_image_that_is_not_there_is_one_clear_error(self):
        done = self.d.docker("run", "--rm", "localhost:1/nobody/nothing:none", check=False)
        self.assert_clean_refusal(done, "nobody/nothing")
        self.assertEqual(done.status, 125)

    def test_only_what_is_thrown_away_is_not_synced(self):
        d = self.d
        volatile = "grep ' / overlay' /proc/mounts | grep -c volatile"
        image = "committed-of-rm"
        self.assertEqual(d.docker("run", "busybox", "sh", "-c", volatile, check=False).out, "0\n")
        self.assertEqual(d.docker("run", "--restart", "on-failure:1", "busybox", "sh", "-c", f"{volatile}; exit 0").out, "0\n")
        d.docker("run", "-d", "--rm", "--name", "thrown", "busybox", "sh", "-c", f"{volatile} >> /told; sync; sleep 100000")
        wait_for(lambda: d.docker("exec", "thrown", "cat", "/told", check=False).out == "1\n", "its first word")
        d.docker("restart", "-t", "0", "thrown")
        wait_for(lambda: d.docker("exec", "thrown", "cat", "/told", check=False).out == "1\n1\n", "its second word")
        self.assertIn("A /told", d.docker("diff", "thrown").out.split("\n"))
        d.docker("cp", "thrown:/told", os.path.join(d.root, "told"))
        with open(os.path.join(d.root, "told")) as told:
            self.assertEqual(told.read(), "1\n1\n")
        d.docker("commit", "thrown", image)
        d.docker("rm", "-f", "thrown")
        self.assertEqual(d.docker("run", "--rm", image, "cat", "/told").out, "1\n1\n")
        # The directory of one comes back for the next, whichever kind each is.
        upper = os.path.join(d.data, "containers", "{}", "upper")

        def directory_after(*options):
            d.docker("create", "--name", "reuse", *options, "busybox", "sh", "-c", f"{volatile}; true")
            held = upper.format(d.inspect("reuse")["Id"])
            place = os.stat(held).st_ino
            said = d.docker("start", "-a", "reuse").out
            if "--rm" not in options:
                d.docker("rm", "reuse")
            # It is put by behind the removal's back.
            wait_for(lambda: place in [os.stat(kept).st_ino for kept in glob.glob(os.path.join(d.data, "spare/*/upper"))],
                     "its directory to be kept")
            return place, said
        seen = [directory_after(*options) for options in (["--rm"], [], ["--rm"], ["--rm"], [])]
        self.assertEqual([said for _, said in seen], ["1\n", "0\n", "1\n", "1\n", "0\n"])
        self.assertEqual(len({place for place, _ in seen}), 1)
        d.docker("rmi", image)

    def test_containers_are_spread_over_an_ext4_disk(self):
        if run(["stat", "-f", "-c", "%T", self.d.data]).out.strip() != "ext2/ext3":
            self.skipTest("the data is not on ext4")
        get_flags, top_directory = 0x80086601, 0x20000  # FS_IOC_GETFLAGS, FS_TOPDIR_FL
        place = os.open(os.path.join(self.d.data, "containers"), os.O_RDONLY)
        flags = struct.unpack("l", fcntl.ioctl(place, get_flags, bytes(8)))[0]
        os.close(place)
        self.assertTrue(flags & top_directory, f"flags are {flags:#x}")

    def test_run_reads_standard_input_to_its_end(self):
        data = b"x" * 300000
        done = self.d.docker("run", "--rm", "-i", "busybox", "wc", "-c", stdin=data)
        self.assertEqual(done.out.strip(), "300000")

    def test_run_and_exec_with_a_terminal_which_has_a_name_inside(self):
        # The CLI gives its own terminal back when its input has ended, which may be before the last output.
        def plain(text):
            return text.replace("\r\r\n", "\r\n")
        look = "sh -c 'tty; test -c /dev/console && stat -c %t:%T /dev/console; stty size; echo done'"
        done = run(["script", "-qec", f"{self.d.cli} run --rm -it busybox {look}", "/dev/null"], env=self.d.env(TERM="xterm"))
        self.assertIn("/dev/pts/0\r\n88:0\r\n", plain(done.out))
        self.assertIn("done\r\n", plain(done.out))
        name = self.d.docker("run", "-dt", "--user", "1000", "busybox", "sh", "-c", "tty; exec sleep 1000").out.strip()
        wait_for(lambda: self.d.docker("logs", name).out == "/dev/pts/0\r\n", "the terminal's name")
        done = run(["script", "-qec", f"{self.d.cli} exec -it {name} {look}", "/dev/null"], env=self.d.env(TERM="xterm"))
        self.assertIn("/dev/pts/1\r\n", plain(done.out))
        self.assertIn("done\r\n", plain(done.out))
        self.d.docker("rm", "-f", name)

    def test_run_options_reach_the_container(self):
        out = self.d.docker("run", "--rm", "-e", "A=b c", "-w", "/tmp", "--user", "1000:2000", "--hostname", "box",
                            "--memory", "64m", "--cpus", "0.5", "--pids-limit", "50", "busybox", "sh", "-c",
                            'echo "$A"; pwd; id -u; id -g; hostname; cat /proc/self/cgroup >/dev/null').out
        self.assertEqual(out.split("\n")[:5], ["b c", "/tmp", "1000", "2000", "box"])
        name = self.d.docker("run", "-d", "--memory", "64m", "--cpus", "0.5", "busybox", "sleep", "1000").out.strip()
        host = self.d.inspect(name)["HostConfig"]
        self.assertEqual((host["Memory"], host["NanoCpus"]), (64 << 20, 500000000))
        self.d.docker("rm", "-f", name)

    def test_limits_of_a_block_device_reach_its_group(self):
        disks = [f"/dev/{name}" for name in sorted(os.listdir("/sys/block")) if os.path.exists(f"/dev/{name}")] if os.path.isdir("/sys/block") else []
        if not disks:
            self.skipTest("needs a block device in /dev")
        disk, d = disks[-1], self.d
        number = os.stat(disk).st_rdev
        number = f"{os.major(number)}:{os.minor(number)}"
        limits = ["--device-read-bps", f"{disk}:1mb", "--device-write-bps", f"{disk}:2mb", "--device-read-iops", f"{disk}:300",
                  "--device-write-iops", f"{disk}:400"]
        out = d.docker("run", "--rm", *limits, "busybox", "sh", "-c",
                       "cat /sys/fs/cgroup/io.max 2>/dev/null || cat /sys/fs/cgroup/blkio/blkio.throttle.*_device").out
        self.assertIn(out, (f"{number} rbps=1048576 wbps=2097152 riops=300 wiops=400\n",
                            f"{number} 1048576\n{number} 300\n{number} 2097152\n{number} 400\n"))
        for bad, word in ((["--device-read-bps", "/dev/no-such:1mb"], "/dev/no-such"), (["--device-write-iops", "/dev/null:5"], "not a block device"),
                          (["--cpu-rt-period", "1000", "--cpu-rt-runtime", "2000"], "real-time")):
            done = d.docker("run", "--rm", *bad, "busybox", "true", check=False)
            self.assertIn(done.status, (125, 127))  # the client takes "no such file" for the program's
            self.assertIn(word, done.err)

    def test_a_memory_limit_kills_and_is_told(self):
        # The shell itself grows (its variable is never written out), so that the group's limit is what ends it.
        self.d.docker("run", "--name", "hungry", "--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c",
                      "x=0123456789abcdef; while :; do x=$x$x; done", check=False)
        state = self.d.inspect("hungry")["State"]
        self.assertEqual((state["OOMKilled"], state["ExitCode"]), (True, 137), state)
        self.d.docker("rm", "hungry")

    def test_user_and_groups_come_from_the_image(self):
        out = self.d.docker("run", "--rm", "--user", "user", "busybox", "id").out
        self.assertIn("uid=1000(user) gid=1000(user)", out)
        self.assertIn("2000(extra)", out)

    def test_what_a_container_may_not_do_by_default(self):
        out = self.d.docker("run", "--rm", "busybox", "sh", "-c",
                            "grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp 2>&1;"
                            " (echo > /proc/sys/kernel/hostname) 2>&1; cat /proc/kcore 2>&1 | head -c1 | wc -c; ls /proc/self/fd | wc -l").out
        self.assertIn("00000000a80425fb", out)
        self.assertIn("Seccomp:\t2", out)
        self.assertIn("permission denied", out.lower())
        self.assertIn("read-only file system", out.lower())

    def test_ps_logs_exec_inspect_stop_and_rm_of_a_detached_container(self):
        d = self.d
        d.docker("run", "-d", "--name", "web", "--label", "tier=front", "-e", "X=1", "busybox", "sh", "-c",
                 "echo started; trap 'echo bye; exit 3' TERM; while :; do sleep 0.1; done")
        self.assertIn("web", d.docker("ps", "--format", "{{.Names}} {{.Status}}", "--filter", "label=tier=front").out)
        wait_for(lambda: "started" in d.docker("logs", "web").out, "the first line")
        self.assertEqual(d.docker("exec", "-e", "Y=2", "web", "sh", "-c", "echo $X$Y; exit 0").out, "12\n")
        self.assertEqual(d.docker("exec", "web", "sh", "-c", "exit 9", check=False).status, 9)
        self.assertEqual(d.docker("exec", "-i", "web", "cat", stdin=b"through").out, "through")
        version = tuple(map(int, d.docker("version", "--format", "{{.Client.APIVersion}}").out.split(".")))
        self.assertEqual(d.docker("exec", "web", "nonsense", check=False).status, 126 if version < (1, 42) else 127)
        state = d.inspect("web")["State"]
        self.assertTrue(state["Running"])
        self.assertGreater(state["Pid"], 0)
        d.docker("stop", "web")
        state = d.inspect("web")["State"]
        self.assertEqual((state["Status"], state["ExitCode"]), ("exited", 3))
        self.assertEqual(d.docker("logs", "web").out, "started\nbye\n")
        self.assertEqual(d.docker("wait", "web").out, "3\n")
        d.docker("start", "web")
        self.assertIn("web", d.docker("ps", "--format", "{{.Names}}").out)
        d.docker("kill", "web")
        self.assertEqual(d.docker("wait", "web").out, "137\n")
        d.docker("rm", "web")
        self.assertEqual(d.docker("inspect", "web", check=False).status, 1)

    def test_logs_follow_until_the_end(self):
        d = self.d
        d.docker("run", "-d", "--name", "counter", "busybox", "sh", "-c", "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done")
        self.assertEqual(d.docker("logs", "-f", "counter").out, "1\n2\n3\n4\n5\n")
        self.assertEqual(d.docker("logs", "--tail", "2", "counter").out, "4\n5\n")
        self.assertRegex(d.docker("logs", "-t", "--tail", "1", "counter").out, r"^\d{4}-\d\d-\d\dT.*Z 5\n$")
        d.docker("rm", "counter")

    def test_a_follower_has_each_line_while_the_container_is_silent(self):
        d = self.d
        d.docker("run", "-d", "--name", "asked", "busybox", "sh", "-c",
                 "echo first; while [ ! -e /go ]; do sleep 0.1; done; echo second; sleep 1000")
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)
            s.connect(d.socket)
            s.sendall(b"GET /containers/asked/logs?stdout=1&follow=1 HTTP/1.0\r\n\r\n")
            got = b""

            def read_until(word):
                nonlocal got
                while word not in got:
                    more = s.recv(4096)
                    self.assertTrue(more, got)
                    got += more
            read_until(b"first\n")
            d.docker("exec", "asked", "touch", "/go")
            read_until(b"second\n")
        d.docker("rm", "-f", "asked")

    def test_attach_to_a_running_container(self):
        d = self.d
        # Created with -i and not detached: the end of the first client's input is the end of the container's.
        d.docker("create", "-i", "--name", "echoer", "busybox", "cat")
        d.docker("start", "echoer")
        done = d.docker("attach", "echoer", stdin=b"one\ntwo\n")
        self.assertEqual(done.out, "one\ntwo\n")
        self.assertEqual(d.docker("wait", "echoer").out, "0\n")
        d.docker("rm", "echoer")

    def test_a_name_is_taken_only_once_and_the_message_says_by_whom(self):
        d = self.d
        first = d.docker("create", "--name", "only", "busybox").out.strip()
        self.assert_clean_refusal(d.docker("create", "--name", "only", "busybox", check=False), "already in use", first)
        d.docker("rm", "only")

    def test_rm_refuses_a_running_container_without_force(self):
        d = self.d
        d.docker("run", "-d", "--name", "busy", "busybox", "sleep", "1000")
        self.assert_clean_refusal(d.docker("rm", "busy", check=False), "cannot remove a running container")
        d.docker("rm", "-f", "busy")

    def test_wait_and_auto_remove(self):
        d = self.d
        name = d.docker("run", "-d", "--rm", "busybox", "sh", "-c", "sleep 3; exit 4").out.strip()
        self.assertEqual(d.docker("wait", name).out, "4\n")
        wait_for(lambda: d.docker("inspect", name, check=False).status == 1, "the container to be removed")

    def test_images_tag_and_rmi(self):
        d = self.d
        d.docker("tag", "busybox", "team/box:1.0")
        self.assertIn("team/box:1.0", d.docker("images", "--format", "{{.Repository}}:{{.Tag}}").out)
        d.docker("rmi", "team/box:1.0")
        self.assertNotIn("team/box", d.docker("images", "--format", "{{.Repository}}").out)
        self.assertIn("busybox", d.docker("images", "--format", "{{.Repository}}").out)
        self.assert_clean_refusal(d.docker("rmi", "no/such:image", check=False), "no such image")

    def test_save_and_load_give_the_same_image_back(self):
        d = self.d
        before = d.docker("images", "-q", "--no-trunc", "busybox").out
        archive = os.path.join(d.root, "box.tar")
        d.docker("tag", "busybox", "saved:1")
        d.docker("save", "-o", archive, "saved:1")
        d.docker("rmi", "saved:1")
        self.assertIn("saved:1", d.docker("load", "-i", archive).out)
        self.assertEqual(set(d.docker("images", "-q", "--no-trunc", "saved").out.split()), set(before.split()))
        d.docker("rmi", "saved:1")

    def test_the_official_image_loads_with_its_own_digest(self):
        archive = os.path.join(SHARED, "data/images/busybox-1.37.0-glibc-amd64.oci.tar")
        if not os.path.exists(archive):
            self.skipTest("no official busybox archive at hand")
        out = self.d.docker("load", "-i", archive).out
        name = out.strip().rsplit(": ", 1)[1].split("\n")[0]
        self.assertEqual(self.d.docker("run", "--rm", name, "echo", "official").out, "official\n")

    def test_volumes_keep_data_and_start_with_the_images_content(self):
        d = self.d
        d.docker("volume", "create", "keep")
        d.docker("run", "--rm", "-v", "keep:/data", "busybox", "sh", "-c", "echo kept > /data/file")
        self.assertEqual(d.docker("run", "--rm", "-v", "keep:/data:ro", "busybox", "cat", "/data/file").out, "kept\n")
        done = d.docker("run", "--rm", "-v", "keep:/data:ro", "busybox", "touch", "/data/x", check=False)
        self.assert_clean_refusal(done, "read-only")
        self.assertIn("passwd", d.docker("run", "--rm", "-v", "fresh:/etc", "busybox", "ls", "/etc").out)
        self.assertIn("keep", d.docker("volume", "ls", "-q").out)
        d.docker("volume", "rm", "keep", "fresh")
        self.assertNotIn("keep", d.docker("volume", "ls", "-q").out)

    def test_a_volume_in_use_is_not_removed(self):
        d = self.d
        d.docker("create", "--name", "holder", "-v", "held:/x", "busybox")
        self.assert_clean_refusal(d.docker("volume", "rm", "held", check=False), "in use")
        d.docker("rm", "holder")
        d.docker("volume", "rm", "held")

    def test_binds_and_tmpfs(self):
        d = self.d
        host = os.path.join(d.root, "bind")
        os.makedirs(host)
        out = d.docker("run", "--rm", "-v", f"{host}:/b", "--tmpfs", "/t:size=1m", "busybox", "sh", "-c",
                       "echo x > /b/y; grep ' /t ' /proc/mounts").out
        self.assertIn("tmpfs", out)
        with open(os.path.join(host, "y")) as f:
            self.assertEqual(f.read(), "x\n")

    def test_containers_of_a_network_find_each_other_by_name_and_alias(self):
        d = self.d
        d.docker("network", "create", "front")
        d.docker("run", "-d", "--name", "server", "--network", "front", "--network-alias", "api", "busybox", "sh", "-c",
                 "mkdir /w; echo page > /w/index.html; exec httpd -f -p 80 -h /w")
        for name in ("server", "api"):
            wait_for(lambda: d.docker("run", "--rm", "--network", "front", "busybox", "wget", "-qO-", f"http://{name}/",
                                      check=False).out == "page\n", f"the page at {name}")
        self.assertNotEqual(d.docker("run", "--rm", "busybox", "nslookup", "server", check=False).status, 0,
                            "a name must not be seen from another network")
        self.assert_clean_refusal(d.docker("network", "rm", "front", check=False), "active endpoints")
        d.docker("rm", "-f", "server")
        d.docker("network", "rm", "front")
        self.assertNotIn("front", d.docker("network", "ls", "--format", "{{.Name}}").out)

    def test_published_ports_answer_without_a_proxy_process(self):
        d = self.d
        d.docker("run", "-d", "--name", "pub", "-p", "18080:80", "-p", "127.0.0.1::81", "busybox", "sh", "-c",
                 "mkdir /w; echo hello > /w/index.html; httpd -p 81 -h /w; exec httpd -f -p 80 -h /w")
        self.assertIn("0.0.0.0:18080", d.docker("port", "pub", "80").out)
        chosen = d.docker("port", "pub", "81").out.strip().rsplit(":", 1)[1]

        def page(port):
            try:
                return http_get(f"http://127.0.0.1:{port}/")[1] == "hello\n"
            except OSError:
                return False
        wait_for(lambda: page(18080), "the page at the published port")
        wait_for(lambda: page(chosen), "the page at the chosen port")
        d.docker("rm", "-f", "pub")
        with self.assertRaises(OSError):
            http_get("http://127.0.0.1:18080/", timeout=3)

    def test_host_and_no_network(self):
        d = self.d
        links = d.docker("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net").out.split()
        self.assertEqual(links, ["lo"])
        mine = {name for _, name in socket.if_nameindex()}  # our /sys is still another namespace's
        self.assertEqual(set(d.docker("run", "--rm", "--network", "host", "busybox", "ls", "/sys/class/net").out.split()), mine)

    def test_cp_in_and_out(self):
        d = self.d
        d.docker("create", "--name", "box", "busybox", "cat", "/etc/thing")
        source = os.path.join(d.root, "thing")
        with open(source, "w") as f:
            f.write("copied\n")
        d.docker("cp", source, "box:/etc/thing")
        self.assertEqual(d.docker("start", "-a", "box").out, "copied\n")
        d.docker("cp", "box:/etc/thing", source + ".back")
        with open(source + ".back") as f:
            self.assertEqual(f.read(), "copied\n")
        self.assertIn("A /etc/thing", d.docker("diff", "box").out)
        d.docker("rm", "box")

    def test_a_container_that_changed_nothing_has_no_changes(self):
        d = self.d
        d.docker("run", "--name", "untouched", "busybox", "true")
        self.assertEqual(d.docker("diff", "untouched").out, "")
        d.docker("rm", "untouched")

    def test_commit_makes_an_image_of_a_container(self):
        d = self.d
        d.docker("run", "--name", "edited", "busybox", "sh", "-c", "echo new > /new")
        d.docker("commit", "-c", "CMD [\"cat\",\"/new\"]", "edited", "committed:1")
        self.assertEqual(d.docker("run", "--rm", "committed:1").out, "new\n")
        d.docker("rm", "edited")
        d.docker("rmi", "committed:1")

    def test_pause_stops_a_container_and_unpause_goes_on(self):
        d = self.d
        d.docker("run", "-d", "--name", "ticker", "busybox", "sh", "-c", "while :; do date; sleep 0.05; done")
        wait_for(lambda: d.docker("logs", "ticker").out, "a first line")
        d.docker("pause", "ticker")
        self.assertEqual(d.inspect("ticker")["State"]["Status"], "paused")
        # Ten rounds of the client are many periods of the ticker.
        lines = len(d.docker("logs", "ticker").out)
        for _ in range(10):
            self.assertEqual(len(d.docker("logs", "ticker").out), lines)
        d.docker("unpause", "ticker")
        wait_for(lambda: len(d.docker("logs", "ticker").out) > lines, "the output to go on")
        d.docker("rm", "-f", "ticker")

    def test_stats_and_top_show_the_container(self):
        d = self.d
        d.docker("run", "-d", "--name", "sleeper", "busybox", "sleep", "1000")
        self.assertIn("sleep 1000", d.docker("top", "sleeper").out)
        self.assertIn("sleeper", d.docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}").out)
        d.docker("rm", "-f", "sleeper")

    def test_events_are_told_in_order(self):
        d = self.d
        began = run(["date", "+%s"]).out.strip()
        d.docker("run", "--rm", "--name", "eventful", "busybox", "true")
        out = ""

        def all_there():
            nonlocal out
            out = d.docker("events", "--since", began, "--until", run(["date", "+%s.%N"]).out.strip(),
                           "--filter", "container=eventful", "--format", "{{.Action}}").out
            return "destroy" in out
        wait_for(all_there, "the destroy event")
        actions = [a for a in out.split("\n") if a in ("create", "start", "die", "destroy")]
        self.assertEqual(actions, ["create", "start", "die", "destroy"])

    def test_an_endpoint_that_is_not_there_says_501_and_which(self):
        status, _, body = self.d.api("GET", "/v1.41/containers/x/checkpoints")
        self.assertEqual(status, 501, body)
        self.assertTrue(json.loads(body)["message"])
        status, _, body = self.d.api("GET", "/v1.41/nonsense")
        self.assertEqual(status, 404)

    def test_an_unsupported_option_is_refused_by_name(self):
        done = self.d.docker("run", "--rm", "--gpus", "all", "busybox", "true", check=False)
        self.assert_clean_refusal(done, "could not select device driver", "gpu")

    def test_many_containers_at_once(self):
        d = self.d
        failures = []

        def one(i):
            done = d.docker("run", "--rm", "busybox", "echo", str(i), check=False)
            if done.out != f"{i}\n" or done.status:
                failures.append(done)
        threads = [threading.Thread(target=one, args=(i,)) for i in range(30)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(failures, [])

    def test_a_vanished_client_does_not_disturb_the_container(self):
        d = self.d
        client = subprocess.Popen([d.cli, "run", "--name", "left", "busybox", "sh", "-c",
                                   "i=0; while [ $i -lt 20 ]; do echo $i; i=$((i+1)); sleep 0.05; done"],
                                  env=d.env(), stdout=subprocess.PIPE)
        client.stdout.readline()
        client.kill()
        client.wait()
        client.stdout.close()
        self.assertEqual(d.docker("wait", "left").out, "0\n")
        self.assertEqual(d.docker("logs", "left").out.split(), [str(i) for i in range(20)])
        d.docker("rm", "left")


if __name__ == "__main__":
    unittest.main()


class TheList(Story):
    def test_a_list_without_filters_is_the_list_with_one_that_fits_all(self):
        """The first is put together from lines made before: each change must show."""
        d = self.d
        fits_all = "&filters=%7B%22is-task%22%3A%5B%22false%22%5D%7D"

        def same(*words):
            for query in ("all=1", "all=0", "limit=1"):
                plain = json.loads(d.api("GET", f"/containers/json?{query}")[2])
                again = json.loads(d.api("GET", f"/containers/json?{query}")[2])
                self.assertEqual(plain, again)
                self.assertEqual(plain, json.loads(d.api("GET", f"/containers/json?{query}{fits_all}")[2]))
                if query == "all=1":
                    for word in words:
                        self.assertIn(word, json.dumps(plain))
        same()
        d.docker("create", "--name", "first", "-p", "8099:80", "-v", "vol:/v", "busybox", "sleep", "1000")
        d.docker("run", "-d", "--name", "second", "--stop-signal", "KILL", "busybox", "sleep", "1000")
        same("/first", "/second", '"created"', '"running"')
        d.docker("rename", "first", "renamed")
        d.docker("start", "renamed")
        same("/renamed", "8099")
        d.docker("network", "create", "net")
        d.docker("network", "connect", "--alias", "other", "net", "second")
        same('"net"')
        d.docker("pause", "second")
        same('"paused"', "(Paused)")
        d.docker("unpause", "second")
        d.docker("stop", "second")
        same("Exited (137)")
        d.docker("tag", "busybox", "kept")
        image = d.inspect("second")["Image"]
        d.docker("import", "-", "busybox", stdin=busybox_root_tar())
        same(image)  # the name means another image now
        d.docker("rm", "-f", "renamed", "second")
        same()
        d.docker("network", "rm", "net")
