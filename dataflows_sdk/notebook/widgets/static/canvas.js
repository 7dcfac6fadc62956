// The boxes of a run where they are so many that elements of SVG would be slow: painted, the lines into a picture of their
// own that is made anew only where another part is seen. One element in front of it is for the keyboard and for those who
// do not see; what `drawGraph` gives, this gives too.

/** more boxes than this are painted */
const PAINTED = 150;
const STATUSES = ["pending", "running", "waiting", "retrying", "completed", "failed", "timed_out", "skipped", "cancelled"];

/** @param {Graph} graph @param {(id: string) => void} pick told which box was chosen */
function paintGraph(graph, pick) {
  const count = graph.ids.length, [wide, high] = graph.box, stacked = new Set(graph.stacked), index = indexOf(graph);
  const canvas = h("canvas", { "aria-hidden": "true" }), lines = document.createElement("canvas"), heard = h("span", { class: "df-unseen", "aria-live": "polite" });
  // where the keyboard is: one stop for Tab, that arrows move from box to box
  const here = h("div", { class: "df-box df-here", role: "button", tabindex: 0 });
  const probes = STATUSES.map(status => h("span", { class: "df-probe df-box", "data-status": status })), watched = h("span", { class: "df-probe df-watched" }), amber = h("span", { class: "df-probe df-amber" });
  const el = h("div", { class: "df-many", role: "group", "aria-label": `graph of ${count} steps` }, canvas, here, heard, ...probes, amber, watched);
  const states = graph.ids.map(() => ({ status: "pending", detail: "", more: "" }));
  const paths = graph.edges.map(([from, to, d, , dashed]) => ({ path: new Path2D(d), dashed, from, done: false, box: [Math.min(graph.xy[2 * from], graph.xy[2 * to]), Math.min(graph.xy[2 * from + 1], graph.xy[2 * to + 1]), Math.max(graph.xy[2 * from], graph.xy[2 * to]), Math.max(graph.xy[2 * from + 1], graph.xy[2 * to + 1])] }));
  /** @type {Record<string, {tone: string, fill: string}>} */
  let colours = {};
  let font = "", ink = "", dim = "", change = "", dirty = true, stale = true, at = 0, ratio = 1, scale = 1, left = 0, top = 0;

  let frame = 0;
  const later = () => { if (!frame) frame = requestAnimationFrame(() => { frame = 0; settle(); }); };
  const seen = camera(el, graph, () => { dirty = stale = true; later(); });

  /** The colours of the theme: the page says them, we only paint. */
  function wear() {
    colours = {};
    probes.forEach((probe, i) => { const style = getComputedStyle(probe); colours[STATUSES[i]] = { tone: style.color, fill: style.backgroundColor }; });
    const style = getComputedStyle(watched);
    ink = style.color; font = style.fontFamily; dim = colours.pending.tone; change = getComputedStyle(amber).color;
    dirty = stale = true;
  }
  // a change of theme moves this one's colour, in no time but not without saying so
  watched.addEventListener("transitionend", () => { wear(); later(); });
  new ResizeObserver(() => { stale = dirty = true; settle(); }).observe(el);

  function measure() {
    const [x, y, w, hh] = seen.frame(), width = el.clientWidth, height = el.clientHeight;
    ratio = Math.min(window.devicePixelRatio || 1, 2);
    for (const each of [canvas, lines]) if (each.width !== Math.round(width * ratio) || each.height !== Math.round(height * ratio)) { each.width = Math.round(width * ratio); each.height = Math.round(height * ratio); }
    scale = Math.min(width / w, height / hh);
    left = (width - w * scale) / 2 - x * scale; top = (height - hh * scale) / 2 - y * scale;
  }
  /** What is seen, in the graph's own measure. @returns {number[]} */
  const window_ = () => [-left / scale, -top / scale, (canvas.width / ratio - left) / scale, (canvas.height / ratio - top) / scale];

  function drawLines() {
    const pen = /** @type {CanvasRenderingContext2D} */ (lines.getContext("2d")), [x1, y1, x2, y2] = window_();
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, lines.width, lines.height);
    pen.setTransform(scale * ratio, 0, 0, scale * ratio, left * ratio, top * ratio);
    pen.strokeStyle = dim; pen.lineWidth = 1.2 / scale;
    for (const done of [false, true]) for (const dashed of [0, 1]) {
      const all = new Path2D();
      pen.globalAlpha = done ? 1 : 0.55;
      for (const each of paths) if (each.dashed === dashed && each.done === done && each.box[2] + wide >= x1 && each.box[0] - wide <= x2 && each.box[3] + 4 * high >= y1 && each.box[1] - 4 * high <= y2) all.addPath(each.path);
      pen.setLineDash(dashed ? [5 / scale, 4 / scale] : []);
      pen.stroke(all);
    }
  }

  function settle() {
    if (!dirty || !el.clientWidth || !el.isConnected) return;
    if (!colours.pending) wear();
    measure();
    if (stale) { drawLines(); stale = false; }
    dirty = false;
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")), [x1, y1, x2, y2] = window_();
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(lines, 0, 0);
    pen.setTransform(scale * ratio, 0, 0, scale * ratio, left * ratio, top * ratio);
    /** the boxes that look the same, so that each look is set once @type {Map<string, number[]>} */
    const looks = new Map(), visible = [];
    for (let i = 0; i < count; i++) {
      const x = graph.xy[2 * i], y = graph.xy[2 * i + 1];
      if (x + wide < x1 || x - wide > x2 || y + high < y1 || y - high > y2) continue;
      visible.push(i);
      const look = states[i].status + "|" + (states[i].more.includes("df-changed") ? 1 : 0) + (states[i].more.includes("df-sel") ? 1 : 0), found = looks.get(look);
      if (found) found.push(i); else looks.set(look, [i]);
    }
    for (const [look, found] of looks) {
      const [status, flags] = look.split("|"), colour = colours[status] ?? colours.pending, changed = flags[0] === "1", all = new Path2D();
      for (const i of found) {
        const x = graph.xy[2 * i] - wide / 2, y = graph.xy[2 * i + 1] - high / 2;
        if (scale > 0.3) { all.roundRect(x, y, wide, high, 7); if (stacked.has(i)) { all.moveTo(x + 6, y + high + 3); all.lineTo(x + wide + 3, y + high + 3); all.lineTo(x + wide + 3, y + 6); } } else all.rect(x, y, wide, high);
      }
      pen.fillStyle = colour.fill; pen.strokeStyle = changed ? change : colour.tone;
      pen.lineWidth = (flags !== "00" ? 3 : 1.3) / Math.min(1, scale * 1.5);
      pen.setLineDash(changed ? [6, 3] : status === "pending" && scale > 0.3 ? [4, 3] : []);
      pen.fill(all); pen.stroke(all);
    }
    pen.setLineDash([]);
    if (scale > 0.35) for (const i of visible) {
      const { status, detail, more } = states[i], x = graph.xy[2 * i] - wide / 2, y = graph.xy[2 * i + 1] - high / 2, tone = (colours[status] ?? colours.pending).tone;
      if (MARKS[status]) {
        marks[status] ??= new Path2D(MARKS[status]);
        pen.save(); pen.translate(x + 10, y + 12); pen.strokeStyle = tone; pen.lineWidth = 1.6;
        pen.stroke(marks[status]); if (status === "running") { pen.fillStyle = tone; pen.fill(marks[status]); }
        pen.restore();
      }
      pen.fillStyle = ink; pen.font = `600 12px ${font}`;
      const label = short(graph.labels[i], 20);
      pen.fillText(label, x + 28, y + 19);
      if (more.includes("df-hit")) pen.fillRect(x + 28, y + 21, pen.measureText(label).width, 1);
      if (detail) { pen.fillStyle = dim; pen.font = `10.5px ${font}`; pen.fillText(short(detail, 26), x + 28, y + 35); }
    }
    stand();
  }
  /** @type {Record<string, Path2D>} */
  const marks = {};
  /** Put the element for the keyboard in front of its box. */
  function stand() {
    const { status, detail } = states[at], style = here.style;
    style.left = `${(graph.xy[2 * at] - wide / 2) * scale + left}px`; style.top = `${(graph.xy[2 * at + 1] - high / 2) * scale + top}px`;
    style.width = `${wide * scale}px`; style.height = `${high * scale}px`;
    if (here.dataset.step !== graph.ids[at]) here.dataset.step = graph.ids[at];
    if (here.dataset.status !== status) here.dataset.status = status;
    const words = `${graph.labels[at]}, ${detail}`;
    if (here.getAttribute("aria-label") !== words) here.setAttribute("aria-label", words);
  }
  /** @param {number} i */
  function walk(i) {
    at = i;
    const [x, y, w, hh] = seen.frame(), cx = graph.xy[2 * i], cy = graph.xy[2 * i + 1];
    if (cx - wide / 2 < x || cx + wide / 2 > x + w || cy - high / 2 < y || cy + high / 2 > y + hh) seen.look([cx - w / 2, cy - hh / 2, w, hh]);
    stand();
    heard.textContent = here.getAttribute("aria-label");   // that its label is another now is not told by itself
  }
  /** The box at a place of the screen, or -1. @param {MouseEvent} event */
  function under(event) {
    const frame = el.getBoundingClientRect(), x = (event.clientX - frame.left - left) / scale, y = (event.clientY - frame.top - top) / scale;
    for (let i = 0; i < count; i++) if (Math.abs(graph.xy[2 * i] - x) <= wide / 2 && Math.abs(graph.xy[2 * i + 1] - y) <= high / 2) return i;
    return -1;
  }
  el.addEventListener("click", /** @param {MouseEvent} event */ event => {
    const i = seen.moved() ? -1 : under(event);
    if (i >= 0) { at = i; stand(); pick(graph.ids[i]); }
  });
  let over = -1;
  el.addEventListener("pointermove", /** @param {PointerEvent} event */ event => {
    const i = event.buttons ? -1 : under(event);
    if (i === over) return;
    over = i;
    el.style.cursor = i < 0 ? "" : "pointer";
    el.title = i < 0 ? "" : `${graph.labels[i]}: ${states[i].detail}`;
  });
  here.addEventListener("keydown", /** @param {KeyboardEvent} event */ event => {
    if (event.key === "Enter" || event.key === " ") pick(graph.ids[at]);
    else if (WAYS[event.key] && !event.shiftKey) { const next = nextTo(graph, at, WAYS[event.key]); if (next >= 0) walk(next); }
    else return;
    event.preventDefault(); event.stopPropagation();
  });

  return {
    el, index, fit: seen.fit, zoom: seen.zoom, settle,
    /** Tell a box how it stands; it is painted by `settle`. @param {number} i @param {string} status @param {string} detail @param {string} more */
    tell(i, status, detail, more) {
      const state = states[i];
      if (state.status === status && state.detail === detail && state.more === more) return;
      state.status = status; state.detail = detail; state.more = more;
      dirty = true;
    },
    /** Which lines lead from something that is done; they are painted anew where one is another now. @param {(i: number) => boolean} done */
    flow(done) {
      let taken = 0;
      for (const each of paths) { const now = done(each.from); if (now !== each.done) { each.done = now; stale = dirty = true; } if (now) taken++; }
      el.dataset.taken = String(taken);
    },
  };
}
