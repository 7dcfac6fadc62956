// @ts-check
// What a page knows of a run: the state after any number of its events, the time axis, words and marks.
// Stands in front of every module of ours, so that nothing is imported over a network. `folding.py` and `svg.py` do the
// same in Python; tests/notebook/fold.json holds both to it.

/** @typedef {[number, number, string, string, any]} Event number in the journal, ms since the beginning, kind, key, data */
/** @typedef {[number, number|null, string, string|null]} Try begin, end, status, error */
/** @typedef {{key: string, name: string, op: string, status: string, attempt: number, tries: Try[], in: string|null,
 *   out: string|null, err: string|null, until: number|null, child: string|null, event: string|null, reason: string|null}} Step */
/** @typedef {{n: number, seq: number, t: number, status: string, over: boolean, out: string|null, err: string|null,
 *   reason: string|null, groups: Record<string, number|null>, asks: Record<string, any>, progress: any}} Whole */

const OPEN = new Set(["running", "waiting", "retrying"]);
const TRIES = 50;
/** @type {Record<string, string>} */
const ENDS = { "run.completed": "succeeded", "run.failed": "failed", "run.cancelled": "cancelled", "run.quarantined": "quarantined" };
/** @type {Record<string, string>} */
const WORDS = { "step.completed": "completed", "step.failed": "failed", "step.timed_out": "timed_out", "step.skipped": "skipped" };

/** @param {string} key @returns {Step} */
const blank = key => ({ key, name: key, op: "run", status: "pending", attempt: 1, tries: [], in: null, out: null, err: null, until: null, child: null, event: null, reason: null });

/** All states of a run: every change makes a new object and keeps the old one, so that any point is found without folding again. */
class History {
  /** @param {Event[]} events grows with what is added */
  constructor(events = []) {
    this.events = events;
    /** @type {Map<string, {at: number[], was: Step[]}>} */ this.steps = new Map();
    /** @type {Whole} */
    const first = { n: 0, seq: 0, t: 0, status: "queued", over: false, out: null, err: null, reason: null, groups: {}, asks: {}, progress: null };
    this.heads = [first];
    this.catchUp();
  }

  /** Events from the number `from` on; what is known already changes nothing. False where some are missing in between.
   * @param {number} from @param {Event[]} events */
  add(from, events) {
    if (from > this.events.length) return false;
    for (let i = this.events.length - from; i < events.length; i++) this.events.push(events[i]);
    this.catchUp();
    return true;
  }

  catchUp() { while (this.heads.length <= this.events.length) this.push(this.events[this.heads.length - 1]); }

  /** @param {Event} event */
  push(event) {
    const [seq, t, kind, key, data] = event, n = this.heads.length, head = { ...this.heads[n - 1], n, seq, t };
    if (kind.startsWith("step.")) this.step(head, t, kind, key, data);
    else if (kind.startsWith("run.")) this.run(head, t, kind, data);
    else if (kind === "scope.opened") head.groups = { ...head.groups, [key]: data.count ?? null };
    else if (kind === "progress") head.progress = { done: data.done ?? null, total: data.total ?? null, text: data.text ?? null };
    else if (kind === "approval.requested") head.asks = { ...head.asks, [data.id]: { seq, key, ...data } };
    this.heads.push(head);
  }

  /** @param {string} key @param {number} n @param {Step} step */
  put(key, n, step) {
    let found = this.steps.get(key);
    if (!found) this.steps.set(key, found = { at: [], was: [] });
    if (found.at.at(-1) === n) found.was[found.was.length - 1] = step;
    else { found.at.push(n); found.was.push(step); }
  }

  /** @param {Whole} head @param {number} t @param {string} kind @param {string} key @param {any} data */
  step(head, t, kind, key, data) {
    const old = this.steps.get(key)?.was.at(-1), attempt = data.attempt ?? 1;
    if (kind === "step.started" && old && old.status !== "running" && attempt <= old.attempt) return;
    const step = old ? { ...old } : blank(key);
    for (const name of /** @type {const} */ (["op", "name", "in", "child", "event"])) if (name in data) step[name] = data[name];
    step.attempt = attempt;
    step.until = data.until ?? null;
    const tries = [...step.tries], last = tries.at(-1), open = last && last[1] === null ? tries.pop() : null;
    let word;
    if (kind === "step.started" || kind === "step.waiting") {
      word = kind === "step.started" ? "running" : "waiting";
      tries.push([open ? open[0] : t, null, word, null]);
    } else {
      word = WORDS[kind] ?? "completed";
      const error = kind === "step.failed" ? data.err ?? null : null;
      if (kind !== "step.skipped") tries.push([open ? open[0] : Math.max(0, t - (data.took ?? 0) * 1000), t, word, error]);
      if (kind === "step.failed" && "retry_at" in data) { word = "retrying"; step.until = data.retry_at; }
      step.out = data.out ?? null; step.err = error; step.reason = data.reason ?? null;
      if (Object.values(head.asks).some(ask => ask.key === key)) head.asks = Object.fromEntries(Object.entries(head.asks).filter(([, ask]) => ask.key !== key));
    }
    step.status = word;
    step.tries = tries.slice(-TRIES);
    this.put(key, head.n, step);
  }

