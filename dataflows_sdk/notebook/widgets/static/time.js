// What happened when: a row for each box, a bar for each try, idle times cut out.

/** @param {History} history @param {Graph} graph @param {Map<string, number>} index @param {(n: number) => void} go told which event was chosen */
function drawTime(history, graph, index, go) {
  const wide = 1000, names = 150, high = 16, most = 400, segments = 200, events = history.events;
  const el = s("svg", { role: "img", "aria-label": "what happened when" }), total = events.length, last = events.at(-1)?.[1] ?? 0;
  const time = axis(events.map(event => event[1]));
  /** @param {number} t */
  const place = t => Math.round((names + (wide - names - 40) * time.at(t)) * 10) / 10;
  /** @type {Map<number, [number, number|null, string, string|null][]>} */
  const rows = new Map();
  for (const key of history.steps.keys()) {
    const box = boxOf(key, index), step = history.stepAt(key, total);
    if (box === undefined || !step || !step.tries.length) continue;
    let row = rows.get(box);
    if (!row) rows.set(box, row = []);
    for (const each of step.tries) if (row.length < segments) row.push(each);
  }
  const ordered = [...rows].sort((a, b) => a[1][0][0] - b[1][0][0]).slice(0, most), bottom = 18 + ordered.length * high + 6;
  el.setAttribute("viewBox", `0 0 ${wide} ${bottom}`);
  for (const each of time.stretches) {
    el.append(s("text", { class: "df-axis", x: place(each.begin), y: 11 }, duration(each.begin)));
    const span = each.end - each.begin, step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 36e5, 216e5, 864e5].find(v => span / v <= 8 * each.wide + 1) ?? 864e5;
    for (let t = Math.ceil((each.begin + step / 2) / step) * step; t <= each.end && span > 0; t += step) el.append(s("line", { class: "df-grid", x1: place(t), x2: place(t), y1: 14, y2: bottom }), s("text", { class: "df-axis", x: place(t) + 2, y: 11 }, duration(t)));
    if (each.idle) {
      const left = place(each.end), right = place(each.end + each.idle);
      el.append(s("rect", { class: "df-idle", x: left, y: 0, width: Math.max(0, right - left), height: bottom }), s("text", { class: "df-axis", x: left + 2, y: bottom - 3 }, `⋯ ${duration(each.idle)}`));
    }
  }
  ordered.forEach(([box, tries], i) => {
    const y = 16 + i * high;
    el.append(s("text", { x: 4, y: y + 11 }, short(graph.labels[box], 22)));
    for (const [begin, end, status, error] of tries) {
      const left = place(begin), width = Math.max(2, place(end ?? last) - left);
      el.append(s("rect", { class: "df-bar-of", "data-status": status, x: left, y: y + 2, width, height: high - 6, rx: 2 }, s("title", {}, `${graph.labels[box]}: ${status} ${duration((end ?? last) - begin)}${error ? "\n" + error : ""}`)));
    }
  });
  const veil = s("rect", { class: "df-veil", y: 0, height: bottom }), cursor = s("line", { class: "df-cursor", y1: 0, y2: bottom });
  el.append(veil, cursor);
  el.addEventListener("click", /** @param {MouseEvent} event */ event => {
    const frame = el.getBoundingClientRect(), at = (event.clientX - frame.left) / frame.width * wide;
    let n = 0;
    while (n < total && place(events[n][1]) <= at) n++;
    go(n);
  });
  return {
    el,
    /** @param {number} n */
    move(n) {
      const x = n >= total ? wide - 36 : place(n ? events[n - 1][1] : 0);
      cursor.setAttribute("x1", x); cursor.setAttribute("x2", x);
      veil.setAttribute("x", x); veil.setAttribute("width", n >= total ? 0 : Math.max(0, wide - x));
    },
  };
}
