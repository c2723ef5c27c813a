// test(title, function) in order; each result is a line of JSON on stdout, for tests/clients/node_script.py.
"use strict";
const tests = [];

function test(title, run) {
  tests.push({ title, run });
}

// Until condition() gives something true; a condition that never comes ends with the test's own deadline.
async function until(condition, what, seconds = 100) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${seconds} s in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

async function deadline(promise, seconds) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end after ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function main() {
  for (const { title, run } of tests) {
    const began = Date.now();
    const result = { title, ok: true };
    try {
      await deadline(run(), 120);
    } catch (error) {
      Object.assign(result, { ok: false, detail: String(error.stack || error) });
    }
    result.seconds = (Date.now() - began) / 1000;
    console.log(JSON.stringify(result));
  }
  process.exit(0);
}

setImmediate(main);
module.exports = { test, until };
