"""What a person sees: `drover` on a terminal of a given size, and the words that bash completes."""
import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

from harness import DEADLINE, DROVER, Story


class Screen:
    """A program on a terminal, and the rows that its output makes of it: as much of a terminal as progress lists use."""

    def __init__(self, argv, rows, columns, **how):
        self.columns, self.rows, self.row, self.column, self.pending = columns, [""], 0, 0, ""
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(how["cwd"])
            os.execve(argv[0], argv, how["env"])
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def put(self, c):
        if self.column == self.columns:
            self.next_row()
            self.column = 0
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[:self.column] + c + row[self.column + 1:]
        self.column += 1

    def next_row(self):
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")

    def escape(self, count, kind):
        if kind == "A":
            self.row = max(self.row - int(count or 1), 0)
        elif kind in "JK":
            self.rows[self.row] = self.rows[self.row][:self.column]
            if kind == "J":
                del self.rows[self.row + 1:]

    def feed(self, text):
        text = self.pending + text
        self.pending = ""
        while text:
            if text[0] == "\033":
                found = re.match(r"\033\[\??([0-9;]*)([A-Za-z])", text)
                if not found:
                    self.pending = text
                    return
                self.escape(*found.groups())
                text = text[found.end():]
                continue
            if text[0] == "\r":
                self.column = 0
            elif text[0] == "\n":
                self.next_row()
            else:
                self.put(text[0])
            text = text[1:]

    def until(self, condition, what):
        """Reads what comes until the rows are so; None: until the program has ended."""
        end = time.monotonic() + DEADLINE
        while not (condition and condition(self.rows)):
            if time.monotonic() > end:
                raise AssertionError(f"no {what} on the screen:\n" + "\n".join(self.rows))
            if not select.select([self.terminal], [], [], 0.1)[0]:
                continue
            with contextlib.suppress(OSError):
                data = os.read(self.terminal, 4096)
                self.feed(data.decode(errors="replace"))
                continue
            if condition:
                raise AssertionError(f"it ended without {what}:\n" + "\n".join(self.rows))
            return

    def type(self, keys):
        os.write(self.terminal, keys)

    def end(self):
        self.until(None, "the end")
        os.close(self.terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Terminal(Story):
    def project(self, text):
        self.folder = os.path.join(self.d.root, "project-" + self._testMethodName)
        os.makedirs(self.folder)
        with open(os.path.join(self.folder, "compose.yaml"), "w") as file:
            file.write(text)

    def on_a_terminal(self, *words, columns=80):
        return Screen([DROVER, *words], 24, columns, cwd=self.folder, env=self.d.env(TERM="xterm"))

    def test_lines_of_services_and_the_list_of_what_stops_leave_each_other_whole(self):
        self.project("name: seen\nservices:\n"
                     "  quick: {image: busybox, network_mode: none, stop_signal: KILL, command: sh -c 'echo quick is up; sleep 100000'}\n"
                     "  stubborn: {image: busybox, network_mode: none, stop_grace_period: 10h, command: sh -c 'trap \"echo I stay\" TERM; echo stubborn is up; while :; do sleep 1; done'}\n")
        screen = self.on_a_terminal("up")
        screen.until(lambda rows: any("quick is up" in r for r in rows) and any("stubborn is up" in r for r in rows), "lines of both")
        screen.type(b"\x03")
        screen.until(lambda rows: any("quick-1 exited" in r for r in rows) and any("I stay" in r for r in rows), "end of the quick one")
        screen.type(b"\x03")
        self.assertEqual(screen.end(), 130)
        rows = [row.rstrip() for row in screen.rows]
        shown = "\n".join(rows)
        for line in ("quick-1    | quick is up", "stubborn-1 | stubborn is up", "stubborn-1 | I stay", "quick-1 exited with code 137",
                     "stubborn-1 exited with code 137", " Container seen-quick-1  Stopped"):
            self.assertEqual(sum(row.endswith(line) for row in rows), 1, f"{line}\n{shown}")
        self.assertNotIn("Stopping\n", shown)

    def test_a_list_on_a_narrow_terminal_is_drawn_over_itself(self):
        name = "a-rather-long-name-of-a-service"
        self.project(f"name: narrow\nservices:\n  {name}: {{image: busybox, network_mode: none, stop_signal: KILL, command: sleep 100000}}\n")
        screen = self.on_a_terminal("up", "-d", columns=30)
        self.assertEqual(screen.end(), 0)
        rows = [row for row in screen.rows if row.strip()]
        self.assertEqual(len(rows), 1, rows)
        self.assertRegex(rows[0], "Started *$")

    def test_bash_completes_verbs_options_and_services(self):
        self.project("name: words\nservices: {web: {image: busybox}, worker: {image: busybox}}\n")

        def words(*line):
            quoted = " ".join(f"'{w}'" for w in line)
            script = f"source <(drover completion bash); COMP_WORDS=(drover {quoted}); COMP_CWORD={len(line)}; _drover; echo ${{COMPREPLY[@]}}"
            env = self.d.env()
            env["PATH"] = os.path.dirname(DROVER) + ":" + env["PATH"]
            return subprocess.run(["bash", "--norc", "-c", script], env=env, cwd=self.folder, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        self.assertEqual(words("re"), ["restart", "registry", "rebalance"])
        self.assertEqual(words("logs", "w"), ["web", "worker"])
        self.assertEqual(words("logs", "--no-l"), ["--no-log-prefix"])
        self.assertEqual(words("-f", "compose.yaml", "up", "-d", "wo"), ["worker"])
        self.assertEqual(words("--proj"), ["--project-name", "--project-directory"])
        self.assert_clean_refusal(self.d.drover("completion", "csh", check=False), "bash only", "csh")