  /** @param {Whole} head @param {number} t @param {string} kind @param {any} data */
  run(head, t, kind, data) {
    if (kind === "run.created") head.status = data.status ?? "running";
    else if (kind === "run.claimed") head.status = "running";
    else if (kind === "run.suspended") head.status = data.status ?? "waiting";
    else if (kind === "run.released" || kind === "run.lost") head.status = "queued";
    else if (kind === "run.resumed") Object.assign(head, { status: "queued", over: false, err: null });
    else if (kind === "run.cancel_requested") head.reason = data.reason ?? null;
    else if (kind in ENDS) {
      Object.assign(head, { status: ENDS[kind], over: true, out: data.out ?? null, err: data.err ?? null, reason: data.reason ?? head.reason });
      if (kind !== "run.quarantined") {
        head.asks = {};
        for (const [key, found] of this.steps) {
          const step = /** @type {Step} */ (found.was.at(-1));
          if (OPEN.has(step.status)) this.put(key, head.n, { ...step, status: "cancelled", until: null, tries: step.tries.map(each => each[1] === null ? [each[0], t, "cancelled", null] : each) });
        }
      }
    }
  }

  /** The step as it was after n events; undefined before its first. @param {string} key @param {number} n @returns {Step|undefined} */
  stepAt(key, n) {
    const found = this.steps.get(key);
    if (!found || found.at[0] > n) return undefined;
    let low = 0, high = found.at.length - 1;
    while (low < high) { const middle = (low + high + 1) >> 1; if (found.at[middle] <= n) low = middle; else high = middle - 1; }
    return found.was[low];
  }

  /** All of it after n events. @param {number} n @returns {Whole & {steps: Record<string, Step>}} */
  at(n) {
    /** @type {Record<string, Step>} */
    const steps = {};
    for (const key of this.steps.keys()) { const step = this.stepAt(key, n); if (step) steps[key] = step; }
    return { ...this.heads[n], steps };
  }
}

/** The state after the first n events. @param {Event[]} events @param {number} n */
function fold(events, n) {
  return new History(events.slice(0, n)).at(n);
}

/** What a step belongs to when nobody shows it by itself; null at the top. @param {string} key @returns {string|null} */
function above(key) {
  const slash = key.lastIndexOf("/"), scope = key.slice(0, slash + 1), last = key.slice(slash + 1);
  for (const sign of ["?", last.endsWith("]") ? "[" : "", "#"]) {
    const cut = sign ? last.lastIndexOf(sign) : -1;
    if (cut > 0) return scope + last.slice(0, cut);
  }
  return slash >= 0 ? key.slice(0, slash) : null;
}

/** The number of the box that shows a step. @param {string} key @param {Map<string, number>} boxes @returns {number|undefined} */
function boxOf(key, boxes) {
  /** @type {string|null} */
  let wanted = key;
  while (wanted !== null && !boxes.has(wanted)) wanted = above(wanted);
  return wanted === null ? undefined : boxes.get(wanted);
}

/** How a box stands. @param {Step|undefined} own @param {Step[]} members @param {number|null|undefined} expected @param {boolean} over */
function standing(own, members, expected, over) {
  if (own && (!OPEN.has(own.status) || !members.length)) return own.status;
  const found = new Set(members.map(member => member.status));
  for (const status of ["failed", "retrying", "running", "waiting"]) if (found.has(status)) return status;
  if (own) return own.status;
  if (!found.size) return "pending";
  if (found.has("cancelled")) return "cancelled";
  if (found.size === 1 && found.has("skipped")) return "skipped";
  return expected != null && members.length < expected && !over ? "running" : "completed";
}

/** @typedef {{status: string, own: Step|undefined, members: Step[], expected: number|null|undefined, took: number|null, attempt: number, detail: string}} BoxState */

