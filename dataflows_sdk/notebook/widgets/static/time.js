// What happened when: a row for each box, a bar for each try, idle times cut out.

/** The boxes that the run's end waited for: from what ended last back to what each began behind.
 * @param {Graph} graph @param {Map<number, [number, number|null, string, string|null][]>} rows @param {number} last */
function longest(graph, rows, last) {
  /** @type {Map<number, number>} */
  const ends = new Map();
  for (const [box, tries] of rows) ends.set(box, Math.max(...tries.map(each => each[1] ?? last)));
  /** @type {Map<number, number[]>} */
  const before = new Map();
  for (const [from, to] of graph.edges) { const found = before.get(to); if (found) found.push(from); else before.set(to, [from]); }
  /** @type {Set<number>} */
  const found = new Set();
  /** @param {number[]} boxes */
  const latest = boxes => boxes.filter(box => ends.has(box) && !found.has(box)).sort((a, b) => /** @type {number} */ (ends.get(b)) - /** @type {number} */ (ends.get(a)))[0];
  for (let box = latest([...ends.keys()]); box !== undefined; box = latest(before.get(box) ?? [])) found.add(box);
  return found;
}

/** @param {History} history @param {Graph} graph @param {Map<string, number>} index @param {(n: number) => void} go told which event was chosen
 * @param {{from: number, to: number}} zoom which part of the axis is seen; kept by the caller, for a run that goes on is drawn again
 * @param {() => void} again to be called when another part is wanted */
function drawTime(history, graph, index, go, zoom, again) {
  const wide = 1000, names = 150, high = 16, most = 400, segments = 200, events = history.events;
  const total = events.length, last = events.at(-1)?.[1] ?? 0, time = axis(events.map(event => event[1]));
  /** The time at a part of the axis, ms. @param {number} share */
  const back = share => {
    const each = time.stretches.find(each => share <= each.left + each.wide) ?? time.stretches[time.stretches.length - 1];
    return each.begin + Math.max(0, Math.min(1, (share - each.left) / each.wide)) * (each.end - each.begin);
  };
  const seen = () => zoom.from <= 0 && zoom.to >= 1 ? "all of it" : `${duration(back(zoom.from))} to ${duration(back(zoom.to))} of ${duration(last)}`;
  const el = s("svg", { role: "img", "aria-label": `what happened when: ${seen()}` });
  /** @param {number} t */
  const place = t => Math.round((names + (wide - names - 40) * Math.max(-0.01, Math.min(1.05, (time.at(t) - zoom.from) / (zoom.to - zoom.from)))) * 10) / 10;
  /** @type {Map<number, [number, number|null, string, string|null][]>} */
  const rows = new Map();
  for (const key of history.steps.keys()) {
    const box = boxOf(key, index), step = history.stepAt(key, total);
    if (box === undefined || !step || !step.tries.length) continue;
    let row = rows.get(box);
    if (!row) rows.set(box, row = []);
    step.tries.forEach((each, j) => {
      if (row.length >= segments) return;
      const before = step.tries[j - 1]?.[1];
      if (before != null && each[0] > before) row.push([before, each[0], "queued", null]);   // between two tries it waits for its turn
      row.push(each);
    });
  }
  const ordered = [...rows].sort((a, b) => a[1][0][0] - b[1][0][0]).slice(0, most), bottom = 18 + ordered.length * high + 6;
  const long = longest(graph, rows, last);
  el.setAttribute("viewBox", `0 0 ${wide} ${bottom}`);
  for (const each of time.stretches) {
    if (place(each.begin) >= names && place(each.begin) < wide - 30) el.append(s("text", { class: "df-axis", x: place(each.begin), y: 11 }, duration(each.begin)));
    const span = each.end - each.begin, step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 36e5, 216e5, 864e5].find(v => span / v <= 8 * each.wide / (zoom.to - zoom.from) + 1) ?? 864e5;
    for (let t = Math.ceil((each.begin + step / 2) / step) * step; t <= each.end && span > 0; t += step) if (place(t) >= names && place(t) <= wide - 20) el.append(s("line", { class: "df-grid", x1: place(t), x2: place(t), y1: 14, y2: bottom }), s("text", { class: "df-axis", x: place(t) + 2, y: 11 }, duration(t)));
    if (each.idle) {
      const left = place(each.end), right = place(each.end + each.idle);
      el.append(s("rect", { class: "df-idle", x: left, y: 0, width: Math.max(0, right - left), height: bottom }), s("text", { class: "df-axis", x: left + 2, y: bottom - 3 }, `⋯ ${duration(each.idle)}`));
    }
  }
  ordered.forEach(([box, tries], i) => {
    const y = 16 + i * high;
    el.append(s("text", { x: 4, y: y + 11, class: long.has(box) ? "df-critical" : null }, short(graph.labels[box], 22)));
    /** @type {{status: string, left: number, right: number, count: number, text: string}[]} */
    const bars = [];
    for (const [begin, end, status, error] of tries) {
      if (place(end ?? last) < names || place(begin) > wide - 38) continue;
      const left = Math.max(names, place(begin)), right = Math.max(left + 2, place(end ?? last)), before = bars.at(-1);
      // where steps are shorter than a sign, thousands of elements would look like one
      if (before && before.status === status && !error && left >= before.left && left <= before.right && right - before.right < 2) { before.right = Math.max(before.right, right); before.count++; continue; }
      bars.push({ status, left, right, count: 1, text: `${duration((end ?? last) - begin)}${error ? "\n" + error : ""}` });
    }
    for (const { status, left, right, count, text } of bars) {
      el.append(s("rect", { class: "df-bar-of", "data-status": status, x: left, y: y + 2, width: Math.round((right - left) * 10) / 10, height: high - 6, rx: 2 }, s("title", {}, `${graph.labels[box]}: ${status} ${count > 1 ? "× " + count : text}`)));
    }
  });
  const veil = s("rect", { class: "df-veil", y: 0, height: bottom }), cursor = s("line", { class: "df-cursor", y1: 0, y2: bottom });
  el.append(veil, cursor);
  /** @param {MouseEvent} event */
  const across = event => { const frame = el.getBoundingClientRect(); return (event.clientX - frame.left) / frame.width * wide; };
  /** @param {number} x */
  const part = x => Math.max(0, Math.min(1, zoom.from + (x - names) / (wide - names - 40) * (zoom.to - zoom.from)));
  // a drag shows that part of the time, a double click all of it again
  const held = s("rect", { class: "df-held", y: 0, height: bottom, width: 0 });
  el.append(held);
  let start = -1, dragged = false;
  el.addEventListener("pointerdown", /** @param {PointerEvent} event */ event => { const x = across(event); dragged = false; start = x > names && event.button === 0 ? x : -1; });
  el.addEventListener("pointermove", /** @param {PointerEvent} event */ event => {
    if (start < 0 || !(event.buttons & 1)) return;
    const x = Math.max(names, Math.min(wide - 40, across(event)));
    if (!dragged && Math.abs(x - start) < 8) return;
    if (!dragged) { dragged = true; el.setPointerCapture(event.pointerId); }
    held.setAttribute("x", Math.min(x, start)); held.setAttribute("width", Math.abs(x - start));
  });
  el.addEventListener("pointerup", /** @param {PointerEvent} event */ event => {
    if (!dragged) return;
    const x = Math.max(names, Math.min(wide - 40, across(event))), one = part(Math.min(x, start)), two = part(Math.max(x, start));
    held.setAttribute("width", 0); start = -1;
    if (two - one > 0.0005) { zoom.from = one; zoom.to = two; again(); }
  });
  el.addEventListener("dblclick", () => { zoom.from = 0; zoom.to = 1; again(); });
  el.addEventListener("click", /** @param {MouseEvent} event */ event => {
    if (dragged) { dragged = false; return; }
    const at = across(event);
    let n = 0;
    while (n < total && place(events[n][1]) <= at) n++;
    go(n);
  });
  return {
    el, seen,
    /** Where a point of the run is on the axis, 0 to 1. @param {number} n */
    share: n => time.at(n ? events[n - 1][1] : 0),
    /** @param {number} n */
    move(n) {
      const x = n >= total && zoom.to === 1 ? wide - 36 : place(n ? events[n - 1][1] : 0);
      cursor.setAttribute("x1", x); cursor.setAttribute("x2", x);
      veil.setAttribute("x", x); veil.setAttribute("width", n >= total ? 0 : Math.max(0, wide - x));
    },
  };
}

