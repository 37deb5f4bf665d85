"use strict";
// Opens the packed columns of the page and shows queries one at a time. Every text is set as text, never as markup.
(() => {
  const SHOWN = 40; // queries of the list at first, and each time that more are asked for
  const FOLLOWED = 4000; // the list grows up to here to show the query that an address names
  const TOP = 10; // documents of a ranked list at first; relevant ones further down are there, too
  const BEGINNING = 180; // characters of a text before it is opened
  const UNLABELLED = -128, STEPS = 250, UNASKED = 255, SCORES = 4095; // as in query_browser.py
  const TYPES = {
    float32: Float32Array, int32: Int32Array, uint32: Uint32Array, int16: Int16Array, uint16: Uint16Array,
    int8: Int8Array, uint8: Uint8Array,
  };
  const ORDERS = [["change", "largest change"], ["gain", "largest gain"], ["loss", "largest loss"],
    ["low", "lowest after"], ["data", "order of the data"]];
  const root = document.getElementById("query-browser");
  const told = document.getElementById("query-browser-state");
  const utf8 = new TextDecoder();
  let facts, columns, hay;
  const state = {search: "", split: -1, before: null, after: null, order: "change", judge: -1, shown: SHOWN};
  let found = [], query = null, place = null, whole = false;
  const parts = {};

  // ---- what is in the page

  async function unpack(text) {
    const binary = atob(text.trim());
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const buffer = await new Response(stream).arrayBuffer();
    const head = 4 + new DataView(buffer).getUint32(0, true);
    facts = JSON.parse(utf8.decode(new Uint8Array(buffer, 4, head - 4)));
    columns = {};
    for (const [name, type, start, length] of facts.columns) {
      columns[name] = new TYPES[type](buffer, head + start, length);
    }
  }

  const text = (name, row) =>
    utf8.decode(columns[name].subarray(columns[`${name}_start`][row], columns[`${name}_start`][row + 1]));
  const count = () => columns.split.length;
  const listed = (q) => q < facts.listed;
  const RATING = () => facts.systems.length; // in place of a system: the order of the judges' ratings
  const called = (system) => system === RATING() ? "judges' ratings" : facts.systems[system];
  const value = (system, q) =>
    system === null || system >= facts.systems.length ? NaN : columns.value[system * count() + q];
  const change = (q) => value(state.after, q) - value(state.before, q);

  function pool(q) {
    const low = columns.pool_start[q], size = columns.pool_start[q + 1] - low;
    const one = (name) => columns[name].subarray(low, low + size);
    return {size, doc: one("pool_doc"), rating: one("pool_rating"), stderr: one("pool_stderr"), label: one("pool_label")};
  }

  // A system's list of a query, best first: [{place, score}].
  function list(system, q, documents) {
    if (system === null) return [];
    if (system === RATING()) {
      return byRating(documents).map((place) => ({place, score: documents.rating[place]}));
    }
    const group = system * facts.listed + q;
    const high = columns.list_high[group], width = high - columns.list_low[group];
    const rows = [];
    for (let row = columns.list_start[group], below = 0; row < columns.list_start[group + 1]; row++) {
      below = (below + columns.list_fall[row]) & 0xffff;
      rows.push({place: columns.list_place[row], score: high - width * below / SCORES});
    }
    return rows;
  }

  function byRating(documents) {
    const places = [...Array(documents.size).keys()].filter((place) => !Number.isNaN(documents.rating[place]));
    return places.sort((a, b) => documents.rating[b] - documents.rating[a] || a - b);
  }

  // The comparisons of a document: [{other, p: [per judge, NaN where not asked], reasons}], p for the document.
  function battles(q, document) {
    const rows = [];
    const judges = facts.judges.length, pairs = columns.pair_a.length;
    for (let row = columns.pair_start[q]; row < columns.pair_start[q + 1]; row++) {
      const first = columns.pair_a[row] === document;
      if (!first && columns.pair_b[row] !== document) continue;
      const p = [];
      for (let judge = 0; judge < judges; judge++) {
        const step = columns.pair_p[judge * pairs + row];
        p.push(step === UNASKED ? NaN : first ? step / STEPS : 1 - step / STEPS);
      }
      rows.push({other: first ? columns.pair_b[row] : columns.pair_a[row], p, reasons: reasons(row, first)});
    }
    return rows;
  }

  function reasons(pair, first) {
    const rows = columns.reason_pair;
    let low = 0, high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle] < pair) low = middle + 1; else high = middle;
    }
    const said = [];
    for (; low < rows.length && rows[low] === pair; low++) {
      const isA = first !== Boolean(columns.reason_turned[low]);
      said.push({judge: columns.reason_judge[low], shown: isA ? "A" : "B", text: text("reason", low)});
    }
    return said;
  }

  // ---- words and elements

  function el(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [name, set] of Object.entries(properties || {})) {
      if (set === null || set === undefined || set === false) continue;
      if (name === "class") element.className = set;
      else if (name.startsWith("on")) element.addEventListener(name.slice(2), set);
      else if (name in element && typeof set !== "string") element[name] = set;
      else element.setAttribute(name, set);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
    return element;
  }
  const bdi = (words) => el("bdi", {}, words || "(empty)");
  const minus = (words) => words.replace("-", "\u2212");
  const figure = (number, digits = 3) => Number.isFinite(number) ? minus(number.toFixed(digits)) : "\u2013";
  const signed = (number) => Number.isFinite(number) ? (number > 0 ? "+" : "") + figure(number) : "";
  const tone = (number) => number > 1e-9 ? "gain" : number < -1e-9 ? "loss" : "muted";
  const line = (words) => words.replace(/\s+/g, " ");
  function score(number) {
    if (!Number.isFinite(number)) return "\u2013";
    const size = Math.abs(number);
    return minus(size >= 100 ? number.toFixed(0) : size >= 10 ? number.toFixed(1) : size >= 1 ? number.toFixed(2)
      : size >= 0.001 || size === 0 ? number.toFixed(3) : number.toExponential(1));
  }

  function svg(kind, label, ...lines) {
    const space = "http://www.w3.org/2000/svg";
    const image = document.createElementNS(space, "svg");
    image.setAttribute("class", `strip ${kind}`);
    image.setAttribute("role", "img");
    image.setAttribute("aria-label", label);
    for (const [tag, attributes] of lines) {
      const element = document.createElementNS(space, tag);
      for (const [name, set] of Object.entries(attributes)) element.setAttribute(name, set);
      image.append(element);
    }
    return el("span", {class: "track"}, image);
  }

  function titled(documents, place) {
    const row = documents.doc[place], id = text("doc_id", row), title = line(text("title", row));
    if (title) return [bdi(title), title === id ? null : el("span", {class: "id muted"}, ` ${id}`)];
    const words = line(text("text", row)).slice(0, 90);
    return [el("bdi", {class: "untitled"}, words || "(no text)"), el("span", {class: "id muted"}, ` ${id}`)];
  }

  // A text: its beginning, and all of it when opened.
  function opened(words) {
    if (words.length <= BEGINNING) return el("p", {class: "words"}, bdi(words));
    return el("details", {class: "words"}, el("summary", {}, bdi(`${line(words).slice(0, BEGINNING)}\u2026`)),
      el("p", {class: "words"}, bdi(words)));
  }

  const address = (q, document) => `#query/${encodeURIComponent(text("query_id", q))}` +
    (document === undefined ? "" : `/${encodeURIComponent(text("doc_id", document))}`);

  // ---- the list of queries

  function search() {
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    found = [];
    for (let q = 0; q < count(); q++) {
      if (state.split >= 0 && columns.split[q] !== state.split) continue;
      if (words.every((word) => hay[q].includes(word))) found.push(q);
    }
    const known = (number) => Number.isNaN(number) ? 0 : number;
    const by = {
      change: (q) => -Math.abs(known(change(q))),
      gain: (q) => -known(change(q)),
      loss: (q) => known(change(q)),
      low: (q) => known(value(state.after, q)),
    }[state.order];
    if (by) found.sort((a, b) => by(a) - by(b) || a - b);
    state.shown = SHOWN;
  }

  function showFound() {
    const rows = found.slice(0, state.shown).map((q) => {
      const moved = change(q);
      const figures = Number.isNaN(value(state.after, q)) ? [] : [
        Number.isNaN(value(state.before, q)) ? null
          : el("span", {class: "n muted was"}, `${figure(value(state.before, q))} \u2192`),
        el("span", {class: "n"}, figure(value(state.after, q))),
        el("span", {class: `n ${tone(moved)}`}, signed(moved)),
      ];
      return el("li", {}, el("a", {class: "hit", href: address(q), tabindex: "-1", "data-query": String(q)},
        el("span", {class: "words"}, bdi(line(text("query", q)))), ...figures));
    });
    parts.found.replaceChildren(...rows);
    parts.count.textContent = `${found.length.toLocaleString("en")} of ${count().toLocaleString("en")} queries`;
    parts.more.hidden = found.length <= state.shown;
    mark();
  }

  function mark() {
    const links = [...parts.found.querySelectorAll("a")];
    const current = links.find((link) => Number(link.dataset.query) === query);
    for (const link of links) {
      link.tabIndex = link === (current || links[0]) ? 0 : -1;
      if (link === current) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
    }
    if (current) {
      const box = parts.found, top = current.parentElement.offsetTop;
      if (top < box.scrollTop) box.scrollTop = top;
      const low = top + current.offsetHeight - box.clientHeight;
      if (low > box.scrollTop) box.scrollTop = low;
    }
  }

  // Arrow keys go along the links of a list.
  function along(event) {
    const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    const link = event.target.closest("a");
    if (!step || !link) return;
    const links = [...event.currentTarget.querySelectorAll("a")];
    const next = links[links.indexOf(link) + step];
    event.preventDefault();
    if (next) next.focus(); else if (step < 0 && event.currentTarget === parts.found) parts.search.focus();
  }

  // ---- one query

  function showQuery() {
    if (query === null) {
      parts.query.replaceChildren(el("p", {class: "muted"}, "No query has these words."));
      return;
    }
    const q = query, at = found.indexOf(q), moved = change(q);
    const metric = facts.metrics[columns.split[q]];
    const stepped = (words, to) => el("a", to === undefined ? {class: "muted", "aria-disabled": "true"} : {href: address(to)}, words);
    const head = [
      el("div", {class: "steps small"}, stepped("\u2039 previous", found[at - 1]), stepped("next \u203a", found[at + 1])),
      el("h3", {tabindex: "-1"}, bdi(text("query", q))),
    ];
    const said = el("p", {class: "facts small muted"}, el("span", {class: "id"}, text("query_id", q)),
      ` \u00b7 ${facts.splits[columns.split[q]]}`);
    if (!Number.isNaN(value(state.after, q))) {
      said.append(` \u00b7 ${metric} `);
      if (!Number.isNaN(value(state.before, q))) said.append(`${figure(value(state.before, q))} \u2192 `);
      said.append(el("span", {class: tone(moved)}, figure(value(state.after, q))));
    }
    if (!listed(q)) {
      parts.query.replaceChildren(...head, said, el("p", {}, `Lists are kept of ${facts.listed.toLocaleString("en")} queries: ` +
        "those that gain or lose most, and some between. This one is not among them; its ranking is in the run files."));
      return;
    }
    const documents = pool(q), relevant = documents.label.filter((label) => label > 0).length;
    if (columns.pool_label.some((label) => label !== UNLABELLED)) {
      said.append(` \u00b7 ${relevant} relevant by ${facts.labelled_by}`);
    }
    const lists = [state.before, state.after].map((system) => list(system, q, documents));
    const columnsOf = state.before === null || state.before === state.after ? [1] : [0, 1];
    const axis = axisOf(documents, whole ? lists : lists.map((rows) => rows.filter((row, at) => at < TOP || documents.label[row.place] > 0)));
    const rankings = columnsOf.map((side) => ranking(q, documents, lists, side, axis, columnsOf.length > 1));
    const long = Math.max(...lists.map((rows) => rows.length)) > TOP;
    const toggle = el("button", {type: "button", class: "small", hidden: !long, onclick: () => {
      whole = !whole;
      showQuery();
      parts.query.querySelector("button").focus();
    }}, whole ? `show the first ${TOP} only` : "show all ranks");
    parts.why = el("div", {class: "why-here", "aria-live": "polite"});
    const body = el("div", {class: `rankings${columnsOf.length > 1 ? " two" : ""}`}, ...rankings);
    body.addEventListener("keydown", along);
    for (const [kind, on] of [["pointerover", true], ["pointerout", false]]) {
      body.addEventListener(kind, (event) => {
        const link = event.target.closest("a");
        if (!link) return;
        for (const twin of body.querySelectorAll("a")) {
          twin.classList.toggle("same", on && twin.dataset.place === link.dataset.place);
        }
      });
    }
    parts.query.replaceChildren(...head, said, body, toggle, parts.why);
    showWhy(documents);
  }

  // The axis of the ratings of all documents that are shown.
  function axisOf(documents, lists) {
    const ends = lists.flat().flatMap(({place}) => {
      const rating = documents.rating[place], reach = 1.96 * (documents.stderr[place] || 0);
      return Number.isNaN(rating) ? [] : [rating - reach, rating + reach];
    });
    const low = ends.reduce((one, other) => Math.min(one, other), Infinity);
    const high = ends.reduce((one, other) => Math.max(one, other), -Infinity);
    const room = (high - low) * 0.05 || 0.5;
    const share = (number) => Math.min(Math.max((number - low + room) / (high - low + 2 * room), 0), 1);
    return (number) => `${(100 * share(number)).toFixed(2)}%`;
  }

  function rated(documents, place, axis) {
    const rating = documents.rating[place], reach = 1.96 * documents.stderr[place];
    if (Number.isNaN(rating)) return el("span", {class: "track"});
    const lines = [["line", {class: "grid", x1: "0", x2: "100%", y1: "50%", y2: "50%"}]];
    if (Number.isFinite(reach)) {
      lines.push(["line", {class: "bar", x1: axis(rating - reach), x2: axis(rating + reach), y1: "50%", y2: "50%"}]);
    }
    lines.push(["circle", {cx: axis(rating), cy: "50%", r: "2.6"}]);
    const error = Number.isFinite(documents.stderr[place]) ? ` \u00b1 ${figure(documents.stderr[place], 2)}` : "";
    const strip = svg(documents.label[place] > 0 ? "gain" : "accent", `rating ${figure(rating, 2)}${error}`, ...lines);
    strip.title = `rating ${figure(rating, 2)}${error}`;
    return strip;
  }

  function labelled(label) {
    if (label === UNLABELLED) return el("span", {class: "grade"});
    const words = label > 0 ? `relevant, grade ${label}` : "not relevant";
    return el("span", {class: `grade ${label > 0 ? "relevant" : "not"}`, title: words, "aria-label": words}, minus(String(label)));
  }

  function ranking(q, documents, lists, side, axis, both) {
    const mine = lists[side], system = side ? state.after : state.before;
    const ranks = lists.map((rows) => new Map(rows.map((row, rank) => [row.place, rank + 1])));
    const rows = [];
    let last = 0;
    mine.forEach((row, at) => {
      if (!whole && at >= TOP && documents.label[row.place] <= 0) return;
      if (at > last) rows.push(el("li", {class: "skip"}, `\u22ee ${at - last} more`));
      last = at + 1;
      rows.push(ranked(q, documents, row, at + 1, both ? moved(side, at + 1, ranks[1 - side].get(row.place)) : null, axis));
    });
    if (mine.length > last) rows.push(el("li", {class: "skip"}, `\u22ee ${mine.length - last} more`));
    const missed = [];
    for (let i = 0; i < documents.size; i++) if (documents.label[i] > 0 && !ranks[side].has(i)) missed.push(i);
    if (missed.length) {
      const where = mine.length < facts.depth ? "not found" : `not among the first ${mine.length}`;
      rows.push(el("li", {class: "skip"}, `relevant, ${where}:`));
      for (const place of missed) rows.push(ranked(q, documents, {place, score: NaN}, 0, both ? el("span", {}) : null, axis));
    }
    const kind = both ? (side ? "after" : "before") : "";
    const title = el("h4", {}, kind ? el("span", {class: "muted"}, `${kind}: `) : null, bdi(called(system)),
      el("span", {class: "small muted"}, ` ${figure(value(system, q)) === "\u2013" ? "" : figure(value(system, q))}`));
    const heads = el("div", {class: "doc head", "aria-hidden": "true"}, el("span", {class: "n"}, ""),
      both ? el("span", {}, side ? "moved" : "to") : null, el("span", {}, "document"), el("span", {class: "grade"}, "label"),
      el("span", {class: "n"}, system === RATING() ? "rating" : "score"), el("span", {}, facts.rated ? "rating, 95 %" : ""));
    return el("div", {class: `ranking${both ? " moves" : ""}`}, title, heads, el("ol", {}, ...rows));
  }

  function moved(side, rank, there) {
    if (there === undefined) return el("span", {class: "muted", title: side ? "not in the other list" : "gone from the other list"}, side ? "new" : "gone");
    if (!side) return el("span", {class: "muted", title: `rank ${there} after`}, `\u2192${there}`);
    const up = there - rank;
    return el("span", {class: up > 0 ? "gain" : up < 0 ? "loss" : "muted", title: `rank ${there} before`},
      up > 0 ? `\u25b2${up}` : up < 0 ? `\u25bc${-up}` : "=");
  }

  function ranked(q, documents, row, rank, move, axis) {
    const link = el("a", {class: "doc", href: address(q, documents.doc[row.place]), "data-place": String(row.place)},
      el("span", {class: "n muted"}, rank ? String(rank) : "\u2013"), move, el("span", {class: "who"}, ...titled(documents, row.place)),
      labelled(documents.label[row.place]), el("span", {class: "n"}, score(row.score)), rated(documents, row.place, axis));
    return el("li", {}, link);
  }

  // ---- one document

  function showWhy(documents) {
    for (const link of parts.query.querySelectorAll("a.doc")) {
      if (Number(link.dataset.place) === place) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    if (place === null) {
      parts.why.replaceChildren(el("p", {class: "small muted"}, "Choose a document to see why it is here."));
      return;
    }
    const q = query, row = documents.doc[place];
    const order = byRating(documents), rank = new Map(order.map((one, at) => [one, at + 1]));
    const places = facts.systems.map((_, system) => {
      const rows = list(system, q, documents), at = rows.findIndex((one) => one.place === place);
      return el("span", {class: "system"}, bdi(called(system)), " ",
        at < 0 ? el("span", {class: "muted"}, rows.length < facts.depth ? "not found" : `below ${rows.length}`)
          : el("span", {}, el("strong", {}, String(at + 1)), el("span", {class: "muted"}, ` (${score(rows[at].score)})`)));
    });
    const facts_ = el("p", {class: "facts small"});
    if (rank.has(place)) {
      const error = documents.stderr[place];
      facts_.append(`rating ${figure(documents.rating[place], 2)}`,
        Number.isFinite(error) ? ` \u00b1 ${figure(error, 2)} (standard error)` : "", `, place ${rank.get(place)} of ${order.length} by rating`);
    } else facts_.append("not rated");
    const label = documents.label[place];
    facts_.append(label === UNLABELLED ? " \u00b7 no label" : label > 0 ? ` \u00b7 relevant, grade ${label}` : " \u00b7 labelled not relevant");
    parts.why.replaceChildren(el("div", {class: "why"},
      el("div", {class: "steps small"}, el("a", {href: address(q)}, "close")),
      el("h4", {}, el("span", {class: "muted"}, "Why is this document here? "), ...titled(documents, place)),
      facts_,
      places.length ? el("p", {class: "places small"}, ...places) : null,
      opened(text("text", row) || "(no text)"),
      ...compared(q, documents, rank)));
  }

  function compared(q, documents, rank) {
    const mean = (p) => {
      const known = (state.judge < 0 ? p : [p[state.judge]]).filter((one) => !Number.isNaN(one));
      return known.length ? known.reduce((sum, one) => sum + one, 0) / known.length : NaN;
    };
    const all = battles(q, place);
    const rows = all.map((one) => ({...one, mean: mean(one.p)})).filter((one) => !Number.isNaN(one.mean));
    rows.sort((a, b) => (rank.get(a.other) || 1e9) - (rank.get(b.other) || 1e9) || a.other - b.other);
    const who = state.judge < 0 ? "the judges, on average," : "this judge";
    if (!rows.length) {
      const none = all.length ? "This judge answered no comparison of this document." :
        facts.rated && rank.size ? "No judge answered a comparison of this document." : "The judges were not asked about this query.";
      return [el("p", {class: "muted"}, none)];
    }
    const won = rows.filter((one) => one.mean > 0.5).length;
    return [
      el("p", {class: "small muted"}, `Compared with ${rows.length} document${rows.length > 1 ? "s" : ""}, best rated first; preferred to ${won}. ` +
        `The number says how surely ${who} prefer${state.judge < 0 ? "" : "s"} the document above; the bar points to it (right) or to ` +
        `the opponent (left)${state.judge < 0 && facts.judges.length > 1 ? "; small circles are single judges" : ""}.` +
        (facts.pairs[0] < facts.pairs[1] ? " Only comparisons of documents with near ratings are kept here." : "")),
      ...rows.map((one) => battle(q, documents, one, rank)),
    ];
  }

  function battle(q, documents, one, rank) {
    const kind = one.mean > 0.5 ? "gain" : one.mean < 0.5 ? "loss" : "muted", at = (p) => `${(100 * p).toFixed(1)}%`;
    const lines = [
      ["line", {class: "grid", x1: "0", x2: "100%", y1: "50%", y2: "50%"}],
      ["line", {class: "zero", x1: "50%", x2: "50%", y1: "10%", y2: "90%"}],
      ["line", {class: "tug", x1: "50%", x2: at(one.mean), y1: "50%", y2: "50%"}],
    ];
    const asked = one.p.map((p, judge) => [judge, p]).filter(([judge, p]) => !Number.isNaN(p) && (state.judge < 0 || judge === state.judge));
    if (asked.length > 1) for (const [, p] of asked) lines.push(["circle", {class: "judge", cx: at(p), cy: "50%", r: "2.5"}]);
    lines.push(["circle", {cx: at(one.mean), cy: "50%", r: "4"}]);
    const said = one.reasons.filter((reason) => state.judge < 0 || reason.judge === state.judge);
    const votes = asked.flatMap(([judge, p], n) => [n ? " \u00b7 " : null,
      el("span", {class: "judge-name"}, bdi(facts.judges[judge]), ` ${p.toFixed(2)}`)]);
    const row = documents.doc[one.other];
    return el("div", {class: "bout"},
      el("div", {}, el("span", {class: "muted place"}, String(rank.get(one.other) || "\u2013")),
        el("a", {href: address(q, row)}, ...titled(documents, one.other)), labelled(documents.label[one.other]),
        opened(text("text", row) || "(no text)")),
      el("span", {class: `n ${kind}`}, one.mean.toFixed(2)),
      el("div", {class: "scale"}, svg(kind, `preferred with probability ${one.mean.toFixed(2)}`, ...lines), el("div", {class: "votes"}, ...votes)),
      said.length ? el("details", {class: "reasons"}, el("summary", {class: "small"}, `reasons of ${said.length > 1 ? `${said.length} answers` : facts.judges[said[0].judge]}`),
        ...said.map((reason) => el("p", {}, el("span", {class: "small muted"}, bdi(facts.judges[reason.judge]), `, the document above shown as ${reason.shown}`),
          el("br"), bdi(reason.text)))) : null);
  }

  // ---- where we are

  function go(event) {
    const [kind, id, document] = location.hash.slice(1).split("/").map((part) => {
      try { return decodeURIComponent(part); } catch { return part; }
    });
    if (kind !== "query" && event) return; // another section of the page
    const before = query, wanted = kind === "query" ? id : null;
    let next = wanted === null ? found[0] : undefined;
    for (let q = 0; wanted !== null && q < count() && next === undefined; q++) if (text("query_id", q) === wanted) next = q;
    query = next === undefined ? found.length ? found[0] : null : next;
    place = null;
    if (document !== undefined && query !== null && listed(query)) {
      const documents = pool(query);
      for (let i = 0; i < documents.size; i++) if (text("doc_id", documents.doc[i]) === document) place = i;
    }
    const at = found.indexOf(query);
    if (at >= state.shown && at < FOLLOWED) { state.shown = at + 1; showFound(); }
    if (query === before && parts.why && query !== null && listed(query)) showWhy(pool(query)); else showQuery();
    mark();
    const shown = place !== null ? parts.why : query !== before ? parts.query : null;
    if (shown && (event || kind === "query")) shown.scrollIntoView({block: shown === parts.why ? "nearest" : "start"});
  }

  function changed() {
    search();
    if (!found.includes(query)) { query = found.length ? found[0] : null; place = null; }
    showFound();
    showQuery();
  }

  function choice(name, options, set) {
    const select = el("select", {onchange: () => { state[name] = select.value === "" ? null : JSON.parse(select.value); changed(); }},
      ...options.map(([one, words]) => el("option", {value: JSON.stringify(one), selected: one === set}, words)));
    return el("label", {}, el("span", {}, name), select);
  }

  function build() {
    const systems = facts.systems.map((name, system) => [system, name]);
    if (facts.rated) systems.push([RATING(), called(RATING())]);
    state.after = facts.after ?? (systems.length ? systems[systems.length - 1][0] : null);
    state.before = facts.before ?? (facts.systems.length && facts.rated ? RATING() : null);
    if (!facts.systems.length || Number.isNaN(change(0)) && facts.before === null) state.order = "data";
    parts.search = el("input", {type: "search", placeholder: "words of a query, or its id", autocomplete: "off", spellcheck: false,
      oninput: () => { state.search = parts.search.value; changed(); },
      onkeydown: (event) => {
        const link = parts.found.querySelector("a");
        if ((event.key === "ArrowDown" || event.key === "Enter") && link) { event.preventDefault(); link.focus(); }
      }});
    parts.count = el("p", {class: "small muted count", role: "status"});
    parts.found = el("ol", {class: "found", "aria-label": "Queries", onkeydown: along});
    parts.more = el("button", {type: "button", class: "small", onclick: () => { state.shown += SHOWN; showFound(); }}, "more queries");
    parts.query = el("div", {class: "query"});
    root.replaceChildren(
      el("div", {class: "controls", role: "search"}, el("label", {class: "wide"}, el("span", {}, "search"), parts.search),
        facts.splits.length > 1 ? choice("split", [[-1, "all"], ...facts.splits.map((name, split) => [split, name])], state.split) : null,
        systems.length > 1 ? choice("before", systems, state.before) : null,
        systems.length > 1 ? choice("after", systems, state.after) : null,
        facts.systems.length ? choice("order", ORDERS, state.order) : null,
        facts.judges.length > 1 ? choice("judge", [[-1, "all"], ...facts.judges.map((name, judge) => [judge, name])], state.judge) : null),
      parts.count, parts.found, parts.more, parts.query);
    search();
    showFound();
    go(null);
    addEventListener("hashchange", go);
  }

  async function start() {
    if (typeof DecompressionStream === "undefined") {
      told.textContent = "This browser cannot open the queries: it has no DecompressionStream. Chrome and Edge 80, Safari 16.4, " +
        "Firefox 113 and all later ones have it. The rest of the report needs no script.";
      return;
    }
    const source = document.getElementById("query-data");
    await unpack(source.textContent);
    source.remove();
    hay = Array.from({length: count()}, (_, q) => `${text("query_id", q)} ${text("query", q)}`.toLowerCase());
    told.remove();
    root.hidden = false;
    build();
  }

  start().catch((error) => { told.textContent = `The queries of this report cannot be opened: ${error}`; });
})();
