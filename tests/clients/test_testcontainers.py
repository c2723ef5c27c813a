"""npm's testcontainers: node/testcontainers.js."""
import io
import os
import re
import subprocess
import tarfile

import node_script
from harness import PEERS, busybox_root_tar


@node_script.with_tests
class Testcontainers(node_script.Script):
    script = "testcontainers.js"

    @classmethod
    def environment(cls):
        return {"TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE": cls.drover_.socket, "RYUK_CONTAINER_IMAGE": "reaper:1", "TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1"}

    @classmethod
    def prepare(cls):
        """Testcontainers' reaper, made of busybox and the docker CLI: it takes filters, acknowledges each, and removes what they name once the
        connection ends."""
        serve = ("#!/bin/sh\n"
                 "echo Started\n"
                 "nc -l -p 8080 -e /bin/reap\n")
        reap = ("#!/bin/sh\n"
                "filters=\n"
                "while read -r line; do line=$(echo \"$line\" | tr -d '\\r'); [ -n \"$line\" ] || continue; filters=\"$filters $line\"; echo ACK; done\n"
                "for filter in $filters; do\n"
                "    docker ps -aq --filter \"$filter\" | grep -v \"^$(hostname)\" | xargs docker rm -f\n"
                "done >&2\n")
        out = io.BytesIO(busybox_root_tar())
        with tarfile.open(fileobj=out, mode="a") as tar:
            for name, data in (("bin/serve", serve.encode()), ("bin/reap", reap.encode())):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o755
                tar.addfile(entry, io.BytesIO(data))
            docker = os.path.join(PEERS, "usr/bin/docker")
            tar.add(docker, "usr/bin/docker")
            for line in subprocess.run(["ldd", docker], stdout=subprocess.PIPE, text=True).stdout.splitlines():
                for path in re.findall(r"(/\S+)", line)[:1]:
                    tar.add(os.path.realpath(path), path.lstrip("/"))
        cls.drover_.docker("import", "--change", 'CMD ["/bin/serve"]', "-", "reaper:1", stdin=out.getvalue())
