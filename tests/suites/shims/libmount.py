"""What crun's test of mounts takes of util-linux's module of this name, which not every release of Debian has: a table read from a
file of mountinfo(5), and the last mount at a place."""


class Mount:
    def __init__(self, line):
        fields, _, rest = line.partition(" - ")
        self.target, self.vfs_options = fields.split()[4:6]
        self.fs_options = rest.split()[2]


class Table:
    def __init__(self, path):
        with open(path) as f:
            self.mounts = [Mount(line) for line in f if " - " in line]

    def find_target(self, path):
        return next((m for m in reversed(self.mounts) if m.target == path), None)
