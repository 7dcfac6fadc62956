// The page's fold against fold.json. Run by test_fold.py where there is node.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const here = new URL(".", import.meta.url);
const source = readFileSync(new URL("../../dataflows_sdk/notebook/widgets/static/core.js", here), "utf8");
const core = await import("data:text/javascript," + encodeURIComponent(source + "\nexport { History, fold, above, boxOf, duration, axis, standing, says };"));
const cases = JSON.parse(readFileSync(new URL("fold.json", here), "utf8"));

for (const { name, events, states } of cases) {
  test(`fold of ${name}`, () => { for (const [n, state] of states) assert.deepEqual(JSON.parse(JSON.stringify(core.fold(events, n))), state, `after ${n}`); });
  test(`any point of ${name} without folding again`, () => {
    const history = new core.History(events);
    for (let n = events.length; n >= 0; n--) assert.deepEqual(history.at(n), core.fold(events, n));
  });
  test(`${name} in pieces, repeated and with a gap`, () => {
    const history = new core.History([]), half = events.length >> 1;
    assert.equal(history.add(0, events.slice(0, half)), true);
    assert.equal(history.add(half + 1, events.slice(half + 1)), false);
    assert.equal(history.events.length, half);
    assert.equal(history.add(0, events.slice(0, half)), true);
    assert.equal(history.add(Math.max(0, half - 2), events.slice(Math.max(0, half - 2))), true);
    assert.deepEqual(history.at(events.length), core.fold(events, events.length));
    for (const event of events) assert.equal(typeof core.says(event), "string");
  });
}

test("boxes and times as in Python", () => {
  assert.equal(core.above("a[1]/b[x]/c#2?1"), "a[1]/b[x]/c#2");
  assert.equal(core.boxOf("a[1]/b[x]/c#2", new Map([["a", 1], ["a[1]/b", 2]])), 2);
  assert.deepEqual([0, 0.5, 999.4, 1000, 1250, 119999, 120000, 7200000].map(core.duration), ["0 ms", "1 ms", "999 ms", "1.0 s", "1.3 s", "120.0 s", "2 min", "2.0 h"]);
  const found = core.axis([0, 1000, 86400000, 86401000]);
  assert.deepEqual(found.stretches.map(each => each.idle), [86399000, 0]);
});
