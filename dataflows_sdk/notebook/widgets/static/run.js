// The view of one run. The page holds the events and finds any point by itself; the kernel is asked for what it lacks
// (whole values, sources) and for what changes something. What goes there are commands from a short list, each with an
// id; what comes back says `from` which event on it tells, so that a gap is seen and asked for.

/** @typedef {{get: (key: string) => any, set: (key: string, value: any) => void, save_changes: () => void, send: (message: any) => void,
 *   on: (event: string, told: (...all: any[]) => void) => void, off: (event: string, told: (...all: any[]) => void) => void}} Model */

/** how long the kernel may take, how long it may be silent, and how often we look; ms */
const PATIENCE = 5000, SILENCE = 15000, LOOK = 3000;

// Called once per widget: what stands in here is shared by `initialize` and every view of it. (`model` is not.)
export default () => {
/** @type {History|null} */
let history = null;
/** @type {Set<(what: string, message?: any) => void>} */
const views = new Set();
let heard = Date.now(), asked = 0, gone = "";
/** @param {Model} model */
const begin = model => history ??= new History(model.get("events"));
/** @param {string} what @param {any} [message] */
const tell = (what, message) => views.forEach(view => view(what, message));
/** @param {string} why */
const lose = why => { if (gone !== why) { gone = why; tell("gone"); } };

/** @param {{model: Model}} given */
function initialize({ model }) {
  const known = begin(model);
  /** @param {any} message */
  const hear = message => {
    heard = Date.now(); asked = 0; lose("");
    if (message.do === "events") {
      if (message.graph) model.get("graph") !== message.graph && Object.assign(model.get("graph"), message.graph);
      if (message.head) Object.assign(model.get("head"), message.head);
      if (!known.add(message.from, message.events)) model.send({ do: "sync", from: known.events.length });   // a message was lost
      tell(message.graph ? "graph" : "events");
    } else tell("message", message);
  };
  model.on("msg:custom", hear);
  const unwatch = watchKernel(model, lose);
  const timer = setInterval(() => {
    const head = known.heads[known.heads.length - 1], now = Date.now();
    if (gone || head.over) return;
    if (asked && now - asked > PATIENCE) lose(`No word from the kernel since ${new Date(heard).toLocaleTimeString()}: it is busy, or gone. This is the last that was known.`);
    else if (!asked && now - heard > SILENCE) { asked = now; try { model.send({ do: "ping" }); } catch { lose("The kernel is gone: this is the last that was known."); } }
  }, LOOK);
  return () => { clearInterval(timer); model.off("msg:custom", hear); unwatch(); };
}

/** @param {{model: Model, el: HTMLElement}} given */
function render({ model, el }) {
  const known = begin(model), head = model.get("head"), still = !!model.get("still"), changes = !still && !!model.get("commands"), looks = !still && !!model.get("looks");
  /** @type {Graph} */
  let graph = model.get("graph");
  // without this attribute JupyterLab's command mode takes keys from our inputs: an arrow would fold a section, "d d" delete the cell
  const root = h("div", { class: "df-run", role: "group", "aria-label": `run of ${head.workflow}`, "data-run": head.run, "data-lm-suppress-shortcuts": "true" });
  const theme = document.body.dataset.jpThemeLight;
  if (theme) root.classList.add(theme === "false" ? "df-is-dark" : "df-is-light");
  el.append(root);

  // --- what the kernel is asked --------------------------------------------------------------------------
  let number = 0;
  /** @type {Map<number, (answer: any) => void>} */
  const open = new Map();
  /** Ask; *then* is told the answer, or that there was none. @param {any} message @param {(answer: any) => void} then */
  function ask(message, then) {
    const id = ++number, late = setTimeout(() => answer({ id, ok: false, text: `the kernel does not answer: it is busy or gone. In a cell: ${message.code ?? "run.view()"}` }), PATIENCE);
    open.set(id, found => { clearTimeout(late); then(found); });
    try { model.send({ ...message, id, page }); } catch (error) { answer({ id, ok: false, text: String(error) }); }
  }
  const page = Math.random().toString(36).slice(2);
  /** @param {any} message */
  const answer = message => { const then = open.get(message.id); open.delete(message.id); then?.(message); };
  /** Give a command: its button is off until there is an answer. @param {HTMLButtonElement|null} pressed @param {any} message @param {(answer: any) => void} [then] */
  function command(pressed, message, then) {
    const page_ = /** @type {any} */ (root.getRootNode()), held = !!pressed && page_.activeElement === pressed;
    if (pressed) pressed.disabled = true;
    speak("…");
    ask(message, found => { if (pressed && (!found.ok || then)) { pressed.disabled = false; if (held && page_.activeElement === document.body) pressed.focus({ preventScroll: true }); } speak(found.text ?? ""); then?.(found); });
  }
  /** @param {string} text */
  const speak = text => { say.textContent = text; };

  // --- skeleton ------------------------------------------------------------------------------------------
  const sum = h("span", { class: "df-dim df-sum" });
  const back = button("Back", "back to where the view was before", () => { const n = been.pop(); if (n !== undefined) go(n, false); }, { "data-do": "back" });
  const live = button("Live", "follow what happens", () => go(known.events.length), { "data-do": "live", "aria-pressed": "true" });
  const cancel = button("Cancel run", "ask for the run's end", () => command(cancel, { do: "cancel", code: "run.cancel()" }), { "data-do": "cancel", class: "df-no" });
  const retry = button("Retry", "a new run that does the failed step again", () => command(retry, { do: "retry", code: "run.fork(at=\"step\")" }, () => {}), { "data-do": "retry" });
  const why = button("Why?", "why is it not over?", () => command(why, { do: "why", code: "run.explain()" }, () => {}), { "data-do": "why" });
  const find = h("input", { type: "search", class: "df-find", placeholder: "find", "aria-label": "find a step", size: 10, oninput: () => paint() });
  const banner = h("div", { class: "df-gone", role: "status", hidden: true }), asks = h("div", { class: "df-asks" });
  const dag = h("div", { class: "df-dag" }), side = h("div", { class: "df-side", role: "region", "aria-label": "details", tabindex: "0" }), when = h("div", { class: "df-time", role: "region", "aria-label": "time", tabindex: "0" });
  const list = h("ol"), log = h("details", { class: "df-log", ontoggle: () => paint() }, h("summary", {}, "events"), list);
  const slider = h("input", { type: "range", class: "df-slider", min: 0, max: known.events.length, step: 1, value: 0, "aria-label": "point in the run" }), label = h("span", { class: "df-mono df-at" });
  /** @param {string} d @param {string} name @param {() => number} to */
  const jump = (d, name, to) => button(icon(d, "df-full"), name, () => go(to()));
  const fork = button("Fork from here…", "a new run from this point", () => forkForm(), { "data-do": "fork" });
  const say = h("div", { class: "df-say df-dim df-mono", role: "status" }), form = h("div", { class: "df-form", hidden: true });
  root.append(
    h("div", { class: "df-bar" }, h("span", { class: "df-name" }, head.workflow), sum, h("span", { class: "df-grow" }), find, changes ? why : null, changes ? retry : null, changes ? cancel : null, back, still ? null : live),
    banner, asks, h("div", { class: "df-main" }, dag, side), when, log,
    h("div", { class: "df-bar df-bot" },
      jump("M1 1h1.6v8H1zM9 1v8L3 5z", "first event", () => 0), jump("M8 1v8L2 5z", "event before", () => cursor() - 1), slider,
      jump("M2 1v8l6-4z", "next event", () => cursor() + 1), jump("M7.4 1H9v8H7.4zM1 1v8l6-4z", "last event", () => known.events.length), label,
      button("Next failure", "to the next failure (f)", () => failure()), button("Pin A", "compare from here ([)", () => pin(0)), button("Pin B", "compare to here (])", () => pin(1)), fork),
    form, say);

  // --- where the view is ---------------------------------------------------------------------------------
  /** @type {number[]} */
  const been = [];
  let told = 0, later = 0;
  const cursor = () => Math.max(0, Math.min(model.get("follow") ? known.events.length : model.get("cursor"), known.events.length));
  /** @param {number} to @param {boolean} [remember] @param {boolean} [dragging] */
  function go(to, remember = true, dragging = false) {
    const n = Math.max(0, Math.min(known.events.length, to)), was = cursor();
    if (remember && n !== was && been.at(-1) !== was) { been.push(was); if (been.length > 100) been.shift(); }
    model.set("follow", !still && n === known.events.length);
    model.set("cursor", n);
    clearTimeout(later);
    const now = performance.now();
    if (!dragging || now - told > 250) { told = now; save(); } else later = setTimeout(save, 250);   // the kernel hears 4 times a second at most
    soon();
  }
  const save = () => { if (!gone) try { model.save_changes(); } catch { /* the banner says it */ } };
  /** @param {string} id */
  const pick = id => { model.set("selected", id); save(); soon(); };
  /** @param {number} which */
  function pin(which) {
    const pins = [...(model.get("pins") ?? [])];
    pins[which] = cursor();
    if (pins[0] == null) pins[0] = 0;
    model.set("pins", pins); save(); soon();
  }
  function failure() {
    for (let i = 0, n = known.events.length, at = cursor(); i < n; i++) { const place = (at + i) % n; if (known.events[place][4].err) { const key = known.events[place][3]; go(place + 1); if (key) { const box = boxOf(key, drawn.index); if (box !== undefined) pick(graph.ids[box]); } return; } }
    speak("nothing has failed");
  }
  /** The next point at which a step begins or ends. @param {number} way */
  function boundary(way) {
    let n = cursor() + way;
    while (n > 0 && n < known.events.length && !/^step\.(completed|failed|started)/.test(known.events[n - 1]?.[2] ?? "")) n += way;
    go(n);
  }
  let dragFrom = -1;
  slider.addEventListener("input", () => { if (dragFrom < 0) { dragFrom = cursor(); been.push(dragFrom); } go(+slider.value, false, true); });
  slider.addEventListener("change", () => { dragFrom = -1; go(+slider.value, false); });
  root.addEventListener("keydown", /** @param {KeyboardEvent} event */ event => {
    event.stopPropagation();
    const at = /** @type {HTMLElement} */ (event.target);
    if (/^(TEXTAREA|SELECT)$/.test(at.tagName) || (at.tagName === "INPUT" && at !== slider) || event.ctrlKey || event.metaKey || event.altKey) return;
    /** @type {Record<string, () => void>} */
    const keys = { f: failure, t: nextWrite, "[": () => pin(0), "]": () => pin(1), Backspace: () => back.click(), End: () => go(known.events.length) };
    const act = event.shiftKey && event.key === "ArrowRight" ? () => boundary(1) : event.shiftKey && event.key === "ArrowLeft" ? () => boundary(-1) : keys[event.key];
    if (act) { event.preventDefault(); act(); }
  });

  // --- drawing -------------------------------------------------------------------------------------------
  const draw = () => (graph.ids.length > PAINTED ? paintGraph : drawGraph)(graph, pick);
  const zoom = { from: 0, to: 1 }, again = () => { timed = -1; soon(); speak(`time: ${time.seen()}`); };
  let drawn = draw(), time = drawTime(known, graph, drawn.index, go, zoom, again), timed = known.events.length;
  zoomByKeys(when, zoom, () => time.share(cursor()), again);
  /** the keys of the steps of each box @type {string[][]} */
  let members = [];
  let keyed = 0;
  function redraw() {
    graph = model.get("graph");
    drawn = draw();
    members = graph.ids.map(() => []); stood = []; keyed = 0; timed = -1;
    dag.replaceChildren(drawn.el, h("div", { class: "df-zoom" }, button("−", "zoom out", () => drawn.zoom(1.25)), button("+", "zoom in", () => drawn.zoom(0.8)), button("Fit", "show all", () => drawn.fit())));
    dag.style.minHeight = `${Math.max(160, Math.min(440, (graph.height + 48) * Math.min(1, 800 / (graph.width + 32)) + 40))}px`;
  }
  function sortKeys() {
    if (keyed === known.steps.size) return;
    let i = 0;
    for (const key of known.steps.keys()) if (i++ >= keyed) { const box = boxOf(key, drawn.index); if (box !== undefined) members[box].push(key); }
    keyed = known.steps.size;
  }
  /** how each box stood when it was asked for last: while its steps are the same objects, it stands so still
   * @type {{steps: Step[], expected: any, over: boolean, state: BoxState}[]} */
  let stood = [];
  /** @param {number} n @returns {BoxState[]} */
  const boxesAt = n => graph.ids.map((id, i) => {
    /** @type {Step[]} */
    const steps = [], head = known.heads[n], before = stood[i];
    for (const key of members[i]) { const step = known.stepAt(key, n); if (step) steps.push(step); }
    if (before && before.over === head.over && before.expected === head.groups[id] && before.steps.length === steps.length && steps.every((step, j) => step === before.steps[j])) return before.state;
    const state = boxState(id, steps, head);
    stood[i] = { steps, expected: head.groups[id], over: head.over, state };
    return state;
  });
  /** @param {BoxState} box */
  const result = box => box.own?.out ?? box.own?.err ?? null;

  let frame = 0, timeAt = 0, timeTook = 0, timeLater = 0;
  const soon = () => { if (!frame) frame = requestAnimationFrame(() => { frame = 0; paint(); }); };
  function paint() {
    const began = performance.now();
    const total = known.events.length, n = cursor(), whole = known.heads[n], event = known.events[n - 1], selected = model.get("selected"), pins = model.get("pins") ?? [];
    sortKeys();
    const boxes = boxesAt(n), wanted = find.value.trim().toLowerCase();
    const two = pins.length === 2 && pins[0] != null && pins[1] != null ? [boxesAt(Math.min(pins[0], total)), boxesAt(Math.min(pins[1], total))] : null;
    const beside = besides();
    let done = 0;
    boxes.forEach((box, i) => {
      if (box.status === "completed" || box.status === "skipped") done++;
      const changed = beside?.has(i) || two && (two[0][i].status !== two[1][i].status || result(two[0][i]) !== result(two[1][i]));
      drawn.tell(i, box.status, box.detail, `${selected === graph.ids[i] ? "df-sel" : ""}${changed ? " df-changed" : ""}${wanted && graph.labels[i].toLowerCase().includes(wanted) ? " df-hit" : ""}`);
    });
    drawn.flow(i => boxes[i].status === "completed");
    drawn.settle();
    if (timed !== total) {
      // it is drawn as a whole: while much happens that takes a fifth of the time at most
      const wait = timed < 0 || known.heads[total].over ? 0 : timeAt + 5 * timeTook - began;
      if (wait > 0) { clearTimeout(timeLater); timeLater = setTimeout(soon, wait); }
      else {
        const begun = performance.now();
        timed = total; time = drawTime(known, graph, drawn.index, go, zoom, again); when.replaceChildren(time.el);
        timeAt = performance.now(); timeTook = timeAt - begun;
      }
    }
    time.move(n);
    const progress = whole.progress ? ` · ${whole.progress.text ?? ""} ${whole.progress.done ?? ""}${whole.progress.total ? "/" + whole.progress.total : ""}` : "";
    sum.textContent = `${head.run.slice(0, 8)} · ${done}/${boxes.length} steps · ${whole.status}${n < total ? " at this point" : ""} · ${duration(whole.t)}${progress}${model.get("cut") ? ` · the first ${total} events` : ""}`;
    slider.max = total; slider.value = n;
    const words = event ? says(event) : "before the first event";
    slider.setAttribute("aria-valuetext", `event ${n} of ${total}: ${words}`);
    label.textContent = `${n}/${total} · ${short(words, 60)}`;
    const latest = known.heads[total];
    root.classList.toggle("df-live", n === total && !latest.over);
    root.dataset.status = latest.status; root.dataset.n = n; root.dataset.total = total;
    live.setAttribute("aria-pressed", String(n === total));
    back.disabled = !been.length; cancel.hidden = latest.over; why.hidden = latest.over && latest.status !== "quarantined"; retry.hidden = !(latest.status === "failed" || latest.status === "quarantined"); fork.disabled = n === 0;
    questions(latest, n === total);
    details(whole, boxes, selected, two, pins);
    if (log.open) events(n);
    root.dataset.took = (performance.now() - began).toFixed(1);
    root.dataset.painted = String(+(root.dataset.painted ?? 0) + 1);
  }

  let questioned = "";
  /** What waits for somebody: approvals and events. @param {Whole} whole @param {boolean} now */
  function questions(whole, now) {
    const waits = whole.over ? [] : [...known.steps.keys()].map(key => known.stepAt(key, known.events.length)).filter(step => step?.status === "waiting" && step.event && !/^(approval|row|child|resolve):/.test(step.event)).slice(0, 20);
    const stamp = JSON.stringify([now && changes, Object.keys(whole.asks), waits.map(step => step?.key)]);
    if (stamp === questioned) return;
    questioned = stamp;
    asks.hidden = !now || !changes;
    if (asks.hidden) return;
    // what is asked already stays as it is: somebody may be writing in it
    const old = new Map([...asks.children].map(each => [each.dataset.of, each])), found = [];
    for (const [id, each] of Object.entries(whole.asks).slice(0, 20)) {
      const known_ = old.get(`ask ${id}`);
      if (known_) { found.push(known_); continue; }
      const note = h("input", { placeholder: "note", "aria-label": `note on ${each.key}` });
      const who = each.approvers?.length ? h("select", { "aria-label": "who answers" }, ...each.approvers.map(/** @param {string} name */ name => h("option", { value: name }, name))) : null;
      /** @param {string} decision @param {number} which */
      const decide = (decision, which) => {
        both[1 - which].disabled = true;
        command(both[which], { do: "decide", approval: id, decision, comment: note.value, responder: who?.value ?? null, given: fields ? fields.values() : {}, at: known.heads[known.events.length].seq, code: `ctx.approvals.respond("${id}", "${decision}")` }, found => { if (!found.ok) both[1 - which].disabled = false; else both[which].disabled = true; fields?.wrong(found.ok ? "" : found.text); });
      };
      /** @type {any} */
      let fields = null;
      const edit = button("Edit value", `edit the value that goes with the answer to ${each.key}`, () => {
        if (fields) { fields.el.remove(); fields = null; show(); return; }
        command(edit, { do: "form", approval: id, code: `ctx.approvals.respond("${id}", "approved", value=…)` }, found => { if (found.ok && !fields) { fields = editor(found.fields); box.append(fields.el); show(); fields.focus(); } });
      }, { "data-do": "edit", "data-ask": id, "aria-expanded": "false" });
      const show = () => { edit.textContent = fields ? "Leave the value" : "Edit value"; edit.setAttribute("aria-expanded", String(!!fields)); };
      const both = [
        button("Approve", `approve ${each.key}`, () => decide("approved", 0), { class: "df-yes", "data-do": "approve", "data-ask": id }),
        button("Deny", `deny ${each.key}`, () => decide("rejected", 1), { class: "df-no", "data-do": "deny", "data-ask": id }),
      ];
      const box = h("div", { class: "df-ask", role: "group", "aria-label": `approval of ${each.key}`, "data-of": `ask ${id}` }, h("b", {}, each.key), h("span", { class: "df-text" }, each.message ?? ""), who, note, ...both, edit);
      found.push(box);
    }
    for (const step of waits) {
      const known_ = old.get(`wait ${step?.key}`);
      if (known_) { found.push(known_); continue; }
      const payload = h("input", { placeholder: "payload as JSON", "aria-label": `payload of ${step?.event}`, class: "df-mono" });
      const send = button("Send", `send ${step?.event}`, () => command(send, { do: "send", name: step?.event, payload: payload.value, code: `run.send_event(${JSON.stringify(step?.event)})` }), { "data-do": "send", "data-event": step?.event });
      found.push(h("div", { class: "df-ask", role: "group", "aria-label": `event ${step?.event}`, "data-of": `wait ${step?.key}` }, h("b", {}, step?.key), h("span", { class: "df-text" }, `waits for the event ${step?.event}`), payload, send));
    }
    // moved only where another one stands: an input that is put in again loses the focus
    [...asks.children].filter(each => !found.includes(each)).forEach(each => each.remove());
    found.forEach((each, i) => { if (asks.children[i] !== each) asks.insertBefore(each, asks.children[i] ?? null); });
  }

  /** the other run that this one is beside, when it was read @type {{run: string, workflow: string, head: [string, string|null, string|null][], steps: [string, string|null, string|null][], count: number}|null} */
  let other = model.get("against") ?? null;
  let otherAt = known.heads[known.events.length].over;
  /** The boxes with steps that differ from the other run's. @returns {Set<number>|null} */
  function besides() {
    if (!other) return null;
    if (!otherAt && looks && known.heads[known.events.length].over) {   // it has ended since: now it can be told
      otherAt = true;
      ask({ do: "diff", other: other.run, code: "run.diff(other)" }, found => { if (found.ok) { other = found.against; shownDetails = ""; soon(); } });
    }
    /** @type {Set<number>} */
    const found = new Set();
    for (const [key] of other.steps) { const box = boxOf(key, drawn.index); if (box !== undefined) found.add(box); }
    return found;
  }
  /** What differs from the other run, as a list. @returns {Node[]} */
  function differences() {
    if (!other) return [];
    /** @param {string|null} text */
    const cell = text => h("td", {}, text === null ? h("span", { class: "df-dim" }, "–") : h("div", { class: "df-mono" }, short(text, 80)));
    return [
      h("div", { class: "df-head" }, `A = this run → B = run ${other.run.slice(0, 8)} of ${short(other.workflow, 40)}`),
      h("div", { class: "df-against" }, other.count ? `${other.count} steps differ ` : "no step differs ", button("Clear", "stop comparing runs", () => { other = null; shownDetails = ""; soon(); })),
      other.head.length || other.count ? h("div", { class: "df-scroll", tabindex: "0", role: "region", "aria-label": "what differs" }, h("table", {}, h("thead", {}, h("tr", {}, ...["", "A", "B"].map(name => h("th", { scope: "col" }, name)))), h("tbody", {},
        ...other.head.map(([name, left, right]) => h("tr", {}, h("td", { class: "df-dim" }, name), cell(left), cell(right))),
        ...other.steps.slice(0, 200).map(([key, left, right]) => { const box = boxOf(key, drawn.index); return h("tr", { "data-beside": key }, h("td", {}, box === undefined ? key : button(key, `choose ${key}`, () => pick(graph.ids[box]))), cell(left), cell(right)); })))) : h("span"),
    ];
  }

  /** place, table, step, rows inserted, updated, deleted @type {[number, string, string|null, number, number, number][]} */
  let writes = model.get("writes") ?? [];
  /** @type {Saying[]|null} */
  let said = model.get("said") ?? null;
  const memory = drawMemory(changes, ask, (pressed, message, then) => command(pressed, message, then));
  let wroteAt = known.events.length, asking = false;
  /** A step has ended since we asked what the run wrote and said: ask again, once at a time. @param {number} total */
  function newWrites(total) {
    if (!looks || asking || total === wroteAt) return;
    const before = wroteAt;
    wroteAt = total;
    if (!known.events.slice(before).some(event => /^step\.(completed|failed|timed_out)$/.test(event[2]))) return;
    asking = true;
    ask({ do: "writes" }, found => { setTimeout(() => { asking = false; soon(); }, 1000); if (found.ok) { writes = found.writes; said = found.said ?? null; shownDetails = ""; soon(); } });
  }
  /** The tables that the run had written to after n events. @param {number} n @returns {Node[]} */
  function tables(n) {
    /** @type {Map<string, {all: number[], now: number[]|null, steps: Set<string>}>} */
    const found = new Map();
    for (const [place, name, step, ...counts] of writes) {
      if (place > n) continue;
      let one = found.get(name);
      if (!one) found.set(name, one = { all: [0, 0, 0], now: null, steps: new Set() });
      if (place === n) one.now ??= [0, 0, 0];
      counts.forEach((count, i) => { one.all[i] += count; if (place === n && one.now) one.now[i] += count; });
      if (step) one.steps.add(step);
    }
    if (!found.size) return [];
    /** @param {number[]} counts */
    const said = counts => ["+", "±", "−"].map((sign, i) => counts[i] ? sign + counts[i] : "").filter(each => each).join(" ");
    const place = h("div", { class: "df-rows" });
    /** @param {HTMLButtonElement} pressed @param {string} name @param {boolean} changed */
    const look = (pressed, name, changed) => command(pressed, { do: "rows", n, table: name, changed, code: changed ? "run.wrote()" : `ctx.warehouse.as_of(…).find(${JSON.stringify(name)})` }, answer => {
      if (answer.ok) place.replaceChildren(h("div", { class: "df-head" }, `${name} · ${changed ? "changed here" : "as of event " + n}`), table(answer.table));
    });
    return [h("div", { class: "df-head" }, `tables at event ${n}`), ...[...found].slice(0, 50).map(([name, { all, now, steps }]) => {
      const rows = looks ? button("Rows", `rows of ${name} as of then`, () => look(rows, name, false), { "data-rows": name }) : null;
      const change = looks && now ? button("Changed", `what changed in ${name} here`, () => look(change, name, true), { "data-changed": name }) : null;
      return h("div", { class: now ? "df-wrote df-now" : "df-wrote", "data-table": name }, h("b", {}, name), ` ${said(all)} `, h("span", { class: "df-dim" }, `by ${short([...steps].join(", ") || "the run", 60)}${now ? " · here " + said(now) : ""} `), rows, change);
    }), place];
  }
  /** The next event at which rows were written. */
  function nextWrite() {
    const at = cursor(), places = writes.map(each => each[0]).sort((a, b) => a - b), to = places.find(each => each > at) ?? places[0];
    if (to === undefined) speak("the run wrote no rows"); else go(to);
  }

  let shownDetails = "";
  /** @param {Whole} whole @param {BoxState[]} boxes @param {string|null} selected @param {BoxState[][]|null} two @param {number[]} pins */
  function details(whole, boxes, selected, two, pins) {
    const i = selected === null || selected === undefined ? -1 : graph.ids.indexOf(selected), box = boxes[i];
    newWrites(known.events.length);
    const until = writes.filter(each => each[0] <= whole.n).length, remembered = said?.filter(each => each[0] <= whole.n).length, here = writes.some(each => each[0] === whole.n) || said?.some(each => each[0] === whole.n) ? whole.n : 0;
    const stamp = JSON.stringify([i, !!other, until, remembered, here, looks && (until || said) || remembered ? whole.n : 0, box?.detail, box?.own?.out, box?.own?.err, box?.members.length, two && pins, whole.err, whole.over && whole.out, i < 0 && cursor() === 0]);
    if (stamp === shownDetails) return;
    shownDetails = stamp;
    const found = [];
    if (two) {
      const differ = graph.ids.map((_, j) => j).filter(j => two[0][j].status !== two[1][j].status || result(two[0][j]) !== result(two[1][j]));
      found.push(h("div", { class: "df-head" }, `A = event ${pins[0]} → B = event ${pins[1]}`), h("div", { class: "df-diff" }, `${differ.length} of ${boxes.length} steps differ `, button("Clear", "stop comparing", () => { model.set("pins", []); save(); soon(); })));
      found.push(h("div", { class: "df-scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ...["step", "A", "B"].map(name => h("th", { scope: "col" }, name)))), h("tbody", {}, ...differ.slice(0, 100).map(j => h("tr", { "data-differs": graph.ids[j] }, h("td", {}, graph.labels[j]), ...two.map(side => h("td", {}, side[j].status, h("div", { class: "df-mono df-dim" }, short(result(side[j]) ?? "", 60))))))))));
    }
    if (box) {
      found.push(h("div", { class: "df-head" }, "step"), h("div", {}, h("b", {}, graph.labels[i]), h("span", { class: "df-dim" }, ` ${graph.details[i] || box.own?.op || ""} · ${box.detail}`)));
      const steps = box.own ? [box.own] : box.members.slice(0, 20);
      for (const step of steps) {
        if (!box.own) found.push(h("div", { class: "df-head df-mono" }, `${step.key} · ${step.status}`));
        step.tries.forEach((each, j) => { if (step.tries.length > 1 || each[3]) found.push(h("div", { class: each[3] ? "df-bad" : "df-dim" }, `try ${j + 1}: ${each[2]} ${each[1] === null ? "" : duration(each[1] - each[0])} ${each[3] ?? ""}`)); });
        if (step.until !== null && OPEN.has(step.status)) found.push(h("div", { class: "df-dim" }, `until ${duration(step.until)} after the beginning`));
        if (step.reason) found.push(h("div", { class: "df-dim" }, step.reason));
        if (step.child) found.push(h("div", { class: "df-mono" }, `child run ${step.child}`));
        for (const [name, value] of [["input", step.in], ["output", step.out]]) if (value !== null) found.push(h("div", { class: "df-head" }, name), h("pre", { class: `df-${name}` }, value));
      }
      if (!box.own && box.members.length > 20) found.push(h("div", { class: "df-dim" }, `and ${box.members.length - 20} more`));
      if (looks && box.own) { const more = button("All of it", "whole values and the source", () => whole_(more, graph.ids[i])); found.push(h("div", { class: "df-head" }, more)); }
    } else found.push(h("div", { class: "df-dim" }, "Choose a step for what went in and came out. ←/→ event, Shift+←/→ step, f next failure, t next table write, [ ] compare."));
    if (whole.err) found.push(h("div", { class: "df-head" }, "the run failed"), h("pre", { class: "df-bad" }, whole.err));
    else if (whole.over && whole.out !== null) found.push(h("div", { class: "df-head" }, "result"), h("pre", {}, whole.out));
    const page_ = /** @type {any} */ (root.getRootNode()), held = memory.has(page_.activeElement) ? page_.activeElement : null;
    side.replaceChildren(...differences(), ...found, ...tables(whole.n), ...memory.nodes(said, whole.n), ...(model.get("lacks") ?? []).map((/** @type {string} */ each) => h("div", { class: "df-dim df-lacks" }, each)));
    held?.focus({ preventScroll: true });
  }
  /** Ask for the whole values of a step. @param {HTMLButtonElement} pressed @param {string} key */
  function whole_(pressed, key) {
    command(pressed, { do: "detail", key, at: known.heads[cursor()].seq, code: `run.timeline()["${key}"].output` }, found => {
      if (!found.ok) return;
      const parts = [];
      for (const name of ["input", "output", "error", "source"]) {
        const part = found[name];
        if (!part) continue;
        parts.push(h("div", { class: "df-head" }, `${name}${part.note ? " · " + part.note : ""}`), part.table ? table(part.table) : part.json !== undefined ? tree(part.json) : h("pre", { class: name === "error" ? "df-bad" : "" }, part.text));
      }
      side.append(...parts);
    });
  }

  /** The events around a point. @param {number} n */
  function events(n) {
    const from = Math.max(0, Math.min(n - 40, known.events.length - 80)), found = [];
    for (let i = from; i < Math.min(from + 80, known.events.length); i++) {
      const event = known.events[i];
      found.push(h("li", {}, h("button", { type: "button", "aria-current": i + 1 === n ? "true" : null, "data-event-n": i + 1, onclick: () => go(i + 1) }, `${String(i + 1).padStart(5)}  ${duration(event[1]).padStart(8)}  ${short(says(event), 160)}`)));
    }
    list.replaceChildren(...found);
  }

  function forkForm() {
    const last = known.at(known.events.length), here = cursor(), line = h("span", { class: "df-mono df-dim" }), what = h("div", {});
    let n = here, at = 0, code = "";
    /** From which event on: what follows a value that is changed is done again. @param {string} key */
    const from = key => {
      n = here;
      if (key) { const place = known.events.findIndex(event => event[3] === key && event[2] === "step.completed"); if (place >= 0) n = Math.min(here, place + 1); }
      at = known.heads[n].seq + 1;
      code = `run2 = run.fork(at=${at}${key ? `, set={${JSON.stringify(key)}: …}` : ""})`;
      const kept = known.at(n), again = Object.values(last.steps).filter(step => kept.steps[step.key]?.status !== "completed");
      line.textContent = code;
      what.textContent = `${n} events are reused. ${again.length ? `Done again: ${short(again.slice(0, 12).map(step => step.key).join(", "), 200)}${again.length > 12 ? ` and ${again.length - 12} more` : ""}.` : "Nothing that has happened is done again."} It is a new run; this one stays as it is.`;
      return kept;
    };
    const kept = from(""), reused = Object.values(kept.steps).filter(step => step.status === "completed" && step.op === "run");
    if (!changes) { speak(`${code}   # in a notebook with the run's context`); return; }
    const which = h("select", { "aria-label": "value to change" }, h("option", { value: "" }, "change no value"), ...reused.slice(-200).map(step => h("option", { value: step.key }, step.key)));
    const text = h("textarea", { "aria-label": "the value as JSON", hidden: true, class: "df-value" });
    which.addEventListener("change", () => {
      text.hidden = !which.value;
      from(which.value);
      if (!which.value) return;
      text.value = kept.steps[which.value].out ?? "null";
      ask({ do: "detail", key: which.value, at: at - 1, code }, found => { if (found.ok && found.output?.json !== undefined) text.value = JSON.stringify(found.output.json, null, 1); else if (found.ok) speak("this value is no plain JSON: fork it in a cell"); });
    });
    const start = button("Start the fork", "start it", () => command(start, { do: "fork", at, set: which.value ? { [which.value]: text.value } : {}, code }, found => { if (found.ok) form.hidden = true; }), { class: "df-yes", "data-do": "fork-now" });
    form.replaceChildren(
      what,
      h("div", { class: "df-bar" }, which, line, h("span", { class: "df-grow" }), button("Close", "no fork", () => { form.hidden = true; }), start), text);
    form.hidden = false;
    which.focus();
  }

  // --- what is told --------------------------------------------------------------------------------------
  /** @param {string} what @param {any} [message] */
  const view = (what, message) => {
    if (what === "gone") {
      banner.hidden = !gone; banner.textContent = gone;
      root.toggleAttribute("data-gone", !!gone);
    } else if (what === "graph") { redraw(); soon(); }
    else if (what === "message") { if (message.do === "reply" && message.page === page) answer(message); else if (message.do === "say") speak(message.text); }
    else soon();
  };
  views.add(view);
  const changed = () => soon();
  for (const name of ["cursor", "pins", "selected", "follow"]) model.on(`change:${name}`, changed);
  redraw();
  view("gone");
  speak(model.get("hint") ?? "");
  const before = performance.now();
  paint();
  root.dataset.first = (performance.now() - before).toFixed(1);
  return () => { views.delete(view); cancelAnimationFrame(frame); clearTimeout(timeLater); for (const name of ["cursor", "pins", "selected", "follow"]) model.off(`change:${name}`, changed); };
}
return { initialize, render };
};
