// Elements. Texts are put in as texts, never as HTML: whatever a name holds, it is shown and not obeyed.

/** @param {Element} el @param {Record<string, any>} attributes @param {(Node|string|null|undefined|false)[]} inside */
function dress(el, attributes, inside) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else el.setAttribute(name, value === true ? "" : String(value));
  }
  for (const each of inside) if (each != null && each !== false) el.append(each);
  return el;
}

/** An element of HTML. @param {string} tag @param {Record<string, any>} [attributes] @param {...(Node|string|null|undefined|false)} inside @returns {any} */
const h = (tag, attributes = {}, ...inside) => dress(document.createElement(tag), attributes, inside);

/** An element of SVG. @param {string} tag @param {Record<string, any>} [attributes] @param {...(Node|string|null|undefined|false)} inside @returns {any} */
const s = (tag, attributes = {}, ...inside) => dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, inside);

/** A drawn sign, ten wide. @param {string} d @param {string} [kind] */
const icon = (d, kind = "") => s("svg", { viewBox: "0 0 10 10", class: `df-icon ${kind}`, "aria-hidden": "true" }, s("path", { d }));

/** A button. @param {string|Node} face @param {string} label @param {() => void} press @param {Record<string, any>} [more] */
const button = (face, label, press, more = {}) => h("button", { type: "button", "aria-label": label, title: label, onclick: press, ...more }, face);

/** A text cut to a number of signs. @param {string} text @param {number} most */
const short = (text, most) => text.length > most ? text.slice(0, most - 1) + "…" : text;

/** A value as a tree that can be opened, bounded. @param {any} value @param {number} [depth] @returns {Node} */
function tree(value, depth = 0) {
  if (value === null || typeof value !== "object") return h("span", { class: `df-${typeof value}` }, short(JSON.stringify(value) ?? "null", 2000));
  const items = Array.isArray(value) ? value.map((each, i) => [i, each]) : Object.entries(value), most = 100;
  const brief = Array.isArray(value) ? `[${items.length}]` : `{${short(Object.keys(value).join(", "), 60)}}`;
  const box = h("details", { class: "df-tree", open: depth < 1 }, h("summary", {}, brief));
  const fill = () => {
    if (box.childElementCount > 1) return;
    for (const [key, each] of items.slice(0, most)) box.append(h("div", {}, h("span", { class: "df-key" }, `${short(String(key), 80)}: `), tree(each, depth + 1)));
    if (items.length > most) box.append(h("div", { class: "df-dim" }, `… ${items.length - most} more`));
  };
  if (depth < 1) fill(); else box.addEventListener("toggle", fill, { once: true });
  return box;
}

/** Columns and rows as a table. @param {{columns: string[], rows: string[][], of: number}} frame */
function table(frame) {
  return h("div", { class: "df-scroll", tabindex: "0", role: "region", "aria-label": "rows" }, h("table", {},
    h("thead", {}, h("tr", {}, ...frame.columns.map(name => h("th", { scope: "col" }, name)))),
    h("tbody", {}, ...frame.rows.map(row => h("tr", {}, ...row.map(cell => h("td", {}, cell)))))),
  frame.of > frame.rows.length ? h("div", { class: "df-dim" }, `${frame.rows.length} of ${frame.of} rows`) : null);
}

/** Fields that somebody fills: `values` is what stands in them, `wrong` says what is not taken, and nothing is lost.
 * @param {{name: string, label: string, value: string, options: string[], json: boolean, note: string}[]} fields */
function editor(fields) {
  const fault = h("div", { class: "df-bad", role: "alert", hidden: true });
  const made = fields.map(field => {
    const input = field.options.length
      ? h("select", { "data-field": field.name }, ...field.options.map(each => h("option", { value: each }, each || "—")))
      : h(field.json ? "textarea" : "input", { "data-field": field.name, spellcheck: "false", class: field.json ? "df-value" : null });
    input.value = field.value;
    return { name: field.name, input, el: h("label", {}, h("span", {}, field.label), field.note ? h("span", { class: "df-dim" }, field.note) : null, input) };
  });
  const el = h("div", { class: "df-edit", role: "group", "aria-label": "the value that goes with the answer" }, ...made.map(each => each.el), fault);
  return {
    el,
    values: () => Object.fromEntries(made.map(each => [each.name, each.input.value])),
    /** @param {string} text */
    wrong(text) { fault.textContent = text; fault.hidden = !text; },
    focus() { made[0]?.input.focus(); },
  };
}

/** Hear at once that the kernel of a widget is gone. Widgets are told only of a restart that somebody asked for; where the
 * page lets us, as JupyterLab does, we listen to its session: a kernel that died, was shut down or gave way to another.
 * @param {any} model @param {(why: string) => void} told empty when it is there again @returns {() => void} listens no longer */
function watchKernel(model, told) {
  const last = "This is the last that was known.", session = model.widget_manager?.context?.sessionContext, born = session?.session?.kernel?.id;
  let cut = false;
  const closed = () => told(`The kernel is gone: ${last.toLowerCase()}`);
  /** @param {any} _ @param {string} status */
  const status = (_, status) => {
    if (status === "restarting" || status === "autorestarting") told(`The kernel was restarted. ${last}`);
    else if (status === "dead" || status === "terminating") closed();
  };
  /** @param {any} _ @param {any} change */
  const changed = (_, change) => { if (change.newValue?.id !== born) closed(); };
  /** @param {any} _ @param {string} line */
  const connection = (_, line) => {
    if (line === "disconnected") { cut = true; told(`There is no connection to the kernel. ${last}`); }
    else if (line === "connected" && cut) { cut = false; if (session.session?.kernel?.id === born) told(""); }
  };
  /** @type {[any, (...all: any[]) => void][]} */
  const signals = session ? [[session.statusChanged, status], [session.kernelChanged, changed], [session.connectionStatusChanged, connection]] : [];
  for (const [signal, slot] of signals) signal?.connect(slot);
  model.on("comm:close", closed);
  model.on("comm_live_update", closed);
  return () => {
    for (const [signal, slot] of signals) signal?.disconnect(slot);
    model.off("comm:close", closed); model.off("comm_live_update", closed);
  };
}
