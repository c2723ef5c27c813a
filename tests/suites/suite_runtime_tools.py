"""runtime-tools' validation programs: one Go program a part of the specification, that prints TAP and takes the runtime from RUNTIME.
A program is one case: it passes when it ends well and no line of it is "not ok"."""
import glob
import os

import cases


class Suite:
    package = "golang-github-opencontainers-runtime-tools"
    others = ("crun", "runc")

    def __init__(self, source, work):
        self.source, self.work = source, work

    def programs(self):
        found = sorted(glob.glob(os.path.join(self.source, "validation/*/*.go")))
        return [path for path in found if "/util/" not in path]

    def prepare(self):
        shim = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shims/tap")
        go = cases.go_path(self.work, "tools", {"github.com/opencontainers/runtime-tools": self.source, "github.com/mndrix/tap-go": shim})
        inside = os.path.join(go, "src/github.com/opencontainers/runtime-tools")
        static = ("netgo osusergo", "-extldflags -static")
        for path in self.programs() + [os.path.join(self.source, "cmd/runtimetest")]:
            runtimetest = path.endswith("runtimetest")
            built = os.path.join(self.source, "runtimetest") if runtimetest else path[:-3] + ".t"
            source = os.path.join(inside, os.path.relpath(path if runtimetest else os.path.dirname(path), self.source))
            if not os.path.exists(built) and not cases.go_build(go, source, built, *(static if runtimetest else ("",))):
                print(f"   {os.path.relpath(path, self.source)} cannot be built here", flush=True)

    def run(self, runtime):
        environment = dict(os.environ, RUNTIME=runtime)
        for path in self.programs():
            name, program = os.path.basename(path)[:-3], path[:-3] + ".t"
            if not os.path.exists(program):
                yield cases.Case(name, "FAILED", "was not built")
                continue
            status, output = cases.printed(cases.without_unified(runtime, [program]), environment, self.source)
            yield cases.whole_program(name, status, output)
