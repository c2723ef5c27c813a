// testcontainers over Drover's socket. With TESTCONTAINERS_RYUK_DISABLED unset, its reaper runs as a container.
"use strict";
const assert = require("node:assert");
const fs = require("node:fs");
const http = require("node:http");
const os = require("node:os");
const path = require("node:path");
const Docker = require("dockerode");
const { GenericContainer, Network, Wait, getContainerRuntimeClient } = require("testcontainers");
const { test, until } = require("./told.js");

const docker = new Docker({ socketPath: process.env.DROVER_SOCKET });
// Serves /www on port 8080 once `delay` seconds have gone.
const SERVER = ["sh", "-c", "mkdir -p /www; echo served > /www/index.html; echo starting; sleep 0.3; echo ready now; exec httpd -f -p 8080 -h /www"];

function get(host, port, page = "/") {
  return new Promise((resolve, reject) => {
    http.get({ host, port, path: page }, (answer) => {
      let text = "";
      answer.on("data", (part) => (text += part)).on("end", () => resolve(text));
    }).on("error", reject);
  });
}

test("a container is reached at its mapped port once it listens", async () => {
  const started = await new GenericContainer("busybox:latest").withCommand(SERVER).withExposedPorts(8080).start();
  assert.equal(await get(started.getHost(), started.getMappedPort(8080)), "served\n");
  await started.stop();
  await assert.rejects(docker.getContainer(started.getId()).inspect(), { statusCode: 404 });
});

test("waiting for a log line, for HTTP, for a command's success", async () => {
  const byLog = await new GenericContainer("busybox:latest").withCommand(SERVER).withExposedPorts(8080).withWaitStrategy(Wait.forLogMessage(/ready/)).start();
  await byLog.stop();
  const byHttp = await new GenericContainer("busybox:latest").withCommand(SERVER).withExposedPorts(8080)
    .withWaitStrategy(Wait.forHttp("/index.html", 8080).forStatusCode(200).forResponsePredicate((text) => text === "served\n")).start();
  await byHttp.stop();
  const byCommand = await new GenericContainer("busybox:latest").withCommand(SERVER).withWaitStrategy(Wait.forSuccessfulCommand("test -e /www/index.html")).start();
  await byCommand.stop();
});

test("waiting for health and for a container that ends", async () => {
  const healthy = await new GenericContainer("busybox:latest").withCommand(SERVER)
    .withHealthCheck({ test: ["CMD-SHELL", "wget -q -O /dev/null http://localhost:8080/"], interval: 100, timeout: 5000, retries: 600 })
    .withWaitStrategy(Wait.forHealthCheck()).start();
  assert.equal((await docker.getContainer(healthy.getId()).inspect()).State.Health.Status, "healthy");
  await healthy.stop();
  const once = await new GenericContainer("busybox:latest").withCommand(["sh", "-c", "echo done"]).withWaitStrategy(Wait.forOneShotStartup()).start();
  await once.stop();
});

test("a start-up that does not come fails with its reason", async () => {
  const never = new GenericContainer("busybox:latest").withCommand(["sleep", "1000"]).withWaitStrategy(Wait.forLogMessage("never said")).withStartupTimeout(700);
  await assert.rejects(never.start(), /never said/);
});

test("exec gives output and exit code", async () => {
  const started = await new GenericContainer("busybox:latest").withCommand(["sleep", "1000"]).start();
  const done = await started.exec(["sh", "-c", "echo out; echo err >&2; echo $A; pwd; exit 3"], { env: { A: "b" }, workingDir: "/tmp" });
  assert.deepEqual([done.exitCode, done.stdout, done.stderr], [3, "out\nb\n/tmp\n", "err\n"]);
  await started.stop();
});