/** Zoom the time by keys: + and - around the point of the run where that is in view, arrows to either side, 0 or Escape for all.
 * @param {any} region has the focus @param {{from: number, to: number}} zoom @param {() => number} centre a part of the axis
 * @param {() => void} again to be called when another part is wanted */
function zoomByKeys(region, zoom, centre, again) {
  region.setAttribute("aria-keyshortcuts", "Plus - ArrowLeft ArrowRight 0 Escape");
  region.addEventListener("keydown", /** @param {KeyboardEvent} event */ event => {
    if (event.target !== region || event.ctrlKey || event.metaKey || event.altKey) return;
    const wide = zoom.to - zoom.from, around = centre(), middle = around > zoom.from && around < zoom.to ? around : (zoom.from + zoom.to) / 2;
    /** @param {number} width @param {number} from */
    const to = (width, from) => { const size = Math.max(0.001, Math.min(1, width)), begin = Math.max(0, Math.min(1 - size, from)); return [begin, begin + size]; };
    const next = event.key === "+" || event.key === "=" ? to(wide / 2, middle - (middle - zoom.from) / 2)
      : event.key === "-" ? to(wide * 2, middle - (middle - zoom.from) * 2)
      : event.key === "0" || event.key === "Escape" && wide < 1 ? [0, 1]
      : event.key === "ArrowLeft" && !event.shiftKey ? to(wide, zoom.from - wide / 4)
      : event.key === "ArrowRight" && !event.shiftKey ? to(wide, zoom.from + wide / 4) : null;
    if (!next) return;
    event.preventDefault(); event.stopPropagation();
    [zoom.from, zoom.to] = next;
    again();
  });
}