/** How a box with these steps stands. @param {string} id @param {Step[]} steps @param {Whole} head @returns {BoxState} */
function boxState(id, steps, head) {
  let own = steps.find(step => step.key === id);
  const members = steps.filter(step => step !== own && !step.key.startsWith(id + "?"));
  if (!own && !members.length && steps.length) own = steps[0];
  const expected = head.groups[id];
  let begin = Infinity, end = -Infinity, open = false, any = false;
  for (const step of steps) for (const each of step.tries) {
    any = true; begin = Math.min(begin, each[0]);
    if (each[1] === null) open = true; else end = Math.max(end, each[1]);
  }
  const took = any && !open ? end - begin : null, attempt = own ? own.attempt : Math.max(1, ...members.slice(0, 1000).map(member => member.attempt));
  const status = standing(own, members, expected, head.over), words = members.length && status === "completed" ? [] : [status.replace("_", " ")];
  if (members.length) words.push(`${members.filter(member => member.status === "completed" || member.status === "skipped").length}/${Math.max(expected ?? 0, members.length)}`);
  if (took !== null) words.push(duration(took));
  if (attempt > 1) words.push(`try ${attempt}`);
  return { status, own, members, expected, took, attempt, detail: words.join(" · ") };
}

/** A length of time in a few characters. @param {number} ms */
function duration(ms) {
  if (ms < 1000) return `${Math.floor(ms + 0.5)} ms`;
  if (ms < 120000) return `${(Math.floor(ms / 100 + 0.5) / 10).toFixed(1)} s`;
  if (ms < 7200000) return `${Math.floor(ms / 60000 + 0.5)} min`;
  return `${(Math.floor(ms / 360000 + 0.5) / 10).toFixed(1)} h`;
}

/** Time as a part of the width, idle times cut out. @param {number[]} given */
function axis(given) {
  const times = [...given].sort((a, b) => a - b), last = times.at(-1) || 1, cut = Math.max(last * 0.12, 3000);
  /** @type {[number, number, number][]} */
  const pieces = [];
  let begin = 0, before = 0;
  for (const time of times) { if (time - before > cut) { pieces.push([begin, before, time - before]); begin = time; } before = time; }
  pieces.push([begin, Math.max(last, begin), 0]);
  const busy = pieces.reduce((sum, piece) => sum + Math.max(piece[1] - piece[0], 1), 0);
  const room = Math.max(0.1, 1 - 0.05 * (pieces.length - 1)), gap = (1 - room) / Math.max(1, pieces.length - 1);
  let left = 0;
  const stretches = pieces.map(([from, to, idle]) => { const wide = room * Math.max(to - from, 1) / busy, found = { begin: from, end: to, idle, left, wide }; left += wide + gap; return found; });
  /** @param {number} time */
  const at = time => {
    for (const each of stretches) {
      if (time <= each.end) return each.left + each.wide * Math.max(0, time - each.begin) / Math.max(each.end - each.begin, 1);
      if (each.idle && time < each.end + each.idle) return each.left + each.wide + gap * (time - each.end) / each.idle;
    }
    return 1;
  };
  return { stretches, gap, at };
}

/** What an event says, in words. @param {Event} event */
function says(event) {
  const [, , kind, key, data] = event, word = kind.replace(/^(step|run|scope)\./, "").replace("_", " ");
  const what = kind.startsWith("run.") ? `run ${word}` : kind === "progress" ? `progress ${data.done ?? ""}${data.total ? "/" + data.total : ""} ${data.text ?? ""}` : `${key} ${word}`;
  const more = data.err ?? (kind === "approval.requested" ? data.message : null) ?? (data.attempt > 1 ? `try ${data.attempt}` : "");
  return more ? `${what}: ${more}` : what;
}

/** Drawn, not typed: a machine may have no font for them; picture.py has the same. @type {Record<string, string>} */
const MARKS = {
  running: "M2 1v8l6-4z", waiting: "M5 0.5a4.5 4.5 0 1 0 0.01 0M5 2.5v2.7l2 1.3", retrying: "M8.5 5a3.5 3.5 0 1 1-1-2.5M8 0.5v2.5h-2.5",
  completed: "M1 5.5l2.8 2.8L9 2", failed: "M1.5 1.5l7 7M8.5 1.5l-7 7", timed_out: "M5 0.5a4.5 4.5 0 1 0 0.01 0M5 2.5v2.7h2.5",
  skipped: "M1.5 5h7", cancelled: "M5 0.5a4.5 4.5 0 1 0 0.01 0M2 8l6-6",
};
