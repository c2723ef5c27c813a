// dockerode over Drover's socket, with the unversioned paths that it uses.
"use strict";
const assert = require("node:assert");
const { PassThrough } = require("node:stream");
const Docker = require("dockerode");
const { test, until } = require("./told.js");

const docker = new Docker({ socketPath: process.env.DROVER_SOCKET });

async function text(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts).toString();
}

// What a multiplexed stream says until its end: [stdout, stderr].
async function apart(stream) {
  const [out, err] = [new PassThrough(), new PassThrough()];
  docker.modem.demuxStream(stream, out, err);
  stream.on("end", () => [out, err].forEach((s) => s.end()));
  stream.on("close", () => [out, err].forEach((s) => s.end()));
  return Promise.all([text(out), text(err)]);
}

async function sleeper(more = {}) {
  const container = await docker.createContainer({ Image: "busybox", Cmd: ["sleep", "1000"], StopSignal: "SIGKILL", ...more });
  await container.start();
  return container;
}

function progress(stream) {
  return new Promise((resolve, reject) => docker.modem.followProgress(stream, (error, lines) => (error ? reject(error) : resolve(lines))));
}

test("ping, version and info", async () => {
  assert.equal((await docker.ping()).toString(), "OK");
  const version = await docker.version();
  assert.equal(version.Os, "linux");
  assert.ok(version.ApiVersion >= "1.41");
  assert.equal((await docker.info()).OSType, "linux");
});

test("run pipes the output and tells the status", async () => {
  const out = new PassThrough();
  const [data, container] = await docker.run("busybox", ["sh", "-c", "echo from within; exit 6"], out, { Tty: true });
  assert.equal(data.StatusCode, 6);
  out.end();
  assert.match(await text(out), /from within/);
  await container.remove();
});

test("attach before the start gets both streams apart", async () => {
  const container = await docker.createContainer({ Image: "busybox", Cmd: ["sh", "-c", "echo one; echo two >&2"], AttachStdout: true, AttachStderr: true });
  const stream = await container.attach({ stream: true, stdout: true, stderr: true });
  const said = apart(stream);
  await container.start();
  assert.deepEqual(await said, ["one\n", "two\n"]);
  assert.equal((await container.wait()).StatusCode, 0); // the streams may end a moment earlier
  await container.remove();
});

test("attach with hijack passes the input, and its end", async () => {
  const container = await docker.createContainer({ Image: "busybox", Cmd: ["cat"], OpenStdin: true, StdinOnce: true, AttachStdin: true });
  const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
  const said = apart(stream);
  await container.start();
  stream.write("a line\n");
  stream.end("and the last\n");
  assert.deepEqual(await said, ["a line\nand the last\n", ""]);
  assert.equal((await container.wait()).StatusCode, 0);
  await container.remove();
});

test("exec with hijack, environment, user and exit code", async () => {
  const container = await sleeper();
  const exec = await container.exec({ Cmd: ["sh", "-c", "cat; echo $A; id -u >&2; exit 9"], Env: ["A=b"], User: "1000", AttachStdin: true, AttachStdout: true, AttachStderr: true });
  const stream = await exec.start({ hijack: true, stdin: true });
  const said = apart(stream);
  stream.end("typed\n");
  assert.deepEqual(await said, ["typed\nb\n", "1000\n"]);
  const after = await until(async () => ((await exec.inspect()).Running ? null : exec.inspect()), "the exec to end");
  assert.equal(after.ExitCode, 9);
  await container.remove({ force: true });
});

test("exec without hijack, with a terminal, resized", async () => {
  const container = await sleeper();
  const exec = await container.exec({ Cmd: ["sh", "-c", "test -t 1 && echo yes"], Tty: true, AttachStdout: true });
  assert.equal(await text(await exec.start({ Tty: true })), "yes\r\n");
  const long = await container.exec({ Cmd: ["sh", "-c", "while ! stty size | grep -q '31 91'; do sleep 0.05; done; echo seen"], Tty: true, AttachStdout: true });
  const stream = await long.start({ Tty: true });
  await long.resize({ h: 31, w: 91 });
  assert.match(await text(stream), /seen/);
  await container.remove({ force: true });
});

test("logs whole and followed", async () => {
  const container = await docker.createContainer({ Image: "busybox", Cmd: ["sh", "-c", "for i in 1 2 3; do echo $i; done"] });
  await container.start();
  assert.deepEqual(await apart(await container.logs({ follow: true, stdout: true, stderr: true })), ["1\n2\n3\n", ""]);
  const whole = await container.logs({ stdout: true, tail: 1 });
  assert.deepEqual(whole, Buffer.from("\x01\0\0\0\0\0\0\x023\n", "latin1"));
  await container.remove();
});

test("stats streamed and once, top, changes, inspect with size", async () => {
  const container = await sleeper({ name: "looked-at" });
  const once = await container.stats({ stream: false });
  assert.equal(once.name, "/looked-at");
  const stream = await container.stats({ stream: true });
  await new Promise((resolve) => stream.once("data", resolve));
  stream.destroy();
  assert.match(JSON.stringify(await container.top({ ps_args: "-ef" })), /sleep 1000/);
  assert.equal((await container.inspect({ size: true })).SizeRw >= 0, true);
  await container.remove({ force: true });
});

