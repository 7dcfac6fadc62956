// Evaluated after the driver and before the snippet, where a function has a host to ask: makes `atlas`, and its value
// is the function that the worker asks with "?" what the host is asked, as JSON, and tells with "!…" what it says.
(function __dataflows_host() {
  "use strict";
  const { parse, stringify } = JSON;
  const { apply } = Reflect;
  const { defineProperty } = Object;
  const { join } = Array.prototype;
  const { slice } = String.prototype;
  const { get: take, set: put, delete: drop } = Map.prototype;
  const text = String;
  const NativeError = Error;
  const NativePromise = Promise;

  let calls = []; // what the host was asked and has not been told yet
  let asked = 0;
  const waiting = new Map();

  function __dataflows_ask(name, ...args) {
    return new NativePromise((resolve, reject) => {
      asked += 1;
      apply(put, waiting, [asked, { resolve, reject }]);
      calls[calls.length] = { id: asked, name, args };
    });
  }

  function __dataflows_response(told) {
    const body = told.body;
    return {
      status: told.status,
      ok: told.status >= 200 && told.status < 300,
      headers: told.headers,
      text: async () => (typeof body === "string" ? body : body === null ? "" : stringify(body)),
      json: async () => (typeof body === "string" ? parse(body) : body),
    };
  }

  const atlas = {
    kv: {
      get: (key) => __dataflows_ask("kv.get", key),
      set: (key, value, options) => __dataflows_ask("kv.set", key, value, options ?? {}),
      delete: (key) => __dataflows_ask("kv.delete", key),
    },
    db: { query: (sql, params) => __dataflows_ask("db.query", sql, params ?? []) },
    fetch: async (url, options) => __dataflows_response(await __dataflows_ask("fetch", text(url), options ?? {})),
  };
  defineProperty(globalThis, "atlas", { value: atlas, writable: true, configurable: true, enumerable: true });

  function __dataflows_told(results) {
    for (let i = 0; i < results.length; i++) {
      const { id, value, error } = results[i];
      const promise = apply(take, waiting, [id]);
      if (promise === undefined) continue;
      apply(drop, waiting, [id]);
      if (error === undefined) {
        promise.resolve(value);
      } else {
        const problem = new NativeError(error.message);
        problem.name = error.name;
        promise.reject(problem);
      }
    }
    return "";
  }

  function __dataflows_calls() {
    if (calls.length === 0) return "";
    const told = calls;
    calls = [];
    const parts = [];
    for (let i = 0; i < told.length; i++) {
      try {
        parts[parts.length] = stringify(told[i]);
      } catch (error) {
        __dataflows_told([{ id: told[i].id, error: { name: "TypeError", message: text(error) } }]);
      }
    }
    return apply(join, ["[", apply(join, parts, [","]), "]"], [""]); // not added: see above
  }

  return function __dataflows_host_step(request) {
    return request === "?" ? __dataflows_calls() : __dataflows_told(parse(apply(slice, request, [1])));
  };
})()