test("files, directories and contents are copied in, archives out", async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "drover-copied-"));
  fs.writeFileSync(path.join(dir, "file"), "a file\n");
  const started = await new GenericContainer("busybox:latest").withCommand(["sleep", "1000"])
    .withCopyFilesToContainer([{ source: path.join(dir, "file"), target: "/tmp/file", mode: 0o640 }])
    .withCopyDirectoriesToContainer([{ source: dir, target: "/tmp/dir" }])
    .withCopyContentToContainer([{ content: "content\n", target: "/tmp/content" }]).start();
  assert.equal((await started.exec("cat /tmp/file /tmp/dir/file /tmp/content".split(" "))).output, "a file\na file\ncontent\n");
  assert.equal((await started.exec(["stat", "-c", "%a", "/tmp/file"])).output, "640\n");
  await started.copyContentToContainer([{ content: "late\n", target: "/tmp/late" }]);
  assert.equal((await started.exec(["cat", "/tmp/late"])).output, "late\n");
  let size = 0;
  for await (const part of await started.copyArchiveFromContainer("/tmp/content")) size += part.length;
  assert.ok(size >= 1024);
  await started.stop();
  fs.rmSync(dir, { recursive: true });
});

test("containers of one network know each other by alias", async () => {
  const network = await new Network().start();
  const server = await new GenericContainer("busybox:latest").withCommand(SERVER).withNetwork(network).withNetworkAliases("server").withWaitStrategy(Wait.forLogMessage("ready")).start();
  const client = await new GenericContainer("busybox:latest").withCommand(["sleep", "1000"]).withNetwork(network).start();
  await until(async () => (await client.exec(["wget", "-q", "-O", "-", "http://server:8080/"])).output === "served\n", "the page by the alias");
  await client.stop();
  await server.stop();
  await network.stop();
});

test("an image is built from a Dockerfile", async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "drover-built-"));
  fs.writeFileSync(path.join(dir, "Dockerfile"), 'FROM busybox\nARG WHO\nRUN echo "built for $WHO" > /built\nCMD ["sh", "-c", "cat /built; exec sleep 1000"]\n');
  const image = await GenericContainer.fromDockerfile(dir).withBuildArgs({ WHO: "a test" }).build();
  const started = await image.withWaitStrategy(Wait.forLogMessage("built for a test")).start();
  await started.stop();
  fs.rmSync(dir, { recursive: true });
});

test("environment, labels, user, tmpfs, restart, logs, commit", async () => {
  const started = await new GenericContainer("busybox:latest").withCommand(["sh", "-c", "id -u; echo $KEY; exec sleep 1000"]).withEnvironment({ KEY: "value" })
    .withLabels({ mine: "yes" }).withUser("1000").withTmpFs({ "/scratch": "rw,size=1m" }).withWaitStrategy(Wait.forLogMessage("value")).start();
  assert.equal(started.getLabels().mine, "yes");
  const seen = [];
  (await started.logs()).on("data", (part) => seen.push(String(part)));
  await until(() => seen.join("").includes("1000\nvalue\n"), "the logs");
  await started.restart();
  const image = await started.commit({ repo: "committed-by-testcontainers", tag: "1", deleteOnExit: false });
  assert.match(image, /committed|sha256/);
  await started.stop();
  await docker.getImage("committed-by-testcontainers:1").remove({ force: true });
});

if (process.env.TESTCONTAINERS_RYUK_DISABLED !== "true")
  test("its reaper, in a container with the socket, removes what a test left", async () => {
    const { getReaper } = require(path.join(path.dirname(require.resolve("testcontainers")), "reaper/reaper.js"));
    const left = await new GenericContainer("busybox:latest").withCommand(["sleep", "1000"]).start();
    const reaper = await getReaper(await getContainerRuntimeClient());
    assert.equal((await docker.getContainer(reaper.containerId).inspect()).State.Running, true);
    reaper.socket.destroy();
    await until(async () => docker.getContainer(left.getId()).inspect().then(() => false, (error) => error.statusCode === 404), "the container that was left to be gone");
  });
