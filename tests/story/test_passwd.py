"""A container's owner decides what stands at /etc/passwd; reading it to learn who a process runs as must do nothing else: not
open a device or the kernel's log, not wait, not leave the container, not take all memory."""
import time

from harness import Story, wait_for

HOSTILE = {
    "a device": "rm /etc/passwd; mknod /etc/passwd c 1 5",
    "a device without end that cannot be opened here": "rm /etc/passwd; mknod /etc/passwd c 10 130",
    "a pipe": "rm /etc/passwd; mkfifo /etc/passwd",
    "the way to a device": "ln -sf /dev/zero /etc/passwd",
    "the kernel's log": "ln -sf /proc/kmsg /etc/passwd",
    "somebody else's memory": "ln -sf /proc/self/mem /etc/passwd",
    "the way out": "ln -sf ../../../../../../../../etc/shadow /etc/passwd",
    "the way out through proc": "ln -sf /proc/1/root/etc/passwd /etc/passwd",
    "a directory": "rm /etc/passwd; mkdir /etc/passwd",
    "a loop": "ln -sf passwd /etc/passwd",
    "a large hole": "rm /etc/passwd; truncate -s 100G /etc/passwd",
    "one long line": "head -c 3000000 /dev/zero | tr '\\0' x > /etc/passwd",
    "zeros": "head -c 100000 /dev/zero > /etc/passwd",
}


class Passwd(Story):
    def test_whatever_stands_there_a_process_starts_as_its_number_or_is_refused_at_once(self):
        d = self.d
        for what, script in HOSTILE.items():
            name = d.docker("run", "-d", "busybox", "sh", "-c", script + "; echo done; sleep 1000").out.strip()
            wait_for(lambda name=name: "done" in d.docker("logs", name).out, what, 30)
            began = time.monotonic()
            done = d.docker("exec", "-u", "1234", name, "grep", "^Uid:", "/proc/self/status", check=False)
            if done.status != 0:
                self.assert_clean_refusal(done)
            else:
                self.assertEqual(done.out.split()[1], "1234", what)
            self.assert_clean_refusal(d.docker("exec", "-u", "nobody-here", name, "true", check=False))
            d.docker("kill", name)
            again = d.docker("start", name, check=False)  # read from the layers now
            if again.status != 0:
                self.assert_clean_refusal(again, "passwd")
            self.assertLess(time.monotonic() - began, 30, what)
            d.docker("rm", "-f", name)
        self.assertEqual(d.docker("run", "--rm", "busybox", "echo", "alive").out, "alive\n")
