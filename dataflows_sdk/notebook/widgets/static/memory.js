// What a run said to the memory by a point, and a question as of then.

/** place, act, step, item, collection, scope, text @typedef {[number, string, string|null, number, string, string, string]} Saying */

/** how many sayings are listed, and how many a page is told of at most */
const LISTED = 50, TOLD = 500;

/** @param {boolean} asks whether there is a kernel that can be asked @param {(message: any, then: (answer: any) => void) => void} ask
 * @param {(pressed: HTMLButtonElement, message: any, then: (answer: any) => void) => void} command */
function drawMemory(asks, ask, command) {
  let at = 0, filled = false;
  const hits = h("div", { class: "df-hits" });
  const question = h("input", { type: "search", placeholder: "recall as of then", "aria-label": "question to the memory as of this point", size: 24 });
  /** @type {HTMLSelectElement} */
  const where = h("select", { "aria-label": "where to look" }, choice("default", null));
  /** @param {string} collection @param {string|null} scope */
  function choice(collection, scope) { return h("option", { value: JSON.stringify([collection, scope]) }, scope === null ? collection : `${collection} / ${scope || "no scope"}`); }
  /** The collections that there are, asked for when somebody comes near. */
  function fill() {
    if (filled) return;
    filled = true;
    ask({ do: "places" }, found => { if (found.ok && found.places.length) { const was = where.value; where.replaceChildren(...found.places.map((/** @type {[string, string|null]} */ [collection, scope]) => choice(collection, scope))); if ([...where.options].some(each => each.value === was)) where.value = was; } else filled = found.ok; });
  }
  const go = button("Recall", "what would have been recalled at this point", () => {
    const [collection, scope] = JSON.parse(where.value), n = at;
    command(go, { do: "recall", n, question: question.value, collection, scope, code: "ctx.memory.recall(…, as_of=…, known_at=…)" }, found => {
      if (!found.ok) return;
      hits.replaceChildren(h("div", { class: "df-head" }, `recalled as of event ${n}`),
        ...found.hits.map((/** @type {[string, string, string]} */ [score, text, source]) => h("div", { class: "df-said", "data-hit": "" }, h("span", { class: "df-mono df-dim" }, `${score} `), h("span", { class: "df-text" }, text), h("div", { class: "df-dim" }, source))),
        h("div", { class: "df-dim" }, found.note));
    });
  }, { "data-do": "recall" });
  question.addEventListener("focus", fill);
  where.addEventListener("focus", fill);
  question.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => { if (event.key === "Enter" && !go.disabled) go.click(); });
  const box = h("div", { class: "df-bar df-recall", role: "group", "aria-label": "the memory as of this point" }, question, where, go);
  return {
    /** What is shown at a point; nothing where there is no memory. @param {Saying[]|null} said @param {number} n @returns {Node[]} */
    nodes(said, n) {
      if (!said || n === 0) return [];
      at = n;
      const known = said.filter(each => each[0] <= n);
      if (!known.length && !asks) return [];
      const some = known.slice(-LISTED).reverse(), sign = { remembered: "+", ended: "−", retracted: "×" };
      return [
        h("div", { class: "df-head" }, `memory at event ${n}`),
        known.length > some.length || said.length >= TOLD ? h("div", { class: "df-dim" }, `the last ${some.length} of ${known.length}${said.length >= TOLD ? `; of what the run said the first ${TOLD} are here` : ""}`) : null,
        ...some.map(([place, act, step, item, collection, scope, text]) => h("div", { class: place === n ? "df-said df-now" : "df-said", "data-said": item, "data-act": act },
          h("b", { title: act }, /** @type {any} */ (sign)[act] ?? act), " ", h("span", { class: "df-text" }, text),
          h("span", { class: "df-dim" }, ` ${act} by ${short(step ?? "the run", 60)} · item ${item} in ${collection}${scope ? " / " + scope : ""}`))),
        asks ? box : null, asks ? hits : null,
      ].filter(each => each !== null);
    },
    /** Whether somebody writes a question. @param {Element|null} active */
    has(active) { return !!active && box.contains(active); },
  };
}
