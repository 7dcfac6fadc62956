// The process for snippets that is Deno: `deno run --no-prompt … -`, with DRIVER put in for the text of driver.js.
// It has no permission for anything; what is not JavaScript's own is taken from the snippet besides.
const { stdin, stdout, exit } = Deno;
const schedule = setTimeout;

function exactly(size) {
  const read = new Uint8Array(size);
  for (let at = 0; at < size; ) {
    const count = stdin.readSync(read.subarray(at));
    if (count === null) exit(0); // the parent is gone
    at += count;
  }
  return read;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function send(text) {
  const body = encoder.encode(text);
  const frame = new Uint8Array(4 + body.length);
  new DataView(frame.buffer).setUint32(0, body.length);
  frame.set(body, 4);
  for (let at = 0; at < frame.length; ) at += stdout.writeSync(frame.subarray(at));
}

function failure(kind, message) {
  return JSON.stringify({ error: { kind, name: "", message } });
}

send('{"ready":true}');
const head = new DataView(exactly(16).buffer);
const [size, , , longest] = [0, 4, 8, 12].map((at) => head.getUint32(at));
const request = decoder.decode(exactly(size));

// A fresh realm knows what the language has; everything else is the host's.
const STANDARD = new Set([
  "Object", "Function", "Array", "Number", "parseFloat", "parseInt", "Infinity", "NaN", "undefined", "Boolean", "String",
  "Symbol", "Date", "Promise", "RegExp", "Error", "AggregateError", "EvalError", "RangeError", "ReferenceError",
  "SyntaxError", "TypeError", "URIError", "globalThis", "JSON", "Math", "Intl", "ArrayBuffer", "Uint8Array", "Int8Array",
  "Uint16Array", "Int16Array", "Uint32Array", "Int32Array", "Float16Array", "Float32Array", "Float64Array",
  "Uint8ClampedArray", "BigUint64Array", "BigInt64Array", "DataView", "Map", "BigInt", "Set", "WeakMap", "WeakSet",
  "WeakRef", "Proxy", "Reflect", "FinalizationRegistry", "decodeURI", "decodeURIComponent", "encodeURI",
  "encodeURIComponent", "escape", "unescape", "eval", "isFinite", "isNaN", "Iterator", "SuppressedError",
  "DisposableStack", "AsyncDisposableStack", "Temporal", "console",
]);
for (const name of Object.getOwnPropertyNames(globalThis)) {
  if (!STANDARD.has(name)) Reflect.deleteProperty(globalThis, name);
}

const { toLocaleString } = Number.prototype;
const step = (0, eval)(DRIVER);
let answer = step(request);
if (answer === "") {
  // whatever a promise of the snippet waits for has run when all that is ready has
  await new Promise((resolve) => schedule(resolve));
  answer = step("") || failure("result", "it is a promise that never settles; nothing in the sandbox could wake it");
}
const { length } = encoder.encode(answer);
send(
  length <= longest
    ? answer
    : failure("result", `it has ${toLocaleString.call(length, "en")} bytes of JSON, and ${toLocaleString.call(longest, "en")} is the most`),
);
exit(0);
