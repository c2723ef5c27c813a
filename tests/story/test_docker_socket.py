"""The socket where Docker's clients look, on the host and inside a container."""
import grp
import os
import socket
import stat
import subprocess

from harness import PEERS, Drover, Story, docker_clis, run, wait_for


class DockerSocket(Story):
    shared = False
    image = False

    def setUp(self):
        self.d = Drover()
        self.path = os.path.join(self.d.root, "docker.sock")

    def test_a_second_socket_serves_the_same_containers_and_goes_with_the_server(self):
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(self.path)  # left behind by a daemon that died
        stale.close()
        self.d.start(f"--docker-socket={self.path}", "--group", "nogroup")
        wait_for(lambda: os.path.exists(self.path), "the socket")
        self.d.busybox()
        done = run([self.d.cli, "-H", f"unix://{self.path}", "images", "-q"])
        self.assertEqual(done.out, self.d.docker("images", "-q").out)
        for path in (self.path, self.d.socket):
            st = os.stat(path)
            self.assertEqual((stat.S_IMODE(st.st_mode), st.st_gid), (0o660, grp.getgrnam("nogroup").gr_gid))
        self.d.drover("upgrade", check=False)
        wait_for(lambda: run([self.d.cli, "-H", f"unix://{self.path}", "version"], check=False).status == 0, "the upgraded server")
        self.d.stop()
        self.assertFalse(os.path.exists(self.path))

    def test_a_live_socket_of_another_daemon_is_left_alone(self):
        other = socket.socket(socket.AF_UNIX)
        other.bind(self.path)
        other.listen()
        done = self.d.drover("serve", "--root", self.d.data, "--socket", self.d.socket, f"--docker-socket={self.path}", check=False)
        self.assert_clean_refusal(done, "--docker-socket: another process is listening at", self.path)
        self.assertTrue(os.path.exists(self.path))
        self.assertFalse(os.path.exists(self.d.socket))
        done = self.d.drover("serve", "--root", self.d.data, "--socket", self.d.socket, "--group", "no-such-group", check=False)
        self.assert_clean_refusal(done, "no group", "no-such-group")
        other.close()

    def test_a_service_manager_may_hold_the_socket(self):
        held = socket.socket(socket.AF_UNIX)
        held.bind(self.d.socket)
        held.listen()
        with open(self.d.log, "ab") as log:
            self.d.process = subprocess.Popen(
                ["sh", "-c", 'exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh", os.environ.get("DROVER", "") or
                 os.path.join(os.path.dirname(PEERS), "drover"), "serve", "--root", self.d.data, "--socket", self.d.socket],
                stdin=held.fileno(), stdout=log, stderr=log)
        wait_for(lambda: self.d.docker("version", check=False).status == 0, "an answer")
        self.d.stop()
        self.assertTrue(os.path.exists(self.d.socket))
        held.close()

    def test_a_container_starts_its_sibling_through_the_socket(self):
        self.d.start(f"--docker-socket={self.path}")
        self.d.busybox()
        libraries = [a for d in ("/lib", "/lib64", "/usr/lib") if os.path.isdir(d) for a in ("-v", f"{os.path.realpath(d)}:{d}:ro")]
        for number, cli in enumerate(docker_clis()):
            inside = ["run", "--rm", "--network", "none", "-v", f"{self.path}:/var/run/docker.sock", *libraries, "-v",
                      f"{os.path.realpath(cli)}:/usr/bin/docker:ro", "busybox", "docker"]
            out = self.d.docker(*inside, "run", "--name", f"sibling{number}", "--network", "none", "busybox", "echo", "hello from a sibling")
            self.assertEqual(out.out, "hello from a sibling\n")
            self.assertEqual(self.d.inspect(f"sibling{number}")["State"]["Status"], "exited")
