// Evaluated in a fresh context before the snippet; its value is the function that the worker calls.
// Whatever the driver needs is taken here, before the snippet can replace it; its functions have names that begin
// with __dataflows so that the frames of a stack that are not the snippet's can be told apart.
(function __dataflows_driver() {
  "use strict";
  const { parse, stringify } = JSON;
  const { apply, deleteProperty, ownKeys } = Reflect;
  const { create, defineProperty, getPrototypeOf, is, prototype: plain } = Object;
  const { isFinite } = Number;
  const { isArray } = Array;
  const { join } = Array.prototype;
  const text = String;
  const evaluate = globalThis.eval;
  const AsyncFunction = (async () => {}).constructor;
  const SyncFunction = Function;
  const NativeError = Error;
  const NativeReferenceError = ReferenceError;
  const NativePromise = Promise;
  const NativeDate = Date;
  const NativeSet = Set;
  const { then } = Promise.prototype;
  const { getTime } = Date.prototype;
  const { slice, indexOf } = String.prototype;
  const { has, add } = Set.prototype;
  // JSON.stringify would make {} of these, which is never what was meant
  const WITHOUT_JSON = [
    Map, Set, WeakMap, WeakSet, WeakRef, Promise, RegExp, Error, ArrayBuffer, DataView,
    Object.getPrototypeOf(Uint8Array),
  ];
  const NAMES = WITHOUT_JSON.map((each) => each.name);
  const IS_QUICKJS = typeof InternalError === "function";
  const LONGEST_TEXT = 4000;
  const LONGEST_LOG = 32000;
  // engines name the places of a thrown error by it; a comment for those which do not know it
  const SOURCE = "\n//# sourceURL=snippet.js";

  // hosts add these; a snippet has no time to wait and no memory beside the heap that is measured
  for (const name of [
    "setTimeout", "clearTimeout", "__timer_manager", "WebAssembly", "SharedArrayBuffer", "Atomics", "gc", "navigator",
    "performance", "queueMicrotask",
  ]) {
    if (!deleteProperty(globalThis, name)) globalThis[name] = undefined;
  }

  let log = "";
  function __dataflows_log(...parts) {
    let line = "";
    for (let i = 0; i < parts.length; i++) {
      line += (i ? " " : "") + __dataflows_describe(parts[i]);
    }
    if (log.length < LONGEST_LOG) {
      log += apply(slice, line, [0, LONGEST_LOG - log.length]) + "\n";
    }
  }
  const console = {};
  for (const name of ["log", "info", "debug", "warn", "error"]) {
    console[name] = __dataflows_log;
  }
  defineProperty(globalThis, "console", { value: console, writable: true, configurable: true });

  function __dataflows_describe(value) {
    try {
      if (typeof value === "string") return value;
      if (value instanceof NativeError) return text(value);
      return (typeof value === "object" && stringify(value)) || text(value);
    } catch {
      return "a value that cannot be shown";
    }
  }

  let saysNull = false;

  function __dataflows_failed(kind, error, lines, columns) {
    const answer = create(null);
    answer.kind = kind;
    answer.name = "";
    answer.stack = "";
    answer.lines = lines;
    answer.columns = columns;
    try {
      if (error instanceof NativeError) {
        answer.name = apply(slice, text(error.name), [0, 200]);
        answer.message = text(error.message);
        const stack = text(error.stack);
        answer.stack = apply(slice, stack, [apply(indexOf, "\n" + stack, ["\n    at "])]);
        answer.stack = apply(slice, answer.stack, [0, LONGEST_TEXT]);
      } else {
        answer.message = __dataflows_describe(error);
      }
    } catch {
      answer.message = "an error that cannot be shown";
    }
    answer.message = apply(slice, answer.message, [0, LONGEST_TEXT]);
    if (error === null && IS_QUICKJS) {
      // what QuickJS throws when the memory does not even suffice for the error
      if (!saysNull) answer.kind = "memory";
      answer.message = "null, which may also mean that the memory was used up";
    }
    if (
      (answer.name === "InternalError" && answer.message === "out of memory") ||
      (answer.name === "RangeError" && answer.message === "Array buffer allocation failed")
    ) {
      answer.kind = "memory";
    }
    const whole = create(null);
    whole.error = answer;
    whole.log = log;
    return stringify(whole);
  }

  // --- the result ---------------------------------------------------------------------------------------

  let problem = null;

  function __dataflows_refuse(holder, key, what) {
    problem = { holder, key, what };
    throw problem;
  }

  function __dataflows_check(key, value) {
    switch (typeof value) {
      case "string":
      case "boolean":
      case "undefined":
        return value;
      case "number":
        if (!isFinite(value)) __dataflows_refuse(this, key, text(value));
        return value;
      case "bigint":
        return __dataflows_refuse(this, key, "a BigInt; convert it with Number(…) or String(…)");
      case "function":
        return __dataflows_refuse(this, key, "a function");
      case "symbol":
        return __dataflows_refuse(this, key, "a symbol");
    }
    if (value === null) {
      const original = this[key];
      if (original instanceof NativeDate && !isFinite(apply(getTime, original, []))) {
        __dataflows_refuse(this, key, "an invalid Date");
      }
    } else if (getPrototypeOf(value) !== plain && !isArray(value)) {
      for (let i = 0; i < WITHOUT_JSON.length; i++) {
        if (value instanceof WITHOUT_JSON[i]) {
          const name = i === WITHOUT_JSON.length - 1 ? "a typed array" : "of type " + NAMES[i];
          const advice = i === 0 ? "Object.fromEntries(…)" : i === 1 ? "Array.from(…)" : "";
          __dataflows_refuse(this, key, advice ? name + "; convert it with " + advice : name);
        }
      }
    }
    return value;
  }

  // only when something was refused: where is the object that holds it?
  function __dataflows_path(value, wanted, path, seen) {
    if (value === wanted) return path;
    if (typeof value !== "object" || value === null || apply(has, seen, [value])) return null;
    apply(add, seen, [value]);
    for (const key of ownKeys(value)) {
      if (typeof key !== "string") continue;
      const found = __dataflows_path(value[key], wanted, __dataflows_below(path, value, key), seen);
      if (found !== null) return found;
    }
    return null;
  }

  function __dataflows_below(path, holder, key) {
    return isArray(holder) ? path + "[" + key + "]" : path + "." + key;
  }

  function __dataflows_value(value) {
    let json;
    problem = null;
    try {
      json = value === undefined ? "null" : stringify(value, __dataflows_check);
    } catch (error) {
      if (problem === null || error !== problem) {
        let message = "";
        try {
          message = error instanceof NativeError ? text(error.message) : "";
        } catch {}
        if (apply(indexOf, message, ["circular"]) >= 0) {
          return __dataflows_failed("result", "it holds itself (a circular reference)", 0, 0);
        }
        if (apply(indexOf, message, ["call stack size"]) >= 0) {
          return __dataflows_failed("result", "it is nested too deeply", 0, 0);
        }
        return __dataflows_failed("thrown", error, lines, columns);
      }
      let path = null;
      try {
        if (problem.key !== "" || !is(problem.holder[""], value)) {
          path = __dataflows_path(value, problem.holder, "$", new NativeSet());
          path = __dataflows_below(path === null ? "$…" : path, problem.holder, problem.key);
        }
      } catch {}
      return __dataflows_failed("result", (path === null ? "$" : path) + " is " + problem.what, 0, 0);
    }
    // joined, not added: QuickJS keeps the sum of long texts in pieces, which its Python binding cannot read
    const parts = ['{"value":', json === undefined ? "null" : json, "}"];
    if (log !== "") parts[2] = ',"log":' + stringify(log) + "}";
    return apply(join, parts, [""]);
  }

  // --- the snippet --------------------------------------------------------------------------------------

  let lines = 0; // how many the engine's own wrapping puts before the snippet
  let columns = 0; // the same for the first line

  function __dataflows_parses(source) {
    try {
      evaluate("throw null;" + source);
    } catch (error) {
      return error === null;
    }
  }

  // `await (x)` is a call of a function where `await` is only a name: no engine can tell before it runs. Where a snippet
  // can ask a host, and would ask twice, it is taken to await at once.
  const AMBIGUOUS = /\bawait\s*[([`+\-/]/;
  function __dataflows_awaits(code, error) {
    return (
      error instanceof NativeReferenceError &&
      apply(indexOf, text(error.message), ["await"]) >= 0 &&
      apply(indexOf, code, ["await"]) >= 0
    );
  }

  function __dataflows_compile_async(code) {
    lines = 2; // of the heads that the constructors write
    try {
      // `await something`, and nothing else
      const alone = new AsyncFunction("return (" + code.replace(/;\s*$/, "") + "\n)" + SOURCE);
      columns = 8;
      return alone;
    } catch {
      return new AsyncFunction(code + SOURCE);
    }
  }

  function __dataflows_name(names) {
    for (const name of ownKeys(names)) {
      const own = { value: names[name], writable: true, configurable: true, enumerable: true };
      defineProperty(globalThis, name, own);
    }
  }

  function __dataflows_compile(code) {
    let first = 0;
    while (first < code.length && " \t\r\n".indexOf(code[first]) >= 0) first++;
    const expression = "(" + code.replace(/;\s*$/, "") + "\n)";
    if (code[first] === "{") {
      // `{a: 1}` is meant as an object, though the grammar says that it is a block with a label
      if (__dataflows_parses(expression)) {
        columns = 1;
        return () => evaluate(expression + SOURCE);
      }
    }
    if (__dataflows_parses(code)) return () => evaluate(code + SOURCE);
    lines = 2; // of the heads that the constructors write
    try {
      return new SyncFunction(code + SOURCE);
    } catch {}
    return __dataflows_compile_async(code);
  }

  let answer = "";

  // With a request: begins, and gives the answer, or "" when the value is a promise. With "": the answer, if there is.
  return function __dataflows_step(request) {
    if (request === "") return answer;
    let run;
    try {
      const { code, names, host } = parse(request);
      saysNull = apply(indexOf, code, ["null"]) >= 0;
      __dataflows_name(names);
      let value;
      try {
        try {
          run = host && AMBIGUOUS.test(code) ? __dataflows_compile_async(code) : __dataflows_compile(code);
        } catch (error) {
          return __dataflows_failed("syntax", error, lines, columns);
        }
        value = run();
      } catch (error) {
        if (host || !__dataflows_awaits(code, error)) throw error;
        // from the beginning, with the names as they were given
        __dataflows_name(parse(request).names);
        log = "";
        columns = 0;
        value = __dataflows_compile_async(code)();
      }
      if (!(value instanceof NativePromise)) return __dataflows_value(value);
      apply(then, value, [
        function __dataflows_kept(result) {
          answer = __dataflows_value(result);
        },
        function __dataflows_broken(error) {
          answer = __dataflows_failed("thrown", error, lines, columns);
        },
      ]);
      return "";
    } catch (error) {
      return __dataflows_failed("thrown", error, lines, columns);
    }
  };
})()