test("events are a stream of objects", async () => {
  const stream = await docker.getEvents({ filters: JSON.stringify({ label: ["dockerode=events"] }) });
  const actions = [];
  let rest = "";
  stream.on("data", (part) => {
    rest += part;
    for (let end; (end = rest.indexOf("\n")) >= 0; rest = rest.slice(end + 1)) actions.push(JSON.parse(rest.slice(0, end)).Action);
  });
  const container = await docker.createContainer({ Image: "busybox", Cmd: ["true"], Labels: { dockerode: "events" } });
  await container.start();
  await container.wait();
  await container.remove();
  await until(() => actions.includes("destroy"), "the last event");
  stream.destroy();
  assert.deepEqual(actions, ["create", "start", "die", "destroy"]);
});

test("build from a stream and followProgress", async () => {
  const pack = require("tar-stream").pack();
  pack.entry({ name: "Dockerfile" }, 'FROM busybox\nCOPY told /told\nRUN cat /told\nCMD ["cat", "/told"]\n');
  pack.entry({ name: "told" }, "told by the context\n");
  pack.finalize();
  const lines = await progress(await docker.buildImage(pack, { t: "dockerode-built:1" }));
  assert.match(lines.map((line) => line.stream || "").join(""), /told by the context\n[^]*Successfully tagged dockerode-built:1\n$/);
  assert.match(lines.find((line) => line.aux).aux.ID, /^sha256:[0-9a-f]{64}$/);
  const [data, container] = await docker.run("dockerode-built:1", [], new PassThrough().resume());
  assert.equal(data.StatusCode, 0);
  await container.remove();
  await docker.getImage("dockerode-built:1").remove();
});

test("a failed build ends its stream with the error; a pull of nothing fails", async () => {
  const pack = require("tar-stream").pack();
  pack.entry({ name: "Dockerfile" }, "FROM busybox\nRUN exit 4\n");
  pack.finalize();
  const last = (await progress(await docker.buildImage(pack, { t: "never:1" }))).pop();
  assert.equal(typeof last.error, "string");
  assert.equal(last.errorDetail.message, last.error);
  await assert.rejects(docker.pull("localhost:1/nobody/nothing:1"), (error) => error.statusCode >= 500);
});

test("images: tag, get, load, history, remove", async () => {
  await docker.getImage("busybox").tag({ repo: "dockerode/tagged", tag: "9" });
  const saved = await docker.getImage("dockerode/tagged:9").get();
  const parts = [];
  for await (const part of saved) parts.push(part);
  await docker.getImage("dockerode/tagged:9").remove();
  await assert.rejects(docker.getImage("dockerode/tagged:9").inspect(), { statusCode: 404 });
  const { Readable } = require("node:stream");
  await progress(await docker.loadImage(Readable.from(parts)));
  assert.equal((await docker.getImage("dockerode/tagged:9").history()).length, 1);
  await docker.getImage("dockerode/tagged:9").remove();
  assert.deepEqual((await docker.listImages({ filters: JSON.stringify({ reference: ["busybox"] }) })).map((i) => i.RepoTags), [["busybox:latest"]]);
});

test("archives go in and out", async () => {
  const container = await docker.createContainer({ Image: "busybox", Cmd: ["true"] });
  const pack = require("tar-stream").pack();
  pack.entry({ name: "put" }, "put there\n");
  pack.finalize();
  await container.putArchive(pack, { path: "/tmp" });
  const stat = await container.infoArchive({ path: "/tmp/put" });
  assert.equal(JSON.parse(Buffer.from(stat.headers["x-docker-container-path-stat"], "base64")).size, 10);
  assert.match(await text(await container.getArchive({ path: "/tmp/put" })), /put there\n/);
  await container.remove();
});

test("networks and volumes", async () => {
  const network = await docker.createNetwork({ Name: "dockerode", Driver: "bridge", Labels: { a: "b" } });
  const container = await sleeper({ name: "connected" });
  await network.connect({ Container: "connected", EndpointConfig: { Aliases: ["other"] } });
  assert.deepEqual(Object.values((await network.inspect()).Containers).map((c) => c.Name), ["connected"]);
  await network.disconnect({ Container: "connected", Force: true });
  await container.remove({ force: true });
  await network.remove();
  await docker.createVolume({ Name: "dockerode", Labels: { a: "b" } });
  assert.deepEqual((await docker.listVolumes({ filters: JSON.stringify({ label: ["a=b"] }) })).Volumes.map((v) => v.Name), ["dockerode"]);
  await docker.getVolume("dockerode").remove();
});

test("errors have Docker's status and reason", async () => {
  await assert.rejects(docker.getContainer("nobody").inspect(), { statusCode: 404, reason: "no such container" });
  await assert.rejects(docker.createContainer({ Image: "no/such:image" }), { statusCode: 404 });
  const container = await docker.createContainer({ Image: "busybox", Cmd: ["true"], name: "taken" });
  await assert.rejects(docker.createContainer({ Image: "busybox", name: "taken" }), { statusCode: 409 });
  await assert.rejects(container.kill(), { statusCode: 409 });
  await container.remove();
});
