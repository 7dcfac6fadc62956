// A list with filters, pages, details of a row and what can be done with it. The page says with each message what it
// shows, so that the kernel keeps nothing for it; while it is to be seen it looks once a second, where the list moves.

/** how long the kernel may take, how long somebody types, and how often we look; ms */
const PATIENCE = 5000, TYPING = 180, AGAIN = 1000;

/** @param {{model: any, el: HTMLElement}} given */
function render({ model, el }) {
  const title = model.get("title"), live = !!model.get("live"), page = Math.random().toString(36).slice(2);
  const root = h("div", { class: "df-run df-browse", role: "group", "aria-label": title, "data-lm-suppress-shortcuts": "true" });
  const theme = document.body.dataset.jpThemeLight;
  if (theme) root.classList.add(theme === "false" ? "df-is-dark" : "df-is-light");
  el.append(root);

  // --- what the kernel is asked --------------------------------------------------------------------------
  let number = 0, gone = "";
  /** @type {Map<number, (answer: any) => void>} */
  const open = new Map();
  /** @param {any} message @param {(answer: any) => void} then */
  function ask(message, then) {
    const id = ++number, late = setTimeout(() => { lose("No word from the kernel: it is busy, or gone. This is the last that was known."); answer({ id, ok: false, text: `the kernel does not answer: it is busy or gone. In a cell: ${message.code ?? model.get("code")}` }); }, PATIENCE);
    open.set(id, found => { clearTimeout(late); then(found); });
    try { model.send({ ...message, id, page }); } catch (error) { answer({ id, ok: false, text: String(error) }); }
  }
  /** @param {any} message */
  const answer = message => { const then = open.get(message.id); open.delete(message.id); then?.(message); };
  /** @param {any} message */
  const hear = message => { if (message.page === page) { lose(""); answer(message); } };
  /** @param {string} now why, or empty */
  const lose = now => { if (now !== gone) { gone = now; banner.hidden = !now; banner.textContent = now; now ? root.setAttribute("data-gone", "") : root.removeAttribute("data-gone"); } };
  /** @param {string} text */
  const speak = text => { say.textContent = text; };

  // --- skeleton ------------------------------------------------------------------------------------------
  /** @type {Record<string, any>} */
  const inputs = {};
  let typing = 0;
  const changed = () => { clearTimeout(typing); typing = setTimeout(() => { before.length = 0; load(null); }, TYPING); };
  /** @param {any} field @param {string} label @param {(() => void)|null} told */
  const input = (field, label, told) => {
    const made = field.options?.length
      ? h("select", { "aria-label": label, onchange: told }, ...field.options.map(/** @param {string} each */ each => h("option", { value: each }, each || `any ${field.label}`)))
      : h("input", { type: "search", "aria-label": label, placeholder: field.label, oninput: told });
    made.value = field.value ?? "";
    return made;
  };
  for (const field of model.get("fields")) inputs[field.name] = input(field, `filter: ${field.label}`, changed);
  const count = h("span", { class: "df-dim df-sum" }), note = h("div", { class: "df-note df-dim", hidden: true });
  const newer = button("Back", "the page before", () => { const to = before.pop(); if (to !== undefined) load(to); }, { "data-do": "newer", disabled: true });
  const older = button("Next", "the next page", () => { if (shown.next !== null) { before.push(after); load(shown.next); } }, { "data-do": "older", disabled: true });
  const banner = h("div", { class: "df-gone", role: "status", hidden: true });
  const head = h("thead"), body = h("tbody"), side = h("div", { class: "df-side", role: "region", "aria-label": "details", tabindex: "0", hidden: true });
  const say = h("div", { class: "df-say df-dim df-mono", role: "status" }), inside = h("div", { class: "df-inside", hidden: true });
  root.append(h("div", { class: "df-bar" }, h("span", { class: "df-name" }, title), count, h("span", { class: "df-grow" }), ...Object.values(inputs)), banner,
    h("div", { class: "df-main df-list" }, h("div", { class: "df-scroll", role: "region", "aria-label": title, tabindex: "0" }, h("table", {}, head, body), note), side),
    inside, h("div", { class: "df-bar df-bot" }, newer, older), say);

  // --- the list ------------------------------------------------------------------------------------------
  /** @type {(string|null)[]} */
  const before = [];
  /** @type {string|null} */
  let after = null, row = "";
  /** @type {any} */
  let shown = model.get("first");
  let wanted = 0, looking = false;
  const asked = () => Object.fromEntries(Object.entries(inputs).map(([name, made]) => [name, made.value]));

  /** @param {string|[string, boolean][]} cell */
  const content = cell => typeof cell === "string" ? [cell] : cell.map(([text, marked]) => marked ? h("mark", {}, text) : text);
  function paint() {
    const kept = root.contains(document.activeElement) || root.getRootNode().activeElement ? (root.getRootNode().activeElement ?? document.activeElement)?.dataset?.row : undefined;
    head.replaceChildren(h("tr", {}, ...(shown.lines.length ? shown.columns : []).map(/** @param {string} name */ name => h("th", { scope: "col" }, name))));
    body.replaceChildren(...shown.lines.map(/** @param {any} line */ line => {
      const [first, ...others] = line.cells;
      return h("tr", { "data-line": line.id, "data-status": line.status || null, "aria-selected": String(line.id === row), onclick: () => choose(line.id) },
        h("td", {}, h("button", { type: "button", class: "df-open", "data-row": line.id, "aria-expanded": String(line.id === row) }, ...content(first ?? ""))),
        ...others.map(/** @param {any} cell */ cell => h("td", {}, ...content(cell))));
    }));
    if (kept !== undefined) for (const each of body.querySelectorAll("button.df-open")) if (each.dataset.row === kept) each.focus();
    count.textContent = `${shown.lines.length}${shown.next === null ? "" : "+"} shown${before.length ? `, page ${before.length + 1}` : ""}`;
    note.textContent = shown.note; note.hidden = !shown.note;
    newer.disabled = !before.length; older.disabled = shown.next === null;
    root.setAttribute("data-page", String(before.length + 1));
    root.setAttribute("data-shown", String(shown.lines.length));
  }
  /** @param {string|null} to @param {string} [said] what was said before, and is to stay @param {() => void} [then] */
  function load(to, said = "", then) {
    const turn = ++wanted;
    after = to;
    ask({ do: "page", asked: asked(), after }, found => {
      if (turn !== wanted) return;   // somebody typed on
      speak(found.ok ? said : found.text);
      if (found.ok) { shown = found.list; paint(); then?.(); }
    });
  }
  function look() {
    if (!seen || document.hidden || looking) return;
    const turn = wanted;
    looking = true;
    ask({ do: "look", asked: asked(), after, print: shown.print }, found => {
      looking = false;
      if (turn === wanted && found.ok && found.list) { shown = found.list; paint(); }
    });
  }

  // --- the details of a row ------------------------------------------------------------------------------
  /** @param {string} id */
  function choose(id) {
    if (row !== id) shut();
    row = id;
    paint();
    speak("…");
    ask({ do: "details", row: id }, found => {
      if (row !== id) return;
      speak(found.ok ? "" : found.text);
      if (found.ok) tell(id, found.details);
    });
  }
  /** Show the live view of a run below the list: a widget of its own, which the kernel makes. @param {HTMLButtonElement} pressed @param {string} id */
  function openView(pressed, id) {
    pressed.disabled = true;
    speak("…");
    ask({ do: "open", row: id, code: "run.view()" }, async found => {
      pressed.disabled = false;
      speak(found.text ?? "");
      if (!found.ok || row !== id) return;
      try {
        const view = await model.widget_manager.create_view(await model.widget_manager.get_model(found.model));
        inside.replaceChildren(view.el); inside.hidden = false;
      } catch (error) { speak(`it cannot be shown here: ${error}. In a cell: run.view()`); }
    });
  }
  function shut() {
    if (inside.hidden) return;
    inside.replaceChildren(); inside.hidden = true;
    ask({ do: "shut" }, () => {});
  }
  const leave = () => { row = ""; side.hidden = true; shut(); paint(); };
  /** @param {string} id @param {any} details */
  function tell(id, details) {
    side.hidden = false;
    side.setAttribute("data-of", id);
    /** @type {Record<string, any>} */
    const given = {};
    for (const field of details.inputs) given[field.name] = input(field, field.label, null);
    // what stands in the fields counts while they are to be seen
    const fields = details.edits.length ? editor(details.edits) : null;
    const edit = fields ? button("Edit value", "edit the value that goes with the answer", () => {
      fields.el.hidden = !fields.el.hidden;
      edit.textContent = fields.el.hidden ? "Edit value" : "Leave the value";
      edit.setAttribute("aria-expanded", String(!fields.el.hidden));
      if (!fields.el.hidden) fields.focus();
    }, { "data-do": "edit", "aria-expanded": "false" }) : null;
    if (fields) fields.el.hidden = true;
    const sure = h("div", { class: "df-bar df-plain df-sure", role: "group", hidden: true });
    const act = details.actions.map(/** @param {any} each */ each => {
      const look = each.look ? `df-${each.look}` : null;
      const go = () => {
        made.disabled = true;
        sure.hidden = true;
        speak("…");
        const values = { ...Object.fromEntries(Object.entries(given).map(([name, found]) => [name, found.value])), ...(fields && !fields.el.hidden ? fields.values() : {}) };
        ask({ do: "act", row: id, action: each.name, given: values, code: each.code }, found => {
          if (!found.ok) made.disabled = false;
          speak(found.text ?? "");
          fields?.wrong(found.ok ? "" : found.text);
          // what is not there any more is not to be seen either
          load(after, found.text ?? "", () => { if (found.ok && row === id && !shown.lines.some(/** @param {any} line */ line => line.id === id)) leave(); });
        });
      };
      /** What cannot be undone is asked again, and not where the first click was. */
      const doubt = () => {
        made.disabled = true;
        const keep = button("Keep it", "do nothing", () => { sure.hidden = true; made.disabled = false; made.focus(); }, { "data-do": "keep" });
        sure.setAttribute("aria-label", each.ask);
        sure.replaceChildren(h("span", { class: "df-text" }, each.ask), keep, button(each.label, `yes: ${each.label}`, go, { "data-do": `${each.name}-now`, class: look }));
        sure.hidden = false;
        keep.focus();
      };
      const made = button(each.label, each.label, each.ask ? doubt : go, { "data-do": each.name, class: look });
      return made;
    });
    const look_ = details.opens && model.widget_manager ? button("Open", "the live view of this run, here", () => openView(look_, id), { "data-do": "open" }) : null;
    side.replaceChildren(
      h("div", { class: "df-bar df-plain" }, h("span", { class: "df-name" }, details.title), h("span", { class: "df-grow" }), look_, button("Close", "close the details", leave, { "data-do": "close" })),
      ...(act.length ? [h("div", { class: "df-bar df-plain" }, ...Object.values(given), ...act, edit), sure, ...(fields ? [fields.el] : [])] : []),
      ...(details.svg ? [h("img", { alt: details.title, src: `data:image/svg+xml;charset=utf-8,${encodeURIComponent(details.svg)}` })] : []),
      ...details.sheets.flatMap(/** @param {any} sheet */ sheet => [
        sheet.title ? h("div", { class: "df-head" }, sheet.title) : "",
        sheet.columns ? table(sheet) : h("table", {}, h("tbody", {}, ...sheet.rows.map(/** @param {string[]} each */ each => h("tr", {}, h("th", { scope: "row" }, each[0]), h("td", {}, each[1]))))),
        ...sheet.notes.map(/** @param {string} each */ each => h("div", { class: "df-dim" }, each))]),
      ...details.texts.flatMap(/** @param {[string, string]} each */ ([name, text]) => [h("div", { class: "df-head" }, name), h("pre", {}, text)]));
  }

  // --- as long as it is there ----------------------------------------------------------------------------
  let seen = true;
  const watch = new IntersectionObserver(found => { seen = found.at(-1)?.isIntersecting ?? seen; if (live) look(); });
  watch.observe(root);
  const timer = live ? setInterval(look, AGAIN) : 0;
  model.on("msg:custom", hear);
  const unwatch = watchKernel(model, lose);
  paint();
  return () => { clearInterval(timer); clearTimeout(typing); watch.disconnect(); model.off("msg:custom", hear); unwatch(); };
}

export default { render };
