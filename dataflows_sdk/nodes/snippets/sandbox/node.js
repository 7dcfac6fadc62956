// The process for snippets that is Node.js: `node --permission -e <this>`, with DRIVER put in for the text of driver.js.
// The snippet runs in a context of its own that is given nothing but texts; Node's permission model keeps the process
// from files, processes, threads and add-ons.
"use strict";
const { readSync, writeSync } = require("fs");
const vm = require("vm");

function exactly(size) {
  const read = Buffer.alloc(size);
  for (let at = 0; at < size; ) {
    const count = readSync(0, read, at, size - at, null);
    if (count === 0) process.exit(0); // the parent is gone
    at += count;
  }
  return read;
}

function send(text) {
  const body = Buffer.from(text);
  const frame = Buffer.alloc(4 + body.length);
  frame.writeUInt32BE(body.length);
  body.copy(frame, 4);
  for (let at = 0; at < frame.length; ) at += writeSync(1, frame, at);
}

function failure(kind, message) {
  return JSON.stringify({ error: { kind, name: "", message } });
}

function run(request, timeout) {
  const options = { microtaskMode: "afterEvaluate", codeGeneration: { strings: true, wasm: false } };
  const context = vm.createContext(Object.create(null), options);
  const source = `(() => { const step = ${DRIVER.trim()};\nreturn [step(${JSON.stringify(request)}), step]; })()`;
  try {
    const [first, step] = vm.runInContext(source, context, { timeout, filename: "driver.js" });
    const answer = first || step("");
    return typeof answer === "string" && answer !== ""
      ? answer
      : failure("result", "it is a promise that never settles; nothing in the sandbox could wake it");
  } catch (error) {
    if (error && error.code === "ERR_SCRIPT_EXECUTION_TIMEOUT") return failure("timeout", "");
    return failure("thrown", String(error).slice(0, 4000));
  }
}

send('{"ready":true}');
const head = exactly(16);
const [size, timeout, , longest] = [0, 4, 8, 12].map((at) => head.readUInt32BE(at));
const answer = run(exactly(size).toString(), timeout);
const bytes = Buffer.byteLength(answer);
send(
  bytes <= longest
    ? answer
    : failure("result", `it has ${bytes.toLocaleString("en")} bytes of JSON, and ${longest.toLocaleString("en")} is the most`),
);
process.exit(0);
