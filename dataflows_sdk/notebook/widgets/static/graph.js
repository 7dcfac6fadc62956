// The boxes of a run. Where they are was decided by the kernel; here they are drawn once and told how they stand.

/** @typedef {{ids: string[], labels: string[], details: string[], stacked: number[], within: Record<string, number>, xy: number[],
 *   edges: [number, number, string, string, number][], width: number, height: number, box: [number, number]}} Graph */

/** Which way each arrow goes. @type {Record<string, [number, number]>} */
const WAYS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The number of the box that shows a step, by its key. @param {Graph} graph */
function indexOf(graph) {
  const index = new Map(graph.ids.map((id, i) => /** @type {[string, number]} */ ([id, i])));
  for (const [id, i] of Object.entries(graph.within)) index.set(id, i);
  return index;
}

/** The nearest box in a direction, or -1. @param {Graph} graph @param {number} i @param {[number, number]} way */
function nextTo(graph, i, way) {
  let best = -1, least = Infinity;
  for (let j = 0; j < graph.ids.length; j++) {
    const x = graph.xy[2 * j] - graph.xy[2 * i], y = graph.xy[2 * j + 1] - graph.xy[2 * i + 1];
    if (x * way[0] + y * way[1] <= 1) continue;
    const far = Math.abs(x) * (way[0] ? 1 : 4) + Math.abs(y) * (way[1] ? 1 : 4);
    if (far < least) { least = far; best = j; }
  }
  return best;
}

/** Which part of a graph is seen: zoomed by Ctrl and the wheel, moved by hand.
 * @param {any} view @param {Graph} graph @param {(frame: number[]) => void} show told x, y, width and height of what is seen */
function camera(view, graph, show) {
  let frame = [0, 0, 1, 1];
  /** @param {number[]} next */
  const look = next => { frame = next; show(frame); };
  const fit = () => look([-16, -16, graph.width + 32, graph.height + 34]);
  /** @param {number} by */
  const zoom = by => { const [x, y, w, hh] = frame; look([x + w * (1 - by) / 2, y + hh * (1 - by) / 2, w * by, hh * by]); };
  view.addEventListener("wheel", /** @param {WheelEvent} event */ event => {   // a plain wheel scrolls the notebook
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.1 : 0.9);
  }, { passive: false });
  /** @type {number[]|null} */
  let held = null;
  let far = 0;
  view.addEventListener("pointerdown", /** @param {PointerEvent} event */ event => { held = [event.clientX, event.clientY, ...frame]; far = 0; });
  view.addEventListener("pointermove", /** @param {PointerEvent} event */ event => {
    if (!held || !(event.buttons & 1)) return;
    const x = event.clientX - held[0], y = event.clientY - held[1], scale = Math.max(frame[2] / view.clientWidth, frame[3] / view.clientHeight);
    far = Math.max(far, Math.hypot(x, y));
    look([held[2] - x * scale, held[3] - y * scale, held[4], held[5]]);
  });
  // so many that nothing could be read: begin where it begins, readable
  if (graph.width > 4000 || graph.height > 1800) look([-16, graph.height / 2 - 300, 1600, 600]); else fit();
  return { fit, zoom, look, frame: () => frame, moved: () => far > 4 };
}

/** The graph as an element. @param {Graph} graph @param {(id: string) => void} pick told which box was chosen */
function drawGraph(graph, pick) {
  const count = graph.ids.length, [wide, high] = graph.box, stacked = new Set(graph.stacked), index = indexOf(graph);
  const view = s("svg", { role: "group", "aria-label": `graph of ${count} steps` }), all = s("g");
  const lines = s("g", { "aria-hidden": "true" });
  const byEdge = graph.edges.map(([, , d, label, dashed]) => {
    const line = s("path", { class: dashed ? "df-edge df-dashed" : "df-edge", d }, label ? s("title", {}, label) : null);
    lines.append(line);
    return line;
  });
  all.append(lines);
  /** @type {boolean[]} */
  const passed = graph.edges.map(() => false);
  /** @type {{el: any, mark: any, sub: any, hint: any, status: string, detail: string, more: string}[]} */
  const boxes = [];
  for (let i = 0; i < count; i++) {
    const label = graph.labels[i], hint = s("title"), mark = s("path", { class: "df-mark", transform: "translate(10 12)" }), sub = s("text", { class: "df-sub", x: 28, y: 35 });
    const el = s("g", { class: "df-box", transform: `translate(${graph.xy[2 * i] - wide / 2} ${graph.xy[2 * i + 1] - high / 2})`, role: "button", tabindex: i ? -1 : 0, "data-step": graph.ids[i], "data-status": "pending" },
      hint, stacked.has(i) ? s("path", { class: "df-stack", d: `M6 ${high + 3}H${wide + 3}V6` }) : null, s("rect", { width: wide, height: high, rx: 7 }));
    el.append(mark);
    el.append(s("text", { x: 28, y: 19 }, short(label, 20)), sub);
    boxes.push({ el, mark, sub, hint, status: "", detail: "", more: "" });
    all.append(el);
  }
  view.append(all);

  const seen = camera(view, graph, frame => view.setAttribute("viewBox", frame.map(each => Math.round(each * 10) / 10).join(" ")));
  /** @param {any} event @returns {number} */
  const which = event => { const found = event.target.closest?.(".df-box"); return found ? /** @type {number} */ (index.get(found.dataset.step)) : -1; };
  all.addEventListener("click", event => { const i = which(event); if (i >= 0) pick(graph.ids[i]); });
  /** @param {number} i */
  const focus = i => { for (const each of boxes) if (each.el.getAttribute("tabindex") === "0") each.el.setAttribute("tabindex", "-1"); boxes[i].el.setAttribute("tabindex", "0"); boxes[i].el.focus(); };
  all.addEventListener("keydown", /** @param {KeyboardEvent} event */ event => {   // one stop for Tab; arrows walk, Enter opens
    const i = which(event);
    if (i < 0) return;
    if (event.key === "Enter" || event.key === " ") { pick(graph.ids[i]); event.preventDefault(); event.stopPropagation(); return; }
    if (!WAYS[event.key] || event.shiftKey) return;
    event.preventDefault(); event.stopPropagation();
    const next = nextTo(graph, i, WAYS[event.key]);
    if (next >= 0) focus(next);
  });

  return {
    el: view, index, fit: seen.fit, zoom: seen.zoom,
    /** Tell a box how it stands. @param {number} i @param {string} status @param {string} detail @param {string} more classes */
    tell(i, status, detail, more) {
      const box = boxes[i];
      if (box.status !== status || box.more !== more) {
        box.el.setAttribute("class", `df-box ${more}`);
        box.el.dataset.status = box.status = status;
        box.more = more;
        box.mark.setAttribute("d", MARKS[status] ?? "M0 0");
      }
      if (box.detail !== detail) {
        box.detail = detail;
        box.sub.textContent = short(detail, 26);
        box.hint.textContent = `${graph.labels[i]}: ${detail}`;
        box.el.setAttribute("aria-label", `${graph.labels[i]}, ${detail}`);
      }
    },
    /** Which lines lead from something that is done. @param {(i: number) => boolean} done */
    flow(done) {
      graph.edges.forEach((edge, i) => { const now = done(edge[0]); if (now !== passed[i]) { passed[i] = now; byEdge[i].classList.toggle("df-done", now); } });
    },
    settle() {},
  };
}
